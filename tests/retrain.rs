//! The retrain loop: when to train again, whether the challenger may ship, and one trail of it all.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use riskcycle::alert::{Alert, AlertState, Labels, Severity};
use riskcycle::dataset::Dataset;
use riskcycle::monitor::Metric;
use riskcycle::ndarray::Array2;
use riskcycle::retrain::{
    Gate, GateConfig, GateRows, GateVerdict, RetrainConfig, RetrainDecision, RetrainEntry,
    RetrainEvent, RetrainLoop, RetrainStage, Scored, ShadowRun, Situation, Wait,
};
use riskcycle::{EntityKey, Error, FeatureSchema, ModelRef, Seed, Signature, Timestamp, days};

fn day(n: u64) -> Timestamp {
    Timestamp::from_date(2024, 1, 1).plus(days(n))
}

fn model(version: u32) -> ModelRef {
    ModelRef { name: "fraud".into(), version }
}

fn alert(rule: &str, state: AlertState) -> Alert {
    Alert {
        rule: rule.into(),
        description: String::new(),
        severity: Severity::Warning,
        fingerprint: format!("of {rule}"),
        episode: 1,
        model: Some(model(1)),
        segment: None,
        labels: Labels::new(),
        state,
        since: day(0),
        at: day(0),
        metric: Metric::psi("score"),
        value: Some(0.3),
        threshold: 0.1,
        flapping: false,
        acknowledged: None,
        ended: None,
    }
}

fn firing(rules: &[&str]) -> Vec<Alert> {
    rules.iter().map(|rule| alert(rule, AlertState::Firing)).collect()
}

fn situation(alerts: &[Alert], now: Timestamp) -> Situation<'_> {
    Situation { now, alerts, labels: 10_000, bad: 100, canary: false }
}

fn waits(decision: RetrainDecision) -> Vec<Wait> {
    match decision {
        RetrainDecision::Wait(waits) => waits,
        RetrainDecision::Plan(plan) => panic!("{plan:?}"),
    }
}

#[test]
fn a_plan_needs_enough_different_evidence_labels_time_and_no_canary() {
    let config = RetrainConfig {
        evidence: vec!["drift".into(), "recall".into(), "calibration".into()],
        min_evidence: 2,
        ..RetrainConfig::default()
    };
    let retrain = RetrainLoop::new(config).unwrap();
    let needed = |firing| vec![Wait::Evidence { firing, needed: 2 }];
    let consider = |alerts: &[Alert]| retrain.consider(&situation(alerts, day(100)));
    assert_eq!(waits(consider(&[])), needed(0));
    assert_eq!(waits(consider(&firing(&["latency", "errors", "drift"]))), needed(1));
    assert_eq!(waits(consider(&firing(&["drift", "drift"]))), needed(1), "one rule twice");
    let pending = [alert("recall", AlertState::Pending), alert("drift", AlertState::Firing)];
    assert_eq!(waits(consider(&pending)), needed(1));
    let both = firing(&["drift", "recall"]);
    let few = Situation { bad: 29, ..situation(&both, day(100)) };
    assert_eq!(waits(retrain.consider(&few)), [Wait::Labels { labels: 10_000, bad: 29 }]);
    let canary = Situation { canary: true, labels: 0, ..situation(&both, day(100)) };
    assert_eq!(
        waits(retrain.consider(&canary)),
        [Wait::Labels { labels: 0, bad: 100 }, Wait::Canary]
    );
    assert!(retrain.trail().is_empty(), "waiting leaves no trace");

    let RetrainDecision::Plan(plan) = consider(&both) else { panic!() };
    assert_eq!((plan.train, plan.gate), (day(79)..day(86), day(86)..day(93)));
    let rules: Vec<&str> = plan.evidence.iter().map(|of| of.rule.as_str()).collect();
    assert_eq!((rules, plan.number), (vec!["drift", "recall"], 1));
    let until = day(114);
    assert_eq!(waits(consider(&both)), [Wait::Busy, Wait::CoolDown { until }]);
}

