//! What each feature adds to a score, and the reasons that follow.

use std::sync::Arc;

use proptest::prelude::*;
use riskcycle::dataset::Dataset;
use riskcycle::model::{
    CategorySet, Combine, Explainer, GradientBoosting, ImportOptions, Imputation, LinearExplainer,
    Link, LogisticModel, LogisticRegression, MissingValue, Model, Output, Pipeline, Precision,
    Question, ReasonBaseline, ReasonCodes, ReasonConfig, ReasonGroup, ReasonText, ScorecardConfig,
    ScorecardExplainer, ScorecardTrainer, Split, Trainer, Transform, Tree, TreeEnsemble,
    TreeExplainer, TreeNode,
};
use riskcycle::ndarray::Array2;
use riskcycle::{Error, FeatureSchema, Seed};
use serde_json::Value;

/// SplitMix64.
struct Rng(u64);

impl Rng {
    fn below(&mut self, n: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        (z ^ (z >> 31)) % n
    }

    /// Whole numbers with many ties, some of them missing.
    fn value(&mut self) -> f64 {
        if self.below(5) == 0 { f64::NAN } else { self.below(9) as f64 - 4.0 }
    }
}

fn schema(n: usize) -> FeatureSchema {
    FeatureSchema::new((0..n).map(|i| format!("f{i}"))).unwrap()
}

/// A tree of any shape, of thresholds and categories; features come back on a path, and some children have no cover.
fn random_tree(rng: &mut Rng, n_features: u64, depth: u64) -> Tree {
    let mut nodes = vec![TreeNode::leaf(0.0, 1.0 + rng.below(20) as f64)];
    let mut open = vec![(0, 0)];
    while let Some((place, level)) = open.pop() {
        let cover = nodes[place].cover;
        nodes[place].value = rng.below(2001) as f64 / 100.0 - 10.0;
        if level == depth || cover == 0.0 || (level > 0 && rng.below(5) == 0) {
            continue;
        }
        let question = match rng.below(3) {
            0 => Question::OneOf(CategorySet::new((0..4).filter(|_| rng.below(2) == 0))),
            _ => Question::AtMost(rng.below(9) as f64 - 4.0),
        };
        let (left, right) = (nodes.len() as u32, nodes.len() as u32 + 1);
        let feature = rng.below(n_features) as u32;
        let missing_left = rng.below(2) == 0;
        let split = Split { feature, question, missing_left, also_missing: None, left, right };
        nodes[place].split = Some(split.into());
        let share = cover * rng.below(5) as f64 / 4.0;
        nodes.extend([TreeNode::leaf(0.0, share), TreeNode::leaf(0.0, cover - share)]);
        open.extend([(left as usize, level + 1), (right as usize, level + 1)]);
    }
    Tree::new(nodes).unwrap()
}

fn ensemble(rng: &mut Rng, n_features: usize, n_trees: usize, depth: u64) -> TreeEnsemble {
    let trees = (0..n_trees).map(|_| random_tree(rng, n_features as u64, depth)).collect();
    let combine = if rng.below(2) == 0 { Combine::Sum } else { Combine::Mean };
    let link = Link::Logistic { slope: 1.0 };
    let output = Output { base: -0.5, combine, precision: Precision::Double, link };
    TreeEnsemble::new(schema(n_features), trees, output).unwrap()
}

fn margin(model: &TreeEnsemble, row: &[f64]) -> f64 {
    let mut margin = [0.0];
    model.margins(row, &mut margin).unwrap();
    margin[0]
}

fn contributions(explainer: &dyn Explainer, row: &[f64]) -> Vec<f64> {
    let mut contributions = vec![f64::NAN; row.len()];
    explainer.explain(row, &mut contributions).unwrap();
    contributions
}

/// The game: what the model answers on average when only the features in `known` (one bit each) are.
fn value(model: &TreeEnsemble, row: &[f64], known: usize) -> f64 {
    fn of(tree: &Tree, place: usize, row: &[f64], known: usize) -> f64 {
        let node = &tree.nodes()[place];
        let Some(split) = &node.split else { return node.value };
        let (left, right) = (split.left as usize, split.right as usize);
        if known & (1 << split.feature) != 0 {
            let left_way = split.goes_left(row[split.feature as usize]);
            return of(tree, if left_way { left } else { right }, row, known);
        }
        let share = |child: usize| tree.nodes()[child].cover / node.cover;
        share(left) * of(tree, left, row, known) + share(right) * of(tree, right, row, known)
    }
    let sum: f64 = model.trees().iter().map(|tree| of(tree, 0, row, known)).sum();
    let n = model.trees().len() as f64;
    model.output().base + if model.output().combine == Combine::Mean { sum / n } else { sum }
}

