//! What a report says of the counts.

use proptest::prelude::*;
use riskcycle::days;
use riskcycle::experiment::{
    AnalysisPlan, CanaryStep, Correction, Doubt, Evidence, Experiment, ExperimentReport,
    ExperimentState, ExperimentStatistics, Guardrail, GuardrailStatus, Inference, Method, Metric,
    Mode, Outcome, Recorded, Router, RoutingConfig, SLOTS, Spending, Step, StopReason,
    ThompsonConfig, Verdict,
};

use crate::world::*;

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn no_report_holds_a_number_that_is_none(
        n in 0u64..300, labelled in 0.0..=1.0f64, rate in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0f64],
        mode in 0usize..5, inference in 0usize..4, stopped in any::<bool>(), cuped in any::<bool>(),
    ) {
        let shadow = mode == 4;
        let primary = if shadow { Metric::Accuracy } else { Metric::UnitBadRate };
        let inference = match inference {
            0 => Inference::EventProcess { strength: 50.0 },
            1 => Inference::ConfidenceSequence,
            2 => Inference::GroupSequential { spending: Spending::OBrienFleming },
            _ => Inference::FixedHorizon,
        };
        let metrics = || Metric::ALL.into_iter().filter(|m| !shadow || *m != Metric::UnitBadRate);
        let plan = AnalysisPlan {
            primary,
            direction: primary.direction(),
            inference,
            planned_units: 100,
            min_events: 1,
            cuped: cuped && !shadow,
            secondary: metrics().collect(),
            guardrails: metrics().map(|metric| Guardrail { metric, margin: 0.01 }).collect(),
            ..plan()
        };
        let weights = if mode == 1 { [SLOTS, 0] } else { [500_000, 500_000] };
        let mode = match mode {
            2 => Mode::Canary { steps: vec![CanaryStep { exposure_ppm: SLOTS, duration: days(1), units: 1 }] },
            3 => Mode::Bandit(ThompsonConfig { min_units: 1, ..ThompsonConfig::default() }),
            4 => Mode::Shadow,
            _ => Mode::AbTest,
        };
        let routing = RoutingConfig { shadow, ..RoutingConfig::new("any", &weights) };
        let experiment = started(config(routing, mode, plan));
        let mut statistics = ExperimentStatistics::new(&experiment, small()).unwrap();
        for happened in world(&experiment, n, &|_| rate) {
            statistics.expose(&happened.token);
            if chance(happened.token.request(), 7) < labelled {
                statistics.outcome(&happened.token, happened.bad, happened.labelled);
            }
        }
        if stopped {
            experiment.stop(StopReason::Manual, sign(LATE)).unwrap();
        }
        assert_sound(&experiment.report(&statistics, LATE));
        if let Ok((report, _)) = experiment.look(&statistics, sign(LATE)) {
            assert_sound(&report);
        }
    }
}

