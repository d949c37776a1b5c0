//! How booked accounts pay: what no score tells, and what a label is made of.

mod roll_rate;
mod vintage;

pub use roll_rate::RollRates;
pub use vintage::{Vintage, VintageTable};

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::EntityKey;
use crate::time::Timestamp;

/// A booked account.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Account {
    /// Its key.
    pub account: EntityKey,
    /// When it was opened.
    pub opened: Timestamp,
    /// What was booked, in major units: the loan, or the limit drawn.
    pub booked: f64,
}

/// How an account stood at the end of a month. One that is closed has no later ones; one that is written off keeps its days
/// past due for as long as it shall count as bad.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AccountMonth {
    /// The account.
    pub account: EntityKey,
    /// Any moment of the month (UTC).
    pub month: Timestamp,
    /// Days past due; 0 where nothing is.
    pub days_past_due: u32,
    /// What is owed, in major units.
    pub balance: f64,
}

/// Accounts with how they stood month by month.
///
/// ```
/// use riskcycle::evaluate::{Account, AccountMonth, Portfolio};
/// use riskcycle::{EntityKey, Timestamp};
///
/// let opened = Timestamp::from_date(2025, 1, 10);
/// let accounts = [1, 2].map(|n| Account { account: EntityKey(n), opened, booked: 100.0 });
/// let stood = |n, month, days_past_due, balance| {
///     let month = Timestamp::from_date(2025, month, 28);
///     AccountMonth { account: EntityKey(n), month, days_past_due, balance }
/// };
/// let months = [stood(1, 2, 0, 90.0), stood(2, 2, 28, 100.0), stood(1, 3, 0, 80.0), stood(2, 3, 59, 100.0)];
/// let portfolio = Portfolio::new(&accounts, &months)?;
///
/// let vintages = portfolio.vintages(30);
/// assert_eq!(vintages.vintages[0].bad_rate(2), Some(0.5));
/// assert_eq!(vintages.vintages[0].bad_rate(3), None, "April is not over");
/// let rolled = portfolio.roll_rates(&[1, 30, 60, 90])?;
/// assert_eq!(rolled.rate(1, 2), Some(1.0), "from 1 to 29 days to 30 to 59");
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Portfolio {
    /// By key: months since the year 0 of the opening, and what was booked.
    accounts: BTreeMap<EntityKey, (i64, f64)>,
    /// By account and month: days past due and balance.
    months: BTreeMap<(EntityKey, i64), (u32, f64)>,
    last_month: i64,
}

impl Portfolio {
    /// Puts accounts and their months together, in any order. The last month of all must be over: it is the end of what is
    /// known. O(n log n).
    ///
    /// # Errors
    /// `Empty` without months; `InvalidInput` for an account or a month of it that comes twice, a month of an unknown account
    /// or from before it was opened, or an amount that is not finite or below 0.
    pub fn new(accounts: &[Account], months: &[AccountMonth]) -> Result<Self> {
        let sound = |amount: f64| amount >= 0.0 && amount.is_finite();
        let mut of_key = BTreeMap::new();
        for &Account { account, opened, booked } in accounts {
            let again = of_key.insert(account, (month_of(opened), booked)).is_some();
            if again || !sound(booked) {
                let reason = format!("account {} comes twice, or with {booked} booked", account.0);
                return Err(Error::input("accounts", reason));
            }
        }
        let mut of_month = BTreeMap::new();
        for row in months {
            let (account, month) = (row.account, month_of(row.month));
            let known = of_key.get(&account).is_some_and(|&(opened, _)| opened <= month);
            let state = (row.days_past_due, row.balance);
            if !known || !sound(row.balance) || of_month.insert((account, month), state).is_some() {
                let (key, at, balance) = (account.0, row.month, row.balance);
                let reason = format!(
                    "account {key} at {at} with balance {balance}: its months come once each, from its opening on, with \
                     a balance that is finite and not negative"
                );
                return Err(Error::input("account months", reason));
            }
        }
        let last_month = of_month.keys().map(|&(_, month)| month).max();
        let last_month = last_month.ok_or_else(|| Error::Empty { what: "portfolio".into() })?;
        Ok(Portfolio { accounts: of_key, months: of_month, last_month })
    }

    /// What became of the accounts of every month of opening: bad is who has ever been at least so many days past due.
    pub fn vintages(&self, days_past_due: u32) -> VintageTable {
        vintage::table(self, days_past_due)
    }

    /// How accounts move between buckets of days past due from one month to the next. `limits` are the fewest days of each
    /// bucket but the first, which is everything below; `[1, 30, 60, 90]` by custom.
    ///
    /// # Errors
    /// `InvalidConfig` unless the limits rise strictly from at least 1.
    pub fn roll_rates(&self, limits: &[u32]) -> Result<RollRates> {
        let rising: BTreeSet<u32> = limits.iter().copied().collect();
        if limits.is_empty() || rising.contains(&0) || !rising.iter().eq(limits) {
            return Err(Error::config("buckets", "limits must rise strictly from at least 1"));
        }
        Ok(roll_rate::rates(self, limits))
    }
}

/// Months since the year 0.
fn month_of(at: Timestamp) -> i64 {
    let (year, month, _) = at.date();
    12 * year + i64::from(month) - 1
}

/// A month in words: `2025-01`.
fn month_name(month: i64) -> String {
    format!("{:04}-{:02}", month.div_euclid(12), month.rem_euclid(12) + 1)
}
