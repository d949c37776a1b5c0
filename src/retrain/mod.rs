//! Stage 13, retrain. Takes alerts; gives a [`RetrainPlan`], and, once a challenger has been trained, the
//! [`GateVerdict`]: whether it may ship.
//!
//! A [`RetrainLoop`] holds the way from one to the other together:
//! ```text
//! watching ──evidence──▶ training ──trained──▶ judging ──passes──▶ in shadow ──passes on live rows──▶ approved
//!     ▲                     │ failed             │ fails              │ fails                          │ promoted
//!     └─────────────────────┴────────────────────┴────────────────────┴────────────────────────────────┘
//! ```
//! Every step is an entry of one audit trail, chained by hashes, from the alerts that called for it to the promotion or the
//! reasons against it. The loop is nothing but the fold of its trail: [`RetrainLoop::from_trail`] goes on where another
//! process stopped, and the same situations give the same trail.

mod event;
mod gate;
mod policy;
mod shadow;
mod steps;
mod verdict;

pub use event::{Evidence, RetrainEntry, RetrainEvent, RetrainPlan};
pub use gate::{Gate, GateConfig, GateRows, Scored};
pub use policy::{RetrainConfig, RetrainDecision, Situation, Wait};
pub use shadow::ShadowRun;
pub use steps::{Contest, RetrainLoop, RetrainStage};
pub use verdict::{GateSide, GateVerdict};
