//! The loop: what stage it is in, what may come next, and the trail of it all.

use std::sync::{Mutex, MutexGuard, PoisonError};

use serde::{Deserialize, Serialize};

use super::event::{RetrainEntry, RetrainEvent, RetrainPlan};
use super::policy::{RetrainConfig, RetrainDecision, Situation};
use super::verdict::GateVerdict;
use crate::audit::{AuditEntry, AuditLog, Signature};
use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::time::Timestamp;

/// Leads from evidence to a promotion or a rejection, one plan at a time, and records every step.
///
/// # Concurrency
/// Share it by reference; one short lock per call.
#[derive(Debug)]
pub struct RetrainLoop {
    config: RetrainConfig,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    log: AuditLog<RetrainEvent>,
    stage: RetrainStage,
    /// When plans were made, oldest first.
    plans: Vec<Timestamp>,
}

/// Where the loop stands.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub enum RetrainStage {
    /// Nothing under way.
    #[default]
    Watching,
    /// A challenger is to be trained by this plan.
    Training(RetrainPlan),
    /// A challenger is to be compared with the champion.
    Judging(Contest),
    /// A challenger scores live requests beside the champion.
    Shadow {
        /// Who.
        contest: Contest,
        /// Since when.
        since: Timestamp,
        /// Until when requests count.
        until: Timestamp,
    },
    /// A challenger has passed and waits for its promotion.
    Approved(Contest),
}

/// A challenger and the champion it is compared with, by which plan.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Contest {
    /// The plan.
    pub plan: RetrainPlan,
    /// The challenger.
    pub challenger: ModelRef,
    /// The champion.
    pub champion: ModelRef,
}

/// Signs what follows from the configuration alone.
const POLICY: &str = "retrain policy";

impl RetrainLoop {
    /// Watching, with an empty trail.
    ///
    /// # Errors
    /// `InvalidConfig` for a stretch without length, no evidence or budget, or more evidence than rules.
    pub fn new(config: RetrainConfig) -> Result<Self> {
        config.check()?;
        Ok(RetrainLoop { config, state: Mutex::default() })
    }

    /// Goes on where the trail ends.
    ///
    /// # Errors
    /// As [`new`](Self::new); `Corrupt` for a trail that was changed, or whose events do not follow from each other.
    pub fn from_trail(config: RetrainConfig, trail: &[RetrainEntry]) -> Result<Self> {
        let this = RetrainLoop::new(config)?;
        AuditEntry::verify(trail)?;
        let mut state = this.state();
        for entry in trail {
            state.stage = state.next(&entry.event, entry.at).ok_or_else(|| {
                let reason = format!("entry {} cannot follow: {}", entry.seq, entry.event);
                Error::corrupt("retrain trail", reason)
            })?;
            state.note(&entry.event);
            state.log.push(entry.clone());
        }
        drop(state);
        Ok(this)
    }

    /// The configuration.
    pub fn config(&self) -> &RetrainConfig {
        &self.config
    }

    /// Where it stands.
    pub fn stage(&self) -> RetrainStage {
        self.state().stage.clone()
    }

    /// Every step so far, from the first evidence on.
    pub fn trail(&self) -> Vec<RetrainEntry> {
        self.state().log.entries().to_vec()
    }

    /// Looks at a situation. A plan is recorded, and the loop is busy with it until it has come to an end; waiting leaves no
    /// trace.
    pub fn consider(&self, situation: &Situation<'_>) -> RetrainDecision {
        let mut state = self.state();
        let busy = state.stage != RetrainStage::Watching;
        let decision = self.config.decide(situation, &state.plans, busy);
        if let RetrainDecision::Plan(plan) = &decision {
            let reason = plan.reason();
            let signature = Signature::new(POLICY, &reason, situation.now);
            // Not busy, so a plan may follow.
            let planned = state.step(signature, RetrainEvent::Planned(plan.clone()));
            debug_assert!(planned.is_ok(), "{planned:?}");
        }
        decision
    }

