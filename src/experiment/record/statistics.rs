//! The counts of an experiment as one value: add to it, merge it, write it down.

use serde::{Deserialize, Serialize};

use super::memory::{Page, RequestMemory, UnitMemory, UnitState};
use super::sums::{ArmSums, Cohort, Labelled, PAIR_BINS, PairSums, WEIGHT_ONE};
use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::evaluate::Costs;
use crate::experiment::allocation::MAX_ARMS;
use crate::experiment::router::MAX_PHASES;
use crate::experiment::state::Experiment;
use crate::experiment::token::ExposureToken;
use crate::ids::EntityKey;
use crate::stats::LatencyHistogram;
use crate::time::Timestamp;

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecorderConfig {
    /// Requests that are remembered so that a second record of one is noticed: at least the last half of them, and up to
    /// 64 times as many where ids are neighbours. Some 64 bytes per page of 64 ids.
    pub requests: usize,
    /// Units that are remembered, 32 to 64 bytes each with the room between them. The split of the sample and rates per unit rest on them; beyond, no
    /// verdict is given.
    pub units: usize,
    /// Most days that requests are counted on.
    pub days: usize,
}

/// A million requests, a million units, 400 days.
impl Default for RecorderConfig {
    fn default() -> Self {
        RecorderConfig { requests: 1 << 20, units: 1 << 20, days: 400 }
    }
}

/// What became of a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Recorded {
    /// Counted.
    Counted,
    /// The request had been counted before; nothing changed.
    Duplicate,
    /// The label of a request that was stopped and not let through: no part of the sample.
    OutsideSample,
    /// The token belongs to another experiment, or names a phase or an arm that there is not.
    Unknown,
}

/// What was not counted, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct RecorderCounters {
    /// Second records of a request.
    pub duplicates: u64,
    /// Second labels that contradict the first, among them.
    pub contradictions: u64,
    /// Tokens of other experiments, or of none.
    pub unknown: u64,
    /// Labels outside the let-through sample.
    pub outside_sample: u64,
    /// Requests of units that had been another arm's before.
    pub moved: u64,
    /// Records on days beyond the most that are kept.
    pub beyond_days: u64,
    /// Records of units beyond the most that are remembered.
    pub beyond_units: u64,
    /// Requests that are no longer remembered: a second record of one would be counted.
    pub forgotten: u64,
    /// Records that two merged recorders have both counted.
    pub counted_twice: u64,
}

/// All that an experiment has counted: whole numbers, which add up to the same in any order and any number of parts.
///
/// Bounded memory: some 100 kB per arm and phase (in shadow 512 kB more per challenger), and what
/// [`RecorderConfig`] says of requests and units.
#[derive(Debug, Clone)]
pub struct ExperimentStatistics {
    pub(in crate::experiment) experiment: u64,
    pub(in crate::experiment) n_arms: usize,
    costs: Costs,
    minor_units: u32,
    /// Places for labels by age: maturity in days, and two.
    n_ages: usize,
    config: RecorderConfig,
    /// By phase times arms plus arm.
    arms: Vec<Option<Box<ArmSums>>>,
    /// By challenger, in shadow.
    pairs: Vec<Option<Box<PairSums>>>,
    requests: RequestMemory,
    units: UnitMemory,
    counters: RecorderCounters,
}

impl ExperimentStatistics {
    /// Nothing counted yet.
    ///
    /// # Errors
    /// `InvalidConfig` if nothing is to be remembered.
    pub fn new(experiment: &Experiment, config: RecorderConfig) -> Result<Self> {
        if config.requests == 0 || config.units == 0 || config.days == 0 {
            let reason = "requests, units and days must be at least 1";
            return Err(Error::config("recorder", reason));
        }
        let plan = &experiment.config().plan;
        let n_arms = experiment.config().arms.len();
        let maturity = plan.maturity.as_secs().div_ceil(86_400) as usize;
        Ok(ExperimentStatistics {
            experiment: experiment.router().experiment(),
            n_arms,
            costs: plan.costs,
            minor_units: plan.minor_units,
            n_ages: maturity + 2,
            config,
            arms: Vec::new(),
            pairs: (0..n_arms).map(|_| None).collect(),
            requests: RequestMemory::new(config.requests),
            units: UnitMemory::new(config.units),
            counters: RecorderCounters::default(),
        })
    }

