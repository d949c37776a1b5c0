//! The registry's log.

use redb::WriteTransaction;

use super::trail::{self, Trail};
use super::{Failure, RedbDatabase};
use crate::error::Result;
use crate::registry::{RegistryEvent, RegistryLog, RegistryLogEntry, check_follows};

const LOG: Trail = Trail::new("registry log");

pub(super) fn create(transaction: &WriteTransaction) -> std::result::Result<(), Failure> {
    transaction.open_table(LOG)?;
    Ok(())
}

/// Keeps the registry's log in a [`RedbDatabase`].
#[derive(Debug, Clone)]
pub struct RedbRegistryLog {
    database: RedbDatabase,
}

impl RedbRegistryLog {
    /// The log of a database.
    pub fn new(database: &RedbDatabase) -> Self {
        RedbRegistryLog { database: database.clone() }
    }
}

impl RegistryLog for RedbRegistryLog {
    fn append(&self, entry: &RegistryLogEntry) -> Result<()> {
        self.database.write("append to", |transaction| {
            let mut log = transaction.open_table(LOG)?;
            check_follows(trail::head::<RegistryEvent>(&log)?, entry)?;
            trail::append(&mut log, entry)
        })
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<RegistryLogEntry>> {
        self.database.read(|transaction| trail::read(&transaction.open_table(LOG)?, after, limit))
    }
}
