//! Statistics of a process as bytes for another.

use serde::{Deserialize, Serialize};

use crate::codec;
use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::serve::stats::{N_COUNTS, ServiceStats, ServingStats, WHAT};
use crate::stats::{LatencyHistogram, ScoreHistogram};

const MAGIC: &[u8; 8] = b"RSKSRV\x01\n";

/// What is written of a version; another version of it, another magic.
#[derive(Serialize, Deserialize)]
struct Written {
    slot: String,
    version: ModelRef,
    /// In the order of [`ServingStats::counts`].
    counts: [u64; N_COUNTS],
    scores: (Vec<u64>, u128),
    /// Buckets that are not empty.
    latencies: Vec<(u32, u64)>,
    latency_max: u64,
    latency_nanos: u128,
}

impl ServiceStats {
    /// Bytes for another process: a magic number with the version of the format, a block per slot and version, a CRC-32.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        for (slot, versions) in &self.slots {
            for (version, stats) in versions {
                let written = Written::of(slot, version, stats);
                codec::write_block(&mut bytes, &codec::encode(&written));
            }
        }
        codec::seal(bytes)
    }

    /// What [`to_bytes`](Self::to_bytes) made these bytes of. Allocates in proportion to the bytes.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let corrupt = |reason: &str| Error::corrupt(WHAT, reason);
        let (mut reader, mut stats) = (codec::unseal(bytes, MAGIC, WHAT)?, ServiceStats::default());
        while reader.remaining() > 0 {
            let written: Written = reader.record(WHAT)?;
            reader.tally(written.counted())?;
            let (slot, version, read) =
                written.read().ok_or_else(|| corrupt("a histogram cannot be"))?;
            if stats.slots.entry(slot).or_default().insert(version, read).is_some() {
                return Err(corrupt("a version is there twice"));
            }
        }
        Ok(stats)
    }
}

impl Written {
    fn of(slot: &str, version: &ModelRef, stats: &ServingStats) -> Self {
        let (bins, steps) = stats.scores.parts();
        let latencies = (0..).zip(stats.latency.counts()).filter(|(_, count)| **count > 0);
        Written {
            slot: slot.to_owned(),
            version: version.clone(),
            counts: stats.counts(),
            scores: (bins.to_vec(), steps),
            latencies: latencies.map(|(bucket, count)| (bucket, *count)).collect(),
            latency_max: stats.latency.max(),
            latency_nanos: stats.latency_nanos,
        }
    }

    fn counted(&self) -> impl Iterator<Item = u64> {
        let latencies = self.latencies.iter().map(|(_, count)| count);
        self.counts.iter().chain(&self.scores.0).chain(latencies).copied()
    }

    /// `None` for histograms that cannot be.
    fn read(self) -> Option<(String, ModelRef, ServingStats)> {
        let mut latencies = vec![0; LatencyHistogram::default().counts().len()];
        for (bucket, count) in self.latencies {
            *latencies.get_mut(bucket as usize)? = count;
        }
        let latency = LatencyHistogram::from_counts(latencies, self.latency_max)?;
        if self.latency_nanos > u128::from(latency.count()) * u128::from(latency.max()) {
            return None;
        }
        let mut stats = ServingStats {
            scores: ScoreHistogram::from_parts(&self.scores.0, self.scores.1)?,
            latency,
            latency_nanos: self.latency_nanos,
            ..ServingStats::default()
        };
        let counts = stats.counts_mut().into_iter().zip(self.counts);
        counts.for_each(|(count, written)| *count = written);
        Some((self.slot, self.version, stats))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::stats::tests::stats;

    #[test]
    fn every_truncation_and_every_flipped_bit_is_found() {
        let bytes = stats().to_bytes();
        for end in 0..bytes.len() {
            assert!(ServiceStats::from_bytes(&bytes[..end]).is_err());
        }
        for bit in 0..8 * bytes.len() {
            let mut broken = bytes.clone();
            broken[bit / 8] ^= 1 << (bit % 8);
            assert!(ServiceStats::from_bytes(&broken).is_err());
        }
    }

    #[test]
    fn blocks_that_lie_under_a_repaired_checksum_are_refused() {
        let stats = stats();
        let (version, of) = stats.slots["cards"].iter().next().unwrap();
        let with = |change: fn(&mut Written)| {
            let mut written = Written::of("cards", version, of);
            change(&mut written);
            let mut bytes = MAGIC.to_vec();
            codec::write_block(&mut bytes, &codec::encode(&written));
            ServiceStats::from_bytes(&codec::seal(bytes))
        };
        assert!(with(|_| ()).is_ok());
        assert!(with(|w| w.latencies.push((u32::MAX, 1))).is_err());
        assert!(with(|w| w.latencies.extend([(1, u64::MAX), (2, u64::MAX)])).is_err());
        assert!(with(|w| w.scores.1 = u128::MAX).is_err());
        assert!(with(|w| w.scores.0.truncate(3)).is_err());
        assert!(with(|w| w.latency_nanos = 701).is_err());
    }
}
