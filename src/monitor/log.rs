//! The last predictions of each version, for looking at.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Debug;
use std::sync::{Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::serve::Prediction;

/// Keeps predictions for inspection.
///
/// # Contract
/// Bounded: the oldest predictions of a version make room for new ones.
///
/// # Concurrency
/// Any number of threads record at once.
///
/// # Cost
/// [`record`](Self::record) must not block on anything slower than memory; a backend queues.
pub trait PredictionLog: Debug + Send + Sync + 'static {
    /// Keeps a prediction. Cannot fail: a log that has trouble counts it and reports it elsewhere.
    fn record(&self, prediction: &Prediction);

    /// The last predictions of a version, newest first, at most `n`.
    ///
    /// # Errors
    /// `Io` from backends; the in-memory default has none.
    fn recent(&self, model: &ModelRef, n: usize) -> Result<Vec<Prediction>>;
}

/// Keeps the last predictions of each version in memory.
#[derive(Debug)]
pub struct InMemoryPredictionLog {
    capacity: usize,
    by_model: Mutex<BTreeMap<ModelRef, VecDeque<Prediction>>>,
}

impl InMemoryPredictionLog {
    /// Keeps the last `capacity` predictions of each version, about 100 bytes each.
    ///
    /// # Errors
    /// `InvalidConfig` for a capacity of zero.
    pub fn new(capacity: usize) -> Result<Self> {
        if capacity == 0 {
            return Err(Error::config("prediction log", "capacity must be at least 1"));
        }
        Ok(InMemoryPredictionLog { capacity, by_model: Mutex::default() })
    }
}

impl PredictionLog for InMemoryPredictionLog {
    fn record(&self, prediction: &Prediction) {
        let mut by_model = self.by_model.lock().unwrap_or_else(PoisonError::into_inner);
        if !by_model.contains_key(&prediction.model) {
            let ring = VecDeque::with_capacity(self.capacity);
            by_model.insert(prediction.model.clone(), ring);
        }
        let ring = by_model.get_mut(&prediction.model).expect("just inserted");
        if ring.len() == self.capacity {
            ring.pop_front();
        }
        ring.push_back(prediction.clone());
    }

    fn recent(&self, model: &ModelRef, n: usize) -> Result<Vec<Prediction>> {
        let by_model = self.by_model.lock().unwrap_or_else(PoisonError::into_inner);
        let ring = by_model.get(model);
        Ok(ring.map_or(Vec::new(), |ring| ring.iter().rev().take(n).cloned().collect()))
    }
}
