//! Whether features change with what comes after them.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// A feature that knew what it could not have known.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FutureLeak {
    /// The feature.
    pub feature: String,
    /// Rows in which it changed, over all moments looked at.
    pub changed: u64,
    /// Position of the first of them.
    pub first_row: usize,
}

/// The mutation test, for features by the host's own code (those of a [`FeatureSet`](crate::feature::FeatureSet) are made so
/// that they pass it). At each moment of `at`, events later than that moment less `delay` are changed, and the rows of events
/// up to that moment must stay the same, bit for bit. For values there is no delay; for labels it is the time they take to
/// arrive, `change` turns the label, and rows must not show it.
///
/// `compute` makes a row of every event, in order. Cost: one run of it, and one more per moment.
///
/// # Errors
/// Those of `compute`; `InvalidInput` if it gives another number of rows than there are events, `SchemaMismatch` for other
/// columns the next time.
///
/// ```
/// use std::time::Duration;
/// use riskcycle::dataset::Dataset;
/// use riskcycle::evaluate::future_leaks;
/// use riskcycle::{FeatureSchema, Timestamp};
///
/// // (second, amount): the sum so far, and the share of the sum of all, which nobody knows yet.
/// let payments: Vec<(i64, f64)> = (0..20).map(|i| (i, (i * 7 % 5) as f64 + 1.0)).collect();
/// let compute = |payments: &[(i64, f64)]| {
///     let all: f64 = payments.iter().map(|payment| payment.1).sum();
///     let mut so_far = 0.0;
///     let rows = payments.iter().flat_map(|payment| {
///         so_far += payment.1;
///         [so_far, payment.1 / all]
///     });
///     let schema = FeatureSchema::new(["sum so far", "share of all"])?;
///     Dataset::from_rows(schema, rows.collect(), vec![false; payments.len()])
/// };
/// let time = |payment: &(i64, f64)| Timestamp::from_seconds(payment.0);
/// let at = [5, 12].map(Timestamp::from_seconds);
/// let leaks = future_leaks(&payments, time, &at, Duration::ZERO, |payment| payment.1 *= 3.0, compute)?;
/// assert_eq!(leaks.len(), 1);
/// assert_eq!(leaks[0].feature, "share of all");
/// # Ok::<(), riskcycle::Error>(())
/// ```
pub fn future_leaks<E: Clone>(
    events: &[E],
    time: impl Fn(&E) -> Timestamp,
    at: &[Timestamp],
    delay: Duration,
    change: impl Fn(&mut E),
    compute: impl Fn(&[E]) -> Result<Dataset>,
) -> Result<Vec<FutureLeak>> {
    let rows_of = |events: &[E]| {
        let data = compute(events)?;
        if data.n_rows() == events.len() {
            return Ok(data);
        }
        let reason = format!("{} rows of {} events", data.n_rows(), events.len());
        Err(Error::input("features", reason))
    };
    let truth = rows_of(events)?;
    let mut found: Vec<Option<FutureLeak>> = vec![None; truth.schema().n_features()];
    for &at in at {
        let known = at.minus(delay);
        let mut changed = events.to_vec();
        changed.iter_mut().filter(|event| time(event) > known).for_each(&change);
        let mutated = rows_of(&changed)?;
        truth.schema().check(mutated.schema())?;
        for row in (0..events.len()).filter(|&row| time(&events[row]) <= at) {
            let pairs = truth.row(row).iter().zip(mutated.row(row)).enumerate();
            for (column, _) in pairs.filter(|(_, (a, b))| a.to_bits() != b.to_bits()) {
                let name = &truth.schema().names()[column];
                let leak = found[column].get_or_insert_with(|| FutureLeak {
                    feature: name.clone(),
                    changed: 0,
                    first_row: row,
                });
                leak.changed += 1;
                leak.first_row = leak.first_row.min(row);
            }
        }
    }
    Ok(found.into_iter().flatten().collect())
}
