//! One model on one data set, in numbers, and two models side by side.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::Result;
use crate::evaluate::card::{CardPrecision, card_precision};
use crate::evaluate::confusion::ConfusionMatrix;
use crate::evaluate::cost::{BusinessOutcome, Costs};
use crate::evaluate::probability::{Calibration, ReliabilityBins};
use crate::evaluate::ranking::{Ks, Ranking};
use crate::stats::{AucComparison, AucEstimate, Interval};

/// How good scores are on a data set, and what acting on them is worth.
///
/// Row weights play no part: a report speaks of the rows that there are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct EvaluationReport {
    /// Rows judged.
    pub n_rows: u64,
    /// Rows labelled bad.
    pub n_bad: u64,
    /// Area under the ROC curve.
    pub roc_auc: f64,
    /// Where the area of the population lies with 95 % confidence, after DeLong.
    pub roc_auc_interval: Interval,
    /// Average precision.
    pub average_precision: f64,
    /// Kolmogorov–Smirnov distance.
    pub ks: Ks,
    /// Bad rate of the tenth of highest score over that of all rows.
    pub lift_at_tenth: f64,
    /// Card precision by day; `None` where the data set has no times or entities.
    pub card_precision: Option<CardPrecision>,
    /// How far scores are probabilities, on 10 bins of equally many rows; `None` where a score is outside `0.0..=1.0`.
    pub calibration: Option<Calibration>,
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
        let area = AucEstimate::new(data.labels(), scores)?;
        let by_card = data.times().is_some() && data.entities().is_some();
        let amounts = data.amounts().unwrap_or(&[]);
        let probabilities = scores.iter().all(|score| (0.0..=1.0).contains(score));
        Ok(EvaluationReport {
            n_rows: data.n_rows() as u64,
            n_bad: data.n_bad() as u64,
            roc_auc: ranking.roc_auc(),
            roc_auc_interval: area.interval(0.05)?,
            average_precision: ranking.average_precision(),
            ks: ranking.ks(),
            lift_at_tenth: ranking.lift_at(0.1)?,
            card_precision: by_card
                .then(|| card_precision(data, scores, cards_per_day))
                .transpose()?,
            calibration: probabilities
                .then(|| Calibration::new(data.labels(), scores, ReliabilityBins::EqualCount(10)))
                .transpose()?,
            confusion: ConfusionMatrix::at(threshold, data.labels(), scores),
            business: costs.outcome(threshold, data.labels(), scores, amounts)?,
        })
    }

    /// Gini coefficient: 2 · AUC − 1.
    pub fn gini(&self) -> f64 {
        2.0 * self.roc_auc - 1.0
    }
}

impl fmt::Display for EvaluationReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (n_rows, n_bad) = (self.n_rows, self.n_bad);
        writeln!(f, "{n_rows} rows, {n_bad} bad ({:.3} %)", 100.0 * n_bad as f64 / n_rows as f64)?;
        write!(f, "AUC {:.4} {}  Gini {:.4}  ", self.roc_auc, self.roc_auc_interval, self.gini())?;
        write!(
            f,
            "AP {:.4}  KS {:.4} at {:.4}  ",
            self.average_precision, self.ks.value, self.ks.score
        )?;
        write!(f, "lift at 10 % {:.2}", self.lift_at_tenth)?;
        if let Some(cards) = &self.card_precision {
            write!(f, "  CP@{} {:.4}", cards.k, cards.mean)?;
        }
        if let Some(calibration) = &self.calibration {
            let Calibration { log_loss, brier, expected_error, .. } = calibration;
            write!(f, "\nlog loss {log_loss:.5}  Brier {brier:.5}  ECE {expected_error:.5}")?;
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

/// Two scores of the same rows side by side.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ReportComparison {
    /// The first scores' report.
    pub first: EvaluationReport,
    /// The second scores' report.
    pub second: EvaluationReport,
    /// Their areas under the ROC curve, paired by row (DeLong).
    pub roc_auc: AucComparison,
}

impl ReportComparison {
    /// Judges both scores as [`EvaluationReport::new`] does, each at its own threshold, and compares their areas.
    ///
    /// # Errors
    /// Those of [`EvaluationReport::new`].
    pub fn new(
        data: &Dataset,
        (first, first_threshold): (&[f64], f64),
        (second, second_threshold): (&[f64], f64),
        costs: &Costs,
        cards_per_day: usize,
    ) -> Result<Self> {
        Ok(ReportComparison {
            first: EvaluationReport::new(data, first, first_threshold, costs, cards_per_day)?,
            second: EvaluationReport::new(data, second, second_threshold, costs, cards_per_day)?,
            roc_auc: AucComparison::paired(data.labels(), first, second)?,
        })
    }

    /// Every metric that both have: its name, the first's value, the second's.
    pub fn metrics(&self) -> Vec<(&'static str, f64, f64)> {
        type Of = fn(&EvaluationReport) -> Option<f64>;
        let of: [(&'static str, Of); 14] = [
            ("ROC AUC", |r| Some(r.roc_auc)),
            ("Gini", |r| Some(r.gini())),
            ("average precision", |r| Some(r.average_precision)),
            ("KS", |r| Some(r.ks.value)),
            ("lift at 10 %", |r| Some(r.lift_at_tenth)),
            ("card precision", |r| r.card_precision.as_ref().map(|cards| cards.mean)),
            ("log loss", |r| r.calibration.as_ref().map(|c| c.log_loss)),
            ("Brier score", |r| r.calibration.as_ref().map(|c| c.brier)),
            ("calibration error", |r| r.calibration.as_ref().map(|c| c.expected_error)),
            ("precision", |r| r.confusion.precision()),
            ("recall", |r| r.confusion.recall()),
            ("alert rate", |r| r.confusion.alert_rate()),
            ("total cost", |r| Some(r.business.total_cost)),
            ("prevented loss", |r| Some(r.business.prevented_loss)),
        ];
        let both =
            |(name, of): (&'static str, Of)| Some((name, of(&self.first)?, of(&self.second)?));
        of.into_iter().filter_map(both).collect()
    }
}

/// A line per metric, and the test of the areas.
impl fmt::Display for ReportComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:18} {:>12} {:>12} {:>12}", "", "first", "second", "difference")?;
        for (name, first, second) in self.metrics() {
            let decimals = if first.abs().max(second.abs()) >= 100.0 { 0 } else { 4 };
            let difference = second - first;
            writeln!(
                f,
                "{name:18} {first:>12.decimals$} {second:>12.decimals$} {difference:>+12.decimals$}"
            )?;
        }
        write!(f, "the areas differ by chance alone with p = {:.4} (DeLong)", self.roc_auc.p_value)
    }
}
