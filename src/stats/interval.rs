//! An interval of plausible values.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::special::normal_critical;
use crate::error::{Error, Result};

/// A confidence interval; both ends belong to it. An end may be infinite where the data say nothing; JSON cannot hold
/// that, so it is written as none.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(from = "Ends", into = "Ends")]
pub struct Interval {
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

/// An interval as it is written down.
#[derive(Serialize, Deserialize)]
struct Ends {
    lower: Option<f64>,
    upper: Option<f64>,
}

impl From<Interval> for Ends {
    fn from(interval: Interval) -> Self {
        let finite = |end: f64| Some(end).filter(|end| end.is_finite());
        Ends { lower: finite(interval.lower), upper: finite(interval.upper) }
    }
}

impl From<Ends> for Interval {
    fn from(ends: Ends) -> Self {
        Interval {
            lower: ends.lower.unwrap_or(f64::NEG_INFINITY),
            upper: ends.upper.unwrap_or(f64::INFINITY),
        }
    }
}

impl Interval {
    /// `estimate` ± `margin`.
    pub fn around(estimate: f64, margin: f64) -> Self {
        Interval { lower: estimate - margin, upper: estimate + margin }
    }

    /// The normal interval of a share or an area on the logit scale, which stays within `0.0..=1.0`. For an AUC by Pepe
    /// (2003, section 5.2); for an average precision, whose variance is p (1 − p) / bad rows, by Boyd, Eng and Page (2013).
    ///
    /// # Errors
    /// `InvalidInput` for an `alpha` or a `value` outside (0, 1).
    pub fn on_logit(value: f64, standard_error: f64, alpha: f64) -> Result<Self> {
        check_alpha(alpha)?;
        if !(value > 0.0 && value < 1.0) {
            return Err(Error::input("value", format!("{value} has no logit")));
        }
        let logit = (value / (1.0 - value)).ln();
        let margin = normal_critical(alpha) * standard_error / (value * (1.0 - value));
        let back = |x: f64| 1.0 / (1.0 + (-x).exp());
        Ok(Interval { lower: back(logit - margin), upper: back(logit + margin) })
    }

    /// Whether `value` lies within.
    pub fn contains(&self, value: f64) -> bool {
        self.lower <= value && value <= self.upper
    }

    /// Upper end less lower end.
    pub fn width(&self) -> f64 {
        self.upper - self.lower
    }

    /// The same interval for minus the quantity.
    pub fn negated(&self) -> Self {
        Interval { lower: -self.upper, upper: -self.lower }
    }
}

/// With as many decimals as the formatter asks for, 4 by default.
impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let decimals = f.precision().unwrap_or(4);
        write!(f, "[{:.decimals$}, {:.decimals$}]", self.lower, self.upper)
    }
}

/// Refuses an error probability outside (0, 1).
pub(crate) fn check_alpha(alpha: f64) -> Result<()> {
    if alpha > 0.0 && alpha < 1.0 {
        return Ok(());
    }
    Err(Error::input("alpha", format!("{alpha} is not between 0 and 1")))
}
