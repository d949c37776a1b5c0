//! Plots of how well scores put bad before good.

use crate::error::Result;
use crate::evaluate::curve::{GainsRow, RankPoint};
use crate::evaluate::html::plot::{Hue, Plot, short};
use crate::evaluate::html::{HtmlReport, card};
use crate::evaluate::ranking::Ranking;

const UNIT: (f64, f64) = (0.0, 1.0);
const ALL_ROWS: &str = "share of all rows, highest score first";

type Of = fn(&RankPoint) -> f64;

fn points(curve: &[RankPoint], x: Of, y: Of) -> Vec<(f64, f64)> {
    curve.iter().map(|point| (x(point), y(point))).collect()
}

impl HtmlReport<'_> {
    pub(super) fn ranking_cards(&self, ranking: &Ranking) -> Result<Vec<String>> {
        let curve = ranking.curve();
        Ok(vec![
            self.roc(&curve),
            self.precision_and_recall(&curve),
            self.ks(&curve),
            self.gains(&curve),
            self.lift(ranking)?,
        ])
    }

    fn bad_rate(&self) -> f64 {
        self.report.n_bad as f64 / self.report.n_rows as f64
    }

    fn roc(&self, curve: &[RankPoint]) -> String {
        let line = points(curve, |p| p.false_positive_rate, |p| p.recall);
        let (x, y) = ("share of good rows with an alert", "share of bad rows with an alert");
        let plot = Plot::new(UNIT, UNIT, x, y)
            .area(&line, Hue::Main)
            .reference((0.0, 0.0), (1.0, 1.0), "")
            .line(&line, Hue::Main, "");
        let note = format!("the area is {:.4}; the dashes are chance", self.report.roc_auc);
        card("ROC", &note, &plot.finish("ROC curve"))
    }

    fn precision_and_recall(&self, curve: &[RankPoint]) -> String {
        // From the first alert on: precision without alerts is a convention.
        let line = points(&curve[1..], |p| p.recall, |p| p.precision);
        let rate = self.bad_rate();
        let plot = Plot::new(UNIT, UNIT, "recall", "precision")
            .reference((0.0, rate), (1.0, rate), "")
            .line(&line, Hue::Main, "");
        let precision = self.report.average_precision;
        let note = format!("average precision {precision:.4}; the dashes are the bad rate");
        card("Precision and recall", &note, &plot.finish("precision by recall"))
    }

    fn ks(&self, curve: &[RankPoint]) -> String {
        let ks = self.report.ks;
        let mut plot = Plot::new(UNIT, UNIT, ALL_ROWS, "share of the label")
            .line(&points(curve, |p| p.alert_rate, |p| p.recall), Hue::Bad, "bad")
            .line(&points(curve, |p| p.alert_rate, |p| p.false_positive_rate), Hue::Good, "good");
        if let Some(at) = curve.iter().find(|point| point.score == ks.score) {
            let (x, low, high) = (at.alert_rate, at.false_positive_rate, at.recall);
            plot = plot.reference((x, low), (x, high), "largest distance");
        }
        let note = format!("{:.4} at score {}", ks.value, short(ks.score));
        card("Kolmogorov–Smirnov", &note, &plot.finish("shares of bad and good rows"))
    }

    fn gains(&self, curve: &[RankPoint]) -> String {
        let perfect = [(0.0, 0.0), (self.bad_rate(), 1.0), (1.0, 1.0)];
        let plot = Plot::new(UNIT, UNIT, ALL_ROWS, "share of bad rows found")
            .reference((0.0, 0.0), (1.0, 1.0), "in any order")
            .line(&perfect, Hue::Faint, "perfect")
            .line(&points(curve, |p| p.alert_rate, |p| p.recall), Hue::Main, "this model");
        let note = "bad rows found by looking at the highest scores";
        card("Gains", note, &plot.finish("gains curve"))
    }

    fn lift(&self, ranking: &Ranking) -> Result<String> {
        let gains = ranking.gains(10)?;
        let most = gains.iter().map(|row| row.lift).fold(1.0, f64::max);
        let mut from = 0.0;
        let bar = |row: &GainsRow| {
            let start = from;
            from += row.rows / self.report.n_rows as f64;
            (start + 0.006, from - 0.006, row.lift)
        };
        let bars: Vec<(f64, f64, f64)> = gains.iter().map(bar).collect();
        let plot = Plot::new(UNIT, (0.0, most * 1.05), ALL_ROWS, "bad rate over that of all")
            .bars(&bars, Hue::Main, "")
            .reference((0.0, 1.0), (1.0, 1.0), "");
        let note = "by tenths of the rows; rows of one score stay together";
        Ok(card("Lift", note, &plot.finish("lift by tenths")))
    }
}
