//! How far counts go that processes hand each other: one rule for all of them, so that no sum of what strangers wrote runs
//! over.
//!
//! All counts in the same bytes add up to at most [`MOST_COUNTED`], and no sum of money or weights in them is beyond
//! [`MOST_SUMMED`]: anything else is corrupt. Two sets of counts are merged only if they keep to that together.

use crate::error::{Error, Result};

/// Most that all counts of a set add up to: a million requests a second, counted in a thousand places each, for 36 years.
pub(crate) const MOST_COUNTED: u64 = 1 << 60;

/// Farthest that a single sum is from zero.
pub(crate) const MOST_SUMMED: u64 = 1 << 62;

/// All counts together; what is beyond a `u64` is beyond any bound.
pub(crate) fn total(counts: impl IntoIterator<Item = u64>) -> u64 {
    counts.into_iter().fold(0, u64::saturating_add)
}

/// Whether two sets of counts may be merged that add up to `mine` and `theirs`.
///
/// # Errors
/// `InvalidInput` if together they are more than [`MOST_COUNTED`].
pub(crate) fn check_counts(what: &'static str, mine: u64, theirs: u64) -> Result<()> {
    within(what, mine, theirs, MOST_COUNTED)
}

/// Whether sums may be added up of which the farthest from zero are `mine` and `theirs`.
///
/// # Errors
/// `InvalidInput` if together they are more than [`MOST_SUMMED`].
pub(crate) fn check_sums(what: &'static str, mine: u64, theirs: u64) -> Result<()> {
    within(what, mine, theirs, MOST_SUMMED)
}

fn within(what: &'static str, mine: u64, theirs: u64, most: u64) -> Result<()> {
    match mine.checked_add(theirs) {
        Some(sum) if sum <= most => Ok(()),
        _ => Err(Error::input(what, "together they count more than there can be")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::codec::Reader;

    #[test]
    fn counts_are_bounded_together_where_they_are_read_and_where_they_are_merged() {
        let half = MOST_COUNTED / 2;
        let bytes = [half, half, 1].map(u64::to_le_bytes).concat();
        let mut reader = Reader::new("test", &bytes);
        assert_eq!((reader.count().unwrap(), reader.count().unwrap()), (half, half));
        assert!(reader.count().is_err());
        assert!(check_counts("test", half, half).is_ok());
        assert!(check_counts("test", half, half + 1).is_err());
        assert!(check_counts("test", u64::MAX, u64::MAX).is_err());
        assert_eq!(total([u64::MAX, 1]), u64::MAX);
    }

    #[test]
    fn sums_are_bounded_on_both_sides() {
        let read = |sum: i64| Reader::new("test", &sum.to_le_bytes()).sum();
        let most = MOST_SUMMED as i64;
        assert_eq!((read(most).unwrap(), read(-most).unwrap()), (most, -most));
        assert!(read(most + 1).is_err() && read(-most - 1).is_err() && read(i64::MIN).is_err());
        assert!(check_sums("test", MOST_SUMMED, 0).is_ok());
        assert!(check_sums("test", MOST_SUMMED, 1).is_err());
    }
}
