//! Stage 2, feature. Takes events; gives point-in-time correct feature vectors, the same numbers in batch and online.
//!
//! A [`FeatureSet`] is data: what to compute, over which entity and window. [`FeatureSet::bind`] resolves its names
//! against the host's [`EventSchema`](crate::event::EventSchema) once and gives a [`FeaturePlan`], which has two drivers:
//! [`FeaturePlan::compute`] for history and [`FeaturePlan::online`] for live events. Both read the same definition, and
//! both divide at the very end by the same expression, so their numbers are equal bit for bit.
//!
//! What is known of a feature, who approved it and who depends on it is kept in the [`store`].
//!
//! # Which events a window sees
//! A window of width `w` and delay `d`, asked at the moment `T` of an event, sees the earlier events of the same entity
//! with `T − d − w < time ≤ T − d`: open on the left, closed on the right, so that windows side by side share no event.
//! Events are ordered by (time, id). With no delay, [`Current`] says what becomes of the event itself and of its ties.
//!
//! The four-row tie table, sums over one day of the values 1, 2, 4, 8 at days 1, 2, 2, 3:
//!
//! | `current` | row 1 | row 2 | row 3 | row 4 |
//! |---|---|---|---|---|
//! | `Exclude` | 0 | 0 | 2 | 0 |
//! | `Include` | 1 | 2 | 6 | 8 |
//! | `StrictPast` | 0 | 0 | 0 | 0 |

mod accumulator;
mod batch;
mod bind;
mod builder;
pub mod catalogue;
mod definition;
mod expression;
mod frame;
mod history;
mod online;
mod plan;
mod replay;
mod window;
pub mod store;

pub use builder::{EntityFeatures, FeatureSetBuilder};
pub use definition::{
    Aggregate, Condition, Current, Definition, Feature, FeatureSet, Labels, Source, Width, Window,
};
pub use expression::{Expression, Operation};
pub use frame::FeatureFrame;
pub use online::{LabelOutcome, Observed, OnlineConfig, OnlineFeatures, TooLate};
pub use plan::FeaturePlan;
pub use replay::{LabelArrival, SpinePoint};
