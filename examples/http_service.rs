//! A fraud model behind HTTP: trains on a seeded world, then answers until ctrl-c.
//!
//! ```text
//! cargo run --release --example http_service --features http                        # on 127.0.0.1:8080
//! cargo run --release --example http_service --features http -- 127.0.0.1:9000      # elsewhere
//! cargo run --release --example http_service --features http -- 127.0.0.1:9000 forest.json    # a forest of scikit-learn
//!
//! curl -s localhost:8080/models
//! curl -s localhost:8080/predict/card-fraud -H 'content-type: application/json' -d '{"id": 1, "features": {...}}'
//! curl -s localhost:8080/labels/card-fraud -H 'content-type: application/json' -d '{"labels": [{"id": 1, "bad": true}]}'
//! curl -s localhost:8080/metrics
//! ```
//!
//! It prints them with the features filled in. The description of all routes is at `/openapi.json`.

use std::collections::BTreeMap;
use std::error::Error;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use riskcycle::backend::http::{self, Feedback, HttpConfig, HttpObserver, HttpSlot};
use riskcycle::dataset::{Dataset, TimeSplit};
use riskcycle::evaluate::{Costs, DecisionBands, EvaluationReport};
use riskcycle::model::{
    GradientBoosting, GradientBoostingConfig, Model, ModelExt, ReasonCodes, ReasonConfig,
    ReasonGroup, ReasonText, Trainer, TreeEnsemble,
};
use riskcycle::monitor::{LabelJoin, Monitor, MonitorConfig, Traffic};
use riskcycle::serve::{Deployment, Lineup, ModelService, Prediction, SlotConfig};
use riskcycle::testing::World;
use riskcycle::testing::handbook::{self, START};
use riskcycle::{Clock, FeatureSchema, ModelRef, Result, Seed, SystemClock, Timestamp, days};

const SEED: Seed = Seed(20_180_401);
const SLOT: &str = "card-fraud";

