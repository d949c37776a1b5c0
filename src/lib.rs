//! The whole life of a risk model (fraud, credit, AML) inside your own process.
//!
//! Raw events become features, features a data set, a data set a trained and evaluated model, a model a governed version;
//! versions answer live requests side by side, every answer is logged, watched for drift, alerted on, and leads back to a
//! retrain. Nothing to start, no other service: the host owns threads, timers and I/O.
//!
//! # The walk
//! The modules stand in the order of a model's life, and each of them uses only those above it. A stage never calls the
//! next one: it returns what the next one takes. [`lifecycle`] joins them; [`monitoring`] joins those that watch.
//!
//! | | module | takes | gives |
//! |---|---|---|---|
//! | 1 | [`event`] | the host's own struct | [`EventSchema`](event::EventSchema) |
//! | 2 | [`feature`] | events | [`FeatureFrame`](feature::FeatureFrame), live vectors |
//! | 3 | [`dataset`] | features, labels | [`Dataset`](dataset::Dataset), splits in time |
//! | 4 | [`model`] | a data set | [`Model`](model::Model), by a [`Trainer`](model::Trainer) |
//! | 5 | [`train`] | a trainer, a data set | [`TrainingRun`](train::TrainingRun) |
//! | 6 | [`evaluate`] | scores, labels | [`EvaluationReport`](evaluate::EvaluationReport) |
//! | 7 | [`registry`] | a training run | [`ModelVersion`](registry::ModelVersion), a champion, the audit trail |
//! | 8 | [`experiment`] | an entity; late labels | [`Assignment`](experiment::Assignment), by a [`Router`](experiment::Router); [`ExperimentReport`](experiment::ExperimentReport) |
//! | 9 | [`serve`] | a row, an assignment | [`Prediction`](serve::Prediction) |
//! | 10 | [`monitor`] | predictions, late labels | [`Finding`](monitor::Finding)s |
//! | 11 | [`drift`] | live rows, a reference | [`DriftReport`](drift::DriftReport) |
//! | 12 | [`alert`] | measurements | [`Alert`](alert::Alert)s, to an [`AlertSink`](alert::AlertSink) |
//! | 13 | [`retrain`] | alerts | [`RetrainPlan`](retrain::RetrainPlan), [`GateVerdict`](retrain::GateVerdict) |
//!
//! # Rules that hold everywhere
//! - A label is `true` for bad (fraud, default). Rates are fractions, durations [`Duration`](std::time::Duration)s,
//!   moments [`Timestamp`]s in UTC. A missing feature value is NaN.
//! - No stage reads the clock or the system's randomness: a [`Timestamp`], a [`Clock`] or a [`Seed`] comes in. The same
//!   data, seed and version give the same bytes, whatever the number of threads.
//! - What counts merges across processes, by `to_bytes`, `from_bytes` and `merge`: in any order and grouping the same bits as
//!   of one process. [`ServiceStats`](serve::ServiceStats), [`MonitorCounts`](monitor::MonitorCounts),
//!   [`DriftCounts`](drift::DriftCounts), [`ExperimentStatistics`](experiment::ExperimentStatistics). More
//!   than 2⁶⁰ in all is refused, in bytes and where sets of counts merge.
//! - An [`Error`] means that machinery failed or the caller is wrong. Missing values, drift, a gate that does not pass
//!   are data.
//!
//! # Cargo features
//! | feature | default | what it adds |
//! |---|---|---|
//! | `linfa` | yes | trainers on linfa: logistic regression, decision tree |
//! | `parallel` | yes | threads for batch work (rayon); never changes a number |
//! | `csv` | | typed, streaming CSV and CSV.gz readers for events (csv, flate2) |
//! | `json` | | scorecards in JSON, run logs and tuning journals as JSON lines (serde_json) |
//! | `report` | | evaluations as self-contained HTML pages |
//! | `import` | | tree models from XGBoost, LightGBM and scikit-learn, and back (serde_json) |
//! | `webhook` | | an alert sink over HTTP: JSON, Slack, templates for gateways (ureq with rustls, serde_json) |
//! | `email` | | an alert sink by SMTP (lettre with rustls) |
//! | `signing` | | Ed25519 signatures on artifacts (ed25519-dalek) |
//! | `metrics` | | traffic as counters and gauges of the `metrics` facade |
//! | `tracing` | | predictions and alerts as events of `tracing` |
//! | `tz` | | days and hours of IANA time zones, the database compiled in (chrono-tz) |
//! | `redb` | | features, registry, artifacts, predictions and snapshots in one file (redb, serde_json) |
//! | `redis` | | the same, alert history and live features, shared by processes (redis, serde_json) |
//! | `redis-tokio` | | shared live features that hosts on tokio await (redis, tokio) |
//! | `http` | | a model service as routes of axum, with an OpenAPI document (axum, tokio, serde_json) |
//! | `testing` | | conformance suites, the seeded transaction world, the Fraud Detection Handbook's definitions (rand) |
//! | `full` | | all of the above |

// Vocabulary: what every stage speaks.
pub mod time;
mod error;
mod codec;
mod parallel;
pub mod seed;
mod ids;
mod schema;
mod audit;

// Mathematics that several stages share.
pub mod stats;

// The walk.
pub mod event;
pub mod feature;
pub mod dataset;
pub mod model;
pub mod train;
pub mod evaluate;
pub mod registry;
pub mod experiment;
pub mod serve;
pub mod monitor;
pub mod drift;
pub mod alert;
pub mod retrain;

// The façades: the only ones that join stages.
pub mod monitoring;
pub mod lifecycle;

// The edges: one feature each.
#[cfg(any(
    feature = "webhook",
    feature = "email",
    feature = "metrics",
    feature = "tracing",
    feature = "redb",
    feature = "redis",
    feature = "http"
))]
pub mod backend;

// Longer than a type's own page.
pub mod guide;

// For the tests, examples and benches of hosts, and for ours.
#[cfg(feature = "testing")]
pub mod testing;

pub use audit::{AuditEntry, AuditHead, Signature};
pub use error::{Error, Result, Retry};
pub use ids::{Digest, EntityKey, ModelRef};
pub use ndarray;
pub use schema::{Categories, FeatureKind, FeatureSchema};
pub use seed::Seed;
pub use time::{Clock, ManualClock, SystemClock, Timestamp, days};

/// The README's code, compiled and run with the tests.
#[cfg(all(doctest, feature = "linfa", feature = "testing"))]
#[doc = include_str!("../README.md")]
mod readme {}
