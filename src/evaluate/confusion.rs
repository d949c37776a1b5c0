//! Decisions at a threshold against what came true.

use serde::{Deserialize, Serialize};

/// Decisions at a threshold against what came true; an alert is `score ≥ threshold`.
///
/// A rate whose denominator is zero is `None`: what it should count as is the caller's choice, and `unwrap_or(0.0)` is
/// scikit-learn's `zero_division=0`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct ConfusionMatrix {
    /// Bad rows with an alert.
    pub true_positives: u64,
    /// Good rows with an alert.
    pub false_positives: u64,
    /// Good rows without.
    pub true_negatives: u64,
    /// Bad rows without.
    pub false_negatives: u64,
}

impl ConfusionMatrix {
    /// Counts decisions; a NaN score is no alert. Rows past the shorter of the lists are left out.
    pub fn at(threshold: f64, labels: &[bool], scores: &[f64]) -> Self {
        let mut counts = [0u64; 4];
        for (&bad, &score) in labels.iter().zip(scores) {
            counts[usize::from(bad) << 1 | usize::from(score >= threshold)] += 1;
        }
        let [true_negatives, false_positives, false_negatives, true_positives] = counts;
        ConfusionMatrix { true_positives, false_positives, true_negatives, false_negatives }
    }

    /// Number of rows.
    pub fn n_rows(&self) -> u64 {
        self.true_positives + self.false_positives + self.true_negatives + self.false_negatives
    }

    /// Share of decisions that were right; `None` without rows.
    pub fn accuracy(&self) -> Option<f64> {
        ratio(self.true_positives + self.true_negatives, self.n_rows())
    }

    /// Mean of recall and specificity; of a single class its own alone. `None` without rows.
    pub fn balanced_accuracy(&self) -> Option<f64> {
        match (self.recall(), self.specificity()) {
            (Some(recall), Some(specificity)) => Some((recall + specificity) / 2.0),
            (one, other) => one.or(other),
        }
    }

    /// Share of alerts that are bad; `None` without alerts.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_positives)
    }

    /// Share of bad rows with an alert (sensitivity, true positive rate); `None` without bad rows.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_negatives)
    }

    /// Share of good rows without an alert (true negative rate); `None` without good rows.
    pub fn specificity(&self) -> Option<f64> {
        ratio(self.true_negatives, self.true_negatives + self.false_positives)
    }

    /// Share of good rows with an alert; `None` without good rows.
    pub fn false_positive_rate(&self) -> Option<f64> {
        ratio(self.false_positives, self.true_negatives + self.false_positives)
    }

    /// Share of all rows with an alert; `None` without rows.
    pub fn alert_rate(&self) -> Option<f64> {
        ratio(self.true_positives + self.false_positives, self.n_rows())
    }

    /// Harmonic mean of precision and recall; `None` without bad rows and alerts.
    pub fn f1(&self) -> Option<f64> {
        self.f_beta(1.0)
    }

    /// Weighted harmonic mean of precision and recall, recall counting `beta` times as much:
    /// (1 + β²) TP / ((1 + β²) TP + β² FN + FP). `None` without bad rows and alerts, or for a `beta` that is not positive.
    pub fn f_beta(&self, beta: f64) -> Option<f64> {
        let squared = beta * beta;
        let hits = (1.0 + squared) * self.true_positives as f64;
        let all = hits + squared * self.false_negatives as f64 + self.false_positives as f64;
        (beta > 0.0 && all > 0.0).then(|| hits / all)
    }

    /// Matthews' correlation of decision and label, `-1.0..=1.0`; `None` where either has one value only.
    pub fn matthews_correlation(&self) -> Option<f64> {
        let [tp, fp, tn, fne] = self.as_numbers();
        let spread = (tp + fp) * (tp + fne) * (tn + fp) * (tn + fne);
        (spread > 0.0).then(|| (tp * tn - fp * fne) / spread.sqrt())
    }

    /// Cohen's kappa: agreement of decision and label beyond what chance would give, at most 1; `None` where chance
    /// alone would agree in every row.
    pub fn kappa(&self) -> Option<f64> {
        let [tp, fp, tn, fne] = self.as_numbers();
        let n = tp + fp + tn + fne;
        let by_chance = ((tp + fp) * (tp + fne) + (tn + fp) * (tn + fne)) / (n * n);
        (by_chance < 1.0).then(|| ((tp + tn) / n - by_chance) / (1.0 - by_chance))
    }

    fn as_numbers(&self) -> [f64; 4] {
        let ConfusionMatrix { true_positives, false_positives, true_negatives, false_negatives } =
            *self;
        [true_positives, false_positives, true_negatives, false_negatives].map(|n| n as f64)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}
