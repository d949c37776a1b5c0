//! The artifact: a model and everything needed to use it, in one self-contained file. The file is a row of sections in
//! the [container](super::sections):
//!
//! | section | what it holds |
//! |---|---|
//! | `META` | name, author, time, kind of model, decision bands, costs, training record, parent, code version |
//! | `SCHM` | names of the features |
//! | `KIND` | kinds of the features; only where one of them is not numeric |
//! | `MODL` | the model: flat little-endian arrays, with training covers and calibration where it has them |
//! | `GOLD` | golden rows: values of the rows, then their scores; missing in files of before there were any |
//! | `RSNC` | reason codes: groups of features and what is told of them; only where there are any |
//! | lower case | attachments; `sign` is the signature |

use std::collections::BTreeMap;
use std::fs::File;
use std::io::Read as _;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{self, Budget, Reader};
use crate::error::{Error, Result};
use crate::evaluate::{Costs, DecisionBands};
use crate::ids::{Digest, ModelRef};
use crate::model::{GoldenRows, Model, ReasonConfig};
use crate::registry::sections::{self, SectionId, corrupt, is_optional, name};
use crate::registry::{LoadLimits, LoadOptions, file};
use crate::schema::{FeatureKind, FeatureSchema};
use crate::time::Timestamp;
use crate::train::{TrainingRecord, TrainingRun};

const META: SectionId = *b"META";
const SCHEMA: SectionId = *b"SCHM";
const KINDS: SectionId = *b"KIND";
const MODEL: SectionId = *b"MODL";
const GOLDEN: SectionId = *b"GOLD";
const REASONS: SectionId = *b"RSNC";
const KNOWN: [SectionId; 6] = [META, SCHEMA, KINDS, MODEL, GOLDEN, REASONS];
/// The signature, if there is one: a function of all the rest.
const SIGNATURE: SectionId = *b"sign";

/// A model with its name, origin, decision bands, training record and golden rows. The same artifact has the same bytes
/// on every machine.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Name that versions are counted under.
    pub name: String,
    /// Who made it.
    pub author: String,
    /// When it was made, as the maker's clock says.
    pub created: Timestamp,
    /// From which scores on it asks for a review, and from which it declines.
    pub bands: DecisionBands,
    /// What the bands were chosen by, where they were chosen by costs.
    pub costs: Option<Costs>,
    /// How it was trained.
    pub training: TrainingRecord,
    /// The version that it was made from or is to follow.
    pub parent: Option<ModelRef>,
    /// The host's code that made it, a commit or a build; empty if the host does not say.
    pub code_version: String,
    /// The model.
    pub model: Arc<dyn Model>,
    /// Rows that it must score as it did when it was made, checked at every load; `None` in files of before there were any.
    pub golden: Option<GoldenRows>,
    /// What people are told of a score; `None` where nobody is told anything.
    pub reasons: Option<ReasonConfig>,
    pub(super) attachments: BTreeMap<SectionId, Vec<u8>>,
}

/// The META section. bincode cannot add a field to a struct, so a change to anything in here, `TrainingRecord` included,
/// is a new variant behind the last.
#[derive(Serialize, Deserialize)]
enum Meta {
    V1 {
        name: String,
        author: String,
        created: Timestamp,
        kind: String,
        threshold: f64,
        training: TrainingRecord,
    },
    V2(Facts),
}

#[derive(Serialize, Deserialize)]
struct Facts {
    name: String,
    author: String,
    created: Timestamp,
    kind: String,
    bands: DecisionBands,
    costs: Option<Costs>,
    training: TrainingRecord,
    parent: Option<ModelRef>,
    code_version: String,
}

impl Meta {
    fn facts(self) -> Result<Facts> {
        match self {
            Meta::V2(facts) => Ok(facts),
            Meta::V1 { name, author, created, kind, threshold, training } => {
                // There was one threshold, and negative infinity meant a review of everything.
                let bands = DecisionBands::review_from(threshold.max(f64::MIN));
                let bands = match bands {
                    Ok(bands) if !threshold.is_nan() => bands,
                    _ => return Err(corrupt("the threshold is not a number")),
                };
                let (costs, parent, code_version) = (None, None, String::new());
                Ok(Facts {
                    name,
                    author,
                    created,
                    kind,
                    bands,
                    costs,
                    training,
                    parent,
                    code_version,
                })
            }
        }
    }
}

impl Artifact {
    /// The artifact of a training run, with the run's golden rows.
    pub fn new(
        name: &str,
        author: &str,
        created: Timestamp,
        bands: DecisionBands,
        run: TrainingRun,
    ) -> Self {
        Artifact {
            name: name.to_owned(),
            author: author.to_owned(),
            created,
            bands,
            costs: None,
            training: run.record,
            parent: None,
            code_version: String::new(),
            model: run.model,
            golden: Some(run.golden),
            reasons: None,
            attachments: BTreeMap::new(),
        }
    }

