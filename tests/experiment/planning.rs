//! How large an experiment must be, and what makes it smaller.

use proptest::prelude::*;
use riskcycle::experiment::{
    AnalysisPlan, Evidence, ExperimentConfig, ExperimentStatistics, Inference, Method, Metric,
    Mode, Recorded, RoutingConfig, Spending, StopReason,
};
use riskcycle::stats::PowerPlan;

use crate::world::*;

fn planned(inference: Inference, weights: &[u32], planned_units: u64) -> ExperimentConfig {
    let plan = AnalysisPlan { inference, planned_units, ..plan() };
    config(RoutingConfig::new("size", weights), Mode::AbTest, plan)
}

const EVENTS: Inference = Inference::EventProcess { strength: 50.0 };
const GROUPS: Inference = Inference::GroupSequential { spending: Spending::OBrienFleming };

#[test]
fn one_look_is_sized_as_in_the_textbook() {
    let config = planned(Inference::FixedHorizon, &[800_000, 200_000], 1);
    let units = config.units_for_rates(0.01, 0.013).unwrap() as f64;
    let textbook = PowerPlan { ratio: 0.25, ..PowerPlan::default() };
    let expected = textbook.units_for_rates(0.01, 0.013).unwrap() / 0.8;
    // Ours also counts the other side, which adds less than a unit in a thousand.
    assert!((units / expected - 1.0).abs() < 1e-3, "{units} {expected}");
    // Two challengers share α, and the smaller one needs the most.
    let three = planned(Inference::FixedHorizon, &[600_000, 300_000, 100_000], 1);
    let textbook = PowerPlan { alpha: 0.025, ratio: 1.0 / 6.0, ..PowerPlan::default() };
    let expected = textbook.units_for_rates(0.01, 0.013).unwrap() / 0.6;
    let units = three.units_for_rates(0.01, 0.013).unwrap() as f64;
    assert!((units / expected - 1.0).abs() < 1e-3, "{units} {expected}");
}

