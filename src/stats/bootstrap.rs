//! Intervals from resamples.

use super::bins::quantile_sorted;
use super::interval::{Interval, check_alpha};
use super::special::{normal_cdf, normal_isf};
use crate::error::{Error, Result};

/// Efron's interval (1987) from values on resamples: percentiles moved by how far the resamples lie off the `estimate` and
/// by how its spread changes with it, the latter from the values without each row or block in turn. Better than plain
/// percentiles for skewed statistics; type-7 quantiles. O(n log n).
///
/// # Errors
/// `InvalidInput` for fewer than two values of either kind, one that is not finite, resamples that all lie on one side of
/// the estimate, or an `alpha` outside (0, 1).
pub fn bca_interval(
    resampled: &[f64],
    estimate: f64,
    left_out: &[f64],
    alpha: f64,
) -> Result<Interval> {
    check_alpha(alpha)?;
    let finite = resampled.iter().chain(left_out).all(|value| value.is_finite());
    if resampled.len() < 2 || left_out.len() < 2 || !finite {
        return Err(Error::input("resamples", "two finite values of each kind are needed"));
    }
    let mut sorted = resampled.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let below = sorted.partition_point(|value| *value < estimate);
    if below == 0 || below == sorted.len() {
        return Err(Error::input("resamples", "all lie on one side of the estimate"));
    }
    let bias = -normal_isf(below as f64 / sorted.len() as f64);
    let mean = left_out.iter().sum::<f64>() / left_out.len() as f64;
    let moment = |power| left_out.iter().map(|value| (mean - value).powi(power)).sum::<f64>();
    let spread = moment(2);
    let acceleration = if spread > 0.0 { moment(3) / (6.0 * spread.powf(1.5)) } else { 0.0 };
    let at = |share: f64| {
        let z = bias - normal_isf(share);
        let share = normal_cdf(bias + z / (1.0 - acceleration * z));
        quantile_sorted(&sorted, share).ok_or_else(|| Error::input("resamples", "have no spread"))
    };
    Ok(Interval { lower: at(alpha / 2.0)?, upper: at(1.0 - alpha / 2.0)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symmetric_resamples_give_plain_percentiles_and_useless_ones_are_refused() {
        let resampled: Vec<f64> = (-50..=50).map(f64::from).collect();
        // One value lies on the estimate and none of it below: put it between two.
        let interval = bca_interval(&resampled[1..], 0.5, &[-1.0, 1.0], 0.1).unwrap();
        let at = |q| quantile_sorted(&resampled[1..], q).unwrap();
        assert!((interval.lower - at(0.05)).abs() < 1e-9, "{interval}");
        assert!((interval.upper - at(0.95)).abs() < 1e-9, "{interval}");
        assert!(bca_interval(&[1.0, 2.0], 3.0, &[1.0, 2.0], 0.1).is_err());
        assert!(bca_interval(&[1.0, f64::NAN], 1.5, &[1.0, 2.0], 0.1).is_err());
        assert!(bca_interval(&[1.0], 1.5, &[1.0, 2.0], 0.1).is_err());
    }
}
