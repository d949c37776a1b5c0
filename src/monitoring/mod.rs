//! Watching, joined: one place that predictions and labels go to, and that findings, drift and alerts come from. The
//! [`lifecycle`](crate::lifecycle) uses it; so can a host that scores by other means.

mod stream;
mod thread;

pub use stream::{StreamKind, WatchedStream};
pub use thread::MonitoringThread;

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, AlertEngine};
use crate::drift::{DriftConfig, DriftReport, DriftWindow, ReferenceProfile};
use crate::error::Result;
use crate::ids::ModelRef;
use crate::monitor::{Finding, LabelJoin, Monitor, MonitorConfig};
use crate::serve::Prediction;
use crate::time::Timestamp;
use stream::Streams;

/// Parameters of a [`Monitoring`].
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct MonitoringConfig {
    /// How predictions and labels are counted; its bucket is also the stretch that drift is reported on.
    pub monitor: MonitorConfig,
    /// What is called drift.
    pub drift: DriftConfig,
    /// Streams that a detector watches, label by label.
    pub streams: Vec<WatchedStream>,
}

/// Counts predictions and labels of the versions at work, holds their rows and scores against a reference, watches
/// streams of labels, and moves the alerts.
///
/// Rules see the [`Monitor`]'s metrics, those of [`DriftReport::findings`] on the champion, and
/// [`Metric::Detector`](crate::monitor::Metric::Detector) of each watched stream.
///
/// # Concurrency
/// Share it by reference; any number of threads record and label. [`tick`](Self::tick) belongs on one: the host's own, or
/// one that [`MonitoringThread`] starts.
pub struct Monitoring {
    monitor: Monitor,
    config: DriftConfig,
    watch: RwLock<Arc<Watch>>,
    streams: Mutex<Streams>,
    alerts: AlertEngine,
}

/// What the champion is held against.
struct Watch {
    champion: ModelRef,
    window: DriftWindow,
    /// Start of the open stretch, on the monitor's buckets, in microseconds; [`NO_EVENT`] until there is an event.
    from: AtomicI64,
}

const NO_EVENT: i64 = i64::MIN;

/// What a [`tick`](Monitoring::tick) brought to light.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// What became known since the last one.
    pub findings: Vec<Finding>,
    /// Drift of the stretch that ended, if one did.
    pub drift: Option<DriftReport>,
    /// Alerts that changed their state.
    pub alerts: Vec<Alert>,
}

impl Watch {
    fn new(
        champion: ModelRef,
        reference: ReferenceProfile,
        config: DriftConfig,
    ) -> Result<Arc<Self>> {
        let window = DriftWindow::new(Arc::new(reference), config)?;
        Ok(Arc::new(Watch { champion, window, from: AtomicI64::new(NO_EVENT) }))
    }

    /// Opens the first stretch; the first thread that sees an event does.
    fn open(&self, from: Timestamp) {
        if self.from.load(Ordering::Relaxed) == NO_EVENT {
            let (ours, relaxed) = (from.micros(), Ordering::Relaxed);
            let _ = self.from.compare_exchange(NO_EVENT, ours, relaxed, relaxed);
        }
    }

    /// Closes the open stretch if it has lasted as long as a bucket.
    fn close(&self, to: Timestamp, bucket: Duration) -> Option<DriftReport> {
        let from = self.from.load(Ordering::Relaxed);
        let start = Timestamp::from_micros(from);
        if from == NO_EVENT || to.since(start) < bucket {
            return None;
        }
        self.from.store(to.micros(), Ordering::Relaxed);
        self.window.finish(start, to)
    }
}

