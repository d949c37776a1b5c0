//! Parameters that several trainers of trees share.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::schema::FeatureSchema;

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
