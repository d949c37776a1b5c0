//! Transforms that are fitted on training rows and travel with the model.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use crate::codec::{self, Reader};
use crate::dataset::{Dataset, FoldPlan};
use crate::error::{Error, Result};
use crate::model::binning::{Binner, BinningConfig, WoeBins};
use crate::schema::{FeatureKind, FeatureSchema};
use crate::seed::Seed;
use crate::stats::quantile_sorted;

/// A transform to be fitted. It changes the columns of its kind and leaves the others as they are.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Transform {
    /// Fills missing values of numeric and boolean columns.
    Impute(Imputation),
    /// Adds a boolean column `NAME missing` for every column that has a missing value in training.
    FlagMissing,
    /// Draws numeric values in to these quantiles of the training rows, `0.0..=1.0`.
    Winsorise {
        /// Lower quantile.
        lower: f64,
        /// Upper quantile, above the lower.
        upper: f64,
    },
    /// Takes off the mean of every numeric column and divides by its population standard deviation; a constant column is only
    /// shifted.
    Standardise,
    /// Puts the bad rate of a category in its place, drawn towards that of all rows: (bad + s · rate) / (rows + s). A
    /// training row is encoded by the other folds, never by its own label.
    TargetEncode {
        /// Folds that training rows are encoded across, at least 2.
        folds: usize,
        /// How many rows of the average the bad rate of all weighs, s.
        smoothing: f64,
    },
    /// Puts the share of training rows that a category has in its place.
    FrequencyEncode,
    /// Makes a boolean column `NAME = CATEGORY` of every category.
    OneHot,
    /// Puts weights of evidence in the place of every column's values.
    WeightOfEvidence(BinningConfig),
}

/// What takes the place of a missing value.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub enum Imputation {
    /// The median of the training rows; 0 where all are missing.
    #[default]
    Median,
    /// Their mean; 0 where all are missing.
    Mean,
    /// This number.
    Constant(f64),
}

/// Transforms fitted one after the other: every output column is a chain of maps of one input column. Row by row without
/// memory, so a row comes out as it does in a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedTransforms {
    input: FeatureSchema,
    output: FeatureSchema,
    columns: Vec<Chain>,
}

/// How an output column comes from its input column.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
struct Chain {
    source: u32,
    maps: Vec<Map>,
}

/// A fitted map of one value.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
enum Map {
    Fill(f64),
    IsMissing,
    Clip {
        low: f64,
        high: f64,
    },
    Scale {
        mean: f64,
        scale: f64,
    },
    /// By code; anything else is missing.
    Table {
        #[serde(deserialize_with = "codec::modest")]
        of_code: Vec<f64>,
        missing: f64,
    },
    Is(f64),
    Woe(WoeBins),
}

impl Map {
    fn apply(&self, value: f64) -> f64 {
        match self {
            Map::Fill(with) if value.is_nan() => *with,
            Map::Fill(_) => value,
            Map::IsMissing => f64::from(u8::from(value.is_nan())),
            // clamp keeps NaN.
            Map::Clip { low, high } => value.clamp(*low, *high),
            Map::Scale { mean, scale } => (value - mean) / scale,
            Map::Table { of_code, missing } => {
                let code = (value >= 0.0 && value.fract() == 0.0).then_some(value as usize);
                code.and_then(|code| of_code.get(code)).copied().unwrap_or(*missing)
            }
            Map::Is(code) => f64::from(u8::from(value == *code)),
            Map::Woe(binning) => binning.weight_of_evidence(value),
        }
    }

    fn is_sound(&self) -> bool {
        match self {
            Map::Fill(with) => with.is_finite(),
            Map::IsMissing => true,
            Map::Clip { low, high } => low <= high, // false for NaN, which clamp would panic at
            Map::Scale { mean, scale } => mean.is_finite() && scale.is_finite() && *scale > 0.0,
            Map::Table { of_code, missing } => {
                missing.is_finite() && of_code.iter().all(|value| value.is_finite())
            }
            Map::Is(code) => code.is_finite(),
            Map::Woe(_) => true, // checked against its column
        }
    }
}

/// One column after a step: where it comes from, what it becomes.
struct Step {
    source: usize,
    map: Option<Map>,
    name: String,
    kind: FeatureKind,
    /// What training rows get, if not what the map gives.
    training: Option<Vec<f64>>,
}

