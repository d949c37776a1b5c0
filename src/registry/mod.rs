//! Stage 7, registry. Takes trained models as artifacts; gives versions, a champion per slot, and the record of who
//! decided what.
//!
//! [`ModelRegistry`] keeps the rules; an [`ArtifactStore`] keeps the artifacts, a [`RegistryLog`] the events. All that the
//! registry knows is the fold of the events, and each of them is sealed by the hash of the one before.
//!
//! # The life of a version
//! ```text
//!                                                                          displaced
//!  Registered ──▶ Validated ──▶ Staging ──▶ Shadow ──▶ Canary ──▶ Champion ────────▶ Retired ──▶ Archived
//!      │ validate     │ approve    │ shadow    │ canary    │ promote    ▲              │ │           ▲
//!      └──────┬───────┘            └───────────┴───────────┴─────┐      └──────────────┘ │           │
//!      reject ▼                                          archive └────── roll_back ──────┴───────────┘
//!          Rejected                              any of them ── quarantine ──▶ Quarantined ── release ──▶ Registered
//! ```
//!
//! | step | what has to hold |
//! |---|---|
//! | every one | an actor, a reason, the version as the log has it now, a time not before its last change, and its slot's last champion where it becomes one |
//! | [`register`] | the artifact loads and its golden rows get their scores; its reason codes fit the model and tell nothing that is never to be told; its parent, if it names one, is registered |
//! | [`validate`] | the same again, with at least 32 golden rows; an evaluation is attached |
//! | [`approve`] | the actor is not the author; the features are the slot's |
//! | [`shadow`], [`canary`] | it is approved; for a canary shadow evidence, where the configuration asks for it |
//! | [`promote`] | from staging, shadow or canary: the actor is not the author; the features are the slot's; shadow evidence, where the configuration asks for it; the artifact loads |
//! | [`break_glass`] | from anywhere but rejected, archived and quarantined: the features are the slot's; the artifact loads |
//! | [`roll_back`] | there is a retired champion, with the slot's features; its artifact loads |
//! | [`release`] | the actor is neither the author nor whoever quarantined it |
//!
//! A version belongs to one slot. Of a slot's versions at most one is champion, at any moment of the past.
//!
//! [`register`]: ModelRegistry::register
//! [`validate`]: ModelRegistry::validate
//! [`approve`]: ModelRegistry::approve
//! [`shadow`]: ModelRegistry::shadow
//! [`canary`]: ModelRegistry::canary
//! [`promote`]: ModelRegistry::promote
//! [`break_glass`]: ModelRegistry::break_glass
//! [`roll_back`]: ModelRegistry::roll_back
//! [`release`]: ModelRegistry::release
//!
//! ```
//! use std::sync::Arc;
//!
//! use riskcycle::dataset::Dataset;
//! use riskcycle::evaluate::DecisionBands;
//! use riskcycle::model::LogisticRegression;
//! use riskcycle::ndarray::Array2;
//! use riskcycle::registry::*;
//! use riskcycle::train::TrainingRun;
//! use riskcycle::{FeatureSchema, Seed, Signature, Timestamp};
//!
//! # let features = Array2::from_shape_fn((40, 1), |(i, _)| i as f64);
//! # let data = Dataset::new(FeatureSchema::new(["x"])?, features, (0..40).map(|i| i % 3 == 0).collect())?;
//! let now = Timestamp::from_date(2026, 1, 5);
//! let run = TrainingRun::fit(&LogisticRegression::default(), &data, None, Seed(1))?;
//! let artifact = Artifact::new("fraud", "anna", now, DecisionBands::review_from(0.5)?, run);
//!
//! let registry = ModelRegistry::in_memory();
//! let anna = Signature::new("anna", "trained on January", now);
//! let bert = Signature::new("bert", "read the report", now);
//! let version = registry.register(&artifact, now)?;
//! let report = Evidence::new(EvidenceKind::Evaluation, b"the report", 40).with_metric("roc_auc", 0.8);
//! let version = registry.attach(&version, report, anna)?;
//! let version = registry.validate(&version, anna)?;
//! assert!(registry.approve(&version, "cards", anna).is_err()); // she made it
//! let version = registry.approve(&version, "cards", bert)?;
//! let version = registry.promote(&version, bert)?;
//! assert_eq!(registry.champion("cards"), Some(version.model));
//! # Ok::<(), riskcycle::Error>(())
//! ```

mod artifact;
mod diff;
mod event;
mod file;
mod guard;
mod life;
mod load;
mod log;
mod sections;
#[cfg(feature = "signing")]
mod signature;
mod state;
mod store;
mod version;

