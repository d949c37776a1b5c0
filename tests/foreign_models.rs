//! Models of XGBoost, LightGBM and scikit-learn give the margins that they give at home, bit for bit, and find their way
//! back.
#![cfg(feature = "import")]

use std::io::Read;
use std::path::Path;

use riskcycle::model::{
    Band, CategorySet, Combine, GoldenRows, ImportOptions, Link, MissingValue, Model, ModelCodecs,
    Output, Precision, Question, Split, Tree, TreeEnsemble, TreeNode, TreeRange,
};
use riskcycle::{Digest, Error, FeatureKind, FeatureSchema, Result};
use serde_json::{Value, json};

/// A file that a script in `tests/data/foreign` wrote.
fn cases(file: &str) -> Vec<Value> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data/foreign");
    let packed = std::fs::read(folder.join(file)).unwrap();
    let mut text = String::new();
    flate2::read::GzDecoder::new(&packed[..]).read_to_string(&mut text).unwrap();
    serde_json::from_str(&text).unwrap()
}

fn name(case: &Value) -> &str {
    case["name"].as_str().unwrap()
}

fn bytes(case: &Value) -> Vec<u8> {
    let Some(hex) = case["hex"].as_str() else {
        return case["model"].as_str().unwrap().as_bytes().to_vec();
    };
    let digits = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    hex.as_bytes().chunks(2).map(digits).collect()
}

fn options(case: &Value) -> ImportOptions {
    serde_json::from_value(case["options"].clone()).unwrap()
}

fn golden(case: &Value) -> GoldenRows {
    GoldenRows::from_json(case["golden"].to_string().as_bytes()).unwrap()
}

type Import = fn(&[u8], &ImportOptions) -> Result<TreeEnsemble>;

const LIBRARIES: [(&str, Import); 3] = [
    ("xgboost.json.gz", TreeEnsemble::from_xgboost),
    ("lightgbm.json.gz", TreeEnsemble::from_lightgbm),
    ("scikit_learn.json.gz", |bytes, _| TreeEnsemble::from_scikit_learn(bytes)),
];

/// Every case that is a model, imported.
fn models(file: &str, import: Import) -> Vec<(Value, TreeEnsemble)> {
    let sound = cases(file).into_iter().filter(|case| case["refused"].is_null());
    let imported = sound.map(|case| {
        let model = import(&bytes(&case), &options(&case));
        let model = model.unwrap_or_else(|e| panic!("{file}, {}: {e}", name(&case)));
        (case, model)
    });
    imported.collect()
}

/// The case of that name, imported.
fn model(file: usize, wanted: &str) -> (Value, TreeEnsemble) {
    let (file, import) = LIBRARIES[file];
    models(file, import).into_iter().find(|(case, _)| name(case) == wanted).unwrap()
}

fn margins(model: &TreeEnsemble, rows: &[f64]) -> Vec<f64> {
    let mut margins = vec![f64::NAN; rows.len() / model.schema().n_features()];
    model.margins(rows, &mut margins).unwrap();
    margins
}

