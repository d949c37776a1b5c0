//! The fluent way to write a [`FeatureSet`].

use std::time::Duration;

use crate::error::Result;
use crate::feature::aggregate::{Aggregate, Labels};
use crate::feature::definition::{
    Condition, Current, Definition, Feature, FeatureSet, Source, Width, Window,
};
use crate::feature::expression::Expression;
use crate::feature::zone::Zone;

/// Lists features one after the other; [`FeatureSet::builder`].
#[derive(Debug, Clone)]
pub struct FeatureSetBuilder {
    name: String,
    features: Vec<Feature>,
}

impl FeatureSet {
    /// Starts a set.
    pub fn builder(name: &str) -> FeatureSetBuilder {
        FeatureSetBuilder { name: name.to_owned(), features: Vec::new() }
    }
}

impl FeatureSetBuilder {
    /// The event's own money or number field, under the field's name.
    #[must_use]
    pub fn field(self, field: &str) -> Self {
        self.feature(field, Definition::Field { field: field.to_owned() })
    }

    /// 1 on Saturday and Sunday, local time.
    #[must_use]
    pub fn weekend(self, name: &str, zone: impl Into<Zone>) -> Self {
        self.feature(name, Definition::Weekend { zone: zone.into() })
    }

    /// 1 if the local hour lies in the range, which may run past midnight (`22..=6`).
    #[must_use]
    pub fn hour_of_day_in(
        self,
        name: &str,
        hours: std::ops::RangeInclusive<u8>,
        zone: impl Into<Zone>,
    ) -> Self {
        let (from, to) = hours.into_inner();
        self.feature(name, Definition::HourOfDayIn { from, to, zone: zone.into() })
    }

    /// A formula over the event's fields and the features listed so far.
    #[must_use]
    pub fn expression(self, name: &str, expression: Expression) -> Self {
        self.feature(name, Definition::Expression(expression))
    }

    /// Aggregates over the events of one entity, for each of several windows.
    #[must_use]
    pub fn entity(
        mut self,
        entity: &str,
        list: impl FnOnce(EntityFeatures) -> EntityFeatures,
    ) -> Self {
        let source = Source { entity: entity.to_owned(), only: Vec::new() };
        let listed = list(EntityFeatures {
            source,
            widths: Vec::new(),
            delay: Duration::ZERO,
            current: Current::default(),
            empty: None,
            aggregates: Vec::new(),
        });
        for width in &listed.widths {
            for (name, aggregate) in &listed.aggregates {
                self.features.push(Feature {
                    name: format!("{name}{}", width_suffix(width)),
                    definition: Definition::Windowed {
                        source: listed.source.clone(),
                        window: Window {
                            width: width.clone(),
                            delay: listed.delay,
                            current: listed.current,
                        },
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
    /// `InvalidConfig` for a definition that can never be right: no feature, a name twice, a window without width, hours
    /// past 23, a quantile outside 0 to 1 or of all history, an expression over a feature that does not stand before it;
    /// `Leak` for a label that counts before it can be known, and for a share above its own quantile.
    pub fn build(self) -> Result<FeatureSet> {
        FeatureSet::new(self.name, self.features)
    }
}

/// Windows and aggregates of one entity; [`FeatureSetBuilder::entity`]. Every window gets every aggregate, and its
/// width becomes the end of the column's name (`n_7d`, `n_about_7d`, `n_7d_cap_1000`, `n_2_calendar_days`; nothing for a lifetime).
#[derive(Debug, Clone)]
pub struct EntityFeatures {
    source: Source,
    widths: Vec<Width>,
    delay: Duration,
    current: Current,
    empty: Option<f64>,
    aggregates: Vec<(String, Aggregate)>,
}

impl EntityFeatures {
    /// Windows of exactly these widths.
    #[must_use]
    pub fn windows(mut self, widths: impl IntoIterator<Item = Duration>) -> Self {
        self.widths.extend(widths.into_iter().map(Width::Last));
        self
    }

    /// A window of any kind.
    #[must_use]
    pub fn window(mut self, width: Width) -> Self {
        self.widths.push(width);
        self
    }

    /// All history.
    #[must_use]
    pub fn lifetime(self) -> Self {
        self.window(Width::Lifetime)
    }

    /// Only events that meet a condition; several must all be met.
    #[must_use]
    pub fn only(mut self, condition: Condition) -> Self {
        self.source.only.push(condition);
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

    /// Value where an aggregate has none; NaN by default.
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

    /// Number of different values of an entity, category or money field.
    #[must_use]
    pub fn distinct(self, name: &str, of: &str) -> Self {
        self.aggregate(name, Aggregate::Distinct { of: of.to_owned() })
    }

    /// Share of events labelled bad; needs a delay.
    #[must_use]
    pub fn rate(self, name: &str, label: &str) -> Self {
        let (label, labels) = (label.to_owned(), Labels::FixedDelay);
        self.aggregate(name, Aggregate::Rate { label, labels })
    }

    /// Any aggregate.
    #[must_use]
    pub fn aggregate(mut self, name: &str, aggregate: Aggregate) -> Self {
        self.aggregates.push((name.to_owned(), aggregate));
        self
    }
}

fn width_suffix(width: &Width) -> String {
    match width {
        Width::Last(width) => format!("_{}", duration_name(*width)),
        Width::Sawtooth { width, .. } => format!("_about_{}", duration_name(*width)),
        Width::Capped { width, cap, .. } => format!("_{}_cap_{cap}", duration_name(*width)),
        Width::CalendarDays { days, .. } => format!("_{days}_calendar_days"),
        Width::Lifetime => String::new(),
    }
}

fn duration_name(width: Duration) -> String {
    let (seconds, micros) = (width.as_secs(), width.subsec_micros());
    match seconds {
        _ if micros > 0 => format!("{}us", width.as_micros()),
        s if s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s % 3600 == 0 => format!("{}h", s / 3600),
        s if s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
    }
}
