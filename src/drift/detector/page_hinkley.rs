//! The Page–Hinkley test.

use serde::{Deserialize, Serialize};

use super::{Direction, DriftDetector, Inputs, Signal, positive};
use crate::error::{Error, Result};

/// Parameters of a [`PageHinkley`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PageHinkleyConfig {
    /// Values before the first verdict.
    pub warm_up: u64,
    /// What a value may be off the mean without counting, in units of `scale`.
    pub slack: f64,
    /// Sum of deviations that is drift, in units of `scale`.
    pub threshold: f64,
    /// What remains of the sum from one value to the next; 1 for all of it.
    pub memory: f64,
    /// The unit: one standard deviation of the reference, say. With it, amounts in cents and in euros give the same
    /// alarms.
    pub scale: f64,
    /// Which way a change must go.
    pub direction: Direction,
}

/// 30 values, slack 0.005, threshold 50, memory 0.9999, scale 1, both ways: river's defaults.
impl Default for PageHinkleyConfig {
    fn default() -> Self {
        PageHinkleyConfig {
            warm_up: 30,
            slack: 0.005,
            threshold: 50.0,
            memory: 0.9999,
            scale: 1.0,
            direction: Direction::Both,
        }
    }
}

/// Sums up how far each value lies above (below) the running mean, less a slack, and alarms when the sum has come a
/// threshold away from its extreme.
///
/// Values: any numbers. O(1), 120 bytes. Source: Page, "Continuous Inspection Schemes", Biometrika 41, 1954; the form with a fading
/// sum is the one of river and MOA. As in river, the sum that looks for a fall counts from −1 at the lowest.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PageHinkley {
    config: PageHinkleyConfig,
    inputs: Inputs,
    mean: f64,
    rise: f64,
    fall: f64,
    least_rise: f64,
    greatest_fall: f64,
}

impl PageHinkley {
    /// # Errors
    /// `InvalidConfig` unless threshold and scale are positive, slack is not negative, and memory lies within 0 to 1.
    pub fn new(config: PageHinkleyConfig) -> Result<Self> {
        let sound = positive(config.threshold)
            && positive(config.scale)
            && (config.slack == 0.0 || positive(config.slack))
            && (0.0..=1.0).contains(&config.memory);
        if !sound {
            let reason = "needs a positive threshold and scale, slack >= 0, 0 <= memory <= 1";
            return Err(Error::config("Page-Hinkley test", reason));
        }
        Ok(PageHinkley::fresh(config, Inputs::default()))
    }

    fn fresh(config: PageHinkleyConfig, inputs: Inputs) -> Self {
        PageHinkley {
            config,
            inputs,
            mean: 0.0,
            rise: 0.0,
            fall: 0.0,
            least_rise: f64::MAX,
            greatest_fall: -1.0,
        }
    }
}

impl DriftDetector for PageHinkley {
    fn name(&self) -> &'static str {
        "Page-Hinkley"
    }

    fn update(&mut self, value: f64) -> Signal {
        if !self.inputs.accept_number(value) {
            return Signal::Stable;
        }
        let PageHinkleyConfig { warm_up, slack, threshold, memory, scale, direction } = self.config;
        let value = value / scale;
        self.mean += (value - self.mean) / self.inputs.observed as f64;
        let deviation = value - self.mean;
        self.rise = memory * self.rise + deviation - slack;
        self.fall = memory * self.fall + deviation + slack;
        self.least_rise = self.least_rise.min(self.rise);
        self.greatest_fall = self.greatest_fall.max(self.fall);
        let rose = direction.up() && self.rise - self.least_rise > threshold;
        let fell = direction.down() && self.greatest_fall - self.fall > threshold;
        if self.inputs.observed >= warm_up && (rose || fell) {
            self.reset();
            return Signal::Drift;
        }
        Signal::Stable
    }

    fn reset(&mut self) {
        *self = PageHinkley::fresh(self.config, self.inputs.restarted());
    }

    fn inputs(&self) -> Inputs {
        self.inputs
    }
}
