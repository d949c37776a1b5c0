//! Sums of derivatives per bin: where most of the time of training goes.
//!
//! Sums are whole numbers. Each row's first and second derivative is rounded to a multiple of a unit, up or down by a
//! seeded chance so that nothing is lost on average, and packed with a count into one 64-bit *cell*; adding two cells is
//! one addition, and a bin of a histogram costs one load and one store per row. Whole numbers add up to the same sum in any
//! order, so threads change nothing, and a parent less one child is the other child exactly.

use crate::model::tree::binning::{Binned, GROUP};

/// Bins of one feature in scratch memory: indexed by a byte, so without a check.
type Bins<C> = [C; 256];

/// What the rows of a bin, or of a node, add up to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Sum {
    /// First derivatives (of a forest: weight of bad), in units.
    pub(super) first: i64,
    /// Second derivatives (of a forest: weight), in units.
    pub(super) second: i64,
    /// Rows.
    pub(super) rows: i64,
}

impl Sum {
    #[inline]
    pub(super) fn plus(self, other: Sum) -> Sum {
        Sum {
            first: self.first + other.first,
            second: self.second + other.second,
            rows: self.rows + other.rows,
        }
    }

    #[inline]
    pub(super) fn minus(self, other: Sum) -> Sum {
        Sum {
            first: self.first - other.first,
            second: self.second - other.second,
            rows: self.rows - other.rows,
        }
    }
}

/// One row's share in a histogram, and what up to `ROWS` of them add up to.
pub(super) trait Cell: Copy + Default + Send + Sync {
    /// As many can be added before a field could run over.
    const ROWS: usize;
    fn add(&mut self, other: Self);
    fn sum(self) -> Sum;
}

/// Two derivatives and a count in 64 bits: 27, 23 and 14 of them.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct PackedCell(u64);

/// Largest first derivative in a [`PackedCell`], in units; and largest second one.
pub(super) const PACKED_FIRST: f64 = 8_191.0;
pub(super) const PACKED_SECOND: f64 = 1_023.0;
/// Added to a first derivative so that the field is never negative.
const BIAS: i64 = 8_192;

impl PackedCell {
    /// `first` within ±[`PACKED_FIRST`], `second` within 0 and [`PACKED_SECOND`].
    #[inline]
    pub(super) fn new(first: i64, second: i64) -> Self {
        PackedCell(((first + BIAS) as u64) << 37 | (second as u64) << 14 | 1)
    }
}

impl Cell for PackedCell {
    const ROWS: usize = 1 << 13;

    #[inline]
    fn add(&mut self, other: Self) {
        self.0 += other.0;
    }

    #[inline]
    fn sum(self) -> Sum {
        let rows = (self.0 & 0x3fff) as i64;
        let second = ((self.0 >> 14) & 0x7f_ffff) as i64;
        Sum { first: (self.0 >> 37) as i64 - BIAS * rows, second, rows }
    }
}

/// How often a row was drawn, if it is bad in the upper half as well: 32 bits each. Rows count as often as they were drawn.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct DrawCell(u64);

impl DrawCell {
    pub(super) fn new(draws: u32, bad: bool) -> Self {
        DrawCell(u64::from(bad) * (u64::from(draws) << 32) | u64::from(draws))
    }

    pub(super) fn draws(self) -> u32 {
        self.0 as u32
    }
}

impl Cell for DrawCell {
    // Training draws fewer than 2^32 rows in all.
    const ROWS: usize = usize::MAX;

    #[inline]
    fn add(&mut self, other: Self) {
        self.0 += other.0;
    }

    #[inline]
    fn sum(self) -> Sum {
        let draws = i64::from(self.0 as u32);
        Sum { first: (self.0 >> 32) as i64, second: draws, rows: draws }
    }
}

/// Two derivatives of 62 and of about 40 bits and a count: where weights differ too much, or rows are too few, to round.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct WideCell(pub(super) Sum);

/// Largest derivative in a [`WideCell`], in units: 2²⁸ rows of it add up without running over.
pub(super) const WIDE: f64 = (1_u64 << 34) as f64;

impl Cell for WideCell {
    const ROWS: usize = usize::MAX;

    #[inline]
    fn add(&mut self, other: Self) {
        self.0 = self.0.plus(other.0);
    }

    #[inline]
    fn sum(self) -> Sum {
        self.0
    }
}

/// Histograms of all features of a node, one after the other, each with its bin for missing values at the end.
pub(super) type Histogram = Vec<Sum>;

/// Where each feature's bins begin in a [`Histogram`], and where the last one's end.
pub(super) fn offsets(data: &Binned) -> Vec<usize> {
    let mut offsets = vec![0];
    for feature in &data.features {
        offsets.push(offsets[offsets.len() - 1] + feature.n_values() + 1);
    }
    offsets
}

