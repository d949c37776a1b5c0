//! One event, through all of its entities.

use std::hint::black_box;
use std::sync::MutexGuard;
use std::sync::atomic::Ordering;

use crate::error::{Error, Result};
use crate::feature::history::{Inserted, KeyHistory};
use crate::feature::online::{MAX_MEASURES, MAX_STREAMS, Observed, OnlineFeatures, Shard, TooLate};
use crate::feature::plan::Measure;
use crate::ids::EntityKey;
use crate::time::{Timestamp, micros};

/// What is read off an event before any lock is taken.
struct Reading {
    order: (i64, i64),
    keys: [EntityKey; MAX_STREAMS],
    passes: [bool; MAX_STREAMS],
    /// The measures of all streams, one after the other.
    measures: [i64; MAX_MEASURES],
}

/// What one source's history hears of an event.
struct Part<'a> {
    order: (i64, i64),
    /// Whether the event is one of the source's.
    remembers: bool,
    measures: &'a [i64],
}

impl<E> OnlineFeatures<E> {
    /// Writes the features of an event as they stand at its moment into `out`, and remembers the event. Its label is
    /// never read: labels come through [`label`](Self::label), when they are known.
    ///
    /// # Errors
    /// `SchemaMismatch` if `out` does not have one place per feature; `TimeBackwards` for an event that comes too late
    /// where the configuration rejects those. Nothing is remembered then.
    pub fn observe(&self, event: &E, out: &mut [f64]) -> Result<Observed> {
        self.schema().check_rows(out.len(), 1)?;
        let reading = self.read(event);
        let observed = self.observe_reading(&reading, out);
        if matches!(observed, Ok(Observed::Dropped | Observed::Applied) | Err(_)) {
            self.too_late.fetch_add(1, Ordering::Relaxed);
        }
        self.plan.finish(event, out);
        observed
    }

    /// Takes the locks of all of the event's keys, so that either all of them remember it or none does.
    fn observe_reading(&self, reading: &Reading, out: &mut [f64]) -> Result<Observed> {
        let mut shards: [Option<MutexGuard<'_, Shard>>; MAX_STREAMS] =
            [const { None }; MAX_STREAMS];
        for (s, shard) in shards.iter_mut().enumerate().take(self.streams.len()) {
            *shard = Some(self.shard(s, reading.keys[s]));
        }
        let mut histories: [Option<&mut KeyHistory>; MAX_STREAMS] = [const { None }; MAX_STREAMS];
        for (s, (shard, history)) in shards.iter_mut().flatten().zip(&mut histories).enumerate() {
            let key = reading.keys[s];
            *history = match reading.passes[s] {
                true => Some(shard.history(key, &self.plan.streams[s])),
                false => shard.histories.get_mut(&key).map(Box::as_mut),
            };
        }
        // All entities' memory is on its way before the first of them is worked on.
        black_box(histories.iter().flatten().fold(0, |all, history| all ^ history.touch()));

        let order = reading.order;
        let places = histories.iter().enumerate();
        let late = places
            .filter_map(|(s, history)| Some((s, history.as_deref()?)))
            .find(|(_, history)| self.is_too_late(order, history));
        let outcome = match (late, self.config.too_late) {
            (None, _) => Observed::New,
            (Some(_), TooLate::Apply) => Observed::Applied,
            (Some(_), TooLate::Drop) => Observed::Dropped,
            (Some((s, history)), TooLate::Reject) => {
                return Err(Error::TimeBackwards {
                    what: format!("event of entity {:?}", reading.keys[s]),
                    at: Timestamp::from_micros(order.0),
                    id: order.1 as u64 ^ (1 << 63),
                    last: Timestamp::from_micros(history.latest().0),
                });
            }
        };
        let (mut observed, mut first) = (outcome, 0);
        for (s, history) in histories.into_iter().enumerate().take(self.streams.len()) {
            let plan = &self.plan.streams[s];
            let part = Part {
                order,
                remembers: reading.passes[s],
                measures: &reading.measures[first..][..plan.measures.len()],
            };
            first += plan.measures.len();
            let write = &mut |column: usize, value| out[column] = value;
            match history {
                Some(history) => {
                    observed = observed.max(self.observe_in(s, history, part, outcome, write));
                }
                None => {
                    let empty = &self.streams[s].empty;
                    empty.peek(plan, &self.bad_tables, order, part.measures, write);
                }
            }
        }
        Ok(observed)
    }

    /// Whether an event comes later than a history can take it.
    fn is_too_late(&self, order: (i64, i64), history: &KeyHistory) -> bool {
        let (latest, lateness) = (history.latest(), micros(self.config.max_lateness));
        order <= latest
            && (lateness == 0 || order.0 < latest.0.saturating_sub(lateness))
            && !history.contains(order)
    }

    /// One entity's columns for an event, which it then remembers.
    fn observe_in(
        &self,
        s: usize,
        history: &mut KeyHistory,
        Part { order, remembers, measures }: Part<'_>,
        outcome: Observed,
        write: &mut impl FnMut(usize, f64),
    ) -> Observed {
        let (plan, tables) = (&self.plan.streams[s], self.bad_tables.as_slice());
        let mut observed = outcome;
        if matches!(outcome, Observed::Dropped | Observed::Applied) {
            // Too late for one of its entities, an event is so for all; as of now is all that can be told.
            history.peek(plan, tables, history.latest().max(order), measures, write);
            if outcome == Observed::Dropped {
                return outcome;
            }
        }
        if remembers {
            if history.is_full() {
                self.streams[s].spare.grow(history, plan.entry_len());
            }
            if history.insert(plan, order, measures) == Inserted::Duplicate {
                observed = observed.max(Observed::Duplicate);
            }
        }
        if outcome == Observed::Applied {
            // Its vector is told.
        } else if order >= history.last_read() {
            history.read(plan, tables, order, measures, write);
        } else if !history.peek(plan, tables, order, measures, write) {
            history.peek(plan, tables, history.last_read(), measures, write);
        }
        history.evict(plan, micros(self.config.max_lateness));
        if history.n_events() > self.config.max_events_per_key {
            let gone = history.truncate(plan, self.config.max_events_per_key);
            self.truncated.fetch_add(gone, Ordering::Relaxed);
        }
        observed
    }

    fn read(&self, event: &E) -> Reading {
        let mut reading = Reading {
            order: self.plan.order(event),
            keys: [EntityKey::default(); MAX_STREAMS],
            passes: [true; MAX_STREAMS],
            measures: [0; MAX_MEASURES],
        };
        let mut next = 0;
        for (s, stream) in self.plan.streams.iter().enumerate() {
            reading.keys[s] = self.plan.events.read_entity(stream.entity, event);
            reading.passes[s] = self.plan.passes(stream, event);
            for measure in &stream.measures {
                // A label is not known yet.
                reading.measures[next] = match *measure {
                    Measure::Bad { .. } | Measure::Labelled => 0,
                    other => self.plan.measure(other, event, || None),
                };
                next += 1;
            }
        }
        reading
    }
}
