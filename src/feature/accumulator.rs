//! What a window keeps of its events beyond sums.

use std::collections::{HashMap, VecDeque};
use std::hash::{BuildHasherDefault, Hasher};

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::stats::quantile_of_sorted;

/// One event as a history keeps it: time, id, then one number per measure.
pub(super) type Entry = [i64];

/// Where the measures of an [`Entry`] start.
pub(super) const MEASURES: usize = 2;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AccumulatorPlan {
    /// Largest or smallest value of a measure.
    Extreme { measure: usize, largest: bool },
    /// All values of a measure in order.
    Sorted { measure: usize },
    /// How often each value, or pair of values, occurs; among bad events only, if `only_bad` names their measure.
    Counts { first: usize, second: Option<usize>, only_bad: Option<usize> },
    /// First and last event.
    Ends,
}

/// The state of an [`AccumulatorPlan`]. Events enter at the back and leave at the front of a window, in order; those of a
/// lifetime never leave.
#[derive(Debug, Clone)]
pub(super) enum Accumulator {
    /// Candidates with their event numbers: each beats all behind it.
    Extreme(VecDeque<(u64, i64)>),
    /// The largest or smallest of all time.
    Bound(Option<i64>),
    Sorted(Vec<i64>),
    Counts(HashMap<(i64, i64), u32, KeyHashBuilder>),
    /// Empty before the first event.
    Ends {
        first: Vec<i64>,
        last: Vec<i64>,
    },
    /// First and last event of a window that moves: read off the history.
    Moving,
}

impl AccumulatorPlan {
    pub(super) fn start(self, lifetime: bool) -> Accumulator {
        match self {
            AccumulatorPlan::Extreme { .. } if lifetime => Accumulator::Bound(None),
            AccumulatorPlan::Extreme { .. } => Accumulator::Extreme(VecDeque::new()),
            AccumulatorPlan::Sorted { .. } => Accumulator::Sorted(Vec::new()),
            AccumulatorPlan::Counts { .. } => Accumulator::Counts(HashMap::default()),
            AccumulatorPlan::Ends if lifetime => {
                Accumulator::Ends { first: Vec::new(), last: Vec::new() }
            }
            AccumulatorPlan::Ends => Accumulator::Moving,
        }
    }

    /// The counted value of an event; `None` if it does not take part.
    fn counted(self, entry: &Entry) -> Option<(i64, i64)> {
        let AccumulatorPlan::Counts { first, second, only_bad } = self else { return None };
        let measure = |measure: usize| entry[MEASURES + measure];
        let counts = only_bad.is_none_or(|bad| measure(bad) != 0);
        counts.then(|| (measure(first), second.map_or(0, measure)))
    }
}

impl Accumulator {
    pub(super) fn add(&mut self, plan: AccumulatorPlan, number: u64, entry: &Entry) {
        match (self, plan) {
            (Accumulator::Extreme(candidates), AccumulatorPlan::Extreme { measure, largest }) => {
                let value = entry[MEASURES + measure];
                let beaten = |old: i64| if largest { old <= value } else { old >= value };
                while candidates.back().is_some_and(|(_, old)| beaten(*old)) {
                    candidates.pop_back();
                }
                candidates.push_back((number, value));
            }
            (Accumulator::Bound(bound), AccumulatorPlan::Extreme { measure, largest }) => {
                let value = entry[MEASURES + measure];
                let better = |old: i64| if largest { old.max(value) } else { old.min(value) };
                *bound = Some(bound.map_or(value, better));
            }
            (Accumulator::Sorted(values), AccumulatorPlan::Sorted { measure }) => {
                let value = entry[MEASURES + measure];
                values.insert(values.partition_point(|old| *old <= value), value);
            }
            (Accumulator::Counts(counts), plan) => {
                if let Some(value) = plan.counted(entry) {
                    *counts.entry(value).or_insert(0) += 1;
                }
            }
            (Accumulator::Ends { first, last }, _) => {
                if first.is_empty() {
                    first.extend_from_slice(entry);
                }
                last.clear();
                last.extend_from_slice(entry);
            }
            _ => {}
        }
    }

    pub(super) fn remove(&mut self, plan: AccumulatorPlan, number: u64, entry: &Entry) {
        match (self, plan) {
            (Accumulator::Extreme(candidates), _)
                if candidates.front().is_some_and(|(oldest, _)| *oldest == number) =>
            {
                candidates.pop_front();
            }
            (Accumulator::Sorted(values), AccumulatorPlan::Sorted { measure }) => {
                let value = entry[MEASURES + measure];
                let place = values.partition_point(|old| *old < value);
                values.remove(place);
            }
            (Accumulator::Counts(counts), plan) => {
                if let Some(value) = plan.counted(entry) {
                    take(counts, value);
                }
            }
            _ => {}
        }
    }

