//! Transforms and pipelines: one path for training and serving; and calibration against trusted peers.

use std::sync::Arc;

use proptest::prelude::*;
use riskcycle::dataset::{Dataset, FoldPlan};
use riskcycle::evaluate::{Calibration, Ranking, ReliabilityBins, ScoreMetric};
use riskcycle::model::{
    AveragedModel, BalancedBagging, BalancedBaggingConfig, BinningConfig, CalibratedModel,
    CalibratedTrainer, CalibrationMethod, Calibrator, DecisionTree, DecisionTreeConfig, Fitted,
    FittedTransforms, Imputation, LogisticModel, LogisticRegression, LogisticRegressionConfig,
    Model, ModelCodecs, ModelExt, Pipeline, PipelineModel, Trainer, Transform, Undersampled,
};
use riskcycle::ndarray::Array2;
use riskcycle::train::{CrossValidation, Metric};
use riskcycle::{Categories, Error, FeatureKind, FeatureSchema, Result, Seed};
use serde_json::Value;

/// Incomes with missing values and an outlier, a flag, and a region of which one value is never seen.
fn data(n: usize) -> Dataset {
    let regions = FeatureKind::Categorical(Categories::new(["north", "south", "moon"]).unwrap());
    let schema = FeatureSchema::with_kinds([
        ("income", FeatureKind::Numeric),
        ("owner", FeatureKind::Boolean),
        ("region", regions),
    ]);
    let cell = |i: usize, j: usize| match j {
        0 if i % 7 == 3 => f64::NAN,
        0 if i == 11 => 1e9,
        0 => (i * 37 % 101) as f64,
        1 if i % 13 == 5 => f64::NAN,
        1 => (i % 2) as f64,
        _ if i % 11 == 4 => f64::NAN,
        _ => (i / 3 % 2) as f64,
    };
    let features = Array2::from_shape_fn((n, 3), |(i, j)| cell(i, j));
    let bad = (0..n).map(|i| (i * 37 % 101) < 20 + 25 * (i / 3 % 2) || i % 17 == 0).collect();
    Dataset::new(schema.unwrap(), features, bad).unwrap()
}

fn fit(transforms: &[Transform], data: &Dataset) -> (FittedTransforms, Dataset) {
    FittedTransforms::fit(transforms, data, Seed(3)).unwrap()
}

fn same_bits(a: &[f64], b: &[f64]) -> bool {
    a.iter().map(|x| x.to_bits()).eq(b.iter().map(|x| x.to_bits()))
}

fn without_folds() -> Vec<Transform> {
    vec![
        Transform::FlagMissing,
        Transform::Winsorise { lower: 0.05, upper: 0.95 },
        Transform::Impute(Imputation::Mean),
        Transform::Standardise,
        Transform::FrequencyEncode,
    ]
}

#[test]
fn rows_are_served_as_they_were_trained_on() {
    let data = data(200);
    for transforms in [
        without_folds(),
        vec![Transform::OneHot, Transform::Impute(Imputation::Constant(-1.0))],
        vec![Transform::WeightOfEvidence(BinningConfig::default())],
        vec![],
    ] {
        let (fitted, training) = fit(&transforms, &data);
        let served = fitted.apply_dataset(&data).unwrap();
        assert_eq!(served.schema(), training.schema());
        assert!(same_bits(served.rows(), training.rows()), "{transforms:?}");
        let mut row = vec![0.0; fitted.output().n_features()];
        for i in 0..data.n_rows() {
            fitted.apply(data.row(i), &mut row).unwrap();
            assert!(same_bits(&row, served.row(i)));
        }
        assert_eq!(served.labels(), data.labels());
    }
}

