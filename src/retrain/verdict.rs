//! The outcome of a comparison.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// The outcome of a comparison, with every number it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateVerdict {
    /// Whether the challenger may take the champion's place.
    pub promote: bool,
    /// What spoke against it; empty if it may.
    pub objections: Vec<String>,
    /// Rows compared on: those that both gave a score.
    pub n_rows: u64,
    /// Rows labelled bad among them.
    pub n_bad: u64,
    /// The champion's figures.
    pub champion: GateSide,
    /// The challenger's figures.
    pub challenger: GateSide,
    /// Share of resamples in which the challenger costs less.
    pub confidence: f64,
    /// Two-sided p-value of DeLong's test of equal areas under the ROC curves, on the same rows; `None` where they are not defined.
    pub auc_p_value: Option<f64>,
}

/// One side's figures on the rows compared on. `None` where a figure is not defined or was not asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct GateSide {
    /// Total cost of its decisions.
    pub cost: f64,
    /// Share of rows that it asks to review.
    pub review_rate: f64,
    /// Share of the bad rows that it asks to review.
    pub recall: Option<f64>,
    /// Average precision of its scores.
    pub average_precision: Option<f64>,
    /// Area under the ROC curve of its scores.
    pub roc_auc: Option<f64>,
    /// Population stability index of its scores against those on the rows that it was trained on.
    pub psi: Option<f64>,
    /// Rows of all that it gave no score.
    pub unscored: u64,
    /// Time that it takes for a row.
    pub latency: Option<Duration>,
}

impl fmt::Display for GateVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let GateVerdict { champion, challenger, n_rows, n_bad, confidence, .. } = self;
        let verdict = if self.promote { "promote" } else { "keep the champion" };
        write!(f, "{verdict}: cost {:.0} against {:.0}, ", challenger.cost, champion.cost)?;
        write!(f, "cheaper in {confidence:.3} of resamples, ")?;
        if let (Some(ours), Some(theirs)) =
            (challenger.average_precision, champion.average_precision)
        {
            write!(f, "AP {ours:.4} against {theirs:.4} ")?;
        }
        write!(f, "on {n_rows} rows with {n_bad} bad")?;
        self.objections.iter().try_for_each(|objection| write!(f, "; {objection}"))
    }
}