impl Transform {
    fn check(&self) -> Result<()> {
        let refuse = |reason: &str| Err(Error::config("transform", reason));
        match self {
            Transform::Impute(Imputation::Constant(value)) if !value.is_finite() => {
                refuse("a constant to impute must be finite")
            }
            Transform::Winsorise { lower, upper }
                if !(0.0 <= *lower && lower < upper && *upper <= 1.0) =>
            {
                refuse("quantiles must rise within 0 to 1")
            }
            Transform::TargetEncode { folds, smoothing }
                if *folds < 2 || !(*smoothing >= 0.0 && smoothing.is_finite()) =>
            {
                refuse("target encoding needs 2 folds, and a smoothing that is not negative")
            }
            Transform::WeightOfEvidence(config) => Binner::new(config.clone()).map(drop),
            _ => Ok(()),
        }
    }

    fn fit(&self, data: &Dataset, seed: Seed) -> Result<Vec<Step>> {
        if let Transform::WeightOfEvidence(config) = self {
            let binnings = Binner::new(config.clone())?.fit_all(data)?;
            let step = |(source, binning): (usize, WoeBins)| Step {
                source,
                name: binning.feature().to_owned(),
                map: Some(Map::Woe(binning)),
                kind: FeatureKind::Numeric,
                training: None,
            };
            return Ok(binnings.into_iter().enumerate().map(step).collect());
        }
        let folds = match self {
            Transform::TargetEncode { folds, .. } => {
                let seed = seed.derive("target encoding", 0);
                FoldPlan::Stratified { folds: *folds }.split(data, seed)?
            }
            _ => Vec::new(),
        };
        let mut steps = Vec::new();
        for (source, (name, kind)) in
            data.schema().names().iter().zip(data.schema().kinds()).enumerate()
        {
            let values = data.features().column(source).to_vec();
            let keep =
                Step { source, map: None, name: name.clone(), kind: kind.clone(), training: None };
            let numeric = |map| Step {
                source,
                map: Some(map),
                name: name.clone(),
                kind: FeatureKind::Numeric,
                training: None,
            };
            match (self, kind) {
                (Transform::Impute(how), FeatureKind::Numeric | FeatureKind::Boolean) => {
                    let with = how.value(&values);
                    // The mean of a boolean column is no boolean.
                    let kind = if kind.holds(with) { kind.clone() } else { FeatureKind::Numeric };
                    steps.push(Step { kind, ..numeric(Map::Fill(with)) });
                }
                (Transform::FlagMissing, _) => {
                    steps.push(keep);
                    if values.iter().any(|value| value.is_nan()) {
                        let name = format!("{name} missing");
                        let kind = FeatureKind::Boolean;
                        steps.push(Step { name, kind, ..numeric(Map::IsMissing) });
                    }
                }
                (Transform::Winsorise { lower, upper }, FeatureKind::Numeric) => {
                    let mut sorted: Vec<f64> = values.into_iter().filter(|v| !v.is_nan()).collect();
                    sorted.sort_unstable_by(f64::total_cmp);
                    let at = |q| quantile_sorted(&sorted, q).filter(|v| !v.is_nan());
                    match at(*lower).zip(at(*upper)) {
                        Some((low, high)) => steps.push(numeric(Map::Clip { low, high })),
                        None => steps.push(keep),
                    }
                }
                (Transform::Standardise, FeatureKind::Numeric) => {
                    let present = || values.iter().filter(|value| value.is_finite());
                    let n = present().count().max(1) as f64;
                    let mean = present().sum::<f64>() / n;
                    let variance = present().map(|v| (v - mean) * (v - mean)).sum::<f64>() / n;
                    // Rounding leaves a constant column a variance of about (mean · ε)².
                    let constant = variance <= (mean * 10.0 * f64::EPSILON).powi(2);
                    let scale = if constant { 1.0 } else { variance.sqrt() };
                    steps.push(numeric(Map::Scale { mean, scale }));
                }
                (
                    Transform::TargetEncode { smoothing, .. },
                    FeatureKind::Categorical(categories),
                ) => {
                    let all: Vec<usize> = (0..values.len()).collect();
                    let encode = |rows: &[usize]| {
                        target_table(data, &values, rows, categories.len(), *smoothing)
                    };
                    let mut training = vec![0.0; values.len()];
                    for fold in &folds {
                        let map = encode(&fold.train);
                        fold.test.iter().for_each(|&row| training[row] = map.apply(values[row]));
                    }
                    steps.push(Step { training: Some(training), ..numeric(encode(&all)) });
                }
                (Transform::FrequencyEncode, FeatureKind::Categorical(categories)) => {
                    let mut counts = vec![0.0; categories.len() + 1];
                    for value in &values {
                        counts[if value.is_nan() { categories.len() } else { *value as usize }] +=
                            1.0;
                    }
                    counts.iter_mut().for_each(|count| *count /= values.len() as f64);
                    let missing = counts.pop().expect("one more than there are categories");
                    steps.push(numeric(Map::Table { of_code: counts, missing }));
                }
                (Transform::OneHot, FeatureKind::Categorical(categories)) => {
                    for (code, category) in categories.names().iter().enumerate() {
                        let (name, kind) = (format!("{name} = {category}"), FeatureKind::Boolean);
                        steps.push(Step { name, kind, ..numeric(Map::Is(code as f64)) });
                    }
                }
                _ => steps.push(keep),
            }
        }
        Ok(steps)
    }
}

