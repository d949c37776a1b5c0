//! CUPED, ratios, weights, resamples, delays, bandits, many e-values.

use riskcycle::experiment::{AgeCohort, DelayCurve, chance_of_lowest};
use riskcycle::stats::{
    ClusteredRatio, CovariateSums, Cuped, Estimate, SampleMoments, WelchTest, bca_interval,
    cuped_ratios, e_benjamini_hochberg, effective_sample_size, quantile_sorted,
};

use crate::claims::{Golden, Node};

#[test]
fn all_the_rest() {
    let file = Golden::new(include_str!("../data/experiments/misc.json"));
    cuped(&file.section("cuped"));
    ratio(&file.section("ratio_delta"));
    for row in file.section("bayes_beta_binomial").rows() {
        let arms = [(row.at("alpha_a"), row.at("beta_a")), (row.at("alpha_b"), row.at("beta_b"))];
        // The first is the lowest where the second is greater.
        row.get("p_b_gt_a_exact").is(chance_of_lowest(&arms)[0], 1e-7);
        row.get("p_b_gt_a_quad").is(chance_of_lowest(&arms)[0], 1e-7);
    }
    weighted(&file.section("ipw"));
    resampled(&file.section("bca"));
    delays(&file.section("delay_adjusted_rate"));
    let three = file.section("bandit_prob_best_lower_is_better");
    let arms = three.get("arms").rows();
    let arms: Vec<(f64, f64)> = arms.iter().map(Node::numbers).map(|ab| (ab[0], ab[1])).collect();
    let chances = chance_of_lowest(&arms);
    three.get("p_best").rows().iter().zip(&chances).for_each(|(node, got)| node.is(*got, 1e-8));
    three.get("sum").is(chances.iter().sum(), 1e-12);

    let section = file.section("tost");
    let estimate = Estimate { value: section.at("diff"), standard_error: section.at("se") };
    let margin = section.at("margin");
    let mirrored = Estimate { value: -estimate.value, ..estimate };
    section.get("p_upper").has_digits(estimate.below(margin), 1e-10);
    section.get("p_lower").has_digits(mirrored.below(margin), 1e-10);
    section.get("p_tost").has_digits(estimate.within(margin), 1e-10);

    let section = file.section("e_values");
    let (e, alpha) = (section.get("e").numbers(), section.at("alpha"));
    let positions = |flags: &[bool]| -> Vec<u64> {
        (0..).zip(flags).filter(|(_, yes)| **yes).map(|(i, _)| i).collect()
    };
    let rejected = positions(&e_benjamini_hochberg(&e, alpha).unwrap());
    section.get("e_bh_rejected").are(&rejected, |x| x as u64);
    section.get("average_e").is(e.iter().sum::<f64>() / e.len() as f64, 1e-14);

    const BAYES: &str = "posteriors, which riskcycle does not report";
    file.finish(&[
        ("/cuped/ancova_ols/se", "the regression's own error; ours is of the adjusted difference"),
        ("/cuped/lin2013_hc2", "a regression with a slope per arm, which riskcycle does not offer"),
        ("/ratio_delta/identity", "prose"),
        ("/ratio_delta/naive_binomial_var_a", "the wrong answer beside it"),
        ("/ratio_delta/naive_binomial_var_b", "the wrong answer beside it"),
        ("/bayes_beta_binomial/expected_loss_choose_b", BAYES),
        ("/bayes_beta_binomial/expected_loss_choose_a", BAYES),
        ("/bayes_beta_binomial/post_ci_a", BAYES),
        ("/bayes_normal", BAYES),
        ("/bca/z0", "a step on the way to the interval"),
        ("/bca/acceleration", "a step on the way to the interval"),
        ("/bca/adjusted_quantiles", "a step on the way to the interval"),
        ("/delay_adjusted_rate/note", "prose"),
        ("/e_values/bonferroni_e_rejected", "another correction, which riskcycle does not offer"),
    ]);
}

