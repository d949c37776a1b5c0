//! Which arm answers a request.

use std::fmt::Debug;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use serde::{Deserialize, Serialize};

use super::allocation::{Allocation, Owner};
use super::slot::{Purpose, SLOTS, Stream};
use crate::error::{Error, Result};
use crate::ids::EntityKey;
use crate::seed::stable_hash;
use crate::time::Timestamp;

/// Which arm answers a request, and why.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Assignment {
    /// Experiment by the [hash of its salt](HashRouter::experiment); 0 where there is none.
    pub experiment: u64,
    /// Position of the arm; 0 is the champion.
    pub arm: u8,
    /// Why that arm.
    pub reason: AssignmentReason,
    /// Phase, from 0; a new one starts whenever shares change.
    pub phase: u16,
    /// Whether the unit was another arm's in an earlier phase.
    pub moved: bool,
    /// Variance bucket of the unit, the same in every arm.
    pub bucket: u8,
    /// Whether the other arms score the request too, for comparison.
    pub shadow: bool,
    /// Whether the request passes even if the model asks for a review, so that its label becomes known.
    pub let_through: bool,
    /// Share of requests that are let through, in parts per million; 0 if labels come for reviewed requests as well.
    pub let_through_ppm: u32,
}

/// Why an arm answers. Only [`Assigned`](Self::Assigned) requests belong to the experiment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[non_exhaustive]
pub enum AssignmentReason {
    /// By the unit's slot.
    Assigned,
    /// The unit is not among those exposed yet: champion.
    NotExposed,
    /// The unit is on the list of overrides.
    Override,
    /// The unit is held out of all experiments that share the holdout: champion.
    Holdout,
    /// The unit's slot in the layer belongs to another experiment: champion.
    LayerExcluded,
    /// The experiment has not been started, or is stopped: champion.
    NotRunning,
    /// It starts later, or has ended by its schedule: champion.
    OutsideSchedule,
    /// It is paused: champion.
    Paused,
    /// The kill switch was thrown: champion.
    Killed,
}

impl Assignment {
    /// The champion, outside of any experiment.
    pub const fn champion() -> Self {
        Assignment {
            experiment: 0,
            arm: 0,
            reason: AssignmentReason::NotRunning,
            phase: 0,
            moved: false,
            bucket: 0,
            shadow: false,
            let_through: false,
            let_through_ppm: 0,
        }
    }
}

/// Decides which version answers.
///
/// # Contract
/// Sticky: a function of the unit and the router's settings, so that one customer is not sent back and forth; only
/// [`let_through`](Assignment::let_through) depends on the request. The same key gets the same arm until the settings
/// change, whatever the process or machine. Never fails; where nothing is running, arm 0 (the champion) answers.
///
/// # Concurrency
/// Any number of threads route at once, without a lock.
///
/// # Cost
/// No allocation; the default takes some ten nanoseconds.
pub trait Router: Debug + Send + Sync + 'static {
    /// The arm that answers a request of this unit with this id, made at this moment.
    fn route(&self, unit: EntityKey, request: u64, at: Timestamp) -> Assignment;

    /// Number of arms, at least 1; [`route`](Self::route) stays below it.
    fn n_arms(&self) -> usize;
}

/// How units are spread over arms. All of it but `exposure_ppm` and `weights_ppm` is frozen once the experiment runs.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoutingConfig {
    /// Names the experiment: another salt, another and independent assignment.
    pub salt: String,
    /// Share of each arm among exposed units in parts per million, the champion first; together 1,000,000.
    pub weights_ppm: Vec<u32>,
    /// Share of units that take part. Raising it moves nobody who takes part already.
    #[serde(default = "everybody")]
    pub exposure_ppm: u32,
    /// A share of a layer, for experiments that must not meet in one unit.
    #[serde(default)]
    pub layer: Option<LayerRange>,
    /// Units that take part in no experiment with this holdout.
    #[serde(default)]
    pub holdout: Option<Holdout>,
    /// Units with a fixed arm; their requests are no part of the analysis.
    #[serde(default)]
    pub overrides: Vec<(EntityKey, u8)>,
    /// Share of requests, in parts per million, that pass although the model asks for a review: the only way to learn
    /// the labels of what a model stops. 0 where labels come for reviewed requests as well.
    #[serde(default)]
    pub let_through_ppm: u32,
    /// Every arm scores every request and the champion answers.
    #[serde(default)]
    pub shadow: bool,
    /// First moment of the experiment.
    #[serde(default)]
    pub start: Option<Timestamp>,
    /// First moment after it.
    #[serde(default)]
    pub end: Option<Timestamp>,
}

