//! Rows with the numbers that a model must give them.

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::Model;

/// Rows and the number that a model gave each, when it was made or where it comes from: scores in an
/// [`Artifact`](crate::registry::Artifact), margins in a [`TreeEnsemble`](crate::model::TreeEnsemble) from another library.
/// Whatever carries them is checked against them, bit for bit, whenever it is loaded.
///
/// Values are kept as bits: any NaN, infinity or signed zero is what it was.
#[derive(Debug, Clone)]
pub struct GoldenRows {
    rows: Vec<f64>,
    expected: Vec<f64>,
}

/// Rows taken from the data as they are; as many again with one value missing.
const DATA_ROWS: usize = 16;
/// Values on which a score may jump; each gives a row on it and a row next to it.
const EDGES: usize = 16;

impl GoldenRows {
    /// Rows laid one after the other, one expected number each.
    ///
    /// # Errors
    /// `InvalidInput` unless there is at least one row and the values divide evenly among the numbers.
    pub fn new(rows: Vec<f64>, expected: Vec<f64>) -> Result<Self> {
        if expected.is_empty() || rows.is_empty() || !rows.len().is_multiple_of(expected.len()) {
            let reason = format!("{} values for {} rows", rows.len(), expected.len());
            return Err(Error::input("golden rows", reason));
        }
        Ok(GoldenRows { rows, expected })
    }

    /// 37 to 69 rows that show whether a model scores as it did, with the scores that it gives them now: rows spread over
    /// the data, the same with one column missing each in turn, all missing, every column at its least, at its greatest, at zero, at
    /// both infinities, and rows on and just above values where the score [may jump](Model::edges).
    ///
    /// # Errors
    /// `SchemaMismatch` naming the first column that differs; what the model returns.
    pub fn of(model: &dyn Model, data: &Dataset) -> Result<Self> {
        model.schema().check(data.schema())?;
        let width = data.schema().n_features();
        let source = |i: usize| data.row(i * data.n_rows() / DATA_ROWS);
        let mut rows: Vec<f64> = (0..DATA_ROWS).flat_map(source).copied().collect();
        for i in 0..DATA_ROWS {
            rows.extend(source(i));
            let start = rows.len() - width;
            rows[start + i % width] = f64::NAN;
        }
        let columns = data.features();
        let fold = |pick: fn(f64, f64) -> f64| {
            columns.columns().into_iter().map(move |of| of.iter().copied().fold(f64::NAN, pick))
        };
        rows.extend(fold(f64::min));
        rows.extend(fold(f64::max));
        for value in [f64::NAN, 0.0, f64::INFINITY, f64::NEG_INFINITY] {
            rows.extend(std::iter::repeat_n(value, width));
        }
        let edges = model.edges();
        let n_edges = edges.len().min(EDGES);
        for i in 0..n_edges {
            let (column, edge) = edges[i * edges.len() / n_edges];
            for value in [edge, edge.next_up()] {
                rows.extend(source(i % DATA_ROWS));
                let start = rows.len() - width;
                rows[start + column] = value;
            }
        }
        let mut expected = vec![f64::NAN; rows.len() / width];
        model.score(&rows, &mut expected)?;
        GoldenRows::new(rows, expected)
    }

    /// The rows, one after the other.
    pub fn rows(&self) -> &[f64] {
        &self.rows
    }

    /// The number that each row must get.
    pub fn expected(&self) -> &[f64] {
        &self.expected
    }

    /// Checks what `compute` gives the rows. A NaN is as good as any other: which one comes out is up to the processor.
    ///
    /// # Errors
    /// Those of `compute`; `InvalidInput` naming the first row that gets another number than it must.
    pub(crate) fn check(
        &self,
        compute: impl FnOnce(&[f64], &mut [f64]) -> Result<()>,
    ) -> Result<()> {
        let mut given = vec![f64::NAN; self.expected.len()];
        compute(&self.rows, &mut given)?;
        let differ = |(must, gets): (&f64, &f64)| {
            must.to_bits() != gets.to_bits() && !(must.is_nan() && gets.is_nan())
        };
        match self.expected.iter().zip(&given).position(differ) {
            None => Ok(()),
            Some(row) => {
                let (must, gets) = (self.expected[row], given[row]);
                let reason = format!(
                    "row {row} must get {must:?} ({:016x}) and gets {gets:?} ({:016x})",
                    must.to_bits(),
                    gets.to_bits()
                );
                Err(Error::input("golden rows", reason))
            }
        }
    }
}

impl PartialEq for GoldenRows {
    fn eq(&self, other: &Self) -> bool {
        let same = |a: &[f64], b: &[f64]| {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.to_bits() == b.to_bits())
        };
        same(&self.rows, &other.rows) && same(&self.expected, &other.expected)
    }
}

#[cfg(feature = "import")]
mod json {
    use serde::Deserialize;

    use super::GoldenRows;
    use crate::error::{Error, Result};

    /// Values as the 16 hexadecimal digits of their bits, since JSON has neither NaN nor infinities.
    #[derive(Deserialize)]
    #[serde(deny_unknown_fields)]
    pub(in crate::model) struct GoldenJson {
        /// A row each, its values' digits one after the other.
        rows: Vec<String>,
        margins: Vec<String>,
    }

