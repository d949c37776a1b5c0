//! What may happen to an experiment when, and what comes of it.

use super::allocation::Allocation;
use super::config::Mode;
use super::event::{ExperimentEvent, ExperimentState};
use super::life::{Experiment, Life};
use super::plan::{Inference, Metric};
use super::router::{MAX_PHASES, Switch};
use super::slot::SLOTS;
use crate::error::{Error, Result};
use crate::time::Timestamp;

impl Experiment {
    /// The state that an event leads to, if it may happen.
    pub(super) fn allowed(
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
                let plan = &self.config.plan;
                let by_rate = plan.primary == Metric::UnitBadRate
                    && plan.inference == Inference::ConfidenceSequence;
                if by_rate && !matches!(self.config.mode, Mode::Bandit(_)) {
                    return refuse(
                        "a confidence sequence on the bad rate of units cannot go on over a change of \
                         shares; plan the event process"
                            .into(),
                    );
                }
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
                let before = life.looks.iter().map(|look| look.information);
                if spent && look.information.min(1.0) <= before.fold(0.0, f64::max) {
                    return refuse("no information has come since the last look".into());
                }
            }
            _ => {}
        }
        Ok(next)
    }

    /// The consequences of an event that may happen.
    pub(super) fn carry_out(&self, life: &mut Life, event: &ExperimentEvent, at: Timestamp) {
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
}
