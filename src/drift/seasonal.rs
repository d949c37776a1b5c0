//! What to expect at this hour of the week.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::time::Timestamp;

/// Hours of a week.
const HOURS: usize = 168;

/// The mean of a stream for each hour of the week: what separates drift from Monday morning.
///
/// Detectors that compare with a constant take every peak for a change. Give them
/// [`residual`](Self::residual)s instead, or the [e-detector](crate::drift::EDetector::update_against) the
/// [`expected`](Self::expected) value itself.
///
/// An hour with few values leans on the mean of all: its mean is weighted by its number of values, the mean of all by
/// `shrinkage` values. 2.7 KB.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Parts", into = "Parts")]
pub struct SeasonalBaseline {
    utc_offset_seconds: i32,
    shrinkage: f64,
    hours: Vec<Hour>,
}

#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Hour {
    n: u64,
    total: f64,
}

#[derive(Serialize, Deserialize)]
struct Parts {
    utc_offset_seconds: i32,
    shrinkage: f64,
    hours: Vec<Hour>,
}

impl SeasonalBaseline {
    /// An empty baseline at a fixed offset from UTC (seconds, east positive). `shrinkage` is the number of values that the mean
    /// of all weighs against those of an hour.
    ///
    /// # Errors
    /// `InvalidConfig` for a shrinkage that is negative or not finite, or an offset of more than a day.
    pub fn new(utc_offset_seconds: i32, shrinkage: f64) -> Result<Self> {
        let sound = shrinkage >= 0.0 && shrinkage.is_finite();
        if !sound || utc_offset_seconds.unsigned_abs() > 86_400 {
            let reason = "shrinkage must not be negative, the offset not more than a day";
            return Err(Error::config("seasonal baseline", reason));
        }
        Ok(SeasonalBaseline { utc_offset_seconds, shrinkage, hours: vec![Hour::default(); HOURS] })
    }

    /// Takes in a value of the reference. One that is not finite is left out.
    pub fn observe(&mut self, at: Timestamp, value: f64) {
        if value.is_finite() {
            let hour = self.hour(at);
            let cell = &mut self.hours[hour];
            cell.n += 1;
            cell.total += value;
        }
    }

    /// The mean to expect at a moment; `None` before the first value.
    pub fn expected(&self, at: Timestamp) -> Option<f64> {
        let (n, total) =
            self.hours.iter().fold((0, 0.0), |(n, total), hour| (n + hour.n, total + hour.total));
        if n == 0 {
            return None;
        }
        let (mean, hour) = (total / n as f64, self.hours[self.hour(at)]);
        let weight = hour.n as f64 + self.shrinkage;
        // Nothing known of the hour, and nothing to lean on it with: the mean of all.
        Some(if weight > 0.0 { (hour.total + self.shrinkage * mean) / weight } else { mean })
    }

    /// How far a value lies above what was to be expected; `None` before the first value of the reference.
    pub fn residual(&self, at: Timestamp, value: f64) -> Option<f64> {
        self.expected(at).map(|expected| value - expected)
    }

    /// Values of the reference in the hour of the week of a moment.
    pub fn n(&self, at: Timestamp) -> u64 {
        self.hours[self.hour(at)].n
    }

    fn hour(&self, at: Timestamp) -> usize {
        let (weekday, hour) =
            (at.weekday(self.utc_offset_seconds), at.hour(self.utc_offset_seconds));
        usize::from(weekday) * 24 + usize::from(hour)
    }
}

impl TryFrom<Parts> for SeasonalBaseline {
    type Error = Error;

    fn try_from(parts: Parts) -> Result<Self> {
        let mut baseline = SeasonalBaseline::new(parts.utc_offset_seconds, parts.shrinkage)?;
        if parts.hours.len() != HOURS || parts.hours.iter().any(|hour| !hour.total.is_finite()) {
            return Err(Error::input("seasonal baseline", "needs 168 hours with finite sums"));
        }
        baseline.hours = parts.hours;
        Ok(baseline)
    }
}

impl From<SeasonalBaseline> for Parts {
    fn from(baseline: SeasonalBaseline) -> Self {
        let SeasonalBaseline { utc_offset_seconds, shrinkage, hours } = baseline;
        Parts { utc_offset_seconds, shrinkage, hours }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn each_hour_of_the_week_has_its_mean_and_leans_on_the_mean_of_all() {
        let mut baseline = SeasonalBaseline::new(3600, 10.0).unwrap();
        let monday = Timestamp::from_date(2024, 1, 1);
        assert_eq!(baseline.expected(monday), None);
        for week in 0..10 {
            for hour in 0..168 {
                let at = monday.plus(Duration::from_secs((week * 168 + hour) * 3600));
                // The eleventh hour of every day in UTC is the twelfth at an offset of one hour.
                baseline.observe(at, if hour % 24 == 11 { 25.0 } else { 1.0 });
            }
        }
        baseline.observe(monday, f64::NAN);
        let noon = monday.plus(Duration::from_secs(11 * 3600));
        assert_eq!(baseline.n(noon), 10);
        // Mean of all 2, ten values of 25 against a weight of ten: (250 + 20) / 20.
        assert!((baseline.expected(noon).unwrap() - 13.5).abs() < 1e-12);
        assert!((baseline.residual(monday, 2.0).unwrap() - 0.5).abs() < 1e-12);
        let json = serde_json::to_string(&baseline).unwrap();
        assert_eq!(serde_json::from_str::<SeasonalBaseline>(&json).unwrap(), baseline);
        assert!(serde_json::from_str::<SeasonalBaseline>(&json.replace("3600", "999999")).is_err());
        assert!(SeasonalBaseline::new(0, f64::NAN).is_err());
    }
}
