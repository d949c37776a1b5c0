//! Threads for batch work. Items keep their order and share nothing, so threads change nothing but the time it takes.

use std::cell::Cell;
use std::sync::atomic::{AtomicUsize, Ordering};

#[cfg(feature = "parallel")]
use rayon::prelude::*;

/// Every item by itself.
#[cfg(feature = "parallel")]
pub(crate) fn map<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    items.par_iter().map(f).collect()
}

#[cfg(not(feature = "parallel"))]
pub(crate) fn map<T, R>(items: &[T], f: impl Fn(&T) -> R) -> Vec<R> {
    items.iter().map(f).collect()
}

/// Every item by itself; an item may be a part of something to write into.
#[cfg(feature = "parallel")]
pub(crate) fn for_each<T: Send>(items: Vec<T>, f: impl Fn(T) + Sync + Send) {
    items.into_par_iter().for_each(f);
}

#[cfg(not(feature = "parallel"))]
pub(crate) fn for_each<T>(items: Vec<T>, f: impl Fn(T)) {
    items.into_iter().for_each(f);
}

/// In order; equal items are the same item, so it does not matter which comes first.
#[cfg(feature = "parallel")]
pub(crate) fn sort<T: Ord + Send>(items: &mut [T]) {
    items.par_sort_unstable();
}

#[cfg(not(feature = "parallel"))]
pub(crate) fn sort<T: Ord>(items: &mut [T]) {
    items.sort_unstable();
}

/// Runs `f` on one of the threads, so that work it divides many times over does not go back and forth to them each time.
#[cfg(feature = "parallel")]
pub(crate) fn inside<R: Send>(f: impl FnOnce() -> R + Send) -> R {
    rayon::scope(|_| f())
}

#[cfg(not(feature = "parallel"))]
pub(crate) fn inside<R>(f: impl FnOnce() -> R) -> R {
    f()
}

/// How many threads there are. Nothing but the time it takes may depend on it.
#[cfg(feature = "parallel")]
pub(crate) fn n_threads() -> usize {
    rayon::current_num_threads()
}

#[cfg(not(feature = "parallel"))]
pub(crate) fn n_threads() -> usize {
    1
}

/// A number of its own for each thread, in the order of their first call: decides which of several copies of a counter or a
/// list a thread uses first, and nothing else.
pub(crate) fn thread_number() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static MINE: Cell<usize> = const { Cell::new(usize::MAX) };
    }
    MINE.with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed));
        }
        mine.get()
    })
}
