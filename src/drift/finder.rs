//! From a value to its cell, as quickly as a row of hundreds of features needs it.

use super::profile::{Cells, ColumnProfile};

/// Edges of up to eight bins, side by side, filled up with infinity: compared all at once.
type Block = [f64; 8];

/// The cells of all columns, laid out for searching. Gives what [`Cells::index`] gives.
#[derive(Debug)]
pub(super) struct Finder {
    columns: Vec<Column>,
    blocks: Vec<Block>,
}

#[derive(Debug)]
struct Column {
    search: Search,
    /// Place of the column's first cell, and number of those that hold values; MISSING and UNSEEN follow.
    offset: usize,
    n_values: usize,
    low: f64,
    high: f64,
}

#[derive(Debug)]
enum Search {
    /// Up to 16 edges in two blocks: all are compared.
    Few { block: usize },
    /// Up to 80 edges. The first block holds every ninth; the one that it points to holds those between.
    Some { block: usize },
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
        let mut blocks = Vec::new();
        let of = |column: &ColumnProfile| Column {
            search: Search::new(&column.cells, &mut blocks),
            offset: column.offset,
            n_values: column.cells.n_values(),
            low: column.low,
            high: column.high,
        };
        let columns = columns.iter().map(of).collect();
        Finder { columns, blocks }
    }

    /// The place of each value of a row.
    #[inline]
    pub(super) fn places(&self, row: &[f64]) -> impl Iterator<Item = Place> {
        self.columns.iter().zip(row).map(|(column, &value)| {
            let known = if value.is_finite() { self.bin(column, value) } else { None };
            let missing = value.is_nan();
            let unseen = known.is_none() && !missing;
            let cell = known.unwrap_or(column.n_values + usize::from(unseen));
            // Not for NaN, which is missing; infinities are both unseen and outside.
            let outside = value < column.low || value > column.high;
            Place { cell: column.offset + cell, missing, unseen, outside }
        })
    }

    /// The bin of a finite value, `None` for a code that the reference does not have.
    #[inline]
    fn bin(&self, column: &Column, value: f64) -> Option<usize> {
        match &column.search {
            Search::Few { block } => {
                Some(below(&self.blocks[*block], value) + below(&self.blocks[block + 1], value))
            }
            Search::Some { block } => {
                let ninth = below(&self.blocks[*block], value);
                Some(9 * ninth + below(&self.blocks[block + 1 + ninth], value))
            }
            Search::Other(cells) => Some(cells.index(value)).filter(|cell| *cell < column.n_values),
        }
    }
}

impl Search {
    fn new(cells: &Cells, blocks: &mut Vec<Block>) -> Self {
        let Cells::Numeric(bins) = cells else {
            return Search::Other(cells.clone());
        };
        let (edges, block) = (bins.edges(), blocks.len());
        match edges.len() {
            0..=16 => {
                blocks.extend([filled(edges.iter().take(8)), filled(edges.iter().skip(8))]);
                Search::Few { block }
            }
            17..=80 => {
                blocks.push(filled(edges.iter().skip(8).step_by(9)));
                blocks.extend((0..9).map(|i| filled(edges.iter().skip(9 * i).take(8))));
                Search::Some { block }
            }
            _ => Search::Other(cells.clone()),
        }
    }
}

/// Edges below a value.
#[inline]
fn below(block: &Block, value: f64) -> usize {
    // Counting needs no step to wait for the one before.
    block.iter().map(|&edge| usize::from(edge < value)).sum()
}

fn filled<'a>(edges: impl Iterator<Item = &'a f64>) -> Block {
    let mut block = [f64::INFINITY; 8];
    block.iter_mut().zip(edges).for_each(|(place, edge)| *place = *edge);
    block
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::Bins;

    #[test]
    fn every_value_has_the_cell_that_the_column_says() {
        for n_edges in [0, 1, 7, 8, 9, 16, 17, 18, 26, 31, 80, 81, 200] {
            let edges: Vec<f64> = (0..n_edges).map(f64::from).collect();
            let column = ColumnProfile {
                cells: Cells::Numeric(Bins::from_edges(edges).unwrap()),
                offset: 5,
                low: -0.5,
                high: 300.0,
                quartiles_apart: 0.0,
                positions: Vec::new(),
                score_means: Vec::new(),
            };
            let finder = Finder::new(std::slice::from_ref(&column));
            let values = (-2..=2 * n_edges + 4).map(|i| f64::from(i) / 2.0);
            let odd = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e300, -1e300, -0.0];
            for value in values.chain(odd) {
                let place = finder.places(&[value]).next().unwrap();
                assert_eq!(place.cell, 5 + column.cells.index(value), "{n_edges} {value}");
                assert_eq!((place.missing, place.unseen), (value.is_nan(), value.is_infinite()));
                let inside = value.is_nan() || (-0.5..=300.0).contains(&value);
                assert_eq!(place.outside, !inside, "{value}");
            }
        }
    }
}
