//! Stage 7, registry. Takes trained models as artifacts; gives versions, a champion per slot, and the record of who
//! decided what.

mod artifact;
mod audit;
mod store;

pub use artifact::Artifact;
pub use audit::{AuditEntry, RegistryEvent};
pub use store::{ArtifactStore, DirectoryArtifactStore, InMemoryArtifactStore};

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::audit::{AuditLog, Signature};
use crate::error::{Error, Result};
use crate::ids::{Digest, ModelRef};
use crate::model::ModelCodecs;
use crate::time::Timestamp;

/// What the registry knows of a version.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ModelVersion {
    /// Name and version.
    pub model: ModelRef,
    /// Its artifact in the store.
    pub artifact: Digest,
    /// Fingerprint of the features it takes.
    pub schema: Digest,
    /// Who made it.
    pub author: String,
    /// When it was registered.
    pub registered: Timestamp,
    /// Where it stands.
    pub stage: Stage,
}

/// Where a version stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Stage {
    /// Kept, never promoted.
    Registered,
    /// Answers in a slot.
    Champion,
    /// Answered in a slot and was replaced.
    Retired,
}

/// Keeps artifacts, numbers their versions, and knows the champion of every slot (a place where one model answers, such
/// as `"card-fraud"`). Everything it knows follows from its log of events, which is chained by hashes.
///
/// # Concurrency
/// Share it by reference; one writer at a time.
#[derive(Debug)]
pub struct ModelRegistry {
    store: Arc<dyn ArtifactStore>,
    codecs: ModelCodecs,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: AuditLog<RegistryEvent>,
    versions: BTreeMap<ModelRef, ModelVersion>,
    /// Champions of each slot, the current one last.
    slots: BTreeMap<String, Vec<ModelRef>>,
}

impl ModelRegistry {
    /// An empty registry over a store.
    pub fn new(store: Arc<dyn ArtifactStore>) -> Self {
        ModelRegistry { store, codecs: ModelCodecs::default(), state: Mutex::default() }
    }

    /// An empty registry whose artifacts live in memory.
    pub fn in_memory() -> Self {
        ModelRegistry::new(Arc::new(InMemoryArtifactStore::default()))
    }

    /// Replaces the decoders, so that the host's own kinds of models can be loaded.
    #[must_use]
    pub fn with_codecs(mut self, codecs: ModelCodecs) -> Self {
        self.codecs = codecs;
        self
    }

    /// Stores an artifact as the next version of its name. The bytes are read back and checked before it counts.
    ///
    /// # Errors
    /// `Conflict` if the same artifact is registered already, `Io` or `Corrupt` from the store.
    pub fn register(&self, artifact: &Artifact, at: Timestamp) -> Result<ModelVersion> {
        let digest = self.store.put(&artifact.to_bytes())?;
        Artifact::from_bytes(&self.store.get(&digest)?, &self.codecs)?;
        let mut state = self.state();
        if let Some(version) = state.versions.values().find(|v| v.artifact == digest) {
            let (id, reason) = (digest.short(), format!("is registered as {}", version.model));
            return Err(Error::Conflict { kind: "artifact", id, reason });
        }
        let earlier = state.versions.keys().filter(|model| *model.name == artifact.name);
        let model = ModelRef {
            name: artifact.name.as_str().into(),
            version: earlier.map(|model| model.version).max().unwrap_or(0) + 1,
        };
        let event = RegistryEvent::Registered {
            model: model.clone(),
            artifact: digest,
            schema: artifact.model.schema().fingerprint(),
        };
        state.append(Signature::new(&artifact.author, "trained", at), event);
        Ok(state.versions[&model].clone())
    }

