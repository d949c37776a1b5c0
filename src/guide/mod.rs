//! Guides: longer than a type's own page.

/// Where the pieces of a Python set-up went.
#[doc = include_str!("coming_from_python.md")]
pub mod coming_from_python {}
