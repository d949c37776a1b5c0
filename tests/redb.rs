//! State that outlives the process: the contracts on a file of redb, and a process that is killed again and again.
#![cfg(feature = "redb")]

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use riskcycle::alert::{
    AlertConfig, AlertEngine, AlertRule, AlertSnapshot, AlertState, Comparison,
};
use riskcycle::backend::{
    RedbArtifactStore, RedbDatabase, RedbFeatureStorage, RedbPredictionLog, RedbRegistryLog,
    RedbSnapshots,
};
use riskcycle::experiment::{
    AnalysisPlan, Experiment, ExperimentConfig, ExperimentEvent, Metric, Mode, RoutingConfig,
};
use riskcycle::feature::store::{
    FeatureDocumentation, FeatureRef, FeatureSemantics, FeatureStorage, FeatureStore,
};
use riskcycle::feature::{Definition, Expression, Feature, OnlineConfig};
use riskcycle::monitor::{Logged, Measurement, MetricSource, PredictionLog, PredictionLogConfig};
use riskcycle::registry::{ArtifactStore, ModelRegistry, RegistryLog, RegistryLogEntry};
use riskcycle::serve::Prediction;
use riskcycle::testing::{
    artifact_store, feature_storage, online_features, prediction_log, registry_log,
};
use riskcycle::{AuditEntry, Digest, Error, ModelRef, Seed, Signature, Timestamp};

const NOW: Timestamp = Timestamp::from_date(2026, 1, 5);

/// A file of its own that goes when the test ends well.
struct File(PathBuf);

impl File {
    fn new() -> Self {
        static COUNTER: AtomicU32 = AtomicU32::new(0);
        let number = COUNTER.fetch_add(1, Ordering::Relaxed);
        let name = format!("riskcycle-{}-{number}.redb", std::process::id());
        File(std::env::temp_dir().join(name))
    }

    fn open(&self) -> RedbDatabase {
        RedbDatabase::open(&self.0).unwrap()
    }
}

impl Drop for File {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.0);
    }
}

fn fresh() -> RedbDatabase {
    let file = File::new();
    file.open() // an open file outlives its name
}

fn sign(reason: &str) -> Signature<'_> {
    Signature::new("anna", reason, NOW)
}

fn documentation() -> FeatureDocumentation {
    let (name, description) = ("Payments".into(), "Number of payments".into());
    FeatureDocumentation { name, description, ..FeatureDocumentation::default() }
}

fn prediction(id: u64) -> Prediction {
    let model = ModelRef { name: "fraud".into(), version: 1 };
    let score = Some(id as f64 / 1e6);
    Prediction { score, ..prediction_log::prediction(id, id as i64, model) }
}

#[test]
fn features_are_kept_by_the_contract() {
    feature_storage::all(|| RedbFeatureStorage::new(&fresh()));
}

#[test]
fn the_registry_log_is_kept_by_the_contract() {
    registry_log::all(|| RedbRegistryLog::new(&fresh()));
}

#[test]
fn artifacts_are_kept_by_the_contract() {
    artifact_store::all(|| RedbArtifactStore::new(&fresh()));
}

#[test]
fn predictions_are_kept_by_the_contract() {
    prediction_log::all(|config| RedbPredictionLog::new(&fresh(), config).unwrap());
}

#[test]
fn live_features_that_restart_every_few_events_are_those_of_one_run() {
    online_features::all(|plan| {
        let snapshots = RedbSnapshots::new(&fresh());
        let mut online = plan.online(OnlineConfig::default()).unwrap();
        let mut n = 0;
        let plan = plan.clone();
        move |event, out| {
            n += 1;
            if n % 50 == 0 {
                snapshots.put(&[("features", &online.snapshot())]).unwrap();
                online = plan.online(OnlineConfig::default()).unwrap();
                online.restore(&snapshots.get("features").unwrap()).unwrap();
            }
            online.observe(event, out).unwrap()
        }
    });
}

