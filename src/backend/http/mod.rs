//! A [`ModelService`] over HTTP: routes that the host nests in its own, with an OpenAPI 3.1 document of what they take and
//! give.
//!
//! | route | what for |
//! |---|---|
//! | `POST /predict/{model}` | one row: `{"id": 7, "features": {"amount": 12.5}}`; `at`, `unit`, `amount`, `reasons` where wanted |
//! | `POST /predict/{model}/batch` | `{"rows": [...]}`, each as above; a row that cannot be answered does not stop the others |
//! | `POST /labels/{model}` | `{"labels": [{"id": 7, "bad": true}]}`, with `exposure` where the answer had one |
//! | `POST /feedback/{model}` | `{"id": 7, "by": "anna", "decision": "approve"}` |
//! | `GET /health/{model}` | how the slot does |
//! | `GET /models` | what is live, and the features it takes |
//! | `GET /metrics` | Prometheus text |
//! | `GET /openapi.json` | the document |
//!
//! A model is a slot of the service. Every feature must be there, `null` for a missing value; categories go by name, and what
//! the slot's [`InputPolicy`](crate::serve::InputPolicy) says of values holds here too. Errors are
//! `{"error": {"code", "message", "fields"}}` with the stable codes that the document lists; `fields` names what is missing,
//! unknown, there twice, of a wrong type or out of range.
//!
//! # Threads
//! One row without reasons is read and scored where the runtime reads requests: some microseconds, less than it takes to
//! hand it to another thread and back. Everything else that takes time (batches, reasons, labels, metrics) runs on the
//! runtime's threads for blocking work, [`HttpConfig::workers`] pieces at once; the others wait, and when too many do they
//! are turned away. So a large batch delays other batches, never a single row.
//!
//! # Left to the host
//! TLS, authentication and limits per caller are layers around these routes. So is calling
//! [`Monitor::tick`](crate::monitor::Monitor::tick) every second or so.

mod answer;
mod batch;
mod config;
mod edge;
mod intake;
mod metrics;
mod models;
mod openapi;
mod read;
mod refusal;
mod routes;
mod slot;

pub use config::HttpConfig;
pub use slot::{Feedback, HttpObserver, HttpSlot};

use std::collections::BTreeMap;
use std::sync::Arc;

use axum::body::{Body, Bytes};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::Response;
use serde::Serialize;

use crate::error::Result;
use crate::serve::ModelService;
use crate::time::Clock;

/// Routes to these slots of a service, to be nested in the host's own. What a slot is called is part of their paths.
///
/// `clock` says what time it is where a request does not, and takes latencies. Needs a runtime of tokio with its timer on.
///
/// # Errors
/// `NotFound` for a slot that is not open; `InvalidConfig` for limits of nothing.
pub fn router(
    service: Arc<ModelService>,
    slots: BTreeMap<String, HttpSlot>,
    clock: Arc<dyn Clock>,
    config: HttpConfig,
) -> Result<axum::Router> {
    Ok(routes::of(edge::Edge::new(service, slots, clock, config)?))
}

/// A body of JSON.
fn json(status: StatusCode, body: &impl Serialize) -> Response {
    let mut bytes = Vec::with_capacity(256);
    let written = serde_json::to_writer(&mut bytes, body);
    written.expect("text keys and plain numbers always are JSON");
    let mut response = raw("application/json", bytes.into());
    *response.status_mut() = status;
    response
}

fn ok(body: &impl Serialize) -> Response {
    json(StatusCode::OK, body)
}

fn raw(media_type: &'static str, body: Bytes) -> Response {
    let mut response = Response::new(Body::from(body));
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static(media_type));
    response
}
