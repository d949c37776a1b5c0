//! Parameters of gradient boosting.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::ClassWeights;
use crate::model::tree::config::{Constraints, check_limits, check_share};
use crate::model::tree::ensemble::TreeEnsemble;
use crate::model::tree::grow::{Binning, Next};

/// Parameters of [`GradientBoosting`](crate::model::GradientBoosting).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GradientBoostingConfig {
    /// Most trees, at least 1.
    pub n_trees: usize,
    /// What every leaf is multiplied by, `0.0 < x ≤ 1.0`.
    pub learning_rate: f64,
    /// Most leaves of a tree, at least 2; `None` for no limit (then there must be one on depth).
    pub max_leaves: Option<usize>,
    /// Most questions on a path, at least 1.
    pub max_depth: Option<usize>,
    /// Which leaf is split next where there is a limit on leaves.
    pub growth: Growth,
    /// Fewest rows in a leaf, at least 1.
    pub min_rows_leaf: usize,
    /// Smallest sum of second derivatives in a leaf. At a base rate of 1 % a row brings about 0.01, so that 1.0 asks for a
    /// hundred rows: use [`min_rows_leaf`](Self::min_rows_leaf) for rows.
    pub min_hessian: f64,
    /// Penalty on the absolute value of a leaf.
    pub l1: f64,
    /// Penalty on half the square of a leaf. A division of k categories must earn it k − 1 times: cut in the order of their own
    /// rows, many categories look better than they are. (Once for all, the lending club table's AUC over five seeds is
    /// 0.691 instead of 0.698; tables of few categories do not change by more than 0.001.)
    pub l2: f64,
    /// Largest absolute value of a leaf before the learning rate; `None` for no limit. From a base rate of 1 % a Newton
    /// step towards a few bad rows goes a hundred times too far: without a limit, boosting with a high learning rate ends
    /// in nonsense (average precision on the Fraud Detection Handbook's test folds 0.17 instead of 0.69). The default was
    /// chosen on that book's folds before those, where 2 loses 0.006, and 3 and 6 lose 0.002 to 0.004.
    pub max_step: Option<f64>,
    /// What a split must take off twice the loss at least.
    pub min_gain: f64,
    /// Where margins start.
    pub start: Start,
    /// Share of the rows that each tree sees, drawn anew, `0.0 < x ≤ 1.0`.
    pub row_share: f64,
    /// Share of the rows that every tree sees whatever is drawn, `0.0 ≤ x < 1.0`: those of the largest first derivatives,
    /// where the model is most wrong; none of equals if there is no room for all. Above 0, [`row_share`](Self::row_share)
    /// is of the others, must lie within `0.001 ≤ x < 1.0`, and each of them counts `1 / row_share` times. A tenth and a
    /// ninth took 15 to 20 % less time than all rows on two made tables of five seeds, with better AUC and average
    /// precision on both. Source: GOSS (Ke et al., 2017).
    pub top_share: f64,
    /// Share of the features that each tree may ask for, drawn anew, `0.0 < x ≤ 1.0`.
    pub feature_share: f64,
    /// Share of those that each node looks at, drawn anew, `0.0 < x ≤ 1.0`.
    pub feature_share_per_node: f64,
    /// How columns are cut into bins.
    pub binning: Binning,
    /// Bins per feature, `2..=65_535`; up to 255 fit a byte and train fastest.
    pub max_bins: usize,
    /// Weights by label, times the data set's own.
    pub class_weights: ClassWeights,
    /// What the model must keep to.
    pub constraints: Constraints,
}

/// Which leaf is split next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Growth {
    /// The one that gains most.
    #[default]
    LeafWise,
    /// The oldest: level by level.
    DepthWise,
}

/// Where margins start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Start {
    /// The best constant, which for log-loss is the log-odds of the base rate.
    #[default]
    BaseRate,
    /// 0, which for log-loss is one half.
    Zero,
}

