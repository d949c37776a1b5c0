//! What all comparisons of a report rest on: units and requests counted once, by what is old enough.

use super::allocation::Allocation;
use super::config::ExperimentConfig;
use super::event::{ExperimentState, Look};
use super::maturity::{AgeCohort, DelayCurve};
use super::plan::Metric;
use super::record::{ArmSums, Cohort, ExperimentStatistics, N_BUCKETS, Sum, UnitState};
use super::router::HashRouter;
use super::srm::SampleRatio;
use crate::ids::EntityKey;
use crate::seed::Seed;
use crate::stats::{Proportion, log_rank};
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
pub(super) struct Units {
    pub(super) all: u64,
    pub(super) mature: u64,
    pub(super) mature_bad: u64,
    /// Bad by the labels so far, of all.
    pub(super) known_bad: u64,
}

impl Units {
    /// Bad ones among the mature.
    pub(super) fn rate(&self) -> Option<Proportion> {
        Proportion::new(self.mature_bad, self.mature).ok()
    }
}

/// Units of one phase, by arm. Each is in one phase: that of its first request, or of its first bad one.
#[derive(Debug, Clone)]
pub(super) struct PhaseUnits {
    /// First seen.
    pub(super) first: Vec<u64>,
    /// First bad on a day whose labels are complete.
    pub(super) mature_bad: Vec<u64>,
    /// First bad by the labels so far.
    pub(super) known_bad: Vec<u64>,
}

/// The covariate over the units of one arm that are in the analysis.
#[derive(Debug, Clone)]
pub(super) struct Covariates {
    /// By variance bucket: sum, units.
    pub(super) buckets: Vec<(i64, i64)>,
    /// Over mature units, beside whether they were bad: Σ x, Σ x², Σ x of the bad.
    pub(super) mature: (i64, i128, i64),
}

#[derive(Debug)]
pub(super) struct Basis<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) statistics: &'a ExperimentStatistics,
    /// Day of the report.
    today: i64,
    /// The phase that is running, or was last.
    pub(super) phase: u16,
    /// By arm, those whose arm has never changed.
    pub(super) units: Vec<Units>,
    /// Units that changed their arm.
    pub(super) switchers: u64,
    /// All units, by phase.
    pub(super) phase_units: Vec<PhaseUnits>,
    /// By arm, where the plan asks for CUPED.
    pub(super) covariates: Vec<Covariates>,
    /// Shares of each phase in parts per million.
    pub(super) weights_ppm: Vec<Vec<u32>>,
    /// Each arm's counts over all phases.
    pub(super) pooled: Vec<Option<ArmSums>>,
    /// Share of the planned size.
    pub(super) information: f64,
    pub(super) mature_units: u64,
    pub(super) labels: u64,
    pub(super) requests: u64,
    pub(super) stopped: bool,
    pub(super) seed: Seed,
}

impl<'a> Basis<'a> {
    pub(super) fn new(
        subject: Subject<'a>,
        statistics: &'a ExperimentStatistics,
        now: Timestamp,
    ) -> Self {
        let (plan, n_arms) = (&subject.config.plan, subject.config.arms.len());
        let phases = subject.router.allocations();
        let last = phases.last().expect("there is a first phase");
        let pooled: Vec<Option<ArmSums>> =
            (0..n_arms).map(|arm| pool(statistics, phases.len(), arm)).collect();
        // In shadow every arm counts every request.
        let counted = if subject.config.routing.shadow { &pooled[..1] } else { &pooled[..] };
        let counted = || counted.iter().flatten();
        let labels = counted().map(ArmSums::labels).sum();
        let requests = counted().map(|arm| arm.total(Sum::Requests).unsigned_abs()).sum();
        let none = || vec![0; n_arms];
        let phase_units = PhaseUnits { first: none(), mature_bad: none(), known_bad: none() };
        let covariates = Covariates { buckets: vec![(0, 0); N_BUCKETS], mature: (0, 0, 0) };
        let mut basis = Basis {
            subject,
            statistics,
            today: now.day(0),
            phase: phases.len() as u16 - 1,
            units: vec![Units::default(); n_arms],
            switchers: 0,
            phase_units: vec![phase_units; phases.len()],
            covariates: vec![covariates; if plan.cuped { n_arms } else { 0 }],
            weights_ppm: phases.iter().map(Allocation::weights_ppm).collect(),
            pooled,
            information: labels as f64 / plan.planned_requests as f64,
            mature_units: 0,
            labels,
            requests,
            stopped: matches!(subject.state, ExperimentState::Stopped | ExperimentState::Decided),
            seed: Seed(statistics.experiment),
        };
        for (unit, state, covariate) in statistics.units() {
            basis.count(unit, state, covariate, last);
        }
        basis.mature_units = basis.units.iter().map(|arm| arm.mature).sum();
        if plan.primary == Metric::UnitBadRate {
            basis.information = basis.mature_units as f64 / plan.planned_units as f64;
        }
        basis
    }

