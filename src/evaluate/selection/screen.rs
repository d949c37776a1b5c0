//! What each feature says about the label on its own.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::ranking::Ranking;
use crate::evaluate::selection::PermutationImportance;
use crate::parallel::map;
use crate::schema::FeatureSchema;
use crate::stats::{
    Bins, EmptyCells, Psi, mutual_information, pearson, population_stability_index, spearman,
    weight_of_evidence,
};
use crate::time::Timestamp;

/// One feature on its own against the label. What has no value (a correlation of a constant) is `None`.
///
/// Missing values (NaN) are left out of Pearson, Spearman, AUC and KS, which therefore speak of the `n` rows that have
/// one; they are a bin of their own in mutual information, information value and PSI.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureScore {
    /// Name of the feature.
    pub name: String,
    /// Rows with a value.
    pub n: u64,
    /// Of these, rows labelled bad.
    pub n_bad: u64,
    /// Share of rows without a value.
    pub missing_rate: f64,
    /// Pearson's correlation with the label (bad is 1, good is 0); `None` also where a value is infinite.
    pub pearson: Option<f64>,
    /// Spearman's rank correlation with the label.
    pub spearman: Option<f64>,
    /// Mutual information of the feature's bins and the label, in nats.
    pub mutual_information: f64,
    /// Information value of the feature's bins, natural logarithm, 0.5 added to every cell.
    pub information_value: f64,
    /// The chance that a bad row has a higher value than a good one, a tie counting half: below 0.5 where bad rows have
    /// the lower values. `None` without values of both labels.
    pub auc: Option<f64>,
    /// Kolmogorov–Smirnov distance between the values of bad and of good rows.
    pub ks: Option<f64>,
    /// AUC, at least 0.5, of nothing but whether the value is missing: high where a field is filled in after the fact.
    pub missing_auc: f64,
    /// PSI of every later stretch of time against the first, in order; `None` for a stretch without rows. Empty where
    /// the data set has no times.
    pub psi: Vec<Option<Psi>>,
    /// What a model makes of the feature, in the unit of that model's `importance`; `None` if not asked.
    pub model_importance: Option<f64>,
    /// What a model loses without the feature: [`FeatureImportance::mean`](super::FeatureImportance::mean); `None` if
    /// not asked.
    pub permutation_importance: Option<f64>,
}

/// What a feature can be judged by.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum FeatureMeasure {
    /// Share of rows without a value.
    MissingRate,
    /// Size of Pearson's correlation with the label.
    Pearson,
    /// Size of Spearman's correlation with the label.
    Spearman,
    /// Mutual information with the label, in nats.
    MutualInformation,
    /// Information value.
    InformationValue,
    /// AUC in whichever direction is above 0.5.
    Auc,
    /// Kolmogorov–Smirnov distance.
    Ks,
    /// Largest PSI of a later stretch of time against the first.
    Psi,
    /// What a model makes of the feature.
    ModelImportance,
    /// What a model loses without the feature.
    PermutationImportance,
}

impl FeatureScore {
    /// The feature by one measure; `None` where it is not defined or was not asked for.
    pub fn value(&self, measure: FeatureMeasure) -> Option<f64> {
        match measure {
            FeatureMeasure::MissingRate => Some(self.missing_rate),
            FeatureMeasure::Pearson => self.pearson.map(f64::abs),
            FeatureMeasure::Spearman => self.spearman.map(f64::abs),
            FeatureMeasure::MutualInformation => Some(self.mutual_information),
            FeatureMeasure::InformationValue => Some(self.information_value),
            FeatureMeasure::Auc => self.auc.map(|auc| auc.max(1.0 - auc)),
            FeatureMeasure::Ks => self.ks,
            FeatureMeasure::Psi => self.psi.iter().flatten().map(|psi| psi.value).reduce(f64::max),
            FeatureMeasure::ModelImportance => self.model_importance,
            FeatureMeasure::PermutationImportance => self.permutation_importance,
        }
    }
}

