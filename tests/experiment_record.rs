//! Recording and reporting: any order and any sharding give the same bytes, and what the report says of them.

use std::time::Duration;

use proptest::prelude::*;
use riskcycle::experiment::{
    AnalysisPlan, CanaryStep, Correction, Doubt, Evidence, Experiment, ExperimentConfig,
    ExperimentRecorder, ExperimentReport, ExperimentState, ExperimentStatistics, ExposureToken,
    Guardrail, GuardrailStatus, Inference, Method, Metric, Mode, Outcome, Recorded, RecorderConfig,
    Router, RoutingConfig, SLOTS, Spending, Step, StopReason, ThompsonConfig, Verdict,
};
use riskcycle::stats::Discordant;
use riskcycle::{EntityKey, ModelRef, Signature, Timestamp, days};

const START: Timestamp = Timestamp::from_date(2026, 1, 5);

fn small() -> RecorderConfig {
    RecorderConfig { requests: 1 << 14, units: 1 << 13, days: 400 }
}

fn sign(at: Timestamp) -> Signature<'static> {
    Signature::new("anna", "test", at)
}

fn plan() -> AnalysisPlan {
    AnalysisPlan {
        maturity: days(7),
        secondary: vec![Metric::Precision, Metric::Recall, Metric::Cost, Metric::RocAuc],
        guardrails: vec![Guardrail { metric: Metric::ApprovalRate, margin: 0.05 }],
        ..AnalysisPlan::new(Metric::UnitBadRate, 4000, 9000)
    }
}

fn config(routing: RoutingConfig, mode: Mode, plan: AnalysisPlan) -> ExperimentConfig {
    let n_arms = routing.weights_ppm.len() as u32;
    let arms = (1..=n_arms).map(|version| ModelRef { name: "m".into(), version }).collect();
    ExperimentConfig { name: "test".into(), arms, routing, mode, plan }
}

fn started(config: ExperimentConfig) -> Experiment {
    let experiment = Experiment::new(config, sign(START)).unwrap();
    experiment.start(sign(START)).unwrap();
    experiment
}

fn half() -> Experiment {
    started(config(RoutingConfig::new("half", &[500_000, 500_000]), Mode::AbTest, plan()))
}

/// Uniform within 0..1, the same for the same numbers.
fn chance(a: u64, b: u64) -> f64 {
    (riskcycle::seed::stable_hash(&a.to_le_bytes(), b) >> 11) as f64 / 9_007_199_254_740_992.0
}

/// A request of a seeded world: units come back, bad ones score higher, labels come two to six days later.
#[derive(Debug, Clone, Copy)]
struct Happened {
    token: ExposureToken,
    bad: bool,
    labelled: Timestamp,
}

