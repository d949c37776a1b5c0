//! The tree engine measured. Beside scikit-learn, LightGBM, XGBoost, tl2cgen and ONNX Runtime, in one run, as ratios:
//!
//! ```text
//! pip install -r benches/peers/requirements.txt && python benches/peers/trees.py
//! ```
//!
//! which calls the first two of these; the third one needs no peers.
//!
//! ```text
//! cargo bench --bench trees -- fit KIND CONFIG TABLE SCORES     # seconds, memory, rows per second, latency of one row
//! cargo bench --bench trees -- folds KIND CONFIG TABLE SCORES   # scores of held-out rows
//! cargo bench --bench trees -- handbook transactions.csv.gz     # quality on the Fraud Detection Handbook's protocol,
//!                                                               # of configurations of boosting where any follow
//! ```
//! `KIND` is `boosting` or `forest`, `CONFIG` the JSON of its configuration (`{}` for the defaults), `TABLE` a folder.

mod handbook;
mod measure;
mod npy;

use std::process::ExitCode;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match words[..] {
        ["fit", kind, config, table, scores] => {
            measure::fit(kind, config, table.as_ref(), scores.as_ref())
        }
        ["folds", kind, config, table, scores] => {
            measure::folds(kind, config, table.as_ref(), scores.as_ref())
        }
        ["handbook", data, ref configs @ ..] => handbook::run(data.as_ref(), configs),
        _ => {
            eprintln!(
                "usage: trees (fit | folds) KIND CONFIG TABLE SCORES, or trees handbook FILE [CONFIG ...]"
            );
            return ExitCode::FAILURE;
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}
