//! What to compute, as data: reviewable, serialisable, hashed.

use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::{Error, Result};
use crate::ids::Digest;
use crate::schema::FeatureSchema;
use crate::time::micros;

/// A named list of features, in the order of the vectors that they make.
///
/// ```
/// use riskcycle::days;
/// use riskcycle::feature::{Current, FeatureSet};
///
/// let set = FeatureSet::builder("card_v1")
///     .field("amount")
///     .hour_of_day_in("at_night", 22..=6, 0)
///     .entity("card", |card| {
///         card.windows([days(1), days(7)]).current(Current::Include).count("card_n").mean("card_mean", "amount")
///     })
///     .build()?;
/// let names = ["amount", "at_night", "card_n_1d", "card_mean_1d", "card_n_7d", "card_mean_7d"];
/// assert_eq!(set.schema().names(), names);
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
        /// Entity whose events are looked at.
        entity: String,
        /// Which of them.
        window: Window,
        /// What is made of them.
        aggregate: Aggregate,
        /// Value of a mean or rate over no event at all; NaN, missing, where there is none.
        empty: Option<f64>,
    },
}

/// A stretch of time before an event: `(T − delay − width, T − delay]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Window {
    /// How long; at least a microsecond.
    pub width: Duration,
    /// How far back it ends.
    pub delay: Duration,
    /// What becomes of the event itself; matters only without a delay.
    pub current: Current,
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

/// What is made of the events in a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum Aggregate {
    /// Number of events; 0 for none.
    Count,
    /// Sum of a money field in major units; 0 for no events.
    Sum {
        /// Money field.
        field: String,
    },
    /// Mean of a money field in major units.
    Mean {
        /// Money field.
        field: String,
    },
    /// Share of events labelled bad, `0.0..=1.0`. An event whose label has not arrived counts as not bad, so the delay
    /// must be at least the time that labels take.
    Rate {
        /// Label field.
        label: String,
    },
}

impl FeatureSet {
    /// Starts a set.
    pub fn builder(name: &str) -> FeatureSetBuilder {
        FeatureSetBuilder { name: name.to_owned(), features: Vec::new() }
    }

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

    fn new(name: String, features: Vec<Feature>) -> Result<Self> {
        let schema = FeatureSchema::new(features.iter().map(|feature| feature.name.as_str()))?;
        features.iter().try_for_each(check)?;
        Ok(FeatureSet { name, features, schema })
    }
}

