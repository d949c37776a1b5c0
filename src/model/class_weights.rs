//! What the rows of each label count.

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};

/// What the rows of each label count, on top of their own weights. Anything but equal weights moves the scores away from
/// probabilities.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ClassWeights {
    /// 1 for both.
    #[default]
    Equal,
    /// Both labels weigh as much together: half the weight of all rows over the weight of the label's.
    Balanced,
    /// As given, finite and above 0.
    Given {
        /// Of a good row.
        good: f64,
        /// Of a bad row.
        bad: f64,
    },
}

impl ClassWeights {
    pub(super) fn check(self, what: &'static str) -> Result<()> {
        match self {
            ClassWeights::Given { good, bad } => {
                let sound = [good, bad].iter().all(|w| w.is_finite() && *w > 0.0);
                let reason = "class weights must be finite and above 0";
                if sound { Ok(()) } else { Err(Error::config(what, reason)) }
            }
            ClassWeights::Equal | ClassWeights::Balanced => Ok(()),
        }
    }

    /// Weight of a good and of a bad row.
    pub(super) fn of(self, data: &Dataset) -> (f64, f64) {
        match self {
            ClassWeights::Equal => (1.0, 1.0),
            ClassWeights::Given { good, bad } => (good, bad),
            ClassWeights::Balanced => {
                let [good, bad] = label_weights(data);
                // A label without weight cannot be balanced.
                let of = |label| if label > 0.0 { (good + bad) / (2.0 * label) } else { 1.0 };
                (of(good), of(bad))
            }
        }
    }

    /// The data set's weights times these; `None` if all are 1.
    pub(super) fn row_weights(self, data: &Dataset) -> Option<Vec<f64>> {
        if data.weights().is_none() && self == ClassWeights::Equal {
            return None;
        }
        let (good, bad) = self.of(data);
        let of_label = data.labels().iter().map(|&is_bad| if is_bad { bad } else { good });
        Some(match data.weights() {
            None => of_label.collect(),
            Some(weights) => of_label.zip(weights).map(|(class, weight)| class * weight).collect(),
        })
    }
}

/// Weight of all good and of all bad rows; their numbers where rows do not weigh.
pub(super) fn label_weights(data: &Dataset) -> [f64; 2] {
    let n_bad = data.n_bad() as f64;
    let Some(weights) = data.weights() else {
        return [data.n_rows() as f64 - n_bad, n_bad];
    };
    let mut sums = [0.0; 2];
    for (&bad, weight) in data.labels().iter().zip(weights) {
        sums[usize::from(bad)] += weight;
    }
    sums
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn balanced_labels_weigh_the_same_together_whatever_their_rows_weigh() {
        let schema = crate::FeatureSchema::new(["x"]).unwrap();
        let labels = vec![true, false, false, false];
        let data = Dataset::new(schema, ndarray::Array2::zeros((4, 1)), labels).unwrap();
        assert_eq!(ClassWeights::Balanced.of(&data), (4.0 / 6.0, 2.0));
        let weighted = data.with_weights(vec![3.0, 1.0, 1.0, 4.0]).unwrap();
        let weights = ClassWeights::Balanced.row_weights(&weighted).unwrap();
        assert_eq!((weights[0], weights[1..].iter().sum::<f64>()), (4.5, 4.5));
        assert!(ClassWeights::Given { good: 0.0, bad: 1.0 }.check("test").is_err());
    }
}
