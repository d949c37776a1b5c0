//! DDM: the drift detection method.

use serde::{Deserialize, Serialize};

use super::{DriftDetector, Inputs, Signal, positive};
use crate::error::{Error, Result};

/// Parameters of a [`Ddm`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct DdmConfig {
    /// Values before the first verdict.
    pub warm_up: u64,
    /// Errors before the first verdict. Without a few of them the lowest error rate is that of a stretch that happened
    /// to be clean, and the next error alone makes an alarm.
    pub min_errors: u64,
    /// Whether half an error is added to the rate, (errors + ½) / (n + 1), so that it is never 0.
    pub smooth: bool,
    /// Standard deviations above the lowest level that warn.
    pub warning: f64,
    /// Standard deviations above the lowest level that are drift.
    pub drift: f64,
}

/// 30 values, 10 errors, smoothed, warning at 2 and drift at 3 standard deviations.
impl Default for DdmConfig {
    fn default() -> Self {
        DdmConfig { min_errors: 10, smooth: true, ..DdmConfig::published() }
    }
}

impl DdmConfig {
    /// The method as published and as river and MOA have it: no minimum of errors, no smoothing. On a stationary stream
    /// with 0.2 % of errors nearly every run of 5,000 values raises a false alarm.
    pub fn published() -> Self {
        DdmConfig { warm_up: 30, min_errors: 0, smooth: false, warning: 2.0, drift: 3.0 }
    }
}

/// Compares the error rate p, with its standard deviation s = √(p(1−p)/n), with the lowest p + s seen: warning above
/// pₘᵢₙ + 2 sₘᵢₙ, drift above pₘᵢₙ + 3 sₘᵢₙ. Notices only a rising rate.
///
/// Values: errors, or losses within `0.0..=1.0`. O(1), 72 bytes. Source: Gama, Medas, Castillo and Rodrigues, "Learning
/// with Drift Detection", SBIA 2004.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ddm {
    config: DdmConfig,
    inputs: Inputs,
    rate: f64,
    lowest: Option<Level>,
}

/// An error rate and its standard deviation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Level {
    rate: f64,
    deviation: f64,
}

impl Ddm {
    /// # Errors
    /// `InvalidConfig` unless 0 < warning ≤ drift.
    pub fn new(config: DdmConfig) -> Result<Self> {
        if !positive(config.warning) || !positive(config.drift) || config.warning > config.drift {
            return Err(Error::config("DDM", "needs 0 < warning <= drift"));
        }
        Ok(Ddm { config, inputs: Inputs::default(), rate: 0.0, lowest: None })
    }
}

impl DriftDetector for Ddm {
    fn name(&self) -> &'static str {
        "DDM"
    }

    fn update(&mut self, value: f64) -> Signal {
        if !self.inputs.accept_share(value) {
            return Signal::Stable;
        }
        let n = self.inputs.observed as f64;
        self.rate += (value - self.rate) / n;
        let errors = self.rate * n;
        if self.inputs.observed <= self.config.warm_up || errors < self.config.min_errors as f64 {
            return Signal::Stable;
        }
        let rate = if self.config.smooth { (errors + 0.5) / (n + 1.0) } else { self.rate };
        // Rounding may leave a rate of ones a hair above 1.
        let deviation = (rate * (1.0 - rate) / n).max(0.0).sqrt();
        let lowest = match self.lowest {
            Some(lowest) if rate + deviation > lowest.rate + lowest.deviation => lowest,
            _ => *self.lowest.insert(Level { rate, deviation }),
        };
        let above = |k: f64| rate + deviation > lowest.rate + k * lowest.deviation;
        if above(self.config.drift) {
            self.reset();
            return Signal::Drift;
        }
        if above(self.config.warning) { Signal::Warning } else { Signal::Stable }
    }

    fn reset(&mut self) {
        let (config, inputs) = (self.config, self.inputs.restarted());
        *self = Ddm { config, inputs, rate: 0.0, lowest: None };
    }

    fn inputs(&self) -> Inputs {
        self.inputs
    }
}
