//! Which features to keep: what each one says on its own, what a model makes of it, and the verdict with its reasons.

mod permutation;
mod screen;
mod selector;
mod verdict;

pub use permutation::{FeatureImportance, PermutationImportance};
pub use screen::{FeatureMeasure, FeatureScore, FeatureScreen};
pub use selector::{SelectionConfig, Selector};
pub use verdict::{DropReason, FeatureVerdict, Selection};

#[cfg(all(test, feature = "parallel"))]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::evaluate::ScoreMetric;
    use crate::model::LogisticModel;
    use crate::{FeatureSchema, Seed, dataset::Dataset};

    #[test]
    fn the_number_of_threads_changes_nothing() {
        let cell = |(row, column): (usize, usize)| ((row * (column + 3) * 7919) % 1009) as f64;
        let schema = FeatureSchema::new((0..9).map(|i| format!("x{i}"))).unwrap();
        let bad: Vec<bool> = (0..500).map(|row| cell((row, 0)) + cell((row, 4)) > 1300.0).collect();
        let data =
            Dataset::new(schema.clone(), Array2::from_shape_fn((500, 9), cell), bad).unwrap();
        let weights = (0..9).map(f64::from).collect();
        let model = LogisticModel::new(schema, 0.0, weights, vec![500.0; 9], vec![1000.0; 9]);
        let model = model.unwrap();
        let all = |threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let selector = Selector::new(SelectionConfig::default()).unwrap();
                let screen = selector.screen(&data).unwrap();
                let metric = ScoreMetric::AveragePrecision;
                let lost = PermutationImportance::new(&model, &data, metric, 3, Seed(1)).unwrap();
                let screen = screen.with_permutation_importance(&lost).unwrap();
                (selector.select(&data, &screen).unwrap(), lost)
            })
        };
        assert_eq!(all(1), all(3));
    }
}
