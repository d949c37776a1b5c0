//! Data sets from CSV files.

use std::collections::BTreeMap;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::event::CsvSource;
use crate::ids::EntityKey;
use crate::schema::{Categories, FeatureKind, FeatureSchema};
use crate::time::Timestamp;

/// Which columns of a CSV file make a [`Dataset`], and how their text is read. Other columns are left alone.
///
/// ```no_run
/// use riskcycle::dataset::{CsvFeature, CsvLayout};
///
/// let layout = CsvLayout {
///     features: vec![
///         CsvFeature::numeric("duration_in_month"),
///         CsvFeature::categorical("purpose"),
///     ],
///     ..CsvLayout::new("creditability", "bad")
/// };
/// let applications = layout.read("applications.csv.gz")?;
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CsvLayout {
    /// The features in order.
    pub features: Vec<CsvFeature>,
    /// Column of the label.
    pub label: String,
    /// The label's text for bad.
    pub bad: String,
    /// The label's text for good; `None` if every text but `bad` is good.
    pub good: Option<String>,
    /// Texts of a feature that mean missing, besides the empty one.
    pub missing: Vec<String>,
    /// Column of the time, in whole seconds since 1970-01-01 UTC.
    pub time_seconds: Option<String>,
    /// Column of the entity: a whole number is its key, other text is hashed into one.
    pub entity: Option<String>,
    /// Column of what is at stake, in major units.
    pub amount: Option<String>,
    /// Column of the weight.
    pub weight: Option<String>,
}

/// One feature of a [`CsvLayout`].
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CsvFeature {
    /// Name of the column and of the feature.
    pub name: String,
    /// How its text is read.
    pub kind: CsvKind,
}

/// How the text of a feature is read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum CsvKind {
    /// A number.
    Numeric,
    /// 0 or 1, true or false.
    Boolean,
    /// A category; the list is made of all that the file has, in alphabetical order.
    Categorical,
    /// A category of a known list, that of the training data for one; text that is not in it is missing.
    Known(Categories),
}

impl CsvFeature {
    /// A numeric column.
    pub fn numeric(name: &str) -> Self {
        CsvFeature { name: name.into(), kind: CsvKind::Numeric }
    }

    /// A column of 0 and 1, or true and false.
    pub fn boolean(name: &str) -> Self {
        CsvFeature { name: name.into(), kind: CsvKind::Boolean }
    }

    /// A column of categories.
    pub fn categorical(name: &str) -> Self {
        CsvFeature { name: name.into(), kind: CsvKind::Categorical }
    }
}

impl CsvLayout {
    /// No features yet, and a label where `bad` is bad and every other text good.
    pub fn new(label: &str, bad: &str) -> Self {
        CsvLayout {
            features: Vec::new(),
            label: label.into(),
            bad: bad.into(),
            good: None,
            missing: Vec::new(),
            time_seconds: None,
            entity: None,
            amount: None,
            weight: None,
        }
    }

    /// This layout with the features of a schema, to read later rows as a model expects them.
    pub fn with_schema(mut self, schema: &FeatureSchema) -> Self {
        let kind = |kind: &FeatureKind| match kind {
            FeatureKind::Numeric => CsvKind::Numeric,
            FeatureKind::Boolean => CsvKind::Boolean,
            FeatureKind::Categorical(categories) => CsvKind::Known(categories.clone()),
        };
        let columns = schema.names().iter().zip(schema.kinds());
        self.features =
            columns.map(|(name, of)| CsvFeature { name: name.clone(), kind: kind(of) }).collect();
        self
    }