#[test]
fn everything_is_there_when_the_file_is_opened_again() {
    let file = File::new();
    let (digest, head) = {
        let database = file.open();
        let store = FeatureStore::new(std::sync::Arc::new(RedbFeatureStorage::new(&database)));
        store.register("n", documentation(), FeatureSemantics::default(), sign("wanted")).unwrap();
        let log = RedbPredictionLog::new(&database, PredictionLogConfig::default()).unwrap();
        log.record(&prediction(1), &[]);
        assert_eq!(log.flush().unwrap(), 1);
        log.record(&prediction(2), &[]);
        (RedbArtifactStore::new(&database).put(b"bytes").unwrap(), store.verify().unwrap())
    };
    let database = file.open();
    let store = FeatureStore::new(std::sync::Arc::new(RedbFeatureStorage::new(&database)));
    assert_eq!(store.verify().unwrap(), head);
    assert_eq!(store.get(&FeatureRef::new("n", 1)).unwrap().documentation, documentation());
    assert_eq!(RedbArtifactStore::new(&database).get(&digest).unwrap(), b"bytes");
    let log = RedbPredictionLog::new(&database, PredictionLogConfig::default()).unwrap();
    let kept = log.recent(&prediction(1).model, 10).unwrap();
    assert_eq!(kept.len(), 1, "what was not flushed was never promised");
    assert_eq!(kept[0].prediction, prediction(1));
}

#[test]
fn a_file_that_is_open_elsewhere_or_holds_something_else_is_a_typed_error() {
    let file = File::new();
    let _open = file.open();
    assert!(RedbDatabase::open(&file.0).unwrap_err().is_conflict());

    let other = File::new();
    std::fs::write(
        &other.0,
        b"something else, and long enough to be a header of some kind".repeat(99),
    )
    .unwrap();
    let error = RedbDatabase::open(&other.0).unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. } | Error::Io { .. }), "{error}");
    let nowhere = RedbDatabase::open("/nowhere/at/all.redb").unwrap_err();
    assert!(nowhere.is_not_found(), "{nowhere}");
}

#[test]
fn a_record_that_would_not_come_back_is_refused() {
    let storage = std::sync::Arc::new(RedbFeatureStorage::new(&fresh()));
    let store = FeatureStore::new(storage.clone());
    let mut sum = Expression::field("amount");
    for _ in 0..100 {
        sum = sum + Expression::number(1.0);
    }
    let definition = Definition::Expression(sum);
    let definition = Some(Feature { name: "sum".into(), definition });
    let semantics = FeatureSemantics { definition, ..FeatureSemantics::default() };
    let error = store.register("sum", documentation(), semantics, sign("wanted")).unwrap_err();
    assert!(matches!(error, Error::InvalidInput { .. }), "{error}");
    assert_eq!(storage.head().unwrap().seq, 0);
}

/// Every truncation of a record and every flipped bit.
fn damaged(record: &[u8]) -> impl Iterator<Item = Vec<u8>> {
    let cut = (0..record.len()).map(|end| record[..end].to_vec());
    let flipped = (0..8 * record.len()).map(|bit| {
        let mut record = record.to_vec();
        record[bit / 8] ^= 1 << (bit % 8);
        record
    });
    cut.chain(flipped)
}

/// What becomes of damaged records that are read back, by `use_it` where they can be read.
fn read_damaged<T: serde::de::DeserializeOwned>(
    snapshots: &RedbSnapshots,
    record: &[u8],
    mut use_it: impl FnMut(T),
) {
    let all: Vec<(String, Vec<u8>)> =
        damaged(record).enumerate().map(|(i, bytes)| (i.to_string(), bytes)).collect();
    let named: Vec<(&str, &[u8])> = all.iter().map(|(name, of)| (&**name, &**of)).collect();
    snapshots.put(&named).unwrap();
    for (name, _) in &all {
        match snapshots.get_record(name) {
            Ok(read) => use_it(read),
            Err(error) => assert!(matches!(error, Error::Corrupt { .. }), "{error}"),
        }
    }
}

struct High;

impl MetricSource for High {
    fn measure(
        &self,
        _: &riskcycle::monitor::Metric,
        _: Duration,
        _: Timestamp,
    ) -> Vec<Measurement> {
        vec![Measurement { model: None, segment: None, value: f64::INFINITY, n: 100 }]
    }
}

fn engine() -> AlertEngine {
    let metric = riskcycle::monitor::Metric::custom("x");
    let rule = AlertRule::new("high", metric, Comparison::Above, 0.5);
    AlertEngine::new(AlertConfig::default(), vec![rule], Vec::new()).unwrap()
}

fn experiment_config() -> ExperimentConfig {
    ExperimentConfig {
        name: "test".into(),
        arms: (1..=2).map(|version| ModelRef { name: "fraud".into(), version }).collect(),
        routing: RoutingConfig::new("half", &[500_000, 500_000]),
        mode: Mode::AbTest,
        plan: AnalysisPlan::new(Metric::UnitBadRate, 1000, 10_000),
    }
}

