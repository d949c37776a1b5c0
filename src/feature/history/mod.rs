//! One key's events and where its windows stand in them: the state machine that runs live and replays history.

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::feature::accumulator::{Accumulator, AccumulatorPlan, Entry, MEASURES};
use crate::feature::online::LabelOutcome;
use crate::feature::plan::{Measure, StreamPlan};
use crate::feature::window::{Term, View};

/// Events in (time, id) order, numbered from the key's first on, with the state of every window at the last reading.
///
/// For each window, the events numbered `low..high` are inside; those before have left it, those after have not come into
/// view. A lifetime window never lets an event go, and so does not need it kept.
#[derive(Debug, Clone)]
pub(super) struct KeyHistory {
    /// Number of the oldest event kept.
    first: u64,
    /// Where it stands in `events`.
    start: usize,
    events: Vec<i64>,
    last_read: (i64, i64),
    /// The last event or the last reading, whichever is later: most events come after it, and need not look further.
    latest: (i64, i64),
    windows: Vec<WindowState>,
    /// Of all windows, one after the other.
    sums: Vec<i128>,
    accumulators: Vec<Accumulator>,
}

#[derive(Debug, Clone, Copy, Default)]
struct WindowState {
    low: u64,
    high: u64,
}

/// What became of an event offered to a history.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Inserted {
    New,
    Duplicate,
}

impl KeyHistory {
    pub(super) fn new(stream: &StreamPlan) -> Self {
        let start = |&(window, plan): &(usize, AccumulatorPlan)| {
            plan.start(stream.windows[window].is_lifetime())
        };
        KeyHistory {
            first: 0,
            start: 0,
            events: Vec::new(),
            last_read: (i64::MIN, i64::MIN),
            latest: (i64::MIN, i64::MIN),
            windows: vec![WindowState::default(); stream.windows.len()],
            sums: vec![0; stream.windows.iter().map(|window| window.terms.len()).sum()],
            accumulators: stream.accumulators.iter().map(start).collect(),
        }
    }

    /// Number of events kept.
    pub(super) fn n_events(&self, stream: &StreamPlan) -> u64 {
        ((self.events.len() - self.start) / stream.entry_len()) as u64
    }

    fn end(&self, stream: &StreamPlan) -> u64 {
        self.first + self.n_events(stream)
    }

    #[inline]
    fn entry(&self, stream: &StreamPlan, event: u64) -> &Entry {
        let length = stream.entry_len();
        let at = self.start + (event - self.first) as usize * length;
        &self.events[at..at + length]
    }

    #[inline]
    fn order(&self, stream: &StreamPlan, event: u64) -> (i64, i64) {
        let entry = self.entry(stream, event);
        (entry[0], entry[1])
    }

    /// The latest moment that the history knows of: its last event or the last reading.
    pub(super) fn latest(&self) -> (i64, i64) {
        self.latest
    }

    pub(super) fn last_read(&self) -> (i64, i64) {
        self.last_read
    }

