//! What may be said of a challenger, metric by metric.

use super::basis::Basis;
use super::config::Mode;
use super::measure::{self, Measured, difference, label_coverage, measure, paired_difference};
use super::plan::{Direction, Guardrail, Inference, Metric};
use super::record::{ArmSums, Sum};
use super::report::{
    Comparison, Evidence, GuardrailReport, GuardrailStatus, Method, MetricComparison, Outcome,
    Scale,
};
use super::sequential::{EventProcess, NormalMixture, boundaries};
use super::state::Look;
use crate::stats::special::{normal_critical, normal_two_sided};
use crate::stats::{Discordant, Estimate, Interval, Proportion, TwoProportions};

/// A difference with what its evidence needs to know.
#[derive(Debug, Clone, Copy)]
struct Contrast {
    estimate: Estimate,
    /// Bad labels of the arm with fewer; `None` for a metric that needs no labels.
    events: Option<u64>,
    method: Method,
}

impl Basis<'_> {
    pub(super) fn compare(&self, arm: u8) -> Comparison {
        let plan = &self.subject.config.plan;
        let challengers = self.subject.config.arms.len() - 1;
        let primary =
            self.metric(arm, plan.primary, plan.direction, plan.alpha / challengers as f64, true);
        let secondary = plan.secondary.iter();
        let secondary = secondary
            .map(|&metric| self.metric(arm, metric, metric.direction(), plan.alpha, false))
            .collect();
        let guardrails = plan.guardrails.iter().map(|guard| self.guardrail(arm, guard)).collect();
        let label_coverage_p_value = self.coverage(arm);
        let delay_p_value = self.delays_differ(arm);
        Comparison { arm, primary, secondary, guardrails, label_coverage_p_value, delay_p_value }
    }

    fn sums(&self, phase: usize, arm: u8) -> Option<&ArmSums> {
        self.statistics.arm(phase, usize::from(arm))
    }

    fn rate_of_units(&self, arm: u8) -> Option<Proportion> {
        self.units[usize::from(arm)].rate()
    }

    /// Both arms' units that are mature, with those that were bad.
    fn mature_units(&self, arm: u8) -> Option<TwoProportions> {
        Some(TwoProportions { first: self.rate_of_units(0)?, second: self.rate_of_units(arm)? })
    }

    fn contrast(&self, arm: u8, metric: Metric) -> Option<Contrast> {
        if metric == Metric::UnitBadRate {
            let two = self.mature_units(arm)?;
            let events = two.first.events().min(two.second.events());
            let method = if events < 10 { Method::Fisher } else { Method::TwoProportions };
            let standard_error = pooled_error(&two);
            let estimate = Estimate { value: two.difference(), standard_error };
            return Some(Contrast { estimate, events: Some(events), method });
        }
        let minor_units = f64::from(self.subject.config.plan.minor_units);
        let (mut value, mut variance, mut weight, mut events) = (0.0, 0.0, 0.0, [0u64; 2]);
        let mut method = Method::ClusteredRatio;
        for phase in 0..=usize::from(self.phase) {
            let (Some(a), Some(b)) = (self.sums(phase, 0), self.sums(phase, arm)) else { continue };
            let seed = |arm: u64| self.seed.derive("resample", arm * 1024 + phase as u64);
            let measured = (
                measure(a, metric, minor_units, seed(0)),
                measure(b, metric, minor_units, seed(u64::from(arm))),
            );
            let (Some(ours), Some(theirs)) = measured else { continue };
            method = match &ours {
                Measured::Ratio(_) => Method::ClusteredRatio,
                Measured::Auc(_) => Method::DeLong,
                Measured::Resampled(_) => Method::Bootstrap,
            };
            let pair = self.statistics.pair(arm);
            let one = match self.shadow() {
                true => paired_difference(metric, &ours, &theirs, pair, seed(99)),
                false => difference(&ours, &theirs),
            };
            let [n_a, n_b] = [a, b].map(|sums| sums.total(Sum::Requests).max(1) as f64);
            let share = n_a * n_b / (n_a + n_b);
            value += share * one.value;
            variance += (share * one.standard_error).powi(2);
            weight += share;
            let bad = |sums: &ArmSums| -> u64 {
                let bad = sums.total(Sum::TruePositives) + sums.total(Sum::FalseNegatives);
                bad.unsigned_abs() / 1024
            };
            events[0] += bad(a);
            events[1] += bad(b);
        }
        if weight == 0.0 {
            return None;
        }
        if self.shadow() && metric == Metric::Accuracy {
            method = Method::McNemar;
        }
        let needs_labels = !matches!(metric, Metric::ApprovalRate | Metric::Latency);
        let estimate = Estimate { value: value / weight, standard_error: variance.sqrt() / weight };
        let events = needs_labels.then(|| events[0].min(events[1]));
        Some(Contrast { estimate, events, method })
    }

    fn metric(
        &self,
        arm: u8,
        metric: Metric,
        direction: Direction,
        alpha: f64,
        primary: bool,
    ) -> MetricComparison {
        let contrast = self.contrast(arm, metric);
        let evidence = match (&contrast, &self.subject.config.mode) {
            (Some(_), Mode::Bandit(_)) | (None, _) => Evidence::None,
            (Some(contrast), _) => self.evidence(arm, metric, contrast, alpha, primary),
        };
        let outcome = outcome(&evidence, direction, alpha);
        let minor_units = f64::from(self.subject.config.plan.minor_units);
        let value = |arm: u8| match (metric, &self.pooled[usize::from(arm)]) {
            (Metric::UnitBadRate, _) => self.rate_of_units(arm).map(|units| units.rate()),
            (_, pooled) => measure::value(pooled.as_ref()?, metric, minor_units),
        };
        MetricComparison {
            metric,
            champion: value(0),
            challenger: value(arm),
            difference: contrast.map(|contrast| contrast.estimate),
            evidence,
            adjusted_p_value: None,
            outcome,
        }
    }

    fn evidence(
        &self,
        arm: u8,
        metric: Metric,
        contrast: &Contrast,
        alpha: f64,
        primary: bool,
    ) -> Evidence {
        let plan = &self.subject.config.plan;
        // Evidence starts anew with each phase: units that moved have left.
        let looks = self.subject.looks.iter().filter(|look| look.phase == self.phase);
        let before: Vec<(&Look, &Evidence)> = looks
            .filter_map(|look| Some((look, look.evidence.get(usize::from(arm) - 1)?)))
            .filter(|_| primary)
            .collect();
        let by_events = primary && matches!(plan.inference, Inference::EventProcess { .. });
        if contrast.estimate.standard_error == 0.0 && !by_events {
            return Evidence::None;
        }
        match &plan.inference {
            Inference::EventProcess { strength } if primary => {
                let Some(process) = self.event_process(arm, *strength) else {
                    return Evidence::None;
                };
                let p_value = (-process.ln_e()).exp().min(1.0);
                always_valid(p_value, process.rate_ratio(alpha), Scale::Ratio, &before)
            }
            Inference::EventProcess { .. } | Inference::ConfidenceSequence => {
                if let Some(few) = self.too_few(contrast) {
                    return few;
                }
                let mixture = self.mixture(metric, contrast.estimate, alpha);
                let p_value = (-mixture.ln_e(contrast.estimate)).exp().min(1.0);
                let interval = mixture.interval(contrast.estimate, alpha);
                always_valid(p_value, interval, Scale::Difference, &before)
            }
            Inference::GroupSequential { .. } if !primary => self
                .fixed(arm, metric, contrast, alpha)
                .filter(|_| self.stopped)
                .unwrap_or(Evidence::Pending),
            Inference::GroupSequential { spending } => {
                // A bound once crossed stays crossed.
                let crossed = before.iter().map(|(_, evidence)| *evidence);
                let mut crossed = crossed
                    .filter(|e| matches!(e, Evidence::GroupSequential { crossed: true, .. }));
                if let Some(crossed) = crossed.next() {
                    return crossed.clone();
                }
                let last = before.last().map_or(0.0, |(look, _)| look.information.min(1.0));
                let now = self.information.min(1.0);
                if !self.subject.formal || now <= last {
                    return Evidence::Pending;
                }
                if let Some(few) = self.too_few(contrast) {
                    return few;
                }
                let mut information: Vec<f64> =
                    before.iter().map(|(look, _)| look.information.min(1.0)).collect();
                information.push(now);
                let Ok(bounds) = boundaries(&information, alpha, *spending) else {
                    return Evidence::Pending;
                };
                let bound = bounds[bounds.len() - 1];
                let Estimate { value, standard_error } = contrast.estimate;
                let z = value / standard_error;
                let interval = Interval::around(value, bound * standard_error);
                Evidence::GroupSequential { z, bound, crossed: z.abs() >= bound, interval }
            }
            Inference::FixedHorizon => {
                let reached = self.stopped && self.information >= 1.0;
                let evidence = reached.then(|| self.fixed(arm, metric, contrast, alpha)).flatten();
                evidence.unwrap_or(Evidence::Pending)
            }
        }
    }

    /// The test for one look.
    fn fixed(&self, arm: u8, metric: Metric, contrast: &Contrast, alpha: f64) -> Option<Evidence> {
        let method = contrast.method;
        let of = |p_value: f64, interval: Interval| {
            Some(Evidence::FixedHorizon { p_value, interval, method })
        };
        match method {
            Method::TwoProportions | Method::Fisher => {
                let two = self.mature_units(arm)?;
                match method {
                    Method::Fisher => of(two.fisher(), two.miettinen_nurminen(alpha).ok()?),
                    _ => of(two.pooled_test().p_value, two.newcombe(alpha).ok()?),
                }
            }
            Method::McNemar if metric == Metric::Accuracy => {
                let (cells, rows) = self.discordant(arm)?;
                of(cells.mid_p(), cells.interval(rows, alpha).ok()?)
            }
            _ => {
                if let Some(few) = self.too_few(contrast) {
                    return Some(few);
                }
                let Estimate { value, standard_error } = contrast.estimate;
                let z = value / standard_error;
                let margin = normal_critical(alpha) * standard_error;
                of(normal_two_sided(z), Interval::around(value, margin))
            }
        }
    }

    fn too_few(&self, contrast: &Contrast) -> Option<Evidence> {
        let needed = self.subject.config.plan.min_events;
        let events = contrast.events.filter(|events| *events < needed)?;
        Some(Evidence::TooFew { events, needed })
    }

    /// The confidence sequence of a metric, narrowest at the planned size. Size is counted in what the metric's variance
    /// falls with, so that the prior stays where it is.
    fn mixture(&self, metric: Metric, estimate: Estimate, alpha: f64) -> NormalMixture {
        let plan = &self.subject.config.plan;
        let (size, planned) = match metric {
            Metric::UnitBadRate => (self.mature_units, plan.planned_units),
            Metric::ApprovalRate | Metric::Latency => (self.requests, plan.planned_requests),
            _ => (self.labels, plan.planned_requests),
        };
        let variance = estimate.standard_error.powi(2);
        NormalMixture::tuned(variance, size as f64, planned as f64, alpha)
    }

    fn discordant(&self, arm: u8) -> Option<(Discordant, u64)> {
        let pair = self.statistics.pair(arm)?;
        let (first_only, second_only) = (pair.champion_only, pair.challenger_only);
        Some((Discordant { first_only, second_only }, pair.rows))
    }

    /// The events of this challenger and the champion; of shadow mode, rows that one of them alone has right.
    fn event_process(&self, arm: u8, strength: f64) -> Option<EventProcess> {
        let process = EventProcess::new(strength).ok()?;
        if self.shadow() {
            let (cells, _) = self.discordant(arm)?;
            return process.with_events(0.5, cells.first_only, cells.second_only).ok();
        }
        let arm = usize::from(arm);
        let (first, second) = (f64::from(self.unmoved_ppm[0]), f64::from(self.unmoved_ppm[arm]));
        let share = second / (first + second);
        process.with_events(share, self.units[0].mature_bad, self.units[arm].mature_bad).ok()
    }

    fn guardrail(&self, arm: u8, guard: &Guardrail) -> GuardrailReport {
        let Guardrail { metric, margin } = *guard;
        let plan = &self.subject.config.plan;
        let (alpha, sign) = match metric.direction() {
            Direction::Down => (plan.guardrail_alpha, 1.0),
            Direction::Up => (plan.guardrail_alpha, -1.0),
        };
        let contrast = self.contrast(arm, metric);
        let harm = contrast.map(|contrast| sign * contrast.estimate.value);
        let interval =
            contrast.filter(|contrast| self.too_few(contrast).is_none()).map(|contrast| {
                let interval = self
                    .mixture(metric, contrast.estimate, alpha)
                    .interval(contrast.estimate, alpha);
                if sign > 0.0 { interval } else { interval.negated() }
            });
        let worse = match metric {
            // Exact, and with no need to wait for events in both arms.
            Metric::UnitBadRate => self
                .event_process(arm, self.guardrail_strength(arm))
                .is_some_and(|process| process.ln_e_greater() >= -alpha.ln()),
            _ => interval.is_some_and(|interval| interval.lower > 0.0),
        };
        let status = match (harm, interval) {
            (Some(harm), _) if worse && harm > margin => GuardrailStatus::Violated,
            (_, Some(interval)) if interval.upper < margin => GuardrailStatus::Passed,
            _ => GuardrailStatus::Undecided,
        };
        GuardrailReport { metric, margin, harm, interval, status }
    }

    /// Weight of the prior of a guardrail's event process: one event's worth in the smaller arm.
    fn guardrail_strength(&self, arm: u8) -> f64 {
        let (first, second) = (self.unmoved_ppm[0], self.unmoved_ppm[usize::from(arm)]);
        let smaller = f64::from(first.min(second).max(1));
        (f64::from(first + second) / smaller).clamp(20.0, 100.0)
    }

    fn coverage(&self, arm: u8) -> Option<f64> {
        if self.shadow() {
            return None;
        }
        let (mut value, mut variance, mut weight) = (0.0, 0.0, 0.0);
        for phase in 0..=usize::from(self.phase) {
            let (a, b) = (self.sums(phase, 0)?, self.sums(phase, arm)?);
            let one = difference(
                &Measured::Ratio(label_coverage(a)?),
                &Measured::Ratio(label_coverage(b)?),
            );
            let share = (a.total(Sum::Sampled).min(b.total(Sum::Sampled))) as f64;
            value += share * one.value;
            variance += (share * one.standard_error).powi(2);
            weight += share;
        }
        if weight <= 0.0 || variance <= 0.0 {
            return None;
        }
        let estimate = Estimate { value: value / weight, standard_error: variance.sqrt() / weight };
        let alpha = self.subject.config.plan.srm_alpha;
        Some((-self.mixture(Metric::ApprovalRate, estimate, alpha).ln_e(estimate)).exp().min(1.0))
    }
}

