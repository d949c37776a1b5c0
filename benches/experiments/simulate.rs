//! Seeded simulations: what the statistics promise, beside what a naive look would do.

use riskcycle::experiment::{
    AnalysisPlan, Direction, EventProcess, Experiment, ExperimentConfig, ExperimentStatistics,
    ExposureToken, Metric, Mode, NormalMixture, RecorderConfig, Router, RoutingConfig, SampleRatio,
    Spending, boundaries,
};
use riskcycle::stats::{
    AucComparison, AucEstimate, ClusteredRatio, Interval, Proportion, SampleMoments,
    TwoProportions, WelchTest, cuped_ratios, goodness_of_fit,
};
use riskcycle::{EntityKey, ModelRef, Signature, Timestamp, days};

const ALPHA: f64 = 0.05;

/// Runs all simulations; whether every promise was kept.
pub(crate) fn run() -> bool {
    let mut table = Table::default();
    table.title("A/A, a look after every event, α = 5 %");
    for (name, rate, share, units) in [
        ("50/50, 1 % events", 0.01, 0.5, 50_000.0),
        ("90/10, 0.1 % events", 0.001, 0.1, 200_000.0),
        ("99/1, 0.2 % events", 0.002, 0.01, 1_000_000.0),
    ] {
        every_event(&mut table, name, rate, share, units);
    }
    changed_shares(&mut table);
    power(&mut table);
    canary(&mut table);
    sample_ratio(&mut table);
    clusters(&mut table);
    selective_labels(&mut table);
    coverage(&mut table);
    table.kept
}

struct Table {
    kept: bool,
}

impl Default for Table {
    fn default() -> Self {
        Table { kept: true }
    }
}

impl Table {
    fn title(&self, title: &str) {
        println!("\n{title}");
    }

    fn line(&mut self, name: &str, value: f64, promise: Promise) {
        let (kept, text) = match promise {
            Promise::AtMost(limit) => (value <= limit, format!("at most {limit:.4}")),
            Promise::AtLeast(limit) => (value >= limit, format!("at least {limit:.4}")),
            Promise::Shown => (true, String::new()),
        };
        self.kept &= kept;
        let verdict = if kept { "" } else { "  NOT KEPT" };
        println!("  {name:<58} {value:>9.4}  {text}{verdict}");
    }
}

#[derive(Clone, Copy)]
enum Promise {
    AtMost(f64),
    AtLeast(f64),
    /// For comparison only.
    Shown,
}

/// The level and three standard errors of a share over so many runs.
fn level(alpha: f64, runs: u32) -> Promise {
    Promise::AtMost(alpha + 3.0 * error(alpha, runs))
}

/// Not below what that simulation reached in `theirs` runs, but for three standard errors of the difference.
fn anchor(share: f64, theirs: u32, runs: u32) -> Promise {
    Promise::AtLeast(share - 3.0 * error(share, theirs).hypot(error(share, runs)))
}

fn error(share: f64, runs: u32) -> f64 {
    (share * (1.0 - share) / f64::from(runs)).sqrt()
}

/// SplitMix64 (Steele, Lea and Flood 2014).
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        z ^ (z >> 31)
    }

    /// Within (0, 1).
    fn uniform(&mut self) -> f64 {
        ((self.next() >> 11) as f64 + 0.5) / 9_007_199_254_740_992.0
    }

    fn normal(&mut self) -> f64 {
        (-2.0 * self.uniform().ln()).sqrt() * (std::f64::consts::TAU * self.uniform()).cos()
    }

    /// Trials until the next success, that one included.
    fn gap(&mut self, p: f64) -> f64 {
        (self.uniform().ln() / (-p).ln_1p()).floor() + 1.0
    }

    /// Successes among `n` trials; O(n p).
    fn binomial(&mut self, n: u64, p: f64) -> u64 {
        let (mut at, mut successes) = (0.0, 0);
        loop {
            at += self.gap(p);
            if at > n as f64 {
                return successes;
            }
            successes += 1;
        }
    }
}

