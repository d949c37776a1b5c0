//! Windows as sums of tiles: whole numbers that any number of writers add to in any order.
//!
//! A tile is a stretch of time of an entity's history, with the number of its events and the sums of their measures. A
//! window whose edges lie between tiles is the sum of those within it. Numbers are kept in parts of 32 bits, each in a
//! counter of 64: two thousand million events fit before one could overflow.

use std::collections::BTreeMap;

use crate::error::{Error, Result};
use crate::feature::definition::Current;
use crate::feature::plan::{FeaturePlan, Measure, StreamPlan};
use crate::feature::window::{Reach, Term, View, WindowPlan, add};
use crate::feature::zone::LocalTime;
use crate::ids::EntityKey;
use crate::time::Timestamp;

/// How a definition's windows are put together from tiles.
#[derive(Debug)]
pub(crate) struct TilePlan<E> {
    plan: FeaturePlan<E>,
    streams: Vec<TileStream>,
}

/// All tiles of one source: a series for each way to divide time.
#[derive(Debug)]
struct TileStream {
    series: Vec<Series>,
    /// Which series each window is read from.
    of_window: Vec<usize>,
}

#[derive(Debug)]
struct Series {
    grid: Grid,
    terms: Vec<Term>,
}

/// How time is divided.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Grid {
    /// In stretches of this length since 1970, the end included: as windows are open on the left.
    Hop(i64),
    /// In local days, midnight included.
    Day(LocalTime),
    /// Not at all.
    Ever,
}

/// Counters of an event in one source: what it adds, and which tiles are of no use any more.
#[derive(Debug, Clone)]
pub(crate) struct TileVisit {
    /// Whose history.
    pub(crate) key: EntityKey,
    /// Names of counters, and what is added to each; empty if the event is none of the source's.
    pub(crate) adds: Vec<(String, i64)>,
    /// By series the first tile that a window may still need.
    pub(crate) oldest: Vec<i64>,
}

/// Bits of a number that one counter holds.
const LIMB: u32 = 32;
/// Counters of a number: enough for the square of any amount.
const LIMBS: usize = 4;

impl<E> TilePlan<E> {
    /// # Errors
    /// `InvalidConfig` naming the first feature that tiles cannot give, and why.
    pub(crate) fn new(plan: &FeaturePlan<E>) -> Result<Self> {
        let mut streams = Vec::with_capacity(plan.streams.len());
        for stream in &plan.streams {
            for column in &stream.columns {
                let window = &stream.windows[column.window];
                let reason = match () {
                    () if !column.is_additive() => "only counts, sums, means and deviations add up",
                    () if labels(stream, window) => "a label comes later than its event's tile",
                    () => match refusal(window) {
                        Some(reason) => reason,
                        None => continue,
                    },
                };
                let name = &plan.set().features()[column.column].name;
                return Err(Error::config("shared features", format!("{name}: {reason}")));
            }
            streams.push(TileStream::new(stream));
        }
        Ok(TilePlan { plan: plan.clone(), streams })
    }

    pub(crate) fn plan(&self) -> &FeaturePlan<E> {
        &self.plan
    }

    /// What an event adds to the counters of each source, in the order of the sources. Windows are kept for events that come
    /// `lateness` microseconds late.
    pub(crate) fn visit(&self, event: &E, lateness: i64) -> Vec<TileVisit> {
        let at = self.plan.events.time(event).micros();
        let visit = |(stream, tiles): (&StreamPlan, &TileStream)| {
            let measures: Vec<i64> = self.measures(stream, event);
            let mut adds = Vec::new();
            let all = tiles.series.iter().enumerate();
            for (s, series) in all.filter(|_| self.plan.passes(stream, event)) {
                let tile = series.grid.tile(at);
                adds.push((format!("{s}:{tile}:0"), 1));
                for (t, term) in series.terms.iter().enumerate() {
                    let limbs = limbs(term.of(&measures));
                    let filled = limbs.into_iter().enumerate().filter(|(_, limb)| *limb != 0);
                    adds.extend(
                        filled.map(|(l, limb)| (format!("{s}:{tile}:{}", 1 + t * LIMBS + l), limb)),
                    );
                }
            }
            let late = at.saturating_sub(lateness);
            let mut oldest = vec![i64::MAX; tiles.series.len()];
            for (window, &s) in stream.windows.iter().zip(&tiles.of_window) {
                oldest[s] = oldest[s].min(tiles.series[s].grid.first(window, late));
            }
            TileVisit { key: self.plan.events.read_entity(stream.entity, event), adds, oldest }
        };
        self.plan.streams.iter().zip(&self.streams).map(visit).collect()
    }

