//! Gradient boosting: trees that each take a step against what the ones before left over.

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::tree::binning::{Binned, Binning};
use crate::model::tree::config::{Constraints, check_share, share_of};
use crate::model::tree::ensemble::{Combine, Output, Precision, TreeEnsemble};
use crate::model::tree::grower::{GrowPlan, Grower, Grown};
use crate::model::tree::histogram::{
    Cell, PACKED_FIRST, PACKED_SECOND, PackedCell, Sum, WideCell, wide,
};
use crate::model::tree::node::Tree;
use crate::model::tree::objective::{LogLoss, Objective};
use crate::model::tree::split::{Criterion, Newton};
use crate::model::{ClassWeights, Fitted, Model, Trainer};
use crate::parallel;
use crate::seed::Seed;

/// Parameters of [`GradientBoosting`].
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
    /// Penalty on half the square of a leaf.
    pub l2: f64,
    /// Largest absolute value of a leaf before the learning rate; `None` for no limit. From a base rate of 1 % a Newton
    /// step towards a few bad rows goes a hundred times too far: without a limit, boosting with a high learning rate ends
    /// in nonsense (average precision on the Fraud Detection Handbook's folds 0.17 instead of 0.69).
    pub max_step: Option<f64>,
    /// What a split must take off twice the loss at least.
    pub min_gain: f64,
    /// Where margins start.
    pub start: Start,
    /// Share of the rows that each tree sees, drawn anew, `0.0 < x ≤ 1.0`.
    pub row_share: f64,
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
            max_step: Some(2.0),
            min_gain: 0.0,
            start: Start::BaseRate,
            row_share: 1.0,
            feature_share: 1.0,
            feature_share_per_node: 1.0,
            binning: Binning::TailAware,
            max_bins: 255,
            class_weights: ClassWeights::Equal,
            constraints: Constraints::default(),
        }
    }
}

/// Trains a [`TreeEnsemble`] by gradient boosting: histograms of binned columns, Newton steps, trees leaf by leaf.
///
/// Missing values go where they do most good. Categorical columns are divided, not cut; rare categories beyond
/// [`max_bins`](GradientBoostingConfig::max_bins), and any that training did not see, count as missing. The same data, seed
/// and parameters give the same model for any number of threads.
///
/// O(trees × rows × features × log leaves), about 1 byte per value and 40 per row.
///
/// # Errors
/// `OneClass`; `InvalidInput` for a data set that is too large, or for constraints on columns that are not there.
#[derive(Debug, Clone, Default)]
pub struct GradientBoosting {
    config: GradientBoostingConfig,
}

/// What training may be given beyond the data. The default gives nothing.
#[derive(Default)]
pub struct BoostingOptions<'a> {
    /// The loss, if not log-loss.
    pub objective: Option<&'a dyn Objective>,
    /// What to predict, one per row, if not the labels.
    pub targets: Option<&'a [f64]>,
    /// When to stop early.
    pub early_stopping: Option<EarlyStopping<'a>>,
    /// A model to go on from: its trees come first. It must have been trained by boosting on the same columns.
    pub warm_start: Option<&'a TreeEnsemble>,
    /// Called after every tree; `Break` ends training with the trees so far.
    pub progress: Option<&'a mut (dyn FnMut(BoostingProgress) -> ControlFlow<()> + Send)>,
}

impl fmt::Debug for BoostingOptions<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("BoostingOptions")
            .field("objective", &self.objective)
            .finish_non_exhaustive()
    }
}

/// Stops training when later trees make a metric on other rows no better, and drops the trees that did not help.
pub struct EarlyStopping<'a> {
    /// The other rows. Later ones than the training rows are the honest choice.
    pub validation: &'a Dataset,
    /// The metric of the validation rows' scores.
    pub metric: &'a (dyn Fn(&Dataset, &[f64]) -> Result<f64> + Sync),
    /// Whether more of it is better.
    pub higher_is_better: bool,
    /// Trees without a new best value after which training stops, at least 1.
    pub patience: usize,
}

impl fmt::Debug for EarlyStopping<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EarlyStopping").field("patience", &self.patience).finish_non_exhaustive()
    }
}

