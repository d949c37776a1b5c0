//! EDDM: the early drift detection method.

use serde::{Deserialize, Serialize};

use super::{DriftDetector, Inputs, Signal};
use crate::error::{Error, Result};

/// Parameters of an [`Eddm`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct EddmConfig {
    /// Values, and errors, before the first verdict.
    pub warm_up: u64,
    /// Ratio below which it warns.
    pub warning: f64,
    /// Ratio below which it is drift.
    pub drift: f64,
}

/// 30, 0.95 and 0.9, as published.
impl Default for EddmConfig {
    fn default() -> Self {
        EddmConfig { warm_up: 30, warning: 0.95, drift: 0.9 }
    }
}

/// Compares the distance between errors, mean plus two standard deviations, with the greatest it has been. Notices only
/// errors that come closer together. A warning lasts until an error takes it back.
///
/// Here because hosts know it: on stationary streams with 10 to 30 % of errors it raises 20 to 30 false alarms per 10,000
/// values. The variance is the sample's (n − 1), as in river; MOA takes the population's and alarms elsewhere.
///
/// Values: 0 or 1. O(1), 96 bytes. Source: Baena-García et al., "Early Drift Detection Method", 2006.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Eddm {
    config: EddmConfig,
    inputs: Inputs,
    /// Position of the last error, from 1; 0 for none.
    last_error: u64,
    errors: u64,
    /// Mean of the distances, and sum of their squared deviations.
    mean: f64,
    squares: f64,
    greatest: Option<f64>,
    warning: bool,
}

impl Eddm {
    /// # Errors
    /// `InvalidConfig` unless 0 < drift ≤ warning ≤ 1.
    pub fn new(config: EddmConfig) -> Result<Self> {
        let ordered = 0.0 < config.drift && config.drift <= config.warning && config.warning <= 1.0;
        if !ordered {
            return Err(Error::config("EDDM", "needs 0 < drift <= warning <= 1"));
        }
        Ok(Eddm::fresh(config, Inputs::default()))
    }

    fn fresh(config: EddmConfig, inputs: Inputs) -> Self {
        Eddm {
            config,
            inputs,
            last_error: 0,
            errors: 0,
            mean: 0.0,
            squares: 0.0,
            greatest: None,
            warning: false,
        }
    }

    fn warning(&self) -> Signal {
        if self.warning { Signal::Warning } else { Signal::Stable }
    }
}

impl DriftDetector for Eddm {
    fn name(&self) -> &'static str {
        "EDDM"
    }

    fn update(&mut self, value: f64) -> Signal {
        if !self.inputs.accept_error(value) {
            return Signal::Stable;
        }
        if value == 0.0 {
            return self.warning();
        }
        let distance = self.inputs.observed.saturating_sub(self.last_error) as f64;
        self.last_error = self.inputs.observed;
        self.errors += 1;
        let off = distance - self.mean;
        self.mean += off / self.errors as f64;
        self.squares += off * (distance - self.mean);
        if self.inputs.observed <= self.config.warm_up {
            return self.warning();
        }
        let variance = if self.errors > 1 { self.squares / (self.errors - 1) as f64 } else { 0.0 };
        let reach = self.mean + 2.0 * variance.sqrt();
        match self.greatest {
            Some(greatest) if reach <= greatest => {
                if self.errors > self.config.warm_up {
                    let ratio = reach / greatest;
                    if ratio < self.config.drift {
                        self.reset();
                        return Signal::Drift;
                    }
                    self.warning = ratio < self.config.warning;
                }
            }
            _ => self.greatest = Some(reach),
        }
        self.warning()
    }

    fn reset(&mut self) {
        *self = Eddm::fresh(self.config, self.inputs.restarted());
    }

    fn inputs(&self) -> Inputs {
        self.inputs
    }
}
