//! Assignment to one of two arms, 80 to 20, by riskcycle, growthbook-rust and unleash-yggdrasil.
//!
//! ```text
//! cargo bench -p riskcycle-peers --bench routing
//! ```
//! Each gets the same text key of 21 bytes and is called the way its documentation does, in process and without a network.
//! The peers' answers carry a value or a name; ours is an arm's number.

use std::collections::HashMap;
use std::hint::black_box;
use std::time::Instant;

use growthbook_rust::dto::GrowthBookResponse;
use growthbook_rust::growthbook::GrowthBook;
use growthbook_rust::model_public::{GrowthBookAttribute, GrowthBookAttributeValue};
use riskcycle::experiment::{HashRouter, Router};
use riskcycle::stats::LatencyHistogram;
use riskcycle::{EntityKey, Timestamp};
use serde_json::json;
use unleash_types::client_features::{ClientFeatures, Context};
use unleash_yggdrasil::EngineState;

fn main() {
    let keys: Vec<String> = (0..1024).map(|i| format!("customer-{i:012}")).collect();
    println!(
        "nanoseconds per assignment, by batches of 100    p50        p99   second arm's share"
    );

    let router = HashRouter::new("card-fraud", &[800_000, 200_000]).expect("sound shares");
    let now = Timestamp::from_date(2026, 1, 5);
    measure("riskcycle, number as key", 1_000_000, |i| {
        router.route(black_box(EntityKey(i as u64)), i as u64, now).arm == 1
    });
    measure("riskcycle, text key", 1_000_000, |i| {
        let unit = EntityKey::from(black_box(keys[i % 1024].as_str()));
        router.route(unit, i as u64, now).arm == 1
    });

    let rule = json!({
        "key": "card-fraud",
        "hashAttribute": "id",
        "hashVersion": 2,
        "seed": "card-fraud",
        "variations": ["champion", "challenger"],
        "weights": [0.8, 0.2],
        "coverage": 1.0,
    });
    let features = json!({"features": {"model": {"defaultValue": "champion", "rules": [rule]}}});
    let response: GrowthBookResponse =
        serde_json::from_value(features).expect("a feature as their format has it");
    let growthbook = GrowthBook {
        forced_variations: None,
        features: response.features.unwrap_or_default(),
        attributes: None,
        sticky_bucket_service: None,
        saved_groups: HashMap::new(),
    };
    let attributes: Vec<Option<Vec<GrowthBookAttribute>>> = (keys.iter())
        .map(|key| {
            let value = GrowthBookAttributeValue::String(key.clone());
            Some(vec![GrowthBookAttribute::new("id".into(), value)])
        })
        .collect();
    measure("growthbook-rust, core check", 100_000, |i| {
        let result = growthbook.check(black_box("model"), &attributes[i % 1024]);
        result.value == "challenger"
    });

    let features: ClientFeatures = serde_json::from_value(json!({
        "version": 2,
        "features": [{
            "name": "model",
            "enabled": true,
            "strategies": [{"name": "default"}],
            "variants": [
                {"name": "champion", "weight": 800, "stickiness": "userId"},
                {"name": "challenger", "weight": 200, "stickiness": "userId"},
            ],
        }],
    }))
    .expect("a feature as their format has it");
    let engine = EngineState::initial_state(Default::default());
    engine.apply_client_features(features);
    let contexts: Vec<Context> = (keys.iter())
        .map(|key| Context {
            user_id: Some(key.clone()),
            session_id: None,
            environment: None,
            app_name: None,
            current_time: None,
            remote_address: None,
            properties: None,
        })
        .collect();
    measure("unleash-yggdrasil, get_variant", 100_000, |i| {
        engine.get_variant(black_box("model"), &contexts[i % 1024], &None).name == "challenger"
    });
}

fn measure(name: &str, calls: usize, mut call: impl FnMut(usize) -> bool) {
    const BATCH: usize = 100;
    let (mut histogram, mut second) = (LatencyHistogram::default(), 0usize);
    for batch in 0..calls / BATCH {
        let start = Instant::now();
        second += (batch * BATCH..(batch + 1) * BATCH).filter(|i| call(*i)).count();
        // In tenths of a nanosecond.
        histogram.record(start.elapsed().as_nanos() as u64 * 10 / BATCH as u64);
    }
    let tenths = |q: f64| histogram.quantile(q).unwrap_or(0) as f64 / 10.0;
    let share = second as f64 / calls as f64;
    println!("{name:<44} {:>8.1} {:>10.1}   {share:.3}", tenths(0.5), tenths(0.99));
}
