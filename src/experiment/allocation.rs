//! Which arm owns which slots, and how ownership moves when shares change.

use serde::{Deserialize, Serialize};

use super::slot::SLOTS;
use crate::error::{Error, Result};

/// Most arms of one experiment.
pub const MAX_ARMS: usize = 8;

/// A partition of the million slots among arms.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Allocation {
    /// Neighbouring ranges in order; each ends where the next begins, the last at a million.
    ranges: Vec<Range>,
    n_arms: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Range {
    /// First slot behind the range.
    end: u32,
    owner: Owner,
}

/// Who owns a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Owner {
    /// Position of the arm; 0 is the champion.
    pub arm: u8,
    /// Whether the slot belonged to another arm in an earlier phase.
    pub moved: bool,
}

impl Allocation {
    /// The first allocation: each arm owns one range, in order of arms.
    ///
    /// # Errors
    /// `InvalidConfig` for no arms, more than [`MAX_ARMS`], or shares that do not add up to 1,000,000.
    pub fn new(weights_ppm: &[u32]) -> Result<Self> {
        check(weights_ppm)?;
        let mut end = 0;
        let mut ranges = Vec::new();
        for (arm, &weight) in (0u8..).zip(weights_ppm) {
            end += weight;
            push(&mut ranges, end, Owner { arm, moved: false });
        }
        Ok(Allocation { ranges, n_arms: weights_ppm.len() as u8 })
    }

    /// The next phase's allocation: as few slots as possible change hands, Σ max(0, old share − new share). An arm that
    /// shrinks gives up slots that have moved before, then its last ones; an arm that grows takes them in order.
    ///
    /// # Errors
    /// `InvalidConfig` as for [`new`](Self::new), or for another number of arms.
    pub fn reweighted(&self, weights_ppm: &[u32]) -> Result<Self> {
        check(weights_ppm)?;
        if weights_ppm.len() != usize::from(self.n_arms) {
            let reason = format!("{} shares for {} arms", weights_ppm.len(), self.n_arms);
            return Err(Error::config("allocation", reason));
        }
        let before = self.weights_ppm();
        let mut keep: Vec<u32> = before.iter().zip(weights_ppm).map(|(a, b)| *a.min(b)).collect();
        let mut want: Vec<u32> =
            before.iter().zip(weights_ppm).map(|(a, b)| b.saturating_sub(*a)).collect();
        // How much each range keeps: those that have never moved first.
        let mut kept = vec![0; self.ranges.len()];
        for moved in [false, true] {
            let mut start = 0;
            for (kept, range) in kept.iter_mut().zip(&self.ranges) {
                if range.owner.moved == moved {
                    let keep = &mut keep[usize::from(range.owner.arm)];
                    *kept = (*keep).min(range.end - start);
                    *keep -= *kept;
                }
                start = range.end;
            }
        }
        let (mut ranges, mut start) = (Vec::new(), 0);
        for (range, kept) in self.ranges.iter().zip(kept) {
            let Owner { arm, moved } = range.owner;
            start += kept;
            push(&mut ranges, start, Owner { arm, moved });
            while start < range.end {
                // What some arms give up is what the others want: the weights add up to the same.
                let taker = want.iter().position(|want| *want > 0).unwrap_or(usize::from(arm));
                let taken = want[taker].min(range.end - start).max(1);
                want[taker] = want[taker].saturating_sub(taken);
                start += taken;
                push(&mut ranges, start, Owner { arm: taker as u8, moved: true });
            }
        }
        Ok(Allocation { ranges, n_arms: self.n_arms })
    }

    /// Who owns a slot below a million; slots from there on belong to the last range.
    pub fn owner(&self, slot: u32) -> Owner {
        // A handful of ranges: looking along is faster than searching.
        let range = self.ranges.iter().find(|range| slot < range.end);
        range.or(self.ranges.last()).expect("shares add up to a million, so there is a range").owner
    }

