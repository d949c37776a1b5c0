//! To and from linfa: its fitted models as ours, our trainers and models behind its traits.

use std::sync::Arc;

use linfa::dataset::{AsSingleTargets, DatasetBase};
use linfa::traits::{Fit, PredictInplace};
use linfa_logistic::FittedLogisticRegression;
use ndarray::{Array1, ArrayBase, Data, Ix2};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::{LogisticModel, Model, Trainer};
use crate::schema::FeatureSchema;
use crate::seed::Seed;

impl LogisticModel {
    /// A logistic regression that linfa fitted to features as they are, with `true` for bad.
    ///
    /// # Errors
    /// `InvalidInput` unless there is a finite coefficient per feature.
    pub fn from_linfa(
        schema: FeatureSchema,
        fitted: &FittedLogisticRegression<f64, bool>,
    ) -> Result<Self> {
        let (intercept, coefficients) = oriented(fitted);
        let n = schema.n_features();
        let (means, scales) = (vec![0.0; n], vec![1.0; n]);
        LogisticModel::new(schema, intercept, coefficients, means, scales)
    }
}

/// Intercept and coefficients of the log-odds of bad. linfa calls the larger class positive, whichever that is.
pub(super) fn oriented(fitted: &FittedLogisticRegression<f64, bool>) -> (f64, Vec<f64>) {
    let sign = if fitted.labels().pos.class { 1.0 } else { -1.0 };
    let coefficients = fitted.params().iter().map(|coefficient| sign * coefficient).collect();
    (sign * fitted.intercept(), coefficients)
}

/// A trainer of ours where linfa code wants [`Fit`]; what it fits is a [`ModelForLinfa`].
///
/// ```
/// use linfa::traits::{Fit, Predict};
/// use riskcycle::Seed;
/// use riskcycle::model::{LogisticRegression, TrainerForLinfa};
/// use riskcycle::ndarray::{Array1, array};
///
/// let data = linfa::Dataset::new(array![[0.0], [1.0], [2.0], [3.0]], array![false, false, true, true]);
/// let trainer = TrainerForLinfa::new(LogisticRegression::default(), Seed(7));
/// let scores: Array1<f64> = trainer.fit(&data)?.predict(&data);
/// assert!(scores[0] < 0.5 && scores[3] > 0.5);
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct TrainerForLinfa<T> {
    trainer: T,
    seed: Seed,
}

impl<T: Trainer> TrainerForLinfa<T> {
    /// The trainer with the seed of all its fits.
    pub fn new(trainer: T, seed: Seed) -> Self {
        TrainerForLinfa { trainer, seed }
    }
}

/// Records are features (n_rows × n_features, NaN is missing), targets `true` for bad.
impl<T, D, L> Fit<ArrayBase<D, Ix2>, L, Error> for TrainerForLinfa<T>
where
    T: Trainer,
    D: Data<Elem = f64>,
    L: AsSingleTargets<Elem = bool>,
{
    type Object = ModelForLinfa;

    fn fit(&self, dataset: &DatasetBase<ArrayBase<D, Ix2>, L>) -> Result<ModelForLinfa> {
        let fitted = self.trainer.fit(&Dataset::try_from(dataset)?, self.seed)?;
        Ok(ModelForLinfa(fitted.model))
    }
}

/// A model where linfa code wants [`Predict`](linfa::traits::Predict): scores, one per record.
///
/// # Panics
/// `predict` panics, as is linfa's way, for records of another width than the model's.
#[derive(Debug, Clone)]
pub struct ModelForLinfa(pub Arc<dyn Model>);

impl<D: Data<Elem = f64>> PredictInplace<ArrayBase<D, Ix2>, Array1<f64>> for ModelForLinfa {
    fn predict_inplace(&self, records: &ArrayBase<D, Ix2>, scores: &mut Array1<f64>) {
        let rows = records.as_standard_layout();
        let mut out = vec![f64::NAN; records.nrows()];
        let rows = rows.as_slice().expect("in standard layout");
        if let Err(error) = self.0.score(rows, &mut out) {
            panic!("{error}");
        }
        *scores = out.into();
    }

    fn default_target(&self, records: &ArrayBase<D, Ix2>) -> Array1<f64> {
        Array1::from_elem(records.nrows(), f64::NAN)
    }
}

/// What linfa's traits ask of an error; nothing here depends on it.
impl From<linfa::Error> for Error {
    fn from(error: linfa::Error) -> Self {
        Error::Training { trainer: "linfa", reason: error.to_string() }
    }
}
