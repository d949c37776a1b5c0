//! How many units a comparison needs, and what a given number can show.

use super::interval::check_alpha;
use super::special::{bisect, normal_cdf, normal_critical, normal_isf};
use crate::error::{Error, Result};

/// Error probabilities of a planned two-sided test, and how its units are split.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PowerPlan {
    /// Chance of seeing a difference where there is none.
    pub alpha: f64,
    /// Chance of seeing the difference that is planned for.
    pub power: f64,
    /// Units of the second arm per unit of the first.
    pub ratio: f64,
}

/// α 5 %, power 80 %, arms of the same size.
impl Default for PowerPlan {
    fn default() -> Self {
        PowerPlan { alpha: 0.05, power: 0.8, ratio: 1.0 }
    }
}

impl PowerPlan {
    fn check(&self) -> Result<()> {
        check_alpha(self.alpha)?;
        // Below α/2 no number of units is small enough.
        if !(self.power > self.alpha / 2.0 && self.power < 1.0) {
            return Err(Error::input("power", format!("{} is not between α/2 and 1", self.power)));
        }
        if !(self.ratio > 0.0 && self.ratio.is_finite()) {
            return Err(Error::input("ratio", format!("{} is not positive", self.ratio)));
        }
        Ok(())
    }

    fn z(&self) -> (f64, f64) {
        (normal_critical(self.alpha), normal_isf(1.0 - self.power))
    }

    /// Units of the first arm for telling rate `second` from `first`: round it up. The pooled variance stands under no
    /// difference, each arm's own under the difference (Fleiss 1981), as in R's `power.prop.test`.
    ///
    /// # Errors
    /// `InvalidInput` for an unsound plan, rates outside (0, 1) or equal ones.
    pub fn units_for_rates(&self, first: f64, second: f64) -> Result<f64> {
        let (null, alternative) = self.deviations(first, second)?;
        let (z_alpha, z_power) = self.z();
        Ok(((z_alpha * null + z_power * alternative) / (second - first)).powi(2))
    }

    /// Events that the same comparison needs, both arms together: what rare rates are planned by.
    ///
    /// # Errors
    /// As [`units_for_rates`](Self::units_for_rates).
    pub fn events_for_rates(&self, first: f64, second: f64) -> Result<f64> {
        Ok(self.units_for_rates(first, second)? * (first + self.ratio * second))
    }

    /// Power of telling rate `second` from `first` with `n_first` units in the first arm; the plan's own power is not
    /// looked at.
    ///
    /// # Errors
    /// As [`units_for_rates`](Self::units_for_rates), and for fewer than one unit.
    pub fn power_for_rates(&self, first: f64, second: f64, n_first: f64) -> Result<f64> {
        check_units(n_first)?;
        let (null, alternative) = self.deviations(first, second)?;
        let distance = (second - first).abs() * n_first.sqrt();
        Ok(normal_cdf((distance - self.z().0 * null) / alternative))
    }

    /// The smallest rise from rate `first` that `n_first` units show with the plan's power; `None` where even a rise to 1
    /// would be missed.
    ///
    /// # Errors
    /// As [`power_for_rates`](Self::power_for_rates).
    pub fn detectable_rise(&self, first: f64, n_first: f64) -> Result<Option<f64>> {
        self.detectable(first, n_first, 1.0 - first, 1.0)
    }

    /// The smallest fall from rate `first` that `n_first` units show with the plan's power; `None` where even a fall to 0
    /// would be missed.
    ///
    /// # Errors
    /// As [`power_for_rates`](Self::power_for_rates).
    pub fn detectable_fall(&self, first: f64, n_first: f64) -> Result<Option<f64>> {
        self.detectable(first, n_first, first, -1.0)
    }

    fn detectable(&self, first: f64, n: f64, room: f64, sign: f64) -> Result<Option<f64>> {
        let (smallest, largest) = (room * 1e-9, room * (1.0 - 1e-9));
        self.power_for_rates(first, first + sign * largest, n)?;
        let missing = |effect: f64| {
            let power = self.power_for_rates(first, first + sign * effect, n);
            power.expect("rates between the ones checked") - self.power
        };
        Ok((missing(largest) >= 0.0).then(|| bisect(smallest, largest, missing)))
    }

