//! Tuning: which parameters make the best model, by cross-validation.

mod config;
mod journal;
mod sampler;
mod space;

pub use config::{SearchStrategy, TunerConfig};
#[cfg(feature = "json")]
pub use journal::JsonLinesTuningJournal;
pub use journal::{InMemoryTuningJournal, JournalEntry, Trial, TrialOutcome, TuningJournal};
pub use space::{ParameterRange, ParameterSet, ParameterValue, SearchSpace};

use std::ops::ControlFlow;

use serde::{Deserialize, Serialize};

use crate::dataset::{Dataset, FoldPlan, SplitRows};
use crate::error::{Error, Result};
use crate::ids::{Digest, DigestWriter};
use crate::model::Trainer;
use crate::seed::Seed;
use crate::train::{CrossValidation, Metric};

/// Looks for parameters. Trials are made one after the other, the folds of a trial by several threads; which parameters come
/// next depends on the seed and the trials so far only, so a search that is resumed goes on as if it had not stopped.
#[derive(Debug, Clone, Copy)]
pub struct Tuner {
    config: TunerConfig,
}

/// What is tuned, on what, and how it is judged.
#[derive(Clone, Copy)]
pub struct TuningTask<'a> {
    /// The parameters.
    pub space: &'a SearchSpace,
    /// Makes a trainer from them.
    pub trainer: &'a dyn Fn(&ParameterSet) -> Result<Box<dyn Trainer>>,
    /// The rows; keep others back to judge the winner by.
    pub data: &'a Dataset,
    /// How each trial is validated.
    pub plan: FoldPlan,
    /// By what.
    pub metric: &'a dyn Metric,
    /// Of the search, the folds and the training alike.
    pub seed: Seed,
}

/// How far a search is.
#[derive(Debug, Clone, Copy)]
pub struct TuningProgress<'a> {
    /// Trials made.
    pub done: u64,
    /// Trials that there will be at most.
    pub planned: u64,
    /// The trial that just ended.
    pub trial: &'a Trial,
    /// The best so far.
    pub best: Option<&'a Trial>,
}

/// What a search has found.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct TuningResult {
    /// The best trial on all rows; of equal ones the first.
    pub best: Trial,
    /// All trials in order.
    pub trials: Vec<Trial>,
    /// Why it ended.
    pub end: TuningEnd,
}

/// Why a search ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TuningEnd {
    /// All trials were made.
    Complete,
    /// No better one had come for as long as the patience lasted.
    Patience,
    /// The host said so.
    Cancelled,
}

impl Tuner {
    /// # Errors
    /// `InvalidConfig` for no trials or patience, or a number of the strategy out of range.
    pub fn new(config: TunerConfig) -> Result<Self> {
        config.check()?;
        Ok(Tuner { config })
    }

