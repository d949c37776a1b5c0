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
use crate::time::Timestamp;

/// Counts exposures and outcomes from any number of threads: [`ExperimentStatistics`] in shards.
///
/// A unit's requests fall into one shard, so that duplicates meet. Shards and recorders of other processes
/// [merge](ExperimentStatistics::merge) into the same numbers in any order.
///
/// # Concurrency
/// Share it by reference; one short lock on one shard per call.
///
/// # Cost
/// No allocation once an arm and a day have been seen, but for the memories' growth. Some 25 ns for an exposure and 35 ns for
/// an outcome, of which the lock takes 9: a thread that counts in [`ExperimentStatistics`] of its own, to be merged now and
/// then, does without. Finding one of more units than the cache holds takes another 10 ns.
#[derive(Debug)]
pub struct ExperimentRecorder {
    shards: Box<[Mutex<ExperimentStatistics>]>,
}

impl ExperimentRecorder {
    /// A recorder for an experiment, with `shards` shards. One is enough for a million records a second; more are for
    /// threads that wait for each other, and each keeps a memory of requests of its own.
    ///
    /// # Errors
    /// `InvalidConfig` for no shards, or as [`ExperimentStatistics::new`].
    pub fn new(experiment: &Experiment, config: RecorderConfig, shards: usize) -> Result<Self> {
        if shards == 0 {
            return Err(crate::Error::config("recorder", "needs at least one shard"));
        }
        let per_shard = |n: usize| n.div_ceil(shards);
        let config = RecorderConfig {
            requests: per_shard(config.requests),
            units: per_shard(config.units),
            ..config
        };
        let shard = |_| ExperimentStatistics::new(experiment, config).map(Mutex::new);
        Ok(ExperimentRecorder { shards: (0..shards).map(shard).collect::<Result<_>>()? })
    }

    /// Counts a request that an arm answered.
    pub fn expose(&self, token: &ExposureToken) -> Recorded {
        self.shard(token).expose(token)
    }

    /// Counts the label of a request, `true` for bad, that became known at `at`. It may come before the exposure.
    pub fn outcome(&self, token: &ExposureToken, bad: bool, at: Timestamp) -> Recorded {
        self.shard(token).outcome(token, bad, at)
    }

    /// All counts so far, merged. O(size), each shard locked in turn.
    pub fn statistics(&self) -> ExperimentStatistics {
        let mut shards = self.shards.iter().map(lock);
        let mut merged = shards.next().expect("at least one shard, checked by new").clone();
        shards.for_each(|shard| merged.merge(&shard).expect("shards of one experiment fit"));
        merged
    }

    fn shard(&self, token: &ExposureToken) -> MutexGuard<'_, ExperimentStatistics> {
        // High bits of a multiplication: neighbouring units spread over the shards.
        let spread = token.unit.0.wrapping_mul(0x9E37_79B9_7F4A_7C15);
        lock(&self.shards[((u128::from(spread) * self.shards.len() as u128) >> 64) as usize])
    }
}

fn lock(shard: &Mutex<ExperimentStatistics>) -> MutexGuard<'_, ExperimentStatistics> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}
