//! One request, one decision: versions, policies, fallbacks, shadows, swaps, counts.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use proptest::prelude::*;
use riskcycle::dataset::Dataset;
use riskcycle::experiment::{Assignment, AssignmentReason};
use riskcycle::feature::OnlineConfig;
use riskcycle::model::{
    GoldenRows, LogisticModel, LogisticRegression, Model, ModelExt, ReasonCodes, ReasonConfig,
    ReasonGroup, ReasonText,
};
use riskcycle::ndarray::Array2;
use riskcycle::registry::{Artifact, LoadOptions};
use riskcycle::serve::{
    Decision, DecisionBands, Deployment, FallbackCause, InputFlags, InputPolicy, InputRule, Lineup,
    MissingPolicy, ModelService, Prediction, Predictor, Request, ServiceStats, ServingStats,
    SlotConfig, ValuePolicy,
};
use riskcycle::testing::handbook::{self, START, Transaction};
use riskcycle::train::TrainingRun;
use riskcycle::{
    Categories, Clock, EntityKey, Error, FeatureKind, FeatureSchema, ManualClock, ModelRef, Result,
    Seed, Timestamp,
};

const SLOT: &str = "cards";

fn schema() -> FeatureSchema {
    FeatureSchema::new(["x"]).unwrap()
}

fn version(version: u32) -> ModelRef {
    ModelRef { name: "m".into(), version }
}

fn logistic(schema: FeatureSchema, intercept: f64) -> Arc<dyn Model> {
    let n = schema.n_features();
    let (ones, zeros) = (vec![1.0; n], vec![0.0; n]);
    Arc::new(LogisticModel::new(schema, intercept, ones.clone(), zeros, ones).unwrap())
}

fn review_at_half() -> DecisionBands {
    DecisionBands::review_from(0.5).unwrap()
}

fn deployment(number: u32, intercept: f64) -> Deployment {
    Deployment::new(version(number), logistic(schema(), intercept), review_at_half())
}

fn lineup(arms: Vec<Deployment>) -> Lineup {
    Lineup { arms, fallback: None, shadows: Vec::new() }
}

fn service(lineup: Lineup) -> ModelService {
    let service = ModelService::default();
    service.open(SLOT, schema(), SlotConfig::default(), lineup).unwrap();
    service
}

fn assigned(arm: u8) -> Assignment {
    Assignment { arm, reason: AssignmentReason::Assigned, ..Assignment::champion() }
}

fn request<'a>(assignment: Assignment, row: &'a [f64]) -> Request<'a> {
    Request { assignment, ..Request::new(1, Timestamp::default(), EntityKey(7), row) }
}

fn predict(service: &ModelService, arm: u8, x: f64) -> Prediction {
    service.predict(SLOT, &request(assigned(arm), &[x])).unwrap()
}

fn stats_of(service: &ModelService, number: u32) -> ServingStats {
    service.stats().slots[SLOT][&version(number)].clone()
}

#[test]
fn each_arm_answers_with_its_own_model_and_an_arm_that_is_gone_with_the_champion() {
    let service = service(lineup(vec![deployment(1, 0.0), deployment(2, 5.0)]));
    let champion = predict(&service, 0, -1.0);
    assert_eq!((champion.model.version, champion.decision), (1, Decision::Approve));
    let challenger = predict(&service, 1, -1.0);
    assert_eq!((challenger.model.version, challenger.decision), (2, Decision::Review));
    assert_eq!(predict(&service, 0, 0.0).decision, Decision::Review); // a score of 0.5 exactly
    assert_eq!(service.deploy(SLOT, lineup(vec![deployment(3, 0.0)])).unwrap(), 2);
    let moved = predict(&service, 1, -1.0);
    assert_eq!((moved.model.version, moved.assignment.arm), (3, 0));
    assert_eq!(moved.exposure, None); // the champion answered for somebody else's arm
}

#[test]
fn slots_are_apart_and_unknown_ones_are_errors() {
    let service = service(lineup(vec![deployment(1, 0.0)]));
    let again =
        service.open(SLOT, schema(), SlotConfig::default(), lineup(vec![deployment(1, 0.0)]));
    assert!(again.unwrap_err().is_conflict());
    let wide = FeatureSchema::new(["x", "y"]).unwrap();
    let model = logistic(wide.clone(), 0.0);
    let other = Lineup::new(Deployment::new(version(9), model, review_at_half()));
    service.open("loans", wide, SlotConfig::default(), other).unwrap();
    let answer = service.predict("loans", &request(assigned(0), &[1.0, 2.0])).unwrap();
    assert_eq!(answer.model.version, 9);
    assert!(service.predict("none", &request(assigned(0), &[1.0])).unwrap_err().is_not_found());
    assert!(service.predictor("none").unwrap_err().is_not_found());
    let slots: Vec<String> = service.health().into_iter().map(|health| health.slot).collect();
    assert_eq!(slots, [SLOT, "loans"]);
}

