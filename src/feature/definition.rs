//! What to compute, as data: reviewable, serialisable, hashed.

use std::collections::BTreeSet;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::{Error, Result};
use crate::feature::expression::Expression;
use crate::ids::{Digest, EntityKey};
use crate::schema::FeatureSchema;
use crate::time::micros;

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
        /// Local time, in seconds east of UTC.
        utc_offset_seconds: i32,
    },
    /// 1 if the local hour lies in `from..=to`, else 0; the range may run past midnight (22 to 6).
    HourOfDayIn {
        /// First hour, 0 to 23.
        from: u8,
        /// Last hour, 0 to 23, counted whole: 6 includes 06:59.
        to: u8,
        /// Local time, in seconds east of UTC.
        utc_offset_seconds: i32,
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
        /// Local time, in seconds east of UTC.
        utc_offset_seconds: i32,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
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
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Width {
    /// Exactly this long, at least a microsecond.
    Last(Duration),
    /// At least this long: its start is rounded down to a multiple of `hop` since 1970 (a sawtooth), so the window is up to
    /// one hop longer.
    Sawtooth {
        /// Shortest length.
        width: Duration,
        /// Step of the start.
        hop: Duration,
    },
    /// The local day of its end and the `days − 1` days before, from midnight on.
    CalendarDays {
        /// Number of days, at least 1.
        days: u32,
        /// Local time, in seconds east of UTC.
        utc_offset_seconds: i32,
    },
    /// All history.
    Lifetime,
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
    /// Events per day on which there was any.
    PerActiveDay {
        /// Local time, in seconds east of UTC.
        utc_offset_seconds: i32,
    },
    /// Number of different values on a day, averaged over the days on which there was any event.
    DistinctPerActiveDay {
        /// Of what.
        of: String,
        /// Local time, in seconds east of UTC.
        utc_offset_seconds: i32,
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
            check(feature, &schema.names()[..position])?;
        }
        Ok(FeatureSet { name, features, schema })
    }
}

/// Refuses what can never be right, the leak of a label first of all.
fn check(feature: &Feature, before: &[String]) -> Result<()> {
    let refuse =
        |reason: String| Err(Error::config("feature", format!("{}: {reason}", feature.name)));
    let (window, aggregate) = match &feature.definition {
        Definition::HourOfDayIn { from, to, .. } => return check_hours(feature, *from, *to),
        Definition::Expression(expression) => {
            return match expression.unknown_feature(before) {
                Some(name) => refuse(format!("no feature {name} stands before it")),
                None => Ok(()),
            };
        }
        Definition::Windowed { source, window, aggregate, .. } => {
            for condition in &source.only {
                if let Condition::HourOfDayIn { from, to, .. } = condition {
                    check_hours(feature, *from, *to)?;
                }
            }
            (window, aggregate)
        }
        _ => return Ok(()),
    };
    let without_width = match window.width {
        Width::Last(width) => micros(width) == 0,
        Width::Sawtooth { width, hop } => micros(width) == 0 || micros(hop) == 0,
        Width::CalendarDays { days, .. } => days == 0,
        Width::Lifetime => false,
    };
    if without_width {
        return refuse("the window needs a width of at least a microsecond".into());
    }
    let lifetime = window.width == Width::Lifetime;
    match aggregate {
        Aggregate::Quantile { q, .. } | Aggregate::ShareAbove { q, .. }
            if !(0.0..=1.0).contains(q) =>
        {
            refuse(format!("the quantile {q} does not lie within 0 to 1"))
        }
        Aggregate::Quantile { .. } | Aggregate::ShareAbove { .. } if lifetime => {
            refuse("an exact quantile of all history needs all history kept; give a width".into())
        }
        Aggregate::ShareAbove { baseline, .. } if micros(*baseline) == 0 => Err(Error::Leak {
            feature: feature.name.clone(),
            reason: "a share above the quantile of its own window is 1 − q by construction; give the stretch before \
                     it a length (baseline)"
                .into(),
        }),
        Aggregate::TopShare { k: 0, .. } => refuse("k must be at least 1".into()),
        Aggregate::Rate { labels: Labels::AsArrived { .. }, .. }
        | Aggregate::DistinctBad { labels: Labels::AsArrived { .. }, .. }
            if lifetime =>
        {
            refuse("labels may arrive for ever; give the window a width".into())
        }
        Aggregate::Rate { label, labels: Labels::FixedDelay }
        | Aggregate::DistinctBad { label, labels: Labels::FixedDelay, .. }
            if micros(window.delay) == 0 =>
        {
            Err(Error::Leak {
                feature: feature.name.clone(),
                reason: format!(
                    "without a delay it sees labels of {label} that are not known yet; set .delay(..) to the time \
                     labels take, or let them count as they arrive"
                ),
            })
        }
        _ => Ok(()),
    }
}

