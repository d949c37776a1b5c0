//! Card payments; from one day on the amounts arrive in another currency.

use std::path::PathBuf;

use riskcycle::alert::{AlertRule, Comparison};
use riskcycle::drift::{AnyDetector, Baseline, EDetector, EDetectorConfig};
use riskcycle::lifecycle::LifecycleConfig;
use riskcycle::monitor::Metric;
use riskcycle::monitoring::{StreamKind, WatchedStream};
use riskcycle::retrain::RetrainConfig;
use riskcycle::testing::World;
use riskcycle::testing::handbook::{self, START, Transaction};
use riskcycle::{Result, Seed, days};

use crate::scenario::Scenario;

/// Days from the start of the data: windows reach back 37 of them.
const TRAIN: u64 = 37;
const LIVE: u64 = 51;
const CHANGE: u64 = 65;
const END: u64 = 140;

/// One unit of the new currency is worth three of the old.
const RATE: i64 = 3;

pub(crate) fn scenario(data: Option<PathBuf>) -> Result<Scenario<Transaction>> {
    let world = World { customers: 1250, terminals: 2500, days: END as u32, ..World::default() };
    let mut events = match &data {
        Some(path) => handbook::read(path, |_| {})?,
        None => world.transactions(Seed(11))?,
    };
    let day = |n: u64| START.plus(days(n));
    events.retain(|event| event.at < day(END));
    for event in events.iter_mut().filter(|event| event.at >= day(CHANGE)) {
        event.cents /= RATE;
    }
    let rule = |id: &str, metric: Metric, threshold: f64| AlertRule {
        window: days(1),
        min_samples: 500,
        // A detector speaks once; what it said stands for a while beside other evidence.
        keep_firing_for: days(21),
        ..AlertRule::new(id, metric, Comparison::Above, threshold)
    };
    let mut config = LifecycleConfig::new("cards", "customer");
    config.amount = Some("amount".into());
    config.retrain = RetrainConfig {
        evidence: ["amount-drift", "score-drift", "misses"].map(String::from).to_vec(),
        min_evidence: 2,
        cool_down: days(7),
        budget: 6,
        shadow: days(5),
        ..RetrainConfig::default()
    };
    Ok(Scenario {
        name: "cards",
        what_changes: "amounts arrive in another currency, three to one",
        schema: handbook::events(),
        set: handbook::features(),
        unit: "customer",
        amount: "amount",
        train: day(TRAIN)..day(TRAIN + 7),
        live: day(LIVE)..day(END),
        change: day(CHANGE),
        rules: vec![
            rule("amount-drift", Metric::psi("amount"), 0.1),
            rule("score-drift", Metric::psi("score"), 0.1),
            AlertRule { min_samples: 1, ..rule("misses", Metric::detector("misses"), 0.5) },
        ],
        config,
        // Frauds that the champion misses, against those that it missed in the week after its training; one false alarm in a
        // million rows, and no bets on fewer than 30 of them.
        streams: |n, missed| {
            let baseline = Baseline::Rate { n, positives: missed.max(30) };
            let config = EDetectorConfig { run_length: 1e6, ..EDetectorConfig::new(baseline) };
            let detector = EDetector::new(config)?;
            let (name, detector) = ("misses".to_owned(), AnyDetector::EDetector(detector));
            Ok(vec![WatchedStream { name, of: StreamKind::Missed, detector }])
        },
        events,
    })
}