/// How far training is.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BoostingProgress {
    /// Trees so far, those of a warm start not counted.
    pub n_trees: usize,
    /// Trees at most.
    pub max_trees: usize,
    /// The metric of early stopping after the latest tree.
    pub validation: Option<f64>,
}

/// What [`GradientBoosting::fit_with`] gives.
#[derive(Debug, Clone)]
pub struct BoostedTrees {
    /// The model, up to the best tree where training was to stop early.
    pub model: TreeEnsemble,
    /// The metric of early stopping after each tree; empty without.
    pub validation: Vec<f64>,
    /// Why training ended.
    pub ended: BoostingEnd,
}

/// Why boosting ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum BoostingEnd {
    /// All trees were grown.
    AllTrees,
    /// No tree made the metric better for as long as the patience lasts.
    NoBetter,
    /// No split gained anything, so further trees would be constants.
    NothingLeft,
    /// The progress callback said so.
    Cancelled,
}

impl GradientBoosting {
    /// # Errors
    /// `InvalidConfig` for a parameter outside its range, or neither a limit on leaves nor one on depth.
    pub fn new(config: GradientBoostingConfig) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::config("gradient boosting", reason));
        let c = &config;
        if c.n_trees == 0 || c.min_rows_leaf == 0 {
            return refuse("n_trees and min_rows_leaf must be at least 1");
        }
        if !(c.learning_rate > 0.0 && c.learning_rate <= 1.0) {
            return refuse("learning_rate must lie above 0 and not above 1");
        }
        if c.max_leaves.is_some_and(|n| n < 2) || c.max_depth == Some(0) {
            return refuse("max_leaves must be at least 2 and max_depth at least 1");
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
        if !(2..=65_535).contains(&c.max_bins) {
            return refuse("max_bins must lie in 2..=65535");
        }
        config.class_weights.check("gradient boosting")?;
        Ok(GradientBoosting { config })
    }

    /// The parameters.
    pub fn config(&self) -> &GradientBoostingConfig {
        &self.config
    }

    /// Trains with everything that [`Trainer::fit`] has no place for.
    ///
    /// # Errors
    /// See the type; `InvalidInput` also for targets or derivatives that are not finite, and for a model to go on from
    /// that has other columns or is not one of boosting; any error of the metric.
    pub fn fit_with(
        &self,
        data: &Dataset,
        seed: Seed,
        options: BoostingOptions<'_>,
    ) -> Result<BoostedTrees> {
        let objective = options.objective.unwrap_or(&LogLoss);
        let labels: Vec<f64>;
        let targets = match options.targets {
            Some(targets) if targets.len() != data.n_rows() => {
                let reason = format!("{} for {} rows", targets.len(), data.n_rows());
                return Err(Error::input("targets", reason));
            }
            Some(targets) => targets,
            None => {
                data.check_both_classes("gradient boosting")?;
                labels = data.labels().iter().map(|&bad| f64::from(u8::from(bad))).collect();
                &labels
            }
        };
        let weights = self.config.class_weights.row_weights(data);
        let base = match options.warm_start {
            Some(model) => {
                data.schema().check(model.schema())?;
                let Output { combine, precision, link, base } = model.output();
                if (combine, precision, link) != (Combine::Sum, Precision::Double, objective.link())
                {
                    let reason = "adds leaves in another way, or to another kind of score";
                    return Err(Error::input("model to go on from", reason));
                }
                base
            }
            None => {
                let base_rate = objective.start(targets, weights.as_deref())?;
                if self.config.start == Start::BaseRate { base_rate } else { 0.0 }
            }
        };
        let binned = Binned::new(data, self.config.binning, self.config.max_bins)?;
        let mut margins = vec![base; data.n_rows()];
        if let Some(model) = options.warm_start {
            model.margins(data.rows(), &mut margins)?;
        }
        let spread = weights.as_ref().map_or(1.0, |weights| {
            let largest = weights.iter().copied().fold(0.0, f64::max);
            largest * weights.len() as f64 / weights.iter().sum::<f64>()
        });
        let rounds =
            Rounds { config: &self.config, data, binned: &binned, objective, targets, seed };
        let rounds = Rounding { rounds, weights: weights.as_deref(), margins, base };
        // Rounded to 14 bits, derivatives need rows to average over and weights that do not differ too much.
        let wide = data.n_rows() < 10_000 || spread > 8.0;
        parallel::inside(move || match wide {
            true => rounds.run::<WideCell>(options),
            false => rounds.run::<PackedCell>(options),
        })
    }
}

