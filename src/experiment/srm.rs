//! Sample ratio mismatch: whether units fell into arms as the plan says.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::stats::special::ln_gamma;
use crate::stats::{chi_squared_sf, goodness_of_fit};

/// Whether counts follow their planned shares. A mismatch says that assignment, logging or filtering is broken, and that no
/// comparison of the arms can be trusted.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SampleRatio {
    /// Counts by arm, of all phases together.
    pub observed: Vec<u64>,
    /// Planned shares, adding up to 1; over several phases the shares that their plans come to.
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
        SampleRatio::over_phases(&[(observed.to_vec(), planned.to_vec())])
    }

    /// Counts and shares of each phase: every phase is held against its own shares, and what they say is put together.
    pub(super) fn over_phases(phases: &[(Vec<u64>, Vec<f64>)]) -> Result<Self> {
        let n_arms = phases.first().map_or(0, |(observed, _)| observed.len());
        let (mut observed, mut expected) = (vec![0; n_arms], vec![0.0; n_arms]);
        let (mut chi_squared, mut df, mut ln_e) = (0.0, 0, 0.0);
        for (counts, shares) in phases {
            let fit = goodness_of_fit(counts, shares)?;
            chi_squared += fit.chi_squared;
            df += fit.df;
            let total: f64 = shares.iter().sum();
            let shares: Vec<f64> = shares.iter().map(|share| share / total).collect();
            ln_e += multinomial_ln_e(counts, &shares, CONCENTRATION)?;
            // A phase without units says nothing, but where it is the only one its shares are the plan.
            let n = counts.iter().sum::<u64>() as f64 + if phases.len() == 1 { 1.0 } else { 0.0 };
            observed.iter_mut().zip(counts).for_each(|(sum, count)| *sum += count);
            expected.iter_mut().zip(&shares).for_each(|(sum, share)| *sum += n * share);
        }
        let p_value = match (chi_squared.is_infinite(), df) {
            (true, _) => 0.0,
            (false, 0) => 1.0,
            (false, df) => chi_squared_sf(chi_squared, df as f64),
        };
        let n: f64 = expected.iter().sum();
        let planned = expected.iter().map(|count| count / n).collect();
        Ok(SampleRatio { observed, planned, p_value, sequential_p_value: (-ln_e).exp().min(1.0) })
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
