//! Binding: every name of a definition resolved against a host's event, once.

mod aggregate;
mod stream;

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::EventSchema;
use crate::feature::aggregate::Labels;
use crate::feature::definition::{Condition, Definition, Feature, FeatureSet, Source, Width};
use crate::feature::expression::Expression;
use crate::feature::plan::{
    BoundCondition, FeaturePlan, Hours, MAX_FORMULA_DEPTH, Measure, Own, Step, StreamPlan,
};
use crate::feature::window::{Reach, WindowColumn};
use crate::feature::zone::{LocalTime, Zone};
use crate::schema::FeatureSchema;
use crate::time::micros;

impl FeatureSet {
    /// Resolves every name of this definition against a host's event.
    ///
    /// # Errors
    /// `InvalidConfig` naming the feature and the field, if a field is not there or is of a kind that cannot be used so;
    /// `Leak` for a feature that is the label itself.
    pub fn bind<E>(&self, events: &EventSchema<E>) -> Result<FeaturePlan<E>> {
        let mut plan = FeaturePlan {
            events: events.clone(),
            set: Arc::new(self.clone()),
            own: Vec::new(),
            streams: Vec::new(),
            bad_tables: Vec::new(),
            formulas: Vec::new(),
        };
        for (column, feature) in self.features().iter().enumerate() {
            let binder = Binder { feature, events };
            match &feature.definition {
                Definition::Field { field } => plan.own.push((column, binder.own(field)?)),
                Definition::Weekend { zone } => {
                    plan.own.push((column, Own::Weekend { zone: binder.zone(zone)? }));
                }
                Definition::HourOfDayIn { from, to, zone } => {
                    let hours = Hours { from: *from, to: *to, zone: binder.zone(zone)? };
                    plan.own.push((column, Own::HourOfDayIn(hours)));
                }
                Definition::Windowed { source, window, aggregate, empty } => {
                    let stream = binder.stream(&mut plan.streams, source)?;
                    let empty = empty.unwrap_or(f64::NAN);
                    let bad_tables = &mut plan.bad_tables;
                    let mut read = |stream: &mut StreamPlan, reach| {
                        let (window, value) =
                            binder.value(stream, bad_tables, window, reach, aggregate)?;
                        let when_full = None;
                        Ok::<_, Error>(WindowColumn { column, window, value, empty, when_full })
                    };
                    let (reach, reach_when_full) = binder.reaches(&window.width)?;
                    let mut plain = read(stream, reach)?;
                    if let Some(reach) = reach_when_full {
                        plain.when_full = Some(stream.when_full.len());
                        let full = read(stream, reach)?;
                        stream.when_full.push(full);
                    }
                    stream.columns.push(plain);
                }
                Definition::Expression(expression) => {
                    let mut steps = Vec::new();
                    let depth = binder.steps(expression, self.schema(), &mut steps)?;
                    if depth > MAX_FORMULA_DEPTH {
                        return Err(binder.refuse(format!("nests deeper than {MAX_FORMULA_DEPTH}")));
                    }
                    plan.formulas.push((column, steps));
                }
            }
        }
        for stream in &mut plan.streams {
            let mut next = 0;
            for window in &mut stream.windows {
                window.first_term = next;
                next += window.terms.len();
            }
            let folding = stream.windows.iter_mut().filter_map(|window| window.fold.as_mut());
            folding.enumerate().for_each(|(place, fold)| *fold = place);
        }
        Ok(plan)
    }
}

struct Binder<'a, E> {
    feature: &'a Feature,
    events: &'a EventSchema<E>,
}