#[test]
fn margins_are_those_of_the_library_bit_for_bit() {
    let mut wrong = Vec::new();
    for (file, import) in LIBRARIES {
        let models = models(file, import);
        assert!(models.len() >= 30, "{file} has {} models", models.len());
        for (case, model) in models {
            if let Err(error) = model.with_golden_rows(golden(&case)) {
                wrong.push(format!("{file}, {}: {error}", name(&case)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} models:\n{}", wrong.len(), wrong.join("\n"));
}

#[test]
fn files_of_older_versions_give_the_margins_of_their_day() {
    let cases = cases("older.json.gz");
    assert!(cases.len() > 15, "{}", cases.len());
    for case in cases {
        let import =
            if name(&case).starts_with("xgboost") { LIBRARIES[0].1 } else { LIBRARIES[1].1 };
        let model = import(&bytes(&case), &options(&case));
        let checked = model.and_then(|model| model.with_golden_rows(golden(&case)));
        checked.unwrap_or_else(|e| panic!("{}: {e}", name(&case)));
    }
}

#[test]
fn scores_are_those_of_the_library_but_for_rounding() {
    let mut compared = 0;
    for (file, import) in LIBRARIES {
        // XGBoost takes its exponential in single precision; each library's is good to a few units in the last place.
        let unit = if file.starts_with("xgboost") { f64::from(f32::EPSILON) } else { f64::EPSILON };
        for (case, model) in models(file, import) {
            let Some(expected) = case["scores"].as_array() else { continue };
            let mut scores = vec![f64::NAN; expected.len()];
            model.score(golden(&case).rows(), &mut scores).unwrap();
            for (row, (score, expected)) in scores.iter().zip(expected).enumerate() {
                let expected = expected.as_f64().unwrap();
                let apart = (score - expected).abs();
                let close = apart <= 4.0 * unit * expected.abs().max(f64::MIN_POSITIVE);
                assert!(close, "{file}, {}, row {row}: {score} for {expected}", name(&case));
                compared += 1;
            }
        }
    }
    assert!(compared > 5000, "{compared}");
}

#[test]
fn what_could_change_the_output_is_refused_with_the_reason() {
    let mut refused = 0;
    for (file, import) in LIBRARIES {
        for case in cases(file) {
            let Some(reason) = case["refused"].as_str() else { continue };
            let error = import(&bytes(&case), &options(&case)).unwrap_err().to_string();
            assert!(error.contains(reason), "{file}, {}: {error}", name(&case));
            refused += 1;
        }
    }
    assert!(refused >= 25, "{refused}");
}

#[test]
fn what_the_file_leaves_open_must_be_said() {
    let (case, _) = model(0, "early stopping, all trees");
    let bytes = bytes(&case);
    let import = |options: &ImportOptions| TreeEnsemble::from_xgboost(&bytes, options);
    let nan = ImportOptions { missing: Some(MissingValue::Nan), ..ImportOptions::default() };
    for options in [ImportOptions::default(), nan] {
        assert!(matches!(import(&options), Err(Error::InvalidConfig { .. })));
    }
    let all = import(&ImportOptions { trees: Some(TreeRange::All), ..nan }).unwrap();
    let best = import(&ImportOptions { trees: Some(TreeRange::BestIteration), ..nan }).unwrap();
    assert!(best.trees().len() < all.trees().len());
    assert_eq!(best.trees()[..], all.trees()[..best.trees().len()]);
    // A number that counts as missing changes the margin of rows that hold it.
    let minus = ImportOptions {
        missing: Some(MissingValue::Value(-999.0)),
        trees: Some(TreeRange::All),
        link: Some(Link::Identity),
    };
    let minus = import(&minus).unwrap();
    assert_eq!(minus.output().link, Link::Identity);
    let (nan, number) = (vec![f64::NAN; 5], vec![-999.0; 5]);
    assert_eq!(margins(&minus, &number), margins(&all, &nan));
    assert_ne!(margins(&all, &number), margins(&all, &nan));
}

#[test]
fn a_data_frames_categories_are_named_in_the_order_of_their_codes() {
    let mut named = 0;
    for (file, import) in LIBRARIES {
        for (case, model) in models(file, import) {
            let expected = case["categories"].as_object();
            for (feature, kind) in model.schema().names().iter().zip(model.schema().kinds()) {
                let expected = expected.and_then(|names| names.get(feature));
                let names = kind
                    .categories()
                    .map(|categories| json!(categories.names().collect::<Vec<_>>()));
                assert_eq!(names.as_ref(), expected, "{file}, {}", name(&case));
                named += usize::from(matches!(kind, FeatureKind::Categorical(_)));
            }
        }
    }
    assert_eq!(named, 4, "of XGBoost two, of the others one each");
}

#[test]
fn golden_rows_travel_with_the_model_and_name_what_differs() {
    let (case, model) = model(0, "binary logistic");
    let golden = golden(&case);
    let bytes = model.clone().with_golden_rows(golden.clone()).unwrap().to_bytes();
    let loaded = TreeEnsemble::from_bytes(model.schema().clone(), &bytes).unwrap();
    assert_eq!(loaded.golden_rows(), Some(&golden));
    assert!(ModelCodecs::default().decode(model.kind(), model.schema().clone(), &bytes).is_ok());
    let mut margins = golden.expected().to_vec();
    margins[7] = margins[7].next_up();
    let other = GoldenRows::new(golden.rows().to_vec(), margins).unwrap();
    let error = model.with_golden_rows(other).unwrap_err().to_string();
    let (had, gets) = (golden.expected()[7].next_up(), golden.expected()[7]);
    assert!(error.contains(&format!("row 7 must get {had:?}")), "{error}");
    assert!(error.contains(&format!("gets {gets:?}")), "{error}");
}

#[test]
fn damaged_files_are_refused_or_read_as_another_model_without_harm() {
    let damaged = |bytes: &[u8], import: Import, options: &ImportOptions| {
        let mut state = 1_u64;
        let mut draw = |n: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (state >> 33) as usize % n
        };
        let mut refused = 0;
        for round in 0..400 {
            let mut bytes = bytes.to_vec();
            let n = bytes.len();
            match round % 4 {
                0 => bytes.truncate(draw(n)),
                1 => bytes[draw(n / 8)] = draw(256) as u8,
                2 => {
                    let (from, to) = (draw(n - 9), draw(n - 9));
                    bytes.copy_within(from..from + 9, to);
                }
                _ => bytes[draw(n)] ^= 1 << draw(8),
            }
            match import(&bytes, options) {
                Err(_) => refused += 1,
                Ok(model) => {
                    let row = vec![0.5; model.schema().n_features()];
                    assert!(!margins(&model, &row)[0].is_nan());
                }
            }
        }
        assert!(refused > 100, "{refused}");
    };
    for (library, wanted) in [
        (0, "binary logistic"),
        (0, "binary logistic, ubjson"),
        (0, "categories, one hot"),
        (1, "categories"),
        (1, "forest"),
        (2, "tree"),
    ] {
        let (case, _) = model(library, wanted);
        damaged(&bytes(&case), LIBRARIES[library].1, &options(&case));
    }
}

#[test]
fn json_and_ubjson_of_a_model_are_the_same_model() {
    let (json, ubjson) = (model(0, "binary logistic").1, model(0, "binary logistic, ubjson").1);
    assert_eq!(json, ubjson);
}

/// Trees of our own with what the libraries' own models above do not show: bases, slopes, sets, bands.
fn own(library: &str, output: Output, also_missing: Option<Band>) -> TreeEnsemble {
    let split = |feature, question, missing_left, left| Split {
        feature,
        question,
        missing_left,
        also_missing,
        left,
        right: left + 1,
    };
    let inner =
        |split| TreeNode { split: Some(Box::new(split)), value: 0.1, cover: 9.0, gain: 2.5 };
    let sets = also_missing.is_none();
    let trees = (0..4_u32).map(|t| {
        let threshold = f64::from(t) * 0.7 - 1.0;
        let set = CategorySet::new([t, 3, 70 + t]);
        // LightGBM sends missing categories right.
        let set_missing_left = library == "xgboost" && t == 1;
        let second = match sets {
            true => split(2, Question::OneOf(set), set_missing_left, 3),
            false => split(2, Question::AtMost(1e-3 - f64::from(t)), t == 2, 3),
        };
        let nodes = vec![
            inner(split(t % 2, Question::AtMost(threshold), t % 3 == 0, 1)),
            inner(second),
            TreeNode::leaf(f64::from(t) / 3.0 - 0.4, 3.0),
            TreeNode::leaf(-0.1 * f64::from(t), 2.0),
            TreeNode::leaf(0.7, 4.0),
        ];
        Tree::new(nodes).unwrap()
    });
    let schema = FeatureSchema::new(["a", "b", "c"]).unwrap();
    TreeEnsemble::new(schema, trees.collect(), output).unwrap()
}

/// Values that every library reads alike: single precision, whole categories, nothing next to 0 but 0.
fn own_rows() -> Vec<f64> {
    let values = [f64::NAN, 0.0, -1.0, 0.4, 3.0, 1.1, 71.0, -999.0, 2.0, -0.3, 100.0];
    let single = |i: usize| f64::from(values[i] as f32);
    (0..121)
        .flat_map(|i| [single(i % 11), single(i / 11), single((3 * i + i / 7) % 11).trunc()])
        .collect()
}

struct Export {
    name: String,
    library: &'static str,
    model: TreeEnsemble,
    rows: Vec<f64>,
    /// What counts as missing besides NaN, for XGBoost.
    missing: Option<f64>,
}

impl Export {
    fn text(&self) -> Vec<u8> {
        match self.library {
            "xgboost" => self.model.to_xgboost().unwrap(),
            _ => self.model.to_lightgbm().unwrap().into_bytes(),
        }
    }
}

fn exports() -> Vec<Export> {
    let mut exports = Vec::new();
    for (file, import) in LIBRARIES {
        let library = if file.starts_with("xgboost") { "xgboost" } else { "lightgbm" };
        for (case, model) in models(file, import) {
            let missing = case["options"]["missing"]["Value"].as_f64();
            let text = match library {
                "xgboost" => model.to_xgboost(),
                _ => model.to_lightgbm().map(String::into_bytes),
            };
            // What LightGBM has no counterpart for, checked below.
            if text.is_ok() {
                let name = format!("{file}: {}", name(&case));
                let mut rows = golden(&case).rows().to_vec();
                if file.starts_with("scikit_learn") && name.contains("categories") {
                    // Only whole numbers are read alike.
                    rows.iter_mut().skip(4).step_by(5).for_each(|code| *code = code.trunc());
                }
                exports.push(Export { name, library, model, rows, missing });
            }
        }
    }
    let output = Output {
        base: f64::from(0.3_f32),
        combine: Combine::Sum,
        precision: Precision::Single,
        link: Link::Identity,
    };
    let logistic = Link::Logistic { slope: 1.0 };
    let minus = f64::from(-999.0_f32);
    let half = 2f64.powi(-15);
    // The doubles that round to -999: singles stand 2^-14 apart there, and ties go to the even one.
    let band = Band { low: minus - half, high: minus + half };
    let double = Output { precision: Precision::Double, base: 0.1, ..output };
    let mean = Output { combine: Combine::Mean, base: 0.0, ..double };
    let steep = Link::Logistic { slope: 0.7 };
    for (name, library, output, missing) in [
        ("identity", "xgboost", output, None),
        ("logistic", "xgboost", Output { link: logistic, ..output }, None),
        ("exponential", "xgboost", Output { link: Link::Exponential, ..output }, None),
        ("-999 is missing", "xgboost", Output { link: logistic, base: 0.0, ..output }, Some(minus)),
        ("identity", "lightgbm", double, None),
        ("logistic", "lightgbm", Output { link: steep, ..double }, None),
        ("exponential", "lightgbm", Output { link: Link::Exponential, ..double }, None),
        ("mean", "lightgbm", mean, None),
        ("zero is missing", "lightgbm", double, Some(0.0)),
    ] {
        let also_missing = missing.map(|missing| if missing == 0.0 { Band::ZERO } else { band });
        let model = own(library, output, also_missing);
        let missing = missing.filter(|_| library == "xgboost");
        let name = format!("own for {library}: {name}");
        exports.push(Export { name, library, model, rows: own_rows(), missing });
    }
    exports
}

fn hex(values: &[f64]) -> String {
    values.iter().map(|value| format!("{:016x}", value.to_bits())).collect()
}

#[test]
#[ignore = "writes what tests/data/foreign/load_exports.py loads"]
fn write_exports() {
    let folder = std::env::var("EXPORTS").expect("EXPORTS names a folder");
    let exports = exports().into_iter().map(|export| {
        json!({
            "name": export.name,
            "library": export.library,
            "model": String::from_utf8(export.text()).unwrap(),
            "rows": export.rows.chunks(export.model.schema().n_features()).map(hex).collect::<Vec<_>>(),
            "missing": export.missing,
        })
    });
    let text = serde_json::to_string(&exports.collect::<Vec<_>>()).unwrap();
    std::fs::write(Path::new(&folder).join("exports.json"), text).unwrap();
}

/// `exports.json.gz` holds, for every export, its SHA-256 and the margins that the library gave once it had loaded it.
#[test]
fn exports_are_those_that_the_libraries_loaded_and_score_alike() {
    let loaded = cases("exports.json.gz");
    let exports = exports();
    assert!(exports.len() > 100, "{}", exports.len());
    assert_eq!(exports.len(), loaded.len());
    for (export, loaded) in exports.iter().zip(&loaded) {
        assert_eq!(export.name, name(loaded));
        let digest = Digest::of(&export.text()).to_string();
        assert_eq!(digest, loaded["sha256"], "{} is not what was loaded", export.name);
        let lightgbm = export.library == "lightgbm";
        let rows = export.rows.iter().map(|&value| {
            // LightGBM takes these for 0.
            if lightgbm && Band::ZERO.contains(value) { 0.0 } else { value }
        });
        let rows: Vec<f64> = rows.collect();
        let ours = margins(&export.model, &rows);
        let theirs = loaded["margins"].as_array().unwrap();
        assert_eq!(ours.len(), theirs.len());
        for (row, (ours, theirs)) in ours.iter().zip(theirs).enumerate() {
            assert_eq!(hex(&[*ours]), theirs.as_str().unwrap(), "{}, row {row}", export.name);
        }
    }
}

#[test]
fn exports_come_back_as_the_same_model() {
    for export in exports() {
        let n_trees = export.model.trees().len();
        let text = export.text();
        let back = match export.library {
            "xgboost" => {
                let missing = export.missing.map_or(MissingValue::Nan, MissingValue::Value);
                let options = ImportOptions { missing: Some(missing), ..ImportOptions::default() };
                TreeEnsemble::from_xgboost(&text, &options).unwrap()
            }
            _ => TreeEnsemble::from_lightgbm(&text, &ImportOptions::default()).unwrap(),
        };
        assert_eq!(back.output().link, export.model.output().link, "{}", export.name);
        // A base may have become a tree.
        assert!(back.trees().len() - n_trees <= 1);
        if export.name.starts_with(export.library) {
            let ours = margins(&export.model, &export.rows);
            let theirs = margins(&back, &export.rows);
            let same = ours.iter().zip(&theirs).all(|(a, b)| a.to_bits() == b.to_bits());
            assert!(same, "{}", export.name);
        }
    }
}

#[test]
fn what_a_library_has_no_counterpart_for_is_not_exported() {
    let single = Output {
        base: 0.0,
        combine: Combine::Sum,
        precision: Precision::Single,
        link: Link::Identity,
    };
    let double = Output { precision: Precision::Double, ..single };
    let own_band = Some(Band { low: 1.0, high: 2.0 });
    let xgboost = |output, band| own("xgboost", output, band).to_xgboost().map(|_| ());
    let lightgbm = |output, band| own("lightgbm", output, band).to_lightgbm().map(|_| ());
    let steep = Link::Logistic { slope: 2.0 };
    for (refused, reason) in [
        (xgboost(double, None), "single precision"),
        (xgboost(Output { combine: Combine::Mean, ..single }, None), "single precision"),
        (xgboost(Output { link: steep, ..single }, None), "slope of 2"),
        (xgboost(single, own_band), "1 to 2 for missing"),
        (lightgbm(single, None), "double precision"),
        (lightgbm(Output { combine: Combine::Mean, base: 1.0, ..double }, None), "no base"),
        (lightgbm(double, own_band), "1 to 2 for missing"),
        (own("xgboost", double, None).to_lightgbm().map(|_| ()), "categories right"),
    ] {
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::InvalidInput { .. }));
        assert!(error.to_string().contains(reason), "{error}");
    }
}
