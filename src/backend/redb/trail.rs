//! Audit trails in a table by position.

use redb::{ReadableTable, Table, TableDefinition};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::Failure;
use crate::audit::{AuditEntry, AuditHead};
use crate::backend::record;
use crate::codec;

pub(super) type Trail = TableDefinition<'static, u64, &'static [u8]>;

pub(super) fn head<E: DeserializeOwned>(
    table: &impl ReadableTable<u64, &'static [u8]>,
) -> Result<AuditHead, Failure> {
    let Some((seq, bytes)) = table.last()? else { return Ok(AuditHead::default()) };
    Ok(record::decode_entry::<E>(bytes.value(), seq.value())?.head())
}

pub(super) fn read<E: DeserializeOwned>(
    table: &impl ReadableTable<u64, &'static [u8]>,
    after: u64,
    limit: usize,
) -> Result<Vec<AuditEntry<E>>, Failure> {
    let Some(first) = after.checked_add(1) else { return Ok(Vec::new()) };
    let mut entries = Vec::new();
    for (kept, expected) in table.range(first..)?.zip(first..).take(limit) {
        // A gap shows as an entry at another position than its own.
        entries.push(record::decode_entry(kept?.1.value(), expected)?);
    }
    Ok(entries)
}

pub(super) fn append<E: Serialize>(
    table: &mut Table<'_, u64, &'static [u8]>,
    entry: &AuditEntry<E>,
) -> Result<(), Failure> {
    table.insert(entry.seq, codec::encode(entry).as_slice())?;
    Ok(())
}
