//! Artifacts.

use std::io;
use std::sync::LazyLock;

use redis::Script;

use super::pool::RedisPool;
use crate::error::{Error, Result};
use crate::ids::Digest;
use crate::registry::ArtifactStore;

/// Keeps artifacts in Redis, for all processes that share it: each a hash of pieces of 1 MiB under its digest, as many as the
/// server has memory for.
///
/// # Contract
/// As safe as the server keeps it: see [`RedisRegistryLog`](super::RedisRegistryLog). A digest is found once all its pieces
/// are there; what a process left unfinished goes after an hour. Putting the bytes again mends content that was spoilt. The
/// host deletes an artifact by its key, `{namespace}:artifact:digest`.
///
/// # Cost
/// A round trip for each piece, a millisecond or so on the server; what others ask comes in between. `put` reads first
/// whether the bytes are there, `get` computes their digest.
///
/// # Errors
/// Beside those of [`ArtifactStore`], those of [`RedisPool`]: its time-outs hold for each piece.
#[derive(Debug, Clone)]
pub struct RedisArtifactStore {
    pool: RedisPool,
}

const PIECE: usize = 1 << 20;
/// How long an artifact waits for its next piece.
const UNFINISHED: u64 = 3_600_000;

/// Puts a piece in its place; with the last one that was missing the artifact is there for good, and the answer 1.
///
/// KEYS: artifact. ARGV: number of pieces, place, piece, milliseconds that an unfinished artifact is kept.
static PUT: LazyLock<Script> = LazyLock::new(|| {
    Script::new(
        r"
        redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
        if redis.call('HLEN', KEYS[1]) < tonumber(ARGV[1]) then
            redis.call('PEXPIRE', KEYS[1], ARGV[4])
            return 0
        end
        redis.call('HSET', KEYS[1], 'pieces', ARGV[1])
        redis.call('PERSIST', KEYS[1])
        return 1",
    )
});

impl RedisArtifactStore {
    /// The artifacts of the pool's namespace.
    pub fn new(pool: &RedisPool) -> Self {
        RedisArtifactStore { pool: pool.clone() }
    }

    fn key(&self, digest: &Digest) -> String {
        self.pool.key(format_args!("artifact:{digest}"))
    }

    fn field<T: redis::FromRedisValue>(
        &self,
        key: &str,
        field: impl redis::ToRedisArgs,
    ) -> Result<Option<T>> {
        let mut call = redis::cmd("HGET");
        call.arg(key).arg(field);
        self.pool.read("get an artifact", |connection| call.query(connection))
    }
}

impl ArtifactStore for RedisArtifactStore {
    fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        match self.get(&digest) {
            Ok(_) => return Ok(digest),
            Err(error) if error.is_not_found() || matches!(error, Error::Corrupt { .. }) => {}
            Err(error) => return Err(error),
        }
        let key = self.key(&digest);
        let n_pieces = bytes.len().div_ceil(PIECE).max(1);
        let mut whole = false;
        for place in 0..n_pieces {
            let piece = &bytes[place * PIECE..bytes.len().min((place + 1) * PIECE)];
            let mut call = PUT.key(&key);
            call.arg(n_pieces).arg(place).arg(piece).arg(UNFINISHED);
            // A second time is as good as once.
            whole = self.pool.read("put an artifact", |connection| call.invoke(connection))?;
        }
        if !whole {
            let reason = "the server forgot the first pieces before the last ones came";
            let source = io::Error::new(io::ErrorKind::Interrupted, reason);
            return Err(Error::io("put an artifact", key, source));
        }
        Ok(digest)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>> {
        let key = self.key(digest);
        let n_pieces: u64 = self
            .field(&key, "pieces")?
            .ok_or_else(|| Error::NotFound { kind: "artifact", id: digest.to_string() })?;
        let mut bytes = Vec::new();
        for place in 0..n_pieces {
            let piece: Option<Vec<u8>> = self.field(&key, place)?;
            bytes.extend(piece.ok_or_else(|| Error::corrupt(&*key, "a piece is missing"))?);
        }
        if Digest::of(&bytes) != *digest {
            return Err(Error::corrupt(key, "its content does not match its digest"));
        }
        Ok(bytes)
    }
}
