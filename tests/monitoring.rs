//! Watching in one place: what is recorded reaches the rules, a stuck sink holds nobody up, a thread ticks while it is wanted.

use std::sync::mpsc::channel;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use riskcycle::alert::{
    AlertConfig, AlertEngine, AlertRule, AlertState, Comparison, Ended, FnSink, Receiver,
};
use riskcycle::dataset::Dataset;
use riskcycle::drift::{
    AnyDetector, Baseline, Ddm, DdmConfig, EDetector, EDetectorConfig, ProfileConfig,
    ReferenceProfile,
};
use riskcycle::experiment::Assignment;
use riskcycle::monitor::{LabelJoin, Metric, MetricSource};
use riskcycle::monitoring::{
    Monitoring, MonitoringConfig, MonitoringThread, StreamKind, WatchedStream,
};
use riskcycle::ndarray::Array2;
use riskcycle::seed::stable_hash;
use riskcycle::serve::{Decision, DecisionBands, InputFlags, Prediction};
use riskcycle::{
    EntityKey, Error, FeatureSchema, ManualClock, ModelRef, SystemClock, Timestamp, days,
};

fn uniform(seed: u64, i: u64) -> f64 {
    (stable_hash(&i.to_le_bytes(), seed) >> 11) as f64 / (1u64 << 53) as f64
}

fn day(n: u64) -> Timestamp {
    Timestamp::from_date(2024, 5, 1).plus(days(n))
}

fn model(version: u32) -> ModelRef {
    ModelRef { name: "fraud".into(), version }
}

fn prediction(id: u64, at: Timestamp, version: u32, score: f64) -> Prediction {
    Prediction {
        id,
        at,
        unit: EntityKey(id),
        assignment: Assignment::champion(),
        model: model(version),
        score: Some(score),
        decision: if score >= 0.5 { Decision::Review } else { Decision::Approve },
        bands: DecisionBands::APPROVE_ALL,
        fallback: None,
        inputs: InputFlags::default(),
        reasons: Vec::new(),
        exposure: None,
    }
}

/// One feature, uniform from `low` on; scores a tenth of it.
fn reference(low: f64) -> ReferenceProfile {
    let values = Array2::from_shape_fn((5000, 1), |(i, _)| low + uniform(1, i as u64));
    let scores: Vec<f64> = values.iter().map(|value| value / 10.0).collect();
    let labels = (0..5000).map(|i| i % 100 == 0).collect();
    let data = Dataset::new(FeatureSchema::new(["x"]).unwrap(), values, labels).unwrap();
    ReferenceProfile::new(&data, &scores, &ProfileConfig::default()).unwrap()
}

fn watched(name: &str, of: StreamKind) -> WatchedStream {
    let baseline = Baseline::Rate { n: 20_000, positives: 200 };
    let detector = EDetector::new(EDetectorConfig::new(baseline)).unwrap();
    WatchedStream { name: name.into(), of, detector: AnyDetector::EDetector(detector) }
}

fn rule(metric: Metric, threshold: f64) -> AlertRule {
    AlertRule {
        window: days(1),
        ..AlertRule::new(&metric.to_string(), metric, Comparison::Above, threshold)
    }
}

fn monitoring(streams: Vec<WatchedStream>, receivers: Vec<Receiver>) -> Monitoring {
    let rules = vec![rule(Metric::psi("x"), 0.1), rule(Metric::detector("bad"), 0.5)];
    let config = AlertConfig { interval: days(1), ..AlertConfig::default() };
    let alerts = AlertEngine::new(config, rules, receivers).unwrap();
    let config = MonitoringConfig { streams, ..MonitoringConfig::default() };
    Monitoring::new(config, model(1), reference(0.0), alerts).unwrap()
}

/// A day of 2,000 predictions, rows shifted by `shift`, labels at once, bad at a rate.
fn live(monitoring: &Monitoring, on: u64, version: u32, shift: f64, rate: f64) {
    for i in 0..2000 {
        let id = on * 10_000 + i;
        let value = shift + uniform(2, id);
        let at = day(on).plus(Duration::from_secs(40 * i));
        let prediction = prediction(id, at, version, value / 10.0);
        monitoring.record(&prediction, &[value], Duration::from_micros(3)).unwrap();
        let join = monitoring.label(id, uniform(3, id) < rate, at);
        assert!(matches!(join, LabelJoin::Joined(_)));
    }
}

#[test]
fn drift_and_detectors_fire_and_a_new_champion_ends_what_was_about_the_old_one() {
    let streams = vec![watched("bad", StreamKind::Bad), watched("missed", StreamKind::Missed)];
    let monitoring = monitoring(streams, Vec::new());
    live(&monitoring, 0, 1, 0.0, 0.01);
    let tick = monitoring.tick(day(1));
    assert!(tick.alerts.is_empty() && tick.drift.unwrap().drifted().next().is_none());
    live(&monitoring, 1, 1, 0.5, 0.05);
    let tick = monitoring.tick(day(2));
    let fired: Vec<&str> = tick.alerts.iter().map(|alert| alert.rule.as_str()).collect();
    assert_eq!(fired, ["psi/x", "detector/bad"]);
    assert!(tick.alerts.iter().all(|alert| alert.state == AlertState::Firing));
    let value = |metric: &Metric, now| {
        monitoring.monitor().measure(metric, days(1), now).first().map(|m| m.value)
    };
    assert_eq!(value(&Metric::detector("missed"), day(2)), Some(1.0));
    let latency = value(&Metric::MeanLatency, day(2)).unwrap();
    assert!((latency - 3e-6).abs() < 1e-12, "{latency}");

    monitoring.rebase(&model(2), reference(0.5), &[model(1)], day(2)).unwrap();
    assert!(monitoring.alerts().active().is_empty());
    let history = monitoring.alerts().history(day(0)..day(3));
    let reason = "rebased on fraud@2".to_owned();
    assert_eq!(history.last().unwrap().ended, Some(Ended::Retired { reason }));
    assert_eq!(value(&Metric::psi("x"), day(2)), None);
    // Against its own reference the new one has not drifted, and detectors start anew.
    live(&monitoring, 2, 2, 0.5, 0.01);
    let tick = monitoring.tick(day(3));
    assert!(tick.alerts.is_empty(), "{:?}", tick.alerts);
    assert_eq!(value(&Metric::detector("bad"), day(3)), Some(0.0));
    // A row of another width is refused, and counts nowhere.
    let odd = monitoring.record(&prediction(1, day(3), 2, 0.1), &[1.0, 2.0], Duration::ZERO);
    assert!(matches!(odd, Err(Error::SchemaMismatch { .. })));
    assert_eq!(monitoring.label(1, true, day(3)), LabelJoin::Unknown);
}

