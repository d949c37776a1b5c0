//! Traffic by the second, minute and hour: what a model answered, how fast, and how often it could not.

mod history;
mod open;
mod prometheus;

pub use history::TrafficStats;
#[cfg(feature = "http")]
pub(crate) use prometheus::{escaped_label, prometheus_text};

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock};
use std::time::Duration;

use crate::evaluate::Decision;
use crate::ids::ModelRef;
use crate::monitor::{Measurement, Metric, MetricSource};
use crate::time::Timestamp;
use history::History;
use open::Open;

/// One answer, as [`TrafficSeries::record`] counts it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Answer {
    /// Moment of the request.
    pub at: Timestamp,
    /// What came of it.
    pub outcome: Outcome,
    /// How long it took, by the host's own clock.
    pub latency: Duration,
    /// What its row lacked.
    pub gaps: Gaps,
}

/// How many features of a row have no value, or one that the reference cannot have (infinite, an unknown code).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Gaps {
    /// Features without a value.
    pub missing: u32,
    /// Features with a value that the reference cannot have.
    pub unseen: u32,
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Outcome {
    /// Scored and decided.
    Scored {
        /// Probability of bad; outside `0.0..=1.0` it counts as the nearer end, NaN as 0.
        score: f64,
        /// The decision.
        decision: Decision,
    },
    /// The model gave no score, and the fallback answered.
    Fallback(Decision),
    /// No answer.
    Error,
}

/// Counts answers per version and segment, for any stretch of the last 30 days.
///
/// Each version and segment has a [`TrafficSeries`], which [`record`](TrafficSeries::record)s without waiting. [`tick`](Self::tick), once
/// a second or at least twice a minute, moves what was recorded into the history that [`stats`](Self::stats) reads.
///
/// # Memory
/// Per series up to 2.3 MB, as time goes by: an hour by the second, a day by the minute and 30 days by the hour, and what is
/// open.
#[derive(Debug, Default)]
pub struct Traffic {
    series: RwLock<BTreeMap<Key, Arc<TrafficSeries>>>,
}

/// Version and segment.
type Key = (ModelRef, Option<String>);

/// Answers of one version in one segment.
#[derive(Debug)]
pub struct TrafficSeries {
    open: Open,
    history: Mutex<History>,
}

impl TrafficSeries {
    /// Counts an answer, at its second if the last tick was within half a minute of it, otherwise at the start of its minute
    /// (up to half an hour) or of its hour (up to 32 hours). Further away it is counted as out of range only. What lies ahead
    /// of the last tick shows when a tick has come to its time.
    ///
    /// # Concurrency
    /// Wait-free: five or six additions to counters, whatever other threads do. No allocation, no clock.
    #[inline]
    pub fn record(&self, answer: &Answer) {
        self.open.record(answer);
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Traffic {
    /// No series.
    pub fn new() -> Self {
        Traffic::default()
    }

    /// The series of a version and segment, made if there is none. Keep it: looking it up takes a lock.
    pub fn series(&self, model: &ModelRef, segment: Option<&str>) -> Arc<TrafficSeries> {
        let key = (model.clone(), segment.map(str::to_owned));
        let all = self.series.read().unwrap_or_else(PoisonError::into_inner);
        if let Some(series) = all.get(&key) {
            return series.clone();
        }
        drop(all);
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        let new = || Arc::new(TrafficSeries { open: Open::new(), history: Mutex::default() });
        all.entry(key).or_insert_with(new).clone()
    }

    /// Forgets a version that no longer answers. Whoever still holds its series records into nothing.
    pub fn retire(&self, model: &ModelRef) {
        let mut all = self.series.write().unwrap_or_else(PoisonError::into_inner);
        all.retain(|(of, _), _| of != model);
    }

    /// Moves what was recorded into the history. A clock that goes back moves nothing in time, only what was recorded.
    pub fn tick(&self, now: Timestamp) {
        for (_, series) in self.all() {
            series.open.collect(now, &mut series.history());
        }
    }

    /// What was answered within a stretch of time, as far as the last tick has seen it, by one version in one segment, or summed over all
    /// versions or all segments that there are.
    ///
    /// Ends that lie within a second are moved outwards to whole seconds; those longer ago than an hour to whole minutes, than a
    /// day to whole hours. On whole ones the statistics of adjoining stretches add up.
    pub fn stats(
        &self,
        model: Option<&ModelRef>,
        segment: Option<&str>,
        range: Range<Timestamp>,
    ) -> TrafficStats {
        let mut sum = TrafficStats::default();
        for ((of, within), series) in self.all() {
            let wanted = model.is_none_or(|model| *model == of);
            if wanted && segment.is_none_or(|segment| within.as_deref() == Some(segment)) {
                sum.merge(&series.history().stats(&range));
            }
        }
        sum
    }

    /// What was answered since the start, as far as the last tick has seen it, per version and segment.
    pub fn totals(&self) -> Vec<(ModelRef, Option<String>, TrafficStats)> {
        let totals = self.all().into_iter().map(|((model, segment), series)| {
            let mut total = series.history().total().clone();
            total.out_of_range = series.open.out_of_range();
            (model, segment, total)
        });
        totals.collect()
    }

    fn all(&self) -> Vec<(Key, Arc<TrafficSeries>)> {
        let all = self.series.read().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(key, series)| (key.clone(), series.clone())).collect()
    }
}

/// Answers for counts, rates, mean score and latency, per version and segment. A count of nothing is 0 for every series that
/// there is. Quantiles of latency need a window with a whole minute in it, two minutes at least.
impl MetricSource for Traffic {
    fn measure(&self, metric: &Metric, window: Duration, now: Timestamp) -> Vec<Measurement> {
        let range = now.minus(window)..now;
        let measured = self.all().into_iter().filter_map(|((model, segment), series)| {
            let stats = series.history().stats(&range);
            let (value, n) = stats.measure(metric)?;
            Some(Measurement { model: Some(model), segment, value, n })
        });
        measured.collect()
    }
}
