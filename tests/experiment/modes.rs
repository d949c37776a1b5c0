//! Canary, bandit and shadow.

use riskcycle::experiment::{
    AnalysisPlan, CanaryStep, Doubt, Evidence, Experiment, ExperimentState, ExperimentStatistics,
    Guardrail, GuardrailStatus, Inference, Method, Metric, Mode, Router, RoutingConfig, SLOTS,
    Step, StopReason, ThompsonConfig, Verdict,
};
use riskcycle::stats::Discordant;
use riskcycle::{EntityKey, days};

use crate::world::*;

#[test]
fn a_canary_rises_step_by_step_and_is_rolled_back_when_fraud_doubles() {
    let steps = [100_000, 500_000, SLOTS]
        .map(|exposure_ppm| CanaryStep { exposure_ppm, duration: days(1), units: 50 })
        .to_vec();
    let routing =
        RoutingConfig { exposure_ppm: 100_000, ..RoutingConfig::new("canary", &[500_000; 2]) };
    let plan = AnalysisPlan {
        guardrails: vec![Guardrail { metric: Metric::UnitBadRate, margin: 0.0 }],
        maturity: days(30),
        ..plan()
    };
    let canary = |rate: &dyn Fn(u8) -> f64| {
        let config = config(routing.clone(), Mode::Canary { steps: steps.clone() }, plan.clone());
        let experiment = started(config);
        let mut statistics = ExperimentStatistics::new(&experiment, small()).unwrap();
        let (mut done, mut waiting) = (Vec::new(), Vec::new());
        for day in 1..40u64 {
            let now = START.plus(days(day));
            for i in (day - 1) * 1440..day * 1440 {
                if let Some(happened) = request(&experiment, i, 5000, rate) {
                    statistics.expose(&happened.token);
                    waiting.push(happened);
                }
            }
            waiting.retain(|happened| {
                if happened.labelled <= now {
                    statistics.outcome(&happened.token, happened.bad, happened.labelled);
                }
                happened.labelled > now
            });
            let (_, step) = experiment.look(&statistics, sign(now)).unwrap();
            if step != Step::Continue {
                done.push(step.clone());
            }
            if step == Step::RolledBack {
                break;
            }
        }
        for happened in waiting {
            statistics.outcome(&happened.token, happened.bad, happened.labelled);
        }
        (experiment, statistics, done)
    };
    let (fine, _, steps_taken) = canary(&|_| 0.02);
    assert_eq!(steps_taken, [Step::ExposureRaised(500_000), Step::ExposureRaised(SLOTS)]);
    assert_eq!(fine.state(), ExperimentState::Running);
    let (bad, statistics, steps_taken) = canary(&|arm| if arm == 1 { 0.04 } else { 0.02 });
    assert_eq!(steps_taken.last(), Some(&Step::RolledBack));
    assert_eq!(bad.state(), ExperimentState::Stopped);
    let trail = bad.audit();
    let killed = trail.iter().find(|entry| entry.to_string().contains(": killed")).unwrap();
    assert!(killed.reason.contains("worse in bad rate of units"), "{}", killed.reason);
    assert_eq!(bad.router().route(EntityKey(1), 1, LATE).arm, 0);
    // Long before any label is mature; and what a look has seen stays seen.
    assert!(killed.at < START.plus(days(30)), "{}", killed.at);
    let report = bad.decide(&statistics, sign(LATE)).unwrap();
    assert_eq!(report.comparisons[0].guardrails[0].status, GuardrailStatus::Violated);
    assert_eq!(report.verdict, Verdict::KeepChampion);
    let restored = Experiment::restore(bad.config().clone(), bad.audit()).unwrap();
    assert_eq!(restored.verdict(), bad.verdict());
}

