//! What a window keeps of its events beyond sums.

use std::collections::{HashMap, VecDeque};

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::feature::ever_bad::{BadTable, LinkedValues};
use crate::feature::key_hash::KeyHashBuilder;
use crate::feature::sketch::{DistinctSketch, QuantileSketch};
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
    /// Which values occur, and how many of them are bad by a table.
    EverBad { measure: usize, table: usize },
    /// First and last event.
    Ends,
    /// About how many different values.
    Distinct { measure: usize },
    /// About which value lies at a quantile.
    Quantiles { measure: usize },
}

/// The state of an [`AccumulatorPlan`]. Events enter at the back of a window and leave at its front, in order, unless the
/// window folds: then they enter in any order and never leave.
#[derive(Debug, Clone)]
pub(super) enum Accumulator {
    /// Candidates with their event numbers: each beats all behind it.
    Extreme(VecDeque<(u64, i64)>),
    /// The largest or smallest of all.
    Bound(Option<i64>),
    Sorted(Vec<i64>),
    Counts(ValueCounts),
    EverBad(Box<LinkedValues>),
    /// Empty before the first event.
    Ends {
        first: Vec<i64>,
        last: Vec<i64>,
    },
    /// First and last event of a window whose events are kept: read off the history.
    Kept,
    Distinct(DistinctSketch),
    Quantiles(QuantileSketch),
}

impl AccumulatorPlan {
    pub(super) fn start(self, folds: bool) -> Accumulator {
        match self {
            AccumulatorPlan::Extreme { .. } if folds => Accumulator::Bound(None),
            AccumulatorPlan::Extreme { .. } => Accumulator::Extreme(VecDeque::new()),
            AccumulatorPlan::Sorted { .. } => Accumulator::Sorted(Vec::new()),
            AccumulatorPlan::Counts { .. } => Accumulator::Counts(HashMap::default()),
            AccumulatorPlan::EverBad { .. } => Accumulator::EverBad(Box::default()),
            AccumulatorPlan::Ends if folds => {
                Accumulator::Ends { first: Vec::new(), last: Vec::new() }
            }
            AccumulatorPlan::Ends => Accumulator::Kept,
            AccumulatorPlan::Distinct { .. } => Accumulator::Distinct(DistinctSketch::default()),
            AccumulatorPlan::Quantiles { .. } => Accumulator::Quantiles(QuantileSketch::default()),
        }
    }

