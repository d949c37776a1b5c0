//! Trainers: numbers against scikit-learn, orientation, determinism, and data that cannot be trained on.
#![cfg(feature = "linfa")]

use riskcycle::dataset::Dataset;
use riskcycle::model::{
    LinfaLogistic, LinfaLogisticConfig, LinfaTree, LinfaTreeConfig, LogisticModel,
    LogisticRegression, LogisticRegressionConfig, ModelCodecs, ModelExt, Trainer, TreeEnsemble,
};
use riskcycle::ndarray::Array2;
use riskcycle::train::TrainingRun;
use riskcycle::{Error, FeatureSchema, Seed};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn dataset(rows: &[Vec<f64>], bad: Vec<bool>) -> Dataset {
    let names = (0..rows[0].len()).map(|i| format!("x{i}"));
    let flat = rows.concat();
    let features = Array2::from_shape_vec((rows.len(), rows[0].len()), flat).unwrap();
    Dataset::new(FeatureSchema::new(names).unwrap(), features, bad).unwrap()
}

fn golden() -> (Value, Dataset) {
    let golden: Value = serde_json::from_str(include_str!("data/logistic_golden.json")).unwrap();
    let rows: Vec<Vec<f64>> = golden["rows"].as_array().unwrap().iter().map(numbers).collect();
    let bad = numbers(&golden["bad"]).into_iter().map(|bad| bad == 1.0).collect();
    (golden, dataset(&rows, bad))
}

fn logistic(l2: f64) -> LogisticRegression {
    LogisticRegression::new(LogisticRegressionConfig { l2, ..Default::default() }).unwrap()
}

fn linfa_logistic(l2: f64) -> LinfaLogistic {
    LinfaLogistic::new(LinfaLogisticConfig { l2, ..Default::default() }).unwrap()
}

fn check_against_scikit_learn(theirs: &Value, data: &Dataset) {
    let l2 = theirs["l2"].as_f64().unwrap();
    check_trainer_against_scikit_learn(&logistic(l2), theirs, data);
    check_trainer_against_scikit_learn(&linfa_logistic(l2), theirs, data);
}

fn check_trainer_against_scikit_learn(trainer: &dyn Trainer, theirs: &Value, data: &Dataset) {
    let fitted = trainer.fit(data, Seed(1)).unwrap();
    assert!(fitted.convergence.unwrap().converged());
    let codecs = ModelCodecs::default();
    let copy = codecs.decode(fitted.model.kind(), data.schema().clone(), &fitted.model.to_bytes());
    let scores = copy.unwrap().score_dataset(data).unwrap();
    for (ours, theirs) in scores.iter().zip(numbers(&theirs["scores"])) {
        assert!((ours - theirs).abs() < 1e-5, "{ours} {theirs}");
    }
    // The model's bytes are its intercept, then its coefficients.
    let bytes = fitted.model.to_bytes();
    let numbers_at = |i: usize| f64::from_le_bytes(bytes[8 * i..8 * (i + 1)].try_into().unwrap());
    assert!((numbers_at(0) - theirs["intercept"].as_f64().unwrap()).abs() < 1e-4);
    for (i, coefficient) in numbers(&theirs["coefficients"]).into_iter().enumerate() {
        assert!((numbers_at(i + 1) - coefficient).abs() < 1e-4, "{i}: {coefficient}");
    }
}

#[test]
fn logistic_regression_equals_scikit_learn_to_four_digits() {
    let (golden, data) = golden();
    check_against_scikit_learn(&golden["rare"], &data);
    check_against_scikit_learn(&golden["rare_strong_penalty"], &data);
}

#[test]
fn the_score_is_the_probability_of_bad_when_bad_is_the_larger_class_too() {
    let (golden, data) = golden();
    let exchanged = data.labels().iter().map(|bad| !bad).collect();
    let exchanged =
        Dataset::new(data.schema().clone(), data.features().to_owned(), exchanged).unwrap();
    check_against_scikit_learn(&golden["common"], &exchanged);
}

#[test]
fn a_solver_that_stops_short_is_reported() {
    let (_, data) = golden();
    let config = LogisticRegressionConfig { max_iterations: 1, ..Default::default() };
    let ours = LogisticRegression::new(config).unwrap();
    let config = LinfaLogisticConfig { max_iterations: 1, ..Default::default() };
    let linfas = LinfaLogistic::new(config).unwrap();
    for trainer in [&ours as &dyn Trainer, &linfas] {
        let fitted = trainer.fit(&data, Seed(1)).unwrap();
        assert!(!fitted.convergence.unwrap().converged());
    }
}

/// Points on a grid, bad above a line, with a few labels flipped and many rows alike.
fn grid() -> Dataset {
    let rows: Vec<Vec<f64>> =
        (0..400).map(|i| vec![f64::from(i % 20), f64::from(i / 20 % 10)]).collect();
    let bad = (0..400).map(|i| (i % 20 + i / 20 % 10 > 18) != (i % 37 == 0)).collect();
    dataset(&rows, bad)
}

