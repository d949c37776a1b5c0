//! KSWIN: Kolmogorov–Smirnov on a sliding window.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::{DriftDetector, Inputs, Signal, open_share};
use crate::error::{Error, Result};
use crate::seed::Seed;
use crate::stats::{ks_exact_p, ks_steps};

/// Parameters of a [`Kswin`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct KswinConfig {
    /// Significance of one comparison.
    pub alpha: f64,
    /// Values kept, at most 4,096.
    pub window: usize,
    /// Newest values that are compared with a sample of as many of the others; less than half of the window.
    pub recent: usize,
    /// Compares every so many values.
    pub clock: u32,
    /// Where in the older values the sample starts.
    pub seed: Seed,
}

/// 0.005, the newest 30 of 100, at every value.
impl Default for KswinConfig {
    fn default() -> Self {
        KswinConfig { alpha: 0.005, window: 100, recent: 30, clock: 1, seed: Seed(0) }
    }
}

/// Compares the newest values with an evenly spaced sample of the older ones in the window by the two-sample
/// Kolmogorov–Smirnov test, exact p-value; drift when it is significant and the distance is above 0.1. After a drift the newest
/// values remain.
///
/// Every value is another comparison on nearly the same data, so false alarms are many times more frequent than alpha:
/// for looking closer, not for waking somebody. The published method draws the sample at random; here it is every
/// (older / recent)-th value from a seeded start, so that a run can be repeated.
///
/// Values: any numbers. 8 bytes per value of the window; a comparison is O(recent × log recent). Source: Raab, Heusinger and
/// Schleif, "Reactive Soft Prototype Computing for Concept Drift Streams", Neurocomputing 416, 2020.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Kswin {
    config: KswinConfig,
    inputs: Inputs,
    values: VecDeque<f64>,
    until_check: u32,
    /// Smallest distance that is drift, in steps of 1 / recent².
    critical: u64,
}

impl Kswin {
    /// # Errors
    /// `InvalidConfig` unless 0 < alpha < 1, clock is at least 1, and the window of at most 4,096 values holds at least
    /// twice the recent ones, of which there is at least 1.
    pub fn new(config: KswinConfig) -> Result<Self> {
        let KswinConfig { alpha, window, recent, clock, .. } = config;
        let sizes = recent > 0 && window >= 2 * recent && window <= 4096;
        if !open_share(alpha) || clock == 0 || !sizes {
            let reason =
                "needs 0 < alpha < 1, clock >= 1, 1 <= recent <= window / 2, window <= 4096";
            return Err(Error::config("KSWIN", reason));
        }
        // Distances are multiples of 1/recent for two samples of that size.
        let recent = recent as u64;
        let significant = |k: u64| ks_exact_p(k * recent, recent, recent) <= alpha;
        let distances: Vec<u64> = (1..=recent).filter(|&k| 10 * k > recent).collect();
        // p falls with the distance.
        let first = distances.partition_point(|&k| !significant(k));
        let critical = distances.get(first).map_or(u64::MAX, |k| k * recent);
        let values = VecDeque::with_capacity(window + 1);
        Ok(Kswin { config, inputs: Inputs::default(), values, until_check: clock, critical })
    }

    /// Distance between the newest values and the sample, in steps of 1 / recent².
    fn distance(&mut self) -> u64 {
        let KswinConfig { recent, seed, .. } = self.config;
        let values = self.values.make_contiguous();
        let older = values.len() - recent;
        let start = seed.derive("kswin", 0).0 as usize % (older / recent).max(1);
        let sample = |i: usize| values[(start + i * older / recent).min(older - 1)];
        let mut old: Vec<f64> = (0..recent).map(sample).collect();
        let mut new = values[older..].to_vec();
        old.sort_unstable_by(f64::total_cmp);
        new.sort_unstable_by(f64::total_cmp);
        ks_steps(&old, &new)
    }
}

impl DriftDetector for Kswin {
    fn name(&self) -> &'static str {
        "KSWIN"
    }

    fn update(&mut self, value: f64) -> Signal {
        if !self.inputs.accept_number(value) {
            return Signal::Stable;
        }
        self.values.push_back(value + 0.0); // -0.0 becomes 0.0: equal values must sort as equal
        if self.values.len() > self.config.window {
            self.values.pop_front();
        }
        self.until_check = self.until_check.saturating_sub(1);
        if self.until_check > 0 || self.values.len() < self.config.window {
            self.until_check = self.until_check.max(1);
            return Signal::Stable;
        }
        self.until_check = self.config.clock;
        if self.distance() < self.critical {
            return Signal::Stable;
        }
        self.values.drain(..self.values.len() - self.config.recent);
        Signal::Drift
    }

    fn reset(&mut self) {
        self.inputs = self.inputs.restarted();
        self.values.clear();
        self.until_check = self.config.clock;
    }

    fn inputs(&self) -> Inputs {
        self.inputs
    }
}
