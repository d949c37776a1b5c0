//! What is made of the events in a window.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::feature::zone::Zone;

/// When the label of an event counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Labels {
    /// Once the window's delay has passed, which must be the time that labels take. A label that has not arrived by then
    /// counts as not bad.
    FixedDelay,
    /// From the moment it arrives, on events at least this old; events without a label yet do not count at all.
    AsArrived {
        /// Age from which an event takes part: long enough that late labels do not bias the rate.
        mature_after: Duration,
    },
}

/// What is made of the events in a window. Money fields are in major units; `of` names an entity, a category or a money
/// field whose different values are told apart.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Aggregate {
    /// Number of events; 0 for none.
    Count,
    /// Sum of a money field; 0 for no events.
    Sum {
        /// Money field.
        field: String,
    },
    /// Mean of a money field.
    Mean {
        /// Money field.
        field: String,
    },
    /// Smallest value of a money field.
    Min {
        /// Money field.
        field: String,
    },
    /// Largest value of a money field.
    Max {
        /// Money field.
        field: String,
    },
    /// Sample standard deviation (n − 1) of a money field; none for fewer than two events.
    StandardDeviation {
        /// Money field.
        field: String,
    },
    /// Quantile of a money field by linear interpolation (type 7), exact.
    Quantile {
        /// Money field.
        field: String,
        /// Which, `0.0..=1.0`.
        q: f64,
    },
    /// Money of the first event in the window.
    First {
        /// Money field.
        field: String,
    },
    /// Money of the last event in the window.
    Last {
        /// Money field.
        field: String,
    },
    /// Seconds since the first event in the window.
    SinceFirst,
    /// Seconds since the last event in the window.
    SinceLast,
    /// Number of different values, exact; 0 for no events.
    Distinct {
        /// Of what.
        of: String,
    },
    /// About how many different values, for a lifetime or a sawtooth window, whose events are not kept for it: exact up to
    /// 512, then a HyperLogLog with a standard error of 1.6 %. At most 4 KiB for each step of the window and once more.
    ApproximateDistinct {
        /// Of what.
        of: String,
    },
    /// About the quantile of a money field, for a lifetime or a sawtooth window: exact up to 256 events; then, by a DDSketch
    /// that does not collapse, within 0.8 % of the event of rank ⌊q (n − 1)⌋. 16 bytes a bucket, of which there are 64 for
    /// each doubling between the smallest and the largest amount, for each step of the window and once more.
    ApproximateQuantile {
        /// Money field.
        field: String,
        /// Which, `0.0..=1.0`.
        q: f64,
    },
    /// Events per day on which there was any.
    PerActiveDay {
        /// Where hours and days are local.
        zone: Zone,
    },
    /// Number of different values on a day, averaged over the days on which there was any event.
    DistinctPerActiveDay {
        /// Of what.
        of: String,
        /// Where hours and days are local.
        zone: Zone,
    },
    /// Share of events that have one of the `k` most frequent values, `0.0..=1.0`.
    TopShare {
        /// Of what.
        of: String,
        /// How many values.
        k: usize,
    },
    /// Shannon entropy of the values, in nats.
    Entropy {
        /// Of what.
        of: String,
    },
    /// Number of events with the value of the event that asks; 0 for none.
    CountSame {
        /// Of what.
        of: String,
    },
    /// Share of events with the value of the event that asks, `0.0..=1.0`.
    ShareSame {
        /// Of what.
        of: String,
    },
    /// Share of the window's events whose money lies above the `q` quantile of the stretch of length `baseline` just before
    /// the window, `0.0..=1.0`. Against its own quantile it would be 1 − q by construction.
    ShareAbove {
        /// Money field.
        field: String,
        /// Which quantile, `0.0..=1.0`.
        q: f64,
        /// Length of the stretch before.
        baseline: Duration,
    },
    /// Share of events labelled bad, `0.0..=1.0`.
    Rate {
        /// Label field.
        label: String,
        /// When a label counts.
        labels: Labels,
    },
    /// Number of different values among events labelled bad; 0 for none.
    DistinctBad {
        /// Of what.
        of: String,
        /// Label field.
        label: String,
        /// When a label counts.
        labels: Labels,
    },
    /// Number of different values among the window's events that have an event labelled bad anywhere: under this key or any
    /// other, in the window or not, whatever the conditions of the source; 0 for none. The users of a device who ever
    /// committed fraud, on whichever device. The window's delay holds for the events that link a value to the key; labels have
    /// one of their own, so that a known fraud user counts at once.
    DistinctEverBad {
        /// Of what: an entity or a category.
        of: String,
        /// Label field.
        label: String,
        /// How long labels take: a bad event counts from this age on. `None`: from the moment that its label arrives until
        /// that is taken back.
        #[serde(default)]
        label_delay: Option<Duration>,
    },
}

impl Aggregate {
    /// Whether tiles of summed up events are enough for it: they can be put together, and nobody asks for one event again.
    pub(super) fn folds(&self) -> bool {
        match self {
            Aggregate::Count
            | Aggregate::Sum { .. }
            | Aggregate::Mean { .. }
            | Aggregate::Min { .. }
            | Aggregate::Max { .. }
            | Aggregate::StandardDeviation { .. }
            | Aggregate::First { .. }
            | Aggregate::Last { .. }
            | Aggregate::SinceFirst
            | Aggregate::SinceLast
            | Aggregate::ApproximateDistinct { .. }
            | Aggregate::ApproximateQuantile { .. } => true,
            Aggregate::Rate { labels, .. } => *labels == Labels::FixedDelay,
            Aggregate::Quantile { .. }
            | Aggregate::Distinct { .. }
            | Aggregate::PerActiveDay { .. }
            | Aggregate::DistinctPerActiveDay { .. }
            | Aggregate::TopShare { .. }
            | Aggregate::Entropy { .. }
            | Aggregate::CountSame { .. }
            | Aggregate::ShareSame { .. }
            | Aggregate::ShareAbove { .. }
            | Aggregate::DistinctBad { .. }
            | Aggregate::DistinctEverBad { .. } => false,
        }
    }
}
