//! Where the processor's cache lines start.

/// Bytes of a cache line.
pub(super) const CACHE_LINE: usize = 64;

/// Elements from `start` on before a cache line starts, `most` at most: memory may have no such place to offer, which costs
/// time and nothing else.
pub(super) fn n_before_line<T>(start: *const T, most: usize) -> usize {
    start.align_offset(CACHE_LINE).min(most)
}
