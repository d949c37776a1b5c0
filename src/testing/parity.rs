//! Whether a definition gives the same numbers in batch, online, and straight from its words.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::EventSchema;
use crate::feature::sketch::{DistinctSketch, QuantileSketch};
use crate::feature::store::ParityEvidence;
use crate::feature::zone::LocalTime;
use crate::feature::{
    Aggregate, Condition, Current, Definition, Expression, Feature, FeaturePlan, FeatureSet,
    LabelOutcome, Labels, OnlineConfig, Operation, Source, Width, Window,
};
use crate::ids::EntityKey;
use crate::time::{Timestamp, micros};

/// What [`feature_parity`] found.
#[derive(Debug, Clone, PartialEq)]
pub struct ParityReport {
    /// Rows compared.
    pub n_rows: usize,
    /// Values that are not the same bits in all three, in row order.
    pub differences: Vec<ParityDifference>,
    /// Labels that reached the online engine after a window with a fixed delay should have seen them: batch, which takes
    /// labels with a fixed delay off the events, then differs by right.
    pub late_labels: usize,
    /// The features that were computed.
    features: Vec<Feature>,
}

impl ParityReport {
    /// What the feature store asks for before it approves a feature.
    ///
    /// # Errors
    /// `NotFound` for a feature that was not computed; `Refused` if its values differ anywhere.
    pub fn evidence(&self, feature: &str) -> Result<ParityEvidence> {
        let found = self.features.iter().find(|other| other.name == feature);
        let found =
            found.ok_or_else(|| Error::NotFound { kind: "feature", id: feature.to_owned() })?;
        let n = self.differences.iter().filter(|d| d.feature == feature).count();
        if n > 0 {
            let action = format!("give evidence for {feature}");
            return Err(Error::refused(action, format!("{n} of its values differ")));
        }
        Ok(ParityEvidence { definition: found.fingerprint(), n_rows: self.n_rows as u64 })
    }
}

/// One value that is not the same in batch, online and oracle.
#[derive(Debug, Clone, PartialEq)]
pub struct ParityDifference {
    /// Position of the event.
    pub row: usize,
    /// Name of the feature.
    pub feature: String,
    /// From [`FeaturePlan::compute`].
    pub batch: f64,
    /// From [`OnlineFeatures::observe`](crate::feature::OnlineFeatures::observe).
    pub online: f64,
    /// By looking at every pair of events.
    pub oracle: f64,
}

impl fmt::Display for ParityReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} rows, {} differences", self.n_rows, self.differences.len())?;
        write!(f, ", {} late labels", self.late_labels)?;
        self.differences.iter().take(10).try_for_each(|d| {
            write!(f, "\n  row {} {}: ", d.row, d.feature)?;
            write!(f, "batch {:?}, online {:?}, oracle {:?}", d.batch, d.online, d.oracle)
        })
    }
}

