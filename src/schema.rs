//! The columns of a feature vector: names in order, and a fingerprint that travels with whatever was built on them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::ids::{Digest, DigestWriter};

/// Names of the features in the order in which every row holds them. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct FeatureSchema {
    names: Arc<[String]>,
}

impl FeatureSchema {
    /// # Errors
    /// `InvalidConfig` if there is no name, an empty one, or one twice.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Self> {
        let names: Vec<String> = names.into_iter().map(Into::into).collect();
        if names.is_empty() {
            return Err(Error::config("feature schema", "needs at least one feature"));
        }
        let mut sorted: Vec<&str> = names.iter().map(String::as_str).collect();
        sorted.sort_unstable();
        if sorted[0].is_empty() {
            return Err(Error::config("feature schema", "has a feature without a name"));
        }
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::config("feature schema", format!("has {} twice", pair[0])));
        }
        Ok(FeatureSchema { names: names.into() })
    }

    /// Number of features.
    pub fn n_features(&self) -> usize {
        self.names.len()
    }

    /// The names in row order.
    pub fn names(&self) -> &[String] {
        &self.names
    }

    /// Position of a feature.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.names.iter().position(|other| other == name)
    }

    /// SHA-256 over the names in order.
    pub fn fingerprint(&self) -> Digest {
        let mut digest = DigestWriter::default();
        digest.bytes(b"riskcycle feature schema 1");
        self.names.iter().for_each(|name| {
            digest.bytes(name.as_bytes());
        });
        digest.finish()
    }

    /// # Errors
    /// `SchemaMismatch` naming the first column that differs, if `found` is not this schema.
    pub fn check(&self, found: &FeatureSchema) -> Result<()> {
        for (i, expected) in self.names.iter().enumerate() {
            let reason = match found.names.get(i) {
                Some(name) if name == expected => continue,
                Some(name) => format!("column {i} should be {expected} and is {name}"),
                None => format!("column {i}, {expected}, is missing"),
            };
            return Err(Error::SchemaMismatch { reason });
        }
        match found.names.get(self.names.len()) {
            None => Ok(()),
            Some(extra) => {
                Err(Error::SchemaMismatch { reason: format!("column {extra} is not expected") })
            }
        }
    }

    /// # Errors
    /// `SchemaMismatch` if a flat block of values is not a whole number of rows, `n_rows` of them.
    pub fn check_rows(&self, n_values: usize, n_rows: usize) -> Result<()> {
        if n_rows.checked_mul(self.n_features()) == Some(n_values) {
            return Ok(());
        }
        let n_features = self.n_features();
        Err(Error::SchemaMismatch {
            reason: format!("{n_values} values are not {n_rows} rows of {n_features} features"),
        })
    }
}

impl TryFrom<Vec<String>> for FeatureSchema {
    type Error = Error;

    fn try_from(names: Vec<String>) -> Result<Self> {
        FeatureSchema::new(names)
    }
}

impl From<FeatureSchema> for Vec<String> {
    fn from(schema: FeatureSchema) -> Self {
        schema.names.to_vec()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_difference_is_named() {
        let schema = FeatureSchema::new(["amount", "night"]).unwrap();
        let reason = |names: &[&str]| {
            let found = FeatureSchema::new(names.iter().copied()).unwrap();
            schema.check(&found).unwrap_err().to_string()
        };
        assert!(reason(&["night", "amount"]).ends_with("column 0 should be amount and is night"));
        assert!(reason(&["amount"]).ends_with("column 1, night, is missing"));
        assert!(reason(&["amount", "night", "x"]).ends_with("column x is not expected"));
        assert!(schema.check(&schema.clone()).is_ok());
    }

    #[test]
    fn order_changes_the_fingerprint_and_bad_names_are_refused() {
        let ab = FeatureSchema::new(["a", "b"]).unwrap();
        assert_ne!(ab.fingerprint(), FeatureSchema::new(["b", "a"]).unwrap().fingerprint());
        assert!(FeatureSchema::new(["a", "a"]).is_err());
        assert!(FeatureSchema::new(["a", ""]).is_err());
        assert!(FeatureSchema::new(Vec::<String>::new()).is_err());
    }
}