fn process(strength: f64, share: f64, first: u64, second: u64) -> EventProcess {
    let process = EventProcess::new(strength).expect("a positive strength");
    process.with_events(share, first, second).expect("a share between 0 and 1")
}

fn two(a: (u64, u64), b: (u64, u64)) -> TwoProportions {
    let arm = |(events, n)| Proportion::new(events, n).expect("fewer events than units");
    TwoProportions { first: arm(a), second: arm(b) }
}

fn every_event(table: &mut Table, name: &str, rate: f64, share: f64, units: f64) {
    const RUNS: u32 = 2000;
    let (mut by_events, mut one_sided, mut by_mixture, mut naive) = (0, 0, 0, 0);
    let mut random = Random(1);
    for _ in 0..RUNS {
        let (mut at, mut events) = (random.gap(rate), [0u64; 2]);
        let mut crossed = [false; 4];
        while at <= units {
            events[usize::from(random.uniform() < share)] += 1;
            let process = process(50.0, share, events[0], events[1]);
            crossed[0] |= process.ln_e() >= -ALPHA.ln();
            crossed[1] |= process.ln_e_greater() >= -ALPHA.ln();
            let arms = [(at * (1.0 - share)).round() as u64, (at * share).round() as u64];
            if arms[0] >= events[0].max(1) && arms[1] >= events[1].max(1) {
                let two = two((events[0], arms[0]), (events[1], arms[1]));
                crossed[3] |= two.pooled_test().p_value < ALPHA;
                if events[0].min(events[1]) >= 5 {
                    let estimate = two.pooled();
                    let v = estimate.standard_error.powi(2);
                    let mixture = NormalMixture::tuned(v, at, units / 2.0, ALPHA);
                    crossed[2] |= mixture.ln_e(estimate) >= -ALPHA.ln();
                }
            }
            at += random.gap(rate);
        }
        by_events += u32::from(crossed[0]);
        one_sided += u32::from(crossed[1]);
        by_mixture += u32::from(crossed[2]);
        naive += u32::from(crossed[3]);
    }
    let share = |count: u32| f64::from(count) / f64::from(RUNS);
    table.line(&format!("{name}: event process"), share(by_events), level(ALPHA, RUNS));
    table.line(&format!("{name}: event process, one-sided"), share(one_sided), level(ALPHA, RUNS));
    table.line(&format!("{name}: confidence sequence"), share(by_mixture), level(ALPHA, RUNS));
    table.line(&format!("{name}: naive z, beside it"), share(naive), Promise::Shown);
}

/// Shares that change by what has been seen so far, which makes the arm that was lucky once the larger one.
fn changed_shares(table: &mut Table) {
    const RUNS: u32 = 2000;
    table.title("A/A whose shares change with the evidence four times, a look after every event");
    let mut random = Random(8);
    let (mut going_on, mut anew) = (0, 0);
    for _ in 0..RUNS {
        let mut phases: Vec<(f64, [u64; 2])> = vec![(0.5, [0, 0])];
        let mut crossed = [false; 2];
        for event in 1..=1000 {
            let (share, counts) = phases.last_mut().expect("a first phase");
            counts[usize::from(random.uniform() < *share)] += 1;
            let (share, counts) = (*share, *counts);
            let start = EventProcess::new(20.0).expect("a positive strength");
            let all = phases.iter().fold(start, |process, (share, counts)| {
                process.with_events(*share, counts[0], counts[1]).expect("a share within 0 to 1")
            });
            crossed[0] |= all.ln_e() >= -ALPHA.ln();
            crossed[1] |= process(20.0, share, counts[0], counts[1]).ln_e() >= -ALPHA.ln();
            if event % 200 == 0 {
                let lucky = (counts[1] as f64) < share * 200.0;
                phases.push((if lucky { 0.8 } else { 0.2 }, [0, 0]));
            }
        }
        going_on += u32::from(crossed[0]);
        anew += u32::from(crossed[1]);
    }
    let share = |count: u32| f64::from(count) / f64::from(RUNS);
    table.line("event process, a factor per phase", share(going_on), level(ALPHA, RUNS));
    table.line("event process begun anew in each phase, beside it", share(anew), Promise::Shown);
}

