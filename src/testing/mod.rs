//! For tests, examples and benches: a seeded world of transactions, and the definitions of the Fraud Detection Handbook.

pub mod handbook;
mod world;

pub use world::World;
