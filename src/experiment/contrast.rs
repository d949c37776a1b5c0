//! How far a challenger is from the champion on a metric, over all phases, and how sure that is.

use super::basis::{Basis, Covariates};
use super::comparison::Method;
use super::measure::{Measured, measure, paired_error};
use super::plan::Metric;
use super::record::Sum;
use crate::stats::{
    ClusteredRatio, CovariateSums, Cuped, Estimate, Proportion, TwoProportions, WelchTest,
    cuped_ratios, relative_lift,
};

/// A difference with what its evidence needs to know.
#[derive(Debug, Clone, Copy)]
pub(super) struct Contrast {
    /// Challenger less champion.
    pub(super) estimate: Estimate,
    /// As a share of the champion's value.
    pub(super) lift: Option<Estimate>,
    /// Share of the variance that a covariate took out.
    pub(super) variance_removed: Option<f64>,
    /// Bad labels of the arm with fewer; `None` for a metric that needs no labels.
    pub(super) events: Option<u64>,
    pub(super) method: Method,
}

/// A metric of a challenger and the champion, phase by phase.
struct MetricPairs {
    arm: u8,
    metric: Metric,
    phases: Vec<PhasePair>,
    events: Option<u64>,
}

/// A metric of both arms in one phase.
struct PhasePair {
    /// Requests that the comparison is worth, n m / (n + m), as a share of all phases'.
    share: f64,
    champion: Measured,
    challenger: Measured,
}

impl Basis<'_> {
    /// Both arms' units that are mature, with those that were bad.
    pub(super) fn mature_units(&self, arm: u8) -> Option<TwoProportions> {
        let rate = |arm: u8| self.units[usize::from(arm)].rate();
        Some(TwoProportions { first: rate(0)?, second: rate(arm)? })
    }

    pub(super) fn contrast(&self, arm: u8, metric: Metric) -> Option<Contrast> {
        if metric == Metric::UnitBadRate {
            return self.contrast_of_units(arm);
        }
        let minor_units = f64::from(self.subject.config.plan.minor_units);
        let (mut pairs, mut events) = (Vec::new(), [0u64; 2]);
        for phase in 0..=usize::from(self.phase) {
            let sums = |arm: u8| self.statistics.arm(phase, usize::from(arm));
            let (Some(a), Some(b)) = (sums(0), sums(arm)) else { continue };
            let measured = |sums, arm: u8| {
                let index = u64::from(arm) * 1024 + phase as u64;
                measure(sums, metric, minor_units, self.seed.derive("resample", index))
            };
            let (Some(champion), Some(challenger)) = (measured(a, 0), measured(b, arm)) else {
                continue;
            };
            let [n, m] = [a, b].map(|sums| sums.total(Sum::Requests).max(1) as f64);
            pairs.push(PhasePair { share: n * m / (n + m), champion, challenger });
            events[0] += a.total(Sum::Bad).unsigned_abs();
            events[1] += b.total(Sum::Bad).unsigned_abs();
        }
        let needs_labels = !matches!(metric, Metric::ApprovalRate | Metric::Latency);
        let events = needs_labels.then(|| events[0].min(events[1]));
        let total: f64 = pairs.iter().map(|pair| pair.share).sum();
        pairs.iter_mut().for_each(|pair| pair.share /= total);
        let pairs = MetricPairs { arm, metric, phases: pairs, events };
        match pairs.phases.first()?.champion {
            Measured::Ratio(_) => self.contrast_of_ratios(&pairs),
            _ => self.contrast_of_scores(&pairs),
        }
    }

    /// The phases of one arm add up cluster by cluster, because a unit is the same cluster in all of them.
    fn contrast_of_ratios(&self, pairs: &MetricPairs) -> Option<Contrast> {
        let MetricPairs { arm, metric, ref phases, events } = *pairs;
        let over_phases = |of: fn(&PhasePair) -> &Measured| {
            let part = |pair| match of(pair) {
                Measured::Ratio(ratio) => Some((pair.share, ratio)),
                _ => None,
            };
            let parts: Vec<(f64, &ClusteredRatio)> =
                phases.iter().map(part).collect::<Option<_>>()?;
            ClusteredRatio::combined(&parts)
        };
        let champion = over_phases(|pair| &pair.champion)?;
        let challenger = over_phases(|pair| &pair.challenger)?;
        if self.shadow() {
            let both = ClusteredRatio::combined(&[(1.0, &challenger), (-1.0, &champion)])?;
            let method = match metric {
                Metric::Accuracy => Method::McNemar,
                _ => Method::ClusteredRatio,
            };
            let (estimate, covariance) = (both.estimate(), both.covariance(&champion));
            let lift = relative_lift(&champion.estimate(), &estimate, covariance);
            return Some(Contrast { estimate, lift, variance_removed: None, events, method });
        }
        let plain = ClusteredRatio::difference(&champion, &challenger);
        let covariate = |arm: usize| self.covariates.get(arm)?.ratio();
        let adjusted = covariate(0)
            .zip(covariate(usize::from(arm)))
            .and_then(|(x, z)| cuped_ratios((&x, &champion), (&z, &challenger)));
        let Some((first, second)) = adjusted else {
            let lift = relative_lift(&champion.estimate(), &plain, -champion.variance());
            let method = Method::ClusteredRatio;
            return Some(Contrast {
                estimate: plain,
                lift,
                variance_removed: None,
                events,
                method,
            });
        };
        let estimate = ClusteredRatio::difference(&first, &second);
        let lift = relative_lift(&champion.estimate(), &estimate, -first.covariance(&champion));
        let variance_removed = removed(plain.standard_error, estimate.standard_error);
        Some(Contrast { estimate, lift, variance_removed, events, method: Method::Cuped })
    }

    /// Metrics of the order of scores, whose phases count as independent.
    fn contrast_of_scores(&self, pairs: &MetricPairs) -> Option<Contrast> {
        let MetricPairs { arm, metric, ref phases, events } = *pairs;
        let over_phases = |of: fn(&PhasePair) -> &Measured| {
            let parts = phases.iter().map(|pair| (pair.share, of(pair).estimate()));
            let (value, variance) = parts.fold((0.0, 0.0), |(value, variance), (share, part)| {
                let error = share * part.standard_error;
                (value + share * part.value, variance + error * error)
            });
            Estimate { value, standard_error: variance.sqrt() }
        };
        let champion = over_phases(|pair| &pair.champion);
        let challenger = over_phases(|pair| &pair.challenger);
        let variances = [champion, challenger].map(|arm| arm.standard_error.powi(2));
        let apart = (variances[0] + variances[1]).sqrt();
        let together = self.statistics.pair(arm).filter(|_| self.shadow()).and_then(|pair| {
            paired_error(metric, pair, self.seed.derive("resample", u64::from(arm) * 1024 + 99))
        });
        let standard_error = together.unwrap_or(apart);
        let estimate = Estimate { value: challenger.value - champion.value, standard_error };
        // Var B = Var A + Var (B − A) + 2 Cov (A, B − A).
        let covariance = 0.5 * (variances[1] - variances[0] - standard_error * standard_error);
        let lift = relative_lift(&champion, &estimate, covariance);
        let method = match phases.first()?.champion {
            Measured::Auc(_) => Method::DeLong,
            _ => Method::Bootstrap,
        };
        Some(Contrast { estimate, lift, variance_removed: None, events, method })
    }

    fn contrast_of_units(&self, arm: u8) -> Option<Contrast> {
        let two = self.mature_units(arm)?;
        let events = two.first.events().min(two.second.events());
        let method = if events < 10 { Method::Fisher } else { Method::TwoProportions };
        let mut contrast = Contrast {
            estimate: two.pooled(),
            lift: None,
            variance_removed: None,
            events: Some(events),
            method,
        };
        let covariates = |arm: u8| self.covariates.get(usize::from(arm));
        if let Some((first, second)) = covariates(0).zip(covariates(arm)) {
            contrast.take_out(&first.beside(&two.first), &second.beside(&two.second));
        }
        let variance = |share: &Proportion| share.rate() * (1.0 - share.rate()) / share.n() as f64;
        let left = 1.0 - contrast.variance_removed.unwrap_or(0.0);
        let standard_error = variance(&two.first).sqrt();
        let first = Estimate { value: two.first.rate(), standard_error };
        let own = (left * (variance(&two.first) + variance(&two.second))).sqrt();
        let difference = Estimate { standard_error: own, ..contrast.estimate };
        contrast.lift = relative_lift(&first, &difference, -left * variance(&two.first));
        Some(contrast)
    }
}