    /// Standard deviations, for one unit in the first arm, of the difference without and with the effect.
    ///
    /// # Errors
    /// As [`units_for_rates`](Self::units_for_rates).
    pub(crate) fn deviations(&self, first: f64, second: f64) -> Result<(f64, f64)> {
        self.check()?;
        check_rates(first, second)?;
        let r = self.ratio;
        let pooled = (first + r * second) / (1.0 + r);
        let null = ((1.0 + 1.0 / r) * pooled * (1.0 - pooled)).sqrt();
        let alternative = (first * (1.0 - first) + second * (1.0 - second) / r).sqrt();
        Ok((null, alternative))
    }

    /// Units of the first arm for telling means that lie `effect` standard deviations apart, by the normal approximation
    /// (about one unit fewer than by Student's).
    ///
    /// # Errors
    /// `InvalidInput` for an unsound plan or an effect that is zero or not finite.
    pub fn units_for_means(&self, effect: f64) -> Result<f64> {
        self.check()?;
        if effect == 0.0 || !effect.is_finite() {
            return Err(Error::input("effect", format!("{effect} cannot be planned for")));
        }
        let (z_alpha, z_power) = self.z();
        Ok((1.0 + 1.0 / self.ratio) * ((z_alpha + z_power) / effect).powi(2))
    }

    /// Rows that McNemar's test needs where the first alone is right on a share `first_only` of them and the second alone
    /// on `second_only` (Connor 1987).
    ///
    /// # Errors
    /// `InvalidInput` for an unsound plan, shares that are not positive, equal, or more than 1 together.
    pub fn rows_for_mcnemar(&self, first_only: f64, second_only: f64) -> Result<f64> {
        self.check()?;
        check_rates(first_only, second_only)?;
        let (discordant, gap) = (first_only + second_only, second_only - first_only);
        if discordant > 1.0 {
            return Err(Error::input("shares", format!("{discordant} of the rows are discordant")));
        }
        let (z_alpha, z_power) = self.z();
        let alternative = (discordant - gap * gap).sqrt();
        Ok(((z_alpha * discordant.sqrt() + z_power * alternative) / gap).powi(2))
    }
}

/// How many times more rows are needed where rows come in clusters of `mean_size` with this coefficient of variation, and
/// rows of one cluster correlate by `correlation` (Kish; Eldridge, Ashby and Kerry 2006 for unequal sizes).
pub fn design_effect(mean_size: f64, size_variation: f64, correlation: f64) -> f64 {
    1.0 + ((1.0 + size_variation * size_variation) * mean_size - 1.0) * correlation
}

fn check_rates(first: f64, second: f64) -> Result<()> {
    let within = |rate: f64| rate > 0.0 && rate < 1.0;
    if !within(first) || !within(second) || first == second {
        let reason = format!("{first} and {second} are not two rates between 0 and 1");
        return Err(Error::input("rates", reason));
    }
    Ok(())
}

fn check_units(n: f64) -> Result<()> {
    if n >= 1.0 && n.is_finite() {
        return Ok(());
    }
    Err(Error::input("units", format!("{n} are too few")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plans_that_cannot_be_are_refused() {
        let plan = PowerPlan::default();
        assert!(plan.units_for_rates(0.1, 0.1).is_err());
        assert!(plan.units_for_rates(0.0, 0.1).is_err());
        assert!(PowerPlan { power: 1.0, ..plan }.units_for_rates(0.1, 0.2).is_err());
        assert!(PowerPlan { ratio: f64::NAN, ..plan }.units_for_means(0.1).is_err());
        assert!(plan.rows_for_mcnemar(0.6, 0.5).is_err());
        assert!(plan.power_for_rates(0.1, 0.2, f64::NAN).is_err());
        assert_eq!(plan.detectable_fall(0.001, 20.0).unwrap(), None);
    }
}
