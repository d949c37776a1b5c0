//! Labels and feedback.

use axum::response::Response;
use serde::{Deserialize, Serialize};

use super::answer::{ToldDecision, token};
use super::edge::{Edge, Served, Told};
use super::ok;
use super::refusal::Refusal;
use super::slot::Feedback;
use crate::evaluate::Decision;
use crate::experiment::ExposureToken;
use crate::monitor::LabelJoin;
use crate::time::Timestamp;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Labels {
    labels: Vec<Label>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Label {
    id: u64,
    bad: bool,
    at: Option<Timestamp>,
    exposure: Option<String>,
}

/// What became of the labels.
#[derive(Default, Serialize)]
struct Taken {
    /// Joined to their predictions.
    joined: usize,
    /// Ids that no prediction waits under.
    unknown: Vec<u64>,
    /// Handed to the experiment, which counts each label once.
    recorded: usize,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Comment {
    id: u64,
    at: Option<Timestamp>,
    by: String,
    #[serde(with = "ToldDecision")]
    decision: Decision,
    #[serde(default)]
    note: String,
}

#[derive(Serialize)]
struct Kept {
    kept: bool,
}

impl Edge {
    /// Takes labels: all of them, or where one of them cannot be, none.
    pub(super) fn label(&self, slot: &Served, body: &[u8]) -> Told<Response> {
        let Labels { labels } =
            serde_json::from_slice(body).map_err(|error| Refusal::of_json(&error))?;
        let most = self.config.batch_rows;
        if labels.len() > most {
            return Err(Refusal::out_of_range("labels", format!("at most {most}")));
        }
        let now = self.clock.now();
        let checked = labels.iter().enumerate().map(|(place, label)| {
            let at = self.moment(&format!("labels[{place}].at"), label.at, now)?;
            let token = label.exposure.as_ref().map(|text| exposure(text, label.id, place));
            Ok((at, token.transpose()?))
        });
        let checked = checked.collect::<Told<Vec<_>>>()?;
        let mut taken = Taken::default();
        for (label, (at, token)) in labels.iter().zip(checked) {
            let joined = slot.parts.observer.labelled(label.id, label.bad, at);
            match joined.map_err(|error| Refusal::of(&error))? {
                LabelJoin::Joined(_) => taken.joined += 1,
                LabelJoin::Unknown => taken.unknown.push(label.id),
            }
            if let (Some(recorder), Some(token)) = (&slot.parts.recorder, token) {
                recorder.outcome(&token, label.bad, at);
                taken.recorded += 1;
            }
        }
        Ok(ok(&taken))
    }

    /// Takes what somebody says of an answer.
    pub(super) fn comment(&self, slot: &Served, body: &[u8]) -> Told<Response> {
        let Comment { id, at, by, decision, note } =
            serde_json::from_slice(body).map_err(|error| Refusal::of_json(&error))?;
        let at = self.moment("at", at, self.clock.now())?;
        let feedback = Feedback { id, at, by, decision, note };
        slot.parts.observer.commented(&feedback).map_err(|error| Refusal::of(&error))?;
        Ok(ok(&Kept { kept: true }))
    }
}

/// The token of a label, which must be that of its request.
fn exposure(text: &str, id: u64, place: usize) -> Told<ExposureToken> {
    token(text).filter(|token| token.request() == id).ok_or_else(|| {
        let expected = "the exposure that came with the answer of this id";
        Refusal::out_of_range(format!("labels[{place}].exposure"), expected)
    })
}
