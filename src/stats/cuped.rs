//! CUPED: less variance by what was known of each unit before the experiment (Deng, Xu, Kohavi and Walker 2013).

use serde::{Deserialize, Serialize};

use super::ratio::ClusteredRatio;
use super::welch::{SampleMoments, WelchTest};
use crate::error::{Error, Result};

/// Sums over units of a measure `y` and of a covariate `x` from before the experiment: all that the adjustment needs, and
/// they add up over threads and days.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct CovariateSums {
    /// Units.
    pub n: u64,
    /// Σ x.
    pub x: f64,
    /// Σ y.
    pub y: f64,
    /// Σ x².
    pub xx: f64,
    /// Σ y².
    pub yy: f64,
    /// Σ x y.
    pub xy: f64,
}

impl CovariateSums {
    /// Adds one unit.
    pub fn add(&mut self, x: f64, y: f64) {
        self.merge(&CovariateSums { n: 1, x, y, xx: x * x, yy: y * y, xy: x * y });
    }

    /// Adds another's units.
    pub fn merge(&mut self, other: &Self) {
        self.n += other.n;
        self.x += other.x;
        self.y += other.y;
        self.xx += other.xx;
        self.yy += other.yy;
        self.xy += other.xy;
    }

    /// Sums of squares and products around the means: of x, of y, of both.
    fn centred(&self) -> (f64, f64, f64) {
        let n = self.n as f64;
        let xx = self.xx - self.x * self.x / n;
        let yy = self.yy - self.y * self.y / n;
        (xx.max(0.0), yy.max(0.0), self.xy - self.x * self.y / n)
    }

    /// Mean and variance of y alone; `None` for fewer than two units.
    pub(crate) fn plain(&self) -> Option<SampleMoments> {
        (self.n > 1).then(|| self.adjusted(0.0, 0.0))
    }

    /// Mean and variance of y − θ (x − `x_mean`).
    fn adjusted(&self, theta: f64, x_mean: f64) -> SampleMoments {
        let (n, (xx, yy, xy)) = (self.n as f64, self.centred());
        let mean = self.y / n - theta * (self.x / n - x_mean);
        let variance = (yy - 2.0 * theta * xy + theta * theta * xx).max(0.0) / (n - 1.0);
        SampleMoments { n: self.n, mean, variance }
    }
}

/// The difference of two arms with the covariate's part taken out; second less first.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Cuped {
    /// Slope of the measure on the covariate, from all units of both arms.
    pub theta: f64,
    /// Adjusted mean of the first arm.
    pub first_mean: f64,
    /// Adjusted mean of the second arm.
    pub second_mean: f64,
    /// Welch's test of the adjusted measure.
    pub test: WelchTest,
}

impl Cuped {
    /// Compares two arms. Without spread in the covariate θ is zero, and the test that of the raw measure.
    ///
    /// # Errors
    /// `InvalidInput` for fewer than two units in an arm or sums that are not finite.
    pub fn new(first: &CovariateSums, second: &CovariateSums) -> Result<Self> {
        let mut both = *first;
        both.merge(second);
        let finite = [both.x, both.y, both.xx, both.yy, both.xy].iter().all(|sum| sum.is_finite());
        if first.n < 2 || second.n < 2 || !finite {
            return Err(Error::input(
                "covariate sums",
                "two units per arm and finite sums are needed",
            ));
        }
        let (xx, _, xy) = both.centred();
        let theta = if xx > 0.0 { xy / xx } else { 0.0 };
        let x_mean = both.x / both.n as f64;
        let [first, second] = [first, second].map(|arm| arm.adjusted(theta, x_mean));
        let test = WelchTest::new(&first, &second)?;
        Ok(Cuped { theta, first_mean: first.mean, second_mean: second.mean, test })
    }
}

/// The same for measures that are ratios over clusters: `y` of either arm with the part taken out that the covariate `x`
/// explains, ready to be compared. Clusters of `x` and `y` must be the same, arm by arm; θ comes from what is left around
/// each arm's own ratio. `None` if clusters differ in number or the covariate has no spread.
pub fn cuped_ratios(
    first: (&ClusteredRatio, &ClusteredRatio),
    second: (&ClusteredRatio, &ClusteredRatio),
) -> Option<(ClusteredRatio, ClusteredRatio)> {
    let arms = [first, second];
    // Per cluster, so that θ does not depend on how many there are.
    let pooled = |of: fn(&(&ClusteredRatio, &ClusteredRatio)) -> f64| -> f64 {
        let scaled = arms.iter().map(|arm| of(arm) * (arm.0.n_clusters() as f64 - 1.0));
        scaled.zip(arms).map(|(sum, arm)| sum * arm.0.n_clusters() as f64).sum()
    };
    let (xy, xx) = (pooled(|(x, y)| x.covariance(y)), pooled(|(x, _)| x.variance()));
    if xx <= 0.0 {
        return None;
    }
    let theta = xy / xx;
    // What is not centred of the covariate cancels in the difference of the arms.
    let adjusted = |(x, y): (&ClusteredRatio, &ClusteredRatio)| {
        ClusteredRatio::combined(&[(1.0, y), (-theta, x)])
    };
    Some((adjusted(first)?, adjusted(second)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_covariate_changes_nothing_and_too_few_units_are_refused() {
        let arm = |values: &[f64]| {
            let mut sums = CovariateSums::default();
            values.iter().for_each(|&y| sums.add(1.0, y));
            sums
        };
        let cuped = Cuped::new(&arm(&[1.0, 2.0, 4.0]), &arm(&[2.0, 3.0])).unwrap();
        assert_eq!(cuped.theta, 0.0);
        assert!((cuped.test.difference - (2.5 - 7.0 / 3.0)).abs() < 1e-12);
        assert!(Cuped::new(&arm(&[1.0]), &arm(&[2.0, 3.0])).is_err());
        assert!(Cuped::new(&arm(&[f64::NAN, 1.0]), &arm(&[2.0, 3.0])).is_err());
    }
}
