//! Speed of metrics and binning, and accuracy on published protocols. Peers on the same data: `benches/peers/evaluation.py`,
//! which calls this.
//!
//! ```text
//! cargo bench --bench evaluation -- metrics FILE           metrics of a file of scores (f64) and labels (u8)
//! cargo bench --bench evaluation -- binning FILE COLUMNS   optimal bins of so many columns (f64, by row) and labels (u8)
//! cargo bench --bench evaluation -- handbook FILE.csv.gz   regression and bagging on the Fraud Detection Handbook's protocols
//! cargo bench --bench evaluation -- uci FILE.csv.gz        cross-validated AUC on UCI credit default
//! cargo bench --bench evaluation -- hmeq FILE.csv          cross-validated AUC on HMEQ
//! ```

use std::sync::Arc;
use std::time::Instant;

use riskcycle::dataset::{CsvFeature, CsvLayout, Dataset, FoldPlan, TimeSplit};
use riskcycle::evaluate::{Calibration, Ranking, ReliabilityBins, ScoreMetric, card_precision};
use riskcycle::model::{
    BalancedBagging, BalancedBaggingConfig, Binner, BinningConfig, DecisionTree,
    DecisionTreeConfig, Imputation, LogisticRegression, LogisticRegressionConfig, ModelExt,
    Pipeline, ScorecardConfig, ScorecardTrainer, Trainer, Transform,
};
use riskcycle::ndarray::Array2;
use riskcycle::testing::handbook;
use riskcycle::train::CrossValidation;
use riskcycle::{FeatureSchema, Result, Seed, Timestamp, days};

const ROUNDS: usize = 3;

fn main() -> Result<()> {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    match args[..] {
        ["metrics", file] => metrics(file),
        ["binning", file, columns] => binning(file, columns.parse().expect("a number of columns")),
        ["handbook", file] => on_handbook(file),
        ["uci", file] => uci(file),
        ["hmeq", file] => hmeq(file),
        _ => {
            println!("nothing to do without a command; see benches/evaluation.rs");
            Ok(())
        }
    }
}

/// Seconds of the median of some rounds, and the last answer.
fn timed<T>(mut work: impl FnMut() -> T) -> (f64, T) {
    let mut round = || {
        let start = Instant::now();
        let answer = work();
        (start.elapsed().as_secs_f64(), answer)
    };
    let mut rounds: Vec<(f64, T)> = (0..ROUNDS).map(|_| round()).collect();
    rounds.sort_by(|a, b| a.0.total_cmp(&b.0));
    rounds.swap_remove(ROUNDS / 2)
}

/// Rows of `width` numbers and a label each: the numbers first, then the labels.
fn read(file: &str, width: usize) -> (Vec<f64>, Vec<bool>) {
    let bytes = std::fs::read(file).expect("a file that can be read");
    let n = bytes.len() / (8 * width + 1);
    let (numbers, labels) = bytes.split_at(8 * width * n);
    let number = |bytes: &[u8]| f64::from_le_bytes(bytes.try_into().expect("eight bytes"));
    (numbers.chunks_exact(8).map(number).collect(), labels.iter().map(|bad| *bad == 1).collect())
}

fn metrics(file: &str) -> Result<()> {
    let (scores, labels) = read(file, 1);
    let line = |name: &str, (seconds, value): (f64, f64)| println!("{name}\t{seconds}\t{value}");
    let ranking = || Ranking::new(&labels, &scores).expect("scores of both labels");
    line("ROC AUC", timed(|| ranking().roc_auc()));
    line("average precision", timed(|| ranking().average_precision()));
    line("KS", timed(|| ranking().ks().value));
    let one = |metric: ScoreMetric| metric.value(&labels, &scores, None).expect("probabilities");
    line("log loss", timed(|| one(ScoreMetric::LogLoss)));
    line("Brier", timed(|| one(ScoreMetric::Brier)));
    line(
        "all of them",
        timed(|| {
            let ranking = ranking();
            let all = Calibration::new(&labels, &scores, ReliabilityBins::EqualWidth(10));
            let all = all.expect("probabilities");
            let ranked = ranking.roc_auc() + ranking.average_precision() + ranking.ks().value;
            ranked + all.log_loss + all.brier
        }),
    );
    Ok(())
}

fn binning(file: &str, columns: usize) -> Result<()> {
    let (values, labels) = read(file, columns);
    let features = Array2::from_shape_vec((labels.len(), columns), values).expect("whole rows");
    let schema = FeatureSchema::new((0..columns).map(|i| format!("x{i}")))?;
    let data = Dataset::new(schema, features, labels)?;
    let binner = Binner::new(BinningConfig::default())?;
    let (seconds, binnings) = timed(|| binner.fit_all(&data));
    println!("seconds\t{seconds}");
    for binning in binnings? {
        println!("{}\t{}\t{}", binning.feature(), binning.information_value(), binning.n_regular());
    }
    Ok(())
}

fn regression(l2: f64) -> Result<Pipeline> {
    let config = LogisticRegressionConfig { l2, ..Default::default() };
    let regression = Arc::new(LogisticRegression::new(config)?);
    Ok(Pipeline::new(vec![Transform::Standardise], regression))
}

