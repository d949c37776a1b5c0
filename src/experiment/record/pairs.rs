//! What is counted of two arms that score the same requests.

use super::score;
use crate::codec::total;

/// Score bins of each arm where two are counted together.
pub(in crate::experiment) const PAIR_BINS: usize = 256;

/// Rows of shadow mode on which champion and challenger are compared.
#[derive(Debug, Clone, PartialEq)]
pub(in crate::experiment) struct PairSums {
    /// Labelled rows that only the champion's alert has right, and only the challenger's.
    pub(in crate::experiment) champion_only: u64,
    pub(in crate::experiment) challenger_only: u64,
    pub(in crate::experiment) rows: u64,
    /// Rows by both scores' bins: champion's times [`PAIR_BINS`] plus the challenger's.
    pub(in crate::experiment) bad: Vec<u32>,
    pub(in crate::experiment) good: Vec<u32>,
}

impl PairSums {
    pub(super) fn new() -> Self {
        let cells = || vec![0; PAIR_BINS * PAIR_BINS];
        PairSums { champion_only: 0, challenger_only: 0, rows: 0, bad: cells(), good: cells() }
    }

    /// `scores` in steps of 2⁻³².
    pub(super) fn label(&mut self, bad: bool, alerts: (bool, bool), scores: Option<(u32, u32)>) {
        self.rows += 1;
        let (champion, challenger) = (alerts.0 == bad, alerts.1 == bad);
        self.champion_only += u64::from(champion && !challenger);
        self.challenger_only += u64::from(challenger && !champion);
        if let Some((champion, challenger)) = scores {
            let bin = |steps: u32| score::bin(steps) * PAIR_BINS / score::N_BINS;
            let cells = if bad { &mut self.bad } else { &mut self.good };
            let cell = &mut cells[bin(champion) * PAIR_BINS + bin(challenger)];
            *cell = cell.saturating_add(1);
        }
    }

    /// All counts together, but for the cells, which have bounds of their own.
    pub(super) fn counted(&self) -> u64 {
        total([self.champion_only, self.challenger_only, self.rows])
    }

    pub(super) fn merge(&mut self, other: &PairSums) {
        self.champion_only += other.champion_only;
        self.challenger_only += other.challenger_only;
        self.rows += other.rows;
        self.bad.iter_mut().zip(&other.bad).for_each(|(a, b)| *a = a.saturating_add(*b));
        self.good.iter_mut().zip(&other.good).for_each(|(a, b)| *a = a.saturating_add(*b));
    }
}
