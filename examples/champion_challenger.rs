//! A champion and a challenger on live card transactions, from the plan to the verdict, with labels that come a week late.
//!
//! ```text
//! cargo run --release --example champion_challenger                      # a seeded world that ships with riskcycle
//! cargo run --release --example champion_challenger -- FILE.csv[.gz]     # the Fraud Detection Handbook's raw layout
//! ```
//!
//! A logistic regression answers as champion; a decision tree challenges it on half of the customers. The reviewers are
//! busy, so the plan decides by precision; neither costs nor approvals may get worse. It is looked at every week. Each
//! answer's token waits with the transaction for the label and takes it back to the experiment.

use std::collections::VecDeque;
use std::path::Path;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use riskcycle::dataset::{Dataset, TimeSplit};
use riskcycle::drift::{ProfileConfig, ReferenceProfile};
use riskcycle::evaluate::{Costs, DecisionBands, EvaluationReport};
use riskcycle::experiment::{
    AnalysisPlan, Experiment, ExperimentConfig, ExperimentRecorder, ExposureToken, Guardrail,
    Metric, Mode, RecorderConfig, RoutingConfig, StopReason, Verdict,
};
use riskcycle::lifecycle::{Lifecycle, LifecycleConfig, Parts};
use riskcycle::model::{
    LinfaTree, LinfaTreeConfig, LogisticRegression, LogisticRegressionConfig, ModelExt, Trainer,
};
use riskcycle::registry::{Artifact, Evidence, ModelRegistry};
use riskcycle::testing::World;
use riskcycle::testing::handbook::{self, START, Transaction};
use riskcycle::train::TrainingRun;
use riskcycle::{AuditEntry, ModelRef, Result, Seed, Signature, Timestamp, days};

const SEED: Seed = Seed(20_180_401);
const SLOT: &str = "card-fraud";
const LABEL_DELAY: Duration = days(7);

