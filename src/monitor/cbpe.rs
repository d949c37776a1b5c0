//! How good a model probably is before any label has come.

use serde::{Deserialize, Serialize};

use super::promised::Promised;
use super::triangle::Estimate;
use crate::codec::{Reader, total};
use crate::error::{Error, Result};

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
/// [`merge`](Self::merge), to the same bits in any order. 6 KB. Source: the estimator of NannyML, with the variance of the Poisson-binomial distribution.
#[derive(Debug, Clone, PartialEq)]
pub struct Cbpe {
    passed: Vec<Promised>,
    flagged: Vec<Promised>,
    rejected: u64,
}

impl Default for Cbpe {
    fn default() -> Self {
        let bins = || vec![Promised::default(); BINS];
        Cbpe { passed: bins(), flagged: bins(), rejected: 0 }
    }
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
        side[bin].record(probability);
    }

    /// Adds the rows of another one.
    pub fn merge(&mut self, other: &Cbpe) {
        let add = |mine: &mut [Promised], theirs: &[Promised]| {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine = mine.plus(theirs));
        };
        add(&mut self.passed, &other.passed);
        add(&mut self.flagged, &other.flagged);
        self.rejected = self.rejected.saturating_add(other.rejected);
    }

    /// All counts together.
    pub(super) fn counted(&self) -> u64 {
        let rows = self.passed.iter().chain(&self.flagged).map(|bin| bin.n);
        total(rows.chain([self.rejected]))
    }

    /// Bins that are not empty, each behind its place.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        let bins = || self.passed.iter().chain(&self.flagged).zip(0u32..);
        let filled = || bins().filter(|(bin, _)| bin.n > 0);
        bytes.extend(self.rejected.to_le_bytes());
        bytes.extend((filled().count() as u32).to_le_bytes());
        for (bin, place) in filled() {
            bytes.extend(place.to_le_bytes());
            bin.write(bytes);
        }
    }

    /// What [`write`](Self::write) wrote; the bytes may be hostile.
    pub(super) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let mut read = Cbpe { rejected: reader.count()?, ..Cbpe::default() };
        for _ in 0..reader.len(4)? {
            let place = reader.u32()? as usize;
            let mut bins = read.passed.iter_mut().chain(&mut read.flagged);
            let bin = bins.nth(place);
            let none = || Error::corrupt("monitor counts", "a bin is out of place");
            *bin.ok_or_else(none)? = Promised::read(reader)?;
        }
        Ok(read)
    }

    /// Probabilities that were none.
    pub fn rejected(&self) -> u64 {
        self.rejected
    }

    /// What is to be expected of the rows so far. O(bins).
    pub fn expected(&self) -> ExpectedPerformance {
        let sum = |bins: &[Promised]| bins.iter().fold(Promised::default(), Promised::plus);
        let (below, above) = (sum(&self.passed), sum(&self.flagged));
        let n = below.n + above.n;
        let (hits, missed) = (above.bad(), below.bad());
        let (alarms, passed) = (above.n as f64, below.n as f64);
        let (bad, good) = (hits + missed, alarms + passed - hits - missed);
        let ratio = |part: f64, whole: f64| (whole > 0.0).then(|| part / whole);
        let precision = ratio(hits, alarms);
        let recall = ratio(hits, bad);
        let estimate = |value: Option<f64>, variance: f64| {
            value.map(|value| Estimate { value, standard_error: variance.max(0.0).sqrt() })
        };
        let recall_variance = missed * missed * above.variance() + hits * hits * below.variance();
        let (roc_auc, average_precision) = self.ranking(bad, good);
        ExpectedPerformance {
            n,
            bad_rate: estimate(
                ratio(bad, n as f64),
                (above.variance() + below.variance()) / (n as f64).powi(2),
            ),
            precision: estimate(precision, above.variance() / (alarms * alarms)),
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
            let bad_here = bin.bad();
            let good_here = bin.n as f64 - bad_here;
            pairs += good_here * (bad_above + bad_here / 2.0);
            bad_above += bad_here;
            good_above += good_here;
            precision += bad_here / bad * (bad_above / (bad_above + good_above));
        }
        (Some(pairs / (bad * good)), Some(precision))
    }
}