/// Computes a host's own definition on its own events three times, in batch, online and by a brute-force oracle that shares
/// no code with either but the summaries of approximate aggregates, which it fills event by event, and lists every value that is not the same bit for bit. O(n²): some thousand events are plenty.
///
/// Labels reach the online engine when the schema says they arrive, or else right after their event.
///
/// # Errors
/// Those of [`FeaturePlan::compute`] and [`FeaturePlan::online`].
pub fn feature_parity<E: Sync>(plan: &FeaturePlan<E>, events: &[E]) -> Result<ParityReport> {
    let schema = plan.events();
    let batch = plan.compute(events)?;
    let online = plan.online(OnlineConfig::default())?;
    let mut order: Vec<usize> = (0..events.len()).collect();
    order.sort_by_key(|&row| (schema.time(&events[row]), schema.id(&events[row])));
    let mut labels: Vec<(Timestamp, usize)> = Vec::new();
    for (place, &row) in order.iter().enumerate() {
        let at = schema.time(&events[row]);
        let arrival = schema.label_arrival(&events[row]);
        if let Some(arrival) = if schema.has_label_arrival() { arrival } else { Some(at) } {
            labels.push((arrival.max(at), place));
        }
    }
    labels.sort_unstable();
    let mut labels = labels.into_iter().peekable();

    let oracle = Oracle::new(plan.set(), schema, order.iter().map(|&row| &events[row]).collect());
    let names = plan.schema().names();
    let (mut live, mut computed) = (vec![0.0; names.len()], vec![0.0; names.len()]);
    let (mut differences, mut late_labels) = (Vec::new(), 0);
    for (place, &row) in order.iter().enumerate() {
        let now = schema.time(&events[row]);
        while let Some((_, known)) = labels.next_if(|(at, of)| *at <= now && *of < place) {
            let event = &events[order[known]];
            if let Some(bad) = schema.label(event) {
                let outcome = online.label(event, bad);
                late_labels += usize::from(outcome == LabelOutcome::Late);
            }
        }
        online.observe(&events[row], &mut live)?;
        batch.copy_row(row, &mut computed);
        let expected = oracle.row(place)?;
        for (i, feature) in names.iter().enumerate() {
            let (batch, online, oracle) = (computed[i], live[i], expected[i]);
            if batch.to_bits() != online.to_bits() || batch.to_bits() != oracle.to_bits() {
                let feature = feature.clone();
                differences.push(ParityDifference { row, feature, batch, online, oracle });
            }
        }
    }
    let features = plan.set().features().to_vec();
    Ok(ParityReport { n_rows: events.len(), differences, late_labels, features })
}

/// The words of a definition, taken literally.
struct Oracle<'a, E> {
    set: &'a FeatureSet,
    schema: &'a EventSchema<E>,
    /// In (time, id) order.
    events: Vec<&'a E>,
}

impl<'a, E> Oracle<'a, E> {
    fn new(set: &'a FeatureSet, schema: &'a EventSchema<E>, events: Vec<&'a E>) -> Self {
        Oracle { set, schema, events }
    }

    fn row(&self, i: usize) -> Result<Vec<f64>> {
        let mut row: Vec<f64> = Vec::new();
        for feature in self.set.features() {
            let at = self.schema.time(self.events[i]);
            let value = match &feature.definition {
                Definition::Field { field } => self.field(field, self.events[i]),
                Definition::Weekend { zone } => {
                    f64::from(u8::from(LocalTime::of(zone)?.is_weekend(at)))
                }
                Definition::HourOfDayIn { from, to, zone } => {
                    f64::from(u8::from(hour_in(at, *from, *to, LocalTime::of(zone)?)))
                }
                Definition::Windowed { source, window, aggregate, empty } => {
                    let value = self.aggregate(i, source, window.clone(), aggregate)?;
                    value.unwrap_or(empty.unwrap_or(f64::NAN))
                }
                Definition::Expression(expression) => self.expression(i, expression, &row),
            };
            row.push(value);
        }
        Ok(row)
    }

    fn field(&self, field: &str, event: &E) -> f64 {
        match self.schema.number_position(field) {
            Some(position) => self.schema.read_number(position, event),
            None => self.minor(field, event) as f64 / self.scale(field),
        }
    }

    fn minor(&self, field: &str, event: &E) -> i64 {
        let position = self.schema.money_position(field).expect("bound before");
        self.schema.read_money(position, event).0
    }

    fn scale(&self, field: &str) -> f64 {
        self.schema.money_scale(self.schema.money_position(field).expect("bound before"))
    }

