//! Stage 6, evaluate. Takes scores and labels; gives how good, and worth how much: an [`EvaluationReport`].

mod cost;
mod ranking;
mod report;

pub use cost::{BusinessOutcome, ConfusionMatrix, Costs};
pub use ranking::{CardPrecision, Ks, Ranking, card_precision};
pub use report::EvaluationReport;
