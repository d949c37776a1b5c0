//! Derivatives of the loss at every row's margin, rounded to whole units for the histograms.

use std::sync::atomic::{AtomicBool, Ordering};

use crate::error::{Error, Result};
use crate::model::tree::grow::{
    Cell, PACKED_FIRST, PACKED_SECOND, PackedCell, Sum, WideCell, wide,
};
use crate::model::tree::objective::Objective;
use crate::parallel;
use crate::seed::Seed;

/// Rows that one thread takes at a time: their margins stay in its caches while tree and loss go over them.
const SPAN: usize = 1 << 14;
/// Rows whose derivatives are computed together.
const BLOCK: usize = 1 << 12;

/// Derivatives so small are none: single precision has room below them for the units of a [`WideCell`].
const NOTHING: f64 = 1e-25;

/// The loss of the training rows.
pub(super) struct Loss<'a> {
    objective: &'a dyn Objective,
    targets: &'a [f64],
    weights: Option<&'a [f64]>,
    /// The objective's own, and what they are times the largest weight; `None` where it knows none.
    bounds: Option<Bounds>,
    /// How often a row may come to count.
    room: f64,
}

#[derive(Debug, Clone, Copy)]
struct Bounds {
    of_objective: (f32, f32),
    weighted: (f64, f64),
}

/// A cell that takes derivatives, rounded to whole units.
pub(super) trait GradientCell: Cell {
    /// Largest derivatives, in units.
    fn largest(n_rows: usize) -> (f64, f64);

    /// Rounds the derivatives of a row, which are in units; where that is a matter of chance, by the row's own.
    fn rounded(first: f32, second: f32, row: u64, seed: Seed) -> Self;

    /// As if there were `times` as many of this row.
    #[inline]
    fn times(self, times: f64, row: u64, seed: Seed) -> Self {
        let (first, second) = (self.sum().first() as f64, self.sum().second() as f64);
        Self::rounded((first * times) as f32, (second * times) as f32, row, seed)
    }
}

impl GradientCell for PackedCell {
    fn largest(_: usize) -> (f64, f64) {
        (PACKED_FIRST, PACKED_SECOND)
    }

    #[inline]
    fn rounded(first: f32, second: f32, row: u64, seed: Seed) -> Self {
        round_by_chance(first, second, chances(row, seed))
    }
}

impl GradientCell for WideCell {
    fn largest(n_rows: usize) -> (f64, f64) {
        wide(n_rows)
    }

    #[inline]
    fn rounded(first: f32, second: f32, _: u64, _: Seed) -> Self {
        // With units this small a float is a whole number of them already, or next to one.
        WideCell(Sum::new(first as i64, second as u64, 1))
    }
}

/// Up or down, so that nothing is lost on average; `chances` are two numbers in 0..1.
#[inline]
fn round_by_chance(first: f32, second: f32, chances: (f32, f32)) -> PackedCell {
    // Added to 2^23 a float keeps nothing behind the point: its low bits are the number, rounded to the nearest, and
    // with a chance less one half that is up or down by chance. No branch, no conversion. Below 2^23 there would be
    // room behind the point again, and the bits would say something else.
    const WHOLE: f32 = 8_388_608.0;
    let bits = |x: f32| (x.max(0.0) + WHOLE).to_bits() & 0x7f_ffff;
    let largest = PACKED_FIRST as f32;
    let first = first.clamp(-largest, largest) + largest + (chances.0 - 0.5);
    let second = second.clamp(0.0, PACKED_SECOND as f32) + (chances.1 - 0.5);
    PackedCell::new(i64::from(bits(first)) - PACKED_FIRST as i64, i64::from(bits(second)))
}

/// Two numbers in 0..1, each row's own in each round: the mixing step of wyrand (Wang Yi), two multiplications. A single one
/// gives rows at certain distances nearly the same numbers.
#[inline]
pub(super) fn chances(row: u64, seed: Seed) -> (f32, f32) {
    let state = seed.0.wrapping_add(row.wrapping_mul(0xa076_1d64_78bd_642f));
    let product = u128::from(state) * u128::from(state ^ 0xe703_7ed1_a0b4_28db);
    let mixed = (product >> 64) as u64 ^ product as u64;
    let unit = 1.0 / 16_777_216.0;
    (((mixed >> 40) as i32) as f32 * unit, ((mixed >> 16) as i32 & 0xff_ffff) as f32 * unit)
}

