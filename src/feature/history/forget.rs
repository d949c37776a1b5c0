//! What a history need not keep any longer.

use crate::feature::history::KeyHistory;
use crate::feature::plan::StreamPlan;

impl KeyHistory {
    /// Folds and forgets events that no window needs any more, not even for an event that comes `lateness` late.
    pub(in crate::feature) fn evict(&mut self, stream: &StreamPlan, lateness: i64) {
        // Whatever may still come a second time is kept, so as to be recognised.
        let at = self.last_read.0.saturating_sub(lateness);
        let settled = if lateness > 0 { at.saturating_sub(1) } else { i64::MAX };
        let mut oldest = self.events.end();
        for (w, window) in stream.windows.iter().enumerate() {
            let state = self.windows[w];
            oldest = oldest.min(match window.fold {
                Some(f) => {
                    let fold = &mut self.folds[f];
                    fold.horizon = fold.horizon.max(window.start(at));
                    let until = window.end(settled);
                    while fold.folded < state.high && self.events.time(fold.folded) <= until {
                        // With nobody late, a lifetime is never asked what it was.
                        if lateness > 0 || !window.is_lifetime() {
                            fold.add(stream, w, self.events.entry(fold.folded));
                        }
                        fold.until = fold.until.max(self.events.order(fold.folded));
                        fold.folded += 1;
                    }
                    fold.folded
                }
                None => state.low,
            });
        }
        if lateness > 0 {
            let (mut needed, mut start) = (oldest, settled);
            for window in stream.windows.iter().filter(|window| !window.folds()) {
                match window.most() {
                    u64::MAX => start = start.min(window.start(at)),
                    // What is too old for the newest by then only gets older.
                    _ => needed = needed.min(self.inside(window, (at, i64::MIN)).start),
                }
            }
            oldest = self.events.first();
            while oldest < needed && self.events.time(oldest) <= start {
                oldest += 1;
            }
        }
        if oldest > self.events.first() {
            self.gone = self.gone.max(self.events.time(oldest - 1));
            self.events.forget(oldest);
        }
    }

    /// Drops the oldest events beyond `cap`, out of all windows that still see them. Returns how many.
    pub(in crate::feature) fn truncate(&mut self, stream: &StreamPlan, cap: u64) -> u64 {
        let excess = self.events.n().saturating_sub(cap);
        if excess == 0 {
            return 0;
        }
        for event in self.events.first()..self.events.first() + excess {
            for (w, window) in stream.windows.iter().enumerate() {
                let state = self.windows[w];
                match window.fold {
                    Some(f) => {
                        let fold = &mut self.folds[f];
                        if fold.folded <= event {
                            // Folded early if it has been seen; otherwise it never will be.
                            if event < state.high {
                                fold.add(stream, w, self.events.entry(event));
                            }
                            fold.folded = event + 1;
                        }
                    }
                    None if state.low <= event && event < state.high => {
                        self.book(stream, w, event, false);
                        self.accumulate(stream, w, event, false);
                    }
                    None => {}
                }
                let state = &mut self.windows[w];
                state.high = state.high.max(event + 1);
                state.low = state.low.max(event + 1);
            }
        }
        // What these windows held at an earlier moment can no longer be told.
        self.gone = self.gone.max(self.events.time(self.events.first() + excess - 1));
        self.events.forget(self.events.first() + excess);
        (0..stream.windows.len()).for_each(|w| self.look(stream, w));
        excess
    }

    /// Whether no window of an event at `now` or later can see anything of this history.
    pub(in crate::feature) fn is_idle(&self, stream: &StreamPlan, now: i64) -> bool {
        let newest = self.events.last().map(|(time, _)| time);
        stream.windows.iter().all(|window| {
            let start = window.start(now);
            let folded = window
                .fold
                .is_some_and(|f| self.folds[f].tiles_after(window, start).next().is_some());
            !window.is_lifetime() && !folded && newest.is_none_or(|newest| newest <= start)
        })
    }
}
