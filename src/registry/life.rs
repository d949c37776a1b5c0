//! The steps of a version's life; the table in [the module's docs](crate::registry) has their rules.

use crate::audit::{Signature, check_stands};
use crate::error::{Error, Result};
use crate::ids::{Digest, ModelRef};
use crate::registry::guard::{self, check_features, check_other_eyes, check_slot, check_slot_time};
use crate::registry::state::State;
use crate::registry::{Evidence, ModelRegistry, ModelVersion, RegistryEvent, Stage};

use Stage::*;

/// A step from one of some stages to another.
struct Move {
    verb: &'static str,
    from: &'static [Stage],
    to: Stage,
}

const VALIDATE: Move = Move { verb: "validate", from: &[Registered], to: Validated };
const APPROVE: Move = Move { verb: "approve", from: &[Validated, Retired], to: Staging };
const SHADOW: Move = Move { verb: "put into shadow", from: &[Staging], to: Shadow };
const CANARY: Move = Move { verb: "make a canary of", from: &[Staging, Shadow], to: Canary };
const PROMOTE: Move = Move { verb: "promote", from: &[Staging, Shadow, Canary], to: Champion };
const BREAK_GLASS: Move = Move {
    verb: "break the glass for",
    from: &[Registered, Validated, Staging, Shadow, Canary, Retired],
    to: Champion,
};
const REJECT: Move = Move { verb: "reject", from: &[Registered, Validated], to: Rejected };
const ARCHIVE: Move =
    Move { verb: "archive", from: &[Staging, Shadow, Canary, Retired, Rejected], to: Archived };
const RELEASE: Move = Move { verb: "release", from: &[Quarantined], to: Registered };

impl ModelRegistry {
    /// Attaches evidence, in any stage: what speaks for a version may be found later.
    ///
    /// # Errors
    /// As for every step; `InvalidInput` for a metric that is not finite.
    pub fn attach(
        &self,
        version: &ModelVersion,
        evidence: Evidence,
        signature: Signature<'_>,
    ) -> Result<ModelVersion> {
        evidence.check()?;
        self.step("attach evidence to", version, signature, |_, _, now| {
            let (model, evidence) = (now.model.clone(), evidence.clone());
            Ok(RegistryEvent::Attached { model, evidence })
        })
    }

    /// Registered → validated.
    ///
    /// # Errors
    /// As for every step.
    pub fn validate(
        &self,
        version: &ModelVersion,
        signature: Signature<'_>,
    ) -> Result<ModelVersion> {
        let golden = self.load(&version.model)?.golden;
        let n_golden = golden.map_or(0, |golden| golden.expected().len());
        self.go(&VALIDATE, version, None, signature, |action, _, now| {
            guard::check_proof(action, now, n_golden)
        })
    }

    /// Validated or retired → staging, for a slot.
    ///
    /// # Errors
    /// As for every step; `InvalidInput` for a slot without a name.
    pub fn approve(
        &self,
        version: &ModelVersion,
        slot: &str,
        signature: Signature<'_>,
    ) -> Result<ModelVersion> {
        check_slot(slot)?;
        self.go(&APPROVE, version, Some(slot), signature, |action, state, now| {
            check_other_eyes(action, now, signature)?;
            check_features(action, state, slot, now)
        })
    }

    /// Staging → shadow.
    ///
    /// # Errors
    /// As for every step.
    pub fn shadow(&self, version: &ModelVersion, signature: Signature<'_>) -> Result<ModelVersion> {
        self.go(&SHADOW, version, None, signature, |_, _, _| Ok(()))
    }

    /// Staging or shadow → canary. What share of the requests it answers is the router's.
    ///
    /// # Errors
    /// As for every step.
    pub fn canary(&self, version: &ModelVersion, signature: Signature<'_>) -> Result<ModelVersion> {
        self.go(&CANARY, version, None, signature, |action, _, now| {
            guard::check_shadow(action, now, self.config.shadow, signature.at)
        })
    }

    /// Staging, shadow or canary → champion of the slot that it was approved for; the champion before is retired.
    ///
    /// # Errors
    /// As for every step; `Io` or `Corrupt` if its artifact cannot be loaded.
    pub fn promote(
        &self,
        version: &ModelVersion,
        signature: Signature<'_>,
    ) -> Result<ModelVersion> {
        self.crown(&PROMOTE, version, None, signature, |action, now| {
            check_other_eyes(action, now, signature)?;
            guard::check_shadow(action, now, self.config.shadow, signature.at)
        })
    }

