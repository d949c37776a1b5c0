//! XGBoost models, in its JSON and its UBJSON.
//!
//! What XGBoost does (checked with 3.2.0), and what it is here:
//! - It reads values in single precision and goes left if `x < condition`: that is `x ≤` the last double that rounds below.
//! - A category in the set goes *right*: children change places.
//! - The margin starts at `base_score`, which files keep as a score: its logit or logarithm is taken in single precision.
//!   Leaves are added in single precision, in the order of the trees; those of DART times their weight.

mod read;
mod write;

const WHAT: &str = "XGBoost model";
/// Codes below it are categories.
const MAX_CATEGORY: u32 = 1 << 24;
