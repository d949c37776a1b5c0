//! A queue with a thread of its own in front of a sink that may be slow.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

use super::backlog::{Backlog, DeadLetter, Item, QueueStats};
use super::{AlertSink, Notification};
use crate::error::{Error, Result, Retry};
use crate::seed::Seed;

/// Parameters of a [`QueuedSink`].
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct QueueConfig {
    /// Most groups that wait; a further one pushes the oldest among the dead letters.
    pub capacity: usize,
    /// Wait after the first failure; doubles with each further one. What is waited is a random part of it.
    pub backoff: Duration,
    /// Longest wait.
    pub max_backoff: Duration,
    /// Attempts before a notification is a dead letter.
    pub max_attempts: u32,
    /// Time before it is.
    pub max_age: Duration,
    /// Failures in a row, of whatever notifications, after which nothing is tried for a while.
    pub breaker_failures: u32,
    /// That while; then one attempt decides.
    pub breaker_pause: Duration,
    /// An attempt that takes longer is given up: its thread is left to itself, and another one takes over.
    pub send_timeout: Duration,
    /// Threads that may be left so before the sink is switched off.
    pub max_stalled: u32,
    /// Dead letters kept.
    pub max_dead_letters: usize,
    /// Of the random part of the waits.
    pub seed: Seed,
}

/// 1,000 groups; waits from 1 s to 60 s, 8 attempts, 15 minutes; 5 failures pause for a minute; 10 s per attempt, 2
/// stalled threads, 256 dead letters.
impl Default for QueueConfig {
    fn default() -> Self {
        QueueConfig {
            capacity: 1000,
            backoff: Duration::from_secs(1),
            max_backoff: Duration::from_secs(60),
            max_attempts: 8,
            max_age: Duration::from_secs(900),
            breaker_failures: 5,
            breaker_pause: Duration::from_secs(60),
            send_timeout: Duration::from_secs(10),
            max_stalled: 2,
            max_dead_letters: 256,
            seed: Seed(0),
        }
    }
}

/// Takes notifications at once and delivers them on a thread of its own.
///
/// # Contract
/// At least once: every notification it took is delivered, or merged into a later one of its group, or becomes a dead letter.
/// Of a group only the latest state waits, with all that was resolved meanwhile, so that a flood takes bounded memory and no
/// last state is lost. The order within a group is kept.
///
/// A sink behind it that fails is tried again after a random part of a doubling wait; one that panics has failed; one that blocks
/// is given up after [`send_timeout`](QueueConfig::send_timeout), which is looked for whenever a notification arrives and at
/// every tick of the engine. What was under way then is tried again, and may arrive twice.
///
/// Waits and time-outs follow the system's monotonic clock, not a [`Clock`](crate::Clock): they are about a thread that is stuck or a
/// network that is down, and neither comes back when a test moves its clock. Nothing that is delivered depends on them, only when.
#[derive(Debug)]
pub struct QueuedSink {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    config: QueueConfig,
    sink: Arc<dyn AlertSink>,
    state: Mutex<Backlog>,
    changed: Condvar,
}

impl QueuedSink {
    /// Starts the thread, named `alert-` and `name`.
    ///
    /// # Errors
    /// `InvalidConfig` without room or attempts; `Io` if the thread cannot be started.
    pub fn spawn(name: &str, sink: Arc<dyn AlertSink>, config: QueueConfig) -> Result<Self> {
        if config.capacity == 0 || config.max_attempts == 0 || config.send_timeout.is_zero() {
            let reason = "needs room, at least one attempt, and time for it";
            return Err(Error::config("queued sink", reason));
        }
        let (state, changed) = (Mutex::new(Backlog::new(&config)), Condvar::new());
        let shared = Arc::new(Shared { name: name.to_owned(), config, sink, state, changed });
        start(&shared, 0)?;
        Ok(QueuedSink { shared })
    }

    /// What it has to say of itself.
    pub fn stats(&self) -> QueueStats {
        self.shared.state().stats()
    }

    /// The latest notifications that could not be delivered, oldest first.
    pub fn dead_letters(&self) -> Vec<DeadLetter> {
        self.shared.state().dead.iter().cloned().collect()
    }

