//! From the router to the alert: assignments, predictions, counts, drift.

use std::sync::Arc;

use riskcycle::dataset::Dataset;
use riskcycle::experiment::{Assignment, AssignmentReason};
use riskcycle::model::LogisticModel;
use riskcycle::monitor::{
    Finding, InMemoryPredictionLog, LabelJoin, Monitor, MonitorConfig, PredictionLog,
};
use riskcycle::ndarray::Array2;
use riskcycle::retrain::{Gate, GateConfig, Scored};
use riskcycle::serve::{Decision, Deployment, ModelService, Prediction};
use riskcycle::{EntityKey, FeatureSchema, ModelRef, Seed, Timestamp, days};

fn schema() -> FeatureSchema {
    FeatureSchema::new(["x"]).unwrap()
}

fn deployment(version: u32, intercept: f64) -> Deployment {
    let model = LogisticModel::new(schema(), intercept, vec![1.0], vec![0.0], vec![1.0]).unwrap();
    let version = ModelRef { name: "m".into(), version };
    Deployment { version, model: Arc::new(model), threshold: 0.5 }
}

fn assigned(arm: u8) -> Assignment {
    Assignment { arm, reason: AssignmentReason::Assigned, ..Assignment::champion() }
}

fn predict(service: &ModelService, arm: u8, x: f64) -> Prediction {
    let assignment = assigned(arm);
    service.predict(1, Timestamp::default(), EntityKey(7), assignment, &[x]).unwrap()
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
    assert_eq!(moved.exposure, None); // the champion answered for somebody else's arm
}

#[test]
fn in_shadow_every_arm_scores_and_the_champion_answers() {
    let arms = vec![deployment(1, 0.0), deployment(2, 5.0)];
    let service = ModelService::new(schema(), arms, Decision::Review).unwrap();
    let assignment = Assignment { shadow: true, ..assigned(0) };
    let unit = EntityKey(7);
    let prediction = service.predict(1, Timestamp::default(), unit, assignment, &[-1.0]).unwrap();
    assert_eq!((prediction.model.version, prediction.decision), (1, Decision::Approve));
    let token = prediction.exposure.unwrap();
    assert_eq!((token.alert(0), token.alert(1)), (false, true));
    let expected = [0.0, 5.0].map(|intercept: f64| 1.0 / (1.0 + (1.0 - intercept).exp()));
    for (arm, expected) in (0..).zip(expected) {
        assert!((token.score(arm).unwrap() - expected).abs() < 1e-9);
    }
}

#[test]
fn a_request_that_is_let_through_passes_and_its_token_remembers_what_the_model_said() {
    let service = ModelService::new(schema(), vec![deployment(1, 5.0)], Decision::Review).unwrap();
    let assignment = Assignment { let_through: true, let_through_ppm: 50_000, ..assigned(0) };
    let unit = EntityKey(7);
    let prediction = service.predict(1, Timestamp::default(), unit, assignment, &[0.0]).unwrap();
    assert_eq!(prediction.decision, Decision::Approve);
    assert!(prediction.exposure.unwrap().alert(0));
}

#[test]
fn a_row_without_a_score_gets_the_fallback() {
    let service = ModelService::new(schema(), vec![deployment(1, 0.0)], Decision::Approve).unwrap();
    let prediction = predict(&service, 0, f64::NAN);
    assert_eq!((prediction.score, prediction.decision), (None, Decision::Approve));
    let wide = service.predict(1, Timestamp::default(), EntityKey(1), assigned(0), &[0.0, 1.0]);
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
        assignment: assigned(0),
        model: ModelRef { name: "m".into(), version: 1 },
        score,
        decision: if review { Decision::Review } else { Decision::Approve },
        exposure: None,
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
