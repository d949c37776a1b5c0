//! Why a row has its score: what each feature adds to the margin, and the reasons that follow from it.

mod linear;
mod quadrature;
mod reason;
mod trees;

pub use linear::LinearExplainer;
pub use reason::{Reason, ReasonCodes, ReasonConfig, ReasonGroup, ReasonText};
pub use trees::TreeExplainer;

use std::fmt::Debug;

use crate::error::Result;
use crate::schema::FeatureSchema;

/// Takes a row's margin apart into what each feature adds to it: Shapley values, which give every feature what it adds on
/// average over all orders in which features become known (Lundberg and Lee 2017).
///
/// [`Model::explainer`](crate::model::Model::explainer) makes one; keep it for the life of the model.
///
/// # Contract
/// Contributions are on the scale of the margin, before link and calibration: log-odds of bad for models of a probability.
/// Above 0 is towards bad. [`base`](Self::base) and a row's contributions add up to its margin, to 1e-9 of the size of what
/// is added. A row that the model cannot score has NaN for what cannot be told. A feature that the model does not use has 0.
///
/// # Concurrency
/// Any number of threads explain at once.
///
/// # Cost
/// [`explain`](Self::explain) does not allocate once a thread has explained a row.
pub trait Explainer: Debug + Send + Sync + 'static {
    /// The columns that a row consists of, in order.
    fn schema(&self) -> &FeatureSchema;

    /// The margin that contributions are counted from: the explicit baseline.
    fn base(&self) -> f64;

    /// Fills in what each feature adds to the row's margin, in schema order.
    ///
    /// # Errors
    /// `SchemaMismatch` if the row or the contributions have another width than the schema.
    fn explain(&self, row: &[f64], contributions: &mut [f64]) -> Result<()>;
}

/// # Errors
/// `SchemaMismatch` unless a row and its contributions have the schema's width.
pub(in crate::model) fn check_widths(
    schema: &FeatureSchema,
    row: &[f64],
    contributions: &[f64],
) -> Result<()> {
    schema.check_rows(row.len(), 1)?;
    schema.check_rows(contributions.len(), 1)
}
