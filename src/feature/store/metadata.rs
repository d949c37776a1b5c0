//! What is known of a feature.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::{Error, Result};
use crate::feature::store::{FeatureProfile, ParityEvidence};
use crate::feature::{Definition, Feature, FeatureSet};
use crate::ids::{Digest, ModelRef};
use crate::time::Timestamp;

/// A registered feature version, written `id@version`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FeatureRef {
    /// Id of the feature within its store.
    pub id: Arc<str>,
    /// Version, counted from 1 within the id.
    pub version: u32,
}

impl FeatureRef {
    /// Names a version; it need not exist.
    pub fn new(id: &str, version: u32) -> Self {
        FeatureRef { id: id.into(), version }
    }
}

impl fmt::Display for FeatureRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}@{}", self.id, self.version)
    }
}

/// What kind of values a feature has.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(rename_all = "lowercase")]
pub enum FeatureType {
    /// Numbers.
    #[default]
    Numerical,
    /// One of a list of values.
    Categorical,
    /// Free text.
    Text,
    /// Moments.
    Datetime,
    /// Yes or no.
    Boolean,
}

/// Where a feature version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FeatureStatus {
    /// Being written; the only status in which semantics change.
    Draft,
    /// Waits for another pair of eyes.
    Review,
    /// May be used, and means the same for ever.
    Approved,
    /// Still computed for those who use it; new users should not.
    Deprecated,
    /// Out of use for good.
    Archived,
}

impl fmt::Display for FeatureStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FeatureStatus::Draft => "draft",
            FeatureStatus::Review => "review",
            FeatureStatus::Approved => "approved",
            FeatureStatus::Deprecated => "deprecated",
            FeatureStatus::Archived => "archived",
        })
    }
}

/// What people read about a feature. It changes no value, so it may be edited in any status.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureDocumentation {
    /// Name for people.
    pub name: String,
    /// What it is.
    pub description: String,
    /// What it says about the business, and why it should tell good from bad. Required from review on.
    pub business_meaning: String,
    /// Person or team that answers for it. Required from review on.
    pub owner: String,
    /// Words to find it by.
    pub tags: BTreeSet<String>,
}

/// What decides a feature's values. It changes in a draft only; after that a change is a new version.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FeatureSemantics {
    /// What kind of values it has.
    pub feature_type: FeatureType,
    /// The data type that holds them, as the host names it (`"f64"`, `"decimal(10,2)"`). Required from review on.
    pub data_type: String,
    /// Table or stream it comes from. Required from review on.
    pub source_table: String,
    /// Column or field it comes from. Required from review on.
    pub source_column: String,
    /// Data upstream of the source, by the host's names.
    pub lineage: Vec<String>,
    /// Features that it is computed from.
    pub dependencies: BTreeSet<FeatureRef>,
    /// How it is computed, in words or code. Required from review on where there is no `definition`.
    pub transformation_logic: String,
    /// How it is computed, as a feature of a [`FeatureSet`]: then the leak lint can look at it.
    pub definition: Option<Feature>,
}

/// Who uses a feature, apart from other features.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FeatureUser {
    /// A feature set with this definition.
    Set {
        /// Its name.
        name: String,
        /// Its [fingerprint](FeatureSet::fingerprint).
        fingerprint: Digest,
    },
    /// A model version.
    Model(ModelRef),
}

impl From<&FeatureSet> for FeatureUser {
    fn from(set: &FeatureSet) -> Self {
        FeatureUser::Set { name: set.name().to_owned(), fingerprint: set.fingerprint() }
    }
}

impl From<ModelRef> for FeatureUser {
    fn from(model: ModelRef) -> Self {
        FeatureUser::Model(model)
    }
}

impl fmt::Display for FeatureUser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            FeatureUser::Set { name, fingerprint } => {
                write!(f, "feature set {name} ({})", fingerprint.short())
            }
            FeatureUser::Model(model) => write!(f, "model {model}"),
        }
    }
}

