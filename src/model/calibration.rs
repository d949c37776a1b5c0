//! Scores into probabilities.

use std::sync::Arc;

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Reader};
use crate::dataset::{Dataset, shuffle};
use crate::error::{Error, Result};
use crate::model::logistic_regression::{
    LogisticRegression, LogisticRegressionConfig, Sign, Signs,
};
use crate::model::{Explainer, Fitted, Model, ModelCodecs, Trainer, sigmoid};
use crate::schema::FeatureSchema;
use crate::seed::Seed;
use crate::stats::Cholesky;

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
        #[serde(deserialize_with = "codec::modest")]
        scores: Vec<f64>,
        /// Probabilities, not falling.
        #[serde(deserialize_with = "codec::modest")]
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

impl Calibrator {
    /// Platt's sigmoid, by Newton's method on his smoothed targets (N₊ + 1) / (N₊ + 2) and 1 / (N₋ + 2).
    ///
    /// # Errors
    /// Those of all fits: `InvalidInput` for lists of different lengths or a score that is not finite; `OneClass`. `Training`
    /// if all scores are equal.
    pub fn platt(labels: &[bool], scores: &[f64]) -> Result<Self> {
        check(labels, scores)?;
        let n_bad = labels.iter().filter(|bad| **bad).count() as f64;
        let n_good = labels.len() as f64 - n_bad;
        let (high, low) = ((n_bad + 1.0) / (n_bad + 2.0), 1.0 / (n_good + 2.0));
        // Newton in a standardised score, for the sake of the equations.
        let n = labels.len() as f64;
        let mean = scores.iter().sum::<f64>() / n;
        let scale = (scores.iter().map(|s| (s - mean) * (s - mean)).sum::<f64>() / n).sqrt();
        let gave_up =
            |reason: &str| Error::Training { trainer: "Platt scaling", reason: reason.into() };
        if scale <= mean.abs() * 1e-14 {
            return Err(gave_up("all scores are equal"));
        }
        let rows = || {
            labels
                .iter()
                .zip(scores)
                .map(|(&bad, &score)| ((score - mean) / scale, if bad { high } else { low }))
        };
        let loss = |slope: f64, intercept: f64| -> f64 {
            rows()
                .map(|(x, target)| {
                    let margin = slope * x + intercept;
                    margin.max(0.0) + (-margin.abs()).exp().ln_1p() - target * margin
                })
                .sum()
        };
        let (mut slope, mut intercept) = (0.0, ((n_bad + 1.0) / (n_good + 1.0)).ln());
        let mut here = loss(slope, intercept);
        for _ in 0..100 {
            let (mut gradient, mut curvature) = ([0.0; 2], [0.0; 4]);
            for (x, target) in rows() {
                let p = sigmoid(slope * x + intercept);
                let (residual, spread) = (p - target, p * (1.0 - p));
                gradient = [gradient[0] + residual * x, gradient[1] + residual];
                curvature = [
                    curvature[0] + spread * x * x,
                    0.0,
                    curvature[2] + spread * x,
                    curvature[3] + spread,
                ];
            }
            let mut step = [-gradient[0], -gradient[1]];
            Cholesky::new(&curvature, 2)
                .ok_or_else(|| gave_up("the scores are too few"))?
                .solve(&mut step);
            let mut length = 1.0;
            let mut there = loss(slope + step[0], intercept + step[1]);
            while there > here + 1e-13 * here.abs() && length > 1e-9 {
                length /= 2.0;
                there = loss(slope + length * step[0], intercept + length * step[1]);
            }
            (slope, intercept, here) =
                (slope + length * step[0], intercept + length * step[1], there);
            if step[0].abs().max(step[1].abs()) < 1e-13 * (1.0 + slope.abs().max(intercept.abs())) {
                break;
            }
        }
        Ok(Calibrator::Platt { a: -slope / scale, b: slope * mean / scale - intercept })
    }

    /// The best fit that does not fall, by pooling adjacent violators; rows of one score are pooled first. Rows weigh what
    /// `weights` says, 1 without.
    ///
    /// # Errors
    /// See [`platt`](Self::platt); `InvalidInput` also for a weight that is negative or not finite, or weights that are all 0.
    pub fn isotonic(labels: &[bool], scores: &[f64], weights: Option<&[f64]>) -> Result<Self> {
        check(labels, scores)?;
        let targets: Vec<f64> = labels.iter().map(|&bad| f64::from(u8::from(bad))).collect();
        let (scores, probabilities) = pool(scores, &targets, weights)?;
        Ok(Calibrator::Isotonic { scores, probabilities })
    }

