//! One rule on one version and segment: its phase and what belongs to it.

use std::collections::VecDeque;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::rule::{AlertRule, Level, Severity};
use super::silence::Labels;
use super::state::{AlertState, Condition, Phase, Timing};
use super::{Acknowledgement, Alert, Ended};
use crate::ids::ModelRef;
use crate::monitor::Metric;
use crate::seed::stable_hash;
use crate::time::Timestamp;

/// Which alert: rule, severity of the level, what it is about.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub(super) struct Key {
    pub(super) rule: String,
    pub(super) severity: Severity,
    pub(super) model: Option<ModelRef>,
    pub(super) segment: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(super) struct Instance {
    pub(super) labels: Labels,
    pub(super) fingerprint: String,
    description: String,
    metric: Metric,
    threshold: f64,
    pub(super) phase: Phase,
    /// When the phase's state began.
    at: Timestamp,
    episode: u64,
    value: Option<f64>,
    /// Last evaluation with data.
    pub(super) known: Timestamp,
    /// Times of the latest changes between firing and resolved.
    changes: VecDeque<Timestamp>,
    pub(super) flapping: bool,
    pub(super) acknowledged: Option<Acknowledgement>,
    ended: Option<Ended>,
}

impl Instance {
    pub(super) fn new(key: &Key, rule: &AlertRule, level: Level, now: Timestamp) -> Self {
        let mut labels = rule.labels.clone();
        let mut label = |name: &str, value: String| {
            labels.insert(name.to_owned(), value);
        };
        label("rule", key.rule.clone());
        label("metric", rule.metric.to_string());
        label("severity", format!("{:?}", key.severity).to_lowercase());
        if let Some(model) = &key.model {
            label("model", model.name.to_string());
            label("version", model.version.to_string());
        }
        if let Some(segment) = &key.segment {
            label("segment", segment.clone());
        }
        Instance {
            fingerprint: fingerprint(&labels),
            labels,
            description: rule.description.clone(),
            metric: rule.metric.clone(),
            threshold: level.threshold,
            phase: Phase::Inactive,
            at: now,
            episode: 0,
            value: None,
            known: now,
            changes: VecDeque::new(),
            flapping: false,
            acknowledged: None,
            ended: None,
        }
    }

    /// Moves on by an evaluation; the state it came into, if it changed.
    pub(super) fn step(
        &mut self,
        condition: Condition,
        value: Option<f64>,
        now: Timestamp,
        timing: Timing,
    ) -> Option<AlertState> {
        if condition != Condition::Unknown {
            self.known = now;
            self.value = value;
        }
        let timing = match self.flapping {
            true => Timing { keep_firing_for: 2 * timing.keep_firing_for, ..timing },
            false => timing,
        };
        let before = self.phase;
        self.phase = before.next(condition, now, timing);
        let (was, is) = (before.state(), self.phase.state());
        if was == is {
            return None;
        }
        self.at = now;
        let begins = !matches!(was, Some(AlertState::Pending | AlertState::Firing));
        if begins && matches!(is, Some(AlertState::Pending | AlertState::Firing)) {
            self.episode += 1;
            (self.ended, self.acknowledged) = (None, None);
        }
        match is {
            Some(AlertState::Firing) => self.changes.push_back(now),
            Some(AlertState::Resolved) => {
                self.changes.push_back(now);
                self.ended = Some(Ended::Cleared);
            }
            _ => {}
        }
        is
    }

    /// Looks whether it changes often: `most` times and more within `window`. It stops to flap after a window without change.
    pub(super) fn look_for_flapping(&mut self, most: usize, window: Duration, now: Timestamp) {
        while self.changes.front().is_some_and(|at| now.since(*at) >= window) {
            self.changes.pop_front();
        }
        while self.changes.len() > most {
            self.changes.pop_front();
        }
        self.flapping = self.changes.len() >= most || self.flapping && !self.changes.is_empty();
    }

    /// Ends it whatever its rule says; whether it was firing or pending.
    pub(super) fn end(&mut self, ended: Ended, now: Timestamp) -> bool {
        let Some(since) = self.phase.since().filter(|_| self.is_active()) else {
            return false;
        };
        let by_hand = matches!(ended, Ended::ByHand { .. });
        let was_firing = self.phase.state() == Some(AlertState::Firing);
        self.phase = match was_firing {
            true => Phase::Resolved { since, at: now, by_hand },
            false => Phase::Inactive,
        };
        (self.at, self.ended) = (now, Some(ended));
        was_firing
    }

    pub(super) fn is_active(&self) -> bool {
        matches!(self.phase.state(), Some(AlertState::Pending | AlertState::Firing))
    }

    /// Whether nothing is left to remember of it.
    pub(super) fn is_over(&self) -> bool {
        self.phase == Phase::Inactive && self.changes.is_empty()
    }

    pub(super) fn is_firing(&self) -> bool {
        self.phase.state() == Some(AlertState::Firing)
    }

    /// What it is told under: each episode anew, but flapping as one.
    pub(super) fn identity(&self) -> String {
        match self.flapping {
            true => format!("{}/flapping", self.fingerprint),
            false => format!("{}/{}", self.fingerprint, self.episode),
        }
    }

    /// It as it stands; `None` while it is inactive.
    pub(super) fn alert(&self, key: &Key) -> Option<Alert> {
        Some(Alert {
            rule: key.rule.clone(),
            description: self.description.clone(),
            severity: key.severity,
            fingerprint: self.fingerprint.clone(),
            episode: self.episode,
            model: key.model.clone(),
            segment: key.segment.clone(),
            labels: self.labels.clone(),
            state: self.phase.state()?,
            since: self.phase.since()?,
            at: self.at,
            metric: self.metric.clone(),
            value: self.value,
            threshold: self.threshold,
            flapping: self.flapping,
            acknowledged: self.acknowledged.clone(),
            ended: self.ended.clone(),
        })
    }
}

/// 128 bits of frozen hash over the labels in order, each with its length.
fn fingerprint(labels: &Labels) -> String {
    let mut bytes = Vec::new();
    for text in labels.iter().flat_map(|(name, value)| [name, value]) {
        bytes.extend((text.len() as u64).to_le_bytes());
        bytes.extend(text.as_bytes());
    }
    format!("{:016x}{:016x}", stable_hash(&bytes, 0), stable_hash(&bytes, 1))
}
