//! Single trees.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::tree::config::check_limits;
use crate::model::tree::ensemble::{Output, TreeEnsemble};
use crate::model::tree::grow::{Binned, Binning, GrowPlan};
use crate::model::tree::impurity::{Impurity, ShareTrees};
use crate::model::tree::prune::prune;
use crate::model::{ClassWeights, Fitted, Trainer};
use crate::parallel;
use crate::seed::Seed;

/// Parameters of [`DecisionTree`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DecisionTreeConfig {
    /// What splits make smaller.
    pub impurity: Impurity,
    /// Most questions on a path, at least 1; `None` for no limit.
    pub max_depth: Option<usize>,
    /// Most leaves, at least 2, the best splits first; `None` for no limit.
    pub max_leaves: Option<usize>,
    /// Fewest rows that a node must hold to be split.
    pub min_rows_split: usize,
    /// Fewest rows in a leaf, at least 1.
    pub min_rows_leaf: usize,
    /// What a split must gain at least, as a share of all rows' weight.
    pub min_gain: f64,
    /// Cost-complexity pruning (Breiman et al. 1984): what each leaf must gain, as a share of all rows' weight, to stay.
    pub prune: f64,
    /// How columns are cut into bins. A single tree is cheap: the default is exact.
    pub binning: Binning,
    /// Bins per feature, `2..=65_535`, where they are not exact.
    pub max_bins: usize,
    /// Weights by label, times the data set's own.
    pub class_weights: ClassWeights,
}

impl Default for DecisionTreeConfig {
    fn default() -> Self {
        DecisionTreeConfig {
            impurity: Impurity::Gini,
            max_depth: None,
            max_leaves: None,
            min_rows_split: 2,
            min_rows_leaf: 1,
            min_gain: 0.0,
            prune: 0.0,
            binning: Binning::Exact,
            max_bins: 255,
            class_weights: ClassWeights::Equal,
        }
    }
}

/// Trains a [`TreeEnsemble`] of one tree. Missing values go where they do most good. The seed plays no part.
///
/// O(rows × features × depth).
///
/// # Errors
/// `OneClass`; `InvalidInput` for a data set that is too large.
#[derive(Debug, Clone, Default)]
pub struct DecisionTree {
    config: DecisionTreeConfig,
}

impl DecisionTree {
    /// # Errors
    /// `InvalidConfig` for a parameter outside its range.
    pub fn new(config: DecisionTreeConfig) -> Result<Self> {
        let c = &config;
        let limits = (c.max_leaves, c.max_depth);
        check_limits("decision tree", limits, c.min_rows_leaf, c.max_bins)?;
        c.class_weights.check("decision tree")?;
        if ![c.min_gain, c.prune].iter().all(|x| x.is_finite() && *x >= 0.0) {
            let reason = "min_gain and prune must be finite and not negative";
            return Err(Error::config("decision tree", reason));
        }
        Ok(DecisionTree { config })
    }

    /// Trains, and gives the tree as such: to look at, print or export.
    ///
    /// # Errors
    /// See the type.
    pub fn fit_tree(&self, data: &Dataset) -> Result<TreeEnsemble> {
        data.check_both_classes("decision tree")?;
        let c = &self.config;
        let binned = Binned::new(data, c.binning, c.max_bins)?;
        let plan = GrowPlan {
            max_leaves: c.max_leaves.unwrap_or(usize::MAX),
            max_depth: c.max_depth.unwrap_or(usize::MAX),
            min_rows_split: c.min_rows_split,
            min_rows_leaf: c.min_rows_leaf,
            min_gain: c.min_gain,
            parallel: true,
            ..GrowPlan::default()
        };
        let (class_weights, impurity) = (c.class_weights, c.impurity);
        let trees = ShareTrees { data, binned: &binned, class_weights, impurity, plan };
        let every_row_once = vec![1; data.n_rows()];
        let (tree, weight) = parallel::inside(|| trees.grow(&every_row_once, Seed::default()));
        let tree = prune(tree, c.prune * weight);
        TreeEnsemble::new(data.schema().clone(), vec![tree], Output::SHARES)
    }
}

impl Trainer for DecisionTree {
    fn name(&self) -> &'static str {
        "decision tree"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let c = &self.config;
        [
            ("impurity", format!("{:?}", c.impurity)),
            ("max_depth", format!("{:?}", c.max_depth)),
            ("max_leaves", format!("{:?}", c.max_leaves)),
            ("min_rows_split", c.min_rows_split.to_string()),
            ("min_rows_leaf", c.min_rows_leaf.to_string()),
            ("min_gain", c.min_gain.to_string()),
            ("prune", c.prune.to_string()),
            ("binning", format!("{:?}", c.binning)),
            ("max_bins", c.max_bins.to_string()),
            ("class_weights", format!("{:?}", c.class_weights)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn fit(&self, data: &Dataset, _: Seed) -> Result<Fitted> {
        Ok(Fitted { model: Arc::new(self.fit_tree(data)?), convergence: None })
    }
}
