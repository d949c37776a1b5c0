//! The default router: a frozen hash.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU8, AtomicU32, Ordering};

use super::allocation::{Allocation, Owner};
use super::assignment::{Assignment, AssignmentReason, Router};
use super::routing::RoutingConfig;
use super::slot::{Purpose, SLOTS, Stream};
use crate::error::Result;
use crate::ids::EntityKey;
use crate::seed::stable_hash;
use crate::time::Timestamp;

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

    /// The unit's variance bucket.
    pub(super) fn bucket(&self, unit: EntityKey) -> u8 {
        self.streams.bucket.place(unit.0, 256) as u8
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

    /// Throws the kill switch where units are routed, or would be after a pause.
    pub(super) fn kill(&self) {
        for live in [Switch::On, Switch::Paused] {
            let (from, to) = (live as u8, Switch::Killed as u8);
            // Another state than `live` stays as it is.
            let _ = self.switch.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed);
        }
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
            bucket: self.bucket(unit),
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
