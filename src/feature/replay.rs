//! History through the very state machine that runs live, key by key: for definitions that need more than sums, and for
//! questions that no event asks.

use crate::error::{Error, Result};
use crate::feature::batch::Groups;
use crate::feature::ever_bad::BadTable;
use crate::feature::frame::FeatureFrame;
use crate::feature::history::KeyHistory;
use crate::feature::labels::{LabelChange, Labelling};
use crate::feature::plan::{FeaturePlan, Measure, StreamPlan};
use crate::ids::EntityKey;
use crate::parallel::map;
use crate::time::Timestamp;

/// A moment for which the features of some entities are asked: a row of a training set's spine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpinePoint {
    /// The moment; events at it are seen.
    pub at: Timestamp,
    /// One key per entity asked about.
    pub keys: Vec<EntityKey>,
}

/// Who asks for features: a moment in the order of events, and the event, if it is one.
#[derive(Clone, Copy)]
struct Asking {
    order: (i64, i64),
    event: Option<u32>,
}

impl<E: Sync> FeaturePlan<E> {
    /// The features of entities at moments of their own, such as the month's end for every customer, from the same events.
    /// Each point names one key for each of `entities`; what only an event has is missing (NaN), and so are features of
    /// entities that are not asked about. Equal to
    /// [`OnlineFeatures::vector`](crate::feature::OnlineFeatures::vector) at that moment. O(n log n).
    ///
    /// # Errors
    /// As [`compute`](Self::compute); `NotFound` for an unknown entity; `InvalidInput` for a point with another number of
    /// keys.
    pub fn compute_at(
        &self,
        events: &[E],
        entities: &[&str],
        points: &[SpinePoint],
    ) -> Result<FeatureFrame> {
        let asked = entities.iter().map(|name| self.events.entity_position(name));
        let asked = asked.collect::<Result<Vec<usize>>>()?;
        if let Some(row) = points.iter().position(|point| point.keys.len() != asked.len()) {
            let (found, expected) = (points[row].keys.len(), asked.len());
            let reason = format!("row {row} has {found} keys for {expected} entities");
            return Err(Error::input("spine", reason));
        }
        let timeline = self.timeline(events)?;
        let arrivals = self.arrivals(events)?;
        let labels = Labelling::new(self, events, &arrivals)?;
        let mut by_time: Vec<usize> = (0..points.len()).collect();
        by_time.sort_by_key(|&row| points[row].at);

        let mut columns = vec![vec![f64::NAN; points.len()]; self.schema().n_features()];
        for &(column, own) in &self.own {
            columns[column] = points.iter().map(|point| own.at(point.at)).collect();
        }
        for stream in &self.streams {
            let Some(place) = asked.iter().position(|entity| *entity == stream.entity) else {
                continue;
            };
            let groups = Groups::of(self, stream, events, &timeline);
            let rows = groups.rows(&timeline.order);
            // The points of each key, in order of time; keys without events come last.
            let mut asking: Vec<Vec<usize>> = vec![Vec::new(); rows.len() + 1];
            for &row in &by_time {
                let group = groups.numbers.get(&points[row].keys[place]);
                asking[group.map_or(rows.len(), |group| *group as usize)].push(row);
            }
            let keys: Vec<usize> =
                (0..asking.len()).filter(|key| !asking[*key].is_empty()).collect();
            let replayed = map(&keys, |&key| {
                let moment = |&row: &usize| Asking {
                    order: (points[row].at.micros(), i64::MAX),
                    event: None,
                };
                let asking: Vec<Asking> = asking[key].iter().map(moment).collect();
                let rows = rows.get(key).map_or(&[][..], Vec::as_slice);
                self.replay_key(stream, rows, &asking, events, &labels)
            });
            for (key, values) in keys.iter().zip(&replayed) {
                scatter(stream, asking[*key].iter().copied(), values, |i, row, value| {
                    columns[stream.columns[i].column][row] = value;
                });
            }
        }
        for (column, steps) in &self.formulas {
            let row = |row: usize| {
                Self::formula(steps, |own| own.at(points[row].at), |column| columns[column][row])
            };
            columns[*column] = (0..points.len()).map(row).collect();
        }
        Ok(FeatureFrame::new(self.schema().clone(), points.len(), columns))
    }

