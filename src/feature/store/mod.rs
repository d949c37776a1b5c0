//! The feature store: what features there are, what they mean, who approved them, who depends on them.
//!
//! [`FeatureStore`] keeps the rules, a [`FeatureStorage`] keeps the records: in memory
//! ([`InMemoryFeatureStorage`]), behind a cache ([`CachedFeatureStorage`]), or wherever the host likes.
//!
//! # The life of a feature version
//! ```text
//!            submit            approve              deprecate               archive
//!   Draft ───────────▶ Review ─────────▶ Approved ─────────────▶ Deprecated ─────────▶ Archived
//!     ▲ request_changes  │                  ▲       reinstate        │                    ▲
//!     └──────────────────┤                  └────────────────────────┘                    │
//!     withdraw ──────────┴────────────────────────────────────────────────────────────────┘
//! ```
//!
//! | step | what has to hold |
//! |---|---|
//! | every one | an actor, a reason, the current revision, a time not before the last change |
//! | [`register`], [`redefine`] | an id, a name, a description; dependencies are there and make no circle |
//! | [`submit`] | no blank field; the leak lint passes; dependencies in review or approved |
//! | [`approve`], [`reinstate`] | the same, dependencies approved; a profile; the actor wrote none of the semantics; parity, if [asked for](FeatureStore::asking_for_parity) |
//! | [`deprecate`] | a replacement, if there is one, is another version that is approved |
//! | [`withdraw`], [`archive`] | nothing that is not archived depends on it, nobody uses it |
//!
//! Semantics change in a draft only: an approved version means the same for ever, and a change is a
//! [new version](FeatureStore::new_version). Documentation may be edited at any time. Whether a feature's data arrive
//! and look healthy is another matter, and never moves its status.
//!
//! [`register`]: FeatureStore::register
//! [`redefine`]: FeatureStore::redefine
//! [`submit`]: FeatureStore::submit
//! [`approve`]: FeatureStore::approve
//! [`reinstate`]: FeatureStore::reinstate
//! [`deprecate`]: FeatureStore::deprecate
//! [`withdraw`]: FeatureStore::withdraw
//! [`archive`]: FeatureStore::archive
//!
//! ```
//! use std::sync::Arc;
//!
//! use riskcycle::feature::store::*;
//! use riskcycle::{Signature, Timestamp};
//!
//! let store = FeatureStore::new(Arc::new(InMemoryFeatureStorage::default()));
//! let now = Timestamp::from_date(2026, 1, 5);
//! let anna = |reason| Signature::new("anna", reason, now);
//! let bert = |reason| Signature::new("bert", reason, now);
//!
//! let documentation = FeatureDocumentation {
//!     name: "Card payments, 7 days".into(),
//!     description: "Number of payments with the card in the last seven days".into(),
//!     business_meaning: "A stolen card is used much more often than before".into(),
//!     owner: "card fraud".into(),
//!     tags: ["card".into(), "velocity".into()].into(),
//! };
//! let semantics = FeatureSemantics {
//!     data_type: "f64".into(),
//!     source_table: "transactions".into(),
//!     source_column: "card".into(),
//!     transformation_logic: "count of earlier payments in (t - 7d, t]".into(),
//!     ..FeatureSemantics::default()
//! };
//! let draft = store.register("card_n_7d", documentation, semantics, anna("wanted by the night team"))?;
//! let profile = FeatureProfile::Numeric(NumericProfile::of([0.0, 2.0, 1.0, 9.0]));
//! let feature = &draft.feature;
//! let draft = store.attach_profile(feature, draft.revision, profile, anna("January"))?;
//! let review = store.submit(feature, draft.revision, anna("ready"))?;
//!
//! assert!(store.approve(feature, review.revision, anna("looks good")).is_err()); // she wrote it
//! let approved = store.approve(feature, review.revision, bert("checked against the ledger"))?;
//! assert_eq!(approved.status, FeatureStatus::Approved);
//! store.verify()?;
//! # Ok::<(), riskcycle::Error>(())
//! ```

mod cached;
mod guard;
mod life;
mod lineage;
mod log;
mod metadata;
mod parity;
mod profile;
mod storage;
mod verify;

