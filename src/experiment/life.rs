//! An experiment: its plan, its router, and the trail of what happened to it.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::config::ExperimentConfig;
use super::event::{ExperimentEvent, ExperimentState, Look, StopReason};
use super::router::HashRouter;
use super::verdict::Verdict;
use crate::audit::{AuditEntry, AuditLog, Signature};
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// An experiment: its plan, its router, where it stands, and the audit trail.
///
/// draft → running ⇄ paused → stopped → decided; running or paused → killed → stopped. While it runs, exposure may rise
/// (same phase) and shares may change (next phase); salt, plan and arms never do. Every change is signed and appended to
/// the trail, from which the state can be [restored](Self::restore).
///
/// # Concurrency
/// Share it by reference. The router reads atomics only; a [`kill`](Self::kill) reaches the next request.
#[derive(Debug)]
pub struct Experiment {
    pub(super) config: ExperimentConfig,
    pub(super) router: Arc<HashRouter>,
    life: Mutex<Life>,
}

/// What changes over an experiment's life, all of it under one lock.
#[derive(Debug)]
pub(super) struct Life {
    pub(super) state: ExperimentState,
    pub(super) looks: Vec<Look>,
    /// Since when the present exposure holds.
    pub(super) step_since: Timestamp,
    pub(super) verdict: Option<Verdict>,
    pub(super) audit: AuditLog<ExperimentEvent>,
}

impl Experiment {
    /// A draft.
    ///
    /// # Errors
    /// `InvalidConfig` for what [`ExperimentConfig::check`] refuses; `Refused` without an actor or a reason.
    pub fn new(config: ExperimentConfig, signature: Signature<'_>) -> Result<Self> {
        let experiment = Experiment::unborn(config)?;
        let event = ExperimentEvent::Created { config: experiment.config.digest() };
        experiment.record(&mut experiment.life(), event, signature, "create the experiment")?;
        Ok(experiment)
    }

    fn unborn(config: ExperimentConfig) -> Result<Self> {
        config.check()?;
        let router = Arc::new(HashRouter::switched_off(config.routing.clone())?);
        let life = Life {
            state: ExperimentState::Draft,
            looks: Vec::new(),
            step_since: Timestamp::default(),
            verdict: None,
            audit: AuditLog::default(),
        };
        Ok(Experiment { config, router, life: Mutex::new(life) })
    }

    /// An experiment as its trail left it. Keep the head of the trail elsewhere to notice one that was cut short.
    ///
    /// # Errors
    /// `Corrupt` for a trail that was changed, that does not begin with this configuration, or in which something
    /// happens that could not.
    pub fn restore(
        config: ExperimentConfig,
        trail: Vec<AuditEntry<ExperimentEvent>>,
    ) -> Result<Self> {
        AuditEntry::verify(&trail)?;
        let corrupt = |reason: String| Error::corrupt("experiment trail", reason);
        let experiment = Experiment::unborn(config)?;
        let created = ExperimentEvent::Created { config: experiment.config.digest() };
        if trail.first().map(|entry| &entry.event) != Some(&created) {
            return Err(corrupt("begins with another configuration".into()));
        }
        let mut life = experiment.life();
        for entry in trail {
            let seq = entry.seq;
            let action = format!("apply entry {seq}");
            life.state = experiment
                .allowed(&life, &entry.event, &action)
                .map_err(|error| corrupt(error.to_string()))?;
            experiment.carry_out(&mut life, &entry.event, entry.at);
            life.audit.push(entry);
        }
        drop(life);
        Ok(experiment)
    }

    /// The plan.
    pub fn config(&self) -> &ExperimentConfig {
        &self.config
    }

    /// What routes requests; hand it to whatever answers them.
    pub fn router(&self) -> Arc<HashRouter> {
        self.router.clone()
    }

    /// Where it stands.
    pub fn state(&self) -> ExperimentState {
        self.life().state
    }

    /// The formal looks so far.
    pub fn looks(&self) -> Vec<Look> {
        self.life().looks.clone()
    }

    /// The verdict, once there is one.
    pub fn verdict(&self) -> Option<Verdict> {
        self.life().verdict.clone()
    }

    /// What happened, from the first to the last.
    pub fn audit(&self) -> Vec<AuditEntry<ExperimentEvent>> {
        self.life().audit.entries().to_vec()
    }

