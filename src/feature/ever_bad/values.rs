//! Which values a window sees, and how many of them are bad.

use std::collections::{BTreeSet, HashMap};
use std::mem;

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::feature::ever_bad::table::NEVER;
use crate::feature::ever_bad::{BadEvents, BadTable};
use crate::feature::key_hash::KeyHashBuilder;

/// The values of a window's events. Values enter and leave without a look at the table; [`follow`](Self::follow) then brings
/// the count up to a moment.
#[derive(Debug, Clone, Default)]
pub(in crate::feature) struct LinkedValues {
    values: HashMap<i64, Linked, KeyHashBuilder>,
    /// Entered and not looked up yet.
    fresh: Vec<i64>,
    /// The table's version that the others are of.
    version: u64,
    /// How many are bad at the moment followed to.
    n_bad: usize,
    /// Those that will be, by the moment.
    waiting: BTreeSet<(i64, i64)>,
}

#[derive(Debug, Clone)]
struct Linked {
    n_events: u32,
    /// From which moment on it is bad; counted or waiting unless `NEVER`.
    since: i64,
}

impl LinkedValues {
    /// Takes in events of a value.
    pub(in crate::feature) fn add(&mut self, value: i64, n_events: u32) {
        let linked = self.values.entry(value).or_insert_with(|| {
            self.fresh.push(value);
            Linked { n_events: 0, since: NEVER }
        });
        linked.n_events = linked.n_events.saturating_add(n_events);
    }

    /// Lets an event of a value go.
    pub(in crate::feature) fn remove(&mut self, value: i64) {
        let Some(linked) = self.values.get_mut(&value) else { return };
        linked.n_events -= 1;
        if linked.n_events == 0 {
            let since = linked.since;
            self.values.remove(&value);
            self.uncount(value, since);
        }
    }

    pub(in crate::feature) fn merge(&mut self, other: &LinkedValues) {
        other.values.iter().for_each(|(value, linked)| self.add(*value, linked.n_events));
    }

    /// How many values are bad, at the moment followed to.
    pub(in crate::feature) fn n_bad(&self) -> usize {
        self.n_bad
    }

    /// Brings the count up to a moment, never before the one followed to last: O(1) amortised for values that came, became
    /// bad or left, and O(changes of the table since then, or all values if they are fewer).
    pub(in crate::feature) fn follow(&mut self, table: &BadTable, at: i64) {
        table.note_reading(at);
        if !self.fresh.is_empty() || self.version != table.version() {
            let events = table.events();
            let changed = events.changed_since(self.version);
            match changed.filter(|changed| changed.len() < self.values.len()) {
                Some(changed) => {
                    changed.for_each(|value| self.look_up(&events, value, at));
                    let mut fresh = mem::take(&mut self.fresh);
                    fresh.drain(..).for_each(|value| self.look_up(&events, value, at));
                    self.fresh = fresh; // its room
                }
                None => self.look_up_all(&events, at),
            }
            self.version = events.version();
        }
        while self.waiting.first().is_some_and(|(since, _)| *since <= at) {
            self.waiting.pop_first();
            self.n_bad += 1;
        }
    }

    /// The count at any moment: O(values).
    pub(in crate::feature) fn recount(&mut self, table: &BadTable, at: i64) {
        let events = table.events();
        self.look_up_all(&events, at);
        self.version = events.version();
    }

    fn look_up_all(&mut self, events: &BadEvents, at: i64) {
        self.fresh.clear();
        self.waiting.clear();
        self.n_bad = 0;
        for (value, linked) in &mut self.values {
            linked.since = events.since(*value);
            count(&mut self.n_bad, &mut self.waiting, *value, linked.since, at);
        }
    }

    fn look_up(&mut self, events: &BadEvents, value: i64, at: i64) {
        let Some(linked) = self.values.get_mut(&value) else { return };
        let since = events.since(value);
        let before = mem::replace(&mut linked.since, since);
        if before != since {
            self.uncount(value, before);
            count(&mut self.n_bad, &mut self.waiting, value, since, at);
        }
    }

