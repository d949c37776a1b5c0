//! Stage 10, monitor. Takes predictions, and labels when they arrive; gives [`Finding`]s: what was said and what came
//! true, per version and stretch of time.

mod cbpe;
mod log;
mod maturity;
mod metric;
mod traffic;

pub use cbpe::{Cbpe, ExpectedPerformance};
pub use log::{InMemoryPredictionLog, PredictionLog};
pub use maturity::{
    Completeness, Estimate, LabelTriangle, MaturedPerformance, OutcomeConfig, OutcomeLedger,
};
pub use metric::{Finding, FindingBoard, Measurement, Metric, MetricSource};
pub use traffic::{Answer, Outcome, Traffic, TrafficSeries, TrafficStats};

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::serve::Prediction;
use crate::time::{Timestamp, days, micros};

/// Parameters of a [`Monitor`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorConfig {
    /// Length of the stretches that predictions are counted in.
    pub bucket: Duration,
    /// Time that labels take: a bucket's precision and recall are reported this long after its end.
    pub label_delay: Duration,
    /// Most predictions that wait for their label; the oldest are forgotten first.
    pub max_unlabelled: usize,
}

/// Buckets of a day, labels after 7 days, a million waiting predictions (about 100 MB).
impl Default for MonitorConfig {
    fn default() -> Self {
        MonitorConfig { bucket: days(1), label_delay: days(7), max_unlabelled: 1_000_000 }
    }
}

/// Counts predictions per version and stretch of time, and joins labels to them when they arrive.
///
/// Findings, per version, once a bucket has ended: `predictions` (count), `review_rate`, `fallback_rate`,
/// `mean_score` (over scored rows). Once its labels are due as well: `label_coverage`, and over labelled rows
/// `bad_rate`, `precision` and `recall` of reviews, where they are defined.
///
/// # Concurrency
/// Share it by reference; one short lock per call.
#[derive(Debug)]
pub struct Monitor {
    config: MonitorConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Open buckets by start, then version.
    buckets: BTreeMap<Timestamp, BTreeMap<ModelRef, Bucket>>,
    waiting: HashMap<u64, Waiting>,
    /// Ids in the order they came, with those that have gone since.
    order: VecDeque<u64>,
    forgotten: u64,
    /// Buckets that end by then are closed: all that there was to say of them has been said.
    closed: Option<Timestamp>,
}

#[derive(Debug)]
struct Waiting {
    bucket: Timestamp,
    model: ModelRef,
    review: bool,
}

#[derive(Debug, Default)]
struct Bucket {
    traffic_reported: bool,
    predictions: u64,
    reviews: u64,
    fallbacks: u64,
    /// Sum of scores in 2⁻³² steps: whole numbers, so that order and threads do not matter.
    scores: u128,
    labelled: u64,
    bad: u64,
    bad_reviews: u64,
    labelled_reviews: u64,
}

/// What became of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LabelJoin {
    /// Counted with its prediction.
    Joined,
    /// Its prediction's bucket has been reported already; not counted.
    TooLate,
    /// No prediction of that id waits: never made, labelled already, or forgotten.
    Unknown,
}

impl MonitorConfig {
    /// Start of the bucket that a moment falls into; buckets are counted from 1970-01-01 UTC.
    pub fn bucket_start(&self, at: Timestamp) -> Timestamp {
        let length = micros(self.bucket).max(1);
        Timestamp::from_micros(at.micros().div_euclid(length).saturating_mul(length))
    }
}

impl Monitor {
    /// # Errors
    /// `InvalidConfig` for a bucket shorter than a microsecond or no room for waiting predictions.
    pub fn new(config: MonitorConfig) -> Result<Self> {
        if micros(config.bucket) == 0 || config.max_unlabelled == 0 {
            let reason = "bucket and max_unlabelled must be positive";
            return Err(Error::config("monitor", reason));
        }
        Ok(Monitor { config, state: Mutex::default() })
    }

