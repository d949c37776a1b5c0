//! What decisions cost, and the threshold where they cost least.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::evaluate::ranking::Ranking;

/// Decisions at a threshold against what came true; an alert is `score ≥ threshold`.
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
    /// Counts decisions; a NaN score is no alert.
    pub fn at(threshold: f64, labels: &[bool], scores: &[f64]) -> Self {
        let mut counts = ConfusionMatrix::default();
        for (&bad, &score) in labels.iter().zip(scores) {
            *match (bad, score >= threshold) {
                (true, true) => &mut counts.true_positives,
                (false, true) => &mut counts.false_positives,
                (false, false) => &mut counts.true_negatives,
                (true, false) => &mut counts.false_negatives,
            } += 1;
        }
        counts
    }

    /// Share of alerts that are bad; `None` without alerts.
    pub fn precision(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_positives)
    }

    /// Share of bad rows with an alert; `None` without bad rows.
    pub fn recall(&self) -> Option<f64> {
        ratio(self.true_positives, self.true_positives + self.false_negatives)
    }
}

fn ratio(part: u64, whole: u64) -> Option<f64> {
    (whole > 0).then(|| part as f64 / whole as f64)
}

/// What a decision costs, in the currency of the amounts. Rows without an amount count as 0 at stake.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Costs {
    /// Work on one alert, bad or good.
    pub alert: f64,
    /// What a good customer's alert costs on top: friction, churn.
    pub false_positive: f64,
    /// Fixed cost of a bad row that was missed.
    pub missed: f64,
    /// Share of the amount that is lost when a bad row is missed, `0.0..=1.0`.
    pub missed_share_of_amount: f64,
}

/// Work on an alert 10, friction 5, and the whole amount of a missed fraud.
impl Default for Costs {
    fn default() -> Self {
        Costs { alert: 10.0, false_positive: 5.0, missed: 0.0, missed_share_of_amount: 1.0 }
    }
}

/// What a threshold is worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BusinessOutcome {
    /// Alert at and above this score; infinite for none at all, which JSON cannot hold and writes as null.
    pub threshold: f64,
    /// Work, friction and missed losses together.
    pub total_cost: f64,
    /// What would be lost with no alert at all.
    pub cost_without_model: f64,
    /// Losses that alerts prevented.
    pub prevented_loss: f64,
    /// Work and friction of the alerts.
    pub intervention_cost: f64,
    /// (prevented loss − intervention cost) / intervention cost; `None` when alerts cost nothing.
    pub roi: Option<f64>,
}

impl Costs {
    /// # Errors
    /// `InvalidConfig` for a cost that is negative or not finite, or a share outside `0.0..=1.0`.
    pub fn check(&self) -> Result<()> {
        let costs = [self.alert, self.false_positive, self.missed];
        let sound = costs.iter().all(|cost| *cost >= 0.0 && cost.is_finite());
        if !sound || !(0.0..=1.0).contains(&self.missed_share_of_amount) {
            let reason = "costs must be finite and not negative, the share within 0 to 1";
            return Err(Error::config("costs", reason));
        }
        Ok(())
    }

    /// What one decision on one row costs.
    pub fn of(&self, bad: bool, alert: bool, amount: f64) -> f64 {
        match (bad, alert) {
            (true, true) => self.alert,
            (false, true) => self.alert + self.false_positive,
            (true, false) => self.loss(amount),
            (false, false) => 0.0,
        }
    }

    /// What a missed bad row of this amount costs.
    pub fn loss(&self, amount: f64) -> f64 {
        self.missed + self.missed_share_of_amount * amount
    }

    /// What a threshold is worth on these rows; `amounts` may be empty where nothing but fixed costs count.
    ///
    /// # Errors
    /// `InvalidConfig` for unsound costs, `InvalidInput` if the lists differ in length.
    pub fn outcome(
        &self,
        threshold: f64,
        labels: &[bool],
        scores: &[f64],
        amounts: &[f64],
    ) -> Result<BusinessOutcome> {
        self.check_rows(labels, scores, amounts)?;
        let (mut missed, mut prevented, mut intervention) = (0.0, 0.0, 0.0);
        for (row, (&bad, &score)) in labels.iter().zip(scores).enumerate() {
            let amount = amounts.get(row).copied().unwrap_or(0.0);
            match (bad, score >= threshold) {
                (true, false) => missed += self.loss(amount),
                (false, false) => {}
                (bad, true) => {
                    intervention += self.of(bad, true, amount);
                    prevented += if bad { self.loss(amount) } else { 0.0 };
                }
            }
        }
        Ok(BusinessOutcome {
            threshold,
            total_cost: missed + intervention,
            cost_without_model: missed + prevented,
            prevented_loss: prevented,
            intervention_cost: intervention,
            roi: (intervention > 0.0).then(|| (prevented - intervention) / intervention),
        })
    }

    /// The threshold with the least total cost on these rows, among "no alert" (infinity) and every distinct score; the
    /// highest of several. Choose it on other rows than those it is judged by. O(n log n).
    ///
    /// # Errors
    /// As [`outcome`](Self::outcome), and those of [`Ranking::new`].
    pub fn best_threshold(&self, labels: &[bool], scores: &[f64], amounts: &[f64]) -> Result<f64> {
        self.check_rows(labels, scores, amounts)?;
        let ranking = Ranking::new(labels, scores)?;
        // Cost relative to no alert at all, row by row from the highest score; judged where the score changes.
        let (mut best, mut cost) = ((0.0, f64::INFINITY), 0.0);
        let order = ranking.order();
        for (i, &row) in order.iter().enumerate() {
            let row = row as usize;
            let amount = amounts.get(row).copied().unwrap_or(0.0);
            cost += self.of(labels[row], true, amount) - self.of(labels[row], false, amount);
            let last_of_tie =
                order.get(i + 1).is_none_or(|&next| scores[next as usize] != scores[row]);
            if last_of_tie && cost < best.0 {
                best = (cost, scores[row]);
            }
        }
        Ok(best.1)
    }

    fn check_rows(&self, labels: &[bool], scores: &[f64], amounts: &[f64]) -> Result<()> {
        self.check()?;
        if labels.len() != scores.len() || ![0, labels.len()].contains(&amounts.len()) {
            let (n, m, k) = (labels.len(), scores.len(), amounts.len());
            return Err(Error::input("rows", format!("{n} labels, {m} scores, {k} amounts")));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn edges_of_the_cost_model() {
        let costs = Costs { alert: 0.0, false_positive: 0.0, ..Costs::default() };
        let free = costs.outcome(0.5, &[true, false], &[0.9, 0.1], &[100.0, 5.0]).unwrap();
        assert_eq!((free.roi, free.prevented_loss, free.total_cost), (None, 100.0, 0.0));
        // Nothing at stake: the best is no alert.
        let none = Costs::default().best_threshold(&[true, false], &[0.9, 0.1], &[]).unwrap();
        assert_eq!(none, f64::INFINITY);
        assert!(Costs { alert: f64::NAN, ..costs }.check().is_err());
        assert!(costs.outcome(0.5, &[true], &[0.1, 0.2], &[]).is_err());
        assert_eq!(ConfusionMatrix::default().precision(), None);
    }
}
