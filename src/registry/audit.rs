//! The registry's log: every event with actor, time and reason, each entry sealed by the hash of the one before.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::{Error, Result};
use crate::ids::{Digest, ModelRef};
use crate::time::Timestamp;

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

/// One line of the audit trail.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry {
    /// Position, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What.
    pub event: RegistryEvent,
    /// Hash of the entry before; zeros for the first.
    pub previous: Digest,
    /// SHA-256 over all fields above.
    pub hash: Digest,
}

impl AuditEntry {
    fn seal(&self) -> Digest {
        let fields = (self.seq, self.at, &self.actor, &self.reason, &self.event, self.previous);
        Digest::of(&codec::encode(&fields))
    }

    /// Checks that a trail is whole: nothing changed, left out or put in since it was written.
    ///
    /// # Errors
    /// `Corrupt` naming the first entry that does not fit.
    pub fn verify(trail: &[AuditEntry]) -> Result<()> {
        let mut previous = Digest::default();
        for (entry, seq) in trail.iter().zip(1..) {
            let fits = entry.seq == seq && entry.previous == previous && entry.hash == entry.seal();
            if !fits {
                return Err(Error::corrupt("audit trail", format!("entry {seq} has been changed")));
            }
            previous = entry.hash;
        }
        Ok(())
    }
}

impl fmt::Display for AuditEntry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {}: ", self.seq, self.at, self.actor)?;
        match &self.event {
            RegistryEvent::Registered { model, artifact, .. } => {
                write!(f, "registered {model} (artifact {})", artifact.short())?;
            }
            RegistryEvent::Promoted { slot, model, replaced } => {
                write!(f, "promoted {model} to champion of {slot}")?;
                if let Some(replaced) = replaced {
                    write!(f, " in place of {replaced}")?;
                }
            }
            RegistryEvent::RolledBack { slot, from, to } => {
                write!(f, "rolled {slot} back from {from} to {to}")?;
            }
        }
        write!(f, ": {} [{}]", self.reason, self.hash.short())
    }
}

#[derive(Debug, Default)]
pub(super) struct AuditLog {
    entries: Vec<AuditEntry>,
}

impl AuditLog {
    pub(super) fn entries(&self) -> &[AuditEntry] {
        &self.entries
    }

    pub(super) fn append(
        &mut self,
        at: Timestamp,
        actor: &str,
        reason: &str,
        event: RegistryEvent,
    ) {
        let mut entry = AuditEntry {
            seq: self.entries.len() as u64 + 1,
            at,
            actor: actor.to_owned(),
            reason: reason.to_owned(),
            event,
            previous: self.entries.last().map(|entry| entry.hash).unwrap_or_default(),
            hash: Digest::default(),
        };
        entry.hash = entry.seal();
        self.entries.push(entry);
    }
}
