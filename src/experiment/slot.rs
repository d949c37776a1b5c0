//! From a key to a place: the frozen hash, one independent stream per purpose.

use crate::ids::EntityKey;
use crate::seed::stable_hash;

/// Number of slots: shares are whole parts per million.
pub const SLOTS: u32 = 1_000_000;

/// What a key is hashed for. Streams of different purposes are independent: the units that are exposed first are no
/// particular arm's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    Layer,
    Holdout,
    Exposure,
    Arm,
    LetThrough,
    Bucket,
}

impl Purpose {
    fn tag(self) -> &'static str {
        match self {
            Purpose::Layer => "layer",
            Purpose::Holdout => "holdout",
            Purpose::Exposure => "exposure",
            Purpose::Arm => "arm",
            Purpose::LetThrough => "let-through",
            Purpose::Bucket => "bucket",
        }
    }
}

/// One stream of slots: the hash's seed for a salt and a purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Stream(u64);

impl Stream {
    /// Seed = XXH3-64 with seed 0 of salt and purpose, each behind its length as 4 little-endian bytes, so that no two
    /// pairs make the same bytes.
    pub(super) fn new(salt: &str, purpose: Purpose) -> Self {
        let mut bytes = Vec::new();
        for part in [salt, purpose.tag()] {
            bytes.extend_from_slice(&(part.len() as u32).to_le_bytes());
            bytes.extend_from_slice(part.as_bytes());
        }
        Stream(stable_hash(&bytes, 0))
    }

    /// The slot of a unit, below [`SLOTS`].
    pub(super) fn slot(self, unit: EntityKey) -> u32 {
        self.place(unit.0, SLOTS)
    }

    /// One of `n` places: the hash of the key's 8 little-endian bytes, times n, shifted right by 64. Off from uniform by
    /// less than n / 2⁶⁴.
    pub(super) fn place(self, key: u64, n: u32) -> u32 {
        let hash = stable_hash(&key.to_le_bytes(), self.0);
        ((u128::from(hash) * u128::from(n)) >> 64) as u32
    }
}