/// Shapley values by their definition, over all sets of features.
fn by_definition(model: &TreeEnsemble, row: &[f64]) -> Vec<f64> {
    let n = row.len();
    let values: Vec<f64> = (0..1 << n).map(|known| value(model, row, known)).collect();
    let factorial = |k: usize| (1..=k).map(|i| i as f64).product::<f64>();
    let of = |feature: usize| -> f64 {
        let without = (0..1usize << n).filter(|known| known & (1 << feature) == 0);
        let term = |known: usize| {
            let size = known.count_ones() as usize;
            let weight = factorial(size) * factorial(n - size - 1) / factorial(n);
            weight * (values[known | 1 << feature] - values[known])
        };
        without.map(term).sum()
    };
    (0..n).map(of).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn trees_are_taken_apart_as_the_definition_says(seed: u64, n_features in 1usize..8, depth in 1u64..7) {
        let mut rng = Rng(seed);
        let model = ensemble(&mut rng, n_features, 3, depth);
        let explainer = TreeExplainer::new(&model).unwrap();
        for _ in 0..4 {
            let row: Vec<f64> = (0..n_features).map(|_| rng.value()).collect();
            let (ours, expected) = (contributions(&explainer, &row), by_definition(&model, &row));
            for (ours, expected) in ours.iter().zip(&expected) {
                prop_assert!((ours - expected).abs() < 1e-11, "{ours} for {expected}");
            }
            prop_assert!((explainer.base() - value(&model, &row, 0)).abs() < 1e-11);
        }
    }

    #[test]
    fn contributions_add_up_to_the_margin_however_long_the_paths_are(seed: u64) {
        let mut rng = Rng(seed);
        let model = ensemble(&mut rng, 40, 3, 30);
        let explainer = TreeExplainer::new(&model).unwrap();
        let row: Vec<f64> = (0..40).map(|_| rng.value()).collect();
        let ours = contributions(&explainer, &row);
        let sum = explainer.base() + ours.iter().sum::<f64>();
        prop_assert!((sum - margin(&model, &row)).abs() < 1e-9);
        let asked = |feature: u32| {
            let nodes = model.trees().iter().flat_map(|tree| tree.nodes());
            nodes.filter_map(|node| node.split.as_ref()).any(|split| split.feature == feature)
        };
        for (feature, added) in (0..).zip(&ours) {
            prop_assert!(asked(feature) || *added == 0.0, "feature {feature} adds {added}");
        }
    }
}

fn floats(of: &Value) -> Vec<f64> {
    of.as_array().unwrap().iter().map(|x| x.as_f64().unwrap_or(f64::NAN)).collect()
}

#[test]
fn contributions_are_those_of_the_libraries() {
    let text = include_str!("data/shap_golden.json");
    let golden: Value = serde_json::from_str(text).unwrap();
    let cases = golden["cases"].as_array().unwrap();
    assert_eq!(cases.len(), 7);
    for case in cases {
        let (name, text) = (&case["name"], case["model"].as_str().unwrap().as_bytes());
        let told = ImportOptions::default();
        let options = ImportOptions { missing: Some(MissingValue::Nan), ..told };
        let imported = match case["source"].as_str().unwrap() {
            "lightgbm" => Some(TreeEnsemble::from_lightgbm(text, &told).unwrap()),
            "xgboost" => Some(TreeEnsemble::from_xgboost(text, &options).unwrap()),
            "scikit_learn" => Some(TreeEnsemble::from_scikit_learn(text).unwrap()),
            _ => None,
        };
        let explainer: Arc<dyn Explainer> = match imported {
            Some(model) => model.explainer().unwrap(),
            None => {
                let (weights, means) = (floats(&case["weights"]), floats(&case["means"]));
                let (n, intercept) = (weights.len(), case["intercept"].as_f64().unwrap());
                Arc::new(LinearExplainer::new(schema(n), intercept, weights, means).unwrap())
            }
        };
        let tolerance = case["tolerance"].as_f64().unwrap();
        let base = case["base"].as_f64().unwrap();
        assert!((explainer.base() - base).abs() < tolerance, "{name}: {}", explainer.base());
        let (rows, values) = (&case["rows"], case["values"].as_array().unwrap());
        for (row, expected) in rows.as_array().unwrap().iter().zip(values) {
            let ours = contributions(&*explainer, &floats(row));
            for (feature, (ours, expected)) in ours.iter().zip(floats(expected)).enumerate() {
                assert!(
                    (ours - expected).abs() < tolerance,
                    "{name} {feature}: {ours}, {expected}"
                );
            }
        }
    }
}

