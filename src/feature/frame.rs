//! Features of many events, column by column.

use crate::schema::FeatureSchema;

/// The feature vectors of a list of events: one row per event in the order they were given, one column per feature.
/// Missing values are NaN. 8 bytes a value.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureFrame {
    schema: FeatureSchema,
    n_rows: usize,
    columns: Vec<Vec<f64>>,
}

impl FeatureFrame {
    pub(super) fn new(schema: FeatureSchema, n_rows: usize, columns: Vec<Vec<f64>>) -> Self {
        debug_assert!(columns.len() == schema.n_features());
        debug_assert!(columns.iter().all(|column| column.len() == n_rows));
        FeatureFrame { schema, n_rows, columns }
    }

    /// The columns' names.
    pub fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    /// Number of events.
    pub fn n_rows(&self) -> usize {
        self.n_rows
    }

    /// One feature for all events.
    ///
    /// # Panics
    /// If there is no such column.
    pub fn column(&self, column: usize) -> &[f64] {
        &self.columns[column]
    }

    /// Copies the features of one event.
    ///
    /// # Panics
    /// If there is no such row, or `out` does not have one place per feature.
    pub fn copy_row(&self, row: usize, out: &mut [f64]) {
        assert_eq!(out.len(), self.columns.len(), "one place per feature");
        out.iter_mut().zip(&self.columns).for_each(|(value, column)| *value = column[row]);
    }
}
