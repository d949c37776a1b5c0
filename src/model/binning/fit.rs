//! Binning a feature: fine bins, then coarse ones.

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::binning::chi_merge::chi_merge;
use crate::model::binning::config::MAX_PREBINS;
use crate::model::binning::optimal::{Counts, best_bins};
use crate::model::binning::prebin::{Prebin, between, distinct, quantiles, tree};
use crate::model::binning::{
    BinningConfig, BinningMethod, Layout, NO_BIN, Prebins, Trend, WoeBins,
};
use crate::parallel::map;
use crate::schema::FeatureKind;

/// Bins features. Row weights count. Deterministic; columns are done by several threads at once.
///
/// ```
/// use riskcycle::model::{Binner, BinningConfig, BinningMethod, Trend};
/// use riskcycle::{FeatureSchema, dataset::Dataset, ndarray::Array2};
///
/// // The older, the safer; every tenth age is missing.
/// let age = |i: usize| if i % 10 == 3 { f64::NAN } else { (20 + i % 50) as f64 };
/// let features = Array2::from_shape_fn((500, 1), |(i, _)| age(i));
/// let bad = (0..500).map(|i| (i * 7 % 50) > i % 50 + 10).collect();
/// let data = Dataset::new(FeatureSchema::new(["age"])?, features, bad)?;
///
/// let method = BinningMethod::Optimal { trend: Trend::Descending, max_p_value: None };
/// let binner = Binner::new(BinningConfig { method, ..Default::default() })?;
/// let bins = binner.fit(&data, 0)?;
/// assert!(bins.weight_of_evidence(25.0) > bins.weight_of_evidence(60.0));
/// let missing = bins.bins()[bins.index(f64::NAN)];
/// assert_eq!(missing.bad + missing.good, 50.0);
/// println!("{}", bins.table(&data.schema().kinds()[0]));
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct Binner {
    config: BinningConfig,
}

impl Binner {
    /// # Errors
    /// `InvalidConfig` for a number outside its range, a special code that is not finite or comes twice, or an unsound rule
    /// for empty cells. [`EmptyCells::Infinite`](crate::stats::EmptyCells::Infinite) is unsound here: a score must be finite.
    pub fn new(config: BinningConfig) -> Result<Self> {
        config.check()?;
        Ok(Binner { config })
    }

    /// The bins of a column. O(n log n).
    ///
    /// # Errors
    /// `OneClass`; `InvalidInput` for a column past the end.
    pub fn fit(&self, data: &Dataset, column: usize) -> Result<WoeBins> {
        let column = Column::new(self, data, column)?;
        match column.kind {
            FeatureKind::Categorical(_) => self.fit_categories(&column),
            _ => {
                let cells = column.cells();
                let prebins = match self.config.prebins {
                    Prebins::Quantile(n) => quantiles(&cells, n),
                    Prebins::Tree(n) if cells.is_empty() => quantiles(&cells, n),
                    Prebins::Tree(n) => tree(&cells, n, column.least(self.config.min_share)),
                };
                self.join_numeric(&column, &prebins)
            }
        }
    }

    /// The bins of every column, in schema order.
    ///
    /// # Errors
    /// As [`fit`](Self::fit).
    pub fn fit_all(&self, data: &Dataset) -> Result<Vec<WoeBins>> {
        let columns: Vec<usize> = (0..data.schema().n_features()).collect();
        map(&columns, |&column| self.fit(data, column)).into_iter().collect()
    }

    /// The bins of a numeric column with these fine bins in place of its own: with [`BinningMethod::Keep`] they are the bins.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); `InvalidConfig` unless the edges are finite and strictly rising; `InvalidInput` for a
    /// categorical column.
    pub fn fit_edges(&self, data: &Dataset, column: usize, edges: &[f64]) -> Result<WoeBins> {
        let column = Column::new(self, data, column)?;
        if matches!(column.kind, FeatureKind::Categorical(_)) {
            let reason = format!("{} is categorical and has no edges", column.name);
            return Err(Error::input("column", reason));
        }
        let prebins = between(&column.cells(), edges)?;
        self.join_numeric(&column, &prebins)
    }