impl Trainer for GradientBoosting {
    fn name(&self) -> &'static str {
        "gradient boosting"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let c = &self.config;
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
            ("feature_share", c.feature_share.to_string()),
            ("feature_share_per_node", c.feature_share_per_node.to_string()),
            ("binning", format!("{:?}", c.binning)),
            ("max_bins", c.max_bins.to_string()),
            ("class_weights", format!("{:?}", c.class_weights)),
        ];
        parameters.extend(c.constraints.parameters());
        parameters.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }

    fn fit(&self, data: &Dataset, seed: Seed) -> Result<Fitted> {
        let boosted = self.fit_with(data, seed, BoostingOptions::default())?;
        Ok(Fitted { model: Arc::new(boosted.model), convergence: None })
    }
}

/// What stays the same from tree to tree.
struct Rounds<'a> {
    config: &'a GradientBoostingConfig,
    data: &'a Dataset,
    binned: &'a Binned,
    objective: &'a dyn Objective,
    targets: &'a [f64],
    seed: Seed,
}

/// The state of training.
struct Rounding<'a> {
    rounds: Rounds<'a>,
    weights: Option<&'a [f64]>,
    margins: Vec<f64>,
    base: f64,
}

/// Rows whose derivatives are computed together.
const BLOCK: usize = 4096;

/// A cell that takes derivatives, rounded to whole units.
trait GradientCell: Cell {
    /// Largest derivatives, in units.
    fn largest(n_rows: usize) -> (f64, f64);

    /// Rounds up or down by `chances`, two numbers in 0..1; derivatives are in units.
    fn rounded(first: f32, second: f32, chances: (f32, f32)) -> Self;
}

impl GradientCell for PackedCell {
    fn largest(_: usize) -> (f64, f64) {
        (PACKED_FIRST, PACKED_SECOND)
    }

    #[inline]
    fn rounded(first: f32, second: f32, chances: (f32, f32)) -> Self {
        // Added to 2^23 a float keeps nothing behind the point: its low bits are the number, rounded to the nearest, and
        // with a chance less one half that is up or down by chance. No branch, no conversion. Below 2^23 there would be
        // room behind the point again, and the bits would say something else.
        const WHOLE: f32 = 8_388_608.0;
        let bits = |x: f32| (x.max(0.0) + WHOLE).to_bits() & 0x7f_ffff;
        let largest = PACKED_FIRST as f32;
        let first = first.clamp(-largest, largest) + largest + (chances.0 - 0.5);
        let second = second.clamp(0.0, PACKED_SECOND as f32) + (chances.1 - 0.5);
        PackedCell::new(i64::from(bits(first)) - PACKED_FIRST as i64, i64::from(bits(second)))
    }
}

impl GradientCell for WideCell {
    fn largest(n_rows: usize) -> (f64, f64) {
        wide(n_rows)
    }

    #[inline]
    fn rounded(first: f32, second: f32, _: (f32, f32)) -> Self {
        // With units this small a float is a whole number of them already, or next to one.
        WideCell(Sum::new(first as i64, second as u64, 1))
    }
}

