//! Points lost as contributions to the log-odds of bad.

use crate::error::Result;
use crate::model::explain::{Explainer, check_widths};
use crate::model::scorecard::{ReasonBaseline, Scorecard};
use crate::schema::FeatureSchema;

/// Explains a [`Scorecard`]: each characteristic adds the points that it lies below its baseline, as log-odds of bad.
#[derive(Debug, Clone, PartialEq)]
pub struct ScorecardExplainer {
    card: Scorecard,
    baseline: ReasonBaseline,
    base: f64,
}

impl ScorecardExplainer {
    /// Counts from this baseline.
    pub fn new(card: Scorecard, baseline: ReasonBaseline) -> Self {
        let baselines = card.characteristics.iter().map(|of| of.baseline(&card.scaling, baseline));
        let points = baselines.fold(card.base_points as f64, |sum, points| sum + points);
        let base = (card.scaling.offset() - points) / card.scaling.factor();
        ScorecardExplainer { card, baseline, base }
    }
}

impl Explainer for ScorecardExplainer {
    fn schema(&self) -> &FeatureSchema {
        &self.card.schema
    }

    fn base(&self) -> f64 {
        self.base
    }

    fn explain(&self, row: &[f64], contributions: &mut [f64]) -> Result<()> {
        check_widths(&self.card.schema, row, contributions)?;
        contributions.fill(0.0);
        let scaling = &self.card.scaling;
        for of in &self.card.characteristics {
            let lost = of.baseline(scaling, self.baseline) - of.points_of(row) as f64;
            contributions[of.column as usize] = lost / scaling.factor();
        }
        Ok(())
    }
}
