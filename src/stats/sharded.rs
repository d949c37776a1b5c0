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

const COPIES: usize = 8;

impl<T> Sharded<T> {
    pub(crate) fn new(make: impl Fn() -> T) -> Self {
        Sharded { copies: (0..COPIES).map(|_| Copy(Mutex::new(make()))).collect() }
    }

    /// A copy that no other thread holds, without waiting; `None` if all are held.
    #[inline]
    pub(crate) fn free(&self) -> Option<MutexGuard<'_, T>> {
        let first = thread_number();
        (0..COPIES).find_map(|i| match self.copies[(first + i) % COPIES].0.try_lock() {
            Ok(copy) => Some(copy),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        })
    }

    /// A copy, one that is free if there is one.
    #[inline]
    pub(crate) fn any(&self) -> MutexGuard<'_, T> {
        self.free().unwrap_or_else(|| lock(&self.copies[thread_number() % COPIES]))
    }

    /// Every copy in turn.
    pub(crate) fn each(&self, mut read: impl FnMut(&mut T)) {
        self.copies.iter().for_each(|copy| read(&mut lock(copy)));
    }
}

fn lock<T>(copy: &Copy<T>) -> MutexGuard<'_, T> {
    copy.0.lock().unwrap_or_else(PoisonError::into_inner)
}
