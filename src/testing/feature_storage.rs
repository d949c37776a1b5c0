//! The contract of [`FeatureStorage`], as checks that any backend must pass.
//!
//! ```
//! use riskcycle::feature::store::InMemoryFeatureStorage;
//! use riskcycle::testing::feature_storage;
//!
//! feature_storage::all(InMemoryFeatureStorage::default);
//! ```
//! `fresh` gives an empty storage each time it is called: a new folder, a new key prefix. Each check panics at the
//! first broken promise and says which it is.

use std::collections::BTreeSet;
use std::sync::Barrier;

use crate::audit::{AuditEntry, AuditHead, Signature};
use crate::error::Error;
use crate::feature::store::{
    FeatureChange, FeatureDocumentation, FeatureEvent, FeatureLogEntry, FeatureMetadata,
    FeatureOperation, FeatureProfile, FeatureQuery, FeatureRef, FeatureSemantics, FeatureStatus,
    FeatureStorage, FeatureType, FeatureUser, NumericProfile,
};
use crate::feature::{Aggregate, Current, Definition, Feature, Labels, Source, Width, Window};
use crate::ids::{Digest, ModelRef};
use crate::time::{Timestamp, days};

/// All checks below.
///
/// # Panics
/// If one fails.
pub fn all<S: FeatureStorage>(fresh: impl Fn() -> S) {
    a_fresh_storage_is_empty(&fresh());
    records_and_entries_come_back_as_they_were(&fresh());
    a_commit_is_a_compare_and_set(&fresh());
    a_commit_is_all_or_nothing(&fresh());
    a_record_is_found_by_what_it_is_now(&fresh());
    pages_are_in_order_and_skip_nothing(&fresh());
    of_two_writers_one_wins(&fresh());
    writers_of_many_features_do_not_lose_each_others_changes(&fresh());
}

/// Nothing is there before it is put there.
///
/// # Panics
/// If something is.
pub fn a_fresh_storage_is_empty(storage: &dyn FeatureStorage) {
    assert_eq!(storage.head().unwrap(), AuditHead::default(), "the head of an empty log");
    assert_eq!(storage.log(0, 10).unwrap(), [], "an empty log has entries");
    assert_eq!(keys(storage, &FeatureQuery::default()), [] as [&str; 0], "an empty list");
    let error = storage.get(&FeatureRef::new("a", 1)).unwrap_err();
    assert!(error.is_not_found(), "an unknown feature should be NotFound: {error}");
    storage.commit(&[]).expect("an empty commit changes nothing and succeeds");
    assert_eq!(storage.head().unwrap(), AuditHead::default(), "an empty commit moved the head");
}

/// What was committed is read back bit for bit, numbers that decimal text often loses included.
///
/// # Panics
/// If a record or entry differs.
pub fn records_and_entries_come_back_as_they_were(storage: &dyn FeatureStorage) {
    let record = full_record();
    put(storage, &record);
    for _ in 0..2 {
        let found = storage.get(&record.feature).unwrap();
        assert_eq!(found, record, "`get` gives another record");
        assert_eq!(found.digest(), record.digest(), "`get` gives other bits");
    }
    let listed = storage.list(&FeatureQuery::default()).unwrap();
    assert_eq!(listed, std::slice::from_ref(&record), "`list` gives another record");
    let other = FeatureRef { version: 2, ..record.feature.clone() };
    assert!(storage.get(&other).unwrap_err().is_not_found(), "another version was found");

    let second = FeatureMetadata { revision: 2, ..record };
    let entry = put(storage, &second);
    assert_eq!(storage.get(&second.feature).unwrap(), second, "`get` gives a former revision");
    let log = storage.log(0, 10).unwrap();
    AuditEntry::verify(&log).expect("the log no longer verifies as it is read back");
    assert_eq!(log.len(), 2, "two commits should have left two entries");
    assert_eq!(log[1], entry, "`log` gives another entry");
    assert_eq!(storage.head().unwrap(), entry.head(), "the head is not the last entry");
    assert_eq!(storage.log(1, 10).unwrap(), [entry], "`log` does not start after the position");
    assert_eq!(storage.log(0, 1).unwrap(), log[..1], "`log` does not keep to its limit");
    assert_eq!(storage.log(2, 10).unwrap(), [], "`log` goes on behind its end");
}