/// Refuses what can never be right, the leak of a label first of all.
fn check(feature: &Feature) -> Result<()> {
    let refuse =
        |reason: &str| Err(Error::config("feature", format!("{}: {reason}", feature.name)));
    match &feature.definition {
        Definition::HourOfDayIn { from, to, .. } if *from > 23 || *to > 23 => {
            refuse("hours run from 0 to 23")
        }
        Definition::Windowed { window, .. } if micros(window.width) == 0 => {
            refuse("the window needs a width of at least a microsecond")
        }
        Definition::Windowed { window, aggregate: Aggregate::Rate { label }, .. }
            if micros(window.delay) == 0 =>
        {
            Err(Error::Leak {
                feature: feature.name.clone(),
                reason: format!(
                    "a rate of {label} without a delay sees labels that are not known yet; set .delay(..) to the \
                     time labels take"
                ),
            })
        }
        _ => Ok(()),
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

/// Lists features one after the other; [`FeatureSet::builder`].
#[derive(Debug, Clone)]
pub struct FeatureSetBuilder {
    name: String,
    features: Vec<Feature>,
}

impl FeatureSetBuilder {
    /// The event's own money or number field, under the field's name.
    #[must_use]
    pub fn field(self, field: &str) -> Self {
        self.feature(field, Definition::Field { field: field.to_owned() })
    }

    /// 1 on Saturday and Sunday, local time.
    #[must_use]
    pub fn weekend(self, name: &str, utc_offset_seconds: i32) -> Self {
        self.feature(name, Definition::Weekend { utc_offset_seconds })
    }

    /// 1 if the local hour lies in the range, which may run past midnight (`22..=6`).
    #[must_use]
    pub fn hour_of_day_in(
        self,
        name: &str,
        hours: std::ops::RangeInclusive<u8>,
        utc_offset_seconds: i32,
    ) -> Self {
        let (from, to) = hours.into_inner();
        self.feature(name, Definition::HourOfDayIn { from, to, utc_offset_seconds })
    }

    /// Aggregates over the events of one entity, for each of several windows.
    #[must_use]
    pub fn entity(
        mut self,
        entity: &str,
        list: impl FnOnce(EntityFeatures) -> EntityFeatures,
    ) -> Self {
        let listed = list(EntityFeatures {
            widths: Vec::new(),
            delay: Duration::ZERO,
            current: Current::default(),
            empty: None,
            aggregates: Vec::new(),
        });
        for &width in &listed.widths {
            for (name, aggregate) in &listed.aggregates {
                self.features.push(Feature {
                    name: format!("{name}_{}", width_name(width)),
                    definition: Definition::Windowed {
                        entity: entity.to_owned(),
                        window: Window { width, delay: listed.delay, current: listed.current },
                        aggregate: aggregate.clone(),
                        empty: listed.empty,
                    },
                });
            }
        }
        self
    }

    /// Any feature.
    #[must_use]
    pub fn feature(mut self, name: &str, definition: Definition) -> Self {
        self.features.push(Feature { name: name.to_owned(), definition });
        self
    }

    /// # Errors
    /// `InvalidConfig` for no feature, a name twice, hours past 23 or a window without width; `Leak` for a rate of a
    /// label without a delay.
    pub fn build(self) -> Result<FeatureSet> {
        FeatureSet::new(self.name, self.features)
    }
}

/// Windows and aggregates of one entity; [`FeatureSetBuilder::entity`]. Every window gets every aggregate, and its
/// width becomes the end of the column's name (`n_7d`).
#[derive(Debug, Clone)]
pub struct EntityFeatures {
    widths: Vec<Duration>,
    delay: Duration,
    current: Current,
    empty: Option<f64>,
    aggregates: Vec<(String, Aggregate)>,
}

impl EntityFeatures {
    /// Widths of the windows.
    #[must_use]
    pub fn windows(mut self, widths: impl IntoIterator<Item = Duration>) -> Self {
        self.widths.extend(widths);
        self
    }

    /// How far back the windows end; none by default.
    #[must_use]
    pub fn delay(mut self, delay: Duration) -> Self {
        self.delay = delay;
        self
    }

    /// What becomes of the event that asks; [`Current::Exclude`] by default.
    #[must_use]
    pub fn current(mut self, current: Current) -> Self {
        self.current = current;
        self
    }

    /// Value of a mean or rate over no event at all; NaN by default.
    #[must_use]
    pub fn empty_as(mut self, value: f64) -> Self {
        self.empty = Some(value);
        self
    }

    /// Number of events.
    #[must_use]
    pub fn count(self, name: &str) -> Self {
        self.aggregate(name, Aggregate::Count)
    }

    /// Sum of a money field.
    #[must_use]
    pub fn sum(self, name: &str, field: &str) -> Self {
        self.aggregate(name, Aggregate::Sum { field: field.to_owned() })
    }

    /// Mean of a money field.
    #[must_use]
    pub fn mean(self, name: &str, field: &str) -> Self {
        self.aggregate(name, Aggregate::Mean { field: field.to_owned() })
    }

    /// Share of events labelled bad; needs a delay.
    #[must_use]
    pub fn rate(self, name: &str, label: &str) -> Self {
        self.aggregate(name, Aggregate::Rate { label: label.to_owned() })
    }

    fn aggregate(mut self, name: &str, aggregate: Aggregate) -> Self {
        self.aggregates.push((name.to_owned(), aggregate));
        self
    }
}

fn width_name(width: Duration) -> String {
    let (seconds, micros) = (width.as_secs(), width.subsec_micros());
    match seconds {
        _ if micros > 0 => format!("{}us", width.as_micros()),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::days;

    fn rate(delay: Duration) -> Result<FeatureSet> {
        FeatureSet::builder("t")
            .entity("terminal", |t| t.windows([days(7)]).delay(delay).rate("risk", "fraud"))
            .build()
    }

    #[test]
    fn a_label_rate_without_delay_is_a_leak_that_says_why() {
        let error = rate(Duration::ZERO).unwrap_err();
        assert!(matches!(error, Error::Leak { .. }));
        assert!(error.to_string().contains("not known yet"), "{error}");
        assert!(rate(days(7)).is_ok());
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
    }

    #[test]
    fn the_fingerprint_follows_the_meaning() {
        let seven = rate(days(7)).unwrap();
        assert_eq!(seven.fingerprint(), rate(days(7)).unwrap().fingerprint());
        assert_ne!(seven.fingerprint(), rate(days(8)).unwrap().fingerprint());
    }
}
