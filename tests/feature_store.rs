//! The feature store: metadata under compare-and-set, the life of a version and its guards, lineage, profiles, and a
//! log that cannot be bent unnoticed.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Barrier, Mutex};

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use riskcycle::feature::store::*;
use riskcycle::feature::{
    Aggregate, Current, Definition, Feature, FeatureSet, Labels, Source, Width, Window,
};
use riskcycle::testing::feature_storage;
use riskcycle::{
    AuditEntry, AuditHead, EntityKey, Error, ModelRef, Result, Signature, Timestamp, days,
};

/// A method of a storage that hands on to the one inside.
macro_rules! forward {
    (list) => {
        fn list(&self, query: &FeatureQuery) -> Result<Vec<FeatureMetadata>> {
            self.inner.list(query)
        }
    };
    (log) => {
        fn log(&self, after: u64, limit: usize) -> Result<Vec<FeatureLogEntry>> {
            self.inner.log(after, limit)
        }
    };
    (head) => {
        fn head(&self) -> Result<AuditHead> {
            self.inner.head()
        }
    };
    (commit) => {
        fn commit(&self, changes: &[FeatureChange]) -> Result<()> {
            self.inner.commit(changes)
        }
    };
}

const NOW: Timestamp = Timestamp::from_date(2026, 1, 5);

fn by(actor: &str) -> Signature<'_> {
    Signature::new(actor, "test", NOW)
}

fn store() -> FeatureStore {
    FeatureStore::new(Arc::new(InMemoryFeatureStorage::default()))
}

fn documentation(tags: &[&str]) -> FeatureDocumentation {
    FeatureDocumentation {
        name: "Payments in 7 days".into(),
        description: "Number of payments with the card in the last seven days".into(),
        business_meaning: "A stolen card is used much more often than before".into(),
        owner: "card fraud".into(),
        tags: tags.iter().map(|tag| (*tag).to_owned()).collect(),
    }
}

fn semantics(dependencies: &[&FeatureRef]) -> FeatureSemantics {
    FeatureSemantics {
        data_type: "f64".into(),
        source_table: "transactions".into(),
        source_column: "card".into(),
        lineage: vec!["bank ledger".into()],
        dependencies: dependencies.iter().map(|feature| (*feature).clone()).collect(),
        transformation_logic: "count of earlier payments in (t - 7d, t]".into(),
        ..FeatureSemantics::default()
    }
}

fn rate(delay: std::time::Duration) -> Option<Feature> {
    let window = Window { width: Width::Last(days(7)), delay, current: Current::Exclude };
    let aggregate = Aggregate::Rate { label: "fraud".into(), labels: Labels::FixedDelay };
    let source = Source { entity: "terminal".into(), only: Vec::new() };
    let definition = Definition::Windowed { source, window, aggregate, empty: None };
    Some(Feature { name: "risk".into(), definition })
}

fn profile() -> FeatureProfile {
    FeatureProfile::Numeric(NumericProfile::of([0.0, 1.0, 5.0]))
}

fn register(store: &FeatureStore, id: &str, dependencies: &[&FeatureRef]) -> FeatureMetadata {
    store.register(id, documentation(&["card"]), semantics(dependencies), by("anna")).unwrap()
}

/// Takes a draft through review.
fn approve(store: &FeatureStore, draft: &FeatureMetadata) -> FeatureMetadata {
    let feature = &draft.feature;
    let draft = store.attach_profile(feature, draft.revision, profile(), by("anna")).unwrap();
    let review = store.submit(feature, draft.revision, by("anna")).unwrap();
    store.approve(feature, review.revision, by("bert")).unwrap()
}

fn approved(store: &FeatureStore, id: &str, dependencies: &[&FeatureRef]) -> FeatureMetadata {
    approve(store, &register(store, id, dependencies))
}

/// The rule that a refusal names.
fn refusal<T: std::fmt::Debug>(result: Result<T>) -> String {
    match result.unwrap_err() {
        Error::Refused { reason, .. } => reason,
        other => panic!("not a refusal: {other}"),
    }
}

#[test]
fn the_storages_keep_their_contract() {
    feature_storage::all(InMemoryFeatureStorage::default);
    feature_storage::all(|| Arc::new(InMemoryFeatureStorage::default()));
    for capacity in [2, 1000] {
        feature_storage::all(|| {
            CachedFeatureStorage::new(InMemoryFeatureStorage::default(), capacity).unwrap()
        });
    }
}

/// A storage that does one thing wrong.
#[derive(Debug, Default)]
struct Faulty {
    inner: InMemoryFeatureStorage,
    fault: Fault,
    /// Records as `list` should not give them any more.
    former: Mutex<BTreeMap<FeatureRef, FeatureMetadata>>,
}

#[derive(Debug, Default, Clone, Copy, PartialEq)]
enum Fault {
    #[default]
    None,
    LosesBits,
    TrimsText,
    IgnoresTheHead,
    LosesTheLog,
    ListsFormerTags,
    OrdersVersionsAsText,
    OverrunsTheLimit,
    RepeatsTheCursor,
    SwallowsConflicts,
    KeepsHalfACommit,
    ReportsMissingAsCorrupt,
}

impl FeatureStorage for Faulty {
    fn get(&self, feature: &FeatureRef) -> Result<FeatureMetadata> {
        let mut record = self.inner.get(feature).map_err(|error| match self.fault {
            Fault::ReportsMissingAsCorrupt => {
                Error::Corrupt { what: "storage".into(), reason: "no such key".into() }
            }
            _ => error,
        })?;
        if let (Fault::LosesBits, Some(FeatureProfile::Numeric(profile))) =
            (self.fault, &mut record.profile)
        {
            profile.mean = profile.mean.map(|mean| f64::from(mean as f32));
        }
        if self.fault == Fault::TrimsText {
            let meaning = &mut record.documentation.business_meaning;
            *meaning = meaning.trim().to_owned();
        }
        Ok(record)
    }

    fn list(&self, query: &FeatureQuery) -> Result<Vec<FeatureMetadata>> {
        let mut query = query.clone();
        match self.fault {
            Fault::OverrunsTheLimit => query.limit += 1,
            Fault::RepeatsTheCursor => {
                if let Some(after) = &mut query.after {
                    after.version = after.version.saturating_sub(1);
                }
            }
            _ => {}
        }
        let mut page = self.inner.list(&query)?;
        if self.fault == Fault::ListsFormerTags {
            let former = self.former.lock().unwrap();
            page.extend(former.values().filter(|record| query.matches(record)).cloned());
        }
        if self.fault == Fault::OrdersVersionsAsText {
            page.sort_by_key(|record| record.feature.to_string());
        }
        Ok(page)
    }

    fn log(&self, after: u64, limit: usize) -> Result<Vec<FeatureLogEntry>> {
        match self.fault {
            Fault::LosesTheLog => Ok(Vec::new()),
            _ => self.inner.log(after, limit),
        }
    }

    forward!(head);

    fn commit(&self, changes: &[FeatureChange]) -> Result<()> {
        for FeatureChange { record, .. } in changes {
            let before = self.inner.get(&record.feature).ok();
            let tags = &record.documentation.tags;
            if let Some(before) = before.filter(|before| before.documentation.tags != *tags) {
                self.former.lock().unwrap().insert(before.feature.clone(), before);
            }
        }
        match self.fault {
            Fault::SwallowsConflicts => {
                let _ = self.inner.commit(changes);
                Ok(())
            }
            Fault::KeepsHalfACommit => changes
                .iter()
                .try_for_each(|change| self.inner.commit(std::slice::from_ref(change))),
            Fault::IgnoresTheHead => {
                let mut changes = changes.to_vec();
                let mut head = self.inner.head()?;
                for FeatureChange { entry, .. } in &mut changes {
                    (entry.seq, entry.previous) = (head.seq + 1, head.hash);
                    head = entry.head();
                }
                self.inner.commit(&changes)
            }
            _ => self.inner.commit(changes),
        }
    }
}