/// The standard error of the difference of two rates as if both were the same: sound where the challenger has few events.
fn pooled_error(two: &TwoProportions) -> f64 {
    let (n_1, n_2) = (two.first.n() as f64, two.second.n() as f64);
    let p = (two.first.events() + two.second.events()) as f64 / (n_1 + n_2);
    (p * (1.0 - p) * (1.0 / n_1 + 1.0 / n_2)).sqrt()
}

/// This look's evidence together with that of the looks before: the least p-value, the values that none has rejected.
fn always_valid(
    p_value: f64,
    interval: Interval,
    scale: Scale,
    before: &[(&Look, &Evidence)],
) -> Evidence {
    let (mut least, mut running) = (p_value, interval);
    for (_, evidence) in before {
        if let Evidence::AlwaysValid { p_value, interval, .. } = evidence {
            least = least.min(*p_value);
            running.lower = running.lower.max(interval.lower);
            running.upper = running.upper.min(interval.upper);
        }
    }
    // With probability α some look was wrong and nothing is left: then what this one says.
    let interval = if running.lower <= running.upper { running } else { interval };
    Evidence::AlwaysValid { p_value: least, interval, scale }
}

fn outcome(evidence: &Evidence, direction: Direction, alpha: f64) -> Outcome {
    let (rejected, interval, none) = match evidence {
        Evidence::AlwaysValid { p_value, interval, scale } => {
            (*p_value <= alpha, interval, scale.no_difference())
        }
        Evidence::FixedHorizon { p_value, interval, .. } => (*p_value <= alpha, interval, 0.0),
        Evidence::GroupSequential { crossed, interval, .. } => (*crossed, interval, 0.0),
        _ => return Outcome::Undecided,
    };
    let up = 0.5 * (interval.lower + interval.upper.min(1e300)) > none;
    match (rejected, up == (direction == Direction::Up)) {
        (false, _) => Outcome::Undecided,
        (true, true) => Outcome::Better,
        (true, false) => Outcome::Worse,
    }
}
