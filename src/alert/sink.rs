//! Where notifications go.

use std::fmt;
use std::io::Write;
use std::sync::mpsc::Sender;
use std::sync::{Arc, Mutex, PoisonError};

use super::{Alert, Matcher, Notification, Severity};
use crate::error::{Error, Result, Retry};

/// Receives notifications.
///
/// # Contract
/// At least once: a notification that failed is made anew at the next tick, with what has happened since. Its
/// [`key`](Notification::key) tells repetitions. Must not wait for anything slow: what needs a network goes behind a
/// [`QueuedSink`](super::QueuedSink). A panic is caught and counts as a failure.
///
/// # Concurrency
/// May be called from several threads at once.
///
/// # Errors
/// Any; nothing upstream depends on it, and neither do the other sinks. [`Error::Delivery`] tells a queue whether to try again.
pub trait AlertSink: fmt::Debug + Send + Sync + 'static {
    /// Takes one notification.
    ///
    /// # Errors
    /// See the trait.
    fn send(&self, notification: &Notification) -> Result<()>;

    /// Looked at on every tick: what is wrong with the sink, if anything. A sink with threads of its own looks after them here.
    fn health(&self) -> Option<String> {
        None
    }
}

/// A sink with the conditions under which it is told.
#[derive(Debug, Clone)]
pub struct Receiver {
    /// Unique name: what it has been told is remembered under it.
    pub name: String,
    /// Where notifications go.
    pub sink: Arc<dyn AlertSink>,
    /// Channel that rules name; `None` receives whatever the channels of a rule are.
    pub channel: Option<String>,
    /// Alerts below it are not told.
    pub min_severity: Severity,
    /// Which alerts; an empty matcher takes all.
    pub matcher: Matcher,
    /// Whether it is told when alerts end.
    pub send_resolved: bool,
}

impl Receiver {
    /// Everything to `sink`. Replace a field to have it otherwise.
    pub fn new(name: &str, sink: Arc<dyn AlertSink>) -> Self {
        Receiver {
            name: name.to_owned(),
            sink,
            channel: None,
            min_severity: Severity::Info,
            matcher: Matcher::default(),
            send_resolved: true,
        }
    }

    pub(super) fn takes(&self, alert: &Alert, channels: &[String]) -> bool {
        let on_channel = match &self.channel {
            Some(channel) => channels.is_empty() || channels.contains(channel),
            None => true,
        };
        on_channel && alert.severity >= self.min_severity && self.matcher.matches(&alert.labels)
    }
}

/// Keeps notifications in memory: the default, and what tests look into.
#[derive(Debug, Default)]
pub struct InMemoryAlertSink {
    notifications: Mutex<Vec<Notification>>,
}

impl InMemoryAlertSink {
    /// All notifications so far, oldest first.
    pub fn notifications(&self) -> Vec<Notification> {
        self.notifications.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl AlertSink for InMemoryAlertSink {
    fn send(&self, notification: &Notification) -> Result<()> {
        let mut notifications = self.notifications.lock().unwrap_or_else(PoisonError::into_inner);
        notifications.push(notification.clone());
        Ok(())
    }
}

/// Writes one line per alert to standard error.
#[derive(Debug, Default)]
pub struct StderrAlertSink;

impl AlertSink for StderrAlertSink {
    fn send(&self, notification: &Notification) -> Result<()> {
        let lines = notification.to_string();
        let written =
            lines.lines().try_for_each(|line| writeln!(std::io::stderr(), "alert: {line}"));
        written.map_err(|error| Error::io("write", "stderr", error))
    }
}

/// Calls a function.
pub struct FnSink<F>(pub F);

impl<F> fmt::Debug for FnSink<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FnSink")
    }
}

impl<F: Fn(&Notification) -> Result<()> + Send + Sync + 'static> AlertSink for FnSink<F> {
    fn send(&self, notification: &Notification) -> Result<()> {
        self.0(notification)
    }
}

/// Puts notifications into a channel of the host's. The channel is unbounded unless the host reads from it.
#[derive(Debug)]
pub struct ChannelSink(pub Sender<Notification>);

impl AlertSink for ChannelSink {
    fn send(&self, notification: &Notification) -> Result<()> {
        self.0.send(notification.clone()).map_err(|_| Error::Delivery {
            sink: "channel".into(),
            reason: "nobody reads from it any more".into(),
            retry: Retry::Never,
        })
    }
}
