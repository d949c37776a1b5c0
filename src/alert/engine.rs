//! Evaluates rules, moves alerts, and tells receivers.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::config::{AlertConfig, FlapConfig};
use super::evaluate::{OWN_RULES, State};
use super::instance::Key;
use super::notify::Told;
use super::outbox::{Letter, letter};
use super::rule::AlertRule;
use super::silence::{Labels, Silence};
use super::sink::{AlertSink, Receiver};
use super::state::AlertState;
use super::{Acknowledgement, Alert, Ended};
use crate::audit::Signature;
use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::monitor::{Measurement, MetricSource};
use crate::time::Timestamp;

/// Follows each rule on each version and segment from inactive through pending and firing to resolved, and tells receivers.
///
/// # Concurrency
/// Share it by reference; ticks are serial. Sinks are called on the thread that ticks, outside of any lock that other
/// methods take; one that may be slow goes behind a [`QueuedSink`](super::QueuedSink).
///
/// # Memory
/// Bounded: about 1 KB for each of at most `max_instances` alerts of a rule, and for each of `max_history` changes.
#[derive(Debug)]
pub struct AlertEngine {
    pub(super) config: AlertConfig,
    receivers: Vec<Receiver>,
    ticking: Mutex<()>,
    state: Mutex<State>,
}

/// What the engine has to say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct AlertStats {
    /// Ticks that evaluated rules.
    pub ticks: u64,
    /// Ticks after a gap too long for pending alerts to go on.
    pub gaps: u64,
    /// Ticks at a moment before the one before: nothing was evaluated.
    pub clock_went_back: u64,
    /// Notifications that sinks took.
    pub sent: u64,
    /// Notifications that sinks refused, panics included.
    pub failed_sends: u64,
    /// Alerts that there was no room for.
    pub overflowed: u64,
}

impl AlertEngine {
    /// # Errors
    /// `InvalidConfig` for a rule that could never work, an id or a receiver's name that is empty or taken, or a configuration
    /// out of range.
    pub fn new(
        config: AlertConfig,
        rules: Vec<AlertRule>,
        receivers: Vec<Receiver>,
    ) -> Result<Self> {
        config.check()?;
        let mut names = BTreeSet::new();
        let taken = receivers.iter().find(|r| r.name.is_empty() || !names.insert(&r.name));
        if let Some(receiver) = taken {
            let reason = format!("name {:?} is empty or taken", receiver.name);
            return Err(Error::config("receiver", reason));
        }
        let engine =
            AlertEngine { config, receivers, ticking: Mutex::default(), state: Mutex::default() };
        rules.into_iter().try_for_each(|rule| engine.add_rule(rule))?;
        Ok(engine)
    }

    /// An engine with the default configuration and one receiver.
    ///
    /// # Errors
    /// As [`new`](Self::new).
    pub fn with_sink(rules: Vec<AlertRule>, sink: Arc<dyn AlertSink>) -> Result<Self> {
        AlertEngine::new(AlertConfig::default(), rules, vec![Receiver::new("default", sink)])
    }

    /// Adds a rule.
    ///
    /// # Errors
    /// `InvalidConfig` if it could never work, `Conflict` if its id is taken.
    pub fn add_rule(&self, rule: AlertRule) -> Result<()> {
        rule.check()?;
        let mut state = self.state();
        let own = OWN_RULES.contains(&rule.id.as_str());
        if own || state.rules.iter().any(|other| other.id == rule.id) {
            let reason = "is taken".into();
            return Err(Error::Conflict { kind: "alert rule", id: rule.id, reason });
        }
        state.rules.push(rule);
        Ok(())
    }

