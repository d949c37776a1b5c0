//! Evidence that stays valid however often one looks, against numbers from trusted peers; how they were made:
//! tests/data/README.md.

use proptest::prelude::*;
use riskcycle::experiment::{
    AgeCohort, DelayCurve, EventProcess, NormalMixture, SampleRatio, Spending, boundaries,
    chance_of_lowest, multinomial_ln_e,
};
use riskcycle::stats::{Estimate, Proportion, TwoProportions, e_benjamini_hochberg};
use serde_json::Value;

fn golden(section: &str) -> Value {
    let all: Value = serde_json::from_str(include_str!("data/experiment_golden.json")).unwrap();
    all[section].clone()
}

fn rows(value: &Value) -> &Vec<Value> {
    value.as_array().unwrap()
}

fn number(value: &Value) -> f64 {
    value.as_f64().unwrap_or_else(|| panic!("{value} is no number"))
}

fn numbers(value: &Value) -> Vec<f64> {
    rows(value).iter().map(number).collect()
}

fn count(value: &Value) -> u64 {
    value.as_u64().unwrap()
}

#[track_caller]
fn close(got: f64, expected: f64, tolerance: f64) {
    let error = (got - expected).abs() / expected.abs().max(1.0);
    assert!(error <= tolerance, "{got} instead of {expected}: {error:e}");
}

#[test]
fn the_event_process_by_the_beta_binomial_and_by_confseq() {
    for row in rows(&golden("beta_binomial_eprocess")["rows"]) {
        let (k, n) = (count(&row["k"]), count(&row["n"]));
        let (theta, a, b) =
            (number(&row["theta0"]), number(&row["prior_a"]), number(&row["prior_b"]));
        // Ours puts the prior around the share; of the peer's, those that do too.
        if ((a + b) * theta - a).abs() > 1e-9 * a {
            continue;
        }
        let process = EventProcess::new(a + b).unwrap().with_events(theta, n - k, k).unwrap();
        close(process.ln_e(), number(&row["log_e"]), 1e-10);
        close((-process.ln_e()).exp().min(1.0), number(&row["p_anytime"]), 1e-10);
        // The peer's prior stays in place as the null moves, and so does ours: the same interval, of the share.
        let ratio = process.rate_ratio(0.05);
        let share = |ratio: f64| match ratio.is_infinite() {
            true => 1.0,
            false => ratio * theta / (ratio * theta + 1.0 - theta),
        };
        let expected = numbers(&row["ci95_theta"]);
        close(share(ratio.lower), expected[0], 1e-9);
        close(share(ratio.upper), expected[1], 1e-9);
    }
    for row in rows(&golden("beta_binomial_eprocess_one_sided")) {
        let (k, n, theta) = (count(&row["k"]), count(&row["n"]), number(&row["theta0"]));
        let strength = number(&row["prior_a"]) + number(&row["prior_b"]);
        let process = EventProcess::new(strength).unwrap().with_events(theta, n - k, k).unwrap();
        close(process.ln_e(), number(&row["log_e_two_sided"]), 1e-10);
        close(process.ln_e_greater(), number(&row["log_e_one_sided_greater"]), 1e-9);
        let mirrored =
            EventProcess::new(strength).unwrap().with_events(1.0 - theta, k, n - k).unwrap();
        close(mirrored.ln_e_less(), process.ln_e_greater(), 1e-9);
    }
}

