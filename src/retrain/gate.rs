//! Whether a challenger may take the champion's place.

use std::collections::BTreeMap;
use std::time::Duration;

use rand_chacha::rand_core::RngCore;
use serde::{Deserialize, Serialize};

use super::verdict::{GateSide, GateVerdict};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::{Costs, Ranking};
use crate::ids::EntityKey;
use crate::seed::Seed;
use crate::stats::{AucComparison, Bins, population_stability_index};

/// What a challenger must show. Losses and growths are those of the challenger beside the champion, on the same rows.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct GateConfig {
    /// What decisions cost.
    pub costs: Costs,
    /// Fewest bad rows that a comparison may rest on.
    pub min_bad: u64,
    /// Share of resamples in which the challenger must cost less, `0.0..=1.0`.
    pub min_confidence: f64,
    /// Number of resamples.
    pub resamples: u32,
    /// Most average precision that it may lose.
    pub max_precision_loss: f64,
    /// Most recall that it may lose.
    pub max_recall_loss: f64,
    /// Most that its share of reviews may grow, as a share of all rows: a review team has so many hands.
    pub max_review_growth: f64,
    /// Highest population stability index of its scores against those on its training rows.
    pub max_psi: f64,
    /// Longest time that it may take for a row; `None` for any. Looked at where times are given.
    pub max_latency: Option<Duration>,
}

/// 50 bad rows, cheaper in 95 % of 2,000 resamples, no more than 0.01 of average precision and 0.05 of recall lost, no more than
/// 5 % of all rows reviewed in addition, scores within a PSI of 0.25 of its training, any latency.
impl Default for GateConfig {
    fn default() -> Self {
        GateConfig {
            costs: Costs::default(),
            min_bad: 50,
            min_confidence: 0.95,
            resamples: 2000,
            max_precision_loss: 0.01,
            max_recall_loss: 0.05,
            max_review_growth: 0.05,
            max_psi: 0.25,
            max_latency: None,
        }
    }
}

/// The rows of a comparison: labels, and where known what is at stake and who stands or falls together.
#[derive(Debug, Clone, Copy)]
pub struct GateRows<'a> {
    /// `true` for bad, one per row.
    pub labels: &'a [bool],
    /// One per row, or none.
    pub amounts: &'a [f64],
    /// One per row, or none.
    pub entities: &'a [EntityKey],
}

impl<'a> From<&'a Dataset> for GateRows<'a> {
    fn from(data: &'a Dataset) -> Self {
        GateRows {
            labels: data.labels(),
            amounts: data.amounts().unwrap_or(&[]),
            entities: data.entities().unwrap_or(&[]),
        }
    }
}

/// One side of a comparison: scores on the same rows, and the threshold that goes with them.
#[derive(Debug, Clone, Copy)]
pub struct Scored<'a> {
    /// One per row, NaN for none.
    pub scores: &'a [f64],
    /// Where the model asks for a review.
    pub threshold: f64,
    /// Its scores on the rows that it was trained on; empty where stability is not to be looked at.
    pub training_scores: &'a [f64],
    /// Time that it takes for a row, where that was measured.
    pub latency: Option<Duration>,
}

impl<'a> Scored<'a> {
    /// Scores and a threshold, and nothing known of training and latency.
    pub fn new(scores: &'a [f64], threshold: f64) -> Self {
        Scored { scores, threshold, training_scores: &[], latency: None }
    }
}

/// Compares challenger and champion on the same rows, which neither was trained on: those that both gave a score.
///
/// The cost of every decision is paired row by row, and the differences are summed up per entity where entities are
/// known, since the rows of one customer stand or fall together. The confidence is a Poisson bootstrap over
/// those sums: every resample weighs each of them by an independent Poisson(1) count.
#[derive(Debug, Clone)]
pub struct Gate {
    config: GateConfig,
}

