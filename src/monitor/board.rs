//! Who measures: what a rule asks, and the latest findings as an answer.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::metric::Metric;
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
/// A finding holds from when it was posted for as long as the stretch it covers, or as the rule's window where that is
/// longer: figures that rest on labels are about days long past, and news all the same.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct FindingBoard {
    /// In order of metric, version and segment, with the moment each was posted.
    latest: Vec<(Timestamp, Finding)>,
}

impl FindingBoard {
    /// Puts findings up, each in the place of an older one of its kind.
    pub fn post(&mut self, findings: &[Finding], now: Timestamp) {
        for finding in findings {
            let place =
                self.latest.binary_search_by(|(_, other)| other.kind().cmp(&finding.kind()));
            match place {
                Ok(i) if self.latest[i].1.to <= finding.to => {
                    self.latest[i] = (now, finding.clone())
                }
                Ok(_) => {}
                Err(i) => self.latest.insert(i, (now, finding.clone())),
            }
        }
    }

    /// Takes down everything about a version.
    pub fn retire(&mut self, model: &ModelRef) {
        self.latest.retain(|(_, finding)| finding.model.as_ref() != Some(model));
    }
}

impl Finding {
    fn kind(&self) -> (&Metric, &Option<ModelRef>, &Option<String>) {
        (&self.metric, &self.model, &self.segment)
    }
}

impl MetricSource for FindingBoard {
    fn measure(&self, metric: &Metric, window: Duration, now: Timestamp) -> Vec<Measurement> {
        let holds = |(posted, finding): &&(Timestamp, Finding)| {
            let length = finding.to.since(finding.from).max(window);
            finding.metric == *metric && now <= posted.plus(length)
        };
        let measurement = |(_, finding): &(Timestamp, Finding)| Measurement {
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
        board.post(&[finding(2, 0.2), finding(1, 0.1)], at(2));
        let value = |board: &FindingBoard, day: u64| {
            let found = board.measure(&Metric::psi("x"), Duration::ZERO, at(day));
            found.first().map(|m| m.value)
        };
        assert_eq!([2, 3, 4].map(|day| value(&board, day)), [Some(0.2), Some(0.2), None]);
        assert!(board.measure(&Metric::BadRate, days(9), at(2)).is_empty());
        assert_eq!(board.measure(&Metric::psi("x"), days(9), at(4)).len(), 1);
    }
}
