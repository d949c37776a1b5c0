//! From JSON straight into a row, in the order of the schema: no tree of values in between, nothing allocated per feature.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::edge::Told;
use super::refusal::{FieldProblem, Problem, Refusal};
use crate::ids::EntityKey;
use crate::schema::{FeatureKind, FeatureSchema};
use crate::time::Timestamp;

/// Most problems that are told of one row, and most characters of a name that the caller made up.
const MOST_PROBLEMS: usize = 20;
const LONGEST_NAME: usize = 100;

/// What was asked, beside the row.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Asked {
    pub(super) id: Option<u64>,
    pub(super) at: Option<Timestamp>,
    pub(super) unit: Option<EntityKey>,
    /// Minor units.
    pub(super) amount: Option<i64>,
    pub(super) reasons: bool,
}

/// The features of a slot, found by name.
#[derive(Debug)]
pub(super) struct Columns {
    schema: FeatureSchema,
    /// Positions in the order of names.
    by_name: Box<[u32]>,
}

impl Columns {
    pub(super) fn new(schema: FeatureSchema) -> Self {
        let mut by_name: Vec<u32> = (0..schema.n_features() as u32).collect();
        by_name.sort_unstable_by_key(|&at| &schema.names()[at as usize]);
        Columns { by_name: by_name.into(), schema }
    }

    pub(super) fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    /// Most callers send what they have in the schema's order: the one behind the last is looked at first.
    fn position(&self, name: &str, next: usize) -> Option<usize> {
        let names = self.schema.names();
        if names.get(next).is_some_and(|known| known == name) {
            return Some(next);
        }
        let found = self.by_name.binary_search_by(|&at| names[at as usize].as_str().cmp(name));
        found.ok().map(|place| self.by_name[place] as usize)
    }
}

/// Reads all of a body.
pub(super) fn read<'de, S: DeserializeSeed<'de>>(seed: S, body: &'de [u8]) -> Told<S::Value> {
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = seed.deserialize(&mut deserializer);
    let value = value.and_then(|value| deserializer.end().map(|()| value));
    value.map_err(|error| Refusal::of_json(&error))
}

/// Reads one request: what is asked, and the features into `row`, which has a place for each. What is wrong goes to
/// `problems`; only what is no JSON, or no object, is an error of the deserializer.
pub(super) struct ReadRequest<'a> {
    pub(super) columns: &'a Columns,
    pub(super) row: &'a mut [f64],
    /// Kept by the caller for its memory.
    pub(super) seen: &'a mut Vec<bool>,
    pub(super) problems: &'a mut Problems,
}

#[derive(Debug, Default)]
pub(super) struct Problems(Vec<FieldProblem>);

impl Problems {
    fn add(&mut self, field: impl fmt::Display, problem: Problem, expected: Option<&str>) {
        if self.0.len() < MOST_PROBLEMS {
            let field = field.to_string().chars().take(LONGEST_NAME).collect();
            self.0.push(FieldProblem { field, problem, expected: expected.map(str::to_owned) });
        }
    }

    pub(super) fn take(&mut self) -> Vec<FieldProblem> {
        std::mem::take(&mut self.0)
    }

    /// Whether a field has been read before, which is one.
    fn twice(&mut self, seen: &mut bool, field: impl fmt::Display) {
        if std::mem::replace(seen, true) {
            self.add(field, Problem::Duplicate, None);
        }
    }
}

impl<'de> DeserializeSeed<'de> for ReadRequest<'_> {
    type Value = Asked;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Asked, D::Error> {
        deserializer.deserialize_map(self)
    }
}

const ID: usize = 0;
const FEATURES: usize = 5;
/// Names of the fields, and what they hold.
pub(super) const FIELDS: [(&str, &str); 6] = [
    ("id", "an integer from 0 to 2^64 - 1"),
    ("at", "microseconds since 1970-01-01 UTC, an integer"),
    ("unit", "an integer from 0 to 2^64 - 1, or text"),
    ("amount", "minor units of money, an integer"),
    ("reasons", "true or false"),
    ("features", "an object of features"),
];

