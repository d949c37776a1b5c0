//! Stage 6, evaluate. Takes scores and labels; gives how good, how sure, for whom, and worth how much: an
//! [`EvaluationReport`]. Of features it tells which are worth keeping: a [`Selection`]; of booked accounts how they pay: a
//! [`Portfolio`].

mod capacity;
mod card;
mod confusion;
mod cost;
mod curve;
mod decision;
mod fairness;
#[cfg(feature = "report")]
mod html;
mod leakage;
mod metric;
mod portfolio;
mod probability;
mod ranking;
mod report;
mod resample;
mod segment;
mod selection;

pub use capacity::{CapacityDay, CapacityOutcome};
pub use card::{CardPrecision, card_precision};
pub use confusion::ConfusionMatrix;
pub use cost::{BusinessOutcome, CostPoint, Costs};
pub use curve::{GainsRow, RankPoint};
pub use decision::{Capacity, Decision, DecisionBands};
pub use fairness::{FairnessReport, GroupFairness};
#[cfg(feature = "report")]
pub use html::HtmlReport;
pub use leakage::{FutureLeak, LeakageConfig, LeakageReport, future_leaks};
pub use metric::ScoreMetric;
pub use portfolio::{Account, AccountMonth, Portfolio, RollRates, Vintage, VintageTable};
pub use probability::{
    Calibration, HosmerLemeshow, ReliabilityBin, ReliabilityBins, hosmer_lemeshow,
};
pub use ranking::{Ks, Ranking};
pub use report::{EvaluationReport, ReportComparison};
pub use resample::{
    Bootstrap, BootstrapComparison, BootstrapConfig, BootstrapEstimate, JackknifeEstimate,
    ResampleUnit, jackknife,
};
pub use segment::{Segment, SegmentReport};
pub use selection::{
    DropReason, FeatureImportance, FeatureMeasure, FeatureScore, FeatureScreen, FeatureVerdict,
    PermutationImportance, Selection, SelectionConfig, Selector,
};
