//! Everything that processes share, in Redis 7.

mod alert_history;
mod config;
mod feature_storage;
mod online;
mod pool;
mod prediction_log;
mod registry_log;
mod snapshots;
mod trail;

pub use alert_history::RedisAlertHistory;
pub use config::RedisConfig;
pub use feature_storage::RedisFeatureStorage;
pub use online::{RedisOnlineConfig, RedisOnlineFeatures, SharedObserved};
pub use pool::RedisPool;
pub use prediction_log::{PredictionSummary, RedisPredictionLog};
pub use registry_log::RedisRegistryLog;
pub use snapshots::RedisSnapshots;