fn everybody() -> u32 {
    SLOTS
}

/// Slots of a layer that belong to one experiment. Experiments with different ranges of one layer never share a unit.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LayerRange {
    /// Name of the layer, its salt.
    pub layer: String,
    /// First slot.
    pub from: u32,
    /// First slot after the range, at most 1,000,000.
    pub to: u32,
}

impl LayerRange {
    /// Whether some unit belongs to both.
    pub fn overlaps(&self, other: &LayerRange) -> bool {
        self.layer == other.layer && self.from < other.to && other.from < self.to
    }
}

/// Units kept out of experiments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Holdout {
    /// Name of the holdout, its salt.
    pub name: String,
    /// Their share in parts per million.
    pub share_ppm: u32,
}

impl RoutingConfig {
    /// All units take part, nobody is let through, no schedule.
    pub fn new(salt: &str, weights_ppm: &[u32]) -> Self {
        RoutingConfig {
            salt: salt.to_owned(),
            weights_ppm: weights_ppm.to_vec(),
            exposure_ppm: SLOTS,
            layer: None,
            holdout: None,
            overrides: Vec::new(),
            let_through_ppm: 0,
            shadow: false,
            start: None,
            end: None,
        }
    }

    /// # Errors
    /// `InvalidConfig` naming what cannot be: an empty salt, shares that do not add up, a share above a million, an empty
    /// layer range, an override twice or to an arm that is not there, an end before the start.
    pub fn check(&self) -> Result<()> {
        let refuse = |reason: String| Err(Error::config("routing", reason));
        let n_arms = Allocation::new(&self.weights_ppm)?.n_arms();
        if self.salt.is_empty() {
            return refuse("needs a salt".into());
        }
        let holdout = self.holdout.as_ref().map_or(0, |holdout| holdout.share_ppm);
        if [self.exposure_ppm, holdout, self.let_through_ppm].iter().any(|share| *share > SLOTS) {
            return refuse(format!("a share is above {SLOTS} parts per million"));
        }
        if self.layer.as_ref().is_some_and(|layer| layer.from >= layer.to || layer.to > SLOTS) {
            return refuse("the layer's range is empty or ends above 1,000,000".into());
        }
        let mut units: Vec<EntityKey> = self.overrides.iter().map(|(unit, _)| *unit).collect();
        units.sort_unstable();
        let twice = units.windows(2).any(|pair| pair[0] == pair[1]);
        if twice || self.overrides.iter().any(|(_, arm)| usize::from(*arm) >= n_arms) {
            return refuse("an override names a unit twice or an arm that is not there".into());
        }
        if self.start.zip(self.end).is_some_and(|(start, end)| end <= start) {
            return refuse("ends before it starts".into());
        }
        Ok(())
    }
}

/// Whether the router sends units to the challengers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Switch {
    Off,
    On,
    Paused,
    Killed,
}

/// Most phases of one experiment.
pub(super) const MAX_PHASES: usize = 1024;

