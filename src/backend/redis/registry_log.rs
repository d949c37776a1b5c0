//! The registry's log.

use super::pool::RedisPool;
use super::trail::{Appended, Trail};
use crate::error::Result;
use crate::registry::{RegistryLog, RegistryLogEntry, taken};

/// Keeps the registry's log in Redis, for all processes that share it.
///
/// # Contract
/// As safe as the server keeps it: with `appendonly yes` and `appendfsync always` what was appended survives a crash; with
/// the server's default the last second may be lost, and without persistence everything is.
#[derive(Debug, Clone)]
pub struct RedisRegistryLog {
    trail: Trail,
}

impl RedisRegistryLog {
    /// The log of the pool's namespace.
    pub fn new(pool: &RedisPool) -> Self {
        RedisRegistryLog { trail: Trail::new(pool, "registry") }
    }
}

impl RegistryLog for RedisRegistryLog {
    fn append(&self, entry: &RegistryLogEntry) -> Result<()> {
        match self.trail.append(&[entry], &[])? {
            Appended::Kept => Ok(()),
            _ => Err(taken(entry.seq)),
        }
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<RegistryLogEntry>> {
        self.trail.read(after, limit)
    }
}