    /// Begins.
    ///
    /// # Errors
    /// As all transitions: `Refused` from a state that does not allow it, or without an actor or a reason.
    pub fn start(&self, signature: Signature<'_>) -> Result<()> {
        self.record(&mut self.life(), ExperimentEvent::Started, signature, "start")
    }

    /// Lets the champion answer for a while.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn pause(&self, signature: Signature<'_>) -> Result<()> {
        self.record(&mut self.life(), ExperimentEvent::Paused, signature, "pause")
    }

    /// Goes on after a pause.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn resume(&self, signature: Signature<'_>) -> Result<()> {
        self.record(&mut self.life(), ExperimentEvent::Resumed, signature, "resume")
    }

    /// Throws the kill switch: the champion answers from the next request on. The switch comes first, by one atomic store
    /// that waits for nobody, not even for a look that is under way; then the signature is looked at.
    ///
    /// # Errors
    /// As [`start`](Self::start). In a state in which units are routed the switch is thrown all the same.
    pub fn kill(&self, signature: Signature<'_>) -> Result<()> {
        self.router.kill();
        self.record(&mut self.life(), ExperimentEvent::Killed, signature, "kill")
    }

    /// Ends the routing; labels are still counted.
    ///
    /// # Errors
    /// As [`start`](Self::start).
    pub fn stop(&self, reason: StopReason, signature: Signature<'_>) -> Result<()> {
        self.record(&mut self.life(), ExperimentEvent::Stopped { reason }, signature, "stop")
    }

    /// Lets more units take part. Nobody who takes part already leaves or changes the arm.
    ///
    /// # Errors
    /// As [`start`](Self::start); `Refused` for a share that is not above the present one: to lower it,
    /// [`reweight`](Self::reweight).
    pub fn raise_exposure(&self, exposure_ppm: u32, signature: Signature<'_>) -> Result<()> {
        let event = ExperimentEvent::ExposureRaised { exposure_ppm };
        self.record(&mut self.life(), event, signature, "raise exposure")
    }

    /// Changes shares, and exposure in either direction, in a new phase. As few units as possible change their arm; what
    /// those that do go through from then on is left out of rates and means. Evidence goes on: the event process gains a
    /// factor per phase, differences are weighed by phase, and looks spend what is left of α. A share of zero takes an arm
    /// out.
    ///
    /// # Errors
    /// As [`start`](Self::start); `InvalidConfig` for shares that do not add up; `Refused` for a plan that decides by a
    /// confidence sequence on [`Metric::UnitBadRate`](super::Metric::UnitBadRate), which cannot go on over such a change.
    pub fn reweight(
        &self,
        weights_ppm: &[u32],
        exposure_ppm: u32,
        signature: Signature<'_>,
    ) -> Result<()> {
        let mut life = self.life();
        self.reweight_locked(&mut life, weights_ppm, exposure_ppm, signature)
    }

    pub(super) fn reweight_locked(
        &self,
        life: &mut Life,
        weights_ppm: &[u32],
        exposure_ppm: u32,
        signature: Signature<'_>,
    ) -> Result<()> {
        let phases = self.router.allocations();
        let now = phases.last().expect("there is a first phase");
        let next = now.reweighted(weights_ppm)?;
        let event = ExperimentEvent::Reweighted {
            phase: phases.len() as u16,
            weights_ppm: weights_ppm.to_vec(),
            exposure_ppm,
            moved_ppm: next.moved_from(now),
        };
        self.record(life, event, signature, "reweight")
    }

    /// A verdict that somebody answers for, whatever the rules say.
    ///
    /// # Errors
    /// As [`decide`](Self::decide); `InvalidInput` for an arm that is not there.
    pub fn decide_by_hand(&self, verdict: Verdict, signature: Signature<'_>) -> Result<()> {
        if matches!(verdict, Verdict::Ship { arm } if usize::from(arm) >= self.config.arms.len()) {
            return Err(Error::input("verdict", "ships an arm that is not there"));
        }
        let event = ExperimentEvent::Decided { verdict, by_rule: false };
        self.record(&mut self.life(), event, signature, "decide")
    }

    /// Checks an event, makes it happen and writes it down.
    pub(super) fn record(
        &self,
        life: &mut Life,
        event: ExperimentEvent,
        signature: Signature<'_>,
        action: &str,
    ) -> Result<()> {
        signature.check(action)?;
        life.state = self.allowed(life, &event, action)?;
        self.carry_out(life, &event, signature.at);
        let entry = AuditEntry::after(life.audit.head(), signature, event);
        life.audit.push(entry);
        Ok(())
    }

    pub(super) fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
