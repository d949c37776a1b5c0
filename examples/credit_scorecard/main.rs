//! A credit scorecard from data to SQL: bins, weights of evidence, points, how good it is, why a score is not higher, what
//! the applications that were never accepted change, and which parameters make the best card.
//!
//! ```text
//! cargo run --release --features csv,json,report --example credit_scorecard [-- FILE.csv[.gz] [PAGE.html]]
//! ```
//! The data are the German credit data (Hans Hofmann, UCI Machine Learning Repository, CC BY 4.0), which lie under
//! `tests/data`.

mod tune;

use std::path::PathBuf;

use riskcycle::dataset::{CsvFeature, CsvLayout, Dataset, FoldPlan, SplitRows};
use riskcycle::evaluate::{Costs, EvaluationReport, HtmlReport, Ranking, ScoreMetric};
use riskcycle::model::{
    LogisticRegression, ModelExt, ReasonBaseline, RejectInference, Scorecard, ScorecardTrainer,
    Trainer,
};
use riskcycle::train::{CrossValidation, Metric};
use riskcycle::{Result, Seed};

use tune::{monotone, tune};

fn main() {
    let default = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/germancredit.csv.gz");
    let path = std::env::args().nth(1).map_or(default, PathBuf::from);
    let page = std::env::args().nth(2).unwrap_or_else(|| "target/credit_scorecard.html".into());
    if let Err(error) = run(path, &page) {
        eprintln!("credit_scorecard: {error}");
        std::process::exit(1);
    }
}

fn run(path: PathBuf, page: &str) -> Result<()> {
    let data = read(path)?;
    println!("{} applications, {} of them bad\n", data.n_rows(), data.n_bad());

    let trainer = ScorecardTrainer::new(monotone(8, 0.05, 1.0))?;
    let fit = trainer.fit_scorecard(&data)?;

    println!("information value by feature:");
    let mut features: Vec<_> = fit.binnings.iter().collect();
    features.sort_by(|a, b| b.information_value().total_cmp(&a.information_value()));
    for binning in features {
        let (name, value) = (binning.feature(), binning.information_value());
        println!("  {value:.4}  {name} ({} bins, {})", binning.n_regular(), binning.trend());
    }
    println!("\n{}", fit.scorecard);

    judge(&data, &trainer, &fit.scorecard, page)?;
    explain(&data, &fit.scorecard)?;
    println!("\nthe same card in SQL:\n{}", shortened(&fit.scorecard.to_sql()));
    println!("and in JSON, {} bytes", fit.scorecard.to_json().len());
    infer_rejects(&data, &trainer)?;
    // Named by the data: a journal of another search would be refused.
    tune(&data, &format!("{page}.{}.jsonl", data.fingerprint().short()))
}

fn read(path: PathBuf) -> Result<Dataset> {
    let numeric = [
        "duration_in_month",
        "credit_amount",
        "installment_rate_in_percentage_of_disposable_income",
        "present_residence_since",
        "age_in_years",
        "number_of_existing_credits_at_this_bank",
        "number_of_people_being_liable_to_provide_maintenance_for",
    ];
    let categorical = [
        "status_of_existing_checking_account",
        "credit_history",
        "purpose",
        "savings_account_and_bonds",
        "present_employment_since",
        "personal_status_and_sex",
        "other_debtors_or_guarantors",
        "property",
        "other_installment_plans",
        "housing",
        "job",
        "telephone",
        "foreign_worker",
    ];
    let numeric = numeric.iter().map(|name| CsvFeature::numeric(name));
    let categorical = categorical.iter().map(|name| CsvFeature::categorical(name));
    CsvLayout {
        features: numeric.chain(categorical).collect(),
        ..CsvLayout::new("creditability", "bad")
    }
    .read(path)
}

