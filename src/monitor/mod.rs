//! Stage 10, monitor. Takes predictions, and labels when they arrive; gives [`Finding`]s: what was said and what came
//! true, per version and stretch of time, and answers rules as a [`MetricSource`].

mod board;
mod cbpe;
mod counts;
mod found;
mod inbox;
mod log;
mod metric;
mod outcome;
mod promised;
mod traffic;
mod triangle;
mod waiting;

pub use board::{Finding, FindingBoard, Measurement, MetricSource};
pub use cbpe::{Cbpe, ExpectedPerformance};
pub use counts::MonitorCounts;
pub use log::{InMemoryPredictionLog, Logged, PredictionLog, PredictionLogConfig};
pub use metric::Metric;
pub use outcome::{
    CalibrationGap, LabelCounts, Labelled, MaturedPerformance, OutcomeConfig, OutcomeLedger,
};
pub use traffic::{Answer, Gaps, Outcome, Traffic, TrafficSeries, TrafficStats};
#[cfg(feature = "http")]
pub(crate) use traffic::{escaped_label, prometheus_text};
pub use triangle::{Completeness, Estimate, LabelTriangle};

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, TryLockError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::serve::Prediction;
use crate::time::{Timestamp, days, micros};
use found::findings;
use inbox::Inbox;
use waiting::{Seen, Waiting};

/// Parameters of a [`Monitor`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitorConfig {
    /// Length of the stretches that traffic and drift are told about: whole hours, at most a day.
    pub bucket: Duration,
    /// Time that labels take: what they say of a day is told this long after its end.
    pub label_delay: Duration,
    /// Whether a row whose label has not come by then is good, as with chargebacks; otherwise it is unknown.
    pub silence_is_good: bool,
    /// Most predictions that wait for their label, about 100 bytes each; the oldest are forgotten first.
    pub max_unlabelled: usize,
    /// Predictions that there is room for between two ticks or labels, 96 bytes each. Who finds it used up files what there is,
    /// half a microsecond a prediction: make it larger where ticks are rare and a request must not wait for that.
    pub max_unfiled: usize,
    /// How labels still to come are allowed for.
    pub outcomes: OutcomeConfig,
    /// Stretch over which the corrected bad rate is held against what scores promise.
    pub agreement: Duration,
}

/// Buckets of a day, labels after 7 days, silence unknown, a million waiting predictions (about 100 MB) and 65,536 unfiled ones
/// (6 MB), 28 days of agreement.
impl Default for MonitorConfig {
    fn default() -> Self {
        MonitorConfig {
            bucket: days(1),
            label_delay: days(7),
            silence_is_good: false,
            max_unlabelled: 1_000_000,
            max_unfiled: 65_536,
            outcomes: OutcomeConfig::default(),
            agreement: days(28),
        }
    }
}

/// Counts predictions, joins labels to them when they arrive, and says what became known.
///
/// Of every version, once a bucket has ended: `predictions` (count), `review_rate`, `fallback_rate`, `error_rate`, `mean_score`
/// (over scored rows), `incomplete_rate`. Once the labels of a day are due: `label_coverage`, `bad_rate`, `precision` and
/// `recall` of reviews, `calibration_gap`, and as of that moment `label_lag` and `outcome_disagreement`, where they are defined.
///
/// As a [`MetricSource`] it answers from its [`Traffic`], over any stretch, and otherwise from the latest findings, its own and
/// those [`post`](Self::post)ed by others.
///
/// # Concurrency
/// Share it by reference. Recording never waits for anybody; the other calls take a lock for as long as they work.
#[derive(Debug)]
pub struct Monitor {
    config: MonitorConfig,
    traffic: Traffic,
    inbox: Inbox<Noted>,
    missed: AtomicU64,
    outcomes: Mutex<Outcomes>,
    board: Mutex<FindingBoard>,
}

/// A prediction as it was recorded, to be filed.
#[derive(Debug)]
struct Noted {
    seen: Seen,
    latency_nanos: u64,
    gaps: Gaps,
}

#[derive(Debug, Default)]
struct Outcomes {
    ledgers: BTreeMap<ModelRef, OutcomeLedger>,
    waiting: Waiting,
    /// Traffic is told up to here, on the buckets' grid.
    told: Option<Timestamp>,
    /// Labels are told up to here, on the grid of days.
    judged: Option<Timestamp>,
}

/// What became of a label.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum LabelJoin {
    /// Counted with its prediction.
    Joined(Labelled),
    /// No prediction of that id waits: never made, labelled already, or forgotten.
    Unknown,
}

