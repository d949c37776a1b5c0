//! Frozen bins: the yardstick that a reference distribution lays down and later data is counted on.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Right-closed bins over the real line and one more for missing values.
///
/// Interior edges `e₀ < e₁ < …` give the bins `(-∞, e₀]`, `(e₀, e₁]`, …, `(eₙ, ∞)`, then MISSING (NaN). Infinite values
/// fall into the outer bins. Every value has a bin, so counts add up to the rows seen.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Vec<f64>", into = "Vec<f64>")]
pub struct Bins {
    edges: Vec<f64>,
}

impl Bins {
    /// Bins with these interior edges; none gives one bin and MISSING.
    ///
    /// # Errors
    /// `InvalidConfig` unless the edges are finite and strictly rising.
    pub fn from_edges(edges: Vec<f64>) -> Result<Self> {
        if !edges.iter().all(|edge| edge.is_finite()) || edges.windows(2).any(|e| e[0] >= e[1]) {
            return Err(Error::config("bins", "edges must be finite and strictly rising"));
        }
        Ok(Bins { edges })
    }

    /// Up to `n_bins` bins holding about equally many of the finite values; fewer where values repeat. Values that are
    /// not finite play no part in placing the edges. O(n log n).
    ///
    /// # Errors
    /// `InvalidConfig` if `n_bins` is zero.
    pub fn equal_count(values: impl IntoIterator<Item = f64>, n_bins: usize) -> Result<Self> {
        if n_bins == 0 {
            return Err(Error::config("bins", "needs at least one bin"));
        }
        let mut finite: Vec<f64> = values.into_iter().filter(|v| v.is_finite()).collect();
        finite.sort_unstable_by(f64::total_cmp);
        // Edges are values themselves, never points between two: a bin between neighbours would stay empty.
        let edge = |i: usize| finite[(i * finite.len()).div_ceil(n_bins).max(1) - 1];
        let mut edges: Vec<f64> = match finite.len() {
            0 => Vec::new(),
            _ => (1..n_bins).map(|i| edge(i) + 0.0).collect(), // -0.0 + 0.0 is 0.0: one edge for both
        };
        edges.dedup();
        // An edge at the largest value would leave the last bin empty for ever.
        if edges.last().is_some_and(|edge| finite.last().is_some_and(|max| edge >= max)) {
            edges.pop();
        }
        Bins::from_edges(edges)
    }

    /// Number of bins, MISSING included.
    pub fn n_bins(&self) -> usize {
        self.edges.len() + 2
    }

    /// The bin of a value; the last one is MISSING. O(log bins).
    pub fn index(&self, value: f64) -> usize {
        if value.is_nan() {
            return self.edges.len() + 1;
        }
        if self.edges.len() <= 40 {
            // Counting needs no step to wait for the one before: half the time of a search among so few.
            return self.edges.iter().map(|&edge| usize::from(edge < value)).sum();
        }
        self.edges.partition_point(|&edge| edge < value)
    }

    /// Interior edges.
    pub fn edges(&self) -> &[f64] {
        &self.edges
    }
}

impl TryFrom<Vec<f64>> for Bins {
    type Error = Error;

    fn try_from(edges: Vec<f64>) -> Result<Self> {
        Bins::from_edges(edges)
    }
}

impl From<Bins> for Vec<f64> {
    fn from(bins: Bins) -> Self {
        bins.edges
    }
}

/// Quantile of values in ascending order by linear interpolation (Hyndman and Fan's type 7, the default of R and
/// numpy). `None` for no values or a `q` outside `0.0..=1.0`.
pub fn quantile_sorted(sorted: &[f64], q: f64) -> Option<f64> {
    quantile_of_sorted(sorted.len(), |i| sorted[i], q)
}

/// [`quantile_sorted`] of `n` values in ascending order, wherever they are.
pub(crate) fn quantile_of_sorted(n: usize, value: impl Fn(usize) -> f64, q: f64) -> Option<f64> {
    if n == 0 || !(0.0..=1.0).contains(&q) {
        return None;
    }
    let position = q * (n - 1) as f64;
    let (low, fraction) = (position as usize, position.fract());
    let high = (low + 1).min(n - 1);
    Some(value(low) + fraction * (value(high) - value(low)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_type_7() {
        let values = [1.0, 2.0, 4.0, 8.0]; // numpy.quantile(values, [0, .1, .5, .9, 1])
        let expected = [1.0, 1.3, 3.0, 6.8, 8.0];
        for (q, want) in [0.0, 0.1, 0.5, 0.9, 1.0].into_iter().zip(expected) {
            assert!((quantile_sorted(&values, q).unwrap() - want).abs() < 1e-12);
        }
        assert_eq!(quantile_sorted(&[], 0.5), None);
        assert_eq!(quantile_sorted(&values, f64::NAN), None);
    }

    #[test]
    fn every_value_has_a_bin() {
        let bins = Bins::from_edges(vec![0.0, 1.0]).unwrap();
        let index = [f64::NEG_INFINITY, -0.0, 0.5, 1.0, 1.1, f64::INFINITY, f64::NAN];
        assert_eq!(index.map(|v| bins.index(v)), [0, 0, 1, 1, 2, 2, 3]);
        assert_eq!(bins.n_bins(), 4);
    }

    #[test]
    fn repeated_values_share_a_bin_and_no_bin_is_born_empty() {
        let flags = (0..100).map(|i| f64::from(i % 5 == 0));
        let bins = Bins::equal_count(flags, 10).unwrap();
        assert_eq!(bins.edges(), [0.0]);
        assert_eq!(Bins::equal_count([3.0; 10], 10).unwrap().edges(), [] as [f64; 0]);
        assert_eq!(Bins::equal_count([f64::NAN], 4).unwrap().n_bins(), 2);
        assert!(Bins::equal_count([1.0], 0).is_err());
        assert!(Bins::from_edges(vec![1.0, 1.0]).is_err());
    }
}