    /// Counts a request that an arm answered. No allocation once an arm and a day have been seen.
    pub fn expose(&mut self, token: &ExposureToken) -> Recorded {
        if !self.knows(token) {
            self.counters.unknown += 1;
            return Recorded::Unknown;
        }
        let (page, bit) = (self.requests.page(token.request), Page::bit(token.request));
        if page.exposed & bit != 0 {
            self.counters.duplicates += 1;
            return Recorded::Duplicate;
        }
        page.exposed |= bit;
        self.join_unit(token, false);
        if token.moved() {
            self.counters.moved += 1;
            return Recorded::Counted;
        }
        let day = day_of(token.at);
        let (n_ages, days) = (self.n_ages, self.config.days);
        for arm in self.arms_of(token) {
            let sums = self.sums(token.phase, arm);
            // The champion's latency is the answer's; other arms in shadow have none.
            let latency = if arm == token.arm { token.latency_nanos } else { 0 };
            sums.expose(token.bucket, token.alert(arm), token.label_ppm > 0, latency);
            match sums.cohort(day, n_ages, days) {
                Some(cohort) => cohort.requests += 1,
                None => self.counters.beyond_days += 1,
            }
        }
        Recorded::Counted
    }

    /// Counts the label of a request, `true` for bad, that became known at `at`. It may come before the exposure.
    pub fn outcome(&mut self, token: &ExposureToken, bad: bool, at: Timestamp) -> Recorded {
        if !self.knows(token) {
            self.counters.unknown += 1;
            return Recorded::Unknown;
        }
        if token.label_ppm == 0 {
            self.counters.outside_sample += 1;
            return Recorded::OutsideSample;
        }
        let (page, bit) = (self.requests.page(token.request), Page::bit(token.request));
        if page.labelled & bit != 0 {
            self.counters.duplicates += 1;
            self.counters.contradictions += u64::from((page.bad & bit != 0) != bad);
            return Recorded::Duplicate;
        }
        page.labelled |= bit;
        page.bad |= if bad { bit } else { 0 };
        self.join_unit(token, bad);
        if token.moved() {
            self.counters.moved += 1;
            return Recorded::Counted;
        }
        let day = day_of(token.at);
        let age = (at.since(token.at).as_secs() / 86_400) as usize;
        let (n_ages, days) = (self.n_ages, self.config.days);
        let (costs, minor_units) = (self.costs, f64::from(self.minor_units));
        for arm in self.arms_of(token) {
            let row = Labelled {
                bucket: token.bucket,
                bad,
                alert: token.alert(arm),
                score: token.score(arm),
                amount: token.amount,
                weight: weight(token.label_ppm),
            };
            let sums = self.sums(token.phase, arm);
            sums.label(row, &costs, minor_units);
            match sums.cohort(day, n_ages, days) {
                Some(cohort) => {
                    cohort.labels[age.min(n_ages - 1)] += 1;
                    cohort.bad[age.min(n_ages - 1)] += u32::from(bad);
                }
                None => self.counters.beyond_days += 1,
            }
        }
        if token.shadow() {
            for challenger in 1..self.n_arms as u8 {
                let scores = token.score(0).zip(token.score(challenger));
                let place = &mut self.pairs[usize::from(challenger)];
                let pair = place.get_or_insert_with(|| Box::new(PairSums::new()));
                // Counts of pairs carry no weights.
                let scores = scores.filter(|_| token.label_ppm == 1_000_000);
                pair.label(bad, (token.alert(0), token.alert(challenger)), scores);
            }
        }
        Recorded::Counted
    }

    fn knows(&self, token: &ExposureToken) -> bool {
        token.experiment == self.experiment
            && usize::from(token.arm) < self.n_arms
            && usize::from(token.phase) < MAX_PHASES
    }

