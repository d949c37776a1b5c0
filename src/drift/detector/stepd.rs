//! STEPD: the statistical test of equal proportions.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{Direction, DriftDetector, Inputs, Signal, open_share};
use crate::error::{Error, Result};
use crate::stats::normal_two_sided;

/// Parameters of a [`Stepd`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct StepdConfig {
    /// Number of newest values compared with all before them, at most 65,536.
    pub window: usize,
    /// Significance of drift.
    pub drift: f64,
    /// Significance of a warning.
    pub warning: f64,
    /// Which way a change must go.
    pub direction: Direction,
}

/// 30 values, 0.003 and 0.05, both ways.
impl Default for StepdConfig {
    fn default() -> Self {
        StepdConfig { window: 30, drift: 0.003, warning: 0.05, direction: Direction::Both }
    }
}

/// Compares the error rate of the newest values with that of all before them: a two-sided z test of equal proportions
/// with continuity correction.
///
/// A window without any error, or a difference smaller than the correction, is no evidence; MOA divides by zero there and
/// alarms, on rare events again and again.
///
/// Values: 0 or 1. O(1), 80 bytes and a byte per value of the window. Source: Nishida and Yamauchi, "Detecting Concept Drift
/// Using Statistical Testing", 2007.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Stepd {
    config: StepdConfig,
    inputs: Inputs,
    newest: VecDeque<bool>,
    newest_errors: u64,
    older: u64,
    older_errors: u64,
}

impl Stepd {
    /// # Errors
    /// `InvalidConfig` unless 0 < drift ≤ warning < 1 and the window holds 1 to 65,536 values.
    pub fn new(config: StepdConfig) -> Result<Self> {
        let shares = open_share(config.drift) && open_share(config.warning);
        if !shares || config.drift > config.warning || !(1..=65_536).contains(&config.window) {
            let reason = "needs 0 < drift <= warning < 1 and a window of 1 to 65,536";
            return Err(Error::config("STEPD", reason));
        }
        Ok(Stepd::fresh(config, Inputs::default()))
    }

    fn fresh(config: StepdConfig, inputs: Inputs) -> Self {
        let newest = VecDeque::with_capacity(config.window + 1);
        Stepd { config, inputs, newest, newest_errors: 0, older: 0, older_errors: 0 }
    }

    fn p_value(&self) -> Option<f64> {
        let (older, newest) = (self.older as f64, self.newest.len() as f64);
        let errors = (self.older_errors + self.newest_errors) as f64;
        let pooled = errors / (older + newest);
        let difference = self.newest_errors as f64 / newest - self.older_errors as f64 / older;
        let towards = match self.config.direction {
            Direction::Up => difference > 0.0,
            Direction::Down => difference < 0.0,
            Direction::Both => true,
        };
        let q = 1.0 / older + 1.0 / newest;
        let excess = difference.abs() - q / 2.0;
        if !towards || excess <= 0.0 || !open_share(pooled) {
            return None;
        }
        let z = excess / (pooled * (1.0 - pooled) * q).sqrt();
        Some(normal_two_sided(z))
    }
}

impl DriftDetector for Stepd {
    fn name(&self) -> &'static str {
        "STEPD"
    }

    fn update(&mut self, value: f64) -> Signal {
        if !self.inputs.accept_error(value) {
            return Signal::Stable;
        }
        let error = value == 1.0;
        self.newest.push_back(error);
        self.newest_errors += u64::from(error);
        if self.newest.len() > self.config.window {
            let error = self.newest.pop_front().expect("just pushed");
            self.newest_errors = self.newest_errors.saturating_sub(u64::from(error));
            self.older += 1;
            self.older_errors += u64::from(error);
        }
        if self.older < self.config.window as u64 {
            return Signal::Stable;
        }
        match self.p_value() {
            Some(p) if p < self.config.drift => {
                self.reset();
                Signal::Drift
            }
            Some(p) if p < self.config.warning => Signal::Warning,
            _ => Signal::Stable,
        }
    }

    fn reset(&mut self) {
        self.inputs = self.inputs.restarted();
        self.newest.clear();
        (self.newest_errors, self.older, self.older_errors) = (0, 0, 0);
    }

    fn inputs(&self) -> Inputs {
        self.inputs
    }
}
