//! What was recorded and not looked at yet.

use std::sync::{Mutex, PoisonError, TryLockError};

use crate::parallel::thread_number;

/// Lists of fixed room that threads add to without waiting for each other or for whoever empties them.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    shards: Box<[Mutex<Vec<T>>]>,
}

const SHARDS: usize = 8;
/// Items of a shard: 4 MB in all at 64 bytes each.
const ROOM: usize = 8192;

impl<T> Inbox<T> {
    pub(super) fn new() -> Self {
        Inbox { shards: (0..SHARDS).map(|_| Mutex::new(Vec::with_capacity(ROOM))).collect() }
    }

    /// Puts an item in, in a bounded number of steps and without allocating; gives it back where there is no room.
    pub(super) fn put(&self, item: T) -> Result<(), T> {
        let first = thread_number();
        for i in 0..SHARDS {
            let mut shard = match self.shards[(first + i) % SHARDS].try_lock() {
                Ok(shard) => shard,
                Err(TryLockError::Poisoned(poisoned)) => poisoned.into_inner(),
                Err(TryLockError::WouldBlock) => continue,
            };
            if shard.len() < ROOM {
                shard.push(item);
                return Ok(());
            }
        }
        Err(item)
    }

    /// Takes everything out.
    pub(super) fn empty(&self, mut take: impl FnMut(T)) {
        for shard in &self.shards {
            shard.lock().unwrap_or_else(PoisonError::into_inner).drain(..).for_each(&mut take);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_while_there_is_room_and_what_does_not_fit_comes_back() {
        let inbox = Inbox::new();
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let inbox = &inbox;
                scope.spawn(move || {
                    for i in 0..5000 {
                        // All shards may be taken for a moment; a recorder counts that, a test tries again.
                        while inbox.put(thread * 5000 + i).is_err() {}
                    }
                });
            }
        });
        let mut taken = Vec::new();
        inbox.empty(|item| taken.push(item));
        taken.sort_unstable();
        assert_eq!(taken, (0..20_000).collect::<Vec<u64>>());
        let most = (SHARDS * ROOM) as u64;
        (0..most).for_each(|i| inbox.put(i).unwrap());
        assert_eq!(inbox.put(7), Err(7));
    }
}
