//! Metrics that must not get worse.

use super::basis::Basis;
use super::comparison::{GuardrailReport, GuardrailStatus};
use super::plan::{Direction, Guardrail, Metric};

impl Basis<'_> {
    /// How a challenger stands on the plan's guardrail number `index`.
    pub(super) fn guardrail(&self, arm: u8, index: usize, guard: &Guardrail) -> GuardrailReport {
        let Guardrail { metric, margin } = *guard;
        let alpha = self.subject.config.plan.guardrail_alpha;
        let sign = match metric.direction() {
            Direction::Down => 1.0,
            Direction::Up => -1.0,
        };
        let contrast = self.contrast(arm, metric);
        let interval =
            contrast.filter(|contrast| self.too_few(contrast).is_none()).map(|contrast| {
                let mixture = self.mixture(metric, contrast.estimate, alpha);
                let interval = mixture.interval(contrast.estimate, alpha);
                if sign > 0.0 { interval } else { interval.negated() }
            });
        let (harm, worse) = match metric {
            Metric::UnitBadRate => (self.known_harm(arm), self.more_events(arm, alpha)),
            _ => (
                contrast.map(|contrast| sign * contrast.estimate.value),
                interval.is_some_and(|interval| interval.lower > 0.0),
            ),
        };
        let status = match (harm, interval) {
            _ if self.violated_before(arm, index) => GuardrailStatus::Violated,
            (Some(harm), _) if worse && harm > margin => GuardrailStatus::Violated,
            (_, Some(interval)) if interval.upper < margin => GuardrailStatus::Passed,
            _ => GuardrailStatus::Undecided,
        };
        GuardrailReport { metric, margin, harm, interval, status }
    }

    /// Whether a challenger is shown to have the higher rate of bad units: exact, with no need to wait for events in both
    /// arms nor for labels to be complete. Labels that come sooner in the challenger's arm can raise a false alarm.
    fn more_events(&self, arm: u8, alpha: f64) -> bool {
        let process =
            self.events_by_phase(arm, self.guardrail_strength(arm), |phase| &phase.known_bad);
        process.is_some_and(|process| process.ln_e_greater() >= -alpha.ln())
    }

    /// Rate of bad units so far, challenger less champion.
    fn known_harm(&self, arm: u8) -> Option<f64> {
        let rate = |arm: u8| {
            let units = &self.units[usize::from(arm)];
            (units.all > 0).then(|| units.known_bad as f64 / units.all as f64)
        };
        Some(rate(arm)? - rate(0)?)
    }

    fn violated_before(&self, arm: u8, index: usize) -> bool {
        let status = |guardrails: &Vec<Vec<GuardrailStatus>>| {
            guardrails.get(usize::from(arm) - 1)?.get(index).copied()
        };
        let mut looks = self.subject.looks.iter();
        looks.any(|look| status(&look.guardrails) == Some(GuardrailStatus::Violated))
    }

    /// Weight of the prior of a guardrail's event process: one event's worth in the smaller arm.
    fn guardrail_strength(&self, arm: u8) -> f64 {
        let shares = &self.weights_ppm[0];
        let (first, second) = (shares[0], shares[usize::from(arm)]);
        let smaller = f64::from(first.min(second).max(1));
        (f64::from(first + second) / smaller).clamp(20.0, 100.0)
    }
}
