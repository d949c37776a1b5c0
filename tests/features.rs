//! Point-in-time features: batch, online and a brute-force oracle agree bit for bit.

use std::collections::BTreeSet;
use std::time::Duration;

use proptest::prelude::*;
use riskcycle::event::EventSchema;
use riskcycle::feature::{
    Aggregate, Condition, Current, Definition, Expression, Feature, FeatureFrame, FeatureSet,
    LabelArrival, LabelOutcome, Labels, Observed, OnlineConfig, Operation, Source, SpinePoint,
    TooLate, Width, Window, Zone, catalogue,
};
use riskcycle::testing::handbook::{self, Transaction};
use riskcycle::testing::{World, feature_parity};
use riskcycle::{EntityKey, Error, Seed, Timestamp, days};

#[derive(Debug, Clone, PartialEq)]
struct Payment {
    id: u64,
    second: i64,
    card: u64,
    shop: u64,
    cents: i64,
    bad: Option<bool>,
    /// When the label arrives, in seconds after the event.
    known_after: Option<u64>,
}

fn payments() -> EventSchema<Payment> {
    EventSchema::builder()
        .id(|p: &Payment| p.id)
        .time(|p| Timestamp::from_seconds(p.second))
        .entity("card", |p| EntityKey(p.card))
        .entity("shop", |p| EntityKey(p.shop))
        .money("amount", 2, |p| p.cents)
        .number("sun", |p| if p.second % 2 == 0 { f64::NAN } else { p.second as f64 })
        .label("bad", |p| p.bad)
        .label_arrival(|p| {
            Some(Timestamp::from_seconds(p.second).plus(Duration::from_secs(p.known_after?)))
        })
        .build()
        .unwrap()
}

fn source(entity: &str) -> Source {
    Source { entity: entity.into(), only: Vec::new() }
}

fn windowed(name: &str, source: Source, window: Window, aggregate: Aggregate) -> Feature {
    let definition = Definition::Windowed { source, window, aggregate, empty: Some(-1.0) };
    Feature { name: name.into(), definition }
}

fn set(features: Vec<Feature>) -> FeatureSet {
    let all = FeatureSet::builder("random").field("amount").field("sun");
    features.into_iter().fold(all, |set, f| set.feature(&f.name, f.definition)).build().unwrap()
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

/// Most events follow within the same second or the next, some after a while; labels take up to five seconds, or never come.
fn stream() -> impl Strategy<Value = Vec<Payment>> {
    let label = prop::option::of((any::<bool>(), 0u64..6));
    let step = prop_oneof![9 => 0i64..3, 1 => Just(9)];
    let payment = (step, 0u64..3, 0u64..3, -500i64..5000, label);
    prop::collection::vec(payment, 1..60).prop_map(|steps| {
        let mut second = -20;
        let row = |(id, (step, card, shop, cents, label)): (u64, _)| {
            second += step;
            let label: Option<(bool, u64)> = label;
            let (bad, known_after) = (label.map(|l| l.0), label.map(|l| l.1));
            // Amounts that repeat, for ties among values.
            Payment { id, second, card, shop, cents: cents / 100 * 100, bad, known_after }
        };
        (0u64..).zip(steps).map(row).collect()
    })
}

/// Caps that a few events pass.
fn capped() -> impl Strategy<Value = Width> {
    let cap = prop::sample::select(vec![1, 3, 10]);
    (1u64..25, cap, 1u64..9).prop_map(|(width, cap, hop)| Width::Capped {
        width: seconds(width),
        cap,
        hop: seconds(hop),
    })
}

fn current() -> impl Strategy<Value = Current> {
    prop::sample::select(vec![Current::Exclude, Current::Include, Current::StrictPast])
}

fn window() -> impl Strategy<Value = Window> {
    let width = prop_oneof![
        4 => (1u64..12).prop_map(|width| Width::Last(seconds(width))),
        2 => (1u64..12, 1u64..5).prop_map(|(width, hop)| Width::Sawtooth {
            width: seconds(width),
            hop: seconds(hop),
        }),
        2 => capped(),
        // Local midnight falls among the events, ten seconds before 1970.
        1 => (1u32..3).prop_map(|days| Width::CalendarDays { days, zone: Zone::Offset(10) }),
        1 => Just(Width::Lifetime),
    ];
    (width, 0u64..6, current()).prop_map(|(width, delay, current)| Window {
        width,
        delay: seconds(delay),
        current,
    })
}

/// Kinds of exact aggregates that tiles are enough for.
const TILED: [usize; 11] = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 23];

fn aggregate(kind: usize, window: &mut Window) -> Aggregate {
    let field = || "amount".to_owned();
    let of = || if kind.is_multiple_of(2) { "shop".to_owned() } else { field() };
    let label = || "bad".to_owned();
    let zone = Zone::Offset(10);
    let fixed = |window: &mut Window| {
        window.delay = window.delay.max(seconds(5)); // as long as labels take
        Labels::FixedDelay
    };
    let finite = |window: &mut Window| {
        if window.width == Width::Lifetime {
            window.width = Width::Last(seconds(9));
        }
    };
    let folding = |window: &mut Window| {
        if !matches!(window.width, Width::Lifetime | Width::Sawtooth { .. }) {
            window.width = Width::Sawtooth { width: seconds(7), hop: seconds(3) };
        }
    };
    // Only what tiles are enough for may be capped.
    if let Width::Capped { width, .. } = window.width
        && !TILED.contains(&kind)
    {
        window.width = Width::Last(width);
    }
    match kind {
        0 => Aggregate::Count,
        1 => Aggregate::Sum { field: field() },
        2 => Aggregate::Mean { field: field() },
        3 => Aggregate::Min { field: field() },
        4 => Aggregate::Max { field: field() },
        5 => Aggregate::StandardDeviation { field: field() },
        6 => Aggregate::First { field: field() },
        7 => Aggregate::Last { field: field() },
        8 => Aggregate::SinceFirst,
        9 => Aggregate::SinceLast,
        10 | 11 => Aggregate::Distinct { of: of() },
        12 => Aggregate::PerActiveDay { zone },
        13 | 14 => Aggregate::DistinctPerActiveDay { of: of(), zone },
        15 | 16 => Aggregate::TopShare { of: of(), k: 2 },
        17 | 18 => Aggregate::Entropy { of: of() },
        19 | 20 => Aggregate::CountSame { of: of() },
        21 | 22 => Aggregate::ShareSame { of: of() },
        23 => Aggregate::Rate { label: label(), labels: fixed(window) },
        24 => Aggregate::DistinctBad { of: of(), label: label(), labels: fixed(window) },
        25 => {
            finite(window);
            Aggregate::Quantile { field: field(), q: 0.7 }
        }
        26 => {
            window.width = Width::Last(seconds(4));
            Aggregate::ShareAbove { field: field(), q: 0.5, baseline: seconds(8) }
        }
        27 => {
            finite(window);
            let labels = Labels::AsArrived { mature_after: seconds(1) };
            Aggregate::Rate { label: label(), labels }
        }
        28 | 29 => {
            folding(window);
            Aggregate::ApproximateDistinct { of: of() }
        }
        30 => {
            folding(window);
            Aggregate::ApproximateQuantile { field: field(), q: 0.7 }
        }
        31 | 32 => {
            // As long as labels take, or as they arrive.
            let label_delay = (kind == 31).then_some(seconds(5));
            Aggregate::DistinctEverBad { of: "shop".into(), label: label(), label_delay }
        }
        _ => {
            finite(window);
            let labels = Labels::AsArrived { mature_after: Duration::ZERO };
            Aggregate::DistinctBad { of: of(), label: label(), labels }
        }
    }
}

fn conditions() -> impl Strategy<Value = Vec<Condition>> {
    let one = prop_oneof![
        Just(Condition::Above { field: "amount".into(), value: 5.0 }),
        Just(Condition::Below { field: "sun".into(), value: 3.0 }),
        Just(Condition::HourOfDayIn { from: 22, to: 23, zone: Zone::Offset(0) }),
        Just(Condition::In {
            entity: "shop".into(),
            keys: BTreeSet::from([EntityKey(0), EntityKey(2)]),
        }),
    ];
    prop_oneof![3 => Just(Vec::new()), 1 => prop::collection::vec(one, 1..3)]
}

/// In one case of three only what may be capped, and capped windows above all.
fn features() -> impl Strategy<Value = Vec<Feature>> {
    let entity = prop::sample::select(vec!["card", "shop"]);
    let any = (entity.clone(), conditions(), window(), 0usize..34);
    let window = (window(), capped()).prop_map(|(window, width)| Window { width, ..window });
    let tiled = (entity, conditions(), window, prop::sample::select(TILED.to_vec()));
    let all = prop_oneof![
        2 => prop::collection::vec(any, 1..6),
        1 => prop::collection::vec(tiled, 1..6),
    ];
    all.prop_map(|all| {
        let feature = |(i, (entity, only, mut window, kind)): (usize, (&str, _, _, usize))| {
            let aggregate = aggregate(kind, &mut window);
            let source = Source { entity: entity.into(), only };
            windowed(&format!("f{i}"), source, window, aggregate)
        };
        all.into_iter().enumerate().map(feature).collect()
    })
}