    /// Takes nothing more and waits, up to `patience`, until what waits has been delivered; what has not been by then.
    pub fn close(&self, patience: Duration) -> Vec<Notification> {
        let mut state = self.shared.state();
        state.closing = true;
        self.shared.changed.notify_all();
        let until = Instant::now() + patience; // a real wait for a real thread, so no host's clock
        while !state.is_empty() && !state.off {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            let waited = self.shared.changed.wait_timeout(state, left);
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
        }
        state.worker += 1; // whoever still works finds itself replaced
        let under_way = state.under_way.take().map(|(item, _)| item);
        let left = under_way.into_iter().chain(state.waiting.drain(..));
        let left = left.map(|item| item.notification).collect();
        self.shared.changed.notify_all();
        left
    }
}

impl AlertSink for QueuedSink {
    /// # Errors
    /// `Delivery` once it is closed, or switched off because the sink behind it blocks.
    fn send(&self, notification: &Notification) -> Result<()> {
        self.shared.look_after_worker();
        let mut state = self.shared.state();
        if state.closing || state.off {
            let reason =
                if state.off { "it is stuck and was switched off" } else { "it is closed" };
            let (sink, retry) = (self.shared.name.clone(), Retry::Never);
            return Err(Error::Delivery { sink, reason: reason.into(), retry });
        }
        let now = Instant::now();
        let notification = notification.clone();
        state.put(Item::new(notification, now), &self.shared.config);
        self.shared.changed.notify_all();
        Ok(())
    }

    fn health(&self) -> Option<String> {
        self.shared.look_after_worker();
        let state = self.shared.state();
        let paused = state.paused_until.is_some_and(|until| until > Instant::now());
        match (state.off, paused) {
            (true, _) => Some("it is stuck and was switched off".into()),
            (_, true) => Some(format!("{} attempts in a row failed", state.failures)),
            _ => None,
        }
    }
}

/// The thread ends after what it is at.
impl Drop for QueuedSink {
    fn drop(&mut self) {
        let mut state = self.shared.state();
        state.closing = true;
        state.worker += 1;
        self.shared.changed.notify_all();
    }
}

fn start(shared: &Arc<Shared>, number: u32) -> Result<()> {
    let own = shared.clone();
    let name = format!("alert-{}", shared.name);
    let started = thread::Builder::new().name(name).spawn(move || own.work(number));
    started.map(drop).map_err(|error| Error::io("start a thread for", &shared.name, error))
}

impl Shared {
    fn state(&self) -> MutexGuard<'_, Backlog> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self, number: u32) {
        let mut state = self.state();
        while state.worker == number {
            let now = Instant::now();
            let Some(item) = state.take_due(now) else {
                if state.closing && state.is_empty() {
                    break;
                }
                let wait = state.next_due(now).unwrap_or(Duration::from_secs(3600));
                let waited = self.changed.wait_timeout(state, wait);
                state = waited.unwrap_or_else(PoisonError::into_inner).0;
                continue;
            };
            state.under_way = Some((item.clone(), now));
            drop(state);
            let sent = catch_unwind(AssertUnwindSafe(|| self.sink.send(&item.notification)));
            state = self.state();
            if state.worker != number {
                break; // given up as stuck: another thread has taken over, the item included
            }
            state.under_way = None;
            match sent {
                Ok(Ok(())) => {
                    state.stats.delivered += 1;
                    (state.failures, state.paused_until) = (0, None);
                }
                Ok(Err(error)) => {
                    let retry = match &error {
                        Error::Delivery { retry, .. } => *retry,
                        _ => Retry::Later,
                    };
                    state.failed(item, &error.to_string(), retry, &self.config);
                }
                Err(_) => state.failed(item, "the sink panicked", Retry::Later, &self.config),
            }
            self.changed.notify_all();
        }
        self.changed.notify_all();
    }

    /// Gives up on a thread that has been at one attempt for too long, and starts another one.
    fn look_after_worker(self: &Arc<Self>) {
        let mut state = self.state();
        let stuck = |(_, since): &(Item, Instant)| since.elapsed() > self.config.send_timeout;
        if state.off || !state.under_way.as_ref().is_some_and(stuck) {
            return;
        }
        let Some((item, _)) = state.under_way.take() else {
            return;
        };
        state.worker += 1;
        state.stats.stalled += 1;
        let number = state.worker;
        state.failed(item, "the sink did not come back in time", Retry::Later, &self.config);
        state.off = state.stats.stalled > self.config.max_stalled;
        let off = state.off;
        drop(state);
        if !off && start(self, number).is_err() {
            self.state().off = true;
        }
        self.changed.notify_all();
    }
}