    /// Counts a prediction. One of a bucket whose outcomes have been reported already is not counted any more.
    pub fn record(&self, prediction: &Prediction) {
        let start = self.config.bucket_start(prediction.at);
        let review = prediction.decision.is_alert();
        let mut state = self.state();
        if state.is_closed(start.plus(self.config.bucket)) {
            return;
        }
        let bucket = state.bucket(start, &prediction.model);
        bucket.predictions += 1;
        bucket.reviews += u64::from(review);
        match prediction.score {
            Some(score) => bucket.scores += (score * 4_294_967_296.0) as u128,
            None => bucket.fallbacks += 1,
        }
        let waiting = Waiting { bucket: start, model: prediction.model.clone(), review };
        if state.waiting.insert(prediction.id, waiting).is_none() {
            state.order.push_back(prediction.id);
        }
        while state.waiting.len() > self.config.max_unlabelled {
            let oldest = state.order.pop_front().expect("every waiting id is in the order");
            let gone = state.waiting.remove(&oldest).is_some();
            state.forgotten += u64::from(gone);
        }
        // Labelled ids stay in the order until they reach its front; keep them from piling up.
        while state.order.front().is_some_and(|id| !state.waiting.contains_key(id)) {
            state.order.pop_front();
        }
    }

    /// Gives a prediction its label, `true` for bad. A second label for the same prediction is `Unknown`.
    pub fn label(&self, id: u64, bad: bool) -> LabelJoin {
        let mut state = self.state();
        let Some(waiting) = state.waiting.remove(&id) else {
            return LabelJoin::Unknown;
        };
        if state.is_closed(waiting.bucket.plus(self.config.bucket)) {
            return LabelJoin::TooLate;
        }
        let bucket = state.bucket(waiting.bucket, &waiting.model);
        bucket.labelled += 1;
        bucket.bad += u64::from(bad);
        bucket.labelled_reviews += u64::from(waiting.review);
        bucket.bad_reviews += u64::from(bad && waiting.review);
        LabelJoin::Joined
    }

    /// Predictions that were forgotten before a label came, for want of room.
    pub fn forgotten(&self) -> u64 {
        self.state().forgotten
    }

    /// What has become known since the last call: traffic of buckets that ended by `now`, and outcomes of buckets whose
    /// labels are due by `now`. In order of time and version; each is given once.
    pub fn findings(&self, now: Timestamp) -> Vec<Finding> {
        let mut findings = Vec::new();
        let mut state = self.state();
        state.closed = state.closed.max(Some(now.minus(self.config.label_delay)));
        state.buckets.retain(|&from, models| {
            let to = from.plus(self.config.bucket);
            let due = to.plus(self.config.label_delay) <= now;
            for (model, bucket) in models.iter_mut() {
                let mut found = |metric: Metric, value: f64, n: u64| {
                    let (model, segment) = (Some(model.clone()), None);
                    findings.push(Finding { metric, model, segment, from, to, value, n });
                };
                if to <= now && !bucket.traffic_reported {
                    bucket.traffic_reported = true;
                    bucket.traffic(&mut found);
                }
                if due {
                    bucket.outcomes(&mut found);
                }
            }
            !due
        });
        findings
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn is_closed(&self, end: Timestamp) -> bool {
        self.closed.is_some_and(|closed| end <= closed)
    }

    fn bucket(&mut self, start: Timestamp, model: &ModelRef) -> &mut Bucket {
        let models = self.buckets.entry(start).or_default();
        if !models.contains_key(model) {
            models.insert(model.clone(), Bucket::default());
        }
        models.get_mut(model).expect("just inserted")
    }
}

impl Bucket {
    fn traffic(&self, found: &mut impl FnMut(Metric, f64, u64)) {
        let (n, scored) = (self.predictions, self.predictions - self.fallbacks);
        found(Metric::Predictions, n as f64, n);
        found(Metric::ReviewRate, self.reviews as f64 / n as f64, n);
        found(Metric::FallbackRate, self.fallbacks as f64 / n as f64, n);
        if scored > 0 {
            found(Metric::MeanScore, self.scores as f64 / 4_294_967_296.0 / scored as f64, scored);
        }
    }

    fn outcomes(&self, found: &mut impl FnMut(Metric, f64, u64)) {
        if self.predictions > 0 {
            let coverage = self.labelled as f64 / self.predictions as f64;
            found(Metric::LabelCoverage, coverage, self.predictions);
        }
        if self.labelled > 0 {
            found(Metric::BadRate, self.bad as f64 / self.labelled as f64, self.labelled);
        }
        if self.labelled_reviews > 0 {
            let precision = self.bad_reviews as f64 / self.labelled_reviews as f64;
            found(Metric::Precision, precision, self.labelled_reviews);
        }
        if self.bad > 0 {
            found(Metric::Recall, self.bad_reviews as f64 / self.bad as f64, self.bad);
        }
    }
}
