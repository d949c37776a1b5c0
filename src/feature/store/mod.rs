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
mod commit;
mod edit;
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

use std::sync::Arc;

use crate::error::Result;

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

/// Records or entries that are read in one call where all are wanted.
const PAGE: usize = 500;

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
