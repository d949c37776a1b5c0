//! Reading a history at any moment.

use std::ops::Range;

use crate::feature::ever_bad::BadTable;
use crate::feature::history::held::Held;
use crate::feature::history::{KeyHistory, finish};
use crate::feature::plan::StreamPlan;
use crate::feature::window::WindowPlan;

impl KeyHistory {
    /// As [`read`](Self::read), for any moment and without moving on: O(events in the windows). `false`, with nothing
    /// written, for a moment so long ago that events it should see, or should not see yet, can no longer be told.
    pub(in crate::feature) fn peek(
        &self,
        stream: &StreamPlan,
        tables: &[BadTable],
        asking: (i64, i64),
        own: &[i64],
        out: &mut impl FnMut(usize, f64),
    ) -> bool {
        let empty = self.last_read == (i64::MIN, i64::MIN) && self.events.n() == 0;
        if empty {
            // The state is that of every moment, and need not be gathered.
            finish(stream, |_, _| (0, None), (&self.sums, &self.accumulators), asking, own, out);
            return true;
        }
        if asking < self.last_read {
            let forgotten = stream.windows.iter().any(|window| match window.fold {
                Some(f) => self.folds[f].is_past(window, asking),
                None => {
                    // Full of events that are kept, it sees none of those that are gone.
                    let entered = || self.inside(window, asking).end - self.events.first();
                    window.start(asking.0) < self.gone && entered() < window.most()
                }
            });
            if forgotten {
                return false;
            }
        }
        let mut sums = self.sums.clone();
        let mut accumulators = self.accumulators.clone();
        let mut contents = Vec::with_capacity(stream.windows.len());
        for (w, window) in stream.windows.iter().enumerate() {
            let start = window.start(asking.0);
            let Range { start: low, end: high } = self.inside(window, asking);
            let (mut held, mut ends) = (Held::of(stream, w), None);
            match window.fold {
                Some(f) if self.folds[f].is_untiled(window) => {
                    // A lifetime that nothing ever leaves: go on from where it stands.
                    held = Held::now(self, stream, w, f);
                    (self.windows[w].high..high).for_each(|e| held.add(stream, w, self, e));
                }
                Some(f) => held.gather(stream, w, self, f, start, high),
                None => {
                    (low..high).for_each(|event| held.add(stream, w, self, event));
                    if low < high {
                        ends = Some((self.events.entry(low), self.events.entry(high - 1)));
                    }
                }
            }
            contents.push((held.count, ends));
            sums[window.sums()].copy_from_slice(&held.sums);
            for ((a, _), accumulator) in stream.accumulators_of(w).zip(held.accumulators) {
                accumulators[a] = accumulator;
            }
        }
        for (accumulator, (_, plan)) in accumulators.iter_mut().zip(&stream.accumulators) {
            accumulator.recount(*plan, tables, asking.0);
        }
        finish(stream, |w, _| contents[w], (&sums, &accumulators), asking, own, out);
        true
    }

    /// The events kept that a window sees from `asking`.
    pub(super) fn inside(&self, window: &WindowPlan, asking: (i64, i64)) -> Range<u64> {
        let start = window.start(asking.0);
        let high = self.events.partition(|event| window.enters(event, asking));
        let low = self.events.partition(|(time, _)| time <= start).min(high);
        low.max(high.saturating_sub(window.most()))..high
    }
}
