//! What a caller is told instead of an answer.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Serialize, Serializer};

use super::json;
use crate::error::Error;

/// Why there is no answer. Codes are stable: callers branch on them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Code {
    InvalidJson,
    InvalidRequest,
    RejectedValue,
    UnknownModel,
    UnknownRoute,
    MethodNotAllowed,
    BodyTimeout,
    Refused,
    TooLarge,
    UnsupportedMediaType,
    Busy,
    Internal,
    TimedOut,
}

impl Code {
    pub(super) const ALL: [Code; 13] = [
        Code::InvalidJson,
        Code::InvalidRequest,
        Code::RejectedValue,
        Code::UnknownModel,
        Code::UnknownRoute,
        Code::MethodNotAllowed,
        Code::BodyTimeout,
        Code::Refused,
        Code::TooLarge,
        Code::UnsupportedMediaType,
        Code::Busy,
        Code::Internal,
        Code::TimedOut,
    ];

    /// Name, status and meaning.
    pub(super) fn facts(self) -> (&'static str, StatusCode, &'static str) {
        match self {
            Code::InvalidJson => ("invalid_json", StatusCode::BAD_REQUEST, "The body is not JSON."),
            Code::InvalidRequest => (
                "invalid_request",
                StatusCode::UNPROCESSABLE_ENTITY,
                "Fields are missing, unknown, there twice, of a wrong type or out of range; `fields` names them.",
            ),
            Code::RejectedValue => (
                "rejected_value",
                StatusCode::UNPROCESSABLE_ENTITY,
                "The policy of the model's inputs rejects a value.",
            ),
            Code::UnknownModel => {
                ("unknown_model", StatusCode::NOT_FOUND, "There is no model of that name.")
            }
            Code::UnknownRoute => {
                ("unknown_route", StatusCode::NOT_FOUND, "There is nothing at that path.")
            }
            Code::MethodNotAllowed => (
                "method_not_allowed",
                StatusCode::METHOD_NOT_ALLOWED,
                "The path takes another method.",
            ),
            Code::BodyTimeout => (
                "body_timeout",
                StatusCode::REQUEST_TIMEOUT,
                "The body did not arrive in time, or not whole.",
            ),
            Code::Refused => ("refused", StatusCode::CONFLICT, "What was asked is not done here."),
            Code::TooLarge => {
                ("too_large", StatusCode::PAYLOAD_TOO_LARGE, "The body has too many bytes.")
            }
            Code::UnsupportedMediaType => (
                "unsupported_media_type",
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "The body must be application/json.",
            ),
            Code::Busy => (
                "busy",
                StatusCode::TOO_MANY_REQUESTS,
                "Too much work waits already; try again later.",
            ),
            Code::Internal => {
                ("internal", StatusCode::INTERNAL_SERVER_ERROR, "Something failed here.")
            }
            Code::TimedOut => (
                "timed_out",
                StatusCode::SERVICE_UNAVAILABLE,
                "The work was not done in time; what it counts may be counted all the same.",
            ),
        }
    }
}

impl Serialize for Code {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.facts().0)
    }
}

/// What is wrong with a field.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Problem {
    Missing,
    Unknown,
    Duplicate,
    WrongType,
    OutOfRange,
}

impl Problem {
    pub(super) const NAMES: [&str; 5] =
        ["missing", "unknown", "duplicate", "wrong_type", "out_of_range"];
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct FieldProblem {
    /// `features.amount`, `id`.
    pub(super) field: String,
    pub(super) problem: Problem,
    /// What would have been accepted, where the field is known.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) expected: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub(super) struct Refusal {
    pub(super) code: Code,
    pub(super) message: String,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) fields: Vec<FieldProblem>,
}

#[derive(Serialize)]
struct Body<'a> {
    error: &'a Refusal,
}

impl Refusal {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Refusal { code, message: message.into(), fields: Vec::new() }
    }

    /// With what a code means for a message.
    pub(super) fn plain(code: Code) -> Self {
        Refusal::new(code, code.facts().2)
    }

    pub(super) fn of_fields(fields: Vec<FieldProblem>) -> Self {
        let first = &fields[0];
        let problem = match first.problem {
            Problem::Missing => "is missing",
            Problem::Unknown => "is not expected",
            Problem::Duplicate => "is there twice",
            Problem::WrongType => "is of a wrong type",
            Problem::OutOfRange => "is out of range",
        };
        let expected = first.expected.as_ref().map(|expected| format!(": expected {expected}"));
        let more = match fields.len() - 1 {
            0 => String::new(),
            more => format!(", and {more} more"),
        };
        let message = format!("{} {problem}{}{more}", first.field, expected.unwrap_or_default());
        Refusal { code: Code::InvalidRequest, message, fields }
    }

    /// A field that is known, of the right type, and holds what cannot be.
    pub(super) fn out_of_range(field: impl Into<String>, expected: impl Into<String>) -> Self {
        Refusal::of_fields(vec![FieldProblem {
            field: field.into(),
            problem: Problem::OutOfRange,
            expected: Some(expected.into()),
        }])
    }

    pub(super) fn of_json(error: &serde_json::Error) -> Self {
        let code = if error.is_data() { Code::InvalidRequest } else { Code::InvalidJson };
        Refusal::new(code, error.to_string())
    }

    /// What the library says, as far as it is the caller's business.
    pub(super) fn of(error: &Error) -> Self {
        match error {
            Error::InvalidInput { .. } => Refusal::new(Code::RejectedValue, error.to_string()),
            Error::Refused { .. } => Refusal::new(Code::Refused, error.to_string()),
            Error::NotFound { .. } => Refusal::new(Code::UnknownModel, error.to_string()),
            // What failed here may hold names of files and hosts.
            _ => Refusal::plain(Code::Internal),
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let (_, status, _) = self.code.facts();
        let mut response = json(status, &Body { error: &self });
        if matches!(self.code, Code::Busy | Code::TimedOut) {
            response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("1"));
        }
        response
    }
}
