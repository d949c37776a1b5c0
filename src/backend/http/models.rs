//! What is live, and how it does.

use axum::response::Response;
use serde::Serialize;

use super::edge::{Edge, Served, Told};
use super::ok;
use super::refusal::Refusal;
use crate::ids::ModelRef;
use crate::schema::{Categories, FeatureKind};
use crate::serve::{Deployment, SlotHealth};

#[derive(Serialize)]
struct Models {
    models: Vec<Model>,
}

#[derive(Serialize)]
struct Model {
    name: String,
    /// Versions, the champion first.
    arms: Vec<ModelRef>,
    fallback: Option<ModelRef>,
    shadows: Vec<ModelRef>,
    features: Vec<Feature>,
}

#[derive(Serialize)]
struct Feature {
    name: String,
    kind: &'static str,
    categories: Option<Categories>,
}

pub(super) fn kind(kind: &FeatureKind) -> &'static str {
    match kind {
        FeatureKind::Numeric => "numeric",
        FeatureKind::Boolean => "boolean",
        FeatureKind::Categorical(_) => "categorical",
    }
}

pub(super) fn list(edge: &Edge) -> Told<Response> {
    let models = edge.slots.values().map(|slot| model(edge, slot)).collect::<Told<Vec<_>>>()?;
    Ok(ok(&Models { models }))
}

fn model(edge: &Edge, slot: &Served) -> Told<Model> {
    let lineup = edge.service.lineup(&slot.name).map_err(|error| Refusal::of(&error))?;
    let schema = slot.columns.schema();
    let features = schema.names().iter().zip(schema.kinds()).map(|(name, of)| Feature {
        name: name.clone(),
        kind: kind(of),
        categories: of.categories().cloned(),
    });
    let versions = |of: &[Deployment]| of.iter().map(|one| one.version.clone()).collect();
    Ok(Model {
        name: slot.name.clone(),
        arms: versions(&lineup.arms),
        fallback: lineup.fallback.as_ref().map(|one| one.version.clone()),
        shadows: versions(&lineup.shadows),
        features: features.collect(),
    })
}

pub(super) fn health(edge: &Edge, slot: &Served) -> Told<Response> {
    let health: SlotHealth =
        edge.service.slot_health(&slot.name).map_err(|error| Refusal::of(&error))?;
    Ok(ok(&health))
}
