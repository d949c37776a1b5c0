//! Population stability index.

use std::sync::OnceLock;

use serde::{Deserialize, Serialize};
use statrs::distribution::{ChiSquared, ContinuousCDF};

/// A population stability index beside the value that chance alone would reach.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Psi {
    /// Σ (q − p) ln(q / p), natural logarithm; 0 for equal distributions, no upper bound.
    pub value: f64,
    /// What two samples of these sizes from one distribution stay below with probability 0.999.
    pub critical: f64,
}

/// PSI between counts on the same bins; `None` if the lengths differ or either side is empty.
///
/// Empty bins: every bin gets half a row on both sides (Jeffreys' prior: q = (c + ½) / (n + bins/2)), so the index is
/// always finite; bins that are empty on both sides are left out. Convention of the field (Lewis 1994): below 0.1
/// stable, 0.1 to 0.25 watch, above 0.25 act. The critical value is χ²₀.₉₉₉ with bins − 1 degrees of freedom times
/// (1/n + 1/m), after Yurdakul and Naranjo 2020. O(bins).
pub fn population_stability_index(reference: &[u64], current: &[u64]) -> Option<Psi> {
    let (n, m) = (reference.iter().sum::<u64>() as f64, current.iter().sum::<u64>() as f64);
    if reference.len() != current.len() || n == 0.0 || m == 0.0 {
        return None;
    }
    let used = || reference.iter().zip(current).filter(|(r, c)| **r > 0 || **c > 0);
    let n_bins = used().count() as f64;
    let share = |count: u64, total: f64| (count as f64 + 0.5) / (total + n_bins / 2.0);
    let value = used()
        .map(|(&r, &c)| {
            let (p, q) = (share(r, n), share(c, m));
            (q - p) * (q / p).ln()
        })
        .sum();
    let critical = chi_squared_999(used().count() - 1) * (1.0 / n + 1.0 / m);
    Some(Psi { value, critical })
}

/// What χ² stays below with probability 0.999. Finding it takes ten times as long as the index itself, so it is found once.
fn chi_squared_999(degrees: usize) -> f64 {
    static KNOWN: [OnceLock<f64>; 256] = [const { OnceLock::new() }; 256];
    let find = || match ChiSquared::new(degrees as f64) {
        Ok(chi_squared) => chi_squared.inverse_cdf(0.999),
        Err(_) => 0.0, // one bin: nothing can differ
    };
    KNOWN.get(degrees).map_or_else(find, |known| *known.get_or_init(find))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peers_and_tables_agree() {
        // p = .1 .2 .3 .4 against q = .25 × 4, both of 1,000 rows, with Jeffreys' prior (numpy, to 1e-10).
        let psi = population_stability_index(&[100, 200, 300, 400], &[250; 4]).unwrap();
        assert!((psi.value - 0.227_160_759_7).abs() < 1e-10, "{}", psi.value);
        // χ²(0.999, 3) = 16.2662361962 (scipy 1.17.1)
        assert!((psi.critical - 16.266_236_196_2 * 0.002).abs() < 1e-8, "{}", psi.critical);
        let gone = population_stability_index(&[250; 4], &[500, 500, 0, 0]).unwrap();
        assert!((gone.value - 3.4475).abs() < 5e-5, "{}", gone.value);
    }

    #[test]
    fn equal_samples_and_degenerate_input() {
        assert_eq!(population_stability_index(&[5, 0, 7], &[5, 0, 7]).unwrap().value, 0.0);
        let one_bin = population_stability_index(&[5], &[9]).unwrap();
        assert_eq!((one_bin.value, one_bin.critical), (0.0, 0.0));
        assert_eq!(population_stability_index(&[1, 2], &[0, 0]), None);
        assert_eq!(population_stability_index(&[1, 2], &[1]), None);
    }
}