pub use cached::CachedFeatureStorage;
pub use lineage::FeatureDependants;
pub use log::{FeatureEvent, FeatureLogEntry, FeatureOperation};
pub use metadata::{
    FeatureDocumentation, FeatureMetadata, FeatureRef, FeatureSemantics, FeatureStatus,
    FeatureType, FeatureUser,
};
pub use parity::ParityEvidence;
pub use profile::{CategoricalProfile, FeatureProfile, NumericProfile};
pub use storage::{FeatureChange, FeatureQuery, FeatureStorage, InMemoryFeatureStorage};

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::audit::{AuditEntry, AuditHead, Signature};
use crate::error::{Error, Result};
use guard::refused;

/// Keeps the rules of features' metadata over a [`FeatureStorage`].
///
/// Every change is signed, is logged, and names the revision that it was decided on: if another writer came first, it
/// fails with `Conflict` and changes nothing.
///
/// # Concurrency
/// Any number of threads, and of stores over one storage. A change reads all that its rules look at, other features
/// included, against one head of the log, and starts over if the head moved before it could commit: rules hold for the
/// state that the change is applied to.
///
/// # Cost
/// A change is three calls to the storage, and one more for every feature that its rules look at.
///
/// # Errors
/// Every method gives the storage's errors, and every change besides: `NotFound` for an unknown feature; `Conflict` for
/// another revision, or after a hundred lost races; `Refused` if a rule does not hold, naming what would satisfy it;
/// `InvalidInput` for a signature dated before the feature's last change.
#[derive(Debug, Clone)]
pub struct FeatureStore {
    storage: Arc<dyn FeatureStorage>,
    asks_for_parity: bool,
}

/// Each lost race is a commit that somebody else made, so this many in a row take a hundred busy writers.
const MAX_RACES: usize = 100;

/// Records or entries that are read in one call where all are wanted.
const PAGE: usize = 500;

/// A change that was decided and waits for its revision and its seal.
struct Step {
    from: Option<FeatureStatus>,
    record: FeatureMetadata,
    operation: FeatureOperation,
}

impl FeatureStore {
    /// A store over a storage, which may hold features already.
    pub fn new(storage: Arc<dyn FeatureStorage>) -> Self {
        FeatureStore { storage, asks_for_parity: false }
    }

    /// What is known of a feature version.
    ///
    /// # Errors
    /// `NotFound` for an unknown one.
    pub fn get(&self, feature: &FeatureRef) -> Result<FeatureMetadata> {
        self.storage.get(feature)
    }

    /// All versions of an id, oldest first; none for an unknown id.
    ///
    /// # Errors
    /// From the storage.
    pub fn versions(&self, id: &str) -> Result<Vec<FeatureMetadata>> {
        let mut versions = Vec::new();
        let mut query = FeatureQuery { after: Some(FeatureRef::new(id, 0)), ..Default::default() };
        loop {
            let page = self.storage.list(&query)?;
            query.after = page.last().map(|last| last.feature.clone());
            versions.extend(page.into_iter().take_while(|record| *record.feature.id == *id));
            // Keys are in order, so a page that ends with another id, or is empty, has all there is.
            if query.after.as_ref().is_none_or(|after| *after.id != *id) {
                return Ok(versions);
            }
        }
    }

    /// One page of features, by id and version.
    ///
    /// ```
    /// # use std::sync::Arc;
    /// # use riskcycle::feature::store::*;
    /// # let store = FeatureStore::new(Arc::new(InMemoryFeatureStorage::default()));
    /// let mut query = FeatureQuery { tags: ["card".to_owned()].into(), ..FeatureQuery::default() };
    /// query.status = Some(FeatureStatus::Approved);
    /// loop {
    ///     let page = store.list(&query)?;
    ///     let Some(last) = page.last() else { break };
    ///     query.after = Some(last.feature.clone());
    /// }
    /// # Ok::<(), riskcycle::Error>(())
    /// ```
    ///
    /// # Errors
    /// From the storage.
    pub fn list(&self, query: &FeatureQuery) -> Result<Vec<FeatureMetadata>> {
        self.storage.list(query)
    }