fn cuped(section: &Node<'_>) {
    let [x_a, y_a, x_b, y_b] = ["x_a", "y_a", "x_b", "y_b"].map(|key| section.get(key).numbers());
    let sums = |x: &[f64], y: &[f64]| {
        let mut sums = CovariateSums::default();
        x.iter().zip(y).for_each(|(&x, &y)| sums.add(x, y));
        sums
    };
    let (a, b) = (sums(&x_a, &y_a), sums(&x_b, &y_b));
    for (side, got) in [("a", a), ("b", b)] {
        let expected = section.get("sufficient_stats").get(side);
        assert_eq!(got.n, expected.count("n"));
        for (sum, key) in
            [(got.x, "sx"), (got.y, "sy"), (got.xx, "sxx"), (got.yy, "syy"), (got.xy, "sxy")]
        {
            expected.get(key).is(sum, 1e-15);
        }
    }
    let [raw_a, raw_b] = [&y_a, &y_b].map(|y| SampleMoments::of(y).unwrap());
    let (raw, expected) = (WelchTest::new(&raw_a, &raw_b).unwrap(), section.get("raw"));
    expected.get("diff").is(raw.difference, 1e-12);
    expected.get("t").is(raw.t, 1e-12);
    expected.get("p").has_digits(raw.p_value, 1e-9);

    let (cuped, expected) = (Cuped::new(&a, &b).unwrap(), section.get("pooled_theta"));
    expected.get("theta").is(cuped.theta, 1e-12);
    expected.get("mean_a").is(cuped.first_mean, 1e-12);
    expected.get("mean_b").is(cuped.second_mean, 1e-12);
    expected.get("diff").is(cuped.test.difference, 1e-12);
    expected.get("se").is(cuped.test.standard_error, 1e-12);
    expected.get("welch_t").is(cuped.test.t, 1e-10);
    expected.get("df").is(cuped.test.df, 1e-10);
    expected.get("p").has_digits(cuped.test.p_value, 1e-9);

    // With one unit per cluster the ratios are means, and the slope is the one within arms.
    let mean =
        |values: &[f64]| ClusteredRatio::new(values.iter().map(|value| (*value, 1.0))).unwrap();
    let (x, y) = ((mean(&x_a), mean(&y_a)), (mean(&x_b), mean(&y_b)));
    let (first, second) = cuped_ratios((&x.0, &x.1), (&y.0, &y.1)).unwrap();
    let expected = section.get("within_arm_theta");
    let theta = (y.1.value() - second.value()) / y.0.value();
    expected.get("theta").is(theta, 1e-12);
    // The peer's means are around the covariate's mean in both arms.
    let n = (x_a.len() + x_b.len()) as f64;
    let centre = theta * (x_a.iter().chain(&x_b).sum::<f64>() / n);
    expected.get("mean_a").is(first.value() + centre, 1e-12);
    expected.get("mean_b").is(second.value() + centre, 1e-12);
    let difference = ClusteredRatio::difference(&first, &second);
    expected.get("diff").is(difference.value, 1e-12);
    expected.get("se").is(difference.standard_error, 1e-12);
    section.get("ancova_ols").get("coef").is(difference.value, 1e-12);
    let moments = |y: &[f64], ratio: &ClusteredRatio| {
        let n = y.len() as u64;
        SampleMoments { n, mean: ratio.value(), variance: ratio.variance() * n as f64 }
    };
    let test = WelchTest::new(&moments(&y_a, &first), &moments(&y_b, &second)).unwrap();
    expected.get("welch_t").is(test.t, 1e-10);
    expected.get("df").is(test.df, 1e-9);
    expected.get("p").has_digits(test.p_value, 1e-8);
}

fn ratio(section: &Node<'_>) {
    let ratio = |side: &str| {
        let [n, d] = ["num", "den"].map(|key| section.get(&format!("{key}_{side}")).numbers());
        ClusteredRatio::new(n.into_iter().zip(d)).unwrap()
    };
    let (a, b) = (ratio("a"), ratio("b"));
    section.get("ratio_a").is(a.value(), 1e-15);
    section.get("ratio_b").is(b.value(), 1e-15);
    section.get("var_a").has_digits(a.variance(), 1e-12);
    section.get("check").has_digits(a.variance(), 1e-12);
    section.get("var_b").has_digits(b.variance(), 1e-12);
    let k = a.n_clusters() as f64;
    section.get("cr0_var_a").has_digits(a.variance() * (k - 1.0) / k, 1e-12);
    let difference = ClusteredRatio::difference(&a, &b);
    section.get("diff").is(difference.value, 1e-14);
    section.get("z").is(difference.value / difference.standard_error, 1e-12);
    let mirrored = Estimate { value: difference.value.abs(), ..difference };
    section.get("p").has_digits(2.0 * (1.0 - mirrored.below(0.0)), 1e-9);
}

