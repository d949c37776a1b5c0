//! One model on one data set, in numbers.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::Result;
use crate::evaluate::cost::{BusinessOutcome, ConfusionMatrix, Costs};
use crate::evaluate::ranking::{CardPrecision, Ks, Ranking, card_precision};

/// How good scores are on a data set, and what acting on them is worth.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationReport {
    /// Rows judged.
    pub n_rows: u64,
    /// Rows labelled bad.
    pub n_bad: u64,
    /// Area under the ROC curve.
    pub roc_auc: f64,
    /// Average precision.
    pub average_precision: f64,
    /// Kolmogorov–Smirnov distance.
    pub ks: Ks,
    /// Card precision by day; `None` where the data set has no times or entities.
    pub card_precision: Option<CardPrecision>,
    /// Decisions at the threshold.
    pub confusion: ConfusionMatrix,
    /// What they are worth.
    pub business: BusinessOutcome,
}

impl EvaluationReport {
    /// Judges `scores` on `data`, with alerts at `threshold` and `cards_per_day` looked at. The threshold comes from
    /// elsewhere, [`Costs::best_threshold`] on the training rows for one: chosen here, it would flatter.
    ///
    /// # Errors
    /// Those of [`Ranking::new`], [`card_precision`] and [`Costs::outcome`].
    pub fn new(
        data: &Dataset,
        scores: &[f64],
        threshold: f64,
        costs: &Costs,
        cards_per_day: usize,
    ) -> Result<Self> {
        let ranking = Ranking::new(data.labels(), scores)?;
        let by_card = data.times().is_some() && data.entities().is_some();
        let amounts = data.amounts().unwrap_or(&[]);
        Ok(EvaluationReport {
            n_rows: data.n_rows() as u64,
            n_bad: data.n_bad() as u64,
            roc_auc: ranking.roc_auc(),
            average_precision: ranking.average_precision(),
            ks: ranking.ks(),
            card_precision: by_card
                .then(|| card_precision(data, scores, cards_per_day))
                .transpose()?,
            confusion: ConfusionMatrix::at(threshold, data.labels(), scores),
            business: costs.outcome(threshold, data.labels(), scores, amounts)?,
        })
    }
}

impl fmt::Display for EvaluationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n_rows, n_bad) = (self.n_rows, self.n_bad);
        writeln!(f, "{n_rows} rows, {n_bad} bad ({:.3} %)", 100.0 * n_bad as f64 / n_rows as f64)?;
        write!(f, "AUC {:.4}  AP {:.4}  ", self.roc_auc, self.average_precision)?;
        write!(f, "KS {:.4} at {:.4}", self.ks.value, self.ks.score)?;
        if let Some(cards) = &self.card_precision {
            write!(f, "  CP@{} {:.4}", cards.k, cards.mean)?;
        }
        let (c, b) = (&self.confusion, &self.business);
        writeln!(
            f,
            "\nthreshold {:.4}: TP {}  FP {}  TN {}  FN {}",
            b.threshold, c.true_positives, c.false_positives, c.true_negatives, c.false_negatives
        )?;
        write!(
            f,
            "total cost {:.0} (without a model {:.0})  ",
            b.total_cost, b.cost_without_model
        )?;
        write!(f, "prevented loss {:.0}  ", b.prevented_loss)?;
        match b.roi {
            Some(roi) => write!(f, "ROI {:.0} %", 100.0 * roi),
            None => f.write_str("ROI -"),
        }
    }
}
