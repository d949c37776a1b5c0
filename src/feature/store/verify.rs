//! Reading the operation log, and checking records against it.

use std::collections::BTreeMap;

use crate::audit::{AuditEntry, AuditHead};
use crate::error::{Error, Result};
use crate::feature::store::{
    FeatureLogEntry, FeatureMetadata, FeatureQuery, FeatureRef, FeatureStatus, FeatureStore, PAGE,
};

impl FeatureStore {
    /// Entries of the operation log after position `after` (0 for all), oldest first, at most `limit`.
    ///
    /// # Errors
    /// From the storage.
    pub fn log(&self, after: u64, limit: usize) -> Result<Vec<FeatureLogEntry>> {
        self.storage.log(after, limit)
    }

    /// All that was ever done to a feature version. Reads the whole log.
    ///
    /// # Errors
    /// `NotFound` for an unknown feature.
    pub fn history(&self, feature: &FeatureRef) -> Result<Vec<FeatureLogEntry>> {
        self.storage.get(feature)?;
        let mut history = Vec::new();
        self.read_log(|page| {
            history.extend(page.into_iter().filter(|entry| entry.event.feature == *feature));
            Ok(())
        })?;
        Ok(history)
    }

    /// Checks that the log is whole, that it leads to every record as it is kept, and that there is no record besides.
    /// Returns the head of the log. A head kept elsewhere shows later that log and records were not written anew
    /// together: [`log`](Self::log) must still have an entry of its position and hash.
    ///
    /// # Concurrency
    /// Writers may go on meanwhile.
    ///
    /// # Cost
    /// Reads everything, and keeps the records in memory.
    ///
    /// # Errors
    /// `Corrupt` naming the first entry or the feature that does not fit.
    pub fn verify(&self) -> Result<AuditHead> {
        let start = self.storage.head()?;
        // Records first: the log, read later, has an entry for whatever state they are found in.
        let mut check = Check { start, head: AuditHead::default(), features: BTreeMap::new() };
        self.read_all(FeatureQuery::default(), |record| {
            let feature = check.features.entry(record.feature.clone()).or_default();
            feature.record = Some(record);
        })?;
        self.read_log(|page| {
            check.head = AuditEntry::verify_after(check.head, &page)?;
            page.iter().try_for_each(|entry| check.entry(entry))
        })?;
        check.finish()
    }

    fn read_log(&self, mut read: impl FnMut(Vec<FeatureLogEntry>) -> Result<()>) -> Result<()> {
        let mut after = 0;
        loop {
            let page = self.storage.log(after, PAGE)?;
            let Some(last) = page.last() else { return Ok(()) };
            if last.seq <= after {
                let reason = format!("entry {} comes after entry {after}", last.seq);
                return Err(Error::corrupt("feature log", reason));
            }
            after = last.seq;
            read(page)?;
        }
    }
}

/// Replays the log's events beside the records.
struct Check {
    /// Head of the log before the records were read: up to here every event must show in them.
    start: AuditHead,
    head: AuditHead,
    features: BTreeMap<FeatureRef, Replayed>,
}

#[derive(Default)]
struct Replayed {
    record: Option<FeatureMetadata>,
    /// Whether the log has led to the record.
    reached: bool,
    revision: u64,
    status: Option<FeatureStatus>,
}

impl Check {
    fn entry(&mut self, entry: &FeatureLogEntry) -> Result<()> {
        let event = &entry.event;
        let feature = self.features.entry(event.feature.clone()).or_default();
        let follows = event.revision == feature.revision + 1 && event.from == feature.status;
        (feature.revision, feature.status) = (event.revision, Some(event.to));
        let shows = match &feature.record {
            Some(record) if record.revision == event.revision => {
                feature.reached = record.digest() == event.record;
                feature.reached
            }
            Some(record) => event.revision < record.revision || entry.seq > self.start.seq,
            None => entry.seq > self.start.seq,
        };
        let reason = match () {
            _ if !follows => "does not go on from the state before",
            _ if !shows => "is not what is kept",
            _ if entry.seq == self.start.seq && entry.hash != self.start.hash => {
                "is not the head that it was"
            }
            _ => return Ok(()),
        };
        let reason = format!("entry {}, of {}, {reason}", entry.seq, event.feature);
        Err(Error::corrupt("feature log", reason))
    }

    fn finish(self) -> Result<AuditHead> {
        let lost = |feature: &&Replayed| feature.record.is_some() && !feature.reached;
        if let Some(record) = self.features.values().find(lost).and_then(|f| f.record.as_ref()) {
            let reason = format!("no entry leads to {} as it is kept", record.feature);
            return Err(Error::corrupt("feature log", reason));
        }
        if self.head.seq < self.start.seq {
            let reason = format!("it ends at {} and its head is {}", self.head.seq, self.start.seq);
            return Err(Error::corrupt("feature log", reason));
        }
        Ok(self.head)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::audit::Signature;
    use crate::feature::store::{
        FeatureChange, FeatureDocumentation, FeatureEvent, FeatureOperation, FeatureSemantics,
        FeatureStorage, InMemoryFeatureStorage,
    };
    use crate::time::Timestamp;

    #[test]
    fn a_well_sealed_entry_that_skips_a_state_is_found() {
        let storage = Arc::new(InMemoryFeatureStorage::default());
        let store = FeatureStore::new(storage.clone());
        let signature = Signature::new("anna", "test", Timestamp::default());
        let documentation = FeatureDocumentation {
            name: "a".into(),
            description: "a".into(),
            ..FeatureDocumentation::default()
        };
        let semantics = FeatureSemantics::default();
        let mut record = store.register("a", documentation, semantics, signature).unwrap();
        let head = store.verify().unwrap();
        record.revision = 2;
        record.status = FeatureStatus::Approved;
        let event = FeatureEvent {
            feature: record.feature.clone(),
            operation: FeatureOperation::Approved,
            from: Some(FeatureStatus::Review), // it was a draft
            to: FeatureStatus::Approved,
            revision: 2,
            record: record.digest(),
        };
        let entry = AuditEntry::after(head, signature, event);
        storage.commit(&[FeatureChange { record, entry }]).unwrap();
        let error = store.verify().unwrap_err().to_string();
        assert!(error.ends_with("does not go on from the state before"), "{error}");
    }
}
