//! Mutual information between bins and a label.

/// Mutual information in nats between the bin that a row falls into and whether it is bad, from the rows of each label
/// per bin: `0.0..=ln 2`; 0 for independence. `None` if the lists differ in length or count no row.
///
/// The plug-in estimate Σ pᵢⱼ ln(pᵢⱼ / (pᵢ pⱼ)), as scikit-learn's `mutual_info_score`. It is never below the truth on
/// average: noise alone gives about (bins − 1) / 2n. O(bins).
pub fn mutual_information(bad: &[u64], good: &[u64]) -> Option<f64> {
    let (n_bad, n_good) = (bad.iter().sum::<u64>() as f64, good.iter().sum::<u64>() as f64);
    let n = n_bad + n_good;
    if bad.len() != good.len() || n == 0.0 {
        return None;
    }
    let term = |cell: u64, in_bin: u64, of_label: f64| match cell as f64 {
        0.0 => 0.0, // the limit of p ln p
        cell => cell / n * (cell / of_label * (n / in_bin as f64)).ln(),
    };
    let bins = bad.iter().zip(good);
    let sum: f64 = bins.map(|(&b, &g)| term(b, b + g, n_bad) + term(g, b + g, n_good)).sum();
    // Rounding may leave independence a hair below zero.
    Some(sum.max(0.0))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_ends_of_the_range_and_degenerate_input() {
        let perfect = mutual_information(&[0, 6], &[6, 0]).unwrap();
        assert!((perfect - std::f64::consts::LN_2).abs() < 1e-15);
        assert_eq!(mutual_information(&[1, 2], &[10, 20]), Some(0.0));
        assert_eq!(mutual_information(&[3], &[9]), Some(0.0));
        assert_eq!(mutual_information(&[0, 0], &[5, 5]), Some(0.0)); // one class tells nothing
        assert_eq!(mutual_information(&[0], &[0]), None);
        assert_eq!(mutual_information(&[1], &[1, 2]), None);
    }
}
