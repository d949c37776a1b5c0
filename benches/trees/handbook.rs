//! How good our trees are on the Fraud Detection Handbook's own protocol, beside what it published.

use std::path::Path;

use riskcycle::dataset::{Dataset, TimeSplit};
use riskcycle::evaluate::{Ranking, card_precision};
use riskcycle::model::{
    DecisionTree, DecisionTreeConfig, GradientBoosting, GradientBoostingConfig, ModelExt,
    RandomForest, RandomForestConfig, Trainer, TreeEnsemble,
};
use riskcycle::testing::handbook::{self, START};
use riskcycle::{Result, Seed, days};

/// Days since the handbook's first one on which a training week begins: the baseline week, the four test folds, and the
/// four folds before any of those, to choose parameters by.
const BASELINE: u64 = 115;
const TEST: [u64; 4] = [122, 115, 108, 101];
const VALIDATION: [u64; 4] = [94, 87, 80, 73];
/// Good and bad rows in the leaves of a tree of depth 2 on the baseline week, from left to right.
const LEAVES: [(f64, f64); 4] = [(66_498.0, 236.0), (2.0, 127.0), (11.0, 222.0), (131.0, 13.0)];

/// A trainer by name, and what the handbook has of it: AUC and AP on the baseline week (re-run with its own versions).
type Named<'a> = (&'a str, Box<dyn Trainer>, &'a str);

fn trainers() -> Vec<Named<'static>> {
    let tree = |max_depth| {
        Box::new(DecisionTree::new(DecisionTreeConfig { max_depth, ..Default::default() }).unwrap())
    };
    let boosting = |config| Box::new(GradientBoosting::new(config).unwrap());
    let defaults = GradientBoostingConfig::default;
    let small = GradientBoostingConfig {
        n_trees: 50,
        learning_rate: 0.3,
        max_depth: Some(3),
        max_leaves: None,
        ..defaults()
    };
    vec![
        ("tree, depth 2", tree(Some(2)), ".7632 .4963"),
        ("tree, unlimited", tree(None), ".7879 .3089"),
        (
            "random forest",
            Box::new(RandomForest::new(RandomForestConfig::default()).unwrap()),
            ".8674 .6578",
        ),
        ("boosting, defaults", boosting(defaults()), ".8618 .6389 (XGBoost's)"),
        ("boosting, 50 x 0.3 x depth 3", boosting(small), ".8795 .6695 (XGBoost, exact)"),
    ]
}

/// `configs`: configurations of boosting to try instead, in JSON.
pub(crate) fn run(data: &Path, configs: &[&str]) -> crate::Result<()> {
    let mut all = trainers();
    if !configs.is_empty() {
        all = configs
            .iter()
            .map(|config| {
                let trainer = GradientBoosting::new(serde_json::from_str(config)?)?;
                Ok((*config, Box::new(trainer) as Box<dyn Trainer>, ""))
            })
            .collect::<crate::Result<_>>()?;
    }
    let events = handbook::read(data, |_| ())?;
    let schema = handbook::events();
    let frame = handbook::features().bind(&schema)?.compute(&events)?;
    let week = |first_day: u64| -> Result<(Dataset, Dataset)> {
        let start = START.plus(days(first_day));
        let split = TimeSplit { start, train: days(7), gap: days(7), test: days(7) };
        let rows = split.rows(&schema, &events, "customer")?;
        let dataset = |rows: &[usize]| {
            Dataset::from_events(&frame, &schema, &events, rows, "customer", "amount")
        };
        Ok((dataset(&rows.train)?, dataset(&rows.test)?))
    };
    let judge = |trainer: &dyn Trainer, train: &Dataset, test: &Dataset, seed: u64| {
        let scores = trainer.fit(train, Seed(seed))?.model.score_dataset(test)?;
        let ranking = Ranking::new(test.labels(), &scores)?;
        let cards = card_precision(test, &scores, 100)?.mean;
        Ok::<_, riskcycle::Error>((ranking.roc_auc(), ranking.average_precision(), cards))
    };
    if configs.is_empty() {
        let (train, test) = week(BASELINE)?;
        println!("baseline week: {} rows, {} bad", train.n_rows(), train.n_bad());
        let two =
            DecisionTree::new(DecisionTreeConfig { max_depth: Some(2), ..Default::default() })?;
        let counts = leaf_counts(&two.fit_tree(&train)?);
        println!("leaves of the tree of depth 2, good and bad rows: {counts:?}");
        assert_eq!(counts, LEAVES, "the handbook's tree has other leaves");
        println!("{:30} AUC    AP     CP@100   handbook", "");
        for (name, trainer, theirs) in &all {
            let (auc, ap, cards) = judge(&**trainer, &train, &test, 0)?;
            println!("{name:30} {auc:.4} {ap:.4} {cards:.4}   {theirs}");
        }
    }
    let folds = match configs {
        [] => {
            println!(
                "four test folds, five seeds each: mean AP (published best .694, XGBoost as chosen .687)"
            );
            TEST
        }
        _ => {
            println!("four validation folds, five seeds each: mean AP");
            VALIDATION
        }
    };
    let folds = folds.into_iter().map(week).collect::<Result<Vec<_>>>()?;
    for (name, trainer, _) in &all {
        let mut means = Vec::new();
        for seed in 0..5 {
            let aps = folds.iter().map(|(train, test)| Ok(judge(&**trainer, train, test, seed)?.1));
            means.push(aps.sum::<Result<f64>>()? / 4.0);
        }
        let mean = means.iter().sum::<f64>() / 5.0;
        println!("{name:30} {mean:.4}   {means:.4?}");
    }
    Ok(())
}

/// Good and bad rows in the leaves of the first tree, from left to right.
fn leaf_counts(model: &TreeEnsemble) -> Vec<(f64, f64)> {
    let nodes = model.trees()[0].nodes();
    let (mut counts, mut open) = (Vec::new(), vec![0]);
    while let Some(i) = open.pop() {
        let node = &nodes[i as usize];
        match &node.split {
            Some(split) => open.extend([split.right, split.left]),
            None => {
                let bad = (node.cover * node.value).round();
                counts.push((node.cover - bad, bad));
            }
        }
    }
    counts
}
