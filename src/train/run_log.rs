//! Training runs side by side: what was tried, and what came of it.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::Digest;
use crate::train::{MetricSummary, TrainingRecord};

/// A training run with what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RunEntry {
    /// How the model came about.
    pub record: TrainingRecord,
    /// Metrics on the training rows, by name.
    pub train: BTreeMap<String, f64>,
    /// Metrics on rows that were not trained on, by name.
    pub test: BTreeMap<String, f64>,
    /// Cross-validated metrics, where there are any.
    pub cross_validation: Vec<MetricSummary>,
    /// How much the model makes of each feature, where it tells.
    pub importance: Vec<(String, f64)>,
    /// How long things took, by name, as the host measured it.
    pub timings: BTreeMap<String, Duration>,
}

impl RunEntry {
    /// A run of which nothing else is known yet.
    pub fn new(record: TrainingRecord) -> Self {
        RunEntry {
            record,
            train: BTreeMap::new(),
            test: BTreeMap::new(),
            cross_validation: Vec::new(),
            importance: Vec::new(),
            timings: BTreeMap::new(),
        }
    }

    /// A metric on the training rows less that on the test rows; `None` unless both are known.
    pub fn gap(&self, metric: &str) -> Option<f64> {
        Some(self.train.get(metric)? - self.test.get(metric)?)
    }
}

/// Where training runs are kept.
///
/// # Contract
/// Runs come back as they were recorded, in that order. A run recorded again stands twice.
///
/// # Errors
/// `Io` and `Corrupt` of a medium that has them.
pub trait RunLog: Debug + Send + Sync + 'static {
    /// Keeps a run.
    ///
    /// # Errors
    /// See the trait.
    fn record(&self, run: &RunEntry) -> Result<()>;

    /// All runs, the first recorded first.
    ///
    /// # Errors
    /// See the trait.
    fn runs(&self) -> Result<Vec<RunEntry>>;
}

/// Conveniences for every [`RunLog`].
pub trait RunLogExt: RunLog {
    /// The last run of this id.
    ///
    /// # Errors
    /// `NotFound`; those of the log.
    fn run(&self, id: &Digest) -> Result<RunEntry> {
        let runs = self.runs()?;
        let found = runs.into_iter().rev().find(|run| run.record.id == *id);
        found.ok_or_else(|| Error::NotFound { kind: "training run", id: id.to_string() })
    }

    /// Runs by a metric on their test rows, the best first; of equal ones the earlier. Runs without the metric, or with NaN,
    /// are left out.
    ///
    /// # Errors
    /// Those of the log.
    fn ranked(&self, metric: &str, larger_is_better: bool) -> Result<Vec<RunEntry>> {
        let value = |run: &RunEntry| run.test.get(metric).copied().filter(|value| !value.is_nan());
        let mut runs: Vec<RunEntry> =
            self.runs()?.into_iter().filter(|run| value(run).is_some()).collect();
        let sign = if larger_is_better { -1.0 } else { 1.0 };
        let key = |run: &RunEntry| value(run).map_or(f64::NAN, |value| sign * value);
        runs.sort_by(|a, b| key(a).total_cmp(&key(b)));
        Ok(runs)
    }
}

impl<L: RunLog + ?Sized> RunLogExt for L {}

/// Runs in memory.
#[derive(Debug, Default)]
pub struct InMemoryRunLog {
    runs: Mutex<Vec<RunEntry>>,
}

impl RunLog for InMemoryRunLog {
    fn record(&self, run: &RunEntry) -> Result<()> {
        self.runs.lock().unwrap_or_else(PoisonError::into_inner).push(run.clone());
        Ok(())
    }

    fn runs(&self) -> Result<Vec<RunEntry>> {
        Ok(self.runs.lock().unwrap_or_else(PoisonError::into_inner).clone())
    }
}

/// Runs in a file, a line of JSON each.
#[cfg(feature = "json")]
#[derive(Debug)]
pub struct JsonLinesRunLog {
    lines: Mutex<crate::train::json_lines::JsonLines>,
}

#[cfg(feature = "json")]
impl JsonLinesRunLog {
    /// Opens a file or makes it. A line that a crash cut short is taken off.
    ///
    /// # Errors
    /// `Io` if the file cannot be read or written.
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        let lines = Mutex::new(crate::train::json_lines::JsonLines::open(path.as_ref())?);
        Ok(JsonLinesRunLog { lines })
    }
}

#[cfg(feature = "json")]
impl RunLog for JsonLinesRunLog {
    fn record(&self, run: &RunEntry) -> Result<()> {
        let mut metrics = run.train.iter().chain(&run.test);
        if let Some((name, value)) = metrics.find(|(_, value)| !value.is_finite()) {
            return Err(Error::input("run", format!("{name} is {value}, which JSON cannot hold")));
        }
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).append(run)
    }

    fn runs(&self) -> Result<Vec<RunEntry>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).read()
    }
}
