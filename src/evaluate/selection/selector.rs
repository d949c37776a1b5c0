//! Keep or drop: the bounds, and how they are applied.

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::selection::{
    DropReason, FeatureMeasure, FeatureScore, FeatureScreen, FeatureVerdict, Selection,
};
use crate::parallel::map;
use crate::stats::RankedColumn;

/// What a feature must reach to be kept. `None` does not ask; the default asks for IV, presence and stability.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SelectionConfig {
    /// Bins of about equal count per feature, MISSING not counted, `2..=1000`: for mutual information, IV and PSI.
    pub n_bins: usize,
    /// Equally long stretches that the time range is cut into, `2..=1000`; PSI sets the later ones against the first.
    pub time_parts: usize,
    /// Above this AUC, `0.5..=1.0`, a feature alone is too good to be true: it is dropped with an alarm, for most
    /// likely it was written after the outcome was known. Asked of its values and of whether it is missing. 1 never
    /// alarms.
    pub leak_auc: f64,
    /// Largest share of rows without a value.
    pub max_missing_rate: Option<f64>,
    /// Smallest size of Pearson's correlation with the label.
    pub min_pearson: Option<f64>,
    /// Smallest size of Spearman's correlation with the label.
    pub min_spearman: Option<f64>,
    /// Smallest mutual information, in nats.
    pub min_mutual_information: Option<f64>,
    /// Smallest information value.
    pub min_information_value: Option<f64>,
    /// Smallest AUC in whichever direction is above 0.5.
    pub min_auc: Option<f64>,
    /// Smallest Kolmogorov–Smirnov distance.
    pub min_ks: Option<f64>,
    /// Largest PSI of a later stretch of time that lies above what chance reaches at its number of rows. Not judged
    /// where the data set has no times.
    pub max_psi: Option<f64>,
    /// Smallest [`FeatureScore::model_importance`].
    pub min_model_importance: Option<f64>,
    /// Smallest [`FeatureScore::permutation_importance`].
    pub min_permutation_importance: Option<f64>,
    /// Largest size of Spearman's correlation between two kept features, over the rows that have both; of two closer
    /// ones the better by `rank_by` stays. Ranks, since a monotone twin tells a tree or a bin nothing new, and one
    /// outlier makes no twins.
    pub max_redundancy: Option<f64>,
    /// What makes one feature better than another, higher being better; equal ones stand in schema order.
    pub rank_by: FeatureMeasure,
    /// Keep at most this many of the best.
    pub top: Option<usize>,
}

/// A leak alarm above AUC 0.98; at most 95 % missing, IV at least 0.02, PSI at most 0.25, no two features closer than
/// |Spearman| 0.95, the better one by IV.
impl Default for SelectionConfig {
    fn default() -> Self {
        SelectionConfig {
            n_bins: 10,
            time_parts: 4,
            leak_auc: 0.98,
            max_missing_rate: Some(0.95),
            min_pearson: None,
            min_spearman: None,
            min_mutual_information: None,
            min_information_value: Some(0.02),
            min_auc: None,
            min_ks: None,
            max_psi: Some(0.25),
            min_model_importance: None,
            min_permutation_importance: None,
            max_redundancy: Some(0.95),
            rank_by: FeatureMeasure::InformationValue,
            top: None,
        }
    }
}

/// Screens features and decides which to keep. Screen the training rows only: a choice that has seen the test rows
/// flatters every number measured on them.
///
/// ```
/// use riskcycle::FeatureSchema;
/// use riskcycle::dataset::Dataset;
/// use riskcycle::evaluate::{SelectionConfig, Selector};
/// use riskcycle::ndarray::Array2;
///
/// // `amount` says something, `noise` nothing, and `chargeback` was filled in after the outcome.
/// let features = Array2::from_shape_fn((400, 3), |(row, column)| match column {
///     0 => (row % 20) as f64,
///     1 => (row % 7) as f64,
///     _ => f64::from(row % 20 > 15),
/// });
/// let bad = (0..400).map(|row| row % 20 > 15 || row % 20 == 3).collect();
/// let schema = FeatureSchema::new(["amount", "noise", "chargeback"])?;
/// let data = Dataset::new(schema, features, bad)?;
///
/// let selector = Selector::new(SelectionConfig { leak_auc: 0.85, ..Default::default() })?;
/// let selection = selector.select(&data, &selector.screen(&data)?)?;
/// assert_eq!(selection.alarms().map(|alarm| &alarm.score.name).collect::<Vec<_>>(), ["chargeback"]);
/// assert_eq!(data.select_columns(&selection.kept())?.schema().names(), ["amount"]);
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Selector {
    config: SelectionConfig,
}

