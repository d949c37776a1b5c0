//! What each aggregate is made of.

use std::time::Duration;

use crate::error::Result;
use crate::feature::accumulator::AccumulatorPlan;
use crate::feature::aggregate::{Aggregate, Labels};
use crate::feature::bind::Binder;
use crate::feature::bind::stream::position_or_push;
use crate::feature::definition::{Current, Width, Window};
use crate::feature::ever_bad::BadTablePlan;
use crate::feature::plan::{Measure, StreamPlan};
use crate::feature::window::{Reach, WindowValue};
use crate::time::micros;

impl<E> Binder<'_, E> {
    /// Adds what an aggregate needs to a stream; its window and how to read the value off it.
    pub(super) fn value(
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
}
