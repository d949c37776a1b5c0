//! The life of one alert: inactive, pending, firing, resolved.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::time::Timestamp;

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum AlertState {
    /// The rule holds, not yet for long enough.
    Pending,
    /// The rule has held for long enough.
    Firing,
    /// The rule fired and no longer holds.
    Resolved,
}

/// What an evaluation says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Condition {
    Holds,
    Clear,
    /// Nothing is known: nothing changes.
    Unknown,
}

/// How long each state must last.
#[derive(Debug, Clone, Copy)]
pub(super) struct Timing {
    pub(super) hold: Duration,
    pub(super) keep_firing_for: Duration,
    /// Resolved alerts are remembered for this long.
    pub(super) retention: Duration,
}

/// State with the moments that its end is counted from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub(super) enum Phase {
    #[default]
    Inactive,
    Pending {
        since: Timestamp,
    },
    Firing {
        since: Timestamp,
        /// First evaluation in a row at which it did not hold.
        clear_since: Option<Timestamp>,
    },
    Resolved {
        since: Timestamp,
        at: Timestamp,
        /// Somebody ended it by hand: it stays so until the condition has cleared once.
        by_hand: bool,
    },
}

impl Phase {
    /// The phase after an evaluation at `now`, which does not lie before the one before.
    pub(super) fn next(self, condition: Condition, now: Timestamp, timing: Timing) -> Phase {
        match (condition, self) {
            (Condition::Unknown, phase) => phase,
            (Condition::Holds, Phase::Resolved { by_hand: true, .. }) => self,
            (Condition::Holds, Phase::Inactive | Phase::Resolved { .. }) => {
                Phase::Pending { since: now }.fire(now, timing)
            }
            (Condition::Holds, Phase::Pending { .. }) => self.fire(now, timing),
            (Condition::Holds, Phase::Firing { since, .. }) => {
                Phase::Firing { since, clear_since: None }
            }
            (Condition::Clear, Phase::Inactive | Phase::Pending { .. }) => Phase::Inactive,
            (Condition::Clear, Phase::Firing { since, clear_since }) => {
                let clear = clear_since.unwrap_or(now);
                if now.since(clear) < timing.keep_firing_for {
                    return Phase::Firing { since, clear_since: Some(clear) };
                }
                Phase::Resolved { since, at: now, by_hand: false }
            }
            (Condition::Clear, Phase::Resolved { since, at, .. }) => {
                if now.since(at) > timing.retention {
                    return Phase::Inactive;
                }
                Phase::Resolved { since, at, by_hand: false }
            }
        }
    }

    fn fire(self, now: Timestamp, timing: Timing) -> Phase {
        match self {
            Phase::Pending { since } if now.since(since) >= timing.hold => {
                Phase::Firing { since, clear_since: None }
            }
            phase => phase,
        }
    }

    pub(super) fn state(self) -> Option<AlertState> {
        match self {
            Phase::Inactive => None,
            Phase::Pending { .. } => Some(AlertState::Pending),
            Phase::Firing { .. } => Some(AlertState::Firing),
            Phase::Resolved { .. } => Some(AlertState::Resolved),
        }
    }

    /// Since when the condition has held, or had when it was resolved.
    pub(super) fn since(self) -> Option<Timestamp> {
        match self {
            Phase::Inactive => None,
            Phase::Pending { since }
            | Phase::Firing { since, .. }
            | Phase::Resolved { since, .. } => Some(since),
        }
    }
}

/// How a process that comes back treats alerts that were pending when it went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RestoreConfig {
    /// Longest absence after which the time before it still counts.
    pub tolerance: Duration,
    /// A restored alert waits at least this long before it fires. Rules that hold for less start anew.
    pub grace: Duration,
}

/// An hour, ten minutes: Prometheus's defaults.
impl Default for RestoreConfig {
    fn default() -> Self {
        RestoreConfig { tolerance: Duration::from_secs(3600), grace: Duration::from_secs(600) }
    }
}

impl RestoreConfig {
    /// Since when an alert counts as pending that had been so since `since` when the process went at `down`, now that it
    /// is back: Prometheus's rule for `ALERTS_FOR_STATE`.
    pub(super) fn pending_since(
        &self,
        since: Timestamp,
        down: Timestamp,
        now: Timestamp,
        hold: Duration,
    ) -> Timestamp {
        let away = now.since(down);
        if hold < self.grace || away > self.tolerance {
            return now;
        }
        let held = down.since(since);
        match hold.checked_sub(held) {
            None | Some(Duration::ZERO) => since,
            Some(left) if left < self.grace => now.plus(self.grace).minus(hold),
            Some(_) => since.plus(away),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    fn golden() -> Value {
        serde_json::from_str(include_str!("../../tests/data/alerts_golden.json")).unwrap()
    }

    #[test]
    fn pending_clocks_are_restored_as_prometheus_does() {
        let config = RestoreConfig::default();
        for case in golden()["restore_for_state"].as_array().unwrap() {
            let seconds = |name: &str| case[name].as_i64().unwrap();
            let at = |name: &str| Timestamp::from_seconds(seconds(name));
            let hold = Duration::from_secs(seconds("hold") as u64);
            let since = config.pending_since(at("active_at"), at("down_at"), at("ts"), hold);
            assert_eq!(since, at("new_active_at"), "{case}");
        }
    }

    #[test]
    fn what_was_ended_by_hand_stays_so_until_it_has_cleared_once() {
        let timing = Timing {
            hold: Duration::ZERO,
            keep_firing_for: Duration::ZERO,
            retention: Duration::from_secs(900),
        };
        let at = Timestamp::from_seconds;
        let ended = Phase::Resolved { since: at(0), at: at(60), by_hand: true };
        let still = ended.next(Condition::Holds, at(120), timing);
        assert_eq!(still, ended);
        let cleared = still.next(Condition::Clear, at(180), timing);
        let again = cleared.next(Condition::Holds, at(240), timing);
        assert_eq!(again.state(), Some(AlertState::Firing));
    }
}
