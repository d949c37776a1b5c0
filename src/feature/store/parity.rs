//! Evidence that a definition gives the same numbers in history and live.

use serde::{Deserialize, Serialize};

use crate::audit::Signature;
use crate::error::{Error, Result};
use crate::feature::store::guard::{self, refused};
use crate::feature::store::{
    FeatureMetadata, FeatureOperation, FeatureRef, FeatureStatus, FeatureStore,
};
use crate::ids::Digest;

/// That a feature was computed for some events in batch, online and by an oracle, and came out the same bit for bit:
/// `testing::ParityReport` gives it, for a run without a difference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ParityEvidence {
    /// [Fingerprint](crate::feature::Feature::fingerprint) of the definition that was run.
    pub definition: Digest,
    /// Number of events it was run on.
    pub n_rows: u64,
}

impl FeatureStore {
    /// This store, which from now on approves and reinstates a feature only with [evidence](Self::attach_parity) that its
    /// definition gives the same numbers in batch and online; so it needs to have a definition.
    #[must_use]
    pub fn asking_for_parity(self) -> Self {
        FeatureStore { asks_for_parity: true, ..self }
    }

    /// Attaches evidence of parity, in place of earlier one. It goes when the semantics change.
    ///
    /// # Errors
    /// As for every change; `Empty` for evidence of no event; `Refused` for an archived feature, or for evidence of another
    /// definition than it has.
    pub fn attach_parity(
        &self,
        feature: &FeatureRef,
        revision: u64,
        evidence: ParityEvidence,
        signature: Signature<'_>,
    ) -> Result<FeatureMetadata> {
        use FeatureStatus::{Approved, Deprecated, Draft, Review};
        if evidence.n_rows == 0 {
            return Err(Error::Empty { what: "parity evidence".into() });
        }
        self.change("attach parity to", feature, revision, signature, |action, record| {
            guard::check_status(action, record, &[Draft, Review, Approved, Deprecated])?;
            let definition = record.semantics.definition.as_ref();
            if definition.map(|feature| feature.fingerprint()) != Some(evidence.definition) {
                return refused(
                    action,
                    "the evidence is of another definition; run the check on this one",
                );
            }
            record.parity = Some(evidence);
            Ok(FeatureOperation::ParityShown)
        })
    }
}
