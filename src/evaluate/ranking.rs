//! How well scores put bad before good.

#[cfg(feature = "parallel")]
use rayon::slice::ParallelSliceMut;
use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Rows ordered by score, highest first, with rows of equal score kept together: one sort, O(n log n), from which every
/// ranking metric follows in O(n).
///
/// Without weights every row counts 1. Memory: 12 bytes a row and 32 per distinct score.
#[derive(Debug, Clone)]
pub struct Ranking {
    /// Highest score first, rows of equal score in row order: twice the row's position, and 1 more for a bad row.
    rows: Vec<u32>,
    /// One per distinct score, highest first.
    steps: Vec<Step>,
}

/// Rows down to and including one distinct score.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) score: f64,
    /// Weight of the bad rows.
    pub(super) bad: f64,
    /// Weight of the good rows.
    pub(super) good: f64,
    /// Number of rows.
    pub(super) n: usize,
}

/// Kolmogorov–Smirnov distance between the scores of bad and good rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Ks {
    /// Largest distance between the shares of bad and of good rows scored at least as high, `0.0..=1.0`.
    pub value: f64,
    /// The score where it is reached; the highest one where several do.
    pub score: f64,
}

impl Ranking {
    /// Orders rows by score.
    ///
    /// # Errors
    /// `InvalidInput` if labels and scores differ in number, naming the first score that is NaN, or for more than
    /// 2,147,483,647 rows; `OneClass` without rows of both labels; `Empty` without rows.
    pub fn new(labels: &[bool], scores: &[f64]) -> Result<Self> {
        Ranking::of(&sorted(labels, scores)?, |_| 1.0)
    }

    /// Orders rows that count as much as they weigh.
    ///
    /// # Errors
    /// As [`new`](Self::new); `InvalidInput` unless there is a weight per row, finite and not negative; `OneClass` if all
    /// rows of a label weigh 0.
    pub fn weighted(labels: &[bool], scores: &[f64], weights: &[f64]) -> Result<Self> {
        check_weights(weights, labels.len())?;
        Ranking::of(&sorted(labels, scores)?, |row| weights[row])
    }

    /// The same rows with other weights, one per row as in [`weighted`](Self::weighted), without sorting again; `None` if
    /// all rows of a label weigh 0. What resampling is made of. O(n).
    pub(super) fn reweighted(&self, weights: &[f64]) -> Option<Self> {
        let (mut start, mut total) = (0, (0.0, 0.0));
        let mut steps = Vec::with_capacity(self.steps.len());
        for step in &self.steps {
            for &row in &self.rows[start..step.n] {
                let side = if row & 1 == 1 { &mut total.0 } else { &mut total.1 };
                *side += weights[(row >> 1) as usize];
            }
            start = step.n;
            steps.push(Step { bad: total.0, good: total.1, ..*step });
        }
        let both = total.0 > 0.0 && total.1 > 0.0;
        both.then(|| Ranking { rows: self.rows.clone(), steps })
    }

    fn of(sorted: &[u128], weight: impl Fn(usize) -> f64) -> Result<Self> {
        let mut steps: Vec<Step> = Vec::with_capacity(sorted.len());
        let mut now = Step { score: f64::NAN, bad: 0.0, good: 0.0, n: 0 };
        for &word in sorted {
            let score = score_of(word);
            if score != now.score && now.n > 0 {
                steps.push(now);
            }
            let row = word as u32;
            let side = if row & 1 == 1 { &mut now.bad } else { &mut now.good };
            *side += weight((row >> 1) as usize);
            (now.score, now.n) = (score, now.n + 1);
        }
        if now.n == 0 {
            return Err(Error::Empty { what: "ranking".into() });
        }
        if now.bad == 0.0 || now.good == 0.0 {
            let label = now.good == 0.0;
            return Err(Error::OneClass { what: "ranking".into(), n_rows: now.n, label });
        }
        steps.push(now);
        steps.shrink_to_fit();
        Ok(Ranking { rows: sorted.iter().map(|&word| word as u32).collect(), steps })
    }

    /// Positions of the rows, highest score first, rows of equal score in row order.
    pub(super) fn order(&self) -> impl ExactSizeIterator<Item = usize> + '_ {
        self.rows.iter().map(|row| (row >> 1) as usize)
    }

    /// One per distinct score, highest first.
    pub(super) fn steps(&self) -> &[Step] {
        &self.steps
    }

    pub(super) fn total(&self) -> Step {
        *self.steps.last().expect("at least one row of each class")
    }

    /// Rows of each distinct score: the score, bad and good rows down to it, bad and good rows at it.
    pub(super) fn groups(&self) -> impl Iterator<Item = (Step, f64, f64)> + '_ {
        let mut before = (0.0, 0.0);
        self.steps.iter().map(move |&step| {
            let group = (step, step.bad - before.0, step.good - before.1);
            before = (step.bad, step.good);
            group
        })
    }

    /// Area under the ROC curve: the chance that a bad row is scored above a good one, a tie counting half. Exact without
    /// weights while the product of bad and good rows stays below 2⁵².
    pub fn roc_auc(&self) -> f64 {
        let total = self.total();
        let pairs: f64 = self.groups().map(|(step, bad, good)| good * (step.bad - 0.5 * bad)).sum();
        pairs / (total.bad * total.good)
    }

    /// Gini coefficient (accuracy ratio, Somers' D): 2 · AUC − 1.
    pub fn gini(&self) -> f64 {
        2.0 * self.roc_auc() - 1.0
    }

    /// Average precision: precision at every distinct score, weighted by the recall it adds. No interpolation, as in
    /// scikit-learn's `average_precision_score`.
    pub fn average_precision(&self) -> f64 {
        let total = self.total().bad;
        let with_bad = self.groups().filter(|(_, bad, _)| *bad > 0.0);
        with_bad.map(|(step, bad, _)| bad / total * (step.bad / (step.bad + step.good))).sum()
    }

    /// Kolmogorov–Smirnov distance, looked at only between distinct scores.
    pub fn ks(&self) -> Ks {
        let total = self.total();
        let mut ks = Ks { value: 0.0, score: self.steps[0].score };
        for step in &self.steps {
            let distance = (step.bad / total.bad - step.good / total.good).abs();
            if distance > ks.value {
                ks = Ks { value: distance, score: step.score };
            }
        }
        ks
    }
}

