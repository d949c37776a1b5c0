//! What the trail of a retrain loop records.

use std::fmt;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use super::verdict::GateVerdict;
use crate::alert::Alert;
use crate::audit::AuditEntry;
use crate::ids::ModelRef;
use crate::monitor::Metric;
use crate::time::Timestamp;

/// One line of a retrain loop's audit trail.
pub type RetrainEntry = AuditEntry<RetrainEvent>;

/// What to train on and to compare on, and why.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetrainPlan {
    /// Number of the plan, from 1.
    pub number: u64,
    /// When it was made.
    pub at: Timestamp,
    /// The alerts that called for it.
    pub evidence: Vec<Evidence>,
    /// Events to train on.
    pub train: Range<Timestamp>,
    /// Events to compare on: the latest whose labels have all arrived.
    pub gate: Range<Timestamp>,
}

/// A firing alert, as far as it speaks for training again.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    /// Its rule.
    pub rule: String,
    /// [`Alert::fingerprint`].
    pub fingerprint: String,
    /// [`Alert::episode`].
    pub episode: u64,
    /// What was measured.
    pub metric: Metric,
    /// On which version.
    pub model: Option<ModelRef>,
    /// The last value; `None` where there was none.
    pub value: Option<f64>,
    /// Since when the rule has held.
    pub since: Timestamp,
}

/// What happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum RetrainEvent {
    /// Evidence called for a challenger.
    Planned(RetrainPlan),
    /// It was trained and registered.
    Trained {
        /// It.
        challenger: ModelRef,
        /// The version it is to be compared with.
        champion: ModelRef,
    },
    /// It was compared with the champion, on later rows or on those of its time in shadow. It stays out if it did not pass.
    Judged {
        /// The comparison, with what spoke against it.
        verdict: Box<GateVerdict>,
        /// Having passed, it scores live requests beside the champion until then, and answers none; `None` for no further test.
        shadow_until: Option<Timestamp>,
    },
    /// It took the champion's place; the reference for drift comes with it, detectors are reset, alerts on the versions
    /// before it have ended.
    Promoted {
        /// It.
        challenger: ModelRef,
        /// The champion before.
        champion: ModelRef,
    },
    /// The plan could not be carried out.
    Failed {
        /// Why.
        reason: String,
    },
}

impl RetrainPlan {
    /// The evidence in one line.
    pub fn reason(&self) -> String {
        self.evidence.iter().map(ToString::to_string).collect::<Vec<_>>().join("; ")
    }
}

impl Evidence {
    pub(super) fn of(alert: &Alert) -> Self {
        Evidence {
            rule: alert.rule.clone(),
            fingerprint: alert.fingerprint.clone(),
            episode: alert.episode,
            metric: alert.metric.clone(),
            model: alert.model.clone(),
            value: alert.value,
            since: alert.since,
        }
    }
}

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Evidence { rule, metric, value, since, .. } = self;
        write!(f, "{rule}: {metric} = ")?;
        match value {
            Some(value) => write!(f, "{value:.4}")?,
            None => f.write_str("no data")?,
        }
        write!(f, " since {since}")
    }
}

impl fmt::Display for RetrainEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            RetrainEvent::Planned(RetrainPlan { number, train, gate, .. }) => write!(
                f,
                "planned retrain {number}: train {} to {}, judge to {}",
                train.start, train.end, gate.end
            ),
            RetrainEvent::Trained { challenger, champion } => {
                write!(f, "trained {challenger} against {champion}")
            }
            RetrainEvent::Judged { verdict, shadow_until } => {
                write!(f, "judged: {verdict}")?;
                shadow_until.iter().try_for_each(|until| write!(f, "; in shadow until {until}"))
            }
            RetrainEvent::Promoted { challenger, champion } => {
                write!(f, "promoted {challenger} in place of {champion}")
            }
            RetrainEvent::Failed { .. } => f.write_str("gave the plan up"),
        }
    }
}
