//! Answers as they are told.

use serde::{Deserialize, Serialize, Serializer};

use super::refusal::Refusal;
use crate::evaluate::Decision;
use crate::experiment::ExposureToken;
use crate::model::Reason;
use crate::serve::{FallbackCause, InputFlags, Prediction};

/// An answer, or in a batch the reason for none.
#[derive(Serialize)]
pub(super) struct Answer<'a> {
    id: u64,
    model: &'a str,
    version: u32,
    score: Option<f64>,
    #[serde(serialize_with = "decision")]
    decision: Decision,
    arm: u8,
    fallback: Option<&'static str>,
    inputs: InputFlags,
    reasons: &'a [Reason],
    exposure: Option<Hex<'a>>,
}

#[derive(Debug, Clone, Serialize)]
pub(super) struct NoAnswer {
    pub(super) id: Option<u64>,
    pub(super) error: Refusal,
}

#[derive(Serialize)]
#[serde(untagged)]
pub(super) enum Row<'a> {
    Answer(Answer<'a>),
    None(&'a NoAnswer),
}

#[derive(Serialize)]
pub(super) struct Answers<'a> {
    pub(super) answers: Vec<Row<'a>>,
}

impl<'a> Answer<'a> {
    pub(super) fn of(prediction: &'a Prediction) -> Self {
        Answer {
            id: prediction.id,
            model: &prediction.model.name,
            version: prediction.model.version,
            score: prediction.score,
            decision: prediction.decision,
            arm: prediction.assignment.arm,
            fallback: prediction.fallback.map(|cause| match cause {
                FallbackCause::Error => "error",
                FallbackCause::NoScore => "no_score",
                FallbackCause::Panic => "panic",
            }),
            inputs: prediction.inputs,
            reasons: &prediction.reasons,
            exposure: prediction.exposure.as_ref().map(Hex),
        }
    }
}

pub(super) const DECISIONS: [&str; 3] = ["approve", "review", "decline"];

/// A decision as it is told and read.
#[derive(Serialize, Deserialize)]
#[serde(remote = "Decision", rename_all = "snake_case")]
pub(super) enum ToldDecision {
    Approve,
    Review,
    Decline,
}

fn decision<S: Serializer>(decision: &Decision, serializer: S) -> Result<S::Ok, S::Error> {
    ToldDecision::serialize(decision, serializer)
}

/// A token as the hexadecimal digits of its bytes.
struct Hex<'a>(&'a ExposureToken);

impl Serialize for Hex<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        const DIGITS: &[u8; 16] = b"0123456789abcdef";
        let digits = |byte: u8| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]];
        let text: Vec<u8> = self.0.to_bytes().into_iter().flat_map(digits).collect();
        serializer.serialize_str(std::str::from_utf8(&text).expect("digits are ASCII"))
    }
}

/// A token from its digits; `None` for anything else.
pub(super) fn token(text: &str) -> Option<ExposureToken> {
    let digit = |byte: u8| char::from(byte).to_digit(16).map(|digit| digit as u8);
    let pairs = text.as_bytes().chunks_exact(2);
    if !pairs.remainder().is_empty() {
        return None;
    }
    let bytes: Option<Vec<u8>> =
        pairs.map(|pair| Some(digit(pair[0])? << 4 | digit(pair[1])?)).collect();
    ExposureToken::from_bytes(&bytes?).ok()
}
