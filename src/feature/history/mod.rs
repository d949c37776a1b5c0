//! One key's events and where its windows stand in them: the state machine that runs live and replays history.

mod bytes;
mod events;
mod fold;
mod forget;
mod held;
mod label;
mod peek;

use smallvec::{SmallVec, smallvec};

use crate::feature::accumulator::{Accumulator, AccumulatorPlan};
use crate::feature::ever_bad::BadTable;
use crate::feature::plan::StreamPlan;
use crate::feature::window::{Ends, View, add};
use events::KeptEvents;
use fold::Fold;
use held::Held;

/// Events in (time, id) order, numbered from the key's first on, with the state of every window at the last reading.
///
/// For each window, the events numbered `low..high` are inside; those before have left it, those after have not come into
/// view. A window that folds needs an event no longer than it takes to enter, and as long as a late one may come before it.
/// One of the newest so many lets the oldest go where more have entered: a capped window is such a one, which is full when
/// the cap is passed, and one that folds, which is read then.
#[derive(Debug, Clone)]
pub(super) struct KeyHistory {
    events: KeptEvents,
    /// Time of the latest event that was kept once and has left every window.
    gone: i64,
    last_read: (i64, i64),
    // In place for as many as most definitions have: what a reading needs of a key lies in one piece of memory, and one
    // cache miss less is 0.1 µs less.
    windows: SmallVec<[WindowState; 4]>,
    /// Of all windows, one after the other.
    sums: SmallVec<[i128; 4]>,
    accumulators: Box<[Accumulator]>,
    /// Of the windows that fold, in order.
    folds: Box<[Fold]>,
}

/// Numbers of events, and the times at which something happens next: most readings need not look at an event to know that
/// it stays where it is.
#[derive(Debug, Clone, Copy)]
struct WindowState {
    /// Of a window that folds: nothing.
    low: u64,
    high: u64,
    /// Time of the event `low`; the end of time if the window is empty.
    oldest: i64,
    /// Time of the event `high`; the end of time if none waits.
    next: i64,
}

/// What became of an event offered to a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    New,
    Duplicate,
}

impl KeyHistory {
    pub(super) fn new(stream: &StreamPlan) -> Self {
        let state = WindowState { low: 0, high: 0, oldest: i64::MAX, next: i64::MAX };
        let folding = stream.windows.iter().filter(|window| window.folds());
        let start =
            |&(window, plan): &(usize, AccumulatorPlan)| plan.start(stream.windows[window].folds());
        KeyHistory {
            events: KeptEvents::new(stream.entry_len()),
            gone: i64::MIN,
            last_read: (i64::MIN, i64::MIN),
            windows: smallvec![state; stream.windows.len()],
            sums: smallvec![0; stream.windows.iter().map(|window| window.terms.len()).sum()],
            accumulators: stream.accumulators.iter().map(start).collect(),
            folds: folding.map(|_| Fold::new()).collect(),
        }
    }

    /// Whether the next event needs more room than there is.
    pub(super) fn is_full(&self) -> bool {
        self.events.is_full()
    }

    /// Events that there is room for, and how many in the room that comes next.
    pub(super) fn rooms(&self) -> (u64, u64) {
        (self.events.room(), self.events.next_room())
    }

    /// Moves the events into a larger room; returns the old one.
    pub(super) fn move_into(&mut self, room: Box<[i64]>) -> Box<[i64]> {
        self.events.move_into(room)
    }

    /// Reads where the windows stand and where the next event will, and leaves it at that: so that memory brings what
    /// several histories are about to need at the same time, and not one after the other. The value is of no use.
    pub(super) fn touch(&self) -> i64 {
        let place = |event| self.events.touch(event);
        // The event that leaves and what is looked at behind it lie across two cache lines as often as not.
        let edges =
            |state: &WindowState| place(state.low) ^ place(state.low + 2) ^ place(state.high);
        let sums = self.sums.iter().fold(self.last_read.0, |all, sum| all ^ *sum as i64);
        // A write to memory that is far away holds up the release of the key's lock, so the next event's place as well.
        let end = place(self.events.end()) ^ self.gone;
        self.windows.iter().map(edges).fold(sums ^ end, |all, one| all ^ one)
    }

    /// Number of events kept.
    pub(super) fn n_events(&self) -> u64 {
        self.events.n()
    }

    /// The latest moment that the history knows of: its last event or the last reading.
    pub(super) fn latest(&self) -> (i64, i64) {
        self.events.last().map_or(self.last_read, |last| last.max(self.last_read))
    }

