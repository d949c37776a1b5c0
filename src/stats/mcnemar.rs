//! McNemar's test: two decisions on the same rows.

use serde::{Deserialize, Serialize};

use super::interval::{Interval, check_alpha};
use super::special::{binomial_half_cdf, chi_squared_sf, ln_binomial_half_pmf, normal_critical};
use crate::error::{Error, Result};

/// Rows on which exactly one of two classifiers is right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Discordant {
    /// Rows that only the first has right.
    pub first_only: u64,
    /// Rows that only the second has right.
    pub second_only: u64,
}

impl Discordant {
    /// The exact two-sided test (McNemar 1947): chance of a split at least as uneven where each is right on half.
    pub fn exact(&self) -> f64 {
        (2.0 * binomial_half_cdf(self.smaller(), self.n())).min(1.0)
    }

    /// The exact test with half the probability of the observed split (Lancaster's mid-p): less conservative, and rarely
    /// above its nominal level (Fagerland, Lydersen and Laake 2013).
    pub fn mid_p(&self) -> f64 {
        if self.first_only == self.second_only {
            // Both tails hold the observed split.
            return 1.0 - if self.n() == 0 { 0.0 } else { self.pmf() };
        }
        2.0 * binomial_half_cdf(self.smaller(), self.n()) - self.pmf()
    }

    /// The χ² test without correction, for at least some 25 discordant rows: statistic and p-value.
    pub fn chi_squared(&self) -> (f64, f64) {
        if self.n() == 0 {
            return (0.0, 1.0);
        }
        let gap = self.first_only.abs_diff(self.second_only) as f64;
        let statistic = gap * gap / self.n() as f64;
        (statistic, chi_squared_sf(statistic, 1.0))
    }

    /// Difference of the accuracies among `n_rows`, second less first, with its standard error.
    ///
    /// # Errors
    /// `InvalidInput` for fewer rows than are discordant, or none.
    pub fn accuracy_difference(&self, n_rows: u64) -> Result<(f64, f64)> {
        if n_rows == 0 || n_rows < self.n() {
            return Err(Error::input("rows", format!("{n_rows} with {} discordant", self.n())));
        }
        let (n, discordant) = (n_rows as f64, self.n() as f64);
        let gap = self.second_only as f64 - self.first_only as f64;
        Ok((gap / n, (discordant - gap * gap / n).max(0.0).sqrt() / n))
    }

    /// Wald's interval of [`accuracy_difference`](Self::accuracy_difference).
    ///
    /// # Errors
    /// Those of [`accuracy_difference`](Self::accuracy_difference); `InvalidInput` for an `alpha` outside (0, 1).
    pub fn interval(&self, n_rows: u64, alpha: f64) -> Result<Interval> {
        check_alpha(alpha)?;
        let (difference, standard_error) = self.accuracy_difference(n_rows)?;
        Ok(Interval::around(difference, normal_critical(alpha) * standard_error))
    }

    /// Discordant rows.
    pub fn n(&self) -> u64 {
        self.first_only + self.second_only
    }

    fn smaller(&self) -> u64 {
        self.first_only.min(self.second_only)
    }

    fn pmf(&self) -> f64 {
        ln_binomial_half_pmf(self.smaller(), self.n()).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_discordant_row_is_no_difference() {
        let none = Discordant::default();
        assert_eq!((none.exact(), none.mid_p(), none.chi_squared()), (1.0, 1.0, (0.0, 1.0)));
        assert_eq!(none.accuracy_difference(10).unwrap(), (0.0, 0.0));
        assert!(none.accuracy_difference(0).is_err());
        assert!(Discordant { first_only: 3, second_only: 3 }.accuracy_difference(5).is_err());
    }
}
