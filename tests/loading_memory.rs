//! Loading an artifact takes at most four times its bytes and a mebibyte of memory, whatever they are: what is honest fits,
//! what is made to expand is refused.

// It belongs to the fuzzer's package, where it is public.
#[path = "fuzz/src/meter.rs"]
#[allow(unreachable_pub)]
mod meter;

use std::sync::Arc;

use riskcycle::dataset::Dataset;
use riskcycle::evaluate::DecisionBands;
use riskcycle::model::{
    AveragedModel, CategorySet, Fitted, GoldenRows, LogisticModel, Model, Output, Pipeline,
    Question, ReasonConfig, ReasonGroup, ReasonText, Scaling, Scorecard, Split, Trainer, Transform,
    Tree, TreeEnsemble, TreeNode, WoeBins,
};
use riskcycle::ndarray::Array2;
use riskcycle::registry::{Artifact, LoadLimits, LoadOptions};
use riskcycle::train::{TrainingRecord, TrainingRun};
use riskcycle::{Categories, Digest, Error, FeatureKind, FeatureSchema, Result, Seed, Timestamp};

const OVER: &str = "takes more memory than four times its bytes and a mebibyte";

fn artifact_of(model: Arc<dyn Model>) -> Artifact {
    let record = TrainingRecord {
        id: Digest::of(b"run"),
        trainer: "by hand".into(),
        parameters: vec![("l2".into(), "1".into())],
        seed: Seed(3),
        dataset: Digest::of(b"data"),
        feature_set: None,
        library: "0.1.0".into(),
        n_rows: 10,
        n_bad: 2,
        convergence: None,
    };
    let rows = vec![0.0; model.schema().n_features()];
    let mut expected = [0.0];
    model.score(&rows, &mut expected).unwrap();
    let golden = GoldenRows::new(rows, expected.to_vec()).unwrap();
    let bands = DecisionBands::review_from(0.5).unwrap();
    let run = TrainingRun { model, record, golden };
    Artifact::new("test", "anna", Timestamp::from_date(2026, 1, 5), bands, run)
}

fn load(what: &str, artifact: &Artifact) -> Result<Artifact> {
    let any = LoadLimits { features: usize::MAX, ..LoadLimits::default() };
    let (bytes, options) = (artifact.to_bytes(), LoadOptions::default().with_limits(any));
    meter::bounded(what, 4, &bytes, |bytes| Artifact::from_bytes(bytes, &options))
}

fn fits(what: &str, artifact: &Artifact) {
    let bytes = artifact.to_bytes();
    assert!(bytes.len() > 100_000, "{what}: {} bytes are not many", bytes.len());
    let again = load(what, artifact).unwrap_or_else(|error| panic!("{what}: {error}"));
    assert!(again.to_bytes() == bytes, "{what} is written otherwise");
}

fn is_refused(what: &str, artifact: &Artifact) {
    match load(what, artifact) {
        Err(Error::Corrupt { reason, .. }) if reason.contains(OVER) => {}
        Err(error) => panic!("{what} is refused for something else: {error}"),
        Ok(_) => panic!("{what} is loaded"),
    }
}

fn numeric(names: impl IntoIterator<Item = String>) -> FeatureSchema {
    FeatureSchema::new(names).unwrap()
}

fn logistic(schema: FeatureSchema) -> Arc<dyn Model> {
    let n = schema.n_features();
    Arc::new(LogisticModel::new(schema, 0.5, vec![0.25; n], vec![0.0; n], vec![1.0; n]).unwrap())
}

/// The `i`-th name of letters and digits, the shortest first.
fn short(i: usize) -> String {
    let letters = b"0123456789abcdefghijklmnopqrstuvwxyz";
    let last = char::from(letters[i % letters.len()]);
    if i < letters.len() {
        last.to_string()
    } else {
        format!("{}{last}", short(i / letters.len() - 1))
    }
}

