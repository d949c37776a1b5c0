//! The fold: what is known follows from the log's entries alone.

use std::collections::BTreeMap;

use crate::audit::AuditLog;
use crate::error::{Error, Result};
use crate::ids::{Digest, ModelRef};
use crate::registry::{ModelVersion, RegistryEvent, RegistryLogEntry, Stage};
use crate::time::Timestamp;

#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) log: AuditLog<RegistryEvent>,
    pub(super) versions: BTreeMap<ModelRef, ModelVersion>,
    pub(super) slots: BTreeMap<String, Slot>,
    pub(super) aliases: BTreeMap<String, ModelRef>,
}

/// A place where one version answers.
#[derive(Debug, Default)]
pub(super) struct Slot {
    pub(super) champion: Option<ModelRef>,
    /// Retired champions that a roll-back may go to, the next one last.
    pub(super) former: Vec<ModelRef>,
    /// Every change of the champion.
    pub(super) history: Vec<(Timestamp, Option<ModelRef>)>,
    /// The features that its rows consist of: bound by the host, or those of its first champion.
    pub(super) schema: Option<Digest>,
}

impl State {
    /// # Errors
    /// `NotFound` for an unknown version.
    pub(super) fn version(&self, model: &ModelRef) -> Result<&ModelVersion> {
        let not_found = || Error::NotFound { kind: "model", id: model.to_string() };
        self.versions.get(model).ok_or_else(not_found)
    }

    pub(super) fn champion(&self, slot: &str) -> Option<&ModelRef> {
        self.slots.get(slot)?.champion.as_ref()
    }

    /// Takes the entry that follows the log; one that the rules could not have made leaves everything as it was.
    ///
    /// # Errors
    /// `Corrupt` for an entry that does not follow or cannot be.
    pub(super) fn apply(&mut self, entry: RegistryLogEntry) -> Result<()> {
        RegistryLogEntry::verify_after(self.log.head(), std::slice::from_ref(&entry))?;
        self.check(&entry.event).map_err(|reason| {
            Error::corrupt("registry log", format!("entry {}: {reason}", entry.seq))
        })?;
        self.fold(&entry);
        self.log.push(entry);
        Ok(())
    }

    /// Why an event cannot have happened now.
    fn check(&self, event: &RegistryEvent) -> std::result::Result<(), String> {
        let stands = |model: &ModelRef, stage: Stage| match self.versions.get(model) {
            Some(version) if version.stage == stage => Ok(()),
            Some(version) => Err(format!("{model} is {}, not {stage}", version.stage)),
            None => Err(format!("there is no {model}")),
        };
        let champion = |slot: &str, expected: &Option<ModelRef>| {
            let matches = self.champion(slot) == expected.as_ref();
            if matches { Ok(()) } else { Err(format!("{slot} has another champion")) }
        };
        match event {
            RegistryEvent::Registered { model, parent, .. } => {
                let known = |model: &ModelRef| self.versions.contains_key(model);
                match parent.as_ref().filter(|parent| !known(parent)) {
                    Some(parent) => Err(format!("there is no {parent} to be its parent")),
                    None if known(model) => Err(format!("{model} is there already")),
                    None => Ok(()),
                }
            }
            RegistryEvent::Moved { model, from, to, .. } => {
                let ours = *to != Stage::Champion;
                stands(model, *from)
                    .and(ours.then_some(()).ok_or_else(|| "a silent champion".into()))
            }
            RegistryEvent::Promoted { slot, model, from, replaced, .. } => champion(slot, replaced)
                .and_then(|()| match from {
                    Stage::Champion => Err(format!("{model} is champion already")),
                    from => stands(model, *from),
                }),
            RegistryEvent::RolledBack { slot, from, to } => {
                champion(slot, from).and_then(|()| stands(to, Stage::Retired))
            }
            RegistryEvent::Attached { model, .. } | RegistryEvent::Tagged { model, .. } => {
                let known = self.versions.contains_key(model);
                known.then_some(()).ok_or_else(|| format!("there is no {model}"))
            }
            RegistryEvent::Aliased { to, .. } => {
                let known = to.as_ref().is_none_or(|to| self.versions.contains_key(to));
                known.then_some(()).ok_or_else(|| "a name for nothing".into())
            }
            RegistryEvent::SlotBound { .. } => Ok(()),
        }
    }

