//! From counts to a report. A pure function: the same counts, looks and moment give the same report.

use super::basis::{Basis, Subject, Units};
use super::comparison::{Comparison, Evidence, MetricComparison, Outcome};
use super::maturity::DelayCurve;
use super::measure;
use super::plan::{AnalysisPlan, Correction, Metric};
use super::record::{ArmSums, ExperimentStatistics, Sum};
use super::report::{ArmReport, ExperimentReport, PhaseReport};
use super::verdict::{Verdict, verdict};
use crate::stats::{benjamini_hochberg, holm};
use crate::time::Timestamp;

impl Subject<'_> {
    pub(super) fn analyze(
        self,
        statistics: &ExperimentStatistics,
        now: Timestamp,
    ) -> ExperimentReport {
        let (config, plan) = (self.config, &self.config.plan);
        let basis = Basis::new(self, statistics, now);
        let mut comparisons: Vec<Comparison> =
            config.challengers().map(|arm| basis.compare(arm)).collect();
        adjust(&mut comparisons, plan);
        let curve = basis.delay_curve();
        let figures = |sums: Option<&ArmSums>, arm: usize, units: Units| {
            basis.figures(sums, arm, units, curve.as_ref())
        };
        let arms = basis.pooled.iter().zip(&basis.units).enumerate();
        let arms = arms.map(|(arm, (sums, units))| figures(sums.as_ref(), arm, *units)).collect();
        let phases = self.router.allocations();
        let several = phases.len() > 1;
        let phases = phases.iter().enumerate().filter(|_| several);
        let phases = phases.map(|(phase, allocation)| {
            let arms = (0..config.arms.len())
                .map(|arm| figures(statistics.arm(phase, arm), arm, Units::default()));
            let (arms, weights_ppm) = (arms.collect(), allocation.weights_ppm());
            PhaseReport { phase: phase as u16, weights_ppm, arms }
        });
        let sample_ratio = basis.sample_ratio();
        let mut report = ExperimentReport {
            name: config.name.clone(),
            at: now,
            state: self.state,
            units: match basis.shadow() {
                true => basis.labels,
                false => basis.units.iter().map(|arm| arm.all).sum(),
            },
            switchers: basis.switchers,
            matured: basis.matured(),
            information: basis.information,
            arms,
            phases: phases.collect(),
            comparisons,
            sample_ratio_mismatch: (sample_ratio.as_ref())
                .is_some_and(|ratio| ratio.mismatch(plan.srm_alpha)),
            sample_ratio,
            counters: statistics.counters(),
            verdict: Verdict::KeepChampion, // until it is looked at below
        };
        report.verdict = verdict(&report, config);
        report
    }
}

impl Basis<'_> {
    /// One arm's own figures.
    fn figures(
        &self,
        sums: Option<&ArmSums>,
        arm: usize,
        units: Units,
        curve: Option<&DelayCurve>,
    ) -> ArmReport {
        let minor_units = f64::from(self.subject.config.plan.minor_units);
        let value = |metric| match metric {
            Metric::UnitBadRate => units.rate().map(|units| units.rate()),
            _ => measure::value(sums?, metric, minor_units),
        };
        let total = |sum: Sum| sums.map_or(0, |sums| sums.total(sum).unsigned_abs());
        let quantile = |q: f64| sums?.latency.quantile(q);
        ArmReport {
            model: self.subject.config.arms[arm].clone(),
            requests: total(Sum::Requests),
            labels: sums.map_or(0, ArmSums::labels),
            units: units.all,
            mature_units: units.rate(),
            adjusted_bad_rate: curve
                .zip(sums)
                .and_then(|(curve, sums)| curve.adjusted_rate(&self.cohorts(sums))),
            metrics: Metric::ALL.map(|metric| (metric, value(metric))).to_vec(),
            latency: quantile(0.5).zip(quantile(0.99)),
        }
    }
}

/// Adjusts the p-values of all secondary metrics of all challengers together; what is better goes by them.
fn adjust(comparisons: &mut [Comparison], plan: &AnalysisPlan) {
    let mut metrics: Vec<&mut MetricComparison> =
        comparisons.iter_mut().flat_map(|comparison| &mut comparison.secondary).collect();
    let p_value = |metric: &MetricComparison| match metric.evidence {
        Evidence::AlwaysValid { p_value, .. } | Evidence::FixedHorizon { p_value, .. } => {
            Some(p_value)
        }
        _ => None,
    };
    let p: Vec<f64> = metrics.iter().filter_map(|metric| p_value(metric)).collect();
    let adjusted = match plan.correction {
        Correction::Holm => holm(&p),
        Correction::BenjaminiHochberg => benjamini_hochberg(&p),
    };
    let Ok(adjusted) = adjusted else { return };
    let tested = metrics.iter_mut().filter(|metric| p_value(metric).is_some());
    tested.zip(adjusted).for_each(|(metric, p)| {
        metric.adjusted_p_value = Some(p);
        if p > plan.alpha {
            metric.outcome = Outcome::Undecided;
        }
    });
}
