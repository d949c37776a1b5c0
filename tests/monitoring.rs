//! From the prediction to the gate: counts, labels, comparison.

use riskcycle::dataset::Dataset;
use riskcycle::experiment::Assignment;
use riskcycle::monitor::{
    Finding, InMemoryPredictionLog, LabelJoin, Monitor, MonitorConfig, PredictionLog,
};
use riskcycle::ndarray::Array2;
use riskcycle::retrain::{Gate, GateConfig, Scored};
use riskcycle::serve::{Decision, DecisionBands, InputFlags, Prediction};
use riskcycle::{EntityKey, FeatureSchema, ModelRef, Seed, Timestamp, days};

fn schema() -> FeatureSchema {
    FeatureSchema::new(["x"]).unwrap()
}

fn prediction(id: u64, day: u64, score: Option<f64>, review: bool) -> Prediction {
    Prediction {
        id,
        at: Timestamp::default().plus(days(day)),
        unit: EntityKey(id),
        assignment: Assignment::champion(),
        model: ModelRef { name: "m".into(), version: 1 },
        score,
        bands: DecisionBands::APPROVE_ALL,
        decision: if review { Decision::Review } else { Decision::Approve },
        fallback: None,
        inputs: InputFlags::default(),
        reasons: Vec::new(),
        exposure: None,
    }
}

fn values(findings: &[Finding]) -> Vec<(String, f64, u64)> {
    findings.iter().map(|f| (f.metric.to_string(), f.value, f.n)).collect()
}

fn named(values: &[(&str, f64, u64)]) -> Vec<(String, f64, u64)> {
    values.iter().map(|&(metric, value, n)| (metric.to_owned(), value, n)).collect()
}

#[test]
fn the_monitor_tells_traffic_when_the_day_is_over_and_outcomes_when_labels_are_due() {
    let monitor = Monitor::new(MonitorConfig::default()).unwrap();
    monitor.record(&prediction(1, 0, Some(0.75), true));
    monitor.record(&prediction(2, 0, Some(0.25), false));
    monitor.record(&prediction(3, 0, None, true));
    monitor.record(&prediction(4, 0, Some(0.5), false));
    monitor.record(&prediction(5, 1, Some(0.5), false));
    let at = |day| Timestamp::default().plus(days(day));
    assert!(monitor.findings(Timestamp::from_micros(at(1).micros() - 1)).is_empty());
    let traffic = [
        ("predictions", 4.0, 4),
        ("review_rate", 0.5, 4),
        ("fallback_rate", 0.25, 4),
        ("mean_score", 0.5, 3),
    ];
    assert_eq!(values(&monitor.findings(at(1))), named(&traffic));
    assert!(monitor.findings(at(1)).is_empty()); // told once

    for (id, bad) in [(1, true), (2, true), (3, false)] {
        assert_eq!(monitor.label(id, bad), LabelJoin::Joined);
    }
    assert_eq!(monitor.label(1, true), LabelJoin::Unknown); // labelled already
    assert_eq!(monitor.label(99, true), LabelJoin::Unknown);
    monitor.findings(at(7));
    let outcomes = [
        ("label_coverage", 0.75, 4),
        ("bad_rate", 2.0 / 3.0, 3),
        ("precision", 0.5, 2),
        ("recall", 0.5, 2),
    ];
    assert_eq!(values(&monitor.findings(at(8))), named(&outcomes));
    // The fourth label and a straggler come after the report: they open nothing again.
    assert_eq!(monitor.label(4, true), LabelJoin::TooLate);
    monitor.record(&prediction(6, 0, Some(0.5), false));
    assert_eq!(monitor.label(6, true), LabelJoin::Unknown);
    assert!(monitor.findings(at(8)).is_empty());
}

#[test]
fn a_full_monitor_forgets_the_oldest_and_says_so() {
    let config = MonitorConfig { max_unlabelled: 2, ..MonitorConfig::default() };
    let monitor = Monitor::new(config).unwrap();
    (0..5).for_each(|id| monitor.record(&prediction(id, 0, Some(0.5), false)));
    assert_eq!(monitor.forgotten(), 3);
    assert_eq!(monitor.label(2, true), LabelJoin::Unknown);
    assert_eq!(monitor.label(3, true), LabelJoin::Joined);
}

#[test]
fn the_log_keeps_the_last_predictions_of_each_version() {
    let log = InMemoryPredictionLog::new(3).unwrap();
    (0..5).for_each(|id| log.record(&prediction(id, 0, Some(0.5), false)));
    let model = prediction(0, 0, None, false).model;
    let ids: Vec<u64> = log.recent(&model, 10).unwrap().iter().map(|p| p.id).collect();
    assert_eq!(ids, [4, 3, 2]);
    assert_eq!(log.recent(&model, 1).unwrap().len(), 1);
    let other = ModelRef { name: "n".into(), version: 1 };
    assert!(log.recent(&other, 1).unwrap().is_empty());
}

/// 1,000 rows of 500 customers, 100 of them bad; an amount of 100 each.
fn judged(challenger: impl Fn(usize, bool) -> f64) -> riskcycle::retrain::GateVerdict {
    let labels: Vec<bool> = (0..1000).map(|row| row % 10 == 0).collect();
    let data = Dataset::new(schema(), Array2::zeros((1000, 1)), labels.clone())
        .and_then(|d| d.with_amounts(vec![100.0; 1000]))
        .and_then(|d| d.with_entities((0..1000).map(|row| EntityKey(row / 2)).collect()))
        .unwrap();
    // The champion finds every other fraud and troubles one good customer in fifty.
    let found = |row: usize, bad: bool| if bad { row.is_multiple_of(20) } else { row % 50 == 1 };
    let scores = |score: &dyn Fn(usize, bool) -> f64| -> Vec<f64> {
        labels.iter().enumerate().map(|(row, &bad)| score(row, bad)).collect()
    };
    let champion = scores(&|row, bad| f64::from(u8::from(found(row, bad))));
    let challenger = scores(&challenger);
    let side = |scores| Scored { scores, threshold: 0.5 };
    Gate::new(GateConfig::default())
        .unwrap()
        .judge(&data, side(&champion), side(&challenger), Seed(1))
        .unwrap()
}

#[test]
fn the_gate_lets_a_better_challenger_pass_and_says_why_it_stops_another() {
    let better = judged(|row, bad| f64::from(u8::from(bad && row % 50 != 0)));
    assert!(better.promote, "{better}");
    assert!(better.challenger_cost < better.champion_cost && better.confidence > 0.99);
    let same =
        judged(|row, bad| f64::from(u8::from(if bad { row % 20 == 0 } else { row % 50 == 1 })));
    assert!(!same.promote);
    assert_eq!(same.confidence, 0.0); // no difference is no gain
    let worse = judged(|_, _| 0.0);
    assert!(!worse.promote && worse.objections.len() == 3, "{worse}");
    assert!(worse.to_string().starts_with("keep the champion"));
}
