//! An evaluation as one page to look at, send and print.

mod decision;
mod plot;
mod ranking;
mod table;

use std::time::Duration;

use crate::dataset::Dataset;
use crate::error::Result;
use crate::evaluate::cost::Costs;
use crate::evaluate::html::plot::{escape, short};
use crate::evaluate::ranking::Ranking;
use crate::evaluate::report::EvaluationReport;

/// An evaluation as one self-contained HTML page: key figures, plots (ROC, precision and recall, KS, gains, lift,
/// calibration, scores by label, cost by threshold, importances, stability over time) and the gains table. Nothing is loaded
/// from elsewhere, no script runs; it follows the reader's light or dark setting and prints.
///
/// ```
/// use riskcycle::evaluate::{Costs, EvaluationReport, HtmlReport};
/// use riskcycle::{FeatureSchema, dataset::Dataset, ndarray::Array2};
///
/// let labels: Vec<bool> = (0..100).map(|i| i % 7 == 0 || i > 90).collect();
/// let scores: Vec<f64> = (0..100).map(|i| f64::from(i) / 100.0).collect();
/// let data = Dataset::new(FeatureSchema::new(["x"])?, Array2::zeros((100, 1)), labels)?;
/// let costs = Costs::default();
/// let report = EvaluationReport::new(&data, &scores, 0.8, &costs, 100)?;
/// let page = HtmlReport { title: "Card fraud, March", ..HtmlReport::new(&data, &scores, &report) };
/// assert!(page.render(&costs)?.starts_with("<!doctype html>"));
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug, Clone, Copy)]
pub struct HtmlReport<'a> {
    /// Heading of the page.
    pub title: &'a str,
    /// A line below it: the model, the stretch of time, who made it.
    pub subtitle: &'a str,
    /// The rows judged.
    pub data: &'a Dataset,
    /// One score per row.
    pub scores: &'a [f64],
    /// Their report.
    pub report: &'a EvaluationReport,
    /// How much the model makes of each feature, in any order and unit.
    pub importance: &'a [(String, f64)],
    /// Length of the stretches of time that stability is shown over; without, or without times, it is left out.
    pub stretch: Option<Duration>,
}

impl<'a> HtmlReport<'a> {
    /// Without title, importances and stretches.
    pub fn new(data: &'a Dataset, scores: &'a [f64], report: &'a EvaluationReport) -> Self {
        let (title, subtitle) = ("Evaluation", "");
        HtmlReport { title, subtitle, data, scores, report, importance: &[], stretch: None }
    }

    /// The page. Its size does not grow with the number of rows.
    ///
    /// # Errors
    /// Those of [`Ranking::new`], [`Costs::curve`] and
    /// [`SegmentReport::by_time`](crate::evaluate::SegmentReport::by_time).
    pub fn render(&self, costs: &Costs) -> Result<String> {
        let ranking = Ranking::new(self.data.labels(), self.scores)?;
        let (title, subtitle) = (escape(self.title), escape(self.subtitle));
        let style = include_str!("style.css");
        let mut cards = self.ranking_cards(&ranking)?;
        cards.extend(self.decision_cards(costs)?);
        cards.extend(self.importance_card());
        Ok([
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\">",
            "<meta name=\"viewport\" content=\"width=device-width,initial-scale=1\">",
            "<meta name=\"color-scheme\" content=\"light dark\">",
            &format!("<title>{title}</title><style>{style}</style></head><body><main>"),
            &format!("<header><h1>{title}</h1><p>{subtitle}</p></header>"),
            &self.tiles(),
            &format!("<div class=\"cards\">{}</div>", cards.concat()),
            &table::gains(&ranking)?,
            &table::decisions(self.report),
            &format!("<footer>riskcycle {}</footer>", env!("CARGO_PKG_VERSION")),
            "</main></body></html>",
        ]
        .concat())
    }

    fn tiles(&self) -> String {
        let r = self.report;
        let rate = 100.0 * r.n_bad as f64 / r.n_rows as f64;
        let mut tiles = vec![
            (grouped(r.n_rows), format!("rows, {} bad ({rate:.2} %)", grouped(r.n_bad))),
            (
                format!("{:.4}", r.roc_auc),
                format!(
                    "ROC AUC, 95 % {:.3} to {:.3}",
                    r.roc_auc_interval.lower, r.roc_auc_interval.upper
                ),
            ),
            (format!("{:.4}", r.gini()), "Gini".into()),
            (format!("{:.4}", r.ks.value), format!("KS, at score {}", short(r.ks.score))),
            (format!("{:.4}", r.average_precision), "average precision".into()),
            (format!("{:.2}×", r.lift_at_tenth), "lift in the top tenth".into()),
        ];
        if let Some(calibration) = &r.calibration {
            let ece = calibration.expected_error;
            tiles.push((format!("{:.4}", calibration.brier), format!("Brier, ECE {ece:.4}")));
        }
        if let Some(cards) = &r.card_precision {
            tiles.push((format!("{:.4}", cards.mean), format!("card precision at {}", cards.k)));
        }
        let tile = |(value, name): &(String, String)| {
            format!("<div class=\"tile\"><b>{value}</b><span>{name}</span></div>")
        };
        format!("<div class=\"tiles\">{}</div>", tiles.iter().map(tile).collect::<String>())
    }
}

/// One plot or list with its heading.
fn card(title: &str, note: &str, content: &str) -> String {
    let (title, note) = (escape(title), escape(note));
    format!("<figure class=\"card\"><h3>{title}</h3><p class=\"note\">{note}</p>{content}</figure>")
}

/// A count with its thousands told apart.
fn grouped(n: u64) -> String {
    let digits = n.to_string();
    let mut grouped = String::with_capacity(digits.len() + digits.len() / 3);
    for (i, digit) in digits.chars().enumerate() {
        if i > 0 && (digits.len() - i).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_are_told_apart() {
        assert_eq!([0, 999, 1000, 1_234_567].map(grouped), ["0", "999", "1,000", "1,234,567"]);
    }
}
