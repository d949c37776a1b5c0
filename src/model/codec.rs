//! From bytes back to models, by kind.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::codec::{self, Budget, Reader};
use crate::error::{Error, Result};
use crate::model::{
    AveragedModel, CalibratedModel, LogisticModel, Model, PipelineModel, Scorecard, TreeEnsemble,
};
use crate::schema::FeatureSchema;

/// Makes a model from its schema and the bytes of [`Model::to_bytes`]. Bytes may be hostile: it must answer them with
/// `Corrupt`, not with a panic or a large allocation.
pub type DecodeModel = fn(FeatureSchema, &[u8]) -> Result<Arc<dyn Model>>;

/// Our own kinds.
const OURS: [(&str, DecodeOurs); 6] = [
    (LogisticModel::KIND, |from, schema, bytes| {
        Ok(Arc::new(LogisticModel::read(schema, from.reader("logistic model", bytes))?))
    }),
    (Scorecard::KIND, |from, schema, bytes| {
        Ok(Arc::new(Scorecard::read(schema, from.reader("scorecard", bytes))?))
    }),
    (TreeEnsemble::KIND, |from, schema, bytes| {
        Ok(Arc::new(TreeEnsemble::read(schema, from.reader("tree ensemble", bytes))?))
    }),
    (PipelineModel::KIND, |from, schema, bytes| {
        Ok(Arc::new(PipelineModel::read(schema, from, from.reader("pipeline", bytes))?))
    }),
    (CalibratedModel::KIND, |from, schema, bytes| {
        Ok(Arc::new(CalibratedModel::read(schema, from, from.reader("calibrated model", bytes))?))
    }),
    (AveragedModel::KIND, |from, schema, bytes| {
        Ok(Arc::new(AveragedModel::read(schema, from, from.reader("averaged model", bytes))?))
    }),
];

type DecodeOurs = fn(&Source<'_>, FeatureSchema, &[u8]) -> Result<Arc<dyn Model>>;

/// What models are read with: decoders, memory that is left, and inside how many others.
pub(super) struct Source<'a> {
    codecs: &'a ModelCodecs,
    budget: &'a Budget,
    depth: usize,
}

/// More than what any model of ours takes apart from its lists.
const MODEL_BYTES: usize = 512;

/// How deep models may hold models; hostile bytes must not overflow the stack.
const MAX_DEPTH: usize = 8;

/// The decoders of all kinds of models that an artifact may hold; ours, and the host's own.
#[derive(Clone, Default)]
pub struct ModelCodecs {
    of_host: BTreeMap<String, DecodeModel>,
}

impl ModelCodecs {
    /// Adds a kind of the host's own.
    ///
    /// # Errors
    /// `Conflict` if the kind has a decoder already.
    pub fn with(mut self, kind: &str, decode: DecodeModel) -> Result<Self> {
        let ours = OURS.iter().any(|(of, _)| *of == kind);
        if ours || self.of_host.insert(kind.to_owned(), decode).is_some() {
            let reason = "has a decoder already".into();
            return Err(Error::Conflict { kind: "model kind", id: kind.into(), reason });
        }
        Ok(self)
    }

    /// Makes a model. One of ours takes at most four times its bytes and a mebibyte of memory meanwhile.
    ///
    /// # Errors
    /// `NotFound` for a kind without a decoder, otherwise the decoder's own.
    pub fn decode(
        &self,
        kind: &str,
        schema: FeatureSchema,
        bytes: &[u8],
    ) -> Result<Arc<dyn Model>> {
        self.decode_within(kind, schema, bytes, &Budget::new(bytes.len()))
    }

    /// Makes a model that is part of something.
    pub(crate) fn decode_within(
        &self,
        kind: &str,
        schema: FeatureSchema,
        bytes: &[u8],
        budget: &Budget,
    ) -> Result<Arc<dyn Model>> {
        Source { codecs: self, budget, depth: 0 }.decode(kind, schema, bytes)
    }
}

impl<'a> Source<'a> {
    fn reader(&self, what: &'static str, bytes: &'a [u8]) -> Reader<'a> {
        Reader::within(what, bytes, self.budget)
    }

    /// What [`write_model`] wrote inside another model.
    pub(super) fn read_model(
        &self,
        reader: &mut Reader<'_>,
        schema: FeatureSchema,
    ) -> Result<Arc<dyn Model>> {
        if self.depth == MAX_DEPTH {
            let reason = format!("more than {MAX_DEPTH} models hold each other");
            return Err(Error::corrupt("model", reason));
        }
        let kind = reader.text()?;
        Source { depth: self.depth + 1, ..*self }.decode(kind, schema, reader.block()?)
    }

    fn decode(&self, kind: &str, schema: FeatureSchema, bytes: &[u8]) -> Result<Arc<dyn Model>> {
        if let Some((_, decode)) = OURS.iter().find(|(of, _)| *of == kind) {
            Reader::within("model", bytes, self.budget).charge(MODEL_BYTES)?;
            return decode(self, schema, bytes);
        }
        let decode = self.codecs.of_host.get(kind).ok_or_else(|| Error::NotFound {
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

impl fmt::Debug for ModelCodecs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ours = OURS.iter().map(|(kind, _)| *kind);
        f.debug_set().entries(ours.chain(self.of_host.keys().map(String::as_str))).finish()
    }
}
