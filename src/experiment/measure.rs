//! Metrics from counts: values, standard errors, differences between arms.

use rand_chacha::rand_core::RngCore;

use super::plan::Metric;
use super::record::{ArmSums, LOSS_ONE, N_BINS, N_BUCKETS, PAIR_BINS, PairSums, Sum, WEIGHT_ONE};
use crate::seed::Seed;
use crate::stats::special::normal_isf;
use crate::stats::{AucComparison, AucEstimate, ClusteredRatio, Estimate, WeightedBins};

/// What an arm's counts say of a metric.
#[derive(Debug, Clone)]
pub(super) enum Measured {
    Ratio(ClusteredRatio),
    Auc(AucEstimate),
    /// A functional of the score bins, with its spread over resamples.
    Resampled(Estimate),
}

impl Measured {
    pub(super) fn estimate(&self) -> Estimate {
        match self {
            Measured::Ratio(ratio) => ratio.estimate(),
            Measured::Auc(auc) => Estimate { value: auc.auc, standard_error: auc.variance.sqrt() },
            Measured::Resampled(estimate) => *estimate,
        }
    }
}

/// A metric of one arm, without its error where that would have to be resampled. `None` where it is not defined: no
/// requests, no labels, one class.
pub(super) fn value(sums: &ArmSums, metric: Metric, minor_units: f64) -> Option<f64> {
    match functional(metric) {
        Some(functional) => {
            let (bad, good) = class_bins(sums);
            functional(&bad.weights, &good.weights)
        }
        None => Some(measure(sums, metric, minor_units, Seed(0))?.estimate().value),
    }
}

/// A metric of one arm with its error.
pub(super) fn measure(
    sums: &ArmSums,
    metric: Metric,
    minor_units: f64,
    seed: Seed,
) -> Option<Measured> {
    if let Some(functional) = functional(metric) {
        let (bad, good) = class_bins(sums);
        let value = functional(&bad.weights, &good.weights)?;
        let mut rng = Draws(seed.rng());
        let resample = |rng: &mut Draws, class: &WeightedBins| -> Vec<f64> {
            let bins = class.weights.iter().zip(&class.squares);
            bins.map(|(&w, &w2)| if w > 0.0 { w2 / w * rng.poisson(w * w / w2) } else { 0.0 })
                .collect()
        };
        let draws = (0..RESAMPLES).filter_map(|_| {
            let (bad, good) = (resample(&mut rng, &bad), resample(&mut rng, &good));
            functional(&bad, &good)
        });
        let standard_error = spread(draws)?;
        return Some(Measured::Resampled(Estimate { value, standard_error }));
    }
    if metric == Metric::RocAuc {
        let (bad, good) = class_bins(sums);
        return AucEstimate::from_weights(&bad, &good).map(Measured::Auc);
    }
    let parts = ratio_parts(metric, minor_units)?;
    let clusters = (0..N_BUCKETS).map(|bucket| parts(&|sum| sums.of_bucket(bucket, sum) as f64));
    ClusteredRatio::new(clusters).map(Measured::Ratio)
}

/// Standard error of challenger less champion on the same requests, for a metric of the score's order; the joint counts
/// have coarser bins than the arms, and give no more than the error.
pub(super) fn paired_error(metric: Metric, pair: &PairSums, seed: Seed) -> Option<f64> {
    match functional(metric) {
        Some(functional) => resampled_pair(pair, functional, seed),
        None => AucComparison::paired_from_counts(&pair.bad, &pair.good, PAIR_BINS)
            .map(|comparison| comparison.standard_error),
    }
}

/// Sums of one bucket, by name.
type Bucket<'a> = &'a dyn Fn(Sum) -> f64;

