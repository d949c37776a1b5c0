//! From the assignment to the prediction.

use std::sync::Arc;

use riskcycle::experiment::{Assignment, AssignmentReason};
use riskcycle::model::LogisticModel;
use riskcycle::serve::{Decision, Deployment, ModelService, Prediction};
use riskcycle::{EntityKey, FeatureSchema, ModelRef, Timestamp};

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