/// Chapter 3: one week. Chapter 5: four weeks in a row, the first of them that of chapter 3.
fn on_handbook(file: &str) -> Result<()> {
    let transactions = handbook::read(file, |_| {})?;
    let events = handbook::events();
    let plan = handbook::features().bind(&events)?;
    let frame = plan.compute(&transactions)?;
    let rows: Vec<usize> = (0..transactions.len()).collect();
    let data = Dataset::from_events(&frame, &events, &transactions, &rows, "customer", "amount")?;
    let split = |month, day| TimeSplit {
        start: Timestamp::from_date(2018, month, day),
        train: days(7),
        gap: days(7),
        test: days(7),
    };
    let judge = |split: &TimeSplit, trainer: &dyn Trainer| -> Result<[f64; 3]> {
        let rows = split.rows_without_compromised(&data)?;
        let (train, test) = (data.select_rows(&rows.train)?, data.select_rows(&rows.test)?);
        let model = trainer.fit(&train, Seed(0))?.model;
        let scores = model.score_dataset(&test)?;
        let ranking = Ranking::new(test.labels(), &scores)?;
        let cards = card_precision(&test, &scores, 100)?.mean;
        Ok([ranking.roc_auc(), ranking.average_precision(), cards])
    };
    let [auc, ap, cards] = judge(&split(7, 25), &regression(1.0)?)?;
    println!(
        "baseline week: AUC {auc:.4}  AP {ap:.4}  CP@100 {cards:.4}   (published 0.871 0.606 0.291)"
    );
    let bags = |ratio| -> Result<BalancedBagging> {
        let tree = DecisionTreeConfig { max_depth: Some(20), ..Default::default() };
        let config = BalancedBaggingConfig { bags: 100, ratio };
        BalancedBagging::new(Arc::new(DecisionTree::new(tree)?), config)
    };
    // The handbook's chapters 5 and 6: means over the four weeks.
    let published: [(&str, Box<dyn Trainer>, &str); 5] = [
        ("logistic regression, C 1", Box::new(regression(1.0)?), "0.868 0.623 0.297"),
        ("logistic regression, C 100", Box::new(regression(0.01)?), "0.868 0.623 0.297"),
        ("balanced bagging, 0.02", Box::new(bags(0.02)?), "0.869 0.680 0.299"),
        ("balanced bagging, 0.1", Box::new(bags(0.1)?), "0.877 0.677 0.305"),
        ("balanced bagging, 1", Box::new(bags(1.0)?), "0.877 0.631 0.302"),
    ];
    let splits = split(8, 15).prequential(4);
    for (name, trainer, published) in published {
        let start = Instant::now();
        let weeks = splits.iter().map(|split| judge(split, trainer.as_ref()));
        let weeks = weeks.collect::<Result<Vec<_>>>()?;
        let [auc, ap, cards] =
            [0, 1, 2].map(|i| weeks.iter().map(|week| week[i]).sum::<f64>() / 4.0);
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{name:27} AUC {auc:.4}  AP {ap:.4}  CP@100 {cards:.4}   (published {published}; {seconds:.1} s)"
        );
    }
    Ok(())
}

fn credit(data: &Dataset, name: &str) -> Result<()> {
    let scorecard = ScorecardTrainer::new(ScorecardConfig::default())?;
    let woe = Pipeline::new(
        vec![Transform::WeightOfEvidence(BinningConfig::default())],
        Arc::new(LogisticRegression::default()),
    );
    let raw = Pipeline::new(
        vec![
            Transform::FlagMissing,
            Transform::Impute(Imputation::Median),
            Transform::OneHot,
            Transform::Standardise,
        ],
        Arc::new(LogisticRegression::default()),
    );
    let trainers: [(&str, &dyn Trainer); 3] = [
        ("imputed, one-hot + LR", &raw),
        ("WoE + LR", &woe),
        ("scorecard, whole points", &scorecard),
    ];
    for (trainer_name, trainer) in trainers {
        let (plan, metric) = (FoldPlan::Stratified { folds: 5 }, ScoreMetric::RocAuc);
        let start = Instant::now();
        let validated = CrossValidation::new(trainer, data, &plan, &[&metric], Seed(0))?;
        let (summary, seconds) = (&validated.metrics[0], start.elapsed().as_secs_f64());
        println!(
            "{name}\t{trainer_name}\t{:.4}\t{:.4}\t{seconds:.2}",
            summary.mean, summary.deviation
        );
    }
    Ok(())
}

fn uci(file: &str) -> Result<()> {
    let numeric = [
        "LIMIT_BAL",
        "AGE",
        "PAY_0",
        "PAY_2",
        "PAY_3",
        "PAY_4",
        "PAY_5",
        "PAY_6",
        "BILL_AMT1",
        "BILL_AMT2",
        "BILL_AMT3",
        "BILL_AMT4",
        "BILL_AMT5",
        "BILL_AMT6",
        "PAY_AMT1",
        "PAY_AMT2",
        "PAY_AMT3",
        "PAY_AMT4",
        "PAY_AMT5",
        "PAY_AMT6",
    ];
    let categorical = ["SEX", "EDUCATION", "MARRIAGE"];
    let features = numeric.iter().map(|name| CsvFeature::numeric(name));
    let features = features.chain(categorical.iter().map(|name| CsvFeature::categorical(name)));
    let layout = CsvLayout::new("default_payment_next_month", "1");
    credit(&CsvLayout { features: features.collect(), ..layout }.read(file)?, "UCI default")
}

fn hmeq(file: &str) -> Result<()> {
    let numeric =
        ["LOAN", "MORTDUE", "VALUE", "YOJ", "DEROG", "DELINQ", "CLAGE", "NINQ", "CLNO", "DEBTINC"];
    let features = numeric.iter().map(|name| CsvFeature::numeric(name));
    let features =
        features.chain(["REASON", "JOB"].iter().map(|name| CsvFeature::categorical(name)));
    let layout = CsvLayout::new("BAD", "1");
    credit(&CsvLayout { features: features.collect(), ..layout }.read(file)?, "HMEQ")
}