impl MonitorConfig {
    /// Start of the bucket that a moment falls into; buckets are counted from 1970-01-01 UTC.
    pub fn bucket_start(&self, at: Timestamp) -> Timestamp {
        start(at, self.bucket)
    }
}

/// Start of the stretch of a length that a moment falls into.
fn start(at: Timestamp, length: Duration) -> Timestamp {
    let length = micros(length).max(1);
    Timestamp::from_micros(at.micros().div_euclid(length).saturating_mul(length))
}

const HOUR: Duration = Duration::from_secs(3600);

fn check_bucket(bucket: Duration) -> Result<()> {
    let whole_hours = micros(bucket) % micros(HOUR) == 0;
    match whole_hours && (HOUR..=days(1)).contains(&bucket) {
        true => Ok(()),
        false => Err(Error::config("monitor", "a bucket is 1 to 24 whole hours")),
    }
}

impl Monitor {
    /// # Errors
    /// `InvalidConfig` for a bucket that is not 1 to 24 whole hours, no room for predictions, or outcomes out of range.
    pub fn new(config: MonitorConfig) -> Result<Self> {
        check_bucket(config.bucket)?;
        if config.max_unlabelled == 0 || config.max_unfiled == 0 {
            let reason = "max_unlabelled and max_unfiled are positive";
            return Err(Error::config("monitor", reason));
        }
        config.outcomes.check()?;
        Ok(Monitor {
            config,
            traffic: Traffic::new(),
            inbox: Inbox::new(config.max_unfiled),
            missed: AtomicU64::new(0),
            outcomes: Mutex::default(),
            board: Mutex::default(),
        })
    }

    /// The configuration.
    pub fn config(&self) -> &MonitorConfig {
        &self.config
    }

    /// Counts of answers by second, minute and hour, all that was noted so far among them. A host that has segments, or
    /// requests without an answer, records them there.
    pub fn traffic(&self) -> &Traffic {
        drop(self.outcomes());
        &self.traffic
    }

    /// Notes a prediction, how long it took and what its row lacked, to be counted and to wait for its label from the next
    /// [`tick`](Self::tick) or label on.
    ///
    /// # Concurrency
    /// Does not wait for other threads and reads no clock.
    ///
    /// # Cost
    /// Some 20 ns, without allocating. Once there is [no more room](MonitorConfig::max_unfiled) it files what was noted, and
    /// allocates. Should another thread be at that and the room be used up again meanwhile, at several million predictions a
    /// second, a prediction is counted in the traffic, left out of the join, and counted as [`forgotten`](Self::forgotten).
    pub fn record(&self, prediction: &Prediction, latency: Duration, gaps: Gaps) {
        let Prediction { id, at, ref model, score, decision, .. } = *prediction;
        let seen = Seen { id, at, model: model.clone(), score, decision };
        let latency_nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        if let Err(noted) = self.inbox.put(Noted { seen, latency_nanos, gaps }) {
            match self.outcomes.try_lock() {
                Ok(mut outcomes) => self.file(&mut outcomes, Some(noted)),
                Err(TryLockError::Poisoned(poisoned)) => {
                    self.file(&mut poisoned.into_inner(), Some(noted));
                }
                // Somebody is at it: the next one will find room.
                Err(TryLockError::WouldBlock) => {
                    self.traffic.series(model, None).record(&noted.answer());
                    self.missed.fetch_add(1, Ordering::Relaxed);
                }
            }
        }
    }

    /// Gives a prediction its label, `true` for bad, which became known at `reported`. A second label for the same prediction is
    /// `Unknown`.
    pub fn label(&self, id: u64, bad: bool, reported: Timestamp) -> LabelJoin {
        let mut outcomes = self.outcomes();
        let Some(seen) = outcomes.waiting.take(id) else {
            return LabelJoin::Unknown;
        };
        let label = seen.labelled(bad, reported);
        outcomes.ledger(&seen.model, &self.config).labelled(&label);
        LabelJoin::Joined(label)
    }

    /// [`label`](Self::label) from a host that kept what was predicted: nothing is looked up, and nothing need wait.
    pub fn label_known(&self, model: &ModelRef, label: &Labelled) {
        self.outcomes().ledger(model, &self.config).labelled(label);
    }

    /// Predictions whose label will find nothing to join: forgotten for want of room, or never filed.
    pub fn forgotten(&self) -> u64 {
        self.outcomes().waiting.forgotten + self.missed.load(Ordering::Relaxed)
    }

    /// What predictions and labels of a version came to so far; `None` without any.
    pub fn outcomes_of(&self, model: &ModelRef) -> Option<OutcomeLedger> {
        self.outcomes().ledgers.get(model).cloned()
    }

