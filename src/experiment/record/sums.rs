//! What is counted per phase and arm: sums in whole numbers.

use super::score::{self, N_BANDS, N_BINS};
use crate::codec::{MOST_SUMMED, total};
use crate::evaluate::Costs;
use crate::stats::LatencyHistogram;

/// Variance buckets: units fall into one of them by hash, and a bucket counts as a cluster.
pub(in crate::experiment) const N_BUCKETS: usize = 256;
/// Weights are whole multiples of 1/1024: 1 is exact, and so is one over any share of which 1024 is a multiple.
pub(in crate::experiment) const WEIGHT_ONE: i64 = 1 << 10;

/// A sum over requests, of one arm and variance bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(in crate::experiment) enum Sum {
    /// Requests.
    Requests,
    /// Those with an alert.
    Alerts,
    /// Nanoseconds.
    Latency,
    /// Weights of labelled requests: bad with an alert.
    TruePositives,
    /// Good with an alert.
    FalsePositives,
    /// Good without.
    TrueNegatives,
    /// Bad without.
    FalseNegatives,
    /// Weighted minor units of labelled requests.
    Amount,
    /// Of the bad ones.
    BadAmount,
    /// Weighted cost in minor units.
    Cost,
    /// Weights of labelled requests with a score.
    Scored,
    /// Weighted squared distance of score and label.
    Brier,
    /// Weighted log loss.
    LogLoss,
    /// Bad labels, not weighted.
    Bad,
}

/// Sums that an exposure adds to; those behind them belong to outcomes.
const N_EXPOSURE_SUMS: usize = Sum::TruePositives as usize;
const N_OUTCOME_SUMS: usize = Sum::Bad as usize + 1 - N_EXPOSURE_SUMS;
/// The first of the outcomes' places that are counts: bad labels, then requests with a label by score band.
const BAD: usize = Sum::Bad as usize - N_EXPOSURE_SUMS;
const MOST: i64 = MOST_SUMMED as i64;

/// Requests of one day, and their labels by age.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(in crate::experiment) struct Cohort {
    /// Day since 1970-01-01 UTC.
    pub(in crate::experiment) day: i32,
    pub(in crate::experiment) requests: u64,
    /// Labels by whole days after the request; the last place holds all later ones.
    pub(in crate::experiment) labels: Box<[u32]>,
    /// Bad ones among them.
    pub(in crate::experiment) bad: Box<[u32]>,
}

/// All counts of one arm in one phase, some 100 kB.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::experiment) struct ArmSums {
    /// By variance bucket: the sums, then by score band the requests whose label is to become known. 64 bytes, apart from
    /// the outcomes, because exposures are many and touch nothing else.
    pub(super) exposures: Vec<[i64; N_EXPOSURE_SUMS + N_BANDS]>,
    /// By variance bucket: the sums, then by score band the requests with a label.
    pub(super) outcomes: Vec<[i64; N_OUTCOME_SUMS + N_BANDS]>,
    /// Weights by score bin: bad, their squares, good, their squares.
    pub(in crate::experiment) bins: [Vec<u64>; 4],
    pub(in crate::experiment) latency: LatencyHistogram,
    /// In order of days.
    pub(in crate::experiment) days: Vec<Cohort>,
}

/// One request as an arm sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Scored {
    pub(super) bucket: u8,
    pub(super) alert: bool,
    /// In steps of 2⁻³².
    pub(super) score: Option<u32>,
}

/// Its label, and what goes with it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Label {
    pub(super) bad: bool,
    /// Minor units.
    pub(super) amount: i64,
    pub(super) weight: i64,
}

impl ArmSums {
    pub(super) fn new() -> Self {
        ArmSums {
            exposures: vec![[0; N_EXPOSURE_SUMS + N_BANDS]; N_BUCKETS],
            outcomes: vec![[0; N_OUTCOME_SUMS + N_BANDS]; N_BUCKETS],
            bins: std::array::from_fn(|_| vec![0; N_BINS]),
            latency: LatencyHistogram::default(),
            days: Vec::new(),
        }
    }

    /// `sampled`: whether its label is to become known.
    #[inline]
    pub(super) fn expose(&mut self, row: Scored, sampled: bool, latency_nanos: u32) {
        let sums = &mut self.exposures[usize::from(row.bucket)];
        sums[Sum::Requests as usize] += 1;
        sums[Sum::Alerts as usize] += i64::from(row.alert);
        sums[Sum::Latency as usize] += i64::from(latency_nanos);
        sums[N_EXPOSURE_SUMS + score::band(row.score)] += i64::from(sampled);
        if latency_nanos > 0 {
            self.latency.record(u64::from(latency_nanos));
        }
    }

    /// The cohort of a day; `n_ages` places for labels. `None` for a day too many.
    #[inline]
    pub(super) fn cohort(
        &mut self,
        day: i32,
        n_ages: usize,
        max_days: usize,
    ) -> Option<&mut Cohort> {
        // Most requests are of the last day.
        let place = match self.days.last() {
            Some(last) if last.day == day => Ok(self.days.len() - 1),
            _ => self.days.binary_search_by_key(&day, |cohort| cohort.day),
        };
        let place = match place {
            Ok(place) => place,
            Err(_) if self.days.len() >= max_days => return None,
            Err(place) => {
                let [labels, bad] = [(); 2].map(|()| vec![0; n_ages].into());
                self.days.insert(place, Cohort { day, requests: 0, labels, bad });
                place
            }
        };
        Some(&mut self.days[place])
    }