#[test]
fn the_conformance_suite_finds_every_broken_promise() {
    let passes = |fault: Fault| {
        let fresh = || Faulty { fault, ..Faulty::default() };
        catch_unwind(AssertUnwindSafe(|| feature_storage::all(fresh))).is_ok()
    };
    assert!(passes(Fault::None));
    for fault in [
        Fault::LosesBits,
        Fault::TrimsText,
        Fault::IgnoresTheHead,
        Fault::LosesTheLog,
        Fault::ListsFormerTags,
        Fault::OrdersVersionsAsText,
        Fault::OverrunsTheLimit,
        Fault::RepeatsTheCursor,
        Fault::SwallowsConflicts,
        Fault::KeepsHalfACommit,
        Fault::ReportsMissingAsCorrupt,
    ] {
        assert!(!passes(fault), "{fault:?} was not found");
    }
}

#[test]
fn a_feature_is_created_read_edited_and_listed() {
    let store = store();
    let draft = register(&store, "card_n_7d", &[]);
    assert_eq!(draft.feature.to_string(), "card_n_7d@1");
    assert_eq!((draft.revision, draft.status), (1, FeatureStatus::Draft));
    assert_eq!((draft.created, draft.updated), (NOW, NOW));
    assert_eq!(draft.authors, ["anna".to_owned()].into());
    assert_eq!(store.get(&draft.feature).unwrap(), draft);
    let taken = store.register("card_n_7d", documentation(&[]), semantics(&[]), by("bert"));
    assert!(taken.unwrap_err().is_conflict());
    assert!(store.get(&FeatureRef::new("card_n_7d", 2)).unwrap_err().is_not_found());

    let later = Signature::new("cleo", "typo", NOW.plus(days(1)));
    let edited = store.document(&draft.feature, 1, documentation(&["night"]), later).unwrap();
    assert_eq!((edited.revision, edited.updated), (2, later.at));
    assert_eq!(edited.authors, draft.authors, "documentation makes nobody an author");
    let query = |tag: &str| FeatureQuery { tags: [tag.to_owned()].into(), ..Default::default() };
    assert_eq!(store.list(&query("card")).unwrap(), []);
    assert_eq!(store.list(&query("night")).unwrap(), [edited]);
}

#[test]
fn metadata_that_cannot_be_is_refused() {
    let store = store();
    let register = |id: &str, change: fn(&mut FeatureDocumentation)| {
        let mut documentation = documentation(&[]);
        change(&mut documentation);
        store.register(id, documentation, semantics(&[]), by("anna"))
    };
    let long = "x".repeat(201);
    for id in ["", " ", "a b", "a@1", "a:b", "用户", long.as_str()] {
        assert!(matches!(register(id, |_| ()), Err(Error::InvalidInput { .. })), "{id:?}");
    }
    for change in [
        (|d| d.name = " ".into()) as fn(&mut FeatureDocumentation),
        |d| d.description = String::new(),
        |d| d.tags = [String::new()].into(),
        |d| d.tags = [" card".into()].into(),
    ] {
        assert!(matches!(register("a", change), Err(Error::InvalidInput { .. })));
    }
    let mut not_finite = semantics(&[]);
    not_finite.definition = rate(days(7));
    if let Some(Definition::Windowed { empty, .. }) =
        not_finite.definition.as_mut().map(|feature| &mut feature.definition)
    {
        *empty = Some(f64::NAN);
    }
    let result = store.register("a", documentation(&[]), not_finite, by("anna"));
    assert!(matches!(result, Err(Error::InvalidInput { .. })));
    let unsigned = |signature| store.register("a", documentation(&[]), semantics(&[]), signature);
    refusal(unsigned(Signature::new(" ", "why", NOW)));
    refusal(unsigned(Signature::new("anna", "", NOW)));
    assert_eq!(store.log(0, 10).unwrap(), []);
}

#[test]
fn a_change_of_a_former_revision_or_from_before_the_last_change_is_refused() {
    let store = store();
    let draft = register(&store, "a", &[]);
    store.document(&draft.feature, 1, documentation(&["x"]), by("anna")).unwrap();
    let stale = store.submit(&draft.feature, 1, by("anna")).unwrap_err();
    assert!(stale.is_conflict());
    assert!(stale.to_string().contains("is at revision 2, not 1"), "{stale}");
    assert!(store.submit(&draft.feature, 3, by("anna")).unwrap_err().is_conflict());
    let yesterday = Signature::new("anna", "test", NOW.minus(days(1)));
    let error = store.submit(&draft.feature, 2, yesterday).unwrap_err();
    assert!(matches!(error, Error::InvalidInput { .. }), "{error}");
    assert_eq!(store.get(&draft.feature).unwrap().status, FeatureStatus::Draft);
    assert_eq!(store.log(0, 10).unwrap().len(), 2);
}

#[test]
fn of_concurrent_writers_of_one_revision_one_wins_and_the_others_get_a_conflict() {
    const WRITERS: usize = 8;
    let store = store();
    let feature = register(&store, "a", &[]).feature;
    let start = Barrier::new(WRITERS);
    let results: Vec<Result<FeatureMetadata>> = std::thread::scope(|scope| {
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let (store, start, feature) = (&store, &start, &feature);
                scope.spawn(move || {
                    let actor = format!("writer {writer}");
                    start.wait();
                    store.document(feature, 1, documentation(&[actor.as_str()]), by(&actor))
                })
            })
            .collect();
        writers.into_iter().map(|writer| writer.join().unwrap()).collect()
    });
    let (won, lost): (Vec<_>, Vec<_>) = results.into_iter().partition(Result::is_ok);
    assert_eq!((won.len(), lost.len()), (1, WRITERS - 1));
    assert!(lost.into_iter().all(|result| result.unwrap_err().is_conflict()));
    assert_eq!(store.get(&feature).unwrap(), won.into_iter().next().unwrap().unwrap());
    store.verify().unwrap();
}

#[test]
fn concurrent_writers_of_different_features_all_succeed() {
    let store = store();
    std::thread::scope(|scope| {
        for writer in 0..8 {
            let store = &store;
            scope.spawn(move || approved(store, &format!("feature_{writer}"), &[]));
        }
    });
    let query = FeatureQuery { status: Some(FeatureStatus::Approved), ..Default::default() };
    assert_eq!(store.list(&query).unwrap().len(), 8);
    assert_eq!(store.verify().unwrap().seq, 8 * 4);
}

/// Lets somebody else deprecate a feature as soon as it has been read.
#[derive(Debug)]
struct Interrupted {
    inner: Arc<InMemoryFeatureStorage>,
    interrupt: Mutex<Option<FeatureRef>>,
}

impl FeatureStorage for Interrupted {
    fn get(&self, feature: &FeatureRef) -> Result<FeatureMetadata> {
        let record = self.inner.get(feature)?;
        let mut interrupt = self.interrupt.lock().unwrap();
        if interrupt.take_if(|other| other == feature).is_some() {
            let store = FeatureStore::new(self.inner.clone());
            store.deprecate(feature, record.revision, None, by("dora")).unwrap();
        }
        Ok(record)
    }
    forward!(list);
    forward!(log);
    forward!(head);
    forward!(commit);
}

