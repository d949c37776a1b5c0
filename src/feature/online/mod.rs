//! The online driver: the same windows, kept up to date event by event.

mod config;
mod snapshot;

pub use config::{LabelOutcome, Observed, OnlineConfig, TooLate};

use std::collections::HashMap;
use std::fmt;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::feature::history::{Inserted, KeyHistory};
use crate::feature::key_hash::{KeyHash, KeyHashBuilder};
use crate::feature::plan::{FeaturePlan, Measure};
use crate::ids::EntityKey;
use crate::schema::FeatureSchema;
use crate::time::{Timestamp, micros};

const N_SHARDS: usize = 64;
/// So that one event's keys and amounts are read into a fixed place before any lock is taken.
const MAX_STREAMS: usize = 16;
const MAX_MEASURES: usize = 64;

/// Live feature state for a stream of events; [`FeaturePlan::online`].
///
/// # Concurrency
/// Share it by reference. Keys are spread over 64 locks per source; an event holds the locks of its own keys, in a fixed
/// order, and no lock is held while host code runs.
///
/// # Cost
/// O(1) amortised per event, window and sum; O(log n) for extremes and counts, O(n) in the window's events for exact
/// quantiles. No allocation for a known key once its history has reached its size, as long as sums are all that is asked
/// for; a history that grows past its largest size yet allocates once more. Per key: about 250 bytes, 8 bytes ×
/// (2 + measures) per event inside the widest window that keeps its events (its delay included), at most twice that while
/// events leave, 32 bytes per window and 16 per window and sum, and what exact quantiles (8 bytes a value) and counts (about
/// 40 bytes per different value) need. [`OnlineConfig::max_events_per_key`] bounds the events. A sawtooth window that folds
/// has, for each step it spans, 100 bytes, 16 a sum, and its summaries.
pub struct OnlineFeatures<E> {
    plan: FeaturePlan<E>,
    config: OnlineConfig,
    streams: Vec<Stream>,
    too_late: AtomicU64,
    truncated: AtomicU64,
}

struct Stream {
    shards: Vec<Mutex<Shard>>,
    /// What a key without events reads.
    empty: KeyHistory,
}

#[derive(Debug, Default)]
struct Shard {
    histories: HashMap<EntityKey, KeyHistory, KeyHashBuilder>,
}

/// What is read off an event before any lock is taken.
struct Reading {
    order: (i64, i64),
    keys: [EntityKey; MAX_STREAMS],
    passes: [bool; MAX_STREAMS],
    /// The measures of all streams, one after the other.
    measures: [i64; MAX_MEASURES],
}

impl<E> FeaturePlan<E> {
    /// Empty live state for this definition.
    ///
    /// # Errors
    /// `InvalidConfig` for more than 16 sources or 64 measures, or no room for events.
    pub fn online(&self, config: OnlineConfig) -> Result<OnlineFeatures<E>> {
        let n_measures: usize = self.streams.iter().map(|stream| stream.measures.len()).sum();
        if self.streams.len() > MAX_STREAMS || n_measures > MAX_MEASURES {
            let reason =
                format!("at most {MAX_STREAMS} sources and {MAX_MEASURES} measures online");
            return Err(Error::config("feature set", reason));
        }
        if config.max_events_per_key == 0 {
            return Err(Error::config("online features", "max_events_per_key must be at least 1"));
        }
        let stream = |plan| Stream {
            shards: (0..N_SHARDS).map(|_| Mutex::default()).collect(),
            empty: KeyHistory::new(plan),
        };
        Ok(OnlineFeatures {
            plan: self.clone(),
            config,
            streams: self.streams.iter().map(stream).collect(),
            too_late: AtomicU64::new(0),
            truncated: AtomicU64::new(0),
        })
    }
}

impl<E> OnlineFeatures<E> {
    /// The columns of the vectors.
    pub fn schema(&self) -> &FeatureSchema {
        self.plan.schema()
    }

    /// The bound definition.
    pub fn plan(&self) -> &FeaturePlan<E> {
        &self.plan
    }