    pub(super) fn label(&mut self, row: Scored, label: Label, costs: &Costs, minor_units: f64) {
        let (Scored { bucket, alert, score }, Label { bad, amount, weight }) = (row, label);
        let sums = &mut self.outcomes[usize::from(bucket)];
        sums[N_OUTCOME_SUMS + score::band(score)] += 1;
        let mut add = |sum: Sum, value: i64| {
            let place = &mut sums[sum as usize - N_EXPOSURE_SUMS];
            *place = place.saturating_add(value).clamp(-MOST, MOST);
        };
        add(Sum::Bad, i64::from(bad));
        let cell = match (bad, alert) {
            (true, true) => Sum::TruePositives,
            (false, true) => Sum::FalsePositives,
            (false, false) => Sum::TrueNegatives,
            (true, false) => Sum::FalseNegatives,
        };
        add(cell, weight);
        let money = weight.saturating_mul(amount);
        add(Sum::Amount, money);
        add(Sum::BadAmount, if bad { money } else { 0 });
        let cost = costs.of(bad, alert, amount as f64 / minor_units) * minor_units;
        // Rounded by hand: `round` is a call into the C library on most processors.
        add(Sum::Cost, weight.saturating_mul((cost + 0.5f64.copysign(cost)) as i64));
        if let Some(steps) = score {
            add(Sum::Scored, weight);
            add(Sum::Brier, weight.saturating_mul(score::brier(steps, bad)));
            add(Sum::LogLoss, weight.saturating_mul(score::log_loss(steps, bad)));
            let (bin, weight) = (score::bin(steps), weight as u64);
            let first = if bad { 0 } else { 2 };
            for (bins, weight) in [(first, weight), (first + 1, weight * weight)] {
                let place = &mut self.bins[bins][bin];
                *place = place.saturating_add(weight).min(MOST_SUMMED);
            }
        }
    }

    /// The sums that count requests or labels.
    pub(super) fn counts(&self) -> impl Iterator<Item = i64> {
        let exposed = self.exposures.iter().flat_map(|sums| {
            let counts = [Sum::Requests, Sum::Alerts].map(|sum| sums[sum as usize]);
            counts.into_iter().chain(sums[N_EXPOSURE_SUMS..].iter().copied())
        });
        exposed.chain(self.outcomes.iter().flat_map(|sums| sums[BAD..].iter().copied()))
    }

    /// All counts together, but for labels by age, which have bounds of their own.
    pub(super) fn counted(&self) -> u64 {
        let requests = self.days.iter().map(|cohort| cohort.requests);
        let counts = self.counts().map(i64::unsigned_abs).chain(requests);
        total(counts.chain([self.latency.count()]))
    }

    /// The sum that is farthest from zero.
    pub(super) fn farthest(&self) -> u64 {
        let sums = self.exposures.as_flattened().iter().chain(self.outcomes.as_flattened());
        let sums = sums.map(|sum| sum.unsigned_abs());
        sums.chain(self.bins.iter().flatten().copied()).max().unwrap_or(0)
    }

    pub(in crate::experiment) fn merge(&mut self, other: &ArmSums) {
        let add = |mine: &mut [i64], theirs: &[i64]| {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a = a.saturating_add(*b));
        };
        add(self.exposures.as_flattened_mut(), other.exposures.as_flattened());
        add(self.outcomes.as_flattened_mut(), other.outcomes.as_flattened());
        for (mine, theirs) in self.bins.iter_mut().zip(&other.bins) {
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a = a.saturating_add(*b));
        }
        self.latency.merge(&other.latency);
        for theirs in &other.days {
            let n_ages = theirs.labels.len();
            let Some(mine) = self.cohort(theirs.day, n_ages, usize::MAX) else { continue };
            mine.requests = mine.requests.saturating_add(theirs.requests);
            mine.labels.iter_mut().zip(&theirs.labels).for_each(|(a, b)| *a = a.saturating_add(*b));
            mine.bad.iter_mut().zip(&theirs.bad).for_each(|(a, b)| *a = a.saturating_add(*b));
        }
    }

    /// A sum over the requests of one bucket.
    pub(in crate::experiment) fn of_bucket(&self, bucket: usize, sum: Sum) -> i64 {
        match (sum as usize).checked_sub(N_EXPOSURE_SUMS) {
            None => self.exposures[bucket][sum as usize],
            Some(place) => self.outcomes[bucket][place],
        }
    }

    /// A sum over all buckets.
    pub(in crate::experiment) fn total(&self, sum: Sum) -> i64 {
        (0..N_BUCKETS).fold(0, |total, bucket| total.saturating_add(self.of_bucket(bucket, sum)))
    }

    /// Requests of one bucket and score band with a label, and those whose label is to become known.
    pub(in crate::experiment) fn labelled(&self, bucket: usize, band: usize) -> (i64, i64) {
        let labelled = self.outcomes[bucket][N_OUTCOME_SUMS + band];
        (labelled, self.exposures[bucket][N_EXPOSURE_SUMS + band])
    }

    /// Requests with a label.
    pub(in crate::experiment) fn labels(&self) -> u64 {
        let bands = self.outcomes.iter().flat_map(|sums| &sums[N_OUTCOME_SUMS..]);
        bands.map(|labels| labels.unsigned_abs()).sum()
    }
}
