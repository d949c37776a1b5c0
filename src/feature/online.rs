//! The online driver: the same windows, kept up to date event by event.

use std::collections::HashMap;
use std::fmt;
use std::hash::Hasher;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::feature::accumulator::{KeyHash, KeyHashBuilder};
use crate::feature::history::{Inserted, KeyHistory};
use crate::feature::plan::{FeaturePlan, Measure};
use crate::ids::{Digest, EntityKey};
use crate::schema::FeatureSchema;
use crate::time::{Timestamp, micros};

const N_SHARDS: usize = 64;
/// So that one event's keys and amounts are read into a fixed place before any lock is taken.
const MAX_STREAMS: usize = 16;
const MAX_MEASURES: usize = 64;

/// How live state treats events that do not come in order, and how much it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnlineConfig {
    /// How far behind the latest event of its entity an event may be and still be put in its place. Costs memory: events
    /// are kept that much longer. Not with lifetime windows, which cannot tell what they were a moment ago.
    pub max_lateness: Duration,
    /// What becomes of an event that is later than that.
    pub too_late: TooLate,
    /// Most events kept per entity and source; the oldest are dropped out of their windows first, and counted. This is
    /// the bound on a key's memory.
    pub max_events_per_key: u64,
}

/// Events in order only; a million events per key.
impl Default for OnlineConfig {
    fn default() -> Self {
        OnlineConfig {
            max_lateness: Duration::ZERO,
            too_late: TooLate::Reject,
            max_events_per_key: 1_000_000,
        }
    }
}

/// What becomes of an event that comes too late.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TooLate {
    /// An error; nothing is remembered.
    Reject,
    /// Its vector is computed as of the latest event of its entities, but it is not remembered; counted.
    Drop,
}

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
/// (2 + measures) per event inside the widest window (its delay included), at most twice that while events leave, 16 bytes
/// per window and 16 per window and sum, and what exact quantiles (8 bytes a value) and counts (about 40 bytes per
/// different value) need. [`OnlineConfig::max_events_per_key`] bounds the events.
pub struct OnlineFeatures<E> {
    plan: FeaturePlan<E>,
    config: OnlineConfig,
    streams: Vec<Stream>,
    dropped: AtomicU64,
    truncated: AtomicU64,
}

struct Stream {
    shards: Vec<Mutex<Shard>>,
    /// What a key without events reads.
    empty: KeyHistory,
}

/// What became of an observed event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Observed {
    /// Remembered.
    New,
    /// Known already by time and id: its vector is given again, as of its moment (lifetime windows: as of now), and nothing
    /// is counted twice. An event is known as long as it is kept; one that meets the conditions of no source is not.
    Duplicate,
    /// Too late, and not remembered.
    Dropped,
}