/// Power and false positives, beside what an independent simulation in Python reached in 3,000 runs at the same looks.
fn power(table: &mut Table) {
    const RUNS: u32 = 2000;
    table.title("Power at known lifts, 100 looks (group-sequential: 5)");
    let looks: Vec<f64> = (1..=5).map(|look| f64::from(look) / 5.0).collect();
    let bounds = boundaries(&looks, ALPHA, Spending::OBrienFleming).expect("rising looks");
    let mut random = Random(2);
    for (name, rates, per_arm, strength, anchors) in [
        ("1 % → 1.3 %", (0.01, 0.013), 250, 50.0, [0.6317, 0.634, 0.8673]),
        ("0.2 % → 0.14 %", (0.002, 0.0014), 500, 20.0, [0.3463, 0.3227, 0.6167]),
        ("1 % → 1 %", (0.01, 0.01), 250, 50.0, [f64::NAN; 3]),
    ] {
        let (mut by_events, mut by_mixture, mut by_groups) = (0, 0, 0);
        for _ in 0..RUNS {
            let (mut a, mut b, mut n) = (0, 0, 0);
            let mut crossed = [false; 3];
            for look in 1..=100usize {
                a += random.binomial(per_arm, rates.0);
                b += random.binomial(per_arm, rates.1);
                n += per_arm;
                crossed[0] |= process(strength, 0.5, a, b).ln_e() >= -ALPHA.ln();
                let two = two((a, n), (b, n));
                let estimate = two.pooled();
                if a.min(b) >= 5 {
                    let v = estimate.standard_error.powi(2);
                    let planned = 200.0 * per_arm as f64;
                    let mixture = NormalMixture::tuned(v, 2.0 * n as f64, planned, ALPHA);
                    crossed[1] |= mixture.ln_e(estimate) >= -ALPHA.ln();
                }
                if look.is_multiple_of(20) {
                    crossed[2] |= two.pooled_test().z.abs() >= bounds[look / 20 - 1];
                }
            }
            by_events += u32::from(crossed[0]);
            by_mixture += u32::from(crossed[1]);
            by_groups += u32::from(crossed[2]);
        }
        let promise = |anchored: f64| match anchored.is_nan() {
            true => level(ALPHA, RUNS),
            false => anchor(anchored, 3000, RUNS),
        };
        let names = ["event process", "confidence sequence", "group-sequential"];
        let counts = [by_events, by_mixture, by_groups];
        for ((method, count), anchored) in names.iter().zip(counts).zip(anchors) {
            let share = f64::from(count) / f64::from(RUNS);
            table.line(&format!("{name}: {method}"), share, promise(anchored));
        }
    }
}

fn canary(table: &mut Table) {
    const RUNS: u32 = 1000;
    table.title("Canary whose fraud doubles (0.2 % → 0.4 %), 200 looks: stopped, and when");
    let mut random = Random(3);
    for (name, share, per_look, strength, stopped_anchor, look_anchor) in
        [("99/1", 0.01, 5000.0, 100.0, 0.8835, 93.9), ("95/5", 0.05, 2000.0, 40.0, 0.9945, 53.5)]
    {
        let (mut stopped, mut looks) = (0u32, 0u32);
        for _ in 0..RUNS {
            let (mut a, mut b, mut last) = (0, 0, 200);
            for look in 1..=200 {
                a += random.binomial((per_look * (1.0 - share)) as u64, 0.002);
                b += random.binomial((per_look * share) as u64, 0.004);
                if process(strength, share, a, b).ln_e_greater() >= -ALPHA.ln() {
                    stopped += 1;
                    last = look;
                    break;
                }
            }
            looks += last;
        }
        let share = f64::from(stopped) / f64::from(RUNS);
        table.line(&format!("{name}: share stopped"), share, anchor(stopped_anchor, 2000, RUNS));
        // The looks of one run spread by less than 60: three standard errors over both.
        let slack = 3.0 * 60.0 * (1.0 / f64::from(RUNS) + 1.0 / 2000.0).sqrt();
        let mean = f64::from(looks) / f64::from(RUNS);
        table.line(&format!("{name}: mean look"), mean, Promise::AtMost(look_anchor + slack));
    }
}

