//! The batch driver: features of a whole history.
//!
//! Where sums are all that is needed, a kernel sweeps each entity's events in order with two cursors per window: O(n log n)
//! for the sort (O(n) when events come in order), then O(1) amortised per event, window and sum. Everything else is
//! replayed key by key through the very state machine that runs live.

use std::collections::HashMap;

#[cfg(feature = "parallel")]
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::feature::accumulator::KeyHashBuilder;
use crate::feature::definition::Current;
use crate::feature::frame::FeatureFrame;
use crate::feature::history::KeyHistory;
use crate::feature::plan::{FeaturePlan, Measure, StreamPlan, View};
use crate::ids::EntityKey;
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

impl<E: Sync> FeaturePlan<E> {
    /// The features of every event as they stood at its moment. Events may come in any order; rows keep it. Labels with a
    /// fixed delay are taken off the events; labels that count as they arrive become known at
    /// [`EventSchema::label_arrival`](crate::event::EventSchema::label_arrival). The answer does not depend on threads.
    ///
    /// # Errors
    /// `InvalidInput` if two events share both time and id, since nothing then says which came first; `InvalidConfig` if
    /// labels count as they arrive and the schema does not say when that is.
    pub fn compute(&self, events: &[E]) -> Result<FeatureFrame> {
        let as_arrived = |m: &Measure| matches!(m, Measure::Bad { as_arrived: true });
        let needed = self.streams.iter().any(|stream| stream.measures.iter().any(as_arrived));
        if needed && !self.events.has_label_arrival() {
            let reason = "labels count as they arrive; the event schema needs .label_arrival(..)";
            return Err(Error::config("feature set", reason));
        }
        let arrivals = events.iter().enumerate().filter_map(|(row, event)| {
            let (at, bad) = (self.events.label_arrival(event)?, self.events.label(event)?);
            Some(LabelArrival { row, at, bad })
        });
        let arrivals: Vec<LabelArrival> = if needed { arrivals.collect() } else { Vec::new() };
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
        let order = self.sorted(events)?;
        if let Some(arrival) = arrivals.iter().find(|arrival| arrival.row >= events.len()) {
            let reason = format!("row {} of {} events", arrival.row, events.len());
            return Err(Error::input("label arrivals", reason));
        }
        let groups = map(&self.streams, |stream| Groups::of(self, stream, events, &order));
        let pairs: Vec<_> = self.streams.iter().zip(&groups).collect();
        let sorted = map(&pairs, |(stream, groups)| {
            stream.is_additive().then(|| Sorted::gather(self, stream, groups, events))
        });
        // One task per window of the kernel, one per replayed stream.
        let mut tasks: Vec<Task<'_>> = Vec::new();
        for (&(stream, groups), sorted) in pairs.iter().zip(&sorted) {
            match sorted {
                Some(sorted) => {
                    let windows = 0..stream.windows.len();
                    tasks.extend(windows.map(|w| Task::Sweep(stream, groups, sorted, w)));
                }
                None => tasks.push(Task::Replay(stream, groups)),
            }
        }
        let computed = map(&tasks, |task| match task {
            Task::Sweep(stream, groups, columns, w) => sweep(stream, groups, columns, *w),
            Task::Replay(stream, groups) => self.replay(stream, groups, events, arrivals),
        });
        let own = map(&self.own, |&(column, own)| {
            (column, events.iter().map(|event| self.own_value(own, event)).collect::<Vec<f64>>())
        });

        let mut columns = vec![Vec::new(); self.schema().n_features()];
        for (column, values) in own.into_iter().chain(computed.into_iter().flatten()) {
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

    /// Positions of the events in (time, id) order.
    fn sorted(&self, events: &[E]) -> Result<Vec<u32>> {
        let n = u32::try_from(events.len())
            .map_err(|_| Error::input("events", "more than 4,294,967,295 at once"))?;
        let at = |&i: &u32| self.order(&events[i as usize]);
        let mut order: Vec<u32> = (0..n).collect();
        if !order.is_sorted_by(|a, b| at(a) < at(b)) {
            order.sort_by_key(at);
        }
        match order.windows(2).find(|pair| at(&pair[0]) == at(&pair[1])) {
            None => Ok(order),
            Some(pair) => {
                let (a, b) = (pair[0], pair[1]);
                let event = &events[a as usize];
                let (time, id) = (self.events.time(event), self.events.id(event));
                let reason = format!("rows {a} and {b} share time {time} and id {id}");
                Err(Error::input("events", reason))
            }
        }
    }

    /// Runs each key's events and labels through the live state machine, in the order in which they happened.
    fn replay(
        &self,
        stream: &StreamPlan,
        groups: &Groups,
        events: &[E],
        arrivals: &[LabelArrival],
    ) -> Vec<(usize, Vec<f64>)> {
        let mut by_row: HashMap<usize, Vec<&LabelArrival>, KeyHashBuilder> = HashMap::default();
        arrivals.iter().for_each(|arrival| by_row.entry(arrival.row).or_default().push(arrival));
        let replay_key = |key: usize| -> Vec<f64> {
            let rows = &groups.rows[groups.starts[key]..groups.starts[key + 1]];
            // Labels by the moment they arrive, at the earliest that of their event, which never sees its own.
            let arrivals = rows.iter().filter_map(|row| by_row.get(&(*row as usize))).flatten();
            let mut labels: Vec<(i64, (i64, i64), bool)> = arrivals
                .map(|label| {
                    let order = self.order(&events[label.row]);
                    (label.at.micros().max(order.0), order, label.bad)
                })
                .collect();
            labels.sort_by_key(|(at, order, _)| (*at, *order));
            let mut labels = labels.into_iter().peekable();
            let mut history = KeyHistory::new(stream);
            let mut own = vec![0; stream.measures.len()];
            let mut values = vec![f64::NAN; rows.len() * stream.columns.len()];
            for (i, &row) in rows.iter().enumerate() {
                let event = &events[row as usize];
                let order = self.order(event);
                while let Some((_, of, bad)) = labels.next_if(|l| l.0 <= order.0 && l.1 < order) {
                    history.label(stream, of, bad);
                }
                for (value, measure) in own.iter_mut().zip(&stream.measures) {
                    let arrives =
                        matches!(measure, Measure::Bad { as_arrived: true } | Measure::Labelled);
                    let label = || if arrives { None } else { self.events.label(event) };
                    *value = self.measure(*measure, event, label);
                }
                if self.passes(stream, event) {
                    history.insert(stream, order, &own);
                }
                let mut next = i * stream.columns.len();
                history.read(stream, order, &own, &mut |_, value| {
                    values[next] = value;
                    next += 1;
                });
                history.evict(stream, 0);
            }
            values
        };
        let keys: Vec<usize> = (0..groups.starts.len() - 1).collect();
        let by_key = map(&keys, |key| replay_key(*key));
        let mut columns: Vec<(usize, Vec<f64>)> =
            stream.columns.iter().map(|c| (c.column, vec![f64::NAN; events.len()])).collect();
        for (key, values) in by_key.iter().enumerate() {
            let rows = &groups.rows[groups.starts[key]..groups.starts[key + 1]];
            for (row, values) in rows.iter().zip(values.chunks_exact(stream.columns.len())) {
                for ((_, column), value) in columns.iter_mut().zip(values) {
                    column[*row as usize] = *value;
                }
            }
        }
        columns
    }
}

enum Task<'a> {
    Sweep(&'a StreamPlan, &'a Groups, &'a Sorted, usize),
    Replay(&'a StreamPlan, &'a Groups),
}

/// Rows of all events with the keys of one entity side by side, each key's in (time, id) order.
struct Groups {
    rows: Vec<u32>,
    /// Where each key's rows start, and the end.
    starts: Vec<usize>,
}

impl Groups {
    /// A counting sort by key, stable, so that every key keeps the order it is given.
    fn of<E>(plan: &FeaturePlan<E>, stream: &StreamPlan, events: &[E], order: &[u32]) -> Self {
        let mut numbers: HashMap<EntityKey, u32, KeyHashBuilder> = HashMap::default();
        let mut sizes: Vec<usize> = Vec::new();
        let number_of: Vec<u32> = order
            .iter()
            .map(|&row| {
                let key = plan.events.read_entity(stream.entity, &events[row as usize]);
                let number = *numbers.entry(key).or_insert_with(|| {
                    sizes.push(0);
                    sizes.len() as u32 - 1
                });
                sizes[number as usize] += 1;
                number
            })
            .collect();
        let mut starts = Vec::with_capacity(sizes.len() + 1);
        let mut end = 0;
        starts.push(0);
        starts.extend(sizes.iter().map(|size| {
            end += size;
            end
        }));
        let mut next = starts.clone();
        let mut rows = vec![0; order.len()];
        for (&row, &number) in order.iter().zip(&number_of) {
            rows[next[number as usize]] = row;
            next[number as usize] += 1;
        }
        Groups { rows, starts }
    }
}

/// What the kernel reads of each event, in the order of the [`Groups`].
struct Sorted {
    times: Vec<i64>,
    /// One list per measure of the stream.
    measures: Vec<Vec<i64>>,
}

impl Sorted {
    fn gather<E>(
        plan: &FeaturePlan<E>,
        stream: &StreamPlan,
        groups: &Groups,
        events: &[E],
    ) -> Self {
        let event = |row: &u32| &events[*row as usize];
        let times = groups.rows.iter().map(|row| plan.events.time(event(row)).micros()).collect();
        let read = |measure: &Measure| -> Vec<i64> {
            let label = |row| plan.events.label(event(row));
            let value = |row| plan.measure(*measure, event(row), || label(row));
            groups.rows.iter().map(value).collect()
        };
        Sorted { times, measures: stream.measures.iter().map(read).collect() }
    }
}

/// The columns of one window: both of its edges only ever move forward within a key.
fn sweep(
    stream: &StreamPlan,
    groups: &Groups,
    sorted: &Sorted,
    w: usize,
) -> Vec<(usize, Vec<f64>)> {
    let window = &stream.windows[w];
    let plans: Vec<_> = stream.columns.iter().filter(|column| column.window == w).collect();
    let n = groups.rows.len();
    let mut columns: Vec<(usize, Vec<f64>)> =
        plans.iter().map(|plan| (plan.column, vec![0.0; n])).collect();
    let mut sums = vec![0i128; window.terms.len()];
    let times = &sorted.times[..n];
    for bounds in groups.starts.windows(2) {
        let (mut low, mut high) = (bounds[0], bounds[0]);
        sums.fill(0);
        for i in bounds[0]..bounds[1] {
            let at = times[i];
            // Within a key, position is order: ties need no ids here.
            let enters = |high: usize| match (window.delay, window.current) {
                (0, Current::Exclude) => high < i,
                (0, Current::Include) => high <= i,
                (0, Current::StrictPast) => high < i && times[high] < at,
                _ => high < i && window.enters((times[high], 0), (at, 0)),
            };
            while enters(high) {
                for (sum, term) in sums.iter_mut().zip(&window.terms) {
                    *sum += term.of(|measure| sorted.measures[measure][high]);
                }
                high += 1;
            }
            let start = window.start(at);
            while low < high && times[low] <= start {
                for (sum, term) in sums.iter_mut().zip(&window.terms) {
                    *sum -= term.of(|measure| sorted.measures[measure][low]);
                }
                low += 1;
            }
            let view = View {
                at,
                count: (high - low) as u64,
                sums: &sums,
                accumulators: &[],
                first: None,
                last: None,
                own: &[],
            };
            let row = groups.rows[i] as usize;
            for (plan, (_, values)) in plans.iter().zip(&mut columns) {
                values[row] = plan.finish(&view);
            }
        }
    }
    columns
}

#[cfg(feature = "parallel")]
fn map<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    items.par_iter().map(f).collect()
}

#[cfg(not(feature = "parallel"))]
fn map<T, R>(items: &[T], f: impl Fn(&T) -> R) -> Vec<R> {
    items.iter().map(f).collect()
}