fn bits(row: &[f64]) -> Vec<u64> {
    row.iter().map(|value| value.to_bits()).collect()
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1500, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn batch_online_and_oracle_agree_bit_for_bit(
        events in stream(),
        features in features(),
        turn in 0usize..60,
    ) {
        let set = set(features);
        let plan = set.bind(&payments()).unwrap();
        // Batch takes events in any order.
        let mut turned = events.clone();
        turned.rotate_left(turn % events.len());
        let report = feature_parity(&plan, &turned).unwrap();
        prop_assert_eq!(report.late_labels, 0);
        prop_assert!(report.differences.is_empty(), "{} {:#?}", report, set.features());
    }

    /// The order of arrival plays no part as long as nothing is later than allowed.
    #[test]
    fn late_events_find_their_place(
        events in stream(),
        features in features(),
        delays in prop::collection::vec(0i64..4, 60),
    ) {
        let set = set(features);
        let plan = set.bind(&payments()).unwrap();
        let config = OnlineConfig { max_lateness: seconds(4), ..OnlineConfig::default() };
        let online = plan.online(config).unwrap();
        let mut arriving: Vec<(i64, &Payment)> =
            events.iter().zip(&delays).map(|(e, delay)| (e.second + delay, e)).collect();
        arriving.sort_by_key(|(at, _)| *at);
        let mut row = vec![0.0; set.features().len()];
        for (n, (_, event)) in arriving.iter().enumerate() {
            prop_assert_eq!(online.observe(event, &mut row).unwrap(), Observed::New);
            // What is served is what is known by now, at the event's moment.
            let mut known: Vec<Payment> = arriving[..=n].iter().map(|(_, e)| (*e).clone()).collect();
            known.iter_mut().for_each(|e| e.bad = None);
            let batch = plan.compute(&known).unwrap();
            let mut expected = row.clone();
            batch.copy_row(n, &mut expected);
            prop_assert_eq!(bits(&row), bits(&expected), "{:?} {:?} {:#?}", row, expected, set);
        }
        // Again, all of it: known, and nothing counts twice.
        for event in &events {
            if let Ok(observed) = online.observe(event, &mut row) {
                // An event that meets no condition is kept nowhere, so it cannot be recognised.
                let kept = set.features().iter().any(|feature| {
                    matches!(&feature.definition, Definition::Windowed { source, .. } if source.only.is_empty())
                });
                let expected = if kept { Observed::Duplicate } else { observed };
                prop_assert_eq!(observed, expected);
            }
        }
    }

    #[test]
    fn a_snapshot_goes_on_as_if_nothing_had_happened(
        events in stream(), features in features(), cut in 0usize..60, idle in any::<bool>(),
    ) {
        let plan = set(features).bind(&payments()).unwrap();
        let (one, two) = (plan.online(OnlineConfig::default()).unwrap(), plan.online(OnlineConfig::default()).unwrap());
        let (mut row, mut other) = (vec![0.0; plan.schema().n_features()], vec![0.0; plan.schema().n_features()]);
        let (before, after) = events.split_at(cut % events.len());
        for event in before {
            one.observe(event, &mut row).unwrap();
            if let Some(bad) = event.bad {
                one.label(event, bad);
            }
        }
        if idle && let Some(next) = after.first() {
            one.maintain(Timestamp::from_seconds(next.second)); // changes nothing to come
        }
        let bytes = one.snapshot();
        two.restore(&bytes).unwrap();
        prop_assert_eq!(two.snapshot(), bytes);
        let untouched = plan.online(OnlineConfig::default()).unwrap();
        for event in before {
            untouched.observe(event, &mut other).unwrap();
            if let Some(bad) = event.bad {
                untouched.label(event, bad);
            }
        }
        for event in after {
            two.observe(event, &mut row).unwrap();
            untouched.observe(event, &mut other).unwrap();
            prop_assert_eq!(bits(&row), bits(&other));
        }
    }

    /// Later events are known by then and must not show, and what is forgotten must not be missing.
    #[test]
    fn a_question_about_the_past_is_answered_as_batch_would_or_refused(
        events in stream(), features in features(), lateness in 0u64..6,
    ) {
        let plan = set(features).bind(&payments()).unwrap();
        let config = OnlineConfig { max_lateness: seconds(lateness), ..OnlineConfig::default() };
        let online = plan.online(config).unwrap();
        let mut row = vec![0.0; plan.schema().n_features()];
        let unlabelled: Vec<Payment> =
            events.iter().map(|event| Payment { bad: None, ..event.clone() }).collect();
        for event in &unlabelled {
            online.observe(event, &mut row).unwrap();
        }
        let last = events[events.len() - 1].second;
        let point = |back| SpinePoint {
            at: Timestamp::from_seconds(last - back),
            keys: vec![EntityKey(1), EntityKey(2)],
        };
        let points: Vec<SpinePoint> = (0..12).map(point).collect();
        let spine = plan.compute_at(&unlabelled, &["card", "shop"], &points).unwrap();
        let mut batch = row.clone();
        for (n, SpinePoint { at, keys }) in points.iter().enumerate() {
            spine.copy_row(n, &mut batch);
            match online.vector(&[("card", keys[0]), ("shop", keys[1])], *at, &mut row) {
                Ok(()) => prop_assert_eq!(bits(&row), bits(&batch), "{} s back: {:?} {:?}", n, row, batch),
                Err(error) => {
                    let back = matches!(error, Error::TimeBackwards { .. });
                    prop_assert!(back && n as u64 > lateness, "{} s back: {}", n, error);
                }
            }
        }
    }

    #[test]
    fn events_of_the_future_change_no_row(
        events in stream(), features in features(), cut in 0usize..60,
    ) {
        let plan = set(features).bind(&payments()).unwrap();
        let past = &events[..=cut % events.len()];
        let (short, long) = (plan.compute(past).unwrap(), plan.compute(&events).unwrap());
        for column in 0..plan.schema().n_features() {
            let long = &long.column(column)[..past.len()];
            prop_assert_eq!(bits(short.column(column)), bits(long));
        }
    }

    #[test]
    fn neighbouring_windows_share_no_event_and_miss_none(
        events in stream(), near in 1u64..8, far in 1u64..8,
    ) {
        let count = |name: &str, width: u64, delay: u64| {
            let (width, current) = (Width::Last(seconds(width)), Current::Include);
            let window = Window { width, delay: seconds(delay), current };
            windowed(name, source("card"), window, Aggregate::Count)
        };
        let features =
            vec![count("both", near + far, 0), count("near", near, 0), count("far", far, near)];
        let frame = set(features).bind(&payments()).unwrap().compute(&events).unwrap();
        for row in 0..events.len() {
            prop_assert_eq!(
                frame.column(2)[row],
                frame.column(3)[row] + frame.column(4)[row]
            );
        }
    }

    /// In other words than the oracle's: row by row it is one of the two windows that it is made of.
    #[test]
    fn a_capped_window_is_the_exact_one_or_the_sawtooth(
        events in stream(), capped in capped(), current in current(), delay in 0u64..6, kinds in prop::collection::vec(prop::sample::select(TILED.to_vec()), 1..4),
    ) {
        let Width::Capped { width, cap, hop } = capped else { unreachable!() };
        let widths = [capped, Width::Last(width), Width::Sawtooth { width, hop }];
        // As long as labels take, if there are any.
        let delay = seconds(if kinds.contains(&23) { 5 } else { delay });
        let features = widths.into_iter().enumerate().flat_map(|(w, width)| {
            let window = Window { width, delay, current };
            kinds.iter().chain(&[0]).enumerate().map(move |(i, kind)| {
                let mut window = window.clone();
                let aggregate = aggregate(*kind, &mut window);
                windowed(&format!("f{i}_{w}"), source("card"), window, aggregate)
            })
        });
        let frame = set(features.collect()).bind(&payments()).unwrap().compute(&events).unwrap();
        let n = kinds.len() + 1;
        let value = |width: usize, i: usize, row: usize| frame.column(2 + width * n + i)[row].to_bits();
        for row in 0..events.len() {
            let exact = f64::from_bits(value(1, n - 1, row)) <= cap as f64;
            for i in 0..n {
                prop_assert_eq!(value(0, i, row), value(if exact { 1 } else { 2 }, i, row));
            }
        }
    }

    /// A question without an event sees what an event at that moment, after all others, would see.
    #[test]
    fn a_vector_without_an_event_is_that_of_an_event_that_changes_nothing(
        events in stream(), features in features(), wait in 0i64..9,
    ) {
        let set = set(features);
        let plan = set.bind(&payments()).unwrap();
        let online = plan.online(OnlineConfig::default()).unwrap();
        let mut row = vec![0.0; set.features().len()];
        for event in &events {
            online.observe(event, &mut row).unwrap();
        }
        let second = events[events.len() - 1].second + wait;
        let entities = [("card", EntityKey(1)), ("shop", EntityKey(2))];
        let mut asked = row.clone();
        online.vector(&entities, Timestamp::from_seconds(second), &mut asked).unwrap();
        // Batch answers the same question from the same events; online has had no label.
        let unlabelled: Vec<Payment> =
            events.iter().map(|event| Payment { bad: None, ..event.clone() }).collect();
        let at = Timestamp::from_seconds(second);
        let points = [SpinePoint { at, keys: vec![EntityKey(1), EntityKey(2)] }];
        let spine = plan.compute_at(&unlabelled, &["card", "shop"], &points).unwrap();
        let mut batch = row.clone();
        spine.copy_row(0, &mut batch);
        prop_assert_eq!(bits(&batch), bits(&asked), "{:?} {:?}", batch, asked);
        let event =
            Payment { id: u64::MAX, second, card: 1, shop: 2, cents: 0, bad: None, known_after: None };
        online.observe(&event, &mut row).unwrap();
        for (feature, (asked, observed)) in set.features().iter().zip(asked.iter().zip(&row)) {
            let own = match &feature.definition {
                Definition::Windowed { window, aggregate, .. } => {
                    let same = matches!(aggregate, Aggregate::CountSame { .. } | Aggregate::ShareSame { .. });
                    same || (window.delay.is_zero() && window.current == Current::Include)
                }
                _ => true,
            };
            if !own {
                prop_assert_eq!(asked.to_bits(), observed.to_bits(), "{:?}", feature);
            }
        }
    }
}