impl Selector {
    /// # Errors
    /// `InvalidConfig` for a bound outside its measure's range, fewer than two bins or stretches of time or more than a
    /// thousand, a `top` of zero, or ranking by what is not better when higher.
    pub fn new(config: SelectionConfig) -> Result<Self> {
        let refuse = |reason: &str| Err(Error::config("selection", reason));
        let c = &config;
        if !(2..=1000).contains(&c.n_bins) || !(2..=1000).contains(&c.time_parts) {
            return refuse("n_bins and time_parts must be within 2 to 1000");
        }
        if !(0.5..=1.0).contains(&c.leak_auc)
            || c.min_auc.is_some_and(|auc| !(0.5..=1.0).contains(&auc))
        {
            return refuse("AUC bounds must be within 0.5 to 1");
        }
        let shares =
            [c.max_missing_rate, c.min_pearson, c.min_spearman, c.min_ks, c.max_redundancy];
        if shares.into_iter().flatten().any(|bound| !(0.0..=1.0).contains(&bound)) {
            return refuse("bounds of rates, correlations and KS must be within 0 to 1");
        }
        let amounts = [c.min_mutual_information, c.min_information_value, c.max_psi];
        if amounts.into_iter().flatten().any(|bound| !(bound >= 0.0 && bound.is_finite())) {
            return refuse("bounds of mutual information, IV and PSI must be finite, not negative");
        }
        let importances = [c.min_model_importance, c.min_permutation_importance];
        if importances.into_iter().flatten().any(|bound| !bound.is_finite()) {
            return refuse("bounds of importances must be finite");
        }
        if matches!(c.rank_by, FeatureMeasure::MissingRate | FeatureMeasure::Psi) {
            return refuse("rank_by needs a measure that is better when higher");
        }
        if c.top == Some(0) {
            return refuse("top must be at least 1");
        }
        Ok(Selector { config })
    }

    /// Measures every feature on its own. O(n log n) and about 100 bytes a row per feature, as many features at a time
    /// as there are threads.
    ///
    /// # Errors
    /// `OneClass` unless there are rows of both labels; `InvalidInput` for more than 4,294,967,295 rows.
    pub fn screen(&self, data: &Dataset) -> Result<FeatureScreen> {
        FeatureScreen::new(data, self.config.n_bins, self.config.time_parts)
    }

    /// Decides on every feature of the rows that `screen` was made from. First the bounds on each feature by itself;
    /// then, best first, redundancy with those kept so far, until `top` are kept.
    ///
    /// Redundancy costs O(n) per pair of a candidate and a kept feature, O(n log n) where values are missing, and 8
    /// bytes a row per kept feature.
    ///
    /// # Errors
    /// `SchemaMismatch` or `InvalidInput` if the screen is of other columns or rows; `InvalidInput` if an importance is
    /// asked for that the screen does not have.
    pub fn select(&self, data: &Dataset, screen: &FeatureScreen) -> Result<Selection> {
        data.schema().check(&screen.schema()?)?;
        if (screen.n_rows, screen.n_bad) != (data.n_rows() as u64, data.n_bad() as u64) {
            return Err(Error::input("feature screen", "was made from other rows"));
        }
        self.check_importances(screen)?;
        let features = screen.features.iter();
        let verdict = |score: &FeatureScore| FeatureVerdict {
            score: score.clone(),
            reasons: self.reasons(score),
        };
        let mut selection = Selection { features: features.map(verdict).collect() };
        self.prune(data, &mut selection.features);
        Ok(selection)
    }

