//! A definition bound to a host's event: every name resolved, ready to run in batch or online.

use std::sync::Arc;

use crate::error::{Error, Result};
use crate::event::EventSchema;
use crate::feature::definition::{Aggregate, Current, Definition, FeatureSet};
use crate::schema::FeatureSchema;
use crate::time::{Timestamp, micros};

/// A [`FeatureSet`] bound to the host's event `E`; [`FeatureSet::bind`]. Cheap to clone.
#[derive(Debug)]
pub struct FeaturePlan<E> {
    pub(super) events: EventSchema<E>,
    pub(super) set: Arc<FeatureSet>,
    /// Columns read off the event itself.
    pub(super) own: Vec<(usize, Own)>,
    /// Columns over an entity's history.
    pub(super) entities: Vec<EntityPlan>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Own {
    Money { field: usize },
    Number { field: usize },
    Weekend { utc_offset_seconds: i32 },
    HourOfDayIn { from: u8, to: u8, utc_offset_seconds: i32 },
}

/// All windows over one entity's events, which share one history.
#[derive(Debug, Clone)]
pub(super) struct EntityPlan {
    pub(super) entity: usize,
    /// What is kept of every event besides time and id.
    pub(super) measures: Vec<Measure>,
    pub(super) windows: Vec<WindowPlan>,
}

/// A whole number kept of an event: what windows add up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    Money {
        field: usize,
    },
    /// 1 for bad, 0 for good and for not known yet.
    Label,
}

