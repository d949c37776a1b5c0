//! The registry: governance holds, whatever comes in whatever order; history is kept, and damage to it is found.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use riskcycle::dataset::Dataset;
use riskcycle::evaluate::DecisionBands;
use riskcycle::model::{GoldenRows, LogisticModel};
use riskcycle::ndarray::Array2;
use riskcycle::registry::{
    Artifact, ArtifactStore, DirectoryArtifactStore, DirectoryRegistryLog, Evidence, EvidenceKind,
    InMemoryArtifactStore, InMemoryRegistryLog, ModelRegistry, ModelVersion, RegistryConfig,
    RegistryEvent, RegistryLog, RegistryLogEntry, ShadowRule, Stage,
};
use riskcycle::testing::{artifact_store, registry_log};
use riskcycle::train::{TrainingRecord, TrainingRun};
use riskcycle::{
    AuditHead, Digest, Error, FeatureSchema, ModelRef, Result, Seed, Signature, Timestamp,
};

const NOW: Timestamp = Timestamp::from_seconds(1_800_000_000);

fn later(seconds: u64) -> Timestamp {
    NOW.plus(Duration::from_secs(seconds))
}

fn sign(actor: &'static str) -> Signature<'static> {
    Signature::new(actor, "tested", NOW)
}

fn sign_at(actor: &'static str, seconds: u64) -> Signature<'static> {
    Signature::new(actor, "tested", later(seconds))
}

/// Made by anna; another number, another artifact.
fn artifact_with(name: &str, number: f64, columns: [&str; 2]) -> Artifact {
    let schema = FeatureSchema::new(columns).unwrap();
    let (zero, one) = (vec![0.0; 2], vec![1.0; 2]);
    let model = LogisticModel::new(schema.clone(), number, one.clone(), zero, one).unwrap();
    let data = Dataset::new(schema, Array2::eye(2), vec![true, false]).unwrap();
    let golden = GoldenRows::of(&model, &data).unwrap();
    let record = TrainingRecord {
        id: Digest::of(&number.to_le_bytes()),
        trainer: "by hand".into(),
        parameters: vec![("l2".into(), number.to_string())],
        seed: Seed(3),
        dataset: Digest::of(b"data"),
        feature_set: None,
        library: "0.1.0".into(),
        n_rows: 10,
        n_bad: 2,
        convergence: None,
    };
    let run = TrainingRun { model: Arc::new(model), record, golden };
    let bands = DecisionBands::review_from(0.25).unwrap();
    Artifact::new(name, "anna", NOW, bands, run)
}

fn artifact(number: f64) -> Artifact {
    artifact_with("fraud", number, ["amount", "night"])
}

fn evaluation() -> Evidence {
    Evidence::new(EvidenceKind::Evaluation, b"report", 100).with_metric("roc_auc", 0.8)
}

fn registered(registry: &ModelRegistry, number: f64) -> ModelVersion {
    registry.register(&artifact(number), NOW).unwrap()
}

fn shipped(registry: &ModelRegistry, number: f64, slot: &str) -> ModelVersion {
    registry.ship(&registered(registry, number), slot, evaluation(), sign("bert")).unwrap()
}

fn folder(name: &str) -> PathBuf {
    let folder = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_dir_all(&folder);
    folder
}

fn in_folder(folder: &PathBuf) -> Result<ModelRegistry> {
    let store = DirectoryArtifactStore::open(folder)?;
    let log = DirectoryRegistryLog::open(folder)?;
    ModelRegistry::open(RegistryConfig::default(), Arc::new(store), Arc::new(log))
}

fn is_refused(result: Result<ModelVersion>, words: &str) {
    let error = result.unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    assert!(error.to_string().contains(words), "{error}");
}

#[test]
fn a_version_goes_the_whole_way_and_back() {
    let registry = ModelRegistry::in_memory();
    let version = registered(&registry, -1.0);
    assert_eq!((version.model.to_string(), version.stage), ("fraud@1".into(), Stage::Registered));
    is_refused(registry.validate(&version, sign("bert")), "no evaluation");
    let version = registry.attach(&version, evaluation(), sign("anna")).unwrap();
    is_refused(
        registry.approve(&version, "cards", sign("bert")),
        "is registered and has to be validated",
    );
    let version = registry.validate(&version, sign("anna")).unwrap();
    is_refused(registry.approve(&version, "cards", sign(" anna ")), "anna made it");
    let version = registry.approve(&version, "cards", sign("bert")).unwrap();
    let version = registry.shadow(&version, sign("bert")).unwrap();
    let version = registry.canary(&version, sign("bert")).unwrap();
    is_refused(registry.promote(&version, sign("anna")), "anna made it");
    let first = registry.promote(&version, sign("bert")).unwrap();
    assert_eq!((first.stage, first.slot.as_deref()), (Stage::Champion, Some("cards")));

    let second = shipped(&registry, -2.0, "cards");
    assert_eq!(registry.champion("cards"), Some(second.model.clone()));
    assert_eq!(registry.version(&first.model).unwrap().stage, Stage::Retired);
    let back = registry.roll_back("cards", Some(&second.model), sign("cleo")).unwrap();
    assert_eq!((&back.model, back.stage), (&first.model, Stage::Champion));
    let second = registry.version(&second.model).unwrap();
    assert_eq!(second.stage, Stage::Retired);
    let none_earlier = registry.roll_back("cards", Some(&first.model), sign("cleo"));
    is_refused(none_earlier, "no earlier champion");

    let archived = registry.archive(&second, sign("cleo")).unwrap();
    is_refused(registry.break_glass(&archived, "cards", sign("cleo")), "is archived");
    let third = registered(&registry, -3.0);
    let rejected = registry.reject(&third, sign("bert")).unwrap();
    is_refused(registry.validate(&rejected, sign("bert")), "is rejected");
    RegistryLogEntry::verify(&registry.audit()).unwrap();
    assert_eq!(registry.head().seq, registry.audit().len() as u64);
}

#[test]
fn every_step_needs_an_actor_a_reason_and_a_time_not_before_the_last() {
    let registry = ModelRegistry::in_memory();
    let version = registered(&registry, -1.0);
    for (actor, reason) in [("", "good"), (" ", "good"), ("bert", " ")] {
        is_refused(
            registry.attach(&version, evaluation(), Signature::new(actor, reason, NOW)),
            "an actor and a reason",
        );
    }
    let early = Signature::new("bert", "good", NOW.minus(Duration::from_secs(1)));
    let error = registry.attach(&version, evaluation(), early).unwrap_err();
    assert!(matches!(error, Error::InvalidInput { .. }), "{error}");
    let mut nameless = artifact(-9.0);
    nameless.author = " ".into();
    assert!(matches!(registry.register(&nameless, NOW), Err(Error::Refused { .. })));
    let nan = evaluation().with_metric("ks", f64::NAN);
    assert!(registry.attach(&version, nan, sign("bert")).is_err());
    assert!(registry.approve(&version, " ", sign("bert")).is_err());
    assert_eq!(registry.audit().len(), 1, "a refused step left an entry");
}

#[test]
fn whoever_decides_on_what_has_changed_since_gets_a_conflict() {
    let registry = ModelRegistry::in_memory();
    let stale = registered(&registry, -1.0);
    let version = registry.attach(&stale, evaluation(), sign("anna")).unwrap();
    assert!(registry.validate(&stale, sign("anna")).unwrap_err().is_conflict());
    let version = registry.validate(&version, sign("anna")).unwrap();
    let one = registry.approve(&version, "cards", sign("bert")).unwrap();
    let two = registry.attach(&registered(&registry, -2.0), evaluation(), sign("anna")).unwrap();
    let two = registry.validate(&two, sign("anna")).unwrap();
    let two = registry.approve(&two, "cards", sign("bert")).unwrap();
    registry.promote(&one, sign("bert")).unwrap();
    // A new champion is a change for every version of the slot.
    assert!(registry.promote(&two, sign("bert")).unwrap_err().is_conflict());
    let two = registry.version(&two.model).unwrap();
    registry.promote(&two, sign("bert")).unwrap();
    let stale_roll_back = registry.roll_back("cards", Some(&one.model), sign("bert"));
    assert!(stale_roll_back.unwrap_err().is_conflict());
    assert!(registry.register(&artifact(-2.0), NOW).unwrap_err().is_conflict());
    let unknown = ModelRef { name: "fraud".into(), version: 9 };
    assert!(registry.version(&unknown).unwrap_err().is_not_found());
}

#[test]
fn a_slot_takes_only_versions_of_its_features() {
    let registry = ModelRegistry::in_memory();
    let first = shipped(&registry, -1.0, "cards");
    let wider = registry.register(&artifact_with("fraud", -2.0, ["amount", "hour"]), NOW).unwrap();
    let ship = |version: &ModelVersion| registry.ship(version, "cards", evaluation(), sign("bert"));
    is_refused(ship(&wider), "bind the slot anew");
    registry.bind_slot("cards", wider.schema, sign("bert")).unwrap();
    let wider = registry.version(&wider.model).unwrap();
    let wider = registry.approve(&wider, "cards", sign("bert")).unwrap();
    let wider = registry.promote(&wider, sign("bert")).unwrap();
    // The champion before takes other rows than those that come now.
    is_refused(registry.roll_back("cards", Some(&wider.model), sign("bert")), "it takes features");
    let first = registry.version(&first.model).unwrap();
    is_refused(registry.break_glass(&first, "cards", sign("bert")), "it takes features");
}

#[test]
fn shadow_evidence_is_asked_for_where_the_configuration_says_so() {
    let config =
        RegistryConfig { shadow: Some(ShadowRule { time: Duration::from_secs(3600), rows: 1000 }) };
    let (store, log) = (InMemoryArtifactStore::default(), InMemoryRegistryLog::default());
    let registry = ModelRegistry::open(config, Arc::new(store), Arc::new(log)).unwrap();
    is_refused(
        registry.ship(&registered(&registry, -1.0), "cards", evaluation(), sign("bert")),
        "0ns in shadow",
    );
    let version = registry.versions().remove(0);
    assert_eq!(version.stage, Stage::Staging);
    let version = registry.shadow(&version, sign("bert")).unwrap();
    let seen = |rows| Evidence::new(EvidenceKind::Shadow, b"shadow report", rows);
    let few = registry.attach(&version, seen(999), sign_at("bert", 3600)).unwrap();
    is_refused(registry.promote(&few, sign_at("bert", 3600)), "999 rows");
    let enough = registry.attach(&few, seen(1000), sign_at("bert", 3600)).unwrap();
    let canary = registry.canary(&enough, sign_at("bert", 3600)).unwrap();
    assert_eq!(registry.promote(&canary, sign_at("bert", 3600)).unwrap().stage, Stage::Champion);

    // The glass may be broken, and the log says so.
    let urgent = registry.register(&artifact(-2.0), later(3600)).unwrap();
    registry.break_glass(&urgent, "cards", sign_at("anna", 3600)).unwrap();
    let last = registry.audit().pop().unwrap();
    assert!(matches!(last.event, RegistryEvent::Promoted { break_glass: true, .. }));
    assert!(last.to_string().contains("breaking the glass: tested"), "{last}");
}

#[test]
fn a_quarantined_champion_leaves_and_comes_back_only_through_other_hands() {
    let registry = ModelRegistry::in_memory();
    let first = shipped(&registry, -1.0, "cards");
    let second = shipped(&registry, -2.0, "cards");
    let bad = registry.quarantine(&second, sign("bert")).unwrap();
    assert_eq!(registry.champion("cards"), None);
    is_refused(registry.quarantine(&bad, sign("bert")), "already");
    is_refused(registry.break_glass(&bad, "cards", sign("cleo")), "is quarantined");
    is_refused(registry.release(&bad, sign("bert")), "bert quarantined it");
    is_refused(registry.release(&bad, sign("anna")), "anna made it");
    let back = registry.roll_back("cards", None, sign("cleo")).unwrap();
    assert_eq!(back.model, first.model);
    // The roll-back was a change for all versions of the slot.
    assert!(registry.release(&bad, sign("cleo")).unwrap_err().is_conflict());
    let bad = registry.version(&bad.model).unwrap();
    assert_eq!(registry.release(&bad, sign("cleo")).unwrap().stage, Stage::Registered);
}

#[test]
fn a_version_without_enough_golden_rows_is_not_validated() {
    let registry = ModelRegistry::in_memory();
    let mut few = artifact(-1.0);
    few.golden = Some(GoldenRows::new(vec![0.0, 0.0], vec![score(&few, &[0.0, 0.0])]).unwrap());
    let version = registry.register(&few, NOW).unwrap();
    let version = registry.attach(&version, evaluation(), sign("bert")).unwrap();
    is_refused(registry.validate(&version, sign("bert")), "1 golden rows; 32 are needed");
}

fn score(artifact: &Artifact, row: &[f64]) -> f64 {
    let mut score = [f64::NAN];
    artifact.model.score(row, &mut score).unwrap();
    score[0]
}

#[test]
fn history_knows_who_was_champion_when() {
    let registry = ModelRegistry::in_memory();
    let ship = |number: f64, at: u64| {
        let version = registry.register(&artifact(number), later(at)).unwrap();
        registry.ship(&version, "cards", evaluation(), sign_at("bert", at)).unwrap().model
    };
    let (one, two) = (ship(-1.0, 10), ship(-2.0, 20));
    registry.roll_back("cards", Some(&two), sign_at("cleo", 30)).unwrap();
    let as_of = |at: u64| registry.champion_as_of("cards", later(at));
    assert_eq!(as_of(9), None);
    assert_eq!([as_of(10), as_of(19)], [Some(one.clone()), Some(one.clone())]);
    assert_eq!([as_of(20), as_of(29)], [Some(two.clone()), Some(two)]);
    assert_eq!(as_of(1_000_000), Some(one));
    assert_eq!(registry.champion_as_of("elsewhere", NOW), None);
    // A version from before may not slip in before what has happened since.
    let version = registry.register(&artifact(-3.0), later(5)).unwrap();
    let early = registry.ship(&version, "cards", evaluation(), sign_at("bert", 5)).unwrap_err();
    assert!(matches!(early, Error::InvalidInput { .. }), "{early}");
}

#[test]
fn versions_tell_what_they_come_from_and_how_they_differ() {
    let registry = ModelRegistry::in_memory();
    let first = shipped(&registry, -1.0, "cards");
    let mut child = artifact(-2.0);
    (child.parent, child.code_version) = (Some(first.model.clone()), "a1b2c3".into());
    let child = registry.register(&child, NOW).unwrap();
    let line = registry.lineage(&child.model).unwrap();
    let line: Vec<String> = line.iter().map(|version| version.model.to_string()).collect();
    assert_eq!(line, ["fraud@2", "fraud@1"]);
    assert_eq!(child.training.dataset, Digest::of(b"data"));
    let mut orphan = artifact(-3.0);
    orphan.parent = Some(ModelRef { name: "fraud".into(), version: 9 });
    assert!(registry.register(&orphan, NOW).unwrap_err().is_not_found());

    let child = registry.tag(&child, "team", Some("night"), sign("bert")).unwrap();
    assert_eq!(child.tags, BTreeMap::from([("team".into(), "night".into())]));
    let diff = registry.diff(&first.model, &child.model).unwrap();
    let differs = |what: &str| {
        let found = diff.differences.iter().find(|(name, _, _)| name == what);
        found.map(|(_, here, there)| (here.as_str(), there.as_str()))
    };
    assert_eq!(differs("code"), Some(("-", "a1b2c3")));
    assert_eq!(differs("parent"), Some(("-", "fraud@1")));
    assert_eq!(differs("stage"), Some(("champion", "registered")));
    assert_eq!(differs("tag team"), Some(("-", "night")));
    assert_eq!(differs("training l2"), Some(("-1", "-2")));
    assert_eq!(differs("evaluation roc_auc"), Some(("0.8", "-")));
    assert_eq!(differs("author"), None);
    let table = diff.to_string();
    assert!(table.lines().next().unwrap().trim().starts_with("fraud@1"), "{table}");
    assert!(table.contains("code") && table.contains("a1b2c3"), "{table}");
    assert_eq!(registry.diff(&child.model, &child.model).unwrap().differences, []);

    let child = registry.tag(&child, "team", None, sign("bert")).unwrap();
    assert!(child.tags.is_empty());
    registry.set_alias("blue", None, &child, sign("bert")).unwrap();
    assert_eq!(registry.alias("blue"), Some(child.model.clone()));
    let first = registry.version(&first.model).unwrap();
    assert!(registry.set_alias("blue", None, &first, sign("bert")).unwrap_err().is_conflict());
    registry.set_alias("blue", Some(&child.model), &first, sign("bert")).unwrap();
    assert_eq!(registry.alias("blue"), Some(first.model));
    assert!(registry.set_alias("a@b", None, &child, sign("bert")).is_err());
}

#[test]
fn a_registry_opened_again_knows_the_same() {
    let folder = folder("reopened");
    let registry = in_folder(&folder).unwrap();
    shipped(&registry, -1.0, "cards");
    let second = shipped(&registry, -2.0, "cards");
    registry.roll_back("cards", Some(&second.model), sign("cleo")).unwrap();
    let again = in_folder(&folder).unwrap();
    assert_eq!(again.versions(), registry.versions());
    assert_eq!(
        (again.champion("cards"), again.head()),
        (registry.champion("cards"), registry.head())
    );
    assert_eq!(again.audit(), registry.audit());
    assert!(again.load(&second.model).is_ok());

    // What one of them writes the other sees when it looks.
    let third = shipped(&again, -3.0, "cards");
    assert_ne!(registry.champion("cards"), Some(third.model.clone()));
    registry.refresh().unwrap();
    assert_eq!(registry.champion("cards"), Some(third.model));
}

#[test]
fn registries_over_one_log_do_not_lose_each_others_steps() {
    let folder = folder("shared");
    let names = ["a", "b", "c", "d"];
    std::thread::scope(|scope| {
        for name in names {
            let folder = &folder;
            scope.spawn(move || {
                let registry = in_folder(folder).unwrap();
                for number in 1..=5 {
                    let artifact = artifact_with(name, f64::from(number), ["amount", "night"]);
                    let version = registry.register(&artifact, NOW).unwrap();
                    registry.ship(&version, name, evaluation(), sign("bert")).unwrap();
                }
            });
        }
    });
    let registry = in_folder(&folder).unwrap();
    assert_eq!(registry.audit().len(), names.len() * 5 * 5);
    for name in names {
        assert_eq!(registry.champion(name).unwrap().to_string(), format!("{name}@5"));
    }
}

#[test]
fn any_flipped_bit_or_missing_entry_of_a_kept_log_is_found() {
    let folder = folder("tampered");
    let registry = in_folder(&folder).unwrap();
    let first = shipped(&registry, -1.0, "cards");
    let first = registry.tag(&first, "team", Some("night"), sign("bert")).unwrap();
    registry.set_alias("blue", None, &first, sign("bert")).unwrap();
    let log = DirectoryRegistryLog::open(&folder).unwrap();
    let n = registry.head().seq;
    assert_eq!(n, 7);
    let opened = || in_folder(&folder).map(|registry| registry.head());
    for seq in 1..=n {
        let path = log.path(seq);
        let bytes = fs::read(&path).unwrap();
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            fs::write(&path, &damaged).unwrap();
            let error = log.read(seq - 1, 1).expect_err("a flipped bit went unnoticed");
            assert!(matches!(error, Error::Corrupt { .. }), "entry {seq}, bit {bit}: {error}");
        }
        assert!(matches!(opened(), Err(Error::Corrupt { .. })), "entry {seq} is not looked at");
        for end in [0, bytes.len() / 2, bytes.len() - 1] {
            fs::write(&path, &bytes[..end]).unwrap();
            assert!(matches!(opened(), Err(Error::Corrupt { .. })), "entry {seq} cut at {end}");
        }
        fs::remove_file(&path).unwrap();
        match seq == n {
            // Off the end only whoever has kept the head can tell.
            true => assert_ne!(opened().unwrap(), registry.head()),
            false => assert!(matches!(opened(), Err(Error::Corrupt { .. })), "entry {seq} is gone"),
        }
        fs::write(&path, &bytes).unwrap();
    }
    let (one, two) = (fs::read(log.path(1)).unwrap(), fs::read(log.path(2)).unwrap());
    fs::write(log.path(1), &two).unwrap();
    fs::write(log.path(2), &one).unwrap();
    assert!(opened().is_err(), "two entries changed places");
    fs::write(log.path(1), &one).unwrap();
    fs::write(log.path(2), &two).unwrap();
    // What a crash leaves beside the entries is none.
    fs::write(folder.join(format!("{:020}.event.1-0.tmp", n + 1)), b"half").unwrap();
    assert_eq!(opened().unwrap(), registry.head());
}

/// A log that somebody with the hash function wrote is whole, and still not one that the rules allow.
#[test]
fn a_sealed_history_that_cannot_be_is_refused() {
    let registry = ModelRegistry::in_memory();
    let first = shipped(&registry, -1.0, "cards");
    let trail = registry.audit();
    let unknown = ModelRef { name: "fraud".into(), version: 7 };
    let slot = || "cards".to_owned();
    let moved = |model: &ModelRef, from, to| RegistryEvent::Moved {
        model: model.clone(),
        from,
        to,
        slot: None,
    };
    let promoted = |from, replaced| {
        let (slot, model) = (slot(), unknown.clone());
        RegistryEvent::Promoted { slot, model, from, replaced, break_glass: true }
    };
    for event in [
        moved(&unknown, Stage::Registered, Stage::Validated),
        moved(&first.model, Stage::Retired, Stage::Staging),
        moved(&first.model, Stage::Champion, Stage::Champion),
        promoted(Stage::Staging, Some(first.model.clone())),
        promoted(Stage::Staging, None),
        RegistryEvent::RolledBack {
            slot: slot(),
            from: Some(first.model.clone()),
            to: unknown.clone(),
        },
        RegistryEvent::Attached { model: unknown.clone(), evidence: evaluation() },
        trail[0].event.clone(),
    ] {
        let log = InMemoryRegistryLog::default();
        trail.iter().for_each(|entry| log.append(entry).unwrap());
        log.append(&sealed(registry.head(), event)).unwrap();
        let store = Arc::new(InMemoryArtifactStore::default());
        let opened = ModelRegistry::open(RegistryConfig::default(), store, Arc::new(log));
        assert!(matches!(opened, Err(Error::Corrupt { .. })), "{opened:?}");
    }
}

/// An entry with a proper seal, as a forger makes it: taken from a registry that was led to write it at this place.
fn sealed(head: AuditHead, event: RegistryEvent) -> RegistryLogEntry {
    let at = NOW;
    let (actor, reason) = ("mallory".to_owned(), "forged".to_owned());
    let (seq, previous) = (head.seq + 1, head.hash);
    let fields = (seq, at, &actor, &reason, &event, previous);
    let bytes = bincode::serde::encode_to_vec(fields, bincode::config::standard()).unwrap();
    let hash = Digest::of(&bytes);
    RegistryLogEntry { seq, at, actor, reason, event, previous, hash }
}

#[test]
fn every_store_and_log_keeps_its_contract() {
    artifact_store::all(InMemoryArtifactStore::default);
    registry_log::all(InMemoryRegistryLog::default);
    let mut n = 0;
    let mut fresh = |kind: &str| {
        n += 1;
        folder(&format!("{kind}-{n}"))
    };
    let folders: Vec<PathBuf> = (0..3).map(|_| fresh("store")).collect();
    let next = std::cell::RefCell::new(folders.into_iter());
    artifact_store::all(|| {
        DirectoryArtifactStore::open(next.borrow_mut().next().unwrap()).unwrap()
    });
    let folders: Vec<PathBuf> = (0..4).map(|_| fresh("log")).collect();
    let next = std::cell::RefCell::new(folders.into_iter());
    registry_log::all(|| DirectoryRegistryLog::open(next.borrow_mut().next().unwrap()).unwrap());
}

#[test]
fn a_directory_store_survives_leftovers_and_finds_and_mends_damage() {
    let path = folder("damage");
    let digest = DirectoryArtifactStore::open(&path).unwrap().put(b"content").unwrap();
    // What a crash before the rename leaves behind is no artifact.
    fs::write(path.join(format!("{digest}.riskmodel.1-0.tmp")), b"cont").unwrap();
    let store = DirectoryArtifactStore::open(&path).unwrap();
    assert_eq!(store.get(&digest).unwrap(), b"content");
    fs::write(store.path(&digest), b"c0ntent").unwrap();
    assert!(matches!(store.get(&digest), Err(Error::Corrupt { .. })));
    store.put(b"content").unwrap();
    assert_eq!(store.get(&digest).unwrap(), b"content");
    let file = path.join("file");
    fs::write(&file, b"").unwrap();
    assert!(matches!(DirectoryArtifactStore::open(&file), Err(Error::Io { .. })));
    assert!(matches!(DirectoryRegistryLog::open(&file), Err(Error::Io { .. })));
}

/// Names the folder that a process started by the test below works in.
const CRASH_FOLDER: &str = "RISKCYCLE_TEST_CRASH_FOLDER";

/// Runs itself in another process, which registers and promotes without end and says so after each step, and kills that
/// process at one moment after the other.
#[test]
fn a_process_killed_at_any_point_loses_nothing_that_it_was_told_is_kept() {
    if let Some(folder) = std::env::var_os(CRASH_FOLDER) {
        work_until_killed(&folder.into());
    }
    let folder = folder("crash");
    let mut number = 0_u64;
    for round in 0..12_u64 {
        let name = "a_process_killed_at_any_point_loses_nothing_that_it_was_told_is_kept";
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", name, "--nocapture", "--test-threads=1"])
            .env(CRASH_FOLDER, &folder)
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let output = BufReader::new(child.stdout.take().unwrap());
        let mut told = output.lines().map(|line| line.unwrap()).filter_map(|line| {
            let (seq, hash) = line.split_once("#kept ")?.1.split_once(' ')?;
            Some((seq.parse::<u64>().unwrap(), hash.to_owned()))
        });
        let n_steps = 1 + (round * 7 % 5) as usize;
        let mut kept: Vec<(u64, String)> = told.by_ref().take(n_steps).collect();
        assert_eq!(kept.len(), n_steps, "the process ended by itself");
        // Another while of work, so that the kill falls within a step, not always right behind one.
        (0..round * 20_000).for_each(|i| number = std::hint::black_box(number ^ i));
        child.kill().unwrap();
        child.wait().unwrap();
        kept.extend(told);
        let registry = in_folder(&folder).unwrap();
        let trail = registry.audit();
        RegistryLogEntry::verify(&trail).unwrap();
        for (seq, hash) in kept {
            assert_eq!(trail[seq as usize - 1].hash.to_string(), hash, "entry {seq} was lost");
        }
        for version in registry.versions() {
            registry.load(&version.model).unwrap();
        }
    }
}

fn work_until_killed(folder: &PathBuf) -> ! {
    let registry = in_folder(folder).unwrap();
    let told = || {
        let AuditHead { seq, hash } = registry.head();
        println!("#kept {seq} {hash}");
        std::io::stdout().flush().unwrap();
    };
    for number in registry.versions().len().. {
        let version = registered(&registry, number as f64);
        told();
        registry.ship(&version, "cards", evaluation(), sign("bert")).unwrap();
        told();
    }
    unreachable!("numbers do not end");
}

/// A step of a random walk: what to do to which version.
fn act(registry: &ModelRegistry, step: u8, version: &ModelVersion, other_slot: bool) -> Result<()> {
    let slot = if other_slot { "cards" } else { "credit" };
    let (anna, bert, cleo) = (sign("anna"), sign("bert"), sign("cleo"));
    match step % 13 {
        0 => registry.attach(version, evaluation(), anna),
        1 => registry.validate(version, anna),
        2 => registry.approve(version, slot, bert),
        3 => registry.shadow(version, bert),
        4 => registry.canary(version, bert),
        5 | 6 => registry.promote(version, bert),
        7 => registry.roll_back(slot, registry.champion(slot).as_ref(), cleo),
        8 => registry.break_glass(version, slot, anna),
        9 => registry.quarantine(version, bert),
        10 => registry.release(version, cleo),
        11 => registry.archive(version, bert),
        _ => registry.reject(version, bert),
    }
    .map(drop)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn any_walk_leaves_one_champion_at_most_and_a_state_that_follows_from_the_log(
        steps in prop::collection::vec((any::<u8>(), 0_usize..3, any::<bool>()), 1..60),
    ) {
        let store = Arc::new(InMemoryArtifactStore::default());
        let log = Arc::new(InMemoryRegistryLog::default());
        let open = || {
            ModelRegistry::open(RegistryConfig::default(), store.clone(), log.clone()).unwrap()
        };
        let registry = open();
        let models = [-1.0, -2.0, -3.0].map(|number| registered(&registry, number).model);
        for (step, which, other_slot) in steps {
            let before = (registry.versions(), registry.head());
            let version = registry.version(&models[which]).unwrap();
            let done = act(&registry, step, &version, other_slot);
            match &done {
                Ok(()) => prop_assert_eq!(registry.head().seq, before.1.seq + 1),
                Err(error) => {
                    prop_assert!(matches!(error, Error::Refused { .. }), "{}", error);
                    prop_assert_eq!(&(registry.versions(), registry.head()), &before);
                }
            }
            let mut champions = BTreeMap::new();
            for version in registry.versions() {
                if version.stage == Stage::Champion {
                    let slot = version.slot.clone().unwrap();
                    prop_assert_eq!(registry.champion(&slot), Some(version.model.clone()));
                    prop_assert!(champions.insert(slot, version.model).is_none());
                }
            }
            for slot in ["cards", "credit"] {
                prop_assert_eq!(registry.champion(slot), champions.get(slot).cloned());
                prop_assert_eq!(registry.champion_as_of(slot, NOW), champions.get(slot).cloned());
            }
        }
        prop_assert_eq!(open().versions(), registry.versions());
        // Every prefix of the log is a registry of its own.
        let trail = registry.audit();
        let prefix = Arc::new(InMemoryRegistryLog::default());
        for entry in &trail {
            prefix.append(entry).unwrap();
            ModelRegistry::open(RegistryConfig::default(), store.clone(), prefix.clone()).unwrap();
        }
    }

    #[test]
    fn a_roll_back_brings_the_same_scores_back(first in -3.0..3.0, second in -3.0..3.0, row in [-9.0..9.0, -9.0..9.0_f64]) {
        prop_assume!(first != second);
        let registry = ModelRegistry::in_memory();
        let scored = || {
            let champion = registry.champion("cards").unwrap();
            score(&registry.load(&champion).unwrap(), &row).to_bits()
        };
        shipped(&registry, first, "cards");
        let (before, head) = (scored(), registry.head().seq);
        let champion = shipped(&registry, second, "cards");
        registry.roll_back("cards", Some(&champion.model), sign("cleo")).unwrap();
        prop_assert_eq!(scored(), before);
        prop_assert!(registry.head().seq > head);
    }
}
