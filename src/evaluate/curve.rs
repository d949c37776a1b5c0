//! The curves and tables of a ranking: ROC, precision–recall, gains, the top of the list.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::evaluate::ranking::Ranking;

/// Rates when every row scored at least `score` raises an alert.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct RankPoint {
    /// The lowest score that raises an alert; infinite for no alert at all, which JSON writes as null.
    pub score: f64,
    /// Share of the bad rows with an alert: recall, true positive rate.
    pub recall: f64,
    /// Share of the good rows with an alert: false positive rate.
    pub false_positive_rate: f64,
    /// Share of the alerts that are bad; 1 for no alert at all, as scikit-learn has it.
    pub precision: f64,
    /// Share of all rows with an alert.
    pub alert_rate: f64,
}

/// One group of a gains table, the rows of highest score first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GainsRow {
    /// Weight of the rows; their number where they do not weigh.
    pub rows: f64,
    /// Of these, bad.
    pub bad: f64,
    /// Lowest score in the group.
    pub min_score: f64,
    /// Highest score in the group.
    pub max_score: f64,
    /// Share of the group that is bad.
    pub bad_rate: f64,
    /// Share of all bad rows in this group and those above.
    pub cumulative_bad_share: f64,
    /// Share of all good rows in this group and those above.
    pub cumulative_good_share: f64,
    /// Distance between the two.
    pub ks: f64,
    /// Bad rate of the group over that of all rows.
    pub lift: f64,
    /// Bad rate of this group and those above over that of all rows.
    pub cumulative_lift: f64,
}

impl Ranking {
    /// The ROC and precision–recall curves in one: a point for no alert at all, then one per distinct score, highest
    /// first. O(n).
    pub fn curve(&self) -> Vec<RankPoint> {
        let total = self.total();
        let none = RankPoint {
            score: f64::INFINITY,
            recall: 0.0,
            false_positive_rate: 0.0,
            precision: 1.0,
            alert_rate: 0.0,
        };
        let points = self.steps().iter().map(|step| {
            let alerts = step.bad + step.good;
            RankPoint {
                score: step.score,
                recall: step.bad / total.bad,
                false_positive_rate: step.good / total.good,
                precision: if alerts > 0.0 { step.bad / alerts } else { 1.0 },
                alert_rate: alerts / (total.bad + total.good),
            }
        });
        std::iter::once(none).chain(points).collect()
    }

    /// Area under the ROC curve up to a false positive rate, McClish's standardisation: 0.5 for chance, 1 for a perfect
    /// ranking, whatever the limit. The curve is straight between distinct scores. Source: McClish 1989.
    ///
    /// # Errors
    /// `InvalidConfig` unless the limit lies within `(0.0, 1.0]`.
    pub fn partial_roc_auc(&self, max_false_positive_rate: f64) -> Result<f64> {
        let limit = check_rate("false positive rate", max_false_positive_rate)?;
        let (mut area, mut from) = (0.0, (0.0, 0.0));
        for point in self.curve().into_iter().skip(1) {
            let to = (point.false_positive_rate, point.recall);
            if to.0 >= limit {
                let share = if to.0 > from.0 { (limit - from.0) / (to.0 - from.0) } else { 0.0 };
                let recall = from.1 + share * (to.1 - from.1);
                area += (limit - from.0) * (from.1 + recall) / 2.0;
                break;
            }
            area += (to.0 - from.0) * (from.1 + to.1) / 2.0;
            from = to;
        }
        let chance = limit * limit / 2.0;
        Ok(0.5 * (1.0 + (area - chance) / (limit - chance)))
    }

    /// The largest share of bad rows that a threshold catches while at most this share of good rows raises an alert; rows
    /// of equal score raise alerts together.
    ///
    /// # Errors
    /// `InvalidConfig` unless the rate lies within `(0.0, 1.0]`.
    pub fn recall_at_false_positive_rate(&self, rate: f64) -> Result<f64> {
        let most = check_rate("false positive rate", rate)? * self.total().good;
        // A whole number of rows that equals the limit must not fall to rounding.
        let within = self.steps().iter().take_while(|step| step.good <= most * (1.0 + 1e-12));
        Ok(within.last().map_or(0.0, |step| step.bad / self.total().bad))
    }

    /// Share of bad among the `k` rows of highest score. Where rows of equal score straddle the end of the list, it is the
    /// expectation over which of them are taken.
    ///
    /// # Errors
    /// `InvalidConfig` unless `k` lies between 1 and the number of rows.
    pub fn precision_at(&self, k: usize) -> Result<f64> {
        Ok(self.bad_among(k)? / k as f64)
    }

    /// Share of all bad rows that are among the `k` rows of highest score; ties as in [`precision_at`](Self::precision_at).
    ///
    /// # Errors
    /// `InvalidConfig` unless `k` lies between 1 and the number of rows.
    pub fn recall_at(&self, k: usize) -> Result<f64> {
        Ok(self.bad_among(k)? / self.total().bad)
    }

