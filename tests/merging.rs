//! Processes that counted apart are one process that counted all of it, bit for bit, in whatever order they are put together.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use riskcycle::dataset::Dataset;
use riskcycle::drift::{
    DriftConfig, DriftCounts, DriftReport, DriftWindow, ProfileConfig, ReferenceProfile,
};
use riskcycle::experiment::{
    AnalysisPlan, Experiment, ExperimentConfig, ExperimentStatistics, Metric, Mode, RecorderConfig,
    Router, RoutingConfig,
};
use riskcycle::model::{LogisticModel, ModelExt};
use riskcycle::monitor::{Finding, Monitor, MonitorConfig, MonitorCounts};
use riskcycle::ndarray::Array2;
use riskcycle::serve::{
    DecisionBands, Deployment, Lineup, ModelService, Request, ServiceStats, SlotConfig,
};
use riskcycle::{
    EntityKey, Error, FeatureSchema, ManualClock, ModelRef, Result, Seed, Signature, Timestamp,
    days,
};

const START: Timestamp = Timestamp::from_date(2026, 1, 5);
const SLOT: &str = "cards";
const SEGMENTS: [&str; 2] = ["web", "shop"];

/// What all processes have in common.
struct Fleet {
    experiment: Experiment,
    reference: Arc<ReferenceProfile>,
    monitor: MonitorConfig,
    recorder: RecorderConfig,
}

/// One transaction, and its label.
#[derive(Debug, Clone, Copy)]
struct Event {
    id: u64,
    row: [f64; 2],
    bad: bool,
}

/// Everything that one process counted, as it is handed over.
#[derive(Debug, Clone, PartialEq)]
struct Counted {
    service: Vec<u8>,
    monitor: Vec<u8>,
    drift: Vec<u8>,
    experiment: Vec<u8>,
}

fn schema() -> FeatureSchema {
    FeatureSchema::new(["amount", "age"]).unwrap()
}

impl Fleet {
    fn new() -> Self {
        let by = |reason| Signature::new("anna", reason, START);
        let arms = [1, 2].map(|version| ModelRef { name: "m".into(), version });
        let config = ExperimentConfig {
            name: "two versions".into(),
            arms: arms.into(),
            routing: RoutingConfig { shadow: false, ..RoutingConfig::new("merge", &[500_000; 2]) },
            mode: Mode::AbTest,
            plan: AnalysisPlan::new(Metric::Precision, 100, 1000),
        };
        let experiment = Experiment::new(config, by("a plan")).unwrap();
        experiment.start(by("go")).unwrap();
        let n = 300;
        let cell = |(i, j): (usize, usize)| (i * (7 + 4 * j) % 101) as f64;
        let labels = (0..n).map(|i| i % 9 == 0).collect();
        let data = Dataset::new(schema(), Array2::from_shape_fn((n, 2), cell), labels).unwrap();
        let scores = model(1).score_dataset(&data).unwrap();
        let of_row: Vec<_> = (0..n).map(|i| (i % 3).checked_sub(1)).collect();
        let profile = ProfileConfig::default();
        let reference = ReferenceProfile::segmented(&data, &scores, &profile, &SEGMENTS, &of_row);
        Fleet {
            experiment,
            reference: Arc::new(reference.unwrap()),
            monitor: MonitorConfig {
                bucket: Duration::from_secs(6 * 3600),
                label_delay: days(1),
                ..MonitorConfig::default()
            },
            recorder: RecorderConfig { requests: 1 << 10, units: 1 << 10, days: 40 },
        }
    }

    /// A process that sees these events, and what its monitor tells at the end.
    fn count(&self, events: &[Event]) -> (Counted, Vec<Finding>) {
        let service = ModelService::new(Arc::new(ManualClock::new(START)));
        let deployment = |number| {
            let version = ModelRef { name: "m".into(), version: number };
            let bands = DecisionBands::new(0.3, 0.8).unwrap();
            Deployment::new(version, Arc::new(model(number)), bands)
        };
        let lineup =
            Lineup { arms: vec![deployment(1), deployment(2)], fallback: None, shadows: vec![] };
        let config = SlotConfig { latency_every: 0, ..SlotConfig::default() };
        service.open(SLOT, schema(), config, lineup).unwrap();
        let mut predictor = service.predictor(SLOT).unwrap();
        let monitor = Monitor::new(self.monitor).unwrap();
        let window = DriftWindow::new(self.reference.clone(), DriftConfig::default()).unwrap();
        let mut statistics = ExperimentStatistics::new(&self.experiment, self.recorder).unwrap();
        for event in events {
            let at = event.at();
            monitor.traffic().tick(at);
            let unit = EntityKey(event.id % 17);
            let assignment = self.experiment.router().route(unit, event.id, at);
            let request = Request { assignment, ..Request::new(event.id, at, unit, &event.row) };
            let answer = predictor.predict(&request).unwrap();
            let latency = Duration::from_nanos(500 + event.id * 37 % 9000);
            predictor.record_latency(&answer, latency);
            let segment = (event.id % 3).checked_sub(1).map(|segment| segment as usize);
            let gaps = window.observe_row(&event.row, segment).unwrap();
            window.observe_score(answer.score, segment).unwrap();
            monitor.record(&answer, latency, gaps);
            let token = answer.exposure.unwrap().with_amount(event.id as i64 * 100);
            statistics.expose(&token);
            if event.id % 4 != 0 {
                let reported = at.plus(days(event.id % 5));
                monitor.label(event.id, event.bad, reported);
                window.observe_label(event.bad, segment).unwrap();
                statistics.outcome(&token, event.bad, reported);
            }
        }
        let counted = Counted {
            service: service.stats().to_bytes(),
            monitor: monitor.counts(end()).to_bytes(),
            drift: window.take(START, end()).to_bytes(),
            experiment: statistics.to_bytes(),
        };
        (counted, monitor.tick(end()))
    }

