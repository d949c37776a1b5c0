//! What each feature adds to a weighted sum.

use crate::error::{Error, Result};
use crate::model::explain::{Explainer, check_widths};
use crate::schema::FeatureSchema;

/// Explains `intercept + Σ weightᵢ · xᵢ` against a baseline row: a feature adds `weightᵢ · (xᵢ − baselineᵢ)`, which is its
/// Shapley value where features that are not known are as in the baseline.
///
/// With the population's means for a baseline that is the value for independent features. A missing value adds NaN.
#[derive(Debug, Clone, PartialEq)]
pub struct LinearExplainer {
    schema: FeatureSchema,
    base: f64,
    weights: Vec<f64>,
    baseline: Vec<f64>,
}

impl LinearExplainer {
    /// Of a weight and a baseline value per feature.
    ///
    /// # Errors
    /// `InvalidInput` unless there is one of each per feature, and all of them and the intercept are finite.
    pub fn new(
        schema: FeatureSchema,
        intercept: f64,
        weights: Vec<f64>,
        baseline: Vec<f64>,
    ) -> Result<Self> {
        let n = schema.n_features();
        let sound = |values: &[f64]| values.len() == n && values.iter().all(|v| v.is_finite());
        let base = weights.iter().zip(&baseline).fold(intercept, |sum, (w, x)| sum + w * x);
        if !sound(&weights) || !sound(&baseline) || !base.is_finite() {
            let reason = format!("needs {n} finite weights and baseline values");
            return Err(Error::input("linear explainer", reason));
        }
        Ok(LinearExplainer { schema, base, weights, baseline })
    }
}

impl Explainer for LinearExplainer {
    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn base(&self) -> f64 {
        self.base
    }

    fn explain(&self, row: &[f64], contributions: &mut [f64]) -> Result<()> {
        check_widths(&self.schema, row, contributions)?;
        let terms = row.iter().zip(&self.weights).zip(&self.baseline);
        for (out, ((x, weight), baseline)) in contributions.iter_mut().zip(terms) {
            *out = weight * (x - baseline);
        }
        Ok(())
    }
}
