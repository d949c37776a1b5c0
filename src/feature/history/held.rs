//! What a window holds, put together from its parts.

use crate::feature::accumulator::Accumulator;
use crate::feature::history::KeyHistory;
use crate::feature::plan::StreamPlan;
use crate::feature::window::add;

/// A window's count, sums and accumulators, in the order of the stream's.
pub(super) struct Held {
    pub(super) count: u64,
    pub(super) sums: Vec<i128>,
    pub(super) accumulators: Vec<Accumulator>,
}

impl Held {
    pub(super) fn of(stream: &StreamPlan, w: usize) -> Self {
        let window = &stream.windows[w];
        let accumulators = stream.accumulators_of(w).map(|(_, plan)| plan.start(window.folds()));
        Held { count: 0, sums: vec![0; window.terms.len()], accumulators: accumulators.collect() }
    }

    /// What a window that folds holds at the last reading.
    pub(super) fn now(history: &KeyHistory, stream: &StreamPlan, w: usize, f: usize) -> Self {
        Held {
            count: history.folds[f].count,
            sums: history.sums[stream.windows[w].sums()].to_vec(),
            accumulators: stream
                .accumulators_of(w)
                .map(|(a, _)| history.accumulators[a].clone())
                .collect(),
        }
    }

    pub(super) fn add(&mut self, stream: &StreamPlan, w: usize, history: &KeyHistory, event: u64) {
        let entry = history.events.entry(event);
        self.count += 1;
        for (sum, term) in self.sums.iter_mut().zip(&stream.windows[w].terms) {
            add(sum, term.of_entry(entry));
        }
        for (accumulator, (_, plan)) in self.accumulators.iter_mut().zip(stream.accumulators_of(w))
        {
            accumulator.add(plan, event, entry);
        }
    }

    /// A window that folds: its tiles from `start` on, and the events before `high` that are not folded yet.
    pub(super) fn gather(
        &mut self,
        stream: &StreamPlan,
        w: usize,
        history: &KeyHistory,
        f: usize,
        start: i64,
        high: u64,
    ) {
        let (window, fold) = (&stream.windows[w], &history.folds[f]);
        for tile in fold.tiles_after(window, start) {
            self.count += tile.count;
            self.sums.iter_mut().zip(&tile.sums).for_each(|(sum, of)| add(sum, *of));
            let own = self.accumulators.iter_mut().zip(&tile.accumulators);
            for ((accumulator, of), (_, plan)) in own.zip(stream.accumulators_of(w)) {
                accumulator.merge(plan, of);
            }
        }
        for event in fold.folded.max(history.events.first())..high {
            if window.is_lifetime() || history.events.time(event) > start {
                self.add(stream, w, history, event);
            }
        }
    }
}
