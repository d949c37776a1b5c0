//! The contract of [`RegistryLog`], as checks that any backend must pass.
//!
//! ```
//! use riskcycle::registry::InMemoryRegistryLog;
//! use riskcycle::testing::registry_log;
//!
//! registry_log::all(InMemoryRegistryLog::default);
//! ```
//! `fresh` gives an empty log each time it is called. Each check panics at the first broken promise and says which it is.

use std::collections::BTreeMap;
use std::sync::Barrier;

use crate::audit::{AuditHead, Signature};
use crate::ids::{Digest, ModelRef};
use crate::model::Convergence;
use crate::registry::{
    Evidence, EvidenceKind, RegistryEvent, RegistryLog, RegistryLogEntry, Stage,
};
use crate::seed::Seed;
use crate::time::Timestamp;
use crate::train::TrainingRecord;

/// All checks below.
///
/// # Panics
/// If one fails.
pub fn all<L: RegistryLog>(fresh: impl Fn() -> L) {
    a_fresh_log_is_empty(&fresh());
    entries_come_back_as_they_were(&fresh());
    an_append_is_a_compare_and_set(&fresh());
    of_writers_at_one_place_one_wins(&fresh());
}

/// Nothing is there before it is put there.
///
/// # Panics
/// If something is.
pub fn a_fresh_log_is_empty(log: &dyn RegistryLog) {
    assert_eq!(log.read(0, 10).unwrap(), [], "an empty log has entries");
    assert_eq!(log.read(7, 10).unwrap(), [], "an empty log has entries behind its end");
}

/// What was appended is read back bit for bit, page by page.
///
/// # Panics
/// If an entry differs.
pub fn entries_come_back_as_they_were(log: &dyn RegistryLog) {
    let written = entries(&events());
    written.iter().for_each(|entry| log.append(entry).unwrap());
    let read = log.read(0, 100).unwrap();
    assert_eq!(read, written, "other entries came back");
    RegistryLogEntry::verify(&read).expect("the log no longer verifies as it is read back");
    for after in 0..=written.len() {
        let page = log.read(after as u64, 2).unwrap();
        let rest = &written[after..];
        assert_eq!(page, rest[..rest.len().min(2)], "the page after {after} differs");
    }
}

/// An entry that does not follow the last one is a conflict and leaves no trace.
///
/// # Panics
/// If one is accepted, or leaves a trace.
pub fn an_append_is_a_compare_and_set(log: &dyn RegistryLog) {
    let ours = entries(&events()[..3]);
    let other = RegistryLogEntry::after(AuditHead::default(), sign("cleo"), events().remove(1));
    let too_early = log.append(&ours[1]).unwrap_err();
    assert!(too_early.is_conflict(), "an entry was appended without the one before: {too_early}");
    log.append(&ours[0]).unwrap();
    for stale in [&ours[0], &other, &ours[2]] {
        let error = log.append(stale).unwrap_err();
        assert!(error.is_conflict(), "entry {} should be a conflict: {error}", stale.seq);
    }
    let forked = RegistryLogEntry::after(other.head(), sign("cleo"), events().remove(2));
    assert!(log.append(&forked).unwrap_err().is_conflict(), "another history was continued");
    assert_eq!(log.read(0, 10).unwrap(), ours[..1], "a refused entry left a trace");
    log.append(&ours[1]).unwrap();
    assert_eq!(log.read(0, 10).unwrap(), ours[..2]);
}

/// Of threads that append at the same place exactly one is accepted, time after time.
///
/// # Panics
/// If none or several are.
pub fn of_writers_at_one_place_one_wins(log: &dyn RegistryLog) {
    const WRITERS: usize = 4;
    const ROUNDS: usize = 10;
    let barrier = Barrier::new(WRITERS);
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let barrier = &barrier;
            scope.spawn(move || {
                for _ in 0..ROUNDS {
                    let before = log.read(0, 100).unwrap();
                    let head = before.last().map(|last| last.head()).unwrap_or_default();
                    barrier.wait();
                    let actor = format!("writer {writer}");
                    let entry = RegistryLogEntry::after(head, sign(&actor), events().remove(1));
                    match log.append(&entry) {
                        Ok(()) => {}
                        Err(error) => assert!(error.is_conflict(), "{error}"),
                    }
                    barrier.wait();
                }
            });
        }
    });
    let kept = log.read(0, 100).unwrap();
    RegistryLogEntry::verify(&kept).expect("writers broke the chain");
    assert_eq!(kept.len(), ROUNDS, "not exactly one of the writers was accepted each time");
}

fn sign(actor: &str) -> Signature<'_> {
    Signature::new(actor, "for the conformance suite", Timestamp::from_micros(-1))
}

fn entries(events: &[RegistryEvent]) -> Vec<RegistryLogEntry> {
    let mut head = AuditHead::default();
    let sealed = events.iter().map(|event| {
        let entry = RegistryLogEntry::after(head, sign("anna: \"quoted\" \\ \n ü"), event.clone());
        head = entry.head();
        entry
    });
    sealed.collect()
}

/// One of each kind, with something in every field, and numbers that need all their bits.
fn events() -> Vec<RegistryEvent> {
    let model = |version| ModelRef { name: "fraud ü".into(), version };
    let training = TrainingRecord {
        id: Digest::of(b"run"),
        trainer: "by hand".into(),
        parameters: vec![("l2".into(), "0.1".into()), (String::new(), "\0".into())],
        seed: Seed(u64::MAX),
        dataset: Digest::of(b"data"),
        feature_set: Some(Digest::of(b"set")),
        library: "0.1.0".into(),
        n_rows: (1 << 53) + 1,
        n_bad: 2,
        convergence: Some(Convergence { gradient: 1.0 / 3.0, tolerance: 5e-324 }),
    };
    let metrics = BTreeMap::from([("roc_auc".to_owned(), 0.1 + 0.2), ("zero".to_owned(), -0.0)]);
    let report = Digest::of(b"report");
    let evidence = Evidence { kind: EvidenceKind::Shadow, report, n_rows: u64::MAX, metrics };
    let slot = || "cards/eu".to_owned();
    vec![
        RegistryEvent::Registered {
            model: model(1),
            artifact: Digest::of(b"artifact"),
            schema: Digest::of(b"schema"),
            training: Box::new(training),
            parent: Some(model(u32::MAX)),
            code_version: "a1b2c3".into(),
        },
        RegistryEvent::Attached { model: model(1), evidence },
        RegistryEvent::Moved {
            model: model(1),
            from: Stage::Validated,
            to: Stage::Staging,
            slot: Some(slot()),
        },
        RegistryEvent::Promoted {
            slot: slot(),
            model: model(1),
            from: Stage::Staging,
            replaced: Some(model(2)),
            break_glass: true,
        },
        RegistryEvent::RolledBack { slot: slot(), from: None, to: model(2) },
        RegistryEvent::SlotBound { slot: slot(), schema: Digest::of(b"schema") },
        RegistryEvent::Tagged { model: model(1), tag: "team".into(), value: Some("a b".into()) },
        RegistryEvent::Aliased { alias: "latest".into(), from: None, to: Some(model(1)) },
    ]
}
