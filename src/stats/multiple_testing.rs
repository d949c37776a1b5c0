//! Many tests at once: adjusted p-values, and discoveries among e-values.

use crate::error::{Error, Result};

/// Holm's step-down adjustment: rejecting where the adjusted value is at most α keeps the chance of any false rejection
/// at α, whatever the dependence between the tests (Holm 1979). In the order of `p`; empty gives empty. O(n log n).
///
/// # Errors
/// `InvalidInput` naming the first value outside `0.0..=1.0` or NaN.
pub fn holm(p: &[f64]) -> Result<Vec<f64>> {
    let order = ascending(p)?;
    let (n, mut highest) = (p.len(), 0.0f64);
    let mut adjusted = vec![0.0; n];
    for (rank, &i) in order.iter().enumerate() {
        highest = highest.max((n - rank) as f64 * p[i]).min(1.0);
        adjusted[i] = highest;
    }
    Ok(adjusted)
}

/// Benjamini and Hochberg's step-up adjustment: rejecting where the adjusted value is at most q keeps the expected share
/// of false rejections among all rejections at q, for independent or positively dependent tests (Benjamini and Hochberg
/// 1995). In the order of `p`; empty gives empty. O(n log n).
///
/// # Errors
/// `InvalidInput` naming the first value outside `0.0..=1.0` or NaN.
pub fn benjamini_hochberg(p: &[f64]) -> Result<Vec<f64>> {
    let order = ascending(p)?;
    let (n, mut lowest) = (p.len(), 1.0f64);
    let mut adjusted = vec![0.0; n];
    for (rank, &i) in order.iter().enumerate().rev() {
        lowest = lowest.min(n as f64 / (rank + 1) as f64 * p[i]);
        adjusted[i] = lowest;
    }
    Ok(adjusted)
}

/// Which hypotheses the e-value form of Benjamini–Hochberg rejects at `q`: valid under any dependence between the tests
/// (Wang and Ramdas 2022). In the order of `e`; empty gives empty. O(n log n).
///
/// # Errors
/// `InvalidInput` for a negative or NaN e-value, or a `q` outside (0, 1).
pub fn e_benjamini_hochberg(e: &[f64], q: f64) -> Result<Vec<bool>> {
    super::interval::check_alpha(q)?;
    if let Some(i) = e.iter().position(|e| e.is_nan() || *e < 0.0) {
        return Err(Error::input("e-values", format!("number {i} is {}", e[i])));
    }
    let mut order: Vec<usize> = (0..e.len()).collect();
    order.sort_by(|&i, &j| e[j].total_cmp(&e[i]));
    let n = e.len() as f64;
    let enough = |rank: usize| e[order[rank]] >= n / (q * (rank + 1) as f64);
    let n_rejected = (0..e.len()).rev().find(|&rank| enough(rank)).map_or(0, |rank| rank + 1);
    let mut rejected = vec![false; e.len()];
    order[..n_rejected].iter().for_each(|&i| rejected[i] = true);
    Ok(rejected)
}

/// Positions from the smallest p-value to the largest.
fn ascending(p: &[f64]) -> Result<Vec<usize>> {
    if let Some(i) = p.iter().position(|p| !(0.0..=1.0).contains(p)) {
        return Err(Error::input("p-values", format!("number {i} is {}", p[i])));
    }
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&i, &j| p[i].total_cmp(&p[j]));
    Ok(order)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn close(got: &[f64], expected: &[f64]) {
        assert_eq!(got.len(), expected.len());
        for (got, expected) in got.iter().zip(expected) {
            assert!((got - expected).abs() < 1e-15, "{got} {expected}");
        }
    }

    #[test]
    fn textbook_values() {
        // scipy 1.17.1 and statsmodels 0.15.0
        let p = [0.01, 0.04, 0.03, 0.005];
        close(&holm(&p).unwrap(), &[0.03, 0.06, 0.06, 0.02]);
        close(&benjamini_hochberg(&p).unwrap(), &[0.02, 0.04, 0.04, 0.02]);
        close(&holm(&[0.2, 0.9, 0.04]).unwrap(), &[0.4, 0.9, 0.12]);
        close(&benjamini_hochberg(&[0.2, 0.9, 0.04]).unwrap(), &[0.3, 0.9, 0.12]);
        let rejected = e_benjamini_hochberg(&[30.0, 2.0, 0.5, 110.0, 18.0], 0.05).unwrap();
        assert_eq!(rejected, [false, false, false, true, false]);
    }

    #[test]
    fn nothing_and_nonsense() {
        assert!(holm(&[]).unwrap().is_empty() && benjamini_hochberg(&[]).unwrap().is_empty());
        assert!(e_benjamini_hochberg(&[], 0.05).unwrap().is_empty());
        for bad in [f64::NAN, -0.1, 1.1] {
            assert!(holm(&[0.5, bad]).unwrap_err().to_string().contains("number 1"));
            assert!(benjamini_hochberg(&[bad]).is_err());
        }
        assert!(e_benjamini_hochberg(&[-1.0], 0.05).is_err());
        assert!(e_benjamini_hochberg(&[1.0], 1.0).is_err());
    }
}
