//! What a version's predictions came to: corrected for labels still to come, as the scores promised, and how far they part.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::cbpe::{Cbpe, ExpectedPerformance};
use super::promised::Promised;
use super::triangle::{Estimate, LabelTriangle, read_day};
use crate::codec::{Reader, check_counts, total};
use crate::error::{Error, Result};
use crate::evaluate::Decision;
use crate::time::{Timestamp, days};

const WHAT: &str = "outcome ledger";

/// Parameters of an [`OutcomeLedger`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct OutcomeConfig {
    /// Longest time that a report may take, in days.
    pub max_delay: usize,
    /// Days of which a smaller share has been reported are not estimated.
    pub min_share: f64,
}

/// 120 days, a fifth.
impl Default for OutcomeConfig {
    fn default() -> Self {
        OutcomeConfig { max_delay: 120, min_share: 0.2 }
    }
}

/// A label with what it is about: all there is to know of a prediction once its label has come.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Labelled {
    /// When the prediction was made.
    pub predicted: Timestamp,
    /// When the label became known.
    pub reported: Timestamp,
    /// Probability of bad that the model gave; `None` for none.
    pub score: Option<f64>,
    /// What was decided.
    pub decision: Decision,
    /// The label, `true` for bad.
    pub bad: bool,
}

impl Labelled {
    /// Whether the row was taken for bad: anything but approved.
    pub fn flagged(&self) -> bool {
        flagged(self.decision)
    }
}

pub(super) fn flagged(decision: Decision) -> bool {
    decision != Decision::Approve
}

/// Predictions and labels of one version by the day of the prediction, kept apart for what was approved and what was
/// flagged: a flagged row's truth comes by another way and at another time, or never.
///
/// No transaction is stored: a label says what it is about. A label must not be given twice.
///
/// Additive: [`merge`](Self::merge). Memory: up to 6.5 KB per day, 0.9 MB for 120 days with both triangles.
#[derive(Debug, Clone, PartialEq)]
pub struct OutcomeLedger {
    config: OutcomeConfig,
    /// Approved, flagged.
    reports: [LabelTriangle; 2],
    days: BTreeMap<i64, Day>,
    /// Labels about days that are no longer kept.
    too_old: u64,
}

#[derive(Debug, Clone, PartialEq, Default)]
struct Day {
    /// Approved, flagged.
    predictions: [u64; 2],
    expected: Cbpe,
    /// Labels by what was decided, and the bad ones among them.
    labels: [u64; 2],
    bad: [u64; 2],
    /// Labelled rows with a score: what it promised, and the bad ones among them.
    scored: Promised,
    scored_bad: u64,
}

/// How far scores are from the bad rate, over labelled rows that had a score.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct CalibrationGap {
    /// Labelled rows with a score.
    pub n: u64,
    /// Bad ones among them.
    pub bad: u64,
    /// Sum of their scores: bad rows to be expected.
    pub expected: f64,
    /// Variance of that number if the scores are probabilities: Σ p (1 − p).
    pub variance: f64,
}

impl CalibrationGap {
    /// Mean score less bad rate; `None` without rows. Above 0 risk is overstated.
    pub fn gap(&self) -> Option<f64> {
        (self.n > 0).then(|| (self.expected - self.bad as f64) / self.n as f64)
    }

    /// The gap in standard errors; `None` where scores leave nothing to chance.
    pub fn z(&self) -> Option<f64> {
        (self.variance > 0.0).then(|| (self.expected - self.bad as f64) / self.variance.sqrt())
    }

    fn new(scored: &Promised, bad: u64) -> Self {
        let (expected, variance) = (scored.bad(), scored.variance());
        CalibrationGap { n: scored.n, bad, expected, variance }
    }
}

/// What the labels so far say, corrected for those to come. Figures are `None` where they are not defined.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct MaturedPerformance {
    /// Days that it covers: those of the range asked for that are old enough, among approved and flagged both.
    pub used: Range<Timestamp>,
    /// Predictions made on them.
    pub n: u64,
    /// Share of bad rows.
    pub bad_rate: Option<Estimate>,
    /// Share of bad rows among the flagged.
    pub precision: Option<Estimate>,
    /// Share of the bad rows that were flagged.
    pub recall: Option<Estimate>,
    /// Age in days by which half of the reports on approved rows have come.
    pub label_lag: usize,
}

