//! A named place where models answer: what is live, what was counted, and how one request goes through.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::evaluate::Decision;
use crate::experiment::{Assignment, ExposureToken};
use crate::ids::ModelRef;
use crate::schema::FeatureSchema;
use crate::serve::deployment::{Deployment, Lineup};
use crate::serve::input::{InputCheck, InputLayout, InputPolicy};
use crate::serve::prediction::{FallbackCause, Prediction, Request, ShadowScore};
use crate::serve::shadow::ShadowQueue;
use crate::serve::stats::ServingStats;
use crate::stats::Sharded;
use crate::time::Clock;

/// Parameters of a slot.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct SlotConfig {
    /// What values requests may have.
    pub inputs: InputPolicy,
    /// Decision where no model gives a score.
    pub constant: Decision,
    /// Of so many requests per thread the latency of one is taken by the service's clock; 0 for none, where the host
    /// [records](crate::serve::Predictor::record_latency) latencies by its own.
    pub latency_every: u32,
    /// Most requests that wait to be scored by shadow models; more are dropped and counted. Each takes the row and some
    /// 400 bytes.
    pub shadow_queue: usize,
    /// Versions whose statistics are kept once they are not live any more, the last ones.
    pub kept_versions: usize,
    /// A slot is degraded while a larger share of its requests than this are errors or fallbacks.
    pub degraded_above: f64,
}

/// Requests without a score are reviewed; one latency of 16 is taken.
impl Default for SlotConfig {
    fn default() -> Self {
        SlotConfig {
            inputs: InputPolicy::default(),
            constant: Decision::Review,
            latency_every: 16,
            shadow_queue: 1024,
            kept_versions: 16,
            degraded_above: 0.01,
        }
    }
}

/// How a slot is doing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct SlotHealth {
    /// The slot.
    pub slot: String,
    /// Counts its swaps, from 1.
    pub generation: u64,
    /// The version that answers outside of experiments.
    pub champion: ModelRef,
    /// Whether more requests than [`SlotConfig::degraded_above`] were errors or fallbacks.
    pub degraded: bool,
    /// Share of requests that were errors, of the live arms since their versions were deployed first; `None` without any.
    pub error_rate: Option<f64>,
    /// The same of fallbacks.
    pub fallback_rate: Option<f64>,
    /// The latency that 99 % of those taken stay at or below, in nanoseconds; `None` without any.
    pub p99_nanos: Option<u64>,
    /// Requests that wait for shadow models.
    pub shadows_waiting: usize,
    /// Requests that found no room there.
    pub shadows_dropped: u64,
}

#[derive(Debug)]
pub(super) struct Slot {
    name: String,
    config: SlotConfig,
    inputs: InputCheck,
    clock: Arc<dyn Clock>,
    live: RwLock<Arc<Live>>,
    /// That of what is live: looked at with every request, written with every swap.
    generation: AtomicU64,
    deployed: Mutex<Deployed>,
    shadows: OnceLock<ShadowQueue>,
}

/// What answers now.
#[derive(Debug)]
pub(super) struct Live {
    pub(super) lineup: Lineup,
    /// The versions in the order of [`Lineup::all`].
    pub(super) versions: Vec<ModelRef>,
    /// In the same order.
    counters: Vec<Arc<Counters>>,
    pub(super) generation: u64,
}

type Counters = Sharded<ServingStats>;

/// A row scored: what the arm itself said, who answers and its place, and the answer.
struct Scored<'a> {
    own: std::result::Result<f64, FallbackCause>,
    by: &'a Deployment,
    at: usize,
    score: Option<f64>,
}

/// What was deployed up to now.
#[derive(Debug, Default)]
struct Deployed {
    /// Counters of versions, that which was deployed last at the end.
    versions: Vec<(ModelRef, Arc<Counters>)>,
    /// Kept until no thread holds them, so that it is the next swap and no request that frees them.
    retired: Vec<Arc<Live>>,
}

/// What a thread brings along.
#[derive(Debug, Default)]
pub(super) struct Worker {
    requests: u32,
    arranged: Vec<f64>,
    changed: Vec<f64>,
}

impl Slot {
    pub(super) fn new(
        name: &str,
        schema: FeatureSchema,
        config: SlotConfig,
        lineup: Lineup,
        clock: Arc<dyn Clock>,
    ) -> Result<Self> {
        if !(0.0..=1.0).contains(&config.degraded_above) {
            return Err(Error::config("slot", "degraded_above is a share"));
        }
        lineup.check(&schema)?;
        let inputs = InputCheck::new(schema, &config.inputs)?;
        let mut deployed = Deployed::default();
        let live = deployed.live(lineup, 1, config.kept_versions);
        let slot = Slot {
            name: name.to_owned(),
            config,
            inputs,
            clock,
            live: RwLock::new(Arc::new(live)),
            generation: AtomicU64::new(1),
            deployed: Mutex::new(deployed),
            shadows: OnceLock::new(),
        };
        slot.make_room_for_shadows(&slot.current().lineup);
        Ok(slot)
    }