impl<E> Binder<'_, E> {
    fn refuse(&self, reason: String) -> Error {
        Error::config("feature", format!("{}: {reason}", self.feature.name))
    }

    fn own(&self, field: &str) -> Result<Own> {
        if self.events.is_label(field) {
            return Err(Error::Leak {
                feature: self.feature.name.clone(),
                reason: format!("{field} is the label of the very event"),
            });
        }
        let money = self.events.money_position(field).map(|field| Own::Money { field });
        let number = || self.events.number_position(field).map(|field| Own::Number { field });
        money
            .or_else(number)
            .ok_or_else(|| self.refuse(format!("the event has no money or number {field}")))
    }

    fn zone(&self, zone: &Zone) -> Result<LocalTime> {
        LocalTime::of(zone).map_err(|error| self.refuse(error.to_string()))
    }

    /// How far a window reaches, and how far instead where it is full.
    fn reaches(&self, width: &Width) -> Result<(Reach, Option<Reach>)> {
        let reach = match width {
            Width::Last(width) => Reach::Last(micros(*width)),
            Width::Sawtooth { width, hop } => {
                Reach::Sawtooth { width: micros(*width), hop: micros(*hop) }
            }
            Width::CalendarDays { days, zone } => {
                Reach::CalendarDays { days: i64::from(*days), zone: self.zone(zone)? }
            }
            Width::Lifetime => Reach::Lifetime,
            Width::Capped { width, cap, hop } => {
                let (width, hop) = (micros(*width), micros(*hop));
                // One more than it is exact for: full, it is known to hold too many.
                let newest = Reach::Newest { width, most: cap.saturating_add(1) };
                return Ok((newest, Some(Reach::Sawtooth { width, hop })));
            }
        };
        Ok((reach, None))
    }

    fn entity(&self, entity: &str) -> Result<usize> {
        self.events
            .entity_position(entity)
            .map_err(|_| self.refuse(format!("the event has no entity {entity}")))
    }

    fn money(&self, field: &str) -> Result<(Measure, f64)> {
        let position = self.events.money_position(field).ok_or_else(|| {
            self.refuse(format!("{field} is not a money field, so it cannot be summed exactly"))
        })?;
        Ok((Measure::Money { field: position }, self.events.money_scale(position)))
    }

    /// What different values are told apart by.
    fn tag(&self, of: &str) -> Result<Measure> {
        if let Some(field) = self.events.money_position(of) {
            return Ok(Measure::Money { field });
        }
        Ok(Measure::Entity { entity: self.entity(of)? })
    }

    fn bad(&self, label: &str, labels: Labels) -> Result<Measure> {
        if !self.events.is_label(label) {
            return Err(self.refuse(format!("{label} is not the event's label")));
        }
        Ok(Measure::Bad { as_arrived: labels != Labels::FixedDelay })
    }

    fn stream<'s>(
        &self,
        streams: &'s mut Vec<StreamPlan>,
        source: &Source,
    ) -> Result<&'s mut StreamPlan> {
        let known = streams.iter().position(|stream| stream.source == *source);
        let position = match known {
            Some(position) => position,
            None => {
                let only = source.only.iter().map(|condition| self.condition(condition));
                streams.push(StreamPlan {
                    entity: self.entity(&source.entity)?,
                    source: source.clone(),
                    only: only.collect::<Result<_>>()?,
                    measures: Vec::new(),
                    windows: Vec::new(),
                    accumulators: Vec::new(),
                    columns: Vec::new(),
                    when_full: Vec::new(),
                });
                streams.len() - 1
            }
        };
        Ok(&mut streams[position])
    }

    fn condition(&self, condition: &Condition) -> Result<BoundCondition> {
        Ok(match condition {
            Condition::Above { field, value } => {
                BoundCondition::Above { value: *value, own: self.own(field)? }
            }
            Condition::Below { field, value } => {
                BoundCondition::Below { value: *value, own: self.own(field)? }
            }
            Condition::HourOfDayIn { from, to, zone } => {
                BoundCondition::Hour(Hours { from: *from, to: *to, zone: self.zone(zone)? })
            }
            Condition::In { entity, keys } => BoundCondition::In {
                entity: self.entity(entity)?,
                keys: keys.iter().copied().collect(), // in order, as a BTreeSet is
            },
        })
    }

    /// Appends a formula in reverse Polish order; returns how many values it holds at once.
    fn steps(
        &self,
        expression: &Expression,
        schema: &FeatureSchema,
        steps: &mut Vec<Step>,
    ) -> Result<usize> {
        let step = match expression {
            Expression::Field(field) => Step::Own(self.own(field)?),
            Expression::Feature(name) => {
                let position = schema.position(name);
                Step::Column(position.ok_or_else(|| self.refuse(format!("no feature {name}")))?)
            }
            Expression::Number(value) => Step::Number(*value),
            Expression::Binary(operation, left, right) => {
                let left = self.steps(left, schema, steps)?;
                let right = self.steps(right, schema, steps)?;
                steps.push(Step::Apply(*operation));
                return Ok(left.max(right + 1));
            }
        };
        steps.push(step);
        Ok(1)
    }
}
