//! The reference: how features and scores were distributed when the model was made.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::schema::FeatureSchema;
use crate::stats::{Bins, quantile_sorted};

/// How a [`ReferenceProfile`] is laid out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ProfileConfig {
    /// Bins per numeric column, of about equal count; fewer where values repeat. At most 1,024.
    pub n_bins: usize,
    /// Features whose values are codes of categories, by name: every code is a bin of its own.
    pub categorical: Vec<String>,
    /// Codes of a category that get a bin, the most frequent first; the rest counts as UNSEEN. At most 65,536.
    pub max_categories: usize,
}

/// Deciles, no categories, up to 64 codes.
impl Default for ProfileConfig {
    fn default() -> Self {
        ProfileConfig { n_bins: 10, categorical: Vec::new(), max_categories: 64 }
    }
}

/// Frozen bins of every feature and of the score with their counts, over the whole reference and, where asked for, over
/// segments of it: the yardstick for drift. Immutable; bins are never placed by live data.
///
/// Every column has, beside the bins of its values, a bin for MISSING (NaN) and one for UNSEEN (infinite numbers, codes
/// that the reference did not have, and in a column that stood still any other value), so counts add up to rows.
#[derive(Debug, Clone, PartialEq)]
pub struct ReferenceProfile {
    pub(super) schema: FeatureSchema,
    /// Features in schema order, then the score.
    pub(super) columns: Vec<ColumnProfile>,
    pub(super) whole: Counts,
    pub(super) segments: Vec<(String, Counts)>,
}

/// What one column is counted on.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct ColumnProfile {
    pub(super) cells: Cells,
    /// Place of its first cell among those of all columns.
    pub(super) offset: usize,
    /// Least and greatest finite value; low > high for none.
    pub(super) low: f64,
    pub(super) high: f64,
    /// Difference of the quartiles of the finite values; 0 for none.
    pub(super) quartiles_apart: f64,
    /// Mean of the values in each bin, for distances in the values' unit.
    pub(super) positions: Vec<f64>,
    /// Mean score of the rows in each cell; the mean of all where a cell has none.
    pub(super) score_means: Vec<f64>,
}

/// The bins of a column's values.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Cells {
    Numeric(Bins),
    /// Codes, rising.
    Categorical(Vec<f64>),
}

/// Rows per cell, cells of all columns one after the other.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Counts {
    pub(super) cells: Vec<u64>,
    pub(super) rows: u64,
    pub(super) bad: u64,
}

impl Cells {
    /// Bins that hold values.
    pub(super) fn n_values(&self) -> usize {
        match self {
            Cells::Numeric(bins) => bins.edges().len() + 1,
            Cells::Categorical(codes) => codes.len(),
        }
    }

    /// Values, MISSING and UNSEEN.
    pub(super) fn n_cells(&self) -> usize {
        self.n_values() + 2
    }

    pub(super) fn missing(&self) -> usize {
        self.n_values()
    }

    pub(super) fn unseen(&self) -> usize {
        self.n_values() + 1
    }

    /// The cell of a value.
    #[inline]
    pub(super) fn index(&self, value: f64) -> usize {
        if !value.is_finite() {
            return if value.is_nan() { self.missing() } else { self.unseen() };
        }
        match self {
            Cells::Numeric(bins) => bins.index(value),
            // -0.0 is the code 0.
            Cells::Categorical(codes) => {
                let found = codes.binary_search_by(|code| code.total_cmp(&(value + 0.0)));
                found.unwrap_or(self.unseen())
            }
        }
    }

    /// What a cell stands for.
    pub(super) fn label(&self, cell: usize) -> String {
        if cell == self.missing() {
            return "MISSING".to_owned();
        }
        match self {
            _ if cell >= self.unseen() => "UNSEEN".to_owned(),
            Cells::Categorical(codes) => codes[cell].to_string(),
            Cells::Numeric(bins) => {
                let edges = bins.edges();
                match (cell.checked_sub(1).map(|i| edges[i]), edges.get(cell)) {
                    (None, None) => "any".to_owned(),
                    (None, Some(to)) => format!("<= {to}"),
                    (Some(from), None) => format!("> {from}"),
                    (Some(from), Some(to)) => format!("({from}, {to}]"),
                }
            }
        }
    }
}

