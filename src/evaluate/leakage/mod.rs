//! Whether a model could know in training what it will not know in use.

mod future;

pub use future::{FutureLeak, future_leaks};

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, FoldPlan, SplitRows};
use crate::error::{Error, Result};
use crate::evaluate::ranking::Ranking;
use crate::model::{Trainer, out_of_fold};
use crate::seed::{Seed, stable_hash};

/// What is looked at as too good to be true.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LeakageConfig {
    /// Largest AUC, in whichever direction, that one feature may have on the training rows.
    pub max_feature_auc: f64,
    /// Largest AUC that a model which tells test from training rows may have.
    pub max_adversarial_auc: f64,
}

/// 0.95 and 0.7.
impl Default for LeakageConfig {
    fn default() -> Self {
        LeakageConfig { max_feature_auc: 0.95, max_adversarial_auc: 0.7 }
    }
}

/// What crosses a split that should not. It looks at rows; whether the code that made them sees the future is for
/// [`future_leaks`] to find.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LeakageReport {
    /// Entities with rows on both sides; `None` without entities.
    pub shared_entities: Option<u64>,
    /// Test rows no later than the last training row; `None` without times.
    pub test_rows_before_training_end: Option<u64>,
    /// Test rows whose features all equal those of a training row.
    pub copied_rows: u64,
    /// Features that alone rank the training rows better than the limit, with their AUC.
    pub too_good: Vec<(String, f64)>,
    /// AUC of a model that tells test from training rows, scored out of fold; `None` without an adversary. 0.5: the two sides
    /// look alike.
    pub adversarial_auc: Option<f64>,
    /// What is wrong, in words; empty if nothing is.
    pub findings: Vec<String>,
}

impl LeakageReport {
    /// Looks at both sides of a split. `adversary`, if given, is trained twice on half of all rows with "is a test row" for
    /// a label.
    ///
    /// # Errors
    /// `InvalidConfig` for a limit outside 0.5 to 1; `InvalidInput` for a row past the end; `OneClass` if the training rows
    /// have one label; those of the adversary.
    pub fn new(
        data: &Dataset,
        split: &SplitRows,
        config: &LeakageConfig,
        adversary: Option<&dyn Trainer>,
        seed: Seed,
    ) -> Result<Self> {
        let limits = [config.max_feature_auc, config.max_adversarial_auc];
        if !limits.iter().all(|limit| (0.5..=1.0).contains(limit)) {
            return Err(Error::config("leakage limits", "must lie within 0.5 to 1"));
        }
        let train = data.select_rows(&split.train)?;
        let test = data.select_rows(&split.test)?;
        train.check_both_classes("leakage report")?;
        let shared_entities = train.entities().zip(test.entities()).map(|(train, test)| {
            let known: BTreeSet<_> = train.iter().collect();
            test.iter().collect::<BTreeSet<_>>().intersection(&known).count() as u64
        });
        let test_rows_before_training_end = train.times().zip(test.times()).map(|(train, test)| {
            let end = train.iter().max().expect("a data set has at least one row");
            test.iter().filter(|at| *at <= end).count() as u64
        });
        let copied_rows = copied_rows(&train, &test);
        let too_good = too_good(&train, config.max_feature_auc)?;
        let adversarial_auc =
            adversary.map(|adversary| tell_apart(data, split, adversary, seed)).transpose()?;

        let mut findings = Vec::new();
        if let Some(n) = shared_entities.filter(|n| *n > 0) {
            findings.push(format!("{n} entities have rows on both sides"));
        }
        if let Some(n) = test_rows_before_training_end.filter(|n| *n > 0) {
            findings.push(format!("{n} test rows are no later than the last training row"));
        }
        if copied_rows > 0 {
            findings.push(format!("{copied_rows} test rows equal a training row in every feature"));
        }
        for (name, auc) in &too_good {
            findings.push(format!("{name} alone has an AUC of {auc:.4}"));
        }
        if let Some(auc) = adversarial_auc.filter(|auc| *auc > config.max_adversarial_auc) {
            findings
                .push(format!("test rows can be told from training rows with an AUC of {auc:.4}"));
        }
        Ok(LeakageReport {
            shared_entities,
            test_rows_before_training_end,
            copied_rows,
            too_good,
            adversarial_auc,
            findings,
        })
    }
}

fn copied_rows(train: &Dataset, test: &Dataset) -> u64 {
    let hash = |row: &[f64]| {
        // All NaNs mean missing, whatever their payload.
        let bits =
            row.iter().map(|v| if v.is_nan() { f64::NAN.to_bits() } else { (v + 0.0).to_bits() });
        stable_hash(&bits.flat_map(u64::to_le_bytes).collect::<Vec<u8>>(), 0)
    };
    let same =
        |a: &[f64], b: &[f64]| a.iter().zip(b).all(|(a, b)| a == b || (a.is_nan() && b.is_nan()));
    let mut of_hash: BTreeMap<u64, Vec<usize>> = BTreeMap::new();
    (0..train.n_rows()).for_each(|row| of_hash.entry(hash(train.row(row))).or_default().push(row));
    let copied = |row: &usize| {
        let row = test.row(*row);
        let alike = of_hash.get(&hash(row));
        alike.is_some_and(|alike| alike.iter().any(|&other| same(train.row(other), row)))
    };
    (0..test.n_rows()).filter(copied).count() as u64
}

fn too_good(train: &Dataset, limit: f64) -> Result<Vec<(String, f64)>> {
    let mut found = Vec::new();
    for (column, name) in train.schema().names().iter().enumerate() {
        let values = train.features().column(column).to_vec();
        // A value that is missing for one label only gives it away as well.
        let missing: Vec<f64> = values.iter().map(|v| f64::from(u8::from(v.is_nan()))).collect();
        let present = values.iter().zip(train.labels()).filter(|(value, _)| !value.is_nan());
        let (present, labels): (Vec<f64>, Vec<bool>) = present.unzip();
        let of_value = Ranking::new(&labels, &present).map_or(0.5, |ranking| ranking.roc_auc());
        let of_missing = Ranking::new(train.labels(), &missing)?.roc_auc();
        let auc = [of_value, of_missing].map(|auc| auc.max(1.0 - auc));
        let auc = auc[0].max(auc[1]);
        if auc > limit {
            found.push((name.clone(), auc));
        }
    }
    Ok(found)
}

fn tell_apart(
    data: &Dataset,
    split: &SplitRows,
    adversary: &dyn Trainer,
    seed: Seed,
) -> Result<f64> {
    let rows = [&split.train[..], &split.test].concat();
    let is_test: Vec<bool> = (0..rows.len()).map(|i| i >= split.train.len()).collect();
    let features = data.select_rows(&rows)?.features().to_owned();
    let sides = Dataset::new(data.schema().clone(), features, is_test)?;
    let halves = FoldPlan::Stratified { folds: 2 }.split(&sides, seed)?;
    let (_, mut scores) = out_of_fold(adversary, &sides, &halves, seed, |_| Ok(()))?;
    // A row without a score tells nothing.
    scores.iter_mut().filter(|score| score.is_nan()).for_each(|score| *score = f64::NEG_INFINITY);
    Ok(Ranking::new(sides.labels(), &scores)?.roc_auc())
}

/// A line per finding.
impl fmt::Display for LeakageReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.findings.is_empty() {
            return f.write_str("nothing crosses the split");
        }
        f.write_str(&self.findings.join("\n"))
    }
}
