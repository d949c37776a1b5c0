//! What may be said of a challenger, metric by metric.

use super::basis::{Basis, PhaseUnits};
use super::comparison::{Comparison, Evidence, Method, MetricComparison, Outcome, Scale};
use super::config::Mode;
use super::contrast::Contrast;
use super::event::Look;
use super::measure;
use super::plan::{Direction, Inference, Metric};
use super::sequential::{EventProcess, NormalMixture, Spending, boundaries_after};
use crate::stats::special::{normal_critical, normal_two_sided};
use crate::stats::{Discordant, Estimate, Interval};

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
        let guardrails = plan.guardrails.iter().enumerate();
        let guardrails = guardrails.map(|(i, guard)| self.guardrail(arm, i, guard)).collect();
        let label_coverage = self.label_coverage(arm);
        let delay_p_value = self.delays_differ(arm);
        Comparison { arm, primary, secondary, guardrails, label_coverage, delay_p_value }
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
            (Metric::UnitBadRate, _) => {
                self.units[usize::from(arm)].rate().map(|units| units.rate())
            }
            (_, pooled) => measure::value(pooled.as_ref()?, metric, minor_units),
        };
        MetricComparison {
            metric,
            champion: value(0),
            challenger: value(arm),
            difference: contrast.map(|contrast| contrast.estimate),
            lift: contrast.and_then(|contrast| contrast.lift),
            variance_removed: contrast.and_then(|contrast| contrast.variance_removed),
            detectable: contrast
                .filter(|_| primary)
                .and_then(|contrast| self.detectable(metric, &contrast)),
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
        let before: Vec<(&Look, &Evidence)> = (self.subject.looks.iter())
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
                self.group_sequential(contrast, alpha, *spending, &before)
            }
            Inference::FixedHorizon => {
                let reached = self.stopped && self.information >= 1.0;
                let evidence = reached.then(|| self.fixed(arm, metric, contrast, alpha)).flatten();
                evidence.unwrap_or(Evidence::Pending)
            }
        }
    }

    /// A look of a group-sequential plan, after those before.
    fn group_sequential(
        &self,
        contrast: &Contrast,
        alpha: f64,
        spending: Spending,
        before: &[(&Look, &Evidence)],
    ) -> Evidence {
        // A bound once crossed stays crossed.
        let mut evidence = before.iter().map(|(_, evidence)| *evidence);
        let crossed = |e: &&Evidence| matches!(e, Evidence::GroupSequential { crossed: true, .. });
        if let Some(crossed) = evidence.find(crossed) {
            return crossed.clone();
        }
        // Looks of this phase are one path; those of phases before have spent their part, and other units than theirs are in
        // the analysis now.
        let (mut information, mut spent_by) = (Vec::new(), 0.0f64);
        for (look, _) in before {
            let share = look.information.min(1.0);
            if look.phase == self.phase {
                information.push(share);
            } else {
                spent_by = spent_by.max(share);
            }
        }
        let now = self.information.min(1.0);
        if !self.subject.formal || now <= information.last().map_or(spent_by, |last| *last) {
            return Evidence::Pending;
        }
        if let Some(few) = self.too_few(contrast) {
            return few;
        }
        information.push(now);
        let bounds = boundaries_after(spent_by, &information, alpha, spending);
        let Some(&bound) = bounds.as_ref().ok().and_then(|bounds| bounds.last()) else {
            return Evidence::Pending;
        };
        let Estimate { value, standard_error } = contrast.estimate;
        let z = value / standard_error;
        let interval = Interval::around(value, bound * standard_error);
        Evidence::GroupSequential { z, bound, crossed: z.abs() >= bound, interval }
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

    pub(super) fn too_few(&self, contrast: &Contrast) -> Option<Evidence> {
        let needed = self.subject.config.plan.min_events;
        let events = contrast.events.filter(|events| *events < needed)?;
        Some(Evidence::TooFew { events, needed })
    }

    /// What the variance of a metric falls with: how much of it there is, and how much is planned.
    pub(super) fn size(&self, metric: Metric) -> (f64, f64) {
        let plan = &self.subject.config.plan;
        let (size, planned) = match metric {
            Metric::UnitBadRate => (self.mature_units, plan.planned_units),
            Metric::ApprovalRate | Metric::Latency => (self.requests, plan.planned_requests),
            _ => (self.labels, plan.planned_requests),
        };
        (size as f64, planned as f64)
    }

    /// The confidence sequence of a metric, narrowest at the planned size; counted in what the variance falls with, so that
    /// the prior stays where it is.
    pub(super) fn mixture(&self, metric: Metric, estimate: Estimate, alpha: f64) -> NormalMixture {
        let (size, planned) = self.size(metric);
        NormalMixture::tuned(estimate.standard_error.powi(2), size, planned, alpha)
    }

    fn discordant(&self, arm: u8) -> Option<(Discordant, u64)> {
        let pair = self.statistics.pair(arm)?;
        let (first_only, second_only) = (pair.champion_only, pair.challenger_only);
        Some((Discordant { first_only, second_only }, pair.rows))
    }

    /// The events of this challenger and the champion, phase by phase with the shares that each had; of shadow mode, rows
    /// that one of them alone has right.
    fn event_process(&self, arm: u8, strength: f64) -> Option<EventProcess> {
        if self.shadow() {
            let (cells, _) = self.discordant(arm)?;
            let process = EventProcess::new(strength).ok()?;
            return process.with_events(0.5, cells.first_only, cells.second_only).ok();
        }
        self.events_by_phase(arm, strength, |phase| &phase.mature_bad)
    }

    /// Units by the phase and arm that answered their first bad request. Without a difference such a unit is the
    /// challenger's with the chance of its share in that phase, whatever happened before, so that phases multiply and units
    /// that change their arm need not be left out.
    pub(super) fn events_by_phase(
        &self,
        arm: u8,
        strength: f64,
        events: fn(&PhaseUnits) -> &Vec<u64>,
    ) -> Option<EventProcess> {
        let mut process = EventProcess::new(strength).ok()?;
        for (phase, ppm) in self.phase_units.iter().zip(&self.weights_ppm) {
            let of = |arm: u8| (f64::from(ppm[usize::from(arm)]), events(phase)[usize::from(arm)]);
            let ((first_share, first), (share, second)) = (of(0), of(arm));
            // Where one of them gets no units there is nothing to tell.
            if first_share > 0.0 && share > 0.0 {
                process = process.with_events(share / (first_share + share), first, second).ok()?;
            }
        }
        Some(process)
    }
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
