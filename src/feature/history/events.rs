//! The events that a history keeps.

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::feature::accumulator::Entry;

/// Events in (time, id) order, numbered from the key's first on: a queue in one piece.
#[derive(Debug, Clone)]
pub(super) struct KeptEvents {
    /// Number of the oldest event kept.
    first: u64,
    /// Number of the next event to come.
    end: u64,
    /// Numbers per event.
    length: usize,
    /// Where the oldest event stands in `numbers`.
    start: usize,
    numbers: Vec<i64>,
}

impl KeptEvents {
    pub(super) fn new(length: usize) -> Self {
        KeptEvents { first: 0, end: 0, length, start: 0, numbers: Vec::new() }
    }

    /// Makes room for so many events.
    pub(super) fn reserve(&mut self, events: u64) {
        self.numbers
            .reserve(usize::try_from(events).unwrap_or(usize::MAX).saturating_mul(self.length));
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

    fn place(&self, event: u64) -> usize {
        self.start + (event - self.first) as usize * self.length
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

    /// The last event's (time, id).
    pub(super) fn last(&self) -> Option<(i64, i64)> {
        (self.first < self.end).then(|| self.order(self.end - 1))
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

    pub(super) fn push(&mut self, order: (i64, i64), measures: &[i64]) {
        self.numbers.extend([order.0, order.1]);
        self.numbers.extend_from_slice(measures);
        self.end += 1;
    }

    /// Puts an event before the one numbered `event`, which moves on with all behind it.
    pub(super) fn insert(&mut self, event: u64, order: (i64, i64), measures: &[i64]) {
        let place = self.place(event);
        let entry = [order.0, order.1].into_iter().chain(measures.iter().copied());
        self.numbers.splice(place..place, entry);
        self.end += 1;
    }

    /// Replaces a measure; returns what it was.
    pub(super) fn replace(&mut self, event: u64, number: usize, value: i64) -> i64 {
        let place = self.place(event) + number;
        std::mem::replace(&mut self.numbers[place], value)
    }

    /// Forgets all events before the one numbered `oldest`.
    pub(super) fn forget(&mut self, oldest: u64) {
        self.start = self.place(oldest);
        self.first = oldest;
        // Half of it is gone: move the rest to the front. O(1) amortised, and the space is used again.
        if self.start * 2 > self.numbers.len() {
            self.numbers.copy_within(self.start.., 0);
            self.numbers.truncate(self.numbers.len() - self.start);
            self.start = 0;
        }
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.first.to_le_bytes());
        bytes.extend(self.n().to_le_bytes());
        self.numbers[self.start..].iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    }

    pub(super) fn read(length: usize, reader: &mut Reader<'_>) -> Result<Self> {
        let corrupt = |reason: &str| Error::corrupt("feature snapshot", reason);
        let (first, n) = (reader.count()?, reader.u64()?);
        let numbers = usize::try_from(n).ok().and_then(|n| n.checked_mul(length));
        let numbers = numbers.filter(|numbers| *numbers <= reader.remaining() / 8);
        let numbers = numbers.ok_or_else(|| corrupt("ends too early"))?;
        let numbers = (0..numbers).map(|_| reader.i64()).collect::<Result<Vec<i64>>>()?;
        let end = first.checked_add(n).ok_or_else(|| corrupt("counts too many events"))?;
        let events = KeptEvents { first, end, length, start: 0, numbers };
        let in_order = |event| events.order(event) < events.order(event + 1);
        if !(first..end.saturating_sub(1)).all(in_order) {
            return Err(corrupt("holds events out of order"));
        }
        Ok(events)
    }
}