/// Every feature of a data set on its own, made by [`Selector::screen`](super::Selector::screen).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureScreen {
    /// Rows looked at.
    pub n_rows: u64,
    /// Rows labelled bad.
    pub n_bad: u64,
    /// The features, in schema order.
    pub features: Vec<FeatureScore>,
}

impl FeatureScreen {
    pub(super) fn new(data: &Dataset, n_bins: usize, time_parts: usize) -> Result<Self> {
        data.check_both_classes("feature screen")?;
        let screening = Screening {
            data,
            bad_as_number: data.labels().iter().map(|&bad| f64::from(u8::from(bad))).collect(),
            parts: data.times().map(|times| parts_of_time(times, time_parts)),
            n_bins,
            time_parts,
        };
        let columns: Vec<usize> = (0..data.schema().n_features()).collect();
        let features = map(&columns, |&column| screening.score(column));
        Ok(FeatureScreen {
            n_rows: data.n_rows() as u64,
            n_bad: data.n_bad() as u64,
            features: features.into_iter().collect::<Result<_>>()?,
        })
    }

    /// Adds a model's own importances, one per feature in schema order, such as
    /// [`TreeEnsemble::importance`](crate::model::TreeEnsemble::importance).
    ///
    /// # Errors
    /// `InvalidInput` unless there is a finite one per feature.
    pub fn with_model_importance(mut self, importance: &[f64]) -> Result<Self> {
        let (found, expected) = (importance.len(), self.features.len());
        if found != expected || importance.iter().any(|value| !value.is_finite()) {
            let reason = format!("{found} for {expected} features; all must be finite");
            return Err(Error::input("importances", reason));
        }
        let features = self.features.iter_mut().zip(importance);
        features.for_each(|(feature, &value)| feature.model_importance = Some(value));
        Ok(self)
    }

    /// Adds what a model loses without each feature.
    ///
    /// # Errors
    /// `SchemaMismatch` if it was measured on other columns.
    pub fn with_permutation_importance(mut self, lost: &PermutationImportance) -> Result<Self> {
        let names = lost.features.iter().map(|feature| feature.name.as_str());
        self.schema()?.check(&FeatureSchema::new(names)?)?;
        let features = self.features.iter_mut().zip(&lost.features);
        features.for_each(|(feature, lost)| feature.permutation_importance = Some(lost.mean));
        Ok(self)
    }

    pub(super) fn schema(&self) -> Result<FeatureSchema> {
        FeatureSchema::new(self.features.iter().map(|feature| feature.name.as_str()))
    }
}

/// What all features are screened against.
struct Screening<'a> {
    data: &'a Dataset,
    bad_as_number: Vec<f64>,
    /// The stretch of time that each row falls into.
    parts: Option<Vec<usize>>,
    n_bins: usize,
    time_parts: usize,
}

