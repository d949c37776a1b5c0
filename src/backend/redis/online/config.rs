//! How long shared features are remembered, and how much waits for a server that is away.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::feature::{OnlineConfig, TooLate};

/// Parameters of [`RedisOnlineFeatures`](super::RedisOnlineFeatures).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RedisOnlineConfig {
    /// How long an event is known by its id, so that it is not counted twice: about 100 bytes on the server for each event
    /// within this time.
    pub remember: Duration,
    /// How late, by its own time, an event may come and still find its windows whole.
    pub lateness: Duration,
    /// An entity that nothing was heard of for this long, by the server's clock, is forgotten; at least the widest window.
    pub forget: Duration,
    /// After a failure the server is left alone for this long.
    pub pause: Duration,
    /// Most events that wait for a server that is away, some 500 bytes each; the oldest make room.
    pub max_waiting: usize,
    /// Of the engine in memory that answers meanwhile.
    pub local: OnlineConfig,
}

/// Ten minutes, an hour, 400 days; a second's pause, 100,000 events that wait.
impl Default for RedisOnlineConfig {
    fn default() -> Self {
        RedisOnlineConfig {
            remember: Duration::from_secs(600),
            lateness: Duration::from_secs(3600),
            forget: Duration::from_secs(400 * 86_400),
            pause: Duration::from_secs(1),
            max_waiting: 100_000,
            local: OnlineConfig { too_late: TooLate::Drop, ..OnlineConfig::default() },
        }
    }
}

impl RedisOnlineConfig {
    pub(super) fn check(&self) -> Result<()> {
        match self.remember.as_millis() == 0 || self.forget.as_millis() == 0 {
            true => Err(Error::config("shared features", "needs time to remember and to forget")),
            false => Ok(()),
        }
    }
}