#[test]
fn a_rule_about_another_feature_holds_at_the_moment_of_the_commit() {
    let inner = Arc::new(InMemoryFeatureStorage::default());
    let quiet = FeatureStore::new(inner.clone());
    let base = approved(&quiet, "base", &[]);
    let top = register(&quiet, "top", &[&base.feature]);
    let top = quiet.attach_profile(&top.feature, top.revision, profile(), by("anna")).unwrap();
    let top = quiet.submit(&top.feature, top.revision, by("anna")).unwrap();
    // `base` is deprecated after the approval of `top` has looked at it, and before it is written.
    let interrupt = Mutex::new(Some(base.feature.clone()));
    let store = FeatureStore::new(Arc::new(Interrupted { inner, interrupt }));
    let reason = refusal(store.approve(&top.feature, top.revision, by("bert")));
    assert!(reason.contains("base@1, which is deprecated and has to be approved"), "{reason}");
    assert_eq!(store.get(&top.feature).unwrap().status, FeatureStatus::Review);
}

#[test]
fn the_whole_life_of_a_version_is_in_the_log() {
    let store = store();
    let v1 = approved(&store, "card_n", &[]);
    let feature = &v1.feature;
    let v2 = store.new_version(feature, semantics(&[]), by("anna")).unwrap();
    let v2 = approve(&store, &v2);
    let v1 = store.deprecate(feature, v1.revision, Some(&v2.feature), by("cleo")).unwrap();
    assert_eq!((v1.status, &v1.replacement), (FeatureStatus::Deprecated, &Some(v2.feature)));
    let v1 = store.reinstate(feature, v1.revision, by("cleo")).unwrap();
    assert_eq!((v1.status, &v1.replacement), (FeatureStatus::Approved, &None));
    let v1 = store.deprecate(feature, v1.revision, None, by("cleo")).unwrap();
    let v1 = store.archive(feature, v1.revision, by("cleo")).unwrap();
    assert_eq!((v1.status, v1.revision), (FeatureStatus::Archived, 8));

    let history = store.history(feature).unwrap();
    let lines: Vec<String> =
        history.iter().map(|entry| format!("{}: {}", entry.actor, entry.event)).collect();
    assert_eq!(
        lines,
        [
            "anna: registered card_n@1 (-> draft, revision 1)",
            "anna: attached a profile to card_n@1 (draft, revision 2)",
            "anna: submitted card_n@1 (draft -> review, revision 3)",
            "bert: approved card_n@1 (review -> approved, revision 4)",
            "cleo: deprecated card_n@1 in favour of card_n@2 (approved -> deprecated, revision 5)",
            "cleo: reinstated card_n@1 (deprecated -> approved, revision 6)",
            "cleo: deprecated card_n@1 (approved -> deprecated, revision 7)",
            "cleo: archived card_n@1 (deprecated -> archived, revision 8)",
        ]
    );
    assert!(history.iter().all(|entry| entry.at == NOW && entry.reason == "test"));
    let versions = store.versions("card_n").unwrap();
    assert_eq!(versions.iter().map(|v| v.feature.version).collect::<Vec<_>>(), [1, 2]);
    assert_eq!(store.versions("card").unwrap(), []);
    assert!(store.history(&FeatureRef::new("card_n", 3)).unwrap_err().is_not_found());
}

#[test]
fn every_step_is_refused_from_every_status_but_its_own() {
    use FeatureStatus::{Approved, Archived, Deprecated, Draft, Review};
    type Step = fn(&FeatureStore, &FeatureMetadata) -> Result<FeatureMetadata>;
    let steps: [(&str, Step, &[FeatureStatus]); 9] = [
        ("submit", |s, f| s.submit(&f.feature, f.revision, by("cleo")), &[Draft]),
        ("request", |s, f| s.request_changes(&f.feature, f.revision, by("cleo")), &[Review]),
        ("approve", |s, f| s.approve(&f.feature, f.revision, by("cleo")), &[Review]),
        ("deprecate", |s, f| s.deprecate(&f.feature, f.revision, None, by("cleo")), &[Approved]),
        ("reinstate", |s, f| s.reinstate(&f.feature, f.revision, by("cleo")), &[Deprecated]),
        ("withdraw", |s, f| s.withdraw(&f.feature, f.revision, by("cleo")), &[Draft, Review]),
        ("archive", |s, f| s.archive(&f.feature, f.revision, by("cleo")), &[Deprecated]),
        (
            "redefine",
            |s, f| s.redefine(&f.feature, f.revision, semantics(&[]), by("cleo")),
            &[Draft],
        ),
        (
            "new version",
            |s, f| s.new_version(&f.feature, semantics(&[]), by("cleo")),
            &[Approved, Deprecated, Archived],
        ),
    ];
    for status in [Draft, Review, Approved, Deprecated, Archived] {
        for (name, step, allowed) in steps {
            let store = store();
            let mut record = register(&store, "a", &[]);
            let feature = &record.feature.clone();
            record = store.attach_profile(feature, 1, profile(), by("anna")).unwrap();
            if status >= Review {
                record = store.submit(feature, 2, by("anna")).unwrap();
            }
            if status >= Approved {
                record = store.approve(feature, 3, by("bert")).unwrap();
            }
            if status >= Deprecated {
                record = store.deprecate(feature, 4, None, by("bert")).unwrap();
            }
            if status >= Archived {
                record = store.archive(feature, 5, by("bert")).unwrap();
            }
            assert_eq!(record.status, status);
            let log = store.log(0, 10).unwrap().len();
            let result = step(&store, &record);
            if allowed.contains(&status) {
                assert!(result.is_ok(), "{name} from {status}: {result:?}");
            } else {
                let reason = refusal(result);
                assert!(reason.contains(&status.to_string()), "{name} from {status}: {reason}");
                assert_eq!(store.get(feature).unwrap(), record, "{name} from {status}");
                assert_eq!(store.log(0, 10).unwrap().len(), log);
            }
            let edit = store.document(
                feature,
                store.get(feature).unwrap().revision,
                documentation(&[]),
                by("dora"),
            );
            assert!(edit.is_ok(), "documentation can be edited in any status");
            store.verify().unwrap();
        }
    }
}

#[test]
fn review_names_every_blank_field_and_every_leak() {
    let store = store();
    let bare = FeatureDocumentation {
        name: "a".into(),
        description: "a".into(),
        ..FeatureDocumentation::default()
    };
    let draft = store.register("a", bare, FeatureSemantics::default(), by("anna")).unwrap();
    let feature = &draft.feature;
    assert_eq!(
        refusal(store.submit(feature, 1, by("anna"))),
        "fill in business_meaning, owner, data_type, source_table, source_column, \
         transformation_logic"
    );
    store.document(feature, 1, documentation(&[]), by("anna")).unwrap();
    let leaky = FeatureSemantics {
        transformation_logic: String::new(),
        definition: rate(days(0)),
        ..semantics(&[])
    };
    store.redefine(feature, 2, leaky.clone(), by("anna")).unwrap();
    let reason = refusal(store.submit(feature, 3, by("anna")));
    assert!(reason.contains("leaks") && reason.contains("set .delay"), "{reason}");
    // A definition stands in for a description of the logic.
    let sound = FeatureSemantics { definition: rate(days(7)), ..leaky };
    store.redefine(feature, 3, sound, by("anna")).unwrap();
    let review = store.submit(feature, 4, by("anna")).unwrap();
    // What review has seen may not be blanked behind its back.
    let blank = FeatureDocumentation { owner: String::new(), ..documentation(&[]) };
    assert_eq!(
        refusal(store.document(feature, review.revision, blank, by("anna"))),
        "fill in owner"
    );
}