    /// Reads a file, plain or gzipped, row by row. Memory: the data set, and while reading the texts of categories once
    /// each.
    ///
    /// # Errors
    /// Those of [`CsvSource`]; `InvalidRow` naming the row, column and text that cannot be read; those of
    /// [`Dataset::new`] and [`FeatureSchema::with_kinds`].
    pub fn read(&self, path: impl AsRef<Path>) -> Result<Dataset> {
        let extras = [&self.time_seconds, &self.entity, &self.amount, &self.weight];
        let mut columns: Vec<&str> = self.features.iter().map(|f| f.name.as_str()).collect();
        columns.push(&self.label);
        columns.extend(extras.into_iter().flatten().map(String::as_str));
        let mut source = CsvSource::open(path, &columns)?;

        let mut learned: Vec<BTreeMap<String, u32>> = vec![BTreeMap::new(); self.features.len()];
        let (mut values, mut labels) = (Vec::new(), Vec::new());
        let (mut times, mut entities) = (Vec::new(), Vec::new());
        let (mut amounts, mut weights) = (Vec::new(), Vec::new());
        while let Some(row) = source.next_row()? {
            for (column, feature) in self.features.iter().enumerate() {
                let text = row.text(column)?;
                if text.is_empty() || self.missing.iter().any(|missing| missing == text) {
                    values.push(f64::NAN);
                    continue;
                }
                values.push(match &feature.kind {
                    CsvKind::Numeric => row.f64(column)?,
                    CsvKind::Boolean => match text {
                        "0" | "false" | "False" | "FALSE" => 0.0,
                        "1" | "true" | "True" | "TRUE" => 1.0,
                        _ => {
                            let reason = format!("{text:?} is neither 0, 1, true nor false");
                            return Err(row.error(column, reason));
                        }
                    },
                    CsvKind::Known(categories) => categories.code(text),
                    CsvKind::Categorical => {
                        let learned = &mut learned[column];
                        let next = learned.len() as u32;
                        match learned.get(text) {
                            Some(&code) => f64::from(code),
                            None if learned.len() == Categories::MAX => {
                                let reason = format!("has more than {next} categories");
                                return Err(row.error(column, reason));
                            }
                            None => {
                                learned.insert(text.to_owned(), next);
                                f64::from(next)
                            }
                        }
                    }
                });
            }
            let mut next = self.features.len();
            let label = row.text(next)?;
            match &self.good {
                _ if label == self.bad => labels.push(true),
                Some(good) if label != good => {
                    let reason = format!("{label:?} is neither {:?} nor {good:?}", self.bad);
                    return Err(row.error(next, reason));
                }
                _ => labels.push(false),
            }
            let mut column = |present: &Option<String>| {
                next += usize::from(present.is_some());
                present.is_some().then_some(next)
            };
            if let Some(column) = column(&self.time_seconds) {
                times.push(Timestamp::from_seconds(row.i64(column)?));
            }
            if let Some(column) = column(&self.entity) {
                let text = row.text(column)?;
                entities.push(text.parse().map_or_else(|_| EntityKey::from(text), EntityKey));
            }
            if let Some(column) = column(&self.amount) {
                amounts.push(row.f64(column)?);
            }
            if let Some(column) = column(&self.weight) {
                weights.push(row.f64(column)?);
            }
        }

        let schema = self.schema(&learned, &mut values)?;
        let mut data = Dataset::from_rows(schema, values, labels)?;
        if self.time_seconds.is_some() {
            data = data.with_times(times)?;
        }
        if self.entity.is_some() {
            data = data.with_entities(entities)?;
        }
        if self.amount.is_some() {
            data = data.with_amounts(amounts)?;
        }
        if self.weight.is_some() {
            data = data.with_weights(weights)?;
        }
        Ok(data)
    }

    /// The schema; learned codes in `values` turn from order of appearance to alphabetical order.
    fn schema(
        &self,
        learned: &[BTreeMap<String, u32>],
        values: &mut [f64],
    ) -> Result<FeatureSchema> {
        let n_features = self.features.len();
        let mut kinds = Vec::with_capacity(n_features);
        for (column, (feature, learned)) in self.features.iter().zip(learned).enumerate() {
            kinds.push(match &feature.kind {
                CsvKind::Numeric => FeatureKind::Numeric,
                CsvKind::Boolean => FeatureKind::Boolean,
                CsvKind::Known(categories) => FeatureKind::Categorical(categories.clone()),
                CsvKind::Categorical if learned.is_empty() => {
                    let reason = format!("column {} has no category at all", feature.name);
                    return Err(Error::input("CSV file", reason));
                }
                CsvKind::Categorical => {
                    let mut place = vec![0.0; learned.len()];
                    for (alphabetical, &appeared) in learned.values().enumerate() {
                        place[appeared as usize] = alphabetical as f64;
                    }
                    let codes = values[column..].iter_mut().step_by(n_features);
                    codes
                        .filter(|code| !code.is_nan())
                        .for_each(|code| *code = place[*code as usize]);
                    FeatureKind::Categorical(Categories::new(learned.keys().cloned())?)
                }
            });
        }
        FeatureSchema::with_kinds(self.features.iter().map(|f| f.name.clone()).zip(kinds))
    }
}