    /// A stream's columns for every event.
    pub(super) fn replay(
        &self,
        stream: &StreamPlan,
        by_key: &[Vec<u32>],
        events: &[E],
        labels: &Labelling,
    ) -> Vec<(usize, Vec<f64>)> {
        let replayed = map(by_key, |rows| {
            let event =
                |&row: &u32| Asking { order: self.order(&events[row as usize]), event: Some(row) };
            let asking: Vec<Asking> = rows.iter().map(event).collect();
            self.replay_key(stream, rows, &asking, events, labels)
        });
        let mut columns: Vec<(usize, Vec<f64>)> =
            stream.columns.iter().map(|c| (c.column, vec![f64::NAN; events.len()])).collect();
        for (rows, values) in by_key.iter().zip(&replayed) {
            let places = rows.iter().map(|row| *row as usize);
            scatter(stream, places, values, |i, row, value| columns[i].1[row] = value);
        }
        columns
    }

    /// One key's events and labels in the order in which they happened; the stream's columns for everyone who asks, one
    /// row after the other. `asking` is in order.
    fn replay_key(
        &self,
        stream: &StreamPlan,
        rows: &[u32],
        asking: &[Asking],
        events: &[E],
        labelling: &Labelling,
    ) -> Vec<f64> {
        let mut labels = labelling.of_events(rows).into_iter().peekable();
        let tables: Vec<BadTable> = self.bad_tables.iter().copied().map(BadTable::new).collect();
        let coming = rows.iter().map(|row| &events[*row as usize]);
        let of_values = labelling.of_values(self, stream, coming.clone());
        let mut of_values = of_values.into_iter().peekable();
        let mut coming = coming.peekable();
        let mut history = KeyHistory::new(stream);
        let mut own = vec![0; stream.measures.len()];
        let mut values = Vec::with_capacity(asking.len() * stream.columns.len());
        for asking in asking {
            while let Some(event) = coming.next_if(|event| self.order(event) <= asking.order) {
                if self.passes(stream, event) {
                    self.measures(stream, event, &mut own);
                    history.insert(stream, self.order(event), &own);
                }
            }
            while let Some(label) = labels.next_if(|label| label.is_known(asking.order)) {
                history.label(stream, label.of, label.bad);
            }
            let known = |(_, _, label): &(usize, i64, LabelChange)| label.is_known(asking.order);
            while let Some((table, value, label)) = of_values.next_if(known) {
                tables[table].label(value, label.of, label.bad);
            }
            let own: &[i64] = match asking.event {
                Some(row) => {
                    self.measures(stream, &events[row as usize], &mut own);
                    &own
                }
                None => &[],
            };
            history.read(stream, &tables, asking.order, own, &mut |_, value| values.push(value));
            history.evict(stream, 0);
        }
        values
    }

    /// What a stream keeps of an event of the past: labels with a fixed delay are in it, those that arrive are not yet.
    fn measures(&self, stream: &StreamPlan, event: &E, own: &mut [i64]) {
        for (value, measure) in own.iter_mut().zip(&stream.measures) {
            let arrives = matches!(measure, Measure::Bad { as_arrived: true } | Measure::Labelled);
            let label = || if arrives { None } else { self.events.label(event) };
            *value = self.measure(*measure, event, label);
        }
    }
}

/// Hands out rows of a stream's columns: the column's number within the stream, the row's place, the value.
fn scatter(
    stream: &StreamPlan,
    places: impl Iterator<Item = usize>,
    values: &[f64],
    mut put: impl FnMut(usize, usize, f64),
) {
    for (place, row) in places.zip(values.chunks_exact(stream.columns.len())) {
        row.iter().enumerate().for_each(|(i, value)| put(i, place, *value));
    }
}
