//! Forests: the mean of many trees, each on its own draw of the rows.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::tree::config::{check_limits, check_share, share_of};
use crate::model::tree::ensemble::{Output, TreeEnsemble};
use crate::model::tree::grow::{Binned, Binning, GrowPlan, MAX_ROWS};
use crate::model::tree::impurity::{Impurity, ShareTrees};
use crate::model::{ClassWeights, Fitted, Trainer};
use crate::parallel;
use crate::seed::{Seed, below};

/// Parameters of [`RandomForest`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RandomForestConfig {
    /// Number of trees, at least 1.
    pub n_trees: usize,
    /// What splits make smaller.
    pub impurity: Impurity,
    /// Most questions on a path, at least 1; `None` for no limit.
    pub max_depth: Option<usize>,
    /// Most leaves of a tree, at least 2, the best splits first; `None` for no limit.
    pub max_leaves: Option<usize>,
    /// Fewest rows that a node must hold to be split.
    pub min_rows_split: usize,
    /// Fewest rows in a leaf, at least 1; a row drawn twice counts twice.
    pub min_rows_leaf: usize,
    /// Features that each node looks at, drawn anew.
    pub features_per_node: FeatureCount,
    /// The rows that each tree sees, drawn anew.
    pub sampling: RowSampling,
    /// How columns are cut into bins.
    pub binning: Binning,
    /// Bins per feature, `2..=65_535`; up to 255 fit a byte and train fastest.
    pub max_bins: usize,
    /// Weights by label, times the data set's own.
    pub class_weights: ClassWeights,
}

/// How many features.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FeatureCount {
    /// The square root of all, rounded down.
    #[default]
    Sqrt,
    /// All of them.
    All,
    /// This share of them, `0.0 < x ≤ 1.0`.
    Share(f64),
}

/// Which rows a tree sees.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RowSampling {
    /// As many draws as there are rows, with putting back.
    #[default]
    Bootstrap,
    /// This share of the rows, without putting back, `0.0 < x ≤ 1.0`.
    Share(f64),
    /// As many draws as there are bad rows, with putting back, from them; and from the good rows that many divided by
    /// this number, `0.0 < x ≤ 1.0` (Chen et al. 2004). Scores are then no probabilities.
    Balanced(f64),
}

impl Default for RandomForestConfig {
    fn default() -> Self {
        RandomForestConfig {
            n_trees: 100,
            impurity: Impurity::Gini,
            max_depth: None,
            max_leaves: None,
            min_rows_split: 2,
            min_rows_leaf: 1,
            features_per_node: FeatureCount::Sqrt,
            sampling: RowSampling::Bootstrap,
            binning: Binning::TailAware,
            max_bins: 255,
            class_weights: ClassWeights::Equal,
        }
    }
}

/// Trains a [`TreeEnsemble`] whose score is the mean of its trees' shares of bad: a random forest (Breiman 2001). Trees are
/// grown in parallel, each by its own seed, so that the same data, seed and parameters give the same forest for any number
/// of threads.
///
/// O(trees × rows × features per node × depth), about 1 byte per value, and per thread 16 per row.
///
/// # Errors
/// `OneClass`; `InvalidInput` for a data set that is too large.
#[derive(Debug, Clone, Default)]
pub struct RandomForest {
    config: RandomForestConfig,
}

/// What [`RandomForest::fit_with_out_of_bag`] gives.
#[derive(Debug, Clone)]
pub struct OutOfBag {
    /// The forest.
    pub model: TreeEnsemble,
    /// For each training row the mean share of bad of the trees that did not see it; NaN for a row that all of them saw.
    pub scores: Vec<f64>,
}

impl RandomForest {
    /// # Errors
    /// `InvalidConfig` for a parameter outside its range.
    pub fn new(config: RandomForestConfig) -> Result<Self> {
        let c = &config;
        let limits = (c.max_leaves, c.max_depth);
        check_limits("random forest", limits, c.min_rows_leaf, c.max_bins)?;
        c.class_weights.check("random forest")?;
        if !(1..=TreeEnsemble::MAX_TREES).contains(&c.n_trees) {
            return Err(Error::config("random forest", "n_trees must lie within 1 to 32768"));
        }
        if let FeatureCount::Share(share) = c.features_per_node {
            check_share("random forest", "features_per_node", share)?;
        }
        if let RowSampling::Share(share) | RowSampling::Balanced(share) = c.sampling {
            check_share("random forest", "sampling", share)?;
        }
        Ok(RandomForest { config })
    }

