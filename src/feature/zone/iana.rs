//! Zones of the IANA database, as chrono-tz has it compiled in.

use chrono::{DateTime, MappedLocalTime, Offset, TimeZone};
use chrono_tz::Tz;

use crate::error::{Error, Result};
use crate::time::Timestamp;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Iana(Tz);

/// A local clock is never further than this from UTC.
const FURTHEST: i64 = 26 * 3600;

impl Iana {
    pub(super) fn find(name: &str) -> Result<Self> {
        let unknown = |_| {
            let version = chrono_tz::IANA_TZDB_VERSION;
            Error::config("time zone", format!("{name} is not in the IANA database {version}"))
        };
        name.parse().map(Iana).map_err(unknown)
    }

    /// How far the clock is ahead of UTC.
    pub(super) fn offset_seconds(self, at: Timestamp) -> i32 {
        self.offset_at(at.micros().div_euclid(1_000_000))
    }

    fn offset_at(self, second: i64) -> i32 {
        // Before and after the years that chrono knows, the rules are those of its ends.
        let ends = DateTime::<chrono::Utc>::MIN_UTC.timestamp()
            ..=DateTime::<chrono::Utc>::MAX_UTC.timestamp();
        let second = second.clamp(*ends.start(), *ends.end());
        let at = DateTime::from_timestamp(second, 0).map(|at| at.naive_utc());
        at.map_or(0, |at| self.0.offset_from_utc_datetime(&at).fix().local_minus_utc())
    }

    /// The first second, since 1970 in UTC, at which the clock shows `local` (counted as if it were UTC) or, where it leaps
    /// over that, a later time.
    pub(super) fn first_showing(self, local: i64) -> i64 {
        let Some(wanted) = DateTime::from_timestamp(local, 0) else { return local };
        match self.0.from_local_datetime(&wanted.naive_utc()) {
            MappedLocalTime::Single(at) | MappedLocalTime::Ambiguous(at, _) => at.timestamp(),
            MappedLocalTime::None => {
                let (mut low, mut high) = (local - FURTHEST, local + FURTHEST);
                while low + 1 < high {
                    let middle = low + (high - low) / 2;
                    match middle + i64::from(self.offset_at(middle)) < local {
                        true => low = middle,
                        false => high = middle,
                    }
                }
                high
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::{LocalTime, Zone};
    use super::*;

    fn start(zone: &str, year: i32, month: u32, day: u32) -> String {
        let zone = LocalTime::of(&Zone::from(zone)).unwrap();
        zone.start_of(Timestamp::from_date(year, month, day).day(0)).to_string()
    }

    /// Against Python 3.11's zoneinfo.
    #[test]
    fn days_begin_when_the_clock_first_shows_them() {
        let berlin = "Europe/Berlin";
        assert_eq!(start(berlin, 2024, 3, 31), "2024-03-30T23:00:00Z"); // 23 hours
        assert_eq!(start(berlin, 2024, 4, 1), "2024-03-31T22:00:00Z");
        assert_eq!(start(berlin, 2024, 10, 27), "2024-10-26T22:00:00Z"); // 25 hours
        assert_eq!(start(berlin, 2024, 10, 28), "2024-10-27T23:00:00Z");
        assert_eq!(start("Asia/Kolkata", 2024, 1, 1), "2023-12-31T18:30:00Z");
        // Put forward at midnight: the day begins at one o'clock.
        assert_eq!(start("America/Sao_Paulo", 2018, 11, 4), "2018-11-04T03:00:00Z");
        // Put back at one: midnight comes twice, and the first counts.
        assert_eq!(start("America/Havana", 2024, 11, 3), "2024-11-03T04:00:00Z");
        // A date that was skipped is over as it begins.
        assert_eq!(start("Pacific/Apia", 2011, 12, 30), "2011-12-30T10:00:00Z");
        assert_eq!(start("Pacific/Apia", 2011, 12, 31), "2011-12-30T10:00:00Z");
    }

    #[test]
    fn a_day_never_goes_back_where_the_clock_does() {
        let zone = LocalTime::of(&Zone::from("America/St_Johns")).unwrap();
        // On 2006-10-29 the clock was put back at 00:01, to 23:01 of the day before.
        let midnight = Timestamp::from_date(2006, 10, 29).micros() / 1_000_000 + 9000;
        let at = |second: i64| Timestamp::from_seconds(midnight + second);
        assert_eq!(zone.start_of(at(0).day(0)), at(0));
        let day = zone.day(at(0));
        assert_eq!((zone.day(at(-1)), zone.hour(at(59)), zone.hour(at(61))), (day - 1, 0, 23));
        assert_eq!((zone.day(at(61)), zone.day(at(3 * 3600))), (day, day));
    }

    #[test]
    fn an_unknown_zone_is_refused_by_name() {
        let error = LocalTime::of(&Zone::from("Europe/Atlantis")).unwrap_err().to_string();
        assert!(error.contains("Europe/Atlantis is not in the IANA database 20"), "{error}");
        assert!(LocalTime::of(&Zone::from(100_000)).is_err());
    }

    #[test]
    fn the_ends_of_time_have_an_offset() {
        let zone = LocalTime::of(&Zone::from("Europe/Berlin")).unwrap();
        let (first, last) = (Timestamp::from_micros(i64::MIN), Timestamp::from_micros(i64::MAX));
        assert!(zone.hour(first) < 24);
        assert_eq!((zone.hour(last), zone.day(last)), (last.hour(3600), last.day(3600)));
    }
}
