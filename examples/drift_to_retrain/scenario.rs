//! A stream with a change in it, played through the whole lifecycle.

use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use riskcycle::alert::{AlertConfig, AlertEngine, AlertRule, AlertState};
use riskcycle::dataset::Dataset;
use riskcycle::drift::ReferenceProfile;
use riskcycle::evaluate::{DecisionBands, EvaluationReport};
use riskcycle::event::EventSchema;
use riskcycle::feature::{FeatureFrame, FeatureSet};
use riskcycle::lifecycle::{Lifecycle, LifecycleConfig, Parts};
use riskcycle::model::{GradientBoosting, GradientBoostingConfig, Model, ModelExt};
use riskcycle::monitor::LabelCounts;
use riskcycle::monitoring::WatchedStream;
use riskcycle::registry::{Artifact, Evidence, ModelRegistry};
use riskcycle::retrain::{RetrainDecision, RetrainEntry, RetrainEvent};
use riskcycle::serve::Decision;
use riskcycle::train::TrainingRun;
use riskcycle::{Result, Seed, Signature, Timestamp, days};

const SEED: Seed = Seed(7);
const DAY: Duration = days(1);
/// Cards that can be looked at in a day.
const CARDS: usize = 100;

pub(crate) struct Scenario<E> {
    pub(crate) name: &'static str,
    pub(crate) what_changes: &'static str,
    pub(crate) schema: EventSchema<E>,
    pub(crate) set: FeatureSet,
    /// Entity to route by, and money at stake.
    pub(crate) unit: &'static str,
    pub(crate) amount: &'static str,
    /// What the first champion is trained on, and when it answers.
    pub(crate) train: Range<Timestamp>,
    pub(crate) live: Range<Timestamp>,
    /// When the world changes.
    pub(crate) change: Timestamp,
    pub(crate) rules: Vec<AlertRule>,
    pub(crate) config: LifecycleConfig,
    /// Streams to watch, given a number of rows that the champion was not trained on and the bad ones that it misses among them.
    pub(crate) streams: fn(u64, u64) -> Result<Vec<WatchedStream>>,
    pub(crate) events: Vec<E>,
}

/// What the decisions of a week cost.
#[derive(Default, Clone, Copy)]
struct Week {
    rows: u64,
    cost: f64,
    /// What they would have cost with the first champion.
    first_cost: f64,
}

impl<E: Sync> Scenario<E> {
    pub(crate) fn play(mut self) -> Result<()> {
        println!("{}: {} at {}", self.name, self.what_changes, self.change);
        let plan = self.set.bind(&self.schema)?;
        let frame = plan.compute(&self.events)?;
        let train = self.dataset(&frame, &self.train)?;
        let trainer = GradientBoosting::new(GradientBoostingConfig::default())?;
        let run = TrainingRun::fit(&trainer, &train, Some(self.set.fingerprint()), SEED)?;
        let scores = run.model.score_dataset(&train)?;
        let amounts = train.amounts().unwrap_or(&[]);
        let threshold = self.config.gate.costs.best_threshold(train.labels(), &scores, amounts)?;
        let (n, missed) = self.missed(&frame, &*run.model, threshold)?;
        self.config.monitoring.streams = (self.streams)(n, missed)?;
        let reference = ReferenceProfile::new(&train, &scores, &self.config.profile)?;
        let (first, registry) = (run.model.clone(), Arc::new(ModelRegistry::in_memory()));
        let now = self.live.start;
        let bands = DecisionBands::review_from(threshold)?;
        let evaluation =
            EvaluationReport::new(&train, &scores, threshold, &self.config.gate.costs, CARDS)?;
        let artifact = Artifact::new(self.name, "data-science", now, bands, run);
        let version = registry.register(&artifact, now)?;
        let approval = Signature::new("head-of-risk", "the first model", now);
        registry.ship(&version, &self.config.slot, Evidence::from(&evaluation), approval)?;

        // The replay ticks once a day.
        let alerting = AlertConfig { interval: DAY, ..AlertConfig::default() };
        let alerts = AlertEngine::new(alerting, self.rules.clone(), Vec::new())?;
        let parts = Parts { alerts, ..Parts::in_memory(plan, registry) };
        let lifecycle = Lifecycle::new(self.config.clone(), parts, &[], reference)?;
        let weeks = self.replay(&lifecycle, &frame, &trainer, (&*first, threshold))?;
        self.tell(&lifecycle, &weeks)
    }

    /// Rows between training and the first live day, and the bad ones among them that a model misses.
    fn missed(
        &self,
        frame: &FeatureFrame,
        model: &dyn Model,
        threshold: f64,
    ) -> Result<(u64, u64)> {
        let between = self.train.end..self.live.start;
        if self.rows(&between).is_empty() {
            return Ok((0, 0));
        }
        let data = self.dataset(frame, &between)?;
        let scores = model.score_dataset(&data)?;
        let missed = data.labels().iter().zip(&scores).filter(|(bad, s)| **bad && **s < threshold);
        Ok((data.n_rows() as u64, missed.count() as u64))
    }

