//! What an experiment is: arms, routing, mode, plan.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::bandit::ThompsonConfig;
use super::plan::AnalysisPlan;
use super::routing::RoutingConfig;
use super::slot::SLOTS;
use crate::codec;
use crate::error::{Error, Result};
use crate::ids::{Digest, ModelRef};

/// An experiment as it is planned. Frozen once it runs, except for exposure and shares.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ExperimentConfig {
    /// Name, for people.
    pub name: String,
    /// The versions; the first is the champion, the others challenge it.
    pub arms: Vec<ModelRef>,
    /// How units are spread over the arms.
    pub routing: RoutingConfig,
    /// What kind of experiment.
    pub mode: Mode,
    /// What is decided by.
    pub plan: AnalysisPlan,
}

/// What kind of experiment.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Mode {
    /// Each unit is answered by its arm.
    AbTest,
    /// All arms score every request, the champion answers: arms are compared on the same requests. Needs
    /// [`RoutingConfig::shadow`].
    Shadow,
    /// An A/B test whose exposure rises in steps, and which ends by itself when a guardrail is violated.
    Canary {
        /// The steps, in rising order of exposure.
        steps: Vec<CanaryStep>,
    },
    /// Shares follow the evidence.
    Bandit(ThompsonConfig),
}

/// One step of a canary.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct CanaryStep {
    /// Share of units that take part, in parts per million; the challenger answers its share of them.
    pub exposure_ppm: u32,
    /// Least time on this step.
    pub duration: Duration,
    /// Least number of units exposed so far, all arms together.
    pub units: u64,
}

impl ExperimentConfig {
    /// # Errors
    /// `InvalidConfig` naming what cannot be: in the routing, in the plan, fewer than two arms, one version twice, another
    /// number of arms than shares, a mode that does not fit.
    pub fn check(&self) -> Result<()> {
        let refuse = |reason: String| Err(Error::config("experiment", reason));
        self.routing.check()?;
        self.plan.check(self.routing.shadow)?;
        let n_arms = self.arms.len();
        if self.name.is_empty() || n_arms < 2 || n_arms != self.routing.weights_ppm.len() {
            return refuse(format!(
                "needs a name and two or more arms with a share each; it has {n_arms} arms"
            ));
        }
        let mut arms = self.arms.clone();
        arms.sort();
        if let Some(pair) = arms.windows(2).find(|pair| pair[0] == pair[1]) {
            return refuse(format!("{} is in two arms", pair[0]));
        }
        if self.routing.shadow != (self.mode == Mode::Shadow) {
            return refuse("routing.shadow goes with the shadow mode, and only with it".into());
        }
        match &self.mode {
            Mode::AbTest | Mode::Shadow => Ok(()),
            Mode::Bandit(thompson) => thompson.check(n_arms),
            Mode::Canary { steps } => {
                let rising = steps.windows(2).all(|two| two[0].exposure_ppm < two[1].exposure_ppm);
                let within = steps.last().is_some_and(|last| last.exposure_ppm <= SLOTS);
                let first = steps.first().map(|step| step.exposure_ppm);
                if !rising || !within || first != Some(self.routing.exposure_ppm) {
                    return refuse(
                        "a canary's steps rise in exposure, from routing.exposure_ppm on".into(),
                    );
                }
                if self.plan.guardrails.is_empty() {
                    return refuse("a canary without a guardrail would never be stopped".into());
                }
                Ok(())
            }
        }
    }

    /// SHA-256 over all of it: what the audit trail knows it by.
    pub fn digest(&self) -> Digest {
        Digest::of(&codec::encode(self))
    }

    /// Challengers: arms other than the champion.
    pub fn challengers(&self) -> impl Iterator<Item = u8> + use<> {
        1..self.arms.len() as u8
    }
}
