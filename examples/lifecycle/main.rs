//! The main job: a model's whole life on card transactions, from raw events to the retrained challenger.
//!
//! ```text
//! cargo run --release --example lifecycle                                # a seeded world that ships with riskcycle
//! cargo run --release --example lifecycle -- --data transactions.csv.gz  # the Fraud Detection Handbook's raw layout
//!     [--reference features.csv.gz]   compare our features with the handbook's own, row by row
//!     [--out FOLDER]                  where report.json and the artifacts go; target/lifecycle by default
//! ```

mod published;
mod replay;
mod report;

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};
use riskcycle::alert::{
    AlertConfig, AlertEngine, AlertRule, Comparison, GroupConfig, Receiver, Severity,
    StderrAlertSink,
};
use riskcycle::dataset::{Dataset, TimeSplit};
use riskcycle::drift::{ProfileConfig, ReferenceProfile};
use riskcycle::evaluate::{Costs, DecisionBands, EvaluationReport};
use riskcycle::experiment::HashRouter;
use riskcycle::lifecycle::{Lifecycle, LifecycleConfig, Parts};
use riskcycle::model::{
    GradientBoosting, GradientBoostingConfig, LogisticRegression, LogisticRegressionConfig,
    ModelExt, Trainer,
};
use riskcycle::monitor::Metric;
use riskcycle::registry::{
    Artifact, DirectoryArtifactStore, Evidence, InMemoryRegistryLog, ModelRegistry, ModelVersion,
    RegistryConfig, RegistryLogEntry,
};
use riskcycle::retrain::RetrainConfig;
use riskcycle::testing::World;
use riskcycle::testing::handbook::{self, START, Transaction};
use riskcycle::train::TrainingRun;
use riskcycle::{Error, Result, Seed, Signature, Timestamp, days};

use crate::report::{ModelReport, Report, Stopwatch};

const SEED: Seed = Seed(20_180_401);
const SLOT: &str = "card-fraud";
const CARDS_PER_DAY: usize = 100;

fn main() -> ExitCode {
    match Options::parse(std::env::args().skip(1)).and_then(|options| run(&options)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            ExitCode::FAILURE
        }
    }
}

struct Options {
    data: Option<PathBuf>,
    reference: Option<PathBuf>,
    out: PathBuf,
}

impl Options {
    fn parse(mut args: impl Iterator<Item = String>) -> Result<Self> {
        let mut options =
            Options { data: None, reference: None, out: PathBuf::from("target/lifecycle") };
        let refuse = |what: &str| {
            let reason = format!("{what}; known are --data FILE, --reference FILE, --out FOLDER");
            Error::InvalidInput { what: "command line", reason }
        };
        while let Some(flag) = args.next() {
            let value = args.next().ok_or_else(|| refuse(&format!("{flag} needs a value")))?;
            match flag.as_str() {
                "--data" => options.data = Some(value.into()),
                "--reference" => options.reference = Some(value.into()),
                "--out" => options.out = value.into(),
                _ => return Err(refuse(&format!("{flag} is not known"))),
            }
        }
        Ok(options)
    }
}

/// When things happen: the first day of training is all that differs between the handbook and the world.
#[derive(Clone, Copy)]
pub(crate) struct Timeline {
    split: TimeSplit,
    /// From here on, all amounts are half as high again.
    drift_from: Timestamp,
    live_to: Timestamp,
}

impl Timeline {
    fn new(first_day: u64) -> Self {
        let start = START.plus(days(first_day));
        let split = TimeSplit { start, train: days(7), gap: days(7), test: days(7) };
        let drift_from = split.test_range().start.plus(days(14));
        // A challenger trained on a drifted week, judged on the next one, labels a week later, and some days on duty.
        Timeline { split, drift_from, live_to: drift_from.plus(days(28)) }
    }
}

