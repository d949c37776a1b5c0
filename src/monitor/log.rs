//! The last predictions of each version, for looking at.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::ops::Range;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::seed::stable_hash;
use crate::serve::Prediction;
use crate::time::Timestamp;

/// Keeps predictions for inspection.
///
/// # Contract
/// Bounded: the oldest predictions of a version make room for new ones. Predictions come back as they were recorded, rows
/// included where the log keeps them, bit for bit.
///
/// # Concurrency
/// Any number of threads record at once.
///
/// # Cost
/// [`record`](Self::record) must not block on anything slower than memory; a backend queues.
///
/// # Implementing
/// Run `riskcycle::testing::prediction_log::all` (cargo feature `testing`) against it.
pub trait PredictionLog: Debug + Send + Sync + 'static {
    /// Keeps a prediction and the row it was made on, values in schema order. Cannot fail: a log that has trouble counts it and
    /// reports it elsewhere.
    fn record(&self, prediction: &Prediction, row: &[f64]);

    /// The last predictions of a version, newest first, at most `n`.
    ///
    /// # Errors
    /// `Io` from backends; the in-memory default has none.
    fn recent(&self, model: &ModelRef, n: usize) -> Result<Vec<Logged>>;

    /// The last predictions of a version at moments within `range`, newest first, at most `n`.
    ///
    /// # Errors
    /// As [`recent`](Self::recent).
    fn between(&self, model: &ModelRef, range: Range<Timestamp>, n: usize) -> Result<Vec<Logged>>;
}

/// A prediction as it was logged.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Logged {
    /// The prediction.
    pub prediction: Prediction,
    /// The row it was made on; empty where the log does not keep rows.
    pub row: Vec<f64>,
}

/// How much a prediction log keeps.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct PredictionLogConfig {
    /// Predictions kept of each version.
    pub capacity: usize,
    /// Whether their rows are kept too.
    pub rows: bool,
    /// Share of predictions that is kept, `0.0..=1.0`, chosen by a hash of the id: the same ones in every process.
    pub share: f64,
}

/// 10,000 of each version, all of them, without rows.
impl Default for PredictionLogConfig {
    fn default() -> Self {
        PredictionLogConfig { capacity: 10_000, rows: false, share: 1.0 }
    }
}

impl PredictionLogConfig {
    pub(crate) fn check(&self) -> Result<()> {
        if self.capacity == 0 || !(0.0..=1.0).contains(&self.share) {
            let reason = "capacity must be at least 1, share lies within 0 to 1";
            return Err(Error::config("prediction log", reason));
        }
        Ok(())
    }

    /// Whether the prediction of an id is among those that are kept.
    pub(crate) fn keeps(&self, id: u64) -> bool {
        // 2⁶⁴ × share; the conversion saturates.
        let below = || (self.share * 18_446_744_073_709_551_616.0) as u64;
        self.share >= 1.0 || stable_hash(&id.to_le_bytes(), 0) < below()
    }
}

/// Keeps the last predictions of each version in memory: about 160 bytes each, and 8 per value where rows are kept.
///
/// Recording does not wait: a prediction that finds another one being written down is left out, and counted.
#[derive(Debug, Default)]
pub struct InMemoryPredictionLog {
    config: PredictionLogConfig,
    by_model: Mutex<BTreeMap<ModelRef, VecDeque<Logged>>>,
    missed: AtomicU64,
}

impl InMemoryPredictionLog {
    /// # Errors
    /// `InvalidConfig` for a capacity of zero or a share outside `0.0..=1.0`.
    pub fn new(config: PredictionLogConfig) -> Result<Self> {
        config.check()?;
        Ok(InMemoryPredictionLog { config, ..InMemoryPredictionLog::default() })
    }

    /// Predictions left out because another one was being written down or read.
    pub fn missed(&self) -> u64 {
        self.missed.load(Ordering::Relaxed)
    }
}

impl PredictionLog for InMemoryPredictionLog {
    fn record(&self, prediction: &Prediction, row: &[f64]) {
        if !self.config.keeps(prediction.id) {
            return;
        }
        let mut by_model = match self.by_model.try_lock() {
            Ok(by_model) => by_model,
            Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
            Err(TryLockError::WouldBlock) => {
                self.missed.fetch_add(1, Ordering::Relaxed);
                return;
            }
        };
        if !by_model.contains_key(&prediction.model) {
            let ring = VecDeque::with_capacity(self.config.capacity);
            by_model.insert(prediction.model.clone(), ring);
        }
        let ring = by_model.get_mut(&prediction.model).expect("just inserted");
        // The oldest one's memory is used again.
        let oldest = if ring.len() == self.config.capacity { ring.pop_front() } else { None };
        let mut kept = oldest.map_or(Vec::new(), |logged| logged.row);
        kept.clear();
        if self.config.rows {
            kept.extend_from_slice(row);
        }
        ring.push_back(Logged { prediction: prediction.clone(), row: kept });
    }

    fn recent(&self, model: &ModelRef, n: usize) -> Result<Vec<Logged>> {
        let by_model = self.by_model.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = by_model.get(model);
        Ok(ring.map_or(Vec::new(), |ring| ring.iter().rev().take(n).cloned().collect()))
    }

    fn between(&self, model: &ModelRef, range: Range<Timestamp>, n: usize) -> Result<Vec<Logged>> {
        let by_model = self.by_model.lock().unwrap_or_else(PoisonError::into_inner);
        let newest_first = by_model.get(model).into_iter().flat_map(|ring| ring.iter().rev());
        let within = newest_first.filter(|logged| range.contains(&logged.prediction.at));
        Ok(within.take(n).cloned().collect())
    }
}