#[test]
fn bands_decide_and_are_told_with_the_score() {
    let bands = DecisionBands::new(0.3, 0.8).unwrap();
    let model = Deployment::new(version(1), logistic(schema(), 0.0), bands);
    let service = service(Lineup::new(model));
    let decided = [-3.0, 0.0, 3.0].map(|x| predict(&service, 0, x).decision);
    assert_eq!(decided, [Decision::Approve, Decision::Review, Decision::Decline]);
    assert_eq!(predict(&service, 0, 0.0).bands, bands);
    assert_eq!(stats_of(&service, 1).decisions, [1, 2, 1]);
}

#[test]
fn in_shadow_every_arm_scores_and_the_assigned_one_answers() {
    let service = service(lineup(vec![deployment(1, 0.0), deployment(2, 5.0)]));
    let assignment = Assignment { shadow: true, ..assigned(0) };
    let prediction = service.predict(SLOT, &request(assignment, &[-1.0])).unwrap();
    assert_eq!((prediction.model.version, prediction.decision), (1, Decision::Approve));
    let token = prediction.exposure.unwrap();
    assert_eq!((token.alert(0), token.alert(1)), (false, true));
    let expected = [0.0, 5.0].map(|intercept: f64| 1.0 / (1.0 + (1.0 - intercept).exp()));
    for (arm, expected) in (0..).zip(expected) {
        assert!((token.score(arm).unwrap() - expected).abs() < 1e-9);
    }
    let shadow = stats_of(&service, 2);
    assert_eq!((shadow.requests, shadow.shadowed, shadow.scores.count()), (0, 1, 1));
}

#[test]
fn a_request_that_is_let_through_passes_and_its_token_remembers_what_the_model_said() {
    let service = service(Lineup::new(deployment(1, 5.0)));
    let assignment = Assignment { let_through: true, let_through_ppm: 50_000, ..assigned(0) };
    let prediction = service.predict(SLOT, &request(assignment, &[0.0])).unwrap();
    assert_eq!(prediction.decision, Decision::Approve);
    assert!(prediction.exposure.unwrap().alert(0));
}

/// Scores by the first feature as told: 1 panics, 2 is an error, 3 infinite, 4 NaN, anything else itself.
#[derive(Debug)]
struct Unruly {
    schema: FeatureSchema,
    at_missing: f64,
}

impl Model for Unruly {
    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
        let x = if rows[0].is_nan() { self.at_missing } else { rows[0] };
        scores[0] = match x {
            1.0 => panic!("as told"),
            2.0 => return Err(Error::InvalidInput { what: "row", reason: "as told".into() }),
            3.0 => f64::INFINITY,
            4.0 => f64::NAN,
            other => other,
        };
        Ok(())
    }

    fn kind(&self) -> &str {
        "unruly"
    }

    fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }
}

fn unruly(number: u32, at_missing: f64) -> Deployment {
    let model = Arc::new(Unruly { schema: schema(), at_missing });
    Deployment::new(version(number), model, review_at_half())
}

/// Keeps the panics that models were told to have out of the output, where others' would drown.
fn expect_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if panic.payload().downcast_ref::<&str>() != Some(&"as told") {
                before(panic);
            }
        }));
    });
}

