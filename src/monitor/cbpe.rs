//! How good a model probably is before any label has come.

use serde::{Deserialize, Serialize};

use super::triangle::Estimate;

/// Bins of probability, of equal width.
const BINS: usize = 64;

/// Confidence-based performance estimation, streaming: if probabilities are calibrated, a row with probability p is bad p
/// times out of one, so expected true and false positives can be summed up without a label.
///
/// Sees changes of the mix of rows (covariate shift) at once. **Blind to new kinds of fraud**: it takes the model's word
/// for what is bad. Compare it with what labels say, corrected for those still to come
/// ([`OutcomeLedger`](super::OutcomeLedger)), by [`Estimate::disagreement`]: that they part is the sign that the world has
/// changed and the model has not noticed.
///
/// Figures of decisions are exact; AUC and average precision take rows within one of 64 bins for ties. Additive:
/// [`merge`](Self::merge). 3 KB. Source: the estimator of NannyML, with the variance of the Poisson-binomial distribution.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cbpe {
    passed: Vec<Bin>,
    flagged: Vec<Bin>,
    rejected: u64,
}

impl Default for Cbpe {
    fn default() -> Self {
        let bins = || vec![Bin::default(); BINS];
        Cbpe { passed: bins(), flagged: bins(), rejected: 0 }
    }
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
    /// Share of bad rows among the flagged.
    pub precision: Option<Estimate>,
    /// Share of the bad rows that are flagged.
    pub recall: Option<Estimate>,
    /// Share of the good rows that are not.
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

impl Bin {
    fn plus(mut self, other: &Bin) -> Bin {
        self.n += other.n;
        self.bad += other.bad;
        self.variance += other.variance;
        self
    }
}

impl Cbpe {
    /// No rows.
    pub fn new() -> Self {
        Cbpe::default()
    }

    /// Takes in the calibrated probability of a row, and whether it was taken for bad. A probability outside `0.0..=1.0`, or
    /// NaN, is counted as rejected. O(1).
    pub fn record(&mut self, probability: f64, flagged: bool) {
        if !(0.0..=1.0).contains(&probability) {
            self.rejected += 1;
            return;
        }
        let bin = ((probability * BINS as f64) as usize).min(BINS - 1);
        let side = if flagged { &mut self.flagged } else { &mut self.passed };
        let variance = probability * (1.0 - probability);
        side[bin] = side[bin].plus(&Bin { n: 1, bad: probability, variance });
    }

    /// Adds the rows of another one.
    pub fn merge(&mut self, other: &Cbpe) {
        let add = |mine: &mut [Bin], theirs: &[Bin]| {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine = mine.plus(theirs));
        };
        add(&mut self.passed, &other.passed);
        add(&mut self.flagged, &other.flagged);
        self.rejected += other.rejected;
    }

    /// Probabilities that were none.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// What is to be expected of the rows so far. O(bins).
    pub fn expected(&self) -> ExpectedPerformance {
        let sum = |bins: &[Bin]| bins.iter().fold(Bin::default(), Bin::plus);
        let (below, above) = (sum(&self.passed), sum(&self.flagged));
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
        let bins =
            self.passed.iter().zip(&self.flagged).map(|(passed, flagged)| passed.plus(flagged));
        for bin in bins.rev().filter(|bin| bin.n > 0) {
            let good_here = bin.n as f64 - bin.bad;
            pairs += good_here * (bad_above + bin.bad / 2.0);
            bad_above += bin.bad;
            good_above += good_here;
            precision += bin.bad / bad * (bad_above / (bad_above + good_above));
        }
        (Some(pairs / (bad * good)), Some(precision))
    }
}