    /// Follows a change of an event's label; `entry` holds the new one, and the event is in the window.
    pub(super) fn relabel(&mut self, plan: AccumulatorPlan, entry: &Entry) {
        let (Accumulator::Counts(counts), AccumulatorPlan::Counts { only_bad: Some(_), .. }) =
            (self, plan)
        else {
            return;
        };
        match plan.counted(entry) {
            Some(value) => *counts.entry(value).or_insert(0) += 1,
            None => {
                let everything = match plan {
                    AccumulatorPlan::Counts { first, second, .. } => {
                        AccumulatorPlan::Counts { first, second, only_bad: None }
                    }
                    other => other,
                };
                if let Some(value) = everything.counted(entry) {
                    take(counts, value);
                }
            }
        }
    }

    /// Largest or smallest value.
    pub(super) fn extreme(&self) -> Option<i64> {
        match self {
            Accumulator::Extreme(candidates) => candidates.front().map(|(_, value)| *value),
            Accumulator::Bound(bound) => *bound,
            _ => None,
        }
    }

    /// All values in order.
    pub(super) fn sorted(&self) -> &[i64] {
        match self {
            Accumulator::Sorted(values) => values,
            _ => &[],
        }
    }

    /// Interpolated quantile, in minor units.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        let values = self.sorted();
        quantile_of_sorted(values.len(), |i| values[i] as f64, q)
    }

    /// Number of different values.
    pub(super) fn distinct(&self) -> usize {
        match self {
            Accumulator::Counts(counts) => counts.len(),
            _ => 0,
        }
    }

    /// How often a value occurs.
    pub(super) fn count_of(&self, value: i64) -> u32 {
        match self {
            Accumulator::Counts(counts) => counts.get(&(value, 0)).copied().unwrap_or(0),
            _ => 0,
        }
    }

    /// How often each value occurs, most frequent first: the order of the table plays no part.
    pub(super) fn frequencies(&self) -> Vec<u32> {
        let Accumulator::Counts(counts) = self else { return Vec::new() };
        let mut counts: Vec<u32> = counts.values().copied().collect();
        counts.sort_unstable_by(|a, b| b.cmp(a));
        counts
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let mut list = |values: &[i64]| {
            bytes.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        };
        match self {
            // Read again from the events that the history keeps.
            Accumulator::Extreme(_) | Accumulator::Sorted(_) | Accumulator::Moving => {}
            Accumulator::Bound(bound) => list(bound.as_slice()),
            Accumulator::Ends { first, last } => {
                list(first);
                list(last);
            }
            Accumulator::Counts(counts) => {
                let mut counts: Vec<_> =
                    counts.iter().map(|(v, n)| [v.0, v.1, i64::from(*n)]).collect();
                counts.sort_unstable();
                list(counts.as_flattened());
            }
        }
    }

    /// The counterpart of [`write`](Self::write), onto a fresh accumulator of a lifetime.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, entry_len: usize) -> Result<()> {
        let mut list = || -> Result<Vec<i64>> {
            let n = reader.u64()? as usize;
            if reader.remaining() / 8 < n {
                return Err(Error::corrupt("feature snapshot", "ends too early"));
            }
            (0..n).map(|_| reader.i64()).collect()
        };
        let odd = || Error::corrupt("feature snapshot", "holds a list that cannot be");
        match self {
            Accumulator::Extreme(_) | Accumulator::Sorted(_) | Accumulator::Moving => {}
            Accumulator::Bound(bound) => *bound = list()?.first().copied(),
            Accumulator::Ends { first, last } => {
                (*first, *last) = (list()?, list()?);
                if ![0, entry_len].contains(&first.len()) || first.len() != last.len() {
                    return Err(odd());
                }
            }
            Accumulator::Counts(counts) => {
                let list = list()?;
                let (triples, []) = list.as_chunks::<3>() else { return Err(odd()) };
                for [a, b, n] in triples {
                    let n = u32::try_from(*n).ok().filter(|n| *n > 0).ok_or_else(odd)?;
                    counts.insert((*a, *b), n);
                }
            }
        }
        Ok(())
    }
}

fn take(counts: &mut HashMap<(i64, i64), u32, KeyHashBuilder>, value: (i64, i64)) {
    if let Some(count) = counts.get_mut(&value) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&value);
        }
    }
}

/// Hashes keys for tables whose order is never looked at: one multiplication, halves folded.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct KeyHash(u64);

pub(super) type KeyHashBuilder = BuildHasherDefault<KeyHash>;

impl Hasher for KeyHash {
    fn write(&mut self, bytes: &[u8]) {
        bytes.chunks(8).for_each(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        });
    }

    fn write_u64(&mut self, word: u64) {
        // 2^64 / golden ratio, odd; folding brings the well mixed high half down to the bits a table indexes by.
        let product = u128::from(self.0 ^ word ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
