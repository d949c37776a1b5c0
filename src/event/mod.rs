//! Stage 1, event. Takes the host's own struct; gives an [`EventSchema`] that the feature engine reads it through.
//!
//! The host names its fields once, at start-up, and says how to read them. From then on a wrong field name is an error
//! where features are bound, never while events flow.

#[cfg(feature = "csv")]
mod csv;

#[cfg(feature = "csv")]
pub use self::csv::{CsvRow, CsvSource};

use std::fmt;
use std::sync::Arc;

use crate::error::{Error, Result};
use crate::ids::EntityKey;
use crate::time::Timestamp;

type Read<E, T> = Arc<dyn Fn(&E) -> T + Send + Sync>;

/// How to read a host's event `E`: its id, time, entities, amounts, numbers and label.
///
/// ```
/// use riskcycle::event::EventSchema;
/// use riskcycle::{EntityKey, Timestamp};
///
/// struct Payment { id: u64, at: Timestamp, card: u64, cents: i64, chargeback: Option<bool> }
///
/// let schema = EventSchema::<Payment>::builder()
///     .id(|p| p.id)
///     .time(|p| p.at)
///     .entity("card", |p| EntityKey(p.card))
///     .money("amount", 2, |p| p.cents)
///     .label("chargeback", |p| p.chargeback)
///     .build()?;
/// let payment = Payment { id: 1, at: Timestamp::from_seconds(0), card: 7, cents: 4950, chargeback: None };
/// assert_eq!(schema.entity_key("card", &payment)?, EntityKey(7));
/// # Ok::<(), riskcycle::Error>(())
/// ```
pub struct EventSchema<E> {
    id: Read<E, u64>,
    time: Read<E, Timestamp>,
    entities: Vec<(String, Read<E, EntityKey>)>,
    /// Name, minor units in a major one, and the amount in minor units.
    money: Vec<(String, f64, Read<E, i64>)>,
    numbers: Vec<(String, Read<E, f64>)>,
    label: Option<(String, Read<E, Option<bool>>)>,
    label_arrival: Option<Read<E, Option<Timestamp>>>,
}

impl<E> EventSchema<E> {
    /// Starts naming fields.
    pub fn builder() -> EventSchemaBuilder<E> {
        EventSchemaBuilder {
            id: None,
            time: None,
            entities: Vec::new(),
            money: Vec::new(),
            numbers: Vec::new(),
            label: None,
            label_arrival: None,
        }
    }

    /// Id of an event: unique, and rising among events of one moment, where it decides which came first.
    pub fn id(&self, event: &E) -> u64 {
        (self.id)(event)
    }

    /// When the event happened.
    pub fn time(&self, event: &E) -> Timestamp {
        (self.time)(event)
    }

    /// The entity of that name, for one event.
    ///
    /// # Errors
    /// `NotFound` if no entity has that name.
    pub fn entity_key(&self, name: &str, event: &E) -> Result<EntityKey> {
        Ok(self.read_entity(self.entity_position(name)?, event))
    }

    /// The amount of that name in major units (euros, not cents), for one event.
    ///
    /// # Errors
    /// `NotFound` if no money field has that name.
    pub fn amount(&self, name: &str, event: &E) -> Result<f64> {
        let position = self
            .money_position(name)
            .ok_or_else(|| Error::NotFound { kind: "money field", id: name.to_owned() })?;
        let (minor, scale) = self.read_money(position, event);
        Ok(minor as f64 / scale)
    }

    /// The label of an event: `Some(true)` is bad (fraud, default), `None` not known yet, or no label field at all.
    pub fn label(&self, event: &E) -> Option<bool> {
        self.label.as_ref().and_then(|(_, read)| read(event))
    }

    /// When the label of an event became known, if the schema says and it has.
    pub fn label_arrival(&self, event: &E) -> Option<Timestamp> {
        self.label_arrival.as_ref().and_then(|read| read(event))
    }

    pub(crate) fn has_label_arrival(&self) -> bool {
        self.label_arrival.is_some()
    }

    pub(crate) fn entity_position(&self, name: &str) -> Result<usize> {
        let position = self.entities.iter().position(|(other, _)| other == name);
        position.ok_or_else(|| Error::NotFound { kind: "entity", id: name.to_owned() })
    }

    pub(crate) fn money_position(&self, name: &str) -> Option<usize> {
        self.money.iter().position(|(other, ..)| other == name)
    }

    pub(crate) fn number_position(&self, name: &str) -> Option<usize> {
        self.numbers.iter().position(|(other, _)| other == name)
    }

    pub(crate) fn is_label(&self, name: &str) -> bool {
        self.label.as_ref().is_some_and(|(label, _)| label == name)
    }

    pub(crate) fn read_entity(&self, position: usize, event: &E) -> EntityKey {
        (self.entities[position].1)(event)
    }

    /// Minor units, and how many of them make one major unit.
    pub(crate) fn read_money(&self, position: usize, event: &E) -> (i64, f64) {
        let (_, scale, read) = &self.money[position];
        (read(event), *scale)
    }

    pub(crate) fn money_scale(&self, position: usize) -> f64 {
        self.money[position].1
    }

    pub(crate) fn read_number(&self, position: usize, event: &E) -> f64 {
        (self.numbers[position].1)(event)
    }
}

impl<E> Clone for EventSchema<E> {
    fn clone(&self) -> Self {
        EventSchema {
            id: self.id.clone(),
            time: self.time.clone(),
            entities: self.entities.clone(),
            money: self.money.clone(),
            numbers: self.numbers.clone(),
            label: self.label.clone(),
            label_arrival: self.label_arrival.clone(),
        }
    }
}

