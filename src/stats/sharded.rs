//! Copies of the same sums, so that threads rarely meet.

use std::sync::{Mutex, MutexGuard, PoisonError, TryLockError};

use crate::parallel::thread_number;

/// As many copies of a set of sums as there are threads that usually add to it; a reader adds them up.
#[derive(Debug)]
pub(crate) struct Sharded<T> {
    copies: Box<[Copy<T>]>,
}

/// Two cache lines apart, which processors fetch together.
#[derive(Debug)]
#[repr(align(128))]
struct Copy<T>(Mutex<T>);

impl<T> Sharded<T> {
    /// Number of copies.
    pub(crate) const COPIES: usize = 8;

    pub(crate) fn new(make: impl Fn() -> T) -> Self {
        Sharded { copies: (0..Self::COPIES).map(|_| Copy(Mutex::new(make()))).collect() }
    }

    /// A copy that no other thread holds, without waiting; `None` if all are held.
    #[inline]
    pub(crate) fn free(&self) -> Option<MutexGuard<'_, T>> {
        self.free_where(|_| true)
    }

    /// A copy that no other thread holds and that fits, without waiting; `None` if there is none.
    #[inline]
    pub(crate) fn free_where(&self, fits: impl Fn(&T) -> bool) -> Option<MutexGuard<'_, T>> {
        let first = thread_number();
        (0..Self::COPIES).find_map(|i| {
            let copy = match self.copies[(first + i) % Self::COPIES].0.try_lock() {
                Ok(copy) => copy,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => return None,
            };
            fits(&copy).then_some(copy)
        })
    }

    /// A copy, one that is free if there is one.
    #[inline]
    pub(crate) fn any(&self) -> MutexGuard<'_, T> {
        self.free().unwrap_or_else(|| lock(&self.copies[thread_number() % Self::COPIES]))
    }

    /// Every copy in turn.
    pub(crate) fn each(&self, mut read: impl FnMut(&mut T)) {
        self.copies.iter().for_each(|copy| read(&mut lock(copy)));
    }
}

fn lock<T>(copy: &Copy<T>) -> MutexGuard<'_, T> {
    copy.0.lock().unwrap_or_else(PoisonError::into_inner)
}
