//! What to compute, as data: reviewable, serialisable, hashed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::{Error, Result};
use crate::feature::aggregate::Aggregate;
use crate::feature::expression::Expression;
use crate::feature::lint;
use crate::feature::zone::Zone;
use crate::ids::{Digest, EntityKey};
use crate::schema::FeatureSchema;

/// A named list of features, in the order of the vectors that they make.
///
/// ```
/// use riskcycle::days;
/// use riskcycle::feature::{Current, Expression, FeatureSet};
///
/// let set = FeatureSet::builder("card_v1")
///     .field("amount")
///     .hour_of_day_in("at_night", 22..=6, 0)
///     .entity("card", |card| {
///         card.windows([days(1), days(7)]).current(Current::Include).count("n").mean("mean", "amount")
///     })
///     .expression("pace", Expression::feature("n_1d") / Expression::feature("n_7d"))
///     .build()?;
/// assert_eq!(set.schema().names(), ["amount", "at_night", "n_1d", "mean_1d", "n_7d", "mean_7d", "pace"]);
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "FeatureSetData", into = "FeatureSetData")]
pub struct FeatureSet {
    name: String,
    features: Vec<Feature>,
    schema: FeatureSchema,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct FeatureSetData {
    name: String,
    features: Vec<Feature>,
}

/// One column of the vector.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Feature {
    /// Column name, unique within the set.
    pub name: String,
    /// How it is computed.
    pub definition: Definition,
}

/// How a feature is computed.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Definition {
    /// The event's own money or number field; money in major units.
    Field {
        /// Field name.
        field: String,
    },
    /// 1 on Saturday and Sunday, else 0.
    Weekend {
        /// Where hours and days are local.
        zone: Zone,
    },
    /// 1 if the local hour lies in `from..=to`, else 0; the range may run past midnight (22 to 6).
    HourOfDayIn {
        /// First hour, 0 to 23.
        from: u8,
        /// Last hour, 0 to 23, counted whole: 6 includes 06:59.
        to: u8,
        /// Where hours and days are local.
        zone: Zone,
    },
    /// An aggregate over the entity's events in a window.
    Windowed {
        /// Whose events are looked at, and which of them.
        source: Source,
        /// Over which stretch of time.
        window: Window,
        /// What is made of them.
        aggregate: Aggregate,
        /// Value where the aggregate has none; NaN, missing, by default.
        empty: Option<f64>,
    },
    /// A formula over the event's fields and features that stand before this one.
    Expression(Expression),
}

/// Events of an entity, those that meet all conditions.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// Entity whose events are looked at.
    pub entity: String,
    /// Conditions on each event; none lets all pass.
    #[serde(default)]
    pub only: Vec<Condition>,
}

/// A condition on one event.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Condition {
    /// A money (major units) or number field above a value; a missing number is not.
    Above {
        /// Field name.
        field: String,
        /// Exclusive bound.
        value: f64,
    },
    /// A money (major units) or number field below a value; a missing number is not.
    Below {
        /// Field name.
        field: String,
        /// Exclusive bound.
        value: f64,
    },
    /// The local hour lies in `from..=to`, which may run past midnight.
    HourOfDayIn {
        /// First hour, 0 to 23.
        from: u8,
        /// Last hour, 0 to 23, counted whole.
        to: u8,
        /// Where hours and days are local.
        zone: Zone,
    },
    /// An entity or category of the event is one of these.
    In {
        /// Entity name; a category is an entity whose key is made from its text.
        entity: String,
        /// Keys that pass.
        keys: BTreeSet<EntityKey>,
    },
}

/// A stretch of time before an event, which ends `delay` ago: `(T − delay − width, T − delay]`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// How far it reaches.
    pub width: Width,
    /// How far back it ends.
    pub delay: Duration,
    /// What becomes of the event itself; matters only without a delay.
    pub current: Current,
}

