//! What was predicted and what came true: findings, joined labels, the log, and the rules that look at them.

use std::sync::Arc;
use std::time::Duration;

use riskcycle::alert::{AlertEngine, AlertState, InMemoryAlertSink, default_rules};
use riskcycle::experiment::Assignment;
use riskcycle::monitor::{
    Finding, Gaps, InMemoryPredictionLog, LabelJoin, Labelled, Metric, MetricSource, Monitor,
    MonitorConfig, PredictionLog, PredictionLogConfig,
};
use riskcycle::seed::stable_hash;
use riskcycle::serve::{Decision, DecisionBands, InputFlags, Prediction};
use riskcycle::{EntityKey, ModelRef, Timestamp, days};

fn prediction(id: u64, at: Timestamp, score: Option<f64>, review: bool) -> Prediction {
    Prediction {
        id,
        at,
        unit: EntityKey(id),
        assignment: Assignment::champion(),
        model: ModelRef { name: "m".into(), version: 1 },
        score,
        decision: if review { Decision::Review } else { Decision::Approve },
        bands: DecisionBands::APPROVE_ALL,
        fallback: None,
        inputs: InputFlags::default(),
        reasons: Vec::new(),
        exposure: None,
    }
}

fn day(n: u64) -> Timestamp {
    Timestamp::from_date(2024, 5, 1).plus(days(n))
}

fn uniform(seed: u64, i: u64) -> f64 {
    (stable_hash(&i.to_le_bytes(), seed) >> 11) as f64 / (1u64 << 53) as f64
}

fn record(monitor: &Monitor, prediction: &Prediction) {
    monitor.record(prediction, Duration::from_millis(3), Gaps::default());
}

fn values(findings: &[Finding]) -> Vec<(String, f64, u64)> {
    findings.iter().map(|f| (f.metric.to_string(), f.value, f.n)).collect()
}

fn named(values: &[(&str, f64, u64)]) -> Vec<(String, f64, u64)> {
    values.iter().map(|&(metric, value, n)| (metric.to_owned(), value, n)).collect()
}

#[test]
fn traffic_is_told_when_the_day_is_over_and_outcomes_when_labels_are_due() {
    let monitor = Monitor::new(MonitorConfig::default()).unwrap();
    monitor.record(&prediction(1, day(0), Some(0.75), true), Duration::ZERO, Gaps::default());
    record(&monitor, &prediction(2, day(0), Some(0.25), false));
    let gaps = Gaps { missing: 2, unseen: 1 };
    monitor.record(&prediction(3, day(0), None, true), Duration::ZERO, gaps);
    record(&monitor, &prediction(4, day(0), Some(0.5), false));
    record(&monitor, &prediction(5, day(1), Some(0.5), false));
    assert!(monitor.tick(Timestamp::from_micros(day(1).micros() - 1)).is_empty());
    let traffic = [
        ("predictions", 4.0, 4),
        ("review_rate", 0.5, 4),
        ("fallback_rate", 0.25, 4),
        ("error_rate", 0.0, 4),
        ("incomplete_rate", 0.25, 4),
        ("unseen_rate", 0.25, 4),
        ("mean_score", 0.5, 3),
    ];
    assert_eq!(values(&monitor.tick(day(1))), named(&traffic));
    assert!(monitor.tick(day(1)).is_empty(), "told once");

    for (id, bad) in [(1, true), (2, true), (3, false)] {
        let join = monitor.label(id, bad, day(3));
        let LabelJoin::Joined(label) = join else { panic!("{join:?}") };
        assert_eq!((label.predicted, label.reported, label.bad), (day(0), day(3), bad));
        assert_eq!(label.flagged(), id != 2);
    }
    assert_eq!(monitor.label(1, true, day(3)), LabelJoin::Unknown, "labelled already");
    assert_eq!(monitor.label(99, true, day(3)), LabelJoin::Unknown);
    monitor.tick(day(7));
    let found = monitor.tick(day(8));
    let found: Vec<Finding> = found.into_iter().filter(|f| f.from == day(0)).collect();
    let outcomes = values(&found);
    let first = [
        ("label_coverage", 0.75, 4),
        ("bad_rate", 2.0 / 3.0, 3),
        ("precision", 0.5, 2),
        ("recall", 0.5, 2),
        // The two scored rows were promised to be bad once, and both are.
        ("calibration_gap", 0.5, 3),
        ("label_lag", 3.0, 1),
    ];
    assert_eq!(outcomes[..6], named(&first));
    assert!(monitor.tick(day(8)).is_empty());
    // A straggler is counted and tells nothing anew.
    assert!(matches!(monitor.label(4, true, day(9)), LabelJoin::Joined(_)));
    let model = prediction(0, day(0), None, false).model;
    let ledger = monitor.outcomes_of(&model).unwrap();
    assert_eq!(ledger.labels(&(day(0)..day(1))).labels, 4);
    assert_eq!(ledger.calibration_by_day(&(day(0)..day(9))).len(), 1);
    assert_eq!(monitor.labels(&(day(0)..day(2))).predictions, 5);
}

