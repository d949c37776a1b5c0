//! Stage 8, experiment. Takes an entity key; gives the [`Assignment`]: which version answers.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::EntityKey;
use crate::seed::stable_hash;

/// Which arm answers a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Assignment {
    /// Position of the arm; 0 is the champion.
    pub arm: u16,
}

/// Decides which version answers.
///
/// # Contract
/// A pure function of the key and the router's settings: the same key gets the same arm until the settings change,
/// whatever the process, machine or time. Never fails; where nothing is running, arm 0 (the champion) answers.
///
/// # Concurrency
/// Any number of threads route at once, without a lock.
///
/// # Cost
/// No allocation; the default takes some ten nanoseconds.
pub trait Router: Debug + Send + Sync + 'static {
    /// The arm that answers for this entity.
    fn route(&self, unit: EntityKey) -> Assignment;

    /// Number of arms, at least 1; [`route`](Self::route) stays below it.
    fn n_arms(&self) -> usize;
}

/// The default [`Router`]: each entity sticks to one arm, arms get shares of the entities.
///
/// The slot of an entity is `(xxh3_64(key, seed) × 1,000,000) >> 64` with the key as 8 little-endian bytes and the seed
/// `xxh3_64(salt ++ 0x1F ++ "arm", 0)`; arms own neighbouring ranges of slots in their order. Any language with XXH3
/// reproduces an assignment.
///
/// ```
/// use riskcycle::EntityKey;
/// use riskcycle::experiment::{HashRouter, Router};
///
/// let router = HashRouter::new("card-fraud-7", &[800_000, 200_000])?; // 80 % champion, 20 % challenger
/// assert_eq!(router.route(EntityKey(42)), router.route(EntityKey(42)));
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HashRouter {
    seed: u64,
    /// First slot behind each arm.
    ends: Vec<u32>,
}

const SLOTS: u32 = 1_000_000;

impl HashRouter {
    /// A router over arms with these shares in parts per million; the first is the champion. The salt names the
    /// experiment: another salt, another and independent assignment.
    ///
    /// # Errors
    /// `InvalidConfig` for an empty salt, no arms, more than 65,535, or shares that do not add up to 1,000,000.
    pub fn new(salt: &str, shares_ppm: &[u32]) -> Result<Self> {
        let refuse = |reason: String| Err(Error::config("router", reason));
        if salt.is_empty() {
            return refuse("needs a salt".into());
        }
        if shares_ppm.is_empty() || shares_ppm.len() > usize::from(u16::MAX) {
            return refuse(format!("has {} arms", shares_ppm.len()));
        }
        let total: u64 = shares_ppm.iter().map(|&share| u64::from(share)).sum();
        if total != u64::from(SLOTS) {
            return refuse(format!(
                "shares add up to {total} instead of {SLOTS} parts per million"
            ));
        }
        let mut end = 0;
        let ends = shares_ppm.iter().map(|share| {
            end += share;
            end
        });
        let ends = ends.collect();
        let seed = stable_hash(&[salt.as_bytes(), b"\x1Farm"].concat(), 0);
        Ok(HashRouter { seed, ends })
    }

    /// Every entity to the one arm there is.
    pub fn champion_only() -> Self {
        HashRouter { seed: 0, ends: vec![SLOTS] }
    }

    /// The entity's place among 1,000,000 slots.
    pub fn slot(&self, unit: EntityKey) -> u32 {
        let hash = stable_hash(&unit.0.to_le_bytes(), self.seed);
        ((u128::from(hash) * u128::from(SLOTS)) >> 64) as u32
    }
}

impl Router for HashRouter {
    fn route(&self, unit: EntityKey) -> Assignment {
        let slot = self.slot(unit);
        // A handful of arms: looking along is faster than searching.
        let arm = self.ends.iter().take_while(|end| slot >= **end).count();
        Assignment { arm: arm as u16 }
    }

    fn n_arms(&self) -> usize {
        self.ends.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_are_kept_and_empty_arms_get_nobody() {
        let router = HashRouter::new("share", &[0, 700_000, 300_000, 0]).unwrap();
        let mut counts = [0u32; 4];
        for key in 0..100_000 {
            counts[usize::from(router.route(EntityKey(key)).arm)] += 1;
        }
        // Binomial(100,000, 0.3): standard deviation 145; six of them.
        assert!(counts[2].abs_diff(30_000) < 6 * 145, "{counts:?}");
        assert_eq!((counts[0], counts[3]), (0, 0));
    }

    #[test]
    fn another_salt_is_independent() {
        let (a, b) = ("a", "b");
        let [a, b] = [a, b].map(|salt| HashRouter::new(salt, &[500_000, 500_000]).unwrap());
        let same = (0..10_000).filter(|&k| a.route(EntityKey(k)) == b.route(EntityKey(k))).count();
        assert!(same.abs_diff(5_000) < 6 * 50, "{same}"); // standard deviation 50
    }

    #[test]
    fn settings_that_cannot_work_are_refused() {
        assert!(HashRouter::new("", &[SLOTS]).is_err());
        assert!(HashRouter::new("x", &[]).is_err());
        assert!(HashRouter::new("x", &[SLOTS, 1]).is_err());
        assert!(HashRouter::new("x", &[u32::MAX, u32::MAX]).is_err());
        assert_eq!(HashRouter::champion_only().route(EntityKey(9)).arm, 0);
    }
}
