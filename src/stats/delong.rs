//! Areas under ROC curves with their uncertainty, after DeLong, DeLong and Clarke-Pearson (1988).

use serde::{Deserialize, Serialize};

use super::interval::{Interval, check_alpha};
use super::special::{normal_critical, normal_two_sided, student_critical, student_two_sided};
use crate::error::{Error, Result};

/// An area under the ROC curve and the variance of its estimate.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AucEstimate {
    /// The chance that a bad row is scored above a good one, a tie counting half; `0.0..=1.0`.
    pub auc: f64,
    /// Variance of the estimate over samples. Zero for a perfect separation (AUC 0 or 1), where it says nothing.
    pub variance: f64,
    /// Bad rows, of weighted ones the effective number; below some 30 the variance is too small too often.
    pub n_bad: u64,
    /// Good rows.
    pub n_good: u64,
}

impl AucEstimate {
    /// The area and its variance from labels (`true` for bad) and scores. O(n log n).
    ///
    /// # Errors
    /// `InvalidInput` if labels and scores differ in number or a score is NaN; `Empty`; `OneClass`.
    pub fn new(labels: &[bool], scores: &[f64]) -> Result<Self> {
        Ok(Components::new(labels, scores)?.estimate())
    }

    /// The same from counts of bad and good rows per score, lowest score first: exact for scores that are themselves
    /// bins. `None` unless there are rows of both classes and the lists fit. O(bins).
    pub fn from_counts(bad: &[u64], good: &[u64]) -> Option<Self> {
        let [bad, good] = [bad, good].map(WeightedBins::unweighted);
        AucEstimate::from_weights(&bad, &good)
    }

    /// The same for weighted rows, such as labels that become known with different chances and weigh one over theirs.
    /// `None` unless both classes have weight and the lists fit. O(bins).
    pub fn from_weights(bad: &WeightedBins, good: &WeightedBins) -> Option<Self> {
        let placements = Placements::new(bad, good)?;
        let spread = |bins: &WeightedBins, placed: &[f64]| {
            let (total, n) = (bins.total(), bins.effective_n());
            let squares = bins.squares.iter().zip(placed);
            let squares: f64 = squares.map(|(w2, v)| w2 * (v - placements.auc).powi(2)).sum();
            if n > 1.0 { squares / (total * total) * n / (n - 1.0) } else { 0.0 }
        };
        Some(AucEstimate {
            auc: placements.auc,
            variance: spread(bad, &placements.of_bad) + spread(good, &placements.of_good),
            n_bad: bad.effective_n().round() as u64,
            n_good: good.effective_n().round() as u64,
        })
    }

    /// Confidence interval on the logit scale, which stays within `0.0..=1.0` (Pepe 2003, section 5.2). For a perfect
    /// separation, where the variance is zero, the end away from the bound is one bad row's worth: not narrower than
    /// what Hanley's rule of three gives for the rarer class.
    ///
    /// # Errors
    /// `InvalidInput` for an `alpha` outside (0, 1).
    pub fn interval(&self, alpha: f64) -> Result<Interval> {
        check_alpha(alpha)?;
        if self.variance <= 0.0 {
            let slack = 1.0 - alpha.powf(1.0 / self.n_bad.min(self.n_good) as f64);
            let (lower, upper) = ((self.auc - slack).max(0.0), (self.auc + slack).min(1.0));
            return Ok(Interval { lower, upper });
        }
        Interval::on_logit(self.auc, self.variance.sqrt(), alpha)
    }
}

/// Two areas compared; every difference is the second less the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct AucComparison {
    /// The first.
    pub first: AucEstimate,
    /// The second.
    pub second: AucEstimate,
    /// Covariance of the two estimates; zero for different rows.
    pub covariance: f64,
    /// Second less first.
    pub difference: f64,
    /// Standard error of the difference.
    pub standard_error: f64,
    /// Degrees of freedom of the statistic; `None` where it is normal.
    pub df: Option<f64>,
    /// Two-sided p-value of no difference.
    pub p_value: f64,
}

