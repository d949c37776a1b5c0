//! Transforms and a trainer in one.

use std::sync::Arc;

use crate::codec::Reader;
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::codec::{Source, write_model};
use crate::model::transform::{FittedTransforms, Transform};
use crate::model::{Explainer, Fitted, Model, Trainer, wrapped_parameters};
use crate::schema::FeatureSchema;
use crate::seed::Seed;

/// Transforms, then a trainer on what they make of the rows: a [`Trainer`] whose model takes raw rows. Training and serving
/// are one path; only target encoding shows training rows other values, those of the other folds.
///
/// ```
/// use std::sync::Arc;
/// use riskcycle::model::{Imputation, LogisticRegression, ModelExt, Pipeline, Trainer, Transform};
/// use riskcycle::{FeatureSchema, Seed, dataset::Dataset, ndarray::Array2};
///
/// let features = Array2::from_shape_fn((40, 1), |(i, _)| if i % 8 == 0 { f64::NAN } else { i as f64 });
/// let bad = (0..40).map(|i| i % 3 == 0 || i > 35).collect();
/// let data = Dataset::new(FeatureSchema::new(["x"])?, features, bad)?;
///
/// let transforms = vec![Transform::FlagMissing, Transform::Impute(Imputation::Median)];
/// let pipeline = Pipeline::new(transforms, Arc::new(LogisticRegression::default()));
/// let model = pipeline.fit(&data, Seed(1))?.model;
/// assert!(model.score_row(&[f64::NAN])?.is_finite());
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Pipeline {
    transforms: Vec<Transform>,
    trainer: Arc<dyn Trainer>,
}

impl Pipeline {
    /// These transforms in this order, then this trainer.
    pub fn new(transforms: Vec<Transform>, trainer: Arc<dyn Trainer>) -> Self {
        Pipeline { transforms, trainer }
    }
}

impl Trainer for Pipeline {
    fn name(&self) -> &'static str {
        "pipeline"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let transforms = self.transforms.iter().enumerate();
        let own = transforms.map(|(i, of)| (format!("transform {}", i + 1), format!("{of:?}")));
        wrapped_parameters(own.collect(), self.trainer.as_ref())
    }

    fn fit(&self, data: &Dataset, seed: Seed) -> Result<Fitted> {
        let (transforms, train) = FittedTransforms::fit(&self.transforms, data, seed)?;
        let Fitted { model, convergence } = self.trainer.fit(&train, seed)?;
        let model = PipelineModel::new(transforms, model)?;
        Ok(Fitted { model: Arc::new(model), convergence })
    }
}

/// A model behind the transforms that it was trained behind.
///
/// Scoring does not allocate for up to 256 columns between the two.
#[derive(Debug, Clone)]
pub struct PipelineModel {
    transforms: FittedTransforms,
    model: Arc<dyn Model>,
}

/// Explains a [`PipelineModel`] by the features that go in.
#[derive(Debug)]
struct PipelineExplainer {
    transforms: FittedTransforms,
    inner: Arc<dyn Explainer>,
}

const COLUMNS_ON_STACK: usize = 256;

/// Lends a row of `n` columns, on the stack unless there are many.
fn with_columns<T>(n: usize, work: impl FnOnce(&mut [f64]) -> T) -> T {
    let mut on_stack = [0.0; COLUMNS_ON_STACK];
    match on_stack.get_mut(..n) {
        Some(columns) => work(columns),
        None => work(&mut vec![0.0; n]),
    }
}

impl PipelineModel {
    /// The kind under which artifacts hold it.
    pub const KIND: &'static str = "pipeline";

    /// # Errors
    /// `SchemaMismatch` unless the model takes what the transforms give.
    pub fn new(transforms: FittedTransforms, model: Arc<dyn Model>) -> Result<Self> {
        transforms.output().check(model.schema())?;
        Ok(PipelineModel { transforms, model })
    }

    /// The transforms.
    pub fn transforms(&self) -> &FittedTransforms {
        &self.transforms
    }

    /// The model behind them.
    pub fn model(&self) -> &Arc<dyn Model> {
        &self.model
    }

    pub(super) fn read(
        schema: FeatureSchema,
        from: &Source<'_>,
        mut reader: Reader<'_>,
    ) -> Result<Self> {
        let transforms = FittedTransforms::read(schema, &mut reader)?;
        let model = from.read_model(&mut reader, transforms.output().clone())?;
        reader.finish()?;
        PipelineModel::new(transforms, model)
            .map_err(|error| Error::corrupt("pipeline", error.to_string()))
    }
}

impl Model for PipelineModel {
    fn schema(&self) -> &FeatureSchema {
        self.transforms.input()
    }

    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
        self.schema().check_rows(rows.len(), scores.len())?;
        with_columns(self.transforms.output().n_features(), |out| {
            let rows = rows.chunks_exact(self.schema().n_features());
            for (score, row) in scores.iter_mut().zip(rows) {
                self.transforms.apply_checked(row, out);
                self.model.score(out, std::slice::from_mut(score))?;
            }
            Ok(())
        })
    }

    fn kind(&self) -> &str {
        Self::KIND
    }

    /// That of the model behind the transforms; what several columns made of one feature add is added up to the feature's.
    fn explainer(&self) -> Result<Arc<dyn Explainer>> {
        let inner = self.model.explainer()?;
        Ok(Arc::new(PipelineExplainer { transforms: self.transforms.clone(), inner }))
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        self.transforms.write(&mut bytes);
        write_model(&mut bytes, self.model.as_ref());
        bytes
    }

    fn edges(&self) -> Vec<(usize, f64)> {
        self.transforms.edges(&self.model.edges())
    }
}

impl Explainer for PipelineExplainer {
    fn schema(&self) -> &FeatureSchema {
        self.transforms.input()
    }

    fn base(&self) -> f64 {
        self.inner.base()
    }

    fn explain(&self, row: &[f64], contributions: &mut [f64]) -> Result<()> {
        let n = self.transforms.output().n_features();
        self.schema().check_rows(contributions.len(), 1)?;
        with_columns(n, |columns| {
            self.transforms.apply(row, columns)?;
            with_columns(n, |of_column| {
                self.inner.explain(columns, of_column)?;
                contributions.fill(0.0);
                for (source, added) in self.transforms.sources().zip(of_column) {
                    contributions[source] += *added;
                }
                Ok(())
            })
        })
    }
}