    /// Attaches bytes that a later stage reads: the reference that drift is measured against, the host's own. Four
    /// characters name them; what was attached under the name before is replaced.
    ///
    /// # Errors
    /// `InvalidInput` unless the name is four ASCII letters or digits of which the first is a lower-case letter; for
    /// `sign`, which is taken; for more than 48 attachments.
    pub fn attach(&mut self, id: [u8; 4], bytes: Vec<u8>) -> Result<()> {
        let refuse =
            |reason: &str| Err(Error::input("attachment", format!("{} {reason}", name(id))));
        if !is_optional(id) || !id.iter().all(u8::is_ascii_alphanumeric) || id == SIGNATURE {
            return refuse("is no name: four letters or digits are, the first a lower-case letter");
        }
        if self.attachments.len() >= 48 && !self.attachments.contains_key(&id) {
            return refuse("would be one too many");
        }
        self.attachments.insert(id, bytes);
        Ok(())
    }

    /// What is attached under a name.
    pub fn attachment(&self, id: [u8; 4]) -> Option<&[u8]> {
        self.attachments.get(&id).map(Vec::as_slice)
    }

    /// SHA-256 of the artifact without its signature: what a signature is of.
    pub fn identity(&self) -> Digest {
        Digest::of(&self.write(|id| id != SIGNATURE))
    }

    /// The artifact's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        self.write(|_| true)
    }

    fn write(&self, wanted: impl Fn(SectionId) -> bool) -> Vec<u8> {
        let meta = codec::encode(&Meta::V2(Facts {
            name: self.name.clone(),
            author: self.author.clone(),
            created: self.created,
            kind: self.model.kind().to_owned(),
            bands: self.bands,
            costs: self.costs,
            training: self.training.clone(),
            parent: self.parent.clone(),
            code_version: self.code_version.clone(),
        }));
        let schema = self.model.schema();
        let names = codec::encode(&schema.names());
        let mut kinds = Vec::new();
        if !schema.all_numeric() {
            schema.kinds().iter().for_each(|kind| kind.write(&mut kinds));
        }
        let model = self.model.to_bytes();
        let golden = self.golden.as_ref().map(golden_bytes);
        let reasons = self.reasons.as_ref().map(codec::encode);
        let mut sections: Vec<(SectionId, &[u8])> = vec![(META, &meta), (SCHEMA, &names)];
        sections.extend((!kinds.is_empty()).then_some((KINDS, &kinds[..])));
        sections.push((MODEL, &model));
        sections.extend(golden.as_deref().map(|golden| (GOLDEN, golden)));
        sections.extend(reasons.as_deref().map(|reasons| (REASONS, reasons)));
        let attached = self.attachments.iter().map(|(id, bytes)| (*id, &bytes[..]));
        sections.extend(attached.filter(|(id, _)| wanted(*id)));
        sections::write(&sections)
    }

    /// The artifact from its bytes, which may be hostile: besides them at most four times their length and a mebibyte of
    /// memory is taken, as far as models are of our own kinds.
    ///
    /// # Errors
    /// `Corrupt` saying what is wrong, a golden row that gets another score among it; `NotFound` for a kind of model
    /// without a decoder; `Refused` for a signature that is demanded and not there.
    pub fn from_bytes(bytes: &[u8], options: &LoadOptions) -> Result<Self> {
        let limits = &options.limits;
        if bytes.len() > limits.bytes {
            let reason = format!("{} bytes are more than {}", bytes.len(), limits.bytes);
            return Err(corrupt(reason));
        }
        let sections = sections::read(bytes, &KNOWN)?;
        let find = |id: SectionId| {
            sections.iter().find(|(other, _)| *other == id).map(|(_, content)| *content)
        };
        let section = |id: SectionId| {
            find(id).ok_or_else(|| corrupt(format!("section {} is missing", name(id))))
        };
        #[cfg(feature = "signing")]
        if let Some(trusted) = &options.trusted {
            let unsigned: Vec<(SectionId, &[u8])> =
                sections.iter().filter(|(id, _)| *id != SIGNATURE).copied().collect();
            let identity = Digest::of(&sections::write(&unsigned));
            super::signature::check(identity, find(SIGNATURE), trusted)?;
        }
        let budget = Budget::new(bytes.len());
        let attached = sections.iter().filter(|(id, _)| is_optional(*id));
        let attached_bytes: usize = attached.clone().map(|(_, content)| content.len()).sum();
        Reader::within("artifact", bytes, &budget).charge(attached_bytes)?;
        let names = codec::decode_texts(
            section(SCHEMA)?,
            limits.features,
            "artifact section SCHM",
            &budget,
        )?;
        let schema = read_schema(names, find(KINDS), &budget)?;
        let meta: Meta = codec::decode_within(section(META)?, "artifact section META", &budget)?;
        let facts = meta.facts()?;
        let codecs = &options.codecs;
        let written = section(MODEL)?;
        let model = codecs.decode_within(&facts.kind, schema, written, &budget)?;
        let golden = find(GOLDEN).map(|content| {
            let reader = Reader::within("artifact section GOLD", content, &budget);
            read_golden(reader, model.as_ref(), written.len() as u64, limits)
        });
        let reasons = find(REASONS)
            .map(|content| codec::decode_within(content, "artifact section RSNC", &budget));
        Ok(Artifact {
            name: facts.name,
            author: facts.author,
            created: facts.created,
            bands: facts.bands,
            costs: facts.costs,
            training: facts.training,
            parent: facts.parent,
            code_version: facts.code_version,
            golden: golden.transpose()?,
            reasons: reasons.transpose()?,
            model,
            attachments: attached.map(|(id, content)| (*id, content.to_vec())).collect(),
        })
    }

    /// The artifact's bytes, and what is loaded of them: whatever keeps an artifact loads it first, so that what is kept can
    /// be loaded.
    ///
    /// # Errors
    /// `Refused` for an artifact that could not be loaded by these options: beyond a limit, with golden rows that get other
    /// scores; `NotFound` for a kind of model without a decoder.
    pub(super) fn loadable_bytes(
        &self,
        verb: &str,
        options: &LoadOptions,
    ) -> Result<(Vec<u8>, Artifact)> {
        let bytes = self.to_bytes();
        match Artifact::from_bytes(&bytes, options) {
            Ok(loaded) => Ok((bytes, loaded)),
            Err(Error::Corrupt { what, reason }) => {
                let reason = format!("it could not be loaded again: {what}: {reason}");
                Err(Error::refused(format!("{verb} {}", self.name), reason))
            }
            Err(error) => Err(error),
        }
    }

    /// Writes the artifact to a file: to another name first, flushed, then renamed, so that a crash at any point leaves
    /// what was there or the new artifact.
    ///
    /// # Errors
    /// `Refused` for an artifact that could not be loaded by these options, which nothing is written of; `NotFound` for a
    /// kind of model without a decoder; `Io`.
    pub fn save(&self, path: impl AsRef<Path>, options: &LoadOptions) -> Result<()> {
        let path = path.as_ref();
        let (bytes, _) = self.loadable_bytes("save", options)?;
        file::replace(path, &bytes).map_err(|error| Error::io("write", path, error))
    }

    /// The artifact in a file.
    ///
    /// # Errors
    /// `Io`; those of [`from_bytes`](Self::from_bytes).
    pub fn load(path: impl AsRef<Path>, options: &LoadOptions) -> Result<Self> {
        let path = path.as_ref();
        let io = |error| Error::io("read", path, error);
        // One byte more than is allowed tells that there are too many.
        let most = (options.limits.bytes as u64).saturating_add(1);
        let file = File::open(path).map_err(io)?;
        let length = file.metadata().map_err(io)?.len().min(most);
        // Room for the file and for finding its end, so that its bytes do not move while they are read.
        let mut bytes = Vec::with_capacity(usize::try_from(length).unwrap_or(0).saturating_add(32));
        file.take(most).read_to_end(&mut bytes).map_err(io)?;
        Artifact::from_bytes(&bytes, options)
    }
}