impl<E> fmt::Debug for EventSchema<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = |fields: Vec<&str>| fields.join(", ");
        f.debug_struct("EventSchema")
            .field("entities", &names(self.entities.iter().map(|e| e.0.as_str()).collect()))
            .field("money", &names(self.money.iter().map(|m| m.0.as_str()).collect()))
            .field("numbers", &names(self.numbers.iter().map(|n| n.0.as_str()).collect()))
            .field("label", &self.label.as_ref().map(|l| l.0.as_str()))
            .finish()
    }
}

/// Names the fields of an event; [`EventSchema::builder`].
pub struct EventSchemaBuilder<E> {
    id: Option<Read<E, u64>>,
    time: Option<Read<E, Timestamp>>,
    entities: Vec<(String, Read<E, EntityKey>)>,
    money: Vec<(String, u8, Read<E, i64>)>,
    numbers: Vec<(String, Read<E, f64>)>,
    label: Option<(String, Read<E, Option<bool>>)>,
    label_arrival: Option<Read<E, Option<Timestamp>>>,
}

impl<E> EventSchemaBuilder<E> {
    /// The id: unique, and rising among events of one moment.
    #[must_use]
    pub fn id(mut self, read: impl Fn(&E) -> u64 + Send + Sync + 'static) -> Self {
        self.id = Some(Arc::new(read));
        self
    }

    /// When it happened.
    #[must_use]
    pub fn time(mut self, read: impl Fn(&E) -> Timestamp + Send + Sync + 'static) -> Self {
        self.time = Some(Arc::new(read));
        self
    }

    /// An entity that history is kept about: customer, card, device, terminal.
    #[must_use]
    pub fn entity(
        mut self,
        name: &str,
        read: impl Fn(&E) -> EntityKey + Send + Sync + 'static,
    ) -> Self {
        self.entities.push((name.to_owned(), Arc::new(read)));
        self
    }

    /// An amount in whole minor units (cents for `decimals` 2), so that sums are exact in any order.
    #[must_use]
    pub fn money(
        mut self,
        name: &str,
        decimals: u8,
        read: impl Fn(&E) -> i64 + Send + Sync + 'static,
    ) -> Self {
        self.money.push((name.to_owned(), decimals, Arc::new(read)));
        self
    }

    /// A number that goes into the feature vector as it is; NaN is missing. It cannot be summed over a window, because
    /// a sum of floats depends on its order: declare what must be summed as money.
    #[must_use]
    pub fn number(mut self, name: &str, read: impl Fn(&E) -> f64 + Send + Sync + 'static) -> Self {
        self.numbers.push((name.to_owned(), Arc::new(read)));
        self
    }

    /// The label: `Some(true)` is bad (fraud, default), `None` not known yet.
    #[must_use]
    pub fn label(
        mut self,
        name: &str,
        read: impl Fn(&E) -> Option<bool> + Send + Sync + 'static,
    ) -> Self {
        self.label = Some((name.to_owned(), Arc::new(read)));
        self
    }

    /// When the label became known, `None` for not yet: lets history be replayed with labels as they arrived.
    #[must_use]
    pub fn label_arrival(
        mut self,
        read: impl Fn(&E) -> Option<Timestamp> + Send + Sync + 'static,
    ) -> Self {
        self.label_arrival = Some(Arc::new(read));
        self
    }

    /// # Errors
    /// `InvalidConfig` without an id or a time, with a name given twice, or with more than 9 decimals.
    pub fn build(self) -> Result<EventSchema<E>> {
        let refuse = |reason: String| Err(Error::config("event schema", reason));
        let (Some(id), Some(time)) = (self.id, self.time) else {
            return refuse("needs .id(..) and .time(..)".into());
        };
        if let Some((name, decimals, _)) = self.money.iter().find(|m| m.1 > 9) {
            return refuse(format!("{name} has {decimals} decimals; at most 9 are possible"));
        }
        let mut names: Vec<&str> = self.entities.iter().map(|e| e.0.as_str()).collect();
        names.extend(self.money.iter().map(|m| m.0.as_str()));
        names.extend(self.numbers.iter().map(|n| n.0.as_str()));
        names.extend(self.label.iter().map(|l| l.0.as_str()));
        names.sort_unstable();
        if let Some(pair) = names.windows(2).find(|pair| pair[0] == pair[1]) {
            return refuse(format!("field {} is named twice", pair[0]));
        }
        Ok(EventSchema {
            id,
            time,
            entities: self.entities,
            money: (self.money.into_iter())
                .map(|(name, decimals, read)| (name, 10f64.powi(i32::from(decimals)), read))
                .collect(),
            numbers: self.numbers,
            label: self.label,
            label_arrival: self.label_arrival,
        })
    }
}

impl<E> fmt::Debug for EventSchemaBuilder<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSchemaBuilder").finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_incomplete_or_ambiguous_schema_is_refused() {
        let at = |_: &u64| Timestamp::default();
        assert!(EventSchema::<u64>::builder().time(at).build().is_err());
        assert!(EventSchema::<u64>::builder().id(|e| *e).build().is_err());
        let twice = EventSchema::<u64>::builder()
            .id(|e| *e)
            .time(at)
            .entity("x", |e| EntityKey(*e))
            .number("x", |_| 0.0);
        assert!(twice.build().unwrap_err().to_string().contains("x is named twice"));
        let fine = EventSchema::<u64>::builder().id(|e| *e).time(at).money("m", 10, |_| 0);
        assert!(fine.build().is_err());
    }
}
