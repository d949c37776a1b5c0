//! What the engine knows, and how an evaluation moves it.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::time::Duration;

use super::Alert;
use super::config::AlertConfig;
use super::engine::AlertStats;
use super::instance::{Instance, Key};
use super::notify::Told;
use super::outbox::Audible;
use super::rule::{AlertRule, Comparison, Level, NoData, Severity};
use super::silence::{Labels, Silence};
use super::state::{AlertState, Condition, Phase, Timing};
use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::monitor::{Measurement, Metric};
use crate::time::Timestamp;

/// Rules of the engine's own.
const STALE: &str = "rule_stale";
const OVERFLOW: &str = "rule_overflow";
const UNHEALTHY: &str = "sink_unhealthy";
pub(super) const OWN_RULES: [&str; 3] = [STALE, OVERFLOW, UNHEALTHY];

/// What the engine knows at one moment.
#[derive(Debug, Default)]
pub(super) struct State {
    pub(super) rules: Vec<AlertRule>,
    /// Alerts, and the engine's own.
    pub(super) instances: BTreeMap<Key, Instance>,
    /// By receiver and labels of the group.
    pub(super) told: BTreeMap<(String, Labels), Told>,
    pub(super) silences: Vec<Silence>,
    pub(super) last_tick: Option<Timestamp>,
    pub(super) last_gap: Duration,
    pub(super) history: VecDeque<Alert>,
    pub(super) stats: AlertStats,
}

impl State {
    pub(super) fn rule(&self, id: &str) -> Result<usize> {
        let i = self.rules.iter().position(|rule| rule.id == id);
        i.ok_or_else(|| Error::NotFound { kind: "alert rule", id: id.to_owned() })
    }

    pub(super) fn active_mut(&mut self, fingerprint: &str) -> Result<(Key, &mut Instance)> {
        let mut all = self.instances.iter_mut();
        let found = all.find(|(_, i)| i.is_active() && i.fingerprint == fingerprint);
        let (key, instance) = found
            .ok_or_else(|| Error::NotFound { kind: "active alert", id: fingerprint.to_owned() })?;
        Ok((key.clone(), instance))
    }

    pub(super) fn remember(&mut self, changed: &[Alert], most: usize) {
        self.history.extend(changed.iter().cloned());
        let over = self.history.len().saturating_sub(most);
        self.history.drain(..over);
    }

    pub(super) fn look_for_gap(&mut self, config: &AlertConfig, now: Timestamp) {
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

    pub(super) fn evaluate(
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
    pub(super) fn evaluate_own(
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

    pub(super) fn audible(&self, config: &AlertConfig, now: Timestamp) -> Audible {
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
