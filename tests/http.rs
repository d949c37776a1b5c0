//! The routes of a model service, asked without a network: what they answer, what they refuse, and that their document says so.
#![cfg(feature = "http")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use axum::Router;
use axum::body::{Body, Bytes};
use axum::http::{Method, Request, StatusCode};
use proptest::prelude::*;
use riskcycle::backend::http::{self, Feedback, HttpConfig, HttpObserver, HttpSlot};
use riskcycle::experiment::{
    AnalysisPlan, Experiment, ExperimentConfig, ExperimentRecorder, Metric, Mode, RecorderConfig,
    RoutingConfig,
};
use riskcycle::model::Model;
use riskcycle::monitor::{
    InMemoryPredictionLog, LabelJoin, Monitor, MonitorConfig, PredictionLog, Traffic,
};
use riskcycle::serve::{
    DecisionBands, Deployment, InputPolicy, InputRule, Lineup, ModelService, Prediction,
    SlotConfig, ValuePolicy,
};
use riskcycle::{
    Categories, Error, FeatureKind, FeatureSchema, ManualClock, ModelRef, Result, Signature,
    Timestamp,
};
use serde_json::{Value, json};
use tower::ServiceExt;

const NOW: Timestamp = Timestamp::from_date(2024, 6, 1);

/// Scores `amount / 100`. Waits at the gate where a row's amount is 77.
#[derive(Debug)]
struct Hundredth {
    schema: FeatureSchema,
    gate: Arc<Gate>,
}

#[derive(Debug, Default)]
struct Gate {
    open: Mutex<bool>,
    moved: Condvar,
}

impl Gate {
    fn open(&self) {
        *self.open.lock().unwrap() = true;
        self.moved.notify_all();
    }

    fn pass(&self) {
        drop(self.moved.wait_while(self.open.lock().unwrap(), |open| !*open).unwrap());
    }
}

impl Model for Hundredth {
    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
        for (row, score) in rows.chunks(self.schema.n_features()).zip(scores) {
            if row[0] == 77.0 {
                self.gate.pass();
            }
            *score = row[0] / 100.0;
        }
        Ok(())
    }

    fn kind(&self) -> &str {
        "hundredth"
    }

    fn to_bytes(&self) -> Vec<u8> {
        Vec::new()
    }
}

/// A monitor that keeps feedback, and fails at one id.
#[derive(Debug)]
struct Desk {
    monitor: Monitor,
    said: Mutex<Vec<Feedback>>,
    keeps: bool,
}

impl HttpObserver for Desk {
    fn answered(&self, prediction: &Prediction, row: &[f64], latency: Duration) -> Result<()> {
        if prediction.id == 500 {
            return Err(Error::Empty { what: "/secret/place".into() });
        }
        self.monitor.answered(prediction, row, latency)
    }

    fn labelled(&self, id: u64, bad: bool, reported: Timestamp) -> Result<LabelJoin> {
        self.monitor.labelled(id, bad, reported)
    }

    fn commented(&self, feedback: &Feedback) -> Result<()> {
        if !self.keeps {
            return self.monitor.commented(feedback);
        }
        self.said.lock().unwrap().push(feedback.clone());
        Ok(())
    }

    fn traffic(&self) -> &Traffic {
        self.monitor.traffic()
    }
}

struct App {
    routes: Router,
    service: Arc<ModelService>,
    desk: Arc<Desk>,
    log: Arc<InMemoryPredictionLog>,
    recorder: Arc<ExperimentRecorder>,
    gate: Arc<Gate>,
}

fn schema() -> FeatureSchema {
    let channels = FeatureKind::Categorical(Categories::new(["web", "app", "shop"]).unwrap());
    FeatureSchema::with_kinds([
        ("amount", FeatureKind::Numeric),
        ("night", FeatureKind::Boolean),
        ("channel", channels),
    ])
    .unwrap()
}

