//! Binning and scorecards: numbers of scorecardpy, toad and optbinning on the German credit data, and what a card promises.

use std::path::PathBuf;

use proptest::prelude::*;
use riskcycle::dataset::{CsvFeature, CsvLayout, Dataset};
use riskcycle::evaluate::Ranking;
use riskcycle::model::{
    BasePoints, Binner, BinningConfig, BinningMethod, Characteristic, ModelCodecs, ModelExt,
    Orientation, Prebins, ReasonBaseline, RejectInference, Scaling, Scorecard, ScorecardConfig,
    ScorecardTrainer, Trainer, Trend, UnseenCategory, WoeBins,
};
use riskcycle::ndarray::Array2;
use riskcycle::stats::EmptyCells;
use riskcycle::{Categories, Error, FeatureKind, FeatureSchema, Seed};
use serde_json::Value;

const NUMERIC: [&str; 7] = [
    "duration_in_month",
    "credit_amount",
    "installment_rate_in_percentage_of_disposable_income",
    "present_residence_since",
    "age_in_years",
    "number_of_existing_credits_at_this_bank",
    "number_of_people_being_liable_to_provide_maintenance_for",
];
const CATEGORICAL: [&str; 13] = [
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

fn german_credit() -> Dataset {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("tests/data/germancredit.csv.gz");
    let numeric = NUMERIC.iter().map(|name| CsvFeature::numeric(name));
    let categorical = CATEGORICAL.iter().map(|name| CsvFeature::categorical(name));
    let features = numeric.chain(categorical).collect();
    let layout = CsvLayout { features, ..CsvLayout::new("creditability", "bad") };
    let data = layout.read(path).unwrap();
    assert_eq!((data.n_rows(), data.n_bad()), (1000, 300));
    data
}

fn golden() -> Value {
    serde_json::from_str(include_str!("data/binning_golden.json")).unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap()
}

#[track_caller]
fn assert_close(ours: f64, theirs: f64, what: &str) {
    assert!(
        (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0),
        "{what}: {ours}, should be {theirs}"
    );
}

fn binner(config: BinningConfig) -> Binner {
    Binner::new(config).unwrap()
}

/// The bins that scorecardpy names, and where each of them is among ours.
fn as_scorecardpy(binner: &Binner, data: &Dataset, name: &str, bins: &[Value]) -> WoeBins {
    let column = data.schema().position(name).unwrap();
    let labels: Vec<&str> = bins.iter().map(|bin| bin["bin"].as_str().unwrap()).collect();
    if NUMERIC.contains(&name) {
        let edge = |label: &&str| label.split([',', ')']).nth(1).unwrap().parse::<f64>().unwrap();
        let edges: Vec<f64> = labels[..labels.len() - 1].iter().map(edge).collect();
        return binner.fit_edges(data, column, &edges).unwrap();
    }
    let groups: Vec<Vec<&str>> = labels.iter().map(|label| label.split("%,%").collect()).collect();
    binner.fit_groups(data, column, &groups).unwrap()
}

fn scorecardpy() -> Binner {
    let empty_cells = EmptyCells::CountAsAndScale(0.9);
    binner(BinningConfig { method: BinningMethod::Keep, empty_cells, ..Default::default() })
}

#[test]
fn the_same_bins_have_the_weights_of_evidence_that_scorecardpy_gives_them() {
    let (golden, data, binner) = (golden(), german_credit(), scorecardpy());
    let mut n = 0;
    let mut check = |name: &str, bins: &[Value], total: f64| {
        let ours = as_scorecardpy(&binner, &data, name, bins);
        assert_close(ours.information_value(), total, name);
        for (ours, theirs) in ours.bins().iter().zip(bins) {
            assert_eq!((ours.bad, ours.good), (number(&theirs["bad"]), number(&theirs["good"])));
            assert_close(ours.weight_of_evidence, number(&theirs["woe"]), name);
            n += 1;
        }
    };
    for by in ["scorecardpy_woebin_tree", "scorecardpy_woebin_chimerge"] {
        for (name, theirs) in golden[by].as_object().unwrap() {
            check(name, theirs["bins"].as_array().unwrap(), number(&theirs["total_iv"]));
        }
    }
    let fixed = golden["scorecardpy_fixed_breaks_left_closed"]["bins"].as_object().unwrap();
    for (name, bins) in fixed {
        let bins = bins.as_array().unwrap();
        check(name, bins, number(&bins[0]["total_iv"]));
    }
    assert!(n > 90, "{n} bins");
}

#[test]
fn categories_one_by_one_have_the_information_value_that_scorecardpy_and_toad_give_them() {
    let (golden, data) = (golden(), german_credit());
    for of in golden["scorecardpy_iv_raw_categories"].as_array().unwrap() {
        let name = of["variable"].as_str().unwrap();
        if CATEGORICAL.contains(&name) {
            let ours = scorecardpy().fit(&data, data.schema().position(name).unwrap()).unwrap();
            assert_close(ours.information_value(), number(&of["info_value"]), name);
        }
    }
    let empty_cells = EmptyCells::CountAs(1.0);
    let binner =
        binner(BinningConfig { method: BinningMethod::Keep, empty_cells, ..Default::default() });
    let qualities = golden["toad_quality"].as_array().unwrap();
    let of = |name: &str| qualities.iter().find(|quality| quality["index"] == name).unwrap();
    for name in CATEGORICAL {
        let ours = binner.fit(&data, data.schema().position(name).unwrap()).unwrap();
        assert_eq!(ours.n_regular() as f64, number(&of(name)["unique"]));
        assert_close(ours.information_value(), number(&of(name)["iv"]), name);
    }
}

/// optbinning's own fine bins are the bins it makes where nothing is asked of the trend.
#[test]
fn no_trend_has_less_information_than_optbinning_finds_on_the_same_fine_bins() {
    let (golden, data) = (golden(), german_credit());
    let theirs = |name: &str, trend: &str| golden["optbinning"][format!("{name}|{trend}")].clone();
    let splits =
        |of: &Value| -> Vec<f64> { of["splits"].as_array().unwrap().iter().map(number).collect() };
    for name in ["duration_in_month", "credit_amount", "age_in_years"] {
        let column = data.schema().position(name).unwrap();
        let fine = splits(&theirs(name, "None"));
        for (trend, of) in [
            (Trend::Free, "None"),
            (Trend::Auto, "auto"),
            (Trend::Ascending, "ascending"),
            (Trend::Descending, "descending"),
            (Trend::Peak, "peak"),
            (Trend::Valley, "valley"),
        ] {
            let config = BinningConfig {
                method: BinningMethod::Optimal { trend, max_p_value: None },
                max_bins: 20,
                orientation: Orientation::GoodOverBad,
                empty_cells: EmptyCells::Neutral,
                ..Default::default()
            };
            let ours = binner(config).fit_edges(&data, column, &fine).unwrap();
            let theirs = theirs(name, of);
            let (our_value, their_value) = (ours.information_value(), number(&theirs["iv"]));
            assert!(our_value >= their_value - 1e-12, "{name} {of}: {our_value} < {their_value}");
            if ours.edges().unwrap() == splits(&theirs) {
                for (ours, theirs) in ours.bins().iter().zip(theirs["table"].as_array().unwrap()) {
                    assert_eq!(ours.bad, number(&theirs["Event"]), "{name} {of}");
                    assert_close(ours.weight_of_evidence, number(&theirs["WoE"]), name);
                }
            }
        }
    }
    for name in ["purpose", "credit_history"] {
        let config =
            BinningConfig { max_bins: 20, empty_cells: EmptyCells::Neutral, ..Default::default() };
        let ours = binner(config).fit(&data, data.schema().position(name).unwrap()).unwrap();
        let (ours, theirs) =
            (ours.information_value(), &golden["optbinning"][format!("{name}|categorical")]);
        assert!(ours >= number(&theirs["iv"]) - 1e-12, "{name} {ours}");
    }
}

#[test]
fn the_card_of_scorecardpy_comes_out_point_by_point() {
    let (golden, data, binner) = (golden(), german_credit(), scorecardpy());
    let theirs = &golden["scorecard_e2e"];
    let mut characteristics = Vec::new();
    for (name, coefficient) in theirs["coef"].as_object().unwrap() {
        let name = name.strip_suffix("_woe").unwrap();
        let bins = golden["scorecardpy_woebin_tree"][name]["bins"].as_array().unwrap();
        characteristics.push((as_scorecardpy(&binner, &data, name, bins), number(coefficient)));
    }
    // Points0 600 at bad odds of 1 / 19, PDO 50.
    let scaling =
        Scaling { points_to_double: 50.0, multiple: 2.0, base_odds: 19.0, base_score: 600.0 };
    let schema = data.schema().clone();
    let intercept = number(&theirs["intercept"]);
    let card =
        Scorecard::new(schema, intercept, characteristics, scaling, BasePoints::Apart).unwrap();
    assert_eq!(card.base_points() as f64, number(&theirs["card"]["basepoints"][0]["points"]));
    for of in card.characteristics() {
        let name = of.binning().feature();
        // A single bin has weight 0, and scorecardpy leaves it out.
        let Some(theirs) = theirs["card"][name].as_array() else {
            assert_eq!((name, of.points()), ("foreign_worker", &[0, 0, 0][..]));
            continue;
        };
        for (ours, theirs) in of.points().iter().zip(theirs) {
            assert_eq!(*ours as f64, number(&theirs["points"]), "{name}");
        }
    }
    for (row, theirs) in theirs["score_first10"].as_array().unwrap().iter().enumerate() {
        assert_eq!(card.points(data.row(row)).unwrap() as f64, number(theirs), "row {row}");
    }
    // Before the points are rounded: the regression on weights of evidence.
    for (row, theirs) in theirs["prob_first10"].as_array().unwrap().iter().enumerate() {
        let of = |of: &Characteristic| {
            let column = data.schema().position(of.binning().feature()).unwrap();
            of.coefficient() * of.binning().weight_of_evidence(data.row(row)[column])
        };
        let margin = intercept + card.characteristics().iter().map(of).sum::<f64>();
        assert_close(1.0 / (1.0 + (-margin).exp()), number(theirs), "probability");
    }
    let scores = card.score_dataset(&data).unwrap();
    let auc = Ranking::new(data.labels(), &scores).unwrap().roc_auc();
    assert!((auc - number(&theirs["auc_in_sample"])).abs() < 1e-3, "{auc}"); // whole points tie some rows
}

#[test]
fn points_and_probabilities_follow_every_convention() {
    let golden: Value = serde_json::from_str(include_str!("data/risk_golden.json")).unwrap();
    let cases = golden["score_scaling"].as_object().unwrap();
    assert_eq!(cases.len(), 4);
    for (name, case) in cases {
        let of = |keys: [&str; 3]| keys.iter().find_map(|key| case.get(*key)).unwrap();
        let odds = number(of(["base_odds", "odds0", "odds"]));
        let scaling = Scaling {
            points_to_double: number(&case["pdo"]),
            multiple: case.get("rate").map_or(2.0, number),
            // scorecardpy's odds are of bad to good.
            base_odds: if case.get("odds0").is_some() { 1.0 / odds } else { odds },
            base_score: number(of(["base_score", "points0", "scorecard_points"])),
        };
        scaling.check().unwrap();
        let ps = case["p"].as_array().unwrap().iter();
        for (p, score) in ps.zip(case["score"].as_array().unwrap()) {
            assert_close(scaling.score(number(p)), number(score), name);
            assert_close(scaling.probability(number(score)), number(p), name);
        }
        if let Some(factor) = case.get("factor") {
            assert_close(scaling.factor(), number(factor), name);
            assert_close(scaling.offset(), number(&case["offset"]), name);
        }
    }
}

fn monotone() -> ScorecardConfig {
    let binning = BinningConfig {
        method: BinningMethod::Optimal { trend: Trend::Monotone, max_p_value: None },
        ..Default::default()
    };
    ScorecardConfig { binning, min_information_value: 0.0, ..Default::default() }
}

#[test]
fn a_monotone_card_of_the_german_credit_data_is_no_worse_than_scorecardpys() {
    let data = german_credit();
    let fit = ScorecardTrainer::new(monotone()).unwrap().fit_scorecard(&data).unwrap();
    let card = &fit.scorecard;
    for of in card.characteristics() {
        let trend = of.binning().trend();
        assert!(
            matches!(trend, Trend::Ascending | Trend::Descending),
            "{} {trend}",
            of.binning().feature()
        );
        assert!(of.coefficient() > 0.0);
    }
    let scores = card.score_dataset(&data).unwrap();
    let ranking = Ranking::new(data.labels(), &scores).unwrap();
    assert!(
        ranking.roc_auc() >= 0.8297 && ranking.ks().value >= 0.5305,
        "{} {}",
        ranking.roc_auc(),
        ranking.ks().value
    );
    assert!(card.to_string().contains("duration_in_month"));
}

#[test]
fn points_add_up_and_a_row_scores_as_it_does_in_a_batch() {
    let data = german_credit();
    for base_points in [BasePoints::Apart, BasePoints::Spread, BasePoints::WorstIsZero] {
        let trainer = ScorecardTrainer::new(ScorecardConfig { base_points, ..monotone() }).unwrap();
        let card = trainer.fit_scorecard(&data).unwrap().scorecard;
        let (low, high) = card.range();
        let batch = card.score_dataset(&data).unwrap();
        for (row, of_batch) in batch.iter().enumerate() {
            let row = data.row(row);
            let sum: i64 = card
                .characteristics()
                .iter()
                .map(|of| {
                    let column = data.schema().position(of.binning().feature()).unwrap();
                    of.points()[of.binning().index(row[column])]
                })
                .sum();
            let points = card.points(row).unwrap();
            assert_eq!(points, card.base_points() + sum);
            assert!((low..=high).contains(&points));
            assert_eq!(card.probability(points).to_bits(), of_batch.to_bits());
            assert_eq!(card.score_row(row).unwrap().to_bits(), of_batch.to_bits());
        }
        if base_points == BasePoints::WorstIsZero {
            assert!(card.characteristics().iter().all(|of| of.points().iter().min() == Some(&0)));
        }
    }
}

#[test]
fn a_card_keeps_its_orientation_scaling_and_bins_through_bytes() {
    let data = german_credit();
    let mut config = monotone();
    config.binning.orientation = Orientation::GoodOverBad;
    config.binning.special = vec![24.0];
    config.scaling =
        Scaling { points_to_double: 60.0, base_odds: 35.0, base_score: 750.0, multiple: 2.0 };
    let fitted = ScorecardTrainer::new(config).unwrap().fit(&data, Seed(1)).unwrap();
    let bytes = fitted.model.to_bytes();
    let codecs = ModelCodecs::default();
    let decode = |bytes: &[u8]| codecs.decode(Scorecard::KIND, data.schema().clone(), bytes);
    let again = decode(&bytes).unwrap();
    assert_eq!(again.to_bytes(), bytes);
    assert_eq!(again.score_dataset(&data).unwrap(), fitted.model.score_dataset(&data).unwrap());
    for end in 0..bytes.len() {
        assert!(matches!(decode(&bytes[..end]), Err(Error::Corrupt { .. })), "cut at {end}");
    }
    for place in (0..bytes.len()).step_by(7) {
        let mut damaged = bytes.clone();
        damaged[place] ^= 0x55;
        let _ = decode(&damaged); // an error or another card, never a panic
    }
    let other = FeatureSchema::new(["x"]).unwrap();
    assert!(codecs.decode(Scorecard::KIND, other, &bytes).is_err());
}

#[test]
fn whichever_way_weights_of_evidence_are_signed_the_points_are_the_same() {
    let data = german_credit();
    let card = |orientation| {
        let mut config = monotone();
        config.binning.orientation = orientation;
        ScorecardTrainer::new(config).unwrap().fit_scorecard(&data).unwrap().scorecard
    };
    let (one, other) = (card(Orientation::BadOverGood), card(Orientation::GoodOverBad));
    for (one, other) in one.characteristics().iter().zip(other.characteristics()) {
        assert_eq!(one.points(), other.points());
        assert!(one.coefficient() > 0.0 && other.coefficient() < 0.0);
    }
}

/// Ages with a code for unknown, homes with a category that only later rows have, and missing values of both.
fn small() -> Dataset {
    let homes = FeatureKind::Categorical(Categories::new(["own", "rent", "boat"]).unwrap());
    let schema = FeatureSchema::with_kinds([("age", FeatureKind::Numeric), ("home", homes)]);
    let age = |i: usize| match i % 12 {
        0 => f64::NAN,
        1 => -1.0,
        _ => (20 + i % 40) as f64,
    };
    let home = |i: usize| if i.is_multiple_of(11) { f64::NAN } else { (i % 2) as f64 };
    let features = Array2::from_shape_fn((600, 2), |(i, j)| if j == 0 { age(i) } else { home(i) });
    let bad =
        (0..600).map(|i| (i * 37 % 40) as f64 > age(i).max(25.0) - 15.0 + 8.0 * (i % 2) as f64);
    Dataset::new(schema.unwrap(), features, bad.collect()).unwrap()
}

#[test]
fn missing_special_and_unseen_values_have_bins_of_their_own() {
    let data = small();
    for unseen in [UnseenCategory::AsMissing, UnseenCategory::Neutral] {
        let config = BinningConfig { special: vec![-1.0], unseen, ..Default::default() };
        let binner = binner(config);
        let age = binner.fit(&data, 0).unwrap();
        let kind = &data.schema().kinds()[0];
        let (special, missing) = (age.index(-1.0), age.index(f64::NAN));
        assert_eq!(
            (age.label(special, kind), age.label(missing, kind)),
            ("special -1".into(), "missing".into())
        );
        assert_eq!(age.bins()[special].bad + age.bins()[special].good, 50.0);
        assert_eq!(age.bins()[missing].bad + age.bins()[missing].good, 50.0);
        let rows: f64 = age.bins().iter().map(|bin| bin.bad + bin.good).sum();
        assert_eq!(rows, 600.0);
        assert_eq!(
            [f64::NEG_INFINITY, f64::INFINITY].map(|v| age.index(v)),
            [0, age.n_regular() - 1]
        );

        let home = binner.fit(&data, 1).unwrap();
        let boat = home.weight_of_evidence(2.0);
        match unseen {
            UnseenCategory::AsMissing => assert_eq!(boat, home.weight_of_evidence(f64::NAN)),
            UnseenCategory::Neutral => assert_eq!(boat, 0.0),
        }
        assert_eq!(home.index(7.5), home.index(2.0)); // no code at all is unseen, too
        assert!(home.table(&data.schema().kinds()[1]).contains("rent"));
    }
    // A special code is a number; the category with that code is a category.
    let config = BinningConfig { special: vec![0.0], ..Default::default() };
    assert_eq!(
        binner(config).fit(&data, 1).unwrap().index(0.0),
        binner(BinningConfig::default()).fit(&data, 1).unwrap().index(0.0)
    );
}

/// The best cut of the tails is at the least share on either side, whether or not the rows divide evenly.
#[test]
fn bins_as_small_as_the_least_share_are_found_at_both_ends() {
    for n in [2000, 1999, 1961] {
        let schema = FeatureSchema::new(["x"]).unwrap();
        let rows = (0..n).map(|i| i as f64).collect();
        // All bad in the outermost twentieth on either side, one in ten between.
        let tail = n / 20;
        let bad = (0..n).map(|i| i < tail || i >= n - tail || i % 10 == 0).collect();
        let data = Dataset::from_rows(schema, rows, bad).unwrap();
        let config = BinningConfig { min_good: 0.0, ..Default::default() };
        let bins = binner(config).fit(&data, 0).unwrap();
        let regular = &bins.bins()[..bins.n_regular()];
        let (first, last) = (regular[0], regular[regular.len() - 1]);
        // Fine bins are of whole rows: the first ends up to a row behind the tail, the last begins up to one behind its start.
        for end in [first, last] {
            assert!(end.good <= 1.0 && end.bad >= tail as f64 - 1.0, "{n}: {end:?}");
        }
    }
}

#[test]
fn every_method_keeps_every_limit() {
    let data = german_credit();
    for method in [
        BinningMethod::Optimal { trend: Trend::Auto, max_p_value: None },
        BinningMethod::Optimal { trend: Trend::Monotone, max_p_value: Some(0.05) },
        BinningMethod::ChiMerge { significance: 0.05 },
    ] {
        for prebins in [Prebins::Quantile(30), Prebins::Tree(20)] {
            let config = BinningConfig {
                method,
                prebins,
                max_bins: 5,
                min_share: 0.08,
                min_bad: 15.0,
                ..Default::default()
            };
            for binning in binner(config).fit_all(&data).unwrap() {
                let regular = &binning.bins()[..binning.n_regular()];
                assert!(regular.len() <= 5);
                if regular.len() > 1 {
                    assert!(
                        regular.iter().all(|bin| bin.bad >= 15.0 && bin.bad + bin.good >= 80.0)
                    );
                }
            }
        }
    }
}

#[test]
fn the_points_that_a_row_lost_are_accounted_for() {
    let data = german_credit();
    let card = ScorecardTrainer::new(monotone()).unwrap().fit_scorecard(&data).unwrap().scorecard;
    for row in 0..50 {
        let row = data.row(row);
        let all = card.lost_points(row, ReasonBaseline::Maximum).unwrap();
        let lost: f64 = all.iter().map(|of| of.lost).sum();
        assert_eq!(card.range().1 - card.points(row).unwrap(), lost as i64);
        assert!(all.windows(2).all(|pair| pair[0].lost >= pair[1].lost));
        let neutral = card.lost_points(row, ReasonBaseline::Neutral).unwrap();
        assert!(neutral.iter().all(|of| of.lost > 0.0));
    }
}

#[test]
fn the_table_of_probabilities_falls_with_the_points() {
    let data = german_credit();
    let card = ScorecardTrainer::new(monotone()).unwrap().fit_scorecard(&data).unwrap().scorecard;
    let table = card.probability_table(10).unwrap();
    assert_eq!(table[0].0, card.range().0);
    assert!(table.windows(2).all(|pair| pair[0].0 + 10 == pair[1].0 && pair[0].1 > pair[1].1));
    assert!(card.probability_table(0).is_err());
}

#[test]
fn each_assumption_about_rejects_does_what_it_says() {
    let data = german_credit();
    let trainer = ScorecardTrainer::new(monotone()).unwrap();
    let (accepted, rejected): (Vec<usize>, Vec<usize>) = (0..1000).partition(|row| row % 4 != 0);
    let accepted = data.select_rows(&accepted).unwrap();
    let rejected = data.select_rows(&rejected).unwrap();
    let model = trainer.fit(&accepted, Seed(1)).unwrap().model;
    let scores = model.score_dataset(&rejected).unwrap();
    let augment = |inference: RejectInference| {
        inference.augment(&accepted, &rejected, model.as_ref(), Seed(5)).unwrap()
    };
    let weight_of_bad = |data: &Dataset| -> f64 {
        let rows = data.weights().unwrap().iter().zip(data.labels());
        rows.filter(|(_, bad)| **bad).map(|(weight, _)| weight).sum()
    };
    let bad = accepted.n_bad() as f64;

    let fuzzy = augment(RejectInference::Fuzzy);
    assert_eq!(fuzzy.n_rows(), 750 + 2 * 250);
    assert_close(weight_of_bad(&fuzzy), bad + scores.iter().sum::<f64>(), "fuzzy");
    assert_close(fuzzy.weights().unwrap().iter().sum(), 1000.0, "fuzzy");

    let hard = augment(RejectInference::HardCutoff { probability: 0.5 });
    let above = scores.iter().filter(|score| **score >= 0.5).count();
    assert_eq!((hard.n_rows(), hard.n_bad()), (1000, accepted.n_bad() + above));

    // One band: every reject is as bad as the accepted on average, times the uplift.
    let parcelled = augment(RejectInference::Parcelling { bands: 1, uplift: 1.5 });
    let expected = (250.0 * 1.5 * bad / 750.0).round();
    assert_eq!(parcelled.n_bad() as f64, bad + expected);
    assert_eq!(parcelled, augment(RejectInference::Parcelling { bands: 1, uplift: 1.5 }));

    let reweighted = augment(RejectInference::Reweighting { bands: 5 });
    assert_eq!(reweighted.n_rows(), 750);
    assert_close(reweighted.weights().unwrap().iter().sum(), 1000.0, "re-weighting");

    for unsound in [
        RejectInference::HardCutoff { probability: 1.0 },
        RejectInference::Parcelling { bands: 0, uplift: 1.0 },
        RejectInference::Parcelling { bands: 5, uplift: f64::NAN },
    ] {
        let result = unsound.augment(&accepted, &rejected, model.as_ref(), Seed(5));
        assert!(matches!(result, Err(Error::InvalidConfig { .. })));
    }
}

#[test]
fn shifts_of_characteristics_sum_to_the_shift_of_the_score() {
    let data = german_credit();
    let fit = ScorecardTrainer::new(monotone()).unwrap().fit_scorecard(&data).unwrap();
    let older: Vec<usize> = (0..1000).filter(|&row| data.row(row)[4] > 40.0).collect();
    let older = data.select_rows(&older).unwrap();
    let shift = fit.scorecard.stability(&data, &older).unwrap();
    let sum: f64 = shift.characteristics.iter().map(|of| of.points_difference).sum();
    assert_close(shift.score_difference, sum, "points");
    let of = |name: &str| shift.characteristics.iter().find(|of| of.feature == name).unwrap();
    let age = of("age_in_years").psi;
    assert!(age.value > 0.25 && age.value > age.critical);
    let same = fit.scorecard.stability(&data, &data).unwrap();
    assert_eq!((same.score.value, same.score_difference), (0.0, 0.0));
}

#[test]
fn data_that_make_no_card_are_refused() {
    let schema = FeatureSchema::new(["constant", "gone"]).unwrap();
    let features = Array2::from_shape_fn((40, 2), |(_, j)| if j == 0 { 1.0 } else { f64::NAN });
    let data = Dataset::new(schema, features, (0..40).map(|i| i % 4 == 0).collect()).unwrap();
    let binnings = binner(BinningConfig::default()).fit_all(&data).unwrap();
    assert!(binnings.iter().all(|b| b.n_regular() == 1 && b.information_value() == 0.0));
    let error = ScorecardTrainer::new(ScorecardConfig::default()).unwrap().fit(&data, Seed(1));
    assert!(matches!(error, Err(Error::Training { .. })), "{error:?}");
    for config in [
        BinningConfig { max_bins: 0, ..Default::default() },
        BinningConfig { prebins: Prebins::Tree(0), ..Default::default() },
        BinningConfig { min_share: 0.6, ..Default::default() },
        BinningConfig { min_bad: f64::NAN, ..Default::default() },
        BinningConfig { special: vec![1.0, 1.0], ..Default::default() },
        BinningConfig { special: vec![f64::NAN], ..Default::default() },
        BinningConfig { empty_cells: EmptyCells::Infinite, ..Default::default() },
        BinningConfig {
            method: BinningMethod::ChiMerge { significance: 2.0 },
            ..Default::default()
        },
    ] {
        assert!(matches!(Binner::new(config), Err(Error::InvalidConfig { .. })));
    }
    let binner = binner(BinningConfig::default());
    assert!(binner.fit(&data, 2).is_err());
    assert!(binner.fit_edges(&data, 0, &[2.0, 1.0]).is_err());
    assert!(binner.fit_groups(&data, 0, &[vec!["a"]]).is_err());
    let german = german_credit();
    let housing = german.schema().position("housing").unwrap();
    let groups = |groups: &[Vec<&str>]| binner.fit_groups(&german, housing, groups).unwrap_err();
    assert!(groups(&[vec!["own", "castle"]]).is_not_found());
    assert!(groups(&[vec!["own"], vec!["own"]]).to_string().contains("two groups"));
    assert!(groups(&[]).to_string().contains("at least one group"));
    assert!(binner.fit_edges(&german, housing, &[1.0]).is_err());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 64, ..Default::default() })]

    /// Whatever the values, infinite, equal and missing ones among them.
    #[test]
    fn every_value_has_a_bin_counts_add_up_and_weights_are_finite(
        rows in prop::collection::vec((prop_oneof![
            any::<f64>(), Just(f64::NAN), (-3i8..3).prop_map(f64::from),
        ], any::<bool>()), 4..120),
        tree in any::<bool>(),
        chi in any::<bool>(),
    ) {
        let bad: Vec<bool> = rows.iter().map(|row| row.1).collect();
        prop_assume!(bad.contains(&true) && bad.contains(&false));
        let features = Array2::from_shape_vec((rows.len(), 1), rows.iter().map(|r| r.0).collect());
        let schema = FeatureSchema::new(["x"]).unwrap();
        let data = Dataset::new(schema, features.unwrap(), bad).unwrap();
        let config = BinningConfig {
            prebins: if tree { Prebins::Tree(8) } else { Prebins::Quantile(8) },
            method: if chi { BinningMethod::ChiMerge { significance: 0.1 } } else { BinningMethod::default() },
            special: vec![2.0],
            ..Default::default()
        };
        let binning = binner(config).fit(&data, 0).unwrap();
        let total: f64 = binning.bins().iter().map(|bin| bin.bad + bin.good).sum();
        prop_assert_eq!(total, rows.len() as f64);
        prop_assert!(binning.bins().iter().all(|bin| bin.weight_of_evidence.is_finite()));
        prop_assert!(binning.information_value() >= 0.0);
        for (value, _) in &rows {
            prop_assert!(binning.index(*value) < binning.bins().len());
        }
    }
}