#[test]
fn the_normal_mixture_as_msprt_and_as_growthbooks_asymptotic_sequence() {
    for row in rows(&golden("msprt_normal_mixture_two_bernoulli")) {
        let arm = |x: &str, n: &str| Proportion::new(count(&row[x]), count(&row[n])).unwrap();
        let two = TwoProportions { first: arm("x_a", "n_a"), second: arm("x_b", "n_b") };
        let estimate =
            Estimate { value: two.difference(), standard_error: two.unpooled_variance().sqrt() };
        let mixture = NormalMixture::new(number(&row["tau"]));
        close(mixture.ln_e(estimate), number(&row["log_lambda"]), 1e-10);
        let interval = mixture.interval(estimate, 0.05);
        let expected = numbers(&row["ci95"]);
        close(interval.lower, expected[0], 1e-12);
        close(interval.upper, expected[1], 1e-12);
    }
    for row in rows(&golden("asymptotic_cs")) {
        let arm = |side: &str| {
            let part = |name: &str| number(&row[format!("{name}_{side}")]);
            let (n, sum, squares) = (part("n"), part("sum"), part("sumsq"));
            let mean = sum / n;
            (n, mean, (squares - n * mean * mean) / (n - 1.0) / n)
        };
        let ((n_a, mean_a, v_a), (n_b, mean_b, v_b)) = (arm("a"), arm("b"));
        let (value, v) = (mean_b - mean_a, v_a + v_b);
        let estimate = Estimate { value, standard_error: v.sqrt() };
        let mixture = NormalMixture::tuned(v, n_a + n_b, number(&row["n_star"]), 0.05);
        close(mixture.ln_e(estimate), number(&row["abs_log_evalue"]), 1e-9);
        let interval = mixture.interval(estimate, 0.05);
        let expected = numbers(&row["gbstats_abs_ci"]);
        close(interval.lower, expected[0], 1e-10);
        close(interval.upper, expected[1], 1e-10);
    }
}

#[test]
fn group_sequential_bounds_by_lan_and_demets() {
    for row in rows(&golden("gst_spending_bounds")) {
        let spending = match row["spending"].as_str().unwrap() {
            "lan_demets_obrien_fleming" => Spending::OBrienFleming,
            "lan_demets_pocock" => Spending::Pocock,
            "power_phi2" => Spending::Power { exponent: 2.0 },
            "power_phi3" => Spending::Power { exponent: 3.0 },
            other => panic!("{other}"),
        };
        let (fractions, alpha) = (numbers(&row["info_fractions"]), number(&row["alpha_two_sided"]));
        for (t, spent) in fractions.iter().zip(numbers(&row["cumulative_alpha"])) {
            close(spending.spent(*t, alpha), spent, 1e-12);
        }
        let bounds = boundaries(&fractions, alpha, spending).unwrap();
        for (bound, expected) in bounds.iter().zip(numbers(&row["z_bounds"])) {
            close(*bound, expected, 1e-6);
        }
        // Later looks do not change earlier bounds.
        assert_eq!(boundaries(&fractions[..1], alpha, spending).unwrap()[0], bounds[0]);
    }
}

#[test]
fn the_split_of_the_sample_by_the_dirichlet_multinomial_and_by_savvi() {
    for row in rows(&golden("srm_sequential_dirichlet_multinomial")) {
        let (concentration, shares) = (number(&row["concentration"]), numbers(&row["theta0"]));
        let mut running = 1.0f64;
        for look in rows(&row["looks"]) {
            let counts: Vec<u64> = rows(&look["cumulative_counts"]).iter().map(count).collect();
            let ln_e = multinomial_ln_e(&counts, &shares, concentration).unwrap();
            close(ln_e, number(&look["log_bayes_factor"]), 1e-8);
            running = running.min((-ln_e).exp());
            close(running / number(&look["always_valid_p"]), 1.0, 1e-7);
            if concentration == 10_000.0 {
                let ratio = SampleRatio::new(&counts, &shares).unwrap();
                close(ratio.sequential_p_value, (-ln_e).exp().min(1.0), 1e-12);
            }
        }
    }
    for row in rows(&golden("savvi_multinomial")) {
        for look in rows(&row["looks"]) {
            let counts: Vec<u64> = rows(&look["cumulative"]).iter().map(count).collect();
            let ln_e =
                multinomial_ln_e(&counts, &numbers(&row["theta0"]), number(&row["k"])).unwrap();
            close(ln_e.exp() / number(&look["odds_alt_over_null"]), 1.0, 1e-7);
        }
    }
    assert!(multinomial_ln_e(&[1], &[0.5, 0.5], 10.0).is_err());
    assert_eq!(multinomial_ln_e(&[1, 1], &[1.0, 0.0], 10.0).unwrap(), f64::INFINITY);
}

