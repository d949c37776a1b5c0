//! The façade: a model's life as the product sees it, [`score`](Lifecycle::score), [`label`](Lifecycle::label),
//! [`tick`](Lifecycle::tick), [`retrain`](Lifecycle::retrain). The only place where stages meet; each of them can be used
//! without it.

use std::collections::HashMap;
use std::fmt;
use std::ops::Range;
use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::alert::{AlertConfig, AlertEngine};
use crate::audit::Signature;
use crate::dataset::Dataset;
use crate::drift::{ProfileConfig, ReferenceProfile};
use crate::error::{Error, Result};
use crate::experiment::{ExperimentRecorder, ExposureToken, HashRouter, Router};
use crate::feature::{FeaturePlan, LabelOutcome, Observed, OnlineConfig, OnlineFeatures};
use crate::ids::{EntityKey, ModelRef};
use crate::model::{ModelExt, Trainer};
use crate::monitor::{InMemoryPredictionLog, LabelCounts, LabelJoin, PredictionLog};
use crate::monitoring::{Monitoring, MonitoringConfig, Tick};
use crate::registry::{Artifact, Evidence, EvidenceKind, ModelRegistry, ModelVersion};
use crate::retrain::{
    Gate, GateConfig, GateRows, GateVerdict, RetrainConfig, RetrainDecision, RetrainLoop,
    RetrainPlan, RetrainStage, Scored, ShadowRun, Situation,
};
use crate::seed::Seed;
use crate::serve::{Deployment, Lineup, ModelService, Prediction, Request, SlotConfig};
use crate::time::{Clock, Timestamp};
use crate::train::{TrainingRecord, TrainingRun};

/// Parameters of a [`Lifecycle`].
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LifecycleConfig {
    /// Slot of the registry whose champion answers.
    pub slot: String,
    /// Entity that requests are routed by, a customer or a card.
    pub unit: String,
    /// Money field with the amount at stake, for experiments; `None` where only counts matter.
    pub amount: Option<String>,
    /// How live features treat late events, and how much they keep.
    pub online: OnlineConfig,
    /// What values models take, and what is decided without a score.
    pub serving: SlotConfig,
    /// How predictions and labels are counted, and what is called drift.
    pub monitoring: MonitoringConfig,
    /// When to train again, and on what.
    pub retrain: RetrainConfig,
    /// What a challenger must show.
    pub gate: GateConfig,
    /// Bins of the drift reference that comes with a promoted challenger: the rows that it was compared on, which it was not
    /// trained on, so that its scores there are what live ones will be.
    pub profile: ProfileConfig,
    /// Most live requests that a challenger in shadow is compared on.
    pub max_shadow: usize,
}

impl LifecycleConfig {
    /// Routes by `unit` to the champion of `slot`; a request that cannot be scored goes to review; the rest by default.
    pub fn new(slot: &str, unit: &str) -> Self {
        LifecycleConfig {
            slot: slot.to_owned(),
            unit: unit.to_owned(),
            amount: None,
            online: OnlineConfig::default(),
            serving: SlotConfig::default(),
            monitoring: MonitoringConfig::default(),
            retrain: RetrainConfig::default(),
            gate: GateConfig::default(),
            profile: ProfileConfig::default(),
            max_shadow: 1_000_000,
        }
    }
}

/// What the host hands to a [`Lifecycle`]; the traits' defaults or its own.
#[derive(Debug)]
pub struct Parts<E> {
    /// Features of its events.
    pub features: FeaturePlan<E>,
    /// Versions and champions.
    pub registry: Arc<ModelRegistry>,
    /// Which arm answers; arm 0 is the champion, the next ones the challengers.
    pub router: Arc<dyn Router>,
    /// Counts the exposures and outcomes of a running experiment; its router goes with it.
    pub recorder: Option<Arc<ExperimentRecorder>>,
    /// What was known of each unit before the experiment, where its plan takes it out of the differences: see
    /// [`with_covariate`](ExposureToken::with_covariate). A unit that is not there has 0.
    pub covariates: HashMap<EntityKey, i32>,
    /// Predictions kept for inspection.
    pub log: Arc<dyn PredictionLog>,
    /// Rules and sinks.
    pub alerts: AlertEngine,
    /// What latency is measured with; `None` for not at all.
    pub clock: Option<Arc<dyn Clock>>,
}

