//! What a model loses when a feature tells it nothing any more.

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::metric::ScoreMetric;
use crate::model::{Model, ModelExt};
use crate::parallel::map;
use crate::seed::{Seed, shuffle};
use crate::train::Metric;

/// Rows that are copied and scored at a time.
const ROWS_AT_ONCE: usize = 1024;

/// How much worse a model ranks when the values of one feature are dealt out to the wrong rows.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PermutationImportance {
    /// What was measured.
    pub metric: ScoreMetric,
    /// Its value on the rows as they are.
    pub baseline: f64,
    /// Rows that the model gives no score; they rank below all others, as rows that raise no alert.
    pub n_unscored: u64,
    /// The features, in schema order.
    pub features: Vec<FeatureImportance>,
}

/// What a model loses without one feature.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureImportance {
    /// Name of the feature.
    pub name: String,
    /// Mean over the repeats of how much worse the metric is on shuffled values: 0 for a feature that the model does
    /// not look at, below 0 where it ranks better without.
    pub mean: f64,
    /// Population standard deviation over the repeats; 0 for one repeat.
    pub standard_deviation: f64,
}

impl PermutationImportance {
    /// Shuffles each feature `repeats` times and scores the rows again (Breiman 2001). Ask on rows that the model was
    /// not trained on, later ones at best: on its own training rows a model seems to need whatever it has memorised. Of
    /// twins each looks dispensable while the other is there.
    ///
    /// A feature's shuffles depend on the seed and its name, not on its place or the other features. Cost: scoring and
    /// ranking all rows features × repeats times; memory per thread: 12 bytes a row and 1,024 rows of features.
    ///
    /// # Errors
    /// `InvalidConfig` for no repeats; `SchemaMismatch` if the data set has other columns than the model; `OneClass`;
    /// those of the model.
    pub fn new(
        model: &dyn Model,
        data: &Dataset,
        metric: ScoreMetric,
        repeats: u32,
        seed: Seed,
    ) -> Result<Self> {
        if repeats == 0 {
            return Err(Error::config("permutation importance", "needs at least one repeat"));
        }
        data.check_both_classes("permutation importance")?;
        let mut scores = model.score_dataset(data)?;
        let n_unscored = scores.iter().filter(|score| score.is_nan()).count() as u64;
        let baseline = value_of(metric, data, &mut scores)?;
        let sign = if metric.larger_is_better() { 1.0 } else { -1.0 };
        let seed = seed.derive("permutation importance", 0);
        let columns: Vec<usize> = (0..data.schema().n_features()).collect();
        let features = map(&columns, |&column| {
            let name = &data.schema().names()[column];
            let mut scores = vec![f64::NAN; data.n_rows()];
            let mut lost = Vec::with_capacity(repeats as usize);
            for repeat in 0..u64::from(repeats) {
                let sources = shuffled_rows(data.n_rows(), seed.derive(name, repeat));
                score_shuffled(model, data, column, &sources, &mut scores)?;
                lost.push(sign * (baseline - value_of(metric, data, &mut scores)?));
            }
            let n = f64::from(repeats);
            let mean = lost.iter().sum::<f64>() / n;
            let variance =
                lost.iter().map(|value| (value - mean) * (value - mean)).sum::<f64>() / n;
            Ok(FeatureImportance { name: name.clone(), mean, standard_deviation: variance.sqrt() })
        });
        let features = features.into_iter().collect::<Result<_>>()?;
        Ok(PermutationImportance { metric, baseline, n_unscored, features })
    }
}

/// The metric of scores of which some may be missing.
fn value_of(metric: ScoreMetric, data: &Dataset, scores: &mut [f64]) -> Result<f64> {
    scores.iter_mut().filter(|s| s.is_nan()).for_each(|score| *score = f64::NEG_INFINITY);
    ScoreMetric::value(metric, data.labels(), scores, None)
}

/// Scores every row with `column` taken from the row that `sources` names.
fn score_shuffled(
    model: &dyn Model,
    data: &Dataset,
    column: usize,
    sources: &[u32],
    scores: &mut [f64],
) -> Result<()> {
    let (rows, width) = (data.rows(), data.schema().n_features());
    let mut buffer = Vec::with_capacity(ROWS_AT_ONCE.min(data.n_rows()) * width);
    let blocks = rows.chunks(ROWS_AT_ONCE * width).zip(sources.chunks(ROWS_AT_ONCE));
    for ((block, sources), scores) in blocks.zip(scores.chunks_mut(ROWS_AT_ONCE)) {
        buffer.clear();
        buffer.extend_from_slice(block);
        for (row, &source) in buffer.chunks_exact_mut(width).zip(sources) {
            row[column] = rows[source as usize * width + column];
        }
        model.score(&buffer, scores)?;
    }
    Ok(())
}

/// The rows in random order (Fisher and Yates). The baseline's ranking has refused more rows than a `u32` counts.
fn shuffled_rows(n_rows: usize, seed: Seed) -> Vec<u32> {
    let mut rows: Vec<u32> = (0..n_rows as u32).collect();
    shuffle(&mut rows, &mut seed.rng());
    rows
}

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::model::LogisticModel;
    use crate::schema::FeatureSchema;

    #[test]
    fn across_blocks_every_row_takes_the_value_of_its_source_and_keeps_the_rest() {
        let n = 2 * ROWS_AT_ONCE + 7;
        let schema = FeatureSchema::new(["a", "b"]).unwrap();
        let cell = |(row, column): (usize, usize)| row as f64 / [1e3, -1e5][column];
        let features = Array2::from_shape_fn((n, 2), cell);
        let data = Dataset::new(schema.clone(), features, vec![true; n]).unwrap();
        let model = LogisticModel::new(schema, 0.0, vec![1.0; 2], vec![0.0; 2], vec![1.0; 2]);
        let (model, mut scores) = (model.unwrap(), vec![f64::NAN; n]);
        let backwards: Vec<u32> = (0..n as u32).rev().collect();
        score_shuffled(&model, &data, 1, &backwards, &mut scores).unwrap();
        for (row, score) in scores.into_iter().enumerate() {
            let expected = model.score_row(&[cell((row, 0)), cell((n - 1 - row, 1))]).unwrap();
            assert_eq!(score, expected, "row {row}");
        }
    }

    #[test]
    fn every_order_of_three_rows_is_equally_likely() {
        let mut counts = std::collections::BTreeMap::new();
        for i in 0..6000 {
            *counts.entry(shuffled_rows(3, Seed(1).derive("test", i))).or_insert(0.0) += 1.0f64;
        }
        assert_eq!(counts.len(), 6);
        // Standard deviation of a count: sqrt(6000 · 1/6 · 5/6) = 28.9; five of them.
        assert!(counts.values().all(|count| (count - 1000.0).abs() < 145.0), "{counts:?}");
    }
}
