//! Stage 9, serve. Takes a feature row and an assignment; gives a [`Prediction`]: score, version and decision.
//!
//! ```
//! use std::sync::Arc;
//! use riskcycle::model::LogisticModel;
//! use riskcycle::serve::{Decision, DecisionBands, Deployment, Lineup, ModelService, Request, SlotConfig};
//! use riskcycle::{EntityKey, FeatureSchema, ModelRef, Timestamp};
//!
//! let schema = FeatureSchema::new(["amount", "age"])?;
//! let model = LogisticModel::new(schema.clone(), -2.0, vec![1.0, -0.5], vec![0.0; 2], vec![1.0; 2])?;
//! let version = ModelRef { name: "card-fraud".into(), version: 1 };
//! let champion = Deployment::new(version, Arc::new(model), DecisionBands::new(0.5, 0.9)?);
//!
//! let service = ModelService::default();
//! service.open("cards", schema, SlotConfig::default(), Lineup::new(champion))?;
//!
//! // On each thread that answers requests, rows as the caller has them:
//! let mut predictor = service.predictor("cards")?.with_layout(&FeatureSchema::new(["age", "amount"])?)?;
//! let request = Request::new(1, Timestamp::default(), EntityKey(7), &[1.0, 3.0]);
//! let answer = predictor.predict(&request)?;
//! assert_eq!((answer.decision, answer.model.version), (Decision::Review, 1));
//! # Ok::<(), riskcycle::Error>(())
//! ```

mod deployment;
mod input;
mod prediction;
mod predictor;
mod shadow;
mod slot;
mod stats;

pub use crate::evaluate::{Decision, DecisionBands};
pub use deployment::{Deployment, Lineup};
pub use input::{InputFlags, InputPolicy, InputRule, MissingPolicy, ValuePolicy};
pub use prediction::{FallbackCause, Prediction, Request, ShadowScore};
pub use predictor::Predictor;
pub use slot::{SlotConfig, SlotHealth};
pub use stats::{ServiceStats, ServingStats};

use std::cell::Cell;
use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};

use crate::error::{Error, Result};
use crate::schema::FeatureSchema;
use crate::time::{Clock, SystemClock};
use input::InputLayout;
use slot::{Slot, Worker};

/// Answers requests with the models of named slots, and swaps them without pausing readers.
///
/// A slot has a schema for life and one [`Lineup`] at a time. A model that fails, by an error, a score that is no number or a
/// panic (unless the host aborts on panics), is stood in for by the lineup's fallback model and that by the slot's constant
/// decision; the prediction says so, and it is counted once.
///
/// # Concurrency
/// Share it by reference. A prediction in flight keeps the lineup it started with.
#[derive(Debug)]
pub struct ModelService {
    slots: RwLock<BTreeMap<String, Arc<Slot>>>,
    clock: Arc<dyn Clock>,
}

thread_local! {
    static WORKER: Cell<Option<Box<Worker>>> = const { Cell::new(None) };
}

impl ModelService {
    /// A service without slots, whose sampled latencies are those of this clock.
    pub fn new(clock: Arc<dyn Clock>) -> Self {
        ModelService { slots: RwLock::default(), clock }
    }

    /// Opens a slot for rows of `schema`, with its first lineup.
    ///
    /// # Errors
    /// `Conflict` if there is a slot of that name; `InvalidConfig` for an input policy of features or values that the schema
    /// does not have; those of [`deploy`](Self::deploy).
    pub fn open(
        &self,
        slot: &str,
        schema: FeatureSchema,
        config: SlotConfig,
        lineup: Lineup,
    ) -> Result<()> {
        let new = Slot::new(slot, schema, config, lineup, self.clock.clone())?;
        let mut slots = self.slots.write().unwrap_or_else(PoisonError::into_inner);
        if slots.contains_key(slot) {
            let reason = "is open already".into();
            return Err(Error::Conflict { kind: "slot", id: slot.into(), reason });
        }
        slots.insert(slot.to_owned(), Arc::new(new));
        Ok(())
    }

