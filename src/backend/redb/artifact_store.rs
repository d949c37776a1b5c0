//! Artifacts.

use redb::{TableDefinition, WriteTransaction};

use super::{Failure, RedbDatabase};
use crate::error::{Error, Result};
use crate::ids::Digest;
use crate::registry::ArtifactStore;

const ARTIFACTS: TableDefinition<'static, &'static [u8; 32], &'static [u8]> =
    TableDefinition::new("artifacts");

pub(super) fn create(transaction: &WriteTransaction) -> std::result::Result<(), Failure> {
    transaction.open_table(ARTIFACTS)?;
    Ok(())
}

/// Keeps artifacts in a [`RedbDatabase`], each of at most 3 GiB.
#[derive(Debug, Clone)]
pub struct RedbArtifactStore {
    database: RedbDatabase,
}

impl RedbArtifactStore {
    /// The artifacts of a database.
    pub fn new(database: &RedbDatabase) -> Self {
        RedbArtifactStore { database: database.clone() }
    }
}

impl ArtifactStore for RedbArtifactStore {
    fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if self.get(&digest).is_ok() {
            return Ok(digest);
        }
        self.database.write("put an artifact into", |transaction| {
            transaction.open_table(ARTIFACTS)?.insert(digest.as_bytes(), bytes)?;
            Ok(digest)
        })
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>> {
        let bytes = self.database.read(|transaction| {
            let kept = transaction.open_table(ARTIFACTS)?.get(digest.as_bytes())?;
            Ok(kept.map(|bytes| bytes.value().to_vec()))
        })?;
        let not_found = || Error::NotFound { kind: "artifact", id: digest.to_string() };
        let bytes = bytes.ok_or_else(not_found)?;
        if Digest::of(&bytes) != *digest {
            let what = format!("artifact {digest} in {}", self.database.path.display());
            return Err(Error::corrupt(what, "its content does not match its digest"));
        }
        Ok(bytes)
    }
}
