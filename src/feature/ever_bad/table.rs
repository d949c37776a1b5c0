//! What is known of values, common to all keys.

use std::collections::{HashMap, VecDeque};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard};

use smallvec::SmallVec;

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::feature::key_hash::KeyHashBuilder;
use crate::feature::online::LabelOutcome;

/// Whose values a table tells apart, and when a label counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::feature) struct BadTablePlan {
    /// The entity whose keys are the values.
    pub(in crate::feature) entity: usize,
    /// How long labels take, in microseconds; `None` if they count as they arrive.
    pub(in crate::feature) label_delay: Option<i64>,
}

/// The bad events of each value. Readers look at the version first and take the lock only if something has changed.
#[derive(Debug)]
pub(in crate::feature) struct BadTable {
    plan: BadTablePlan,
    events: RwLock<BadEvents>,
    /// That of `events`.
    version: AtomicU64,
    /// The latest moment at which a window was read.
    read_until: AtomicI64,
}

#[derive(Debug)]
pub(in crate::feature) struct BadEvents {
    /// (time, id) of the bad events of each value that has any, in order.
    by_value: HashMap<i64, SmallVec<[(i64, i64); 1]>, KeyHashBuilder>,
    /// After which time an event counts, in microseconds.
    delay: i64,
    /// Number of changes there have been.
    version: u64,
    /// The values that changed last.
    changed: VecDeque<i64>,
}

/// Changes that a table remembers: whoever missed more looks up all of its values.
const CHANGES_KEPT: usize = 4096;

/// When a value without bad events becomes bad.
pub(super) const NEVER: i64 = i64::MAX;

impl BadEvents {
    fn new(delay: i64) -> Self {
        let (by_value, changed) = (HashMap::default(), VecDeque::new());
        BadEvents { by_value, delay, version: 0, changed }
    }

    /// From which moment on a value is bad.
    pub(super) fn since(&self, value: i64) -> i64 {
        let first = self.by_value.get(&value).and_then(|events| events.first());
        first.map_or(NEVER, |(time, _)| time.saturating_add(self.delay))
    }

    pub(super) fn version(&self) -> u64 {
        self.version
    }

    /// The values that changed since a version, the last one first; `None` if not all of them are remembered.
    pub(super) fn changed_since(
        &self,
        version: u64,
    ) -> Option<impl ExactSizeIterator<Item = i64> + '_> {
        let missed = usize::try_from(self.version - version).unwrap_or(usize::MAX);
        let remembered = missed <= self.changed.len();
        remembered.then(|| self.changed.iter().rev().copied().take(missed))
    }

    fn change(&mut self, value: i64) {
        if self.changed.len() == CHANGES_KEPT {
            self.changed.pop_front();
        }
        self.changed.push_back(value);
        self.version += 1;
    }

    fn write(&self, bytes: &mut Vec<u8>) {
        let mut values: Vec<_> = self.by_value.iter().collect();
        values.sort_unstable_by_key(|(value, _)| **value);
        bytes.extend((values.len() as u64).to_le_bytes());
        for (value, events) in values {
            bytes.extend(value.to_le_bytes());
            bytes.extend((events.len() as u64).to_le_bytes());
            let numbers = events.iter().flat_map(|(time, id)| [time, id]);
            numbers.for_each(|number| bytes.extend(number.to_le_bytes()));
        }
    }

    fn read(delay: i64, reader: &mut Reader<'_>) -> Result<Self> {
        let odd = || Error::corrupt("feature snapshot", "holds bad events that cannot be");
        let mut table = BadEvents::new(delay);
        for _ in 0..reader.u64()? {
            let (value, n) = (reader.i64()?, reader.u64()?);
            let n = usize::try_from(n).map_err(|_| odd())?;
            let events = reader.list(n, 16, |reader| Ok((reader.i64()?, reader.i64()?)))?;
            let sound = n > 0 && events.is_sorted_by(|a, b| a < b);
            if !sound || table.by_value.insert(value, events.into()).is_some() {
                return Err(odd());
            }
        }
        Ok(table)
    }
}

impl BadTable {
    pub(in crate::feature) fn new(plan: BadTablePlan) -> Self {
        BadTable {
            plan,
            events: RwLock::new(BadEvents::new(plan.label_delay.unwrap_or(0))),
            version: AtomicU64::new(0),
            read_until: AtomicI64::new(i64::MIN),
        }
    }

    pub(in crate::feature) fn plan(&self) -> BadTablePlan {
        self.plan
    }

    pub(super) fn version(&self) -> u64 {
        self.version.load(Ordering::Acquire)
    }

    /// A panic cannot leave them half changed: nothing between their changes can panic.
    pub(super) fn events(&self) -> RwLockReadGuard<'_, BadEvents> {
        self.events.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn events_mut(&self) -> RwLockWriteGuard<'_, BadEvents> {
        self.events.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes note that a window was read at a moment.
    pub(super) fn note_reading(&self, at: i64) {
        if self.plan.label_delay.is_some() && at > self.read_until.load(Ordering::Relaxed) {
            self.read_until.fetch_max(at, Ordering::Relaxed);
        }
    }

    /// Gives the event of that (time, id), one of the value's, its label. O(the value's bad events).
    pub(in crate::feature) fn label(
        &self,
        value: i64,
        order: (i64, i64),
        bad: bool,
    ) -> LabelOutcome {
        let mut events = self.events_mut();
        let before = events.since(value);
        let list = events.by_value.entry(value).or_default();
        match (list.binary_search(&order), bad) {
            (Err(place), true) => list.insert(place, order),
            (Ok(place), false) => {
                list.remove(place);
            }
            _ => {}
        }
        if list.is_empty() {
            events.by_value.remove(&value);
        }
        let after = events.since(value);
        if before == after {
            return LabelOutcome::Applied;
        }
        events.change(value);
        self.version.store(events.version, Ordering::Release);
        let read_until = self.read_until.load(Ordering::Relaxed);
        match before.min(after) <= read_until {
            true => LabelOutcome::Late,
            false => LabelOutcome::Applied,
        }
    }

    pub(in crate::feature) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.read_until.load(Ordering::Relaxed).to_le_bytes());
        self.events().write(bytes);
    }

    /// The latest reading and the events of a table in a snapshot.
    pub(in crate::feature) fn read_bytes(
        plan: BadTablePlan,
        reader: &mut Reader<'_>,
    ) -> Result<(i64, BadEvents)> {
        Ok((reader.i64()?, BadEvents::read(plan.label_delay.unwrap_or(0), reader)?))
    }

    /// Puts what a snapshot held in place of what there is; whoever followed that looks up all of its values.
    pub(in crate::feature) fn replace(&self, (read_until, restored): (i64, BadEvents)) {
        let mut events = self.events_mut();
        let version = events.version + 1;
        *events = BadEvents { version, ..restored };
        self.version.store(version, Ordering::Release);
        self.read_until.store(read_until, Ordering::Relaxed);
    }
}
