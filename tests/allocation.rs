//! The score path does not allocate once histories have reached their size.
#![cfg(feature = "linfa")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use riskcycle::dataset::Dataset;
use riskcycle::drift::{ProfileConfig, ReferenceProfile};
use riskcycle::experiment::{
    AnalysisPlan, Experiment, ExperimentConfig, ExperimentRecorder, Metric, Mode, RecorderConfig,
    RoutingConfig,
};
use riskcycle::lifecycle::{Lap, Lifecycle, LifecycleConfig, Parts};
use riskcycle::model::{LogisticRegression, ModelExt};
use riskcycle::ndarray::Array2;
use riskcycle::registry::{Artifact, ModelRegistry};
use riskcycle::testing::handbook::{self, START, Transaction};
use riskcycle::train::TrainingRun;
use riskcycle::{FeatureSchema, Seed, Signature};

struct Counting;

thread_local! {
    static ALLOCATIONS: Cell<u64> = const { Cell::new(0) };
}

// The allocator's own trait is unsafe; every call goes straight to the system's.
#[allow(unsafe_code)]
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.with(|count| count.set(count.get() + 1));
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn allocations() -> u64 {
    ALLOCATIONS.with(Cell::get)
}

/// One transaction a minute, customers and terminals in turn.
fn transaction(i: u64) -> Transaction {
    Transaction {
        id: i,
        at: START.plus(Duration::from_secs(60 * i)),
        customer: (i % 50) as u32,
        terminal: (i % 70) as u32,
        cents: (i % 997) as i64,
        fraud: i.is_multiple_of(101),
    }
}

fn lifecycle() -> Lifecycle<Transaction> {
    let plan = handbook::features().bind(&handbook::events()).unwrap();
    let schema: &FeatureSchema = plan.schema();
    let features =
        Array2::from_shape_fn((100, 15), |(row, column)| ((row * 7 + column) % 13) as f64);
    let labels = (0..100).map(|row| row % 9 == 0).collect();
    let data = Dataset::new(schema.clone(), features, labels).unwrap();
    let run = TrainingRun::fit(&LogisticRegression::default(), &data, None, Seed(1)).unwrap();
    let scores = run.model.score_dataset(&data).unwrap();
    let registry = Arc::new(ModelRegistry::in_memory());
    let two = ["one", "two"].map(|name| {
        let artifact = Artifact::new(name, "anna", START, 0.3, run.clone());
        registry.register(&artifact, START).unwrap().model
    });
    registry.promote("cards", &two[0], "bert", "first", START).unwrap();
    let experiment = ExperimentConfig {
        name: "half".into(),
        arms: two.to_vec(),
        routing: RoutingConfig::new("half", &[500_000, 500_000]),
        mode: Mode::AbTest,
        plan: AnalysisPlan::new(Metric::UnitBadRate, 1000, 100_000),
    };
    let sign = Signature::new("bert", "test", START);
    let experiment = Experiment::new(experiment, sign).unwrap();
    experiment.start(sign).unwrap();
    let recorder = ExperimentRecorder::new(&experiment, RecorderConfig::default(), 1).unwrap();
    let (router, recorder) = (experiment.router(), Some(Arc::new(recorder)));
    let parts = Parts { router, recorder, ..Parts::in_memory(plan, registry) };
    let reference = ReferenceProfile::new(&data, &scores, &ProfileConfig::default()).unwrap();
    let config = LifecycleConfig::new("cards", "customer");
    Lifecycle::new(config, parts, &two[1..], reference).unwrap()
}

#[test]
fn scoring_allocates_nothing_once_histories_have_reached_their_size() {
    let lifecycle = lifecycle();
    let mut row = [0.0; 15];
    let per_day = 24 * 60;
    // The widest window reaches 37 days back, and a history moves to its front after as long again.
    let warm = 90 * per_day;
    let mut counted = 0;
    let mut by_lap = [0u64; 4];
    for i in 0..warm + per_day {
        if i >= 7 * per_day {
            let known = transaction(i - 7 * per_day);
            lifecycle.label(&known, known.fraud, transaction(i).at);
        }
        let event = transaction(i);
        if i % per_day == 0 {
            lifecycle.tick(event.at);
        }
        let mut before = allocations();
        lifecycle
            .score_with_laps(&event, &mut row, |lap| {
                let lap = match lap {
                    Lap::Feature => 0,
                    Lap::Route => 1,
                    Lap::Predict => 2,
                    Lap::Record => 3,
                };
                // The first requests of a day open its buckets.
                if i >= warm && i % per_day >= 100 {
                    by_lap[lap] += allocations() - before;
                    counted += 1;
                }
                before = allocations();
            })
            .unwrap();
    }
    assert_eq!(counted, 4 * (per_day - 100));
    assert_eq!(by_lap, [0; 4], "allocations in features, route, predict, record");
    assert!(allocations() > 1000, "the counter counts");
}
