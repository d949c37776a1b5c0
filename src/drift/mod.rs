//! Stage 11, drift. Takes live rows and scores beside a [`ReferenceProfile`]; gives a [`DriftReport`] per stretch of
//! time.

mod detector;
mod seasonal;

pub use detector::{
    AccuracyDrop, AccuracyDropConfig, Adwin, AdwinConfig, AfterDrift, AnyDetector, Baseline, Cusum,
    CusumConfig, Ddm, DdmConfig, Direction, DriftDetector, EDetector, EDetectorConfig, Eddm,
    EddmConfig, HddmA, HddmAConfig, HddmW, HddmWConfig, Kswin, KswinConfig, PageHinkley,
    PageHinkleyConfig, Signal, Stepd, StepdConfig, ValueRange,
};
pub use seasonal::SeasonalBaseline;

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::monitor::Finding;
use crate::schema::FeatureSchema;
use crate::stats::{Bins, population_stability_index};
use crate::time::Timestamp;

/// How features and scores were distributed when the model was trained: frozen bins and their counts, the yardstick for
/// drift.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceProfile {
    schema: FeatureSchema,
    features: Vec<ReferenceColumn>,
    score: ReferenceColumn,
}

#[derive(Debug, Clone, PartialEq)]
struct ReferenceColumn {
    bins: Bins,
    counts: Vec<u64>,
}

impl ReferenceColumn {
    fn new(values: impl Iterator<Item = f64> + Clone, n_bins: usize) -> Result<Self> {
        let bins = Bins::equal_count(values.clone(), n_bins)?;
        let mut counts = vec![0; bins.n_bins()];
        values.for_each(|value| counts[bins.index(value)] += 1);
        Ok(ReferenceColumn { bins, counts })
    }
}

impl ReferenceProfile {
    /// Profiles the rows a model was trained on and the scores it gives them, on up to `n_bins` bins of about equal
    /// count per column and one for missing values. O(n log n) per column.
    ///
    /// # Errors
    /// `InvalidInput` unless there is a score per row; `InvalidConfig` for no bins.
    pub fn new(data: &Dataset, scores: &[f64], n_bins: usize) -> Result<Self> {
        if scores.len() != data.n_rows() {
            let reason = format!("{} for {} rows", scores.len(), data.n_rows());
            return Err(Error::input("scores", reason));
        }
        let matrix = data.features();
        let columns = matrix.columns().into_iter();
        let profile =
            |column: ndarray::ArrayView1<f64>| ReferenceColumn::new(column.iter().copied(), n_bins);
        Ok(ReferenceProfile {
            schema: data.schema().clone(),
            features: columns.map(profile).collect::<Result<_>>()?,
            score: ReferenceColumn::new(scores.iter().copied(), n_bins)?,
        })
    }
}

/// Counts live rows and scores on the bins of a reference; [`finish`](Self::finish) ends a stretch of time.
#[derive(Debug, Clone)]
pub struct DriftWindow {
    reference: Arc<ReferenceProfile>,
    features: Vec<Vec<u64>>,
    score: Vec<u64>,
    n_rows: u64,
}

/// Drift of every column against the reference over one stretch of time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DriftReport {
    /// Start of the stretch.
    pub from: Timestamp,
    /// End of it, exclusive.
    pub to: Timestamp,
    /// The score; `None` if the model was not asked.
    pub score: Option<ColumnDrift>,
    /// The features, in schema order.
    pub features: Vec<ColumnDrift>,
}

/// Drift of one column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnDrift {
    /// Feature name, or `score`.
    pub column: String,
    /// Rows seen in the stretch.
    pub n: u64,
    /// Population stability index against the reference.
    pub psi: f64,
    /// What chance alone stays below with probability 0.999, at these numbers of rows.
    pub critical: f64,
    /// Share of rows without a value.
    pub missing_rate: f64,
}

impl ColumnDrift {
    fn new(column: &str, reference: &ReferenceColumn, counts: &[u64]) -> Option<Self> {
        let psi = population_stability_index(&reference.counts, counts)?;
        let (n, missing) = (counts.iter().sum::<u64>(), *counts.last()?);
        Some(ColumnDrift {
            column: column.to_owned(),
            n,
            psi: psi.value,
            critical: psi.critical,
            missing_rate: missing as f64 / n as f64,
        })
    }
}

impl DriftWindow {
    /// An empty window on a reference.
    pub fn new(reference: Arc<ReferenceProfile>) -> Self {
        let features = reference.features.iter().map(|c| vec![0; c.counts.len()]).collect();
        let score = vec![0; reference.score.counts.len()];
        DriftWindow { reference, features, score, n_rows: 0 }
    }

    /// Counts a row. O(features × log bins), no allocation.
    ///
    /// # Errors
    /// `SchemaMismatch` if the row has another width than the reference.
    pub fn observe_row(&mut self, row: &[f64]) -> Result<()> {
        self.reference.schema.check_rows(row.len(), 1)?;
        let columns = self.features.iter_mut().zip(&self.reference.features);
        columns.zip(row).for_each(|((counts, column), &v)| counts[column.bins.index(v)] += 1);
        self.n_rows += 1;
        Ok(())
    }

    /// Counts a score of the model that the reference was made with; `None` for a row that it could not score.
    pub fn observe_score(&mut self, score: Option<f64>) {
        self.score[self.reference.score.bins.index(score.unwrap_or(f64::NAN))] += 1;
    }

    /// The drift of what was counted, `None` for no row; the window starts again from zero.
    pub fn finish(&mut self, from: Timestamp, to: Timestamp) -> Option<DriftReport> {
        if self.n_rows == 0 {
            return None;
        }
        let names = self.reference.schema.names();
        let columns = names.iter().zip(&self.reference.features).zip(&self.features);
        let report = DriftReport {
            from,
            to,
            score: ColumnDrift::new("score", &self.reference.score, &self.score),
            features: columns.filter_map(|((n, r), c)| ColumnDrift::new(n, r, c)).collect(),
        };
        *self = DriftWindow::new(self.reference.clone());
        Some(report)
    }
}

impl DriftReport {
    /// The PSI of every column as findings, `psi/amount` for one, about the given version.
    pub fn findings(&self, model: Option<&ModelRef>) -> Vec<Finding> {
        let columns = self.score.iter().chain(&self.features);
        columns
            .map(|column| Finding {
                metric: format!("psi/{}", column.column),
                model: model.cloned(),
                from: self.from,
                to: self.to,
                value: column.psi,
                n: column.n,
            })
            .collect()
    }
}
