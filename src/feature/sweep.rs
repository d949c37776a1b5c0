//! The batch kernel, for windows that only add up.
//!
//! An event leaves a window of width `w` when the clock has moved `w` past it, whosever event it is: what enters and what
//! leaves is the same walk through all events in order of time for every entity at once. So a window needs two places in
//! one list and a small row of sums per entity, and no event is ever looked up by its entity.
//!
//! A window of the newest so many events is one of all of them here: what it is asked for is whether it is full, and what
//! it holds if not.

use crate::feature::batch::{Groups, Timeline};
use crate::feature::definition::Current;
use crate::feature::plan::{FeaturePlan, StreamPlan};
use crate::feature::window::{Term, View, WindowColumn, WindowPlan};

/// Most sums that a window may ask of the kernel.
pub(super) const MAX_TERMS: usize = 7;

/// A stream's events in (time, id) order, as far as sums need them.
pub(super) struct Ledger<'a> {
    pub(super) stream: &'a StreamPlan,
    times: &'a [i64],
    groups: &'a Groups,
    /// Whether each event meets the stream's conditions; empty if it has none.
    passes: Vec<bool>,
    /// What is added up, and its value for each event.
    terms: Vec<(Term, Vec<i64>)>,
}

impl<'a> Ledger<'a> {
    /// `None` if the stream needs more than sums, or if a sum could leave 64 bits.
    pub(super) fn of<E>(
        plan: &FeaturePlan<E>,
        stream: &'a StreamPlan,
        groups: &'a Groups,
        events: &[E],
        timeline: &'a Timeline,
    ) -> Option<Self> {
        if !stream.is_additive() {
            return None;
        }
        let in_order = || timeline.order.iter().map(|row| &events[*row as usize]);
        let passes = match stream.only.is_empty() {
            true => Vec::new(),
            false => in_order().map(|event| plan.passes(stream, event)).collect(),
        };
        let mut terms: Vec<(Term, Vec<i64>)> = Vec::new();
        // No sum over any stretch of events is further from zero than all sizes together.
        let mut bound = 0u64;
        for &term in stream.windows.iter().flat_map(|window| &window.terms) {
            if terms.iter().any(|(known, _)| *known == term) {
                continue;
            }
            let mut value = |event: &E| {
                let of =
                    |m: usize| plan.measure(stream.measures[m], event, || plan.events.label(event));
                let value = match term {
                    Term::Value(measure) => of(measure),
                    Term::Square(measure) => of(measure).checked_pow(2)?,
                };
                bound = bound.checked_add(value.unsigned_abs())?;
                Some(value)
            };
            terms.push((term, in_order().map(&mut value).collect::<Option<_>>()?));
        }
        i64::try_from(bound).ok()?;
        Some(Ledger { stream, times: &timeline.times, groups, passes, terms })
    }

    /// One task per window and stretch of `length` events. They are independent of each other: a stretch starts by taking
    /// in again what its window sees at that moment.
    pub(super) fn tasks<'c>(
        &'a self,
        length: usize,
        columns: &mut [Option<&'c mut [f64]>],
    ) -> Vec<SweepTask<'a, 'c>> {
        let n_stretches = self.times.len().div_ceil(length);
        let mut tasks = Vec::with_capacity(self.stream.windows.len() * n_stretches);
        for (w, window) in self.stream.windows.iter().enumerate() {
            if self.stream.columns.iter().all(|plan| plan.window != w) {
                continue; // it is read only where others are full
            }
            let at = tasks.len();
            tasks.extend((0..n_stretches).map(|stretch| SweepTask {
                ledger: self,
                window,
                first: stretch * length,
                columns: Vec::new(),
            }));
            for plan in self.stream.columns.iter().filter(|plan| plan.window == w) {
                let column =
                    columns[plan.column].take().expect("each column belongs to one window");
                for (task, part) in tasks[at..].iter_mut().zip(column.chunks_mut(length)) {
                    task.columns.push((plan, part));
                }
            }
        }
        tasks
    }
}

/// The columns of one window for the events from number `first` on, in order of time.
pub(super) struct SweepTask<'a, 'c> {
    ledger: &'a Ledger<'a>,
    window: &'a WindowPlan,
    first: usize,
    columns: Vec<(&'a WindowColumn, &'c mut [f64])>,
}

