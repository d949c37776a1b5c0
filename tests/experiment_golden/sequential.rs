//! Evidence that stays valid however often one looks.

use riskcycle::experiment::{
    EventProcess, NormalMixture, Spending, boundaries, crossing_probability, multinomial_ln_e,
};
use riskcycle::stats::{Estimate, Proportion, TwoProportions, relative_lift};

use crate::claims::{Golden, Node};

#[test]
fn evidence_at_every_look() {
    let file = Golden::new(include_str!("../data/experiments/sequential.json"));
    let stream = file.section("lcg");
    let mut bits = Lcg(stream.count("seed"));
    stream
        .get("first10_p_half")
        .are(&std::array::from_fn::<_, 10, _>(|_| bits.below(0.5)), |x| x == 1.0);

    file.section("msprt_normal_mixture_two_bernoulli").rows().iter().for_each(msprt);
    trajectory(&file.section("msprt_trajectory"));
    file.section("asymptotic_cs_growthbook").rows().iter().for_each(asymptotic);
    file.section("beta_binomial_eprocess").get("rows").rows().iter().for_each(events);
    file.section("beta_binomial_eprocess_one_sided").rows().iter().for_each(one_sided);
    for row in file.section("confseq_boundaries").get("normal_two_sided").rows() {
        let (v, alpha) = (row.at("v"), row.at("alpha"));
        let tuned = NormalMixture::tuned(1.0 / v, v, row.at("v_opt"), alpha);
        row.get("bound").is(boundary(v, tuned, alpha), 1e-9);
    }
    for row in file.section("normal_mixture_best_rho").rows() {
        let (v, alpha) = (row.at("v_opt"), row.at("alpha"));
        let best = NormalMixture::new(row.at("rho").sqrt().recip());
        row.get("bound_check").is(boundary(v, best, alpha), 1e-9);
        // The closed form that ours is tuned by costs next to nothing of it.
        let wider =
            boundary(v, NormalMixture::tuned(1.0 / v, v, v, alpha), alpha) / row.at("bound_check");
        assert!((1.0..1.001).contains(&wider), "{wider}");
    }
    for row in file.section("savvi_multinomial").rows() {
        let shares = row.get("theta0").numbers();
        for look in row.get("looks").rows() {
            let counts = look.get("cumulative").counts();
            let ln_e = multinomial_ln_e(&counts, &shares, row.at("k")).unwrap();
            look.get("odds_alt_over_null").has_digits(ln_e.exp(), 1e-7);
        }
    }
    assert!(multinomial_ln_e(&[1], &[0.5, 0.5], 10.0).is_err());
    assert_eq!(multinomial_ln_e(&[1, 1], &[1.0, 0.0], 10.0).unwrap(), f64::INFINITY);
    file.section("gst_spending_bounds").rows().iter().for_each(spending);
    classical(&file.section("gst_classical_constants"));

    const OTHERS: &str = "another kind of boundary, which riskcycle does not offer";
    const BOUNDED: &str =
        "bounds for means of bounded values; ours are for estimates with an error";
    file.finish(&[
        ("/_meta", "prose"),
        ("/lcg/rule", "prose"),
        ("/asymptotic_cs_growthbook/rho2", "the peer's parameter, which ours goes by another name"),
        ("/beta_binomial_eprocess/uses", "prose"),
        ("/beta_binomial_eprocess/confseq_check", OTHERS),
        ("/confseq_boundaries/normal_one_sided", OTHERS),
        ("/confseq_boundaries/gamma_exponential", OTHERS),
        ("/confseq_boundaries/poly_stitching", OTHERS),
        ("/confseq_boundaries/bernoulli_ci", BOUNDED),
        ("/bounded_mean_cs", BOUNDED),
        ("/bounded_mean_cs_rare_20000", BOUNDED),
        ("/savvi_multinomial/looks/batch", "counts of one look, which the totals hold"),
        ("/gst_classical_constants/published", "prose"),
    ]);
}

