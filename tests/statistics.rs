//! Tests, intervals and plans against numbers from trusted peers; how they were made: tests/data/README.md.

use proptest::prelude::*;
use riskcycle::stats::{
    AucComparison, AucEstimate, ClusteredRatio, CovariateSums, Cuped, Discordant, Interval,
    PowerPlan, Proportion, RelativeLift, SampleMoments, TwoProportions, WelchTest,
    benjamini_hochberg, design_effect, effective_sample_size, goodness_of_fit, holm, log_rank,
};
use serde_json::Value;

fn golden() -> Value {
    serde_json::from_str(include_str!("data/experiment_golden.json")).unwrap()
}

fn rows(section: &str) -> Vec<Value> {
    golden()[section].as_array().unwrap().clone()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(number).collect()
}

fn flags(value: &Value) -> Vec<bool> {
    numbers(value).iter().map(|x| *x == 1.0).collect()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

/// Equal to `tolerance`, relative above 1 and absolute below.
#[track_caller]
fn close(got: f64, expected: f64, tolerance: f64) {
    let error = (got - expected).abs() / expected.abs().max(1.0);
    assert!(error <= tolerance, "{got} instead of {expected}: {error:e}");
}

/// Equal in relative terms, however small.
#[track_caller]
fn same_digits(got: f64, expected: f64, tolerance: f64) {
    assert!((got / expected - 1.0).abs() <= tolerance, "{got} instead of {expected}");
}

#[track_caller]
fn close_interval(got: Interval, expected: &Value, tolerance: f64) {
    let expected = numbers(expected);
    close(got.lower, expected[0], tolerance);
    close(got.upper, expected[1], tolerance);
}

fn pair(row: &Value) -> TwoProportions {
    let arm = |x: &str, n: &str| Proportion::new(count(&row[x]), count(&row[n])).unwrap();
    TwoProportions { first: arm("x_a", "n_a"), second: arm("x_b", "n_b") }
}

#[test]
fn wilson_intervals() {
    for row in rows("one_sample_ci") {
        let proportion = Proportion::new(count(&row["k"]), count(&row["n"])).unwrap();
        close_interval(proportion.wilson(0.05).unwrap(), &row["wilson"], 1e-13);
    }
}

#[test]
fn two_proportions_by_every_method() {
    for row in rows("two_sample") {
        let two = pair(&row);
        close(two.difference(), number(&row["diff_b_minus_a"]), 1e-14);
        let pooled = two.pooled_test();
        close(pooled.z, number(&row["z_pooled"]), 1e-12);
        same_digits(pooled.p_value, number(&row["p_pooled_two_sided"]), 1e-10);
        if row["z_unpooled"].is_number() {
            let unpooled = two.unpooled_test();
            close(unpooled.z, number(&row["z_unpooled"]), 1e-12);
            same_digits(unpooled.p_value, number(&row["p_unpooled_two_sided"]), 1e-10);
        }
        close_interval(two.newcombe(0.05).unwrap(), &row["ci_diff_newcomb"], 1e-12);
        let score = two.miettinen_nurminen(0.05).unwrap();
        close_interval(score, &row["ci_diff_miettinen_nurminen"], 1e-9);
        if row["fisher_p"].is_number() {
            same_digits(two.fisher(), number(&row["fisher_p"]), 1e-8);
        }
    }
    // Newcombe's own table (1998), first less second: 56/70 against 48/80.
    let table = TwoProportions {
        first: Proportion::new(48, 80).unwrap(),
        second: Proportion::new(56, 70).unwrap(),
    };
    let newcombe = table.newcombe(0.05).unwrap();
    assert_eq!(format!("{newcombe}"), "[0.0524, 0.3339]");
    assert_eq!(format!("{}", table.miettinen_nurminen(0.05).unwrap()), "[0.0528, 0.3382]");
}

#[test]
fn welch_and_relative_lift() {
    for row in rows("t_tests") {
        let arm = |side: &str| match row.get(side) {
            Some(values) => SampleMoments::of(&numbers(values)).unwrap(),
            None => SampleMoments {
                n: count(&row[format!("n_{side}")]),
                mean: number(&row[format!("mean_{side}")]),
                variance: number(&row[format!("sd_{side}")]).powi(2),
            },
        };
        let (a, b) = (arm("a"), arm("b"));
        let welch = WelchTest::new(&a, &b).unwrap();
        close(welch.t, number(&row["welch"]["t"]), 1e-12);
        close(welch.df, number(&row["welch"]["df"]), 1e-12);
        same_digits(welch.p_value, number(&row["welch"]["p"]), 1e-10);
        close_interval(welch.interval(0.05).unwrap(), &row["welch"]["ci"], 1e-10);
        if let Some(expected) = row.get("relative_lift") {
            let lift = RelativeLift::new(&a, &b).unwrap();
            close(lift.lift, number(&expected["point"]), 1e-14);
            same_digits(lift.variance, number(&expected["delta_var"]), 1e-12);
            close_interval(lift.interval(0.05).unwrap(), &expected["ci_z"], 1e-12);
        }
    }
}

#[test]
fn goodness_of_fit_by_chi_squared() {
    for row in rows("srm_chi2") {
        let observed: Vec<u64> = row["observed"].as_array().unwrap().iter().map(count).collect();
        let fit = goodness_of_fit(&observed, &numbers(&row["weights"])).unwrap();
        close(fit.chi_squared, number(&row["chi2"]), 1e-12);
        assert_eq!(fit.df, count(&row["df"]));
        same_digits(fit.p_value, number(&row["p"]), 1e-9);
    }
}

#[test]
fn mcnemar_exact_mid_p_and_chi_squared() {
    for row in rows("mcnemar") {
        let cells = Discordant { first_only: count(&row["b"]), second_only: count(&row["c"]) };
        same_digits(cells.exact(), number(&row["exact_p"]), 1e-10);
        same_digits(cells.mid_p(), number(&row["mid_p"]), 1e-9);
        let (statistic, p) = cells.chi_squared();
        close(statistic, number(&row["chi2"]), 1e-12);
        same_digits(p, number(&row["chi2_p"]), 1e-10);
        let swapped = Discordant { first_only: cells.second_only, second_only: cells.first_only };
        assert_eq!((swapped.exact(), swapped.mid_p()), (cells.exact(), cells.mid_p()));
    }
    for row in rows("mcnemar_paired_diff_ci_wald") {
        let cells = Discordant { first_only: count(&row["b"]), second_only: count(&row["c"]) };
        let (difference, error) = cells.accuracy_difference(count(&row["n"])).unwrap();
        close(difference, number(&row["diff_acc_b_minus_a"]), 1e-14);
        same_digits(error, number(&row["se"]), 1e-12);
        let interval = cells.interval(count(&row["n"]), 0.05).unwrap();
        close(interval.width(), 2.0 * 1.959963984540054 * error, 1e-13);
    }
}

#[test]
fn adjusted_p_values() {
    for row in rows("p_adjust") {
        let p = numbers(&row["p"]);
        for (got, expected) in holm(&p).unwrap().iter().zip(numbers(&row["holm"])) {
            close(*got, expected, 1e-14);
        }
        for (got, expected) in benjamini_hochberg(&p).unwrap().iter().zip(numbers(&row["bh"])) {
            close(*got, expected, 1e-14);
        }
    }
}

#[test]
fn units_needed_power_and_detectable_effects() {
    for row in rows("power_two_proportions") {
        let plan = PowerPlan {
            alpha: number(&row["alpha_two_sided"]),
            power: number(&row["power"]),
            ratio: number(&row["ratio_nb_over_na"]),
        };
        let (a, b) = (number(&row["p_a"]), number(&row["p_b"]));
        let n = plan.units_for_rates(a, b).unwrap();
        same_digits(n, number(&row["n_a_pooled_null"]), 1e-10);
        close(plan.power_for_rates(a, b, n).unwrap(), plan.power, 1e-10);
        same_digits(plan.events_for_rates(a, b).unwrap(), n * (a + plan.ratio * b), 1e-14);
    }
    // R 4.2.2, power.prop.test
    let n = PowerPlan::default().units_for_rates(0.05, 0.055).unwrap();
    same_digits(n, 31_233.437_940_13, 1e-9);
    for row in rows("power_two_means") {
        let (alpha, power, ratio) = (&row["alpha"], &row["power"], &row["ratio"]);
        let [alpha, power, ratio] = [alpha, power, ratio].map(number);
        let n = PowerPlan { alpha, power, ratio }.units_for_means(number(&row["d"])).unwrap();
        // The peer also counts rejections on the wrong side as power.
        same_digits(n, number(&row["n_a_z"]), 1e-5);
    }
    for row in rows("mde_two_proportions") {
        let n = number(&row["n_a"]);
        let plan = PowerPlan {
            alpha: number(&row["alpha"]),
            power: number(&row["power"]),
            ratio: number(&row["n_b"]) / n,
        };
        let p = number(&row["p_a"]);
        let (rise, fall) =
            (plan.detectable_rise(p, n).unwrap(), plan.detectable_fall(p, n).unwrap());
        same_digits(rise.unwrap(), number(&row["mde_up_abs"]), 1e-8);
        same_digits(fall.unwrap(), number(&row["mde_down_abs"]), 1e-8);
    }
    for row in rows("power_mcnemar_connor") {
        let plan = PowerPlan {
            alpha: number(&row["alpha"]),
            power: number(&row["power"]),
            ..PowerPlan::default()
        };
        let n = plan.rows_for_mcnemar(number(&row["p10"]), number(&row["p01"])).unwrap();
        same_digits(n, number(&row["n_pairs"]), 1e-10);
    }
    for row in rows("design_effect") {
        let effect = design_effect(number(&row["m"]), number(&row["cv"]), number(&row["icc"]));
        close(effect, number(&row["deff"]), 1e-12);
    }
}

#[test]
fn areas_under_the_curve_compared_on_the_same_and_on_different_rows() {
    for case in rows("delong_rows") {
        let labels = flags(&case["labels"]);
        let [first, second, mut other] = ["first", "second", "other"].map(|k| numbers(&case[k]));
        let paired = AucComparison::paired(&labels, &first, &second).unwrap();
        let expected = &case["paired"];
        for (got, i) in [(paired.first, 0), (paired.second, 1)] {
            close(got.auc, number(&expected["auc"][i]), 1e-12);
            same_digits(got.variance, number(&expected["variance"][i]), 1e-11);
        }
        same_digits(paired.covariance, number(&expected["covariance"]), 1e-10);
        same_digits(paired.difference / paired.standard_error, number(&expected["z"]), 1e-10);
        same_digits(paired.p_value, number(&expected["p"]), 1e-9);

        other.reverse();
        let reversed: Vec<bool> = labels.iter().rev().copied().collect();
        let other = AucEstimate::new(&reversed, &other).unwrap();
        let unpaired = AucComparison::unpaired(paired.first, other);
        let expected = &case["unpaired"];
        same_digits(unpaired.difference / unpaired.standard_error, number(&expected["t"]), 1e-10);
        same_digits(unpaired.df.unwrap(), number(&expected["df"]), 1e-10);
        same_digits(unpaired.p_value, number(&expected["p"]), 1e-9);
    }
}

#[test]
fn areas_of_an_imbalanced_set_with_ties_agree_with_proc_and_scikit_learn() {
    let set = &golden()["delong_imbalanced"];
    let (labels, a, b) = (flags(&set["y"]), numbers(&set["a"]), numbers(&set["b"]));
    let paired = AucComparison::paired(&labels, &a, &b).unwrap();
    let expected = &set["delong"];
    close(paired.first.auc, number(&set["sklearn"]["auc_a"]), 1e-13);
    close(paired.second.auc, number(&set["sklearn"]["auc_b"]), 1e-13);
    same_digits(paired.first.variance, number(&expected["var1"]), 1e-11);
    same_digits(paired.second.variance, number(&expected["var2"]), 1e-11);
    same_digits(paired.covariance, number(&expected["cov"]), 1e-10);
    same_digits(paired.p_value, number(&expected["p"]), 1e-10);
    // The peer's difference is the first less the second.
    close_interval(paired.interval(0.05).unwrap().negated(), &expected["ci_diff"], 1e-12);
    close_interval(paired.first.interval(0.05).unwrap(), &set["logit_ci"]["a"], 1e-12);
    close_interval(paired.second.interval(0.05).unwrap(), &set["logit_ci"]["b"], 1e-12);
}

#[test]
fn log_rank_of_waiting_times() {
    let section = &golden()["log_rank"];
    let counts =
        |side: &str| -> Vec<u64> { section[side].as_array().unwrap().iter().map(count).collect() };
    let test = log_rank(&counts("first"), &counts("second")).unwrap();
    close(test.z, number(&section["z"]), 1e-12);
    same_digits(test.p_value, number(&section["p"]), 1e-10);
}

#[test]
fn cuped_from_sufficient_statistics() {
    let golden = &golden()["cuped"];
    let arm = |side: &str| {
        let mut sums = CovariateSums::default();
        let (x, y) = (numbers(&golden[format!("x_{side}")]), numbers(&golden[format!("y_{side}")]));
        x.iter().zip(&y).for_each(|(&x, &y)| sums.add(x, y));
        sums
    };
    let (a, b) = (arm("a"), arm("b"));
    let expected = &golden["sufficient_stats"]["b"];
    for (got, name) in [(b.x, "sx"), (b.y, "sy"), (b.xx, "sxx"), (b.yy, "syy"), (b.xy, "sxy")] {
        assert_eq!(got, number(&expected[name]));
    }
    let cuped = Cuped::new(&a, &b).unwrap();
    let expected = &golden["pooled_theta"];
    close(cuped.theta, number(&expected["theta"]), 1e-12);
    close(cuped.first_mean, number(&expected["mean_a"]), 1e-12);
    close(cuped.second_mean, number(&expected["mean_b"]), 1e-12);
    close(cuped.test.difference, number(&expected["diff"]), 1e-12);
    close(cuped.test.standard_error, number(&expected["se"]), 1e-12);
    close(cuped.test.df, number(&expected["df"]), 1e-10);
    same_digits(cuped.test.p_value, number(&expected["p"]), 1e-9);
}

#[test]
fn ratios_by_the_delta_method_and_weighted_shares_as_in_rs_survey_package() {
    let golden = golden();
    let section = &golden["ratio_delta"];
    let ratio = |side: &str| {
        let (n, d) =
            (numbers(&section[format!("num_{side}")]), numbers(&section[format!("den_{side}")]));
        ClusteredRatio::new(n.into_iter().zip(d)).unwrap()
    };
    let (a, b) = (ratio("a"), ratio("b"));
    close(a.value(), number(&section["ratio_a"]), 1e-15);
    same_digits(a.variance(), number(&section["var_a"]), 1e-12);
    same_digits(b.variance(), number(&section["var_b"]), 1e-12);
    let difference = ClusteredRatio::difference(&a, &b);
    close(difference.value / difference.standard_error, number(&section["z"]), 1e-12);

    let section = &golden["ipw"];
    let (y, propensity) = (numbers(&section["y"]), numbers(&section["propensity"]));
    let alert = flags(&section["decision"]);
    let rows = || (0..y.len()).map(|i| (y[i] == 1.0, alert[i], 1.0 / propensity[i]));
    let check =
        |name: &str, error: &str, part: fn(bool, bool) -> bool, of: fn(bool, bool) -> bool| {
            let weight = |yes: bool, w: f64| if yes { w } else { 0.0 };
            let sums = rows().map(|(bad, alert, w)| {
                (weight(part(bad, alert) && of(bad, alert), w), weight(of(bad, alert), w))
            });
            let ratio = ClusteredRatio::new(sums).unwrap();
            close(ratio.value(), number(&section[name]), 1e-14);
            same_digits(ratio.estimate().standard_error, number(&section[error]), 1e-10);
        };
    check("hajek_mean", "hajek_se", |bad, _| bad, |_, _| true);
    check("precision", "precision_se", |bad, _| bad, |_, alert| alert);
    check("recall", "recall_se", |_, alert| alert, |bad, _| bad);
    check("fpr", "fpr_se", |_, alert| alert, |bad, _| !bad);
    let effective = effective_sample_size(rows().map(|(_, _, w)| w)).unwrap();
    close(effective, number(&section["ess_kish"]), 1e-12);
}

fn labelled_scores() -> impl Strategy<Value = (Vec<bool>, Vec<u8>, Vec<u8>)> {
    (4usize..60).prop_flat_map(|n| {
        let labels = proptest::collection::vec(any::<bool>(), n).prop_map(|mut labels| {
            (labels[0], labels[1]) = (true, false);
            labels
        });
        let scores = || proptest::collection::vec(0u8..12, n);
        (labels, scores(), scores())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn delong_sees_only_the_order_of_scores_and_is_exact_on_bins(
        (labels, a, b) in labelled_scores(),
    ) {
        let raw = |scores: &[u8]| scores.iter().map(|&s| f64::from(s)).collect::<Vec<_>>();
        let bent = |scores: &[u8]| scores.iter().map(|&s| (f64::from(s) - 3.0).exp()).collect::<Vec<_>>();
        let paired = AucComparison::paired(&labels, &raw(&a), &raw(&b)).unwrap();
        prop_assert_eq!(paired, AucComparison::paired(&labels, &bent(&a), &bent(&b)).unwrap());

        let (mut bad, mut good) = (vec![0u32; 144], vec![0u32; 144]);
        for (i, &label) in labels.iter().enumerate() {
            let cell = usize::from(a[i]) * 12 + usize::from(b[i]);
            *(if label { &mut bad[cell] } else { &mut good[cell] }) += 1;
        }
        let binned = AucComparison::paired_from_counts(&bad, &good, 12).unwrap();
        close(binned.difference, paired.difference, 1e-14);
        close(binned.first.variance, paired.first.variance, 1e-14);
        close(binned.covariance, paired.covariance, 1e-14);
        close(binned.standard_error, paired.standard_error, 1e-7);

        let swapped = AucComparison::paired(&labels, &raw(&b), &raw(&a)).unwrap();
        prop_assert_eq!(swapped.difference, -paired.difference);
        close(swapped.p_value, paired.p_value, 1e-12);
    }

    #[test]
    fn swapping_the_arms_turns_the_difference_and_leaves_the_p_value(
        n_1 in 1u64..5000, n_2 in 1u64..5000, share_1 in 0.0..=1.0, share_2 in 0.0..=1.0,
    ) {
        let arm = |n: u64, share: f64| Proportion::new((n as f64 * share) as u64, n).unwrap();
        let two = TwoProportions { first: arm(n_1, share_1), second: arm(n_2, share_2) };
        let swapped = TwoProportions { first: two.second, second: two.first };
        prop_assert_eq!(swapped.difference(), -two.difference());
        close(swapped.pooled_test().p_value, two.pooled_test().p_value, 1e-12);
        close(swapped.fisher(), two.fisher(), 1e-9);
        for interval in [TwoProportions::newcombe, TwoProportions::miettinen_nurminen] {
            let (ours, theirs) = (interval(&two, 0.05).unwrap(), interval(&swapped, 0.05).unwrap());
            close(ours.lower, -theirs.upper, 1e-9);
            prop_assert!(ours.lower <= two.difference() + 1e-12);
            prop_assert!(two.difference() <= ours.upper + 1e-12);
            prop_assert!(ours.lower >= -1.0 && ours.upper <= 1.0);
        }
        for p in [two.pooled_test().p_value, two.unpooled_test().p_value, two.fisher()] {
            prop_assert!((0.0..=1.0).contains(&p), "{}", p);
        }
    }

    #[test]
    fn an_interval_leaves_out_zero_exactly_where_its_own_test_rejects(
        mean in -3.0..3.0f64, sd_1 in 0.1..5.0f64, sd_2 in 0.1..5.0f64, n_1 in 2u64..500, n_2 in 2u64..500,
    ) {
        let first = SampleMoments { n: n_1, mean: 0.0, variance: sd_1 * sd_1 };
        let second = SampleMoments { n: n_2, mean, variance: sd_2 * sd_2 };
        let welch = WelchTest::new(&first, &second).unwrap();
        prop_assume!((welch.p_value - 0.05).abs() > 1e-9);
        let interval = welch.interval(0.05).unwrap();
        prop_assert_eq!(!interval.contains(0.0), welch.p_value < 0.05);
        prop_assert!(interval.contains(welch.difference));
    }

    #[test]
    fn the_detectable_effect_has_the_planned_power_and_larger_effects_need_fewer_units(
        first in 0.001..0.4f64, n in 500.0..1e6f64, ratio in 0.05..2.0f64, power in 0.5..0.95f64,
    ) {
        let plan = PowerPlan { alpha: 0.05, power, ratio };
        if let Some(rise) = plan.detectable_rise(first, n).unwrap() {
            close(plan.power_for_rates(first, first + rise, n).unwrap(), power, 1e-6);
        }
        let units = |effect: f64| plan.units_for_rates(first, first * (1.0 + effect)).unwrap();
        prop_assert!(units(0.1) > units(0.2) && units(0.2) > units(0.4));
    }

    #[test]
    fn one_row_per_cluster_is_the_plain_variance(values in proptest::collection::vec(0u8..2, 2..200)) {
        let n = values.len() as f64;
        let ratio = ClusteredRatio::new(values.iter().map(|&v| (f64::from(v), 1.0))).unwrap();
        let mean = ratio.value();
        close(ratio.variance(), mean * (1.0 - mean) / (n - 1.0), 1e-14);
        // A common weight changes nothing.
        let weighted = ClusteredRatio::new(values.iter().map(|&v| (4.0 * f64::from(v), 4.0))).unwrap();
        prop_assert_eq!(weighted.estimate(), ratio.estimate());
    }
}
