//! The mathematics that several stages share: bins, quantiles, distances between distributions, association,
//! histograms, tests and intervals.

mod bins;
mod correlation;
mod delong;
mod histogram;
mod interval;
mod multiple_testing;
mod mutual_information;
mod psi;
mod special;
mod weight_of_evidence;

pub(crate) use bins::quantile_of_sorted;
pub use bins::{Bins, quantile_sorted};
pub(crate) use correlation::RankedColumn;
pub use correlation::{pearson, spearman};
pub use delong::{AucComparison, AucEstimate};
pub use histogram::LatencyHistogram;
pub use interval::Interval;
pub use multiple_testing::{benjamini_hochberg, e_benjamini_hochberg, holm};
pub use mutual_information::mutual_information;
pub use psi::{Psi, population_stability_index};
pub use weight_of_evidence::{WeightOfEvidence, weight_of_evidence};
