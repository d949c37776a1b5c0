//! Evaluates rules, moves alerts, and tells receivers.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::instance::{Instance, Key};
use super::notify::{GroupConfig, Told};
use super::outbox::{Audible, Letter, letter};
use super::rule::{AlertRule, Comparison, Level, NoData, Severity};
use super::silence::{Inhibition, Labels, MuteWindow, Silence};
use super::sink::{AlertSink, Receiver};
use super::state::{AlertState, Condition, Phase, RestoreConfig, Timing};
use super::{Acknowledgement, Alert, Ended};
use crate::audit::Signature;
use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::monitor::{Measurement, Metric, MetricSource};
use crate::time::Timestamp;

/// Parameters of an [`AlertEngine`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AlertConfig {
    /// How alerts are gathered into notifications.
    pub group: GroupConfig,
    /// How often the host means to tick. After a gap of more than three times this, or three times the gap before, pending
    /// alerts wait anew: nobody knows whether their rules held meanwhile.
    pub interval: Duration,
    /// Resolved alerts are listed for this long.
    pub retention: Duration,
    /// Most alerts of one rule. Further ones are counted, and an alert `rule_overflow` says so; those there are stay.
    pub max_instances: usize,
    /// Changes kept for [`AlertEngine::history`].
    pub max_history: usize,
    /// When an alert counts as flapping.
    pub flap: FlapConfig,
    /// How pending alerts go on after a restart.
    pub restore: RestoreConfig,
    /// Alerts that make others superfluous.
    pub inhibitions: Vec<Inhibition>,
    /// Hours at which alerts are not told of.
    pub mute_windows: Vec<MuteWindow>,
}

/// A minute, 15 minutes, 1,000 alerts of a rule, 10,000 changes.
impl Default for AlertConfig {
    fn default() -> Self {
        AlertConfig {
            group: GroupConfig::default(),
            interval: Duration::from_secs(60),
            retention: Duration::from_secs(900),
            max_instances: 1000,
            max_history: 10_000,
            flap: FlapConfig::default(),
            restore: RestoreConfig::default(),
            inhibitions: Vec::new(),
            mute_windows: Vec::new(),
        }
    }
}

/// When an alert begins and ends so often that only that is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct FlapConfig {
    /// Changes between firing and resolved, at least 2.
    pub changes: usize,
    /// Within this time. After as long without a change it is over.
    pub window: Duration,
}

/// Four in an hour.
impl Default for FlapConfig {
    fn default() -> Self {
        FlapConfig { changes: 4, window: Duration::from_secs(3600) }
    }
}

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
    config: AlertConfig,
    receivers: Vec<Receiver>,
    ticking: Mutex<()>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    rules: Vec<AlertRule>,
    /// Alerts, and the engine's own.
    instances: BTreeMap<Key, Instance>,
    /// By receiver and labels of the group.
    told: BTreeMap<(String, Labels), Told>,
    silences: Vec<Silence>,
    last_tick: Option<Timestamp>,
    last_gap: Duration,
    history: VecDeque<Alert>,
    stats: AlertStats,
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

/// Everything an engine knows but its rules and history: what a restarted process goes on from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertSnapshot {
    last_tick: Option<Timestamp>,
    instances: Vec<(Key, Instance)>,
    told: Vec<(String, Labels, Told)>,
    silences: Vec<Silence>,
}

/// Rules of the engine's own.
const STALE: &str = "rule_stale";
const OVERFLOW: &str = "rule_overflow";
const UNHEALTHY: &str = "sink_unhealthy";

