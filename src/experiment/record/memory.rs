//! What is remembered of requests and units, in bounded memory.

use crate::ids::EntityKey;

/// Which requests have been counted. Two generations of a hash table: when the younger is full the older is forgotten, so
/// at least the last half of the capacity is known exactly.
#[derive(Debug, Clone)]
pub(super) struct RequestMemory {
    young: Table,
    old: Table,
    /// Requests of generations that were dropped.
    forgotten: u64,
}

/// What is known of a request, as bits; 0 for nothing.
pub(super) const EXPOSED: u8 = 1;
pub(super) const LABELLED: u8 = 2;
pub(super) const LABELLED_BAD: u8 = 4;

#[derive(Debug, Clone)]
struct Table {
    keys: Box<[u64]>,
    flags: Box<[u8]>,
    len: usize,
}

impl RequestMemory {
    pub(super) fn new(capacity: usize) -> Self {
        // Half full at most, per generation.
        let places = capacity.div_ceil(2).max(4).next_power_of_two() * 2;
        RequestMemory { young: Table::new(places), old: Table::new(places), forgotten: 0 }
    }

    /// What was known of the request; `add` is known from now on.
    pub(super) fn mark(&mut self, request: u64, add: u8) -> u8 {
        let place = self.young.place(request);
        let known = self.young.flags[place];
        if known != 0 {
            self.young.flags[place] |= add;
            return known;
        }
        let older = self.old.place(request);
        let known = self.old.flags[older];
        if known != 0 {
            self.old.flags[older] |= add;
            return known;
        }
        if 2 * self.young.len == self.young.keys.len() {
            std::mem::swap(&mut self.young, &mut self.old);
            self.forgotten += self.young.len as u64;
            self.young.clear();
            self.young.insert(request, add);
        } else {
            self.young.keys[place] = request;
            self.young.flags[place] = add;
            self.young.len += 1;
        }
        0
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Requests remembered with what is known of them, by id.
    pub(super) fn sorted(&self) -> Vec<(u64, u8)> {
        let both = self.old.entries().chain(self.young.entries());
        let mut entries: Vec<(u64, u8)> = both.collect();
        entries.sort_unstable();
        entries
    }

    /// Takes over another's requests; the count of exposures and labels that both have had.
    pub(super) fn merge(&mut self, other: &RequestMemory) -> u64 {
        self.forgotten += other.forgotten;
        // Room for both, or merging would forget.
        let mine = self.young.len + self.old.len;
        let needed = mine + other.young.len + other.old.len;
        if 2 * needed > self.young.keys.len() {
            let mut grown = RequestMemory::new(2 * needed);
            grown.forgotten = self.forgotten;
            self.sorted().into_iter().for_each(|(request, flags)| {
                grown.mark(request, flags);
            });
            *self = grown;
        }
        let entries = other.sorted().into_iter();
        entries
            .map(|(request, flags)| {
                let both = self.mark(request, flags) & flags & (EXPOSED | LABELLED);
                u64::from(both.count_ones())
            })
            .sum()
    }

    pub(super) fn set_forgotten(&mut self, forgotten: u64) {
        self.forgotten = forgotten;
    }
}

impl Table {
    fn new(places: usize) -> Self {
        Table { keys: vec![0; places].into(), flags: vec![0; places].into(), len: 0 }
    }

    /// Where a request is, or would be put. Eight neighbouring ids lie side by side: ids that rise find their place in the
    /// cache.
    fn place(&self, request: u64) -> usize {
        let mask = self.keys.len() - 1;
        let spread = (request >> 3).wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 32;
        let mut place = ((spread << 3 | request & 7) as usize) & mask;
        while self.flags[place] != 0 && self.keys[place] != request {
            place = (place + 1) & mask;
        }
        place
    }

    fn insert(&mut self, request: u64, flags: u8) {
        let place = self.place(request);
        self.keys[place] = request;
        self.flags[place] = flags;
        self.len += 1;
    }

    fn clear(&mut self) {
        self.flags.fill(0);
        self.len = 0;
    }

    fn entries(&self) -> impl Iterator<Item = (u64, u8)> + '_ {
        let filled = self.keys.iter().zip(&self.flags).filter(|(_, flags)| **flags != 0);
        filled.map(|(key, flags)| (*key, *flags))
    }
}