/// Rows that are added together: their cells, and with luck their lines, stay in the nearest caches.
const CHUNK: usize = 1 << 13;

/// Adds rows to the histograms of the features of some groups of eight; `out` begins with the first group's first bin.
/// O(rows × features).
pub(super) fn add_rows<C: Cell>(
    data: &Binned,
    offsets: &[usize],
    groups: std::ops::Range<usize>,
    rows: &[u32],
    cells: &[C],
    out: &mut [Sum],
) {
    let mut scratch: Box<[Bins<C>; GROUP]> = Box::new([[C::default(); 256]; GROUP]);
    let mut gathered = Vec::with_capacity(rows.len().min(CHUNK));
    let start = offsets[groups.start * GROUP];
    for rows in rows.chunks(CHUNK) {
        gathered.clear();
        gathered.extend(rows.iter().map(|&row| cells[row as usize]));
        for group in groups.clone() {
            let features = group * GROUP..data.features.len().min((group + 1) * GROUP);
            let words = Words { lines: &data.lines, n_groups: data.n_groups, group };
            words.add(features.len(), rows, &gathered, &mut scratch);
            for (bins, feature) in scratch.iter_mut().zip(features) {
                let out = &mut out[offsets[feature] - start..offsets[feature + 1] - start];
                for (out, bin) in out.iter_mut().zip(bins.iter_mut()) {
                    *out = out.plus(bin.sum());
                    *bin = C::default();
                }
            }
        }
    }
}

/// The bins of eight features, row by row.
struct Words<'a> {
    lines: &'a [u64],
    n_groups: usize,
    group: usize,
}

impl Words<'_> {
    fn add<C: Cell>(
        &self,
        n_features: usize,
        rows: &[u32],
        cells: &[C],
        scratch: &mut [Bins<C>; GROUP],
    ) {
        // One copy per number of features, so that the inner loop has no end to check.
        match n_features {
            1 => self.add_lanes::<C, 1>(rows, cells, scratch),
            2 => self.add_lanes::<C, 2>(rows, cells, scratch),
            3 => self.add_lanes::<C, 3>(rows, cells, scratch),
            4 => self.add_lanes::<C, 4>(rows, cells, scratch),
            5 => self.add_lanes::<C, 5>(rows, cells, scratch),
            6 => self.add_lanes::<C, 6>(rows, cells, scratch),
            7 => self.add_lanes::<C, 7>(rows, cells, scratch),
            _ => self.add_lanes::<C, 8>(rows, cells, scratch),
        }
    }

    fn add_lanes<C: Cell, const N: usize>(
        &self,
        rows: &[u32],
        cells: &[C],
        scratch: &mut [Bins<C>; GROUP],
    ) {
        for (&row, &cell) in rows.iter().zip(cells) {
            let word = self.lines[row as usize * self.n_groups + self.group];
            for (lane, bins) in scratch.iter_mut().take(N).enumerate() {
                bins[(word >> (8 * lane)) as u8 as usize].add(cell);
            }
        }
    }
}

/// Adds rows to the histogram of one feature; `cells` stand in the order of `rows`. `scratch` holds a cell per bin, all
/// zero before and after. O(rows + bins).
pub(super) fn add_column<C: Cell, B: Copy + Into<usize>>(
    column: &[B],
    rows: &[u32],
    cells: &[C],
    scratch: &mut [C],
    out: &mut [Sum],
) {
    for (rows, cells) in rows.chunks(C::ROWS).zip(cells.chunks(C::ROWS)) {
        for (&row, &cell) in rows.iter().zip(cells) {
            let bin: usize = column[row as usize].into();
            scratch[bin].add(cell);
        }
        for (out, bin) in out.iter_mut().zip(scratch.iter_mut()) {
            *out = out.plus(bin.sum());
            *bin = C::default();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_do_not_run_over_with_the_largest_rows_that_may_be_added() {
        for first in [PACKED_FIRST, -PACKED_FIRST, 0.0] {
            let mut cell = PackedCell::default();
            for _ in 0..PackedCell::ROWS {
                cell.add(PackedCell::new(first as i64, PACKED_SECOND as i64));
            }
            let n = PackedCell::ROWS as i64;
            let expected = Sum { first: first as i64 * n, second: PACKED_SECOND as i64 * n, rows: n };
            assert_eq!(cell.sum(), expected);
        }
        let mut draws = DrawCell::new(u32::MAX - 1, true);
        draws.add(DrawCell::new(1, false));
        let expected = Sum {
            first: i64::from(u32::MAX - 1),
            second: i64::from(u32::MAX),
            rows: i64::from(u32::MAX),
        };
        assert_eq!(draws.sum(), expected);
    }
}
