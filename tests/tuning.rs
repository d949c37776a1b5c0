//! Cross-validation, tuning and run logs: nothing is tested on what it was trained on, and a search survives being killed.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use riskcycle::dataset::{Dataset, FoldPlan};
use riskcycle::evaluate::ScoreMetric;
use riskcycle::model::{Fitted, LogisticRegression, LogisticRegressionConfig, ModelExt, Trainer};
use riskcycle::ndarray::Array2;
use riskcycle::train::{
    CrossValidation, InMemoryRunLog, InMemoryTuningJournal, JsonLinesRunLog,
    JsonLinesTuningJournal, Metric, ParameterRange, ParameterSet, RunEntry, RunLog, RunLogExt,
    SearchSpace, SearchStrategy, TrainingRun, Trial, Tuner, TunerConfig, TuningEnd, TuningJournal,
    TuningResult, TuningTask,
};
use riskcycle::{Error, FeatureSchema, Result, Seed};

/// Two features that tell and three that do not.
fn data() -> Dataset {
    let cell = |(i, j): (usize, usize)| ((i * (j + 3) * 7919) % 1009) as f64 / 1009.0;
    let features = Array2::from_shape_fn((240, 5), cell);
    let bad = (0..240).map(|i| cell((i, 0)) + cell((i, 1)) > 1.2).collect();
    let schema = FeatureSchema::new((0..5).map(|i| format!("x{i}"))).unwrap();
    Dataset::new(schema, features, bad).unwrap()
}

fn regression(l2: f64) -> LogisticRegression {
    LogisticRegression::new(LogisticRegressionConfig { l2, ..Default::default() }).unwrap()
}

const FOLDS: FoldPlan = FoldPlan::Stratified { folds: 3 };

#[test]
fn scores_out_of_fold_are_those_of_models_that_did_not_see_the_row() {
    let data = data();
    let metrics: [&dyn Metric; 2] = [&ScoreMetric::RocAuc, &ScoreMetric::LogLoss];
    let validated =
        CrossValidation::new(&regression(1.0), &data, &FOLDS, &metrics, Seed(4)).unwrap();
    assert_eq!(validated.folds.len(), 3);
    let splits = FOLDS.split(&data, Seed(4).derive("folds", 0)).unwrap();
    for (fold, split) in validated.folds.iter().zip(&splits) {
        let by_hand =
            regression(1.0).fit(&data.select_rows(&split.train).unwrap(), Seed(4)).unwrap();
        for &row in &split.test {
            let score = by_hand.model.score_row(data.row(row)).unwrap();
            assert_eq!(validated.out_of_fold[row].to_bits(), score.to_bits());
        }
        assert_eq!((fold.n_train, fold.n_test), (split.train.len(), split.test.len()));
    }
    let areas: Vec<f64> = validated.folds.iter().map(|fold| fold.test[0]).collect();
    let summary = &validated.metrics[0];
    assert!((summary.mean - areas.iter().sum::<f64>() / 3.0).abs() < 1e-15);
    assert!(summary.gap > 0.0 && summary.deviation > 0.0, "{validated}");
    assert!(validated.metrics[1].gap < 0.0, "a smaller loss on training rows");
}

fn space() -> SearchSpace {
    SearchSpace::new([
        ("l2", ParameterRange::Number { low: 1e-3, high: 1e3, log: true }),
        ("rounds", ParameterRange::Whole { low: 1, high: 30, log: false }),
        ("balance", ParameterRange::Choice(vec!["no".into(), "yes".into()])),
    ])
    .unwrap()
}

fn make(parameters: &ParameterSet) -> Result<Box<dyn Trainer>> {
    let class_weights = match parameters.choice("balance")? {
        "yes" => riskcycle::model::ClassWeights::Balanced,
        _ => riskcycle::model::ClassWeights::Equal,
    };
    let (l2, max_iterations) = (parameters.number("l2")?, parameters.whole("rounds")? as u64);
    let config =
        LogisticRegressionConfig { l2, max_iterations, class_weights, ..Default::default() };
    Ok(Box::new(LogisticRegression::new(config)?))
}

