//! A definition bound to a host's event: every name resolved, ready to run in batch or online.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::EventSchema;
use crate::feature::accumulator::{Accumulator, AccumulatorPlan, Entry, MEASURES};
use crate::feature::definition::{
    Aggregate, Condition, Current, Definition, Feature, FeatureSet, Labels, Source, Width, Window,
};
use crate::feature::expression::{Expression, Operation};
use crate::ids::EntityKey;
use crate::schema::FeatureSchema;
use crate::time::{Timestamp, micros};

/// A [`FeatureSet`] bound to the host's event `E`; [`FeatureSet::bind`]. Cheap to clone.
#[derive(Debug)]
pub struct FeaturePlan<E> {
    pub(super) events: EventSchema<E>,
    pub(super) set: Arc<FeatureSet>,
    /// Columns read off the event itself.
    pub(super) own: Vec<(usize, Own)>,
    /// Columns over histories.
    pub(super) streams: Vec<StreamPlan>,
    /// Columns computed from others, in order.
    pub(super) formulas: Vec<(usize, Vec<Step>)>,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Own {
    Money { field: usize },
    Number { field: usize },
    Weekend { utc_offset_seconds: i32 },
    HourOfDayIn(Hours),
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Hours {
    from: u8,
    to: u8,
    utc_offset_seconds: i32,
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
const MAX_FORMULA_DEPTH: usize = 32;

/// The events of one entity that meet the same conditions, and all windows over them: they share one history.
#[derive(Debug, Clone)]
pub(super) struct StreamPlan {
    pub(super) entity: usize,
    source: Source,
    only: Vec<BoundCondition>,
    /// What is kept of every event besides time and id.
    pub(super) measures: Vec<Measure>,
    pub(super) windows: Vec<WindowPlan>,
    /// All windows' accumulators, with the window they belong to.
    pub(super) accumulators: Vec<(usize, AccumulatorPlan)>,
    pub(super) columns: Vec<WindowColumn>,
}

#[derive(Debug, Clone)]
enum BoundCondition {
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
        utc_offset_seconds: i32,
    },
    /// 1 for bad, 0 for good and for not known yet.
    Bad {
        as_arrived: bool,
    },
    /// 1 once the label has arrived.
    Labelled,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) struct WindowPlan {
    reach: Reach,
    pub(super) delay: i64,
    pub(super) current: Current,
    /// What is added up over the window's events.
    pub(super) terms: Vec<Term>,
}

/// A [`Width`] in microseconds, ready for the hot path.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Reach {
    Last(i64),
    Sawtooth { width: i64, hop: i64 },
    CalendarDays { days: i64, utc_offset_seconds: i32 },
    Lifetime,
}

impl From<Width> for Reach {
    fn from(width: Width) -> Self {
        match width {
            Width::Last(width) => Reach::Last(micros(width)),
            Width::Sawtooth { width, hop } => {
                Reach::Sawtooth { width: micros(width), hop: micros(hop) }
            }
            Width::CalendarDays { days, utc_offset_seconds } => {
                Reach::CalendarDays { days: i64::from(days), utc_offset_seconds }
            }
            Width::Lifetime => Reach::Lifetime,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Term {
    Value(usize),
    Square(usize),
}

#[derive(Debug, Clone, Copy)]
pub(super) struct WindowColumn {
    pub(super) column: usize,
    pub(super) window: usize,
    value: WindowValue,
    empty: f64,
}

/// Positions refer to the window's terms and to the stream's measures and accumulators.
#[derive(Debug, Clone, Copy)]
enum WindowValue {
    Count,
    Sum { term: usize, scale: f64 },
    Mean { term: usize, scale: f64 },
    StandardDeviation { term: usize, square: usize, scale: f64 },
    Share { part: usize, whole: usize },
    Extreme { accumulator: usize, scale: f64 },
    Quantile { accumulator: usize, q: f64, scale: f64 },
    First { measure: usize, scale: f64 },
    Last { measure: usize, scale: f64 },
    SinceFirst,
    SinceLast,
    Distinct { accumulator: usize },
    CountPer { accumulator: usize },
    DistinctPer { pairs: usize, days: usize },
    TopShare { accumulator: usize, k: usize },
    Entropy { accumulator: usize },
    CountSame { accumulator: usize, measure: usize },
    ShareSame { accumulator: usize, measure: usize },
    ShareAbove { accumulator: usize, baseline: usize, q: f64 },
}

/// What a window holds when a column is read off it.
pub(super) struct View<'a, S> {
    pub(super) at: i64,
    pub(super) count: u64,
    pub(super) sums: &'a [S],
    /// The stream's, of all windows.
    pub(super) accumulators: &'a [Accumulator],
    pub(super) first: Option<&'a Entry>,
    pub(super) last: Option<&'a Entry>,
    /// Measures of the event that asks; empty where there is none.
    pub(super) own: &'a [i64],
}

/// A whole number that a window has added up: 128 bits live, 64 in batch where they are known to do.
pub(super) trait Sum: Copy + Into<i128> {
    /// The nearest float, ties to even.
    fn to_f64(self) -> f64;
}

impl Sum for i64 {
    fn to_f64(self) -> f64 {
        self as f64
    }
}

impl Sum for i128 {
    fn to_f64(self) -> f64 {
        // Both round to the nearest; the conversion from i64 is a single instruction.
        match i64::try_from(self) {
            Ok(small) => small as f64,
            Err(_) => self as f64,
        }
    }
}

impl WindowPlan {
    /// The window's right edge: it sees events up to and including this moment.
    #[inline]
    fn end(&self, at: i64) -> i64 {
        at.saturating_sub(self.delay)
    }

    /// The window's left edge: it sees events after this moment. Never moves back as `at` moves on.
    #[inline]
    pub(super) fn start(&self, at: i64) -> i64 {
        let end = self.end(at);
        match self.reach {
            Reach::Last(width) => end.saturating_sub(width),
            Reach::Sawtooth { width, hop } => {
                end.saturating_sub(width).div_euclid(hop).saturating_mul(hop)
            }
            Reach::CalendarDays { days, utc_offset_seconds } => {
                let first = Timestamp::from_micros(end).day(utc_offset_seconds) - days + 1;
                let midnight = (first.saturating_mul(86_400) - i64::from(utc_offset_seconds))
                    .saturating_mul(1_000_000);
                midnight.saturating_sub(1) // midnight itself is inside
            }
            Reach::Lifetime => i64::MIN,
        }
    }

    pub(super) fn is_lifetime(&self) -> bool {
        self.reach == Reach::Lifetime
    }

    /// Whether an event at (time, id) `event` has come into view of one that asks at `asking`.
    #[inline]
    pub(super) fn enters(&self, event: (i64, i64), asking: (i64, i64)) -> bool {
        match (self.delay, self.current) {
            (0, Current::Exclude) => event < asking,
            (0, Current::Include) => event <= asking,
            (0, Current::StrictPast) => event.0 < asking.0,
            _ => event.0 <= self.end(asking.0),
        }
    }
}

impl Term {
    pub(super) fn of(self, measure: impl Fn(usize) -> i64) -> i128 {
        match self {
            Term::Value(position) => i128::from(measure(position)),
            Term::Square(position) => i128::from(measure(position)).pow(2),
        }
    }
}

impl WindowColumn {
    /// The one expression that both drivers end with. Sums are whole numbers and accumulators depend on the events alone,
    /// so nothing depends on order before this line.
    #[inline]
    pub(super) fn finish<S: Sum>(&self, view: &View<'_, S>) -> f64 {
        let count = view.count as f64;
        let value = match self.value {
            WindowValue::Count => count,
            WindowValue::Sum { term, scale } => view.sums[term].to_f64() / scale,
            WindowValue::Mean { .. } if view.count == 0 => f64::NAN,
            WindowValue::Mean { term, scale } => view.sums[term].to_f64() / (count * scale),
            WindowValue::StandardDeviation { .. } if view.count < 2 => f64::NAN,
            WindowValue::StandardDeviation { term, square, scale } => {
                let (sum, squares): (i128, i128) =
                    (view.sums[term].into(), view.sums[square].into());
                let n = i128::from(view.count);
                // n·Σx² − (Σx)² in whole numbers: no cancellation, as long as it fits.
                let spread = match (squares.checked_mul(n), sum.checked_mul(sum)) {
                    (Some(squares), Some(square)) => (squares - square).to_f64(),
                    _ => count * squares.to_f64() - sum.to_f64() * sum.to_f64(),
                };
                (spread.max(0.0) / (count * (count - 1.0))).sqrt() / scale
            }
            WindowValue::Share { part, whole } => {
                let (part, whole) = (view.sums[part].to_f64(), view.sums[whole].to_f64());
                if whole == 0.0 { f64::NAN } else { part / whole }
            }
            WindowValue::Extreme { accumulator, scale } => {
                view.accumulators[accumulator].extreme().map_or(f64::NAN, |v| v as f64 / scale)
            }
            WindowValue::Quantile { accumulator, q, scale } => {
                view.accumulators[accumulator].quantile(q).map_or(f64::NAN, |v| v / scale)
            }
            WindowValue::First { measure, scale } => {
                view.first().map_or(f64::NAN, |e| e[MEASURES + measure] as f64 / scale)
            }
            WindowValue::Last { measure, scale } => {
                view.last().map_or(f64::NAN, |e| e[MEASURES + measure] as f64 / scale)
            }
            WindowValue::SinceFirst => view.since(view.first()),
            WindowValue::SinceLast => view.since(view.last()),
            WindowValue::Distinct { accumulator } => {
                view.accumulators[accumulator].distinct() as f64
            }
            WindowValue::CountPer { accumulator } => {
                ratio(count, view.accumulators[accumulator].distinct())
            }
            WindowValue::DistinctPer { pairs, days } => {
                let pairs = view.accumulators[pairs].distinct();
                ratio(pairs as f64, view.accumulators[days].distinct())
            }
            WindowValue::TopShare { accumulator, k } => {
                let frequencies = view.accumulators[accumulator].frequencies();
                let top: u64 = frequencies.iter().take(k).map(|n| u64::from(*n)).sum();
                ratio(top as f64, view.count as usize)
            }
            WindowValue::Entropy { .. } if view.count == 0 => f64::NAN,
            WindowValue::Entropy { accumulator } => {
                let term = |n: u32| {
                    let share = f64::from(n) / count;
                    -share * share.ln()
                };
                view.accumulators[accumulator].frequencies().into_iter().map(term).sum::<f64>()
                    + 0.0
            }
            WindowValue::CountSame { accumulator, measure } => {
                view.same(accumulator, measure).map_or(f64::NAN, f64::from)
            }
            WindowValue::ShareSame { accumulator, measure } => {
                let same = view.same(accumulator, measure).map_or(f64::NAN, f64::from);
                ratio(same, view.count as usize)
            }
            WindowValue::ShareAbove { accumulator, baseline, q } => {
                let values = view.accumulators[accumulator].sorted();
                match view.accumulators[baseline].quantile(q) {
                    Some(cut) => {
                        let above = values.len() - values.partition_point(|v| *v as f64 <= cut);
                        ratio(above as f64, values.len())
                    }
                    None => f64::NAN,
                }
            }
        };
        if value.is_nan() { self.empty } else { value }
    }

    /// Whether sums are all it needs.
    fn is_additive(&self) -> bool {
        matches!(
            self.value,
            WindowValue::Count
                | WindowValue::Sum { .. }
                | WindowValue::Mean { .. }
                | WindowValue::StandardDeviation { .. }
                | WindowValue::Share { .. }
        )
    }

    /// Whether it looks at the window's first or last event.
    pub(super) fn needs_ends(&self) -> bool {
        matches!(
            self.value,
            WindowValue::First { .. }
                | WindowValue::Last { .. }
                | WindowValue::SinceFirst
                | WindowValue::SinceLast
        )
    }
}

impl<S> View<'_, S> {
    /// The first event: a lifetime keeps it itself, other windows have it in the history.
    fn first(&self) -> Option<&Entry> {
        self.first.filter(|entry| !entry.is_empty())
    }

    fn last(&self) -> Option<&Entry> {
        self.last.filter(|entry| !entry.is_empty())
    }

    fn since(&self, entry: Option<&Entry>) -> f64 {
        entry.map_or(f64::NAN, |entry| self.at.saturating_sub(entry[0]) as f64 / 1e6)
    }

    fn same(&self, accumulator: usize, measure: usize) -> Option<u32> {
        let value = self.own.get(measure)?;
        Some(self.accumulators[accumulator].count_of(*value))
    }
}

fn ratio(part: f64, whole: usize) -> f64 {
    if whole == 0 { f64::NAN } else { part / whole as f64 }
}

impl StreamPlan {
    /// Numbers per [`Entry`].
    pub(super) fn entry_len(&self) -> usize {
        MEASURES + self.measures.len()
    }