impl<'a> Rounding<'a> {
    fn run<C: GradientCell>(mut self, mut options: BoostingOptions<'_>) -> Result<BoostedTrees> {
        let Rounds { config, data, binned, objective, seed, .. } = self.rounds;
        let n_rows = data.n_rows();
        let all: Vec<u32> = (0..data.schema().n_features() as u32).collect();
        let n_features = share_of(config.feature_share, all.len());
        let per_node = (config.feature_share_per_node < 1.0)
            .then(|| share_of(config.feature_share_per_node, n_features));
        let (directions, interactions) = config.constraints.bind(data.schema())?;
        let newton = Newton {
            first_unit: 1.0,
            second_unit: 1.0,
            l1: config.l1,
            l2: config.l2,
            max_step: config.max_step.unwrap_or(f64::INFINITY),
        };
        let plan = GrowPlan {
            criterion: Criterion::Newton(newton),
            max_leaves: config.max_leaves.unwrap_or(usize::MAX),
            max_depth: config.max_depth.unwrap_or(usize::MAX),
            min_rows_split: 2,
            min_rows_leaf: config.min_rows_leaf,
            min_second: 0,
            min_gain: config.min_gain,
            best_first: config.growth == Growth::LeafWise && config.max_leaves.is_some(),
            features_per_node: per_node,
            directions,
            interactions,
            parallel: true,
        };
        let mut grower = Grower::<C>::new(binned, plan);
        let mut cells = vec![C::default(); n_rows];
        let leaf_of: Vec<AtomicU32> = (0..n_rows).map(|_| AtomicU32::new(0)).collect();
        // The latest tree's leaf values by node; margins take them up with the next derivatives.
        let mut latest: Vec<f64> = vec![0.0];
        let mut trees: Vec<Tree> = Vec::new();
        let mut stopping =
            options.early_stopping.map(|stopping| Stopping::new(stopping, self.base));
        if let (Some(stopping), Some(model)) = (&mut stopping, options.warm_start) {
            model.margins(stopping.early.validation.rows(), &mut stopping.margins)?;
        }
        let mut ended = BoostingEnd::AllTrees;
        for round in 0..config.n_trees {
            let seed = seed.derive("boosting round", round as u64);
            let units = self.fill_cells(&latest, &leaf_of, &mut cells, seed)?;
            let plan = grower.plan_mut();
            let first_unit = units.0;
            plan.criterion =
                Criterion::Newton(Newton { first_unit, second_unit: units.1, ..newton });
            let least = (config.min_hessian / units.1).ceil() as u64;
            // Without a penalty a leaf of no curvature would have no best value.
            plan.min_second = least.max(u64::from(config.l2 == 0.0));
            let features = seed.derive("features", 0).sample(&all, n_features);
            let rows = sample_rows(n_rows, config.row_share, seed.derive("rows", 0));
            let grown = grower.grow(rows, &cells, &features, seed.derive("nodes", 0).rng());
            if grown.nodes.len() == 1 && config.row_share == 1.0 && config.feature_share == 1.0 {
                ended = BoostingEnd::NothingLeft;
                break;
            }
            store_leaves(&grown, binned, &leaf_of);
            latest = grown.nodes.iter().map(|node| node.value * config.learning_rate).collect();
            let tree = grown.tree(binned, config.learning_rate);
            if let Some(stopping) = &mut stopping {
                stopping.take_up(&tree, objective)?;
            }
            trees.push(tree);
            if let Some(progress) = &mut options.progress {
                let validation =
                    stopping.as_ref().and_then(|stopping| stopping.history.last().copied());
                let now =
                    BoostingProgress { n_trees: round + 1, max_trees: config.n_trees, validation };
                if progress(now).is_break() {
                    ended = BoostingEnd::Cancelled;
                    break;
                }
            }
            if stopping.as_ref().is_some_and(Stopping::is_over) {
                ended = BoostingEnd::NoBetter;
                break;
            }
        }
        let mut validation = Vec::new();
        if let Some(stopping) = stopping {
            trees.truncate(stopping.best_round.map_or(0, |round| round + 1));
            validation = stopping.history;
        }
        let before = options.warm_start.map_or(&[][..], TreeEnsemble::trees);
        let trees = before.iter().cloned().chain(trees).collect();
        let output = Output {
            base: self.base,
            combine: Combine::Sum,
            precision: Precision::Double,
            link: objective.link(),
        };
        let model = TreeEnsemble::new(data.schema().clone(), trees, output)?;
        Ok(BoostedTrees { model, validation, ended })
    }