    /// The bins of a categorical column as given, by name; a category in none of them counts as without training rows.
    ///
    /// # Errors
    /// As [`fit`](Self::fit); `NotFound` for an unknown category; `InvalidConfig` for no bin, or a category that comes twice;
    /// `InvalidInput` for a numeric column.
    pub fn fit_groups(
        &self,
        data: &Dataset,
        column: usize,
        groups: &[Vec<&str>],
    ) -> Result<WoeBins> {
        let column = Column::new(self, data, column)?;
        let FeatureKind::Categorical(categories) = column.kind else {
            let reason = format!("{} is not categorical", column.name);
            return Err(Error::input("column", reason));
        };
        if groups.is_empty() {
            return Err(Error::config("binning", "needs at least one group of categories"));
        }
        let mut bin_of = vec![NO_BIN; categories.len()];
        for (bin, group) in groups.iter().enumerate() {
            for name in group {
                let code = categories.code(name);
                if code.is_nan() {
                    return Err(Error::NotFound { kind: "category", id: (*name).to_owned() });
                }
                let place = &mut bin_of[code as usize];
                if *place != NO_BIN {
                    return Err(Error::config("binning", format!("{name:?} is in two groups")));
                }
                *place = bin as u32;
            }
        }
        self.finish(&column, Layout::Categorical { bin_of, n_bins: groups.len() as u32 })
    }

    /// Where the coarse bins start among the fine ones.
    fn join(&self, column: &Column<'_>, counts: &[Counts], trend: Option<Trend>) -> Vec<usize> {
        let limits = self.config.limits(column.least(self.config.min_share));
        match self.config.method {
            // A column that cannot keep the limits has one bin.
            BinningMethod::Optimal { trend: asked, .. } => {
                best_bins(counts, &limits, trend.unwrap_or(asked)).unwrap_or_else(|| vec![0])
            }
            BinningMethod::ChiMerge { significance } => chi_merge(counts, &limits, significance),
            BinningMethod::Keep => (0..counts.len()).collect(),
        }
    }

    fn join_numeric(&self, column: &Column<'_>, prebins: &[Prebin]) -> Result<WoeBins> {
        let counts: Vec<Counts> = prebins.iter().map(|bin| (bin.bad, bin.good)).collect();
        let starts = if counts.is_empty() { Vec::new() } else { self.join(column, &counts, None) };
        let edges = starts.iter().skip(1).map(|&i| prebins[i - 1].edge_before(&prebins[i]) + 0.0);
        let edges = edges.collect();
        self.finish(column, Layout::Numeric(edges))
    }

    fn fit_categories(&self, column: &Column<'_>) -> Result<WoeBins> {
        let n = column.kind.categories().map_or(0, |categories| categories.len());
        let mut counts = vec![(0.0, 0.0); n];
        for row in 0..column.values.len() {
            let (value, bad, weight) = column.row(row);
            if !value.is_nan() {
                let cell = &mut counts[value as usize];
                *(if bad { &mut cell.0 } else { &mut cell.1 }) += weight;
            }
        }
        let mut order: Vec<usize> = (0..n).filter(|&c| counts[c].0 + counts[c].1 > 0.0).collect();
        if order.is_empty() {
            let layout = Layout::Categorical { bin_of: vec![NO_BIN; n], n_bins: 1 };
            return self.finish(column, layout);
        }
        let rate = |&c: &usize| counts[c].0 / (counts[c].0 + counts[c].1);
        order.sort_by(|a, b| rate(a).total_cmp(&rate(b)).then(a.cmp(b)));
        // Too many for the search: neighbours by bad rate share a fine bin.
        let fine = order.len().min(MAX_PREBINS);
        let fine_of = |place: usize| place * fine / order.len();
        let mut fine_counts = vec![(0.0, 0.0); fine];
        for (place, &category) in order.iter().enumerate() {
            let cell = &mut fine_counts[fine_of(place)];
            *cell = (cell.0 + counts[category].0, cell.1 + counts[category].1);
        }
        let starts = self.join(column, &fine_counts, Some(Trend::Ascending));
        let mut bin_of = vec![NO_BIN; n];
        for (place, &category) in order.iter().enumerate() {
            bin_of[category] = starts.partition_point(|&start| start <= fine_of(place)) as u32 - 1;
        }
        self.finish(column, Layout::Categorical { bin_of, n_bins: starts.len() as u32 })
    }

