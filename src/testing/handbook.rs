//! The transactions, features and protocol of the Fraud Detection Handbook (Le Borgne, Siblini, Lebichot and Bontempi,
//! "Reproducible Machine Learning for Credit Card Fraud Detection"), the published yardstick that riskcycle is measured by.

use crate::event::EventSchema;
use crate::feature::{Current, FeatureSet};
use crate::ids::EntityKey;
use crate::time::{Timestamp, days};
#[cfg(feature = "csv")]
use crate::{
    error::{Error, Result},
    event::CsvSource,
};

/// Midnight at the start of the handbook's first day.
pub const START: Timestamp = Timestamp::from_date(2018, 4, 1);

/// One card transaction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Transaction {
    /// Rising with time.
    pub id: u64,
    /// When.
    pub at: Timestamp,
    /// Who paid.
    pub customer: u32,
    /// Where.
    pub terminal: u32,
    /// How much, in hundredths.
    pub cents: i64,
    /// Whether it was fraud.
    pub fraud: bool,
}

/// How riskcycle reads a [`Transaction`]: entities `customer` and `terminal`, money `amount`, label `fraud`.
pub fn events() -> EventSchema<Transaction> {
    EventSchema::builder()
        .id(|t: &Transaction| t.id)
        .time(|t| t.at)
        .entity("customer", |t| EntityKey::from(t.customer))
        .entity("terminal", |t| EntityKey::from(t.terminal))
        .money("amount", 2, |t| t.cents)
        .label("fraud", |t| Some(t.fraud))
        .build()
        .expect("a fixed schema with an id, a time and distinct names")
}

/// The handbook's 15 features: the amount, weekend, night (its data counts 06:59 as night), the customer's number and mean
/// amount of transactions over 1, 7 and 30 days with the current one included, the terminal's number and share of frauds
/// over the same windows ending 7 days ago.
pub fn features() -> FeatureSet {
    let windows = [days(1), days(7), days(30)];
    FeatureSet::builder("handbook")
        .field("amount")
        .weekend("during_weekend", 0)
        .hour_of_day_in("during_night", 0..=6, 0)
        .entity("customer", |customer| {
            customer
                .windows(windows)
                .current(Current::Include)
                .empty_as(0.0)
                .count("customer_count")
                .mean("customer_mean", "amount")
        })
        .entity("terminal", |terminal| {
            terminal
                .windows(windows)
                .delay(days(7))
                .empty_as(0.0)
                .count("terminal_count")
                .rate("terminal_risk", "fraud")
        })
        .build()
        .expect("a fixed set with distinct names and a delay on every label")
}

/// The names that the handbook gives to the columns of [`features`].
pub const PUBLISHED_NAMES: [&str; 15] = [
    "TX_AMOUNT",
    "TX_DURING_WEEKEND",
    "TX_DURING_NIGHT",
    "CUSTOMER_ID_NB_TX_1DAY_WINDOW",
    "CUSTOMER_ID_AVG_AMOUNT_1DAY_WINDOW",
    "CUSTOMER_ID_NB_TX_7DAY_WINDOW",
    "CUSTOMER_ID_AVG_AMOUNT_7DAY_WINDOW",
    "CUSTOMER_ID_NB_TX_30DAY_WINDOW",
    "CUSTOMER_ID_AVG_AMOUNT_30DAY_WINDOW",
    "TERMINAL_ID_NB_TX_1DAY_WINDOW",
    "TERMINAL_ID_RISK_1DAY_WINDOW",
    "TERMINAL_ID_NB_TX_7DAY_WINDOW",
    "TERMINAL_ID_RISK_7DAY_WINDOW",
    "TERMINAL_ID_NB_TX_30DAY_WINDOW",
    "TERMINAL_ID_RISK_30DAY_WINDOW",
];

/// Reads transactions in the handbook's raw layout (columns TRANSACTION_ID, TX_TIME_SECONDS since 2018-04-01, CUSTOMER_ID,
/// TERMINAL_ID, TX_AMOUNT, TX_FRAUD, in any order, others beside them), plain or gzipped. `progress` hears the number of
/// rows read every 65,536 rows.
///
/// # Errors
/// Those of [`CsvSource`]; `InvalidRow` for an id or a time that does not rise; `Empty` without rows; `OneClass` unless
/// there are frauds and others.
#[cfg(feature = "csv")]
pub fn read(
    path: impl AsRef<std::path::Path>,
    mut progress: impl FnMut(u64),
) -> Result<Vec<Transaction>> {
    let columns = [
        "TRANSACTION_ID",
        "TX_TIME_SECONDS",
        "CUSTOMER_ID",
        "TERMINAL_ID",
        "TX_AMOUNT",
        "TX_FRAUD",
    ];
    let mut source = CsvSource::open(path, &columns)?;
    let mut transactions: Vec<Transaction> = Vec::new();
    let mut n_fraud = 0;
    while let Some(row) = source.next_row()? {
        let seconds = row.i64(1)?;
        let micros = seconds
            .checked_mul(1_000_000)
            .and_then(|micros| micros.checked_add(START.micros()))
            .ok_or_else(|| row.error(1, format!("{seconds} seconds are out of range")))?;
        let id = |column: usize| {
            let id = row.u64(column)?;
            u32::try_from(id).map_err(|_| row.error(column, format!("{id} is above 4294967295")))
        };
        let transaction = Transaction {
            id: row.u64(0)?,
            at: Timestamp::from_micros(micros),
            customer: id(2)?,
            terminal: id(3)?,
            cents: row.money(4, 2)?,
            fraud: row.flag(5)?,
        };
        if let Some(last) = transactions.last() {
            if transaction.at < last.at {
                let reason = format!("time goes backwards, from {} to {}", last.at, transaction.at);
                return Err(row.error(1, reason));
            }
            if transaction.id <= last.id {
                let reason = format!("{} does not come after {}", transaction.id, last.id);
                return Err(row.error(0, reason));
            }
        }
        n_fraud += usize::from(transaction.fraud);
        transactions.push(transaction);
        let n = transactions.len() as u64;
        if n.is_multiple_of(65_536) {
            progress(n);
        }
    }
    progress(transactions.len() as u64);
    let what = source.origin().to_owned();
    match n_fraud {
        _ if transactions.is_empty() => Err(Error::Empty { what }),
        0 => Err(Error::OneClass { what, n_rows: transactions.len(), label: false }),
        n if n == transactions.len() => Err(Error::OneClass { what, n_rows: n, label: true }),
        _ => Ok(transactions),
    }
}