/// `rate` gives each arm's bad rate.
fn request(
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

fn world(experiment: &Experiment, n: u64, rate: &dyn Fn(u8) -> f64) -> Vec<Happened> {
    (0..n).filter_map(|i| request(experiment, i, 3000, rate)).collect()
}

fn record(experiment: &Experiment, world: &[Happened]) -> ExperimentStatistics {
    let mut statistics = ExperimentStatistics::new(experiment, small()).unwrap();
    for happened in world {
        assert_eq!(statistics.expose(&happened.token), Recorded::Counted);
        statistics.outcome(&happened.token, happened.bad, happened.labelled);
    }
    statistics
}

fn json(report: &ExperimentReport) -> String {
    serde_json::to_string(report).unwrap()
}

/// No number of a report is NaN or infinite: JSON would have written it as null, and a null would not read back as the same.
fn assert_sound(report: &ExperimentReport) {
    let text = json(report);
    let back: ExperimentReport = serde_json::from_str(&text).unwrap();
    assert_eq!(&back, report);
    assert!(!report.to_string().contains("NaN"), "{report}");
}

const LATE: Timestamp = Timestamp::from_date(2026, 6, 1);

#[derive(Debug, Clone, Copy)]
enum Entry {
    Expose(usize),
    Label(usize),
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_order_any_sharding_and_duplicates_give_the_same_bytes(
        order in Just((0..600usize).flat_map(|i| [Entry::Expose(i), Entry::Label(i)]).collect::<Vec<_>>()).prop_shuffle(),
        shards in 1usize..7,
        twice in proptest::collection::vec(0usize..1200, 0..100),
        shadow in any::<bool>(),
    ) {
        let experiment = match shadow {
            false => half(),
            true => {
                let weights = [SLOTS, 0, 0];
                let routing = RoutingConfig { shadow: true, ..RoutingConfig::new("shadow", &weights) };
                let primary = AnalysisPlan { maturity: days(7), ..AnalysisPlan::new(Metric::RocAuc, 500, 500) };
                started(config(routing, Mode::Shadow, primary))
            }
        };
        let world = world(&experiment, 600, &|_| 0.05);
        let expected = record(&experiment, &world);
        let recorder = ExperimentRecorder::new(&experiment, small(), shards).unwrap();
        let play = |recorder: &ExperimentRecorder, entry: Entry| match entry {
            Entry::Expose(i) => recorder.expose(&world[i].token),
            Entry::Label(i) => recorder.outcome(&world[i].token, world[i].bad, world[i].labelled),
        };
        for entry in &order {
            prop_assert_eq!(play(&recorder, *entry), Recorded::Counted);
        }
        for i in &twice {
            prop_assert_eq!(play(&recorder, order[*i]), Recorded::Duplicate);
        }
        let got = recorder.statistics();
        prop_assert_eq!(got.counters().duplicates, twice.len() as u64);
        prop_assert_eq!(got.counters().contradictions, 0);
        let (mut ours, theirs) = (experiment.report(&got, LATE), experiment.report(&expected, LATE));
        ours.counters.duplicates = 0;
        prop_assert_eq!(json(&ours), json(&theirs));
        if twice.is_empty() {
            prop_assert_eq!(got.to_bytes(), expected.to_bytes());
        }
    }

    #[test]
    fn merging_is_associative_and_commutative(cut in 0usize..500, second in 0usize..500) {
        let experiment = half();
        let world = world(&experiment, 500, &|_| 0.05);
        let whole = record(&experiment, &world);
        let (low, high) = (cut.min(second), cut.max(second));
        let part = |range: std::ops::Range<usize>| record(&experiment, &world[range]);
        let (a, b, c) = (part(0..low), part(low..high), part(high..500));
        let merged = |parts: [&ExperimentStatistics; 3]| {
            let mut sum = parts[0].clone();
            sum.merge(parts[1]).unwrap();
            sum.merge(parts[2]).unwrap();
            sum.to_bytes()
        };
        prop_assert_eq!(merged([&a, &b, &c]), whole.to_bytes());
        prop_assert_eq!(merged([&c, &a, &b]), whole.to_bytes());
        let mut right = b.clone();
        right.merge(&c).unwrap();
        let mut left = a.clone();
        left.merge(&right).unwrap();
        prop_assert_eq!(left.to_bytes(), whole.to_bytes());
    }

    #[test]
    fn no_report_holds_a_number_that_is_none(
        n in 0u64..300, labelled in 0.0..=1.0f64, rate in prop_oneof![Just(0.0), Just(1.0), 0.0..1.0f64],
        one_arm in any::<bool>(), inference in 0usize..4, stopped in any::<bool>(),
    ) {
        let inference = match inference {
            0 => Inference::EventProcess { strength: 50.0 },
            1 => Inference::ConfidenceSequence,
            2 => Inference::GroupSequential { spending: Spending::OBrienFleming },
            _ => Inference::FixedHorizon,
        };
        let plan = AnalysisPlan {
            inference,
            planned_units: 100,
            min_events: 1,
            secondary: Metric::ALL.to_vec(),
            guardrails: Metric::ALL.map(|metric| Guardrail { metric, margin: 0.01 }).to_vec(),
            ..plan()
        };
        let weights = if one_arm { [SLOTS, 0] } else { [500_000, 500_000] };
        let experiment = started(config(RoutingConfig::new("any", &weights), Mode::AbTest, plan));
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
fn bytes_bring_everything_back_and_damage_is_noticed() {
    let experiment = half();
    let statistics = record(&experiment, &world(&experiment, 800, &|_| 0.05));
    let bytes = statistics.to_bytes();
    let back = ExperimentStatistics::from_bytes(&experiment, small(), &bytes).unwrap();
    assert_eq!(back.to_bytes(), bytes);
    assert_eq!(json(&experiment.report(&back, LATE)), json(&experiment.report(&statistics, LATE)));
    for cut in [0, 3, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(ExperimentStatistics::from_bytes(&experiment, small(), &bytes[..cut]).is_err());
    }
    let mut broken = bytes.clone();
    broken[1000] ^= 1;
    assert!(ExperimentStatistics::from_bytes(&experiment, small(), &broken).is_err());
    let other = started(config(RoutingConfig::new("other", &[500_000; 2]), Mode::AbTest, plan()));
    let error = ExperimentStatistics::from_bytes(&other, small(), &bytes).unwrap_err();
    assert!(error.to_string().contains("another experiment"), "{error}");
    let mut elsewhere = ExperimentStatistics::new(&other, small()).unwrap();
    assert!(elsewhere.merge(&statistics).is_err());
}

#[test]
fn duplicates_contradictions_strangers_and_double_counts_are_told() {
    let experiment = half();
    let world = world(&experiment, 100, &|_| 0.2);
    let mut one = record(&experiment, &world);
    let bad = world.iter().find(|happened| happened.bad).unwrap();
    assert_eq!(one.outcome(&bad.token, false, LATE), Recorded::Duplicate);
    assert_eq!(one.outcome(&bad.token, true, LATE), Recorded::Duplicate);
    let other = started(config(RoutingConfig::new("other", &[500_000; 2]), Mode::AbTest, plan()));
    let stranger = request(&other, 1, 10, &|_| 0.0).unwrap();
    assert_eq!(one.expose(&stranger.token), Recorded::Unknown);
    assert_eq!(one.outcome(&stranger.token, true, LATE), Recorded::Unknown);
    let counters = one.counters();
    assert_eq!((counters.duplicates, counters.contradictions, counters.unknown), (2, 1, 2));
    // Another process counted some of the same.
    let two = record(&experiment, &world[..10]);
    one.merge(&two).unwrap();
    assert_eq!(one.counters().counted_twice, 20);
    let verdict = experiment.report(&one, LATE).verdict;
    assert!(
        matches!(verdict, Verdict::Inconclusive { reasons } if reasons.contains(&Doubt::Incomplete))
    );
}

#[test]
fn overridden_and_unexposed_requests_are_not_counted() {
    let routing = RoutingConfig {
        exposure_ppm: 200_000,
        overrides: (0..500).map(|unit| (EntityKey(unit), 1)).collect(),
        ..RoutingConfig::new("half", &[500_000, 500_000])
    };
    let experiment = started(config(routing, Mode::AbTest, plan()));
    let world = world(&experiment, 3000, &|_| 0.05);
    assert!(world.iter().all(|happened| happened.token.unit().0 >= 500));
    // 5/6 of the requests are not overridden, a fifth of their units takes part.
    assert!(world.len().abs_diff(500) < 150, "{}", world.len());
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
        assert!(metric.adjusted_p_value.unwrap() >= p_value);
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
fn a_canary_rises_step_by_step_and_is_rolled_back_when_fraud_doubles() {
    let steps = [100_000, 500_000, SLOTS]
        .map(|exposure_ppm| CanaryStep { exposure_ppm, duration: days(1), units: 50 })
        .to_vec();
    let routing =
        RoutingConfig { exposure_ppm: 100_000, ..RoutingConfig::new("canary", &[500_000; 2]) };
    let plan = AnalysisPlan {
        guardrails: vec![Guardrail { metric: Metric::UnitBadRate, margin: 0.0 }],
        ..plan()
    };
    let canary = |rate: &dyn Fn(u8) -> f64| {
        let config = config(routing.clone(), Mode::Canary { steps: steps.clone() }, plan.clone());
        let experiment = started(config);
        let mut statistics = ExperimentStatistics::new(&experiment, small()).unwrap();
        let mut done = Vec::new();
        for day in 1..40u64 {
            for i in (day - 1) * 1440..day * 1440 {
                if let Some(happened) = request(&experiment, i, 5000, rate) {
                    statistics.expose(&happened.token);
                    statistics.outcome(&happened.token, happened.bad, happened.labelled);
                }
            }
            let (_, step) = experiment.look(&statistics, sign(START.plus(days(day)))).unwrap();
            if step != Step::Continue {
                done.push(step.clone());
            }
            if step == Step::RolledBack {
                break;
            }
        }
        (experiment, done)
    };
    let (fine, steps_taken) = canary(&|_| 0.02);
    assert_eq!(steps_taken, [Step::ExposureRaised(500_000), Step::ExposureRaised(SLOTS)]);
    assert_eq!(fine.state(), ExperimentState::Running);
    let (bad, steps_taken) = canary(&|arm| if arm == 1 { 0.04 } else { 0.02 });
    assert_eq!(steps_taken.last(), Some(&Step::RolledBack));
    assert_eq!(bad.state(), ExperimentState::Stopped);
    let trail = bad.audit();
    let killed = trail.iter().find(|entry| entry.to_string().contains(": killed")).unwrap();
    assert!(killed.reason.contains("worse in bad rate of units"), "{}", killed.reason);
    assert_eq!(bad.router().route(EntityKey(1), 1, LATE).arm, 0);
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
fn after_a_reweight_units_that_moved_are_left_out_and_phases_are_told_apart() {
    let experiment = half();
    let mut statistics = ExperimentStatistics::new(&experiment, small()).unwrap();
    for i in 0..8000u64 {
        if i == 4000 {
            experiment.reweight(&[200_000, 800_000], SLOTS, sign(START)).unwrap();
        }
        let happened = request(&experiment, i, 3000, &|_| 0.05).unwrap();
        statistics.expose(&happened.token);
        statistics.outcome(&happened.token, happened.bad, happened.labelled);
    }
    let report = experiment.report(&statistics, LATE);
    assert_eq!(report.phases.len(), 2);
    assert_eq!(report.phases[1].weights_ppm, [200_000, 800_000]);
    // Binomial(units, 0.3) of some 2,800 units: standard deviation 24.
    assert!(
        report.switchers.abs_diff(3 * statistics.n_units() / 10) < 6 * 25,
        "{}",
        report.switchers
    );
    assert!(!report.sample_ratio_mismatch, "{:?}", report.sample_ratio);
    let planned = &report.sample_ratio.as_ref().unwrap().planned;
    assert!((planned[0] - 2.0 / 7.0).abs() < 1e-12, "{planned:?}");
    assert_sound(&report);
}
