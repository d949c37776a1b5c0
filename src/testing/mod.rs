//! For tests, examples and benches: a seeded world of transactions, the definitions of the Fraud Detection Handbook, and
//! the contracts of the traits as checks for whoever implements one.

pub mod artifact_store;
pub mod feature_storage;
pub mod handbook;
pub mod online_features;
mod parity;
pub mod prediction_log;
pub mod registry_log;
mod world;

pub use parity::{ParityDifference, ParityReport, feature_parity};
pub use world::World;
