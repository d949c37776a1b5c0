//! Randomness and hashing that never change: a [`Seed`] comes in, and what comes out is the same on every machine.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{RngCore, SeedableRng};
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

/// The source of all randomness in a run. Two runs with the same seed, data and version give the same bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Seed(pub u64);

impl Seed {
    /// An independent seed for one purpose and one index within it (a tree of a forest, a resample).
    pub fn derive(self, purpose: &str, index: u64) -> Seed {
        let mut bytes = Vec::with_capacity(16 + purpose.len());
        bytes.extend_from_slice(&self.0.to_le_bytes());
        bytes.extend_from_slice(&index.to_le_bytes());
        bytes.extend_from_slice(purpose.as_bytes());
        Seed(xxh3_64(&bytes))
    }

    /// `n` of the items, drawn without putting back, in the order they have.
    pub(crate) fn sample<T: Copy>(self, items: &[T], n: usize) -> Vec<T> {
        let mut rng = self.rng();
        let mut needed = n.min(items.len());
        let mut drawn = Vec::with_capacity(needed);
        for (i, item) in items.iter().enumerate() {
            // Each item by the share of the rest that is still needed.
            if below(items.len() - i, &mut rng) < needed {
                drawn.push(*item);
                needed -= 1;
            }
        }
        drawn
    }

    /// A generator (ChaCha with 8 rounds, whose output is documented never to change).
    pub(crate) fn rng(self) -> ChaCha8Rng {
        ChaCha8Rng::seed_from_u64(self.0)
    }
}

/// A number in `0..n`, all as likely to within 2⁻⁶⁴ × n.
pub(crate) fn below(n: usize, rng: &mut impl RngCore) -> usize {
    ((u128::from(rng.next_u64()) * n as u128) >> 64) as usize
}

/// Every order as likely as the next, after Fisher and Yates.
pub(crate) fn shuffle<T>(items: &mut [T], rng: &mut impl RngCore) {
    for i in (1..items.len()).rev() {
        items.swap(i, below(i + 1, rng));
    }
}

/// The frozen 64-bit hash: XXH3-64 of `bytes` with `seed`. It decides routes and ids, so it can never change; other
/// languages reproduce it with any XXH3 library.
pub fn stable_hash(bytes: &[u8], seed: u64) -> u64 {
    xxh3_64_with_seed(bytes, seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_frozen_hash_gives_the_published_vectors() {
        // xxHash 0.8 reference values, by way of the Python package xxhash 4.1.0.
        assert_eq!(stable_hash(b"", 0), 3_244_421_341_483_603_138);
        assert_eq!(xxh3_64(b"exp-fraud-v7"), 11_031_170_342_772_352_591);
        let slot = |key: &str| {
            let hash = stable_hash(key.as_bytes(), 11_031_170_342_772_352_591);
            ((u128::from(hash) * 1_000_000) >> 64) as u32
        };
        assert_eq!([slot("card:1"), slot("card:2"), slot("card:3")], [335_137, 505_882, 393_731]);
    }

    #[test]
    fn purposes_and_indices_are_independent() {
        let seed = Seed(7);
        assert_ne!(seed.derive("fold", 0), seed.derive("fold", 1));
        assert_ne!(seed.derive("fold", 0), seed.derive("tree", 0));
        assert_eq!(seed.derive("fold", 3), Seed(7).derive("fold", 3));
    }
}
