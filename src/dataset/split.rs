//! Splits along time, with the gap that late labels force between training and testing.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::event::EventSchema;
use crate::ids::EntityKey;
use crate::time::{Timestamp, days};

/// Train on a stretch of time, wait until its labels have arrived, test on the stretch after that.
///
/// The protocol of the Fraud Detection Handbook (Le Borgne et al.), chapter 3: entities that were known to be
/// compromised leave the test rows, since a bank would have blocked them. Known at a test day is a bad event in the
/// training stretch, or on a later day that lies at least `gap` plus one day back, in whole days from the split's start.
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

/// Positions of the events on either side of a [`TimeSplit`], ascending.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SplitRows {
    /// To train on.
    pub train: Vec<usize>,
    /// To test on.
    pub test: Vec<usize>,
    /// Test events left out because their entity was known to be compromised.
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
        let (train, test) = (self.train_range(), self.test_range());
        // The first bad event since the start decides when an entity is known to be compromised.
        let mut first_bad: BTreeMap<EntityKey, Timestamp> = BTreeMap::new();
        for event in events {
            let at = schema.time(event);
            if at >= self.start && schema.label(event) == Some(true) {
                let first = first_bad.entry(schema.entity_key(entity, event)?).or_insert(at);
                *first = at.min(*first);
            }
        }
        let known_after = self.gap.as_micros().div_ceil(days(1).as_micros()) as i64;
        let known = |bad: Timestamp, at: Timestamp| {
            let age = at.days_since(self.start) - bad.days_since(self.start);
            bad < train.end || age > known_after
        };
        let mut rows = SplitRows { train: Vec::new(), test: Vec::new(), removed: 0 };
        for (row, event) in events.iter().enumerate() {
            let at = schema.time(event);
            if train.contains(&at) {
                rows.train.push(row);
            } else if test.contains(&at) {
                let bad = first_bad.get(&schema.entity_key(entity, event)?);
                if bad.is_some_and(|&bad| known(bad, at)) {
                    rows.removed += 1;
                } else {
                    rows.test.push(row);
                }
            }
        }
        let empty = |what: &str, range: &Range<Timestamp>| {
            let what = format!("the {what} stretch from {} to {}", range.start, range.end);
            Err(Error::Empty { what })
        };
        match () {
            _ if rows.train.is_empty() => empty("training", &train),
            _ if rows.test.is_empty() => empty("test", &test),
            _ => Ok(rows),
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
        assert_eq!((rows.train, rows.test, rows.removed), (vec![0, 1], vec![4, 6, 7], 2));
        assert!(
            split.rows(&schema, &events[..3], "customer").unwrap_err().to_string().contains("test")
        );
        assert!(split.rows(&schema, &events, "terminal").unwrap_err().is_not_found());
    }
}