    /// An importance that is asked for and missing is a mistake of the caller, not a fault of the features.
    fn check_importances(&self, screen: &FeatureScreen) -> Result<()> {
        let asked = [
            (FeatureMeasure::ModelImportance, self.config.min_model_importance),
            (FeatureMeasure::PermutationImportance, self.config.min_permutation_importance),
        ];
        for (measure, bound) in asked {
            let needed = bound.is_some() || self.config.rank_by == measure;
            if needed && screen.features.iter().any(|feature| feature.value(measure).is_none()) {
                let reason = format!("has no {measure}; add it to the screen first");
                return Err(Error::input("feature screen", reason));
            }
        }
        Ok(())
    }

    /// What speaks against a feature by itself.
    fn reasons(&self, score: &FeatureScore) -> Vec<DropReason> {
        use FeatureMeasure::*;
        let (c, mut reasons) = (&self.config, Vec::new());
        if let Some(auc) = score.value(Auc).filter(|auc| *auc > c.leak_auc) {
            reasons.push(DropReason::LeakAlarm { auc, bound: c.leak_auc });
        }
        if score.missing_auc > c.leak_auc {
            let (auc, bound) = (score.missing_auc, c.leak_auc);
            reasons.push(DropReason::MissingLeakAlarm { auc, bound });
        }
        if let Some(bound) = c.max_missing_rate.filter(|bound| score.missing_rate > *bound) {
            let value = score.missing_rate;
            reasons.push(DropReason::TooHigh { measure: MissingRate, value, bound });
        }
        let at_least = [
            (Pearson, c.min_pearson),
            (Spearman, c.min_spearman),
            (MutualInformation, c.min_mutual_information),
            (InformationValue, c.min_information_value),
            (Auc, c.min_auc),
            (Ks, c.min_ks),
            (ModelImportance, c.min_model_importance),
            (PermutationImportance, c.min_permutation_importance),
        ];
        for (measure, bound) in at_least {
            let value = score.value(measure);
            if let Some(bound) = bound.filter(|bound| value.is_none_or(|value| value < *bound)) {
                reasons.push(DropReason::TooLow { measure, value, bound });
            }
        }
        // Beyond chance only: ten bins of fifty rows each reach 0.25 without any change.
        let beyond_chance = score.psi.iter().flatten().filter(|psi| psi.value > psi.critical);
        let psi = beyond_chance.map(|psi| psi.value).reduce(f64::max);
        if let (Some(value), Some(bound)) = (psi, c.max_psi)
            && value > bound
        {
            reasons.push(DropReason::TooHigh { measure: Psi, value, bound });
        }
        reasons
    }

    /// Goes through the features without a reason against them, best first, and drops those that add nothing.
    fn prune(&self, data: &Dataset, features: &mut [FeatureVerdict]) {
        let rank =
            |i: &usize| features[*i].score.value(self.config.rank_by).unwrap_or(f64::NEG_INFINITY);
        let mut order: Vec<usize> =
            (0..features.len()).filter(|&i| features[i].reasons.is_empty()).collect();
        order.sort_by(|a, b| rank(b).total_cmp(&rank(a))); // stable: equal ones keep schema order
        let mut kept: Vec<(usize, RankedColumn)> = Vec::new();
        let mut n_kept = 0;
        for i in order {
            if let Some(top) = self.config.top.filter(|top| n_kept >= *top) {
                features[i].reasons.push(DropReason::BeyondTop { top });
                continue;
            }
            if let Some(bound) = self.config.max_redundancy {
                let column = RankedColumn::new(data.features().column(i).to_vec());
                let closest = map(&kept, |(_, other)| column.spearman(other));
                let closest = kept.iter().zip(closest).filter_map(|((k, _), r)| Some((*k, r?)));
                // Of equally close ones the best feature, which was kept first.
                let closest = closest.reduce(|a, b| if b.1.abs() > a.1.abs() { b } else { a });
                if let Some((k, spearman)) = closest.filter(|(_, r)| r.abs() > bound) {
                    let with = features[k].score.name.clone();
                    features[i].reasons.push(DropReason::Redundant { with, spearman, bound });
                    continue;
                }
                kept.push((i, column));
            }
            n_kept += 1;
        }
    }
}
