//! Bytes: the only module that calls bincode, and the little-endian reader for bulk numbers.
//!
//! bincode is for small, flat, versioned records inside our own envelopes, always limited. Bulk numbers do not go through
//! it, and nothing recursive is ever decoded by it: bincode 2.0.1 overflows the stack on
//! recursive types even with a limit. Without a limit nine hostile bytes make it ask for 8 TiB and abort the process.

use std::fmt;
use std::marker::PhantomData;

use serde::de::{DeserializeOwned, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use crate::error::{Error, Result};

/// What a record may claim while it is decoded, a text in it before its bytes are seen to be there: the least of these that
/// leaves room for a record of its length, in which a whole number may claim eight bytes and take one.
const SMALL: usize = 1 << 19;
const MEDIUM: usize = 1 << 24;
const LARGE: usize = 1 << 31;

pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(record, bincode::config::standard())
        .expect("plain records of numbers, strings and lists always encode")
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    let needed = bytes.len().saturating_mul(8);
    let decoded = if needed <= SMALL {
        decode_within::<T, SMALL>(bytes)
    } else if needed <= MEDIUM {
        decode_within::<T, MEDIUM>(bytes)
    } else {
        decode_within::<T, LARGE>(bytes)
    };
    match decoded {
        Ok((record, used)) if used == bytes.len() => Ok(record),
        Ok((_, used)) => {
            let rest = bytes.len() - used;
            Err(Error::corrupt(what, format!("{rest} bytes follow the record")))
        }
        Err(error) => Err(Error::corrupt(what, error.to_string())),
    }
}

fn decode_within<T: DeserializeOwned, const LIMIT: usize>(
    bytes: &[u8],
) -> std::result::Result<(T, usize), bincode::error::DecodeError> {
    bincode::serde::decode_from_slice(bytes, bincode::config::standard().with_limit::<LIMIT>())
}

/// A list that takes memory as its items come. serde's own takes up to a mebibyte for the number that is claimed, which
/// costs a hostile record four bytes.
pub(crate) fn modest<'de, D, T>(deserializer: D) -> std::result::Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Modest<T>(PhantomData<T>);

    impl<'de, T: Deserialize<'de>> Visitor<'de> for Modest<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(
            self,
            mut list: A,
        ) -> std::result::Result<Vec<T>, A::Error> {
            let mut items = Vec::new();
            while let Some(item) = list.next_element()? {
                items.push(item);
            }
            Ok(items)
        }
    }

    deserializer.deserialize_seq(Modest(PhantomData))
}

/// A list of texts as [`encode`] writes it, of which there may be `most`: their number is looked at before any memory is
/// taken for them, which is many times the bytes of short ones.
pub(crate) fn decode_texts(bytes: &[u8], most: usize, what: &str) -> Result<Vec<String>> {
    match decode_within::<u64, SMALL>(bytes).map(|(number, _)| number) {
        Ok(number) if number > most as u64 => {
            Err(Error::corrupt(what, format!("{number} names are more than {most}")))
        }
        Ok(_) => decode(bytes, what).map(|Texts(names)| names),
        Err(error) => Err(Error::corrupt(what, error.to_string())),
    }
}

#[derive(Deserialize)]
struct Texts(#[serde(deserialize_with = "modest")] Vec<String>);

/// Closes bytes that begin with a magic number, the version of their format in it: a CRC-32 of all before comes last.
pub(crate) fn seal(mut bytes: Vec<u8>) -> Vec<u8> {
    bytes.extend(crc32fast::hash(&bytes).to_le_bytes());
    bytes
}

/// What [`seal`] closed, behind the magic number.
///
/// # Errors
/// `Corrupt` for another magic number or checksum.
pub(crate) fn unseal<'a>(
    bytes: &'a [u8],
    magic: &[u8; 8],
    what: &'static str,
) -> Result<Reader<'a>> {
    let corrupt = |reason: &str| Error::corrupt(what, reason);
    let (body, sum) = bytes.split_last_chunk::<4>().ok_or_else(|| corrupt("ends too early"))?;
    let none = "is of another kind or of another version";
    let rest = body.strip_prefix(magic).ok_or_else(|| corrupt(none))?;
    if crc32fast::hash(body) != u32::from_le_bytes(*sum) {
        return Err(corrupt("has been changed (CRC-32)"));
    }
    Ok(Reader::new(what, rest))
}

/// Most that a counter read from bytes may hold. No counter gets this far; the bound keeps sums of what strangers wrote from
/// running over.
pub(crate) const MOST_COUNTED: u64 = 1 << 48;

/// Appends a block behind its length as a `u32`.
pub(crate) fn write_block(bytes: &mut Vec<u8>, block: &[u8]) {
    let length = u32::try_from(block.len()).expect("a block is a record of at most some megabytes");
    bytes.extend(length.to_le_bytes());
    bytes.extend(block);
}

