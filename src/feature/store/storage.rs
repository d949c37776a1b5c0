//! Where features' metadata and the operation log are kept.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::ops::Bound;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::{AuditHead, AuditLog};
use crate::error::{Error, Result};
use crate::feature::store::{
    FeatureEvent, FeatureLogEntry, FeatureMetadata, FeatureRef, FeatureStatus, FeatureUser,
};

/// Keeps features' metadata and the log of the operations that made it. It decides nothing: rules are the
/// [`FeatureStore`](crate::feature::store::FeatureStore)'s.
///
/// # Contract
/// - What `commit` accepted is read back as it was, bit for bit, floating-point numbers included.
/// - [`commit`](Self::commit) is a compare-and-set on two things, and all or nothing: every record is exactly one
///   revision ahead of what is kept (revision 1 for a feature that is not), and the entries follow the head of the log.
///   Records and entries become visible together. The log is never shortened or rewritten.
/// - A record is found by its present tags, status, dependencies and users, never by former ones.
/// - Keys are ordered by id (bytes), then version (number).
///
/// # Concurrency
/// Any number of threads, and of processes where the backend is shared. Once a commit has returned, everybody reads it;
/// of two commits for one head exactly one is accepted. One call reads one consistent state; two calls may not.
///
/// # Cost
/// Each call is one round trip to a remote backend. `list` and `log` return at most what their limit asks.
///
/// # Errors
/// `NotFound` and `Conflict` as the methods say; `Io` and `Corrupt` from backends. After an `Io` of `commit` it is not
/// known whether the change is kept: read again.
///
/// # Implementing
/// Run `riskcycle::testing::feature_storage::all` (cargo feature `testing`) against it. Filters that the backend has no
/// index for are applied by [`FeatureQuery::matches`]. Adapters forward every method.
pub trait FeatureStorage: Debug + Send + Sync + 'static {
    /// The record of a feature version.
    ///
    /// # Errors
    /// `NotFound` for an unknown one.
    fn get(&self, feature: &FeatureRef) -> Result<FeatureMetadata>;

    /// The first records that match the query, in the order of their keys; fewer than its limit only at the end. Going
    /// on after the last key of a page skips and repeats nothing that matches all the time.
    ///
    /// # Errors
    /// See the trait.
    fn list(&self, query: &FeatureQuery) -> Result<Vec<FeatureMetadata>>;

    /// Entries of the log after position `after`, oldest first, at most `limit`; fewer only at the end.
    ///
    /// # Errors
    /// See the trait.
    fn log(&self, after: u64, limit: usize) -> Result<Vec<FeatureLogEntry>>;

    /// The head of the log.
    ///
    /// # Errors
    /// See the trait.
    fn head(&self) -> Result<AuditHead>;

    /// Keeps records with the log entries that say why. No feature is in `changes` twice.
    ///
    /// # Errors
    /// `Conflict` if a record is not one revision ahead, or if the entries do not follow the head: nothing is kept.
    fn commit(&self, changes: &[FeatureChange]) -> Result<()>;
}

/// A record as it shall be, and the log entry that belongs to it.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureChange {
    /// The record.
    pub record: FeatureMetadata,
    /// The entry.
    pub entry: FeatureLogEntry,
}

impl FeatureChange {
    /// Whether changes may be committed where the log ends at `head` and a feature is at the revision that `kept` tells, 0
    /// for none; the head after them.
    ///
    /// # Errors
    /// `Conflict` naming the first one that may not, and those of `kept`.
    pub(crate) fn check(
        changes: &[FeatureChange],
        mut head: AuditHead,
        mut kept: impl FnMut(&FeatureRef) -> Result<u64>,
    ) -> Result<AuditHead> {
        for change in changes {
            let kept = kept(&change.record.feature)?;
            if change.record.revision != kept + 1 {
                return Err(change.stale(kept));
            }
            if !change.entry.follows(head) {
                return Err(change.out_of_line(head.seq));
            }
            head = change.entry.head();
        }
        Ok(head)
    }

    /// The record does not follow the revision that is kept.
    pub(crate) fn stale(&self, kept: u64) -> Error {
        let FeatureMetadata { feature, revision, .. } = &self.record;
        let reason = format!("is at revision {kept}, which {revision} does not follow");
        Error::Conflict { kind: "feature", id: feature.to_string(), reason }
    }

