//! Labels that come late: how much of them is there yet.

use crate::error::{Error, Result};

/// The share of labels that have come by an age: 0 at first, 1 in the end.
#[derive(Debug, Clone, PartialEq)]
pub struct DelayCurve {
    /// Age in days and share, both rising.
    points: Vec<(f64, f64)>,
}

/// Requests of one age, and the events among them that are known so far.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AgeCohort {
    /// Age in days.
    pub age: f64,
    /// Requests.
    pub requests: u64,
    /// Known events.
    pub events: u64,
}

impl DelayCurve {
    /// A curve through these points (age in days, share of labels that have come by then), linear between them, flat
    /// before the first and after the last.
    ///
    /// # Errors
    /// `InvalidInput` without points, for shares outside `0.0..=1.0`, or points that do not rise.
    pub fn new(points: Vec<(f64, f64)>) -> Result<Self> {
        let rising = points.windows(2).all(|two| two[0].0 < two[1].0 && two[0].1 <= two[1].1);
        let sound =
            points.iter().all(|(age, share)| age.is_finite() && (0.0..=1.0).contains(share));
        if points.is_empty() || !rising || !sound {
            let reason = "rising ages and rising shares within 0 to 1 are needed";
            return Err(Error::input("delay curve", reason));
        }
        Ok(DelayCurve { points })
    }

    /// From events by the whole days that their labels took, of requests so old that no label is missing. `None` without
    /// events.
    ///
    /// A label that took k whole days falls, on the average over a day of requests, half into the k-th day after and half
    /// into the next.
    pub(super) fn of_delays(events: &[u64]) -> Option<Self> {
        let total: u64 = events.iter().sum();
        if total == 0 {
            return None;
        }
        let (mut points, mut before) = (vec![(0.0, 0.0)], 0);
        for (age, &count) in (1..).zip(events) {
            let middle = before as f64 + 0.5 * count as f64;
            points.push((f64::from(age), middle / total as f64));
            before += count;
        }
        points.push((events.len() as f64 + 1.0, 1.0));
        Some(DelayCurve { points })
    }

    /// Share of labels that have come by an age in days.
    pub fn at(&self, age: f64) -> f64 {
        let after = self.points.partition_point(|(point, _)| *point <= age);
        let Some(&(age_1, share_1)) = self.points.get(after) else {
            return self.points[self.points.len() - 1].1;
        };
        let Some(&(age_0, share_0)) = after.checked_sub(1).and_then(|i| self.points.get(i)) else {
            return share_1;
        };
        share_0 + (share_1 - share_0) * (age - age_0) / (age_1 - age_0)
    }

    /// The rate that known events point to once all labels have come: Σ events / Σ requests × share come by their age, the
    /// Poisson maximum likelihood. Biased if labels come sooner in one arm than in another. `None` where no label can have
    /// come yet.
    pub fn adjusted_rate(&self, cohorts: &[AgeCohort]) -> Option<f64> {
        let exposure: f64 = cohorts.iter().map(|c| c.requests as f64 * self.at(c.age)).sum();
        let events: u64 = cohorts.iter().map(|cohort| cohort.events).sum();
        (exposure > 0.0).then(|| events as f64 / exposure)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_curve_of_delays_and_one_without_delay() {
        assert_eq!(DelayCurve::of_delays(&[0, 0]), None);
        let week = DelayCurve::of_delays(&[0, 0, 0, 0, 0, 0, 0, 10]).unwrap();
        assert_eq!((week.at(7.0), week.at(8.0), week.at(9.0), week.at(99.0)), (0.0, 0.5, 1.0, 1.0));
        let cohorts = [AgeCohort { age: 20.0, requests: 1000, events: 7 }];
        assert_eq!(week.adjusted_rate(&cohorts), Some(0.007));
        assert_eq!(week.adjusted_rate(&[AgeCohort { age: 3.0, ..cohorts[0] }]), None);
        assert!(DelayCurve::new(vec![(0.0, 0.5), (1.0, 0.4)]).is_err());
        assert!(DelayCurve::new(vec![(0.0, f64::NAN)]).is_err());
    }
}
