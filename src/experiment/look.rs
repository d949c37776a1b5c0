//! Looks at the evidence, and what they lead to.

use serde::{Deserialize, Serialize};

use super::basis::Subject;
use super::config::{CanaryStep, Mode};
use super::event::{ExperimentEvent, ExperimentState, Look, StopReason};
use super::life::{Experiment, Life};
use super::record::ExperimentStatistics;
use super::report::ExperimentReport;
use crate::audit::Signature;
use crate::error::Result;
use crate::time::Timestamp;

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

impl Experiment {
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
        let challengers = report.comparisons.iter();
        let (evidence, guardrails) = challengers
            .map(|challenger| {
                let guardrails = challenger.guardrails.iter().map(|guardrail| guardrail.status);
                (challenger.primary.evidence.clone(), guardrails.collect())
            })
            .unzip();
        let phase = self.router.allocations().len() as u16 - 1;
        let information = report.information;
        let look = Look { at: signature.at, phase, information, evidence, guardrails };
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
        match &self.config.mode {
            _ if life.state != ExperimentState::Running => Ok(Step::Continue),
            Mode::Canary { steps } => self.canary_step(life, steps, report, signature),
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

    fn canary_step(
        &self,
        life: &mut Life,
        steps: &[CanaryStep],
        report: &ExperimentReport,
        signature: Signature<'_>,
    ) -> Result<Step> {
        if let Some(why) = report.violated_guardrail() {
            self.router.kill();
            let signature = Signature { reason: &why, ..signature };
            self.record(life, ExperimentEvent::Killed, signature, "kill")?;
            let reason = StopReason::Guardrail;
            self.record(life, ExperimentEvent::Stopped { reason }, signature, "stop")?;
            return Ok(Step::RolledBack);
        }
        let exposure = self.router.exposure_ppm();
        let now = steps.iter().position(|step| step.exposure_ppm == exposure);
        let Some((now, next)) = now.and_then(|i| Some((steps[i], steps.get(i + 1)?))) else {
            return Ok(Step::Continue);
        };
        let long_enough = signature.at.since(life.step_since) >= now.duration;
        if !long_enough || report.units < now.units || report.sample_ratio_mismatch {
            return Ok(Step::Continue);
        }
        let exposure_ppm = next.exposure_ppm;
        let event = ExperimentEvent::ExposureRaised { exposure_ppm };
        self.record(life, event, signature, "raise exposure")?;
        Ok(Step::ExposureRaised(exposure_ppm))
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
}
