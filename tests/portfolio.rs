//! Vintages and roll rates against pandas, and what they refuse.

use riskcycle::evaluate::{Account, AccountMonth, Portfolio};
use riskcycle::{EntityKey, Error, Timestamp};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("data/portfolio_golden.json")).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

/// A day of a month counted from the first of all, January 2024.
fn month(n: f64, day: u32) -> Timestamp {
    let n = n as i32;
    Timestamp::from_date(2024 + n / 12, (n % 12) as u32 + 1, day)
}

fn portfolio(golden: &Value) -> Portfolio {
    let account = |row: &Value| Account {
        account: EntityKey(row[0].as_u64().unwrap()),
        opened: month(number(&row[1]), 1 + row[0].as_u64().unwrap() as u32 % 28),
        booked: number(&row[2]),
    };
    let stood = |row: &Value| AccountMonth {
        account: EntityKey(row[0].as_u64().unwrap()),
        month: month(number(&row[1]), 28),
        days_past_due: row[2].as_u64().unwrap() as u32,
        balance: number(&row[3]),
    };
    let accounts: Vec<Account> =
        golden["accounts"].as_array().unwrap().iter().map(account).collect();
    let mut months: Vec<AccountMonth> =
        golden["months"].as_array().unwrap().iter().map(stood).collect();
    months.reverse(); // any order will do
    Portfolio::new(&accounts, &months).unwrap()
}

#[track_caller]
fn assert_close(ours: f64, theirs: f64) {
    assert!((ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0), "{ours}, should be {theirs}");
}

#[test]
fn vintages_equal_those_of_pandas_and_end_where_knowledge_does() {
    let golden = golden();
    let table = portfolio(&golden).vintages(30);
    let theirs = golden["vintages"].as_array().unwrap();
    assert_eq!(table.vintages.len(), theirs.len());
    for (ours, theirs) in table.vintages.iter().zip(theirs) {
        let (year, month) = (2024, theirs["opened"].as_i64().unwrap() + 1);
        assert_eq!(ours.opened, format!("{year}-{month:02}"));
        assert_eq!(Some(ours.accounts), theirs["accounts"].as_u64());
        assert_close(ours.booked, number(&theirs["booked"]));
        let (bad, balance) =
            (theirs["bad_accounts"].as_array().unwrap(), theirs["bad_balance"].as_array().unwrap());
        assert_eq!(ours.bad_accounts.len(), bad.len());
        for (i, (bad, balance)) in bad.iter().zip(balance).enumerate() {
            assert_eq!(Some(ours.bad_accounts[i]), bad.as_u64());
            assert_close(ours.bad_rate(i).unwrap(), number(bad) / ours.accounts as f64);
            assert_close(ours.bad_balance_rate(i).unwrap(), number(balance) / ours.booked);
        }
        assert_eq!(ours.bad_rate(bad.len()), None);
    }
    let first = &table.vintages[0];
    let (missed, all) = (&first.bad_accounts, first.accounts as f64);
    assert_eq!(first.payment_default(1), Some(missed[2] as f64 / all));
    assert_eq!(first.payment_default(3), Some((missed[4] - missed[3]) as f64 / all));
    assert_eq!((first.payment_default(0), first.payment_default(12)), (None, None));
    assert!(table.to_string().lines().count() == theirs.len() + 1);
    assert!(table.to_string().starts_with("30+ days"), "{table}");
}

#[test]
fn roll_rates_equal_those_of_pandas() {
    let golden = golden();
    let rates = portfolio(&golden).roll_rates(&[1, 30, 60, 90]).unwrap();
    for from in 0..5 {
        let moved = golden["moved"][from].as_array().unwrap();
        let all: f64 = moved.iter().map(number).sum();
        for (to, n) in moved.iter().enumerate() {
            assert_eq!(Some(rates.accounts[from][to]), n.as_u64());
            assert_close(rates.balance[from][to], number(&golden["moved_balance"][from][to]));
            assert_close(rates.rate(from, to).unwrap(), number(n) / all);
        }
        let shares: f64 = (0..6).map(|to| rates.balance_rate(from, to).unwrap()).sum();
        assert_close(shares, 1.0);
        let worse: f64 = moved[from + 1..5].iter().map(number).sum();
        assert_close(rates.worse_rate(from).unwrap(), worse / all);
    }
    assert_eq!((rates.rate(5, 0), rates.rate(0, 6)), (None, None));
    let header = "days past due  accounts       0    1-29   30-59   60-89     90+    gone";
    assert_eq!(rates.to_string().lines().next(), Some(header));
}

#[test]
fn accounts_and_months_that_do_not_fit_are_refused() {
    let account = |key, booked| Account { account: EntityKey(key), opened: month(3.0, 9), booked };
    let stood = |key, at: f64, balance| AccountMonth {
        account: EntityKey(key),
        month: month(at, 28),
        days_past_due: 0,
        balance,
    };
    let refused = |accounts: &[Account], months: &[AccountMonth]| {
        matches!(Portfolio::new(accounts, months), Err(Error::InvalidInput { .. }))
    };
    let sound = [stood(1, 3.0, 5.0)];
    assert!(Portfolio::new(&[account(1, 5.0)], &sound).is_ok());
    assert!(refused(&[account(1, 5.0), account(1, 5.0)], &sound), "twice");
    assert!(refused(&[account(1, f64::NAN)], &sound), "no amount");
    assert!(refused(&[account(2, 5.0)], &sound), "unknown");
    for months in [
        [stood(1, 3.0, 5.0), stood(1, 3.0, 5.0)],
        [stood(1, 3.0, 5.0), stood(1, 2.0, 5.0)],
        [stood(1, 3.0, 5.0), stood(1, 4.0, -5.0)],
    ] {
        assert!(refused(&[account(1, 5.0)], &months));
    }
    assert!(matches!(Portfolio::new(&[account(1, 5.0)], &[]), Err(Error::Empty { .. })));
    let portfolio = Portfolio::new(&[account(1, 0.0)], &sound).unwrap();
    assert_eq!(portfolio.vintages(30).vintages[0].bad_balance_rate(0), None);
    for limits in [&[][..], &[0, 30], &[30, 30], &[60, 30]] {
        assert!(matches!(portfolio.roll_rates(limits), Err(Error::InvalidConfig { .. })));
    }
}
