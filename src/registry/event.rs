//! What the registry's log records.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::audit::AuditEntry;
use crate::ids::{Digest, ModelRef};
use crate::registry::{Evidence, Stage};
use crate::train::TrainingRecord;

/// One line of the registry's log.
pub type RegistryLogEntry = AuditEntry<RegistryEvent>;

/// What happened. Kept logs hold these, so variants are only added behind the last, and none is changed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RegistryEvent {
    /// A version was added.
    Registered {
        /// The version.
        model: ModelRef,
        /// Its artifact.
        artifact: Digest,
        /// Fingerprint of the features that it takes.
        schema: Digest,
        /// How it was trained.
        training: Box<TrainingRecord>,
        /// The version that it was made from or is to follow.
        parent: Option<ModelRef>,
        /// The host's code that made it.
        code_version: String,
    },
    /// Evidence was attached.
    Attached {
        /// To which version.
        model: ModelRef,
        /// What it says.
        evidence: Evidence,
    },
    /// A version went on to another stage, a champion's apart.
    Moved {
        /// Which.
        model: ModelRef,
        /// From where.
        from: Stage,
        /// To where.
        to: Stage,
        /// For which slot, where it was approved for one.
        slot: Option<String>,
    },
    /// A version became champion.
    Promoted {
        /// Where.
        slot: String,
        /// Which.
        model: ModelRef,
        /// From which stage.
        from: Stage,
        /// The champion before, now retired.
        replaced: Option<ModelRef>,
        /// Whether the rules were put aside.
        break_glass: bool,
    },
    /// An earlier champion became champion again.
    RolledBack {
        /// Where.
        slot: String,
        /// Which was champion, now retired; none after it was quarantined.
        from: Option<ModelRef>,
        /// Which is now.
        to: ModelRef,
    },
    /// A slot got the features that its rows consist of.
    SlotBound {
        /// Which.
        slot: String,
        /// Their fingerprint.
        schema: Digest,
    },
    /// A version got a tag, or lost it.
    Tagged {
        /// Which.
        model: ModelRef,
        /// The tag.
        tag: String,
        /// What it says; none to take it off.
        value: Option<String>,
    },
    /// A name was given to a version, or taken from it.
    Aliased {
        /// The name.
        alias: String,
        /// What it named before.
        from: Option<ModelRef>,
        /// What it names now.
        to: Option<ModelRef>,
    },
}

impl fmt::Display for RegistryEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RegistryEvent::Registered { model, artifact, .. } => {
                write!(f, "registered {model} (artifact {})", artifact.short())
            }
            RegistryEvent::Attached { model, evidence } => {
                write!(f, "attached {evidence} to {model}")
            }
            RegistryEvent::Moved { model, from, to, slot } => {
                write!(f, "moved {model} from {from} to {to}")?;
                slot.as_ref().map_or(Ok(()), |slot| write!(f, " for {slot}"))
            }
            RegistryEvent::Promoted { slot, model, from, replaced, break_glass } => {
                write!(f, "promoted {model} from {from} to champion of {slot}")?;
                if let Some(replaced) = replaced {
                    write!(f, " in place of {replaced}")?;
                }
                f.write_str(if *break_glass { ", breaking the glass" } else { "" })
            }
            RegistryEvent::RolledBack { slot, from: Some(from), to } => {
                write!(f, "rolled {slot} back from {from} to {to}")
            }
            RegistryEvent::RolledBack { slot, from: None, to } => {
                write!(f, "rolled {slot} back to {to}")
            }
            RegistryEvent::SlotBound { slot, schema } => {
                write!(f, "bound {slot} to features {}", schema.short())
            }
            RegistryEvent::Tagged { model, tag, value: Some(value) } => {
                write!(f, "tagged {model} {tag}={value}")
            }
            RegistryEvent::Tagged { model, tag, value: None } => {
                write!(f, "took the tag {tag} off {model}")
            }
            RegistryEvent::Aliased { alias, to: Some(to), .. } => write!(f, "named {to} {alias}"),
            RegistryEvent::Aliased { alias, to: None, .. } => write!(f, "dropped the name {alias}"),
        }
    }
}