fn sample_ratio(table: &mut Table) {
    const RUNS: u32 = 1000;
    table.title("Sample ratio mismatch, 5,000 units a day for 60 days, alarm at 1 %");
    let mut random = Random(4);
    for (name, actual) in [("50/50 as planned", 0.5f64), ("50.5/49.5", 0.505), ("49/51", 0.49)] {
        let (mut alarms, mut daily, mut days) = (0u32, 0u32, 0u32);
        for _ in 0..RUNS {
            let (mut a, mut n, mut naive, mut found) = (0, 0, false, None);
            for day in 1..=60 {
                // Half the units by the exact binomial would cost n p steps; its normal limit does.
                let spread = (5000.0 * actual * (1.0 - actual)).sqrt();
                a += (5000.0 * actual + spread * random.normal()).round() as u64;
                n += 5000;
                let ratio = SampleRatio::new(&[a, n - a], &[0.5, 0.5]).expect("two shares");
                let daily = goodness_of_fit(&[a, n - a], &[0.5, 0.5]).expect("two shares");
                naive |= daily.p_value < 0.01;
                if ratio.mismatch(0.01) && found.is_none() {
                    found = Some(day);
                }
            }
            alarms += u32::from(found.is_some());
            daily += u32::from(naive);
            days += found.unwrap_or(60);
        }
        let share = |count: u32| f64::from(count) / f64::from(RUNS);
        let mean = share(days);
        let promise = match name {
            "50/50 as planned" => level(0.01, RUNS),
            "50.5/49.5" => anchor(0.978, 2000, RUNS),
            _ => anchor(0.999, 2000, RUNS),
        };
        table.line(&format!("{name}: alarms, sequential"), share(alarms), promise);
        table.line(
            &format!("{name}: alarms, χ² every day, beside it"),
            share(daily),
            Promise::Shown,
        );
        table.line(&format!("{name}: mean day of the alarm"), mean, Promise::Shown);
    }
}

/// An experiment's counts carry the clusters: units of 256 buckets.
fn clusters(table: &mut Table) {
    const RUNS: u32 = 1000;
    table.title("A/A over 3,000 cards with 10 requests each, cards differing in their rate");
    let sign = Signature::new("bench", "bench", Timestamp::default());
    let (mut robust, mut naive) = (0u32, 0u32);
    let mut random = Random(5);
    for run in 0..RUNS {
        let version = |version| ModelRef { name: "m".into(), version };
        let mut plan = AnalysisPlan::new(Metric::BadRate, 3000, 1);
        plan.direction = Direction::Down;
        plan.inference = riskcycle::experiment::Inference::FixedHorizon;
        plan.maturity = days(1);
        let config = ExperimentConfig {
            name: "clusters".into(),
            arms: vec![version(1), version(2)],
            routing: RoutingConfig::new(&format!("clusters {run}"), &[500_000, 500_000]),
            mode: Mode::AbTest,
            plan,
        };
        let experiment = Experiment::new(config, sign).expect("a sound plan");
        experiment.start(sign).expect("a draft");
        let room = RecorderConfig { requests: 64, units: 3000, days: 2 };
        let mut statistics = ExperimentStatistics::new(&experiment, room).expect("room");
        let mut counts = [[0u64; 2]; 2];
        for card in 0..3000 {
            // Beta(0.5, 9.5): a mean of 5 %, requests of one card correlate by 1/11.
            let gamma = random.normal().powi(2) / 2.0;
            let rest: f64 = -(0..9).map(|_| random.uniform().ln()).sum::<f64>();
            let rate = gamma / (gamma + rest + random.normal().powi(2) / 2.0);
            let assignment = experiment.router().route(EntityKey(card), 0, Timestamp::default());
            for _ in 0..random.binomial(100, 0.1) {
                let bad = random.uniform() < rate;
                let (unit, at) = (EntityKey(card), Timestamp::default());
                let id = random.next();
                let token = ExposureToken::new(&assignment, unit, id, at, None, false);
                let token = token.expect("everybody takes part");
                statistics.expose(&token);
                statistics.outcome(&token, bad, at);
                let arm = &mut counts[usize::from(assignment.arm)];
                arm[0] += u64::from(bad);
                arm[1] += 1;
            }
        }
        let end = Timestamp::default().plus(days(9));
        experiment.stop(riskcycle::experiment::StopReason::Complete, sign).expect("running");
        let report = experiment.report(&statistics, end);
        robust += u32::from(
            report.comparisons[0].primary.outcome != riskcycle::experiment::Outcome::Undecided,
        );
        let [a, b] = counts.map(|arm| (arm[0], arm[1]));
        naive += u32::from(two(a, b).pooled_test().p_value < ALPHA);
    }
    let share = |count: u32| f64::from(count) / f64::from(RUNS);
    table.line("cluster-robust, 256 buckets", share(robust), Promise::AtMost(0.06));
    table.line("request by request, beside it", share(naive), Promise::AtLeast(0.08));
}