    /// Takes the latest tree up into the margins and computes the derivatives there, rounded to units. Gives the units.
    fn fill_cells<C: GradientCell>(
        &mut self,
        latest: &[f64],
        leaf_of: &[AtomicU32],
        cells: &mut [C],
        seed: Seed,
    ) -> Result<(f64, f64)> {
        let Rounds { objective, targets, .. } = self.rounds;
        let weights = self.weights;
        let starts: Vec<usize> = (0..self.margins.len()).step_by(BLOCK).collect();
        let blocks = self.margins.chunks_mut(BLOCK).zip(leaf_of.chunks(BLOCK)).collect();
        parallel::for_each(blocks, |(margins, leaves): (&mut [f64], &[AtomicU32])| {
            for (margin, leaf) in margins.iter_mut().zip(leaves) {
                *margin += latest[leaf.load(Ordering::Relaxed) as usize];
            }
        });
        let margins = &self.margins[..];
        let derivatives = |start: usize, n: usize, first: &mut [f32], second: &mut [f32]| {
            objective.derivatives(&margins[start..][..n], &targets[start..][..n], first, second);
            if let Some(weights) = weights {
                for (i, weight) in weights[start..][..n].iter().enumerate() {
                    first[i] *= *weight as f32;
                    second[i] *= *weight as f32;
                }
            }
        };
        let bounds = match objective.bounds() {
            Some((first, second)) => {
                let largest =
                    weights.map_or(1.0, |weights| weights.iter().copied().fold(0.0, f64::max));
                (first * largest, second * largest)
            }
            None => {
                let found = parallel::map(&starts, |&start| {
                    let n = BLOCK.min(margins.len() - start);
                    let (mut first, mut second) = ([0.0; BLOCK], [0.0; BLOCK]);
                    derivatives(start, n, &mut first[..n], &mut second[..n]);
                    let sound = first[..n].iter().chain(&second[..n]).all(|x| x.is_finite())
                        && second[..n].iter().all(|x| *x >= 0.0);
                    let largest = |of: &[f32]| of.iter().fold(0.0_f32, |most, x| most.max(x.abs()));
                    sound.then(|| {
                        (f64::from(largest(&first[..n])), f64::from(largest(&second[..n])))
                    })
                });
                let mut bounds = (f64::MIN_POSITIVE, f64::MIN_POSITIVE);
                for block in found {
                    let reason = "has derivatives that are not finite, or a negative second one";
                    let block = block.ok_or_else(|| Error::input("objective", reason))?;
                    bounds = (bounds.0.max(block.0), bounds.1.max(block.1));
                }
                bounds
            }
        };
        let largest = C::largest(margins.len());
        let units = (bounds.0 / largest.0, bounds.1 / largest.1);
        let blocks = starts.into_iter().zip(cells.chunks_mut(BLOCK)).collect();
        parallel::for_each(blocks, |(start, cells): (usize, &mut [C])| {
            let n = cells.len();
            let (mut first, mut second) = ([0.0; BLOCK], [0.0; BLOCK]);
            derivatives(start, n, &mut first[..n], &mut second[..n]);
            let scale = (units.0.recip() as f32, units.1.recip() as f32);
            for (i, cell) in cells.iter_mut().enumerate() {
                let chances = chances((start + i) as u64, seed);
                *cell = C::rounded(first[i] * scale.0, second[i] * scale.1, chances);
            }
        });
        Ok(units)
    }
}

/// Two numbers in 0..1 that differ from row to row and round to round.
#[inline]
fn chances(row: u64, seed: Seed) -> (f32, f32) {
    let mixed = (row ^ seed.0).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let unit = 1.0 / 16_777_216.0;
    (((mixed >> 40) as i32) as f32 * unit, ((mixed >> 16) as i32 & 0xff_ffff) as f32 * unit)
}

/// Each row by its own chance, so that the rows of a tree do not depend on how many there are; ascending.
fn sample_rows(n_rows: usize, share: f64, seed: Seed) -> Vec<u32> {
    let rows = 0..n_rows as u32;
    if share >= 1.0 {
        return rows.collect();
    }
    rows.filter(|&row| f64::from(chances(u64::from(row), seed).0) < share).collect()
}