#[test]
fn where_silence_is_good_a_row_without_a_label_is_good_once_labels_are_due() {
    let config = MonitorConfig { silence_is_good: true, ..MonitorConfig::default() };
    let monitor = Monitor::new(config).unwrap();
    for id in 0..100 {
        record(&monitor, &prediction(id, day(0), Some(0.1), id < 10));
    }
    for id in 5..13 {
        monitor.label(id, true, day(2));
    }
    monitor.tick(day(2));
    let found = values(&monitor.tick(day(8)));
    let value =
        |name: &str| found.iter().find(|(metric, ..)| metric == name).map(|(_, v, n)| (*v, *n));
    assert_eq!(value("bad_rate"), Some((0.08, 100)));
    assert_eq!(value("precision"), Some((0.5, 10)));
    assert_eq!(value("recall"), Some((5.0 / 8.0, 8)));
    let (gap, n) = value("calibration_gap").unwrap();
    assert!((gap - 0.02).abs() < 1e-12 && n == 100, "{gap}");
}

#[test]
fn a_full_monitor_forgets_the_oldest_and_says_so() {
    let config = MonitorConfig { max_unlabelled: 2, ..MonitorConfig::default() };
    let monitor = Monitor::new(config).unwrap();
    (0..5).for_each(|id| record(&monitor, &prediction(id, day(0), Some(0.5), false)));
    assert_eq!(monitor.forgotten(), 3);
    assert_eq!(monitor.label(2, true, day(1)), LabelJoin::Unknown);
    assert!(matches!(monitor.label(3, true, day(1)), LabelJoin::Joined(_)));
    // A host that keeps what it predicted needs no memory of ours.
    let model = prediction(0, day(0), None, false).model;
    let (predicted, reported, decision) = (day(0), day(4), Decision::Approve);
    let label = Labelled { predicted, reported, score: Some(0.5), decision, bad: true };
    monitor.label_known(&model, &label);
    assert_eq!(monitor.labels(&(day(0)..day(1))).bad, 2);
    for bucket in [0, 1800, 5400, 90_000] {
        let bucket = Duration::from_secs(bucket);
        assert!(Monitor::new(MonitorConfig { bucket, ..config }).is_err());
    }
    assert!(Monitor::new(MonitorConfig { max_unlabelled: 0, ..config }).is_err());
    assert!(Monitor::new(MonitorConfig { max_unfiled: 0, ..config }).is_err());
}

#[test]
fn who_finds_no_room_for_unfiled_predictions_files_them() {
    let monitor = Monitor::new(MonitorConfig { max_unfiled: 8, ..Default::default() }).unwrap();
    (0..100).for_each(|id| record(&monitor, &prediction(id, day(0), Some(0.5), id == 3)));
    assert!((0..100).all(|id| matches!(monitor.label(id, false, day(1)), LabelJoin::Joined(_))));
    assert_eq!(monitor.forgotten(), 0);
    monitor.tick(day(1));
    let stats = monitor.traffic().stats(None, None, day(0)..day(1));
    assert_eq!((stats.count, stats.reviews), (100, 1));
}

#[test]
fn threads_that_record_at_once_lose_nothing() {
    let monitor = Monitor::new(MonitorConfig::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u64 {
            let monitor = &monitor;
            scope.spawn(move || {
                for i in 0..10_000 {
                    record(monitor, &prediction(thread * 10_000 + i, day(0), Some(0.5), false));
                }
            });
        }
    });
    assert_eq!(monitor.labels(&(day(0)..day(1))).predictions, 40_000);
    assert_eq!(monitor.forgotten(), 0);
    monitor.tick(day(1));
    let stats = monitor.traffic().stats(None, None, day(0)..day(1));
    assert_eq!(stats.count, 40_000);
}

