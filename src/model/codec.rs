//! From bytes back to models, by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::codec::{self, Reader};
use crate::error::{Error, Result};
use crate::model::{
    AveragedModel, CalibratedModel, LogisticModel, Model, PipelineModel, Scorecard, TreeEnsemble,
};
use crate::schema::FeatureSchema;

/// Makes a model from its schema and the bytes of [`Model::to_bytes`]. Bytes may be hostile: it must answer them with
/// `Corrupt`, not with a panic or a large allocation.
pub type DecodeModel = fn(FeatureSchema, &[u8]) -> Result<Arc<dyn Model>>;

/// Kinds that hold another model, which any decoder may be asked for.
const WRAPPERS: [(&str, DecodeWrapper); 3] = [
    (PipelineModel::KIND, |codecs, schema, bytes, depth| {
        Ok(Arc::new(PipelineModel::from_bytes(codecs, schema, bytes, depth)?))
    }),
    (CalibratedModel::KIND, |codecs, schema, bytes, depth| {
        Ok(Arc::new(CalibratedModel::from_bytes(codecs, schema, bytes, depth)?))
    }),
    (AveragedModel::KIND, |codecs, schema, bytes, depth| {
        Ok(Arc::new(AveragedModel::from_bytes(codecs, schema, bytes, depth)?))
    }),
];

type DecodeWrapper = fn(&ModelCodecs, FeatureSchema, &[u8], usize) -> Result<Arc<dyn Model>>;

/// How deep models may hold models; hostile bytes must not overflow the stack.
const MAX_DEPTH: usize = 8;

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
        let ours = WRAPPERS.iter().any(|(wrapper, _)| *wrapper == kind);
        if ours || self.decoders.insert(kind.to_owned(), decode).is_some() {
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
        self.decode_nested(kind, schema, bytes, 0)
    }

    /// What [`write_model`] wrote, inside `depth` other models.
    pub(super) fn read_model(
        &self,
        reader: &mut Reader<'_>,
        schema: FeatureSchema,
        depth: usize,
    ) -> Result<Arc<dyn Model>> {
        let kind = reader.text()?;
        self.decode_nested(&kind, schema, reader.block()?, depth)
    }

    fn decode_nested(
        &self,
        kind: &str,
        schema: FeatureSchema,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Arc<dyn Model>> {
        if depth > MAX_DEPTH {
            let reason = format!("more than {MAX_DEPTH} models hold each other");
            return Err(Error::corrupt("model", reason));
        }
        let depth = depth + 1;
        if let Some((_, decode)) = WRAPPERS.iter().find(|(wrapper, _)| *wrapper == kind) {
            return decode(self, schema, bytes, depth);
        }
        let decode = self.decoders.get(kind).ok_or_else(|| Error::NotFound {
            kind: "decoder for models of kind",
            id: kind.into(),
        })?;
        decode(schema, bytes)
    }
}

/// Appends a model that another one holds: its kind and its bytes.
pub(super) fn write_model(bytes: &mut Vec<u8>, model: &dyn Model) {
    codec::write_block(bytes, model.kind().as_bytes());
    codec::write_block(bytes, &model.to_bytes());
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
