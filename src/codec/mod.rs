//! Bytes: the only module that calls bincode, and the little-endian reader for bulk numbers.
//!
//! bincode is for small, flat, versioned records inside our own envelopes. Bulk numbers do not go through it, and nothing
//! recursive is ever decoded by it: bincode 2.0.1 overflows the stack on recursive types. By itself it also takes memory for
//! whatever is claimed, so that nine hostile bytes make it ask for 8 TiB and abort the process, and its own limit counts
//! what is claimed, not what is taken. So it decodes behind a [deserializer](frugal) that charges a [`Budget`].

mod budget;
mod count;
mod frugal;

use std::marker::PhantomData;

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};
pub(crate) use budget::Budget;
use budget::OverBudget;
pub(crate) use count::{MOST_COUNTED, MOST_SUMMED, check_counts, check_sums, total};
use frugal::Frugal;
pub(crate) use frugal::exact;

/// More than any record of ours claims, of which a whole number claims eight bytes and may take one. What is allocated is
/// bounded by a [`Budget`].
const LIMIT: usize = 1 << 31;

pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(record, bincode::config::standard())
        .expect("plain records of numbers, strings and lists always encode")
}

/// A record that stands alone.
pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    decode_within(bytes, what, &Budget::new(bytes.len()))
}

/// A record that is part of something. What it holds is charged, lists and texts; its own size is not.
pub(crate) fn decode_within<T: DeserializeOwned>(
    bytes: &[u8],
    what: &str,
    budget: &Budget,
) -> Result<T> {
    let seed = Frugal { inner: PhantomData::<T>, budget };
    let config = bincode::config::standard().with_limit::<LIMIT>();
    match bincode::serde::seed_decode_from_slice(seed, bytes, config) {
        Ok((record, used)) if used == bytes.len() => Ok(record),
        Ok((_, used)) => {
            let rest = bytes.len() - used;
            Err(Error::corrupt(what, format!("{rest} bytes follow the record")))
        }
        Err(bincode::error::DecodeError::OtherString(reason)) => Err(Error::corrupt(what, reason)),
        Err(error) => Err(Error::corrupt(what, error.to_string())),
    }
}

/// A list of texts as [`encode`] writes it, of which there may be `most`.
pub(crate) fn decode_texts(
    bytes: &[u8],
    most: usize,
    what: &str,
    budget: &Budget,
) -> Result<Vec<String>> {
    // Their number stands first; whatever follows it is of no interest yet.
    match bincode::serde::decode_from_slice::<u64, _>(bytes, bincode::config::standard()) {
        Ok((number, _)) if number > most as u64 => {
            Err(Error::corrupt(what, format!("{number} names are more than {most}")))
        }
        Ok(_) => decode_within(bytes, what, budget).map(|Texts(names)| names),
        Err(error) => Err(Error::corrupt(what, error.to_string())),
    }
}

#[derive(serde::Deserialize)]
struct Texts(#[serde(deserialize_with = "exact")] Vec<String>);

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

/// Appends a block behind its length as a `u32`. The length of one beyond 4 GiB does not fit, and what is written of it is
/// refused when it is read: whoever keeps an artifact reads it first.
pub(crate) fn write_block(bytes: &mut Vec<u8>, block: &[u8]) {
    let length = u32::try_from(block.len()).unwrap_or(u32::MAX);
    bytes.extend(length.to_le_bytes());
    bytes.extend(block);
}

/// Reads fixed-width little-endian numbers; running out of bytes is an error, never a panic.
#[derive(Clone)]
pub(crate) struct Reader<'a> {
    what: &'static str,
    bytes: &'a [u8],
    budget: Option<&'a Budget>,
    /// All counts so far.
    counted: u64,
}

impl<'a> Reader<'a> {
    /// Reads what its caller bounds otherwise.
    pub(crate) fn new(what: &'static str, bytes: &'a [u8]) -> Self {
        Reader { what, bytes, budget: None, counted: 0 }
    }

    /// Charges what it makes of the bytes.
    pub(crate) fn within(what: &'static str, bytes: &'a [u8], budget: &'a Budget) -> Self {
        Reader { what, bytes, budget: Some(budget), counted: 0 }
    }

    /// Charges what the caller is about to take and keep.
    pub(crate) fn charge(&self, bytes: usize) -> Result<()> {
        self.checked(self.budget.map_or(Ok(()), |budget| budget.charge(bytes)))
    }

    /// Allows for what the caller is about to take and give back.
    pub(crate) fn lend(&self, bytes: usize) -> Result<()> {
        self.checked(self.budget.map_or(Ok(()), |budget| budget.lend(bytes)))
    }

    fn checked(&self, charged: std::result::Result<(), OverBudget>) -> Result<()> {
        charged.map_err(|over| Error::corrupt(self.what, over.to_string()))
    }

    /// Refuses `n` items of at least `bytes` bytes each if they cannot be there.
    pub(crate) fn expect(&self, n: usize, bytes: usize) -> Result<()> {
        if self.bytes.len() / bytes < n {
            return Err(Error::corrupt(self.what, "ends too early"));
        }
        Ok(())
    }

    /// `n` items one after the other, of at least `bytes` bytes each.
    pub(crate) fn list<T>(
        &mut self,
        n: usize,
        bytes: usize,
        mut item: impl FnMut(&mut Self) -> Result<T>,
    ) -> Result<Vec<T>> {
        self.expect(n, bytes)?;
        self.charge(n.saturating_mul(size_of::<T>()))?;
        let mut items = Vec::with_capacity(n);
        for _ in 0..n {
            items.push(item(self)?);
        }
        Ok(items)
    }

    /// A record in a block of its own.
    pub(crate) fn record<T: DeserializeOwned>(&mut self, what: &str) -> Result<T> {
        let block = self.block()?;
        match self.budget {
            Some(budget) => decode_within(block, what, budget),
            None => decode(block, what),
        }
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
    pub(crate) fn text(&mut self) -> Result<&'a str> {
        let text = std::str::from_utf8(self.block()?);
        text.map_err(|error| Error::corrupt(self.what, error.to_string()))
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

    /// A count: all of them together are at most [`MOST_COUNTED`].
    pub(crate) fn count(&mut self) -> Result<u64> {
        let count = self.u64()?;
        self.tally([count])?;
        Ok(count)
    }

    /// Takes in counts that were read another way.
    pub(crate) fn tally(&mut self, counts: impl IntoIterator<Item = u64>) -> Result<()> {
        self.counted = total(counts).saturating_add(self.counted);
        match self.counted <= MOST_COUNTED {
            true => Ok(()),
            false => Err(Error::corrupt(self.what, "its counts are out of range")),
        }
    }

    /// A sum that may have a sign, at most [`MOST_SUMMED`] away from zero.
    pub(crate) fn sum(&mut self) -> Result<i64> {
        match self.i64()? {
            sum if sum.unsigned_abs() <= MOST_SUMMED => Ok(sum),
            _ => Err(Error::corrupt(self.what, "a sum is out of range")),
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
        self.list(n, 8, Self::f64)
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
        struct List(#[serde(deserialize_with = "exact")] Vec<f64>);
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
