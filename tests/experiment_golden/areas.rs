//! Areas under ROC curves, average precision, and what else is said of scores.

use riskcycle::evaluate::{ConfusionMatrix, Costs, Ranking, ScoreMetric};
use riskcycle::stats::{
    AucComparison, AucEstimate, Discordant, Interval, SampleMoments, WeightedBins, WelchTest,
};

use crate::claims::{Golden, Node};

#[test]
fn areas_and_losses_of_an_imbalanced_set_with_ties() {
    let file = Golden::new(include_str!("../data/experiments/delong_auc.json"));
    let set = file.section("imbalanced");
    let labels = set.get("y").flags();
    let [a, b, amounts, weights] = ["a", "b", "amount", "weight"].map(|key| set.get(key).numbers());
    assert_eq!(set.count("n_pos"), labels.iter().filter(|bad| **bad).count() as u64);

    let paired = AucComparison::paired(&labels, &a, &b).unwrap();
    let expected = set.get("delong");
    expected.get("auc1").is(paired.first.auc, 1e-13);
    expected.get("auc2").is(paired.second.auc, 1e-13);
    expected.get("var1").has_digits(paired.first.variance, 1e-11);
    expected.get("var2").has_digits(paired.second.variance, 1e-11);
    expected.get("cov").has_digits(paired.covariance, 1e-10);
    expected.get("p").has_digits(paired.p_value, 1e-10);
    // The peer's difference is the first less the second.
    expected.get("diff").is(-paired.difference, 1e-13);
    expected.get("var_diff").has_digits(paired.standard_error.powi(2), 1e-10);
    expected.get("z").has_digits(-paired.difference / paired.standard_error, 1e-10);
    expected.get("ci_diff").holds(paired.interval(0.05).unwrap().negated(), 1e-12);
    let logit = set.get("delong_logit_ci");
    logit.get("a").holds(paired.first.interval(0.05).unwrap(), 1e-12);
    logit.get("b").holds(paired.second.interval(0.05).unwrap(), 1e-12);

    let expected = set.get("sklearn");
    for (side, scores) in [("a", &a), ("b", &b)] {
        let key = |name: &str| expected.get(&format!("{name}_{side}"));
        let plain = Ranking::new(&labels, scores).unwrap();
        key("auc").is(plain.roc_auc(), 1e-13);
        let precision = plain.average_precision();
        key("ap").is(precision, 1e-13);
        let n_bad = set.at("n_pos");
        let error = (precision * (1.0 - precision) / n_bad).sqrt();
        let interval = Interval::on_logit(precision, error, 0.05).unwrap();
        set.get("ap_logit_ci_boyd2013").get(side).holds(interval, 1e-12);
        let weighted = Ranking::weighted(&labels, scores, &weights).unwrap();
        key("weighted_auc").is(weighted.roc_auc(), 1e-12);
        key("weighted_ap").is(weighted.average_precision(), 1e-12);
        let binned = AucEstimate::from_weights(
            &bins(true, &labels, scores, &weights),
            &bins(false, &labels, scores, &weights),
        );
        key("weighted_auc").is(binned.unwrap().auc, 1e-12);
    }
    let mean = |metric: ScoreMetric, weights| metric.value(&labels, &a, weights).unwrap();
    expected.get("brier_a").is(mean(ScoreMetric::Brier, None), 1e-12);
    expected.get("brier_a_weighted").is(mean(ScoreMetric::Brier, Some(&weights)), 1e-12);
    expected.get("logloss_a_clip1e_15").is(mean(ScoreMetric::LogLoss, None), 1e-12);
    set.get("cost").rows().iter().for_each(|row| costs(row, &labels, &a, &b, &amounts));

    let right = |scores: &[f64], i: usize| (scores[i] >= 0.5) == labels[i];
    let only = |one: &[f64], other: &[f64]| {
        (0..labels.len()).filter(|&i| right(one, i) && !right(other, i)).count() as u64
    };
    let cells = Discordant { first_only: only(&a, &b), second_only: only(&b, &a) };
    let expected = set.get("mcnemar_at_0_5");
    assert_eq!((cells.first_only, cells.second_only), (expected.count("b"), expected.count("c")));
    let matrices = [&a, &b].map(|scores| ConfusionMatrix::at(0.5, &labels, scores));
    let n_right = matrices.map(|m| m.true_positives + m.true_negatives);
    assert_eq!(n_right[0] + cells.second_only, n_right[1] + cells.first_only);

    // What the file says in words of degenerate cases.
    let itself = AucComparison::paired(&labels, &a, &a).unwrap();
    assert_eq!((itself.difference, itself.p_value), (0.0, 1.0));
    let perfect: Vec<f64> = labels.iter().map(|bad| f64::from(u8::from(*bad))).collect();
    let perfect = AucEstimate::new(&labels, &perfect).unwrap();
    assert_eq!((perfect.auc, perfect.variance), (1.0, 0.0));
    assert!(perfect.interval(0.05).unwrap().lower < 0.9);
    file.finish(&[
        ("/_meta", "prose"),
        ("/crosscheck", "of pROC's data, whose rows are not here; rows.json has rows of its own"),
        ("/imbalanced/lcg_seed", "of the rows, which are here"),
        ("/imbalanced/degenerate", "prose, checked above"),
    ]);
}

