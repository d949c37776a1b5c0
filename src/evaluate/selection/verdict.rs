//! What was decided on every feature, and why.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::evaluate::selection::{FeatureMeasure, FeatureScore};

/// The verdict on every feature of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Selection {
    /// In schema order.
    pub features: Vec<FeatureVerdict>,
}

/// A feature, and why it is dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct FeatureVerdict {
    /// What it says on its own, and what a model makes of it.
    pub score: FeatureScore,
    /// Every reason against it; a feature without any is kept.
    pub reasons: Vec<DropReason>,
}

/// Why a feature is dropped.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum DropReason {
    /// The feature alone tells bad from good too well: look for what it knows before it is used.
    LeakAlarm {
        /// AUC of its values, in whichever direction is above 0.5.
        auc: f64,
        /// Where the alarm starts.
        bound: f64,
    },
    /// Whether the feature is missing alone tells bad from good too well.
    MissingLeakAlarm {
        /// AUC of whether it is missing.
        auc: f64,
        /// Where the alarm starts.
        bound: f64,
    },
    /// It does not reach a bound.
    TooLow {
        /// What was measured.
        measure: FeatureMeasure,
        /// How much it has; `None` where nothing could be measured.
        value: Option<f64>,
        /// What was asked for.
        bound: f64,
    },
    /// It is above a bound.
    TooHigh {
        /// What was measured.
        measure: FeatureMeasure,
        /// How much it has.
        value: f64,
        /// What was allowed.
        bound: f64,
    },
    /// It says what a better feature says already.
    Redundant {
        /// The kept feature closest to it.
        with: String,
        /// Spearman's correlation between the two.
        spearman: f64,
        /// What was allowed.
        bound: f64,
    },
    /// Enough better features were kept.
    BeyondTop {
        /// How many were asked for.
        top: usize,
    },
}

impl FeatureVerdict {
    /// Whether the feature stays.
    pub fn is_kept(&self) -> bool {
        self.reasons.is_empty()
    }

    /// Whether a leak alarm was raised.
    pub fn is_alarm(&self) -> bool {
        use DropReason::{LeakAlarm, MissingLeakAlarm};
        self.reasons.iter().any(|r| matches!(r, LeakAlarm { .. } | MissingLeakAlarm { .. }))
    }
}

impl Selection {
    /// Positions of the kept features in schema order, as
    /// [`Dataset::select_columns`](crate::dataset::Dataset::select_columns) takes them.
    pub fn kept(&self) -> Vec<usize> {
        (0..self.features.len()).filter(|&i| self.features[i].is_kept()).collect()
    }

    /// The features that raised a leak alarm.
    pub fn alarms(&self) -> impl Iterator<Item = &FeatureVerdict> {
        self.features.iter().filter(|feature| feature.is_alarm())
    }
}

impl fmt::Display for DropReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            DropReason::LeakAlarm { auc, bound } => {
                write!(f, "leak alarm: AUC {auc:.4} by itself is above {bound}")
            }
            DropReason::MissingLeakAlarm { auc, bound } => {
                write!(f, "leak alarm: AUC {auc:.4} of being missing or not is above {bound}")
            }
            DropReason::TooLow { measure, value: Some(value), bound } => {
                write!(f, "{measure} {value:.4} is below {bound}")
            }
            DropReason::TooLow { measure, value: None, bound } => {
                write!(f, "{measure} is not defined, {bound} is asked for")
            }
            DropReason::TooHigh { measure, value, bound } => {
                write!(f, "{measure} {value:.4} is above {bound}")
            }
            DropReason::Redundant { with, spearman, bound } => {
                write!(f, "|Spearman| {:.4} with {with} is above {bound}", spearman.abs())
            }
            DropReason::BeyondTop { top } => write!(f, "not among the best {top}"),
        }
    }
}

/// A line per feature: kept, dropped or alarm, its numbers, the reasons.
impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kept, alarms) = (self.kept().len(), self.alarms().count());
        write!(f, "{kept} of {} features kept, leak alarms: {alarms}", self.features.len())?;
        for feature in &self.features {
            let verdict = match (feature.is_kept(), feature.is_alarm()) {
                (true, _) => "keep",
                (false, false) => "drop",
                (false, true) => "LEAK",
            };
            write!(f, "\n{verdict}  {}", feature.score)?;
            feature.reasons.iter().try_for_each(|reason| write!(f, "; {reason}"))?;
        }
        Ok(())
    }
}
