//! The log-rank test of two distributions of waiting times.

use super::proportion::ZTest;
use super::special::normal_two_sided;

/// Compares waiting times counted in equal steps, none of them cut short (Mantel 1966): element `t` of each list counts
/// events that took `t` steps. A positive statistic means that those of `first` come sooner. `None` if the lists differ
/// in length or either is without events. O(steps).
pub fn log_rank(first: &[u64], second: &[u64]) -> Option<ZTest> {
    let total = |counts: &[u64]| counts.iter().map(|&count| count as f64).sum::<f64>();
    let (mut left_1, mut left_2) = (total(first), total(second));
    if first.len() != second.len() || left_1 == 0.0 || left_2 == 0.0 {
        return None;
    }
    let (mut excess, mut variance) = (0.0, 0.0);
    for (&d_1, &d_2) in first.iter().zip(second) {
        let (d_1, d, n) = (d_1 as f64, (d_1 + d_2) as f64, left_1 + left_2);
        if d > 0.0 {
            excess += d_1 - d * left_1 / n;
        }
        if d > 0.0 && n > 1.0 {
            variance += d * (left_1 / n) * (left_2 / n) * (n - d) / (n - 1.0);
        }
        left_1 -= d_1;
        left_2 -= d - d_1;
    }
    let z = if variance > 0.0 { excess / variance.sqrt() } else { 0.0 };
    Some(ZTest { z, p_value: normal_two_sided(z) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_and_empty_lists() {
        assert_eq!(log_rank(&[3, 4, 1], &[3, 4, 1]).unwrap().z, 0.0);
        assert_eq!(log_rank(&[0, 0], &[1, 2]), None);
        assert_eq!(log_rank(&[1], &[1, 2]), None);
        // All at once: nothing to compare.
        assert_eq!(log_rank(&[5], &[7]).unwrap().p_value, 1.0);
    }
}