fn main() -> ExitCode {
    let path = std::env::args().nth(1);
    match run(path.as_deref().map(Path::new)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(path: Option<&Path>) -> Result<()> {
    let (events, first_day) = match path {
        Some(path) => (handbook::read(path, |_| {})?, 115), // train 2018-07-25 to 07-31
        None => (World::default().transactions(SEED)?, 37),
    };
    let split = TimeSplit {
        start: START.plus(days(first_day)),
        train: days(7),
        gap: days(7),
        test: days(7),
    };
    // Live from the test week on, for five weeks.
    let live = split.test_range().start..split.test_range().start.plus(days(35));

    println!("1  two models, trained on a week");
    let (schema, set) = (handbook::events(), handbook::features());
    let plan = set.bind(&schema)?;
    let frame = plan.compute(&events)?;
    let rows = split.rows(&schema, &events, "customer")?;
    let dataset =
        |rows: &[usize]| Dataset::from_events(&frame, &schema, &events, rows, "customer", "amount");
    let (train, test) = (dataset(&rows.train)?, dataset(&rows.test)?);
    let costs = Costs::default();
    let registry = Arc::new(ModelRegistry::in_memory());
    let logistic = LogisticRegression::new(LogisticRegressionConfig::default())?;
    let tree = LinfaTree::new(LinfaTreeConfig::default())?;
    let trainers: [(&str, &dyn Trainer); 2] = [("logistic", &logistic), ("tree", &tree)];
    let mut registered = Vec::new();
    for (name, trainer) in trainers {
        let run = TrainingRun::fit(trainer, &train, Some(set.fingerprint()), SEED)?;
        let scores = run.model.score_dataset(&train)?;
        let amounts = train.amounts().unwrap_or(&[]);
        let threshold = costs.best_threshold(train.labels(), &scores, amounts)?;
        let test_scores = run.model.score_dataset(&test)?;
        let report = EvaluationReport::new(&test, &test_scores, threshold, &costs, 100)?;
        println!("   {name}: {}", report.to_string().replace('\n', "\n      "));
        let bands = DecisionBands::review_from(threshold)?;
        let artifact = Artifact::new(name, "data-science", live.start, bands, run);
        registered.push((registry.register(&artifact, live.start)?, Evidence::from(&report)));
    }
    let approval = Signature::new("head-of-fraud", "in production already", live.start);
    let (first, evidence) = &registered[0];
    registry.ship(first, SLOT, evidence.clone(), approval)?;
    let versions: Vec<ModelRef> = registered.iter().map(|(of, _)| of.model.clone()).collect();
    let (champion, challenger) = (&versions[0], &versions[1]);

    println!("2  the plan, fixed before the first transaction");
    let experiment = Arc::new(Experiment::new(
        ExperimentConfig {
            name: "a tree against the logistic regression".into(),
            arms: versions.clone(),
            routing: RoutingConfig::new("card-fraud-tree-1", &[500_000, 500_000]),
            mode: Mode::AbTest,
            plan: AnalysisPlan {
                maturity: LABEL_DELAY,
                secondary: vec![Metric::Recall, Metric::RocAuc, Metric::AveragePrecision],
                guardrails: vec![
                    Guardrail { metric: Metric::Cost, margin: 0.1 },
                    Guardrail { metric: Metric::ApprovalRate, margin: 0.005 },
                ],
                costs,
                ..AnalysisPlan::new(Metric::Precision, 2000, 150_000)
            },
        },
        Signature::new(
            "data-science",
            "the tree alerts less and finds as much on the test week",
            live.start,
        ),
    )?);
    let AnalysisPlan { primary, alpha, .. } = &experiment.config().plan;
    println!("   decides by {primary}, α {alpha}");
    experiment.start(Signature::new("head-of-fraud", "approved", live.start))?;

    println!("3  live, half of the customers each; labels a week later; a look every week");
    let recorder = Arc::new(ExperimentRecorder::new(&experiment, RecorderConfig::default())?);
    let champion_model = registry.load(champion)?.model;
    let scores = champion_model.score_dataset(&train)?;
    let reference = ReferenceProfile::new(&train, &scores, &ProfileConfig::default())?;
    let parts = Parts {
        router: experiment.router(),
        recorder: Some(recorder.clone()),
        ..Parts::in_memory(plan, registry.clone())
    };
    let config =
        LifecycleConfig { amount: Some("amount".into()), ..LifecycleConfig::new(SLOT, "customer") };
    let lifecycle = Lifecycle::new(config, parts, std::slice::from_ref(challenger), reference)?;
    replay(&lifecycle, &experiment, &recorder, &events, &live)?;

    println!("4  the verdict, once the last labels are there");
    let end = live.end.plus(LABEL_DELAY).plus(days(1));
    let report = experiment
        .decide(&recorder.statistics(), Signature::new("head-of-fraud", "labels are in", end))?;
    println!("   {}", report.to_string().replace('\n', "\n   "));
    if let Verdict::Ship { arm } = report.verdict {
        let (winner, evidence) = &registered[usize::from(arm)];
        let reason = report.verdict.to_string();
        let approval = Signature::new("head-of-fraud", &reason, end);
        let winner = registry.ship(winner, SLOT, evidence.clone(), approval)?;
        println!("   {} is champion now", winner.model);
    }

    println!("5  the trail");
    let trail = experiment.audit();
    AuditEntry::verify(&trail)?;
    trail.iter().for_each(|entry| println!("   {entry}"));
    Ok(())
}

/// Every transaction through the features, the live ones through the whole lifecycle; each label a week after.
fn replay(
    lifecycle: &Lifecycle<Transaction>,
    experiment: &Experiment,
    recorder: &ExperimentRecorder,
    events: &[Transaction],
    live: &std::ops::Range<Timestamp>,
) -> Result<()> {
    let mut row = vec![0.0; lifecycle.features().plan().schema().n_features()];
    // What the host keeps with each transaction until its label comes.
    let mut waiting: VecDeque<(&Transaction, Option<ExposureToken>)> = VecDeque::new();
    let mut next_look = live.start.plus(days(7));
    // Labels of the last live day come a week after it.
    let end = live.end.plus(LABEL_DELAY);
    let known = |waiting: &mut VecDeque<(&Transaction, Option<ExposureToken>)>, now: Timestamp| {
        while waiting.front().is_some_and(|(event, _)| event.at.plus(LABEL_DELAY) <= now) {
            let Some((event, token)) = waiting.pop_front() else { break };
            let at = event.at.plus(LABEL_DELAY);
            match token {
                Some(token) => drop(lifecycle.label_exposed(event, event.fraud, &token, at)),
                None => drop(lifecycle.label(event, event.fraud, at)),
            }
        }
    };
    for event in events.iter().filter(|event| event.at < live.end) {
        known(&mut waiting, event.at);
        while event.at >= next_look {
            look(experiment, recorder, next_look)?;
            next_look = next_look.plus(days(7));
        }
        let token = match live.contains(&event.at) {
            true => lifecycle.score(event, &mut row)?.exposure,
            false => {
                lifecycle.warm_up(event, &mut row)?;
                None
            }
        };
        waiting.push_back((event, token));
    }
    let stopped = Signature::new("head-of-fraud", "five weeks are over", live.end);
    experiment.stop(StopReason::Complete, stopped)?;
    known(&mut waiting, end);
    look(experiment, recorder, end.plus(days(1)))
}

fn look(experiment: &Experiment, recorder: &ExperimentRecorder, now: Timestamp) -> Result<()> {
    let signature = Signature::new("data-science", "weekly look", now);
    let (report, _) = experiment.look(&recorder.statistics(), signature)?;
    println!("   {} {}", &now.to_string()[..10], report.comparisons[0].primary);
    Ok(())
}
