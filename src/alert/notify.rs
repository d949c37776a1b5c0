//! What a receiver has been told of a group of alerts, and what it is still to be told.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Alert, Labels};
use crate::time::Timestamp;

/// How alerts are gathered into notifications.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GroupConfig {
    /// Labels whose values make a group: its alerts are told of together.
    pub by: Vec<String>,
    /// How long the first notification of a group waits for more alerts. One tick evaluates all rules, so what begins
    /// together is told together without any wait.
    pub wait: Duration,
    /// Shortest time between two notifications of a group, unless one of severity `Critical` has joined it.
    pub interval: Duration,
    /// A group that goes on firing unchanged is told of again after this time.
    pub repeat: Duration,
}

/// By rule and model, no wait, 5 minutes, 4 hours.
impl Default for GroupConfig {
    fn default() -> Self {
        GroupConfig {
            by: vec!["rule".into(), "model".into()],
            wait: Duration::ZERO,
            interval: Duration::from_secs(300),
            repeat: Duration::from_secs(4 * 3600),
        }
    }
}

/// What a receiver is sent: everything in one group that fires, and what no longer does.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Notification {
    /// The labels that make the group.
    pub group: Labels,
    /// Alerts that fire, the worst first.
    pub firing: Vec<Alert>,
    /// Alerts the receiver was told of as firing that no longer fire.
    pub resolved: Vec<Alert>,
    /// Why it is sent.
    pub reason: Reason,
    /// When it was made.
    pub at: Timestamp,
    /// The same for every attempt to deliver the same state of the same group: a receiver that has seen it can drop it.
    pub key: String,
}

/// Why a notification is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The group has not been told of, or nothing in it was firing.
    First,
    /// An alert has joined it.
    NewAlerts,
    /// Nothing in it fires any more.
    AllResolved,
    /// Some of it no longer fires.
    NewResolved,
    /// It has been firing unchanged for long.
    Repeat,
}

impl fmt::Display for Notification {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let all: Vec<String> =
            self.firing.iter().chain(&self.resolved).map(ToString::to_string).collect();
        f.write_str(&all.join("\n"))
    }
}

/// What one receiver knows of one group.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub(super) struct Told {
    /// When the group first had something to tell.
    pub(super) begun: Option<Timestamp>,
    /// When it was last told; `None` for never.
    pub(super) at: Option<Timestamp>,
    /// Told as firing: by identity, the alert.
    pub(super) firing: BTreeMap<String, Alert>,
    /// Told as resolved since.
    pub(super) resolved: BTreeSet<String>,
    /// Notifications sent, for keys.
    pub(super) sent: u64,
}

/// Whether a receiver that was told `before` (firing, resolved) `age` ago is to be told what fires and what is resolved
/// now, and why: Alertmanager's rule.
pub(super) fn reason_to_tell(
    before: Option<(&BTreeSet<String>, &BTreeSet<String>)>,
    firing: &BTreeSet<String>,
    resolved: &BTreeSet<String>,
    age: Duration,
    repeat: Duration,
    send_resolved: bool,
) -> Option<Reason> {
    let Some((told_firing, told_resolved)) = before else {
        return (!firing.is_empty()).then_some(Reason::First);
    };
    if !firing.is_subset(told_firing) {
        let first = told_firing.is_empty();
        return Some(if first { Reason::First } else { Reason::NewAlerts });
    }
    if firing.is_empty() {
        return (!told_firing.is_empty()).then_some(Reason::AllResolved);
    }
    if send_resolved && !resolved.is_subset(told_resolved) {
        return Some(Reason::NewResolved);
    }
    (age > repeat).then_some(Reason::Repeat)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn receivers_are_told_when_alertmanager_would_tell_them() {
        let golden: Value =
            serde_json::from_str(include_str!("../../tests/data/alerts_golden.json")).unwrap();
        for case in golden["dedup_needs_update"].as_array().unwrap() {
            let set = |name: &str| -> Option<BTreeSet<String>> {
                let ids = case[name].as_array()?;
                Some(ids.iter().map(ToString::to_string).collect())
            };
            let before = set("prev_firing").zip(set("prev_resolved"));
            let seconds = |name: &str| Duration::from_secs(case[name].as_u64().unwrap());
            let reason = reason_to_tell(
                before.as_ref().map(|(firing, resolved)| (firing, resolved)),
                &set("firing").unwrap(),
                &set("resolved").unwrap(),
                seconds("age_s"),
                seconds("repeat_s"),
                true,
            );
            let expected = match case["reason"].as_str().unwrap() {
                "no" => None,
                "first" => Some(Reason::First),
                "new_alerts" => Some(Reason::NewAlerts),
                "all_resolved" => Some(Reason::AllResolved),
                "new_resolved" => Some(Reason::NewResolved),
                "repeat" => Some(Reason::Repeat),
                other => panic!("{other}"),
            };
            assert_eq!(reason, expected, "{case}");
        }
    }
}
