//! Parameters that several trainers of trees share.

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::schema::FeatureSchema;

/// Weights by label.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// 1 for both.
    #[default]
    Equal,
    /// Both labels weigh as much together: `n_rows / (2 × rows of the label)`. Scores are then no probabilities.
    Balanced,
    /// As given: not negative, not both 0. Scores are then no probabilities unless both are the same.
    Given {
        /// Of a good row.
        good: f64,
        /// Of a bad row.
        bad: f64,
    },
}

impl ClassWeights {
    pub(super) fn check(self, what: &'static str) -> Result<()> {
        match self {
            ClassWeights::Given { good, bad } => {
                let sound = [good, bad].iter().all(|w| w.is_finite() && *w > 0.0);
                let reason = "class weights must be finite and above 0";
                if sound { Ok(()) } else { Err(Error::config(what, reason)) }
            }
            ClassWeights::Equal | ClassWeights::Balanced => Ok(()),
        }
    }

    /// Weight of a good and of a bad row.
    pub(super) fn of(self, data: &Dataset) -> (f64, f64) {
        match self {
            ClassWeights::Equal => (1.0, 1.0),
            ClassWeights::Given { good, bad } => (good, bad),
            ClassWeights::Balanced => {
                let (n, n_bad) = (data.n_rows() as f64, data.n_bad() as f64);
                (n / (2.0 * (n - n_bad)), n / (2.0 * n_bad))
            }
        }
    }

    /// The data set's weights times these; `None` if all are 1.
    pub(super) fn row_weights(self, data: &Dataset) -> Option<Vec<f64>> {
        let (good, bad) = self.of(data);
        if data.weights().is_none() && self == ClassWeights::Equal {
            return None;
        }
        let of_label = data.labels().iter().map(|&is_bad| if is_bad { bad } else { good });
        Some(match data.weights() {
            None => of_label.collect(),
            Some(weights) => of_label.zip(weights).map(|(class, weight)| class * weight).collect(),
        })
    }
}

/// What a boosted model must keep to, by column name.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct Constraints {
    /// Columns whose value may only raise the score, or only lower it. Columns must not be categorical.
    pub monotone: Vec<(String, Direction)>,
    /// Groups of columns that may be asked for on the same path; a column in no group stands alone. Empty: all may.
    pub interactions: Vec<Vec<String>>,
}

/// Which way the score goes with a value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// A higher value never gives a lower score.
    Rising,
    /// A higher value never gives a higher score.
    Falling,
}

impl Constraints {
    /// Directions by position and groups of positions; both empty without constraints.
    pub(super) fn bind(&self, schema: &FeatureSchema) -> Result<(Vec<i8>, Vec<Vec<u32>>)> {
        let position = |name: &String| {
            schema
                .position(name)
                .ok_or_else(|| Error::input("constraints", format!("there is no column {name}")))
        };
        let mut directions = Vec::new();
        for (name, direction) in &self.monotone {
            let feature = position(name)?;
            if schema.kinds()[feature].categories().is_some() {
                let reason = format!("column {name} is categorical, so it has no direction");
                return Err(Error::input("constraints", reason));
            }
            directions.resize(schema.n_features(), 0);
            directions[feature] = if *direction == Direction::Rising { 1 } else { -1 };
        }
        let group = |names: &Vec<String>| {
            names.iter().map(|name| Ok(position(name)? as u32)).collect::<Result<Vec<u32>>>()
        };
        let interactions = self.interactions.iter().map(group).collect::<Result<_>>()?;
        Ok((directions, interactions))
    }

    pub(super) fn parameters(&self) -> Vec<(&'static str, String)> {
        vec![
            ("monotone", format!("{:?}", self.monotone)),
            ("interactions", format!("{:?}", self.interactions)),
        ]
    }
}

/// What every trainer of trees asks of its limits.
pub(super) fn check_limits(
    what: &'static str,
    (max_leaves, max_depth): (Option<usize>, Option<usize>),
    min_rows_leaf: usize,
    max_bins: usize,
) -> Result<()> {
    if max_leaves.is_some_and(|n| n < 2) || max_depth == Some(0) || min_rows_leaf == 0 {
        let reason = "max_leaves must be at least 2, max_depth and min_rows_leaf at least 1";
        return Err(Error::config(what, reason));
    }
    if !(2..=65_535).contains(&max_bins) {
        return Err(Error::config(what, "max_bins must lie in 2..=65535"));
    }
    Ok(())
}

pub(super) fn check_share(what: &'static str, name: &str, share: f64) -> Result<()> {
    if share > 0.0 && share <= 1.0 {
        return Ok(());
    }
    Err(Error::config(what, format!("{name} must lie above 0 and not above 1")))
}

/// That share of `n`, at least one.
pub(super) fn share_of(share: f64, n: usize) -> usize {
    ((share * n as f64).round() as usize).clamp(1, n.max(1))
}