fn experiment() -> Experiment {
    let version = |version| ModelRef { name: "m".into(), version };
    let by = |reason| Signature::new("anna", reason, NOW);
    let config = ExperimentConfig {
        name: "two versions".into(),
        arms: vec![version(1), version(2)],
        routing: RoutingConfig::new("http-1", &[500_000, 500_000]),
        mode: Mode::AbTest,
        plan: AnalysisPlan::new(Metric::Precision, 100, 1000),
    };
    let experiment = Experiment::new(config, by("a plan")).unwrap();
    experiment.start(by("go")).unwrap();
    experiment
}

fn app_with(config: HttpConfig, keeps: bool) -> App {
    let (gate, schema) = (Arc::new(Gate::default()), schema());
    let deployment = |version| {
        let model = Hundredth { schema: schema.clone(), gate: gate.clone() };
        let version = ModelRef { name: "m".into(), version };
        Deployment::new(version, Arc::new(model), DecisionBands::new(0.5, 0.9).unwrap())
    };
    let rule = InputRule {
        range: Some((0.0, 1000.0)),
        out_of_range: ValuePolicy::Reject,
        ..InputRule::default()
    };
    let inputs = InputPolicy {
        features: BTreeMap::from([("amount".to_owned(), rule)]),
        ..InputPolicy::default()
    };
    let clock = Arc::new(ManualClock::new(NOW));
    let service = Arc::new(ModelService::new(clock.clone()));
    let lineup =
        Lineup { arms: vec![deployment(1), deployment(2)], fallback: None, shadows: Vec::new() };
    service
        .open("cards", schema.clone(), SlotConfig { inputs, ..SlotConfig::default() }, lineup)
        .unwrap();
    let experiment = experiment();
    let recorder =
        Arc::new(ExperimentRecorder::new(&experiment, RecorderConfig::default()).unwrap());
    let log = Arc::new(InMemoryPredictionLog::default());
    let monitor = Monitor::new(MonitorConfig::default()).unwrap();
    let desk = Arc::new(Desk { monitor, said: Mutex::default(), keeps });
    let slot = HttpSlot {
        router: experiment.router(),
        recorder: Some(recorder.clone()),
        log: Some(log.clone()),
        observer: desk.clone(),
    };
    let slots = BTreeMap::from([("cards".to_owned(), slot)]);
    let routes = http::router(service.clone(), slots, clock, config).unwrap();
    App { routes, service, desk, log, recorder, gate }
}

fn app() -> App {
    app_with(HttpConfig::default(), true)
}

struct Reply {
    status: StatusCode,
    media: String,
    body: Bytes,
}

impl Reply {
    fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }
}

async fn send(routes: &Router, request: Request<Body>) -> Reply {
    let response = routes.clone().oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    let media = parts.headers.get("content-type").map_or("", |media| media.to_str().unwrap());
    let media = media.to_owned();
    let body = axum::body::to_bytes(body, usize::MAX).await.unwrap();
    Reply { status: parts.status, media, body }
}

fn posted(path: &str, body: impl Into<Body>) -> Request<Body> {
    let request = Request::post(path).header("content-type", "application/json");
    request.body(body.into()).unwrap()
}

async fn post(routes: &Router, path: &str, body: Value) -> Reply {
    send(routes, posted(path, body.to_string())).await
}

async fn get(routes: &Router, path: &str) -> Reply {
    send(routes, Request::get(path).body(Body::empty()).unwrap()).await
}

fn features(amount: f64) -> Value {
    json!({ "amount": amount, "night": false, "channel": "web" })
}