pub use artifact::Artifact;
pub use diff::VersionDiff;
pub use event::{RegistryEvent, RegistryLogEntry};
pub use load::{LoadLimits, LoadOptions};
#[cfg(feature = "redb")]
pub(crate) use log::check_follows;
#[cfg(feature = "redis")]
pub(crate) use log::taken;
pub use log::{DirectoryRegistryLog, InMemoryRegistryLog, RegistryLog};
#[cfg(feature = "signing")]
pub use signature::{ArtifactSigner, PublicKey};
pub use store::{ArtifactStore, DirectoryArtifactStore, InMemoryArtifactStore};
pub use version::{Evidence, EvidenceKind, ModelVersion, Stage};

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::audit::{AuditHead, Signature};
use crate::error::{Error, Result};
use crate::ids::{Digest, ModelRef};
use crate::model::ReasonCodes;
use crate::time::Timestamp;
use state::State;

/// What a [`ModelRegistry`] asks of versions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RegistryConfig {
    /// What has to be seen in shadow before a version may answer; nothing by default.
    pub shadow: Option<ShadowRule>,
}

/// The least that has to be seen of a version in shadow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShadowRule {
    /// Time since it went into shadow.
    pub time: Duration,
    /// Rows that the [shadow evidence](EvidenceKind::Shadow) speaks of.
    pub rows: u64,
}

/// Keeps artifacts, numbers their versions, leads them through their life, and knows the champion of every slot (a place
/// where one model answers, such as `"card-fraud"`).
///
/// # Concurrency
/// Any number of threads, and of registries over one log. A step is decided on the whole log and fails with `Conflict` if
/// the version that it was decided on has changed since. What is read may lack what other processes have written since the
/// last step or [`refresh`](Self::refresh).
///
/// # Cost
/// A step reads what the log has gained and appends one entry; some of them load the artifact. Reading costs no I/O.
///
/// # Errors
/// Every step gives the log's and the store's errors, and besides: `NotFound` for an unknown version; `Conflict` for one that has
/// changed since; `Refused` if a rule does not hold, naming what would satisfy it; `InvalidInput` for a signature
/// dated before the version's last change. Nothing is changed then.
#[derive(Debug)]
pub struct ModelRegistry {
    store: Arc<dyn ArtifactStore>,
    log: Arc<dyn RegistryLog>,
    config: RegistryConfig,
    options: LoadOptions,
    state: Mutex<State>,
}

/// Entries that are read in one call.
const PAGE: usize = 500;

/// Each lost race is an entry that somebody else wrote, so this many in a row take a hundred busy writers.
const MAX_RACES: usize = 100;

impl ModelRegistry {
    /// The registry that a log tells of, over a store.
    ///
    /// # Errors
    /// `Corrupt` for a log that has been changed, or holds what the rules do not allow; the log's own.
    pub fn open(
        config: RegistryConfig,
        store: Arc<dyn ArtifactStore>,
        log: Arc<dyn RegistryLog>,
    ) -> Result<Self> {
        let (options, state) = (LoadOptions::default(), Mutex::default());
        let registry = ModelRegistry { store, log, config, options, state };
        registry.refresh()?;
        Ok(registry)
    }

    /// An empty registry that lives as long as the process.
    pub fn in_memory() -> Self {
        ModelRegistry {
            store: Arc::new(InMemoryArtifactStore::default()),
            log: Arc::new(InMemoryRegistryLog::default()),
            config: RegistryConfig::default(),
            options: LoadOptions::default(),
            state: Mutex::default(),
        }
    }

    /// Loads artifacts in another way: with the host's own kinds of models, within other limits, signed.
    #[must_use]
    pub fn with_options(mut self, options: LoadOptions) -> Self {
        self.options = options;
        self
    }

