//! From the router to the alert: assignments, predictions, counts, drift.

use std::sync::Arc;

use proptest::prelude::*;
use riskcycle::dataset::Dataset;
use riskcycle::experiment::{Assignment, HashRouter, Router};
use riskcycle::model::LogisticModel;
use riskcycle::monitor::{
    Finding, InMemoryPredictionLog, LabelJoin, Monitor, MonitorConfig, PredictionLog,
};
use riskcycle::ndarray::Array2;
use riskcycle::retrain::{Gate, GateConfig, Scored};
use riskcycle::serve::{Decision, Deployment, ModelService, Prediction};
use riskcycle::{EntityKey, FeatureSchema, ModelRef, Seed, Timestamp, days};

/// XXH3 and the multiply-shift by the Python package xxhash 4.1.0: salt, key, slot.
const SLOTS: [(&str, u64, u32); 10] = [
    ("card-fraud-1", 0, 315_142),
    ("card-fraud-1", 1, 343_955),
    ("card-fraud-1", 42, 770_112),
    ("card-fraud-1", 4_294_967_296, 865_498),
    ("card-fraud-1", u64::MAX, 148_139),
    ("é 用户 😀", 0, 245_185),
    ("é 用户 😀", 1, 679_285),
    ("é 用户 😀", 42, 50_508),
    ("é 用户 😀", 4_294_967_296, 931_877),
    ("é 用户 😀", u64::MAX, 87_799),
];

#[test]
fn another_language_reproduces_every_assignment() {
    for (salt, key, slot) in SLOTS {
        let router = HashRouter::new(salt, &[slot, 1, 999_999 - slot]).unwrap();
        assert_eq!(router.slot(EntityKey(key)), slot);
        assert_eq!(router.route(EntityKey(key)), Assignment { arm: 1 }); // half-open on the right
    }
}

proptest! {
    #[test]
    fn raising_a_challengers_share_moves_nobody_away_from_it(
        key in any::<u64>(), small in 0u32..=1_000_000, more in 0u32..=1_000_000,
    ) {
        let large = small.saturating_add(more).min(1_000_000);
        let arm = |share: u32| {
            let router = HashRouter::new("ramp", &[1_000_000 - share, share]).unwrap();
            router.route(EntityKey(key)).arm
        };
        prop_assert!(arm(small) <= arm(large));
    }
}

fn schema() -> FeatureSchema {
    FeatureSchema::new(["x"]).unwrap()
}

fn deployment(version: u32, intercept: f64) -> Deployment {
    let model = LogisticModel::new(schema(), intercept, vec![1.0], vec![0.0], vec![1.0]).unwrap();
    let version = ModelRef { name: "m".into(), version };
    Deployment { version, model: Arc::new(model), threshold: 0.5 }
}

fn predict(service: &ModelService, arm: u16, x: f64) -> Prediction {
    let unit = EntityKey(7);
    service.predict(1, Timestamp::default(), unit, Assignment { arm }, &[x]).unwrap()
}

#[test]
fn each_arm_answers_with_its_own_model_and_an_arm_that_is_gone_with_the_champion() {
    let arms = vec![deployment(1, 0.0), deployment(2, 5.0)];
    let service = ModelService::new(schema(), arms, Decision::Review).unwrap();
    let champion = predict(&service, 0, -1.0);
    assert_eq!((champion.model.version, champion.decision), (1, Decision::Approve));
    let challenger = predict(&service, 1, -1.0);
    assert_eq!((challenger.model.version, challenger.decision), (2, Decision::Review));
    assert_eq!(predict(&service, 0, 0.0).decision, Decision::Review); // a score of 0.5 exactly
    service.deploy(vec![deployment(3, 0.0)]).unwrap();
    let moved = predict(&service, 1, -1.0);
    assert_eq!((moved.model.version, moved.assignment.arm), (3, 0));
}