#[tokio::test]
async fn a_row_is_answered_logged_counted_and_part_of_the_experiment() {
    let app = app();
    let request = json!({ "id": 7, "unit": "anna", "amount": 9500, "features": features(95.0) });
    let reply = post(&app.routes, "/predict/cards", request).await;
    assert_eq!((reply.status, &*reply.media), (StatusCode::OK, "application/json"));
    let answer = reply.json();
    assert_eq!((&answer["score"], &answer["decision"]), (&json!(0.95), &json!("decline")));
    assert_eq!((&answer["id"], &answer["model"]), (&json!(7), &json!("m")));
    assert_eq!(answer["version"], json!(answer["arm"].as_u64().unwrap() + 1));
    assert!(answer["exposure"].is_string());
    let version = answer["version"].as_u64().unwrap() as u32;
    let logged = app.log.recent(&ModelRef { name: "m".into(), version }, 9).unwrap();
    assert_eq!((logged.len(), logged[0].prediction.at), (1, NOW));
    assert_eq!(app.recorder.statistics().n_units(), 1);
    // The order of features and fields is the caller's, and null is a missing value.
    let turned = r#"{"features":{"channel":null,"night":1,"amount":1e1},"reasons":false,"id":8}"#;
    let answer = send(&app.routes, posted("/predict/cards", turned)).await.json();
    assert_eq!((&answer["score"], &answer["inputs"]["missing"]), (&json!(0.1), &json!(1)));
}

#[tokio::test]
async fn whatever_is_wrong_with_a_row_is_named_all_of_it_at_once() {
    let app = app();
    let wrong = r#"{"at":"noon","extra":1,"features":{"amount":"9","amount":9,"chanel":"web","channel":3}}"#;
    let reply = send(&app.routes, posted("/predict/cards", wrong)).await;
    assert_eq!(
        (reply.status, &*reply.code()),
        (StatusCode::UNPROCESSABLE_ENTITY, "invalid_request")
    );
    let fields = reply.json()["error"]["fields"].as_array().unwrap().clone();
    let told: Vec<(&str, &str)> = fields
        .iter()
        .map(|of| (of["field"].as_str().unwrap(), of["problem"].as_str().unwrap()))
        .collect();
    assert_eq!(
        told,
        [
            ("at", "wrong_type"),
            ("extra", "unknown"),
            ("features.amount", "wrong_type"),
            ("features.amount", "duplicate"),
            ("features.chanel", "unknown"),
            ("features.channel", "wrong_type"),
            ("features.night", "missing"),
            ("id", "missing"),
        ]
    );
    assert_eq!(fields[5]["expected"], "the name of a category, or null for a missing value");
    assert_eq!(app.log.recent(&ModelRef { name: "m".into(), version: 1 }, 9).unwrap().len(), 0);
}

#[tokio::test]
async fn a_category_that_is_not_known_is_a_matter_of_the_slots_policy() {
    let app = app();
    let request = json!({ "id": 1, "features": { "amount": 1, "night": true, "channel": "tv" } });
    let answer = post(&app.routes, "/predict/cards", request).await.json();
    assert_eq!(answer["inputs"]["out_of_range"], 1);
    let request = json!({ "id": 1, "features": features(1001.0) });
    let reply = post(&app.routes, "/predict/cards", request).await;
    assert_eq!(reply.code(), "rejected_value");
    assert!(reply.json()["error"]["message"].as_str().unwrap().contains("amount is 1001"));
}

#[tokio::test]
async fn moments_far_from_now_are_refused() {
    let app = app();
    for at in [i64::MIN, 0, NOW.micros() + 3_600_000_000, i64::MAX] {
        let request = json!({ "id": 1, "at": at, "features": features(1.0) });
        let error = post(&app.routes, "/predict/cards", request).await.json();
        assert_eq!(error["error"]["fields"][0]["field"], "at", "{at}");
        let request = json!({ "labels": [{ "id": 1, "bad": true, "at": at }] });
        let error = post(&app.routes, "/labels/cards", request).await.json();
        assert_eq!(error["error"]["fields"][0]["field"], "labels[0].at", "{at}");
    }
}