/// The stream that the peers' trajectories were drawn from.
struct Lcg(u64);

impl Lcg {
    fn below(&mut self, p: f64) -> bool {
        self.0 =
            self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 11) as f64 / 9_007_199_254_740_992.0) < p
    }
}

fn two(row: &Node<'_>, n: [&str; 2]) -> TwoProportions {
    let arm = |x: &str, n: &str| Proportion::new(row.count(x), row.count(n)).unwrap();
    TwoProportions { first: arm("x_a", n[0]), second: arm("x_b", n[1]) }
}

fn unpooled(two: &TwoProportions) -> Estimate {
    Estimate { value: two.difference(), standard_error: two.unpooled_variance().sqrt() }
}

fn msprt(row: &Node<'_>) {
    let estimate = unpooled(&two(row, ["n_a", "n_b"]));
    row.get("delta").is(estimate.value, 1e-14);
    row.get("V").has_digits(estimate.standard_error.powi(2), 1e-10);
    let mixture = NormalMixture::new(row.at("tau"));
    row.get("log_lambda").is(mixture.ln_e(estimate), 1e-10);
    row.get("always_valid_p").has_digits((-mixture.ln_e(estimate)).exp().min(1.0), 1e-9);
    row.get("ci95").holds(mixture.interval(estimate, 0.05), 1e-12);
}

fn trajectory(section: &Node<'_>) {
    let mut streams = ["seed_a", "seed_b"].map(|seed| Lcg(section.count(seed)));
    let rates = [section.at("p_a"), section.at("p_b")];
    let mixture = NormalMixture::new(section.at("tau"));
    let (mut n, mut events, mut p_value) = (0, [0u64; 2], 1.0f64);
    for look in section.get("looks").rows() {
        while n < look.count("n_per_arm") {
            n += 1;
            for arm in 0..2 {
                events[arm] += u64::from(streams[arm].below(rates[arm]));
            }
        }
        assert_eq!(events, [look.count("x_a"), look.count("x_b")], "at {n}");
        let estimate = unpooled(&two(&look, ["n_per_arm"; 2]));
        p_value = p_value.min((-mixture.ln_e(estimate)).exp());
        look.get("always_valid_p").has_digits(p_value, 1e-9);
    }
}

fn asymptotic(row: &Node<'_>) {
    let arm = |side: &str| {
        let part = |name: &str| row.at(&format!("{name}_{side}"));
        let (n, sum, squares) = (part("n"), part("sum"), part("sumsq"));
        let mean = sum / n;
        (n, mean, (squares - n * mean * mean) / (n - 1.0) / n)
    };
    let ((n_a, mean_a, v_a), (n_b, mean_b, v_b)) = (arm("a"), arm("b"));
    let (alpha, planned) = (row.at("alpha"), row.at("n_star"));
    let estimate = Estimate { value: mean_b - mean_a, standard_error: (v_a + v_b).sqrt() };
    row.get("abs_diff").is(estimate.value, 1e-13);
    let mixture = NormalMixture::tuned(v_a + v_b, n_a + n_b, planned, alpha);
    row.get("abs_log_evalue").is(mixture.ln_e(estimate), 1e-9);
    let interval = mixture.interval(estimate, alpha);
    row.get("gbstats_abs_ci").holds(interval, 1e-10);
    row.get("abs_ci").holds(interval, 1e-10);
    // The same of the lift.
    let first = Estimate { value: mean_a, standard_error: v_a.sqrt() };
    let lift = relative_lift(&first, &estimate, -v_a).unwrap();
    let mixture = NormalMixture::tuned(lift.standard_error.powi(2), n_a + n_b, planned, alpha);
    row.get("gbstats_relative_ci").holds(mixture.interval(lift, alpha), 1e-9);
    let p_value = (-mixture.ln_e(lift)).exp().min(1.0);
    row.get("gbstats_relative_p").is(p_value, 1e-6);
}

