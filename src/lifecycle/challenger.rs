//! A challenger's way: planned, trained, judged, in shadow, promoted or given up.

use std::ops::Range;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use crate::audit::Signature;
use crate::dataset::Dataset;
use crate::drift::ReferenceProfile;
use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::lifecycle::Lifecycle;
use crate::model::{ModelExt, Trainer};
use crate::monitor::LabelCounts;
use crate::registry::{Artifact, Evidence, EvidenceKind, ModelVersion};
use crate::retrain::{
    GateRows, GateVerdict, RetrainDecision, RetrainPlan, RetrainStage, Scored, ShadowRun, Situation,
};
use crate::seed::Seed;
use crate::serve::{Deployment, Lineup, Prediction};
use crate::time::Timestamp;
use crate::train::{TrainingRecord, TrainingRun};

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
pub(super) struct Shadow {
    deployment: Deployment,
    registered: ModelVersion,
    reference: ReferenceProfile,
    training_scores: Vec<f64>,
    approver: String,
    seed: Seed,
    until: Timestamp,
    run: Mutex<ShadowRun>,
}

impl<E> Lifecycle<E> {
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

    fn deploy_shadows(&self, change: impl FnOnce(&mut Vec<Deployment>)) -> Result<()> {
        let mut lineup = self.lineup();
        change(&mut lineup.shadows);
        self.service.deploy(&self.config.slot, lineup).map(drop)
    }

    /// Lets the shadows score what waits for them, one request with every answer: no thread works for them alone.
    pub(super) fn score_shadow(&self, shadow: &Shadow, most: usize) {
        let drained = self.service.drain_shadows(&self.config.slot, most, |said| {
            if said.model == shadow.deployment.version {
                shadow.run().answer(said.answer.id, said.score.unwrap_or(f64::NAN));
            }
        });
        debug_assert!(drained.is_ok(), "the slot was opened with the lifecycle");
    }

    pub(super) fn shadow(&self) -> Option<Arc<Shadow>> {
        self.shadow.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Shadow {
    /// Notes what the champion answered. Should the challenger fail it has no score, which the gate holds against it.
    pub(super) fn record(&self, prediction: &Prediction, amount: f64) {
        let Prediction { id, at, unit, score, ref assignment, .. } = *prediction;
        if at < self.until && assignment.arm == 0 {
            self.run().record(id, unit, amount, score.unwrap_or(f64::NAN));
        }
    }

    pub(super) fn run(&self) -> MutexGuard<'_, ShadowRun> {
        self.run.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
