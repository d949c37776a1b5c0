//! Evidence that stays valid however often one looks: the event e-process, confidence sequences, spent error
//! probability.

mod event;
mod group;
mod mixture;

pub use event::EventProcess;
pub use group::{Spending, boundaries};
pub use mixture::NormalMixture;