/// What the labels that have come say, and nothing is said of those to come. Additive.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct LabelCounts {
    /// Predictions.
    pub predictions: u64,
    /// Predictions that were flagged.
    pub flagged: u64,
    /// Labels that have come.
    pub labels: u64,
    /// Labels on flagged rows.
    pub labels_flagged: u64,
    /// Bad rows.
    pub bad: u64,
    /// Bad rows that were flagged.
    pub bad_flagged: u64,
}

impl LabelCounts {
    pub(super) fn plus(mut self, other: &LabelCounts) -> LabelCounts {
        self.predictions += other.predictions;
        self.flagged += other.flagged;
        self.labels += other.labels;
        self.labels_flagged += other.labels_flagged;
        self.bad += other.bad;
        self.bad_flagged += other.bad_flagged;
        self
    }
}

impl OutcomeLedger {
    /// # Errors
    /// `InvalidConfig` for delays out of range or a share outside 0 to 1.
    pub fn new(config: OutcomeConfig) -> Result<Self> {
        config.check()?;
        let triangle = LabelTriangle::new(config.max_delay)?;
        let reports = [triangle.clone(), triangle];
        Ok(OutcomeLedger { config, reports, days: BTreeMap::new(), too_old: 0 })
    }

    /// Counts a prediction. One more than the longest delay older than the newest is left out.
    pub fn predicted(&mut self, at: Timestamp, score: Option<f64>, decision: Decision) {
        if let Some(day) = self.day(at) {
            day.predictions[side(decision)] += 1;
            if let Some(score) = score {
                day.expected.record(score, flagged(decision));
            }
        }
    }

    /// Counts a label. Order does not matter.
    pub fn labelled(&mut self, label: &Labelled) {
        let side = side(label.decision);
        if label.bad {
            self.reports[side].report(label.predicted, label.reported);
        }
        let Some(day) = self.day(label.predicted) else {
            self.too_old += 1;
            return;
        };
        day.labels[side] += 1;
        day.bad[side] += u64::from(label.bad);
        if let Some(score) = label.score.filter(|score| (0.0..=1.0).contains(score)) {
            day.scored.record(score);
            day.scored_bad += u64::from(label.bad);
        }
    }

    /// Adds what another one counted, in any order and any number of parts the same: as if all of it had come here. Only
    /// [`too_old`](Self::too_old) depends on what came first.
    ///
    /// # Errors
    /// `InvalidInput` for one with other parameters, or if all counts of both add up to more than 2⁶⁰; nothing has changed
    /// then.
    pub fn merge(&mut self, other: &OutcomeLedger) -> Result<()> {
        if self.config != other.config {
            return Err(Error::input(WHAT, "it has other parameters"));
        }
        check_counts(WHAT, self.counted(), other.counted())?;
        for (mine, theirs) in self.reports.iter_mut().zip(&other.reports) {
            mine.merge(theirs)?;
        }
        self.too_old += other.too_old;
        for (&day, theirs) in &other.days {
            if let Some(mine) = self.day(start_of(day)) {
                mine.merge(theirs);
            }
        }
        Ok(())
    }

    /// The reports of bad rows, among the flagged ones or the approved.
    pub fn reports(&self, flagged: bool) -> &LabelTriangle {
        &self.reports[usize::from(flagged)]
    }

    /// Labels about days that were no longer kept.
    pub fn too_old(&self) -> u64 {
        self.too_old
    }

