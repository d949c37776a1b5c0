//! The online driver: the same windows, kept up to date event by event.

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::error::{Error, Result};
use crate::feature::batch::{KeyHash, KeyHashBuilder};
use crate::feature::definition::Current;
use crate::feature::plan::{EntityPlan, FeaturePlan, Measure, WindowPlan, WindowValue};
use crate::ids::EntityKey;
use crate::schema::FeatureSchema;
use crate::time::Timestamp;

const N_SHARDS: usize = 64;
/// So that one event's keys and amounts are read into a fixed place before any lock is taken.
const MAX_ENTITIES: usize = 16;
const MAX_MEASURES: usize = 64;

/// Live feature state for a stream of events; [`FeaturePlan::online`].
///
/// # Concurrency
/// Share it by reference. Keys are spread over 64 locks per entity kind; an event holds the locks of its own keys, in a
/// fixed order, and no lock is held while host code runs.
///
/// # Cost
/// O(1) amortised per event, window and aggregate. No allocation for a known key once its history has reached its
/// size. Per key: 8 bytes × (2 + measures) per event inside the widest window (its delay included), plus 16 bytes per
/// window and 16 per window and measure. Events leave when the key's next event finds no window that sees them.
pub struct OnlineFeatures<E> {
    plan: FeaturePlan<E>,
    entities: Vec<Vec<Mutex<Shard>>>,
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
    slots: HashMap<EntityKey, usize, KeyHashBuilder>,
    histories: Vec<KeyHistory>,
}

/// One key's events and where its windows stand in them. Events are counted from the key's first; `first` is the oldest
/// one kept.
#[derive(Debug)]
struct KeyHistory {
    first: u64,
    /// Per event: its order (time, id), then one number per measure.
    events: VecDeque<i64>,
    windows: Vec<WindowState>,
    /// Per window, one sum per measure.
    sums: Vec<i128>,
}

/// The window sees the events `low..high`.
#[derive(Debug, Clone, Copy, Default)]
struct WindowState {
    low: u64,
    high: u64,
}

/// What is read off an event before any lock is taken.
struct Reading {
    at: Timestamp,
    id: u64,
    keys: [EntityKey; MAX_ENTITIES],
    /// The measures of all entities, one after the other.
    measures: [i64; MAX_MEASURES],
}

impl Reading {
    /// (time, id) as the history keeps it; the id's top bit is flipped so that signed order is the id's own order.
    fn order(&self) -> (i64, i64) {
        (self.at.micros(), (self.id ^ (1 << 63)) as i64)
    }
}

