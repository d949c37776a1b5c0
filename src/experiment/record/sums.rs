//! What is counted per phase and arm: sums in whole numbers.

use crate::evaluate::Costs;
use crate::stats::LatencyHistogram;

/// Variance buckets: units fall into one of them by hash, and a bucket counts as a cluster.
pub(in crate::experiment) const N_BUCKETS: usize = 256;
/// Score bins of one arm.
pub(in crate::experiment) const N_BINS: usize = 1024;
/// Score bins of each of two arms where both are counted together.
pub(in crate::experiment) const PAIR_BINS: usize = 256;

/// Weights are whole multiples of 1/1024: 1 is exact, and so is one over any share of which 1024 is a multiple.
pub(in crate::experiment) const WEIGHT_ONE: i64 = 1 << 10;
/// Losses are whole multiples of 2⁻¹⁶.
const LOSS_ONE: f64 = 65_536.0;

/// A sum over requests, of one arm and variance bucket.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(usize)]
pub(in crate::experiment) enum Sum {
    /// Requests.
    Requests,
    /// Those with an alert.
    Alerts,
    /// Those whose label is to become known.
    Sampled,
    /// Nanoseconds.
    Latency,
    /// Requests with a label, not weighted.
    Labels,
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
}

/// Sums that an exposure adds to; those behind them belong to outcomes.
const N_EXPOSURE_SUMS: usize = Sum::Labels as usize;
const N_OUTCOME_SUMS: usize = Sum::LogLoss as usize + 1 - N_EXPOSURE_SUMS;

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
    /// By variance bucket. Apart from the outcomes, because exposures are many and touch nothing else.
    pub(in crate::experiment) exposures: Vec<[i64; N_EXPOSURE_SUMS]>,
    /// By variance bucket.
    pub(in crate::experiment) outcomes: Vec<[i64; N_OUTCOME_SUMS]>,
    /// Weights by score bin: bad, their squares, good, their squares.
    pub(in crate::experiment) bins: [Vec<u64>; 4],
    pub(in crate::experiment) latency: LatencyHistogram,
    /// In order of days.
    pub(in crate::experiment) days: Vec<Cohort>,
}

/// One labelled request as an arm sees it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Labelled {
    pub(super) bucket: u8,
    pub(super) bad: bool,
    pub(super) alert: bool,
    pub(super) score: Option<f64>,
    pub(super) amount: i64,
    pub(super) weight: i64,
}

impl ArmSums {
    pub(super) fn new() -> Self {
        ArmSums {
            exposures: vec![[0; N_EXPOSURE_SUMS]; N_BUCKETS],
            outcomes: vec![[0; N_OUTCOME_SUMS]; N_BUCKETS],
            bins: std::array::from_fn(|_| vec![0; N_BINS]),
            latency: LatencyHistogram::default(),
            days: Vec::new(),
        }
    }

    pub(super) fn expose(&mut self, bucket: u8, alert: bool, sampled: bool, latency_nanos: u32) {
        let sums = &mut self.exposures[usize::from(bucket)];
        sums[Sum::Requests as usize] += 1;
        sums[Sum::Alerts as usize] += i64::from(alert);
        sums[Sum::Sampled as usize] += i64::from(sampled);
        sums[Sum::Latency as usize] += i64::from(latency_nanos);
        if latency_nanos > 0 {
            self.latency.record(u64::from(latency_nanos));
        }
    }

    /// The cohort of a day; `n_ages` places for labels. `None` for a day too many.
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

