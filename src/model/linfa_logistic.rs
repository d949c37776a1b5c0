//! Logistic regression on linfa-logistic.

use std::sync::Arc;

use linfa::traits::Fit;
use ndarray::{Array1, Array2, Axis};
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::linfa::oriented;
use crate::model::logistic_regression::check_no_categories;
use crate::model::standardise::Standard;
use crate::model::{Convergence, Fitted, LogisticModel, Trainer, sigmoid};
use crate::seed::Seed;

/// Parameters of [`LinfaLogistic`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinfaLogisticConfig {
    /// Ridge penalty: minimises the summed log-loss plus `l2 / 2` times the squared coefficients of the
    /// standardised features (the intercept is free). scikit-learn's `C` is `1 / l2`.
    pub l2: f64,
    /// Most steps of the solver.
    pub max_iterations: u64,
    /// Largest component of the gradient, per row, that counts as converged.
    pub tolerance: f64,
}

impl Default for LinfaLogisticConfig {
    fn default() -> Self {
        LinfaLogisticConfig { l2: 1.0, max_iterations: 1000, tolerance: 1e-7 }
    }
}

/// Trains a [`LogisticModel`] with linfa-logistic (L-BFGS), on features standardised inside. Deterministic; the seed
/// plays no part.
///
/// What linfa leaves open is settled here: the score is the probability of bad whichever class is larger, and
/// convergence is checked at the solution by our own gradient. Row weights are refused, since linfa would ignore them.
///
/// # Errors
/// `OneClass`; `InvalidInput` for a missing or infinite value, a categorical column or row weights; `Training` if the
/// solver fails.
#[derive(Debug, Clone, Default)]
pub struct LinfaLogistic {
    config: LinfaLogisticConfig,
}

impl LinfaLogistic {
    /// # Errors
    /// `InvalidConfig` for a negative penalty, no iterations, or a tolerance that is not positive.
    pub fn new(config: LinfaLogisticConfig) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::config("linfa logistic regression", reason));
        if !(config.l2 >= 0.0 && config.l2.is_finite()) {
            return refuse("l2 must be finite and not negative");
        }
        if config.max_iterations == 0 {
            return refuse("max_iterations must be at least 1");
        }
        if !(config.tolerance > 0.0 && config.tolerance.is_finite()) {
            return refuse("tolerance must be finite and positive");
        }
        Ok(LinfaLogistic { config })
    }
}

impl Trainer for LinfaLogistic {
    fn name(&self) -> &'static str {
        "linfa logistic regression"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let LinfaLogisticConfig { l2, max_iterations, tolerance } = self.config;
        vec![
            ("l2".into(), l2.to_string()),
            ("max_iterations".into(), max_iterations.to_string()),
            ("tolerance".into(), tolerance.to_string()),
        ]
    }

    fn fit(&self, data: &Dataset, _seed: Seed) -> Result<Fitted> {
        data.check_both_classes("linfa logistic regression")?;
        data.check_finite("features of a logistic regression")?;
        check_no_categories(data)?;
        if data.weights().is_some() {
            let reason = "linfa knows no weights; LogisticRegression does";
            return Err(Error::input("weights", reason));
        }
        let (features, standards) = standardise(data);
        let labels = Array1::from(data.labels().to_vec());
        let records = linfa::Dataset::new(features, labels);
        // linfa stops at a gradient norm over summed rows; half of ours is strict enough for either norm.
        let tolerance = 0.5 * self.config.tolerance * data.n_rows() as f64;
        let fitted = linfa_logistic::LogisticRegression::default()
            .alpha(self.config.l2)
            .max_iterations(self.config.max_iterations)
            .gradient_tolerance(tolerance)
            .fit(&records)
            .map_err(|error| Error::Training {
                trainer: "linfa logistic regression",
                reason: format!("{error}; more l2 or a looser tolerance may help"),
            })?;
        let (intercept, coefficients) = oriented(&fitted);
        let gradient = self.gradient(&records, intercept, &coefficients);
        let (means, scales) = standards.iter().map(|of| (of.mean, of.scale)).unzip();
        let schema = data.schema().clone();
        let model =
            LogisticModel::new(schema, intercept, coefficients, means, scales).map_err(|_| {
                Error::Training {
                    trainer: "linfa logistic regression",
                    reason: "the solution is not finite; the classes may be separable, try more l2"
                        .into(),
                }
            })?;
        let convergence = Convergence { gradient, tolerance: self.config.tolerance };
        Ok(Fitted { model: Arc::new(model), convergence: Some(convergence) })
    }
}

impl LinfaLogistic {
    /// Largest absolute component of the gradient of the penalised log-loss, per row.
    fn gradient(
        &self,
        records: &linfa::Dataset<f64, bool, ndarray::Ix1>,
        intercept: f64,
        coefficients: &[f64],
    ) -> f64 {
        let weights = Array1::from(coefficients.to_vec());
        let margins = records.records.dot(&weights) + intercept;
        let residuals: Array1<f64> = margins
            .iter()
            .zip(&records.targets)
            .map(|(&margin, &bad)| sigmoid(margin) - f64::from(u8::from(bad)))
            .collect();
        let slopes = records.records.t().dot(&residuals) + &(weights * self.config.l2);
        let steepest = slopes.iter().fold(residuals.sum().abs(), |most, g| most.max(g.abs()));
        steepest / residuals.len() as f64
    }
}

/// Features with mean 0 and population standard deviation 1; a constant column keeps scale 1, as in scikit-learn.
fn standardise(data: &Dataset) -> (Array2<f64>, Vec<Standard>) {
    let mut features = data.features().to_owned();
    let columns = features.axis_iter_mut(Axis(1)).map(|mut column| {
        let standard = Standard::of(column.iter().map(|&x| (x, 1.0)));
        column.mapv_inplace(|x| standard.apply(x));
        standard
    });
    let standards = columns.collect();
    (features, standards)
}
