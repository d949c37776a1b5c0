//! An experiment's life: what may happen to it when, and the trail of what did.

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::allocation::Allocation;
use super::basis::Subject;
use super::config::{ExperimentConfig, Mode};
use super::plan::Inference;
use super::record::ExperimentStatistics;
use super::report::{Evidence, ExperimentReport, Verdict};
use super::router::{HashRouter, MAX_PHASES, Switch};
use super::slot::SLOTS;
use crate::audit::{AuditEntry, AuditLog, Signature};
use crate::error::{Error, Result};
use crate::ids::Digest;
use crate::time::Timestamp;

/// Where an experiment stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExperimentState {
    /// Planned; the champion answers.
    Draft,
    /// Units are routed to their arms.
    Running,
    /// The champion answers until it is resumed.
    Paused,
    /// The champion answers; it must be stopped.
    Killed,
    /// The champion answers; labels are still counted.
    Stopped,
    /// There is a verdict; nothing can happen any more.
    Decided,
}

/// Why an experiment was stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum StopReason {
    /// Enough units, or enough evidence.
    Complete,
    /// A guardrail was violated.
    Guardrail,
    /// Units did not fall into arms as planned.
    SampleRatio,
    /// Somebody said so.
    Manual,
}

/// One formal look at the evidence.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Look {
    /// When.
    pub at: Timestamp,
    /// The phase that was running.
    pub phase: u16,
    /// Share of the planned size that was there.
    pub information: f64,
    /// Per challenger, what its evidence on the primary metric was.
    pub evidence: Vec<Evidence>,
}

/// What happened to an experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum ExperimentEvent {
    /// It was planned.
    Created {
        /// Digest of its configuration.
        config: Digest,
    },
    /// It was started.
    Started,
    /// The champion answers for a while.
    Paused,
    /// Units are routed again.
    Resumed,
    /// More units take part.
    ExposureRaised {
        /// Parts per million that take part now.
        exposure_ppm: u32,
    },
    /// Shares changed and a new phase began.
    Reweighted {
        /// The new phase.
        phase: u16,
        /// Shares in parts per million.
        weights_ppm: Vec<u32>,
        /// Parts per million that take part.
        exposure_ppm: u32,
        /// Slots that changed hands.
        moved_ppm: u32,
    },
    /// The kill switch was thrown.
    Killed,
    /// It was stopped.
    Stopped {
        /// Why.
        reason: StopReason,
    },
    /// The evidence was looked at.
    Looked {
        /// What it said.
        look: Look,
    },
    /// There is a verdict.
    Decided {
        /// It.
        verdict: Verdict,
        /// Whether the plan's rules gave it, or somebody.
        by_rule: bool,
    },
}

impl fmt::Display for ExperimentEvent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let percent = |ppm: &u32| f64::from(*ppm) / 10_000.0;
        match self {
            ExperimentEvent::Created { config } => write!(f, "created (plan {})", config.short()),
            ExperimentEvent::Started => f.write_str("started"),
            ExperimentEvent::Paused => f.write_str("paused"),
            ExperimentEvent::Resumed => f.write_str("resumed"),
            ExperimentEvent::ExposureRaised { exposure_ppm } => {
                write!(f, "exposure raised to {} %", percent(exposure_ppm))
            }
            ExperimentEvent::Reweighted { phase, weights_ppm, moved_ppm, .. } => {
                let weights: Vec<String> =
                    weights_ppm.iter().map(|w| percent(w).to_string()).collect();
                let moved = percent(moved_ppm);
                write!(f, "phase {phase} with {} %, {moved} % moved", weights.join("/"))
            }
            ExperimentEvent::Killed => f.write_str("killed"),
            ExperimentEvent::Stopped { reason } => write!(f, "stopped ({reason:?})"),
            ExperimentEvent::Looked { look } => {
                write!(f, "looked at {:.1} % of the information", 100.0 * look.information)
            }
            ExperimentEvent::Decided { verdict, by_rule } => {
                let by = if *by_rule { "by the plan" } else { "by hand" };
                write!(f, "decided {by}: {verdict}")
            }
        }
    }
}

/// What a [`look`](Experiment::look) led to.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Step {
    /// Go on.
    Continue,
    /// A canary's next step has begun.
    ExposureRaised(u32),
    /// A bandit's next epoch has begun with these shares.
    Reweighted(Vec<u32>),
    /// A canary was killed and stopped: a guardrail was violated.
    RolledBack,
}

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
    config: ExperimentConfig,
    router: Arc<HashRouter>,
    life: Mutex<Life>,
}

#[derive(Debug)]
struct Life {
    state: ExperimentState,
    looks: Vec<Look>,
    step_since: Timestamp,
    verdict: Option<Verdict>,
    audit: AuditLog<ExperimentEvent>,
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