fn main() -> ExitCode {
    let mut args = std::env::args().skip(1);
    let address = args.next().unwrap_or_else(|| "127.0.0.1:8080".to_owned());
    match run(&address, args.next().as_deref()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

#[tokio::main]
async fn run(address: &str, forest: Option<&str>) -> std::result::Result<(), Box<dyn Error>> {
    let (champion, row) = match forest {
        Some(path) => imported(path)?,
        None => trained()?,
    };
    let schema = champion.model.schema().clone();
    let service = Arc::new(ModelService::default());
    service.open(SLOT, schema.clone(), SlotConfig::default(), Lineup::new(champion))?;
    let desk = Arc::new(Desk::new()?);
    let slot = HttpSlot { observer: desk.clone(), ..HttpSlot::default() };
    let slots = BTreeMap::from([(SLOT.to_owned(), slot)]);
    let routes = http::router(service, slots, Arc::new(SystemClock), HttpConfig::default())?;
    // A host nests them beside its own, behind its own layers: `host.nest("/risk", routes)`.
    let listener = tokio::net::TcpListener::bind(address).await?;
    print_usage(&listener.local_addr()?.to_string(), &schema, &row);
    let ticking = tokio::spawn(async move {
        let mut second = tokio::time::interval(Duration::from_secs(1));
        loop {
            second.tick().await;
            let desk = desk.clone();
            // Files what has come since, which is no work for the thread that reads requests.
            let _ = tokio::task::spawn_blocking(move || desk.tick()).await;
        }
    });
    let stop = async {
        // Without the signal there is nothing to stop for.
        if tokio::signal::ctrl_c().await.is_err() {
            std::future::pending::<()>().await;
        }
        println!("\nstopping: answering what has arrived");
    };
    axum::serve(listener, routes).with_graceful_shutdown(stop).await?;
    ticking.abort();
    Ok(())
}

/// The people who look at cases: a monitor, and what they said.
#[derive(Debug)]
struct Desk {
    monitor: Monitor,
    said: Mutex<Vec<Feedback>>,
}

/// Feedback kept; more is refused, so that nobody fills the memory.
const MOST_FEEDBACK: usize = 10_000;

impl Desk {
    fn new() -> Result<Self> {
        Ok(Desk { monitor: Monitor::new(MonitorConfig::default())?, said: Mutex::default() })
    }

    fn tick(&self) {
        for finding in self.monitor.tick(SystemClock.now()) {
            println!("{finding:?}");
        }
    }
}

impl HttpObserver for Desk {
    fn answered(&self, prediction: &Prediction, row: &[f64], latency: Duration) -> Result<()> {
        self.monitor.answered(prediction, row, latency)
    }

    fn labelled(&self, id: u64, bad: bool, reported: Timestamp) -> Result<LabelJoin> {
        self.monitor.labelled(id, bad, reported)
    }

    fn commented(&self, feedback: &Feedback) -> Result<()> {
        let mut said = self.said.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() == MOST_FEEDBACK {
            let (action, reason) = ("take feedback".into(), "the desk is full".into());
            return Err(riskcycle::Error::Refused { action, reason });
        }
        said.push(feedback.clone());
        Ok(())
    }

    fn traffic(&self) -> &Traffic {
        self.monitor.traffic()
    }
}

/// A boosted ensemble on four weeks of the world, its threshold the cheapest, and the riskiest row of a later week.
fn trained() -> Result<(Deployment, Vec<f64>)> {
    println!("training on the seeded world");
    let world = World { customers: 800, terminals: 1600, days: 80, ..World::default() };
    let events = world.transactions(SEED)?;
    let (schema, set) = (handbook::events(), handbook::features());
    let frame = set.bind(&schema)?.compute(&events)?;
    let split =
        TimeSplit { start: START.plus(days(37)), train: days(28), gap: days(7), test: days(7) };
    let rows = split.rows(&schema, &events, "customer")?;
    let dataset =
        |rows: &[usize]| Dataset::from_events(&frame, &schema, &events, rows, "customer", "amount");
    let (train, test) = (dataset(&rows.train)?, dataset(&rows.test)?);
    let trainer = GradientBoosting::new(GradientBoostingConfig::default())?;
    let model = trainer.fit(&train, SEED)?.model;
    let costs = Costs::default();
    let amounts = train.amounts().unwrap_or(&[]);
    let threshold = costs.best_threshold(train.labels(), &model.score_dataset(&train)?, amounts)?;
    let scores = model.score_dataset(&test)?;
    println!("{}", EvaluationReport::new(&test, &scores, threshold, &costs, 100)?);
    let reasons = ReasonCodes::new(&reasons(model.schema()), model.explainer()?)?;
    let riskiest = (0..scores.len()).max_by(|a, b| scores[*a].total_cmp(&scores[*b])).unwrap_or(0);
    let row = test.row(riskiest).to_vec();
    let version = ModelRef { name: SLOT.into(), version: 1 };
    let bands = DecisionBands::review_from(threshold)?;
    Ok((
        Deployment { reasons: Some(Arc::new(reasons)), ..Deployment::new(version, model, bands) },
        row,
    ))
}

/// One reason for the amount, the time, the customer and the terminal each.
fn reasons(schema: &FeatureSchema) -> ReasonConfig {
    let told = [
        ("amount", "A1", "amount of the payment"),
        ("during", "T1", "time of the payment"),
        ("customer", "C1", "recent payments by this card"),
        ("terminal", "P1", "recent fraud at this terminal"),
    ];
    let groups = told.map(|(prefix, code, text)| ReasonGroup {
        reason: ReasonText { code: code.to_owned(), text: text.to_owned() },
        missing: None,
        features: schema.names().iter().filter(|name| name.starts_with(prefix)).cloned().collect(),
    });
    ReasonConfig { groups: groups.into(), never_display: Vec::new(), most: 4 }
}

/// A forest of scikit-learn, as `riskcycle::model::SCIKIT_LEARN_EXPORTER` writes it.
fn imported(path: &str) -> std::result::Result<(Deployment, Vec<f64>), Box<dyn Error>> {
    let model = Arc::new(TreeEnsemble::from_scikit_learn(&std::fs::read(path)?)?);
    let row = vec![0.0; model.schema().n_features()];
    let version = ModelRef { name: "forest".into(), version: 1 };
    Ok((Deployment::new(version, model, DecisionBands::review_from(0.5)?), row))
}

fn print_usage(address: &str, schema: &FeatureSchema, row: &[f64]) {
    let features = schema.names().iter().zip(row);
    let features: serde_json::Map<String, serde_json::Value> =
        features.map(|(name, value)| (name.clone(), (*value).into())).collect();
    let request = serde_json::json!({ "id": 1, "features": features, "reasons": true });
    let json = "-H 'content-type: application/json'";
    println!("\nanswering on http://{address}; stop with ctrl-c\n");
    println!("curl -s {address}/predict/{SLOT} {json} -d '{request}'");
    println!(
        "curl -s {address}/labels/{SLOT} {json} -d '{{\"labels\": [{{\"id\": 1, \"bad\": true}}]}}'"
    );
    println!(
        "curl -s {address}/feedback/{SLOT} {json} -d '{{\"id\": 1, \"by\": \"anna\", \"decision\": \"decline\"}}'"
    );
    for path in ["/health/card-fraud", "/models", "/metrics", "/openapi.json"] {
        println!("curl -s {address}{path}");
    }
}
