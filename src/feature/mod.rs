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
//!
//! # Labels
//! A label is not known when its event happens, and a feature that pretends it is will not be there when it is needed.
//! With [`Labels::FixedDelay`] the window itself ends far enough back; batch takes the labels off the events. With
//! [`Labels::AsArrived`] a label counts from the moment it arrives, may be reversed, and events without one do not count;
//! batch replays the arrivals. Live events never show their label: it comes through [`OnlineFeatures::label`].
//!
//! [`Aggregate::DistinctEverBad`] looks beyond the entity's own events: of the users that a device's window sees, it counts
//! those with a bad event anywhere. There the label has a delay of its own, and a user is linked to the device at once.
//!
//! # Why money is whole
//! Sums are kept in whole minor units (cents), so they are the same in any order, in batch, online and across a snapshot.
//! A sum of floats is not: a plain number field goes into the vector as it is, and cannot be summed.
//!
//! # Out of order
//! Batch takes events in any order. Online, [`OnlineConfig::max_lateness`] says how late an event may be and still find its
//! place: its own vector and all later ones are then those of batch, while vectors served before it stay as they were
//! served. What comes later still is refused, dropped or applied, and counted.
//!
//! # What is exact, and what it keeps
//! | window | keeps, for each entity | exact |
//! |---|---|---|
//! | [`Width::Last`], [`Width::CalendarDays`] | its events | all aggregates |
//! | [`Width::Sawtooth`] | `width / hop + 2` tiles; its events only for aggregates that need them one by one | its start moves in steps, in batch as well; all aggregates but the approximate ones |
//! | [`Width::Capped`] | its newest `cap + 1` events and `width / hop + 2` tiles | exactly its width up to `cap` events, a sawtooth beyond, in batch as well; aggregates that tiles are enough for |
//! | [`Width::Lifetime`] | one tile; a count for each different value where those are asked for | all aggregates but the approximate ones |
//!
//! [`Aggregate::ApproximateDistinct`] and [`Aggregate::ApproximateQuantile`] are exact while there are few values, and state
//! their errors. Their answers, too, are a function of the window's events alone: batch and online give the same bits.
//! Events younger than the window's delay, or than [`OnlineConfig::max_lateness`], are kept as they are for every window.
//!
//! # Check your own
//! `testing::feature_parity` computes a host's definition on the host's events three times, in batch, online and by a
//! brute-force oracle, and lists every value that is not the same bit for bit.

mod accumulator;
mod aggregate;
mod batch;
mod bind;
mod builder;
pub mod catalogue;
mod definition;
mod ever_bad;
mod expression;
mod frame;
mod history;
mod key_hash;
mod labels;
mod lint;
mod online;
mod plan;
mod replay;
pub(crate) mod sketch;
mod sweep;
#[cfg(feature = "redis")]
mod tiles;
mod window;
pub(crate) mod zone;
pub mod store;

pub use aggregate::{Aggregate, Labels};
pub use builder::{EntityFeatures, FeatureSetBuilder};
pub use definition::{Condition, Current, Definition, Feature, FeatureSet, Source, Width, Window};
pub use expression::{Expression, Operation};
pub use frame::FeatureFrame;
pub use labels::LabelArrival;
pub use online::{LabelOutcome, Observed, OnlineConfig, OnlineFeatures, TooLate};
pub use plan::FeaturePlan;
pub use replay::SpinePoint;
#[cfg(feature = "redis")]
pub(crate) use tiles::{TilePlan, TileVisit};
pub use zone::Zone;