    /// What the predictions of a range of whole days are worth, as far as labels tell by `now`, corrected for those to come.
    pub fn performance(&self, range: Range<Timestamp>, now: Timestamp) -> MaturedPerformance {
        let share = self.config.min_share;
        let ends = self.reports.iter().map(|reports| reports.corrected(&range, now, share).1.end);
        // Both sides over the same days: as far as the slower one reaches.
        let end = ends.min().unwrap_or(range.end);
        let used = range.start..end;
        let [passed, caught] = [0, 1].map(|i| self.reports[i].corrected(&used, now, share).0);
        let predictions =
            |side: usize| -> u64 { self.within(&used).map(|(_, day)| day.predictions[side]).sum() };
        let [approved, flagged] = [0, 1].map(predictions);
        let n = approved + flagged;
        let bad = passed.value + caught.value;
        let over = |value: f64, error: f64, n: u64| {
            let (value, standard_error) = (value / n as f64, error / n as f64);
            (n > 0).then_some(Estimate { value, standard_error })
        };
        let recall = (bad > 0.0).then(|| {
            // Of c / (c + p) by the delta method, both sides being independent.
            let part =
                (passed.value * caught.standard_error).hypot(caught.value * passed.standard_error);
            Estimate { value: caught.value / bad, standard_error: part / (bad * bad) }
        });
        MaturedPerformance {
            n,
            bad_rate: over(bad, passed.standard_error.hypot(caught.standard_error), n),
            precision: over(caught.value, caught.standard_error, flagged),
            recall,
            label_lag: self.reports[0].completeness(now).age_of(0.5),
            used,
        }
    }

    /// What the scores of a range of whole days promise, without any label.
    pub fn expected(&self, range: &Range<Timestamp>) -> ExpectedPerformance {
        let mut sum = Cbpe::new();
        self.within(range).for_each(|(_, day)| sum.merge(&day.expected));
        sum.expected()
    }

    /// How far the corrected bad rate lies above what the scores promise, in standard errors, over the days of the range that are
    /// old enough, and the number of their predictions. Far from 0 the world has changed and the model has not
    /// noticed, or it never was calibrated. `None` where either is not defined.
    pub fn disagreement(&self, range: Range<Timestamp>, now: Timestamp) -> Option<(f64, u64)> {
        let truth = self.performance(range, now);
        let promised = self.expected(&truth.used).bad_rate?;
        Some((truth.bad_rate?.disagreement(&promised)?, truth.n))
    }

    /// Labels that have come on the predictions of a range of whole days.
    pub fn labels(&self, range: &Range<Timestamp>) -> LabelCounts {
        self.within(range).fold(LabelCounts::default(), |sum, (_, day)| sum.plus(&day.counts()))
    }

    /// How far scores and labels were apart on the predictions of a range of whole days.
    pub fn calibration(&self, range: &Range<Timestamp>) -> CalibrationGap {
        let none = (Promised::default(), 0);
        let (scored, bad) = self
            .within(range)
            .fold(none, |(scored, bad), (_, day)| (scored.plus(&day.scored), bad + day.scored_bad));
        CalibrationGap::new(&scored, bad)
    }

    /// [`calibration`](Self::calibration) day by day: whether it is getting worse. Days without labels are left out.
    pub fn calibration_by_day(&self, range: &Range<Timestamp>) -> Vec<(Timestamp, CalibrationGap)> {
        let days = self.within(range).filter(|(_, day)| day.scored.n > 0);
        let gap = |of: &Day| CalibrationGap::new(&of.scored, of.scored_bad);
        days.map(|(day, of)| (start_of(day), gap(of))).collect()
    }

    /// Longest time that a report may take.
    pub fn max_delay(&self) -> Duration {
        days(self.config.max_delay as u64)
    }

    /// The first day that is still kept.
    pub(super) fn first_day(&self) -> Option<Timestamp> {
        self.days.first_key_value().map(|(day, _)| start_of(*day))
    }

    fn within(&self, range: &Range<Timestamp>) -> impl Iterator<Item = (i64, &Day)> {
        let (first, end) = (range.start.day(0), range.end.day(0));
        self.days.range(first..end.max(first)).map(|(day, of)| (*day, of))
    }

