//! The online driver: the same windows, kept up to date event by event.

mod config;
mod observe;
mod snapshot;
mod spare;

pub use config::{LabelOutcome, Observed, OnlineConfig, TooLate};

use std::collections::HashMap;
use std::fmt;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::feature::ever_bad::BadTable;
use crate::feature::history::KeyHistory;
use crate::feature::key_hash::{KeyHash, KeyHashBuilder};
use crate::feature::online::spare::{RoomCensus, SpareRooms};
use crate::feature::plan::{FeaturePlan, StreamPlan};
use crate::feature::window::WindowPlan;
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
/// order, and no lock is held while host code runs. Which values are bad anywhere is kept once for all keys, behind a lock that
/// is taken last, to be read by many at once, and only by a key that has a new value or has not seen the latest label.
///
/// # Cost
/// O(1) amortised per event, window and sum; O(log n) for extremes and counts, O(n) in the window's events for exact
/// quantiles. [`Aggregate::DistinctEverBad`](crate::feature::Aggregate::DistinctEverBad) takes one look-up for a value that is
/// new to its key, and for a key one for each label that made a value bad or good since its last reading, or for each of its
/// values if those are fewer or the last 4,096 such labels do not reach back so far. So a busy key with many values is not
/// gone through again.
///
/// Memory of a key and source: at most 450 bytes, with 48 more for each window and sum beyond four, and its events: the
/// widest window that keeps them, its delay included, has held at most n at a time, and there is room for up to twice as many
/// at 8 bytes × (2 + measures). So [`OnlineConfig::max_events_per_key`] bounds it. Exact quantiles take 8 bytes a value, counts
/// about 40 per different value, as do values that may be bad anywhere, of which about 80 more are kept for each that is bad
/// and 16 for each further bad event of it, for good; a sawtooth window that folds has, for each step it spans, 100 bytes, 16
/// a sum, and its summaries. A capped window has both, with n at most `cap + 1` and what has yet to come into its view: the
/// event that asks, and those within its delay or [`OnlineConfig::max_lateness`].
///
/// # Allocation
/// [`observe`](Self::observe) allocates for a key that is new, or was idle and forgotten. The events of a known key lie in one
/// room, a power of two of them; a key that outgrows its room moves into one of twice the size, which
/// [`maintain`](Self::maintain) keeps in hand: for every sixteen keys of a size one of the next, and one more, up to 4,096
/// events. So where sums are all that is asked for, known keys allocate nothing, as long as no more of them grow between
/// two calls than that. It costs an eighth of the events' memory. Extremes, counts, quantiles and tiles keep summaries of
/// their own, which allocate when they grow.
pub struct OnlineFeatures<E> {
    plan: FeaturePlan<E>,
    config: OnlineConfig,
    streams: Vec<Stream>,
    /// Their locks are taken last, and one at a time.
    bad_tables: Vec<BadTable>,
    too_late: AtomicU64,
    truncated: AtomicU64,
}

struct Stream {
    shards: Vec<Mutex<Shard>>,
    spare: SpareRooms,
    /// What a key without events reads.
    empty: KeyHistory,
}

#[derive(Debug, Default)]
struct Shard {
    histories: HashMap<EntityKey, Box<KeyHistory>, KeyHashBuilder>,
}

impl Shard {
    fn history(&mut self, key: EntityKey, plan: &StreamPlan) -> &mut KeyHistory {
        self.histories.entry(key).or_insert_with(|| Box::new(KeyHistory::new(plan)))
    }
}

impl<E> FeaturePlan<E> {
    /// Empty live state for this definition.
    ///
    /// # Errors
    /// `InvalidConfig` for more than 16 sources or 64 measures, no room for events, or less than a capped window needs.
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
        let windows = self.streams.iter().flat_map(|stream| &stream.windows);
        let needed = windows.map(WindowPlan::most).filter(|most| *most < u64::MAX).max();
        if let Some(needed) = needed.filter(|needed| *needed > config.max_events_per_key) {
            let reason =
                format!("max_events_per_key must be more than the largest cap, at least {needed}");
            return Err(Error::config("online features", reason));
        }
        let stream = |plan| Stream {
            shards: (0..N_SHARDS).map(|_| Mutex::default()).collect(),
            spare: SpareRooms::default(),
            empty: KeyHistory::new(plan),
        };
        Ok(OnlineFeatures {
            plan: self.clone(),
            config,
            streams: self.streams.iter().map(stream).collect(),
            bad_tables: self.bad_tables.iter().copied().map(BadTable::new).collect(),
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
            let history = shard.histories.get(&key).map_or(&self.streams[s].empty, Box::as_ref);
            let asking = (at.micros(), i64::MAX);
            let write = &mut |column: usize, value| out[column] = value;
            if !history.peek(plan, &self.bad_tables, asking, &[], write) {
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
        for table in &self.bad_tables {
            let value = self.plan.events.read_entity(table.plan().entity, event);
            outcome = outcome.max(table.label(value.0 as i64, order, bad));
        }
        outcome
    }

    /// Forgets every key that no window of an event at `now` or later can see anything of: exact, no later vector
    /// changes. Returns how many. Then provides room for the keys that remain to grow, so that observing them need not
    /// allocate. O(keys), one of the locks at a time; the host calls it now and then.
    pub fn maintain(&self, now: Timestamp) -> usize {
        let now = now.micros().saturating_sub(micros(self.config.max_lateness));
        let mut gone = 0;
        for (plan, stream) in self.plan.streams.iter().zip(&self.streams) {
            let mut census = RoomCensus::default();
            for shard in &stream.shards {
                lock(shard).histories.retain(|_, history| {
                    let idle = history.is_idle(plan, now);
                    if idle {
                        gone += 1;
                    } else {
                        census.count(history);
                    }
                    !idle
                });
            }
            stream.spare.provide(&census, plan.entry_len());
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

    /// Events that left their windows before their time, for want of room: those beyond
    /// [`OnlineConfig::max_events_per_key`]. What a capped window puts into tiles is none of them.
    pub fn truncated(&self) -> u64 {
        self.truncated.load(Ordering::Relaxed)
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
