//! A definition bound to a host's event: every name resolved, ready to run in batch or online.

use std::sync::Arc;

use crate::event::EventSchema;
use crate::feature::accumulator::{AccumulatorPlan, MEASURES};
use crate::feature::definition::{FeatureSet, Source};
use crate::feature::ever_bad::BadTablePlan;
use crate::feature::expression::Operation;
use crate::feature::sweep::MAX_TERMS;
use crate::feature::window::{WindowColumn, WindowPlan};
use crate::feature::zone::LocalTime;
use crate::ids::EntityKey;
use crate::schema::FeatureSchema;
use crate::time::Timestamp;

/// A [`FeatureSet`] bound to the host's event `E`; [`FeatureSet::bind`]. Cheap to clone.
#[derive(Debug)]
pub struct FeaturePlan<E> {
    pub(super) events: EventSchema<E>,
    pub(super) set: Arc<FeatureSet>,
    /// Columns read off the event itself.
    pub(super) own: Vec<(usize, Own)>,
    /// Columns over histories.
    pub(super) streams: Vec<StreamPlan>,
    /// What is known of values whatever the key, for all streams.
    pub(super) bad_tables: Vec<BadTablePlan>,
    /// Columns computed from others, in order.
    pub(super) formulas: Vec<(usize, Vec<Step>)>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Own {
    Money { field: usize },
    Number { field: usize },
    Weekend { zone: LocalTime },
    HourOfDayIn(Hours),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hours {
    pub(super) from: u8,
    pub(super) to: u8,
    pub(super) zone: LocalTime,
}

/// One step of a formula in reverse Polish order.
#[derive(Debug, Clone, Copy)]
pub(super) enum Step {
    Own(Own),
    Column(usize),
    Number(f64),
    Apply(Operation),
}

/// Most values that a formula may hold at once.
pub(super) const MAX_FORMULA_DEPTH: usize = 32;

/// The events of one entity that meet the same conditions, and all windows over them: they share one history.
#[derive(Debug, Clone)]
pub(super) struct StreamPlan {
    pub(super) entity: usize,
    pub(super) source: Source,
    pub(super) only: Vec<BoundCondition>,
    /// What is kept of every event besides time and id.
    pub(super) measures: Vec<Measure>,
    pub(super) windows: Vec<WindowPlan>,
    /// All windows' accumulators, with the window they belong to.
    pub(super) accumulators: Vec<(usize, AccumulatorPlan)>,
    pub(super) columns: Vec<WindowColumn>,
    /// What columns over a window that may be full are read off then.
    pub(super) when_full: Vec<WindowColumn>,
}

#[derive(Debug, Clone)]
pub(super) enum BoundCondition {
    Above { value: f64, own: Own },
    Below { value: f64, own: Own },
    Hour(Hours),
    In { entity: usize, keys: Vec<EntityKey> },
}

/// A whole number kept of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Measure {
    Money {
        field: usize,
    },
    Entity {
        entity: usize,
    },
    Day {
        zone: LocalTime,
    },
    /// 1 for bad, 0 for good and for not known yet.
    Bad {
        as_arrived: bool,
    },
    /// 1 once the label has arrived.
    Labelled,
}

impl StreamPlan {
    /// Numbers per [`Entry`].
    pub(super) fn entry_len(&self) -> usize {
        MEASURES + self.measures.len()
    }

