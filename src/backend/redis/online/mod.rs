//! Live features that processes share.

#[cfg(feature = "redis-tokio")]
mod awaited;
mod config;
mod process;
mod script;

use std::fmt;

#[cfg(feature = "redis-tokio")]
pub use awaited::AsyncRedisOnlineFeatures;
pub use config::RedisOnlineConfig;
use process::{Batch, OBSERVE, Process};
use script::Answers;

use super::pool::RedisPool;
use crate::error::Result;
use crate::feature::{FeaturePlan, Observed};
use crate::schema::FeatureSchema;

/// How an event was observed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SharedObserved {
    /// What became of it.
    pub observed: Observed,
    /// Whether the vector is of the events of this process alone, as the server did not answer. The event waits to be
    /// counted by the others.
    pub degraded: bool,
}

/// Live feature state that any number of processes share through Redis, in one round trip per event.
///
/// # Which definitions
/// The state is whole numbers per tile of time, to which every process adds; nothing is read to be written back. So a
/// window has to begin and end between tiles: [`Width::Sawtooth`](crate::feature::Width::Sawtooth), calendar days or a
/// lifetime, no delay, the asking event included or excluded; and what is made of it has to add up: counts, sums, means,
/// standard deviations. Anything else is refused when it is bound, with the reason. Conditions, fields and formulas are as
/// everywhere.
///
/// # Which numbers
/// Where the events of an entity come in order they are those of [`OnlineFeatures`](crate::feature::OnlineFeatures), bit
/// for bit. Events count as they arrive: a vector sees what has arrived, in its own tile even what is later by its own time.
///
/// # When the server is away
/// An engine in memory has observed this process's events all the while: it answers, and the answer says so. The
/// events wait, and are counted when the server is back, 32 in a round trip. An event whose answer was lost as the server
/// went may have been counted already; its id tells, for as long as it is [remembered](RedisOnlineConfig::remember). It is
/// counted twice if the server stays away for longer than that: only what was under way, an event for each call and those
/// that were sent along with it, never what came later.
///
/// # Concurrency
/// Share it by reference; the pool's connections bound how many events are under way at once. Hosts on tokio that await their
/// events find `AsyncRedisOnlineFeatures` with the cargo feature `redis-tokio`.
///
/// # Cost
/// A round trip, and on the server a microsecond or so for each tile that the entity has. Per entity some 60 bytes for each
/// tile and sum.
pub struct RedisOnlineFeatures<E> {
    process: Process<E>,
    pool: RedisPool,
}

impl<E> RedisOnlineFeatures<E> {
    /// The state of a definition in the pool's namespace, shared by all that bind the same definition.
    ///
    /// # Errors
    /// `InvalidConfig` naming the first feature that cannot be shared, and why; for no time to remember or to forget; and as
    /// [`FeaturePlan::online`].
    pub fn new(pool: &RedisPool, plan: &FeaturePlan<E>, config: RedisOnlineConfig) -> Result<Self> {
        let process = Process::new(pool.server(), plan, config)?;
        Ok(RedisOnlineFeatures { process, pool: pool.clone() })
    }

    /// The columns of the vectors.
    pub fn schema(&self) -> &FeatureSchema {
        self.process.schema()
    }

    /// Writes the features of an event into `out` as they stand, and counts the event. Its label is never read.
    ///
    /// # Errors
    /// `SchemaMismatch` if `out` does not have one place per feature; those of the engine in memory, if it is to reject late
    /// events; `Corrupt` for keys that hold something else. A server that is away, slow or full is no error: the answer says
    /// that it is [`degraded`](SharedObserved::degraded).
    pub fn observe(&self, event: &E, out: &mut [f64]) -> Result<SharedObserved> {
        let (observed, batch) = self.process.observe(event, out)?;
        let answers = self.send(&batch);
        self.process.conclude(event, observed, batch.answered(answers)?, out)
    }

    /// Hands all events that wait to the server, if it is back; how many still wait. [`observe`](Self::observe) hands on some
    /// at a time, and its answers are of this process alone until none is left.
    ///
    /// # Errors
    /// `Io` for a login that is refused.
    pub fn flush(&self) -> Result<usize> {
        self.process.try_again();
        while let Some(batch) = self.process.next_waiting() {
            let answers = self.send(&batch);
            batch.answered(answers)?;
        }
        Ok(self.waiting())
    }

    /// Events that wait for the server.
    pub fn waiting(&self) -> usize {
        self.process.waiting()
    }

    /// Events that the other processes never count: dropped because too many waited, or because a key of theirs holds
    /// something else.
    pub fn lost(&self) -> u64 {
        self.process.lost()
    }

    fn send(&self, batch: &Batch<'_, E>) -> Result<Answers> {
        if batch.is_empty() {
            return Ok(Answers::new());
        }
        let calls = batch.calls();
        self.pool.read(OBSERVE, |connection| {
            let answers: Answers = calls.query(connection)?;
            if !script::is_lacking(&answers) {
                return Ok(answers);
            }
            script::OBSERVE.load(connection)?;
            calls.query(connection)
        })
    }
}

impl<E> fmt::Debug for RedisOnlineFeatures<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisOnlineFeatures").field(&self.process).finish()
    }
}
