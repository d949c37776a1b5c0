//! Metrics by name, to choose one in a configuration.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::Result;
use crate::evaluate::probability::check_probabilities;
use crate::evaluate::ranking::Ranking;
use crate::train::Metric;

/// A number that scores are judged by.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ScoreMetric {
    /// [`Ranking::average_precision`].
    #[default]
    AveragePrecision,
    /// [`Ranking::roc_auc`].
    RocAuc,
    /// [`Ranking::ks`].
    Ks,
    /// [`Ranking::partial_roc_auc`] up to this false positive rate.
    PartialRocAuc(f64),
    /// [`Ranking::recall_at_false_positive_rate`] at this rate.
    RecallAtFalsePositiveRate(f64),
    /// [`Calibration::log_loss`](crate::evaluate::Calibration::log_loss); smaller is better.
    LogLoss,
    /// [`Calibration::brier`](crate::evaluate::Calibration::brier); smaller is better.
    Brier,
}

/// A metric of fixed rows and scores, ready to be taken under many weights.
pub(super) enum Prepared {
    Ranked(ScoreMetric, Ranking),
    /// The mean of a loss per row.
    Mean(Vec<f64>),
}

impl ScoreMetric {
    /// Its value; rows weigh what `weights` says, 1 without.
    ///
    /// # Errors
    /// Those of [`Ranking::weighted`] and of the metric; `InvalidInput` for scores that are no probabilities where the
    /// metric needs them.
    pub fn value(self, labels: &[bool], scores: &[f64], weights: Option<&[f64]>) -> Result<f64> {
        match (self.prepare(labels, scores)?, weights) {
            (Prepared::Ranked(metric, ranking), None) => metric.of(&ranking),
            (Prepared::Ranked(metric, _), Some(weights)) => {
                metric.of(&Ranking::weighted(labels, scores, weights)?)
            }
            (Prepared::Mean(losses), None) => Ok(losses.iter().sum::<f64>() / losses.len() as f64),
            (Prepared::Mean(losses), Some(weights)) => Ok(weighted_mean(&losses, weights)),
        }
    }

    pub(super) fn prepare(self, labels: &[bool], scores: &[f64]) -> Result<Prepared> {
        let loss: fn(bool, f64) -> f64 = match self {
            ScoreMetric::LogLoss => |bad, p| {
                let of_truth: f64 = if bad { p } else { 1.0 - p };
                -of_truth.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
            },
            ScoreMetric::Brier => |bad, p| (p - f64::from(u8::from(bad))).powi(2),
            _ => {
                let ranking = Ranking::new(labels, scores)?;
                self.of(&ranking)?; // so that nothing later can fail
                return Ok(Prepared::Ranked(self, ranking));
            }
        };
        check_probabilities(labels, scores)?;
        Ok(Prepared::Mean(labels.iter().zip(scores).map(|(&bad, &p)| loss(bad, p)).collect()))
    }

    fn of(self, ranking: &Ranking) -> Result<f64> {
        match self {
            ScoreMetric::AveragePrecision => Ok(ranking.average_precision()),
            ScoreMetric::RocAuc => Ok(ranking.roc_auc()),
            ScoreMetric::Ks => Ok(ranking.ks().value),
            ScoreMetric::PartialRocAuc(rate) => ranking.partial_roc_auc(rate),
            ScoreMetric::RecallAtFalsePositiveRate(rate) => {
                ranking.recall_at_false_positive_rate(rate)
            }
            ScoreMetric::LogLoss | ScoreMetric::Brier => unreachable!("means, see prepare"),
        }
    }
}

impl Prepared {
    /// The value under other weights; `None` where it has none.
    pub(super) fn value(&self, weights: &[f64]) -> Option<f64> {
        match self {
            Prepared::Ranked(metric, ranking) => metric.of(&ranking.reweighted(weights)?).ok(),
            Prepared::Mean(losses) => {
                Some(weighted_mean(losses, weights)).filter(|mean| !mean.is_nan())
            }
        }
    }
}

fn weighted_mean(values: &[f64], weights: &[f64]) -> f64 {
    let sum: f64 = values.iter().zip(weights).map(|(value, weight)| value * weight).sum();
    sum / weights.iter().sum::<f64>()
}

impl Metric for ScoreMetric {
    fn name(&self) -> String {
        self.to_string()
    }

    fn larger_is_better(&self) -> bool {
        !matches!(self, ScoreMetric::LogLoss | ScoreMetric::Brier)
    }

    fn value(&self, data: &Dataset, scores: &[f64]) -> Result<f64> {
        ScoreMetric::value(*self, data.labels(), scores, data.weights())
    }
}

impl fmt::Display for ScoreMetric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ScoreMetric::AveragePrecision => f.write_str("average precision"),
            ScoreMetric::RocAuc => f.write_str("ROC AUC"),
            ScoreMetric::Ks => f.write_str("KS"),
            ScoreMetric::PartialRocAuc(rate) => write!(f, "partial ROC AUC to FPR {rate}"),
            ScoreMetric::RecallAtFalsePositiveRate(rate) => write!(f, "recall at FPR {rate}"),
            ScoreMetric::LogLoss => f.write_str("log loss"),
            ScoreMetric::Brier => f.write_str("Brier score"),
        }
    }
}
