//! Everything that must outlive the process, in one file of redb.

mod artifact_store;
mod feature_storage;
mod prediction_log;
mod registry_log;
mod snapshots;
mod trail;

pub use artifact_store::RedbArtifactStore;
pub use feature_storage::RedbFeatureStorage;
pub use prediction_log::RedbPredictionLog;
pub use registry_log::RedbRegistryLog;
pub use snapshots::RedbSnapshots;

use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use redb::{Database, ReadTransaction, ReadableDatabase, WriteTransaction};

use crate::error::{Error, Result};

/// One file that holds features, the registry's log, artifacts, predictions and snapshots; cheap to clone.
///
/// # Contract
/// A write that returned is on the disk, whole; one that a crash cut off has left no trace. After a crash the file is
/// checked from end to end as it is opened: a second or so for each gigabyte.
///
/// # Concurrency
/// Any number of threads, of one process: the file is locked. Reads see one consistent state and wait for nobody; writes
/// wait for each other, each for one flush of the disk (a millisecond or so).
///
/// ```
/// use std::sync::Arc;
///
/// use riskcycle::backend::{RedbArtifactStore, RedbDatabase, RedbRegistryLog};
/// use riskcycle::registry::{ModelRegistry, RegistryConfig};
///
/// # let path = std::env::temp_dir().join(format!("riskcycle-doc-{}.redb", std::process::id()));
/// let database = RedbDatabase::open(&path)?;
/// let artifacts = Arc::new(RedbArtifactStore::new(&database));
/// let log = Arc::new(RedbRegistryLog::new(&database));
/// let registry = ModelRegistry::open(RegistryConfig::default(), artifacts, log)?;
/// assert_eq!(registry.versions().len(), 0);
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Clone)]
pub struct RedbDatabase {
    path: Arc<PathBuf>,
    database: Arc<Database>,
}

impl RedbDatabase {
    /// Opens a file, making it if need be.
    ///
    /// # Errors
    /// `Io` if it cannot be opened or made, `Conflict` if another process has it open, `Corrupt` if it is no sound database.
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        let path = path.as_ref().to_owned();
        let database =
            Database::create(&path).map_err(|error| Failure::from(error).at(&path, "open"))?;
        let database = RedbDatabase { path: Arc::new(path), database: Arc::new(database) };
        // A table that was never written cannot be read.
        database.write("prepare", |transaction| {
            feature_storage::create(transaction)?;
            registry_log::create(transaction)?;
            artifact_store::create(transaction)?;
            prediction_log::create(transaction)?;
            snapshots::create(transaction)
        })?;
        Ok(database)
    }

    /// Reads one state.
    fn read<T>(
        &self,
        work: impl FnOnce(&ReadTransaction) -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let begun = self.database.begin_read().map_err(Failure::from);
        begun.and_then(|transaction| work(&transaction)).map_err(|e| e.at(&self.path, "read"))
    }

    /// Makes changes that are kept together or, after an error, not at all.
    fn write<T>(
        &self,
        action: &str,
        work: impl FnOnce(&WriteTransaction) -> std::result::Result<T, Failure>,
    ) -> Result<T> {
        let transact = || {
            let transaction = self.database.begin_write()?;
            let done = work(&transaction)?;
            transaction.commit()?;
            Ok(done)
        };
        transact().map_err(|error: Failure| error.at(&self.path, action))
    }
}

impl fmt::Debug for RedbDatabase {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("RedbDatabase").field("path", &self.path).finish_non_exhaustive()
    }
}

/// What can go wrong within a transaction.
#[derive(Debug)]
enum Failure {
    Store(redb::Error),
    Own(Error),
}

impl<E: Into<redb::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        Failure::Store(error.into())
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::Own(error)
    }
}

impl Failure {
    fn at(self, path: &Path, action: &str) -> Error {
        let other = std::io::Error::other::<redb::Error>;
        match self {
            Failure::Own(error) => error,
            Failure::Store(redb::Error::Io(error)) => Error::io(action, path, error),
            Failure::Store(redb::Error::DatabaseAlreadyOpen) => Error::Conflict {
                kind: "database",
                id: path.display().to_string(),
                reason: "another process has it open".into(),
            },
            Failure::Store(
                error @ (redb::Error::Corrupted(_)
                | redb::Error::UpgradeRequired(_)
                | redb::Error::RepairAborted
                | redb::Error::TableTypeMismatch { .. }
                | redb::Error::TypeDefinitionChanged { .. }),
            ) => Error::corrupt(path.display().to_string(), error.to_string()),
            Failure::Store(error) => Error::io(action, path, other(error)),
        }
    }
}