    /// Writes the features of an event as they stand at its moment into `out`, and remembers the event. Its label is
    /// never read: labels come through [`label`](Self::label), when they are known.
    ///
    /// # Errors
    /// `SchemaMismatch` if `out` does not have one place per feature; `TimeBackwards` for an event that comes too late
    /// where the configuration rejects those. Nothing is remembered then.
    pub fn observe(&self, event: &E, out: &mut [f64]) -> Result<Observed> {
        self.schema().check_rows(out.len(), 1)?;
        let reading = self.read(event);
        let observed = self.observe_from(0, 0, false, &reading, out);
        if matches!(observed, Ok(Observed::Dropped | Observed::Applied) | Err(_)) {
            self.too_late.fetch_add(1, Ordering::Relaxed);
        }
        self.plan.finish(event, out);
        observed
    }

    /// Takes the locks of the event's keys one inside the other, so that either all of them remember it or none does.
    fn observe_from(
        &self,
        s: usize,
        first_measure: usize,
        too_late: bool,
        reading: &Reading,
        out: &mut [f64],
    ) -> Result<Observed> {
        let Some(plan) = self.plan.streams.get(s) else {
            return Ok(match self.config.too_late {
                TooLate::Apply if too_late => Observed::Applied,
                _ if too_late => Observed::Dropped,
                _ => Observed::New,
            });
        };
        let measures = &reading.measures[first_measure..first_measure + plan.measures.len()];
        let next = first_measure + measures.len();
        let (key, order) = (reading.keys[s], reading.order);
        let lateness = micros(self.config.max_lateness);
        let mut shard = self.shard(s, key);
        let known = shard.histories.get_mut(&key);
        if !reading.passes[s] && known.is_none() {
            drop(shard);
            let observed = self.observe_from(s + 1, next, too_late, reading, out)?;
            let write = &mut |column: usize, value| out[column] = value;
            self.streams[s].empty.peek(plan, order, measures, write);
            return Ok(observed);
        }
        let history = match known {
            Some(history) => history,
            None => {
                let mut history = KeyHistory::new(plan);
                history.reserve(self.config.reserve_events_per_key);
                shard.histories.entry(key).or_insert(history)
            }
        };
        let latest = history.latest();
        let late = order <= latest
            && (lateness == 0 || order.0 < latest.0.saturating_sub(lateness))
            && !history.contains(order);
        if late && self.config.too_late == TooLate::Reject {
            return Err(Error::TimeBackwards {
                what: format!("event of entity {key:?}"),
                at: Timestamp::from_micros(order.0),
                id: order.1 as u64 ^ (1 << 63),
                last: Timestamp::from_micros(latest.0),
            });
        }
        let mut observed = self.observe_from(s + 1, next, too_late || late, reading, out)?;
        let write = &mut |column: usize, value| out[column] = value;
        if matches!(observed, Observed::Dropped | Observed::Applied) {
            // Too late for one of its entities, an event is so for all; as of now is all that can be told.
            history.peek(plan, latest.max(order), measures, write);
            if observed == Observed::Dropped {
                return Ok(observed);
            }
        }
        if reading.passes[s] && history.insert(plan, order, measures) == Inserted::Duplicate {
            observed = observed.max(Observed::Duplicate);
        }
        if observed == Observed::Applied {
            // Its vector is told.
        } else if order >= history.last_read() {
            history.read(plan, order, measures, write);
        } else if !history.peek(plan, order, measures, write) {
            history.peek(plan, history.last_read(), measures, write);
        }
        history.evict(plan, lateness);
        if history.n_events() > self.config.max_events_per_key {
            let gone = history.truncate(plan, self.config.max_events_per_key);
            self.truncated.fetch_add(gone, Ordering::Relaxed);
        }
        Ok(observed)
    }

