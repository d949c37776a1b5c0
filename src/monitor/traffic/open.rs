//! Counters that answers are added to before a tick collects them.

use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};

use super::history::{History, LATENCIES, LONGEST_NANOS, TrafficStats, latency_bucket};
use super::{Answer, Outcome};
use crate::evaluate::Decision;
use crate::stats::{SCORE_BINS, SCORE_STEPS, score_bin};
use crate::time::Timestamp;

/// Slots around now by second, minute and hour. A slot belongs to the stretch of time that has its place around `now`, so it
/// never has to be cleared by whoever adds: the tick takes what is there and leaves zero. Only a thread that stands still between
/// choosing a slot and adding to it for as long as half a ring lasts, 32 seconds at least, would add to a later time.
#[derive(Debug)]
pub(super) struct Open {
    /// In seconds; [`NEVER`] before the first answer or tick.
    now: AtomicI64,
    seconds: Vec<Slot>,
    minutes: Vec<Slot>,
    hours: Vec<Slot>,
    latencies: Vec<Counters<LATENCIES>>,
    scores: Vec<Counters<SCORE_BINS>>,
    out_of_range: AtomicU64,
}

const NEVER: i64 = i64::MIN;
/// Slots of each ring, half before now and half after.
const SLOTS: i64 = 64;
const LENGTHS: [i64; 3] = [1_000_000, 60_000_000, 3_600_000_000];
const RELAXED: Ordering = Ordering::Relaxed;

#[derive(Debug, Default)]
struct Slot {
    /// Requests in the lower half, reviews in the upper: one addition for both. 4 billion of either between two ticks.
    requests: AtomicU64,
    /// Fallbacks in the lower half, errors in the upper.
    unscored: AtomicU64,
    /// Incomplete rows in the lower half, rows with unseen values in the upper.
    gaps: AtomicU64,
    latency_nanos: AtomicU64,
    score_steps: AtomicU64,
}

type Counters<const N: usize> = Box<[AtomicU64; N]>;

fn counters<const N: usize>() -> Counters<N> {
    Box::new(std::array::from_fn(|_| AtomicU64::new(0)))
}

impl Open {
    pub(super) fn new() -> Self {
        let slots = || (0..SLOTS).map(|_| Slot::default()).collect();
        Open {
            now: AtomicI64::new(NEVER),
            seconds: slots(),
            minutes: slots(),
            hours: slots(),
            // Distributions by the minute; those of an hour lie at its first minute in the ring of hours' place.
            latencies: (0..2 * SLOTS).map(|_| counters()).collect(),
            scores: (0..2 * SLOTS).map(|_| counters()).collect(),
            out_of_range: AtomicU64::new(0),
        }
    }

    #[inline]
    pub(super) fn record(&self, answer: &Answer) {
        let second = answer.at.micros().div_euclid(LENGTHS[0]);
        let minute = second.div_euclid(60);
        let now = self.now(second);
        let is_open = |off: i64| (-SLOTS / 2..SLOTS / 2).contains(&off);
        let place = |number: i64| number.rem_euclid(SLOTS) as usize;
        // Distributions lie with the minute; those of an hour behind the minutes'.
        let (slot, distribution) = if is_open(second - now) {
            (&self.seconds[place(second)], place(minute))
        } else if is_open(minute - now.div_euclid(60)) {
            (&self.minutes[place(minute)], place(minute))
        } else {
            let hour = minute.div_euclid(60);
            if !is_open(hour - now.div_euclid(3600)) {
                self.out_of_range.fetch_add(1, RELAXED);
                return;
            }
            (&self.hours[place(hour)], place(hour) + SLOTS as usize)
        };
        let (decision, unscored) = match answer.outcome {
            Outcome::Scored { score, decision } => {
                let score = if score > 0.0 { score.min(1.0) } else { 0.0 };
                slot.score_steps.fetch_add((score * SCORE_STEPS) as u64, RELAXED);
                self.scores[distribution][score_bin(score)].fetch_add(1, RELAXED);
                (Some(decision), 0)
            }
            Outcome::Fallback(decision) => (Some(decision), 1),
            Outcome::Error => (None, 1 << 32),
        };
        if unscored > 0 {
            slot.unscored.fetch_add(unscored, RELAXED);
        }
        let gaps = u64::from(answer.gaps.missing > 0) + (u64::from(answer.gaps.unseen > 0) << 32);
        if gaps > 0 {
            slot.gaps.fetch_add(gaps, RELAXED);
        }
        let review = u64::from(decision.is_some_and(Decision::is_alert));
        slot.requests.fetch_add(1 + (review << 32), RELAXED);
        let nanos = u64::try_from(answer.latency.as_nanos()).unwrap_or(u64::MAX);
        // Sums must not run over.
        let nanos = nanos.min(LONGEST_NANOS);
        slot.latency_nanos.fetch_add(nanos, RELAXED);
        self.latencies[distribution][latency_bucket(nanos)].fetch_add(1, RELAXED);
    }