impl Monitoring {
    /// Watches `champion` against `reference`.
    ///
    /// # Errors
    /// `InvalidConfig` for parameters out of range, or two streams of one name.
    pub fn new(
        config: MonitoringConfig,
        champion: ModelRef,
        reference: ReferenceProfile,
        alerts: AlertEngine,
    ) -> Result<Self> {
        Ok(Monitoring {
            monitor: Monitor::new(config.monitor)?,
            config: config.drift,
            watch: RwLock::new(Watch::new(champion, reference, config.drift)?),
            streams: Mutex::new(Streams::new(config.streams)?),
            alerts,
        })
    }

    /// Counts a prediction, the row it was made on, and how long it took: the monitor counts it, its row is held against
    /// the reference, and so is its score where the champion gave it.
    ///
    /// # Errors
    /// `SchemaMismatch` if the row has another width than the reference; nothing is counted then.
    pub fn record(&self, prediction: &Prediction, row: &[f64], latency: Duration) -> Result<()> {
        // Held rather than copied: nobody but `rebase` waits for it.
        let watch = self.watch.read().unwrap_or_else(PoisonError::into_inner);
        let gaps = watch.window.observe_row(row, None)?;
        watch.open(self.monitor.config().bucket_start(prediction.at));
        if prediction.model == watch.champion {
            watch.window.observe_score(prediction.score, None)?;
        }
        self.monitor.record(prediction, latency, gaps);
        Ok(())
    }

    /// Gives a prediction its label, `true` for bad, which became known at `reported`: to the monitor, to the rate of bad labels
    /// that drift is told of, and to the watched streams.
    pub fn label(&self, id: u64, bad: bool, reported: Timestamp) -> LabelJoin {
        let join = self.monitor.label(id, bad, reported);
        if let LabelJoin::Joined(label) = &join {
            let counted = self.watch().window.observe_label(bad, None);
            debug_assert!(counted.is_ok(), "no segment is no unknown segment");
            self.streams().label(label);
        }
        join
    }

    /// Looks at what has become known by `now`, closes the drift stretch if it has lasted a bucket, and moves the alerts.
    /// Events recorded before the call count to the stretch that it closes. Call it as often as [`Monitor::tick`] asks for.
    pub fn tick(&self, now: Timestamp) -> Tick {
        let mut findings = self.monitor.tick(now);
        let config = self.monitor.config();
        let to = config.bucket_start(now);
        let watch = self.watch();
        let drift = watch.close(to, config.bucket);
        let mut others: Vec<Finding> =
            drift.iter().flat_map(|report| report.findings(Some(&watch.champion))).collect();
        others.extend(self.streams().findings(&watch.champion, now));
        self.monitor.post(&others, now);
        findings.extend(others);
        let alerts = self.alerts.tick(now, &self.monitor);
        Tick { findings, drift, alerts }
    }

    /// A new champion: from here on it is held against `reference`, detectors start anew, and what was found and fires on the
    /// `retired` versions ends, for this reason.
    ///
    /// # Errors
    /// Those of [`DriftWindow::new`]; nothing has changed then.
    pub fn rebase(
        &self,
        champion: &ModelRef,
        reference: ReferenceProfile,
        retired: &[ModelRef],
        now: Timestamp,
    ) -> Result<()> {
        let watch = Watch::new(champion.clone(), reference, self.config)?;
        *self.watch.write().unwrap_or_else(PoisonError::into_inner) = watch;
        self.streams().reset();
        for model in retired {
            self.monitor.retire(model);
            self.alerts.retire(model, &format!("rebased on {champion}"), now);
        }
        Ok(())
    }

    /// What was counted.
    pub fn monitor(&self) -> &Monitor {
        &self.monitor
    }

    /// The rules and what fires.
    pub fn alerts(&self) -> &AlertEngine {
        &self.alerts
    }

    fn watch(&self) -> Arc<Watch> {
        self.watch.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn streams(&self) -> std::sync::MutexGuard<'_, Streams> {
        self.streams.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl fmt::Debug for Monitoring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Monitoring")
            .field("champion", &self.watch().champion)
            .field("alerts", &self.alerts)
            .finish_non_exhaustive()
    }
}
