//! The labels of a history, by the value whose event they belong to.

use std::collections::HashMap;

use crate::feature::accumulator::AccumulatorPlan;
use crate::feature::ever_bad::BadTablePlan;
use crate::feature::key_hash::KeyHashBuilder;
use crate::feature::plan::{FeaturePlan, StreamPlan};
use crate::feature::replay::LabelArrival;

/// A label that comes, or changes.
#[derive(Debug, Clone, Copy)]
pub(in crate::feature) struct LabelChange {
    /// When; never before its event.
    pub(in crate::feature) at: i64,
    /// (time, id) of the event.
    pub(in crate::feature) of: (i64, i64),
    pub(in crate::feature) bad: bool,
}

impl LabelChange {
    /// A label is heard of at the earliest when its event takes place.
    pub(in crate::feature) fn of(arrival: &LabelArrival, of: (i64, i64)) -> Self {
        LabelChange { at: arrival.at.micros().max(of.0), of, bad: arrival.bad }
    }

    /// Whether one who asks has heard of it: nobody hears of the label of an event that comes after.
    pub(in crate::feature) fn is_known(&self, asking: (i64, i64)) -> bool {
        self.at <= asking.0 && self.of < asking
    }
}

/// By table, what a replay tells it of each value.
pub(in crate::feature) struct BadLabels {
    by_table: Vec<HashMap<i64, Vec<LabelChange>, KeyHashBuilder>>,
}

impl BadLabels {
    /// Labels with a fixed delay are taken off the events, those that count as they arrive are `arrivals`, whose rows must
    /// be there. O(events) for each table.
    pub(in crate::feature) fn new<E>(
        plan: &FeaturePlan<E>,
        events: &[E],
        arrivals: &[LabelArrival],
    ) -> Self {
        let value = |table: &BadTablePlan, event| {
            let key = plan.events.read_entity(table.entity, event);
            key.0 as i64
        };
        let by_table = plan.bad_tables.iter().map(|table| {
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
                    let event = &events[arrival.row];
                    let change = LabelChange::of(arrival, plan.order(event));
                    by_value.entry(value(table, event)).or_default().push(change);
                }
            }
            by_value
        });
        BadLabels { by_table: by_table.collect() }
    }

    /// What the tables of a stream are told of the values of one key's events, in order: table, value and label.
    pub(in crate::feature) fn of_key<'e, E: 'e>(
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
                let changes = self.by_table[table].get(&value).into_iter().flatten();
                told.extend(changes.map(|change| (table, value, *change)));
            }
        }
        told.sort_by_key(|(_, _, change)| (change.at, change.of));
        told
    }
}
