//! What the registry's audit trail records.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::{Digest, ModelRef};

/// One line of the registry's audit trail.
pub type AuditEntry = crate::audit::AuditEntry<RegistryEvent>;

/// What happened.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RegistryEvent {
    /// A version was added.
    Registered {
        /// The version.
        model: ModelRef,
        /// Its artifact.
        artifact: Digest,
        /// Fingerprint of the features it takes.
        schema: Digest,
    },
    /// A version became champion.
    Promoted {
        /// Where.
        slot: String,
        /// Which.
        model: ModelRef,
        /// The champion before.
        replaced: Option<ModelRef>,
    },
    /// The champion before became champion again.
    RolledBack {
        /// Where.
        slot: String,
        /// Which was champion.
        from: ModelRef,
        /// Which is now.
        to: ModelRef,
    },
}

impl fmt::Display for RegistryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegistryEvent::Registered { model, artifact, .. } => {
                write!(f, "registered {model} (artifact {})", artifact.short())
            }
            RegistryEvent::Promoted { slot, model, replaced } => {
                write!(f, "promoted {model} to champion of {slot}")?;
                match replaced {
                    Some(replaced) => write!(f, " in place of {replaced}"),
                    None => Ok(()),
                }
            }
            RegistryEvent::RolledBack { slot, from, to } => {
                write!(f, "rolled {slot} back from {from} to {to}")
            }
        }
    }
}
