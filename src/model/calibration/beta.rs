//! Beta calibration.

use ndarray::Array2;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::calibration::Calibrator;
use crate::model::{LogisticRegression, LogisticRegressionConfig, Sign, Signs};
use crate::schema::FeatureSchema;

pub(super) fn fit(labels: &[bool], scores: &[f64], weights: Option<&[f64]>) -> Result<Calibrator> {
    if let Some(row) = scores.iter().position(|score| !(0.0..=1.0).contains(score)) {
        let reason = format!("row {row} has {}, which is no probability", scores[row]);
        return Err(Error::input("scores", reason));
    }
    let features = Array2::from_shape_fn((scores.len(), 2), |(row, column)| {
        let [of_bad, of_good] = logs(scores[row]);
        if column == 0 { of_bad } else { -of_good }
    });
    let schema = FeatureSchema::new(["ln p", "-ln(1 - p)"])?;
    let mut data = Dataset::new(schema, features, labels.to_vec())?;
    if let Some(weights) = weights {
        data = data.with_weights(weights.to_vec())?;
    }
    let signs = Signs::All(Sign::Positive);
    let config = LogisticRegressionConfig { l2: 0.0, signs, ..Default::default() };
    let model = LogisticRegression::new(config)?.fit_logistic(&data)?.model;
    let slope = |i: usize| model.coefficients()[i] / model.scales()[i];
    let (a, b) = (slope(0), slope(1));
    let c = model.intercept() - a * model.means()[0] - b * model.means()[1];
    Ok(Calibrator::Beta { a, b, c })
}

/// ln p and ln(1 − p).
pub(super) fn logs(p: f64) -> [f64; 2] {
    let p = p.clamp(1e-12, 1.0 - 1e-12);
    [libm::log(p), libm::log1p(-p)]
}
