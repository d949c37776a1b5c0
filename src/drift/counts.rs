//! What live rows came to on the cells of a reference, as one value: merge it, send it, judge it.

use super::config::DriftConfig;
use super::profile::{Counts, ReferenceProfile};
use super::report::DriftReport;
use crate::codec::{self, Reader};
use crate::error::{Error, Result};
use crate::ids::Digest;
use crate::time::Timestamp;

/// What a [`DriftWindow`](super::DriftWindow) counted in a stretch of time. Those of several processes on the same reference
/// [merge](Self::merge), in any order and grouping, into what one process would have counted, bit for bit; and so do those of
/// adjoining stretches.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DriftCounts {
    /// Of the reference.
    pub(super) reference: Digest,
    pub(super) from: Timestamp,
    pub(super) to: Timestamp,
    /// What was counted in each segment, and last in none of them.
    pub(super) segments: Vec<Live>,
}

/// What was counted in one segment.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Live {
    /// Cells of all columns.
    pub(super) counts: Counts,
    /// Values outside the reference's range, per feature.
    pub(super) outside: Vec<u64>,
    pub(super) labels: u64,
    pub(super) labels_bad: u64,
}

const WHAT: &str = "drift counts";
const MAGIC: &[u8; 8] = b"RCDRFT\x00\x01";

impl DriftCounts {
    /// Adds what another process counted, or the same one in another stretch; the stretch is from the first start to the last
    /// end then.
    ///
    /// # Errors
    /// `InvalidInput` for counts on another reference, or if all counts of both add up to more than 2⁶⁰; nothing has changed
    /// then.
    pub fn merge(&mut self, other: &DriftCounts) -> Result<()> {
        let shape = |counts: &DriftCounts| -> Vec<(usize, usize)> {
            counts.segments.iter().map(|of| (of.counts.cells.len(), of.outside.len())).collect()
        };
        if self.reference != other.reference || shape(self) != shape(other) {
            return Err(Error::input(WHAT, "they were counted on another reference"));
        }
        codec::check_counts(WHAT, self.counted(), other.counted())?;
        self.from = self.from.min(other.from);
        self.to = self.to.max(other.to);
        for (mine, theirs) in self.segments.iter_mut().zip(&other.segments) {
            mine.merge(theirs);
        }
        Ok(())
    }

    /// All counts together.
    fn counted(&self) -> u64 {
        codec::total(self.segments.iter().flat_map(Live::all))
    }

    /// Rows that were counted.
    pub fn n_rows(&self) -> u64 {
        self.segments.iter().map(|of| of.counts.rows).sum()
    }

    /// The drift of what was counted, `None` for no row: as [`DriftWindow::finish`](super::DriftWindow::finish).
    ///
    /// # Errors
    /// `InvalidInput` for another reference than they were counted on; `InvalidConfig` for thresholds out of range.
    pub fn report(
        &self,
        reference: &ReferenceProfile,
        config: &DriftConfig,
    ) -> Result<Option<DriftReport>> {
        config.check()?;
        let (n_cells, n_features) = (reference.n_cells(), reference.schema().n_features());
        let fits = |of: &Live| of.counts.cells.len() == n_cells && of.outside.len() == n_features;
        if self.reference != reference.digest()
            || self.segments.len() != reference.segments.len() + 1
            || !self.segments.iter().all(fits)
        {
            return Err(Error::input(WHAT, "they were counted on another reference"));
        }
        Ok(DriftReport::new(reference, config, &self.segments, self.from, self.to))
    }

    /// Bytes for another process: a magic number with the version of the format, the counts in little-endian order, a
    /// CRC-32. The same counts give the same bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend(self.reference.as_bytes());
        bytes.extend([self.from, self.to].iter().flat_map(|at| at.micros().to_le_bytes()));
        bytes.extend((self.segments.len() as u32).to_le_bytes());
        for Live { counts, outside, labels, labels_bad } in &self.segments {
            for list in [&counts.cells, outside] {
                bytes.extend((list.len() as u32).to_le_bytes());
                bytes.extend(list.iter().flat_map(|count| count.to_le_bytes()));
            }
            let rest = [counts.rows, *labels, *labels_bad];
            bytes.extend(rest.iter().flat_map(|count| count.to_le_bytes()));
        }
        codec::seal(bytes)
    }

    /// What [`to_bytes`](Self::to_bytes) made these bytes of. Allocates in proportion to the bytes.
    ///
    /// # Errors
    /// `Corrupt` for anything else.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let reader = &mut codec::unseal(bytes, MAGIC, WHAT)?;
        let digest = reader.bytes(32)?.try_into().expect("32 bytes were asked for");
        let moment = |reader: &mut Reader<'_>| reader.i64().map(Timestamp::from_micros);
        let (from, to) = (moment(reader)?, moment(reader)?);
        let n = reader.len(32)?;
        let segments = (0..n).map(|_| Live::read(reader)).collect::<Result<Vec<_>>>()?;
        if reader.remaining() > 0 {
            return Err(Error::corrupt(WHAT, "go on behind their end"));
        }
        Ok(DriftCounts { reference: Digest::from_bytes(digest), from, to, segments })
    }
}

impl Live {
    /// All counts.
    fn all(&self) -> impl Iterator<Item = u64> {
        let rest = [self.counts.rows, self.labels, self.labels_bad];
        self.counts.cells.iter().chain(&self.outside).copied().chain(rest)
    }

    pub(super) fn merge(&mut self, other: &Live) {
        self.counts.rows += other.counts.rows;
        self.counts.bad += other.counts.bad;
        self.labels += other.labels;
        self.labels_bad += other.labels_bad;
        let pairs =
            [(&mut self.counts.cells, &other.counts.cells), (&mut self.outside, &other.outside)];
        for (mine, theirs) in pairs {
            mine.resize(theirs.len(), 0);
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        }
    }

    fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let list = |reader: &mut Reader<'_>| {
            let n = reader.len(8)?;
            (0..n).map(|_| reader.count()).collect::<Result<Vec<u64>>>()
        };
        let (cells, outside) = (list(reader)?, list(reader)?);
        let (rows, labels, labels_bad) = (reader.count()?, reader.count()?, reader.count()?);
        let counts = Counts { cells, rows, bad: labels_bad };
        Ok(Live { counts, outside, labels, labels_bad })
    }
}
