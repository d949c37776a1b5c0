//! What the routes allow.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::time::days;

/// Parameters of [`router`](super::router).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HttpConfig {
    /// Most bytes of a request for one row.
    pub row_bytes: usize,
    /// Most bytes of any other request.
    pub batch_bytes: usize,
    /// Most rows or labels of one request.
    pub batch_rows: usize,
    /// Time for a request's body to arrive.
    pub body_timeout: Duration,
    /// Time for work that does not run on the runtime's own threads, the wait for its turn included. Work that has begun is
    /// not broken off: what it counts is counted, though nobody hears of it.
    pub work_timeout: Duration,
    /// Whether one row without reasons is scored on the runtime's own thread. Right for models of microseconds: handing a
    /// row to another thread and back takes longer than scoring it. Not for a model that waits for something.
    pub inline: bool,
    /// Pieces of other work that run at once, on the runtime's threads for blocking work.
    pub workers: usize,
    /// Pieces that wait for their turn; more are turned away.
    pub queue: usize,
    /// How long ago a request or label may have happened. What counts by time would take a single wrong moment for the
    /// present, and forget what came before it.
    pub oldest: Duration,
    /// How far ahead of the clock it may lie.
    pub ahead: Duration,
}

/// 64 KiB for a row, 16 MiB and 10,000 rows for others, 10 seconds for each wait, two workers with 64 pieces in wait, moments
/// from 180 days ago to five minutes ahead.
impl Default for HttpConfig {
    fn default() -> Self {
        HttpConfig {
            row_bytes: 1 << 16,
            batch_bytes: 1 << 24,
            batch_rows: 10_000,
            body_timeout: Duration::from_secs(10),
            work_timeout: Duration::from_secs(10),
            inline: true,
            workers: 2,
            queue: 64,
            oldest: days(180),
            ahead: Duration::from_secs(300),
        }
    }
}

impl HttpConfig {
    pub(super) fn check(&self) -> Result<()> {
        let HttpConfig { row_bytes, batch_bytes, batch_rows, workers, .. } = *self;
        if [row_bytes, batch_bytes, batch_rows].contains(&0) || !(1..=1024).contains(&workers) {
            let reason = "bytes and rows must be at least 1, workers 1 to 1024";
            return Err(Error::config("http", reason));
        }
        let possible = |wait: Duration| !wait.is_zero() && wait <= Duration::from_secs(3600);
        if !possible(self.body_timeout) || !possible(self.work_timeout) {
            return Err(Error::config("http", "waits last up to an hour, and longer than nothing"));
        }
        Ok(())
    }
}
