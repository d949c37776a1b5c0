//! The document: OpenAPI 3.1, made of the same tables as the routes.

use serde_json::{Map, Value, json};

use super::answer::DECISIONS;
use super::edge::Edge;
use super::metrics;
use super::read::FIELDS;
use super::refusal::{Code, Problem};
use super::routes::Route;
use crate::experiment::ExposureToken;
use crate::schema::FeatureKind;

pub(super) fn document(edge: &Edge) -> Value {
    let mut paths = Map::new();
    for route in Route::ALL {
        let method = if route.is_post() { "post" } else { "get" };
        paths.insert(route.path().to_owned(), json!({ method: operation(edge, route) }));
    }
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Risk models",
            "version": env!("CARGO_PKG_VERSION"),
            "license": { "name": "MIT OR Apache-2.0" },
        },
        "paths": paths,
        "components": { "schemas": schemas(edge) },
    })
}

fn operation(edge: &Edge, route: Route) -> Value {
    let (id, summary, description) = words(route);
    let mut operation = json!({
        "operationId": id,
        "summary": summary,
        "description": description,
        "responses": responses(route),
    });
    if route.names_model() {
        let names: Vec<&String> = edge.slots.keys().collect();
        operation["parameters"] = json!([{
            "name": "model",
            "in": "path",
            "required": true,
            "description": "A slot of the service.",
            "schema": { "type": "string", "enum": names },
        }]);
    }
    if let Some(schema) = request(route) {
        let content = json!({ "application/json": { "schema": reference(schema) } });
        operation["requestBody"] = json!({ "required": true, "content": content });
    }
    operation
}

fn words(route: Route) -> (&'static str, &'static str, &'static str) {
    match route {
        Route::Predict => ("predict", "Answer one row", "Scores a row and decides."),
        Route::Batch => (
            "predictBatch",
            "Answer many rows",
            "Answers come in the order of the rows, all by the same versions. A row that cannot be answered has an error in its place.",
        ),
        Route::Labels => (
            "labels",
            "Take labels",
            "All of them are taken, or where one of them cannot be, none. `unknown` are ids that no prediction waits under: never made, labelled already, or too long ago.",
        ),
        Route::Feedback => (
            "feedback",
            "Take feedback",
            "What somebody who looked at a case would have decided. It is not a label.",
        ),
        Route::Health => {
            ("health", "How a model does", "Rates are since the live versions were deployed first.")
        }
        Route::Models => ("models", "What is live", "Versions and the features that they take."),
        Route::Metrics => ("metrics", "Metrics", "Prometheus text."),
        Route::OpenApi => ("openapi", "This document", "OpenAPI 3.1."),
    }
}

fn request(route: Route) -> Option<&'static str> {
    match route {
        Route::Predict => Some("PredictRequest"),
        Route::Batch => Some("BatchRequest"),
        Route::Labels => Some("LabelsRequest"),
        Route::Feedback => Some("FeedbackRequest"),
        Route::Health | Route::Models | Route::Metrics | Route::OpenApi => None,
    }
}

/// What a route may be refused with.
fn codes(route: Route) -> Vec<Code> {
    let applies = |code: &Code| match code {
        Code::InvalidJson
        | Code::InvalidRequest
        | Code::BodyTimeout
        | Code::TooLarge
        | Code::UnsupportedMediaType => route.is_post(),
        Code::RejectedValue => matches!(route, Route::Predict | Route::Labels),
        Code::Refused => matches!(route, Route::Labels | Route::Feedback),
        Code::UnknownModel => route.names_model(),
        Code::Busy | Code::TimedOut => route.is_post() || route == Route::Metrics,
        Code::UnknownRoute => route.names_model(), // an empty name is another path
        Code::MethodNotAllowed | Code::Internal => true,
    };
    Code::ALL.into_iter().filter(applies).collect()
}