fn weighted(section: &Node<'_>) {
    let (bad, alert) = (section.get("y").flags(), section.get("decision").flags());
    let propensity = section.get("propensity").numbers();
    let rows = || (0..bad.len()).map(|i| (bad[i], alert[i], 1.0 / propensity[i]));
    type Part = fn(bool, bool) -> bool;
    let share = |part: Part, of: Part, weigh: fn(f64) -> f64| {
        let sums = rows().map(|(bad, alert, w)| {
            let weight = |yes: bool| if yes { weigh(w) } else { 0.0 };
            (weight(part(bad, alert) && of(bad, alert)), weight(of(bad, alert)))
        });
        ClusteredRatio::new(sums).unwrap()
    };
    let all: Part = |_, _| true;
    let (is_bad, is_good): (Part, Part) = (|bad, _| bad, |bad, _| !bad);
    let is_alert: Part = |_, alert| alert;
    for (value, error, part, of) in [
        ("hajek_mean", "hajek_se", is_bad, all),
        ("precision", "precision_se", is_bad, is_alert),
        ("recall", "recall_se", is_alert, is_bad),
        ("fpr", "fpr_se", is_alert, is_good),
    ] {
        let ratio = share(part, of, |w| w);
        section.get(value).is(ratio.value(), 1e-14);
        section.get(error).has_digits(ratio.estimate().standard_error, 1e-10);
    }
    let total: f64 = rows().map(|(_, _, w)| w).sum();
    section.get("sum_w").is(total, 1e-12);
    section.get("ht_total").is(share(is_bad, all, |w| w).value() * total, 1e-12);
    section.get("naive_precision").is(share(is_bad, is_alert, |_| 1.0).value(), 1e-15);
    section.get("naive_recall").is(share(is_alert, is_bad, |_| 1.0).value(), 1e-15);
    let effective = effective_sample_size(rows().map(|(_, _, w)| w)).unwrap();
    section.get("ess_kish").is(effective, 1e-12);
}

fn resampled(section: &Node<'_>) {
    let (resampled, left_out) = (section.get("boot").numbers(), section.get("jackknife").numbers());
    let alpha = 1.0 - section.at("level");
    let interval = bca_interval(&resampled, section.at("theta_hat"), &left_out, alpha).unwrap();
    section.get("ci_type7").holds(interval, 1e-10);
    let mut sorted = resampled;
    sorted.sort_by(f64::total_cmp);
    let ends = section.get("percentile_type7").rows();
    for (end, share) in ends.iter().zip([alpha / 2.0, 1.0 - alpha / 2.0]) {
        end.is(quantile_sorted(&sorted, share).unwrap(), 1e-12);
    }
}

fn delays(section: &Node<'_>) {
    let points = section.get("delay_cdf").fields();
    let mut points: Vec<(f64, f64)> =
        points.iter().map(|(age, share)| (age.parse().unwrap(), share.number())).collect();
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let curve = DelayCurve::new(points).unwrap();
    let cohorts = section.get("cohorts").rows();
    let cohorts: Vec<AgeCohort> = cohorts
        .iter()
        .map(|cohort| {
            let age = cohort.at("age");
            cohort.get("completeness").is(curve.at(age), 1e-14);
            AgeCohort { age, requests: cohort.count("n"), events: cohort.count("labels") }
        })
        .collect();
    section.get("adjusted_rate").is(curve.adjusted_rate(&cohorts).unwrap(), 1e-14);
    // Where all labels have come, the adjusted rate is the plain one.
    let all = DelayCurve::new(vec![(0.0, 1.0)]).unwrap();
    section.get("naive_rate").is(all.adjusted_rate(&cohorts).unwrap(), 1e-15);
}
