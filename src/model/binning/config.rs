//! How features are to be binned.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::binning::{Orientation, UnseenCategory};
use crate::stats::EmptyCells;

/// Most fine bins that coarse ones are looked for among: with its cube grows the work.
pub(super) const MAX_PREBINS: usize = 200;

/// Parameters of a [`Binner`](crate::model::Binner).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BinningConfig {
    /// Fine bins of a numeric feature. Those of a categorical one are its categories in the order of their bad rates.
    pub prebins: Prebins,
    /// How coarse bins are made of them.
    pub method: BinningMethod,
    /// Most regular bins.
    pub max_bins: usize,
    /// Least share of all rows in a regular bin, `0.0..=0.5`; of rows that do not weigh, rounded down to whole ones.
    pub min_share: f64,
    /// Fewest bad rows in a regular bin, or their weight.
    pub min_bad: f64,
    /// Fewest good rows in a regular bin, or their weight.
    pub min_good: f64,
    /// Values that are codes, not quantities, such as −999: each has a bin of its own. Numeric features only.
    pub special: Vec<f64>,
    /// What bins without bad or without good rows count as.
    pub empty_cells: EmptyCells,
    /// Which label weights of evidence speak for.
    pub orientation: Orientation,
    /// Where categories go that had no training row.
    pub unseen: UnseenCategory,
}

/// Up to 60 quantiles, three of which make the least share, joined into at most 8 bins of at least 5 % of the rows and one row
/// of each label, with the trend that has the most information. (50 quantiles, of which a bin must take three and so 6 %, lose
/// 3 % of the information value of a feature whose risk is in its tails.)
impl Default for BinningConfig {
    fn default() -> Self {
        BinningConfig {
            prebins: Prebins::Quantile(60),
            method: BinningMethod::default(),
            max_bins: 8,
            min_share: 0.05,
            min_bad: 1.0,
            min_good: 1.0,
            special: Vec::new(),
            empty_cells: EmptyCells::default(),
            orientation: Orientation::default(),
            unseen: UnseenCategory::default(),
        }
    }
}

/// Fine bins of a numeric feature.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Prebins {
    /// Up to so many of about equally many rows.
    Quantile(usize),
    /// Up to so many by a decision tree on the entropy of the label, each with the least share of rows that a bin must have.
    Tree(usize),
}

/// How coarse bins are made of fine ones.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum BinningMethod {
    /// The bins of most information value that keep the trend and the limits: exact, by dynamic programming.
    Optimal {
        /// What the bad rate must do from bin to bin; of a categorical feature, whose bins are ordered by it, it rises.
        trend: Trend,
        /// Largest p-value of equal bad rates of neighbours (pooled z-test); `None` does not ask.
        max_p_value: Option<f64>,
    },
    /// Neighbours are joined while they do not differ (Kerber 1992).
    ChiMerge {
        /// The p-value up to which two neighbours differ.
        significance: f64,
    },
    /// The fine bins are the bins; of the limits only the tree's own least share holds.
    Keep,
}

impl Default for BinningMethod {
    fn default() -> Self {
        BinningMethod::Optimal { trend: Trend::default(), max_p_value: None }
    }
}

/// What the bad rate does from bin to bin; equal neighbours keep every trend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Trend {
    /// Anything.
    Free,
    /// It does not fall.
    Ascending,
    /// It does not rise.
    Descending,
    /// It does not fall up to a bin and does not rise from it.
    Peak,
    /// It does not rise up to a bin and does not fall from it.
    Valley,
    /// Ascending or descending, whichever has more information value.
    Monotone,
    /// Ascending, descending, peak or valley, whichever has most.
    #[default]
    Auto,
}

impl fmt::Display for Trend {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Trend::Free => "no trend",
            Trend::Ascending => "ascending",
            Trend::Descending => "descending",
            Trend::Peak => "peak",
            Trend::Valley => "valley",
            Trend::Monotone => "monotone",
            Trend::Auto => "auto",
        })
    }
}

/// What every regular bin must have.
pub(super) struct Limits {
    pub(super) max_bins: usize,
    pub(super) min_rows: f64,
    pub(super) min_bad: f64,
    pub(super) min_good: f64,
    pub(super) max_p_value: Option<f64>,
}

impl Limits {
    pub(super) fn allow(&self, bad: f64, good: f64) -> bool {
        // A share of the rows that comes out whole must not fall to rounding.
        let rows = (bad + good) * (1.0 + 1e-12);
        rows >= self.min_rows && bad >= self.min_bad && good >= self.min_good
    }
}

impl BinningConfig {
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |reason: &str| Err(Error::config("binning", reason));
        let (Prebins::Quantile(prebins) | Prebins::Tree(prebins)) = self.prebins;
        if self.max_bins == 0 || !(1..=MAX_PREBINS).contains(&prebins) {
            return refuse("max_bins must be at least 1, prebins 1 to 200");
        }
        if !(0.0..=0.5).contains(&self.min_share) {
            return refuse("min_share must be within 0 to 0.5");
        }
        if ![self.min_bad, self.min_good].iter().all(|least| *least >= 0.0 && least.is_finite()) {
            return refuse("min_bad and min_good must be finite and not negative");
        }
        let p_value = match self.method {
            BinningMethod::Optimal { max_p_value, .. } => max_p_value,
            BinningMethod::ChiMerge { significance } => Some(significance),
            BinningMethod::Keep => None,
        };
        if p_value.is_some_and(|p| !(0.0..=1.0).contains(&p)) {
            return refuse("a p-value must be within 0 to 1");
        }
        let codes = &self.special;
        let twice = (1..codes.len()).any(|i| codes[..i].contains(&codes[i]));
        if twice || !codes.iter().all(|code| code.is_finite()) {
            return refuse("special codes must be finite and distinct");
        }
        let infinite = [EmptyCells::Infinite, EmptyCells::Add(0.0)].contains(&self.empty_cells);
        if infinite || !self.empty_cells.is_sound() {
            return refuse("the rule for empty cells must give finite weights");
        }
        Ok(())
    }

    pub(super) fn limits(&self, min_rows: f64) -> Limits {
        let BinningConfig { max_bins, min_bad, min_good, method, .. } = *self;
        let max_p_value = match method {
            BinningMethod::Optimal { max_p_value, .. } => max_p_value,
            _ => None,
        };
        Limits { max_bins, min_rows, min_bad, min_good, max_p_value }
    }
}