/// The table in the documentation of `feature`: sums over one day of 1, 2, 4, 8 at days 1, 2, 2, 3.
#[test]
fn the_four_row_tie_table_holds() {
    let day = 86_400;
    let rows: [(i64, i64); 4] = [(1, 1), (2, 2), (2, 4), (3, 8)];
    let payment = |(id, (at, value))| Payment {
        id,
        second: at * day,
        card: 1,
        shop: 1,
        cents: value * 100,
        bad: None,
        known_after: None,
    };
    let events: Vec<Payment> = (0u64..).zip(rows).map(payment).collect();
    let sums = |current| {
        let window = Window { width: Width::Last(days(1)), delay: Duration::ZERO, current };
        let sum = Aggregate::Sum { field: "amount".into() };
        let sum = windowed("s", source("card"), window, sum);
        let frame = set(vec![sum]).bind(&payments()).unwrap().compute(&events).unwrap();
        frame.column(2).to_vec()
    };
    assert_eq!(sums(Current::Exclude), [0.0, 0.0, 2.0, 0.0]);
    assert_eq!(sums(Current::Include), [1.0, 2.0, 6.0, 8.0]);
    assert_eq!(sums(Current::StrictPast), [0.0, 0.0, 0.0, 0.0]);
}

#[test]
fn the_handbook_features_of_a_world_agree_in_batch_and_online() {
    let world = World { customers: 200, terminals: 400, days: 60, ..World::default() };
    let events = world.transactions(Seed(11)).unwrap();
    assert!(events.iter().filter(|event| event.fraud).count() > 50);
    let plan = handbook::features().bind(&handbook::events()).unwrap();
    let (batch, online) =
        (plan.compute(&events).unwrap(), plan.online(OnlineConfig::default()).unwrap());
    let (mut live, mut row) = ([0.0; 15], [0.0; 15]);
    let mut labelled = 0;
    for (i, event) in events.iter().enumerate() {
        while events[labelled].at.plus(days(7)) <= event.at {
            let outcome = online.label(&events[labelled], events[labelled].fraud);
            assert_eq!(outcome, LabelOutcome::Applied);
            labelled += 1;
        }
        online.observe(event, &mut live).unwrap();
        batch.copy_row(i, &mut row);
        assert_eq!(bits(&live), bits(&row), "{event:?}");
    }
    let risk = plan.schema().position("terminal_risk_30d").unwrap();
    assert!(batch.column(risk).iter().any(|&risk| risk > 0.0));
}

fn plain_set() -> FeatureSet {
    FeatureSet::builder("plain")
        .entity("card", |c| c.windows([days(1)]).count("n"))
        .entity("shop", |s| s.windows([days(1)]).delay(days(1)).rate("risk", "bad"))
        .build()
        .unwrap()
}

fn payment(id: u64, second: i64) -> Payment {
    Payment { id, second, card: 1, shop: 1, cents: 0, bad: None, known_after: None }
}

#[test]
fn time_that_goes_backwards_is_refused_and_nothing_is_remembered() {
    let online = plain_set().bind(&payments()).unwrap().online(OnlineConfig::default()).unwrap();
    let mut row = [0.0; 2];
    online.observe(&payment(5, 100), &mut row).unwrap();
    assert_eq!(online.observe(&payment(5, 100), &mut row).unwrap(), Observed::Duplicate);
    for late in [payment(4, 100), payment(9, 99)] {
        let error = online.observe(&late, &mut row).unwrap_err();
        assert!(matches!(error, Error::TimeBackwards { .. }), "{error}");
    }
    // A new card at an old shop: the shop refuses, so the card must not remember either.
    let mixed = Payment { card: 2, ..payment(6, 50) };
    assert!(online.observe(&mixed, &mut row).is_err());
    online.observe(&Payment { shop: 7, ..mixed }, &mut row).unwrap();
    assert_eq!(row[0], 0.0);
    online.observe(&payment(u64::MAX, 100), &mut row).unwrap();
    assert_eq!(row[0], 1.0);
}

#[test]
fn labels_tell_what_became_of_them() {
    let online = plain_set().bind(&payments()).unwrap().online(OnlineConfig::default()).unwrap();
    let mut row = [0.0; 2];
    let day = 86_400;
    assert_eq!(online.label(&payment(1, 0), true), LabelOutcome::Unknown);
    online.observe(&payment(1, 0), &mut row).unwrap();
    assert_eq!(online.label(&payment(1, 0), false), LabelOutcome::Applied);
    online.observe(&payment(2, day + day / 2), &mut row).unwrap();
    assert_eq!(row[1], 0.0);
    // Changed after a reading that should have seen it: applied from here on, and told.
    assert_eq!(online.label(&payment(1, 0), true), LabelOutcome::Late);
    online.observe(&payment(3, day + day / 2), &mut row).unwrap();
    assert_eq!(row[1], 1.0);
    online.observe(&payment(4, 9 * day), &mut row).unwrap();
    assert_eq!(online.label(&payment(1, 0), true), LabelOutcome::Unknown); // no window sees it any more
}

#[test]
fn two_events_of_one_order_are_refused_in_batch() {
    let plan = plain_set().bind(&payments()).unwrap();
    let error = plan.compute(&[payment(1, 5), payment(2, 5), payment(1, 5)]).unwrap_err();
    assert!(error.to_string().contains("id 1"), "{error}");
    assert_eq!(plan.compute(&[]).unwrap().n_rows(), 0);
}

#[test]
fn a_field_that_is_not_there_or_cannot_be_used_is_an_error_at_binding() {
    let bind = |entity: &str, aggregate| {
        let (width, current) = (Width::Last(days(1)), Current::Exclude);
        let window = Window { width, delay: days(1), current };
        let error = set(vec![windowed("f", source(entity), window, aggregate)]).bind(&payments());
        error.unwrap_err().to_string()
    };
    assert!(bind("device", Aggregate::Count).contains("no entity device"));
    let number = "sun".to_owned();
    assert!(bind("card", Aggregate::Sum { field: number }).contains("not a money field"));
    let rate = Aggregate::Rate { label: "x".into(), labels: Labels::FixedDelay };
    assert!(bind("card", rate).contains("not the event's label"));
    let label = FeatureSet::builder("l").field("bad").build().unwrap().bind(&payments());
    assert!(matches!(label, Err(Error::Leak { .. })), "{label:?}");
    let unknown = FeatureSet::builder("u").field("colour").build().unwrap().bind(&payments());
    assert!(unknown.unwrap_err().to_string().contains("no money or number colour"));
}

#[test]
fn an_event_that_is_too_late_is_dropped_by_all_its_entities_where_that_is_wanted() {
    let too_late = TooLate::Drop;
    let config = OnlineConfig { too_late, ..OnlineConfig::default() };
    let online = plain_set().bind(&payments()).unwrap().online(config).unwrap();
    let mut row = [0.0; 2];
    online.observe(&payment(5, 100), &mut row).unwrap();
    let late = Payment { card: 2, ..payment(6, 50) }; // a new card at a shop that is further on
    assert_eq!(online.observe(&late, &mut row).unwrap(), Observed::Dropped);
    assert_eq!(online.too_late(), 1);
    online.observe(&Payment { card: 2, ..payment(7, 101) }, &mut row).unwrap();
    assert_eq!(row[0], 0.0);
}

