//! One look: proportions, means, χ², McNemar, several tests at once, plans.

use riskcycle::experiment::{SampleRatio, multinomial_ln_e};
use riskcycle::stats::{
    Discordant, Estimate, Interval, PowerPlan, Proportion, SampleMoments, TwoProportions,
    WelchTest, benjamini_hochberg, chi_square_test, design_effect, goodness_of_fit, holm,
    relative_lift,
};

use crate::claims::{Golden, Node};

const Z_SCORE: f64 = -1.531_068_788_275_489_6;
const P_SCORE: f64 = 0.062_876_196_363_903_33;

fn pair(row: &Node<'_>) -> TwoProportions {
    let arm = |x: &str, n: &str| Proportion::new(row.count(x), row.count(n)).unwrap();
    TwoProportions { first: arm("x_a", "n_a"), second: arm("x_b", "n_b") }
}

#[test]
fn one_look_by_every_method() {
    let file = Golden::new(include_str!("../data/experiments/fixed_horizon.json"));
    for row in file.section("one_sample_ci").rows() {
        let proportion = Proportion::new(row.count("k"), row.count("n")).unwrap();
        row.get("wilson").holds(proportion.wilson(row.at("alpha")).unwrap(), 1e-13);
    }
    file.section("two_sample").rows().iter().for_each(two_proportions);
    for row in file.section("non_inferiority").rows() {
        let (two, margin) = (pair(&row), row.at("margin"));
        // The most likely rates that far apart by bisection of the score equation in scipy 1.17.1; statsmodels' are off, as
        // the end points of its interval are.
        let score = two.non_inferiority(margin).unwrap();
        assert!((score.z - Z_SCORE).abs() < 1e-9, "{}", score.z);
        assert!((score.p_value / P_SCORE - 1.0).abs() < 1e-9, "{}", score.p_value);
        row.get("z_score").is(score.z, 2e-4);
        row.get("p_score").is(score.p_value, 5e-5);
        let standard_error = two.unpooled_variance().sqrt();
        let estimate = Estimate { value: two.difference(), standard_error };
        row.get("p_wald").has_digits(estimate.below(margin), 1e-10);
        row.get("z_wald").is((two.difference() - margin) / standard_error, 1e-12);
    }
    file.section("t_tests").rows().iter().for_each(two_means);
    for row in file.section("srm_chi2").rows() {
        let (observed, weights) = (row.get("observed").counts(), row.get("weights").numbers());
        let fit = goodness_of_fit(&observed, &weights).unwrap();
        row.get("chi2").is(fit.chi_squared, 1e-12);
        assert_eq!(fit.df, row.count("df"));
        row.get("p").has_digits(fit.p_value, 1e-9);
        let ratio = SampleRatio::new(&observed, &weights).unwrap();
        assert!((ratio.p_value / fit.p_value - 1.0).abs() < 1e-12);
    }
    file.section("srm_sequential_dirichlet_multinomial").rows().iter().for_each(sequential_split);
    file.section("mcnemar").rows().iter().for_each(mcnemar);
    for row in file.section("mcnemar_paired_diff_ci_wald").rows() {
        let cells = Discordant { first_only: row.count("b"), second_only: row.count("c") };
        let (difference, error) = cells.accuracy_difference(row.count("n")).unwrap();
        row.get("diff_acc_b_minus_a").is(difference, 1e-14);
        row.get("se").has_digits(error, 1e-12);
        let interval = cells.interval(row.count("n"), 0.05).unwrap();
        assert!((interval.width() - 2.0 * 1.959963984540054 * error).abs() < 1e-13);
    }
    for row in file.section("p_adjust").rows() {
        let p = row.get("p").numbers();
        let checks = [("holm", holm(&p)), ("bh", benjamini_hochberg(&p))];
        for (key, got) in checks {
            row.get(key)
                .rows()
                .iter()
                .zip(got.unwrap())
                .for_each(|(node, got)| node.is(got, 1e-14));
        }
    }
    plans(&file);
    const OTHERS: &str = "another method for the same thing, which riskcycle does not offer";
    file.finish(&[
        ("/_meta", "prose"),
        ("/one_sample_ci/agresti_coull", OTHERS),
        ("/one_sample_ci/beta", OTHERS),
        ("/one_sample_ci/jeffreys", OTHERS),
        ("/one_sample_ci/normal", OTHERS),
        ("/two_sample/ci_diff_agresti_caffo", OTHERS),
        ("/two_sample/ci_diff_score_statsmodels_0_15_inaccurate", "wrong, kept for the record"),
        ("/two_sample/ci_ratio_log", OTHERS),
        ("/two_sample/ci_ratio_score", OTHERS),
        ("/two_sample/ci_odds_logit", OTHERS),
        ("/two_sample/ci_odds_score", OTHERS),
        ("/two_sample/chi2_yates_p", OTHERS),
        ("/two_sample/barnard_p", OTHERS),
        ("/two_sample/boschloo_p", OTHERS),
        ("/two_sample/g_stat", OTHERS),
        ("/two_sample/g_p", OTHERS),
        ("/two_sample/cohen_h", OTHERS),
        ("/non_inferiority/direction", "prose"),
        ("/t_tests/student", OTHERS),
        ("/srm_chi2/g_stat", OTHERS),
        ("/mcnemar/chi2_edwards", OTHERS),
        ("/mcnemar/chi2_edwards_p", OTHERS),
        ("/p_adjust/bonferroni", OTHERS),
        ("/p_adjust/sidak", OTHERS),
        ("/p_adjust/hochberg", OTHERS),
        ("/p_adjust/hommel", OTHERS),
        ("/p_adjust/by", OTHERS),
        ("/power_two_proportions/n_a_unpooled", OTHERS),
        ("/power_two_proportions/n_a_arcsine_h", OTHERS),
        ("/power_two_means/n_a_t", OTHERS),
        ("/mde_two_proportions/mde_simple", OTHERS),
    ]);
}