impl<E> FeaturePlan<E> {
    /// Empty live state for this definition.
    ///
    /// # Errors
    /// `InvalidConfig` for more than 16 entities or 64 different sums.
    pub fn online(&self) -> Result<OnlineFeatures<E>> {
        let n_measures: usize = self.entities.iter().map(|entity| entity.measures.len()).sum();
        if self.entities.len() > MAX_ENTITIES || n_measures > MAX_MEASURES {
            let reason = format!("at most {MAX_ENTITIES} entities and {MAX_MEASURES} sums online");
            return Err(Error::config("feature set", reason));
        }
        let shards = || (0..N_SHARDS).map(|_| Mutex::default()).collect();
        let entities = self.entities.iter().map(|_| shards()).collect();
        Ok(OnlineFeatures { plan: self.clone(), entities })
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
    /// `SchemaMismatch` if `out` does not have one place per feature; `TimeBackwards` if the event is not after the last
    /// one of each of its entities in (time, id) order, a repeated event among them. Nothing is remembered then.
    pub fn observe(&self, event: &E, out: &mut [f64]) -> Result<()> {
        self.schema().check_rows(out.len(), 1)?;
        let reading = self.read(event);
        for &(column, own) in &self.plan.own {
            out[column] = self.plan.own_value(own, event);
        }
        self.observe_from(0, 0, &reading, out)
    }

    /// Takes the locks of the event's keys one inside the other, so that either all of them remember it or none does.
    fn observe_from(
        &self,
        entity: usize,
        measure: usize,
        reading: &Reading,
        out: &mut [f64],
    ) -> Result<()> {
        let Some(plan) = self.plan.entities.get(entity) else {
            return Ok(());
        };
        let key = reading.keys[entity];
        let mut shard = self.shard(entity, key);
        let history = shard.history(key, plan);
        if let Some((at, id)) = history.last(plan)
            && reading.order() <= (at, id)
        {
            return Err(Error::TimeBackwards {
                what: format!("event of entity {key:?}"),
                at: reading.at,
                id: reading.id,
                last: Timestamp::from_micros(at),
            });
        }
        let end = measure + plan.measures.len();
        self.observe_from(entity + 1, end, reading, out)?;
        history.observe(plan, reading, &reading.measures[measure..end], out);
        Ok(())
    }

    /// Gives an observed event its label, `true` for bad. Giving it again, or another one, is fine: the last one stands.
    pub fn label(&self, event: &E, bad: bool) -> LabelOutcome {
        let reading = self.read(event);
        let order = reading.order();
        let mut outcome = LabelOutcome::Applied;
        for (i, plan) in self.plan.entities.iter().enumerate() {
            let Some(measure) = plan.measures.iter().position(|m| *m == Measure::Label) else {
                continue;
            };
            let key = reading.keys[i];
            let mut shard = self.shard(i, key);
            let applied = match shard.slots.get(&key).copied() {
                Some(slot) => shard.histories[slot].label(plan, measure, order, bad),
                None => LabelOutcome::Unknown,
            };
            outcome = outcome.max(applied);
        }
        outcome
    }

    /// Number of keys with a history, over all entities.
    pub fn n_keys(&self) -> usize {
        let count = |shard: &Mutex<Shard>| lock(shard).histories.len();
        self.entities.iter().flatten().map(count).sum()
    }

    fn read(&self, event: &E) -> Reading {
        let (at, id) = self.plan.order(event);
        let mut reading = Reading {
            at,
            id,
            keys: [EntityKey::default(); MAX_ENTITIES],
            measures: [0; MAX_MEASURES],
        };
        let mut next = 0;
        for (key, entity) in reading.keys.iter_mut().zip(&self.plan.entities) {
            *key = self.plan.events.read_entity(entity.entity, event);
            for measure in &entity.measures {
                reading.measures[next] = match *measure {
                    Measure::Money { field } => self.plan.events.read_money(field, event).0,
                    Measure::Label => 0, // not known yet
                };
                next += 1;
            }
        }
        reading
    }

    fn shard(&self, entity: usize, key: EntityKey) -> MutexGuard<'_, Shard> {
        use std::hash::Hasher;
        let mut hash = KeyHash::default();
        hash.write_u64(key.0);
        // The top bits: the table inside the shard indexes by the low ones.
        let shard = (hash.finish() >> 58) as usize;
        lock(&self.entities[entity][shard])
    }
}

/// A panic cannot leave a shard half changed: nothing between its changes can panic.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Shard {
    fn history(&mut self, key: EntityKey, plan: &EntityPlan) -> &mut KeyHistory {
        let slot = *self.slots.entry(key).or_insert_with(|| {
            self.histories.push(KeyHistory {
                first: 0,
                events: VecDeque::new(),
                windows: vec![WindowState::default(); plan.windows.len()],
                sums: vec![0; plan.windows.len() * plan.measures.len()],
            });
            self.histories.len() - 1
        });
        &mut self.histories[slot]
    }
}

impl EntityPlan {
    fn stride(&self) -> usize {
        2 + self.measures.len()
    }
}

impl KeyHistory {
    fn n_events(&self, plan: &EntityPlan) -> u64 {
        (self.events.len() / plan.stride()) as u64
    }

