//! Features' metadata.

use std::ops::Bound;

use redb::{ReadableTable, TableDefinition, WriteTransaction};

use super::trail::{self, Trail};
use super::{Failure, RedbDatabase};
use crate::audit::AuditHead;
use crate::backend::record;
use crate::error::{Error, Result};
use crate::feature::store::{
    FeatureChange, FeatureEvent, FeatureLogEntry, FeatureMetadata, FeatureQuery, FeatureRef,
    FeatureStorage,
};

const RECORDS: TableDefinition<'static, (&'static str, u32), &'static [u8]> =
    TableDefinition::new("features");
const LOG: Trail = Trail::new("feature log");

pub(super) fn create(transaction: &WriteTransaction) -> std::result::Result<(), Failure> {
    transaction.open_table(RECORDS)?;
    transaction.open_table(LOG)?;
    Ok(())
}

/// Keeps features' metadata in a [`RedbDatabase`]. `get` and `commit` are O(log n); `list` reads the records after the
/// cursor, some ten microseconds each, until the page is full.
#[derive(Debug, Clone)]
pub struct RedbFeatureStorage {
    database: RedbDatabase,
}

impl RedbFeatureStorage {
    /// The features of a database.
    pub fn new(database: &RedbDatabase) -> Self {
        RedbFeatureStorage { database: database.clone() }
    }
}

impl FeatureStorage for RedbFeatureStorage {
    fn get(&self, feature: &FeatureRef) -> Result<FeatureMetadata> {
        self.database.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let kept = records.get((&*feature.id, feature.version))?;
            let not_found = || Error::NotFound { kind: "feature", id: feature.to_string() };
            Ok(record::decode_feature(kept.ok_or_else(not_found)?.value())?)
        })
    }

    fn list(&self, query: &FeatureQuery) -> Result<Vec<FeatureMetadata>> {
        self.database.read(|transaction| {
            let records = transaction.open_table(RECORDS)?;
            let after = query.after.as_ref().map(|after| (&*after.id, after.version));
            let after = after.map_or(Bound::Unbounded, Bound::Excluded);
            let mut page = Vec::new();
            for kept in records.range::<(&str, u32)>((after, Bound::Unbounded))? {
                if page.len() >= query.limit {
                    break;
                }
                let record = record::decode_feature(kept?.1.value())?;
                if query.matches(&record) {
                    page.push(record);
                }
            }
            Ok(page)
        })
    }

    fn log(&self, after: u64, limit: usize) -> Result<Vec<FeatureLogEntry>> {
        self.database.read(|transaction| trail::read(&transaction.open_table(LOG)?, after, limit))
    }

    fn head(&self) -> Result<AuditHead> {
        self.database.read(|transaction| trail::head::<FeatureEvent>(&transaction.open_table(LOG)?))
    }

    fn commit(&self, changes: &[FeatureChange]) -> Result<()> {
        let encode = |change: &FeatureChange| record::encode_feature(&change.record);
        let encoded: Vec<Vec<u8>> = changes.iter().map(encode).collect::<Result<_>>()?;
        self.database.write("commit to", |transaction| {
            let mut records = transaction.open_table(RECORDS)?;
            let mut log = transaction.open_table(LOG)?;
            let head = trail::head::<FeatureEvent>(&log)?;
            FeatureChange::check(changes, head, |feature| {
                let kept = records.get((&*feature.id, feature.version));
                let kept = kept.map_err(|e| Failure::from(e).at(&self.database.path, "read"))?;
                kept.map_or(Ok(0), |kept| Ok(record::decode_feature(kept.value())?.revision))
            })?;
            for (FeatureChange { record, entry }, bytes) in changes.iter().zip(&encoded) {
                let FeatureRef { id, version } = &record.feature;
                records.insert((&**id, *version), bytes.as_slice())?;
                trail::append(&mut log, entry)?;
            }
            Ok(())
        })
    }
}