    /// How many times the bad rate of all rows the best-scored share of them has. The share is rounded up to whole rows;
    /// ties as in [`precision_at`](Self::precision_at).
    ///
    /// # Errors
    /// `InvalidConfig` unless the share lies within `(0.0, 1.0]`.
    pub fn lift_at(&self, share: f64) -> Result<f64> {
        let total = self.total();
        let rows = check_rate("share", share)? * total.n as f64;
        let k = ((rows - 1e-9).ceil() as usize).max(1); // 0.1 × 30 is 3, not the 3.0000000000000004 of floats
        Ok(self.precision_at(k)? * (total.bad + total.good) / total.bad)
    }

    /// Bad rows (or their weight) among the first `k` rows, which count as rows whatever they weigh.
    fn bad_among(&self, k: usize) -> Result<f64> {
        let n = self.total().n;
        if k == 0 || k > n {
            return Err(Error::config("k", format!("{k} is not between 1 and the {n} rows")));
        }
        let last = self.steps().partition_point(|step| step.n < k);
        let (bad, before) = match last.checked_sub(1).map(|i| self.steps()[i]) {
            Some(step) => (step.bad, step.n),
            None => (0.0, 0),
        };
        let step = self.steps()[last];
        let taken = (k - before) as f64 / (step.n - before) as f64;
        Ok(bad + taken * (step.bad - bad))
    }

    /// The gains (decile) table: `groups` groups of as nearly as possible equal weight, those of highest score first. Rows
    /// of equal score stay together, in the group that the first of them falls into, so there may be fewer groups.
    ///
    /// # Errors
    /// `InvalidConfig` for no groups.
    pub fn gains(&self, groups: usize) -> Result<Vec<GainsRow>> {
        if groups == 0 {
            return Err(Error::config("gains table", "needs at least one group"));
        }
        let total = self.total();
        let (all, overall) = (total.bad + total.good, total.bad / (total.bad + total.good));
        let mut table: Vec<GainsRow> = Vec::with_capacity(groups);
        let (mut from, mut max_score) = ((0.0, 0.0), None);
        let mut closed = 0;
        for (i, step) in self.steps().iter().enumerate() {
            max_score.get_or_insert(step.score);
            let reached = step.bad + step.good;
            let group = (reached / all * groups as f64 * (1.0 + 1e-12)) as usize;
            if (group == closed && i + 1 < self.steps().len()) || reached == from.0 + from.1 {
                continue;
            }
            let (bad, rows) = (step.bad - from.0, reached - from.0 - from.1);
            let (bad_share, good_share) = (step.bad / total.bad, step.good / total.good);
            table.push(GainsRow {
                rows,
                bad,
                min_score: step.score,
                max_score: max_score.take().expect("set at the top of the loop"),
                bad_rate: bad / rows,
                cumulative_bad_share: bad_share,
                cumulative_good_share: good_share,
                ks: (bad_share - good_share).abs(),
                lift: bad / rows / overall,
                cumulative_lift: step.bad / reached / overall,
            });
            (from, closed) = ((step.bad, step.good), group);
        }
        Ok(table)
    }
}

fn check_rate(what: &'static str, rate: f64) -> Result<f64> {
    if rate > 0.0 && rate <= 1.0 {
        return Ok(rate);
    }
    Err(Error::config(what, format!("{rate} is not above 0 and at most 1")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_at_the_end_of_the_list_are_shared_out() {
        let labels = [true, true, false, false, true];
        let ranking = Ranking::new(&labels, &[0.9, 0.5, 0.5, 0.5, 0.1]).unwrap();
        assert_eq!(ranking.precision_at(1).unwrap(), 1.0);
        assert_eq!(ranking.precision_at(2).unwrap(), (1.0 + 1.0 / 3.0) / 2.0);
        assert_eq!(ranking.recall_at(4).unwrap(), 2.0 / 3.0);
        assert_eq!(ranking.recall_at(5).unwrap(), 1.0);
        assert!(ranking.precision_at(0).is_err() && ranking.precision_at(6).is_err());
    }

    #[test]
    fn a_tied_score_is_one_group_of_the_gains_table() {
        let labels = [true, false, true, false, false, false];
        let ranking = Ranking::new(&labels, &[0.5, 0.5, 0.5, 0.5, 0.2, 0.1]).unwrap();
        let table = ranking.gains(3).unwrap();
        let sizes: Vec<f64> = table.iter().map(|row| row.rows).collect();
        assert_eq!(sizes, [4.0, 2.0]);
        assert_eq!(table[0].cumulative_bad_share, 1.0);
        assert_eq!(ranking.gains(1).unwrap().len(), 1);
        assert!(ranking.gains(0).is_err());
    }

    #[test]
    fn recall_at_a_false_positive_rate_takes_ties_as_a_whole() {
        let labels = [true, false, true, false, false, false, false];
        let ranking = Ranking::new(&labels, &[0.9, 0.8, 0.7, 0.7, 0.3, 0.2, 0.1]).unwrap();
        let recall = |rate| ranking.recall_at_false_positive_rate(rate).unwrap();
        assert_eq!([0.1, 0.2, 0.39, 0.4].map(recall), [0.5, 0.5, 0.5, 1.0]);
        assert!(ranking.recall_at_false_positive_rate(0.0).is_err());
        assert!(ranking.partial_roc_auc(f64::NAN).is_err());
    }
}
