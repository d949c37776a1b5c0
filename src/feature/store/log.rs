//! What the store's operation log records.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::audit::AuditEntry;
use crate::feature::store::{FeatureDocumentation, FeatureRef, FeatureStatus, FeatureUser};
use crate::ids::Digest;

/// One line of the operation log.
pub type FeatureLogEntry = AuditEntry<FeatureEvent>;

/// A change of one feature version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FeatureEvent {
    /// Which.
    pub feature: FeatureRef,
    /// What was done.
    pub operation: FeatureOperation,
    /// Status before; none for a new version.
    pub from: Option<FeatureStatus>,
    /// Status after.
    pub to: FeatureStatus,
    /// Revision after; one more than before.
    pub revision: u64,
    /// [Digest](crate::feature::store::FeatureMetadata::digest) of the record after.
    pub record: Digest,
}

/// What was done to a feature version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FeatureOperation {
    /// It was added as a draft.
    Registered,
    /// Its semantics were rewritten.
    Redefined,
    /// Its documentation was edited.
    Documented {
        /// What it said before.
        before: Box<FeatureDocumentation>,
    },
    /// A profile was attached.
    Profiled,
    /// It went to review.
    Submitted,
    /// The reviewer sent it back.
    ChangesRequested,
    /// It was approved.
    Approved,
    /// It is not for new users any more.
    Deprecated {
        /// What to use instead.
        replacement: Option<FeatureRef>,
    },
    /// It was approved again.
    Reinstated,
    /// It was given up before it was approved.
    Withdrawn,
    /// It was taken out of use.
    Archived,
    /// Somebody began to use it.
    Pinned {
        /// Who.
        user: FeatureUser,
    },
    /// Somebody uses it no more.
    Unpinned {
        /// Who.
        user: FeatureUser,
    },
    /// Evidence of parity was attached.
    ParityShown,
}

impl fmt::Display for FeatureEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use FeatureOperation::*;
        let FeatureEvent { feature, to, revision, .. } = self;
        match &self.operation {
            Registered => write!(f, "registered {feature}")?,
            Redefined => write!(f, "redefined {feature}")?,
            Documented { .. } => write!(f, "documented {feature}")?,
            Profiled => write!(f, "attached a profile to {feature}")?,
            ParityShown => write!(f, "attached parity to {feature}")?,
            Submitted => write!(f, "submitted {feature}")?,
            ChangesRequested => write!(f, "asked for changes of {feature}")?,
            Approved => write!(f, "approved {feature}")?,
            Deprecated { replacement: None } => write!(f, "deprecated {feature}")?,
            Deprecated { replacement: Some(other) } => {
                write!(f, "deprecated {feature} in favour of {other}")?;
            }
            Reinstated => write!(f, "reinstated {feature}")?,
            Withdrawn => write!(f, "withdrew {feature}")?,
            Archived => write!(f, "archived {feature}")?,
            Pinned { user } => write!(f, "pinned {feature} for {user}")?,
            Unpinned { user } => write!(f, "unpinned {feature} from {user}")?,
        }
        match self.from {
            Some(from) if from != *to => write!(f, " ({from} -> {to}, revision {revision})"),
            Some(_) => write!(f, " ({to}, revision {revision})"),
            None => write!(f, " (-> {to}, revision {revision})"),
        }
    }
}
