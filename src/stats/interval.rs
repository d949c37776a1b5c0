//! An interval of plausible values.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// A confidence interval; both ends belong to it. An end may be infinite where the data say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Interval {
    /// Lower end.
    pub lower: f64,
    /// Upper end.
    pub upper: f64,
}

impl Interval {
    /// `estimate` ± `margin`.
    pub fn around(estimate: f64, margin: f64) -> Self {
        Interval { lower: estimate - margin, upper: estimate + margin }
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