#[test]
fn each_transform_does_what_it_says() {
    let data = data(200);
    let names = |of: &FittedTransforms| of.output().names().to_vec();
    let (flags, flagged) = fit(&[Transform::FlagMissing], &data);
    let with_flags =
        ["income", "income missing", "owner", "owner missing", "region", "region missing"];
    assert_eq!(names(&flags), with_flags);
    assert_eq!((flagged.row(3)[1], flagged.row(4)[1]), (1.0, 0.0));

    let (one_hot, hot) = fit(&[Transform::OneHot], &data);
    let columns = ["income", "owner", "region = north", "region = south", "region = moon"];
    assert_eq!(names(&one_hot), columns);
    assert_eq!((hot.row(0)[2], hot.row(3)[3], hot.row(4)[2]), (1.0, 1.0, 0.0));

    let (_, drawn_in) = fit(&[Transform::Winsorise { lower: 0.0, upper: 0.9 }], &data);
    assert!(drawn_in.row(11)[0] < 101.0 && drawn_in.row(3)[0].is_nan());

    let (_, filled) = fit(&[Transform::Impute(Imputation::Median)], &data);
    assert!(filled.row(3)[0].is_finite() && filled.row(5)[1].is_finite());
    assert!(filled.row(4)[2].is_nan(), "categories have no median");

    let (_, scaled) = fit(&[Transform::Impute(Imputation::Mean), Transform::Standardise], &data);
    let column = scaled.features().column(0).to_vec();
    let mean = column.iter().sum::<f64>() / 200.0;
    let variance = column.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / 200.0;
    assert!(mean.abs() < 1e-9 && (variance - 1.0).abs() < 1e-9);

    let (_, shares) = fit(&[Transform::FrequencyEncode], &data);
    let missing = (0..200).filter(|i| i % 11 == 4).count() as f64 / 200.0;
    assert_eq!(shares.row(4)[2], missing);
}

#[test]
fn a_training_row_is_target_encoded_without_its_own_label() {
    // A category of its own for every row: with its label in it, the encoding would be the label.
    let n = 60;
    let names = Categories::new((0..n).map(|i| format!("c{i}"))).unwrap();
    let schema = FeatureSchema::with_kinds([("id", FeatureKind::Categorical(names))]).unwrap();
    let features = Array2::from_shape_fn((n, 1), |(i, _)| i as f64);
    let bad: Vec<bool> = (0..n).map(|i| i % 3 == 0).collect();
    let data = Dataset::new(schema, features, bad.clone()).unwrap();
    let encode = Transform::TargetEncode { folds: 5, smoothing: 0.0 };
    let (fitted, training) = fit(&[encode], &data);
    let auc = |rows: &Dataset| Ranking::new(&bad, rows.rows()).unwrap().roc_auc();
    // Every training row gets the bad rate of the other folds, which is 1/3 in all of them.
    assert!(training.rows().iter().all(|value| (value - 1.0 / 3.0).abs() < 1e-12));
    assert_eq!(auc(&fitted.apply_dataset(&data).unwrap()), 1.0); // what serving would make of old rows
    let smooth = Transform::TargetEncode { folds: 5, smoothing: 3.0 };
    let (fitted, _) = fit(&[smooth], &data);
    let mut out = [0.0];
    fitted.apply(&[0.0], &mut out).unwrap();
    assert!((out[0] - (1.0 + 3.0 / 3.0) / 4.0).abs() < 1e-12); // one bad row, three of the average
    fitted.apply(&[f64::NAN], &mut out).unwrap();
    assert!((out[0] - 1.0 / 3.0).abs() < 1e-12);
}

fn pipeline() -> Pipeline {
    let mut transforms = without_folds();
    transforms.insert(0, Transform::TargetEncode { folds: 4, smoothing: 5.0 });
    Pipeline::new(transforms, Arc::new(LogisticRegression::default()))
}

