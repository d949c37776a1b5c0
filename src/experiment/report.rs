//! What is known of an experiment at a moment.

use serde::{Deserialize, Serialize};

use super::comparison::{Comparison, GuardrailReport, GuardrailStatus};
use super::event::ExperimentState;
use super::plan::Metric;
use super::record::RecorderCounters;
use super::srm::SampleRatio;
use super::verdict::Verdict;
use crate::ids::ModelRef;
use crate::stats::Proportion;
use crate::time::Timestamp;

/// Figures of one arm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ArmReport {
    /// The version.
    pub model: ModelRef,
    /// Requests.
    pub requests: u64,
    /// Labels.
    pub labels: u64,
    /// Units that took part; in shadow, none of its own.
    pub units: u64,
    /// Units old enough, and those of them with a bad request.
    pub mature_units: Option<Proportion>,
    /// Bad rate of requests that the labels so far point to, given how late labels come.
    pub adjusted_bad_rate: Option<f64>,
    /// All metrics; `None` where one is not defined.
    pub metrics: Vec<(Metric, Option<f64>)>,
    /// Latency in nanoseconds: median, 99th percentile.
    pub latency: Option<(u64, u64)>,
}

/// Figures of one phase.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PhaseReport {
    /// Number of the phase.
    pub phase: u16,
    /// Shares in parts per million.
    pub weights_ppm: Vec<u32>,
    /// Its arms.
    pub arms: Vec<ArmReport>,
}

/// All that is known of an experiment at a moment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ExperimentReport {
    /// Name of the experiment.
    pub name: String,
    /// When.
    pub at: Timestamp,
    /// Where it stands.
    pub state: ExperimentState,
    /// Units that took part in the analysis; in shadow, labelled requests.
    pub units: u64,
    /// Units that changed their arm and left rates and means; their events still count for who answered them.
    pub switchers: u64,
    /// Share of requests old enough for their label.
    pub matured: f64,
    /// Share of the planned size that is there, in mature units or labelled requests as the primary metric counts.
    pub information: f64,
    /// Arms over all phases, the champion first.
    pub arms: Vec<ArmReport>,
    /// Each phase by itself, if there is more than one.
    pub phases: Vec<PhaseReport>,
    /// Each challenger against the champion.
    pub comparisons: Vec<Comparison>,
    /// Whether units fell into arms as planned; in shadow they do not fall.
    pub sample_ratio: Option<SampleRatio>,
    /// Whether they did not.
    pub sample_ratio_mismatch: bool,
    /// What was not counted, and why.
    pub counters: RecorderCounters,
    /// What it comes to.
    pub verdict: Verdict,
}

impl ExperimentReport {
    /// The first violated guardrail in words, if there is one.
    pub fn violated_guardrail(&self) -> Option<String> {
        self.comparisons.iter().find_map(|comparison| {
            let mut guardrails = comparison.guardrails.iter();
            let violated = guardrails.find(|g| g.status == GuardrailStatus::Violated)?;
            let GuardrailReport { metric, harm, margin, .. } = violated;
            let harm = harm.unwrap_or(f64::NAN);
            let arm = comparison.arm;
            Some(format!("arm {arm} is worse in {metric} by {harm:.6}, tolerated {margin:.6}"))
        })
    }
}