#[test]
fn trees_without_covers_are_refused() {
    let split = Split {
        feature: 0,
        question: Question::AtMost(0.0),
        missing_left: false,
        also_missing: None,
        left: 1,
        right: 2,
    };
    let inner = TreeNode { split: Some(split.into()), ..TreeNode::leaf(0.0, 0.0) };
    let nodes = vec![inner, TreeNode::leaf(1.0, 0.0), TreeNode::leaf(2.0, 0.0)];
    let trees = vec![Tree::new(nodes).unwrap()];
    let model = TreeEnsemble::new(schema(1), trees, Output::SHARES).unwrap();
    let error = model.explainer().unwrap_err();
    assert!(matches!(error, Error::InvalidInput { .. }), "{error}");
    assert!(error.to_string().contains("node 0 of tree 0 has no cover"), "{error}");
}

/// 600 rows of three features that matter, some values missing.
fn data() -> Dataset {
    let mut rng = Rng(3);
    let mut features = Array2::zeros((600, 3));
    features.iter_mut().for_each(|value| *value = rng.value());
    let bad = |row: usize| {
        let sum: f64 = features.row(row).iter().map(|v| if v.is_nan() { 1.0 } else { *v }).sum();
        sum + row as f64 % 7.0 > 4.0
    };
    let labels = (0..600).map(bad).collect();
    Dataset::new(schema(3), features, labels).unwrap()
}

fn log_odds(model: &dyn Model, row: &[f64]) -> f64 {
    let mut score = [0.0];
    model.score(row, &mut score).unwrap();
    (score[0] / (1.0 - score[0])).ln()
}

#[test]
fn every_kind_of_model_adds_up_to_its_own_margin() {
    let data = data();
    let impute = vec![Transform::FlagMissing, Transform::Impute(Imputation::Median)];
    let pipeline = Pipeline::new(impute, Arc::new(LogisticRegression::default()));
    let trainers: [&dyn Trainer; 3] = [
        &pipeline,
        &GradientBoosting::default(),
        &ScorecardTrainer::new(ScorecardConfig::default()).unwrap(),
    ];
    for trainer in trainers {
        let model = trainer.fit(&data, Seed(1)).unwrap().model;
        let explainer = model.explainer().unwrap();
        assert_eq!(explainer.schema(), model.schema());
        for row in 0..50 {
            let row = data.row(row);
            let sum = explainer.base() + contributions(&*explainer, row).iter().sum::<f64>();
            let margin = log_odds(&*model, row);
            assert!((sum - margin).abs() < 1e-7, "{}: {sum} for {margin}", trainer.name());
        }
        assert!(explainer.explain(&[0.0; 2], &mut [0.0; 3]).is_err());
        assert!(explainer.explain(&[0.0; 3], &mut [0.0; 4]).is_err());
    }
}

#[test]
fn a_scorecard_explains_its_points_against_either_baseline() {
    let data = data();
    let trainer = ScorecardTrainer::new(ScorecardConfig::default()).unwrap();
    let card = trainer.fit_scorecard(&data).unwrap().scorecard;
    for baseline in [ReasonBaseline::Maximum, ReasonBaseline::Neutral] {
        let explainer = ScorecardExplainer::new(card.clone(), baseline);
        for row in 0..50 {
            let row = data.row(row);
            let ours = contributions(&explainer, row);
            for lost in card.lost_points(row, baseline).unwrap() {
                let feature = card.schema().position(&lost.feature).unwrap();
                let points = ours[feature] * card.scaling().factor();
                assert!((points - lost.lost).abs() < 1e-9, "{points} for {}", lost.lost);
            }
            let sum = explainer.base() + ours.iter().sum::<f64>();
            assert!((sum - log_odds(&card, row)).abs() < 1e-9);
        }
    }
}

#[test]
fn a_missing_value_of_a_linear_model_adds_what_cannot_be_told() {
    let (ones, zeros) = (vec![1.0; 2], vec![0.0; 2]);
    let model = LogisticModel::new(schema(2), 0.5, vec![2.0, -1.0], zeros, ones).unwrap();
    let explainer = model.explainer().unwrap();
    let ours = contributions(&*explainer, &[f64::NAN, 3.0]);
    assert!(ours[0].is_nan());
    assert_eq!((ours[1], explainer.base()), (-3.0, 0.5));
}

fn text(code: &str) -> ReasonText {
    ReasonText { code: code.into(), text: format!("text of {code}") }
}