    /// The arms that a token counts for: the one that answered, in shadow all.
    fn arms_of(&self, token: &ExposureToken) -> std::ops::Range<u8> {
        if token.shadow() { 0..self.n_arms as u8 } else { token.arm..token.arm + 1 }
    }

    fn join_unit(&mut self, token: &ExposureToken, bad: bool) {
        let ExposureToken { unit, phase, arm, at, .. } = *token;
        self.units.join(unit, UnitState { first_day: day_of(at), phase, arm, bad });
    }

    fn sums(&mut self, phase: u16, arm: u8) -> &mut ArmSums {
        let place = usize::from(phase) * self.n_arms + usize::from(arm);
        if place >= self.arms.len() {
            self.arms.resize_with(place + 1, || None);
        }
        self.arms[place].get_or_insert_with(|| Box::new(ArmSums::new()))
    }

    /// Adds another's counts to these.
    ///
    /// # Errors
    /// `InvalidInput` if they belong to another experiment, or one with another plan.
    pub fn merge(&mut self, other: &ExperimentStatistics) -> Result<()> {
        let shape = |of: &Self| (of.experiment, of.n_arms, of.n_ages, of.minor_units);
        if shape(self) != shape(other) || self.costs != other.costs {
            return Err(Error::input("statistics", "they belong to another experiment or plan"));
        }
        for (place, theirs) in other.arms.iter().enumerate() {
            if let Some(theirs) = theirs {
                let (phase, arm) = (place / self.n_arms, place % self.n_arms);
                self.sums(phase as u16, arm as u8).merge(theirs);
            }
        }
        for (mine, theirs) in self.pairs.iter_mut().zip(&other.pairs) {
            if let Some(theirs) = theirs {
                mine.get_or_insert_with(|| Box::new(PairSums::new())).merge(theirs);
            }
        }
        let theirs = other.counters;
        let mine = &mut self.counters;
        mine.duplicates += theirs.duplicates;
        mine.contradictions += theirs.contradictions;
        mine.unknown += theirs.unknown;
        mine.outside_sample += theirs.outside_sample;
        mine.moved += theirs.moved;
        mine.beyond_days += theirs.beyond_days;
        mine.counted_twice += theirs.counted_twice + self.requests.merge(&other.requests);
        self.units.merge(&other.units);
        Ok(())
    }

    /// What was not counted, and why.
    pub fn counters(&self) -> RecorderCounters {
        RecorderCounters {
            forgotten: self.requests.forgotten(),
            beyond_units: self.units.refused(),
            ..self.counters
        }
    }

    /// Units that have been exposed, those of all arms and phases together.
    pub fn n_units(&self) -> u64 {
        self.units.len() as u64
    }

    pub(in crate::experiment) fn arm(&self, phase: usize, arm: usize) -> Option<&ArmSums> {
        self.arms.get(phase * self.n_arms + arm)?.as_deref()
    }

    pub(in crate::experiment) fn pair(&self, challenger: u8) -> Option<&PairSums> {
        self.pairs.get(usize::from(challenger))?.as_deref()
    }

    pub(in crate::experiment) fn units(&self) -> impl Iterator<Item = (EntityKey, UnitState)> {
        self.units.iter()
    }