    /// The second that slots are placed around: the last tick's, or before the first one the first answer's.
    #[inline]
    fn now(&self, second: i64) -> i64 {
        let now = self.now.load(RELAXED);
        if now != NEVER {
            return now;
        }
        match self.now.compare_exchange(NEVER, second, RELAXED, RELAXED) {
            Ok(_) => second,
            Err(other) => other,
        }
    }

    /// Takes everything, at the times that its slots had up to now, and places them around a later `now`.
    pub(super) fn collect(&self, now: Timestamp, history: &mut History) {
        let second = now.micros().div_euclid(LENGTHS[0]);
        let before = self.now(second).saturating_mul(LENGTHS[0]);
        let rings = [&self.seconds, &self.minutes, &self.hours];
        for (ring, length) in rings.into_iter().zip(LENGTHS) {
            for (place, slot) in ring.iter().enumerate() {
                history.add(start(before, place, length), &slot.take());
            }
        }
        for (place, (latencies, scores)) in self.latencies.iter().zip(&self.scores).enumerate() {
            let length = if place < SLOTS as usize { LENGTHS[1] } else { LENGTHS[2] };
            let at = start(before, place % SLOTS as usize, length);
            let (latencies, scores) = (take_all(latencies), take_all(scores));
            history.add(at, &TrafficStats::of_distributions(latencies, scores));
        }
        history.advance(now.max(Timestamp::from_micros(before)));
        self.now.fetch_max(second, RELAXED);
    }

    pub(super) fn out_of_range(&self) -> u64 {
        self.out_of_range.load(RELAXED)
    }
}

/// Start of the stretch that a slot belongs to around `now`.
fn start(now: i64, place: usize, length: i64) -> Timestamp {
    let oldest = now.div_euclid(length) - SLOTS / 2;
    let number = oldest + (place as i64 - oldest).rem_euclid(SLOTS);
    Timestamp::from_micros(number.saturating_mul(length))
}

/// What was counted, leaving zero. Most counters are zero, and to see that costs a tenth of a swap.
fn take(counter: &AtomicU64) -> u64 {
    if counter.load(RELAXED) == 0 { 0 } else { counter.swap(0, RELAXED) }
}

fn take_all<const N: usize>(counters: &[AtomicU64; N]) -> Vec<u64> {
    counters.iter().map(take).collect()
}

impl Slot {
    fn take(&self) -> TrafficStats {
        let half = u64::from(u32::MAX);
        let halves = |both: u64| [both & half, both >> 32];
        let Slot { requests, unscored, gaps, latency_nanos, score_steps } = self;
        let [requests, unscored, gaps] =
            [requests, unscored, gaps].map(|counter| halves(take(counter)));
        let [latency, score] = [latency_nanos, score_steps].map(take);
        let counts = [requests[0], requests[1], unscored[0], unscored[1], gaps[0], gaps[1]];
        TrafficStats::of_counters(counts, latency, score)
    }
}
