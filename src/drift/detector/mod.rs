//! Streaming detectors: one value at a time in, a [`Signal`] out, in constant or logarithmic memory.
//!
//! | detector | values | what it notices | where it is weak |
//! |---|---|---|---|
//! | [`EDetector`] | any, bounded by a reference | a mean away from a reference, at a stated rate of false alarms | needs a reference, 30 positives for a rate |
//! | [`Adwin`] | any | a change of the mean, without a reference | slow on rare events |
//! | [`PageHinkley`], [`Cusum`] | any | a change of the mean | thresholds in units of the scale that the host states |
//! | [`Kswin`] | any | a change of the whole distribution | looks at 100 values, alarms often by chance |
//! | [`Ddm`], [`Eddm`], [`HddmA`], [`HddmW`], [`Stepd`] | errors, 0 or 1 | a rising error rate | blind or noisy on rates below a few per cent |
//! | [`AccuracyDrop`] | errors, 0 or 1 | accuracy below a reference by a fixed amount | cannot fire on rare events at all |
//!
//! Errors and frauds are `1.0`. Every detector starts anew after a [`Signal::Drift`], unless its docs say otherwise.

mod accuracy_drop;
mod adwin;
mod cusum;
mod ddm;
mod e_detector;
mod eddm;
mod hddm_a;
mod hddm_w;
mod kswin;
mod page_hinkley;
mod stepd;

pub use accuracy_drop::{AccuracyDrop, AccuracyDropConfig};
pub use adwin::{Adwin, AdwinConfig, AfterDrift};
pub use cusum::{Cusum, CusumConfig};
pub use ddm::{Ddm, DdmConfig};
pub use e_detector::{Baseline, EDetector, EDetectorConfig};
pub use eddm::{Eddm, EddmConfig};
pub use hddm_a::{HddmA, HddmAConfig};
pub use hddm_w::{HddmW, HddmWConfig};
pub use kswin::{Kswin, KswinConfig};
pub use page_hinkley::{PageHinkley, PageHinkleyConfig};
pub use stepd::{Stepd, StepdConfig};

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// What a detector says after a value.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
pub enum Signal {
    /// Nothing to report.
    #[default]
    Stable,
    /// Suspicious; not every detector knows this state.
    Warning,
    /// The stream has changed.
    Drift,
}

/// Watches a stream of numbers for a change.
///
/// # Contract
/// A value that the detector cannot use (NaN, infinite, larger than 1e100 in magnitude, for error streams anything
/// but what its docs allow) leaves its state as it was, is counted in [`inputs`](Self::inputs), and gets
/// [`Signal::Stable`]. The same values give the same signals. A clone shares nothing with its origin.
///
/// # Cost
/// [`update`](Self::update) does not allocate once the detector has seen its window; [`Kswin`] alone does, where it
/// compares.
pub trait DriftDetector: Debug + Send + Sync + 'static {
    /// Name for reports.
    fn name(&self) -> &'static str;

    /// Takes the next value of the stream.
    fn update(&mut self, value: f64) -> Signal;

    /// Forgets every value; configuration and the number of rejected values stay.
    fn reset(&mut self);

    /// How many values it was given.
    fn inputs(&self) -> Inputs;
}

/// Which way a change must go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// Only upwards: more errors, more fraud.
    #[default]
    Up,
    /// Only downwards.
    Down,
    /// Either way.
    Both,
}

impl Direction {
    fn up(self) -> bool {
        self != Direction::Down
    }

    fn down(self) -> bool {
        self != Direction::Up
    }
}

/// How large values of a stream are: what makes a detector's verdict independent of the unit they come in.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ValueRange {
    /// `0.0..=1.0`; other values are rejected. Errors, scores, rates.
    Unit,
    /// Known from a reference, such as its 0.1 % and 99.9 % quantiles; values outside are moved to the nearer end, so that
    /// one outlier cannot decide anything.
    Known {
        /// Lower end.
        low: f64,
        /// Upper end.
        high: f64,
    },
    /// So wide, wherever the values lie and whatever they do: published ADWIN takes 1.
    Width(f64),
    /// The least and the greatest value seen so far. One outlier widens it for good.
    #[default]
    Observed,
}

impl ValueRange {
    fn check(self, what: &'static str) -> Result<Self> {
        match self {
            ValueRange::Known { low, high }
                if !(low < high && low.abs() <= LARGEST && high.abs() <= LARGEST) =>
            {
                Err(Error::config(what, "a known range needs low < high, both finite"))
            }
            ValueRange::Width(width) if !positive(width) => {
                Err(Error::config(what, "the width of a range must be positive"))
            }
            _ => Ok(self),
        }
    }
}

/// The largest magnitude accepted: squares and their sums stay far from overflow.
const LARGEST: f64 = 1e100;

/// Values that a detector was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Inputs {
    /// Used since the start, the last [`reset`](DriftDetector::reset), or the last drift that the detector started anew after.
    pub observed: u64,
    /// Could not be used, since the detector was made.
    pub rejected: u64,
}

impl Inputs {
    /// Counts a value; whether it can be used.
    fn accept(&mut self, usable: bool) -> bool {
        if usable {
            self.observed += 1;
        } else {
            self.rejected += 1;
        }
        usable
    }

    fn accept_number(&mut self, value: f64) -> bool {
        self.accept(value.abs() <= LARGEST) // false for NaN
    }

    fn accept_share(&mut self, value: f64) -> bool {
        self.accept((0.0..=1.0).contains(&value))
    }

    fn accept_error(&mut self, value: f64) -> bool {
        self.accept(value == 0.0 || value == 1.0)
    }

    fn restarted(self) -> Inputs {
        Inputs { observed: 0, ..self }
    }
}

fn positive(value: f64) -> bool {
    value > 0.0 && value <= LARGEST
}

/// Whether a value is a probability that a logarithm can be taken of and that something can exceed.
fn open_share(value: f64) -> bool {
    value > 0.0 && value < 1.0
}

/// Any of the detectors here, as one type that can be kept in a field, cloned, and saved mid-stream by serde: restored,
/// it goes on as if nothing had happened.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
#[allow(missing_docs)] // a variant is its detector
pub enum AnyDetector {
    AccuracyDrop(AccuracyDrop),
    Adwin(Adwin),
    Cusum(Cusum),
    Ddm(Ddm),
    EDetector(EDetector),
    Eddm(Eddm),
    HddmA(HddmA),
    HddmW(HddmW),
    Kswin(Kswin),
    PageHinkley(PageHinkley),
    Stepd(Stepd),
}

macro_rules! each {
    ($any:expr, $detector:ident => $call:expr) => {
        match $any {
            AnyDetector::AccuracyDrop($detector) => $call,
            AnyDetector::Adwin($detector) => $call,
            AnyDetector::Cusum($detector) => $call,
            AnyDetector::Ddm($detector) => $call,
            AnyDetector::EDetector($detector) => $call,
            AnyDetector::Eddm($detector) => $call,
            AnyDetector::HddmA($detector) => $call,
            AnyDetector::HddmW($detector) => $call,
            AnyDetector::Kswin($detector) => $call,
            AnyDetector::PageHinkley($detector) => $call,
            AnyDetector::Stepd($detector) => $call,
        }
    };
}

impl DriftDetector for AnyDetector {
    fn name(&self) -> &'static str {
        each!(self, detector => detector.name())
    }

    fn update(&mut self, value: f64) -> Signal {
        each!(self, detector => detector.update(value))
    }

    fn reset(&mut self) {
        each!(self, detector => detector.reset());
    }

    fn inputs(&self) -> Inputs {
        each!(self, detector => detector.inputs())
    }
}