    /// Beta calibration of scores within 0 to 1: a logistic regression on ln p and −ln(1 − p), neither of which may have a
    /// negative coefficient. Probabilities are held 1e-12 away from 0 and 1.
    ///
    /// # Errors
    /// See [`platt`](Self::platt); `InvalidInput` also for a score outside 0 to 1; `Training` where the scores separate the
    /// labels.
    pub fn beta(labels: &[bool], scores: &[f64]) -> Result<Self> {
        check(labels, scores)?;
        if let Some(row) = scores.iter().position(|score| !(0.0..=1.0).contains(score)) {
            let reason = format!("row {row} has {}, which is no probability", scores[row]);
            return Err(Error::input("scores", reason));
        }
        let features = Array2::from_shape_fn((scores.len(), 2), |(row, column)| {
            let [of_bad, of_good] = logs(scores[row]);
            if column == 0 { of_bad } else { -of_good }
        });
        let schema = FeatureSchema::new(["ln p", "-ln(1 - p)"])?;
        let data = Dataset::new(schema, features, labels.to_vec())?;
        let signs = Signs::All(Sign::Positive);
        let config = LogisticRegressionConfig { l2: 0.0, signs, ..Default::default() };
        let model = LogisticRegression::new(config)?.fit_logistic(&data)?.model;
        let slope = |i: usize| model.coefficients()[i] / model.scales()[i];
        let (a, b) = (slope(0), slope(1));
        let c = model.intercept() - a * model.means()[0] - b * model.means()[1];
        Ok(Calibrator::Beta { a, b, c })
    }

