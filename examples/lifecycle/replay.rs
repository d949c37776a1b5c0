//! The past as live traffic: every event through the online features, the live weeks through the whole façade.

use std::collections::BTreeMap;
use std::time::Instant;

use riskcycle::dataset::Dataset;
use riskcycle::drift::DriftReport;
use riskcycle::event::EventSchema;
use riskcycle::feature::{FeatureFrame, LabelOutcome};
use riskcycle::lifecycle::{Lap, Lifecycle, RetrainOutcome};
use riskcycle::model::Trainer;
use riskcycle::monitor::{Finding, LabelCounts};
use riskcycle::retrain::{RetrainDecision, RetrainPlan};
use riskcycle::stats::LatencyHistogram;
use riskcycle::testing::handbook::{self, Transaction};
use riskcycle::{Result, Timestamp, days};
use serde::{Serialize, Serializer};

use crate::{SEED, Timeline, bar};

/// What happened while live.
#[derive(Debug, Serialize)]
pub(crate) struct Replayed {
    pub(crate) parity: Parity,
    /// Requests by the version that answered.
    answered: BTreeMap<String, Answered>,
    labels_late: u64,
    days: Vec<Day>,
    retrains: Vec<Retrain>,
    #[serde(skip)]
    latency: Latency,
}

/// Online vectors against batch rows, bit for bit.
#[derive(Debug, Default, Clone, Copy, Serialize)]
pub(crate) struct Parity {
    pub(crate) rows: usize,
    pub(crate) different: usize,
}

#[derive(Debug, Default, Serialize)]
struct Answered {
    requests: u64,
    reviews: u64,
    frauds: u64,
    frauds_reviewed: u64,
}

#[derive(Debug, Serialize)]
struct Day {
    #[serde(serialize_with = "as_text")]
    to: Timestamp,
    drift: Option<DriftReport>,
    findings: Vec<Finding>,
}

#[derive(Debug, Serialize)]
struct Retrain {
    plan: RetrainPlan,
    outcome: RetrainOutcome,
}

fn as_text<S: Serializer>(at: &Timestamp, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_str(at)
}

#[derive(Debug, Default)]
struct Latency {
    by_stage: BTreeMap<&'static str, LatencyHistogram>,
    total: LatencyHistogram,
    nanos: u128,
}

/// Label delay of the replay.
const LABEL_DELAY: std::time::Duration = days(7);

/// Runs through all events in order. Labels arrive seven days after their event; every midnight of the live weeks the
/// lifecycle ticks, and if an alert calls for it, retrains.
pub(crate) fn replay(
    lifecycle: &Lifecycle<Transaction>,
    timeline: &Timeline,
    events: &[Transaction],
    frame: &FeatureFrame,
    trainer: &dyn Trainer,
    dataset: &dyn Fn(&[usize]) -> Result<Dataset>,
) -> Result<Replayed> {
    let live = timeline.split.test_range().start..timeline.live_to;
    let mut replayed = Replayed {
        parity: Parity::default(),
        answered: BTreeMap::new(),
        labels_late: 0,
        days: Vec::new(),
        retrains: Vec::new(),
        latency: Latency::default(),
    };
    let (mut online, mut batch) = (vec![0.0; frame.schema().n_features()], Vec::new());
    batch.clone_from(&online);
    let (mut labelled, mut midnight) = (0, live.start.plus(days(1)));
    let progress = bar(Some(events.len() as u64), "  replaying");
    for (row, event) in events.iter().enumerate() {
        while events[labelled].at.plus(LABEL_DELAY) <= event.at {
            let known = &events[labelled];
            let known_at = known.at.plus(LABEL_DELAY);
            let (outcome, _) = lifecycle.label(known, known.fraud, known_at);
            replayed.labels_late += u64::from(outcome == LabelOutcome::Late);
            labelled += 1;
        }
        while event.at >= midnight && midnight <= live.end {
            replayed.tick(lifecycle, midnight, events, trainer, dataset)?;
            midnight = midnight.plus(days(1));
        }
        if live.contains(&event.at) {
            replayed.answer(lifecycle, event, &mut online)?;
        } else {
            lifecycle.warm_up(event, &mut online)?;
        }
        frame.copy_row(row, &mut batch);
        let same = online.iter().zip(&batch).all(|(a, b)| a.to_bits() == b.to_bits());
        replayed.parity.rows += 1;
        replayed.parity.different += usize::from(!same);
        if row % 4096 == 0 {
            progress.set_position(row as u64);
        }
    }
    progress.finish_and_clear();
    Ok(replayed)
}