impl AlertEngine {
    /// # Errors
    /// `InvalidConfig` for a rule that could never work, an id or a receiver's name that is empty or taken, or a configuration
    /// out of range.
    pub fn new(
        config: AlertConfig,
        rules: Vec<AlertRule>,
        receivers: Vec<Receiver>,
    ) -> Result<Self> {
        if config.interval.is_zero() || config.max_instances == 0 || config.flap.changes < 2 {
            let reason = "needs an interval, room for an instance, and at least 2 changes to flap";
            return Err(Error::config("alert engine", reason));
        }
        config.mute_windows.iter().try_for_each(MuteWindow::check)?;
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
        let own = [STALE, OVERFLOW, UNHEALTHY].contains(&rule.id.as_str());
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
    /// [`RestoreConfig`], receivers are not told twice. Alerts of rules that this engine does not have are left out.
    pub fn restore(&self, snapshot: AlertSnapshot, now: Timestamp) {
        let mut state = self.state();
        let down = snapshot.last_tick.unwrap_or(now).min(now);
        for (key, mut instance) in snapshot.instances {
            let rule = state.rules.iter().find(|rule| rule.id == key.rule);
            let hold = rule.map_or(Duration::ZERO, |rule| rule.hold);
            let own = [STALE, OVERFLOW, UNHEALTHY].contains(&key.rule.as_str());
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

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn rule(&self, id: &str) -> Result<usize> {
        let i = self.rules.iter().position(|rule| rule.id == id);
        i.ok_or_else(|| Error::NotFound { kind: "alert rule", id: id.to_owned() })
    }

    fn active_mut(&mut self, fingerprint: &str) -> Result<(Key, &mut Instance)> {
        let mut all = self.instances.iter_mut();
        let found = all.find(|(_, i)| i.is_active() && i.fingerprint == fingerprint);
        let (key, instance) = found
            .ok_or_else(|| Error::NotFound { kind: "active alert", id: fingerprint.to_owned() })?;
        Ok((key.clone(), instance))
    }

    fn remember(&mut self, changed: &[Alert], most: usize) {
        self.history.extend(changed.iter().cloned());
        let over = self.history.len().saturating_sub(most);
        self.history.drain(..over);
    }

    fn look_for_gap(&mut self, config: &AlertConfig, now: Timestamp) {
        let Some(last) = self.last_tick.replace(now) else {
            return;
        };
        let gap = now.since(last);
        let usual = config.interval.max(self.last_gap);
        self.last_gap = gap;
        if gap <= usual.saturating_mul(3) {
            return;
        }
        self.stats.gaps += 1;
        for instance in self.instances.values_mut() {
            if let Phase::Pending { since } = &mut instance.phase {
                *since = now;
            }
        }
    }

    fn evaluate(
        &mut self,
        rule: &AlertRule,
        measurements: &[Measurement],
        config: &AlertConfig,
        now: Timestamp,
        changed: &mut Vec<Alert>,
    ) {
        for level in rule.all_levels() {
            let of_rule = |key: &Key| key.rule == rule.id && key.severity == level.severity;
            let mut unmeasured: BTreeSet<Key> =
                self.instances.keys().filter(|key| of_rule(key)).cloned().collect();
            for measurement in measurements {
                let key = Key {
                    rule: rule.id.clone(),
                    severity: level.severity,
                    model: measurement.model.clone(),
                    segment: measurement.segment.clone(),
                };
                // No request at all is a count of zero, for which there are no samples to ask for.
                let counted = rule.metric == Metric::Predictions;
                let enough = counted || measurement.n >= rule.min_samples;
                if enough && !measurement.value.is_nan() {
                    unmeasured.remove(&key);
                    let firing = self.instances.get(&key).is_some_and(Instance::is_firing);
                    let holds = level.holds(rule.comparison, measurement.value, firing);
                    let condition = if holds { Condition::Holds } else { Condition::Clear };
                    self.step(
                        key,
                        rule,
                        level,
                        (condition, Some(measurement.value)),
                        config,
                        now,
                        changed,
                    );
                }
            }
            // Nothing was ever measured: that is no data too, of everything.
            if measurements.is_empty() && rule.no_data == NoData::Alert && unmeasured.is_empty() {
                let (rule, severity) = (rule.id.clone(), level.severity);
                unmeasured.insert(Key { rule, severity, model: None, segment: None });
            }
            for key in unmeasured {
                let of_all = key.model.is_none() && key.segment.is_none();
                let condition = match rule.no_data {
                    NoData::KeepLast { .. } | NoData::Ignore => Condition::Unknown,
                    NoData::Ok => Condition::Clear,
                    // There was no data of anything; now there is of something.
                    NoData::Alert if of_all && !measurements.is_empty() => Condition::Clear,
                    NoData::Alert => Condition::Holds,
                };
                self.step(key, rule, level, (condition, None), config, now, changed);
            }
        }
    }

    /// The engine's own alerts: rules that are blind, rules with too many alerts, sinks that do not work.
    fn evaluate_own(
        &mut self,
        unhealthy: &[(String, bool)],
        config: &AlertConfig,
        now: Timestamp,
        changed: &mut Vec<Alert>,
    ) {
        let stale = |rule: &AlertRule| {
            let NoData::KeepLast { max_stale } = rule.no_data else {
                return false;
            };
            let of_rule = self.instances.iter().filter(|(key, _)| key.rule == rule.id);
            let mut active = of_rule.filter(|(_, instance)| instance.is_active());
            active.any(|(_, instance)| now.since(instance.known) > max_stale)
        };
        let full = |rule: &AlertRule| {
            self.instances.keys().filter(|key| key.rule == rule.id).count() >= config.max_instances
        };
        let rules = self.rules.iter().filter(|rule| rule.enabled);
        let of_rules = rules.flat_map(|rule| {
            [(STALE, rule.id.clone(), stale(rule)), (OVERFLOW, rule.id.clone(), full(rule))]
        });
        let of_sinks = unhealthy.iter().map(|(name, ill)| (UNHEALTHY, name.clone(), *ill));
        let own: Vec<(&str, String, bool)> = of_rules.chain(of_sinks).collect();
        for (id, about, holds) in own {
            let description = match id {
                STALE => "has had no data for long; its alerts stay as they were",
                OVERFLOW => {
                    "has as many alerts as there is room for; further ones are not followed"
                }
                _ => "does not take notifications",
            };
            let rule = AlertRule {
                description: format!("{about} {description}"),
                labels: Labels::from([("about".to_owned(), about.clone())]),
                ..AlertRule::new(id, Metric::custom(id), Comparison::AtLeast, 1.0)
            };
            let level = Level { severity: rule.severity, threshold: 1.0, clear_threshold: None };
            let segment = Some(about);
            let key = Key { rule: id.to_owned(), severity: level.severity, model: None, segment };
            let condition = if holds { Condition::Holds } else { Condition::Clear };
            let value = Some(f64::from(u8::from(holds)));
            self.step(key, &rule, level, (condition, value), config, now, changed);
        }
    }

    #[allow(clippy::too_many_arguments)] // one evaluation has as many parts
    fn step(
        &mut self,
        key: Key,
        rule: &AlertRule,
        level: Level,
        (condition, value): (Condition, Option<f64>),
        config: &AlertConfig,
        now: Timestamp,
        changed: &mut Vec<Alert>,
    ) {
        if !self.instances.contains_key(&key) {
            if condition != Condition::Holds {
                return;
            }
            let of_rule = self.instances.keys().filter(|other| other.rule == key.rule).count();
            if of_rule >= config.max_instances {
                self.stats.overflowed += 1;
                return;
            }
        }
        let timing = Timing {
            hold: rule.hold,
            keep_firing_for: rule.keep_firing_for,
            retention: config.retention,
        };
        let new = || Instance::new(&key, rule, level, now);
        let instance = self.instances.entry(key.clone()).or_insert_with(new);
        if instance.step(condition, value, now, timing).is_some() {
            changed.extend(instance.alert(&key));
        }
    }

    fn audible(&self, config: &AlertConfig, now: Timestamp) -> Audible {
        let told_as_firing = |instance: &Instance| instance.is_firing() || instance.flapping;
        let firing: Vec<&Labels> =
            self.instances.values().filter(|i| i.is_firing()).map(|i| &i.labels).collect();
        // Of the levels of one rule the worst that fires.
        let mut worst: BTreeMap<(&str, &Option<ModelRef>, &Option<String>), Severity> =
            BTreeMap::new();
        for (key, _) in self.instances.iter().filter(|(_, instance)| instance.is_firing()) {
            let about = (key.rule.as_str(), &key.model, &key.segment);
            let worst = worst.entry(about).or_insert(key.severity);
            *worst = key.severity.max(*worst);
        }
        let mut all = Audible {
            audible: BTreeMap::new(),
            muted: BTreeSet::new(),
            flapping: BTreeSet::new(),
            resolved: BTreeMap::new(),
        };
        for (key, instance) in &self.instances {
            let Some(alert) = instance.alert(key) else {
                continue;
            };
            if instance.flapping {
                all.flapping.insert(alert.fingerprint.clone());
            }
            if !told_as_firing(instance) {
                if alert.state == AlertState::Resolved {
                    all.resolved.insert(alert.fingerprint.clone(), alert);
                }
                continue;
            }
            let about = (key.rule.as_str(), &key.model, &key.segment);
            let labels = &instance.labels;
            let muted = worst.get(&about).is_some_and(|worst| *worst > key.severity)
                || self.silences.iter().any(|silence| silence.mutes(labels, now))
                || config.mute_windows.iter().any(|window| window.mutes(labels, now))
                || config.inhibitions.iter().any(|rule| rule.mutes(labels, &firing));
            if muted {
                all.muted.insert(instance.identity());
            } else {
                all.audible.insert(instance.identity(), alert);
            }
        }
        all
    }
}

impl Level {
    /// Once it fires, it holds until the clear threshold is crossed.
    fn holds(&self, comparison: Comparison, value: f64, firing: bool) -> bool {
        let clear = self.clear_threshold.filter(|_| firing);
        comparison.holds(value, clear.unwrap_or(self.threshold))
    }
}