impl AucComparison {
    /// Compares two scores of the same rows. O(n log n).
    ///
    /// # Errors
    /// Those of [`AucEstimate::new`], for either score.
    pub fn paired(labels: &[bool], first: &[f64], second: &[f64]) -> Result<Self> {
        let [first, second] = [first, second].map(|scores| Components::new(labels, scores));
        let (first, second) = (first?, second?);
        let covariance = |x: &[f64], y: &[f64]| {
            let n = x.len() as u64;
            sample_covariance(std::iter::repeat_n(1.0, x.len()), x, y, n) / n as f64
        };
        let covariance =
            covariance(&first.of_bad, &second.of_bad) + covariance(&first.of_good, &second.of_good);
        Ok(AucComparison::of_pair(first.estimate(), second.estimate(), covariance))
    }

    /// Compares two scores of the same rows from counts per pair of score bins: element `i * n_bins + j` counts rows
    /// whose first score is in bin `i` and second in bin `j`, lowest first. `None` unless the lists are square in
    /// `n_bins` and hold rows of both classes. O(n_bins²).
    pub fn paired_from_counts(bad: &[u32], good: &[u32], n_bins: usize) -> Option<Self> {
        let square = n_bins.checked_mul(n_bins)?;
        if n_bins == 0 || bad.len() != square || good.len() != square {
            return None;
        }
        let margins = |joint: &[u32]| {
            let (mut first, mut second) = (vec![0u64; n_bins], vec![0u64; n_bins]);
            for (cell, &count) in joint.iter().enumerate() {
                first[cell / n_bins] += u64::from(count);
                second[cell % n_bins] += u64::from(count);
            }
            (WeightedBins::unweighted(&first), WeightedBins::unweighted(&second))
        };
        let ((bad_1, bad_2), (good_1, good_2)) = (margins(bad), margins(good));
        let [first, second] =
            [(&bad_1, &good_1), (&bad_2, &good_2)].map(|(bad, good)| Placements::new(bad, good));
        let (first, second) = (first?, second?);
        let covariance = |joint: &[u32], x: &[f64], y: &[f64]| {
            let cells = joint.iter().enumerate().filter(|(_, count)| **count > 0);
            let (mut sum, mut n) = (0.0, 0.0);
            for (cell, &count) in cells {
                let (x, y) = (x[cell / n_bins] - first.auc, y[cell % n_bins] - second.auc);
                sum += f64::from(count) * x * y;
                n += f64::from(count);
            }
            if n > 1.0 { sum / (n - 1.0) / n } else { 0.0 }
        };
        let covariance = covariance(bad, &first.of_bad, &second.of_bad)
            + covariance(good, &first.of_good, &second.of_good);
        let estimates = (
            AucEstimate::from_weights(&bad_1, &good_1)?,
            AucEstimate::from_weights(&bad_2, &good_2)?,
        );
        Some(AucComparison::of_pair(estimates.0, estimates.1, covariance))
    }

    /// Compares scores of different rows; the statistic has Student's distribution with the degrees of freedom that
    /// pROC uses.
    pub fn unpaired(first: AucEstimate, second: AucEstimate) -> Self {
        let difference = second.auc - first.auc;
        let variance = first.variance + second.variance;
        let share = |estimate: &AucEstimate| {
            let n = (estimate.n_bad + estimate.n_good) as f64;
            estimate.variance * estimate.variance / (n - 1.0)
        };
        let df = variance * variance / (share(&first) + share(&second));
        let (df, p_value) = match test(difference, variance) {
            Tested::Statistic(t) => (Some(df), student_two_sided(t, df)),
            Tested::NoSpread(p) => (None, p),
        };
        let standard_error = variance.sqrt();
        AucComparison { first, second, covariance: 0.0, difference, standard_error, df, p_value }
    }

    fn of_pair(first: AucEstimate, second: AucEstimate, covariance: f64) -> Self {
        let difference = second.auc - first.auc;
        let sum = first.variance + second.variance;
        let variance = sum - 2.0 * covariance;
        // What rounding leaves of equal variances is no spread.
        let variance = if variance <= 1e-14 * sum { 0.0 } else { variance };
        let p_value = match test(difference, variance) {
            Tested::Statistic(z) => normal_two_sided(z),
            Tested::NoSpread(p) => p,
        };
        let standard_error = variance.sqrt();
        AucComparison { first, second, covariance, difference, standard_error, df: None, p_value }
    }