/// A commit names the revision and the head that it follows; any other is a conflict and changes nothing.
///
/// # Panics
/// If a stale commit is accepted, or leaves a trace.
pub fn a_commit_is_a_compare_and_set(storage: &dyn FeatureStorage) {
    let first = record("a", 1);
    put(storage, &first);
    let head = storage.head().unwrap();
    for revision in [0, 1, 3] {
        let stale = FeatureMetadata { revision, status: FeatureStatus::Review, ..first.clone() };
        refused_commit(storage, &[change(&stale, head)], "a revision that does not follow");
    }
    let unborn = FeatureMetadata { revision: 2, ..record("b", 1) };
    refused_commit(storage, &[change(&unborn, head)], "revision 2 of a feature that is not there");

    let next = FeatureMetadata { revision: 2, ..first.clone() };
    let no_head = AuditHead::default();
    refused_commit(storage, &[change(&next, no_head)], "an entry that follows a former head");
    let ahead = AuditHead { seq: head.seq + 1, ..head };
    refused_commit(storage, &[change(&next, ahead)], "an entry that leaves a gap in the log");
    let other = AuditHead { hash: Digest::of(b"another"), ..head };
    refused_commit(storage, &[change(&next, other)], "an entry that follows another head");
    assert_eq!(storage.get(&first.feature).unwrap(), first, "a refused commit changed the record");
    put(storage, &next);
}

/// Several changes are kept together or not at all.
///
/// # Panics
/// If some are kept without the others.
pub fn a_commit_is_all_or_nothing(storage: &dyn FeatureStorage) {
    put(storage, &record("b", 1));
    let head = storage.head().unwrap();
    let a = change(&record("a", 1), head);
    let stale = change(&record("b", 1), a.entry.head());
    refused_commit(storage, &[a.clone(), stale], "a second change that is stale");
    let gap = change(&record("c", 1), head);
    refused_commit(storage, &[a.clone(), gap], "a second entry that does not follow the first");
    assert!(storage.get(&a.record.feature).is_err(), "half of a refused commit was kept");
    let c = change(&record("c", 1), a.entry.head());
    storage.commit(&[a, c.clone()]).expect("two changes in order should be accepted");
    assert_eq!(keys(storage, &FeatureQuery::default()), ["a@1", "b@1", "c@1"]);
    assert_eq!(storage.head().unwrap(), c.entry.head(), "the head after two entries at once");
    assert_eq!(storage.log(0, 10).unwrap().len(), 3, "one entry for each change");
}

