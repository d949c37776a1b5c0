//! A reader of Universal Binary JSON as far as XGBoost writes it: every value behind a byte that says its type, numbers
//! big endian, arrays of one type with that byte once in front.
//!
//! Bytes may be hostile: nesting is limited, no count is believed beyond the bytes that are there, and elements that take
//! no bytes are refused in arrays of one type, where a short file could claim 2⁶³ of them.

use std::fmt;

use serde::de::{self, DeserializeOwned, DeserializeSeed, MapAccess, SeqAccess, Visitor};

/// Containers within containers; XGBoost needs 7.
const MAX_DEPTH: usize = 32;

/// Reads one value that takes up all bytes.
pub(super) fn from_slice<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, UbjsonError> {
    let mut reader = Reader { bytes, depth: 0 };
    let marker = reader.byte()?;
    let value = T::deserialize(Value { reader: &mut reader, marker })?;
    match reader.bytes.len() {
        0 => Ok(value),
        n => Err(malformed(format!("{n} bytes too many"))),
    }
}

/// Why bytes could not be read.
#[derive(Debug)]
pub(super) enum UbjsonError {
    /// They are not UBJSON.
    Malformed(String),
    /// They are, but do not say what was expected.
    Unexpected(String),
}

fn malformed(reason: impl Into<String>) -> UbjsonError {
    UbjsonError::Malformed(reason.into())
}

impl fmt::Display for UbjsonError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            UbjsonError::Malformed(reason) | UbjsonError::Unexpected(reason) => f.write_str(reason),
        }
    }
}

impl std::error::Error for UbjsonError {}

impl de::Error for UbjsonError {
    fn custom<T: fmt::Display>(reason: T) -> Self {
        UbjsonError::Unexpected(reason.to_string())
    }
}

struct Reader<'de> {
    /// Not read yet.
    bytes: &'de [u8],
    depth: usize,
}

impl<'de> Reader<'de> {
    fn take(&mut self, n: usize) -> Result<&'de [u8], UbjsonError> {
        let (taken, rest) =
            self.bytes.split_at_checked(n).ok_or_else(|| malformed("ends too early"))?;
        self.bytes = rest;
        Ok(taken)
    }

    fn array<const N: usize>(&mut self) -> Result<[u8; N], UbjsonError> {
        self.take(N).map(|taken| taken.try_into().expect("N bytes were taken"))
    }

    fn byte(&mut self) -> Result<u8, UbjsonError> {
        self.array().map(|[byte]| byte)
    }

    fn next_is(&mut self, byte: u8) -> bool {
        let is = self.bytes.first() == Some(&byte);
        if is {
            self.bytes = &self.bytes[1..];
        }
        is
    }

    fn integer(&mut self, marker: u8) -> Result<i64, UbjsonError> {
        Ok(match marker {
            b'i' => i64::from(i8::from_be_bytes(self.array()?)),
            b'U' => i64::from(self.byte()?),
            b'I' => i64::from(i16::from_be_bytes(self.array()?)),
            b'l' => i64::from(i32::from_be_bytes(self.array()?)),
            b'L' => i64::from_be_bytes(self.array()?),
            _ => return Err(malformed(format!("{:?} for an integer", char::from(marker)))),
        })
    }

    fn length(&mut self) -> Result<usize, UbjsonError> {
        let marker = self.byte()?;
        let length = self.integer(marker)?;
        usize::try_from(length).map_err(|_| malformed(format!("a length of {length}")))
    }

    fn string(&mut self) -> Result<&'de str, UbjsonError> {
        let length = self.length()?;
        std::str::from_utf8(self.take(length)?).map_err(|e| malformed(e.to_string()))
    }
}

/// A value whose type has been read.
struct Value<'r, 'de> {
    reader: &'r mut Reader<'de>,
    marker: u8,
}

impl<'de> de::Deserializer<'de> for Value<'_, 'de> {
    type Error = UbjsonError;

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, UbjsonError> {
        let Value { reader, marker } = self;
        match marker {
            b'{' | b'[' => {
                if reader.depth == MAX_DEPTH {
                    return Err(malformed(format!("nested deeper than {MAX_DEPTH}")));
                }
                reader.depth += 1;
                let mut items = Items::open(reader, if marker == b'{' { b'}' } else { b']' })?;
                let value = match marker {
                    b'{' => visitor.visit_map(&mut items)?,
                    _ => visitor.visit_seq(&mut items)?,
                };
                items.close()?;
                reader.depth -= 1;
                Ok(value)
            }
            b'S' => visitor.visit_borrowed_str(reader.string()?),
            b'd' => visitor.visit_f32(f32::from_be_bytes(reader.array()?)),
            b'D' => visitor.visit_f64(f64::from_be_bytes(reader.array()?)),
            b'T' => visitor.visit_bool(true),
            b'F' => visitor.visit_bool(false),
            b'Z' => visitor.visit_unit(),
            _ => visitor.visit_i64(reader.integer(marker)?),
        }
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, UbjsonError> {
        if self.marker == b'Z' { visitor.visit_none() } else { visitor.visit_some(self) }
    }

    serde::forward_to_deserialize_any! {
        bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf unit unit_struct
        newtype_struct seq tuple tuple_struct map struct enum identifier ignored_any
    }
}

/// What stands in an array or an object.
struct Items<'r, 'de> {
    reader: &'r mut Reader<'de>,
    end: u8,
    /// The type of all, if it is said once.
    marker: Option<u8>,
    /// How many are left, if it is said; otherwise `end` comes behind the last.
    left: Option<usize>,
    ended: bool,
}

impl<'r, 'de> Items<'r, 'de> {
    fn open(reader: &'r mut Reader<'de>, end: u8) -> Result<Self, UbjsonError> {
        let marker = if reader.next_is(b'$') { Some(reader.byte()?) } else { None };
        let left = if reader.next_is(b'#') { Some(reader.length()?) } else { None };
        if marker.is_some_and(|m| matches!(m, b'T' | b'F' | b'Z')) && end == b']' {
            return Err(malformed("an array of elements without bytes"));
        }
        if marker.is_some() && left.is_none() {
            return Err(malformed("a type without a count"));
        }
        Ok(Items { reader, end, marker, left, ended: false })
    }

