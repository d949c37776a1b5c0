//! How large an experiment must be, and what a given size can show.

use super::basis::Basis;
use super::config::ExperimentConfig;
use super::contrast::Contrast;
use super::plan::{Direction, Inference, Metric};
use super::sequential::{NormalMixture, boundaries, crossing_probability};
use super::slot::SLOTS;
use crate::error::{Error, Result};
use crate::stats::PowerPlan;
use crate::stats::special::{bisect, normal_critical, normal_isf};

/// Looks that a group-sequential plan is sized for.
const LOOKS: [f64; 5] = [0.2, 0.4, 0.6, 0.8, 1.0];

impl ExperimentConfig {
    /// Mature units, all arms together, with which the plan tells the bad rate `challenger` of the challenger with the
    /// smallest share from the champion's, with its power at its α: what to set
    /// [`planned_units`](super::AnalysisPlan::planned_units) to. For a group-sequential plan with five looks evenly spread;
    /// for evidence that is valid at every look the chance to have it at the planned size, which is a little below the
    /// chance to ever have it. Where units make several requests, requests are another matter
    /// ([`design_effect`](crate::stats::design_effect)).
    ///
    /// # Errors
    /// `InvalidInput` for rates outside (0, 1) or equal ones; `InvalidConfig` if no challenger has a share, or in shadow.
    pub fn units_for_rates(&self, champion: f64, challenger: f64) -> Result<u64> {
        let power = |units: f64| self.power_at(units, champion, challenger);
        let mut most = 1e3;
        while power(most)? < self.plan.power {
            most *= 2.0;
            if most > 1e15 {
                return Err(Error::input("rates", "are too close to be told apart"));
            }
        }
        let missing = |units: f64| power(units).map_or(-1.0, |power| power - self.plan.power);
        Ok(bisect(10.0, most, missing).ceil() as u64)
    }

    /// Chance that the plan tells these rates apart at its [`planned_units`](super::AnalysisPlan::planned_units).
    ///
    /// # Errors
    /// As [`units_for_rates`](Self::units_for_rates).
    pub fn power_for_rates(&self, champion: f64, challenger: f64) -> Result<f64> {
        self.power_at(self.plan.planned_units as f64, champion, challenger)
    }

    /// The rate closest to the champion's, on the better side, that the plan tells from it at its
    /// [`planned_units`](super::AnalysisPlan::planned_units) with its power; `None` where not even a rate of 0 or 1 would do.
    ///
    /// # Errors
    /// As [`units_for_rates`](Self::units_for_rates).
    pub fn detectable_rate(&self, champion: f64) -> Result<Option<f64>> {
        let end = if self.plan.direction == Direction::Down { 0.0 } else { 1.0 };
        let rate = |share: f64| champion + share * (end - champion);
        let (nearest, farthest) = (1e-6, 1.0 - 1e-9);
        if self.power_for_rates(champion, rate(farthest))? < self.plan.power {
            return Ok(None);
        }
        let missing = |share: f64| {
            let power = self.power_for_rates(champion, rate(share));
            power.map_or(-1.0, |power| power - self.plan.power)
        };
        Ok(Some(rate(bisect(nearest, farthest, missing))))
    }

    /// Power with so many mature units, all arms together.
    fn power_at(&self, units: f64, champion: f64, challenger: f64) -> Result<f64> {
        let weights = &self.routing.weights_ppm;
        let first = f64::from(weights[0]);
        let second = weights[1..].iter().copied().filter(|share| *share > 0).min();
        let Some(second) = second.map(f64::from).filter(|_| first > 0.0 && !self.routing.shadow)
        else {
            let reason = "units are split neither by a share of zero nor in shadow";
            return Err(Error::config("experiment", reason));
        };
        let one = units / f64::from(SLOTS);
        let plan = PowerPlan { ratio: second / first, ..PowerPlan::default() };
        let (null, alternative) = plan.deviations(champion, challenger)?;
        let drift = (challenger - champion).abs() * (first * one).sqrt() / alternative;
        let events = one * (first * champion + second * challenger);
        let (looks, bounds) = self.bounds(events);
        // Bounds count in standard errors without a difference.
        let bounds: Vec<f64> = bounds.iter().map(|bound| bound * null / alternative).collect();
        crossing_probability(looks, &bounds, drift)
    }

    /// What |z| must reach at which shares of the planned size, that with so many events.
    fn bounds(&self, events: f64) -> (&'static [f64], Vec<f64>) {
        let alpha = self.plan.alpha / (self.arms.len() as f64 - 1.0).max(1.0);
        match self.plan.inference {
            Inference::GroupSequential { spending } => match boundaries(&LOOKS, alpha, spending) {
                Ok(bounds) => (&LOOKS, bounds),
                Err(_) => (&LOOKS[4..], vec![normal_critical(alpha)]),
            },
            Inference::FixedHorizon => (&LOOKS[4..], vec![normal_critical(alpha)]),
            Inference::ConfidenceSequence => {
                (&LOOKS[4..], vec![NormalMixture::critical_at_plan(alpha)])
            }
            Inference::EventProcess { strength } => {
                // A beta prior that weighs so many events is about a normal one on where events fall.
                let weight = events / strength;
                let squared = (1.0 + 1.0 / weight) * (weight.ln_1p() - 2.0 * alpha.ln());
                (&LOOKS[4..], vec![squared.sqrt()])
            }
        }
    }
}

impl Basis<'_> {
    /// The difference whose z at the planned size reaches its bound with the plan's power, by the spread so far. Of several
    /// looks only the last counts.
    pub(super) fn detectable(&self, metric: Metric, contrast: &Contrast) -> Option<f64> {
        let config = self.subject.config;
        let (size, planned) = self.size(metric);
        let error = contrast.estimate.standard_error * (size / planned).sqrt();
        let events = contrast.events.unwrap_or(0) as f64 * 2.0 * planned / size;
        let (_, bounds) = config.bounds(events.max(1.0));
        let bound = bounds.last()?;
        let detectable = (bound + normal_isf(1.0 - config.plan.power)) * error;
        (size > 0.0 && detectable.is_finite() && detectable > 0.0).then_some(detectable)
    }
}