fn check_hours(feature: &Feature, from: u8, to: u8) -> Result<()> {
    if from <= 23 && to <= 23 {
        return Ok(());
    }
    Err(Error::config("feature", format!("{}: hours run from 0 to 23", feature.name)))
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
    use crate::time::days;

    fn one(window: Width, delay: Duration, aggregate: Aggregate) -> Result<FeatureSet> {
        FeatureSet::builder("t")
            .entity("terminal", |t| t.window(window).delay(delay).aggregate("f", aggregate))
            .build()
    }

    fn rate(delay: Duration) -> Result<FeatureSet> {
        let aggregate = Aggregate::Rate { label: "fraud".into(), labels: Labels::FixedDelay };
        one(Width::Last(days(7)), delay, aggregate)
    }

    #[test]
    fn a_label_that_counts_before_it_is_known_is_a_leak_that_says_why() {
        let error = rate(Duration::ZERO).unwrap_err();
        assert!(matches!(error, Error::Leak { .. }));
        assert!(error.to_string().contains("not known yet"), "{error}");
        assert!(rate(days(7)).is_ok());
        let labels = Labels::AsArrived { mature_after: Duration::ZERO };
        let as_arrived = Aggregate::Rate { label: "fraud".into(), labels };
        assert!(one(Width::Last(days(7)), Duration::ZERO, as_arrived.clone()).is_ok());
        assert!(one(Width::Lifetime, Duration::ZERO, as_arrived).is_err());
    }

    #[test]
    fn a_share_above_its_own_quantile_is_a_leak() {
        let share = |baseline| {
            let aggregate = Aggregate::ShareAbove { field: "amount".into(), q: 0.9, baseline };
            one(Width::Last(days(7)), Duration::ZERO, aggregate)
        };
        assert!(matches!(share(Duration::ZERO), Err(Error::Leak { .. })));
        assert!(share(days(90)).is_ok());
    }

    #[test]
    fn impossible_definitions_are_refused() {
        let build = |widths: Vec<Duration>| {
            FeatureSet::builder("t").entity("c", |c| c.windows(widths).count("n")).build()
        };
        assert!(build(vec![Duration::ZERO]).is_err());
        assert!(build(vec![Duration::from_nanos(999)]).is_err());
        assert!(build(vec![days(1), days(1)]).is_err()); // the same name twice
        assert!(build(vec![]).is_err());
        assert!(FeatureSet::builder("t").hour_of_day_in("h", 22..=24, 0).build().is_err());
        let quantile = |q| Aggregate::Quantile { field: "amount".into(), q };
        assert!(one(Width::Last(days(1)), Duration::ZERO, quantile(f64::NAN)).is_err());
        assert!(one(Width::Lifetime, Duration::ZERO, quantile(0.5)).is_err());
        let later = Expression::feature("b");
        assert!(FeatureSet::builder("t").expression("a", later).field("b").build().is_err());
    }

    #[test]
    fn the_fingerprint_follows_the_meaning() {
        let seven = rate(days(7)).unwrap();
        assert_eq!(seven.fingerprint(), rate(days(7)).unwrap().fingerprint());
        assert_ne!(seven.fingerprint(), rate(days(8)).unwrap().fingerprint());
    }
}