    fn merge(&self, one: &Counted, two: &Counted) -> Counted {
        let mut service = ServiceStats::from_bytes(&one.service).unwrap();
        service.merge(&ServiceStats::from_bytes(&two.service).unwrap()).unwrap();
        let mut monitor = MonitorCounts::from_bytes(&one.monitor).unwrap();
        monitor.merge(&MonitorCounts::from_bytes(&two.monitor).unwrap()).unwrap();
        let mut drift = DriftCounts::from_bytes(&one.drift).unwrap();
        drift.merge(&DriftCounts::from_bytes(&two.drift).unwrap()).unwrap();
        let read = |bytes| {
            ExperimentStatistics::from_bytes(&self.experiment, self.recorder, bytes).unwrap()
        };
        let mut experiment = read(&one.experiment);
        experiment.merge(&read(&two.experiment)).unwrap();
        Counted {
            service: service.to_bytes(),
            monitor: monitor.to_bytes(),
            drift: drift.to_bytes(),
            experiment: experiment.to_bytes(),
        }
    }
}

impl Event {
    /// One every half hour.
    fn at(&self) -> Timestamp {
        START.plus(Duration::from_secs(1800 * self.id))
    }
}

fn end() -> Timestamp {
    START.plus(days(12))
}

fn model(number: u32) -> LogisticModel {
    let weights = vec![0.8, -0.01 * f64::from(number)];
    LogisticModel::new(schema(), -0.5, weights, vec![50.0; 2], vec![30.0; 2]).unwrap()
}

fn events(n: u64, seed: u64) -> Vec<Event> {
    let draw = |id: u64, what: u64| Seed(seed).derive("event", 3 * id + what).0;
    let value = |id, what| match draw(id, what) % 40 {
        0 => f64::NAN,
        1 => f64::INFINITY,
        _ => (draw(id, what) >> 40) as f64 / 150_000.0,
    };
    let event = |id| Event { id, row: [value(id, 0), value(id, 1)], bad: draw(id, 2) % 7 == 0 };
    (0..n).map(event).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn n_processes_in_any_order_and_grouping_are_one(
        seed in any::<u64>(),
        n_events in 1..400u64,
        n_parts in 1..6usize,
        picks in prop::collection::vec(any::<prop::sample::Index>(), 12),
    ) {
        let (fleet, events) = (Fleet::new(), events(n_events, seed));
        let (whole, told) = fleet.count(&events);
        let place = |event: &&Event| Seed(seed).derive("part", event.id).0 as usize % n_parts;
        let mut parts: Vec<Counted> = (0..n_parts)
            .map(|part| events.iter().filter(|e| place(e) == part).copied().collect::<Vec<_>>())
            .map(|events| fleet.count(&events).0)
            .collect();
        let mut picks = picks.into_iter();
        while parts.len() > 1 {
            let mut take = || parts.swap_remove(picks.next().unwrap().index(parts.len()));
            let (one, two) = (take(), take());
            parts.push(fleet.merge(&one, &two));
        }
        prop_assert!(parts[0] == whole, "merged and whole differ");
        // And so is what they say.
        let merged = MonitorCounts::from_bytes(&parts[0].monitor).unwrap();
        prop_assert_eq!(merged.findings(&fleet.monitor, end()).unwrap(), told);
    }
}