#[test]
fn tree_leaves_hold_the_share_of_bad_among_the_training_rows_that_reach_them() {
    let data = grid();
    let trainer = LinfaTree::new(LinfaTreeConfig { max_depth: 4, ..Default::default() }).unwrap();
    let model = trainer.fit(&data, Seed(1)).unwrap().model;
    let scores = model.score_dataset(&data).unwrap();
    let mut distinct: Vec<f64> = scores.clone();
    distinct.sort_by(f64::total_cmp);
    distinct.dedup();
    assert!(distinct.len() > 2, "{distinct:?}");
    for leaf in distinct {
        let bad: Vec<bool> =
            (0..400).filter(|&i| scores[i] == leaf).map(|i| data.labels()[i]).collect();
        let share = bad.iter().filter(|bad| **bad).count() as f64 / bad.len() as f64;
        assert!((share - leaf).abs() < 1e-12, "{leaf} {share}");
    }
}

#[test]
fn the_same_data_give_the_same_tree_though_linfa_breaks_ties_by_a_random_hash() {
    // 8 rows of which 4 are bad make a leaf without a majority: linfa's pruning would flip a coin.
    let rows: Vec<Vec<f64>> = (0..64).map(|i| vec![f64::from(i / 8)]).collect();
    let bad = (0..64).map(|i| i % 8 < [0, 4, 8, 4, 0, 4, 4, 8][i / 8]).collect();
    let data = dataset(&rows, bad);
    let config = LinfaTreeConfig { max_depth: 6, min_rows_split: 2, min_rows_leaf: 1 };
    let trainer = LinfaTree::new(config).unwrap();
    let first = trainer.fit(&data, Seed(1)).unwrap().model.to_bytes();
    for _ in 0..30 {
        assert_eq!(trainer.fit(&data, Seed(1)).unwrap().model.to_bytes(), first);
    }
}

#[test]
fn data_that_cannot_be_trained_on_is_refused_with_its_reason() {
    let fine = |bad| dataset(&[vec![1.0], vec![2.0], vec![3.0]], bad);
    let gap = dataset(&[vec![1.0], vec![f64::NAN], vec![3.0]], vec![true, false, true]);
    let tree = LinfaTree::new(LinfaTreeConfig::default()).unwrap();
    for trainer in [&logistic(1.0) as &dyn Trainer, &linfa_logistic(1.0), &tree] {
        let one_class = trainer.fit(&fine(vec![true; 3]), Seed(1));
        assert!(matches!(one_class, Err(Error::OneClass { label: true, .. })), "{one_class:?}");
        let error = trainer.fit(&gap, Seed(1)).unwrap_err().to_string();
        assert!(error.contains("row 1, column x0 is NaN"), "{error}");
    }
    assert!(
        LogisticRegression::new(LogisticRegressionConfig { l2: f64::NAN, ..Default::default() })
            .is_err()
    );
    assert!(LinfaTree::new(LinfaTreeConfig { max_depth: 0, ..Default::default() }).is_err());
}

#[test]
fn constant_columns_and_one_row_of_each_class_can_be_trained_on() {
    let data = dataset(&[vec![5.0, 1.0], vec![5.0, 2.0]], vec![false, true]);
    let model = logistic(1.0).fit(&data, Seed(1)).unwrap().model;
    let scores = model.score_dataset(&data).unwrap();
    assert!(scores[0] < 0.5 && scores[1] > 0.5, "{scores:?}");
    let tree = LinfaTree::new(LinfaTreeConfig::default()).unwrap().fit(&data, Seed(1)).unwrap();
    assert_eq!(tree.model.score_dataset(&data).unwrap(), [0.5, 0.5]); // too few rows to split
}

#[test]
fn a_run_is_named_by_all_that_shaped_it() {
    let data = grid();
    let id = |l2: f64, seed: u64| {
        TrainingRun::fit(&logistic(l2), &data, None, Seed(seed)).unwrap().record.id
    };
    assert_eq!(id(1.0, 1), id(1.0, 1));
    assert_ne!(id(1.0, 1), id(2.0, 1));
    assert_ne!(id(1.0, 1), id(1.0, 2));
}

#[test]
fn a_model_refuses_columns_that_are_not_its_own() {
    let data = grid();
    let model = logistic(1.0).fit(&data, Seed(1)).unwrap().model;
    let schema = FeatureSchema::new(["x1", "x0"]).unwrap();
    let swapped = Dataset::new(schema, data.features().to_owned(), data.labels().to_vec()).unwrap();
    assert!(matches!(model.score_dataset(&swapped), Err(Error::SchemaMismatch { .. })));
    assert_eq!(LogisticModel::KIND, "logistic");
    assert_eq!(TreeEnsemble::KIND, "tree-ensemble");
}