#[test]
fn damaged_records_are_corrupt_or_something_to_go_on_from() {
    let snapshots = RedbSnapshots::new(&fresh());
    let alerts = engine();
    alerts.tick(NOW, &High);
    read_damaged(&snapshots, &RedbSnapshots::record(&alerts.snapshot()), |kept| {
        let engine = engine();
        engine.restore(kept, NOW);
        engine.tick(NOW.plus(Duration::from_secs(60)), &High);
    });
    let experiment = Experiment::new(experiment_config(), sign("planned")).unwrap();
    experiment.start(sign("begin")).unwrap();
    let trail = experiment.audit();
    read_damaged(&snapshots, &RedbSnapshots::record(&trail), |kept: Vec<_>| {
        // The seals of the entries find whatever the record's own form does not.
        assert!(kept == trail || Experiment::restore(experiment_config(), kept).is_err());
    });
    let logged = Logged { prediction: prediction(7), row: vec![1.0, f64::NAN] };
    let damaged = RedbSnapshots::record(&logged);
    read_damaged(&snapshots, &damaged, |kept: Logged| assert!(kept.row.len() <= 2));
}

#[test]
fn alerts_and_experiments_go_on_where_they_stopped() {
    let file = File::new();
    let config = experiment_config();
    let experiment = Experiment::new(config.clone(), sign("planned")).unwrap();
    experiment.start(sign("begin")).unwrap();
    let before = engine();
    before.tick(NOW, &High);
    assert_eq!(before.firing().len(), 1);
    {
        let snapshots = RedbSnapshots::new(&file.open());
        let (alerts, trail) =
            (RedbSnapshots::record(&before.snapshot()), RedbSnapshots::record(&experiment.audit()));
        snapshots.put(&[("alerts", &alerts), ("trail", &trail)]).unwrap();
    }
    let snapshots = RedbSnapshots::new(&file.open());
    assert_eq!(snapshots.names().unwrap(), ["alerts", "trail"]);
    let kept: AlertSnapshot = snapshots.get_record("alerts").unwrap();
    assert_eq!(kept, before.snapshot());
    let after = engine();
    after.restore(kept, NOW.plus(Duration::from_secs(60)));
    assert_eq!(after.firing()[0].state, AlertState::Firing);
    let trail: Vec<AuditEntry<ExperimentEvent>> = snapshots.get_record("trail").unwrap();
    let restored = Experiment::restore(config, trail).unwrap();
    assert_eq!(restored.state(), experiment.state());
    assert!(snapshots.get("nothing").unwrap_err().is_not_found());
    snapshots.put(&[("alerts", b"something else")]).unwrap();
    let error = snapshots.get_record::<AlertSnapshot>("alerts").unwrap_err();
    assert!(matches!(error, Error::Corrupt { .. }), "{error}");
}

const CRASH_FILE: &str = "RISKCYCLE_CRASH_FILE";
const CRASH_FROM: &str = "RISKCYCLE_CRASH_FROM";
const PER_ROUND: u64 = 1000;

/// The registry's log that the process which is killed writes: any trail does.
fn registry_entries(n: usize) -> Vec<RegistryLogEntry> {
    let registry = ModelRegistry::in_memory();
    for i in 0..n {
        registry
            .bind_slot(&format!("slot {i}"), Digest::of(&i.to_le_bytes()), sign("test"))
            .unwrap();
    }
    registry.audit()
}

/// Not a test by itself: the process that the next one kills. Tells each write once it has returned.
#[test]
fn the_process_that_is_killed() {
    let (Ok(path), Ok(from)) = (std::env::var(CRASH_FILE), std::env::var(CRASH_FROM)) else {
        return;
    };
    let database = RedbDatabase::open(path).unwrap();
    let store = FeatureStore::new(std::sync::Arc::new(RedbFeatureStorage::new(&database)));
    let registry = RedbRegistryLog::new(&database);
    let artifacts = RedbArtifactStore::new(&database);
    let snapshots = RedbSnapshots::new(&database);
    let config = PredictionLogConfig { capacity: 500, ..PredictionLogConfig::default() };
    let predictions = RedbPredictionLog::new(&database, config).unwrap();
    let begin = registry.read(0, 100_000).unwrap().len();
    let entries = registry_entries(begin + 300);
    let from: u64 = from.parse().unwrap();
    std::thread::scope(|scope| {
        // Writers at once, as in a host.
        scope.spawn(|| {
            for i in from..from + PER_ROUND {
                let id = format!("f{i}");
                store
                    .register(&id, documentation(), FeatureSemantics::default(), sign("test"))
                    .unwrap();
                println!("ack feature {i}");
                artifacts.put(&artifact(i)).unwrap();
                println!("ack artifact {i}");
            }
        });
        scope.spawn(|| {
            for entry in &entries[begin..] {
                registry.append(entry).unwrap();
                println!("ack registry {}", entry.seq);
            }
        });
        scope.spawn(|| {
            for i in from..from + PER_ROUND {
                for j in 0..20 {
                    predictions.record(&prediction(20 * i + j), &[]);
                }
                predictions.flush().unwrap();
                println!("ack prediction {}", 20 * i + 19);
                let (one, two) = (i.to_le_bytes(), (!i).to_le_bytes());
                snapshots.put(&[("one", &one), ("two", &two)]).unwrap();
                println!("ack snapshot {i}");
            }
        });
    });
}