impl Gate {
    /// # Errors
    /// `InvalidConfig` for unsound costs, shares outside `0.0..=1.0`, a negative PSI, or no resamples.
    pub fn new(config: GateConfig) -> Result<Self> {
        config.costs.check()?;
        let GateConfig { min_confidence, max_precision_loss, max_recall_loss, .. } = config;
        let shares =
            [min_confidence, max_precision_loss, max_recall_loss, config.max_review_growth];
        let sound = shares.iter().all(|share| (0.0..=1.0).contains(share)) && config.max_psi >= 0.0;
        if !sound || config.resamples == 0 {
            let reason = "confidence, losses and growth lie within 0 to 1, max_psi is not negative, \
                          resamples are at least 1";
            return Err(Error::config("gate", reason));
        }
        Ok(Gate { config })
    }

    /// What decisions cost here.
    pub fn costs(&self) -> &Costs {
        &self.config.costs
    }

    /// Compares both sides. Too few rows, or rows of one class, are an objection.
    ///
    /// # Errors
    /// `InvalidInput` unless there is a score of each side per row, and an amount and an entity per row or none at all.
    pub fn judge(
        &self,
        rows: GateRows<'_>,
        champion: Scored<'_>,
        challenger: Scored<'_>,
        seed: Seed,
    ) -> Result<GateVerdict> {
        let n = rows.labels.len();
        let per_row = [champion.scores.len(), challenger.scores.len()];
        let or_none = [rows.amounts.len(), rows.entities.len()];
        if per_row.iter().any(|len| *len != n) || or_none.iter().any(|len| ![0, n].contains(len)) {
            let reason =
                format!("{per_row:?} scores, {or_none:?} amounts and entities for {n} rows");
            return Err(Error::input("gate", reason));
        }
        let scored =
            |row: &usize| !(champion.scores[*row].is_nan() || challenger.scores[*row].is_nan());
        let kept: Vec<usize> = (0..n).filter(scored).collect();
        let labels: Vec<bool> = kept.iter().map(|&row| rows.labels[row]).collect();
        let n_bad = labels.iter().filter(|bad| **bad).count() as u64;
        let of_kept = |scores: &[f64]| kept.iter().map(|&row| scores[row]).collect::<Vec<f64>>();
        let scores = [champion, challenger].map(|side| of_kept(side.scores));
        let side = |of: Scored<'_>, scores: &[f64]| {
            let ranking = Ranking::new(&labels, scores).ok();
            let flagged = |row: &&usize| of.scores[**row] >= of.threshold;
            let reviews = kept.iter().filter(flagged).count() as f64;
            let caught = kept.iter().filter(flagged).filter(|row| rows.labels[**row]).count();
            let cost = |row: &usize| self.cost(rows, *row, of.scores[*row] >= of.threshold);
            GateSide {
                cost: kept.iter().map(cost).sum(),
                review_rate: if kept.is_empty() { 0.0 } else { reviews / kept.len() as f64 },
                recall: (n_bad > 0).then(|| caught as f64 / n_bad as f64),
                average_precision: ranking.as_ref().map(Ranking::average_precision),
                roc_auc: ranking.as_ref().map(Ranking::roc_auc),
                psi: stability(of.training_scores, scores),
                unscored: of.scores.iter().filter(|score| score.is_nan()).count() as u64,
                latency: of.latency,
            }
        };
        let savings = self.savings(rows, &kept, champion, challenger);
        let mut verdict = GateVerdict {
            promote: false,
            objections: Vec::new(),
            n_rows: kept.len() as u64,
            n_bad,
            champion: side(champion, &scores[0]),
            challenger: side(challenger, &scores[1]),
            confidence: self.confidence(&savings, seed),
            auc_p_value: AucComparison::paired(&labels, &scores[0], &scores[1])
                .ok()
                .map(|areas| areas.p_value)
                .filter(|p| !p.is_nan()),
        };
        verdict.objections = self.objections(&verdict);
        verdict.promote = verdict.objections.is_empty();
        Ok(verdict)
    }

    fn objections(&self, verdict: &GateVerdict) -> Vec<String> {
        let GateVerdict { champion, challenger, confidence, n_rows, n_bad, .. } = verdict;
        let GateConfig { min_bad, min_confidence, .. } = self.config;
        let mut objections = Vec::new();
        let mut object = |holds: bool, objection: String| {
            if holds {
                objections.push(objection);
            }
        };
        object(
            *n_bad < min_bad || n_bad == n_rows,
            format!("{n_bad} bad rows of {n_rows} are too few, {min_bad} and good ones are needed"),
        );
        let (ours, theirs) = (challenger.cost, champion.cost);
        object(ours >= theirs, format!("it costs {ours:.0}, the champion {theirs:.0}"));
        object(
            *confidence < min_confidence,
            format!("it is cheaper in {confidence:.3} of resamples, {min_confidence} are needed"),
        );
        let mut guard = |what: &str, ours: Option<f64>, theirs: Option<f64>, most: f64| {
            if let (Some(ours), Some(theirs)) = (ours, theirs) {
                let text = format!("its {what} is {ours:.4}, the champion's {theirs:.4}");
                object(ours < theirs - most, text);
            }
        };
        let precision = (challenger.average_precision, champion.average_precision);
        guard("average precision", precision.0, precision.1, self.config.max_precision_loss);
        guard("recall", challenger.recall, champion.recall, self.config.max_recall_loss);
        let reviewless = |side: &GateSide| Some(1.0 - side.review_rate);
        let (ours, theirs) = (reviewless(challenger), reviewless(champion));
        guard("share of rows without review", ours, theirs, self.config.max_review_growth);
        let psi = challenger.psi.filter(|psi| *psi > self.config.max_psi);
        object(
            psi.is_some(),
            format!("its scores have moved since its training, PSI {:.4}", psi.unwrap_or(0.0)),
        );
        let (ours, theirs) = (challenger.unscored, champion.unscored);
        object(
            ours > theirs,
            format!("it gives no score to {ours} rows, the champion to {theirs}"),
        );
        let slow = challenger.latency.zip(self.config.max_latency).filter(|(is, most)| is > most);
        object(
            slow.is_some(),
            format!("it takes {:?} for a row", challenger.latency.unwrap_or_default()),
        );
        objections
    }

    fn cost(&self, rows: GateRows<'_>, row: usize, alert: bool) -> f64 {
        let amount = rows.amounts.get(row).copied().unwrap_or(0.0);
        self.config.costs.of(rows.labels[row], alert, amount)
    }

    /// What the challenger saves per entity (or row), where the two decide differently.
    fn savings(
        &self,
        rows: GateRows<'_>,
        kept: &[usize],
        champion: Scored<'_>,
        challenger: Scored<'_>,
    ) -> Vec<f64> {
        let mut savings: BTreeMap<EntityKey, f64> = BTreeMap::new();
        for &row in kept {
            let alert = |side: Scored<'_>| side.scores[row] >= side.threshold;
            let (before, after) = (alert(champion), alert(challenger));
            if before != after {
                let unit = rows.entities.get(row).copied().unwrap_or(EntityKey(row as u64));
                let saving = self.cost(rows, row, before) - self.cost(rows, row, after);
                *savings.entry(unit).or_default() += saving;
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

/// PSI of scores on the deciles of those on the training rows; `None` without either.
fn stability(training: &[f64], scores: &[f64]) -> Option<f64> {
    if training.is_empty() {
        return None;
    }
    let bins = Bins::equal_count(training.iter().copied(), 10).ok()?;
    let counts = |scores: &[f64]| {
        let mut counts = vec![0u64; bins.n_bins()];
        scores.iter().for_each(|score| counts[bins.index(*score)] += 1);
        counts
    };
    population_stability_index(&counts(training), &counts(scores)).map(|psi| psi.value)
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