fn search(
    config: TunerConfig,
    journal: &mut dyn TuningJournal,
    stop_after: Option<u64>,
) -> Result<TuningResult> {
    let (space, data) = (space(), data());
    let metric = ScoreMetric::LogLoss;
    let task = TuningTask {
        space: &space,
        trainer: &make,
        data: &data,
        plan: FOLDS,
        metric: &metric,
        seed: Seed(9),
    };
    Tuner::new(config)?.run(&task, journal, |progress| match stop_after {
        Some(stop) if progress.done >= stop => ControlFlow::Break(()),
        _ => ControlFlow::Continue(()),
    })
}

const STRATEGIES: [SearchStrategy; 4] = [
    SearchStrategy::Grid { steps: 2 },
    SearchStrategy::Random,
    SearchStrategy::Parzen { startup: 4 },
    SearchStrategy::SuccessiveHalving { keep_one_in: 3, rounds: 3 },
];

#[test]
fn a_search_that_is_stopped_and_resumed_ends_as_one_that_is_not() {
    for strategy in STRATEGIES {
        let config = TunerConfig { strategy, trials: 9, patience: None };
        let whole = search(config, &mut InMemoryTuningJournal::default(), None).unwrap();
        assert_eq!(whole.end, TuningEnd::Complete);
        for stop in [1, 5, 8] {
            let mut journal = InMemoryTuningJournal::default();
            let stopped = search(config, &mut journal, Some(stop));
            // Successive halving has nothing on all rows yet.
            assert!(stopped.is_err() || stopped.unwrap().trials.len() as u64 == stop);
            assert_eq!(search(config, &mut journal, None).unwrap(), whole, "{strategy:?}");
        }
    }
}

#[test]
fn strategies_try_what_they_should() {
    let run = |strategy, trials| {
        let config = TunerConfig { strategy, trials, patience: None };
        search(config, &mut InMemoryTuningJournal::default(), None).unwrap()
    };
    let grid = run(SearchStrategy::Grid { steps: 2 }, 100);
    assert_eq!(grid.trials.len(), 8);
    let distinct: std::collections::BTreeSet<String> =
        grid.trials.iter().map(|trial| format!("{:?}", trial.parameters)).collect();
    assert_eq!(distinct.len(), 8);

    let halving = run(SearchStrategy::SuccessiveHalving { keep_one_in: 3, rounds: 3 }, 9);
    let shares: Vec<f64> = halving.trials.iter().map(|trial| trial.share).collect();
    assert_eq!(shares[..9], [1.0 / 9.0; 9]);
    assert_eq!(shares[9..], [1.0 / 3.0, 1.0 / 3.0, 1.0 / 3.0, 1.0]);
    let first = &halving.trials[..9];
    let loss = |trial: &Trial| trial.outcome.unwrap().mean;
    let best = first.iter().min_by(|a, b| loss(a).total_cmp(&loss(b))).unwrap();
    assert_eq!(halving.trials[9].parameters, best.parameters);

    // With the same budget it finds what random search finds, and spends its later trials nearer to it.
    let parzen = run(SearchStrategy::Parzen { startup: 10 }, 40);
    let random = run(SearchStrategy::Random, 40);
    let mean = |trials: &[Trial]| trials.iter().map(loss).sum::<f64>() / trials.len() as f64;
    assert!(mean(&parzen.trials[20..]) < mean(&random.trials[20..]));
    assert!(loss(&parzen.best) <= loss(&random.best) + 1e-3);
    for trial in &parzen.trials {
        let l2 = trial.parameters.number("l2").unwrap();
        assert!((1e-3..=1e3).contains(&l2));
        assert!((1..=30).contains(&trial.parameters.whole("rounds").unwrap()));
    }
}

#[test]
fn patience_ends_a_search_that_finds_nothing_better() {
    let config = TunerConfig { strategy: SearchStrategy::Random, trials: 500, patience: Some(5) };
    let result = search(config, &mut InMemoryTuningJournal::default(), None).unwrap();
    assert_eq!(result.end, TuningEnd::Patience);
    assert_eq!(result.trials.len() as u64, result.best.number + 6);
}

