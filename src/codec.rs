//! The only module that calls bincode: small, flat, versioned records inside our own envelopes, always limited.
//!
//! Bulk numbers never come through here, and neither does anything recursive: bincode 2.0.1 overflows the stack on
//! recursive types even with a limit. Without a limit nine hostile bytes make it ask for 8 TiB and abort the process.

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

/// The most that one record may claim while it is decoded.
const LIMIT: usize = 1 << 20;

pub(crate) fn encode<T: Serialize>(record: &T) -> Vec<u8> {
    bincode::serde::encode_to_vec(record, bincode::config::standard())
        .expect("plain records of numbers, strings and lists always encode")
}

pub(crate) fn decode<T: DeserializeOwned>(bytes: &[u8], what: &str) -> Result<T> {
    let config = bincode::config::standard().with_limit::<LIMIT>();
    match bincode::serde::decode_from_slice(bytes, config) {
        Ok((record, used)) if used == bytes.len() => Ok(record),
        Ok((_, used)) => {
            let rest = bytes.len() - used;
            Err(Error::corrupt(what, format!("{rest} bytes follow the record")))
        }
        Err(error) => Err(Error::corrupt(what, error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_length_bomb_trailing_bytes_and_truncation_are_refused() {
        let bomb = [0xfd, 0, 0, 0, 0, 0, 1, 0, 0]; // a string of 2^40 bytes
        assert!(decode::<String>(&bomb, "test").is_err());
        let mut bytes = encode(&("champion".to_owned(), 3u32));
        assert!(decode::<(String, u32)>(&bytes, "test").is_ok());
        assert!(decode::<(String, u32)>(&bytes[..bytes.len() - 1], "test").is_err());
        bytes.push(0);
        assert!(decode::<(String, u32)>(&bytes, "test").is_err());
    }
}
