//! The batch driver: features of a whole history.
//!
//! Where sums are all that is needed, a kernel takes all entities' events in order of time past two places per window: O(n
//! log n) for the sort (O(n) when events come in order), then O(1) amortised per event, window and sum. Everything else is
//! replayed key by key through the very state machine that runs live.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::feature::frame::FeatureFrame;
use crate::feature::key_hash::KeyHashBuilder;
use crate::feature::labels::{LabelArrival, Labelling};
use crate::feature::plan::{FeaturePlan, StreamPlan};
use crate::feature::sweep::{Ledger, SweepTask};
use crate::ids::EntityKey;
use crate::parallel::{for_each, map, n_threads, sort};

impl<E: Sync> FeaturePlan<E> {
    /// The features of every event as they stood at its moment. Events may come in any order; rows keep it. Labels with a
    /// fixed delay are taken off the events; labels that count as they arrive become known at
    /// [`EventSchema::label_arrival`](crate::event::EventSchema::label_arrival). The answer does not depend on threads.
    ///
    /// # Errors
    /// `InvalidInput` if two events share both time and id, since nothing then says which came first; `InvalidConfig` if
    /// labels count as they arrive and the schema does not say when that is.
    pub fn compute(&self, events: &[E]) -> Result<FeatureFrame> {
        let arrivals = self.arrivals(events)?;
        self.compute_with_labels(events, &arrivals)
    }

    /// As [`compute`](Self::compute), with labels that count as they arrive given apart from the events, several for one
    /// event if its label changed. A label counts for events at its moment and later.
    ///
    /// # Errors
    /// As [`compute`](Self::compute); `InvalidInput` for an arrival of an event that is not there.
    pub fn compute_with_labels(
        &self,
        events: &[E],
        arrivals: &[LabelArrival],
    ) -> Result<FeatureFrame> {
        let timeline = self.timeline(events)?;
        let labels = Labelling::new(self, events, arrivals)?;
        let groups = map(&self.streams, |stream| Groups::of(self, stream, events, &timeline));
        let prepared: Vec<(&StreamPlan, &Groups)> = self.streams.iter().zip(&groups).collect();
        let ledgers =
            map(&prepared, |&(stream, groups)| Ledger::of(self, stream, groups, events, &timeline));

        let mut columns = self.sweep(&ledgers, &timeline);
        for ((stream, groups), ledger) in prepared.into_iter().zip(&ledgers) {
            if ledger.is_none() {
                let rows = groups.rows(&timeline.order);
                for (column, values) in self.replay(stream, &rows, events, &labels) {
                    columns[column] = values;
                }
            }
        }
        let own = map(&self.own, |&(column, own)| {
            (column, events.iter().map(|event| self.own_value(own, event)).collect::<Vec<f64>>())
        });
        for (column, values) in own {
            columns[column] = values;
        }
        for (column, steps) in &self.formulas {
            let row = |row: usize| {
                let own = |own| self.own_value(own, &events[row]);
                Self::formula(steps, own, |column| columns[column][row])
            };
            columns[*column] = (0..events.len()).map(row).collect();
        }
        Ok(FeatureFrame::new(self.schema().clone(), events.len(), columns))
    }

    /// The columns that add up, by row; the others are empty.
    fn sweep(&self, ledgers: &[Option<Ledger<'_>>], timeline: &Timeline) -> Vec<Vec<f64>> {
        let n = timeline.order.len();
        let mut columns = vec![Vec::new(); self.schema().n_features()];
        let summed = || ledgers.iter().flatten();
        for plan in summed().flat_map(|ledger| &ledger.stream.columns) {
            columns[plan.column] = vec![0.0; n];
        }
        // Two tasks a thread, to even them out; where they are cut changes no value.
        let n_windows: usize = summed().map(|ledger| ledger.stream.windows.len()).sum();
        let n_stretches = (2 * n_threads()).div_ceil(n_windows.max(1));
        let length = n.div_ceil(n_stretches).max(1);
        let mut parts: Vec<Option<&mut [f64]>> =
            columns.iter_mut().map(|column| Some(column.as_mut_slice())).collect();
        let tasks = summed().flat_map(|ledger| ledger.tasks(length, &mut parts)).collect();
        for_each(tasks, |task: SweepTask<'_, '_>| task.run());
        if timeline.in_order {
            return columns;
        }
        map(&columns, |by_time| {
            let mut by_row = vec![0.0; by_time.len()];
            let places = timeline.order.iter().map(|row| *row as usize);
            places.zip(by_time).for_each(|(row, value)| by_row[row] = *value);
            by_row
        })
    }

    /// The events in (time, id) order.
    pub(super) fn timeline(&self, events: &[E]) -> Result<Timeline> {
        let n = u32::try_from(events.len())
            .map_err(|_| Error::input("events", "more than 4,294,967,295 at once"))?;
        let mut places: Vec<((i64, i64), u32)> = Vec::new();
        let mut last = None;
        let rises = |event: &E| last.replace(self.order(event)) < Some(self.order(event));
        let in_order = events.iter().all(rises);
        if in_order {
            let times = events.iter().map(|event| self.events.time(event).micros()).collect();
            return Ok(Timeline { order: (0..n).collect(), times, in_order });
        }
        places.extend(events.iter().map(|event| self.order(event)).zip(0..n));
        sort(&mut places);
        if let Some(pair) = places.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            let (a, b) = (pair[0].1, pair[1].1);
            let event = &events[a as usize];
            let (time, id) = (self.events.time(event), self.events.id(event));
            let reason = format!("rows {a} and {b} share time {time} and id {id}");
            return Err(Error::input("events", reason));
        }
        let order = places.iter().map(|(_, row)| *row).collect();
        Ok(Timeline { order, times: places.iter().map(|(at, _)| at.0).collect(), in_order })
    }
}

/// Events in (time, id) order.
pub(super) struct Timeline {
    /// Their rows.
    pub(super) order: Vec<u32>,
    /// Their times, in microseconds.
    pub(super) times: Vec<i64>,
    /// Whether they came in order.
    in_order: bool,
}

/// Which events share a key.
pub(super) struct Groups {
    pub(super) numbers: HashMap<EntityKey, u32, KeyHashBuilder>,
    /// The group of each event, in (time, id) order.
    pub(super) of: Vec<u32>,
    /// How many events each group has.
    sizes: Vec<u32>,
}

impl Groups {
    pub(super) fn of<E>(
        plan: &FeaturePlan<E>,
        stream: &StreamPlan,
        events: &[E],
        timeline: &Timeline,
    ) -> Self {
        let mut numbers: HashMap<EntityKey, u32, KeyHashBuilder> = HashMap::default();
        let mut sizes: Vec<u32> = Vec::new();
        let number = |&row: &u32| {
            let key = plan.events.read_entity(stream.entity, &events[row as usize]);
            let number = *numbers.entry(key).or_insert_with(|| {
                sizes.push(0);
                sizes.len() as u32 - 1
            });
            sizes[number as usize] += 1;
            number
        };
        let of = timeline.order.iter().map(number).collect();
        Groups { numbers, of, sizes }
    }

    pub(super) fn len(&self) -> usize {
        self.sizes.len()
    }

    /// The rows of each group, in (time, id) order.
    pub(super) fn rows(&self, order: &[u32]) -> Vec<Vec<u32>> {
        let mut rows: Vec<Vec<u32>> =
            self.sizes.iter().map(|size| Vec::with_capacity(*size as usize)).collect();
        self.of.iter().zip(order).for_each(|(group, row)| rows[*group as usize].push(*row));
        rows
    }
}
