//! All counts as bytes, and back.

use super::counters::RecorderCounters;
use super::pairs::{PAIR_BINS, PairSums};
use super::requests::{Page, RequestMemory};
use super::statistics::{ExperimentStatistics, RecorderConfig};
use super::sums::{ArmSums, Cohort};
use super::units::{UnitMemory, UnitState};
use crate::codec::{self, Reader};
use crate::error::{Error, Result};
use crate::experiment::allocation::MAX_ARMS;
use crate::experiment::life::Experiment;
use crate::experiment::router::MAX_PHASES;
use crate::ids::EntityKey;
use crate::stats::LatencyHistogram;

const MAGIC: &[u8; 8] = b"RCEXPST2";
const WHAT: &str = "experiment statistics";

impl ExperimentStatistics {
    /// All counts as bytes, for another process or after a restart. The same counts give the same bytes, whatever order
    /// they came in.
    pub fn to_bytes(&self) -> Vec<u8> {
        let mut out = Writer(MAGIC.to_vec());
        out.all(&self.header());
        self.counters().all_mut().into_iter().for_each(|counter| out.u64(*counter));
        let filled = self.arms.iter().enumerate().filter_map(|(i, arm)| Some((i, arm.as_ref()?)));
        out.u64(filled.clone().count() as u64);
        for (place, arm) in filled {
            out.u64(place as u64);
            write_arm(&mut out, arm);
        }
        let pairs = self.pairs.iter().enumerate().filter_map(|(i, pair)| Some((i, pair.as_ref()?)));
        out.u64(pairs.clone().count() as u64);
        for (challenger, pair) in pairs {
            out.u64(challenger as u64);
            write_pair(&mut out, pair);
        }
        let requests = self.requests.sorted();
        out.u64(requests.len() as u64);
        requests.iter().for_each(|p| out.all(&[p.page, p.exposed, p.labelled, p.bad]));
        let mut units: Vec<(EntityKey, UnitState, i32)> = self.units.iter().collect();
        units.sort_unstable_by_key(|(unit, ..)| *unit);
        out.u64(units.len() as u64);
        for (unit, state, covariate) in units {
            out.all(&[unit.0, state.pack(), i64::from(covariate) as u64]);
        }
        codec::seal(out.0)
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
        let read = &mut codec::unseal(bytes, MAGIC, WHAT)?;
        let mut new = ExperimentStatistics::new(experiment, config)?;
        for expected in new.header() {
            if read.u64()? != expected {
                let reason = "they belong to another experiment or plan";
                return Err(Error::input("statistics", reason));
            }
        }
        let mut counters = RecorderCounters::default();
        for counter in counters.all_mut() {
            *counter = read.count()?;
        }
        for _ in 0..read.u64()? {
            let place = read.u64()? as usize;
            if place >= MAX_PHASES * MAX_ARMS {
                return Err(corrupt("a phase is out of range"));
            }
            let n_ages = new.n_ages;
            let arm = new.sums((place / new.n_arms) as u16, (place % new.n_arms) as u8);
            read_arm(read, arm, n_ages)?;
        }
        for _ in 0..read.u64()? {
            let place = new.pairs.get_mut(read.u64()? as usize);
            *place.ok_or_else(|| corrupt("an arm is out of range"))? = Some(read_pair(read)?);
        }
        let n_pages = count(read, 32)?;
        new.requests = RequestMemory::new(config.requests.max(2 * n_pages));
        for _ in 0..n_pages {
            let (page, exposed) = (read.u64()?, read.u64()?);
            let page = Page { page, exposed, labelled: read.u64()?, bad: read.u64()? };
            new.requests.join(page);
        }
        new.requests.set_forgotten(std::mem::take(&mut counters.forgotten));
        let n_units = count(read, 24)?;
        new.units = UnitMemory::new(config.units.max(n_units), experiment.config().plan.cuped);
        for _ in 0..n_units {
            let (unit, packed) = (EntityKey(read.u64()?), read.u64()?);
            let state = UnitState::unpack(packed).ok_or_else(|| corrupt("a unit has no state"))?;
            let covariate = i32::try_from(read.i64()?);
            let covariate = covariate.map_err(|_| corrupt("a covariate is out of range"))?;
            new.units.join(unit, state, covariate);
        }
        new.units.set_refused(std::mem::take(&mut counters.beyond_units));
        if read.remaining() > 0 {
            return Err(corrupt("goes on behind its end"));
        }
        new.counters = counters;
        Ok(new)
    }
}

fn corrupt(reason: &str) -> Error {
    Error::corrupt(WHAT, reason)
}

/// A number of records of `size` bytes, of which there are at least so many left.
fn count(read: &mut Reader<'_>, size: usize) -> Result<usize> {
    let n = read.u64()? as usize;
    if read.remaining() / size < n {
        return Err(corrupt("ends too early"));
    }
    Ok(n)
}

fn write_arm(out: &mut Writer, arm: &ArmSums) {
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

fn read_arm(read: &mut Reader<'_>, arm: &mut ArmSums, n_ages: usize) -> Result<()> {
    let sums = arm.exposures.as_flattened_mut().iter_mut();
    for sum in sums.chain(arm.outcomes.as_flattened_mut()) {
        *sum = read.sum()?;
    }
    for bin in arm.bins.iter_mut().flatten() {
        *bin = read.sum()?.unsigned_abs();
    }
    let max = read.u64()?;
    let mut counts = vec![0; arm.latency.counts().len()];
    for count in &mut counts {
        *count = read.u64()?;
    }
    arm.latency = LatencyHistogram::from_counts(counts, max)
        .ok_or_else(|| corrupt("latencies are counted too often"))?;
    let u32_of = |n: u64| u32::try_from(n).map_err(|_| corrupt("a count is out of range"));
    for _ in 0..read.u64()? {
        let day = i32::try_from(read.i64()?).map_err(|_| corrupt("a day is out of range"))?;
        let requests = read.u64()?;
        let mut ages = || (0..n_ages).map(|_| u32_of(read.u64()?)).collect::<Result<_>>();
        let (labels, bad) = (ages()?, ages()?);
        if arm.days.last().is_some_and(|last| last.day >= day) {
            return Err(corrupt("days do not rise"));
        }
        arm.days.push(Cohort { day, requests, labels, bad });
    }
    if arm.counts().any(|count| count < 0) {
        return Err(corrupt("a count is below zero"));
    }
    read.tally([arm.counted()])
}

fn write_pair(out: &mut Writer, pair: &PairSums) {
    out.all(&[pair.champion_only, pair.challenger_only, pair.rows]);
    // Most cells are empty.
    let filled = pair.bad.iter().zip(&pair.good).enumerate();
    let filled = filled.filter(|(_, (bad, good))| **bad > 0 || **good > 0);
    out.u64(filled.clone().count() as u64);
    for (cell, (bad, good)) in filled {
        out.all(&[cell as u64, u64::from(*bad) << 32 | u64::from(*good)]);
    }
}

fn read_pair(read: &mut Reader<'_>) -> Result<Box<PairSums>> {
    let mut pair = Box::new(PairSums::new());
    for counter in [&mut pair.champion_only, &mut pair.challenger_only, &mut pair.rows] {
        *counter = read.count()?;
    }
    for _ in 0..read.u64()? {
        let (cell, counts) = (read.u64()? as usize, read.u64()?);
        if cell >= PAIR_BINS * PAIR_BINS {
            return Err(corrupt("a score bin is out of range"));
        }
        pair.bad[cell] = (counts >> 32) as u32;
        pair.good[cell] = counts as u32;
    }
    Ok(pair)
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