#[test]
fn the_rules_on_calibration_and_label_lag_hear_of_labels() {
    // From day 30 on, ten times as many rows are bad as scores say, and most reports take 60 days instead of 5.
    let run = |changed: bool| -> Vec<String> {
        let monitor = Monitor::new(MonitorConfig::default()).unwrap();
        let engine =
            AlertEngine::with_sink(default_rules(), Arc::new(InMemoryAlertSink::default()))
                .unwrap();
        let mut due: Vec<(u64, u64, bool)> = Vec::new();
        let mut fired = Vec::new();
        for today in 0..120u64 {
            due.retain(|&(at, id, bad)| {
                if at == today {
                    monitor.label(id, bad, day(today));
                }
                at > today
            });
            for i in 0..1200 {
                let id = today * 10_000 + i;
                record(&monitor, &prediction(id, day(today), Some(0.02), false));
                let rate = if changed && today >= 30 { 0.2 } else { 0.02 };
                let bad = uniform(5, id) < rate;
                let late = changed && bad && today >= 30 && uniform(6, id) < 0.8;
                due.push((today + if late { 60 } else { 5 }, id, bad));
            }
            monitor.tick(day(today + 1));
            let changed = engine.tick(day(today + 1), &monitor);
            let firing = changed.into_iter().filter(|alert| alert.state == AlertState::Firing);
            fired.extend(firing.map(|alert| alert.rule).filter(|rule| rule != "no-traffic"));
        }
        fired
    };
    // 24 bad rows of 1,200 a day are expected, standard deviation 4.9; a gap of 0.01 is 12 more or less: 2.4 of them, so on one
    // day in 60 the rule on one day's calibration may hold by chance.
    let quiet = run(false);
    assert!(quiet.iter().all(|rule| rule == "calibration") && quiet.len() < 8, "{quiet:?}");
    let fired = run(true);
    assert!(fired.iter().any(|rule| rule == "label-lag"), "{fired:?}");
    assert!(fired.iter().any(|rule| rule == "calibration"), "{fired:?}");
}

#[test]
fn labels_that_part_from_what_scores_promise_are_told_in_standard_errors() {
    let z = |rate: f64| {
        let config = MonitorConfig { label_delay: days(2), ..MonitorConfig::default() };
        let monitor = Monitor::new(config).unwrap();
        for today in 0..10u64 {
            for i in 0..2000 {
                let id = today * 10_000 + i;
                let score = 0.01 + 0.04 * uniform(1, id);
                record(&monitor, &prediction(id, day(today), Some(score), false));
                if uniform(2, id) < score * rate {
                    monitor.label(id, true, day(today));
                }
            }
        }
        monitor.tick(day(10));
        let metric = Metric::OutcomeDisagreement;
        monitor.measure(&metric, days(1), day(10)).first().map(|m| m.value).unwrap()
    };
    let (as_promised, twice) = (z(1.0), z(2.0));
    assert!(as_promised < 4.0 && twice > 8.0, "{as_promised} {twice}");
}

#[test]
fn the_log_keeps_the_last_predictions_of_each_version_and_rows_if_asked() {
    let config = PredictionLogConfig { capacity: 3, rows: true, share: 1.0 };
    let log = InMemoryPredictionLog::new(config).unwrap();
    (0..5).for_each(|id| {
        log.record(&prediction(id, day(0), Some(0.5), false), &[id as f64, f64::NAN]);
    });
    let model = prediction(0, day(0), None, false).model;
    let logged = log.recent(&model, 10).unwrap();
    let ids: Vec<u64> = logged.iter().map(|logged| logged.prediction.id).collect();
    assert_eq!(ids, [4, 3, 2]);
    assert_eq!((logged[0].row[0], logged[0].row.len()), (4.0, 2));
    assert_eq!(log.recent(&model, 1).unwrap().len(), 1);
    let other = ModelRef { name: "n".into(), version: 1 };
    assert!(log.recent(&other, 1).unwrap().is_empty());
    // A tenth, the same ones every time.
    let sampled = || {
        let config = PredictionLogConfig { capacity: 10_000, rows: false, share: 0.1 };
        let log = InMemoryPredictionLog::new(config).unwrap();
        (0..10_000).for_each(|id| log.record(&prediction(id, day(0), None, false), &[1.0]));
        assert_eq!(log.missed(), 0);
        log.recent(&model, 10_000).unwrap()
    };
    let kept = sampled();
    // 1,000 of 10,000 expected, standard deviation 30; five of them.
    assert!((850..1150).contains(&kept.len()) && kept == sampled(), "{}", kept.len());
    assert!(kept.iter().all(|logged| logged.row.is_empty()));
    for config in [
        PredictionLogConfig { capacity: 0, ..config },
        PredictionLogConfig { share: 1.1, ..config },
    ] {
        assert!(InMemoryPredictionLog::new(config).is_err());
    }
}
