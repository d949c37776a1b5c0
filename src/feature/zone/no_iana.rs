//! No zone has a name without the feature `tz`.

use std::convert::Infallible;

use crate::error::{Error, Result};
use crate::time::Timestamp;

/// There is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Iana(Infallible);

impl Iana {
    pub(super) fn find(name: &str) -> Result<Self> {
        let reason = format!("{name} needs the cargo feature tz; an offset in seconds does not");
        Err(Error::config("time zone", reason))
    }

    pub(super) fn offset_seconds(self, _: Timestamp) -> i32 {
        match self.0 {}
    }

    pub(super) fn first_showing(self, _: i64) -> i64 {
        match self.0 {}
    }
}