/// Writes down where every row ended, those that the tree was not grown on included.
fn store_leaves(grown: &Grown, binned: &Binned, leaf_of: &[AtomicU32]) {
    let leaves: Vec<(u32, &[u32])> =
        grown.leaves().map(|(i, leaf)| (i as u32, &grown.rows[leaf.range.clone()])).collect();
    // Every row is in one leaf, so no two threads write to the same place.
    parallel::for_each(leaves, |(leaf, rows)| {
        rows.iter().for_each(|&row| leaf_of[row as usize].store(leaf, Ordering::Relaxed));
    });
    if grown.rows.len() < leaf_of.len() {
        let mut seen = vec![false; leaf_of.len()];
        grown.rows.iter().for_each(|&row| seen[row as usize] = true);
        let starts: Vec<usize> = (0..leaf_of.len()).step_by(BLOCK).collect();
        parallel::for_each(starts, |start| {
            for row in (start..leaf_of.len().min(start + BLOCK)).filter(|&row| !seen[row]) {
                let leaf = grown.leaf_of(binned, row as u32) as u32;
                leaf_of[row].store(leaf, Ordering::Relaxed);
            }
        });
    }
}

/// The state of early stopping.
struct Stopping<'a> {
    early: EarlyStopping<'a>,
    margins: Vec<f64>,
    history: Vec<f64>,
    best_round: Option<usize>,
}

impl<'a> Stopping<'a> {
    fn new(early: EarlyStopping<'a>, base: f64) -> Self {
        let margins = vec![base; early.validation.n_rows()];
        Stopping { early, margins, history: Vec::new(), best_round: None }
    }

    fn take_up(&mut self, tree: &Tree, objective: &dyn Objective) -> Result<()> {
        let validation = self.early.validation;
        let n_features = validation.schema().n_features();
        let rows = validation.rows().chunks(BLOCK * n_features);
        let blocks = self.margins.chunks_mut(BLOCK).zip(rows).collect();
        parallel::for_each(blocks, |(margins, rows): (&mut [f64], &[f64])| {
            for (margin, row) in margins.iter_mut().zip(rows.chunks_exact(n_features)) {
                *margin += tree.nodes()[tree.leaf_of(row)].value;
            }
        });
        let link = objective.link();
        let scores: Vec<f64> = self.margins.iter().map(|&margin| link.score(margin)).collect();
        let value = (self.early.metric)(validation, &scores)?;
        if value.is_nan() {
            return Err(Error::input("metric of early stopping", "is not a number"));
        }
        let better =
            |best: f64| if self.early.higher_is_better { value > best } else { value < best };
        if self.best_round.is_none_or(|round| better(self.history[round])) {
            self.best_round = Some(self.history.len());
        }
        self.history.push(value);
        Ok(())
    }

    fn is_over(&self) -> bool {
        let best = self.best_round.unwrap_or(0);
        self.history.len() - 1 - best >= self.early.patience.max(1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounded_derivative_is_one_of_its_two_neighbours_and_right_on_average() {
        let (largest, most) = (PACKED_FIRST as f32, PACKED_SECOND as f32);
        for first in [-largest, -largest + 0.3, -1.5, 0.0, 0.1, 77.7, largest - 0.1, largest, 1e9] {
            for second in [0.0, 1e-9, 0.2, 1.0, 500.5, most - 0.01, most, 1e9] {
                let mut sum = Sum::default();
                let n = 1000;
                for i in 0..n {
                    let chance = i as f32 / n as f32;
                    let one =
                        PackedCell::rounded(first, second, (chance, 1.0 - chance - 1e-3)).sum();
                    let (first, second) = (first.min(largest), second.min(most));
                    assert!((one.first() as f32 - first).abs() <= 1.0, "{first} {one:?}");
                    assert!((one.second() as f32 - second).abs() <= 1.0, "{second} {one:?}");
                    sum = sum.plus(one);
                }
                let mean = |sum: f32| sum / n as f32;
                assert!((mean(sum.first() as f32) - first.min(largest)).abs() < 0.01);
                assert!((mean(sum.second() as f32) - second.min(most)).abs() < 0.01);
                assert_eq!(sum.rows(), n as u64);
            }
        }
    }
}
