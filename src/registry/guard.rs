//! What has to hold before a version goes on.

use std::time::Duration;

use crate::audit::Signature;
use crate::error::{Error, Result};
use crate::registry::state::State;
use crate::registry::{EvidenceKind, ModelVersion, ShadowRule};
use crate::time::Timestamp;

/// Fewest golden rows of a version that may be validated.
const MIN_GOLDEN_ROWS: usize = 32;

/// Enough golden rows, and an evaluation.
pub(super) fn check_proof(action: &str, version: &ModelVersion, n_golden: usize) -> Result<()> {
    if n_golden < MIN_GOLDEN_ROWS {
        let reason = format!("it has {n_golden} golden rows; {MIN_GOLDEN_ROWS} are needed");
        return Err(Error::refused(action, reason));
    }
    match version.evidence(EvidenceKind::Evaluation) {
        Some(_) => Ok(()),
        None => Err(Error::refused(action, "it has no evaluation; attach one")),
    }
}

/// Enough seen in shadow by `now`.
pub(super) fn check_shadow(
    action: &str,
    version: &ModelVersion,
    rule: Option<ShadowRule>,
    now: Timestamp,
) -> Result<()> {
    let Some(rule) = rule else { return Ok(()) };
    let time = version.shadow_since.map_or(Duration::ZERO, |since| now.since(since));
    let rows = version.evidence(EvidenceKind::Shadow).map_or(0, |evidence| evidence.n_rows);
    if version.shadow_since.is_some() && time >= rule.time && rows >= rule.rows {
        return Ok(());
    }
    let reason = format!(
        "it was {time:?} in shadow and has evidence on {rows} rows; {:?} and {} rows are needed",
        rule.time, rule.rows
    );
    Err(Error::refused(action, reason))
}

pub(super) fn check_slot(slot: &str) -> Result<()> {
    if slot.trim().is_empty() {
        return Err(Error::input("slot", "needs a name"));
    }
    Ok(())
}

pub(super) fn check_other_eyes(
    action: &str,
    version: &ModelVersion,
    signature: Signature<'_>,
) -> Result<()> {
    let actor = signature.actor;
    if version.author.trim() != actor {
        return Ok(());
    }
    Err(Error::refused(action, format!("{actor} made it; somebody else has to approve it")))
}

/// The slot's history is one of rising times.
pub(super) fn check_slot_time(state: &State, slot: &str, signature: Signature<'_>) -> Result<()> {
    match state.slots.get(slot).and_then(|slot| slot.history.last()) {
        Some((last, _)) => signature.check_after(&slot, *last),
        None => Ok(()),
    }
}

/// The version takes the rows that the slot has.
pub(super) fn check_features(
    action: &str,
    state: &State,
    slot: &str,
    version: &ModelVersion,
) -> Result<()> {
    let schema = state.slots.get(slot).and_then(|slot| slot.schema);
    match schema.filter(|schema| *schema != version.schema) {
        None => Ok(()),
        Some(schema) => {
            let (takes, has) = (version.schema.short(), schema.short());
            let reason = format!("it takes features {takes}, {slot} has {has}; bind the slot anew");
            Err(Error::refused(action, reason))
        }
    }
}
