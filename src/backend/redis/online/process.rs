//! What a process holds of features that it shares, however it talks to the server.

use std::collections::VecDeque;
use std::fmt;
use std::mem::take;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use super::SharedObserved;
use super::config::RedisOnlineConfig;
use super::script::{self, Answers, Counted, Visit};
use crate::backend::redis::server::Server;
use crate::error::{Error, Result};
use crate::feature::{FeaturePlan, Observed, OnlineFeatures, TilePlan};
use crate::schema::FeatureSchema;
use crate::time::micros;

/// What is done, in messages.
pub(super) const OBSERVE: &str = "observe an event";
/// Events that wait and are sent along with one that is observed: a millisecond or so.
const SENT_ALONG: usize = 32;

pub(super) struct Process<E> {
    pub(super) server: Server,
    tiles: TilePlan<E>,
    config: RedisOnlineConfig,
    /// What the keys of this definition begin with.
    prefix: String,
    local: OnlineFeatures<E>,
    line: Mutex<Line>,
    lost: AtomicU64,
}

/// What there is to do once the server is back.
#[derive(Debug, Default)]
struct Line {
    alone_until: Option<Instant>,
    waiting: VecDeque<Visit>,
}

/// Events on their way to the server, oldest first. Those that have no answer when this is dropped wait again.
pub(super) struct Batch<'a, E> {
    process: &'a Process<E>,
    visits: Vec<Visit>,
    /// Whether the last one is of the event that is being observed.
    own: bool,
}

impl<E> Process<E> {
    pub(super) fn new(
        server: &Server,
        plan: &FeaturePlan<E>,
        config: RedisOnlineConfig,
    ) -> Result<Self> {
        config.check()?;
        let prefix = server.key(format_args!("online:{}:", plan.set().fingerprint().short()));
        Ok(Process {
            server: server.clone(),
            tiles: TilePlan::new(plan)?,
            config,
            prefix,
            local: plan.online(config.local)?,
            line: Mutex::default(),
            lost: AtomicU64::new(0),
        })
    }

    pub(super) fn schema(&self) -> &FeatureSchema {
        self.tiles.plan().schema()
    }

    pub(super) fn waiting(&self) -> usize {
        self.line().waiting.len()
    }

    pub(super) fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// Observes an event in memory, as the answer where the server gives none; and what there is to send, which is nothing
    /// while the server is left alone.
    pub(super) fn observe(&self, event: &E, out: &mut [f64]) -> Result<(Observed, Batch<'_, E>)> {
        let observed = self.local.observe(event, out)?;
        let id = self.tiles.plan().events().id(event);
        let sources = self.tiles.visit(event, micros(self.config.lateness));
        let mut line = self.line();
        let mut batch = self.front(&mut line);
        batch.own = !line.is_left_alone() && line.waiting.is_empty();
        match batch.own {
            true => batch.visits.push(Visit { id, sources }),
            false => {
                line.waiting.push_back(Visit { id, sources });
                self.make_room(&mut line);
            }
        }
        Ok((observed, batch))
    }

    /// The answer to an event, once its batch has come back.
    pub(super) fn conclude(
        &self,
        event: &E,
        observed: Observed,
        counted: Option<Counted>,
        out: &mut [f64],
    ) -> Result<SharedObserved> {
        let Some(Counted { new, counters }) = counted else {
            return Ok(SharedObserved { observed, degraded: true });
        };
        self.tiles.vector(event, &counters, out)?;
        let observed = if new { Observed::New } else { Observed::Duplicate };
        Ok(SharedObserved { observed, degraded: false })
    }

    /// Lets the server be asked again at once.
    pub(super) fn try_again(&self) {
        self.line().alone_until = None;
    }

    /// For a pause of real time, whatever the events' own: it is the server that has to come back.
    fn leave_alone(&self) {
        self.line().alone_until = Some(Instant::now() + self.config.pause);
    }

    /// The first that wait; none once the server has failed since it was to be [asked again](Self::try_again).
    pub(super) fn next_waiting(&self) -> Option<Batch<'_, E>> {
        let mut line = self.line();
        let any = line.alone_until.is_none() && !line.waiting.is_empty();
        any.then(|| self.front(&mut line))
    }

    fn front(&self, line: &mut Line) -> Batch<'_, E> {
        let n = match line.is_left_alone() {
            true => 0,
            false => line.waiting.len().min(SENT_ALONG),
        };
        Batch { process: self, visits: line.waiting.drain(..n).collect(), own: false }
    }

    fn make_room(&self, line: &mut Line) {
        let above = line.waiting.len().saturating_sub(self.config.max_waiting.max(1));
        line.waiting.drain(..above);
        self.lost.fetch_add(above as u64, Ordering::Relaxed);
    }

    fn line(&self) -> MutexGuard<'_, Line> {
        self.line.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Line {
    fn is_left_alone(&self) -> bool {
        self.alone_until.is_some_and(|until| Instant::now() < until)
    }
}

impl<E> Batch<'_, E> {
    pub(super) fn is_empty(&self) -> bool {
        self.visits.is_empty()
    }

    pub(super) fn calls(&self) -> redis::Pipeline {
        script::calls(&self.process.prefix, &self.process.config, &self.visits, self.own)
    }

    /// What became of the event that is being observed; `None` if it waits. One that waited and can never be counted is lost.
    pub(super) fn answered(mut self, answers: Result<Answers>) -> Result<Option<Counted>> {
        let process = self.process;
        let answers = match answers {
            Ok(answers) => answers,
            Err(error) if error.is_retryable() => {
                process.leave_alone();
                return Ok(None);
            }
            Err(error) => {
                if self.own {
                    self.visits.pop(); // the caller is told, and may observe it again
                }
                return Err(error);
            }
        };
        let failed = |error| process.server.failed(OBSERVE, error);
        let mut answers =
            answers.into_iter().map(|answer| answer.map_err(failed)).collect::<Vec<_>>();
        let counters = answers.split_off(self.visits.len()); // there is one for each call
        let own = if self.own { self.visits.pop().zip(answers.pop()) } else { None };
        for (visit, answer) in take(&mut self.visits).into_iter().zip(answers) {
            if let Some(Err(_)) = self.settle(visit, answer.and_then(script::decode_new)) {
                process.lost.fetch_add(1, Ordering::Relaxed);
            }
        }
        let Some((visit, answer)) = own else { return Ok(None) };
        self.settle(visit, script::decode_counted(answer, counters)).transpose()
    }

    /// An outcome that stands; after one that may be another the next time, the event goes on waiting.
    fn settle<T>(&mut self, visit: Visit, outcome: Result<T>) -> Option<Result<T>> {
        if !outcome.as_ref().is_err_and(Error::is_retryable) {
            return Some(outcome);
        }
        self.visits.push(visit);
        self.process.leave_alone();
        None
    }
}

impl<E> Drop for Batch<'_, E> {
    fn drop(&mut self) {
        if self.is_empty() {
            return;
        }
        let mut line = self.process.line();
        self.visits.drain(..).rev().for_each(|visit| line.waiting.push_front(visit));
        self.process.make_room(&mut line);
    }
}

impl<E> fmt::Debug for Process<E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Process")
            .field("server", &self.server.config)
            .field("config", &self.config)
            .field("waiting", &self.waiting())
            .field("lost", &self.lost())
            .finish_non_exhaustive()
    }
}