impl Default for GradientBoostingConfig {
    fn default() -> Self {
        GradientBoostingConfig {
            n_trees: 100,
            learning_rate: 0.1,
            max_leaves: Some(31),
            max_depth: None,
            growth: Growth::LeafWise,
            min_rows_leaf: 20,
            min_hessian: 1e-3,
            l1: 0.0,
            l2: 1.0,
            max_step: Some(4.0),
            min_gain: 0.0,
            start: Start::BaseRate,
            row_share: 1.0,
            top_share: 0.0,
            feature_share: 1.0,
            feature_share_per_node: 1.0,
            binning: Binning::TailAware,
            max_bins: 255,
            class_weights: ClassWeights::Equal,
            constraints: Constraints::default(),
        }
    }
}

impl GradientBoostingConfig {
    /// # Errors
    /// `InvalidConfig` for a parameter outside its range, or neither a limit on leaves nor one on depth.
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |reason: &str| Err(Error::config("gradient boosting", reason));
        let c = self;
        let limits = (c.max_leaves, c.max_depth);
        check_limits("gradient boosting", limits, c.min_rows_leaf, c.max_bins)?;
        if !(1..=TreeEnsemble::MAX_TREES).contains(&c.n_trees) {
            return refuse("n_trees must lie within 1 to 32768");
        }
        if !(c.learning_rate > 0.0 && c.learning_rate <= 1.0) {
            return refuse("learning_rate must lie above 0 and not above 1");
        }
        if c.max_leaves.is_none() && c.max_depth.is_none() {
            return refuse("needs max_leaves or max_depth");
        }
        if ![c.min_hessian, c.l1, c.l2, c.min_gain].iter().all(|x| x.is_finite() && *x >= 0.0) {
            return refuse("min_hessian, l1, l2 and min_gain must be finite and not negative");
        }
        if c.max_step.is_some_and(|step| step.is_nan() || step <= 0.0) {
            return refuse("max_step must be above 0");
        }
        for (share, name) in [
            (c.row_share, "row_share"),
            (c.feature_share, "feature_share"),
            (c.feature_share_per_node, "feature_share_per_node"),
        ] {
            check_share("gradient boosting", name, share)?;
        }
        if !(0.0..1.0).contains(&c.top_share) {
            return refuse("top_share must lie within 0 and below 1");
        }
        if c.top_share > 0.0 && !(0.001..1.0).contains(&c.row_share) {
            return refuse("with top_share, row_share must lie within 0.001 and below 1");
        }
        c.class_weights.check("gradient boosting")
    }

    /// How many rows a drawn one stands for.
    pub(super) fn stands_for(&self) -> f64 {
        if self.top_share > 0.0 { self.row_share.recip() } else { 1.0 }
    }

    /// Which leaf is split next, where there is a limit on leaves.
    pub(super) fn next(&self) -> Next {
        match self.growth {
            Growth::LeafWise => Next::Best,
            Growth::DepthWise => Next::Oldest,
        }
    }

    /// Every parameter by name.
    pub(super) fn parameters(&self) -> Vec<(String, String)> {
        let c = self;
        let or_none = |n: Option<usize>| n.map_or("none".into(), |n| n.to_string());
        let mut parameters = vec![
            ("n_trees", c.n_trees.to_string()),
            ("learning_rate", c.learning_rate.to_string()),
            ("max_leaves", or_none(c.max_leaves)),
            ("max_depth", or_none(c.max_depth)),
            ("growth", format!("{:?}", c.growth)),
            ("min_rows_leaf", c.min_rows_leaf.to_string()),
            ("min_hessian", c.min_hessian.to_string()),
            ("l1", c.l1.to_string()),
            ("l2", c.l2.to_string()),
            ("max_step", c.max_step.map_or("none".into(), |step| step.to_string())),
            ("min_gain", c.min_gain.to_string()),
            ("start", format!("{:?}", c.start)),
            ("row_share", c.row_share.to_string()),
            ("top_share", c.top_share.to_string()),
            ("feature_share", c.feature_share.to_string()),
            ("feature_share_per_node", c.feature_share_per_node.to_string()),
            ("binning", format!("{:?}", c.binning)),
            ("max_bins", c.max_bins.to_string()),
            ("class_weights", format!("{:?}", c.class_weights)),
        ];
        parameters.extend(c.constraints.parameters());
        parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}
