//! Distances and tests between distributions: against scipy (tests/data), and properties that hold for any sample.

mod golden;

use proptest::prelude::*;
use riskcycle::Error;
use riskcycle::stats::{
    Proportion, TwoProportions, benjamini_hochberg, chi_square_test, chi_square_test_merged,
    hellinger, jensen_shannon, ks_distance, ks_test, mmd, population_stability_index, wasserstein,
    wasserstein_binned,
};
use serde_json::Value;

use crate::golden::every_value_is_compared;

fn golden() -> Value {
    serde_json::from_str(include_str!("data/drift_statistics_golden.json")).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
}

#[track_caller]
fn close(ours: f64, theirs: &Value, tolerance: f64, what: &str) {
    let theirs = theirs.as_f64().unwrap();
    let error = (ours - theirs).abs() / theirs.abs().max(1e-300);
    assert!(ours == theirs || error <= tolerance, "{what}: {ours} instead of {theirs}, {error:e}");
}

#[test]
fn samples_histograms_tables_and_adjusted_p_values_are_scipys() {
    // What stands in the file and not here: measures that riskcycle does not have, and the same ones in another unit.
    let mut excused = vec![
        ("/scipy", "the version"),
        ("/numpy", "the version"),
        ("/special", "special functions are compared where they stand, in stats"),
        ("/multiple_testing/p", "given"),
        ("/multiple_testing/by", "no such adjustment"),
        ("/multiple_testing/holm", "compared in the tests of experiments"),
        ("/multiple_testing/bonferroni", "no such adjustment"),
    ];
    let golden = golden();
    let mut more = Vec::new();
    for name in golden["two_sample"].as_object().unwrap().keys() {
        let other = ["energy", "wasserstein1_over_std_ref_ddof0", "cvm", "mwu", "welch"];
        more.extend(other.map(|of| format!("/two_sample/{name}/{of}")));
        // Which of the two is larger, where, and the choice between the two p-values.
        let parts = [
            "ks_exact/loc",
            "ks_exact/sign",
            "ks_asymp/loc",
            "ks_asymp/sign",
            "ks_asymp/p",
            "ks_auto_p",
        ];
        more.extend(parts.map(|of| format!("/two_sample/{name}/{of}")));
    }
    for name in golden["hist"].as_object().unwrap().keys() {
        let other = [
            "tvd",
            "linf",
            "kl_p_q",
            "kl_q_p",
            "psi_floor_0.0001",
            "psi_floor_1e-06",
            "psi_laplace_n1000",
        ];
        more.extend(other.map(|of| format!("/hist/{name}/{of}")));
    }
    for name in golden["contingency"].as_object().unwrap().keys() {
        let other = ["chi2_corr1", "g_test", "fisher"];
        more.extend(other.map(|of| format!("/contingency/{name}/{of}")));
    }
    let more: Vec<String> = more.into_iter().filter(|of| golden.pointer(of).is_some()).collect();
    excused.extend(more.iter().map(|of| (of.as_str(), "no such measure")));
    every_value_is_compared(&golden, &excused, |golden| {
        compare_samples(golden);
        compare_histograms(golden);
        compare_tables(golden);
        compare_adjusted(golden);
    });
}

fn compare_samples(golden: &Value) {
    for (name, case) in golden["two_sample"].as_object().unwrap() {
        let (a, b) = (numbers(&case["a"]), numbers(&case["b"]));
        let ks = ks_test(&a, &b).unwrap();
        close(ks.distance, &case["ks_asymp"]["stat"], 1e-12, name);
        close(ks.distance, &case["ks_exact"]["stat"], 1e-12, name);
        close(ks.p_value, &case["ks_exact"]["p"], 1e-9, name);
        close(wasserstein(&a, &b).unwrap(), &case["wasserstein1"], 1e-12, name);
        if !case["mmd2"].is_null() {
            let mmd = mmd(&a, &b, 1, None).unwrap();
            close(mmd.sigma, &case["mmd2"]["sigma_median"], 1e-12, name);
            assert!((mmd.unbiased - case["mmd2"]["unbiased"].as_f64().unwrap()).abs() < 1e-12);
            assert!((mmd.biased - case["mmd2"]["biased"].as_f64().unwrap()).abs() < 1e-12);
        }
    }
}

