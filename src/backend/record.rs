//! Records as the bytes that a store keeps.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::audit::AuditEntry;
use crate::codec;
use crate::error::{Error, Result};
use crate::feature::store::FeatureMetadata;

/// A feature's record as JSON: it holds formulas, which nest, and people look at it.
///
/// # Errors
/// `InvalidInput` for one that would not come back as it is: a number that is not finite, a formula that nests too deep.
pub(super) fn encode_feature(record: &FeatureMetadata) -> Result<Vec<u8>> {
    let bytes = serde_json::to_vec(record);
    let same = |bytes: &Vec<u8>| {
        let back = serde_json::from_slice::<FeatureMetadata>(bytes);
        back.is_ok_and(|back| back.digest() == record.digest())
    };
    bytes.ok().filter(same).ok_or_else(|| {
        let reason = format!(
            "{} cannot be kept: a number is not finite, or a formula nests too deep",
            record.feature
        );
        Error::input("feature record", reason)
    })
}

pub(super) fn decode_feature(bytes: &[u8]) -> Result<FeatureMetadata> {
    serde_json::from_slice(bytes)
        .map_err(|error| Error::corrupt("feature record", error.to_string()))
}

/// The entry at position `seq` of an audit trail.
pub(super) fn decode_entry<E: DeserializeOwned>(bytes: &[u8], seq: u64) -> Result<AuditEntry<E>> {
    let entry: AuditEntry<E> = codec::decode(bytes, "log entry")?;
    if entry.seq != seq {
        let reason = format!("entry {} is kept at position {seq}", entry.seq);
        return Err(Error::corrupt("log", reason));
    }
    Ok(entry)
}

/// What a snapshot's record begins with.
const SNAPSHOT: &[u8] = b"riskcycle record 1\n";

pub(super) fn encode_snapshot<T: Serialize>(record: &T) -> Vec<u8> {
    [SNAPSHOT, &codec::encode(record)].concat()
}

pub(super) fn decode_snapshot<T: DeserializeOwned>(bytes: &[u8]) -> Result<T> {
    let content = bytes.strip_prefix(SNAPSHOT);
    let content = content.ok_or_else(|| Error::corrupt("snapshot", "is no record"))?;
    codec::decode(content, "snapshot")
}