    /// Makes a version champion whatever its stage and whoever asks, when there is no time for the rules: the log keeps
    /// that, and the reason.
    ///
    /// # Errors
    /// As for every step; `Io` or `Corrupt` if its artifact cannot be loaded; `InvalidInput` for a slot without a name.
    pub fn break_glass(
        &self,
        version: &ModelVersion,
        slot: &str,
        signature: Signature<'_>,
    ) -> Result<ModelVersion> {
        check_slot(slot)?;
        self.crown(&BREAK_GLASS, version, Some(slot), signature, |_, _| Ok(()))
    }

    /// Evidence, validation, approval and promotion one after the other, signed by one person: for a version that needs no
    /// days in shadow. Each step is an entry of its own; a rule that does not hold ends it there.
    ///
    /// # Errors
    /// Those of the steps.
    pub fn ship(
        &self,
        version: &ModelVersion,
        slot: &str,
        evaluation: Evidence,
        signature: Signature<'_>,
    ) -> Result<ModelVersion> {
        let version = self.attach(version, evaluation, signature)?;
        let version = self.validate(&version, signature)?;
        let version = self.approve(&version, slot, signature)?;
        self.promote(&version, signature)
    }

    /// Makes the champion before this one the champion again: one event, one swap. `from` is the champion as the caller
    /// has last seen it; none after it was quarantined.
    ///
    /// # Errors
    /// `Refused` without an actor or a reason, or if there is no earlier champion of the slot's features; `Conflict` if
    /// another version is champion; `InvalidInput` for a signature dated before the slot's last change; `Io` or
    /// `Corrupt` if the earlier champion's artifact cannot be loaded.
    pub fn roll_back(
        &self,
        slot: &str,
        from: Option<&ModelRef>,
        signature: Signature<'_>,
    ) -> Result<ModelVersion> {
        let action = format!("roll back {slot}");
        signature.check(&action)?;
        let (state, model) = self.commit(signature, |state| {
            if state.champion(slot) != from {
                let reason = "has another champion; read it again".into();
                return Err(Error::Conflict { kind: "slot", id: slot.to_owned(), reason });
            }
            let place = state.slots.get(slot);
            let Some(to) = place.and_then(|place| place.former.last()).cloned() else {
                return Err(Error::refused(&action, "there is no earlier champion"));
            };
            let target = state.version(&to)?;
            check_slot_time(state, slot, signature)?;
            check_features(&action, state, slot, target)?;
            self.load_digest(&target.artifact)?;
            let (slot, from) = (slot.to_owned(), from.cloned());
            Ok((RegistryEvent::RolledBack { slot, from, to: to.clone() }, to))
        })?;
        state.version(&model).cloned()
    }

    /// Registered or validated → rejected.
    ///
    /// # Errors
    /// As for every step.
    pub fn reject(&self, version: &ModelVersion, signature: Signature<'_>) -> Result<ModelVersion> {
        self.go(&REJECT, version, None, signature, |_, _, _| Ok(()))
    }

    /// Staging, shadow, canary, retired or rejected → archived: given up, or out of use for good.
    ///
    /// # Errors
    /// As for every step.
    pub fn archive(
        &self,
        version: &ModelVersion,
        signature: Signature<'_>,
    ) -> Result<ModelVersion> {
        self.go(&ARCHIVE, version, None, signature, |_, _, _| Ok(()))
    }

    /// Any stage → quarantined. A champion leaves its slot without one: [roll back](Self::roll_back) next.
    ///
    /// # Errors
    /// As for every step; `Refused` if it is quarantined already.
    pub fn quarantine(
        &self,
        version: &ModelVersion,
        signature: Signature<'_>,
    ) -> Result<ModelVersion> {
        self.step("quarantine", version, signature, |action, _, now| match now.stage {
            Quarantined => Err(Error::refused(action, "it is quarantined already")),
            _ => Ok(moved(now, Quarantined, None)),
        })
    }

    /// Quarantined → registered: it starts over.
    ///
    /// # Errors
    /// As for every step.
    pub fn release(
        &self,
        version: &ModelVersion,
        signature: Signature<'_>,
    ) -> Result<ModelVersion> {
        self.go(&RELEASE, version, None, signature, |action, state, now| {
            check_other_eyes(action, now, signature)?;
            let quarantined = state.log.entries().iter().rev().find(|entry| {
                matches!(&entry.event, RegistryEvent::Moved { model, to: Quarantined, .. } if *model == now.model)
            });
            if quarantined.is_some_and(|entry| entry.actor == signature.actor) {
                let reason = format!("{} quarantined it; somebody else has to agree", signature.actor);
                return Err(Error::refused(action, reason));
            }
            Ok(())
        })
    }

    /// Puts a tag on a version, in the place of one of the same name, or takes it off.
    ///
    /// # Errors
    /// As for every step; `InvalidInput` for a blank tag.
    pub fn tag(
        &self,
        version: &ModelVersion,
        tag: &str,
        value: Option<&str>,
        signature: Signature<'_>,
    ) -> Result<ModelVersion> {
        if tag.trim().is_empty() {
            return Err(Error::input("tag", "needs a name"));
        }
        self.step("tag", version, signature, |_, _, now| {
            let (tag, value) = (tag.to_owned(), value.map(str::to_owned));
            Ok(RegistryEvent::Tagged { model: now.model.clone(), tag, value })
        })
    }

