//! What a version answered, how fast, and how often it could not.

mod bytes;

use std::collections::BTreeMap;

use crate::codec;
use crate::error::Result;
use crate::evaluate::Decision;
use crate::ids::ModelRef;
use crate::serve::{FallbackCause, InputFlags};
use crate::stats::{LatencyHistogram, ScoreHistogram};

const WHAT: &str = "serving statistics";

/// Counts of a version that are in no histogram.
const N_COUNTS: usize = 15;

/// What one version did in one slot. Additive: [`merge`](Self::merge). Answered requests are those that are no error.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServingStats {
    /// Requests that it was to answer.
    pub requests: u64,
    /// Of these, rows that were rejected: of another width, or by the slot's policy.
    pub errors: u64,
    /// Of these, answered by the fallback model or the constant, by cause: error, no score, panic.
    pub fallbacks: [u64; 3],
    /// Of the fallbacks, those where no fallback model gave a score either, and the constant answered.
    pub constants: u64,
    /// Requests of other versions that it answered as their fallback.
    pub stood_in: u64,
    /// Answered requests by decision: approve, review, decline.
    pub decisions: [u64; 3],
    /// Answered requests whose reasons were asked for and could not be had.
    pub without_reasons: u64,
    /// Values of answered requests.
    pub values: u64,
    /// Of these, missing.
    pub missing: u64,
    /// Of these, infinite, out of range, or no code of their kind.
    pub irregular: u64,
    /// Scores that it gave, those as a shadow or a fallback too.
    pub scores: ScoreHistogram,
    /// Requests that it scored as a shadow, with or without success.
    pub shadowed: u64,
    /// Latencies in nanoseconds, of the requests whose latency was taken.
    pub latency: LatencyHistogram,
    latency_nanos: u128,
}

impl ServingStats {
    /// Adds what the version did elsewhere or at another time. A count that cannot grow any more stays at its largest.
    pub fn merge(&mut self, other: &ServingStats) {
        let pairs = self.counts_mut().into_iter().zip(other.counts());
        pairs.for_each(|(mine, theirs)| *mine = mine.saturating_add(theirs));
        self.latency_nanos = self.latency_nanos.saturating_add(other.latency_nanos);
        self.scores.merge(&other.scores);
        self.latency.merge(&other.latency);
    }

    /// Share of requests that were errors; `None` without requests.
    pub fn error_rate(&self) -> Option<f64> {
        share(self.errors, self.requests)
    }

    /// Share of requests that the version could not answer itself; `None` without requests.
    pub fn fallback_rate(&self) -> Option<f64> {
        share(codec::total(self.fallbacks), self.requests)
    }

    /// Share of values that were missing; `None` without values.
    pub fn missing_rate(&self) -> Option<f64> {
        share(self.missing, self.values)
    }

    /// Mean latency in nanoseconds; `None` if none was taken.
    pub fn mean_latency(&self) -> Option<f64> {
        let n = self.latency.count();
        (n > 0).then(|| self.latency_nanos as f64 / n as f64)
    }

    /// The counts that are in no histogram, in the order in which they are written.
    fn counts_mut(&mut self) -> [&mut u64; N_COUNTS] {
        let [error, no_score, panic] = &mut self.fallbacks;
        let [approve, review, decline] = &mut self.decisions;
        [
            &mut self.requests,
            &mut self.errors,
            &mut self.constants,
            &mut self.stood_in,
            &mut self.without_reasons,
            &mut self.values,
            &mut self.missing,
            &mut self.irregular,
            &mut self.shadowed,
            error,
            no_score,
            panic,
            approve,
            review,
            decline,
        ]
    }

    fn counts(&self) -> [u64; N_COUNTS] {
        self.clone().counts_mut().map(|count| *count)
    }

    /// All counts together.
    fn counted(&self) -> u64 {
        let (scores, _) = self.scores.parts();
        let histograms = [codec::total(scores.iter().copied()), self.latency.count()];
        codec::total(self.counts().into_iter().chain(histograms))
    }

    pub(super) fn record_error(&mut self) {
        self.requests += 1;
        self.errors += 1;
    }

