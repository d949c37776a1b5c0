//! Values that are bad anywhere: who has had a bad event, under whichever key, and how many of them a window sees.
//!
//! What is known of values is common to all keys and lies in a [`BadTable`]; which values a window sees is the key's own and
//! lies in [`LinkedValues`], which follow the table's changes when they are read.

mod table;
mod values;

pub(super) use table::{BadEvents, BadTable, BadTablePlan};
pub(super) use values::LinkedValues;
