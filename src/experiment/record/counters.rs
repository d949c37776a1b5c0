//! What was recorded, and what was not.

use serde::{Deserialize, Serialize};

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// Counted.
    Counted,
    /// The request had been counted before; nothing changed.
    Duplicate,
    /// The label of a request that was stopped and not let through: no part of the sample.
    OutsideSample,
    /// The token belongs to another experiment, or names a phase or an arm that there is not.
    Unknown,
}

/// What was not counted, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecorderCounters {
    /// Second records of a request.
    pub duplicates: u64,
    /// Second labels that contradict the first, among them.
    pub contradictions: u64,
    /// Tokens of other experiments, or of none.
    pub unknown: u64,
    /// Labels outside the let-through sample.
    pub outside_sample: u64,
    /// Requests of units that had been another arm's before.
    pub moved: u64,
    /// Records on days beyond the most that are kept.
    pub beyond_days: u64,
    /// Records of units beyond the most that are remembered.
    pub beyond_units: u64,
    /// Requests that are no longer remembered: a second record of one would be counted.
    pub forgotten: u64,
    /// Records that two merged recorders have both counted.
    pub counted_twice: u64,
}

impl RecorderCounters {
    /// Number of counters.
    pub(super) const LEN: usize = 9;

    /// All of them, in the order that bytes have them in.
    pub(super) fn all_mut(&mut self) -> [&mut u64; Self::LEN] {
        [
            &mut self.duplicates,
            &mut self.contradictions,
            &mut self.unknown,
            &mut self.outside_sample,
            &mut self.moved,
            &mut self.beyond_days,
            &mut self.beyond_units,
            &mut self.forgotten,
            &mut self.counted_twice,
        ]
    }

    pub(super) fn merge(&mut self, mut other: RecorderCounters) {
        let theirs = other.all_mut();
        let pairs = self.all_mut().into_iter().zip(theirs);
        pairs.for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
    }
}
