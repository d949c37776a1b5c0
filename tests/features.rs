//! Point-in-time features: batch, online and a brute-force oracle agree bit for bit.

use std::time::Duration;

use proptest::prelude::*;
use riskcycle::event::EventSchema;
use riskcycle::feature::{
    Aggregate, Current, Definition, Feature, FeatureSet, LabelOutcome, Window,
};
use riskcycle::testing::World;
use riskcycle::testing::handbook::{self, Transaction};
use riskcycle::{EntityKey, Error, Seed, Timestamp, days};

#[derive(Debug, Clone, PartialEq)]
struct Payment {
    id: u64,
    second: i64,
    card: u64,
    shop: u64,
    cents: i64,
    bad: Option<bool>,
}

fn payments() -> EventSchema<Payment> {
    EventSchema::builder()
        .id(|p: &Payment| p.id)
        .time(|p| Timestamp::from_seconds(p.second))
        .entity("card", |p| EntityKey(p.card))
        .entity("shop", |p| EntityKey(p.shop))
        .money("amount", 2, |p| p.cents)
        .number("hour_of_sun", |p| if p.second % 2 == 0 { f64::NAN } else { p.second as f64 })
        .label("bad", |p| p.bad)
        .build()
        .unwrap()
}

fn windowed(name: &str, entity: &str, window: Window, aggregate: Aggregate) -> Feature {
    let definition =
        Definition::Windowed { entity: entity.into(), window, aggregate, empty: Some(-1.0) };
    Feature { name: name.into(), definition }
}

fn set(features: Vec<Feature>) -> FeatureSet {
    let all = FeatureSet::builder("random").field("amount").field("hour_of_sun");
    features.into_iter().fold(all, |set, f| set.feature(&f.name, f.definition)).build().unwrap()
}

/// One feature of one event, straight from the definition.
fn oracle(feature: &Feature, event: &Payment, all: &[Payment]) -> f64 {
    let (entity, window, aggregate) = match &feature.definition {
        Definition::Field { field } if field == "amount" => return event.cents as f64 / 100.0,
        Definition::Field { .. } if event.second % 2 == 0 => return f64::NAN,
        Definition::Field { .. } => return event.second as f64,
        Definition::Windowed { entity, window, aggregate, .. } => (entity, window, aggregate),
        other => panic!("{other:?}"),
    };
    let key = |p: &Payment| if entity == "card" { p.card } else { p.shop };
    let (width, delay) = (window.width.as_secs() as i64, window.delay.as_secs() as i64);
    let seen = |p: &&Payment| {
        let inside = event.second - delay - width < p.second && p.second <= event.second - delay;
        let before = match window.current {
            _ if delay > 0 => true,
            Current::Exclude => (p.second, p.id) < (event.second, event.id),
            Current::Include => (p.second, p.id) <= (event.second, event.id),
            Current::StrictPast => p.second < event.second,
        };
        key(p) == key(event) && inside && before
    };
    let seen: Vec<&Payment> = all.iter().filter(seen).collect();
    let n = seen.len() as f64;
    let cents: i64 = seen.iter().map(|p| p.cents).sum();
    let bad = seen.iter().filter(|p| p.bad == Some(true)).count() as f64;
    match aggregate {
        Aggregate::Count => n,
        Aggregate::Sum { .. } => cents as f64 / 100.0,
        _ if seen.is_empty() => -1.0,
        Aggregate::Mean { .. } => cents as f64 / (n * 100.0),
        Aggregate::Rate { .. } => bad / n,
        other => panic!("{other:?}"),
    }
}

fn stream() -> impl Strategy<Value = Vec<Payment>> {
    let payment = (0i64..3, 0u64..3, 0u64..3, -500i64..5000, prop::option::of(any::<bool>()));
    prop::collection::vec(payment, 1..60).prop_map(|steps| {
        let mut second = -20;
        let row = |(id, (step, card, shop, cents, bad))| {
            second += step; // two in three follow within the same second or the next
            Payment { id, second, card, shop, cents, bad }
        };
        (0u64..).zip(steps).map(row).collect()
    })
}