#[test]
fn an_approval_needs_a_profile_and_somebody_who_wrote_none_of_it() {
    let store = store();
    let feature = &register(&store, "a", &[]).feature;
    store.redefine(feature, 1, semantics(&[]), by("bert")).unwrap();
    store.submit(feature, 2, by("cleo")).unwrap();
    assert_eq!(refusal(store.approve(feature, 3, by("cleo"))), "it has no profile; attach one");
    store.attach_profile(feature, 3, profile(), by("cleo")).unwrap();
    for author in ["anna", "bert", " anna", "bert\t"] {
        let reason = refusal(store.approve(feature, 4, by(author)));
        assert!(reason.ends_with("wrote it; somebody else has to approve it"), "{reason}");
    }
    let approved = store.approve(feature, 4, by("cleo")).unwrap();
    let deprecated = store.deprecate(feature, approved.revision, None, by("anna")).unwrap();
    let reason = refusal(store.reinstate(feature, deprecated.revision, by("anna")));
    assert!(reason.contains("somebody else"), "{reason}");
    store.reinstate(feature, deprecated.revision, by("cleo")).unwrap();
}

#[test]
fn a_profile_has_values_fits_its_feature_and_goes_with_the_semantics() {
    let store = store();
    let feature = &register(&store, "a", &[]).feature;
    let attach = |revision, profile| store.attach_profile(feature, revision, profile, by("anna"));
    let numeric = |values: &[f64]| NumericProfile::of(values.iter().copied());
    let empty = attach(1, FeatureProfile::Numeric(numeric(&[f64::NAN])));
    assert!(matches!(empty, Err(Error::Empty { .. })));
    let names = FeatureProfile::Categorical(CategoricalProfile::of([Some("a")], 3));
    assert!(matches!(attach(1, names), Err(Error::InvalidInput { .. })));
    let not_finite = NumericProfile { std: Some(f64::NAN), ..numeric(&[1.0, 2.0]) };
    let result = attach(1, FeatureProfile::Numeric(not_finite));
    assert!(matches!(result, Err(Error::InvalidInput { .. })));
    assert_eq!(attach(1, profile()).unwrap().profile, Some(profile()));
    let redefined = store.redefine(feature, 2, semantics(&[]), by("anna")).unwrap();
    assert_eq!(redefined.profile, None);
}

#[test]
fn dependencies_have_to_be_there_approved_and_without_a_circle() {
    let store = store();
    let nowhere = FeatureRef::new("nowhere", 1);
    let result = store.register("a", documentation(&[]), semantics(&[&nowhere]), by("anna"));
    assert!(refusal(result).contains("nowhere@1, which is not registered"));
    let own = FeatureRef::new("a", 1);
    let result = store.register("a", documentation(&[]), semantics(&[&own]), by("anna"));
    assert!(refusal(result).contains("depends on itself"));

    let a = register(&store, "a", &[]);
    let b = register(&store, "b", &[&a.feature]);
    let c = register(&store, "c", &[&b.feature]);
    for last in [&b, &c] {
        let circle = store.redefine(&a.feature, 1, semantics(&[&last.feature]), by("anna"));
        let reason = refusal(circle);
        assert!(reason.contains("depends on a@1 in turn"), "{reason}");
    }
    let reason = refusal(store.submit(&b.feature, 1, by("anna")));
    assert_eq!(reason, "it depends on a@1, which is draft and has to be review or approved");
    let a = store.attach_profile(&a.feature, 1, profile(), by("anna")).unwrap();
    let a = store.submit(&a.feature, a.revision, by("anna")).unwrap();
    let b = store.attach_profile(&b.feature, 1, profile(), by("anna")).unwrap();
    let b = store.submit(&b.feature, b.revision, by("anna")).unwrap();
    let reason = refusal(store.approve(&b.feature, b.revision, by("bert")));
    assert_eq!(reason, "it depends on a@1, which is review and has to be approved");
    store.approve(&a.feature, a.revision, by("bert")).unwrap();
    store.approve(&b.feature, b.revision, by("bert")).unwrap();
}

#[test]
fn an_approved_definition_stays_and_a_change_is_a_new_version() {
    let store = store();
    let v1 = approved(&store, "a", &[]);
    let other = FeatureSemantics { data_type: "i64".into(), ..semantics(&[]) };
    let reason = refusal(store.redefine(&v1.feature, v1.revision, other.clone(), by("anna")));
    assert!(reason.contains("make a new version"), "{reason}");
    let v2 = store.new_version(&v1.feature, other.clone(), by("cleo")).unwrap();
    assert_eq!(v2.feature.to_string(), "a@2");
    assert_eq!((v2.status, v2.revision), (FeatureStatus::Draft, 1));
    assert_eq!((&v2.documentation, &v2.semantics), (&v1.documentation, &other));
    assert_eq!((v2.profile, v2.authors), (None, ["cleo".to_owned()].into()));
    let v3 = store.new_version(&v1.feature, other, by("cleo")).unwrap();
    assert_eq!(v3.feature.version, 3, "a version that exists is never given out again");
    assert_eq!(store.get(&v1.feature).unwrap(), v1);

    // Documentation of an approved version may change, and the log keeps what it said.
    let edit = documentation(&["approved", "edited"]);
    let edited = store.document(&v1.feature, v1.revision, edit, by("cleo")).unwrap();
    assert_eq!((edited.status, &edited.semantics), (FeatureStatus::Approved, &v1.semantics));
    let last = store.history(&v1.feature).unwrap().pop().unwrap();
    let before = Box::new(v1.documentation);
    assert_eq!(last.event.operation, FeatureOperation::Documented { before });
}

#[test]
fn lineage_is_answered_both_ways() {
    let store = store();
    let amount = approved(&store, "amount", &[]);
    let mean = approved(&store, "mean", &[&amount.feature]);
    let ratio = approved(&store, "ratio", &[&amount.feature, &mean.feature]);
    let night = approved(&store, "night", &[]);
    let set = FeatureSet::builder("card_v1").field("amount").build().unwrap();
    let set = FeatureUser::from(&set);
    let model = FeatureUser::from(ModelRef { name: "fraud".into(), version: 3 });
    let features = |of: &[&FeatureMetadata]| -> BTreeSet<FeatureRef> {
        of.iter().map(|record| record.feature.clone()).collect()
    };
    store.pin(&set, &[amount.feature.clone(), night.feature.clone()], by("anna")).unwrap();
    let pinned = [ratio.feature.clone(), night.feature.clone(), ratio.feature.clone()];
    store.pin(&model, &pinned, by("anna")).unwrap();
    let head = store.verify().unwrap();
    store.pin(&model, &pinned, by("anna")).unwrap();
    assert_eq!(store.verify().unwrap(), head, "what is recorded already is not recorded again");

    assert_eq!(store.dependencies(&ratio.feature).unwrap(), features(&[&amount, &mean]));
    assert_eq!(store.dependencies(&amount.feature).unwrap(), features(&[]));
    let dependants = |record: &FeatureMetadata| store.dependants(&record.feature).unwrap();
    let of_amount = dependants(&amount);
    assert_eq!(of_amount.features, features(&[&mean, &ratio]));
    assert_eq!(of_amount.users, [set.clone(), model.clone()].into());
    assert_eq!(dependants(&mean).users, [model.clone()].into());
    assert_eq!(dependants(&night).features, features(&[]));
    let of_model = FeatureQuery { used_by: Some(model.clone()), ..Default::default() };
    let found: BTreeSet<FeatureRef> =
        store.list(&of_model).unwrap().into_iter().map(|record| record.feature).collect();
    assert_eq!(found, features(&[&night, &ratio]));
    let nowhere = FeatureRef::new("nowhere", 1);
    assert!(store.dependencies(&nowhere).unwrap_err().is_not_found());
    assert!(store.dependants(&nowhere).unwrap_err().is_not_found());

    store.unpin(&model, by("anna")).unwrap();
    assert_eq!(store.list(&of_model).unwrap(), []);
    assert_eq!(dependants(&night).users, [set].into());
    assert!(store.unpin(&model, by("anna")).unwrap_err().is_not_found());
    store.verify().unwrap();
}

