//! Our numbers beside those that the handbook published.

use std::fmt;
use std::path::Path;

use riskcycle::Result;
use riskcycle::dataset::Dataset;
use riskcycle::evaluate::EvaluationReport;
use riskcycle::event::CsvSource;
use riskcycle::feature::FeatureFrame;
use riskcycle::testing::handbook::{PUBLISHED_NAMES, Transaction};
use serde::Serialize;

/// How many rows of the handbook's own feature table ours equals.
#[derive(Debug, Clone, Copy, Serialize)]
pub(crate) struct FeatureComparison {
    pub(crate) rows: usize,
    /// Rows that are not in our data.
    unknown: usize,
    /// Rows with a feature further away than 1e-9 of its size.
    different: usize,
    /// Of those, rows that share customer and second with another: the handbook left their order to chance.
    tied: usize,
}

impl fmt::Display for FeatureComparison {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let FeatureComparison { rows, unknown, different, tied } = self;
        write!(f, "{rows} rows, {different} different ({tied} of them tied), {unknown} unknown")
    }
}

/// Compares our features with a table in the layout of the handbook's transformed data.
pub(crate) fn compare_features(
    path: &Path,
    events: &[Transaction],
    frame: &FeatureFrame,
) -> Result<FeatureComparison> {
    let columns: Vec<&str> = ["TRANSACTION_ID"].into_iter().chain(PUBLISHED_NAMES).collect();
    let mut source = CsvSource::open(path, &columns)?;
    let mut comparison = FeatureComparison { rows: 0, unknown: 0, different: 0, tied: 0 };
    let mut ours = vec![0.0; PUBLISHED_NAMES.len()];
    while let Some(row) = source.next_row()? {
        comparison.rows += 1;
        let id = row.u64(0)?;
        let Ok(position) = events.binary_search_by_key(&id, |event| event.id) else {
            comparison.unknown += 1;
            continue;
        };
        frame.copy_row(position, &mut ours);
        let mut same = true;
        for (column, ours) in ours.iter().enumerate() {
            let theirs = row.f64(column + 1)?;
            same &= (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0);
        }
        if !same {
            comparison.different += 1;
            comparison.tied += usize::from(is_tied(events, position));
        }
    }
    Ok(comparison)
}

/// Whether another transaction of the same customer happened in the same second.
fn is_tied(events: &[Transaction], position: usize) -> bool {
    let event = &events[position];
    let same_moment = |other: &&Transaction| other.at == event.at;
    let before = events[..position].iter().rev().take_while(same_moment);
    let after = events[position + 1..].iter().take_while(same_moment);
    before.chain(after).any(|other| other.customer == event.customer)
}

/// Our logistic regression beside the handbook's, on its baseline protocol; `None` on other data.
pub(crate) fn compare_logistic(train: &Dataset, ours: &EvaluationReport) -> Option<String> {
    let sizes = (train.n_rows(), train.n_bad(), ours.n_rows, ours.n_bad);
    if sizes != (67_240, 598, 58_264, 385) {
        return None;
    }
    let cards = ours.card_precision.as_ref()?.mean;
    let (auc, ap) = (ours.roc_auc, ours.average_precision);
    Some(format!(
        "  logistic regression on the handbook's baseline week (67,240 / 598 and 58,264 / 385 rows / frauds):\n\
         \x20              AUC     AP      CP@100\n\
         \x20   published  0.871   0.606   0.291    (chapter 3)\n\
         \x20   re-run     0.8705  0.6057  0.2914   (scikit-learn 1.0, its own code)\n\
         \x20   riskcycle  {auc:.4}  {ap:.4}  {cards:.4}"
    ))
}
