//! The events that a history keeps.

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::feature::accumulator::{Entry, MEASURES};

/// Events in (time, id) order, numbered from the key's first on: a ring, in which an event stands at its number modulo the
/// room there is.
#[derive(Debug, Clone)]
pub(super) struct KeptEvents {
    /// Number of the oldest event kept.
    first: u64,
    /// Number of the next event to come.
    end: u64,
    /// The order of the event before that; of none, the beginning of time.
    last: (i64, i64),
    /// Numbers per event.
    length: usize,
    /// Room for a power of two of events, or for none.
    numbers: Box<[i64]>,
    /// The room less one.
    mask: u64,
}

impl KeptEvents {
    pub(super) fn new(length: usize) -> Self {
        let last = (i64::MIN, i64::MIN);
        KeptEvents { first: 0, end: 0, last, length, numbers: Box::default(), mask: 0 }
    }

    /// Events that there is room for.
    pub(super) fn room(&self) -> u64 {
        if self.numbers.is_empty() { 0 } else { self.mask + 1 }
    }

    /// The room to move into when this one is full.
    pub(super) fn next_room(&self) -> u64 {
        (2 * self.room()).max(4)
    }

    pub(super) fn is_full(&self) -> bool {
        self.n() == self.room()
    }

    /// Moves into a larger room, of `length` numbers for each event; returns the old one.
    pub(super) fn move_into(&mut self, numbers: Box<[i64]>) -> Box<[i64]> {
        let mask = (numbers.len() / self.length) as u64 - 1;
        let old = KeptEvents { numbers: std::mem::replace(&mut self.numbers, numbers), ..*self };
        self.mask = mask;
        for event in self.first..self.end {
            let place = self.place(event);
            self.numbers[place..place + self.length].copy_from_slice(old.entry(event));
        }
        old.numbers
    }

    fn grow(&mut self) {
        let room = usize::try_from(self.next_room()).unwrap_or(usize::MAX);
        self.move_into(vec![0; room.saturating_mul(self.length)].into());
    }

    pub(super) fn first(&self) -> u64 {
        self.first
    }

    pub(super) fn end(&self) -> u64 {
        self.end
    }

    pub(super) fn n(&self) -> u64 {
        self.end - self.first
    }

    #[inline]
    fn place(&self, event: u64) -> usize {
        (event & self.mask) as usize * self.length
    }

    #[inline]
    pub(super) fn entry(&self, event: u64) -> &Entry {
        &self.numbers[self.place(event)..][..self.length]
    }

    #[inline]
    pub(super) fn order(&self, event: u64) -> (i64, i64) {
        let entry = self.entry(event);
        (entry[0], entry[1])
    }

    /// Time of an event; the end of time for the one that is still to come.
    #[inline]
    pub(super) fn time(&self, event: u64) -> i64 {
        if event < self.end { self.entry(event)[0] } else { i64::MAX }
    }

    /// Reads the place of an event, whatever is there.
    #[inline]
    pub(super) fn touch(&self, event: u64) -> i64 {
        self.numbers.get(self.place(event)).map_or(0, |number| *number)
    }

    /// The last event's (time, id).
    pub(super) fn last(&self) -> Option<(i64, i64)> {
        (self.first < self.end).then_some(self.last)
    }

    /// Number of the first event for which `before` does not hold; it must hold for a beginning of the queue.
    pub(super) fn partition(&self, before: impl Fn((i64, i64)) -> bool) -> u64 {
        let (mut low, mut high) = (self.first, self.end);
        while low < high {
            let middle = low + (high - low) / 2;
            if before(self.order(middle)) { low = middle + 1 } else { high = middle }
        }
        low
    }

    /// Number of the event of that order, if it is kept.
    pub(super) fn find(&self, order: (i64, i64)) -> Option<u64> {
        let event = self.partition(|other| other < order);
        (event < self.end && self.order(event) == order).then_some(event)
    }

    /// Puts an event behind all others.
    pub(super) fn push(&mut self, order: (i64, i64), measures: &[i64]) {
        if self.is_full() {
            self.grow();
        }
        self.end += 1;
        self.last = order;
        self.put(self.end - 1, order, measures);
    }

    /// Puts an event before the one numbered `event`, which moves on with all behind it.
    pub(super) fn insert(&mut self, event: u64, order: (i64, i64), measures: &[i64]) {
        if self.is_full() {
            self.grow();
        }
        for moved in (event..self.end).rev() {
            let (from, to) = (self.place(moved), self.place(moved + 1));
            self.numbers.copy_within(from..from + self.length, to);
        }
        self.end += 1;
        self.last = self.last.max(order);
        self.put(event, order, measures);
    }

    fn put(&mut self, event: u64, order: (i64, i64), measures: &[i64]) {
        let place = self.place(event);
        let entry = &mut self.numbers[place..place + self.length];
        (entry[0], entry[1]) = order;
        entry[MEASURES..].copy_from_slice(measures);
    }

    /// Replaces a measure; returns what it was.
    pub(super) fn replace(&mut self, event: u64, number: usize, value: i64) -> i64 {
        let place = self.place(event) + number;
        std::mem::replace(&mut self.numbers[place], value)
    }

    /// Forgets all events before the one numbered `oldest`.
    pub(super) fn forget(&mut self, oldest: u64) {
        self.first = oldest;
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.first.to_le_bytes());
        bytes.extend(self.n().to_le_bytes());
        let entries = (self.first..self.end).flat_map(|event| self.entry(event));
        entries.for_each(|value| bytes.extend(value.to_le_bytes()));
    }

    pub(super) fn read(length: usize, reader: &mut Reader<'_>) -> Result<Self> {
        let corrupt = |reason: &str| Error::corrupt("feature snapshot", reason);
        let (first, n) = (reader.count()?, reader.u64()?);
        let most = (reader.remaining() / 8 / length) as u64;
        if n > most {
            return Err(corrupt("ends too early"));
        }
        let mut events = KeptEvents { first, end: first, ..KeptEvents::new(length) };
        let mut entry = vec![0; length];
        for _ in 0..n {
            for value in &mut entry {
                *value = reader.i64()?;
            }
            let order = (entry[0], entry[1]);
            if events.last().is_some_and(|last| order <= last) {
                return Err(corrupt("holds events out of order"));
            }
            events.push(order, &entry[MEASURES..]);
        }
        Ok(events)
    }
}
