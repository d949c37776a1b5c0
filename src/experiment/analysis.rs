//! From counts to a report and a verdict. A pure function: the same counts, looks and moment give the same report.

use super::config::{ExperimentConfig, Mode};
use super::maturity::{AgeCohort, DelayCurve};
use super::measure::{self, Measured, difference, label_coverage, measure, paired_difference};
use super::plan::{Correction, Direction, Guardrail, Inference, Metric};
use super::record::{ArmSums, Cohort, ExperimentStatistics, Sum};
use super::report::{
    ArmReport, Comparison, Doubt, Evidence, ExperimentReport, GuardrailReport, GuardrailStatus,
    Method, MetricComparison, Outcome, PhaseReport, Scale, Verdict,
};
use super::router::HashRouter;
use super::sequential::{EventProcess, NormalMixture, boundaries};
use super::srm::SampleRatio;
use super::state::{ExperimentState, Look};
use crate::seed::Seed;
use crate::stats::special::{normal_critical, normal_two_sided};
use crate::stats::{
    Discordant, Estimate, Interval, Proportion, TwoProportions, benjamini_hochberg, holm, log_rank,
};
use crate::time::Timestamp;

/// An experiment to be analyzed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Subject<'a> {
    pub(super) config: &'a ExperimentConfig,
    pub(super) router: &'a HashRouter,
    pub(super) state: ExperimentState,
    pub(super) looks: &'a [Look],
    /// Whether this is a formal look.
    pub(super) formal: bool,
}

/// Units of one arm.
#[derive(Debug, Clone, Copy, Default)]
struct Units {
    all: u64,
    mature: u64,
    mature_bad: u64,
}

/// What all comparisons of a report rest on.
struct Basis<'a> {
    subject: Subject<'a>,
    statistics: &'a ExperimentStatistics,
    phase: u16,
    units: Vec<Units>,
    /// Slots that each arm has always held.
    unmoved_ppm: Vec<u32>,
    information: f64,
    mature_units: u64,
    labels: u64,
    requests: u64,
    stopped: bool,
    seed: Seed,
}