    /// Adds version 1 of a new feature, as a draft.
    ///
    /// # Errors
    /// `Conflict` if the id is taken; `InvalidInput` for an id, name or description that cannot be; `Refused` without
    /// an actor or a reason, or for dependencies that are not there.
    pub fn register(
        &self,
        id: &str,
        documentation: FeatureDocumentation,
        semantics: FeatureSemantics,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        metadata::check_id(id)?;
        documentation.check()?;
        semantics.check()?;
        let feature = FeatureRef::new(id, 1);
        let action = format!("register {feature}");
        signature.check(&action)?;
        self.commit_one(signature, || {
            if self.find(&feature)?.is_some() {
                let reason = "exists already; make a new version of it".into();
                return Err(Error::Conflict { kind: "feature", id: id.to_owned(), reason });
            }
            self.check_dependencies(&action, &feature, &semantics, None)?;
            Ok(draft(feature.clone(), documentation.clone(), semantics.clone(), signature))
        })
    }

    /// Adds the next version of a feature as a draft, with the documentation of the version given. That may be any that
    /// is past review, archived ones included.
    ///
    /// # Errors
    /// As for every change; `Refused` for a draft or a version in review, which are not finished.
    pub fn new_version(
        &self,
        feature: &FeatureRef,
        semantics: FeatureSemantics,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        use FeatureStatus::{Approved, Archived, Deprecated};
        semantics.check()?;
        let action = format!("make a new version of {feature}");
        signature.check(&action)?;
        self.commit_one(signature, || {
            let record = self.storage.get(feature)?;
            guard::check_status(&action, &record, &[Approved, Deprecated, Archived])?;
            let versions = self.versions(&feature.id)?;
            let last = versions.last().map_or(feature.version, |last| last.feature.version);
            let next = FeatureRef { id: feature.id.clone(), version: last + 1 };
            self.check_dependencies(&action, &next, &semantics, None)?;
            Ok(draft(next, record.documentation, semantics.clone(), signature))
        })
    }

    /// Replaces the documentation, in any status. The log keeps the former one.
    ///
    /// # Errors
    /// As for every change; `InvalidInput` for a blank name or description or a blank tag; `Refused` for a blank field
    /// that review would not let pass, unless the feature is a draft.
    pub fn document(
        &self,
        feature: &FeatureRef,
        revision: u64,
        documentation: FeatureDocumentation,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        documentation.check()?;
        self.change("document", feature, revision, signature, |action, record| {
            let before = std::mem::replace(&mut record.documentation, documentation.clone());
            if record.status != FeatureStatus::Draft {
                guard::check_complete(action, record)?;
            }
            Ok(FeatureOperation::Documented { before: Box::new(before) })
        })
    }

    /// Replaces the semantics of a draft. The actor becomes one of its authors; its profile and its parity are dropped.
    ///
    /// # Errors
    /// As for every change; `Refused` in any other status, or for dependencies that are not there or depend on it.
    pub fn redefine(
        &self,
        feature: &FeatureRef,
        revision: u64,
        semantics: FeatureSemantics,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        semantics.check()?;
        self.change("redefine", feature, revision, signature, |action, record| {
            if record.status != FeatureStatus::Draft {
                let hint = match record.status {
                    FeatureStatus::Review => "ask for changes first",
                    _ => "make a new version",
                };
                let reason =
                    format!("it is {}, and only a draft's semantics change; {hint}", record.status);
                return refused(action, reason);
            }
            self.check_dependencies(action, feature, &semantics, None)?;
            record.semantics = semantics.clone();
            record.authors.insert(signature.actor.to_owned());
            (record.profile, record.parity) = (None, None);
            Ok(FeatureOperation::Redefined)
        })
    }

    /// Attaches statistics of the feature's values, in place of earlier ones.
    ///
    /// # Errors
    /// As for every change; `Empty` for a profile of no value; `InvalidInput` for one whose kind does not fit the
    /// feature's type, or with a number that is not finite; `Refused` for an archived feature.
    pub fn attach_profile(
        &self,
        feature: &FeatureRef,
        revision: u64,
        profile: FeatureProfile,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        use FeatureStatus::{Approved, Deprecated, Draft, Review};
        self.change("attach a profile to", feature, revision, signature, |action, record| {
            guard::check_status(action, record, &[Draft, Review, Approved, Deprecated])?;
            profile.check(record.semantics.feature_type)?;
            record.profile = Some(profile.clone());
            Ok(FeatureOperation::Profiled)
        })
    }

