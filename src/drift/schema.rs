//! Columns that came, went or moved.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::schema::FeatureSchema;

/// One difference between the columns a model was built on and those that arrive.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SchemaChange {
    /// A column no longer arrives.
    Missing {
        /// Its name.
        feature: String,
    },
    /// A column arrives that was not there.
    Unexpected {
        /// Its name.
        feature: String,
    },
    /// A column arrives in another place: read by position, it would be taken for another one.
    Moved {
        /// Its name.
        feature: String,
        /// Where it was.
        from: usize,
        /// Where it is.
        to: usize,
    },
}

/// Every difference between a reference's columns and those that arrive, in the reference's order, new ones last. Empty for
/// the same schema. What the values say about their columns (missing, unseen, out of range) is in
/// [`ColumnDrift`](super::ColumnDrift).
pub fn schema_drift(reference: &FeatureSchema, live: &FeatureSchema) -> Vec<SchemaChange> {
    let gone_or_moved = reference.names().iter().enumerate().filter_map(|(from, name)| {
        let feature = name.clone();
        match live.position(name) {
            Some(to) if to == from => None,
            Some(to) => Some(SchemaChange::Moved { feature, from, to }),
            None => Some(SchemaChange::Missing { feature }),
        }
    });
    let new = live.names().iter().filter(|name| reference.position(name).is_none());
    let new = new.map(|name| SchemaChange::Unexpected { feature: name.clone() });
    gone_or_moved.chain(new).collect()
}

impl fmt::Display for SchemaChange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SchemaChange::Missing { feature } => write!(f, "{feature} no longer arrives"),
            SchemaChange::Unexpected { feature } => write!(f, "{feature} is new"),
            SchemaChange::Moved { feature, from, to } => {
                write!(f, "{feature} moved from column {from} to column {to}")
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_difference_is_named() {
        let schema = |names: &[&str]| FeatureSchema::new(names.iter().copied()).unwrap();
        let reference = schema(&["amount", "night", "age"]);
        let changes = schema_drift(&reference, &schema(&["night", "amount", "country"]));
        let texts: Vec<String> = changes.iter().map(ToString::to_string).collect();
        assert_eq!(
            texts,
            [
                "amount moved from column 0 to column 1",
                "night moved from column 1 to column 0",
                "age no longer arrives",
                "country is new",
            ]
        );
        assert!(schema_drift(&reference, &reference).is_empty());
    }
}
