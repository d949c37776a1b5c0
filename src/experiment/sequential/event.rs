//! The beta-binomial event e-process.

use crate::error::{Error, Result};
use crate::stats::Interval;
use crate::stats::special::{bisect, ln_beta, ln_beta_upper};

/// In which of two arms events fall. If both arms are alike, each event falls into the second with probability equal to its
/// share of the units, whatever the rate: the process bets against that with a beta prior around the share, and its gain
/// E is a martingale that starts at 1. By Ville's inequality it ever reaches 1/α with probability at most α, so one may look
/// after every event. No variance is estimated, so rare events and uneven arms do no harm.
///
/// Counts of several phases, each with its own share, multiply. Cost: O(phases).
///
/// Valid for events that are independent given the arm: first events per unit, or discordant rows with share ½ (a
/// sequential McNemar test). Independence of the rows is that test's own assumption: where a few customers make many of the
/// rows that champion and challenger judge differently, their rows come together, E grows faster than it may, and the stated α
/// does not hold. Compare by [`ConfidenceSequence`](crate::experiment::Inference::ConfidenceSequence) then, whose errors are
/// those of the variance buckets, and count customers as wholes.
#[derive(Debug, Clone, PartialEq)]
pub struct EventProcess {
    strength: f64,
    strata: Vec<Stratum>,
}

/// Events under one split of units.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Stratum {
    /// Share of the second arm.
    share: f64,
    first: f64,
    second: f64,
}

impl EventProcess {
    /// Nothing has happened yet. The prior weighs `strength` events: a beta distribution with parameters strength × share
    /// and strength × (1 − share).
    ///
    /// # Errors
    /// `InvalidConfig` unless `strength` is positive and finite.
    pub fn new(strength: f64) -> Result<Self> {
        if !(strength > 0.0 && strength.is_finite()) {
            return Err(Error::config("event process", format!("strength {strength}")));
        }
        Ok(EventProcess { strength, strata: Vec::new() })
    }

    /// Adds a phase in which the second arm has this share of both arms' units.
    ///
    /// # Errors
    /// `InvalidInput` for a share outside (0, 1).
    pub fn with_events(mut self, share: f64, first: u64, second: u64) -> Result<Self> {
        if !(share > 0.0 && share < 1.0) {
            return Err(Error::input("share", format!("{share} is not between 0 and 1")));
        }
        self.strata.push(Stratum { share, first: first as f64, second: second as f64 });
        Ok(self)
    }

    /// ln E of "both arms have the same rate": above ln(1/α) rejects at α.
    pub fn ln_e(&self) -> f64 {
        self.ln_e_at(0.0)
    }

    /// ln E against "the second arm's rate is at most the first's": the prior cut off below the share.
    pub fn ln_e_greater(&self) -> f64 {
        let strata = self.strata.iter().map(|stratum| {
            let (a, b) = self.prior(stratum);
            let above = ln_beta_upper(a + stratum.second, b + stratum.first, stratum.share);
            stratum.ln_e(a, b, stratum.ln_odds()) + above - ln_beta_upper(a, b, stratum.share)
        });
        strata.sum()
    }

    /// ln E against "the second arm's rate is at least the first's".
    pub fn ln_e_less(&self) -> f64 {
        let mirrored = self.strata.iter().map(|s| Stratum {
            share: 1.0 - s.share,
            first: s.second,
            second: s.first,
        });
        EventProcess { strength: self.strength, strata: mirrored.collect() }.ln_e_greater()
    }

    /// ln E of "the second arm's rate is exp(`ln_ratio`) times the first's".
    fn ln_e_at(&self, ln_ratio: f64) -> f64 {
        let strata = self.strata.iter().map(|stratum| {
            let (a, b) = self.prior(stratum);
            stratum.ln_e(a, b, ln_ratio + stratum.ln_odds())
        });
        strata.sum()
    }

    fn prior(&self, stratum: &Stratum) -> (f64, f64) {
        (self.strength * stratum.share, self.strength * (1.0 - stratum.share))
    }

    /// Confidence sequence of the ratio of the rates, second over first: the ratios that are not rejected at `alpha`. From 0
    /// to infinity before there are events enough to say anything.
    pub fn rate_ratio(&self, alpha: f64) -> Interval {
        let limit = -alpha.ln();
        let (first, second) = self.strata.iter().fold((0.0, 0.0), |(first, second), stratum| {
            (first + stratum.first, second + stratum.second)
        });
        // ln E is convex in the logarithm of the ratio and lowest near where the events point to.
        let inside = |ln_ratio: f64| limit - self.ln_e_at(ln_ratio);
        const FAR: f64 = 60.0;
        let middle = self.least_rejected(FAR);
        let lower = match second > 0.0 && inside(-FAR) < 0.0 {
            true => bisect(-FAR, middle, inside).exp(),
            false => 0.0,
        };
        let upper = match first > 0.0 && inside(FAR) < 0.0 {
            true => bisect(middle, FAR, |x| -inside(x)).exp(),
            false => f64::INFINITY,
        };
        Interval { lower, upper }
    }

    /// ln of the ratio where ln E is lowest, by golden-section search of a convex function.
    fn least_rejected(&self, far: f64) -> f64 {
        let (mut low, mut high) = (-far, far);
        for _ in 0..120 {
            let (left, right) = (low + 0.382 * (high - low), high - 0.382 * (high - low));
            if self.ln_e_at(left) <= self.ln_e_at(right) {
                high = right;
            } else {
                low = left;
            }
        }
        0.5 * (low + high)
    }
}

impl Stratum {
    fn ln_odds(&self) -> f64 {
        (self.share / (1.0 - self.share)).ln()
    }

    /// ln of the beta-binomial marginal over the likelihood of events that fall into the second arm with these odds.
    fn ln_e(&self, a: f64, b: f64, ln_odds: f64) -> f64 {
        let marginal = ln_beta(a + self.second, b + self.first) - ln_beta(a, b);
        // Minus the logarithms of both probabilities, without cancellation at either end.
        marginal + self.second * ln_one_plus_exp(-ln_odds) + self.first * ln_one_plus_exp(ln_odds)
    }
}

/// ln(1 + eˣ).
fn ln_one_plus_exp(x: f64) -> f64 {
    x.max(0.0) + (-x.abs()).exp().ln_1p()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_seen_says_nothing() {
        let none = EventProcess::new(50.0).unwrap();
        assert_eq!((none.ln_e(), none.ln_e_greater()), (0.0, 0.0));
        let none = none.with_events(0.1, 0, 0).unwrap();
        assert!(none.ln_e().abs() < 1e-12 && none.ln_e_greater().abs() < 1e-12);
        assert_eq!(none.rate_ratio(0.05), Interval { lower: 0.0, upper: f64::INFINITY });
        assert!(EventProcess::new(0.0).is_err());
        assert!(EventProcess::new(1.0).unwrap().with_events(1.0, 0, 0).is_err());
    }

    #[test]
    fn the_interval_leaves_out_one_exactly_where_the_process_rejects() {
        for (first, second) in [(10, 10), (10, 30), (40, 10), (0, 12), (100, 130)] {
            let process = EventProcess::new(20.0).unwrap().with_events(0.5, first, second).unwrap();
            let rejected = process.ln_e() >= -(0.05f64.ln());
            assert_eq!(!process.rate_ratio(0.05).contains(1.0), rejected, "{first} {second}");
        }
    }
}