/// Applied, an event that is too late counts as if it had come in time, for all that come after it.
#[test]
fn an_event_that_is_too_late_counts_from_then_on_where_that_is_wanted() {
    let set = FeatureSet::builder("late")
        .entity("card", |c| {
            let hour = Width::Sawtooth { width: seconds(3600), hop: seconds(600) };
            let (max, users) = (
                Aggregate::Max { field: "amount".into() },
                Aggregate::ApproximateDistinct { of: "shop".into() },
            );
            let c = c.lifetime().window(hour).sum("sum", "amount");
            c.aggregate("max", max)
                .aggregate("first", Aggregate::SinceFirst)
                .aggregate("shops", users)
        })
        .entity("card", |c| {
            let hour = Width::Capped { width: seconds(3600), cap: 1, hop: seconds(600) };
            let oldest = Aggregate::SinceFirst;
            c.window(hour).count("capped").aggregate("oldest", oldest)
        })
        .entity("card", |c| c.windows([days(1), seconds(60)]).count("n").distinct("exact", "shop"))
        .build()
        .unwrap();
    let plan = set.bind(&payments()).unwrap();
    let config = OnlineConfig {
        too_late: TooLate::Apply,
        max_lateness: seconds(30),
        ..OnlineConfig::default()
    };
    let online = plan.online(config).unwrap();
    let mut row = vec![0.0; set.features().len()];
    let event =
        |id: u64, second, shop| Payment { shop, cents: 100 * second, ..payment(id, second) };
    let events: Vec<Payment> = [
        (1, 4000, 1),
        (2, 4100, 2),
        (3, 9000, 3),
        (4, 5000, 4),
        (5, 8990, 1),
        (6, 8950, 6),
        (7, 30, 7),
        (8, 9010, 2),
        (9, 9020, 9),
        (10, 14_000, 3),
        (11, 12_700, 5),
        (12, 14_001, 1),
    ]
    .map(|(id, second, shop)| event(id, second, shop))
    .into();
    let mut latest = 0;
    for (n, event) in events.iter().enumerate() {
        let observed = online.observe(event, &mut row).unwrap();
        let too_late = event.second < latest - 30;
        assert_eq!(observed, if too_late { Observed::Applied } else { Observed::New }, "{event:?}");
        latest = latest.max(event.second);
        if !too_late {
            let batch = plan.compute(&events[..=n]).unwrap();
            let mut expected = row.clone();
            batch.copy_row(n, &mut expected);
            assert_eq!(bits(&row), bits(&expected), "{event:?}");
        }
    }
    assert_eq!(online.too_late(), 4);
}

/// A busy entity costs what its tiles cost: nothing that grows with its events.
#[test]
fn a_window_that_folds_keeps_no_events_however_busy_the_entity_is() {
    let set = FeatureSet::builder("busy")
        .entity("card", |c| {
            let day = Width::Sawtooth { width: days(1), hop: seconds(3600) };
            let shops = Aggregate::ApproximateDistinct { of: "shop".into() };
            let median = Aggregate::ApproximateQuantile { field: "amount".into(), q: 0.5 };
            let c = c.window(day).lifetime().count("n").mean("mean", "amount");
            c.aggregate("shops", shops).aggregate("median", median)
        })
        .build()
        .unwrap();
    let plan = set.bind(&payments()).unwrap();
    let event = |id: u64| Payment {
        shop: id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 51,
        cents: 1 + (id as i64 * 7919) % 100_003,
        ..payment(id, id as i64 * 25)
    };
    let events: Vec<Payment> = (0..9000).map(event).collect();
    let (batch, online) =
        (plan.compute(&events).unwrap(), plan.online(OnlineConfig::default()).unwrap());
    let (mut row, mut expected) = ([0.0; 8], [0.0; 8]);
    let mut size = [0; 2];
    for (i, event) in events.iter().enumerate() {
        online.observe(event, &mut row).unwrap();
        batch.copy_row(i, &mut expected);
        assert_eq!(bits(&row), bits(&expected), "row {i}");
        if [4500, 8999].contains(&i) {
            size[i / 8999] = online.snapshot().len();
        }
    }
    // Exact answers, from the last event's window: (8999 · 25 − 86 400) down to the full hour.
    let start = (8999 * 25 - 86_400) / 3600 * 3600;
    let seen: Vec<&Payment> = events[..8999].iter().filter(|e| e.second > start).collect();
    let shops = seen.iter().map(|e| e.shop).collect::<BTreeSet<u64>>().len() as f64;
    let mut cents: Vec<i64> = seen.iter().map(|e| e.cents).collect();
    cents.sort_unstable();
    let median = cents[(cents.len() - 1) / 2] as f64 / 100.0;
    assert_eq!(row[0], seen.len() as f64);
    assert!(shops > 2000.0 && (row[2] / shops - 1.0).abs() < 4.5 * 0.01625, "{} {shops}", row[2]);
    assert!((row[3] / median - 1.0).abs() <= 1.0 / 128.0, "{} {median}", row[3]);
    // Twice the events, the same state but for buckets that were empty before.
    assert!(size[1] < size[0] * 11 / 10, "{size:?}");
}

fn one_a_second(n: u64) -> Vec<Payment> {
    let event =
        |id: u64| Payment { cents: 1 + (id as i64 * 7919) % 100_003, ..payment(id, id as i64) };
    (0..n).map(event).collect()
}

/// By hand: ten seconds of one payment a second hold nine before the one that asks, or ten with it.
#[test]
fn a_capped_window_is_exact_while_it_has_room_and_about_as_long_beyond() {
    let of = |cap, current| {
        let capped = Width::Capped { width: seconds(10), cap, hop: seconds(4) };
        let set = FeatureSet::builder("capped").entity("card", |c| {
            let c = c.window(capped).current(current).count("n").sum("sum", "amount");
            c.aggregate("first", Aggregate::SinceFirst)
        });
        let set = set.build().unwrap();
        let named = ["n", "sum", "first"].map(|name| format!("{name}_10s_cap_{cap}"));
        assert_eq!(set.schema().names(), named);
        let plan = set.bind(&payments()).unwrap();
        let mut events: Vec<Payment> = (0..30).map(|id| payment(id, id as i64)).collect();
        events.iter_mut().for_each(|event| event.cents = 100);
        events.push(payment(30, 38));
        let report = feature_parity(&plan, &events).unwrap();
        assert!(report.differences.is_empty(), "{report}");
        let frame = plan.compute(&events).unwrap();
        [20, 21, 22, 30].map(|row| [0, 1, 2].map(|column| frame.column(column)[row]))
    };
    // At second 20 the window begins at 10, as a sawtooth at 8; at 21 at 11 or 8, at 22 at 12 or 12, and at 38 at 28 or 28.
    let alone = [1.0, 1.0, 9.0];
    let exact = [[9.0, 9.0, 9.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0], alone];
    assert_eq!(of(9, Current::Exclude), exact);
    assert_eq!(of(8, Current::Exclude), [[11.0, 11.0, 11.0], [12.0, 12.0, 12.0], exact[2], alone]);
    let include = of(10, Current::Include);
    assert_eq!(include[..3], [[10.0, 10.0, 9.0]; 3]);
    assert_eq!(of(9, Current::Include)[1], [13.0, 13.0, 12.0]);
}

/// The bound of its documentation: `cap + 2` events and `width / hop + 2` tiles, however many events there are.
#[test]
fn a_capped_window_keeps_a_bounded_number_of_events_and_tiles() {
    let (cap, width, hop) = (50, 3600, 600);
    let set = FeatureSet::builder("busy").entity("card", |c| {
        let capped = Width::Capped { width: seconds(width), cap, hop: seconds(hop) };
        c.window(capped).count("n").mean("mean", "amount")
    });
    let plan = set.build().unwrap().bind(&payments()).unwrap();
    let events = one_a_second(100_000);
    let (batch, mut row) = (plan.compute(&events).unwrap(), [0.0; 2]);
    for lateness in [0, 20] {
        // The one that asks is kept until it comes into view, and what is no older than an event may be late.
        let most = cap + 1 + if lateness > 0 { lateness + 1 } else { 1 };
        let config = OnlineConfig {
            max_lateness: seconds(lateness),
            max_events_per_key: most,
            too_late: TooLate::Apply,
        };
        let online = plan.online(config).unwrap();
        let empty = online.snapshot().len() as u64;
        for (i, event) in events.iter().enumerate() {
            online.observe(event, &mut row).unwrap();
            let expected = [0, 1].map(|column| batch.column(column)[i]);
            assert_eq!(bits(&row), bits(&expected), "row {i}");
            if i % 997 == 0 {
                // Time, id and amount of an event; number, count and sum of a tile; the key and its windows.
                let bound = most * 24 + (width / hop + 2) * 32 + 300;
                assert!((online.snapshot().len() as u64) - empty <= bound, "row {i}");
            }
        }
        assert!(row[0] > 3600.0);
        // Others of the last hour, which come when newer ones are kept.
        for id in 100_000..100_100 {
            let late = payment(id, id as i64 - 3000);
            assert_eq!(online.observe(&late, &mut row).unwrap(), Observed::Applied);
        }
        assert_eq!(online.truncated(), 0, "more than {most} events were kept");
    }
    let config = OnlineConfig { max_events_per_key: cap, ..OnlineConfig::default() };
    let error = plan.online(config).unwrap_err().to_string();
    assert!(error.contains("at least 51"), "{error}");
}