    /// Searches, writing every trial to `journal` and telling `progress`, which may end it. What the journal holds already is
    /// taken as done. Parameters that cannot be trained with are a trial without an outcome.
    ///
    /// # Errors
    /// `Conflict` if the journal is of another search; `Training` if no trial could be trained; those of the folds, the
    /// metric and the journal.
    pub fn run(
        &self,
        task: &TuningTask<'_>,
        journal: &mut dyn TuningJournal,
        mut progress: impl FnMut(&TuningProgress<'_>) -> ControlFlow<()>,
    ) -> Result<TuningResult> {
        let mut trials = self.resume(task, journal)?;
        let planned = self.config.planned();
        let mut end = TuningEnd::Complete;
        while let Some((parameters, share)) = self.next(task, &trials) {
            if self.out_of_patience(task, &trials) {
                end = TuningEnd::Patience;
                break;
            }
            let trial = attempt(task, trials.len() as u64, parameters, share)?;
            journal.append(&JournalEntry::Trial(trial.clone()))?;
            trials.push(trial);
            let trial = &trials[trials.len() - 1];
            let (done, best) = (trials.len() as u64, best(task.metric, &trials));
            if progress(&TuningProgress { done, planned, trial, best }).is_break() {
                end = TuningEnd::Cancelled;
                break;
            }
        }
        let Some(best) = best(task.metric, &trials).cloned() else {
            let failure = trials.iter().find_map(|trial| trial.failure.clone());
            let reason = failure.unwrap_or_else(|| "no trial ended on all rows".into());
            return Err(Error::Training { trainer: "tuner", reason });
        };
        Ok(TuningResult { best, trials, end })
    }

    fn resume(&self, task: &TuningTask<'_>, journal: &mut dyn TuningJournal) -> Result<Vec<Trial>> {
        let identity = self.identity(task);
        let mut entries = journal.entries()?.into_iter();
        let conflict = |reason: &str| {
            let (kind, reason) = ("tuning journal of search", reason.to_owned());
            Err(Error::Conflict { kind, id: identity.short(), reason })
        };
        match entries.next() {
            None => journal.append(&JournalEntry::Search(identity))?,
            Some(JournalEntry::Search(found)) if found == identity => {}
            Some(_) => return conflict("it was written by a search over other data or parameters"),
        }
        let mut trials: Vec<Trial> = Vec::new();
        for entry in entries {
            match entry {
                JournalEntry::Trial(trial) if trial.number == trials.len() as u64 => {
                    trials.push(trial);
                }
                _ => return conflict("its trials are not in order"),
            }
        }
        Ok(trials)
    }

    /// Over all that decides which trials are made and what comes of them, except the code of the trainer.
    fn identity(&self, task: &TuningTask<'_>) -> Digest {
        let mut digest = DigestWriter::default();
        digest.bytes(b"riskcycle tuning 1").bytes(env!("CARGO_PKG_VERSION").as_bytes());
        // The number of trials and the patience are left out: a search may be resumed to go on for longer.
        digest.bytes(format!("{:?}", self.config.strategy).as_bytes());
        if let SearchStrategy::SuccessiveHalving { .. } = self.config.strategy {
            digest.u64(u64::from(self.config.trials));
        }
        digest.bytes(format!("{:?} {:?}", task.space, task.plan).as_bytes());
        digest.bytes(task.metric.name().as_bytes()).u64(task.seed.0);
        digest.bytes(task.data.fingerprint().as_bytes());
        digest.finish()
    }

    /// What to try next, and on which share of the rows; `None` when all is done.
    fn next(&self, task: &TuningTask<'_>, trials: &[Trial]) -> Option<(ParameterSet, f64)> {
        if trials.len() as u64 >= self.config.planned() {
            return None;
        }
        let mut rng = task.seed.derive("tuning", trials.len() as u64).rng();
        let random = |rng: &mut _| sampler::random(task.space, rng);
        match self.config.strategy {
            SearchStrategy::Grid { steps } => {
                sampler::grid(task.space, steps, trials.len()).map(|set| (set, 1.0))
            }
            SearchStrategy::Random => Some((random(&mut rng), 1.0)),
            SearchStrategy::Parzen { startup } if trials.len() < startup as usize => {
                Some((random(&mut rng), 1.0))
            }
            SearchStrategy::Parzen { .. } => {
                let ranked = ranked(task.metric, trials);
                let ranked: Vec<&ParameterSet> = ranked.iter().map(|t| &t.parameters).collect();
                Some((sampler::parzen(task.space, &ranked, &mut rng), 1.0))
            }
            SearchStrategy::SuccessiveHalving { keep_one_in, rounds } => {
                let sizes = self.config.round_sizes(keep_one_in, rounds);
                let (mut round, mut start) = (0, 0);
                while trials.len() as u64 >= start + sizes[round] {
                    start += sizes[round];
                    round += 1;
                }
                let left = (rounds - 1) as i32 - round as i32;
                let share = f64::from(keep_one_in).powi(-left);
                if round == 0 {
                    return Some((random(&mut rng), share));
                }
                let before = (start - sizes[round - 1]) as usize..start as usize;
                let ranked = ranked(task.metric, &trials[before]);
                let place = (trials.len() as u64 - start) as usize;
                // Where too many of a round failed, the next is shorter.
                ranked.get(place).map(|trial| (trial.parameters.clone(), share))
            }
        }
    }

    fn out_of_patience(&self, task: &TuningTask<'_>, trials: &[Trial]) -> bool {
        let (Some(patience), Some(best)) = (self.config.patience, best(task.metric, trials)) else {
            return false;
        };
        trials.len() as u64 - best.number > u64::from(patience)
    }
}

fn attempt(
    task: &TuningTask<'_>,
    number: u64,
    parameters: ParameterSet,
    share: f64,
) -> Result<Trial> {
    let mut trial = Trial { number, parameters, share, outcome: None, failure: None };
    let sample;
    let data = match share < 1.0 {
        true => {
            let seed = task.seed.derive("tuning rows", 0);
            let rows = SplitRows::stratified(task.data, share, seed)?;
            sample = task.data.select_rows(&rows.test)?;
            &sample
        }
        false => task.data,
    };
    let validated = (task.trainer)(&trial.parameters).and_then(|trainer| {
        CrossValidation::new(trainer.as_ref(), data, &task.plan, &[task.metric], task.seed)
    });
    match validated {
        Ok(validated) => {
            let summary = &validated.metrics[0];
            let (mean, deviation) = (summary.mean, summary.deviation);
            if mean.is_finite() {
                trial.outcome = Some(TrialOutcome { mean, deviation });
            } else {
                trial.failure = Some(format!("{} is {mean}", summary.name));
            }
        }
        // The parameters' fault, not that of the data or the machine.
        Err(error @ (Error::Training { .. } | Error::InvalidConfig { .. })) => {
            trial.failure = Some(error.to_string());
        }
        Err(error) => return Err(error),
    }
    Ok(trial)
}

/// Trials with an outcome, the best first; of equal ones the earlier.
fn ranked<'a>(metric: &dyn Metric, trials: &'a [Trial]) -> Vec<&'a Trial> {
    let sign = if metric.larger_is_better() { -1.0 } else { 1.0 };
    let value = |trial: &Trial| trial.outcome.map(|outcome| sign * outcome.mean);
    let mut ranked: Vec<&Trial> = trials.iter().filter(|t| t.outcome.is_some()).collect();
    ranked.sort_by(|a, b| value(a).partial_cmp(&value(b)).expect("outcomes are finite"));
    ranked
}

/// The best trial on all rows.
fn best<'a>(metric: &dyn Metric, trials: &'a [Trial]) -> Option<&'a Trial> {
    ranked(metric, trials).into_iter().find(|trial| trial.share == 1.0)
}

impl std::fmt::Debug for TuningTask<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TuningTask")
            .field("space", self.space)
            .field("plan", &self.plan)
            .field("metric", &self.metric.name())
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}
