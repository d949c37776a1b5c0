//! Logistic regression by Newton's method: weights, ridge and lasso penalties, sign constraints, standard errors.

mod inference;
mod objective;
mod step;

pub use inference::Coefficient;

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::logistic_regression::objective::Objective;
use crate::model::{ClassWeights, Convergence, Fitted, LogisticModel, Trainer};
use crate::schema::FeatureKind;
use crate::seed::Seed;

/// Parameters of [`LogisticRegression`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LogisticRegressionConfig {
    /// Ridge penalty: minimises the summed log-loss plus `l2 / 2` times the squared coefficients of the
    /// standardised features (the intercept is free). scikit-learn's `C` is `1 / l2`.
    pub l2: f64,
    /// Lasso penalty: plus `l1` times the absolute coefficients, of which it makes some zero. With both it is the elastic
    /// net: scikit-learn's `C` is `1 / (l1 + l2)` and its `l1_ratio` `l1 / (l1 + l2)`.
    pub l1: f64,
    /// What the rows of each label count.
    pub class_weights: ClassWeights,
    /// Which signs coefficients may have.
    pub signs: Signs,
    /// Most steps of the solver.
    pub max_iterations: u64,
    /// Largest component of the gradient, per row, that counts as converged.
    pub tolerance: f64,
}

/// Which signs coefficients may have.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Signs {
    /// Any.
    #[default]
    Free,
    /// All the same one: what weights of evidence should have.
    All(Sign),
    /// These columns this one, the others any.
    Of(BTreeMap<String, Sign>),
}

/// A sign that a coefficient may have; zero is within both.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Sign {
    /// The score must not fall as the feature rises.
    Positive,
    /// The score must not rise as the feature rises.
    Negative,
}

impl Default for LogisticRegressionConfig {
    fn default() -> Self {
        LogisticRegressionConfig {
            l2: 1.0,
            l1: 0.0,
            class_weights: ClassWeights::Equal,
            signs: Signs::Free,
            max_iterations: 100,
            tolerance: 1e-11,
        }
    }
}

/// Trains a [`LogisticModel`] by Newton's method with step halving, on features standardised inside (weighted mean, population
/// standard deviation); with a lasso penalty or sign constraints every step is a quadratic problem solved by coordinate
/// descent (Friedman, Hastie and Tibshirani 2010). Deterministic for any number of threads; the seed plays no part.
///
/// Cost: a handful of passes of O(rows × features²). Memory: O(features²) and one row per thread beside the data.
///
/// # Errors
/// `OneClass`; `InvalidInput` for a missing or infinite value or a categorical column; `Training` where there is no one
/// solution: classes that the features separate, or columns that are linearly dependent, without a ridge penalty.
#[derive(Debug, Clone, Default)]
pub struct LogisticRegression {
    config: LogisticRegressionConfig,
}

/// A fit with all that is known of it.
#[derive(Debug, Clone)]
pub struct LogisticFit {
    /// The model.
    pub model: LogisticModel,
    /// How far the solver got.
    pub convergence: Convergence,
    /// Steps that it took.
    pub iterations: u64,
    /// Weighted log-likelihood, in nats, without the penalties.
    pub log_likelihood: f64,
    /// The intercept, then the features in their own units, with standard errors; `None` with a penalty or a sign constraint,
    /// under which the usual errors do not hold, and where the solver stopped short.
    pub coefficients: Option<Vec<Coefficient>>,
}

impl LogisticRegression {
    /// # Errors
    /// `InvalidConfig` for a negative penalty, a class weight that is not positive, no iterations, or a tolerance that is
    /// not positive.
    pub fn new(config: LogisticRegressionConfig) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::config("logistic regression", reason));
        if ![config.l1, config.l2].iter().all(|penalty| *penalty >= 0.0 && penalty.is_finite()) {
            return refuse("penalties must be finite and not negative");
        }
        config.class_weights.check("logistic regression")?;
        if config.max_iterations == 0 {
            return refuse("max_iterations must be at least 1");
        }
        if !(config.tolerance > 0.0 && config.tolerance.is_finite()) {
            return refuse("tolerance must be finite and positive");
        }
        Ok(LogisticRegression { config })
    }

    /// Fits a model and tells all that is known of it.
    ///
    /// # Errors
    /// See the type; `NotFound` for a sign of a column that is not there.
    pub fn fit_logistic(&self, data: &Dataset) -> Result<LogisticFit> {
        let objective = Objective::new(&self.config, data)?;
        let mut parameters = objective.start();
        let mut here = objective.at(&parameters);
        let (mut iterations, mut gradient) = (0, objective.violation(&parameters, &here));
        while gradient > self.config.tolerance && iterations < self.config.max_iterations {
            iterations += 1;
            let step = objective.step(&parameters, &here)?;
            let Some((next, there)) = objective.descend(&parameters, &here, &step) else {
                break; // no smaller value to be had in floating point
            };
            (parameters, here) = (next, there);
            gradient = objective.violation(&parameters, &here);
        }
        if objective.separated(&here) {
            return Err(separated());
        }
        let convergence = Convergence { gradient, tolerance: self.config.tolerance };
        let config = &self.config;
        let plain = config.l1 == 0.0 && config.l2 == 0.0 && config.signs == Signs::Free;
        let coefficients = (plain && convergence.converged())
            .then(|| objective.coefficients(&parameters, &here.curvature));
        let log_likelihood = -here.loss;
        let model = objective.model(parameters)?;
        Ok(LogisticFit { model, convergence, iterations, log_likelihood, coefficients })
    }
}

impl Trainer for LogisticRegression {
    fn name(&self) -> &'static str {
        "logistic regression"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let LogisticRegressionConfig { l2, l1, class_weights, signs, max_iterations, tolerance } =
            &self.config;
        vec![
            ("l2".into(), l2.to_string()),
            ("l1".into(), l1.to_string()),
            ("class_weights".into(), format!("{class_weights:?}")),
            ("signs".into(), format!("{signs:?}")),
            ("max_iterations".into(), max_iterations.to_string()),
            ("tolerance".into(), tolerance.to_string()),
        ]
    }

    fn fit(&self, data: &Dataset, _seed: Seed) -> Result<Fitted> {
        let LogisticFit { model, convergence, .. } = self.fit_logistic(data)?;
        Ok(Fitted { model: Arc::new(model), convergence: Some(convergence) })
    }
}

fn training(reason: &str) -> Error {
    Error::Training { trainer: "logistic regression", reason: reason.into() }
}

fn separated() -> Error {
    training("the features separate the classes; set l2 above 0")
}

/// A code is no quantity: its order means nothing.
pub(super) fn check_no_categories(data: &Dataset) -> Result<()> {
    let columns = data.schema().kinds().iter().zip(data.schema().names());
    for (kind, name) in columns {
        if matches!(kind, FeatureKind::Categorical(_)) {
            let reason = format!("{name} is categorical; encode it first");
            return Err(Error::input("features of a logistic regression", reason));
        }
    }
    Ok(())
}
