//! The contracts of what is kept, on the defaults in memory.

use riskcycle::feature::OnlineConfig;
use riskcycle::monitor::InMemoryPredictionLog;
use riskcycle::testing::{online_features, prediction_log};

#[test]
fn the_prediction_log_in_memory_keeps_its_contract() {
    prediction_log::all(|config| InMemoryPredictionLog::new(config).unwrap());
}

#[test]
fn live_features_in_memory_keep_their_contract() {
    online_features::all(|plan| {
        let online = plan.online(OnlineConfig::default()).unwrap();
        move |event, out| online.observe(event, out).unwrap()
    });
}
