//! From bytes back to models, by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::model::{LogisticModel, Model, Scorecard, TreeEnsemble};
use crate::schema::FeatureSchema;

/// Makes a model from its schema and the bytes of [`Model::to_bytes`]. Bytes may be hostile: it must answer them with
/// `Corrupt`, not with a panic or a large allocation.
pub type DecodeModel = fn(FeatureSchema, &[u8]) -> Result<Arc<dyn Model>>;

/// The decoders of all kinds of models that an artifact may hold; ours to begin with.
#[derive(Clone)]
pub struct ModelCodecs {
    decoders: BTreeMap<String, DecodeModel>,
}

impl ModelCodecs {
    /// Adds a kind of the host's own.
    ///
    /// # Errors
    /// `Conflict` if the kind has a decoder already.
    pub fn with(mut self, kind: &str, decode: DecodeModel) -> Result<Self> {
        if self.decoders.insert(kind.to_owned(), decode).is_some() {
            let reason = "has a decoder already".into();
            return Err(Error::Conflict { kind: "model kind", id: kind.into(), reason });
        }
        Ok(self)
    }

    /// Makes a model.
    ///
    /// # Errors
    /// `NotFound` for a kind without a decoder, otherwise the decoder's own.
    pub fn decode(
        &self,
        kind: &str,
        schema: FeatureSchema,
        bytes: &[u8],
    ) -> Result<Arc<dyn Model>> {
        let decode = self.decoders.get(kind).ok_or_else(|| Error::NotFound {
            kind: "decoder for models of kind",
            id: kind.into(),
        })?;
        decode(schema, bytes)
    }
}

impl Default for ModelCodecs {
    fn default() -> Self {
        let ours: [(&str, DecodeModel); 3] = [
            (LogisticModel::KIND, |schema, bytes| {
                Ok(Arc::new(LogisticModel::from_bytes(schema, bytes)?))
            }),
            (Scorecard::KIND, |schema, bytes| Ok(Arc::new(Scorecard::from_bytes(schema, bytes)?))),
            (TreeEnsemble::KIND, |schema, bytes| {
                Ok(Arc::new(TreeEnsemble::from_bytes(schema, bytes)?))
            }),
        ];
        let decoders = ours.map(|(kind, decode)| (kind.to_owned(), decode)).into();
        ModelCodecs { decoders }
    }
}

impl fmt::Debug for ModelCodecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.decoders.keys()).finish()
    }
}
