//! Stage 4, model. Takes a data set through a [`Trainer`]; gives a [`Model`] that scores rows.

mod averaged;
mod bagging;
mod binning;
mod calibration;
mod class_weights;
mod codec;
mod explain;
mod golden;
#[cfg(feature = "linfa")]
mod linfa;
#[cfg(feature = "linfa")]
mod linfa_logistic;
#[cfg(feature = "linfa")]
mod linfa_tree;
mod logistic;
mod logistic_regression;
mod out_of_fold;
mod pipeline;
mod reject;
mod scorecard;
mod standardise;
mod transform;
mod tree;
mod undersampling;

#[cfg(feature = "linfa")]
pub use self::linfa::{ModelForLinfa, TrainerForLinfa};
pub use averaged::AveragedModel;
pub use bagging::{BalancedBagging, BalancedBaggingConfig};
pub use binning::{
    Bin, Binner, BinningConfig, BinningMethod, Orientation, Prebins, Trend, UnseenCategory, WoeBins,
};
pub use calibration::{CalibratedModel, CalibratedTrainer, CalibrationMethod, Calibrator};
pub use class_weights::ClassWeights;
pub use codec::{DecodeModel, ModelCodecs};
pub use explain::{
    Explainer, LinearExplainer, Reason, ReasonCodes, ReasonConfig, ReasonGroup, ReasonText,
    TreeExplainer,
};
pub use golden::GoldenRows;
#[cfg(feature = "linfa")]
pub use linfa_logistic::{LinfaLogistic, LinfaLogisticConfig};
#[cfg(feature = "linfa")]
pub use linfa_tree::{LinfaTree, LinfaTreeConfig};
pub use logistic::LogisticModel;
pub use logistic_regression::{
    Coefficient, LogisticFit, LogisticRegression, LogisticRegressionConfig, Sign, Signs,
};
pub(crate) use out_of_fold::out_of_fold;
pub use pipeline::{Pipeline, PipelineModel};
pub use reject::RejectInference;
pub use scorecard::{
    BasePoints, Characteristic, CharacteristicStability, LostPoints, ReasonBaseline, Scaling,
    Scorecard, ScorecardConfig, ScorecardExplainer, ScorecardFit, ScorecardStability,
    ScorecardTrainer,
};
pub use transform::{FittedTransforms, Imputation, Transform};
pub use tree::*;
pub use undersampling::Undersampled;

use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::schema::FeatureSchema;
use crate::seed::Seed;

/// What scores: a fitted model.
///
/// # Contract
/// A score is the probability of bad, `0.0..=1.0`. A row that the model cannot score, a missing value that it has no rule
/// for among them, gets NaN, never an invented number and never an error; [`serve`](crate::serve) turns it into a
/// fallback. A row's score depends on that row alone, so one row scores as it does in a batch, bit for bit.
///
/// # Concurrency
/// Any number of threads score at once.
///
/// # Cost
/// [`score`](Self::score) does not allocate.
///
/// # Errors
/// Only for a block of values that is not a whole number of rows.
///
/// # Implementing
/// Check the shape with [`FeatureSchema::check_rows`]. For the registry to keep the model, [`to_bytes`](Self::to_bytes)
/// must give what the decoder registered for [`kind`](Self::kind) in [`ModelCodecs`] takes.
pub trait Model: Debug + Send + Sync + 'static {
    /// The columns that a row consists of, in order.
    fn schema(&self) -> &FeatureSchema;

    /// Scores rows laid one after the other in `rows`, one score each.
    ///
    /// # Errors
    /// `SchemaMismatch` unless `rows` holds `scores.len()` rows of the schema's width.
    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()>;

    /// Names the decoder of [`to_bytes`](Self::to_bytes); never changes for a published format.
    fn kind(&self) -> &str;

    /// The model without its schema, in a format of its own: the same bytes for the same model on every machine.
    fn to_bytes(&self) -> Vec<u8>;

    /// Values on which the score may jump from one number to the next, as (column, value): thresholds of trees, edges of
    /// bins. Golden rows are placed on them. None for a model that has none, or cannot tell.
    fn edges(&self) -> Vec<(usize, f64)> {
        Vec::new()
    }

    /// What takes this model's scores apart into what each feature adds; make it once. Ours all have one.
    ///
    /// # Errors
    /// `InvalidInput` for a model that cannot be explained, which is the default.
    fn explainer(&self) -> Result<Arc<dyn Explainer>> {
        Err(Error::input("model", format!("the kind {} has no explainer", self.kind())))
    }
}

/// Conveniences for every [`Model`].
pub trait ModelExt: Model {
    /// Scores one row.
    ///
    /// # Errors
    /// `SchemaMismatch` if the row has another width than the schema.
    fn score_row(&self, row: &[f64]) -> Result<f64> {
        let mut score = [f64::NAN];
        self.score(row, &mut score)?;
        Ok(score[0])
    }

    /// Scores a data set after checking its columns.
    ///
    /// # Errors
    /// `SchemaMismatch` naming the first column that differs.
    fn score_dataset(&self, data: &Dataset) -> Result<Vec<f64>> {
        self.schema().check(data.schema())?;
        let mut scores = vec![f64::NAN; data.n_rows()];
        self.score(data.rows(), &mut scores)?;
        Ok(scores)
    }
}

impl<M: Model + ?Sized> ModelExt for M {}

/// What makes a [`Model`] from a data set.
///
/// # Contract
/// The same data, seed and parameters give the same model, byte for byte, whatever the number of threads.
///
/// # Errors
/// `OneClass`, `InvalidInput` for values that the trainer cannot use, `Training` if it gives up. A solver that stops
/// short is no error: it is told in [`Fitted::convergence`].
pub trait Trainer: Debug + Send + Sync + 'static {
    /// Name for records and messages.
    fn name(&self) -> &'static str;

    /// Every parameter that shapes the model, as (name, value), in a fixed order.
    fn parameters(&self) -> Vec<(String, String)>;

    /// Fits a model.
    ///
    /// # Errors
    /// See the trait.
    fn fit(&self, data: &Dataset, seed: Seed) -> Result<Fitted>;
}

/// The parameters of a trainer around another one: its own, then the other's name and parameters.
fn wrapped_parameters(
    mut own: Vec<(String, String)>,
    inner: &dyn Trainer,
) -> Vec<(String, String)> {
    own.push(("trainer".to_owned(), inner.name().to_owned()));
    own.extend(inner.parameters());
    own
}

/// What a [`Trainer`] gives.
#[derive(Debug, Clone)]
pub struct Fitted {
    /// The model.
    pub model: Arc<dyn Model>,
    /// How far an iterative solver got; `None` for trainers without one.
    pub convergence: Option<Convergence>,
}

/// How far an iterative solver got.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Convergence {
    /// Largest absolute component of the objective's gradient at the solution, per row.
    pub gradient: f64,
    /// What it had to stay below.
    pub tolerance: f64,
}

impl Convergence {
    /// Whether the solution is one.
    pub fn converged(&self) -> bool {
        self.gradient <= self.tolerance
    }
}

/// The logistic function, exact at both ends. The exponential is libm's own: the standard library's differs in the last
/// bit from one platform to the next, and golden rows would not be the same on another.
pub(crate) fn sigmoid(margin: f64) -> f64 {
    if margin >= 0.0 {
        1.0 / (1.0 + libm::exp(-margin))
    } else {
        let e = libm::exp(margin);
        e / (1.0 + e)
    }
}