/// How far a window reaches back from its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Width {
    /// Exactly this long, at least a microsecond.
    Last(Duration),
    /// At least this long: its start is rounded down to a multiple of `hop` since 1970 (a sawtooth), so the window is up to
    /// one hop longer. The same in batch and online; online, counts, sums, means, extremes, first, last and approximate
    /// aggregates keep no events in it, but `width / hop + 2` tiles, however busy the entity is.
    Sawtooth {
        /// Shortest length.
        width: Duration,
        /// Step of the start.
        hop: Duration,
    },
    /// The local day of its end and the `days − 1` days before, from the first moment of each: 23 or 25 hours where the clock
    /// of a named zone is put forward or back.
    CalendarDays {
        /// Number of days, at least 1.
        days: u32,
        /// Where hours and days are local.
        zone: Zone,
    },
    /// All history.
    Lifetime,
    // New ones come last: a fingerprint knows a width by its place.
    /// Exactly this long while it holds at most `cap` events, those of [`Last`](Self::Last). While it holds more it is the
    /// [`Sawtooth`](Self::Sawtooth) of the same width and hop, up to one hop longer. A function of the entity's events and the
    /// moment alone, so the same in batch and online, and what it keeps is bounded however busy the entity is. For counts,
    /// sums, means, deviations, extremes, first, last and rates after a fixed delay; anything else needs every event, and is
    /// refused.
    Capped {
        /// Shortest length, and the exact one while there is room.
        width: Duration,
        /// Most events for which it is exact, at least 1.
        cap: u64,
        /// Step of the start beyond that.
        hop: Duration,
    },
}

/// Whether a window without a delay sees the event that asks, and others at the same moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub enum Current {
    /// Events before this one in (time, id) order: not itself, but ties with a lower id.
    #[default]
    Exclude,
    /// Events up to and including this one in (time, id) order.
    Include,
    /// Events of an earlier moment only: neither itself nor any tie.
    StrictPast,
}

impl Feature {
    /// SHA-256 of the name and the definition.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&codec::encode(&("riskcycle feature definition 1", self)))
    }
}

impl FeatureSet {
    /// Name of the set.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The features in vector order.
    pub fn features(&self) -> &[Feature] {
        &self.features
    }

    /// The columns of the vectors.
    pub fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    /// SHA-256 of the definition: changes with anything that could change a value.
    pub fn fingerprint(&self) -> Digest {
        Digest::of(&codec::encode(&(
            "riskcycle feature set 1",
            &self.name,
            self.features.as_slice(),
        )))
    }

    pub(super) fn new(name: String, features: Vec<Feature>) -> Result<Self> {
        let schema = FeatureSchema::new(features.iter().map(|feature| feature.name.as_str()))?;
        for (position, feature) in features.iter().enumerate() {
            lint::check(feature, &schema.names()[..position])?;
        }
        Ok(FeatureSet { name, features, schema })
    }
}

impl TryFrom<FeatureSetData> for FeatureSet {
    type Error = Error;

    fn try_from(data: FeatureSetData) -> Result<Self> {
        FeatureSet::new(data.name, data.features)
    }
}

impl From<FeatureSet> for FeatureSetData {
    fn from(set: FeatureSet) -> Self {
        FeatureSetData { name: set.name, features: set.features }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::feature::aggregate::Labels;
    use crate::time::days;

    #[test]
    fn the_fingerprint_follows_the_meaning() {
        let rate = |delay| {
            let aggregate = Aggregate::Rate { label: "fraud".into(), labels: Labels::FixedDelay };
            let terminal = |t: crate::feature::EntityFeatures| {
                t.windows([days(7)]).delay(delay).aggregate("f", aggregate)
            };
            FeatureSet::builder("t").entity("terminal", terminal).build().unwrap().fingerprint()
        };
        assert_eq!(rate(days(7)), rate(days(7)));
        assert_ne!(rate(days(7)), rate(days(8)));
    }

    /// Snapshots and approvals hold on to them. By hand from the encoding: texts with their length, variants by their place.
    #[test]
    fn the_fingerprint_of_a_definition_stays() {
        let of = |width| {
            let set = FeatureSet::builder("t").entity("card", |c| c.window(width).count("n"));
            set.build().unwrap().fingerprint().short()
        };
        let (width, hop) = (days(1), Duration::from_secs(3600));
        assert_eq!(of(Width::Last(width)), "e19dc167060f");
        assert_eq!(of(Width::Sawtooth { width, hop }), "6ea9d3c3618e");
        assert_eq!(of(Width::Lifetime), "673ee9935481");
        assert_eq!(of(Width::Capped { width, cap: 1000, hop }), "d3a9e2962f56");
    }
}
