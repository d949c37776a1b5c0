//! The score path does not allocate once it is warm.
#![cfg(feature = "linfa")]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::sync::Arc;
use std::time::Duration;

use riskcycle::dataset::Dataset;
use riskcycle::drift::{ProfileConfig, ReferenceProfile};
use riskcycle::evaluate::DecisionBands;
use riskcycle::experiment::{
    AnalysisPlan, Experiment, ExperimentConfig, ExperimentRecorder, Metric, Mode, RecorderConfig,
    RoutingConfig,
};
use riskcycle::feature::OnlineConfig;
use riskcycle::lifecycle::{Lap, Lifecycle, LifecycleConfig, Parts};
use riskcycle::model::{GradientBoosting, LogisticRegression, ModelExt, Trainer};
use riskcycle::ndarray::Array2;
use riskcycle::registry::{Artifact, Evidence, EvidenceKind, ModelRegistry};
use riskcycle::serve::{
    Deployment, InputPolicy, InputRule, Lineup, MissingPolicy, ModelService, Request, SlotConfig,
};
use riskcycle::testing::World;
use riskcycle::testing::handbook::{self, START, Transaction};
use riskcycle::train::TrainingRun;
use riskcycle::{EntityKey, FeatureSchema, ModelRef, Seed, Signature, Timestamp, days};

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
        let bands = DecisionBands::review_from(0.3).unwrap();
        let artifact = Artifact::new(name, "anna", START, bands, run.clone());
        registry.register(&artifact, START).unwrap()
    });
    let evidence = Evidence::new(EvidenceKind::Evaluation, b"report", 100);
    registry.ship(&two[0], "cards", evidence, Signature::new("bert", "first", START)).unwrap();
    let two = two.map(|version| version.model);
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
    let recorder = ExperimentRecorder::new(&experiment, RecorderConfig::default()).unwrap();
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
                // The first requests of a day open its buckets, once they are counted.
                if i >= warm && i % per_day >= 200 {
                    by_lap[lap] += allocations() - before;
                    counted += 1;
                }
                before = allocations();
            })
            .unwrap();
    }
    assert_eq!(counted, 4 * (per_day - 200));
    assert_eq!(by_lap, [0; 4], "allocations in features, route, predict, record");
    assert!(allocations() > 1000, "the counter counts");
}

#[test]
fn serving_and_explaining_allocate_nothing_once_a_thread_has_done_both() {
    let schema = FeatureSchema::new(["a", "b", "c"]).unwrap();
    let value = |row: usize, column: usize| ((row * 7 + column * 5) % 13) as f64;
    let features = Array2::from_shape_fn((400, 3), |(row, column)| value(row, column));
    let labels = (0..400).map(|row| value(row, 0) + value(row, 1) > 15.0).collect();
    let data = Dataset::new(schema.clone(), features, labels).unwrap();
    let model = GradientBoosting::default().fit(&data, Seed(1)).unwrap().model;
    let deployment = |version| {
        let version = ModelRef { name: "m".into(), version };
        Deployment::new(version, model.clone(), DecisionBands::new(0.3, 0.8).unwrap())
    };
    let lineup = Lineup {
        arms: vec![deployment(1)],
        fallback: Some(deployment(2)),
        shadows: vec![deployment(3)],
    };
    let rule = InputRule { missing: MissingPolicy::Default(1.0), ..InputRule::default() };
    let inputs = InputPolicy { default: rule, ..InputPolicy::default() };
    let config = SlotConfig { inputs, shadow_queue: 64, ..SlotConfig::default() };
    let service = ModelService::default();
    service.open("cards", schema.clone(), config, lineup).unwrap();
    let turned = schema.select(&[2, 0, 1]).unwrap();
    let mut predictor = service.predictor("cards").unwrap().with_layout(&turned).unwrap();
    let explainer = model.explainer().unwrap();
    let mut contributions = [0.0; 3];
    let mut counted = 0;
    for i in 0..2000 {
        let before = allocations();
        let row = [value(i, 0), if i % 5 == 0 { f64::NAN } else { 2.0 }, f64::INFINITY];
        let request = Request::new(i as u64, Timestamp::default(), EntityKey(1), &row);
        let answers =
            [predictor.predict(&request).unwrap(), service.predict("cards", &request).unwrap()];
        assert!(answers.iter().all(|answer| answer.score.is_some()));
        explainer.explain(&row, &mut contributions).unwrap();
        if i >= 100 {
            counted += allocations() - before;
        }
    }
    assert_eq!(counted, 0);
}

