//! Room for events, kept in hand so that a history which grows need not ask the allocator.

use std::sync::{Mutex, PoisonError};

use crate::feature::history::KeyHistory;

/// Rooms of one source's histories by size: the powers of two.
#[derive(Debug, Default)]
pub(super) struct SpareRooms {
    sizes: Mutex<Vec<Vec<Box<[i64]>>>>,
}

/// How many histories have a room of each size.
#[derive(Debug, Default)]
pub(super) struct RoomCensus {
    sizes: Vec<usize>,
}

/// Of so many histories that could come to need a larger room one is provided for, and one more.
const HISTORIES_PER_SPARE: usize = 16;

/// Larger rooms than for so many events are not kept in hand: moving that many costs more than the allocation.
const LARGEST_SPARE: usize = 4096;

impl SpareRooms {
    /// Moves a history into the next larger room: a spare one, or if there is none a new one of `length` numbers for each
    /// event. What it leaves becomes spare if a place is free.
    pub(super) fn grow(&self, history: &mut KeyHistory, length: usize) {
        let (room, next) = history.rooms();
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let spare = sizes.get_mut(place(next)).and_then(Vec::pop);
        let events = usize::try_from(next).unwrap_or(usize::MAX);
        let fresh = || vec![0; events.saturating_mul(length)].into();
        let old = history.move_into(spare.unwrap_or_else(fresh));
        if room > 0
            && let Some(spare) = sizes.get_mut(place(room))
            && spare.len() < spare.capacity()
        {
            spare.push(old);
        }
    }

    /// Provides rooms for the histories counted, `length` numbers for each event, and gives back those beyond.
    pub(super) fn provide(&self, census: &RoomCensus, length: usize) {
        let mut sizes = self.sizes.lock().unwrap_or_else(PoisonError::into_inner);
        let n = sizes.len().max(census.sizes.len() + 1);
        sizes.resize_with(n, Vec::new);
        for (place, spare) in sizes.iter_mut().enumerate() {
            let smaller = place.checked_sub(1).and_then(|smaller| census.sizes.get(smaller));
            let wanted = match smaller {
                Some(0) | None => 0,
                _ if 1 << place > LARGEST_SPARE => 0,
                Some(histories) => histories.div_ceil(HISTORIES_PER_SPARE) + 1,
            };
            spare.truncate(wanted);
            spare.shrink_to(wanted);
            spare.reserve_exact(wanted.saturating_sub(spare.len()));
            let numbers = length << place;
            spare.resize_with(wanted, || vec![0; numbers].into());
        }
    }
}

impl RoomCensus {
    pub(super) fn count(&mut self, history: &KeyHistory) {
        let (room, _) = history.rooms();
        if room > 0 {
            self.sizes.resize(self.sizes.len().max(place(room) + 1), 0);
            self.sizes[place(room)] += 1;
        }
    }
}

/// Of a size among all.
fn place(room: u64) -> usize {
    room.ilog2() as usize
}