impl Subject<'_> {
    pub(super) fn analyze(
        self,
        statistics: &ExperimentStatistics,
        now: Timestamp,
    ) -> ExperimentReport {
        let (config, plan) = (self.config, &self.config.plan);
        let shadow = config.routing.shadow;
        let phases = self.router.allocations();
        let last = phases.last().expect("there is a first phase");
        let n_arms = config.arms.len();
        let today = now.day(0);
        let maturity = plan.maturity.as_secs().div_ceil(86_400) as i64;
        // A day's labels are complete once the maturity has passed since its end.
        let mature = |day: i32| i64::from(day) + 1 + maturity <= today;

        let (mut units, mut switchers) = (vec![Units::default(); n_arms], 0);
        for (unit, state) in statistics.units() {
            if !shadow && last.owner(self.router.slot(unit)).moved {
                switchers += 1;
                continue;
            }
            let Some(arm) = units.get_mut(usize::from(state.arm)) else { continue };
            arm.all += 1;
            if mature(state.first_day) {
                arm.mature += 1;
                arm.mature_bad += u64::from(state.bad);
            }
        }

        let pooled: Vec<Option<ArmSums>> =
            (0..n_arms).map(|arm| pool(statistics, phases.len(), arm)).collect();
        let days = pooled.iter().flatten().flat_map(|arm| &arm.days);
        let (mut requests, mut old_enough) = (0, 0);
        for cohort in days {
            requests += cohort.requests;
            old_enough += if mature(cohort.day) { cohort.requests } else { 0 };
        }
        let matured = if requests > 0 { old_enough as f64 / requests as f64 } else { 0.0 };
        let delays = |arms: &[&ArmSums]| -> Vec<u64> {
            let mut by_age = Vec::new();
            let days = arms.iter().flat_map(|arm| &arm.days);
            for cohort in days.filter(|cohort| mature(cohort.day)) {
                by_age.resize(cohort.bad.len(), 0);
                by_age.iter_mut().zip(&cohort.bad).for_each(|(sum, n)| *sum += u64::from(*n));
            }
            by_age
        };
        let all_arms: Vec<&ArmSums> = pooled.iter().flatten().collect();
        let curve = DelayCurve::of_delays(&delays(&all_arms));

        // In shadow every arm counts every request.
        let counted = if shadow { &pooled[..1] } else { &pooled[..] };
        let total = |sum: Sum| -> u64 {
            counted.iter().flatten().map(|arm| arm.total(sum).unsigned_abs()).sum()
        };
        let (mature_units, labels) = (units.iter().map(|arm| arm.mature).sum(), total(Sum::Labels));
        let information = match plan.primary {
            Metric::UnitBadRate => mature_units as f64 / plan.planned_units as f64,
            _ => labels as f64 / plan.planned_requests as f64,
        };
        let basis = Basis {
            subject: self,
            statistics,
            phase: phases.len() as u16 - 1,
            unmoved_ppm: last.unmoved_ppm(),
            information,
            mature_units,
            labels,
            requests: total(Sum::Requests),
            stopped: matches!(self.state, ExperimentState::Stopped | ExperimentState::Decided),
            seed: Seed(statistics.experiment),
            units,
        };
        let sample_ratio = (!shadow && basis.units.iter().any(|arm| arm.all > 0)).then(|| {
            let observed: Vec<u64> = basis.units.iter().map(|arm| arm.all).collect();
            let planned: Vec<f64> = basis.unmoved_ppm.iter().map(|&ppm| f64::from(ppm)).collect();
            SampleRatio::new(&observed, &planned).ok()
        });
        let sample_ratio = sample_ratio.flatten();

        let mut comparisons: Vec<Comparison> = (config.challengers())
            .map(|arm| {
                let delay = match (&pooled[0], &pooled[usize::from(arm)]) {
                    (Some(a), Some(b)) if basis.stopped && !shadow => {
                        log_rank(&delays(&[a]), &delays(&[b])).map(|test| test.p_value)
                    }
                    _ => None,
                };
                basis.compare(arm, delay)
            })
            .collect();
        adjust(&mut comparisons, plan.correction);

        let report_of = |sums: Option<&ArmSums>, arm: usize, units: Units| {
            let value = |metric| measure::value(sums?, metric, f64::from(plan.minor_units));
            let mature_units = Proportion::new(units.mature_bad, units.mature).ok();
            let metrics = Metric::ALL.iter().map(|&metric| match metric {
                Metric::UnitBadRate => (metric, mature_units.map(|units| units.rate())),
                _ => (metric, value(metric)),
            });
            let total = |sum: Sum| sums.map_or(0, |sums| sums.total(sum).unsigned_abs());
            let latency = sums
                .and_then(|sums| Some((sums.latency.quantile(0.5)?, sums.latency.quantile(0.99)?)));
            ArmReport {
                model: config.arms[arm].clone(),
                requests: total(Sum::Requests),
                labels: total(Sum::Labels),
                units: units.all,
                mature_units,
                adjusted_bad_rate: curve
                    .as_ref()
                    .zip(sums)
                    .and_then(|(curve, sums)| curve.adjusted_rate(&cohorts(sums, today))),
                metrics: metrics.collect(),
                latency,
            }
        };
        let arms: Vec<ArmReport> = (pooled.iter().enumerate())
            .map(|(arm, sums)| report_of(sums.as_ref(), arm, basis.units[arm]))
            .collect();
        let by_phase = phases.iter().enumerate().filter(|_| phases.len() > 1);
        let by_phase = by_phase.map(|(phase, allocation)| PhaseReport {
            phase: phase as u16,
            weights_ppm: allocation.weights_ppm(),
            arms: (0..n_arms)
                .map(|arm| report_of(statistics.arm(phase, arm), arm, Units::default()))
                .collect(),
        });

        let mut report = ExperimentReport {
            name: config.name.clone(),
            at: now,
            state: self.state,
            units: match shadow {
                true => basis.labels,
                false => basis.units.iter().map(|arm| arm.all).sum(),
            },
            switchers,
            matured,
            information: basis.information,
            arms,
            phases: by_phase.collect(),
            sample_ratio_mismatch: (sample_ratio.as_ref())
                .is_some_and(|ratio| ratio.mismatch(plan.srm_alpha)),
            comparisons,
            sample_ratio,
            counters: statistics.counters(),
            verdict: Verdict::KeepChampion,
        };
        report.verdict = verdict(&report, config);
        report
    }
}

/// An arm's counts over all phases.
fn pool(statistics: &ExperimentStatistics, n_phases: usize, arm: usize) -> Option<ArmSums> {
    let mut phases = (0..n_phases).filter_map(|phase| statistics.arm(phase, arm));
    let mut pooled = phases.next()?.clone();
    phases.for_each(|phase| pooled.merge(phase));
    Some(pooled)
}

/// Requests by age with the bad labels known.
fn cohorts(sums: &ArmSums, today: i64) -> Vec<AgeCohort> {
    let cohort = |cohort: &Cohort| AgeCohort {
        age: (today - i64::from(cohort.day)) as f64,
        requests: cohort.requests,
        events: cohort.bad.iter().map(|&n| u64::from(n)).sum(),
    };
    sums.days.iter().map(cohort).collect()
}

/// A difference with what its evidence needs to know.
#[derive(Debug, Clone, Copy)]
struct Contrast {
    estimate: Estimate,
    /// Bad labels of the arm with fewer; `None` for a metric that needs no labels.
    events: Option<u64>,
    method: Method,
}

