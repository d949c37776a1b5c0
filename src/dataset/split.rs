//! Splits along time, with the gap that late labels force between training and testing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::event::EventSchema;
use crate::ids::EntityKey;
use crate::time::{Timestamp, days};

/// Train on a stretch of time, wait until its labels have arrived, test on the stretch after that.
///
/// The protocol of the Fraud Detection Handbook (Le Borgne et al.), chapter 3. Entities that were known to be compromised
/// can leave the test rows, since a bank would have blocked them. Known at a test day is a bad event in the training
/// stretch, or on a later day that lies at least `gap` plus one day back, in whole days from the split's start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimeSplit {
    /// Start of training, usually a midnight.
    pub start: Timestamp,
    /// Length of training.
    pub train: Duration,
    /// Time that labels take to arrive.
    pub gap: Duration,
    /// Length of the test.
    pub test: Duration,
}

/// Positions of the rows or events on either side of a split, ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitRows {
    /// To train on.
    pub train: Vec<usize>,
    /// To test on.
    pub test: Vec<usize>,
    /// Test rows left out because their entity was known to be compromised.
    pub removed: usize,
}

impl TimeSplit {
    /// From the start of training to its end, exclusive.
    pub fn train_range(&self) -> Range<Timestamp> {
        self.start..self.start.plus(self.train)
    }

    /// From the start of the test to its end, exclusive.
    pub fn test_range(&self) -> Range<Timestamp> {
        let start = self.start.plus(self.train).plus(self.gap);
        start..start.plus(self.test)
    }

    /// This split and those before it, each earlier by one test stretch, in the order of time: `n` tests without a gap
    /// between them (prequential validation, the handbook's chapter 5).
    pub fn prequential(self, n: usize) -> Vec<TimeSplit> {
        let back = |i: usize| (0..i).fold(self.start, |start, _| start.minus(self.test));
        (0..n).rev().map(|i| TimeSplit { start: back(i), ..self }).collect()
    }

    /// Which events to train and to test on. `entity` names the entity that is blocked when one of its events is bad.
    ///
    /// # Errors
    /// `NotFound` for an unknown entity; `Empty` if no event falls into one of the sides.
    pub fn rows<E>(
        &self,
        schema: &EventSchema<E>,
        events: &[E],
        entity: &str,
    ) -> Result<SplitRows> {
        let position = schema.entity_position(entity)?;
        let facts = events.iter().map(|event| {
            let key = schema.read_entity(position, event);
            (schema.time(event), schema.label(event) == Some(true), Some(key))
        });
        self.split(facts)
    }

    /// Which rows to train and to test on, whatever is known of their entities.
    ///
    /// # Errors
    /// `InvalidInput` without times; `Empty` if no row falls into one of the sides.
    pub fn rows_of(&self, data: &Dataset) -> Result<SplitRows> {
        let times =
            data.times().ok_or_else(|| Error::input("data set", "a time split needs times"))?;
        self.split(times.iter().zip(data.labels()).map(|(&at, &bad)| (at, bad, None)))
    }

    /// Which rows to train and to test on, without the test rows of entities known to be compromised. The rows of the gap
    /// must be in the data set: they tell who is.
    ///
    /// # Errors
    /// `InvalidInput` without times or entities; `Empty` if no row falls into one of the sides.
    pub fn rows_without_compromised(&self, data: &Dataset) -> Result<SplitRows> {
        let (Some(times), Some(entities)) = (data.times(), data.entities()) else {
            return Err(Error::input("data set", "needs times and entities"));
        };
        let rows = times.iter().zip(data.labels()).zip(entities);
        self.split(rows.map(|((&at, &bad), &entity)| (at, bad, Some(entity))))
    }

