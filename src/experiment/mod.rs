//! Stage 8, experiment. Takes an entity key; gives the [`Assignment`]: which version answers. Takes exposures and late
//! labels; gives an [`ExperimentReport`] and a [`Verdict`]: which version is better.
//!
//! An [`Experiment`] is a plan and its life. Its [`router`](Experiment::router) answers requests; what answered travels
//! as an [`ExposureToken`] with the request and comes back with the label, to an [`ExperimentRecorder`].
//!
//! ```
//! use riskcycle::experiment::{
//!     AnalysisPlan, Experiment, ExperimentConfig, ExperimentRecorder, ExposureToken, Metric, Mode, RecorderConfig, Router,
//!     RoutingConfig,
//! };
//! use riskcycle::{EntityKey, ModelRef, Signature, Timestamp};
//!
//! let version = |version| ModelRef { name: "card-fraud".into(), version };
//! let config = ExperimentConfig {
//!     name: "a tree against the logistic".into(),
//!     arms: vec![version(1), version(2)],
//!     routing: RoutingConfig::new("card-fraud-2", &[500_000, 500_000]),
//!     mode: Mode::AbTest,
//!     plan: AnalysisPlan::new(Metric::UnitBadRate, 100_000, 1_000_000),
//! };
//! let now = Timestamp::from_date(2026, 1, 5);
//! let experiment = Experiment::new(config, Signature::new("anna", "planned", now))?;
//! let recorder = ExperimentRecorder::new(&experiment, RecorderConfig::default(), 4)?;
//! experiment.start(Signature::new("bert", "approved", now))?;
//!
//! // A request: route, score, and count the exposure.
//! let (unit, request) = (EntityKey::from("card 17"), 1);
//! let assignment = experiment.router().route(unit, request, now);
//! let token = ExposureToken::new(&assignment, unit, request, now, Some(0.02), false).expect("everybody takes part");
//! recorder.expose(&token);
//! // Weeks later, its label.
//! recorder.outcome(&token, false, Timestamp::from_date(2026, 2, 1));
//!
//! let report = experiment.report(&recorder.statistics(), Timestamp::from_date(2026, 3, 1));
//! assert_eq!(report.arms[usize::from(token.arm())].labels, 1);
//! # Ok::<(), riskcycle::Error>(())
//! ```

mod allocation;
mod analysis;
mod bandit;
mod basis;
mod config;
mod evidence;
mod maturity;
mod measure;
mod plan;
mod record;
mod report;
mod router;
mod sequential;
mod slot;
mod srm;
mod state;
mod token;
mod verdict;

pub use allocation::{Allocation, MAX_ARMS, Owner};
pub use bandit::{ThompsonConfig, chance_of_lowest};
pub use config::{CanaryStep, ExperimentConfig, Mode};
pub use maturity::{AgeCohort, DelayCurve};
pub use plan::{AnalysisPlan, Correction, Direction, Guardrail, Inference, Metric};
pub use record::{
    ExperimentRecorder, ExperimentStatistics, Recorded, RecorderConfig, RecorderCounters,
};
pub use report::{
    ArmReport, Comparison, Doubt, Evidence, ExperimentReport, GuardrailReport, GuardrailStatus,
    Method, MetricComparison, Outcome, PhaseReport, Scale, Verdict,
};
pub use router::{
    Assignment, AssignmentReason, HashRouter, Holdout, LayerRange, Router, RoutingConfig,
};
pub use sequential::{EventProcess, NormalMixture, Spending, boundaries};
pub use slot::SLOTS;
pub use srm::{SampleRatio, multinomial_ln_e};
pub use state::{Experiment, ExperimentEvent, ExperimentState, Look, Step, StopReason};
pub use token::ExposureToken;
