//! The façade: a model's life as the product sees it, [`score`](Lifecycle::score), [`label`](Lifecycle::label),
//! [`tick`](Lifecycle::tick), [`retrain`](Lifecycle::retrain). The only place where stages meet; each of them can be used
//! without it.

use std::fmt;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::alert::{Alert, AlertConfig, AlertEngine};
use crate::audit::Signature;
use crate::dataset::Dataset;
use crate::drift::{DriftConfig, DriftReport, DriftWindow, ProfileConfig, ReferenceProfile};
use crate::error::{Error, Result};
use crate::evaluate::DecisionBands;
use crate::experiment::{ExperimentRecorder, ExposureToken, HashRouter, Recorded, Router};
use crate::feature::{FeaturePlan, LabelOutcome, Observed, OnlineConfig, OnlineFeatures};
use crate::ids::ModelRef;
use crate::model::{ModelExt, Trainer};
use crate::monitor::{
    Finding, FindingBoard, InMemoryPredictionLog, LabelJoin, Monitor, MonitorConfig, PredictionLog,
};
use crate::registry::{Artifact, Evidence, EvidenceKind, ModelRegistry};
use crate::retrain::{Gate, GateConfig, GateVerdict, RetrainPlan, Scored};
use crate::seed::Seed;
use crate::serve::{Deployment, Lineup, ModelService, Prediction, Request, SlotConfig};
use crate::time::Timestamp;
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
    /// How predictions are counted; its bucket is also the stretch that drift is reported on.
    pub monitor: MonitorConfig,
    /// What a challenger must show.
    pub gate: GateConfig,
    /// Bins of the drift reference that a promoted challenger's training data is profiled on.
    pub profile: ProfileConfig,
    /// What is called drift.
    pub drift: DriftConfig,
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
            monitor: MonitorConfig::default(),
            gate: GateConfig::default(),
            profile: ProfileConfig::default(),
            drift: DriftConfig::default(),
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
    /// Predictions kept for inspection.
    pub log: Arc<dyn PredictionLog>,
    /// Rules and sinks.
    pub alerts: AlertEngine,
}

