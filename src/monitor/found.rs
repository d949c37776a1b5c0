//! From counts to findings.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::board::Finding;
use super::metric::Metric;
use super::outcome::{LabelCounts, OutcomeLedger};
use super::traffic::TrafficStats;
use super::{MonitorConfig, start};
use crate::ids::ModelRef;
use crate::time::{Timestamp, days};

/// Stretches on the grid of a length that ended by `now` and were not given before; `told` is how far that was. After a long
/// silence only those of the last 30 days: no traffic is remembered of the others.
fn stretches(told: &mut Timestamp, now: Timestamp, length: Duration) -> Vec<Range<Timestamp>> {
    let end = start(now, length);
    let mut from = start((*told).max(now.minus(days(30))), length);
    let mut stretches = Vec::new();
    while from.plus(length) <= end {
        stretches.push(from..from.plus(length));
        from = from.plus(length);
    }
    *told = (*told).max(end);
    stretches
}

/// What is told of versions at `now`, in order of time and version: traffic of the buckets since `told` that have ended, then
/// outcomes of the days since `judged` whose labels are due; and how many findings are of traffic.
pub(super) fn findings(
    ledgers: &BTreeMap<ModelRef, OutcomeLedger>,
    traffic: impl Fn(&ModelRef, &Range<Timestamp>) -> TrafficStats,
    (told, judged): (&mut Timestamp, &mut Timestamp),
    now: Timestamp,
    config: &MonitorConfig,
) -> (Vec<Finding>, usize) {
    let mut findings = Vec::new();
    for bucket in stretches(told, now, config.bucket) {
        for model in ledgers.keys() {
            let stats = traffic(model, &bucket);
            let mut found = Found { model, stretch: &bucket, findings: &mut findings };
            found.traffic(&stats);
        }
    }
    let of_traffic = findings.len();
    let due = now.minus(config.label_delay);
    for day in stretches(judged, due, days(1)) {
        for (model, ledger) in ledgers {
            let found = Found { model, stretch: &day, findings: &mut findings };
            found.outcomes(ledger, now, config);
        }
    }
    (findings, of_traffic)
}

/// Where findings on one version and stretch of time go.
struct Found<'a> {
    model: &'a ModelRef,
    stretch: &'a Range<Timestamp>,
    findings: &'a mut Vec<Finding>,
}

impl Found<'_> {
    fn traffic(&mut self, stats: &TrafficStats) {
        if stats.count == 0 {
            return;
        }
        let metrics = [
            Metric::Predictions,
            Metric::ReviewRate,
            Metric::FallbackRate,
            Metric::ErrorRate,
            Metric::IncompleteRate,
            Metric::UnseenRate,
            Metric::MeanScore,
        ];
        for metric in metrics {
            if let Some((value, n)) = stats.measure(&metric) {
                self.value(metric, value, n);
            }
        }
    }

    /// What labels say of the stretch, and as of `now` of all.
    fn outcomes(mut self, ledger: &OutcomeLedger, now: Timestamp, config: &MonitorConfig) {
        let counts = ledger.labels(self.stretch);
        if counts == LabelCounts::default() {
            return;
        }
        let LabelCounts { predictions, flagged, labels, labels_flagged, bad, bad_flagged } = counts;
        self.share(Metric::LabelCoverage, labels, predictions);
        let (judged, judged_flagged, gap) = if config.silence_is_good {
            let promised = ledger.expected(self.stretch).bad_rate;
            let gap = promised.map(|rate| rate.value - bad as f64 / predictions as f64);
            (predictions, flagged, gap.filter(|gap| gap.is_finite()))
        } else {
            (labels, labels_flagged, ledger.calibration(self.stretch).gap())
        };
        self.share(Metric::BadRate, bad, judged);
        self.share(Metric::Precision, bad_flagged, judged_flagged);
        self.share(Metric::Recall, bad_flagged, bad);
        if let Some(gap) = gap {
            self.value(Metric::CalibrationGap, gap.abs(), judged);
        }
        let reports = ledger.reports(false);
        if reports.n() > 0 {
            let lag = reports.completeness(now).age_of(0.5) as f64;
            self.value(Metric::LabelLag, lag, reports.n());
        }
        let range = now.minus(config.agreement)..now;
        if let Some((z, n)) = ledger.disagreement(range, now) {
            self.value(Metric::OutcomeDisagreement, z.abs(), n);
        }
    }

    fn share(&mut self, metric: Metric, part: u64, whole: u64) {
        if whole > 0 {
            self.value(metric, part as f64 / whole as f64, whole);
        }
    }

    fn value(&mut self, metric: Metric, value: f64, n: u64) {
        let (model, segment) = (Some(self.model.clone()), None);
        let Range { start: from, end: to } = *self.stretch;
        self.findings.push(Finding { metric, model, segment, from, to, value, n });
    }
}
