//! Logistic regression: the model, and its trainer on linfa-logistic.

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::model::{Model, sigmoid};
use crate::schema::FeatureSchema;

/// A logistic regression on standardised features: `sigmoid(intercept + Σ coefᵢ · (xᵢ − meanᵢ) / scaleᵢ)`.
///
/// A missing or infinite value gives NaN, no score.
#[derive(Debug, Clone, PartialEq)]
pub struct LogisticModel {
    schema: FeatureSchema,
    intercept: f64,
    coefficients: Vec<f64>,
    means: Vec<f64>,
    scales: Vec<f64>,
}

impl LogisticModel {
    /// The kind under which artifacts hold it.
    pub const KIND: &'static str = "logistic";

    /// A model from its numbers; coefficients refer to standardised features.
    ///
    /// # Errors
    /// `InvalidInput` unless there is a finite coefficient, a finite mean and a finite, positive scale per feature.
    pub fn new(
        schema: FeatureSchema,
        intercept: f64,
        coefficients: Vec<f64>,
        means: Vec<f64>,
        scales: Vec<f64>,
    ) -> Result<Self> {
        let n = schema.n_features();
        let sound = [&coefficients, &means, &scales]
            .iter()
            .all(|values| values.len() == n && values.iter().all(|v| v.is_finite()));
        if !sound || !intercept.is_finite() || !scales.iter().all(|scale| *scale > 0.0) {
            let reason = format!("needs {n} finite coefficients, means and positive scales");
            return Err(Error::input("logistic model", reason));
        }
        Ok(LogisticModel { schema, intercept, coefficients, means, scales })
    }

    /// The margin of the average row, in log-odds.
    pub fn intercept(&self) -> f64 {
        self.intercept
    }

    /// Change in log-odds per standard deviation of each feature.
    pub fn coefficients(&self) -> &[f64] {
        &self.coefficients
    }

    /// How much the score hangs on each feature: the absolute change in log-odds per standard deviation of it, in schema
    /// order. Twins share what one of them alone would have.
    pub fn importance(&self) -> Vec<f64> {
        self.coefficients.iter().map(|coefficient| coefficient.abs()).collect()
    }

    pub(super) fn from_bytes(schema: FeatureSchema, bytes: &[u8]) -> Result<Self> {
        let n = schema.n_features();
        let mut reader = Reader::new("logistic model", bytes);
        let intercept = reader.f64()?;
        let (coefficients, means, scales) = (reader.f64s(n)?, reader.f64s(n)?, reader.f64s(n)?);
        reader.finish()?;
        LogisticModel::new(schema, intercept, coefficients, means, scales)
            .map_err(|e| Error::corrupt("logistic model", e.to_string()))
    }

    fn score_one(&self, row: &[f64]) -> f64 {
        let standardised = row.iter().zip(&self.means).zip(&self.scales);
        let margin = standardised
            .zip(&self.coefficients)
            .fold(self.intercept, |sum, (((x, mean), scale), coef)| {
                sum + coef * ((x - mean) / scale)
            });
        // An infinite value must not turn into a confident 0 or 1.
        if margin.is_finite() { sigmoid(margin) } else { f64::NAN }
    }
}

impl Model for LogisticModel {
    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
        self.schema.check_rows(rows.len(), scores.len())?;
        let rows = rows.chunks_exact(self.schema.n_features());
        scores.iter_mut().zip(rows).for_each(|(score, row)| *score = self.score_one(row));
        Ok(())
    }

    fn kind(&self) -> &str {
        Self::KIND
    }

    fn to_bytes(&self) -> Vec<u8> {
        let lists = [&self.coefficients, &self.means, &self.scales];
        let values = std::iter::once(&self.intercept).chain(lists.into_iter().flatten());
        values.flat_map(|value| value.to_le_bytes()).collect()
    }
}

#[cfg(feature = "linfa")]
mod trainer {
    use std::sync::Arc;

    use linfa::traits::Fit;
    use ndarray::{Array1, Array2, Axis};
    use serde::{Deserialize, Serialize};

    use super::LogisticModel;
    use crate::dataset::Dataset;
    use crate::error::{Error, Result};
    use crate::model::{Convergence, Fitted, Trainer, sigmoid};
    use crate::seed::Seed;

    /// Parameters of [`LogisticRegression`].
    #[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
    #[serde(deny_unknown_fields, default)]
    pub struct LogisticRegressionConfig {
        /// Ridge penalty: minimises the summed log-loss plus `l2 / 2` times the squared coefficients of the
        /// standardised features (the intercept is free). scikit-learn's `C` is `1 / l2`.
        pub l2: f64,
        /// Most steps of the solver.
        pub max_iterations: u64,
        /// Largest component of the gradient, per row, that counts as converged.
        pub tolerance: f64,
    }

    impl Default for LogisticRegressionConfig {
        fn default() -> Self {
            LogisticRegressionConfig { l2: 1.0, max_iterations: 1000, tolerance: 1e-7 }
        }
    }

    /// Trains a [`LogisticModel`] with linfa-logistic (L-BFGS), on features standardised inside. Deterministic; the seed
    /// plays no part.
    ///
    /// What linfa leaves open is settled here: the score is the probability of bad whichever class is larger, and
    /// convergence is checked at the solution by our own gradient.
    ///
    /// # Errors
    /// `OneClass`; `InvalidInput` for a missing or infinite value; `Training` if the solver fails.
    #[derive(Debug, Clone, Default)]
    pub struct LogisticRegression {
        config: LogisticRegressionConfig,
    }

