//! How far scores are the probabilities that they claim to be.

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::stats::{Bins, chi_squared_sf};

/// How far scores are the probabilities that they claim to be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Calibration {
    /// Mean of −ln of the probability given to what came true, in nats; a probability is held at least 2⁻⁵² away from 0
    /// and 1 (scikit-learn's rule), so that one sure mistake costs 36 and not everything.
    pub log_loss: f64,
    /// Mean squared distance between probability and label, `0.0..=1.0`.
    pub brier: f64,
    /// 1 less the Brier score over that of the bad rate given to every row; `None` with one class.
    pub brier_skill: Option<f64>,
    /// Mean probability over the bad rate; above 1 where risk is overstated. `None` without bad rows.
    pub ratio: Option<f64>,
    /// Expected calibration error over the bins: mean distance between mean probability and bad rate, by rows.
    pub expected_error: f64,
    /// Largest such distance of any bin.
    pub largest_error: f64,
    /// The bins with rows in them, lowest probability first.
    pub bins: Vec<ReliabilityBin>,
}

/// Rows of similar probability.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ReliabilityBin {
    /// Number of rows.
    pub n: u64,
    /// Their mean probability.
    pub mean_probability: f64,
    /// The share of them that is bad.
    pub bad_rate: f64,
}

/// A test of whether bad rates differ from the probabilities by more than chance.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct HosmerLemeshow {
    /// Σ (bad − Σp)² / (Σp (1 − Σp / n)) over the groups.
    pub statistic: f64,
    /// Degrees of freedom: groups less two.
    pub degrees_of_freedom: u32,
    /// Chance of a statistic at least as large under perfect calibration.
    pub p_value: f64,
}

/// How rows are put into reliability bins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum ReliabilityBins {
    /// So many bins of equal width over 0 to 1, right-closed.
    EqualWidth(usize),
    /// Up to so many bins of about equally many rows, rows of equal probability together.
    EqualCount(usize),
}

impl Calibration {
    /// Judges probabilities against labels. O(n), with equal counts O(n log n).
    ///
    /// # Errors
    /// `Empty`; `InvalidInput` if the lists differ in length or naming the first value that is no probability;
    /// `InvalidConfig` for no bins.
    pub fn new(labels: &[bool], probabilities: &[f64], bins: ReliabilityBins) -> Result<Self> {
        check_probabilities(labels, probabilities)?;
        let edges = match bins {
            ReliabilityBins::EqualWidth(0) | ReliabilityBins::EqualCount(0) => {
                return Err(Error::config("reliability bins", "needs at least one"));
            }
            ReliabilityBins::EqualWidth(n) => {
                Bins::from_edges((1..n).map(|i| i as f64 / n as f64).collect())?
            }
            ReliabilityBins::EqualCount(n) => Bins::equal_count(probabilities.iter().copied(), n)?,
        };
        let n_rows = labels.len() as f64;
        let (mut log_loss_sum, mut brier, mut sum, mut bad_rows) = (0.0, 0.0, 0.0, 0.0);
        let mut counts = vec![(0u64, 0.0, 0.0); edges.n_bins()];
        for (&bad, &p) in labels.iter().zip(probabilities) {
            let truth = f64::from(u8::from(bad));
            log_loss_sum += log_loss(bad, p);
            brier += squared_error(bad, p);
            (sum, bad_rows) = (sum + p, bad_rows + truth);
            let bin = &mut counts[edges.index(p)];
            *bin = (bin.0 + 1, bin.1 + p, bin.2 + truth);
        }
        let bins: Vec<ReliabilityBin> = counts
            .into_iter()
            .filter(|(n, _, _)| *n > 0)
            .map(|(n, p, bad)| ReliabilityBin {
                n,
                mean_probability: p / n as f64,
                bad_rate: bad / n as f64,
            })
            .collect();
        let errors = || bins.iter().map(|b| (b.n as f64, (b.mean_probability - b.bad_rate).abs()));
        let (brier, rate) = (brier / n_rows, bad_rows / n_rows);
        let of_rate = rate * (1.0 - rate);
        Ok(Calibration {
            log_loss: log_loss_sum / n_rows,
            brier,
            brier_skill: (of_rate > 0.0).then(|| 1.0 - brier / of_rate),
            ratio: (bad_rows > 0.0).then(|| sum / bad_rows),
            expected_error: errors().map(|(n, error)| n * error).sum::<f64>() / n_rows,
            largest_error: errors().map(|(_, error)| error).fold(0.0, f64::max),
            bins,
        })
    }
}