/// Lists follow tags, status, dependencies and users as they are, not as they were.
///
/// # Panics
/// If a record is missing from a list, or stays in one that it has left.
pub fn a_record_is_found_by_what_it_is_now(storage: &dyn FeatureStorage) {
    let tagged = |id: &str, tags: &[&str]| {
        let mut record = record(id, 1);
        record.documentation.tags = tags.iter().map(|tag| (*tag).to_owned()).collect();
        record
    };
    let by_tags = |tags: &[&str], status: Option<FeatureStatus>| {
        let tags: BTreeSet<String> = tags.iter().map(|tag| (*tag).to_owned()).collect();
        keys(storage, &FeatureQuery { tags, status, ..FeatureQuery::default() })
    };
    put(storage, &tagged("a", &["card", "night"]));
    put(storage, &tagged("b", &["card"]));
    put(storage, &tagged("c", &[]));
    let none = [] as [&str; 0];
    assert_eq!(by_tags(&[], None), ["a@1", "b@1", "c@1"], "no condition");
    assert_eq!(by_tags(&["card"], None), ["a@1", "b@1"], "one tag");
    assert_eq!(by_tags(&["card", "night"], None), ["a@1"], "all of two tags");
    // A filter that starts anew on an empty intersection would find b here.
    assert_eq!(by_tags(&["card", "moon"], None), none, "a tag that nothing has, last");
    assert_eq!(by_tags(&["absent", "card"], None), none, "a tag that nothing has, first");
    assert_eq!(by_tags(&["car"], None), none, "the beginning of a tag");

    let mut a = FeatureMetadata { revision: 2, ..tagged("a", &["card", "day"]) };
    a.status = FeatureStatus::Review;
    put(storage, &a);
    assert_eq!(by_tags(&["night"], None), none, "a tag that was taken away");
    assert_eq!(by_tags(&["day"], None), ["a@1"], "a tag that was added");
    assert_eq!(by_tags(&[], Some(FeatureStatus::Draft)), ["b@1", "c@1"], "a status that was left");
    assert_eq!(by_tags(&["card"], Some(FeatureStatus::Review)), ["a@1"], "tag and status");
    assert_eq!(by_tags(&["card"], Some(FeatureStatus::Approved)), none, "a status of nothing");

    let user = FeatureUser::Model(ModelRef { name: "fraud".into(), version: 1 });
    let on_b = FeatureQuery { depends_on: Some(FeatureRef::new("b", 1)), ..Default::default() };
    let of_user = FeatureQuery { used_by: Some(user.clone()), ..Default::default() };
    let mut c = FeatureMetadata { revision: 2, ..tagged("c", &[]) };
    c.semantics.dependencies.insert(FeatureRef::new("b", 1));
    c.used_by.insert(user);
    put(storage, &c);
    assert_eq!(keys(storage, &on_b), ["c@1"], "a dependency");
    assert_eq!(keys(storage, &of_user), ["c@1"], "a user");
    let on_b2 = FeatureQuery { depends_on: Some(FeatureRef::new("b", 2)), ..Default::default() };
    assert_eq!(keys(storage, &on_b2), none, "a dependency on another version");
    c = FeatureMetadata { revision: 3, ..tagged("c", &[]) };
    put(storage, &c);
    assert_eq!(keys(storage, &on_b), none, "a dependency that was taken away");
    assert_eq!(keys(storage, &of_user), none, "a user that has gone");
}

/// Pages of every size, put together, are the whole list in the order of id and version, also if the list grows.
///
/// # Panics
/// If a page is out of order, too long, or something is skipped or repeated.
pub fn pages_are_in_order_and_skip_nothing(storage: &dyn FeatureStorage) {
    // Bytes, not letters: B before a, a-b before a.b before a_b; numbers, not text: 9 before 10.
    let sorted = ["B@1", "a@1", "a@2", "a@9", "a@10", "a-b@1", "a.b@1", "a_b@1", "ab@1", "b@1"];
    for key in sorted.iter().rev() {
        let (id, version) = key.split_once('@').expect("written as id@version above");
        put(storage, &record(id, version.parse().expect("a number above")));
    }
    let all = FeatureQuery { limit: 100, ..FeatureQuery::default() };
    assert_eq!(keys(storage, &all), sorted, "the whole list");
    for limit in 1..=sorted.len() + 1 {
        let mut query = FeatureQuery { limit, ..FeatureQuery::default() };
        let mut found = Vec::new();
        loop {
            let page = storage.list(&query).unwrap();
            assert!(page.len() <= limit, "a page of {} for a limit of {limit}", page.len());
            found.extend(page.iter().map(|record| record.feature.to_string()));
            assert!(found.len() <= sorted.len(), "pages of {limit} repeat something: {found:?}");
            match page.last() {
                Some(last) if page.len() == limit => query.after = Some(last.feature.clone()),
                _ => break,
            }
        }
        assert_eq!(found, sorted, "pages of {limit}");
    }
    let after = |id: &str, version| FeatureQuery {
        after: Some(FeatureRef::new(id, version)),
        ..FeatureQuery::default()
    };
    assert_eq!(keys(storage, &after("a", 3))[0], "a@9", "a cursor that is no key");
    put(storage, &record("A", 1));
    put(storage, &record("a", 11));
    assert_eq!(keys(storage, &after("a", 10))[..2], ["a@11", "a-b@1"], "a list that grew");
    assert_eq!(keys(storage, &after("b", 1)), [] as [&str; 0], "after the last key");
    let zero = FeatureQuery { limit: 0, ..FeatureQuery::default() };
    assert_eq!(keys(storage, &zero), [] as [&str; 0], "a limit of nothing");
}