    /// Whether another item begins here.
    fn more(&mut self) -> bool {
        self.ended = self.ended
            || match &mut self.left {
                Some(left) => left.checked_sub(1).map(|fewer| *left = fewer).is_none(),
                None => self.reader.next_is(self.end),
            };
        !self.ended
    }

    fn value<T: DeserializeSeed<'de>>(&mut self, seed: T) -> Result<T::Value, UbjsonError> {
        let marker = match self.marker {
            Some(marker) => marker,
            None => self.reader.byte()?,
        };
        seed.deserialize(Value { reader: self.reader, marker })
    }

    /// # Errors
    /// If the visitor left items unread.
    fn close(mut self) -> Result<(), UbjsonError> {
        if self.more() { Err(malformed("more items than expected")) } else { Ok(()) }
    }

    fn size_hint(&self) -> Option<usize> {
        self.left.map(|left| left.min(self.reader.bytes.len()))
    }
}

impl<'de> SeqAccess<'de> for &mut Items<'_, 'de> {
    type Error = UbjsonError;

    fn next_element_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<Option<T::Value>, UbjsonError> {
        if self.more() { self.value(seed).map(Some) } else { Ok(None) }
    }

    fn size_hint(&self) -> Option<usize> {
        Items::size_hint(self)
    }
}

impl<'de> MapAccess<'de> for &mut Items<'_, 'de> {
    type Error = UbjsonError;

    fn next_key_seed<K: DeserializeSeed<'de>>(
        &mut self,
        seed: K,
    ) -> Result<Option<K::Value>, UbjsonError> {
        if !self.more() {
            return Ok(None);
        }
        let name = self.reader.string()?;
        seed.deserialize(de::value::BorrowedStrDeserializer::new(name)).map(Some)
    }

    fn next_value_seed<T: DeserializeSeed<'de>>(
        &mut self,
        seed: T,
    ) -> Result<T::Value, UbjsonError> {
        self.value(seed)
    }

    fn size_hint(&self) -> Option<usize> {
        Items::size_hint(self)
    }
}

#[cfg(test)]
mod tests {
    use serde::Deserialize;
    use serde::de::IgnoredAny;

    use super::*;

    #[derive(Debug, PartialEq, Deserialize)]
    struct Doc {
        ints: Vec<i32>,
        singles: Vec<f32>,
        name: String,
        maybe: Option<f64>,
        flag: bool,
    }

    fn bytes() -> Vec<u8> {
        let mut bytes = b"{i\x04ints[i\x05U\xffI\xff\x00l\x00\x01\x00\x00]".to_vec();
        bytes.extend(
            b"i\x07singles[$d#L\x00\x00\x00\x00\x00\x00\x00\x02\x3f\x80\x00\x00\x80\x00\x00\x00",
        );
        bytes.extend(b"i\x04nameSi\x02\xc3\xa4i\x05maybeZi\x04flagT}");
        bytes
    }

    #[test]
    fn every_type_that_is_written_is_read() {
        let doc: Doc = from_slice(&bytes()).unwrap();
        let (ints, name) = (vec![5, 255, -256, 65_536], "ä".to_owned());
        assert_eq!(doc, Doc { ints, singles: vec![1.0, -0.0], name, maybe: None, flag: true });
        assert!(doc.singles[1].is_sign_negative());
        assert!(from_slice::<IgnoredAny>(&bytes()).is_ok());
    }

    #[test]
    fn no_truncation_and_no_flipped_bit_panics_or_is_read_as_more_than_it_is() {
        let bytes = bytes();
        for end in 0..bytes.len() {
            assert!(from_slice::<Doc>(&bytes[..end]).is_err(), "cut at {end}");
            assert!(from_slice::<IgnoredAny>(&bytes[..end]).is_err(), "cut at {end}");
        }
        for bit in 0..bytes.len() * 8 {
            let mut flipped = bytes.clone();
            flipped[bit / 8] ^= 1 << (bit % 8);
            let _ = (from_slice::<Doc>(&flipped), from_slice::<IgnoredAny>(&flipped));
        }
    }

    #[test]
    fn bombs_are_refused() {
        let deep = [b'['; 100_000];
        assert!(from_slice::<IgnoredAny>(&deep).unwrap_err().to_string().contains("deeper"));
        let weightless = b"[$Z#L\x7f\xff\xff\xff\xff\xff\xff\xff";
        assert!(from_slice::<IgnoredAny>(weightless).is_err());
        let long = b"[$d#L\x7f\xff\xff\xff\xff\xff\xff\xff";
        assert!(from_slice::<Vec<f32>>(long).unwrap_err().to_string().contains("too early"));
        assert!(from_slice::<IgnoredAny>(b"SL\xff\xff\xff\xff\xff\xff\xff\xff").is_err());
        assert!(from_slice::<IgnoredAny>(b"[$d]").is_err());
        assert!(from_slice::<IgnoredAny>(b"").is_err());
    }
}