    pub(super) fn last_read(&self) -> (i64, i64) {
        self.last_read
    }

    pub(super) fn contains(&self, order: (i64, i64)) -> bool {
        self.events.find(order).is_some()
    }

    /// Puts an event into its place. One that comes after all others, as nearly all do, is O(1).
    pub(super) fn insert(
        &mut self,
        stream: &StreamPlan,
        order: (i64, i64),
        measures: &[i64],
    ) -> Inserted {
        if order > self.latest() {
            self.events.push(order, measures);
            for state in &mut self.windows {
                state.next = state.next.min(order.0);
            }
            return Inserted::New;
        }
        if self.contains(order) {
            return Inserted::Duplicate;
        }
        let event = self.events.partition(|other| other < order);
        self.events.insert(event, order, measures);
        self.make_room(stream, event);
        Inserted::New
    }

    /// Brings the windows in line with an event that was put in under a number, as of the last reading.
    fn make_room(&mut self, stream: &StreamPlan, event: u64) {
        let order = self.events.order(event);
        for (w, window) in stream.windows.iter().enumerate() {
            if window.enters(order, self.last_read) {
                self.windows[w].high += 1;
                if let Some(f) = window.fold {
                    self.fold_late(stream, w, f, event);
                } else {
                    let start = window.start(self.last_read.0);
                    if order.0 <= start || event < self.windows[w].low {
                        self.windows[w].low += 1;
                    } else {
                        self.book(stream, w, event, true);
                    }
                    let WindowState { low, high, .. } = self.windows[w];
                    if high - low > window.most() {
                        self.book(stream, w, low, false);
                        self.windows[w].low += 1;
                    }
                    // Numbers behind it have moved, and candidates may have been beaten.
                    self.rebuild(stream, w);
                }
            }
            self.look(stream, w);
        }
    }

    /// Takes an event that came late into a window that folds, and into its tile if those around it are there already.
    fn fold_late(&mut self, stream: &StreamPlan, w: usize, f: usize, event: u64) {
        let window = &stream.windows[w];
        if self.folds[f].sees(window, self.events.time(event)) {
            self.folds[f].count += 1;
            self.book(stream, w, event, true);
            self.accumulate(stream, w, event, true);
        }
        let fold = &mut self.folds[f];
        if event < fold.folded {
            if !fold.is_untiled(window) {
                fold.add(stream, w, self.events.entry(event));
            }
            fold.folded += 1;
        }
    }

    /// Looks up what happens next to a window.
    fn look(&mut self, stream: &StreamPlan, w: usize) {
        let state = &mut self.windows[w];
        state.next = self.events.time(state.high);
        let holds = !stream.windows[w].folds() && state.low < state.high;
        state.oldest = if holds { self.events.time(state.low) } else { i64::MAX };
    }

    /// Adds an event to a window's sums, or takes it out.
    #[inline]
    fn book(&mut self, stream: &StreamPlan, w: usize, event: u64, enters: bool) {
        let window = &stream.windows[w];
        let entry = self.events.entry(event);
        for (sum, term) in self.sums[window.sums()].iter_mut().zip(&window.terms) {
            let value = term.of_entry(entry);
            add(sum, if enters { value } else { -value });
        }
    }

    /// Lets an event enter or leave a window's accumulators.
    fn accumulate(&mut self, stream: &StreamPlan, w: usize, event: u64, enters: bool) {
        let entry = self.events.entry(event);
        for (a, plan) in stream.accumulators_of(w) {
            match enters {
                true => self.accumulators[a].add(plan, event, entry),
                false => self.accumulators[a].remove(plan, event, entry),
            }
        }
    }

    /// Reads the accumulators of a window whose events are kept again from them.
    fn rebuild(&mut self, stream: &StreamPlan, w: usize) {
        let WindowState { low, high, .. } = self.windows[w];
        for (a, plan) in stream.accumulators_of(w) {
            let mut fresh = plan.start(false);
            (low..high).for_each(|event| fresh.add(plan, event, self.events.entry(event)));
            self.accumulators[a] = fresh;
        }
    }

