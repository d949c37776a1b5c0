//! What has been counted, by second, minute and hour.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use crate::codec::{MOST_COUNTED, Reader, total};
use crate::error::{Error, Result};
use crate::monitor::Metric;
use crate::stats::{SCORE_BINS, SCORE_STEPS};
use crate::time::Timestamp;

/// The longest that an answer may take: longer ones count as this long.
pub(super) const LONGEST_NANOS: u64 = 3_600_000_000_000;

/// Latency buckets: two per power of two of nanoseconds, from 512 ns to 68 s.
pub(super) const LATENCIES: usize = 55;

/// What was answered within a stretch of time. Additive: [`merge`](Self::merge). Counts and means are exact to the second,
/// distributions to the minute.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct TrafficStats {
    /// Requests.
    pub count: u64,
    /// Requests not approved: reviewed or declined.
    pub reviews: u64,
    /// Requests the model gave no score for.
    pub fallbacks: u64,
    /// Requests without an answer.
    pub errors: u64,
    /// Requests on a row with a missing feature.
    pub incomplete: u64,
    /// Requests on a row with a value that the reference cannot have.
    pub unseen: u64,
    /// Requests too far from the last tick to have a place; in totals only, and in none of the other counts.
    pub out_of_range: u64,
    latency_nanos: u128,
    score_steps: u128,
    latencies: Vec<u64>,
    scores: Vec<u64>,
}

type Counter = (&'static str, &'static str, fn(&TrafficStats) -> u64);

impl TrafficStats {
    /// Adds the counts of another stretch, version or segment. A count that cannot grow any more stays at its largest.
    pub fn merge(&mut self, other: &TrafficStats) {
        let pairs = self.counts_mut().into_iter().zip(other.counts());
        pairs.for_each(|(mine, theirs)| *mine = mine.saturating_add(theirs));
        self.latency_nanos = self.latency_nanos.saturating_add(other.latency_nanos);
        self.score_steps = self.score_steps.saturating_add(other.score_steps);
        add(&mut self.latencies, &other.latencies);
        add(&mut self.scores, &other.scores);
    }

    /// Name, help and value of each counter, for exports.
    pub(crate) const COUNTERS: [Counter; 7] = [
        ("predictions_total", "Requests.", |stats| stats.count),
        ("reviews_total", "Requests not approved.", |stats| stats.reviews),
        ("fallbacks_total", "Requests the model gave no score for.", |stats| stats.fallbacks),
        ("errors_total", "Requests without an answer.", |stats| stats.errors),
        ("incomplete_total", "Requests on a row with a missing feature.", |stats| stats.incomplete),
        ("unseen_total", "Requests on a row with an unknown value.", |stats| stats.unseen),
        ("out_of_range_total", "Requests too far from now.", |stats| stats.out_of_range),
    ];

    /// Share of requests not approved; `None` without requests.
    pub fn review_rate(&self) -> Option<f64> {
        self.share(self.reviews)
    }

    /// Share of requests without a score; `None` without requests.
    pub fn fallback_rate(&self) -> Option<f64> {
        self.share(self.fallbacks)
    }

    /// Share of requests without an answer; `None` without requests.
    pub fn error_rate(&self) -> Option<f64> {
        self.share(self.errors)
    }

    /// Share of requests on a row with a missing feature; `None` without requests.
    pub fn incomplete_rate(&self) -> Option<f64> {
        self.share(self.incomplete)
    }

    /// Share of requests on a row with a value that the reference cannot have; `None` without requests.
    pub fn unseen_rate(&self) -> Option<f64> {
        self.share(self.unseen)
    }

    /// Requests that were scored.
    pub fn scored(&self) -> u64 {
        self.count.saturating_sub(self.fallbacks.saturating_add(self.errors))
    }

    /// Mean score; `None` without a scored request.
    pub fn mean_score(&self) -> Option<f64> {
        let scored = self.scored();
        (scored > 0).then(|| self.score_steps as f64 / SCORE_STEPS / scored as f64)
    }

