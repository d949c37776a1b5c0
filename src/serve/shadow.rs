//! Requests that wait for shadow models.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::serve::Prediction;

/// A bounded queue that never makes a request wait longer than a copy of a row takes: one that finds no room is dropped.
#[derive(Debug)]
pub(super) struct ShadowQueue {
    ring: Mutex<Ring>,
    dropped: AtomicU64,
}

#[derive(Debug)]
struct Ring {
    /// Rows keep their memory.
    places: Vec<(Option<Prediction>, Vec<f64>)>,
    first: usize,
    waiting: usize,
}

impl ShadowQueue {
    /// Room for `capacity` rows of `width` values.
    pub(super) fn new(capacity: usize, width: usize) -> Self {
        let places = (0..capacity).map(|_| (None, Vec::with_capacity(width))).collect();
        let ring = Mutex::new(Ring { places, first: 0, waiting: 0 });
        ShadowQueue { ring, dropped: AtomicU64::new(0) }
    }

    /// Puts a request at the end; its reasons stay behind.
    pub(super) fn push(&self, answer: &Prediction, row: &[f64]) {
        let mut ring = self.ring();
        let n = ring.places.len();
        if ring.waiting == n {
            self.dropped.fetch_add(1, Ordering::Relaxed);
            return;
        }
        let place = (ring.first + ring.waiting) % n;
        let (waits, values) = &mut ring.places[place];
        *waits = Some(Prediction { reasons: Vec::new(), model: answer.model.clone(), ..*answer });
        values.clear();
        values.extend_from_slice(row);
        ring.waiting += 1;
    }

    /// Takes the request that has waited longest.
    pub(super) fn pop(&self, row: &mut Vec<f64>) -> Option<Prediction> {
        let mut ring = self.ring();
        if ring.waiting == 0 {
            return None;
        }
        let first = ring.first;
        ring.first = (first + 1) % ring.places.len();
        ring.waiting -= 1;
        let (waits, values) = &mut ring.places[first];
        row.clear();
        row.extend_from_slice(values);
        waits.take()
    }

    /// Requests that wait, and that were dropped.
    pub(super) fn load(&self) -> (usize, u64) {
        (self.ring().waiting, self.dropped.load(Ordering::Relaxed))
    }

    fn ring(&self) -> MutexGuard<'_, Ring> {
        self.ring.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