    /// Labels arrive as late as the configuration says; every midnight the lifecycle ticks, and does what follows.
    fn replay(
        &self,
        lifecycle: &Lifecycle<E>,
        frame: &FeatureFrame,
        trainer: &GradientBoosting,
        (first, first_threshold): (&dyn Model, f64),
    ) -> Result<Vec<Week>> {
        let delay = self.config.retrain.label_delay;
        let (mut row, mut weeks) = (vec![0.0; frame.schema().n_features()], Vec::new());
        let (mut labelled, mut midnight) = (0, self.live.start.plus(DAY));
        for event in &self.events {
            let at = self.schema.time(event);
            if at >= self.live.end {
                break;
            }
            while let Some(known) = self.events.get(labelled) {
                let arrival = self.schema.time(known).plus(delay);
                if arrival > at {
                    break;
                }
                let bad = self.schema.label(known) == Some(true);
                lifecycle.label(known, bad, arrival);
                labelled += 1;
            }
            while at >= midnight {
                self.midnight(lifecycle, frame, trainer, midnight)?;
                midnight = midnight.plus(DAY);
            }
            if at < self.live.start {
                lifecycle.warm_up(event, &mut row)?;
                continue;
            }
            let prediction = lifecycle.score(event, &mut row)?;
            let bad = self.schema.label(event) == Some(true);
            let amount = self.schema.amount(self.amount, event)?;
            let cost = |alert: bool| self.config.gate.costs.of(bad, alert, amount);
            let week = at.days_since(self.live.start) as usize / 7;
            weeks.resize(weeks.len().max(week + 1), Week::default());
            let week: &mut Week = &mut weeks[week];
            week.rows += 1;
            week.cost += cost(prediction.decision != Decision::Approve);
            week.first_cost += cost(first.score_row(&row)? >= first_threshold);
        }
        Ok(weeks)
    }

    fn midnight(
        &self,
        lifecycle: &Lifecycle<E>,
        frame: &FeatureFrame,
        trainer: &GradientBoosting,
        now: Timestamp,
    ) -> Result<()> {
        lifecycle.tick(now);
        lifecycle.end_shadow(now)?;
        let labels = |range: &Range<Timestamp>| {
            let rows = self.rows(range);
            let is_bad = |row: &&usize| self.schema.label(&self.events[**row]) == Some(true);
            let bad = rows.iter().filter(is_bad).count() as u64;
            LabelCounts { labels: rows.len() as u64, bad, ..LabelCounts::default() }
        };
        if let RetrainDecision::Plan(plan) = lifecycle.plan_retrain(now, labels) {
            let (train, gate) =
                (self.dataset(frame, &plan.train)?, self.dataset(frame, &plan.gate)?);
            lifecycle.retrain(&plan, trainer, &train, &gate, "head-of-risk", SEED)?;
        }
        Ok(())
    }

    fn rows(&self, range: &Range<Timestamp>) -> Vec<usize> {
        let at = |event: &E| self.schema.time(event);
        let start = self.events.partition_point(|event| at(event) < range.start);
        let end = self.events.partition_point(|event| at(event) < range.end);
        (start..end).collect()
    }

    fn dataset(&self, frame: &FeatureFrame, range: &Range<Timestamp>) -> Result<Dataset> {
        let rows = self.rows(range);
        Dataset::from_events(frame, &self.schema, &self.events, &rows, self.unit, self.amount)
    }

    /// The timeline, from alerts and the loop's own trail; and whether it was worth it.
    fn tell(&self, lifecycle: &Lifecycle<E>, weeks: &[Week]) -> Result<()> {
        let trail = lifecycle.retrain_loop().trail();
        RetrainEntry::verify(&trail)?;
        let history = lifecycle.alerts().history(self.live.start..self.live.end.plus(DAY));
        let told = history.iter().filter(|alert| alert.state != AlertState::Pending);
        let mut lines: Vec<(Timestamp, String)> = vec![(self.change, "THE WORLD CHANGES".into())];
        lines.extend(told.map(|alert| {
            let why = alert.ended.as_ref().map_or(String::new(), |ended| format!(", {ended:?}"));
            let value = alert.value.unwrap_or(f64::NAN);
            (
                alert.at,
                format!("{:?} {}: {} = {value:.3}{why}", alert.state, alert.rule, alert.metric),
            )
        }));
        lines.extend(
            trail.iter().map(|entry| (entry.at, format!("{}: {}", entry.actor, entry.event))),
        );
        lines.sort_by_key(|(at, _)| *at); // stable: alerts before what follows from them
        for (at, line) in &lines {
            println!("  {} {line}", &at.to_string()[..10]);
        }

        println!("  week of     rows  cost per row, with the first champion all along");
        for (i, week) in weeks.iter().enumerate() {
            let (at, n) = (self.live.start.plus(days(7 * i as u64)), week.rows as f64);
            let (cost, first) = (week.cost / n, week.first_cost / n);
            println!("  {} {:>6}  {cost:>8.4}  {first:>8.4}", &at.to_string()[..10], week.rows);
        }
        let fired = history.iter().find(|alert| alert.state == AlertState::Firing);
        let promoted = trail.iter().rfind(|e| matches!(e.event, RetrainEvent::Promoted { .. }));
        let days_after = |at: Timestamp| at.days_since(self.change);
        match (fired, promoted) {
            (Some(fired), Some(promoted)) => {
                let since = promoted.at.days_since(self.live.start) as usize / 7 + 1;
                let after = weeks.iter().skip(since);
                let (cost, first) = after.fold((0.0, 0.0), |(cost, first), week| {
                    (cost + week.cost, first + week.first_cost)
                });
                println!(
                    "  {}: first alert {} days after the change, new champion after {}; from then on its decisions cost {:.1} % \
                     less than the first champion's would have",
                    self.name,
                    days_after(fired.at),
                    days_after(promoted.at),
                    100.0 * (1.0 - cost / first)
                );
            }
            (fired, _) => println!(
                "  {}: first alert {:?} days after the change, no new champion",
                self.name,
                fired.map(|alert| days_after(alert.at))
            ),
        }
        Ok(())
    }
}
