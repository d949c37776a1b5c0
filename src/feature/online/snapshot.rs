//! Live state as bytes, and back.

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::feature::ever_bad::BadTable;
use crate::feature::history::KeyHistory;
use crate::feature::online::{N_SHARDS, OnlineFeatures, Shard, lock};
use crate::ids::{Digest, EntityKey};
use crate::time::micros;

const MAGIC: &[u8] = b"riskcycle features 2\n";

impl<E> OnlineFeatures<E> {
    /// All state as bytes, bound to the definition, the same for the same state whatever the order of keys. Events that
    /// are observed meanwhile are in it or not, each key as a whole; stop them for a consistent cut.
    pub fn snapshot(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.plan.set().fingerprint().as_bytes());
        bytes.extend(micros(self.config.max_lateness).to_le_bytes());
        for stream in &self.streams {
            for shard in &stream.shards {
                let shard = lock(shard);
                bytes.extend((shard.histories.len() as u64).to_le_bytes());
                let mut keys: Vec<&EntityKey> = shard.histories.keys().collect();
                keys.sort_unstable();
                for key in keys {
                    bytes.extend(key.0.to_le_bytes());
                    shard.histories[key].write(&mut bytes);
                }
            }
        }
        self.bad_tables.iter().for_each(|table| table.write(&mut bytes));
        let seal = Digest::of(&bytes);
        bytes.extend(seal.as_bytes());
        bytes
    }

    /// Replaces all state by that of a snapshot; a run goes on from there as if it had never stopped.
    ///
    /// # Errors
    /// `Corrupt` for bytes that are no sound snapshot; `Conflict` for one of another definition, or of a smaller
    /// `max_lateness`, which lacks events that may still be needed. State stays as it was.
    pub fn restore(&self, snapshot: &[u8]) -> Result<()> {
        let corrupt = |reason: &str| Error::corrupt("feature snapshot", reason);
        let (content, seal) = snapshot
            .split_last_chunk::<32>()
            .filter(|(content, _)| content.len() >= MAGIC.len() + 32)
            .ok_or_else(|| corrupt("is too short"))?;
        if Digest::of(content).as_bytes() != seal {
            return Err(corrupt("its SHA-256 does not match its content"));
        }
        let (head, body) = content.split_at(MAGIC.len() + 32);
        if !head.starts_with(MAGIC) {
            return Err(corrupt("does not start as one"));
        }
        if head[MAGIC.len()..] != self.plan.set().fingerprint().as_bytes()[..] {
            let (id, reason) = (self.plan.set().name().to_owned(), "it is of another definition");
            return Err(Error::Conflict { kind: "feature snapshot", id, reason: reason.into() });
        }
        let mut reader = Reader::new("feature snapshot", body);
        if reader.i64()? < micros(self.config.max_lateness) {
            let (id, reason) =
                (self.plan.set().name().to_owned(), "it is of a smaller max_lateness");
            return Err(Error::Conflict { kind: "feature snapshot", id, reason: reason.into() });
        }
        let mut restored = Vec::new();
        for plan in &self.plan.streams {
            for _ in 0..N_SHARDS {
                let mut shard = Shard::default();
                for _ in 0..reader.u64()? {
                    let key = EntityKey(reader.u64()?);
                    let history = KeyHistory::read_bytes(plan, &mut reader)?;
                    shard.histories.insert(key, Box::new(history));
                }
                restored.push(shard);
            }
        }
        let tables = self.plan.bad_tables.iter();
        let tables = tables.map(|table| BadTable::read_bytes(*table, &mut reader));
        let tables = tables.collect::<Result<Vec<_>>>()?;
        reader.finish()?;
        let shards = self.streams.iter().flat_map(|stream| &stream.shards);
        shards.zip(restored).for_each(|(shard, restored)| *lock(shard) = restored);
        self.bad_tables.iter().zip(tables).for_each(|(table, restored)| table.replace(restored));
        Ok(())
    }
}
