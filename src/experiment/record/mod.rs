//! Recording: exposures and outcomes become whole numbers that add up in any order.

mod bytes;
mod counters;
mod pairs;
mod requests;
mod score;
mod statistics;
mod sums;
mod units;

pub use counters::{Recorded, RecorderCounters};
pub(super) use pairs::{PAIR_BINS, PairSums};
pub(super) use score::{LOSS_ONE, N_BANDS, N_BINS};
pub use statistics::{ExperimentStatistics, RecorderConfig};
pub(super) use sums::{ArmSums, Cohort, N_BUCKETS, Sum, WEIGHT_ONE};
pub(super) use units::UnitState;

use std::sync::{Mutex, MutexGuard, PoisonError};

use super::life::Experiment;
use super::token::ExposureToken;
use crate::error::Result;
use crate::stats::Sharded;
use crate::time::Timestamp;

/// Counts exposures and outcomes from any number of threads.
///
/// A call puts its token down; every 128th one of a thread counts what has been put down, and so does
/// [`statistics`](Self::statistics). Recorders of other processes [merge](ExperimentStatistics::merge) into the same numbers in
/// any order. What became of a record is told by the [`counters`](ExperimentStatistics::counters).
///
/// # Concurrency
/// Share it by reference. A call takes one lock, its thread's own unless more than eight threads record; who counts waits
/// for others that do.
///
/// # Cost
/// No allocation once an arm and a day have been seen, but for the memories' growth. Most calls put their token down: a lock and
/// a copy of 120 bytes, 15 ns. One in 128 counts as many, 2 to 5 µs. All in all 33 to 56 ns a record, where each call that
/// counted under its lock took 36 to 120: what one record waits for in memory, the next ones do not.
#[derive(Debug)]
pub struct ExperimentRecorder {
    put_down: Sharded<Vec<Record>>,
    statistics: Mutex<ExperimentStatistics>,
}

/// A call that is still to be counted.
#[derive(Debug)]
struct Record {
    token: ExposureToken,
    /// Whether it was bad, and when that became known; `None` for an exposure.
    label: Option<(bool, Timestamp)>,
}

/// Records that a thread puts down before it counts them: 15 kB, which stay in the nearest cache.
const MOST: usize = 128;

impl ExperimentRecorder {
    /// A recorder for an experiment.
    ///
    /// # Errors
    /// As [`ExperimentStatistics::new`].
    pub fn new(experiment: &Experiment, config: RecorderConfig) -> Result<Self> {
        Ok(ExperimentRecorder {
            put_down: Sharded::new(|| Vec::with_capacity(MOST)),
            statistics: Mutex::new(ExperimentStatistics::new(experiment, config)?),
        })
    }

    /// Counts a request that an arm answered.
    #[inline]
    pub fn expose(&self, token: &ExposureToken) {
        self.put_down(Record { token: *token, label: None });
    }

    /// Counts the label of a request, `true` for bad, that became known at `at`. It may come before the exposure.
    #[inline]
    pub fn outcome(&self, token: &ExposureToken, bad: bool, at: Timestamp) {
        self.put_down(Record { token: *token, label: Some((bad, at)) });
    }

    /// All counts so far. O(size).
    pub fn statistics(&self) -> ExperimentStatistics {
        self.put_down.each(|records| self.count(records));
        self.lock().clone()
    }

    #[inline]
    fn put_down(&self, record: Record) {
        let mut records = self.put_down.any();
        if records.len() == MOST {
            self.count(&mut records);
        }
        records.push(record);
    }

    #[cold]
    fn count(&self, records: &mut Vec<Record>) {
        let mut statistics = self.lock();
        for Record { token, label } in records.drain(..) {
            match label {
                None => statistics.expose(&token),
                Some((bad, at)) => statistics.outcome(&token, bad, at),
            };
        }
    }

    fn lock(&self) -> MutexGuard<'_, ExperimentStatistics> {
        self.statistics.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
