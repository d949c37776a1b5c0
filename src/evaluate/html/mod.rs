//! An evaluation as one page to look at, send and print.

mod plot;

use std::fmt::Write as _;
use std::time::Duration;

use crate::dataset::Dataset;
use crate::error::Result;
use crate::evaluate::cost::Costs;
use crate::evaluate::html::plot::{Hue, Plot, escape, short};
use crate::evaluate::ranking::Ranking;
use crate::evaluate::report::EvaluationReport;
use crate::evaluate::segment::SegmentReport;

/// Bars of the score distribution.
const SCORE_BARS: usize = 40;
/// Most features whose importance is shown.
const MOST_FEATURES: usize = 20;

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
    /// Those of [`Ranking::new`], [`Costs::curve`] and [`SegmentReport::by_time`].
    pub fn render(&self, costs: &Costs) -> Result<String> {
        let ranking = Ranking::new(self.data.labels(), self.scores)?;
        let (title, subtitle) = (escape(self.title), escape(self.subtitle));
        let mut page = format!(
            "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width,initial-scale=1\"><meta name=\"color-scheme\" content=\"light dark\"><title>{title}</title><style>{}</style></head><body><main><header><h1>{title}</h1><p>{subtitle}</p></header>",
            include_str!("style.css")
        );
        page.push_str(&self.tiles());
        page.push_str("<div class=\"cards\">");
        self.ranking_cards(&ranking, &mut page)?;
        self.decision_cards(costs, &mut page)?;
        page.push_str("</div>");
        page.push_str(&gains_table(&ranking)?);
        page.push_str(&self.decision_table());
        page.push_str(&self.importances());
        let _ = write!(
            page,
            "<footer>riskcycle {}</footer></main></body></html>",
            env!("CARGO_PKG_VERSION")
        );
        Ok(page)
    }

    fn tiles(&self) -> String {
        let r = self.report;
        let rate = 100.0 * r.n_bad as f64 / r.n_rows as f64;
        let mut tiles = vec![
            (format!("{}", r.n_rows), format!("rows, {} bad ({rate:.2} %)", r.n_bad)),
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

    fn ranking_cards(&self, ranking: &Ranking, page: &mut String) -> Result<()> {
        let curve = ranking.curve();
        let unit = (0.0, 1.0);
        let points = |x: fn(&crate::evaluate::RankPoint) -> f64,
                      y: fn(&crate::evaluate::RankPoint) -> f64| {
            curve.iter().map(|point| (x(point), y(point))).collect::<Vec<(f64, f64)>>()
        };
        let r = self.report;
        let roc = points(|p| p.false_positive_rate, |p| p.recall);
        let plot = Plot::new(
            unit,
            unit,
            "share of good rows with an alert",
            "share of bad rows with an alert",
        )
        .area(&roc, Hue::Main)
        .reference((0.0, 0.0), (1.0, 1.0), "")
        .line(&roc, Hue::Main, "");
        let note = format!("the area is {:.4}; the dashes are chance", r.roc_auc);
        page.push_str(&card("ROC", &note, &plot.finish("ROC curve")));

        let base = r.n_bad as f64 / r.n_rows as f64;
        // From the first alert on: precision without alerts is a convention.
        let precision = points(|p| p.recall, |p| p.precision);
        let plot = Plot::new(unit, unit, "recall", "precision")
            .reference((0.0, base), (1.0, base), "")
            .line(&precision[1..], Hue::Main, "");
        let note =
            format!("average precision {:.4}; the dashes are the bad rate", r.average_precision);
        page.push_str(&card("Precision and recall", &note, &plot.finish("precision by recall")));

        let (bad, good) = (
            points(|p| p.alert_rate, |p| p.recall),
            points(|p| p.alert_rate, |p| p.false_positive_rate),
        );
        let at = curve.iter().find(|point| point.score == r.ks.score).copied();
        let mut plot =
            Plot::new(unit, unit, "share of all rows, highest score first", "share of the label")
                .line(&bad, Hue::Bad, "bad")
                .line(&good, Hue::Good, "good");
        if let Some(at) = at {
            let (x, low, high) = (at.alert_rate, at.false_positive_rate, at.recall);
            plot = plot.reference((x, low), (x, high), "largest distance");
        }
        let note = format!("{:.4} at score {}", r.ks.value, short(r.ks.score));
        page.push_str(&card(
            "Kolmogorov–Smirnov",
            &note,
            &plot.finish("shares of bad and good rows"),
        ));

        let plot = Plot::new(
            unit,
            unit,
            "share of all rows, highest score first",
            "share of bad rows found",
        )
        .reference((0.0, 0.0), (1.0, 1.0), "in any order")
        .line(&[(0.0, 0.0), (base, 1.0), (1.0, 1.0)], Hue::Faint, "perfect")
        .line(&bad, Hue::Main, "this model");
        page.push_str(&card(
            "Gains",
            "bad rows found by looking at the highest scores",
            &plot.finish("gains curve"),
        ));

        let gains = ranking.gains(10)?;
        let most = gains.iter().map(|row| row.lift).fold(1.0, f64::max);
        let mut from = 0.0;
        let bars: Vec<(f64, f64, f64)> = gains
            .iter()
            .map(|row| {
                let start = from;
                from += row.rows / r.n_rows as f64;
                (start + 0.006, from - 0.006, row.lift)
            })
            .collect();
        let plot = Plot::new(
            unit,
            (0.0, most * 1.05),
            "share of all rows, highest score first",
            "bad rate over that of all",
        )
        .bars(&bars, Hue::Main, "")
        .reference((0.0, 1.0), (1.0, 1.0), "");
        page.push_str(&card(
            "Lift",
            "by tenths of the rows; rows of one score stay together",
            &plot.finish("lift by tenths"),
        ));
        Ok(())
    }

    fn decision_cards(&self, costs: &Costs, page: &mut String) -> Result<()> {
        let (low, high) = self
            .scores
            .iter()
            .fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), s| (low.min(*s), high.max(*s)));
        let step = (high - low) / SCORE_BARS as f64;
        let mut counts = [[0u64; SCORE_BARS]; 2];
        for (&bad, &score) in self.data.labels().iter().zip(self.scores) {
            let bar = if step > 0.0 { ((score - low) / step) as usize } else { 0 };
            counts[usize::from(bad)][bar.min(SCORE_BARS - 1)] += 1;
        }
        let bars = |counts: &[u64; SCORE_BARS]| {
            let total = counts.iter().sum::<u64>() as f64;
            let bar = |(i, count): (usize, &u64)| {
                (low + i as f64 * step, low + (i + 1) as f64 * step, *count as f64 / total)
            };
            counts.iter().enumerate().map(bar).collect::<Vec<(f64, f64, f64)>>()
        };
        let (good, bad) = (bars(&counts[0]), bars(&counts[1]));
        let most = good.iter().chain(&bad).map(|bar| bar.2).fold(0.0, f64::max);
        let threshold = self.report.business.threshold;
        let mut plot = Plot::new((low, high), (0.0, most * 1.05), "score", "share of the label")
            .bars(&good, Hue::Good, "good")
            .bars(&bad, Hue::Bad, "bad");
        if (low..=high).contains(&threshold) {
            plot = plot.reference((threshold, 0.0), (threshold, most * 1.05), "threshold");
        }
        page.push_str(&card(
            "Scores by label",
            "each label's bars sum to one",
            &plot.finish("distribution of scores"),
        ));

        if let Some(calibration) = &self.report.calibration {
            let bins = &calibration.bins;
            let most =
                bins.iter().map(|bin| bin.mean_probability.max(bin.bad_rate)).fold(1e-3, f64::max);
            let dots: Vec<(f64, f64, f64)> =
                bins.iter().map(|bin| (bin.mean_probability, bin.bad_rate, bin.n as f64)).collect();
            let line: Vec<(f64, f64)> = dots.iter().map(|dot| (dot.0, dot.1)).collect();
            let range = (0.0, most * 1.05);
            let plot = Plot::new(range, range, "mean score", "bad rate")
                .reference((0.0, 0.0), (most * 1.05, most * 1.05), "")
                .line(&line, Hue::Main, "")
                .dots(&dots, Hue::Main);
            let note = format!(
                "expected error {:.4}; on the dashes scores are probabilities",
                calibration.expected_error
            );
            page.push_str(&card("Calibration", &note, &plot.finish("bad rate by mean score")));
        }

        let amounts = self.data.amounts().unwrap_or(&[]);
        let curve = costs.curve(self.data.labels(), self.scores, amounts)?;
        let points: Vec<(f64, f64)> =
            curve[1..].iter().map(|p| (p.threshold, p.total_cost)).collect();
        let bounds = |values: &mut dyn Iterator<Item = f64>| {
            values.fold((f64::INFINITY, f64::NEG_INFINITY), |(l, h), v| (l.min(v), h.max(v)))
        };
        let (least, most) = bounds(&mut curve.iter().map(|point| point.total_cost));
        let range = (least.min(0.0), most * 1.03);
        let mut plot = Plot::new((low, high), range, "threshold", "total cost")
            .line(&points, Hue::Main, "this model")
            .reference((low, curve[0].total_cost), (high, curve[0].total_cost), "no alert at all");
        if (low..=high).contains(&threshold) {
            plot = plot.dots(&[(threshold, self.report.business.total_cost, 1.0)], Hue::Bad);
        }
        let note = format!("the dot is the threshold in use, {}", short(threshold));
        page.push_str(&card("Cost by threshold", &note, &plot.finish("total cost by threshold")));

        if let (Some(length), Some(_)) = (self.stretch, self.data.times()) {
            let by_time = SegmentReport::by_time(self.data, self.scores, threshold, length)?;
            let shifts: Vec<(f64, f64)> = by_time
                .segments
                .iter()
                .enumerate()
                .filter_map(|(i, segment)| Some((i as f64 + 1.0, segment.score_shift?.value)))
                .collect();
            let most = shifts.iter().map(|shift| shift.1).fold(0.3, f64::max);
            let end = (by_time.segments.len() as f64).max(3.0);
            let dots: Vec<(f64, f64, f64)> =
                shifts.iter().map(|shift| (shift.0, shift.1, 0.0)).collect();
            let plot = Plot::new(
                (1.0, end),
                (0.0, most * 1.05),
                "stretch of time",
                "PSI against the first",
            )
            .reference((1.0, 0.1), (end, 0.1), "")
            .reference((1.0, 0.25), (end, 0.25), "")
            .line(&shifts, Hue::Main, "")
            .dots(&dots, Hue::Main);
            let note = "of the score; from 0.1 watch, from 0.25 act, by the usual rule";
            page.push_str(&card(
                "Stability over time",
                note,
                &plot.finish("stability index over time"),
            ));
        }
        Ok(())
    }

    fn decision_table(&self) -> String {
        let (c, b) = (&self.report.confusion, &self.report.business);
        let rate = |value: Option<f64>| value.map_or("–".into(), |value| format!("{value:.4}"));
        format!(
            "<h2>Decisions at {}</h2><div class=\"scroll\"><table><tr><th></th><th>alert</th><th>no alert</th><th></th></tr>\
             <tr><td>bad</td><td>{}</td><td>{}</td><td>recall {}</td></tr>\
             <tr><td>good</td><td>{}</td><td>{}</td><td>specificity {}</td></tr>\
             <tr><td></td><td>precision {}</td><td></td><td>cost {}, without a model {}, ROI {}</td></tr></table></div>",
            short(b.threshold),
            c.true_positives,
            c.false_negatives,
            rate(c.recall()),
            c.false_positives,
            c.true_negatives,
            rate(c.specificity()),
            rate(c.precision()),
            short(b.total_cost),
            short(b.cost_without_model),
            b.roi.map_or("–".into(), |roi| format!("{:.0} %", 100.0 * roi)),
        )
    }

    fn importances(&self) -> String {
        let mut features: Vec<&(String, f64)> =
            self.importance.iter().filter(|(_, value)| value.is_finite()).collect();
        features.sort_by(|a, b| b.1.abs().total_cmp(&a.1.abs()));
        let Some(most) = features.first().map(|(_, value)| value.abs()) else {
            return String::new();
        };
        let mut table =
            "<h2>Importance of the features</h2><div class=\"scroll\"><table class=\"ranks\">"
                .to_owned();
        for (name, value) in features.iter().take(MOST_FEATURES) {
            let width = if most > 0.0 { 100.0 * value.abs() / most } else { 0.0 };
            let _ = write!(
                table,
                "<tr><td>{}</td><td>{}</td><td><span style=\"width:{width:.1}%\"></span></td></tr>",
                escape(name),
                short(*value)
            );
        }
        table.push_str("</table></div>");
        table
    }
}

fn card(title: &str, note: &str, plot: &str) -> String {
    let (title, note) = (escape(title), escape(note));
    format!("<figure class=\"card\"><h3>{title}</h3><p class=\"note\">{note}</p>{plot}</figure>")
}

fn gains_table(ranking: &Ranking) -> Result<String> {
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
