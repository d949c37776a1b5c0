//! What alerts did, in all processes.

use std::ops::Range;
use std::time::Duration;

use super::pool::RedisPool;
use crate::alert::Alert;
use crate::codec;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// Changes of alerts' states from all processes, in the order of their moments.
///
/// ```no_run
/// # use riskcycle::alert::AlertEngine;
/// # use riskcycle::backend::{RedisAlertHistory, RedisConfig, RedisPool};
/// # use riskcycle::monitor::Monitor;
/// # fn watch(engine: &AlertEngine, monitor: &Monitor, now: riskcycle::Timestamp) -> riskcycle::Result<()> {
/// let pool = RedisPool::new(RedisConfig::new("redis://127.0.0.1/"))?;
/// let history = RedisAlertHistory::new(&pool, 100_000)?;
/// history.append(&engine.tick(now, monitor))?;
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone)]
pub struct RedisAlertHistory {
    pool: RedisPool,
    capacity: usize,
    keep: Option<Duration>,
}

impl RedisAlertHistory {
    /// The history of the pool's namespace, of at most `capacity` changes.
    ///
    /// # Errors
    /// `InvalidConfig` for a capacity of zero.
    pub fn new(pool: &RedisPool, capacity: usize) -> Result<Self> {
        if capacity == 0 {
            return Err(Error::config("alert history", "capacity must be at least 1"));
        }
        Ok(RedisAlertHistory { pool: pool.clone(), capacity, keep: None })
    }

    /// Forgets changes that are this much older than the newest.
    #[must_use]
    pub fn keep(mut self, time: Duration) -> Self {
        self.keep = Some(time);
        self
    }

    /// Adds changes, as [`AlertEngine::tick`](crate::alert::AlertEngine::tick) gives them. The same change is there once,
    /// however often it is added, so that what failed can be done again.
    ///
    /// # Errors
    /// `Io`; it is not known then whether they are kept.
    pub fn append(&self, changes: &[Alert]) -> Result<()> {
        let Some(newest) = changes.iter().map(|alert| alert.at).max() else { return Ok(()) };
        let key = self.key();
        let mut call = redis::pipe();
        call.atomic();
        for alert in changes {
            call.cmd("ZADD").arg(&key).arg(alert.at.micros()).arg(codec::encode(alert)).ignore();
        }
        if let Some(time) = self.keep {
            let oldest = format!("({}", newest.minus(time).micros());
            call.cmd("ZREMRANGEBYSCORE").arg(&key).arg("-inf").arg(oldest).ignore();
        }
        let above = -1 - i64::try_from(self.capacity).unwrap_or(i64::MAX - 1);
        call.cmd("ZREMRANGEBYRANK").arg(&key).arg(0).arg(above).ignore();
        self.pool.write("add to the alert history", |connection| call.exec(connection))
    }

    /// Changes within a stretch of time, oldest first, at most `limit`.
    ///
    /// # Errors
    /// `Io`, `Corrupt`.
    pub fn between(&self, range: Range<Timestamp>, limit: usize) -> Result<Vec<Alert>> {
        let end = format!("({}", range.end.micros());
        let kept: Vec<Vec<u8>> = self.pool.read("read the alert history", |connection| {
            let mut call = redis::cmd("ZRANGEBYSCORE");
            call.arg(self.key()).arg(range.start.micros()).arg(&end);
            call.arg("LIMIT").arg(0).arg(limit).query(connection)
        })?;
        kept.iter().map(|bytes| codec::decode(bytes, "alert")).collect()
    }

    fn key(&self) -> String {
        self.pool.key("alerts")
    }
}