/// A champion that blocks what it finds suspicious, and a challenger in its shadow, seen through the labels that are left.
fn selective_labels(table: &mut Table) {
    const RUNS: u32 = 24;
    table
        .title("Blocked requests have no label, 5 % are let through: mean over 24 runs of 200,000");
    let mut random = Random(6);
    let mut sums = [[0.0; 2]; 3];
    for run in 0..RUNS {
        let seen = seen_through_a_block(&format!("selective {run}"), &mut random);
        sums.as_flattened_mut().iter_mut().zip(seen.as_flattened()).for_each(|(sum, x)| *sum += x);
    }
    let [truth, report, approved] = sums.map(|of| of.map(|sum| sum / f64::from(RUNS)));
    for (i, name) in ["precision", "recall"].into_iter().enumerate() {
        table.line(&format!("{name}, true"), truth[i], Promise::Shown);
        let bias = (report[i] - truth[i]).abs();
        table.line(&format!("{name}, bias of the report"), bias, Promise::AtMost(0.02));
        let bias = (approved[i] - truth[i]).abs();
        // It is recall that this block hides the most of.
        let promise = if name == "recall" { Promise::AtLeast(0.1) } else { Promise::Shown };
        table.line(&format!("{name}, bias of approved only"), bias, promise);
    }
}

