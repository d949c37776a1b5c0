//! The columns of a feature vector: names and kinds in order, and a fingerprint that travels with whatever was built on
//! them.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::ids::{Digest, DigestWriter};

/// Names and kinds of the features in the order in which every row holds them. Cheap to clone.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<(String, FeatureKind)>", into = "Vec<(String, FeatureKind)>")]
pub struct FeatureSchema(Arc<Columns>);

#[derive(Debug, PartialEq, Eq)]
struct Columns {
    names: Vec<String>,
    kinds: Vec<FeatureKind>,
}

/// What the numbers of a column mean. A missing value is NaN in every kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum FeatureKind {
    /// Any number.
    #[default]
    Numeric,
    /// 0 or 1.
    Boolean,
    /// The position of a category in its list, as a number.
    Categorical(Categories),
}

/// The categories of a column in a fixed order; a category's code is its position. Cheap to clone.
///
/// A category that is not in the list has the code of a missing value, NaN.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<String>", into = "Vec<String>")]
pub struct Categories(Arc<CategoryNames>);

/// All names in one text: a list of 65,536 strings of some letters would be mostly headers.
#[derive(Debug, PartialEq, Eq)]
struct CategoryNames {
    text: String,
    /// Where each name ends in the text.
    ends: Vec<u32>,
    /// Codes in the order of their names.
    by_name: Vec<u32>,
}

impl CategoryNames {
    fn name(&self, code: usize) -> &str {
        let start = if code == 0 { 0 } else { self.ends[code - 1] as usize };
        &self.text[start..self.ends[code] as usize]
    }
}

impl Categories {
    /// Most categories that a column may have.
    pub const MAX: usize = 65_536;

    /// Categories in the order of their codes. O(n log n).
    ///
    /// # Errors
    /// `InvalidConfig` for none, more than [`MAX`](Self::MAX), one twice, or 4 GiB of text.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Self> {
        let (mut text, mut ends) = (String::new(), Vec::new());
        for name in names {
            text.push_str(&name.into());
            // Too long a text is refused below, whatever its ends say.
            ends.push(u32::try_from(text.len()).unwrap_or(u32::MAX));
        }
        Categories::of(text, ends)
    }

    fn of(text: String, ends: Vec<u32>) -> Result<Self> {
        let refuse = |reason: String| Err(Error::config("categories", reason));
        if ends.is_empty() || ends.len() > Self::MAX {
            return refuse(format!("has {}; 1 to {} are possible", ends.len(), Self::MAX));
        }
        if u32::try_from(text.len()).is_err() {
            return refuse("has 4 GiB of text or more".into());
        }
        let mut by_name: Vec<u32> = (0..ends.len() as u32).collect();
        let mut names = CategoryNames { text, ends, by_name: Vec::new() };
        let name = |code: u32| names.name(code as usize);
        by_name.sort_unstable_by(|&a, &b| name(a).cmp(name(b)));
        if let Some(pair) = by_name.windows(2).find(|pair| name(pair[0]) == name(pair[1])) {
            return refuse(format!("has {:?} twice", name(pair[0])));
        }
        names.by_name = by_name;
        Ok(Categories(Arc::new(names)))
    }

    /// Number of categories.
    #[allow(clippy::len_without_is_empty)] // there is always one
    pub fn len(&self) -> usize {
        self.0.ends.len()
    }

    /// The categories in the order of their codes.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &str> + Clone {
        (0..self.len()).map(|code| self.0.name(code))
    }

    /// The code of a category as a feature value; NaN, missing, for one that is not in the list. O(log n).
    pub fn code(&self, name: &str) -> f64 {
        let by_name = &self.0.by_name;
        let place = by_name.binary_search_by(|&code| self.0.name(code as usize).cmp(name));
        place.map_or(f64::NAN, |place| f64::from(by_name[place]))
    }

    /// The category of a code; `None` for a missing value and for anything that is no code.
    pub fn name(&self, code: f64) -> Option<&str> {
        self.holds(code).then(|| self.0.name(code as usize))
    }

    fn holds(&self, code: f64) -> bool {
        code >= 0.0 && code < self.len() as f64 && code.fract() == 0.0
    }
}

impl FeatureKind {
    /// Whether a column of this kind may hold the value; NaN, missing, is in every kind.
    pub fn holds(&self, value: f64) -> bool {
        value.is_nan()
            || match self {
                FeatureKind::Numeric => true,
                FeatureKind::Boolean => value == 0.0 || value == 1.0,
                FeatureKind::Categorical(categories) => categories.holds(value),
            }
    }

