//! Why a score is not higher.

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::model::scorecard::{Characteristic, Scorecard};

/// What a reason code measures points against.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum ReasonBaseline {
    /// The most points that the characteristic can give.
    #[default]
    Maximum,
    /// The points of weight of evidence 0: what a bin of average risk would have.
    Neutral,
}

/// Why a score is not higher.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Reason {
    /// The feature.
    pub feature: String,
    /// What its bin holds.
    pub bin: String,
    /// Points of the bin.
    pub points: i64,
    /// Points below the baseline.
    pub lost: f64,
}

impl Scorecard {
    /// The characteristics that cost a row most points, at most `most` of them, the costliest first; of equal ones the
    /// earlier in the card. A characteristic without a loss is no reason. US practice asks for no more than four
    /// (Regulation B, comment 9(b)(2)-1).
    ///
    /// # Errors
    /// `SchemaMismatch` if the row has another width than the schema.
    pub fn reasons(
        &self,
        row: &[f64],
        baseline: ReasonBaseline,
        most: usize,
    ) -> Result<Vec<Reason>> {
        self.schema.check_rows(row.len(), 1)?;
        let reason = |of: &Characteristic| {
            let bin = of.binning.index(row[of.column as usize]);
            let points = of.points[bin];
            let baseline = match baseline {
                ReasonBaseline::Maximum => {
                    *of.points.iter().max().expect("a binning has a bin") as f64
                }
                ReasonBaseline::Neutral => {
                    // Exact points at weight 0 lie on the line through those of any bin.
                    let per_unit = self.scaling.factor() * of.coefficient;
                    points as f64 + per_unit * of.binning.bins()[bin].weight_of_evidence
                }
            };
            let kind = &self.schema.kinds()[of.column as usize];
            Reason {
                feature: of.binning.feature().to_owned(),
                bin: of.binning.label(bin, kind),
                points,
                lost: baseline - points as f64,
            }
        };
        let mut reasons: Vec<Reason> =
            self.characteristics.iter().map(reason).filter(|reason| reason.lost > 0.0).collect();
        reasons.sort_by(|a, b| b.lost.total_cmp(&a.lost)); // stable: equals stay in card order
        reasons.truncate(most);
        Ok(reasons)
    }
}
