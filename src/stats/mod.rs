//! The mathematics that several stages share: bins, quantiles, distances between distributions, histograms.

mod bins;
mod histogram;
mod psi;

pub(crate) use bins::quantile_of_sorted;
pub use bins::{Bins, quantile_sorted};
pub use histogram::LatencyHistogram;
pub use psi::{Psi, population_stability_index};