#[test]
fn figures_of_the_report_are_those_of_the_rows() {
    let experiment = half();
    let world = world(&experiment, 6000, &|_| 0.1);
    let report = experiment.report(&record(&experiment, &world), LATE);
    assert!(report.sample_ratio.as_ref().is_some_and(|ratio| ratio.p_value > 0.001));
    for arm in 0..2u8 {
        let rows: Vec<&Happened> = world.iter().filter(|h| h.token.arm() == arm).collect();
        let (labels, scores): (Vec<bool>, Vec<f64>) =
            rows.iter().map(|h| (h.bad, h.token.score(arm).unwrap())).unzip();
        let ranking = riskcycle::evaluate::Ranking::new(&labels, &scores).unwrap();
        let cells = riskcycle::evaluate::ConfusionMatrix::at(0.8000001, &labels, &scores);
        let n = rows.len() as f64;
        let mean = |f: &dyn Fn(&Happened) -> f64| rows.iter().map(|h| f(h)).sum::<f64>() / n;
        let costs = &experiment.config().plan.costs;
        let amount = |h: &Happened| {
            let bytes = h.token.to_bytes(); // the amount is bytes 40 to 48
            i64::from_le_bytes(bytes[40..48].try_into().unwrap()) as f64 / 100.0
        };
        let score = |h: &Happened| h.token.score(arm).unwrap();
        let loss = |h: &Happened| -if h.bad { score(h).ln() } else { (1.0 - score(h)).ln() };
        let (tp, fp) = (cells.true_positives as f64, cells.false_positives as f64);
        let (tn, fn_) = (cells.true_negatives as f64, cells.false_negatives as f64);
        let arm_report = &report.arms[usize::from(arm)];
        assert_eq!(arm_report.requests, rows.len() as u64);
        let value = |metric: Metric| {
            let found = arm_report.metrics.iter().find(|(other, _)| *other == metric);
            found.unwrap().1.unwrap()
        };
        let units: std::collections::BTreeSet<_> = rows.iter().map(|h| h.token.unit()).collect();
        let bad_units: std::collections::BTreeSet<_> =
            rows.iter().filter(|h| h.bad).map(|h| h.token.unit()).collect();
        let bad_amount: f64 = rows.iter().filter(|h| h.bad).map(|h| amount(h)).sum();
        // Bins of 3 % of the odds cost the ranking metrics some digits, whole numbers the others.
        for (metric, expected, tolerance) in [
            (Metric::UnitBadRate, bad_units.len() as f64 / units.len() as f64, 1e-14),
            (Metric::BadRate, (tp + fn_) / n, 1e-14),
            (Metric::BadValueRate, bad_amount / (mean(&amount) * n), 1e-12),
            (Metric::ApprovalRate, (tn + fn_) / n, 1e-14),
            (Metric::Accuracy, (tp + tn) / n, 1e-14),
            (Metric::Precision, tp / (tp + fp), 1e-14),
            (Metric::Recall, tp / (tp + fn_), 1e-14),
            (Metric::F1, 2.0 * tp / (2.0 * tp + fp + fn_), 1e-14),
            (Metric::LogLoss, mean(&loss), 1e-5),
            (Metric::Brier, mean(&|h| (score(h) - f64::from(u8::from(h.bad))).powi(2)), 1e-5),
            (Metric::Cost, mean(&|h| costs.of(h.bad, score(h) > 0.8, amount(h))), 1e-2),
            (Metric::Latency, mean(&|h| (1000 + h.token.request() % 500) as f64 / 1000.0), 1e-12),
            (Metric::RocAuc, ranking.roc_auc(), 1e-3),
            (Metric::AveragePrecision, ranking.average_precision(), 1e-2),
            (Metric::Ks, ranking.ks().value, 1e-2),
        ] {
            let got = value(metric);
            assert!((got - expected).abs() <= tolerance, "{metric}: {got} instead of {expected}");
        }
    }
    assert_sound(&report);
}

#[test]
fn a_worse_challenger_is_found_out_and_the_verdict_waits_for_labels_to_mature() {
    let experiment = half();
    let world = world(&experiment, 9000, &|arm| if arm == 1 { 0.06 } else { 0.01 });
    let statistics = record(&experiment, &world);
    let soon = world.last().unwrap().token.at();
    let verdict = |at| experiment.report(&statistics, at).verdict;
    let Verdict::Inconclusive { reasons } = verdict(LATE) else { panic!("still running") };
    assert_eq!(reasons, [Doubt::NotStopped]);
    experiment.stop(StopReason::Complete, sign(soon)).unwrap();
    let Verdict::Inconclusive { reasons } = verdict(soon) else { panic!("labels are due") };
    assert!(matches!(reasons[..], [Doubt::Immature { .. }, ..]), "{reasons:?}");
    let report = experiment.decide(&statistics, sign(LATE)).unwrap();
    assert_eq!(report.verdict, Verdict::KeepChampion);
    assert_eq!(report.comparisons[0].primary.outcome, Outcome::Worse);
    assert_eq!(experiment.state(), ExperimentState::Decided);
    assert!(report.to_string().ends_with("verdict: keep the champion"), "{report}");
    assert!(experiment.look(&statistics, sign(LATE)).is_err(), "decided for good");
}