/// Features of a stream as the handbook's: what is counted is its second half, but for keys that are new or were idle.
#[test]
fn known_keys_allocate_nothing_after_warm_up() {
    let world = World { customers: 200, terminals: 300, days: 160, ..World::default() };
    let events = world.transactions(Seed(7)).unwrap();
    let online =
        handbook::features().bind(&handbook::events()).unwrap().online(OnlineConfig::default());
    let (online, mut row) = (online.unwrap(), [0.0; 15]);
    let (mut day, mut n_keys, mut counted, mut grown) = (START, 0, 0, 0);
    for (i, event) in events.iter().enumerate() {
        if day.plus(days(1)) <= event.at {
            online.maintain(event.at);
            (day, n_keys) = (event.at, online.n_keys());
        }
        let before = allocations();
        online.observe(event, &mut row).unwrap();
        let allocated = allocations() - before;
        if allocated == 0 {
            continue;
        }
        let known = n_keys == online.n_keys();
        n_keys = online.n_keys();
        if known && i >= events.len() / 2 {
            counted += allocated;
        } else {
            grown += allocated;
        }
    }
    assert_eq!(counted, 0);
    assert!(grown > 1000, "the counter counts, and {grown} is the warm-up's");
}

#[test]
fn a_burst_moves_into_room_kept_in_hand() {
    let online = handbook::features().bind(&handbook::events()).unwrap();
    let online = online.online(OnlineConfig::default()).unwrap();
    let mut row = [0.0; 15];
    // Bursts within minutes, 40 days apart, each twice the one before.
    let mut id = 0;
    for burst in 0..6 {
        let before = allocations();
        for i in 0..10 << burst {
            let at = START.plus(Duration::from_secs(burst * 40 * 86_400 + 30 * i));
            online.observe(&Transaction { id, at, ..transaction(0) }, &mut row).unwrap();
            id += 1;
        }
        assert_eq!(burst == 0, allocations() > before, "burst {burst}");
        online.maintain(START.plus(Duration::from_secs(burst * 40 * 86_400 + 86_400)));
    }
}

#[cfg(feature = "http")]
#[test]
fn a_request_over_http_allocates_no_more_for_more_features() {
    use axum::body::{Body, Bytes};
    use axum::http::{Request, StatusCode};
    use riskcycle::ManualClock;
    use riskcycle::backend::http::{HttpConfig, HttpSlot, router};
    use riskcycle::model::LogisticModel;
    use tower::ServiceExt;

    let of = |n: usize| {
        let names: Vec<String> = (0..n).map(|i| format!("feature {i}")).collect();
        let schema = FeatureSchema::new(names.clone()).unwrap();
        let (weights, scales) = (vec![0.01; n], vec![1.0; n]);
        let model = LogisticModel::new(schema.clone(), 0.0, weights, vec![0.0; n], scales).unwrap();
        let version = ModelRef { name: "m".into(), version: 1 };
        let champion =
            Deployment::new(version, Arc::new(model), DecisionBands::new(0.5, 0.9).unwrap());
        let clock = Arc::new(ManualClock::new(START));
        let service = ModelService::new(clock.clone());
        service.open("m", schema, SlotConfig::default(), Lineup::new(champion)).unwrap();
        let slots = [("m".to_owned(), HttpSlot::default())].into();
        let routes = router(Arc::new(service), slots, clock, HttpConfig::default()).unwrap();
        let features = names.iter().enumerate().map(|(i, name)| format!("{name:?}:{}.5", i % 3));
        let features = features.collect::<Vec<_>>().join(",");
        let body = Bytes::from(format!(r#"{{"id":1,"features":{{{features}}}}}"#));
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let ask = || {
            let request = Request::post("/predict/m").header("content-type", "application/json");
            let request = request.body(Body::from(body.clone())).unwrap();
            let response = runtime.block_on(routes.clone().oneshot(request)).unwrap();
            assert_eq!(response.status(), StatusCode::OK);
        };
        (0..5).for_each(|_| ask());
        let before = allocations();
        (0..100).for_each(|_| ask());
        allocations() - before
    };
    assert_eq!(of(4), of(400));
}