    /// One change of one record, decided by `edit` on the revision that the caller has seen.
    fn change(
        &self,
        verb: &str,
        feature: &FeatureRef,
        revision: u64,
        signature: Signature<'_>,
        edit: impl Fn(&str, &mut FeatureMetadata) -> Result<FeatureOperation>,
    ) -> Result<FeatureMetadata> {
        let action = format!("{verb} {feature}");
        signature.check(&action)?;
        self.commit_one(signature, || {
            let mut record = self.storage.get(feature)?;
            if record.revision != revision {
                let reason =
                    format!("is at revision {}, not {revision}; read it again", record.revision);
                return Err(Error::Conflict { kind: "feature", id: feature.to_string(), reason });
            }
            let from = Some(record.status);
            let operation = edit(&action, &mut record)?;
            Ok(Step { from, record, operation })
        })
    }

    fn commit_one(
        &self,
        signature: Signature<'_>,
        decide: impl Fn() -> Result<Step>,
    ) -> Result<FeatureMetadata> {
        let mut records = self.commit(signature, || Ok(vec![decide()?]))?;
        Ok(records.remove(0)) // a record for each step, and there was one
    }

    /// Decides and commits against one head of the log, again and again until no other writer comes in between. Nothing
    /// to do is done at once.
    fn commit(
        &self,
        signature: Signature<'_>,
        decide: impl Fn() -> Result<Vec<Step>>,
    ) -> Result<Vec<FeatureMetadata>> {
        let mut races = 0;
        loop {
            // Before anything that the decision looks at: whatever changes after this moves the head.
            let mut head = self.storage.head()?;
            let steps = decide()?;
            let mut changes = Vec::with_capacity(steps.len());
            for step in steps {
                let change = sealed(step, head, signature)?;
                head = change.entry.head();
                changes.push(change);
            }
            if changes.is_empty() {
                return Ok(Vec::new());
            }
            match self.storage.commit(&changes) {
                Ok(()) => return Ok(changes.into_iter().map(|change| change.record).collect()),
                Err(error) if error.is_conflict() && races < MAX_RACES => races += 1,
                Err(error) => return Err(error),
            }
        }
    }

    fn find(&self, feature: &FeatureRef) -> Result<Option<FeatureMetadata>> {
        match self.storage.get(feature) {
            Ok(record) => Ok(Some(record)),
            Err(error) if error.is_not_found() => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All records that match, page by page.
    fn read_all(
        &self,
        mut query: FeatureQuery,
        mut read: impl FnMut(FeatureMetadata),
    ) -> Result<()> {
        query.limit = PAGE;
        loop {
            let page = self.storage.list(&query)?;
            let Some(last) = page.last() else { return Ok(()) };
            query.after = Some(last.feature.clone());
            page.into_iter().for_each(&mut read);
        }
    }
}

/// A new version as a draft; [`sealed`] gives it its first revision and its times.
fn draft(
    feature: FeatureRef,
    documentation: FeatureDocumentation,
    semantics: FeatureSemantics,
    signature: Signature<'_>,
) -> Step {
    let record = FeatureMetadata {
        feature,
        revision: 0,
        status: FeatureStatus::Draft,
        created: signature.at,
        updated: signature.at,
        authors: [signature.actor.to_owned()].into(),
        documentation,
        semantics,
        profile: None,
        parity: None,
        replacement: None,
        used_by: BTreeSet::new(),
    };
    Step { from: None, record, operation: FeatureOperation::Registered }
}

fn sealed(step: Step, head: AuditHead, signature: Signature<'_>) -> Result<FeatureChange> {
    let Step { from, mut record, operation } = step;
    signature.check_after(&record.feature, record.updated)?;
    record.revision += 1;
    record.updated = signature.at;
    let event = FeatureEvent {
        feature: record.feature.clone(),
        operation,
        from,
        to: record.status,
        revision: record.revision,
        record: record.digest(),
    };
    let entry = AuditEntry::after(head, signature, event);
    Ok(FeatureChange { record, entry })
}
