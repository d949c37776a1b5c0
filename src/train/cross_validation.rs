//! Cross-validation: what a trainer is worth on rows that it has not seen.

use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, FoldPlan};
use crate::error::Result;
use crate::model::{Model, ModelExt, Trainer, out_of_fold};
use crate::seed::Seed;
use crate::train::Metric;

/// A trainer on every fold of a plan.
#[derive(Debug, Clone)]
pub struct CrossValidation {
    /// The folds in order.
    pub folds: Vec<Fold>,
    /// One score per row of the data set, by a model that did not train on it; NaN for rows that no fold tests.
    pub out_of_fold: Vec<f64>,
    /// Each metric over the folds, in the order asked for.
    pub metrics: Vec<MetricSummary>,
}

/// One fold.
#[derive(Debug, Clone)]
pub struct Fold {
    /// The model of its training rows.
    pub model: Arc<dyn Model>,
    /// Rows trained on.
    pub n_train: usize,
    /// Rows tested on.
    pub n_test: usize,
    /// Each metric on its training rows.
    pub train: Vec<f64>,
    /// Each metric on its test rows.
    pub test: Vec<f64>,
}

/// A metric over folds.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricSummary {
    /// Name of the metric.
    pub name: String,
    /// Mean over the test rows of the folds.
    pub mean: f64,
    /// Population standard deviation over the folds, as the Fraud Detection Handbook has it.
    pub deviation: f64,
    /// Mean over the training rows, less the mean over the test rows: how much is only learnt by heart.
    pub gap: f64,
}

impl CrossValidation {
    /// Trains on each fold and takes every metric on both of its sides. Folds are worked on by several threads at once; the
    /// outcome does not depend on them. The seed deals the folds and trains all of them.
    ///
    /// # Errors
    /// Those of [`FoldPlan::split`], the trainer and the metrics; the first in the order of the folds.
    pub fn new(
        trainer: &dyn Trainer,
        data: &Dataset,
        plan: &FoldPlan,
        metrics: &[&dyn Metric],
        seed: Seed,
    ) -> Result<Self> {
        let splits = plan.split(data, seed.derive("folds", 0))?;
        let (folds, out_of_fold) = out_of_fold(trainer, data, &splits, seed, |fit| {
            let values = |data: &Dataset, scores: &[f64]| -> Result<Vec<f64>> {
                metrics.iter().map(|metric| metric.value(data, scores)).collect()
            };
            Ok(Fold {
                model: fit.model.clone(),
                n_train: fit.train.n_rows(),
                n_test: fit.test.n_rows(),
                train: values(&fit.train, &fit.model.score_dataset(&fit.train)?)?,
                test: values(&fit.test, &fit.scores)?,
            })
        })?;
        let n = folds.len() as f64;
        let summary = |(i, metric): (usize, &&dyn Metric)| {
            let mean = folds.iter().map(|fold| fold.test[i]).sum::<f64>() / n;
            let spread: f64 = folds.iter().map(|fold| (fold.test[i] - mean).powi(2)).sum();
            let on_train = folds.iter().map(|fold| fold.train[i]).sum::<f64>() / n;
            let (name, deviation) = (metric.name(), (spread / n).sqrt());
            MetricSummary { name, mean, deviation, gap: on_train - mean }
        };
        let metrics = metrics.iter().enumerate().map(summary).collect();
        Ok(CrossValidation { folds, out_of_fold, metrics })
    }
}

impl fmt::Display for MetricSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MetricSummary { name, mean, deviation, gap } = self;
        write!(f, "{name} {mean:.4} ± {deviation:.4} (train {gap:+.4})")
    }
}

/// A line per metric.
impl fmt::Display for CrossValidation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines: Vec<String> = self.metrics.iter().map(MetricSummary::to_string).collect();
        f.write_str(&lines.join("\n"))
    }
}
