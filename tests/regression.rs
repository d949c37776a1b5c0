//! Logistic regression: numbers of statsmodels and scikit-learn, weights, penalties, signs, and data without a solution.

use proptest::prelude::*;
use riskcycle::dataset::Dataset;
use riskcycle::model::{
    ClassWeights, LogisticFit, LogisticRegression, LogisticRegressionConfig, ModelExt, Sign, Signs,
    Trainer,
};
use riskcycle::ndarray::Array2;
use riskcycle::{Categories, Error, FeatureKind, FeatureSchema, Seed};
use serde_json::Value;

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn dataset(rows: &[Vec<f64>], bad: Vec<bool>) -> Dataset {
    let names = (0..rows[0].len()).map(|i| format!("x{i}"));
    let features = Array2::from_shape_vec((rows.len(), rows[0].len()), rows.concat()).unwrap();
    Dataset::new(FeatureSchema::new(names).unwrap(), features, bad).unwrap()
}

fn golden() -> (Value, Dataset) {
    let golden: Value = serde_json::from_str(include_str!("data/regression_golden.json")).unwrap();
    let rows: Vec<Vec<f64>> = golden["rows"].as_array().unwrap().iter().map(numbers).collect();
    let bad = numbers(&golden["bad"]).into_iter().map(|bad| bad == 1.0).collect();
    (golden, dataset(&rows, bad))
}

fn fit(config: LogisticRegressionConfig, data: &Dataset) -> LogisticFit {
    LogisticRegression::new(config).unwrap().fit_logistic(data).unwrap()
}

fn plain() -> LogisticRegressionConfig {
    LogisticRegressionConfig { l2: 0.0, ..Default::default() }
}

#[track_caller]
fn assert_close(ours: f64, theirs: f64, tolerance: f64) {
    assert!(
        (ours - theirs).abs() <= tolerance * theirs.abs().max(1.0),
        "{ours}, should be {theirs}"
    );
}

#[test]
fn coefficients_errors_and_p_values_equal_those_of_statsmodels() {
    let (golden, data) = golden();
    let weighted = data.clone().with_weights(numbers(&golden["weights"])).unwrap();
    for (name, data) in [("statsmodels_logit", &data), ("statsmodels_weighted", &weighted)] {
        let (theirs, ours) = (&golden[name], fit(plain(), data));
        assert!(ours.convergence.converged() && ours.iterations < 12);
        let table = ours.coefficients.unwrap();
        let check = |key: &str, value: fn(&riskcycle::model::Coefficient) -> f64| {
            for (ours, theirs) in table.iter().zip(numbers(&theirs[key])) {
                assert_close(value(ours), theirs, 1e-9);
            }
        };
        check("coefficients", |c| c.value);
        check("standard_errors", |c| c.standard_error);
        check("p_values", |c| c.p_value);
        if let Some(likelihood) = theirs["log_likelihood"].as_f64() {
            assert_close(ours.log_likelihood, likelihood, 1e-12);
        }
    }
}

#[test]
fn penalised_fits_equal_those_of_scikit_learn() {
    let (golden, data) = golden();
    let config = LogisticRegressionConfig::default;
    let balanced = LogisticRegressionConfig { class_weights: ClassWeights::Balanced, ..config() };
    for (name, config) in [
        ("ridge", LogisticRegressionConfig { l2: 10.0, ..config() }),
        ("balanced", balanced),
        ("lasso", LogisticRegressionConfig { l1: 10.0, l2: 0.0, ..config() }),
        ("elastic_net", LogisticRegressionConfig { l1: 4.0, l2: 6.0, ..config() }),
    ] {
        let ours = fit(config, &data);
        assert!(ours.convergence.converged() && ours.coefficients.is_none(), "{name}");
        assert_close(ours.model.intercept(), golden[name]["intercept"].as_f64().unwrap(), 1e-7);
        let theirs = numbers(&golden[name]["coefficients"]);
        for (ours, theirs) in ours.model.coefficients().iter().zip(theirs) {
            assert_close(*ours, theirs, 1e-7);
        }
    }
}

#[test]
fn a_weight_is_as_good_as_so_many_rows() {
    let (golden, data) = golden();
    let weights = numbers(&golden["weights"]);
    let copies: Vec<usize> = weights
        .iter()
        .enumerate()
        .flat_map(|(row, w)| std::iter::repeat_n(row, *w as usize))
        .collect();
    let copied = fit(plain(), &data.select_rows(&copies).unwrap());
    let weighted = fit(plain(), &data.with_weights(weights).unwrap());
    let pairs = copied.coefficients.unwrap().into_iter().zip(weighted.coefficients.unwrap());
    for (copied, weighted) in pairs {
        assert_close(weighted.value, copied.value, 1e-9);
        assert_close(weighted.standard_error, copied.standard_error, 1e-9);
    }
}