fn two_proportions(row: &Node<'_>) {
    let two = pair(row);
    row.get("diff_b_minus_a").is(two.difference(), 1e-14);
    let pooled = two.pooled_test();
    row.get("z_pooled").is(pooled.z, 1e-12);
    row.get("p_pooled_two_sided").has_digits(pooled.p_value, 1e-10);
    let Estimate { value, standard_error } = two.pooled();
    // "No larger" is "zero or less": the other way round.
    let larger = Estimate { value: -value, standard_error }.below(0.0);
    row.get("p_pooled_larger").has_digits(larger, 1e-10);
    if let Some(z) = row.find("z_unpooled") {
        let unpooled = two.unpooled_test();
        z.is(unpooled.z, 1e-12);
        row.get("p_unpooled_two_sided").has_digits(unpooled.p_value, 1e-10);
    } else {
        assert!(row.find("p_unpooled_two_sided").is_none());
    }
    let margin = 1.959963984540054 * two.unpooled_variance().sqrt();
    row.get("ci_diff_wald").holds(Interval::around(two.difference(), margin), 1e-12);
    let newcombe = two.newcombe(0.05).unwrap();
    row.get("ci_diff_newcomb").holds(newcombe, 1e-12);
    row.get("newcombe_check").holds(newcombe, 1e-12);
    let score = two.miettinen_nurminen(0.05).unwrap();
    row.get("ci_diff_miettinen_nurminen").holds(score, 1e-9);
    if let Some(p) = row.find("fisher_p") {
        p.has_digits(two.fisher(), 1e-8);
    }
    let row_of = |arm: &Proportion| [arm.n() - arm.events(), arm.events()];
    let table = chi_square_test(&row_of(&two.first), &row_of(&two.second)).unwrap();
    if let Some(chi_squared) = row.find("chi2_no_cc") {
        chi_squared.is(table.statistic, 1e-9);
    }
}

fn two_means(row: &Node<'_>) {
    let arm = |side: &str| match row.find(side) {
        Some(values) => SampleMoments::of(&values.numbers()).unwrap(),
        None => SampleMoments {
            n: row.count(&format!("n_{side}")),
            mean: row.at(&format!("mean_{side}")),
            variance: row.at(&format!("sd_{side}")).powi(2),
        },
    };
    let (a, b) = (arm("a"), arm("b"));
    let (welch, expected) = (WelchTest::new(&a, &b).unwrap(), row.get("welch"));
    expected.get("t").is(welch.t, 1e-12);
    expected.get("df").is(welch.df, 1e-12);
    expected.get("p").has_digits(welch.p_value, 1e-10);
    expected.get("ci").holds(welch.interval(0.05).unwrap(), 1e-10);
    if let Some(expected) = row.find("relative_lift") {
        let WelchTest { difference, standard_error, .. } = welch;
        let (first, difference) = (a.estimate(), Estimate { value: difference, standard_error });
        let lift = relative_lift(&first, &difference, -first.standard_error.powi(2)).unwrap();
        expected.get("point").is(lift.value, 1e-14);
        expected.get("delta_var").has_digits(lift.standard_error.powi(2), 1e-11);
        let margin = 1.959963984540054 * lift.standard_error;
        expected.get("ci_z").holds(Interval::around(lift.value, margin), 1e-12);
    }
}

