//! Predictions.

use std::ops::Range;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::{Failure, RedbDatabase};
use crate::backend::prediction_queue::PredictionQueue;
use crate::codec;
use crate::error::Result;
use crate::ids::ModelRef;
use crate::monitor::{Logged, PredictionLog, PredictionLogConfig};
use crate::serve::Prediction;
use crate::time::Timestamp;

/// Name and version of the model, moment, id.
type Key<'a> = (&'a str, u32, i64, u64);

const PREDICTIONS: TableDefinition<'static, Key<'static>, &'static [u8]> =
    TableDefinition::new("predictions");
/// How many there are of each version.
const COUNTS: TableDefinition<'static, (&'static str, u32), u64> =
    TableDefinition::new("prediction counts");

pub(super) fn create(transaction: &WriteTransaction) -> std::result::Result<(), Failure> {
    transaction.open_table(PREDICTIONS)?;
    transaction.open_table(COUNTS)?;
    Ok(())
}

/// Keeps the last predictions of each version in a [`RedbDatabase`], newest by their own moments.
///
/// [`record`](PredictionLog::record) puts a prediction in line, in memory; [`flush`](Self::flush) writes all that wait in one
/// commit. The host calls it at the pace at which it is ready to lose predictions to a crash, say every second from a
/// [`MonitoringThread`](crate::monitoring::MonitoringThread), and once before it ends. At most 65,536 wait; beyond that the
/// oldest are dropped, and counted. Reading flushes first. One id at one moment is one prediction, however often it is
/// written.
#[derive(Debug)]
pub struct RedbPredictionLog {
    database: RedbDatabase,
    queue: PredictionQueue,
}

impl RedbPredictionLog {
    /// The predictions of a database. One log of a database at a time: each goes by its own capacity.
    ///
    /// # Errors
    /// `InvalidConfig` for a capacity of zero or a share outside `0.0..=1.0`.
    pub fn new(database: &RedbDatabase, config: PredictionLogConfig) -> Result<Self> {
        let queue = PredictionQueue::new(config)?;
        Ok(RedbPredictionLog { database: database.clone(), queue })
    }

    /// Writes all that waits, in one commit; how many predictions that were.
    ///
    /// # Errors
    /// `Io`; they wait again then.
    pub fn flush(&self) -> Result<usize> {
        self.queue
            .flush(|batch| self.database.write("log predictions in", |t| self.write(t, batch)))
    }

    /// Predictions that were dropped because too many waited.
    pub fn lost(&self) -> u64 {
        self.queue.lost()
    }

    fn write(
        &self,
        transaction: &WriteTransaction,
        batch: &[Logged],
    ) -> std::result::Result<(), Failure> {
        let mut predictions = transaction.open_table(PREDICTIONS)?;
        let mut counts = transaction.open_table(COUNTS)?;
        for logged in batch {
            let Prediction { id, at, model, .. } = &logged.prediction;
            let version = (&*model.name, model.version);
            let key = (version.0, version.1, at.micros(), *id);
            let mut count = counts.get(version)?.map_or(0, |count| count.value());
            let known = predictions.insert(key, codec::encode(logged).as_slice())?.is_some();
            count += u64::from(!known);
            while count > self.queue.config.capacity as u64 {
                let mut oldest = predictions.extract_from_if(all_of(model), |_, _| true)?;
                let Some(gone) = oldest.next() else { break };
                drop(gone?);
                count -= 1;
            }
            counts.insert(version, count)?;
        }
        Ok(())
    }

    fn newest(&self, keys: std::ops::RangeInclusive<Key<'_>>, n: usize) -> Result<Vec<Logged>> {
        self.flush()?;
        self.database.read(|transaction| {
            let predictions = transaction.open_table(PREDICTIONS)?;
            let mut newest = Vec::new();
            for kept in predictions.range::<Key<'_>>(keys)?.rev().take(n) {
                newest.push(codec::decode(kept?.1.value(), "prediction")?);
            }
            Ok(newest)
        })
    }
}

fn all_of(model: &ModelRef) -> std::ops::RangeInclusive<Key<'_>> {
    let key = |at, id| (&*model.name, model.version, at, id);
    key(i64::MIN, 0)..=key(i64::MAX, u64::MAX)
}

impl PredictionLog for RedbPredictionLog {
    fn record(&self, prediction: &Prediction, row: &[f64]) {
        self.queue.put(prediction, row);
    }

    fn recent(&self, model: &ModelRef, n: usize) -> Result<Vec<Logged>> {
        self.newest(all_of(model), n)
    }

    fn between(&self, model: &ModelRef, range: Range<Timestamp>, n: usize) -> Result<Vec<Logged>> {
        if range.is_empty() {
            return Ok(Vec::new());
        }
        let key = |at, id| (&*model.name, model.version, at, id);
        let last = key(range.end.micros() - 1, u64::MAX); // the end is above the start
        self.newest(key(range.start.micros(), 0)..=last, n)
    }
}
