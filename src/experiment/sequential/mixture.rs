//! The normal-mixture confidence sequence.

use crate::stats::{Estimate, Interval};

/// A confidence sequence for an estimate that is about normal, with a normal prior of variance τ² around no effect
/// (Robbins 1970; the mSPRT of Johari, Koomen, Pekelis and Walsh 2022). Valid at every look as far as the estimate is
/// normal with the variance it is given: take the pooled variance for shares, and wait for some 30 events per arm.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NormalMixture {
    /// Prior variance of the effect.
    tau_squared: f64,
}

impl NormalMixture {
    /// With a prior standard deviation of the effect, about the size that is hoped for; it must be chosen before the data
    /// are seen.
    pub fn new(tau: f64) -> Self {
        NormalMixture { tau_squared: tau * tau }
    }

    /// The one that is narrowest at `planned` units, given the variance of the estimate at `units` of them: the
    /// asymptotic confidence sequence of Waudby-Smith, Arbour, Sinha, Kennedy and Ramdas (2024).
    pub fn tuned(variance: f64, units: f64, planned: f64, alpha: f64) -> Self {
        let squared = -2.0 * alpha.ln();
        NormalMixture { tau_squared: variance * units * (squared + squared.ln_1p()) / planned }
    }

    /// |z| that rejects at `alpha` with the planned size reached, of the one that is narrowest there.
    pub(in crate::experiment) fn critical_at_plan(alpha: f64) -> f64 {
        let unit = Estimate { value: 0.0, standard_error: 1.0 };
        NormalMixture::tuned(1.0, 1.0, 1.0, alpha).interval(unit, alpha).upper
    }

    /// ln of the mixture over the likelihood of no effect: above ln(1/α) rejects at α.
    pub fn ln_e(&self, estimate: Estimate) -> f64 {
        let (v, tau_squared) = (estimate.standard_error.powi(2), self.tau_squared);
        if v == 0.0 || tau_squared == 0.0 {
            return 0.0;
        }
        let total = v + tau_squared;
        0.5 * (v / total).ln() + tau_squared * estimate.value.powi(2) / (2.0 * v * total)
    }

    /// The effects that are not rejected at `alpha`.
    pub fn interval(&self, estimate: Estimate, alpha: f64) -> Interval {
        let (v, tau_squared) = (estimate.standard_error.powi(2), self.tau_squared);
        if v == 0.0 || tau_squared == 0.0 {
            return Interval { lower: f64::NEG_INFINITY, upper: f64::INFINITY };
        }
        let total = v + tau_squared;
        let margin = v * total / tau_squared * ((total / v).ln() - 2.0 * alpha.ln());
        Interval::around(estimate.value, margin.sqrt())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_spread_nothing_is_said() {
        let none = Estimate { value: 1.0, standard_error: 0.0 };
        assert_eq!(NormalMixture::new(0.1).ln_e(none), 0.0);
        assert_eq!(NormalMixture::new(0.1).interval(none, 0.05).width(), f64::INFINITY);
    }
}
