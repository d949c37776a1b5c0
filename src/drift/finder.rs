//! From a value to its cell, as quickly as a row of hundreds of features needs it.

use super::profile::{Cells, ColumnProfile};

/// Up to 16 edges as keys, rising, filled up with a key above all numbers': compared all at once.
type Block = [i32; 16];

/// The cells of all columns, laid out for searching. Gives what [`Cells::index`] gives.
#[derive(Debug)]
pub(super) struct Finder {
    columns: Vec<Column>,
    blocks: Vec<Block>,
    /// Of each column that is searched by blocks, all edges, and infinity behind them.
    edges: Vec<f64>,
}

/// How a feature's values are searched for.
#[derive(Debug)]
pub(super) struct Column {
    search: Search,
    /// Place of the column's first cell, and number of those that hold values; MISSING and UNSEEN follow.
    offset: usize,
    n_values: usize,
    low: f64,
    high: f64,
}

#[derive(Debug)]
enum Search {
    /// Up to 16 edges: one block.
    One { block: usize, edges: usize },
    /// Up to 32: one after the other.
    Two { block: usize, edges: usize },
    /// Up to 288. The first block holds every 17th; the one that it points to holds those between.
    Tree { block: usize, edges: usize },
    /// More edges, or codes.
    Other(Cells),
}

/// Where a value belongs.
pub(super) struct Place {
    pub(super) cell: usize,
    pub(super) missing: bool,
    pub(super) unseen: bool,
    /// Whether it lies below the reference's least or above its greatest value.
    pub(super) outside: bool,
}

impl Finder {
    pub(super) fn new(columns: &[ColumnProfile]) -> Self {
        let (mut blocks, mut edges) = (Vec::new(), Vec::new());
        let of = |column: &ColumnProfile| Column {
            search: Search::new(&column.cells, &mut blocks, &mut edges),
            offset: column.offset,
            n_values: column.cells.n_values(),
            low: column.low,
            high: column.high,
        };
        let columns = columns.iter().map(of).collect();
        Finder { columns, blocks, edges }
    }

    /// One per feature, to be asked for the places of its values.
    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The place of a value in one of the columns.
    #[inline(always)] // a call per feature costs as much as all it does
    pub(super) fn place(&self, column: &Column, value: f64) -> Place {
        let known = if value.is_finite() { self.bin(column, value) } else { None };
        let missing = value.is_nan();
        let unseen = known.is_none() && !missing;
        let cell = known.unwrap_or(column.n_values + usize::from(unseen));
        // Not for NaN, which is missing; infinities are both unseen and outside.
        let outside = value < column.low || value > column.high;
        Place { cell: column.offset + cell, missing, unseen, outside }
    }

    /// The bin of a finite value, `None` for a code that the reference does not have.
    #[inline(always)]
    fn bin(&self, column: &Column, value: f64) -> Option<usize> {
        let below = |block: usize| below(&self.blocks[block], key(value));
        let (at_least, edges) = match &column.search {
            Search::One { block, edges } => (below(*block), edges),
            Search::Two { block, edges } => (below(*block) + below(block + 1), edges),
            Search::Tree { block, edges } => {
                let part = below(*block);
                (17 * part + below(block + 1 + part), edges)
            }
            Search::Other(cells) => {
                return Some(cells.index(value)).filter(|cell| *cell < column.n_values);
            }
        };
        // Edges whose key is the value's are yet to be told from it; infinity ends the search.
        let edges = &self.edges[*edges..];
        let mut bin = at_least;
        while edges[bin] < value {
            bin += 1;
        }
        Some(bin)
    }
}

impl Search {
    fn new(cells: &Cells, blocks: &mut Vec<Block>, all: &mut Vec<f64>) -> Self {
        let Cells::Numeric(bins) = cells else {
            return Search::Other(cells.clone());
        };
        let (found, block, edges) = (bins.edges(), blocks.len(), all.len());
        let search = match found.len() {
            0..=16 => {
                blocks.push(filled(found));
                Search::One { block, edges }
            }
            17..=32 => {
                blocks.extend(found.chunks(16).map(filled));
                Search::Two { block, edges }
            }
            33..=288 => {
                blocks.push(filled(found.iter().skip(16).step_by(17)));
                // One that is empty stands behind the last 17th, should that be the last edge.
                let parts = found.len() / 17 + 1;
                blocks.extend((0..parts).map(|i| filled(found.iter().skip(17 * i).take(16))));
                Search::Tree { block, edges }
            }
            _ => return Search::Other(cells.clone()),
        };
        all.extend(found);
        all.push(f64::INFINITY);
        search
    }
}