    /// Number of the first event for which `before` does not hold; it must hold for a beginning of the history.
    fn partition(&self, stream: &StreamPlan, before: impl Fn((i64, i64)) -> bool) -> u64 {
        let (mut low, mut high) = (self.first, self.end(stream));
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.order(stream, middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    pub(super) fn contains(&self, stream: &StreamPlan, order: (i64, i64)) -> bool {
        let place = self.partition(stream, |other| other < order);
        place < self.end(stream) && self.order(stream, place) == order
    }

    /// Puts an event into its place. One that comes after all others, as nearly all do, is O(1).
    pub(super) fn insert(
        &mut self,
        stream: &StreamPlan,
        order: (i64, i64),
        measures: &[i64],
    ) -> Inserted {
        if order > self.latest {
            self.latest = order;
            self.events.extend([order.0, order.1]);
            self.events.extend_from_slice(measures);
            return Inserted::New;
        }
        if self.contains(stream, order) {
            return Inserted::Duplicate;
        }
        let place = self.partition(stream, |other| other < order);
        let at = self.start + (place - self.first) as usize * stream.entry_len();
        let entry = [order.0, order.1].into_iter().chain(measures.iter().copied());
        self.events.splice(at..at, entry);
        self.make_room(stream, place);
        Inserted::New
    }

    /// Brings the windows in line with an event that was put in at number `place`, as of the last reading.
    fn make_room(&mut self, stream: &StreamPlan, place: u64) {
        let order = self.order(stream, place);
        for (w, window) in stream.windows.iter().enumerate() {
            let state = &mut self.windows[w];
            let left = !window.is_lifetime() && order.0 <= window.start(self.last_read.0);
            let entered = window.enters(order, self.last_read);
            if entered {
                state.high += 1;
                state.low += u64::from(left);
            }
            if entered && !left {
                self.add(stream, w, place, 1);
            }
            // Numbers behind the place have moved, and candidates may have been beaten.
            if entered && !window.is_lifetime() {
                self.rebuild(stream, w);
            }
        }
    }

    /// Adds an event to a window's sums (or takes it out for a `sign` of −1), and to what a lifetime accumulates.
    #[inline]
    fn add(&mut self, stream: &StreamPlan, w: usize, event: u64, sign: i128) {
        let length = stream.entry_len();
        let at = self.start + (event - self.first) as usize * length;
        let entry = &self.events[at..at + length];
        let window = &stream.windows[w];
        for (sum, term) in self.sums[window.sums()].iter_mut().zip(&window.terms) {
            *sum += sign * term.of(|measure| entry[MEASURES + measure]);
        }
        if window.is_lifetime() {
            for (accumulator, &(of, plan)) in self.accumulators.iter_mut().zip(&stream.accumulators)
            {
                if of == w {
                    accumulator.add(plan, event, entry);
                }
            }
        }
    }

    /// Reads a moving window's accumulators again from its events.
    fn rebuild(&mut self, stream: &StreamPlan, w: usize) {
        let WindowState { low, high } = self.windows[w];
        for (a, &(of, plan)) in stream.accumulators.iter().enumerate() {
            if of == w {
                let mut fresh = plan.start(false);
                (low..high).for_each(|event| fresh.add(plan, event, self.entry(stream, event)));
                self.accumulators[a] = fresh;
            }
        }
    }

    /// Computes the stream's columns for an event at `asking`, which must not be before the last reading. O(1) amortised
    /// per window and sum; `own` are the asking event's measures.
    pub(super) fn read(
        &mut self,
        stream: &StreamPlan,
        asking: (i64, i64),
        own: &[i64],
        out: &mut impl FnMut(usize, f64),
    ) {
        debug_assert!(asking >= self.last_read);
        let end = self.end(stream);
        for (w, window) in stream.windows.iter().enumerate() {
            let WindowState { mut low, mut high } = self.windows[w];
            let moving = !window.is_lifetime();
            while high < end && window.enters(self.order(stream, high), asking) {
                self.add(stream, w, high, 1);
                if moving {
                    self.accumulate(stream, w, high, true);
                }
                high += 1;
            }
            let start = window.start(asking.0);
            while moving && low < high && self.entry(stream, low)[0] <= start {
                self.add(stream, w, low, -1);
                self.accumulate(stream, w, low, false);
                low += 1;
            }
            self.windows[w] = WindowState { low, high };
        }
        self.last_read = asking;
        self.latest = self.latest.max(asking);
        self.finish(stream, &self.windows, &self.sums, &self.accumulators, asking, own, out);
    }

    /// Lets an event enter or leave a moving window's accumulators.
    fn accumulate(&mut self, stream: &StreamPlan, w: usize, event: u64, enters: bool) {
        if stream.accumulators.is_empty() {
            return;
        }
        let length = stream.entry_len();
        let at = self.start + (event - self.first) as usize * length;
        let entry = &self.events[at..at + length];
        for (accumulator, &(of, plan)) in self.accumulators.iter_mut().zip(&stream.accumulators) {
            match (of == w, enters) {
                (true, true) => accumulator.add(plan, event, entry),
                (true, false) => accumulator.remove(plan, event, entry),
                _ => {}
            }
        }
    }

    /// As [`read`](Self::read), for any moment and without moving on: O(events in the windows). `false` if a lifetime
    /// window is asked about a moment before the last reading, which it can no longer tell.
    pub(super) fn peek(
        &self,
        stream: &StreamPlan,
        asking: (i64, i64),
        own: &[i64],
        out: &mut impl FnMut(usize, f64),
    ) -> bool {
        if self.latest == (i64::MIN, i64::MIN) {
            // Nothing has ever been put in or read: the state is that of every moment, and need not be copied.
            let (windows, sums) = (&self.windows, &self.sums);
            self.finish(stream, windows, sums, &self.accumulators, asking, own, out);
            return true;
        }
        let end = self.end(stream);
        let (mut windows, mut sums) = (self.windows.clone(), self.sums.clone());
        let mut accumulators = self.accumulators.clone();
        for (w, window) in stream.windows.iter().enumerate() {
            let here = window.sums();
            let entered = |event| window.enters(event, asking);
            let high = self.partition(stream, entered).max(self.first);
            let mut from = windows[w].high;
            if window.is_lifetime() {
                if asking < self.last_read {
                    return false;
                }
                windows[w].high = high.max(from).min(end.max(from));
            } else {
                let start = window.start(asking.0);
                let low = self.partition(stream, |(time, _)| time <= start);
                windows[w] = WindowState { low: low.min(high), high };
                from = windows[w].low;
                sums[here.clone()].fill(0);
            }
            let plans = || stream.accumulators.iter().enumerate().filter(|(_, (of, _))| *of == w);
            if !window.is_lifetime() {
                plans().for_each(|(a, (_, plan))| accumulators[a] = plan.start(false));
            }
            for event in from..windows[w].high {
                let entry = self.entry(stream, event);
                for (sum, term) in sums[here.clone()].iter_mut().zip(&window.terms) {
                    *sum += term.of(|measure| entry[MEASURES + measure]);
                }
                plans().for_each(|(a, (_, plan))| accumulators[a].add(*plan, event, entry));
            }
        }
        self.finish(stream, &windows, &sums, &accumulators, asking, own, out);
        true
    }

    #[allow(clippy::too_many_arguments)] // the parts of a state, borrowed apart from the events
    fn finish(
        &self,
        stream: &StreamPlan,
        windows: &[WindowState],
        sums: &[i128],
        accumulators: &[Accumulator],
        asking: (i64, i64),
        own: &[i64],
        out: &mut impl FnMut(usize, f64),
    ) {
        for column in &stream.columns {
            let w = column.window;
            let WindowState { low, high } = windows[w];
            let (mut first, mut last): (Option<&Entry>, Option<&Entry>) = (None, None);
            if column.needs_ends() {
                let ends =
                    stream.accumulators.iter().position(|a| *a == (w, AccumulatorPlan::Ends));
                match ends.map(|ends| &accumulators[ends]) {
                    Some(Accumulator::Ends { first: f, last: l }) => {
                        (first, last) = (Some(f.as_slice()), Some(l.as_slice()));
                    }
                    _ if low < high => {
                        first = Some(self.entry(stream, low));
                        last = Some(self.entry(stream, high - 1));
                    }
                    _ => {}
                }
            }
            let view = View {
                at: asking.0,
                count: high - low,
                sums: &sums[stream.windows[w].sums()],
                accumulators,
                first,
                last,
                own,
            };
            out(column.column, column.finish(&view));
        }
    }

    /// Forgets events that no window can see any more, not even for an event that comes `lateness` late.
    pub(super) fn evict(&mut self, stream: &StreamPlan, lateness: i64) {
        let needed = stream
            .windows
            .iter()
            .zip(&self.windows)
            .map(|(window, state)| if window.is_lifetime() { state.high } else { state.low });
        let needed = needed.min().unwrap_or(u64::MAX).min(self.end(stream));
        let mut oldest = needed;
        if lateness > 0 {
            let at = self.last_read.0.saturating_sub(lateness);
            let moving = stream.windows.iter().filter(|window| !window.is_lifetime());
            let start = moving.map(|window| window.start(at)).min().unwrap_or(i64::MAX);
            // Whatever may still come a second time is kept, so as to be recognised.
            let start = start.min(at.saturating_sub(1));
            oldest = self.first;
            while oldest < needed && self.entry(stream, oldest)[0] <= start {
                oldest += 1;
            }
        }
        self.forget(stream, oldest);
    }

    fn forget(&mut self, stream: &StreamPlan, oldest: u64) {
        self.start += (oldest - self.first) as usize * stream.entry_len();
        self.first = oldest;
        // Half of it is gone: move the rest to the front. O(1) amortised, and the space is used again.
        if self.start * 2 > self.events.len() {
            self.events.copy_within(self.start.., 0);
            self.events.truncate(self.events.len() - self.start);
            self.start = 0;
        }
    }

    /// Drops the oldest events beyond `cap`, out of all windows that still see them. Returns how many.
    pub(super) fn truncate(&mut self, stream: &StreamPlan, cap: u64) -> u64 {
        let excess = self.n_events(stream).saturating_sub(cap);
        for event in self.first..self.first + excess {
            for (w, window) in stream.windows.iter().enumerate() {
                let state = self.windows[w];
                if state.high <= event {
                    // Not in view yet, and never will be: passed over on both sides.
                    let low = if window.is_lifetime() { state.low + 1 } else { event + 1 };
                    self.windows[w] = WindowState { low, high: event + 1 };
                } else if state.low <= event && !window.is_lifetime() {
                    self.add(stream, w, event, -1);
                    self.accumulate(stream, w, event, false);
                    self.windows[w].low = event + 1;
                }
            }
        }
        self.forget(stream, self.first + excess);
        excess
    }

    /// Whether no window of an event at `now` or later can see anything of this history.
    pub(super) fn is_idle(&self, stream: &StreamPlan, now: i64) -> bool {
        let end = self.end(stream);
        let newest = (end > self.first).then(|| self.order(stream, end - 1).0);
        stream.windows.iter().all(|window| {
            !window.is_lifetime() && newest.is_none_or(|newest| newest <= window.start(now))
        })
    }

    /// Gives an event its label.
    pub(super) fn label(
        &mut self,
        stream: &StreamPlan,
        order: (i64, i64),
        bad: bool,
    ) -> LabelOutcome {
        let event = self.partition(stream, |other| other < order);
        if event == self.end(stream) || self.order(stream, event) != order {
            return LabelOutcome::Unknown;
        }
        let mut outcome = LabelOutcome::Applied;
        for (measure, kind) in stream.label_measures() {
            let place = self.start
                + (event - self.first) as usize * stream.entry_len()
                + MEASURES
                + measure;
            let (old, new) = (self.events[place], i64::from(kind == Measure::Labelled || bad));
            if old == new {
                continue;
            }
            self.events[place] = new;
            for (w, window) in stream.windows.iter().enumerate() {
                let WindowState { low, high } = self.windows[w];
                let uses = window.terms.contains(&Term::Value(measure));
                let counts = |plan: &AccumulatorPlan| matches!(plan, AccumulatorPlan::Counts { only_bad: Some(m), .. } if *m == measure);
                let counted = stream.accumulators.iter().any(|(of, plan)| *of == w && counts(plan));
                if (low..high).contains(&event) {
                    for (sum, term) in self.sums[window.sums()].iter_mut().zip(&window.terms) {
                        if *term == Term::Value(measure) {
                            *sum += i128::from(new - old);
                        }
                    }
                    for (a, (of, plan)) in stream.accumulators.iter().enumerate() {
                        if *of == w && counts(plan) {
                            let length = stream.entry_len();
                            let at = self.start + (event - self.first) as usize * length;
                            let entry = &self.events[at..at + length];
                            self.accumulators[a].relabel(*plan, entry);
                        }
                    }
                }
                let fixed = kind == Measure::Bad { as_arrived: false };
                if fixed && event < high && (uses || counted) {
                    outcome = LabelOutcome::Late;
                }
            }
        }
        outcome
    }

    pub(super) fn write(&self, stream: &StreamPlan, bytes: &mut Vec<u8>) {
        bytes.extend(self.first.to_le_bytes());
        bytes.extend(self.last_read.0.to_le_bytes());
        bytes.extend(self.last_read.1.to_le_bytes());
        bytes.extend(self.n_events(stream).to_le_bytes());
        self.events[self.start..].iter().for_each(|value| bytes.extend(value.to_le_bytes()));
        for state in &self.windows {
            bytes.extend(state.low.to_le_bytes());
            bytes.extend(state.high.to_le_bytes());
        }
        self.sums.iter().for_each(|sum| bytes.extend(sum.to_le_bytes()));
        self.accumulators.iter().for_each(|accumulator| accumulator.write(bytes));
    }

    pub(super) fn read_bytes(stream: &StreamPlan, reader: &mut Reader<'_>) -> Result<Self> {
        let corrupt = |reason: &str| Error::corrupt("feature snapshot", reason);
        let mut history = KeyHistory::new(stream);
        history.first = reader.u64()?;
        history.last_read = (reader.i64()?, reader.i64()?);
        let (n, length) = (reader.u64()?, stream.entry_len());
        let numbers = usize::try_from(n).ok().and_then(|n| n.checked_mul(length));
        let numbers = numbers.filter(|numbers| *numbers <= reader.remaining() / 8);
        let numbers = numbers.ok_or_else(|| corrupt("ends too early"))?;
        history.events = (0..numbers).map(|_| reader.i64()).collect::<Result<_>>()?;
        let end = history.first.checked_add(n).ok_or_else(|| corrupt("counts too many events"))?;
        let last = end.checked_sub(1).filter(|last| *last >= history.first);
        let last = last.map(|last| history.order(stream, last));
        history.latest = last.map_or(history.last_read, |last| last.max(history.last_read));
        let in_order = |event| history.order(stream, event) < history.order(stream, event + 1);
        if !(history.first..end.saturating_sub(1)).all(in_order) {
            return Err(corrupt("holds events out of order"));
        }
        for (w, window) in stream.windows.iter().enumerate() {
            let (low, high) = (reader.u64()?, reader.u64()?);
            let oldest = if window.is_lifetime() { 0 } else { history.first };
            if low < oldest || low > high || high > end || high < history.first {
                return Err(corrupt("holds a window that lies outside its events"));
            }
            history.windows[w] = WindowState { low, high };
        }
        for sum in &mut history.sums {
            *sum = reader.i128()?;
        }
        for accumulator in &mut history.accumulators {
            accumulator.read(reader, length)?;
        }
        for (w, window) in stream.windows.iter().enumerate() {
            if !window.is_lifetime() {
                history.rebuild(stream, w);
            }
        }
        Ok(history)
    }
}
