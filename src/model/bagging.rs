//! Many models, each on as few good rows as it takes.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::{
    AveragedModel, CalibratedModel, Calibrator, Convergence, Fitted, Model, Trainer,
    wrapped_parameters,
};
use crate::parallel::map;
use crate::seed::{Seed, below};

/// Parameters of [`BalancedBagging`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BalancedBaggingConfig {
    /// Number of models, at least 1.
    pub bags: usize,
    /// Bad rows for each good one in a bag, `0.0 < x ≤ 1.0`.
    pub ratio: f64,
}

/// 100 models with ten good rows for each bad one.
impl Default for BalancedBaggingConfig {
    fn default() -> Self {
        BalancedBaggingConfig { bags: 100, ratio: 0.1 }
    }
}

/// Trains many models, each on a bag of rows in which the bad are not so rare, averages them and corrects the scores for the
/// good rows that were left out. A bag has as many draws as there are bad rows, with putting back, from them; and from the
/// good rows that many divided by the ratio, but no more than there are.
///
/// Of the ways to treat rare bad rows it is the one that pays: on the Fraud Detection Handbook's data a ratio of 0.05 to 0.1
/// finds more compromised cards than bags of all rows at about the same average precision (deep trees, its chapter 6).
/// Deterministic for any number of threads.
///
/// # Errors
/// `OneClass`, and those of the trainer.
///
/// ```
/// use std::sync::Arc;
/// use riskcycle::model::{BalancedBagging, BalancedBaggingConfig, DecisionTree, ModelExt, Trainer};
/// use riskcycle::{FeatureSchema, Seed, dataset::Dataset, ndarray::Array2};
///
/// let features = Array2::from_shape_fn((400, 1), |(i, _)| (i * 37 % 400) as f64);
/// let bad = (0..400).map(|i| i * 37 % 400 > 390 || i % 97 == 0).collect();
/// let data = Dataset::new(FeatureSchema::new(["amount"])?, features, bad)?;
///
/// let config = BalancedBaggingConfig { bags: 10, ..Default::default() };
/// let trainer = BalancedBagging::new(Arc::new(DecisionTree::default()), config)?;
/// let model = trainer.fit(&data, Seed(1))?.model;
/// assert!(model.score_row(&[395.0])? > model.score_row(&[200.0])?);
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct BalancedBagging {
    trainer: Arc<dyn Trainer>,
    config: BalancedBaggingConfig,
}

impl BalancedBagging {
    /// # Errors
    /// `InvalidConfig` for no bags or a ratio outside its range.
    pub fn new(trainer: Arc<dyn Trainer>, config: BalancedBaggingConfig) -> Result<Self> {
        if config.bags > 0 && config.ratio > 0.0 && config.ratio <= 1.0 {
            return Ok(BalancedBagging { trainer, config });
        }
        Err(Error::config("balanced bagging", "needs a bag, and a ratio above 0 and at most 1"))
    }
}

impl Trainer for BalancedBagging {
    fn name(&self) -> &'static str {
        "balanced bagging"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let own = vec![
            ("bags".to_owned(), self.config.bags.to_string()),
            ("ratio".to_owned(), self.config.ratio.to_string()),
        ];
        wrapped_parameters(own, self.trainer.as_ref())
    }

    fn fit(&self, data: &Dataset, seed: Seed) -> Result<Fitted> {
        data.check_both_classes("balanced bagging")?;
        let (bad, good): (Vec<usize>, Vec<usize>) =
            (0..data.n_rows()).partition(|&row| data.labels()[row]);
        let asked = (bad.len() as f64 / self.config.ratio).round() as usize;
        let n_good = asked.min(good.len());
        let bags: Vec<u64> = (0..self.config.bags as u64).collect();
        let fits = map(&bags, |&bag| {
            let seed = seed.derive("bag", bag);
            let mut rng = seed.rng();
            let mut draw = |rows: &[usize], n: usize| -> Vec<usize> {
                (0..n).map(|_| rows[below(rows.len(), &mut rng)]).collect()
            };
            let rows = [draw(&bad, bad.len()), draw(&good, n_good)].concat();
            self.trainer.fit(&data.select_rows(&rows)?, seed)
        });
        let fits = fits.into_iter().collect::<Result<Vec<Fitted>>>()?;
        let farthest = |a: Convergence, b: Convergence| if b.gradient > a.gradient { b } else { a };
        let convergence = fits.iter().filter_map(|fit| fit.convergence).reduce(farthest);
        let models: Vec<Arc<dyn Model>> = fits.into_iter().map(|fit| fit.model).collect();
        let kept = n_good as f64 / good.len() as f64;
        let averaged = Arc::new(AveragedModel::new(models)?);
        let model = CalibratedModel::new(averaged, Calibrator::Undersampling { kept })?;
        Ok(Fitted { model: Arc::new(model), convergence })
    }
}