fn split(feature: u32, question: Question, left: u32) -> TreeNode {
    let split =
        Split { feature, question, missing_left: true, also_missing: None, left, right: left + 1 };
    TreeNode { split: Some(Box::new(split)), value: 0.0, cover: 2.0, gain: 1.0 }
}

/// A full tree of `depth` questions each way, breadth first.
fn full_tree(depth: u32, question: impl Fn(u32) -> (u32, Question)) -> Tree {
    let n_splits = (1 << depth) - 1;
    let inner = (0..n_splits).map(|i| {
        let (feature, question) = question(i);
        split(feature, question, 2 * i + 1)
    });
    let leaves = (0..=n_splits).map(|i| TreeNode::leaf(f64::from(i) * 0.01, 1.0));
    Tree::new(inner.chain(leaves).collect()).unwrap()
}

fn threshold(number: usize) -> impl Fn(u32) -> (u32, Question) {
    move |i| (i % 30, Question::AtMost(0.1 + number as f64 + f64::from(i)))
}

fn thirty() -> FeatureSchema {
    numeric((0..30).map(|i| format!("feature {i}")))
}

fn ensemble(schema: FeatureSchema, trees: Vec<Tree>) -> Arc<dyn Model> {
    Arc::new(TreeEnsemble::new(schema, trees, Output::SHARES).unwrap())
}

#[test]
fn a_thousand_trees_fit() {
    let trees = |n: usize, depth| (0..n).map(|i| full_tree(depth, threshold(i))).collect();
    fits("1000 trees of depth 6", &artifact_of(ensemble(thirty(), trees(1000, 6))));
    fits("20000 stumps", &artifact_of(ensemble(thirty(), trees(20_000, 1))));
    fits("a deep tree", &artifact_of(ensemble(thirty(), trees(1, 15))));
    // As XGBoost grows them on columns of few categories.
    let one_of = |i: u32| (i % 30, Question::OneOf(CategorySet::new([i / 30])));
    let trees = (0..500).map(|_| full_tree(6, one_of)).collect();
    fits("a category a question", &artifact_of(ensemble(thirty(), trees)));
    let half = |i: u32| (i % 30, Question::OneOf(CategorySet::new((i..200).step_by(2))));
    let trees = (0..100).map(|_| full_tree(6, half)).collect();
    fits("many categories a question", &artifact_of(ensemble(thirty(), trees)));
    let bag = |i: usize| ensemble(thirty(), vec![full_tree(5, threshold(i))]);
    let bags = AveragedModel::new((0..300).map(bag).collect()).unwrap();
    fits("300 bags", &artifact_of(Arc::new(bags)));
}

fn long(i: usize) -> String {
    format!("the number of card transactions of customer within {i} hours before the event")
}

#[test]
fn four_thousand_features_fit_with_long_names_and_with_short_ones() {
    fits("long names", &artifact_of(logistic(numeric((0..4096).map(long)))));
    fits("short names", &artifact_of(logistic(numeric((0..4096).map(short)))));
    let group = |i: usize| ReasonGroup {
        reason: ReasonText { code: short(i), text: "short".into() },
        missing: None,
        features: vec![short(i)],
    };
    let mut artifact = artifact_of(logistic(numeric((0..4096).map(short))));
    artifact.reasons = Some(ReasonConfig::new((0..4096).map(group).collect()));
    fits("a reason a feature", &artifact);
}

#[test]
fn as_many_categories_as_there_may_be_fit() {
    let kind = || Categories::new((0..Categories::MAX).map(short)).unwrap();
    let columns = (0..8).map(|i| (format!("c{i}"), FeatureKind::Categorical(kind())));
    let schema = FeatureSchema::with_kinds(columns).unwrap();
    fits("categories", &artifact_of(ensemble(schema, vec![full_tree(1, threshold(0))])));
}

/// Gives every column the same weight.
#[derive(Debug)]
struct Level;