    /// Computes the stream's columns for an event at `asking`, which must not be before the last reading. O(1) amortised
    /// per window and sum; `own` are the asking event's measures.
    pub(super) fn read(
        &mut self,
        stream: &StreamPlan,
        tables: &[BadTable],
        asking: (i64, i64),
        own: &[i64],
        out: &mut impl FnMut(usize, f64),
    ) {
        debug_assert!(asking >= self.last_read);
        for (w, window) in stream.windows.iter().enumerate() {
            if self.windows[w].next <= window.end(asking.0) {
                self.enter(stream, w, asking);
            }
            let start = window.start(asking.0);
            match window.fold {
                None if self.windows[w].oldest <= start => self.leave(stream, w, start),
                Some(f) if self.folds[f].start < start => self.step(stream, w, f, start),
                _ => {}
            }
        }
        if !tables.is_empty() {
            for (accumulator, (_, plan)) in self.accumulators.iter_mut().zip(&stream.accumulators) {
                accumulator.follow(*plan, tables, asking.0);
            }
        }
        self.last_read = asking;
        let contents =
            |w, ends| (self.count(stream, w), if ends { self.ends(stream, w) } else { None });
        finish(stream, contents, (&self.sums, &self.accumulators), asking, own, out);
    }

    fn enter(&mut self, stream: &StreamPlan, w: usize, asking: (i64, i64)) {
        let window = &stream.windows[w];
        let WindowState { low, mut high, oldest, .. } = self.windows[w];
        let before = high;
        while high < self.events.end() && window.enters(self.events.order(high), asking) {
            self.book(stream, w, high, true);
            if !stream.accumulators.is_empty() {
                self.accumulate(stream, w, high, true);
            }
            high += 1;
        }
        let mut state = WindowState { low, high, oldest, next: self.events.time(high) };
        match window.fold {
            Some(f) => self.folds[f].count += high - before,
            None if high - low > window.most() => state.oldest = i64::MIN, // one has to leave at once
            None if low == before && high > before => state.oldest = self.events.time(low),
            None => {}
        }
        self.windows[w] = state;
    }

    fn leave(&mut self, stream: &StreamPlan, w: usize, start: i64) {
        let WindowState { mut low, high, next, .. } = self.windows[w];
        let most = stream.windows[w].most();
        while low < high && (self.events.entry(low)[0] <= start || high - low > most) {
            self.book(stream, w, low, false);
            if !stream.accumulators.is_empty() {
                self.accumulate(stream, w, low, false);
            }
            low += 1;
        }
        let oldest = if low < high { self.events.time(low) } else { i64::MAX };
        self.windows[w] = WindowState { low, high, oldest, next };
    }

    /// Moves the start of a window that folds: what it holds is put together again from its tiles.
    fn step(&mut self, stream: &StreamPlan, w: usize, f: usize, start: i64) {
        self.folds[f].start = start;
        let mut held = Held::of(stream, w);
        held.gather(stream, w, self, f, start, self.windows[w].high);
        self.folds[f].count = held.count;
        self.sums[stream.windows[w].sums()].copy_from_slice(&held.sums);
        for ((a, _), accumulator) in stream.accumulators_of(w).zip(held.accumulators) {
            self.accumulators[a] = accumulator;
        }
    }

    /// Number of events that a window holds.
    fn count(&self, stream: &StreamPlan, w: usize) -> u64 {
        match stream.windows[w].fold {
            Some(f) => self.folds[f].count,
            None => self.windows[w].high - self.windows[w].low,
        }
    }

    /// First and last of the events that a window holds, if those are kept.
    fn ends(&self, stream: &StreamPlan, w: usize) -> Ends<'_> {
        let WindowState { low, high, .. } = self.windows[w];
        let holds = !stream.windows[w].folds() && low < high;
        holds.then(|| (self.events.entry(low), self.events.entry(high - 1)))
    }
}

/// Reads the stream's columns off its windows: off how many events each of them holds and, where asked and kept, the first
/// and the last of them; off all windows' sums and accumulators.
fn finish<'a>(
    stream: &StreamPlan,
    contents: impl Fn(usize, bool) -> (u64, Ends<'a>),
    (sums, accumulators): (&'a [i128], &'a [Accumulator]),
    asking: (i64, i64),
    own: &[i64],
    out: &mut impl FnMut(usize, f64),
) {
    for column in &stream.columns {
        let column = stream.reading(column, || contents(column.window, false).0);
        let w = column.window;
        let (count, kept) = contents(w, column.needs_ends());
        let folded = || stream.accumulators_of(w).find_map(|(a, _)| accumulators[a].ends());
        let view = View {
            at: asking.0,
            count,
            sums: &sums[stream.windows[w].sums()],
            accumulators,
            ends: if column.needs_ends() { kept.or_else(folded) } else { None },
            own,
        };
        out(column.column, column.finish(&view));
    }
}