impl<'a> Loss<'a> {
    /// `targets` and `weights` are one per row; cells get room for `room` times their derivatives.
    ///
    /// # Errors
    /// `InvalidInput` for an objective whose bounds are not finite and positive.
    pub(super) fn new(
        objective: &'a dyn Objective,
        targets: &'a [f64],
        weights: Option<&'a [f64]>,
        room: f64,
    ) -> Result<Self> {
        let bounds = match objective.bounds() {
            None => None,
            Some((first, second)) => {
                if ![first, second].iter().all(|bound| bound.is_finite() && *bound > 0.0) {
                    return Err(Error::input("objective", "its bounds must be finite and above 0"));
                }
                let largest = |weights: &[f64]| weights.iter().copied().fold(0.0, f64::max);
                let weight = weights.map_or(1.0, largest);
                let of_objective = ((first as f32).next_up(), (second as f32).next_up());
                Some(Bounds { of_objective, weighted: (first * weight, second * weight) })
            }
        };
        Ok(Loss { objective, targets, weights, bounds, room })
    }

    /// The next round: `take_up` adds the latest tree to the margins of the rows from a given one on, and `cells` get the
    /// derivatives there, rounded to units. Gives the units of the first and the second. One pass over the rows, two where
    /// the objective knows no bounds.
    ///
    /// # Errors
    /// `InvalidInput` for derivatives that are not finite or beyond the objective's own bounds, or a negative second one.
    pub(super) fn step<C: GradientCell>(
        &self,
        margins: &mut [f64],
        cells: &mut [C],
        take_up: impl Fn(usize, &mut [f64]) + Sync + Send,
        seed: Seed,
    ) -> Result<(f64, f64)> {
        let largest = C::largest(margins.len());
        let sound = AtomicBool::new(true);
        let bounds = match self.bounds {
            Some(bounds) => bounds.weighted,
            None => {
                let mut spans: Vec<_> =
                    margins.chunks_mut(SPAN).map(|margins| (margins, (NOTHING, NOTHING))).collect();
                let of_spans = spans.iter_mut().enumerate().collect();
                parallel::for_each(of_spans, |(i, (margins, most)): (usize, &mut Span<'_>)| {
                    take_up(i * SPAN, margins);
                    self.by_block(i * SPAN, margins, &sound, |_, first, second| {
                        *most = (most.0.max(largest_of(first)), most.1.max(largest_of(second)));
                    });
                });
                let of_all = |all: (f64, f64), of: (f64, f64)| (all.0.max(of.0), all.1.max(of.1));
                spans.into_iter().map(|(_, most)| most).fold((NOTHING, NOTHING), of_all)
            }
        };
        let units = (bounds.0 * self.room / largest.0, bounds.1 * self.room / largest.1);
        let scale = (units.0.recip() as f32, units.1.recip() as f32);
        let spans = margins.chunks_mut(SPAN).zip(cells.chunks_mut(SPAN)).enumerate().collect();
        parallel::for_each(spans, |(i, (margins, cells)): (usize, (&mut [f64], &mut [C]))| {
            if self.bounds.is_some() {
                take_up(i * SPAN, margins);
            }
            self.by_block(i * SPAN, margins, &sound, |start, first, second| {
                let cells = cells[start - i * SPAN..].iter_mut();
                for (n, (cell, (first, second))) in cells.zip(first.iter().zip(second)).enumerate()
                {
                    let row = (start + n) as u64;
                    *cell = C::rounded(first * scale.0, second * scale.1, row, seed);
                }
            });
        });
        let sound = sound.into_inner() && bounds.0.is_finite() && bounds.1.is_finite();
        let reason =
            "has derivatives that are not finite or beyond its bounds, or a negative second one";
        if sound { Ok(units) } else { Err(Error::input("objective", reason)) }
    }