    pub(super) fn schema(&self) -> &FeatureSchema {
        self.inputs.schema()
    }

    pub(super) fn current(&self) -> Arc<Live> {
        self.live.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Generation of what is live.
    #[inline]
    pub(super) fn generation(&self) -> u64 {
        self.generation.load(Ordering::Acquire)
    }

    pub(super) fn deploy(&self, lineup: Lineup) -> Result<u64> {
        lineup.check(self.schema())?;
        self.make_room_for_shadows(&lineup);
        let mut deployed = self.deployed.lock().unwrap_or_else(PoisonError::into_inner);
        let generation = self.generation() + 1;
        let live = Arc::new(deployed.live(lineup, generation, self.config.kept_versions));
        let before = {
            let mut place = self.live.write().unwrap_or_else(PoisonError::into_inner);
            std::mem::replace(&mut *place, live)
        };
        self.generation.store(generation, Ordering::Release);
        deployed.retired.push(before);
        deployed.retired.retain(|live| Arc::strong_count(live) > 1);
        Ok(generation)
    }

    fn make_room_for_shadows(&self, lineup: &Lineup) {
        if !lineup.shadows.is_empty() {
            let width = self.schema().n_features();
            self.shadows.get_or_init(|| ShadowQueue::new(self.config.shadow_queue, width));
        }
    }

    /// Answers one request. `versions` are those of [`Lineup::all`], in copies that only this thread counts references to.
    pub(super) fn answer(
        &self,
        live: &Live,
        versions: &[ModelRef],
        worker: &mut Worker,
        layout: &InputLayout,
        request: &Request<'_>,
    ) -> Result<Prediction> {
        let started = worker.is_sampled(self.config.latency_every).then(|| self.clock.nanos());
        let arms = &live.lineup.arms;
        let (place, assignment) = match usize::from(request.assignment.arm) {
            arm if arm < arms.len() => (arm, request.assignment),
            _ => (0, Assignment::champion()),
        };
        let counters = &live.counters[place];
        let Worker { arranged, changed, .. } = worker;
        let checked = self.schema().check_rows(request.row.len(), 1);
        let checked = checked
            .and_then(|()| self.inputs.check(layout.arrange(request.row, arranged), changed));
        let (row, inputs) = checked.inspect_err(|_| counters.any().record_error())?;

        let Scored { own, by, at, score } = live.score(place, row);
        let said = self.decide(by, score);
        let decision = if assignment.let_through { Decision::Approve } else { said };
        let wants_reasons = request.reasons && said.is_alert() && score.is_some();
        let reasons = if wants_reasons { by.reasons(row) } else { Some(Vec::new()) };
        let without_reasons = reasons.is_none();

        let Request { id, at: moment, unit, .. } = *request;
        let mut exposure =
            ExposureToken::new(&assignment, unit, id, moment, own.ok(), said.is_alert());
        if assignment.shadow {
            for (number, shadow) in arms.iter().enumerate().filter(|(number, _)| *number != place) {
                let score = shadow.score(row).ok();
                let alert = self.decide(shadow, score).is_alert();
                exposure = exposure.map(|token| token.with_score(number as u8, score, alert));
                live.counters[number].any().record_shadow(score);
            }
        }
        let prediction = Prediction {
            id,
            at: moment,
            unit,
            assignment,
            model: versions[at].clone(),
            score,
            bands: by.bands,
            decision,
            fallback: own.err(),
            inputs,
            reasons: reasons.unwrap_or_default(),
            exposure,
        };
        if let (false, Some(queue)) = (live.lineup.shadows.is_empty(), self.shadows.get()) {
            queue.push(&prediction, row);
        }
        let mut counts = counters.any();
        counts.record_answer(decision, row.len(), inputs, own);
        counts.constants += u64::from(score.is_none());
        counts.without_reasons += u64::from(without_reasons);
        if let Some(started) = started {
            counts.record_latency(self.clock.nanos().saturating_sub(started));
        }
        Ok(prediction)
    }

    /// What a deployment says of a score.
    fn decide(&self, by: &Deployment, score: Option<f64>) -> Decision {
        score.map_or(self.config.constant, |score| by.bands.decide(score))
    }

    /// Lets the live shadows score what waits, up to `most` requests.
    pub(super) fn drain(&self, most: usize, mut tell: impl FnMut(ShadowScore)) -> usize {
        let (Some(queue), live) = (self.shadows.get(), self.current()) else { return 0 };
        let behind = live.lineup.arms.len() + usize::from(live.lineup.fallback.is_some());
        let mut row = Vec::with_capacity(self.schema().n_features());
        let mut drained = 0;
        while drained < most {
            let Some(answer) = queue.pop(&mut row) else { break };
            for (shadow, counters) in live.lineup.shadows.iter().zip(&live.counters[behind..]) {
                let score = shadow.score(&row).ok();
                counters.any().record_shadow(score);
                let (answer, model) = (answer.clone(), shadow.version.clone());
                let decision = self.decide(shadow, score);
                tell(ShadowScore { answer, model, score, decision });
            }
            drained += 1;
        }
        drained
    }

    pub(super) fn record_latency(&self, live: &Live, prediction: &Prediction, nanos: u64) {
        let arm = usize::from(prediction.assignment.arm);
        if let Some(counters) = live.counters.get(arm) {
            counters.any().record_latency(nanos);
        }
    }

    /// What every version did that is live or was not long ago.
    pub(super) fn stats(&self) -> Vec<(ModelRef, ServingStats)> {
        let deployed = self.deployed.lock().unwrap_or_else(PoisonError::into_inner);
        deployed.versions.iter().map(|(version, of)| (version.clone(), sum([of]))).collect()
    }

    pub(super) fn health(&self) -> SlotHealth {
        let live = self.current();
        let stats = sum(&live.counters[..live.lineup.arms.len()]);
        let (error_rate, fallback_rate) = (stats.error_rate(), stats.fallback_rate());
        let troubled = error_rate.unwrap_or(0.0) + fallback_rate.unwrap_or(0.0);
        let (waiting, dropped) = self.shadows.get().map_or((0, 0), ShadowQueue::load);
        SlotHealth {
            slot: self.name.clone(),
            generation: live.generation,
            champion: live.lineup.arms[0].version.clone(),
            degraded: troubled > self.config.degraded_above,
            error_rate,
            fallback_rate,
            p99_nanos: stats.latency.quantile(0.99),
            shadows_waiting: waiting,
            shadows_dropped: dropped,
        }
    }
}

fn sum<'a>(counters: impl IntoIterator<Item = &'a Arc<Counters>>) -> ServingStats {
    let mut sum = ServingStats::default();
    counters.into_iter().for_each(|of| of.each(|copy| sum.merge(copy)));
    sum
}