#[test]
fn what_a_model_cannot_answer_its_fallback_does_and_then_the_constant_each_flagged_and_counted_once()
 {
    let causes = [
        (1.0, FallbackCause::Panic),
        (2.0, FallbackCause::Error),
        (3.0, FallbackCause::NoScore),
        (4.0, FallbackCause::NoScore),
    ];
    let with_fallback =
        Lineup { fallback: Some(deployment(2, -3.0)), ..Lineup::new(unruly(1, 0.1)) };
    let service = service(with_fallback);
    expect_panics();
    for (x, cause) in causes {
        let answer = predict(&service, 0, x);
        assert_eq!((answer.fallback, answer.model.version), (Some(cause), 2), "{x}");
        assert_eq!(answer.score, Some(logistic(schema(), -3.0).score_row(&[x]).unwrap()));
        assert_eq!(answer.exposure.unwrap().score(0), None); // the arm itself said nothing
    }
    assert_eq!(predict(&service, 0, 0.1).fallback, None);
    let (own, other) = (stats_of(&service, 1), stats_of(&service, 2));
    assert_eq!((own.requests, own.fallbacks, own.constants), (5, [1, 2, 1], 0));
    assert_eq!((other.requests, other.stood_in, own.scores.count()), (0, 4, 1));
    assert_eq!(own.fallback_rate(), Some(0.8));
    assert!(service.health()[0].degraded);

    let both = Lineup { fallback: Some(unruly(4, 0.1)), ..Lineup::new(unruly(3, 0.1)) };
    service.deploy(SLOT, both).unwrap();
    for (x, cause) in causes {
        let answer = predict(&service, 0, x);
        assert_eq!((answer.fallback, answer.model.version), (Some(cause), 3));
        assert_eq!((answer.score, answer.decision), (None, Decision::Review));
    }
    let own = stats_of(&service, 3);
    assert_eq!((own.fallbacks, own.constants, own.requests), ([1, 2, 1], 4, 4));
    assert_eq!(stats_of(&service, 4), ServingStats::default());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 32, ..ProptestConfig::default() })]

    #[test]
    fn every_request_is_counted_once_and_every_fallback_shown(
        asked in proptest::collection::vec((0u8..7, any::<bool>(), 0u8..3), 1..60),
        fallback in 0usize..3,
    ) {
        let fallback = [None, Some(unruly(9, 0.1)), Some(deployment(9, 0.0))][fallback].clone();
        let arms = vec![unruly(1, 0.1), deployment(2, 0.0)];
        let service = service(Lineup { arms, fallback, shadows: Vec::new() });
        let (mut shown, mut errors, mut constants) = (0, 0, 0);
        expect_panics();
        for (x, wide, arm) in &asked {
            // 0 and 5 to 6 are scores, 1 to 4 are none.
            let row = [f64::from(*x), 0.0];
            let row = if *wide { &row[..] } else { &row[..1] };
            match service.predict(SLOT, &request(assigned(*arm), row)) {
                Ok(answer) => {
                    shown += u64::from(answer.fallback.is_some());
                    constants += u64::from(answer.score.is_none());
                    assert!(answer.score.is_some() || answer.fallback.is_some());
                }
                Err(_) => errors += 1,
            }
        }
        let stats = service.stats();
        let of = |read: fn(&ServingStats) -> u64| stats.slots[SLOT].values().map(read).sum::<u64>();
        let answered = asked.len() as u64 - errors;
        prop_assert_eq!(of(|s| s.requests), asked.len() as u64);
        prop_assert_eq!(of(|s| s.errors), errors);
        prop_assert_eq!(of(|s| s.decisions.iter().sum()), answered);
        prop_assert_eq!(of(|s| s.fallbacks.iter().sum()), shown);
        prop_assert_eq!(of(|s| s.constants), constants);
        prop_assert_eq!(of(|s| s.stood_in), shown - constants);
        prop_assert_eq!(of(|s| s.scores.count()), answered - constants);
        prop_assert_eq!(of(|s| s.values), answered);
        for stats in stats.slots[SLOT].values() {
            for rate in [stats.error_rate(), stats.fallback_rate(), stats.missing_rate()] {
                prop_assert!(rate.is_none_or(|rate| (0.0..=1.0).contains(&rate)));
            }
            let at = [0.5, 0.9, 0.99, 0.999, 1.0].map(|q| stats.latency.quantile(q));
            prop_assert!(at.is_sorted() && at[4] <= Some(stats.latency.max()));
        }
    }
}

#[test]
fn a_lineup_that_does_not_pass_its_test_leaves_the_old_one() {
    let service = service(Lineup::new(deployment(1, 0.0)));
    let refused = |lineup: Lineup| service.deploy(SLOT, lineup).unwrap_err();
    assert!(matches!(refused(lineup(vec![])), Error::InvalidConfig { .. }));
    let of = |names: &[&str]| {
        let model = logistic(FeatureSchema::new(names.iter().copied()).unwrap(), 0.0);
        Deployment::new(version(2), model, review_at_half())
    };
    for names in [&["y"][..], &["x", "y"], &["y", "x"]] {
        let error = refused(Lineup::new(of(names)));
        assert!(matches!(error, Error::SchemaMismatch { .. }), "{error}");
    }
    let flag = FeatureSchema::with_kinds([("x", FeatureKind::Boolean)]).unwrap();
    let retyped = Deployment::new(version(2), logistic(flag, 0.0), review_at_half());
    assert!(matches!(refused(Lineup::new(retyped)), Error::SchemaMismatch { .. }));

    let wrong = GoldenRows::new(vec![0.0, 1.0], vec![0.5, 0.5]).unwrap();
    let golden = Deployment { golden: Some(wrong), ..deployment(2, 0.0) };
    let error = refused(Lineup::new(golden.clone()));
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(
        error.to_string().contains("deploy m@2") && error.to_string().contains("row 1"),
        "{error}"
    );
    expect_panics();
    for at_missing in [1.0, 2.0] {
        let error = refused(Lineup::new(unruly(2, at_missing)));
        assert!(error.to_string().contains("row of missing values"), "{error}");
    }
    // In any part of the lineup.
    let fallback = Lineup { fallback: Some(golden.clone()), ..Lineup::new(deployment(3, 0.0)) };
    refused(fallback);
    refused(Lineup { shadows: vec![golden], ..Lineup::new(deployment(3, 0.0)) });
    assert_eq!(service.lineup(SLOT).unwrap().arms[0].version.version, 1);
    assert_eq!(service.health()[0].generation, 1);

    let right = GoldenRows::new(vec![0.0], vec![0.5]).unwrap();
    let golden = Deployment { golden: Some(right), ..deployment(2, 0.0) };
    assert_eq!(service.deploy(SLOT, Lineup::new(golden)).unwrap(), 2);
}