impl ColumnProfile {
    fn new(
        values: &[f64],
        scores: &[f64],
        categorical: bool,
        config: &ProfileConfig,
    ) -> Result<Self> {
        let mut finite: Vec<f64> =
            values.iter().filter(|v| v.is_finite()).map(|v| v + 0.0).collect();
        finite.sort_unstable_by(f64::total_cmp);
        // A column that stood still has one value that may come again; any other is one that the reference does not know.
        let stood_still = finite.first().is_some_and(|first| Some(first) == finite.last());
        let cells = match categorical || stood_still {
            true => Cells::Categorical(frequent_codes(&finite, config.max_categories)),
            false => Cells::Numeric(Bins::equal_count(values.iter().copied(), config.n_bins)?),
        };
        let quantile = |q| quantile_sorted(&finite, q).unwrap_or(0.0);
        let n = cells.n_cells();
        let (mut rows, mut totals) = (vec![0u64; n], vec![0.0; n]);
        let (mut scored, mut score_totals) = (vec![0u64; n], vec![0.0; n]);
        for (&value, &score) in values.iter().zip(scores) {
            let cell = cells.index(value);
            rows[cell] += 1;
            if value.is_finite() {
                totals[cell] += value;
            }
            if score.is_finite() {
                scored[cell] += 1;
                score_totals[cell] += score;
            }
        }
        let all = scored.iter().sum::<u64>().max(1) as f64;
        let mean_score = score_totals.iter().sum::<f64>() / all;
        let mean = |total: f64, n: u64, otherwise: f64| {
            if n > 0 { total / n as f64 } else { otherwise }
        };
        let score_means: Vec<f64> =
            (0..n).map(|i| mean(score_totals[i], scored[i], mean_score)).collect();
        // A bin has a row of the reference, or there is no finite value at all.
        let positions = (0..cells.n_values()).map(|i| mean(totals[i], rows[i], 0.0)).collect();
        Ok(ColumnProfile {
            cells,
            offset: 0,
            low: finite.first().copied().unwrap_or(f64::INFINITY),
            high: finite.last().copied().unwrap_or(f64::NEG_INFINITY),
            quartiles_apart: quantile(0.75) - quantile(0.25),
            positions,
            score_means,
        })
    }
}

/// Up to `most` different values of an ascending slice, the most frequent ones, rising.
fn frequent_codes(sorted: &[f64], most: usize) -> Vec<f64> {
    let runs = sorted.chunk_by(|a, b| a == b);
    let mut codes: Vec<(usize, f64)> = runs.map(|run| (run.len(), run[0])).collect();
    codes.sort_by(|a, b| b.0.cmp(&a.0).then(a.1.total_cmp(&b.1)));
    codes.truncate(most);
    let mut codes: Vec<f64> = codes.into_iter().map(|(_, code)| code).collect();
    codes.sort_unstable_by(f64::total_cmp);
    codes
}

impl ReferenceProfile {
    /// Profiles the rows that live ones are to be held against and the scores that the model gives them, NaN for none. One pass
    /// over each column, O(n log n) each.
    ///
    /// Features may be those of the training set. Its scores a model has seen the labels of: where it fits them closely, scores of
    /// the same world seem to drift from the first live day on. Rows from after the training are the better reference.
    ///
    /// # Errors
    /// `InvalidInput` unless there is a score per row; `InvalidConfig` for numbers of bins out of range; `NotFound` for a
    /// categorical feature that is not there.
    pub fn new(data: &Dataset, scores: &[f64], config: &ProfileConfig) -> Result<Self> {
        ReferenceProfile::segmented(data, scores, config, &[], &[])
    }

    /// [`new`](Self::new), and by segment (channel, product, country) as well: `names` in the order that
    /// `segment_of_row` counts in from 0, `None` for a row of no segment. The segments share the whole reference's bins.
    ///
    /// # Errors
    /// As [`new`](Self::new); `InvalidInput` unless there is a segment per row, none of them past the names; `InvalidConfig` for
    /// more than 256 names, one twice, or one that is empty.
    pub fn segmented(
        data: &Dataset,
        scores: &[f64],
        config: &ProfileConfig,
        names: &[&str],
        segment_of_row: &[Option<usize>],
    ) -> Result<Self> {
        config.check(data.schema())?;
        check_segments(names, segment_of_row, data.n_rows())?;
        if scores.len() != data.n_rows() {
            let reason = format!("{} for {} rows", scores.len(), data.n_rows());
            return Err(Error::input("scores", reason));
        }
        let (schema, matrix) = (data.schema(), data.features());
        let mut columns = Vec::with_capacity(schema.n_features() + 1);
        let mut values = Vec::with_capacity(data.n_rows());
        for (column, name) in matrix.columns().into_iter().zip(schema.names()) {
            values.clear();
            values.extend(column.iter().copied());
            let categorical = config.categorical.contains(name);
            columns.push(ColumnProfile::new(&values, scores, categorical, config)?);
        }
        columns.push(ColumnProfile::new(scores, scores, false, config)?);
        let n_cells = place(&mut columns);
        let empty = || Counts { cells: vec![0; n_cells], rows: 0, bad: 0 };
        let mut whole = empty();
        let mut segments: Vec<(String, Counts)> =
            names.iter().map(|name| ((*name).to_owned(), empty())).collect();
        let mut row_cells = vec![0; columns.len()];
        for (i, (&score, &bad)) in scores.iter().zip(data.labels()).enumerate() {
            let row = data.row(i).iter().chain([&score]);
            for ((column, value), cell) in columns.iter().zip(row).zip(&mut row_cells) {
                *cell = column.offset + column.cells.index(*value);
            }
            whole.add(&row_cells, bad);
            if let Some(segment) = segment_of_row.get(i).copied().flatten() {
                segments[segment].1.add(&row_cells, bad);
            }
        }
        Ok(ReferenceProfile { schema: schema.clone(), columns, whole, segments })
    }