/// Precision and recall of the challenger: true, in the report, and of approved requests only.
fn seen_through_a_block(salt: &str, random: &mut Random) -> [[f64; 2]; 3] {
    const ROWS: u64 = 200_000;
    let at = Timestamp::default();
    let sign = Signature::new("bench", "bench", at);
    let version = |version| ModelRef { name: "m".into(), version };
    let routing = RoutingConfig::new(salt, &[1_000_000, 0]);
    let config = ExperimentConfig {
        name: "selective labels".into(),
        arms: vec![version(1), version(2)],
        routing: RoutingConfig { shadow: true, let_through_ppm: 50_000, ..routing },
        mode: Mode::Shadow,
        plan: AnalysisPlan::new(Metric::Precision, 1, ROWS),
    };
    let experiment = Experiment::new(config, sign).expect("a sound plan");
    experiment.start(sign).expect("a draft");
    let room = RecorderConfig { requests: ROWS as usize, units: 50_000, days: 2 };
    let mut statistics = ExperimentStatistics::new(&experiment, room).expect("room");
    let (mut truth, mut approved) = ([0.0; 3], [0.0; 3]);
    for request in 0..ROWS {
        let bad = random.uniform() < 0.0325;
        // The champion sees one of two traces that fraud leaves, the challenger both.
        let trace = if bad { 1.6 } else { 0.0 };
        let (one, other) = (trace + random.normal(), trace + random.normal());
        let (blocked, alert) = (one > 2.2, one + other > 3.9);
        let unit = EntityKey(request % 50_000);
        let assignment = experiment.router().route(unit, request, at);
        let token = ExposureToken::new(&assignment, unit, request, at, None, blocked);
        let token = token.expect("everybody takes part").with_score(1, None, alert);
        statistics.expose(&token);
        // The recorder leaves out what a block has left without a label.
        statistics.outcome(&token, bad, at);
        // Alerts that are bad, alerts, bad.
        let counts = [bad && alert, alert, bad].map(|yes| f64::from(u8::from(yes)));
        for (i, count) in counts.iter().enumerate() {
            truth[i] += count;
            approved[i] += if blocked { 0.0 } else { *count };
        }
    }
    let report = experiment.report(&statistics, at.plus(days(60)));
    let reported = |metric: Metric| {
        let mut metrics = report.arms[1].metrics.iter();
        metrics.find(|(other, _)| *other == metric).and_then(|(_, value)| *value).expect("labels")
    };
    let of = |[found, alerts, bad]: [f64; 3]| [found / alerts, found / bad];
    [of(truth), [reported(Metric::Precision), reported(Metric::Recall)], of(approved)]
}

