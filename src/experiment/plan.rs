//! What is measured, fixed before the start: metrics, how evidence is weighed, what must hold before anything ships.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::sequential::Spending;
use crate::error::{Error, Result};
use crate::evaluate::Costs;
use crate::time::days;

/// What an arm is judged by. Per unit: [`UnitBadRate`](Self::UnitBadRate), the share of entities with at least one bad
/// request. All others are per request, with errors that are robust to dependence between requests of one unit; those
/// that rest on the order of scores (areas, KS) take requests as independent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Metric {
    /// Share of units with a bad request, among units whose labels are due.
    UnitBadRate,
    /// Share of labelled requests that are bad.
    BadRate,
    /// Share of the labelled amount that is bad.
    BadValueRate,
    /// Share of requests without an alert.
    ApprovalRate,
    /// Share of labelled requests that the alert got right.
    Accuracy,
    /// Share of alerts that are bad.
    Precision,
    /// Share of bad requests with an alert.
    Recall,
    /// Harmonic mean of precision and recall.
    F1,
    /// Mean negative log-likelihood of the label, natural logarithm; scores are kept 2⁻³² away from 0 and 1.
    LogLoss,
    /// Mean squared distance of score and label.
    Brier,
    /// Cost per labelled request by the plan's [`Costs`], in major units of money.
    Cost,
    /// Mean time to a score, in microseconds.
    Latency,
    /// Area under the ROC curve, on 1,024 bins of the score.
    RocAuc,
    /// Average precision, on 1,024 bins of the score.
    AveragePrecision,
    /// Kolmogorov–Smirnov distance, on 1,024 bins of the score.
    Ks,
}

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Direction {
    /// More is better.
    Up,
    /// Less is better.
    Down,
}

impl Metric {
    /// All of them.
    pub const ALL: [Metric; 15] = [
        Metric::UnitBadRate,
        Metric::BadRate,
        Metric::BadValueRate,
        Metric::ApprovalRate,
        Metric::Accuracy,
        Metric::Precision,
        Metric::Recall,
        Metric::F1,
        Metric::LogLoss,
        Metric::Brier,
        Metric::Cost,
        Metric::Latency,
        Metric::RocAuc,
        Metric::AveragePrecision,
        Metric::Ks,
    ];

    /// Which way is better.
    pub fn direction(self) -> Direction {
        match self {
            Metric::UnitBadRate | Metric::BadRate | Metric::BadValueRate => Direction::Down,
            Metric::LogLoss | Metric::Brier | Metric::Cost | Metric::Latency => Direction::Down,
            _ => Direction::Up,
        }
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Metric::UnitBadRate => "bad rate of units",
            Metric::BadRate => "bad rate",
            Metric::BadValueRate => "bad rate by value",
            Metric::ApprovalRate => "approval rate",
            Metric::Accuracy => "accuracy",
            Metric::Precision => "precision",
            Metric::Recall => "recall",
            Metric::F1 => "F1",
            Metric::LogLoss => "log loss",
            Metric::Brier => "Brier score",
            Metric::Cost => "cost per request",
            Metric::Latency => "latency, µs",
            Metric::RocAuc => "ROC AUC",
            Metric::AveragePrecision => "average precision",
            Metric::Ks => "KS",
        })
    }
}

/// How evidence is weighed against looking more than once.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Inference {
    /// The event e-process: in which arm each bad unit falls, or in shadow which of two arms is right where only one is.
    /// Exact at every look, however rare the events and uneven the arms. For [`Metric::UnitBadRate`], where each unit counts
    /// once, with the phase and arm that answered its first bad request; in shadow for [`Metric::Accuracy`], where requests
    /// are taken as independent (plan a confidence sequence if one unit makes many).
    EventProcess {
        /// Weight of the prior, in events: 20 to 100. It costs or gains power, never validity.
        strength: f64,
    },
    /// A normal-mixture confidence sequence, for every metric that has a standard error: asymptotic, valid at every look
    /// after the plan's `min_events`.
    ConfidenceSequence,
    /// A limited number of looks with spent error probability. The most powerful if the end is known. Its end is
    /// the planned size.
    GroupSequential {
        /// How α is spent.
        spending: Spending,
    },
    /// One look, at the planned size, once stopped.
    FixedHorizon,
}

/// How p-values of several secondary metrics are adjusted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Correction {
    /// No false rejection at all, with probability 1 − α.
    #[default]
    Holm,
    /// At most a share α of rejections false, on average.
    BenjaminiHochberg,
}

/// A metric that must not get worse.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Guardrail {
    /// The metric; worse is against its [`direction`](Metric::direction).
    pub metric: Metric,
    /// How much worse is tolerated, in units of the metric. A challenger passes once it is shown to be less than this
    /// worse (non-inferiority); it violates once it is shown to be worse at all and by the estimate more than this.
    pub margin: f64,
}

