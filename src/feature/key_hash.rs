//! The hash of keys in tables whose order is never looked at.

use std::hash::{BuildHasherDefault, Hasher};

/// One multiplication, halves folded.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct KeyHash(u64);

pub(super) type KeyHashBuilder = BuildHasherDefault<KeyHash>;

impl Hasher for KeyHash {
    fn write(&mut self, bytes: &[u8]) {
        bytes.chunks(8).for_each(|chunk| {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        });
    }

    fn write_u64(&mut self, word: u64) {
        // 2^64 / golden ratio, odd; folding brings the well mixed high half down to the bits a table indexes by.
        let product = u128::from(self.0 ^ word ^ 0x243f_6a88_85a3_08d3) * 0x9e37_79b9_7f4a_7c15;
        self.0 = (product >> 64) as u64 ^ product as u64;
    }

    fn write_i64(&mut self, word: i64) {
        self.write_u64(word as u64);
    }

    fn finish(&self) -> u64 {
        self.0
    }
}