#[tokio::test]
async fn a_batch_answers_each_row_as_it_would_be_alone_and_errors_stay_in_their_place() {
    let app = app();
    let amounts = [10.0, 2000.0, 95.0];
    let mut rows: Vec<Value> = (1..)
        .zip(amounts)
        .map(|(id, amount)| json!({ "id": id, "features": features(amount) }))
        .collect();
    rows.push(json!({ "id": 4, "features": { "amount": 1 } }));
    rows.push(json!({ "id": 5, "at": 0, "features": features(1.0) }));
    rows.push(json!({ "id": 6, "features": features(60.0) }));
    let reply = post(&app.routes, "/predict/cards/batch", json!({ "rows": rows })).await;
    assert_eq!(reply.status, StatusCode::OK);
    let answers = reply.json()["answers"].as_array().unwrap().clone();
    let codes: Vec<&str> =
        answers.iter().map(|of| of["error"]["code"].as_str().unwrap_or("")).collect();
    assert_eq!(codes, ["", "rejected_value", "", "invalid_request", "invalid_request", ""]);
    assert!(answers.iter().zip(1..).all(|(answer, id)| answer["id"] == id));
    for (row, answer) in rows.iter().zip(&answers).filter(|(_, of)| of["error"].is_null()) {
        let alone = post(&app.routes, "/predict/cards", row.clone()).await.json();
        let of = |answer: &Value, name: &str| answer[name].clone();
        for name in ["id", "version", "score", "decision", "arm", "inputs", "exposure"] {
            assert_eq!(of(&alone, name), of(answer, name));
        }
    }
    let small = app_with(HttpConfig { batch_rows: 5, ..HttpConfig::default() }, true);
    let reply = post(&small.routes, "/predict/cards/batch", json!({ "rows": rows })).await;
    assert_eq!(reply.json()["error"]["fields"][0]["field"], "rows");
    let none = post(&app.routes, "/predict/cards/batch", json!({ "rows": [] })).await.json();
    assert_eq!(none, json!({ "answers": [] }));
}

#[tokio::test]
async fn labels_join_their_predictions_and_their_experiment_or_none_is_taken() {
    let app = app();
    let mut exposures = Vec::new();
    for id in 1..=2 {
        let request = json!({ "id": id, "features": features(95.0) });
        let answer = post(&app.routes, "/predict/cards", request).await.json();
        exposures.push(answer["exposure"].clone());
    }
    let label = |id: u64, exposure: &Value| json!({ "id": id, "bad": true, "exposure": exposure });
    // One token that belongs to another request, and nothing is counted.
    let wrong = json!({ "labels": [label(1, &exposures[0]), label(2, &exposures[0])] });
    let reply = post(&app.routes, "/labels/cards", wrong).await;
    assert_eq!(reply.json()["error"]["fields"][0]["field"], "labels[1].exposure");
    let labels = json!({ "labels": [
        label(1, &exposures[0]), label(2, &exposures[1]), label(9, &Value::Null), label(1, &exposures[0]),
    ] });
    let taken = post(&app.routes, "/labels/cards", labels).await.json();
    assert_eq!(taken, json!({ "joined": 2, "unknown": [9, 1], "recorded": 3 }));
}

#[tokio::test]
async fn feedback_reaches_the_observer_as_it_was_given() {
    let app = app();
    let said = json!({ "id": 3, "by": "anna", "decision": "approve", "note": "knows the shop" });
    let reply = post(&app.routes, "/feedback/cards", said).await;
    assert_eq!(reply.json(), json!({ "kept": true }));
    let said = app.desk.said.lock().unwrap();
    assert_eq!((said[0].id, said[0].at, &*said[0].note), (3, NOW, "knows the shop"));
}

#[tokio::test]
async fn metrics_tell_of_every_answer_and_of_the_slot() {
    let app = app();
    for id in 0..3 {
        post(&app.routes, "/predict/cards", json!({ "id": id, "features": features(95.0) })).await;
    }
    let reply = get(&app.routes, "/metrics").await;
    assert_eq!(reply.media, "text/plain; version=0.0.4");
    let text = String::from_utf8(reply.body.to_vec()).unwrap();
    let sum: u64 = text
        .lines()
        .filter(|line| line.starts_with("riskcycle_predictions_total{slot=\"cards\""))
        .map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, 3);
    assert!(text.contains("riskcycle_slot_generation{slot=\"cards\"} 1"));
}

