//! What is known of an experiment, in numbers and in words.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::plan::Metric;
use super::record::RecorderCounters;
use super::srm::SampleRatio;
use super::state::ExperimentState;
use crate::ids::ModelRef;
use crate::stats::{Estimate, Interval, Proportion};
use crate::time::Timestamp;

/// What an experiment comes to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Verdict {
    /// A challenger is better on the primary metric, and nothing speaks against it.
    Ship {
        /// Position of the arm.
        arm: u8,
    },
    /// Every challenger is worse, or violates a guardrail.
    KeepChampion,
    /// Neither can be said.
    Inconclusive {
        /// Why not.
        reasons: Vec<Doubt>,
    },
}

/// What stands between an experiment and a verdict.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Doubt {
    /// It is not stopped yet.
    NotStopped,
    /// The evidence has not reached its bound.
    NoEvidence {
        /// Of this challenger.
        arm: u8,
    },
    /// A guardrail is neither passed nor violated.
    GuardrailUndecided {
        /// Of this challenger.
        arm: u8,
        /// On this metric.
        metric: Metric,
    },
    /// Units did not fall into arms as planned.
    SampleRatio,
    /// A larger share of labels is missing in one arm.
    LabelCoverage {
        /// In this challenger against the champion.
        arm: u8,
    },
    /// Too many requests are too young to have their label.
    Immature {
        /// Share of requests old enough.
        matured: f64,
    },
    /// More units or days than the recorder remembers, or records counted twice.
    Incomplete,
    /// Shares followed the evidence, which rules out a test.
    Adaptive,
}

impl fmt::Display for Doubt {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Doubt::NotStopped => f.write_str("not stopped yet"),
            Doubt::NoEvidence { arm } => write!(f, "no evidence on arm {arm} either way"),
            Doubt::GuardrailUndecided { arm, metric } => {
                write!(f, "arm {arm} is not shown to be no worse in {metric}")
            }
            Doubt::SampleRatio => f.write_str("units did not fall into arms as planned"),
            Doubt::LabelCoverage { arm } => {
                write!(f, "labels are missing unevenly in arm {arm} and the champion")
            }
            Doubt::Immature { matured } => {
                write!(f, "only {:.1} % of requests are old enough", 100.0 * matured)
            }
            Doubt::Incomplete => f.write_str("some records could not be counted, or were twice"),
            Doubt::Adaptive => f.write_str("shares followed the evidence"),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Verdict::Ship { arm } => write!(f, "ship arm {arm}"),
            Verdict::KeepChampion => f.write_str("keep the champion"),
            Verdict::Inconclusive { reasons } => {
                f.write_str("inconclusive: ")?;
                for (i, reason) in reasons.iter().enumerate() {
                    write!(f, "{}{reason}", if i == 0 { "" } else { "; " })?;
                }
                Ok(())
            }
        }
    }
}

/// On what scale an interval is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Scale {
    /// Challenger less champion; no difference is 0.
    Difference,
    /// Challenger over champion; no difference is 1.
    Ratio,
}

impl Scale {
    /// The value that stands for no difference.
    pub fn no_difference(self) -> f64 {
        match self {
            Scale::Difference => 0.0,
            Scale::Ratio => 1.0,
        }
    }
}

/// The test behind a p-value for one look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Method {
    /// Pooled z test, Newcombe's interval.
    TwoProportions,
    /// Fisher's exact test, Miettinen and Nurminen's interval: fewer than ten events in an arm.
    Fisher,
    /// DeLong's test.
    DeLong,
    /// McNemar's mid-p test, Wald's interval.
    McNemar,
    /// Normal test of ratios with cluster-robust errors.
    ClusteredRatio,
    /// Normal test with a resampled error.
    Bootstrap,
}

/// What may be said of a difference at this moment. A p-value for one look exists only where there is one look: at the
/// end of a plan with a fixed horizon.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Evidence {
    /// Valid at every look, now and at all looks before.
    AlwaysValid {
        /// Chance of evidence at least as strong, ever, without a difference.
        p_value: f64,
        /// What is not rejected.
        interval: Interval,
        /// Its scale.
        scale: Scale,
    },
    /// A look of a group-sequential plan.
    GroupSequential {
        /// The statistic.
        z: f64,
        /// What |z| must reach at this look.
        bound: f64,
        /// Whether it has, now or at a look before.
        crossed: bool,
        /// Repeated confidence interval of the difference.
        interval: Interval,
    },
    /// The one look of a fixed horizon.
    FixedHorizon {
        /// Two-sided p-value.
        p_value: f64,
        /// Confidence interval of the difference.
        interval: Interval,
        /// How both were found.
        method: Method,
    },
    /// Too few bad labels in an arm for anything asymptotic.
    TooFew {
        /// In the arm with fewer.
        events: u64,
        /// As the plan asks for.
        needed: u64,
    },
    /// The plan's look is not yet, or this is not one.
    Pending,
    /// Nothing to compare: a metric that is not defined in an arm, or a bandit.
    None,
}

/// Which is better, as far as the evidence goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The challenger.
    Better,
    /// The champion.
    Worse,
    /// Not shown.
    Undecided,
}

