//! The one place that asks the processor for something the language has no safe word for.

#![allow(unsafe_code)]

/// Asks for the cache line of an element that will be read soon. Never changes a value; where the processor is not known,
/// and for an element that is not there, nothing happens.
#[inline(always)]
pub(super) fn prefetch<T>(slice: &[T], index: usize) {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    if let Some(element) = slice.get(index) {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: SSE, which every x86-64 processor has, is all it needs; it reads nothing, and the address is a reference's.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(element).cast()) }
    }
    #[cfg(not(all(target_arch = "x86_64", not(miri))))]
    let _ = (slice, index);
}
