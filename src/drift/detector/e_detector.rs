//! The mixture Shiryaev–Roberts e-detector: drift at a stated rate of false alarms.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Direction, DriftDetector, Inputs, Signal, ValueRange, open_share, positive};
use crate::error::{Error, Result};

/// Parameters of an [`EDetector`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EDetectorConfig {
    /// Average number of values from start or alarm to the next false alarm, at least. Several detectors that are to keep
    /// it together take it times their number.
    pub run_length: f64,
    /// The mean before any change.
    pub baseline: Baseline,
    /// Which way a change must go.
    pub direction: Direction,
    /// Where the values lie: [`Unit`](ValueRange::Unit) for errors, frauds and scores, otherwise
    /// [`Known`](ValueRange::Known), with a baseline taken from values that were moved into the range likewise. The others
    /// are refused: the guarantee needs bounds that are known beforehand.
    pub range: ValueRange,
}

impl EDetectorConfig {
    /// Rises of a rate or of a score, one false alarm in 100,000 values at most.
    pub fn new(baseline: Baseline) -> Self {
        let (direction, range) = (Direction::Up, ValueRange::Unit);
        EDetectorConfig { run_length: 1e5, baseline, direction, range }
    }
}

/// The mean before any change, and how well it is known.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Baseline {
    /// Known, in the units of the values.
    Mean(f64),
    /// A rate of 0s and 1s estimated from a reference. One standard error is allowed for, in the direction watched.
    Rate {
        /// Rows of the reference.
        n: u64,
        /// Rows among them that were 1; at least 30.
        positives: u64,
    },
    /// A mean estimated from a reference. One standard error is allowed for, in the direction watched.
    Sample {
        /// Rows of the reference, at least 30.
        n: u64,
        /// Their mean.
        mean: f64,
        /// Their standard deviation.
        std_dev: f64,
    },
}

/// Bets, at every value, that the mean has moved by one of six factors, and alarms when the winnings reach the stated
/// run length.
///
/// For values x in `0.0..=1.0` whose mean, given the past, is at most p₀, each 1 + λₖ(x − p₀) with 0 ≤ λₖ < 1/p₀ is an
/// e-value, whatever the distribution. Rₖ ← (Rₖ + 1)(1 + λₖ(x − p₀)) and R = ⅙ Σ Rₖ; an alarm when R ≥ `run_length`.
/// R − t is a supermartingale, so the average run to a false alarm is at least `run_length`: not asymptotically, for
/// any dependence between values that keeps their conditional mean, for any distribution. λₖ = (p₁ₖ − p₀)/(p₀(1 − p₀)) with
/// p₁ₖ = p₀ × {1.15, 1.35, 1.7, 2.3, 3.5, 6}, the best bet where p₁ₖ is the new rate of 0s and 1s. A fall is a rise of
/// 1 − x; both ways share the stated rate.
///
/// Made for rates of 0.1 to 1 %, where the other detectors are slow, noisy or deaf: from 0.2 % to 0.8 % of frauds it
/// takes some 800 rows when p₀ is known and 1,050 with p₀ from 20,000 reference rows.
///
/// **It must know the mean before.** A short reference makes the allowance for its error so wide that little is ever
/// noticed, and p₀ guessed too low makes alarms of nothing; that is why a [`Baseline::Rate`] with fewer than 30 positives is
/// refused. Take it from the training data, or use [`Adwin`](super::Adwin), which needs no reference. A mean that moves
/// with the hour is not a change: give each value its own baseline by [`update_against`](Self::update_against), from a
/// [`SeasonalBaseline`](crate::drift::SeasonalBaseline).
///
/// The run length counts values; [`run_time`](Self::run_time) makes time of it.
///
/// O(1), 200 bytes. Source: Shin, Ramdas and Rinaldo, "E-detectors", New England Journal of Statistics in Data Science 2023;
/// betting e-values after Waudby-Smith and Ramdas, JRSS B 86(1), 2024.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EDetector {
    config: EDetectorConfig,
    inputs: Inputs,
    /// Bounds of the mean before a change, on the unit scale: it lies at or below the first, at or above the second.
    upper: f64,
    lower: f64,
    rise: Wealth,
    fall: Wealth,
}