#[test]
fn chances_of_the_lowest_rate_by_exact_sums_and_quadrature() {
    for row in rows(&golden("bayes_beta_binomial")) {
        let part = |name: &str| number(&row[name]);
        let arms = [(part("alpha_a"), part("beta_a")), (part("alpha_b"), part("beta_b"))];
        // The first is the lowest where the second is greater.
        close(chance_of_lowest(&arms)[0], number(&row["p_b_gt_a_exact"]), 1e-7);
    }
    let three = golden("bandit_prob_best_lower_is_better");
    let arms: Vec<(f64, f64)> =
        rows(&three["arms"]).iter().map(|arm| (number(&arm[0]), number(&arm[1]))).collect();
    for (got, expected) in chance_of_lowest(&arms).iter().zip(numbers(&three["p_best"])) {
        close(*got, expected, 1e-8);
    }
}

#[test]
fn rates_adjusted_for_labels_that_are_still_to_come() {
    let section = golden("delay_adjusted_rate");
    let points = section["delay_cdf"].as_object().unwrap();
    let mut points: Vec<(f64, f64)> =
        points.iter().map(|(age, share)| (age.parse().unwrap(), number(share))).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let curve = DelayCurve::new(points).unwrap();
    let cohorts: Vec<AgeCohort> = rows(&section["cohorts"])
        .iter()
        .map(|cohort| {
            close(curve.at(number(&cohort["age"])), number(&cohort["completeness"]), 1e-14);
            AgeCohort {
                age: number(&cohort["age"]),
                requests: count(&cohort["n"]),
                events: count(&cohort["labels"]),
            }
        })
        .collect();
    close(curve.adjusted_rate(&cohorts).unwrap(), number(&section["adjusted_rate"]), 1e-14);
    // Where all labels have come, the adjusted rate is the plain one.
    let all = DelayCurve::new(vec![(0.0, 1.0)]).unwrap();
    close(all.adjusted_rate(&cohorts).unwrap(), number(&section["naive_rate"]), 1e-15);
}

#[test]
fn e_values_among_many() {
    let section = golden("e_values");
    let rejected =
        e_benjamini_hochberg(&numbers(&section["e"]), number(&section["alpha"])).unwrap();
    let rejected: Vec<u64> = (0..).zip(rejected).filter(|(_, r)| *r).map(|(i, _)| i).collect();
    assert_eq!(rejected, rows(&section["e_bh_rejected"]).iter().map(count).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_event_process_is_fair_under_no_difference(
        strength in 1.0..200.0f64, share in 0.01..0.99f64, first in 0u64..200, second in 0u64..200,
    ) {
        // The expected gain of one more event is nothing: E is a martingale.
        let e = |a: u64, b: u64| {
            EventProcess::new(strength).unwrap().with_events(share, a, b).unwrap().ln_e()
        };
        let now = e(first, second);
        let next = (1.0 - share) * (e(first + 1, second) - now).exp()
            + share * (e(first, second + 1) - now).exp();
        close(next, 1.0, 1e-9);
    }

    #[test]
    fn swapping_the_arms_mirrors_the_event_process(
        share in 0.01..0.99f64, first in 0u64..300, second in 0u64..300,
    ) {
        let process = |share: f64, a: u64, b: u64| {
            EventProcess::new(50.0).unwrap().with_events(share, a, b).unwrap()
        };
        let (one, other) = (process(share, first, second), process(1.0 - share, second, first));
        close(one.ln_e(), other.ln_e(), 1e-9);
        let (ours, theirs) = (one.rate_ratio(0.05), other.rate_ratio(0.05));
        let mirrored = (ours.lower * theirs.upper - 1.0).abs() < 1e-6 || ours.lower == 0.0;
        prop_assert!(mirrored, "{:e} {:e}", ours.lower, theirs.upper);
        let estimate = second as f64 / first as f64 * (1.0 - share) / share;
        prop_assert!(first == 0 || ours.contains(estimate), "{} {}", ours, estimate);
    }

    #[test]
    fn a_confidence_sequence_leaves_out_zero_exactly_where_it_rejects(
        value in -1.0..1.0f64, standard_error in 0.001..1.0f64, tau in 0.001..1.0f64,
    ) {
        let (mixture, estimate) = (NormalMixture::new(tau), Estimate { value, standard_error });
        let ln_e = mixture.ln_e(estimate);
        prop_assume!((ln_e + 0.05f64.ln()).abs() > 1e-9);
        let interval = mixture.interval(estimate, 0.05);
        prop_assert_eq!(!interval.contains(0.0), ln_e > -(0.05f64.ln()));
        prop_assert!(interval.contains(value));
    }
}