impl Trainer for Level {
    fn name(&self) -> &'static str {
        "level"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        Vec::new()
    }

    fn fit(&self, data: &Dataset, _: Seed) -> Result<Fitted> {
        Ok(Fitted { model: logistic(data.schema().clone()), convergence: None })
    }
}

#[test]
fn wide_one_hot_encodings_fit() {
    for (name, n) in [("merchant", 20_000), ("m", 20_000), ("m", 3000)] {
        let kind = FeatureKind::Categorical(Categories::new((0..n).map(short)).unwrap());
        let schema = FeatureSchema::with_kinds([(name, kind)]).unwrap();
        let codes = Array2::from_shape_fn((4, 1), |(row, _)| row as f64);
        let data = Dataset::new(schema, codes, vec![true, false, false, true]).unwrap();
        let pipeline = Pipeline::new(vec![Transform::OneHot], Arc::new(Level));
        let model = pipeline.fit(&data, Seed(1)).unwrap().model;
        fits(&format!("{n} columns of {name}"), &artifact_of(model));
    }
}

#[test]
fn scorecards_of_many_points_fit() {
    // 400 characteristics of 100 bins; the bins are those of a table.
    let binning = |feature: String| -> WoeBins {
        let edges: Vec<f64> = (0..99).map(f64::from).collect();
        let bin = |i: usize| {
            let weight = 0.01 * i as f64 - 0.5;
            serde_json::json!({"bad": 1.0, "good": 2.0, "weight_of_evidence": weight})
        };
        serde_json::from_value(serde_json::json!({
            "feature": feature,
            "layout": {"Numeric": edges},
            "special": [],
            "bins": (0..101).map(bin).collect::<Vec<_>>(),
            "orientation": "BadOverGood",
            "empty_cells": serde_json::to_value(riskcycle::stats::EmptyCells::default()).unwrap(),
            "unseen": "AsMissing",
            "information_value": 0.1,
        }))
        .unwrap()
    };
    let card = |n: usize| {
        let characteristics = (0..n).map(|i| (binning(short(i)), 1.0)).collect();
        let scaling = Scaling::default();
        let schema = numeric((0..n).map(short));
        Scorecard::new(schema, -2.0, characteristics, scaling, Default::default()).unwrap()
    };
    fits("a scorecard", &artifact_of(Arc::new(card(400))));
}

#[test]
fn every_kept_artifact_fits() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/data/artifacts");
    let mut n = 0;
    for file in std::fs::read_dir(folder).unwrap() {
        let path = file.unwrap().path();
        let (bytes, options) = (std::fs::read(&path).unwrap(), LoadOptions::default());
        let from = |bytes: &[u8]| Artifact::from_bytes(bytes, &options);
        meter::bounded(&path.display().to_string(), 4, &bytes, from).unwrap();
        n += 1;
    }
    assert!(n > 8);
}

/// Says that it is of any kind, and of any bytes.
#[derive(Debug)]
struct Forged {
    schema: FeatureSchema,
    kind: &'static str,
    bytes: Vec<u8>,
}

impl Model for Forged {
    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn score(&self, _: &[f64], scores: &mut [f64]) -> Result<()> {
        scores.fill(0.5);
        Ok(())
    }

    fn kind(&self) -> &str {
        self.kind
    }

    fn to_bytes(&self) -> Vec<u8> {
        self.bytes.clone()
    }
}

fn forged(kind: &'static str, bytes: Vec<u8>) -> Artifact {
    let schema = numeric(["x".to_owned()]);
    artifact_of(Arc::new(Forged { schema, kind, bytes }))
}

fn u32s(numbers: &[u32]) -> Vec<u8> {
    numbers.iter().flat_map(|number| number.to_le_bytes()).collect()
}

fn block(content: &[u8]) -> Vec<u8> {
    [&u32s(&[content.len() as u32])[..], content].concat()
}