fn compare_histograms(golden: &Value) {
    for (name, case) in golden["hist"].as_object().unwrap() {
        let (p, q) = (numbers(&case["p"]), numbers(&case["q"]));
        let js = jensen_shannon(&p, &q).unwrap();
        // In nats and squared it is the same thing.
        let others = [
            (js * std::f64::consts::LN_2.sqrt(), "js_distance_e"),
            (js * js, "js_divergence_base2"),
        ];
        for (ours, key) in [(js, "js_distance_base2")].into_iter().chain(others) {
            assert!((ours - case[key].as_f64().unwrap()).abs() < 1e-9, "{name} {key}");
        }
        close(hellinger(&p, &q).unwrap(), &case["hellinger"], 1e-12, name);
        let counts = |shares: &[f64]| -> Vec<u64> {
            shares.iter().map(|share| (share * 1000.0).round() as u64).collect()
        };
        if let Some(expected) = case.get("psi_jeffreys_n1000") {
            let whole = |v: &[f64]| {
                counts(v).iter().zip(v).all(|(c, s)| (*c as f64 - s * 1e3).abs() < 1e-9)
            };
            if whole(&p) && whole(&q) {
                let psi = population_stability_index(&counts(&p), &counts(&q)).unwrap();
                close(psi.value, expected, 1e-9, name);
            }
        }
    }
}

fn compare_tables(golden: &Value) {
    for (name, case) in golden["contingency"].as_object().unwrap() {
        let row = |i: usize| -> Vec<u64> {
            case["table"][i].as_array().unwrap().iter().map(|v| v.as_u64().unwrap()).collect()
        };
        let (a, b) = (row(0), row(1));
        let ours = chi_square_test(&a, &b).unwrap();
        let theirs = &case["chi2_corr0"];
        close(ours.statistic, &theirs["stat"], 1e-12, name);
        close(ours.p_value, &theirs["p"], 1e-9, name);
        assert_eq!(ours.degrees, theirs["dof"].as_u64().unwrap());
        close(ours.cramers_v, &case["cramers_v"], 1e-12, name);
        close(ours.cramers_v_corrected, &case["cramers_v_bias_corrected"], 1e-9, name);
        if let Some(z) = case.get("two_prop_z") {
            let (n, m) = (a.iter().sum(), b.iter().sum());
            // Their difference is the first less the second, of the first column or of the second one.
            let first = Proportion::new(a[1], n).unwrap();
            let second = Proportion::new(b[1], m).unwrap();
            let ours = TwoProportions { first, second }.pooled_test();
            assert!((ours.z.abs() - z["z"].as_f64().unwrap().abs()).abs() < 1e-9, "{name}");
            close(ours.p_value, &z["p"], 1e-9, name);
        }
    }
}

fn compare_adjusted(golden: &Value) {
    let golden = &golden["multiple_testing"];
    let ours = benjamini_hochberg(&numbers(&golden["p"])).unwrap();
    ours.iter().zip(numbers(&golden["bh"])).for_each(|(a, b)| assert!((a - b).abs() < 1e-12));
}

#[test]
fn bins_too_thin_for_the_chi_square_law_are_put_together() {
    let plain = chi_square_test(&[500, 497, 2, 1, 0], &[480, 505, 9, 5, 1]).unwrap();
    let merged = chi_square_test_merged(&[500, 497, 2, 1, 0], &[480, 505, 9, 5, 1]).unwrap();
    let by_hand = chi_square_test(&[500, 497, 3], &[480, 505, 15]).unwrap();
    assert_eq!((plain.degrees, merged), (4, by_hand));
    // One that is too thin even then joins the smallest of the others.
    let merged = chi_square_test_merged(&[500, 300, 1], &[480, 320, 0]).unwrap();
    assert_eq!(merged, chi_square_test(&[500, 301], &[480, 320]).unwrap());
    // A category that is new makes no certainty of nothing: one row in 1,000 (evidently gives p = 0).
    let new = chi_square_test_merged(&[500, 500, 0], &[500, 499, 1]).unwrap();
    assert!(new.p_value > 0.9, "{new:?}");
}

