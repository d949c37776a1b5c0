//! Time: microseconds since 1970-01-01 UTC, and the clock that a stage is handed.
//!
//! No stage reads the wall clock. Whatever needs "now" takes a [`Timestamp`] or a [`Clock`].

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{Duration, Instant};

use serde::{Deserialize, Serialize};

const MICROS_PER_SECOND: i64 = 1_000_000;
const MICROS_PER_DAY: i64 = 86_400 * MICROS_PER_SECOND;

/// Days as a [`Duration`].
pub const fn days(n: u64) -> Duration {
    Duration::from_secs(n * 86_400)
}

/// A moment: microseconds since 1970-01-01T00:00:00 UTC. Arithmetic saturates at the ends of the range (±292,000 years).
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default, Serialize, Deserialize,
)]
#[serde(transparent)]
pub struct Timestamp(i64);

impl Timestamp {
    /// From microseconds since 1970-01-01 UTC.
    pub const fn from_micros(micros: i64) -> Self {
        Timestamp(micros)
    }

    /// From seconds since 1970-01-01 UTC.
    pub const fn from_seconds(seconds: i64) -> Self {
        Timestamp(seconds.saturating_mul(MICROS_PER_SECOND))
    }

    /// Midnight UTC at the start of a day of the proleptic Gregorian calendar. `month` and `day` count from 1;
    /// values past their end run over into the next month or year.
    pub const fn from_date(year: i32, month: u32, day: u32) -> Self {
        // Days from civil, after H. Hinnant, "chrono-Compatible Low-Level Date Algorithms".
        let y = year as i64 - (month <= 2) as i64;
        let era = y.div_euclid(400);
        let year_of_era = y - era * 400;
        let month_from_march = (month as i64 + 9) % 12;
        let day_of_year = (153 * month_from_march + 2) / 5 + day as i64 - 1;
        let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
        Timestamp((era * 146_097 + day_of_era - 719_468).saturating_mul(MICROS_PER_DAY))
    }

    /// Microseconds since 1970-01-01 UTC.
    pub const fn micros(self) -> i64 {
        self.0
    }

    /// This moment, `duration` later.
    pub const fn plus(self, duration: Duration) -> Self {
        Timestamp(self.0.saturating_add(micros(duration)))
    }

    /// This moment, `duration` earlier.
    pub const fn minus(self, duration: Duration) -> Self {
        Timestamp(self.0.saturating_sub(micros(duration)))
    }

    /// Time from `earlier` to this moment; zero if `earlier` is later.
    pub const fn since(self, earlier: Timestamp) -> Duration {
        let gap = self.0.saturating_sub(earlier.0);
        Duration::from_micros(if gap > 0 { gap as u64 } else { 0 })
    }

    /// Whole days since 1970-01-01 at a fixed offset from UTC (seconds, east positive).
    pub const fn day(self, utc_offset_seconds: i32) -> i64 {
        self.local(utc_offset_seconds).div_euclid(MICROS_PER_DAY)
    }

    /// Whole days from `start` to this moment, rounded down; negative before `start`.
    pub const fn days_since(self, start: Timestamp) -> i64 {
        self.0.saturating_sub(start.0).div_euclid(MICROS_PER_DAY)
    }

    /// Day of the week at a fixed offset from UTC: Monday is 0, Sunday is 6.
    pub const fn weekday(self, utc_offset_seconds: i32) -> u8 {
        // 1970-01-01 was a Thursday.
        (self.day(utc_offset_seconds) + 3).rem_euclid(7) as u8
    }

    /// Hour of the day, 0 to 23, at a fixed offset from UTC.
    pub const fn hour(self, utc_offset_seconds: i32) -> u8 {
        (self.local(utc_offset_seconds).rem_euclid(MICROS_PER_DAY) / (3600 * MICROS_PER_SECOND))
            as u8
    }

    const fn local(self, utc_offset_seconds: i32) -> i64 {
        self.0.saturating_add(utc_offset_seconds as i64 * MICROS_PER_SECOND)
    }