    /// The categories; `None` for the other kinds.
    pub fn categories(&self) -> Option<&Categories> {
        match self {
            FeatureKind::Categorical(categories) => Some(categories),
            _ => None,
        }
    }

    fn tag(&self) -> u8 {
        match self {
            FeatureKind::Numeric => 0,
            FeatureKind::Boolean => 1,
            FeatureKind::Categorical(_) => 2,
        }
    }

    /// A tag byte; behind a categorical one the number of categories, then the length and text of each.
    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.push(self.tag());
        if let FeatureKind::Categorical(categories) = self {
            bytes.extend((categories.len() as u32).to_le_bytes());
            for name in categories.names() {
                bytes.extend((name.len() as u32).to_le_bytes());
                bytes.extend(name.as_bytes());
            }
        }
    }

    /// What [`write`](Self::write) wrote; the bytes may be hostile.
    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        match reader.u8()? {
            0 => Ok(FeatureKind::Numeric),
            1 => Ok(FeatureKind::Boolean),
            2 => {
                let n = reader.u32()? as usize;
                reader.expect(n, 4)?;
                if n > Categories::MAX {
                    return Err(Error::corrupt("feature kind", format!("{n} are too many")));
                }
                let mut ahead = reader.clone();
                let length = (0..n).map(|_| ahead.text().map(str::len)).sum::<Result<usize>>()?;
                // The names with what they share, and an end and a place each.
                reader.charge(length + size_of::<CategoryNames>() + 16 + 8 * n)?;
                let (mut text, mut ends) = (String::with_capacity(length), Vec::with_capacity(n));
                for _ in 0..n {
                    text.push_str(reader.text()?);
                    ends.push(text.len() as u32);
                }
                let categories = Categories::of(text, ends);
                let corrupt = |error: Error| Error::corrupt("feature kind", error.to_string());
                Ok(FeatureKind::Categorical(categories.map_err(corrupt)?))
            }
            tag => Err(Error::corrupt("feature kind", format!("no kind has tag {tag}"))),
        }
    }

    pub(crate) fn describe(&self) -> String {
        match self {
            FeatureKind::Numeric => "numeric".into(),
            FeatureKind::Boolean => "boolean".into(),
            FeatureKind::Categorical(categories) => {
                let shown: Vec<&str> = categories.names().take(5).collect();
                let more = if categories.len() > shown.len() { ", …" } else { "" };
                let (n, list) = (categories.len(), shown.join(", "));
                format!("categorical with {n} categories ({list}{more})")
            }
        }
    }
}

impl FeatureSchema {
    /// Numeric features.
    ///
    /// # Errors
    /// `InvalidConfig` if there is no name, an empty one, or one twice.
    pub fn new<S: Into<String>>(names: impl IntoIterator<Item = S>) -> Result<Self> {
        Self::with_kinds(names.into_iter().map(|name| (name, FeatureKind::Numeric)))
    }

    /// Features of any kind.
    ///
    /// # Errors
    /// `InvalidConfig` if there is no name, an empty one, or one twice.
    pub fn with_kinds<S: Into<String>>(
        features: impl IntoIterator<Item = (S, FeatureKind)>,
    ) -> Result<Self> {
        let (names, kinds) = features.into_iter().map(|(name, kind)| (name.into(), kind)).unzip();
        Self::of(names, kinds)
    }

    /// As many kinds as names.
    ///
    /// # Errors
    /// As [`with_kinds`](Self::with_kinds).
    pub(crate) fn of(names: Vec<String>, kinds: Vec<FeatureKind>) -> Result<Self> {
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
        Ok(FeatureSchema(Arc::new(Columns { names, kinds })))
    }

    /// Number of features.
    pub fn n_features(&self) -> usize {
        self.0.names.len()
    }

    /// The names in row order.
    pub fn names(&self) -> &[String] {
        &self.0.names
    }

    /// The kinds in row order.
    pub fn kinds(&self) -> &[FeatureKind] {
        &self.0.kinds
    }

    /// Position of a feature.
    pub fn position(&self, name: &str) -> Option<usize> {
        self.0.names.iter().position(|other| other == name)
    }

    /// These features only, in this order.
    ///
    /// # Errors
    /// `InvalidInput` for a column past the end; `InvalidConfig` for none at all or one twice.
    pub fn select(&self, columns: &[usize]) -> Result<Self> {
        let n_features = self.n_features();
        if let Some(column) = columns.iter().find(|&&column| column >= n_features) {
            return Err(Error::input("columns", format!("column {column} of {n_features}")));
        }
        Self::with_kinds(
            columns.iter().map(|&c| (self.0.names[c].clone(), self.0.kinds[c].clone())),
        )
    }

