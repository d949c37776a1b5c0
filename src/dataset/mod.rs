//! Stage 3, dataset. Takes features and labels; gives a [`Dataset`] to train and evaluate on, and its splits in time.

mod split;

pub use split::{SplitRows, TimeSplit};

use ndarray::{Array2, ArrayView2, Axis};

use crate::error::{Error, Result};
use crate::event::EventSchema;
use crate::feature::FeatureFrame;
use crate::ids::{Digest, DigestWriter, EntityKey};
use crate::schema::FeatureSchema;
use crate::time::Timestamp;

/// Rows of features with their labels, and, where they are known, each row's time, entity and amount.
///
/// Features are `f64`, NaN is missing; a label is `true` for bad (fraud, default).
#[derive(Debug, Clone, PartialEq)]
pub struct Dataset {
    schema: FeatureSchema,
    /// n_rows × n_features, row after row without gaps.
    features: Array2<f64>,
    labels: Vec<bool>,
    times: Option<Vec<Timestamp>>,
    entities: Option<Vec<EntityKey>>,
    amounts: Option<Vec<f64>>,
}

impl Dataset {
    /// A data set from a matrix (n_rows × n_features) and one label per row.
    ///
    /// # Errors
    /// `Empty` without rows; `SchemaMismatch` if the matrix does not have the schema's columns; `InvalidInput` if labels
    /// and rows differ in number.
    pub fn new(schema: FeatureSchema, features: Array2<f64>, labels: Vec<bool>) -> Result<Self> {
        if features.nrows() == 0 {
            return Err(Error::Empty { what: "data set".into() });
        }
        schema.check_rows(features.len(), features.nrows())?;
        same_length("labels", labels.len(), features.nrows())?;
        let features = features.as_standard_layout().into_owned();
        Ok(Dataset { schema, features, labels, times: None, entities: None, amounts: None })
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

    /// A copy with these columns only, in this order; labels, times, entities and amounts stay.
    ///
    /// # Errors
    /// `InvalidInput` for a column past the end; `InvalidConfig` for none at all or one twice.
    pub fn select_columns(&self, columns: &[usize]) -> Result<Self> {
        let n_features = self.schema.n_features();
        if let Some(column) = columns.iter().find(|&&column| column >= n_features) {
            return Err(Error::input("columns", format!("column {column} of {n_features}")));
        }
        let schema = FeatureSchema::new(columns.iter().map(|&c| self.schema.names()[c].clone()))?;
        let features = self.features.select(Axis(1), columns).as_standard_layout().into_owned();
        Ok(Dataset {
            schema,
            features,
            labels: self.labels.clone(),
            times: self.times.clone(),
            entities: self.entities.clone(),
            amounts: self.amounts.clone(),
        })
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

    /// SHA-256 over columns, values, labels, times, entities and amounts.
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
        digest.finish()
    }
}

fn same_length(what: &'static str, found: usize, expected: usize) -> Result<()> {
    if found == expected {
        return Ok(());
    }
    Err(Error::input(what, format!("{found} for {expected} rows")))
}

#[cfg(feature = "linfa")]
impl From<&Dataset> for linfa::Dataset<f64, bool, ndarray::Ix1> {
    /// A copy for linfa's own algorithms: records are the features, targets the labels.
    fn from(data: &Dataset) -> Self {
        let labels = ndarray::Array1::from(data.labels.clone());
        linfa::Dataset::new(data.features.clone(), labels)
            .with_feature_names(data.schema.names().to_vec())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(values: [f64; 4], labels: [bool; 2]) -> Dataset {
        let features = Array2::from_shape_vec((2, 2), values.to_vec()).unwrap();
        Dataset::new(FeatureSchema::new(["a", "b"]).unwrap(), features, labels.to_vec()).unwrap()
    }

    #[test]
    fn shapes_that_do_not_fit_are_refused() {
        let schema = FeatureSchema::new(["a", "b"]).unwrap();
        let new = |shape, labels| Dataset::new(schema.clone(), Array2::zeros(shape), labels);
        assert!(matches!(new((0, 2), vec![]), Err(Error::Empty { .. })));
        assert!(matches!(new((2, 3), vec![true; 2]), Err(Error::SchemaMismatch { .. })));
        assert!(new((2, 2), vec![true; 3]).is_err());
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
}
