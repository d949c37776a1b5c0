//! Predictions that wait for their label.

use std::collections::{HashMap, VecDeque};

use super::outcome::Labelled;
use crate::evaluate::Decision;
use crate::ids::ModelRef;
use crate::time::Timestamp;

/// What is kept of a prediction until its label comes.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Seen {
    pub(super) id: u64,
    pub(super) at: Timestamp,
    pub(super) model: ModelRef,
    pub(super) score: Option<f64>,
    pub(super) decision: Decision,
}

impl Seen {
    pub(super) fn labelled(&self, bad: bool, reported: Timestamp) -> Labelled {
        let Seen { at: predicted, score, decision, .. } = *self;
        Labelled { predicted, reported, score, decision, bad }
    }
}

/// Predictions by id; the oldest are forgotten for want of room.
#[derive(Debug, Default)]
pub(super) struct Waiting {
    by_id: HashMap<u64, Seen>,
    /// Ids in the order they came, with those that have gone since.
    order: VecDeque<u64>,
    pub(super) forgotten: u64,
}

impl Waiting {
    pub(super) fn put(&mut self, seen: Seen, most: usize) {
        let id = seen.id;
        if self.by_id.insert(id, seen).is_none() {
            self.order.push_back(id);
        }
        while self.by_id.len() > most {
            let oldest = self.order.pop_front().expect("every waiting id is in the order");
            self.forgotten += u64::from(self.by_id.remove(&oldest).is_some());
        }
        // Labelled ids stay in the order until they reach its front; keep them from piling up.
        while self.order.front().is_some_and(|id| !self.by_id.contains_key(id)) {
            self.order.pop_front();
        }
    }

    pub(super) fn take(&mut self, id: u64) -> Option<Seen> {
        self.by_id.remove(&id)
    }
}
