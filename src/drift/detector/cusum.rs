//! The tabular CUSUM chart.

use serde::{Deserialize, Serialize};

use super::{Direction, DriftDetector, Inputs, LARGEST, Signal, positive};
use crate::error::{Error, Result};

/// Parameters of a [`Cusum`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CusumConfig {
    /// Mean of the reference.
    pub mean: f64,
    /// Standard deviation of the reference; for heavy tails the median and 1.4826 times the median absolute deviation
    /// do better in the places of both.
    pub std_dev: f64,
    /// What a value may be off the mean without counting, in standard deviations: half the shift to be found.
    pub slack: f64,
    /// Sum that is drift, in standard deviations.
    pub threshold: f64,
    /// Which way a change must go.
    pub direction: Direction,
}

impl CusumConfig {
    /// Slack ½ and threshold 5, both ways: for independent normal values an alarm by chance every 465 values, and a shift
    /// by one standard deviation found after about 10.
    pub fn new(mean: f64, std_dev: f64) -> Self {
        CusumConfig { mean, std_dev, slack: 0.5, threshold: 5.0, direction: Direction::Both }
    }
}

/// Sums up standardised deviations from a frozen reference, less a slack and never below zero:
/// g ← max(0, g ± (x − μ₀)/σ₀ − k), drift when g > h.
///
/// Values: any numbers. O(1), 72 bytes. Source: Page, Biometrika 41, 1954; the run length above is Montgomery's table for
/// k = ½, h = 5.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Cusum {
    config: CusumConfig,
    inputs: Inputs,
    rise: f64,
    fall: f64,
}

impl Cusum {
    /// # Errors
    /// `InvalidConfig` unless the mean is finite, deviation and threshold are positive, and slack is not negative.
    pub fn new(config: CusumConfig) -> Result<Self> {
        let sound = config.mean.abs() <= LARGEST
            && positive(config.std_dev)
            && positive(config.threshold)
            && (config.slack == 0.0 || positive(config.slack));
        if !sound {
            let reason = "needs a finite mean, positive std_dev and threshold, slack >= 0";
            return Err(Error::config("CUSUM", reason));
        }
        Ok(Cusum { config, inputs: Inputs::default(), rise: 0.0, fall: 0.0 })
    }
}

impl DriftDetector for Cusum {
    fn name(&self) -> &'static str {
        "CUSUM"
    }

    fn update(&mut self, value: f64) -> Signal {
        if !self.inputs.accept_number(value) {
            return Signal::Stable;
        }
        let CusumConfig { mean, std_dev, slack, threshold, direction } = self.config;
        let deviation = (value - mean) / std_dev;
        self.rise = (self.rise + deviation - slack).max(0.0);
        self.fall = (self.fall - deviation - slack).max(0.0);
        let rose = direction.up() && self.rise > threshold;
        let fell = direction.down() && self.fall > threshold;
        if rose || fell {
            self.reset();
            return Signal::Drift;
        }
        Signal::Stable
    }

    fn reset(&mut self) {
        let (config, inputs) = (self.config, self.inputs.restarted());
        *self = Cusum { config, inputs, rise: 0.0, fall: 0.0 };
    }

    fn inputs(&self) -> Inputs {
        self.inputs
    }
}