fn artifact(i: u64) -> Vec<u8> {
    i.to_le_bytes().repeat(500 + i as usize % 5000)
}

#[test]
fn a_process_that_is_killed_loses_nothing_it_has_acknowledged_and_tears_nothing() {
    const ROUNDS: u64 = 12;
    let file = File::new();
    let mut acknowledged: BTreeMap<String, u64> = BTreeMap::new();
    let mut n_acknowledged = 0;
    for round in 0..ROUNDS {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "the_process_that_is_killed", "--nocapture", "--test-threads=1"])
            .env(CRASH_FILE, &file.0)
            .env(CRASH_FROM, (round * PER_ROUND).to_string())
            .stdout(Stdio::piped())
            .stderr(Stdio::inherit())
            .spawn()
            .unwrap();
        // Somewhere between the first writes and the hundredth.
        let n = 5 + Seed(7).derive("kill", round).0 % 95;
        let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut acks = Vec::new();
        while acks.len() < n as usize {
            let line = lines.next().expect("the process ended by itself").unwrap();
            acks.extend(line.split_once("ack ").map(|(_, ack)| ack.to_owned()));
        }
        child.kill().unwrap(); // SIGKILL: no clean-up runs
        child.wait().unwrap();
        acks.extend(
            lines.map_while(|line| line.ok()?.split_once("ack ").map(|(_, a)| a.to_owned())),
        );
        n_acknowledged += acks.len();
        for ack in &acks {
            let (kind, number) = ack.split_once(' ').unwrap();
            // A line that was cut off by the kill says nothing.
            let Ok(number) = number.parse::<u64>() else { continue };
            let last = acknowledged.entry(kind.to_owned()).or_default();
            *last = number.max(*last);
        }
        look(&file, &acknowledged, round);
    }
    assert!(n_acknowledged as u64 > ROUNDS * 5, "{n_acknowledged} writes show little");
}

/// Everything acknowledged is there and whole, and the trails verify.
fn look(file: &File, acknowledged: &BTreeMap<String, u64>, round: u64) {
    let database = file.open();
    let last = |kind: &str| acknowledged.get(kind).copied();
    let from = round * PER_ROUND;
    let storage = RedbFeatureStorage::new(&database);
    let store = FeatureStore::new(std::sync::Arc::new(storage));
    store.verify().unwrap();
    if let Some(last) = last("feature").filter(|last| *last >= from) {
        (from..=last).for_each(|i| drop(store.get(&FeatureRef::new(&format!("f{i}"), 1)).unwrap()));
    }
    let artifacts = RedbArtifactStore::new(&database);
    if let Some(last) = last("artifact").filter(|last| *last >= from) {
        for i in from..=last {
            assert_eq!(artifacts.get(&Digest::of(&artifact(i))).unwrap(), artifact(i));
        }
    }
    let log = RedbRegistryLog::new(&database).read(0, 100_000).unwrap();
    AuditEntry::verify(&log).unwrap();
    assert!(log.len() as u64 >= last("registry").unwrap_or(0), "entries are lost");
    let config = PredictionLogConfig { capacity: 500, ..PredictionLogConfig::default() };
    let predictions = RedbPredictionLog::new(&database, config).unwrap();
    let kept = predictions.recent(&prediction(0).model, 1000).unwrap();
    let ids: Vec<u64> = kept.iter().map(|logged| logged.prediction.id).collect();
    assert!(kept.iter().all(|logged| logged.prediction == prediction(logged.prediction.id)));
    assert!(ids.first().copied() >= last("prediction"), "predictions are lost");
    assert!(ids.len() <= 500);
    assert!(
        ids.iter().filter(|id| **id >= 20 * from).count() % 20 == 0 || ids.len() == 500,
        "half a batch"
    );
    let snapshots = RedbSnapshots::new(&database);
    if let Some(last) = last("snapshot") {
        let number = |name| u64::from_le_bytes(snapshots.get(name).unwrap().try_into().unwrap());
        assert_eq!(number("one"), !number("two"), "half of a commit");
        assert!(number("one") >= last, "a snapshot is lost");
    }
}