    /// Mean latency in seconds; `None` without requests.
    pub fn mean_latency(&self) -> Option<f64> {
        (self.count > 0).then(|| self.latency_seconds() / self.count as f64)
    }

    /// The latency in seconds that a share `q` of the requests stayed below, to a quarter of its value; `None` without requests, or for a `q`
    /// outside `0.0..=1.0`. Latency distributions are kept by the minute: only whole minutes count.
    pub fn latency_quantile(&self, q: f64) -> Option<f64> {
        let total = total(self.latencies.iter().copied());
        if total == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = ((q * total as f64).ceil() as u64).clamp(1, total);
        let mut seen = 0;
        let bucket = self.latencies.iter().position(|&count| {
            seen = count.saturating_add(seen);
            seen >= rank
        })?;
        let low = bucket.checked_sub(1).map_or(0.0, upper_bound);
        Some((low + upper_bound(bucket)) / 2.0)
    }

    /// Requests by score, in 32 bins of equal width from 0 to 1; empty without any.
    pub fn scores(&self) -> &[u64] {
        &self.scores
    }

    pub(super) fn latency_seconds(&self) -> f64 {
        self.latency_nanos as f64 / 1e9
    }

    /// Upper ends in seconds and how many requests stayed at or below each, every fourth bucket.
    pub(super) fn latency_buckets(&self) -> Vec<(f64, u64)> {
        let mut seen = 0;
        let cumulated = self.latencies.iter().enumerate().map(|(i, count)| {
            seen = count.saturating_add(seen);
            (i, upper_bound(i), seen)
        });
        cumulated.filter(|(i, ..)| i % 4 == 3).map(|(_, bound, seen)| (bound, seen)).collect()
    }

    pub(in crate::monitor) fn measure(&self, metric: &Metric) -> Option<(f64, u64)> {
        let value = match metric {
            Metric::Predictions => Some(self.count as f64),
            Metric::ReviewRate => self.review_rate(),
            Metric::FallbackRate => self.fallback_rate(),
            Metric::ErrorRate => self.error_rate(),
            Metric::IncompleteRate => self.incomplete_rate(),
            Metric::UnseenRate => self.unseen_rate(),
            Metric::MeanScore => return self.mean_score().map(|mean| (mean, self.scored())),
            Metric::MeanLatency => self.mean_latency(),
            Metric::LatencyQuantile(q) => self.latency_quantile(f64::from(*q) / 1000.0),
            _ => None,
        };
        value.map(|value| (value, self.count))
    }

    fn share(&self, part: u64) -> Option<f64> {
        (self.count > 0).then(|| part as f64 / self.count as f64)
    }

    /// From the counters of an open slot.
    pub(super) fn of_counters(
        [count, reviews, fallbacks, errors, incomplete, unseen]: [u64; 6],
        latency_nanos: u64,
        score_steps: u64,
    ) -> Self {
        let (latency_nanos, score_steps) = (u128::from(latency_nanos), u128::from(score_steps));
        TrafficStats {
            count,
            reviews,
            fallbacks,
            errors,
            incomplete,
            unseen,
            latency_nanos,
            score_steps,
            ..TrafficStats::default()
        }
    }

    pub(super) fn of_distributions(latencies: Vec<u64>, scores: Vec<u64>) -> Self {
        TrafficStats { latencies, scores, ..TrafficStats::default() }
    }

