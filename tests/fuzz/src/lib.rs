//! Fuzzing of everything that takes bytes from outside.
//!
//! ```text
//! cargo +nightly run --manifest-path tests/fuzz/Cargo.toml --bin seeds -- target/corpus
//! cargo +nightly fuzz run --fuzz-dir tests/fuzz artifact target/corpus/artifact -- -max_total_time=600
//! ```
//! Targets: `artifact`, `model`, `foreign`, `state`, `text`, `http`. `tests/hostile_bytes.rs` runs the same ways in with every
//! truncation, every flipped bit and random bytes, on a stable compiler.

pub mod http;
pub mod meter;
pub mod seeds;
pub mod ways;