    /// The features of entities at a moment, without an event: what only an event has is missing (NaN), and so are
    /// features of entities that are not given. Nothing is remembered. O(events in the windows).
    ///
    /// # Errors
    /// `SchemaMismatch` if `out` does not have one place per feature; `NotFound` for an unknown entity; `TimeBackwards`
    /// for a moment so far before an entity's last event that what it should see is no longer known.
    pub fn vector(
        &self,
        entities: &[(&str, EntityKey)],
        at: Timestamp,
        out: &mut [f64],
    ) -> Result<()> {
        self.schema().check_rows(out.len(), 1)?;
        out.fill(f64::NAN);
        let mut keys: [Option<EntityKey>; MAX_STREAMS] = [None; MAX_STREAMS];
        for (name, key) in entities {
            let entity = self.plan.events.entity_position(name)?;
            for (stream, place) in self.plan.streams.iter().zip(&mut keys) {
                if stream.entity == entity {
                    *place = Some(*key);
                }
            }
        }
        for &(column, own) in &self.plan.own {
            out[column] = own.at(at);
        }
        for (s, plan) in self.plan.streams.iter().enumerate() {
            let Some(key) = keys[s] else { continue };
            let shard = self.shard(s, key);
            let history = shard.histories.get(&key).unwrap_or(&self.streams[s].empty);
            let asking = (at.micros(), i64::MAX);
            let write = &mut |column: usize, value| out[column] = value;
            if !history.peek(plan, asking, &[], write) {
                return Err(Error::TimeBackwards {
                    what: format!("question about entity {key:?}"),
                    at,
                    id: u64::MAX,
                    last: Timestamp::from_micros(history.last_read().0),
                });
            }
        }
        for (column, steps) in &self.plan.formulas {
            out[*column] = FeaturePlan::<E>::formula(steps, |own| own.at(at), |column| out[column]);
        }
        Ok(())
    }

    /// Gives an observed event its label, `true` for bad. Giving it again, or another one (a chargeback reversed), is
    /// fine: the last one stands.
    pub fn label(&self, event: &E, bad: bool) -> LabelOutcome {
        let mut outcome = LabelOutcome::Applied;
        let order = self.plan.order(event);
        for (s, plan) in self.plan.streams.iter().enumerate() {
            if plan.label_measures().next().is_none() || !self.plan.passes(plan, event) {
                continue;
            }
            let key = self.plan.events.read_entity(plan.entity, event);
            let mut shard = self.shard(s, key);
            let applied = match shard.histories.get_mut(&key) {
                Some(history) => history.label(plan, order, bad),
                None => LabelOutcome::Unknown,
            };
            outcome = outcome.max(applied);
        }
        outcome
    }

    /// Forgets every key that no window of an event at `now` or later can see anything of: exact, no later vector
    /// changes. Returns how many. O(keys); the host calls it now and then.
    pub fn evict_idle(&self, now: Timestamp) -> usize {
        let now = now.micros().saturating_sub(micros(self.config.max_lateness));
        let mut gone = 0;
        for (plan, stream) in self.plan.streams.iter().zip(&self.streams) {
            for shard in &stream.shards {
                lock(shard).histories.retain(|_, history| {
                    let idle = history.is_idle(plan, now);
                    gone += usize::from(idle);
                    !idle
                });
            }
        }
        gone
    }

    /// Number of keys with a history, over all sources.
    pub fn n_keys(&self) -> usize {
        let shards = self.streams.iter().flat_map(|stream| &stream.shards);
        shards.map(|shard| lock(shard).histories.len()).sum()
    }

    /// Events that came too late, whatever became of them.
    pub fn too_late(&self) -> u64 {
        self.too_late.load(Ordering::Relaxed)
    }

    /// Events that were dropped out of their windows for want of room.
    pub fn truncated(&self) -> u64 {
        self.truncated.load(Ordering::Relaxed)
    }

    fn read(&self, event: &E) -> Reading {
        let mut reading = Reading {
            order: self.plan.order(event),
            keys: [EntityKey::default(); MAX_STREAMS],
            passes: [true; MAX_STREAMS],
            measures: [0; MAX_MEASURES],
        };
        let mut next = 0;
        for (s, stream) in self.plan.streams.iter().enumerate() {
            reading.keys[s] = self.plan.events.read_entity(stream.entity, event);
            reading.passes[s] = self.plan.passes(stream, event);
            for measure in &stream.measures {
                // A label is not known yet.
                reading.measures[next] = match *measure {
                    Measure::Bad { .. } | Measure::Labelled => 0,
                    other => self.plan.measure(other, event, || None),
                };
                next += 1;
            }
        }
        reading
    }

    fn shard(&self, s: usize, key: EntityKey) -> MutexGuard<'_, Shard> {
        let mut hash = KeyHash::default();
        hash.write_u64(key.0);
        // Bits from the middle: the table inside the shard uses the low and the topmost ones.
        let shard = (hash.finish() >> 40) as usize % N_SHARDS;
        lock(&self.streams[s].shards[shard])
    }
}

/// A panic cannot leave a shard half changed: nothing between its changes can panic.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<E> fmt::Debug for OnlineFeatures<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnlineFeatures")
            .field("set", &self.plan.set().name())
            .field("n_keys", &self.n_keys())
            .finish()
    }
}
