//! What decisions cost, and the threshold where they cost least.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::evaluate::ranking::Ranking;

/// What a decision costs, in the currency of the amounts: a cost matrix whose cells may grow with the amount. Rows without
/// an amount count as 0 at stake.
///
/// | | alert | no alert |
/// |---|---|---|
/// | bad | `alert` | `missed` + `missed_share_of_amount` · amount |
/// | good | `alert` + `false_positive` | `passed` + `passed_share_of_amount` · amount |
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
    /// Fixed cost of a good row without an alert, below 0 for what it earns.
    pub passed: f64,
    /// The same as a share of the amount, `-1.0..=1.0`: −0.03 for a margin of 3 %.
    pub passed_share_of_amount: f64,
}

/// Work on an alert 10, friction 5, and the whole amount of a missed fraud.
impl Default for Costs {
    fn default() -> Self {
        Costs {
            alert: 10.0,
            false_positive: 5.0,
            missed: 0.0,
            missed_share_of_amount: 1.0,
            passed: 0.0,
            passed_share_of_amount: 0.0,
        }
    }
}

/// What a threshold is worth.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BusinessOutcome {
    /// Alert at and above this score; infinite for none at all, which JSON cannot hold and writes as null.
    pub threshold: f64,
    /// Cost of all decisions.
    pub total_cost: f64,
    /// Cost with no alert at all.
    pub cost_without_model: f64,
    /// Cost with an alert on every row.
    pub cost_alerting_all: f64,
    /// Losses that alerts prevented.
    pub prevented_loss: f64,
    /// Work and friction of the alerts, and what alerted good rows would have earned.
    pub intervention_cost: f64,
    /// (prevented loss − intervention cost) / intervention cost; `None` when alerts cost nothing.
    pub roi: Option<f64>,
    /// Share of the cost of the better of the two trivial policies (no alert, every row) that the decisions save; below 0
    /// where they are worse. `None` unless that cost is above 0. Source: Bahnsen et al. 2014.
    pub savings: Option<f64>,
}

/// Cost of one threshold.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CostPoint {
    /// Alert at and above this score; infinite for no alert, which JSON writes as null.
    pub threshold: f64,
    /// Rows with an alert.
    pub alerts: u64,
    /// Cost of all decisions.
    pub total_cost: f64,
}

impl Costs {
    /// # Errors
    /// `InvalidConfig` for a cost of an alert or a miss that is negative, anything not finite, or a share outside its
    /// range.
    pub fn check(&self) -> Result<()> {
        let costs = [self.alert, self.false_positive, self.missed];
        let sound = costs.iter().all(|cost| *cost >= 0.0 && cost.is_finite());
        if !sound || !(0.0..=1.0).contains(&self.missed_share_of_amount) {
            let reason = "costs must be finite and not negative, the share within 0 to 1";
            return Err(Error::config("costs", reason));
        }
        if !self.passed.is_finite() || !(-1.0..=1.0).contains(&self.passed_share_of_amount) {
            let reason = "passed must be finite, its share of the amount within -1 to 1";
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
            (false, false) => self.passed + self.passed_share_of_amount * amount,
        }
    }

    /// What a missed bad row of this amount costs.
    pub fn loss(&self, amount: f64) -> f64 {
        self.missed + self.missed_share_of_amount * amount
    }

    /// The probability of bad from which an alert on a row of this amount costs less than none, on average; `None` where it
    /// never does. With fixed costs it is C_FP / (C_FP + C_FN), each over that of the right decision. It takes a
    /// calibrated probability. Source: Elkan 2001.
    pub fn break_even_probability(&self, amount: f64) -> Option<f64> {
        let on_good = self.of(false, true, amount) - self.of(false, false, amount);
        let on_bad = self.of(true, false, amount) - self.of(true, true, amount);
        if on_good <= 0.0 {
            return Some(0.0); // an alert costs a good row nothing
        }
        (on_bad > 0.0).then(|| on_good / (on_good + on_bad))
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
        let (mut none, mut all) = (0.0, 0.0);
        let (mut prevented, mut intervention, mut total) = (0.0, 0.0, 0.0);
        for (row, (&bad, &score)) in labels.iter().zip(scores).enumerate() {
            let amount = amounts.get(row).copied().unwrap_or(0.0);
            let (alert, pass) = (self.of(bad, true, amount), self.of(bad, false, amount));
            none += pass;
            all += alert;
            if score >= threshold {
                total += alert;
                prevented += if bad { pass } else { 0.0 };
                intervention += if bad { alert } else { alert - pass };
            } else {
                total += pass;
            }
        }
        let trivial = f64::min(none, all);
        Ok(BusinessOutcome {
            threshold,
            total_cost: total,
            cost_without_model: none,
            cost_alerting_all: all,
            prevented_loss: prevented,
            intervention_cost: intervention,
            roi: (intervention > 0.0).then(|| (prevented - intervention) / intervention),
            savings: (trivial > 0.0).then(|| 1.0 - total / trivial),
        })
    }

