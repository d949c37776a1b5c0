//! Stage 5, train. Takes a data set and a [`Trainer`]; gives a [`TrainingRun`]: the model and the record of how it came
//! about. Of a trainer it tells what it is worth on rows not seen, [`CrossValidation`], and its best parameters, [`Tuner`].

mod cross_validation;
#[cfg(feature = "json")]
mod json_lines;
mod run_log;
mod tuning;

pub use cross_validation::{CrossValidation, Fold, MetricSummary};
#[cfg(feature = "json")]
pub use run_log::JsonLinesRunLog;
pub use run_log::{InMemoryRunLog, RunEntry, RunLog, RunLogExt};
#[cfg(feature = "json")]
pub use tuning::JsonLinesTuningJournal;
pub use tuning::{
    InMemoryTuningJournal, JournalEntry, ParameterRange, ParameterSet, ParameterValue, SearchSpace,
    SearchStrategy, Trial, TrialOutcome, Tuner, TunerConfig, TuningEnd, TuningJournal,
    TuningProgress, TuningResult, TuningTask,
};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::dataset::Dataset;
use crate::error::Result;
use crate::ids::{Digest, DigestWriter};
use crate::model::{Convergence, GoldenRows, Model, Trainer};
use crate::seed::Seed;

/// What scores are judged by, to compare trainers and parameters.
///
/// [`ScoreMetric`](crate::evaluate::ScoreMetric) names the usual ones; a host adds its own.
///
/// # Contract
/// The same rows and scores give the same number, finite, whatever the order of the rows.
///
/// # Errors
/// Whatever the metric cannot be taken of, one class or a score that is NaN among it.
pub trait Metric: Debug + Send + Sync {
    /// Name for records and messages; two metrics of one name are the same.
    fn name(&self) -> String;

    /// Whether more is better.
    fn larger_is_better(&self) -> bool {
        true
    }

    /// Its value for one score per row.
    ///
    /// # Errors
    /// See the trait.
    fn value(&self, data: &Dataset, scores: &[f64]) -> Result<f64>;
}

/// A model, its record, and rows to know it by.
#[derive(Debug, Clone)]
pub struct TrainingRun {
    /// The fitted model.
    pub model: Arc<dyn Model>,
    /// How it came about.
    pub record: TrainingRecord,
    /// Rows by which it is checked wherever it is loaded.
    pub golden: GoldenRows,
}

/// How a model came about: enough to make it again, byte for byte.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TrainingRecord {
    /// SHA-256 over everything below but the outcome: equal ids mean equal models.
    pub id: Digest,
    /// Name of the trainer.
    pub trainer: String,
    /// Its parameters, as (name, value).
    #[serde(deserialize_with = "codec::exact")]
    pub parameters: Vec<(String, String)>,
    /// The run's seed.
    pub seed: Seed,
    /// [`Dataset::fingerprint`] of the training rows.
    pub dataset: Digest,
    /// [`FeatureSet::fingerprint`](crate::feature::FeatureSet::fingerprint), where the features came from one.
    pub feature_set: Option<Digest>,
    /// Version of riskcycle.
    pub library: String,
    /// Training rows.
    pub n_rows: u64,
    /// Training rows labelled bad.
    pub n_bad: u64,
    /// How far the solver got, where there is one.
    pub convergence: Option<Convergence>,
}

impl TrainingRun {
    /// Fits a model and writes the record. `feature_set` is the fingerprint of the definition the features came from.
    ///
    /// # Errors
    /// Those of [`Trainer::fit`] and of the model's scoring.
    pub fn fit(
        trainer: &dyn Trainer,
        data: &Dataset,
        feature_set: Option<Digest>,
        seed: Seed,
    ) -> Result<TrainingRun> {
        let fitted = trainer.fit(data, seed)?;
        let mut record = TrainingRecord {
            id: Digest::default(),
            trainer: trainer.name().to_owned(),
            parameters: trainer.parameters(),
            seed,
            dataset: data.fingerprint(),
            feature_set,
            library: env!("CARGO_PKG_VERSION").to_owned(),
            n_rows: data.n_rows() as u64,
            n_bad: data.n_bad() as u64,
            convergence: fitted.convergence,
        };
        record.id = record.identity();
        let golden = GoldenRows::of(fitted.model.as_ref(), data)?;
        Ok(TrainingRun { model: fitted.model, record, golden })
    }
}

impl TrainingRecord {
    /// What differs, as (what, here, there): the trainer, parameters, seed, data, features, version.
    pub fn differences(&self, other: &TrainingRecord) -> Vec<(String, String, String)> {
        let facts = |record: &TrainingRecord| {
            let none = || "-".to_owned();
            let mut facts: BTreeMap<String, String> = record.parameters.iter().cloned().collect();
            facts.extend([
                ("(trainer)".to_owned(), record.trainer.clone()),
                ("(seed)".to_owned(), record.seed.0.to_string()),
                ("(data)".to_owned(), record.dataset.short()),
                ("(features)".to_owned(), record.feature_set.map_or_else(none, |d| d.short())),
                ("(library)".to_owned(), record.library.clone()),
            ]);
            facts
        };
        let (ours, theirs) = (facts(self), facts(other));
        let names: BTreeSet<&String> = ours.keys().chain(theirs.keys()).collect();
        let value = |of: &BTreeMap<String, String>, name: &String| {
            of.get(name).cloned().unwrap_or_else(|| "-".to_owned())
        };
        let both =
            names.into_iter().map(|name| (name.clone(), value(&ours, name), value(&theirs, name)));
        both.filter(|(_, ours, theirs)| ours != theirs).collect()
    }

    fn identity(&self) -> Digest {
        let mut digest = DigestWriter::default();
        digest.bytes(b"riskcycle training run 1").bytes(self.trainer.as_bytes());
        self.parameters.iter().for_each(|(name, value)| {
            digest.bytes(name.as_bytes()).bytes(value.as_bytes());
        });
        digest.u64(self.seed.0).bytes(self.dataset.as_bytes());
        digest.bytes(self.feature_set.as_ref().map_or(&[], |d| d.as_bytes()));
        digest.bytes(self.library.as_bytes());
        digest.finish()
    }
}