#[test]
fn a_plan_waits_until_as_much_of_its_training_rows_as_asked_for_lies_behind_the_change() {
    let plan = |after: Duration, today: u64, alerts: &[Alert]| {
        let config = RetrainConfig { train_after_change: after, ..RetrainConfig::default() };
        RetrainLoop::new(config).unwrap().consider(&situation(alerts, day(today)))
    };
    // Held since day 30 and since day 33: the change came no later than day 30.
    let mut alerts = firing(&["drift", "recall"]);
    (alerts[0].since, alerts[1].since) = (day(33), day(30));
    let until = day(30 + 4 + 7 + 7);
    assert_eq!(waits(plan(days(4), 47, &alerts)), [Wait::Change { until }]);
    let RetrainDecision::Plan(planned) = plan(days(4), 48, &alerts) else { panic!() };
    assert_eq!(planned.train, day(27)..day(34));
    assert!(matches!(plan(Duration::ZERO, 31, &alerts), RetrainDecision::Plan(_)));
    let needed = vec![Wait::Evidence { firing: 0, needed: 1 }];
    assert_eq!(waits(plan(days(4), 47, &[])), needed, "no evidence, no change");
    let longer = RetrainConfig { train_after_change: days(8), ..RetrainConfig::default() };
    assert!(RetrainLoop::new(longer).is_err());
}

#[test]
fn plans_keep_to_cool_down_and_budget() {
    let config = RetrainConfig { budget: 3, budget_window: days(60), ..RetrainConfig::default() };
    let retrain = RetrainLoop::new(config).unwrap();
    let alerts = firing(&["drift"]);
    let mut planned = Vec::new();
    for today in 0..130 {
        if let RetrainDecision::Plan(_) = retrain.consider(&situation(&alerts, day(today))) {
            retrain.give_up(Signature::new("anna", "not now", day(today))).unwrap();
            planned.push(today);
        }
    }
    assert_eq!(planned, [0, 14, 28, 60, 74, 88, 120]);
    assert_eq!(
        waits(retrain.consider(&situation(&alerts, day(125)))),
        [Wait::CoolDown { until: day(134) }, Wait::Budget { until: day(134) }]
    );
}

/// 1,000 rows of 500 customers, 100 of them bad; an amount of 100 each.
fn judged(config: GateConfig, challenger: impl Fn(usize, bool) -> f64) -> GateVerdict {
    let labels: Vec<bool> = (0..1000).map(|row| row % 10 == 0).collect();
    let schema = FeatureSchema::new(["x"]).unwrap();
    let data = Dataset::new(schema, Array2::zeros((1000, 1)), labels.clone())
        .and_then(|d| d.with_amounts(vec![100.0; 1000]))
        .and_then(|d| d.with_entities((0..1000).map(|row| EntityKey(row / 2)).collect()))
        .unwrap();
    let scores = |score: &dyn Fn(usize, bool) -> f64| -> Vec<f64> {
        labels.iter().enumerate().map(|(row, &bad)| score(row, bad)).collect()
    };
    // The champion finds every other fraud and troubles one good customer in fifty.
    let champion = scores(&|row, bad| is(if bad { row % 20 == 0 } else { row % 50 == 1 }));
    let challenger = scores(&challenger);
    let side = |scores| Scored::new(scores, 0.5);
    Gate::new(config)
        .unwrap()
        .judge(GateRows::from(&data), side(&champion), side(&challenger), Seed(1))
        .unwrap()
}

fn is(holds: bool) -> f64 {
    f64::from(u8::from(holds))
}

#[test]
fn the_gate_lets_a_better_challenger_pass_and_says_why_it_stops_another() {
    let config = GateConfig::default();
    let better = judged(config, |row, bad| is(bad && row % 50 != 0));
    assert!(better.promote, "{better}");
    assert!(better.challenger.cost < better.champion.cost && better.confidence > 0.99);
    assert!(better.auc_p_value.unwrap() < 1e-6 && better.challenger.recall == Some(0.8));
    let same = judged(config, |row, bad| is(if bad { row % 20 == 0 } else { row % 50 == 1 }));
    assert!(!same.promote);
    assert_eq!((same.confidence, same.auc_p_value), (0.0, Some(1.0)), "no difference is no gain");
    let worse = judged(config, |_, _| 0.0);
    assert!(!worse.promote && worse.objections.len() == 4, "{worse}");
    assert!(worse.to_string().starts_with("keep the champion"));
}

