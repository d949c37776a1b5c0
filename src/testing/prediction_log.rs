//! The contract of [`PredictionLog`], as checks that any backend must pass.
//!
//! ```
//! use riskcycle::monitor::InMemoryPredictionLog;
//! use riskcycle::testing::prediction_log;
//!
//! prediction_log::all(|config| InMemoryPredictionLog::new(config).unwrap());
//! ```
//! `fresh` gives an empty log of a configuration each time it is called; a log that queues writes what waits before it is
//! read. Each check panics at the first broken promise and says which it is.

use crate::evaluate::{Decision, DecisionBands};
use crate::experiment::Assignment;
use crate::ids::{EntityKey, ModelRef};
use crate::model::Reason;
use crate::monitor::{Logged, PredictionLog, PredictionLogConfig};
use crate::serve::{FallbackCause, InputFlags, Prediction};
use crate::time::Timestamp;

/// All checks below.
///
/// # Panics
/// If one fails.
pub fn all<L: PredictionLog>(fresh: impl Fn(PredictionLogConfig) -> L) {
    let with = |capacity, rows, share| fresh(PredictionLogConfig { capacity, rows, share });
    a_fresh_log_is_empty(&with(10, true, 1.0));
    predictions_come_back_as_they_were(&with(10, true, 1.0));
    rows_are_kept_only_where_asked_for(&with(10, false, 1.0));
    versions_are_kept_apart_and_the_oldest_make_room(&with(5, true, 1.0));
    a_stretch_of_time_is_open_at_its_end(&with(100, true, 1.0));
    a_share_is_the_same_ids_everywhere(&with(10_000, false, 0.25), &with(10_000, false, 0.25));
    threads_record_at_once(&with(1_000, true, 1.0));
}

/// Nothing is there before it is recorded.
///
/// # Panics
/// If something is.
pub fn a_fresh_log_is_empty(log: &dyn PredictionLog) {
    assert_eq!(log.recent(&model(1), 10).unwrap(), [], "an empty log has predictions");
    let ever = Timestamp::from_seconds(0)..Timestamp::from_seconds(1000);
    assert_eq!(log.between(&model(1), ever, 10).unwrap(), [], "an empty log has predictions");
}

/// What was recorded is read back bit for bit, missing and infinite values included.
///
/// # Panics
/// If a prediction or a row differs.
pub fn predictions_come_back_as_they_were(log: &dyn PredictionLog) {
    let mut full = prediction(u64::MAX, 1, model(1));
    full.score = Some(0.1 + 0.2);
    full.decision = Decision::Decline;
    full.fallback = Some(FallbackCause::Panic);
    full.inputs = InputFlags { missing: 1, defaulted: 2, infinite: 3, out_of_range: u32::MAX };
    full.reasons =
        vec![Reason { code: "R\0 ü".into(), text: "\"much\"".into(), contribution: -0.0 }];
    let mut none = prediction(0, 2, model(1));
    none.score = None;
    let row = [f64::NAN, f64::INFINITY, -0.0, 5e-324, 1.0 / 3.0];
    log.record(&full, &row);
    log.record(&none, &[]);
    let kept = log.recent(&model(1), 10).unwrap();
    assert_eq!(kept.len(), 2, "two predictions were recorded");
    assert_eq!(
        (&kept[0].prediction, kept[0].row.len()),
        (&none, 0),
        "another prediction came back"
    );
    assert_eq!(kept[1].prediction, full, "another prediction came back");
    let bits = |row: &[f64]| row.iter().map(|value| value.to_bits()).collect::<Vec<u64>>();
    assert_eq!(bits(&kept[1].row), bits(&row), "another row came back");
}

/// Without rows in its configuration a log keeps none.
///
/// # Panics
/// If it does.
pub fn rows_are_kept_only_where_asked_for(log: &dyn PredictionLog) {
    log.record(&prediction(1, 1, model(1)), &[1.0]);
    let kept = log.recent(&model(1), 10).unwrap();
    assert_eq!(kept.iter().map(|logged| logged.row.len()).collect::<Vec<_>>(), [0]);
}

