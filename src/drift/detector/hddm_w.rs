//! HDDM-W: McDiarmid's inequality on weighted averages.

use serde::{Deserialize, Serialize};

use super::{Direction, DriftDetector, Inputs, Signal, open_share};
use crate::error::{Error, Result};

/// Parameters of an [`HddmW`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct HddmWConfig {
    /// Significance of drift.
    pub drift: f64,
    /// Significance of a warning.
    pub warning: f64,
    /// Weight of the newest value.
    pub lambda: f64,
    /// Which way a change must go.
    pub direction: Direction,
}

/// 0.001, 0.005 and 0.05, upwards only.
impl Default for HddmWConfig {
    fn default() -> Self {
        HddmWConfig { drift: 0.001, warning: 0.005, lambda: 0.05, direction: Direction::Up }
    }
}

/// Compares two exponentially weighted means: of all values at the moment where it was lowest (highest), and of those
/// since then. Quicker than [`HddmA`](super::HddmA) on abrupt changes; its bound ends at about the 20 newest values, so on
/// rates of a few per cent it notices nothing at all.
///
/// The weight of a single value enters the bound as in river; MOA counts the first value fully and may alarm one value
/// later.
///
/// Values: `0.0..=1.0`. O(1), 208 bytes. Source: Frías-Blanco et al., IEEE TKDE 27(3), 2015.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct HddmW {
    config: HddmWConfig,
    inputs: Inputs,
    all: Option<Weighted>,
    rise: Split,
    fall: Split,
}

/// A weighted mean, and the sum of the squared weights in it.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Weighted {
    mean: f64,
    weights: f64,
}

impl Weighted {
    fn next(this: Option<Weighted>, value: f64, lambda: f64) -> Weighted {
        let keep = 1.0 - lambda;
        let (mean, weights) = match this {
            Some(before) => (lambda * value + keep * before.mean, before.weights),
            None => (value, 1.0),
        };
        Weighted { mean, weights: lambda * lambda + keep * keep * weights }
    }
}

/// The mean at its extreme, the bound it had there, and the mean since.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
struct Split {
    extreme: Option<(f64, Weighted)>,
    since: Option<Weighted>,
}

impl Split {
    /// `sign` is 1 to look for a rise, −1 for a fall.
    fn update(&mut self, value: f64, all: Weighted, sign: f64, config: &HddmWConfig) {
        let bound = sign * all.mean + mcdiarmid(all.weights, config.drift);
        if self.extreme.is_none_or(|(least, _)| bound < least) {
            *self = Split { extreme: Some((bound, all)), since: None };
        } else {
            self.since = Some(Weighted::next(self.since, value, config.lambda));
        }
    }

    fn moved(&self, sign: f64, significance: f64) -> bool {
        let (Some((_, before)), Some(since)) = (self.extreme, self.since) else {
            return false;
        };
        let bound = mcdiarmid(before.weights + since.weights, significance);
        sign * (since.mean - before.mean) > bound
    }
}

fn mcdiarmid(weights: f64, significance: f64) -> f64 {
    (weights * (1.0 / significance).ln() / 2.0).sqrt()
}

impl HddmW {
    /// # Errors
    /// `InvalidConfig` unless 0 < drift ≤ warning < 1 and 0 < lambda < 1.
    pub fn new(config: HddmWConfig) -> Result<Self> {
        let shares = [config.drift, config.warning, config.lambda].into_iter().all(open_share);
        if !shares || config.drift > config.warning {
            return Err(Error::config("HDDM-W", "needs 0 < drift <= warning < 1, 0 < lambda < 1"));
        }
        Ok(HddmW::fresh(config, Inputs::default()))
    }

    fn fresh(config: HddmWConfig, inputs: Inputs) -> Self {
        HddmW { config, inputs, all: None, rise: Split::default(), fall: Split::default() }
    }
}

impl DriftDetector for HddmW {
    fn name(&self) -> &'static str {
        "HDDM-W"
    }

    fn update(&mut self, value: f64) -> Signal {
        if !self.inputs.accept_share(value) {
            return Signal::Stable;
        }
        let all = *self.all.insert(Weighted::next(self.all, value, self.config.lambda));
        let direction = self.config.direction;
        if direction.up() {
            self.rise.update(value, all, 1.0, &self.config);
        }
        if direction.down() {
            self.fall.update(value, all, -1.0, &self.config);
        }
        // A side that is not watched has no extreme, and so never moves.
        let moved = |significance| {
            self.rise.moved(1.0, significance) || self.fall.moved(-1.0, significance)
        };
        if moved(self.config.drift) {
            self.reset();
            return Signal::Drift;
        }
        if moved(self.config.warning) { Signal::Warning } else { Signal::Stable }
    }

    fn reset(&mut self) {
        *self = HddmW::fresh(self.config, self.inputs.restarted());
    }

    fn inputs(&self) -> Inputs {
        self.inputs
    }
}