impl Live {
    /// Lets the arm at `place` score a row, and the fallback where it cannot.
    #[inline]
    fn score(&self, place: usize, row: &[f64]) -> Scored<'_> {
        let Lineup { arms, fallback, .. } = &self.lineup;
        let arm = &arms[place];
        let own = arm.score(row);
        let none = Scored { own, by: arm, at: place, score: own.ok() };
        let (Err(_), Some(fallback)) = (own, fallback) else { return none };
        match fallback.score(row) {
            Ok(score) => {
                // Its counters stand behind the arms'.
                self.counters[arms.len()].any().record_stood_in(score);
                Scored { own, by: fallback, at: arms.len(), score: Some(score) }
            }
            Err(_) => none,
        }
    }

    /// The versions in copies of their own: a count of references that threads share would be the one thing that they wait
    /// for each other at.
    pub(super) fn own_versions(&self) -> Vec<ModelRef> {
        let copy = |of: &ModelRef| ModelRef { name: (&*of.name).into(), version: of.version };
        self.versions.iter().map(copy).collect()
    }
}

impl Deployed {
    /// A lineup with the counters of its versions: those that they had, if they are still there.
    fn live(&mut self, lineup: Lineup, generation: u64, kept: usize) -> Live {
        let counters = lineup.all().map(|deployment| {
            let version = &deployment.version;
            let known = self.versions.iter().position(|(of, _)| of == version);
            let entry = match known {
                Some(place) => self.versions.remove(place),
                None => (version.clone(), Arc::new(Sharded::new(ServingStats::default))),
            };
            let counters = entry.1.clone();
            self.versions.push(entry);
            counters
        });
        let counters: Vec<_> = counters.collect();
        // Those of this lineup stand at the end.
        let live = self.versions.iter().filter(|(of, _)| lineup.all().any(|d| d.version == *of));
        let surplus = self.versions.len().saturating_sub(live.count() + kept);
        self.versions.drain(..surplus);
        let versions = lineup.all().map(|deployment| deployment.version.clone()).collect();
        Live { lineup, versions, counters, generation }
    }
}

impl Worker {
    /// Whether this request's latency is taken.
    #[inline]
    fn is_sampled(&mut self, every: u32) -> bool {
        self.requests = self.requests.wrapping_add(1);
        every > 0 && self.requests.is_multiple_of(every)
    }
}