    /// Takes a rule away; its alerts end.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn remove_rule(&self, id: &str, now: Timestamp) -> Result<AlertRule> {
        let mut state = self.state();
        let i = state.rule(id)?;
        let rule = state.rules.remove(i);
        self.end(&mut state, |key| key.rule == id, "the rule was removed", now);
        Ok(rule)
    }

    /// Switches a rule on or off; switched off, its alerts end.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn enable_rule(&self, id: &str, enabled: bool, now: Timestamp) -> Result<()> {
        let mut state = self.state();
        let i = state.rule(id)?;
        state.rules[i].enabled = enabled;
        if !enabled {
            self.end(&mut state, |key| key.rule == id, "the rule was switched off", now);
        }
        Ok(())
    }

    /// The rules, in the order they came.
    pub fn rules(&self) -> Vec<AlertRule> {
        self.state().rules.clone()
    }

    /// Evaluates every rule at `now` and tells receivers what there is to tell; the alerts that changed their state. A second tick
    /// at the same moment does nothing, one at an earlier moment is counted and does nothing.
    pub fn tick(&self, now: Timestamp, source: &dyn MetricSource) -> Vec<Alert> {
        let _serial = self.ticking.lock().unwrap_or_else(PoisonError::into_inner);
        let unhealthy: Vec<(String, bool)> = self
            .receivers
            .iter()
            .map(|receiver| {
                let health = catch_unwind(AssertUnwindSafe(|| receiver.sink.health()));
                (receiver.name.clone(), health.map_or(true, |reason| reason.is_some()))
            })
            .collect();
        let mut state = self.state();
        if let Some(last) = state.last_tick.filter(|last| now <= *last) {
            state.stats.clock_went_back += u64::from(now < last);
            return Vec::new();
        }
        state.stats.ticks += 1;
        state.look_for_gap(&self.config, now);
        let mut changed = Vec::new();
        let rules = state.rules.clone();
        // Measuring may take its time: rules can be changed meanwhile, what they were at the start is what counts.
        drop(state);
        let enabled = rules.iter().filter(|rule| rule.enabled);
        let measured: Vec<(&AlertRule, Vec<Measurement>)> =
            enabled.map(|rule| (rule, source.measure(&rule.metric, rule.window, now))).collect();
        let mut state = self.state();
        for (rule, measurements) in &measured {
            if state.rules.iter().any(|other| other.id == rule.id && other.enabled) {
                state.evaluate(rule, measurements, &self.config, now, &mut changed);
            }
        }
        state.evaluate_own(&unhealthy, &self.config, now, &mut changed);
        let FlapConfig { changes, window } = self.config.flap;
        for instance in state.instances.values_mut() {
            instance.look_for_flapping(changes, window, now);
        }
        state.remember(&changed, self.config.max_history);
        let outbox = self.outbox(&mut state, now);
        state.instances.retain(|_, instance| !instance.is_over());
        drop(state);
        outbox.into_iter().for_each(|letter| self.send(letter));
        changed
    }

    /// Alerts that are pending or firing now.
    pub fn active(&self) -> Vec<Alert> {
        let state = self.state();
        let active = state.instances.iter().filter(|(_, instance)| instance.is_active());
        active.filter_map(|(key, instance)| instance.alert(key)).collect()
    }

    /// Alerts that fire now.
    pub fn firing(&self) -> Vec<Alert> {
        self.active().into_iter().filter(|alert| alert.state == AlertState::Firing).collect()
    }

    /// Changes of state within a stretch of time, oldest first.
    pub fn history(&self, range: Range<Timestamp>) -> Vec<Alert> {
        let state = self.state();
        state.history.iter().filter(|alert| range.contains(&alert.at)).cloned().collect()
    }

    /// Takes an active alert on: it is not repeated until it begins anew.
    ///
    /// # Errors
    /// `NotFound` for no active alert of that fingerprint; `Refused` without an actor or a reason.
    pub fn acknowledge(&self, fingerprint: &str, signature: Signature<'_>) -> Result<()> {
        signature.check("acknowledge an alert")?;
        let mut state = self.state();
        let (_, instance) = state.active_mut(fingerprint)?;
        instance.acknowledged = Some(Acknowledgement {
            actor: signature.actor.to_owned(),
            comment: signature.reason.to_owned(),
            at: signature.at,
        });
        Ok(())
    }

    /// Ends an active alert by hand. It does not begin anew before its rule has stopped to hold.
    ///
    /// # Errors
    /// As [`acknowledge`](Self::acknowledge).
    pub fn resolve(&self, fingerprint: &str, signature: Signature<'_>) -> Result<()> {
        signature.check("resolve an alert")?;
        let mut state = self.state();
        let Signature { actor, reason, at } = signature;
        let (key, instance) = state.active_mut(fingerprint)?;
        instance.end(Ended::ByHand { actor: actor.to_owned(), reason: reason.to_owned() }, at);
        let alert = instance.alert(&key);
        state.remember(alert.as_slice(), self.config.max_history);
        Ok(())
    }

    /// Ends all alerts on a version that no longer answers, or whose reference has been moved; those that fired.
    pub fn retire(&self, model: &ModelRef, reason: &str, now: Timestamp) -> Vec<Alert> {
        let mut state = self.state();
        self.end(&mut state, |key| key.model.as_ref() == Some(model), reason, now)
    }

    /// Adds a silence.
    ///
    /// # Errors
    /// `InvalidConfig` for one that says too little, `Conflict` if its id is taken.
    pub fn silence(&self, silence: Silence) -> Result<()> {
        silence.check()?;
        let mut state = self.state();
        if state.silences.iter().any(|other| other.id == silence.id) {
            let reason = "is taken".into();
            return Err(Error::Conflict { kind: "silence", id: silence.id, reason });
        }
        state.silences.push(silence);
        Ok(())
    }

    /// Ends a silence.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn end_silence(&self, id: &str) -> Result<Silence> {
        let mut state = self.state();
        let i = state.silences.iter().position(|silence| silence.id == id);
        let i = i.ok_or_else(|| Error::NotFound { kind: "silence", id: id.to_owned() })?;
        Ok(state.silences.remove(i))
    }

    /// Silences that have not been over for longer than alerts are kept.
    pub fn silences(&self) -> Vec<Silence> {
        self.state().silences.clone()
    }

    /// What the engine has to say of itself.
    pub fn stats(&self) -> AlertStats {
        self.state().stats
    }

    fn end(
        &self,
        state: &mut State,
        which: impl Fn(&Key) -> bool,
        reason: &str,
        now: Timestamp,
    ) -> Vec<Alert> {
        let mut ended = Vec::new();
        for (key, instance) in state.instances.iter_mut().filter(|(key, _)| which(key)) {
            if instance.end(Ended::Retired { reason: reason.to_owned() }, now) {
                ended.extend(instance.alert(key));
            }
        }
        state.remember(&ended, self.config.max_history);
        ended
    }

    /// What each receiver is to be told now.
    fn outbox(&self, state: &mut State, now: Timestamp) -> Vec<Letter> {
        let told_of = state.audible(&self.config, now);
        let channels: BTreeMap<String, Vec<String>> =
            state.rules.iter().map(|rule| (rule.id.clone(), rule.channels.clone())).collect();
        let none = Vec::new();
        let mut outbox = Vec::new();
        for receiver in &self.receivers {
            let mut groups: BTreeMap<Labels, BTreeMap<String, Alert>> = BTreeMap::new();
            for (identity, alert) in &told_of.audible {
                let channels = channels.get(&alert.rule).unwrap_or(&none);
                if receiver.takes(alert, channels) {
                    let label = |name: &String| {
                        alert.labels.get(name).map(|value| (name.clone(), value.clone()))
                    };
                    let group = self.config.group.by.iter().filter_map(label).collect();
                    groups.entry(group).or_default().insert(identity.clone(), alert.clone());
                }
            }
            let known = state.told.keys().filter(|(name, _)| *name == receiver.name);
            for (_, group) in known {
                groups.entry(group.clone()).or_default();
            }
            for (group, firing) in groups {
                let told = state.told.entry((receiver.name.clone(), group.clone())).or_default();
                let letter =
                    letter(receiver, &group, told, firing, &told_of, &self.config.group, now);
                outbox.extend(letter);
            }
        }
        let over = |told: &Told| {
            told.firing.is_empty()
                && told.at.or(told.begun).is_none_or(|at| now.since(at) > self.config.retention)
        };
        let waits: BTreeSet<(String, Labels)> = outbox
            .iter()
            .map(|l| (l.receiver.name.clone(), l.notification.group.clone()))
            .collect();
        state.told.retain(|key, told| waits.contains(key) || !over(told));
        state.silences.retain(|s| s.until.plus(self.config.retention) > now);
        outbox
    }

    fn send(&self, letter: Letter) {
        let Letter { receiver, notification, told } = letter;
        let sent = catch_unwind(AssertUnwindSafe(|| receiver.sink.send(&notification)));
        let mut state = self.state();
        if matches!(sent, Ok(Ok(()))) {
            state.stats.sent += 1;
            state.told.insert((receiver.name, notification.group), told);
        } else {
            state.stats.failed_sends += 1;
        }
    }

    pub(super) fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