    fn count(&mut self, unit: EntityKey, state: UnitState, covariate: i32, last: &Allocation) {
        let UnitState { first, bad } = state;
        if let Some(count) = self.phase_units.get_mut(first.phase()).map(|phase| &mut phase.first) {
            count[first.arm()] += 1;
        }
        if let Some(bad) = bad {
            let mature = self.is_mature(bad.day());
            if let Some(phase) = self.phase_units.get_mut(bad.phase()) {
                phase.known_bad[bad.arm()] += 1;
                phase.mature_bad[bad.arm()] += u64::from(mature);
            }
        }
        let router = self.subject.router;
        if !self.shadow() && last.owner(router.slot(unit)).moved {
            self.switchers += 1;
            return;
        }
        let (mature, bad) = (self.is_mature(first.day()), bad.is_some());
        let arm = &mut self.units[first.arm()];
        arm.all += 1;
        arm.known_bad += u64::from(bad);
        arm.mature += u64::from(mature);
        arm.mature_bad += u64::from(mature && bad);
        if let Some(sums) = self.covariates.get_mut(first.arm()) {
            let x = i64::from(covariate);
            let bucket = &mut sums.buckets[usize::from(router.bucket(unit))];
            *bucket = (bucket.0 + x, bucket.1 + 1);
            if mature {
                sums.mature.0 += x;
                sums.mature.1 += i128::from(x * x);
                sums.mature.2 += if bad { x } else { 0 };
            }
        }
    }

    pub(super) fn shadow(&self) -> bool {
        self.subject.config.routing.shadow
    }

    /// Whether a day's labels are complete: the maturity has passed since its end.
    fn is_mature(&self, day: i32) -> bool {
        let maturity = self.subject.config.plan.maturity.as_secs().div_ceil(86_400) as i64;
        i64::from(day) + 1 + maturity <= self.today
    }

    /// Share of requests that are old enough; 0 without requests.
    pub(super) fn matured(&self) -> f64 {
        let days = || self.pooled.iter().flatten().flat_map(|arm| &arm.days);
        let all: u64 = days().map(|cohort| cohort.requests).sum();
        let mature = days().filter(|cohort| self.is_mature(cohort.day));
        let mature: u64 = mature.map(|cohort| cohort.requests).sum();
        if all > 0 { mature as f64 / all as f64 } else { 0.0 }
    }

    /// Whether units fell into arms as planned, phase by phase; in shadow they do not fall.
    pub(super) fn sample_ratio(&self) -> Option<SampleRatio> {
        let seen = |phase: &PhaseUnits| phase.first.iter().any(|count| *count > 0);
        if self.shadow() || !self.phase_units.iter().any(seen) {
            return None;
        }
        let phases = self.phase_units.iter().zip(&self.weights_ppm);
        let phases: Vec<(Vec<u64>, Vec<f64>)> = phases
            .map(|(units, ppm)| (units.first.clone(), ppm.iter().map(|&w| f64::from(w)).collect()))
            .collect();
        SampleRatio::over_phases(&phases).ok()
    }

    /// How bad labels of all arms came in, by days that are complete.
    pub(super) fn delay_curve(&self) -> Option<DelayCurve> {
        let arms: Vec<&ArmSums> = self.pooled.iter().flatten().collect();
        DelayCurve::of_delays(&self.delays(&arms))
    }

    /// P-value of equal delays of bad labels in a challenger and the champion, once stopped.
    pub(super) fn delays_differ(&self, arm: u8) -> Option<f64> {
        if !self.stopped || self.shadow() {
            return None;
        }
        let delays = |arm: u8| Some(self.delays(&[self.pooled[usize::from(arm)].as_ref()?]));
        log_rank(&delays(0)?, &delays(arm)?).map(|test| test.p_value)
    }

    /// Bad labels of complete days by the whole days that they took.
    fn delays(&self, arms: &[&ArmSums]) -> Vec<u64> {
        let mut by_age = Vec::new();
        let days = arms.iter().flat_map(|arm| &arm.days);
        for cohort in days.filter(|cohort| self.is_mature(cohort.day)) {
            by_age.resize(cohort.bad.len(), 0);
            by_age.iter_mut().zip(&cohort.bad).for_each(|(sum, n)| *sum += u64::from(*n));
        }
        by_age
    }

    /// Requests by age with the bad labels known.
    pub(super) fn cohorts(&self, sums: &ArmSums) -> Vec<AgeCohort> {
        let cohort = |cohort: &Cohort| AgeCohort {
            age: (self.today - i64::from(cohort.day)) as f64,
            requests: cohort.requests,
            events: cohort.bad.iter().map(|&n| u64::from(n)).sum(),
        };
        sums.days.iter().map(cohort).collect()
    }
}

/// An arm's counts over all phases.
fn pool(statistics: &ExperimentStatistics, n_phases: usize, arm: usize) -> Option<ArmSums> {
    let mut phases = (0..n_phases).filter_map(|phase| statistics.arm(phase, arm));
    let mut pooled = phases.next()?.clone();
    phases.for_each(|phase| pooled.merge(phase));
    Some(pooled)
}