impl<E> Parts<E> {
    /// The defaults, all in memory: every request to the champion, the last 10,000 predictions of each version kept, no
    /// alert rules. Replace a field to have it otherwise.
    pub fn in_memory(features: FeaturePlan<E>, registry: Arc<ModelRegistry>) -> Self {
        Parts {
            features,
            registry,
            router: Arc::new(HashRouter::champion_only()),
            recorder: None,
            log: Arc::new(InMemoryPredictionLog::new(10_000).expect("a capacity above zero")),
            alerts: AlertEngine::new(AlertConfig::default(), Vec::new(), Vec::new())
                .expect("the default configuration, and nothing to refuse"),
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
    service: ModelService,
    log: Arc<dyn PredictionLog>,
    monitor: Monitor,
    drift: RwLock<Arc<DriftState>>,
    /// What rules look at.
    board: Mutex<FindingBoard>,
    alerts: AlertEngine,
    gate: Gate,
}

struct DriftState {
    window: DriftWindow,
    /// Start of the open stretch, on the monitor's buckets, in microseconds; [`NO_EVENT`] until there is an event.
    from: AtomicI64,
}

const NO_EVENT: i64 = i64::MIN;

impl DriftState {
    fn new(reference: ReferenceProfile, config: DriftConfig) -> Result<Arc<Self>> {
        let window = DriftWindow::new(Arc::new(reference), config)?;
        Ok(Arc::new(DriftState { window, from: AtomicI64::new(NO_EVENT) }))
    }

    /// Opens the first stretch; the first thread that sees an event does.
    fn open(&self, from: Timestamp) {
        if self.from.load(Ordering::Relaxed) == NO_EVENT {
            let (ours, relaxed) = (from.micros(), Ordering::Relaxed);
            let _ = self.from.compare_exchange(NO_EVENT, ours, relaxed, relaxed);
        }
    }

    /// Closes the open stretch if it has lasted as long as a bucket.
    fn close(&self, to: Timestamp, bucket: std::time::Duration) -> Option<DriftReport> {
        let from = self.from.load(Ordering::Relaxed);
        let start = Timestamp::from_micros(from);
        if from == NO_EVENT || to.since(start) < bucket {
            return None;
        }
        self.from.store(to.micros(), Ordering::Relaxed);
        self.window.finish(start, to)
    }
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

/// What a [`tick`](Lifecycle::tick) brought to light.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Tick {
    /// What became known since the last one.
    pub findings: Vec<Finding>,
    /// Drift of the stretch that ended, if one did.
    pub drift: Option<DriftReport>,
    /// Alerts that changed their state.
    pub alerts: Vec<Alert>,
}

/// What came of a [`retrain`](Lifecycle::retrain).
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
    /// than there are models; `SchemaMismatch` if a model takes other features; what the registry and the parts return.
    pub fn new(
        config: LifecycleConfig,
        parts: Parts<E>,
        challengers: &[ModelRef],
        reference: ReferenceProfile,
    ) -> Result<Self> {
        let Parts { features, registry, router, recorder, log, alerts } = parts;
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
        let arms = models.into_iter().map(deploy).collect::<Result<Vec<_>>>()?;
        let money = |name: &String| {
            let position = features.events().money_position(name);
            position.ok_or_else(|| Error::NotFound { kind: "money field", id: name.clone() })
        };
        let drift = DriftState::new(reference, config.drift)?;
        let service = ModelService::default();
        let lineup = Lineup { arms, fallback: None, shadows: Vec::new() };
        service.open(&config.slot, features.schema().clone(), config.serving.clone(), lineup)?;
        Ok(Lifecycle {
            amount: config.amount.as_ref().map(money).transpose()?,
            unit: features.events().entity_position(&config.unit)?,
            service,
            features: features.online(config.online)?,
            monitor: Monitor::new(config.monitor)?,
            drift: RwLock::new(drift),
            gate: Gate::new(config.gate)?,
            registry,
            router,
            recorder,
            log,
            board: Mutex::default(),
            alerts,
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
        let events = self.features.plan().events();
        self.features.observe(event, row)?;
        lap(Lap::Feature);
        let unit = events.read_entity(self.unit, event);
        let (id, at) = (events.id(event), events.time(event));
        let assignment = self.router.route(unit, id, at);
        lap(Lap::Route);
        let request = Request { assignment, ..Request::new(id, at, unit, row) };
        let mut prediction = self.service.predict(&self.config.slot, &request)?;
        if let (Some(amount), Some(token)) = (self.amount, prediction.exposure) {
            let (minor, _) = events.read_money(amount, event);
            prediction.exposure = Some(token.with_amount(minor));
        }
        lap(Lap::Predict);
        if let (Some(recorder), Some(token)) = (&self.recorder, &prediction.exposure) {
            recorder.expose(token);
        }
        self.log.record(&prediction);
        self.monitor.record(&prediction);
        let drift = self.drift();
        drift.open(self.config.monitor.bucket_start(at));
        drift.window.observe_row(row, None)?;
        if prediction.assignment.arm == 0 {
            drift.window.observe_score(prediction.score, None)?;
        }
        lap(Lap::Record);
        Ok(prediction)
    }

    /// Gives an event its label, `true` for bad, to the features, to the monitor, and to the rate of bad
    /// labels that drift is told of.
    pub fn label(&self, event: &E, bad: bool) -> (LabelOutcome, LabelJoin) {
        let id = self.features.plan().events().id(event);
        let join = self.monitor.label(id, bad);
        if join == LabelJoin::Joined {
            let counted = self.drift().window.observe_label(bad, None);
            debug_assert!(counted.is_ok(), "no segment is no unknown segment");
        }
        (self.features.label(event, bad), join)
    }

    /// [`label`](Self::label), and the same to the experiment that the request was part of: `exposure` is that of its
    /// [`Prediction`], `at` the moment when the label became known. `Unknown` without a recorder.
    pub fn label_exposed(
        &self,
        event: &E,
        bad: bool,
        exposure: &ExposureToken,
        at: Timestamp,
    ) -> (LabelOutcome, LabelJoin, Recorded) {
        let (feature, monitor) = self.label(event, bad);
        let recorder = self.recorder.as_ref();
        let recorded =
            recorder.map_or(Recorded::Unknown, |recorder| recorder.outcome(exposure, bad, at));
        (feature, monitor, recorded)
    }

    /// Looks at what has become known by `now`, closes the drift stretch if it has lasted a bucket, and moves the alerts.
    /// Call it at least once per bucket; events scored before the call count to the stretch that it closes.
    pub fn tick(&self, now: Timestamp) -> Tick {
        let mut findings = self.monitor.findings(now);
        let to = self.config.monitor.bucket_start(now);
        let report = self.drift().close(to, self.config.monitor.bucket);
        if let Some(report) = &report {
            findings.extend(report.findings(Some(&self.arms()[0].version)));
        }
        let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
        board.post(&findings);
        let alerts = self.alerts.tick(now, &*board);
        drop(board);
        Tick { findings, drift: report, alerts }
    }

    /// Carries out a plan: fits a challenger on `train`, registers it, compares it with the champion on `gate`, and if
    /// it passes promotes and deploys it in the champion's and all challengers' place, with the drift reference moved to
    /// its training data and the alerts on the models before it ended. `approver` answers for the promotion; it must not be the trainer.
    ///
    /// # Errors
    /// Those of training, comparing and the registry. Nothing is promoted or deployed then.
    pub fn retrain(
        &self,
        plan: &RetrainPlan,
        trainer: &dyn Trainer,
        train: &Dataset,
        gate: &Dataset,
        approver: &str,
        seed: Seed,
    ) -> Result<RetrainOutcome> {
        let features = self.features.plan().set().fingerprint();
        let before = self.arms();
        let champion = &before[0];
        let run = TrainingRun::fit(trainer, train, Some(features), seed)?;
        let train_scores = run.model.score_dataset(train)?;
        let amounts = train.amounts().unwrap_or(&[]);
        let threshold = self.gate.costs().best_threshold(train.labels(), &train_scores, amounts)?;
        let gate_scores = run.model.score_dataset(gate)?;
        let champion_scores = champion.model.score_dataset(gate)?;
        let verdict = self.gate.judge(
            gate,
            Scored { scores: &champion_scores, threshold: champion.bands.review() },
            Scored { scores: &gate_scores, threshold },
            seed,
        )?;
        let (name, author) = (&champion.version.name, format!("retrain with {}", trainer.name()));
        let bands = DecisionBands::review_from(threshold)?;
        let mut artifact = Artifact::new(name, &author, plan.at, bands, run);
        artifact.costs = Some(*self.gate.costs());
        artifact.parent = Some(champion.version.clone());
        let reference = ReferenceProfile::new(train, &train_scores, &self.config.profile)?;
        artifact.attach(ReferenceProfile::ATTACHMENT, reference.to_bytes())?;
        let registered = self.registry.register(&artifact, plan.at)?;
        let version = registered.model.clone();
        if verdict.promote {
            let reason = verdict.to_string();
            let evidence =
                Evidence::new(EvidenceKind::Evaluation, reason.as_bytes(), verdict.n_rows)
                    .with_metric("average_precision", verdict.challenger_precision)
                    .with_metric("cost", verdict.challenger_cost);
            let approved = Signature::new(approver, &reason, plan.at);
            self.registry.ship(&registered, &self.config.slot, evidence, approved)?;
            let lineup = Lineup::new(Deployment::of(version.clone(), &artifact)?);
            self.service.deploy(&self.config.slot, lineup)?;
            let drift = DriftState::new(reference, self.config.drift)?;
            *self.drift.write().unwrap_or_else(PoisonError::into_inner) = drift;
            let mut board = self.board.lock().unwrap_or_else(PoisonError::into_inner);
            for arm in before.iter() {
                board.retire(&arm.version);
                self.alerts.retire(&arm.version, &format!("rebased on {version}"), plan.at);
            }
            drop(board);
        }
        let (challenger, champion) = (version, champion.version.clone());
        Ok(RetrainOutcome { challenger, champion, verdict, training: artifact.training })
    }

    /// The live features.
    pub fn features(&self) -> &OnlineFeatures<E> {
        &self.features
    }

    /// The live models.
    pub fn service(&self) -> &ModelService {
        &self.service
    }

    /// The rules and what fires.
    pub fn alerts(&self) -> &AlertEngine {
        &self.alerts
    }

    /// What is live, the champion first.
    fn arms(&self) -> Vec<Deployment> {
        let lineup = self.service.lineup(&self.config.slot);
        lineup.expect("the slot was opened with the lifecycle").arms
    }

    fn drift(&self) -> Arc<DriftState> {
        self.drift.read().unwrap_or_else(PoisonError::into_inner).clone()
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