#[derive(Debug, Clone)]
pub(super) struct WindowPlan {
    pub(super) width: i64,
    pub(super) delay: i64,
    pub(super) current: Current,
    pub(super) columns: Vec<WindowColumn>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct WindowColumn {
    pub(super) column: usize,
    pub(super) value: WindowValue,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum WindowValue {
    Count,
    Sum { measure: usize, scale: f64 },
    Mean { measure: usize, scale: f64, empty: f64 },
}

impl WindowPlan {
    /// The window's right edge: it sees events up to and including this moment.
    pub(super) fn end(&self, at: i64) -> i64 {
        at.saturating_sub(self.delay)
    }

    /// The window's left edge: it sees events after this moment.
    pub(super) fn start(&self, at: i64) -> i64 {
        self.end(at).saturating_sub(self.width)
    }
}

impl WindowValue {
    /// The one expression both drivers end with. Sums are whole numbers, so nothing depends on order before this line.
    pub(super) fn finish(self, count: u64, sums: &[i128]) -> f64 {
        match self {
            WindowValue::Count => count as f64,
            WindowValue::Sum { measure, scale } => to_f64(sums[measure]) / scale,
            WindowValue::Mean { empty, .. } if count == 0 => empty,
            WindowValue::Mean { measure, scale, .. } => {
                to_f64(sums[measure]) / (count as f64 * scale)
            }
        }
    }
}

/// Rounds to nearest even, whichever of the two conversions is taken; the one from i64 is a single instruction.
fn to_f64(sum: i128) -> f64 {
    i64::try_from(sum).map_or(sum as f64, |small| small as f64)
}

impl<E> FeaturePlan<E> {
    /// The columns of the vectors.
    pub fn schema(&self) -> &FeatureSchema {
        self.set.schema()
    }

    /// The definition that was bound.
    pub fn set(&self) -> &FeatureSet {
        &self.set
    }

    /// The event schema it was bound to.
    pub fn events(&self) -> &EventSchema<E> {
        &self.events
    }

    pub(super) fn own_value(&self, own: Own, event: &E) -> f64 {
        let flag = |yes: bool| f64::from(u8::from(yes));
        match own {
            Own::Money { field } => {
                let (minor, scale) = self.events.read_money(field, event);
                minor as f64 / scale
            }
            Own::Number { field } => self.events.read_number(field, event),
            Own::Weekend { utc_offset_seconds } => {
                flag(self.events.time(event).weekday(utc_offset_seconds) >= 5)
            }
            Own::HourOfDayIn { from, to, utc_offset_seconds } => {
                let hour = self.events.time(event).hour(utc_offset_seconds);
                flag(if from <= to {
                    (from..=to).contains(&hour)
                } else {
                    hour >= from || hour <= to
                })
            }
        }
    }

    /// Where an event stands in the order: (time, id).
    pub(super) fn order(&self, event: &E) -> (Timestamp, u64) {
        (self.events.time(event), self.events.id(event))
    }
}

impl<E> Clone for FeaturePlan<E> {
    fn clone(&self) -> Self {
        FeaturePlan {
            events: self.events.clone(),
            set: self.set.clone(),
            own: self.own.clone(),
            entities: self.entities.clone(),
        }
    }
}

impl FeatureSet {
    /// Resolves every name of this definition against a host's event.
    ///
    /// # Errors
    /// `InvalidConfig` naming the feature and the field, if a field is not there or is of a kind that the aggregate
    /// cannot use.
    pub fn bind<E>(&self, events: &EventSchema<E>) -> Result<FeaturePlan<E>> {
        let mut own = Vec::new();
        let mut entities: Vec<EntityPlan> = Vec::new();
        for (column, feature) in self.features().iter().enumerate() {
            let refuse =
                |reason: String| Error::config("feature", format!("{}: {reason}", feature.name));
            let value = match &feature.definition {
                Definition::Field { field } => match events.money_position(field) {
                    Some(field) => Own::Money { field },
                    None => match events.number_position(field) {
                        Some(field) => Own::Number { field },
                        None => {
                            return Err(refuse(format!(
                                "the event has no money or number {field}"
                            )));
                        }
                    },
                },
                &Definition::Weekend { utc_offset_seconds } => Own::Weekend { utc_offset_seconds },
                &Definition::HourOfDayIn { from, to, utc_offset_seconds } => {
                    Own::HourOfDayIn { from, to, utc_offset_seconds }
                }
                Definition::Windowed { entity, window, aggregate, empty } => {
                    let entity = events
                        .entity_position(entity)
                        .map_err(|_| refuse(format!("the event has no entity {entity}")))?;
                    let measure = match aggregate {
                        Aggregate::Count => None,
                        Aggregate::Sum { field } | Aggregate::Mean { field } => {
                            let field = events.money_position(field).ok_or_else(|| {
                                refuse(format!(
                                    "{field} is not a money field, so it cannot be summed exactly"
                                ))
                            })?;
                            Some((Measure::Money { field }, events.money_scale(field)))
                        }
                        Aggregate::Rate { label } if events.is_label(label) => {
                            Some((Measure::Label, 1.0))
                        }
                        Aggregate::Rate { label } => {
                            return Err(refuse(format!("{label} is not the event's label")));
                        }
                    };
                    let plan = entity_plan(&mut entities, entity);
                    let value = match (measure, aggregate) {
                        (None, _) => WindowValue::Count,
                        (Some((measure, scale)), Aggregate::Sum { .. }) => {
                            WindowValue::Sum { measure: plan.measure(measure), scale }
                        }
                        (Some((measure, scale)), _) => WindowValue::Mean {
                            measure: plan.measure(measure),
                            scale,
                            empty: empty.unwrap_or(f64::NAN),
                        },
                    };
                    let (width, delay) = (micros(window.width), micros(window.delay));
                    plan.window(width, delay, window.current)
                        .columns
                        .push(WindowColumn { column, value });
                    continue;
                }
            };
            own.push((column, value));
        }
        Ok(FeaturePlan { events: events.clone(), set: Arc::new(self.clone()), own, entities })
    }
}

fn entity_plan(entities: &mut Vec<EntityPlan>, entity: usize) -> &mut EntityPlan {
    let position = entities.iter().position(|plan| plan.entity == entity).unwrap_or_else(|| {
        entities.push(EntityPlan { entity, measures: Vec::new(), windows: Vec::new() });
        entities.len() - 1
    });
    &mut entities[position]
}

impl EntityPlan {
    fn measure(&mut self, measure: Measure) -> usize {
        self.measures.iter().position(|other| *other == measure).unwrap_or_else(|| {
            self.measures.push(measure);
            self.measures.len() - 1
        })
    }

    fn window(&mut self, width: i64, delay: i64, current: Current) -> &mut WindowPlan {
        let same = |w: &WindowPlan| (w.width, w.delay, w.current) == (width, delay, current);
        let position = self.windows.iter().position(same).unwrap_or_else(|| {
            self.windows.push(WindowPlan { width, delay, current, columns: Vec::new() });
            self.windows.len() - 1
        });
        &mut self.windows[position]
    }
}