#[test]
fn input_that_cannot_be_compared_is_refused() {
    assert!(matches!(ks_test(&[], &[1.0]), Err(Error::Empty { .. })));
    assert!(ks_test(&[1.0], &[f64::NAN]).unwrap_err().to_string().contains("value 0 is NaN"));
    assert!(matches!(chi_square_test(&[0, 0], &[1, 2]), Err(Error::Empty { .. })));
    assert!(chi_square_test(&[1], &[1, 2]).is_err());
    assert_eq!(jensen_shannon(&[0.0], &[1.0]), None);
    assert_eq!(hellinger(&[1.0, -1.0], &[1.0, 1.0]), None);
    assert_eq!(wasserstein(&[1.0], &[f64::INFINITY]), None);
    assert_eq!(wasserstein_binned(&[1.0, 1.0], &[1.0, 1.0], &[2.0, 1.0]), None);
    assert!(mmd(&[1.0, 2.0], &[1.0], 1, None).is_err());
    assert!(mmd(&[1.0, 2.0], &[1.0, 2.0], 1, Some(0.0)).is_err());
    let constant = mmd(&[1.0; 3], &[1.0; 4], 1, None).unwrap();
    assert!(constant.unbiased.abs() < 1e-12 && constant.biased.abs() < 1e-12);
}

fn counts() -> impl Strategy<Value = (Vec<u64>, Vec<u64>)> {
    (1..12usize).prop_flat_map(|n| {
        let row = || prop::collection::vec(0..500u64, n);
        (row(), row())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn distances_of_histograms_are_symmetric_bounded_and_zero_for_equals((a, b) in counts()) {
        prop_assume!(a.iter().sum::<u64>() > 0 && b.iter().sum::<u64>() > 0);
        let floats = |v: &[u64]| -> Vec<f64> { v.iter().map(|&c| c as f64).collect() };
        let (p, q) = (floats(&a), floats(&b));
        for distance in [jensen_shannon, hellinger, ks_distance] {
            let (there, back) = (distance(&p, &q).unwrap(), distance(&q, &p).unwrap());
            prop_assert!((there - back).abs() < 1e-12);
            prop_assert!((0.0..=1.0).contains(&there));
            prop_assert!(distance(&p, &p).unwrap() < 1e-7);
        }
        let psi = population_stability_index(&a, &b).unwrap();
        prop_assert!(psi.value.is_finite() && psi.value >= 0.0);
        let back = population_stability_index(&b, &a).unwrap();
        prop_assert!((psi.value - back.value).abs() < 1e-12);
        for test in [chi_square_test(&a, &b).unwrap(), chi_square_test_merged(&a, &b).unwrap()] {
            prop_assert!((0.0..=1.0).contains(&test.p_value));
            prop_assert!((0.0..=1.0 + 1e-12).contains(&test.cramers_v));
        }
    }

    #[test]
    fn the_order_of_a_sample_does_not_matter_and_wasserstein_follows_the_unit(
        a in prop::collection::vec(-1e3..1e3f64, 1..40),
        b in prop::collection::vec(-1e3..1e3f64, 1..40),
        shift in -100.0..100.0f64,
    ) {
        let reversed: Vec<f64> = a.iter().rev().copied().collect();
        prop_assert_eq!(ks_test(&a, &b).unwrap(), ks_test(&reversed, &b).unwrap());
        prop_assert!((0.0..=1.0).contains(&ks_test(&a, &b).unwrap().p_value));
        let distance = wasserstein(&a, &b).unwrap();
        prop_assert!((distance - wasserstein(&b, &reversed).unwrap()).abs() < 1e-9);
        let shifted: Vec<f64> = a.iter().map(|v| v + shift).collect();
        prop_assert!((wasserstein(&a, &shifted).unwrap() - shift.abs()).abs() < 1e-9);
    }

    #[test]
    fn binning_loses_at_most_the_largest_bin_of_the_ks_distance(
        a in prop::collection::vec(0..1000u32, 1..200),
        b in prop::collection::vec(0..1000u32, 1..200),
    ) {
        let binned = |values: &[u32]| {
            let mut counts = vec![0.0; 10];
            values.iter().for_each(|v| counts[*v as usize / 100] += 1.0);
            counts
        };
        let floats = |values: &[u32]| -> Vec<f64> { values.iter().map(|&v| f64::from(v)).collect() };
        let exact = ks_test(&floats(&a), &floats(&b)).unwrap().distance;
        let (p, q) = (binned(&a), binned(&b));
        let coarse = ks_distance(&p, &q).unwrap();
        let largest = |counts: &[f64], n: usize| {
            counts.iter().map(|c| c / n as f64).fold(0.0, f64::max)
        };
        let loss = largest(&p, a.len()).max(largest(&q, b.len()));
        prop_assert!(coarse <= exact + 1e-12 && exact <= coarse + loss + 1e-12);
    }
}
