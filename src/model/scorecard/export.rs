//! A scorecard for other systems: SQL, and with feature `json` JSON.

use std::fmt::Write as _;

use crate::model::binning::{UnseenCategory, WoeBins};
use crate::model::scorecard::{Characteristic, Scorecard};
use crate::schema::{Categories, FeatureKind};

impl Scorecard {
    /// One SQL expression (ANSI) that gives a row's points: columns are named as the features, categories are their text,
    /// a missing value is NULL. Text that is no category of the schema counts as missing, as it does here.
    pub fn to_sql(&self) -> String {
        let mut sql = self.base_points.to_string();
        for of in &self.characteristics {
            let kind = &self.schema.kinds()[of.column as usize];
            let column = format!("\"{}\"", of.binning.feature().replace('"', "\"\""));
            let _ = write!(sql, "\n+ CASE");
            for (condition, points) in of.sql_cases(&column, kind) {
                let _ = write!(sql, "\n    WHEN {condition} THEN {points}");
            }
            let _ = write!(sql, "\n    ELSE {}\n  END", of.sql_otherwise());
        }
        sql
    }

    /// The scorecard in JSON: scaling, base points, and every bin of every characteristic with its label, limits or
    /// categories, counts, weight of evidence and points. Numbers are written so that they read back to the same bits.
    #[cfg(feature = "json")]
    pub fn to_json(&self) -> String {
        use serde_json::{Value, json};
        let characteristic = |of: &Characteristic| {
            let (binning, kind) = (&of.binning, &self.schema.kinds()[of.column as usize]);
            let bin = |i: usize| -> Value {
                let facts = binning.bins()[i];
                let mut bin = json!({
                    "label": binning.label(i, kind),
                    "bad": facts.bad,
                    "good": facts.good,
                    "woe": facts.weight_of_evidence,
                    "points": of.points[i],
                });
                match binning.edges() {
                    _ if i >= binning.n_regular() => {}
                    Some(edges) => {
                        bin["from"] = json!(i.checked_sub(1).map(|below| edges[below]));
                        bin["to"] = json!(edges.get(i));
                    }
                    None => bin["categories"] = json!(binning.categories_of(i, kind)),
                }
                bin
            };
            json!({
                "feature": binning.feature(),
                "coefficient": of.coefficient,
                "information_value": binning.information_value(),
                "trend": binning.trend().to_string(),
                "orientation": binning.orientation(),
                "empty_cells": binning.empty_cells(),
                "unseen_category": binning.unseen(),
                "special_codes": binning.special(),
                "bins": (0..binning.bins().len()).map(bin).collect::<Vec<Value>>(),
            })
        };
        let card = json!({
            "format": "riskcycle scorecard 1",
            "interval": "[from, to)",
            "scaling": self.scaling,
            "base_points": self.base_points,
            "characteristics":
                self.characteristics.iter().map(characteristic).collect::<Vec<Value>>(),
        });
        serde_json::to_string_pretty(&card).expect("text, finite numbers and lists always encode")
    }
}

impl Characteristic {
    /// (condition, points) in the order in which they are asked; what none of them holds for is missing or the last bin.
    fn sql_cases(&self, column: &str, kind: &FeatureKind) -> Vec<(String, i64)> {
        let binning: &WoeBins = &self.binning;
        let regular = binning.n_regular();
        let mut cases = Vec::new();
        match binning.edges() {
            Some(edges) => {
                cases.push((
                    format!("{column} IS NULL"),
                    self.points[regular + binning.special().len()],
                ));
                for (i, code) in binning.special().iter().enumerate() {
                    cases.push((format!("{column} = {code}"), self.points[regular + i]));
                }
                for (edge, points) in edges.iter().zip(&self.points) {
                    cases.push((format!("{column} < {edge}"), *points));
                }
            }
            None => {
                let text = |name: &&str| format!("'{}'", name.replace('\'', "''"));
                let list = |names: Vec<&str>| names.iter().map(text).collect::<Vec<_>>().join(", ");
                for bin in 0..regular {
                    let names = binning.categories_of(bin, kind);
                    if !names.is_empty() {
                        cases.push((format!("{column} IN ({})", list(names)), self.points[bin]));
                    }
                }
                // Categories that had no training row; as missing they need no case of their own.
                let known = kind.categories().into_iter().flat_map(Categories::names);
                let unseen: Vec<&str> = known
                    .enumerate()
                    .filter(|(code, _)| binning.index(*code as f64) == regular + 1)
                    .map(|(_, name)| name)
                    .collect();
                if binning.unseen() == UnseenCategory::Neutral && !unseen.is_empty() {
                    cases.push((
                        format!("{column} IN ({})", list(unseen)),
                        self.points[regular + 1],
                    ));
                }
            }
        }
        cases
    }

    /// The last numeric bin, or missing for categories.
    fn sql_otherwise(&self) -> i64 {
        let regular = self.binning.n_regular();
        match self.binning.edges() {
            Some(_) => self.points[regular - 1],
            None => self.points[regular],
        }
    }
}