/// How many times the mean before a change its bets say it may be.
const FACTORS: [f64; 6] = [1.15, 1.35, 1.7, 2.3, 3.5, 6.0];
/// Fewest positives, or rows of numbers, that a reference may rest on.
const FEWEST: u64 = 30;

/// Winnings of the bets on a mean above a bound.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Wealth {
    bets: [f64; 6],
    wealth: [f64; 6],
}

/// λ of each bet against a mean of `p`, `0 < p < 1`.
fn bets(p: f64) -> [f64; 6] {
    // A mean of 0.5 cannot rise sixfold: nine tenths of the way to 1 is as far as a bet goes.
    let furthest = p + 0.9 * (1.0 - p);
    FACTORS.map(|factor| ((factor * p).min(furthest) - p) / (p * (1.0 - p)))
}

impl Wealth {
    fn new(p: f64) -> Self {
        Wealth { bets: bets(p), wealth: [0.0; 6] }
    }

    /// Takes a value that lies `deviation` above the bound; the winnings after it.
    #[inline]
    fn bet(&mut self, deviation: f64, bets: &[f64; 6]) -> f64 {
        let mut sum = 0.0;
        for (wealth, bet) in self.wealth.iter_mut().zip(bets) {
            // Below `run_length` × 6 before this value and at most six times that after it: no overflow.
            *wealth = (*wealth + 1.0) * (1.0 + bet * deviation);
            sum += *wealth;
        }
        sum / FACTORS.len() as f64
    }
}

impl EDetector {
    /// # Errors
    /// `InvalidConfig` for a run length outside 1 to 10¹², a range that is not known beforehand, a baseline outside the range or at
    /// an end of it where the direction leaves nothing to bet on, or one that rests on too little.
    pub fn new(config: EDetectorConfig) -> Result<Self> {
        const WHAT: &str = "e-detector";
        config.range.check(WHAT)?;
        if !(1.0..=1e12).contains(&config.run_length) {
            return Err(Error::config(WHAT, "run_length lies within 1 to 1e12"));
        }
        let (low, width) = match config.range {
            ValueRange::Unit => (0.0, 1.0),
            ValueRange::Known { low, high } => (low, high - low),
            ValueRange::Width(_) | ValueRange::Observed => {
                let reason =
                    "a range known beforehand is needed, such as the reference's quantiles";
                return Err(Error::config(WHAT, reason));
            }
        };
        let (mean, error) = config.baseline.estimate()?;
        let (mean, error) = ((mean - low) / width, error / width);
        let (upper, lower) = (mean + error, mean - error);
        let direction = config.direction;
        let sound = (0.0..=1.0).contains(&mean)
            && (!direction.up() || open_share(upper))
            && (!direction.down() || open_share(lower));
        if !sound {
            let reason = format!(
                "a baseline of {mean:.6} ± {error:.6} (on a scale of 0 to 1) leaves no room to bet"
            );
            return Err(Error::config(WHAT, reason));
        }
        Ok(EDetector::fresh(config, Inputs::default(), upper, lower))
    }

    fn fresh(config: EDetectorConfig, inputs: Inputs, upper: f64, lower: f64) -> Self {
        let (rise, fall) = (Wealth::new(upper), Wealth::new(1.0 - lower));
        EDetector { config, inputs, upper, lower, rise, fall }
    }

    /// [`update`](DriftDetector::update) with a mean of its own to expect for this value, in the values' units: the
    /// season's, or the probability that a model gave the row, which makes this a test of the model's calibration. `expected`
    /// must be known before the value is. A value whose expectation is not strictly within the range is rejected.
    pub fn update_against(&mut self, value: f64, expected: f64) -> Signal {
        let expected = self.unit(expected);
        let usable = open_share(expected) && self.is_usable(value);
        if !self.inputs.accept(usable) {
            return Signal::Stable;
        }
        let value = self.unit(value);
        let rise = self.config.direction.up();
        let rise = if rise { self.rise.bet(value - expected, &bets(expected)) } else { 0.0 };
        let fall = self.config.direction.down();
        let against = bets(1.0 - expected);
        let fall = if fall { self.fall.bet(expected - value, &against) } else { 0.0 };
        self.judge(rise, fall)
    }

