//! Sums of derivatives per bin: where most of the time of training goes.
//!
//! Sums are whole numbers. Each row's first and second derivative is rounded to a multiple of a unit, up or down by a
//! seeded chance so that nothing is lost on average, and packed with a count into one 64-bit *cell*; adding two cells is
//! one addition, and a bin of a histogram costs one load and one store per row. Whole numbers add up to the same sum in any
//! order, so threads change nothing, and a parent less one child is the other child exactly.

use std::ops::Range;

use crate::model::tree::grow::binning::{Binned, GROUP};
use crate::model::tree::grow::prefetch::prefetch;
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

/// Rows after which scratch memory is emptied into sums, before a field could run over.
const CHUNK: usize = 1 << 13;
/// Rows that are copied into the nearest cache, and added up there group by group.
const BLOCK: usize = 1 << 9;
/// Groups that are copied together.
const COPIED: usize = 4;
/// Rows that are added up between two requests for lines of the next block.
const STRIDE: usize = 16;

/// The bins of a group's features in scratch memory.
pub(crate) type GroupBins<C> = [Bins<C>; GROUP];

/// Adds up the histograms of the features of some groups; `out` begins with the first group's first bin, whatever
/// it held before. `scratch` is room for the groups' bins, all zero before and after. With `PREFETCH` the lines of one block
/// are on their way while the block before is added up. O(rows × features).
pub(crate) fn add_rows<C: Cell, const PREFETCH: bool>(
    data: &Binned,
    offsets: &[usize],
    groups: Range<usize>,
    rows: &[u32],
    cells: &[C],
    scratch: &mut Vec<GroupBins<C>>,
    out: &mut [Sum],
) {
    let (lines, n_groups) = (data.lines(), data.n_groups);
    let fetch = |row: &u32| {
        if PREFETCH {
            prefetch(lines, *row as usize * n_groups + groups.start);
            prefetch(cells, *row as usize);
        }
    };
    scratch.resize(scratch.len().max(groups.len()), [[C::default(); 256]; GROUP]);
    if rows.is_empty() {
        out.fill(Sum::default());
    }
    let mut block_cells = [C::default(); BLOCK];
    let mut block_words = [[0; BLOCK]; COPIED];
    let (mut n_done, start) = (0, offsets[data.of_groups(&groups).start]);
    rows.iter().take(BLOCK).for_each(fetch);
    for chunk in rows.chunks(CHUNK) {
        for block in chunk.chunks(BLOCK) {
            n_done += block.len();
            let next = &rows[n_done..rows.len().min(n_done + BLOCK)];
            let cells_here = &mut block_cells[..block.len()];
            for (cell, &row) in cells_here.iter_mut().zip(block) {
                *cell = cells[row as usize];
            }
            // With each group a share of the next block is asked for.
            let mut shares = next.chunks(next.len().div_ceil(groups.len()).max(1));
            for (first, bins) in groups.clone().step_by(COPIED).zip(scratch.chunks_mut(COPIED)) {
                let words = &mut block_words;
                let n = COPIED.min(groups.end - first);
                match n {
                    1 => copy::<1>(lines, n_groups, first, block, words),
                    2 => copy::<2>(lines, n_groups, first, block, words),
                    3 => copy::<3>(lines, n_groups, first, block, words),
                    _ => copy::<4>(lines, n_groups, first, block, words),
                }
                for ((group, words), bins) in (first..first + n).zip(&*words).zip(bins) {
                    let (words, cells) = (&words[..block.len()], &*cells_here);
                    let share = shares.next().unwrap_or_default();
                    // One copy per number of features, so that the inner loop has no end to check.
                    match data.of_groups(&(group..group + 1)).len() {
                        1 => add_lanes::<C, 1>(words, cells, share, fetch, bins),
                        2 => add_lanes::<C, 2>(words, cells, share, fetch, bins),
                        3 => add_lanes::<C, 3>(words, cells, share, fetch, bins),
                        4 => add_lanes::<C, 4>(words, cells, share, fetch, bins),
                        5 => add_lanes::<C, 5>(words, cells, share, fetch, bins),
                        6 => add_lanes::<C, 6>(words, cells, share, fetch, bins),
                        7 => add_lanes::<C, 7>(words, cells, share, fetch, bins),
                        _ => add_lanes::<C, 8>(words, cells, share, fetch, bins),
                    }
                }
            }
        }
        let is_first = n_done == chunk.len();
        for (group, bins) in groups.clone().zip(&mut *scratch) {
            for (feature, bins) in data.of_groups(&(group..group + 1)).zip(bins) {
                let out = &mut out[offsets[feature] - start..offsets[feature + 1] - start];
                for (out, bin) in out.iter_mut().zip(bins.iter_mut()) {
                    let sum = bin.sum();
                    *out = if is_first { sum } else { out.plus(sum) };
                    *bin = C::default();
                }
            }
        }
    }
}

