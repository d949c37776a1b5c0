//! The façade: a model's life as the product sees it, [`score`](Lifecycle::score), [`label`](Lifecycle::label),
//! [`tick`](Lifecycle::tick), [`retrain`](Lifecycle::retrain). The only place where stages meet; each of them can be used
//! without it.

mod challenger;
mod config;

use std::collections::HashMap;
use std::fmt;
use std::sync::{Arc, RwLock};
use std::time::Duration;

use crate::alert::AlertEngine;
use crate::drift::ReferenceProfile;
use crate::error::{Error, Result};
use crate::experiment::{ExperimentRecorder, ExposureToken, Router};
use crate::feature::{LabelOutcome, Observed, OnlineFeatures};
use crate::ids::{EntityKey, ModelRef};
use crate::monitor::{LabelJoin, PredictionLog};
use crate::monitoring::{Monitoring, Tick};
use crate::registry::ModelRegistry;
use crate::retrain::{Gate, RetrainLoop};
use crate::serve::{Deployment, Lineup, ModelService, Prediction, Request};
use crate::time::{Clock, Timestamp};
use challenger::Shadow;

pub use challenger::RetrainOutcome;
pub use config::{LifecycleConfig, Parts};

/// A model at work in a host: features, routing, scoring, monitoring, drift, alerts and retraining in one place.
///
/// # Concurrency
/// Share it by reference; any number of threads score and label. `tick` and `retrain` belong on one of them.
pub struct Lifecycle<E> {
    config: LifecycleConfig,
    features: OnlineFeatures<E>,
    unit: usize,
    registry: Arc<ModelRegistry>,
    /// Position of the money field at stake.
    amount: Option<usize>,
    router: Arc<dyn Router>,
    recorder: Option<Arc<ExperimentRecorder>>,
    covariates: HashMap<EntityKey, i32>,
    service: ModelService,
    log: Arc<dyn PredictionLog>,
    clock: Option<Arc<dyn Clock>>,
    monitoring: Monitoring,
    retrain: RetrainLoop,
    gate: Gate,
    /// The challenger in shadow.
    shadow: RwLock<Option<Arc<Shadow>>>,
}

/// The stages of one request, as [`Lifecycle::score_with_laps`] tells them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Lap {
    /// Features are computed.
    Feature,
    /// The arm is chosen.
    Route,
    /// The score and the decision are there.
    Predict,
    /// The prediction is logged and counted.
    Record,
}

impl<E> Lifecycle<E> {
    /// Puts the champion of the configured slot to work, with `challengers` behind it and `reference` as the yardstick
    /// for drift.
    ///
    /// # Errors
    /// `NotFound` if the slot has no champion or the events no such entity or money field; `InvalidConfig` if the router knows more arms
    /// than there are models, or for time in shadow without a queue for shadows; `SchemaMismatch` if a model takes other features;
    /// what the registry and the parts return.
    pub fn new(
        config: LifecycleConfig,
        parts: Parts<E>,
        challengers: &[ModelRef],
        reference: ReferenceProfile,
    ) -> Result<Self> {
        let Parts { features, registry, router, recorder, covariates, log, alerts, clock } = parts;
        let champion = registry
            .champion(&config.slot)
            .ok_or_else(|| Error::NotFound { kind: "champion of", id: config.slot.clone() })?;
        let models: Vec<ModelRef> =
            [champion].into_iter().chain(challengers.iter().cloned()).collect();
        if router.n_arms() > models.len() {
            let reason = format!("{} arms for {} models", router.n_arms(), models.len());
            return Err(Error::config("router", reason));
        }
        let deploy = |version: ModelRef| {
            let artifact = registry.load(&version)?;
            Deployment::of(version, &artifact)
        };
        if !config.retrain.shadow.is_zero() && config.serving.shadow_queue == 0 {
            return Err(Error::config("lifecycle", "a challenger in shadow needs a shadow_queue"));
        }
        let arms = models.into_iter().map(deploy).collect::<Result<Vec<_>>>()?;
        let money = |name: &String| {
            let position = features.events().money_position(name);
            position.ok_or_else(|| Error::NotFound { kind: "money field", id: name.clone() })
        };
        let watched = arms[0].version.clone();
        let service = ModelService::default();
        let lineup = Lineup { arms, fallback: None, shadows: Vec::new() };
        service.open(&config.slot, features.schema().clone(), config.serving.clone(), lineup)?;
        Ok(Lifecycle {
            amount: config.amount.as_ref().map(money).transpose()?,
            unit: features.events().entity_position(&config.unit)?,
            service,
            features: features.online(config.online)?,
            monitoring: Monitoring::new(config.monitoring.clone(), watched, reference, alerts)?,
            retrain: RetrainLoop::new(config.retrain.clone())?,
            gate: Gate::new(config.gate)?,
            shadow: RwLock::default(),
            registry,
            router,
            recorder,
            covariates,
            log,
            clock,
            config,
        })
    }

    /// Lets the features see an event of the past without a prediction, to fill windows before going live.
    ///
    /// # Errors
    /// As [`OnlineFeatures::observe`].
    pub fn warm_up(&self, event: &E, row: &mut [f64]) -> Result<Observed> {
        self.features.observe(event, row)
    }