pub(super) fn check_weights(weights: &[f64], n_rows: usize) -> Result<()> {
    if weights.len() != n_rows {
        let reason = format!("{} for {n_rows} labels", weights.len());
        return Err(Error::input("weights", reason));
    }
    match weights.iter().position(|weight| !(*weight >= 0.0 && weight.is_finite())) {
        Some(row) => {
            let reason =
                format!("row {row} weighs {}; it must be finite, not negative", weights[row]);
            Err(Error::input("weights", reason))
        }
        None => Ok(()),
    }
}

/// A word per row, highest score first, rows of equal score in row order. Its upper half is the score, see [`descending`],
/// its lowest quarter twice the row's position, and 1 more for a bad row.
fn sorted(labels: &[bool], scores: &[f64]) -> Result<Vec<u128>> {
    if labels.len() != scores.len() {
        let reason = format!("{} for {} labels", scores.len(), labels.len());
        return Err(Error::input("scores", reason));
    }
    if let Some(row) = scores.iter().position(|score| score.is_nan()) {
        return Err(Error::input("scores", format!("row {row} has none (NaN)")));
    }
    if scores.len() > (u32::MAX / 2) as usize {
        return Err(Error::input("scores", "more than 2,147,483,647 rows"));
    }
    // Words that hold all there is to know sort several times faster than rows by a look at their scores, for which memory is
    // asked at random (1,000,000 rows on one core: 33 ms against 110). They are distinct, so that an unstable sort has one
    // outcome whatever the number of threads.
    let rows = labels.iter().zip(scores).zip(0u32..);
    let word = |((&bad, &score), row): ((&bool, &f64), u32)| {
        u128::from(descending(score)) << 64 | u128::from(row << 1 | u32::from(bad))
    };
    let mut words: Vec<u128> = rows.map(word).collect();
    #[cfg(feature = "parallel")]
    words.par_sort_unstable();
    #[cfg(not(feature = "parallel"))]
    words.sort_unstable();
    Ok(words)
}

const SIGN: u64 = 1 << 63;

/// A whole number that falls as the score, not NaN, rises; the same for 0 and −0.
fn descending(score: f64) -> u64 {
    let bits = (score + 0.0).to_bits();
    !if bits & SIGN == 0 { bits | SIGN } else { !bits }
}

/// The score whose [`descending`] number is a word's upper half.
fn score_of(word: u128) -> f64 {
    let ascending = !((word >> 64) as u64);
    f64::from_bits(if ascending & SIGN == 0 { !ascending } else { ascending & !SIGN })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn input_without_a_ranking_is_refused() {
        assert!(matches!(Ranking::new(&[], &[]), Err(Error::Empty { .. })));
        assert!(matches!(Ranking::new(&[true], &[0.5]), Err(Error::OneClass { label: true, .. })));
        let error = Ranking::new(&[true, false], &[0.5, f64::NAN]).unwrap_err();
        assert!(error.to_string().contains("row 1"), "{error}");
        assert!(Ranking::new(&[true, false], &[0.5]).is_err());
    }

    #[test]
    fn infinite_scores_rank_and_minus_zero_ties_with_zero() {
        let ranking = Ranking::new(&[true, false], &[f64::INFINITY, f64::NEG_INFINITY]).unwrap();
        assert_eq!(ranking.roc_auc(), 1.0);
        assert_eq!(Ranking::new(&[true, false], &[0.0, -0.0]).unwrap().roc_auc(), 0.5);
    }

    #[test]
    fn a_weight_is_as_good_as_so_many_copies() {
        let (labels, scores) = ([true, false, true, false], [0.3, 0.3, 0.1, 0.2]);
        let weights = [2.0, 1.0, 0.0, 3.0];
        let labels_of_copies = [true, true, false, false, false, false];
        let copies = Ranking::new(&labels_of_copies, &[0.3, 0.3, 0.3, 0.2, 0.2, 0.2]).unwrap();
        let plain = Ranking::new(&labels, &scores).unwrap();
        for weighted in [
            Ranking::weighted(&labels, &scores, &weights).unwrap(),
            plain.reweighted(&weights).unwrap(),
        ] {
            assert_eq!(weighted.roc_auc(), copies.roc_auc());
            assert_eq!(weighted.average_precision(), copies.average_precision());
            assert_eq!(weighted.ks(), copies.ks());
        }
        assert!(plain.reweighted(&[0.0, 1.0, 0.0, 1.0]).is_none());
        let no_bad = Ranking::weighted(&labels, &scores, &[0.0, 1.0, 0.0, 1.0]);
        assert!(matches!(no_bad, Err(Error::OneClass { label: false, .. })));
        assert!(Ranking::weighted(&labels, &scores, &[1.0; 3]).is_err());
        assert!(Ranking::weighted(&labels, &scores, &[1.0, -1.0, 1.0, 1.0]).is_err());
    }
}