#[test]
fn a_pipeline_scores_raw_rows_and_comes_back_from_its_bytes() {
    let data = data(300);
    let fitted = pipeline().fit(&data, Seed(1)).unwrap();
    assert!(fitted.convergence.unwrap().converged());
    let scores = fitted.model.score_dataset(&data).unwrap();
    let calibrator =
        Calibrator::fit(CalibrationMethod::Isotonic, data.labels(), &scores, None).unwrap();
    let model = Arc::new(CalibratedModel::new(fitted.model, calibrator).unwrap());
    let scores = model.score_dataset(&data).unwrap();
    assert!(scores.iter().all(|score| (0.0..=1.0).contains(score)));
    for (row, score) in scores.iter().enumerate() {
        assert_eq!(model.score_row(data.row(row)).unwrap().to_bits(), score.to_bits());
    }
    let codecs = ModelCodecs::default();
    let decode = |bytes: &[u8]| codecs.decode(model.kind(), data.schema().clone(), bytes);
    let bytes = model.to_bytes();
    let again = decode(&bytes).unwrap();
    assert_eq!(again.to_bytes(), bytes);
    assert!(same_bits(&again.score_dataset(&data).unwrap(), &scores));
    for end in 0..bytes.len() {
        assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    for place in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0xff;
        if let Ok(model) = decode(&damaged) {
            let _ = model.score_dataset(&data); // another model, never a panic
        }
    }
    let again = pipeline().fit(&data, Seed(1)).unwrap().model;
    assert_ne!(again.to_bytes(), pipeline().fit(&data, Seed(2)).unwrap().model.to_bytes());
}

#[test]
fn models_that_hold_each_other_without_end_are_refused() {
    let data = data(100);
    let trainer = Pipeline::new(
        vec![Transform::OneHot, Transform::Impute(Imputation::Mean)],
        Arc::new(LogisticRegression::default()),
    );
    let mut model = trainer.fit(&data, Seed(1)).unwrap().model;
    for _ in 0..12 {
        let calibrator = Calibrator::PriorShift { from: 0.5, to: 0.1 };
        model = Arc::new(CalibratedModel::new(model, calibrator).unwrap());
    }
    let codecs = ModelCodecs::default();
    let deep = codecs.decode(model.kind(), data.schema().clone(), &model.to_bytes());
    assert!(matches!(deep, Err(Error::Corrupt { .. })), "{deep:?}");
    let taken = codecs.with(PipelineModel::KIND, |_, _| unreachable!());
    assert!(taken.unwrap_err().is_conflict());
}

