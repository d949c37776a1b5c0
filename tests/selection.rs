//! Feature selection: measures against scipy, scikit-learn and pandas (tests/data), verdicts and their reasons, and
//! properties that hold for any columns.

use proptest::prelude::*;
use riskcycle::dataset::Dataset;
use riskcycle::evaluate::{
    DropReason, FeatureMeasure, FeatureScreen, PermutationImportance, Ranking, ScoreMetric,
    Selection, SelectionConfig, Selector,
};
use riskcycle::model::{
    LogisticModel, Model, ModelExt, Output, Question, Split, Tree, TreeEnsemble, TreeNode,
};
use riskcycle::ndarray::Array2;
use riskcycle::stats::{EmptyCells, mutual_information, spearman, weight_of_evidence};
use riskcycle::{Error, FeatureSchema, Result, Seed, Timestamp};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("data/selection_golden.json")).unwrap()
}

/// Numbers, null as missing.
fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap_or(f64::NAN)).collect()
}

fn columns(names: &[&str], columns: &[Vec<f64>], bad: &[bool]) -> Dataset {
    let shape = (bad.len(), columns.len());
    let features = Array2::from_shape_fn(shape, |(row, column)| columns[column][row]);
    Dataset::new(FeatureSchema::new(names.iter().copied()).unwrap(), features, bad.to_vec())
        .unwrap()
}

/// The golden rows, with their times.
fn golden_rows(golden: &Value) -> Dataset {
    let features = golden["features"].as_array().unwrap().iter();
    let names: Vec<&str> = features.clone().map(|f| f["name"].as_str().unwrap()).collect();
    let values: Vec<Vec<f64>> = features.map(|f| numbers(&f["values"])).collect();
    let bad: Vec<bool> = numbers(&golden["bad"]).into_iter().map(|bad| bad == 1.0).collect();
    let seconds = numbers(&golden["seconds"]).into_iter();
    let times = seconds.map(|s| Timestamp::from_seconds(s as i64)).collect();
    columns(&names, &values, &bad).with_times(times).unwrap()
}

fn close(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0)
}

fn equal(ours: Option<f64>, theirs: &Value) -> bool {
    match (ours, theirs.as_f64()) {
        (Some(ours), Some(theirs)) => close(ours, theirs),
        (ours, theirs) => ours == theirs,
    }
}

fn selector(config: SelectionConfig) -> Selector {
    Selector::new(config).unwrap()
}

/// Asks for nothing but what the leak alarm asks.
fn nothing_asked() -> SelectionConfig {
    SelectionConfig {
        leak_auc: 1.0,
        max_missing_rate: None,
        min_information_value: None,
        max_psi: None,
        max_redundancy: None,
        ..SelectionConfig::default()
    }
}

fn screen(data: &Dataset) -> FeatureScreen {
    selector(SelectionConfig::default()).screen(data).unwrap()
}

fn select(config: SelectionConfig, data: &Dataset) -> Selection {
    let selector = selector(config);
    selector.select(data, &selector.screen(data).unwrap()).unwrap()
}

fn kept(selection: &Selection) -> Vec<&str> {
    selection.kept().into_iter().map(|i| selection.features[i].score.name.as_str()).collect()
}