#[test]
fn a_better_challenger_ships_only_with_its_guardrails_passed() {
    let ship = |margin: f64| {
        let guardrails = vec![Guardrail { metric: Metric::ApprovalRate, margin }];
        let plan = AnalysisPlan { guardrails, ..plan() };
        let experiment =
            started(config(RoutingConfig::new("half", &[500_000; 2]), Mode::AbTest, plan));
        let world = world(&experiment, 9000, &|arm| if arm == 1 { 0.01 } else { 0.06 });
        let statistics = record(&experiment, &world);
        experiment.stop(StopReason::Complete, sign(LATE)).unwrap();
        experiment.report(&statistics, LATE)
    };
    assert_eq!(ship(0.2).verdict, Verdict::Ship { arm: 1 });
    // The challenger approves more, so half a percent is as good as shown; a margin of zero never is.
    let strict = ship(0.0);
    assert_eq!(strict.comparisons[0].primary.outcome, Outcome::Better);
    let guardrail = &strict.comparisons[0].guardrails[0];
    match guardrail.status {
        GuardrailStatus::Passed => assert!(guardrail.interval.unwrap().upper < 0.0),
        _ => assert!(matches!(strict.verdict, Verdict::Inconclusive { .. })),
    }
}

#[test]
fn evidence_once_reached_stays_and_intervals_only_shrink() {
    let experiment = half();
    let world = world(&experiment, 9000, &|arm| if arm == 1 { 0.05 } else { 0.02 });
    let mut statistics = ExperimentStatistics::new(&experiment, small()).unwrap();
    let (mut last_p, mut last_interval) = (1.0, None);
    for part in world.chunks(900) {
        for happened in part {
            statistics.expose(&happened.token);
            statistics.outcome(&happened.token, happened.bad, happened.labelled);
        }
        let now = part.last().unwrap().token.at().plus(days(9));
        let (report, step) = experiment.look(&statistics, sign(now)).unwrap();
        assert_eq!(step, Step::Continue);
        let Evidence::AlwaysValid { p_value, interval, .. } =
            report.comparisons[0].primary.evidence
        else {
            panic!("{report}");
        };
        assert!(p_value <= last_p);
        if let Some((lower, upper)) = last_interval {
            assert!(interval.lower >= lower && interval.upper <= upper);
        }
        (last_p, last_interval) = (p_value, Some((interval.lower, interval.upper)));
    }
    assert!(last_p < 0.05, "{last_p}");
    assert_eq!(experiment.looks().len(), world.len().div_ceil(900));
    let restored = Experiment::restore(experiment.config().clone(), experiment.audit()).unwrap();
    assert_eq!(restored.looks(), experiment.looks());
}

#[test]
fn a_p_value_for_one_look_exists_only_at_the_horizon() {
    let plan = AnalysisPlan { inference: Inference::FixedHorizon, planned_units: 2500, ..plan() };
    let experiment = started(config(RoutingConfig::new("half", &[500_000; 2]), Mode::AbTest, plan));
    let statistics =
        record(&experiment, &world(&experiment, 9000, &|arm| if arm == 1 { 0.04 } else { 0.02 }));
    let pending = |report: &ExperimentReport| {
        let comparison = &report.comparisons[0];
        let mut all = comparison.secondary.iter().chain([&comparison.primary]);
        all.all(|metric| matches!(metric.evidence, Evidence::Pending | Evidence::None))
    };
    assert!(pending(&experiment.report(&statistics, LATE)), "running");
    experiment.stop(StopReason::Complete, sign(LATE)).unwrap();
    assert!(pending(&experiment.report(&statistics, START.plus(days(1)))), "not mature");
    let report = experiment.report(&statistics, LATE);
    let primary = &report.comparisons[0].primary;
    let Evidence::FixedHorizon { p_value, interval, method } = primary.evidence else {
        panic!("{report}");
    };
    assert_eq!(method, Method::TwoProportions);
    assert!(p_value < 0.05 && interval.lower > 0.0);
    let secondary = &report.comparisons[0].secondary;
    assert!(secondary.iter().all(|metric| metric.adjusted_p_value.is_some()), "{report}");
    for metric in secondary {
        let Evidence::FixedHorizon { p_value, .. } = metric.evidence else { panic!("{report}") };
        let adjusted = metric.adjusted_p_value.unwrap();
        assert!(adjusted >= p_value);
        assert_eq!(metric.outcome == Outcome::Undecided, adjusted > 0.05, "{}", metric.metric);
    }
}

