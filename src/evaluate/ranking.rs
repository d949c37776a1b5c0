//! How well scores put bad before good.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::ids::EntityKey;

/// Rows ordered by score, highest first, with rows of equal score kept together: one sort, O(n log n), from which every
/// ranking metric follows in O(n).
#[derive(Debug, Clone)]
pub struct Ranking {
    /// Positions of the rows, highest score first.
    order: Vec<u32>,
    /// One per distinct score, highest first.
    steps: Vec<Step>,
}

/// Rows down to and including one distinct score.
#[derive(Debug, Clone, Copy)]
pub(super) struct Step {
    pub(super) score: f64,
    pub(super) n_bad: u64,
    pub(super) n_good: u64,
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
    /// `InvalidInput` if labels and scores differ in number, or naming the first score that is NaN; `OneClass` without
    /// rows of both labels; `Empty` without rows.
    pub fn new(labels: &[bool], scores: &[f64]) -> Result<Self> {
        if labels.len() != scores.len() {
            let reason = format!("{} for {} labels", scores.len(), labels.len());
            return Err(Error::input("scores", reason));
        }
        if let Some(row) = scores.iter().position(|score| score.is_nan()) {
            return Err(Error::input("scores", format!("row {row} has none (NaN)")));
        }
        if u32::try_from(scores.len()).is_err() {
            return Err(Error::input("scores", "more than 4,294,967,295 rows"));
        }
        let mut order: Vec<u32> = (0..scores.len() as u32).collect();
        let score = |row: u32| scores[row as usize];
        // Equal scores keep row order, so that nothing downstream depends on the sort.
        order.sort_by(|&a, &b| score(b).partial_cmp(&score(a)).expect("no NaN, checked above"));
        let mut steps: Vec<Step> = Vec::new();
        for &row in &order {
            let before = steps.last().copied();
            if before.is_none_or(|step| step.score != score(row)) {
                let (n_bad, n_good) = before.map_or((0, 0), |step| (step.n_bad, step.n_good));
                steps.push(Step { score: score(row), n_bad, n_good });
            }
            let step = steps.last_mut().expect("just pushed, or there before");
            if labels[row as usize] { step.n_bad += 1 } else { step.n_good += 1 }
        }
        let total = steps.last().ok_or_else(|| Error::Empty { what: "ranking".into() })?;
        if total.n_bad == 0 || total.n_good == 0 {
            let label = total.n_good == 0;
            return Err(Error::OneClass { what: "ranking".into(), n_rows: scores.len(), label });
        }
        Ok(Ranking { order, steps })
    }

    pub(super) fn order(&self) -> &[u32] {
        &self.order
    }

    pub(super) fn total(&self) -> Step {
        *self.steps.last().expect("at least one row of each class")
    }

    /// Rows of each distinct score: the score, bad and good rows before it, bad and good rows at it.
    fn groups(&self) -> impl Iterator<Item = (Step, u64, u64)> + '_ {
        let mut before = Step { score: f64::INFINITY, n_bad: 0, n_good: 0 };
        self.steps.iter().map(move |&step| {
            let group = (step, step.n_bad - before.n_bad, step.n_good - before.n_good);
            before = step;
            group
        })
    }

    /// Area under the ROC curve: the chance that a bad row is scored above a good one, a tie counting half.
    pub fn roc_auc(&self) -> f64 {
        let total = self.total();
        // Twice the number of pairs in the right order: a whole number, exact up to 2^128.
        let pairs: u128 = self
            .groups()
            .map(|(step, n_bad, n_good)| {
                let above = 2 * (step.n_bad - n_bad) + n_bad;
                u128::from(n_good) * u128::from(above)
            })
            .sum();
        pairs as f64 / (2.0 * total.n_bad as f64 * total.n_good as f64)
    }

    /// Average precision: precision at every distinct score, weighted by the recall it adds. No interpolation, as in
    /// scikit-learn's `average_precision_score`.
    pub fn average_precision(&self) -> f64 {
        let total = self.total().n_bad as f64;
        self.groups()
            .map(|(step, n_bad, _)| {
                n_bad as f64 / total * (step.n_bad as f64 / (step.n_bad + step.n_good) as f64)
            })
            .sum()
    }

    /// Kolmogorov–Smirnov distance, looked at only between distinct scores.
    pub fn ks(&self) -> Ks {
        let total = self.total();
        let mut ks = Ks { value: 0.0, score: self.steps[0].score };
        for step in &self.steps {
            let bad = step.n_bad as f64 / total.n_bad as f64;
            let good = step.n_good as f64 / total.n_good as f64;
            if (bad - good).abs() > ks.value {
                ks = Ks { value: (bad - good).abs(), score: step.score };
            }
        }
        ks
    }
}

/// Precision among the cards that a team can look at in a day.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CardPrecision {
    /// Cards looked at per day.
    pub k: usize,
    /// Mean over the days.
    pub mean: f64,
    /// Bad cards found divided by `k`, day by day.
    pub by_day: Vec<f64>,
}

/// Card precision at `k` by day (UTC), after the Fraud Detection Handbook: a card's score and label on a day are the
/// highest of its rows; the `k` highest cards are looked at; a bad card that was found leaves the following days. The
/// divisor is `k` even when fewer cards were active. Equal scores: the lower entity key first.
///
/// # Errors
/// `InvalidConfig` for `k` zero; `InvalidInput` if scores and rows differ in number, a score is NaN, or the data set has
/// no times or entities.
pub fn card_precision(data: &Dataset, scores: &[f64], k: usize) -> Result<CardPrecision> {
    if k == 0 {
        return Err(Error::config("card precision", "k must be at least 1"));
    }
    if scores.len() != data.n_rows() || scores.iter().any(|score| score.is_nan()) {
        return Err(Error::input("scores", "one per row is needed, none of them NaN"));
    }
    let (Some(times), Some(entities)) = (data.times(), data.entities()) else {
        return Err(Error::input("data set", "card precision needs times and entities"));
    };
    let mut days: BTreeMap<i64, BTreeMap<EntityKey, (f64, bool)>> = BTreeMap::new();
    for (row, (time, &card)) in times.iter().zip(entities).enumerate() {
        let (score, bad) = (scores[row], data.labels()[row]);
        let cards = days.entry(time.day(0)).or_default();
        let best = cards.entry(card).or_insert((score, bad));
        *best = (best.0.max(score), best.1 || bad);
    }
    let mut found: BTreeSet<EntityKey> = BTreeSet::new();
    let by_day: Vec<f64> = days
        .values()
        .map(|cards| {
            let open = cards.iter().filter(|(card, _)| !found.contains(*card));
            let mut open: Vec<(EntityKey, f64, bool)> =
                open.map(|(&card, &(score, bad))| (card, score, bad)).collect();
            // Stable, and the map was in key order.
            open.sort_by(|a, b| b.1.partial_cmp(&a.1).expect("no NaN, checked above"));
            let hits: Vec<EntityKey> =
                open.iter().take(k).filter(|card| card.2).map(|card| card.0).collect();
            found.extend(&hits);
            hits.len() as f64 / k as f64
        })
        .collect();
    let mean = by_day.iter().sum::<f64>() / by_day.len() as f64;
    Ok(CardPrecision { k, mean, by_day })
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
}
