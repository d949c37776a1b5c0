//! The domain classifier: can a model tell live rows from the reference's?

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::profile::{Cells, ReferenceProfile};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::Ranking;
use crate::model::{ModelExt, Trainer};
use crate::schema::FeatureSchema;
use crate::seed::{Seed, stable_hash};
use crate::stats::normal_two_sided;

/// How well a model tells live rows from the reference's: drift of all features together, also where no single one
/// shows it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DomainDrift {
    /// Area under the ROC curve on rows that the model was not trained on; ½ if it can tell nothing.
    pub auc: f64,
    /// Chance of an area as far from ½ if all rows came from one distribution (Mann–Whitney, with ties).
    pub p_value: f64,
    /// max(2 AUC − 1, 0), `0.0..=1.0`.
    pub drift: f64,
    /// Rows that the area was taken on.
    pub n: u64,
    /// What the area loses when a feature is held still, the largest loss first.
    pub features: Vec<(String, f64)>,
}

/// Trains a model on half of the rows to tell `live` from `reference` and measures it on the other half.
///
/// Each value is replaced by its bin's log-ratio of live to reference rows, counted on the training half, on the bins of
/// `profile`: missing values and categories need no care, and a linear trainer sees any shape of difference. Rows are
/// split by a hash of their position and the seed.
///
/// # Errors
/// `SchemaMismatch` if the columns differ from the profile's; `InvalidInput` for fewer than 50 rows on a side; what the
/// trainer returns.
pub fn domain_drift(
    profile: &ReferenceProfile,
    reference: &Dataset,
    live: &Dataset,
    trainer: &dyn Trainer,
    seed: Seed,
) -> Result<DomainDrift> {
    profile.schema().check(reference.schema())?;
    profile.schema().check(live.schema())?;
    let fewest = reference.n_rows().min(live.n_rows());
    if fewest < 50 {
        return Err(Error::input("domain drift", format!("{fewest} rows: at least 50 are needed")));
    }
    let rows: Vec<(&[f64], bool)> = [(reference, false), (live, true)]
        .into_iter()
        .flat_map(|(data, is_live)| (0..data.n_rows()).map(move |i| (data.row(i), is_live)))
        .collect();
    let salt = seed.derive("domain drift", 0).0;
    let trains = |i: usize| stable_hash(&(i as u64).to_le_bytes(), salt) & 1 == 0;
    let (train, test): (Vec<usize>, Vec<usize>) = (0..rows.len()).partition(|&i| trains(i));
    let ratios = log_ratios(profile, train.iter().map(|&i| rows[i]));
    let encoded = |half: &[usize]| encode(profile, &ratios, half.iter().map(|&i| rows[i]));
    let (train, test) = (encoded(&train)?, encoded(&test)?);
    train.check_both_classes("domain drift")?;
    let model = trainer.fit(&train, seed)?.model;
    let auc = |data: &Dataset| {
        Ok::<_, Error>(Ranking::new(data.labels(), &model.score_dataset(data)?)?.roc_auc())
    };
    let whole = auc(&test)?;
    let mut features = Vec::new();
    for (column, name) in profile.schema().names().iter().enumerate() {
        let mut values = test.features().to_owned();
        values.column_mut(column).fill(0.0);
        let still = Dataset::new(test.schema().clone(), values, test.labels().to_vec())?;
        features.push((name.clone(), whole - auc(&still)?));
    }
    features.sort_by(|a, b| b.1.total_cmp(&a.1));
    let p_value = mann_whitney_p(test.labels(), &model.score_dataset(&test)?, whole);
    let drift = (2.0 * whole - 1.0).max(0.0);
    Ok(DomainDrift { auc: whole, p_value, drift, n: test.n_rows() as u64, features })
}

/// Per cell of each feature ln(share of live rows / share of reference rows), half a row added to each.
fn log_ratios<'a>(
    profile: &ReferenceProfile,
    rows: impl Iterator<Item = (&'a [f64], bool)>,
) -> Vec<Vec<f64>> {
    let features = profile.features();
    let mut counts: Vec<Vec<[f64; 2]>> =
        features.iter().map(|column| vec![[0.5; 2]; column.cells.n_cells()]).collect();
    for (row, is_live) in rows {
        for ((column, counts), &value) in features.iter().zip(&mut counts).zip(row) {
            counts[column.cells.index(value)][usize::from(is_live)] += 1.0;
        }
    }
    let ratios = |counts: Vec<[f64; 2]>| {
        let total = |side: usize| counts.iter().map(|count| count[side]).sum::<f64>();
        let (reference, live) = (total(0), total(1));
        counts.iter().map(|[p, q]| (q / live / (p / reference)).ln()).collect()
    };
    counts.into_iter().map(ratios).collect()
}

fn encode<'a>(
    profile: &ReferenceProfile,
    ratios: &[Vec<f64>],
    rows: impl Iterator<Item = (&'a [f64], bool)>,
) -> Result<Dataset> {
    let cells: Vec<&Cells> = profile.features().iter().map(|column| &column.cells).collect();
    let (mut values, mut labels) = (Vec::new(), Vec::new());
    for (row, is_live) in rows {
        let encoded = row.iter().zip(&cells).zip(ratios);
        values.extend(encoded.map(|((&value, cells), ratios)| ratios[cells.index(value)]));
        labels.push(is_live);
    }
    let schema: FeatureSchema = profile.schema().clone();
    let values = Array2::from_shape_vec((labels.len(), cells.len()), values)
        .map_err(|error| Error::input("domain drift", error.to_string()))?;
    Dataset::new(schema, values, labels)
}

/// Two-sided p-value of an area under the ROC curve if scores and labels had nothing to do with each other.
fn mann_whitney_p(labels: &[bool], scores: &[f64], auc: f64) -> f64 {
    let n = labels.iter().filter(|is_live| **is_live).count() as f64;
    let (total, m) = (labels.len() as f64, labels.len() as f64 - n);
    let mut sorted = scores.to_vec();
    sorted.sort_unstable_by(f64::total_cmp);
    let runs = sorted.chunk_by(|a, b| a == b).map(|run| run.len() as f64);
    let ties: f64 = runs.map(|run| run * (run * run - 1.0)).sum();
    let variance = (total + 1.0 - ties / (total * (total - 1.0))) / (12.0 * n * m);
    if variance > 0.0 { normal_two_sided((auc - 0.5) / variance.sqrt()) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_p_value_is_mann_whitneys() {
        // scipy.stats.mannwhitneyu(live, reference, use_continuity=False, method="asymptotic"), scipy 1.17.1
        let live = [1.0, 1.0, 2.0, 2.0, 2.0, 3.0, 4.0, 4.0, 5.0, 5.0];
        let reference = [1.0, 3.0, 3.0, 3.0, 4.0, 5.0, 6.0, 6.0, 6.0, 6.0, 7.0];
        let scores: Vec<f64> = live.into_iter().chain(reference).collect();
        let labels: Vec<bool> = (0..21).map(|i| i < 10).collect();
        let auc = Ranking::new(&labels, &scores).unwrap().roc_auc();
        assert!((auc - 26.5 / 110.0).abs() < 1e-12);
        let p = mann_whitney_p(&labels, &scores, auc);
        assert!((p / MANN_WHITNEY - 1.0).abs() < 1e-9, "{p}");
    }

    const MANN_WHITNEY: f64 = 0.042_276_669_119_305_74;
}