impl<E> Parts<E> {
    /// The defaults, all in memory: every request to the champion, the last 10,000 predictions of each version kept, no
    /// alert rules, no clock. Replace a field to have it otherwise.
    pub fn in_memory(features: FeaturePlan<E>, registry: Arc<ModelRegistry>) -> Self {
        Parts {
            features,
            registry,
            router: Arc::new(HashRouter::champion_only()),
            recorder: None,
            covariates: HashMap::new(),
            log: Arc::new(InMemoryPredictionLog::default()),
            alerts: AlertEngine::new(AlertConfig::default(), Vec::new(), Vec::new())
                .expect("the default configuration, and nothing to refuse"),
            clock: None,
        }
    }
}

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

/// A plan with everything that it takes to carry it out.
struct Order<'a> {
    plan: &'a RetrainPlan,
    trainer: &'a dyn Trainer,
    train: &'a Dataset,
    gate: &'a Dataset,
    approver: &'a str,
    seed: Seed,
}

/// A challenger that has passed the gate: what it needs to take the champion's place, and what the service's shadow of it says
/// meanwhile.
struct Shadow {
    deployment: Deployment,
    registered: ModelVersion,
    reference: ReferenceProfile,
    training_scores: Vec<f64>,
    approver: String,
    seed: Seed,
    until: Timestamp,
    run: Mutex<ShadowRun>,
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

/// What came of a [`retrain`](Lifecycle::retrain). The challenger that passed is promoted, unless it is to go into shadow first.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RetrainOutcome {
    /// The challenger, registered whether or not it was promoted.
    pub challenger: ModelRef,
    /// The champion it was compared with.
    pub champion: ModelRef,
    /// The comparison.
    pub verdict: GateVerdict,
    /// How the challenger was trained.
    pub training: TrainingRecord,
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

    /// Whether what fires calls for a challenger, by the configured policy. `labels` counts the labels that the host has within
    /// a stretch of time, and the bad rows among them; [`labels`](crate::monitor::Monitor::labels) of the monitor where all of
    /// it was live.
    pub fn plan_retrain(
        &self,
        now: Timestamp,
        labels: impl Fn(&Range<Timestamp>) -> LabelCounts,
    ) -> RetrainDecision {
        let (train, gate) = self.config.retrain.stretches(now);
        let LabelCounts { labels, bad, .. } = labels(&(train.start..gate.end));
        let alerts = self.alerts().firing();
        let canary = self.recorder.is_some() && self.arms().len() > 1;
        self.retrain.consider(&Situation { now, alerts: &alerts, labels, bad, canary })
    }

    /// Carries out the plan that [`plan_retrain`](Self::plan_retrain) made: fits a challenger on `train`, registers it, compares it
    /// with the champion on `gate`. If it passes it goes into shadow where that is configured (then
    /// [`end_shadow`](Self::end_shadow) decides), and otherwise is promoted at once: deployed in the champion's and all
    /// challengers' place, the drift reference moved to the rows of `gate`, detectors reset, the alerts on the models before it
    /// ended. `approver` answers for the promotion; it must not be the trainer.
    ///
    /// The challenger takes over what people have decided about the champion: its costs, its reason codes, and of its bands that
    /// it declines as many of the rows of `gate`; reviews start where the costs say. The slot's input rules and fallback stay.
    /// In shadow it is a shadow of the [service](Self::service), which scores one waiting request with every answer.
    ///
    /// # Errors
    /// `Refused` unless this plan is the one to be carried out; those of training, comparing and the registry. Nothing is promoted
    /// or deployed then, and the plan is given up.
    pub fn retrain(
        &self,
        plan: &RetrainPlan,
        trainer: &dyn Trainer,
        train: &Dataset,
        gate: &Dataset,
        approver: &str,
        seed: Seed,
    ) -> Result<RetrainOutcome> {
        if self.retrain.stage() != RetrainStage::Training(plan.clone()) {
            let reason = "it is not the plan under way".into();
            return Err(Error::Refused {
                action: format!("carry out plan {}", plan.number),
                reason,
            });
        }
        let order = Order { plan, trainer, train, gate, approver, seed };
        let carried_out = self.carry_out(&order);
        if let Err(error) = &carried_out {
            self.give_up(&error.to_string(), plan.at);
        }
        carried_out
    }