impl Basis<'_> {
    fn shadow(&self) -> bool {
        self.subject.config.routing.shadow
    }

    fn compare(&self, arm: u8, delay_p_value: Option<f64>) -> Comparison {
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
        Comparison { arm, primary, secondary, guardrails, label_coverage_p_value, delay_p_value }
    }

    fn sums(&self, phase: usize, arm: u8) -> Option<&ArmSums> {
        self.statistics.arm(phase, usize::from(arm))
    }

    /// Both arms' units that are mature, with those that were bad.
    fn mature_units(&self, arm: u8) -> Option<TwoProportions> {
        let of = |arm: u8| {
            let units = self.units[usize::from(arm)];
            Proportion::new(units.mature_bad, units.mature).ok()
        };
        Some(TwoProportions { first: of(0)?, second: of(arm)? })
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
        let value = |arm: u8| match metric {
            Metric::UnitBadRate => {
                let units = self.units[usize::from(arm)];
                Proportion::new(units.mature_bad, units.mature).ok().map(|units| units.rate())
            }
            _ => {
                let pooled = pool(self.statistics, usize::from(self.phase) + 1, usize::from(arm))?;
                let minor_units = f64::from(self.subject.config.plan.minor_units);
                measure::value(&pooled, metric, minor_units)
            }
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

/// Adjusts the p-values of all secondary metrics of all challengers together.
fn adjust(comparisons: &mut [Comparison], correction: Correction) {
    let mut metrics: Vec<&mut MetricComparison> =
        comparisons.iter_mut().flat_map(|comparison| &mut comparison.secondary).collect();
    let p_value = |metric: &MetricComparison| match metric.evidence {
        Evidence::AlwaysValid { p_value, .. } | Evidence::FixedHorizon { p_value, .. } => {
            Some(p_value)
        }
        _ => None,
    };
    let p: Vec<f64> = metrics.iter().filter_map(|metric| p_value(metric)).collect();
    let adjusted = match correction {
        Correction::Holm => holm(&p),
        Correction::BenjaminiHochberg => benjamini_hochberg(&p),
    };
    let Ok(adjusted) = adjusted else { return };
    let tested = metrics.iter_mut().filter(|metric| p_value(metric).is_some());
    tested.zip(adjusted).for_each(|(metric, p)| metric.adjusted_p_value = Some(p));
}

/// What it comes to, by the plan's rules.
fn verdict(report: &ExperimentReport, config: &ExperimentConfig) -> Verdict {
    let plan = &config.plan;
    let mut doubts = Vec::new();
    if !matches!(report.state, ExperimentState::Stopped | ExperimentState::Decided) {
        doubts.push(Doubt::NotStopped);
    }
    if matches!(config.mode, Mode::Bandit(_)) {
        doubts.push(Doubt::Adaptive);
    }
    if report.sample_ratio_mismatch {
        doubts.push(Doubt::SampleRatio);
    }
    let counters = &report.counters;
    if counters.beyond_units + counters.beyond_days + counters.counted_twice > 0 {
        doubts.push(Doubt::Incomplete);
    }
    if report.matured < plan.min_matured {
        doubts.push(Doubt::Immature { matured: report.matured });
    }
    let mut best: Option<(f64, u8)> = None;
    let mut out = 0;
    for comparison in &report.comparisons {
        let arm = comparison.arm;
        if comparison.label_coverage_p_value.is_some_and(|p| p <= plan.srm_alpha) {
            doubts.push(Doubt::LabelCoverage { arm });
        }
        let violated = |guard: &GuardrailReport| guard.status == GuardrailStatus::Violated;
        if comparison.primary.outcome == Outcome::Worse
            || comparison.guardrails.iter().any(violated)
        {
            out += 1;
            continue;
        }
        if comparison.primary.outcome == Outcome::Undecided {
            doubts.push(Doubt::NoEvidence { arm });
            continue;
        }
        let undecided = comparison.guardrails.iter();
        let undecided = undecided.filter(|guard| guard.status == GuardrailStatus::Undecided);
        let waiting: Vec<Doubt> = undecided
            .map(|guard| Doubt::GuardrailUndecided { arm, metric: guard.metric })
            .collect();
        if waiting.is_empty() {
            let gain =
                comparison.primary.difference.map_or(0.0, |difference| difference.value.abs());
            if best.is_none_or(|(most, _)| gain > most) {
                best = Some((gain, arm));
            }
        }
        doubts.extend(waiting);
    }
    // Doubts about one challenger do not stand in the way of another; doubts about the data do.
    let of_one = |doubt: &Doubt| {
        matches!(doubt, Doubt::NoEvidence { .. } | Doubt::GuardrailUndecided { .. })
    };
    let sound = doubts.iter().all(of_one);
    match best {
        Some((_, arm)) if sound => Verdict::Ship { arm },
        _ if sound && out == report.comparisons.len() => Verdict::KeepChampion,
        _ => Verdict::Inconclusive { reasons: doubts },
    }
}