impl Screening<'_> {
    fn score(&self, column: usize) -> Result<FeatureScore> {
        let labels = self.data.labels();
        let values = self.data.features().column(column).to_vec();
        let present = values.iter().zip(labels).filter(|(value, _)| !value.is_nan());
        let (present, of_present): (Vec<f64>, Vec<bool>) = present.unzip();
        let (n, n_bad) = (present.len(), of_present.iter().filter(|bad| **bad).count());
        let both = n_bad > 0 && n_bad < n;
        let ranking = both.then(|| Ranking::new(&of_present, &present)).transpose()?;

        let bins = Bins::equal_count(values.iter().copied(), self.n_bins)?;
        let (mut bad, mut good) = (vec![0; bins.n_bins()], vec![0; bins.n_bins()]);
        for (&value, &label) in values.iter().zip(labels) {
            let side = if label { &mut bad } else { &mut good };
            side[bins.index(value)] += 1;
        }
        let both_labels = "rows of both labels, checked in FeatureScreen::new";
        let rows = |counts: &[u64]| counts.iter().map(|count| *count as f64).collect::<Vec<_>>();
        let evidence =
            weight_of_evidence(&rows(&bad), &rows(&good), EmptyCells::Add(0.5)).expect(both_labels);
        let missing_share = |of_label: &[u64]| {
            let missing = of_label.last().copied().unwrap_or(0);
            missing as f64 / of_label.iter().sum::<u64>() as f64
        };
        Ok(FeatureScore {
            name: self.data.schema().names()[column].clone(),
            n: n as u64,
            n_bad: n_bad as u64,
            missing_rate: (values.len() - n) as f64 / values.len() as f64,
            pearson: pearson(&values, &self.bad_as_number),
            spearman: spearman(&values, &self.bad_as_number),
            mutual_information: mutual_information(&bad, &good).expect(both_labels),
            information_value: evidence.information_value,
            auc: ranking.as_ref().map(Ranking::roc_auc),
            ks: ranking.as_ref().map(|ranking| ranking.ks().value),
            // A score of two values: the area is half the distance between the two shares, above one half.
            missing_auc: 0.5 + (missing_share(&bad) - missing_share(&good)).abs() / 2.0,
            psi: self.psi(&values)?,
            model_importance: None,
            permutation_importance: None,
        })
    }

    /// PSI of each later stretch against the first, on bins that the first lays down.
    fn psi(&self, values: &[f64]) -> Result<Vec<Option<Psi>>> {
        let Some(parts) = &self.parts else {
            return Ok(Vec::new());
        };
        let of_first = values.iter().zip(parts).filter(|(_, part)| **part == 0);
        let bins = Bins::equal_count(of_first.map(|(value, _)| *value), self.n_bins)?;
        let mut counts = vec![vec![0; bins.n_bins()]; self.time_parts];
        values.iter().zip(parts).for_each(|(&v, &part)| counts[part][bins.index(v)] += 1);
        let later = counts[1..].iter();
        Ok(later.map(|later| population_stability_index(&counts[0], later)).collect())
    }
}

/// The stretch that each time falls into, of `n` equally long ones from the first time to the last.
fn parts_of_time(times: &[Timestamp], n: usize) -> Vec<usize> {
    let micros = |time: &Timestamp| i128::from(time.micros());
    let first = times.iter().map(micros).min().unwrap_or(0);
    let length = times.iter().map(micros).max().unwrap_or(0) - first + 1;
    times.iter().map(|time| ((micros(time) - first) * n as i128 / length) as usize).collect()
}

impl fmt::Display for FeatureMeasure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            FeatureMeasure::MissingRate => "missing rate",
            FeatureMeasure::Pearson => "|Pearson|",
            FeatureMeasure::Spearman => "|Spearman|",
            FeatureMeasure::MutualInformation => "mutual information",
            FeatureMeasure::InformationValue => "IV",
            FeatureMeasure::Auc => "AUC",
            FeatureMeasure::Ks => "KS",
            FeatureMeasure::Psi => "PSI",
            FeatureMeasure::ModelImportance => "model importance",
            FeatureMeasure::PermutationImportance => "permutation importance",
        })
    }
}

/// Name, then what is known of it, on one line.
impl fmt::Display for FeatureScore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use FeatureMeasure::{Auc, InformationValue, Ks, MissingRate, Psi, Spearman};
        write!(f, "{}:", self.name)?;
        for measure in [InformationValue, Auc, Ks, Spearman, MissingRate, Psi] {
            match self.value(measure) {
                Some(value) => write!(f, "  {measure} {value:.4}")?,
                None => write!(f, "  {measure} -")?,
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stretches_of_time_are_equally_long_and_the_last_moment_is_in_the_last() {
        let times = [10, 13, 14, 17, 25].map(Timestamp::from_micros);
        assert_eq!(parts_of_time(&times, 4), [0, 0, 1, 1, 3]);
        assert_eq!(parts_of_time(&times[..1], 4), [0]);
        let ends = [i64::MIN, i64::MAX].map(Timestamp::from_micros);
        assert_eq!(parts_of_time(&ends, 1000), [0, 999]);
    }
}