fn kinds() -> FeatureSchema {
    let home = FeatureKind::Categorical(Categories::new(["own", "rent"]).unwrap());
    let kinds = [("x", FeatureKind::Numeric), ("home", home), ("night", FeatureKind::Boolean)];
    FeatureSchema::with_kinds(kinds).unwrap()
}

/// What the model of a slot with this policy sees of a row, and what is flagged.
fn seen(policy: InputPolicy, row: [f64; 3]) -> Result<(Vec<f64>, InputFlags)> {
    #[derive(Debug, Default)]
    struct Remembers(std::sync::Mutex<Vec<f64>>);
    impl Model for Remembers {
        fn schema(&self) -> &FeatureSchema {
            static SCHEMA: std::sync::OnceLock<FeatureSchema> = std::sync::OnceLock::new();
            SCHEMA.get_or_init(kinds)
        }
        fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
            *self.0.lock().unwrap() = rows.to_vec();
            scores.fill(0.5);
            Ok(())
        }
        fn kind(&self) -> &str {
            "remembers"
        }
        fn to_bytes(&self) -> Vec<u8> {
            Vec::new()
        }
    }
    let model = Arc::new(Remembers::default());
    let lineup = Lineup::new(Deployment::new(version(1), model.clone(), review_at_half()));
    let service = ModelService::default();
    let config = SlotConfig { inputs: policy, ..SlotConfig::default() };
    service.open(SLOT, kinds(), config, lineup)?;
    let answer = service.predict(SLOT, &request(assigned(0), &row));
    let stats = stats_of(&service, 1);
    assert_eq!((stats.requests, stats.errors), (1, u64::from(answer.is_err())));
    let saw = model.0.lock().unwrap().clone();
    Ok((saw, answer?.inputs))
}

fn every(rule: InputRule) -> InputPolicy {
    InputPolicy { default: rule, features: BTreeMap::new() }
}

fn same(a: &[f64], b: &[f64]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a == b || a.is_nan() && b.is_nan())
}

