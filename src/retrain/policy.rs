//! When to train again, and on what.

use std::collections::BTreeSet;
use std::fmt;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::event::{Evidence, RetrainPlan};
use crate::alert::{Alert, AlertState};
use crate::error::{Error, Result};
use crate::time::{Timestamp, days, micros};

/// When to train again, and on what.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrainConfig {
    /// Ids of the alert rules that count as evidence; empty for all.
    pub evidence: Vec<String>,
    /// How many different ones of them must fire at once.
    pub min_evidence: usize,
    /// Length of the training stretch.
    pub train: Duration,
    /// How much of the training stretch must lie behind the change, which came no later than the first of the evidence began
    /// to hold. Zero trains at once, on what the champion was trained on but for its latest days; the whole of
    /// [`train`](Self::train) waits until nothing of the old world is left in it.
    pub train_after_change: Duration,
    /// Length of the stretch on which challenger and champion are compared; it lies behind the training stretch.
    pub gate: Duration,
    /// Time that labels take: no later event is used.
    pub label_delay: Duration,
    /// Shortest time between two plans.
    pub cool_down: Duration,
    /// Most plans within [`budget_window`](Self::budget_window).
    pub budget: u32,
    /// See [`budget`](Self::budget).
    pub budget_window: Duration,
    /// Fewest labels within both stretches.
    pub min_labels: u64,
    /// Fewest bad rows among them.
    pub min_bad: u64,
    /// Time in shadow of a challenger that has passed the gate; zero promotes it at once. It is judged again on the requests
    /// of that time, once their labels are due.
    pub shadow: Duration,
}

/// Any one firing rule; train at once, on a week, compare on the week after it, labels after 7 days; at most one plan in 14 days
/// and 4 in 90; 1,000 labels with 30 bad rows; no shadow.
impl Default for RetrainConfig {
    fn default() -> Self {
        RetrainConfig {
            evidence: Vec::new(),
            min_evidence: 1,
            train: days(7),
            train_after_change: Duration::ZERO,
            gate: days(7),
            label_delay: days(7),
            cool_down: days(14),
            budget: 4,
            budget_window: days(90),
            min_labels: 1000,
            min_bad: 30,
            shadow: Duration::ZERO,
        }
    }
}

/// Everything that a decision rests on, beside the plans before.
#[derive(Debug, Clone, Copy)]
pub struct Situation<'a> {
    /// The moment.
    pub now: Timestamp,
    /// Alerts; those that fire count.
    pub alerts: &'a [Alert],
    /// Labels that have come within the [`stretches`](RetrainConfig::stretches) of this moment.
    pub labels: u64,
    /// Bad rows among them.
    pub bad: u64,
    /// Whether a challenger answers part of the traffic: its outcome would be blurred.
    pub canary: bool,
}

/// What follows from a [`Situation`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum RetrainDecision {
    /// Train again.
    Plan(RetrainPlan),
    /// Not now, for all of these reasons.
    Wait(Vec<Wait>),
}

/// What speaks against training now.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Wait {
    /// Too few of the rules that count fire.
    Evidence {
        /// So many do.
        firing: usize,
        /// So many are asked for.
        needed: usize,
    },
    /// Too little of the training stretch lies behind the change.
    Change {
        /// From then on enough does.
        until: Timestamp,
    },
    /// The last plan is not long enough ago.
    CoolDown {
        /// From then on it is.
        until: Timestamp,
    },
    /// There have been as many plans as may be.
    Budget {
        /// From then on there may be another one.
        until: Timestamp,
    },
    /// Too few labels have come.
    Labels {
        /// So many have.
        labels: u64,
        /// So many bad rows are among them.
        bad: u64,
    },
    /// A challenger answers part of the traffic.
    Canary,
    /// The last plan is still being carried out.
    Busy,
}

impl RetrainConfig {
    pub(super) fn check(&self) -> Result<()> {
        if micros(self.train) == 0 || micros(self.gate) == 0 {
            return Err(Error::config("retrain", "train and gate must have a length"));
        }
        if self.train_after_change > self.train {
            return Err(Error::config("retrain", "train_after_change is longer than train"));
        }
        if self.min_evidence == 0 || self.budget == 0 {
            return Err(Error::config("retrain", "min_evidence and budget must be positive"));
        }
        let different: BTreeSet<&String> = self.evidence.iter().collect();
        if !self.evidence.is_empty() && different.len() < self.min_evidence {
            return Err(Error::config("retrain", "needs more evidence than there are rules for"));
        }
        Ok(())
    }

    /// The stretches that a plan made at a moment would train on and compare on.
    pub fn stretches(&self, now: Timestamp) -> (Range<Timestamp>, Range<Timestamp>) {
        let matured = now.minus(self.label_delay);
        let gate = matured.minus(self.gate)..matured;
        (gate.start.minus(self.train)..gate.start, gate)
    }

    /// What follows from a situation, given when plans were made before, oldest first.
    pub(super) fn decide(
        &self,
        situation: &Situation<'_>,
        plans: &[Timestamp],
        busy: bool,
    ) -> RetrainDecision {
        let Situation { now, alerts, labels, bad, canary } = *situation;
        let counts = |alert: &&Alert| {
            let listed = self.evidence.is_empty() || self.evidence.contains(&alert.rule);
            listed && alert.state == AlertState::Firing
        };
        let evidence: Vec<Evidence> = alerts.iter().filter(counts).map(Evidence::of).collect();
        let firing = evidence.iter().map(|of| &of.rule).collect::<BTreeSet<_>>().len();
        let mut waits = Vec::new();
        let mut wait = |holds: bool, wait: Wait| {
            if holds {
                waits.push(wait);
            }
        };
        let needed = self.min_evidence;
        wait(firing < needed, Wait::Evidence { firing, needed });
        wait(busy, Wait::Busy);
        if let Some(change) = evidence.iter().map(|of| of.since).min() {
            let until = change.plus(self.train_after_change).plus(self.gate).plus(self.label_delay);
            wait(micros(self.train_after_change) > 0 && now < until, Wait::Change { until });
        }
        if let Some(last) = plans.last() {
            let until = last.plus(self.cool_down);
            wait(now < until, Wait::CoolDown { until });
        }
        // The plan that must leave the window before there is room for another one.
        let oldest = plans.len().checked_sub(self.budget as usize).map(|i| plans[i]);
        if let Some(oldest) = oldest {
            let until = oldest.plus(self.budget_window);
            wait(now < until, Wait::Budget { until });
        }
        wait(labels < self.min_labels || bad < self.min_bad, Wait::Labels { labels, bad });
        wait(canary, Wait::Canary);
        if !waits.is_empty() {
            return RetrainDecision::Wait(waits);
        }
        let (train, gate) = self.stretches(now);
        let number = plans.len() as u64 + 1;
        RetrainDecision::Plan(RetrainPlan { number, at: now, evidence, train, gate })
    }
}

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Wait::Evidence { firing, needed } => write!(f, "{firing} of {needed} rules fire"),
            Wait::Change { until } => write!(f, "labels from behind the change until {until}"),
            Wait::CoolDown { until } => write!(f, "cooling down until {until}"),
            Wait::Budget { until } => write!(f, "no plan is left until {until}"),
            Wait::Labels { labels, bad } => write!(f, "only {labels} labels with {bad} bad rows"),
            Wait::Canary => f.write_str("a challenger answers part of the traffic"),
            Wait::Busy => f.write_str("the last plan is being carried out"),
        }
    }
}