    fn fold(&mut self, entry: &RegistryLogEntry) {
        let (seq, at) = (entry.seq, entry.at);
        match &entry.event {
            RegistryEvent::Registered {
                model,
                artifact,
                schema,
                training,
                parent,
                code_version,
            } => {
                let version = ModelVersion {
                    model: model.clone(),
                    revision: seq,
                    stage: Stage::Registered,
                    slot: None,
                    artifact: *artifact,
                    schema: *schema,
                    author: entry.actor.clone(),
                    registered: at,
                    updated: at,
                    shadow_since: None,
                    training: (**training).clone(),
                    parent: parent.clone(),
                    code_version: code_version.clone(),
                    evidence: Vec::new(),
                    tags: BTreeMap::new(),
                };
                self.versions.insert(model.clone(), version);
            }
            RegistryEvent::Attached { model, evidence } => {
                self.change(model, entry, |version| version.evidence.push(evidence.clone()));
            }
            RegistryEvent::Moved { model, from, to, slot } => {
                self.change(model, entry, |version| {
                    version.stage = *to;
                    version.slot = slot.clone().or(version.slot.take());
                    match to {
                        Stage::Shadow => version.shadow_since = Some(at),
                        Stage::Staging | Stage::Registered => version.shadow_since = None,
                        _ => {}
                    }
                });
                self.forget(model);
                if *from == Stage::Champion {
                    let slot = self.versions[model].slot.clone().unwrap_or_default();
                    self.crown(&slot, None, entry);
                }
            }
            RegistryEvent::Promoted { slot, model, replaced, .. } => {
                let schema = self.versions[model].schema;
                self.forget(model);
                let place = self.slots.entry(slot.clone()).or_default();
                place.schema.get_or_insert(schema);
                place.former.extend(replaced.clone());
                self.retire(replaced, entry);
                self.crown(slot, Some(model), entry);
            }
            RegistryEvent::RolledBack { slot, from, to } => {
                self.forget(to);
                self.retire(from, entry);
                self.crown(slot, Some(to), entry);
            }
            RegistryEvent::SlotBound { slot, schema } => {
                self.slots.entry(slot.clone()).or_default().schema = Some(*schema);
                self.touch(slot, entry);
            }
            RegistryEvent::Tagged { model, tag, value } => {
                self.change(model, entry, |version| match value {
                    Some(value) => drop(version.tags.insert(tag.clone(), value.clone())),
                    None => drop(version.tags.remove(tag)),
                });
            }
            RegistryEvent::Aliased { alias, to, .. } => match to {
                Some(to) => drop(self.aliases.insert(alias.clone(), to.clone())),
                None => drop(self.aliases.remove(alias)),
            },
        }
    }

    fn change(
        &mut self,
        model: &ModelRef,
        entry: &RegistryLogEntry,
        edit: impl FnOnce(&mut ModelVersion),
    ) {
        if let Some(version) = self.versions.get_mut(model) {
            edit(version);
            version.revision = entry.seq;
            version.updated = version.updated.max(entry.at);
        }
    }

    /// No roll-back goes to this version any more.
    fn forget(&mut self, model: &ModelRef) {
        self.slots.values_mut().for_each(|slot| slot.former.retain(|other| other != model));
    }

    fn retire(&mut self, champion: &Option<ModelRef>, entry: &RegistryLogEntry) {
        if let Some(champion) = champion {
            self.change(champion, entry, |version| version.stage = Stage::Retired);
        }
    }

    /// Makes a version, or none, the champion of a slot.
    fn crown(&mut self, slot: &str, model: Option<&ModelRef>, entry: &RegistryLogEntry) {
        if let Some(model) = model {
            self.change(model, entry, |version| {
                version.stage = Stage::Champion;
                version.slot = Some(slot.to_owned());
            });
        }
        let place = self.slots.entry(slot.to_owned()).or_default();
        place.champion = model.cloned();
        place.history.push((entry.at, model.cloned()));
        self.touch(slot, entry);
    }

    /// A change of a slot is a change for all its versions: whoever decided on one of them looks again.
    fn touch(&mut self, slot: &str, entry: &RegistryLogEntry) {
        let of_slot = |version: &&mut ModelVersion| version.slot.as_deref() == Some(slot);
        for version in self.versions.values_mut().filter(of_slot) {
            version.revision = entry.seq;
            version.updated = version.updated.max(entry.at);
        }
    }
}
