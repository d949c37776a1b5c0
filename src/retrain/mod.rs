//! Stage 13, retrain. Takes alerts; gives a [`RetrainPlan`], and, once a challenger has been trained, the
//! [`GateVerdict`]: whether it may ship.

mod gate;

pub use gate::{Gate, GateConfig, GateVerdict, Scored};

use std::ops::Range;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, AlertState};
use crate::error::{Error, Result};
use crate::time::{Timestamp, days, micros};

/// When to train again, and on what.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RetrainConfig {
    /// Length of the training stretch.
    pub train: Duration,
    /// Length of the stretch on which challenger and champion are compared; it lies behind the training stretch.
    pub gate: Duration,
    /// Time that labels take: no later event is used.
    pub label_delay: Duration,
    /// Shortest time between two plans.
    pub cool_down: Duration,
}

/// Train on a week, compare on the week after it, labels after 7 days, at most one plan in 14 days.
impl Default for RetrainConfig {
    fn default() -> Self {
        RetrainConfig { train: days(7), gate: days(7), label_delay: days(7), cool_down: days(14) }
    }
}

/// What to train on and to compare on, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetrainPlan {
    /// Why.
    pub reason: String,
    /// When it was made.
    pub at: Timestamp,
    /// Events to train on.
    pub train: Range<Timestamp>,
    /// Events to compare on: the latest whose labels have all arrived.
    pub gate: Range<Timestamp>,
}

/// Turns firing alerts into plans, not more often than the cool-down allows.
#[derive(Debug)]
pub struct RetrainTrigger {
    config: RetrainConfig,
    last: Mutex<Option<Timestamp>>,
}

impl RetrainTrigger {
    /// # Errors
    /// `InvalidConfig` for an empty training or comparison stretch.
    pub fn new(config: RetrainConfig) -> Result<Self> {
        if micros(config.train) == 0 || micros(config.gate) == 0 {
            return Err(Error::config("retrain trigger", "train and gate must have a length"));
        }
        Ok(RetrainTrigger { config, last: Mutex::default() })
    }

    /// The plan that the alerts firing now call for: `None` if none is, or within the cool-down since the last plan. An
    /// alert that goes on firing calls again after each cool-down.
    pub fn plan(&self, firing: &[Alert], now: Timestamp) -> Option<RetrainPlan> {
        let firing = firing.iter().filter(|alert| alert.state == AlertState::Firing);
        let reason = |alert: &Alert| {
            let Alert { rule, metric, since, .. } = alert;
            let value = alert.value.map_or("no data".into(), |value| format!("{value:.4}"));
            format!("{rule}: {metric} = {value} since {since}")
        };
        let reasons: Vec<String> = firing.map(reason).collect();
        if reasons.is_empty() {
            return None;
        }
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        if last.is_some_and(|last| now.since(last) < self.config.cool_down) {
            return None;
        }
        *last = Some(now);
        let matured = now.minus(self.config.label_delay);
        let gate = matured.minus(self.config.gate)..matured;
        let train = gate.start.minus(self.config.train)..gate.start;
        Some(RetrainPlan { reason: reasons.join("; "), at: now, train, gate })
    }
}
