//! Artifacts, stores and the registry: what goes in comes out, damage is found, governance holds.

use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use riskcycle::model::{LogisticModel, Model, ModelCodecs, ModelExt};
use riskcycle::registry::{
    Artifact, ArtifactStore, AuditEntry, DirectoryArtifactStore, InMemoryArtifactStore,
    ModelRegistry, Stage,
};
use riskcycle::train::TrainingRecord;
use riskcycle::{
    Categories, Digest, Error, FeatureKind, FeatureSchema, ModelRef, Result, Seed, Timestamp,
};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn artifact(name: &str, intercept: f64) -> Artifact {
    let schema = FeatureSchema::new(["amount", "night"]).unwrap();
    let model =
        LogisticModel::new(schema, intercept, vec![0.5, 1.0], vec![10.0, 0.0], vec![2.0, 1.0]);
    artifact_of(name, Arc::new(model.unwrap()))
}

fn artifact_of(name: &str, model: Arc<dyn Model>) -> Artifact {
    let training = TrainingRecord {
        id: Digest::of(b"run"),
        trainer: "by hand".into(),
        parameters: vec![("l2".into(), "1".into())],
        seed: Seed(3),
        dataset: Digest::of(b"data"),
        feature_set: None,
        library: "0.1.0".into(),
        n_rows: 10,
        n_bad: 2,
        convergence: None,
    };
    let (name, author) = (name.to_owned(), "anna".to_owned());
    Artifact { name, author, created: NOW, threshold: 0.25, training, model }
}

fn registry() -> ModelRegistry {
    ModelRegistry::new(Arc::new(InMemoryArtifactStore::default()))
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

#[test]
fn an_artifact_comes_back_whole_and_scores_the_same_bits() {
    let artifact = artifact("fraud", -1.5);
    let bytes = artifact.to_bytes();
    let again = Artifact::from_bytes(&bytes, &ModelCodecs::default()).unwrap();
    let facts = |a: &Artifact| (a.name.clone(), a.author.clone(), a.created, a.threshold);
    assert_eq!(facts(&again), facts(&artifact));
    assert_eq!(again.training, artifact.training);
    for row in [[0.0, 1.0], [1e9, 0.0], [f64::NAN, 0.0], [12.5, 1.0]] {
        let score = |a: &Artifact| a.model.score_row(&row).unwrap().to_bits();
        assert_eq!(score(&again), score(&artifact));
    }
    assert_eq!(again.to_bytes(), bytes);
}

/// A change of these bytes is a change of the format and needs a new number.
#[test]
fn the_bytes_of_the_format_have_not_changed() {
    let bytes = artifact("fraud", -1.5).to_bytes();
    assert_eq!(&bytes[..12], b"\x89RSKM\r\n\x1a\x01\x00\x03\x00");
    let kept = include_bytes!("data/logistic_format_1.riskmodel");
    assert_eq!(bytes, kept);
}

#[test]
fn kinds_and_categories_travel_with_the_model() {
    let housing = Categories::new(["rent", "own"]).unwrap();
    let schema = FeatureSchema::with_kinds([
        ("housing", FeatureKind::Categorical(housing)),
        ("night", FeatureKind::Boolean),
        ("amount", FeatureKind::Numeric),
    ]);
    let model = LogisticModel::new(schema.unwrap(), 0.0, vec![1.0; 3], vec![0.0; 3], vec![1.0; 3]);
    let artifact = artifact_of("credit", Arc::new(model.unwrap()));
    let bytes = artifact.to_bytes();
    let again = Artifact::from_bytes(&bytes, &ModelCodecs::default()).unwrap();
    assert_eq!(again.model.schema(), artifact.model.schema());
    assert_eq!(again.to_bytes(), bytes);
}

#[test]
fn damaged_artifacts_are_refused_wherever_the_damage_is() {
    let bytes = artifact("fraud", -1.5).to_bytes();
    let load = |bytes: &[u8]| Artifact::from_bytes(bytes, &ModelCodecs::default());
    for end in 0..bytes.len() {
        assert!(load(&bytes[..end]).is_err());
    }
    for bit in 0..bytes.len() * 8 {
        let mut damaged = bytes.clone();
        damaged[bit / 8] ^= 1 << (bit % 8);
        assert!(matches!(load(&damaged), Err(Error::Corrupt { .. })));
    }
    let longer = [&bytes[..], b"x"].concat();
    assert!(load(&longer).unwrap_err().to_string().contains("bytes long"));
    assert!(
        load(b"not a model, whatever its length is, and it is long enough to have a header")
            .unwrap_err()
            .to_string()
            .contains("does not start")
    );
}

#[derive(Debug)]
struct Constant {
    schema: FeatureSchema,
    score: f64,
}

impl Model for Constant {
    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }
    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
        self.schema.check_rows(rows.len(), scores.len())?;
        scores.fill(self.score);
        Ok(())
    }
    fn kind(&self) -> &str {
        "constant"
    }
    fn to_bytes(&self) -> Vec<u8> {
        self.score.to_le_bytes().to_vec()
    }
}

