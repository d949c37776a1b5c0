//! What a challenger takes over from the champion, and how it is compared with it in shadow.

use std::sync::Arc;
use std::time::Duration;

use riskcycle::alert::{AlertConfig, AlertEngine, AlertRule, Comparison};
use riskcycle::dataset::Dataset;
use riskcycle::drift::{ProfileConfig, ReferenceProfile};
use riskcycle::evaluate::{Costs, DecisionBands};
use riskcycle::lifecycle::{Lifecycle, LifecycleConfig, Parts, RetrainOutcome};
use riskcycle::model::{
    BalancedBagging, BalancedBaggingConfig, LogisticRegression, ModelExt, ReasonConfig,
    ReasonGroup, ReasonText, Trainer,
};
use riskcycle::monitor::{LabelCounts, Metric};
use riskcycle::ndarray::Array2;
use riskcycle::registry::{Artifact, Evidence, EvidenceKind, ModelRegistry};
use riskcycle::retrain::{RetrainConfig, RetrainDecision, RetrainEvent, RetrainStage};
use riskcycle::serve::{
    Deployment, InputPolicy, InputRule, Lineup, MissingPolicy, Request, SlotConfig,
};
use riskcycle::testing::handbook::{self, START, Transaction};
use riskcycle::train::TrainingRun;
use riskcycle::{
    EntityKey, Error, FeatureSchema, ModelRef, Result, Seed, Signature, Timestamp, days,
};

const SLOT: &str = "cards";

/// A miss costs as much as ten alerts; there are no amounts.
const COSTS: Costs = Costs {
    alert: 1.0,
    false_positive: 0.0,
    missed: 10.0,
    missed_share_of_amount: 0.0,
    passed: 0.0,
    passed_share_of_amount: 0.0,
};

fn transaction(i: u64) -> Transaction {
    Transaction {
        id: i,
        at: START.plus(Duration::from_secs(600 * i)),
        customer: (i % 50) as u32,
        terminal: (i % 70) as u32,
        cents: (i % 997) as i64,
        fraud: i.is_multiple_of(11),
    }
}

/// Rows whose label hangs on their first value, or for `misled` on another one.
fn rows(schema: &FeatureSchema, n: usize, misled: bool) -> Dataset {
    let value = |row: usize, column: usize| {
        (Seed((row * 100 + column) as u64).derive("value", 0).0 % 1000) as f64 / 100.0
    };
    let features = Array2::from_shape_fn((n, schema.n_features()), |(i, j)| value(i, j));
    let bad = (0..n).map(|i| value(i, usize::from(misled)) > 8.0).collect();
    Dataset::new(schema.clone(), features, bad).unwrap()
}

fn reasons(schema: &FeatureSchema) -> ReasonConfig {
    let group = |name: &String| ReasonGroup {
        reason: ReasonText { code: name.clone(), text: format!("about {name}") },
        missing: None,
        features: vec![name.clone()],
    };
    ReasonConfig::new(schema.names().iter().map(group).collect())
}

struct World {
    lifecycle: Lifecycle<Transaction>,
    registry: Arc<ModelRegistry>,
    schema: FeatureSchema,
    champion: Artifact,
}

/// A champion that was trained on the wrong labels, with reasons, costs and two bands.
fn world(shadow: Duration) -> World {
    let plan = handbook::features().bind(&handbook::events()).unwrap();
    let schema = plan.schema().clone();
    let data = rows(&schema, 2000, true);
    let run = TrainingRun::fit(&LogisticRegression::default(), &data, None, Seed(1)).unwrap();
    let scores = run.model.score_dataset(&data).unwrap();
    let mut champion =
        Artifact::new("m", "anna", START, DecisionBands::new(0.2, 0.9).unwrap(), run);
    champion.costs = Some(COSTS);
    champion.reasons = Some(reasons(&schema));
    let registry = Arc::new(ModelRegistry::in_memory());
    let version = registry.register(&champion, START).unwrap();
    let evidence = Evidence::new(EvidenceKind::Evaluation, b"report", 100);
    registry.ship(&version, SLOT, evidence, Signature::new("bert", "first", START)).unwrap();

    let rule = AlertRule {
        window: days(1),
        ..AlertRule::new("always", Metric::Predictions, Comparison::Above, 0.0)
    };
    let alerts = AlertEngine::new(AlertConfig::default(), vec![rule], Vec::new()).unwrap();
    let parts = Parts { alerts, ..Parts::in_memory(plan, registry.clone()) };
    let reference = ReferenceProfile::new(&data, &scores, &ProfileConfig::default()).unwrap();
    let mut config = LifecycleConfig::new(SLOT, "customer");
    config.retrain = RetrainConfig { shadow, label_delay: days(1), ..RetrainConfig::default() };
    config.gate.min_bad = 5;
    config.gate.max_review_growth = 1.0;
    config.gate.max_psi = f64::MAX;
    config.gate.costs = COSTS;
    let strict = InputRule { missing: MissingPolicy::Reject, ..InputRule::default() };
    let last = schema.names()[14].clone();
    config.serving = SlotConfig {
        inputs: InputPolicy { features: [(last, strict)].into(), ..InputPolicy::default() },
        ..SlotConfig::default()
    };
    let lifecycle = Lifecycle::new(config, parts, &[], reference).unwrap();
    World { lifecycle, registry, schema, champion }
}