    /// Makes a version the champion of a slot.
    ///
    /// # Errors
    /// `NotFound` for an unknown version; `Refused` without an actor or a reason, or if the actor is the model's author;
    /// `Conflict` if it is the champion already; `Io` or `Corrupt` if its artifact cannot be loaded.
    pub fn promote(
        &self,
        slot: &str,
        model: &ModelRef,
        actor: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<()> {
        let action = format!("promote {model}");
        let signature = Signature::new(actor, reason, at);
        signature.check(&action)?;
        if self.load(model)?.author.trim() == signature.actor {
            let reason = format!("{actor} made it; somebody else has to approve it");
            return Err(Error::Refused { action, reason });
        }
        let mut state = self.state();
        let replaced = state.champion(slot).cloned();
        if replaced.as_ref() == Some(model) {
            let reason = format!("is the champion of {slot} already");
            return Err(Error::Conflict { kind: "model", id: model.to_string(), reason });
        }
        let (slot, model) = (slot.to_owned(), model.clone());
        state.append(signature, RegistryEvent::Promoted { slot, model, replaced });
        Ok(())
    }

    /// Makes the champion before this one the champion again, and returns it.
    ///
    /// # Errors
    /// `Refused` without an actor or a reason, or if there is no earlier champion.
    pub fn roll_back(
        &self,
        slot: &str,
        actor: &str,
        reason: &str,
        at: Timestamp,
    ) -> Result<ModelRef> {
        let action = format!("roll back {slot}");
        let signature = Signature::new(actor, reason, at);
        signature.check(&action)?;
        let mut state = self.state();
        let champions = state.slots.get(slot).map_or(&[][..], Vec::as_slice);
        let [.., to, from] = champions else {
            return Err(Error::Refused { action, reason: "there is no earlier champion".into() });
        };
        let (from, to) = (from.clone(), to.clone());
        let slot = slot.to_owned();
        state.append(signature, RegistryEvent::RolledBack { slot, from, to: to.clone() });
        Ok(to)
    }

    /// The model that answers in a slot.
    pub fn champion(&self, slot: &str) -> Option<ModelRef> {
        self.state().champion(slot).cloned()
    }

    /// What is known of a version.
    ///
    /// # Errors
    /// `NotFound` for an unknown one.
    pub fn version(&self, model: &ModelRef) -> Result<ModelVersion> {
        self.state()
            .versions
            .get(model)
            .cloned()
            .ok_or_else(|| Error::NotFound { kind: "model", id: model.to_string() })
    }

    /// All versions, by name and version.
    pub fn versions(&self) -> Vec<ModelVersion> {
        self.state().versions.values().cloned().collect()
    }

    /// A version's artifact, from the store, checked.
    ///
    /// # Errors
    /// `NotFound` for an unknown version; `Io` or `Corrupt` if the artifact is gone or damaged.
    pub fn load(&self, model: &ModelRef) -> Result<Artifact> {
        let digest = self.version(model)?.artifact;
        Artifact::from_bytes(&self.store.get(&digest)?, &self.codecs)
    }

    /// Who did what, when and why, from the first event on.
    pub fn audit(&self) -> Vec<AuditEntry> {
        self.state().log.entries().to_vec()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Appending is the last step of every change, so a panic before it leaves the state whole.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn champion(&self, slot: &str) -> Option<&ModelRef> {
        self.slots.get(slot)?.last()
    }

    fn append(&mut self, signature: Signature<'_>, event: RegistryEvent) {
        self.apply(signature.at, signature.actor, &event);
        self.log.push(AuditEntry::after(self.log.head(), signature, event));
    }

    /// The fold: all state is made here, from events alone.
    fn apply(&mut self, at: Timestamp, actor: &str, event: &RegistryEvent) {
        match event {
            RegistryEvent::Registered { model, artifact, schema } => {
                let version = ModelVersion {
                    model: model.clone(),
                    artifact: *artifact,
                    schema: *schema,
                    author: actor.to_owned(),
                    registered: at,
                    stage: Stage::Registered,
                };
                self.versions.insert(model.clone(), version);
            }
            RegistryEvent::Promoted { slot, model, .. } => {
                self.slots.entry(slot.clone()).or_default().push(model.clone());
                self.restage();
            }
            RegistryEvent::RolledBack { slot, .. } => {
                self.slots.entry(slot.clone()).or_default().pop();
                self.restage();
            }
        }
    }

    fn restage(&mut self) {
        let champions: Vec<&ModelRef> =
            self.slots.values().filter_map(|slot| slot.last()).collect();
        for version in self.versions.values_mut() {
            version.stage = match version.stage {
                _ if champions.contains(&&version.model) => Stage::Champion,
                Stage::Champion => Stage::Retired,
                other => other,
            };
        }
    }
}
