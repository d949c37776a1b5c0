//! Evidence that stays valid however often one looks: the event e-process, confidence sequences, spent error
//! probability.

mod event;
mod group;
mod mixture;

pub use event::EventProcess;
pub(super) use group::boundaries_after;
pub use group::{Spending, boundaries, crossing_probability};
pub use mixture::NormalMixture;
