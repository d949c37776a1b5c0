//! When to raise an alert.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::monitor::Metric;

/// When to raise an alert: a condition on a metric, how long it must hold, and who hears of it. Evaluated for every version
/// and segment that the metric is measured on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AlertRule {
    /// Unique id.
    pub id: String,
    /// What to call it.
    #[serde(default)]
    pub name: String,
    /// What it means and what to do, for whoever is woken by it.
    #[serde(default)]
    pub description: String,
    /// What it looks at.
    pub metric: Metric,
    /// On which side of the threshold it holds.
    pub comparison: Comparison,
    /// Where it starts to hold.
    pub threshold: f64,
    /// Where it stops to hold once it fires; `None` for the threshold itself. Keeps a value that swings around the threshold
    /// from firing again and again.
    #[serde(default)]
    pub clear_threshold: Option<f64>,
    /// Stretch of time that the metric is taken over.
    #[serde(default = "five_minutes")]
    pub window: Duration,
    /// How long it must hold before it fires; zero fires at once.
    #[serde(default, rename = "for")]
    pub hold: Duration,
    /// How long it goes on firing after it no longer holds.
    #[serde(default)]
    pub keep_firing_for: Duration,
    /// Fewer rows than these are no data.
    #[serde(default)]
    pub min_samples: u64,
    /// What no data means.
    #[serde(default)]
    pub no_data: NoData,
    /// How bad it is.
    pub severity: Severity,
    /// The same condition with further thresholds, each of another severity. Of those that fire only the worst is told of.
    #[serde(default)]
    pub levels: Vec<Level>,
    /// Whether it is evaluated.
    #[serde(default = "yes")]
    pub enabled: bool,
    /// Channels it goes to; none for all receivers.
    #[serde(default)]
    pub channels: Vec<String>,
    /// Labels of the host's own on each of its alerts.
    #[serde(default)]
    pub labels: BTreeMap<String, String>,
}

fn five_minutes() -> Duration {
    Duration::from_secs(300)
}

fn yes() -> bool {
    true
}

/// A further threshold of a rule.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Level {
    /// How bad it is there.
    pub severity: Severity,
    /// Where it starts.
    pub threshold: f64,
    /// Where it stops once it fires; `None` for the threshold itself.
    #[serde(default)]
    pub clear_threshold: Option<f64>,
}

/// On which side of its threshold a rule holds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Comparison {
    /// Value > threshold.
    Above,
    /// Value ≥ threshold.
    AtLeast,
    /// Value < threshold.
    Below,
    /// Value ≤ threshold.
    AtMost,
    /// Value no further from the threshold than the tolerance.
    Equal {
        /// Largest distance.
        tolerance: f64,
    },
}

impl Comparison {
    pub(super) fn holds(self, value: f64, threshold: f64) -> bool {
        match self {
            Comparison::Above => value > threshold,
            Comparison::AtLeast => value >= threshold,
            Comparison::Below => value < threshold,
            Comparison::AtMost => value <= threshold,
            Comparison::Equal { tolerance } => (value - threshold).abs() <= tolerance,
        }
    }

    /// Whether a clear threshold lies where the rule does not hold, or on the threshold.
    fn allows(self, threshold: f64, clear: f64) -> bool {
        match self {
            Comparison::Above | Comparison::AtLeast => clear <= threshold,
            Comparison::Below | Comparison::AtMost => clear >= threshold,
            Comparison::Equal { .. } => clear == threshold,
        }
    }
}

/// What it means that a metric has no value, or too few rows, where it had one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum NoData {
    /// Nothing is known, so nothing changes: what fires goes on firing, what waits goes on waiting. After `max_stale` an
    /// alert of its own, `rule_stale`, says that the rule is blind.
    KeepLast {
        /// How long that may go on.
        max_stale: Duration,
    },
    /// The rule does not hold.
    Ok,
    /// The rule holds: silence is what it is about.
    Alert,
    /// Nothing changes, and nobody is told.
    Ignore,
}

/// Keeps the last state, for an hour.
impl Default for NoData {
    fn default() -> Self {
        NoData::KeepLast { max_stale: Duration::from_secs(3600) }
    }
}

/// How bad it is, rising.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Severity {
    /// Worth knowing.
    Info,
    /// Look at it today.
    Warning,
    /// Look at it now.
    Critical,
}

impl AlertRule {
    /// A rule that fires at once, with severity `Warning`, on a window of five minutes. Replace a field to have it otherwise.
    pub fn new(id: &str, metric: Metric, comparison: Comparison, threshold: f64) -> Self {
        AlertRule {
            id: id.to_owned(),
            name: id.to_owned(),
            description: String::new(),
            metric,
            comparison,
            threshold,
            clear_threshold: None,
            window: five_minutes(),
            hold: Duration::ZERO,
            keep_firing_for: Duration::ZERO,
            min_samples: 0,
            no_data: NoData::default(),
            severity: Severity::Warning,
            levels: Vec::new(),
            enabled: true,
            channels: Vec::new(),
            labels: BTreeMap::new(),
        }
    }

