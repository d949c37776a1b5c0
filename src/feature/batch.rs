//! The batch driver: features of a whole history in one sweep per entity.
//!
//! O(n log n) for the sort (O(n) when events come in order), then O(1) amortised per event, window and aggregate:
//! within an entity's events in order, both edges of a window only ever move forward.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

#[cfg(feature = "parallel")]
use rayon::prelude::*;

use crate::error::{Error, Result};
use crate::feature::definition::Current;
use crate::feature::frame::FeatureFrame;
use crate::feature::plan::{EntityPlan, FeaturePlan, Measure, WindowPlan};
use crate::ids::EntityKey;

impl<E: Sync> FeaturePlan<E> {
    /// The features of every event as they stood at its moment; labels as the events carry them, behind the delay that
    /// the definition sets. Events may come in any order; rows keep it. The answer does not depend on threads.
    ///
    /// # Errors
    /// `InvalidInput` if two events share both time and id, since nothing then says which came first.
    pub fn compute(&self, events: &[E]) -> Result<FeatureFrame> {
        let order = self.sorted(events)?;
        let histories: Vec<History> =
            map(&self.entities, |plan| History::gather(self, plan, events, &order));
        let windows: Vec<(&History, &WindowPlan)> = self
            .entities
            .iter()
            .zip(&histories)
            .flat_map(|(plan, history)| plan.windows.iter().map(move |window| (history, window)))
            .collect();
        let swept = map(&windows, |(history, window)| history.sweep(window));
        let own = map(&self.own, |&(column, own)| {
            (column, events.iter().map(|event| self.own_value(own, event)).collect::<Vec<f64>>())
        });

        let mut columns = vec![Vec::new(); self.schema().n_features()];
        for (column, values) in own.into_iter().chain(swept.into_iter().flatten()) {
            columns[column] = values;
        }
        Ok(FeatureFrame::new(self.schema().clone(), events.len(), columns))
    }

    /// Positions of the events in (time, id) order.
    fn sorted(&self, events: &[E]) -> Result<Vec<u32>> {
        let n = u32::try_from(events.len())
            .map_err(|_| Error::input("events", "more than 4,294,967,295 at once"))?;
        let at = |&i: &u32| self.order(&events[i as usize]);
        let mut order: Vec<u32> = (0..n).collect();
        if !order.is_sorted_by(|a, b| at(a) < at(b)) {
            order.sort_by_key(at);
        }
        match order.windows(2).find(|pair| at(&pair[0]) == at(&pair[1])) {
            None => Ok(order),
            Some(pair) => {
                let (time, id) = at(&pair[0]);
                let (a, b) = (pair[0], pair[1]);
                let reason = format!("rows {a} and {b} share time {time} and id {id}");
                Err(Error::input("events", reason))
            }
        }
    }
}

/// All events of one entity kind: keys side by side, each key's events in order.
struct History {
    rows: Vec<u32>,
    times: Vec<i64>,
    /// One list per measure of the plan.
    measures: Vec<Vec<i64>>,
    /// Where each key's events start, and the end.
    starts: Vec<usize>,
}

impl History {
    fn gather<E>(plan: &FeaturePlan<E>, entity: &EntityPlan, events: &[E], order: &[u32]) -> Self {
        // A counting sort by key, stable, so every key keeps its events in (time, id) order.
        let mut groups: HashMap<EntityKey, u32, KeyHashBuilder> = HashMap::default();
        let mut sizes: Vec<usize> = Vec::new();
        let group_of: Vec<u32> = order
            .iter()
            .map(|&row| {
                let key = plan.events.read_entity(entity.entity, &events[row as usize]);
                let group = *groups.entry(key).or_insert_with(|| {
                    sizes.push(0);
                    sizes.len() as u32 - 1
                });
                sizes[group as usize] += 1;
                group
            })
            .collect();
        let mut starts = Vec::with_capacity(sizes.len() + 1);
        let mut end = 0;
        starts.push(0);
        starts.extend(sizes.iter().map(|size| {
            end += size;
            end
        }));
        let mut next = starts.clone();
        let mut rows = vec![0; order.len()];
        for (&row, &group) in order.iter().zip(&group_of) {
            rows[next[group as usize]] = row;
            next[group as usize] += 1;
        }
        let event = |row: &u32| &events[*row as usize];
        let times = rows.iter().map(|row| plan.events.time(event(row)).micros()).collect();
        let read = |measure: &Measure| -> Vec<i64> {
            rows.iter().map(|row| plan.measure(*measure, event(row))).collect()
        };
        let measures = entity.measures.iter().map(read).collect();
        History { rows, times, measures, starts }
    }

    /// One window's columns, in row order.
    fn sweep(&self, window: &WindowPlan) -> Vec<(usize, Vec<f64>)> {
        let mut columns: Vec<(usize, Vec<f64>)> = window
            .columns
            .iter()
            .map(|column| (column.column, vec![0.0; self.rows.len()]))
            .collect();
        let mut sums = vec![0i128; self.measures.len()];
        for bounds in self.starts.windows(2) {
            let (mut low, mut high) = (bounds[0], bounds[0]);
            sums.fill(0);
            for i in bounds[0]..bounds[1] {
                let at = self.times[i];
                let end = window.end(at);
                let enters = |high: usize| match (window.delay, window.current) {
                    (0, Current::Exclude) => high < i,
                    (0, Current::Include) => high <= i,
                    (0, Current::StrictPast) => high < i && self.times[high] < at,
                    _ => high < bounds[1] && self.times[high] <= end,
                };
                while enters(high) {
                    self.measures
                        .iter()
                        .zip(&mut sums)
                        .for_each(|(m, sum)| *sum += i128::from(m[high]));
                    high += 1;
                }
                let start = window.start(at);
                while low < high && self.times[low] <= start {
                    self.measures
                        .iter()
                        .zip(&mut sums)
                        .for_each(|(m, sum)| *sum -= i128::from(m[low]));
                    low += 1;
                }
                let (row, count) = (self.rows[i] as usize, (high - low) as u64);
                for (plan, (_, values)) in window.columns.iter().zip(&mut columns) {
                    values[row] = plan.value.finish(count, &sums);
                }
            }
        }
        columns
    }
}

impl<E> FeaturePlan<E> {
    fn measure(&self, measure: Measure, event: &E) -> i64 {
        match measure {
            Measure::Money { field } => self.events.read_money(field, event).0,
            Measure::Label => i64::from(self.events.label(event) == Some(true)),
        }
    }
}

#[cfg(feature = "parallel")]
fn map<T: Sync, R: Send>(items: &[T], f: impl Fn(&T) -> R + Sync + Send) -> Vec<R> {
    items.par_iter().map(f).collect()
}

#[cfg(not(feature = "parallel"))]
fn map<T, R>(items: &[T], f: impl Fn(&T) -> R) -> Vec<R> {
    items.iter().map(f).collect()
}

/// Hashes an [`EntityKey`] for tables whose order is never looked at: one multiplication, halves folded.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct KeyHash(u64);

pub(super) type KeyHashBuilder = BuildHasherDefault<KeyHash>;

impl Hasher for KeyHash {
    fn write(&mut self, bytes: &[u8]) {
        bytes.chunks(8).for_each(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        });
    }

    fn write_u64(&mut self, word: u64) {
        // 2^64 / golden ratio, odd; folding brings the well mixed high half down to the bits a table indexes by.
        let product = u128::from(self.0 ^ word ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