    /// The probability of a score; NaN, no score, stays NaN.
    pub fn probability(&self, score: f64) -> f64 {
        if score.is_nan() {
            return f64::NAN;
        }
        match self {
            Calibrator::Platt { a, b } => sigmoid(-(a * score + b)),
            Calibrator::Beta { a, b, c } => {
                let [of_bad, of_good] = logs(score);
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

fn check(labels: &[bool], scores: &[f64]) -> Result<()> {
    if labels.len() != scores.len() {
        let reason = format!("{} for {} labels", scores.len(), labels.len());
        return Err(Error::input("scores", reason));
    }
    if let Some(row) = scores.iter().position(|score| !score.is_finite()) {
        return Err(Error::input("scores", format!("row {row} has {}", scores[row])));
    }
    let n_bad = labels.iter().filter(|bad| **bad).count();
    if n_bad == 0 || n_bad == labels.len() {
        let (what, n_rows) = ("calibration".to_owned(), labels.len());
        return Err(Error::OneClass { what, n_rows, label: n_bad > 0 });
    }
    Ok(())
}

/// ln p and ln(1 − p).
fn logs(p: f64) -> [f64; 2] {
    let p = p.clamp(1e-12, 1.0 - 1e-12);
    [libm::log(p), libm::log1p(-p)]
}

/// The points of the isotonic regression of `targets` on `scores`: both ends of every level.
fn pool(scores: &[f64], targets: &[f64], weights: Option<&[f64]>) -> Result<(Vec<f64>, Vec<f64>)> {
    let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
    let sound = |weights: &[f64]| {
        weights.len() == scores.len() && weights.iter().all(|w| *w >= 0.0 && w.is_finite())
    };
    if !weights.is_none_or(sound) {
        return Err(Error::input("weights", "one per row is needed, finite and not negative"));
    }
    let mut order: Vec<usize> = (0..scores.len()).filter(|&row| weight(row) > 0.0).collect();
    if order.is_empty() {
        return Err(Error::input("weights", "all are 0"));
    }
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    // Levels: first and last score, sum of weighted targets, weight.
    let mut levels: Vec<(f64, f64, f64, f64)> = Vec::new();
    for row in order {
        let (score, weight) = (scores[row] + 0.0, weight(row));
        match levels.last_mut() {
            Some(level) if level.0 == score && level.1 == score => {
                level.2 += weight * targets[row];
                level.3 += weight;
            }
            _ => levels.push((score, score, weight * targets[row], weight)),
        }
    }
    let mut pooled: Vec<(f64, f64, f64, f64)> = Vec::with_capacity(levels.len());
    for mut level in levels {
        while let Some(before) = pooled.last().filter(|b| b.2 / b.3 >= level.2 / level.3) {
            level = (before.0, level.1, before.2 + level.2, before.3 + level.3);
            pooled.pop();
        }
        pooled.push(level);
    }
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for (first, last, sum, weight) in pooled {
        let value = sum / weight;
        x.push(first);
        y.push(value);
        if last > first {
            x.push(last);
            y.push(value);
        }
    }
    Ok((x, y))
}

/// A model whose scores a [`Calibrator`] turns into probabilities.
#[derive(Debug, Clone)]
pub struct CalibratedModel {
    model: Arc<dyn Model>,
    calibrator: Calibrator,
}

impl CalibratedModel {
    /// The kind under which artifacts hold it.
    pub const KIND: &'static str = "calibrated";

    /// # Errors
    /// `InvalidConfig` for a calibrator with numbers out of range.
    pub fn new(model: Arc<dyn Model>, calibrator: Calibrator) -> Result<Self> {
        if !calibrator.is_sound() {
            return Err(Error::config("calibrator", format!("{calibrator:?} cannot be")));
        }
        Ok(CalibratedModel { model, calibrator })
    }

    /// The calibrator.
    pub fn calibrator(&self) -> &Calibrator {
        &self.calibrator
    }

    /// The model behind it.
    pub fn model(&self) -> &Arc<dyn Model> {
        &self.model
    }

    pub(super) fn from_bytes(
        codecs: &ModelCodecs,
        schema: FeatureSchema,
        bytes: &[u8],
        depth: usize,
    ) -> Result<Self> {
        let mut reader = Reader::new("calibrated model", bytes);
        let calibrator = codec::decode(reader.block()?, "calibrator")?;
        let kind = reader.text()?;
        let model = codecs.decode_nested(&kind, schema, reader.block()?, depth)?;
        reader.finish()?;
        CalibratedModel::new(model, calibrator)
            .map_err(|error| Error::corrupt("calibrated model", error.to_string()))
    }
}

impl Model for CalibratedModel {
    fn schema(&self) -> &FeatureSchema {
        self.model.schema()
    }

    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
        self.model.score(rows, scores)?;
        scores.iter_mut().for_each(|score| *score = self.calibrator.probability(*score));
        Ok(())
    }

    fn kind(&self) -> &str {
        Self::KIND
    }

    /// That of the model, on the margin before calibration.
    fn explainer(&self) -> Result<Arc<dyn Explainer>> {
        self.model.explainer()
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        codec::write_block(&mut bytes, &codec::encode(&self.calibrator));
        codec::write_block(&mut bytes, self.model.kind().as_bytes());
        codec::write_block(&mut bytes, &self.model.to_bytes());
        bytes
    }

    fn edges(&self) -> Vec<(usize, f64)> {
        self.model.edges()
    }
}

/// Trains on all bad rows and a share of the good ones, drawn by the seed, and corrects the scores for it. It saves time; on
/// the Fraud Detection Handbook's data it loses average precision, and more the fewer good rows are kept.
#[derive(Debug, Clone)]
pub struct Undersampled {
    trainer: Arc<dyn Trainer>,
    kept: f64,
}

impl Undersampled {
    /// # Errors
    /// `InvalidConfig` unless the share of good rows kept is above 0 and at most 1.
    pub fn new(trainer: Arc<dyn Trainer>, kept: f64) -> Result<Self> {
        if kept > 0.0 && kept <= 1.0 {
            return Ok(Undersampled { trainer, kept });
        }
        Err(Error::config("undersampling", format!("a share of {kept} cannot be kept")))
    }
}

impl Trainer for Undersampled {
    fn name(&self) -> &'static str {
        "undersampled"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let mut parameters = vec![
            ("kept".to_owned(), self.kept.to_string()),
            ("trainer".to_owned(), self.trainer.name().to_owned()),
        ];
        parameters.extend(self.trainer.parameters());
        parameters
    }

    fn fit(&self, data: &Dataset, seed: Seed) -> Result<Fitted> {
        data.check_both_classes("undersampling")?;
        let rows = 0..data.n_rows();
        let (mut kept, mut good): (Vec<usize>, Vec<usize>) =
            rows.partition(|&row| data.labels()[row]);
        shuffle(&mut good, &mut seed.derive("undersampling", 0).rng());
        let n_kept = ((good.len() as f64 * self.kept).round() as usize).max(1);
        let share = n_kept as f64 / good.len() as f64;
        kept.extend(&good[..n_kept]);
        kept.sort_unstable();
        let Fitted { model, convergence } = self.trainer.fit(&data.select_rows(&kept)?, seed)?;
        let model = CalibratedModel::new(model, Calibrator::Undersampling { kept: share })?;
        Ok(Fitted { model: Arc::new(model), convergence })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_equals_scikit_learn() {
        // sklearn.isotonic.IsotonicRegression 1.4.2: ties and weights, and values beyond 0 and 1.
        let (x, y) =
            pool(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0, 0.0, 2.0, 2.0, 1.0, 3.0], None).unwrap();
        assert_eq!(x, [1.0, 2.0, 3.0, 5.0, 6.0]);
        assert_eq!(y, [0.5, 0.5, 5.0 / 3.0, 5.0 / 3.0, 3.0]);
        let weights = [1.0, 3.0, 1.0, 1.0, 2.0];
        let tied = pool(&[1.0, 1.0, 2.0, 2.0, 3.0], &[0.0, 1.0, 1.0, 0.0, 1.0], Some(&weights));
        let (x, y) = tied.unwrap();
        assert_eq!(x, [1.0, 2.0, 3.0]);
        assert!(
            y.iter().zip([2.0 / 3.0, 2.0 / 3.0, 1.0]).all(|(a, b)| (a - b).abs() < 1e-15),
            "{y:?}"
        );
    }
}
