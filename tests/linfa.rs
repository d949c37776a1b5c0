//! linfa's models as ours, and ours behind linfa's traits.
#![cfg(feature = "linfa")]

use linfa::traits::{Fit, Predict};
use riskcycle::dataset::Dataset;
use riskcycle::model::{
    LinfaTree, LogisticModel, LogisticRegression, ModelExt, Trainer, TrainerForLinfa, TreeEnsemble,
};
use riskcycle::ndarray::{Array1, Array2};
use riskcycle::{Error, FeatureSchema, Seed};

/// Rows of two features on a grid; bad are those for which `bad` says so of their sum, with every seventh turned round.
fn data(n_rows: usize, bad: impl Fn(f64) -> bool) -> Dataset {
    let features = Array2::from_shape_fn((n_rows, 2), |(row, column)| {
        ((row * (7 + 6 * column) + column) % 29) as f64 / 4.0
    });
    let sums = features.outer_iter().map(|row| row.sum());
    let labels = sums.enumerate().map(|(row, sum)| bad(sum) ^ (row % 7 == 0)).collect();
    Dataset::new(FeatureSchema::new(["a", "b"]).unwrap(), features, labels).unwrap()
}

#[test]
fn a_fitted_logistic_regression_of_linfa_scores_the_probability_of_bad() {
    // Bad is the larger class, then the smaller one: linfa turns round, ours does not.
    for most in [5.0, 10.0] {
        let data = data(200, |sum| sum > most);
        let theirs = linfa::Dataset::from(&data);
        let fitted = linfa_logistic::LogisticRegression::default().fit(&theirs).unwrap();
        let ours = LogisticModel::from_linfa(data.schema().clone(), &fitted).unwrap();
        let positive = fitted.predict_probabilities(&theirs.records);
        let is_bad = fitted.labels().pos.class;
        assert_eq!(is_bad, data.n_bad() > 100);
        for (ours, positive) in ours.score_dataset(&data).unwrap().iter().zip(positive) {
            let expected = if is_bad { positive } else { 1.0 - positive };
            assert!((ours - expected).abs() < 1e-12, "{ours} {expected}");
        }
    }
    let one = FeatureSchema::new(["a"]).unwrap();
    let fitted = linfa_logistic::LogisticRegression::default();
    let fitted = fitted.fit(&linfa::Dataset::from(&data(50, |sum| sum > 5.0))).unwrap();
    assert!(matches!(LogisticModel::from_linfa(one, &fitted), Err(Error::InvalidInput { .. })));
}

#[test]
fn a_fitted_tree_of_linfa_decides_as_it_does_there_and_knows_shares() {
    let data = data(300, |sum| sum > 7.0);
    let theirs = linfa::Dataset::from(&data);
    let fitted = linfa_trees::DecisionTree::params().max_depth(Some(4)).fit(&theirs).unwrap();
    let ours = TreeEnsemble::from_linfa(&fitted, &data).unwrap();
    let decisions: Array1<bool> = fitted.predict(&theirs);
    let scores = ours.score_dataset(&data).unwrap();
    // A row on a threshold goes right at linfa's predict, though it went left in its training.
    let thresholds: Vec<f64> =
        fitted.iter_nodes().filter(|node| !node.is_leaf()).map(|node| node.split().1).collect();
    let clear = |row: usize| data.row(row).iter().all(|value| !thresholds.contains(value));
    let mut compared = 0;
    for (row, (score, bad)) in scores.iter().zip(&decisions).enumerate() {
        if *score != 0.5 && clear(row) {
            assert_eq!(*score > 0.5, *bad, "row {row}: {score}");
            compared += 1;
        }
    }
    assert!(compared > 200, "{compared}");
    // Leaves hold the training rows' shares: they average to the share of bad.
    let mean = scores.iter().sum::<f64>() / 300.0;
    assert!((mean - data.n_bad() as f64 / 300.0).abs() < 1e-12);
    let narrow = data.select_columns(&[0]).unwrap();
    let refused = TreeEnsemble::from_linfa(&fitted, &narrow);
    assert!(matches!(refused, Err(Error::SchemaMismatch { .. })));
}

#[test]
fn our_trainers_fit_and_predict_as_linfas_do() {
    let data = data(120, |sum| sum > 7.0);
    let theirs = linfa::Dataset::from(&data);
    let trainer = LogisticRegression::default();
    let expected = trainer.fit(&data, Seed(3)).unwrap().model.score_dataset(&data).unwrap();
    let through = TrainerForLinfa::new(trainer, Seed(3));
    let scores: Array1<f64> = through.fit(&theirs).unwrap().predict(&theirs);
    assert_eq!(scores.to_vec(), expected);
    // Folds are views, and a column-major matrix has its rows scattered.
    let mut theirs = theirs;
    let through = TrainerForLinfa::new(LinfaTree::default(), Seed(3));
    let folds = theirs.iter_fold(4, |fold| through.fit(fold).unwrap());
    let n_scored: usize = folds
        .map(|(model, valid)| {
            let scores: Array1<f64> = model.predict(&valid);
            let by_column = valid.records.t().as_standard_layout().into_owned();
            let again: Array1<f64> = model.predict(&by_column.t());
            assert_eq!(scores, again);
            scores.len()
        })
        .sum();
    assert_eq!(n_scored, 120);
}

#[test]
fn data_that_cannot_be_trained_on_is_our_error_there_too() {
    let data = linfa::Dataset::new(Array2::<f64>::zeros((4, 1)), Array1::from(vec![true; 4]));
    let fitted = TrainerForLinfa::new(LogisticRegression::default(), Seed(1)).fit(&data);
    assert!(matches!(fitted, Err(Error::OneClass { .. })));
}