    /// The entry does not follow the last one, which is at `seq`.
    pub(crate) fn out_of_line(&self, seq: u64) -> Error {
        let (id, reason) = (self.entry.seq.to_string(), format!("does not follow entry {seq}"));
        Error::Conflict { kind: "feature log entry", id, reason }
    }
}

/// Which features to list. All conditions have to hold; the default asks for the first hundred of all.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FeatureQuery {
    /// Has all these tags.
    pub tags: BTreeSet<String>,
    /// Has this status.
    pub status: Option<FeatureStatus>,
    /// Depends on this feature version, directly.
    pub depends_on: Option<FeatureRef>,
    /// Is used by this feature set or model version.
    pub used_by: Option<FeatureUser>,
    /// Comes after this key; the last of one page gives the next.
    pub after: Option<FeatureRef>,
    /// How many at most.
    pub limit: usize,
}

impl Default for FeatureQuery {
    fn default() -> Self {
        let tags = BTreeSet::new();
        FeatureQuery {
            tags,
            status: None,
            depends_on: None,
            used_by: None,
            after: None,
            limit: 100,
        }
    }
}

impl FeatureQuery {
    /// Whether a record fulfils all conditions, the cursor's included.
    pub fn matches(&self, record: &FeatureMetadata) -> bool {
        self.tags.is_subset(&record.documentation.tags)
            && self.status.is_none_or(|status| record.status == status)
            && self.depends_on.as_ref().is_none_or(|f| record.semantics.dependencies.contains(f))
            && self.used_by.as_ref().is_none_or(|user| record.used_by.contains(user))
            && self.after.as_ref().is_none_or(|after| record.feature > *after)
    }
}

impl<S: FeatureStorage + ?Sized> FeatureStorage for Arc<S> {
    fn get(&self, feature: &FeatureRef) -> Result<FeatureMetadata> {
        (**self).get(feature)
    }

    fn list(&self, query: &FeatureQuery) -> Result<Vec<FeatureMetadata>> {
        (**self).list(query)
    }

    fn log(&self, after: u64, limit: usize) -> Result<Vec<FeatureLogEntry>> {
        (**self).log(after, limit)
    }

    fn head(&self) -> Result<AuditHead> {
        (**self).head()
    }

    fn commit(&self, changes: &[FeatureChange]) -> Result<()> {
        (**self).commit(changes)
    }
}

/// Keeps everything in memory, for as long as the process lives. `get` is O(log n), `list` looks at every record after
/// the cursor until the page is full.
#[derive(Debug, Default)]
pub struct InMemoryFeatureStorage {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    records: BTreeMap<FeatureRef, FeatureMetadata>,
    log: AuditLog<FeatureEvent>,
}

impl InMemoryFeatureStorage {
    fn state(&self) -> MutexGuard<'_, State> {
        // A commit checks everything before it changes anything, so a panic leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl FeatureStorage for InMemoryFeatureStorage {
    fn get(&self, feature: &FeatureRef) -> Result<FeatureMetadata> {
        let state = self.state();
        let not_found = || Error::NotFound { kind: "feature", id: feature.to_string() };
        state.records.get(feature).cloned().ok_or_else(not_found)
    }

    fn list(&self, query: &FeatureQuery) -> Result<Vec<FeatureMetadata>> {
        let state = self.state();
        let start = query.after.as_ref().map_or(Bound::Unbounded, Bound::Excluded);
        let records = state.records.range((start, Bound::Unbounded)).map(|(_, record)| record);
        Ok(records.filter(|record| query.matches(record)).take(query.limit).cloned().collect())
    }

    fn log(&self, after: u64, limit: usize) -> Result<Vec<FeatureLogEntry>> {
        let state = self.state();
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(state.log.entries().iter().skip(after).take(limit).cloned().collect())
    }

    fn head(&self) -> Result<AuditHead> {
        Ok(self.state().log.head())
    }

    fn commit(&self, changes: &[FeatureChange]) -> Result<()> {
        let mut state = self.state();
        let kept = |feature: &FeatureRef| {
            Ok(state.records.get(feature).map_or(0, |record| record.revision))
        };
        FeatureChange::check(changes, state.log.head(), kept)?;
        for FeatureChange { record, entry } in changes {
            state.records.insert(record.feature.clone(), record.clone());
            state.log.push(entry.clone());
        }
        Ok(())
    }
}
