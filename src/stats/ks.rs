//! The two-sample Kolmogorov–Smirnov test.

use serde::{Deserialize, Serialize};

use super::check_finite;
use crate::error::Result;

/// Outcome of a two-sample Kolmogorov–Smirnov test.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct KsTest {
    /// Largest distance between the two empirical distribution functions, `0.0..=1.0`.
    pub distance: f64,
    /// Chance of a distance at least as large if both samples came from one continuous distribution. Ties make it
    /// too large, never too small.
    pub p_value: f64,
}

/// Products of sample sizes up to here get the exact p-value: about 3 ms.
const EXACT: u64 = 1_000_000;

/// Compares two samples. The p-value is exact where the product of the sizes is at most a million, by counting the lattice
/// paths that leave the band (Hodges 1958); beyond that Kolmogorov's limit with Stephens' correction for finite samples
/// (1970). O(n log n + m log m), and O(n m) for the exact p-value.
///
/// # Errors
/// `Empty` for an empty sample, `InvalidInput` naming the first value that is not finite.
pub fn ks_test(a: &[f64], b: &[f64]) -> Result<KsTest> {
    check_finite("first sample", a)?;
    check_finite("second sample", b)?;
    let sorted = |values: &[f64]| {
        let mut values: Vec<f64> = values.iter().map(|v| v + 0.0).collect(); // one zero
        values.sort_unstable_by(f64::total_cmp);
        values
    };
    let (n, m) = (a.len() as u64, b.len() as u64);
    let steps = ks_steps(&sorted(a), &sorted(b));
    let distance = steps as f64 / (n as f64 * m as f64);
    let p_value = if n * m <= EXACT { ks_exact_p(steps, n, m) } else { ks_limit_p(distance, n, m) };
    Ok(KsTest { distance, p_value })
}

/// Largest distance between the distribution functions of two ascending samples, in whole steps of 1 / (n m): no
/// rounding. O(n + m).
pub(crate) fn ks_steps(a: &[f64], b: &[f64]) -> u64 {
    let (n, m) = (a.len() as u64, b.len() as u64);
    let (mut i, mut j, mut largest) = (0, 0, 0);
    while i < a.len() && j < b.len() {
        let value = a[i].min(b[j]);
        i += a[i..].iter().take_while(|v| **v == value).count();
        j += b[j..].iter().take_while(|v| **v == value).count();
        largest = largest.max((i as u64 * m).abs_diff(j as u64 * n));
    }
    largest
}

/// Exact chance of a distance of at least `steps` / (n m).
pub(crate) fn ks_exact_p(steps: u64, n: u64, m: u64) -> f64 {
    if steps == 0 {
        return 1.0;
    }
    // A(i, j): chance that the path to (i, j), all paths being equally likely, has been outside. Its last step came from
    // (i − 1, j) with probability i / (i + j). Only sums of positive terms: accurate for the smallest p.
    let outside = |i: u64, j: u64| (i * m).abs_diff(j * n) >= steps;
    let mut column: Vec<f64> = vec![0.0; m as usize + 1];
    for i in 0..=n {
        for j in 0..=m {
            let slot = j as usize;
            column[slot] = if outside(i, j) {
                1.0
            } else if i == 0 || j == 0 {
                let before = if i > 0 { column[slot] } else { 0.0 };
                if j > 0 { column[slot - 1].max(before) } else { before }
            } else {
                let total = (i + j) as f64;
                (i as f64 * column[slot] + j as f64 * column[slot - 1]) / total
            };
        }
    }
    column[m as usize].min(1.0)
}

/// Chance of a distance of at least `distance` for large samples.
pub(crate) fn ks_limit_p(distance: f64, n: u64, m: u64) -> f64 {
    let effective = (n as f64 * m as f64 / (n as f64 + m as f64)).sqrt();
    kolmogorov_sf((effective + 0.12 + 0.11 / effective) * distance)
}

/// P(K > x) of Kolmogorov's distribution.
pub(crate) fn kolmogorov_sf(x: f64) -> f64 {
    if x <= 0.0 {
        return 1.0;
    }
    if x < 1.0 {
        // The theta function's other form, for a cumulative probability that is small here (Marsaglia, Tsang and Wang 2003).
        let t = -std::f64::consts::PI.powi(2) / (8.0 * x * x);
        let sum: f64 = (0..6).map(|k| (t * f64::from((2 * k + 1) * (2 * k + 1))).exp()).sum();
        return (1.0 - (2.0 * std::f64::consts::PI).sqrt() / x * sum).clamp(0.0, 1.0);
    }
    let term = |k: i32| {
        let sign = if k % 2 == 1 { 1.0 } else { -1.0 };
        sign * (-2.0 * f64::from(k * k) * x * x).exp()
    };
    (2.0 * (1..=6).map(term).sum::<f64>()).clamp(0.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kolmogorovs_distribution_agrees_with_scipy() {
        for (x, p) in [
            (0.05, 1.0),
            (0.3, 0.999_990_694_198_665_5),
            (0.5, 0.963_945_243_664_875_1),
            (0.8, 0.544_142_411_574_198_1),
            (1.0, 0.269_999_671_677_354_56),
            (1.358_098_639_322_550_5, 0.05),
            (2.0, 0.000_670_925_255_779_695_3),
            (5.0, 3.857_499_695_927_835_6e-22),
        ] {
            assert!((kolmogorov_sf(x) / p - 1.0).abs() < 1e-10, "{x}: {}", kolmogorov_sf(x));
        }
    }

    #[test]
    fn the_limit_goes_on_where_the_exact_p_value_ends() {
        for steps in [30_000, 55_000, 80_000, 100_000] {
            let exact = ks_exact_p(steps, 1000, 1000);
            let limit = ks_limit_p(steps as f64 / 1e6, 1000, 1000);
            assert!((limit.ln() / exact.ln() - 1.0).abs() < 0.04, "{steps}: {exact} {limit}");
        }
    }
}
