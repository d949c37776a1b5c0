//! How a change is decided and committed: against one head of the log, or anew.

use crate::audit::{AuditEntry, AuditHead, Signature};
use crate::error::{Error, Result};
use crate::feature::store::{
    FeatureChange, FeatureEvent, FeatureMetadata, FeatureOperation, FeatureRef, FeatureStatus,
    FeatureStore,
};

/// Each lost race is a commit that somebody else made, so this many in a row take a hundred busy writers.
const MAX_RACES: usize = 100;

/// A change that was decided and waits for its revision and its seal.
pub(super) struct Step {
    pub(super) from: Option<FeatureStatus>,
    pub(super) record: FeatureMetadata,
    pub(super) operation: FeatureOperation,
}

impl FeatureStore {
    /// One change of one record, decided by `edit` on the revision that the caller has seen.
    pub(super) fn change(
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

    pub(super) fn commit_one(
        &self,
        signature: Signature<'_>,
        decide: impl Fn() -> Result<Step>,
    ) -> Result<FeatureMetadata> {
        let mut records = self.commit(signature, || Ok(vec![decide()?]))?;
        Ok(records.remove(0)) // a record for each step, and there was one
    }

    /// Decides and commits against one head of the log, again and again until no other writer comes in between. Nothing
    /// to do is done at once.
    pub(super) fn commit(
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
