//! Reports by delay: what share of them has come, and how many there will be in the end.

use std::collections::BTreeMap;
use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::time::Timestamp;

/// A figure with its uncertainty.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Estimate {
    /// The figure.
    pub value: f64,
    /// Its standard error.
    pub standard_error: f64,
}

impl Estimate {
    /// How far this figure lies above another, independent one, in standard errors of the difference; `None` if neither has any.
    pub fn disagreement(&self, other: &Estimate) -> Option<f64> {
        let error = self.standard_error.hypot(other.standard_error);
        (error > 0.0).then(|| (self.value - other.value) / error)
    }
}

/// Bad rows by the day of their prediction and by how many days later they were reported; what share of them has been
/// reported at each age follows by the chain-ladder method.
///
/// Memory: 4 bytes × (max_delay + 1)², 58 KB for 120 days.
#[derive(Debug, Clone, PartialEq)]
pub struct LabelTriangle {
    max_delay: usize,
    /// Per day since 1970, reports by delay.
    cohorts: BTreeMap<i64, Vec<u32>>,
    out_of_range: u64,
}

/// What share of bad rows has been reported by an age, in days.
#[derive(Debug, Clone, PartialEq)]
pub struct Completeness {
    /// Share by age, from 0 days on; the last is 1: later reports are not waited for.
    shares: Vec<f64>,
    /// By delay, the relative variance that the estimate of that step adds to all younger ages.
    step_variances: Vec<f64>,
}

impl LabelTriangle {
    /// For reports that come up to `max_delay` days after the prediction.
    ///
    /// # Errors
    /// `InvalidConfig` for less than 1 or more than 730 days.
    pub fn new(max_delay: usize) -> Result<Self> {
        if !(1..=730).contains(&max_delay) {
            return Err(Error::config("label triangle", "delays of 1 to 730 days are possible"));
        }
        Ok(LabelTriangle { max_delay, cohorts: BTreeMap::new(), out_of_range: 0 })
    }

    /// Counts a bad row that was predicted and reported at these moments. One reported before its prediction counts as reported at once, one
    /// reported later than the longest delay as out of range only. Order does not matter.
    pub fn report(&mut self, predicted: Timestamp, reported: Timestamp) {
        let (cohort, reported) = (predicted.day(0), reported.day(0));
        let delay = usize::try_from(reported - cohort).unwrap_or(0);
        let newest = self.cohorts.last_key_value().map_or(cohort, |(day, _)| *day);
        let oldest = newest.max(cohort) - self.max_delay as i64;
        if delay > self.max_delay || cohort < oldest {
            self.out_of_range += 1;
            return;
        }
        let cell = |row: &mut Vec<u32>| row[delay] = row[delay].saturating_add(1);
        cell(self.cohorts.entry(cohort).or_insert_with(|| vec![0; self.max_delay + 1]));
        self.forget_too_old();
    }

    /// Cohorts too old to say anything more make room for new ones.
    fn forget_too_old(&mut self) {
        let newest = self.cohorts.last_key_value().map_or(0, |(newest, _)| *newest);
        let oldest = newest - self.max_delay as i64;
        while self.cohorts.first_key_value().is_some_and(|(day, _)| *day < oldest) {
            self.cohorts.pop_first();
        }
    }

    /// Adds the reports of another one, in any order and any number of parts the same. Only
    /// [`out_of_range`](Self::out_of_range) depends on what came first.
    ///
    /// # Errors
    /// `InvalidInput` for one with another longest delay; nothing has changed then.
    pub fn merge(&mut self, other: &LabelTriangle) -> Result<()> {
        if self.max_delay != other.max_delay {
            return Err(Error::input("label triangle", "it has another longest delay"));
        }
        self.out_of_range = self.out_of_range.saturating_add(other.out_of_range);
        for (&day, theirs) in &other.cohorts {
            let mine = self.cohorts.entry(day).or_insert_with(|| vec![0; theirs.len()]);
            mine.iter_mut().zip(theirs).for_each(|(a, b)| *a = a.saturating_add(*b));
        }
        self.forget_too_old();
        Ok(())
    }