#[tokio::test]
async fn nested_routes_answer_below_their_prefix_and_leave_the_rest_to_the_host() {
    let host = Router::new().nest("/risk", app().routes);
    assert_eq!(get(&host, "/risk/health/cards").await.status, StatusCode::OK);
    assert_eq!(get(&host, "/risk/nothing").await.code(), "unknown_route");
    let elsewhere = get(&host, "/elsewhere").await;
    assert_eq!((elsewhere.status, elsewhere.body.len()), (StatusCode::NOT_FOUND, 0));
}

#[tokio::test]
async fn what_is_deployed_meanwhile_answers_and_what_is_not_open_is_not_served() {
    let app = app();
    let mut lineup = app.service.lineup("cards").unwrap();
    lineup.arms.iter_mut().for_each(|arm| arm.version.version += 10);
    app.service.deploy("cards", lineup).unwrap();
    let models = get(&app.routes, "/models").await.json();
    assert_eq!(models["models"][0]["arms"][1], json!({ "name": "m", "version": 12 }));
    let clock = Arc::new(ManualClock::new(NOW));
    let slots = |name: &str| BTreeMap::from([(name.to_owned(), HttpSlot::default())]);
    let router =
        |name: &str, config| http::router(app.service.clone(), slots(name), clock.clone(), config);
    assert!(router("loans", HttpConfig::default()).unwrap_err().is_not_found());
    let none = HttpConfig { batch_rows: 0, ..HttpConfig::default() };
    assert!(matches!(router("cards", none), Err(Error::InvalidConfig { .. })));
}

/// A body that says that it has begun and never goes on.
fn endless() -> Body {
    struct Never;
    impl axum::body::HttpBody for Never {
        type Data = Bytes;
        type Error = std::convert::Infallible;

        fn poll_frame(
            self: std::pin::Pin<&mut Self>,
            _: &mut std::task::Context<'_>,
        ) -> std::task::Poll<Option<std::result::Result<http_body::Frame<Bytes>, Self::Error>>>
        {
            std::task::Poll::Pending
        }
    }
    Body::new(Never)
}

/// On one thread only: whatever blocked it would block the test.
#[tokio::test]
async fn rows_are_answered_while_batches_are_stuck_and_too_many_batches_are_turned_away() {
    let config = HttpConfig {
        workers: 1,
        queue: 1,
        work_timeout: Duration::from_millis(50),
        ..HttpConfig::default()
    };
    let app = app_with(config, true);
    let batch = json!({ "rows": [{ "id": 1, "features": features(77.0) }] });
    let send_batch = || {
        let (routes, batch) = (app.routes.clone(), batch.clone());
        tokio::spawn(async move { post(&routes, "/predict/cards/batch", batch).await })
    };
    // One works, or would if the gate were open; one waits; the third finds no room.
    let (working, waiting) = (send_batch(), send_batch());
    tokio::task::yield_now().await;
    let turned_away = send_batch().await.unwrap();
    assert_eq!((turned_away.status, &*turned_away.code()), (StatusCode::TOO_MANY_REQUESTS, "busy"));
    let alone =
        post(&app.routes, "/predict/cards", json!({ "id": 2, "features": features(95.0) })).await;
    assert_eq!(alone.status, StatusCode::OK);
    for late in [working.await.unwrap(), waiting.await.unwrap()] {
        assert_eq!((late.status, &*late.code()), (StatusCode::SERVICE_UNAVAILABLE, "timed_out"));
    }
    app.gate.open();
    // The place is free again once the work that nobody waits for is done; until then this one may have to wait as well.
    while post(&app.routes, "/predict/cards/batch", batch.clone()).await.status != StatusCode::OK {}
}

