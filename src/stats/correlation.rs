//! Correlation of two columns: Pearson's, and Spearman's on average ranks.

/// Pearson's correlation over the pairs in which neither value is missing (NaN), `-1.0..=1.0`.
///
/// `None` if the lists differ in length, fewer than two pairs are left, one side is constant over them, or one holds an
/// infinite value, which lies on no line. The sums go over values scaled to length one, so none of them overflows.
/// O(n).
pub fn pearson(x: &[f64], y: &[f64]) -> Option<f64> {
    let (x, y) = complete_pairs(x, y)?;
    correlation(x, y)
}

/// Spearman's rank correlation over the pairs in which neither value is missing (NaN), `-1.0..=1.0`: Pearson's on
/// ranks, equal values sharing the mean of their ranks, ranks counted among those pairs. An infinite value ranks first
/// or last.
///
/// `None` if the lists differ in length, fewer than two pairs are left, or one side is constant over them. O(n log n).
pub fn spearman(x: &[f64], y: &[f64]) -> Option<f64> {
    let (x, y) = complete_pairs(x, y)?;
    correlation(average_ranks(&x), average_ranks(&y))
}

/// A column made ready for Spearman's correlation with many others: O(n log n) once, then O(n) per pair of columns
/// without missing values. A pair with missing values is ranked anew over the rows that both have.
#[derive(Debug)]
pub(crate) struct RankedColumn {
    /// Ranks scaled to length one where no value is missing; else the values as they came.
    values: Vec<f64>,
    ranked: bool,
}

impl RankedColumn {
    pub(crate) fn new(values: Vec<f64>) -> Self {
        if values.iter().any(|value| value.is_nan()) {
            return RankedColumn { values, ranked: false };
        }
        let mut ranks = average_ranks(&values);
        match scale_to_unit(&mut ranks) {
            Some(()) => RankedColumn { values: ranks, ranked: true },
            None => RankedColumn { values, ranked: false },
        }
    }

    pub(crate) fn spearman(&self, other: &RankedColumn) -> Option<f64> {
        if self.ranked && other.ranked && self.values.len() == other.values.len() {
            return Some(dot(&self.values, &other.values));
        }
        // Scaled ranks stand in the same order, with the same ties, as the values they were made of.
        spearman(&self.values, &other.values)
    }
}

/// The pairs in which neither value is NaN; `None` if the lists differ in length.
fn complete_pairs(x: &[f64], y: &[f64]) -> Option<(Vec<f64>, Vec<f64>)> {
    let pairs = || x.iter().zip(y).filter(|(x, y)| !x.is_nan() && !y.is_nan());
    (x.len() == y.len()).then(|| (pairs().map(|p| *p.0).collect(), pairs().map(|p| *p.1).collect()))
}

/// Ranks from 1, equal values sharing the mean of theirs; `values` holds no NaN.
fn average_ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let value = |i: &usize| values[*i];
    // Not `total_cmp`: -0.0 and 0.0 are one value.
    order
        .sort_unstable_by(|a, b| value(a).partial_cmp(&value(b)).expect("the caller left NaN out"));
    let mut ranks = vec![0.0; values.len()];
    let mut first = 0;
    for ties in order.chunk_by(|a, b| value(a) == value(b)) {
        // Ranks first + 1 to first + len have this mean.
        let rank = first as f64 + (ties.len() + 1) as f64 / 2.0;
        ties.iter().for_each(|&i| ranks[i] = rank);
        first += ties.len();
    }
    ranks
}

/// Moves values to mean zero and scales them to length one; `None` if they are constant or not finite.
fn scale_to_unit(values: &mut [f64]) -> Option<()> {
    let first = *values.first()?;
    // Compared one by one: rounding can leave a constant column a variance above zero.
    if values.iter().all(|value| *value == first) {
        return None;
    }
    let n = values.len() as f64;
    let mean: f64 = values.iter().map(|value| value / n).sum();
    values.iter_mut().for_each(|value| *value -= mean);
    let largest = values.iter().fold(0.0f64, |most, value| most.max(value.abs()));
    // The mean is NaN for infinities of both signs, and `max` passes over NaN.
    if !(mean.is_finite() && largest.is_finite() && largest > 0.0) {
        return None;
    }
    values.iter_mut().for_each(|value| *value /= largest);
    let length = values.iter().map(|value| value * value).sum::<f64>().sqrt();
    values.iter_mut().for_each(|value| *value /= length);
    Some(())
}

fn correlation(mut x: Vec<f64>, mut y: Vec<f64>) -> Option<f64> {
    scale_to_unit(&mut x)?;
    scale_to_unit(&mut y)?;
    Some(dot(&x, &y))
}

fn dot(x: &[f64], y: &[f64]) -> f64 {
    x.iter().zip(y).map(|(x, y)| x * y).sum::<f64>().clamp(-1.0, 1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_of_ties_are_shared() {
        assert_eq!(average_ranks(&[3.0, -0.0, 3.0, 0.0, 9.0]), [3.5, 1.5, 3.5, 1.5, 5.0]);
        assert_eq!(average_ranks(&[]), [] as [f64; 0]);
    }

    #[test]
    fn missing_pairs_are_left_out_and_what_has_no_correlation_gets_none() {
        let x = [1.0, 2.0, f64::NAN, 4.0, 7.0];
        let y = [2.0, 4.0, 100.0, 8.0, f64::NAN];
        assert!((pearson(&x, &y).unwrap() - 1.0).abs() < 1e-15);
        assert!((spearman(&x, &y).unwrap() - 1.0).abs() < 1e-15);
        assert_eq!(pearson(&x, &y[1..]), None);
        assert_eq!(pearson(&[0.1; 3], &[1.0, 2.0, 3.0]), None);
        assert_eq!(spearman(&[f64::NAN; 2], &[1.0, 2.0]), None);
        assert_eq!(spearman(&[1.0], &[1.0]), None);
    }

    #[test]
    fn infinite_values_have_ranks_but_no_line_and_large_ones_do_not_overflow() {
        let y = [1.0, 2.0, 3.0];
        for x in [[1.0, 2.0, f64::INFINITY], [f64::NEG_INFINITY, 0.0, f64::INFINITY]] {
            assert_eq!(pearson(&x, &y), None);
            assert!((spearman(&x, &y).unwrap() - 1.0).abs() < 1e-15);
        }
        assert!((pearson(&[1e300, 2e300, 3e300], &y).unwrap() - 1.0).abs() < 1e-15);
        assert!((pearson(&[1e-300, 2e-300, 3e-300], &y).unwrap() - 1.0).abs() < 1e-15);
    }

    #[test]
    fn a_ranked_column_gives_what_spearman_gives() {
        let columns = [
            vec![3.0, 1.0, 2.0, 2.0, 5.0],
            vec![0.0, 1.0, 1.0, -4.0, 9.0],
            vec![3.0, f64::NAN, 2.0, 7.0, 5.0],
            vec![1.0; 5],
        ];
        for x in &columns {
            for y in &columns {
                let ranked = RankedColumn::new(x.clone()).spearman(&RankedColumn::new(y.clone()));
                match (ranked, spearman(x, y)) {
                    (Some(ours), Some(plain)) => assert!((ours - plain).abs() < 1e-15),
                    (ours, plain) => assert_eq!(ours, plain),
                }
            }
        }
    }
}
