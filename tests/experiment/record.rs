//! Recording: any order and any number of threads give the same bytes.

use proptest::prelude::*;
use riskcycle::experiment::{
    AnalysisPlan, Doubt, ExperimentRecorder, ExperimentStatistics, Metric, Mode, Recorded,
    RoutingConfig, SLOTS, Verdict,
};
use riskcycle::{EntityKey, days};

use crate::world::*;

#[derive(Debug, Clone, Copy)]
enum Entry {
    Expose(usize),
    Label(usize),
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, cases: 24, ..ProptestConfig::default() })]

    #[test]
    fn any_order_any_threads_and_duplicates_give_the_same_bytes(
        order in Just((0..600usize).flat_map(|i| [Entry::Expose(i), Entry::Label(i)]).collect::<Vec<_>>()).prop_shuffle(),
        threads in 1usize..7,
        twice in proptest::collection::vec(0usize..1200, 0..100),
        shadow in any::<bool>(),
    ) {
        let experiment = match shadow {
            false => half(),
            true => {
                let weights = [SLOTS, 0, 0];
                let routing = RoutingConfig { shadow: true, ..RoutingConfig::new("shadow", &weights) };
                let primary = AnalysisPlan { maturity: days(7), ..AnalysisPlan::new(Metric::RocAuc, 500, 500) };
                started(config(routing, Mode::Shadow, primary))
            }
        };
        let world = world(&experiment, 600, &|_| 0.05);
        let expected = record(&experiment, &world);
        let recorder = ExperimentRecorder::new(&experiment, small()).unwrap();
        let play = |entry: &Entry| match *entry {
            Entry::Expose(i) => recorder.expose(&world[i].token),
            Entry::Label(i) => recorder.outcome(&world[i].token, world[i].bad, world[i].labelled),
        };
        std::thread::scope(|scope| {
            for part in order.chunks(order.len().div_ceil(threads)) {
                scope.spawn(move || part.iter().for_each(play));
            }
        });
        prop_assert_eq!(recorder.statistics().to_bytes(), expected.to_bytes());
        twice.iter().for_each(|i| play(&order[*i]));
        let got = recorder.statistics();
        prop_assert_eq!(got.counters().duplicates, twice.len() as u64);
        prop_assert_eq!(got.counters().contradictions, 0);
        let (mut ours, theirs) = (experiment.report(&got, LATE), experiment.report(&expected, LATE));
        ours.counters.duplicates = 0;
        prop_assert_eq!(json(&ours), json(&theirs));
    }

    #[test]
    fn merging_is_associative_and_commutative(cut in 0usize..500, second in 0usize..500) {
        let experiment = half();
        let world = world(&experiment, 500, &|_| 0.05);
        let whole = record(&experiment, &world);
        let (low, high) = (cut.min(second), cut.max(second));
        let part = |range: std::ops::Range<usize>| record(&experiment, &world[range]);
        let (a, b, c) = (part(0..low), part(low..high), part(high..500));
        let merged = |parts: [&ExperimentStatistics; 3]| {
            let mut sum = parts[0].clone();
            sum.merge(parts[1]).unwrap();
            sum.merge(parts[2]).unwrap();
            sum.to_bytes()
        };
        prop_assert_eq!(merged([&a, &b, &c]), whole.to_bytes());
        prop_assert_eq!(merged([&c, &a, &b]), whole.to_bytes());
        let mut right = b.clone();
        right.merge(&c).unwrap();
        let mut left = a.clone();
        left.merge(&right).unwrap();
        prop_assert_eq!(left.to_bytes(), whole.to_bytes());
    }
}

#[test]
fn bytes_bring_everything_back_and_damage_is_noticed() {
    let experiment = half();
    let statistics = record(&experiment, &world(&experiment, 800, &|_| 0.05));
    let bytes = statistics.to_bytes();
    let back = ExperimentStatistics::from_bytes(&experiment, small(), &bytes).unwrap();
    assert_eq!(back.to_bytes(), bytes);
    assert_eq!(json(&experiment.report(&back, LATE)), json(&experiment.report(&statistics, LATE)));
    for cut in [0, 3, 8, 100, bytes.len() / 2, bytes.len() - 1] {
        assert!(ExperimentStatistics::from_bytes(&experiment, small(), &bytes[..cut]).is_err());
    }
    let mut broken = bytes.clone();
    broken[1000] ^= 1;
    assert!(ExperimentStatistics::from_bytes(&experiment, small(), &broken).is_err());
    let other = started(config(RoutingConfig::new("other", &[500_000; 2]), Mode::AbTest, plan()));
    let error = ExperimentStatistics::from_bytes(&other, small(), &bytes).unwrap_err();
    assert!(error.to_string().contains("another experiment"), "{error}");
    let mut elsewhere = ExperimentStatistics::new(&other, small()).unwrap();
    assert!(elsewhere.merge(&statistics).is_err());
}

#[test]
fn duplicates_contradictions_strangers_and_double_counts_are_told() {
    let experiment = half();
    let world = world(&experiment, 100, &|_| 0.2);
    let mut one = record(&experiment, &world);
    let bad = world.iter().find(|happened| happened.bad).unwrap();
    assert_eq!(one.outcome(&bad.token, false, LATE), Recorded::Duplicate);
    assert_eq!(one.outcome(&bad.token, true, LATE), Recorded::Duplicate);
    let other = started(config(RoutingConfig::new("other", &[500_000; 2]), Mode::AbTest, plan()));
    let stranger = request(&other, 1, 10, &|_| 0.0).unwrap();
    assert_eq!(one.expose(&stranger.token), Recorded::Unknown);
    assert_eq!(one.outcome(&stranger.token, true, LATE), Recorded::Unknown);
    let counters = one.counters();
    assert_eq!((counters.duplicates, counters.contradictions, counters.unknown), (2, 1, 2));
    // Another process counted some of the same.
    let two = record(&experiment, &world[..10]);
    one.merge(&two).unwrap();
    assert_eq!(one.counters().counted_twice, 20);
    let verdict = experiment.report(&one, LATE).verdict;
    assert!(
        matches!(verdict, Verdict::Inconclusive { reasons } if reasons.contains(&Doubt::Incomplete))
    );
}

#[test]
fn overridden_and_unexposed_requests_are_not_counted() {
    let routing = RoutingConfig {
        exposure_ppm: 200_000,
        overrides: (0..500).map(|unit| (EntityKey(unit), 1)).collect(),
        ..RoutingConfig::new("half", &[500_000, 500_000])
    };
    let experiment = started(config(routing, Mode::AbTest, plan()));
    let world = world(&experiment, 3000, &|_| 0.05);
    assert!(world.iter().all(|happened| happened.token.unit().0 >= 500));
    // 5/6 of the requests are not overridden, a fifth of their units takes part.
    assert!(world.len().abs_diff(500) < 150, "{}", world.len());
}
