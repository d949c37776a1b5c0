//! What monitors counted, as one value: merge it, send it.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use super::board::Finding;
use super::found::findings;
use super::outcome::{OutcomeConfig, OutcomeLedger};
use super::traffic::{Traffic, TrafficStats};
use super::{MonitorConfig, check_bucket, start};
use crate::codec::{self, Reader};
use crate::error::{Error, Result};
use crate::ids::ModelRef;
use crate::time::{Timestamp, days, micros};

/// What a [`Monitor`](super::Monitor) counted: traffic by version and bucket, predictions and labels by version and day.
/// Those of several processes [merge](Self::merge), in any order and grouping, into what one process would have counted,
/// bit for bit. Predictions that wait for their label stay where they were made, and so must their labels arrive there.
#[derive(Debug, Clone, PartialEq)]
pub struct MonitorCounts {
    bucket: Duration,
    outcomes: OutcomeConfig,
    /// By version and start of the bucket, those with requests.
    traffic: BTreeMap<(ModelRef, Timestamp), TrafficStats>,
    ledgers: BTreeMap<ModelRef, OutcomeLedger>,
}

const WHAT: &str = "monitor counts";
const MAGIC: &[u8; 8] = b"RCMONC\x00\x01";

impl MonitorCounts {
    pub(super) fn new(
        config: &MonitorConfig,
        traffic: &Traffic,
        ledgers: BTreeMap<ModelRef, OutcomeLedger>,
        now: Timestamp,
    ) -> Self {
        let MonitorConfig { bucket, outcomes, .. } = *config;
        let mut counts = MonitorCounts { bucket, outcomes, traffic: BTreeMap::new(), ledgers };
        let end = start(now, bucket);
        // No traffic is remembered of what lies before.
        let mut from = start(now.minus(days(30)), bucket);
        while from < end {
            for model in counts.ledgers.keys() {
                let stats = traffic.stats(Some(model), None, from..from.plus(bucket));
                if stats.count > 0 {
                    counts.traffic.insert((model.clone(), from), stats);
                }
            }
            from = from.plus(bucket);
        }
        counts
    }

    /// Adds what another process counted.
    ///
    /// # Errors
    /// `InvalidInput` for counts by other buckets or with other parameters of outcomes, or if all counts of both add up to more
    /// than 2⁶⁰; nothing has changed then.
    pub fn merge(&mut self, other: &MonitorCounts) -> Result<()> {
        if (self.bucket, self.outcomes) != (other.bucket, other.outcomes) {
            return Err(Error::input(WHAT, "they were counted with other parameters"));
        }
        codec::check_counts(WHAT, self.counted(), other.counted())?;
        for (key, stats) in &other.traffic {
            self.traffic.entry(key.clone()).or_default().merge(stats);
        }
        for (model, theirs) in &other.ledgers {
            match self.ledgers.get_mut(model) {
                Some(mine) => mine.merge(theirs)?,
                None => drop(self.ledgers.insert(model.clone(), theirs.clone())),
            }
        }
        Ok(())
    }

    /// All counts together.
    fn counted(&self) -> u64 {
        let traffic = self.traffic.values().map(TrafficStats::counted);
        codec::total(traffic.chain(self.ledgers.values().map(OutcomeLedger::counted)))
    }

    /// What was answered within a range of whole buckets, by one version or by all.
    pub fn traffic(&self, model: Option<&ModelRef>, range: &Range<Timestamp>) -> TrafficStats {
        let mut sum = TrafficStats::default();
        for ((of, at), stats) in &self.traffic {
            if model.is_none_or(|model| model == of) && range.contains(at) {
                sum.merge(stats);
            }
        }
        sum
    }

    /// What predictions and labels of each version came to.
    pub fn outcomes(&self) -> &BTreeMap<ModelRef, OutcomeLedger> {
        &self.ledgers
    }

    /// What [`Monitor::tick`](super::Monitor::tick) tells at `now`, had it been the first, where one monitor has counted all
    /// of this. Of `config` the delays of labels count; it must have the buckets that these were counted by.
    ///
    /// # Errors
    /// `InvalidInput` for other buckets.
    pub fn findings(&self, config: &MonitorConfig, now: Timestamp) -> Result<Vec<Finding>> {
        if config.bucket != self.bucket {
            return Err(Error::input(WHAT, "they were counted by other buckets"));
        }
        let first = self.ledgers.values().filter_map(OutcomeLedger::first_day).min();
        let Some(mut told) = first else { return Ok(Vec::new()) };
        let mut judged = told;
        let traffic = |model: &ModelRef, bucket: &Range<Timestamp>| {
            let stats = self.traffic.get(&(model.clone(), bucket.start));
            stats.cloned().unwrap_or_default()
        };
        Ok(findings(&self.ledgers, traffic, (&mut told, &mut judged), now, config).0)
    }

    /// Bytes for another process: a magic number with the version of the format, the counts in little-endian order, a
    /// CRC-32. The same counts give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(micros(self.bucket).to_le_bytes());
        bytes.extend((self.outcomes.max_delay as u32).to_le_bytes());
        bytes.extend(self.outcomes.min_share.to_bits().to_le_bytes());
        let version = |bytes: &mut Vec<u8>, model: &ModelRef| {
            codec::write_block(bytes, model.name.as_bytes());
            bytes.extend(model.version.to_le_bytes());
        };
        bytes.extend((self.traffic.len() as u32).to_le_bytes());
        for ((model, at), stats) in &self.traffic {
            version(&mut bytes, model);
            bytes.extend(at.micros().to_le_bytes());
            stats.write(&mut bytes);
        }
        bytes.extend((self.ledgers.len() as u32).to_le_bytes());
        for (model, ledger) in &self.ledgers {
            version(&mut bytes, model);
            ledger.write(&mut bytes);
        }
        codec::seal(bytes)
    }

    /// What [`to_bytes`](Self::to_bytes) made these bytes of. Allocates in proportion to the bytes, and to the longest delay
    /// for each day with a report.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let corrupt = |reason: &str| Error::corrupt(WHAT, reason);
        let reader = &mut codec::unseal(bytes, MAGIC, WHAT)?;
        let bucket = Duration::from_micros(reader.u64()?);
        let (max_delay, min_share) = (reader.u32()? as usize, reader.f64()?);
        let outcomes = OutcomeConfig { max_delay, min_share };
        let parameters = check_bucket(bucket).and_then(|()| outcomes.check());
        parameters.map_err(|error| corrupt(&error.to_string()))?;
        let version = |reader: &mut Reader<'_>| {
            let name = reader.text()?;
            Ok::<_, Error>(ModelRef { name: name.into(), version: reader.u32()? })
        };
        let mut traffic = BTreeMap::new();
        for _ in 0..reader.len(16)? {
            let key = (version(reader)?, Timestamp::from_micros(reader.i64()?));
            traffic.insert(key, TrafficStats::read(reader)?);
        }
        let mut ledgers = BTreeMap::new();
        for _ in 0..reader.len(8)? {
            let model = version(reader)?;
            ledgers.insert(model, OutcomeLedger::read(outcomes, reader)?);
        }
        let counts = MonitorCounts { bucket, outcomes, traffic, ledgers };
        // Also where something is there twice, out of order, or follows the end.
        match counts.to_bytes() == bytes {
            true => Ok(counts),
            false => Err(corrupt("are not as such counts are written")),
        }
    }
}
