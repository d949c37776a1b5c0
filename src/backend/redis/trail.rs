//! Audit trails as lists, their heads beside them.

use std::sync::LazyLock;

use redis::Script;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::pool::RedisPool;
use crate::audit::{AuditEntry, AuditHead};
use crate::backend::record;
use crate::codec;
use crate::error::{Error, Result};
use crate::ids::Digest;

/// A trail, and records that are changed with it.
#[derive(Debug, Clone)]
pub(super) struct Trail {
    pool: RedisPool,
    name: &'static str,
}

/// A record that goes with an entry.
pub(super) struct Change {
    /// What it is known and ordered by.
    pub(super) member: Vec<u8>,
    /// What it was before; 0 for a new one, `None` for one that can never be.
    pub(super) before: Option<u64>,
    pub(super) revision: u64,
    pub(super) record: Vec<u8>,
    /// Names of the sets that it is to be found in.
    pub(super) indexes: Vec<String>,
}

/// What became of an [`append`](Trail::append).
pub(super) enum Appended {
    Kept,
    /// The entries do not follow the head, which is at this position.
    OutOfLine(u64),
    /// The record at this place of the list is kept in this revision.
    Stale(usize, u64),
}

/// Compares the head and every record's revision, then writes all: entries, head, records, and the sets in which records
/// are to be found. Whatever holds something else is read, and fails, before anything is written; once something is
/// written, a server that runs out of memory lets the rest pass.
///
/// KEYS: entries, head, all members, prefix of records, prefix of index sets.
/// ARGV: seq and hash before and after, number of entries, of records; entries; per record: member, revision before and
/// after, record, number of indexes, their names.
static APPEND: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        local head = redis.call('HMGET', KEYS[2], 'seq', 'hash')
        redis.call('LLEN', KEYS[1])
        redis.call('ZCARD', KEYS[3])
        local n_entries, n_records = tonumber(ARGV[5]), tonumber(ARGV[6])
        local next = 7 + n_entries
        local records = {}
        for i = 1, n_records do
            local r = {member = ARGV[next], before = ARGV[next + 1], after = ARGV[next + 2],
                       body = ARGV[next + 3], indexes = {}}
            local n = tonumber(ARGV[next + 4])
            for j = 1, n do r.indexes[j] = KEYS[5] .. ARGV[next + 4 + j] end
            next = next + 5 + n
            r.key = KEYS[4] .. r.member
            local kept = redis.call('HMGET', r.key, 'revision', 'indexes')
            if (kept[1] or '0') ~= r.before then return {2, i - 1, kept[1] or '0'} end
            r.former = kept[2] and cmsgpack.unpack(kept[2]) or {}
            for _, index in ipairs(r.former) do redis.call('ZCARD', index) end
            for _, index in ipairs(r.indexes) do redis.call('ZCARD', index) end
            records[i] = r
        end
        if n_entries == 0 then return {0} end
        if (head[1] or '0') ~= ARGV[1] or (head[2] or '') ~= ARGV[2] then return {1, head[1] or '0'} end
        for i = 1, n_entries do redis.call('RPUSH', KEYS[1], ARGV[6 + i]) end
        redis.call('HSET', KEYS[2], 'seq', ARGV[3], 'hash', ARGV[4])
        for _, r in ipairs(records) do
            for _, index in ipairs(r.former) do redis.call('ZREM', index, r.member) end
            for _, index in ipairs(r.indexes) do redis.call('ZADD', index, 0, r.member) end
            redis.call('ZADD', KEYS[3], 0, r.member)
            redis.call('HSET', r.key, 'revision', r.after, 'record', r.body,
                       'indexes', cmsgpack.pack(r.indexes))
        end
        return {0}",
    )
});

impl Trail {
    pub(super) fn new(pool: &RedisPool, name: &'static str) -> Self {
        Trail { pool: pool.clone(), name }
    }

    pub(super) fn pool(&self) -> &RedisPool {
        &self.pool
    }

    /// The key of a part of what belongs to the trail.
    pub(super) fn key(&self, part: &str) -> String {
        self.pool.key(format_args!("{}:{part}", self.name))
    }

    pub(super) fn head(&self) -> Result<AuditHead> {
        let key = self.key("head");
        let (seq, hash): (Option<u64>, Option<Vec<u8>>) =
            self.pool.read("read the head of the log", |connection| {
                redis::cmd("HMGET").arg(&key).arg("seq").arg("hash").query(connection)
            })?;
        let (Some(seq), Some(hash)) = (seq, hash) else { return Ok(AuditHead::default()) };
        let hash =
            <[u8; 32]>::try_from(hash).map_err(|_| Error::corrupt(key, "holds no SHA-256"))?;
        Ok(AuditHead { seq, hash: Digest::from_bytes(hash) })
    }

    pub(super) fn read<E: DeserializeOwned>(
        &self,
        after: u64,
        limit: usize,
    ) -> Result<Vec<AuditEntry<E>>> {
        let last = after.saturating_add(limit as u64);
        if limit == 0 || i64::try_from(last).is_err() {
            return Ok(Vec::new());
        }
        let key = self.key("log");
        let entries: Vec<Vec<u8>> = self.pool.read("read the log", |connection| {
            redis::cmd("LRANGE").arg(&key).arg(after).arg(last - 1).query(connection)
        })?;
        let decode = |(bytes, seq): (Vec<u8>, u64)| record::decode_entry(&bytes, seq);
        entries.into_iter().zip(after + 1..).map(decode).collect()
    }

    /// Appends entries that follow each other, with the records that they tell of; all or nothing.
    pub(super) fn append<E: Serialize>(
        &self,
        entries: &[&AuditEntry<E>],
        changes: &[Change],
    ) -> Result<Appended> {
        // A head at no position is told apart from every one that there is.
        let before = entries.first().map(|first| (first.seq.checked_sub(1), first.previous));
        let before_seq = before.and_then(|(seq, _)| seq).map_or("-".into(), |seq| seq.to_string());
        let before_hash = match before {
            Some((_, hash)) if hash != Digest::default() => hash.as_bytes().to_vec(),
            _ => Vec::new(),
        };
        let after = entries.last().map(|last| last.head()).unwrap_or_default();
        let mut call = APPEND.prepare_invoke();
        for part in ["log", "head", "members", "record:", "index:"] {
            call.key(self.key(part));
        }
        call.arg(before_seq).arg(before_hash).arg(after.seq).arg(&after.hash.as_bytes()[..]);
        call.arg(entries.len()).arg(changes.len());
        entries.iter().for_each(|entry| {
            call.arg(codec::encode(entry));
        });
        for change in changes {
            let before = change.before.map_or("-".into(), |revision| revision.to_string());
            call.arg(&change.member).arg(before).arg(change.revision);
            call.arg(&change.record).arg(change.indexes.len()).arg(&change.indexes);
        }
        let answer: Vec<u64> =
            self.pool.write("append to the log", |connection| call.invoke(connection))?;
        match answer[..] {
            [0] => Ok(Appended::Kept),
            [1, seq] => Ok(Appended::OutOfLine(seq)),
            [2, place, kept] => Ok(Appended::Stale(place as usize, kept)),
            _ => Err(Error::corrupt(self.key("log"), "the server gave another answer")),
        }
    }
}