/// Copies the words of `N` groups from `first` on of some rows, group by group.
#[inline]
fn copy<const N: usize>(
    lines: &[u64],
    n_groups: usize,
    first: usize,
    rows: &[u32],
    to: &mut [[u64; BLOCK]; COPIED],
) {
    for (i, &row) in rows.iter().enumerate() {
        let words = &lines[row as usize * n_groups + first..][..N];
        for (to, word) in to.iter_mut().zip(words) {
            to[i % BLOCK] = *word;
        }
    }
}

/// Adds the rows' cells to the bins of up to eight features: byte by byte of each row's word. On the way `ahead` is fetched.
fn add_lanes<C: Cell, const N: usize>(
    words: &[u64],
    cells: &[C],
    ahead: &[u32],
    fetch: impl Fn(&u32),
    bins: &mut GroupBins<C>,
) {
    let mut ahead = ahead.chunks((ahead.len() * STRIDE).div_ceil(words.len()).max(1));
    for (words, cells) in words.chunks(STRIDE).zip(cells.chunks(STRIDE)) {
        ahead.next().into_iter().flatten().for_each(&fetch);
        for (&word, &cell) in words.iter().zip(cells) {
            for (lane, bins) in bins.iter_mut().take(N).enumerate() {
                bins[(word >> (8 * lane)) as u8 as usize].add(cell);
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
    use proptest::prelude::*;

    use super::*;
    use crate::dataset::Dataset;
    use crate::model::tree::grow::binning::Binning;
    use crate::schema::FeatureSchema;

    /// Under Miri, which sees the request for a line as well, the draws are few and small.
    const LARGEST: usize = if cfg!(miri) { BLOCK + 40 } else { 3 * CHUNK };

    proptest! {
        #![proptest_config(ProptestConfig {
            cases: if cfg!(miri) { 4 } else { 64 }, failure_persistence: None, ..Default::default()
        })]

        #[test]
        fn fetching_ahead_changes_no_sum(
            n in prop_oneof![1..=LARGEST, Just(BLOCK.min(LARGEST)), Just(CHUNK.min(LARGEST)), Just(LARGEST)],
            n_features in 1usize..20,
            step in prop_oneof![Just(1), 1usize..100, Just(6_000)],
            first_group in any::<proptest::sample::Index>(),
        ) {
            let value = |i: usize| if i % 7 == 3 { f64::NAN } else { (i as f64 * 0.618).fract() };
            let values = (0..n * n_features).map(value).collect();
            let rows = ndarray::Array2::from_shape_vec((n, n_features), values).unwrap();
            let schema = FeatureSchema::new((0..n_features).map(|i| format!("x{i}"))).unwrap();
            let data = Dataset::new(schema, rows, (0..n).map(|i| i % 3 == 0).collect()).unwrap();
            let data = Binned::new(&data, Binning::Quantile, 255).unwrap();
            let offsets = offsets(&data);
            let groups = first_group.index(data.n_groups)..data.n_groups;
            let features = data.of_groups(&groups);
            let start = offsets[features.start];
            let rows: Vec<u32> = (0..n as u32).step_by(step).collect();
            let cells: Vec<PackedCell> =
                (0..n as i64).map(|i| PackedCell::new(i % 99 - 49, i % 17)).collect();

            let mut naive = vec![Sum::default(); offsets[n_features] - start];
            for feature in features {
                for &row in &rows {
                    let bin = offsets[feature] - start + data.columns.bin(feature, row as usize);
                    naive[bin] = naive[bin].plus(cells[row as usize].sum());
                }
            }
            let mut scratch = Vec::new();
            for add in [add_rows::<_, true>, add_rows::<_, false>] {
                let mut sums = vec![Sum::new(7, 7, 7); naive.len()];
                add(&data, &offsets, groups.clone(), &rows, &cells, &mut scratch, &mut sums);
                prop_assert_eq!(&sums, &naive);
            }
        }
    }

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