impl<'de> Visitor<'de> for ReadRequest<'_> {
    type Value = Asked;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with id and features")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Asked, A::Error> {
        let ReadRequest { columns, row, seen, problems } = self;
        let mut asked = Asked::default();
        let mut known = [false; FIELDS.len()];
        let find = |name: &str| {
            let place = FIELDS.iter().position(|(field, _)| *field == name);
            place.ok_or_else(|| shortened(name))
        };
        while let Some(field) = map.next_key_seed(Text(find))? {
            let field = match field {
                Ok(field) => field,
                Err(name) => {
                    problems.add(name, Problem::Unknown, None);
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let (name, expected) = FIELDS[field];
            problems.twice(&mut known[field], name);
            if field == FEATURES {
                let read = ReadFeatures { columns, row: &mut *row, seen: &mut *seen, problems };
                if !map.next_value_seed(read)? {
                    problems.add(name, Problem::WrongType, Some(expected));
                }
                continue;
            }
            let value = map.next_value_seed(ReadScalar(|text: &str| EntityKey::from(text)))?;
            if !asked.set(field, &value) {
                problems.add(name, Problem::WrongType, Some(expected));
            }
        }
        for field in [ID, FEATURES].into_iter().filter(|&field| !known[field]) {
            problems.add(FIELDS[field].0, Problem::Missing, Some(FIELDS[field].1));
        }
        Ok(asked)
    }
}

impl Asked {
    /// Whether the field takes the value. All but the id may be null.
    fn set(&mut self, field: usize, value: &Scalar<EntityKey>) -> bool {
        match (FIELDS[field].0, value) {
            ("id", Scalar::Natural(id)) => self.id = Some(*id),
            ("at", value) if value.integer().is_some() => {
                self.at = value.integer().map(Timestamp::from_micros);
            }
            ("unit", Scalar::Natural(unit)) => self.unit = Some(EntityKey(*unit)),
            ("unit", Scalar::Text(unit)) => self.unit = Some(*unit),
            ("amount", value) if value.integer().is_some() => self.amount = value.integer(),
            ("reasons", Scalar::Bool(reasons)) => self.reasons = *reasons,
            ("at" | "unit" | "amount" | "reasons", Scalar::Null) => {}
            _ => return false,
        }
        true
    }
}

/// Reads the features; whether they were an object.
struct ReadFeatures<'a> {
    columns: &'a Columns,
    row: &'a mut [f64],
    seen: &'a mut Vec<bool>,
    problems: &'a mut Problems,
}

impl<'de> DeserializeSeed<'de> for ReadFeatures<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ReadFeatures<'_> {
    type Value = bool;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of features")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<bool, A::Error> {
        let ReadFeatures { columns, row, seen, problems } = self;
        let (names, kinds) = (columns.schema.names(), columns.schema.kinds());
        seen.clear();
        seen.resize(row.len(), false);
        let mut next = 0;
        loop {
            let find = |name: &str| columns.position(name, next).ok_or_else(|| shortened(name));
            let column = match map.next_key_seed(Text(find))? {
                None => break,
                Some(Ok(column)) => column,
                Some(Err(name)) => {
                    problems.add(format_args!("features.{name}"), Problem::Unknown, None);
                    map.next_value::<IgnoredAny>()?;
                    continue;
                }
            };
            let kind = &kinds[column];
            problems.twice(&mut seen[column], format_args!("features.{}", names[column]));
            let code = |text: &str| kind.categories().map(|of| code(of.code(text), of.len()));
            match value(kind, map.next_value_seed(ReadScalar(code))?) {
                Some(value) => row[column] = value,
                None => {
                    let field = format_args!("features.{}", names[column]);
                    problems.add(field, Problem::WrongType, Some(expected(kind)));
                }
            }
            next = column + 1;
        }
        for column in (0..row.len()).filter(|&column| !seen[column]) {
            let (field, kind) = (format_args!("features.{}", names[column]), &kinds[column]);
            problems.add(field, Problem::Missing, Some(expected(kind)));
        }
        Ok(true)
    }

    // Anything else is a problem to tell, not a reason to stop reading.
    fn visit_bool<E>(self, _: bool) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_i64<E>(self, _: i64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_u64<E>(self, _: u64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_f64<E>(self, _: f64) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_str<E>(self, _: &str) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_unit<E>(self) -> Result<bool, E> {
        Ok(false)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<bool, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(false)
    }
}

pub(super) fn expected(kind: &FeatureKind) -> &'static str {
    match kind {
        FeatureKind::Numeric => "a number, or null for a missing value",
        FeatureKind::Boolean => "true, false, 0 or 1, or null for a missing value",
        FeatureKind::Categorical(_) => "the name of a category, or null for a missing value",
    }
}

