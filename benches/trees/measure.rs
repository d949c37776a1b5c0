//! One trainer on one table: seconds, memory, scores. Tables are folders that `benches/peers/trees.py` writes.

use std::fs;
use std::path::Path;
use std::time::Instant;

use riskcycle::dataset::Dataset;
use riskcycle::model::{
    GradientBoosting, GradientBoostingConfig, Model, RandomForest, RandomForestConfig, Trainer,
};
use riskcycle::ndarray::Array2;
use riskcycle::stats::LatencyHistogram;
use riskcycle::{FeatureSchema, Seed};
use serde_json::json;

use crate::{Result, npy};

/// Fits that one process measures, unless they take longer than [`ENOUGH`] together.
const FITS: usize = 3;
const ENOUGH: f64 = 5.0;
/// Times that the test rows are scored, and single rows in all, of which the first `WARM` do not count.
const BATCHES: usize = 5;
const ROWS: usize = 20_000;
const WARM: usize = 2_000;

/// A trainer by kind and the JSON of its configuration; what that leaves out has its default.
fn trainer(kind: &str, config: &str) -> Result<Box<dyn Trainer>> {
    match kind {
        "boosting" => {
            let config: GradientBoostingConfig = serde_json::from_str(config)?;
            Ok(Box::new(GradientBoosting::new(config)?))
        }
        "forest" => {
            let config: RandomForestConfig = serde_json::from_str(config)?;
            Ok(Box::new(RandomForest::new(config)?))
        }
        _ => Err(format!("{kind} is not known: boosting or forest").into()),
    }
}

/// The table's rows with this suffix, `_train`, `_test` or none.
fn dataset(table: &Path, suffix: &str) -> Result<Dataset> {
    let (values, n_features) = npy::read::<f64>(&table.join(format!("X{suffix}.npy")))?;
    let (labels, n_rows) = npy::read::<u8>(&table.join(format!("y{suffix}.npy")))?;
    let columns = fs::read_to_string(table.join("columns.json"))?;
    let schema: FeatureSchema = serde_json::from_str(&columns)?;
    let rows = Array2::from_shape_vec((n_rows, n_features), values)?;
    Ok(Dataset::new(schema, rows, labels.iter().map(|&label| label == 1).collect())?)
}

/// Bytes that Linux says of this process under `key`; NaN elsewhere.
fn memory(key: &str) -> f64 {
    let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix(key));
    let kib = line.and_then(|rest| rest.trim_matches([':', '\t', ' ', 'k', 'B']).parse().ok());
    kib.unwrap_or(f64::NAN) * 1024.0
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    (values[(values.len() - 1) / 2] + values[values.len() / 2]) / 2.0
}

/// Fits the training rows, scores the test rows into `scores`, prints one line of JSON.
pub(crate) fn fit(kind: &str, config: &str, table: &Path, scores: &Path) -> Result<()> {
    let trainer = trainer(kind, config)?;
    let (train, test) = (dataset(table, "_train")?, dataset(table, "_test")?);
    // The peak from here on: Linux forgets the one before.
    let _ = fs::write("/proc/self/clear_refs", "5");
    let before = memory("VmRSS");
    let (mut seconds, mut peak, mut model) = (Vec::new(), 0.0, None);
    while seconds.len() < FITS && seconds.iter().sum::<f64>() < ENOUGH {
        drop(model.take());
        let start = Instant::now();
        model = Some(trainer.fit(&train, Seed(0))?.model);
        seconds.push(start.elapsed().as_secs_f64());
        if seconds.len() == 1 {
            peak = memory("VmHWM") - before;
        }
    }
    let model = model.expect("there was at least one fit");

    let mut answers = vec![f64::NAN; test.n_rows()];
    let mut batches = Vec::new();
    for _ in 0..BATCHES {
        let start = Instant::now();
        model.score(test.rows(), &mut answers)?;
        batches.push(start.elapsed().as_secs_f64());
    }
    npy::write(scores, &answers)?;
    let single = single_rows(&*model, &test)?;
    let line = json!({
        "fit_s": median(seconds),
        "memory_mib": peak / f64::from(1 << 20),
        "rows_per_s": test.n_rows() as f64 / median(batches),
        "p50_ns": single.quantile(0.5),
        "p99_ns": single.quantile(0.99),
    });
    println!("{line}");
    Ok(())
}

/// Nanoseconds per row, the two readings of the clock included, of the first thousand test rows in turn.
fn single_rows(model: &dyn Model, test: &Dataset) -> Result<LatencyHistogram> {
    let (mut latency, mut score) = (LatencyHistogram::default(), [0.0]);
    for i in 0..WARM + ROWS {
        let row = test.row(i % test.n_rows().min(1000));
        let start = Instant::now();
        model.score(row, &mut score)?;
        let taken = start.elapsed();
        if i >= WARM {
            latency.record(taken.as_nanos() as u64);
        }
    }
    Ok(latency)
}

/// Scores every row by a model of the folds that it is not in, for each of the table's divisions into folds.
pub(crate) fn folds(kind: &str, config: &str, table: &Path, scores: &Path) -> Result<()> {
    let trainer = trainer(kind, config)?;
    let data = dataset(table, "")?;
    let (folds, n_rows) = npy::read::<u8>(&table.join("folds.npy"))?;
    let mut answers = Vec::with_capacity(folds.len());
    for division in folds.chunks_exact(n_rows) {
        let mut scores = vec![f64::NAN; n_rows];
        for fold in 0..=division.iter().copied().max().unwrap_or(0) {
            let rows = |inside: bool| -> Vec<usize> {
                (0..n_rows).filter(|&row| (division[row] == fold) == inside).collect()
            };
            let (held_out, others) = (rows(true), rows(false));
            let model = trainer.fit(&data.select_rows(&others)?, Seed(0))?.model;
            let held = data.select_rows(&held_out)?;
            let mut answers = vec![f64::NAN; held.n_rows()];
            model.score(held.rows(), &mut answers)?;
            held_out.iter().zip(answers).for_each(|(&row, score)| scores[row] = score);
        }
        answers.extend(scores);
    }
    npy::write(scores, &answers)
}