    /// Confidence interval of the difference, of the same family as the p-value: it leaves out zero where that is below
    /// `alpha`.
    ///
    /// # Errors
    /// `InvalidInput` for an `alpha` outside (0, 1).
    pub fn interval(&self, alpha: f64) -> Result<Interval> {
        check_alpha(alpha)?;
        let critical = match self.df {
            Some(df) => student_critical(alpha, df),
            None => normal_critical(alpha),
        };
        Ok(Interval::around(self.difference, critical * self.standard_error))
    }
}

enum Tested {
    Statistic(f64),
    /// The p-value where the difference has no spread.
    NoSpread(f64),
}

fn test(difference: f64, variance: f64) -> Tested {
    match variance > 0.0 {
        true => Tested::Statistic(difference / variance.sqrt()),
        false => Tested::NoSpread(if difference == 0.0 { 1.0 } else { 0.0 }),
    }
}

/// The structural components of an area: for each row, the share of the other class that it is on the right side of.
struct Components {
    auc: f64,
    of_bad: Vec<f64>,
    of_good: Vec<f64>,
}

impl Components {
    /// By ranks in sorted order (Sun and Xu 2014), so that it takes O(n log n) and not O(bad × good).
    fn new(labels: &[bool], scores: &[f64]) -> Result<Self> {
        if labels.len() != scores.len() {
            let reason = format!("{} for {} labels", scores.len(), labels.len());
            return Err(Error::input("scores", reason));
        }
        if let Some(row) = scores.iter().position(|score| score.is_nan()) {
            return Err(Error::input("scores", format!("row {row} has none (NaN)")));
        }
        if labels.is_empty() {
            return Err(Error::Empty { what: "ROC comparison".into() });
        }
        let n_bad = labels.iter().filter(|bad| **bad).count();
        let n_good = labels.len() - n_bad;
        if n_bad == 0 || n_good == 0 {
            let what = "ROC comparison".into();
            return Err(Error::OneClass { what, n_rows: labels.len(), label: n_good == 0 });
        }
        let mut order: Vec<usize> = (0..labels.len()).collect();
        // Not `total_cmp`: -0.0 and 0.0 are one score.
        order.sort_by(|&i, &j| scores[i].partial_cmp(&scores[j]).expect("no NaN, checked above"));
        let mut component = vec![0.0; labels.len()];
        let (mut bad_below, mut good_below, mut pairs) = (0u64, 0u64, 0u128);
        for ties in order.chunk_by(|&i, &j| scores[i] == scores[j]) {
            let bad = ties.iter().filter(|&&i| labels[i]).count() as u64;
            let good = ties.len() as u64 - bad;
            let good_rank = 2 * good_below + good;
            pairs += u128::from(bad) * u128::from(good_rank);
            let bad_above = 2 * (n_bad as u64 - bad_below - bad) + bad;
            for &i in ties {
                component[i] = match labels[i] {
                    true => good_rank as f64 / (2 * n_good) as f64,
                    false => bad_above as f64 / (2 * n_bad) as f64,
                };
            }
            bad_below += bad;
            good_below += good;
        }
        let of = |class: bool| {
            let rows = labels.iter().zip(&component).filter(|(label, _)| **label == class);
            rows.map(|(_, &component)| component).collect()
        };
        let auc = pairs as f64 / (2.0 * n_bad as f64 * n_good as f64);
        Ok(Components { auc, of_bad: of(true), of_good: of(false) })
    }

    fn estimate(&self) -> AucEstimate {
        let variance = |values: &[f64]| {
            let n = values.len() as u64;
            sample_covariance(std::iter::repeat_n(1.0, values.len()), values, values, n) / n as f64
        };
        AucEstimate {
            auc: self.auc,
            variance: variance(&self.of_bad) + variance(&self.of_good),
            n_bad: self.of_bad.len() as u64,
            n_good: self.of_good.len() as u64,
        }
    }
}

/// Weights of one class's rows by score bin, lowest score first.
#[derive(Debug, Clone, PartialEq)]
pub struct WeightedBins {
    /// Σ w of each bin.
    pub weights: Vec<f64>,
    /// Σ w² of each bin.
    pub squares: Vec<f64>,
}

impl WeightedBins {
    fn unweighted(counts: &[u64]) -> Self {
        let weights: Vec<f64> = counts.iter().map(|&count| count as f64).collect();
        WeightedBins { squares: weights.clone(), weights }
    }

