//! Counters that many threads add to without waiting for each other.

use std::sync::atomic::{AtomicU32, Ordering};

use crate::stats::Sharded;

/// Copies of the same counters, so that threads rarely meet; each is added to under a lock that nobody ever waits for.
#[derive(Debug)]
pub(super) struct Counters {
    shards: Sharded<Box<[u32]>>,
    /// For a thread that found every copy taken.
    overflow: Box<[AtomicU32]>,
}

/// The counters of one call.
pub(super) enum Adder<'a> {
    Own(&'a mut [u32]),
    Shared(&'a [AtomicU32]),
}

impl Adder<'_> {
    /// Adds one.
    #[inline]
    pub(super) fn one(&mut self, counter: usize) {
        match self {
            // Saturating: 4 billion rows of one cell between two readings must not become none.
            Adder::Own(counters) => counters[counter] = counters[counter].saturating_add(1),
            Adder::Shared(counters) => {
                counters[counter].fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

impl Counters {
    pub(super) fn new(n: usize) -> Self {
        Counters {
            shards: Sharded::new(|| vec![0; n].into()),
            overflow: (0..n).map(|_| AtomicU32::new(0)).collect(),
        }
    }

    /// Hands `count` the counters to add to, in a bounded number of steps whatever other threads do. What one call adds is seen
    /// by a reader all or not at all, unless all copies were taken.
    #[inline]
    pub(super) fn add(&self, count: impl FnOnce(&mut Adder<'_>)) {
        match self.shards.free() {
            Some(mut shard) => count(&mut Adder::Own(&mut shard)),
            None => count(&mut Adder::Shared(&self.overflow)),
        }
    }

    /// The sums, and zero from here on.
    pub(super) fn take(&self) -> Vec<u64> {
        let take = |counter: &AtomicU32| u64::from(counter.swap(0, Ordering::Relaxed));
        let mut sums: Vec<u64> = self.overflow.iter().map(take).collect();
        self.shards.each(|shard| {
            sums.iter_mut().zip(&**shard).for_each(|(sum, &n)| *sum += u64::from(n));
            shard.fill(0);
        });
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
                    scope.spawn(|| {
                        (0..5000).for_each(|_| {
                            counters.add(|adder| [0, 2].into_iter().for_each(|i| adder.one(i)))
                        })
                    })
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
