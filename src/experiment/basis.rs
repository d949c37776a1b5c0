//! What all comparisons of a report rest on: units and requests counted once, by what is old enough.

use super::config::ExperimentConfig;
use super::maturity::{AgeCohort, DelayCurve};
use super::plan::Metric;
use super::record::{ArmSums, Cohort, ExperimentStatistics, Sum};
use super::router::HashRouter;
use super::srm::SampleRatio;
use super::state::{ExperimentState, Look};
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
}

impl Units {
    /// Bad ones among the mature.
    pub(super) fn rate(&self) -> Option<Proportion> {
        Proportion::new(self.mature_bad, self.mature).ok()
    }
}

#[derive(Debug)]
pub(super) struct Basis<'a> {
    pub(super) subject: Subject<'a>,
    pub(super) statistics: &'a ExperimentStatistics,
    /// Day of the report.
    today: i64,
    /// The phase that is running, or was last.
    pub(super) phase: u16,
    pub(super) units: Vec<Units>,
    /// Units that changed their arm.
    pub(super) switchers: u64,
    /// Slots that each arm has always held.
    pub(super) unmoved_ppm: Vec<u32>,
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
        let total = |sum: Sum| -> u64 {
            counted.iter().flatten().map(|arm| arm.total(sum).unsigned_abs()).sum()
        };
        let (labels, requests) = (total(Sum::Labels), total(Sum::Requests));
        let mut basis = Basis {
            subject,
            statistics,
            today: now.day(0),
            phase: phases.len() as u16 - 1,
            units: vec![Units::default(); n_arms],
            switchers: 0,
            unmoved_ppm: last.unmoved_ppm(),
            pooled,
            information: labels as f64 / plan.planned_requests as f64,
            mature_units: 0,
            labels,
            requests,
            stopped: matches!(subject.state, ExperimentState::Stopped | ExperimentState::Decided),
            seed: Seed(statistics.experiment),
        };
        for (unit, state) in statistics.units() {
            if !basis.shadow() && last.owner(subject.router.slot(unit)).moved {
                basis.switchers += 1;
                continue;
            }
            let mature = basis.is_mature(state.first_day);
            let Some(arm) = basis.units.get_mut(usize::from(state.arm)) else { continue };
            arm.all += 1;
            arm.mature += u64::from(mature);
            arm.mature_bad += u64::from(mature && state.bad);
        }
        basis.mature_units = basis.units.iter().map(|arm| arm.mature).sum();
        if plan.primary == Metric::UnitBadRate {
            basis.information = basis.mature_units as f64 / plan.planned_units as f64;
        }
        basis
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

    /// Whether units fell into arms as planned; in shadow they do not fall.
    pub(super) fn sample_ratio(&self) -> Option<SampleRatio> {
        if self.shadow() || self.units.iter().all(|arm| arm.all == 0) {
            return None;
        }
        let observed: Vec<u64> = self.units.iter().map(|arm| arm.all).collect();
        let planned: Vec<f64> = self.unmoved_ppm.iter().map(|&ppm| f64::from(ppm)).collect();
        SampleRatio::new(&observed, &planned).ok()
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