#[test]
fn looks_of_a_group_sequential_plan_spend_alpha_and_need_new_information() {
    let inference = Inference::GroupSequential { spending: Spending::Pocock };
    let plan = AnalysisPlan {
        inference,
        planned_units: 2900,
        correction: Correction::BenjaminiHochberg,
        ..plan()
    };
    let experiment = started(config(RoutingConfig::new("half", &[500_000; 2]), Mode::AbTest, plan));
    let world = world(&experiment, 9000, &|arm| if arm == 1 { 0.06 } else { 0.01 });
    let statistics = record(&experiment, &world);
    let at = |day: u64| START.plus(days(day));
    let preview = experiment.report(&statistics, at(9));
    assert_eq!(preview.comparisons[0].primary.evidence, Evidence::Pending);
    let (first, _) = experiment.look(&statistics, sign(at(9))).unwrap();
    let Evidence::GroupSequential { bound, crossed, .. } = first.comparisons[0].primary.evidence
    else {
        panic!("{first}");
    };
    assert!(bound > 1.96);
    assert!(experiment.look(&statistics, sign(at(9))).is_err(), "nothing new");
    let (second, _) = experiment.look(&statistics, sign(at(12))).unwrap();
    let Evidence::GroupSequential { z, bound, crossed: now, .. } =
        second.comparisons[0].primary.evidence
    else {
        panic!("{second}");
    };
    assert!(now && (crossed || z >= bound));
    // The crossing stands, between looks as well.
    let later = experiment.report(&statistics, LATE);
    assert_eq!(later.comparisons[0].primary.outcome, Outcome::Worse);
    assert_eq!(experiment.looks().len(), 2);
}

#[test]
fn a_broken_split_and_labels_missing_in_one_arm_stop_the_verdict() {
    let experiment = half();
    let world = world(&experiment, 9000, &|arm| if arm == 1 { 0.01 } else { 0.06 });
    // A third of the challenger's units never reach the recorder.
    let lost = |h: &Happened| h.token.arm() == 1 && h.token.unit().0.is_multiple_of(3);
    let kept: Vec<Happened> = world.iter().copied().filter(|h| !lost(h)).collect();
    let statistics = record(&experiment, &kept);
    let report = experiment.report(&statistics, LATE);
    assert!(report.sample_ratio_mismatch);
    let Verdict::Inconclusive { reasons } = report.verdict else { panic!("a mismatch") };
    assert!(reasons.contains(&Doubt::SampleRatio));
    // A third of the challenger's labels get lost.
    let mut statistics = ExperimentStatistics::new(&experiment, small()).unwrap();
    for happened in &world {
        statistics.expose(&happened.token);
        if happened.token.arm() == 0 || happened.token.request() % 3 != 0 {
            statistics.outcome(&happened.token, happened.bad, happened.labelled);
        }
    }
    let report = experiment.report(&statistics, LATE);
    assert!(!report.sample_ratio_mismatch);
    let Verdict::Inconclusive { reasons } = report.verdict else { panic!("labels are missing") };
    assert!(reasons.contains(&Doubt::LabelCoverage { arm: 1 }), "{reasons:?}");
}

