//! The edges: what talks to other systems. Each is a cargo feature, and nothing imports them.

#[cfg(feature = "email")]
mod email;
#[cfg(feature = "http")]
pub mod http;
#[cfg(feature = "metrics")]
mod metrics;
#[cfg(any(feature = "redb", feature = "redis"))]
mod prediction_queue;
#[cfg(any(feature = "redb", feature = "redis"))]
mod record;
#[cfg(feature = "redb")]
mod redb;
#[cfg(feature = "redis")]
mod redis;
#[cfg(feature = "tracing")]
mod tracing;
#[cfg(feature = "webhook")]
mod webhook;

#[cfg(feature = "redb")]
pub use self::redb::{
    RedbArtifactStore, RedbDatabase, RedbFeatureStorage, RedbPredictionLog, RedbRegistryLog,
    RedbSnapshots,
};
#[cfg(feature = "redis-tokio")]
pub use self::redis::AsyncRedisOnlineFeatures;
#[cfg(feature = "redis")]
pub use self::redis::{
    PredictionSummary, RedisAlertHistory, RedisArtifactStore, RedisConfig, RedisFeatureStorage,
    RedisOnlineConfig, RedisOnlineFeatures, RedisPool, RedisPredictionLog, RedisRegistryLog,
    RedisSnapshots, SharedObserved,
};
#[cfg(feature = "email")]
pub use email::{EmailConfig, EmailSink, EmailTls};
#[cfg(feature = "metrics")]
pub use metrics::export_metrics;
#[cfg(feature = "tracing")]
pub use tracing::{TracingAlertSink, TracingPredictionLog};
#[cfg(feature = "webhook")]
pub use webhook::{WebhookConfig, WebhookFormat, WebhookSink};

#[cfg(any(feature = "webhook", feature = "email"))]
use crate::alert::{Notification, Severity};

/// `CRITICAL score-drift, 2 firing, 1 resolved`.
#[cfg(any(feature = "webhook", feature = "email"))]
fn title(notification: &Notification) -> String {
    let Notification { firing, resolved, .. } = notification;
    let all = || firing.iter().chain(resolved);
    let worst = all().map(|alert| alert.severity).max().unwrap_or(Severity::Info);
    let rule = all().next().map_or("", |alert| alert.rule.as_str());
    let state = match firing.is_empty() {
        true => "RESOLVED".to_owned(),
        false => format!("{worst:?}").to_uppercase(),
    };
    let counts = [(firing.len(), "firing"), (resolved.len(), "resolved")];
    let counts = counts.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!(", {n} {what}"));
    format!("{state} {rule}{}", counts.collect::<String>())
}

/// One line per alert, and what its rule says of it.
#[cfg(any(feature = "webhook", feature = "email"))]
fn text(notification: &Notification) -> String {
    let alerts = notification.firing.iter().chain(&notification.resolved);
    let lines = alerts.map(|alert| match alert.description.as_str() {
        "" => alert.to_string(),
        description => format!("{alert}\n  {description}"),
    });
    lines.collect::<Vec<_>>().join("\n")
}