    /// All counts as bytes, for another process or after a restart. The same counts give the same bytes, whatever order
    /// they came in.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(MAGIC.to_vec());
        for number in [self.experiment, self.n_arms as u64, self.n_ages as u64] {
            out.u64(number);
        }
        let costs = self.costs;
        for cost in [costs.alert, costs.false_positive, costs.missed, costs.missed_share_of_amount]
        {
            out.u64(cost.to_bits());
        }
        out.u64(u64::from(self.minor_units));
        let counters = self.counters();
        out.all(&counter_list(&counters));
        let filled = self.arms.iter().enumerate().filter_map(|(i, arm)| Some((i, arm.as_ref()?)));
        out.u64(filled.clone().count() as u64);
        for (place, arm) in filled {
            out.u64(place as u64);
            arm.exposures.iter().flatten().for_each(|sum| out.u64(*sum as u64));
            arm.outcomes.iter().flatten().for_each(|sum| out.u64(*sum as u64));
            arm.bins.iter().for_each(|bins| out.all(bins));
            out.u64(arm.latency.max());
            out.all(arm.latency.counts());
            out.u64(arm.days.len() as u64);
            for cohort in &arm.days {
                out.u64(i64::from(cohort.day) as u64);
                out.u64(cohort.requests);
                cohort.labels.iter().chain(&cohort.bad).for_each(|n| out.u64(u64::from(*n)));
            }
        }
        let pairs = self.pairs.iter().enumerate().filter_map(|(i, pair)| Some((i, pair.as_ref()?)));
        out.u64(pairs.clone().count() as u64);
        for (challenger, pair) in pairs {
            out.all(&[challenger as u64, pair.champion_only, pair.challenger_only, pair.rows]);
            // Most cells are empty.
            let filled = pair.bad.iter().zip(&pair.good).enumerate();
            let filled = filled.filter(|(_, (bad, good))| **bad > 0 || **good > 0);
            out.u64(filled.clone().count() as u64);
            for (cell, (bad, good)) in filled {
                out.all(&[cell as u64, u64::from(*bad) << 32 | u64::from(*good)]);
            }
        }
        let requests = self.requests.sorted();
        out.u64(requests.len() as u64);
        requests.iter().for_each(|p| out.all(&[p.page, p.exposed, p.labelled, p.bad]));
        let mut units: Vec<(EntityKey, UnitState)> = self.units.iter().collect();
        units.sort_unstable_by_key(|(unit, _)| *unit);
        out.u64(units.len() as u64);
        for (unit, state) in units {
            out.all(&[unit.0, state.pack()]);
        }
        let checksum = crc32fast::hash(&out.0);
        out.0.extend_from_slice(&checksum.to_le_bytes());
        out.0
    }

    /// Counts of an experiment from their bytes; `config` says how much is remembered from here on, but never less than the
    /// bytes hold.
    ///
    /// # Errors
    /// `Corrupt` for bytes that are cut short, changed or of another format; `InvalidInput` if they belong to another
    /// experiment or plan.
    pub fn from_bytes(
        experiment: &Experiment,
        config: RecorderConfig,
        bytes: &[u8],
    ) -> Result<Self> {
        const WHAT: &str = "experiment statistics";
        let corrupt = |reason: &str| Error::corrupt(WHAT, reason);
        let body = bytes.len().checked_sub(4).ok_or_else(|| corrupt("ends too early"))?;
        let (body, checksum) = bytes.split_at(body);
        if crc32fast::hash(body).to_le_bytes() != *checksum {
            return Err(corrupt("its checksum does not fit"));
        }
        let body = body.strip_prefix(MAGIC).ok_or_else(|| corrupt("is of another format"))?;
        let mut read = Reader::new(WHAT, body);
        let mut new = ExperimentStatistics::new(experiment, config)?;
        let header = [new.experiment, new.n_arms as u64, new.n_ages as u64];
        let costs = new.costs;
        let costs = [costs.alert, costs.false_positive, costs.missed, costs.missed_share_of_amount];
        let costs = costs.into_iter().map(f64::to_bits);
        for expected in header.into_iter().chain(costs).chain([u64::from(new.minor_units)]) {
            if read.u64()? != expected {
                return Err(Error::input(
                    "statistics",
                    "they belong to another experiment or plan",
                ));
            }
        }
        let mut counters = [0; 9];
        for counter in &mut counters {
            *counter = read.u64()?;
        }
        let u32_of = |n: u64| u32::try_from(n).map_err(|_| corrupt("a count is out of range"));
        for _ in 0..read.u64()? {
            let place = read.u64()? as usize;
            if place >= MAX_PHASES * MAX_ARMS {
                return Err(corrupt("a phase is out of range"));
            }
            let n_ages = new.n_ages;
            let arm = new.sums((place / new.n_arms) as u16, (place % new.n_arms) as u8);
            for sum in arm.exposures.iter_mut().flatten() {
                *sum = read.i64()?;
            }
            for sum in arm.outcomes.iter_mut().flatten() {
                *sum = read.i64()?;
            }
            for bin in arm.bins.iter_mut().flatten() {
                *bin = read.u64()?;
            }
            let max = read.u64()?;
            let mut counts = vec![0; arm.latency.counts().len()];
            for count in &mut counts {
                *count = read.u64()?;
            }
            arm.latency = LatencyHistogram::from_counts(counts, max);
            for _ in 0..read.u64()? {
                let day =
                    i32::try_from(read.i64()?).map_err(|_| corrupt("a day is out of range"))?;
                let requests = read.u64()?;
                let mut ages = || (0..n_ages).map(|_| u32_of(read.u64()?)).collect::<Result<_>>();
                let (labels, bad) = (ages()?, ages()?);
                if arm.days.last().is_some_and(|last| last.day >= day) {
                    return Err(corrupt("days do not rise"));
                }
                arm.days.push(Cohort { day, requests, labels, bad });
            }
        }
        for _ in 0..read.u64()? {
            let challenger = read.u64()? as usize;
            let mut pair = Box::new(PairSums::new());
            for counter in [&mut pair.champion_only, &mut pair.challenger_only, &mut pair.rows] {
                *counter = read.u64()?;
            }
            for _ in 0..read.u64()? {
                let (cell, counts) = (read.u64()? as usize, read.u64()?);
                if cell >= PAIR_BINS * PAIR_BINS {
                    return Err(corrupt("a score bin is out of range"));
                }
                pair.bad[cell] = (counts >> 32) as u32;
                pair.good[cell] = counts as u32;
            }
            *new.pairs.get_mut(challenger).ok_or_else(|| corrupt("an arm is out of range"))? =
                Some(pair);
        }
        let n_pages = read.u64()? as usize;
        if read.remaining() / 32 < n_pages {
            return Err(corrupt("ends too early"));
        }
        new.requests = RequestMemory::new(config.requests.max(2 * n_pages));
        for _ in 0..n_pages {
            let (page, exposed) = (read.u64()?, read.u64()?);
            let page = Page { page, exposed, labelled: read.u64()?, bad: read.u64()? };
            new.requests.join(page);
        }
        new.requests.set_forgotten(counters[7]);
        let n_units = read.u64()? as usize;
        if read.remaining() / 16 < n_units {
            return Err(corrupt("ends too early"));
        }
        new.units = UnitMemory::new(config.units.max(n_units));
        for _ in 0..n_units {
            let (unit, packed) = (EntityKey(read.u64()?), read.u64()?);
            let state = UnitState::unpack(packed).ok_or_else(|| corrupt("a unit has no state"))?;
            new.units.join(unit, state);
        }
        new.units.set_refused(counters[6]);
        read.finish()?;
        new.counters = counters_of(counters);
        Ok(new)
    }
}