/// It belongs into the tiles, and not among the events that the cap has let go of already.
#[test]
fn an_event_that_comes_late_behind_those_within_the_cap_stays_out_of_them() {
    let set = FeatureSet::builder("capped").entity("card", |c| {
        let capped = Width::Capped { width: seconds(10), cap: 1, hop: seconds(10) };
        c.window(capped).current(Current::Include).count("n").sum("sum", "amount")
    });
    let plan = set.build().unwrap().bind(&payments()).unwrap();
    let config = OnlineConfig { max_lateness: seconds(10), ..OnlineConfig::default() };
    let (online, mut row) = (plan.online(config).unwrap(), [0.0; 2]);
    let event = |second| Payment { cents: 100_i64 << second, ..payment(second, second as i64) };
    let events: Vec<Payment> = [1, 3, 4, 5, 2, 6, 30].map(event).into();
    let mut sums = Vec::new();
    for (i, event) in events.iter().enumerate() {
        online.observe(event, &mut row).unwrap();
        let batch = plan.compute(&events[..=i]).unwrap();
        assert_eq!(bits(&row), bits(&[0, 1].map(|column| batch.column(column)[i])), "{event:?}");
        sums.push(row[1]);
    }
    let all = (1 << 1) + (1 << 2) + (1 << 3) + (1 << 4) + (1 << 5) + (1 << 6);
    assert_eq!(sums[5..], [f64::from(all), f64::from(1 << 30)]);
}

/// A label that is taken back counts no more, neither among events nor in tiles.
#[test]
fn labels_reach_a_capped_window_whether_it_is_full_or_not() {
    let set = |cap| {
        let capped = Width::Capped { width: seconds(20), cap, hop: seconds(6) };
        let set = FeatureSet::builder("capped")
            .entity("shop", |s| s.window(capped).delay(seconds(5)).rate("risk", "bad"));
        set.build().unwrap().bind(&payments()).unwrap()
    };
    let mut events = one_a_second(60);
    for event in &mut events {
        event.bad = Some(event.id % 3 == 0 && event.id % 2 == 0);
    }
    for (cap, full) in [(3, true), (20, false)] {
        let plan = set(cap);
        let online = plan.online(OnlineConfig::default()).unwrap();
        let batch = plan.compute(&events).unwrap();
        let mut row = [0.0];
        for (i, event) in events.iter().enumerate() {
            online.observe(event, &mut row).unwrap();
            assert_eq!(row[0].to_bits(), batch.column(0)[i].to_bits(), "row {i} of cap {cap}");
            assert_eq!(online.label(event, event.id % 3 == 0), LabelOutcome::Applied);
            if i > 1 {
                // Two seconds on, half of the bad ones turn out to be good.
                let taken_back = &events[i - 2];
                assert_eq!(
                    online.label(taken_back, taken_back.bad.unwrap()),
                    LabelOutcome::Applied
                );
            }
        }
        // Up to second 54, from 35 or from 31 on: bad are 36, 42, 48 and 54.
        assert_eq!(row[0], 4.0 / if full { 24.0 } else { 20.0 });
    }
}

/// What has left its windows is forgotten, so a moment before it cannot be told, and must not be told wrongly.
#[test]
fn a_question_about_a_forgotten_past_is_refused() {
    let set = FeatureSet::builder("past")
        .entity("card", |c| c.windows([seconds(100)]).count("n"))
        .build()
        .unwrap();
    let online = set.bind(&payments()).unwrap().online(OnlineConfig::default()).unwrap();
    let mut row = [0.0];
    for second in [0, 50, 120] {
        online.observe(&payment(second as u64, second), &mut row).unwrap();
    }
    let mut ask = |second| {
        online.vector(&[("card", EntityKey(1))], Timestamp::from_seconds(second), &mut row)?;
        Ok::<f64, Error>(row[0])
    };
    assert_eq!(ask(120).unwrap(), 2.0);
    assert_eq!(ask(110).unwrap(), 1.0); // the event of second 0 would have left by then
    assert!(matches!(ask(99), Err(Error::TimeBackwards { .. })));
}

#[test]
fn a_key_keeps_no_more_events_than_it_may() {
    let config = OnlineConfig { max_events_per_key: 10, ..OnlineConfig::default() };
    let set = FeatureSet::builder("cap")
        .entity("card", |c| {
            let amount = || "amount".to_owned();
            c.windows([days(1)])
                .lifetime()
                .count("n")
                .sum("sum", "amount")
                .aggregate("max", Aggregate::Max { field: amount() })
        })
        .build()
        .unwrap();
    let online = set.bind(&payments()).unwrap().online(config).unwrap();
    let mut row = [0.0; 6];
    for second in 0..100 {
        let event = Payment { cents: 100 * (100 - second), ..payment(second as u64, second) };
        online.observe(&event, &mut row).unwrap();
    }
    // The day sees the last ten before this one, a lifetime sees all 99.
    assert_eq!(row, [10.0, 65.0, 11.0, 99.0, 5049.0, 100.0]);
    assert_eq!(online.truncated(), 90);
}

#[test]
fn idle_keys_go_and_the_others_stay() {
    let online = plain_set().bind(&payments()).unwrap().online(OnlineConfig::default()).unwrap();
    let mut row = [0.0; 2];
    online.observe(&payment(1, 0), &mut row).unwrap();
    online.observe(&Payment { card: 2, shop: 2, ..payment(2, 86_400) }, &mut row).unwrap();
    assert_eq!(online.n_keys(), 4);
    // A day after the first event no card window sees it, but the shop's window looks a day further back.
    assert_eq!(online.maintain(Timestamp::from_seconds(86_400)), 1);
    assert_eq!(online.maintain(Timestamp::from_seconds(2 * 86_400)), 2);
    assert_eq!(online.maintain(Timestamp::from_seconds(3 * 86_400)), 1);
    assert_eq!(online.n_keys(), 0);
}

#[test]
fn a_damaged_snapshot_or_one_of_another_definition_is_refused() {
    let plan = plain_set().bind(&payments()).unwrap();
    let online = plan.online(OnlineConfig::default()).unwrap();
    let mut row = [0.0; 2];
    online.observe(&payment(1, 0), &mut row).unwrap();
    let bytes = online.snapshot();
    for end in 0..bytes.len() {
        assert!(online.restore(&bytes[..end]).is_err());
    }
    for byte in 0..bytes.len() {
        let mut damaged = bytes.clone();
        damaged[byte] ^= 1;
        assert!(matches!(online.restore(&damaged), Err(Error::Corrupt { .. })));
    }
    let other = handbook::features().bind(&handbook::events()).unwrap();
    let other = other.online(OnlineConfig::default()).unwrap();
    assert!(other.restore(&bytes).unwrap_err().is_conflict());
    online.restore(&bytes).unwrap();
}

/// A chargeback that is reversed: known as bad from its arrival to its reversal.
#[test]
fn labels_count_from_arrival_to_retraction_in_batch_and_online() {
    let labels = Labels::AsArrived { mature_after: Duration::ZERO };
    let set = FeatureSet::builder("chargebacks")
        .entity("card", |c| {
            let rate = Aggregate::Rate { label: "bad".into(), labels };
            let cards = Aggregate::DistinctBad { of: "shop".into(), label: "bad".into(), labels };
            c.windows([days(1)]).aggregate("rate", rate).aggregate("shops", cards)
        })
        .build()
        .unwrap();
    let plan = set.bind(&payments()).unwrap();
    let events: Vec<Payment> = (0..5).map(|i| payment(i, 10 * i as i64)).collect();
    let arrival = |second, bad| LabelArrival { row: 0, at: Timestamp::from_seconds(second), bad };
    let arrivals = [arrival(5, true), arrival(25, false)];
    let batch = plan.compute_with_labels(&events, &arrivals).unwrap();
    let rate = batch.column(0);
    assert!(rate[0].is_nan());
    assert_eq!(rate[1..], [1.0, 1.0, 0.0, 0.0]);
    assert_eq!(batch.column(1), [0.0, 1.0, 1.0, 0.0, 0.0]);
    let online = plan.online(OnlineConfig::default()).unwrap();
    let mut row = [0.0; 2];
    for (i, event) in events.iter().enumerate() {
        if i == 1 {
            assert_eq!(online.label(&events[0], true), LabelOutcome::Applied);
        }
        if i == 3 {
            assert_eq!(online.label(&events[0], false), LabelOutcome::Applied);
        }
        online.observe(event, &mut row).unwrap();
        assert_eq!(bits(&row), bits(&[rate[i], batch.column(1)[i]]));
    }
}

