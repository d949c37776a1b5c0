//! From log-odds to points and back.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::sigmoid;

/// How log-odds become points: `score = offset + factor · ln(good : bad)`, with factor = `points_to_double` / ln(`multiple`)
/// and offset = `base_score` − factor · ln(`base_odds`). High is safe.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Scaling {
    /// Points that make the odds `multiple` times as good; the field's PDO.
    pub points_to_double: f64,
    /// How many times as good; 2 in nearly every convention (toad's `rate`).
    pub multiple: f64,
    /// Odds of good to bad at `base_score`: 50 for 50 : 1.
    pub base_odds: f64,
    /// Score at these odds.
    pub base_score: f64,
}

/// The common US convention: 600 points at 50 : 1, 20 points double the odds.
impl Default for Scaling {
    fn default() -> Self {
        Scaling { points_to_double: 20.0, multiple: 2.0, base_odds: 50.0, base_score: 600.0 }
    }
}

impl Scaling {
    /// # Errors
    /// `InvalidConfig` unless all numbers are finite, the points and odds positive and the multiple above 1.
    pub fn check(&self) -> Result<()> {
        let Scaling { points_to_double, multiple, base_odds, base_score } = *self;
        let positive = points_to_double > 0.0 && base_odds > 0.0 && multiple > 1.0;
        let finite =
            [points_to_double, multiple, base_odds, base_score].iter().all(|n| n.is_finite());
        if positive && finite {
            return Ok(());
        }
        let reason =
            "points_to_double and base_odds must be positive, multiple above 1, all finite";
        Err(Error::config("scorecard scaling", reason))
    }

    /// Points per unit of log-odds.
    pub fn factor(&self) -> f64 {
        self.points_to_double / libm::log(self.multiple)
    }

    /// The score of even odds.
    pub fn offset(&self) -> f64 {
        self.base_score - self.factor() * libm::log(self.base_odds)
    }

    /// The score of a probability of bad; infinite for 0 and 1.
    pub fn score(&self, probability: f64) -> f64 {
        self.offset() + self.factor() * libm::log((1.0 - probability) / probability)
    }

    /// The probability of bad at a score.
    pub fn probability(&self, score: f64) -> f64 {
        sigmoid((self.offset() - score) / self.factor())
    }
}
