//! Stage 9, serve. Takes a feature row and an assignment; gives a [`Prediction`]: score, version and decision.

use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::experiment::Assignment;
use crate::ids::{EntityKey, ModelRef};
use crate::model::{Model, ModelExt};
use crate::schema::FeatureSchema;
use crate::time::Timestamp;

/// A model at work: which version, and where it asks for a review.
#[derive(Debug, Clone)]
pub struct Deployment {
    /// The version.
    pub version: ModelRef,
    /// What scores.
    pub model: Arc<dyn Model>,
    /// Scores at or above it ask for a review; infinity for never.
    pub threshold: f64,
}

/// What to do with a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Decision {
    /// Let it pass.
    Approve,
    /// Stop it, or have somebody look.
    Review,
}

/// The answer to one request. Score, threshold and version come from one deployment, whatever is swapped meanwhile.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Prediction {
    /// Id of the event.
    pub id: u64,
    /// Moment of the event.
    pub at: Timestamp,
    /// Entity that the request was routed by.
    pub unit: EntityKey,
    /// Which arm answered.
    pub assignment: Assignment,
    /// Which version answered.
    pub model: ModelRef,
    /// Probability of bad, `0.0..=1.0`; `None` if the model could not score the row, and the decision is the fallback.
    pub score: Option<f64>,
    /// What to do.
    pub decision: Decision,
}

/// Scores requests with the deployments of its arms, and swaps them without pausing readers.
///
/// # Concurrency
/// Share it by reference. A prediction in flight keeps the deployments it started with.
#[derive(Debug)]
pub struct ModelService {
    schema: FeatureSchema,
    fallback: Decision,
    arms: RwLock<Arc<[Deployment]>>,
}

impl ModelService {
    /// A service for rows of `schema`, with one deployment per arm, the champion first. `fallback` answers where a model
    /// gives no score.
    ///
    /// # Errors
    /// Those of [`deploy`](Self::deploy).
    pub fn new(schema: FeatureSchema, arms: Vec<Deployment>, fallback: Decision) -> Result<Self> {
        let service = ModelService { schema, fallback, arms: RwLock::new(Arc::new([])) };
        service.deploy(arms)?;
        Ok(service)
    }

    /// Replaces all deployments in one step.
    ///
    /// # Errors
    /// `InvalidConfig` without an arm or with a NaN threshold; `SchemaMismatch` if a model takes other columns. The
    /// deployments stay as they were then.
    pub fn deploy(&self, arms: Vec<Deployment>) -> Result<()> {
        if arms.is_empty() {
            return Err(Error::config("deployment", "needs at least one arm"));
        }
        for arm in &arms {
            self.schema.check(arm.model.schema())?;
            if arm.threshold.is_nan() {
                return Err(Error::config("deployment", format!("{}: NaN threshold", arm.version)));
            }
        }
        *self.arms.write().unwrap_or_else(PoisonError::into_inner) = arms.into();
        Ok(())
    }

    /// What is deployed now, the champion first.
    pub fn deployments(&self) -> Arc<[Deployment]> {
        self.arms.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The columns that rows consist of.
    pub fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    /// Answers one request. An assignment to an arm that is not deployed is answered by the champion, as its
    /// `assignment` then says. No allocation.
    ///
    /// # Errors
    /// `SchemaMismatch` if the row has another width than the schema, or whatever a host's own model returns.
    pub fn predict(
        &self,
        id: u64,
        at: Timestamp,
        unit: EntityKey,
        assignment: Assignment,
        row: &[f64],
    ) -> Result<Prediction> {
        let arms = self.deployments();
        let (arm, assignment) = match arms.get(usize::from(assignment.arm)) {
            Some(arm) => (arm, assignment),
            None => (&arms[0], Assignment { arm: 0 }),
        };
        let score = Some(arm.model.score_row(row)?).filter(|score| !score.is_nan());
        let decision = match score {
            Some(score) if score >= arm.threshold => Decision::Review,
            Some(_) => Decision::Approve,
            None => self.fallback,
        };
        Ok(Prediction { id, at, unit, assignment, model: arm.version.clone(), score, decision })
    }
}