impl Imputation {
    fn value(self, values: &[f64]) -> f64 {
        let mut present: Vec<f64> = values.iter().copied().filter(|v| v.is_finite()).collect();
        match self {
            Imputation::Constant(value) => value,
            Imputation::Mean => present.iter().sum::<f64>() / present.len().max(1) as f64,
            Imputation::Median => {
                present.sort_unstable_by(f64::total_cmp);
                quantile_sorted(&present, 0.5).unwrap_or(0.0)
            }
        }
    }
}

/// Smoothed bad rates by category, from these rows.
fn target_table(data: &Dataset, values: &[f64], rows: &[usize], n: usize, smoothing: f64) -> Map {
    let mut sums = vec![(0.0, 0.0); n + 1];
    let mut all = (0.0, 0.0);
    for &row in rows {
        let weight = data.weights().map_or(1.0, |weights| weights[row]);
        let bad = if data.labels()[row] { weight } else { 0.0 };
        let sum = &mut sums[if values[row].is_nan() { n } else { values[row] as usize }];
        *sum = (sum.0 + bad, sum.1 + weight);
        all = (all.0 + bad, all.1 + weight);
    }
    let rate = if all.1 > 0.0 { all.0 / all.1 } else { 0.0 };
    let encode = |(bad, weight): (f64, f64)| {
        let of = weight + smoothing;
        if of > 0.0 { (bad + smoothing * rate) / of } else { rate }
    };
    let missing = encode(sums[n]);
    Map::Table { of_code: sums[..n].iter().copied().map(encode).collect(), missing }
}

impl FittedTransforms {
    /// Fits transforms one after the other, each on what the one before made of the training rows; gives them with those
    /// rows as they should be trained on.
    ///
    /// # Errors
    /// `InvalidConfig` for a parameter out of range, or if two columns get the same name; those of [`Binner::fit`] and
    /// [`FoldPlan::split`].
    pub fn fit(transforms: &[Transform], data: &Dataset, seed: Seed) -> Result<(Self, Dataset)> {
        transforms.iter().try_for_each(Transform::check)?;
        let input = data.schema().clone();
        let chain = |source: usize| Chain { source: source as u32, maps: Vec::new() };
        let mut columns: Vec<Chain> = (0..input.n_features()).map(chain).collect();
        let mut current = data.clone();
        for (i, transform) in transforms.iter().enumerate() {
            let steps = transform.fit(&current, seed.derive("transform", i as u64))?;
            let schema =
                FeatureSchema::with_kinds(steps.iter().map(|s| (s.name.clone(), s.kind.clone())))?;
            let value = |(row, column): (usize, usize)| {
                let step = &steps[column];
                match (&step.training, &step.map) {
                    (Some(training), _) => training[row],
                    (None, Some(map)) => map.apply(current.row(row)[step.source]),
                    (None, None) => current.row(row)[step.source],
                }
            };
            let features = Array2::from_shape_fn((current.n_rows(), steps.len()), value);
            current = current.with_features(schema, features)?;
            columns = steps
                .into_iter()
                .map(|step| {
                    let mut chain = columns[step.source].clone();
                    chain.maps.extend(step.map);
                    chain
                })
                .collect();
        }
        let output = current.schema().clone();
        Ok((FittedTransforms { input, output, columns }, current))
    }

    /// The columns that go in.
    pub fn input(&self) -> &FeatureSchema {
        &self.input
    }

    /// The columns that come out.
    pub fn output(&self) -> &FeatureSchema {
        &self.output
    }

