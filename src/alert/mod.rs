//! Stage 12, alert. Takes findings; gives [`Alert`]s to the sinks, when a rule has held long enough.

mod sink;

pub use sink::{AlertSink, InMemoryAlertSink, StderrAlertSink};

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::monitor::Finding;
use crate::time::Timestamp;

/// When to raise an alert.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertRule {
    /// Unique id.
    pub id: String,
    /// What it means and what to do, for whoever is woken by it.
    pub description: String,
    /// [`Finding::metric`] it looks at.
    pub metric: String,
    /// On which side of the threshold it holds.
    pub comparison: Comparison,
    /// Where it starts to hold.
    pub threshold: f64,
    /// How long it must hold before it fires; zero fires at once.
    #[serde(default)]
    pub hold: Duration,
    /// Findings on fewer rows are ignored.
    #[serde(default)]
    pub min_samples: u64,
    /// How bad it is.
    pub severity: Severity,
}

/// On which side of its threshold a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Comparison {
    /// Value > threshold.
    Above,
    /// Value < threshold.
    Below,
}

/// How bad it is, rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Look at it today.
    Warning,
    /// Look at it now.
    Critical,
}

/// Where an alert stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum AlertState {
    /// The rule holds, not yet for long enough.
    Pending,
    /// The rule has held for long enough.
    Firing,
    /// The rule fired and no longer holds.
    Resolved,
}

/// A change of state of one rule on one version: what sinks receive.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// [`AlertRule::id`].
    pub rule: String,
    /// [`AlertRule::description`].
    pub description: String,
    /// [`AlertRule::severity`].
    pub severity: Severity,
    /// Version concerned; `None` for all traffic.
    pub model: Option<ModelRef>,
    /// State it changed to.
    pub state: AlertState,
    /// Since when the rule has held.
    pub since: Timestamp,
    /// When it changed.
    pub at: Timestamp,
    /// What was measured.
    pub metric: String,
    /// The value that changed it.
    pub value: f64,
    /// The rule's threshold.
    pub threshold: f64,
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Alert { rule, severity, state, at, metric, value, threshold, .. } = self;
        let state = format!("{state:?}").to_uppercase();
        write!(f, "{at} {state} {rule} ({severity:?}): {metric} = {value:.4}, ")?;
        write!(f, "threshold {threshold}, since {}", self.since)?;
        self.model.iter().try_for_each(|model| write!(f, ", on {model}"))
    }
}

/// Follows each rule on each version from inactive through pending and firing to resolved.
///
/// A rule moves only by findings: without a new one it keeps its state. `tick`s may repeat; time that stands still or
/// goes back changes nothing by itself.
///
/// # Concurrency
/// Share it by reference; evaluation is serial. Sinks are called outside the lock, on the caller's thread.
#[derive(Debug)]
pub struct AlertEngine {
    rules: Vec<AlertRule>,
    sinks: Vec<Arc<dyn AlertSink>>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Rules that hold, by id and version.
    active: BTreeMap<(String, Option<ModelRef>), Active>,
    failed_sends: u64,
}

#[derive(Debug)]
struct Active {
    since: Timestamp,
    /// The alert that was sent when it had held long enough.
    fired: Option<Alert>,
}

impl AlertEngine {
    /// # Errors
    /// `InvalidConfig` for a rule without an id or with one that is taken, or with a threshold that is NaN.
    pub fn new(rules: Vec<AlertRule>, sinks: Vec<Arc<dyn AlertSink>>) -> Result<Self> {
        for (i, rule) in rules.iter().enumerate() {
            let taken = rules[..i].iter().any(|other| other.id == rule.id);
            if rule.id.is_empty() || taken {
                let reason = format!("id {:?} is empty or taken", rule.id);
                return Err(Error::config("alert rule", reason));
            }
            if rule.threshold.is_nan() {
                let reason = format!("{} has no threshold (NaN)", rule.id);
                return Err(Error::config("alert rule", reason));
            }
        }
        Ok(AlertEngine { rules, sinks, state: Mutex::default() })
    }

    /// Applies findings in their order, each at the end of the stretch it covers, and sends every change of state to
    /// every sink. A sink that fails is counted and holds nothing up. A NaN finding is ignored.
    pub fn check(&self, findings: &[Finding]) -> Vec<Alert> {
        let mut alerts = Vec::new();
        let mut state = self.state();
        for finding in findings {
            for rule in &self.rules {
                let looked_at = rule.metric == finding.metric && finding.n >= rule.min_samples;
                if looked_at && !finding.value.is_nan() {
                    alerts.extend(state.apply(rule, finding));
                }
            }
        }
        drop(state);
        self.send(&alerts);
        alerts
    }