    pub(super) fn label(&mut self, row: Labelled, costs: &Costs, minor_units: f64) {
        let Labelled { bucket, bad, alert, score, amount, weight } = row;
        let sums = &mut self.outcomes[usize::from(bucket)];
        let mut add = |sum: Sum, value: i64| {
            let place = &mut sums[sum as usize - N_EXPOSURE_SUMS];
            *place = place.saturating_add(value);
        };
        add(Sum::Labels, 1);
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
        add(Sum::Cost, weight.saturating_mul(cost.round() as i64));
        if let Some(score) = score {
            add(Sum::Scored, weight);
            let miss = if bad { 1.0 - score } else { score };
            add(Sum::Brier, weight * (miss * miss * LOSS_ONE).round() as i64);
            let kept = (1.0 - miss).max(1.0 / 4_294_967_296.0);
            add(Sum::LogLoss, weight * (-libm::log(kept) * LOSS_ONE).round() as i64);
            let (bin, weight) = (score_bin(score), weight as u64);
            let first = if bad { 0 } else { 2 };
            let place = &mut self.bins[first][bin];
            *place = place.saturating_add(weight);
            let place = &mut self.bins[first + 1][bin];
            *place = place.saturating_add(weight * weight);
        }
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
            mine.requests += theirs.requests;
            mine.labels.iter_mut().zip(&theirs.labels).for_each(|(a, b)| *a += b);
            mine.bad.iter_mut().zip(&theirs.bad).for_each(|(a, b)| *a += b);
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
}

/// Rows of shadow mode on which champion and challenger are compared.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::experiment) struct PairSums {
    /// Labelled rows that only the champion's alert has right, and only the challenger's.
    pub(in crate::experiment) champion_only: u64,
    pub(in crate::experiment) challenger_only: u64,
    pub(in crate::experiment) rows: u64,
    /// Rows by both scores' bins: champion's times [`PAIR_BINS`] plus the challenger's.
    pub(in crate::experiment) bad: Vec<u32>,
    pub(in crate::experiment) good: Vec<u32>,
}

impl PairSums {
    pub(super) fn new() -> Self {
        let cells = || vec![0; PAIR_BINS * PAIR_BINS];
        PairSums { champion_only: 0, challenger_only: 0, rows: 0, bad: cells(), good: cells() }
    }

    pub(super) fn label(&mut self, bad: bool, alerts: (bool, bool), scores: Option<(f64, f64)>) {
        self.rows += 1;
        let (champion, challenger) = (alerts.0 == bad, alerts.1 == bad);
        self.champion_only += u64::from(champion && !challenger);
        self.challenger_only += u64::from(challenger && !champion);
        if let Some((champion, challenger)) = scores {
            let bin = |score: f64| score_bin(score) * PAIR_BINS / N_BINS;
            let cells = if bad { &mut self.bad } else { &mut self.good };
            cells[bin(champion) * PAIR_BINS + bin(challenger)] += 1;
        }
    }

    pub(super) fn merge(&mut self, other: &PairSums) {
        self.champion_only += other.champion_only;
        self.challenger_only += other.challenger_only;
        self.rows += other.rows;
        self.bad.iter_mut().zip(&other.bad).for_each(|(a, b)| *a += b);
        self.good.iter_mut().zip(&other.good).for_each(|(a, b)| *a += b);
    }
}

/// The bin of a score: 32 per doubling of the odds s / (1 − s), from 2⁻²⁴ to 2⁸, so that small scores, where a fraud model
/// does its work, are told apart as well as large ones. Taken from the bits of the odds, whose division is exact to the last
/// digit everywhere; no logarithm is involved.
pub(in crate::experiment) fn score_bin(score: f64) -> usize {
    const LOWEST: u64 = (1023 - 24) << 5;
    let odds = score / (1.0 - score); // infinite for 1
    let place = (odds.to_bits() >> (52 - 5)).saturating_sub(LOWEST);
    (place as usize).min(N_BINS - 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_rise_with_the_score_and_are_three_per_cent_wide() {
        assert_eq!((score_bin(0.0), score_bin(1.0), score_bin(1e-9)), (0, N_BINS - 1, 0));
        let mut last = 0;
        for step in 0..100_000 {
            let score = f64::from(step) / 100_000.0;
            let bin = score_bin(score);
            assert!(bin >= last);
            last = bin;
        }
        // Half: odds of 1, 24 doublings above the lowest.
        assert_eq!(score_bin(0.5), 24 * 32);
        let odds = |s: f64| s / (1.0 - s);
        let (low, high) = (0.01, 0.0104);
        assert!(odds(high) / odds(low) > 1.0 + 1.0 / 32.0 && score_bin(high) > score_bin(low));
    }
}
