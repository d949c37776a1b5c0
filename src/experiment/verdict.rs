//! What an experiment comes to, by the plan's rules.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::comparison::{GuardrailReport, GuardrailStatus, Outcome};
use super::config::{ExperimentConfig, Mode};
use super::event::ExperimentState;
use super::plan::Metric;
use super::report::ExperimentReport;

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

/// What it comes to, by the plan's rules.
pub(super) fn verdict(report: &ExperimentReport, config: &ExperimentConfig) -> Verdict {
    let plan = &config.plan;
    let mut doubts = Vec::new();
    if !matches!(report.state, ExperimentState::Stopped | ExperimentState::Decided) {
        doubts.push(Doubt::NotStopped);
    }
    if matches!(config.mode, Mode::Bandit(_)) {
        doubts.push(Doubt::Adaptive);
    }
    if report.sample_ratio_mismatch {
        doubts.push(Doubt::SampleRatio);
    }
    let counters = &report.counters;
    if counters.beyond_units + counters.beyond_days + counters.counted_twice > 0 {
        doubts.push(Doubt::Incomplete);
    }
    if report.matured < plan.min_matured {
        doubts.push(Doubt::Immature { matured: report.matured });
    }
    let mut best: Option<(f64, u8)> = None;
    let mut out = 0;
    for comparison in &report.comparisons {
        let arm = comparison.arm;
        if comparison.label_coverage.as_ref().is_some_and(|labels| labels.p_value <= plan.srm_alpha)
        {
            doubts.push(Doubt::LabelCoverage { arm });
        }
        let violated = |guard: &GuardrailReport| guard.status == GuardrailStatus::Violated;
        if comparison.primary.outcome == Outcome::Worse
            || comparison.guardrails.iter().any(violated)
        {
            out += 1;
            continue;
        }
        if comparison.primary.outcome == Outcome::Undecided {
            doubts.push(Doubt::NoEvidence { arm });
            continue;
        }
        let undecided = comparison.guardrails.iter();
        let undecided = undecided.filter(|guard| guard.status == GuardrailStatus::Undecided);
        let waiting: Vec<Doubt> = undecided
            .map(|guard| Doubt::GuardrailUndecided { arm, metric: guard.metric })
            .collect();
        if waiting.is_empty() {
            let gain =
                comparison.primary.difference.map_or(0.0, |difference| difference.value.abs());
            if best.is_none_or(|(most, _)| gain > most) {
                best = Some((gain, arm));
            }
        }
        doubts.extend(waiting);
    }
    // Doubts about one challenger do not stand in the way of another; doubts about the data do.
    let of_one = |doubt: &Doubt| {
        matches!(doubt, Doubt::NoEvidence { .. } | Doubt::GuardrailUndecided { .. })
    };
    let sound = doubts.iter().all(of_one);
    match best {
        Some((_, arm)) if sound => Verdict::Ship { arm },
        _ if sound && out == report.comparisons.len() => Verdict::KeepChampion,
        _ => Verdict::Inconclusive { reasons: doubts },
    }
}
