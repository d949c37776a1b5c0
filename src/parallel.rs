//! Batch work on several threads, with the outcome of one.

#[cfg(feature = "parallel")]
use rayon::prelude::*;

/// Every item by itself, in order: threads change nothing but the time it takes.
#[cfg(feature = "parallel")]
pub(crate) fn map<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    items.par_iter().map(f).collect()
}

#[cfg(not(feature = "parallel"))]
pub(crate) fn map<T, R>(items: &[T], f: impl Fn(&T) -> R) -> Vec<R> {
    items.iter().map(f).collect()
}

#[cfg(feature = "parallel")]
pub(crate) fn for_each<T: Send>(items: Vec<T>, f: impl Fn(T) + Sync + Send) {
    items.into_par_iter().for_each(f);
}

#[cfg(not(feature = "parallel"))]
pub(crate) fn for_each<T>(items: Vec<T>, f: impl Fn(T)) {
    items.into_iter().for_each(f);
}

#[cfg(feature = "parallel")]
pub(crate) fn n_threads() -> usize {
    rayon::current_num_threads()
}

#[cfg(not(feature = "parallel"))]
pub(crate) fn n_threads() -> usize {
    1
}