#[test]
fn a_bandit_moves_to_the_better_arm_and_claims_nothing() {
    let routing = RoutingConfig::new("bandit", &[500_000, 500_000]);
    let thompson = ThompsonConfig { min_units: 200, ..ThompsonConfig::default() };
    let experiment = started(config(routing, Mode::Bandit(thompson), plan()));
    let world = world(&experiment, 9000, &|arm| if arm == 1 { 0.005 } else { 0.04 });
    let statistics = record(&experiment, &world);
    let (report, step) = experiment.look(&statistics, sign(LATE)).unwrap();
    let Step::Reweighted(shares) = step else { panic!("{report}") };
    assert_eq!(shares, [50_000, 950_000]);
    assert_eq!(experiment.router().allocations().len(), 2);
    assert_eq!(report.comparisons[0].primary.evidence, Evidence::None);
    experiment.stop(StopReason::Complete, sign(LATE)).unwrap();
    let verdict = experiment.report(&statistics, LATE).verdict;
    assert!(
        matches!(verdict, Verdict::Inconclusive { reasons } if reasons.contains(&Doubt::Adaptive))
    );
}

#[test]
fn in_shadow_arms_are_compared_on_the_same_requests() {
    let routing = RoutingConfig { shadow: true, ..RoutingConfig::new("shadow", &[SLOTS, 0]) };
    let plan = AnalysisPlan {
        inference: Inference::FixedHorizon,
        secondary: vec![Metric::RocAuc, Metric::AveragePrecision, Metric::Cost],
        guardrails: vec![],
        maturity: days(7),
        ..AnalysisPlan::new(Metric::Accuracy, 2000, 2000)
    };
    let experiment = started(config(routing, Mode::Shadow, plan));
    let world = world(&experiment, 3000, &|_| 0.1);
    let statistics = record(&experiment, &world);
    experiment.stop(StopReason::Complete, sign(LATE)).unwrap();
    let report = experiment.report(&statistics, LATE);
    assert_eq!(report.arms[0].labels, report.arms[1].labels);
    let right = |h: &Happened, arm: u8| h.token.alert(arm) == h.bad;
    let only =
        |arm: u8| world.iter().filter(|h| right(h, arm) && !right(h, 1 - arm)).count() as u64;
    let cells = Discordant { first_only: only(0), second_only: only(1) };
    let comparison = &report.comparisons[0];
    let Evidence::FixedHorizon { p_value, method, .. } = comparison.primary.evidence else {
        panic!("{report}");
    };
    assert_eq!((p_value, method), (cells.mid_p(), Method::McNemar));
    // The paired error of the area is DeLong's on the rows, but for the bins.
    let labels: Vec<bool> = world.iter().map(|h| h.bad).collect();
    let scores = |arm| world.iter().map(|h| h.token.score(arm).unwrap()).collect::<Vec<f64>>();
    let exact = riskcycle::stats::AucComparison::paired(&labels, &scores(0), &scores(1)).unwrap();
    let auc = comparison.secondary[0].difference.unwrap();
    assert!((auc.value - exact.difference).abs() < 1e-3, "{auc:?}");
    assert!((auc.standard_error / exact.standard_error - 1.0).abs() < 0.05, "{auc:?} {exact:?}");
    assert_sound(&report);

    let events = AnalysisPlan {
        inference: Inference::EventProcess { strength: 50.0 },
        maturity: days(7),
        ..AnalysisPlan::new(Metric::Accuracy, 2000, 2000)
    };
    let routing = RoutingConfig { shadow: true, ..RoutingConfig::new("shadow", &[SLOTS, 0]) };
    let sequential = started(config(routing, Mode::Shadow, events));
    let report = sequential.report(&statistics, LATE);
    let Evidence::AlwaysValid { p_value, .. } = report.comparisons[0].primary.evidence else {
        panic!("{report}");
    };
    let process = riskcycle::experiment::EventProcess::new(50.0).unwrap();
    let process = process.with_events(0.5, cells.first_only, cells.second_only).unwrap();
    assert_eq!(p_value, (-process.ln_e()).exp().min(1.0));
}