#[test]
fn values_that_should_not_be_are_let_in_flagged_mended_or_rejected_as_the_policy_says() {
    let (nan, inf) = (f64::NAN, f64::INFINITY);
    let rule = |missing, policy| InputRule {
        missing,
        infinite: policy,
        range: Some((-2.0, 2.0)),
        out_of_range: policy,
    };
    let flags = |missing, defaulted, infinite, out_of_range| InputFlags {
        missing,
        defaulted,
        infinite,
        out_of_range,
    };
    let (allow, fill) = (MissingPolicy::Allow, MissingPolicy::Default(1.0));
    let cases = [
        (rule(allow, ValuePolicy::Flag), [5.0, 0.5, nan], [5.0, 0.5, nan], flags(1, 0, 0, 2)),
        (rule(fill, ValuePolicy::Flag), [-inf, 1.0, nan], [-inf, 1.0, 1.0], flags(1, 1, 1, 0)),
        (rule(allow, ValuePolicy::Clamp), [5.0, 7.0, 0.5], [2.0, nan, nan], flags(0, 0, 0, 3)),
        (rule(allow, ValuePolicy::Clamp), [-inf, inf, 1.0], [-2.0, nan, 1.0], flags(0, 0, 2, 0)),
        (rule(allow, ValuePolicy::Reject), [2.0, 1.0, nan], [2.0, 1.0, nan], flags(1, 0, 0, 0)),
        (InputRule::default(), [1e300, 0.0, 1.0], [1e300, 0.0, 1.0], flags(0, 0, 0, 0)),
        (InputRule::default(), [inf, -1.0, nan], [inf, -1.0, nan], flags(1, 0, 1, 1)),
    ];
    for (rule, row, expected, flagged) in cases {
        let (saw, inputs) = seen(every(rule), row).unwrap();
        assert!(same(&saw, &expected), "{row:?} became {saw:?}");
        assert_eq!(inputs, flagged, "{row:?}");
    }
    let reject = rule(MissingPolicy::Reject, ValuePolicy::Reject);
    for (row, named) in [
        ([nan, 0.0, 0.0], "x is missing"),
        ([0.0, nan, 0.0], "home is missing"),
        ([2.5, 0.0, 0.0], "x is 2.5"),
        ([inf, 0.0, 0.0], "x is inf"),
        ([0.0, 2.0, 0.0], "home is 2"),
        ([0.0, 0.0, 0.5], "night is 0.5"),
    ] {
        let error = seen(every(reject), row).unwrap_err();
        assert!(error.to_string().contains(named), "{error}");
        assert!(matches!(error, Error::InvalidInput { .. }));
    }
    let one = |name: &str, rule| InputPolicy {
        features: BTreeMap::from([(name.to_owned(), rule)]),
        ..InputPolicy::default()
    };
    let filled = one("home", InputRule { missing: fill, ..InputRule::default() });
    assert!(same(&seen(filled, [nan, nan, nan]).unwrap().0, &[nan, 1.0, nan]));
    let ranged = |range| InputRule { range: Some(range), ..InputRule::default() };
    let default =
        |value| InputRule { missing: MissingPolicy::Default(value), ..InputRule::default() };
    for policy in [
        one("y", InputRule::default()),
        one("x", ranged((1.0, 0.0))),
        one("x", ranged((nan, 0.0))),
        one("x", ranged((0.0, inf))),
        one("night", ranged((0.0, 1.0))),
        one("x", default(nan)),
        one("home", default(2.0)),
    ] {
        let error = seen(policy.clone(), [0.0; 3]).unwrap_err();
        assert!(matches!(error, Error::InvalidConfig { .. }), "{policy:?}");
    }
    let json = serde_json::to_string(&every(reject)).unwrap();
    assert_eq!(serde_json::from_str::<InputPolicy>(&json).unwrap(), every(reject));
}

#[test]
fn rows_of_another_width_are_errors_and_counted() {
    let service = service(Lineup::new(deployment(1, 0.0)));
    for row in [&[][..], &[0.0, 1.0]] {
        let error = service.predict(SLOT, &request(assigned(0), row)).unwrap_err();
        assert!(matches!(error, Error::SchemaMismatch { .. }), "{error}");
    }
    predict(&service, 0, f64::NAN);
    let stats = stats_of(&service, 1);
    assert_eq!((stats.requests, stats.errors, stats.fallbacks), (3, 2, [0, 1, 0]));
    assert_eq!((stats.error_rate(), stats.missing_rate()), (Some(2.0 / 3.0), Some(1.0)));
}

fn letters(n: usize) -> Vec<String> {
    (0..n).map(|i| format!("f{i}")).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..ProptestConfig::default() })]

    #[test]
    fn any_order_of_the_callers_columns_gives_the_same_answer_and_any_other_columns_an_error(
        order in Just((0..6).collect::<Vec<usize>>()).prop_shuffle(),
        row in proptest::collection::vec(-2.0..2.0, 6),
        changed in 0usize..6,
    ) {
        let names = letters(6);
        let schema = FeatureSchema::new(names.clone()).unwrap();
        let weights = (0..6).map(|i| f64::from(i) - 2.0).collect();
        let model = LogisticModel::new(schema.clone(), 0.1, weights, vec![0.0; 6], vec![1.0; 6]);
        let model = Deployment::new(version(1), Arc::new(model.unwrap()), review_at_half());
        let service = ModelService::default();
        service.open(SLOT, schema.clone(), SlotConfig::default(), Lineup::new(model)).unwrap();
        let plain = service.predict(SLOT, &request(assigned(0), &row)).unwrap();
        let caller = schema.select(&order).unwrap();
        let values: Vec<f64> = order.iter().map(|&column| row[column]).collect();
        let bound = service.predictor(SLOT).unwrap().with_layout(&caller);
        let answer = bound.unwrap().clone().predict(&request(assigned(0), &values)).unwrap();
        prop_assert_eq!(answer, plain);

        let bind = |caller: FeatureSchema| service.predictor(SLOT).unwrap().with_layout(&caller);
        let fewer: Vec<usize> = order.iter().copied().filter(|&column| column != changed).collect();
        let error = bind(schema.select(&fewer).unwrap()).unwrap_err();
        let named = format!("{} is missing", names[changed]);
        prop_assert!(error.to_string().contains(&named));
        let mut renamed = names.clone();
        renamed[changed] = "other".into();
        prop_assert!(bind(FeatureSchema::new(renamed.clone()).unwrap()).is_err());
        let more = names.iter().cloned().chain(["other".into()]);
        let error = bind(FeatureSchema::new(more).unwrap()).unwrap_err();
        prop_assert!(error.to_string().contains("other is not expected"));
        let kind = |i| if i == changed { FeatureKind::Boolean } else { FeatureKind::Numeric };
        let retyped = names.iter().enumerate().map(|(i, name)| (name.clone(), kind(i)));
        prop_assert!(bind(FeatureSchema::with_kinds(retyped).unwrap()).is_err());
    }

    #[test]
    fn a_batch_is_answered_row_for_row(rows in proptest::collection::vec(-3.0..3.0, 0..20)) {
        let service = service(lineup(vec![deployment(1, 0.0), deployment(2, 1.0)]));
        let rows: Vec<[f64; 1]> = rows.into_iter().map(|x| [x]).collect();
        let assign = |i: usize| assigned((i % 3) as u8);
        let requests: Vec<_> = rows.iter().enumerate().map(|(i, row)| request(assign(i), row)).collect();
        let (mut predictor, mut batch) = (service.predictor(SLOT).unwrap(), Vec::new());
        predictor.predict_batch(&requests, &mut batch);
        prop_assert_eq!(batch.len(), requests.len());
        for (one, request) in batch.into_iter().zip(&requests) {
            prop_assert_eq!(one.unwrap(), predictor.predict(request).unwrap());
        }
    }
}