#[test]
fn every_measure_equals_scipy_and_scikit_learn() {
    let golden = golden();
    let screen = screen(&golden_rows(&golden));
    assert_eq!((screen.n_rows, screen.n_bad, screen.features.len()), (400, 68, 11));
    for (ours, theirs) in screen.features.iter().zip(golden["features"].as_array().unwrap()) {
        let name = &ours.name;
        assert_eq!((ours.n, ours.n_bad), (count(&theirs["n"]), count(&theirs["n_bad"])), "{name}");
        assert_eq!(ours.missing_rate, (400 - ours.n) as f64 / 400.0, "{name}");
        assert!(equal(ours.pearson, &theirs["pearson"]), "{name}: {ours:?}");
        assert!(equal(ours.spearman, &theirs["spearman"]), "{name}: {ours:?}");
        let information = Some(ours.mutual_information);
        assert!(equal(information, &theirs["mutual_information"]), "{name}: {ours:?}");
        let value = Some(ours.information_value);
        assert!(equal(value, &theirs["information_value"]), "{name}: {ours:?}");
        assert!(equal(ours.auc, &theirs["auc"]), "{name}: {ours:?}");
        assert!(equal(ours.ks, &theirs["ks"]), "{name}: {ours:?}");
        assert!(equal(Some(ours.missing_auc), &theirs["missing_auc"]), "{name}: {ours:?}");
        assert_eq!(ours.psi.len(), 3, "{name}");
        for (ours, theirs) in ours.psi.iter().zip(theirs["psi"].as_array().unwrap()) {
            assert!(equal(ours.map(|psi| psi.value), &theirs[0]), "{name}: {ours:?}");
            assert!(equal(ours.map(|psi| psi.critical), &theirs[1]), "{name}: {ours:?}");
        }
    }
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[test]
fn rank_correlation_of_every_pair_equals_pandas_missing_values_included() {
    let golden = golden();
    let features = golden["features"].as_array().unwrap().iter();
    let features: Vec<Vec<f64>> = features.map(|f| numbers(&f["values"])).collect();
    let mut undefined = 0;
    for (i, x) in features.iter().enumerate() {
        for (j, y) in features.iter().enumerate() {
            let (ours, theirs) = (spearman(x, y), &golden["spearman"][i][j]);
            assert!(equal(ours, theirs), "{i} {j}: {ours:?} {theirs}");
            undefined += usize::from(ours.is_none());
        }
    }
    assert_eq!(undefined, 121 - 81, "the constant and the empty column have none with any other");
}

#[test]
fn the_default_keeps_what_is_useful_and_tells_why_the_rest_goes() {
    let data = golden_rows(&golden());
    let selection = select(SelectionConfig::default(), &data);
    assert_eq!(kept(&selection), ["night", "count", "sparse", "far", "amount_log"]);
    let reasons = |name: &str| {
        let feature = selection.features.iter().find(|f| f.score.name == name).unwrap();
        feature.reasons.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(reasons("amount"), ["|Spearman| 0.9995 with amount_log is above 0.95"]);
    assert_eq!(reasons("constant"), ["IV 0.0000 is below 0.02"]);
    assert_eq!(reasons("chargeback"), ["leak alarm: AUC 0.9997 by itself is above 0.98"]);
    let closed = "leak alarm: AUC 1.0000 of being missing or not is above 0.98";
    assert_eq!(reasons("closed"), [closed]);
    assert_eq!(reasons("drifting"), ["PSI 2.7518 is above 0.25"]);
    assert_eq!(reasons("empty"), ["missing rate 1.0000 is above 0.95", "IV 0.0000 is below 0.02"]);
    let alarms: Vec<&str> = selection.alarms().map(|alarm| alarm.score.name.as_str()).collect();
    assert_eq!(alarms, ["chargeback", "closed"]);
    let told = selection.to_string();
    assert!(told.starts_with("5 of 11 features kept, leak alarms: 2\n"), "{told}");
    assert!(told.contains("\nLEAK  chargeback:") && told.contains("\nkeep  night:"), "{told}");
    assert!(told.contains("\ndrop  drifting:"), "{told}");
    let narrow = data.select_columns(&selection.kept()).unwrap();
    assert_eq!(narrow.schema().names(), kept(&selection));
}

#[test]
fn every_bound_drops_exactly_the_features_below_it() {
    use FeatureMeasure::*;
    let data = golden_rows(&golden());
    let importance: Vec<f64> = (0..11).map(f64::from).collect();
    type Ask = fn(&mut SelectionConfig, f64);
    let bounds: [(FeatureMeasure, Ask); 7] = [
        (Pearson, |c, bound| c.min_pearson = Some(bound)),
        (Spearman, |c, bound| c.min_spearman = Some(bound)),
        (MutualInformation, |c, bound| c.min_mutual_information = Some(bound)),
        (InformationValue, |c, bound| c.min_information_value = Some(bound)),
        (Auc, |c, bound| c.min_auc = Some(bound)),
        (Ks, |c, bound| c.min_ks = Some(bound)),
        (ModelImportance, |c, bound| c.min_model_importance = Some(bound)),
    ];
    let screen = screen(&data).with_model_importance(&importance).unwrap();
    for (measure, ask) in bounds {
        let mut values: Vec<f64> =
            screen.features.iter().filter_map(|f| f.value(measure)).collect();
        values.sort_by(f64::total_cmp);
        let bound = values[values.len() / 2]; // a value itself: it is kept
        let mut config = nothing_asked();
        ask(&mut config, bound);
        let selection = selector(config).select(&data, &screen).unwrap();
        for feature in &selection.features {
            let value = feature.score.value(measure);
            let expected = match value.is_some_and(|value| value >= bound) {
                true => vec![],
                false => vec![DropReason::TooLow { measure, value, bound }],
            };
            assert_eq!(feature.reasons, expected, "{measure}: {}", feature.score.name);
        }
        assert!(!selection.kept().is_empty() && selection.kept().len() < 11, "{measure}");
    }
}

#[test]
fn instability_counts_only_beyond_chance() {
    let data = golden_rows(&golden());
    let config = SelectionConfig { max_psi: Some(0.0), ..nothing_asked() };
    let selection = select(config, &data);
    let dropped: Vec<&str> = selection
        .features
        .iter()
        .filter(|feature| !feature.is_kept())
        .map(|feature| feature.score.name.as_str())
        .collect();
    // The others reach up to 0.28, which samples of these sizes reach by chance (critical value 0.58).
    assert_eq!(dropped, ["drifting"]);
}

#[test]
fn of_twins_the_better_one_stays_and_top_keeps_the_best() {
    let bad: Vec<bool> = (0..60).map(|row| row % 4 == 0).collect();
    let good_feature: Vec<f64> =
        (0..60).map(|row| f64::from(row % 4 == 0) * 3.0 + f64::from(row % 7)).collect();
    let worse: Vec<f64> = (0..60).map(|row| f64::from(row % 9)).collect();
    let twin: Vec<f64> = good_feature.iter().map(|value| value.powi(3)).collect();
    let names = ["worse", "twin", "good"];
    let data = columns(&names, &[worse, twin, good_feature], &bad);
    let config = SelectionConfig { max_redundancy: Some(0.95), ..nothing_asked() };
    // Equal in IV, so the first in the schema stays.
    let selection = select(config.clone(), &data);
    assert_eq!(kept(&selection), ["worse", "twin"]);
    let [DropReason::Redundant { with, spearman, bound }] = &selection.features[2].reasons[..]
    else {
        panic!("{selection}");
    };
    assert_eq!((with.as_str(), *bound), ("twin", 0.95));
    assert!((spearman - 1.0).abs() < 1e-12, "{spearman}");

    let best = select(SelectionConfig { top: Some(1), ..config.clone() }, &data);
    assert_eq!(kept(&best), ["twin"]);
    assert_eq!(best.features[0].reasons, [DropReason::BeyondTop { top: 1 }]);
    // By a model's word the order is another.
    let by_model = selector(SelectionConfig {
        rank_by: FeatureMeasure::ModelImportance,
        top: Some(2),
        ..config
    });
    let screen = by_model.screen(&data).unwrap().with_model_importance(&[0.5, 0.1, 0.9]).unwrap();
    assert_eq!(kept(&by_model.select(&data, &screen).unwrap()), ["worse", "good"]);
}

/// A model whose score is a feature, passed through the logistic function.
fn one_feature(names: &[&str], feature: usize) -> LogisticModel {
    let n = names.len();
    let mut coefficients = vec![0.0; n];
    coefficients[feature] = 1.0;
    let schema = FeatureSchema::new(names.iter().copied()).unwrap();
    LogisticModel::new(schema, 0.0, coefficients, vec![0.0; n], vec![1.0; n]).unwrap()
}

fn importance(model: &dyn Model, data: &Dataset, repeats: u32) -> PermutationImportance {
    PermutationImportance::new(model, data, ScoreMetric::RocAuc, repeats, Seed(7)).unwrap()
}

#[test]
fn permutation_importance_is_the_mean_over_all_orders() {
    let values = vec![0.1, 0.9, 0.4, 0.4, 0.7, -0.3];
    let bad = [false, true, true, false, true, false];
    // Every order of six rows, by Heap's algorithm.
    let (mut order, mut aucs) = (values.clone(), Vec::new());
    fn all(k: usize, order: &mut Vec<f64>, visit: &mut impl FnMut(&[f64])) {
        if k == 1 {
            return visit(order);
        }
        for i in 0..k {
            all(k - 1, order, visit);
            order.swap(if k.is_multiple_of(2) { i } else { 0 }, k - 1);
        }
    }
    all(6, &mut order, &mut |order| aucs.push(Ranking::new(&bad, order).unwrap().roc_auc()));
    assert_eq!(aucs.len(), 720);
    let mean = aucs.iter().sum::<f64>() / 720.0;
    let variance = aucs.iter().map(|auc| (auc - mean).powi(2)).sum::<f64>() / 720.0;
    assert!((mean - 0.5).abs() < 1e-12);

    let data = columns(&["x", "idle"], &[values.clone(), values.clone()], &bad);
    let found = importance(&one_feature(&["x", "idle"], 0), &data, 20_000);
    let baseline = Ranking::new(&bad, &values).unwrap().roc_auc();
    assert_eq!((found.baseline, found.n_unscored), (baseline, 0));
    // Standard errors of 20,000 draws: sd / sqrt(n) of the mean, below sd / sqrt(n) of the deviation; five of them.
    let five_errors = 5.0 * (variance / 20_000.0).sqrt();
    let x = &found.features[0];
    assert!((x.mean - (baseline - mean)).abs() < five_errors, "{x:?}");
    assert!((x.standard_deviation - variance.sqrt()).abs() < five_errors, "{x:?}");
    assert_eq!((found.features[1].mean, found.features[1].standard_deviation), (0.0, 0.0));
}

#[test]
fn more_rows_than_are_scored_at_once_and_average_precision() {
    let n = 2500; // 1,024 at a time
    let values: Vec<f64> = (0..n).map(|row| f64::from(row * 7919 % n)).collect();
    let bad: Vec<bool> = values.iter().map(|value| *value >= 2000.0).collect();
    let data =
        columns(&["x", "idle"], &[values.iter().map(|v| v / 1000.0).collect(), values], &bad);
    let model = one_feature(&["x", "idle"], 0);
    let metric = ScoreMetric::AveragePrecision;
    let found = PermutationImportance::new(&model, &data, metric, 4, Seed(1)).unwrap();
    assert_eq!(found.metric, metric);
    assert!(close(found.baseline, 1.0));
    // Shuffled, precision falls to about the rate of bad rows, 0.2: its standard error is near sqrt(.2 · .8 / 500) =
    // 0.018.
    assert!((found.features[0].mean - 0.8).abs() < 0.09, "{found:?}");
    assert_eq!(found.features[1].mean, 0.0);
}

#[test]
fn rows_without_a_score_rank_below_all_others() {
    let bad = [true, true, false, false];
    let data = columns(&["x"], &[vec![f64::NAN, 3.0, 1.0, 2.0]], &bad);
    let found = importance(&one_feature(&["x"], 0), &data, 1);
    assert_eq!(found.n_unscored, 1);
    assert_eq!(found.baseline, 0.5); // 3 beats both good rows, the unscored bad row loses to both
}

#[test]
fn permutation_importance_refuses_what_it_cannot_do() {
    let bad = [true, false];
    let data = columns(&["x"], &[vec![1.0, 2.0]], &bad);
    let ask = |data: &Dataset, repeats| {
        let model = one_feature(&["x"], 0);
        PermutationImportance::new(&model, data, ScoreMetric::RocAuc, repeats, Seed(1))
    };
    assert!(matches!(ask(&data, 0), Err(Error::InvalidConfig { .. })));
    let one_class = columns(&["x"], &[vec![1.0, 2.0]], &[true, true]);
    assert!(matches!(ask(&one_class, 1), Err(Error::OneClass { label: true, .. })));
    let other = columns(&["y"], &[vec![1.0, 2.0]], &bad);
    assert!(matches!(ask(&other, 1), Err(Error::SchemaMismatch { .. })));
}

#[test]
fn importances_are_used_when_there_and_missed_when_asked_for() {
    let names = ["x", "idle"];
    let bad: Vec<bool> = (0..40).map(|row| row % 3 == 0).collect();
    let x: Vec<f64> = (0..40).map(|row| f64::from(row % 3 == 0) + f64::from(row % 5)).collect();
    let data = columns(&names, &[x, (0..40).map(|row| f64::from(row % 11)).collect()], &bad);
    let model = one_feature(&names, 0);
    let asking = selector(SelectionConfig {
        min_permutation_importance: Some(0.01),
        min_model_importance: Some(0.5),
        ..nothing_asked()
    });
    let bare = asking.screen(&data).unwrap();
    let error = asking.select(&data, &bare).unwrap_err().to_string();
    assert_eq!(
        error,
        "invalid feature screen: has no model importance; add it to the screen first"
    );
    let lost = importance(&model, &data, 5);
    let full = bare.clone().with_model_importance(&model.importance());
    let full = full.and_then(|screen| screen.with_permutation_importance(&lost)).unwrap();
    let selection = asking.select(&data, &full).unwrap();
    assert_eq!(kept(&selection), ["x"]);
    let measures: Vec<String> =
        selection.features[1].reasons.iter().map(|r| r.to_string()).collect();
    let model_says = "model importance 0.0000 is below 0.5";
    assert_eq!(measures, [model_says, "permutation importance 0.0000 is below 0.01"]);

    assert!(bare.clone().with_model_importance(&[1.0]).is_err());
    assert!(bare.clone().with_model_importance(&[1.0, f64::NAN]).is_err());
    let turned = data.select_columns(&[1, 0]).unwrap();
    let of_turned = importance(&one_feature(&["idle", "x"], 1), &turned, 1);
    let error = bare.clone().with_permutation_importance(&of_turned).unwrap_err();
    assert!(matches!(error, Error::SchemaMismatch { .. }));
    assert!(matches!(asking.select(&turned, &full), Err(Error::SchemaMismatch { .. })));
    let fewer = columns(&names, &[vec![1.0, 2.0], vec![1.0, 2.0]], &[true, false]);
    assert!(matches!(asking.select(&fewer, &full), Err(Error::InvalidInput { .. })));
}

#[test]
fn one_class_and_one_row_are_refused() {
    let selector = selector(SelectionConfig::default());
    let of = |bad: &[bool]| selector.screen(&columns(&["x"], &[vec![1.0; bad.len()]], bad));
    assert!(matches!(of(&[false; 5]), Err(Error::OneClass { n_rows: 5, label: false, .. })));
    assert!(matches!(of(&[true]), Err(Error::OneClass { n_rows: 1, label: true, .. })));
}

#[test]
fn infinite_values_are_ranked_and_binned_and_have_no_line() {
    let values = vec![f64::NEG_INFINITY, 0.0, 1.0, 2.0, 3.0, f64::INFINITY];
    let data = columns(&["x"], &[values], &[false, false, true, false, true, true]);
    let x = &screen(&data).features[0];
    assert_eq!((x.n, x.missing_rate, x.pearson), (6, 0.0, None));
    assert!(close(x.auc.unwrap(), 8.0 / 9.0) && close(x.ks.unwrap(), 2.0 / 3.0), "{x:?}");
    // spearmanr of 1 … 6 and 0 0 1 0 1 1, scipy 1.17.1.
    assert!(close(x.spearman.unwrap(), 0.683_130_051_063_973_2), "{x:?}");
    assert!(x.information_value.is_finite() && x.mutual_information.is_finite());
}

#[test]
fn without_times_or_with_one_moment_there_is_no_stability_to_judge() {
    let data = columns(&["x"], &[vec![1.0, 2.0, 3.0, 4.0]], &[true, false, true, false]);
    assert_eq!(screen(&data).features[0].psi, []);
    let strict = SelectionConfig { max_psi: Some(0.0), ..nothing_asked() };
    assert!(select(strict.clone(), &data).features[0].is_kept());
    let moment = data.with_times(vec![Timestamp::from_seconds(9); 4]).unwrap();
    let x = &screen(&moment).features[0];
    assert_eq!((&x.psi[..], x.value(FeatureMeasure::Psi)), (&[None; 3][..], None));
    assert!(select(strict, &moment).features[0].is_kept());
}

#[test]
fn configurations_that_cannot_work_are_refused() {
    type Change = fn(&mut SelectionConfig);
    let changes: [Change; 15] = [
        |c| c.n_bins = 1,
        |c| c.n_bins = 1001,
        |c| c.time_parts = 1,
        |c| c.leak_auc = 0.4,
        |c| c.leak_auc = f64::NAN,
        |c| c.min_auc = Some(0.3),
        |c| c.max_missing_rate = Some(1.5),
        |c| c.min_spearman = Some(-0.1),
        |c| c.max_redundancy = Some(f64::NAN),
        |c| c.min_information_value = Some(f64::INFINITY),
        |c| c.max_psi = Some(-1.0),
        |c| c.min_permutation_importance = Some(f64::NAN),
        |c| c.rank_by = FeatureMeasure::Psi,
        |c| c.rank_by = FeatureMeasure::MissingRate,
        |c| c.top = Some(0),
    ];
    for (i, change) in changes.iter().enumerate() {
        let mut config = SelectionConfig::default();
        change(&mut config);
        assert!(matches!(Selector::new(config), Err(Error::InvalidConfig { .. })), "change {i}");
    }
}

#[test]
fn configurations_and_selections_survive_json() {
    let parse = |text| serde_json::from_str::<SelectionConfig>(text);
    let config = parse(r#"{"max_psi": null, "min_ks": 0.1, "rank_by": "Ks"}"#).unwrap();
    let expected = SelectionConfig {
        max_psi: None,
        min_ks: Some(0.1),
        rank_by: FeatureMeasure::Ks,
        ..SelectionConfig::default()
    };
    assert_eq!(config, expected);
    assert!(parse(r#"{"max_pis": 0.1}"#).is_err());
    let selection = select(SelectionConfig::default(), &golden_rows(&golden()));
    let text = serde_json::to_string(&selection).unwrap();
    assert_eq!(serde_json::from_str::<Selection>(&text).unwrap(), selection);
}

/// Rows of (bad, small number or missing, another small number).
fn any_rows() -> impl Strategy<Value = Vec<(bool, Option<u8>, u8)>> {
    let row = (any::<bool>(), prop::option::weighted(0.8, 0u8..12), 0u8..30);
    prop::collection::vec(row, 2..80).prop_filter("both labels", |rows| {
        rows.iter().any(|row| row.0) && rows.iter().any(|row| !row.0)
    })
}

fn of_rows(rows: &[(bool, Option<u8>, u8)]) -> Dataset {
    let bad: Vec<bool> = rows.iter().map(|row| row.0).collect();
    let gappy = rows.iter().map(|row| row.1.map_or(f64::NAN, f64::from)).collect();
    let full: Vec<f64> = rows.iter().map(|row| f64::from(row.2)).collect();
    let mixed =
        rows.iter().map(|row| f64::from(row.2) + 3.0 * f64::from(u8::from(row.0))).collect();
    let seconds = rows.iter().map(|row| Timestamp::from_seconds(i64::from(row.2))).collect();
    columns(&["gappy", "full", "mixed"], &[gappy, full, mixed], &bad).with_times(seconds).unwrap()
}

proptest! {
    #[test]
    fn exchanging_columns_exchanges_their_scores_and_nothing_else(rows in any_rows()) {
        let data = of_rows(&rows);
        let turned = data.select_columns(&[2, 0, 1]).unwrap();
        let (one, two) = (screen(&data), screen(&turned));
        for (i, j) in [2, 0, 1].into_iter().enumerate() {
            prop_assert_eq!(&two.features[i], &one.features[j]);
        }
        let model = tree(data.schema());
        let turned_model = tree(turned.schema());
        let (one, two) = (importance(&model, &data, 2), importance(&turned_model, &turned, 2));
        for (i, j) in [2, 0, 1].into_iter().enumerate() {
            prop_assert_eq!(&two.features[i], &one.features[j]);
        }
    }

    #[test]
    fn a_rising_transform_leaves_everything_about_order_unchanged_and_a_falling_one_turns_it(
        rows in any_rows(),
    ) {
        let data = of_rows(&rows);
        let by = |f: fn(f64) -> f64| {
            let features = data.features().mapv(f);
            let times = data.times().unwrap().to_vec();
            let data = Dataset::new(data.schema().clone(), features, data.labels().to_vec());
            screen(&data.and_then(|data| data.with_times(times)).unwrap())
        };
        let (plain, rising, falling) = (screen(&data), by(|x| (x / 9.0).exp()), by(|x| -x));
        for ((a, b), c) in plain.features.iter().zip(&rising.features).zip(&falling.features) {
            prop_assert_eq!((a.spearman, a.auc, a.ks), (b.spearman, b.auc, b.ks));
            prop_assert_eq!(a.information_value, b.information_value);
            prop_assert_eq!(&a.psi, &b.psi);
            let near = |x: Option<f64>, y: Option<f64>| match (x, y) {
                (Some(x), Some(y)) => (x - y).abs() < 1e-12,
                (x, y) => x == y,
            };
            prop_assert!(near(a.auc, c.auc.map(|auc| 1.0 - auc)));
            prop_assert!(near(a.spearman, c.spearman.map(|r| -r)));
            prop_assert!(near(a.ks, c.ks));
        }
    }

    #[test]
    fn measures_stay_in_their_range(rows in any_rows()) {
        for x in screen(&of_rows(&rows)).features {
            prop_assert!(x.information_value >= 0.0 && x.information_value.is_finite());
            prop_assert!((0.0..=std::f64::consts::LN_2 + 1e-12).contains(&x.mutual_information));
            prop_assert!((0.5..=1.0).contains(&x.missing_auc));
            for share in [x.pearson.map(f64::abs), x.spearman.map(f64::abs), x.auc, x.ks] {
                prop_assert!(share.is_none_or(|share| (0.0..=1.0).contains(&share)));
            }
        }
    }

    #[test]
    fn bins_of_equal_mix_carry_no_information(
        cells in prop::collection::vec((0u64..50, 0u64..50), 1..12),
    ) {
        let (bad, good): (Vec<u64>, Vec<u64>) = cells.into_iter().unzip();
        if let Some(information) = mutual_information(&bad, &good) {
            prop_assert!(information >= 0.0);
            let turned = mutual_information(&good, &bad).unwrap();
            prop_assert!((information - turned).abs() < 1e-12);
        }
        let rows = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect::<Vec<_>>();
        let half = EmptyCells::Add(0.5);
        if let Some(evidence) = weight_of_evidence(&rows(&bad), &rows(&good), half) {
            prop_assert!(evidence.information_value >= 0.0);
            prop_assert!(evidence.by_bin.iter().all(|weight| weight.is_finite()));
        }
        if bad.iter().any(|count| *count > 0) {
            prop_assert!(mutual_information(&bad, &bad).unwrap() < 1e-12);
            let evidence = weight_of_evidence(&rows(&bad), &rows(&bad), half).unwrap();
            prop_assert_eq!(evidence.information_value, 0.0);
        }
    }

    #[test]
    fn what_a_model_does_not_look_at_is_worth_exactly_nothing(
        rows in any_rows(),
        seed in any::<u64>(),
    ) {
        let data = of_rows(&rows);
        let model = tree(data.schema());
        let ask = |seed| {
            let metric = ScoreMetric::default();
            PermutationImportance::new(&model, &data, metric, 3, Seed(seed)).unwrap()
        };
        let found = ask(seed);
        prop_assert_eq!((found.features[0].mean, found.features[0].standard_deviation), (0.0, 0.0));
        prop_assert_eq!((found.features[1].mean, found.features[1].standard_deviation), (0.0, 0.0));
        prop_assert_eq!(ask(seed), found);
    }

    #[test]
    fn no_two_kept_features_are_closer_than_allowed(rows in any_rows(), bound in 0.0f64..1.0) {
        let data = of_rows(&rows);
        let config = SelectionConfig { max_redundancy: Some(bound), ..nothing_asked() };
        let selection = select(config, &data);
        let kept = selection.kept();
        prop_assert!(!kept.is_empty());
        let column = |i: usize| data.features().column(i).to_vec();
        for (n, &i) in kept.iter().enumerate() {
            for &j in &kept[n + 1..] {
                let closeness = spearman(&column(i), &column(j)).map_or(0.0, f64::abs);
                prop_assert!(closeness <= bound + 1e-12);
            }
        }
        for feature in selection.features.iter().filter(|feature| !feature.is_kept()) {
            let redundant = matches!(feature.reasons[..], [DropReason::Redundant { .. }]);
            prop_assert!(redundant);
        }
    }
}

/// A tree that asks for `mixed` alone.
fn tree(schema: &FeatureSchema) -> TreeEnsemble {
    let split = Split {
        feature: schema.position("mixed").unwrap() as u32,
        question: Question::AtMost(12.0),
        missing_left: false,
        also_missing: None,
        left: 1,
        right: 2,
    };
    let root = TreeNode { split: Some(Box::new(split)), value: 0.25, cover: 16.0, gain: 1.0 };
    let nodes = vec![root, TreeNode::leaf(0.1, 10.0), TreeNode::leaf(0.5, 6.0)];
    TreeEnsemble::new(schema.clone(), vec![Tree::new(nodes).unwrap()], Output::SHARES).unwrap()
}

#[test]
fn the_names_of_the_tests_models_are_what_they_say() -> Result<()> {
    let data = of_rows(&[(true, None, 11), (false, Some(1), 12)]);
    assert_eq!(tree(data.schema()).score_dataset(&data)?, [0.5, 0.1]);
    Ok(())
}