    /// What a column is read off, by how many events its window holds.
    #[inline]
    pub(super) fn reading<'a>(
        &'a self,
        column: &'a WindowColumn,
        count: impl FnOnce() -> u64,
    ) -> &'a WindowColumn {
        match column.when_full {
            Some(other) if count() >= self.windows[column.window].most() => &self.when_full[other],
            _ => column,
        }
    }

    /// Whether the batch kernel can do it: sums are all that is needed, and not too many.
    pub(super) fn is_additive(&self) -> bool {
        let as_arrived =
            |m: &Measure| matches!(m, Measure::Bad { as_arrived: true } | Measure::Labelled);
        self.windows.iter().all(|window| window.terms.len() <= MAX_TERMS)
            && !self.measures.iter().any(as_arrived)
            && self.columns.iter().all(WindowColumn::is_additive)
    }

    /// The accumulators of one window, with their places among all.
    pub(super) fn accumulators_of(
        &self,
        window: usize,
    ) -> impl Iterator<Item = (usize, AccumulatorPlan)> + '_ {
        let all = self.accumulators.iter().enumerate();
        all.filter(move |(_, (of, _))| *of == window).map(|(a, (_, plan))| (a, *plan))
    }

    pub(super) fn label_measures(&self) -> impl Iterator<Item = (usize, Measure)> + '_ {
        let measures = self.measures.iter().copied().enumerate();
        measures.filter(|(_, m)| matches!(m, Measure::Bad { .. } | Measure::Labelled))
    }
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

    /// Where an event stands in the order: (time, id). The id's top bit is flipped, so that signed order is the id's own.
    pub(super) fn order(&self, event: &E) -> (i64, i64) {
        (self.events.time(event).micros(), (self.events.id(event) ^ (1 << 63)) as i64)
    }

    /// Whether an event belongs to a stream.
    pub(super) fn passes(&self, stream: &StreamPlan, event: &E) -> bool {
        stream.only.iter().all(|condition| match condition {
            BoundCondition::Above { value, own } => self.own_value(*own, event) > *value,
            BoundCondition::Below { value, own } => self.own_value(*own, event) < *value,
            BoundCondition::Hour(hours) => hours.contain(self.events.time(event)),
            BoundCondition::In { entity, keys } => {
                keys.binary_search(&self.events.read_entity(*entity, event)).is_ok()
            }
        })
    }

    /// What a stream keeps of an event; of its label what `label` says.
    pub(super) fn measure(
        &self,
        measure: Measure,
        event: &E,
        label: impl FnOnce() -> Option<bool>,
    ) -> i64 {
        match measure {
            Measure::Money { field } => self.events.read_money(field, event).0,
            Measure::Entity { entity } => self.events.read_entity(entity, event).0 as i64,
            Measure::Day { zone } => zone.day(self.events.time(event)),
            Measure::Bad { .. } => i64::from(label() == Some(true)),
            Measure::Labelled => i64::from(label().is_some()),
        }
    }

    pub(super) fn own_value(&self, own: Own, event: &E) -> f64 {
        match own {
            Own::Money { field } => {
                let (minor, scale) = self.events.read_money(field, event);
                minor as f64 / scale
            }
            Own::Number { field } => self.events.read_number(field, event),
            timed => timed.at(self.events.time(event)),
        }
    }

    /// Writes the columns that follow from the event itself, and then those computed from others.
    pub(super) fn finish(&self, event: &E, out: &mut [f64]) {
        for &(column, own) in &self.own {
            out[column] = self.own_value(own, event);
        }
        for (column, steps) in &self.formulas {
            let own = |own| self.own_value(own, event);
            out[*column] = FeaturePlan::<E>::formula(steps, own, |column| out[column]);
        }
    }

    /// Computes one formula; `own` gives the event's own values, `column` the columns before it.
    pub(super) fn formula(
        steps: &[Step],
        own: impl Fn(Own) -> f64,
        column: impl Fn(usize) -> f64,
    ) -> f64 {
        let mut stack = [0.0; MAX_FORMULA_DEPTH];
        let mut depth = 0;
        for step in steps {
            stack[depth] = match *step {
                Step::Own(value) => own(value),
                Step::Column(position) => column(position),
                Step::Number(value) => value,
                Step::Apply(operation) => {
                    depth -= 2;
                    operation.apply(stack[depth], stack[depth + 1])
                }
            };
            depth += 1;
        }
        stack[0]
    }
}

impl Own {
    /// The value that follows from the moment alone; NaN for what only an event has.
    pub(super) fn at(self, at: Timestamp) -> f64 {
        let flag = |yes: bool| f64::from(u8::from(yes));
        match self {
            Own::Money { .. } | Own::Number { .. } => f64::NAN,
            Own::Weekend { zone } => flag(zone.is_weekend(at)),
            Own::HourOfDayIn(hours) => flag(hours.contain(at)),
        }
    }
}

impl Hours {
    fn contain(self, at: Timestamp) -> bool {
        let hour = self.zone.hour(at);
        if self.from <= self.to {
            (self.from..=self.to).contains(&hour)
        } else {
            hour >= self.from || hour <= self.to
        }
    }
}

impl<E> Clone for FeaturePlan<E> {
    fn clone(&self) -> Self {
        FeaturePlan {
            events: self.events.clone(),
            set: self.set.clone(),
            own: self.own.clone(),
            streams: self.streams.clone(),
            bad_tables: self.bad_tables.clone(),
            formulas: self.formulas.clone(),
        }
    }
}
