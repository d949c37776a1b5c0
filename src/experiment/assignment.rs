//! Which arm answers a request, and who says so.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::ids::EntityKey;
use crate::time::Timestamp;

/// Which arm answers a request, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Experiment by the [hash of its salt](super::HashRouter::experiment); 0 where there is none.
    pub experiment: u64,
    /// Position of the arm; 0 is the champion.
    pub arm: u8,
    /// Why that arm.
    pub reason: AssignmentReason,
    /// Phase, from 0; a new one starts whenever shares change.
    pub phase: u16,
    /// Whether the unit was another arm's in an earlier phase.
    pub moved: bool,
    /// Variance bucket of the unit, the same in every arm.
    pub bucket: u8,
    /// Whether the other arms score the request too, for comparison.
    pub shadow: bool,
    /// Whether the request passes even if the model asks for a review, so that its label becomes known.
    pub let_through: bool,
    /// Share of requests that are let through, in parts per million; 0 if labels come for reviewed requests as well.
    pub let_through_ppm: u32,
}

/// Why an arm answers. Only [`Assigned`](Self::Assigned) requests belong to the experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AssignmentReason {
    /// By the unit's slot.
    Assigned,
    /// The unit is not among those exposed yet: champion.
    NotExposed,
    /// The unit is on the list of overrides.
    Override,
    /// The unit is held out of all experiments that share the holdout: champion.
    Holdout,
    /// The unit's slot in the layer belongs to another experiment: champion.
    LayerExcluded,
    /// The experiment has not been started, or is stopped: champion.
    NotRunning,
    /// It starts later, or has ended by its schedule: champion.
    OutsideSchedule,
    /// It is paused: champion.
    Paused,
    /// The kill switch was thrown: champion.
    Killed,
}

impl Assignment {
    /// The champion, outside of any experiment.
    pub const fn champion() -> Self {
        Assignment {
            experiment: 0,
            arm: 0,
            reason: AssignmentReason::NotRunning,
            phase: 0,
            moved: false,
            bucket: 0,
            shadow: false,
            let_through: false,
            let_through_ppm: 0,
        }
    }
}

/// Decides which version answers.
///
/// # Contract
/// Sticky: a function of the unit and the router's settings, so that one customer is not sent back and forth; only
/// [`let_through`](Assignment::let_through) depends on the request. The same key gets the same arm until the settings
/// change, whatever the process or machine. Never fails; where nothing is running, arm 0 (the champion) answers.
///
/// # Concurrency
/// Any number of threads route at once, without a lock.
///
/// # Cost
/// No allocation; the default takes some ten nanoseconds.
pub trait Router: Debug + Send + Sync + 'static {
    /// The arm that answers a request of this unit with this id, made at this moment.
    fn route(&self, unit: EntityKey, request: u64, at: Timestamp) -> Assignment;

    /// Number of arms, at least 1; [`route`](Self::route) stays below it.
    fn n_arms(&self) -> usize;
}