    /// Whether the batch kernel can do it: every event counts and sums are all that is needed.
    pub(super) fn is_additive(&self) -> bool {
        let as_arrived =
            |m: &Measure| matches!(m, Measure::Bad { as_arrived: true } | Measure::Labelled);
        self.only.is_empty()
            && !self.measures.iter().any(as_arrived)
            && self.columns.iter().all(WindowColumn::is_additive)
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
            Measure::Day { utc_offset_seconds } => self.events.time(event).day(utc_offset_seconds),
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
            Own::Weekend { utc_offset_seconds } => flag(at.weekday(utc_offset_seconds) >= 5),
            Own::HourOfDayIn(hours) => flag(hours.contain(at)),
        }
    }
}

impl Hours {
    fn contain(self, at: Timestamp) -> bool {
        let hour = at.hour(self.utc_offset_seconds);
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
            formulas: self.formulas.clone(),
        }
    }
}

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
            formulas: Vec::new(),
        };
        for (column, feature) in self.features().iter().enumerate() {
            let binder = Binder { feature, events };
            match &feature.definition {
                Definition::Field { field } => plan.own.push((column, binder.own(field)?)),
                &Definition::Weekend { utc_offset_seconds } => {
                    plan.own.push((column, Own::Weekend { utc_offset_seconds }));
                }
                &Definition::HourOfDayIn { from, to, utc_offset_seconds } => {
                    let hours = Hours { from, to, utc_offset_seconds };
                    plan.own.push((column, Own::HourOfDayIn(hours)));
                }
                Definition::Windowed { source, window, aggregate, empty } => {
                    let stream = binder.stream(&mut plan.streams, source)?;
                    let (window, value) = binder.value(stream, *window, aggregate)?;
                    let empty = empty.unwrap_or(f64::NAN);
                    stream.columns.push(WindowColumn { column, window, value, empty });
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
            &Condition::HourOfDayIn { from, to, utc_offset_seconds } => {
                BoundCondition::Hour(Hours { from, to, utc_offset_seconds })
            }
            Condition::In { entity, keys } => BoundCondition::In {
                entity: self.entity(entity)?,
                keys: keys.iter().copied().collect(), // in order, as a BTreeSet is
            },
        })
    }

    /// Adds what an aggregate needs to a stream; its window and how to read the value off it.
    fn value(
        &self,
        stream: &mut StreamPlan,
        window: Window,
        aggregate: &Aggregate,
    ) -> Result<(usize, WindowValue)> {
        let mut delay = window.delay;
        if let Aggregate::Rate { labels: Labels::AsArrived { mature_after }, .. }
        | Aggregate::DistinctBad { labels: Labels::AsArrived { mature_after }, .. } = aggregate
        {
            delay = delay.max(*mature_after);
        }
        let w = stream.window(window.width, delay, window.current);
        let value = match aggregate {
            Aggregate::Count => WindowValue::Count,
            Aggregate::Sum { field } => {
                let (measure, scale) = self.money(field)?;
                WindowValue::Sum { term: stream.term(w, measure), scale }
            }
            Aggregate::Mean { field } => {
                let (measure, scale) = self.money(field)?;
                WindowValue::Mean { term: stream.term(w, measure), scale }
            }
            Aggregate::StandardDeviation { field } => {
                let (measure, scale) = self.money(field)?;
                let (term, square) = (stream.term(w, measure), stream.square(w, measure));
                WindowValue::StandardDeviation { term, square, scale }
            }
            Aggregate::Min { field } | Aggregate::Max { field } => {
                let (measure, scale) = self.money(field)?;
                let largest = matches!(aggregate, Aggregate::Max { .. });
                let measure = stream.measure(measure);
                let plan = AccumulatorPlan::Extreme { measure, largest };
                WindowValue::Extreme { accumulator: stream.accumulator(w, plan), scale }
            }
            Aggregate::Quantile { field, q } => {
                let (measure, scale) = self.money(field)?;
                WindowValue::Quantile { accumulator: stream.sorted(w, measure), q: *q, scale }
            }
            Aggregate::First { field } | Aggregate::Last { field } => {
                let (measure, scale) = self.money(field)?;
                let measure = stream.measure(measure);
                stream.accumulator(w, AccumulatorPlan::Ends);
                match aggregate {
                    Aggregate::First { .. } => WindowValue::First { measure, scale },
                    _ => WindowValue::Last { measure, scale },
                }
            }
            Aggregate::SinceFirst | Aggregate::SinceLast => {
                stream.accumulator(w, AccumulatorPlan::Ends);
                match aggregate {
                    Aggregate::SinceFirst => WindowValue::SinceFirst,
                    _ => WindowValue::SinceLast,
                }
            }
            Aggregate::Distinct { of } => {
                WindowValue::Distinct { accumulator: stream.counts(w, self.tag(of)?, None, None) }
            }
            &Aggregate::PerActiveDay { utc_offset_seconds } => {
                let day = Measure::Day { utc_offset_seconds };
                WindowValue::CountPer { accumulator: stream.counts(w, day, None, None) }
            }
            Aggregate::DistinctPerActiveDay { of, utc_offset_seconds } => {
                let day = Measure::Day { utc_offset_seconds: *utc_offset_seconds };
                WindowValue::DistinctPer {
                    pairs: stream.counts(w, day, Some(self.tag(of)?), None),
                    days: stream.counts(w, day, None, None),
                }
            }
            Aggregate::TopShare { of, k } => {
                let accumulator = stream.counts(w, self.tag(of)?, None, None);
                WindowValue::TopShare { accumulator, k: *k }
            }
            Aggregate::Entropy { of } => {
                WindowValue::Entropy { accumulator: stream.counts(w, self.tag(of)?, None, None) }
            }
            Aggregate::CountSame { of } | Aggregate::ShareSame { of } => {
                let tag = self.tag(of)?;
                let (accumulator, measure) =
                    (stream.counts(w, tag, None, None), stream.measure(tag));
                match aggregate {
                    Aggregate::CountSame { .. } => WindowValue::CountSame { accumulator, measure },
                    _ => WindowValue::ShareSame { accumulator, measure },
                }
            }
            Aggregate::ShareAbove { field, q, baseline } => {
                let Width::Last(width) = window.width else {
                    let reason = "a share above an earlier quantile needs a window of fixed width";
                    return Err(self.refuse(reason.into()));
                };
                let measure = self.money(field)?.0;
                let accumulator = stream.sorted(w, measure);
                let before = delay.saturating_add(width).max(Duration::from_micros(1));
                let before = stream.window(Width::Last(*baseline), before, Current::Exclude);
                let baseline = stream.sorted(before, measure);
                WindowValue::ShareAbove { accumulator, baseline, q: *q }
            }
            Aggregate::Rate { label, labels } => {
                let part = stream.term(w, self.bad(label, *labels)?);
                match labels {
                    // One term for both: the mean of 0 and 1 over all events.
                    Labels::FixedDelay => WindowValue::Mean { term: part, scale: 1.0 },
                    Labels::AsArrived { .. } => {
                        WindowValue::Share { part, whole: stream.term(w, Measure::Labelled) }
                    }
                }
            }
            Aggregate::DistinctBad { of, label, labels } => {
                let bad = self.bad(label, *labels)?;
                let accumulator = stream.counts(w, self.tag(of)?, None, Some(bad));
                WindowValue::Distinct { accumulator }
            }
        };
        Ok((w, value))
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

impl StreamPlan {
    fn measure(&mut self, measure: Measure) -> usize {
        position_or_push(&mut self.measures, measure)
    }

    fn window(&mut self, width: Width, delay: Duration, current: Current) -> usize {
        let (reach, delay) = (Reach::from(width), micros(delay));
        let same = |w: &WindowPlan| (w.reach, w.delay, w.current) == (reach, delay, current);
        self.windows.iter().position(same).unwrap_or_else(|| {
            self.windows.push(WindowPlan { reach, delay, current, terms: Vec::new() });
            self.windows.len() - 1
        })
    }

    fn term(&mut self, window: usize, measure: Measure) -> usize {
        let measure = self.measure(measure);
        position_or_push(&mut self.windows[window].terms, Term::Value(measure))
    }

    fn square(&mut self, window: usize, measure: Measure) -> usize {
        let measure = self.measure(measure);
        position_or_push(&mut self.windows[window].terms, Term::Square(measure))
    }

    fn accumulator(&mut self, window: usize, plan: AccumulatorPlan) -> usize {
        position_or_push(&mut self.accumulators, (window, plan))
    }

    fn sorted(&mut self, window: usize, measure: Measure) -> usize {
        let measure = self.measure(measure);
        self.accumulator(window, AccumulatorPlan::Sorted { measure })
    }

    fn counts(
        &mut self,
        window: usize,
        first: Measure,
        second: Option<Measure>,
        only_bad: Option<Measure>,
    ) -> usize {
        let first = self.measure(first);
        let second = second.map(|measure| self.measure(measure));
        let only_bad = only_bad.map(|measure| self.measure(measure));
        self.accumulator(window, AccumulatorPlan::Counts { first, second, only_bad })
    }
}

fn position_or_push<T: PartialEq>(list: &mut Vec<T>, item: T) -> usize {
    list.iter().position(|other| *other == item).unwrap_or_else(|| {
        list.push(item);
        list.len() - 1
    })
}
