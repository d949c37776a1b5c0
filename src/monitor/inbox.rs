//! What was recorded and not looked at yet.

use crate::stats::Sharded;

/// Lists of fixed room that threads add to without waiting for each other or for whoever empties them.
#[derive(Debug)]
pub(super) struct Inbox<T> {
    lists: Sharded<Vec<T>>,
    /// Items of one list.
    room: usize,
}

impl<T> Inbox<T> {
    /// For so many items at least.
    pub(super) fn new(room: usize) -> Self {
        let room = room.div_ceil(Sharded::<Vec<T>>::COPIES);
        Inbox { lists: Sharded::new(|| Vec::with_capacity(room)), room }
    }

    /// Puts an item in, in a bounded number of steps and without allocating; gives it back where there is no room.
    #[inline]
    pub(super) fn put(&self, item: T) -> Result<(), T> {
        match self.lists.free_where(|list| list.len() < self.room) {
            Some(mut list) => {
                list.push(item);
                Ok(())
            }
            None => Err(item),
        }
    }

    /// Takes everything out.
    pub(super) fn empty(&self, mut take: impl FnMut(T)) {
        self.lists.each(|list| list.drain(..).for_each(&mut take));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_lost_while_there_is_room_and_what_does_not_fit_comes_back() {
        // A list that another thread holds for a moment counts as full, and there are twice as many as threads.
        let inbox = Inbox::new(40_000);
        std::thread::scope(|scope| {
            for thread in 0..4u64 {
                let inbox = &inbox;
                scope.spawn(move || (0..5000).for_each(|i| inbox.put(thread * 5000 + i).unwrap()));
            }
        });
        let mut taken = Vec::new();
        inbox.empty(|item| taken.push(item));
        taken.sort_unstable();
        assert_eq!(taken, (0..20_000).collect::<Vec<u64>>());
        (0..40_000).for_each(|i| inbox.put(i).unwrap());
        assert_eq!(inbox.put(7), Err(7));
    }
}
