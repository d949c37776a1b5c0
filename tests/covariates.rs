//! What was known of units before an experiment reaches its recorder through the lifecycle.
#![cfg(feature = "linfa")]

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use riskcycle::dataset::Dataset;
use riskcycle::drift::{ProfileConfig, ReferenceProfile};
use riskcycle::evaluate::DecisionBands;
use riskcycle::experiment::{
    AnalysisPlan, Experiment, ExperimentConfig, ExperimentRecorder, Metric, Mode, RecorderConfig,
    RoutingConfig,
};
use riskcycle::lifecycle::{Lifecycle, LifecycleConfig, Parts};
use riskcycle::model::{LogisticRegression, ModelExt};
use riskcycle::ndarray::Array2;
use riskcycle::registry::{Artifact, Evidence, EvidenceKind, ModelRegistry};
use riskcycle::testing::handbook::{self, START, Transaction};
use riskcycle::train::TrainingRun;
use riskcycle::{EntityKey, Seed, Signature, days};

const CUSTOMERS: u32 = 400;

/// Customers with an odd number lose 20 times what the others do, before the experiment and during it.
fn habit(customer: u32) -> i64 {
    if customer % 2 == 1 { 100_000 } else { 5000 }
}

#[test]
fn covariates_of_units_take_their_part_out_of_the_difference() {
    let plan = handbook::features().bind(&handbook::events()).unwrap();
    let matrix = Array2::from_shape_fn((100, 15), |(row, column)| ((row * 7 + column) % 13) as f64);
    let labels = (0..100).map(|row| row % 9 == 0).collect();
    let data = Dataset::new(plan.schema().clone(), matrix, labels).unwrap();
    let run = TrainingRun::fit(&LogisticRegression::default(), &data, None, Seed(1)).unwrap();
    let scores = run.model.score_dataset(&data).unwrap();
    let reference = ReferenceProfile::new(&data, &scores, &ProfileConfig::default()).unwrap();
    let registry = Arc::new(ModelRegistry::in_memory());
    let versions = ["one", "two"].map(|name| {
        let bands = DecisionBands::review_from(1.0).unwrap(); // nothing is stopped
        registry.register(&Artifact::new(name, "anna", START, bands, run.clone()), START).unwrap()
    });
    let evidence = Evidence::new(EvidenceKind::Evaluation, b"report", 100);
    let sign = Signature::new("bert", "test", START);
    registry.ship(&versions[0], "cards", evidence, sign).unwrap();
    let arms = versions.map(|version| version.model);
    let experiment = Experiment::new(
        ExperimentConfig {
            name: "half".into(),
            arms: arms.to_vec(),
            routing: RoutingConfig::new("half", &[500_000, 500_000]),
            mode: Mode::AbTest,
            plan: AnalysisPlan {
                cuped: true,
                maturity: days(1),
                ..AnalysisPlan::new(Metric::Cost, 100, 2000)
            },
        },
        sign,
    )
    .unwrap();
    experiment.start(sign).unwrap();
    let recorder = ExperimentRecorder::new(&experiment, RecorderConfig::default()).unwrap();
    let recorder = Arc::new(recorder);
    let covariates = (0..CUSTOMERS).map(|c| (EntityKey(u64::from(c)), habit(c) as i32));
    let parts = Parts {
        router: experiment.router(),
        recorder: Some(recorder.clone()),
        covariates: covariates.collect::<HashMap<_, _>>(),
        ..Parts::in_memory(plan, registry)
    };
    let config = LifecycleConfig {
        amount: Some("amount".into()),
        ..LifecycleConfig::new("cards", "customer")
    };
    let lifecycle = Lifecycle::new(config, parts, &arms[1..], reference).unwrap();

    let mut row = [0.0; 15];
    for i in 0..2000u32 {
        let customer = i % CUSTOMERS;
        let event = Transaction {
            id: u64::from(i),
            at: START.plus(Duration::from_secs(60 * u64::from(i))),
            customer,
            terminal: i % 70,
            cents: habit(customer) + i64::from(i % 997),
            fraud: i % 3 == 0,
        };
        let token = lifecycle.score(&event, &mut row).unwrap().exposure.unwrap();
        assert_eq!(i64::from(token.covariate()), habit(customer));
        lifecycle.label_exposed(&event, event.fraud, &token, event.at.plus(days(1)));
    }
    let report = experiment.report(&recorder.statistics(), START.plus(days(30)));
    let removed = report.comparisons[0].primary.variance_removed.expect("a covariate");
    // Half of the spread of an amount is who spends; a third of the rows, drawn without regard to it, costs anything.
    assert!(removed > 0.05, "{removed}");
}
