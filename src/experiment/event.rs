//! What can happen to an experiment, as its trail tells it.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::comparison::{Evidence, GuardrailStatus};
use super::verdict::Verdict;
use crate::ids::Digest;
use crate::time::Timestamp;

/// Where an experiment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExperimentState {
    /// Planned; the champion answers.
    Draft,
    /// Units are routed to their arms.
    Running,
    /// The champion answers until it is resumed.
    Paused,
    /// The champion answers; it must be stopped.
    Killed,
    /// The champion answers; labels are still counted.
    Stopped,
    /// There is a verdict; nothing can happen any more.
    Decided,
}

/// Why an experiment was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StopReason {
    /// Enough units, or enough evidence.
    Complete,
    /// A guardrail was violated.
    Guardrail,
    /// Units did not fall into arms as planned.
    SampleRatio,
    /// Somebody said so.
    Manual,
}

/// One formal look at the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// The phase that was running.
    pub phase: u16,
    /// Share of the planned size that was there.
    pub information: f64,
    /// Per challenger, what its evidence on the primary metric was.
    pub evidence: Vec<Evidence>,
    /// Per challenger, how it stood on each guardrail.
    pub guardrails: Vec<Vec<GuardrailStatus>>,
}

/// What happened to an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExperimentEvent {
    /// It was planned.
    Created {
        /// Digest of its configuration.
        config: Digest,
    },
    /// It was started.
    Started,
    /// The champion answers for a while.
    Paused,
    /// Units are routed again.
    Resumed,
    /// More units take part.
    ExposureRaised {
        /// Parts per million that take part now.
        exposure_ppm: u32,
    },
    /// Shares changed and a new phase began.
    Reweighted {
        /// The new phase.
        phase: u16,
        /// Shares in parts per million.
        weights_ppm: Vec<u32>,
        /// Parts per million that take part.
        exposure_ppm: u32,
        /// Slots that changed hands.
        moved_ppm: u32,
    },
    /// The kill switch was thrown.
    Killed,
    /// It was stopped.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// The evidence was looked at.
    Looked {
        /// What it said.
        look: Look,
    },
    /// There is a verdict.
    Decided {
        /// It.
        verdict: Verdict,
        /// Whether the plan's rules gave it, or somebody.
        by_rule: bool,
    },
}

impl fmt::Display for ExperimentEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ppm: &u32| f64::from(*ppm) / 10_000.0;
        match self {
            ExperimentEvent::Created { config } => write!(f, "created (plan {})", config.short()),
            ExperimentEvent::Started => f.write_str("started"),
            ExperimentEvent::Paused => f.write_str("paused"),
            ExperimentEvent::Resumed => f.write_str("resumed"),
            ExperimentEvent::ExposureRaised { exposure_ppm } => {
                write!(f, "exposure raised to {} %", percent(exposure_ppm))
            }
            ExperimentEvent::Reweighted { phase, weights_ppm, moved_ppm, .. } => {
                let weights: Vec<String> =
                    weights_ppm.iter().map(|w| percent(w).to_string()).collect();
                let moved = percent(moved_ppm);
                write!(f, "phase {phase} with {} %, {moved} % moved", weights.join("/"))
            }
            ExperimentEvent::Killed => f.write_str("killed"),
            ExperimentEvent::Stopped { reason } => write!(f, "stopped ({reason:?})"),
            ExperimentEvent::Looked { look } => {
                write!(f, "looked at {:.1} % of the information", 100.0 * look.information)
            }
            ExperimentEvent::Decided { verdict, by_rule } => {
                let by = if *by_rule { "by the plan" } else { "by hand" };
                write!(f, "decided {by}: {verdict}")
            }
        }
    }
}
