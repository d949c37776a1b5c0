//! The audit trail: who did what, when and why, each entry sealed by the hash of the one before.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::{Error, Result};
use crate::ids::Digest;
use crate::time::Timestamp;

/// What a governed act is signed with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Signature<'a> {
    /// Who, by the name that the host knows people under. Two spellings are two people.
    pub actor: &'a str,
    /// Why.
    pub reason: &'a str,
    /// When, by the host's clock.
    pub at: Timestamp,
}

impl<'a> Signature<'a> {
    /// Signs as `actor`. Blanks around the name are dropped: they must not make another person of anybody.
    pub fn new(actor: &'a str, reason: &'a str, at: Timestamp) -> Self {
        Signature { actor: actor.trim(), reason, at }
    }

    /// # Errors
    /// `Refused` without an actor or a reason.
    pub(crate) fn check(&self, action: &str) -> Result<()> {
        if self.actor.is_empty() || self.reason.trim().is_empty() {
            return Err(Error::refused(action, "an actor and a reason are required"));
        }
        Ok(())
    }

    /// # Errors
    /// `InvalidInput` if it is dated before what it changes was last changed.
    pub(crate) fn check_after(&self, what: &dyn fmt::Display, updated: Timestamp) -> Result<()> {
        if self.at < updated {
            let reason = format!("{} is before {updated}, when {what} last changed", self.at);
            return Err(Error::input("signature", reason));
        }
        Ok(())
    }
}

/// # Errors
/// `Refused` unless what is to be changed stands where the change may start from.
pub(crate) fn check_stands<S: PartialEq + fmt::Display>(
    action: &str,
    what: &dyn fmt::Display,
    stands: &S,
    allowed: &[S],
) -> Result<()> {
    if allowed.contains(stands) {
        return Ok(());
    }
    Err(Error::refused(action, format!("{what} is {stands} and has to be {}", or(allowed))))
}

/// The names, in words.
pub(crate) fn or<S: fmt::Display>(names: &[S]) -> String {
    let names: Vec<String> = names.iter().map(S::to_string).collect();
    names.join(" or ")
}

/// One line of an audit trail of events `E`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct AuditEntry<E> {
    /// Position, from 1.
    pub seq: u64,
    /// When.
    pub at: Timestamp,
    /// Who.
    pub actor: String,
    /// Why.
    pub reason: String,
    /// What.
    pub event: E,
    /// Hash of the entry before; zeros for the first.
    pub previous: Digest,
    /// SHA-256 over all fields above.
    pub hash: Digest,
}

/// How far a trail reaches. Kept somewhere else, it shows later that the trail was not rewritten: the chain by itself
/// cannot tell a trail that was cut short, or written anew from the first entry, from a whole one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AuditHead {
    /// Position of the last entry; 0 for none.
    pub seq: u64,
    /// Its hash; zeros for none.
    pub hash: Digest,
}

impl<E> AuditEntry<E> {
    /// The head of a trail that ends here.
    pub fn head(&self) -> AuditHead {
        AuditHead { seq: self.seq, hash: self.hash }
    }

    /// Whether it claims to be the next entry after `head`; its own seal is not looked at.
    pub fn follows(&self, head: AuditHead) -> bool {
        self.seq == head.seq + 1 && self.previous == head.hash
    }
}

impl<E: Serialize> AuditEntry<E> {
    /// The sealed entry that comes after `head`.
    pub(crate) fn after(head: AuditHead, signature: Signature<'_>, event: E) -> Self {
        let mut entry = AuditEntry {
            seq: head.seq + 1,
            at: signature.at,
            actor: signature.actor.to_owned(),
            reason: signature.reason.to_owned(),
            event,
            previous: head.hash,
            hash: Digest::default(),
        };
        entry.hash = entry.seal();
        entry
    }

    fn seal(&self) -> Digest {
        let fields = (self.seq, self.at, &self.actor, &self.reason, &self.event, self.previous);
        Digest::of(&codec::encode(&fields))
    }

    /// Checks that a trail is whole from its first entry: nothing changed, left out or put in since it was written.
    ///
    /// # Errors
    /// `Corrupt` naming the first entry that does not fit.
    pub fn verify(trail: &[AuditEntry<E>]) -> Result<()> {
        AuditEntry::verify_after(AuditHead::default(), trail).map(drop)
    }

    /// Checks the part of a trail that comes after `head`, and returns the new head: for trails read page by page.
    ///
    /// # Errors
    /// `Corrupt` naming the first entry that does not fit.
    pub fn verify_after(head: AuditHead, part: &[AuditEntry<E>]) -> Result<AuditHead> {
        part.iter().try_fold(head, |head, entry| {
            if !entry.follows(head) || entry.hash != entry.seal() {
                let reason = format!("entry {} has been changed", head.seq + 1);
                return Err(Error::corrupt("audit trail", reason));
            }
            Ok(entry.head())
        })
    }
}

impl<E: fmt::Display> fmt::Display for AuditEntry<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let AuditEntry { seq, at, actor, event, reason, hash, .. } = self;
        write!(f, "{seq} {at} {actor}: {event}: {reason} [{}]", hash.short())
    }
}

/// A trail in memory.
#[derive(Debug)]
pub(crate) struct AuditLog<E> {
    entries: Vec<AuditEntry<E>>,
}

impl<E> Default for AuditLog<E> {
    fn default() -> Self {
        AuditLog { entries: Vec::new() }
    }
}

impl<E> AuditLog<E> {
    pub(crate) fn entries(&self) -> &[AuditEntry<E>] {
        &self.entries
    }

    pub(crate) fn head(&self) -> AuditHead {
        self.entries.last().map(AuditEntry::head).unwrap_or_default()
    }

    /// Keeps an entry that [follows](AuditEntry::follows) the head; the caller has checked that it does.
    pub(crate) fn push(&mut self, entry: AuditEntry<E>) {
        debug_assert!(entry.follows(self.head()));
        self.entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn trail(n: u64) -> Vec<AuditEntry<String>> {
        let mut log = AuditLog::default();
        for i in 0..n {
            let signature = Signature::new("anna", "test", Timestamp::from_seconds(i as i64));
            log.push(AuditEntry::after(log.head(), signature, format!("event {i}")));
        }
        log.entries
    }

    #[test]
    fn a_trail_verifies_whole_and_in_parts() {
        let trail = trail(5);
        AuditEntry::verify(&trail).unwrap();
        let middle = AuditEntry::verify_after(AuditHead::default(), &trail[..2]).unwrap();
        assert_eq!(middle, trail[1].head());
        assert_eq!(AuditEntry::verify_after(middle, &trail[2..]).unwrap(), trail[4].head());
        assert!(AuditEntry::verify_after(middle, &trail[3..]).is_err());
    }

    #[test]
    fn the_first_changed_entry_is_named() {
        let mut trail = trail(5);
        trail[3].event = "nothing".into();
        let error = AuditEntry::verify(&trail).unwrap_err();
        assert_eq!(error.to_string(), "corrupt audit trail: entry 4 has been changed");
    }

    #[test]
    fn a_signature_needs_an_actor_and_a_reason() {
        let check =
            |actor, reason| Signature::new(actor, reason, Timestamp::default()).check("act");
        assert!(check("anna", "tested").is_ok());
        assert!(matches!(check(" ", "tested"), Err(Error::Refused { .. })));
        assert!(matches!(check("anna", "\n"), Err(Error::Refused { .. })));
    }
}