fn window() -> impl Strategy<Value = Window> {
    let current =
        prop::sample::select(vec![Current::Exclude, Current::Include, Current::StrictPast]);
    (1u64..12, 0u64..6, current).prop_map(|(width, delay, current)| Window {
        width: Duration::from_secs(width),
        delay: Duration::from_secs(delay),
        current,
    })
}

fn features() -> impl Strategy<Value = Vec<Feature>> {
    let entity = prop::sample::select(vec!["card", "shop"]);
    prop::collection::vec((entity, window(), 0usize..4), 1..6).prop_map(|all| {
        let feature = |(i, (entity, mut window, aggregate)): (usize, (&str, Window, usize))| {
            let amount = || "amount".to_owned();
            let aggregate = match aggregate {
                0 => Aggregate::Count,
                1 => Aggregate::Sum { field: amount() },
                2 => Aggregate::Mean { field: amount() },
                _ => {
                    window.delay = window.delay.max(Duration::from_secs(2)); // else it leaks
                    Aggregate::Rate { label: "bad".into() }
                }
            };
            windowed(&format!("f{i}"), entity, window, aggregate)
        };
        all.into_iter().enumerate().map(feature).collect()
    })
}

fn bits(row: &[f64]) -> Vec<u64> {
    row.iter().map(|value| value.to_bits()).collect()
}

proptest! {
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
        let batch = plan.compute(&turned).unwrap();
        let online = plan.online().unwrap();
        let mut row = vec![0.0; set.features().len()];
        let mut batch_row = row.clone();
        let mut labelled = 0;
        for event in &events {
            // A label arrives two seconds after its event: the shortest delay of any rate above.
            while events[labelled].second + 2 <= event.second {
                let known = &events[labelled];
                if let Some(bad) = known.bad {
                    prop_assert_ne!(online.label(known, bad), LabelOutcome::Late);
                }
                labelled += 1;
            }
            online.observe(event, &mut row).unwrap();
            let expected: Vec<f64> =
                set.features().iter().map(|feature| oracle(feature, event, &events)).collect();
            prop_assert_eq!(bits(&row), bits(&expected), "online {:?} {:?}", row, expected);
            batch.copy_row(turned.iter().position(|e| e == event).unwrap(), &mut batch_row);
            prop_assert_eq!(bits(&batch_row), bits(&expected), "{:?} {:?}", batch_row, expected);
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
            let (width, delay) = (Duration::from_secs(width), Duration::from_secs(delay));
            let current = Current::Include;
            windowed(name, "card", Window { width, delay, current }, Aggregate::Count)
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
    };
    let events: Vec<Payment> = (0u64..).zip(rows).map(payment).collect();
    let sums = |current| {
        let window = Window { width: days(1), delay: Duration::ZERO, current };
        let sum = windowed("s", "card", window, Aggregate::Sum { field: "amount".into() });
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
    let (batch, online) = (plan.compute(&events).unwrap(), plan.online().unwrap());
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
    Payment { id, second, card: 1, shop: 1, cents: 0, bad: None }
}

#[test]
fn time_that_goes_backwards_is_refused_and_nothing_is_remembered() {
    let online = plain_set().bind(&payments()).unwrap().online().unwrap();
    let mut row = [0.0; 2];
    online.observe(&payment(5, 100), &mut row).unwrap();
    for late in [payment(4, 100), payment(5, 100), payment(9, 99)] {
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
    let online = plain_set().bind(&payments()).unwrap().online().unwrap();
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
        let window = Window { width: days(1), delay: days(1), current: Current::Exclude };
        let error = set(vec![windowed("f", entity, window, aggregate)]).bind(&payments());
        error.unwrap_err().to_string()
    };
    assert!(bind("device", Aggregate::Count).contains("no entity device"));
    let number = "hour_of_sun".to_owned();
    assert!(bind("card", Aggregate::Sum { field: number }).contains("not a money field"));
    assert!(bind("card", Aggregate::Rate { label: "x".into() }).contains("not the event's label"));
    let unknown = FeatureSet::builder("u").field("colour").build().unwrap().bind(&payments());
    assert!(unknown.unwrap_err().to_string().contains("no money or number colour"));
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
    let online = plan.online().unwrap();
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