/// Numerator and denominator of a ratio metric; `None` for one that is no ratio.
fn ratio_parts(metric: Metric, minor_units: f64) -> Option<impl Fn(Bucket<'_>) -> (f64, f64)> {
    use Sum::{FalseNegatives, FalsePositives, TrueNegatives, TruePositives};
    let known = !matches!(
        metric,
        Metric::UnitBadRate | Metric::RocAuc | Metric::AveragePrecision | Metric::Ks
    );
    known.then_some(move |sum: Bucket<'_>| {
        let (tp, fp) = (sum(TruePositives), sum(FalsePositives));
        let (tn, fn_) = (sum(TrueNegatives), sum(FalseNegatives));
        let labelled = tp + fp + tn + fn_;
        match metric {
            Metric::BadRate => (tp + fn_, labelled),
            Metric::BadValueRate => (sum(Sum::BadAmount), sum(Sum::Amount)),
            Metric::ApprovalRate => (sum(Sum::Requests) - sum(Sum::Alerts), sum(Sum::Requests)),
            Metric::Accuracy => (tp + tn, labelled),
            Metric::Precision => (tp, tp + fp),
            Metric::Recall => (tp, tp + fn_),
            Metric::F1 => (2.0 * tp, 2.0 * tp + fp + fn_),
            Metric::LogLoss => (sum(Sum::LogLoss) / LOSS_ONE, sum(Sum::Scored)),
            Metric::Brier => (sum(Sum::Brier) / LOSS_ONE, sum(Sum::Scored)),
            Metric::Cost => (sum(Sum::Cost) / minor_units, labelled),
            Metric::Latency => (sum(Sum::Latency) / 1000.0, sum(Sum::Requests)),
            _ => (0.0, 0.0),
        }
    })
}

/// Weights of bad and of good rows by score bin.
fn class_bins(sums: &ArmSums) -> (WeightedBins, WeightedBins) {
    let one = WEIGHT_ONE as f64;
    let scaled = |bins: &[u64], step: f64| bins.iter().map(|&bin| bin as f64 / step).collect();
    let class = |first: usize| WeightedBins {
        weights: scaled(&sums.bins[first], one),
        squares: scaled(&sums.bins[first + 1], one * one),
    };
    debug_assert_eq!(sums.bins[0].len(), N_BINS);
    (class(0), class(2))
}

type Functional = fn(&[f64], &[f64]) -> Option<f64>;

/// Metrics of the score bins that have no closed standard error.
fn functional(metric: Metric) -> Option<Functional> {
    match metric {
        Metric::AveragePrecision => Some(average_precision),
        Metric::Ks => Some(ks),
        _ => None,
    }
}

/// Precision at every bin, from the highest score down, weighted by the recall that it adds.
fn average_precision(bad: &[f64], good: &[f64]) -> Option<f64> {
    let (n_bad, n_good) = (bad.iter().sum::<f64>(), good.iter().sum::<f64>());
    if !(n_bad > 0.0 && n_good > 0.0) {
        return None;
    }
    let (mut found, mut alerts, mut area) = (0.0, 0.0, 0.0);
    for (b, g) in bad.iter().zip(good).rev() {
        found += b;
        alerts += b + g;
        if *b > 0.0 {
            area += b / n_bad * (found / alerts);
        }
    }
    Some(area)
}

/// The largest distance between the shares of bad and of good rows scored at least as high.
fn ks(bad: &[f64], good: &[f64]) -> Option<f64> {
    let (n_bad, n_good) = (bad.iter().sum::<f64>(), good.iter().sum::<f64>());
    if !(n_bad > 0.0 && n_good > 0.0) {
        return None;
    }
    let (mut b_above, mut g_above, mut largest) = (0.0, 0.0, 0.0f64);
    for (b, g) in bad.iter().zip(good).rev() {
        b_above += b / n_bad;
        g_above += g / n_good;
        largest = largest.max((b_above - g_above).abs());
    }
    Some(largest)
}

const RESAMPLES: usize = 200;

