//! What is called drift.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// When a difference is called drift: it must be large and it must not be chance. With many rows everything is
/// significant, with few everything is large.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DriftConfig {
    /// How the size of a difference is measured.
    pub effect: Effect,
    /// Smallest effect that is drift.
    pub min_effect: f64,
    /// Largest relative change of the bad rate that is not yet drift: 0.2 for a fifth more or less.
    pub max_rate_change: f64,
    /// Share of false calls among all calls of drift that is tolerated (Benjamini–Hochberg), over all columns of a report and,
    /// apart from them, over all columns of all segments.
    pub max_q: f64,
    /// Fewer rows than these, on either side, are never drift.
    pub min_rows: u64,
}

/// PSI of 0.1, a fifth of the bad rate, q = 0.05, 200 rows.
impl Default for DriftConfig {
    fn default() -> Self {
        DriftConfig {
            effect: Effect::Psi,
            min_effect: 0.1,
            max_rate_change: 0.2,
            max_q: 0.05,
            min_rows: 200,
        }
    }
}

/// A measure of how far a column is from its reference.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// Population stability index.
    #[default]
    Psi,
    /// Jensen–Shannon distance, base 2.
    JensenShannon,
    /// Hellinger distance.
    Hellinger,
    /// Cramér's V, corrected for chance.
    CramersV,
    /// Kolmogorov–Smirnov distance on the bins.
    Ks,
    /// Wasserstein distance on the bins, in interquartile ranges of the reference. 0 for a category and for a column
    /// whose quartiles are the same.
    Wasserstein,
}

impl DriftConfig {
    pub(super) fn check(&self) -> Result<()> {
        let shares = (0.0..=1.0).contains(&self.max_q);
        let effects = self.min_effect >= 0.0 && self.max_rate_change >= 0.0;
        if !shares || !effects {
            let reason =
                "max_q lies within 0 to 1, min_effect and max_rate_change are not negative";
            return Err(Error::config("drift", reason));
        }
        Ok(())
    }
}
