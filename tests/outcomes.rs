//! What a model is worth before and while its labels come: against NannyML and numpy (tests/data), and by simulation.

mod golden;

use std::time::Duration;

use proptest::prelude::*;
use riskcycle::evaluate::{Calibration, ConfusionMatrix, Ranking, ReliabilityBins};
use riskcycle::model::{CalibrationMethod, Calibrator};
use riskcycle::monitor::{Cbpe, Estimate, LabelTriangle, Labelled, OutcomeConfig, OutcomeLedger};
use riskcycle::seed::stable_hash;
use riskcycle::serve::Decision;
use riskcycle::{Timestamp, days};
use serde_json::Value;

use crate::golden::every_value_is_compared;

fn golden() -> Value {
    serde_json::from_str(include_str!("data/outcomes_golden.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

fn uniform(seed: u64, i: u64) -> f64 {
    (stable_hash(&i.to_le_bytes(), seed) >> 11) as f64 / (1u64 << 53) as f64
}

fn day(n: u64) -> Timestamp {
    Timestamp::from_date(2024, 1, 1).plus(days(n))
}

#[test]
fn expected_performance_calibration_and_completeness_are_those_of_the_peers() {
    let excused = vec![
        ("/nannyml/nannyml", "the version"),
        ("/nannyml/cbpe_tiny/nannyml_functions", "a list of what is there"),
        ("/nannyml/cbpe_tiny/estimate_business_value_err", "not computed"),
        ("/nannyml/cbpe_tiny/estimate_business_value_sig", "not computed"),
        ("/nannyml/isotonic/fit_knots_x", "knots are not public; what they answer is compared"),
        ("/nannyml/isotonic/fit_knots_y", "as above"),
        ("/nannyml/ece/desc", "how it was made"),
        ("/nannyml/ece/needs_calibration", "a host's decision"),
        ("/nannyml/cbpe_end_to_end", "walked by the next test"),
        ("/nannyml/isotonic/x", "given"),
        ("/nannyml/isotonic/t", "given"),
        ("/nannyml/ece/isotonic_at/0/0", "given"),
        ("/nannyml/ece/isotonic_at/1/0", "given"),
        ("/nannyml/ece/isotonic_at/2/0", "given"),
        ("/nannyml/ece/isotonic_at/3/0", "given"),
        ("/nannyml/ece/isotonic_at/4/0", "given"),
        ("/label_delay/triangle", "given"),
        ("/label_delay/mc", "a simulation; ours is `corrected_counts_are_right_on_average…`"),
    ];
    let golden = golden();
    every_value_is_compared(&golden, &excused, |golden| {
        compare_expected(&golden["nannyml"]);
        compare_isotonic(&golden["nannyml"]);
        compare_completeness(&golden["label_delay"]);
    });
}

#[test]
fn from_scores_to_calibrated_estimates_the_way_is_that_of_nannyml() {
    let golden = &golden()["nannyml"]["cbpe_end_to_end"];
    let mut excused = vec![
        ("/desc", "how it was made"),
        ("/fit_s", "a time"),
        ("/estimate_s", "a time"),
        ("/needs_calibration", "a host's decision"),
    ];
    // NannyML's errors and limits come from the spread of reference chunks; ours follow from the probabilities themselves.
    let metrics = ["roc_auc", "f1", "precision", "recall", "specificity", "accuracy"];
    let chunks = (0..2).flat_map(|chunk| metrics.map(|metric| (chunk, metric)));
    let of_chunks: Vec<String> = chunks
        .flat_map(|(chunk, metric)| ["se", "lo", "hi", "alert"].map(|key| (chunk, metric, key)))
        .map(|(chunk, metric, key)| format!("/chunks/{chunk}/{metric}/{key}"))
        .collect();
    excused.extend(of_chunks.iter().map(|of| (of.as_str(), "thresholds by another rule")));
    every_value_is_compared(golden, &excused, compare_end_to_end);
}

fn close(ours: f64, theirs: &Value, tolerance: f64, what: &str) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() < tolerance, "{what}: {ours} instead of {theirs}");
}

fn compare_expected(golden: &Value) {
    let cbpe = |p: &Value, flagged: &dyn Fn(usize, f64) -> bool| {
        let mut cbpe = Cbpe::new();
        let all = numbers(p).into_iter().enumerate();
        all.for_each(|(i, p)| cbpe.record(p, flagged(i, p)));
        cbpe.expected()
    };
    let case = &golden["cbpe_tiny"];
    let predicted = numbers(&case["y_pred"]);
    let expected = cbpe(&case["p"], &|i, _| predicted[i] == 1.0);
    let [precision, recall] = [expected.precision, expected.recall].map(|e| e.unwrap().value);
    for (ours, name) in [
        (precision, "precision"),
        (recall, "recall"),
        (expected.specificity.unwrap(), "specificity"),
        (expected.accuracy.unwrap(), "accuracy"),
        (expected.f1.unwrap(), "f1"),
        (expected.average_precision.unwrap(), "ap"),
    ] {
        close(ours, &case[&format!("estimate_{name}")], 1e-12, name);
    }
    let auc = expected.roc_auc.unwrap();
    close(auc, &case["roc_auc"], 1e-12, "roc_auc");
    close(auc, &case["roc_auc_pair_formula"], 1e-12, "roc_auc_pair_formula");
    // The four cells, from the shares.
    let (n, bad) = (expected.n as f64, expected.bad_rate.unwrap().value * expected.n as f64);
    let tp = recall * bad;
    let cells = &case["confusion_expected"];
    close(tp, &cells["tp"], 1e-12, "tp");
    close(bad - tp, &cells["fn"], 1e-12, "fn");
    close(tp / precision - tp, &cells["fp"], 1e-12, "fp");
    close(n - bad - (tp / precision - tp), &cells["tn"], 1e-12, "tn");
    let ties = &golden["cbpe_ties"];
    let auc = cbpe(&ties["p"], &|_, p| p >= 0.5).roc_auc.unwrap();
    close(auc, &ties["roc_auc_tie_corrected"], 1e-12, "ties");
    close(auc, &ties["roc_auc_nannyml"], 1e-12, "ties");
}

fn labels(value: &Value) -> Vec<bool> {
    numbers(value).into_iter().map(|label| label == 1.0).collect()
}

/// SplitMix64, as the golden files' streams are made.
fn split_mix(seed: u64, i: u64) -> f64 {
    let mut z = seed.wrapping_add((i + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15));
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    ((z ^ (z >> 31)) >> 11) as f64 / (1u64 << 53) as f64
}

fn compare_isotonic(golden: &Value) {
    let case = &golden["isotonic"];
    let calibrator = Calibrator::fit(
        CalibrationMethod::Isotonic,
        &labels(&case["y"]),
        &numbers(&case["x"]),
        None,
    )
    .unwrap();
    for (at, out) in numbers(&case["t"]).into_iter().zip(case["out"].as_array().unwrap()) {
        close(calibrator.probability(at), out, 1e-12, "isotonic");
    }
    let p: Vec<f64> = (0..1000).map(|i| split_mix(301, i)).collect();
    let y: Vec<bool> = (0..1000).map(|i| split_mix(302, i) < p[i as usize].powi(2)).collect();
    let error = |p: &[f64]| {
        Calibration::new(&y, p, ReliabilityBins::EqualCount(10)).unwrap().expected_error
    };
    close(error(&p), &golden["ece"]["raw"], 1e-9, "ECE");
    let calibrator = Calibrator::fit(CalibrationMethod::Isotonic, &y, &p, None).unwrap();
    let calibrated: Vec<f64> = p.iter().map(|p| calibrator.probability(*p)).collect();
    // Many rows share a calibrated probability: we keep them in one bin, NannyML cuts between them.
    close(error(&calibrated), &golden["ece"]["after_isotonic_in_sample"], 0.012, "ECE after");
    for point in golden["ece"]["isotonic_at"].as_array().unwrap() {
        close(calibrator.probability(point[0].as_f64().unwrap()), &point[1], 1e-12, "at");
    }
}

fn compare_end_to_end(golden: &Value) {
    let score = |seed: u64, i: u64, add: f64| (split_mix(seed, i).powi(4) + add).clamp(0.0, 1.0);
    let reference: Vec<f64> = (0..20_000).map(|i| score(401, i, 0.0)).collect();
    let bad: Vec<bool> =
        (0..20_000).map(|i| split_mix(402, i) < 0.9 * reference[i as usize]).collect();
    let calibrator = Calibrator::fit(CalibrationMethod::Isotonic, &bad, &reference, None).unwrap();
    for (chunk, (seed, add)) in
        golden["chunks"].as_array().unwrap().iter().zip([(403, 0.0), (405, 0.1)])
    {
        let scores: Vec<f64> = (0..5000).map(|i| score(seed, i, add)).collect();
        let mut cbpe = Cbpe::new();
        scores.iter().for_each(|s| cbpe.record(calibrator.probability(*s), *s >= 0.5));
        let expected = cbpe.expected();
        for (ours, name, tolerance) in [
            (expected.precision.map(|e| e.value), "precision", 1e-9),
            (expected.recall.map(|e| e.value), "recall", 1e-9),
            (expected.specificity, "specificity", 1e-9),
            (expected.accuracy, "accuracy", 1e-9),
            (expected.f1, "f1", 1e-9),
            // NannyML ranks by the raw score, we by 64 bins of the calibrated one.
            (expected.roc_auc, "roc_auc", 0.005),
        ] {
            close(ours.unwrap(), &chunk[name]["est"], tolerance, name);
        }
        let truth: Vec<bool> =
            (0..5000).map(|i| split_mix(seed + 1, i) < 0.9 * scores[i as usize]).collect();
        let ranking = Ranking::new(&truth, &scores).unwrap();
        let cells = ConfusionMatrix::at(0.5, &truth, &scores);
        let realized = &chunk["realized"];
        close(ranking.roc_auc(), &realized["roc_auc"], 1e-9, "realized");
        for (ours, name) in [
            (cells.f1(), "f1"),
            (cells.precision(), "precision"),
            (cells.recall(), "recall"),
            (cells.accuracy(), "accuracy"),
        ] {
            close(ours.unwrap(), &realized[name], 1e-9, name);
        }
    }
}

#[test]
fn what_is_expected_comes_true_within_its_error_if_probabilities_are_calibrated() {
    let mut z = Vec::new();
    for run in 0..200 {
        let mut cbpe = Cbpe::new();
        let (mut hits, mut bad) = (0.0, 0.0);
        for i in 0..2000 {
            let p = uniform(2 * run, i).powi(3);
            cbpe.record(p, p >= 0.3);
            let is_bad = uniform(2 * run + 1, i) < p;
            bad += f64::from(is_bad);
            hits += f64::from(is_bad && p >= 0.3);
        }
        let expected = cbpe.expected().recall.unwrap();
        z.push((hits / bad - expected.value) / expected.standard_error);
    }
    let mean = z.iter().sum::<f64>() / 200.0;
    let variance = z.iter().map(|z| z * z).sum::<f64>() / 200.0;
    // 200 standard normal values: the mean is within 0.25 of 0, the mean square within 0.35 of 1 (3.5 standard errors).
    assert!(mean.abs() < 0.25 && (variance - 1.0).abs() < 0.35, "{mean} {variance}");
}

#[test]
fn a_threshold_anywhere_splits_rows_exactly_and_bad_input_is_counted() {
    for threshold in [0.0, 1e-9, 0.31, 0.5, 1.0, 1.5, f64::INFINITY] {
        let mut cbpe = Cbpe::new();
        let rows: Vec<f64> = (0..500).map(|i| f64::from(i) / 499.0).collect();
        rows.iter().for_each(|p| cbpe.record(*p, *p >= threshold));
        [f64::NAN, -0.1, 1.1].into_iter().for_each(|p| cbpe.record(p, true));
        let expected = cbpe.expected();
        let above: Vec<f64> = rows.iter().copied().filter(|p| *p >= threshold).collect();
        let recall = above.iter().sum::<f64>() / rows.iter().sum::<f64>();
        assert!((expected.recall.unwrap().value - recall).abs() < 1e-12, "{threshold}");
        assert_eq!(expected.precision.is_none(), above.is_empty(), "{threshold}");
        assert_eq!((expected.n, cbpe.rejected()), (500, 3));
    }
    assert!(Cbpe::new().expected().recall.is_none());
}

fn compare_completeness(golden: &Value) {
    let mut triangle = LabelTriangle::new(3).unwrap();
    for (cohort, row) in (0..).zip(golden["triangle"].as_array().unwrap()) {
        for (delay, n) in (0..).zip(numbers(row)) {
            (0..n as u32).for_each(|_| triangle.report(day(cohort), day(cohort + delay)));
        }
    }
    let completeness = triangle.completeness(day(3));
    let [shares, ultimates] = ["F", "ultimate_by_cohort"].map(|key| numbers(&golden[key]));
    assert_eq!((completeness.shares().len(), ultimates.len()), (shares.len(), 4));
    for (ours, theirs) in completeness.shares().iter().zip(shares) {
        assert!((ours - theirs).abs() < 1e-12);
    }
    for (cohort, theirs) in (0..).zip(ultimates) {
        let (ours, _) = triangle.corrected(&(day(cohort)..day(cohort + 1)), day(3), 0.2);
        assert!((ours.value - theirs).abs() < 1e-9, "{cohort}: {ours:?} {theirs}");
        assert!(ours.standard_error >= ours.value.sqrt() - 1e-9);
    }
    // Of the youngest day less than half has been reported: left out where that is asked for.
    let (_, used) = triangle.corrected(&(day(0)..day(4)), day(3), 0.5);
    assert_eq!(used, day(0)..day(3));
}

/// Delay of a report in whole days: Weibull with a median of 19 days, as chargebacks take.
fn delay(u: f64) -> u64 {
    ((-(1.0 - u).ln()).powf(1.0 / 1.3) * 25.0) as u64
}

#[test]
fn corrected_counts_are_right_on_average_and_know_their_error() {
    let (mut ratios, mut naive, mut z) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..60 {
        let mut triangle = LabelTriangle::new(89).unwrap();
        let (mut truth, mut seen) = (0.0, 0.0);
        for cohort in 0..90u64 {
            // Some hundred frauds a day, twice as many in the last ten.
            let n = if cohort < 80 { 100 } else { 200 };
            let n = n + (uniform(run, cohort) * 20.0) as u64;
            for i in 0..n {
                let late = delay(uniform(1000 + run, cohort * 1000 + i));
                let reported = day(cohort + late);
                if late > 89 {
                    continue; // later than anybody waits
                }
                let recent = (76..83).contains(&cohort);
                truth += f64::from(recent);
                if reported <= day(89) {
                    seen += f64::from(recent);
                    triangle.report(day(cohort), reported);
                }
            }
        }
        // Ages 7 to 13 days.
        let (corrected, used) = triangle.corrected(&(day(76)..day(83)), day(89), 0.05);
        assert_eq!(used, day(76)..day(83));
        ratios.push(corrected.value / truth);
        naive.push(seen / truth);
        z.push((corrected.value - truth) / corrected.standard_error);
    }
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let deviation = |values: &[f64]| {
        let mean = mean(values);
        (values.iter().map(|v| (v - mean).powi(2)).sum::<f64>() / values.len() as f64).sqrt()
    };
    // The naive count shows a quarter. The corrected one's mean lies within four of its standard errors of 1.
    assert!((0.2..0.35).contains(&mean(&naive)), "{}", mean(&naive));
    let error = deviation(&ratios) / (60.0f64).sqrt();
    assert!((mean(&ratios) - 1.0).abs() < 4.0 * error + 0.005, "{} ± {error}", mean(&ratios));
    // The error stated includes the chance of the count itself, which the truth here shares: it errs on the wide side.
    let square = mean(&z.iter().map(|z| z * z).collect::<Vec<_>>());
    assert!((0.4..1.6).contains(&square), "{square}");
}

#[test]
fn a_new_kind_of_fraud_shows_as_disagreement_between_promise_and_outcome() {
    let run = |attack: bool| {
        let mut ledger =
            OutcomeLedger::new(OutcomeConfig { max_delay: 60, ..OutcomeConfig::default() })
                .unwrap();
        for at in 0..60u64 {
            for i in 0..2000 {
                let row = at * 10_000 + i;
                let p = 0.6 * uniform(1, row).powi(20);
                let decision = if p >= 0.5 { Decision::Review } else { Decision::Approve };
                ledger.predicted(day(at), Some(p), decision);
                // The attack: from day 30 on one row in 20 that the model takes for safe is bad.
                let unseen = attack && at >= 30 && p < 0.01 && uniform(2, row) < 0.05;
                if unseen || uniform(3, row) < p {
                    let reported = day(at + delay(uniform(4, row)) / 4);
                    if reported <= day(59) {
                        let predicted = day(at);
                        let score = Some(p);
                        ledger.labelled(&Labelled {
                            predicted,
                            reported,
                            score,
                            decision,
                            bad: true,
                        });
                    }
                }
            }
        }
        let truth = ledger.performance(day(30)..day(44), day(59));
        assert_eq!(truth.used, day(30)..day(44));
        assert_eq!(truth.n, 14 * 2000);
        assert!((2..9).contains(&truth.label_lag), "{}", truth.label_lag);
        let expected = ledger.expected(&truth.used);
        assert_eq!(expected.n, truth.n);
        let recall = truth.recall.unwrap().disagreement(&expected.recall.unwrap()).unwrap();
        let rate = truth.bad_rate.unwrap().disagreement(&expected.bad_rate.unwrap()).unwrap();
        assert_eq!(ledger.disagreement(day(30)..day(44), day(59)), Some((rate, truth.n)));
        (recall, rate)
    };
    let (recall, rate) = run(false);
    assert!(recall.abs() < 4.0 && rate.abs() < 4.0, "{recall} {rate}");
    let (recall, rate) = run(true);
    assert!(recall < -6.0 && rate > 6.0, "{recall} {rate}");
    let none = Estimate { value: 1.0, standard_error: 0.0 };
    assert_eq!(none.disagreement(&none), None);
}

#[test]
fn a_million_late_labels_in_any_order_take_bounded_memory() {
    let mut in_order = LabelTriangle::new(120).unwrap();
    let mut shuffled = LabelTriangle::new(120).unwrap();
    let report = |triangle: &mut LabelTriangle, i: u64| {
        let cohort = 40 + (uniform(7, i) * 80.0) as u64;
        triangle.report(day(cohort), day(cohort + delay(uniform(8, i)).min(119)));
    };
    report(&mut in_order, 0); // the same day is the newest for both
    report(&mut shuffled, 0);
    (1..1_000_000).for_each(|i| report(&mut in_order, i));
    (1..1_000_000)
        .for_each(|i| report(&mut shuffled, (i * 7_654_321) % 999_999 + u64::from(i == 0)));
    assert_eq!(in_order.out_of_range(), shuffled.out_of_range());
    let shares = in_order.completeness(day(130));
    assert!(shares.shares().is_sorted() && *shares.shares().last().unwrap() == 1.0);
    // Labels before their prediction, and years after it.
    in_order.report(day(119), day(100));
    in_order.report(day(119), day(5000));
    assert_eq!(in_order.out_of_range(), shuffled.out_of_range() + 1);
    assert!(
        LabelTriangle::new(0).is_err()
            && OutcomeLedger::new(OutcomeConfig { min_share: 0.0, ..OutcomeConfig::default() })
                .is_err()
    );
    assert_eq!(
        OutcomeLedger::new(OutcomeConfig::default()).unwrap().max_delay(),
        Duration::from_secs(120 * 86_400)
    );
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn shares_rise_to_one_and_corrected_counts_are_never_below_those_seen(
        reports in prop::collection::vec((0..40u64, 0..50u64), 0..300),
        now in 0..60u64,
        min_share in 0.01..1.0f64,
    ) {
        let mut triangle = LabelTriangle::new(30).unwrap();
        let mut reversed = LabelTriangle::new(30).unwrap();
        let known: Vec<_> = reports.iter().filter(|(cohort, late)| cohort + late <= now && *late <= 30).collect();
        known.iter().for_each(|(cohort, late)| triangle.report(day(*cohort), day(cohort + late)));
        known.iter().rev().for_each(|(cohort, late)| reversed.report(day(*cohort), day(cohort + late)));
        let completeness = triangle.completeness(day(now));
        prop_assert!(completeness.shares().is_sorted());
        prop_assert_eq!(completeness.share(30), 1.0);
        prop_assert!((0.0..=1.0).contains(&completeness.share(0)));
        let (corrected, used) = triangle.corrected(&(day(10)..day(40)), day(now), min_share);
        let seen = known.iter().filter(|(cohort, _)| used.contains(&day(*cohort)) && *cohort + 30 >= 39).count();
        prop_assert!(corrected.value.is_finite() && corrected.value >= seen as f64 - 1e-9);
        prop_assert!(corrected.standard_error >= 0.0);
        if known.iter().map(|(cohort, _)| cohort).max() <= known.iter().map(|(cohort, _)| cohort).min().map(|c| c + 30).as_ref() {
            prop_assert_eq!(&triangle, &reversed);
        }
    }

    #[test]
    fn parts_merge_to_the_whole(p in prop::collection::vec(0.0..1.0f64, 1..200), cut in 0..200usize, threshold in 0.0..1.0f64) {
        let cut = cut.min(p.len());
        let of = |p: &[f64]| {
            let mut cbpe = Cbpe::new();
            p.iter().for_each(|p| cbpe.record(*p, *p >= threshold));
            cbpe
        };
        let mut parts = of(&p[..cut]);
        parts.merge(&of(&p[cut..]));
        let (parts, whole) = (parts.expected(), of(&p).expected());
        prop_assert_eq!(parts.n, whole.n);
        for (a, b) in [(parts.roc_auc, whole.roc_auc), (parts.accuracy, whole.accuracy), (parts.f1, whole.f1)] {
            prop_assert!((a.unwrap_or(0.0) - b.unwrap_or(0.0)).abs() < 1e-9);
        }
    }
}
