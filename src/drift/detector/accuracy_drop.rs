//! Accuracy below a reference by a fixed amount.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{DriftDetector, Inputs, Signal, open_share};
use crate::error::{Error, Result};

/// Parameters of an [`AccuracyDrop`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AccuracyDropConfig {
    /// Accuracy of the reference, `0.0..=1.0`.
    pub reference: f64,
    /// Loss of accuracy that is drift.
    pub threshold: f64,
    /// Newest values that the accuracy is taken over, at most 1,048,576.
    pub window: usize,
}

impl AccuracyDropConfig {
    /// A loss of more than 0.1 over 1,000 values.
    pub fn new(reference: f64) -> Self {
        AccuracyDropConfig { reference, threshold: 0.1, window: 1000 }
    }
}

/// Alarms when accuracy over a sliding window has fallen below the reference by more than a threshold.
///
/// The most widespread rule, and for the classes that matter here one that cannot work. Accuracy is a mean over all
/// rows, so a model that stops finding frauds altogether loses only as much accuracy as there are frauds it used to
/// find: at a fraud rate of 0.2 % and a recall of 80 %, accuracy falls by 0.0016 when recall falls to 0. The rule with
/// 0.1 can never fire; [`largest_fall`](Self::largest_fall) tells what it could at most see. Watch recall,
/// precision, calibration or the rate of positives instead, with an [`EDetector`](super::EDetector).
///
/// Values: 1 for a wrong decision, 0 for a right one. O(1), 80 bytes and a byte per value of the window.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AccuracyDrop {
    config: AccuracyDropConfig,
    inputs: Inputs,
    newest: VecDeque<bool>,
    errors: u64,
}

impl AccuracyDrop {
    /// # Errors
    /// `InvalidConfig` for shares outside 0 to 1, a window that is empty or too long, or a threshold that even an accuracy
    /// of 0 would not reach.
    pub fn new(config: AccuracyDropConfig) -> Result<Self> {
        let AccuracyDropConfig { reference, threshold, window } = config;
        if !(0.0..=1.0).contains(&reference) || !open_share(threshold) {
            return Err(Error::config("accuracy drop", "reference and threshold are shares"));
        }
        if reference <= threshold {
            let reason = format!("an accuracy of {reference} cannot fall by more than {threshold}");
            return Err(Error::config("accuracy drop", reason));
        }
        if !(1..=1 << 20).contains(&window) {
            return Err(Error::config("accuracy drop", "a window of 1 to 1,048,576 is needed"));
        }
        let newest = VecDeque::with_capacity(window + 1);
        Ok(AccuracyDrop { config, inputs: Inputs::default(), newest, errors: 0 })
    }

    /// The most that accuracy can fall by when recall falls from `recall` to 0 among `bad_rate` of bad rows: the threshold
    /// must lie below it for the rule to be able to notice.
    pub fn largest_fall(bad_rate: f64, recall: f64) -> f64 {
        bad_rate * recall
    }
}

impl DriftDetector for AccuracyDrop {
    fn name(&self) -> &'static str {
        "accuracy drop"
    }

    fn update(&mut self, value: f64) -> Signal {
        if !self.inputs.accept_error(value) {
            return Signal::Stable;
        }
        let error = value == 1.0;
        self.newest.push_back(error);
        self.errors += u64::from(error);
        if self.newest.len() > self.config.window {
            let error = self.newest.pop_front().expect("just pushed");
            self.errors = self.errors.saturating_sub(u64::from(error));
        }
        if self.newest.len() < self.config.window {
            return Signal::Stable;
        }
        let accuracy = 1.0 - self.errors as f64 / self.newest.len() as f64;
        if self.config.reference - accuracy > self.config.threshold {
            self.reset();
            return Signal::Drift;
        }
        Signal::Stable
    }

    fn reset(&mut self) {
        self.inputs = self.inputs.restarted();
        self.newest.clear();
        self.errors = 0;
    }

    fn inputs(&self) -> Inputs {
        self.inputs
    }
}