#[test]
fn parameters_out_of_range_are_refused() {
    let data = data(50);
    for transform in [
        Transform::Impute(Imputation::Constant(f64::NAN)),
        Transform::Winsorise { lower: 0.9, upper: 0.1 },
        Transform::Winsorise { lower: f64::NAN, upper: 0.9 },
        Transform::TargetEncode { folds: 1, smoothing: 1.0 },
        Transform::TargetEncode { folds: 2, smoothing: -1.0 },
        Transform::WeightOfEvidence(BinningConfig { max_bins: 0, ..Default::default() }),
    ] {
        let result = FittedTransforms::fit(&[transform], &data, Seed(1));
        assert!(matches!(result, Err(Error::InvalidConfig { .. })), "{result:?}");
    }
    let trainer = Arc::new(LogisticRegression::default());
    assert!(Undersampled::new(trainer.clone(), 0.0).is_err());
    let model =
        Pipeline::new(vec![Transform::OneHot, Transform::Impute(Imputation::Mean)], trainer);
    let model = model.fit(&data, Seed(1)).unwrap().model;
    for calibrator in [
        Calibrator::PriorShift { from: 0.0, to: 0.5 },
        Calibrator::Undersampling { kept: 0.0 },
        Calibrator::Isotonic { scores: vec![], probabilities: vec![] },
        Calibrator::Isotonic { scores: vec![0.1, 0.2], probabilities: vec![0.9, 0.1] },
        Calibrator::Platt { a: f64::NAN, b: 0.0 },
    ] {
        assert!(CalibratedModel::new(model.clone(), calibrator).is_err());
    }
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

#[track_caller]
fn assert_close(ours: f64, theirs: f64, tolerance: f64) {
    assert!(
        (ours - theirs).abs() <= tolerance * theirs.abs().max(1.0),
        "{ours}, should be {theirs}"
    );
}

#[test]
fn calibration_equals_scikit_learn_and_the_published_formulas() {
    let golden: Value = serde_json::from_str(include_str!("data/risk_golden.json")).unwrap();
    let random = &golden["ranking"]["random200_rounded2dp"];
    let labels: Vec<bool> = numbers(&random["y"]).into_iter().map(|y| y == 1.0).collect();
    let scores = numbers(&random["score"]);
    let golden = &golden["probability"];

    let theirs = &golden["platt_random200"];
    let platt = Calibrator::fit(CalibrationMethod::Platt, &labels, &scores, None).unwrap();
    let Calibrator::Platt { a, b } = platt else { panic!() };
    // Theirs is where a general minimiser stopped.
    assert_close(a, number(&theirs["a"]), 1e-6);
    assert_close(b, number(&theirs["b"]), 1e-6);
    for (score, p) in theirs["pred_at"].as_object().unwrap() {
        assert_close(platt.probability(score.parse().unwrap()), number(p), 1e-6);
    }

    let theirs = &golden["isotonic_random200"];
    let isotonic = Calibrator::fit(CalibrationMethod::Isotonic, &labels, &scores, None).unwrap();
    let Calibrator::Isotonic { scores: x, probabilities: y } = &isotonic else { panic!() };
    assert_eq!(*x, numbers(&theirs["x_thresholds"]));
    for (ours, theirs) in y.iter().zip(numbers(&theirs["y_thresholds"])) {
        assert_close(*ours, theirs, 1e-12);
    }
    for (score, p) in theirs["pred_at"].as_object().unwrap() {
        assert_close(isotonic.probability(score.parse().unwrap()), number(p), 1e-12);
    }

    let check = |calibrator: &Calibrator, case: &Value| {
        for (score, p) in numbers(&case["ps"]).into_iter().zip(numbers(&case["p"])) {
            assert_close(calibrator.probability(score), p, 1e-12);
        }
    };
    let case = &golden["prior_correction_undersampling"];
    check(&Calibrator::Undersampling { kept: number(&case["beta"]) }, case);
    let case = &golden["prior_shift_saerens"];
    let (from, to) = (number(&case["train_prior"]), number(&case["new_prior"]));
    check(&Calibrator::PriorShift { from, to }, case);
}

#[test]
fn beta_calibration_leaves_calibrated_scores_alone_and_mends_others() {
    // Bad exactly as often as the score says, 100 rows at each of nine scores.
    let rows = || (1..10).flat_map(|p| (0..100).map(move |i| (f64::from(p) / 10.0, i < p * 10)));
    let (scores, labels): (Vec<f64>, Vec<bool>) = rows().unzip();
    let beta = |scores: &[f64]| Calibrator::fit(CalibrationMethod::Beta, &labels, scores, None);
    let kept = beta(&scores).unwrap();
    for p in [0.1, 0.37, 0.9] {
        assert_close(kept.probability(p), p, 1e-6);
    }
    let squared: Vec<f64> = scores.iter().map(|p| p * p).collect();
    let mended = beta(&squared).unwrap();
    let mended: Vec<f64> = squared.iter().map(|p| mended.probability(*p)).collect();
    let loss =
        |p: &[f64]| Calibration::new(&labels, p, ReliabilityBins::EqualWidth(9)).unwrap().log_loss;
    assert!(loss(&mended) < loss(&squared) - 0.02);
    assert!(loss(&mended) < loss(&scores) + 0.002, "{} {}", loss(&mended), loss(&scores));
    assert!(beta(&mended.iter().map(|p| p + 1.0).collect::<Vec<_>>()).is_err());
}

#[test]
fn scores_that_cannot_be_calibrated_are_refused() {
    let fit = |labels: &[bool], scores: &[f64], weights: Option<&[f64]>| {
        Calibrator::fit(CalibrationMethod::Platt, labels, scores, weights)
    };
    let one_class = fit(&[true, true], &[0.1, 0.2], None);
    assert!(matches!(one_class, Err(Error::OneClass { label: true, .. })));
    let weighs_nothing = fit(&[true, false], &[0.5, 0.6], Some(&[1.0, 0.0]));
    assert!(matches!(weighs_nothing, Err(Error::OneClass { label: true, .. })));
    assert!(matches!(fit(&[true, false], &[0.5, 0.5], None), Err(Error::Training { .. })));
    for (scores, weights) in
        [([0.5, f64::NAN], None), ([0.5, 0.6], Some(&[1.0][..])), ([0.5, 0.6], Some(&[1.0, -1.0]))]
    {
        let result = fit(&[true, false], &scores, weights);
        assert!(matches!(result, Err(Error::InvalidInput { .. })), "{result:?}");
    }
    assert!(fit(&[true], &[0.5, 0.6], None).is_err());
    assert!(Calibrator::Undersampling { kept: 0.5 }.probability(f64::NAN).is_nan());
}

#[test]
fn an_undersampled_model_is_as_sure_as_one_of_all_rows() {
    let data = data(3000);
    let transforms = vec![Transform::OneHot, Transform::Impute(Imputation::Median)];
    let config = LogisticRegressionConfig { l2: 1e-3, ..Default::default() };
    let regression = LogisticRegression::new(config).unwrap();
    let plain = Arc::new(Pipeline::new(transforms, Arc::new(regression)));
    let mean = |trainer: &dyn Trainer| {
        let scores = trainer.fit(&data, Seed(1)).unwrap().model.score_dataset(&data).unwrap();
        scores.iter().sum::<f64>() / 3000.0
    };
    let kept_half = Undersampled::new(plain.clone(), 0.5).unwrap();
    let rate = data.n_bad() as f64 / 3000.0;
    assert_close(mean(plain.as_ref()), rate, 1e-6);
    // The drawn half of some 1,900 good rows differs from all of them by chance; uncorrected the mean would be 0.54.
    assert!((mean(&kept_half) - rate).abs() < 0.03, "{} {rate}", mean(&kept_half));
}

#[test]
fn a_weight_calibrates_as_so_many_rows_do() {
    let (labels, scores) = ([true, false, true, false, true], [0.9, 0.8, 0.4, 0.3, 0.2]);
    let weights = [2.0, 1.0, 3.0, 2.0, 0.0];
    let copies = || (0..5).flat_map(|row| (0..weights[row] as usize).map(move |_| row));
    let (many_labels, many_scores): (Vec<bool>, Vec<f64>) =
        copies().map(|row| (labels[row], scores[row])).unzip();
    for method in [CalibrationMethod::Platt, CalibrationMethod::Isotonic, CalibrationMethod::Beta] {
        let weighted = Calibrator::fit(method, &labels, &scores, Some(&weights)).unwrap();
        let repeated = Calibrator::fit(method, &many_labels, &many_scores, None).unwrap();
        for score in [0.1, 0.35, 0.5, 0.85] {
            assert_close(weighted.probability(score), repeated.probability(score), 1e-9);
        }
    }
}

/// Undoes every probability of a logistic regression: order kept, everything else wrong.
#[derive(Debug)]
struct Overstated;

#[derive(Debug)]
struct OverstatedModel(Arc<dyn Model>);

impl Trainer for Overstated {
    fn name(&self) -> &'static str {
        "overstated"
    }
    fn parameters(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn fit(&self, data: &Dataset, seed: Seed) -> Result<Fitted> {
        let Fitted { model, convergence } = pipeline().fit(data, seed)?;
        Ok(Fitted { model: Arc::new(OverstatedModel(model)), convergence })
    }
}

impl Model for OverstatedModel {
    fn schema(&self) -> &FeatureSchema {
        self.0.schema()
    }
    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
        self.0.score(rows, scores)?;
        scores.iter_mut().for_each(|score| *score = score.powf(0.2));
        Ok(())
    }
    fn kind(&self) -> &str {
        "overstated"
    }
    fn to_bytes(&self) -> Vec<u8> {
        self.0.to_bytes()
    }
}

