//! Which requests have been counted, in bounded memory.

/// Spreads numbers over the high bits (Fibonacci hashing); nothing that leaves the process depends on it.
pub(super) fn spread(number: u64) -> u64 {
    number.wrapping_mul(0x9E37_79B9_7F4A_7C15)
}

/// Places of a new table; it doubles from there.
pub(super) const SMALLEST: usize = 64;

/// Which requests have been counted, by pages of 64 neighbouring ids. Two generations of a hash table: when the younger is
/// full the older is forgotten, so at least the last half of the capacity is known exactly.
#[derive(Debug, Clone)]
pub(super) struct RequestMemory {
    young: Pages,
    old: Pages,
    /// Most pages of a generation.
    capacity: usize,
    /// Requests of generations that were dropped.
    forgotten: u64,
}

/// What is known of 64 requests, one bit each.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Page {
    /// The ids' common part: id / 64.
    pub(super) page: u64,
    pub(super) exposed: u64,
    pub(super) labelled: u64,
    /// Labelled bad.
    pub(super) bad: u64,
}

impl Page {
    /// The bit of a request within its page.
    pub(super) fn bit(request: u64) -> u64 {
        1 << (request & 63)
    }

    fn is_empty(&self) -> bool {
        self.exposed | self.labelled == 0
    }

    fn n_requests(&self) -> u64 {
        u64::from((self.exposed | self.labelled).count_ones())
    }
}

#[derive(Debug, Clone)]
struct Pages {
    places: Vec<Page>,
    len: usize,
}

impl RequestMemory {
    /// Room for at least `capacity` requests, if no two share a page; for up to 64 times as many with neighbouring ids.
    pub(super) fn new(capacity: usize) -> Self {
        let capacity = capacity.div_ceil(2).max(1);
        RequestMemory { young: Pages::new(), old: Pages::new(), capacity, forgotten: 0 }
    }

    /// The page of a request, to read and to add to: the caller sets a bit of it.
    #[inline]
    pub(super) fn page(&mut self, request: u64) -> &mut Page {
        let page = request >> 6;
        let place = self.young.place(page);
        if !self.young.places[place].is_empty() {
            return &mut self.young.places[place];
        }
        let older = self.old.place(page);
        if !self.old.places[older].is_empty() {
            return &mut self.old.places[older];
        }
        if self.young.len == self.capacity {
            std::mem::swap(&mut self.young, &mut self.old);
            self.forgotten += self.young.places.iter().map(Page::n_requests).sum::<u64>();
            self.young.clear();
        }
        self.young.add(page)
    }

    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    pub(super) fn set_forgotten(&mut self, forgotten: u64) {
        self.forgotten = forgotten;
    }

    /// All pages in order of ids.
    pub(super) fn sorted(&self) -> Vec<Page> {
        let both = self.old.places.iter().chain(&self.young.places);
        let mut pages: Vec<Page> = both.filter(|page| !page.is_empty()).copied().collect();
        pages.sort_unstable_by_key(|page| page.page);
        pages
    }

    /// Takes over another's pages, with room for both; the count of exposures and labels that both have had.
    pub(super) fn merge(&mut self, other: &RequestMemory) -> u64 {
        self.forgotten += other.forgotten;
        let lens = [&self.young, &self.old, &other.young, &other.old].map(|pages| pages.len);
        self.capacity = self.capacity.max(lens.iter().sum());
        other.sorted().into_iter().map(|page| self.join(page)).sum()
    }

    /// Adds what a page knows; the count of what was known already.
    pub(super) fn join(&mut self, theirs: Page) -> u64 {
        let mine = self.page(theirs.page << 6);
        let known = (mine.exposed & theirs.exposed).count_ones()
            + (mine.labelled & theirs.labelled).count_ones();
        mine.exposed |= theirs.exposed;
        mine.labelled |= theirs.labelled;
        mine.bad |= theirs.bad;
        u64::from(known)
    }
}

impl Pages {
    fn new() -> Self {
        Pages { places: vec![Page::default(); SMALLEST], len: 0 }
    }

    /// Where a page is, or would be put.
    #[inline]
    fn place(&self, page: u64) -> usize {
        let mask = self.places.len() - 1;
        let mut place = (spread(page) >> 32) as usize & mask;
        while !self.places[place].is_empty() && self.places[place].page != page {
            place = (place + 1) & mask;
        }
        place
    }

    fn add(&mut self, page: u64) -> &mut Page {
        if 2 * self.len >= self.places.len() {
            let twice = vec![Page::default(); 2 * self.places.len()];
            for page in std::mem::replace(&mut self.places, twice) {
                if !page.is_empty() {
                    let place = self.place(page.page);
                    self.places[place] = page;
                }
            }
        }
        self.len += 1;
        let place = self.place(page);
        self.places[place].page = page;
        &mut self.places[place]
    }

    fn clear(&mut self) {
        self.places.fill(Page::default());
        self.len = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether the request had been exposed before.
    fn expose(memory: &mut RequestMemory, request: u64) -> bool {
        let (page, bit) = (memory.page(request), Page::bit(request));
        let known = page.exposed & bit != 0;
        page.exposed |= bit;
        known
    }

    #[test]
    fn the_last_half_of_the_capacity_is_always_known() {
        // Ids far apart share no page, neighbouring ones do: neither may be forgotten too early.
        for distance in [1u64, 1000] {
            let mut memory = RequestMemory::new(64);
            for i in 0..10_000u64 {
                assert!(!expose(&mut memory, i * distance));
                for known in i.saturating_sub(31)..=i {
                    assert!(expose(&mut memory, known * distance), "{known} at {i}");
                }
            }
            assert!(memory.forgotten() > 0);
        }
    }

    #[test]
    fn merged_memories_know_what_either_knew_and_count_what_both_knew() {
        let (mut one, mut two) = (RequestMemory::new(64), RequestMemory::new(64));
        assert!((0..30).all(|request| !expose(&mut one, request * 1000)));
        assert!((20..50).all(|request| !expose(&mut two, request * 1000)));
        assert_eq!(one.merge(&two), 10);
        assert!((0..50).all(|request| expose(&mut one, request * 1000)));
        assert_eq!((one.sorted().len(), one.forgotten()), (50, 0));
    }
}
