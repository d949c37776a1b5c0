//! Names that every stage speaks: content digests, entity keys, model references.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};

use crate::seed::stable_hash;

/// SHA-256 of some content: the identity of an artifact, a data set, a definition or a log entry.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize)]
pub struct Digest([u8; 32]);

impl Digest {
    /// The digest of `bytes`.
    pub fn of(bytes: &[u8]) -> Self {
        Digest(Sha256::digest(bytes).into())
    }

    /// The digest from its 32 bytes.
    pub const fn from_bytes(bytes: [u8; 32]) -> Self {
        Digest(bytes)
    }

    /// The 32 bytes.
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hexadecimal digits: enough to tell things apart on a screen, never for identity.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

/// 64 hexadecimal digits.
impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Digest({self})")
    }
}

/// Feeds a digest with values whose boundaries are unambiguous: numbers have fixed width, text carries its length.
#[derive(Debug, Default)]
pub(crate) struct DigestWriter(Sha256);

impl DigestWriter {
    pub(crate) fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
        self.u64(bytes.len() as u64);
        self.0.update(bytes);
        self
    }

    pub(crate) fn u64(&mut self, value: u64) -> &mut Self {
        self.0.update(value.to_le_bytes());
        self
    }

    pub(crate) fn finish(self) -> Digest {
        Digest(self.0.finalize().into())
    }
}

/// One customer, terminal, device, card …: whatever history is kept about and traffic is routed by.
///
/// A number is taken as it is. Text becomes its frozen 64-bit hash: among ten million different texts the chance that
/// any two share a key is about 3 in a million; a host that cannot accept that numbers its entities itself.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct EntityKey(pub u64);

impl From<u64> for EntityKey {
    fn from(id: u64) -> Self {
        EntityKey(id)
    }
}

impl From<u32> for EntityKey {
    fn from(id: u32) -> Self {
        EntityKey(u64::from(id))
    }
}

impl From<&str> for EntityKey {
    fn from(text: &str) -> Self {
        EntityKey(stable_hash(text.as_bytes(), 0))
    }
}

/// A composite key, such as a card at a terminal: the frozen hash of its parts, in this order.
impl<const N: usize> From<[EntityKey; N]> for EntityKey {
    fn from(parts: [EntityKey; N]) -> Self {
        EntityKey(stable_hash(parts.map(|part| part.0.to_le_bytes()).as_flattened(), 0))
    }
}

/// A registered model version, written `name@version`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct ModelRef {
    /// Name of the model within its registry.
    pub name: Arc<str>,
    /// Version, counted from 1 within the name.
    pub version: u32,
}

impl fmt::Display for ModelRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.name, self.version)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn digest_is_sha_256() {
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(Digest::of(b"abc").to_string(), expected);
        assert_eq!(Digest::of(b"abc").short(), &expected[..12]);
    }

    #[test]
    fn a_composite_key_depends_on_its_parts_and_their_order() {
        let key = |parts: [u64; 2]| EntityKey::from(parts.map(EntityKey));
        assert_eq!(key([1, 2]), key([1, 2]));
        assert_ne!(key([1, 2]), key([2, 1]));
        assert_ne!(key([1, 2]), EntityKey::from([1, 2, 0].map(EntityKey)));
        // By the Python package xxhash 4.1.0: XXH3-64 of struct.pack("<QQ", 1, 2).
        assert_eq!(key([1, 2]), EntityKey(571_542_372_673_154_031));
    }

    #[test]
    fn text_boundaries_change_the_digest() {
        let digest = |parts: &[&str]| {
            let mut writer = DigestWriter::default();
            parts.iter().for_each(|part| {
                writer.bytes(part.as_bytes());
            });
            writer.finish()
        };
        assert_ne!(digest(&["ab", "c"]), digest(&["a", "bc"]));
    }
}