#[test]
fn a_calibrated_trainer_is_calibrated_on_rows_that_its_models_did_not_see() {
    let (train, test) = (data(2000), data(3000).select_rows(&(2000..3000).collect::<Vec<_>>()));
    let (plain, test): (Arc<dyn Trainer>, _) = (Arc::new(Overstated), test.unwrap());
    let folds = FoldPlan::Stratified { folds: 4 };
    let ece = |trainer: &dyn Trainer| {
        let scores = trainer.fit(&train, Seed(1)).unwrap().model.score_dataset(&test).unwrap();
        let bins = ReliabilityBins::EqualCount(5);
        Calibration::new(test.labels(), &scores, bins).unwrap().expected_error
    };
    let before = ece(plain.as_ref());
    for method in [CalibrationMethod::Platt, CalibrationMethod::Isotonic, CalibrationMethod::Beta] {
        let trainer = CalibratedTrainer::new(plain.clone(), method, folds);
        // Of 200 rows to a bin a bad rate has a standard error of at most 0.035; twice that. A sigmoid does not have the shape
        // that undoes a fifth root.
        let most = if method == CalibrationMethod::Platt { before / 2.0 } else { 0.07 };
        let after = ece(&trainer);
        assert!(before > 0.2 && after < most, "{method:?}: {before} {after}");
        let again = || trainer.fit(&train, Seed(1)).unwrap().model.to_bytes();
        assert_eq!(again(), again());
    }

    // By hand: each fold's rows by the model of the others.
    let splits = folds.split(&train, Seed(1).derive("calibration", 0)).unwrap();
    let mut scores = vec![0.0; train.n_rows()];
    for split in &splits {
        let model = plain.fit(&train.select_rows(&split.train).unwrap(), Seed(1)).unwrap().model;
        split.test.iter().for_each(|&row| scores[row] = model.score_row(train.row(row)).unwrap());
    }
    let by_hand = Calibrator::fit(CalibrationMethod::Platt, train.labels(), &scores, None).unwrap();
    let trainer = CalibratedTrainer::new(plain.clone(), CalibrationMethod::Platt, folds);
    let model = trainer.fit(&train, Seed(1)).unwrap().model;
    let behind = plain.fit(&train, Seed(1)).unwrap().model;
    for row in [0, 7, 1999].map(|row| train.row(row)) {
        let expected = by_hand.probability(behind.score_row(row).unwrap());
        assert_eq!(model.score_row(row).unwrap().to_bits(), expected.to_bits());
    }

    // As any trainer it can be cross-validated: a fold's calibrator sees the training side only.
    let metrics: [&dyn Metric; 1] = [&ScoreMetric::LogLoss];
    let outer = FoldPlan::Stratified { folds: 3 };
    let loss = |trainer: &dyn Trainer| {
        let validated = CrossValidation::new(trainer, &train, &outer, &metrics, Seed(2)).unwrap();
        validated.metrics[0].mean
    };
    assert!(loss(&trainer) < loss(plain.as_ref()) - 0.1);
}

