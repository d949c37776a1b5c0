//! The artifact: a model and everything needed to use it, in one self-contained file.
//!
//! ```text
//!  0   8  magic 89 'R' 'S' 'K' 'M' 0D 0A 1A
//!  8   2  format version (1)          10   2  number of sections, at most 64
//! 12   4  CRC-32 over [0, 12), [16, 24) and the section table
//! 16   8  length of the whole file
//! 24  16n section table: id[4], CRC-32 of the section, length u64
//!  …      sections, one after the other in the table's order
//! end-32  SHA-256 over everything before
//! ```
//! All numbers are little endian. A section whose id starts with a lower-case letter may be skipped by a reader that
//! does not know it; any other unknown section makes the file unreadable.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::codec::{self, Reader};
use crate::error::{Error, Result};
use crate::ids::Digest;
use crate::model::{Model, ModelCodecs};
use crate::schema::{FeatureKind, FeatureSchema};
use crate::time::Timestamp;
use crate::train::{TrainingRecord, TrainingRun};

const MAGIC: [u8; 8] = *b"\x89RSKM\r\n\x1a";
const FORMAT: u16 = 1;
const HEADER: usize = 24;
const ENTRY: usize = 16;
const SEAL: usize = 32;
const MAX_SECTIONS: usize = 64;

const META: [u8; 4] = *b"META";
const SCHEMA: [u8; 4] = *b"SCHM";
/// Kinds of the columns; only where one of them is not numeric.
const KINDS: [u8; 4] = *b"KIND";
const MODEL: [u8; 4] = *b"MODL";

/// A model with its name, origin, decision threshold and training record. The same artifact has the same bytes on every
/// machine, and the SHA-256 of the bytes is its identity.
#[derive(Debug, Clone)]
pub struct Artifact {
    /// Name that versions are counted under.
    pub name: String,
    /// Who made it.
    pub author: String,
    /// When it was made, as the maker's clock says.
    pub created: Timestamp,
    /// Scores at or above it ask for a review.
    pub threshold: f64,
    /// How it was trained.
    pub training: TrainingRecord,
    /// The model.
    pub model: Arc<dyn Model>,
}

/// The META section. bincode cannot add a field to a struct, so a change to anything in here, `TrainingRecord` included,
/// is a new variant behind the last.
#[derive(Serialize, Deserialize)]
enum Meta {
    V1 {
        name: String,
        author: String,
        created: Timestamp,
        kind: String,
        threshold: f64,
        training: TrainingRecord,
    },
}

impl Artifact {
    /// The artifact of a training run.
    pub fn new(
        name: &str,
        author: &str,
        created: Timestamp,
        threshold: f64,
        run: TrainingRun,
    ) -> Self {
        let (name, author) = (name.to_owned(), author.to_owned());
        Artifact { name, author, created, threshold, training: run.record, model: run.model }
    }

    /// The artifact's bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let meta = Meta::V1 {
            name: self.name.clone(),
            author: self.author.clone(),
            created: self.created,
            kind: self.model.kind().to_owned(),
            threshold: self.threshold,
            training: self.training.clone(),
        };
        let schema = self.model.schema();
        let mut sections =
            vec![(META, codec::encode(&meta)), (SCHEMA, codec::encode(&schema.names()))];
        if !schema.all_numeric() {
            let mut kinds = Vec::new();
            schema.kinds().iter().for_each(|kind| kind.write(&mut kinds));
            sections.push((KINDS, kinds));
        }
        sections.push((MODEL, self.model.to_bytes()));
        write_sections(&sections)
    }

    /// The artifact from its bytes, which may be hostile. Memory stays within a small multiple of their length.
    ///
    /// # Errors
    /// `Corrupt` saying what is wrong, `NotFound` for a kind of model without a decoder.
    pub fn from_bytes(bytes: &[u8], codecs: &ModelCodecs) -> Result<Self> {
        let sections = read_sections(bytes)?;
        let section = |id: [u8; 4]| {
            let mut found = sections.iter().filter(|(other, _)| *other == id);
            match (found.next(), found.next()) {
                (Some((_, content)), None) => Ok(*content),
                (None, _) => Err(corrupt(format!("section {} is missing", name(id)))),
                _ => Err(corrupt(format!("section {} is there twice", name(id)))),
            }
        };
        let Meta::V1 { name, author, created, kind, threshold, training } =
            codec::decode(section(META)?, "artifact section META")?;
        let names: Vec<String> = codec::decode(section(SCHEMA)?, "artifact section SCHM")?;
        let mut kinds = vec![FeatureKind::Numeric; names.len()];
        if sections.iter().any(|(id, _)| *id == KINDS) {
            let mut reader = Reader::new("artifact section KIND", section(KINDS)?);
            for kind in &mut kinds {
                *kind = FeatureKind::read(&mut reader)?;
            }
            reader.finish()?;
        }
        let schema = FeatureSchema::with_kinds(names.into_iter().zip(kinds))
            .map_err(|error| corrupt(error.to_string()))?;
        if threshold.is_nan() {
            return Err(corrupt("the threshold is not a number"));
        }
        let model = codecs.decode(&kind, schema, section(MODEL)?)?;
        Ok(Artifact { name, author, created, threshold, training, model })
    }
}

fn corrupt(reason: impl Into<String>) -> Error {
    Error::corrupt("artifact", reason)
}

