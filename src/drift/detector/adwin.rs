//! ADWIN: a window that adapts its length.

use serde::{Deserialize, Serialize};

use super::{DriftDetector, Inputs, Signal, ValueRange, open_share};
use crate::error::{Error, Result};

/// Parameters of an [`Adwin`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct AdwinConfig {
    /// Confidence δ of each check.
    pub delta: f64,
    /// The window is checked every so many values.
    pub clock: u32,
    /// Buckets of a size before two of them become one of twice the size.
    pub max_buckets: usize,
    /// Values on both sides of a cut, at least.
    pub min_side: u64,
    /// Windows no longer than this are not checked.
    pub min_window: u64,
    /// Where the values lie: the bound on how far two means differ by chance depends on it.
    pub range: ValueRange,
    /// What remains of the window after a drift.
    pub after_drift: AfterDrift,
}

/// δ = 0.002, a check every 32 values, five buckets of a size, 5 values on each side, windows above 10; range as seen;
/// the window shrinks, and further cuts within 512 values belong to the same drift.
impl Default for AdwinConfig {
    fn default() -> Self {
        AdwinConfig {
            delta: 0.002,
            clock: 32,
            max_buckets: 5,
            min_side: 5,
            min_window: 10,
            range: ValueRange::Observed,
            after_drift: AfterDrift::Shrink { quiet: 512 },
        }
    }
}

/// What remains of the window after a drift.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum AfterDrift {
    /// The recent part, as in the paper and MOA. One change is often cut several times, check after check.
    Shrink {
        /// Cuts within so many values of the last signal shorten the window without another signal. With 0 every cut
        /// signals.
        quiet: u64,
    },
    /// Nothing: the detector starts anew, as river's class does.
    Reset,
}

/// Keeps a window of varying length and drops its older part when the means before and after some cut differ by more
/// than chance explains: |μ₀ − μ₁| > √(2 m σ² L) + ⅔ m L R, with L = ln(2 ln W / δ), m = 1/(n₀ − s + 1) + 1/(n₁ − s + 1)
/// for at least s values on a side, and R the range of the values. Needs no reference.
///
/// The published bound takes R for 1. On values of another size that makes it deaf (standard deviations of 10⁻⁴) or
/// jumpy (amounts), so R is a [`ValueRange`] here: with `Observed` or `Known`, `a·x + b` gives the alarms that `x` gives.
///
/// Sums are taken anew from the buckets whenever the window shrinks, so rounding never adds up and the variance never
/// turns negative.
///
/// O(log window) memory: about 16 bytes × (max_buckets + 1) × log₂(window / max_buckets), 2 KiB for a million values. O(1) per
/// value and O(log window) per check. Source: Bifet and Gavaldà, "Learning from Time-Changing Data with Adaptive
/// Windowing", SDM 2007; m as in MOA and river.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Adwin {
    config: AdwinConfig,
    inputs: Inputs,
    window: Window,
    /// Values until the next check.
    until_check: u32,
    /// Values until a cut signals again.
    quiet: u64,
    /// Least and greatest value seen, for [`ValueRange::Observed`].
    seen: Option<(f64, f64)>,
}

/// An exponential histogram: row i holds buckets of 2^i values each, oldest first; later rows are older.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
struct Window {
    rows: Vec<Vec<Bucket>>,
    width: u64,
    total: f64,
    /// Sum of squared deviations from the mean.
    squares: f64,
}

#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Bucket {
    total: f64,
    squares: f64,
}

impl Bucket {
    /// This bucket of `n` values and another of `m` as one.
    fn merged(self, n: f64, other: Bucket, m: f64) -> Bucket {
        let apart = self.total / n - other.total / m;
        let squares = self.squares + other.squares + n * m * apart * apart / (n + m);
        Bucket { total: self.total + other.total, squares }
    }
}

impl Window {
    fn push(&mut self, value: f64, max_buckets: usize) {
        if self.width > 0 {
            let n = self.width as f64;
            let apart = value - self.total / n;
            self.squares += n * apart * apart / (n + 1.0);
        }
        self.width += 1;
        self.total += value;
        let mut bucket = Bucket { total: value, squares: 0.0 };
        for i in 0.. {
            if i == self.rows.len() {
                self.rows.push(Vec::with_capacity(max_buckets + 1));
            }
            let row = &mut self.rows[i];
            row.push(bucket);
            if row.len() <= max_buckets {
                break;
            }
            let n = (1u64 << i) as f64;
            bucket = row[0].merged(n, row[1], n);
            row.drain(..2);
        }
    }

    /// Drops the oldest bucket and takes the sums anew.
    fn drop_oldest(&mut self) {
        if let Some(row) = self.rows.last_mut() {
            row.remove(0);
        }
        // A merge can leave the row before the last one empty only for a moment; an emptied last row goes.
        while self.rows.last().is_some_and(Vec::is_empty) {
            self.rows.pop();
        }
        let mut sum = Bucket { total: 0.0, squares: 0.0 };
        let mut width = 0;
        for (n, bucket) in self.buckets() {
            sum = if width == 0 { bucket } else { sum.merged(width as f64, bucket, n as f64) };
            width += n;
        }
        (self.width, self.total, self.squares) = (width, sum.total, sum.squares);
    }

