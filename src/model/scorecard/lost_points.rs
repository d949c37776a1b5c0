//! What each characteristic costs a score.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::scorecard::{Characteristic, Scaling, Scorecard};

/// What the points of a bin are measured against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ReasonBaseline {
    /// The most points that the characteristic can give.
    #[default]
    Maximum,
    /// The points of weight of evidence 0: what a bin of average risk would have.
    Neutral,
}

/// What a characteristic costs a score.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct LostPoints {
    /// The feature.
    pub feature: String,
    /// What its bin holds.
    pub bin: String,
    /// Points of the bin.
    pub points: i64,
    /// Points below the baseline.
    pub lost: f64,
}

impl Characteristic {
    /// The points that a baseline stands for.
    pub(super) fn baseline(&self, scaling: &Scaling, baseline: ReasonBaseline) -> f64 {
        match baseline {
            ReasonBaseline::Maximum => {
                *self.points.iter().max().expect("a binning has a bin") as f64
            }
            ReasonBaseline::Neutral => {
                // Exact points lie on a line; what rounding does to each bin evens out in the mean.
                let per_unit = scaling.factor() * self.coefficient;
                let bins = self.binning.bins().iter().zip(&self.points);
                let at_zero = bins.map(|(bin, at)| *at as f64 + per_unit * bin.weight_of_evidence);
                at_zero.sum::<f64>() / self.points.len() as f64
            }
        }
    }
}

impl Scorecard {
    /// The characteristics that cost a row points, the costliest first, of equal ones the earlier in the card: the card's own
    /// account. What a person is told is [`ReasonCodes`](crate::model::ReasonCodes) over a
    /// [`ScorecardExplainer`](crate::model::ScorecardExplainer).
    ///
    /// # Errors
    /// `SchemaMismatch` if the row has another width than the schema.
    pub fn lost_points(&self, row: &[f64], baseline: ReasonBaseline) -> Result<Vec<LostPoints>> {
        self.schema.check_rows(row.len(), 1)?;
        let lost = |of: &Characteristic| {
            let bin = of.binning.index(row[of.column as usize]);
            let points = of.points[bin];
            let kind = &self.schema.kinds()[of.column as usize];
            LostPoints {
                feature: of.binning.feature().to_owned(),
                bin: of.binning.label(bin, kind),
                points,
                lost: of.baseline(&self.scaling, baseline) - points as f64,
            }
        };
        let mut lost: Vec<LostPoints> =
            self.characteristics.iter().map(lost).filter(|of| of.lost > 0.0).collect();
        lost.sort_by(|a, b| b.lost.total_cmp(&a.lost)); // stable: equals stay in card order
        Ok(lost)
    }
}