    fn carry_out(&self, order: &Order<'_>) -> Result<RetrainOutcome> {
        let Order { plan, trainer, train, gate, approver, seed } = *order;
        let at = plan.at;
        let features = self.features.plan().set().fingerprint();
        let champion = self.arms().swap_remove(0);
        let before = self.registry.load(&champion.version)?;
        let costs = before.costs.unwrap_or(*self.gate.costs());
        let run = TrainingRun::fit(trainer, train, Some(features), seed)?;
        let training_scores = run.model.score_dataset(train)?;
        let amounts = train.amounts().unwrap_or(&[]);
        let threshold = costs.best_threshold(train.labels(), &training_scores, amounts)?;
        let gate_scores = run.model.score_dataset(gate)?;
        let champion_scores = champion.model.score_dataset(gate)?;
        let (name, author) = (&champion.version.name, format!("retrain with {}", trainer.name()));
        let bands = champion.bands.transferred(threshold, &champion_scores, &gate_scores)?;
        let mut artifact = Artifact::new(name, &author, at, bands, run);
        artifact.costs = Some(costs);
        // Should they not fit the challenger, registration refuses it and says why.
        artifact.reasons = before.reasons;
        artifact.parent = Some(champion.version.clone());
        let reference = ReferenceProfile::new(gate, &gate_scores, &self.config.profile)?;
        artifact.attach(ReferenceProfile::ATTACHMENT, reference.to_bytes())?;
        let registered = self.registry.register(&artifact, at)?;
        let challenger = registered.model.clone();
        self.retrain.trained(&challenger, &champion.version, at)?;
        let verdict = self.gate.judge(
            GateRows::from(gate),
            Scored::new(&champion_scores, champion.bands.review()),
            Scored {
                training_scores: &training_scores,
                ..Scored::new(&gate_scores, bands.review())
            },
            seed,
        )?;
        let stage = self.retrain.judged(&verdict, at)?;
        if verdict.promote {
            let shadow = Shadow {
                deployment: Deployment::of(challenger.clone(), &artifact)?,
                registered,
                reference,
                training_scores,
                approver: approver.to_owned(),
                seed,
                until: at,
                run: Mutex::new(ShadowRun::new(self.config.max_shadow)),
            };
            match stage {
                RetrainStage::Shadow { until, .. } => {
                    self.deploy_shadows(|shadows| shadows.push(shadow.deployment.clone()))?;
                    *self.shadow.write().unwrap_or_else(PoisonError::into_inner) =
                        Some(Arc::new(Shadow { until, ..shadow }));
                }
                _ => self.promote(&shadow, &verdict, at)?,
            }
        }
        let champion = champion.version;
        Ok(RetrainOutcome { challenger, champion, verdict, training: artifact.training })
    }

