//! LightGBM models, in its text.
//!
//! What LightGBM does (checked with 4.7.0), and what it is here:
//! - It takes every value within 1e-35 of 0 for 0 before anything else: a threshold in between moves to the end of that
//!   band where the same values go left.
//! - A split that knows no missing values takes NaN for 0, so its threshold says where NaN goes; one whose missing value is
//!   zero sends the band and NaN one way.
//! - A category is the value cut toward 0; NaN and what is in no set go right.
//! - Leaves have shrinkage applied, the first tree holds the base; they are added in double precision. A forest averages.

mod read;
mod write;

const WHAT: &str = "LightGBM model";
// Bits of a node's decision type.
const CATEGORICAL: u8 = 1;
const DEFAULT_LEFT: u8 = 2;
const MISSING_IS_ZERO: u8 = 4;
const MISSING_IS_NAN: u8 = 8;
