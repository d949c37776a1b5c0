//! How accounts move between buckets of days past due.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::evaluate::portfolio::Portfolio;

/// Moves from one month to the next, over all months whose next one is over. A bucket more than there are limits; behind
/// them, as a place to move to, "gone": no row in the next month.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RollRates {
    /// The fewest days past due of each bucket but the first.
    pub limits: Vec<u32>,
    /// Accounts that moved: line by line the bucket they came from, column by column the one they went to, "gone" last.
    pub accounts: Vec<Vec<u64>>,
    /// What they owed before.
    pub balance: Vec<Vec<f64>>,
}

impl RollRates {
    /// Share of a bucket's accounts that are in another one a month later; `None` for a bucket that is empty or not there.
    pub fn rate(&self, from: usize, to: usize) -> Option<f64> {
        let row = self.accounts.get(from)?;
        let all: u64 = row.iter().sum();
        (all > 0).then_some(*row.get(to)? as f64 / all as f64)
    }

    /// The same of what they owe; `None` also where nothing is owed.
    pub fn balance_rate(&self, from: usize, to: usize) -> Option<f64> {
        let row = self.balance.get(from)?;
        let all: f64 = row.iter().sum();
        (all > 0.0).then_some(*row.get(to)? / all)
    }

    /// Share of a bucket's accounts that are in a worse one a month later.
    pub fn worse_rate(&self, from: usize) -> Option<f64> {
        (from + 1..=self.limits.len()).try_fold(0.0, |sum, to| Some(sum + self.rate(from, to)?))
    }

    /// The days of a bucket: `0`, `1-29`, `90+`, and `gone` behind the last.
    fn name(&self, bucket: usize) -> String {
        let from = bucket.checked_sub(1).map_or(Some(&0), |i| self.limits.get(i));
        match (from, self.limits.get(bucket)) {
            (None, _) => "gone".into(),
            (Some(from), None) => format!("{from}+"),
            (Some(from), Some(next)) if from + 1 == *next => from.to_string(),
            (Some(from), Some(next)) => format!("{from}-{}", next - 1),
        }
    }
}

pub(super) fn rates(portfolio: &Portfolio, limits: &[u32]) -> RollRates {
    let n = limits.len() + 1;
    let bucket = |days: u32| limits.partition_point(|limit| *limit <= days);
    let mut rates = RollRates {
        limits: limits.to_vec(),
        accounts: vec![vec![0; n + 1]; n],
        balance: vec![vec![0.0; n + 1]; n],
    };
    for (&(account, month), &(days, balance)) in &portfolio.months {
        if month < portfolio.last_month {
            let next = portfolio.months.get(&(account, month + 1));
            let (from, to) = (bucket(days), next.map_or(n, |(days, _)| bucket(*days)));
            rates.accounts[from][to] += 1;
            rates.balance[from][to] += balance;
        }
    }
    rates
}

/// A line per bucket: its accounts, and the share of them that each bucket has a month later.
impl fmt::Display for RollRates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let n = self.accounts.len();
        write!(f, "days past due  accounts")?;
        (0..=n).try_for_each(|to| write!(f, " {:>7}", self.name(to)))?;
        for (from, row) in self.accounts.iter().enumerate() {
            write!(f, "\n{:13}  {:>8}", self.name(from), row.iter().sum::<u64>())?;
            for to in 0..=n {
                match self.rate(from, to) {
                    Some(rate) => write!(f, " {:>6.2}%", 100.0 * rate)?,
                    None => write!(f, " {:>7}", "-")?,
                }
            }
        }
        Ok(())
    }
}
