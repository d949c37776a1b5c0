//! What waits in a queue: the latest state of each group, tried again until it is taken or given up.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::RngCore;
use serde::{Deserialize, Serialize};

use super::Notification;
use super::queue::QueueConfig;
use crate::error::Retry;

/// A notification that could not be delivered.
#[derive(Debug, Clone, PartialEq)]
pub struct DeadLetter {
    /// It.
    pub notification: Notification,
    /// Why.
    pub reason: String,
    /// How often it was tried.
    pub attempts: u32,
}

/// What a [`QueuedSink`](super::QueuedSink) has to say of itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct QueueStats {
    /// Groups that wait, the one under way included.
    pub depth: usize,
    /// Notifications delivered.
    pub delivered: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Notifications merged into a later one of their group.
    pub merged: u64,
    /// Notifications given up.
    pub dead: u64,
    /// Threads left to themselves because they were stuck.
    pub stalled: u32,
}

/// Everything that waits, is under way, or was given up.
#[derive(Debug)]
pub(super) struct Backlog {
    pub(super) waiting: VecDeque<Item>,
    pub(super) under_way: Option<(Item, Instant)>,
    /// Number of the thread that may work; others end when they come back.
    pub(super) worker: u32,
    pub(super) closing: bool,
    pub(super) off: bool,
    pub(super) failures: u32,
    pub(super) paused_until: Option<Instant>,
    pub(super) dead: VecDeque<DeadLetter>,
    pub(super) stats: QueueStats,
    pub(super) rng: ChaCha8Rng,
}

/// A notification and how it has fared.
#[derive(Debug, Clone)]
pub(super) struct Item {
    pub(super) notification: Notification,
    pub(super) attempts: u32,
    pub(super) taken: Instant,
    pub(super) not_before: Instant,
}

impl Item {
    pub(super) fn new(notification: Notification, now: Instant) -> Self {
        Item { notification, attempts: 0, taken: now, not_before: now }
    }
}

impl Backlog {
    pub(super) fn new(config: &QueueConfig) -> Self {
        Backlog {
            waiting: VecDeque::new(),
            under_way: None,
            worker: 0,
            closing: false,
            off: false,
            failures: 0,
            paused_until: None,
            dead: VecDeque::new(),
            stats: QueueStats::default(),
            rng: config.seed.derive("alert queue", 0).rng(),
        }
    }

    pub(super) fn stats(&self) -> QueueStats {
        let depth = self.waiting.len() + usize::from(self.under_way.is_some());
        QueueStats { depth, ..self.stats }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.under_way.is_none()
    }

    /// Puts a notification in line: in the place of an earlier one of its group, otherwise at the end.
    pub(super) fn put(&mut self, item: Item, config: &QueueConfig) {
        let group = &item.notification.group;
        if let Some(other) =
            self.waiting.iter_mut().find(|other| other.notification.group == *group)
        {
            self.stats.merged += 1;
            let newer = merged(&other.notification, item.notification);
            other.notification = newer;
            return;
        }
        if self.waiting.len() >= config.capacity
            && let Some(oldest) = self.waiting.pop_front()
        {
            self.bury(oldest, "there was no room", config);
        }
        self.waiting.push_back(item);
    }

    pub(super) fn failed(
        &mut self,
        mut item: Item,
        reason: &str,
        retry: Retry,
        config: &QueueConfig,
    ) {
        self.stats.failed += 1;
        self.failures += 1;
        item.attempts += 1;
        // Monotonic, not the host's clock: it says when to try again and stands in nothing that is sent.
        let now = Instant::now();
        if self.failures >= config.breaker_failures {
            self.paused_until = Some(now + config.breaker_pause);
        }
        let doubled = config.backoff.saturating_mul(1 << (item.attempts - 1).min(20));
        let most = doubled.min(config.max_backoff);
        let part = (self.rng.next_u32() as f64) / f64::from(u32::MAX);
        let wait = match retry {
            Retry::Never => return self.bury(item, reason, config),
            Retry::Later => most.mul_f64(part),
            Retry::After(wait) => wait,
        };
        let too_old = now.duration_since(item.taken) + wait > config.max_age;
        if item.attempts >= config.max_attempts || too_old {
            return self.bury(item, reason, config);
        }
        item.not_before = now + wait;
        let group = item.notification.group.clone();
        let later = self.waiting.iter_mut().find(|other| other.notification.group == group);
        match later {
            // Something newer has come meanwhile: it carries what this one had to say, and waits as this one would.
            Some(later) => {
                self.stats.merged += 1;
                later.notification = merged(&item.notification, later.notification.clone());
                (later.attempts, later.not_before) = (item.attempts, item.not_before);
                later.taken = item.taken;
            }
            None => self.waiting.push_front(item),
        }
    }

    fn bury(&mut self, item: Item, reason: &str, config: &QueueConfig) {
        self.stats.dead += 1;
        if self.dead.len() >= config.max_dead_letters {
            self.dead.pop_front();
        }
        if config.max_dead_letters > 0 {
            let Item { notification, attempts, .. } = item;
            self.dead.push_back(DeadLetter { notification, reason: reason.to_owned(), attempts });
        }
    }

    pub(super) fn take_due(&mut self, now: Instant) -> Option<Item> {
        if self.paused_until.is_some_and(|until| now < until) {
            return None;
        }
        let i = self.waiting.iter().position(|item| item.not_before <= now)?;
        self.waiting.remove(i)
    }

    /// Time until something may be due.
    pub(super) fn next_due(&self, now: Instant) -> Option<Duration> {
        let first = self.waiting.iter().map(|item| item.not_before).min()?;
        let first = self.paused_until.map_or(first, |until| first.max(until));
        Some(first.saturating_duration_since(now).max(Duration::from_millis(1)))
    }
}

/// The newer state of a group, with what the older one had to say of alerts that the newer one no longer mentions.
fn merged(older: &Notification, mut newer: Notification) -> Notification {
    let mentioned = |newer: &Notification, fingerprint: &str| {
        newer.firing.iter().chain(&newer.resolved).any(|alert| alert.fingerprint == fingerprint)
    };
    for alert in &older.resolved {
        if !mentioned(&newer, &alert.fingerprint) {
            newer.resolved.push(alert.clone());
        }
    }
    newer
}
