//! Rows with the margins that a model's origin gave them.

use crate::error::{Error, Result};

/// Rows and the margin of each as another implementation of the same model computed it: the training framework, or this
/// crate at the time of training. A model that carries them is checked against them, bit for bit, whenever it is loaded.
///
/// Values are kept as bits: any NaN, infinity or signed zero is what it was.
#[derive(Debug, Clone)]
pub struct GoldenRows {
    rows: Vec<f64>,
    margins: Vec<f64>,
}

impl GoldenRows {
    /// Rows laid one after the other, one margin each.
    ///
    /// # Errors
    /// `InvalidInput` unless there is at least one row and the values divide evenly among the margins.
    pub fn new(rows: Vec<f64>, margins: Vec<f64>) -> Result<Self> {
        if margins.is_empty() || rows.is_empty() || !rows.len().is_multiple_of(margins.len()) {
            let reason = format!("{} values for {} margins", rows.len(), margins.len());
            return Err(Error::input("golden rows", reason));
        }
        Ok(GoldenRows { rows, margins })
    }

    /// The rows, one after the other.
    pub fn rows(&self) -> &[f64] {
        &self.rows
    }

    /// The margin of each row.
    pub fn margins(&self) -> &[f64] {
        &self.margins
    }

    /// # Errors
    /// `InvalidInput` naming the first row that got another margin than it had.
    pub(crate) fn check(&self, margins: &[f64]) -> Result<()> {
        let mut pairs = self.margins.iter().zip(margins);
        match pairs.position(|(golden, ours)| golden.to_bits() != ours.to_bits()) {
            None => Ok(()),
            Some(row) => {
                let (golden, ours) = (self.margins[row], margins[row]);
                let reason = format!(
                    "row {row} had margin {golden:?} ({:016x}) and gets {ours:?} ({:016x})",
                    golden.to_bits(),
                    ours.to_bits()
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
        same(&self.rows, &other.rows) && same(&self.margins, &other.margins)
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
    pub(in crate::model::tree) struct GoldenJson {
        /// A row each, its values' digits one after the other.
        rows: Vec<String>,
        margins: Vec<String>,
    }

    impl GoldenJson {
        pub(in crate::model::tree) fn rows(&self) -> Result<GoldenRows> {
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
    use super::*;

    #[test]
    fn the_row_and_both_margins_are_named() {
        let golden = GoldenRows::new(vec![f64::NAN, 1.0], vec![0.5, -0.0]).unwrap();
        assert_eq!(golden, golden.clone());
        assert!(golden.check(&[0.5, -0.0]).is_ok());
        let error = golden.check(&[0.5, 0.0]).unwrap_err().to_string();
        assert!(error.contains("row 1 had margin -0.0 (8000000000000000) and gets 0.0 (000"));
        assert!(GoldenRows::new(vec![1.0; 3], vec![1.0; 2]).is_err());
        assert!(GoldenRows::new(vec![], vec![]).is_err());
        assert!(GoldenRows::new(vec![], vec![1.0]).is_err());
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