fn group(code: &str, missing: Option<&str>, features: &[&str]) -> ReasonGroup {
    let features = features.iter().map(|name| name.to_string()).collect();
    ReasonGroup { reason: text(code), missing: missing.map(text), features }
}

/// Explains a row as itself but for missing values, which add 1.
#[derive(Debug)]
struct AsIs(FeatureSchema);

impl Explainer for AsIs {
    fn schema(&self) -> &FeatureSchema {
        &self.0
    }

    fn base(&self) -> f64 {
        0.0
    }

    fn explain(&self, row: &[f64], contributions: &mut [f64]) -> riskcycle::Result<()> {
        for (out, value) in contributions.iter_mut().zip(row) {
            *out = if value.is_nan() { 1.0 } else { *value };
        }
        Ok(())
    }
}

fn told(codes: &ReasonCodes, row: &[f64]) -> Vec<(String, f64)> {
    let reasons = codes.reasons(row).unwrap();
    reasons.into_iter().map(|of| (of.code.to_string(), of.contribution)).collect()
}

fn named(reasons: &[(&str, f64)]) -> Vec<(String, f64)> {
    reasons.iter().map(|(code, added)| (code.to_string(), *added)).collect()
}

#[test]
fn reasons_are_what_adds_most_towards_bad_group_by_group() {
    let config = ReasonConfig::new(vec![
        group("R3", None, &["f0", "f1"]),
        group("R1", Some("R1M"), &["f2"]),
        group("R2", None, &["f3"]),
        group("R5", None, &["f4"]),
        group("R4", None, &["f5"]),
    ]);
    let explainer = Arc::new(AsIs(schema(6)));
    let codes = ReasonCodes::new(&config, explainer.clone()).unwrap();
    // Within the group 3 − 1 = 2; ties by code; what lowers the score is no reason, nor what adds nothing.
    let ours = told(&codes, &[3.0, -1.0, 2.0, -5.0, 0.0, 7.0]);
    assert_eq!(ours, named(&[("R4", 7.0), ("R1", 2.0), ("R3", 2.0)]));
    let ours = told(&codes, &[0.5, 0.0, f64::NAN, 0.25, 0.125, 0.75]);
    assert_eq!(ours, named(&[("R1M", 1.0), ("R4", 0.75), ("R3", 0.5), ("R2", 0.25)])); // four at most
    let ours = told(&codes, &[f64::NAN, 1.0, -1.0, -1.0, -1.0, -1.0]);
    assert_eq!(ours, named(&[("R3", 2.0)])); // a group without a reason for missing values
    let two = ReasonConfig { most: 2, ..config.clone() };
    let codes = ReasonCodes::new(&two, explainer).unwrap();
    assert_eq!(codes.reasons(&[1.0; 6]).unwrap().len(), 2);
    assert_eq!(&*codes.reasons(&[1.0; 6]).unwrap()[0].text, "text of R3");
    let json = serde_json::to_string(&config).unwrap();
    assert_eq!(serde_json::from_str::<ReasonConfig>(&json).unwrap(), config);
}

#[test]
fn groups_that_cannot_be_told_are_refused() {
    let refused = |config: ReasonConfig| {
        ReasonCodes::new(&config, Arc::new(AsIs(schema(2)))).unwrap_err().to_string()
    };
    let good =
        || ReasonConfig::new(vec![group("A", Some("AM"), &["f0"]), group("B", None, &["f1"])]);
    assert!(ReasonCodes::new(&good(), Arc::new(AsIs(schema(2)))).is_ok());
    let never = ReasonConfig { never_display: vec!["f1".into(), "age".into()], ..good() };
    let error = ReasonCodes::new(&never, Arc::new(AsIs(schema(2)))).unwrap_err();
    assert!(matches!(error, Error::Refused { .. }), "{error}");
    let with = |change: fn(&mut ReasonConfig)| {
        let mut config = good();
        change(&mut config);
        refused(config)
    };
    assert!(with(|c| c.groups.truncate(1)).contains("f1 is in no group"));
    assert!(with(|c| c.groups[0].features.push("f1".into())).contains("f1 is in two groups"));
    assert!(with(|c| c.groups[0].features.push("f9".into())).contains("has no f9"));
    assert!(with(|c| c.groups[1].reason.code = "AM".into()).contains("have the code AM"));
    assert!(with(|c| c.groups[1].reason.text.clear()).contains("needs a code and a text"));
    assert!(with(|c| c.most = 5).contains("1 to 4"));
    assert!(with(|c| c.most = 0).contains("1 to 4"));
}
