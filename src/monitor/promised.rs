//! What scores promise, in whole numbers.

use crate::codec::Reader;
use crate::error::{Error, Result};

/// A probability of 1 in steps: sums of whole numbers come out the same in any order and any number of parts. Probabilities
/// from 2⁻¹¹ on are whole numbers of steps; a smaller one is short of itself by 2⁻⁶³ at most.
const STEPS: f64 = 9_223_372_036_854_775_808.0;

/// Rows whose probability of bad is known: how many, and how many bad ones to expect. Additive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Promised {
    /// Rows.
    pub(super) n: u64,
    /// Σ p in steps.
    bad: u128,
    /// Σ p (1 − p) in steps.
    variance: u128,
}

impl Promised {
    /// Takes in a probability, `0.0..=1.0`.
    pub(super) fn record(&mut self, probability: f64) {
        let steps = |share: f64| u128::from((share * STEPS) as u64);
        self.n += 1;
        self.bad += steps(probability);
        self.variance += steps(probability * (1.0 - probability));
    }

    pub(super) fn plus(mut self, other: &Promised) -> Promised {
        self.n = self.n.saturating_add(other.n);
        self.bad = self.bad.saturating_add(other.bad);
        self.variance = self.variance.saturating_add(other.variance);
        self
    }

    /// Bad rows to be expected.
    pub(super) fn bad(&self) -> f64 {
        self.bad as f64 / STEPS
    }

    /// Variance of that number if the probabilities are right.
    pub(super) fn variance(&self) -> f64 {
        self.variance as f64 / STEPS
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.n.to_le_bytes());
        bytes.extend(self.bad.to_le_bytes());
        bytes.extend(self.variance.to_le_bytes());
    }

    /// What [`write`](Self::write) wrote; the bytes may be hostile.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let (n, bad, variance) = (reader.count()?, reader.u128()?, reader.u128()?);
        // A row adds a whole at most.
        let most = u128::from(n) << 63;
        match bad <= most && variance <= most {
            true => Ok(Promised { n, bad, variance }),
            false => Err(Error::corrupt("monitor counts", "sums are more than their rows")),
        }
    }
}