/// The default [`Router`]: each unit sticks to one arm, arms get shares of the units.
///
/// A unit's slot is `(XXH3-64(key, seed) × 1,000,000) >> 64`, the key as 8 little-endian bytes, the seed XXH3-64 (with
/// seed 0) of the salt and of the purpose (`arm`, `exposure`, `layer`, `holdout`, `let-through`, `bucket`), each in UTF-8
/// behind its length as 4 little-endian bytes. A text key becomes a number by XXH3-64 of its UTF-8 bytes with seed 0.
/// Arms own ranges of slots, closed below and open above. Test vectors for other languages:
/// `tests/data/assignment_vectors.json`.
///
/// The order of decisions: kill switch, pause, schedule, override, holdout, layer, exposure, arm.
///
/// ```
/// use riskcycle::experiment::{HashRouter, Router};
/// use riskcycle::{EntityKey, Timestamp};
///
/// let router = HashRouter::new("card-fraud-7", &[800_000, 200_000])?; // 80 % champion, 20 % challenger
/// let now = Timestamp::from_seconds(0);
/// assert_eq!(router.route(EntityKey(42), 1, now), router.route(EntityKey(42), 2, now));
/// # Ok::<(), riskcycle::Error>(())
/// ```
#[derive(Debug)]
pub struct HashRouter {
    config: RoutingConfig,
    experiment: u64,
    streams: Streams,
    /// Sorted by unit.
    overrides: Vec<(EntityKey, u8)>,
    switch: AtomicU8,
    /// Phases are only ever added, so that readers need no lock.
    phases: Box<[OnceLock<Phase>]>,
    phase: AtomicU32,
}

#[derive(Debug)]
struct Streams {
    holdout: Option<(Stream, u32)>,
    layer: Option<(Stream, std::ops::Range<u32>)>,
    exposure: Stream,
    arm: Stream,
    let_through: Stream,
    bucket: Stream,
}

#[derive(Debug)]
struct Phase {
    allocation: Allocation,
    exposure_ppm: AtomicU32,
}

impl HashRouter {
    /// A router at work over arms with these shares in parts per million; the first is the champion.
    ///
    /// # Errors
    /// Those of [`RoutingConfig::check`].
    pub fn new(salt: &str, weights_ppm: &[u32]) -> Result<Self> {
        HashRouter::configured(RoutingConfig::new(salt, weights_ppm))
    }

    /// A router at work with these settings.
    ///
    /// # Errors
    /// Those of [`RoutingConfig::check`].
    pub fn configured(config: RoutingConfig) -> Result<Self> {
        let router = HashRouter::switched_off(config)?;
        router.switch(Switch::On);
        Ok(router)
    }

    pub(super) fn switched_off(config: RoutingConfig) -> Result<Self> {
        config.check()?;
        let stream = |purpose| Stream::new(&config.salt, purpose);
        let streams = Streams {
            holdout: (config.holdout.as_ref())
                .map(|held| (Stream::new(&held.name, Purpose::Holdout), held.share_ppm)),
            layer: (config.layer.as_ref())
                .map(|range| (Stream::new(&range.layer, Purpose::Layer), range.from..range.to)),
            exposure: stream(Purpose::Exposure),
            arm: stream(Purpose::Arm),
            let_through: stream(Purpose::LetThrough),
            bucket: stream(Purpose::Bucket),
        };
        let mut overrides = config.overrides.clone();
        overrides.sort_unstable();
        let phases: Box<[OnceLock<Phase>]> = (0..MAX_PHASES).map(|_| OnceLock::new()).collect();
        let first = Phase {
            allocation: Allocation::new(&config.weights_ppm)?,
            exposure_ppm: AtomicU32::new(config.exposure_ppm),
        };
        phases[0].set(first).expect("nobody else has it yet");
        Ok(HashRouter {
            experiment: stable_hash(config.salt.as_bytes(), 0),
            config,
            streams,
            overrides,
            switch: AtomicU8::new(Switch::Off as u8),
            phases,
            phase: AtomicU32::new(0),
        })
    }

    /// Every unit to the one arm there is.
    pub fn champion_only() -> Self {
        HashRouter::new("champion", &[SLOTS]).expect("one arm with all slots")
    }

    /// The settings it was made with.
    pub fn config(&self) -> &RoutingConfig {
        &self.config
    }

    /// What tokens know the experiment by: XXH3-64 of its salt.
    pub fn experiment(&self) -> u64 {
        self.experiment
    }

    /// The unit's place among the million slots that arms own.
    pub fn slot(&self, unit: EntityKey) -> u32 {
        self.streams.arm.slot(unit)
    }

    /// The allocations of all phases so far.
    pub fn allocations(&self) -> Vec<Allocation> {
        let phases = self.phases.iter().map_while(OnceLock::get);
        phases.map(|phase| phase.allocation.clone()).collect()
    }

