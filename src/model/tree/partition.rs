//! Dividing the rows of a node between its children.

use crate::parallel;

/// Rows that one thread divides at a time.
const CHUNK: usize = 1 << 14;

/// Moves the rows that go left before those that go right, both in the order they had, and says how many go left.
/// `buffer` is at least as long as `rows`. O(rows).
pub(super) fn partition(
    rows: &mut [u32],
    buffer: &mut [u32],
    parallel: bool,
    goes_left: impl Fn(u32) -> bool + Sync + Send,
) -> usize {
    if !parallel || rows.len() < 2 * CHUNK {
        let n_left = divide(rows, buffer, &goes_left);
        let n_right = rows.len() - n_left;
        rows[n_left..].copy_from_slice(&buffer[..n_right]);
        return n_left;
    }
    let mut chunks: Vec<(&mut [u32], &mut [u32], usize)> = rows
        .chunks_mut(CHUNK)
        .zip(buffer.chunks_mut(CHUNK))
        .map(|(rows, buffer)| (rows, buffer, 0))
        .collect();
    parallel::for_each(
        chunks.iter_mut().collect(),
        |chunk: &mut (&mut [u32], &mut [u32], usize)| {
            chunk.2 = divide(chunk.0, chunk.1, &goes_left);
        },
    );
    // Right rows wait in the buffer, so the left ones may close ranks; then the right ones follow.
    let counts: Vec<(usize, usize)> =
        chunks.iter().map(|(rows, _, n_left)| (rows.len(), *n_left)).collect();
    drop(chunks);
    let mut n_left = 0;
    for (chunk, (_, left)) in counts.iter().enumerate() {
        rows.copy_within(chunk * CHUNK..chunk * CHUNK + left, n_left);
        n_left += left;
    }
    let mut at = n_left;
    for (chunk, (n, left)) in counts.iter().enumerate() {
        let right = &buffer[chunk * CHUNK..][..n - left];
        rows[at..at + right.len()].copy_from_slice(right);
        at += right.len();
    }
    n_left
}

/// Left rows to the front of `rows`, right rows to the front of `buffer`. Every row is written to both and only the
/// cursors depend on where it goes, so there is no branch to guess.
fn divide(rows: &mut [u32], buffer: &mut [u32], goes_left: impl Fn(u32) -> bool) -> usize {
    let mut n_left = 0;
    for i in 0..rows.len() {
        let row = rows[i];
        let left = usize::from(goes_left(row));
        rows[n_left] = row;
        buffer[i - n_left] = row;
        n_left += left;
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
            let goes_left = |row: u32| row.wrapping_mul(2_654_435_761) % 3 == 0;
            let (left, right): (Vec<u32>, Vec<u32>) = rows.iter().partition(|row| goes_left(**row));
            for parallel in [false, true] {
                let (mut divided, mut buffer) = (rows.clone(), vec![0; n]);
                let n_left = partition(&mut divided, &mut buffer, parallel, goes_left);
                assert_eq!((&divided[..n_left], &divided[n_left..]), (&left[..], &right[..]));
            }
        }
    }
}
