//! Elec2: does the price of electricity in New South Wales rise against its mean of the last day?

use std::path::{Path, PathBuf};
use std::time::Duration;

use riskcycle::alert::{AlertRule, Comparison};
use riskcycle::evaluate::Costs;
use riskcycle::event::{CsvSource, EventSchema};
use riskcycle::feature::FeatureSet;
use riskcycle::lifecycle::LifecycleConfig;
use riskcycle::monitor::Metric;
use riskcycle::retrain::{GateConfig, RetrainConfig};
use riskcycle::{EntityKey, Result, Timestamp, days};

use crate::scenario::Scenario;

const COLUMNS: [&str; 6] = ["period", "nswprice", "nswdemand", "vicprice", "vicdemand", "transfer"];
const START: Timestamp = Timestamp::from_date(1996, 5, 7);
/// The day on which the Victorian columns begin to move: row 17,424, 48 rows a day.
const CHANGE: u64 = 363;
/// Days of the data that this walks through.
const DAYS: u64 = 500;

/// Half an hour of the market.
#[derive(Debug, Clone)]
pub(crate) struct HalfHour {
    number: u64,
    values: [f64; 6],
    up: bool,
}

impl HalfHour {
    fn at(&self) -> Timestamp {
        START.plus(Duration::from_secs(1800 * self.number))
    }
}

pub(crate) fn shipped() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/elec2.csv.gz")
}

fn read(path: &Path) -> Result<Vec<HalfHour>> {
    let mut source = CsvSource::open(path, &[&COLUMNS[..], &["class"]].concat())?;
    let mut events = Vec::new();
    while let Some(row) = source.next_row()? {
        let mut values = [0.0; 6];
        for (column, value) in values.iter_mut().enumerate() {
            *value = row.f64(column)?;
        }
        events.push(HalfHour { number: events.len() as u64, values, up: row.flag(6)? });
    }
    events.truncate((48 * DAYS) as usize);
    Ok(events)
}

pub(crate) fn scenario(path: &Path) -> Result<Scenario<HalfHour>> {
    let day = |n: u64| START.plus(days(n));
    let mut schema = EventSchema::builder()
        .id(|half: &HalfHour| half.number)
        .time(HalfHour::at)
        // Half-hours of one day stand or fall together.
        .entity("day", |half| EntityKey(half.number / 48))
        .money("stake", 0, |_| 1)
        .label("up", |half| Some(half.up));
    let mut set = FeatureSet::builder("elec2");
    for (i, name) in COLUMNS.into_iter().enumerate() {
        schema = schema.number(name, move |half: &HalfHour| half.values[i]);
        set = set.field(name);
    }
    let rule = |column: &str| AlertRule {
        window: days(1),
        min_samples: 40,
        ..AlertRule::new(&format!("{column}-drift"), Metric::psi(column), Comparison::Above, 0.25)
    };
    let rules: Vec<AlertRule> = ["vicprice", "vicdemand", "transfer"].map(rule).to_vec();
    let mut config = LifecycleConfig::new("market", "day");
    config.monitoring.monitor.label_delay = days(1);
    config.retrain = RetrainConfig {
        evidence: rules.iter().map(|rule| rule.id.clone()).collect(),
        min_evidence: 2,
        train: days(28),
        gate: days(14),
        label_delay: days(1),
        cool_down: days(14),
        budget: 8,
        shadow: days(7),
        min_labels: 500,
        ..RetrainConfig::default()
    };
    // A wrong call costs one either way; the market is restless, and scores never keep still for long.
    let costs = Costs {
        alert: 0.0,
        false_positive: 1.0,
        missed: 1.0,
        missed_share_of_amount: 0.0,
        ..Costs::default()
    };
    let gate = GateConfig {
        costs,
        max_review_growth: 0.5,
        max_recall_loss: 0.5,
        max_psi: 5.0,
        ..GateConfig::default()
    };
    config.gate = gate;
    Ok(Scenario {
        name: "electricity",
        what_changes: "Victoria joins the market, three columns begin to move",
        schema: schema.build()?,
        set: set.build()?,
        unit: "day",
        amount: "stake",
        train: day(CHANGE - 98)..day(CHANGE - 42),
        live: day(CHANGE - 42)..day(DAYS),
        change: day(CHANGE),
        rules,
        config,
        streams: |_, _| Ok(Vec::new()),
        events: read(path)?,
    })
}
