//! From alerts to notifications: what each receiver is to be told now.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::notify::{GroupConfig, Notification, Reason, Told, reason_to_tell};
use super::rule::Severity;
use super::silence::Labels;
use super::sink::Receiver;
use super::state::AlertState;
use super::{Alert, Ended};
use crate::time::Timestamp;

/// A notification under way, and what its receiver knows once it has arrived.
pub(super) struct Letter {
    pub(super) receiver: Receiver,
    pub(super) notification: Notification,
    pub(super) told: Told,
}

/// Alerts as receivers are to see them.
pub(super) struct Audible {
    /// Firing or flapping and not muted, by identity.
    pub(super) audible: BTreeMap<String, Alert>,
    /// Identities that fire but are muted.
    pub(super) muted: BTreeSet<String>,
    /// Fingerprints that flap: what was told of their episodes is neither firing nor resolved.
    pub(super) flapping: BTreeSet<String>,
    /// Resolved, by fingerprint.
    pub(super) resolved: BTreeMap<String, Alert>,
}

/// What a receiver is to be told of a group now, if anything.
pub(super) fn letter(
    receiver: &Receiver,
    group: &Labels,
    told: &mut Told,
    firing: BTreeMap<String, Alert>,
    all: &Audible,
    config: &GroupConfig,
    now: Timestamp,
) -> Option<Letter> {
    // Episodes of what flaps now are told as one; they are not over.
    told.firing.retain(|identity, alert| {
        firing.contains_key(identity) || !all.flapping.contains(&alert.fingerprint)
    });
    let gone: BTreeMap<String, Alert> = told
        .firing
        .iter()
        .filter(|(identity, _)| !firing.contains_key(*identity) && !all.muted.contains(*identity))
        .map(|(identity, alert)| (identity.clone(), all.resolved_as(alert, now)))
        .collect();
    if !receiver.send_resolved {
        // Not told, but remembered: when it fires again, that is news.
        told.firing.retain(|identity, _| !gone.contains_key(identity));
    }
    if firing.is_empty() && gone.is_empty() {
        return None;
    }
    let begun = *told.begun.get_or_insert(now);
    let urgent = firing.iter().any(|(identity, alert)| {
        alert.severity == Severity::Critical && !told.firing.contains_key(identity)
    });
    let due = match told.at {
        None => now >= begun.plus(config.wait),
        Some(at) => now >= at.plus(config.interval),
    };
    if !due && !urgent {
        return None;
    }
    let audible =
        |identity: &&String| firing.contains_key(*identity) || gone.contains_key(*identity);
    let told_firing: BTreeSet<String> = told.firing.keys().filter(audible).cloned().collect();
    let now_firing: BTreeSet<String> = firing.keys().cloned().collect();
    let resolved: BTreeSet<String> = gone.keys().chain(&told.resolved).cloned().collect();
    let before = told.at.map(|_| (&told_firing, &told.resolved));
    let age = told.at.map_or(Duration::ZERO, |at| now.since(at));
    let reason =
        reason_to_tell(before, &now_firing, &resolved, age, config.repeat, receiver.send_resolved)?;
    let taken_on = firing.values().all(|alert| alert.acknowledged.is_some());
    if reason == Reason::Repeat && taken_on
        || reason == Reason::AllResolved && !receiver.send_resolved
    {
        return None;
    }
    let mut after = Told { at: Some(now), sent: told.sent + 1, ..told.clone() };
    after.firing.retain(|identity, _| !gone.contains_key(identity));
    after.firing.extend(firing.clone());
    after.resolved = match now_firing.is_empty() {
        true => BTreeSet::new(),
        false => resolved,
    };
    let mut firing: Vec<Alert> = firing.into_values().collect();
    firing.sort_by(|a, b| b.severity.cmp(&a.severity).then(a.fingerprint.cmp(&b.fingerprint)));
    let resolved = if receiver.send_resolved { gone.into_values().collect() } else { Vec::new() };
    let labels: Vec<String> = group.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let key = format!("{}#{}@{}", labels.join(","), after.sent, begun);
    let notification =
        Notification { group: group.clone(), firing, resolved, reason, at: now, key };
    Some(Letter { receiver: receiver.clone(), notification, told: after })
}

impl Audible {
    /// The end of an alert that was told of as firing.
    fn resolved_as(&self, told: &Alert, now: Timestamp) -> Alert {
        let known = self.resolved.get(&told.fingerprint).filter(|a| a.episode >= told.episode);
        known.cloned().unwrap_or_else(|| Alert {
            state: AlertState::Resolved,
            at: now,
            ended: Some(Ended::Cleared),
            ..told.clone()
        })
    }
}