    /// Share of units that take part now.
    pub fn exposure_ppm(&self) -> u32 {
        self.current().1.exposure_ppm.load(Ordering::Relaxed)
    }

    pub(super) fn switch(&self, to: Switch) {
        self.switch.store(to as u8, Ordering::Relaxed);
    }

    pub(super) fn set_exposure(&self, exposure_ppm: u32) {
        self.current().1.exposure_ppm.store(exposure_ppm, Ordering::Relaxed);
    }

    /// Starts the next phase; `false` if there have been too many. Calls come one at a time, from the state machine.
    pub(super) fn start_phase(&self, allocation: Allocation, exposure_ppm: u32) -> bool {
        let next = self.current().0 + 1;
        let phase = Phase { allocation, exposure_ppm: AtomicU32::new(exposure_ppm) };
        let added = self.phases.get(next).is_some_and(|place| place.set(phase).is_ok());
        if added {
            self.phase.store(next as u32, Ordering::Release);
        }
        added
    }

    fn current(&self) -> (usize, &Phase) {
        let phase = self.phase.load(Ordering::Acquire) as usize;
        (phase, self.phases[phase].get().expect("a phase is set before it becomes current"))
    }

    /// Why the champion answers without a look at the unit's slot, if so.
    fn closed(&self, at: Timestamp) -> Option<AssignmentReason> {
        match self.switch.load(Ordering::Relaxed) {
            on if on == Switch::On as u8 => {}
            paused if paused == Switch::Paused as u8 => return Some(AssignmentReason::Paused),
            killed if killed == Switch::Killed as u8 => return Some(AssignmentReason::Killed),
            _ => return Some(AssignmentReason::NotRunning),
        }
        let early = self.config.start.is_some_and(|start| at < start);
        let late = self.config.end.is_some_and(|end| at >= end);
        (early || late).then_some(AssignmentReason::OutsideSchedule)
    }

    /// Why the champion answers for this unit, if not by its arm.
    fn excluded(&self, unit: EntityKey, exposure_ppm: u32) -> Option<AssignmentReason> {
        let Streams { holdout, layer, exposure, .. } = &self.streams;
        if holdout.is_some_and(|(stream, share)| stream.slot(unit) < share) {
            return Some(AssignmentReason::Holdout);
        }
        if layer.as_ref().is_some_and(|(stream, range)| !range.contains(&stream.slot(unit))) {
            return Some(AssignmentReason::LayerExcluded);
        }
        let exposed = exposure_ppm == SLOTS || exposure.slot(unit) < exposure_ppm;
        (!exposed).then_some(AssignmentReason::NotExposed)
    }
}

impl Router for HashRouter {
    fn route(&self, unit: EntityKey, request: u64, at: Timestamp) -> Assignment {
        let experiment = self.experiment;
        if let Some(reason) = self.closed(at) {
            return Assignment { experiment, reason, ..Assignment::champion() };
        }
        let (number, phase) = self.current();
        let champion = Assignment { experiment, phase: number as u16, ..Assignment::champion() };
        if let Ok(i) = self.overrides.binary_search_by_key(&unit, |(unit, _)| *unit) {
            let reason = AssignmentReason::Override;
            return Assignment { arm: self.overrides[i].1, reason, ..champion };
        }
        if let Some(reason) = self.excluded(unit, phase.exposure_ppm.load(Ordering::Relaxed)) {
            return Assignment { reason, ..champion };
        }
        let (streams, shadow) = (&self.streams, self.config.shadow);
        let Owner { arm, moved } = match shadow {
            true => Owner { arm: 0, moved: false },
            false => phase.allocation.owner(streams.arm.slot(unit)),
        };
        let let_through_ppm = self.config.let_through_ppm;
        Assignment {
            arm,
            moved,
            reason: AssignmentReason::Assigned,
            bucket: streams.bucket.place(unit.0, 256) as u8,
            shadow,
            let_through: let_through_ppm > 0
                && streams.let_through.place(request, SLOTS) < let_through_ppm,
            let_through_ppm,
            ..champion
        }
    }

    fn n_arms(&self) -> usize {
        self.config.weights_ppm.len()
    }
}