impl World {
    /// Scores and labels transactions, and ticks at the end.
    fn live(&self, transactions: std::ops::Range<u64>) -> Timestamp {
        let mut row = [0.0; 15];
        for i in transactions.clone() {
            self.lifecycle.score(&transaction(i), &mut row).unwrap();
        }
        let now = transaction(transactions.end).at;
        for i in transactions {
            self.lifecycle.label(&transaction(i), transaction(i).fraud, now);
        }
        self.lifecycle.tick(now);
        now
    }

    fn retrain(&self, trainer: &dyn Trainer, now: Timestamp) -> Result<RetrainOutcome> {
        let many = LabelCounts { labels: 10_000, bad: 1000, ..LabelCounts::default() };
        let plan = match self.lifecycle.plan_retrain(now, |_| many) {
            RetrainDecision::Plan(plan) => plan,
            wait => panic!("{wait:?}"),
        };
        let (train, gate) = (rows(&self.schema, 3000, false), rows(&self.schema, 1500, false));
        self.lifecycle.retrain(&plan, trainer, &train, &gate, "bert", Seed(1))
    }
}

fn share_declined(
    model: &dyn riskcycle::model::Model,
    bands: DecisionBands,
    data: &Dataset,
) -> f64 {
    let scores = model.score_dataset(data).unwrap();
    let declined = scores.iter().filter(|score| **score >= bands.decline()).count();
    declined as f64 / scores.len() as f64
}

#[test]
fn a_challenger_takes_over_what_people_decided_about_the_champion() {
    let world = world(Duration::ZERO);
    let fallback = Deployment::new(
        ModelRef { name: "spare".into(), version: 1 },
        world.champion.model.clone(),
        DecisionBands::APPROVE_ALL,
    );
    let service = world.lifecycle.service();
    let lineup = Lineup { fallback: Some(fallback), ..service.lineup(SLOT).unwrap() };
    service.deploy(SLOT, lineup).unwrap();

    let now = world.live(0..200);
    let outcome = world.retrain(&LogisticRegression::default(), now).unwrap();
    assert!(outcome.verdict.promote, "{}", outcome.verdict);
    assert_eq!(world.registry.champion(SLOT), Some(outcome.challenger.clone()));

    let after = world.registry.load(&outcome.challenger).unwrap();
    let before = &world.champion;
    assert_eq!((&after.reasons, after.costs), (&before.reasons, before.costs));
    assert_eq!(after.parent, Some(outcome.champion));
    // As many declined as before, on rows that neither was trained on, but for the row of a tie.
    let gate = rows(&world.schema, 1500, false);
    let was = share_declined(before.model.as_ref(), before.bands, &gate);
    let is = share_declined(after.model.as_ref(), after.bands, &gate);
    assert!(was > 0.001 && (is - was).abs() <= 1.5 / 1500.0, "{was} {is}");
    assert!(after.bands.review() < after.bands.decline());

    let live = service.lineup(SLOT).unwrap();
    assert_eq!(live.arms[0].bands, after.bands);
    assert!(live.arms[0].reasons.is_some() && live.fallback.is_some() && live.shadows.is_empty());
    let mut row = [1.0; 15];
    row[14] = f64::NAN;
    let request = Request::new(1, now, EntityKey(1), &row);
    let refused = service.predict(SLOT, &request).unwrap_err();
    assert!(matches!(refused, Error::InvalidInput { .. }), "{refused}");
}

#[test]
fn a_challenger_that_cannot_give_the_champions_reasons_is_given_up_and_the_trail_says_why() {
    let world = world(Duration::ZERO);
    let now = world.live(0..200);
    let config = BalancedBaggingConfig { bags: 2, ..BalancedBaggingConfig::default() };
    let bagging = BalancedBagging::new(Arc::new(LogisticRegression::default()), config).unwrap();
    let champion = world.registry.champion(SLOT);
    let error = world.retrain(&bagging, now).unwrap_err().to_string();
    assert!(error.contains("averaged has no explainer"), "{error}");
    assert_eq!(world.registry.champion(SLOT), champion);
    assert_eq!(world.lifecycle.retrain_loop().stage(), RetrainStage::Watching);
    let trail = world.lifecycle.retrain_loop().trail();
    match &trail.last().unwrap().event {
        RetrainEvent::Failed { reason } => assert_eq!(*reason, error),
        other => panic!("{other}"),
    }
}

#[test]
fn a_challenger_in_shadow_is_a_shadow_of_the_service() {
    let world = world(days(2));
    let now = world.live(0..200);
    let outcome = world.retrain(&LogisticRegression::default(), now).unwrap();
    let service = world.lifecycle.service();
    let lineup = service.lineup(SLOT).unwrap();
    assert_eq!(lineup.arms[0].version, outcome.champion);
    assert_eq!(lineup.shadows[0].version, outcome.challenger);

    world.live(200..400);
    let of_slot = &service.stats().slots[SLOT];
    assert_eq!(of_slot[&outcome.challenger].shadowed, 200);
    assert_eq!(of_slot[&outcome.champion].shadowed, 0);
    assert_eq!(service.health()[0].shadows_waiting, 0);
    assert_eq!(world.lifecycle.end_shadow(now.plus(days(1))).unwrap(), None, "too early");
    let verdict = world.lifecycle.end_shadow(now.plus(days(4))).unwrap().unwrap();
    // The model itself scores the same rows the same way; so many fell within its two days.
    assert_eq!(verdict.n_rows, 200);
    assert!(service.lineup(SLOT).unwrap().shadows.is_empty());
    let champion = if verdict.promote { outcome.challenger } else { outcome.champion };
    assert_eq!(world.registry.champion(SLOT), Some(champion));
}