#[test]
fn a_journal_of_another_search_is_refused_and_trials_that_fail_are_kept() {
    let config = TunerConfig { strategy: SearchStrategy::Random, trials: 3, patience: None };
    let mut journal = InMemoryTuningJournal::default();
    search(config, &mut journal, None).unwrap();
    let other = TunerConfig { strategy: SearchStrategy::Parzen { startup: 2 }, ..config };
    assert!(search(other, &mut journal, None).unwrap_err().is_conflict());
    // More trials of the same search are no other search.
    assert_eq!(
        search(TunerConfig { trials: 5, ..config }, &mut journal, None).unwrap().trials.len(),
        5
    );

    let (space, data, metric) = (space(), data(), ScoreMetric::RocAuc);
    let fails = |_: &ParameterSet| -> Result<Box<dyn Trainer>> { Ok(Box::new(Fails)) };
    let task = TuningTask {
        space: &space,
        trainer: &fails,
        data: &data,
        plan: FOLDS,
        metric: &metric,
        seed: Seed(1),
    };
    let mut journal = InMemoryTuningJournal::default();
    let result =
        Tuner::new(config).unwrap().run(&task, &mut journal, |_| ControlFlow::Continue(()));
    assert!(result.unwrap_err().to_string().contains("on purpose"));
    assert_eq!(journal.entries().unwrap().len(), 1 + 3);
}

#[derive(Debug)]
struct Fails;

impl Trainer for Fails {
    fn name(&self) -> &'static str {
        "fails"
    }
    fn parameters(&self) -> Vec<(String, String)> {
        Vec::new()
    }
    fn fit(&self, _: &Dataset, _: Seed) -> Result<Fitted> {
        Err(Error::Training { trainer: "fails", reason: "on purpose".into() })
    }
}

fn file(name: &str) -> PathBuf {
    let path = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = fs::remove_file(&path);
    path
}

const KILLED: TunerConfig =
    TunerConfig { strategy: SearchStrategy::Parzen { startup: 4 }, trials: 12, patience: None };

/// The child of the test below: searches, and in the middle of its eighth trial waits to be killed.
#[test]
#[ignore = "run by the test below"]
fn search_until_killed() {
    let Some(path) = std::env::var_os("TUNING_JOURNAL") else { return };
    let (space, data, metric) = (space(), data(), ScoreMetric::LogLoss);
    let n_made = std::cell::Cell::new(0);
    let trainer = |parameters: &ParameterSet| {
        n_made.set(n_made.get() + 1);
        if n_made.get() == 8 {
            println!("\nwaiting");
            let _ = std::io::stdin().read(&mut [0]);
        }
        make(parameters)
    };
    let task = TuningTask {
        space: &space,
        trainer: &trainer,
        data: &data,
        plan: FOLDS,
        metric: &metric,
        seed: Seed(9),
    };
    let mut journal = JsonLinesTuningJournal::open(path).unwrap();
    let _ = Tuner::new(KILLED).unwrap().run(&task, &mut journal, |_| ControlFlow::Continue(()));
}

#[test]
fn a_search_killed_in_a_trial_leaves_the_journal_and_the_best_of_one_that_was_not() {
    let (whole, cut) = (file("whole.jsonl"), file("cut.jsonl"));
    let to_the_end = |path: &Path| {
        search(KILLED, &mut JsonLinesTuningJournal::open(path).unwrap(), None).unwrap()
    };
    let expected = to_the_end(&whole);

    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "search_until_killed", "--ignored", "--nocapture"])
        .env("TUNING_JOURNAL", &cut)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap() == "waiting"));
    child.kill().unwrap(); // SIGKILL where there are signals
    child.wait().unwrap();
    let left = fs::read_to_string(&cut).unwrap();
    assert_eq!(left.lines().count(), 1 + 7);
    // As if it had been killed while it wrote.
    fs::write(&cut, left + "{\"Trial\":{\"number\":7,\"par").unwrap();

    assert_eq!(to_the_end(&cut), expected);
    assert_eq!(fs::read(&cut).unwrap(), fs::read(&whole).unwrap());
    assert_eq!(to_the_end(&cut), expected, "a search that is complete stays so");
}