#[test]
fn a_host_keeps_models_of_its_own_kind() {
    let schema = FeatureSchema::new(["amount"]).unwrap();
    let artifact = artifact_of("constant", Arc::new(Constant { schema, score: 0.125 }));
    let unknown = registry().register(&artifact, NOW).unwrap_err();
    assert!(unknown.to_string().contains("constant"), "{unknown}");
    let codecs = ModelCodecs::default()
        .with("constant", |schema, bytes| {
            let bytes = bytes.try_into().map_err(|_| Error::Corrupt {
                what: "constant".into(),
                reason: "not 8 bytes".into(),
            })?;
            Ok(Arc::new(Constant { schema, score: f64::from_le_bytes(bytes) }))
        })
        .unwrap();
    let registry = registry().with_codecs(codecs.clone());
    let version = registry.register(&artifact, NOW).unwrap();
    let loaded = registry.load(&version.model).unwrap();
    assert_eq!(loaded.model.score_row(&[1.0]).unwrap(), 0.125);
    let taken = codecs.with("logistic", |_, _| unreachable!());
    assert!(taken.unwrap_err().is_conflict());
}

#[test]
fn versions_count_up_and_promotion_needs_another_pair_of_eyes_and_a_reason() {
    let registry = registry();
    let one = registry.register(&artifact("fraud", -1.0), NOW).unwrap();
    let two = registry.register(&artifact("fraud", -2.0), NOW).unwrap();
    assert_eq!([one.model.to_string(), two.model.to_string()], ["fraud@1", "fraud@2"]);
    assert!(registry.register(&artifact("fraud", -2.0), NOW).unwrap_err().is_conflict());

    let promote = |model: &ModelRef, actor: &str, reason: &str| {
        registry.promote("cards", model, actor, reason, NOW)
    };
    assert!(matches!(promote(&one.model, "anna", "mine"), Err(Error::Refused { .. })));
    assert!(matches!(promote(&one.model, "bert", " "), Err(Error::Refused { .. })));
    assert!(matches!(promote(&one.model, "", "good"), Err(Error::Refused { .. })));
    let nobody = ModelRef { name: "fraud".into(), version: 9 };
    assert!(promote(&nobody, "bert", "good").unwrap_err().is_not_found());
    assert_eq!(registry.champion("cards"), None);

    promote(&one.model, "bert", "first").unwrap();
    assert!(promote(&one.model, "bert", "again").unwrap_err().is_conflict());
    promote(&two.model, "bert", "better").unwrap();
    assert_eq!(registry.champion("cards"), Some(two.model.clone()));
    assert_eq!(registry.version(&one.model).unwrap().stage, Stage::Retired);
    assert_eq!(registry.roll_back("cards", "cleo", "worse at night", NOW).unwrap(), one.model);
    assert_eq!(registry.champion("cards"), Some(one.model.clone()));
    assert_eq!(registry.version(&one.model).unwrap().stage, Stage::Champion);
    assert!(registry.roll_back("cards", "cleo", "further", NOW).is_err());
    assert_eq!(registry.audit().len(), 5);
}

#[test]
fn a_changed_audit_trail_is_found() {
    let registry = registry();
    let version = registry.register(&artifact("fraud", -1.0), NOW).unwrap();
    registry.promote("cards", &version.model, "bert", "first", NOW).unwrap();
    registry.register(&artifact("fraud", -2.0), NOW).unwrap();
    let trail = registry.audit();
    AuditEntry::verify(&trail).unwrap();
    let changes: [fn(&mut Vec<AuditEntry>); 6] = [
        |t| t[1].actor = "dora".into(),
        |t| t[1].reason = "none".into(),
        |t| t[0].at = Timestamp::default(),
        |t| drop(t.remove(1)),
        |t| t.swap(0, 1),
        |t| t[2].hash = Digest::of(b"another"),
    ];
    for change in changes {
        let mut changed = trail.clone();
        change(&mut changed);
        assert!(AuditEntry::verify(&changed).is_err());
    }
}

#[test]
fn every_store_keeps_its_contract() {
    let directory = DirectoryArtifactStore::open(folder("stores")).unwrap();
    for store in [&directory as &dyn ArtifactStore, &InMemoryArtifactStore::default()] {
        let digest = store.put(b"content").unwrap();
        assert_eq!(digest, Digest::of(b"content"));
        assert_eq!(store.put(b"content").unwrap(), digest);
        assert_eq!(store.get(&digest).unwrap(), b"content");
        assert!(store.get(&Digest::of(b"other")).unwrap_err().is_not_found());
        assert_eq!(store.get(&store.put(b"").unwrap()).unwrap(), b"");
    }
}

#[test]
fn a_directory_store_survives_leftovers_and_finds_and_mends_damage() {
    let path = folder("damage");
    let digest = DirectoryArtifactStore::open(&path).unwrap().put(b"content").unwrap();
    // What a crash before the rename leaves behind is no artifact.
    fs::write(path.join(format!("{digest}.1.tmp")), b"cont").unwrap();
    let store = DirectoryArtifactStore::open(&path).unwrap();
    assert_eq!(store.get(&digest).unwrap(), b"content");
    fs::write(store.path(&digest), b"c0ntent").unwrap();
    assert!(matches!(store.get(&digest), Err(Error::Corrupt { .. })));
    store.put(b"content").unwrap();
    assert_eq!(store.get(&digest).unwrap(), b"content");
    let file = path.join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(DirectoryArtifactStore::open(&file), Err(Error::Io { .. })));
}
