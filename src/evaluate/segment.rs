//! How a model does where: by category, by band of a value, along time.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::evaluate::confusion::ConfusionMatrix;
use crate::evaluate::ranking::Ranking;
use crate::schema::FeatureKind;
use crate::stats::{Bins, Psi, population_stability_index};
use crate::time::Timestamp;

/// How a model does in each part of a data set.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SegmentReport {
    /// What the parts are made by.
    pub by: String,
    /// The parts with rows in them, in order.
    pub segments: Vec<Segment>,
}

/// One part.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Segment {
    /// Its name.
    pub name: String,
    /// Rows.
    pub n_rows: u64,
    /// Rows labelled bad.
    pub n_bad: u64,
    /// Mean score of the rows that have one; NaN where none has.
    pub mean_score: f64,
    /// Population standard deviation of these scores.
    pub score_deviation: f64,
    /// Rows without a score.
    pub n_unscored: u64,
    /// Area under the ROC curve of the scored rows; `None` with one class.
    pub roc_auc: Option<f64>,
    /// Average precision of the scored rows; `None` with one class.
    pub average_precision: Option<f64>,
    /// Decisions at the threshold.
    pub confusion: ConfusionMatrix,
    /// Shift of the scores against the first segment, on its deciles.
    pub score_shift: Option<Psi>,
}

impl Segment {
    /// Share of rows that are bad.
    pub fn bad_rate(&self) -> f64 {
        self.n_bad as f64 / self.n_rows as f64
    }
}

impl SegmentReport {
    /// By the values of a feature: its categories, 0 and 1, or fifths of a numeric one; missing values are a segment of
    /// their own.
    ///
    /// # Errors
    /// `NotFound` for an unknown feature; those of [`new`](Self::new).
    pub fn by_feature(
        data: &Dataset,
        scores: &[f64],
        threshold: f64,
        feature: &str,
    ) -> Result<Self> {
        let column = data
            .schema()
            .position(feature)
            .ok_or_else(|| Error::NotFound { kind: "feature", id: feature.into() })?;
        let values = data.features().column(column).to_vec();
        let (mut names, of): (Vec<String>, Vec<usize>) = match &data.schema().kinds()[column] {
            FeatureKind::Numeric => {
                let bins = Bins::equal_count(values.iter().copied(), 5)?;
                let ends: Vec<String> = bins.edges().iter().map(f64::to_string).collect();
                let name = |bin: usize| match (bin.checked_sub(1), ends.get(bin)) {
                    (None, None) => "all".to_owned(),
                    (None, Some(to)) => format!("to {to}"),
                    (Some(before), None) => format!("above {}", ends[before]),
                    (Some(before), Some(to)) => format!("above {} to {to}", ends[before]),
                };
                let names = (0..bins.n_bins() - 1).map(name).collect();
                (names, values.iter().map(|&value| bins.index(value)).collect())
            }
            FeatureKind::Boolean => {
                let of = values.iter().map(|v| if v.is_nan() { 2 } else { *v as usize });
                (vec!["0".into(), "1".into()], of.collect())
            }
            FeatureKind::Categorical(categories) => {
                let n = categories.len();
                let of = values.iter().map(|v| if v.is_nan() { n } else { *v as usize });
                (categories.names().map(str::to_owned).collect(), of.collect())
            }
        };
        names.push("missing".into());
        Self::new(data, scores, threshold, feature, &names, &of)
    }

    /// By stretches of time, each as long as `length`, from the first row's on; named by their start.
    ///
    /// # Errors
    /// `InvalidInput` without times; `InvalidConfig` for no length, or one that cuts the data into more than 10,000
    /// stretches; those of [`new`](Self::new).
    pub fn by_time(
        data: &Dataset,
        scores: &[f64],
        threshold: f64,
        length: Duration,
    ) -> Result<Self> {
        let times =
            data.times().ok_or_else(|| Error::input("data set", "stretches of time need times"))?;
        let start = *times.iter().min().expect("a data set has at least one row");
        let micros = length.as_micros();
        let stretch = |at: Timestamp| at.since(start).as_micros().checked_div(micros);
        let last = times.iter().filter_map(|&at| stretch(at)).max();
        let Some(last) = last.filter(|&last| last < 10_000) else {
            return Err(Error::config("stretch of time", format!("{length:?} is too short")));
        };
        let of: Vec<usize> =
            times.iter().map(|&at| stretch(at).expect("as above") as usize).collect();
        let name = |i: u128| start.plus(length * i as u32).to_string();
        let names: Vec<String> = (0..=last).map(name).collect();
        Self::new(data, scores, threshold, "time", &names, &of)
    }