fn run(options: &Options) -> Result<()> {
    let mut report = Report::default();
    let mut watch = Stopwatch::default();

    println!("1 event → feature");
    let (mut events, timeline) = match &options.data {
        Some(path) => (read(path)?, Timeline::new(115)), // train 2018-07-25 to 07-31
        None => (World::default().transactions(SEED)?, Timeline::new(37)),
    };
    let n_fraud = events.iter().filter(|event| event.fraud).count();
    watch.lap("1 event", events.len(), format!("{n_fraud} frauds"));
    drift_away(&mut events, timeline.drift_from);
    println!("  {} transactions, {n_fraud} frauds", events.len());
    println!("  from {} to {}", events[0].at, events[events.len() - 1].at);

    let schema = handbook::events();
    let set = handbook::features();
    let plan = set.bind(&schema)?;
    let spinner = bar(None, "  computing features");
    let frame = plan.compute(&events)?;
    spinner.finish_and_clear();
    println!(
        "  feature set {} ({}), {} features",
        set.name(),
        set.fingerprint().short(),
        set.features().len()
    );
    watch.lap("2 feature, in batch", frame.n_rows(), format!("{} features", set.features().len()));
    report.events = events.len();
    report.frauds = n_fraud;
    report.feature_set = set.fingerprint();
    if let Some(path) = &options.reference {
        let comparison = published::compare_features(path, &events, &frame)?;
        println!("  against {}: {comparison}", path.display());
        report.reference = Some(comparison);
        watch.lap("2 feature, the handbook's", comparison.rows, comparison.to_string());
    }

    println!("2 dataset");
    let rows = timeline.split.rows(&schema, &events, "customer")?;
    let dataset =
        |rows: &[usize]| Dataset::from_events(&frame, &schema, &events, rows, "customer", "amount");
    let (train, test) = (dataset(&rows.train)?, dataset(&rows.test)?);
    describe("train", &train, timeline.split.train_range());
    describe("test ", &test, timeline.split.test_range());
    println!("  {} rows of customers known to be compromised left the test", rows.removed);
    let frauds = format!("{} and {} frauds", train.n_bad(), test.n_bad());
    watch.lap("3 dataset", train.n_rows() + test.n_rows(), frauds);

    println!("3 train");
    let logistic = LogisticRegression::new(LogisticRegressionConfig::default())?;
    let boosting = GradientBoosting::new(GradientBoostingConfig::default())?;
    let trainers: [(&str, &dyn Trainer); 2] = [("logistic", &logistic), ("boosting", &boosting)];
    let mut runs = Vec::new();
    for (name, trainer) in trainers {
        let spinner = bar(None, &format!("  fitting {}", trainer.name()));
        let run = TrainingRun::fit(trainer, &train, Some(set.fingerprint()), SEED)?;
        spinner.finish_and_clear();
        let mut outcome = "fitted".to_owned();
        match run.record.convergence {
            Some(c) if c.converged() => {
                println!("  {}: converged, gradient {:.1e} per row", trainer.name(), c.gradient);
                outcome = format!("converged, gradient {:.1e}", c.gradient);
            }
            Some(c) => {
                let (gradient, tolerance) = (c.gradient, c.tolerance);
                outcome =
                    format!("NOT converged, gradient {gradient:.1e}, tolerance {tolerance:.1e}");
                println!("  {}: {outcome} per row", trainer.name());
            }
            None => println!("  {}: fitted", trainer.name()),
        }
        watch.lap(&format!("4, 5 fit {name}"), train.n_rows(), outcome);
        runs.push((name, run));
    }

    println!("4 evaluate, each at the threshold that costs least on the training week");
    let costs = Costs::default();
    let mut artifacts = Vec::new();
    for (name, run) in runs {
        let (artifact, evaluation) = evaluate(name, run, &train, &test, &costs)?;
        println!("  {name}: {}", evaluation.to_string().replace('\n', "\n    "));
        artifacts.push((artifact, evaluation));
    }
    let logistic_evaluation = &artifacts[0].1;
    if let Some(table) = published::compare_logistic(&train, logistic_evaluation) {
        println!("{table}");
    }
    let figures = artifacts.iter().map(|(_, e)| format!("{:.4}", e.average_precision));
    let figures = format!("AP {}", figures.collect::<Vec<_>>().join(" and "));
    watch.lap("6 evaluate", 2 * test.n_rows(), figures);

    println!("5 registry");
    let store = Arc::new(DirectoryArtifactStore::open(options.out.join("artifacts"))?);
    let log = Arc::new(InMemoryRegistryLog::default());
    let registry = ModelRegistry::open(RegistryConfig::default(), store.clone(), log)?;
    let registry = Arc::new(registry);
    let decided = timeline.split.test_range().start;
    let mut versions: Vec<ModelVersion> = Vec::new();
    for (artifact, evaluation) in artifacts {
        let version = registry.register(&artifact, decided)?;
        println!(
            "  {} in {} (SHA-256 {}, schema {})",
            version.model,
            store.path(&version.artifact).display(),
            version.artifact.short(),
            version.schema.short()
        );
        let training = artifact.training;
        report.models.push(ModelReport { version: version.clone(), training, evaluation });
        versions.push(version);
    }
    let precision = [0, 1].map(|i| report.models[i].evaluation.average_precision);
    let best = usize::from(precision[1] > precision[0]);
    let (champion, challenger) = (&versions[best].model, &versions[1 - best].model);
    let evidence = Evidence::from(&report.models[best].evaluation);
    let (higher, lower) = (precision[best], precision[1 - best]);
    let reason = format!("average precision {higher:.4} against {lower:.4} on the test week");
    let approval = Signature::new("head-of-fraud", &reason, decided);
    registry.ship(&versions[best], SLOT, evidence, approval)?;
    print_audit(&registry.audit());
    watch.lap("7 registry", versions.len(), format!("champion {champion}"));

    println!("6 experiment → serve, 7 monitor → drift → alert, 8 retrain");
    let champion_model = registry.load(champion)?.model;
    let scores = champion_model.score_dataset(&train)?;
    let reference = ReferenceProfile::new(&train, &scores, &ProfileConfig::default())?;
    // The replay ticks once a day, and need not be told of the same thing more than once a week.
    let group = GroupConfig { repeat: days(7), ..GroupConfig::default() };
    let alerting = AlertConfig { interval: days(1), group, ..AlertConfig::default() };
    let receivers = vec![Receiver::new("console", Arc::new(StderrAlertSink))];
    let parts = Parts {
        router: Arc::new(HashRouter::new("card-fraud-1", &[800_000, 200_000])?),
        alerts: AlertEngine::new(alerting, rules(), receivers)?,
        ..Parts::in_memory(plan, registry.clone())
    };
    let retrain = RetrainConfig { cool_down: days(21), ..RetrainConfig::default() };
    let config = LifecycleConfig { retrain, ..LifecycleConfig::new(SLOT, "customer") };
    let lifecycle = Lifecycle::new(config, parts, std::slice::from_ref(challenger), reference)?;
    let replayed = replay::replay(&lifecycle, &timeline, &events, &frame, &logistic, &dataset)?;
    watch.lap("8 to 13 live", replayed.parity.rows, replayed.figure());
    replayed.print();
    print_audit(&registry.audit());
    RegistryLogEntry::verify(&registry.audit())?;

    report.audit = registry.audit();
    report.alerts = lifecycle
        .alerts()
        .history(timeline.split.test_range().start..timeline.live_to.plus(days(1)));
    report.live = Some(replayed);
    report.timings = watch.laps();
    report.write(&options.out.join("report.json"))?;
    report.summary(watch.total());
    report.check()
}