impl Replayed {
    fn answer(
        &mut self,
        lifecycle: &Lifecycle<Transaction>,
        event: &Transaction,
        row: &mut [f64],
    ) -> Result<()> {
        let (start, latency) = (Instant::now(), &mut self.latency);
        let mut last = start;
        let prediction = lifecycle.score_with_laps(event, row, |lap| {
            let now = Instant::now();
            let stage = match lap {
                Lap::Feature => "1 features",
                Lap::Route => "2 route",
                Lap::Predict => "3 score, decide",
                Lap::Record => "4 log, count",
            };
            let nanos = now.duration_since(last).as_nanos() as u64;
            latency.by_stage.entry(stage).or_default().record(nanos);
            last = now;
        })?;
        let nanos = last.duration_since(start).as_nanos();
        latency.total.record(nanos as u64);
        latency.nanos += nanos;
        let answered = self.answered.entry(prediction.model.to_string()).or_default();
        let review = prediction.decision.is_alert();
        answered.requests += 1;
        answered.reviews += u64::from(review);
        answered.frauds += u64::from(event.fraud);
        answered.frauds_reviewed += u64::from(event.fraud && review);
        Ok(())
    }

    fn tick(
        &mut self,
        lifecycle: &Lifecycle<Transaction>,
        now: Timestamp,
        events: &[Transaction],
        trainer: &dyn Trainer,
        dataset: &dyn Fn(&[usize]) -> Result<Dataset>,
    ) -> Result<()> {
        let tick = lifecycle.tick(now);
        self.days.push(Day { to: now, drift: tick.drift, findings: tick.findings });
        let schema: EventSchema<Transaction> = handbook::events();
        let within = |range: &std::ops::Range<Timestamp>| -> Vec<usize> {
            let at = |event: &Transaction| schema.time(event);
            let start = events.partition_point(|event| at(event) < range.start);
            let end = events.partition_point(|event| at(event) < range.end);
            (start..end).collect()
        };
        // Labels of days before the model was live are in the host's history.
        let labels = |range: &std::ops::Range<Timestamp>| {
            let rows = within(range);
            let bad = rows.iter().filter(|row| events[**row].fraud).count() as u64;
            LabelCounts { labels: rows.len() as u64, bad, ..LabelCounts::default() }
        };
        if let RetrainDecision::Plan(plan) = lifecycle.plan_retrain(now, labels) {
            let (train, gate) = (dataset(&within(&plan.train))?, dataset(&within(&plan.gate))?);
            let outcome =
                lifecycle.retrain(&plan, trainer, &train, &gate, "head-of-fraud", SEED)?;
            self.retrains.push(Retrain { plan, outcome });
        }
        Ok(())
    }

    /// The summary's key figure.
    pub(crate) fn figure(&self) -> String {
        let promoted = self.retrains.iter().filter(|r| r.outcome.verdict.promote).count();
        let (retrains, Parity { different, .. }) = (self.retrains.len(), self.parity);
        format!("{different} vectors unlike batch; {promoted} of {retrains} challengers promoted")
    }

    pub(crate) fn print(&self) {
        let Parity { rows, different } = self.parity;
        println!("  online against batch: {rows} rows, {different} different");
        println!("  labels that came too late for a feature: {}", self.labels_late);
        println!("  answered by");
        for (model, a) in &self.answered {
            println!(
                "    {model:<24} {:>8} requests  {:>6} reviews  {:>5} of {:>5} frauds found",
                a.requests, a.reviews, a.frauds_reviewed, a.frauds
            );
        }
        println!("  drift against the training week, day by day (PSI)");
        println!(
            "    day         score  amount highest other column, calendar aside: any one day has a weekday of its own"
        );
        for Day { to, drift, .. } in &self.days {
            let Some(drift) = drift else { continue };
            let score = drift.score.as_ref().map_or(f64::NAN, |column| column.psi);
            let amount = drift.features.iter().find(|column| column.column == "amount");
            let amount = amount.map_or(f64::NAN, |column| column.psi);
            let aside = ["amount", "during_weekend", "during_night"];
            let others = drift.features.iter().filter(|c| !aside.contains(&c.column.as_str()));
            let highest = others.max_by(|a, b| a.psi.total_cmp(&b.psi));
            let highest = highest.map_or(String::new(), |c| format!("{} {:.3}", c.column, c.psi));
            println!("    {}  {score:.3}  {amount:.3}  {highest}", &to.to_string()[..10]);
        }
        for Retrain { plan, outcome } in &self.retrains {
            println!("  retrain at {} because {}", plan.at, plan.reason());
            println!("    train {} to {}", plan.train.start, plan.train.end);
            println!("    judge {} to {}", plan.gate.start, plan.gate.end);
            println!(
                "    {} against {}: {}",
                outcome.challenger, outcome.champion, outcome.verdict
            );
        }
        if self.retrains.is_empty() {
            println!("  no alert called for a retrain");
        }
        println!("  latency, µs            p50      p99      max");
        let stages = self.latency.by_stage.iter().map(|(stage, histogram)| (*stage, histogram));
        for (stage, histogram) in stages.chain([("  all", &self.latency.total)]) {
            let micros = |nanos: Option<u64>| nanos.unwrap_or(0) as f64 / 1000.0;
            println!(
                "    {stage:<16} {:>8.2} {:>8.2} {:>8.0}",
                micros(histogram.quantile(0.5)),
                micros(histogram.quantile(0.99)),
                micros(Some(histogram.max()))
            );
        }
        let n = self.latency.total.count();
        let seconds = self.latency.nanos as f64 / 1e9;
        println!("  {n} requests, {:.0} requests/s on one thread", n as f64 / seconds);
    }
}
