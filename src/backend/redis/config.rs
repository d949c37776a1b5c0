//! Where the server is, and how long to wait for it.

use std::fmt;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

/// Parameters of a [`RedisPool`](super::RedisPool).
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RedisConfig {
    /// `redis://user:password@host:6379/0`, or `redis+unix:///path/to/socket`. Messages show the host only. There is no TLS:
    /// `rediss://` is refused; where the network is not trusted, a proxy such as stunnel beside the process speaks it.
    pub url: String,
    /// What all keys begin with, in braces: `{riskcycle}:…`. A cluster thus keeps them on one node, as scripts need it.
    #[serde(default = "riskcycle")]
    pub namespace: String,
    /// Time to connect, log in included; a name is looked up before it runs.
    #[serde(default = "half_a_second")]
    pub connect_timeout: Duration,
    /// Time for one answer, and to wait for a free connection.
    #[serde(default = "half_a_second")]
    pub response_timeout: Duration,
    /// Most connections at once; they are made as they are needed.
    #[serde(default = "eight")]
    pub max_connections: usize,
}

fn riskcycle() -> String {
    "riskcycle".into()
}

fn half_a_second() -> Duration {
    Duration::from_millis(500)
}

fn eight() -> usize {
    8
}

impl RedisConfig {
    /// A server by its URL, with half a second to connect and to answer, and up to eight connections.
    pub fn new(url: &str) -> Self {
        RedisConfig {
            url: url.to_owned(),
            namespace: riskcycle(),
            connect_timeout: half_a_second(),
            response_timeout: half_a_second(),
            max_connections: eight(),
        }
    }

    pub(super) fn check(&self) -> Result<()> {
        let reason = match self {
            _ if self.url.starts_with("rediss:") || self.url.starts_with("valkeys:") => {
                "there is no TLS; a proxy beside the process may speak it"
            }
            _ if self.namespace.is_empty() || self.namespace.contains(['{', '}']) => {
                "the namespace needs a name without braces"
            }
            _ if self.connect_timeout.is_zero() || self.response_timeout.is_zero() => {
                "needs time to connect and to answer"
            }
            _ if self.max_connections == 0 => "needs at least one connection",
            _ => return Ok(()),
        };
        Err(Error::config("redis", reason))
    }
}

impl fmt::Debug for RedisConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // What stands before the last @ may be a secret.
        let (_, place) = self.url.rsplit_once('@').unwrap_or(("", &self.url));
        f.debug_struct("RedisConfig")
            .field("url", &place)
            .field("namespace", &self.namespace)
            .field("connect_timeout", &self.connect_timeout)
            .field("response_timeout", &self.response_timeout)
            .field("max_connections", &self.max_connections)
            .finish()
    }
}