fn read(path: &Path) -> Result<Vec<Transaction>> {
    let spinner = bar(None, "  reading");
    let events = handbook::read(path, |rows| spinner.set_position(rows))?;
    spinner.finish_and_clear();
    Ok(events)
}

/// The world changes: prices rise by half.
fn drift_away(events: &mut [Transaction], from: Timestamp) {
    for event in events.iter_mut().filter(|event| event.at >= from) {
        event.cents += event.cents / 2;
    }
}

fn describe(name: &str, data: &Dataset, range: std::ops::Range<Timestamp>) {
    let (n, bad) = (data.n_rows(), data.n_bad());
    println!("  {name} {} to {}: {n} rows, {bad} frauds", range.start, range.end);
}

/// A model with its threshold as an artifact, and what it is worth on the test week.
fn evaluate(
    name: &str,
    run: TrainingRun,
    train: &Dataset,
    test: &Dataset,
    costs: &Costs,
) -> Result<(Artifact, EvaluationReport)> {
    let train_scores = run.model.score_dataset(train)?;
    let amounts = train.amounts().unwrap_or(&[]);
    let threshold = costs.best_threshold(train.labels(), &train_scores, amounts)?;
    let scores = run.model.score_dataset(test)?;
    let created = train.times().and_then(|times| times.last().copied()).unwrap_or_default();
    let evaluation = EvaluationReport::new(test, &scores, threshold, costs, CARDS_PER_DAY)?;
    let name = format!("card-fraud-{name}");
    let bands = DecisionBands::review_from(threshold)?;
    let mut artifact = Artifact::new(&name, "data-science", created, bands, run);
    artifact.costs = Some(*costs);
    Ok((artifact, evaluation))
}

fn rules() -> Vec<AlertRule> {
    let psi = |id: &str, column: &str, threshold: f64| AlertRule {
        description: format!("{column} has moved away from the training data; retrain"),
        hold: days(1),
        min_samples: 1000,
        ..AlertRule::new(id, Metric::psi(column), Comparison::Above, threshold)
    };
    let fallbacks = AlertRule {
        description: "the model cannot score; look at the inputs".into(),
        window: days(1),
        min_samples: 100,
        severity: Severity::Critical,
        ..AlertRule::new("fallbacks", Metric::FallbackRate, Comparison::Above, 0.05)
    };
    vec![psi("amount-drift", "amount", 0.1), psi("score-drift", "score", 0.1), fallbacks]
}

fn print_audit(trail: &[RegistryLogEntry]) {
    println!("  audit trail:");
    trail.iter().for_each(|entry| println!("    {entry}"));
}

/// A progress bar on standard error, or a spinner with a counter where the end is not known.
pub(crate) fn bar(length: Option<u64>, what: &str) -> ProgressBar {
    let (bar, template) = match length {
        Some(length) => (ProgressBar::new(length), "{msg} {wide_bar} {percent} % {eta}"),
        None => (ProgressBar::new_spinner(), "{msg} {spinner} {human_pos} {elapsed}"),
    };
    bar.set_style(ProgressStyle::with_template(template).expect("a fixed template"));
    bar.set_message(what.to_owned());
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}
