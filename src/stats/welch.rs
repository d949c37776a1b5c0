//! Difference of two means with unequal variances.

use serde::{Deserialize, Serialize};

use super::interval::{Interval, check_alpha};
use super::ratio::Estimate;
use super::special::{student_critical, student_two_sided};
use crate::error::{Error, Result};

/// Number, mean and variance of a sample.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct SampleMoments {
    /// Values.
    pub n: u64,
    /// Their mean.
    pub mean: f64,
    /// Their variance with the divisor n − 1.
    pub variance: f64,
}

impl SampleMoments {
    /// Of these values, in two passes.
    ///
    /// # Errors
    /// `InvalidInput` for fewer than two values, or naming the first that is not finite.
    pub fn of(values: &[f64]) -> Result<Self> {
        if let Some(row) = values.iter().position(|value| !value.is_finite()) {
            return Err(Error::input("values", format!("row {row} is {}", values[row])));
        }
        if values.len() < 2 {
            return Err(Error::input(
                "values",
                format!("{} are too few for a variance", values.len()),
            ));
        }
        let n = values.len() as f64;
        let mean = values.iter().sum::<f64>() / n;
        let variance = values.iter().map(|value| (value - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Ok(SampleMoments { n: values.len() as u64, mean, variance })
    }

    /// The mean with its standard error.
    pub fn estimate(&self) -> Estimate {
        Estimate { value: self.mean, standard_error: self.variance_of_mean().sqrt() }
    }

    fn variance_of_mean(&self) -> f64 {
        self.variance / self.n as f64
    }
}

/// Welch's test of two means (1947); the difference is the second less the first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct WelchTest {
    /// Second mean less first.
    pub difference: f64,
    /// Its standard error.
    pub standard_error: f64,
    /// The statistic; infinite where a difference has no spread.
    pub t: f64,
    /// Degrees of freedom after Satterthwaite.
    pub df: f64,
    /// Two-sided p-value.
    pub p_value: f64,
}

impl WelchTest {
    /// # Errors
    /// `InvalidInput` for fewer than two values on a side, or moments that are not finite.
    pub fn new(first: &SampleMoments, second: &SampleMoments) -> Result<Self> {
        for side in [first, second] {
            let sound = side.mean.is_finite() && side.variance.is_finite() && side.variance >= 0.0;
            if side.n < 2 || !sound {
                return Err(Error::input(
                    "sample",
                    format!("{side:?} has no variance of its mean"),
                ));
            }
        }
        let (v_1, v_2) = (first.variance_of_mean(), second.variance_of_mean());
        let (difference, variance) = (second.mean - first.mean, v_1 + v_2);
        let standard_error = variance.sqrt();
        if variance == 0.0 {
            let p_value = if difference == 0.0 { 1.0 } else { 0.0 };
            let t = if difference == 0.0 { 0.0 } else { difference.signum() * f64::INFINITY };
            let df = (first.n + second.n - 2) as f64;
            return Ok(WelchTest { difference, standard_error, t, df, p_value });
        }
        let share = |v: f64, n: u64| v * v / (n - 1) as f64;
        let df = variance * variance / (share(v_1, first.n) + share(v_2, second.n));
        let t = difference / standard_error;
        Ok(WelchTest { difference, standard_error, t, df, p_value: student_two_sided(t, df) })
    }

    /// Confidence interval of the difference; it leaves out zero where the p-value is below `alpha`.
    ///
    /// # Errors
    /// `InvalidInput` for an `alpha` outside (0, 1).
    pub fn interval(&self, alpha: f64) -> Result<Interval> {
        check_alpha(alpha)?;
        Ok(Interval::around(
            self.difference,
            student_critical(alpha, self.df) * self.standard_error,
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_without_spread_and_without_values() {
        let [one, two] = [1.0, 2.0].map(|x| SampleMoments::of(&[x, x, x]).unwrap());
        assert_eq!(WelchTest::new(&one, &one).unwrap().p_value, 1.0);
        let apart = WelchTest::new(&one, &two).unwrap();
        assert_eq!((apart.t, apart.p_value), (f64::INFINITY, 0.0));
        assert!(SampleMoments::of(&[1.0]).is_err());
        assert!(SampleMoments::of(&[1.0, f64::NAN]).unwrap_err().to_string().contains("row 1"));
    }
}