#[test]
fn guardrails_stop_a_challenger_that_is_cheaper_at_too_high_a_price() {
    let config = GateConfig::default();
    let objection = |verdict: &GateVerdict, what: &str| {
        assert!(!verdict.promote);
        let found = verdict.objections.iter().any(|objection| objection.contains(what));
        assert!(found, "{what}: {verdict}");
    };
    // Finds every fraud and asks for a review of one good row in eight.
    let eager = judged(config, |row, bad| is(bad || row % 9 == 1));
    objection(&eager, "share of rows without review");
    let gaps = judged(config, |row, bad| if row == 7 { f64::NAN } else { is(bad) });
    objection(&gaps, "gives no score to 1 rows");
    assert_eq!((gaps.n_rows, gaps.challenger.unscored), (999, 1));
    let few = judged(GateConfig { min_bad: 101, ..config }, |_, bad| is(bad));
    objection(&few, "are too few");

    let labels = [true, false, true, false];
    let rows = GateRows { labels: &labels, amounts: &[], entities: &[] };
    let scores = [0.9, 0.1, 0.8, 0.2];
    let gate = Gate::new(GateConfig { max_latency: Some(Duration::from_micros(5)), ..config });
    let gate = gate.unwrap();
    let moved: Vec<f64> = (0..100).map(|i| 0.4 + f64::from(i) / 1000.0).collect();
    let challenger = Scored {
        training_scores: &moved,
        latency: Some(Duration::from_micros(7)),
        ..Scored::new(&scores, 0.5)
    };
    let verdict = gate.judge(rows, Scored::new(&scores, 0.5), challenger, Seed(1)).unwrap();
    objection(&verdict, "have moved since its training");
    objection(&verdict, "it takes 7µs for a row");
    // One class, or no row at all, is an objection; lists of different length are the caller's mistake.
    let one = GateRows { labels: &[true; 4], ..rows };
    let verdict = gate.judge(one, Scored::new(&scores, 0.5), challenger, Seed(1)).unwrap();
    assert_eq!((verdict.promote, verdict.champion.average_precision), (false, None));
    let none = GateRows { labels: &[], ..rows };
    let empty = Scored::new(&[], 0.5);
    assert!(!gate.judge(none, empty, empty, Seed(1)).unwrap().promote);
    assert!(matches!(
        gate.judge(rows, empty, challenger, Seed(1)),
        Err(Error::InvalidInput { .. })
    ));
    assert!(Gate::new(GateConfig { max_psi: f64::NAN, ..config }).is_err());
    assert!(Gate::new(GateConfig { min_confidence: 1.5, ..config }).is_err());
}

fn verdict(promote: bool) -> GateVerdict {
    let challenger: fn(usize, bool) -> f64 = if promote { |_, bad| is(bad) } else { |_, _| 0.0 };
    judged(GateConfig { resamples: 50, ..GateConfig::default() }, challenger)
}