/// Hosmer and Lemeshow's test on `groups` groups of equally many rows by probability, rows of equal probability in row
/// order. A group whose probabilities are all 0 or all 1 counts only if it is wrong, and then makes the statistic infinite.
/// The test finds any miscalibration, however small, in enough rows, and none in too few. O(n log n).
///
/// # Errors
/// As [`Calibration::new`]; `InvalidConfig` unless there are at least 3 groups and a row in each.
pub fn hosmer_lemeshow(
    labels: &[bool],
    probabilities: &[f64],
    groups: usize,
) -> Result<HosmerLemeshow> {
    check_probabilities(labels, probabilities)?;
    let n = labels.len();
    if groups < 3 || groups > n {
        let reason = format!("{groups} are not between 3 and the {n} rows");
        return Err(Error::config("Hosmer-Lemeshow groups", reason));
    }
    let mut order: Vec<usize> = (0..n).collect();
    order.sort_by(|&a, &b| probabilities[a].total_cmp(&probabilities[b]));
    let mut statistic = 0.0;
    for group in 0..groups {
        let rows = &order[group * n / groups..(group + 1) * n / groups];
        let bad = rows.iter().filter(|&&row| labels[row]).count() as f64;
        let expected: f64 = rows.iter().map(|&row| probabilities[row]).sum();
        let variance = expected * (1.0 - expected / rows.len() as f64);
        if bad != expected {
            statistic += (bad - expected) * (bad - expected) / variance.max(0.0);
        }
    }
    let degrees_of_freedom = groups as u32 - 2;
    let p_value = chi_squared_sf(statistic, f64::from(degrees_of_freedom));
    Ok(HosmerLemeshow { statistic, degrees_of_freedom, p_value })
}

/// What a probability costs in view of the label, held away from 0 and 1 as [`Calibration::log_loss`] tells.
pub(super) fn log_loss(bad: bool, p: f64) -> f64 {
    let of_truth = if bad { p } else { 1.0 - p };
    -of_truth.clamp(f64::EPSILON, 1.0 - f64::EPSILON).ln()
}

pub(super) fn squared_error(bad: bool, p: f64) -> f64 {
    let error = p - f64::from(u8::from(bad));
    error * error
}

pub(super) fn check_probabilities(labels: &[bool], probabilities: &[f64]) -> Result<()> {
    if labels.is_empty() {
        return Err(Error::Empty { what: "probabilities".into() });
    }
    if labels.len() != probabilities.len() {
        let reason = format!("{} for {} labels", probabilities.len(), labels.len());
        return Err(Error::input("probabilities", reason));
    }
    let is_none = |p: &f64| !(0.0..=1.0).contains(p);
    // All are looked at, without a way out at each: the sound case, which is the usual one, takes a third of the time.
    if !probabilities.iter().fold(false, |any, p| any | is_none(p)) {
        return Ok(());
    }
    let row = probabilities.iter().position(is_none).expect("some are none");
    let reason = format!("row {row} has {}, which is no probability", probabilities[row]);
    Err(Error::input("probabilities", reason))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sure_and_right_costs_nothing_and_sure_and_wrong_is_finite() {
        let bins = ReliabilityBins::EqualWidth(10);
        let right = Calibration::new(&[true, false], &[1.0, 0.0], bins).unwrap();
        assert!(right.log_loss < 1e-15 && right.brier == 0.0 && right.expected_error == 0.0);
        let one_class = Calibration::new(&[false], &[0.25], bins).unwrap();
        assert_eq!((one_class.brier_skill, one_class.ratio), (None, None));
        assert!(Calibration::new(&[true], &[1.5], bins).is_err());
        assert!(Calibration::new(&[true], &[f64::NAN], bins).is_err());
        assert!(Calibration::new(&[true], &[0.5], ReliabilityBins::EqualCount(0)).is_err());
        assert!(matches!(Calibration::new(&[], &[], bins), Err(Error::Empty { .. })));
    }

    #[test]
    fn hosmer_and_lemeshow_at_the_ends() {
        let right = hosmer_lemeshow(&[false, true, true], &[0.0, 1.0, 1.0], 3).unwrap();
        assert_eq!((right.statistic, right.p_value), (0.0, 1.0));
        let wrong = hosmer_lemeshow(&[true, true, true], &[0.0, 1.0, 1.0], 3).unwrap();
        assert_eq!((wrong.statistic, wrong.p_value), (f64::INFINITY, 0.0));
        assert!(hosmer_lemeshow(&[true, false], &[0.1, 0.2], 3).is_err());
    }
}
