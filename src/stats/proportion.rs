//! Shares of independent units, and the difference between two of them.

use serde::{Deserialize, Serialize};

use super::interval::{Interval, check_alpha};
use super::ratio::Estimate;
use super::special::{
    bisect, chi_squared_sf, ln_beta, normal_cdf, normal_critical, normal_two_sided,
};
use crate::error::{Error, Result};

/// `events` among `n` independent units.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proportion {
    events: u64,
    n: u64,
}

impl Proportion {
    /// # Errors
    /// `Empty` without units; `InvalidInput` for more events than units.
    pub fn new(events: u64, n: u64) -> Result<Self> {
        if n == 0 {
            return Err(Error::Empty { what: "proportion".into() });
        }
        if events > n {
            return Err(Error::input("proportion", format!("{events} events among {n}")));
        }
        Ok(Proportion { events, n })
    }

    /// The share, `0.0..=1.0`.
    pub fn rate(&self) -> f64 {
        self.events as f64 / self.n as f64
    }

    /// Units with the event.
    pub fn events(&self) -> u64 {
        self.events
    }

    /// Units.
    pub fn n(&self) -> u64 {
        self.n
    }

    /// Wilson's score interval (1927): within `0.0..=1.0`, sound for no events and few units.
    ///
    /// # Errors
    /// `InvalidInput` for an `alpha` outside (0, 1).
    pub fn wilson(&self, alpha: f64) -> Result<Interval> {
        check_alpha(alpha)?;
        let z2 = normal_critical(alpha).powi(2);
        let (n, p) = (self.n as f64, self.rate());
        let middle = p + z2 / (2.0 * n);
        let margin = (z2 * (p * (1.0 - p) / n + z2 / (4.0 * n * n))).sqrt();
        let shrink = 1.0 + z2 / n;
        let lower = if self.events == 0 { 0.0 } else { (middle - margin) / shrink };
        let upper = if self.events == self.n { 1.0 } else { (middle + margin) / shrink };
        Ok(Interval { lower, upper })
    }
}

/// Two proportions of different units; every difference is the second less the first.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TwoProportions {
    /// The first, such as the champion's.
    pub first: Proportion,
    /// The second, such as the challenger's.
    pub second: Proportion,
}

/// A statistic that is normal where there is no difference, and its p-value.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ZTest {
    /// The statistic.
    pub z: f64,
    /// Chance of one at least this far from zero, on either side.
    pub p_value: f64,
}

impl ZTest {
    pub(crate) fn new(difference: f64, variance: f64) -> Self {
        let z = if difference == 0.0 { 0.0 } else { difference / variance.sqrt() };
        ZTest { z, p_value: normal_two_sided(z) }
    }
}

impl TwoProportions {
    /// Second rate less first.
    pub fn difference(&self) -> f64 {
        self.second.rate() - self.first.rate()
    }

    /// The z test with the variance under no difference, from both arms together. For counts of at least some ten events
    /// per arm; [`fisher`](Self::fisher) below.
    pub fn pooled_test(&self) -> ZTest {
        let Estimate { value, standard_error } = self.pooled();
        ZTest::new(value, standard_error.powi(2))
    }

    /// The z test with each arm's own variance: the one that agrees with Wald's interval. With no spread in either arm the
    /// statistic of a difference is infinite.
    pub fn unpooled_test(&self) -> ZTest {
        ZTest::new(self.difference(), self.unpooled_variance())
    }

    /// The difference with its standard error as if both rates were the same: sound where one arm has few events.
    pub fn pooled(&self) -> Estimate {
        let (n_1, n_2) = (self.first.n as f64, self.second.n as f64);
        let p = (self.first.events + self.second.events) as f64 / (n_1 + n_2);
        let standard_error = (p * (1.0 - p) * (1.0 / n_1 + 1.0 / n_2)).sqrt();
        Estimate { value: self.difference(), standard_error }
    }

    /// Variance of the difference with each arm's own rate.
    pub fn unpooled_variance(&self) -> f64 {
        let of = |p: &Proportion| p.rate() * (1.0 - p.rate()) / p.n as f64;
        of(&self.first) + of(&self.second)
    }

