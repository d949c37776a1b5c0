//! ChiMerge: joining the neighbours that differ least.

use crate::model::binning::config::Limits;
use crate::model::binning::optimal::Counts;
use crate::stats::chi_squared_sf;

/// Where the bins start after joining, again and again, the two neighbours with the smallest χ² (Kerber 1992), until all
/// neighbours differ at `significance` and every limit is kept, or one bin is left. A bin that breaks a limit is joined
/// first. O(bins²).
pub(super) fn chi_merge(counts: &[Counts], limits: &Limits, significance: f64) -> Vec<usize> {
    let mut bins: Vec<(usize, Counts)> = counts.iter().copied().enumerate().collect();
    loop {
        let breaks = |bin: &Counts| !limits.allow(bin.0, bin.1);
        let any_broken = bins.iter().any(|(_, bin)| breaks(bin));
        let pairs = (1..bins.len()).filter(|&i| {
            // While a limit is broken, only joins that mend it count.
            !any_broken || breaks(&bins[i - 1].1) || breaks(&bins[i].1)
        });
        let closest = pairs
            .map(|i| (i, chi_squared(bins[i - 1].1, bins[i].1)))
            .reduce(|best, pair| if pair.1 < best.1 { pair } else { best });
        let Some((i, statistic)) = closest else {
            break;
        };
        let alike = chi_squared_sf(statistic, 1.0) > significance;
        if !alike && !any_broken && bins.len() <= limits.max_bins {
            break;
        }
        let (_, (bad, good)) = bins.remove(i);
        let joined = &mut bins[i - 1].1;
        *joined = (joined.0 + bad, joined.1 + good);
    }
    bins.into_iter().map(|(start, _)| start).collect()
}

/// Pearson's statistic of two bins by two labels; 0 where a label or a bin has no rows.
fn chi_squared(a: Counts, b: Counts) -> f64 {
    let n = a.0 + a.1 + b.0 + b.1;
    let spread = (a.0 + a.1) * (b.0 + b.1) * (a.0 + b.0) * (a.1 + b.1);
    let cross = a.0 * b.1 - b.0 * a.1;
    if spread > 0.0 { n * cross * cross / spread } else { 0.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_limits_hold_at_once_and_different_neighbours_stay_apart() {
        let counts = [(50.0, 50.0), (48.0, 52.0), (10.0, 90.0), (0.0, 3.0), (80.0, 20.0)];
        let mut limits =
            Limits { max_bins: 10, min_rows: 20.0, min_bad: 1.0, min_good: 1.0, max_p_value: None };
        assert_eq!(chi_merge(&counts, &limits, 0.05), [0, 2, 4]);
        limits.max_bins = 2;
        assert_eq!(chi_merge(&counts, &limits, 0.05).len(), 2);
        limits.min_rows = 1e9;
        assert_eq!(chi_merge(&counts, &limits, 0.05), [0]);
        // scipy.stats.chi2_contingency([[50, 50], [10, 90]], correction=False)
        assert!((chi_squared(counts[0], counts[2]) - 38.095_238_095_238_1).abs() < 1e-10);
    }
}
