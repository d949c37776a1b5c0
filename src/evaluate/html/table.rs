//! Tables: gains, decisions, features by importance.

use std::fmt::Write as _;

use crate::error::Result;
use crate::evaluate::html::plot::{escape, short};
use crate::evaluate::html::{HtmlReport, card, grouped};
use crate::evaluate::ranking::Ranking;
use crate::evaluate::report::EvaluationReport;

/// Most features whose importance is shown.
const MOST_FEATURES: usize = 12;

pub(super) fn gains(ranking: &Ranking) -> Result<String> {
    let mut table = "<h2>Gains</h2><div class=\"scroll\"><table><tr><th>scores</th><th>rows</th><th>bad</th><th>bad rate</th><th>bad so far</th><th>good so far</th><th>KS</th><th>lift</th><th>lift so far</th></tr>".to_owned();
    for row in ranking.gains(10)? {
        let _ = write!(
            table,
            "<tr><td>{} to {}</td><td>{}</td><td>{}</td><td>{:.2} %</td><td>{:.1} %</td><td>{:.1} %</td><td>{:.3}</td><td>{:.2}</td><td>{:.2}</td></tr>",
            short(row.max_score),
            short(row.min_score),
            row.rows,
            row.bad,
            100.0 * row.bad_rate,
            100.0 * row.cumulative_bad_share,
            100.0 * row.cumulative_good_share,
            row.ks,
            row.lift,
            row.cumulative_lift
        );
    }
    table.push_str("</table></div>");
    Ok(table)
}

pub(super) fn decisions(report: &EvaluationReport) -> String {
    let (c, b) = (&report.confusion, &report.business);
    let rate = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.4}"));
    format!(
        "<h2>Decisions at {}</h2><div class=\"scroll\"><table><tr><th></th><th>alert</th><th>no alert</th><th></th></tr>\
         <tr><td>bad</td><td>{}</td><td>{}</td><td>recall {}</td></tr>\
         <tr><td>good</td><td>{}</td><td>{}</td><td>specificity {}</td></tr>\
         <tr><td></td><td>precision {}</td><td></td><td>cost {}, without a model {}, ROI {}</td></tr></table></div>",
        short(b.threshold),
        grouped(c.true_positives),
        grouped(c.false_negatives),
        rate(c.recall()),
        grouped(c.false_positives),
        grouped(c.true_negatives),
        rate(c.specificity()),
        rate(c.precision()),
        short(b.total_cost),
        short(b.cost_without_model),
        b.roi.map_or("–".into(), |roi| format!("{:.0} %", 100.0 * roi)),
    )
}

impl HtmlReport<'_> {
    /// The features by the size of their importance, as bars; `None` where none is known.
    pub(super) fn importance_card(&self) -> Option<String> {
        let finite = self.importance.iter().filter(|(_, value)| value.is_finite());
        let mut features: Vec<&(String, f64)> = finite.collect();
        features.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        let most = features.first()?.1.abs();
        let mut list = "<table class=\"ranks\">".to_owned();
        for (name, value) in features.iter().take(MOST_FEATURES) {
            let width = if most > 0.0 { 100.0 * value.abs() / most } else { 0.0 };
            let _ = write!(
                list,
                "<tr><td>{}</td><td>{}</td><td><span style=\"width:{width:.1}%\"></span></td></tr>",
                escape(name),
                short(*value)
            );
        }
        list.push_str("</table>");
        let note = match features.len().saturating_sub(MOST_FEATURES) {
            0 => String::new(),
            n => format!("the largest; {n} more are below"),
        };
        Some(card("Importance of the features", &note, &list))
    }
}