/// What became of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LabelOutcome {
    /// In time: no vector has been computed that should have seen it.
    Applied,
    /// Applied, but windows that see the event have already been read without it: the label took longer than the
    /// definition's delay, and batch and online differ for those readings.
    Late,
    /// The event was never observed, or is too old for any window.
    Unknown,
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
    /// `InvalidConfig` for more than 16 sources or 64 measures, no room for events, or late events with lifetime windows.
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
        let lifetime = self.streams.iter().flat_map(|s| &s.windows).any(|w| w.is_lifetime());
        if micros(config.max_lateness) > 0 && lifetime {
            let reason =
                "late events cannot be put into a lifetime window; set max_lateness to zero";
            return Err(Error::config("online features", reason));
        }
        let stream = |plan| Stream {
            shards: (0..N_SHARDS).map(|_| Mutex::default()).collect(),
            empty: KeyHistory::new(plan),
        };
        Ok(OnlineFeatures {
            plan: self.clone(),
            config,
            streams: self.streams.iter().map(stream).collect(),
            dropped: AtomicU64::new(0),
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
        let observed = self.observe_from(0, 0, false, &reading, out)?;
        self.plan.finish(event, out);
        if observed == Observed::Dropped {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
        Ok(observed)
    }

    /// Takes the locks of the event's keys one inside the other, so that either all of them remember it or none does.
    fn observe_from(
        &self,
        s: usize,
        first_measure: usize,
        drop_it: bool,
        reading: &Reading,
        out: &mut [f64],
    ) -> Result<Observed> {
        let Some(plan) = self.plan.streams.get(s) else {
            return Ok(if drop_it { Observed::Dropped } else { Observed::New });
        };
        let measures = &reading.measures[first_measure..first_measure + plan.measures.len()];
        let next = first_measure + measures.len();
        let key = reading.keys[s];
        let mut shard = self.shard(s, key);
        let known = shard.histories.get_mut(&key);
        if !reading.passes[s] && known.is_none() {
            drop(shard);
            let observed = self.observe_from(s + 1, next, drop_it, reading, out)?;
            let write = &mut |column: usize, value| out[column] = value;
            self.streams[s].empty.peek(plan, reading.order, measures, write);
            return Ok(observed);
        }
        let history = match known {
            Some(history) => history,
            None => shard.histories.entry(key).or_insert_with(|| KeyHistory::new(plan)),
        };
        let latest = history.latest();
        let oldest = latest.0.saturating_sub(micros(self.config.max_lateness));
        let late = reading.order <= latest;
        let too_late = late
            && (reading.order.0 < oldest || self.config.max_lateness.is_zero())
            && !history.contains(plan, reading.order);
        if too_late && self.config.too_late == TooLate::Reject {
            return Err(Error::TimeBackwards {
                what: format!("event of entity {key:?}"),
                at: Timestamp::from_micros(reading.order.0),
                id: reading.order.1 as u64 ^ (1 << 63),
                last: Timestamp::from_micros(latest.0),
            });
        }
        let mut observed = self.observe_from(s + 1, next, drop_it || too_late, reading, out)?;
        let write = &mut |column: usize, value| out[column] = value;
        if observed == Observed::Dropped {
            // Too late for one of its entities, an event is dropped by all; as of now is all that can be told.
            history.peek(plan, latest.max(reading.order), measures, write);
            return Ok(Observed::Dropped);
        }
        if reading.passes[s] && history.insert(plan, reading.order, measures) == Inserted::Duplicate
        {
            observed = observed.max(Observed::Duplicate);
        }
        if reading.order >= history.last_read() {
            history.read(plan, reading.order, measures, write);
        } else if !history.peek(plan, reading.order, measures, write) {
            history.peek(plan, history.last_read(), measures, write);
        }
        history.evict(plan, micros(self.config.max_lateness));
        if history.n_events(plan) > self.config.max_events_per_key {
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
    /// for a moment before the last event of an entity that has lifetime windows.
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

    /// Events that came too late and were dropped.
    pub fn dropped(&self) -> u64 {
        self.dropped.load(Ordering::Relaxed)
    }

    /// Events that were dropped out of their windows for want of room.
    pub fn truncated(&self) -> u64 {
        self.truncated.load(Ordering::Relaxed)
    }

    /// All state as bytes, bound to the definition, the same for the same state whatever the order of keys. Events that
    /// are observed meanwhile are in it or not, each key as a whole; stop them for a consistent cut.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = SNAPSHOT.to_vec();
        bytes.extend(self.plan.set().fingerprint().as_bytes());
        for (plan, stream) in self.plan.streams.iter().zip(&self.streams) {
            for shard in &stream.shards {
                let shard = lock(shard);
                bytes.extend((shard.histories.len() as u64).to_le_bytes());
                let mut keys: Vec<&EntityKey> = shard.histories.keys().collect();
                keys.sort_unstable();
                for key in keys {
                    bytes.extend(key.0.to_le_bytes());
                    shard.histories[key].write(plan, &mut bytes);
                }
            }
        }
        let seal = Digest::of(&bytes);
        bytes.extend(seal.as_bytes());
        bytes
    }

    /// Replaces all state by that of a snapshot; a run goes on from there as if it had never stopped.
    ///
    /// # Errors
    /// `Corrupt` for bytes that are no sound snapshot, `Conflict` for one of another definition. State stays as it was.
    pub fn restore(&self, snapshot: &[u8]) -> Result<()> {
        let corrupt = |reason: &str| Error::corrupt("feature snapshot", reason);
        let (content, seal) = snapshot
            .split_last_chunk::<32>()
            .filter(|(content, _)| content.len() >= SNAPSHOT.len() + 32)
            .ok_or_else(|| corrupt("is too short"))?;
        if Digest::of(content).as_bytes() != seal {
            return Err(corrupt("its SHA-256 does not match its content"));
        }
        let (head, body) = content.split_at(SNAPSHOT.len() + 32);
        if !head.starts_with(SNAPSHOT) {
            return Err(corrupt("does not start as one"));
        }
        if head[SNAPSHOT.len()..] != self.plan.set().fingerprint().as_bytes()[..] {
            let (id, reason) = (self.plan.set().name().to_owned(), "it is of another definition");
            return Err(Error::Conflict { kind: "feature snapshot", id, reason: reason.into() });
        }
        let mut reader = Reader::new("feature snapshot", body);
        let mut restored = Vec::new();
        for plan in &self.plan.streams {
            for _ in 0..N_SHARDS {
                let mut shard = Shard::default();
                for _ in 0..reader.u64()? {
                    let key = EntityKey(reader.u64()?);
                    let history = KeyHistory::read_bytes(plan, &mut reader)?;
                    shard.histories.insert(key, history);
                }
                restored.push(shard);
            }
        }
        reader.finish()?;
        let shards = self.streams.iter().flat_map(|stream| &stream.shards);
        shards.zip(restored).for_each(|(shard, restored)| *lock(shard) = restored);
        Ok(())
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

const SNAPSHOT: &[u8] = b"riskcycle features 1\n";

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
