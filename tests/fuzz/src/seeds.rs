//! Valid bytes for every way in: what mutations start from.

use std::io::{Read, Write};
use std::path::Path;
use std::sync::Arc;

use riskcycle::dataset::Dataset;
use riskcycle::drift::{DriftConfig, DriftWindow, ProfileConfig, ReferenceProfile};
use riskcycle::evaluate::{Costs, DecisionBands};
use riskcycle::experiment::{ExperimentStatistics, ExposureToken, RecorderConfig, Router};
use riskcycle::model::{
    BalancedBagging, BalancedBaggingConfig, BinningConfig, CalibratedModel, CalibrationMethod,
    Calibrator, DecisionTree, DecisionTreeConfig, GradientBoosting, GradientBoostingConfig,
    Imputation, LogisticModel, LogisticRegression, Model, ModelExt, Pipeline, ReasonConfig,
    ReasonGroup, ReasonText, ScorecardConfig, ScorecardTrainer, Trainer, Transform,
};
use riskcycle::monitor::{Monitor, MonitorConfig};
use riskcycle::ndarray::Array2;
use riskcycle::registry::{
    Artifact, DirectoryRegistryLog, LoadOptions, ModelRegistry, RegistryLog,
};
use riskcycle::serve::{Deployment, Lineup, ModelService, Request, SlotConfig};
use riskcycle::train::{JournalEntry, RunEntry, TrainingRun, Trial, TrialOutcome};
use riskcycle::{Digest, EntityKey, ModelRef, Seed, Timestamp};
use serde_json::Value;

use super::ways::{self, EXPERIMENT, KINDS, PROFILE};

/// Every target's seeds.
pub fn all() -> Vec<(&'static str, Vec<Vec<u8>>)> {
    vec![
        ("artifact", artifacts()),
        ("model", models()),
        ("foreign", foreign()),
        ("state", states()),
        ("text", texts()),
    ]
}

/// Artifacts of every kind of model.
pub fn artifacts() -> Vec<Vec<u8>> {
    let data = data();
    let created = Timestamp::from_date(2026, 1, 5);
    let artifact = |trainer: &dyn Trainer| {
        let run = TrainingRun::fit(trainer, &data, Some(Digest::of(b"set")), Seed(1)).unwrap();
        let bands = DecisionBands::new(0.5, 0.9).unwrap();
        let mut artifact = Artifact::new("seed", "anna", created, bands, run);
        artifact.costs = Some(Costs::default());
        artifact.attach(*b"note", b"anything".to_vec()).unwrap();
        let groups = artifact.model.schema().names().iter().map(|name| ReasonGroup {
            reason: ReasonText { code: name.clone(), text: format!("about {name}") },
            missing: None,
            features: vec![name.clone()],
        });
        artifact.reasons = Some(ReasonConfig::new(groups.collect()));
        artifact.to_bytes()
    };
    trainers().iter().map(|trainer| artifact(trainer.as_ref())).collect()
}

fn first_artifact() -> Artifact {
    Artifact::from_bytes(&artifacts()[0], &LoadOptions::default()).unwrap()
}

/// Models of every kind behind the byte for it.
pub fn models() -> Vec<Vec<u8>> {
    let data = data();
    let mut models: Vec<Arc<dyn Model>> =
        trainers().iter().map(|trainer| trainer.fit(&data, Seed(1)).unwrap().model).collect();
    let scores = models[2].score_dataset(&data).unwrap();
    let calibrator =
        Calibrator::fit(CalibrationMethod::Isotonic, data.labels(), &scores, None).unwrap();
    models.push(Arc::new(CalibratedModel::new(models[2].clone(), calibrator).unwrap()));
    let n = ways::schema().n_features();
    let (slopes, means) = (vec![0.5; n], vec![0.0; n]);
    let plain = LogisticModel::new(ways::schema(), -1.0, slopes, means, vec![1.0; n]);
    models.push(Arc::new(plain.unwrap()));
    let kind = |model: &dyn Model| {
        KINDS.iter().position(|kind| *kind == model.kind()).expect("a kind of ours") as u8
    };
    models.iter().map(|model| behind(kind(model.as_ref()), &model.to_bytes())).collect()
}