    /// Slots of each arm.
    pub fn weights_ppm(&self) -> Vec<u32> {
        self.slots_by_arm(|_| true)
    }

    /// Slots of each arm that it has held since the first phase.
    pub fn unmoved_ppm(&self) -> Vec<u32> {
        self.slots_by_arm(|owner| !owner.moved)
    }

    /// Slots that belong to another arm here than there.
    pub fn moved_from(&self, before: &Allocation) -> u32 {
        let mut ends: Vec<u32> =
            self.ranges.iter().chain(&before.ranges).map(|range| range.end).collect();
        ends.sort_unstable();
        let (mut start, mut moved) = (0, 0);
        for end in ends {
            if end > start && self.owner(start).arm != before.owner(start).arm {
                moved += end - start;
            }
            start = end;
        }
        moved
    }

    /// Number of arms.
    pub fn n_arms(&self) -> usize {
        usize::from(self.n_arms)
    }

    fn slots_by_arm(&self, counts: impl Fn(Owner) -> bool) -> Vec<u32> {
        let (mut slots, mut start) = (vec![0; self.n_arms()], 0);
        for range in &self.ranges {
            if counts(range.owner) {
                slots[usize::from(range.owner.arm)] += range.end - start;
            }
            start = range.end;
        }
        slots
    }
}

/// Adds a range up to `end`, joined to the one before if both have one owner; nothing for an empty range.
fn push(ranges: &mut Vec<Range>, end: u32, owner: Owner) {
    let start = ranges.last().map_or(0, |range| range.end);
    match ranges.last_mut() {
        _ if end == start => {}
        Some(last) if last.owner == owner => last.end = end,
        _ => ranges.push(Range { end, owner }),
    }
}

fn check(weights_ppm: &[u32]) -> Result<()> {
    if weights_ppm.is_empty() || weights_ppm.len() > MAX_ARMS {
        let reason = format!("has {} arms; 1 to {MAX_ARMS} are possible", weights_ppm.len());
        return Err(Error::config("allocation", reason));
    }
    let total: u64 = weights_ppm.iter().map(|&weight| u64::from(weight)).sum();
    if total != u64::from(SLOTS) {
        let reason = format!("shares add up to {total} instead of {SLOTS} parts per million");
        return Err(Error::config("allocation", reason));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_must_move_moves() {
        let thirds = Allocation::new(&[340_000, 330_000, 330_000]).unwrap();
        let next = thirds.reweighted(&[330_000, 330_000, 340_000]).unwrap();
        assert_eq!(next.moved_from(&thirds), 10_000);
        assert_eq!(next.weights_ppm(), [330_000, 330_000, 340_000]);
        assert_eq!(next.unmoved_ppm(), [330_000, 330_000, 330_000]);
        let without_first = Allocation::new(&[250_000; 4]).unwrap();
        let next = without_first.reweighted(&[0, 333_334, 333_333, 333_333]).unwrap();
        assert_eq!(next.moved_from(&without_first), 250_000);
    }

    #[test]
    fn a_slot_that_comes_back_has_still_moved() {
        let half = Allocation::new(&[500_000, 500_000]).unwrap();
        let back = half.reweighted(&[400_000, 600_000]).unwrap();
        let back = back.reweighted(&[500_000, 500_000]).unwrap();
        assert_eq!(back.weights_ppm(), [500_000, 500_000]);
        assert_eq!(back.unmoved_ppm().iter().sum::<u32>(), 900_000);
    }

    #[test]
    fn shares_that_cannot_be_are_refused() {
        for weights in [&[][..], &[SLOTS, 1], &[u32::MAX, u32::MAX], &[0; 9]] {
            assert!(Allocation::new(weights).is_err());
        }
        let one = Allocation::new(&[SLOTS]).unwrap();
        assert!(one.reweighted(&[500_000, 500_000]).is_err());
        assert_eq!(one.owner(u32::MAX), Owner { arm: 0, moved: false });
    }
}
