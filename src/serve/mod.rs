//! Stage 9, serve. Takes a feature row and an assignment; gives a [`Prediction`]: score, version and decision.

use std::sync::{Arc, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

pub use crate::evaluate::{Decision, DecisionBands};

use crate::error::{Error, Result};
use crate::experiment::{Assignment, ExposureToken};
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
    /// What to do: what the model says, or approval of a request that is let through to learn its label.
    pub decision: Decision,
    /// The request's part in an experiment, to be kept and handed back with the label; `None` if it has none.
    pub exposure: Option<ExposureToken>,
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
    /// `assignment` then says. In shadow the other arms score it too; one that fails there has no score, and the answer
    /// stands. No allocation.
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
            None => (&arms[0], Assignment::champion()),
        };
        let score = Some(arm.model.score_row(row)?).filter(|score| !score.is_nan());
        let said = self.decide(arm, score);
        let alert = said.is_alert();
        let mut exposure = ExposureToken::new(&assignment, unit, id, at, score, alert);
        if assignment.shadow {
            for (number, shadow) in (0u8..).zip(arms.iter()).skip(1) {
                let score = shadow.model.score_row(row).ok().filter(|score| !score.is_nan());
                let alert = self.decide(shadow, score).is_alert();
                exposure = exposure.map(|token| token.with_score(number, score, alert));
            }
        }
        let decision = if assignment.let_through { Decision::Approve } else { said };
        let model = arm.version.clone();
        Ok(Prediction { id, at, unit, assignment, model, score, decision, exposure })
    }

    /// What an arm says of a score.
    fn decide(&self, arm: &Deployment, score: Option<f64>) -> Decision {
        match score {
            Some(score) if score >= arm.threshold => Decision::Review,
            Some(_) => Decision::Approve,
            None => self.fallback,
        }
    }
}
