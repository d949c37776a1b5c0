//! Stage 3, dataset. Takes features and labels; gives a [`Dataset`] to train and evaluate on, and its splits.

#[cfg(feature = "csv")]
mod csv;
mod fold;
#[cfg(feature = "linfa")]
mod linfa;
mod split;

#[cfg(feature = "csv")]
pub use csv::{CsvFeature, CsvKind, CsvLayout};
pub use fold::FoldPlan;
pub use split::{SplitRows, TimeSplit};

use ndarray::{Array2, ArrayView2, Axis};

use crate::error::{Error, Result};
use crate::event::EventSchema;
use crate::feature::FeatureFrame;
use crate::ids::{Digest, DigestWriter, EntityKey};
use crate::schema::FeatureSchema;
use crate::time::Timestamp;

/// Rows of features with their labels, and, where they are known, each row's time, entity, amount and weight.
///
/// Features are `f64`, NaN is missing; a boolean is 0 or 1, a category its code in the schema's
/// [`Categories`](crate::Categories). A label is `true` for bad (fraud, default).
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    schema: FeatureSchema,
    /// n_rows × n_features, row after row without gaps.
    features: Array2<f64>,
    labels: Vec<bool>,
    times: Option<Vec<Timestamp>>,
    entities: Option<Vec<EntityKey>>,
    amounts: Option<Vec<f64>>,
    weights: Option<Vec<f64>>,
}

impl Dataset {
    /// A data set from a matrix (n_rows × n_features) and one label per row.
    ///
    /// # Errors
    /// `Empty` without rows; `SchemaMismatch` if the matrix does not have the schema's columns; `InvalidInput` if labels
    /// and rows differ in number, or naming the first value that its column's kind does not have.
    pub fn new(schema: FeatureSchema, features: Array2<f64>, labels: Vec<bool>) -> Result<Self> {
        if features.nrows() == 0 {
            return Err(Error::Empty { what: "data set".into() });
        }
        schema.check_rows(features.len(), features.nrows())?;
        let features = by_row(features);
        same_length("labels", labels.len(), features.nrows())?;
        for (column, kind) in schema.kinds().iter().enumerate() {
            let values = features.column(column);
            if let Some((row, value)) = values.iter().enumerate().find(|(_, v)| !kind.holds(**v)) {
                let name = &schema.names()[column];
                let reason = format!("row {row}, column {name}: {value} is no value of its kind");
                return Err(Error::input("features", reason));
            }
        }
        Ok(Dataset {
            schema,
            features,
            labels,
            times: None,
            entities: None,
            amounts: None,
            weights: None,
        })
    }

    /// A data set from rows laid one after the other and one label per row.
    ///
    /// # Errors
    /// As [`new`](Self::new); `SchemaMismatch` unless there are the schema's columns for every label.
    pub fn from_rows(schema: FeatureSchema, rows: Vec<f64>, labels: Vec<bool>) -> Result<Self> {
        schema.check_rows(rows.len(), labels.len())?;
        let shape = (labels.len(), schema.n_features());
        let features = Array2::from_shape_vec(shape, rows).expect("whole rows, as checked");
        Dataset::new(schema, features, labels)
    }