#[test]
fn a_sign_that_the_data_contradict_makes_the_coefficient_zero_and_the_rest_best() {
    let (_, data) = golden();
    let constrained =
        fit(LogisticRegressionConfig { signs: Signs::All(Sign::Positive), ..plain() }, &data);
    assert!(constrained.convergence.converged());
    assert_eq!(constrained.model.coefficients()[2], 0.0); // about -0.5 without the constraint
    let without = fit(plain(), &data.select_columns(&[0, 1, 3]).unwrap());
    for (column, other) in [(0, 0), (1, 1), (3, 2)] {
        let ours = constrained.model.coefficients()[column];
        assert_close(ours, without.model.coefficients()[other], 1e-7);
    }
    let signs = [("x2".to_owned(), Sign::Negative)].into();
    let agreed = fit(LogisticRegressionConfig { signs: Signs::Of(signs), ..plain() }, &data);
    assert_close(agreed.model.coefficients()[2], fit(plain(), &data).model.coefficients()[2], 1e-7);
    let unknown = [("x9".to_owned(), Sign::Negative)].into();
    let config = LogisticRegressionConfig { signs: Signs::Of(unknown), ..plain() };
    assert!(
        LogisticRegression::new(config).unwrap().fit_logistic(&data).unwrap_err().is_not_found()
    );
}

#[test]
fn data_without_one_solution_are_refused_and_a_ridge_penalty_helps() {
    let line: Vec<Vec<f64>> = (0..20).map(|i| vec![f64::from(i)]).collect();
    let separable = dataset(&line, (0..20).map(|i| i >= 10).collect());
    let try_plain = |data: &Dataset| LogisticRegression::new(plain()).unwrap().fit_logistic(data);
    let error = try_plain(&separable).unwrap_err().to_string();
    assert!(error.contains("separate the classes"), "{error}");
    assert!(fit(LogisticRegressionConfig::default(), &separable).convergence.converged());

    let twins: Vec<Vec<f64>> = (0..20).map(|i| vec![f64::from(i), f64::from(2 * i)]).collect();
    let twins = dataset(&twins, (0..20).map(|i| i % 3 == 0).collect());
    let error = try_plain(&twins).unwrap_err().to_string();
    assert!(error.contains("linearly dependent"), "{error}");
    let shared = fit(LogisticRegressionConfig::default(), &twins).model;
    assert_close(shared.coefficients()[0], shared.coefficients()[1], 1e-9);
}

#[test]
fn a_constant_column_takes_no_part() {
    let rows: Vec<Vec<f64>> = (0..20).map(|i| vec![f64::from(i), 7.3]).collect();
    let data = dataset(&rows, (0..20).map(|i| i % 3 == 0).collect());
    let fitted = fit(plain(), &data);
    assert_eq!(fitted.model.coefficients()[1], 0.0);
    let table = fitted.coefficients.unwrap();
    assert!(table[2].standard_error.is_nan() && table[1].standard_error.is_finite());
}

#[test]
fn what_cannot_be_trained_on_is_refused() {
    let (golden, data) = golden();
    for config in [
        LogisticRegressionConfig { l1: -1.0, ..plain() },
        LogisticRegressionConfig { l2: f64::NAN, ..plain() },
        LogisticRegressionConfig { tolerance: 0.0, ..plain() },
        LogisticRegressionConfig { max_iterations: 0, ..plain() },
        LogisticRegressionConfig {
            class_weights: ClassWeights::Given { bad: 0.0, good: 1.0 },
            ..plain()
        },
    ] {
        assert!(matches!(LogisticRegression::new(config), Err(Error::InvalidConfig { .. })));
    }
    let only_good: Vec<f64> = numbers(&golden["bad"]).into_iter().map(|bad| 1.0 - bad).collect();
    let weighted = data.clone().with_weights(only_good).unwrap();
    let result = LogisticRegression::default().fit(&weighted, Seed(1));
    assert!(matches!(result, Err(Error::OneClass { label: false, .. })), "{result:?}");

    let letters = FeatureKind::Categorical(Categories::new(["a", "b"]).unwrap());
    let schema = FeatureSchema::with_kinds([("letter", letters)]).unwrap();
    let features = Array2::from_shape_vec((3, 1), vec![0.0, 1.0, 1.0]).unwrap();
    let categorical = Dataset::new(schema, features, vec![true, false, true]).unwrap();
    let error = LogisticRegression::default().fit(&categorical, Seed(1)).unwrap_err().to_string();
    assert!(error.contains("letter is categorical"), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..Default::default() })]

    /// The mean score is the bad rate: the intercept is free, whatever the penalty on the rest.
    #[test]
    fn the_mean_score_is_the_bad_rate(
        rows in prop::collection::vec((-100i16..100, -5i8..5, any::<bool>()), 8..60),
        l1 in 0u8..3,
        l2 in 1u8..9,
    ) {
        let bad: Vec<bool> = rows.iter().map(|row| row.2).collect();
        prop_assume!(bad.contains(&true) && bad.contains(&false));
        let values: Vec<Vec<f64>> = rows.iter().map(|r| vec![r.0.into(), r.1.into()]).collect();
        let data = dataset(&values, bad);
        let config = LogisticRegressionConfig { l1: l1.into(), l2: l2.into(), ..Default::default() };
        let fitted = fit(config, &data);
        prop_assert!(fitted.convergence.converged(), "{:?}", fitted.convergence);
        let scores = fitted.model.score_dataset(&data).unwrap();
        let mean = scores.iter().sum::<f64>() / data.n_rows() as f64;
        prop_assert!((mean - data.n_bad() as f64 / data.n_rows() as f64).abs() < 1e-8);
    }
}
