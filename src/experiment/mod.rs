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
//! let recorder = ExperimentRecorder::new(&experiment, RecorderConfig::default())?;
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
mod assignment;
mod bandit;
mod basis;
mod comparison;
mod config;
mod contrast;
mod coverage;
mod display;
mod event;
mod evidence;
mod guardrail;
mod life;
mod look;
mod maturity;
mod measure;
mod plan;
mod record;
mod report;
mod router;
mod routing;
mod rules;
mod sequential;
mod sizing;
mod slot;
mod srm;
mod token;
mod verdict;

pub use allocation::{Allocation, MAX_ARMS, Owner};
pub use assignment::{Assignment, AssignmentReason, Router};
pub use bandit::{ThompsonConfig, chance_of_lowest};
pub use comparison::{
    BandCoverage, Comparison, Evidence, GuardrailReport, GuardrailStatus, LabelCoverage, Method,
    MetricComparison, Outcome, Scale,
};
pub use config::{CanaryStep, ExperimentConfig, Mode};
pub use event::{ExperimentEvent, ExperimentState, Look, StopReason};
pub use life::Experiment;
pub use look::Step;
pub use maturity::{AgeCohort, DelayCurve};
pub use plan::{AnalysisPlan, Correction, Direction, Guardrail, Inference, Metric};
pub use record::{
    ExperimentRecorder, ExperimentStatistics, Recorded, RecorderConfig, RecorderCounters,
};
pub use report::{ArmReport, ExperimentReport, PhaseReport};
pub use router::HashRouter;
pub use routing::{Holdout, LayerRange, RoutingConfig};
pub use sequential::{EventProcess, NormalMixture, Spending, boundaries, crossing_probability};
pub use slot::SLOTS;
pub use srm::{SampleRatio, multinomial_ln_e};
pub use token::ExposureToken;
pub use verdict::{Doubt, Verdict};
