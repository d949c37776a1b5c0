//! Properties of tests, intervals and plans that hold for any sample. Their numbers: tests/experiment_golden.

use proptest::prelude::*;
use riskcycle::stats::{
    AucComparison, ClusteredRatio, Discordant, PowerPlan, Proportion, SampleMoments,
    TwoProportions, WelchTest,
};

/// Equal to `tolerance`, relative above 1 and absolute below.
#[track_caller]
fn close(got: f64, expected: f64, tolerance: f64) {
    let error = (got - expected).abs() / expected.abs().max(1.0);
    assert!(error <= tolerance, "{got} instead of {expected}: {error:e}");
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
        let itself = AucComparison::paired(&labels, &raw(&a), &bent(&a)).unwrap();
        prop_assert_eq!((itself.difference, itself.p_value), (0.0, 1.0));
        if (paired.p_value - 0.05).abs() > 1e-9 && paired.standard_error > 0.0 {
            let interval = paired.interval(0.05).unwrap();
            prop_assert_eq!(!interval.contains(0.0), paired.p_value < 0.05);
        }
    }

    #[test]
    fn mcnemar_does_not_care_which_comes_first(first_only in 0u64..400, second_only in 0u64..400) {
        let cells = Discordant { first_only, second_only };
        let swapped = Discordant { first_only: second_only, second_only: first_only };
        prop_assert_eq!((cells.exact(), cells.mid_p()), (swapped.exact(), swapped.mid_p()));
        prop_assert_eq!(cells.chi_squared(), swapped.chi_squared());
        for p in [cells.exact(), cells.mid_p(), cells.chi_squared().1] {
            prop_assert!((0.0..=1.0 + 1e-12).contains(&p), "{}", p);
        }
        let n = first_only + second_only + 100;
        let (ours, theirs) = (cells.interval(n, 0.05).unwrap(), swapped.interval(n, 0.05).unwrap());
        prop_assert!((ours.lower + theirs.upper).abs() < 1e-15);
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