    /// # Errors
    /// `InvalidConfig` for a rule that could never work.
    pub(super) fn check(&self) -> Result<()> {
        let refuse =
            |reason: &str| Err(Error::config("alert rule", format!("{:?} {reason}", self.id)));
        if self.id.is_empty() {
            return refuse("needs an id");
        }
        let taken = ["rule", "model", "version", "segment", "metric", "severity"];
        if let Some(label) = self.labels.keys().find(|label| taken.contains(&label.as_str())) {
            return refuse(&format!("has a label {label}, which every alert has"));
        }
        if let Comparison::Equal { tolerance } = self.comparison
            && (tolerance.is_nan() || tolerance < 0.0)
        {
            return refuse("needs a tolerance from 0 up");
        }
        let mut severities = Vec::new();
        for level in self.all_levels() {
            let clear = level.clear_threshold.unwrap_or(level.threshold);
            if !level.threshold.is_finite() || !clear.is_finite() {
                return refuse("needs finite thresholds");
            }
            if !self.comparison.allows(level.threshold, clear) {
                return refuse("has a clear threshold on the side where it holds");
            }
            if severities.contains(&level.severity) {
                return refuse("has two levels of one severity");
            }
            severities.push(level.severity);
        }
        Ok(())
    }

    /// Its own level and the further ones.
    pub(super) fn all_levels(&self) -> impl Iterator<Item = Level> + '_ {
        let AlertRule { severity, threshold, clear_threshold, .. } = *self;
        [Level { severity, threshold, clear_threshold }]
            .into_iter()
            .chain(self.levels.iter().copied())
    }
}

/// Rules that any model at work should have: errors, latency, no traffic, drift, missing values, fallbacks, calibration, label
/// lag. Take them as a start.
pub fn default_rules() -> Vec<AlertRule> {
    use Comparison::{Above, Below};
    let minutes = |n: u64| Duration::from_secs(60 * n);
    let rule = |id: &str, metric: Metric, comparison, threshold, description: &str| AlertRule {
        description: description.to_owned(),
        ..AlertRule::new(id, metric, comparison, threshold)
    };
    let days = crate::time::days;
    vec![
        AlertRule {
            clear_threshold: Some(0.04),
            hold: minutes(5),
            min_samples: 100,
            severity: Severity::Critical,
            ..rule(
                "error-rate",
                Metric::ErrorRate,
                Above,
                0.05,
                "requests fail; look at the last deployment and at the inputs",
            )
        },
        AlertRule {
            hold: minutes(10),
            min_samples: 100,
            ..rule(
                "mean-latency",
                Metric::MeanLatency,
                Above,
                1.0,
                "answers take longer than a second on average",
            )
        },
        AlertRule {
            hold: minutes(10),
            min_samples: 1000,
            ..rule(
                "p99-latency",
                Metric::LatencyQuantile(990),
                Above,
                1.0,
                "one answer in a hundred takes longer than a second",
            )
        },
        AlertRule {
            window: minutes(30),
            no_data: NoData::Alert,
            severity: Severity::Critical,
            ..rule(
                "no-traffic",
                Metric::Predictions,
                Below,
                10.0,
                "hardly any request arrives; look at whoever calls",
            )
        },
        AlertRule {
            clear_threshold: Some(0.02),
            hold: minutes(5),
            min_samples: 100,
            ..rule(
                "fallback-rate",
                Metric::FallbackRate,
                Above,
                0.05,
                "the model cannot score; look at the inputs",
            )
        },
        AlertRule {
            min_samples: 1000,
            levels: vec![Level {
                severity: Severity::Critical,
                threshold: 0.25,
                clear_threshold: Some(0.2),
            }],
            ..rule(
                "score-drift",
                Metric::psi("score"),
                Above,
                0.1,
                "scores have moved away from the training data",
            )
        },
        AlertRule {
            min_samples: 1000,
            ..rule(
                "feature-drift",
                Metric::psi("*"),
                Above,
                0.25,
                "a feature has moved away from the training data",
            )
        },
        AlertRule {
            clear_threshold: Some(0.15),
            min_samples: 1000,
            ..rule(
                "missing-values",
                Metric::missing_rate("*"),
                Above,
                0.2,
                "a feature has lost its values; look at its source",
            )
        },
        AlertRule {
            window: days(1),
            min_samples: 1000,
            ..rule(
                "calibration",
                Metric::CalibrationGap,
                Above,
                0.01,
                "scores promise more bad rows than there are",
            )
        },
        AlertRule {
            window: days(1),
            min_samples: 30,
            ..rule(
                "label-lag",
                Metric::LabelLag,
                Above,
                45.0,
                "labels take longer than what the completeness is corrected for",
            )
        },
    ]
}