    /// The day of a prediction, where it is still kept; older ones make room for a new one.
    fn day(&mut self, at: Timestamp) -> Option<&mut Day> {
        let day = at.day(0);
        let newest = self.days.last_key_value().map_or(day, |(newest, _)| day.max(*newest));
        let oldest = newest.saturating_sub(self.config.max_delay as i64);
        while self.days.first_key_value().is_some_and(|(day, _)| *day < oldest) {
            self.days.pop_first();
        }
        (day >= oldest).then(|| self.days.entry(day).or_default())
    }
}

impl Day {
    fn merge(&mut self, other: &Day) {
        let add = |mine: &mut [u64], theirs: &[u64]| {
            mine.iter_mut().zip(theirs).for_each(|(mine, theirs)| *mine += theirs);
        };
        add(&mut self.predictions, &other.predictions);
        add(&mut self.labels, &other.labels);
        add(&mut self.bad, &other.bad);
        self.expected.merge(&other.expected);
        self.scored = self.scored.plus(&other.scored);
        self.scored_bad += other.scored_bad;
    }

    /// The counts that stand alone, in the order in which they are written.
    fn alone(&self) -> impl Iterator<Item = u64> {
        let counts = self.predictions.iter().chain(&self.labels).chain(&self.bad);
        counts.chain([&self.scored_bad]).copied()
    }

    fn counted(&self) -> u64 {
        total(self.alone().chain([self.scored.n, self.expected.counted()]))
    }

    fn counts(&self) -> LabelCounts {
        let ([_, flagged], [_, labels_flagged], [_, bad_flagged]) =
            (self.predictions, self.labels, self.bad);
        LabelCounts {
            predictions: self.predictions.iter().sum(),
            flagged,
            labels: self.labels.iter().sum(),
            labels_flagged,
            bad: self.bad.iter().sum(),
            bad_flagged,
        }
    }
}

impl OutcomeLedger {
    /// All counts together, but for the reports, which have bounds of their own.
    pub(super) fn counted(&self) -> u64 {
        let late = self.reports.iter().map(LabelTriangle::out_of_range);
        total(self.days.values().map(Day::counted).chain(late).chain([self.too_old]))
    }

    pub(super) fn write(&self, bytes: &mut Vec<u8>) {
        self.reports.iter().for_each(|reports| reports.write(bytes));
        bytes.extend(self.too_old.to_le_bytes());
        bytes.extend((self.days.len() as u32).to_le_bytes());
        for (number, day) in &self.days {
            bytes.extend(number.to_le_bytes());
            bytes.extend(day.alone().flat_map(u64::to_le_bytes));
            day.scored.write(bytes);
            day.expected.write(bytes);
        }
    }

    /// What [`write`](Self::write) wrote of a ledger with these parameters; the bytes may be hostile. What this reads of
    /// bytes in another order is written otherwise, which the caller looks at.
    pub(super) fn read(config: OutcomeConfig, reader: &mut Reader<'_>) -> Result<Self> {
        let mut ledger = OutcomeLedger::new(config)?;
        for reports in &mut ledger.reports {
            reports.read(reader)?;
        }
        ledger.too_old = reader.count()?;
        for _ in 0..reader.len(8)? {
            let number = read_day(reader)?;
            let mut pair = || Ok::<_, Error>([reader.count()?, reader.count()?]);
            let (predictions, labels, bad) = (pair()?, pair()?, pair()?);
            let scored_bad = reader.count()?;
            let scored = Promised::read(reader)?;
            let expected = Cbpe::read(reader)?;
            let day = Day { predictions, expected, labels, bad, scored, scored_bad };
            ledger.days.insert(number, day);
            ledger.day(start_of(number)); // what is too old to be kept
        }
        Ok(ledger)
    }
}

impl OutcomeConfig {
    pub(super) fn check(&self) -> Result<()> {
        if !(self.min_share > 0.0 && self.min_share <= 1.0) {
            return Err(Error::config("outcome ledger", "min_share lies above 0, up to 1"));
        }
        LabelTriangle::new(self.max_delay).map(drop)
    }
}

fn side(decision: Decision) -> usize {
    usize::from(flagged(decision))
}

fn start_of(day: i64) -> Timestamp {
    Timestamp::from_micros(day.saturating_mul(86_400_000_000))
}