    /// Trains, and scores each training row by the trees that did not see it: an estimate of how good the forest is without
    /// other rows. It is no estimate of how good it will be later.
    ///
    /// # Errors
    /// See the type.
    pub fn fit_with_out_of_bag(&self, data: &Dataset, seed: Seed) -> Result<OutOfBag> {
        let model = self.fit_trees(data, seed)?;
        let n_features = data.schema().n_features();
        let n_rows = data.n_rows();
        let trees: Vec<usize> = (0..model.trees().len()).collect();
        // Per tree the leaf values of the rows that it did not see; added up in the order of the trees.
        let mut sums = vec![(0.0, 0_u32); n_rows];
        for trees in trees.chunks(2 * parallel::n_threads()) {
            let unseen = parallel::map(trees, |&t| {
                let draws = self.draws(data, seed, t);
                let tree = &model.trees()[t];
                let rows = data.rows().chunks_exact(n_features).zip(draws);
                let value = |row: &[f64]| tree.nodes()[tree.leaf_of(row)].value;
                rows.map(|(row, draws)| (draws == 0).then(|| value(row))).collect::<Vec<_>>()
            });
            for tree in unseen {
                for (sum, value) in sums.iter_mut().zip(tree) {
                    if let Some(value) = value {
                        *sum = (sum.0 + value, sum.1 + 1);
                    }
                }
            }
        }
        // 0 / 0 is NaN: no tree, no score.
        let scores = sums.into_iter().map(|(sum, n)| sum / f64::from(n)).collect();
        Ok(OutOfBag { model, scores })
    }

    /// Trains, and gives the trees as such: to look at, export or explain.
    ///
    /// # Errors
    /// See the type.
    pub fn fit_trees(&self, data: &Dataset, seed: Seed) -> Result<TreeEnsemble> {
        data.check_both_classes("random forest")?;
        let c = &self.config;
        if let RowSampling::Balanced(ratio) = c.sampling {
            let draws = data.n_bad().saturating_add(good_draws(data.n_bad(), ratio));
            if draws > MAX_ROWS {
                let reason =
                    format!("balanced by {ratio} asks for {draws} draws, of {MAX_ROWS} at most");
                return Err(Error::input("sampling", reason));
            }
        }
        let n_features = data.schema().n_features();
        let binned = Binned::new(data, c.binning, c.max_bins)?.without_lines();
        let per_node = match c.features_per_node {
            FeatureCount::Sqrt => n_features.isqrt().max(1),
            FeatureCount::All => n_features,
            FeatureCount::Share(share) => share_of(share, n_features),
        };
        let plan = GrowPlan {
            max_leaves: c.max_leaves.unwrap_or(usize::MAX),
            max_depth: c.max_depth.unwrap_or(usize::MAX),
            min_rows_split: c.min_rows_split,
            min_rows_leaf: c.min_rows_leaf,
            features_per_node: Some(per_node),
            ..GrowPlan::default()
        };
        let (class_weights, impurity) = (c.class_weights, c.impurity);
        let grower = ShareTrees { data, binned: &binned, class_weights, impurity, plan };
        let trees: Vec<usize> = (0..c.n_trees).collect();
        let trees = parallel::map(&trees, |&tree| {
            let nodes = seed.derive("forest nodes", tree as u64);
            grower.grow(&self.draws(data, seed, tree), nodes).0
        });
        TreeEnsemble::new(data.schema().clone(), trees, Output::SHARES)
    }

    /// How often each row is drawn for a tree.
    fn draws(&self, data: &Dataset, seed: Seed, tree: usize) -> Vec<u32> {
        let n_rows = data.n_rows();
        let seed = seed.derive("forest rows", tree as u64);
        let mut rng = seed.rng();
        let mut draws = vec![0; n_rows];
        match self.config.sampling {
            RowSampling::Bootstrap => {
                for _ in 0..n_rows {
                    draws[below(n_rows, &mut rng)] += 1;
                }
            }
            RowSampling::Share(share) => {
                let rows: Vec<u32> = (0..n_rows as u32).collect();
                for row in seed.sample(&rows, share_of(share, n_rows)) {
                    draws[row as usize] = 1;
                }
            }
            RowSampling::Balanced(ratio) => {
                let of = |label: bool| -> Vec<usize> {
                    (0..n_rows).filter(|&row| data.labels()[row] == label).collect()
                };
                let (good, bad) = (of(false), of(true));
                for (rows, n) in [(&bad, bad.len()), (&good, good_draws(bad.len(), ratio))] {
                    for _ in 0..n {
                        draws[rows[below(rows.len(), &mut rng)]] += 1;
                    }
                }
            }
        }
        draws
    }
}

/// Draws from the good rows that go with those from the bad ones.
fn good_draws(n_bad: usize, ratio: f64) -> usize {
    ((n_bad as f64 / ratio).round() as usize).max(1)
}

impl Trainer for RandomForest {
    fn name(&self) -> &'static str {
        "random forest"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let c = &self.config;
        [
            ("n_trees", c.n_trees.to_string()),
            ("impurity", format!("{:?}", c.impurity)),
            ("max_depth", format!("{:?}", c.max_depth)),
            ("max_leaves", format!("{:?}", c.max_leaves)),
            ("min_rows_split", c.min_rows_split.to_string()),
            ("min_rows_leaf", c.min_rows_leaf.to_string()),
            ("features_per_node", format!("{:?}", c.features_per_node)),
            ("sampling", format!("{:?}", c.sampling)),
            ("binning", format!("{:?}", c.binning)),
            ("max_bins", c.max_bins.to_string()),
            ("class_weights", format!("{:?}", c.class_weights)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }

    fn fit(&self, data: &Dataset, seed: Seed) -> Result<Fitted> {
        Ok(Fitted { model: Arc::new(self.fit_trees(data, seed)?), convergence: None })
    }
}