#[test]
fn power_is_what_simulations_find() {
    // 1 % against 1.3 % of 25,000 each, 3,000 runs in Python: group-sequential over five looks 0.867. Evidence at every
    // look crossed by the end in 0.632 (event process, 50 events) and 0.634 (confidence sequence); at the end itself a
    // little less.
    let power = |inference| planned(inference, &[500_000; 2], 50_000).power_for_rates(0.01, 0.013);
    let groups = power(GROUPS).unwrap();
    let three_errors = 3.0 * (0.867f64 * 0.133 / 3000.0).sqrt();
    assert!((groups - 0.867).abs() < three_errors, "{groups}");
    for (inference, found) in [(EVENTS, 0.632), (Inference::ConfidenceSequence, 0.634)] {
        let power = power(inference.clone()).unwrap();
        assert!(power < found + 0.03 && power > found - 0.1, "{inference:?}: {power}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 12, ..ProptestConfig::default() })]

    #[test]
    fn sizes_and_what_they_show_are_inverse_to_each_other(
        rate in 0.002..0.2f64, change in 0.5..0.9f64, share in 20_000u32..800_000, which in 0usize..4,
    ) {
        let inference = match which {
            0 => EVENTS,
            1 => Inference::ConfidenceSequence,
            2 => GROUPS,
            _ => Inference::FixedHorizon,
        };
        let weights = [1_000_000 - share, share];
        let config = planned(inference.clone(), &weights, 1);
        let units = config.units_for_rates(rate, rate * change).unwrap();
        let sized = planned(inference.clone(), &weights, units);
        let power = sized.power_for_rates(rate, rate * change).unwrap();
        prop_assert!((power - 0.8).abs() < 1e-3, "{}", power);
        let detectable = sized.detectable_rate(rate).unwrap().unwrap();
        prop_assert!((detectable / (rate * change) - 1.0).abs() < 1e-3, "{}", detectable);
        prop_assert!(config.units_for_rates(rate, rate * change * 0.9).unwrap() < units);
    }
}

#[test]
fn sizes_that_cannot_be_are_refused() {
    let config = planned(EVENTS, &[500_000; 2], 1000);
    assert!(config.units_for_rates(0.01, 0.01).is_err());
    assert!(config.units_for_rates(0.0, 0.01).is_err());
    assert_eq!(config.detectable_rate(0.0001).unwrap(), None);
    assert!(planned(EVENTS, &[1_000_000, 0], 1000).power_for_rates(0.01, 0.02).is_err());
}

#[test]
fn a_covariate_takes_variance_out_and_leaves_the_difference() {
    // A unit's past tells most of its requests from now on: some are nearly always bad, and were before.
    let habit = |unit: u64| if chance(unit, 77) < 0.1 { 0.6 } else { 0.01 };
    let past = |unit: u64| (0..40).filter(|i| chance(unit * 64 + i, 78) < habit(unit)).count();
    let run = |cuped: bool, primary: Metric| {
        let plan = AnalysisPlan {
            inference: Inference::FixedHorizon,
            planned_units: 1000,
            planned_requests: 1000,
            secondary: vec![Metric::ApprovalRate],
            cuped,
            ..AnalysisPlan::new(primary, 1, 1)
        };
        let plan = AnalysisPlan { maturity: riskcycle::days(7), guardrails: vec![], ..plan };
        let experiment =
            started(config(RoutingConfig::new("cuped", &[500_000; 2]), Mode::AbTest, plan));
        let mut statistics = ExperimentStatistics::new(&experiment, small()).unwrap();
        for happened in world(&experiment, 9000, &|_| 0.0) {
            let unit = happened.token.unit().0;
            let bad = chance(happened.token.request(), 79) < habit(unit);
            let token = happened.token.with_covariate(past(unit) as i32);
            assert_eq!(statistics.expose(&token), Recorded::Counted);
            statistics.outcome(&token, bad, happened.labelled);
        }
        experiment.stop(StopReason::Complete, sign(LATE)).unwrap();
        let back =
            ExperimentStatistics::from_bytes(&experiment, small(), &statistics.to_bytes()).unwrap();
        let report = experiment.report(&back, LATE);
        assert_eq!(json(&report), json(&experiment.report(&statistics, LATE)));
        report
    };
    for primary in [Metric::BadRate, Metric::UnitBadRate] {
        let (plain, adjusted) = (run(false, primary), run(true, primary));
        let (plain, adjusted) = (&plain.comparisons[0].primary, &adjusted.comparisons[0].primary);
        let (one, other) = (plain.difference.unwrap(), adjusted.difference.unwrap());
        let removed = adjusted.variance_removed.unwrap();
        assert!(removed > 0.3, "{primary}: {removed}");
        let left = (other.standard_error / one.standard_error).powi(2);
        assert!((left - (1.0 - removed)).abs() < 1e-9, "{primary}: {left} {removed}");
        // The same quantity: they differ by what was taken out, an error of its own of that variance.
        let gap = (one.value - other.value).abs();
        assert!(gap < 4.0 * one.standard_error * removed.sqrt(), "{primary}: {gap}");
        assert!(matches!(adjusted.evidence, Evidence::FixedHorizon { method: Method::Cuped, .. }));
        assert_eq!(plain.variance_removed, None);
        // What can be detected falls with the error.
        let ratio = adjusted.detectable.unwrap() / plain.detectable.unwrap();
        assert!((ratio - left.sqrt()).abs() < 1e-9, "{primary}: {ratio}");
    }
    // A covariate that has nothing to do with the metric takes out next to nothing.
    let report = run(true, Metric::BadRate);
    let approvals = &report.comparisons[0].secondary[0];
    assert!(approvals.variance_removed.unwrap() < 0.05, "{:?}", approvals.variance_removed);
}

#[test]
fn lifts_and_detectable_differences_follow_from_the_difference() {
    let experiment = half();
    let world = world(&experiment, 9000, &|arm| if arm == 1 { 0.03 } else { 0.05 });
    let report = experiment.report(&record(&experiment, &world), LATE);
    let primary = &report.comparisons[0].primary;
    let (lift, difference) = (primary.lift.unwrap(), primary.difference.unwrap());
    assert!((lift.value - difference.value / primary.champion.unwrap()).abs() < 1e-12);
    let p = [&report.arms[0], &report.arms[1]].map(|arm| arm.mature_units.unwrap());
    let relative = p.map(|p| (1.0 - p.rate()) / (p.rate() * p.n() as f64));
    // Of a ratio of two shares: (p₂ / p₁)² (Var p₁ / p₁² + Var p₂ / p₂²).
    let expected = (p[1].rate() / p[0].rate()) * (relative[0] + relative[1]).sqrt();
    assert!((lift.standard_error / expected - 1.0).abs() < 1e-9, "{lift:?} {expected}");
    let fixed = AnalysisPlan { inference: Inference::FixedHorizon, ..plan() };
    let fixed = started(config(RoutingConfig::new("half", &[500_000; 2]), Mode::AbTest, fixed));
    let report = fixed.report(&record(&fixed, &world), LATE);
    let primary = &report.comparisons[0].primary;
    let error = primary.difference.unwrap().standard_error * report.information.sqrt();
    let expected = (1.959_963_984_540_054 + 0.841_621_233_572_914_2) * error;
    assert!((primary.detectable.unwrap() / expected - 1.0).abs() < 1e-9);
    assert!(report.to_string().contains("the plan shows"), "{report}");
}