const MAGIC: &[u8; 8] = b"RCEXPST1";

fn counter_list(c: &RecorderCounters) -> [u64; 9] {
    [
        c.duplicates,
        c.contradictions,
        c.unknown,
        c.outside_sample,
        c.moved,
        c.beyond_days,
        c.beyond_units,
        c.forgotten,
        c.counted_twice,
    ]
}

fn counters_of(list: [u64; 9]) -> RecorderCounters {
    let [duplicates, contradictions, unknown, outside_sample, moved, beyond_days, ..] = list;
    RecorderCounters {
        duplicates,
        contradictions,
        unknown,
        outside_sample,
        moved,
        beyond_days,
        beyond_units: 0,
        forgotten: 0,
        counted_twice: list[8],
    }
}

/// Little-endian numbers, one after the other.
struct Writer(Vec<u8>);

impl Writer {
    fn u64(&mut self, number: u64) {
        self.0.extend_from_slice(&number.to_le_bytes());
    }

    fn all(&mut self, numbers: &[u64]) {
        numbers.iter().for_each(|number| self.u64(*number));
    }
}

fn day_of(at: Timestamp) -> i32 {
    // ±292,000 years of days fit.
    at.day(0) as i32
}

/// One over the chance that a label becomes known, in steps of 1/1024.
fn weight(label_ppm: u32) -> i64 {
    let ppm = i64::from(label_ppm);
    (WEIGHT_ONE * 1_000_000 + ppm / 2) / ppm
}
