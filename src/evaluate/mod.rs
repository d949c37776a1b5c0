//! Stage 6, evaluate. Takes scores and labels; gives how good, and worth how much: an [`EvaluationReport`]. Of features
//! it tells which are worth keeping: a [`Selection`].

mod cost;
mod ranking;
mod report;
mod selection;

pub use cost::{BusinessOutcome, ConfusionMatrix, Costs};
pub use ranking::{CardPrecision, Ks, Ranking, card_precision};
pub use report::EvaluationReport;
pub use selection::{
    DropReason, FeatureImportance, FeatureMeasure, FeatureScore, FeatureScreen, FeatureVerdict,
    PermutationImportance, RankingMetric, Selection, SelectionConfig, Selector,
};