fn responses(route: Route) -> Value {
    let (media, schema) = match route {
        Route::Predict => ("application/json", reference("Answer")),
        Route::Batch => ("application/json", reference("BatchAnswer")),
        Route::Labels => ("application/json", reference("LabelsTaken")),
        Route::Feedback => ("application/json", reference("FeedbackKept")),
        Route::Health => ("application/json", reference("Health")),
        Route::Models => ("application/json", reference("Models")),
        Route::Metrics => (metrics::MEDIA_TYPE, json!({ "type": "string" })),
        Route::OpenApi => ("application/json", json!({ "type": "object" })),
    };
    let mut responses = Map::new();
    let done = json!({ "description": "Done.", "content": { media: { "schema": schema } } });
    responses.insert("200".into(), done);
    // Several codes may share a status.
    for code in codes(route) {
        let (name, status, meaning) = code.facts();
        let said = responses.entry(status.as_str()).or_insert_with(|| {
            json!({
                "description": "",
                "content": { "application/json": { "schema": reference("Error") } },
            })
        });
        let before = said["description"].as_str().unwrap_or_default();
        said["description"] = format!("{before}\n`{name}`: {meaning}").trim().into();
    }
    responses.into()
}

fn schemas(edge: &Edge) -> Value {
    let mut schemas = Map::new();
    let mut add = |name: &str, schema: Value| schemas.insert(name.to_owned(), schema);
    let natural = || json!({ "type": "integer", "minimum": 0, "maximum": u64::MAX });
    let moment = || {
        json!({
            "type": ["integer", "null"],
            "minimum": i64::MIN,
            "maximum": i64::MAX,
            "description": "Microseconds since 1970-01-01 UTC; now where it is not said. Moments too long ago or ahead are refused.",
        })
    };
    let decision = || json!({ "type": "string", "enum": DECISIONS });
    let or_null = |schema: Value| json!({ "anyOf": [schema, { "type": "null" }] });

    let features = edge.slots.values().map(|slot| {
        let schema = slot.columns.schema();
        let columns = schema.names().iter().zip(schema.kinds());
        let properties: Map<String, Value> =
            columns.map(|(name, kind)| (name.clone(), feature(kind))).collect();
        json!({
            "title": format!("features of {}", slot.name),
            "type": "object",
            "properties": properties,
            "required": schema.names(),
            "additionalProperties": false,
        })
    });
    add("Features", json!({ "anyOf": features.collect::<Vec<_>>() }));
    let field = |name: &str| match name {
        "id" => natural(),
        "at" => moment(),
        "unit" => json!({
            "anyOf": [natural(), { "type": "string" }, { "type": "null" }],
            "description": "The entity that the request is routed by; the id where it is not said.",
        }),
        "amount" => json!({
            "type": ["integer", "null"],
            "minimum": i64::MIN,
            "maximum": i64::MAX,
            "description": "Amount at stake in minor units of money, for experiments.",
        }),
        "reasons" => json!({
            "type": ["boolean", "null"],
            "description": "Whether an answer other than approval comes with its reasons.",
        }),
        _ => reference("Features"),
    };
    let fields: Map<String, Value> =
        FIELDS.iter().map(|(name, _)| ((*name).to_owned(), field(name))).collect();
    add("PredictRequest", object(fields.into(), &["id", "features"]));
    let rows = json!({
        "type": "array",
        "items": reference("PredictRequest"),
        "maxItems": edge.config.batch_rows,
    });
    add("BatchRequest", object(json!({ "rows": rows }), &["rows"]));
    let label = object(
        json!({
            "id": natural(),
            "bad": { "type": "boolean" },
            "at": moment(),
            "exposure": { "type": ["string", "null"], "description": "That of the answer." },
        }),
        &["id", "bad"],
    );
    let labels = json!({ "type": "array", "items": label, "maxItems": edge.config.batch_rows });
    add("LabelsRequest", object(json!({ "labels": labels }), &["labels"]));
    let feedback = json!({
        "id": natural(),
        "at": moment(),
        "by": { "type": "string" },
        "decision": decision(),
        "note": { "type": "string" },
    });
    add("FeedbackRequest", object(feedback, &["id", "by", "decision"]));

    let reason = json!({
        "code": { "type": "string" },
        "text": { "type": "string" },
        "contribution": { "type": "number" },
    });
    add("Reason", whole(reason));
    let count = || json!({ "type": "integer", "minimum": 0 });
    let inputs = json!({
        "missing": count(),
        "defaulted": count(),
        "infinite": count(),
        "out_of_range": count(),
    });
    let digits = 2 * ExposureToken::LEN;
    add(
        "Answer",
        whole(json!({
            "id": natural(),
            "model": { "type": "string" },
            "version": count(),
            "score": { "type": ["number", "null"], "description": "Probability of bad." },
            "decision": decision(),
            "arm": count(),
            "fallback": { "enum": ["error", "no_score", "panic", null] },
            "inputs": whole(inputs),
            "reasons": { "type": "array", "items": reference("Reason") },
            "exposure": {
                "type": ["string", "null"],
                "pattern": format!("^[0-9a-f]{{{digits}}}$"),
                "description": "To be handed back with the label.",
            },
        })),
    );
    let no_answer = json!({ "id": or_null(natural()), "error": reference("Refusal") });
    add("NoAnswer", whole(no_answer));
    let one = json!({ "anyOf": [reference("Answer"), reference("NoAnswer")] });
    add("BatchAnswer", whole(json!({ "answers": { "type": "array", "items": one } })));
    let taken = json!({
        "joined": count(),
        "unknown": { "type": "array", "items": natural() },
        "recorded": count(),
    });
    add("LabelsTaken", whole(taken));
    add("FeedbackKept", whole(json!({ "kept": { "const": true } })));
    let version = whole(json!({ "name": { "type": "string" }, "version": count() }));
    add("Version", version);
    let rate = || json!({ "type": ["number", "null"] });
    let health = json!({
        "slot": { "type": "string" },
        "generation": count(),
        "champion": reference("Version"),
        "degraded": { "type": "boolean" },
        "error_rate": rate(),
        "fallback_rate": rate(),
        "p99_nanos": { "type": ["integer", "null"], "minimum": 0 },
        "shadows_waiting": count(),
        "shadows_dropped": count(),
    });
    add("Health", whole(health));
    let versions = || json!({ "type": "array", "items": reference("Version") });
    let texts = json!({ "type": "array", "items": { "type": "string" } });
    let of_feature = whole(json!({
        "name": { "type": "string" },
        "kind": { "enum": ["numeric", "boolean", "categorical"] },
        "categories": or_null(texts),
    }));
    let model = whole(json!({
        "name": { "type": "string" },
        "arms": versions(),
        "fallback": or_null(reference("Version")),
        "shadows": versions(),
        "features": { "type": "array", "items": of_feature },
    }));
    add("Models", whole(json!({ "models": { "type": "array", "items": model } })));

    let problem = object(
        json!({
            "field": { "type": "string" },
            "problem": { "enum": Problem::NAMES },
            "expected": { "type": "string" },
        }),
        &["field", "problem"],
    );
    let codes = Code::ALL.map(|code| code.facts().0);
    let refusal = object(
        json!({
            "code": { "enum": codes, "description": "Stable." },
            "message": { "type": "string", "description": "For people; may change." },
            "fields": { "type": "array", "items": problem },
        }),
        &["code", "message"],
    );
    add("Refusal", refusal);
    add("Error", whole(json!({ "error": reference("Refusal") })));
    schemas.into()
}

fn feature(kind: &FeatureKind) -> Value {
    match kind {
        FeatureKind::Numeric => json!({ "type": ["number", "null"] }),
        FeatureKind::Boolean => json!({ "enum": [true, false, 0, 1, null] }),
        // One that the model does not know is a matter of the slot's policy.
        FeatureKind::Categorical(categories) => json!({
            "type": ["string", "null"],
            "examples": categories.names().take(3).collect::<Vec<_>>(),
        }),
    }
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/components/schemas/{name}") })
}

/// An object of these properties and no others.
fn object(properties: Value, required: &[&str]) -> Value {
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}

/// An object that has all of its properties.
fn whole(properties: Value) -> Value {
    let names: Vec<&str> =
        properties.as_object().into_iter().flatten().map(|(name, _)| name.as_str()).collect();
    let required = json!(names);
    json!({
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": false,
    })
}