#[test]
fn balanced_bags_are_averaged_and_as_sure_as_all_rows() {
    let data = data(3000);
    // Every twelfth of the bad rows: some 3 % are left.
    let mut n = 0;
    let rows: Vec<usize> = (0..3000)
        .filter(|&row| {
            n += usize::from(data.labels()[row]);
            !data.labels()[row] || n.is_multiple_of(12)
        })
        .collect();
    let data = data.select_rows(&rows).unwrap();
    let transforms = vec![Transform::OneHot, Transform::Impute(Imputation::Median)];
    let tree = DecisionTree::new(DecisionTreeConfig { max_depth: Some(6), ..Default::default() });
    let tree = Arc::new(Pipeline::new(transforms, Arc::new(tree.unwrap())));
    let config = BalancedBaggingConfig { bags: 20, ratio: 0.1 };
    let trainer = BalancedBagging::new(tree.clone(), config).unwrap();
    let model = trainer.fit(&data, Seed(1)).unwrap().model;
    let scores = model.score_dataset(&data).unwrap();

    let rate = data.n_bad() as f64 / data.n_rows() as f64;
    let mean = scores.iter().sum::<f64>() / scores.len() as f64;
    assert!((0.02..0.05).contains(&rate));
    // Uncorrected it would be about 1 in 11, 0.09.
    assert!((mean / rate - 1.0).abs() < 0.25, "{mean} {rate}");

    let codecs = ModelCodecs::default();
    let bytes = model.to_bytes();
    let decode = |bytes: &[u8]| codecs.decode(model.kind(), data.schema().clone(), bytes);
    let again = decode(&bytes).unwrap();
    assert!(same_bits(&again.score_dataset(&data).unwrap(), &scores));
    for (row, score) in scores.iter().enumerate() {
        assert_eq!(again.score_row(data.row(row)).unwrap().to_bits(), score.to_bits());
    }
    for end in (0..bytes.len()).step_by(101) {
        assert!(decode(&bytes[..end]).is_err(), "cut at {end}");
    }
    assert_eq!(trainer.fit(&data, Seed(1)).unwrap().model.to_bytes(), bytes);
    assert_ne!(trainer.fit(&data, Seed(2)).unwrap().model.to_bytes(), bytes);

    for (bags, ratio) in [(0, 0.1), (5, 0.0), (5, 1.5), (5, f64::NAN)] {
        let config = BalancedBaggingConfig { bags, ratio };
        assert!(matches!(
            BalancedBagging::new(tree.clone(), config),
            Err(Error::InvalidConfig { .. })
        ));
    }
}

