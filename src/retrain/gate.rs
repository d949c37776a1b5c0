//! Whether a challenger may take the champion's place.

use std::collections::BTreeMap;
use std::fmt;

use rand_chacha::rand_core::RngCore;
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::{Costs, Ranking};
use crate::ids::EntityKey;
use crate::seed::Seed;

/// What a challenger must show.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// What decisions cost.
    pub costs: Costs,
    /// Fewest bad rows that a comparison may rest on.
    pub min_bad: u64,
    /// Share of resamples in which the challenger must cost less, `0.0..=1.0`.
    pub min_confidence: f64,
    /// Most average precision that it may lose.
    pub max_precision_loss: f64,
    /// Number of resamples.
    pub resamples: u32,
}

/// 50 bad rows, cheaper in 95 % of 2,000 resamples, no more than 0.01 of average precision lost.
impl Default for GateConfig {
    fn default() -> Self {
        GateConfig {
            costs: Costs::default(),
            min_bad: 50,
            min_confidence: 0.95,
            max_precision_loss: 0.01,
            resamples: 2000,
        }
    }
}

/// One side of a comparison: scores on the same rows, and the threshold that goes with them.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// One per row.
    pub scores: &'a [f64],
    /// Where the model asks for a review.
    pub threshold: f64,
}

/// The outcome of a comparison, with every number it rests on.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct GateVerdict {
    /// Whether the challenger may take the champion's place.
    pub promote: bool,
    /// What spoke against it; empty if it may.
    pub objections: Vec<String>,
    /// Rows compared on.
    pub n_rows: u64,
    /// Rows labelled bad.
    pub n_bad: u64,
    /// Total cost of the champion's decisions.
    pub champion_cost: f64,
    /// Total cost of the challenger's decisions.
    pub challenger_cost: f64,
    /// Share of resamples in which the challenger costs less.
    pub confidence: f64,
    /// Average precision of the champion's scores.
    pub champion_precision: f64,
    /// Average precision of the challenger's scores.
    pub challenger_precision: f64,
}

/// Compares challenger and champion on the same rows.
///
/// The cost of every decision is paired row by row, and the differences are summed up per entity where the data set
/// knows entities, since the rows of one customer stand or fall together. The confidence is a Poisson bootstrap over
/// those sums: every resample weighs each of them by an independent Poisson(1) count.
#[derive(Debug, Clone)]
pub struct Gate {
    config: GateConfig,
}

impl Gate {
    /// # Errors
    /// `InvalidConfig` for unsound costs, shares outside `0.0..=1.0`, or no resamples.
    pub fn new(config: GateConfig) -> Result<Self> {
        config.costs.check()?;
        let shares = [config.min_confidence, config.max_precision_loss];
        if !shares.iter().all(|share| (0.0..=1.0).contains(share)) || config.resamples == 0 {
            let reason =
                "confidence and precision loss lie within 0 to 1, resamples are at least 1";
            return Err(Error::config("gate", reason));
        }
        Ok(Gate { config })
    }

    /// What decisions cost here.
    pub fn costs(&self) -> &Costs {
        &self.config.costs
    }