#[test]
fn reasons_come_with_decisions_against_the_customer_when_asked_for() {
    let schema = FeatureSchema::new(["age", "debt"]).unwrap();
    let model = logistic(schema.clone(), 0.0);
    let group = |code: &str, feature: &str| ReasonGroup {
        reason: ReasonText { code: code.into(), text: format!("on {feature}") },
        missing: None,
        features: vec![feature.into()],
    };
    let config = ReasonConfig::new(vec![group("A1", "age"), group("D1", "debt")]);
    let codes = ReasonCodes::new(&config, model.explainer().unwrap()).unwrap();
    let with = Deployment {
        reasons: Some(Arc::new(codes)),
        ..Deployment::new(version(1), model, review_at_half())
    };
    let service = ModelService::default();
    service.open(SLOT, schema, SlotConfig::default(), Lineup::new(with.clone())).unwrap();
    let ask = |row: &[f64], reasons| {
        let request = Request { reasons, ..request(assigned(0), row) };
        let answer = service.predict(SLOT, &request).unwrap();
        let codes: Vec<String> = answer.reasons.iter().map(|of| of.code.to_string()).collect();
        (answer.decision, codes)
    };
    assert_eq!(ask(&[1.0, 2.0], true), (Decision::Review, vec!["D1".into(), "A1".into()]));
    assert_eq!(ask(&[-1.0, 2.0], true).1, ["D1"]);
    assert!(ask(&[1.0, 2.0], false).1.is_empty());
    assert_eq!(ask(&[-1.0, -2.0], true), (Decision::Approve, vec![]));
    // Reason codes of other columns than the slot's are refused.
    let turned = FeatureSchema::new(["debt", "age"]).unwrap();
    let codes = ReasonCodes::new(&config, logistic(turned, 0.0).explainer().unwrap()).unwrap();
    let wrong = Deployment { reasons: Some(Arc::new(codes)), ..with };
    assert!(matches!(service.deploy(SLOT, Lineup::new(wrong)), Err(Error::SchemaMismatch { .. })));
}

#[test]
fn a_kept_version_goes_to_work_with_all_that_its_artifact_brings() {
    let names = FeatureSchema::new(["a", "b"]).unwrap();
    let features =
        Array2::from_shape_fn((200, 2), |(row, column)| ((row * (3 + column)) % 17) as f64);
    let labels = (0..200).map(|row| features[(row, 0)] + features[(row, 1)] > 18.0).collect();
    let data = Dataset::new(names.clone(), features, labels).unwrap();
    let run = TrainingRun::fit(&LogisticRegression::default(), &data, None, Seed(1)).unwrap();
    let bands = DecisionBands::new(0.2, 0.7).unwrap();
    let mut artifact = Artifact::new("m", "anna", Timestamp::default(), bands, run);
    let reason = ReasonText { code: "AB".into(), text: "a or b".into() };
    let features = vec!["a".into(), "b".into()];
    artifact.reasons =
        Some(ReasonConfig::new(vec![ReasonGroup { reason, missing: None, features }]));
    let loaded = Artifact::from_bytes(&artifact.to_bytes(), &LoadOptions::default()).unwrap();
    let ready = Deployment::of(version(1), &loaded).unwrap();
    assert!(ready.golden.is_some());
    let service = ModelService::default();
    service.open(SLOT, names, SlotConfig::default(), Lineup::new(ready)).unwrap();
    let request = Request { reasons: true, ..request(assigned(0), &[16.0, 16.0]) };
    let answer = service.predict(SLOT, &request).unwrap();
    assert_eq!(answer.score, Some(artifact.model.score_row(&[16.0, 16.0]).unwrap()));
    assert_eq!((answer.bands, answer.decision), (bands, Decision::Decline));
    assert_eq!(&*answer.reasons[0].code, "AB");
    // Reasons that the model cannot give are found before it answers.
    artifact.model = unruly(1, 0.1).model;
    assert!(matches!(Deployment::of(version(2), &artifact), Err(Error::InvalidInput { .. })));
}

