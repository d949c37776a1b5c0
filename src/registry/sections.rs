//! The container that an artifact is: named sections behind a table, sealed.
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
//! does not know it, and is written back by one that rewrites the file; any other unknown section makes the file
//! unreadable. The CRC-32s are for accidents and say where; the SHA-256 is for identity.

use crate::error::{Error, Result};
use crate::ids::Digest;

const MAGIC: [u8; 8] = *b"\x89RSKM\r\n\x1a";
const FORMAT: u16 = 1;
const HEADER: usize = 24;
const ENTRY: usize = 16;
const SEAL: usize = 32;
pub(super) const MAX_SECTIONS: usize = 64;

/// A section's name.
pub(super) type SectionId = [u8; 4];

pub(super) fn corrupt(reason: impl Into<String>) -> Error {
    Error::corrupt("artifact", reason)
}

pub(super) fn name(id: SectionId) -> String {
    String::from_utf8_lossy(&id).into_owned()
}

/// Whether a reader may skip the section.
pub(super) fn is_optional(id: SectionId) -> bool {
    id[0].is_ascii_lowercase()
}

/// The file of these sections, each named once.
pub(super) fn write(sections: &[(SectionId, &[u8])]) -> Vec<u8> {
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
    sections.iter().for_each(|(_, content)| bytes.extend(*content));
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

/// The sections of a file in its order, where all checksums fit and each one is `known` or optional and there once.
pub(super) fn read<'a>(bytes: &'a [u8], known: &[SectionId]) -> Result<Vec<(SectionId, &'a [u8])>> {
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
    let length = number(16, 8);
    if length != bytes.len() as u64 {
        return Err(corrupt(format!("it is {} bytes long and says {length}", bytes.len())));
    }
    let (table_end, end) = (HEADER + ENTRY * count, bytes.len() - SEAL);
    if count > MAX_SECTIONS || table_end > end {
        return Err(corrupt(format!("{count} sections cannot be")));
    }
    if u64::from(header_checksum(&bytes[..table_end])) != number(12, 4) {
        return Err(corrupt("its header is damaged"));
    }
    if Digest::of(&bytes[..end]).as_bytes()[..] != bytes[end..] {
        return Err(corrupt("its SHA-256 does not match its content"));
    }
    let mut sections: Vec<(SectionId, &[u8])> = Vec::with_capacity(count);
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
        if !known.contains(&id) && !is_optional(id) {
            return Err(corrupt(format!("section {} is not known to this version", name(id))));
        }
        if sections.iter().any(|(other, _)| *other == id) {
            return Err(corrupt(format!("section {} is there twice", name(id))));
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

    const META: SectionId = *b"META";
    const KNOWN: [SectionId; 2] = [META, *b"MODL"];

    #[test]
    fn sections_round_trip_and_optional_ones_may_be_unknown() {
        let long = vec![3; 70_000];
        let sections = [(META, &[1, 2][..]), (*b"note", &[]), (*b"MODL", &long)];
        assert_eq!(read(&write(&sections), &KNOWN).unwrap(), sections);
        let error = |sections: &[(SectionId, &[u8])]| {
            read(&write(sections), &KNOWN).unwrap_err().to_string()
        };
        assert!(error(&[(*b"MUST", &[])]).contains("section MUST is not known"));
        assert!(error(&[(*b"note", &[]), (*b"note", &[])]).contains("section note is there twice"));
    }

    #[test]
    fn every_truncation_and_every_flipped_bit_is_found() {
        let bytes = write(&[(META, b"meta"), (*b"MODL", b"model")]);
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end], &KNOWN).is_err(), "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(read(&flipped, &KNOWN).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn lengths_that_lie_under_repaired_checksums_are_refused() {
        for length in [0, 4, 6, u64::MAX, u64::MAX - 3] {
            let mut bytes = write(&[(META, b"meta!")]);
            bytes[HEADER + 8..HEADER + 16].copy_from_slice(&length.to_le_bytes());
            let checksum = header_checksum(&bytes[..HEADER + ENTRY]);
            bytes[12..16].copy_from_slice(&checksum.to_le_bytes());
            let end = bytes.len() - SEAL;
            let seal = Digest::of(&bytes[..end]);
            bytes[end..].copy_from_slice(seal.as_bytes());
            assert!(read(&bytes, &KNOWN).is_err(), "{length}");
        }
    }
}