#[test]
fn labels_of_a_let_through_sample_are_weighed_by_their_chance() {
    let routing =
        RoutingConfig { let_through_ppm: 250_000, ..RoutingConfig::new("let", &[500_000; 2]) };
    let experiment = started(config(routing, Mode::AbTest, plan()));
    let world = world(&experiment, 12_000, &|_| 0.1);
    let mut statistics = ExperimentStatistics::new(&experiment, small()).unwrap();
    for happened in &world {
        statistics.expose(&happened.token);
        let recorded = statistics.outcome(&happened.token, happened.bad, happened.labelled);
        let outside = recorded == Recorded::OutsideSample;
        assert!(!outside || happened.token.alert(happened.token.arm()));
    }
    let report = experiment.report(&statistics, LATE);
    for arm in 0..2u8 {
        let rows: Vec<&Happened> = world.iter().filter(|h| h.token.arm() == arm).collect();
        let n_bad = rows.iter().filter(|h| h.bad).count() as f64;
        let found = rows.iter().filter(|h| h.bad && h.token.alert(arm)).count() as f64;
        let truth = found / n_bad;
        let metrics = &report.arms[usize::from(arm)].metrics;
        let recall =
            metrics.iter().find(|(metric, _)| *metric == Metric::Recall).unwrap().1.unwrap();
        // A quarter of some 200 alerts on bad requests: the weighted count is off by √(200 · 3) = 25 at one standard
        // deviation, the recall by some 0.025 of 600 bad; five of them.
        assert!((recall - truth).abs() < 0.13, "{recall} instead of {truth}");
        // Unweighted, a quarter of the alerts would stand against all misses.
        let naive = found / 4.0 / (found / 4.0 + n_bad - found);
        assert!((recall - truth).abs() < (naive - truth).abs());
    }
    assert_eq!(
        report.counters.outside_sample,
        world
            .iter()
            .filter(|h| {
                h.token.alert(h.token.arm())
                    && !experiment
                        .router()
                        .route(h.token.unit(), h.token.request(), h.token.at())
                        .let_through
            })
            .count() as u64
    );
}

#[test]
fn letting_everything_through_is_the_same_as_holding_nothing_back() {
    let report = |let_through_ppm: u32| {
        let routing =
            RoutingConfig { let_through_ppm, ..RoutingConfig::new("half", &[500_000; 2]) };
        let experiment = started(config(routing, Mode::AbTest, plan()));
        let statistics = record(&experiment, &world(&experiment, 4000, &|_| 0.1));
        experiment.report(&statistics, LATE)
    };
    assert_eq!(json(&report(0)), json(&report(SLOTS)));
}

#[test]
fn labels_that_get_lost_in_one_band_of_the_score_are_found_there() {
    let experiment = half();
    let world = world(&experiment, 9000, &|_| 0.05);
    let mut statistics = ExperimentStatistics::new(&experiment, small()).unwrap();
    for happened in &world {
        let Happened { token, bad, labelled } = happened;
        statistics.expose(token);
        // Of the challenger's requests with odds above 1/8 a tenth has no label.
        let lost = token.arm() == 1 && token.score(1).unwrap() > 1.0 / 9.0;
        if !(lost && token.request().is_multiple_of(10)) {
            statistics.outcome(token, *bad, *labelled);
        }
    }
    let report = experiment.report(&statistics, LATE);
    let labels = report.comparisons[0].label_coverage.as_ref().unwrap();
    assert!(labels.p_value < 0.001, "{report}");
    let [none, .., last] = &labels.bands[..] else { panic!("five bands") };
    assert_eq!((none.champion, none.p_value), (None, None));
    assert_eq!(last.champion, Some(1.0));
    assert!(last.challenger.unwrap() < 0.95 && last.p_value.unwrap() < 0.001, "{last:?}");
    let elsewhere = &labels.bands[1..labels.bands.len() - 1];
    assert!(elsewhere.iter().all(|band| band.p_value.is_none()), "{elsewhere:?}");
    assert!(report.to_string().contains("odds above 1/8: 100.0 % and"), "{report}");
}
