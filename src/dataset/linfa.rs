//! To and from linfa's data sets.

use linfa::dataset::{AsSingleTargets, DatasetBase};
use ndarray::{Array1, ArrayBase, Data, Ix1, Ix2};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::schema::FeatureSchema;

impl From<&Dataset> for linfa::Dataset<f64, bool, Ix1> {
    /// A copy for linfa's own algorithms: records are the features, targets the labels, weights in single precision.
    fn from(data: &Dataset) -> Self {
        let labels = Array1::from(data.labels.clone());
        let copy = linfa::Dataset::new(data.features.clone(), labels)
            .with_feature_names(data.schema.names().to_vec());
        match data.weights() {
            Some(weights) => copy.with_weights(weights.iter().map(|w| *w as f32).collect()),
            None => copy,
        }
    }
}

impl<D, T> TryFrom<&DatasetBase<ArrayBase<D, Ix2>, T>> for Dataset
where
    D: Data<Elem = f64>,
    T: AsSingleTargets<Elem = bool>,
{
    type Error = Error;

    /// A copy of linfa's, owned or a view: targets are the labels, `true` for bad; all features are numeric. Without
    /// names they are f0, f1, …
    fn try_from(data: &DatasetBase<ArrayBase<D, Ix2>, T>) -> Result<Self> {
        let schema = match data.feature_names() {
            [] => FeatureSchema::new((0..data.records.ncols()).map(|i| format!("f{i}")))?,
            names => FeatureSchema::new(names)?,
        };
        let labels = data.targets.as_single_targets().to_vec();
        let copy = Dataset::new(schema, data.records.to_owned(), labels)?;
        match data.weights() {
            Some(weights) => copy.with_weights(weights.iter().map(|w| f64::from(*w)).collect()),
            None => Ok(copy),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_data_set_goes_to_linfa_and_back() {
        let schema = FeatureSchema::new(["a", "b"]).unwrap();
        let ours = Dataset::from_rows(schema, vec![1.0, 2.0, 3.0, 4.0], vec![true, false])
            .and_then(|data| data.with_weights(vec![1.0, 0.5]))
            .unwrap();
        let theirs: linfa::Dataset<f64, bool, Ix1> = (&ours).into();
        assert_eq!(Dataset::try_from(&theirs).unwrap(), ours);
        let unnamed = linfa::Dataset::new(theirs.records.clone(), theirs.targets.clone());
        assert_eq!(Dataset::try_from(&unnamed.view()).unwrap().schema().names(), ["f0", "f1"]);
    }
}