/// Columns of one window and where their values go.
type Columns<'t, 'a, 'c> = &'t mut [(&'a WindowColumn, &'c mut [f64])];

impl SweepTask<'_, '_> {
    pub(super) fn run(mut self) {
        // Where a window is full another one is read: it goes first, and the rows where it is not are then written over.
        let stream = self.ledger.stream;
        for (w, window) in stream.windows.iter().enumerate() {
            let when_full = self.columns.iter_mut().filter_map(|(column, values)| {
                let other = &stream.when_full[column.when_full?];
                (other.window == w).then_some((other, &mut **values))
            });
            let mut when_full: Vec<_> = when_full.collect();
            if !when_full.is_empty() {
                self.ledger.sweep(window, self.first, &mut when_full);
            }
        }
        self.ledger.sweep(self.window, self.first, &mut self.columns);
    }
}

impl Ledger<'_> {
    fn sweep(&self, window: &WindowPlan, first: usize, columns: Columns<'_, '_, '_>) {
        match window.most() {
            u64::MAX => self.sweep_by_terms::<false>(window, first, columns),
            _ => self.sweep_by_terms::<true>(window, first, columns),
        }
    }

    fn sweep_by_terms<const FILLS: bool>(
        &self,
        window: &WindowPlan,
        first: usize,
        columns: Columns<'_, '_, '_>,
    ) {
        match window.terms.len() {
            0 => self.sweep_of::<1, FILLS>(window, first, columns),
            1 => self.sweep_of::<2, FILLS>(window, first, columns),
            2..=3 => self.sweep_of::<4, FILLS>(window, first, columns),
            _ => self.sweep_of::<{ 1 + MAX_TERMS }, FILLS>(window, first, columns),
        }
    }

    /// `N` numbers per entity: how many events the window sees, then its sums. Where one that `FILLS` is full, the row is left
    /// as it is.
    fn sweep_of<const N: usize, const FILLS: bool>(
        &self,
        window: &WindowPlan,
        first: usize,
        columns: Columns<'_, '_, '_>,
    ) {
        let Ledger { times, groups, passes, terms, .. } = self;
        let of = |term: &Term| terms.iter().find(|(known, _)| known == term);
        let values: Vec<&[i64]> = window
            .terms
            .iter()
            .map(|term| of(term).expect("gathered from the same windows").1.as_slice())
            .collect();
        let mut states = vec![[0; N]; groups.len()];
        let book = |states: &mut [[i64; N]], event: usize, sign: i64| {
            if passes.is_empty() || passes[event] {
                let state = &mut states[groups.of[event] as usize];
                state[0] += sign;
                for (sum, values) in state[1..].iter_mut().zip(&values) {
                    *sum += sign * values[event];
                }
            }
        };
        let moving = !window.is_lifetime();
        let most = window.most();
        let n_rows = columns.first().map_or(0, |(_, values)| values.len());
        let mut low = 0;
        if moving && first < times.len() {
            let start = window.start(times[first]);
            low = times.partition_point(|time| *time <= start).min(first);
        }
        let mut high = low;
        for row in 0..n_rows {
            let event = first + row;
            let at = times[event];
            // In this list, place is order: ties need no ids.
            let limit = match (window.delay, window.current) {
                (0, Current::Exclude) => event,
                (0, Current::Include) => event + 1,
                _ => {
                    let hidden = |time: &i64| !window.enters((*time, 0), (at, 1));
                    times[high..].iter().position(hidden).map_or(times.len(), |n| high + n)
                }
            };
            while high < limit {
                book(&mut states, high, 1);
                high += 1;
            }
            if moving {
                let start = window.start(at);
                while low < high && times[low] <= start {
                    book(&mut states, low, -1);
                    low += 1;
                }
            }
            let state = &states[groups.of[event] as usize];
            if FILLS && state[0] as u64 >= most {
                continue;
            }
            let view = View {
                at,
                count: state[0] as u64,
                sums: &state[1..],
                accumulators: &[],
                ends: None,
                own: &[],
            };
            for (column, values) in columns.iter_mut() {
                values[row] = column.finish(&view);
            }
        }
    }
}
