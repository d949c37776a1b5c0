//! Local time: by a fixed offset, or by the rules of an IANA zone (feature `tz`).

#[cfg_attr(feature = "tz", path = "iana.rs")]
#[cfg_attr(not(feature = "tz"), path = "no_iana.rs")]
mod iana;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::time::Timestamp;
use iana::Iana;

/// Where hours and days are those of the local clock. Made from seconds east of UTC (`3600`) or from a name
/// (`"Europe/Berlin"`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Zone {
    /// Seconds east of UTC, the same all year.
    Offset(i32),
    /// A zone of the IANA database, daylight saving and all. Needs the cargo feature `tz`, which has the database compiled
    /// in: what the system has installed plays no part.
    Named(String),
}

impl From<i32> for Zone {
    fn from(seconds: i32) -> Self {
        Zone::Offset(seconds)
    }
}

impl From<&str> for Zone {
    fn from(name: &str) -> Self {
        Zone::Named(name.to_owned())
    }
}

/// A [`Zone`] that was looked up.
///
/// A day begins the first time that the local clock shows its date, and ends where the next one begins: 23 or 25 hours
/// where the clock is put forward or back, nothing at all for a date that was skipped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum LocalTime {
    Offset(i32),
    Named(Iana),
}

impl LocalTime {
    /// # Errors
    /// `InvalidConfig` for an offset of more than a day, an unknown name, or a name without the feature `tz`.
    pub(crate) fn of(zone: &Zone) -> Result<Self> {
        match zone {
            Zone::Offset(seconds) if seconds.unsigned_abs() > 86_400 => {
                Err(Error::config("time zone", format!("{seconds} seconds are more than a day")))
            }
            Zone::Offset(seconds) => Ok(LocalTime::Offset(*seconds)),
            Zone::Named(name) => Iana::find(name).map(LocalTime::Named),
        }
    }

    fn offset_seconds(self, at: Timestamp) -> i32 {
        match self {
            LocalTime::Offset(seconds) => seconds,
            LocalTime::Named(zone) => zone.offset_seconds(at),
        }
    }

    /// Hour that the clock shows, 0 to 23.
    pub(crate) fn hour(self, at: Timestamp) -> u8 {
        at.hour(self.offset_seconds(at))
    }

    /// Whether the clock shows a Saturday or a Sunday.
    pub(crate) fn is_weekend(self, at: Timestamp) -> bool {
        at.weekday(self.offset_seconds(at)) >= 5
    }

    /// Number of the day, counted from 1970-01-01. Never goes back as `at` moves on.
    pub(crate) fn day(self, at: Timestamp) -> i64 {
        let day = at.day(self.offset_seconds(at));
        match self {
            LocalTime::Offset(_) => day,
            // Put back over midnight, the clock shows yesterday's date again; the day goes on.
            LocalTime::Named(zone)
                if zone.first_showing((day + 1) * 86_400) <= at.micros().div_euclid(1_000_000) =>
            {
                day + 1
            }
            LocalTime::Named(_) => day,
        }
    }

    /// The first moment of a day.
    pub(crate) fn start_of(self, day: i64) -> Timestamp {
        let midnight = day.saturating_mul(86_400);
        match self {
            LocalTime::Offset(seconds) => {
                Timestamp::from_seconds(midnight.saturating_sub(i64::from(seconds)))
            }
            LocalTime::Named(zone) => Timestamp::from_seconds(zone.first_showing(midnight)),
        }
    }
}
