//! What the routes share: the slots, the clock, and who may work now.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use axum::response::Response;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, timeout_at};

use super::answer::Answer;
use super::config::HttpConfig;
use super::ok;
use super::read::{Asked, Columns, Problems, ReadRequest, read};
use super::refusal::{Code, Refusal};
use super::slot::HttpSlot;
use crate::error::Result as LibraryResult;
use crate::ids::EntityKey;
use crate::serve::{ModelService, Prediction, Request};
use crate::time::{Clock, Timestamp};

pub(super) type Told<T> = std::result::Result<T, Refusal>;

#[derive(Debug)]
pub(super) struct Edge {
    pub(super) service: Arc<ModelService>,
    pub(super) slots: BTreeMap<String, Arc<Served>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) config: HttpConfig,
    turns: Arc<Semaphore>,
    waiting: AtomicUsize,
}

/// A slot that is served.
#[derive(Debug)]
pub(super) struct Served {
    pub(super) name: String,
    pub(super) columns: Columns,
    pub(super) parts: HttpSlot,
}

/// What a thread reads a row into.
#[derive(Default)]
struct Scratch {
    row: Vec<f64>,
    seen: Vec<bool>,
    problems: Problems,
}

thread_local! {
    static SCRATCH: RefCell<Scratch> = RefCell::default();
}

/// One row, answered or to be answered elsewhere.
pub(super) enum Single {
    Answered(Response),
    /// The thread that read it is not the one to score it.
    ToDo(Asked, Vec<f64>),
}

impl Edge {
    pub(super) fn new(
        service: Arc<ModelService>,
        slots: BTreeMap<String, HttpSlot>,
        clock: Arc<dyn Clock>,
        config: HttpConfig,
    ) -> LibraryResult<Self> {
        config.check()?;
        let mut served = BTreeMap::new();
        for (name, parts) in slots {
            let columns = Columns::new(service.schema(&name)?);
            served.insert(name.clone(), Arc::new(Served { name, columns, parts }));
        }
        let turns = Arc::new(Semaphore::new(config.workers));
        let waiting = AtomicUsize::new(0);
        Ok(Edge { service, slots: served, clock, config, turns, waiting })
    }

    pub(super) fn slot(&self, name: &str) -> Told<Arc<Served>> {
        let none = || Refusal::new(Code::UnknownModel, "there is no model of that name");
        self.slots.get(name).cloned().ok_or_else(none)
    }

    /// Lets work run where blocking is allowed, once it is its turn: so many pieces at once that the requests scored on the
    /// runtime's own threads keep their share of the processor.
    pub(super) async fn work<T: Send + 'static>(
        self: Arc<Self>,
        work: impl FnOnce(&Edge) -> Told<T> + Send + 'static,
    ) -> Told<T> {
        let deadline = Instant::now() + self.config.work_timeout; // of somebody who waits for an answer
        let late = |_| Refusal::plain(Code::TimedOut);
        let turn = match self.turns.clone().try_acquire_owned() {
            Ok(turn) => turn,
            Err(_) => {
                let place = Waiting::new(&self.waiting, self.config.queue)?;
                let turn = timeout_at(deadline, self.turns.clone().acquire_owned()).await;
                drop(place);
                turn.map_err(late)?.expect("nobody closes the semaphore")
            }
        };
        let edge = self.clone();
        let done = spawn_blocking(move || {
            let _turn = turn; // kept to the end, even where nobody waits for it any more
            work(&edge)
        });
        let done = timeout_at(deadline, done).await.map_err(late)?;
        done.unwrap_or_else(|_| Err(Refusal::plain(Code::Internal)))
    }

    /// Reads a row into the thread's own memory and answers it there and then, if it is to be answered there.
    pub(super) fn read_and_answer(&self, slot: &Served, body: &[u8]) -> Told<Single> {
        SCRATCH.with_borrow_mut(|Scratch { row, seen, problems }| {
            let started = self.clock.nanos();
            row.clear();
            row.resize(slot.columns.schema().n_features(), f64::NAN);
            let columns = &slot.columns;
            let asked = read(ReadRequest { columns, row, seen, problems }, body);
            let wrong = problems.take();
            let asked = asked?;
            if !wrong.is_empty() {
                return Err(Refusal::of_fields(wrong));
            }
            if asked.reasons || !self.config.inline {
                return Ok(Single::ToDo(asked, row.clone()));
            }
            Ok(Single::Answered(self.answer(slot, &asked, row, started)?))
        })
    }

    /// Answers one row.
    pub(super) fn answer(
        &self,
        slot: &Served,
        asked: &Asked,
        row: &[f64],
        started: u64,
    ) -> Told<Response> {
        let request = self.request(slot, asked, row)?;
        let mut prediction =
            self.service.predict(&slot.name, &request).map_err(|e| Refusal::of(&e))?;
        let latency = Duration::from_nanos(self.clock.nanos().saturating_sub(started));
        self.record(slot, asked, row, &mut prediction, latency)?;
        Ok(ok(&Answer::of(&prediction)))
    }

    /// The request for a row: of now, and routed by its own id, where nothing else was said.
    pub(super) fn request<'a>(
        &self,
        slot: &Served,
        asked: &Asked,
        row: &'a [f64],
    ) -> Told<Request<'a>> {
        let id = asked.id.expect("a request without an id has a problem");
        let now = self.clock.now();
        let at = self.moment("at", asked.at, now)?;
        let unit = asked.unit.unwrap_or(EntityKey(id));
        let assignment = slot.parts.router.route(unit, id, at);
        Ok(Request { assignment, reasons: asked.reasons, ..Request::new(id, at, unit, row) })
    }

    /// The moment that a caller names, or now.
    pub(super) fn moment(
        &self,
        field: &str,
        at: Option<Timestamp>,
        now: Timestamp,
    ) -> Told<Timestamp> {
        let Some(at) = at else { return Ok(now) };
        let HttpConfig { oldest, ahead, .. } = self.config;
        if now.minus(oldest) <= at && at <= now.plus(ahead) {
            return Ok(at);
        }
        let expected = format!("a moment from {} to {}", now.minus(oldest), now.plus(ahead));
        Err(Refusal::out_of_range(field, expected))
    }

    /// Counts an answer everywhere where it counts.
    pub(super) fn record(
        &self,
        slot: &Served,
        asked: &Asked,
        row: &[f64],
        prediction: &mut Prediction,
        latency: Duration,
    ) -> Told<()> {
        let HttpSlot { recorder, log, observer, .. } = &slot.parts;
        if let Some(token) = prediction.exposure {
            let nanos = u64::try_from(latency.as_nanos()).unwrap_or(u64::MAX);
            let token = token.with_amount(asked.amount.unwrap_or(0)).with_latency(nanos);
            prediction.exposure = Some(token);
            if let Some(recorder) = recorder {
                recorder.expose(&token);
            }
        }
        if let Some(log) = log {
            log.record(prediction, row);
        }
        observer.answered(prediction, row, latency).map_err(|e| Refusal::of(&e))
    }
}

/// A place in the queue, given up when it is dropped.
struct Waiting<'a>(&'a AtomicUsize);

impl<'a> Waiting<'a> {
    fn new(waiting: &'a AtomicUsize, most: usize) -> Told<Self> {
        let place = Waiting(waiting);
        match waiting.fetch_add(1, Ordering::Relaxed) < most {
            true => Ok(place),
            false => Err(Refusal::plain(Code::Busy)), // dropping `place` takes it back
        }
    }
}

impl Drop for Waiting<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}
