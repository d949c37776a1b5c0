//! What can be measured.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Something that is measured, written as text: `review_rate`, `psi/amount`, `latency/p99`, `custom/queue_length`. A name that
/// is not one of these is an error where it is read, never a rule that silently does not fire.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
#[non_exhaustive]
pub enum Metric {
    /// Number of predictions. No prediction is 0, not unknown.
    Predictions,
    /// Share of predictions that were not approved: reviewed or declined.
    ReviewRate,
    /// Share of predictions without a score, answered by the fallback.
    FallbackRate,
    /// Share of requests that ended in an error.
    ErrorRate,
    /// Mean score of scored rows.
    MeanScore,
    /// Mean latency in seconds.
    MeanLatency,
    /// A quantile of latency in seconds, in per mille: `latency/p99` is 990, `latency/p99.9` 999.
    LatencyQuantile(u16),
    /// Share of predictions whose label has arrived.
    LabelCoverage,
    /// Share of bad rows among labelled ones.
    BadRate,
    /// Share of bad rows among labelled reviews.
    Precision,
    /// Share of reviews among labelled bad rows.
    Recall,
    /// Population stability index of a column, `score` for the score, `*` for the highest of all features.
    Psi(String),
    /// Share of rows without a value in a column; `*` for the highest of all features.
    MissingRate(String),
    /// Share of predictions on a row with a missing feature.
    IncompleteRate,
    /// Share of predictions on a row with a value that the reference cannot have.
    UnseenRate,
    /// Number of features that drifted.
    DriftedFeatures,
    /// Number of segments in which something drifted.
    DriftedSegments,
    /// Relative change of the rate of bad labels against the reference.
    BadRateChange,
    /// Distance between the mean score and the rate of bad rows, over labelled rows with a score.
    CalibrationGap,
    /// How far the rate of bad rows, corrected for labels to come, lies from what the scores promise, in standard errors.
    OutcomeDisagreement,
    /// Time that half of the reports of bad rows take, in days.
    LabelLag,
    /// Whether a streaming detector has signalled drift in the stretch: 1 or 0.
    Detector(String),
    /// Something of the host's own.
    Custom(String),
}

/// Metrics without a parameter, by name.
const PLAIN: [(&str, Metric); 18] = [
    ("predictions", Metric::Predictions),
    ("review_rate", Metric::ReviewRate),
    ("fallback_rate", Metric::FallbackRate),
    ("error_rate", Metric::ErrorRate),
    ("mean_score", Metric::MeanScore),
    ("mean_latency", Metric::MeanLatency),
    ("label_coverage", Metric::LabelCoverage),
    ("bad_rate", Metric::BadRate),
    ("precision", Metric::Precision),
    ("recall", Metric::Recall),
    ("incomplete_rate", Metric::IncompleteRate),
    ("unseen_rate", Metric::UnseenRate),
    ("drifted_features", Metric::DriftedFeatures),
    ("drifted_segments", Metric::DriftedSegments),
    ("bad_rate_change", Metric::BadRateChange),
    ("calibration_gap", Metric::CalibrationGap),
    ("outcome_disagreement", Metric::OutcomeDisagreement),
    ("label_lag", Metric::LabelLag),
];

impl Metric {
    /// PSI of a column.
    pub fn psi(column: &str) -> Self {
        Metric::Psi(column.to_owned())
    }

    /// Share of missing values of a column.
    pub fn missing_rate(column: &str) -> Self {
        Metric::MissingRate(column.to_owned())
    }

    /// Whether a streaming detector has signalled drift.
    pub fn detector(name: &str) -> Self {
        Metric::Detector(name.to_owned())
    }

    /// Something of the host's own.
    pub fn custom(name: &str) -> Self {
        Metric::Custom(name.to_owned())
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Metric::Psi(column) => write!(f, "psi/{column}"),
            Metric::MissingRate(column) => write!(f, "missing_rate/{column}"),
            Metric::Detector(name) => write!(f, "detector/{name}"),
            Metric::Custom(name) => write!(f, "custom/{name}"),
            Metric::LatencyQuantile(q) if q % 10 == 0 => write!(f, "latency/p{}", q / 10),
            Metric::LatencyQuantile(q) => write!(f, "latency/p{}.{}", q / 10, q % 10),
            plain => {
                let name = PLAIN.iter().find(|(_, metric)| metric == plain);
                f.write_str(name.map_or("", |(name, _)| name))
            }
        }
    }
}

impl FromStr for Metric {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::NotFound { kind: "metric", id: text.to_owned() };
        if let Some((_, metric)) = PLAIN.iter().find(|(name, _)| *name == text) {
            return Ok(metric.clone());
        }
        match text.split_once('/') {
            Some((_, "")) | None => Err(unknown()),
            Some(("psi", column)) => Ok(Metric::psi(column)),
            Some(("missing_rate", column)) => Ok(Metric::missing_rate(column)),
            Some(("detector", name)) => Ok(Metric::detector(name)),
            Some(("custom", name)) => Ok(Metric::custom(name)),
            Some(("latency", quantile)) => {
                let percent = quantile.strip_prefix('p').ok_or_else(unknown)?;
                let (whole, tenth) = percent.split_once('.').unwrap_or((percent, "0"));
                let digits = whole.len() <= 3 && tenth.len() == 1;
                let number = |text: &str| text.parse::<u16>().ok().filter(|_| digits);
                let (whole, tenth) = number(whole).zip(number(tenth)).ok_or_else(unknown)?;
                let quantile = whole * 10 + tenth;
                if quantile > 1000 {
                    return Err(unknown());
                }
                Ok(Metric::LatencyQuantile(quantile))
            }
            Some(_) => Err(unknown()),
        }
    }
}

impl TryFrom<String> for Metric {
    type Error = Error;

    fn try_from(text: String) -> Result<Self> {
        text.parse()
    }
}

impl From<Metric> for String {
    fn from(metric: Metric) -> Self {
        metric.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_metric_reads_back_as_it_is_written() {
        let parameters = [
            "psi/amount",
            "psi/a/b",
            "missing_rate/*",
            "latency/p99",
            "latency/p99.9",
            "latency/p50",
            "latency/p100",
            "custom/queue",
            "detector/misses",
        ];
        for name in PLAIN.iter().map(|(name, _)| *name).chain(parameters) {
            let metric: Metric = name.parse().unwrap();
            assert_eq!(metric.to_string(), name);
            let json = serde_json::to_string(&metric).unwrap();
            assert_eq!(serde_json::from_str::<Metric>(&json).unwrap(), metric);
        }
        let wrong = ["", "eror_rate", "psi", "psi/", "latency/99", "latency/p101", "latency/p1.23"];
        for name in wrong {
            assert!(name.parse::<Metric>().unwrap_err().is_not_found(), "{name}");
        }
    }
}
