//! Platt's sigmoid.

use crate::error::{Error, Result};
use crate::model::calibration::{Calibrator, weight};
use crate::model::sigmoid;
use crate::model::standardise::Standard;
use crate::stats::Cholesky;

/// Newton's method with step halving.
pub(super) fn fit(labels: &[bool], scores: &[f64], weights: Option<&[f64]>) -> Result<Calibrator> {
    let mut sums = [0.0; 2];
    for (row, &bad) in labels.iter().enumerate() {
        sums[usize::from(bad)] += weight(weights, row);
    }
    let [n_good, n_bad] = sums;
    let (high, low) = ((n_bad + 1.0) / (n_bad + 2.0), 1.0 / (n_good + 2.0));
    // Newton in a standardised score, for the sake of the equations.
    let weighted = scores.iter().enumerate().map(|(row, s)| (*s, weight(weights, row)));
    let standard = Standard::of(weighted);
    let gave_up =
        |reason: &str| Error::Training { trainer: "Platt scaling", reason: reason.into() };
    if standard.constant {
        return Err(gave_up("all scores are equal"));
    }
    // Standardised score, target, weight.
    let rows = || {
        labels.iter().zip(scores).enumerate().map(|(row, (&bad, &score))| {
            (standard.apply(score), if bad { high } else { low }, weight(weights, row))
        })
    };
    let loss = |slope: f64, intercept: f64| -> f64 {
        rows()
            .map(|(x, target, weight)| {
                let margin = slope * x + intercept;
                weight * (margin.max(0.0) + (-margin.abs()).exp().ln_1p() - target * margin)
            })
            .sum()
    };
    let (mut slope, mut intercept) = (0.0, ((n_bad + 1.0) / (n_good + 1.0)).ln());
    let mut here = loss(slope, intercept);
    for _ in 0..100 {
        let (mut gradient, mut curvature) = ([0.0; 2], [0.0; 4]);
        for (x, target, weight) in rows() {
            let p = sigmoid(slope * x + intercept);
            let (residual, spread) = (weight * (p - target), weight * p * (1.0 - p));
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
        (slope, intercept, here) = (slope + length * step[0], intercept + length * step[1], there);
        if step[0].abs().max(step[1].abs()) < 1e-13 * (1.0 + slope.abs().max(intercept.abs())) {
            break;
        }
    }
    let (mean, scale) = (standard.mean, standard.scale);
    Ok(Calibrator::Platt { a: -slope / scale, b: slope * mean / scale - intercept })
}
