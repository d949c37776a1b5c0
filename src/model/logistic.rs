//! The model that logistic regression gives.

use std::sync::Arc;

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::model::{Explainer, LinearExplainer, Model, sigmoid};
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

    /// What is taken off each feature before it is scaled.
    pub fn means(&self) -> &[f64] {
        &self.means
    }

    /// What each feature is divided by.
    pub fn scales(&self) -> &[f64] {
        &self.scales
    }

    /// How much the score hangs on each feature: the absolute change in log-odds per standard deviation of it, in schema
    /// order. Twins share what one of them alone would have.
    pub fn importance(&self) -> Vec<f64> {
        self.coefficients.iter().map(|coefficient| coefficient.abs()).collect()
    }

    pub(super) fn read(schema: FeatureSchema, mut reader: Reader<'_>) -> Result<Self> {
        let n = schema.n_features();
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

    /// Against the means that features are standardised by, which are those of the training rows where
    /// [`LogisticRegression`](crate::model::LogisticRegression) made the model.
    fn explainer(&self) -> Result<Arc<dyn Explainer>> {
        let terms = self.coefficients.iter().zip(&self.scales);
        let weights: Vec<f64> = terms.map(|(coefficient, scale)| coefficient / scale).collect();
        let at_zero = weights.iter().zip(&self.means).fold(self.intercept, |at, (w, m)| at - w * m);
        let (schema, means) = (self.schema.clone(), self.means.clone());
        Ok(Arc::new(LinearExplainer::new(schema, at_zero, weights, means)?))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let lists = [&self.coefficients, &self.means, &self.scales];
        let values = std::iter::once(&self.intercept).chain(lists.into_iter().flatten());
        values.flat_map(|value| value.to_le_bytes()).collect()
    }
}

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
        let read = |bytes| LogisticModel::read(model.schema.clone(), Reader::new("test", bytes));
        assert_eq!(read(&bytes).unwrap(), model);
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err());
        }
    }
}
