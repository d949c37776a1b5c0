//! The mathematics that several stages share: bins, quantiles, distances between distributions, association,
//! histograms, tests and intervals.

mod bins;
mod chi_square;
mod cholesky;
mod correlation;
mod cuped;
mod delong;
mod distance;
mod histogram;
mod bootstrap;
mod interval;
mod ks;
mod lift;
mod log_rank;
mod mcnemar;
mod mmd;
mod multiple_testing;
mod mutual_information;
mod power;
mod proportion;
mod psi;
mod ratio;
mod score_histogram;
mod sharded;
pub(crate) mod special;
mod weight_of_evidence;
mod welch;

pub(crate) use bins::quantile_of_sorted;
pub use bins::{Bins, quantile_sorted};
pub use bootstrap::bca_interval;
pub use chi_square::{ChiSquareTest, chi_square_test, chi_square_test_merged};
pub(crate) use cholesky::Cholesky;
pub(crate) use correlation::RankedColumn;
pub use correlation::{pearson, spearman};
pub use cuped::{CovariateSums, Cuped, cuped_ratios};
pub use delong::{AucComparison, AucEstimate, WeightedBins};
pub use distance::{hellinger, jensen_shannon, ks_distance, wasserstein, wasserstein_binned};
pub use histogram::LatencyHistogram;
pub use interval::Interval;
pub(crate) use interval::check_alpha;
pub use ks::{KsTest, ks_test};
pub(crate) use ks::{ks_exact_p, ks_steps};
pub use lift::relative_lift;
pub use log_rank::log_rank;
pub use mcnemar::Discordant;
pub use mmd::{Mmd, mmd};
pub use multiple_testing::{benjamini_hochberg, e_benjamini_hochberg, holm};
pub use mutual_information::mutual_information;
pub use power::{PowerPlan, design_effect};
pub use proportion::{GoodnessOfFit, Proportion, TwoProportions, ZTest, goodness_of_fit};
pub use psi::{Psi, population_stability_index};
pub use ratio::{ClusteredRatio, Estimate, effective_sample_size};
pub use score_histogram::ScoreHistogram;
pub(crate) use score_histogram::{SCORE_BINS, SCORE_STEPS, score_bin};
pub(crate) use sharded::Sharded;
pub(crate) use special::{chi_squared_sf, normal_two_sided};
pub use weight_of_evidence::{EmptyCells, WeightOfEvidence, weight_of_evidence};
pub use welch::{SampleMoments, WelchTest};

use crate::error::{Error, Result};

/// # Errors
/// `Empty` without values, `InvalidInput` naming the first that is not finite.
fn check_finite(what: &'static str, values: &[f64]) -> Result<()> {
    if values.is_empty() {
        return Err(Error::Empty { what: what.into() });
    }
    match values.iter().position(|value| !value.is_finite()) {
        Some(i) => Err(Error::input(what, format!("value {i} is {}", values[i]))),
        None => Ok(()),
    }
}