#[test]
fn an_average_takes_models_of_the_same_columns_and_has_no_score_where_one_has_none() {
    let schema = FeatureSchema::new(["x"]).unwrap();
    let model = |intercept| -> Arc<dyn Model> {
        let (one, zero) = (vec![1.0], vec![0.0]);
        let model = LogisticModel::new(schema.clone(), intercept, zero.clone(), zero, one);
        Arc::new(model.unwrap())
    };
    let odd = |odds: f64| odds / (1.0 + odds);
    let averaged = AveragedModel::new(vec![model(1f64.ln()), model(3f64.ln())]).unwrap();
    let rows: Vec<f64> = (0..150).map(|i| if i == 77 { f64::NAN } else { f64::from(i) }).collect();
    let mut scores = vec![0.0; 150];
    averaged.score(&rows, &mut scores).unwrap();
    for (row, score) in scores.iter().enumerate() {
        assert!(row == 77 && score.is_nan() || (score - (odd(1.0) + odd(3.0)) / 2.0).abs() < 1e-15);
    }
    assert!(matches!(AveragedModel::new(vec![]), Err(Error::Empty { .. })));
    let other = FeatureSchema::new(["y"]).unwrap();
    let other = LogisticModel::new(other, 0.0, vec![0.0], vec![0.0], vec![1.0]).unwrap();
    let mixed = AveragedModel::new(vec![model(0.0), Arc::new(other)]);
    assert!(matches!(mixed, Err(Error::SchemaMismatch { .. })));
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    #[test]
    fn isotonic_probabilities_never_fall_and_keep_the_bad_rate(
        rows in prop::collection::vec((0u8..20, any::<bool>()), 3..60),
    ) {
        let labels: Vec<bool> = rows.iter().map(|row| row.1).collect();
        prop_assume!(labels.contains(&true) && labels.contains(&false));
        let scores: Vec<f64> = rows.iter().map(|row| f64::from(row.0) / 20.0).collect();
        let calibrator = Calibrator::fit(CalibrationMethod::Isotonic, &labels, &scores, None).unwrap();
        let steps: Vec<f64> =
            (-5..30).map(|i| calibrator.probability(f64::from(i) / 25.0)).collect();
        prop_assert!(steps.windows(2).all(|pair| pair[0] <= pair[1] + 1e-15));
        let mean = scores.iter().map(|s| calibrator.probability(*s)).sum::<f64>() / rows.len() as f64;
        let rate = labels.iter().filter(|bad| **bad).count() as f64 / rows.len() as f64;
        prop_assert!((mean - rate).abs() < 1e-9);
    }

    /// Whatever it was trained on, a pipeline of all transforms scores every row that its schema allows.
    #[test]
    fn a_pipeline_scores_every_row(seed in any::<u64>(), n in 40usize..120) {
        let data = data(n);
        let model = pipeline().fit(&data, Seed(seed)).unwrap().model;
        for row in [[f64::NAN; 3], [1e300, 0.0, 2.0], [-5.0, 1.0, f64::NAN]] {
            prop_assert!(model.score_row(&row).unwrap().is_finite());
        }
    }
}