#[test]
fn calibration_is_watched_by_bets_on_the_scores_themselves() {
    let run = |rate: f64| {
        let monitoring = monitoring(vec![watched("bad", StreamKind::Calibration)], Vec::new());
        for i in 0..20_000 {
            let score = 0.005 + 0.01 * uniform(4, i);
            let at = day(0).plus(Duration::from_secs(i));
            monitoring.record(&prediction(i, at, 1, score), &[0.5], Duration::ZERO).unwrap();
            monitoring.label(i, uniform(5, i) < rate * score, at);
        }
        let found = monitoring.tick(day(1)).findings;
        found.iter().find(|f| f.metric == Metric::detector("bad")).map(|f| f.value)
    };
    assert_eq!((run(1.0), run(2.5)), (Some(0.0), Some(1.0)));
    let refused = |streams: Vec<WatchedStream>| {
        let alerts = AlertEngine::new(AlertConfig::default(), Vec::new(), Vec::new()).unwrap();
        let config = MonitoringConfig { streams, ..MonitoringConfig::default() };
        let refused = Monitoring::new(config, model(1), reference(0.0), alerts);
        assert!(matches!(refused, Err(Error::InvalidConfig { .. })));
    };
    refused(vec![watched("a", StreamKind::Bad), watched("a", StreamKind::Error)]);
    refused(vec![watched("", StreamKind::Bad)]);
    let detector = AnyDetector::Ddm(Ddm::new(DdmConfig::default()).unwrap());
    refused(vec![WatchedStream { detector, ..watched("a", StreamKind::Calibration) }]);
}

#[test]
fn a_sink_that_hangs_while_it_is_told_holds_up_neither_recording_nor_labels_nor_rules() {
    let (entered, in_sink) = channel();
    let (release, released) = channel::<()>();
    let (entered, released) = (Mutex::new(entered), Mutex::new(released));
    let sink = FnSink(move |_: &riskcycle::alert::Notification| {
        entered.lock().unwrap().send(()).unwrap();
        let _ = released.lock().unwrap().recv();
        Ok(())
    });
    let monitoring = monitoring(Vec::new(), vec![Receiver::new("stuck", Arc::new(sink))]);
    live(&monitoring, 0, 1, 0.5, 0.01);
    std::thread::scope(|scope| {
        let ticking = scope.spawn(|| monitoring.tick(day(1)));
        in_sink.recv().unwrap();
        // The tick is inside the sink now. Were any of these to wait for it, the test would never end.
        live(&monitoring, 1, 1, 0.5, 0.01);
        assert_eq!(monitoring.alerts().firing().len(), 1);
        assert!(!monitoring.monitor().measure(&Metric::psi("x"), days(1), day(1)).is_empty());
        monitoring.monitor().post(&[], day(1));
        monitoring.rebase(&model(2), reference(0.5), &[model(1)], day(1)).unwrap();
        release.send(()).unwrap();
        ticking.join().unwrap();
    });
    drop(release);
}

#[test]
fn a_thread_ticks_until_it_is_stopped_and_survives_a_panic() {
    let (told, ticks) = channel();
    let clock = Arc::new(ManualClock::new(day(3)));
    let mut n = 0;
    let tick = move |now| {
        n += 1;
        told.send((n, now)).unwrap();
        assert!(n != 2, "the second tick fails");
    };
    let every = Duration::from_millis(1);
    let thread = MonitoringThread::start("watch", every, clock, tick).unwrap();
    let first: Vec<(u32, Timestamp)> = (0..3).map(|_| ticks.recv().unwrap()).collect();
    assert_eq!(first, [(1, day(3)), (2, day(3)), (3, day(3))]);
    assert_eq!(thread.panics(), 1);
    thread.stop();
    // The thread has ended, and with it the other end of the channel.
    while ticks.recv().is_ok() {}

    let monitoring = Arc::new(monitoring(Vec::new(), Vec::new()));
    let watched = monitoring.clone();
    let tick = move |now| drop(watched.tick(now));
    let thread = MonitoringThread::start("watch", every, Arc::new(SystemClock), tick).unwrap();
    while monitoring.alerts().stats().ticks == 0 {
        std::thread::yield_now();
    }
    drop(thread);
    assert_eq!(Arc::strong_count(&monitoring), 1, "nothing is left running");
    let none = MonitoringThread::start("none", Duration::ZERO, Arc::new(SystemClock), |_| {});
    assert!(matches!(none, Err(Error::InvalidConfig { .. })));
}