    fn offset(&self, plan: &EntityPlan, event: u64) -> usize {
        (event - self.first) as usize * plan.stride()
    }

    fn order(&self, plan: &EntityPlan, event: u64) -> (i64, i64) {
        let offset = self.offset(plan, event);
        (self.events[offset], self.events[offset + 1])
    }

    fn last(&self, plan: &EntityPlan) -> Option<(i64, i64)> {
        let n = self.n_events(plan);
        (n > 0).then(|| self.order(plan, self.first + n - 1))
    }

    fn observe(&mut self, plan: &EntityPlan, reading: &Reading, measures: &[i64], out: &mut [f64]) {
        let at = reading.at.micros();
        let current = self.first + self.n_events(plan);
        self.events.extend([at, reading.order().1]);
        self.events.extend(measures);

        let n_measures = measures.len();
        let mut oldest = current;
        for (w, window) in plan.windows.iter().enumerate() {
            let sums = w * n_measures..(w + 1) * n_measures;
            let WindowState { mut low, mut high } = self.windows[w];
            while self.enters(plan, window, high, current, at) {
                self.add(plan, high, sums.clone(), 1);
                high += 1;
            }
            let start = window.start(at);
            while low < high && self.order(plan, low).0 <= start {
                self.add(plan, low, sums.clone(), -1);
                low += 1;
            }
            self.windows[w] = WindowState { low, high };
            oldest = oldest.min(low);
            for column in &window.columns {
                out[column.column] = column.value.finish(high - low, &self.sums[sums.clone()]);
            }
        }
        let gone = self.offset(plan, oldest);
        self.events.drain(..gone);
        self.first = oldest;
    }

    fn enters(
        &self,
        plan: &EntityPlan,
        window: &WindowPlan,
        event: u64,
        current: u64,
        at: i64,
    ) -> bool {
        match (window.delay, window.current) {
            (0, Current::Exclude) => event < current,
            (0, Current::Include) => event <= current,
            (0, Current::StrictPast) => event < current && self.order(plan, event).0 < at,
            _ => event < current && self.order(plan, event).0 <= window.end(at),
        }
    }

    fn add(&mut self, plan: &EntityPlan, event: u64, sums: std::ops::Range<usize>, sign: i128) {
        let offset = self.offset(plan, event) + 2;
        for (measure, sum) in self.sums[sums].iter_mut().enumerate() {
            *sum += sign * i128::from(self.events[offset + measure]);
        }
    }

    fn label(
        &mut self,
        plan: &EntityPlan,
        measure: usize,
        order: (i64, i64),
        bad: bool,
    ) -> LabelOutcome {
        let (mut low, mut high) = (self.first, self.first + self.n_events(plan));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.order(plan, middle) < order { low = middle + 1 } else { high = middle }
        }
        if low == self.first + self.n_events(plan) || self.order(plan, low) != order {
            return LabelOutcome::Unknown;
        }
        let offset = self.offset(plan, low) + 2 + measure;
        let change = i64::from(bad) - self.events[offset];
        self.events[offset] += change;
        let mut outcome = LabelOutcome::Applied;
        for (w, (state, window)) in self.windows.iter().zip(&plan.windows).enumerate() {
            if (state.low..state.high).contains(&low) {
                self.sums[w * plan.measures.len() + measure] += i128::from(change);
            }
            let reads = |value: &WindowValue| matches!(*value, WindowValue::Sum { measure: m, .. } | WindowValue::Mean { measure: m, .. } if m == measure);
            if low < state.high && change != 0 && window.columns.iter().any(|c| reads(&c.value)) {
                outcome = LabelOutcome::Late;
            }
        }
        outcome
    }
}

impl<E> fmt::Debug for OnlineFeatures<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("OnlineFeatures")
            .field("set", &self.plan.set().name())
            .field("n_keys", &self.n_keys())
            .finish()
    }
}