#[test]
fn a_live_feature_vector_is_bound_by_name_once() {
    let plan = handbook::features().bind(&handbook::events()).unwrap();
    let live = plan.online(OnlineConfig::default()).unwrap();
    let n = live.schema().n_features();
    let turned: Vec<usize> = (0..n).rev().collect();
    let schema = live.schema().select(&turned).unwrap();
    let weights = (0..n).map(|i| i as f64 / 100.0).collect();
    let model = LogisticModel::new(schema.clone(), -1.0, weights, vec![0.0; n], vec![1.0; n]);
    let model = Deployment::new(version(1), Arc::new(model.unwrap()), review_at_half());
    let service = ModelService::default();
    service.open(SLOT, schema, SlotConfig::default(), Lineup::new(model.clone())).unwrap();
    let mut predictor = service.predictor(SLOT).unwrap().with_layout(live.schema()).unwrap();
    let mut row = vec![0.0; n];
    for i in 0..20 {
        let event = Transaction {
            id: i,
            at: START.plus(Duration::from_secs(600 * i)),
            customer: 1,
            terminal: (i % 3) as u32,
            cents: 100 * i as i64,
            fraud: false,
        };
        live.observe(&event, &mut row).unwrap();
        let answer = predictor.predict(&request(assigned(0), &row)).unwrap();
        let in_order: Vec<f64> = row.iter().rev().copied().collect();
        let own = model.model.score_row(&in_order).unwrap();
        assert_eq!(answer.score, Some(own).filter(|score| score.is_finite()));
    }
}

#[test]
fn shadows_score_what_waits_when_they_are_let_and_what_finds_no_room_is_counted() {
    let shadowed = Lineup { shadows: vec![deployment(2, 5.0)], ..Lineup::new(deployment(1, 0.0)) };
    let config = SlotConfig { shadow_queue: 3, ..SlotConfig::default() };
    let service = ModelService::default();
    service.open(SLOT, schema(), config, shadowed).unwrap();
    let answers: Vec<Prediction> =
        [-1.0, 0.0, f64::NAN, 2.0, 3.0].iter().map(|&x| predict(&service, 0, x)).collect();
    let health = &service.health()[0];
    assert_eq!((health.shadows_waiting, health.shadows_dropped), (3, 2));
    let mut told = Vec::new();
    assert_eq!(service.drain_shadows(SLOT, 2, |score| told.push(score)).unwrap(), 2);
    assert_eq!(service.drain_shadows(SLOT, 9, |score| told.push(score)).unwrap(), 1);
    assert_eq!(service.drain_shadows(SLOT, 9, |_| panic!("nothing waits")).unwrap(), 0);
    let model = logistic(schema(), 5.0);
    for ((shadow, answer), x) in told.iter().zip(&answers).zip([-1.0, 0.0]) {
        assert_eq!((&shadow.answer, shadow.model.version), (answer, 2));
        assert_eq!(shadow.score, Some(model.score_row(&[x]).unwrap()));
        assert_eq!(shadow.decision, Decision::Review);
    }
    assert_eq!(told[2].score, None);
    let stats = stats_of(&service, 2);
    assert_eq!((stats.shadowed, stats.scores.count(), stats.requests), (3, 2, 0));
    predict(&service, 0, 0.0); // there is room again
    assert_eq!(service.health()[0].shadows_waiting, 1);
}