    /// Number of values and sums of each bucket, oldest first.
    fn buckets(&self) -> impl Iterator<Item = (u64, Bucket)> + '_ {
        let rows = self.rows.iter().enumerate().rev();
        rows.flat_map(|(i, row)| row.iter().map(move |&bucket| (1 << i, bucket)))
    }

    /// Whether the means on both sides of some cut differ.
    fn is_cut(&self, config: &AdwinConfig, range: f64) -> bool {
        let width = self.width as f64;
        let log = (2.0 * width.ln() / config.delta).ln();
        let mean = self.total / width;
        // σ² = squares / width
        let spread = 2.0 * (self.squares / width) * log;
        let slope = 2.0 / 3.0 * log * range;
        let (mut n, mut total) = (0, 0.0);
        for (size, bucket) in self.buckets() {
            n += size;
            total += bucket.total;
            if self.width - n < config.min_side {
                return false;
            }
            if n < config.min_side {
                continue;
            }
            let (before, after) = (n as f64, (self.width - n) as f64);
            // |μ₀ − μ₁| = |Σ₀ − n₀ μ| W / (n₀ n₁), and m > W / (n₀ n₁): most cuts are ruled out without a division.
            let off = total - before * mean;
            if off * off * width <= spread * before * after {
                continue;
            }
            let side = config.min_side as f64 - 1.0;
            let m = 1.0 / (before - side) + 1.0 / (after - side);
            let bound = (m * spread).sqrt() + m * slope;
            if (total / before - (self.total - total) / after).abs() > bound {
                return true;
            }
        }
        false
    }
}

impl Adwin {
    /// # Errors
    /// `InvalidConfig` unless 0 < delta < 1, clock, min_side and max_buckets are at least 1 (max_buckets 2, at most 64),
    /// and a known range is one.
    pub fn new(config: AdwinConfig) -> Result<Self> {
        config.range.check("ADWIN")?;
        let sound = open_share(config.delta)
            && config.clock > 0
            && config.min_side > 0
            && (2..=64).contains(&config.max_buckets);
        if !sound {
            let reason = "needs 0 < delta < 1, clock and min_side >= 1, 2 to 64 buckets";
            return Err(Error::config("ADWIN", reason));
        }
        Ok(Adwin::fresh(config, Inputs::default()))
    }

    fn fresh(config: AdwinConfig, inputs: Inputs) -> Self {
        let window = Window::default();
        Adwin { config, inputs, window, until_check: config.clock, quiet: 0, seen: None }
    }

    /// Number of values in the window.
    pub fn width(&self) -> u64 {
        self.window.width
    }

    /// Mean of the window; `None` while it is empty.
    pub fn mean(&self) -> Option<f64> {
        (self.window.width > 0).then(|| self.window.total / self.window.width as f64)
    }

    /// Variance of the window (divided by its length); `None` while it is empty.
    pub fn variance(&self) -> Option<f64> {
        (self.window.width > 0).then(|| self.window.squares / self.window.width as f64)
    }

    /// The value to take in and the range it lies in; `None` for one that cannot be used.
    fn scaled(&mut self, value: f64) -> Option<(f64, f64)> {
        match self.config.range {
            ValueRange::Unit => self.inputs.accept_share(value).then_some((value, 1.0)),
            ValueRange::Width(width) => self.inputs.accept_number(value).then_some((value, width)),
            ValueRange::Known { low, high } => {
                self.inputs.accept_number(value).then(|| (value.clamp(low, high), high - low))
            }
            ValueRange::Observed => self.inputs.accept_number(value).then(|| {
                let (low, high) = self.seen.unwrap_or((value, value));
                let (low, high) = (low.min(value), high.max(value));
                self.seen = Some((low, high));
                (value, high - low)
            }),
        }
    }

    /// Shortens the window for as long as it has a cut; whether it had one.
    fn shrink(&mut self, range: f64) -> bool {
        let mut cut = false;
        while self.window.width > 0 && self.window.is_cut(&self.config, range) {
            self.window.drop_oldest();
            cut = true;
        }
        cut
    }
}

impl DriftDetector for Adwin {
    fn name(&self) -> &'static str {
        "ADWIN"
    }

    fn update(&mut self, value: f64) -> Signal {
        let Some((value, range)) = self.scaled(value) else {
            return Signal::Stable;
        };
        self.window.push(value, self.config.max_buckets);
        self.quiet = self.quiet.saturating_sub(1);
        self.until_check = self.until_check.saturating_sub(1);
        if self.until_check > 0 {
            return Signal::Stable;
        }
        self.until_check = self.config.clock;
        if self.window.width <= self.config.min_window || !self.shrink(range) {
            return Signal::Stable;
        }
        match self.config.after_drift {
            AfterDrift::Reset => self.reset(),
            AfterDrift::Shrink { .. } if self.quiet > 0 => return Signal::Stable,
            AfterDrift::Shrink { quiet } => self.quiet = quiet,
        }
        Signal::Drift
    }

    fn reset(&mut self) {
        *self = Adwin::fresh(self.config, self.inputs.restarted());
    }

    fn inputs(&self) -> Inputs {
        self.inputs
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seed::Seed;
    use rand_chacha::rand_core::RngCore;

    #[test]
    fn buckets_add_up_to_the_window_and_rows_stay_short() {
        let mut adwin = Adwin::new(AdwinConfig::default()).unwrap();
        let mut rng = Seed(3).rng();
        for i in 0..50_000u64 {
            let level = if i % 9000 < 4000 { 0.0 } else { 700.0 };
            adwin.update(level + (rng.next_u32() % 1000) as f64);
            let window = &adwin.window;
            assert!(window.rows.iter().all(|row| row.len() <= 5), "{i}");
            if i % 97 == 0 {
                let n: u64 = window.buckets().map(|(n, _)| n).sum();
                let total: f64 = window.buckets().map(|(_, b)| b.total).sum();
                assert_eq!(n, window.width);
                assert!((total - window.total).abs() <= 1e-9 * total.abs(), "{i}");
                assert!(window.squares >= 0.0);
            }
        }
        assert!(adwin.width() < 9000, "{}", adwin.width());
    }
}
