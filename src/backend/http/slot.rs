//! A slot as it is served, and who hears of what passes.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::evaluate::Decision;
use crate::experiment::{ExperimentRecorder, HashRouter, Router};
use crate::monitor::{Gaps, LabelJoin, Monitor, MonitorConfig, PredictionLog, Traffic};
use crate::monitoring::Monitoring;
use crate::serve::Prediction;
use crate::time::Timestamp;

/// What goes with a slot of the service that is served over HTTP.
#[derive(Debug, Clone)]
pub struct HttpSlot {
    /// Which arm answers.
    pub router: Arc<dyn Router>,
    /// Counts the exposures and outcomes of a running experiment; its router goes with it.
    pub recorder: Option<Arc<ExperimentRecorder>>,
    /// Keeps answers for inspection.
    pub log: Option<Arc<dyn PredictionLog>>,
    /// Hears of answers, labels and feedback.
    pub observer: Arc<dyn HttpObserver>,
}

/// The champion answers, nothing is kept, a [`Monitor`] of the default configuration counts.
impl Default for HttpSlot {
    fn default() -> Self {
        let monitor = Monitor::new(MonitorConfig::default()).expect("the default is sound");
        HttpSlot {
            router: Arc::new(HashRouter::champion_only()),
            recorder: None,
            log: None,
            observer: Arc::new(monitor),
        }
    }
}

/// What somebody who looked at a case says of the answer to it. Not a label: what they think may turn out otherwise.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Feedback {
    /// Id of the prediction.
    pub id: u64,
    /// When it was given.
    pub at: Timestamp,
    /// Who gives it.
    pub by: String,
    /// What they would have decided.
    pub decision: Decision,
    /// Why; may be empty.
    pub note: String,
}

/// Hears of what passes the routes of one slot: a [`Monitor`], a [`Monitoring`], or a host that does more of its own.
///
/// # Concurrency
/// Called by many threads at once. [`answered`](Self::answered) runs on the runtime's own threads and must not block; the
/// others run where blocking is allowed.
pub trait HttpObserver: Debug + Send + Sync + 'static {
    /// An answer was given to a row in the order of the slot's schema.
    ///
    /// # Errors
    /// Where this cannot be counted; the caller is told instead of being given an answer that nobody knows of.
    fn answered(&self, prediction: &Prediction, row: &[f64], latency: Duration) -> Result<()>;

    /// A label became known, `true` for bad.
    ///
    /// # Errors
    /// Where it could not be taken and should come again.
    fn labelled(&self, id: u64, bad: bool, reported: Timestamp) -> Result<LabelJoin>;

    /// Somebody said something of an answer.
    ///
    /// # Errors
    /// `Refused` by default: there is nothing that keeps it.
    fn commented(&self, feedback: &Feedback) -> Result<()> {
        let _ = feedback;
        Err(Error::refused("take feedback", "nothing here keeps it"))
    }

    /// What is told to Prometheus.
    fn traffic(&self) -> &Traffic;
}

impl HttpObserver for Monitor {
    fn answered(&self, prediction: &Prediction, _: &[f64], latency: Duration) -> Result<()> {
        let gaps = Gaps {
            missing: prediction.inputs.missing,
            unseen: prediction.inputs.infinite + prediction.inputs.out_of_range,
        };
        self.record(prediction, latency, gaps);
        Ok(())
    }

    fn labelled(&self, id: u64, bad: bool, reported: Timestamp) -> Result<LabelJoin> {
        Ok(self.label(id, bad, reported))
    }

    fn traffic(&self) -> &Traffic {
        Monitor::traffic(self)
    }
}

impl HttpObserver for Monitoring {
    fn answered(&self, prediction: &Prediction, row: &[f64], latency: Duration) -> Result<()> {
        self.record(prediction, row, latency)
    }

    fn labelled(&self, id: u64, bad: bool, reported: Timestamp) -> Result<LabelJoin> {
        Ok(self.label(id, bad, reported))
    }

    fn traffic(&self) -> &Traffic {
        self.monitor().traffic()
    }
}
