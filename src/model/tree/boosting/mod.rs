//! Gradient boosting: trees that each take a step against what the ones before left over.

mod config;
mod derivatives;
mod early_stopping;
mod sampling;

use std::fmt;
use std::ops::ControlFlow;
use std::sync::Arc;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::tree::config::share_of;
use crate::model::tree::ensemble::{Combine, Output, Precision, TreeEnsemble};
use crate::model::tree::grow::{
    Binned, Criterion, GrowPlan, Grower, Grown, Newton, PackedCell, WideCell,
};
use crate::model::tree::node::Tree;
use crate::model::tree::objective::{LogLoss, Objective};
use crate::model::{Fitted, Model, Trainer};
use crate::parallel;
use crate::seed::Seed;
use derivatives::{GradientCell, Loss};
use early_stopping::Validation;
use sampling::draw_rows;

pub use config::{GradientBoostingConfig, Growth, Start};
pub use early_stopping::EarlyStopping;

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
        config.check()?;
        Ok(GradientBoosting { config })
    }

    /// The parameters.
    pub fn config(&self) -> &GradientBoostingConfig {
        &self.config
    }

    /// Trains with everything that [`Trainer::fit`] has no place for.
    ///
    /// # Errors
    /// See the type; `InvalidInput` also for targets or derivatives that are not finite, and for a model to go on from that
    /// is not one of boosting; `SchemaMismatch` if that or the validation rows have other columns; any error of the metric.
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
        let loss = Loss::new(objective, targets, weights.as_deref(), self.config.stands_for())?;
        let start = objective.start(targets, weights.as_deref())?;
        if !start.is_finite() {
            return Err(Error::input("objective", format!("starts from {start}")));
        }
        let start = if self.config.start == Start::BaseRate { start } else { 0.0 };
        let (combine, precision, link) = (Combine::Sum, Precision::Double, objective.link());
        let mut output = Output { combine, precision, link, base: start };
        if let Some(model) = options.warm_start {
            data.schema().check(model.schema())?;
            output.base = model.output().base;
            if model.output() != output {
                let reason = "adds leaves in another way, or to another kind of score";
                return Err(Error::input("model to go on from", reason));
            }
        }
        let binned = Binned::new(data, self.config.binning, self.config.max_bins)?;
        // Rounded to 14 bits, derivatives need rows to average over and weights that do not differ too much.
        let spread = weights.as_ref().map_or(1.0, |weights| {
            let largest = weights.iter().copied().fold(0.0, f64::max);
            largest * weights.len() as f64 / weights.iter().sum::<f64>()
        });
        let wide = data.n_rows() < 10_000 || spread * self.config.stands_for() > 8.0;
        parallel::inside(move || match wide {
            true => self.boost::<WideCell>(data, &binned, &loss, output, seed, options),
            false => self.boost::<PackedCell>(data, &binned, &loss, output, seed, options),
        })
    }

    fn boost<C: GradientCell>(
        &self,
        data: &Dataset,
        binned: &Binned,
        loss: &Loss<'_>,
        output: Output,
        seed: Seed,
        mut options: BoostingOptions<'_>,
    ) -> Result<BoostedTrees> {
        let config = &self.config;
        let (n_rows, n_features) = (data.n_rows(), data.schema().n_features());
        let mut margins = vec![output.base; n_rows];
        if let Some(model) = options.warm_start {
            model.margins(data.rows(), &mut margins)?;
        }
        let start = (output.base, output.link);
        let validation = options.early_stopping.take();
        let mut validation = validation
            .map(|early| Validation::new(early, data.schema(), start, options.warm_start))
            .transpose()?;
        let features: Vec<u32> = (0..n_features as u32).collect();
        let n_drawn = share_of(config.feature_share, n_features);
        let mut grower = Grower::<C>::new(binned, self.plan(data, n_drawn)?);
        let mut cells = vec![C::default(); n_rows];
        let mut trees: Vec<Tree> = Vec::new();
        // The latest tree; the margins take it up with the next derivatives.
        let mut latest: Option<Grown> = None;
        let mut rows = Vec::new();
        let mut ended = BoostingEnd::AllTrees;
        for round in 0..config.n_trees {
            let seed = seed.derive("boosting round", round as u64);
            let take_up = |start: usize, margins: &mut [f64]| {
                if let Some(tree) = &latest {
                    tree.add_to(margins, start, binned, config.learning_rate);
                }
            };
            let units = loss.step(&mut margins, &mut cells, take_up, seed)?;
            self.set_units(grower.plan_mut(), units);
            rows = latest.map_or(rows, |tree| tree.rows);
            draw_rows(&mut rows, &mut cells, config, seed.derive("rows", 0));
            let drawn = seed.derive("features", 0).sample(&features, n_drawn);
            let grown = grower.grow(rows, &cells, &drawn, seed.derive("nodes", 0));
            if grown.is_constant() && config.row_share == 1.0 && config.feature_share == 1.0 {
                ended = BoostingEnd::NothingLeft;
                break;
            }
            let tree = grown.tree(binned, config.learning_rate);
            if let Some(validation) = &mut validation {
                validation.take_up(&tree)?;
            }
            trees.push(tree);
            (latest, rows) = (Some(grown), Vec::new());
            if let Some(progress) = &mut options.progress {
                let validation = validation.as_ref().and_then(|v| v.history.last().copied());
                let now =
                    BoostingProgress { n_trees: round + 1, max_trees: config.n_trees, validation };
                if progress(now).is_break() {
                    ended = BoostingEnd::Cancelled;
                    break;
                }
            }
            if validation.as_ref().is_some_and(Validation::is_over) {
                ended = BoostingEnd::NoBetter;
                break;
            }
        }
        if let Some(validation) = &validation {
            trees.truncate(validation.n_best());
        }
        let before = options.warm_start.map_or(&[][..], TreeEnsemble::trees);
        let trees = before.iter().cloned().chain(trees).collect();
        let model = TreeEnsemble::new(data.schema().clone(), trees, output)?;
        let validation = validation.map(|validation| validation.history).unwrap_or_default();
        Ok(BoostedTrees { model, validation, ended })
    }

    /// How trees are grown on `n_drawn` features, but for the units of their derivatives.
    fn plan(&self, data: &Dataset, n_drawn: usize) -> Result<GrowPlan> {
        let c = &self.config;
        let (directions, interactions) = c.constraints.bind(data.schema())?;
        Ok(GrowPlan {
            criterion: Criterion::Newton(Newton {
                first_unit: 1.0,
                second_unit: 1.0,
                l1: c.l1,
                l2: c.l2,
                max_step: c.max_step.unwrap_or(f64::INFINITY),
            }),
            max_leaves: c.max_leaves.unwrap_or(usize::MAX),
            max_depth: c.max_depth.unwrap_or(usize::MAX),
            min_rows_leaf: c.min_rows_leaf,
            min_gain: c.min_gain,
            next: c.next(),
            features_per_node: (c.feature_share_per_node < 1.0)
                .then(|| share_of(c.feature_share_per_node, n_drawn)),
            directions,
            interactions,
            at_edges: c.row_share < 1.0,
            parallel: true,
            ..GrowPlan::default()
        })
    }

    fn set_units(&self, plan: &mut GrowPlan, (first_unit, second_unit): (f64, f64)) {
        if let Criterion::Newton(newton) = &mut plan.criterion {
            *newton = Newton { first_unit, second_unit, ..*newton };
        }
        let least = (self.config.min_hessian / second_unit).ceil() as u64;
        // Without a penalty a leaf of no curvature would have no best value.
        plan.min_second = least.max(u64::from(self.config.l2 == 0.0));
    }
}

impl Trainer for GradientBoosting {
    fn name(&self) -> &'static str {
        "gradient boosting"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        self.config.parameters()
    }

    fn fit(&self, data: &Dataset, seed: Seed) -> Result<Fitted> {
        let boosted = self.fit_with(data, seed, BoostingOptions::default())?;
        Ok(Fitted { model: Arc::new(boosted.model), convergence: None })
    }
}