    /// Splits rows of time, label and the entity that a bad one compromises.
    fn split(
        &self,
        rows: impl Iterator<Item = (Timestamp, bool, Option<EntityKey>)> + Clone,
    ) -> Result<SplitRows> {
        let (train, test) = (self.train_range(), self.test_range());
        // The first bad event since the start decides when an entity is known to be compromised.
        let mut first_bad: BTreeMap<EntityKey, Timestamp> = BTreeMap::new();
        for (at, bad, entity) in rows.clone() {
            if let (true, true, Some(entity)) = (bad, at >= self.start, entity) {
                let first = first_bad.entry(entity).or_insert(at);
                *first = at.min(*first);
            }
        }
        let known_after = self.gap.as_micros().div_ceil(days(1).as_micros()) as i64;
        let known = |bad: Timestamp, at: Timestamp| {
            let age = at.days_since(self.start) - bad.days_since(self.start);
            bad < train.end || age > known_after
        };
        let mut split = SplitRows { train: Vec::new(), test: Vec::new(), removed: 0 };
        for (row, (at, _, entity)) in rows.enumerate() {
            if train.contains(&at) {
                split.train.push(row);
            } else if test.contains(&at) {
                let bad = entity.and_then(|entity| first_bad.get(&entity));
                if bad.is_some_and(|&bad| known(bad, at)) {
                    split.removed += 1;
                } else {
                    split.test.push(row);
                }
            }
        }
        let empty = |what: &str, range: &Range<Timestamp>| {
            let what = format!("the {what} stretch from {} to {}", range.start, range.end);
            Err(Error::Empty { what })
        };
        match () {
            _ if split.train.is_empty() => empty("training", &train),
            _ if split.test.is_empty() => empty("test", &test),
            _ => Ok(split),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compromised_entities_leave_the_test_when_they_are_known() {
        // (day, customer, bad); train day 0, labels take one day, test days 2 to 5
        let events = [
            (0, 1, true),
            (0, 2, false),
            (1, 3, true),
            (2, 1, false), // known since training: out
            (2, 3, false), // bad on day 1, known from day 3 on: in
            (3, 3, false), // out
            (4, 2, true),
            (5, 2, false), // bad only yesterday: in
        ];
        let schema = EventSchema::<(u64, u64, bool)>::builder()
            .id(|e| e.0 * 10 + e.1)
            .time(|e| Timestamp::default().plus(days(e.0)))
            .entity("customer", |e| EntityKey(e.1))
            .label("bad", |e| Some(e.2))
            .build()
            .unwrap();
        let split =
            TimeSplit { start: Timestamp::default(), train: days(1), gap: days(1), test: days(4) };
        let rows = split.rows(&schema, &events, "customer").unwrap();
        assert_eq!(rows, rows_in(&[0, 1], &[4, 6, 7], 2));
        assert!(
            split.rows(&schema, &events[..3], "customer").unwrap_err().to_string().contains("test")
        );
        assert!(split.rows(&schema, &events, "terminal").unwrap_err().is_not_found());
        let data = data(&events);
        assert_eq!(split.rows_without_compromised(&data).unwrap(), rows_in(&[0, 1], &[4, 6, 7], 2));
        assert_eq!(split.rows_of(&data).unwrap(), rows_in(&[0, 1], &[3, 4, 5, 6, 7], 0));
    }

    fn rows_in(train: &[usize], test: &[usize], removed: usize) -> SplitRows {
        SplitRows { train: train.to_vec(), test: test.to_vec(), removed }
    }

    fn data(events: &[(u64, u64, bool)]) -> Dataset {
        let features = ndarray::Array2::zeros((events.len(), 1));
        let labels = events.iter().map(|e| e.2).collect();
        let times = events.iter().map(|e| Timestamp::default().plus(days(e.0))).collect();
        let entities = events.iter().map(|e| EntityKey(e.1)).collect();
        Dataset::new(crate::FeatureSchema::new(["x"]).unwrap(), features, labels)
            .and_then(|data| data.with_times(times)?.with_entities(entities))
            .unwrap()
    }

    #[test]
    fn prequential_splits_end_with_this_one_and_their_tests_join() {
        let start = Timestamp::from_date(2018, 7, 25);
        let split = TimeSplit { start, train: days(7), gap: days(6), test: days(5) };
        let splits = split.prequential(3);
        assert_eq!(splits[2], split);
        assert_eq!(splits[0].start, Timestamp::from_date(2018, 7, 15));
        assert!(splits.windows(2).all(|s| s[0].test_range().end == s[1].test_range().start));
    }
}
