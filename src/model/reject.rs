//! Reject inference: what training on accepted applications alone leaves out, and the usual assumptions about it.

use ndarray::{Axis, concatenate};
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::{Model, ModelExt};
use crate::seed::{Seed, shuffle};
use crate::stats::Bins;

/// An assumption about applications that were rejected and never got a label.
///
/// None of these adds knowledge: all of them extrapolate a model of the accepted to the rejected. Report a model with and
/// without, and name the assumption. What does add knowledge is accepting a random share.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum RejectInference {
    /// A reject is bad where the model gives at least this probability, and good otherwise.
    HardCutoff {
        /// Strictly between 0 and 1.
        probability: f64,
    },
    /// Every reject counts twice, as bad with the weight of its probability and as good with the rest. It leaves a plain
    /// logistic regression on the same features unchanged.
    Fuzzy,
    /// In each band of the score, rejects are bad at the rate of the accepted times an uplift; which of them is drawn.
    Parcelling {
        /// Bands of about equally many accepted rows.
        bands: usize,
        /// How many times as bad rejects are; 1.2 to 3 in practice.
        uplift: f64,
    },
    /// No reject is added: each accepted row counts for all applications in its band of the score.
    Reweighting {
        /// Bands of about equally many accepted rows.
        bands: usize,
    },
}

impl RejectInference {
    /// The accepted rows with what is assumed of the rejected ones, to train on: features, labels and weights only. `model`
    /// was trained on the accepted; the labels of `rejected` are not looked at.
    ///
    /// # Errors
    /// `InvalidConfig` for a number outside its range; `SchemaMismatch` between the three; `InvalidInput` if the model
    /// cannot score a row.
    pub fn augment(
        &self,
        accepted: &Dataset,
        rejected: &Dataset,
        model: &dyn Model,
        seed: Seed,
    ) -> Result<Dataset> {
        self.check()?;
        accepted.schema().check(rejected.schema())?;
        let (of_accepted, of_rejected) =
            (scores(model, accepted, "accepted")?, scores(model, rejected, "rejected")?);
        let n = rejected.n_rows();
        match *self {
            RejectInference::HardCutoff { probability } => {
                let labels = of_rejected.iter().map(|p| *p >= probability).collect();
                join(accepted, &[(rejected, labels, weights(rejected))])
            }
            RejectInference::Fuzzy => {
                let part = |of: fn(f64) -> f64| {
                    let weighted = weights(rejected).into_iter().zip(&of_rejected);
                    weighted.map(|(weight, &p)| weight * of(p)).collect::<Vec<f64>>()
                };
                let (as_bad, as_good) = (part(|p| p), part(|p| 1.0 - p));
                join(
                    accepted,
                    &[(rejected, vec![true; n], as_bad), (rejected, vec![false; n], as_good)],
                )
            }
            RejectInference::Parcelling { bands, uplift } => {
                let bands = Bands::new(&of_accepted, bands)?;
                let [bad, all] = bands.sums(&of_accepted, accepted);
                let mut labels = vec![false; n];
                let mut rng = seed.derive("parcelling", 0).rng();
                for band in 0..bands.n() {
                    let mut rows: Vec<usize> =
                        (0..n).filter(|&row| bands.of(of_rejected[row]) == band).collect();
                    // Every band holds accepted rows; all of them may weigh nothing.
                    let rate = if all[band] > 0.0 { bad[band] / all[band] } else { 0.0 };
                    let n_bad = (rows.len() as f64 * (rate * uplift).min(1.0)).round() as usize;
                    shuffle(&mut rows, &mut rng);
                    rows[..n_bad].iter().for_each(|&row| labels[row] = true);
                }
                join(accepted, &[(rejected, labels, weights(rejected))])
            }
            RejectInference::Reweighting { bands } => {
                let bands = Bands::new(&of_accepted, bands)?;
                let [_, ours] = bands.sums(&of_accepted, accepted);
                let [_, theirs] = bands.sums(&of_rejected, rejected);
                let scaled = weights(accepted).into_iter().zip(&of_accepted).map(|(weight, &p)| {
                    let band = bands.of(p);
                    if ours[band] > 0.0 {
                        weight * (1.0 + theirs[band] / ours[band])
                    } else {
                        weight
                    }
                });
                join(accepted, &[])?.with_weights(scaled.collect())
            }
        }
    }

    fn check(&self) -> Result<()> {
        let sound = match *self {
            RejectInference::HardCutoff { probability } => probability > 0.0 && probability < 1.0,
            RejectInference::Fuzzy => true,
            RejectInference::Parcelling { bands, uplift } => {
                bands > 0 && uplift > 0.0 && uplift.is_finite()
            }
            RejectInference::Reweighting { bands } => bands > 0,
        };
        if sound {
            return Ok(());
        }
        let reason = "a cut-off lies between 0 and 1, bands are at least 1, an uplift is positive";
        Err(Error::config("reject inference", reason))
    }
}

/// Bands of the score, laid down by the accepted.
struct Bands(Bins);

impl Bands {
    fn new(of_accepted: &[f64], n: usize) -> Result<Self> {
        Ok(Bands(Bins::equal_count(of_accepted.iter().copied(), n)?))
    }

    fn n(&self) -> usize {
        self.0.n_bins() - 1
    }

    fn of(&self, score: f64) -> usize {
        self.0.index(score)
    }

    /// Weight of the bad rows and of all rows in each band.
    fn sums(&self, scores: &[f64], data: &Dataset) -> [Vec<f64>; 2] {
        let [mut bad, mut all] = [vec![0.0; self.n()], vec![0.0; self.n()]];
        for ((&score, &label), weight) in scores.iter().zip(data.labels()).zip(weights(data)) {
            let band = self.of(score);
            all[band] += weight;
            bad[band] += if label { weight } else { 0.0 };
        }
        [bad, all]
    }
}

fn scores(model: &dyn Model, data: &Dataset, what: &str) -> Result<Vec<f64>> {
    let scores = model.score_dataset(data)?;
    match scores.iter().position(|score| !(0.0..=1.0).contains(score)) {
        Some(row) => {
            let reason = format!("{what} row {row} has score {}, no probability", scores[row]);
            Err(Error::input("reject inference", reason))
        }
        None => Ok(scores),
    }
}

fn weights(data: &Dataset) -> Vec<f64> {
    data.weights().map_or_else(|| vec![1.0; data.n_rows()], <[f64]>::to_vec)
}

/// The accepted rows, then each part with these labels and weights.
fn join(accepted: &Dataset, parts: &[(&Dataset, Vec<bool>, Vec<f64>)]) -> Result<Dataset> {
    let mut features = vec![accepted.features()];
    let (mut labels, mut all_weights) = (accepted.labels().to_vec(), weights(accepted));
    for (data, of_rows, weights) in parts {
        features.push(data.features());
        labels.extend(of_rows);
        all_weights.extend(weights);
    }
    let features = concatenate(Axis(0), &features).expect("one schema, checked by the caller");
    Dataset::new(accepted.schema().clone(), features, labels)?.with_weights(all_weights)
}