    /// Replaces a slot's lineup in one step, once every deployment in it has shown that it takes the slot's columns, stands a
    /// row of missing values and gives its golden rows their scores, which warms it up too. Gives the slot's generation.
    ///
    /// # Errors
    /// `NotFound` for an unknown slot; `InvalidConfig` without an arm; `SchemaMismatch` naming the first column that a model
    /// or its reason codes take otherwise: missing, extra, renamed, of another kind, in another place; `Refused` for a
    /// deployment that does not pass its test. The lineup stays as it was then.
    pub fn deploy(&self, slot: &str, lineup: Lineup) -> Result<u64> {
        self.slot(slot)?.deploy(lineup)
    }

    /// What is live in a slot.
    ///
    /// # Errors
    /// `NotFound` for an unknown slot.
    pub fn lineup(&self, slot: &str) -> Result<Lineup> {
        Ok(self.slot(slot)?.current().lineup.clone())
    }

    /// The columns that a slot takes, in the order of its rows.
    ///
    /// # Errors
    /// `NotFound` for an unknown slot.
    pub fn schema(&self, slot: &str) -> Result<FeatureSchema> {
        Ok(self.slot(slot)?.schema().clone())
    }

    /// A handle to a slot, for one thread.
    ///
    /// # Errors
    /// `NotFound` for an unknown slot.
    pub fn predictor(&self, slot: &str) -> Result<Predictor> {
        Ok(Predictor::new(self.slot(slot)?, InputLayout::SCHEMA_ORDER))
    }

    /// Answers one request whose row is in the order of the slot's schema. An assignment to an arm that is not deployed is
    /// answered by the champion, as its `assignment` then says. In shadow the other arms score it too; one that fails there
    /// has no score, and the answer stands. No allocation but for reasons.
    ///
    /// Threads meet here where they look up the slot and count references; a [`Predictor`] spares them that.
    ///
    /// # Errors
    /// `NotFound` for an unknown slot; `SchemaMismatch` if the row has another width than the schema; `InvalidInput` for a
    /// value that the slot's policy rejects.
    pub fn predict(&self, slot: &str, request: &Request<'_>) -> Result<Prediction> {
        let slot = self.slot(slot)?;
        let live = slot.current();
        // A host's model that asks the service itself finds none here and makes another.
        let mut worker = WORKER.take().unwrap_or_default();
        let layout = &InputLayout::SCHEMA_ORDER;
        let answer = slot.answer(&live, &live.versions, &mut worker, layout, request);
        WORKER.set(Some(worker));
        answer
    }

    /// Lets a slot's shadow models score requests that wait for it, up to `most`, on the thread that calls, and hands over
    /// each score; gives how many requests there were. A shadow that was swapped in meanwhile scores what came before it too.
    ///
    /// # Errors
    /// `NotFound` for an unknown slot.
    pub fn drain_shadows(
        &self,
        slot: &str,
        most: usize,
        tell: impl FnMut(ShadowScore),
    ) -> Result<usize> {
        Ok(self.slot(slot)?.drain(most, tell))
    }

    /// What every version did that is live, or is among the last that were.
    pub fn stats(&self) -> ServiceStats {
        let of = |slot: &Arc<Slot>| slot.stats().into_iter().collect();
        let slots = self.all().into_iter().map(|(name, slot)| (name, of(&slot))).collect();
        ServiceStats { slots }
    }

    /// How a slot is doing.
    ///
    /// # Errors
    /// `NotFound` for an unknown slot.
    pub fn slot_health(&self, slot: &str) -> Result<SlotHealth> {
        Ok(self.slot(slot)?.health())
    }

    /// How the slots are doing, by name.
    pub fn health(&self) -> Vec<SlotHealth> {
        self.all().into_values().map(|slot| slot.health()).collect()
    }

    fn slot(&self, name: &str) -> Result<Arc<Slot>> {
        let slots = self.slots.read().unwrap_or_else(PoisonError::into_inner);
        let slot = slots.get(name).cloned();
        slot.ok_or_else(|| Error::NotFound { kind: "slot", id: name.into() })
    }

    fn all(&self) -> BTreeMap<String, Arc<Slot>> {
        self.slots.read().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

/// With the operating system's clock.
impl Default for ModelService {
    fn default() -> Self {
        ModelService::new(Arc::new(SystemClock))
    }
}