/// By hand, so that the oracle has one too: a card's seven payments.
#[test]
fn aggregates_have_the_values_that_their_names_say() {
    let amounts = [10, 20, 20, 40, 10, 90, 30];
    let day = 86_400;
    let at = [0, 1, day, day + 5, day + 6, 3 * day, 3 * day + 9];
    let event = |i: usize| Payment {
        cents: 100 * amounts[i],
        shop: [1, 2, 1, 1, 2, 3, 1][i],
        ..payment(i as u64, at[i])
    };
    let events: Vec<Payment> = (0..7).map(event).collect();
    let last = |aggregate: Aggregate| {
        let (width, current) = (Width::Last(days(30)), Current::Exclude);
        let window = Window { width, delay: Duration::ZERO, current };
        let feature = windowed("f", source("card"), window, aggregate);
        let frame = set(vec![feature]).bind(&payments()).unwrap().compute(&events).unwrap();
        frame.column(2)[6]
    };
    let (field, of) = (|| "amount".to_owned(), || "shop".to_owned());
    assert_eq!(last(Aggregate::Min { field: field() }), 10.0);
    assert_eq!(last(Aggregate::Max { field: field() }), 90.0);
    // numpy.std([10, 20, 20, 40, 10, 90], ddof=1), numpy.quantile(…, 0.9)
    let std = last(Aggregate::StandardDeviation { field: field() });
    assert!((std - 30.605_010_483_034_744).abs() < 1e-12, "{std}");
    assert_eq!(last(Aggregate::Quantile { field: field(), q: 0.9 }), 65.0);
    assert_eq!(last(Aggregate::First { field: field() }), 10.0);
    assert_eq!(last(Aggregate::Last { field: field() }), 90.0);
    assert_eq!(last(Aggregate::SinceFirst), 3.0 * 86_400.0 + 9.0);
    assert_eq!(last(Aggregate::SinceLast), 9.0);
    assert_eq!(last(Aggregate::Distinct { of: of() }), 3.0);
    assert_eq!(last(Aggregate::PerActiveDay { zone: Zone::Offset(0) }), 2.0);
    // Shops by day: {1, 2}, {1, 2}, {3}
    let per_day = Aggregate::DistinctPerActiveDay { of: of(), zone: Zone::Offset(0) };
    assert_eq!(last(per_day), 5.0 / 3.0);
    assert_eq!(last(Aggregate::TopShare { of: of(), k: 1 }), 0.5);
    // scipy.stats.entropy([3, 2, 1])
    let entropy = last(Aggregate::Entropy { of: of() });
    assert!((entropy - 1.011_404_264_707_351_7).abs() < 1e-15, "{entropy}");
    assert_eq!(last(Aggregate::CountSame { of: of() }), 3.0);
    assert_eq!(last(Aggregate::ShareSame { of: of() }), 0.5);
    // The last day's one payment of 90, against the 0.5 quantile of what was before: 20.
    let above = |width| {
        let aggregate = Aggregate::ShareAbove { field: field(), q: 0.5, baseline: days(30) };
        let window = Window { width, delay: Duration::ZERO, current: Current::Exclude };
        let feature = windowed("f", source("card"), window, aggregate);
        let frame = set(vec![feature]).bind(&payments()).unwrap().compute(&events).unwrap();
        frame.column(2)[6]
    };
    assert_eq!(above(Width::Last(days(1))), 1.0);
    assert_eq!(above(Width::Last(days(30))), -1.0); // nothing before
}

/// A spine at the very moment and behind every event is what the event after it, which no window sees, would get.
#[test]
fn an_entity_may_be_made_of_several() {
    let pair = |p: &Payment| EntityKey::from([EntityKey(p.card), EntityKey(p.shop)]);
    let events = EventSchema::builder()
        .id(|p: &Payment| p.id)
        .time(|p| Timestamp::from_seconds(p.second))
        .entity("card at shop", pair);
    let set =
        FeatureSet::builder("pairs").entity("card at shop", |pair| pair.lifetime().count("n"));
    let plan = set.build().unwrap().bind(&events.build().unwrap()).unwrap();
    let rows: Vec<Payment> = (0..200)
        .map(|i| Payment {
            id: i,
            second: i as i64,
            card: i * 7 % 5,
            shop: i * 11 % 4,
            cents: 0,
            bad: None,
            known_after: None,
        })
        .collect();
    let frame = plan.compute(&rows).unwrap();
    for (i, row) in rows.iter().enumerate() {
        let before = rows[..i].iter().filter(|r| (r.card, r.shop) == (row.card, row.shop));
        assert_eq!(frame.column(0)[i], before.count() as f64);
    }
}

#[test]
fn points_without_events_see_history_as_it_stood() {
    let set = FeatureSet::builder("spine")
        .field("amount")
        .weekend("weekend", 0)
        .entity("card", |c| c.windows([days(1)]).count("n").sum("sum", "amount"))
        .entity("shop", |s| s.windows([days(30)]).delay(days(7)).rate("risk", "bad"))
        .build()
        .unwrap();
    let plan = set.bind(&payments()).unwrap();
    let event = |id: u64, second| Payment { cents: 250, bad: Some(true), ..payment(id, second) };
    let events = [event(1, 100), event(0, 0), event(2, 200)];
    let point = |second, card| SpinePoint {
        at: Timestamp::from_seconds(second),
        keys: vec![EntityKey(card)],
    };
    let points = [point(200, 1), point(-1, 1), point(100, 1), point(150, 9), point(99, 1)];
    let frame = plan.compute_at(&events, &["card"], &points).unwrap();
    let column = |name: &str| frame.column(frame.schema().position(name).unwrap()).to_vec();
    assert_eq!(column("n_1d"), [3.0, 0.0, 2.0, 0.0, 1.0]);
    assert_eq!(column("sum_1d"), [7.5, 0.0, 5.0, 0.0, 2.5]);
    assert!(column("amount").iter().chain(&column("risk_30d")).all(|value| value.is_nan()));
    assert_eq!(column("weekend"), [0.0; 5]);
    let shop =
        |second| SpinePoint { at: Timestamp::from_seconds(second), keys: vec![EntityKey(1)] };
    let week = 7 * 86_400;
    let risk = plan.compute_at(&events, &["shop"], &[shop(week - 1), shop(week)]).unwrap();
    assert!(risk.column(4)[0].is_nan());
    assert_eq!(risk.column(4)[1], 1.0);
    assert!(plan.compute_at(&events, &["device"], &[]).unwrap_err().is_not_found());
    assert!(plan.compute_at(&events, &["card", "shop"], &points).is_err());
    assert_eq!(plan.compute_at(&events, &["card"], &[]).unwrap().n_rows(), 0);
}

#[test]
fn expressions_are_the_same_in_batch_and_online() {
    let pace =
        Expression::feature("n_1d") / (Expression::feature("n_7d") / Expression::number(7.0));
    let set = FeatureSet::builder("pace")
        .entity("card", |c| c.windows([days(1), days(7)]).count("n"))
        .expression("pace", pace.or(0.0))
        .expression("unusual", Expression::feature("pace").above(Expression::number(3.0)))
        .expression("above_usual", Expression::field("amount").max(Expression::number(5.0)))
        .build()
        .unwrap();
    assert!(matches!(
        &set.features()[2].definition,
        Definition::Expression(Expression::Binary(Operation::Or, ..))
    ));
    let plan = set.bind(&payments()).unwrap();
    let events: Vec<Payment> = (0..9).map(|i| payment(i, 40_000 * i as i64)).collect();
    let report = feature_parity(&plan, &events).unwrap();
    assert!(report.differences.is_empty(), "{report}");
    let frame = plan.compute(&events).unwrap();
    assert_eq!(frame.column(2)[..3], [0.0, 7.0, 7.0]);
    assert_eq!(frame.column(3)[8], 0.0);
    assert_eq!(frame.column(4)[0], 5.0);
}

#[test]
fn a_definition_survives_json_and_refuses_what_the_builder_refuses() {
    let set = handbook::features();
    let json = serde_json::to_string(&set).unwrap();
    let again: FeatureSet = serde_json::from_str(&json).unwrap();
    assert_eq!(again.fingerprint(), set.fingerprint());
    let leak = json.replace(r#""delay":{"secs":604800"#, r#""delay":{"secs":0"#);
    assert!(serde_json::from_str::<FeatureSet>(&leak).unwrap_err().to_string().contains("leaks"));
}

#[test]
fn threads_observe_different_keys_at_once_and_lose_nothing() {
    let plan = handbook::features().bind(&handbook::events()).unwrap();
    let online = plan.online(OnlineConfig::default()).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..4u32 {
            let online = &online;
            scope.spawn(move || {
                let mut row = [0.0; 15];
                for i in 0..2000u64 {
                    let key = thread * 1000 + (i % 50) as u32;
                    let at = handbook::START.plus(Duration::from_secs(i));
                    let event = Transaction {
                        id: i,
                        at,
                        customer: key,
                        terminal: key,
                        cents: 100,
                        fraud: false,
                    };
                    online.observe(&event, &mut row).unwrap();
                    assert_eq!(row[7], (i / 50 + 1) as f64);
                }
            });
        }
    });
    assert_eq!(online.n_keys(), 4 * 50 * 2);
}