    pub(in crate::monitor) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.counts().iter().flat_map(|count| count.to_le_bytes()));
        bytes.extend(self.latency_nanos.to_le_bytes());
        bytes.extend(self.score_steps.to_le_bytes());
        for distribution in [&self.latencies, &self.scores] {
            bytes.extend((distribution.len() as u32).to_le_bytes());
            bytes.extend(distribution.iter().flat_map(|count| count.to_le_bytes()));
        }
    }

    /// What [`write`](Self::write) wrote; the bytes may be hostile.
    pub(in crate::monitor) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let corrupt = || Error::corrupt("traffic", "its counts do not add up");
        let mut stats = TrafficStats::default();
        for count in stats.counts_mut() {
            *count = reader.count()?;
        }
        (stats.latency_nanos, stats.score_steps) = (reader.u128()?, reader.u128()?);
        let TrafficStats { count, reviews, fallbacks, errors, incomplete, unseen, .. } = stats;
        let parts = [reviews, fallbacks + errors, incomplete, unseen];
        let most = |each: u64| u128::from(MOST_COUNTED) * u128::from(each);
        if parts.iter().any(|part| *part > count)
            || stats.latency_nanos > most(LONGEST_NANOS)
            || stats.score_steps > most(SCORE_STEPS as u64)
        {
            return Err(corrupt());
        }
        let mut distribution = |most: usize| {
            let n = reader.len(8)?;
            match n > most {
                true => Err(corrupt()),
                false => (0..n).map(|_| reader.count()).collect::<Result<Vec<u64>>>(),
            }
        };
        (stats.latencies, stats.scores) = (distribution(LATENCIES)?, distribution(SCORE_BINS)?);
        Ok(stats)
    }

    /// All counts together.
    pub(in crate::monitor) fn counted(&self) -> u64 {
        let distributions = self.latencies.iter().chain(&self.scores).copied();
        total(self.counts().into_iter().chain(distributions))
    }

    /// The counts that are in no distribution, in the order in which they are written.
    fn counts_mut(&mut self) -> [&mut u64; 7] {
        [
            &mut self.count,
            &mut self.reviews,
            &mut self.fallbacks,
            &mut self.errors,
            &mut self.incomplete,
            &mut self.unseen,
            &mut self.out_of_range,
        ]
    }

    fn counts(&self) -> [u64; 7] {
        TrafficStats::COUNTERS.map(|(_, _, count)| count(self))
    }

    pub(super) fn is_empty(&self) -> bool {
        self.count == 0 && self.latencies.iter().chain(&self.scores).all(|count| *count == 0)
    }
}

fn add(sum: &mut Vec<u64>, more: &[u64]) {
    if sum.len() < more.len() {
        sum.resize(more.len(), 0);
    }
    sum.iter_mut().zip(more).for_each(|(sum, more)| *sum = sum.saturating_add(*more));
}

/// The bucket of a latency: the first one below 512 ns, then two for each doubling.
pub(super) fn latency_bucket(nanos: u64) -> usize {
    if nanos < 512 {
        return 0;
    }
    let power = nanos.ilog2();
    let half = (nanos >> (power - 1)) & 1;
    (1 + (power as usize - 9) * 2 + half as usize).min(LATENCIES - 1)
}

/// Upper end of a bucket, in seconds.
fn upper_bound(bucket: usize) -> f64 {
    if bucket == 0 {
        return 512e-9;
    }
    let (power, half) = (9 + (bucket - 1) / 2, (bucket - 1) % 2);
    let nanos = (1u64 << power) as f64 * if half == 0 { 1.5 } else { 2.0 };
    nanos * 1e-9
}

/// Slots by second, minute and hour; every answer is in one slot of each that still has its time.
#[derive(Debug)]
pub(super) struct History {
    rings: [Ring; 3],
    /// What lies ahead of the last tick, until its time has come: it must not take the place of what is still remembered.
    ahead: BTreeMap<Timestamp, TrafficStats>,
    total: TrafficStats,
}

#[derive(Debug)]
struct Ring {
    /// Length of a slot in microseconds.
    length: i64,
    /// Number of the slot's stretch since 1970, and what was counted in it.
    slots: Vec<(i64, TrafficStats)>,
    /// The stretch that the last tick was in.
    newest: i64,
}

const SECOND: i64 = 1_000_000;

impl Default for History {
    fn default() -> Self {
        let ring = |length: i64, slots: usize| Ring {
            length,
            slots: vec![(i64::MIN, TrafficStats::default()); slots],
            newest: i64::MIN,
        };
        let rings = [ring(SECOND, 3600), ring(60 * SECOND, 1440), ring(3600 * SECOND, 720)];
        History { rings, ahead: BTreeMap::new(), total: TrafficStats::default() }
    }
}

