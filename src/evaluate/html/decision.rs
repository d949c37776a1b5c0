//! Plots of what scores mean, what acting on them costs, and whether they stay what they are.

use std::time::Duration;

use crate::error::Result;
use crate::evaluate::cost::Costs;
use crate::evaluate::html::plot::{Hue, Plot, short};
use crate::evaluate::html::{HtmlReport, card};
use crate::evaluate::probability::Calibration;
use crate::evaluate::segment::SegmentReport;

/// Bars of the score distribution.
const SCORE_BARS: usize = 40;

impl HtmlReport<'_> {
    pub(super) fn decision_cards(&self, costs: &Costs) -> Result<Vec<String>> {
        let range = bounds(self.scores.iter().copied());
        let mut cards = vec![self.scores_by_label(range)];
        cards.extend(self.report.calibration.as_ref().map(calibration));
        cards.push(self.cost_by_threshold(costs, range)?);
        if let (Some(length), Some(_)) = (self.stretch, self.data.times()) {
            cards.push(self.stability(length)?);
        }
        Ok(cards)
    }

    fn scores_by_label(&self, (low, high): (f64, f64)) -> String {
        let step = (high - low) / SCORE_BARS as f64;
        let mut counts = [[0u64; SCORE_BARS]; 2];
        for (&bad, &score) in self.data.labels().iter().zip(self.scores) {
            let bar = if step > 0.0 { ((score - low) / step) as usize } else { 0 };
            counts[usize::from(bad)][bar.min(SCORE_BARS - 1)] += 1;
        }
        let [good, bad] = counts.map(|counts| {
            let total = counts.iter().sum::<u64>() as f64;
            let from = |i: usize| low + i as f64 * step;
            let bar = |(i, count): (usize, &u64)| (from(i), from(i + 1), *count as f64 / total);
            counts.iter().enumerate().map(bar).collect::<Vec<(f64, f64, f64)>>()
        });
        let most = 1.05 * good.iter().chain(&bad).map(|bar| bar.2).fold(0.0, f64::max);
        let threshold = self.report.business.threshold;
        let mut plot = Plot::new((low, high), (0.0, most), "score", "share of the label")
            .bars(&good, Hue::Good, "good")
            .bars(&bad, Hue::Bad, "bad");
        if (low..=high).contains(&threshold) {
            plot = plot.reference((threshold, 0.0), (threshold, most), "threshold");
        }
        let note = "each label's bars sum to one";
        card("Scores by label", note, &plot.finish("distribution of scores"))
    }

    fn cost_by_threshold(&self, costs: &Costs, (low, high): (f64, f64)) -> Result<String> {
        let amounts = self.data.amounts().unwrap_or(&[]);
        let curve = costs.curve(self.data.labels(), self.scores, amounts)?;
        let points: Vec<(f64, f64)> =
            curve[1..].iter().map(|point| (point.threshold, point.total_cost)).collect();
        let (least, most) = bounds(curve.iter().map(|point| point.total_cost));
        let (without, business) = (curve[0].total_cost, &self.report.business);
        let range = (least.min(0.0), most * 1.03);
        let mut plot = Plot::new((low, high), range, "threshold", "total cost")
            .line(&points, Hue::Main, "this model")
            .reference((low, without), (high, without), "no alert at all");
        if (low..=high).contains(&business.threshold) {
            plot = plot.dots(&[(business.threshold, business.total_cost, 1.0)], Hue::Bad);
        }
        let note = format!("the dot is the threshold in use, {}", short(business.threshold));
        Ok(card("Cost by threshold", &note, &plot.finish("total cost by threshold")))
    }

    fn stability(&self, length: Duration) -> Result<String> {
        let threshold = self.report.business.threshold;
        let segments = SegmentReport::by_time(self.data, self.scores, threshold, length)?.segments;
        let shift = |(i, psi): (usize, Option<f64>)| Some((i as f64 + 1.0, psi?));
        let of = segments.iter().map(|segment| segment.score_shift.map(|psi| psi.value));
        let line: Vec<(f64, f64)> = of.enumerate().filter_map(shift).collect();
        let dots: Vec<(f64, f64, f64)> = line.iter().map(|&(i, psi)| (i, psi, 0.0)).collect();
        let most = 1.05 * line.iter().map(|point| point.1).fold(0.3, f64::max);
        let end = (segments.len() as f64).max(3.0);
        // A stretch is named by its start; the day is enough.
        let first: String = segments.first().map_or("", |s| &s.name).chars().take(10).collect();
        let days = length.as_secs_f64() / 86_400.0;
        let x = format!("stretches of {} days from {first}", short(days));
        let plot = Plot::new((1.0, end), (0.0, most), &x, "PSI against the first")
            .reference((1.0, 0.1), (end, 0.1), "")
            .reference((1.0, 0.25), (end, 0.25), "")
            .line(&line, Hue::Main, "")
            .dots(&dots, Hue::Main);
        let note = "of the score; from 0.1 watch, from 0.25 act, by the usual rule";
        Ok(card("Stability over time", note, &plot.finish("stability index over time")))
    }
}

fn calibration(calibration: &Calibration) -> String {
    let bins = &calibration.bins;
    let largest = bins.iter().map(|bin| bin.mean_probability.max(bin.bad_rate));
    let most = 1.05 * largest.fold(1e-3, f64::max);
    let dots: Vec<(f64, f64, f64)> =
        bins.iter().map(|bin| (bin.mean_probability, bin.bad_rate, bin.n as f64)).collect();
    let line: Vec<(f64, f64)> = dots.iter().map(|dot| (dot.0, dot.1)).collect();
    let plot = Plot::new((0.0, most), (0.0, most), "mean score", "bad rate")
        .reference((0.0, 0.0), (most, most), "")
        .line(&line, Hue::Main, "")
        .dots(&dots, Hue::Main);
    let error = calibration.expected_error;
    let note = format!("expected error {error:.4}; on the dashes scores are probabilities");
    card("Calibration", &note, &plot.finish("bad rate by mean score"))
}

fn bounds(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), v| (low.min(v), high.max(v)))
}
