//! Labels, which come long after their events.

use crate::feature::accumulator::{AccumulatorPlan, MEASURES};
use crate::feature::history::{KeyHistory, WindowState};
use crate::feature::online::LabelOutcome;
use crate::feature::plan::{Measure, StreamPlan};
use crate::feature::window::{Term, add};

impl KeyHistory {
    /// Gives an event its label.
    pub(in crate::feature) fn label(
        &mut self,
        stream: &StreamPlan,
        order: (i64, i64),
        bad: bool,
    ) -> LabelOutcome {
        let Some(event) = self.events.find(order) else { return LabelOutcome::Unknown };
        let mut outcome = LabelOutcome::Applied;
        for (measure, kind) in stream.label_measures() {
            let new = i64::from(kind == Measure::Labelled || bad);
            let old = self.events.replace(event, MEASURES + measure, new);
            if old == new {
                continue;
            }
            let change = i128::from(new) - i128::from(old);
            for (w, window) in stream.windows.iter().enumerate() {
                let term = window.terms.iter().position(|term| *term == Term::Value(measure));
                let counts = |plan: AccumulatorPlan| plan.counts_bad(measure);
                let counted = stream.accumulators_of(w).any(|(_, plan)| counts(plan));
                let WindowState { low, high, .. } = self.windows[w];
                let entry = self.events.entry(event);
                let inside = match window.fold {
                    Some(f) => event < high && self.folds[f].sees(window, order.0),
                    None => (low..high).contains(&event),
                };
                if inside {
                    if let Some(term) = term {
                        add(&mut self.sums[window.sums()][term], change);
                    }
                    for (a, plan) in stream.accumulators_of(w).filter(|(_, plan)| counts(*plan)) {
                        self.accumulators[a].relabel(plan, entry);
                    }
                }
                if let Some(f) = window.fold
                    && event < self.folds[f].folded
                    && let Some(tile) = self.folds[f].tile_of(window, order.0)
                {
                    if let Some(term) = term {
                        add(&mut tile.sums[term], change);
                    }
                    let accumulators = tile.accumulators.iter_mut().zip(stream.accumulators_of(w));
                    for (accumulator, (_, plan)) in accumulators.filter(|(_, (_, p))| counts(*p)) {
                        accumulator.relabel(plan, entry);
                    }
                }
                let fixed = kind == Measure::Bad { as_arrived: false };
                if fixed && event < high && (term.is_some() || counted) {
                    outcome = LabelOutcome::Late;
                }
            }
        }
        outcome
    }
}