    /// For every column that comes out the one that it comes from.
    pub(super) fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns.iter().map(|chain| chain.source as usize)
    }

    /// Transforms one row.
    ///
    /// # Errors
    /// `SchemaMismatch` if either row has another width than its schema.
    pub fn apply(&self, row: &[f64], out: &mut [f64]) -> Result<()> {
        self.input.check_rows(row.len(), 1)?;
        self.output.check_rows(out.len(), 1)?;
        self.apply_checked(row, out);
        Ok(())
    }

    pub(super) fn apply_checked(&self, row: &[f64], out: &mut [f64]) {
        for (out, chain) in out.iter_mut().zip(&self.columns) {
            let value = row[chain.source as usize];
            *out = chain.maps.iter().fold(value, |value, map| map.apply(value));
        }
    }

    /// Transforms a data set; labels and all the rest stay.
    ///
    /// # Errors
    /// `SchemaMismatch` if it has other columns.
    pub fn apply_dataset(&self, data: &Dataset) -> Result<Dataset> {
        self.input.check(data.schema())?;
        let mut features = Array2::zeros((data.n_rows(), self.output.n_features()));
        for (row, mut out) in features.outer_iter_mut().enumerate() {
            let out = out.as_slice_mut().expect("a fresh array has no gaps");
            self.apply_checked(data.row(row), out);
        }
        data.with_features(self.output.clone(), features)
    }

    /// Values of input columns on which an output jumps, or the model behind does, whose own edges are `behind`.
    pub(super) fn edges(&self, behind: &[(usize, f64)]) -> Vec<(usize, f64)> {
        let mut edges = Vec::new();
        for (column, Chain { source, maps }) in self.columns.iter().enumerate() {
            let source = *source as usize;
            // These leave a value where it was, most of them.
            let passes = |map: &Map| matches!(map, Map::Fill(_) | Map::Clip { .. });
            let mut rest = maps.iter().skip_while(|map| passes(map));
            match rest.next() {
                Some(Map::Woe(binning)) => {
                    edges.extend(binning.edges().unwrap_or(&[]).iter().map(|edge| (source, *edge)));
                }
                Some(_) => {}
                None => {
                    let own = behind.iter().filter(|(of, _)| *of == column);
                    edges.extend(own.map(|(_, edge)| (source, *edge)));
                }
            }
        }
        edges
    }

    /// Behind the input schema, which the artifact holds: every output column with its name, kind and chain.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend((self.columns.len() as u32).to_le_bytes());
        let described = self.output.names().iter().zip(self.output.kinds()).zip(&self.columns);
        for ((name, kind), chain) in described {
            codec::write_block(bytes, name.as_bytes());
            kind.write(bytes);
            bytes.extend(chain.source.to_le_bytes());
            bytes.extend((chain.maps.len() as u32).to_le_bytes());
            chain.maps.iter().for_each(|map| codec::write_block(bytes, &codec::encode(map)));
        }
    }

    /// What [`write`](Self::write) wrote; the bytes may be hostile.
    pub(super) fn read(input: FeatureSchema, reader: &mut Reader<'_>) -> Result<Self> {
        let corrupt = |reason: &str| Error::corrupt("transforms", reason);
        let n = reader.u32()? as usize;
        // A column takes at least 13 bytes, so that a lie about their number cannot ask for memory.
        if n > reader.remaining() / 13 {
            return Err(corrupt("end too early"));
        }
        let (mut columns, mut described) = (Vec::with_capacity(n), Vec::with_capacity(n));
        for _ in 0..n {
            let (name, kind) = (reader.text()?, FeatureKind::read(reader)?);
            let (source, n_maps) = (reader.u32()?, reader.u32()? as usize);
            let Some(source_kind) = input.kinds().get(source as usize) else {
                return Err(corrupt("a column comes from nowhere"));
            };
            let mut maps = Vec::new();
            for _ in 0..n_maps {
                let map: Map = codec::decode(reader.block()?, "transform")?;
                if !map.is_sound() {
                    return Err(corrupt("a map is unsound"));
                }
                if let Map::Woe(binning) = &map {
                    let name = &input.names()[source as usize];
                    // A chain may have turned a category into a number before it is binned.
                    let kind = if maps.is_empty() { source_kind } else { &FeatureKind::Numeric };
                    binning.check(if maps.is_empty() { name } else { binning.feature() }, kind)?;
                }
                maps.push(map);
            }
            columns.push(Chain { source, maps });
            described.push((name, kind));
        }
        let output = FeatureSchema::with_kinds(described).map_err(|e| corrupt(&e.to_string()))?;
        Ok(FittedTransforms { input, output, columns })
    }
}