#[test]
fn spaces_and_tuners_that_cannot_be_are_refused() {
    let range = |low, high, log| ParameterRange::Number { low, high, log };
    for bad in [
        range(1.0, 1.0, false),
        range(0.0, 1.0, true),
        range(f64::NAN, 1.0, false),
        ParameterRange::Whole { low: 3, high: 2, log: false },
        ParameterRange::Choice(vec![]),
        ParameterRange::Choice(vec!["a".into(), "a".into()]),
    ] {
        assert!(SearchSpace::new([("x", bad)]).is_err());
    }
    assert!(SearchSpace::new(Vec::<(String, ParameterRange)>::new()).is_err());
    let config = |strategy, trials, patience| TunerConfig { strategy, trials, patience };
    let halving = SearchStrategy::SuccessiveHalving { keep_one_in: 3, rounds: 3 };
    for config in [
        config(SearchStrategy::Random, 0, None),
        config(SearchStrategy::Random, 5, Some(0)),
        config(SearchStrategy::Grid { steps: 0 }, 5, None),
        config(SearchStrategy::Parzen { startup: 1 }, 5, None),
        config(SearchStrategy::SuccessiveHalving { keep_one_in: 1, rounds: 3 }, 5, None),
        config(halving, 5, Some(2)),
    ] {
        assert!(matches!(Tuner::new(config), Err(Error::InvalidConfig { .. })));
    }
}

#[test]
fn runs_are_kept_compared_and_ranked() {
    let data = data();
    let entry = |l2: f64, auc: f64| {
        let run = TrainingRun::fit(&regression(l2), &data, None, Seed(1)).unwrap();
        RunEntry {
            train: BTreeMap::from([("ROC AUC".to_owned(), auc + 0.02)]),
            test: BTreeMap::from([("ROC AUC".to_owned(), auc)]),
            timings: BTreeMap::from([("fit".to_owned(), Duration::from_millis(3))]),
            importance: vec![("x0".into(), 0.1 + 0.2)],
            ..RunEntry::new(run.record)
        }
    };
    let runs = [entry(1.0, 0.8), entry(0.1, 0.9), entry(10.0, 0.9)];
    let path = file("runs.jsonl");
    let logs: [Box<dyn RunLog>; 2] =
        [Box::new(InMemoryRunLog::default()), Box::new(JsonLinesRunLog::open(&path).unwrap())];
    for log in &logs {
        runs.iter().for_each(|run| log.record(run).unwrap());
        assert_eq!(log.runs().unwrap(), runs);
        let ranked: Vec<f64> =
            log.ranked("ROC AUC", true).unwrap().iter().map(|r| r.test["ROC AUC"]).collect();
        assert_eq!(ranked, [0.9, 0.9, 0.8]);
        assert_eq!(log.ranked("ROC AUC", true).unwrap()[0], runs[1], "of equals the earlier");
        assert_eq!(log.ranked("nothing", true).unwrap(), []);
        assert_eq!(log.run(&runs[2].record.id).unwrap(), runs[2]);
        assert!(log.run(&riskcycle::Digest::default()).unwrap_err().is_not_found());
    }
    assert_eq!(JsonLinesRunLog::open(&path).unwrap().runs().unwrap(), runs);
    assert!((runs[0].gap("ROC AUC").unwrap() - 0.02).abs() < 1e-12);
    assert_eq!(
        runs[0].record.differences(&runs[1].record),
        [("l2".into(), "1".into(), "0.1".into())]
    );
    let unsound = RunEntry { test: BTreeMap::from([("x".into(), f64::NAN)]), ..runs[0].clone() };
    assert!(logs[1].record(&unsound).is_err());
    fs::write(&path, "nonsense\n").unwrap();
    assert!(matches!(JsonLinesRunLog::open(&path).unwrap().runs(), Err(Error::Corrupt { .. })));
}
