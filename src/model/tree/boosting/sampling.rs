//! The rows that a tree sees.

use crate::model::tree::boosting::config::GradientBoostingConfig;
use crate::model::tree::boosting::derivatives::{GradientCell, chances};
use crate::parallel;
use crate::seed::Seed;

/// Rows that one thread takes at a time.
const SPAN: usize = 1 << 16;
/// Classes of size that derivatives fall into: by exponent and seven bits behind the point, so within 0.8 %.
const SIZES: usize = 1 << 15;

/// Ascending: each row by its own chance, so that the rows of a tree do not depend on how many there are; where the
/// configuration wants the largest derivatives, those too, and the cells of the others count for what they stand for.
pub(super) fn draw_rows<C: GradientCell>(
    rows: &mut Vec<u32>,
    cells: &mut [C],
    config: &GradientBoostingConfig,
    seed: Seed,
) {
    if config.row_share == 1.0 {
        rows.resize(cells.len(), 0);
        let spans = rows.chunks_mut(SPAN).enumerate().collect();
        parallel::for_each(spans, |(i, rows): (usize, &mut [u32])| {
            rows.iter_mut().zip((i * SPAN) as u32..).for_each(|(place, row)| *place = row);
        });
        return;
    }
    let top = largest(cells, config.top_share);
    let (times, seed_of_times) = (config.stands_for(), seed.derive("times", 0));
    let mut spans: Vec<(&mut [C], Vec<u32>)> =
        cells.chunks_mut(SPAN).map(|cells| (cells, Vec::new())).collect();
    parallel::for_each(spans.iter_mut().enumerate().collect(), |(i, (cells, drawn))| {
        // Every row is written and only the next one's place depends on whether it stays: no branch to guess.
        drawn.resize(cells.len() + 1, 0);
        let mut n = 0;
        for (row, cell) in ((i * SPAN) as u32..).zip(cells.iter_mut()) {
            drawn[n] = row;
            let is_top = top.is_some_and(|top| size(*cell) >= top);
            let is_drawn = f64::from(chances(u64::from(row), seed).0) < config.row_share;
            if times > 1.0 && is_drawn && !is_top {
                *cell = cell.times(times, u64::from(row), seed_of_times);
            }
            n += usize::from(is_top | is_drawn);
        }
        drawn.truncate(n);
    });
    rows.clear();
    spans.iter().for_each(|(_, drawn)| rows.extend_from_slice(drawn));
}

/// The class of a row's first derivative.
#[inline]
fn size<C: GradientCell>(cell: C) -> usize {
    ((cell.sum().first().unsigned_abs() as f32).to_bits() >> 16) as usize
}

