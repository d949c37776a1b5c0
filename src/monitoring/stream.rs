//! Streams of labels that detectors watch.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use crate::drift::{AnyDetector, DriftDetector, Signal};
use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::monitor::{Finding, Labelled, Metric};
use crate::time::Timestamp;

/// A detector on one number per label, in the order in which labels come.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WatchedStream {
    /// Unique name; rules look at [`Metric::Detector`] of it.
    pub name: String,
    /// What the detector is given.
    pub of: StreamKind,
    /// The detector.
    pub detector: AnyDetector,
}

/// A number per label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StreamKind {
    /// 1 for a bad row: the bad rate.
    Bad,
    /// 1 for a wrong decision: a bad row approved, or a good one flagged.
    Error,
    /// 1 for a bad row that was approved, over all rows: what gets through.
    Missed,
    /// The label held against the score: whether the model is calibrated. For an [`EDetector`](crate::drift::EDetector) only;
    /// rows without a score are left out.
    Calibration,
}

/// All watched streams, and which of them have signalled drift since the last findings.
#[derive(Debug)]
pub(super) struct Streams {
    all: Vec<(WatchedStream, bool)>,
    /// Labels since the last findings, and when those were.
    labels: u64,
    since: Option<Timestamp>,
}

impl Streams {
    pub(super) fn new(streams: Vec<WatchedStream>) -> Result<Self> {
        let mut names = BTreeSet::new();
        let mut taken = streams.iter().filter(|of| of.name.is_empty() || !names.insert(&of.name));
        if let Some(stream) = taken.next() {
            let reason = format!("name {:?} is empty or taken", stream.name);
            return Err(Error::config("watched streams", reason));
        }
        let fits = |stream: &WatchedStream| {
            let bets = matches!(stream.detector, AnyDetector::EDetector(_));
            stream.of != StreamKind::Calibration || bets
        };
        if let Some(stream) = streams.iter().find(|stream| !fits(stream)) {
            let reason = format!("{:?}: only an e-detector can watch calibration", stream.name);
            return Err(Error::config("watched streams", reason));
        }
        let all = streams.into_iter().map(|stream| (stream, false)).collect();
        Ok(Streams { all, labels: 0, since: None })
    }

    pub(super) fn label(&mut self, label: &Labelled) {
        self.labels += 1;
        for (stream, drifted) in &mut self.all {
            let flagged = label.flagged();
            let is = |holds: bool| f64::from(u8::from(holds));
            let value = match stream.of {
                StreamKind::Bad => is(label.bad),
                StreamKind::Error => is(label.bad != flagged),
                StreamKind::Missed => is(label.bad && !flagged),
                StreamKind::Calibration => {
                    if let (AnyDetector::EDetector(detector), Some(score)) =
                        (&mut stream.detector, label.score)
                    {
                        let signal = detector.update_against(is(label.bad), score);
                        *drifted |= signal == Signal::Drift;
                    }
                    continue;
                }
            };
            *drifted |= stream.detector.update(value) == Signal::Drift;
        }
    }

    /// Whether each stream has signalled drift since the last call; nothing where no label has come.
    pub(super) fn findings(&mut self, model: &ModelRef, now: Timestamp) -> Vec<Finding> {
        if self.labels == 0 {
            return Vec::new();
        }
        let from = self.since.replace(now).unwrap_or(now);
        let n = std::mem::take(&mut self.labels);
        let found = self.all.iter_mut().map(|(stream, drifted)| Finding {
            metric: Metric::detector(&stream.name),
            model: Some(model.clone()),
            segment: None,
            from,
            to: now,
            value: f64::from(u8::from(std::mem::take(drifted))),
            n,
        });
        found.collect()
    }

    pub(super) fn reset(&mut self) {
        for (stream, drifted) in &mut self.all {
            stream.detector.reset();
            *drifted = false;
        }
    }
}