impl History {
    /// Takes in what was counted in the stretch that starts at `at`; [`advance`](Self::advance) follows.
    pub(super) fn add(&mut self, at: Timestamp, stats: &TrafficStats) {
        if !stats.is_empty() {
            self.total.merge(stats);
            self.ahead.entry(at).or_default().merge(stats);
        }
    }

    /// Moves on to `now`, or stays where it is if that lies behind.
    pub(super) fn advance(&mut self, now: Timestamp) {
        for ring in &mut self.rings {
            ring.newest = ring.newest.max(now.micros().div_euclid(ring.length));
        }
        let later = self.ahead.split_off(&now.plus(Duration::from_micros(1)));
        for (at, stats) in std::mem::replace(&mut self.ahead, later) {
            self.rings.iter_mut().for_each(|ring| ring.add(at.micros(), &stats));
        }
    }

    pub(super) fn total(&self) -> &TrafficStats {
        &self.total
    }

    pub(super) fn stats(&self, range: &Range<Timestamp>) -> TrafficStats {
        let mut sum = TrafficStats::default();
        if range.start >= range.end {
            return sum;
        }
        let (mut from, mut to) = (range.start.micros(), range.end.micros());
        // Ends are moved outwards to what is still told apart there.
        let told_apart = |at: i64| {
            let ring = self.rings.iter().find(|ring| ring.reaches(at));
            ring.map_or(3600 * SECOND, |ring| ring.length)
        };
        let (unit, last) = (told_apart(from), told_apart(to - 1));
        from = from.div_euclid(unit) * unit;
        to = (to - 1).div_euclid(last).saturating_add(1).saturating_mul(last);
        // From the coarsest ring as much as it has whole, the rest at both ends from the finer ones.
        self.sum(2, from, to, &mut sum);
        sum
    }

    fn sum(&self, level: usize, from: i64, to: i64, sum: &mut TrafficStats) {
        let ring = &self.rings[level];
        let first = from.div_euclid(ring.length) + i64::from(from.rem_euclid(ring.length) != 0);
        let end = to.div_euclid(ring.length);
        if first >= end {
            if level > 0 && from < to {
                self.sum(level - 1, from, to, sum);
            }
            return;
        }
        for (number, stats) in &ring.slots {
            if (first..end).contains(number) {
                sum.merge(stats);
            }
        }
        if level > 0 {
            self.sum(level - 1, from, first * ring.length, sum);
            self.sum(level - 1, end * ring.length, to, sum);
        }
    }
}

impl Ring {
    fn add(&mut self, at: i64, stats: &TrafficStats) {
        let number = at.div_euclid(self.length);
        let n = self.slots.len() as i64;
        let place = number.rem_euclid(n) as usize;
        let slot = &mut self.slots[place];
        if slot.0 > number || number <= self.newest.saturating_sub(n) {
            return; // its time has gone from this ring
        }
        if slot.0 < number {
            *slot = (number, TrafficStats::default());
        }
        match self.length {
            // Distributions are kept from the minute up: 3,600 of them would be 3 MB.
            SECOND => slot.1.merge(&TrafficStats {
                latencies: Vec::new(),
                scores: Vec::new(),
                ..stats.clone()
            }),
            _ => slot.1.merge(stats),
        }
    }

    fn reaches(&self, at: i64) -> bool {
        let oldest = self.newest.saturating_sub(self.slots.len() as i64 - 1);
        at.div_euclid(self.length) >= oldest
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_latency_lies_within_its_bucket() {
        for nanos in [0, 511, 512, 767, 768, 1023, 1024, 5_000_000, 1_000_000_000, u64::MAX] {
            let bucket = latency_bucket(nanos);
            assert!(
                bucket == LATENCIES - 1 || (nanos as f64) < upper_bound(bucket) * 1e9 + 1.0,
                "{nanos}"
            );
            assert!(bucket == 0 || nanos as f64 >= upper_bound(bucket - 1) * 1e9 - 1.0, "{nanos}");
        }
        assert!(upper_bound(LATENCIES - 1) > 60.0);
    }
}
