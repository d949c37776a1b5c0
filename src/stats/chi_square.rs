//! The χ² test of homogeneity, and Cramér's V.

use serde::{Deserialize, Serialize};

use super::special::chi_squared_sf;
use crate::error::{Error, Result};

/// Outcome of a χ² test on two rows of counts.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct ChiSquareTest {
    /// Pearson's statistic, without continuity correction.
    pub statistic: f64,
    /// Columns that were not empty, less one.
    pub degrees: u64,
    /// Chance of a statistic at least as large if both rows came from one distribution; 1 for a single column.
    pub p_value: f64,
    /// Cramér's V, `0.0..=1.0`: for two rows √(χ² / n).
    pub cramers_v: f64,
    /// V less what chance alone contributes (Bergsma 2013): near 0 for equal distributions at any number of rows.
    pub cramers_v_corrected: f64,
}

/// Compares two rows of counts on the same bins. Bins empty in both are left out. The p-value wants expected counts of 5
/// and more; [`chi_square_test_merged`] sees to that. O(bins).
///
/// # Errors
/// `InvalidInput` if the lengths differ; `Empty` if either row is.
pub fn chi_square_test(a: &[u64], b: &[u64]) -> Result<ChiSquareTest> {
    let (n, m) = totals(a, b)?;
    let pairs = a.iter().copied().zip(b.iter().copied()).map(|(a, b)| (a as f64, b as f64));
    Ok(test(pairs, n, m))
}

/// [`chi_square_test`] after putting all bins in which either row expects fewer than 5 into one, as that bin's rows are too few
/// to tell anything by themselves. If that one expects fewer than 5 as well, it joins the smallest of the others.
///
/// # Errors
/// As [`chi_square_test`].
pub fn chi_square_test_merged(a: &[u64], b: &[u64]) -> Result<ChiSquareTest> {
    let (n, m) = totals(a, b)?;
    let least_share = n.min(m) / (n + m);
    let enough = |both: f64| both * least_share >= 5.0;
    let (mut kept, mut rest) = (Vec::with_capacity(a.len() + 1), (0.0, 0.0));
    for (&a, &b) in a.iter().zip(b) {
        let pair = (a as f64, b as f64);
        if enough(pair.0 + pair.1) {
            kept.push(pair);
        } else {
            rest = (rest.0 + pair.0, rest.1 + pair.1);
        }
    }
    let smallest = kept.iter_mut().min_by(|x, y| (x.0 + x.1).total_cmp(&(y.0 + y.1)));
    match smallest {
        Some(smallest) if !enough(rest.0 + rest.1) => {
            *smallest = (smallest.0 + rest.0, smallest.1 + rest.1);
        }
        _ => kept.push(rest),
    }
    Ok(test(kept.into_iter(), n, m))
}

fn totals(a: &[u64], b: &[u64]) -> Result<(f64, f64)> {
    if a.len() != b.len() {
        return Err(Error::input("counts", format!("{} and {} bins", a.len(), b.len())));
    }
    let total = |counts: &[u64]| counts.iter().map(|&count| count as f64).sum::<f64>();
    let (n, m) = (total(a), total(b));
    if n == 0.0 || m == 0.0 {
        return Err(Error::Empty { what: "row of counts".into() });
    }
    Ok((n, m))
}

fn test(pairs: impl Iterator<Item = (f64, f64)>, n: f64, m: f64) -> ChiSquareTest {
    let total = n + m;
    let (mut statistic, mut columns) = (0.0, 0u64);
    for (a, b) in pairs.filter(|(a, b)| a + b > 0.0) {
        columns += 1;
        let off = a - (a + b) * n / total;
        // Both rows are off by the same amount.
        statistic += off * off * total * total / ((a + b) * n * m);
    }
    let degrees = columns.saturating_sub(1);
    let p_value = if degrees == 0 { 1.0 } else { chi_squared_sf(statistic, degrees as f64) };
    let (phi, columns) = (statistic / total, columns as f64);
    let corrected = {
        let phi = (phi - (columns - 1.0) / (total - 1.0)).max(0.0);
        let shrunk = |k: f64| k - (k - 1.0) * (k - 1.0) / (total - 1.0);
        let least = shrunk(2.0).min(shrunk(columns)) - 1.0;
        if degrees == 0 || least <= 0.0 { 0.0 } else { (phi / least).sqrt() }
    };
    ChiSquareTest {
        statistic,
        degrees,
        p_value,
        cramers_v: if degrees == 0 { 0.0 } else { phi.sqrt() },
        cramers_v_corrected: corrected,
    }
}