    /// Writes the event's vector into `out`, from the counters of each source as they are once the event has been added.
    ///
    /// # Errors
    /// `Corrupt` for counters that are none of this definition's.
    pub(crate) fn vector(
        &self,
        event: &E,
        counters: &[Vec<(String, i64)>],
        out: &mut [f64],
    ) -> Result<()> {
        let at = self.plan.events.time(event).micros();
        for ((stream, tiles), counters) in self.plan.streams.iter().zip(&self.streams).zip(counters)
        {
            let counters = tiles.read(counters)?;
            let measures = self.measures(stream, event);
            let own = i64::from(self.plan.passes(stream, event));
            for column in &stream.columns {
                let (window, s) = (&stream.windows[column.window], tiles.of_window[column.window]);
                let series = &tiles.series[s];
                let within = series.grid.first(window, at)..=series.grid.tile(at);
                let (mut count, mut sums) = (0, vec![0; series.terms.len()]);
                for (_, tile) in counters.range((s, *within.start())..=(s, *within.end())) {
                    count += i128::from(tile.count);
                    sums.iter_mut().zip(&tile.sums).for_each(|(sum, part)| add(sum, *part));
                }
                if window.current == Current::Exclude {
                    count -= i128::from(own);
                    let own_terms = series.terms.iter().map(|term| term.of(&measures));
                    sums.iter_mut().zip(own_terms).for_each(|(sum, own_term)| {
                        add(sum, -own_term * i128::from(own));
                    });
                }
                // The window's terms are among the series'.
                let place = |term: &Term| series.terms.iter().position(|other| other == term);
                let sums: Vec<i128> =
                    window.terms.iter().filter_map(place).map(|place| sums[place]).collect();
                let view = View {
                    at,
                    count: u64::try_from(count.max(0)).unwrap_or(u64::MAX),
                    sums: &sums,
                    accumulators: &[],
                    ends: None,
                    own: &[],
                };
                out[column.column] = column.finish(&view);
            }
        }
        self.plan.finish(event, out);
        Ok(())
    }

    fn measures(&self, stream: &StreamPlan, event: &E) -> Vec<i64> {
        let measures = stream.measures.iter();
        measures.map(|measure| self.plan.measure(*measure, event, || None)).collect()
    }
}

/// Whether a window adds up labels.
fn labels(stream: &StreamPlan, window: &WindowPlan) -> bool {
    let is_label = |measure: &Measure| matches!(measure, Measure::Bad { .. } | Measure::Labelled);
    window.terms.iter().any(|term| match term {
        Term::Value(measure) | Term::Square(measure) => is_label(&stream.measures[*measure]),
    })
}

/// Why a window's edges do not lie between tiles.
fn refusal(window: &WindowPlan) -> Option<&'static str> {
    match (window.reach, window.delay, window.current) {
        (Reach::Last(_) | Reach::Newest { .. }, ..) => {
            Some("an exact width begins inside a tile; use Width::Sawtooth")
        }
        (_, 1.., _) => Some("with a delay it ends inside a tile"),
        (.., Current::StrictPast) => Some("a tile does not tell events of one moment apart"),
        _ => None,
    }
}

/// The sums of one tile.
#[derive(Debug, Default)]
struct Tile {
    count: i64,
    /// By term.
    sums: Vec<i128>,
}

impl TileStream {
    fn new(stream: &StreamPlan) -> Self {
        let mut tiles = TileStream { series: Vec::new(), of_window: Vec::new() };
        for window in &stream.windows {
            let grid = Grid::of(window.reach);
            let known = tiles.series.iter().position(|series| series.grid == grid);
            let s = known.unwrap_or(tiles.series.len());
            if known.is_none() {
                tiles.series.push(Series { grid, terms: Vec::new() });
            }
            for term in &window.terms {
                if !tiles.series[s].terms.contains(term) {
                    tiles.series[s].terms.push(*term);
                }
            }
            tiles.of_window.push(s);
        }
        tiles
    }