    /// The data set of some events: their features from `frame`, and from the events themselves label, time, the entity
    /// named `entity` and the money field named `amount`. `rows` are positions in `events`, which `frame` was made from.
    ///
    /// # Errors
    /// `Empty` without rows; `NotFound` for an unknown field; `InvalidInput` for a frame of other events, a position
    /// past the end, or an event whose label is not known.
    pub fn from_events<E>(
        frame: &FeatureFrame,
        schema: &EventSchema<E>,
        events: &[E],
        rows: &[usize],
        entity: &str,
        amount: &str,
    ) -> Result<Self> {
        same_length("feature frame", frame.n_rows(), events.len())?;
        if let Some(row) = rows.iter().find(|&&row| row >= events.len()) {
            let reason = format!("row {row} of {} events", events.len());
            return Err(Error::input("rows", reason));
        }
        let mut features = Array2::zeros((rows.len(), frame.schema().n_features()));
        for (mut out, &row) in features.outer_iter_mut().zip(rows) {
            frame.copy_row(row, out.as_slice_mut().expect("a fresh array has no gaps"));
        }
        let labels = rows.iter().map(|&row| {
            schema.label(&events[row]).ok_or_else(|| {
                let id = schema.id(&events[row]);
                Error::input("labels", format!("the label of event {id} (row {row}) is not known"))
            })
        });
        let labels = labels.collect::<Result<Vec<bool>>>()?;
        let times = rows.iter().map(|&row| schema.time(&events[row])).collect();
        let entities = rows.iter().map(|&row| schema.entity_key(entity, &events[row]));
        let amounts = rows.iter().map(|&row| schema.amount(amount, &events[row]));
        Dataset::new(frame.schema().clone(), features, labels)?
            .with_times(times)?
            .with_entities(entities.collect::<Result<_>>()?)?
            .with_amounts(amounts.collect::<Result<_>>()?)
    }

    /// Adds each row's time.
    ///
    /// # Errors
    /// `InvalidInput` unless there is one per row.
    pub fn with_times(mut self, times: Vec<Timestamp>) -> Result<Self> {
        same_length("times", times.len(), self.n_rows())?;
        self.times = Some(times);
        Ok(self)
    }

    /// Adds the entity (customer, card) that each row belongs to.
    ///
    /// # Errors
    /// `InvalidInput` unless there is one per row.
    pub fn with_entities(mut self, entities: Vec<EntityKey>) -> Result<Self> {
        same_length("entities", entities.len(), self.n_rows())?;
        self.entities = Some(entities);
        Ok(self)
    }

    /// Adds what is at stake in each row, in major units: what is lost if a bad row is not caught.
    ///
    /// # Errors
    /// `InvalidInput` unless there is one per row, all of them finite.
    pub fn with_amounts(mut self, amounts: Vec<f64>) -> Result<Self> {
        same_length("amounts", amounts.len(), self.n_rows())?;
        if let Some(row) = amounts.iter().position(|amount| !amount.is_finite()) {
            return Err(Error::input("amounts", format!("row {row} is not finite")));
        }
        self.amounts = Some(amounts);
        Ok(self)
    }

    /// Adds how much each row counts in training and in weighted metrics; without weights every row counts 1.
    ///
    /// # Errors
    /// `InvalidInput` unless there is one per row, all of them finite and not negative, and not all of them 0.
    pub fn with_weights(mut self, weights: Vec<f64>) -> Result<Self> {
        same_length("weights", weights.len(), self.n_rows())?;
        if let Some(row) = weights.iter().position(|weight| !(*weight >= 0.0 && weight.is_finite()))
        {
            let reason =
                format!("row {row} weighs {}; it must be finite, not negative", weights[row]);
            return Err(Error::input("weights", reason));
        }
        if weights.iter().all(|weight| *weight == 0.0) {
            return Err(Error::input("weights", "all are 0"));
        }
        self.weights = Some(weights);
        Ok(self)
    }

    /// A copy with these columns only, in this order; everything else stays.
    ///
    /// # Errors
    /// `InvalidInput` for a column past the end; `InvalidConfig` for none at all or one twice.
    pub fn select_columns(&self, columns: &[usize]) -> Result<Self> {
        let schema = self.schema.select(columns)?;
        let features = by_row(self.features.select(Axis(1), columns));
        Ok(Dataset { schema, features, ..self.clone() })
    }

    /// The same rows with other features.
    pub(crate) fn with_features(
        &self,
        schema: FeatureSchema,
        features: Array2<f64>,
    ) -> Result<Self> {
        let Dataset { labels, times, entities, amounts, weights, .. } = self.clone();
        let data = Dataset::new(schema, features, labels)?;
        Ok(Dataset { times, entities, amounts, weights, ..data })
    }

