//! For tests, examples and benches: a seeded world of transactions, and the definitions of the Fraud Detection Handbook.

pub mod handbook;
mod parity;
mod world;

pub use parity::{ParityDifference, ParityReport, feature_parity};
pub use world::World;
