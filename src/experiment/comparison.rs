//! What may be said of a challenger against the champion.

use serde::{Deserialize, Serialize};

use super::plan::Metric;
use crate::stats::{Estimate, Interval};

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
    /// Normal test of a difference that a covariate's part was taken out of.
    Cuped,
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
    /// Challenger less champion, phases weighed by their size; with CUPED what it leaves of it.
    pub difference: Option<Estimate>,
    /// The difference as a share of the champion's value.
    pub lift: Option<Estimate>,
    /// Share of the difference's variance that the covariate took out, with CUPED.
    pub variance_removed: Option<f64>,
    /// The smallest difference that the planned size shows with the plan's power, by the spread so far; of the primary
    /// metric.
    pub detectable: Option<f64>,
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
    /// Shown to be worse, and by the estimate more than tolerated, now or at a look before.
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
    /// How much worse the challenger is; negative is better. For the bad rate of units by the labels that are there, not to
    /// lose time.
    pub harm: Option<f64>,
    /// What of it is plausible at every look, at the guardrails' α.
    pub interval: Option<Interval>,
    /// How it stands.
    pub status: GuardrailStatus,
}

/// Shares of requests with a label, of those whose label is to become known.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LabelCoverage {
    /// Always-valid p-value of equal shares in both arms.
    pub p_value: f64,
    /// The same by band of the arm's own score: no score, then odds of bad below 1/512, 1/64, 1/8 and above. They tell where
    /// labels get lost. The verdict does not rest on them: two models put different requests into a band, and where labels
    /// of bad requests come sooner a band with more of them is ahead, with nothing lost.
    pub bands: Vec<BandCoverage>,
}

/// Shares of requests with a label in one band of the score.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct BandCoverage {
    /// Of the champion's requests; `None` without any.
    pub champion: Option<f64>,
    /// Of the challenger's.
    pub challenger: Option<f64>,
    /// Always-valid p-value of equal shares; `None` where both are complete, or one is without requests.
    pub p_value: Option<f64>,
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
    /// Whether labels are missing alike; in shadow they are the same ones.
    pub label_coverage: Option<LabelCoverage>,
    /// P-value of equal delays of bad labels, once stopped: if labels come sooner in one arm, rates in between mislead.
    pub delay_p_value: Option<f64>,
}
