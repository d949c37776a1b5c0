//! Sums of derivatives per bin: where most of the time of training goes.
//!
//! Sums are whole numbers. Each row's first and second derivative is rounded to a multiple of a unit, up or down by a
//! seeded chance so that nothing is lost on average, and packed with a count into one 64-bit *cell*; adding two cells is
//! one addition, and a bin of a histogram costs one load and one store per row. Whole numbers add up to the same sum in any
//! order, so threads change nothing, and a parent less one child is the other child exactly.

use crate::model::tree::grow::binning::{Binned, GROUP};
use crate::parallel;

/// Bins of one feature in scratch memory: indexed by a byte, so without a check.
type Bins<C> = [C; 256];

/// Most rows that training takes: as many can be told apart in a [`Sum`].
pub(crate) const MAX_ROWS: usize = (1 << ROW_BITS) - 1;
const ROW_BITS: u32 = 26;

/// What the rows of a bin, or of a node, add up to. Histograms are read and written whole several times per node, so two
/// of its three numbers share a word.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Sum {
    first: i64,
    /// 38 bits of second derivatives, 26 of rows.
    rest: u64,
}

impl Sum {
    #[inline]
    pub(crate) fn new(first: i64, second: u64, rows: u64) -> Self {
        Sum { first, rest: second << ROW_BITS | rows }
    }

    /// First derivatives (of a forest: draws of bad rows), in units.
    #[inline]
    pub(crate) fn first(self) -> i64 {
        self.first
    }

    /// Second derivatives (of a forest: draws), in units.
    #[inline]
    pub(crate) fn second(self) -> u64 {
        self.rest >> ROW_BITS
    }

    /// Rows (of a forest: draws).
    #[inline]
    pub(crate) fn rows(self) -> u64 {
        self.rest & MAX_ROWS as u64
    }

    #[inline]
    pub(crate) fn plus(self, other: Sum) -> Sum {
        Sum { first: self.first + other.first, rest: self.rest + other.rest }
    }

    /// `other` must be a part of `self`.
    #[inline]
    pub(crate) fn minus(self, other: Sum) -> Sum {
        Sum { first: self.first - other.first, rest: self.rest.wrapping_sub(other.rest) }
    }
}

/// One row's share in a histogram, and what up to `ROWS` of them add up to.
pub(crate) trait Cell: Copy + Default + Send + Sync {
    /// As many can be added before a field could run over.
    const ROWS: usize;
    fn add(&mut self, other: Self);
    fn sum(self) -> Sum;
    fn is_empty(self) -> bool;
}

/// Two derivatives and a count in 64 bits: 27, 23 and 14 of them.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PackedCell(u64);

/// Largest first derivative in a [`PackedCell`], in units; and largest second one.
pub(crate) const PACKED_FIRST: f64 = 8_191.0;
pub(crate) const PACKED_SECOND: f64 = 1_023.0;
/// Added to a first derivative so that the field is never negative.
const BIAS: i64 = 8_192;

impl PackedCell {
    /// `first` within ±[`PACKED_FIRST`], `second` within 0 and [`PACKED_SECOND`].
    #[inline]
    pub(crate) fn new(first: i64, second: i64) -> Self {
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
        let rows = self.0 & 0x3fff;
        Sum::new((self.0 >> 37) as i64 - BIAS * rows as i64, (self.0 >> 14) & 0x7f_ffff, rows)
    }

    #[inline]
    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// How often a row was drawn, if it is bad in the upper half as well: 32 bits each. Rows count as often as they were drawn.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct DrawCell(u64);

impl DrawCell {
    pub(crate) fn new(draws: u32, bad: bool) -> Self {
        let bad = if bad { u64::from(draws) << 32 } else { 0 };
        DrawCell(bad | u64::from(draws))
    }
}

impl Cell for DrawCell {
    // Training draws no more than MAX_ROWS in all.
    const ROWS: usize = usize::MAX;

    #[inline]
    fn add(&mut self, other: Self) {
        self.0 += other.0;
    }

    #[inline]
    fn sum(self) -> Sum {
        let draws = u64::from(self.0 as u32);
        Sum::new((self.0 >> 32) as i64, draws, draws)
    }

    #[inline]
    fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// As many bits as a [`Sum`] has: where weights differ too much, or rows are too few, to round.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct WideCell(pub(crate) Sum);

/// Largest derivatives in a [`WideCell`], in units: [`MAX_ROWS`] of the first and `n_rows` of the second add up without
/// running over.
pub(crate) fn wide(n_rows: usize) -> (f64, f64) {
    ((1_u64 << 36) as f64, ((1_u64 << 37) / n_rows as u64) as f64)
}

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