/// A number's first 31 bits as a whole number of the same order, so that twice as many are compared at once, and differences
/// do not run over. Keys that differ stand in the order of their numbers; equal ones say nothing.
#[inline]
fn key(value: f64) -> i32 {
    // Negative numbers have their bits in the reverse order.
    let bits = value.to_bits() as i64;
    ((bits ^ (((bits >> 63) as u64) >> 1) as i64) >> 33) as i32
}

/// Keys below another.
#[inline(always)]
fn below(block: &Block, key: i32) -> usize {
    // A difference's sign is −1 or 0. Four sums side by side: to count comparisons instead compiles into twice the work.
    let mut sums = [0; 4];
    for four in block.chunks_exact(4) {
        sums.iter_mut().zip(four).for_each(|(sum, edge)| *sum += (edge - key) >> 31);
    }
    sums.iter().sum::<i32>().unsigned_abs() as usize
}

fn filled<'a>(edges: impl IntoIterator<Item = &'a f64>) -> Block {
    let mut block = [(1 << 30) - 1; 16];
    // −0.0 is no edge below 0.0.
    block.iter_mut().zip(edges).for_each(|(place, edge)| *place = key(edge + 0.0));
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Bins;

    #[test]
    fn every_value_has_the_cell_that_the_column_says() {
        for n_edges in [0, 1, 9, 15, 16, 17, 31, 32, 33, 34, 51, 52, 80, 288, 289, 400] {
            let edges: Vec<f64> = (0..n_edges).map(f64::from).collect();
            let column = ColumnProfile {
                cells: Cells::Numeric(Bins::from_edges(edges).unwrap()),
                offset: 5,
                low: -0.5,
                high: 500.0,
                quartiles_apart: 0.0,
                positions: Vec::new(),
                score_means: Vec::new(),
            };
            let finder = Finder::new(std::slice::from_ref(&column));
            let values = (-2..=2 * n_edges + 4).map(|i| f64::from(i) / 2.0);
            let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, -0.0];
            for value in values.chain(odd) {
                let place = finder.place(&finder.columns()[0], value);
                assert_eq!(place.cell, 5 + column.cells.index(value), "{n_edges} {value}");
                assert_eq!((place.missing, place.unseen), (value.is_nan(), value.is_infinite()));
                let inside = value.is_nan() || (-0.5..=500.0).contains(&value);
                assert_eq!(place.outside, !inside, "{value}");
            }
        }
    }

    #[test]
    fn edges_that_only_the_last_bits_tell_apart_are_told_apart() {
        for around in [-1e300, -1.0, -1e-300, -0.0, 0.0, 1e-300, 1.0, 1e300_f64] {
            let mut edges = vec![around];
            (0..40).for_each(|i| edges.push(edges[i].next_up()));
            edges.dedup();
            for n_edges in [1, 16, 41] {
                let bins = Bins::from_edges(edges[..n_edges.min(edges.len())].to_vec()).unwrap();
                let column = ColumnProfile {
                    cells: Cells::Numeric(bins),
                    offset: 0,
                    low: f64::NEG_INFINITY,
                    high: f64::INFINITY,
                    quartiles_apart: 0.0,
                    positions: Vec::new(),
                    score_means: Vec::new(),
                };
                let finder = Finder::new(std::slice::from_ref(&column));
                for value in edges.iter().flat_map(|edge| [edge.next_down(), *edge, edge.next_up()])
                {
                    let place = finder.place(&finder.columns()[0], value);
                    assert_eq!(place.cell, column.cells.index(value), "{n_edges} {value:e}");
                }
            }
        }
    }
}