    /// A copy of these rows, in this order; a row may come more than once.
    ///
    /// # Errors
    /// `Empty` for none; `InvalidInput` for a row past the end, or if all that are left weigh 0.
    pub fn select_rows(&self, rows: &[usize]) -> Result<Self> {
        let n_rows = self.n_rows();
        if let Some(row) = rows.iter().find(|&&row| row >= n_rows) {
            return Err(Error::input("rows", format!("row {row} of {n_rows}")));
        }
        let pick = |values: &[f64]| rows.iter().map(|&row| values[row]).collect::<Vec<f64>>();
        let features = self.features.select(Axis(0), rows);
        let labels = rows.iter().map(|&row| self.labels[row]).collect();
        let mut picked = Dataset::new(self.schema.clone(), features, labels)?;
        picked.times = self.times().map(|times| rows.iter().map(|&row| times[row]).collect());
        picked.entities = self.entities().map(|keys| rows.iter().map(|&row| keys[row]).collect());
        picked.amounts = self.amounts().map(pick);
        match self.weights().map(pick) {
            Some(weights) => picked.with_weights(weights),
            None => Ok(picked),
        }
    }

    /// The columns.
    pub fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    /// Number of rows, at least one.
    pub fn n_rows(&self) -> usize {
        self.labels.len()
    }

    /// Number of rows labelled bad.
    pub fn n_bad(&self) -> usize {
        self.labels.iter().filter(|bad| **bad).count()
    }

    /// The features, n_rows × n_features.
    pub fn features(&self) -> ArrayView2<'_, f64> {
        self.features.view()
    }

    /// The features, row after row in one slice.
    pub fn rows(&self) -> &[f64] {
        self.features.as_slice().expect("kept in standard layout since Dataset::new")
    }

    /// One row.
    ///
    /// # Panics
    /// If there is no such row.
    pub fn row(&self, row: usize) -> &[f64] {
        let n_features = self.schema.n_features();
        &self.rows()[row * n_features..(row + 1) * n_features]
    }

    /// One label per row, `true` for bad.
    pub fn labels(&self) -> &[bool] {
        &self.labels
    }

    /// Each row's time, if known.
    pub fn times(&self) -> Option<&[Timestamp]> {
        self.times.as_deref()
    }

    /// Each row's entity, if known.
    pub fn entities(&self) -> Option<&[EntityKey]> {
        self.entities.as_deref()
    }

    /// What is at stake in each row, in major units, if known.
    pub fn amounts(&self) -> Option<&[f64]> {
        self.amounts.as_deref()
    }

    /// How much each row counts, if it was told; otherwise every row counts 1.
    pub fn weights(&self) -> Option<&[f64]> {
        self.weights.as_deref()
    }

    /// # Errors
    /// `OneClass` unless there are rows of both labels.
    pub fn check_both_classes(&self, what: &str) -> Result<()> {
        match self.n_bad() {
            0 => Err(Error::OneClass { what: what.into(), n_rows: self.n_rows(), label: false }),
            n if n == self.n_rows() => {
                Err(Error::OneClass { what: what.into(), n_rows: n, label: true })
            }
            _ => Ok(()),
        }
    }

    /// # Errors
    /// `InvalidInput` naming the first row and column that is missing or infinite.
    pub fn check_finite(&self, what: &'static str) -> Result<()> {
        let Some(place) = self.rows().iter().position(|value| !value.is_finite()) else {
            return Ok(());
        };
        let (row, column) = (place / self.schema.n_features(), place % self.schema.n_features());
        let (value, name) = (self.rows()[place], &self.schema.names()[column]);
        Err(Error::input(what, format!("row {row}, column {name} is {value}; it must be finite")))
    }

    /// SHA-256 over columns, values, labels, times, entities, amounts and weights.
    pub fn fingerprint(&self) -> Digest {
        let mut digest = DigestWriter::default();
        digest.bytes(b"riskcycle data set 1").bytes(self.schema.fingerprint().as_bytes());
        digest.u64(self.n_rows() as u64);
        self.rows().iter().for_each(|value| {
            // All NaNs mean missing, whatever their payload.
            digest.u64(if value.is_nan() { f64::NAN.to_bits() } else { value.to_bits() });
        });
        self.labels.iter().for_each(|&bad| {
            digest.u64(u64::from(bad));
        });
        let mut part = |name: &[u8], values: Option<Vec<u64>>| {
            digest.bytes(name);
            values.into_iter().flatten().for_each(|value| {
                digest.u64(value);
            });
        };
        part(b"times", self.times().map(|t| t.iter().map(|t| t.micros() as u64).collect()));
        part(b"entities", self.entities().map(|e| e.iter().map(|e| e.0).collect()));
        part(b"amounts", self.amounts().map(|a| a.iter().map(|a| a.to_bits()).collect()));
        if let Some(weights) = self.weights() {
            // Behind the rest and only where there are any: data sets without keep the fingerprint they have had.
            part(b"weights", Some(weights.iter().map(|w| w.to_bits()).collect()));
        }
        digest.finish()
    }
}

