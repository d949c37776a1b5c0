//! Isotonic regression by pooling adjacent violators.

use crate::model::calibration::{Calibrator, weight};

pub(super) fn fit(labels: &[bool], scores: &[f64], weights: Option<&[f64]>) -> Calibrator {
    let targets: Vec<f64> = labels.iter().map(|&bad| f64::from(u8::from(bad))).collect();
    let (scores, probabilities) = pool(scores, &targets, weights);
    Calibrator::Isotonic { scores, probabilities }
}

/// Rows of neighbouring scores that share a value.
#[derive(Clone, Copy)]
struct Level {
    first: f64,
    last: f64,
    /// Sum of the weighted targets.
    sum: f64,
    weight: f64,
}

impl Level {
    fn value(&self) -> f64 {
        self.sum / self.weight
    }
}

/// The points of the isotonic regression of `targets` on `scores`: both ends of every level. Some weight is above 0.
fn pool(scores: &[f64], targets: &[f64], weights: Option<&[f64]>) -> (Vec<f64>, Vec<f64>) {
    let counts = |row: &usize| weight(weights, *row) > 0.0;
    let mut order: Vec<usize> = (0..scores.len()).filter(counts).collect();
    order.sort_by(|&a, &b| scores[a].total_cmp(&scores[b]));
    let mut distinct: Vec<Level> = Vec::new();
    for row in order {
        let (score, weight) = (scores[row] + 0.0, weight(weights, row));
        match distinct.last_mut() {
            Some(level) if level.last == score => {
                level.sum += weight * targets[row];
                level.weight += weight;
            }
            _ => distinct.push(Level {
                first: score,
                last: score,
                sum: weight * targets[row],
                weight,
            }),
        }
    }
    let mut pooled: Vec<Level> = Vec::with_capacity(distinct.len());
    for mut level in distinct {
        while let Some(before) = pooled.pop_if(|before| before.value() >= level.value()) {
            level.first = before.first;
            level.sum += before.sum;
            level.weight += before.weight;
        }
        pooled.push(level);
    }
    let (mut x, mut y) = (Vec::new(), Vec::new());
    for level in pooled {
        x.push(level.first);
        y.push(level.value());
        if level.last > level.first {
            x.push(level.last);
            y.push(level.value());
        }
    }
    (x, y)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pooling_equals_scikit_learn() {
        // sklearn.isotonic.IsotonicRegression 1.4.2: ties and weights, and values beyond 0 and 1.
        let (x, y) = pool(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], &[1.0, 0.0, 2.0, 2.0, 1.0, 3.0], None);
        assert_eq!(x, [1.0, 2.0, 3.0, 5.0, 6.0]);
        assert_eq!(y, [0.5, 0.5, 5.0 / 3.0, 5.0 / 3.0, 3.0]);
        let weights = [1.0, 3.0, 1.0, 1.0, 2.0];
        let tied = pool(&[1.0, 1.0, 2.0, 2.0, 3.0], &[0.0, 1.0, 1.0, 0.0, 1.0], Some(&weights));
        let (x, y) = tied;
        assert_eq!(x, [1.0, 2.0, 3.0]);
        assert!(
            y.iter().zip([2.0 / 3.0, 2.0 / 3.0, 1.0]).all(|(a, b)| (a - b).abs() < 1e-15),
            "{y:?}"
        );
    }
}