    fn uncount(&mut self, value: i64, since: i64) {
        if since != NEVER && !self.waiting.remove(&(since, value)) {
            self.n_bad -= 1;
        }
    }

    pub(in crate::feature) fn write(&self, bytes: &mut Vec<u8>) {
        let mut values: Vec<(i64, u32)> =
            self.values.iter().map(|(value, linked)| (*value, linked.n_events)).collect();
        values.sort_unstable();
        bytes.extend((values.len() as u64).to_le_bytes());
        for (value, n_events) in values {
            bytes.extend(value.to_le_bytes());
            bytes.extend(n_events.to_le_bytes());
        }
    }

    /// The counterpart of [`write`](Self::write); all values are looked up at the first reading.
    pub(in crate::feature) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let odd = || Error::corrupt("feature snapshot", "holds values that cannot be");
        let n = usize::try_from(reader.u64()?).map_err(|_| odd())?;
        let values = reader.list(n, 12, |reader| Ok((reader.i64()?, reader.u32()?)))?;
        if !values.is_sorted_by(|a, b| a.0 < b.0) || values.iter().any(|(_, events)| *events == 0) {
            return Err(odd());
        }
        let mut linked = LinkedValues::default();
        values.into_iter().for_each(|(value, n_events)| linked.add(value, n_events));
        Ok(linked)
    }
}

/// Counts a value that is bad by now, and lets one that will be wait.
fn count(n_bad: &mut usize, waiting: &mut BTreeSet<(i64, i64)>, value: i64, since: i64, at: i64) {
    if since <= at && since != NEVER {
        *n_bad += 1;
    } else if since != NEVER {
        waiting.insert((since, value));
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::feature::ever_bad::BadTablePlan;

    fn table(label_delay: i64) -> BadTable {
        BadTable::new(BadTablePlan { entity: 0, label_delay: Some(label_delay) })
    }

    /// Straight from the words.
    fn expected(values: &LinkedValues, table: &BadTable, at: i64) -> usize {
        let events = table.events();
        values.values.keys().filter(|value| events.since(**value) <= at).count()
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn the_count_followed_is_that_of_the_words(
            steps in prop::collection::vec((0..5u8, 0..6i64, 0..30i64), 1..120),
        ) {
            let table = table(5);
            let mut values = LinkedValues::default();
            let mut at = 0;
            for (n, (kind, value, moment)) in steps.into_iter().enumerate() {
                match kind {
                    0 => values.add(value, 1),
                    1 => values.remove(value),
                    2 => { table.label(value, (moment, n as i64 % 2), true); }
                    3 => { table.label(value, (moment, n as i64 % 2), false); }
                    _ => {
                        at += moment / 10;
                        values.follow(&table, at);
                        prop_assert_eq!(values.n_bad(), expected(&values, &table, at));
                        let mut copy = values.clone();
                        copy.recount(&table, moment);
                        prop_assert_eq!(copy.n_bad(), expected(&values, &table, moment));
                    }
                }
            }
        }
    }

    /// More changes than the table remembers, many of a key's values and few, and a table put in place of another.
    #[test]
    fn a_key_that_missed_changes_catches_up() {
        let (table, n) = (table(1), 10_000);
        let mut values = LinkedValues::default();
        (0..n).for_each(|value| values.add(value, 1));
        values.follow(&table, 0);
        assert_eq!(values.n_bad(), 0);
        for (at, bad) in [(10, 9_000), (20, 9_003), (30, 10_000)] {
            (0..bad).for_each(|value| _ = table.label(value, (at, value), true));
            values.follow(&table, at);
            let before = expected(&values, &table, at);
            assert_eq!(values.n_bad(), before);
            values.follow(&table, at + 1);
            assert_eq!(values.n_bad() as i64, bad);
        }
        let empty = BadTable::read_bytes(table.plan(), &mut Reader::new("test", &[0; 16])).unwrap();
        table.replace(empty);
        values.follow(&table, 40);
        assert_eq!(values.n_bad(), 0);
    }
}
