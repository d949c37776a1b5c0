//! Models of XGBoost, LightGBM and scikit-learn give the margins that they give at home, bit for bit.
#![cfg(feature = "import")]

use std::io::Read;
use std::path::Path;

use riskcycle::model::{GoldenRows, ImportOptions, Link, Model, ModelCodecs, TreeEnsemble};
use riskcycle::{Error, Result};
use serde_json::Value;

/// What `tests/data/foreign/make.py` wrote.
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

#[test]
fn margins_are_those_of_the_library_bit_for_bit() {
    let mut wrong = Vec::new();
    for (file, import) in LIBRARIES {
        let models = models(file, import);
        assert!(models.len() >= 20, "{file} has {} models", models.len());
        for (case, model) in models {
            if let Err(error) = model.with_golden_rows(golden(&case)) {
                wrong.push(format!("{file}, {}: {error}", name(&case)));
            }
        }
    }
    assert!(wrong.is_empty(), "{} models:\n{}", wrong.len(), wrong.join("\n"));
}