    /// Newcombe's hybrid score interval (1998, method 10) of the difference: from the Wilson intervals of both.
    ///
    /// # Errors
    /// `InvalidInput` for an `alpha` outside (0, 1).
    pub fn newcombe(&self, alpha: f64) -> Result<Interval> {
        let (a, b) = (self.first.wilson(alpha)?, self.second.wilson(alpha)?);
        let (p, q) = (self.first.rate(), self.second.rate());
        Ok(Interval {
            lower: (q - p) - (q - b.lower).hypot(a.upper - p),
            upper: (q - p) + (b.upper - q).hypot(p - a.lower),
        })
    }

    /// Miettinen and Nurminen's score interval (1985) of the difference: the differences that their score test does not
    /// reject. Sound for empty cells. The ends are found to the last bits by halving.
    ///
    /// # Errors
    /// `InvalidInput` for an `alpha` outside (0, 1).
    pub fn miettinen_nurminen(&self, alpha: f64) -> Result<Interval> {
        check_alpha(alpha)?;
        let (estimate, critical) = (self.difference(), normal_critical(alpha));
        // The score falls as the supposed difference rises.
        let lower = match self.score(-1.0) <= critical {
            true => -1.0,
            false => bisect(-1.0, estimate, |d| critical - self.score(d)),
        };
        let upper = match self.score(1.0) >= -critical {
            true => 1.0,
            false => bisect(estimate, 1.0, |d| -critical - self.score(d)),
        };
        Ok(Interval { lower, upper })
    }

    /// Farrington and Manning's test (1990) of "the second rate is higher by `margin` or more": small p-values show that it
    /// is not, also where events are few. The p-value is one-sided.
    ///
    /// # Errors
    /// `InvalidInput` for a `margin` outside (−1, 1).
    pub fn non_inferiority(&self, margin: f64) -> Result<ZTest> {
        if !(margin > -1.0 && margin < 1.0) {
            return Err(Error::input("margin", format!("{margin} is no difference of two rates")));
        }
        let z = self.gap(margin, 1.0);
        Ok(ZTest { z, p_value: normal_cdf(z) })
    }

    /// Miettinen and Nurminen's score of the supposed difference `d`.
    fn score(&self, d: f64) -> f64 {
        let n = (self.first.n + self.second.n) as f64;
        self.gap(d, n / (n - 1.0))
    }

    /// The difference less a supposed one, in standard errors under that one, the variance `inflated`.
    fn gap(&self, d: f64, inflated: f64) -> f64 {
        let (n_1, n_2) = (self.first.n as f64, self.second.n as f64);
        let (p_1, p_2) = self.rates_given(d);
        let variance = (p_1 * (1.0 - p_1) / n_1 + p_2 * (1.0 - p_2) / n_2) * inflated;
        let gap = self.difference() - d;
        if variance > 0.0 { gap / variance.sqrt() } else { gap.signum() * f64::INFINITY }
    }

    /// The most likely pair of rates `d` apart, from the cubic of Farrington and Manning (1990).
    fn rates_given(&self, d: f64) -> (f64, f64) {
        let (x_1, x_2) = (self.first.events as f64, self.second.events as f64);
        let (n_1, n_2) = (self.first.n as f64, self.second.n as f64);
        let n = n_1 + n_2;
        let l2 = (n_1 + n) * d - n - x_1 - x_2;
        let l1 = (n_1 * d - n - 2.0 * x_1) * d + x_1 + x_2;
        let l0 = x_1 * d * (1.0 - d);
        // Shift by l2 / 3n: y³ − 3 p² y − 2 q = 0 with three real roots, of which the middle one lies in range.
        let shift = l2 / (3.0 * n);
        let q = shift.powi(3) - l1 * l2 / (6.0 * n * n) + l0 / (2.0 * n);
        let p = (shift * shift - l1 / (3.0 * n)).max(0.0).sqrt().copysign(q);
        let cosine = if p == 0.0 { 0.0 } else { (q / p.powi(3)).clamp(-1.0, 1.0) };
        let angle = (std::f64::consts::PI + cosine.acos()) / 3.0;
        let p_1 = (2.0 * p * angle.cos() - shift).clamp((-d).max(0.0), (1.0 - d).min(1.0));
        (p_1, (p_1 + d).clamp(0.0, 1.0))
    }