    /// Compares both sides on `data`, which neither was trained on.
    ///
    /// # Errors
    /// `InvalidInput` or `OneClass` if scores and rows do not allow a ranking.
    pub fn judge(
        &self,
        data: &Dataset,
        champion: Scored<'_>,
        challenger: Scored<'_>,
        seed: Seed,
    ) -> Result<GateVerdict> {
        let GateConfig { costs, min_bad, min_confidence, max_precision_loss, .. } = self.config;
        let amounts = data.amounts().unwrap_or(&[]);
        let cost = |side: Scored<'_>| {
            let outcome = costs.outcome(side.threshold, data.labels(), side.scores, amounts)?;
            Ok::<_, Error>(outcome.total_cost)
        };
        let precision = |side: Scored<'_>| {
            Ok::<_, Error>(Ranking::new(data.labels(), side.scores)?.average_precision())
        };
        let mut verdict = GateVerdict {
            promote: false,
            objections: Vec::new(),
            n_rows: data.n_rows() as u64,
            n_bad: data.n_bad() as u64,
            champion_cost: cost(champion)?,
            challenger_cost: cost(challenger)?,
            confidence: self.confidence(&self.savings(data, champion, challenger), seed),
            champion_precision: precision(champion)?,
            challenger_precision: precision(challenger)?,
        };
        let mut object = |holds: bool, objection: String| {
            if holds {
                verdict.objections.push(objection);
            }
        };
        object(
            verdict.n_bad < min_bad,
            format!("{} bad rows are too few, {min_bad} are needed", verdict.n_bad),
        );
        object(
            verdict.challenger_cost >= verdict.champion_cost,
            format!(
                "it costs {:.0}, the champion {:.0}",
                verdict.challenger_cost, verdict.champion_cost
            ),
        );
        object(
            verdict.confidence < min_confidence,
            format!(
                "it is cheaper in {:.3} of resamples, {min_confidence} are needed",
                verdict.confidence
            ),
        );
        object(
            verdict.challenger_precision < verdict.champion_precision - max_precision_loss,
            format!(
                "its average precision is {:.4}, the champion's {:.4}",
                verdict.challenger_precision, verdict.champion_precision
            ),
        );
        verdict.promote = verdict.objections.is_empty();
        Ok(verdict)
    }

    /// What the challenger saves per entity (or row), where the two decide differently.
    fn savings(&self, data: &Dataset, champion: Scored<'_>, challenger: Scored<'_>) -> Vec<f64> {
        let mut savings: BTreeMap<EntityKey, f64> = BTreeMap::new();
        for (row, &bad) in data.labels().iter().enumerate() {
            let alert = |side: Scored<'_>| side.scores[row] >= side.threshold;
            let (before, after) = (alert(champion), alert(challenger));
            if before != after {
                let amount = data.amounts().map_or(0.0, |amounts| amounts[row]);
                let unit = data.entities().map_or(EntityKey(row as u64), |entities| entities[row]);
                let cost = |alert| self.config.costs.of(bad, alert, amount);
                *savings.entry(unit).or_default() += cost(before) - cost(after);
            }
        }
        savings.into_values().collect()
    }

    fn confidence(&self, savings: &[f64], seed: Seed) -> f64 {
        let mut rng = seed.derive("gate", 0).rng();
        let mut cheaper = 0;
        for _ in 0..self.config.resamples {
            let saved: f64 = savings.iter().map(|saving| poisson(rng.next_u64()) * saving).sum();
            cheaper += u32::from(saved > 0.0);
        }
        f64::from(cheaper) / f64::from(self.config.resamples)
    }
}

/// A Poisson(1) count from 64 random bits, by inversion.
fn poisson(bits: u64) -> f64 {
    let uniform = (bits >> 11) as f64 / (1u64 << 53) as f64;
    let (mut count, mut term) = (0.0, (-1.0f64).exp());
    let mut below = term;
    // The tail beyond 18 is below 2^-53, the step of `uniform`.
    while uniform >= below && count < 18.0 {
        count += 1.0;
        term /= count;
        below += term;
    }
    count
}

impl fmt::Display for GateVerdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verdict = if self.promote { "promote" } else { "keep the champion" };
        write!(
            f,
            "{verdict}: cost {:.0} against {:.0}, ",
            self.challenger_cost, self.champion_cost
        )?;
        write!(f, "cheaper in {:.3} of resamples, ", self.confidence)?;
        write!(f, "AP {:.4} against {:.4} ", self.challenger_precision, self.champion_precision)?;
        write!(f, "on {} rows with {} bad", self.n_rows, self.n_bad)?;
        self.objections.iter().try_for_each(|objection| write!(f, "; {objection}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn poisson_counts_have_mean_and_variance_one() {
        let mut rng = Seed(1).rng();
        let counts: Vec<f64> = (0..100_000).map(|_| poisson(rng.next_u64())).collect();
        let mean = counts.iter().sum::<f64>() / 1e5;
        let variance = counts.iter().map(|c| (c - mean).powi(2)).sum::<f64>() / 1e5;
        // Standard errors: 0.0032 for the mean, 0.0055 for the variance (fourth central moment 4); six of them.
        assert!((mean - 1.0).abs() < 0.02 && (variance - 1.0).abs() < 0.033, "{mean} {variance}");
        assert_eq!((poisson(0), poisson(u64::MAX)), (0.0, 18.0));
    }
}