/// All that the store knows of a feature version.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureMetadata {
    /// Id and version.
    pub feature: FeatureRef,
    /// Counts the changes, from 1. A change names the revision it was decided on, and fails if another came first.
    pub revision: u64,
    /// Where it stands.
    pub status: FeatureStatus,
    /// When this version was registered.
    pub created: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// Everybody who wrote its semantics; none of them may approve it.
    pub authors: BTreeSet<String>,
    /// What people read about it.
    pub documentation: FeatureDocumentation,
    /// What decides its values.
    pub semantics: FeatureSemantics,
    /// Statistics of its values; dropped when the semantics change.
    pub profile: Option<FeatureProfile>,
    /// Evidence that history and live traffic give the same numbers; dropped when the semantics change.
    #[serde(default)]
    pub parity: Option<ParityEvidence>,
    /// Once deprecated: what to use instead.
    pub replacement: Option<FeatureRef>,
    /// Feature sets and model versions that use it.
    pub used_by: BTreeSet<FeatureUser>,
}

impl FeatureMetadata {
    /// SHA-256 over all fields: what the operation log keeps of a record, so that a changed record is found.
    pub fn digest(&self) -> Digest {
        // The first layout is in kept logs. A field that came later goes behind it, in records that have it.
        let first = (
            "riskcycle feature 1",
            (&self.feature, self.revision, self.status, self.created, self.updated),
            (&self.authors, &self.documentation, &self.semantics),
            (&self.profile, &self.replacement, &self.used_by),
        );
        let mut bytes = codec::encode(&first);
        if let Some(parity) = &self.parity {
            bytes.extend(codec::encode(&("parity", parity)));
        }
        Digest::of(&bytes)
    }
}

/// An id is part of keys, paths and cursors everywhere, so its alphabet is small.
pub(super) fn check_id(id: &str) -> Result<()> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "_-.".contains(c);
    if id.is_empty() || id.len() > 200 || !id.chars().all(allowed) {
        let reason = format!("{id:?} is not made of 1 to 200 ASCII letters, digits, _, - and .");
        return Err(Error::input("feature id", reason));
    }
    Ok(())
}

impl FeatureDocumentation {
    /// What has to hold from the first draft on.
    pub(super) fn check(&self) -> Result<()> {
        let blank = |text: &str| text.trim().is_empty();
        let reason = match self {
            _ if blank(&self.name) => "needs a name",
            _ if blank(&self.description) => "needs a description",
            _ if self.tags.iter().any(|tag| tag.is_empty() || tag.trim() != tag) => {
                "has a tag that is empty or has blanks around it"
            }
            _ => return Ok(()),
        };
        Err(Error::input("feature documentation", reason))
    }

    /// Fields that review needs and that are still blank.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        blanks(&[("business_meaning", &self.business_meaning), ("owner", &self.owner)])
    }
}

impl FeatureSemantics {
    /// What has to hold from the first draft on.
    pub(super) fn check(&self) -> Result<()> {
        use crate::feature::Definition::Windowed;
        match self.definition.as_ref().map(|feature| &feature.definition) {
            // JSON and others have no NaN: the record would not come back as it was, and its digest would not fit.
            Some(Windowed { empty: Some(empty), .. }) if !empty.is_finite() => Err(Error::input(
                "feature semantics",
                "`empty` must be finite, or None for missing",
            )),
            _ => Ok(()),
        }
    }

    /// Fields that review needs and that are still blank.
    pub(super) fn missing(&self) -> Vec<&'static str> {
        let mut missing = blanks(&[
            ("data_type", &self.data_type),
            ("source_table", &self.source_table),
            ("source_column", &self.source_column),
        ]);
        if self.definition.is_none() {
            missing.extend(blanks(&[("transformation_logic", &self.transformation_logic)]));
        }
        missing
    }

    /// The leak lint, by way of a set of this one feature: whoever filled in the definition need not have built one.
    pub(super) fn lint(&self) -> Result<()> {
        let Some(Feature { name, definition }) = &self.definition else { return Ok(()) };
        if let Definition::Expression(_) = definition {
            return Ok(()); // cannot leak by itself: what it reads are features with a lint of their own
        }
        FeatureSet::builder(name).feature(name, definition.clone()).build().map(drop)
    }
}

fn blanks(fields: &[(&'static str, &String)]) -> Vec<&'static str> {
    fields.iter().filter(|(_, text)| text.trim().is_empty()).map(|(name, _)| *name).collect()
}
