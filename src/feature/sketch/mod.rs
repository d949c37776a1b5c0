//! Summaries of bounded size, for windows that keep no events: how many different values, and which lies at a quantile.
//!
//! Both are exact while they are small and a function of the values alone, whatever the order they came in and however they
//! were split into parts and merged: batch, online and a merge of tiles give the same bits.

mod distinct;
mod quantile;

pub(crate) use distinct::DistinctSketch;
pub(crate) use quantile::QuantileSketch;
