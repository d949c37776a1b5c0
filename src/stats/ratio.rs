//! Ratios of sums over clusters: the delta method with errors that are robust to dependence within a cluster.

use serde::{Deserialize, Serialize};

use super::special::normal_cdf;

/// An estimate with its standard error.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The value.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
}

impl Estimate {
    /// P-value of "it is `margin` or more": small where it is shown to be less, as a guardrail asks. For one look; 0 or 1
    /// without a standard error.
    pub fn below(&self, margin: f64) -> f64 {
        match self.standard_error > 0.0 {
            true => normal_cdf((self.value - margin) / self.standard_error),
            false => f64::from(u8::from(self.value >= margin)),
        }
    }

    /// P-value of "it is `margin` or more, on one side or the other": small where it is shown to be nearly zero (two
    /// one-sided tests, Schuirmann 1987).
    pub fn within(&self, margin: f64) -> f64 {
        let mirrored = Estimate { value: -self.value, ..*self };
        self.below(margin).max(mirrored.below(margin))
    }
}

/// Σ numerator / Σ denominator over clusters (customers, or groups of them), linearised.
///
/// Rows of one cluster may depend on each other in any way; clusters are independent. With one row per cluster this is
/// the delta method for a ratio of means, with weights folded into both sums it is Hájek's estimator. The variance is
/// that of the sum of residuals eᵢ = (numeratorᵢ − ratio × denominatorᵢ) / Σ denominator: k / (k − 1) Σ eᵢ² (k
/// clusters), as in R's survey package.
#[derive(Debug, Clone, PartialEq)]
pub struct ClusteredRatio {
    value: f64,
    residuals: Vec<f64>,
}

impl ClusteredRatio {
    /// From the sums of each cluster, numerator and denominator. `None` if the denominators add up to zero or less.
    pub fn new(clusters: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        let sums: Vec<(f64, f64)> = clusters.into_iter().collect();
        let (numerator, denominator) =
            sums.iter().fold((0.0, 0.0), |(n, d), cluster| (n + cluster.0, d + cluster.1));
        if denominator <= 0.0 {
            return None;
        }
        let value = numerator / denominator;
        let residuals = sums.iter().map(|(n, d)| (n - value * d) / denominator).collect();
        Some(ClusteredRatio { value, residuals })
    }

    /// The ratio.
    pub fn value(&self) -> f64 {
        self.value
    }

    /// Variance of the ratio; 0 for a single cluster.
    pub fn variance(&self) -> f64 {
        self.covariance(self)
    }

    /// The ratio with its standard error.
    pub fn estimate(&self) -> Estimate {
        Estimate { value: self.value, standard_error: self.variance().sqrt() }
    }

    /// Second less first, where the clusters of both are different ones.
    pub fn difference(first: &Self, second: &Self) -> Estimate {
        let variance = first.variance() + second.variance();
        Estimate { value: second.value - first.value, standard_error: variance.sqrt() }
    }

    /// Σ weight × ratio of ratios that were all measured on the same clusters in the same order, dependence between them
    /// and all: 1 and −1 for a paired difference. `None` for none, or if the clusters differ in number.
    pub fn combined(parts: &[(f64, &Self)]) -> Option<Self> {
        let mut residuals = vec![0.0; parts.first()?.1.residuals.len()];
        let mut value = 0.0;
        for (weight, part) in parts {
            if part.residuals.len() != residuals.len() {
                return None;
            }
            value += weight * part.value;
            residuals.iter_mut().zip(&part.residuals).for_each(|(sum, e)| *sum += weight * e);
        }
        Some(ClusteredRatio { value, residuals })
    }

    /// Covariance with another ratio on the same clusters; 0 for a single cluster, or if they differ in number.
    pub fn covariance(&self, other: &Self) -> f64 {
        if self.residuals.len() != other.residuals.len() {
            return 0.0;
        }
        sum_of_products(&self.residuals, &other.residuals)
    }

    /// Number of clusters.
    pub fn n_clusters(&self) -> usize {
        self.residuals.len()
    }
}

fn sum_of_products(first: &[f64], second: &[f64]) -> f64 {
    let k = first.len() as f64;
    if k < 2.0 {
        return 0.0;
    }
    first.iter().zip(second).map(|(a, b)| a * b).sum::<f64>() * k / (k - 1.0)
}

/// The effective number of rows of a weighted sample after Kish (1965): (Σ w)² / Σ w². `None` without weight.
pub fn effective_sample_size(weights: impl IntoIterator<Item = f64>) -> Option<f64> {
    let (sum, squares) =
        weights.into_iter().fold((0.0, 0.0), |(sum, squares), w| (sum + w, squares + w * w));
    (squares > 0.0).then(|| sum * sum / squares)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_and_one_cluster() {
        assert_eq!(ClusteredRatio::new([]), None);
        assert_eq!(ClusteredRatio::new([(1.0, 0.0)]), None);
        let one = ClusteredRatio::new([(1.0, 4.0)]).unwrap();
        assert_eq!(one.estimate(), Estimate { value: 0.25, standard_error: 0.0 });
        let two = ClusteredRatio::new([(1.0, 4.0), (0.0, 1.0)]).unwrap();
        assert_eq!(ClusteredRatio::combined(&[(1.0, &one), (-1.0, &two)]), None);
        assert_eq!((ClusteredRatio::combined(&[]), one.covariance(&two)), (None, 0.0));
        assert_eq!(effective_sample_size([]), None);
    }

    #[test]
    fn the_same_clusters_against_themselves_do_not_differ() {
        let ratio = ClusteredRatio::new([(1.0, 4.0), (0.0, 1.0), (2.0, 5.0)]).unwrap();
        let paired = ClusteredRatio::combined(&[(1.0, &ratio), (-1.0, &ratio)]).unwrap();
        assert_eq!(paired.estimate(), Estimate { value: 0.0, standard_error: 0.0 });
        assert!(ClusteredRatio::difference(&ratio, &ratio).standard_error > 0.0);
    }
}
