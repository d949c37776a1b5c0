//! Scores into probabilities.

mod beta;
mod isotonic;
mod model;
mod platt;
mod trainer;

pub use model::CalibratedModel;
pub use trainer::CalibratedTrainer;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::{Error, Result};
use crate::model::sigmoid;

/// A map from scores to probabilities of bad that does not change their order. Fit it on rows that the model was not trained
/// on, later ones with mature labels at best.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Calibrator {
    /// 1 / (1 + exp(a · score + b)) (Platt 1999).
    Platt {
        /// Slope; below 0 where high scores are bad.
        a: f64,
        /// Intercept.
        b: f64,
    },
    /// Straight lines between points; beyond them the ends.
    Isotonic {
        /// Scores, rising.
        #[serde(deserialize_with = "codec::exact")]
        scores: Vec<f64>,
        /// Probabilities, not falling.
        #[serde(deserialize_with = "codec::exact")]
        probabilities: Vec<f64>,
    },
    /// sigmoid(a · ln p − b · ln(1 − p) + c) (Kull, Silva Filho and Flach 2017).
    Beta {
        /// Of ln p, at least 0.
        a: f64,
        /// Of −ln(1 − p), at least 0.
        b: f64,
        /// Intercept.
        c: f64,
    },
    /// From the bad rate of training to another one: odds times the ratio of the two odds (Saerens et al. 2002).
    PriorShift {
        /// Bad rate that the scores stand for.
        from: f64,
        /// Bad rate that they should stand for.
        to: f64,
    },
    /// From scores of a model whose training kept this share of the good rows: p = k s / (k s + 1 − s) (Dal Pozzolo et al.
    /// 2015).
    Undersampling {
        /// Share of good rows kept, above 0 and at most 1.
        kept: f64,
    },
}

/// How a [`Calibrator`] is fitted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum CalibrationMethod {
    /// Platt's sigmoid, on his smoothed targets (N₊ + 1) / (N₊ + 2) and 1 / (N₋ + 2): two numbers, so that some hundred rows
    /// do.
    Platt,
    /// The best fit that does not fall, by pooling adjacent violators; rows of one score are pooled first. It takes thousands
    /// of rows, and ties what it pools.
    Isotonic,
    /// A logistic regression on ln p and −ln(1 − p), neither of which may have a negative coefficient: scores that are
    /// probabilities already stay as they are. Scores must lie within 0 to 1; they are held 1e-12 away from both.
    Beta,
}

impl Calibrator {
    /// Fits rows that the model was not trained on; they weigh what `weights` says, 1 without. O(n log n).
    ///
    /// # Errors
    /// `InvalidInput` for lists of different lengths, a score that is not finite (for beta calibration: outside 0 to 1), or
    /// unsound weights; `OneClass`; `Training` where Platt's method finds all scores equal, or beta calibration the labels
    /// separated by them.
    pub fn fit(
        method: CalibrationMethod,
        labels: &[bool],
        scores: &[f64],
        weights: Option<&[f64]>,
    ) -> Result<Self> {
        check(labels, scores, weights)?;
        match method {
            CalibrationMethod::Platt => platt::fit(labels, scores, weights),
            CalibrationMethod::Isotonic => Ok(isotonic::fit(labels, scores, weights)),
            CalibrationMethod::Beta => beta::fit(labels, scores, weights),
        }
    }

    /// The probability of a score; NaN, no score, stays NaN.
    pub fn probability(&self, score: f64) -> f64 {
        if score.is_nan() {
            return f64::NAN;
        }
        match self {
            Calibrator::Platt { a, b } => sigmoid(-(a * score + b)),
            Calibrator::Beta { a, b, c } => {
                let [of_bad, of_good] = beta::logs(score);
                sigmoid(a * of_bad - b * of_good + c)
            }
            Calibrator::PriorShift { from, to } => {
                let (bad, good) = (score * to / from, (1.0 - score) * (1.0 - to) / (1.0 - from));
                bad / (bad + good)
            }
            Calibrator::Undersampling { kept } => kept * score / (kept * score + 1.0 - score),
            Calibrator::Isotonic { scores, probabilities } => {
                let above = scores.partition_point(|x| *x < score);
                let (Some(&x1), Some(&y1)) = (scores.get(above), probabilities.get(above)) else {
                    return probabilities[probabilities.len() - 1];
                };
                if above == 0 || x1 == score {
                    return y1;
                }
                let (x0, y0) = (scores[above - 1], probabilities[above - 1]);
                y0 + (y1 - y0) * ((score - x0) / (x1 - x0))
            }
        }
    }

    fn is_sound(&self) -> bool {
        let share = |p: f64| p > 0.0 && p < 1.0;
        match self {
            Calibrator::Platt { a, b } => a.is_finite() && b.is_finite(),
            Calibrator::Beta { a, b, c } => [a, b, c].iter().all(|n| n.is_finite()),
            Calibrator::PriorShift { from, to } => share(*from) && share(*to),
            Calibrator::Undersampling { kept } => *kept > 0.0 && *kept <= 1.0,
            Calibrator::Isotonic { scores, probabilities } => {
                !scores.is_empty()
                    && scores.len() == probabilities.len()
                    && scores.iter().all(|score| score.is_finite())
                    && scores.windows(2).all(|pair| pair[0] < pair[1])
                    && probabilities.iter().all(|p| (0.0..=1.0).contains(p))
                    && probabilities.windows(2).all(|pair| pair[0] <= pair[1])
            }
        }
    }
}

fn check(labels: &[bool], scores: &[f64], weights: Option<&[f64]>) -> Result<()> {
    if labels.len() != scores.len() {
        let reason = format!("{} for {} labels", scores.len(), labels.len());
        return Err(Error::input("scores", reason));
    }
    if let Some(row) = scores.iter().position(|score| !score.is_finite()) {
        return Err(Error::input("scores", format!("row {row} has {}", scores[row])));
    }
    let sound = |weights: &[f64]| {
        weights.len() == scores.len() && weights.iter().all(|w| *w >= 0.0 && w.is_finite())
    };
    if !weights.is_none_or(sound) {
        return Err(Error::input("weights", "one per row is needed, finite and not negative"));
    }
    let counts = |row: &usize| weights.is_none_or(|weights| weights[*row] > 0.0);
    let rows = || (0..labels.len()).filter(counts);
    let (n_rows, n_bad) = (rows().count(), rows().filter(|&row| labels[row]).count());
    if n_bad == 0 || n_bad == n_rows {
        return Err(Error::OneClass { what: "calibration".into(), n_rows, label: n_bad > 0 });
    }
    Ok(())
}

fn weight(weights: Option<&[f64]>, row: usize) -> f64 {
    weights.map_or(1.0, |weights| weights[row])
}
