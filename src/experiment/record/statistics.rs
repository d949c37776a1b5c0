//! The counts of an experiment as one value: add to it, merge it.

use serde::{Deserialize, Serialize};

use super::counters::{Recorded, RecorderCounters};
use super::pairs::PairSums;
use super::requests::{Page, RequestMemory};
use super::sums::{ArmSums, Label, Scored, WEIGHT_ONE};
use super::units::{Answered, UnitMemory, UnitState};
use crate::codec::{check_counts, check_sums, total};
use crate::error::{Error, Result};
use crate::evaluate::Costs;
use crate::experiment::life::Experiment;
use crate::experiment::router::MAX_PHASES;
use crate::experiment::token::ExposureToken;
use crate::ids::EntityKey;
use crate::time::Timestamp;

const WHAT: &str = "statistics";

/// How much is remembered.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct RecorderConfig {
    /// Requests that are remembered so that a second record of one is noticed: at least the last half of them, and up to
    /// 64 times as many where ids are neighbours. Some 64 bytes per page of 64 ids.
    pub requests: usize,
    /// Units that are remembered, 21 to 43 bytes each with the room between them, a quarter more with CUPED. The split of
    /// the sample and rates per unit rest on them; beyond, no verdict is given.
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

/// All that an experiment has counted: whole numbers, which add up to the same in any order and any number of parts.
///
/// Bounded memory: some 100 kB per arm and phase (in shadow 512 kB more per challenger), and what
/// [`RecorderConfig`] says of requests and units.
#[derive(Debug, Clone)]
pub struct ExperimentStatistics {
    pub(in crate::experiment) experiment: u64,
    pub(in crate::experiment) n_arms: usize,
    pub(super) costs: Costs,
    pub(super) minor_units: u32,
    /// Places for labels by age: maturity in days, and two.
    pub(super) n_ages: usize,
    config: RecorderConfig,
    /// By phase times arms plus arm.
    pub(super) arms: Vec<Option<Box<ArmSums>>>,
    /// By challenger, in shadow.
    pub(super) pairs: Vec<Option<Box<PairSums>>>,
    pub(super) requests: RequestMemory,
    pub(super) units: UnitMemory,
    /// Those that memories keep themselves are zero here.
    pub(super) counters: RecorderCounters,
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
            units: UnitMemory::new(config.units, plan.cuped),
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
        let day = day_of(token.at);
        self.join_unit(token, day, false);
        if token.moved() {
            self.counters.moved += 1;
            return Recorded::Counted;
        }
        let (n_ages, days) = (self.n_ages, self.config.days);
        for arm in self.arms_of(token) {
            let sums = self.sums(token.phase, arm);
            // The champion's latency is the answer's; other arms in shadow have none.
            let latency = if arm == token.arm { token.latency_nanos } else { 0 };
            sums.expose(scored(token, arm), token.label_ppm > 0, latency);
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
        let exposed = page.exposed & bit != 0;
        let day = day_of(token.at);
        // The exposure has said already all that a good label would say of the unit.
        if bad || !exposed {
            self.join_unit(token, day, bad);
        }
        if token.moved() {
            self.counters.moved += 1;
            return Recorded::Counted;
        }
        let age = (at.since(token.at).as_secs() / 86_400) as usize;
        let (n_ages, days) = (self.n_ages, self.config.days);
        let (costs, minor_units) = (self.costs, f64::from(self.minor_units));
        let label = Label { bad, amount: token.amount, weight: weight(token.label_ppm) };
        for arm in self.arms_of(token) {
            let sums = self.sums(token.phase, arm);
            sums.label(scored(token, arm), label, &costs, minor_units);
            match sums.cohort(day, n_ages, days) {
                Some(cohort) => {
                    let age = age.min(n_ages - 1);
                    cohort.labels[age] = cohort.labels[age].saturating_add(1);
                    cohort.bad[age] = cohort.bad[age].saturating_add(u32::from(bad));
                }
                None => self.counters.beyond_days += 1,
            }
        }
        if token.shadow() {
            for challenger in 1..self.n_arms as u8 {
                let scores = token.score_steps(0).zip(token.score_steps(challenger));
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

    fn join_unit(&mut self, token: &ExposureToken, day: i32, bad: bool) {
        let first = Answered::new(day, token.phase, token.arm);
        let state = UnitState { first, bad: bad.then_some(first) };
        self.units.join(token.unit, state, token.covariate);
    }

    #[inline]
    pub(super) fn sums(&mut self, phase: u16, arm: u8) -> &mut ArmSums {
        let place = usize::from(phase) * self.n_arms + usize::from(arm);
        if place >= self.arms.len() {
            self.arms.resize_with(place + 1, || None);
        }
        self.arms[place].get_or_insert_with(|| Box::new(ArmSums::new()))
    }

    /// What two of them must have in common to be added, and bytes to be read.
    pub(super) fn header(&self) -> Vec<u64> {
        let Costs {
            alert,
            false_positive,
            missed,
            missed_share_of_amount,
            passed,
            passed_share_of_amount,
        } = self.costs;
        let costs =
            [alert, false_positive, missed, missed_share_of_amount, passed, passed_share_of_amount];
        let [n_arms, n_ages] = [self.n_arms, self.n_ages].map(|n| n as u64);
        let mut header = vec![self.experiment, n_arms, n_ages, u64::from(self.minor_units)];
        header.extend(costs.map(f64::to_bits));
        header
    }

    /// Adds another's counts to these.
    ///
    /// # Errors
    /// `InvalidInput` if they belong to another experiment, or one with another plan; if all counts of both add up to more than
    /// 2⁶⁰, or a sum to more than 2⁶². Nothing has changed then.
    pub fn merge(&mut self, other: &ExperimentStatistics) -> Result<()> {
        if self.header() != other.header() {
            return Err(Error::input(WHAT, "they belong to another experiment or plan"));
        }
        check_counts(WHAT, self.counted(), other.counted())?;
        check_sums(WHAT, self.farthest(), other.farthest())?;
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
        self.counters.merge(other.counters);
        self.counters.counted_twice += self.requests.merge(&other.requests);
        self.units.merge(&other.units);
        Ok(())
    }

    /// All counts together.
    fn counted(&self) -> u64 {
        let arms = self.arms.iter().flatten().map(|arm| arm.counted());
        let pairs = self.pairs.iter().flatten().map(|pair| pair.counted());
        let counters = self.counters().all_mut().map(|count| *count);
        total(arms.chain(pairs).chain(counters))
    }

    /// The sum that is farthest from zero.
    fn farthest(&self) -> u64 {
        self.arms.iter().flatten().map(|arm| arm.farthest()).max().unwrap_or(0)
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

    /// All units, with what was known of them before the experiment.
    pub(in crate::experiment) fn units(&self) -> impl Iterator<Item = (EntityKey, UnitState, i32)> {
        self.units.iter()
    }
}

fn scored(token: &ExposureToken, arm: u8) -> Scored {
    Scored { bucket: token.bucket, alert: token.alert(arm), score: token.score_steps(arm) }
}

fn day_of(at: Timestamp) -> i32 {
    // ±292,000 years of days fit.
    at.day(0) as i32
}

/// One over the chance that a label becomes known, in steps of 1/1024.
fn weight(label_ppm: u32) -> i64 {
    if label_ppm == 1_000_000 {
        return WEIGHT_ONE; // most are, and a division takes long
    }
    let ppm = i64::from(label_ppm);
    (WEIGHT_ONE * 1_000_000 + ppm / 2) / ppm
}
