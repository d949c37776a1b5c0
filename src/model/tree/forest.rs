//! Single trees and forests: leaves are shares of bad.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::tree::binning::{Binned, Binning};
use crate::model::tree::config::{check_share, share_of};
use crate::model::tree::ensemble::{Output, TreeEnsemble};
use crate::model::tree::grower::{GrowPlan, Grower};
use crate::model::tree::histogram::{Cell, DrawCell, MAX_ROWS, Sum, WideCell, wide};
use crate::model::tree::node::Tree;
use crate::model::tree::prune::prune;
use crate::model::tree::split::{Criterion, Shares};
use crate::model::{ClassWeights, Fitted, Trainer};
use crate::parallel;
use crate::seed::{Seed, below};

/// What the leaves of a tree should be: as pure as possible, by this measure. A split's gain is the weight of its rows
/// times the impurity that it removes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Impurity {
    /// `2p(1 − p)`.
    #[default]
    Gini,
    /// `−p log₂ p − (1 − p) log₂ (1 − p)`, which is also the log-loss of the leaf, in bits.
    Entropy,
}

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

impl DecisionTree {
    /// # Errors
    /// `InvalidConfig` for a parameter outside its range.
    pub fn new(config: DecisionTreeConfig) -> Result<Self> {
        let c = &config;
        let sizes = (c.max_depth, c.max_leaves, c.min_rows_leaf, c.max_bins);
        check("decision tree", sizes, c.class_weights)?;
        if ![c.min_gain, c.prune].iter().all(|x| x.is_finite() && *x >= 0.0) {
            let reason = "min_gain and prune must be finite and not negative";
            return Err(Error::config("decision tree", reason));
        }
        Ok(DecisionTree { config })
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

    fn fit(&self, data: &Dataset, seed: Seed) -> Result<Fitted> {
        data.check_both_classes("decision tree")?;
        let c = &self.config;
        let binned = Binned::new(data, c.binning, c.max_bins)?;
        let plan = GrowPlan {
            max_leaves: c.max_leaves.unwrap_or(usize::MAX),
            max_depth: c.max_depth.unwrap_or(usize::MAX),
            min_rows_split: c.min_rows_split,
            min_rows_leaf: c.min_rows_leaf,
            best_first: c.max_leaves.is_some(),
            parallel: true,
            ..plan(c.impurity)
        };
        let tree = parallel::inside(|| match data.weights() {
            None => {
                let cells: Vec<DrawCell> =
                    data.labels().iter().map(|&bad| DrawCell::new(1, bad)).collect();
                let shares = Shares::of(c.class_weights, data, 1.0);
                grow(&binned, plan, c, shares, &cells, seed)
            }
            Some(weights) => {
                let (unit, cells) = weighted(data, weights, |_| 1);
                let shares = Shares::of(c.class_weights, data, unit);
                grow(&binned, plan, c, shares, &cells, seed)
            }
        });
        let model = TreeEnsemble::new(data.schema().clone(), vec![tree], Output::SHARES)?;
        Ok(Fitted { model: Arc::new(model), convergence: None })
    }
}

fn grow<C: Cell>(
    binned: &Binned,
    mut plan: GrowPlan,
    config: &DecisionTreeConfig,
    shares: Shares,
    cells: &[C],
    seed: Seed,
) -> Tree {
    let all: Vec<u32> = (0..binned.features.len() as u32).collect();
    let rows: Vec<u32> = (0..cells.len() as u32).collect();
    plan.criterion = with(plan.criterion, shares);
    let total: f64 = cells.iter().map(|cell| shares.weights(cell.sum()).1).sum();
    plan.min_gain = config.min_gain * total;
    let grown = Grower::new(binned, plan).grow(rows, cells, &all, seed.rng());
    prune(grown.tree(binned, 1.0), config.prune * total)
}

impl RandomForest {
    /// # Errors
    /// `InvalidConfig` for a parameter outside its range.
    pub fn new(config: RandomForestConfig) -> Result<Self> {
        let c = &config;
        let sizes = (c.max_depth, c.max_leaves, c.min_rows_leaf, c.max_bins);
        check("random forest", sizes, c.class_weights)?;
        if c.n_trees == 0 {
            return Err(Error::config("random forest", "needs at least one tree"));
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
        let model = self.grow(data, seed)?;
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

    fn grow(&self, data: &Dataset, seed: Seed) -> Result<TreeEnsemble> {
        data.check_both_classes("random forest")?;
        let c = &self.config;
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
            best_first: c.max_leaves.is_some(),
            features_per_node: (per_node < n_features).then_some(per_node),
            ..plan(c.impurity)
        };
        let trees: Vec<usize> = (0..c.n_trees).collect();
        let trees = parallel::map(&trees, |&t| {
            let draws = self.draws(data, seed, t);
            let mut plan = plan.clone();
            let rows: Vec<u32> =
                (0..draws.len() as u32).filter(|&row| draws[row as usize] > 0).collect();
            let all: Vec<u32> = (0..n_features as u32).collect();
            let rng = seed.derive("forest nodes", t as u64).rng();
            match data.weights() {
                None => {
                    let labelled = draws.iter().zip(data.labels());
                    let cells: Vec<DrawCell> =
                        labelled.map(|(&draws, &bad)| DrawCell::new(draws, bad)).collect();
                    plan.criterion = with(plan.criterion, Shares::of(c.class_weights, data, 1.0));
                    Grower::new(&binned, plan).grow(rows, &cells, &all, rng).tree(&binned, 1.0)
                }
                Some(weights) => {
                    let (unit, cells) = weighted(data, weights, |row| draws[row]);
                    plan.criterion = with(plan.criterion, Shares::of(c.class_weights, data, unit));
                    Grower::new(&binned, plan).grow(rows, &cells, &all, rng).tree(&binned, 1.0)
                }
            }
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
                let n_good = ((bad.len() as f64 / ratio).round() as usize).clamp(1, MAX_ROWS / 2);
                for (rows, n) in [(&bad, bad.len()), (&good, n_good)] {
                    for _ in 0..n {
                        draws[rows[below(rows.len(), &mut rng)]] += 1;
                    }
                }
            }
        }
        draws
    }
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
        Ok(Fitted { model: Arc::new(self.grow(data, seed)?), convergence: None })
    }
}

fn check(
    what: &'static str,
    sizes: (Option<usize>, Option<usize>, usize, usize),
    class_weights: ClassWeights,
) -> Result<()> {
    let (max_depth, max_leaves, min_rows_leaf, max_bins) = sizes;
    if max_leaves.is_some_and(|n| n < 2) || max_depth == Some(0) || min_rows_leaf == 0 {
        let reason = "max_leaves must be at least 2, max_depth and min_rows_leaf at least 1";
        return Err(Error::config(what, reason));
    }
    if !(2..=65_535).contains(&max_bins) {
        return Err(Error::config(what, "max_bins must lie in 2..=65535"));
    }
    class_weights.check(what)
}

/// What all trees of shares have in common.
fn plan(impurity: Impurity) -> GrowPlan {
    let unknown = Shares { good: 1.0, bad: 1.0 };
    GrowPlan {
        criterion: match impurity {
            Impurity::Gini => Criterion::Gini(unknown),
            Impurity::Entropy => Criterion::Entropy(unknown),
        },
        max_leaves: usize::MAX,
        max_depth: usize::MAX,
        min_rows_split: 2,
        min_rows_leaf: 1,
        min_second: 0,
        min_gain: 0.0,
        best_first: false,
        features_per_node: None,
        directions: Vec::new(),
        interactions: Vec::new(),
        parallel: false,
    }
}

fn with(criterion: Criterion, shares: Shares) -> Criterion {
    match criterion {
        Criterion::Entropy(_) => Criterion::Entropy(shares),
        _ => Criterion::Gini(shares),
    }
}

impl Shares {
    fn of(class_weights: ClassWeights, data: &Dataset, unit: f64) -> Self {
        let (good, bad) = class_weights.of(data);
        Shares { good: good * unit, bad: bad * unit }
    }
}

/// Cells of weighted rows in whole units, and the unit.
fn weighted(data: &Dataset, weights: &[f64], draws: impl Fn(usize) -> u32) -> (f64, Vec<WideCell>) {
    let weight = |row: usize| weights[row] * f64::from(draws(row));
    let most = (0..weights.len()).map(weight).fold(f64::MIN_POSITIVE, f64::max);
    // A power of two, so that whole weights stay exact.
    let unit = (most / wide(weights.len()).1).log2().ceil().exp2();
    let cell = |row: usize| {
        let units = (weight(row) / unit).round() as u64;
        let bad = if data.labels()[row] { units as i64 } else { 0 };
        WideCell(Sum::new(bad, units, u64::from(draws(row))))
    };
    (unit, (0..weights.len()).map(cell).collect())
}