    fn passes(&self, source: &Source, event: &E) -> Result<bool> {
        for condition in &source.only {
            let holds = match condition {
                Condition::Above { field, value } => self.field(field, event) > *value,
                Condition::Below { field, value } => self.field(field, event) < *value,
                Condition::HourOfDayIn { from, to, zone } => {
                    hour_in(self.schema.time(event), *from, *to, LocalTime::of(zone)?)
                }
                Condition::In { entity, keys } => {
                    keys.contains(&self.schema.entity_key(entity, event)?)
                }
            };
            if !holds {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Positions of the events that a window sees from event `i`.
    fn seen(&self, i: usize, source: &Source, window: &Window) -> Result<Vec<usize>> {
        if let Width::Capped { width, cap, hop } = window.width {
            let of = |width| self.seen(i, source, &Window { width, ..window.clone() });
            let exactly = of(Width::Last(width))?;
            let few = exactly.len() as u64 <= cap;
            return if few { Ok(exactly) } else { of(Width::Sawtooth { width, hop }) };
        }
        let asking = self.events[i];
        let key = self.schema.entity_key(&source.entity, asking)?;
        let at = self.schema.time(asking);
        let end = at.minus(window.delay);
        let mut seen = Vec::new();
        for (j, &event) in self.events.iter().enumerate() {
            let time = self.schema.time(event);
            let after_start = match &window.width {
                Width::Last(width) => time > end.minus(*width),
                Width::Sawtooth { width, hop } => {
                    let start = end.minus(*width).micros();
                    time.micros() > start - start.rem_euclid(micros(*hop))
                }
                Width::CalendarDays { days, zone } => {
                    let zone = LocalTime::of(zone)?;
                    zone.day(time) > zone.day(end) - i64::from(*days)
                }
                Width::Lifetime => true,
                Width::Capped { .. } => unreachable!("one of two others, above"),
            };
            let in_view = match window.current {
                _ if !window.delay.is_zero() => time <= end,
                Current::Exclude => j < i,
                Current::Include => j <= i,
                Current::StrictPast => time < at,
            };
            let same = self.schema.entity_key(&source.entity, event)? == key;
            if same && after_start && in_view && self.passes(source, event)? {
                seen.push(j);
            }
        }
        Ok(seen)
    }

    fn tag(&self, of: &str, j: usize) -> Result<i64> {
        if self.schema.money_position(of).is_some() {
            return Ok(self.minor(of, self.events[j]));
        }
        let EntityKey(key) = self.schema.entity_key(of, self.events[j])?;
        Ok(key as i64)
    }

    /// The label of event `j` as event `i` knows it.
    fn label(&self, i: usize, j: usize, labels: Labels) -> Option<bool> {
        let event = self.events[j];
        match labels {
            Labels::FixedDelay => self.schema.label(event),
            Labels::AsArrived { .. } => {
                let arrival = self.schema.label_arrival(event)?.max(self.schema.time(event));
                let known = arrival <= self.schema.time(self.events[i]) && j < i;
                self.schema.label(event).filter(|_| known)
            }
        }
    }

    fn aggregate(
        &self,
        i: usize,
        source: &Source,
        mut window: Window,
        aggregate: &Aggregate,
    ) -> Result<Option<f64>> {
        if let Aggregate::Rate { labels: Labels::AsArrived { mature_after }, .. }
        | Aggregate::DistinctBad { labels: Labels::AsArrived { mature_after }, .. } = aggregate
        {
            window.delay = window.delay.max(*mature_after);
        }
        let seen = self.seen(i, source, &window)?;
        let n = seen.len() as f64;
        let at = self.schema.time(self.events[i]).micros();
        let minors = |field: &str| -> Vec<i64> {
            seen.iter().map(|&j| self.minor(field, self.events[j])).collect()
        };
        let tags =
            |of: &str| -> Result<Vec<i64>> { seen.iter().map(|&j| self.tag(of, j)).collect() };
        let day = |j: usize, zone: LocalTime| zone.day(self.schema.time(self.events[j]));
        let since = |j: &usize| (at - self.schema.time(self.events[*j]).micros()) as f64 / 1e6;
        let defined = |value: f64| (!seen.is_empty()).then_some(value);
        Ok(match aggregate {
            Aggregate::Count => Some(n),
            Aggregate::Sum { field } => Some(total(&minors(field)) as f64 / self.scale(field)),
            Aggregate::Mean { field } => {
                defined(total(&minors(field)) as f64 / (n * self.scale(field)))
            }
            Aggregate::Min { field } => {
                minors(field).into_iter().min().map(|v| v as f64 / self.scale(field))
            }
            Aggregate::Max { field } => {
                minors(field).into_iter().max().map(|v| v as f64 / self.scale(field))
            }
            Aggregate::StandardDeviation { .. } if seen.len() < 2 => None,
            Aggregate::StandardDeviation { field } => {
                let squares: i128 = minors(field).iter().map(|v| i128::from(*v).pow(2)).sum();
                let spread = squares * seen.len() as i128 - total(&minors(field)).pow(2);
                Some((spread as f64 / (n * (n - 1.0))).sqrt() / self.scale(field))
            }
            Aggregate::Quantile { field, q } => {
                quantile(minors(field), *q).map(|value| value / self.scale(field))
            }
            Aggregate::First { field } => {
                minors(field).first().map(|v| *v as f64 / self.scale(field))
            }
            Aggregate::Last { field } => {
                minors(field).last().map(|v| *v as f64 / self.scale(field))
            }
            Aggregate::SinceFirst => seen.first().map(since),
            Aggregate::SinceLast => seen.last().map(since),
            Aggregate::Distinct { of } => Some(frequencies(tags(of)?).len() as f64),
            Aggregate::ApproximateDistinct { of } => {
                let mut sketch = DistinctSketch::default();
                tags(of)?.into_iter().for_each(|tag| sketch.add(tag));
                Some(sketch.count())
            }
            Aggregate::ApproximateQuantile { field, q } => {
                let mut sketch = QuantileSketch::default();
                minors(field).into_iter().for_each(|minor| sketch.add(minor));
                sketch.quantile(*q).map(|value| value / self.scale(field))
            }
            Aggregate::PerActiveDay { zone } => {
                let zone = LocalTime::of(zone)?;
                let days = seen.iter().map(|&j| day(j, zone)).collect();
                defined(n / frequencies(days).len() as f64)
            }
            Aggregate::DistinctPerActiveDay { of, zone } => {
                let zone = LocalTime::of(zone)?;
                let mut by_day: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
                for &j in &seen {
                    by_day.entry(day(j, zone)).or_default().push(self.tag(of, j)?);
                }
                let days = by_day.len() as f64;
                let distinct = by_day.into_values().map(|values| frequencies(values).len());
                defined(distinct.sum::<usize>() as f64 / days)
            }
            Aggregate::TopShare { of, k } => {
                let top: u32 = frequencies(tags(of)?).into_iter().take(*k).sum();
                defined(f64::from(top) / n)
            }
            Aggregate::Entropy { of } => {
                let shares = frequencies(tags(of)?).into_iter().map(|count| f64::from(count) / n);
                defined(shares.map(|share| -share * share.ln()).sum::<f64>() + 0.0)
            }
            Aggregate::CountSame { of } | Aggregate::ShareSame { of } => {
                let own = self.tag(of, i)?;
                let same = tags(of)?.into_iter().filter(|tag| *tag == own).count() as f64;
                match aggregate {
                    Aggregate::CountSame { .. } => Some(same),
                    _ => defined(same / n),
                }
            }
            Aggregate::ShareAbove { field, q, baseline } => {
                let Width::Last(width) = window.width else { unreachable!("refused by bind") };
                let (width, delay) = (Width::Last(*baseline), window.delay + width);
                let before = Window { width, delay, current: Current::Exclude };
                let before = self.seen(i, source, &before)?;
                let before = before.into_iter().map(|j| self.minor(field, self.events[j]));
                let cut = quantile(before.collect(), *q);
                let above = |cut| minors(field).iter().filter(|v| **v as f64 > cut).count() as f64;
                cut.and_then(|cut| defined(above(cut) / n))
            }
            Aggregate::Rate { labels, .. } => {
                let known: Vec<Option<bool>> =
                    seen.iter().map(|&j| self.label(i, j, *labels)).collect();
                let bad = known.iter().filter(|label| **label == Some(true)).count() as f64;
                let all = match labels {
                    Labels::FixedDelay => known.len(),
                    Labels::AsArrived { .. } => known.iter().flatten().count(),
                };
                (all > 0).then(|| bad / all as f64)
            }
            Aggregate::DistinctBad { of, labels, .. } => {
                let bad = seen.iter().filter(|&&j| self.label(i, j, *labels) == Some(true));
                let tags = bad.map(|&j| self.tag(of, j)).collect::<Result<_>>()?;
                Some(frequencies(tags).len() as f64)
            }
            Aggregate::DistinctEverBad { of, label_delay, .. } => {
                let now = self.schema.time(self.events[i]);
                let known_bad = |j: usize| match label_delay {
                    Some(delay) => {
                        let old_enough = self.schema.time(self.events[j]) <= now.minus(*delay);
                        old_enough && self.label(i, j, Labels::FixedDelay) == Some(true)
                    }
                    None => {
                        let labels = Labels::AsArrived { mature_after: Duration::ZERO };
                        self.label(i, j, labels) == Some(true)
                    }
                };
                let everywhere = (0..self.events.len()).filter(|&j| known_bad(j));
                let bad = everywhere.map(|j| self.tag(of, j)).collect::<Result<BTreeSet<i64>>>()?;
                let mut linked = tags(of)?;
                linked.retain(|value| bad.contains(value));
                Some(frequencies(linked).len() as f64)
            }
        })
    }

    fn expression(&self, i: usize, expression: &Expression, row: &[f64]) -> f64 {
        match expression {
            Expression::Field(field) => self.field(field, self.events[i]),
            Expression::Feature(name) => {
                row[self.set.schema().position(name).expect("checked by the set")]
            }
            Expression::Number(value) => *value,
            Expression::Binary(operation, left, right) => {
                let (left, right) = (self.expression(i, left, row), self.expression(i, right, row));
                let missing = left.is_nan() || right.is_nan();
                match operation {
                    Operation::Or if left.is_nan() => right,
                    Operation::Or => left,
                    _ if missing => f64::NAN,
                    Operation::Divide if right == 0.0 => f64::NAN,
                    Operation::Add => left + right,
                    Operation::Subtract => left - right,
                    Operation::Multiply => left * right,
                    Operation::Divide => left / right,
                    Operation::Min => left.min(right),
                    Operation::Max => left.max(right),
                    Operation::Above => f64::from(u8::from(left > right)),
                }
            }
        }
    }
}

fn hour_in(at: Timestamp, from: u8, to: u8, zone: LocalTime) -> bool {
    let hour = zone.hour(at);
    let length = (to + 24 - from) % 24 + 1;
    (0..length).any(|step| (from + step) % 24 == hour)
}

fn total(values: &[i64]) -> i128 {
    values.iter().map(|value| i128::from(*value)).sum()
}

/// How often each value occurs, most frequent first.
fn frequencies(values: Vec<i64>) -> Vec<u32> {
    let mut counts: BTreeMap<i64, u32> = BTreeMap::new();
    values.into_iter().for_each(|value| *counts.entry(value).or_default() += 1);
    let mut counts: Vec<u32> = counts.into_values().collect();
    counts.sort_unstable();
    counts.reverse();
    counts
}

fn quantile(mut values: Vec<i64>, q: f64) -> Option<f64> {
    values.sort_unstable();
    let values: Vec<f64> = values.into_iter().map(|value| value as f64).collect();
    crate::stats::quantile_sorted(&values, q)
}
