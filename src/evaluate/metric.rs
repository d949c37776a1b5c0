//! Metrics by name, to choose one in a configuration.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::probability::{check_probabilities, log_loss, squared_error};
use crate::evaluate::ranking::{Ranking, check_weights};
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
        match (self, weights) {
            (ScoreMetric::LogLoss, None) => mean_loss(labels, scores, log_loss),
            (ScoreMetric::Brier, None) => mean_loss(labels, scores, squared_error),
            (_, None) => self.of(&Ranking::new(labels, scores)?),
            (ScoreMetric::LogLoss | ScoreMetric::Brier, Some(weights)) => {
                check_weights(weights, labels.len())?;
                let mean = self.prepare(labels, scores)?.value(weights);
                mean.ok_or_else(|| Error::input("weights", "all are 0"))
            }
            (_, Some(weights)) => self.of(&Ranking::weighted(labels, scores, weights)?),
        }
    }

    pub(super) fn prepare(self, labels: &[bool], scores: &[f64]) -> Result<Prepared> {
        match self {
            ScoreMetric::LogLoss => Ok(Prepared::Mean(losses(labels, scores, log_loss)?)),
            ScoreMetric::Brier => Ok(Prepared::Mean(losses(labels, scores, squared_error)?)),
            _ => {
                let ranking = Ranking::new(labels, scores)?;
                self.of(&ranking)?; // so that nothing later can fail
                Ok(Prepared::Ranked(self, ranking))
            }
        }
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

fn losses(labels: &[bool], scores: &[f64], loss: impl Fn(bool, f64) -> f64) -> Result<Vec<f64>> {
    check_probabilities(labels, scores)?;
    Ok(labels.iter().zip(scores).map(|(&bad, &p)| loss(bad, p)).collect())
}

fn mean_loss(labels: &[bool], scores: &[f64], loss: impl Fn(bool, f64) -> f64) -> Result<f64> {
    check_probabilities(labels, scores)?;
    let sum: f64 = labels.iter().zip(scores).map(|(&bad, &p)| loss(bad, p)).sum();
    Ok(sum / labels.len() as f64)
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