    /// Throws the kill switch: the champion answers from the next request on. The switch comes first, by one atomic store;
    /// then the signature is looked at.
    ///
    /// # Errors
    /// As [`start`](Self::start). In a state in which units are routed the switch is thrown all the same.
    pub fn kill(&self, signature: Signature<'_>) -> Result<()> {
        let mut life = self.life();
        if matches!(life.state, ExperimentState::Running | ExperimentState::Paused) {
            self.router.switch(Switch::Killed);
        }
        self.record(&mut life, ExperimentEvent::Killed, signature, "kill")
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

    /// Changes shares, and exposure in either direction, in a new phase. As few units as possible change their arm; those
    /// that do leave the analysis. A share of zero takes an arm out.
    ///
    /// # Errors
    /// As [`start`](Self::start); `InvalidConfig` for shares that do not add up.
    pub fn reweight(
        &self,
        weights_ppm: &[u32],
        exposure_ppm: u32,
        signature: Signature<'_>,
    ) -> Result<()> {
        let mut life = self.life();
        self.reweight_locked(&mut life, weights_ppm, exposure_ppm, signature)
    }

    fn reweight_locked(
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

    /// What is known at `now`, without any consequence. Bounds of a group-sequential plan are looked at by
    /// [`look`](Self::look) only.
    pub fn report(&self, statistics: &ExperimentStatistics, now: Timestamp) -> ExperimentReport {
        let life = self.life();
        self.analyze(&life, statistics, now, false)
    }

    fn analyze(
        &self,
        life: &Life,
        statistics: &ExperimentStatistics,
        now: Timestamp,
        formal: bool,
    ) -> ExperimentReport {
        let subject = Subject {
            config: &self.config,
            router: &self.router,
            state: life.state,
            looks: &life.looks,
            formal,
        };
        subject.analyze(statistics, now)
    }

    /// A formal look at the evidence, at the signature's moment: it is remembered, so that evidence once reached stays,
    /// and it has consequences: a canary goes to its next step or is rolled back, a bandit gets new shares.
    ///
    /// # Errors
    /// `Refused` while it is a draft or once it is decided, or if the information has not grown since the last look of a
    /// group-sequential plan.
    pub fn look(
        &self,
        statistics: &ExperimentStatistics,
        signature: Signature<'_>,
    ) -> Result<(ExperimentReport, Step)> {
        let mut life = self.life();
        let report = self.analyze(&life, statistics, signature.at, true);
        let evidence =
            report.comparisons.iter().map(|challenger| challenger.primary.evidence.clone());
        let look = Look {
            at: signature.at,
            phase: self.router.allocations().len() as u16 - 1,
            information: report.information,
            evidence: evidence.collect(),
        };
        self.record(&mut life, ExperimentEvent::Looked { look }, signature, "look")?;
        let step = self.step(&mut life, &report, signature)?;
        Ok((report, step))
    }

    /// What a look leads to.
    fn step(
        &self,
        life: &mut Life,
        report: &ExperimentReport,
        signature: Signature<'_>,
    ) -> Result<Step> {
        if life.state != ExperimentState::Running {
            return Ok(Step::Continue);
        }
        match &self.config.mode {
            Mode::Canary { steps } => {
                if let Some(why) = report.violated_guardrail() {
                    let signature = Signature { reason: &why, ..signature };
                    self.router.switch(Switch::Killed);
                    self.record(life, ExperimentEvent::Killed, signature, "kill")?;
                    let reason = StopReason::Guardrail;
                    self.record(life, ExperimentEvent::Stopped { reason }, signature, "stop")?;
                    return Ok(Step::RolledBack);
                }
                let exposure = self.router.exposure_ppm();
                let now = steps.iter().position(|step| step.exposure_ppm == exposure);
                let Some((now, next)) = now.and_then(|i| Some((steps[i], steps.get(i + 1)?)))
                else {
                    return Ok(Step::Continue);
                };
                let long_enough = signature.at.since(life.step_since) >= now.duration;
                let enough = report.units >= now.units;
                if !long_enough || !enough || report.sample_ratio_mismatch {
                    return Ok(Step::Continue);
                }
                let exposure_ppm = next.exposure_ppm;
                let event = ExperimentEvent::ExposureRaised { exposure_ppm };
                self.record(life, event, signature, "raise exposure")?;
                Ok(Step::ExposureRaised(exposure_ppm))
            }
            Mode::Bandit(thompson) => {
                let arms: Vec<_> = report.arms.iter().map(|arm| arm.mature_units).collect();
                let Some(shares) = thompson.shares(&arms)? else { return Ok(Step::Continue) };
                let exposure = self.router.exposure_ppm();
                self.reweight_locked(life, &shares, exposure, signature)?;
                Ok(Step::Reweighted(shares))
            }
            _ => Ok(Step::Continue),
        }
    }

    /// The verdict by the plan's rules, for good. Labels that come later change nothing any more.
    ///
    /// # Errors
    /// As [`start`](Self::start); it must be stopped first.
    pub fn decide(
        &self,
        statistics: &ExperimentStatistics,
        signature: Signature<'_>,
    ) -> Result<ExperimentReport> {
        let mut life = self.life();
        let report = self.analyze(&life, statistics, signature.at, false);
        let verdict = report.verdict.clone();
        let event = ExperimentEvent::Decided { verdict, by_rule: true };
        self.record(&mut life, event, signature, "decide")?;
        Ok(report)
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
    fn record(
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

    /// The state that an event leads to, if it may happen.
    fn allowed(
        &self,
        life: &Life,
        event: &ExperimentEvent,
        action: &str,
    ) -> Result<ExperimentState> {
        use ExperimentState::{Decided, Draft, Killed, Paused, Running, Stopped};
        let refuse = |reason: String| Err(Error::Refused { action: action.to_owned(), reason });
        let next = match (life.state, event) {
            (Draft, ExperimentEvent::Created { .. }) if life.audit.entries().is_empty() => Draft,
            (Draft, ExperimentEvent::Started) => Running,
            (Running, ExperimentEvent::Paused) => Paused,
            (Paused, ExperimentEvent::Resumed) => Running,
            (state @ (Running | Paused), ExperimentEvent::ExposureRaised { .. }) => state,
            (state @ (Running | Paused), ExperimentEvent::Reweighted { .. }) => state,
            (Running | Paused, ExperimentEvent::Killed) => Killed,
            (Running | Paused | Killed, ExperimentEvent::Stopped { .. }) => Stopped,
            (state @ (Running | Paused | Killed | Stopped), ExperimentEvent::Looked { .. }) => {
                state
            }
            (Stopped, ExperimentEvent::Decided { .. }) => Decided,
            (state, _) => return refuse(format!("the experiment is {state:?}").to_lowercase()),
        };
        match event {
            ExperimentEvent::ExposureRaised { exposure_ppm } => {
                let now = self.router.exposure_ppm();
                if *exposure_ppm <= now || *exposure_ppm > SLOTS {
                    return refuse(format!(
                        "{exposure_ppm} ppm is not above the present {now}, or above {SLOTS}"
                    ));
                }
            }
            ExperimentEvent::Reweighted { exposure_ppm, phase, weights_ppm, .. } => {
                let phases = self.router.allocations();
                phases.last().expect("there is a first phase").reweighted(weights_ppm)?;
                let next_phase = phases.len();
                let fits = usize::from(*phase) == next_phase && next_phase < MAX_PHASES;
                if *exposure_ppm > SLOTS || !fits {
                    let limit = format!("at most {MAX_PHASES} phases and {SLOTS} ppm");
                    return refuse(format!("phase {phase} cannot begin: {limit}"));
                }
            }
            ExperimentEvent::Looked { look } => {
                let spent = matches!(self.config.plan.inference, Inference::GroupSequential { .. });
                let last = life.looks.last().filter(|last| last.phase == look.phase);
                let grown = last.is_none_or(|last| look.information.min(1.0) > last.information);
                if spent && (!grown || look.information <= 0.0) {
                    return refuse("no information has come since the last look".into());
                }
            }
            _ => {}
        }
        Ok(next)
    }

    /// The consequences of an event that may happen.
    fn carry_out(&self, life: &mut Life, event: &ExperimentEvent, at: Timestamp) {
        match event {
            ExperimentEvent::Created { .. } => {}
            ExperimentEvent::Started => {
                life.step_since = at;
                self.router.switch(Switch::On);
            }
            ExperimentEvent::Paused => self.router.switch(Switch::Paused),
            ExperimentEvent::Resumed => self.router.switch(Switch::On),
            ExperimentEvent::ExposureRaised { exposure_ppm } => {
                life.step_since = at;
                self.router.set_exposure(*exposure_ppm);
            }
            ExperimentEvent::Reweighted { weights_ppm, exposure_ppm, .. } => {
                let phases = self.router.allocations();
                let now: &Allocation = phases.last().expect("there is a first phase");
                let next = now.reweighted(weights_ppm).expect("checked by allowed");
                let started = self.router.start_phase(next, *exposure_ppm);
                debug_assert!(started, "allowed counts the phases");
            }
            ExperimentEvent::Killed => self.router.switch(Switch::Killed),
            ExperimentEvent::Stopped { .. } => self.router.switch(Switch::Off),
            ExperimentEvent::Looked { look } => life.looks.push(look.clone()),
            ExperimentEvent::Decided { verdict, .. } => life.verdict = Some(verdict.clone()),
        }
    }

    fn life(&self) -> MutexGuard<'_, Life> {
        self.life.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