/// The same matrix, row after row without gaps; copied only where it is not.
fn by_row(matrix: Array2<f64>) -> Array2<f64> {
    if matrix.is_standard_layout() { matrix } else { matrix.as_standard_layout().into_owned() }
}

fn same_length(what: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::input(what, format!("{found} for {expected} rows")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(values: [f64; 4], labels: [bool; 2]) -> Dataset {
        let schema = FeatureSchema::new(["a", "b"]).unwrap();
        Dataset::from_rows(schema, values.to_vec(), labels.to_vec()).unwrap()
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let schema = FeatureSchema::new(["a", "b"]).unwrap();
        let new = |shape, labels| Dataset::new(schema.clone(), Array2::zeros(shape), labels);
        assert!(matches!(new((0, 2), vec![]), Err(Error::Empty { .. })));
        assert!(matches!(new((2, 3), vec![true; 2]), Err(Error::SchemaMismatch { .. })));
        assert!(new((2, 2), vec![true; 3]).is_err());
        let rows = Dataset::from_rows(schema.clone(), vec![0.0; 3], vec![true, false]);
        assert!(matches!(rows, Err(Error::SchemaMismatch { .. })));
        assert!(data([0.0; 4], [true, false]).with_amounts(vec![1.0]).is_err());
        assert!(data([0.0; 4], [true, false]).with_amounts(vec![1.0, f64::NAN]).is_err());
    }

    #[test]
    fn the_fingerprint_sees_every_part_and_every_nan_alike() {
        let base = data([1.0, 2.0, f64::NAN, 4.0], [true, false]);
        let other_nan = f64::from_bits(f64::NAN.to_bits() | 1);
        assert_eq!(
            base.fingerprint(),
            data([1.0, 2.0, other_nan, 4.0], [true, false]).fingerprint()
        );
        assert_ne!(base.fingerprint(), data([1.0, 2.0, 3.0, 4.0], [true, false]).fingerprint());
        assert_ne!(base.fingerprint(), data([1.0, 2.0, f64::NAN, 4.0], [true, true]).fingerprint());
        let timed = base.clone().with_times(vec![Timestamp::default(); 2]).unwrap();
        assert_ne!(base.fingerprint(), timed.fingerprint());
    }

    #[test]
    fn columns_in_fortran_order_are_stored_row_by_row() {
        let by_column = Array2::from_shape_vec((2, 2), vec![1.0, 2.0, 3.0, 4.0]).unwrap();
        let schema = FeatureSchema::new(["a", "b"]).unwrap();
        let data = Dataset::new(schema, by_column.t().to_owned(), vec![true, false]).unwrap();
        assert_eq!(data.row(0), [1.0, 3.0]);
    }

    #[test]
    fn chosen_columns_come_in_the_order_asked_for_and_keep_everything_else() {
        let data = data([1.0, 2.0, 3.0, 4.0], [true, false])
            .with_times(vec![Timestamp::default(); 2])
            .and_then(|data| data.with_entities(vec![EntityKey(7), EntityKey(8)]))
            .and_then(|data| data.with_amounts(vec![5.0, 6.0]))
            .unwrap();
        let turned = data.select_columns(&[1, 0]).unwrap();
        assert_eq!(
            (turned.schema().names(), turned.row(1)),
            (&["b", "a"].map(String::from)[..], &[4.0, 3.0][..])
        );
        assert_eq!(turned.select_columns(&[1, 0]).unwrap(), data);
        assert_eq!(data.select_columns(&[1]).unwrap().rows(), [2.0, 4.0]);
        assert!(matches!(data.select_columns(&[2]), Err(Error::InvalidInput { .. })));
        assert!(matches!(data.select_columns(&[]), Err(Error::InvalidConfig { .. })));
        assert!(matches!(data.select_columns(&[0, 0]), Err(Error::InvalidConfig { .. })));
    }

    #[test]
    fn the_missing_value_is_named() {
        let error = data([1.0, 2.0, 3.0, f64::INFINITY], [true, false]).check_finite("x");
        assert!(error.unwrap_err().to_string().contains("row 1, column b is inf"));
    }

    #[test]
    fn chosen_rows_bring_everything_that_belongs_to_them() {
        let data = data([1.0, 2.0, 3.0, 4.0], [true, false])
            .with_times([5, 6].map(Timestamp::from_micros).to_vec())
            .and_then(|data| data.with_entities(vec![EntityKey(7), EntityKey(8)]))
            .and_then(|data| data.with_amounts(vec![9.0, 10.0]))
            .and_then(|data| data.with_weights(vec![0.0, 11.0]))
            .unwrap();
        let picked = data.select_rows(&[1, 0, 1]).unwrap();
        assert_eq!(picked.rows(), [3.0, 4.0, 1.0, 2.0, 3.0, 4.0]);
        assert_eq!(picked.labels(), [false, true, false]);
        assert_eq!(picked.times().unwrap()[1], Timestamp::from_micros(5));
        assert_eq!(picked.entities().unwrap()[0], EntityKey(8));
        assert_eq!(picked.amounts().unwrap(), [10.0, 9.0, 10.0]);
        assert_eq!(picked.weights().unwrap(), [11.0, 0.0, 11.0]);
        assert_eq!(picked.select_rows(&[1, 0]).unwrap(), data);
        assert!(matches!(data.select_rows(&[2]), Err(Error::InvalidInput { .. })));
        assert!(matches!(data.select_rows(&[]), Err(Error::Empty { .. })));
        assert!(data.select_rows(&[0]).unwrap_err().to_string().contains("all are 0"));
    }

    #[test]
    fn weights_are_finite_not_negative_and_not_all_zero() {
        let base = data([0.0; 4], [true, false]);
        for unsound in [vec![1.0], vec![1.0, -1.0], vec![f64::NAN, 1.0], vec![0.0; 2]] {
            assert!(matches!(base.clone().with_weights(unsound), Err(Error::InvalidInput { .. })));
        }
        let weighted = base.clone().with_weights(vec![0.0, 2.0]).unwrap();
        assert_ne!(weighted.fingerprint(), base.fingerprint());
    }

    #[test]
    fn values_that_are_no_value_of_their_kind_are_refused() {
        let categories = crate::Categories::new(["a", "b"]).unwrap();
        let schema = FeatureSchema::with_kinds([
            ("flag", crate::FeatureKind::Boolean),
            ("letter", crate::FeatureKind::Categorical(categories)),
        ])
        .unwrap();
        let new = |flag: f64, letter: f64| {
            let features = ndarray::array![[0.0, 1.0], [flag, letter]];
            Dataset::new(schema.clone(), features, vec![true, false])
        };
        assert!(new(1.0, f64::NAN).is_ok() && new(f64::NAN, 0.0).is_ok());
        let error = new(1.0, 2.0).unwrap_err().to_string();
        assert!(error.contains("row 1, column letter: 2"), "{error}");
        assert!(new(0.5, 0.0).is_err());
    }
}