/// For a log with room for five: each version has the last five of its own, newest first.
///
/// # Panics
/// If a version's predictions push out another's, or others than the last are kept.
pub fn versions_are_kept_apart_and_the_oldest_make_room(log: &dyn PredictionLog) {
    let other = ModelRef { name: "fraud ü".into(), version: 2 };
    log.record(&prediction(100, 1, other.clone()), &[]);
    for i in 0..4 {
        // In parts: what makes room may have been written long before.
        (0..5).for_each(|j| log.record(&prediction(5 * i + j, (5 * i + j) as i64, model(1)), &[]));
        let last = 5 * i + 4;
        assert_eq!(ids(&log.recent(&model(1), 1).unwrap()), [last], "the newest one is not first");
    }
    assert_eq!(ids(&log.recent(&model(1), 100).unwrap()), [19, 18, 17, 16, 15]);
    assert_eq!(ids(&log.recent(&model(1), 2).unwrap()), [19, 18]);
    assert_eq!(ids(&log.recent(&model(1), 0).unwrap()), [] as [u64; 0]);
    assert_eq!(ids(&log.recent(&other, 100).unwrap()), [100], "another version made room");
    assert_eq!(ids(&log.recent(&model(3), 100).unwrap()), [] as [u64; 0]);
}

/// A stretch of time has its first moment in it and its last one not; predictions of one moment are all there.
///
/// # Panics
/// If one is missing or too much.
pub fn a_stretch_of_time_is_open_at_its_end(log: &dyn PredictionLog) {
    for (id, second) in [(1, -5), (2, 0), (3, 10), (4, 10), (5, 20), (6, 30)] {
        log.record(&prediction(id, second, model(1)), &[0.5]);
    }
    let between = |from, to, n| {
        let range = Timestamp::from_seconds(from)..Timestamp::from_seconds(to);
        let mut found = ids(&log.between(&model(1), range, n).unwrap());
        found.sort_unstable();
        found
    };
    assert_eq!(between(0, 20, 10), [2, 3, 4]);
    assert_eq!(between(10, 11, 10), [3, 4]);
    assert_eq!(between(-100, 100, 10), [1, 2, 3, 4, 5, 6]);
    assert_eq!(between(-100, 100, 2), [5, 6], "the newest ones come first");
    assert_eq!(between(11, 11, 10), [] as [u64; 0]);
    assert_eq!(between(20, 10, 10), [] as [u64; 0]);
}

/// Two logs that keep a quarter keep the same quarter.
///
/// # Panics
/// If they do not, or if it is far from a quarter.
pub fn a_share_is_the_same_ids_everywhere(one: &dyn PredictionLog, two: &dyn PredictionLog) {
    let kept = |log: &dyn PredictionLog| {
        (0..1000).for_each(|id| log.record(&prediction(id, id as i64, model(1)), &[]));
        ids(&log.recent(&model(1), 10_000).unwrap())
    };
    let (first, second) = (kept(one), kept(two));
    assert_eq!(first, second, "another share of the ids");
    // 1000 fair draws at a quarter: 250 on average, standard deviation 13.7; five of them either way.
    assert!((182..=318).contains(&first.len()), "{} of 1000 are no quarter", first.len());
}

/// What threads record at once is there, or the log has counted it as left out; nothing is there twice.
///
/// # Panics
/// If a prediction is torn or there twice, or none is there.
pub fn threads_record_at_once(log: &dyn PredictionLog) {
    std::thread::scope(|scope| {
        for thread in 0..4_u64 {
            scope.spawn(move || {
                for i in 0..50 {
                    let id = thread * 50 + i;
                    log.record(&prediction(id, i as i64, model(1)), &[id as f64]);
                }
            });
        }
    });
    let kept = log.recent(&model(1), 1000).unwrap();
    let torn = |logged: &&Logged| logged.row != [logged.prediction.id as f64];
    assert_eq!(kept.iter().find(torn), None, "a prediction has another one's row");
    let mut ids = ids(&kept);
    ids.sort_unstable();
    assert!(ids.windows(2).all(|pair| pair[0] < pair[1]), "a prediction is there twice");
    assert!(!ids.is_empty(), "nothing is there");
}

fn ids(logged: &[Logged]) -> Vec<u64> {
    logged.iter().map(|logged| logged.prediction.id).collect()
}

fn model(version: u32) -> ModelRef {
    ModelRef { name: "fraud".into(), version }
}

/// A prediction to record: approved by the champion `model` at that second, its score a quarter.
pub fn prediction(id: u64, second: i64, model: ModelRef) -> Prediction {
    Prediction {
        id,
        at: Timestamp::from_seconds(second),
        unit: EntityKey(id ^ 7),
        assignment: Assignment::champion(),
        model,
        score: Some(0.25),
        bands: DecisionBands::APPROVE_ALL,
        decision: Decision::Approve,
        fallback: None,
        inputs: InputFlags::default(),
        reasons: Vec::new(),
        exposure: None,
    }
}
