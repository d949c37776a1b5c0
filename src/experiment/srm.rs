//! Sample ratio mismatch: whether units fell into arms as the plan says.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::stats::goodness_of_fit;
use crate::stats::special::ln_gamma;

/// Whether counts follow their planned shares. A mismatch says that assignment, logging or filtering is broken, and that no
/// comparison of the arms can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRatio {
    /// Counts by arm.
    pub observed: Vec<u64>,
    /// Planned shares, adding up to 1.
    pub planned: Vec<f64>,
    /// P-value of Pearson's χ², for one look.
    pub p_value: f64,
    /// Always-valid p-value of the Dirichlet-multinomial process (Lindon and Malek 2022), at this look.
    pub sequential_p_value: f64,
}

/// Weight of the process's prior in units: strong, because mismatches that matter are small.
const CONCENTRATION: f64 = 10_000.0;

impl SampleRatio {
    /// Compares counts with the shares they should have; `planned` need not add up to 1.
    ///
    /// # Errors
    /// `InvalidInput` if the lists differ in length, or no share is positive.
    pub fn new(observed: &[u64], planned: &[f64]) -> Result<Self> {
        let fit = goodness_of_fit(observed, planned)?;
        let total: f64 = planned.iter().sum();
        let planned: Vec<f64> = planned.iter().map(|share| share / total).collect();
        let ln_e = multinomial_ln_e(observed, &planned, CONCENTRATION)?;
        Ok(SampleRatio {
            observed: observed.to_vec(),
            planned,
            p_value: fit.p_value,
            sequential_p_value: (-ln_e).exp().min(1.0),
        })
    }

    /// Whether there is a mismatch at `alpha`, by the test that allows a look at any time.
    pub fn mismatch(&self, alpha: f64) -> bool {
        self.sequential_p_value <= alpha
    }
}

/// ln E of the Dirichlet-multinomial process for counts against `shares`, with a prior of weight `concentration` around
/// them. Infinite for a count where the share is zero.
///
/// # Errors
/// `InvalidInput` if the lists differ in length.
pub fn multinomial_ln_e(observed: &[u64], shares: &[f64], concentration: f64) -> Result<f64> {
    if observed.len() != shares.len() {
        return Err(Error::input("counts", "one share per count is needed"));
    }
    let n: f64 = observed.iter().map(|&count| count as f64).sum();
    let mut ln_e = ln_gamma(concentration) - ln_gamma(concentration + n);
    for (&count, &share) in observed.iter().zip(shares) {
        if share > 0.0 {
            let (count, prior) = (count as f64, concentration * share);
            ln_e += ln_gamma(prior + count) - ln_gamma(prior) - count * share.ln();
        } else if count > 0 {
            return Ok(f64::INFINITY);
        }
    }
    Ok(ln_e)
}
