//! Where alerts go.

use std::fmt::Debug;
use std::io::Write;
use std::sync::{Mutex, PoisonError};

use crate::alert::Alert;
use crate::error::{Error, Result};

/// Receives alerts.
///
/// # Contract
/// Gets every change of state once, in order as long as one thread evaluates. May fail; whoever sends counts that and goes on. Must not wait for
/// anything slow: what needs a network queues.
///
/// # Concurrency
/// May be called from several threads at once.
///
/// # Errors
/// Any; nothing upstream depends on it.
pub trait AlertSink: Debug + Send + Sync + 'static {
    /// Takes one alert.
    ///
    /// # Errors
    /// See the trait.
    fn send(&self, alert: &Alert) -> Result<()>;
}

/// Keeps alerts in memory: the default, and what tests look into.
#[derive(Debug, Default)]
pub struct InMemoryAlertSink {
    alerts: Mutex<Vec<Alert>>,
}

impl InMemoryAlertSink {
    /// All alerts so far, oldest first.
    pub fn alerts(&self) -> Vec<Alert> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl AlertSink for InMemoryAlertSink {
    fn send(&self, alert: &Alert) -> Result<()> {
        self.alerts.lock().unwrap_or_else(PoisonError::into_inner).push(alert.clone());
        Ok(())
    }
}

/// Writes one line per alert to standard error.
#[derive(Debug, Default)]
pub struct StderrAlertSink;

impl AlertSink for StderrAlertSink {
    fn send(&self, alert: &Alert) -> Result<()> {
        writeln!(std::io::stderr(), "alert: {alert}").map_err(|e| Error::io("write", "stderr", e))
    }
}