#[test]
fn a_row_without_a_score_gets_the_fallback() {
    let service = ModelService::new(schema(), vec![deployment(1, 0.0)], Decision::Approve).unwrap();
    let prediction = predict(&service, 0, f64::NAN);
    assert_eq!((prediction.score, prediction.decision), (None, Decision::Approve));
    let wide =
        service.predict(1, Timestamp::default(), EntityKey(1), Assignment { arm: 0 }, &[0.0, 1.0]);
    assert!(wide.is_err());
}

#[test]
fn a_deployment_that_does_not_fit_leaves_the_old_one() {
    let service = ModelService::new(schema(), vec![deployment(1, 0.0)], Decision::Approve).unwrap();
    assert!(service.deploy(vec![]).is_err());
    assert!(
        service.deploy(vec![Deployment { threshold: f64::NAN, ..deployment(2, 0.0) }]).is_err()
    );
    let other = FeatureSchema::new(["y"]).unwrap();
    let model = LogisticModel::new(other, 0.0, vec![1.0], vec![0.0], vec![1.0]).unwrap();
    let other = Deployment { model: Arc::new(model), ..deployment(2, 0.0) };
    assert!(service.deploy(vec![other]).is_err());
    assert_eq!(service.deployments()[0].version.version, 1);
}

#[test]
fn every_prediction_is_of_one_deployment_while_models_are_swapped() {
    let service = ModelService::new(schema(), vec![deployment(0, 0.0)], Decision::Review).unwrap();
    std::thread::scope(|scope| {
        let swapper = scope.spawn(|| {
            for version in 1..2000 {
                service.deploy(vec![deployment(version, f64::from(version % 7))]).unwrap();
            }
        });
        while !swapper.is_finished() {
            let prediction = predict(&service, 0, 0.25);
            let intercept = f64::from(prediction.model.version % 7);
            let expected = 1.0 / (1.0 + (-(intercept + 0.25)).exp());
            assert!((prediction.score.unwrap() - expected).abs() < 1e-15);
        }
    });
}

fn prediction(id: u64, day: u64, score: Option<f64>, review: bool) -> Prediction {
    Prediction {
        id,
        at: Timestamp::default().plus(days(day)),
        unit: EntityKey(id),
        assignment: Assignment { arm: 0 },
        model: ModelRef { name: "m".into(), version: 1 },
        score,
        decision: if review { Decision::Review } else { Decision::Approve },
    }
}

fn values(findings: &[Finding]) -> Vec<(String, f64, u64)> {
    findings.iter().map(|f| (f.metric.to_string(), f.value, f.n)).collect()
}

fn named(values: &[(&str, f64, u64)]) -> Vec<(String, f64, u64)> {
    values.iter().map(|&(metric, value, n)| (metric.to_owned(), value, n)).collect()
}

#[test]
fn the_monitor_tells_traffic_when_the_day_is_over_and_outcomes_when_labels_are_due() {
    let monitor = Monitor::new(MonitorConfig::default()).unwrap();
    monitor.record(&prediction(1, 0, Some(0.75), true));
    monitor.record(&prediction(2, 0, Some(0.25), false));
    monitor.record(&prediction(3, 0, None, true));
    monitor.record(&prediction(4, 0, Some(0.5), false));
    monitor.record(&prediction(5, 1, Some(0.5), false));
    let at = |day| Timestamp::default().plus(days(day));
    assert!(monitor.findings(Timestamp::from_micros(at(1).micros() - 1)).is_empty());
    let traffic = [
        ("predictions", 4.0, 4),
        ("review_rate", 0.5, 4),
        ("fallback_rate", 0.25, 4),
        ("mean_score", 0.5, 3),
    ];
    assert_eq!(values(&monitor.findings(at(1))), named(&traffic));
    assert!(monitor.findings(at(1)).is_empty()); // told once

    for (id, bad) in [(1, true), (2, true), (3, false)] {
        assert_eq!(monitor.label(id, bad), LabelJoin::Joined);
    }
    assert_eq!(monitor.label(1, true), LabelJoin::Unknown); // labelled already
    assert_eq!(monitor.label(99, true), LabelJoin::Unknown);
    monitor.findings(at(7));
    let outcomes = [
        ("label_coverage", 0.75, 4),
        ("bad_rate", 2.0 / 3.0, 3),
        ("precision", 0.5, 2),
        ("recall", 0.5, 2),
    ];
    assert_eq!(values(&monitor.findings(at(8))), named(&outcomes));
    // The fourth label and a straggler come after the report: they open nothing again.
    assert_eq!(monitor.label(4, true), LabelJoin::TooLate);
    monitor.record(&prediction(6, 0, Some(0.5), false));
    assert_eq!(monitor.label(6, true), LabelJoin::Unknown);
    assert!(monitor.findings(at(8)).is_empty());
}