#[test]
fn only_what_cannot_change_any_more_is_pinned_all_or_nothing() {
    let store = store();
    let sound = approved(&store, "sound", &[]);
    let draft = register(&store, "draft", &[]);
    let model = FeatureUser::Model(ModelRef { name: "fraud".into(), version: 1 });
    let both = [sound.feature.clone(), draft.feature.clone()];
    let reason = refusal(store.pin(&model, &both, by("anna")));
    assert_eq!(reason, "draft@1 is draft and has to be approved or deprecated");
    assert_eq!(store.get(&sound.feature).unwrap(), sound);
    let missing = [sound.feature.clone(), FeatureRef::new("nowhere", 1)];
    assert!(store.pin(&model, &missing, by("anna")).unwrap_err().is_not_found());
    assert_eq!(store.get(&sound.feature).unwrap(), sound);
}

#[test]
fn what_is_in_use_is_not_archived() {
    let store = store();
    let base = approved(&store, "base", &[]);
    let top = register(&store, "top", &[&base.feature]);
    let model = FeatureUser::Model(ModelRef { name: "fraud".into(), version: 1 });
    store.pin(&model, std::slice::from_ref(&base.feature), by("anna")).unwrap();
    let base = store.deprecate(&base.feature, base.revision + 1, None, by("anna")).unwrap();
    let archive = || {
        let revision = store.get(&base.feature)?.revision;
        store.archive(&base.feature, revision, by("anna"))
    };
    let reason = refusal(archive());
    assert!(reason.contains("model fraud@1"), "{reason}");
    store.unpin(&model, by("anna")).unwrap();
    assert_eq!(refusal(archive()), "archive first what depends on it: top@1");
    store.withdraw(&top.feature, 1, by("anna")).unwrap();
    archive().unwrap();

    let draft = register(&store, "draft", &[]);
    register(&store, "on_draft", &[&draft.feature]);
    let reason = refusal(store.withdraw(&draft.feature, 1, by("anna")));
    assert!(reason.contains("on_draft@1"), "{reason}");
}

#[test]
fn a_replacement_is_another_approved_version() {
    let store = store();
    let old = approved(&store, "old", &[]);
    let draft = register(&store, "draft", &[]);
    for replacement in [&old.feature, &draft.feature, &FeatureRef::new("nowhere", 1)] {
        let result = store.deprecate(&old.feature, old.revision, Some(replacement), by("cleo"));
        assert!(refusal(result).contains("another approved version"));
    }
}

#[test]
fn long_lists_and_logs_are_read_page_by_page() {
    let store = store();
    let base = approved(&store, "base", &[]);
    for i in 0..600 {
        let semantics = semantics(&[&base.feature]);
        store.register(&format!("f{i}"), documentation(&[]), semantics, by("anna")).unwrap();
    }
    assert_eq!(store.dependants(&base.feature).unwrap().features.len(), 600);
    assert_eq!(store.verify().unwrap().seq, 604);
    let mut query = FeatureQuery { limit: 7, ..FeatureQuery::default() };
    let mut found = Vec::new();
    loop {
        let page = store.list(&query).unwrap();
        let Some(last) = page.last() else { break };
        query.after = Some(last.feature.clone());
        found.extend(page.into_iter().map(|record| record.feature));
    }
    assert_eq!(found.len(), 601);
    assert!(found.windows(2).all(|pair| pair[0] < pair[1]));
    let mut last = base.feature.clone();
    for _ in 0..120 {
        last = store.new_version(&base.feature, semantics(&[]), by("anna")).unwrap().feature;
    }
    assert_eq!(last.version, 121);
    assert_eq!(store.versions("base").unwrap().len(), 121);
}

/// Reads a storage through changes that somebody made behind the store's back.
#[derive(Debug)]
struct Tampered {
    inner: Arc<InMemoryFeatureStorage>,
    log: fn(&mut Vec<FeatureLogEntry>),
    records: fn(&mut Vec<FeatureMetadata>),
}

impl FeatureStorage for Tampered {
    fn get(&self, feature: &FeatureRef) -> Result<FeatureMetadata> {
        self.inner.get(feature)
    }
    fn list(&self, query: &FeatureQuery) -> Result<Vec<FeatureMetadata>> {
        let all = FeatureQuery { limit: usize::MAX, ..FeatureQuery::default() };
        let mut records = self.inner.list(&all)?;
        (self.records)(&mut records);
        Ok(records.into_iter().filter(|r| query.matches(r)).take(query.limit).collect())
    }
    fn log(&self, after: u64, limit: usize) -> Result<Vec<FeatureLogEntry>> {
        let mut log = self.inner.log(0, usize::MAX)?;
        (self.log)(&mut log);
        Ok(log.into_iter().skip(after as usize).take(limit).collect())
    }
    forward!(head);
    forward!(commit);
}

#[test]
fn a_tampered_log_or_record_is_found() {
    let inner = Arc::new(InMemoryFeatureStorage::default());
    let store = FeatureStore::new(inner.clone());
    let first = approved(&store, "first", &[]);
    approved(&store, "second", &[&first.feature]);
    store.verify().unwrap();
    let verify = |log: fn(&mut Vec<FeatureLogEntry>), records: fn(&mut Vec<FeatureMetadata>)| {
        FeatureStore::new(Arc::new(Tampered { inner: inner.clone(), log, records })).verify()
    };
    assert_eq!(verify(|_| (), |_| ()).unwrap().seq, 8);
    let logs: [fn(&mut Vec<FeatureLogEntry>); 12] = [
        |log| log[3].actor = "anna".into(),
        |log| log[3].reason = "other".into(),
        |log| log[3].at = NOW.plus(days(1)),
        |log| log[3].event.to = FeatureStatus::Draft,
        |log| log[3].event.from = None,
        |log| log[3].event.operation = FeatureOperation::Withdrawn,
        |log| log[3].event.record = log[2].event.record,
        |log| log[3].hash = log[2].hash,
        |log| drop(log.remove(3)),
        |log| drop(log.pop()),
        |log| log.swap(3, 4),
        |log| log.clear(),
    ];
    for (i, change) in logs.into_iter().enumerate() {
        let result = verify(change, |_| ());
        assert!(matches!(result, Err(Error::Corrupt { .. })), "change {i}: {result:?}");
    }
    let records: [fn(&mut Vec<FeatureMetadata>); 8] = [
        |records| records[0].documentation.owner = "nobody".into(),
        |records| records[0].semantics.data_type = "f32".into(),
        |records| records[0].status = FeatureStatus::Deprecated,
        |records| drop(records[0].authors.pop_first()),
        |records| records[0].revision += 1,
        |records| records[0].revision -= 1,
        |records| drop(records.remove(1)),
        |records| {
            let mut other = records[0].clone();
            other.feature.version = 9;
            records.push(other);
        },
    ];
    for (i, change) in records.into_iter().enumerate() {
        let result = verify(|_| (), change);
        assert!(matches!(result, Err(Error::Corrupt { .. })), "record {i}: {result:?}");
    }
    // The last approval undone in the record, then cut from the log too: only the head tells.
    let undo = |records: &mut Vec<FeatureMetadata>| {
        records[1].status = FeatureStatus::Review;
        records[1].revision -= 1;
    };
    let error = verify(|_| (), undo).unwrap_err();
    assert_eq!(error.to_string(), "corrupt feature log: entry 8, of second@1, is not what is kept");
    let error = verify(|log| drop(log.pop()), undo).unwrap_err();
    assert_eq!(error.to_string(), "corrupt feature log: it ends at 7 and its head is 8");
    let error = verify(|log| log[3].actor = "anna".into(), |_| ()).unwrap_err();
    assert_eq!(error.to_string(), "corrupt audit trail: entry 4 has been changed");
}