    pub(crate) fn all_numeric(&self) -> bool {
        self.0.kinds.iter().all(|kind| *kind == FeatureKind::Numeric)
    }

    /// SHA-256 over the names in order, and the kinds where one of them is not numeric.
    pub fn fingerprint(&self) -> Digest {
        let mut digest = DigestWriter::default();
        let plain = self.all_numeric();
        let version: &[u8] =
            if plain { b"riskcycle feature schema 1" } else { b"riskcycle feature schema 2" };
        digest.bytes(version);
        for (name, kind) in self.0.names.iter().zip(self.0.kinds.iter()) {
            digest.bytes(name.as_bytes());
            if !plain {
                let n = kind.categories().map_or(0, Categories::len);
                digest.u64(u64::from(kind.tag())).u64(n as u64);
                for category in kind.categories().into_iter().flat_map(Categories::names) {
                    digest.bytes(category.as_bytes());
                }
            }
        }
        digest.finish()
    }

    /// # Errors
    /// `SchemaMismatch` naming the first column that differs, if `found` is not this schema.
    pub fn check(&self, found: &FeatureSchema) -> Result<()> {
        for (i, expected) in self.0.names.iter().enumerate() {
            let reason = match found.0.names.get(i) {
                Some(name) if name == expected && found.0.kinds[i] == self.0.kinds[i] => continue,
                Some(name) if name == expected => {
                    let (should, is) = (self.0.kinds[i].describe(), found.0.kinds[i].describe());
                    format!("column {i}, {name}, should be {should} and is {is}")
                }
                Some(name) => format!("column {i} should be {expected} and is {name}"),
                None => format!("column {i}, {expected}, is missing"),
            };
            return Err(Error::SchemaMismatch { reason });
        }
        match found.0.names.get(self.0.names.len()) {
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

impl TryFrom<Vec<(String, FeatureKind)>> for FeatureSchema {
    type Error = Error;

    fn try_from(features: Vec<(String, FeatureKind)>) -> Result<Self> {
        FeatureSchema::with_kinds(features)
    }
}

impl From<FeatureSchema> for Vec<(String, FeatureKind)> {
    fn from(schema: FeatureSchema) -> Self {
        schema.0.names.iter().cloned().zip(schema.0.kinds.iter().cloned()).collect()
    }
}

impl TryFrom<Vec<String>> for Categories {
    type Error = Error;

    fn try_from(names: Vec<String>) -> Result<Self> {
        Categories::new(names)
    }
}

impl From<Categories> for Vec<String> {
    fn from(categories: Categories) -> Self {
        categories.names().map(str::to_owned).collect()
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

    #[test]
    fn a_category_is_its_position_and_an_unknown_one_is_missing() {
        let categories = Categories::new(["rent", "own", "free"]).unwrap();
        assert_eq!((categories.code("rent"), categories.code("free")), (0.0, 2.0));
        assert!(categories.code("lease").is_nan());
        assert_eq!(categories.name(1.0), Some("own"));
        for no_code in [f64::NAN, -1.0, 0.5, 3.0, f64::INFINITY] {
            assert_eq!(categories.name(no_code), None);
        }
        assert!(Categories::new(["a", "b", "a"]).unwrap_err().to_string().contains("\"a\" twice"));
        assert!(Categories::new(Vec::<String>::new()).is_err());
        assert!(Categories::new((0..=Categories::MAX).map(|i| i.to_string())).is_err());
    }

    #[test]
    fn kinds_are_part_of_a_schema() {
        let housing = |names: &[&str]| {
            let kind = FeatureKind::Categorical(Categories::new(names.iter().copied()).unwrap());
            FeatureSchema::with_kinds([("amount", FeatureKind::Numeric), ("housing", kind)])
                .unwrap()
        };
        let (schema, turned) = (housing(&["rent", "own"]), housing(&["own", "rent"]));
        let error = schema.check(&turned).unwrap_err().to_string();
        assert!(error.contains("column 1, housing, should be categorical with 2"), "{error}");
        assert_ne!(schema.fingerprint(), turned.fingerprint());
        let numeric = FeatureSchema::new(["amount", "housing"]).unwrap();
        assert_ne!(schema.fingerprint(), numeric.fingerprint());
        assert!(numeric.check(&schema).is_err());
        assert_eq!(schema.select(&[1]).unwrap().kinds(), &schema.kinds()[1..]);
        let json = serde_json::to_string(&schema).unwrap();
        assert_eq!(serde_json::from_str::<FeatureSchema>(&json).unwrap(), schema);
    }
}