#[test]
fn merged_counts_report_what_a_window_would() {
    let (fleet, events) = (Fleet::new(), events(400, 3));
    let (halves, config) = (events.split_at(150), DriftConfig::default());
    let parts = [halves.0, halves.1].map(|events| fleet.count(events).0);
    let mut drift = DriftCounts::from_bytes(&parts[0].drift).unwrap();
    drift.merge(&DriftCounts::from_bytes(&parts[1].drift).unwrap()).unwrap();
    let window = DriftWindow::new(fleet.reference.clone(), config).unwrap();
    for event in &events {
        let segment = (event.id % 3).checked_sub(1).map(|segment| segment as usize);
        window.observe_row(&event.row, segment).unwrap();
    }
    let merged = drift.report(&fleet.reference, &config).unwrap().unwrap();
    let one = window.finish(START, end()).unwrap();
    // Scores and labels, which only the parts have seen, count among the columns that q-values are adjusted for.
    let of = |report: &DriftReport| -> Vec<_> {
        let columns = report.features.iter().chain(&report.mix);
        columns.map(|of| (of.column.clone(), of.n, of.psi, of.ks, of.outside_rate)).collect()
    };
    assert_eq!((merged.n, of(&merged)), (one.n, of(&one)));
    assert!(merged.score.is_some() && merged.bad_rate.is_some());
    assert_eq!(drift.n_rows(), 400);
    assert_eq!(window.take(START, end()).n_rows(), 0);
}

#[test]
fn counts_that_do_not_belong_together_are_refused_and_nothing_changes() {
    let (fleet, events) = (Fleet::new(), events(50, 1));
    let counted = fleet.count(&events).0;
    let mut monitor = MonitorCounts::from_bytes(&counted.monitor).unwrap();
    let hourly = MonitorConfig { bucket: Duration::from_secs(3600), ..fleet.monitor };
    let other = Monitor::new(hourly).unwrap().counts(end());
    assert!(monitor.merge(&other).is_err());
    assert!(monitor.findings(&hourly, end()).is_err());
    assert_eq!(monitor.to_bytes(), counted.monitor);

    let mut drift = DriftCounts::from_bytes(&counted.drift).unwrap();
    let data = Dataset::new(schema(), Array2::zeros((9, 2)), vec![false; 9]).unwrap();
    let other = ReferenceProfile::new(&data, &[0.5; 9], &ProfileConfig::default()).unwrap();
    let window = DriftWindow::new(Arc::new(other.clone()), DriftConfig::default()).unwrap();
    assert!(drift.merge(&window.take(START, end())).is_err());
    assert!(drift.report(&other, &DriftConfig::default()).is_err());
    assert_eq!(drift.to_bytes(), counted.drift);

    // Every kind takes its own bytes only.
    let Counted { service, monitor, drift, experiment } = &counted;
    for bytes in [monitor, drift, experiment] {
        assert!(ServiceStats::from_bytes(bytes).is_err());
    }
    for bytes in [service, drift, experiment] {
        assert!(MonitorCounts::from_bytes(bytes).is_err());
    }
    for bytes in [service, monitor, experiment] {
        assert!(DriftCounts::from_bytes(bytes).is_err());
    }
}

/// Doubles counts until they are refused, which changes nothing. Starts and ends at what can be read.
fn doubled<T: Clone>(
    bytes: &[u8],
    read: impl Fn(&[u8]) -> Result<T>,
    write: impl Fn(&T) -> Vec<u8>,
    merge: impl Fn(&mut T, &T) -> Result<()>,
) -> T {
    let mut sum = read(bytes).unwrap();
    for _ in 0..64 {
        let before = sum.clone();
        if let Err(error) = merge(&mut sum, &before) {
            assert!(matches!(error, Error::InvalidInput { .. }), "{error}");
            assert_eq!(write(&sum), write(&before));
            assert_eq!(write(&read(&write(&sum)).unwrap()), write(&sum));
            return sum;
        }
    }
    panic!("counted to 2^64");
}

#[test]
fn counts_grow_until_they_are_refused_and_never_run_over() {
    let (fleet, events) = (Fleet::new(), events(200, 5));
    let counted = fleet.count(&events).0;
    let service = doubled(
        &counted.service,
        ServiceStats::from_bytes,
        ServiceStats::to_bytes,
        ServiceStats::merge,
    );
    let answered = service.slots[SLOT].values().map(|of| of.requests).sum::<u64>();
    assert!(answered > 1 << 50, "{answered}");
    let monitor = doubled(
        &counted.monitor,
        MonitorCounts::from_bytes,
        MonitorCounts::to_bytes,
        MonitorCounts::merge,
    );
    assert!(!monitor.findings(&fleet.monitor, end()).unwrap().is_empty());
    let drift =
        doubled(&counted.drift, DriftCounts::from_bytes, DriftCounts::to_bytes, DriftCounts::merge);
    assert!(drift.report(&fleet.reference, &DriftConfig::default()).unwrap().is_some());
    let statistics = doubled(
        &counted.experiment,
        |bytes| ExperimentStatistics::from_bytes(&fleet.experiment, fleet.recorder, bytes),
        ExperimentStatistics::to_bytes,
        ExperimentStatistics::merge,
    );
    assert!(fleet.experiment.report(&statistics, end()).units > 0);
}
