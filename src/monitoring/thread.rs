//! A thread that ticks.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{RecvTimeoutError, Sender, channel};
use std::thread::JoinHandle;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::time::{Clock, Timestamp};

/// Calls something at a steady pace, [`Monitoring::tick`](super::Monitoring::tick) for one, on a named thread that the host
/// starts and stops.
///
/// A call that panics is counted, and the next one comes as usual. Calls do not pile up: one that takes longer than the pace
/// delays the next. The pace is the system's monotonic time; what is handed to the call is the [`Clock`]'s.
///
/// ```
/// use std::sync::Arc;
/// use std::time::Duration;
/// use riskcycle::SystemClock;
/// use riskcycle::monitoring::MonitoringThread;
///
/// let (told, ticks) = std::sync::mpsc::channel();
/// let tick = move |now| drop(told.send(now));
/// let thread = MonitoringThread::start("watch", Duration::from_millis(1), Arc::new(SystemClock), tick)?;
/// ticks.recv().expect("it ticks");
/// thread.stop();
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug)]
pub struct MonitoringThread {
    stop: Option<Sender<()>>,
    thread: Option<JoinHandle<()>>,
    panics: Arc<AtomicU64>,
}

impl MonitoringThread {
    /// Starts the thread under a name; the first call comes at once.
    ///
    /// # Errors
    /// `InvalidConfig` for a pace of zero, `Io` if the thread cannot be started.
    pub fn start(
        name: &str,
        every: Duration,
        clock: Arc<dyn Clock>,
        mut tick: impl FnMut(Timestamp) + Send + 'static,
    ) -> Result<Self> {
        if every.is_zero() {
            return Err(Error::config("monitoring thread", "needs a pace"));
        }
        let (stop, stopped) = channel();
        let panics = Arc::new(AtomicU64::new(0));
        let counted = panics.clone();
        let work = move || {
            loop {
                if catch_unwind(AssertUnwindSafe(|| tick(clock.now()))).is_err() {
                    counted.fetch_add(1, Ordering::Relaxed);
                }
                if stopped.recv_timeout(every) != Err(RecvTimeoutError::Timeout) {
                    return;
                }
            }
        };
        let started = std::thread::Builder::new().name(name.to_owned()).spawn(work);
        let thread = started.map_err(|error| Error::io("start a thread for", name, error))?;
        Ok(MonitoringThread { stop: Some(stop), thread: Some(thread), panics })
    }

    /// Calls that panicked.
    pub fn panics(&self) -> u64 {
        self.panics.load(Ordering::Relaxed)
    }

    /// Waits for the call under way and ends the thread. Dropping does the same.
    pub fn stop(self) {
        drop(self);
    }
}

impl Drop for MonitoringThread {
    fn drop(&mut self) {
        self.stop = None;
        if let Some(thread) = self.thread.take() {
            // Its panics have been caught.
            let _ = thread.join();
        }
    }
}