    /// Labels that have come on the predictions of a range of whole days, over all versions.
    pub fn labels(&self, range: &Range<Timestamp>) -> LabelCounts {
        let outcomes = self.outcomes();
        outcomes
            .ledgers
            .values()
            .fold(LabelCounts::default(), |sum, of| sum.plus(&of.labels(range)))
    }

    /// Moves on to `now`; what has become known since the last call, in order of time and version, each once: traffic of buckets
    /// that ended by `now`, outcomes of days whose labels are due by `now`. Call it every few seconds where rules look
    /// at traffic, and at least once a day.
    pub fn tick(&self, now: Timestamp) -> Vec<Finding> {
        let mut outcomes = self.outcomes();
        self.traffic.tick(now);
        let Outcomes { ledgers, told, judged, .. } = &mut *outcomes;
        let Some(first) = ledgers.values().filter_map(OutcomeLedger::first_day).min() else {
            return Vec::new();
        };
        let traffic = |model: &ModelRef, bucket: &Range<Timestamp>| {
            self.traffic.stats(Some(model), None, bucket.clone())
        };
        let up_to = (told.get_or_insert(first), judged.get_or_insert(first));
        let (findings, of_traffic) = findings(ledgers, traffic, up_to, now, &self.config);
        drop(outcomes);
        // Rules see traffic over stretches of their own.
        self.post(&findings[of_traffic..], now);
        findings
    }

    /// What was counted, of traffic in the buckets of the last 30 days that have ended by `now`: for another process to
    /// [merge](MonitorCounts::merge).
    pub fn counts(&self, now: Timestamp) -> MonitorCounts {
        let ledgers = self.outcomes().ledgers.clone();
        self.traffic.tick(now);
        MonitorCounts::new(&self.config, &self.traffic, ledgers, now)
    }

    /// Puts up what others have found, for rules to look at.
    pub fn post(&self, findings: &[Finding], now: Timestamp) {
        self.board().post(findings, now);
    }

    /// Takes down what was found of a version that no longer answers, and forgets its traffic. Labels that still come are counted.
    pub fn retire(&self, model: &ModelRef) {
        drop(self.outcomes()); // what was noted of it is filed, and does not bring it back
        self.traffic.retire(model);
        self.board().retire(model);
    }

    /// Counts what was noted, and `last` behind it.
    fn file(&self, outcomes: &mut Outcomes, last: Option<Noted>) {
        let config = &self.config;
        // Neighbours are most often of one version.
        let mut series: Option<(ModelRef, Arc<TrafficSeries>)> = None;
        let mut file = |noted: Noted| {
            let (answer, Noted { seen, .. }) = (noted.answer(), noted);
            let same = series.take().filter(|(model, _)| *model == seen.model);
            let new = || (seen.model.clone(), self.traffic.series(&seen.model, None));
            series.insert(same.unwrap_or_else(new)).1.record(&answer);
            outcomes.ledger(&seen.model, config).predicted(seen.at, seen.score, seen.decision);
            outcomes.waiting.put(seen, config.max_unlabelled);
        };
        self.inbox.empty(&mut file);
        last.into_iter().for_each(file);
    }

    /// The outcomes with everything that was recorded until now.
    fn outcomes(&self) -> MutexGuard<'_, Outcomes> {
        let mut outcomes = self.outcomes.lock().unwrap_or_else(PoisonError::into_inner);
        self.file(&mut outcomes, None);
        outcomes
    }

    fn board(&self) -> MutexGuard<'_, FindingBoard> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Noted {
    /// As traffic counts it.
    fn answer(&self) -> Answer {
        let Seen { at, score, decision, .. } = self.seen;
        let outcome = match score {
            Some(score) => Outcome::Scored { score, decision },
            None => Outcome::Fallback(decision),
        };
        Answer { at, outcome, latency: Duration::from_nanos(self.latency_nanos), gaps: self.gaps }
    }
}

impl Outcomes {
    fn ledger(&mut self, model: &ModelRef, config: &MonitorConfig) -> &mut OutcomeLedger {
        if !self.ledgers.contains_key(model) {
            let ledger = OutcomeLedger::new(config.outcomes).expect("checked with the monitor's");
            self.ledgers.insert(model.clone(), ledger);
        }
        self.ledgers.get_mut(model).expect("just inserted")
    }
}

/// From the traffic where that knows the metric, otherwise from the latest findings.
impl MetricSource for Monitor {
    fn measure(&self, metric: &Metric, window: Duration, now: Timestamp) -> Vec<Measurement> {
        let live = self.traffic.measure(metric, window, now);
        if live.is_empty() { self.board().measure(metric, window, now) } else { live }
    }
}