#[test]
fn steps_come_in_their_order_and_every_one_is_in_the_trail() {
    let config = RetrainConfig { shadow: days(3), ..RetrainConfig::default() };
    let retrain = RetrainLoop::new(config.clone()).unwrap();
    let refused = |result: riskcycle::Result<()>| {
        assert!(matches!(result, Err(Error::Refused { .. })), "{result:?}");
    };
    refused(retrain.trained(&model(2), &model(1), day(0)));
    refused(retrain.judged(&verdict(true), day(0)).map(drop));
    refused(retrain.promoted(Signature::new("anna", "better", day(0))));
    refused(retrain.give_up(Signature::new("anna", "nothing to give up", day(0))));

    let alerts = firing(&["drift"]);
    retrain.consider(&situation(&alerts, day(0)));
    refused(retrain.give_up(Signature::new("", "nobody", day(0))));
    retrain.trained(&model(2), &model(1), day(0)).unwrap();
    refused(retrain.trained(&model(3), &model(1), day(0)));
    let stage = retrain.judged(&verdict(true), day(0)).unwrap();
    let RetrainStage::Shadow { until, .. } = &stage else { panic!("{stage:?}") };
    assert_eq!(*until, day(3));
    refused(retrain.promoted(Signature::new("anna", "in a hurry", day(1))));
    assert!(matches!(retrain.judged(&verdict(true), day(10)), Ok(RetrainStage::Approved(_))));
    retrain.promoted(Signature::new("anna", "better", day(10))).unwrap();
    assert_eq!(retrain.stage(), RetrainStage::Watching);
    // The next one fails in shadow.
    retrain.consider(&situation(&alerts, day(20)));
    retrain.trained(&model(3), &model(2), day(20)).unwrap();
    retrain.judged(&verdict(true), day(20)).unwrap();
    assert_eq!(retrain.judged(&verdict(false), day(30)).unwrap(), RetrainStage::Watching);

    let trail = retrain.trail();
    RetrainEntry::verify(&trail).unwrap();
    let lines: Vec<String> = trail.iter().map(ToString::to_string).collect();
    for (line, start) in lines.iter().zip([
        "planned retrain 1",
        "trained fraud",
        "judged: promote",
        "judged: promote",
        "promoted fraud",
        "planned retrain 2",
        "trained fraud",
        "judged: promote",
        "judged: keep the champion",
    ]) {
        assert!(line.contains(start), "{line}");
    }
    assert_eq!(lines.len(), 9);
    assert!(lines[0].contains("drift: psi/score = 0.3000"), "{}", lines[0]);
    assert!(lines[2].contains("in shadow until 2024-01-04"), "{}", lines[2]);

    // Somebody who leaves a verdict out, or changes one, is found out.
    let mut cut = trail.clone();
    cut.remove(3);
    assert!(matches!(RetrainLoop::from_trail(config.clone(), &cut), Err(Error::Corrupt { .. })));
    let mut changed = trail.clone();
    if let RetrainEvent::Judged { verdict, .. } = &mut changed[8].event {
        verdict.promote = true;
    }
    assert!(RetrainLoop::from_trail(config.clone(), &changed).is_err());
    assert!(RetrainLoop::from_trail(config, &trail[5..]).is_err());
}

#[test]
fn what_cannot_work_is_refused() {
    let refused = |change: fn(&mut RetrainConfig)| {
        let mut config = RetrainConfig::default();
        change(&mut config);
        assert!(matches!(RetrainLoop::new(config), Err(Error::InvalidConfig { .. })));
    };
    refused(|config| config.train = Duration::ZERO);
    refused(|config| config.gate = Duration::ZERO);
    refused(|config| config.min_evidence = 0);
    refused(|config| config.budget = 0);
    let mut config = RetrainConfig { min_evidence: 2, ..RetrainConfig::default() };
    config.evidence = vec!["a".into(), "a".into()];
    assert!(RetrainLoop::new(config).is_err(), "one rule cannot be two");
}

#[test]
fn a_shadow_run_keeps_what_both_said_until_the_label_comes() {
    let mut run = ShadowRun::new(3);
    for id in 0..5 {
        run.record(id, EntityKey(id), 10.0, 0.1);
        run.answer(id, 0.9);
    }
    assert_eq!((run.left_out(), run.n_labelled()), (2, 0));
    assert!(run.label(2, true) && run.label(0, false));
    assert!(!run.label(2, true) && !run.label(4, true), "labelled already, left out");
    assert_eq!(run.n_labelled(), 2);

    let mut late = ShadowRun::new(2);
    late.record(1, EntityKey(1), 10.0, 0.1);
    assert!(late.label(1, true));
    assert_eq!(late.left_out(), 1, "the challenger was not asked");
    late.answer(1, 0.9);
    assert_eq!(late.left_out(), 0, "an answer may come behind the label");
}

