//! Everything that processes share, in Redis 7.0 and later, one server or one node of a cluster.
//!
//! | keys, behind `{namespace}:` | kind | what |
//! |---|---|---|
//! | `features:record:id␀version` | hash | a feature's record as JSON, its revision, its index sets |
//! | `features:members`, `features:index:…` | sorted sets | all features; those of a status, tag, dependency, user |
//! | `features:log`, `registry:log` | lists | audit trails; their heads in the hashes `…:head` |
//! | `artifact:digest` | hash | an artifact's pieces of 1 MiB by their places, and how many there are |
//! | `predictions:model@version` | sorted set | the last predictions by their moments |
//! | `prediction counts:model@version:hour` | hash | what was answered in an hour |
//! | `alerts` | sorted set | changes of alerts by their moments |
//! | `snapshots` | hash | snapshots by name |
//! | `online:definition:source:entity` | hash | an entity's tiles: `series:tile:counter`; how many were `kept` |
//! | `online:definition:event:id` | string | an event that was counted, for as long as it is remembered |

mod alert_history;
mod artifact_store;
mod config;
mod feature_storage;
mod online;
mod pool;
mod prediction_log;
mod registry_log;
mod server;
mod snapshots;
mod trail;

pub use alert_history::RedisAlertHistory;
pub use artifact_store::RedisArtifactStore;
pub use config::RedisConfig;
pub use feature_storage::RedisFeatureStorage;
#[cfg(feature = "redis-tokio")]
pub use online::AsyncRedisOnlineFeatures;
pub use online::{RedisOnlineConfig, RedisOnlineFeatures, SharedObserved};
pub use pool::RedisPool;
pub use prediction_log::{PredictionSummary, RedisPredictionLog};
pub use registry_log::RedisRegistryLog;
pub use snapshots::RedisSnapshots;
