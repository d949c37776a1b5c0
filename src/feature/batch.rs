//! The batch driver: features of a whole history.
//!
//! Where sums are all that is needed, a kernel sweeps each entity's events in order with two cursors per window: O(n log n)
//! for the sort (O(n) when events come in order), then O(1) amortised per event, window and sum. Everything else is
//! replayed key by key through the very state machine that runs live.

use std::collections::HashMap;

use crate::error::{Error, Result};
use crate::feature::accumulator::KeyHashBuilder;
use crate::feature::definition::Current;
use crate::feature::frame::FeatureFrame;
use crate::feature::plan::{FeaturePlan, StreamPlan};
use crate::feature::replay::{Arrivals, LabelArrival};
use crate::feature::window::{Term, View, WindowColumn};
use crate::ids::EntityKey;
use crate::parallel::{for_each, map, n_threads};

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
        let order = self.sorted(events)?;
        let arrivals = Arrivals::new(arrivals, events.len())?;
        let prepared = map(&self.streams, |stream| {
            let groups = Groups::of(self, stream, events, &order);
            // Sums that could leave 64 bits are left to the state machine, which has 128.
            let ledger =
                stream.is_additive().then(|| Ledger::of(self, stream, &groups, events, &order));
            (groups, ledger.flatten())
        });
        let mut columns = vec![Vec::new(); self.schema().n_features()];
        for (stream, (groups, ledger)) in self.streams.iter().zip(&prepared) {
            let computed = match ledger {
                Some(ledger) => ledger.sweep(stream, groups, &order),
                None => self.replay(stream, &groups.rows(&order), events, &arrivals),
            };
            for (column, values) in computed {
                columns[column] = values;
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

    /// Positions of the events in (time, id) order.
    pub(super) fn sorted(&self, events: &[E]) -> Result<Vec<u32>> {
        let n = u32::try_from(events.len())
            .map_err(|_| Error::input("events", "more than 4,294,967,295 at once"))?;
        let at = |&i: &u32| self.order(&events[i as usize]);
        let mut order: Vec<u32> = (0..n).collect();
        let mut last = None;
        let rises = |event: &E| last.replace(self.order(event)) < Some(self.order(event));
        if events.iter().all(rises) {
            return Ok(order);
        }
        order.sort_by_key(at);
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
}

/// Which events share a key.
pub(super) struct Groups {
    pub(super) numbers: HashMap<EntityKey, u32, KeyHashBuilder>,
    /// The group of each event, in (time, id) order.
    of: Vec<u32>,
    /// Where each group starts when they are laid side by side, and the end.
    starts: Vec<u32>,
}

impl Groups {
    pub(super) fn of<E>(
        plan: &FeaturePlan<E>,
        stream: &StreamPlan,
        events: &[E],
        order: &[u32],
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
        let of = order.iter().map(number).collect();
        let mut end = 0;
        let ends = sizes.iter().map(|size| {
            end += size;
            end
        });
        Groups { numbers, of, starts: std::iter::once(0).chain(ends).collect() }
    }

    /// The rows of each group, in (time, id) order.
    pub(super) fn rows(&self, order: &[u32]) -> Vec<Vec<u32>> {
        let size = |bounds: &[u32]| Vec::with_capacity((bounds[1] - bounds[0]) as usize);
        let mut rows: Vec<Vec<u32>> = self.starts.windows(2).map(size).collect();
        self.of.iter().zip(order).for_each(|(group, row)| rows[*group as usize].push(*row));
        rows
    }
}

/// All events of a stream, groups side by side and each in order, with what was added up before every one of them: the sum
/// over any stretch is one subtraction.
struct Ledger {
    /// Per event, and once more at the end: its time, where it stands in (time, id) order, then the sum of each term over
    /// all events before it.
    lines: Vec<i64>,
    terms: Vec<Term>,
}

/// Where the sums of a line start.
const SUMS: usize = 2;

/// Events of a task's stretch of time that are done before the next: columns are laid out by time and the ledger by group, so that either
/// order alone would miss the cache at every event. What a block needs of the columns fits a core's cache.
const BLOCK: usize = 1 << 16;

/// Rows that are turned into columns together.
const TILE: usize = 64;

impl Ledger {
    /// `None` if a sum could leave 64 bits.
    fn of<E>(
        plan: &FeaturePlan<E>,
        stream: &StreamPlan,
        groups: &Groups,
        events: &[E],
        order: &[u32],
    ) -> Option<Self> {
        let mut terms: Vec<Term> = Vec::new();
        for term in stream.windows.iter().flat_map(|window| &window.terms) {
            if !terms.contains(term) {
                terms.push(*term);
            }
        }
        let width = SUMS + terms.len();
        let mut lines = vec![0; (order.len() + 1) * width];
        let mut next = groups.starts.clone();
        // No sum over any stretch of events is further from zero than all sizes together.
        let mut bound = 0u64;
        for (rank, (&row, &group)) in (0..).zip(order.iter().zip(&groups.of)) {
            let place = next[group as usize] as usize;
            next[group as usize] += 1;
            let event = &events[row as usize];
            let line = &mut lines[place * width..][..width];
            line[..SUMS].copy_from_slice(&[plan.events.time(event).micros(), rank]);
            for (value, term) in line[SUMS..].iter_mut().zip(&terms) {
                let of =
                    |m: usize| plan.measure(stream.measures[m], event, || plan.events.label(event));
                *value = match *term {
                    Term::Value(measure) => of(measure),
                    Term::Square(measure) => of(measure).checked_pow(2)?,
                };
                bound = bound.checked_add(value.unsigned_abs())?;
            }
        }
        i64::try_from(bound).ok()?;
        let mut before = vec![0; terms.len()];
        for line in lines.chunks_exact_mut(width) {
            for (value, before) in line[SUMS..].iter_mut().zip(&mut before) {
                (*value, *before) = (*before, *before + *value);
            }
        }
        lines[order.len() * width] = i64::MAX;
        Some(Ledger { lines, terms })
    }

    /// The stream's columns. Stretches of time are independent of each other; within one, each group's place in the ledger
    /// and the edges of its windows only ever move forward.
    fn sweep(&self, stream: &StreamPlan, groups: &Groups, order: &[u32]) -> Vec<(usize, Vec<f64>)> {
        let (n, k) = (order.len(), stream.columns.len());
        let mut columns: Vec<Vec<f64>> = stream.columns.iter().map(|_| vec![0.0; n]).collect();
        // Two tasks a thread, to even them out; where they are cut changes no value.
        let length = n.div_ceil(2 * n_threads()).max(BLOCK);
        let mut stretches: Vec<Stretch<'_>> = (0..n.div_ceil(length))
            .map(|i| Stretch { first: i * length, columns: Vec::with_capacity(k) })
            .collect();
        for column in &mut columns {
            for (stretch, part) in stretches.iter_mut().zip(column.chunks_mut(length)) {
                stretch.columns.push(part);
            }
        }
        for_each(stretches, |stretch| self.sweep_stretch(stream, groups, stretch));
        // Columns are in order of time; rows may not be.
        if !order.is_sorted() {
            for column in &mut columns {
                let by_time = std::mem::replace(column, vec![0.0; n]);
                order.iter().zip(by_time).for_each(|(&row, value)| column[row as usize] = value);
            }
        }
        stream.columns.iter().map(|plan| plan.column).zip(columns).collect()
    }

    fn sweep_stretch(&self, stream: &StreamPlan, groups: &Groups, mut stretch: Stretch<'_>) {
        let (n_windows, k) = (stream.windows.len(), stream.columns.len());
        let width = SUMS + self.terms.len();
        let line = |event: u32| &self.lines[event as usize * width..][..width];
        let place =
            |term: &Term| self.terms.iter().position(|t| t == term).expect("gathered above");
        let recipe = |w: usize| Recipe {
            terms: stream.windows[w].terms.iter().map(|term| SUMS + place(term)).collect(),
            columns: stream.columns.iter().enumerate().filter(|(_, c)| c.window == w).collect(),
        };
        let recipes: Vec<Recipe<'_>> = (0..n_windows).map(recipe).collect();
        // Per group its next event, and per group and window the stretch of events that it sees.
        let mut next: Vec<u32> = groups.starts.clone();
        let mut seen: Vec<(u32, u32)> =
            groups.starts.iter().flat_map(|&start| vec![(start, start); n_windows]).collect();
        if stretch.first > 0 {
            for (group, bounds) in groups.starts.windows(2).enumerate() {
                let before = |event| line(event)[1] < stretch.first as i64;
                next[group] = partition(bounds[0], bounds[1], before);
                if next[group] == bounds[1] {
                    continue;
                }
                let at = line(next[group])[0];
                for (w, window) in stream.windows.iter().enumerate() {
                    let (start, end) = (window.start(at), next[group]);
                    let low = partition(bounds[0], end, |event| line(event)[0] <= start);
                    let entered = |event: u32| window.enters((line(event)[0], 0), (at, 1));
                    let high = partition(low, end, entered);
                    seen[group * n_windows + w] = (low, high);
                }
            }
        }
        let mut sums = vec![0; self.terms.len()];
        let mut rows = vec![0.0; BLOCK * k];
        let end = stretch.first + stretch.columns.first().map_or(0, |column| column.len());
        for block in (stretch.first..end).step_by(BLOCK) {
            let block_end = (block + BLOCK).min(end);
            for (group, bounds) in groups.starts.windows(2).enumerate() {
                let seen = &mut seen[group * n_windows..][..n_windows];
                let mut event = next[group];
                while event < bounds[1] && line(event)[1] < block_end as i64 {
                    let (at, rank) = (line(event)[0], line(event)[1] as usize);
                    let row = &mut rows[(rank - block) * k..][..k];
                    let windows = stream.windows.iter().zip(seen.iter_mut());
                    for ((window, (low, high)), recipe) in windows.zip(&recipes) {
                        // Within a group, place is order: ties need no ids here.
                        match (window.delay, window.current) {
                            (0, Current::Exclude) => *high = event,
                            (0, Current::Include) => *high = event + 1,
                            _ => {
                                while *high < event && window.enters((line(*high)[0], 0), (at, 1)) {
                                    *high += 1;
                                }
                            }
                        }
                        // The event itself is after the start, so this ends within the group.
                        let start = window.start(at);
                        while line(*low)[0] <= start {
                            *low += 1;
                        }
                        let (from, to) = (line(*low), line(*high));
                        for (sum, &term) in sums.iter_mut().zip(&recipe.terms) {
                            *sum = to[term] - from[term];
                        }
                        let view = View {
                            at,
                            count: u64::from(*high - *low),
                            sums: &sums[..],
                            accumulators: &[],
                            first: None,
                            last: None,
                            own: &[],
                        };
                        for (place, column) in &recipe.columns {
                            row[*place] = column.finish(&view);
                        }
                    }
                    event += 1;
                }
                next[group] = event;
            }
            // Rows become columns a few at a time, so that a row is read from memory once.
            for first in (block..block_end).step_by(TILE) {
                let last = (first + TILE).min(block_end);
                let rows = &rows[(first - block) * k..(last - block) * k];
                for (i, column) in stretch.columns.iter_mut().enumerate() {
                    let column = &mut column[first - stretch.first..last - stretch.first];
                    let values = rows.iter().skip(i).step_by(k);
                    column.iter_mut().zip(values).for_each(|(to, from)| *to = *from);
                }
            }
        }
    }
}

/// Of a window: where its terms are in a line, and its columns with their places in a row.
struct Recipe<'a> {
    terms: Vec<usize>,
    columns: Vec<(usize, &'a WindowColumn)>,
}

/// The part of a stream's columns that one task writes: events from number `first` on, in order of time.
struct Stretch<'a> {
    first: usize,
    columns: Vec<&'a mut [f64]>,
}

/// The first number in `low..high` for which `before` does not hold; it must hold for a beginning of the range.
fn partition(mut low: u32, mut high: u32, before: impl Fn(u32) -> bool) -> u32 {
    while low < high {
        let middle = low + (high - low) / 2;
        if before(middle) { low = middle + 1 } else { high = middle }
    }
    low
}