    /// Answers one request: computes its features into `row`, routes, scores, decides, and records.
    ///
    /// # Errors
    /// `SchemaMismatch` if `row` does not have one place per feature; `TimeBackwards` for an event that is not after the
    /// last one of its entities; `InvalidInput` for a value that the slot's policy rejects.
    pub fn score(&self, event: &E, row: &mut [f64]) -> Result<Prediction> {
        self.score_with_laps(event, row, |_| {})
    }

    /// [`score`](Self::score), telling when each stage is done, so that a host can take times with its own clock.
    ///
    /// # Errors
    /// As [`score`](Self::score).
    pub fn score_with_laps(
        &self,
        event: &E,
        row: &mut [f64],
        mut lap: impl FnMut(Lap),
    ) -> Result<Prediction> {
        let started = self.clock.as_ref().map(|clock| clock.now());
        let events = self.features.plan().events();
        self.features.observe(event, row)?;
        lap(Lap::Feature);
        let unit = events.read_entity(self.unit, event);
        let (id, at) = (events.id(event), events.time(event));
        let assignment = self.router.route(unit, id, at);
        lap(Lap::Route);
        let request = Request { assignment, ..Request::new(id, at, unit, row) };
        let mut prediction = self.service.predict(&self.config.slot, &request)?;
        // Minor units, and how many of them make one.
        let amount = self.amount.map(|amount| events.read_money(amount, event));
        if let Some(token) = &mut prediction.exposure {
            let covariate = self.covariates.get(&unit).copied().unwrap_or(0);
            *token =
                token.with_amount(amount.map_or(0, |(minor, _)| minor)).with_covariate(covariate);
        }
        lap(Lap::Predict);
        if let (Some(recorder), Some(token)) = (&self.recorder, &prediction.exposure) {
            recorder.expose(token);
        }
        let latency = match (&self.clock, started) {
            (Some(clock), Some(started)) => clock.now().since(started),
            _ => Duration::ZERO,
        };
        self.log.record(&prediction, row);
        self.monitoring.record(&prediction, row, latency)?;
        if let Some(shadow) = self.shadow() {
            let amount = amount.map_or(0.0, |(minor, scale)| minor as f64 / scale);
            shadow.record(&prediction, amount);
            self.score_shadow(&shadow, 1);
        }
        lap(Lap::Record);
        Ok(prediction)
    }

    /// Gives an event its label, `true` for bad, which became known at `at`: to the features, to the monitoring, to a
    /// challenger in shadow.
    pub fn label(&self, event: &E, bad: bool, at: Timestamp) -> (LabelOutcome, LabelJoin) {
        let id = self.features.plan().events().id(event);
        let join = self.monitoring.label(id, bad, at);
        if let Some(shadow) = self.shadow() {
            shadow.run().label(id, bad);
        }
        (self.features.label(event, bad), join)
    }

    /// [`label`](Self::label), and the same to the experiment that the request was part of: `exposure` is that of its
    /// [`Prediction`]. What the experiment made of it, its [`counters`](crate::experiment::ExperimentStatistics::counters) tell.
    pub fn label_exposed(
        &self,
        event: &E,
        bad: bool,
        exposure: &ExposureToken,
        at: Timestamp,
    ) -> (LabelOutcome, LabelJoin) {
        if let Some(recorder) = &self.recorder {
            recorder.outcome(exposure, bad, at);
        }
        self.label(event, bad, at)
    }

    /// Looks at what has become known by `now`, closes the drift stretch if it has lasted a bucket, and moves the alerts:
    /// [`Monitoring::tick`]. With the stretch it also [maintains](OnlineFeatures::maintain) the features. Call it at least
    /// once per bucket.
    pub fn tick(&self, now: Timestamp) -> Tick {
        let tick = self.monitoring.tick(now);
        if tick.drift.is_some() {
            self.features.maintain(now);
        }
        tick
    }

    /// The live features.
    pub fn features(&self) -> &OnlineFeatures<E> {
        &self.features
    }

    /// The live models.
    pub fn service(&self) -> &ModelService {
        &self.service
    }

    /// What watches them.
    pub fn monitoring(&self) -> &Monitoring {
        &self.monitoring
    }

    /// The rules and what fires.
    pub fn alerts(&self) -> &AlertEngine {
        self.monitoring.alerts()
    }

    /// The retrain loop: where it stands, and its audit trail from evidence to promotion.
    pub fn retrain_loop(&self) -> &RetrainLoop {
        &self.retrain
    }

    /// What is live, the champion first.
    fn arms(&self) -> Vec<Deployment> {
        self.lineup().arms
    }

    fn lineup(&self) -> Lineup {
        let lineup = self.service.lineup(&self.config.slot);
        lineup.expect("the slot was opened with the lifecycle")
    }
}

impl<E> fmt::Debug for Lifecycle<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lifecycle")
            .field("config", &self.config)
            .field("features", &self.features)
            .field("service", &self.service)
            .finish_non_exhaustive()
    }
}