/// The value of a feature; `None` for one of another type.
fn value(kind: &FeatureKind, read: Scalar<Option<f64>>) -> Option<f64> {
    match (kind, read) {
        (_, Scalar::Null) => Some(f64::NAN),
        (FeatureKind::Numeric, Scalar::Natural(n)) => Some(n as f64),
        (FeatureKind::Numeric, Scalar::Negative(n)) => Some(n as f64),
        (FeatureKind::Numeric, Scalar::Real(x)) => Some(x),
        (FeatureKind::Boolean, Scalar::Bool(b)) => Some(f64::from(b)),
        (FeatureKind::Boolean, Scalar::Natural(n @ 0..=1)) => Some(n as f64),
        (FeatureKind::Boolean, Scalar::Real(x)) if x == 0.0 || x == 1.0 => Some(x),
        (FeatureKind::Categorical(_), Scalar::Text(code)) => code,
        _ => None,
    }
}

/// The code of a category. One that is not in the list gets a code that none has, so that the slot's policy sees it.
fn code(known: f64, n: usize) -> f64 {
    if known.is_nan() { n as f64 } else { known }
}

fn shortened(name: &str) -> String {
    name.chars().take(LONGEST_NAME).collect()
}

/// A value that is no list and no object; texts as what the function makes of them.
enum Scalar<T> {
    Null,
    Bool(bool),
    Natural(u64),
    Negative(i64),
    Real(f64),
    Text(T),
    Compound,
}

impl<T> Scalar<T> {
    fn integer(&self) -> Option<i64> {
        match self {
            Scalar::Natural(n) => i64::try_from(*n).ok(),
            Scalar::Negative(n) => Some(*n),
            _ => None,
        }
    }
}

struct ReadScalar<F>(F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for ReadScalar<F> {
    type Value = Scalar<T>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar<T>, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de, T, F: FnOnce(&str) -> T> Visitor<'de> for ReadScalar<F> {
    type Value = Scalar<T>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Scalar<T>, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Scalar<T>, E> {
        Ok(Scalar::Bool(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Scalar<T>, E> {
        Ok(Scalar::Natural(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Scalar<T>, E> {
        Ok(u64::try_from(value).map_or(Scalar::Negative(value), Scalar::Natural))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Scalar<T>, E> {
        Ok(Scalar::Real(value))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar<T>, E> {
        Ok(Scalar::Text((self.0)(text)))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar<T>, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Compound)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar<T>, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Compound)
    }
}

/// A key, as what the function makes of it.
struct Text<F>(F);

impl<'de, T, F: FnOnce(&str) -> T> DeserializeSeed<'de> for Text<F> {
    type Value = T;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<T, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de, T, F: FnOnce(&str) -> T> Visitor<'de> for Text<F> {
    type Value = T;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a name")
    }

    fn visit_str<E>(self, text: &str) -> Result<T, E> {
        Ok((self.0)(text))
    }
}