/// One metric of a challenger against the champion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MetricComparison {
    /// Which.
    pub metric: Metric,
    /// Champion's value.
    pub champion: Option<f64>,
    /// Challenger's value.
    pub challenger: Option<f64>,
    /// Challenger less champion, phases weighed by their size.
    pub difference: Option<Estimate>,
    /// What may be said of it.
    pub evidence: Evidence,
    /// P-value adjusted for the number of secondary metrics and challengers.
    pub adjusted_p_value: Option<f64>,
    /// Which is better.
    pub outcome: Outcome,
}

/// How a challenger stands on a guardrail.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GuardrailStatus {
    /// Shown to be no worse than tolerated.
    Passed,
    /// Shown to be worse, and by the estimate more than tolerated.
    Violated,
    /// Neither.
    Undecided,
}

/// A guardrail and how a challenger stands.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GuardrailReport {
    /// The metric.
    pub metric: Metric,
    /// How much worse is tolerated.
    pub margin: f64,
    /// How much worse the challenger is; negative is better.
    pub harm: Option<f64>,
    /// What of it is plausible at every look, at the guardrails' α.
    pub interval: Option<Interval>,
    /// How it stands.
    pub status: GuardrailStatus,
}

/// A challenger against the champion.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Comparison {
    /// Position of the challenger.
    pub arm: u8,
    /// The metric that decides.
    pub primary: MetricComparison,
    /// Others.
    pub secondary: Vec<MetricComparison>,
    /// Guardrails.
    pub guardrails: Vec<GuardrailReport>,
    /// Always-valid p-value of equal shares of labels that are there.
    pub label_coverage_p_value: Option<f64>,
    /// P-value of equal delays of bad labels, once stopped: if labels come sooner in one arm, rates in between mislead.
    pub delay_p_value: Option<f64>,
}

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
    /// Units that changed their arm and left the analysis.
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

impl fmt::Display for Evidence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Evidence::AlwaysValid { p_value, interval, scale } => {
                let times = if *scale == Scale::Ratio { "×" } else { "" };
                write!(f, "{times}{interval:.5}, always-valid p {p_value:.4}")
            }
            Evidence::GroupSequential { z, bound, crossed, interval } => {
                let crossed = if *crossed { ", crossed" } else { "" };
                write!(f, "{interval:.5}, z {z:.3} against ±{bound:.3}{crossed}")
            }
            Evidence::FixedHorizon { p_value, interval, method } => {
                write!(f, "{interval:.5}, p {p_value:.4} ({method:?})")
            }
            Evidence::TooFew { events, needed } => {
                write!(f, "{events} bad in an arm, {needed} needed")
            }
            Evidence::Pending => f.write_str("not looked at yet"),
            Evidence::None => f.write_str("-"),
        }
    }
}

impl fmt::Display for MetricComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), |v| format!("{v:.5}"));
        let (champion, challenger) = (number(self.champion), number(self.challenger));
        write!(f, "{:<18} {champion:>10} → {challenger:>10}  {}", self.metric, self.evidence)?;
        if let Some(p) = self.adjusted_p_value {
            write!(f, ", adjusted p {p:.4}")?;
        }
        match self.outcome {
            Outcome::Better => f.write_str(": better"),
            Outcome::Worse => f.write_str(": worse"),
            Outcome::Undecided => Ok(()),
        }
    }
}

impl fmt::Display for ExperimentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let ExperimentReport { name, at, state, units, matured, information, .. } = self;
        writeln!(f, "{name} at {at}: {state:?}, {units} units")?;
        writeln!(
            f,
            "{:.1} % of requests old enough, {:.1} % of the planned information",
            100.0 * matured,
            100.0 * information
        )?;
        for (i, arm) in self.arms.iter().enumerate() {
            let role = if i == 0 { "champion" } else { "challenger" };
            let ArmReport { model, requests, labels, units, .. } = arm;
            writeln!(
                f,
                "arm {i} {model} ({role}): {requests} requests, {labels} labels, {units} units"
            )?;
        }
        if let Some(ratio) = &self.sample_ratio {
            let SampleRatio { observed, sequential_p_value, .. } = ratio;
            let word = if self.sample_ratio_mismatch { "MISMATCH" } else { "as planned" };
            writeln!(f, "sample ratio {observed:?} {word} (p {sequential_p_value:.4})")?;
        }
        for comparison in &self.comparisons {
            writeln!(f, "arm {} against the champion", comparison.arm)?;
            writeln!(f, "  primary    {}", comparison.primary)?;
            for secondary in &comparison.secondary {
                writeln!(f, "  secondary  {secondary}")?;
            }
            for guardrail in &comparison.guardrails {
                let GuardrailReport { metric, margin, harm, status, .. } = guardrail;
                let harm = harm.map_or("-".to_owned(), |harm| format!("{harm:+.5}"));
                writeln!(
                    f,
                    "  guardrail  {metric:<18} worse by {harm} of {margin} tolerated: {status:?}"
                )?;
            }
        }
        write!(f, "verdict: {}", self.verdict)
    }
}
