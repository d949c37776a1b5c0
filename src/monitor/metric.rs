//! What can be measured, and who measures it.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::time::Timestamp;

/// A measured value: what rules look at and reports list.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Finding {
    /// What was measured.
    pub metric: Metric,
    /// On which version; `None` where it concerns all traffic.
    pub model: Option<ModelRef>,
    /// In which segment; `None` for all.
    #[serde(default)]
    pub segment: Option<String>,
    /// Start of the stretch of time it covers.
    pub from: Timestamp,
    /// End of it, exclusive.
    pub to: Timestamp,
    /// The value.
    pub value: f64,
    /// Rows it rests on.
    pub n: u64,
}

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
    /// Number of features that drifted.
    DriftedFeatures,
    /// Number of segments in which something drifted.
    DriftedSegments,
    /// Relative change of the rate of bad labels against the reference.
    BadRateChange,
    /// Mean score less rate of bad rows, over matured labels.
    CalibrationGap,
    /// Time that half of the labels take, in days.
    LabelLag,
    /// Something of the host's own.
    Custom(String),
}

/// Metrics without a parameter, by name.
const PLAIN: [(&str, Metric); 15] = [
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
    ("drifted_features", Metric::DriftedFeatures),
    ("drifted_segments", Metric::DriftedSegments),
    ("bad_rate_change", Metric::BadRateChange),
    ("calibration_gap", Metric::CalibrationGap),
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

/// One value of a metric, as a rule asks for it.
#[derive(Debug, Clone, PartialEq)]
pub struct Measurement {
    /// On which version; `None` where it concerns all traffic.
    pub model: Option<ModelRef>,
    /// In which segment; `None` for all.
    pub segment: Option<String>,
    /// The value; NaN is no value.
    pub value: f64,
    /// Rows it rests on.
    pub n: u64,
}

/// Answers what a metric was over the last stretch of time.
///
/// # Contract
/// One measurement per version and segment that there is something to say of; none at all where nothing is known. The same
/// question at the same moment has the same answer.
pub trait MetricSource {
    /// The metric over the `window` that ends at `now`.
    fn measure(&self, metric: &Metric, window: Duration, now: Timestamp) -> Vec<Measurement>;
}

/// The latest finding of each metric, version and segment: lets rules look at what is reported once per stretch.
///
/// A finding holds for as long after its end as the stretch it covers is long, or as the rule's window where that is
/// longer.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FindingBoard {
    latest: Vec<Finding>,
}

impl FindingBoard {
    /// Puts findings up, each in the place of an older one of its kind.
    pub fn post(&mut self, findings: &[Finding]) {
        for finding in findings {
            let key = |f: &Finding| (f.metric.clone(), f.model.clone(), f.segment.clone());
            match self.latest.binary_search_by(|other| key(other).cmp(&key(finding))) {
                Ok(i) if self.latest[i].to <= finding.to => self.latest[i] = finding.clone(),
                Ok(_) => {}
                Err(i) => self.latest.insert(i, finding.clone()),
            }
        }
    }

    /// Takes down everything about a version.
    pub fn retire(&mut self, model: &ModelRef) {
        self.latest.retain(|finding| finding.model.as_ref() != Some(model));
    }
}

impl MetricSource for FindingBoard {
    fn measure(&self, metric: &Metric, window: Duration, now: Timestamp) -> Vec<Measurement> {
        let holds = |finding: &&Finding| {
            let length = finding.to.since(finding.from).max(window);
            finding.metric == *metric && now <= finding.to.plus(length)
        };
        let measurement = |finding: &Finding| Measurement {
            model: finding.model.clone(),
            segment: finding.segment.clone(),
            value: finding.value,
            n: finding.n,
        };
        self.latest.iter().filter(holds).map(measurement).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::days;

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

    #[test]
    fn a_finding_holds_until_the_next_one_is_due() {
        let at = |day: u64| Timestamp::default().plus(days(day));
        let finding = |day: u64, value: f64| Finding {
            metric: Metric::psi("x"),
            model: None,
            segment: None,
            from: at(day - 1),
            to: at(day),
            value,
            n: 9,
        };
        let mut board = FindingBoard::default();
        board.post(&[finding(2, 0.2), finding(1, 0.1)]);
        let value = |board: &FindingBoard, day: u64| {
            let found = board.measure(&Metric::psi("x"), Duration::ZERO, at(day));
            found.first().map(|m| m.value)
        };
        assert_eq!([2, 3, 4].map(|day| value(&board, day)), [Some(0.2), Some(0.2), None]);
        assert!(board.measure(&Metric::BadRate, days(9), at(2)).is_empty());
        assert_eq!(board.measure(&Metric::psi("x"), days(9), at(4)).len(), 1);
    }
}