    #[inline]
    fn is_empty(self) -> bool {
        self.0.rest == 0
    }
}

/// Where each feature's bins begin in a node's histogram, and where the last one's end. Each feature's last bin is that of
/// missing values.
pub(crate) fn offsets(data: &Binned) -> Vec<usize> {
    let mut offsets = vec![0];
    for feature in &data.features {
        offsets.push(offsets[offsets.len() - 1] + feature.n_values() + 1);
    }
    offsets
}

/// Rows that are added together: their cells, and with luck their lines, stay in the nearest caches.
const CHUNK: usize = 1 << 13;
/// Rows whose lines are fetched together.
const GATHER: usize = 1 << 9;

/// Adds rows to the histograms of the features of some groups of eight; `out` begins with the first group's first bin.
/// O(rows × features).
pub(crate) fn add_rows<C: Cell>(
    data: &Binned,
    offsets: &[usize],
    groups: std::ops::Range<usize>,
    rows: &[u32],
    cells: &[C],
    out: &mut [Sum],
) {
    let mut scratch: Box<[Bins<C>; GROUP]> = Box::new([[C::default(); 256]; GROUP]);
    let n_chunk = rows.len().min(CHUNK);
    let mut words = vec![0; n_chunk * groups.len()];
    let mut gathered = Vec::with_capacity(n_chunk);
    let start = offsets[groups.start * GROUP];
    for rows in rows.chunks(CHUNK) {
        let first = rows[0] as usize;
        // Rows without a gap, as in the root, are read where they are.
        let in_place = rows[rows.len() - 1] as usize - first + 1 == rows.len();
        if !in_place {
            // Fetched by themselves first: nothing but loads, so that many are under way at once; few enough rows at a
            // time that the next group finds their lines in the nearest cache.
            gathered.clear();
            gathered.extend(rows.iter().map(|&row| cells[row as usize]));
            for (i, rows) in rows.chunks(GATHER).enumerate() {
                for (g, group) in groups.clone().enumerate() {
                    let words = &mut words[g * n_chunk + i * GATHER..][..rows.len()];
                    for (word, &row) in words.iter_mut().zip(rows) {
                        *word = data.lines[row as usize * data.n_groups + group];
                    }
                }
            }
        }
        for (g, group) in groups.clone().enumerate() {
            let features = group * GROUP..data.features.len().min((group + 1) * GROUP);
            if in_place {
                let cells = &cells[first..first + rows.len()];
                let words =
                    data.lines[first * data.n_groups + group..].iter().step_by(data.n_groups);
                add_words(features.len(), words, cells, &mut scratch);
            } else {
                add_words(features.len(), words[g * n_chunk..].iter(), &gathered, &mut scratch);
            }
            for (bins, feature) in scratch.iter_mut().zip(features) {
                let out = &mut out[offsets[feature] - start..offsets[feature + 1] - start];
                for (out, bin) in out.iter_mut().zip(bins.iter_mut()) {
                    if !bin.is_empty() {
                        *out = out.plus(bin.sum());
                        *bin = C::default();
                    }
                }
            }
        }
    }
}

/// What all rows add up to.
pub(crate) fn total<C: Cell>(rows: &[u32], cells: &[C], parallel: bool) -> Sum {
    let add = |rows: &[u32]| {
        let mut sum = C::default();
        rows.iter().for_each(|&row| sum.add(cells[row as usize]));
        sum.sum()
    };
    let chunks = rows.chunks(C::ROWS.min(CHUNK));
    let sums: Vec<Sum> = match parallel {
        true => parallel::map(&chunks.collect::<Vec<_>>(), |rows| add(rows)),
        false => chunks.map(add).collect(),
    };
    sums.into_iter().fold(Sum::default(), Sum::plus)
}

/// Adds cells to the bins of up to eight features: byte by byte of each row's word.
fn add_words<'a, C: Cell>(
    n: usize,
    words: impl Iterator<Item = &'a u64>,
    cells: &[C],
    scratch: &mut [Bins<C>; GROUP],
) {
    // One copy per number of features, so that the inner loop has no end to check.
    match n {
        1 => add_lanes::<C, 1>(words, cells, scratch),
        2 => add_lanes::<C, 2>(words, cells, scratch),
        3 => add_lanes::<C, 3>(words, cells, scratch),
        4 => add_lanes::<C, 4>(words, cells, scratch),
        5 => add_lanes::<C, 5>(words, cells, scratch),
        6 => add_lanes::<C, 6>(words, cells, scratch),
        7 => add_lanes::<C, 7>(words, cells, scratch),
        _ => add_lanes::<C, 8>(words, cells, scratch),
    }
}

fn add_lanes<'a, C: Cell, const N: usize>(
    words: impl Iterator<Item = &'a u64>,
    cells: &[C],
    scratch: &mut [Bins<C>; GROUP],
) {
    for (&cell, &word) in cells.iter().zip(words) {
        for (lane, bins) in scratch.iter_mut().take(N).enumerate() {
            bins[(word >> (8 * lane)) as u8 as usize].add(cell);
        }
    }
}

/// Adds rows to the histogram of one feature; `cells` stand in the order of `rows`. `scratch` holds a cell per bin, all
/// zero before and after. O(rows + bins).
pub(crate) fn add_column<C: Cell, B: Copy + Into<usize>>(
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
            if !bin.is_empty() {
                *out = out.plus(bin.sum());
                *bin = C::default();
            }
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
            let n = PackedCell::ROWS as u64;
            let expected = Sum::new(first as i64 * n as i64, PACKED_SECOND as u64 * n, n);
            assert_eq!(cell.sum(), expected);
        }
        let mut draws = DrawCell::new(MAX_ROWS as u32 - 1, true);
        draws.add(DrawCell::new(1, false));
        let all = MAX_ROWS as u64;
        assert_eq!(draws.sum(), Sum::new(all as i64 - 1, all, all));
        let (first, second) = wide(MAX_ROWS);
        let most = Sum::new((first as i64) * MAX_ROWS as i64, second as u64 * all, all);
        assert_eq!((most.second(), most.rows()), (second as u64 * all, all));
        assert_eq!(most.minus(Sum::new(-5, 7, 1)).plus(Sum::new(-5, 7, 1)), most);
    }
}
