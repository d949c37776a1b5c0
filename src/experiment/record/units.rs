//! What is known of each unit, in bounded memory.

use super::requests::{SMALLEST, spread};
use crate::ids::EntityKey;

/// A day, and the phase and arm that answered on it: numbers in order of time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(in crate::experiment) struct Answered(u32);

/// Bits of an [`Answered`]: 16 of the day, 10 of the phase, 3 of the arm.
const BITS: u32 = 29;
/// Later than anything.
const NEVER: u64 = (1 << BITS) - 1;

impl Answered {
    /// Days before 1970 and after 2149 count as the nearest one within.
    pub(super) fn new(day: i32, phase: u16, arm: u8) -> Self {
        let day = day.clamp(0, 0xFFFF) as u32;
        Answered(day << 13 | u32::from(phase) << 3 | u32::from(arm))
    }

    pub(in crate::experiment) fn day(self) -> i32 {
        (self.0 >> 13) as i32
    }

    pub(in crate::experiment) fn phase(self) -> usize {
        (self.0 >> 3 & 0x3FF) as usize
    }

    pub(in crate::experiment) fn arm(self) -> usize {
        (self.0 & 7) as usize
    }
}

/// What is known of a unit. All of it is the least of something, so that order does not matter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::experiment) struct UnitState {
    /// Its first request.
    pub(in crate::experiment) first: Answered,
    /// Its first bad request, of those with a label.
    pub(in crate::experiment) bad: Option<Answered>,
}

impl UnitState {
    /// In one number, never 0.
    pub(super) fn pack(self) -> u64 {
        let bad = self.bad.map_or(NEVER, |bad| u64::from(bad.0));
        1 << 63 | bad << BITS | u64::from(self.first.0)
    }

    /// `None` for 0.
    pub(super) fn unpack(packed: u64) -> Option<Self> {
        let bad = packed >> BITS & NEVER;
        (packed != 0).then_some(UnitState {
            first: Answered((packed & NEVER) as u32),
            bad: (bad != NEVER).then_some(Answered(bad as u32)),
        })
    }
}

/// What either knows, both packed.
fn join(one: u64, other: u64) -> u64 {
    let first = (one & NEVER).min(other & NEVER);
    let bad = (one >> BITS & NEVER).min(other >> BITS & NEVER);
    1 << 63 | bad << BITS | first
}

/// A table of units, up to a number of them; records of those beyond are counted only.
#[derive(Debug, Clone)]
pub(super) struct UnitMemory {
    /// A unit beside its packed state, so that one look finds both; 0 for none.
    places: Vec<(EntityKey, u64)>,
    /// What was known of the unit before the experiment, by place; empty where the plan has no use for it.
    covariates: Vec<i32>,
    len: usize,
    capacity: usize,
    refused: u64,
}

impl UnitMemory {
    pub(super) fn new(capacity: usize, with_covariates: bool) -> Self {
        UnitMemory {
            places: vec![(EntityKey::default(), 0); SMALLEST],
            covariates: vec![0; if with_covariates { SMALLEST } else { 0 }],
            len: 0,
            capacity: capacity.max(1),
            refused: 0,
        }
    }

    /// Adds what is known of a unit. Of different covariates the one farthest from zero stays.
    #[inline]
    pub(super) fn join(&mut self, unit: EntityKey, state: UnitState, covariate: i32) {
        let (place, state) = (self.place(unit), state.pack());
        let known = self.places[place].1;
        if known != 0 {
            let joined = join(known, state);
            if joined != known {
                self.places[place].1 = joined;
            }
        } else if self.len == self.capacity {
            self.refused += 1;
            return;
        } else {
            self.places[place] = (unit, state);
            self.len += 1;
        }
        if let Some(known) = self.covariates.get_mut(place) {
            *known =
                [*known, covariate].into_iter().max_by_key(|x| (x.unsigned_abs(), *x)).unwrap_or(0);
        }
        if known == 0 {
            self.grow();
        }
    }

    /// Doubles the places once three quarters of them are taken: a smaller table stays in the cache, which is worth more than
    /// a short search.
    fn grow(&mut self) {
        if 4 * self.len < 3 * self.places.len() {
            return;
        }
        let twice = 2 * self.places.len();
        let known = std::mem::replace(&mut self.places, vec![(EntityKey::default(), 0); twice]);
        let covariates = std::mem::take(&mut self.covariates);
        self.covariates = vec![0; if covariates.is_empty() { 0 } else { twice }];
        for (old, (unit, state)) in
            known.into_iter().enumerate().filter(|(_, (_, state))| *state != 0)
        {
            let place = self.place(unit);
            self.places[place] = (unit, state);
            if let Some(covariate) = covariates.get(old) {
                self.covariates[place] = *covariate;
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

    pub(super) fn set_refused(&mut self, refused: u64) {
        self.refused = refused;
    }

    /// All units with their state and covariate (0 for none).
    pub(super) fn iter(&self) -> impl Iterator<Item = (EntityKey, UnitState, i32)> + '_ {
        let covariate = |place: usize| self.covariates.get(place).copied().unwrap_or(0);
        let known = self.places.iter().enumerate();
        known.filter_map(move |(place, (unit, state))| {
            Some((*unit, UnitState::unpack(*state)?, covariate(place)))
        })
    }

    /// Takes over another's units, with room for both.
    pub(super) fn merge(&mut self, other: &UnitMemory) {
        self.capacity = self.capacity.max(self.len + other.len);
        other.iter().for_each(|(unit, state, covariate)| self.join(unit, state, covariate));
        self.refused += other.refused;
    }

    #[inline]
    fn place(&self, unit: EntityKey) -> usize {
        let mask = self.places.len() - 1;
        let mut place = (spread(unit.0) >> 32) as usize & mask;
        while self.places[place].1 != 0 && self.places[place].0 != unit {
            place = (place + 1) & mask;
        }
        place
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_pack_and_join_in_any_order() {
        let state = |first: (i32, u16, u8), bad: Option<(i32, u16, u8)>| UnitState {
            first: Answered::new(first.0, first.1, first.2),
            bad: bad.map(|(day, phase, arm)| Answered::new(day, phase, arm)),
        };
        let (one, two) =
            (state((20_000, 1023, 7), None), state((19_999, 3, 2), Some((20_001, 4, 1))));
        for state in [one, two] {
            assert_eq!(UnitState::unpack(state.pack()), Some(state));
        }
        let joined = join(one.pack(), two.pack());
        assert_eq!(joined, join(two.pack(), one.pack()));
        assert_eq!(UnitState::unpack(joined), Some(two));
        assert_eq!((one.first.day(), one.first.phase(), one.first.arm()), (20_000, 1023, 7));
        assert_eq!(UnitState::unpack(0), None);
        assert_eq!(Answered::new(-5, 0, 0).day(), 0);
    }

    #[test]
    fn units_beyond_the_capacity_are_counted() {
        let mut units = UnitMemory::new(200, true);
        let state = UnitState { first: Answered::new(3, 1, 1), bad: None };
        (0..203).for_each(|unit| units.join(EntityKey(unit), state, unit as i32));
        let sooner = UnitState { first: Answered::new(2, 0, 0), bad: Some(Answered::new(2, 0, 0)) };
        units.join(EntityKey(1), sooner, -9);
        assert_eq!((units.len(), units.refused(), units.iter().count()), (200, 3, 200));
        let find = |wanted: u64| units.iter().find(|(unit, ..)| unit.0 == wanted).unwrap();
        assert_eq!(find(1), (EntityKey(1), sooner, -9));
        assert_eq!(find(150).2, 150);
    }
}
