//! How good a model probably is before any label has come.

use serde::{Deserialize, Serialize};

use super::maturity::Estimate;
use crate::error::{Error, Result};

/// Bins of probability, of equal width; one more where the threshold splits one.
const BINS: usize = 64;

/// Confidence-based performance estimation, streaming: if probabilities are calibrated, a row with probability p is bad p
/// times out of one, so expected true and false positives can be summed up without a label.
///
/// Sees changes of the mix of rows (covariate shift) at once. **Blind to new kinds of fraud**: it takes the model's word
/// for what is bad. Compare it with what labels say, corrected for those still to come
/// ([`OutcomeLedger`](super::OutcomeLedger)), by [`Estimate::disagreement`]: that they part is the sign that the world has
/// changed and the model has not noticed.
///
/// Figures at the threshold are exact; AUC and average precision take rows within one of 64 bins for ties. Additive:
/// [`merge`](Self::merge). 1.6 KB. Source: the estimator of NannyML, with the variance of the Poisson-binomial distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cbpe {
    threshold: f64,
    bins: Vec<Bin>,
    rejected: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Bin {
    n: u64,
    /// Σ p.
    bad: f64,
    /// Σ p (1 − p).
    variance: f64,
}

/// What [`Cbpe`] expects. Each figure is `None` where it is not defined.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ExpectedPerformance {
    /// Rows.
    pub n: u64,
    /// Share of bad rows.
    pub bad_rate: Option<Estimate>,
    /// Share of bad rows among those at or above the threshold.
    pub precision: Option<Estimate>,
    /// Share of the bad rows that are at or above the threshold.
    pub recall: Option<Estimate>,
    /// Share of the good rows that are below the threshold.
    pub specificity: Option<f64>,
    /// Share of right decisions.
    pub accuracy: Option<f64>,
    /// Harmonic mean of precision and recall.
    pub f1: Option<f64>,
    /// Area under the ROC curve.
    pub roc_auc: Option<f64>,
    /// Average precision.
    pub average_precision: Option<f64>,
}

impl Cbpe {
    /// For decisions at `threshold`: a row at or above it is taken for bad.
    ///
    /// # Errors
    /// `InvalidConfig` for NaN.
    pub fn new(threshold: f64) -> Result<Self> {
        if threshold.is_nan() {
            return Err(Error::config("CBPE", "needs a threshold"));
        }
        Ok(Cbpe { threshold, bins: vec![Bin::default(); BINS + 1], rejected: 0 })
    }

    /// Takes in the calibrated probability of a row. One outside `0.0..=1.0`, or NaN, is counted as rejected. O(1).
    pub fn record(&mut self, probability: f64) {
        if !(0.0..=1.0).contains(&probability) {
            self.rejected += 1;
            return;
        }
        let bin = ((probability * BINS as f64) as usize).min(BINS - 1);
        // All bins above the threshold move up by one, so that no bin lies on both sides of it.
        let bin = bin + usize::from(probability >= self.threshold);
        if let Some(bin) = self.bins.get_mut(bin) {
            bin.n += 1;
            bin.bad += probability;
            bin.variance += probability * (1.0 - probability);
        }
    }

    /// Adds the rows of another one.
    ///
    /// # Errors
    /// `InvalidInput` for another threshold.
    pub fn merge(&mut self, other: &Cbpe) -> Result<()> {
        if self.threshold.to_bits() != other.threshold.to_bits() {
            let reason = format!("{} and {}", self.threshold, other.threshold);
            return Err(Error::input("thresholds", reason));
        }
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            mine.n += theirs.n;
            mine.bad += theirs.bad;
            mine.variance += theirs.variance;
        }
        self.rejected += other.rejected;
        Ok(())
    }

    /// Probabilities that were none.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// What is to be expected of the rows so far. O(bins).
    pub fn expected(&self) -> ExpectedPerformance {
        // A bin beyond the threshold's own holds rows above it only, one before it rows below only.
        let split = ((self.threshold * BINS as f64).clamp(0.0, BINS as f64 - 1.0)) as usize;
        let split = if self.threshold > 1.0 { BINS } else { split };
        let sum = |bins: &[Bin]| {
            bins.iter().fold(Bin::default(), |sum, bin| Bin {
                n: sum.n + bin.n,
                bad: sum.bad + bin.bad,
                variance: sum.variance + bin.variance,
            })
        };
        let (below, above) = (sum(&self.bins[..=split]), sum(&self.bins[split + 1..]));
        let n = below.n + above.n;
        let (hits, missed) = (above.bad, below.bad);
        let (alarms, passed) = (above.n as f64, below.n as f64);
        let (bad, good) = (hits + missed, alarms + passed - hits - missed);
        let ratio = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let precision = ratio(hits, alarms);
        let recall = ratio(hits, bad);
        let estimate = |value: Option<f64>, variance: f64| {
            value.map(|value| Estimate { value, standard_error: variance.max(0.0).sqrt() })
        };
        let recall_variance = missed * missed * above.variance + hits * hits * below.variance;
        let (roc_auc, average_precision) = self.ranking(bad, good);
        ExpectedPerformance {
            n,
            bad_rate: estimate(
                ratio(bad, n as f64),
                (above.variance + below.variance) / (n as f64).powi(2),
            ),
            precision: estimate(precision, above.variance / (alarms * alarms)),
            recall: estimate(recall, recall_variance / bad.powi(4)),
            specificity: ratio(passed - missed, good),
            accuracy: ratio(hits + passed - missed, n as f64),
            f1: ratio(2.0 * hits, alarms + bad),
            roc_auc,
            average_precision,
        }
    }

    fn ranking(&self, bad: f64, good: f64) -> (Option<f64>, Option<f64>) {
        if bad <= 0.0 || good <= 0.0 {
            return (None, None);
        }
        let (mut pairs, mut precision) = (0.0, 0.0);
        let (mut bad_above, mut good_above) = (0.0, 0.0);
        for bin in self.bins.iter().rev().filter(|bin| bin.n > 0) {
            let good_here = bin.n as f64 - bin.bad;
            pairs += good_here * (bad_above + bin.bad / 2.0);
            bad_above += bin.bad;
            good_above += good_here;
            precision += bin.bad / bad * (bad_above / (bad_above + good_above));
        }
        (Some(pairs / (bad * good)), Some(precision))
    }
}
