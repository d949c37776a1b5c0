//! Whether applicants are still those that a scorecard was made for.

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::Result;
use crate::model::scorecard::Scorecard;
use crate::stats::{Bins, Psi, population_stability_index};

/// How scores and characteristics have shifted from one population to another.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ScorecardStability {
    /// Shift of the score, on the deciles of the reference.
    pub score: Psi,
    /// Mean score of the current population less that of the reference.
    pub score_difference: f64,
    /// The characteristics in card order; their differences sum to that of the score.
    pub characteristics: Vec<CharacteristicStability>,
}

/// How one characteristic has shifted, on its own bins.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct CharacteristicStability {
    /// The feature.
    pub feature: String,
    /// Shift of its bins.
    pub psi: Psi,
    /// Characteristic stability index in points: Σ (current share − reference share) · points.
    pub points_difference: f64,
}

impl Scorecard {
    /// Compares the population `current` with `reference`; labels are not looked at.
    ///
    /// # Errors
    /// `SchemaMismatch` if a data set has other columns than the card.
    pub fn stability(&self, reference: &Dataset, current: &Dataset) -> Result<ScorecardStability> {
        self.schema.check(reference.schema())?;
        self.schema.check(current.schema())?;
        let scores = |data: &Dataset| -> Vec<f64> {
            (0..data.n_rows()).map(|row| self.sum_of(data.row(row)) as f64).collect()
        };
        let (before, now) = (scores(reference), scores(current));
        let bins = Bins::equal_count(before.iter().copied(), 10)?;
        let score = compare(bins.n_bins(), &before, &now, |score| bins.index(*score));
        let mean = |scores: &[f64]| scores.iter().sum::<f64>() / scores.len() as f64;
        let characteristics = self.characteristics.iter().map(|of| {
            let column = of.column as usize;
            let values = |data: &Dataset| data.features().column(column).to_vec();
            let points = |data: &Dataset| -> f64 {
                let points = (0..data.n_rows()).map(|row| of.points_of(data.row(row)) as f64);
                points.sum::<f64>() / data.n_rows() as f64
            };
            let (before, now) = (values(reference), values(current));
            CharacteristicStability {
                feature: of.binning.feature().to_owned(),
                psi: compare(of.points.len(), &before, &now, |value| of.binning.index(*value)),
                points_difference: points(current) - points(reference),
            }
        });
        Ok(ScorecardStability {
            score,
            score_difference: mean(&now) - mean(&before),
            characteristics: characteristics.collect(),
        })
    }
}

fn compare(n_bins: usize, before: &[f64], now: &[f64], bin: impl Fn(&f64) -> usize) -> Psi {
    let count = |values: &[f64]| {
        let mut counts = vec![0; n_bins];
        values.iter().for_each(|value| counts[bin(value)] += 1);
        counts
    };
    population_stability_index(&count(before), &count(now))
        .expect("the same bins, and a data set has at least one row")
}
