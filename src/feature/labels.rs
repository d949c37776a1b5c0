//! The labels of a history: when each became known, by its event and by the value that the event belongs to.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::feature::accumulator::AccumulatorPlan;
use crate::feature::ever_bad::BadTablePlan;
use crate::feature::key_hash::KeyHashBuilder;
use crate::feature::plan::{FeaturePlan, Measure, StreamPlan};
use crate::time::Timestamp;

/// A label that became known, or changed, at some moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LabelArrival {
    /// Position of the event among those computed.
    pub row: usize,
    /// When the label became known.
    pub at: Timestamp,
    /// Whether the event is bad; a later arrival for the same event replaces an earlier one (a chargeback reversed).
    pub bad: bool,
}

/// A label that comes, or changes.
#[derive(Debug, Clone, Copy)]
pub(super) struct LabelChange {
    /// When; never before its event.
    pub(super) at: i64,
    /// (time, id) of the event.
    pub(super) of: (i64, i64),
    pub(super) bad: bool,
}

impl LabelChange {
    /// A label is heard of at the earliest when its event takes place.
    pub(super) fn of(arrival: &LabelArrival, of: (i64, i64)) -> Self {
        LabelChange { at: arrival.at.micros().max(of.0), of, bad: arrival.bad }
    }

    /// Whether one who asks has heard of it: nobody hears of the label of an event that comes after.
    pub(super) fn is_known(&self, asking: (i64, i64)) -> bool {
        self.at <= asking.0 && self.of < asking
    }
}

/// The labels of a history.
pub(super) struct Labelling {
    /// Those that arrive, by the row of their event.
    by_row: HashMap<u32, Vec<LabelChange>, KeyHashBuilder>,
    /// For each table of the plan, what a replay tells it of a value.
    by_value: Vec<HashMap<i64, Vec<LabelChange>, KeyHashBuilder>>,
}

impl Labelling {
    /// Of tables, labels with a fixed delay are taken off the events; all others are `arrivals`. O(events) for each table.
    ///
    /// # Errors
    /// `InvalidInput` for an arrival of an event that is not there.
    pub(super) fn new<E>(
        plan: &FeaturePlan<E>,
        events: &[E],
        arrivals: &[LabelArrival],
    ) -> Result<Self> {
        let n_events = events.len();
        let of = |row: usize| plan.order(&events[row]);
        let mut by_row: HashMap<u32, Vec<LabelChange>, KeyHashBuilder> = HashMap::default();
        for arrival in arrivals {
            if arrival.row >= n_events {
                let reason = format!("row {} of {n_events} events", arrival.row);
                return Err(Error::input("label arrivals", reason));
            }
            let change = LabelChange::of(arrival, of(arrival.row));
            by_row.entry(arrival.row as u32).or_default().push(change);
        }
        let value = |table: &BadTablePlan, event| {
            let key = plan.events.read_entity(table.entity, event);
            key.0 as i64
        };
        let by_value = plan.bad_tables.iter().map(|table| {
            let mut by_value: HashMap<i64, Vec<LabelChange>, KeyHashBuilder> = HashMap::default();
            if table.label_delay.is_some() {
                for event in events.iter().filter(|event| plan.events.label(event) == Some(true)) {
                    let of = plan.order(event);
                    let change = LabelChange { at: of.0, of, bad: true };
                    // Nothing is taken back, so the first one tells all.
                    let first = by_value.entry(value(table, event)).or_insert_with(|| vec![change]);
                    if of < first[0].of {
                        first[0] = change;
                    }
                }
            } else {
                for arrival in arrivals {
                    let change = LabelChange::of(arrival, of(arrival.row));
                    let value = value(table, &events[arrival.row]);
                    by_value.entry(value).or_default().push(change);
                }
            }
            by_value
        });
        Ok(Labelling { by_row, by_value: by_value.collect() })
    }

    /// The labels that arrive of one key's events, in order.
    pub(super) fn of_events(&self, rows: &[u32]) -> Vec<LabelChange> {
        let changes = rows.iter().filter_map(|row| self.by_row.get(row)).flatten();
        let mut changes: Vec<LabelChange> = changes.copied().collect();
        changes.sort_by_key(|change| (change.at, change.of));
        changes
    }

    /// What the tables of a stream are told of the values of one key's events, in order: table, value and label.
    pub(super) fn of_values<'e, E: 'e>(
        &self,
        plan: &FeaturePlan<E>,
        stream: &StreamPlan,
        events: impl Iterator<Item = &'e E> + Clone,
    ) -> Vec<(usize, i64, LabelChange)> {
        let mut tables: Vec<usize> = Vec::new();
        for (_, accumulator) in &stream.accumulators {
            if let AccumulatorPlan::EverBad { table, .. } = accumulator
                && !tables.contains(table)
            {
                tables.push(*table);
            }
        }
        let mut told = Vec::new();
        for table in tables {
            let entity = plan.bad_tables[table].entity;
            let value = |event| plan.events.read_entity(entity, event).0 as i64;
            let mut values: Vec<i64> = events.clone().map(value).collect();
            values.sort_unstable();
            values.dedup();
            for value in values {
                let changes = self.by_value[table].get(&value).into_iter().flatten();
                told.extend(changes.map(|change| (table, value, *change)));
            }
        }
        told.sort_by_key(|(_, _, change)| (change.at, change.of));
        told
    }
}

impl<E> FeaturePlan<E> {
    /// When labels that count as they arrive became known, by the events themselves.
    pub(super) fn arrivals(&self, events: &[E]) -> Result<Vec<LabelArrival>> {
        let as_arrived = |m: &Measure| matches!(m, Measure::Bad { as_arrived: true });
        let tables = self.bad_tables.iter().any(|table| table.label_delay.is_none());
        if !tables && !self.streams.iter().any(|stream| stream.measures.iter().any(as_arrived)) {
            return Ok(Vec::new());
        }
        if !self.events.has_label_arrival() {
            let reason = "labels count as they arrive; the event schema needs .label_arrival(..)";
            return Err(Error::config("feature set", reason));
        }
        let arrival = |(row, event)| {
            let (at, bad) = (self.events.label_arrival(event)?, self.events.label(event)?);
            Some(LabelArrival { row, at, bad })
        };
        Ok(events.iter().enumerate().filter_map(arrival).collect())
    }
}
