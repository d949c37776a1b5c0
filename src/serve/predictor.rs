//! A thread's own handle to a slot.

use std::sync::Arc;
use std::time::Duration;

use crate::error::Result;
use crate::ids::ModelRef;
use crate::schema::FeatureSchema;
use crate::serve::input::InputLayout;
use crate::serve::prediction::{Prediction, Request};
use crate::serve::slot::{Live, Slot, Worker};

/// Answers the requests of one slot on one thread, without meeting other threads: it keeps what is live and looks with every
/// request whether that is still so. The way to serve where throughput counts; make one per thread, or clone it.
///
/// # Cost
/// Around the model's own time some hundred nanoseconds. No allocation, except for reasons and once after each swap.
#[derive(Debug)]
pub struct Predictor {
    slot: Arc<Slot>,
    live: Arc<Live>,
    /// Of the live lineup, in copies of this thread's own.
    versions: Vec<ModelRef>,
    layout: InputLayout,
    worker: Worker,
}

impl Predictor {
    pub(super) fn new(slot: Arc<Slot>, layout: InputLayout) -> Self {
        let live = slot.current();
        let versions = live.own_versions();
        Predictor { slot, live, versions, layout, worker: Worker::default() }
    }

    /// Takes rows whose columns are in the caller's order from now on: bound here once, by name.
    ///
    /// # Errors
    /// `SchemaMismatch` naming the first column that is missing, not expected, or of another kind.
    pub fn with_layout(mut self, caller: &FeatureSchema) -> Result<Self> {
        self.layout = InputLayout::new(self.slot.schema(), caller)?;
        Ok(self)
    }

    /// The columns of the slot, in its own order.
    pub fn schema(&self) -> &FeatureSchema {
        self.slot.schema()
    }

    /// Answers one request.
    ///
    /// # Errors
    /// As [`ModelService::predict`](crate::serve::ModelService::predict).
    #[inline]
    pub fn predict(&mut self, request: &Request<'_>) -> Result<Prediction> {
        self.refresh();
        self.answer(request)
    }

    /// Answers requests one after the other into `answers`, all of them by the same lineup, each as it would be alone.
    pub fn predict_batch(
        &mut self,
        requests: &[Request<'_>],
        answers: &mut Vec<Result<Prediction>>,
    ) {
        self.refresh();
        answers.clear();
        answers.extend(requests.iter().map(|request| self.answer(request)));
    }

    /// Counts the latency of an answer as the host's own clock took it, for slots whose service takes none.
    pub fn record_latency(&self, answer: &Prediction, latency: Duration) {
        let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
        self.slot.record_latency(&self.live, answer, nanos);
    }

    fn answer(&mut self, request: &Request<'_>) -> Result<Prediction> {
        let Predictor { slot, live, versions, layout, worker } = self;
        slot.answer(live, versions, worker, layout, request)
    }

    #[inline]
    fn refresh(&mut self) {
        if self.slot.generation() != self.live.generation {
            self.take_live();
        }
    }

    #[cold]
    fn take_live(&mut self) {
        self.live = self.slot.current();
        self.versions = self.live.own_versions();
    }
}

/// For another thread.
impl Clone for Predictor {
    fn clone(&self) -> Self {
        Predictor::new(self.slot.clone(), self.layout.clone())
    }
}