/// `n` times the same behind their number.
fn many(n: u32, item: &[u8]) -> Vec<u8> {
    [u32s(&[n]), item.repeat(n as usize)].concat()
}

#[test]
fn records_of_many_small_things_are_refused() {
    let honest = || artifact_of(logistic(numeric(["x".to_owned()])));
    let mut artifact = honest();
    artifact.training.parameters = vec![(String::new(), String::new()); 300_000];
    is_refused("parameters", &artifact);

    let text = || ReasonText { code: String::new(), text: String::new() };
    let group = |features| ReasonGroup { reason: text(), missing: None, features };
    let mut artifact = honest();
    artifact.reasons = Some(ReasonConfig::new(vec![group(Vec::new()); 200_000]));
    is_refused("reason groups", &artifact);
    artifact.reasons = Some(ReasonConfig::new(vec![group(vec![String::new(); 600_000])]));
    is_refused("a group's features", &artifact);
    artifact.reasons = Some(ReasonConfig::new(vec![group(vec![String::new()]); 100_000]));
    is_refused("groups of a feature", &artifact);
    let mut config = ReasonConfig::new(Vec::new());
    config.never_display = vec![String::new(); 600_000];
    artifact.reasons = Some(config);
    is_refused("features never to be displayed", &artifact);

    let schema = numeric((0..600_000).map(short));
    let bytes = vec![0; 8 * 3];
    is_refused("names", &artifact_of(Arc::new(Forged { schema, kind: "logistic", bytes })));
}

#[test]
fn transforms_that_expand_are_refused() {
    // A name, a kind, a source, a number of maps.
    let column = |maps: &[u8]| [&block(b"")[..], &[0], &u32s(&[0]), maps].concat();
    let columns = many(100_000, &column(&u32s(&[0])));
    is_refused("columns", &forged("pipeline", columns));
    let is_missing = block(&[1]);
    let maps = many(1, &column(&many(300_000, &is_missing)));
    is_refused("maps", &forged("pipeline", maps));
    // Empty tables take what they may; it is the column without a name that is refused.
    let table = block(&[&[4, 0][..], &0.0_f64.to_le_bytes()].concat());
    let tables = many(1, &column(&many(100_000, &table)));
    let error = load("tables", &forged("pipeline", tables)).unwrap_err().to_string();
    assert!(error.contains("feature without a name"), "{error}");
    // A kind of one category without letters.
    let categorical = [&block(b"")[..], &[2], &u32s(&[1, 0, 0, 0])].concat();
    is_refused("kinds", &forged("pipeline", many(100_000, &categorical)));
}

#[test]
fn models_of_many_small_models_are_refused() {
    let leaf = |n: usize| {
        let trees = vec![Tree::new(vec![TreeNode::leaf(0.5, 1.0)]).unwrap(); n];
        ensemble(numeric(["x".to_owned()]), trees).to_bytes()
    };
    let model = |kind: &str, bytes: &[u8]| [block(kind.as_bytes()), block(bytes)].concat();
    let none = many(20_000, &model("tree-ensemble", &leaf(0)));
    is_refused("ensembles without trees", &forged("averaged", none));
    let trees = many(20_000, &model("tree-ensemble", &leaf(1)));
    is_refused("ensembles of a leaf", &forged("averaged", trees));
    let logistic = logistic(numeric(["x".to_owned()])).to_bytes();
    let regressions = many(40_000, &model("logistic", &logistic));
    is_refused("regressions", &forged("averaged", regressions));
    let nested = many(200, &model("averaged", &many(100, &model("logistic", &logistic))));
    is_refused("averages of averages", &forged("averaged", nested));
}

#[test]
fn trees_of_a_leaf_fit_as_many_as_there_may_be() {
    let leaves = vec![Tree::new(vec![TreeNode::leaf(0.5, 1.0)]).unwrap(); TreeEnsemble::MAX_TREES];
    fits("leaves", &artifact_of(ensemble(thirty(), leaves)));
}