    /// Year, month (from 1) and day (from 1) in UTC.
    pub const fn date(self) -> (i64, u32, u32) {
        // Civil from days, same source as `from_date`.
        let z = self.0.div_euclid(MICROS_PER_DAY) + 719_468;
        let era = z.div_euclid(146_097);
        let day_of_era = z - era * 146_097;
        let year_of_era =
            (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
        let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
        let month_from_march = (5 * day_of_year + 2) / 153;
        let day = (day_of_year - (153 * month_from_march + 2) / 5 + 1) as u32;
        let month = ((month_from_march + 2) % 12 + 1) as u32;
        (year_of_era + era * 400 + (month <= 2) as i64, month, day)
    }
}

/// A duration in microseconds, saturating.
pub(crate) const fn micros(duration: Duration) -> i64 {
    let micros = duration.as_micros();
    if micros > i64::MAX as u128 { i64::MAX } else { micros as i64 }
}

/// ISO 8601 in UTC; microseconds only where there are any.
impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (year, month, day) = self.date();
        let rest = self.0.rem_euclid(MICROS_PER_DAY);
        let (seconds, fraction) = (rest / MICROS_PER_SECOND, rest % MICROS_PER_SECOND);
        write!(f, "{year:04}-{month:02}-{day:02}T")?;
        write!(f, "{:02}:{:02}:{:02}", seconds / 3600, seconds / 60 % 60, seconds % 60)?;
        if fraction != 0 {
            write!(f, ".{fraction:06}")?;
        }
        f.write_str("Z")
    }
}

/// Where "now" comes from.
///
/// # Contract
/// Never goes back by itself; a host that steps the wall clock back gets the consequences that each reader documents.
pub trait Clock: fmt::Debug + Send + Sync + 'static {
    /// The current moment.
    fn now(&self) -> Timestamp;

    /// Nanoseconds since some moment of the clock's own, for differences only. Unless a clock knows better these are its
    /// microseconds.
    fn nanos(&self) -> u64 {
        self.now().micros().max(0).unsigned_abs().saturating_mul(1000)
    }
}

/// The operating system's wall clock.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemClock;

impl Clock for SystemClock {
    fn now(&self) -> Timestamp {
        let since_epoch = std::time::SystemTime::now()
            .duration_since(std::time::UNIX_EPOCH)
            .unwrap_or(Duration::ZERO); // a host whose clock stands before 1970 reads as 1970
        Timestamp::default().plus(since_epoch)
    }

    /// Of the monotonic clock, which nobody sets back.
    fn nanos(&self) -> u64 {
        static START: OnceLock<Instant> = OnceLock::new();
        let since = START.get_or_init(Instant::now).elapsed();
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }
}

/// A clock that moves only when told to: for tests and for replaying history.
#[derive(Debug, Default)]
pub struct ManualClock(AtomicI64);

impl ManualClock {
    /// Starts at `now`.
    pub fn new(now: Timestamp) -> Self {
        ManualClock(AtomicI64::new(now.micros()))
    }

    /// Moves to `now`, forwards or backwards.
    pub fn set(&self, now: Timestamp) {
        self.0.store(now.micros(), Ordering::Relaxed);
    }

    /// Moves forwards.
    pub fn advance(&self, by: Duration) {
        self.set(self.now().plus(by));
    }
}

impl Clock for ManualClock {
    fn now(&self) -> Timestamp {
        Timestamp(self.0.load(Ordering::Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_round_trip_and_print_as_iso_8601() {
        let handbook_start = Timestamp::from_date(2018, 4, 1);
        assert_eq!(handbook_start, Timestamp::from_seconds(1_522_540_800));
        assert_eq!(handbook_start.weekday(0), 6); // a Sunday
        let late = Timestamp::from_micros(handbook_start.micros() + 9_936_029_000_001);
        assert_eq!(late.to_string(), "2018-07-25T00:00:29.000001Z");
        assert_eq!(Timestamp::from_date(1969, 12, 31).to_string(), "1969-12-31T00:00:00Z");
        for day in (-800_000..800_000).step_by(97) {
            let t = Timestamp(day * MICROS_PER_DAY);
            let (y, m, d) = t.date();
            assert_eq!(Timestamp::from_date(y as i32, m, d), t);
        }
    }

    #[test]
    fn hours_and_weekdays_follow_the_offset() {
        let t = Timestamp::from_date(2024, 2, 29).plus(Duration::from_secs(23 * 3600)); // Thursday
        assert_eq!((t.hour(0), t.weekday(0)), (23, 3));
        assert_eq!((t.hour(2 * 3600), t.weekday(2 * 3600)), (1, 4));
        assert_eq!(Timestamp::from_micros(-1).hour(0), 23);
    }

    #[test]
    fn arithmetic_saturates() {
        let end = Timestamp::from_micros(i64::MAX);
        assert_eq!(end.plus(Duration::MAX), end);
        assert_eq!(Timestamp::default().since(end), Duration::ZERO);
    }
}
