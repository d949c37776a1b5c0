//! Connections that are checked, replaced and never waited for too long.

use std::fmt;
use std::io;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use redis::{Client, Connection, ErrorKind, RedisError, RedisResult, ServerErrorKind};

use super::config::RedisConfig;
use crate::error::{Error, Result};

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
/// [retryable](Error::is_retryable) but for the login; `Corrupt` for keys that hold something else.
#[derive(Clone)]
pub struct RedisPool {
    shared: Arc<Shared>,
}

struct Shared {
    config: RedisConfig,
    client: Client,
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
        config.check()?;
        // The error may quote the URL.
        let client = Client::open(config.url.as_str())
            .map_err(|error| Error::config("redis", format!("the URL: {}", error.category())))?;
        let (connections, freed) = (Mutex::default(), Condvar::new());
        Ok(RedisPool { shared: Arc::new(Shared { config, client, connections, freed }) })
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
        format!("{{{}}}:{parts}", self.shared.config.namespace)
    }

    /// Runs what changes nothing, a second time if the connection broke.
    pub(super) fn read<T>(
        &self,
        action: &str,
        work: impl Fn(&mut Connection) -> RedisResult<T>,
    ) -> Result<T> {
        match self.once(&work) {
            Err(error) if error.is_connection_dropped() => self.once(&work),
            done => done,
        }
        .map_err(|error| self.failed(action, error))
    }

    /// Runs what changes something, once.
    pub(super) fn write<T>(
        &self,
        action: &str,
        work: impl FnOnce(&mut Connection) -> RedisResult<T>,
    ) -> Result<T> {
        self.once(work).map_err(|error| self.failed(action, error))
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

    fn failed(&self, action: &str, error: RedisError) -> Error {
        use io::ErrorKind::{
            ConnectionAborted, ConnectionRefused, Other, PermissionDenied, ResourceBusy,
            StorageFull, TimedOut,
        };
        let server = format!("redis at {}", self.shared.client.get_connection_info().addr());
        let code = code(&error);
        let kind = match (error.kind(), code.as_deref()) {
            (ErrorKind::UnexpectedReturnType | ErrorKind::Parse, _) | (_, Some("WRONGTYPE")) => {
                return Error::corrupt(server, format!("cannot {action}: {error}"));
            }
            (ErrorKind::AuthenticationFailed, _) | (_, Some("NOAUTH" | "WRONGPASS" | "NOPERM")) => {
                PermissionDenied
            }
            (_, Some("OOM")) => StorageFull,
            (
                ErrorKind::Server(
                    ServerErrorKind::BusyLoading
                    | ServerErrorKind::TryAgain
                    | ServerErrorKind::MasterDown
                    | ServerErrorKind::ClusterDown
                    | ServerErrorKind::ReadOnly,
                ),
                _,
            )
            | (_, Some("BUSY" | "MISCONF")) => ResourceBusy,
            _ if error.is_timeout() => TimedOut,
            _ if error.is_connection_refusal() => ConnectionRefused,
            _ if error.is_io_error() => ConnectionAborted,
            _ => Other,
        };
        Error::io(action, server, io::Error::new(kind, error.to_string()))
    }
}

/// The server's word for what is wrong, of the first command of several that failed.
fn code(error: &RedisError) -> Option<String> {
    let of_first = || {
        let errors = error.clone().into_server_errors()?;
        errors.first().map(|(_, error)| error.code().to_owned())
    };
    error.code().map(str::to_owned).or_else(of_first)
}

/// Whether the server has said it, and the connection is as good as before.
fn is_answer(error: &RedisError) -> bool {
    error.kind() == ErrorKind::UnexpectedReturnType || code(error).is_some()
}

impl Shared {
    /// A connection that counts as in use: an idle one, or a new one while there may be more.
    fn connect(&self) -> RedisResult<Connection> {
        let timeout = self.config.response_timeout;
        let until = Instant::now() + timeout;
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
            if connections.n_open < self.config.max_connections {
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
        let opened = self.client.get_connection_with_timeout(self.config.connect_timeout);
        let opened = opened.and_then(|connection| {
            connection.set_read_timeout(Some(self.config.response_timeout))?;
            connection.set_write_timeout(Some(self.config.response_timeout))?;
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
        f.debug_tuple("RedisPool").field(&self.shared.config).finish()
    }
}
