//! The server, and what it says when it says no.

use std::fmt;
use std::io;

use redis::{Client, ErrorKind, RedisError, ServerErrorKind};

use super::config::RedisConfig;
use crate::error::{Error, Result};

#[derive(Clone)]
pub(super) struct Server {
    pub(super) config: RedisConfig,
    pub(super) client: Client,
}

impl Server {
    pub(super) fn new(config: RedisConfig) -> Result<Self> {
        config.check()?;
        // The error may quote the URL.
        let client = Client::open(config.url.as_str())
            .map_err(|error| Error::config("redis", format!("the URL: {}", error.category())))?;
        Ok(Server { config, client })
    }

    /// The name of a key, all parts of it.
    pub(super) fn key(&self, parts: impl fmt::Display) -> String {
        format!("{{{}}}:{parts}", self.config.namespace)
    }

    pub(super) fn failed(&self, action: &str, error: RedisError) -> Error {
        use io::ErrorKind::{
            ConnectionAborted, ConnectionRefused, Other, PermissionDenied, ResourceBusy,
            StorageFull, TimedOut,
        };
        let server = format!("redis at {}", self.client.get_connection_info().addr());
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
pub(super) fn is_answer(error: &RedisError) -> bool {
    error.kind() == ErrorKind::UnexpectedReturnType || code(error).is_some()
}
