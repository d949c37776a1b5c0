//! Keeps what was read near at hand.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::audit::AuditHead;
use crate::error::{Error, Result};
use crate::feature::store::{
    FeatureChange, FeatureLogEntry, FeatureMetadata, FeatureQuery, FeatureRef, FeatureStorage,
};

/// Answers `get` from memory where it can; everything else goes to the storage underneath.
///
/// # Contract
/// Every [`head`](FeatureStorage::head) reads what the log has gained since the last one and drops the records that it
/// names. A record may thus be as old as the last `head`, never older; its own commits show at once. A
/// [`FeatureStore`](crate::feature::store::FeatureStore) asks for the head before every change, so no decision rests on
/// an old record. A process that only reads calls `head` as often as it wants to be up to date.
///
/// # Cost
/// At most `capacity` records; those not asked for make room. `head` reads one page of the log if it has grown.
#[derive(Debug)]
pub struct CachedFeatureStorage<S> {
    storage: S,
    cache: Mutex<Cache>,
}

/// How many log entries are looked at to save the cache; behind a longer gap it is dropped whole.
const MAX_GAP: u64 = 1000;

#[derive(Debug)]
struct Cache {
    /// Two generations: a full `recent` becomes `older`, and what is still in `older` then is forgotten. What is asked
    /// for again in time moves up, which is least-recently-used to within a generation, without a clock or links.
    recent: BTreeMap<FeatureRef, FeatureMetadata>,
    older: BTreeMap<FeatureRef, FeatureMetadata>,
    generation: usize,
    /// Position in the log that every record is at least up to date with.
    seq: u64,
    /// Counts commits and moves of the position: a record read before one of them may be older than it.
    epoch: u64,
}

impl Cache {
    fn get(&mut self, feature: &FeatureRef) -> Option<FeatureMetadata> {
        if let Some(record) = self.recent.get(feature) {
            return Some(record.clone());
        }
        let record = self.older.remove(feature)?;
        self.insert(record.clone());
        Some(record)
    }

    fn insert(&mut self, record: FeatureMetadata) {
        self.older.remove(&record.feature);
        if self.recent.len() >= self.generation && !self.recent.contains_key(&record.feature) {
            self.older = std::mem::take(&mut self.recent);
        }
        self.recent.insert(record.feature.clone(), record);
    }

    fn remove(&mut self, feature: &FeatureRef) {
        self.recent.remove(feature);
        self.older.remove(feature);
    }

    fn clear(&mut self) {
        self.recent.clear();
        self.older.clear();
    }
}

impl<S: FeatureStorage> CachedFeatureStorage<S> {
    /// Keeps up to `capacity` records of `storage`.
    ///
    /// # Errors
    /// `InvalidConfig` for a capacity below 2.
    pub fn new(storage: S, capacity: usize) -> Result<Self> {
        if capacity < 2 {
            return Err(Error::config("feature cache", "capacity must be at least 2"));
        }
        let (recent, older) = (BTreeMap::new(), BTreeMap::new());
        let cache = Cache { recent, older, generation: capacity / 2, seq: 0, epoch: 0 };
        Ok(CachedFeatureStorage { storage, cache: Mutex::new(cache) })
    }

    /// The storage underneath.
    pub fn inner(&self) -> &S {
        &self.storage
    }

    fn cache(&self) -> MutexGuard<'_, Cache> {
        // Whatever a panic leaves out of the cache is read again.
        self.cache.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: FeatureStorage> FeatureStorage for CachedFeatureStorage<S> {
    fn get(&self, feature: &FeatureRef) -> Result<FeatureMetadata> {
        let epoch = {
            let mut cache = self.cache();
            if let Some(record) = cache.get(feature) {
                return Ok(record);
            }
            cache.epoch
        };
        let record = self.storage.get(feature)?;
        let mut cache = self.cache();
        if cache.epoch == epoch {
            cache.insert(record.clone());
        }
        Ok(record)
    }

    fn list(&self, query: &FeatureQuery) -> Result<Vec<FeatureMetadata>> {
        self.storage.list(query)
    }

    fn log(&self, after: u64, limit: usize) -> Result<Vec<FeatureLogEntry>> {
        self.storage.log(after, limit)
    }

    fn head(&self) -> Result<AuditHead> {
        let head = self.storage.head()?;
        let seq = self.cache().seq;
        let gap = head.seq.saturating_sub(seq);
        let news = match gap {
            1..=MAX_GAP => self.storage.log(seq, gap as usize)?,
            _ => Vec::new(),
        };
        let mut cache = self.cache();
        if cache.seq == head.seq {
            return Ok(head);
        }
        if cache.seq == seq && news.len() as u64 == gap && head.seq > seq {
            news.iter().for_each(|entry| cache.remove(&entry.event.feature));
        } else {
            // Too far behind, or another thread was here meanwhile, or the storage was put back to an older state.
            cache.clear();
        }
        cache.seq = head.seq;
        cache.epoch += 1;
        Ok(head)
    }

    fn commit(&self, changes: &[FeatureChange]) -> Result<()> {
        let committed = self.storage.commit(changes);
        let mut cache = self.cache();
        cache.epoch += 1;
        for FeatureChange { record, entry } in changes {
            // After an error nobody knows what is kept; after a gap in the log, what the cache missed.
            if committed.is_ok() && entry.seq == cache.seq + 1 {
                cache.seq = entry.seq;
                cache.insert(record.clone());
            } else {
                cache.remove(&record.feature);
            }
        }
        committed
    }
}
