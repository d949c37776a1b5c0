//! What is known of a version.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::{Error, Result};
use crate::evaluate::EvaluationReport;
use crate::ids::{Digest, ModelRef};
use crate::time::Timestamp;
use crate::train::TrainingRecord;

/// What the registry knows of a version: the fold of the events that concern it.
///
/// Every step of its life takes it as the caller has last seen it, and fails with `Conflict` if it has changed since.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Name and version.
    pub model: ModelRef,
    /// Position in the log of the last event that concerns it or the champion of its slot.
    pub revision: u64,
    /// Where it stands.
    pub stage: Stage,
    /// Where it answers, answered or is to answer, once it is approved.
    pub slot: Option<String>,
    /// Its artifact in the store.
    pub artifact: Digest,
    /// Fingerprint of the features it takes.
    pub schema: Digest,
    /// Who made it.
    pub author: String,
    /// When it was registered.
    pub registered: Timestamp,
    /// When it last changed.
    pub updated: Timestamp,
    /// When it went into shadow, the last time.
    pub shadow_since: Option<Timestamp>,
    /// How it was trained: run, data, features, seed, parameters.
    pub training: TrainingRecord,
    /// The version that it was made from or is to follow.
    pub parent: Option<ModelRef>,
    /// The host's code that made it; empty if the host does not say.
    pub code_version: String,
    /// What speaks for it, in the order in which it was attached.
    pub evidence: Vec<Evidence>,
    /// What the host notes about it.
    pub tags: BTreeMap<String, String>,
}

impl ModelVersion {
    /// The last evidence of a kind.
    pub fn evidence(&self, kind: EvidenceKind) -> Option<&Evidence> {
        self.evidence.iter().rev().find(|evidence| evidence.kind == kind)
    }
}

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Kept, and nothing else.
    Registered,
    /// Tests itself, and there is an evaluation.
    Validated,
    /// Approved for a slot.
    Staging,
    /// Scores beside the champion, unheard.
    Shadow,
    /// Answers a share of the slot's requests.
    Canary,
    /// Answers in the slot.
    Champion,
    /// Answered in the slot and was replaced; what a roll-back goes to.
    Retired,
    /// Out of use for good.
    Archived,
    /// Found not good enough before it was approved.
    Rejected,
    /// Under suspicion: never to be served.
    Quarantined,
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Stage::Registered => "registered",
            Stage::Validated => "validated",
            Stage::Staging => "staging",
            Stage::Shadow => "shadow",
            Stage::Canary => "canary",
            Stage::Champion => "champion",
            Stage::Retired => "retired",
            Stage::Archived => "archived",
            Stage::Rejected => "rejected",
            Stage::Quarantined => "quarantined",
        })
    }
}

/// What a report says in short, and how to know it again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Evidence {
    /// What was looked at.
    pub kind: EvidenceKind,
    /// SHA-256 of the report, which the host keeps.
    pub report: Digest,
    /// Rows that it speaks of.
    pub n_rows: u64,
    /// Its key numbers, finite.
    pub metrics: BTreeMap<String, f64>,
}

/// What evidence is of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum EvidenceKind {
    /// Rows of the past that it was not trained on. Required for validation.
    Evaluation,
    /// Live requests that it scored unheard.
    Shadow,
}

impl Evidence {
    /// Evidence from a report of the host's own.
    pub fn new(kind: EvidenceKind, report: &[u8], n_rows: u64) -> Self {
        Evidence { kind, report: Digest::of(report), n_rows, metrics: BTreeMap::new() }
    }

    /// With a key number.
    #[must_use]
    pub fn with_metric(mut self, name: &str, value: f64) -> Self {
        self.metrics.insert(name.to_owned(), value);
        self
    }

    pub(super) fn check(&self) -> Result<()> {
        match self.metrics.iter().find(|(_, value)| !value.is_finite()) {
            Some((name, value)) => Err(Error::input("evidence", format!("{name} is {value}"))),
            None => Ok(()),
        }
    }
}

/// The report as evidence of kind evaluation, with its ranking metrics.
impl From<&EvaluationReport> for Evidence {
    fn from(report: &EvaluationReport) -> Self {
        Evidence::new(EvidenceKind::Evaluation, &codec::encode(report), report.n_rows)
            .with_metric("roc_auc", report.roc_auc)
            .with_metric("average_precision", report.average_precision)
            .with_metric("ks", report.ks.value)
            .with_metric("lift_at_tenth", report.lift_at_tenth)
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.kind {
            EvidenceKind::Evaluation => "evaluation",
            EvidenceKind::Shadow => "shadow evidence",
        };
        write!(f, "{kind} {} on {} rows", self.report.short(), self.n_rows)?;
        self.metrics.iter().try_for_each(|(name, value)| write!(f, ", {name} {value:.4}"))
    }
}
