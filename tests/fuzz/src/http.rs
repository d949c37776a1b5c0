//! The routes of a service over HTTP, asked without a network.

use std::collections::BTreeMap;
use std::sync::{Arc, LazyLock};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::http::{Request, StatusCode};
use riskcycle::backend::http::{self, HttpConfig, HttpSlot};
use riskcycle::experiment::{ExperimentRecorder, RecorderConfig};
use riskcycle::model::LogisticModel;
use riskcycle::serve::{DecisionBands, Deployment, Lineup, ModelService, SlotConfig};
use riskcycle::{ManualClock, ModelRef, Timestamp};
use serde_json::{Value, json};
use tokio::runtime::{Builder, Runtime};
use tower::ServiceExt;

use super::ways::{self, EXPERIMENT};

const NOW: Timestamp = Timestamp::from_date(2026, 1, 10);
const ROUTES: [&str; 4] =
    ["/predict/cards", "/predict/cards/batch", "/labels/cards", "/feedback/cards"];

static SERVED: LazyLock<(Runtime, Router)> = LazyLock::new(|| {
    let runtime = Builder::new_current_thread().enable_time().build().unwrap();
    let version = |version| ModelRef { name: "m".into(), version };
    let model = LogisticModel::new(ways::schema(), 0.0, vec![1.0; 3], vec![0.0; 3], vec![1.0; 3]);
    let model = Arc::new(model.unwrap());
    let bands = DecisionBands::new(0.5, 0.9).unwrap();
    let arm = |number| Deployment::new(version(number), model.clone(), bands);
    let lineup = Lineup { arms: vec![arm(1), arm(2)], fallback: None, shadows: Vec::new() };
    let clock = Arc::new(ManualClock::new(NOW));
    let service = Arc::new(ModelService::new(clock.clone()));
    service.open("cards", ways::schema(), SlotConfig::default(), lineup).unwrap();
    let config = RecorderConfig { requests: 64, units: 64, days: 40 };
    let slot = HttpSlot {
        router: EXPERIMENT.router(),
        recorder: Some(Arc::new(ExperimentRecorder::new(&EXPERIMENT, config).unwrap())),
        ..HttpSlot::default()
    };
    let slots = BTreeMap::from([("cards".to_owned(), slot)]);
    let routes = http::router(service, slots, clock, HttpConfig::default());
    (runtime, routes.unwrap())
});

/// The body of a request behind a byte for its route.
pub fn request(bytes: &[u8]) {
    let Some((route, body)) = bytes.split_first() else { return };
    let (status, reply) = ask(ROUTES[usize::from(*route) % ROUTES.len()], body);
    assert_ne!(status, StatusCode::INTERNAL_SERVER_ERROR, "{reply}");
    assert!(status.is_success() || reply["error"]["code"].is_string(), "{status}: {reply}");
}

/// Bodies that are answered.
pub fn seeds() -> Vec<Vec<u8>> {
    let features = json!({ "amount": -12.5, "night": true, "housing": "own" });
    let row = json!({ "id": 7, "at": NOW.micros(), "unit": "anna", "amount": 9500,
        "reasons": true, "features": features });
    let answer = ask(ROUTES[0], row.to_string().as_bytes()).1;
    let other = json!({ "features": { "amount": null, "night": 0, "housing": "x" }, "id": 8 });
    let label = json!({ "id": 7, "bad": true, "at": null, "exposure": answer["exposure"] });
    let feedback = json!({ "id": 7, "by": "anna", "decision": "approve", "note": "known" });
    let bodies = [
        (0, row.clone()),
        (0, other.clone()),
        (1, json!({ "rows": [row, other] })),
        (2, json!({ "labels": [label, { "id": 9, "bad": false }] })),
        (3, feedback),
    ];
    let behind = |(route, body): (u8, Value)| [&[route], body.to_string().as_bytes()].concat();
    bodies.into_iter().map(behind).collect()
}

fn ask(path: &str, body: &[u8]) -> (StatusCode, Value) {
    let (runtime, routes) = &*SERVED;
    let request = Request::post(path).header("content-type", "application/json");
    let request = request.body(Body::from(body.to_vec())).unwrap();
    runtime.block_on(async {
        let response = routes.clone().oneshot(request).await.unwrap();
        let (parts, body) = response.into_parts();
        let body = to_bytes(body, usize::MAX).await.unwrap();
        (parts.status, serde_json::from_slice(&body).expect("every answer is JSON"))
    })
}