    /// Whether it counts bad events by this measure.
    pub(super) fn counts_bad(self, measure: usize) -> bool {
        matches!(self, AccumulatorPlan::Counts { only_bad: Some(bad), .. } if bad == measure)
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
                raise(bound, entry[MEASURES + measure], largest);
            }
            (Accumulator::Sorted(values), AccumulatorPlan::Sorted { measure }) => {
                let value = entry[MEASURES + measure];
                values.insert(values.partition_point(|old| *old <= value), value);
            }
            (Accumulator::Counts(counts), plan) => {
                if let Some(value) = plan.counted(entry) {
                    grow(counts, value, 1);
                }
            }
            (Accumulator::EverBad(values), AccumulatorPlan::EverBad { measure, .. }) => {
                values.add(entry[MEASURES + measure], 1);
            }
            (Accumulator::Ends { first, last }, _) => widen(first, last, entry),
            (Accumulator::Distinct(sketch), AccumulatorPlan::Distinct { measure }) => {
                sketch.add(entry[MEASURES + measure]);
            }
            (Accumulator::Quantiles(sketch), AccumulatorPlan::Quantiles { measure }) => {
                sketch.add(entry[MEASURES + measure]);
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
            (Accumulator::EverBad(values), AccumulatorPlan::EverBad { measure, .. }) => {
                values.remove(entry[MEASURES + measure]);
            }
            _ => {}
        }
    }

    /// Takes in another part of the same window that folds.
    pub(super) fn merge(&mut self, plan: AccumulatorPlan, other: &Accumulator) {
        match (self, other) {
            (Accumulator::Bound(bound), Accumulator::Bound(other)) => {
                let largest = matches!(plan, AccumulatorPlan::Extreme { largest: true, .. });
                other.iter().for_each(|value| raise(bound, *value, largest));
            }
            (Accumulator::Counts(counts), Accumulator::Counts(other)) => {
                other.iter().for_each(|(value, n)| grow(counts, *value, *n));
            }
            (Accumulator::EverBad(values), Accumulator::EverBad(other)) => values.merge(other),
            (Accumulator::Ends { first, last }, Accumulator::Ends { first: f, last: l }) => {
                [f, l]
                    .into_iter()
                    .filter(|end| !end.is_empty())
                    .for_each(|end| widen(first, last, end));
            }
            (Accumulator::Distinct(sketch), Accumulator::Distinct(other)) => sketch.merge(other),
            (Accumulator::Quantiles(sketch), Accumulator::Quantiles(other)) => sketch.merge(other),
            _ => {}
        }
    }

    /// Follows a change of an event's label; `entry` holds the new one, and the event is in the window.
    pub(super) fn relabel(&mut self, plan: AccumulatorPlan, entry: &Entry) {
        let (Accumulator::Counts(counts), AccumulatorPlan::Counts { first, second, .. }) =
            (self, plan)
        else {
            return;
        };
        let everything = AccumulatorPlan::Counts { first, second, only_bad: None };
        match (plan.counted(entry), everything.counted(entry)) {
            (Some(value), _) => grow(counts, value, 1),
            (None, Some(value)) => take(counts, value),
            (None, None) => {}
        }
    }

    /// Brings what follows a table up to a moment, which never goes back.
    pub(super) fn follow(&mut self, plan: AccumulatorPlan, tables: &[BadTable], at: i64) {
        if let (Accumulator::EverBad(values), AccumulatorPlan::EverBad { table, .. }) = (self, plan)
        {
            values.follow(&tables[table], at);
        }
    }

    /// As [`follow`](Self::follow), to any moment.
    pub(super) fn recount(&mut self, plan: AccumulatorPlan, tables: &[BadTable], at: i64) {
        if let (Accumulator::EverBad(values), AccumulatorPlan::EverBad { table, .. }) = (self, plan)
        {
            values.recount(&tables[table], at);
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

    /// Quantile, in minor units.
    pub(super) fn quantile(&self, q: f64) -> Option<f64> {
        match self {
            Accumulator::Quantiles(sketch) => sketch.quantile(q),
            _ => {
                let values = self.sorted();
                quantile_of_sorted(values.len(), |i| values[i] as f64, q)
            }
        }
    }

    /// Number of different values, of those that count.
    pub(super) fn distinct(&self) -> f64 {
        match self {
            Accumulator::Counts(counts) => counts.len() as f64,
            Accumulator::EverBad(values) => values.n_bad() as f64,
            Accumulator::Distinct(sketch) => sketch.count(),
            _ => 0.0,
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

    /// First and last event, where it keeps them itself.
    pub(super) fn ends(&self) -> Option<(&Entry, &Entry)> {
        match self {
            Accumulator::Ends { first, last } => Some((first, last)),
            _ => None,
        }
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let mut list = |values: &[i64]| {
            bytes.extend((values.len() as u64).to_le_bytes());
            values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        };
        match self {
            // Read again from the events that the history keeps.
            Accumulator::Extreme(_) | Accumulator::Sorted(_) | Accumulator::Kept => {}
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
            Accumulator::EverBad(values) => values.write(bytes),
            Accumulator::Distinct(sketch) => sketch.write(bytes),
            Accumulator::Quantiles(sketch) => sketch.write(bytes),
        }
    }

    /// The counterpart of [`write`](Self::write), onto a fresh accumulator.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>, entry_len: usize) -> Result<()> {
        let list = |reader: &mut Reader<'_>| -> Result<Vec<i64>> {
            let n = reader.u64()? as usize;
            if reader.remaining() / 8 < n {
                return Err(Error::corrupt("feature snapshot", "ends too early"));
            }
            (0..n).map(|_| reader.i64()).collect()
        };
        let odd = || Error::corrupt("feature snapshot", "holds a list that cannot be");
        match self {
            Accumulator::Extreme(_) | Accumulator::Sorted(_) | Accumulator::Kept => {}
            Accumulator::Bound(bound) => *bound = list(reader)?.first().copied(),
            Accumulator::Ends { first, last } => {
                (*first, *last) = (list(reader)?, list(reader)?);
                if ![0, entry_len].contains(&first.len()) || first.len() != last.len() {
                    return Err(odd());
                }
            }
            Accumulator::Counts(counts) => {
                let list = list(reader)?;
                let (triples, []) = list.as_chunks::<3>() else { return Err(odd()) };
                for [a, b, n] in triples {
                    let n = u32::try_from(*n).ok().filter(|n| *n > 0).ok_or_else(odd)?;
                    counts.insert((*a, *b), n);
                }
            }
            Accumulator::EverBad(values) => **values = LinkedValues::read(reader)?,
            Accumulator::Distinct(sketch) => *sketch = DistinctSketch::read(reader)?,
            Accumulator::Quantiles(sketch) => *sketch = QuantileSketch::read(reader)?,
        }
        Ok(())
    }
}

fn raise(bound: &mut Option<i64>, value: i64, largest: bool) {
    let better = |old: i64| if largest { old.max(value) } else { old.min(value) };
    *bound = Some(bound.map_or(value, better));
}

/// Moves the ends apart where an event lies outside them.
fn widen(first: &mut Vec<i64>, last: &mut Vec<i64>, entry: &Entry) {
    let order = |entry: &Entry| (entry[0], entry[1]);
    if first.is_empty() || order(entry) < order(first) {
        first.clear();
        first.extend_from_slice(entry);
    }
    if last.is_empty() || order(entry) >= order(last) {
        last.clear();
        last.extend_from_slice(entry);
    }
}

type ValueCounts = HashMap<(i64, i64), u32, KeyHashBuilder>;

fn grow(counts: &mut ValueCounts, value: (i64, i64), n: u32) {
    let count = counts.entry(value).or_insert(0);
    *count = count.saturating_add(n);
}

fn take(counts: &mut ValueCounts, value: (i64, i64)) {
    if let Some(count) = counts.get_mut(&value) {
        *count -= 1;
        if *count == 0 {
            counts.remove(&value);
        }
    }
}