    /// The winnings, from 0 up to the run length, at which it alarms: how far it is from an alarm.
    pub fn evidence(&self) -> f64 {
        let mean = |wealth: &Wealth| wealth.wealth.iter().sum::<f64>() / FACTORS.len() as f64;
        match self.config.direction {
            Direction::Up => mean(&self.rise),
            Direction::Down => mean(&self.fall),
            Direction::Both => (mean(&self.rise) + mean(&self.fall)) / 2.0,
        }
    }

    /// The stated average run length as time, at a rate of values per second; `None` unless the rate is positive.
    pub fn run_time(&self, values_per_second: f64) -> Option<Duration> {
        let seconds = self.config.run_length / values_per_second;
        positive(values_per_second).then(|| Duration::try_from_secs_f64(seconds).ok()).flatten()
    }

    fn is_usable(&self, value: f64) -> bool {
        match self.config.range {
            ValueRange::Unit => (0.0..=1.0).contains(&value),
            _ => value.is_finite(),
        }
    }

    /// A value on the unit scale; outliers at its ends.
    fn unit(&self, value: f64) -> f64 {
        match self.config.range {
            ValueRange::Known { low, high } => ((value - low) / (high - low)).clamp(0.0, 1.0),
            _ => value,
        }
    }

    fn judge(&mut self, rise: f64, fall: f64) -> Signal {
        // Half of the stake on each way, where both are watched.
        let winnings = match self.config.direction {
            Direction::Both => (rise + fall) / 2.0,
            _ => rise + fall,
        };
        if winnings < self.config.run_length {
            return Signal::Stable;
        }
        self.reset();
        Signal::Drift
    }
}

impl Baseline {
    /// The mean and its standard error.
    fn estimate(self) -> Result<(f64, f64)> {
        const WHAT: &str = "baseline of the e-detector";
        match self {
            Baseline::Mean(mean) if mean.is_finite() => Ok((mean, 0.0)),
            Baseline::Mean(_) => Err(Error::config(WHAT, "the mean is not finite")),
            Baseline::Rate { n, positives } => {
                if positives < FEWEST || positives > n {
                    let reason = format!(
                        "{positives} positives in {n} rows: at least {FEWEST} are needed, below \
                         that the rate is known too badly to state a rate of false alarms and \
                         still notice anything; take a longer reference, or ADWIN"
                    );
                    return Err(Error::config(WHAT, reason));
                }
                let rate = positives as f64 / n as f64;
                Ok((rate, (rate * (1.0 - rate) / n as f64).sqrt()))
            }
            Baseline::Sample { n, mean, std_dev } => {
                let sound = mean.is_finite() && std_dev >= 0.0 && std_dev.is_finite();
                if n < FEWEST || !sound {
                    let reason = format!(
                        "mean {mean}, standard deviation {std_dev} of {n} rows: finite numbers \
                         and at least {FEWEST} rows are needed"
                    );
                    return Err(Error::config(WHAT, reason));
                }
                Ok((mean, std_dev / (n as f64).sqrt()))
            }
        }
    }
}

impl DriftDetector for EDetector {
    fn name(&self) -> &'static str {
        "e-detector"
    }

    fn update(&mut self, value: f64) -> Signal {
        let usable = self.is_usable(value);
        if !self.inputs.accept(usable) {
            return Signal::Stable;
        }
        let value = self.unit(value);
        let (mut rise, mut fall) = (0.0, 0.0);
        if self.config.direction.up() {
            let bets = self.rise.bets;
            rise = self.rise.bet(value - self.upper, &bets);
        }
        if self.config.direction.down() {
            let bets = self.fall.bets;
            fall = self.fall.bet(self.lower - value, &bets);
        }
        self.judge(rise, fall)
    }

    fn reset(&mut self) {
        self.inputs = self.inputs.restarted();
        self.rise.wealth = [0.0; 6];
        self.fall.wealth = [0.0; 6];
    }

    fn inputs(&self) -> Inputs {
        self.inputs
    }
}