    /// Compares the challenger in shadow with the champion on the live requests of its time, once that is over and their labels
    /// are due, and promotes or rejects it. `None` before, or without one. Labels and requests from then on are left out.
    ///
    /// # Errors
    /// Those of the registry; the challenger is given up then.
    pub fn end_shadow(&self, now: Timestamp) -> Result<Option<GateVerdict>> {
        let due = |shadow: &Arc<Shadow>| shadow.until.plus(self.config.retrain.label_delay) <= now;
        let Some(shadow) = self.shadow().filter(due) else {
            return Ok(None);
        };
        self.score_shadow(&shadow, usize::MAX);
        let version = &shadow.deployment.version;
        let judged = self
            .deploy_shadows(|shadows| shadows.retain(|other| other.version != *version))
            .and_then(|()| self.judge_shadow(&shadow, now));
        *self.shadow.write().unwrap_or_else(PoisonError::into_inner) = None;
        if let Err(error) = &judged {
            self.give_up(&error.to_string(), now);
        }
        judged.map(Some)
    }

    fn judge_shadow(&self, shadow: &Shadow, now: Timestamp) -> Result<GateVerdict> {
        let rows = shadow.run().rows();
        let champion = self.arms()[0].bands.review();
        let verdict = self.gate.judge(
            rows.gate(),
            Scored::new(&rows.champion, champion),
            Scored {
                training_scores: &shadow.training_scores,
                ..Scored::new(&rows.challenger, shadow.deployment.bands.review())
            },
            shadow.seed,
        )?;
        self.retrain.judged(&verdict, now)?;
        if verdict.promote {
            self.promote(shadow, &verdict, now)?;
        }
        Ok(verdict)
    }

    fn promote(&self, shadow: &Shadow, verdict: &GateVerdict, at: Timestamp) -> Result<()> {
        let before: Vec<ModelRef> = self.arms().into_iter().map(|arm| arm.version).collect();
        let Shadow { deployment, registered, reference, approver, .. } = shadow;
        let (version, reason) = (&deployment.version, verdict.to_string());
        let figures = &verdict.challenger;
        let mut evidence =
            Evidence::new(EvidenceKind::Evaluation, reason.as_bytes(), verdict.n_rows)
                .with_metric("cost", figures.cost);
        if let Some(precision) = figures.average_precision {
            evidence = evidence.with_metric("average_precision", precision);
        }
        let approved = Signature::new(approver, &reason, at);
        self.registry.ship(registered, &self.config.slot, evidence, approved)?;
        let lineup = Lineup { arms: vec![deployment.clone()], ..self.lineup() };
        self.service.deploy(&self.config.slot, lineup)?;
        self.monitoring.rebase(version, reference.clone(), &before, at)?;
        self.retrain.promoted(Signature::new(approver, &reason, at))
    }

    fn give_up(&self, reason: &str, at: Timestamp) {
        // Refused only where nothing is under way, and then there is nothing to give up.
        let _ = self.retrain.give_up(Signature::new("lifecycle", reason, at));
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

    fn deploy_shadows(&self, change: impl FnOnce(&mut Vec<Deployment>)) -> Result<()> {
        let mut lineup = self.lineup();
        change(&mut lineup.shadows);
        self.service.deploy(&self.config.slot, lineup).map(drop)
    }

    /// Lets the shadows score what waits for them, one request with every answer: no thread works for them alone.
    fn score_shadow(&self, shadow: &Shadow, most: usize) {
        let drained = self.service.drain_shadows(&self.config.slot, most, |said| {
            if said.model == shadow.deployment.version {
                shadow.run().answer(said.answer.id, said.score.unwrap_or(f64::NAN));
            }
        });
        debug_assert!(drained.is_ok(), "the slot was opened with the lifecycle");
    }

    fn shadow(&self) -> Option<Arc<Shadow>> {
        self.shadow.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shadow {
    /// Notes what the champion answered. Should the challenger fail it has no score, which the gate holds against it.
    fn record(&self, prediction: &Prediction, amount: f64) {
        let Prediction { id, at, unit, score, ref assignment, .. } = *prediction;
        if at < self.until && assignment.arm == 0 {
            self.run().record(id, unit, amount, score.unwrap_or(f64::NAN));
        }
    }

    fn run(&self) -> std::sync::MutexGuard<'_, ShadowRun> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
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
