//! Many rows in one request.

use std::fmt;
use std::time::Duration;

use axum::response::Response;
use serde::de::{
    DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor,
};

use super::answer::{Answer, Answers, NoAnswer, Row};
use super::edge::{Edge, Served, Told};
use super::ok;
use super::read::{Asked, Columns, Problems, ReadRequest, read};
use super::refusal::Refusal;
use crate::serve::{Prediction, Request};

/// Rows one behind the other, and what was asked of each: one that cannot be answered does not stop the others.
#[derive(Debug, Default)]
struct Batch {
    asked: Vec<Result<Asked, NoAnswer>>,
    values: Vec<f64>,
    /// Whether there were more rows than may be.
    too_many: bool,
}

impl Edge {
    /// Answers many rows, all by the same lineup.
    pub(super) fn answer_all(&self, slot: &Served, body: &[u8]) -> Told<Response> {
        let most = self.config.batch_rows;
        let batch = read(ReadBatch { columns: &slot.columns, most }, body)?;
        if batch.too_many {
            return Err(Refusal::out_of_range("rows", format!("at most {most}")));
        }
        let rows = batch.values.chunks(slot.columns.schema().n_features());
        let requests = batch.asked.into_iter().zip(rows).map(|(asked, row)| {
            let asked = asked?;
            let none = |error| NoAnswer { id: asked.id, error };
            Ok((asked, self.request(slot, &asked, row).map_err(none)?))
        });
        let requests: Vec<Result<(Asked, Request<'_>), NoAnswer>> = requests.collect();
        let asked: Vec<Request<'_>> =
            requests.iter().flatten().map(|(_, request)| *request).collect();

        let mut answers = Vec::with_capacity(asked.len());
        let started = self.clock.nanos();
        let predictor = self.service.predictor(&slot.name);
        predictor.map_err(|error| Refusal::of(&error))?.predict_batch(&asked, &mut answers);
        let spent = self.clock.nanos().saturating_sub(started);
        let each = Duration::from_nanos(spent / asked.len().max(1) as u64);

        let mut answers = answers.into_iter();
        let told = requests.into_iter().map(|request| {
            let (asked, request) = match request {
                Ok(request) => request,
                Err(none) => return Ok(Err(none)),
            };
            match answers.next().expect("as many answers as requests") {
                Ok(mut answer) => {
                    self.record(slot, &asked, request.row, &mut answer, each)?;
                    Ok(Ok(answer))
                }
                Err(why) => Ok(Err(NoAnswer { id: asked.id, error: Refusal::of(&why) })),
            }
        });
        let told: Vec<Result<Prediction, NoAnswer>> = told.collect::<Told<_>>()?;
        let answers = told.iter().map(|answer| match answer {
            Ok(prediction) => Row::Answer(Answer::of(prediction)),
            Err(none) => Row::None(none),
        });
        Ok(ok(&Answers { answers: answers.collect() }))
    }
}

/// Reads `{"rows": [...]}`.
struct ReadBatch<'a> {
    columns: &'a Columns,
    most: usize,
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
                false => Err(NoAnswer { id: asked.id, error: Refusal::of_fields(wrong) }),
            });
        }
        while seq.next_element::<IgnoredAny>()?.is_some() {
            batch.too_many = true;
        }
        Ok(batch)
    }
}