/// What is decided by, fixed at the start.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalysisPlan {
    /// The metric that decides.
    pub primary: Metric,
    /// Which way it must move.
    pub direction: Direction,
    /// Chance of shipping or rejecting a challenger that is no different, over all challengers and looks.
    pub alpha: f64,
    /// Chance of seeing the difference that the size is planned for; see
    /// [`ExperimentConfig::units_for_rates`](super::ExperimentConfig::units_for_rates).
    pub power: f64,
    /// How evidence is weighed.
    pub inference: Inference,
    /// Whether what was known of the units before the experiment
    /// ([`with_covariate`](super::ExposureToken::with_covariate)) is taken out of differences (CUPED): of all rates, shares
    /// and means, where each arm has units of its own. The event process and the areas know no such thing.
    #[serde(default)]
    pub cuped: bool,
    /// Mature units that the experiment is planned for, all arms together. Evidence on [`Metric::UnitBadRate`] is most
    /// precise around here; where that is the primary metric, it is the end of a plan with an end.
    pub planned_units: u64,
    /// Labelled requests that it is planned for, all arms together, in shadow those of the champion: the same for all other
    /// metrics.
    pub planned_requests: u64,
    /// Metrics to report with adjusted p-values.
    pub secondary: Vec<Metric>,
    /// How they are adjusted.
    pub correction: Correction,
    /// Metrics that must not get worse.
    pub guardrails: Vec<Guardrail>,
    /// Chance of a false alarm per guardrail and challenger.
    pub guardrail_alpha: f64,
    /// Bad labels each arm needs before anything asymptotic is said of it.
    pub min_events: u64,
    /// Time from a request until its label can be counted on.
    pub maturity: Duration,
    /// Share of units that must be mature before a verdict, `0.0..=1.0`.
    pub min_matured: f64,
    /// Chance of a false alarm on the split of the sample and of its labels.
    pub srm_alpha: f64,
    /// What alerts and misses cost.
    pub costs: Costs,
    /// Minor units of money in a major one: amounts of tokens are minor.
    pub minor_units: u32,
}

impl AnalysisPlan {
    /// Decides by `primary` in its own direction: α 5 % by the event e-process for [`Metric::UnitBadRate`] and by a
    /// confidence sequence for all others, power 80 %, no CUPED, 30 events per arm, labels mature after 30 days, 95 % of units mature, alarms at
    /// 0.1 % (split) and 5 % (guardrails), default costs.
    pub fn new(primary: Metric, planned_units: u64, planned_requests: u64) -> Self {
        let inference = match primary {
            Metric::UnitBadRate => Inference::EventProcess { strength: 50.0 },
            _ => Inference::ConfidenceSequence,
        };
        AnalysisPlan {
            primary,
            direction: primary.direction(),
            alpha: 0.05,
            power: 0.8,
            inference,
            cuped: false,
            planned_units,
            planned_requests,
            secondary: Vec::new(),
            correction: Correction::Holm,
            guardrails: Vec::new(),
            guardrail_alpha: 0.05,
            min_events: 30,
            maturity: days(30),
            min_matured: 0.95,
            srm_alpha: 0.001,
            costs: Costs::default(),
            minor_units: 100,
        }
    }

    /// # Errors
    /// `InvalidConfig` naming what cannot be.
    pub fn check(&self, shadow: bool) -> Result<()> {
        let refuse = |reason: String| Err(Error::config("analysis plan", reason));
        self.costs.check()?;
        let within = |x: f64| x > 0.0 && x < 1.0;
        if ![self.alpha, self.guardrail_alpha, self.srm_alpha].into_iter().all(within) {
            return refuse("error probabilities lie between 0 and 1".into());
        }
        if !(self.power > self.alpha && self.power < 1.0) {
            return refuse("the power lies between α and 1".into());
        }
        if self.cuped && shadow {
            return refuse(
                "in shadow all arms share the units: nothing for CUPED to take out".into(),
            );
        }
        let planned = self.planned_units.min(self.planned_requests);
        if !(0.0..=1.0).contains(&self.min_matured) || planned == 0 {
            return refuse("min_matured is a share, planned_units and requests at least 1".into());
        }
        if self.minor_units == 0 || self.maturity > days(366) {
            return refuse("minor_units at least 1, maturity at most 366 days".into());
        }
        if self.guardrails.iter().any(|guard| guard.margin < 0.0 || !guard.margin.is_finite()) {
            return refuse("margins of guardrails are finite and not negative".into());
        }
        let by_events = if shadow { Metric::Accuracy } else { Metric::UnitBadRate };
        match &self.inference {
            Inference::EventProcess { strength } => {
                if !(*strength > 0.0 && strength.is_finite()) {
                    return refuse("the strength of the event process is positive".into());
                }
                if self.primary != by_events {
                    return refuse(format!("the event process decides by the {by_events}"));
                }
            }
            Inference::GroupSequential { spending } => spending.check()?,
            _ => {}
        }
        let named = self.secondary.iter().chain(self.guardrails.iter().map(|guard| &guard.metric));
        if shadow && named.chain([&self.primary]).any(|metric| *metric == Metric::UnitBadRate) {
            return refuse("in shadow all arms share the units: no bad rate of units".into());
        }
        Ok(())
    }
}