    /// The features.
    pub fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    /// Rows of the reference.
    pub fn n_rows(&self) -> u64 {
        self.whole.rows
    }

    /// Share of bad rows in the reference.
    pub fn bad_rate(&self) -> f64 {
        self.whole.bad as f64 / self.whole.rows.max(1) as f64
    }

    /// Rows labelled bad.
    pub fn n_bad(&self) -> u64 {
        self.whole.bad
    }

    /// Place of a segment, to be passed with live rows.
    pub fn segment(&self, name: &str) -> Option<usize> {
        self.segments.iter().position(|(other, _)| other == name)
    }

    /// Names of the segments.
    pub fn segments(&self) -> impl Iterator<Item = &str> {
        self.segments.iter().map(|(name, _)| name.as_str())
    }

    /// Cells of all columns.
    pub(super) fn n_cells(&self) -> usize {
        self.columns.last().map_or(0, |column| column.offset + column.cells.n_cells())
    }

    /// The features' columns; the score's is the last of all.
    pub(super) fn features(&self) -> &[ColumnProfile] {
        &self.columns[..self.columns.len() - 1]
    }

    pub(super) fn score(&self) -> &ColumnProfile {
        &self.columns[self.columns.len() - 1]
    }
}

impl ProfileConfig {
    fn check(&self, schema: &FeatureSchema) -> Result<()> {
        if !(1..=1024).contains(&self.n_bins) || !(1..=65_536).contains(&self.max_categories) {
            let reason = "1 to 1,024 bins and 1 to 65,536 categories are possible";
            return Err(Error::config("reference profile", reason));
        }
        match self.categorical.iter().find(|name| schema.position(name).is_none()) {
            Some(name) => Err(Error::NotFound { kind: "feature", id: name.clone() }),
            None => Ok(()),
        }
    }
}

impl Counts {
    fn add(&mut self, row_cells: &[usize], bad: bool) {
        row_cells.iter().for_each(|&cell| self.cells[cell] += 1);
        self.rows += 1;
        self.bad += u64::from(bad);
    }

    /// The counts of one column.
    pub(super) fn of<'a>(&'a self, column: &ColumnProfile) -> &'a [u64] {
        &self.cells[column.offset..column.offset + column.cells.n_cells()]
    }
}

/// Lays the columns' cells one after the other; their number.
pub(super) fn place(columns: &mut [ColumnProfile]) -> usize {
    columns.iter_mut().fold(0, |offset, column| {
        column.offset = offset;
        offset + column.cells.n_cells()
    })
}

pub(super) fn check_names(names: &[&str]) -> Result<()> {
    let mut seen = BTreeMap::new();
    let taken = names.iter().find(|name| name.is_empty() || seen.insert(**name, ()).is_some());
    if let Some(name) = taken {
        return Err(Error::config("segments", format!("name {name:?} is empty or taken")));
    }
    if names.len() > 256 {
        return Err(Error::config("segments", "at most 256 are possible"));
    }
    Ok(())
}

fn check_segments(names: &[&str], of_row: &[Option<usize>], n_rows: usize) -> Result<()> {
    check_names(names)?;
    if !(names.is_empty() && of_row.is_empty()) && of_row.len() != n_rows {
        return Err(Error::input("segments", format!("{} for {n_rows} rows", of_row.len())));
    }
    match of_row.iter().position(|segment| segment.is_some_and(|s| s >= names.len())) {
        Some(row) => Err(Error::input("segments", format!("row {row} is in one past the names"))),
        None => Ok(()),
    }
}