fn events(row: &Node<'_>) {
    let (k, n) = (row.count("k"), row.count("n"));
    let [theta, a, b] = ["theta0", "prior_a", "prior_b"].map(|key| row.at(key));
    // Ours puts the prior around the share, and so do all of these.
    assert!(((a + b) * theta - a).abs() < 1e-9 * a);
    let process = EventProcess::new(a + b).unwrap().with_events(theta, n - k, k).unwrap();
    row.get("log_e").is(process.ln_e(), 1e-10);
    row.get("p_anytime").is((-process.ln_e()).exp().min(1.0), 1e-10);
    // The peer's prior stays in place as the null moves, and so does ours: the same interval, of the share.
    let ratio = process.rate_ratio(0.05);
    let share = |ratio: f64| match ratio.is_infinite() {
        true => 1.0,
        false => ratio * theta / (ratio * theta + 1.0 - theta),
    };
    let ends = row.get("ci95_theta").rows();
    ends[0].is(share(ratio.lower), 1e-9);
    ends[1].is(share(ratio.upper), 1e-9);
}

fn one_sided(row: &Node<'_>) {
    let (k, n, theta) = (row.count("k"), row.count("n"), row.at("theta0"));
    let strength = row.at("prior_a") + row.at("prior_b");
    let process = EventProcess::new(strength).unwrap().with_events(theta, n - k, k).unwrap();
    row.get("log_e_two_sided").is(process.ln_e(), 1e-10);
    row.get("log_e_one_sided_greater").is(process.ln_e_greater(), 1e-9);
    let p_value = (-process.ln_e_greater()).exp().min(1.0);
    row.get("p_anytime_one_sided").has_digits(p_value, 1e-8);
    let mirrored = EventProcess::new(strength).unwrap().with_events(1.0 - theta, k, n - k).unwrap();
    assert!((mirrored.ln_e_less() - process.ln_e_greater()).abs() < 1e-9);
}

/// The boundary of a sum with variance `v`.
fn boundary(v: f64, mixture: NormalMixture, alpha: f64) -> f64 {
    let estimate = Estimate { value: 0.0, standard_error: v.sqrt().recip() };
    mixture.interval(estimate, alpha).upper * v
}

fn spending(row: &Node<'_>) {
    let spending = match row.get("spending").text() {
        "lan_demets_obrien_fleming" => Spending::OBrienFleming,
        "lan_demets_pocock" => Spending::Pocock,
        "power_phi2" => Spending::Power { exponent: 2.0 },
        "power_phi3" => Spending::Power { exponent: 3.0 },
        other => panic!("{other}"),
    };
    let (fractions, alpha) = (row.get("info_fractions").numbers(), row.at("alpha_two_sided"));
    for (t, spent) in fractions.iter().zip(row.get("cumulative_alpha").rows()) {
        spent.is(spending.spent(*t, alpha), 1e-12);
    }
    let bounds = boundaries(&fractions, alpha, spending).unwrap();
    for (bound, expected) in bounds.iter().zip(row.get("z_bounds").rows()) {
        expected.is(*bound, 1e-6);
    }
    // Later looks do not change earlier bounds.
    assert_eq!(boundaries(&fractions[..1], alpha, spending).unwrap()[0], bounds[0]);
}

/// Pocock's constant bounds and O'Brien and Fleming's falling ones keep 5 % over so many even looks.
fn classical(section: &Node<'_>) {
    for (design, falling) in [("pocock", false), ("obf", true)] {
        for (looks, constant) in section.get(design).fields() {
            let (looks, constant) = (looks.parse().unwrap(), constant.number());
            let shares: Vec<f64> =
                (1..=looks).map(|look: u32| f64::from(look) / f64::from(looks)).collect();
            let bound = |t: &f64| if falling { constant / t.sqrt() } else { constant };
            let bounds: Vec<f64> = shares.iter().map(bound).collect();
            let chance = crossing_probability(&shares, &bounds, 0.0).unwrap();
            assert!((chance - 0.05).abs() < 1e-7, "{design} {looks}: {chance}");
        }
    }
}