    /// Counters by name as tiles by series and position.
    fn read(&self, counters: &[(String, i64)]) -> Result<BTreeMap<(usize, i64), Tile>> {
        let mut tiles: BTreeMap<(usize, i64), Tile> = BTreeMap::new();
        for (name, value) in counters {
            let mut parts = name.splitn(3, ':');
            let mut next = || parts.next().and_then(|part| part.parse::<i64>().ok());
            let place = (next(), next(), next());
            let foreign =
                || Error::corrupt("shared features", format!("there is a counter {name:?}"));
            let (Some(s), Some(tile), Some(counter)) = place else { return Err(foreign()) };
            let s = usize::try_from(s).ok().filter(|s| *s < self.series.len());
            let s = s.ok_or_else(foreign)?;
            let n_terms = self.series[s].terms.len();
            let counter = usize::try_from(counter).ok().filter(|n| *n <= n_terms * LIMBS);
            let tile =
                tiles.entry((s, tile)).or_insert_with(|| Tile { count: 0, sums: vec![0; n_terms] });
            match counter.ok_or_else(foreign)?.checked_sub(1) {
                None => tile.count = *value,
                Some(limb) => {
                    let part = i128::from(*value) << (LIMB * (limb % LIMBS) as u32);
                    add(&mut tile.sums[limb / LIMBS], part);
                }
            }
        }
        Ok(tiles)
    }
}

/// A number in parts, the highest one signed.
fn limbs(value: i128) -> [i64; LIMBS] {
    let mut rest = value;
    let mut limbs = [0; LIMBS];
    for limb in &mut limbs[..LIMBS - 1] {
        *limb = (rest & 0xFFFF_FFFF) as i64;
        rest >>= LIMB;
    }
    limbs[LIMBS - 1] = rest as i64; // 32 bits are left
    limbs
}

impl Grid {
    fn of(reach: Reach) -> Self {
        match reach {
            Reach::Last(width) | Reach::Newest { width, .. } => Grid::Hop(width),
            Reach::Sawtooth { hop, .. } => Grid::Hop(hop),
            Reach::CalendarDays { zone, .. } => Grid::Day(zone),
            Reach::Lifetime => Grid::Ever,
        }
    }

    /// The tile of an event at `at`.
    fn tile(self, at: i64) -> i64 {
        match self {
            Grid::Hop(hop) => at.saturating_sub(1).div_euclid(hop),
            Grid::Day(zone) => zone.day(Timestamp::from_micros(at)),
            Grid::Ever => 0,
        }
    }

    /// The first tile of a window of an event at `at`: the one just after its left edge.
    fn first(self, window: &WindowPlan, at: i64) -> i64 {
        match self {
            Grid::Ever => 0,
            grid => grid.tile(window.start(at).saturating_add(1)),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, .. ProptestConfig::default() })]

        #[test]
        fn parts_of_numbers_add_up_to_the_sum_of_the_numbers(values in prop::collection::vec(any::<i64>(), 1..20)) {
            for power in [1, 2] {
                let sum: i128 = values.iter().map(|value| i128::from(*value).pow(power) / 32).sum();
                let mut parts = [0; LIMBS];
                for value in &values {
                    let limbs = limbs(i128::from(*value).pow(power) / 32);
                    parts.iter_mut().zip(limbs).for_each(|(part, limb)| *part += limb);
                }
                let back = parts.iter().rev().fold(0_i128, |back, part| (back << LIMB) + i128::from(*part));
                prop_assert_eq!(back, sum);
            }
        }

        #[test]
        fn a_window_is_whole_tiles(at in -1_000_000_i64..1_000_000, age in 0_i64..200_000, hop in 1_i64..5_000, width in 1_i64..100_000) {
            let reach = Reach::Sawtooth { width, hop };
            let window = WindowPlan { reach, delay: 0, current: Current::Include, fold: None, terms: Vec::new(), first_term: 0 };
            let grid = Grid::of(reach);
            let event = at - age;
            let inside = event > window.start(at);
            prop_assert_eq!(grid.tile(event) >= grid.first(&window, at), inside);
        }
    }
}
