//! Training on fewer good rows.

use std::sync::Arc;

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::{CalibratedModel, Calibrator, Fitted, Trainer, wrapped_parameters};
use crate::seed::{Seed, shuffle};

/// Trains on all bad rows and a share of the good ones, drawn by the seed, and corrects the scores for it. It saves time; on
/// the Fraud Detection Handbook's data it loses average precision, and more the fewer good rows are kept.
#[derive(Debug, Clone)]
pub struct Undersampled {
    trainer: Arc<dyn Trainer>,
    kept: f64,
}

impl Undersampled {
    /// # Errors
    /// `InvalidConfig` unless the share of good rows kept is above 0 and at most 1.
    pub fn new(trainer: Arc<dyn Trainer>, kept: f64) -> Result<Self> {
        if kept > 0.0 && kept <= 1.0 {
            return Ok(Undersampled { trainer, kept });
        }
        Err(Error::config("undersampling", format!("a share of {kept} cannot be kept")))
    }
}

impl Trainer for Undersampled {
    fn name(&self) -> &'static str {
        "undersampled"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let own = vec![("kept".to_owned(), self.kept.to_string())];
        wrapped_parameters(own, self.trainer.as_ref())
    }

    fn fit(&self, data: &Dataset, seed: Seed) -> Result<Fitted> {
        data.check_both_classes("undersampling")?;
        let rows = 0..data.n_rows();
        let (mut kept, mut good): (Vec<usize>, Vec<usize>) =
            rows.partition(|&row| data.labels()[row]);
        shuffle(&mut good, &mut seed.derive("undersampling", 0).rng());
        let n_kept = ((good.len() as f64 * self.kept).round() as usize).max(1);
        let share = n_kept as f64 / good.len() as f64;
        kept.extend(&good[..n_kept]);
        kept.sort_unstable();
        let Fitted { model, convergence } = self.trainer.fit(&data.select_rows(&kept)?, seed)?;
        let model = CalibratedModel::new(model, Calibrator::Undersampling { kept: share })?;
        Ok(Fitted { model: Arc::new(model), convergence })
    }
}