fn coverage(table: &mut Table) {
    const RUNS: u32 = 4000;
    table.title("Coverage of 95 % intervals");
    let mut random = Random(7);
    // Fixed intervals between 94 and 96 %, but for three standard errors of the simulation.
    let slack = 3.0 * error(0.95, RUNS);
    let mut check =
        |name: &str, runs: u32, wide: bool, run: &mut dyn FnMut(&mut Random) -> bool| {
            let covered = (0..runs).filter(|_| run(&mut random)).count() as f64 / f64::from(runs);
            table.line(name, covered, Promise::AtLeast(0.94 - slack));
            if !wide {
                table.line(&format!("{name}, not wider"), covered, Promise::AtMost(0.96 + slack));
            }
        };
    let counts = |random: &mut Random| {
        two((random.binomial(5000, 0.01), 5000), (random.binomial(5000, 0.013), 5000))
    };
    let d = 0.003;
    check("Newcombe, 1 % against 1.3 % of 5,000", RUNS, false, &mut |random| {
        counts(random).newcombe(ALPHA).expect("a sound alpha").contains(d)
    });
    check("Miettinen–Nurminen, the same", RUNS, false, &mut |random| {
        counts(random).miettinen_nurminen(ALPHA).expect("a sound alpha").contains(d)
    });
    check("Wilson, 1 % of 5,000", RUNS, false, &mut |random| {
        let proportion = Proportion::new(random.binomial(5000, 0.01), 5000).expect("units");
        proportion.wilson(ALPHA).expect("a sound alpha").contains(0.01)
    });
    check("Welch, 40 against 25 with another spread", RUNS, false, &mut |random| {
        let draw = |n: usize, mean: f64, sd: f64, random: &mut Random| {
            let values: Vec<f64> = (0..n).map(|_| mean + sd * random.normal()).collect();
            SampleMoments::of(&values).expect("two values and more")
        };
        let (a, b) = (draw(40, 0.0, 1.0, random), draw(25, 0.5, 3.0, random));
        WelchTest::new(&a, &b)
            .expect("spread")
            .interval(ALPHA)
            .expect("a sound alpha")
            .contains(0.5)
    });
    check("ratio over 256 buckets", RUNS, false, &mut |random| {
        let clusters = (0..256).map(|_| {
            let n = 20.0 + random.binomial(100, 0.2) as f64;
            (random.binomial(n as u64, 0.05) as f64, n)
        });
        let estimate = ClusteredRatio::new(clusters).expect("requests").estimate();
        Interval::around(estimate.value, 1.96 * estimate.standard_error).contains(0.05)
    });
    check("CUPED over 256 buckets, a difference of 0.1", RUNS, false, &mut |random| {
        let arm = |shift: f64, random: &mut Random| {
            let buckets: Vec<(f64, f64)> = (0..256)
                .map(|_| {
                    let habit = random.normal();
                    (habit + 0.5 * random.normal(), shift + habit + 0.5 * random.normal())
                })
                .collect();
            let mean = |of: fn(&(f64, f64)) -> f64| {
                let sums = buckets.iter().map(|bucket| (of(bucket), 1.0));
                ClusteredRatio::new(sums).expect("clusters")
            };
            (mean(|bucket| bucket.0), mean(|bucket| bucket.1))
        };
        let ((x, y), (z, w)) = (arm(0.0, random), arm(0.1, random));
        let (first, second) = cuped_ratios((&x, &y), (&z, &w)).expect("spread");
        let estimate = ClusteredRatio::difference(&first, &second);
        Interval::around(estimate.value, 1.96 * estimate.standard_error).contains(0.1)
    });
    // P(bad score above good) for unit normals 1 apart, Φ(1/√2), and 1.5 apart.
    let (auc_1, auc_2) = (0.760_249_938_906_523, 0.855_577_807_744_946);
    let rows = |random: &mut Random, shift: f64| {
        let labels: Vec<bool> = (0..600).map(|i| i % 10 == 0).collect();
        let scores: Vec<f64> =
            labels.iter().map(|bad| f64::from(u8::from(*bad)) * shift + random.normal()).collect();
        (labels, scores)
    };
    check("DeLong with logit, 60 bad of 600", RUNS / 2, false, &mut |random| {
        let (labels, scores) = rows(random, 1.0);
        let auc = AucEstimate::new(&labels, &scores).expect("both classes");
        auc.interval(ALPHA).expect("a sound alpha").contains(auc_1)
    });
    check("DeLong, difference of two samples", RUNS / 2, false, &mut |random| {
        let [a, b] = [1.0, 1.5].map(|shift| {
            let (labels, scores) = rows(random, shift);
            AucEstimate::new(&labels, &scores).expect("both classes")
        });
        let interval = AucComparison::unpaired(a, b).interval(ALPHA).expect("a sound alpha");
        interval.contains(auc_2 - auc_1)
    });
    check("DeLong, difference on the same rows", RUNS / 2, false, &mut |random| {
        let (labels, first) = rows(random, 1.0);
        // Half of the noise is common: unit variance, 1.5 apart.
        let second: Vec<f64> = (labels.iter().zip(&first))
            .map(|(bad, first)| {
                let bad = f64::from(u8::from(*bad));
                let common = first - bad;
                1.5 * bad + 0.5f64.sqrt() * (common + random.normal())
            })
            .collect();
        let paired = AucComparison::paired(&labels, &first, &second).expect("both classes");
        paired.interval(ALPHA).expect("a sound alpha").contains(auc_2 - auc_1)
    });
    check("event process, rate ratio 1.3 at all of 60 looks", RUNS / 4, true, &mut |random| {
        let (mut a, mut b) = (0, 0);
        (0..60).all(|_| {
            a += random.binomial(900, 0.01);
            b += random.binomial(100, 0.013);
            process(50.0, 0.1, a, b).rate_ratio(ALPHA).contains(1.3)
        })
    });
    check(
        "confidence sequence of a difference at all of 60 looks",
        RUNS / 4,
        true,
        &mut |random| {
            let (mut a, mut b, mut n) = (0, 0, 0);
            (0..60).all(|_| {
                a += random.binomial(500, 0.02);
                b += random.binomial(500, 0.026);
                n += 500;
                let two = two((a, n), (b, n));
                if a.min(b) < 30 {
                    return true;
                }
                let estimate = two.pooled();
                let v = estimate.standard_error.powi(2);
                let mixture = NormalMixture::tuned(v, 2.0 * n as f64, 30_000.0, ALPHA);
                mixture.interval(estimate, ALPHA).contains(0.006)
            })
        },
    );
}