/// Reads fixed-width little-endian numbers; running out of bytes is an error, never a panic.
pub(crate) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
}

impl<'a> Reader<'a> {
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Reader { what, bytes }
    }

    fn take<const N: usize>(&mut self) -> Result<[u8; N]> {
        let (head, rest) = self
            .bytes
            .split_first_chunk::<N>()
            .ok_or_else(|| Error::corrupt(self.what, "ends too early"))?;
        self.bytes = rest;
        Ok(*head)
    }

    pub(crate) fn u8(&mut self) -> Result<u8> {
        self.take().map(u8::from_le_bytes)
    }

    /// Bytes behind their number as a `u32`, as [`write_block`] writes them.
    pub(crate) fn block(&mut self) -> Result<&'a [u8]> {
        let length = self.u32()? as usize;
        let split = self.bytes.split_at_checked(length);
        let (block, rest) = split.ok_or_else(|| Error::corrupt(self.what, "ends too early"))?;
        self.bytes = rest;
        Ok(block)
    }

    /// Text behind its length in bytes as a `u32`.
    pub(crate) fn text(&mut self) -> Result<String> {
        let text = std::str::from_utf8(self.block()?);
        text.map(str::to_owned).map_err(|error| Error::corrupt(self.what, error.to_string()))
    }

    pub(crate) fn u32(&mut self) -> Result<u32> {
        self.take().map(u32::from_le_bytes)
    }

    pub(crate) fn i64(&mut self) -> Result<i64> {
        self.take().map(i64::from_le_bytes)
    }

    pub(crate) fn i128(&mut self) -> Result<i128> {
        self.take().map(i128::from_le_bytes)
    }

    pub(crate) fn u64(&mut self) -> Result<u64> {
        self.take().map(u64::from_le_bytes)
    }

    /// A counter, at most [`MOST_COUNTED`].
    pub(crate) fn count(&mut self) -> Result<u64> {
        match self.u64()? {
            count if count <= MOST_COUNTED => Ok(count),
            _ => Err(Error::corrupt(self.what, "a count is out of range")),
        }
    }

    /// A number of items that take `size` bytes or more each, of which so many may still follow.
    pub(crate) fn len(&mut self, size: usize) -> Result<usize> {
        let n = self.u32()? as usize;
        match self.bytes.len() / size < n {
            true => Err(Error::corrupt(self.what, "ends too early")),
            false => Ok(n),
        }
    }

    pub(crate) fn u128(&mut self) -> Result<u128> {
        self.take().map(u128::from_le_bytes)
    }

    pub(crate) fn f64(&mut self) -> Result<f64> {
        self.u64().map(f64::from_bits)
    }

    pub(crate) fn f64s(&mut self, n: usize) -> Result<Vec<f64>> {
        if self.bytes.len() / 8 < n {
            return Err(Error::corrupt(self.what, "ends too early"));
        }
        let mut numbers = Vec::with_capacity(n);
        for _ in 0..n {
            numbers.push(self.f64()?);
        }
        Ok(numbers)
    }

    pub(crate) fn bytes(&mut self, n: u64) -> Result<&'a [u8]> {
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        let parts = self.bytes.split_at_checked(n);
        let (head, rest) = parts.ok_or_else(|| Error::corrupt(self.what, "ends too early"))?;
        self.bytes = rest;
        Ok(head)
    }

    /// Bytes not read yet.
    pub(crate) fn remaining(&self) -> usize {
        self.bytes.len()
    }

    pub(crate) fn finish(self) -> Result<()> {
        match self.bytes.len() {
            0 => Ok(()),
            n => Err(Error::corrupt(self.what, format!("{n} bytes too many"))),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_bomb_trailing_bytes_and_truncation_are_refused() {
        let bomb = [0xfd, 0, 0, 0, 0, 0, 1, 0, 0]; // a string of 2^40 bytes
        assert!(decode::<String>(&bomb, "test").is_err());
        #[derive(serde::Deserialize)]
        struct List(#[serde(deserialize_with = "modest")] Vec<f64>);
        let claim = encode(&(1_u64 << 16));
        assert!(decode::<List>(&claim, "test").is_err());
        // A table of as many categories as there may be.
        let long = vec![0.5; 1 << 20];
        assert_eq!(decode::<List>(&encode(&long), "test").unwrap().0, long);
        let mut bytes = encode(&("champion".to_owned(), 3u32));
        assert!(decode::<(String, u32)>(&bytes, "test").is_ok());
        assert!(decode::<(String, u32)>(&bytes[..bytes.len() - 1], "test").is_err());
        bytes.push(0);
        assert!(decode::<(String, u32)>(&bytes, "test").is_err());
    }
}