#[test]
fn a_full_monitor_forgets_the_oldest_and_says_so() {
    let config = MonitorConfig { max_unlabelled: 2, ..MonitorConfig::default() };
    let monitor = Monitor::new(config).unwrap();
    (0..5).for_each(|id| monitor.record(&prediction(id, 0, Some(0.5), false)));
    assert_eq!(monitor.forgotten(), 3);
    assert_eq!(monitor.label(2, true), LabelJoin::Unknown);
    assert_eq!(monitor.label(3, true), LabelJoin::Joined);
}

#[test]
fn the_log_keeps_the_last_predictions_of_each_version() {
    let log = InMemoryPredictionLog::new(3).unwrap();
    (0..5).for_each(|id| log.record(&prediction(id, 0, Some(0.5), false)));
    let model = prediction(0, 0, None, false).model;
    let ids: Vec<u64> = log.recent(&model, 10).unwrap().iter().map(|p| p.id).collect();
    assert_eq!(ids, [4, 3, 2]);
    assert_eq!(log.recent(&model, 1).unwrap().len(), 1);
    let other = ModelRef { name: "n".into(), version: 1 };
    assert!(log.recent(&other, 1).unwrap().is_empty());
}

/// 1,000 rows of 500 customers, 100 of them bad; an amount of 100 each.
fn judged(challenger: impl Fn(usize, bool) -> f64) -> riskcycle::retrain::GateVerdict {
    let labels: Vec<bool> = (0..1000).map(|row| row % 10 == 0).collect();
    let data = Dataset::new(schema(), Array2::zeros((1000, 1)), labels.clone())
        .and_then(|d| d.with_amounts(vec![100.0; 1000]))
        .and_then(|d| d.with_entities((0..1000).map(|row| EntityKey(row / 2)).collect()))
        .unwrap();
    // The champion finds every other fraud and troubles one good customer in fifty.
    let found = |row: usize, bad: bool| if bad { row.is_multiple_of(20) } else { row % 50 == 1 };
    let scores = |score: &dyn Fn(usize, bool) -> f64| -> Vec<f64> {
        labels.iter().enumerate().map(|(row, &bad)| score(row, bad)).collect()
    };
    let champion = scores(&|row, bad| f64::from(u8::from(found(row, bad))));
    let challenger = scores(&challenger);
    let side = |scores| Scored { scores, threshold: 0.5 };
    Gate::new(GateConfig::default())
        .unwrap()
        .judge(&data, side(&champion), side(&challenger), Seed(1))
        .unwrap()
}

#[test]
fn the_gate_lets_a_better_challenger_pass_and_says_why_it_stops_another() {
    let better = judged(|row, bad| f64::from(u8::from(bad && row % 50 != 0)));
    assert!(better.promote, "{better}");
    assert!(better.challenger_cost < better.champion_cost && better.confidence > 0.99);
    let same =
        judged(|row, bad| f64::from(u8::from(if bad { row % 20 == 0 } else { row % 50 == 1 })));
    assert!(!same.promote);
    assert_eq!(same.confidence, 0.0); // no difference is no gain
    let worse = judged(|_, _| 0.0);
    assert!(!worse.promote && worse.objections.len() == 3, "{worse}");
    assert!(worse.to_string().starts_with("keep the champion"));
}