/// Models of other libraries, the small ones of those that the tests keep.
pub fn foreign() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = folder.ancestors().map(|f| f.join("tests/data/foreign")).find(|f| f.is_dir());
    let folder = folder.expect("the tests' data");
    let files = [("xgboost", 4), ("older", 4), ("lightgbm", 1), ("scikit_learn", 2)];
    let mut seeds = Vec::new();
    for (file, way) in files {
        let packed = std::fs::read(folder.join(format!("{file}.json.gz"))).unwrap();
        let mut text = String::new();
        flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
        for case in serde_json::from_str::<Vec<Value>>(&text).unwrap() {
            let model = match case["hex"].as_str() {
                Some(hex) => unhex(hex),
                None => case["model"].as_str().unwrap_or_default().as_bytes().to_vec(),
            };
            let way = if case["options"]["missing"].is_null() { way & !4 } else { way };
            if model.len() < 20_000 {
                seeds.push(behind(way | 16, &model));
            }
            if seeds.len() == 1 {
                seeds.push(behind(3, case["golden"].to_string().as_bytes()));
            }
        }
    }
    seeds
}

/// What processes hand each other.
pub fn states() -> Vec<Vec<u8>> {
    // Few events, and so many that a sketch no longer knows each.
    let snapshots = [40, 2_000].map(|n| {
        let features = ways::features();
        let mut row = vec![0.0; features.schema().n_features()];
        for i in 0..n {
            let event = ways::transaction(i, (i % 3) as u32);
            features.observe(&event, &mut row).unwrap();
            features.label(&event, event.fraud);
        }
        features.snapshot()
    });

    let config = RecorderConfig { requests: 64, units: 64, days: 40 };
    let mut statistics = ExperimentStatistics::new(&EXPERIMENT, config).unwrap();
    let unsealed = snapshots.iter().map(|snapshot| &snapshot[..snapshot.len() - 32]);
    let mut seeds: Vec<Vec<u8>> = unsealed.map(|snapshot| behind(0, snapshot)).collect();
    for i in 0..30 {
        let at = Timestamp::from_date(2026, 1, 6).plus(std::time::Duration::from_secs(600 * i));
        let unit = EntityKey(i % 7);
        let assignment = EXPERIMENT.router().route(unit, i, at);
        let token = ExposureToken::new(&assignment, unit, i, at, Some(0.25), false);
        let Some(token) = token else { continue };
        statistics.expose(&token);
        statistics.outcome(&token, i % 5 == 0, at.plus(riskcycle::days(2)));
        if i < 3 {
            seeds.push(behind(2, &token.to_bytes()));
        }
    }
    seeds.push(behind(1, &statistics.to_bytes()));

    seeds.push(behind(3, &PROFILE.to_bytes()));
    seeds.extend(counts());
    seeds
}

/// What a service, a monitor and a drift window have counted.
fn counts() -> [Vec<u8>; 3] {
    let start = Timestamp::from_date(2026, 1, 6);
    let monitor = Monitor::new(MonitorConfig::default()).unwrap();
    let window = DriftWindow::new(PROFILE.clone(), DriftConfig::default()).unwrap();
    let service = ModelService::default();
    let weights = vec![0.1, 0.5, 0.2];
    let model = LogisticModel::new(ways::schema(), -2.0, weights, vec![0.0; 3], vec![1.0; 3]);
    let version = ModelRef { name: "m".into(), version: 1 };
    let bands = DecisionBands::new(0.5, 0.9).unwrap();
    let champion = Deployment::new(version, Arc::new(model.unwrap()), bands);
    let (slot, schema) = (SlotConfig::default(), ways::schema());
    service.open("cards", schema, slot, Lineup::new(champion)).unwrap();
    for i in 0..30 {
        let at = start.plus(std::time::Duration::from_secs(3600 * i));
        monitor.traffic().tick(at);
        let row = [i as f64, (i % 2) as f64, (i % 3) as f64];
        let answer = service.predict("cards", &Request::new(i, at, EntityKey(i), &row)).unwrap();
        let gaps = window.observe_row(&row, (i % 3).checked_sub(1).map(|s| s as usize)).unwrap();
        window.observe_score(answer.score, None).unwrap();
        monitor.record(&answer, std::time::Duration::from_micros(i), gaps);
        monitor.label(i, i % 5 == 0, at.plus(riskcycle::days(2)));
    }
    let end = start.plus(riskcycle::days(3));
    [
        behind(4, &service.stats().to_bytes()),
        behind(5, &monitor.counts(end).to_bytes()),
        behind(6, &window.take(start, end).to_bytes()),
    ]
}