/// Of many commits of one revision at once exactly one is accepted, and the others are conflicts.
///
/// # Panics
/// If none or several are, or if the record is not the winner's.
pub fn of_two_writers_one_wins(storage: &dyn FeatureStorage) {
    const WRITERS: usize = 4;
    const ROUNDS: u64 = 25;
    put(storage, &record("a", 1));
    for round in 1..=ROUNDS {
        let head = storage.head().unwrap();
        let start = Barrier::new(WRITERS);
        let wins: Vec<bool> = std::thread::scope(|scope| {
            let writers: Vec<_> = (0..WRITERS)
                .map(|writer| {
                    let start = &start;
                    scope.spawn(move || {
                        let mut mine = FeatureMetadata { revision: round + 1, ..record("a", 1) };
                        mine.documentation.owner = format!("writer {writer}");
                        let changes = [change(&mine, head)];
                        start.wait();
                        match storage.commit(&changes) {
                            Ok(()) => true,
                            Err(error) if error.is_conflict() => false,
                            Err(error) => panic!("a lost race should be a Conflict: {error}"),
                        }
                    })
                })
                .collect();
            let joined = writers.into_iter().map(|writer| writer.join());
            joined.map(|won| won.expect("a writer panicked")).collect()
        });
        let n_won = wins.iter().filter(|won| **won).count();
        assert_eq!(n_won, 1, "{n_won} of {WRITERS} writers of revision {} won", round + 1);
        let winner = wins.iter().position(|won| *won).expect("one won");
        let kept = storage.get(&FeatureRef::new("a", 1)).unwrap();
        assert_eq!(
            kept.documentation.owner,
            format!("writer {winner}"),
            "a loser's record is kept"
        );
        assert_eq!(storage.head().unwrap().seq, round + 1, "one entry for each accepted commit");
    }
}

/// Writers of different features at once: every change is kept in the end, and the log verifies.
///
/// # Panics
/// If a change is lost, the log is broken, or a writer loses ten thousand races.
pub fn writers_of_many_features_do_not_lose_each_others_changes(storage: &dyn FeatureStorage) {
    const WRITERS: usize = 4;
    const EDITS: u64 = 5;
    let ids: Vec<String> = (0..WRITERS).map(|writer| format!("feature_{writer}")).collect();
    std::thread::scope(|scope| {
        for id in &ids {
            scope.spawn(move || {
                let mut head = storage.head().unwrap();
                let mut mine = record(id, 1);
                let mut lost = 0;
                while mine.revision <= EDITS {
                    match storage.commit(&[change(&mine, head)]) {
                        Ok(()) => mine.revision += 1,
                        Err(error) if error.is_conflict() && lost < 10_000 => lost += 1,
                        Err(error) => panic!("{id} cannot be written: {error}"),
                    }
                    head = storage.head().unwrap();
                }
            });
        }
    });
    for id in &ids {
        let kept = storage.get(&FeatureRef::new(id, 1)).unwrap();
        assert_eq!(kept.revision, EDITS, "changes of {id} were lost");
    }
    let log = storage.log(0, 1000).unwrap();
    AuditEntry::verify(&log).expect("the log is broken after writers at once");
    assert_eq!(log.len() as u64, WRITERS as u64 * EDITS, "one entry for each accepted commit");
}

fn keys(storage: &dyn FeatureStorage, query: &FeatureQuery) -> Vec<String> {
    let page = storage.list(query).unwrap();
    page.iter().map(|record| record.feature.to_string()).collect()
}

/// Commits a record on the present head.
fn put(storage: &dyn FeatureStorage, record: &FeatureMetadata) -> FeatureLogEntry {
    let change = change(record, storage.head().unwrap());
    let committed = storage.commit(std::slice::from_ref(&change));
    committed.unwrap_or_else(|e| panic!("{} should be accepted: {e}", record.feature));
    change.entry
}

