//! Dividing the rows of a node between its children.

use crate::model::tree::grow::binning::{Binned, Columns};
use crate::model::tree::grow::split::{Cut, LeftBins};
use crate::parallel;

/// Fewest rows that one thread divides at a time.
const CHUNK: usize = 1 << 12;
/// Rows that are divided in the nearest cache before they are written out.
const BLOCK: usize = 1 << 8;

/// Moves the rows that a cut sends left before the others, both in the order they had, and says how many go left.
/// O(rows + bins).
pub(crate) fn partition(
    data: &Binned,
    cut: &Cut,
    rows: &mut [u32],
    buffer: &mut Vec<u32>,
    parallel: bool,
) -> usize {
    let n_values = data.features[cut.feature].n_values();
    let mut left = vec![false; n_values + 1];
    match &cut.bins {
        LeftBins::UpTo(last, _) => left[..=*last].fill(true),
        LeftBins::These(bins) => bins.iter().for_each(|&bin| left[bin as usize] = true),
    }
    left[n_values] = cut.missing_left;
    match &data.columns {
        Columns::Bytes(columns) => {
            let column = &columns[cut.feature];
            // Indexed by a byte, so without a check.
            let left: [bool; 256] = std::array::from_fn(|bin| left.get(bin) == Some(&true));
            divide_all(rows, buffer, parallel, |row| left[column[row as usize] as usize])
        }
        Columns::Shorts(columns) => {
            let column = &columns[cut.feature];
            divide_all(rows, buffer, parallel, |row| left[column[row as usize] as usize])
        }
    }
}

fn divide_all(
    rows: &mut [u32],
    buffer: &mut Vec<u32>,
    parallel: bool,
    goes_left: impl Fn(u32) -> bool + Sync + Send,
) -> usize {
    buffer.resize(buffer.len().max(2 * rows.len()), 0);
    let (left, right) = buffer.split_at_mut(rows.len());
    if !parallel || rows.len() < 2 * CHUNK {
        let n_left = divide(rows, left, right, &goes_left);
        let (to_left, to_right) = rows.split_at_mut(n_left);
        to_left.copy_from_slice(&left[..n_left]);
        to_right.copy_from_slice(&right[..to_right.len()]);
        return n_left;
    }
    let chunk = rows.len().div_ceil(4 * parallel::n_threads()).max(CHUNK);
    let sides = left.chunks_mut(chunk).zip(right.chunks_mut(chunk));
    let mut chunks: Vec<_> =
        rows.chunks(chunk).zip(sides).map(|(rows, (left, right))| (rows, left, right, 0)).collect();
    parallel::for_each(chunks.iter_mut().collect(), |(rows, left, right, n_left)| {
        *n_left = divide(rows, left, right, &goes_left);
    });
    let counts: Vec<(usize, usize)> =
        chunks.into_iter().map(|(rows, _, _, n_left)| (rows.len(), n_left)).collect();
    // Every chunk's left rows one behind the other, then every chunk's right rows.
    let lefts = left.chunks(chunk).zip(&counts).map(|(left, (_, n))| &left[..*n]);
    let rights = right.chunks(chunk).zip(&counts).map(|(right, (all, n))| &right[..all - n]);
    let sources: Vec<&[u32]> = lefts.chain(rights).collect();
    let n_left = counts.iter().map(|(_, n_left)| n_left).sum();
    let mut rest = rows;
    let mut moves = Vec::with_capacity(sources.len());
    for source in sources {
        let (target, behind) = rest.split_at_mut(source.len());
        moves.push((target, source));
        rest = behind;
    }
    parallel::for_each(moves, |(target, source)| target.copy_from_slice(source));
    n_left
}

/// Left rows to the front of `left`, right rows to the front of `right`; says how many are left.
fn divide(
    rows: &[u32],
    left: &mut [u32],
    right: &mut [u32],
    goes_left: impl Fn(u32) -> bool,
) -> usize {
    let mut n_left = 0;
    let mut n_right = 0;
    let (mut to_left, mut to_right) = ([0; BLOCK], [0; BLOCK]);
    for rows in rows.chunks(BLOCK) {
        // Every row is written to both and only the places depend on where it goes: no branch to guess. No place is
        // beyond the block, which the remainder tells the compiler.
        let mut n = 0;
        for (i, &row) in rows.iter().enumerate() {
            to_left[n % BLOCK] = row;
            to_right[(i - n) % BLOCK] = row;
            n += usize::from(goes_left(row));
        }
        left[n_left..n_left + n].copy_from_slice(&to_left[..n]);
        n_left += n;
        let n = rows.len() - n;
        right[n_right..n_right + n].copy_from_slice(&to_right[..n]);
        n_right += n;
    }
    n_left
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order_on_both_sides_and_threads_change_nothing() {
        for n in [0, 1, 7, 3 * CHUNK, 5 * CHUNK + 123] {
            let rows: Vec<u32> = (0..n as u32).collect();
            let goes_left = |row: u32| row.wrapping_mul(2_654_435_761).is_multiple_of(3);
            let (left, right): (Vec<u32>, Vec<u32>) = rows.iter().partition(|row| goes_left(**row));
            for parallel in [false, true] {
                let (mut divided, mut buffer) = (rows.clone(), Vec::new());
                let n_left = divide_all(&mut divided, &mut buffer, parallel, goes_left);
                assert_eq!((&divided[..n_left], &divided[n_left..]), (&left[..], &right[..]));
            }
        }
    }
}