/// What is known of a unit. All of it is the least or the sum of something, so that order does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::experiment) struct UnitState {
    /// Day of the first exposure.
    pub(in crate::experiment) first_day: i32,
    /// Phase of the first exposure.
    pub(in crate::experiment) phase: u16,
    /// Arm in that phase.
    pub(in crate::experiment) arm: u8,
    /// Whether one of its requests was bad.
    pub(in crate::experiment) bad: bool,
}

impl UnitState {
    fn join(self, other: UnitState) -> UnitState {
        let first = if (other.phase, other.arm) < (self.phase, self.arm) { other } else { self };
        UnitState {
            first_day: self.first_day.min(other.first_day),
            phase: first.phase,
            arm: first.arm,
            bad: self.bad || other.bad,
        }
    }
}

/// What is known of each unit, up to a number of units; those beyond are counted only.
#[derive(Debug, Clone)]
pub(super) struct UnitMemory {
    keys: Box<[EntityKey]>,
    states: Box<[Option<UnitState>]>,
    len: usize,
    capacity: usize,
    refused: u64,
}

impl UnitMemory {
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.max(1);
        let places = (2 * capacity).next_power_of_two();
        UnitMemory {
            keys: vec![EntityKey::default(); places].into(),
            states: vec![None; places].into(),
            len: 0,
            capacity,
            refused: 0,
        }
    }

    pub(super) fn join(&mut self, unit: EntityKey, state: UnitState) {
        let place = self.place(unit);
        match &mut self.states[place] {
            Some(known) => *known = known.join(state),
            None if self.len == self.capacity => self.refused += 1,
            empty => {
                *empty = Some(state);
                self.keys[place] = unit;
                self.len += 1;
            }
        }
    }

    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Records of units that there was no room for.
    pub(super) fn refused(&self) -> u64 {
        self.refused
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (EntityKey, UnitState)> + '_ {
        let both = self.keys.iter().zip(&self.states);
        both.filter_map(|(unit, state)| state.map(|state| (*unit, state)))
    }

    pub(super) fn merge(&mut self, other: &UnitMemory) {
        let refused = self.refused + other.refused;
        let needed = self.len + other.len;
        if needed > self.capacity {
            let mut grown = UnitMemory::new(needed);
            self.iter().for_each(|(unit, state)| grown.join(unit, state));
            *self = grown;
        }
        other.iter().for_each(|(unit, state)| self.join(unit, state));
        self.refused = refused;
    }

    pub(super) fn set_refused(&mut self, refused: u64) {
        self.refused = refused;
    }

    fn place(&self, unit: EntityKey) -> usize {
        let mask = self.keys.len() - 1;
        let mut place = (unit.0.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 20) as usize & mask;
        while self.states[place].is_some() && self.keys[place] != unit {
            place = (place + 1) & mask;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_half_of_the_capacity_is_always_known() {
        let mut memory = RequestMemory::new(64);
        for request in 0..10_000u64 {
            assert_eq!(memory.mark(request, EXPOSED), 0);
            for known in request.saturating_sub(31)..=request {
                assert_eq!(memory.mark(known, EXPOSED), EXPOSED, "{known} at {request}");
            }
        }
        assert!(memory.forgotten() > 0);
    }

    #[test]
    fn merged_memories_know_what_either_knew_and_count_what_both_knew() {
        let (mut one, mut two) = (RequestMemory::new(64), RequestMemory::new(64));
        (0..30).for_each(|request| drop(one.mark(request * 1000, EXPOSED)));
        (20..50).for_each(|request| drop(two.mark(request * 1000, EXPOSED | LABELLED)));
        assert_eq!(one.merge(&two), 10);
        assert!((0..50).all(|request| one.mark(request * 1000, EXPOSED) != 0));
        assert_eq!(one.sorted().len(), 50);
    }

    #[test]
    fn units_beyond_the_capacity_are_counted() {
        let mut units = UnitMemory::new(2);
        let state = UnitState { first_day: 3, phase: 1, arm: 1, bad: false };
        (0..5).for_each(|unit| units.join(EntityKey(unit), state));
        units.join(EntityKey(1), UnitState { first_day: 2, phase: 0, arm: 0, bad: true });
        assert_eq!((units.len(), units.refused()), (2, 3));
        let known = units.iter().find(|(unit, _)| unit.0 == 1).unwrap().1;
        assert_eq!(known, UnitState { first_day: 2, phase: 0, arm: 0, bad: true });
    }
}