#[derive(Debug, Clone)]
struct Login {
    id: u64,
    second: i64,
    user: u64,
    device: u64,
    session: u64,
    cents: i64,
    fraud: bool,
}

/// The catalogue by plain loops over everything that came before, written without the engine's words.
#[test]
fn the_catalogue_equals_a_brute_force_computation() {
    let schema = EventSchema::builder()
        .id(|l: &Login| l.id)
        .time(|l| Timestamp::from_seconds(l.second))
        .entity("user", |l| EntityKey(l.user))
        .entity("device", |l| EntityKey(l.device))
        .entity("session", |l| EntityKey(l.session))
        .money("amount", 2, |l| l.cents)
        .label("fraud", |l| Some(l.fraud))
        .build()
        .unwrap();
    let day = 86_400;
    // A fixed scramble: steps of up to eleven hours over half a year.
    let mut second = 0;
    let logins: Vec<Login> = (0..600u64)
        .map(|id| {
            let scramble = id.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 20;
            second += (scramble % 40_000) as i64;
            Login {
                id,
                second,
                user: scramble % 5,
                device: if id < 500 { scramble % 7 % 3 } else { 3 + id / 20 },
                session: scramble % 11,
                cents: (scramble % 9973) as i64,
                fraud: scramble % 13 == 0,
            }
        })
        .collect();
    let user = catalogue::user_behaviour("user", "amount", 0).unwrap();
    let device = catalogue::device_usage("device", "user", "session", "fraud", days(7), 0).unwrap();
    let [user, device] = [user, device].map(|set| {
        let plan = set.bind(&schema).unwrap();
        let report = feature_parity(&plan, &logins).unwrap();
        assert!(report.differences.is_empty(), "{report}");
        plan.compute(&logins).unwrap()
    });
    let value = |frame: &FeatureFrame, name: &str, row: usize| {
        frame.column(frame.schema().position(name).unwrap())[row]
    };
    let mut elsewhere = 0;
    for (row, now) in logins.iter().enumerate() {
        let own: Vec<&Login> = logins[..=row].iter().filter(|l| l.user == now.user).collect();
        let amounts: Vec<f64> = own.iter().map(|l| l.cents as f64 / 100.0).collect();
        let total = own.iter().map(|l| l.cents).sum::<i64>() as f64 / 100.0;
        let age_days = (now.second - own[0].second) as f64 / 86_400.0;
        let hour = |l: &Login| l.second / 3600 % 24;
        let night = own.iter().filter(|l| hour(l) >= 22 || hour(l) <= 6).count();
        let expected = [
            ("total_transactions", own.len() as f64),
            ("total_amount", total),
            ("avg_amount", total / own.len() as f64),
            ("max_amount", amounts.iter().copied().fold(f64::NEG_INFINITY, f64::max)),
            ("min_amount", amounts.iter().copied().fold(f64::INFINITY, f64::min)),
            ("account_age_days", age_days),
            ("transactions_per_day", own.len() as f64 / age_days.max(1.0)),
            ("late_night_transactions", night as f64),
        ];
        for (name, expected) in expected {
            let ours = value(&user, name, row);
            assert!((ours - expected).abs() < 1e-9, "{name} of row {row}: {ours}, {expected}");
        }
        // The last 7 days' amounts against the 0.9 quantile (type 7) of the 90 days before them.
        let within = |from: i64, to: i64| {
            let from_to = |l: &&&Login| l.second > now.second - from && l.second <= now.second - to;
            own.iter().filter(from_to).map(|l| l.cents).collect::<Vec<i64>>()
        };
        let (recent, mut before) = (within(7 * day, 0), within(97 * day, 7 * day));
        before.sort_unstable();
        let ratio = (!before.is_empty()).then(|| {
            let position = 0.9 * (before.len() - 1) as f64;
            let (low, high) = (before[position as usize], before[position.ceil() as usize]);
            let cut = low as f64 + position.fract() * (high - low) as f64;
            recent.iter().filter(|cents| **cents as f64 > cut).count() as f64 / recent.len() as f64
        });
        let ours = value(&user, "high_amount_ratio_7d", row);
        assert_eq!(ours.to_bits(), ratio.unwrap_or(f64::NAN).to_bits());

        let last = own.iter().rev().nth(1).map(|l| (now.second - l.second) as f64);
        let ours = value(&user, "seconds_since_last", row);
        assert_eq!(ours.to_bits(), last.unwrap_or(f64::NAN).to_bits());

        let own: Vec<&Login> = logins[..=row].iter().filter(|l| l.device == now.device).collect();
        let different = |values: Vec<u64>| values.into_iter().collect::<BTreeSet<u64>>().len();
        let users = different(own.iter().map(|l| l.user).collect());
        // Users of the device that have a fraud in the whole data set, as far as it was known.
        let known = logins.iter().filter(|l| l.fraud && l.second <= now.second - 7 * day);
        let fraud_users: BTreeSet<u64> = known.map(|l| l.user).collect();
        let linked = own.iter().map(|l| l.user).filter(|user| fraud_users.contains(user));
        let linked = different(linked.collect());
        elsewhere += usize::from(own.iter().all(|l| !l.fraud) && linked > 0);
        let days: BTreeSet<i64> = own.iter().map(|l| l.second / day).collect();
        let sessions = days.iter().map(|d| {
            different(own.iter().filter(|l| l.second / day == *d).map(|l| l.session).collect())
        });
        assert_eq!(value(&device, "associated_users", row), users as f64);
        assert_eq!(value(&device, "total_transactions", row), own.len() as f64);
        assert_eq!(value(&device, "linked_fraud_users", row), linked as f64);
        let sessions = sessions.sum::<usize>() as f64 / days.len() as f64;
        assert_eq!(value(&device, "avg_sessions_per_day", row), sessions);
        let age = (now.second - own[0].second) as f64 / 86_400.0;
        assert_eq!(value(&device, "device_age_days", row), age);
    }
    assert!(elsewhere > 10, "{elsewhere} rows of devices without a fraud of their own");
    let ratio = user.column(user.schema().position("high_amount_ratio_7d").unwrap());
    let known: Vec<f64> = ratio.iter().copied().filter(|ratio| !ratio.is_nan()).collect();
    assert!(known.len() > 400 && known.iter().any(|ratio| *ratio > 0.0), "{}", known.len());
}

/// Shops with a bad payment anywhere, by card; in the random streams above they are among the other aggregates.
fn ever_bad(label_delay: Option<Duration>) -> Aggregate {
    Aggregate::DistinctEverBad { of: "shop".into(), label: "bad".into(), label_delay }
}

fn linked_set(label_delay: Option<Duration>) -> FeatureSet {
    FeatureSet::builder("linked")
        .entity("card", |c| {
            let c = c.lifetime().windows([seconds(7)]).current(Current::Include);
            c.aggregate("linked", ever_bad(label_delay))
        })
        .build()
        .unwrap()
}