    /// What every threshold costs: no alert at all, then every distinct score, highest first. O(n log n).
    ///
    /// # Errors
    /// As [`outcome`](Self::outcome), and those of [`Ranking::new`].
    pub fn curve(
        &self,
        labels: &[bool],
        scores: &[f64],
        amounts: &[f64],
    ) -> Result<Vec<CostPoint>> {
        self.check_rows(labels, scores, amounts)?;
        let ranking = Ranking::new(labels, scores)?;
        let amount = |row: usize| amounts.get(row).copied().unwrap_or(0.0);
        let none: f64 = (0..labels.len()).map(|row| self.of(labels[row], false, amount(row))).sum();
        let mut curve = vec![CostPoint { threshold: f64::INFINITY, alerts: 0, total_cost: none }];
        let mut order = ranking.order();
        // Relative to no alert: sums of whole numbers stay whole, however large the losses behind them.
        let mut cost = 0.0;
        for step in ranking.steps() {
            let first = curve.last().expect("starts with one").alerts as usize;
            for row in order.by_ref().take(step.n - first) {
                cost += self.of(labels[row], true, amount(row))
                    - self.of(labels[row], false, amount(row));
            }
            let (threshold, alerts) = (step.score, step.n as u64);
            curve.push(CostPoint { threshold, alerts, total_cost: none + cost });
        }
        Ok(curve)
    }

    /// The threshold with the least total cost on these rows, among "no alert" (infinity) and every distinct score; the
    /// highest of several. Choose it on other rows than those it is judged by. O(n log n).
    ///
    /// # Errors
    /// As [`curve`](Self::curve).
    pub fn best_threshold(&self, labels: &[bool], scores: &[f64], amounts: &[f64]) -> Result<f64> {
        let curve = self.curve(labels, scores, amounts)?;
        let mut best = curve[0];
        for point in &curve[1..] {
            if point.total_cost < best.total_cost {
                best = *point;
            }
        }
        Ok(best.threshold)
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
    }

    #[test]
    fn what_a_good_row_earns_is_part_of_the_cost_of_an_alert() {
        // Credit: a bad loan loses 45 % of its amount, a good one earns 3 %, looking at one costs 2.
        let costs = Costs {
            alert: 2.0,
            false_positive: 0.0,
            missed_share_of_amount: 0.45,
            passed_share_of_amount: -0.03,
            ..Costs::default()
        };
        let (labels, scores, amounts) =
            ([true, false, false], [0.9, 0.8, 0.1], [100.0, 50.0, 200.0]);
        let outcome = costs.outcome(0.5, &labels, &scores, &amounts).unwrap();
        assert_eq!(outcome.cost_without_model, 45.0 - 1.5 - 6.0);
        assert_eq!(outcome.total_cost, 2.0 + 2.0 - 6.0);
        assert_eq!((outcome.prevented_loss, outcome.intervention_cost), (45.0, 2.0 + 3.5));
        let sum = outcome.cost_without_model - outcome.prevented_loss + outcome.intervention_cost;
        assert!((sum - outcome.total_cost).abs() < 1e-12);
        let p = costs.break_even_probability(100.0).unwrap();
        assert!((p - 5.0 / 48.0).abs() < 1e-15, "{p}"); // (2 + 3) / (2 + 3 + 45 − 2)
        assert_eq!(Costs::default().break_even_probability(5.0), None); // an alert costs 10
        assert!(Costs { passed: f64::NAN, ..costs }.check().is_err());
        assert!(Costs { passed_share_of_amount: -1.5, ..costs }.check().is_err());
    }
}
