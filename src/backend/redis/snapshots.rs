//! State that processes hand to each other.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::pool::RedisPool;
use crate::backend::record;
use crate::error::{Error, Result};

/// Keeps snapshots by name in Redis: the counts of each process of a fleet, alerts, live features.
#[derive(Debug, Clone)]
pub struct RedisSnapshots {
    pool: RedisPool,
}

impl RedisSnapshots {
    /// The snapshots of the pool's namespace.
    pub fn new(pool: &RedisPool) -> Self {
        RedisSnapshots { pool: pool.clone() }
    }

    /// Keeps snapshots in the place of former ones of their names, all of them at once.
    ///
    /// # Errors
    /// `Io`; it is not known then whether they are kept.
    pub fn put(&self, snapshots: &[(&str, &[u8])]) -> Result<()> {
        if snapshots.is_empty() {
            return Ok(());
        }
        let mut call = redis::cmd("HSET");
        call.arg(self.key());
        snapshots.iter().for_each(|(name, bytes)| {
            call.arg(name).arg(bytes);
        });
        self.pool.write("keep snapshots", |connection| call.exec(connection))
    }

    /// The snapshot of a name.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub fn get(&self, name: &str) -> Result<Vec<u8>> {
        let kept: Option<Vec<u8>> = self.pool.read("read a snapshot", |connection| {
            redis::cmd("HGET").arg(self.key()).arg(name).query(connection)
        })?;
        kept.ok_or_else(|| Error::NotFound { kind: "snapshot", id: name.to_owned() })
    }

    /// A plain record, such as an [`AlertSnapshot`](crate::alert::AlertSnapshot) or an
    /// [audit trail](crate::AuditEntry), as bytes to [`put`](Self::put).
    pub fn record<T: Serialize>(record: &T) -> Vec<u8> {
        record::encode_snapshot(record)
    }

    /// The record of a name.
    ///
    /// # Errors
    /// `NotFound`; `Corrupt` if it is a record of something else; `Io`.
    pub fn get_record<T: DeserializeOwned>(&self, name: &str) -> Result<T> {
        record::decode_snapshot(&self.get(name)?)
    }

    /// All names, in order.
    ///
    /// # Errors
    /// `Io`.
    pub fn names(&self) -> Result<Vec<String>> {
        let mut names: Vec<String> = self.pool.read("list snapshots", |connection| {
            redis::cmd("HKEYS").arg(self.key()).query(connection)
        })?;
        names.sort_unstable();
        Ok(names)
    }

    /// Forgets the snapshot of a name, if there is one.
    ///
    /// # Errors
    /// `Io`.
    pub fn remove(&self, name: &str) -> Result<()> {
        self.pool.write("remove a snapshot", |connection| {
            redis::cmd("HDEL").arg(self.key()).arg(name).exec(connection)
        })
    }

    fn key(&self) -> String {
        self.pool.key("snapshots")
    }
}