/// Counts how often `get` reaches the storage.
#[derive(Debug, Default)]
struct Counted {
    inner: Arc<InMemoryFeatureStorage>,
    gets: AtomicUsize,
}

impl FeatureStorage for Counted {
    fn get(&self, feature: &FeatureRef) -> Result<FeatureMetadata> {
        self.gets.fetch_add(1, Ordering::Relaxed);
        self.inner.get(feature)
    }
    forward!(list);
    forward!(log);
    forward!(head);
    forward!(commit);
}

#[test]
fn a_cache_spares_reads_and_is_never_older_than_the_last_head() {
    let shared = Arc::new(InMemoryFeatureStorage::default());
    let elsewhere = FeatureStore::new(shared.clone());
    let [a, b, c] = ["a", "b", "c"].map(|id| register(&elsewhere, id, &[]));
    let counted = Counted { inner: shared, ..Counted::default() };
    let cache = Arc::new(CachedFeatureStorage::new(counted, 4).unwrap());
    let store = FeatureStore::new(cache.clone());
    let gets = || cache.inner().gets.swap(0, Ordering::Relaxed);
    cache.head().unwrap();
    for _ in 0..10 {
        assert_eq!(store.get(&a.feature).unwrap(), a);
        assert_eq!(store.get(&b.feature).unwrap(), b);
    }
    assert_eq!(gets(), 2);
    // Another process edits `a`: seen after the next head, and `b` stays.
    let edited = elsewhere.document(&a.feature, 1, documentation(&["x"]), by("bert")).unwrap();
    assert_eq!(store.get(&a.feature).unwrap(), a);
    cache.head().unwrap();
    assert_eq!(store.get(&a.feature).unwrap(), edited);
    assert_eq!(store.get(&b.feature).unwrap(), b);
    assert_eq!(gets(), 1);
    // A change never rests on an old record, and shows at once.
    elsewhere.document(&a.feature, 2, documentation(&["y"]), by("bert")).unwrap();
    let stale = store.document(&a.feature, 2, documentation(&["z"]), by("anna"));
    assert!(stale.unwrap_err().is_conflict());
    let own = store.document(&a.feature, 3, documentation(&["z"]), by("anna")).unwrap();
    assert_eq!(store.get(&a.feature).unwrap(), own);
    // What is not asked for makes room: four records at most.
    gets();
    for record in [&b, &c] {
        store.get(&record.feature).unwrap();
    }
    for i in 0..20 {
        let new = register(&elsewhere, &format!("new_{i}"), &[]);
        store.get(&new.feature).unwrap();
        store.get(&b.feature).unwrap();
    }
    assert!(gets() <= 22, "what is asked for all the time should stay");
    store.get(&c.feature).unwrap();
    assert_eq!(gets(), 1, "what was not asked for should have gone");
    assert!(CachedFeatureStorage::new(InMemoryFeatureStorage::default(), 1).is_err());
}

/// Stops a `get` after it has read and before it answers.
#[derive(Debug)]
struct Paused {
    inner: InMemoryFeatureStorage,
    pause: Mutex<Option<(Sender<()>, Receiver<()>)>>,
}

impl FeatureStorage for Paused {
    fn get(&self, feature: &FeatureRef) -> Result<FeatureMetadata> {
        let record = self.inner.get(feature);
        let pause = self.pause.lock().unwrap().take();
        if let Some((reached, go_on)) = pause {
            reached.send(()).unwrap();
            go_on.recv().unwrap();
        }
        record
    }
    forward!(list);
    forward!(log);
    forward!(head);
    forward!(commit);
}

#[test]
fn a_cache_does_not_keep_what_was_read_before_a_change() {
    let (reached, reader_stands) = channel();
    let (let_go, go_on) = channel();
    let paused = Paused { inner: InMemoryFeatureStorage::default(), pause: Mutex::default() };
    let cache = Arc::new(CachedFeatureStorage::new(paused, 8).unwrap());
    // The position of the cache stays behind, so that the change below drops the record and does not insert it.
    let feature = {
        let beside = Arc::new(InMemoryFeatureStorage::default());
        let draft = register(&FeatureStore::new(beside.clone()), "a", &[]);
        let entry = beside.log(0, 1).unwrap().remove(0);
        cache.inner().commit(&[FeatureChange { record: draft.clone(), entry }]).unwrap();
        draft.feature
    };
    *cache.inner().pause.lock().unwrap() = Some((reached, go_on));
    let store = FeatureStore::new(cache.clone());
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| cache.get(&feature).unwrap());
        reader_stands.recv().unwrap();
        store.document(&feature, 1, documentation(&["new"]), by("anna")).unwrap();
        let_go.send(()).unwrap();
        assert_eq!(reader.join().unwrap().revision, 1);
    });
    assert_eq!(cache.get(&feature).unwrap().revision, 2);
}

