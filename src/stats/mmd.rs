//! Maximum mean discrepancy: how far two samples of rows are apart, seen through a kernel.

use serde::{Deserialize, Serialize};

use super::{check_finite, quantile_sorted};
use crate::error::{Error, Result};

/// Squared maximum mean discrepancy between two samples.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Mmd {
    /// The estimate without bias; around 0, below it too, for equal distributions.
    pub unbiased: f64,
    /// The estimate that includes each row with itself; never negative.
    pub biased: f64,
    /// Width σ of the kernel exp(−d² / 2σ²).
    pub sigma: f64,
}

/// Compares two samples of rows, `n_columns` values each, laid one after the other. σ is the median distance between any two of
/// all rows unless it is given. Columns on different scales should be standardised before. O((n + m)² × columns) time, and
/// memory for all distances where σ is not given: on demand, for some thousand rows, never on a request's path.
/// Source: Gretton et al., "A Kernel Two-Sample Test", JMLR 13, 2012.
///
/// # Errors
/// `InvalidInput` for blocks that are not whole rows, fewer than two rows on a side, values that are not finite; `InvalidConfig`
/// for no columns or a σ that is not positive.
pub fn mmd(a: &[f64], b: &[f64], n_columns: usize, sigma: Option<f64>) -> Result<Mmd> {
    if n_columns == 0 || sigma.is_some_and(|sigma| !(sigma > 0.0 && sigma.is_finite())) {
        return Err(Error::config("MMD", "needs at least one column and a positive sigma"));
    }
    check_finite("first sample", a)?;
    check_finite("second sample", b)?;
    let whole = |rows: &[f64]| rows.len().is_multiple_of(n_columns) && rows.len() >= 2 * n_columns;
    if !whole(a) || !whole(b) {
        let reason = format!("at least two whole rows of {n_columns} values are needed");
        return Err(Error::input("samples", reason));
    }
    let rows: Vec<&[f64]> = a.chunks(n_columns).chain(b.chunks(n_columns)).collect();
    let (n, m) = (a.len() / n_columns, b.len() / n_columns);
    let squared = |i: usize, j: usize| -> f64 {
        rows[i].iter().zip(rows[j]).map(|(x, y)| (x - y) * (x - y)).sum()
    };
    let pairs = || (0..rows.len()).flat_map(|j| (0..j).map(move |i| (i, j)));
    let sigma = sigma.unwrap_or_else(|| {
        let mut distances: Vec<f64> = pairs().map(|(i, j)| squared(i, j).sqrt()).collect();
        distances.sort_unstable_by(f64::total_cmp);
        // More than half of all pairs equal: any width will do, as nothing else is told apart.
        quantile_sorted(&distances, 0.5).filter(|median| *median > 0.0).unwrap_or(1.0)
    });
    let (mut within_a, mut within_b, mut across) = (0.0, 0.0, 0.0);
    for (i, j) in pairs() {
        let kernel = (-squared(i, j) / (2.0 * sigma * sigma)).exp();
        match (i < n, j < n) {
            (true, true) => within_a += kernel,
            (false, false) => within_b += kernel,
            _ => across += kernel,
        }
    }
    let (n, m) = (n as f64, m as f64);
    let between = 2.0 * across / (n * m);
    let unbiased = 2.0 * within_a / (n * (n - 1.0)) + 2.0 * within_b / (m * (m - 1.0)) - between;
    // A row with itself has kernel 1.
    let biased = (n + 2.0 * within_a) / (n * n) + (m + 2.0 * within_b) / (m * m) - between;
    Ok(Mmd { unbiased, biased: biased.max(0.0), sigma })
}