    /// Counts the rows of every bin.
    fn finish(&self, column: &Column<'_>, layout: Layout) -> Result<WoeBins> {
        // A code of a category is no quantity that could be special.
        let (special, unseen) = match layout {
            Layout::Numeric(_) => (self.config.special.clone(), 0),
            Layout::Categorical { .. } => (Vec::new(), 1),
        };
        let n_bins = layout.n_bins() + special.len() + 1 + unseen;
        let mut binning = WoeBins {
            feature: column.name.to_owned(),
            layout,
            special,
            bins: Vec::new(),
            orientation: self.config.orientation,
            empty_cells: self.config.empty_cells,
            unseen: self.config.unseen,
            information_value: 0.0,
        };
        let (mut bad, mut good) = (vec![0.0; n_bins], vec![0.0; n_bins]);
        for row in 0..column.values.len() {
            let (value, is_bad, weight) = column.row(row);
            let side = if is_bad { &mut bad } else { &mut good };
            side[binning.index(value)] += weight;
        }
        binning.weigh(&bad, &good)?;
        Ok(binning)
    }
}

/// A column with the labels and weights of its rows.
struct Column<'a> {
    name: &'a str,
    kind: &'a FeatureKind,
    values: Vec<f64>,
    labels: &'a [bool],
    weights: Option<&'a [f64]>,
    special: &'a [f64],
}

impl<'a> Column<'a> {
    fn new(binner: &'a Binner, data: &'a Dataset, column: usize) -> Result<Self> {
        data.check_both_classes("binning")?;
        let n_features = data.schema().n_features();
        if column >= n_features {
            return Err(Error::input("columns", format!("column {column} of {n_features}")));
        }
        if data.n_rows() > u32::MAX as usize {
            return Err(Error::input("data set", "more than 4,294,967,295 rows"));
        }
        Ok(Column {
            name: &data.schema().names()[column],
            kind: &data.schema().kinds()[column],
            values: data.features().column(column).to_vec(),
            labels: data.labels(),
            weights: data.weights(),
            special: &binner.config.special,
        })
    }

    /// Value, label and weight.
    fn row(&self, row: usize) -> (f64, bool, f64) {
        let weight = self.weights.map_or(1.0, |weights| weights[row]);
        (self.values[row], self.labels[row], weight)
    }

    /// A share of all rows: of their weight, or in whole ones.
    fn least(&self, share: f64) -> f64 {
        match self.weights {
            Some(weights) => share * weights.iter().sum::<f64>(),
            // Equal parts of rows that do not divide are a row short.
            None => (share * self.values.len() as f64 * (1.0 + 1e-12)).floor(),
        }
    }

    /// Rows of each distinct value that is a quantity, lowest first.
    fn cells(&self) -> Vec<Prebin> {
        let quantity = |value: f64| !value.is_nan() && !self.special.contains(&value);
        let values = self.values.iter().zip(0..).filter(|(value, _)| quantity(**value));
        let values: Vec<(f64, u32)> = values.map(|(&value, row)| (value, row)).collect();
        distinct(&values, self.labels, self.weights)
    }
}
