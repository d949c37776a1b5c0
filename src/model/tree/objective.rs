//! What boosting makes smaller: a loss, by its derivatives.

use std::fmt::Debug;

use crate::error::{Error, Result};
use crate::model::tree::ensemble::Link;

/// A loss that [`GradientBoosting`](crate::model::GradientBoosting) makes smaller.
///
/// # Contract
/// For every row the first and second derivative of the loss with respect to the margin; the second is not negative.
/// Both depend on that row alone. Weights are not its business: they multiply both afterwards.
///
/// # Concurrency
/// Called for blocks of rows on several threads at once.
///
/// # Implementing
/// Derivatives are rounded to about four digits of the largest one; what is not finite stops training with an error.
pub trait Objective: Debug + Send + Sync {
    /// Name for records.
    fn name(&self) -> &'static str;

    /// The margin that training starts from: usually the best constant. `weights` are one per row, if there are any.
    ///
    /// # Errors
    /// `InvalidInput` for targets that the loss is not defined for.
    fn start(&self, targets: &[f64], weights: Option<&[f64]>) -> Result<f64>;

    /// Derivatives at the margins of some rows. All four slices have the same length.
    fn derivatives(&self, margins: &[f64], targets: &[f64], first: &mut [f32], second: &mut [f32]);

    /// From margin to score.
    fn link(&self) -> Link;

    /// Bounds of the absolute first and the second derivative, if they are known beforehand; otherwise they are looked for
    /// in every round, which costs a pass over the rows.
    fn bounds(&self) -> Option<(f64, f64)> {
        None
    }
}

/// The loss of probabilities, `−log p` of what came true; targets are 0 (good) and 1 (bad).
#[derive(Debug, Clone, Copy, Default)]
pub struct LogLoss;

/// Half the squared error; targets are any finite numbers. The second derivative is 1.
#[derive(Debug, Clone, Copy, Default)]
pub struct SquaredError;

fn mean(targets: &[f64], weights: Option<&[f64]>) -> f64 {
    let weight = |row: usize| weights.map_or(1.0, |weights| weights[row]);
    let sum: f64 = targets.iter().enumerate().map(|(row, target)| target * weight(row)).sum();
    sum / (0..targets.len()).map(weight).sum::<f64>()
}

impl Objective for LogLoss {
    fn name(&self) -> &'static str {
        "log-loss"
    }

    fn start(&self, targets: &[f64], weights: Option<&[f64]>) -> Result<f64> {
        if targets.iter().any(|&target| target != 0.0 && target != 1.0) {
            return Err(Error::input("targets", "log-loss takes 0 and 1"));
        }
        let share = mean(targets, weights);
        if !(share > 0.0 && share < 1.0) {
            let label = share >= 1.0;
            return Err(Error::OneClass { what: "log-loss".into(), n_rows: targets.len(), label });
        }
        Ok((share / (1.0 - share)).ln())
    }

    fn derivatives(&self, margins: &[f64], targets: &[f64], first: &mut [f32], second: &mut [f32]) {
        let out = first.iter_mut().zip(second);
        for ((first, second), (margin, target)) in out.zip(margins.iter().zip(targets)) {
            let p = 1.0 / (1.0 + exp(-*margin as f32));
            *first = p - *target as f32;
            *second = p * (1.0 - p);
        }
    }

    fn link(&self) -> Link {
        Link::Logistic { slope: 1.0 }
    }

    fn bounds(&self) -> Option<(f64, f64)> {
        Some((1.0, 0.25))
    }
}

impl Objective for SquaredError {
    fn name(&self) -> &'static str {
        "squared error"
    }

    fn start(&self, targets: &[f64], weights: Option<&[f64]>) -> Result<f64> {
        if let Some(row) = targets.iter().position(|target| !target.is_finite()) {
            return Err(Error::input("targets", format!("row {row} is {}", targets[row])));
        }
        Ok(mean(targets, weights))
    }

    fn derivatives(&self, margins: &[f64], targets: &[f64], first: &mut [f32], second: &mut [f32]) {
        for ((first, margin), target) in first.iter_mut().zip(margins).zip(targets) {
            *first = (margin - target) as f32;
        }
        second.fill(1.0);
    }

    fn link(&self) -> Link {
        Link::Identity
    }
}

/// `exp(x)` to a relative 3e-7 without a branch or a call, so that a loop over it takes four at a time and gives the same
/// bits on every machine: `2^k · e^r` with `r` within ±ln 2 / 2, and `e^r` by its series. Ends at e^±87.
#[inline]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0; // 1.5 · 2^23: adding it rounds to a whole number
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = x.clamp(-87.0, 87.0);
    let rounded = x * std::f32::consts::LOG2_E + ROUND;
    let k = rounded - ROUND;
    let r = x - k * LN2_HIGH - k * LN2_LOW;
    let series = 1.0 / 720.0;
    let series = series * r + 1.0 / 120.0;
    let series = series * r + 1.0 / 24.0;
    let series = series * r + 1.0 / 6.0;
    let series = series * r + 0.5;
    let series = series * r + 1.0;
    let series = series * r + 1.0;
    // The low bits of `rounded` hold k; moved up they are the exponent.
    let power = f32::from_bits((rounded.to_bits() << 23).wrapping_add(1.0_f32.to_bits()));
    series * power
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exp_is_within_four_ten_millionths() {
        let mut worst = 0.0_f64;
        for i in -87_000..=87_000 {
            let x = i as f32 / 1000.0;
            let exact = f64::from(x).exp();
            worst = worst.max((f64::from(exp(x)) / exact - 1.0).abs());
        }
        assert!(worst < 4e-7, "{worst}");
        assert!(exp(f32::NEG_INFINITY) > 0.0 && exp(f32::INFINITY).is_finite());
    }

    #[test]
    fn derivatives_are_those_of_the_loss() {
        let loss = |margin: f64, target: f64| {
            (1.0 + margin.exp()).ln() - target * margin // −log-likelihood
        };
        for (margin, target) in [(-3.0, 0.0), (-0.2, 1.0), (0.0, 0.0), (4.0, 1.0)] {
            let (mut first, mut second) = ([0.0], [0.0]);
            LogLoss.derivatives(&[margin], &[target], &mut first, &mut second);
            let e = 1e-4;
            let (up, down) = (loss(margin + e, target), loss(margin - e, target));
            assert!((f64::from(first[0]) - (up - down) / (2.0 * e)).abs() < 1e-6);
            let curve = (up - 2.0 * loss(margin, target) + down) / (e * e);
            assert!((f64::from(second[0]) - curve).abs() < 1e-5);
        }
    }
}