/// Standard error of the difference of a functional, resampling the rows of both arms together.
fn resampled_pair(pair: &PairSums, functional: Functional, seed: Seed) -> Option<f64> {
    let mut rng = Draws(seed.rng());
    let filled = |cells: &[u32]| -> Vec<(usize, f64)> {
        let cells = cells.iter().enumerate().filter(|(_, count)| **count > 0);
        cells.map(|(cell, count)| (cell, f64::from(*count))).collect()
    };
    let (bad, good) = (filled(&pair.bad), filled(&pair.good));
    let mut margins = |cells: &[(usize, f64)]| {
        let mut margins = (vec![0.0; PAIR_BINS], vec![0.0; PAIR_BINS]);
        for (cell, count) in cells {
            let drawn = rng.poisson(*count);
            margins.0[cell / PAIR_BINS] += drawn;
            margins.1[cell % PAIR_BINS] += drawn;
        }
        margins
    };
    spread((0..RESAMPLES).filter_map(|_| {
        let ((bad_a, bad_b), (good_a, good_b)) = (margins(&bad), margins(&good));
        Some(functional(&bad_b, &good_b)? - functional(&bad_a, &good_a)?)
    }))
}

/// Standard deviation of the draws; `None` for fewer than half of those that there should be.
fn spread(draws: impl Iterator<Item = f64>) -> Option<f64> {
    let draws: Vec<f64> = draws.collect();
    if 2 * draws.len() < RESAMPLES {
        return None;
    }
    let n = draws.len() as f64;
    let mean = draws.iter().sum::<f64>() / n;
    Some((draws.iter().map(|draw| (draw - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt())
}

/// Draws of a Poisson distribution: a bootstrap in which each row comes a Poisson(1) number of times.
struct Draws(rand_chacha::ChaCha8Rng);

impl Draws {
    /// Uniform within (0, 1).
    fn uniform(&mut self) -> f64 {
        ((self.0.next_u64() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0
    }

    fn poisson(&mut self, mean: f64) -> f64 {
        if mean > 30.0 {
            let draw = mean - mean.sqrt() * normal_isf(self.uniform());
            return draw.round().max(0.0);
        }
        let (limit, mut product, mut n) = ((-mean).exp(), self.uniform(), 0.0);
        while product > limit {
            product *= self.uniform();
            n += 1.0;
        }
        n
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn functionals_of_bins_agree_with_the_ranking_of_rows() {
        let labels = [false, false, true, false, true, true, false];
        let scores = [0.0, 1.0, 1.0, 2.0, 3.0, 3.0, 3.0];
        let ranking = crate::evaluate::Ranking::new(&labels, &scores).unwrap();
        let (mut bad, mut good) = (vec![0.0; 4], vec![0.0; 4]);
        for (label, score) in labels.iter().zip(scores) {
            *(if *label { &mut bad } else { &mut good }).get_mut(score as usize).unwrap() += 1.0;
        }
        let got = average_precision(&bad, &good).unwrap();
        assert!((got - ranking.average_precision()).abs() < 1e-15);
        assert!((ks(&bad, &good).unwrap() - ranking.ks().value).abs() < 1e-15);
        assert_eq!(average_precision(&bad, &[0.0; 4]), None);
    }

    #[test]
    fn draws_have_the_mean_and_variance_of_a_poisson() {
        let mut draws = Draws(Seed(1).rng());
        for mean in [0.5, 4.0, 29.0, 31.0, 500.0] {
            let n = 20_000.0f64;
            let values: Vec<f64> = (0..20_000).map(|_| draws.poisson(mean)).collect();
            let average = values.iter().sum::<f64>() / n;
            let variance = values.iter().map(|v| (v - average).powi(2)).sum::<f64>() / n;
            // Six standard errors; that of the variance is below (mean + 2 mean²)^½ n^-½, rounding adds 1/12.
            assert!((average - mean).abs() < 6.0 * (mean / n).sqrt() + 0.01, "{mean}: {average}");
            let slack = 6.0 * ((mean + 2.0 * mean * mean) / n).sqrt() + 0.1;
            assert!((variance - mean).abs() < slack, "{mean}: {variance}");
        }
    }
}