#[test]
fn latencies_are_sampled_by_the_clock_or_told_by_the_host() {
    #[derive(Debug)]
    struct Ticks(AtomicU64);
    impl Clock for Ticks {
        fn now(&self) -> Timestamp {
            Timestamp::default()
        }
        fn nanos(&self) -> u64 {
            self.0.fetch_add(500, Ordering::Relaxed)
        }
    }
    let service = ModelService::new(Arc::new(Ticks(AtomicU64::new(0))));
    let config = SlotConfig { latency_every: 4, ..SlotConfig::default() };
    service.open(SLOT, schema(), config, Lineup::new(deployment(1, 0.0))).unwrap();
    let mut predictor = service.predictor(SLOT).unwrap();
    for _ in 0..100 {
        predictor.predict(&request(assigned(0), &[0.0])).unwrap();
    }
    let stats = stats_of(&service, 1);
    assert_eq!((stats.latency.count(), stats.mean_latency()), (25, Some(500.0)));
    assert_eq!(stats.latency.max(), 500);

    let none = SlotConfig { latency_every: 0, ..SlotConfig::default() };
    service.open("own", schema(), none, Lineup::new(deployment(1, 0.0))).unwrap();
    let mut predictor = service.predictor("own").unwrap();
    let answer = predictor.predict(&request(assigned(0), &[0.0])).unwrap();
    predictor.record_latency(&answer, Duration::from_micros(3));
    let stats = &service.stats().slots["own"][&version(1)];
    assert_eq!((stats.latency.count(), stats.latency.max()), (1, 3000));
    let manual = ManualClock::new(Timestamp::from_micros(7));
    assert_eq!(manual.nanos(), 7000);
}

#[test]
fn statistics_follow_the_version_and_merge_across_processes() {
    let one = service(Lineup::new(deployment(1, 0.0)));
    predict(&one, 0, 0.0);
    one.deploy(SLOT, Lineup::new(deployment(2, 0.0))).unwrap();
    predict(&one, 0, 0.0);
    one.deploy(SLOT, Lineup::new(deployment(1, 0.0))).unwrap(); // rolled back
    predict(&one, 0, 0.0);
    let two = service(Lineup::new(deployment(1, 0.0)));
    predict(&two, 0, 3.0);
    let mut both = ServiceStats::from_bytes(&one.stats().to_bytes()).unwrap();
    both.merge(&two.stats()).unwrap();
    let requests = |number: u32| both.slots[SLOT][&version(number)].requests;
    assert_eq!((requests(1), requests(2)), (3, 1));
    // Only so many versions are remembered.
    for number in 3..40 {
        one.deploy(SLOT, Lineup::new(deployment(number, 0.0))).unwrap();
    }
    let kept: Vec<u32> = one.stats().slots[SLOT].keys().map(|version| version.version).collect();
    assert_eq!(kept, (23..40).collect::<Vec<u32>>());
}

fn swapped_while(answering: impl Fn(&ModelService, &AtomicBool) + Sync, threads: usize) {
    let service = service(Lineup::new(deployment(0, 0.0)));
    let done = AtomicBool::new(false);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| answering(&service, &done));
        }
        for number in 1..2000 {
            let bands = DecisionBands::review_from(f64::from(number % 5) / 10.0).unwrap();
            let next = Deployment { bands, ..deployment(number, f64::from(number % 7)) };
            service.deploy(SLOT, Lineup::new(next)).unwrap();
        }
        done.store(true, Ordering::Relaxed);
    });
}

/// Score, bands and decision of this prediction are those of its own version.
fn is_of_one_deployment(prediction: &Prediction, x: f64) {
    let number = prediction.model.version;
    let expected = logistic(schema(), f64::from(number % 7)).score_row(&[x]).unwrap();
    assert_eq!(prediction.score, Some(expected), "version {number}");
    let review = if number == 0 { 0.5 } else { f64::from(number % 5) / 10.0 };
    assert_eq!(prediction.bands.review(), review, "version {number}");
    assert_eq!(prediction.decision, prediction.bands.decide(expected));
}

#[test]
fn every_prediction_is_of_one_deployment_while_models_are_swapped() {
    let by_predictor = |service: &ModelService, done: &AtomicBool| {
        let mut predictor: Predictor = service.predictor(SLOT).unwrap();
        let mut last = 0;
        while !done.load(Ordering::Relaxed) {
            let prediction = predictor.predict(&request(assigned(0), &[0.25])).unwrap();
            is_of_one_deployment(&prediction, 0.25);
            assert!(prediction.model.version >= last, "an older version came back");
            last = prediction.model.version;
        }
    };
    let by_service = |service: &ModelService, done: &AtomicBool| {
        while !done.load(Ordering::Relaxed) {
            is_of_one_deployment(&predict(service, 0, -0.75), -0.75);
        }
    };
    swapped_while(by_predictor, 2);
    swapped_while(by_service, 2);
}

#[test]
fn swapping_there_and_back_gives_the_same_bits_and_generations_only_rise() {
    let service = service(Lineup::new(deployment(1, 0.3)));
    let before = predict(&service, 0, 0.7);
    let there = service.deploy(SLOT, Lineup::new(deployment(2, 0.9))).unwrap();
    assert_ne!(predict(&service, 0, 0.7).score, before.score);
    let back = service.deploy(SLOT, Lineup::new(deployment(1, 0.3))).unwrap();
    assert_eq!(predict(&service, 0, 0.7), before);
    assert!(1 < there && there < back);
}