/// The smallest class that with all above it holds at most this share of the rows; `None` for a share of 0.
fn largest<C: GradientCell>(cells: &[C], share: f64) -> Option<usize> {
    if share == 0.0 {
        return None;
    }
    let spans: Vec<&[C]> = cells.chunks(SPAN).collect();
    let counts = parallel::map(&spans, |cells| {
        let mut counts = vec![0_u32; SIZES];
        cells.iter().for_each(|cell| counts[size(*cell)] += 1);
        counts
    });
    let room = share * cells.len() as f64;
    let mut n = 0.0;
    let too_small = (0..SIZES).rev().find(|&size| {
        n += counts.iter().map(|counts| f64::from(counts[size])).sum::<f64>();
        n > room
    });
    Some(too_small.map_or(0, |size| size + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::grow::{Cell, PackedCell, WideCell};

    fn config(top_share: f64, row_share: f64) -> GradientBoostingConfig {
        GradientBoostingConfig { top_share, row_share, ..Default::default() }
    }

    /// One row in twenty has a first derivative of 7,000 to 8,000, the others have one of −400 to 400, or 300 if they are to
    /// be equal; more rows than one thread takes.
    fn firsts(equal: bool) -> Vec<f32> {
        let noise = |row| chances(row, Seed(9)).0;
        let other = |row| if equal { 300.0 } else { 800.0 * noise(row) - 400.0 };
        let first = |row| if row % 20 == 3 { 7000.0 + 1000.0 * noise(row) } else { other(row) };
        (0..SPAN as u64 + 30_000).map(first).collect()
    }

    fn cells<C: GradientCell>(firsts: &[f32]) -> Vec<C> {
        let cell = |(row, &first): (usize, &f32)| C::rounded(first, 16.0, row as u64, Seed(1));
        firsts.iter().enumerate().map(cell).collect()
    }

    fn check<C: GradientCell>() {
        let all: Vec<C> = cells(&firsts(false));
        let (mut drawn_cells, mut rows) = (all.clone(), Vec::new());
        draw_rows(&mut rows, &mut drawn_cells, &config(0.1, 0.2), Seed(5));
        assert!(rows.is_sorted_by(|a, b| a < b));
        let first = |cell: &C| cell.sum().first();
        let mut sizes: Vec<u64> = all.iter().map(|cell| first(cell).unsigned_abs()).collect();
        sizes.sort_unstable_by_key(|size| std::cmp::Reverse(*size));
        let in_top = sizes[all.len() / 11]; // of a tenth, with room for the classes
        let in_rest = sizes[all.len() / 9];
        let (mut n_top, mut n_rest) = (0, 0);
        for (row, (before, after)) in all.iter().zip(&drawn_cells).enumerate() {
            let is_drawn = rows.binary_search(&(row as u32)).is_ok();
            let size = first(before).unsigned_abs();
            if size >= in_top {
                assert!(is_drawn && first(after) == first(before), "{row}");
                n_top += 1;
            } else if size <= in_rest && is_drawn {
                assert!((first(after) - 5 * first(before)).abs() <= 1, "{row}");
                assert_eq!(after.sum().rows(), 1);
                n_rest += 1;
            }
        }
        assert!(n_top > all.len() / 12);
        // What all add up to is kept but for chance: five standard errors of a draw of one in five.
        let n_others = (all.len() - all.len() / 10) as f64;
        assert!((f64::from(n_rest) - 0.2 * n_others).abs() < 0.02 * n_others, "{n_rest}");
        let total = |cells: &mut dyn Iterator<Item = &C>| {
            let sum = cells.fold((0.0, 0.0), |(g, h), cell| {
                (g + first(cell) as f64, h + cell.sum().second() as f64)
            });
            [sum.0, sum.1]
        };
        let whole = total(&mut all.iter());
        let kept = total(&mut rows.iter().map(|&row| &drawn_cells[row as usize]));
        // A row that stands for five brings a variance of four times its square.
        let errors = [231.0, 16.0].map(|size| 5.0 * size * 2.0 * n_others.sqrt());
        for ((whole, kept), error) in whole.iter().zip(kept).zip(errors) {
            assert!((whole - kept).abs() < error, "{whole} {kept} {error}");
        }
    }

    #[test]
    fn the_largest_stay_and_each_other_that_is_drawn_stands_for_several() {
        check::<PackedCell>();
        check::<WideCell>();
    }

    #[test]
    fn of_equals_that_do_not_all_fit_none_is_among_the_largest() {
        let all: Vec<WideCell> = cells(&firsts(true));
        let n = all.len() as f64;
        for (top_share, least, most) in [(0.06, 0.05, 0.05), (0.5, 0.05, 0.05), (0.04, 0.036, 0.04)]
        {
            let (mut cells, mut rows) = (all.clone(), Vec::new());
            draw_rows(&mut rows, &mut cells, &config(top_share, 1e-9), Seed(5));
            let share = rows.len() as f64 / n;
            assert!(share > least - 1e-4 && share < most + 1e-4, "{top_share}: {share}");
        }
    }

    #[test]
    fn without_a_top_rows_are_drawn_evenly_and_stay_as_they_are() {
        let all: Vec<PackedCell> = cells(&firsts(false));
        let (mut cells, mut rows) = (all.clone(), Vec::new());
        draw_rows(&mut rows, &mut cells, &config(0.0, 0.3), Seed(2));
        let expected: Vec<u32> =
            (0..all.len() as u32).filter(|&row| chances(u64::from(row), Seed(2)).0 < 0.3).collect();
        assert_eq!(rows, expected);
        assert!(all.iter().zip(&cells).all(|(a, b)| Cell::sum(*a) == Cell::sum(*b)));
    }
}
