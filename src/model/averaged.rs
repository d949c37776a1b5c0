//! Several models that answer as one.

use std::sync::Arc;

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::model::codec::{Source, write_model};
use crate::schema::FeatureSchema;

/// The mean of several models' scores; a row that one of them cannot score has none.
#[derive(Debug, Clone)]
pub struct AveragedModel {
    models: Vec<Arc<dyn Model>>,
}

/// Rows that are scored at a time, with room on the stack.
const ROWS_AT_ONCE: usize = 64;

impl AveragedModel {
    /// The kind under which artifacts hold it.
    pub const KIND: &'static str = "averaged";

    /// # Errors
    /// `Empty` without models; `SchemaMismatch` unless all take the same columns.
    pub fn new(models: Vec<Arc<dyn Model>>) -> Result<Self> {
        let Some(first) = models.first() else {
            return Err(Error::Empty { what: "averaged model".into() });
        };
        models.iter().try_for_each(|model| first.schema().check(model.schema()))?;
        Ok(AveragedModel { models })
    }

    /// The models.
    pub fn models(&self) -> &[Arc<dyn Model>] {
        &self.models
    }

    pub(super) fn read(
        schema: FeatureSchema,
        from: &Source<'_>,
        mut reader: Reader<'_>,
    ) -> Result<Self> {
        let n = reader.u32()? as usize;
        // Two lengths each at least.
        let models = reader.list(n, 8, |reader| from.read_model(reader, schema.clone()))?;
        reader.finish()?;
        AveragedModel::new(models)
            .map_err(|error| Error::corrupt("averaged model", error.to_string()))
    }
}

impl Model for AveragedModel {
    fn schema(&self) -> &FeatureSchema {
        self.models[0].schema()
    }

    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
        self.schema().check_rows(rows.len(), scores.len())?;
        let width = self.schema().n_features();
        let mut of_one = [0.0; ROWS_AT_ONCE];
        let blocks = rows.chunks(ROWS_AT_ONCE * width);
        for (rows, scores) in blocks.zip(scores.chunks_mut(ROWS_AT_ONCE)) {
            let of_one = &mut of_one[..scores.len()];
            scores.fill(0.0);
            for model in &self.models {
                model.score(rows, of_one)?;
                scores.iter_mut().zip(&*of_one).for_each(|(sum, score)| *sum += score);
            }
            scores.iter_mut().for_each(|sum| *sum /= self.models.len() as f64);
        }
        Ok(())
    }

    fn kind(&self) -> &str {
        Self::KIND
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = (self.models.len() as u32).to_le_bytes().to_vec();
        self.models.iter().for_each(|model| write_model(&mut bytes, model.as_ref()));
        bytes
    }

    fn edges(&self) -> Vec<(usize, f64)> {
        self.models.iter().flat_map(|model| model.edges()).collect()
    }
}
