//! What a window holds of events that need not be kept for it: sums and summaries of them, tile by tile.

use std::collections::VecDeque;

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::feature::accumulator::{Accumulator, Entry};
use crate::feature::plan::StreamPlan;
use crate::feature::window::{WindowPlan, add};

/// The events of a window that folds, up to the number `folded`, in tiles as wide as the steps of its start: a window sees
/// whole tiles only. A lifetime is one tile without an end.
#[derive(Debug, Clone)]
pub(super) struct Fold {
    /// Events that the window holds, folded or not.
    pub(super) count: u64,
    /// Where the window started at the last reading.
    pub(super) start: i64,
    /// What is at or before this moment is out of view for good, even for an event that comes late.
    pub(super) horizon: i64,
    /// Number of the first event that is not folded yet.
    pub(super) folded: u64,
    /// The latest (time, id) of those that are.
    pub(super) until: (i64, i64),
    /// In order of time; those out of view for good are at the front until their place is needed.
    tiles: VecDeque<Tile>,
}

#[derive(Debug, Clone)]
pub(super) struct Tile {
    number: i64,
    pub(super) count: u64,
    pub(super) sums: Vec<i128>,
    /// The window's, in the order of the stream's.
    pub(super) accumulators: Vec<Accumulator>,
}

impl Fold {
    pub(super) fn new() -> Self {
        Fold {
            count: 0,
            start: i64::MIN,
            horizon: i64::MIN,
            folded: 0,
            until: (i64::MIN, i64::MIN),
            tiles: VecDeque::new(),
        }
    }

    /// Whether the window sees an event of that time, once it has entered.
    pub(super) fn sees(&self, window: &WindowPlan, time: i64) -> bool {
        window.is_lifetime() || time > self.start
    }

    /// Whether events were folded into no tile: a lifetime that is never asked what it was.
    pub(super) fn is_untiled(&self, window: &WindowPlan) -> bool {
        window.is_lifetime() && self.tiles.is_empty() && self.folded > 0
    }

    /// Whether what the window holds at `asking` cannot be told any more.
    pub(super) fn is_past(&self, window: &WindowPlan, asking: (i64, i64)) -> bool {
        !window.enters(self.until, asking) || window.start(asking.0) < self.horizon
    }

    /// Adds an event to its tile, unless that is out of view for good.
    pub(super) fn add(&mut self, stream: &StreamPlan, w: usize, entry: &Entry) {
        let window = &stream.windows[w];
        self.until = self.until.max((entry[0], entry[1]));
        if entry[0] <= self.horizon && !window.is_lifetime() {
            return;
        }
        let number = window.tile(entry[0]);
        let mut place = self.tiles.partition_point(|tile| tile.number < number);
        if self.tiles.get(place).is_none_or(|tile| tile.number != number) {
            let gone = |tile: &Tile| window.tile_end(tile.number) <= self.horizon;
            let free = self.tiles.front().is_some_and(gone);
            let tile = match free.then(|| self.tiles.pop_front()).flatten() {
                Some(tile) => {
                    place -= 1; // it stood before the place
                    tile.cleared(stream, w, number)
                }
                None => Tile::new(stream, w, number),
            };
            self.tiles.insert(place, tile);
        }
        self.tiles[place].add(stream, w, entry);
    }

    /// The tile that an event was folded into, if there still is one.
    pub(super) fn tile_of(&mut self, window: &WindowPlan, time: i64) -> Option<&mut Tile> {
        let number = window.tile(time);
        let place = self.tiles.binary_search_by_key(&number, |tile| tile.number).ok()?;
        self.tiles.get_mut(place)
    }

    /// Tiles that begin at `start` or later.
    pub(super) fn tiles_after<'a>(
        &'a self,
        window: &'a WindowPlan,
        start: i64,
    ) -> impl Iterator<Item = &'a Tile> {
        self.tiles.iter().filter(move |tile| window.tile_end(tile.number) > start)
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.count.to_le_bytes());
        bytes.extend(self.start.to_le_bytes());
        bytes.extend(self.horizon.to_le_bytes());
        bytes.extend(self.folded.to_le_bytes());
        bytes.extend(self.until.0.to_le_bytes());
        bytes.extend(self.until.1.to_le_bytes());
        bytes.extend((self.tiles.len() as u64).to_le_bytes());
        for tile in &self.tiles {
            bytes.extend(tile.number.to_le_bytes());
            bytes.extend(tile.count.to_le_bytes());
            tile.sums.iter().for_each(|sum| bytes.extend(sum.to_le_bytes()));
            tile.accumulators.iter().for_each(|accumulator| accumulator.write(bytes));
        }
    }

    /// `high` is the number of events that have entered the window.
    pub(super) fn read(
        stream: &StreamPlan,
        w: usize,
        high: u64,
        reader: &mut Reader<'_>,
    ) -> Result<Self> {
        let mut fold = Fold {
            count: reader.u64()?,
            start: reader.i64()?,
            horizon: reader.i64()?,
            folded: reader.u64()?,
            until: (reader.i64()?, reader.i64()?),
            tiles: VecDeque::new(),
        };
        let mut n_tiled = 0u64;
        for _ in 0..reader.u64()? {
            let mut tile = Tile::new(stream, w, reader.i64()?);
            if fold.tiles.back().is_some_and(|last| last.number >= tile.number) {
                return Err(Error::corrupt("feature snapshot", "holds tiles out of order"));
            }
            tile.count = reader.u64()?;
            n_tiled = n_tiled.saturating_add(tile.count);
            for sum in &mut tile.sums {
                *sum = reader.i128()?;
            }
            for accumulator in &mut tile.accumulators {
                accumulator.read(reader, stream.entry_len())?;
            }
            fold.tiles.push_back(tile);
        }
        if fold.count > high || n_tiled > fold.folded {
            return Err(Error::corrupt(
                "feature snapshot",
                "has folded more events than there were",
            ));
        }
        Ok(fold)
    }
}

impl Tile {
    fn new(stream: &StreamPlan, w: usize, number: i64) -> Self {
        let accumulators = stream.accumulators_of(w).map(|(_, plan)| plan.start(true)).collect();
        let sums = vec![0; stream.windows[w].terms.len()];
        Tile { number, count: 0, sums, accumulators }
    }

    /// The same room for another stretch of time.
    fn cleared(mut self, stream: &StreamPlan, w: usize, number: i64) -> Self {
        (self.number, self.count) = (number, 0);
        self.sums.fill(0);
        for (accumulator, (_, plan)) in self.accumulators.iter_mut().zip(stream.accumulators_of(w))
        {
            *accumulator = plan.start(true);
        }
        self
    }

    fn add(&mut self, stream: &StreamPlan, w: usize, entry: &Entry) {
        self.count += 1;
        for (sum, term) in self.sums.iter_mut().zip(&stream.windows[w].terms) {
            add(sum, term.of_entry(entry));
        }
        for (accumulator, (_, plan)) in self.accumulators.iter_mut().zip(stream.accumulators_of(w))
        {
            accumulator.add(plan, 0, entry);
        }
    }
}