fn sequential_split(row: &Node<'_>) {
    let (concentration, shares) = (row.at("concentration"), row.get("theta0").numbers());
    let mut running = 1.0f64;
    for look in row.get("looks").rows() {
        let counts = look.get("cumulative_counts").counts();
        let ln_e = multinomial_ln_e(&counts, &shares, concentration).unwrap();
        look.get("log_bayes_factor").is(ln_e, 1e-8);
        running = running.min((-ln_e).exp());
        look.get("always_valid_p").has_digits(running, 1e-7);
        if concentration == 10_000.0 {
            let ratio = SampleRatio::new(&counts, &shares).unwrap();
            assert!((ratio.sequential_p_value - (-ln_e).exp().min(1.0)).abs() < 1e-12);
        }
    }
}

fn mcnemar(row: &Node<'_>) {
    let cells = Discordant { first_only: row.count("b"), second_only: row.count("c") };
    row.get("exact_p").has_digits(cells.exact(), 1e-10);
    row.get("mid_p").has_digits(cells.mid_p(), 1e-9);
    let (statistic, p) = cells.chi_squared();
    row.get("chi2").is(statistic, 1e-12);
    row.get("chi2_p").has_digits(p, 1e-10);
}

fn plans(file: &Golden) {
    for row in file.section("power_two_proportions").rows() {
        let plan = PowerPlan {
            alpha: row.at("alpha_two_sided"),
            power: row.at("power"),
            ratio: row.at("ratio_nb_over_na"),
        };
        let (a, b) = (row.at("p_a"), row.at("p_b"));
        let n = plan.units_for_rates(a, b).unwrap();
        row.get("n_a_pooled_null").has_digits(n, 1e-10);
        let achieved = plan.power_for_rates(a, b, n.ceil()).unwrap();
        let (peers_n, peers_power) =
            (row.get("n_a_statsmodels_2indep"), row.get("achieved_power_at_ceil"));
        if plan.ratio == 1.0 {
            peers_n.has_digits(n, 1e-10);
            peers_power.is(achieved, 1e-6);
        } else {
            // The peer pools both rates as if the arms were of one size, which the z test does not.
            assert!((peers_n.number() / n - 1.0).abs() < 0.1);
            assert!((peers_power.number() - achieved).abs() < 0.05);
        }
        assert!((plan.power_for_rates(a, b, n).unwrap() - plan.power).abs() < 1e-10);
        let events = plan.events_for_rates(a, b).unwrap();
        assert!((events / (n * (a + plan.ratio * b)) - 1.0).abs() < 1e-14);
    }
    // R 4.2.2, power.prop.test
    let n = PowerPlan::default().units_for_rates(0.05, 0.055).unwrap();
    assert!((n / 31_233.437_940_13 - 1.0).abs() < 1e-9);
    for row in file.section("power_two_means").rows() {
        let [alpha, power, ratio] = ["alpha", "power", "ratio"].map(|key| row.at(key));
        let n = PowerPlan { alpha, power, ratio }.units_for_means(row.at("d")).unwrap();
        // The peer also counts rejections on the wrong side as power.
        row.get("n_a_z").has_digits(n, 1e-5);
    }
    for row in file.section("mde_two_proportions").rows() {
        let (p, n) = (row.at("p_a"), row.at("n_a"));
        let (alpha, power) = (row.at("alpha"), row.at("power"));
        let plan = PowerPlan { alpha, power, ratio: row.at("n_b") / n };
        let rise = plan.detectable_rise(p, n).unwrap().unwrap();
        row.get("mde_up_abs").has_digits(rise, 1e-8);
        let fall = plan.detectable_fall(p, n).unwrap().unwrap();
        row.get("mde_down_abs").has_digits(fall, 1e-8);
    }
    for row in file.section("power_mcnemar_connor").rows() {
        let (alpha, power) = (row.at("alpha"), row.at("power"));
        let plan = PowerPlan { alpha, power, ..PowerPlan::default() };
        let n = plan.rows_for_mcnemar(row.at("p10"), row.at("p01")).unwrap();
        row.get("n_pairs").has_digits(n, 1e-10);
    }
    for row in file.section("design_effect").rows() {
        row.get("deff").is(design_effect(row.at("m"), row.at("cv"), row.at("icc")), 1e-12);
    }
}

#[test]
fn newcombes_own_table_is_reproduced() {
    // Newcombe (1998), first less second: 56/70 against 48/80.
    let table = TwoProportions {
        first: Proportion::new(48, 80).unwrap(),
        second: Proportion::new(56, 70).unwrap(),
    };
    assert_eq!(format!("{}", table.newcombe(0.05).unwrap()), "[0.0524, 0.3339]");
    assert_eq!(format!("{}", table.miettinen_nurminen(0.05).unwrap()), "[0.0528, 0.3382]");
}
