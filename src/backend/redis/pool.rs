//! Connections that are checked, replaced and never waited for too long.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{Connection, RedisResult};

use super::config::RedisConfig;
use super::server::{Server, is_answer};
use crate::error::Result;

/// A connection that has been idle for longer is asked whether it still is one.
const CHECK_AFTER: Duration = Duration::from_secs(1);

/// Connections to one server; cheap to clone.
///
/// # Contract
/// Every call ends: connecting, answering and waiting for a free connection each have their time. A connection that failed is
/// thrown away, one that was idle for a second is checked before it is used, so that a server that was away is found again by
/// itself. A read whose connection broke is tried once more on a new one; a write is not, as nobody knows whether it was
/// carried out, and neither is what ran out of time.
///
/// # Errors
/// Of everything that uses it: `Io` for a server that is away, slow, full, starting or refuses the login,
/// [retryable](crate::Error::is_retryable) but for the login; `Corrupt` for keys that hold something else.
#[derive(Clone)]
pub struct RedisPool {
    shared: Arc<Shared>,
}

struct Shared {
    server: Server,
    connections: Mutex<Connections>,
    freed: Condvar,
}

#[derive(Default)]
struct Connections {
    idle: Vec<(Connection, Instant)>,
    /// Those in use included.
    n_open: usize,
}

impl RedisPool {
    /// Connects when the first connection is needed.
    ///
    /// # Errors
    /// `InvalidConfig` for a URL that cannot be one, no time, no connection or no namespace.
    pub fn new(config: RedisConfig) -> Result<Self> {
        let server = Server::new(config)?;
        let (connections, freed) = (Mutex::default(), Condvar::new());
        Ok(RedisPool { shared: Arc::new(Shared { server, connections, freed }) })
    }

    /// Asks the server whether it is there.
    ///
    /// # Errors
    /// `Io` if it is not.
    pub fn ping(&self) -> Result<()> {
        self.read("ping", |connection| redis::cmd("PING").exec(connection))
    }

    /// The name of a key, all parts of it.
    pub(super) fn key(&self, parts: impl fmt::Display) -> String {
        self.shared.server.key(parts)
    }

    pub(super) fn server(&self) -> &Server {
        &self.shared.server
    }

    /// Runs what changes nothing, or nothing more the second time: once more if the connection broke.
    pub(super) fn read<T>(
        &self,
        action: &str,
        work: impl Fn(&mut Connection) -> RedisResult<T>,
    ) -> Result<T> {
        match self.once(&work) {
            Err(error) if error.is_connection_dropped() => self.once(&work),
            done => done,
        }
        .map_err(|error| self.shared.server.failed(action, error))
    }

    /// Runs what changes something, once.
    pub(super) fn write<T>(
        &self,
        action: &str,
        work: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T> {
        self.once(work).map_err(|error| self.shared.server.failed(action, error))
    }

    fn once<T>(&self, work: impl FnOnce(&mut Connection) -> RedisResult<T>) -> RedisResult<T> {
        let mut connection = self.shared.connect()?;
        let mut place = Place { shared: &self.shared, connection: None };
        let done = work(&mut connection);
        if done.as_ref().is_err_and(|error| !is_answer(error)) {
            // An answer that comes too late would be taken for that of the next question.
            self.shared.forget_idle();
        } else {
            place.connection = Some(connection);
        }
        done
    }
}

impl Shared {
    /// A connection that counts as in use: an idle one, or a new one while there may be more.
    fn connect(&self) -> RedisResult<Connection> {
        let timeout = self.server.config.response_timeout;
        let until = Instant::now() + timeout; // of a server that answers in real time, so no host's clock
        let mut connections = self.connections();
        loop {
            if let Some((mut connection, since)) = connections.idle.pop() {
                drop(connections);
                let sound = since.elapsed() < CHECK_AFTER
                    || redis::cmd("PING").exec(&mut connection).is_ok();
                if sound {
                    return Ok(connection);
                }
                return self.open();
            }
            if connections.n_open < self.server.config.max_connections {
                connections.n_open += 1;
                drop(connections);
                return self.open();
            }
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                let reason = "all connections are in use";
                return Err(io::Error::new(io::ErrorKind::TimedOut, reason).into());
            }
            let waited = self.freed.wait_timeout(connections, left);
            (connections, _) = waited.unwrap_or_else(PoisonError::into_inner);
        }
    }

    /// A new connection in a place that is counted already; the place is given up if there is none.
    fn open(&self) -> RedisResult<Connection> {
        let Server { client, config } = &self.server;
        let opened = client.get_connection_with_timeout(config.connect_timeout);
        let opened = opened.and_then(|connection| {
            connection.set_read_timeout(Some(config.response_timeout))?;
            connection.set_write_timeout(Some(config.response_timeout))?;
            Ok(connection)
        });
        if opened.is_err() {
            self.free(None);
        }
        opened
    }

    fn free(&self, connection: Option<Connection>) {
        let mut connections = self.connections();
        match connection {
            // Since when it is idle tells whether the server may have closed it: real time again.
            Some(connection) => connections.idle.push((connection, Instant::now())),
            None => connections.n_open -= 1,
        }
        drop(connections);
        self.freed.notify_one();
    }

    /// What was connected to a server that has gone is of no use.
    fn forget_idle(&self) {
        let mut connections = self.connections();
        connections.n_open -= connections.idle.len();
        connections.idle.clear();
        drop(connections);
        self.freed.notify_all();
    }

    fn connections(&self) -> MutexGuard<'_, Connections> {
        self.connections.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of a connection in use, given back at the end, also after a panic: with the connection if that is sound.
struct Place<'a> {
    shared: &'a Shared,
    connection: Option<Connection>,
}

impl Drop for Place<'_> {
    fn drop(&mut self) {
        self.shared.free(self.connection.take());
    }
}

impl fmt::Debug for RedisPool {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("RedisPool").field(&self.shared.server.config).finish()
    }
}