    fn send(&self, alerts: &[Alert]) {
        let failed = |alert| self.sinks.iter().filter(|sink| sink.send(alert).is_err()).count();
        let failed = alerts.iter().map(failed).sum::<usize>() as u64;
        if failed > 0 {
            self.state().failed_sends += failed;
        }
    }

    /// Alerts that fire now, as they were sent.
    pub fn firing(&self) -> Vec<Alert> {
        self.state().active.values().filter_map(|active| active.fired.clone()).collect()
    }

    /// Ends all pending and firing alerts on a version that no longer answers, telling the sinks of those that fired.
    pub fn retire(&self, model: &ModelRef, now: Timestamp) -> Vec<Alert> {
        let mut alerts = Vec::new();
        self.state().active.retain(|(_, on), active| {
            let stays = on.as_ref() != Some(model);
            if let (false, Some(fired)) = (stays, &active.fired) {
                alerts.push(Alert { state: AlertState::Resolved, at: now, ..fired.clone() });
            }
            stays
        });
        self.send(&alerts);
        alerts
    }

    /// Alerts that a sink refused.
    pub fn failed_sends(&self) -> u64 {
        self.state().failed_sends
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn apply(&mut self, rule: &AlertRule, finding: &Finding) -> Option<Alert> {
        let holds = match rule.comparison {
            Comparison::Above => finding.value > rule.threshold,
            Comparison::Below => finding.value < rule.threshold,
        };
        let key = (rule.id.clone(), finding.model.clone());
        let now = finding.to;
        let change = |state, since| Alert {
            rule: rule.id.clone(),
            description: rule.description.clone(),
            severity: rule.severity,
            model: finding.model.clone(),
            state,
            since,
            at: now,
            metric: finding.metric.clone(),
            value: finding.value,
            threshold: rule.threshold,
        };
        if !holds {
            let active = self.active.remove(&key)?;
            return active.fired.map(|_| change(AlertState::Resolved, active.since));
        }
        let new = !self.active.contains_key(&key);
        let active = self.active.entry(key).or_insert(Active { since: now, fired: None });
        if active.fired.is_none() && now.since(active.since) >= rule.hold {
            active.fired = Some(change(AlertState::Firing, active.since));
            return active.fired.clone();
        }
        new.then(|| change(AlertState::Pending, now))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::days;

    fn finding(day: u64, value: f64) -> Finding {
        let to = Timestamp::default().plus(days(day));
        Finding { metric: "psi".into(), model: None, from: to.minus(days(1)), to, value, n: 100 }
    }

    fn engine(hold: Duration) -> (AlertEngine, Arc<InMemoryAlertSink>) {
        let rule = AlertRule {
            id: "drift".into(),
            description: "inputs have moved".into(),
            metric: "psi".into(),
            comparison: Comparison::Above,
            threshold: 0.1,
            hold,
            min_samples: 50,
            severity: Severity::Warning,
        };
        let sink = Arc::new(InMemoryAlertSink::default());
        (AlertEngine::new(vec![rule], vec![sink.clone()]).unwrap(), sink)
    }

    fn states(alerts: &[Alert]) -> Vec<AlertState> {
        alerts.iter().map(|alert| alert.state).collect()
    }

    #[test]
    fn a_rule_is_pending_until_it_has_held_then_fires_once_and_resolves() {
        use AlertState::{Firing, Pending, Resolved};
        let (engine, sink) = engine(days(1));
        let values = [0.05, 0.2, 0.2, 0.3, f64::NAN, 0.1, 0.2];
        for (day, value) in (1..).zip(values) {
            engine.check(&[finding(day, value)]);
        }
        assert_eq!(states(&sink.alerts()), [Pending, Firing, Resolved, Pending]);
        assert_eq!(sink.alerts()[1].since, Timestamp::default().plus(days(2)));
        assert!(engine.firing().is_empty());
    }

    #[test]
    fn a_rule_without_hold_fires_at_once_and_small_samples_do_not_count() {
        let (engine, _) = engine(Duration::ZERO);
        assert!(engine.check(&[Finding { n: 49, ..finding(1, 9.0) }]).is_empty());
        assert_eq!(states(&engine.check(&[finding(1, 9.0)])), [AlertState::Firing]);
        assert_eq!(engine.firing().len(), 1);
    }

    #[test]
    fn a_failing_sink_is_counted_and_the_others_get_their_alert() {
        #[derive(Debug)]
        struct Broken;
        impl AlertSink for Broken {
            fn send(&self, _: &Alert) -> Result<()> {
                Err(Error::input("sink", "broken"))
            }
        }
        let (good, sink) = engine(Duration::ZERO);
        let sinks: Vec<Arc<dyn AlertSink>> = vec![Arc::new(Broken), sink.clone()];
        let engine = AlertEngine::new(good.rules, sinks).unwrap();
        engine.check(&[finding(1, 9.0)]);
        assert_eq!((engine.failed_sends(), sink.alerts().len()), (1, 1));
    }
}