    /// Reads what other registries have written to the log.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn refresh(&self) -> Result<()> {
        self.catch_up(&mut self.state())
    }

    /// Stores an artifact as the next version of its name, signed by its author. It is loaded before anything is stored, and
    /// again from the store before it counts.
    ///
    /// # Errors
    /// As for every step; `Refused` for an artifact that could not be loaded again; `Conflict` if the same artifact is
    /// registered already; `NotFound` for an unknown parent; those of [`ReasonCodes::new`]; `Io` or `Corrupt` from the store.
    pub fn register(&self, artifact: &Artifact, at: Timestamp) -> Result<ModelVersion> {
        let signature = Signature::new(&artifact.author, "made it", at);
        signature.check(&format!("register {}", artifact.name))?;
        let (bytes, loaded) = artifact.loadable_bytes("register", &self.options)?;
        if let Some(reasons) = &loaded.reasons {
            ReasonCodes::new(reasons, loaded.model.explainer()?)?;
        }
        let digest = self.store.put(&bytes)?;
        self.load_digest(&digest)?;
        let schema = loaded.model.schema().fingerprint();
        let (state, model) = self.commit(signature, |state| {
            if let Some(version) = state.versions.values().find(|v| v.artifact == digest) {
                let (id, reason) = (digest.short(), format!("is registered as {}", version.model));
                return Err(Error::Conflict { kind: "artifact", id, reason });
            }
            if let Some(parent) = &loaded.parent {
                state.version(parent)?;
            }
            let earlier = state.versions.keys().filter(|model| *model.name == loaded.name);
            let last = earlier.map(|model| model.version).max().unwrap_or(0);
            let model = ModelRef { name: loaded.name.as_str().into(), version: last + 1 };
            let event = RegistryEvent::Registered {
                model: model.clone(),
                artifact: digest,
                schema,
                training: Box::new(loaded.training.clone()),
                parent: loaded.parent.clone(),
                code_version: loaded.code_version.clone(),
            };
            Ok((event, model))
        })?;
        state.version(&model).cloned()
    }

    /// The model that answers in a slot.
    pub fn champion(&self, slot: &str) -> Option<ModelRef> {
        self.state().champion(slot).cloned()
    }

    /// The model that answered in a slot at a moment.
    pub fn champion_as_of(&self, slot: &str, at: Timestamp) -> Option<ModelRef> {
        let state = self.state();
        let history = &state.slots.get(slot)?.history;
        let before = history.partition_point(|(since, _)| *since <= at);
        history[..before].last()?.1.clone()
    }

    /// What is known of a version.
    ///
    /// # Errors
    /// `NotFound` for an unknown one.
    pub fn version(&self, model: &ModelRef) -> Result<ModelVersion> {
        self.state().version(model).cloned()
    }

    /// All versions, by name and version.
    pub fn versions(&self) -> Vec<ModelVersion> {
        self.state().versions.values().cloned().collect()
    }

    /// A version and those that it was made from, each before its parent. What it was trained on stands in each one's
    /// [`training`](ModelVersion::training).
    ///
    /// # Errors
    /// `NotFound` for an unknown version.
    pub fn lineage(&self, model: &ModelRef) -> Result<Vec<ModelVersion>> {
        let state = self.state();
        let mut line = vec![state.version(model)?.clone()];
        // A parent is registered before its child, so this ends.
        while let Some(parent) = line.last().and_then(|last| last.parent.as_ref()) {
            line.push(state.version(parent)?.clone());
        }
        Ok(line)
    }

    /// What a name stands for.
    pub fn alias(&self, alias: &str) -> Option<ModelRef> {
        self.state().aliases.get(alias).cloned()
    }

    /// A version's artifact, from the store, checked.
    ///
    /// # Errors
    /// `NotFound` for an unknown version; `Io` or `Corrupt` if the artifact is gone or damaged.
    pub fn load(&self, model: &ModelRef) -> Result<Artifact> {
        let digest = self.version(model)?.artifact;
        self.load_digest(&digest)
    }

    /// What differs between two versions, artifacts included.
    ///
    /// # Errors
    /// Those of [`load`](Self::load).
    pub fn diff(&self, a: &ModelRef, b: &ModelRef) -> Result<VersionDiff> {
        let side = |model| Ok::<_, Error>((self.version(model)?, self.load(model)?));
        Ok(VersionDiff::new(&side(a)?, &side(b)?))
    }

    /// Who did what, when and why, from the first event on.
    pub fn audit(&self) -> Vec<RegistryLogEntry> {
        self.state().log.entries().to_vec()
    }

    /// How far the log reaches. Kept somewhere else, it shows later whether entries were taken off the end.
    pub fn head(&self) -> AuditHead {
        self.state().log.head()
    }

    fn load_digest(&self, digest: &Digest) -> Result<Artifact> {
        Artifact::from_bytes(&self.store.get(digest)?, &self.options)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // An entry is checked before anything changes, so a panic leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn catch_up(&self, state: &mut State) -> Result<()> {
        loop {
            let entries = self.log.read(state.log.head().seq, PAGE)?;
            let n = entries.len();
            entries.into_iter().try_for_each(|entry| state.apply(entry))?;
            if n < PAGE {
                return Ok(());
            }
        }
    }

    /// Decides and appends against one end of the log, again and again until no other writer comes in between. Gives the
    /// state afterwards, and what `decide` gave beside its event.
    fn commit<T>(
        &self,
        signature: Signature<'_>,
        decide: impl Fn(&State) -> Result<(RegistryEvent, T)>,
    ) -> Result<(MutexGuard<'_, State>, T)> {
        let mut state = self.state();
        let mut races = 0;
        loop {
            self.catch_up(&mut state)?;
            let (event, decided) = decide(&state)?;
            let entry = RegistryLogEntry::after(state.log.head(), signature, event);
            match self.log.append(&entry) {
                Ok(()) => {
                    state.apply(entry)?;
                    return Ok((state, decided));
                }
                Err(error) if error.is_conflict() && races < MAX_RACES => races += 1,
                Err(error) => return Err(error),
            }
        }
    }
}
