//! A model behind a calibrator.

use std::sync::Arc;

use crate::codec::{self, Reader};
use crate::error::{Error, Result};
use crate::model::calibration::Calibrator;
use crate::model::codec::{Source, write_model};
use crate::model::{Explainer, Model};
use crate::schema::FeatureSchema;

/// A model whose scores a [`Calibrator`] turns into probabilities.
#[derive(Debug, Clone)]
pub struct CalibratedModel {
    model: Arc<dyn Model>,
    calibrator: Calibrator,
}

impl CalibratedModel {
    /// The kind under which artifacts hold it.
    pub const KIND: &'static str = "calibrated";

    /// # Errors
    /// `InvalidConfig` for a calibrator with numbers out of range.
    pub fn new(model: Arc<dyn Model>, calibrator: Calibrator) -> Result<Self> {
        if !calibrator.is_sound() {
            return Err(Error::config("calibrator", format!("{calibrator:?} cannot be")));
        }
        Ok(CalibratedModel { model, calibrator })
    }

    /// The calibrator.
    pub fn calibrator(&self) -> &Calibrator {
        &self.calibrator
    }

    /// The model behind it.
    pub fn model(&self) -> &Arc<dyn Model> {
        &self.model
    }

    pub(in crate::model) fn read(
        schema: FeatureSchema,
        from: &Source<'_>,
        mut reader: Reader<'_>,
    ) -> Result<Self> {
        let calibrator = reader.record("calibrator")?;
        let model = from.read_model(&mut reader, schema)?;
        reader.finish()?;
        CalibratedModel::new(model, calibrator)
            .map_err(|error| Error::corrupt("calibrated model", error.to_string()))
    }
}

impl Model for CalibratedModel {
    fn schema(&self) -> &FeatureSchema {
        self.model.schema()
    }

    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
        self.model.score(rows, scores)?;
        scores.iter_mut().for_each(|score| *score = self.calibrator.probability(*score));
        Ok(())
    }

    fn kind(&self) -> &str {
        Self::KIND
    }

    /// That of the model, on the margin before calibration.
    fn explainer(&self) -> Result<Arc<dyn Explainer>> {
        self.model.explainer()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec::write_block(&mut bytes, &codec::encode(&self.calibrator));
        write_model(&mut bytes, self.model.as_ref());
        bytes
    }

    fn edges(&self) -> Vec<(usize, f64)> {
        self.model.edges()
    }
}