/// A validator for a schema of the document.
fn validator(document: &Value, schema: &Value) -> jsonschema::Validator {
    let mut root = schema.clone();
    root["components"] = document["components"].clone();
    jsonschema::draft202012::new(&root).unwrap()
}

/// Checks that a reply is one that the document announces for this path and method.
fn check(document: &Value, path: &str, method: &str, reply: &Reply) {
    let status = reply.status.as_str();
    let announced = &document["paths"][path][method]["responses"][status];
    assert!(announced.is_object(), "{method} {path} gave {status}: {:?}", reply.body);
    let content = &announced["content"][&reply.media];
    assert!(content.is_object(), "{method} {path} gave {}", reply.media);
    if reply.media == "application/json" {
        let found = validator(document, &content["schema"]);
        let errors: Vec<String> = found.iter_errors(&reply.json()).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{method} {path}: {errors:?}: {:?}", reply.body);
        let meaning = announced["description"].as_str().unwrap();
        assert!(reply.status == StatusCode::OK || meaning.contains(&format!("`{}`", reply.code())));
    }
}

#[tokio::test]
async fn the_document_has_every_route_and_every_error_and_all_replies_are_as_it_says() {
    let app = app();
    let document = get(&app.routes, "/openapi.json").await.json();
    assert_eq!(document["openapi"], "3.1.0");
    let meta: Value = json!({ "$ref": "#/components/schemas/PredictRequest" });
    let request = json!({ "id": 1, "features": features(95.0) });
    assert!(validator(&document, &meta).is_valid(&request));
    assert!(!validator(&document, &meta).is_valid(&json!({ "id": 1, "features": {} })));

    // One good request per route; a route that the document has and this table lacks fails, and so does the reverse.
    let bodies = BTreeMap::from([
        ("/predict/{model}", Some(request.clone())),
        ("/predict/{model}/batch", Some(json!({ "rows": [request, { "id": 2, "features": {} }] }))),
        (
            "/labels/{model}",
            Some(json!({ "labels": [{ "id": 1, "bad": true }, { "id": 9, "bad": false }] })),
        ),
        ("/feedback/{model}", Some(json!({ "id": 1, "by": "anna", "decision": "approve" }))),
        ("/health/{model}", None),
        ("/models", None),
        ("/metrics", None),
        ("/openapi.json", None),
    ]);
    let paths: BTreeSet<&str> =
        document["paths"].as_object().unwrap().keys().map(String::as_str).collect();
    assert_eq!(paths, bodies.keys().copied().collect());
    for (path, body) in &bodies {
        let at = path.replace("{model}", "cards");
        let (method, reply) = match body {
            Some(body) => ("post", post(&app.routes, &at, body.clone()).await),
            None => ("get", get(&app.routes, &at).await),
        };
        assert_eq!(reply.status, StatusCode::OK, "{path}: {:?}", reply.body);
        check(&document, path, method, &reply);
    }

    // Every code there is, each as the document has it.
    let small = app_with(
        HttpConfig {
            row_bytes: 200,
            batch_rows: 1,
            body_timeout: Duration::from_millis(1),
            workers: 1,
            queue: 0,
            work_timeout: Duration::from_millis(50),
            ..HttpConfig::default()
        },
        false,
    );
    let predict = "/predict/{model}";
    let stuck = json!({ "rows": [{ "id": 1, "features": features(77.0) }] });
    let late = tokio::spawn({
        let (routes, stuck) = (small.routes.clone(), stuck.clone());
        async move { post(&routes, "/predict/cards/batch", stuck).await }
    });
    tokio::task::yield_now().await;
    let of_batch = "/predict/{model}/batch";
    let mut seen = vec![
        (of_batch, "post", post(&small.routes, "/predict/cards/batch", stuck).await),
        (of_batch, "post", late.await.unwrap()),
    ];
    small.gate.open();
    let to = |body: &str| posted("/predict/cards", body.to_owned());
    let requests = [
        (predict, "post", to("{")),
        (predict, "post", to("[]")),
        (predict, "post", to(&json!({ "id": 1, "features": features(2000.0) }).to_string())),
        (predict, "post", posted("/predict/loans", "{}")),
        (predict, "post", posted("/predict/%ff", "{}")),
        (predict, "post", Request::post("/predict/").body(Body::empty()).unwrap()),
        (predict, "post", Request::get("/predict/cards").body(Body::empty()).unwrap()),
        (predict, "post", posted("/predict/cards", endless())),
        (predict, "post", to(&" ".repeat(201))),
        (predict, "post", Request::post("/predict/cards").body("{}".into()).unwrap()),
        (predict, "post", to(&json!({ "id": 500, "features": features(1.0) }).to_string())),
    ];
    for (path, method, request) in requests {
        seen.push((path, method, send(&small.routes, request).await));
    }
    // The worker is free once the batch that nobody waits for is done.
    let feedback = json!({ "id": 1, "by": "anna", "decision": "approve" });
    let refused = loop {
        let reply = post(&small.routes, "/feedback/cards", feedback.clone()).await;
        if reply.code() != "busy" {
            break reply;
        }
    };
    seen.push(("/feedback/{model}", "post", refused));
    let mut codes = BTreeSet::new();
    for (path, method, reply) in &seen {
        check(&document, path, method, reply);
        codes.insert(reply.code());
    }
    let known = &document["components"]["schemas"]["Refusal"]["properties"]["code"]["enum"];
    let known = known.as_array().unwrap().iter().map(|code| code.as_str().unwrap().to_owned());
    assert_eq!(codes, known.collect());
    // What failed inside stays inside.
    let internal = seen.iter().find(|(.., reply)| reply.code() == "internal").unwrap();
    assert!(!String::from_utf8_lossy(&internal.2.body).contains("secret"));
}

