//! Many rows in one request.

use std::fmt;

use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::read::{Asked, Columns, Problems, ReadRequest};
use super::refusal::Refusal;

/// Rows one behind the other, and what was asked of each: one that cannot be answered does not stop the others.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) asked: Vec<Result<Asked, (Option<u64>, Refusal)>>,
    pub(super) values: Vec<f64>,
    /// Whether there were more rows than may be.
    pub(super) too_many: bool,
}

/// Reads `{"rows": [...]}`.
pub(super) struct ReadBatch<'a> {
    pub(super) columns: &'a Columns,
    pub(super) most: usize,
}

impl<'de> DeserializeSeed<'de> for ReadBatch<'_> {
    type Value = Batch;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Batch, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for ReadBatch<'_> {
    type Value = Batch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object with rows")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Batch, A::Error> {
        let mut batch = None;
        while let Some(field) = map.next_key::<Field>()? {
            match field {
                Field::Rows if batch.is_some() => return Err(A::Error::duplicate_field("rows")),
                Field::Rows => {
                    let (columns, most) = (self.columns, self.most);
                    batch = Some(map.next_value_seed(ReadRows { columns, most })?);
                }
            }
        }
        batch.ok_or_else(|| A::Error::missing_field("rows"))
    }
}

#[derive(serde::Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    Rows,
}

struct ReadRows<'a> {
    columns: &'a Columns,
    most: usize,
}

impl<'de> DeserializeSeed<'de> for ReadRows<'_> {
    type Value = Batch;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Batch, D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for ReadRows<'_> {
    type Value = Batch;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of requests")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Batch, A::Error> {
        let ReadRows { columns, most } = self;
        let (mut batch, mut seen, mut problems) =
            (Batch::default(), Vec::new(), Problems::default());
        let width = columns.schema().n_features();
        while batch.asked.len() < most {
            let start = batch.values.len();
            batch.values.resize(start + width, f64::NAN);
            let row = &mut batch.values[start..];
            let (seen, problems) = (&mut seen, &mut problems);
            let Some(asked) =
                seq.next_element_seed(ReadRequest { columns, row, seen, problems })?
            else {
                batch.values.truncate(start);
                return Ok(batch);
            };
            let wrong = problems.take();
            batch.asked.push(match wrong.is_empty() {
                true => Ok(asked),
                false => Err((asked.id, Refusal::of_fields(wrong))),
            });
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            batch.too_many = true;
        }
        Ok(batch)
    }
}
