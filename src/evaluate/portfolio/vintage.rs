//! What became of the accounts of each month of opening.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::evaluate::portfolio::{Portfolio, month_name};

/// A vintage per month of opening, the oldest first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VintageTable {
    /// Days past due from which an account is bad, for good.
    pub days_past_due: u32,
    /// The vintages.
    pub vintages: Vec<Vintage>,
}

/// The accounts of one month of opening. Months on book are counted from 0, the calendar month of opening; only those that
/// are over are there.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Vintage {
    /// The month of opening, as `2025-01`.
    pub opened: String,
    /// Accounts booked.
    pub accounts: u64,
    /// What was booked, in major units.
    pub booked: f64,
    /// By month on book, accounts that have been bad by then.
    pub bad_accounts: Vec<u64>,
    /// By month on book, what they owed when they first were.
    pub bad_balance: Vec<f64>,
}

impl Vintage {
    /// Share of the accounts that have been bad by a month on book; `None` if it is not over.
    pub fn bad_rate(&self, month_on_book: usize) -> Option<f64> {
        Some(*self.bad_accounts.get(month_on_book)? as f64 / self.accounts as f64)
    }

    /// What bad accounts owed when they first were, over what was booked; `None` if the month is not over, or nothing was
    /// booked.
    pub fn bad_balance_rate(&self, month_on_book: usize) -> Option<f64> {
        let balance = *self.bad_balance.get(month_on_book)?;
        (self.booked > 0.0).then(|| balance / self.booked)
    }

    /// Share of the accounts whose `n`-th payment was the first that they missed: first, second and third payment default
    /// for 1, 2 and 3. It holds for monthly payments from the month after opening on and at most 30 days past due: who
    /// misses the `n`-th payment is bad one month after it. `None` for 0 or if that month is not over.
    pub fn payment_default(&self, n: usize) -> Option<f64> {
        let missed = *self.bad_accounts.get(n.checked_add(1)?)?;
        let before = match n {
            0 => return None,
            1 => 0, // whoever is earlier has missed the first as well
            _ => self.bad_accounts[n],
        };
        Some((missed - before) as f64 / self.accounts as f64)
    }
}

pub(super) fn table(portfolio: &Portfolio, days_past_due: u32) -> VintageTable {
    let mut vintages: BTreeMap<i64, Vintage> = BTreeMap::new();
    for &(opened, booked) in portfolio.accounts.values() {
        let vintage = vintages.entry(opened).or_insert_with(|| {
            // Accounts opened after the last month have none that is over.
            let n_months = usize::try_from(portfolio.last_month - opened + 1).unwrap_or(0);
            Vintage {
                opened: month_name(opened),
                accounts: 0,
                booked: 0.0,
                bad_accounts: vec![0; n_months],
                bad_balance: vec![0.0; n_months],
            }
        });
        vintage.accounts += 1;
        vintage.booked += booked;
    }
    // In the order of accounts, then months: the first bad one of each counts.
    let mut bad_already = BTreeSet::new();
    for (&(account, month), &(days, balance)) in &portfolio.months {
        if days >= days_past_due && bad_already.insert(account) {
            let (opened, _) = portfolio.accounts[&account];
            let vintage = vintages.get_mut(&opened).expect("every account has its vintage");
            let month_on_book = (month - opened) as usize;
            vintage.bad_accounts[month_on_book] += 1;
            vintage.bad_balance[month_on_book] += balance;
        }
    }
    for vintage in vintages.values_mut() {
        for month in 1..vintage.bad_accounts.len() {
            vintage.bad_accounts[month] += vintage.bad_accounts[month - 1];
            vintage.bad_balance[month] += vintage.bad_balance[month - 1];
        }
    }
    VintageTable { days_past_due, vintages: vintages.into_values().collect() }
}

/// A line per vintage: accounts, then the share of bad ones by month on book.
impl fmt::Display for VintageTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let most = self.vintages.iter().map(|vintage| vintage.bad_accounts.len()).max();
        write!(f, "{}+ days   accounts", self.days_past_due)?;
        (0..most.unwrap_or(0)).try_for_each(|month| write!(f, " {month:>7}"))?;
        for vintage in &self.vintages {
            write!(f, "\n{:10} {:>8}", vintage.opened, vintage.accounts)?;
            let rates = (0..).map_while(|month| vintage.bad_rate(month));
            rates.into_iter().try_for_each(|rate| write!(f, " {:>6.2}%", 100.0 * rate))?;
        }
        Ok(())
    }
}