fn name(id: [u8; 4]) -> String {
    String::from_utf8_lossy(&id).into_owned()
}

fn write_sections(sections: &[([u8; 4], Vec<u8>)]) -> Vec<u8> {
    let content: usize = sections.iter().map(|(_, content)| content.len()).sum();
    let length = HEADER + ENTRY * sections.len() + content + SEAL;
    let mut bytes = Vec::with_capacity(length);
    bytes.extend(MAGIC);
    bytes.extend(FORMAT.to_le_bytes());
    bytes.extend((sections.len() as u16).to_le_bytes());
    bytes.extend([0; 4]); // the checksum, below
    bytes.extend((length as u64).to_le_bytes());
    for (id, content) in sections {
        bytes.extend(id);
        bytes.extend(crc32fast::hash(content).to_le_bytes());
        bytes.extend((content.len() as u64).to_le_bytes());
    }
    let checksum = header_checksum(&bytes);
    bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
    sections.iter().for_each(|(_, content)| bytes.extend(content));
    let seal = Digest::of(&bytes);
    bytes.extend(seal.as_bytes());
    bytes
}

fn header_checksum(header_and_table: &[u8]) -> u32 {
    let mut checksum = crc32fast::Hasher::new();
    checksum.update(&header_and_table[..12]);
    checksum.update(&header_and_table[16..]);
    checksum.finalize()
}

fn read_sections(bytes: &[u8]) -> Result<Vec<([u8; 4], &[u8])>> {
    let number = |at: usize, n: usize| {
        let mut wide = [0; 8];
        wide[..n].copy_from_slice(&bytes[at..at + n]);
        u64::from_le_bytes(wide)
    };
    if bytes.len() < HEADER + SEAL {
        return Err(corrupt(format!("{} bytes are too few", bytes.len())));
    }
    if bytes[..8] != MAGIC {
        return Err(corrupt("it does not start as one"));
    }
    let (format, count) = (number(8, 2), number(10, 2) as usize);
    if format != u64::from(FORMAT) {
        return Err(corrupt(format!("format {format} is not known to this version")));
    }
    if number(16, 8) != bytes.len() as u64 {
        return Err(corrupt(format!(
            "it is {} bytes long and says {}",
            bytes.len(),
            number(16, 8)
        )));
    }
    let (table_end, end) = (HEADER + ENTRY * count, bytes.len() - SEAL);
    if count > MAX_SECTIONS || table_end > end {
        return Err(corrupt(format!("{count} sections cannot be")));
    }
    if header_checksum(&bytes[..table_end]) as u64 != number(12, 4) {
        return Err(corrupt("its header is damaged"));
    }
    if Digest::of(&bytes[..end]).as_bytes()[..] != bytes[end..] {
        return Err(corrupt("its SHA-256 does not match its content"));
    }
    let mut sections = Vec::with_capacity(count);
    let mut rest = &bytes[table_end..end];
    for entry in bytes[HEADER..table_end].chunks_exact(ENTRY) {
        let (id, checksum) = ([entry[0], entry[1], entry[2], entry[3]], &entry[4..8]);
        let length = u64::from_le_bytes(entry[8..16].try_into().expect("eight bytes"));
        let split = usize::try_from(length).ok().and_then(|length| rest.split_at_checked(length));
        let Some((content, behind)) = split else {
            return Err(corrupt(format!("section {} ends too late", name(id))));
        };
        if crc32fast::hash(content).to_le_bytes() != checksum {
            return Err(corrupt(format!("section {} is damaged", name(id))));
        }
        if ![META, SCHEMA, KINDS, MODEL].contains(&id) && !id[0].is_ascii_lowercase() {
            return Err(corrupt(format!("section {} is not known to this version", name(id))));
        }
        sections.push((id, content));
        rest = behind;
    }
    match rest.len() {
        0 => Ok(sections),
        n => Err(corrupt(format!("{n} bytes belong to no section"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sections_round_trip_and_optional_ones_may_be_unknown() {
        let sections = [(META, vec![1, 2]), (*b"note", vec![]), (MODEL, vec![3; 70_000])];
        let bytes = write_sections(&sections);
        let read = read_sections(&bytes).unwrap();
        assert!(read.iter().zip(&sections).all(|(a, b)| a.0 == b.0 && a.1 == b.1));
        let unknown = write_sections(&[(*b"MUST", vec![])]);
        assert!(read_sections(&unknown).unwrap_err().to_string().contains("section MUST"));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_found() {
        let bytes = write_sections(&[(META, b"meta".to_vec()), (MODEL, b"model".to_vec())]);
        for end in 0..bytes.len() {
            assert!(read_sections(&bytes[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read_sections(&flipped).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn lengths_that_lie_under_repaired_checksums_are_refused() {
        for length in [0, 4, 6, u64::MAX, u64::MAX - 3] {
            let mut bytes = write_sections(&[(META, b"meta!".to_vec())]);
            bytes[HEADER + 8..HEADER + 16].copy_from_slice(&length.to_le_bytes());
            let checksum = header_checksum(&bytes[..HEADER + ENTRY]);
            bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
            let end = bytes.len() - SEAL;
            let seal = Digest::of(&bytes[..end]);
            bytes[end..].copy_from_slice(seal.as_bytes());
            assert!(read_sections(&bytes).is_err(), "{length}");
        }
    }
}
