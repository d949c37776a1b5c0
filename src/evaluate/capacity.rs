//! What a team that can look at so many alerts a day finds.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::time::{Timestamp, days};

/// What a team that can look at so many alerts a day finds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CapacityOutcome {
    /// Alerts that the team can look at per day.
    pub alerts_per_day: usize,
    /// Share of all alerts that are bad.
    pub precision: f64,
    /// Share of all bad rows with an alert; `None` without bad rows.
    pub recall: Option<f64>,
    /// Share of the bad rows' amounts with an alert; `None` without amounts, or where they sum to 0 or less.
    pub value_recall: Option<f64>,
    /// The days in order.
    pub by_day: Vec<CapacityDay>,
}

/// One day (UTC) of a [`CapacityOutcome`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct CapacityDay {
    /// Its midnight.
    pub day: Timestamp,
    /// Rows that day.
    pub n_rows: u64,
    /// Of these, bad.
    pub n_bad: u64,
    /// Alerts looked at.
    pub alerts: u64,
    /// Of these, bad.
    pub found: u64,
    /// The lowest score with an alert: how far it moves from day to day tells how stable a fixed threshold would be.
    pub threshold: f64,
}

impl CapacityOutcome {
    /// Each day's rows of highest score, at most `alerts_per_day` of them, become alerts; of equal scores the earlier row.
    /// O(n log n).
    ///
    /// # Errors
    /// `InvalidConfig` for a capacity of 0; `InvalidInput` if scores and rows differ in number, a score is NaN, or the data
    /// set has no times.
    pub fn new(data: &Dataset, scores: &[f64], alerts_per_day: usize) -> Result<Self> {
        if alerts_per_day == 0 {
            return Err(Error::config("capacity", "must be at least 1 alert per day"));
        }
        if scores.len() != data.n_rows() || scores.iter().any(|score| score.is_nan()) {
            return Err(Error::input("scores", "one per row is needed, none of them NaN"));
        }
        let times = data
            .times()
            .ok_or_else(|| Error::input("data set", "a capacity per day needs times"))?;
        let mut rows_of: BTreeMap<i64, Vec<usize>> = BTreeMap::new();
        for (row, time) in times.iter().enumerate() {
            rows_of.entry(time.day(0)).or_default().push(row);
        }
        let bad = |rows: &[usize]| rows.iter().filter(|&&row| data.labels()[row]).count() as u64;
        let amount = |rows: &[usize]| -> f64 {
            let bad = rows.iter().filter(|&&row| data.labels()[row]);
            data.amounts().map_or(0.0, |amounts| bad.map(|&row| amounts[row]).sum())
        };
        let (mut value, mut found_value) = (0.0, 0.0);
        let by_day: Vec<CapacityDay> = rows_of
            .into_iter()
            .map(|(day, mut rows)| {
                rows.sort_by(|&a, &b| {
                    scores[b].total_cmp(&scores[a]).then(times[a].cmp(&times[b]))
                });
                let alerts = &rows[..alerts_per_day.min(rows.len())];
                value += amount(&rows);
                found_value += amount(alerts);
                CapacityDay {
                    day: Timestamp::from_micros(day * days(1).as_micros() as i64),
                    n_rows: rows.len() as u64,
                    n_bad: bad(&rows),
                    alerts: alerts.len() as u64,
                    found: bad(alerts),
                    threshold: scores[alerts[alerts.len() - 1]],
                }
            })
            .collect();
        let sum = |of: fn(&CapacityDay) -> u64| by_day.iter().map(of).sum::<u64>() as f64;
        let (found, n_bad) = (sum(|day| day.found), sum(|day| day.n_bad));
        Ok(CapacityOutcome {
            alerts_per_day,
            precision: found / sum(|day| day.alerts),
            recall: (n_bad > 0.0).then(|| found / n_bad),
            value_recall: (value > 0.0).then(|| found_value / value),
            by_day,
        })
    }
}
