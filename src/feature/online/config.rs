//! How live state is kept, and what it says became of an event or a label.

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// How live state treats events that do not come in order, and how much it keeps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OnlineConfig {
    /// How far behind the latest event of its entity an event may be and still be put in its place. Costs memory: events
    /// are kept that much longer, and lifetimes are kept twice, as of then and as of now.
    pub max_lateness: Duration,
    /// What becomes of an event that is later than that.
    pub too_late: TooLate,
    /// Most events kept per entity and source: the last guard on a key's memory, for windows that are exact however many
    /// events they hold. Beyond it the oldest leave those before their time, and
    /// [`OnlineFeatures::truncated`](crate::feature::OnlineFeatures::truncated) counts them: from then on batch and online
    /// differ for that entity. For entities that busy define the window as [`Width::Capped`](crate::feature::Width::Capped),
    /// which folds events into tiles beyond a number of its own, or as [`Width::Sawtooth`](crate::feature::Width::Sawtooth),
    /// which does so from the first one on: being part of the definition, that is the same in batch. A sawtooth and a lifetime
    /// keep no events and lose none here; a cap must be less than this.
    pub max_events_per_key: u64,
}

/// Events in order only; a million events per key.
impl Default for OnlineConfig {
    fn default() -> Self {
        OnlineConfig {
            max_lateness: Duration::ZERO,
            too_late: TooLate::Reject,
            max_events_per_key: 1_000_000,
        }
    }
}

/// What becomes of an event that comes too late; all of them are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TooLate {
    /// An error; nothing is remembered.
    Reject,
    /// Its vector is computed as of the latest event of its entities, but it is not remembered.
    Drop,
    /// Its vector is computed as of the latest event of its entities, and from then on it counts in every window that sees
    /// its moment. It may be recognised no more if it comes again.
    Apply,
}

/// What became of an observed event.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Observed {
    /// Remembered.
    New,
    /// Known already by time and id: its vector is given again, as of its moment, or as of now
    /// if that can no longer be told, and nothing is counted twice. An event is known as long as it is kept; one that meets the conditions of no source is not.
    Duplicate,
    /// Too late, and counted from here on: its vector is as of the latest event.
    Applied,
    /// Too late, and not remembered.
    Dropped,
}

/// What became of a label.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum LabelOutcome {
    /// In time: no vector has been computed that should have seen it.
    Applied,
    /// Applied, but windows that see the event have already been read without it: the label took longer than the
    /// definition's delay, and batch and online differ for those readings. For values that are bad anywhere: vectors have
    /// been computed, of whichever key, at moments at which the label should have counted.
    Late,
    /// The event was never observed, or no window that needs its label keeps it any more. Values that are bad anywhere take
    /// labels of any event, kept or not.
    Unknown,
}
