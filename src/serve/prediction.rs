//! What is asked, and what is answered.

use serde::{Deserialize, Serialize};

use crate::evaluate::{Decision, DecisionBands};
use crate::experiment::{Assignment, ExposureToken};
use crate::ids::{EntityKey, ModelRef};
use crate::model::Reason;
use crate::serve::InputFlags;
use crate::time::Timestamp;

/// One request.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// Id of the event.
    pub id: u64,
    /// Moment of the event.
    pub at: Timestamp,
    /// Entity that the request was routed by.
    pub unit: EntityKey,
    /// Which arm answers.
    pub assignment: Assignment,
    /// One value per feature; NaN for a missing one.
    pub row: &'a [f64],
    /// Whether an answer other than approval comes with its reasons.
    pub reasons: bool,
}

impl<'a> Request<'a> {
    /// To be answered by the champion, outside of any experiment and without reasons.
    pub fn new(id: u64, at: Timestamp, unit: EntityKey, row: &'a [f64]) -> Self {
        Request { id, at, unit, assignment: Assignment::champion(), row, reasons: false }
    }
}

/// The answer to one request. Score, bands, reasons and version come from one deployment, whatever is swapped meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Id of the event.
    pub id: u64,
    /// Moment of the event.
    pub at: Timestamp,
    /// Entity that the request was routed by.
    pub unit: EntityKey,
    /// Which arm was to answer.
    pub assignment: Assignment,
    /// Which version answered: the arm's, or the fallback model's. Where no model gave a score it is the arm's.
    pub model: ModelRef,
    /// Probability of bad, `0.0..=1.0`; `None` if no model could score the row, and the decision is the slot's constant.
    pub score: Option<f64>,
    /// The bands that the score was decided by.
    pub bands: DecisionBands,
    /// What to do: what the model says, or approval of a request that is let through to learn its label.
    pub decision: Decision,
    /// Why the arm's own model did not answer; `None` if it did.
    pub fallback: Option<FallbackCause>,
    /// What was noticed about the values.
    pub inputs: InputFlags,
    /// The reasons against approval, if they were asked for; empty for an approval and for a deployment without reason codes.
    pub reasons: Vec<Reason>,
    /// The request's part in an experiment, to be kept and handed back with the label; `None` if it has none.
    pub exposure: Option<ExposureToken>,
}

/// Why a model did not answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum FallbackCause {
    /// It returned an error.
    Error,
    /// Its score was NaN or infinite.
    NoScore,
    /// It panicked.
    Panic,
}

/// What a shadow model says of a request that another one answered.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ShadowScore {
    /// The answer that was given, without reasons.
    pub answer: Prediction,
    /// The shadow's version.
    pub model: ModelRef,
    /// Its score; `None` if it could not score the row.
    pub score: Option<f64>,
    /// What it would have done; the slot's constant without a score.
    pub decision: Decision,
}
