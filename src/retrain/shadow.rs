//! A challenger beside the champion on live requests.

use std::collections::{BTreeMap, HashMap};

use super::gate::GateRows;
use crate::ids::EntityKey;

/// What champion and challenger said of the same live requests, joined with their labels when they come.
///
/// Memory: 72 bytes per request, of at most as many as it was made for; further ones are counted and left out.
#[derive(Debug, Clone)]
pub struct ShadowRun {
    room: usize,
    waiting: HashMap<u64, Row>,
    /// By request, so that the order in which labels come makes no difference.
    labelled: BTreeMap<u64, (Row, bool)>,
    left_out: u64,
}

#[derive(Debug, Clone, Copy)]
struct Row {
    unit: EntityKey,
    amount: f64,
    champion: f64,
    /// `None` until it has been asked.
    challenger: Option<f64>,
}

/// The labelled requests of a [`ShadowRun`] that the challenger was asked about, in the order of their ids.
#[derive(Debug, Clone, Default)]
pub(crate) struct ShadowRows {
    pub(crate) labels: Vec<bool>,
    pub(crate) amounts: Vec<f64>,
    pub(crate) entities: Vec<EntityKey>,
    pub(crate) champion: Vec<f64>,
    pub(crate) challenger: Vec<f64>,
}

impl ShadowRows {
    pub(crate) fn gate(&self) -> GateRows<'_> {
        GateRows { labels: &self.labels, amounts: &self.amounts, entities: &self.entities }
    }
}

impl ShadowRun {
    /// For so many requests at most.
    pub fn new(room: usize) -> Self {
        ShadowRun { room, waiting: HashMap::new(), labelled: BTreeMap::new(), left_out: 0 }
    }

    /// Notes what the champion said of a request; NaN for no score.
    pub fn record(&mut self, id: u64, unit: EntityKey, amount: f64, champion: f64) {
        if self.waiting.len() + self.labelled.len() >= self.room {
            self.left_out += 1;
            return;
        }
        self.waiting.insert(id, Row { unit, amount, champion, challenger: None });
    }

    /// Notes what the challenger says of one of them, whether or not its label has come; NaN for no score.
    pub fn answer(&mut self, id: u64, challenger: f64) {
        let labelled = self.labelled.get_mut(&id).map(|(row, _)| row);
        if let Some(row) = self.waiting.get_mut(&id).or(labelled) {
            row.challenger = Some(challenger);
        }
    }

    /// Gives a request its label, `true` for bad; whether it was one of the run's.
    pub fn label(&mut self, id: u64, bad: bool) -> bool {
        let row = self.waiting.remove(&id);
        row.is_some_and(|row| self.labelled.insert(id, (row, bad)).is_none())
    }

    /// Requests that have their label.
    pub fn n_labelled(&self) -> usize {
        self.labelled.len()
    }

    /// Requests left out: those that there was no room for, and those with a label that the challenger was not asked about.
    pub fn left_out(&self) -> u64 {
        let unasked = self.labelled.values().filter(|(row, _)| row.challenger.is_none());
        self.left_out + unasked.count() as u64
    }

    pub(crate) fn rows(&self) -> ShadowRows {
        let mut rows = ShadowRows::default();
        for (row, bad) in self.labelled.values() {
            // Left out like those that there was no room for.
            let Some(challenger) = row.challenger else { continue };
            rows.labels.push(*bad);
            rows.amounts.push(row.amount);
            rows.entities.push(row.unit);
            rows.champion.push(row.champion);
            rows.challenger.push(challenger);
        }
        rows
    }
}