    impl LogisticRegression {
        /// # Errors
        /// `InvalidConfig` for a negative penalty, no iterations, or a tolerance that is not positive.
        pub fn new(config: LogisticRegressionConfig) -> Result<Self> {
            let refuse = |reason: &str| Err(Error::config("logistic regression", reason));
            if !(config.l2 >= 0.0 && config.l2.is_finite()) {
                return refuse("l2 must be finite and not negative");
            }
            if config.max_iterations == 0 {
                return refuse("max_iterations must be at least 1");
            }
            if !(config.tolerance > 0.0 && config.tolerance.is_finite()) {
                return refuse("tolerance must be finite and positive");
            }
            Ok(LogisticRegression { config })
        }
    }

    impl Trainer for LogisticRegression {
        fn name(&self) -> &'static str {
            "logistic regression"
        }

        fn parameters(&self) -> Vec<(String, String)> {
            let LogisticRegressionConfig { l2, max_iterations, tolerance } = self.config;
            vec![
                ("l2".into(), l2.to_string()),
                ("max_iterations".into(), max_iterations.to_string()),
                ("tolerance".into(), tolerance.to_string()),
            ]
        }

        fn fit(&self, data: &Dataset, _seed: Seed) -> Result<Fitted> {
            data.check_both_classes("logistic regression")?;
            data.check_finite("features of a logistic regression")?;
            let (features, means, scales) = standardise(data);
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
                    trainer: "logistic regression",
                    reason: format!("{error}; more l2 or a looser tolerance may help"),
                })?;
            // linfa calls the larger class positive; ours is bad, whatever its size.
            let sign = if fitted.labels().pos.class { 1.0 } else { -1.0 };
            let intercept = sign * fitted.intercept();
            let coefficients: Vec<f64> = fitted.params().iter().map(|c| sign * c).collect();
            let gradient = self.gradient(&records, intercept, &coefficients);
            let schema = data.schema().clone();
            let model = LogisticModel::new(schema, intercept, coefficients, means, scales)
                .map_err(|_| Error::Training {
                    trainer: "logistic regression",
                    reason: "the solution is not finite; the classes may be separable, try more l2"
                        .into(),
                })?;
            let convergence = Convergence { gradient, tolerance: self.config.tolerance };
            Ok(Fitted { model: Arc::new(model), convergence: Some(convergence) })
        }
    }

    impl LogisticRegression {
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
    fn standardise(data: &Dataset) -> (Array2<f64>, Vec<f64>, Vec<f64>) {
        let mut features = data.features().to_owned();
        let n = features.nrows() as f64;
        let (mut means, mut scales) = (Vec::new(), Vec::new());
        for mut column in features.axis_iter_mut(Axis(1)) {
            let mean = column.sum() / n;
            let variance = column.iter().map(|x| (x - mean) * (x - mean)).sum::<f64>() / n;
            // Rounding leaves a constant column a variance of about (mean · ε)².
            let constant = variance <= (mean * 10.0 * f64::EPSILON).powi(2);
            let scale = if constant { 1.0 } else { variance.sqrt() };
            column.mapv_inplace(|x| (x - mean) / scale);
            means.push(mean);
            scales.push(scale);
        }
        (features, means, scales)
    }
}

#[cfg(feature = "linfa")]
pub use trainer::{LogisticRegression, LogisticRegressionConfig};

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelExt;

    fn model() -> LogisticModel {
        let schema = FeatureSchema::new(["a", "b"]).unwrap();
        LogisticModel::new(schema, -1.0, vec![2.0, 0.5], vec![1.0, 0.0], vec![2.0, 1.0]).unwrap()
    }

    #[test]
    fn scores_follow_the_formula_and_missing_values_give_none() {
        let model = model();
        let expected = 1.0 / (1.0 + (-(-1.0 + 2.0 * (3.0 - 1.0) / 2.0 + 0.5 * 4.0f64)).exp());
        assert!((model.score_row(&[3.0, 4.0]).unwrap() - expected).abs() < 1e-15);
        assert!(model.score_row(&[f64::NAN, 0.0]).unwrap().is_nan());
        assert!(model.score_row(&[f64::INFINITY, 0.0]).unwrap().is_nan());
        assert!(model.score_row(&[1.0]).is_err());
        assert_eq!(model.score_row(&[1e300, 0.0]).unwrap(), 1.0);
        assert_eq!(model.score_row(&[-1e300, 0.0]).unwrap(), 0.0);
    }

    #[test]
    fn importance_is_the_size_of_the_coefficient() {
        let schema = FeatureSchema::new(["a", "b"]).unwrap();
        let (ones, zeros) = (vec![1.0; 2], vec![0.0; 2]);
        let model = LogisticModel::new(schema, 0.0, vec![-2.0, 0.5], zeros, ones).unwrap();
        assert_eq!(model.importance(), [2.0, 0.5]);
    }

    #[test]
    fn bytes_round_trip_and_truncations_are_refused() {
        let (model, bytes) = (model(), model().to_bytes());
        let again = LogisticModel::from_bytes(model.schema.clone(), &bytes).unwrap();
        assert_eq!(again, model);
        for end in 0..bytes.len() {
            assert!(LogisticModel::from_bytes(model.schema.clone(), &bytes[..end]).is_err());
        }
    }
}