    /// By anything: row `i` belongs to the segment at `of[i]` in `names`. Segments without rows are left out.
    ///
    /// # Errors
    /// `InvalidInput` unless there are a score and a segment per row, and every segment has a name.
    pub fn new(
        data: &Dataset,
        scores: &[f64],
        threshold: f64,
        by: &str,
        names: &[String],
        of: &[usize],
    ) -> Result<Self> {
        let n = data.n_rows();
        if scores.len() != n || of.len() != n || of.iter().any(|&segment| segment >= names.len()) {
            let reason = format!(
                "{} scores and {} segments for {n} rows; {} segments have a name",
                scores.len(),
                of.len(),
                names.len()
            );
            return Err(Error::input("segments", reason));
        }
        let mut rows = vec![Vec::new(); names.len()];
        of.iter().enumerate().for_each(|(row, &segment)| rows[segment].push(row));
        let mut reference: Option<(Bins, Vec<u64>)> = None;
        let mut segments = Vec::new();
        for (name, rows) in names.iter().zip(rows).filter(|(_, rows)| !rows.is_empty()) {
            let labels: Vec<bool> = rows.iter().map(|&row| data.labels()[row]).collect();
            let of_rows: Vec<f64> = rows.iter().map(|&row| scores[row]).collect();
            let (scored_labels, scored): (Vec<bool>, Vec<f64>) =
                labels.iter().zip(&of_rows).filter(|(_, score)| !score.is_nan()).unzip();
            let ranking = Ranking::new(&scored_labels, &scored).ok();
            let mean = scored.iter().sum::<f64>() / scored.len() as f64;
            let squares: f64 = scored.iter().map(|score| (score - mean) * (score - mean)).sum();
            let count = |bins: &Bins| {
                let mut counts = vec![0; bins.n_bins()];
                of_rows.iter().for_each(|&score| counts[bins.index(score)] += 1);
                counts
            };
            let score_shift = match &reference {
                Some((bins, first)) => population_stability_index(first, &count(bins)),
                None => {
                    let bins = Bins::equal_count(scored.iter().copied(), 10)?;
                    let counts = count(&bins);
                    reference = Some((bins, counts));
                    None
                }
            };
            segments.push(Segment {
                name: name.clone(),
                n_rows: rows.len() as u64,
                n_bad: labels.iter().filter(|bad| **bad).count() as u64,
                mean_score: mean,
                score_deviation: (squares / scored.len() as f64).sqrt(),
                n_unscored: (rows.len() - scored.len()) as u64,
                roc_auc: ranking.as_ref().map(Ranking::roc_auc),
                average_precision: ranking.as_ref().map(Ranking::average_precision),
                confusion: ConfusionMatrix::at(threshold, &labels, &of_rows),
                score_shift,
            });
        }
        Ok(SegmentReport { by: by.to_owned(), segments })
    }
}

/// A line per segment.
impl fmt::Display for SegmentReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let width = self.segments.iter().map(|s| s.name.chars().count()).max().unwrap_or(0);
        let width = width.max(self.by.chars().count());
        write!(f, "{:width$}      rows  bad rate    AUC     AP  alerts  recall    PSI", self.by)?;
        for segment in &self.segments {
            let number =
                |value: Option<f64>| value.map_or("-".into(), |value| format!("{value:.4}"));
            write!(
                f,
                "\n{:width$}  {:>8}  {:>8.4} {:>6} {:>6}  {:>6}  {:>6} {:>6}",
                segment.name,
                segment.n_rows,
                segment.bad_rate(),
                number(segment.roc_auc),
                number(segment.average_precision),
                number(segment.confusion.alert_rate()),
                number(segment.confusion.recall()),
                number(segment.score_shift.map(|psi| psi.value)),
            )?;
        }
        Ok(())
    }
}