    impl GoldenJson {
        pub(in crate::model) fn rows(&self) -> Result<GoldenRows> {
            let mut rows = Vec::new();
            let mut width = None;
            for row in &self.rows {
                let before = rows.len();
                values(row, &mut rows)?;
                if *width.get_or_insert(rows.len() - before) != rows.len() - before {
                    return Err(Error::corrupt("golden rows", "rows differ in width"));
                }
            }
            let mut margins = Vec::new();
            self.margins.iter().try_for_each(|margin| values(margin, &mut margins))?;
            if margins.len() != self.rows.len() {
                let reason = format!("{} rows, {} margins", self.rows.len(), margins.len());
                return Err(Error::corrupt("golden rows", reason));
            }
            GoldenRows::new(rows, margins)
        }
    }

    fn values(digits: &str, values: &mut Vec<f64>) -> Result<()> {
        for value in digits.as_bytes().chunks(16) {
            let sound = value.len() == 16 && value.iter().all(u8::is_ascii_hexdigit);
            let text = std::str::from_utf8(value).ok().filter(|_| sound);
            let bits =
                text.and_then(|text| u64::from_str_radix(text, 16).ok()).ok_or_else(|| {
                    let value = String::from_utf8_lossy(value);
                    Error::corrupt("golden rows", format!("{value:?} is not 16 hexadecimal digits"))
                })?;
            values.push(f64::from_bits(bits));
        }
        Ok(())
    }

    impl GoldenRows {
        /// Golden rows from what `golden_rows` of the [exporter](crate::model::SCIKIT_LEARN_EXPORTER) writes:
        /// `{"rows": [...], "margins": [...]}`, each value as the 16 hexadecimal digits of its bits.
        ///
        /// # Errors
        /// `Corrupt` for anything else; `InvalidInput` without a row.
        pub fn from_json(bytes: &[u8]) -> Result<Self> {
            let json: GoldenJson = serde_json::from_slice(bytes)
                .map_err(|e| Error::corrupt("golden rows", e.to_string()))?;
            json.rows()
        }
    }
}

#[cfg(feature = "import")]
pub(super) use json::GoldenJson;

#[cfg(test)]
mod tests {
    use ndarray::Array2;

    use super::*;
    use crate::model::{Output, Question, Split, Tree, TreeEnsemble, TreeNode};
    use crate::schema::FeatureSchema;

    #[test]
    fn the_row_and_both_numbers_are_named() {
        let golden = GoldenRows::new(vec![f64::NAN, 1.0], vec![0.5, -0.0]).unwrap();
        assert_eq!(golden, golden.clone());
        let check = |given: [f64; 2]| {
            golden.check(|_, out| {
                out.copy_from_slice(&given);
                Ok(())
            })
        };
        assert!(check([0.5, -0.0]).is_ok());
        let error = check([0.5, 0.0]).unwrap_err().to_string();
        assert!(
            error.contains("row 1 must get -0.0 (8000000000000000) and gets 0.0 (000"),
            "{error}"
        );
        assert!(GoldenRows::new(vec![1.0; 3], vec![1.0; 2]).is_err());
        assert!(GoldenRows::new(vec![], vec![]).is_err());
        assert!(GoldenRows::new(vec![], vec![1.0]).is_err());
    }

    #[test]
    fn rows_of_a_model_reach_its_edges_and_extremes() {
        let schema = FeatureSchema::new(["a", "b"]).unwrap();
        let split = Split {
            feature: 1,
            question: Question::AtMost(2.5),
            missing_left: true,
            also_missing: None,
            left: 1,
            right: 2,
        };
        let root = TreeNode { split: Some(Box::new(split)), value: 0.0, cover: 2.0, gain: 1.0 };
        let tree = Tree::new(vec![root, TreeNode::leaf(0.1, 1.0), TreeNode::leaf(0.9, 1.0)]);
        let model = TreeEnsemble::new(schema.clone(), vec![tree.unwrap()], Output::SHARES).unwrap();
        let features = Array2::from_shape_vec((1, 2), vec![7.0, f64::NAN]).unwrap();
        let data = Dataset::new(schema, features, vec![true]).unwrap();
        let golden = GoldenRows::of(&model, &data).unwrap();
        assert_eq!(golden.expected().len(), 16 + 16 + 6 + 2);
        let rows: Vec<&[f64]> = golden.rows().chunks(2).collect();
        assert_eq!((rows[38], golden.expected()[38]), (&[7.0, 2.5][..], 0.1));
        assert_eq!((rows[39], golden.expected()[39]), (&[7.0, 2.5_f64.next_up()][..], 0.9));
        assert!(rows.iter().any(|row| row.iter().all(|value| value.is_nan())));
        golden.check(|rows, scores| model.score(rows, scores)).unwrap();
    }

    #[cfg(feature = "import")]
    #[test]
    fn json_keeps_bits_and_damage_is_refused() {
        let text =
            br#"{"rows": ["7ff80000000000003ff0000000000000"], "margins": ["bff0000000000000"]}"#;
        let golden = GoldenRows::from_json(text).unwrap();
        assert_eq!(golden, GoldenRows::new(vec![f64::NAN, 1.0], vec![-1.0]).unwrap());
        for damaged in [
            r#"{"rows": ["7ff8"], "margins": ["bff0000000000000"]}"#,
            r#"{"rows": ["+ff8000000000000"], "margins": ["bff0000000000000"]}"#,
            r#"{"rows": ["7ff8000000000000", ""], "margins": ["bff0000000000000", "bff0000000000000"]}"#,
            r#"{"rows": ["7ff8000000000000"], "margins": ["bff0000000000000bff0000000000000"]}"#,
            r#"{"rows": [], "margins": []}"#,
            "{}",
        ] {
            assert!(GoldenRows::from_json(damaged.as_bytes()).is_err(), "{damaged}");
        }
    }
}
