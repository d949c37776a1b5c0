//! What the columns of a stream need, each thing once: measures, windows, their terms and accumulators.

use std::time::Duration;

use crate::feature::accumulator::AccumulatorPlan;
use crate::feature::definition::Current;
use crate::feature::plan::{Measure, StreamPlan};
use crate::feature::window::{Reach, Term, WindowPlan};
use crate::time::micros;

impl StreamPlan {
    pub(super) fn measure(&mut self, measure: Measure) -> usize {
        position_or_push(&mut self.measures, measure)
    }

    /// `foldable` says whether its aggregate can do without the events.
    pub(super) fn window(
        &mut self,
        reach: Reach,
        delay: Duration,
        current: Current,
        foldable: bool,
    ) -> usize {
        let delay = micros(delay);
        let folds = match reach {
            Reach::Lifetime => true, // nothing ever leaves
            Reach::Sawtooth { .. } => foldable,
            _ => false,
        };
        let same = |w: &WindowPlan| {
            (w.reach, w.delay, w.current, w.folds()) == (reach, delay, current, folds)
        };
        self.windows.iter().position(same).unwrap_or_else(|| {
            self.windows.push(WindowPlan {
                reach,
                delay,
                current,
                fold: folds.then_some(0), // numbered once all are known
                terms: Vec::new(),
                first_term: 0,
            });
            self.windows.len() - 1
        })
    }

    pub(super) fn term(&mut self, window: usize, measure: Measure) -> usize {
        let measure = self.measure(measure);
        position_or_push(&mut self.windows[window].terms, Term::Value(measure))
    }

    pub(super) fn square(&mut self, window: usize, measure: Measure) -> usize {
        let measure = self.measure(measure);
        position_or_push(&mut self.windows[window].terms, Term::Square(measure))
    }

    pub(super) fn accumulator(&mut self, window: usize, plan: AccumulatorPlan) -> usize {
        position_or_push(&mut self.accumulators, (window, plan))
    }

    pub(super) fn sorted(&mut self, window: usize, measure: Measure) -> usize {
        let measure = self.measure(measure);
        self.accumulator(window, AccumulatorPlan::Sorted { measure })
    }

    pub(super) fn counts(
        &mut self,
        window: usize,
        first: Measure,
        second: Option<Measure>,
        only_bad: Option<Measure>,
    ) -> usize {
        let first = self.measure(first);
        let second = second.map(|measure| self.measure(measure));
        let only_bad = only_bad.map(|measure| self.measure(measure));
        self.accumulator(window, AccumulatorPlan::Counts { first, second, only_bad })
    }
}

/// Where an item stands in a list that has everything once.
pub(super) fn position_or_push<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}
