//! Bandit: shares that follow the evidence, in batches.

use serde::{Deserialize, Serialize};

use super::slot::SLOTS;
use crate::error::{Error, Result};
use crate::stats::Proportion;
use crate::stats::special::{beta_regularized, ln_beta};

/// Thompson sampling on the bad rate of units: each arm's share is the chance that it has the lowest rate.
///
/// Shares change once per epoch, not per request, and follow mature units only: labels that come late would else make the
/// arm look best that was exposed last. A floor keeps every arm explored. Shares are known numbers of the phase, so they
/// are the propensities. An adaptive split rules out confirmatory p-values; a bandit's report gives none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ThompsonConfig {
    /// Least share of an arm in parts per million.
    pub floor_ppm: u32,
    /// Prior bad units of each arm.
    pub prior_events: f64,
    /// Prior units of each arm without.
    pub prior_others: f64,
    /// Mature units that each arm needs before shares move.
    pub min_units: u64,
}

/// At least 5 % for each arm, a flat prior, 1,000 units.
impl Default for ThompsonConfig {
    fn default() -> Self {
        ThompsonConfig { floor_ppm: 50_000, prior_events: 1.0, prior_others: 1.0, min_units: 1000 }
    }
}

impl ThompsonConfig {
    /// # Errors
    /// `InvalidConfig` if the floors of `n_arms` leave no share to move, or a prior is not positive.
    pub fn check(&self, n_arms: usize) -> Result<()> {
        let refuse = |reason: String| Err(Error::config("bandit", reason));
        if u64::from(self.floor_ppm) * n_arms as u64 >= u64::from(SLOTS) {
            return refuse(format!("{n_arms} floors of {} ppm leave nothing", self.floor_ppm));
        }
        let positive = |x: f64| x > 0.0 && x.is_finite();
        if !positive(self.prior_events) || !positive(self.prior_others) {
            return refuse("priors are positive".into());
        }
        Ok(())
    }

    /// Shares of the next epoch in parts per million from mature units so far; `None` while an arm has too few. They add up
    /// to 1,000,000.
    ///
    /// # Errors
    /// Those of [`check`](Self::check).
    pub fn shares(&self, arms: &[Option<Proportion>]) -> Result<Option<Vec<u32>>> {
        self.check(arms.len())?;
        let posterior = |arm: &Option<Proportion>| {
            let arm = arm.filter(|arm| arm.n() >= self.min_units)?;
            let (events, n) = (arm.events() as f64, arm.n() as f64);
            Some((self.prior_events + events, self.prior_others + n - events))
        };
        let Some(posteriors) = arms.iter().map(posterior).collect::<Option<Vec<_>>>() else {
            return Ok(None);
        };
        let free = SLOTS - self.floor_ppm * arms.len() as u32;
        let best = chance_of_lowest(&posteriors);
        let mut shares: Vec<u32> =
            best.iter().map(|p| self.floor_ppm + (p * f64::from(free)) as u32).collect();
        // What rounding down left over goes to the likeliest arm.
        let left = SLOTS.saturating_sub(shares.iter().sum());
        let likeliest =
            (0..best.len()).max_by(|&i, &j| best[i].total_cmp(&best[j]).then(j.cmp(&i)));
        shares[likeliest.expect("check refuses no arms")] += left;
        Ok(Some(shares))
    }
}

/// For each beta distribution (a, b), the chance that its value is the lowest of all, by quadrature to about 1e-9; they
/// add up to 1.
pub fn chance_of_lowest(arms: &[(f64, f64)]) -> Vec<f64> {
    let chance = |i: usize| {
        let (a, b) = arms[i];
        let (mean, n) = (a / (a + b), a + b);
        let deviation = (mean * (1.0 - mean) / (n + 1.0)).sqrt();
        let (low, high) = ((mean - 10.0 * deviation).max(0.0), (mean + 20.0 * deviation).min(1.0));
        const STEPS: usize = 4000;
        let width = (high - low) / STEPS as f64;
        // Midpoints: the density may be infinite at 0 and 1.
        let sum: f64 = (0..STEPS)
            .map(|step| {
                let x = low + (step as f64 + 0.5) * width;
                let ln_density = (a - 1.0) * x.ln() + (b - 1.0) * (-x).ln_1p() - ln_beta(a, b);
                let others = arms.iter().enumerate().filter(|(j, _)| *j != i);
                let above = others.map(|(_, &(a, b))| beta_regularized(a, b, x).upper);
                ln_density.exp() * above.product::<f64>()
            })
            .sum();
        sum * width
    };
    let chances: Vec<f64> = (0..arms.len()).map(chance).collect();
    let total: f64 = chances.iter().sum();
    chances.iter().map(|chance| chance / total).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn units(events: u64, n: u64) -> Option<Proportion> {
        Some(Proportion::new(events, n).unwrap())
    }

    #[test]
    fn shares_follow_the_evidence_above_the_floor() {
        let config = ThompsonConfig::default();
        let shares = config.shares(&[units(50, 5000), units(10, 5000)]).unwrap().unwrap();
        assert_eq!(shares.iter().sum::<u32>(), SLOTS);
        assert!(shares[0] < 50_100 && shares[0] >= 50_000, "{shares:?}");
        let alike = config.shares(&[units(50, 5000), units(50, 5000)]).unwrap().unwrap();
        assert!(alike[0].abs_diff(500_000) < 10, "{alike:?}");
    }

    #[test]
    fn too_few_units_move_nothing_and_floors_must_leave_something() {
        let config = ThompsonConfig::default();
        assert_eq!(config.shares(&[units(1, 999), units(1, 5000)]).unwrap(), None);
        assert_eq!(config.shares(&[None, units(1, 5000)]).unwrap(), None);
        assert!(ThompsonConfig { floor_ppm: 500_000, ..config }.check(2).is_err());
        assert!(ThompsonConfig { prior_events: 0.0, ..config }.check(2).is_err());
    }
}