    /// Weighted derivatives at the margins of the rows from `start` on, block by block with the block's first row.
    fn by_block(
        &self,
        start: usize,
        margins: &[f64],
        all_sound: &AtomicBool,
        mut visit: impl FnMut(usize, &[f32], &[f32]),
    ) {
        let bounds = self.bounds.map_or((f32::MAX, f32::MAX), |bounds| bounds.of_objective);
        let (mut first, mut second) = ([0.0; BLOCK], [0.0; BLOCK]);
        for (i, margins) in margins.chunks(BLOCK).enumerate() {
            let rows = start + i * BLOCK..start + i * BLOCK + margins.len();
            let (first, second) = (&mut first[..margins.len()], &mut second[..margins.len()]);
            self.objective.derivatives(margins, &self.targets[rows.clone()], first, second);
            // Without a way out of the loop, so that it takes four at a time.
            let mut sound = true;
            for (first, second) in first.iter().zip(&*second) {
                sound &= (first.abs() <= bounds.0) & (*second >= 0.0) & (*second <= bounds.1);
            }
            if !sound {
                all_sound.store(false, Ordering::Relaxed);
            }
            if let Some(weights) = self.weights {
                for (i, weight) in weights[rows.clone()].iter().enumerate() {
                    first[i] *= *weight as f32;
                    second[i] *= *weight as f32;
                }
            }
            visit(rows.start, first, second);
        }
    }
}

/// Margins of some rows, and their largest derivatives.
type Span<'a> = (&'a mut [f64], (f64, f64));

fn largest_of(derivatives: &[f32]) -> f64 {
    f64::from(derivatives.iter().fold(0.0_f32, |most, x| most.max(x.abs())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rounded_derivative_is_one_of_its_two_neighbours_and_right_on_average() {
        let (largest, most) = (PACKED_FIRST as f32, PACKED_SECOND as f32);
        for first in [-largest, -largest + 0.3, -1.5, 0.0, 0.1, 77.7, largest - 0.1, largest, 1e9] {
            for second in [0.0, 1e-9, 0.2, 1.0, 500.5, most - 0.01, most, 1e9] {
                let mut sum = Sum::default();
                let n = 1000;
                for i in 0..n {
                    let chance = i as f32 / n as f32;
                    let one = round_by_chance(first, second, (chance, 1.0 - chance - 1e-3)).sum();
                    let (first, second) = (first.min(largest), second.min(most));
                    assert!((one.first() as f32 - first).abs() <= 1.0, "{first} {one:?}");
                    assert!((one.second() as f32 - second).abs() <= 1.0, "{second} {one:?}");
                    sum = sum.plus(one);
                }
                let mean = |sum: f32| sum / n as f32;
                assert!((mean(sum.first() as f32) - first.min(largest)).abs() < 0.01);
                assert!((mean(sum.second() as f32) - second.min(most)).abs() < 0.01);
                assert_eq!(sum.rows(), n as u64);
            }
        }
    }

    #[test]
    fn chances_are_even_and_those_of_rows_a_distance_apart_have_nothing_in_common() {
        let n = 1 << 16;
        // Means of n numbers in 0..1, and of products of pairs of them, have standard errors below 0.29 / √n.
        let bound = 5.0 * 0.29 / f64::from(n).sqrt();
        for seed in [Seed(0), Seed(1), Seed(u64::MAX)] {
            let centred = |row: u32| {
                let (a, b) = chances(u64::from(row), seed);
                assert!((0.0..1.0).contains(&a) && (0.0..1.0).contains(&b));
                (f64::from(a) - 0.5, f64::from(b) - 0.5)
            };
            let mean = |of: &dyn Fn(u32) -> f64| (0..n).map(of).sum::<f64>() / f64::from(n);
            assert!(mean(&|row| centred(row).0).abs() < bound);
            assert!(mean(&|row| centred(row).1).abs() < bound);
            assert!(mean(&|row| centred(row).0 * centred(row).1).abs() < bound);
            // Fibonacci numbers: where multiples of the golden ratio nearly return.
            for distance in [1, 2, 8, 89, 610, 987, 10_946, 1 << 12, 1 << 20] {
                let together = mean(&|row| centred(row).0 * centred(row + distance).0);
                assert!(together.abs() < bound, "{distance}: {together}");
            }
        }
    }
}