    fn total(&self) -> f64 {
        self.weights.iter().sum()
    }

    /// Kish's effective number of rows.
    fn effective_n(&self) -> f64 {
        self.total().powi(2) / self.squares.iter().sum::<f64>()
    }
}

/// The components of rows in score bins: all rows of a bin and class share theirs.
struct Placements {
    auc: f64,
    of_bad: Vec<f64>,
    of_good: Vec<f64>,
}

impl Placements {
    fn new(bad: &WeightedBins, good: &WeightedBins) -> Option<Self> {
        let (n_bad, n_good) = (bad.total(), good.total());
        let n_bins = bad.weights.len();
        let lists = [&bad.squares, &good.weights, &good.squares];
        if lists.iter().any(|list| list.len() != n_bins) || !(n_bad > 0.0 && n_good > 0.0) {
            return None;
        }
        let (mut bad_below, mut good_below, mut pairs) = (0.0, 0.0, 0.0);
        let (mut of_bad, mut of_good) = (Vec::new(), Vec::new());
        for (&b, &g) in bad.weights.iter().zip(&good.weights) {
            let good_rank = good_below + 0.5 * g;
            pairs += b * good_rank;
            of_bad.push(good_rank / n_good);
            of_good.push((n_bad - bad_below - 0.5 * b) / n_bad);
            bad_below += b;
            good_below += g;
        }
        Some(Placements { auc: (pairs / n_bad / n_good).min(1.0), of_bad, of_good })
    }
}

/// Covariance of `x` and `y` with the divisor n − 1, rows given by weights that add up to `n`; 0 for a single row.
fn sample_covariance(
    weights: impl Iterator<Item = f64> + Clone,
    x: &[f64],
    y: &[f64],
    n: u64,
) -> f64 {
    if n < 2 {
        return 0.0;
    }
    let mean =
        |values: &[f64]| weights.clone().zip(values).map(|(w, v)| w * v).sum::<f64>() / n as f64;
    let (mean_x, mean_y) = (mean(x), mean(y));
    let rows = weights.clone().zip(x.iter().zip(y));
    rows.map(|(w, (x, y))| w * (x - mean_x) * (y - mean_y)).sum::<f64>() / (n - 1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_score_compared_with_itself_is_no_different() {
        let labels = [true, false, true, false, false];
        let scores = [0.9, 0.2, 0.4, 0.4, 0.1];
        let same = AucComparison::paired(&labels, &scores, &scores).unwrap();
        assert_eq!((same.difference, same.standard_error, same.p_value), (0.0, 0.0, 1.0));
        assert_eq!(same.interval(0.05).unwrap(), Interval { lower: 0.0, upper: 0.0 });
    }

    #[test]
    fn a_perfect_separation_has_no_variance_but_an_interval() {
        let perfect = AucEstimate::new(&[true, true, false, false], &[4.0, 3.0, 2.0, 1.0]).unwrap();
        assert_eq!((perfect.auc, perfect.variance), (1.0, 0.0));
        let interval = perfect.interval(0.05).unwrap();
        assert!(interval.upper == 1.0 && interval.lower < 0.5, "{interval}");
        let worse = AucEstimate::new(&[true, true, false, false], &[4.0, 1.0, 2.0, 1.0]).unwrap();
        let comparison = AucComparison::unpaired(perfect, worse);
        assert!((0.0..=1.0).contains(&comparison.p_value));
        assert_eq!(AucComparison::unpaired(perfect, perfect).p_value, 1.0);
    }

    #[test]
    fn input_without_a_curve_is_refused() {
        assert!(matches!(AucEstimate::new(&[], &[]), Err(Error::Empty { .. })));
        assert!(matches!(AucEstimate::new(&[true], &[1.0]), Err(Error::OneClass { .. })));
        assert!(AucEstimate::new(&[true, false], &[1.0, f64::NAN]).is_err());
        assert!(AucEstimate::new(&[true, false], &[1.0]).is_err());
        assert_eq!(AucEstimate::from_counts(&[1, 0], &[0, 0]), None);
        assert_eq!(AucComparison::paired_from_counts(&[1], &[1, 2], 1), None);
        assert_eq!(AucComparison::paired_from_counts(&[], &[], 0), None);
    }
}
