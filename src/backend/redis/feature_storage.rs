//! Features' metadata.

use std::sync::LazyLock;

use redis::Script;

use super::pool::RedisPool;
use super::trail::{Appended, Change, Trail};
use crate::audit::AuditHead;
use crate::backend::record;
use crate::codec;
use crate::error::{Error, Result};
use crate::feature::store::{
    FeatureChange, FeatureLogEntry, FeatureMetadata, FeatureQuery, FeatureRef, FeatureStorage,
    FeatureUser,
};
use crate::ids::Digest;

/// Keeps features' metadata in Redis, for all processes that share it.
///
/// A hash per feature version; a sorted set of all of them, and one for each status, tag, dependency and user, which a commit
/// changes with the record. A list starts from the smallest set that the query names and looks its members up in the others.
/// Put a [`CachedFeatureStorage`](crate::feature::store::CachedFeatureStorage) before it where records are read often.
///
/// # Contract
/// As safe as the server keeps it: see [`RedisRegistryLog`](super::RedisRegistryLog). Ids hold no NUL.
///
/// # Cost
/// Each call is one round trip. `list` is O(members looked at) on the server, a microsecond or so each.
#[derive(Debug, Clone)]
pub struct RedisFeatureStorage {
    trail: Trail,
}

/// Members in order after a cursor that are in all sets, from the smallest one, with their records.
///
/// KEYS: prefix of records, sets. ARGV: cursor, limit.
static LIST: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local smallest, size = 2, nil
        for i = 2, #KEYS do
            local n = redis.call('ZCARD', KEYS[i])
            if not size or n < size then smallest, size = i, n end
        end
        local after, limit, found = ARGV[1], tonumber(ARGV[2]), {}
        while #found < limit do
            local page = redis.call('ZRANGEBYLEX', KEYS[smallest], after, '+', 'LIMIT', 0, 256)
            for _, member in ipairs(page) do
                local everywhere = #found < limit
                for i = 2, #KEYS do
                    everywhere = everywhere and (i == smallest or redis.call('ZSCORE', KEYS[i], member))
                end
                if everywhere then
                    found[#found + 1] = redis.call('HGET', KEYS[1] .. member, 'record')
                end
            end
            if #page < 256 then break end
            after = '(' .. page[#page]
        end
        return found",
    )
});

impl RedisFeatureStorage {
    /// The features of the pool's namespace.
    pub fn new(pool: &RedisPool) -> Self {
        RedisFeatureStorage { trail: Trail::new(pool, "features") }
    }
}

/// The key of a version, ordered by bytes as versions are by id and number.
fn member(feature: &FeatureRef) -> Vec<u8> {
    // No character of an id comes before NUL, and ten digits hold every version.
    [feature.id.as_bytes(), b"\0", format!("{:010}", feature.version).as_bytes()].concat()
}

/// The set of all that have a user.
fn of_user(user: &FeatureUser) -> String {
    format!("used_by:{}", Digest::of(&codec::encode(user)))
}

fn of_dependency(feature: &FeatureRef) -> String {
    format!("depends_on:{feature}")
}

/// Names of the sets that a record is to be found in.
fn indexes(record: &FeatureMetadata) -> Vec<String> {
    let tags = record.documentation.tags.iter().map(|tag| format!("tag:{tag}"));
    let dependencies = record.semantics.dependencies.iter().map(of_dependency);
    let users = record.used_by.iter().map(of_user);
    let status = format!("status:{}", record.status);
    tags.chain(dependencies).chain(users).chain([status]).collect()
}

impl FeatureStorage for RedisFeatureStorage {
    fn get(&self, feature: &FeatureRef) -> Result<FeatureMetadata> {
        let key = [self.trail.key("record:").into_bytes(), member(feature)].concat();
        let kept: Option<Vec<u8>> = self.trail.pool().read("read a feature", |connection| {
            redis::cmd("HGET").arg(&key).arg("record").query(connection)
        })?;
        let not_found = || Error::NotFound { kind: "feature", id: feature.to_string() };
        record::decode_feature(&kept.ok_or_else(not_found)?)
    }

    fn list(&self, query: &FeatureQuery) -> Result<Vec<FeatureMetadata>> {
        let mut call = LIST.prepare_invoke();
        call.key(self.trail.key("record:")).key(self.trail.key("members"));
        let tags = query.tags.iter().map(|tag| format!("tag:{tag}"));
        let status = query.status.map(|status| format!("status:{status}"));
        let dependency = query.depends_on.as_ref().map(of_dependency);
        let user = query.used_by.as_ref().map(of_user);
        for index in tags.chain(status).chain(dependency).chain(user) {
            call.key(self.trail.key("index:") + &index);
        }
        let after = query.after.as_ref();
        call.arg(after.map_or(b"-".to_vec(), |after| [b"(".to_vec(), member(after)].concat()));
        call.arg(query.limit);
        let records: Vec<Vec<u8>> =
            self.trail.pool().read("list features", |connection| call.invoke(connection))?;
        records.iter().map(|bytes| record::decode_feature(bytes)).collect()
    }

    fn log(&self, after: u64, limit: usize) -> Result<Vec<FeatureLogEntry>> {
        self.trail.read(after, limit)
    }

    fn head(&self) -> Result<AuditHead> {
        self.trail.head()
    }

    fn commit(&self, changes: &[FeatureChange]) -> Result<()> {
        let mut encoded = Vec::with_capacity(changes.len());
        for change in changes {
            let record = &change.record;
            if record.feature.id.contains('\0') {
                return Err(Error::input("feature id", "holds a NUL"));
            }
            encoded.push(Change {
                member: member(&record.feature),
                before: record.revision.checked_sub(1),
                revision: record.revision,
                record: record::encode_feature(record)?,
                indexes: indexes(record),
            });
        }
        for pair in changes.windows(2) {
            let head = pair[0].entry.head();
            if !pair[1].entry.follows(head) {
                return Err(pair[1].out_of_line(head.seq));
            }
        }
        let entries: Vec<&FeatureLogEntry> = changes.iter().map(|change| &change.entry).collect();
        match (self.trail.append(&entries, &encoded)?, changes) {
            (Appended::OutOfLine(seq), [first, ..]) => Err(first.out_of_line(seq)),
            (Appended::Stale(place, kept), _) if place < changes.len() => {
                Err(changes[place].stale(kept))
            }
            _ => Ok(()),
        }
    }
}
