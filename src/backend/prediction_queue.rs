//! Predictions that wait to be written to a store.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::Result;
use crate::monitor::{Logged, PredictionLogConfig};
use crate::serve::Prediction;

/// Most predictions that wait: some 10 MB without rows, some seconds of the heaviest traffic.
const ROOM: usize = 65_536;

/// Takes predictions at the speed of memory, and hands them to a store in batches.
#[derive(Debug)]
pub(super) struct PredictionQueue {
    pub(super) config: PredictionLogConfig,
    waiting: Mutex<VecDeque<Logged>>,
    /// Held by whoever writes: batches arrive in the order in which they were recorded.
    writing: Mutex<()>,
    lost: AtomicU64,
}

impl PredictionQueue {
    /// # Errors
    /// As [`InMemoryPredictionLog::new`](crate::monitor::InMemoryPredictionLog::new).
    pub(super) fn new(config: PredictionLogConfig) -> Result<Self> {
        config.check()?;
        let (waiting, writing, lost) = (Mutex::default(), Mutex::default(), AtomicU64::new(0));
        Ok(PredictionQueue { config, waiting, writing, lost })
    }

    pub(super) fn put(&self, prediction: &Prediction, row: &[f64]) {
        if !self.config.keeps(prediction.id) {
            return;
        }
        let row = if self.config.rows { row.to_vec() } else { Vec::new() };
        let logged = Logged { prediction: prediction.clone(), row };
        let mut waiting = self.waiting();
        if waiting.len() == ROOM {
            waiting.pop_front();
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        waiting.push_back(logged);
    }

    /// Writes all that waits by one call of `write`, and tells how many. What could not be written waits again.
    pub(super) fn flush(&self, write: impl FnOnce(&[Logged]) -> Result<()>) -> Result<usize> {
        let _writing = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let batch: Vec<Logged> = std::mem::take(&mut *self.waiting()).into();
        if batch.is_empty() {
            return Ok(0);
        }
        let written = write(&batch);
        if written.is_err() {
            let mut waiting = self.waiting();
            let room = ROOM.saturating_sub(waiting.len());
            let lost = batch.len().saturating_sub(room);
            self.lost.fetch_add(lost as u64, Ordering::Relaxed);
            batch.into_iter().skip(lost).rev().for_each(|logged| waiting.push_front(logged));
            return written.map(|()| 0);
        }
        Ok(batch.len())
    }

    /// Predictions that were dropped because too many waited.
    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    fn waiting(&self) -> MutexGuard<'_, VecDeque<Logged>> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
