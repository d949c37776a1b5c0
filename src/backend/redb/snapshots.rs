//! State that a restarted process goes on from.

use redb::{ReadableTable, TableDefinition, WriteTransaction};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{Failure, RedbDatabase};
use crate::backend::record;
use crate::error::{Error, Result};

const SNAPSHOTS: TableDefinition<'static, &'static str, &'static [u8]> =
    TableDefinition::new("snapshots");

pub(super) fn create(transaction: &WriteTransaction) -> std::result::Result<(), Failure> {
    transaction.open_table(SNAPSHOTS)?;
    Ok(())
}

/// Keeps snapshots by name in a [`RedbDatabase`]: live features, alerts, experiments' trails and counts.
///
/// ```
/// use riskcycle::alert::{AlertEngine, AlertConfig, AlertSnapshot};
/// use riskcycle::backend::{RedbDatabase, RedbSnapshots};
/// use riskcycle::Timestamp;
///
/// # let path = std::env::temp_dir().join(format!("riskcycle-snapshot-{}.redb", std::process::id()));
/// let snapshots = RedbSnapshots::new(&RedbDatabase::open(&path)?);
/// let engine = AlertEngine::new(AlertConfig::default(), Vec::new(), Vec::new())?;
/// let alerts = RedbSnapshots::record(&engine.snapshot());
/// let counts = vec![1, 2, 3]; // of OnlineFeatures::snapshot, ExperimentStatistics::to_bytes, …
/// snapshots.put(&[("alerts", &alerts), ("counts", &counts)])?;
///
/// // After a restart:
/// let alerts: AlertSnapshot = snapshots.get_record("alerts")?;
/// engine.restore(alerts, Timestamp::from_date(2026, 1, 5));
/// assert_eq!(snapshots.get("counts")?, counts);
/// # std::fs::remove_file(path).unwrap();
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug, Clone)]
pub struct RedbSnapshots {
    database: RedbDatabase,
}

impl RedbSnapshots {
    /// The snapshots of a database.
    pub fn new(database: &RedbDatabase) -> Self {
        RedbSnapshots { database: database.clone() }
    }

    /// Keeps snapshots in the place of former ones of their names, all of them in one commit: state that belongs together is
    /// put together.
    ///
    /// # Errors
    /// `Io`; the former ones stand then.
    pub fn put(&self, snapshots: &[(&str, &[u8])]) -> Result<()> {
        self.database.write("keep snapshots in", |transaction| {
            let mut table = transaction.open_table(SNAPSHOTS)?;
            for (name, bytes) in snapshots {
                table.insert(*name, *bytes)?;
            }
            Ok(())
        })
    }

    /// The snapshot of a name.
    ///
    /// # Errors
    /// `NotFound`, `Io`.
    pub fn get(&self, name: &str) -> Result<Vec<u8>> {
        self.database.read(|transaction| {
            let kept = transaction.open_table(SNAPSHOTS)?.get(name)?;
            let not_found = || Error::NotFound { kind: "snapshot", id: name.to_owned() };
            Ok(kept.ok_or_else(not_found)?.value().to_vec())
        })
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
        self.database.read(|transaction| {
            let table = transaction.open_table(SNAPSHOTS)?;
            let names = table.iter()?.map(|kept| Ok(kept?.0.value().to_owned()));
            names.collect()
        })
    }
}