/// Card 1 meets shop 1 early; the shop turns bad later, at card 2.
#[test]
fn a_value_that_turns_bad_at_another_key_changes_later_rows_only() {
    let plan = linked_set(Some(seconds(10))).bind(&payments()).unwrap();
    let at = |id: u64, second, card, shop, bad| Payment {
        card,
        shop,
        bad: Some(bad),
        ..payment(id, second)
    };
    let events = [
        at(0, 0, 1, 1, false),
        at(1, 5, 2, 1, true),
        at(2, 14, 1, 3, false),
        at(3, 15, 1, 3, false),
        at(4, 20, 1, 3, false),
        at(5, 21, 3, 1, false),
    ];
    let frame = plan.compute(&events).unwrap();
    // The bad payment of second 5 is known from second 15 on; a lifetime still sees the shop, seven seconds do not.
    assert_eq!(frame.column(0), [0.0, 0.0, 0.0, 1.0, 1.0, 1.0]);
    assert_eq!(frame.column(1), [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
    let mut good = events.clone();
    good[1].bad = Some(false);
    assert_eq!(frame.column(0)[..3], plan.compute(&good).unwrap().column(0)[..3]);
}

#[test]
fn a_bad_event_that_is_taken_back_or_told_late_is_told_so() {
    let online = linked_set(Some(seconds(10))).bind(&payments()).unwrap();
    let online = online.online(OnlineConfig::default()).unwrap();
    let mut row = [0.0; 2];
    let mut observe = |id: u64, second| {
        online.observe(&payment(id, second), &mut row).unwrap();
        row[0]
    };
    assert_eq!(observe(1, 0), 0.0);
    assert_eq!(online.label(&payment(1, 0), true), LabelOutcome::Applied);
    assert_eq!(online.label(&payment(1, 0), true), LabelOutcome::Applied); // again
    assert_eq!(online.label(&payment(1, 0), false), LabelOutcome::Applied);
    assert_eq!(online.label(&payment(1, 0), true), LabelOutcome::Applied);
    assert_eq!(observe(2, 9), 0.0);
    assert_eq!(observe(3, 10), 1.0);
    // Another fraud changes nothing, the first one taken back leaves it, and it was read before it could be known.
    assert_eq!(online.label(&payment(2, 9), true), LabelOutcome::Applied);
    assert_eq!(online.label(&payment(1, 0), false), LabelOutcome::Late);
    assert_eq!(observe(4, 11), 0.0);
    assert_eq!(observe(5, 19), 1.0);
    assert_eq!(online.label(&payment(2, 9), false), LabelOutcome::Late);
    assert_eq!(observe(6, 20), 0.0);
}

/// Labels that come and are taken back: (event, seconds until it is told, bad).
fn verdicts() -> impl Strategy<Value = Vec<(usize, i64, bool)>> {
    prop::collection::vec((0usize..60, 0i64..15, any::<bool>()), 0..40)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, failure_persistence: None, ..ProptestConfig::default() })]

    /// With labels that count as they arrive, several for one event, by a plain loop over what was known.
    #[test]
    fn linked_values_follow_labels_that_arrive_and_are_taken_back(
        events in stream(), verdicts in verdicts(),
    ) {
        let plan = linked_set(None).bind(&payments()).unwrap();
        let mut arrivals: Vec<LabelArrival> = verdicts.iter().map(|&(row, wait, bad)| {
            let row = row % events.len();
            LabelArrival { row, at: Timestamp::from_seconds(events[row].second + wait), bad }
        }).collect();
        arrivals.sort_by_key(|arrival| (arrival.at, arrival.row));
        let batch = plan.compute_with_labels(&events, &arrivals).unwrap();
        let online = plan.online(OnlineConfig::default()).unwrap();
        let (mut told, mut live, mut row) = (vec![false; arrivals.len()], [0.0; 2], [0.0; 2]);
        for (i, event) in events.iter().enumerate() {
            let known = |a: &LabelArrival| a.at <= Timestamp::from_seconds(event.second) && a.row < i;
            for (arrival, told) in arrivals.iter().zip(&mut told) {
                if known(arrival) && !*told {
                    *told = true;
                    prop_assert_eq!(online.label(&events[arrival.row], arrival.bad), LabelOutcome::Applied);
                }
            }
            online.observe(event, &mut live).unwrap();
            batch.copy_row(i, &mut row);
            prop_assert_eq!(bits(&live), bits(&row));
            let is_bad = |j: usize| {
                arrivals.iter().rfind(|a| a.row == j && known(a)).is_some_and(|a| a.bad)
            };
            let bad: BTreeSet<u64> = (0..i).filter(|j| is_bad(*j)).map(|j| events[j].shop).collect();
            let linked = |after: i64| {
                let of_card = events[..=i].iter().filter(|e| e.card == event.card && e.second > after);
                let shops: BTreeSet<u64> = of_card.map(|e| e.shop).filter(|shop| bad.contains(shop)).collect();
                shops.len() as f64
            };
            prop_assert_eq!(row, [linked(i64::MIN), linked(event.second - 7)]);
        }
    }

    /// Late events, late labels and labels taken back: each vector is batch's over what is known by then, before a
    /// snapshot and after, for an event and for a question.
    #[test]
    fn linked_values_are_those_of_what_is_known_by_now(
        events in stream(),
        delays in prop::collection::vec(0i64..4, 60),
        verdicts in verdicts(),
        cut in 0usize..60,
    ) {
        let plan = linked_set(Some(seconds(5))).bind(&payments()).unwrap();
        let config = OnlineConfig { max_lateness: seconds(4), ..OnlineConfig::default() };
        let (mut online, restored) = (plan.online(config).unwrap(), plan.online(config).unwrap());
        let mut arriving: Vec<(i64, &Payment)> =
            events.iter().zip(&delays).map(|(e, delay)| (e.second + delay, e)).collect();
        arriving.sort_by_key(|(at, _)| *at);
        let mut restored = Some(restored);
        let (mut known, mut row, mut expected) = (Vec::<Payment>::new(), [0.0; 2], [0.0; 2]);
        for (n, (_, event)) in arriving.iter().enumerate() {
            known.push(Payment { bad: None, ..(*event).clone() });
            online.observe(event, &mut row).unwrap();
            plan.compute(&known).unwrap().copy_row(n, &mut expected);
            prop_assert_eq!(bits(&row), bits(&expected), "{:?}", event);
            for &(of, _, bad) in verdicts.iter().filter(|(_, wait, _)| *wait as usize == n % 15) {
                let of = of % known.len();
                known[of].bad = Some(bad);
                online.label(&known[of], bad);
            }
            if n == cut % events.len() && let Some(fresh) = restored.take() {
                let bytes = online.snapshot();
                fresh.restore(&bytes).unwrap();
                prop_assert_eq!(fresh.snapshot(), bytes);
                online = fresh;
            }
            let latest = arriving[..=n].iter().map(|(_, e)| e.second).max().unwrap();
            let point = SpinePoint { at: Timestamp::from_seconds(latest + n as i64 % 7), keys: vec![EntityKey(event.card)] };
            online.vector(&[("card", point.keys[0])], point.at, &mut row).unwrap();
            plan.compute_at(&known, &["card"], &[point]).unwrap().copy_row(0, &mut expected);
            prop_assert_eq!(bits(&row), bits(&expected));
        }
    }
}

#[test]
fn linked_values_are_those_of_an_entity_and_of_the_label() {
    let bind = |of: &str, label: &str| {
        let (of, label) = (of.to_owned(), label.to_owned());
        let aggregate = Aggregate::DistinctEverBad { of, label, label_delay: None };
        let set =
            FeatureSet::builder("t").entity("card", |c| c.lifetime().aggregate("f", aggregate));
        set.build().unwrap().bind(&payments()).map(drop).unwrap_err().to_string()
    };
    assert!(bind("amount", "bad").contains("no entity amount"));
    assert!(bind("shop", "amount").contains("not the event's label"));
}

/// Around the nights on which Berlin's clock is put forward and back, days of 23 and of 25 hours.
#[cfg(feature = "tz")]
#[test]
fn days_and_hours_follow_the_zone_over_daylight_saving() {
    let zone = || Zone::from("Europe/Berlin");
    let per_day = Aggregate::DistinctPerActiveDay { of: "shop".into(), zone: zone() };
    let set = FeatureSet::builder("berlin")
        .hour_of_day_in("small_hours", 2..=2, "Europe/Berlin")
        .weekend("weekend", "Europe/Berlin")
        .entity("card", |c| {
            let c = c.window(Width::CalendarDays { days: 1, zone: zone() });
            c.current(Current::Include).count("today").aggregate("shops", per_day)
        })
        .entity("card", |c| {
            c.windows([days(30)])
                .only(Condition::HourOfDayIn { from: 22, to: 6, zone: zone() })
                .count("nights")
        })
        .build()
        .unwrap();
    let plan = set.bind(&payments()).unwrap();
    // Every half hour, an hour on either side of the two days, local time.
    let around = |month, day, hours: i64| {
        let start = Timestamp::from_date(2024, month, day).micros() / 1_000_000 - 3600;
        (0..2 * hours + 4).map(move |i| start - 3600 + 1800 * i).collect::<Vec<i64>>()
    };
    let (spring, autumn) = (around(3, 31, 23), around(10, 27, 25));
    let autumn: Vec<i64> = autumn.into_iter().map(|second| second - 3600).collect(); // CEST
    for (seconds, hours, ambiguous) in [(spring, 23, 0.0), (autumn, 25, 4.0)] {
        let event = |(id, second): (u64, &i64)| Payment { shop: id % 5, ..payment(id, *second) };
        let events: Vec<Payment> = (0..).zip(&seconds).map(event).collect();
        let report = feature_parity(&plan, &events).unwrap();
        assert!(report.differences.is_empty(), "{report}");
        let frame = plan.compute(&events).unwrap();
        // Two before midnight, then the whole day, then the next one.
        let today = frame.column(2);
        assert_eq!(today[..3], [1.0, 2.0, 1.0]);
        let last = 2 + 2 * hours;
        assert_eq!(today[last - 1..last + 1], [2.0 * hours as f64, 1.0]);
        // Two o'clock does not come in spring and comes twice in autumn.
        assert_eq!(frame.column(0).iter().sum::<f64>(), ambiguous);
        assert_eq!(frame.column(1).iter().sum::<f64>(), last as f64); // Saturday's end and Sunday
    }
    let unknown = FeatureSet::builder("t").weekend("w", "Mars/Olympus").build().unwrap();
    assert!(unknown.bind(&payments()).unwrap_err().to_string().contains("Mars/Olympus"));
}

#[cfg(not(feature = "tz"))]
#[test]
fn a_named_zone_asks_for_the_feature() {
    let set = FeatureSet::builder("t").weekend("w", "Europe/Berlin").build().unwrap();
    let error = set.bind(&payments()).unwrap_err().to_string();
    assert!(error.contains("w: ") && error.contains("feature tz"), "{error}");
}