    /// Fisher's exact test, two-sided: the chance, given the total of events, of a split that is not likelier than this
    /// one. For small counts; O(events).
    pub fn fisher(&self) -> f64 {
        let (n_1, n_2) = (self.first.n, self.second.n);
        let events = self.first.events + self.second.events;
        let ln_choose = |n: u64, k: u64| {
            let (n, k) = (n as f64, k as f64);
            -(n + 1.0).ln() - ln_beta(k + 1.0, n - k + 1.0)
        };
        let ln_total = ln_choose(n_1 + n_2, events);
        let ln_probability = |x: u64| ln_choose(n_1, x) + ln_choose(n_2, events - x) - ln_total;
        let (least, most) = (events.saturating_sub(n_2), events.min(n_1));
        // Equally likely splits differ by rounding: the usual tolerance of 1e-7.
        let limit = ln_probability(self.first.events) + 1e-7;
        let splits = (least..=most).map(ln_probability);
        splits.filter(|ln_p| *ln_p <= limit).map(f64::exp).sum::<f64>().min(1.0)
    }
}

/// Pearson's χ² test that counts follow these weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GoodnessOfFit {
    /// Σ (observed − expected)² / expected.
    pub chi_squared: f64,
    /// Classes with a weight above zero, less one.
    pub df: u64,
    /// Chance of a statistic at least as large.
    pub p_value: f64,
}

/// Tests whether `observed` counts are a draw from classes with these `weights` (of any sum). A count where the weight is
/// zero cannot be: the statistic is infinite and the p-value 0.
///
/// # Errors
/// `InvalidInput` if the lists differ in length, a weight is negative or not finite, or all are zero.
pub fn goodness_of_fit(observed: &[u64], weights: &[f64]) -> Result<GoodnessOfFit> {
    let total_weight: f64 = weights.iter().sum();
    let sound = weights.iter().all(|w| w.is_finite() && *w >= 0.0) && total_weight > 0.0;
    if observed.len() != weights.len() || !sound {
        let reason = "one finite weight per count is needed, none below and not all zero";
        return Err(Error::input("weights", reason));
    }
    let n: f64 = observed.iter().map(|&count| count as f64).sum();
    let df = weights.iter().filter(|w| **w > 0.0).count() as u64 - 1;
    let mut chi_squared = 0.0;
    for (&count, &weight) in observed.iter().zip(weights) {
        let expected = n * weight / total_weight;
        chi_squared += match (count, expected > 0.0) {
            (count, true) => (count as f64 - expected).powi(2) / expected,
            (0, false) => 0.0,
            (_, false) => f64::INFINITY,
        };
    }
    let p_value = match (chi_squared.is_infinite(), df) {
        (true, _) => 0.0,
        (false, 0) => 1.0,
        (false, df) => chi_squared_sf(chi_squared, df as f64),
    };
    Ok(GoodnessOfFit { chi_squared, df, p_value })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_units_more_events_than_units_and_no_weights_are_refused() {
        assert!(matches!(Proportion::new(0, 0), Err(Error::Empty { .. })));
        assert!(Proportion::new(2, 1).is_err());
        assert!(Proportion::new(1, 1).unwrap().wilson(0.0).is_err());
        assert!(goodness_of_fit(&[1], &[1.0, 1.0]).is_err());
        assert!(goodness_of_fit(&[1, 2], &[0.0, 0.0]).is_err());
        assert!(goodness_of_fit(&[], &[]).is_err());
    }

    #[test]
    fn empty_cells_have_finite_answers() {
        let none = Proportion::new(0, 10).unwrap();
        let pair = TwoProportions { first: none, second: none };
        assert_eq!((pair.pooled_test().p_value, pair.unpooled_test().z), (1.0, 0.0));
        assert!((pair.fisher() - 1.0).abs() < 1e-12);
        let interval = pair.miettinen_nurminen(0.05).unwrap();
        assert!(interval.lower > -0.5 && interval.upper < 0.5 && interval.contains(0.0));
        let impossible = goodness_of_fit(&[3, 1], &[1.0, 0.0]).unwrap();
        assert_eq!((impossible.p_value, impossible.df), (0.0, 0));
        assert_eq!(goodness_of_fit(&[0, 0], &[1.0, 1.0]).unwrap().p_value, 1.0);
    }
}
