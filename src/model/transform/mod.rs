//! Transforms that are fitted on training rows and travel with the model.

mod fit;
mod fitted;
mod map;

pub use fitted::FittedTransforms;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::binning::{Binner, BinningConfig};

/// A transform to be fitted. It changes the columns of its kind and leaves the others as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Transform {
    /// Fills missing values of numeric and boolean columns.
    Impute(Imputation),
    /// Adds a boolean column `NAME missing` for every column that has a missing value in training.
    FlagMissing,
    /// Draws numeric values in to these quantiles of the training rows, `0.0..=1.0`.
    Winsorise {
        /// Lower quantile.
        lower: f64,
        /// Upper quantile, above the lower.
        upper: f64,
    },
    /// Takes off the mean of every numeric column and divides by its population standard deviation; a constant column is only
    /// shifted.
    Standardise,
    /// Puts the bad rate of a category in its place, drawn towards that of all rows: (bad + s · rate) / (rows + s). A
    /// training row is encoded by the other folds, never by its own label.
    TargetEncode {
        /// Folds that training rows are encoded across, at least 2.
        folds: usize,
        /// How many rows of the average the bad rate of all weighs, s.
        smoothing: f64,
    },
    /// Puts the share of training rows that a category has in its place.
    FrequencyEncode,
    /// Makes a boolean column `NAME = CATEGORY` of every category.
    OneHot,
    /// Puts weights of evidence in the place of every column's values.
    WeightOfEvidence(BinningConfig),
}

/// What takes the place of a missing value.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum Imputation {
    /// The median of the training rows; 0 where all are missing.
    #[default]
    Median,
    /// Their mean; 0 where all are missing.
    Mean,
    /// This number.
    Constant(f64),
}

impl Transform {
    fn check(&self) -> Result<()> {
        let refuse = |reason: &str| Err(Error::config("transform", reason));
        match self {
            Transform::Impute(Imputation::Constant(value)) if !value.is_finite() => {
                refuse("a constant to impute must be finite")
            }
            Transform::Winsorise { lower, upper }
                if !(0.0 <= *lower && lower < upper && *upper <= 1.0) =>
            {
                refuse("quantiles must rise within 0 to 1")
            }
            Transform::TargetEncode { folds, smoothing }
                if *folds < 2 || !(*smoothing >= 0.0 && smoothing.is_finite()) =>
            {
                refuse("target encoding needs 2 folds, and a smoothing that is not negative")
            }
            Transform::WeightOfEvidence(config) => Binner::new(config.clone()).map(drop),
            _ => Ok(()),
        }
    }
}