/// Number of rows, then their values, then their scores.
fn golden_bytes(golden: &GoldenRows) -> Vec<u8> {
    let numbers = golden.rows().iter().chain(golden.expected());
    let mut bytes = (golden.expected().len() as u32).to_le_bytes().to_vec();
    bytes.extend(numbers.flat_map(|number| number.to_le_bytes()));
    bytes
}

/// The features of these names, all numeric unless their kinds are told.
fn read_schema(names: Vec<String>, kinds: Option<&[u8]>, budget: &Budget) -> Result<FeatureSchema> {
    let n = names.len();
    let mut reader = Reader::within("artifact section KIND", kinds.unwrap_or(&[]), budget);
    let kinds = if kinds.is_some() {
        reader.list(n, 1, FeatureKind::read)?
    } else {
        reader.charge(n * size_of::<FeatureKind>())?;
        vec![FeatureKind::Numeric; n]
    };
    // The names in order, to find one that is there twice.
    reader.lend(n * size_of::<&str>())?;
    reader.finish()?;
    FeatureSchema::of(names, kinds).map_err(|error| corrupt(error.to_string()))
}

/// Rows that get the scores that they must, from a model of so many bytes.
fn read_golden(
    mut reader: Reader<'_>,
    model: &dyn Model,
    model_bytes: u64,
    limits: &LoadLimits,
) -> Result<GoldenRows> {
    let n = reader.u32()? as usize;
    if n > limits.golden_rows {
        return Err(corrupt(format!("{n} golden rows are more than {}", limits.golden_rows)));
    }
    if model_bytes.saturating_mul(n as u64) > limits.golden_work {
        let reason = format!("{n} golden rows are too many for a model of {model_bytes} bytes");
        return Err(corrupt(reason));
    }
    let rows = reader.f64s(n.saturating_mul(model.schema().n_features()))?;
    let expected = reader.f64s(n)?;
    // What they get now.
    reader.lend(8 * n)?;
    reader.finish()?;
    GoldenRows::new(rows, expected)
        .and_then(|golden| golden.check(|rows, scores| model.score(rows, scores)).map(|()| golden))
        .map_err(|error| corrupt(error.to_string()))
}