/// In sample, and by five-fold cross-validation beside what a single look at the training rows would promise.
fn judge(data: &Dataset, trainer: &ScorecardTrainer, card: &Scorecard, page: &str) -> Result<()> {
    let scores = card.score_dataset(data)?;
    // The matrix that came with the data: a bad customer taken for good costs five times a good one taken for bad.
    let costs = Costs {
        alert: 0.0,
        false_positive: 1.0,
        missed: 5.0,
        missed_share_of_amount: 0.0,
        ..Costs::default()
    };
    let threshold = costs.best_threshold(data.labels(), &scores, &[])?;
    println!("in sample\n{}", EvaluationReport::new(data, &scores, threshold, &costs, 1)?);

    let metrics: [&dyn Metric; 2] = [&ScoreMetric::RocAuc, &ScoreMetric::Ks];
    let folds = FoldPlan::Stratified { folds: 5 };
    let validated = CrossValidation::new(trainer, data, &folds, &metrics, Seed(7))?;
    println!("\nout of sample, five folds:\n{validated}");

    // The page shows scores out of fold: those of applicants that the card has not seen.
    let scores = &validated.out_of_fold;
    let report = EvaluationReport::new(data, scores, threshold, &costs, 1)?;
    let lost = card.characteristics().iter().map(|of| {
        let (low, high) = (of.points().iter().min(), of.points().iter().max());
        let range = high.zip(low).map_or(0, |(high, low)| high - low);
        (of.binning().feature().to_owned(), range as f64)
    });
    let html = HtmlReport {
        title: "German credit scorecard",
        subtitle: "scores out of fold, five folds; importance is the range of a characteristic's points",
        importance: &lost.collect::<Vec<_>>(),
        ..HtmlReport::new(data, scores, &report)
    };
    match std::fs::write(page, html.render(&costs)?) {
        Ok(()) => println!("page: {page}"),
        Err(error) => eprintln!("cannot write {page}: {error}"),
    }
    Ok(())
}

/// Why the applicant with the lowest score was declined.
fn explain(data: &Dataset, card: &Scorecard) -> Result<()> {
    let points = |row: usize| card.points(data.row(row));
    let mut lowest = (points(0)?, 0);
    for row in 1..data.n_rows() {
        lowest = lowest.min((points(row)?, row));
    }
    let (points, row) = lowest;
    println!(
        "\nrow {row} has the lowest score, {points}, bad with {:.3}:",
        card.probability(points)
    );
    for lost in card.lost_points(data.row(row), ReasonBaseline::Maximum)?.iter().take(4) {
        println!("  -{:3} {}: {}", lost.lost, lost.feature, lost.bin);
    }
    Ok(())
}

fn shortened(sql: &str) -> String {
    let lines: Vec<&str> = sql.lines().take(9).collect();
    format!("{}\n…", lines.join("\n"))
}

/// Had only the better-looking 70 % been accepted: what each assumption about the rest makes of it. Their true labels, which
/// nobody would have, tell how far off it is.
fn infer_rejects(data: &Dataset, trainer: &ScorecardTrainer) -> Result<()> {
    let split = SplitRows::stratified(data, 0.5, Seed(1))?;
    let (history, later) = (data.select_rows(&split.train)?, data.select_rows(&split.test)?);
    // What the loan officer went by: a regression on three numbers.
    let columns = [0, 1, 4];
    let officer = LogisticRegression::default().fit(&history.select_columns(&columns)?, Seed(1))?;
    let seen = officer.model.score_dataset(&history.select_columns(&columns)?)?;
    let mut ordered = seen.clone();
    ordered.sort_by(f64::total_cmp);
    let limit = ordered[ordered.len() * 7 / 10];
    let rows =
        |accepted: bool| (0..seen.len()).filter(|&r| (seen[r] < limit) == accepted).collect();
    let (accepted, rejected): (Vec<usize>, Vec<usize>) = (rows(true), rows(false));
    let (accepted, rejected) = (history.select_rows(&accepted)?, history.select_rows(&rejected)?);

    println!(
        "\nreject inference (assumptions, not knowledge): AUC on later applications of all kinds"
    );
    let judge = |name: &str, train: &Dataset| -> Result<()> {
        let scores = trainer.fit(train, Seed(1))?.model.score_dataset(&later)?;
        println!("  {:.4}  {name}", Ranking::new(later.labels(), &scores)?.roc_auc());
        Ok(())
    };
    judge("all labels known (never the case)", &history)?;
    judge("accepted only", &accepted)?;
    let model = trainer.fit(&accepted, Seed(1))?.model;
    for (name, inference) in [
        ("fuzzy", RejectInference::Fuzzy),
        ("hard cut-off at 0.5", RejectInference::HardCutoff { probability: 0.5 }),
        ("parcelling, 1.5 times as bad", RejectInference::Parcelling { bands: 5, uplift: 1.5 }),
        ("re-weighting", RejectInference::Reweighting { bands: 5 }),
    ] {
        judge(name, &inference.augment(&accepted, &rejected, model.as_ref(), Seed(1))?)?;
    }
    Ok(())
}
