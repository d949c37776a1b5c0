//! A version at work, and what stands ready together.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::evaluate::DecisionBands;
use crate::ids::ModelRef;
use crate::model::{GoldenRows, Model, ModelExt, Reason, ReasonCodes};
use crate::registry::Artifact;
use crate::schema::FeatureSchema;
use crate::serve::FallbackCause;

/// A version at work: what scores, how scores become decisions and reasons, and what it must show before it does.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The version.
    pub version: ModelRef,
    /// What scores.
    pub model: Arc<dyn Model>,
    /// From score to decision.
    pub bands: DecisionBands,
    /// What gives the reasons; `None` for none.
    pub reasons: Option<Arc<ReasonCodes>>,
    /// Rows with the scores that they must get, bit for bit, before the version answers its first request.
    pub golden: Option<GoldenRows>,
}

/// The deployments of a slot, swapped as one.
#[derive(Debug, Clone)]
pub struct Lineup {
    /// One per arm of the router, the champion first.
    pub arms: Vec<Deployment>,
    /// Answers where an arm's model gives no score.
    pub fallback: Option<Deployment>,
    /// Score every request too, when [`drain_shadows`](crate::serve::ModelService::drain_shadows) gets to it.
    pub shadows: Vec<Deployment>,
}

impl Deployment {
    /// A kept version at work, with all that its artifact brings.
    ///
    /// # Errors
    /// Where the artifact has reason codes, those of [`Model::explainer`] and [`ReasonCodes::new`].
    pub fn of(version: ModelRef, artifact: &Artifact) -> Result<Self> {
        let codes = |config| ReasonCodes::new(config, artifact.model.explainer()?).map(Arc::new);
        Ok(Deployment {
            version,
            model: artifact.model.clone(),
            bands: artifact.bands,
            reasons: artifact.reasons.as_ref().map(codes).transpose()?,
            golden: artifact.golden.clone(),
        })
    }

    /// Without reasons and golden rows.
    pub fn new(version: ModelRef, model: Arc<dyn Model>, bands: DecisionBands) -> Self {
        Deployment { version, model, bands, reasons: None, golden: None }
    }

    /// The model's score of a row, or why there is none.
    #[inline]
    pub(super) fn score(&self, row: &[f64]) -> std::result::Result<f64, FallbackCause> {
        match caught(|| self.model.score_row(row)) {
            Some(Ok(score)) if score.is_finite() => Ok(score),
            Some(Ok(_)) => Err(FallbackCause::NoScore),
            Some(Err(_)) => Err(FallbackCause::Error),
            None => Err(FallbackCause::Panic),
        }
    }

    /// The reasons of a score; `None` if they cannot be had.
    pub(super) fn reasons(&self, row: &[f64]) -> Option<Vec<Reason>> {
        let Some(codes) = &self.reasons else { return Some(Vec::new()) };
        caught(|| codes.reasons(row))?.ok()
    }

    /// Checks it against a slot's schema, then lets it score: its golden rows, and a row of missing values, which every
    /// model must stand.
    fn check(&self, schema: &FeatureSchema) -> Result<()> {
        let refuse = |reason: String| {
            Err(Error::Refused { action: format!("deploy {}", self.version), reason })
        };
        schema.check(self.model.schema())?;
        if let Some(codes) = &self.reasons {
            schema.check(codes.explainer().schema())?;
        }
        let missing = vec![f64::NAN; schema.n_features()];
        match caught(|| self.model.score_row(&missing)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => return refuse(format!("at a row of missing values: {error}")),
            None => return refuse("it panics at a row of missing values".into()),
        }
        let Some(golden) = &self.golden else { return Ok(()) };
        match caught(|| golden.check(|rows, scores| self.model.score(rows, scores))) {
            Some(Ok(())) => Ok(()),
            Some(Err(error)) => refuse(error.to_string()),
            None => refuse("it panics at its golden rows".into()),
        }
    }
}

/// Lets a host's code work; `None` if it panics. What that leaves behind is the host's own: nothing of ours is touched in
/// between.
fn caught<T>(work: impl FnOnce() -> T) -> Option<T> {
    catch_unwind(AssertUnwindSafe(work)).ok()
}

impl Lineup {
    /// A champion alone.
    pub fn new(champion: Deployment) -> Self {
        Lineup { arms: vec![champion], fallback: None, shadows: Vec::new() }
    }

    /// Every deployment.
    pub(super) fn all(&self) -> impl Iterator<Item = &Deployment> {
        self.arms.iter().chain(&self.fallback).chain(&self.shadows)
    }

    /// Checks everything that there is to check before the first request.
    pub(super) fn check(&self, schema: &FeatureSchema) -> Result<()> {
        if self.arms.is_empty() {
            return Err(Error::config("lineup", "needs at least one arm"));
        }
        self.all().try_for_each(|deployment| deployment.check(schema))
    }
}