/// Weights of one class by distinct score, lowest first.
fn bins(of: bool, labels: &[bool], scores: &[f64], weights: &[f64]) -> WeightedBins {
    let mut edges = scores.to_vec();
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    let mut bins =
        WeightedBins { weights: vec![0.0; edges.len()], squares: vec![0.0; edges.len()] };
    for ((_, score), w) in
        labels.iter().zip(scores).zip(weights).filter(|((bad, _), _)| **bad == of)
    {
        let bin = edges.partition_point(|edge| edge < score);
        bins.weights[bin] += w;
        bins.squares[bin] += w * w;
    }
    bins
}

fn costs(row: &Node<'_>, labels: &[bool], a: &[f64], b: &[f64], amounts: &[f64]) {
    let threshold = row.at("threshold");
    let costs = Costs {
        alert: 0.0,
        false_positive: row.at("fp_cost"),
        missed_share_of_amount: 1.0,
        ..Costs::default()
    };
    let of = |scores: &[f64]| -> Vec<f64> {
        let rows = labels.iter().zip(scores).zip(amounts);
        rows.map(|((bad, score), amount)| costs.of(*bad, *score >= threshold, *amount)).collect()
    };
    let (a, b) = (of(a), of(b));
    row.get("total_a").has_digits(a.iter().sum(), 1e-12);
    row.get("total_b").has_digits(b.iter().sum(), 1e-12);
    // A paired test is one of the differences against nothing.
    let differences: Vec<f64> = a.iter().zip(&b).map(|(a, b)| b - a).collect();
    let differences = SampleMoments::of(&differences).unwrap();
    let nothing = SampleMoments { mean: 0.0, variance: 0.0, ..differences };
    let test = WelchTest::new(&nothing, &differences).unwrap();
    row.get("paired_mean_diff").is(test.difference, 1e-12);
    row.get("paired_se").has_digits(test.standard_error, 1e-11);
    row.get("t").has_digits(test.t, 1e-11);
    row.get("p_t").has_digits(test.p_value, 1e-10);
}

#[test]
fn areas_compared_on_the_same_and_on_different_rows() {
    let file = Golden::new(include_str!("../data/experiments/rows.json"));
    for case in file.section("delong_rows").rows() {
        let labels = case.get("labels").flags();
        let [first, second, mut other] =
            ["first", "second", "other"].map(|key| case.get(key).numbers());
        let paired = AucComparison::paired(&labels, &first, &second).unwrap();
        let expected = case.get("paired");
        for (i, got) in [paired.first, paired.second].into_iter().enumerate() {
            expected.get("auc").rows()[i].is(got.auc, 1e-12);
            expected.get("variance").rows()[i].has_digits(got.variance, 1e-11);
        }
        expected.get("covariance").has_digits(paired.covariance, 1e-10);
        expected.get("z").has_digits(paired.difference / paired.standard_error, 1e-10);
        expected.get("p").has_digits(paired.p_value, 1e-9);

        other.reverse();
        let reversed: Vec<bool> = labels.iter().rev().copied().collect();
        let other = AucEstimate::new(&reversed, &other).unwrap();
        let unpaired = AucComparison::unpaired(paired.first, other);
        let expected = case.get("unpaired");
        for (i, got) in [unpaired.first, unpaired.second].into_iter().enumerate() {
            expected.get("auc").rows()[i].is(got.auc, 1e-12);
            expected.get("variance").rows()[i].has_digits(got.variance, 1e-11);
        }
        expected.get("t").has_digits(unpaired.difference / unpaired.standard_error, 1e-10);
        expected.get("df").has_digits(unpaired.df.unwrap(), 1e-10);
        expected.get("p").has_digits(unpaired.p_value, 1e-9);
    }
    let section = file.section("log_rank");
    let (first, second) = (section.get("first").counts(), section.get("second").counts());
    let test = riskcycle::stats::log_rank(&first, &second).unwrap();
    section.get("z").is(test.z, 1e-12);
    section.get("p").has_digits(test.p_value, 1e-10);
    file.finish(&[]);
}

#[test]
fn bins_lose_no_more_than_rounding() {
    let file = Golden::new(include_str!("../data/experiments/check_bounded_memory.json"));
    let errors = file.section("hist_delong");
    // What an independent implementation of the same idea loses, with some room: ours may lose no more.
    let (auc_error, variance_error) = (8.0 * errors.at("auc_err"), 8.0 * errors.at("var_err"));
    let n = 400usize;
    let labels: Vec<bool> = (0..n).map(|i| i * 7 % 13 < 2).collect();
    let score = |i: usize, step: usize| (i * step % 37 + if labels[i] { 9 } else { 0 }) % 46;
    let [a, b]: [Vec<usize>; 2] = [11, 17].map(|step| (0..n).map(|i| score(i, step)).collect());
    let (mut bad, mut good) = (vec![0u32; 46 * 46], vec![0u32; 46 * 46]);
    for i in 0..n {
        *(if labels[i] { &mut bad } else { &mut good }).get_mut(a[i] * 46 + b[i]).unwrap() += 1;
    }
    let [a, b] = [a, b].map(|scores| scores.iter().map(|s| *s as f64).collect::<Vec<_>>());
    let rows = AucComparison::paired(&labels, &a, &b).unwrap();
    let binned = AucComparison::paired_from_counts(&bad, &good, 46).unwrap();
    assert!((rows.first.auc - binned.first.auc).abs() <= auc_error);
    assert!((rows.second.auc - binned.second.auc).abs() <= auc_error);
    assert!((rows.first.variance - binned.first.variance).abs() <= variance_error);
    assert!((rows.covariance - binned.covariance).abs() <= variance_error);
    file.finish(&[("/hash_bucket_variance", "of a simulation; benches/experiments has its own")]);
}
