//! Binding: every name of a definition resolved against a host's event, once.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::EventSchema;
use crate::feature::accumulator::AccumulatorPlan;
use crate::feature::aggregate::{Aggregate, Labels};
use crate::feature::definition::{
    Condition, Current, Definition, Feature, FeatureSet, Source, Width, Window,
};
use crate::feature::ever_bad::BadTablePlan;
use crate::feature::expression::Expression;
use crate::feature::plan::{
    BoundCondition, FeaturePlan, Hours, MAX_FORMULA_DEPTH, Measure, Own, Step, StreamPlan,
};
use crate::feature::window::{Reach, Term, WindowColumn, WindowPlan, WindowValue};
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

    /// Adds what an aggregate needs to a stream; its window and how to read the value off it.
    fn value(
        &self,
        stream: &mut StreamPlan,
        bad_tables: &mut Vec<BadTablePlan>,
        window: &Window,
        reach: Reach,
        aggregate: &Aggregate,
    ) -> Result<(usize, WindowValue)> {
        let mut delay = window.delay;
        if let Aggregate::Rate { labels: Labels::AsArrived { mature_after }, .. }
        | Aggregate::DistinctBad { labels: Labels::AsArrived { mature_after }, .. } = aggregate
        {
            delay = delay.max(*mature_after);
        }
        let w = stream.window(reach, delay, window.current, aggregate.folds());
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
            Aggregate::ApproximateDistinct { of } => {
                let measure = stream.measure(self.tag(of)?);
                let plan = AccumulatorPlan::Distinct { measure };
                WindowValue::Distinct { accumulator: stream.accumulator(w, plan) }
            }
            Aggregate::ApproximateQuantile { field, q } => {
                let (measure, scale) = self.money(field)?;
                let measure = stream.measure(measure);
                let plan = AccumulatorPlan::Quantiles { measure };
                WindowValue::Quantile { accumulator: stream.accumulator(w, plan), q: *q, scale }
            }
            Aggregate::PerActiveDay { zone } => {
                let day = Measure::Day { zone: self.zone(zone)? };
                WindowValue::CountPer { accumulator: stream.counts(w, day, None, None) }
            }
            Aggregate::DistinctPerActiveDay { of, zone } => {
                let day = Measure::Day { zone: self.zone(zone)? };
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
                let before =
                    stream.window(Reach::Last(micros(*baseline)), before, Current::Exclude, false);
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
            Aggregate::DistinctEverBad { of, label, label_delay } => {
                self.bad(label, Labels::FixedDelay)?;
                let entity = self.entity(of)?;
                let table = BadTablePlan { entity, label_delay: label_delay.map(micros) };
                let table = position_or_push(bad_tables, table);
                let measure = stream.measure(Measure::Entity { entity });
                let plan = AccumulatorPlan::EverBad { measure, table };
                WindowValue::Distinct { accumulator: stream.accumulator(w, plan) }
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

    /// `foldable` says whether its aggregate can do without the events.
    fn window(&mut self, reach: Reach, delay: Duration, current: Current, foldable: bool) -> usize {
        let delay = micros(delay);
        let folds = match reach {
            Reach::Lifetime => true, // nothing ever leaves
            Reach::Sawtooth { .. } => foldable,
            _ => false,
        };
        let same = |w: &WindowPlan| {
            (w.reach, w.delay, w.current, w.folds()) == (reach, delay, current, folds)
        };
        self.windows.iter().position(same).unwrap_or_else(|| {
            self.windows.push(WindowPlan {
                reach,
                delay,
                current,
                fold: folds.then_some(0), // numbered once all are known
                terms: Vec::new(),
                first_term: 0,
            });
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