/// JSON of any shape, often with names that mean something.
fn any_json() -> impl Strategy<Value = Value> {
    let name = prop_oneof![
        3 => prop::sample::select(vec!["id", "at", "unit", "amount", "reasons", "features", "night",
            "channel", "rows", "labels", "bad", "exposure", "by", "decision"]).prop_map(String::from),
        1 => any::<String>(),
    ];
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<u64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        any::<String>().prop_map(Value::from),
    ];
    leaf.prop_recursive(4, 32, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 300, ..ProptestConfig::default() })]

    #[test]
    fn no_body_makes_the_routes_fail(body in any_json(), bytes in prop::collection::vec(any::<u8>(), 0..60)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let app = app();
        let document = runtime.block_on(get(&app.routes, "/openapi.json")).json();
        for path in ["/predict/{model}", "/predict/{model}/batch", "/labels/{model}", "/feedback/{model}"] {
            for body in [body.to_string().into_bytes(), bytes.clone()] {
                let request = posted(&path.replace("{model}", "cards"), body);
                let reply = runtime.block_on(send(&app.routes, request));
                prop_assert!(reply.status.as_u16() < 500, "{} {:?}", reply.status, reply.body);
                check(&document, path, "post", &reply);
            }
        }
    }
}

#[tokio::test]
async fn other_methods_are_refused_on_every_route() {
    let routes = app().routes;
    let document = get(&routes, "/openapi.json").await.json();
    for (path, operations) in document["paths"].as_object().unwrap() {
        let at = path.replace("{model}", "cards");
        for method in [Method::GET, Method::POST, Method::PUT, Method::DELETE, Method::PATCH] {
            let known = operations.get(method.as_str().to_lowercase()).is_some();
            let request = Request::builder().method(method).uri(&at).body(Body::empty()).unwrap();
            let reply = send(&routes, request).await;
            assert_eq!(reply.status == StatusCode::METHOD_NOT_ALLOWED, !known, "{path}");
        }
    }
}