    /// Gives a version another name, which may be moved from one version to the next. `from` is what the caller believes
    /// that it names now.
    ///
    /// # Errors
    /// As for every step; `Conflict` if it names something else; `InvalidInput` for a blank name or one with an `@`.
    pub fn set_alias(
        &self,
        alias: &str,
        from: Option<&ModelRef>,
        version: &ModelVersion,
        signature: Signature<'_>,
    ) -> Result<ModelVersion> {
        if alias.trim().is_empty() || alias.contains('@') {
            return Err(Error::input("alias", format!("{alias:?} is blank or has an @")));
        }
        self.step("name", version, signature, |_, state, now| {
            if state.aliases.get(alias) != from {
                let reason = "names another version; read it again".into();
                return Err(Error::Conflict { kind: "alias", id: alias.to_owned(), reason });
            }
            let (alias, from, to) = (alias.to_owned(), from.cloned(), Some(now.model.clone()));
            Ok(RegistryEvent::Aliased { alias, from, to })
        })
    }

    /// Says which features a slot's rows consist of, by their [fingerprint](crate::FeatureSchema::fingerprint): only versions that
    /// take these become its champion from here on. A slot that was never bound has the features of its first champion.
    ///
    /// # Errors
    /// `Refused` without an actor or a reason; `InvalidInput` for a slot without a name; the log's.
    pub fn bind_slot(&self, slot: &str, schema: Digest, signature: Signature<'_>) -> Result<()> {
        check_slot(slot)?;
        signature.check(&format!("bind {slot}"))?;
        let bound = || RegistryEvent::SlotBound { slot: slot.to_owned(), schema };
        self.commit(signature, |_| Ok((bound(), ()))).map(drop)
    }

    /// A step to another stage, for `slot` where it is the one that says for which, unless `guard` refuses it.
    fn go(
        &self,
        way: &Move,
        version: &ModelVersion,
        slot: Option<&str>,
        signature: Signature<'_>,
        guard: impl Fn(&str, &State, &ModelVersion) -> Result<()>,
    ) -> Result<ModelVersion> {
        self.step(way.verb, version, signature, |action, state, now| {
            check_stands(action, &now.model, &now.stage, way.from)?;
            guard(action, state, now)?;
            Ok(moved(now, way.to, slot))
        })
    }

    /// The step to champion of the slot that the version was approved for; given another `slot`, the rules are put aside.
    fn crown(
        &self,
        way: &Move,
        version: &ModelVersion,
        slot: Option<&str>,
        signature: Signature<'_>,
        guard: impl Fn(&str, &ModelVersion) -> Result<()>,
    ) -> Result<ModelVersion> {
        self.load(&version.model)?;
        self.step(way.verb, version, signature, |action, state, now| {
            check_stands(action, &now.model, &now.stage, way.from)?;
            guard(action, now)?;
            let place = slot.or(now.slot.as_deref()).unwrap_or_default();
            check_features(action, state, place, now)?;
            check_slot_time(state, place, signature)?;
            let replaced = state.champion(place).cloned();
            let (model, from, break_glass) = (now.model.clone(), now.stage, slot.is_some());
            Ok(RegistryEvent::Promoted {
                slot: place.to_owned(),
                model,
                from,
                replaced,
                break_glass,
            })
        })
    }

    /// One step of one version, decided by `decide` on what the caller has seen.
    fn step(
        &self,
        verb: &str,
        version: &ModelVersion,
        signature: Signature<'_>,
        decide: impl Fn(&str, &State, &ModelVersion) -> Result<RegistryEvent>,
    ) -> Result<ModelVersion> {
        let action = format!("{verb} {}", version.model);
        signature.check(&action)?;
        let (state, ()) = self.commit(signature, |state| {
            let now = state.version(&version.model)?;
            if now.revision != version.revision {
                let (ours, theirs) = (now.revision, version.revision);
                let reason = format!("is at revision {ours}, not {theirs}; read it again");
                return Err(Error::Conflict { kind: "model", id: now.model.to_string(), reason });
            }
            signature.check_after(&now.model, now.updated)?;
            Ok((decide(&action, state, now)?, ()))
        })?;
        state.version(&version.model).cloned()
    }
}

fn moved(version: &ModelVersion, to: Stage, slot: Option<&str>) -> RegistryEvent {
    let (model, from, slot) = (version.model.clone(), version.stage, slot.map(str::to_owned));
    RegistryEvent::Moved { model, from, to, slot }
}
