//! A bound window: where its edges are, and how a column is read off what it holds.

use crate::feature::accumulator::{Accumulator, Entry, MEASURES};
use crate::feature::definition::Current;
use crate::feature::zone::LocalTime;
use crate::time::Timestamp;

#[derive(Debug, Clone, PartialEq)]
pub(super) struct WindowPlan {
    pub(super) reach: Reach,
    pub(super) delay: i64,
    pub(super) current: Current,
    /// Where it stands among the stream's windows that fold, if it does: such a window sees whole tiles, keeps sums of them
    /// and no events.
    pub(super) fold: Option<usize>,
    /// What is added up over the window's events.
    pub(super) terms: Vec<Term>,
    /// Where its sums start among those of all windows of the stream.
    pub(super) first_term: usize,
}

/// A [`Width`](crate::feature::Width) in microseconds, ready for the hot path.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Reach {
    Last(i64),
    Sawtooth {
        width: i64,
        hop: i64,
    },
    CalendarDays {
        days: i64,
        zone: LocalTime,
    },
    Lifetime,
    /// The newest `most` events of the last `width`.
    Newest {
        width: i64,
        most: u64,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Term {
    Value(usize),
    Square(usize),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct WindowColumn {
    pub(super) column: usize,
    pub(super) window: usize,
    pub(super) value: WindowValue,
    pub(super) empty: f64,
    /// Where it stands among the stream's columns of which this one is read where its window is full.
    pub(super) when_full: Option<usize>,
}

/// Positions refer to the window's terms and to the stream's measures and accumulators.
#[derive(Debug, Clone, Copy)]
pub(super) enum WindowValue {
    Count,
    Sum { term: usize, scale: f64 },
    Mean { term: usize, scale: f64 },
    StandardDeviation { term: usize, square: usize, scale: f64 },
    Share { part: usize, whole: usize },
    Extreme { accumulator: usize, scale: f64 },
    Quantile { accumulator: usize, q: f64, scale: f64 },
    First { measure: usize, scale: f64 },
    Last { measure: usize, scale: f64 },
    SinceFirst,
    SinceLast,
    Distinct { accumulator: usize },
    CountPer { accumulator: usize },
    DistinctPer { pairs: usize, days: usize },
    TopShare { accumulator: usize, k: usize },
    Entropy { accumulator: usize },
    CountSame { accumulator: usize, measure: usize },
    ShareSame { accumulator: usize, measure: usize },
    ShareAbove { accumulator: usize, baseline: usize, q: f64 },
}

/// The first and the last event of a window.
pub(super) type Ends<'a> = Option<(&'a Entry, &'a Entry)>;

/// What a window holds when a column is read off it.
pub(super) struct View<'a, S> {
    pub(super) at: i64,
    pub(super) count: u64,
    pub(super) sums: &'a [S],
    /// The stream's, of all windows.
    pub(super) accumulators: &'a [Accumulator],
    pub(super) ends: Ends<'a>,
    /// Measures of the event that asks; empty where there is none.
    pub(super) own: &'a [i64],
}

/// A whole number that a window has added up: 128 bits live, 64 in batch where they are known to do.
pub(super) trait Sum: Copy + Into<i128> {
    /// The nearest float, ties to even.
    fn to_f64(self) -> f64;
}

impl Sum for i64 {
    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl Sum for i128 {
    fn to_f64(self) -> f64 {
        // Both round to the nearest; the conversion from i64 is a single instruction.
        match i64::try_from(self) {
            Ok(small) => small as f64,
            Err(_) => wide_to_f64(self),
        }
    }
}

/// Adds to a sum. One of values near 2⁶³ squared may go round: what leaves a window takes back what it entered with even
/// then.
#[inline]
pub(super) fn add(sum: &mut i128, part: i128) {
    *sum = sum.wrapping_add(part);
}

/// Apart, or the compiler takes this way for all numbers.
#[cold]
#[inline(never)]
fn wide_to_f64(value: i128) -> f64 {
    value as f64
}

impl WindowPlan {
    /// The window's right edge: it sees events up to and including this moment.
    #[inline]
    pub(super) fn end(&self, at: i64) -> i64 {
        at.saturating_sub(self.delay)
    }

    /// The window's left edge: it sees events after this moment. Never moves back as `at` moves on.
    #[inline]
    pub(super) fn start(&self, at: i64) -> i64 {
        let end = self.end(at);
        match self.reach {
            Reach::Last(width) | Reach::Newest { width, .. } => end.saturating_sub(width),
            Reach::Sawtooth { width, hop } => {
                end.saturating_sub(width).div_euclid(hop).saturating_mul(hop)
            }
            Reach::CalendarDays { days, zone } => {
                let first = zone.day(Timestamp::from_micros(end)) - days + 1;
                zone.start_of(first).micros().saturating_sub(1) // midnight itself is inside
            }
            Reach::Lifetime => i64::MIN,
        }
    }

    /// Most events that it holds: older ones leave it before their time.
    #[inline]
    pub(super) fn most(&self) -> u64 {
        match self.reach {
            Reach::Newest { most, .. } => most,
            _ => u64::MAX,
        }
    }

    /// Where its sums are among those of all windows of the stream.
    pub(super) fn sums(&self) -> std::ops::Range<usize> {
        self.first_term..self.first_term + self.terms.len()
    }

    pub(super) fn is_lifetime(&self) -> bool {
        self.reach == Reach::Lifetime
    }

    pub(super) fn folds(&self) -> bool {
        self.fold.is_some()
    }

    /// Number of the tile that holds a moment: tiles are as wide as the steps of the start, open on the left and closed on
    /// the right as the window is, and there is only one of what has no steps.
    pub(super) fn tile(&self, time: i64) -> i64 {
        match self.reach {
            Reach::Sawtooth { hop, .. } => time.saturating_sub(1).div_euclid(hop),
            _ => 0,
        }
    }

    /// The last moment of a tile.
    pub(super) fn tile_end(&self, tile: i64) -> i64 {
        match self.reach {
            Reach::Sawtooth { hop, .. } => tile.saturating_add(1).saturating_mul(hop),
            _ => i64::MAX,
        }
    }

    /// Whether an event at (time, id) `event` has come into view of one that asks at `asking`.
    #[inline]
    pub(super) fn enters(&self, event: (i64, i64), asking: (i64, i64)) -> bool {
        match (self.delay, self.current) {
            (0, Current::Exclude) => event < asking,
            (0, Current::Include) => event <= asking,
            (0, Current::StrictPast) => event.0 < asking.0,
            _ => event.0 <= self.end(asking.0),
        }
    }
}

impl Term {
    /// What an event adds.
    pub(super) fn of_entry(self, entry: &Entry) -> i128 {
        self.of(&entry[MEASURES..])
    }

    /// What an event with these measures adds.
    pub(super) fn of(self, measures: &[i64]) -> i128 {
        match self {
            Term::Value(position) => i128::from(measures[position]),
            Term::Square(position) => i128::from(measures[position]).pow(2),
        }
    }
}

impl WindowColumn {
    /// The one expression that both drivers end with. Sums are whole numbers and accumulators depend on the events alone,
    /// so nothing depends on order before this line.
    #[inline]
    pub(super) fn finish<S: Sum>(&self, view: &View<'_, S>) -> f64 {
        let count = view.count as f64;
        let value = match self.value {
            WindowValue::Count => return count,
            WindowValue::Sum { term, scale } => view.sums[term].to_f64() / scale,
            WindowValue::Mean { .. } if view.count == 0 => f64::NAN,
            WindowValue::Mean { term, scale } => view.sums[term].to_f64() / (count * scale),
            WindowValue::StandardDeviation { .. } if view.count < 2 => f64::NAN,
            WindowValue::StandardDeviation { term, square, scale } => {
                let (sum, squares): (i128, i128) =
                    (view.sums[term].into(), view.sums[square].into());
                let n = i128::from(view.count);
                // n·Σx² − (Σx)² in whole numbers: no cancellation, as long as it fits.
                let spread = squares.checked_mul(n).zip(sum.checked_mul(sum));
                let spread = match spread.and_then(|(squares, sum)| squares.checked_sub(sum)) {
                    Some(spread) => spread.to_f64(),
                    None => count * squares.to_f64() - sum.to_f64() * sum.to_f64(),
                };
                (spread.max(0.0) / (count * (count - 1.0))).sqrt() / scale
            }
            WindowValue::Share { part, whole } => {
                ratio(view.sums[part].to_f64(), view.sums[whole].to_f64())
            }
            _ => self.beyond_sums(view),
        };
        if value.is_nan() { self.empty } else { value }
    }

    /// What sums are not enough for.
    fn beyond_sums<S>(&self, view: &View<'_, S>) -> f64 {
        let count = view.count as f64;
        match self.value {
            WindowValue::Extreme { accumulator, scale } => {
                view.accumulators[accumulator].extreme().map_or(f64::NAN, |v| v as f64 / scale)
            }
            WindowValue::Quantile { accumulator, q, scale } => {
                view.accumulators[accumulator].quantile(q).map_or(f64::NAN, |v| v / scale)
            }
            WindowValue::First { measure, scale } => {
                view.first().map_or(f64::NAN, |e| e[MEASURES + measure] as f64 / scale)
            }
            WindowValue::Last { measure, scale } => {
                view.last().map_or(f64::NAN, |e| e[MEASURES + measure] as f64 / scale)
            }
            WindowValue::SinceFirst => view.since(view.first()),
            WindowValue::SinceLast => view.since(view.last()),
            WindowValue::Distinct { accumulator } => view.accumulators[accumulator].distinct(),
            WindowValue::CountPer { accumulator } => {
                ratio(count, view.accumulators[accumulator].distinct())
            }
            WindowValue::DistinctPer { pairs, days } => {
                let pairs = view.accumulators[pairs].distinct();
                ratio(pairs, view.accumulators[days].distinct())
            }
            WindowValue::TopShare { accumulator, k } => {
                let frequencies = view.accumulators[accumulator].frequencies();
                let top: u64 = frequencies.iter().take(k).map(|n| u64::from(*n)).sum();
                ratio(top as f64, count)
            }
            WindowValue::Entropy { .. } if view.count == 0 => f64::NAN,
            WindowValue::Entropy { accumulator } => {
                let term = |n: u32| {
                    let share = f64::from(n) / count;
                    -share * share.ln()
                };
                view.accumulators[accumulator].frequencies().into_iter().map(term).sum::<f64>()
                    + 0.0
            }
            WindowValue::CountSame { accumulator, measure } => {
                view.same(accumulator, measure).map_or(f64::NAN, f64::from)
            }
            WindowValue::ShareSame { accumulator, measure } => {
                let same = view.same(accumulator, measure).map_or(f64::NAN, f64::from);
                ratio(same, count)
            }
            WindowValue::ShareAbove { accumulator, baseline, q } => {
                let values = view.accumulators[accumulator].sorted();
                match view.accumulators[baseline].quantile(q) {
                    Some(cut) => {
                        let above = values.len() - values.partition_point(|v| *v as f64 <= cut);
                        ratio(above as f64, values.len() as f64)
                    }
                    None => f64::NAN,
                }
            }
            _ => f64::NAN, // sums, which are read before
        }
    }

    /// Whether sums are all it needs.
    pub(super) fn is_additive(&self) -> bool {
        matches!(
            self.value,
            WindowValue::Count
                | WindowValue::Sum { .. }
                | WindowValue::Mean { .. }
                | WindowValue::StandardDeviation { .. }
                | WindowValue::Share { .. }
        )
    }

    /// Whether it looks at the window's first or last event.
    pub(super) fn needs_ends(&self) -> bool {
        matches!(
            self.value,
            WindowValue::First { .. }
                | WindowValue::Last { .. }
                | WindowValue::SinceFirst
                | WindowValue::SinceLast
        )
    }
}

impl<S> View<'_, S> {
    /// The first event, if there is one.
    fn first(&self) -> Option<&Entry> {
        self.ends.map(|(first, _)| first).filter(|entry| !entry.is_empty())
    }

    fn last(&self) -> Option<&Entry> {
        self.ends.map(|(_, last)| last).filter(|entry| !entry.is_empty())
    }

    fn since(&self, entry: Option<&Entry>) -> f64 {
        entry.map_or(f64::NAN, |entry| self.at.saturating_sub(entry[0]) as f64 / 1e6)
    }

    fn same(&self, accumulator: usize, measure: usize) -> Option<u32> {
        let value = self.own.get(measure)?;
        Some(self.accumulators[accumulator].count_of(*value))
    }
}

fn ratio(part: f64, whole: f64) -> f64 {
    if whole == 0.0 { f64::NAN } else { part / whole }
}