fn refused_commit(storage: &dyn FeatureStorage, changes: &[FeatureChange], what: &str) {
    let before = storage.head().unwrap();
    match storage.commit(changes) {
        Err(Error::Conflict { .. }) => {}
        Err(error) => panic!("{what} should be a Conflict: {error}"),
        Ok(()) => panic!("{what} was accepted"),
    }
    assert_eq!(storage.head().unwrap(), before, "{what} was refused and moved the head");
}

fn change(record: &FeatureMetadata, head: AuditHead) -> FeatureChange {
    let event = FeatureEvent {
        feature: record.feature.clone(),
        operation: FeatureOperation::Documented { before: Box::default() },
        from: (record.revision > 1).then_some(FeatureStatus::Draft),
        to: record.status,
        revision: record.revision,
        record: record.digest(),
    };
    let signature = Signature::new("anna", "conformance", record.updated);
    FeatureChange { record: record.clone(), entry: AuditEntry::after(head, signature, event) }
}

fn record(id: &str, version: u32) -> FeatureMetadata {
    FeatureMetadata {
        feature: FeatureRef::new(id, version),
        revision: 1,
        status: FeatureStatus::Draft,
        created: Timestamp::from_date(2026, 1, 5),
        updated: Timestamp::from_date(2026, 1, 5),
        authors: ["anna".to_owned()].into(),
        documentation: FeatureDocumentation {
            name: format!("Feature {id}"),
            description: "for the conformance suite".into(),
            ..FeatureDocumentation::default()
        },
        semantics: FeatureSemantics::default(),
        profile: None,
        parity: None,
        replacement: None,
        used_by: BTreeSet::new(),
    }
}

/// A record with something in every field, and numbers that need all their bits.
fn full_record() -> FeatureMetadata {
    let mut full = record("full", 1);
    full.status = FeatureStatus::Deprecated;
    full.created = Timestamp::from_micros(-1);
    full.updated = Timestamp::from_micros(1_767_571_200_000_001);
    full.documentation = FeatureDocumentation {
        name: "用户总交易次数 \"quoted\" \\ \u{1f512}".into(),
        description: "two\nlines\tand a tab, {braces}, a \0 byte".into(),
        business_meaning: " blanks around ".into(),
        owner: "anna:bert|cleo".into(),
        tags: ["a:b", "a b", "tag:a", "ü", "*"].map(String::from).into(),
    };
    full.semantics = FeatureSemantics {
        feature_type: FeatureType::Boolean,
        data_type: "decimal(10,2)".into(),
        source_table: "bank.transactions".into(),
        source_column: "amount".into(),
        lineage: ["second", "first", "second"].map(String::from).into(),
        dependencies: [FeatureRef::new("b", 10), FeatureRef::new("b", 9)].into(),
        transformation_logic: "COUNT(*) FILTER (WHERE amount > 0)".into(),
        definition: Some(Feature {
            name: "risk_7d".into(),
            definition: Definition::Windowed {
                source: Source { entity: "terminal".into(), only: Vec::new() },
                window: Window {
                    width: Width::Last(days(7)),
                    delay: days(7),
                    current: Current::StrictPast,
                },
                aggregate: Aggregate::Rate { label: "fraud".into(), labels: Labels::FixedDelay },
                empty: Some(0.1 + 0.2),
            },
        }),
    };
    full.profile = Some(FeatureProfile::Numeric(NumericProfile {
        count: u64::MAX,
        missing: (1 << 53) + 1,
        infinite: 0,
        mean: Some(1.0 / 3.0),
        std: Some(f64::MIN_POSITIVE),
        min: Some(-f64::MAX),
        max: Some(5e-324),
        quantiles: vec![(0.05, -0.0), (0.5, 123_456_789.123_456_79), (0.95, 1e23)],
    }));
    full.replacement = Some(FeatureRef::new("full", 2));
    full.used_by = [
        FeatureUser::Set { name: "card_v1".into(), fingerprint: Digest::of(b"set") },
        FeatureUser::Model(ModelRef { name: "fraud".into(), version: u32::MAX }),
    ]
    .into();
    full
}