    /// By day, the delays that have reports.
    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend(self.out_of_range.to_le_bytes());
        bytes.extend((self.cohorts.len() as u32).to_le_bytes());
        for (day, row) in &self.cohorts {
            let filled = || row.iter().zip(0u32..).filter(|(n, _)| **n > 0);
            bytes.extend(day.to_le_bytes());
            bytes.extend((filled().count() as u32).to_le_bytes());
            bytes.extend(filled().flat_map(|(n, delay)| [delay, *n]).flat_map(u32::to_le_bytes));
        }
    }

    /// Takes in what [`write`](Self::write) wrote; the bytes may be hostile.
    pub(super) fn read(&mut self, reader: &mut Reader<'_>) -> Result<()> {
        let corrupt = || Error::corrupt("monitor counts", "a report is out of place");
        self.out_of_range = reader.count()?;
        for _ in 0..reader.len(12)? {
            let day = read_day(reader)?;
            let mut row = vec![0; self.max_delay + 1];
            for _ in 0..reader.len(8)? {
                let place = row.get_mut(reader.u32()? as usize);
                *place.ok_or_else(corrupt)? = reader.u32()?;
            }
            self.cohorts.insert(day, row);
            self.forget_too_old();
        }
        Ok(())
    }

    /// Reports that are kept.
    pub fn n(&self) -> u64 {
        self.cohorts.values().flatten().map(|n| u64::from(*n)).sum()
    }

    /// Reports that came later than the longest delay, or about days that are no longer kept.
    pub fn out_of_range(&self) -> u64 {
        self.out_of_range
    }

    /// Bad rows of a day that had been reported by the end of `today`.
    fn reported(&self, day: i64, today: i64) -> u64 {
        let age = usize::try_from(today - day).map_or(0, |age| age + 1);
        let row = self.cohorts.get(&day).map_or(&[][..], Vec::as_slice);
        row.iter().take(age).map(|n| u64::from(*n)).sum()
    }

    /// What share of bad rows has been reported by each age, as far as the days up to that of `now` tell: with
    /// g(k) = reports at delay k / reports up to delay k, over the days old enough for both, the share by age a is
    /// Π_{k>a} (1 − g(k)). O(delays²).
    pub fn completeness(&self, now: Timestamp) -> Completeness {
        let (today, n) = (now.day(0), self.max_delay + 1);
        let (mut at, mut up_to) = (vec![0u64; n], vec![0u64; n]);
        for (&day, row) in self.cohorts.range(..=today) {
            let mut sum = 0;
            for (delay, &count) in row.iter().enumerate().take((today - day) as usize + 1) {
                sum += u64::from(count);
                at[delay] += u64::from(count);
                up_to[delay] += sum;
            }
        }
        let (mut shares, mut step_variances) = (vec![1.0; n], vec![0.0; n]);
        for delay in (1..n).rev() {
            let (late, all) = (at[delay] as f64, up_to[delay] as f64);
            let hazard = if all > 0.0 { late / all } else { 0.0 };
            shares[delay - 1] = shares[delay] * (1.0 - hazard);
            // Of ln(1 − g) for a binomial g; without a report before, nothing is known of those ages.
            step_variances[delay] = match hazard {
                g if g >= 1.0 => f64::INFINITY,
                g if all > 0.0 => g / ((1.0 - g) * all),
                _ => 0.0,
            };
        }
        Completeness { shares, step_variances }
    }

    /// Bad rows to be expected in the end among predictions of the days in `range`, and how many of those are left out because too
    /// few of their reports have come.
    ///
    /// Each day's reports are divided by the share that has been reported at its age. Days of which less than `min_share` has been are
    /// left out. The standard error holds the reports' own chance (Poisson) and that of the shares, which all days have in common.
    pub fn corrected(
        &self,
        range: &Range<Timestamp>,
        now: Timestamp,
        min_share: f64,
    ) -> (Estimate, Range<Timestamp>) {
        let completeness = self.completeness(now);
        let today = now.day(0);
        let last = youngest_day(&completeness, today, min_share).min(range.end.day(0) - 1);
        let first = range.start.day(0);
        let (mut total, mut variance) = (0.0, 0.0);
        let mut by_age: BTreeMap<usize, f64> = BTreeMap::new();
        // A day without a cohort has no report, and the range may be any.
        let days = self.cohorts.keys().filter(|day| (first..=last).contains(day));
        for &day in days {
            let age = usize::try_from(today - day).unwrap_or(0);
            let (reports, share) = (self.reported(day, today) as f64, completeness.share(age));
            total += reports / share;
            variance += reports / (share * share);
            *by_age.entry(age).or_default() += reports / share;
        }
        for (delay, step) in completeness.step_variances.iter().enumerate() {
            let younger: f64 = by_age.range(..delay).map(|(_, total)| total).sum();
            if younger > 0.0 {
                variance += step * younger * younger;
            }
        }
        let start = |day: i64| Timestamp::from_micros(day.saturating_mul(86_400_000_000));
        let used = start(first)..start((last + 1).max(first));
        (Estimate { value: total, standard_error: variance.sqrt() }, used)
    }
}

/// A day that a moment can have; the bytes may be hostile.
pub(super) fn read_day(reader: &mut Reader<'_>) -> Result<i64> {
    let day = reader.i64()?;
    let ends = [i64::MIN, i64::MAX].map(|micros| Timestamp::from_micros(micros).day(0));
    match (ends[0]..=ends[1]).contains(&day) {
        true => Ok(day),
        false => Err(Error::corrupt("monitor counts", "a day is out of range")),
    }
}

/// The youngest day of which enough has been reported.
fn youngest_day(completeness: &Completeness, today: i64, min_share: f64) -> i64 {
    let ages = completeness.shares.iter();
    let age = ages.zip(0..).find(|(share, _)| **share >= min_share);
    today - age.map_or(i64::MAX / 2, |(_, age)| age)
}

impl Completeness {
    /// Share of bad rows reported by an age in days, `0.0..=1.0`.
    pub fn share(&self, age: usize) -> f64 {
        self.shares.get(age).copied().unwrap_or(1.0)
    }

    /// Shares by age, from 0 days on.
    pub fn shares(&self) -> &[f64] {
        &self.shares
    }

    /// The age in days by which a share `q` of reports has come.
    pub fn age_of(&self, q: f64) -> usize {
        self.shares.iter().position(|share| *share >= q).unwrap_or(self.shares.len() - 1)
    }
}