    /// The challenger of the plan has been trained and registered.
    ///
    /// # Errors
    /// `Refused` unless a plan waits for it.
    pub fn trained(&self, challenger: &ModelRef, champion: &ModelRef, at: Timestamp) -> Result<()> {
        let (challenger, champion) = (challenger.clone(), champion.clone());
        let signature = Signature::new(POLICY, "as planned", at);
        self.state().step(signature, RetrainEvent::Trained { challenger, champion }).map(drop)
    }

    /// The challenger has been compared with the champion. One that fails is rejected. One that passes goes into shadow if it
    /// is to and has not been, otherwise it is approved.
    ///
    /// # Errors
    /// `Refused` unless a comparison is due.
    pub fn judged(&self, verdict: &GateVerdict, at: Timestamp) -> Result<RetrainStage> {
        let mut state = self.state();
        let first = matches!(state.stage, RetrainStage::Judging(_));
        let shadow = first && verdict.promote && !self.config.shadow.is_zero();
        let shadow_until = shadow.then(|| at.plus(self.config.shadow));
        let signature = Signature::new(POLICY, "as the gate is configured", at);
        state.step(
            signature,
            RetrainEvent::Judged { verdict: Box::new(verdict.clone()), shadow_until },
        )
    }

    /// The approved challenger has taken the champion's place.
    ///
    /// # Errors
    /// `Refused` unless one is approved, or without an actor or a reason.
    pub fn promoted(&self, signature: Signature<'_>) -> Result<()> {
        signature.check("promote a challenger")?;
        let mut state = self.state();
        let RetrainStage::Approved(Contest { challenger, champion, .. }) = state.stage.clone()
        else {
            return Err(out_of_turn("promote a challenger"));
        };
        state.step(signature, RetrainEvent::Promoted { challenger, champion }).map(drop)
    }

    /// The plan under way cannot be carried out: training failed, or somebody stopped it.
    ///
    /// # Errors
    /// `Refused` if none is under way, or without an actor or a reason.
    pub fn give_up(&self, signature: Signature<'_>) -> Result<()> {
        signature.check("give a retrain up")?;
        let reason = signature.reason.to_owned();
        self.state().step(signature, RetrainEvent::Failed { reason }).map(drop)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// The stage after an event; `None` where it cannot happen.
    fn next(&self, event: &RetrainEvent, at: Timestamp) -> Option<RetrainStage> {
        use RetrainStage::{Approved, Judging, Shadow, Training, Watching};
        let next = match (event, self.stage.clone()) {
            (RetrainEvent::Planned(plan), Watching) => Training(plan.clone()),
            (RetrainEvent::Trained { challenger, champion }, Training(plan)) => {
                let (challenger, champion) = (challenger.clone(), champion.clone());
                Judging(Contest { plan, challenger, champion })
            }
            (
                RetrainEvent::Judged { verdict, shadow_until },
                Judging(contest) | Shadow { contest, .. },
            ) => match *shadow_until {
                _ if !verdict.promote => Watching,
                Some(until) => Shadow { contest, since: at, until },
                None => Approved(contest),
            },
            (RetrainEvent::Promoted { .. }, Approved(_)) => Watching,
            (RetrainEvent::Failed { .. }, Watching) => return None,
            (RetrainEvent::Failed { .. }, _) => Watching,
            _ => return None,
        };
        Some(next)
    }

    fn step(&mut self, signature: Signature<'_>, event: RetrainEvent) -> Result<RetrainStage> {
        let next = self.next(&event, signature.at);
        self.stage = next.ok_or_else(|| out_of_turn(&event.to_string()))?;
        self.note(&event);
        self.log.push(AuditEntry::after(self.log.head(), signature, event));
        Ok(self.stage.clone())
    }

    fn note(&mut self, event: &RetrainEvent) {
        if let RetrainEvent::Planned(plan) = event {
            self.plans.push(plan.at);
        }
    }
}

fn out_of_turn(action: &str) -> Error {
    let reason = "the retrain loop is at another stage".into();
    Error::Refused { action: action.to_owned(), reason }
}
