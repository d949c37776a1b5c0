//! A seeded world of requests, and experiments over it.

use std::time::Duration;

use riskcycle::experiment::{
    AnalysisPlan, Experiment, ExperimentConfig, ExperimentReport, ExperimentStatistics,
    ExposureToken, Guardrail, Metric, Mode, Recorded, RecorderConfig, Router, RoutingConfig,
};
use riskcycle::{EntityKey, ModelRef, Signature, Timestamp, days};

pub(crate) const START: Timestamp = Timestamp::from_date(2026, 1, 5);

pub(crate) fn small() -> RecorderConfig {
    RecorderConfig { requests: 1 << 14, units: 1 << 13, days: 400 }
}

pub(crate) fn sign(at: Timestamp) -> Signature<'static> {
    Signature::new("anna", "test", at)
}

pub(crate) fn plan() -> AnalysisPlan {
    AnalysisPlan {
        maturity: days(7),
        secondary: vec![Metric::Precision, Metric::Recall, Metric::Cost, Metric::RocAuc],
        guardrails: vec![Guardrail { metric: Metric::ApprovalRate, margin: 0.05 }],
        ..AnalysisPlan::new(Metric::UnitBadRate, 4000, 9000)
    }
}

pub(crate) fn config(routing: RoutingConfig, mode: Mode, plan: AnalysisPlan) -> ExperimentConfig {
    let n_arms = routing.weights_ppm.len() as u32;
    let arms = (1..=n_arms).map(|version| ModelRef { name: "m".into(), version }).collect();
    ExperimentConfig { name: "test".into(), arms, routing, mode, plan }
}

pub(crate) fn started(config: ExperimentConfig) -> Experiment {
    let experiment = Experiment::new(config, sign(START)).unwrap();
    experiment.start(sign(START)).unwrap();
    experiment
}

pub(crate) fn half() -> Experiment {
    started(config(RoutingConfig::new("half", &[500_000, 500_000]), Mode::AbTest, plan()))
}

/// Uniform within 0..1, the same for the same numbers.
pub(crate) fn chance(a: u64, b: u64) -> f64 {
    (riskcycle::seed::stable_hash(&a.to_le_bytes(), b) >> 11) as f64 / 9_007_199_254_740_992.0
}

/// A request of a seeded world: units come back, bad ones score higher, labels come two to six days later.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Happened {
    pub(crate) token: ExposureToken,
    pub(crate) bad: bool,
    pub(crate) labelled: Timestamp,
}

/// `rate` gives each arm's bad rate.
pub(crate) fn request(
    experiment: &Experiment,
    i: u64,
    n_units: u64,
    rate: &dyn Fn(u8) -> f64,
) -> Option<Happened> {
    let unit = EntityKey((chance(i, 1) * n_units as f64) as u64);
    let at = START.plus(Duration::from_secs(i * 60));
    let assignment = experiment.router().route(unit, i, at);
    let bad = chance(i, 2) < rate(assignment.arm);
    let score = |arm: u8| {
        let noise = chance(i, 10 + u64::from(arm));
        if bad { noise.sqrt() } else { noise * noise }
    };
    let alert = |arm: u8| score(arm) > 0.8;
    let arm = assignment.arm;
    let mut token = ExposureToken::new(&assignment, unit, i, at, Some(score(arm)), alert(arm))?
        .with_amount((chance(i, 3) * 10_000.0) as i64)
        .with_latency(1000 + i % 500);
    if assignment.shadow {
        for other in 1..experiment.config().arms.len() as u8 {
            token = token.with_score(other, Some(score(other)), alert(other));
        }
    }
    let labelled = at.plus(days(2 + (chance(i, 4) * 5.0) as u64));
    Some(Happened { token, bad, labelled })
}

pub(crate) fn world(experiment: &Experiment, n: u64, rate: &dyn Fn(u8) -> f64) -> Vec<Happened> {
    (0..n).filter_map(|i| request(experiment, i, 3000, rate)).collect()
}

pub(crate) fn record(experiment: &Experiment, world: &[Happened]) -> ExperimentStatistics {
    let mut statistics = ExperimentStatistics::new(experiment, small()).unwrap();
    for happened in world {
        assert_eq!(statistics.expose(&happened.token), Recorded::Counted);
        statistics.outcome(&happened.token, happened.bad, happened.labelled);
    }
    statistics
}

pub(crate) fn json(report: &ExperimentReport) -> String {
    serde_json::to_string(report).unwrap()
}

/// No number of a report is NaN or infinite: JSON would have written it as null, and a null would not read back as the same.
pub(crate) fn assert_sound(report: &ExperimentReport) {
    let text = json(report);
    let back: ExperimentReport = serde_json::from_str(&text).unwrap();
    assert_eq!(&back, report);
    assert!(!report.to_string().contains("NaN"), "{report}");
}

pub(crate) const LATE: Timestamp = Timestamp::from_date(2026, 6, 1);
