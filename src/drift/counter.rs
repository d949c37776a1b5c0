//! Counters that many threads add to without waiting for each other.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, PoisonError, TryLockError};

use crate::parallel::thread_number;

/// Copies of the same counters, so that threads rarely meet; each is added to under a lock that nobody ever waits for.
#[derive(Debug)]
pub(super) struct Counters {
    shards: Box<[Mutex<Box<[u32]>>]>,
    /// For a thread that found every copy taken.
    overflow: Box<[AtomicU32]>,
}

const SHARDS: usize = 8;

impl Counters {
    pub(super) fn new(n: usize) -> Self {
        Counters {
            shards: (0..SHARDS).map(|_| Mutex::new(vec![0; n].into())).collect(),
            overflow: (0..n).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Adds one to each of some counters (each a first and perhaps a second), in a bounded number of steps whatever other
    /// threads do. Those of one call are seen by a reader all or none, unless all copies were taken.
    #[inline]
    pub(super) fn add(&self, counters: impl Iterator<Item = (usize, Option<usize>)>) {
        let first = thread_number();
        for i in 0..SHARDS {
            let mut shard = match self.shards[(first + i) % SHARDS].try_lock() {
                Ok(shard) => shard,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            // Saturating: 4 billion rows of one cell between two readings must not become none.
            counters.for_each(|(counter, second)| {
                shard[counter] = shard[counter].saturating_add(1);
                if let Some(second) = second {
                    shard[second] = shard[second].saturating_add(1);
                }
            });
            return;
        }
        counters.flat_map(|(counter, second)| [Some(counter), second]).flatten().for_each(
            |counter| {
                self.overflow[counter].fetch_add(1, Ordering::Relaxed);
            },
        );
    }

    /// The sums, and zero from here on.
    pub(super) fn take(&self) -> Vec<u64> {
        let take = |counter: &AtomicU32| u64::from(counter.swap(0, Ordering::Relaxed));
        let mut sums: Vec<u64> = self.overflow.iter().map(take).collect();
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            sums.iter_mut().zip(&*shard).for_each(|(sum, &n)| *sum += u64::from(n));
            shard.fill(0);
        }
        sums
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_however_many_threads_add_while_another_reads() {
        let counters = Counters::new(3);
        let mut sums = [0; 3];
        std::thread::scope(|scope| {
            let adders: Vec<_> = (0..12)
                .map(|_| {
                    scope.spawn(|| (0..5000).for_each(|_| counters.add([(0, Some(2))].into_iter())))
                })
                .collect();
            while !adders.iter().all(|adder| adder.is_finished()) {
                counters.take().iter().zip(&mut sums).for_each(|(n, sum)| *sum += n);
            }
        });
        counters.take().iter().zip(&mut sums).for_each(|(n, sum)| *sum += n);
        assert_eq!(sums, [60_000, 0, 60_000]);
    }
}
