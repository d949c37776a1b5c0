//! A trainer whose scores are calibrated on rows that it did not see.

use std::sync::Arc;

use crate::dataset::{Dataset, FoldPlan};
use crate::error::{Error, Result};
use crate::model::{
    CalibratedModel, CalibrationMethod, Calibrator, Fitted, Trainer, out_of_fold,
    wrapped_parameters,
};
use crate::seed::Seed;

/// Trains on every fold's other rows, calibrates what the models say of the rows they did not see, and puts that calibrator
/// behind a model of all rows. Within cross-validation it sees the training side of each fold only, like any trainer.
///
/// Cost: one fit per fold and one on all rows.
///
/// # Errors
/// Those of [`FoldPlan::split`], the trainer and [`Calibrator::fit`]; `InvalidInput` if a model scores no row of its fold.
///
/// ```
/// use std::sync::Arc;
/// use riskcycle::model::{CalibratedTrainer, CalibrationMethod, LogisticRegression, ModelExt, Trainer};
/// use riskcycle::{FeatureSchema, Seed, dataset::{Dataset, FoldPlan}, ndarray::Array2};
///
/// let features = Array2::from_shape_fn((90, 1), |(i, _)| i as f64);
/// let bad = (0..90).map(|i| i % 4 == 0 || i > 70).collect();
/// let data = Dataset::new(FeatureSchema::new(["x"])?, features, bad)?;
///
/// let folds = FoldPlan::Stratified { folds: 3 };
/// let regression = Arc::new(LogisticRegression::default());
/// let trainer = CalibratedTrainer::new(regression, CalibrationMethod::Platt, folds);
/// let scores = trainer.fit(&data, Seed(1))?.model.score_dataset(&data)?;
/// let mean = scores.iter().sum::<f64>() / 90.0;
/// assert!((mean - data.n_bad() as f64 / 90.0).abs() < 0.02);
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct CalibratedTrainer {
    trainer: Arc<dyn Trainer>,
    method: CalibrationMethod,
    folds: FoldPlan,
}

impl CalibratedTrainer {
    /// This trainer, calibrated this way across these folds. Rows that no fold tests, or that a model cannot score, take no
    /// part in the calibration.
    pub fn new(trainer: Arc<dyn Trainer>, method: CalibrationMethod, folds: FoldPlan) -> Self {
        CalibratedTrainer { trainer, method, folds }
    }
}

impl Trainer for CalibratedTrainer {
    fn name(&self) -> &'static str {
        "calibrated"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let own = vec![
            ("calibration".to_owned(), format!("{:?}", self.method)),
            ("calibration folds".to_owned(), format!("{:?}", self.folds)),
        ];
        wrapped_parameters(own, self.trainer.as_ref())
    }

    fn fit(&self, data: &Dataset, seed: Seed) -> Result<Fitted> {
        let splits = self.folds.split(data, seed.derive("calibration", 0))?;
        let (_, scores) = out_of_fold(self.trainer.as_ref(), data, &splits, seed, |_| Ok(()))?;
        let rows: Vec<usize> = (0..scores.len()).filter(|&row| !scores[row].is_nan()).collect();
        if rows.is_empty() {
            return Err(Error::input("calibration", "no row has a score out of fold"));
        }
        let pick = |values: &[f64]| rows.iter().map(|&row| values[row]).collect::<Vec<f64>>();
        let labels: Vec<bool> = rows.iter().map(|&row| data.labels()[row]).collect();
        let weights = data.weights().map(pick);
        let calibrator = Calibrator::fit(self.method, &labels, &pick(&scores), weights.as_deref())?;
        let Fitted { model, convergence } = self.trainer.fit(data, seed)?;
        let model = Arc::new(CalibratedModel::new(model, calibrator)?);
        Ok(Fitted { model, convergence })
    }
}
