//! How parameters are looked for, and how long.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// How parameters are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum SearchStrategy {
    /// Every combination of so many values over each range, until the trials are used up.
    Grid {
        /// Values over each number's range, at least 1; choices are all tried.
        steps: usize,
    },
    /// Drawn at random: hard to beat where few parameters matter (Bergstra and Bengio 2012).
    Random,
    /// Drawn near what did well (TPE, Bergstra et al. 2011), after some random ones.
    Parzen {
        /// Random trials to begin with, at least 2.
        startup: u32,
    },
    /// Random ones, first on few rows; the best 1 / `keep_one_in` of them go on, on `keep_one_in` times as many rows, until all
    /// rows are reached (Jamieson and Talwalkar 2016).
    SuccessiveHalving {
        /// How many are started for each that goes on, at least 2.
        keep_one_in: u32,
        /// Rounds, the last of them on all rows; at least 2.
        rounds: u32,
    },
}

/// Parameters of a [`Tuner`](crate::train::Tuner).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct TunerConfig {
    /// How parameters are looked for.
    pub strategy: SearchStrategy,
    /// Most trials; of successive halving, those of the first round.
    pub trials: u32,
    /// Stop after so many trials without a better one; `None` does not stop. Not for successive halving.
    pub patience: Option<u32>,
}

/// 50 trials of the Parzen estimator, 10 of them random.
impl Default for TunerConfig {
    fn default() -> Self {
        TunerConfig { strategy: SearchStrategy::Parzen { startup: 10 }, trials: 50, patience: None }
    }
}

impl TunerConfig {
    pub(super) fn check(&self) -> Result<()> {
        let refuse = |reason: &str| Err(Error::config("tuner", reason));
        if self.trials == 0 || self.patience == Some(0) {
            return refuse("trials and patience must be at least 1");
        }
        match self.strategy {
            SearchStrategy::Grid { steps: 0 } => refuse("a grid needs at least 1 step"),
            SearchStrategy::Parzen { startup: 0 | 1 } => refuse("needs at least 2 random trials"),
            SearchStrategy::SuccessiveHalving { keep_one_in, rounds }
                if !(2..=100).contains(&keep_one_in) || !(2..=20).contains(&rounds) =>
            {
                refuse("keep_one_in must be 2 to 100, rounds 2 to 20")
            }
            SearchStrategy::SuccessiveHalving { .. } if self.patience.is_some() => {
                refuse("patience is not for successive halving")
            }
            _ => Ok(()),
        }
    }

    /// Trials of each round of successive halving.
    pub(super) fn round_sizes(&self, keep_one_in: u32, rounds: u32) -> Vec<u64> {
        let first = u64::from(self.trials);
        let size = |round: u32| (first / u64::from(keep_one_in).saturating_pow(round)).max(1);
        (0..rounds).map(size).collect()
    }

    /// Trials that there will be at most.
    pub(super) fn planned(&self) -> u64 {
        match self.strategy {
            SearchStrategy::SuccessiveHalving { keep_one_in, rounds } => {
                self.round_sizes(keep_one_in, rounds).iter().sum()
            }
            _ => u64::from(self.trials),
        }
    }
}
