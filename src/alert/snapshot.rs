//! What outlives the process.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::engine::AlertEngine;
use super::evaluate::OWN_RULES;
use super::instance::{Instance, Key};
use super::notify::Told;
use super::silence::{Labels, Silence};
use super::state::Phase;
use crate::time::Timestamp;

/// Everything an engine knows but its rules and history: what a restarted process goes on from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertSnapshot {
    last_tick: Option<Timestamp>,
    instances: Vec<(Key, Instance)>,
    told: Vec<(String, Labels, Told)>,
    silences: Vec<Silence>,
}

impl AlertEngine {
    /// What a restarted process goes on from.
    pub fn snapshot(&self) -> AlertSnapshot {
        let state = self.state();
        let told = state.told.iter();
        AlertSnapshot {
            last_tick: state.last_tick,
            instances: state.instances.iter().map(|(k, i)| (k.clone(), i.clone())).collect(),
            told: told
                .map(|((name, group), told)| (name.clone(), group.clone(), told.clone()))
                .collect(),
            silences: state.silences.clone(),
        }
    }

    /// Goes on from where another process was when it took a snapshot: firing alerts fire on, pending ones go on by the rule of
    /// [`RestoreConfig`](crate::alert::RestoreConfig), receivers are not told twice. Alerts of rules that this engine does not have are left out.
    pub fn restore(&self, snapshot: AlertSnapshot, now: Timestamp) {
        let mut state = self.state();
        let down = snapshot.last_tick.unwrap_or(now).min(now);
        for (key, mut instance) in snapshot.instances {
            let rule = state.rules.iter().find(|rule| rule.id == key.rule);
            let hold = rule.map_or(Duration::ZERO, |rule| rule.hold);
            let own = OWN_RULES.contains(&key.rule.as_str());
            if rule.is_none() && !own {
                continue;
            }
            if let Phase::Pending { since } = &mut instance.phase {
                *since = self.config.restore.pending_since(*since, down, now, hold);
            }
            state.instances.insert(key, instance);
        }
        let told = snapshot.told.into_iter();
        state.told = told.map(|(name, group, told)| ((name, group), told)).collect();
        state.silences = snapshot.silences;
        // No gap: the restore rule has dealt with the absence.
        state.last_tick = Some(down);
        state.last_gap = now.since(down);
    }
}
