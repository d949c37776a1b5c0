//! Stage 12, alert. Takes measurements, from a [`MetricSource`](crate::monitor::MetricSource); gives [`Alert`]s when a rule
//! has held long enough, and tells the receivers.
//!
//! # The life of an alert
//! Each rule is evaluated for each version and segment its metric is measured on, at every [`tick`](AlertEngine::tick):
//! ```text
//! inactive ──holds──▶ pending ──held for `for`──▶ firing ──clear for `keep_firing_for`──▶ resolved
//!     ▲                  │ does not hold            ▲ │ holds again: goes on                │ holds: pending
//!     └──────────────────┘                          └─┘                                     │ again
//! ```
//! Once firing, a rule holds until its clear threshold is crossed. Without data a rule's [`NoData`] policy says what to do;
//! by default everything stays as it is and an alert of its own, `rule_stale`, follows after an hour. Silences, mute
//! windows, inhibition and flapping decide who hears of an alert and never change its state.
//!
//! Semantics are those of Prometheus and Alertmanager except where their users suffer from them: no data does not resolve, a
//! gap in evaluation does not count as time held, a limit refuses new alerts and never wipes those there are, and an alert that fires
//! again after an end nobody was told of is told of.

mod backlog;
mod config;
mod engine;
mod evaluate;
mod instance;
mod notify;
mod outbox;
mod queue;
mod rule;
mod silence;
mod sink;
mod snapshot;
mod state;

pub use backlog::{DeadLetter, QueueStats};
pub use config::{AlertConfig, FlapConfig};
pub use engine::{AlertEngine, AlertStats};
pub use notify::{GroupConfig, Notification, Reason};
pub use queue::{QueueConfig, QueuedSink};
pub use rule::{AlertRule, Comparison, Level, NoData, Severity, default_rules};
pub use silence::{Inhibition, Labels, Matcher, MuteWindow, Silence};
pub use sink::{AlertSink, ChannelSink, FnSink, InMemoryAlertSink, Receiver, StderrAlertSink};
pub use snapshot::AlertSnapshot;
pub use state::{AlertState, RestoreConfig};

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::ids::ModelRef;
use crate::monitor::Metric;
use crate::time::Timestamp;

/// One rule on one version and segment, as it stood at one moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Alert {
    /// [`AlertRule::id`].
    pub rule: String,
    /// [`AlertRule::description`].
    pub description: String,
    /// Severity of the threshold that was crossed.
    pub severity: Severity,
    /// What it is known by: the same rule, version, segment and severity have the same one, in every process.
    pub fingerprint: String,
    /// How many times it has begun, this time included.
    pub episode: u64,
    /// Version concerned; `None` for all traffic.
    pub model: Option<ModelRef>,
    /// Segment concerned; `None` for all.
    pub segment: Option<String>,
    /// What silences, inhibitions and groups look at.
    pub labels: Labels,
    /// State it is in.
    pub state: AlertState,
    /// Since when the rule has held.
    pub since: Timestamp,
    /// When it came into this state.
    pub at: Timestamp,
    /// What was measured.
    pub metric: Metric,
    /// The last value; `None` where there was none.
    pub value: Option<f64>,
    /// The threshold.
    pub threshold: f64,
    /// Whether it begins and ends so often that single changes are not told of.
    pub flapping: bool,
    /// Who has taken it on.
    pub acknowledged: Option<Acknowledgement>,
    /// Why it ended; `None` while it has not.
    pub ended: Option<Ended>,
}

/// Somebody has taken an alert on: it is not repeated any more.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Acknowledgement {
    /// Who.
    pub actor: String,
    /// What they have to say.
    pub comment: String,
    /// When.
    pub at: Timestamp,
}

/// Why an alert ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ended {
    /// The rule no longer held.
    Cleared,
    /// Somebody ended it.
    ByHand {
        /// Who.
        actor: String,
        /// Why.
        reason: String,
    },
    /// What it was about is gone: the version no longer answers, the reference was moved, the rule was taken away.
    Retired {
        /// What happened.
        reason: String,
    },
}

impl fmt::Display for Alert {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Alert { rule, severity, state, at, metric, threshold, .. } = self;
        let state = format!("{state:?}").to_uppercase();
        write!(f, "{at} {state} {rule} ({severity:?}): {metric} = ")?;
        match self.value {
            Some(value) => write!(f, "{value:.4}, ")?,
            None => f.write_str("no data, ")?,
        }
        write!(f, "threshold {threshold}, since {}", self.since)?;
        self.model.iter().try_for_each(|model| write!(f, ", on {model}"))?;
        self.segment.iter().try_for_each(|segment| write!(f, ", in {segment}"))?;
        if self.flapping {
            f.write_str(", flapping")?;
        }
        match &self.ended {
            Some(Ended::ByHand { actor, reason }) => write!(f, ", ended by {actor}: {reason}"),
            Some(Ended::Retired { reason }) => write!(f, ", ended: {reason}"),
            _ => Ok(()),
        }
    }
}
