//! For tests, examples and benches: a seeded world of transactions, the definitions of the Fraud Detection Handbook, and
//! the contracts of the traits as checks for whoever implements one.

pub mod feature_storage;
pub mod handbook;
mod parity;
mod world;

pub use parity::{ParityDifference, ParityReport, feature_parity};
pub use world::World;