/// One thing that happens to a loop.
#[derive(Debug, Clone)]
enum Happening {
    Look { rules: BTreeSet<u8>, labels: u64, canary: bool },
    Trained,
    Judged(bool),
    Promoted,
    GivenUp,
}

fn happenings() -> impl Strategy<Value = Vec<(u64, Happening)>> {
    let look = (prop::collection::btree_set(0..4u8, 0..4), 0..3000u64, prop::bool::weighted(0.1))
        .prop_map(|(rules, labels, canary)| Happening::Look { rules, labels, canary });
    let one = prop_oneof![
        4 => look,
        2 => Just(Happening::Trained),
        3 => any::<bool>().prop_map(Happening::Judged),
        1 => Just(Happening::Promoted),
        1 => Just(Happening::GivenUp),
    ];
    prop::collection::vec((0..10u64, one), 1..60)
}

/// What the loop answered, errors included.
fn happen(retrain: &RetrainLoop, now: Timestamp, what: &Happening, n: u32) -> String {
    match what {
        Happening::Look { rules, labels, canary } => {
            let names: Vec<String> = rules.iter().map(|rule| format!("rule {rule}")).collect();
            let alerts = firing(&names.iter().map(String::as_str).collect::<Vec<_>>());
            let situation =
                Situation { labels: *labels, canary: *canary, ..situation(&alerts, now) };
            format!("{:?}", retrain.consider(&situation))
        }
        Happening::Trained => format!("{:?}", retrain.trained(&model(n), &model(n - 1), now)),
        Happening::Judged(passes) => {
            let mut verdict = VERDICT.with(Clone::clone);
            verdict.promote = *passes;
            format!("{:?}", retrain.judged(&verdict, now))
        }
        Happening::Promoted => {
            format!("{:?}", retrain.promoted(Signature::new("anna", "fine", now)))
        }
        Happening::GivenUp => format!("{:?}", retrain.give_up(Signature::new("anna", "no", now))),
    }
}

thread_local! {
    static VERDICT: GateVerdict = verdict(true);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_same_happenings_give_the_same_decisions_and_so_they_do_after_a_restart_anywhere(
        happenings in happenings(),
        restart in 0..60usize,
        min_evidence in 1..3usize,
        shadow in 0..2u64,
    ) {
        let config = RetrainConfig { min_evidence, shadow: days(shadow), ..RetrainConfig::default() };
        let run = |restart: Option<usize>| {
            let mut retrain = RetrainLoop::new(config.clone()).unwrap();
            let (mut answers, mut now) = (Vec::new(), day(0));
            for (i, (later, what)) in happenings.iter().enumerate() {
                if restart == Some(i) {
                    // The trail alone survives, as text.
                    let json = serde_json::to_string(&retrain.trail()).unwrap();
                    let trail: Vec<RetrainEntry> = serde_json::from_str(&json).unwrap();
                    retrain = RetrainLoop::from_trail(config.clone(), &trail).unwrap();
                }
                now = now.plus(days(*later));
                answers.push(happen(&retrain, now, what, i as u32 + 2));
            }
            (answers, retrain.trail(), retrain.stage())
        };
        let (answers, trail, stage) = run(None);
        prop_assert_eq!(&run(None), &(answers.clone(), trail.clone(), stage.clone()));
        prop_assert_eq!(&run(Some(restart)), &(answers, trail.clone(), stage));
        // No two plans within the cool-down, nobody promoted who was not judged.
        let plans: Vec<Timestamp> = trail
            .iter()
            .filter(|entry| matches!(entry.event, RetrainEvent::Planned(_)))
            .map(|entry| entry.at)
            .collect();
        prop_assert!(plans.windows(2).all(|pair| pair[1].since(pair[0]) >= config.cool_down));
        for pair in trail.windows(2) {
            if matches!(pair[1].event, RetrainEvent::Promoted { .. }) {
                let passed = matches!(&pair[0].event, RetrainEvent::Judged { verdict, shadow_until: None } if verdict.promote);
                prop_assert!(passed);
            }
        }
    }
}