/// A reference with segments.
pub fn profile() -> ReferenceProfile {
    let data = data();
    let scores: Vec<f64> = (0..data.n_rows()).map(|i| i as f64 / 400.0).collect();
    let config = ProfileConfig { categorical: vec!["housing".into()], ..ProfileConfig::default() };
    let of_row: Vec<Option<usize>> = (0..data.n_rows()).map(|i| (i % 3).checked_sub(1)).collect();
    ReferenceProfile::segmented(&data, &scores, &config, &["web", "app"], &of_row).unwrap()
}

/// CSV files, one of them gzipped; a tuning journal; a run log; an entry of a registry's log.
pub fn texts() -> Vec<Vec<u8>> {
    let events = b"id,amount,note\n1,10.25,\"a, b\"\n2,-0.5,\n3,1e3,x\n";
    let rows = b"amount,night,housing,label,time\n1.5,0,rent,1,100\n,1,own,0,200\nx,true,,1,\n";
    let mut gz = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
    gz.write_all(events).unwrap();
    let trial = Trial {
        number: 0,
        parameters: Default::default(),
        share: 1.0,
        outcome: Some(TrialOutcome { mean: 0.5, deviation: 0.1 }),
        failure: None,
    };
    let journal = [JournalEntry::Search(Digest::of(b"search")), JournalEntry::Trial(trial)];
    let lines = |values: Vec<String>| (values.join("\n") + "\n").into_bytes();
    let journal = journal.iter().map(|entry| serde_json::to_string(entry).unwrap()).collect();
    let run = TrainingRun::fit(trainers()[0].as_ref(), &data(), None, Seed(1)).unwrap();
    let run = serde_json::to_string(&RunEntry::new(run.record)).unwrap();
    let registry = ModelRegistry::in_memory();
    let version = registry.register(&first_artifact(), Timestamp::default()).unwrap();
    let folder = std::env::temp_dir().join(format!("riskcycle-seeds-{}", std::process::id()));
    let log = DirectoryRegistryLog::open(&folder).unwrap();
    log.append(&registry.audit()[0]).unwrap();
    let entry = std::fs::read(log.path(version.revision)).unwrap();
    std::fs::remove_dir_all(folder).unwrap();
    vec![
        behind(4, &entry),
        behind(0, events),
        behind(0, &gz.finish().unwrap()),
        behind(1, rows),
        behind(2, &lines(journal)),
        behind(3, &lines(vec![run])),
    ]
}

/// Trainers of every kind of model; the third makes trees.
fn trainers() -> [Arc<dyn Trainer>; 6] {
    let tree = DecisionTreeConfig { max_depth: Some(3), ..DecisionTreeConfig::default() };
    let boosting = GradientBoostingConfig { n_trees: 3, ..GradientBoostingConfig::default() };
    let bags = BalancedBaggingConfig { bags: 2, ..BalancedBaggingConfig::default() };
    let impute = Transform::Impute(Imputation::Median);
    let logistic = Arc::new(LogisticRegression::default());
    let transforms = vec![Transform::FlagMissing, impute.clone(), Transform::OneHot];
    let woe = vec![Transform::WeightOfEvidence(BinningConfig::default())];
    [
        Arc::new(Pipeline::new(transforms, logistic.clone())),
        Arc::new(ScorecardTrainer::new(ScorecardConfig::default()).unwrap()),
        Arc::new(DecisionTree::new(tree.clone()).unwrap()),
        Arc::new(GradientBoosting::new(boosting).unwrap()),
        Arc::new(Pipeline::new(woe, logistic)),
        Arc::new(BalancedBagging::new(Arc::new(DecisionTree::new(tree).unwrap()), bags).unwrap()),
    ]
}

fn data() -> Dataset {
    let cell = |i: usize, j: usize| match j {
        0 if i % 7 == 3 => f64::NAN,
        0 => (i * 37 % 101) as f64,
        1 => (i % 2) as f64,
        _ => (i / 3 % 3) as f64,
    };
    let features = Array2::from_shape_fn((400, 3), |(i, j)| cell(i, j));
    let bad = (0..400).map(|i| (i * 37 % 101) < 20 + 25 * (i / 3 % 3) || i % 17 == 0).collect();
    Dataset::new(ways::schema(), features, bad).unwrap()
}

fn behind(way: u8, bytes: &[u8]) -> Vec<u8> {
    [&[way], bytes].concat()
}

fn unhex(hex: &str) -> Vec<u8> {
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.as_bytes().chunks(2).map(digits).collect()
}