impl Contrast {
    /// CUPED on shares of units. The error stays the pooled one, which is sound for few events, less what is taken out.
    fn take_out(&mut self, first: &CovariateSums, second: &CovariateSums) {
        let plain = [first, second].map(CovariateSums::plain);
        let plain = plain[0].as_ref().zip(plain[1].as_ref());
        let plain = plain.and_then(|(first, second)| WelchTest::new(first, second).ok());
        let (Some(plain), Ok(cuped)) = (plain, Cuped::new(first, second)) else { return };
        let Some(removed) = removed(plain.standard_error, cuped.test.standard_error) else {
            return;
        };
        self.estimate.value = cuped.test.difference;
        self.estimate.standard_error *= (1.0 - removed).sqrt();
        self.variance_removed = Some(removed);
        self.method = Method::Cuped;
    }
}

impl Covariates {
    /// The covariate per unit, by variance bucket.
    fn ratio(&self) -> Option<ClusteredRatio> {
        ClusteredRatio::new(self.buckets.iter().map(|&(sum, units)| (sum as f64, units as f64)))
    }

    /// Of mature units, beside whether they were bad.
    fn beside(&self, units: &Proportion) -> CovariateSums {
        let (x, xx, xy) = self.mature;
        let bad = units.events() as f64;
        CovariateSums { n: units.n(), x: x as f64, y: bad, xx: xx as f64, yy: bad, xy: xy as f64 }
    }
}

/// Share of a variance that is gone; `None` without one.
fn removed(plain: f64, left: f64) -> Option<f64> {
    (plain > 0.0).then(|| (1.0 - (left / plain).powi(2)).max(0.0))
}