    #[inline]
    pub(super) fn record_answer(
        &mut self,
        decision: Decision,
        values: usize,
        inputs: InputFlags,
        outcome: std::result::Result<f64, FallbackCause>,
    ) {
        self.requests += 1;
        self.decisions[decision as usize] += 1;
        self.values += values as u64;
        self.missing += u64::from(inputs.missing);
        self.irregular += u64::from(inputs.infinite) + u64::from(inputs.out_of_range);
        match outcome {
            Ok(score) => self.scores.record(score),
            Err(cause) => self.fallbacks[cause as usize] += 1,
        }
    }

    pub(super) fn record_stood_in(&mut self, score: f64) {
        self.stood_in += 1;
        self.scores.record(score);
    }

    pub(super) fn record_shadow(&mut self, score: Option<f64>) {
        self.shadowed += 1;
        if let Some(score) = score {
            self.scores.record(score);
        }
    }

    pub(super) fn record_latency(&mut self, nanos: u64) {
        self.latency.record(nanos);
        self.latency_nanos += u128::from(nanos);
    }
}

fn share(part: u64, of: u64) -> Option<f64> {
    (of > 0).then(|| part as f64 / of as f64)
}

/// What all versions of all slots did, as of one moment in one process; those of several processes
/// [merge](Self::merge) into one.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ServiceStats {
    /// By slot and version.
    pub slots: BTreeMap<String, BTreeMap<ModelRef, ServingStats>>,
}

impl ServiceStats {
    /// Adds what another process counted.
    ///
    /// # Errors
    /// `InvalidInput` if all counts of both add up to more than 2⁶⁰; nothing has changed then.
    pub fn merge(&mut self, other: &ServiceStats) -> Result<()> {
        codec::check_counts(WHAT, self.counted(), other.counted())?;
        for (slot, versions) in &other.slots {
            let mine = self.slots.entry(slot.clone()).or_default();
            for (version, stats) in versions {
                mine.entry(version.clone()).or_default().merge(stats);
            }
        }
        Ok(())
    }

    /// All counts together.
    fn counted(&self) -> u64 {
        codec::total(self.slots.values().flat_map(BTreeMap::values).map(ServingStats::counted))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn stats() -> ServiceStats {
        let mut one = ServingStats::default();
        let inputs = InputFlags { missing: 2, infinite: 1, ..InputFlags::default() };
        one.record_answer(Decision::Decline, 5, inputs, Ok(0.75));
        one.record_answer(Decision::Review, 5, InputFlags::default(), Err(FallbackCause::Panic));
        one.record_error();
        one.record_latency(700);
        one.record_shadow(Some(0.5));
        let version = ModelRef { name: "m".into(), version: 3 };
        let versions = BTreeMap::from([(version, one)]);
        ServiceStats { slots: BTreeMap::from([("cards".into(), versions)]) }
    }

    #[test]
    fn bytes_round_trip_and_merge_adds_up() {
        let stats = stats();
        let mut both = ServiceStats::from_bytes(&stats.to_bytes()).unwrap();
        assert_eq!(both, stats);
        both.merge(&stats).unwrap();
        let sum = both.slots["cards"].values().next().unwrap();
        assert_eq!((sum.requests, sum.errors, sum.fallbacks), (6, 2, [0, 0, 2]));
        assert_eq!((sum.decisions, sum.missing_rate()), ([0, 2, 2], Some(0.2)));
        assert_eq!((sum.latency.count(), sum.mean_latency()), (2, Some(700.0)));
        assert_eq!((sum.error_rate(), sum.fallback_rate()), (Some(2.0 / 6.0), Some(2.0 / 6.0)));
        assert_eq!(ServingStats::default().error_rate(), None);
    }

    #[test]
    fn what_would_run_over_is_refused_and_changes_nothing() {
        let most = |requests: u64| {
            let mut most = stats();
            most.slots.values_mut().flat_map(BTreeMap::values_mut).for_each(|of| {
                of.requests = requests;
            });
            most
        };
        let half = ServiceStats::from_bytes(&most(1 << 59).to_bytes()).unwrap();
        let mut sum = half.clone();
        assert!(sum.merge(&half).is_err() && sum == half);
        assert!(sum.merge(&stats()).is_ok());
        assert!(ServiceStats::from_bytes(&most(1 << 60).to_bytes()).is_err());
        // Versions may be added up without a bound.
        let mut of = half.slots["cards"].values().next().unwrap().clone();
        (0..9).for_each(|_| of.merge(&of.clone()));
        assert_eq!(of.requests, u64::MAX);
    }
}