#[test]
fn threads_over_one_cache_never_lose_a_change() {
    let shared = Arc::new(InMemoryFeatureStorage::default());
    let caches = [(); 2].map(|()| {
        FeatureStore::new(Arc::new(CachedFeatureStorage::new(shared.clone(), 8).unwrap()))
    });
    let feature = register(&caches[0], "a", &[]).feature;
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (store, feature) = (&caches[thread % 2], &feature);
            scope.spawn(move || {
                let mut own = 0;
                let mut revision = 1;
                while own < 25 {
                    match store.document(feature, revision, documentation(&[]), by("anna")) {
                        Ok(record) => (own, revision) = (own + 1, record.revision),
                        Err(error) if error.is_conflict() => {
                            revision = store.get(feature).unwrap().revision;
                        }
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
    });
    assert_eq!(FeatureStore::new(shared).get(&feature).unwrap().revision, 101);
    for store in &caches {
        store.verify().unwrap();
    }
}

/// pandas 3.1.1 on numpy 2.3.5: `s.count()`, `s.mean()`, `s.std()`, `s.quantile(q)`; the large offset costs a
/// two-moment formula all its digits.
#[test]
fn numeric_profiles_have_pandas_numbers() {
    let offsets = [0.1, 0.25, 3.5, -2.0, 7.75, 0.1, 11.0, -4.5, 2.25, 6.0];
    let values = offsets.map(|x| 1e9 + x).into_iter();
    let profile =
        NumericProfile::of(values.chain([f64::NAN, f64::INFINITY, f64::NAN, f64::NEG_INFINITY]));
    assert_eq!((profile.count, profile.missing, profile.infinite), (10, 2, 2));
    close(profile.mean, 1_000_000_002.445, 1.2e-7); // one unit in the last place
    close(profile.std, 4.701385726881944, 1e-14);
    assert_eq!((profile.min, profile.max), (Some(999_999_995.5), Some(1_000_000_011.0)));
    let expected = [
        999_999_995.725,
        999_999_996.625,
        999_999_997.75,
        1_000_000_000.1,
        1_000_000_001.25,
        1_000_000_005.375,
        1_000_000_008.075,
        1_000_000_009.537_5,
        1_000_000_010.707_5,
    ];
    for ((q, value), (want_q, want)) in
        profile.quantiles.iter().zip(NumericProfile::QUANTILES.iter().zip(expected))
    {
        assert_eq!(q, want_q);
        close(Some(*value), want, 1e-6);
    }

    // [((i * i * 7919) % 10007) / 100 for i in range(1, 5001)]
    let amounts = (1..=5000u64).map(|i| ((i * i * 7919) % 10_007) as f64 / 100.0);
    let profile = NumericProfile::of(amounts.clone());
    assert_eq!(
        NumericProfile::of(amounts.rev()),
        profile,
        "the order of the values does not matter"
    );
    close(profile.mean, 49.250966000000005, 1e-11);
    close(profile.std, 28.877428597146952, 1e-11);
    assert_eq!((profile.min, profile.max), (Some(0.01), Some(100.02)));
    let expected = [0.9598, 4.669, 9.518, 24.1525, 49.165, 74.2525, 89.523, 94.7115, 98.9601];
    assert_eq!(profile.quantiles.len(), expected.len());
    for ((_, value), want) in profile.quantiles.iter().zip(expected) {
        close(Some(*value), want, 1e-9);
    }
}

#[test]
fn numeric_profiles_of_nothing_of_one_value_and_of_extremes_say_what_they_can() {
    assert_eq!(NumericProfile::of([]), NumericProfile::default());
    let one = NumericProfile::of([-0.0]);
    assert_eq!((one.count, one.mean, one.std), (1, Some(0.0), None));
    assert!(one.min.unwrap().is_sign_positive());
    let extremes = NumericProfile::of([f64::MAX, -f64::MAX, 0.0]);
    assert_eq!((extremes.count, extremes.std), (3, None));
    assert_eq!((extremes.min, extremes.max), (Some(-f64::MAX), Some(f64::MAX)));
    let finite = |profile: &NumericProfile| profile.quantiles.iter().all(|(_, v)| v.is_finite());
    assert!(finite(&extremes) && finite(&one));
}

/// pandas 3.1.1: `s.count()`, `s.isna().sum()`, `s.nunique()`, `s.value_counts()`; the order of ties is ours.
#[test]
fn categorical_profiles_have_pandas_counts_and_break_ties_by_name() {
    let names = ["web", "pos", "atm", "app", "ussd"];
    let value = |i: usize| (!i.is_multiple_of(11)).then(|| names[(i * i) % 7 % 5]);
    let profile = CategoricalProfile::of((0..1000).map(value), 3);
    assert_eq!((profile.count, profile.missing, profile.n_distinct), (909, 91, 4));
    let top: Vec<(&str, u64)> = profile.top.iter().map(|(name, n)| (name.as_str(), *n)).collect();
    assert_eq!(top, [("atm", 260), ("ussd", 260), ("pos", 259)]);
    let reversed = CategoricalProfile::of((0..1000).rev().map(value), 3);
    assert_eq!(reversed, profile, "the order of the values does not matter");
}

fn close(found: Option<f64>, want: f64, tolerance: f64) {
    let found = found.expect("a number");
    assert!((found - want).abs() <= tolerance, "{found} is not {want}");
}

#[test]
fn records_and_entries_survive_json() {
    let store = store();
    let record = approved(&store, "a", &[]);
    let text = serde_json::to_string(&record).unwrap();
    let again: FeatureMetadata = serde_json::from_str(&text).unwrap();
    assert_eq!(again.digest(), record.digest());
    let log = store.log(0, 10).unwrap();
    let text = serde_json::to_string(&log).unwrap();
    let again: Vec<FeatureLogEntry> = serde_json::from_str(&text).unwrap();
    AuditEntry::verify(&again).unwrap();
    assert!(text.contains("\"from\":\"draft\",\"to\":\"review\""), "{text}");
}

/// One random request; what it cannot mean is refused by the store.
#[derive(Debug, Clone, Copy)]
struct Request {
    step: u8,
    id: usize,
    version: u32,
    actor: usize,
    variant: usize,
    stale: bool,
}

const IDS: [&str; 3] = ["a", "b", "c"];
const ACTORS: [&str; 3] = ["anna", "bert", "cleo"];

fn request() -> impl Strategy<Value = Request> {
    let stale = prop::bool::weighted(0.1);
    (0..15u8, 0..3usize, 1..4u32, 0..3usize, 0..12usize, stale).prop_map(
        |(step, id, version, actor, variant, stale)| {
            // Version 1 mostly: the later ones have to be reached first.
            let version = if version == 3 { 2 } else { 1 };
            Request { step, id, version, actor, variant, stale }
        },
    )
}

fn random_semantics(variant: usize) -> FeatureSemantics {
    match variant {
        0 => FeatureSemantics::default(),
        1 => FeatureSemantics { definition: rate(days(0)), ..semantics(&[]) },
        2 => FeatureSemantics { definition: rate(days(7)), ..semantics(&[]) },
        3 => semantics(&[&FeatureRef::new("a", 1)]),
        4 => semantics(&[&FeatureRef::new("b", 1)]),
        5 => semantics(&[&FeatureRef::new("c", 2), &FeatureRef::new("a", 1)]),
        _ => semantics(&[]),
    }
}

/// The model: records by key, and the semantics that were approved.
#[derive(Debug, Default)]
struct World {
    records: BTreeMap<FeatureRef, FeatureMetadata>,
    frozen: BTreeMap<FeatureRef, FeatureSemantics>,
    n_approvals: usize,
}

impl World {
    fn play(&mut self, store: &FeatureStore, request: Request) {
        let Request { step, id, version, actor, variant, stale } = request;
        let feature = FeatureRef::new(IDS[id], version);
        let before = self.records.get(&feature).cloned();
        let revision = before.as_ref().map_or(1, |record| record.revision) - u64::from(stale);
        let by = by(ACTORS[actor]);
        let model = FeatureUser::Model(ModelRef { name: "fraud".into(), version: 1 });
        let tags = [&["card"][..], &["card", "night"], &[]][variant % 3];
        let result = match step {
            0 => store.register(&feature.id, documentation(tags), random_semantics(variant), by),
            1 => store.redefine(&feature, revision, random_semantics(variant), by),
            2 => store.document(&feature, revision, documentation(tags), by),
            3 | 4 => store.attach_profile(&feature, revision, profile(), by),
            5 | 6 => store.submit(&feature, revision, by),
            7 | 8 => store.approve(&feature, revision, by),
            9 => store.request_changes(&feature, revision, by),
            10 => {
                let other = FeatureRef::new(IDS[variant % 3], 1);
                let replacement = (variant > 4).then_some(&other);
                store.deprecate(&feature, revision, replacement, by)
            }
            11 => store.reinstate(&feature, revision, by),
            12 if variant < 4 => store.archive(&feature, revision, by),
            12 => store.withdraw(&feature, revision, by),
            13 => store.new_version(&feature, random_semantics(variant), by),
            _ if variant < 4 => {
                return self.pin(
                    &feature,
                    store.pin(&model, std::slice::from_ref(&feature), by),
                    model,
                );
            }
            _ => return self.unpin(store.unpin(&model, by), model),
        };
        let Ok(record) = result else { return };
        let names_a_revision = !matches!(step, 0 | 13);
        assert!(!(stale && names_a_revision), "a change of a former revision was accepted");
        self.check_step(&record, ACTORS[actor]);
        self.records.insert(record.feature.clone(), record);
    }

    fn pin(&mut self, feature: &FeatureRef, result: Result<()>, model: FeatureUser) {
        let Some(record) = self.records.get_mut(feature).filter(|_| result.is_ok()) else { return };
        assert!(
            record.status >= FeatureStatus::Approved && record.status < FeatureStatus::Archived
        );
        if record.used_by.insert(model) {
            record.revision += 1;
        }
    }

    fn unpin(&mut self, result: Result<()>, model: FeatureUser) {
        let mut found = false;
        for record in self.records.values_mut().filter(|record| record.used_by.contains(&model)) {
            record.used_by.remove(&model);
            record.revision += 1;
            found = true;
        }
        assert_eq!(result.is_ok(), found);
    }

    fn check_step(&mut self, after: &FeatureMetadata, actor: &str) {
        use FeatureStatus::{Approved, Archived, Deprecated, Draft, Review};
        let before = self.records.get(&after.feature);
        let from = before.map(|record| record.status);
        assert_eq!(after.revision, before.map_or(0, |record| record.revision) + 1);
        let legal = match (from, after.status) {
            (None, to) => to == Draft,
            (Some(from), to) if from == to => true,
            (Some(Draft), to) => to == Review || to == Archived,
            (Some(Review), to) => to == Draft || to == Approved || to == Archived,
            (Some(Approved), to) => to == Deprecated,
            (Some(Deprecated), to) => to == Approved || to == Archived,
            (Some(Archived), _) => false,
        };
        assert!(legal, "{from:?} -> {}", after.status);
        if after.status == Approved && from != Some(Approved) {
            self.n_approvals += 1;
            assert!(after.profile.is_some() && !after.authors.contains(actor));
            for dependency in &after.semantics.dependencies {
                assert_eq!(self.records[dependency].status, Approved);
            }
            assert!(!after.semantics.source_table.is_empty());
            assert_ne!(after.semantics.definition, rate(days(0)), "a leak was approved");
            self.frozen.insert(after.feature.clone(), after.semantics.clone());
        }
        if matches!(after.status, Approved | Deprecated) {
            assert_eq!(self.frozen[&after.feature], after.semantics);
        }
        if after.status == Archived && from != Some(Archived) {
            assert!(after.used_by.is_empty());
            let live = |record: &&FeatureMetadata| {
                record.status != Archived && record.semantics.dependencies.contains(&after.feature)
            };
            assert_eq!(self.records.values().find(live), None);
        }
    }

    fn check_lists(&self, store: &FeatureStore) {
        for status in [None, Some(FeatureStatus::Draft), Some(FeatureStatus::Approved)] {
            for tags in [&[][..], &["card"], &["card", "night"]] {
                let tags: BTreeSet<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
                let found = store
                    .list(&FeatureQuery { tags: tags.clone(), status, ..FeatureQuery::default() })
                    .unwrap();
                let expected = self.records.values().filter(|record| {
                    status.is_none_or(|status| record.status == status)
                        && tags.is_subset(&record.documentation.tags)
                });
                assert!(found.iter().eq(expected), "{status:?} {tags:?}");
            }
        }
    }
}

#[test]
fn no_sequence_of_requests_gets_around_a_guard_and_storage_equals_a_simple_map() {
    let mut runner = TestRunner::new_with_rng(
        Config { cases: 200, failure_persistence: None, ..Config::default() },
        proptest::test_runner::TestRng::deterministic_rng(
            proptest::test_runner::RngAlgorithm::ChaCha,
        ),
    );
    let (approvals, archived) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let requests = prop::collection::vec(request(), 1..400);
    let outcome = runner.run(&requests, |requests| {
        let inner = InMemoryFeatureStorage::default();
        let storage = CachedFeatureStorage::new(inner, 4).unwrap();
        let store = FeatureStore::new(Arc::new(storage));
        let mut world = World::default();
        for request in requests {
            world.play(&store, request);
            world.check_lists(&store);
        }
        let head = store.verify().unwrap();
        let revisions: u64 = world.records.values().map(|record| record.revision).sum();
        prop_assert_eq!(head.seq, revisions, "one entry for every revision");
        approvals.fetch_add(world.n_approvals, Ordering::Relaxed);
        let gone = |record: &&FeatureMetadata| record.status == FeatureStatus::Archived;
        archived.fetch_add(world.records.values().filter(gone).count(), Ordering::Relaxed);
        Ok(())
    });
    outcome.unwrap();
    // Of what is never reached nothing is shown.
    let reached = (approvals.into_inner(), archived.into_inner());
    assert!(reached.0 > 100 && reached.1 > 100, "approvals and archived features: {reached:?}");
}

#[test]
fn a_store_that_asks_for_parity_approves_nothing_without() {
    use riskcycle::event::EventSchema;
    use riskcycle::testing::feature_parity;

    let events = EventSchema::builder()
        .id(|i: &u64| *i)
        .time(|i| NOW.plus(days(*i)))
        .entity("terminal", |i| EntityKey(i % 2))
        .label("fraud", |i| Some(i % 3 == 0))
        .build()
        .unwrap();
    let feature = rate(days(7)).unwrap();
    let set = FeatureSet::builder("t").feature("risk", feature.definition.clone()).build().unwrap();
    let run: Vec<u64> = (0..40).collect();
    let report = feature_parity(&set.bind(&events).unwrap(), &run).unwrap();
    let evidence = report.evidence("risk").unwrap();
    assert_eq!((evidence.definition, evidence.n_rows), (feature.fingerprint(), 40));
    assert!(report.evidence("other").unwrap_err().is_not_found());

    let store = store().asking_for_parity();
    let semantics = FeatureSemantics { definition: Some(feature), ..semantics(&[]) };
    let record = store.register("risk", documentation(&[]), semantics, by("anna")).unwrap();
    let id = &record.feature;
    store.attach_profile(id, 1, profile(), by("anna")).unwrap();
    store.submit(id, 2, by("anna")).unwrap();
    assert!(refusal(store.approve(id, 3, by("bert"))).contains("attach parity"));
    let other = ParityEvidence { definition: rate(days(8)).unwrap().fingerprint(), ..evidence };
    assert!(refusal(store.attach_parity(id, 3, other, by("anna"))).contains("another definition"));
    let nothing = ParityEvidence { n_rows: 0, ..evidence };
    assert!(matches!(store.attach_parity(id, 3, nothing, by("anna")), Err(Error::Empty { .. })));
    store.attach_parity(id, 3, evidence, by("anna")).unwrap();
    let approved = store.approve(id, 4, by("bert")).unwrap();
    assert_eq!((approved.status, approved.parity), (FeatureStatus::Approved, Some(evidence)));
    store.verify().unwrap();

    // Another meaning has nothing to show for it, and words alone can show nothing.
    let draft = register(&store, "words", &[]);
    assert!(store.attach_parity(&draft.feature, 1, evidence, by("anna")).is_err());
}
