//! The contract of live feature state that tiles can hold, as checks for [`OnlineFeatures`](crate::feature::OnlineFeatures)
//! and for what shares or keeps it.
//!
//! ```
//! use riskcycle::feature::OnlineConfig;
//! use riskcycle::testing::online_features;
//!
//! online_features::all(|plan| {
//!     let online = plan.online(OnlineConfig::default()).unwrap();
//!     move |event, out| online.observe(event, out).unwrap()
//! });
//! ```
//! `fresh` gives empty state of a definition each time it is called, as a function that observes an event. Each check panics
//! at the first broken promise and says which it is.

use std::time::Duration;

use crate::feature::{
    Aggregate, Condition, Current, Expression, FeaturePlan, FeatureSet, Observed, Width,
};
use crate::seed::Seed;
use crate::testing::World;
use crate::testing::handbook::{self, Transaction};
use crate::time::{Timestamp, days};

/// All checks below.
///
/// # Panics
/// If one fails.
pub fn all<O>(fresh: impl Fn(&FeaturePlan<Transaction>) -> O)
where
    O: FnMut(&Transaction, &mut [f64]) -> Observed,
{
    let plan = definition().bind(&handbook::events()).expect("the handbook's fields are there");
    vectors_are_those_of_batch(&plan, fresh(&plan));
    an_event_counts_once(&plan, fresh(&plan));
    extreme_amounts_and_moments_add_up(&plan, fresh(&plan));
}

/// Windows of all kinds that tiles can hold, over the handbook's transactions: what the handbook asks for with windows that
/// begin on the hour or day, and conditions, days, lifetimes, deviations and formulas besides.
pub fn definition() -> FeatureSet {
    let sawtooth = |n, hop| Width::Sawtooth { width: days(n), hop };
    let hour = Duration::from_secs(3600);
    let spread = |field: &str| Aggregate::StandardDeviation { field: field.to_owned() };
    FeatureSet::builder("tiles")
        .field("amount")
        .weekend("during_weekend", 0)
        .hour_of_day_in("during_night", 0..=6, 0)
        .entity("customer", |customer| {
            let customer = customer.window(sawtooth(1, hour)).window(sawtooth(7, days(1)));
            let customer = customer.window(sawtooth(30, days(1))).current(Current::Include);
            customer.empty_as(0.0).count("n").mean("mean", "amount")
        })
        .entity("terminal", |terminal| {
            let terminal = terminal.window(sawtooth(2, hour)).window(Width::Lifetime);
            terminal.count("terminal_n").sum("terminal_sum", "amount")
        })
        .entity("customer", |customer| {
            let today = Width::CalendarDays { days: 3, zone: (-5 * 3600).into() };
            customer.window(today).aggregate("spread", spread("amount"))
        })
        .entity("terminal", |terminal| {
            let large = Condition::Above { field: "amount".into(), value: 50.0 };
            terminal.window(sawtooth(1, hour)).only(large).count("large")
        })
        .expression("pace", Expression::feature("n_about_1d") / Expression::feature("n_about_7d"))
        .build()
        .expect("a fixed set with distinct names")
}

/// Each vector is that of batch, bit for bit.
///
/// # Panics
/// If a value differs.
pub fn vectors_are_those_of_batch(
    plan: &FeaturePlan<Transaction>,
    mut observe: impl FnMut(&Transaction, &mut [f64]) -> Observed,
) {
    let world = World { customers: 12, terminals: 600, days: 40, ..World::default() };
    let mut events = world.transactions(Seed(9)).expect("a world with customers");
    assert!(events.len() > 300, "{} events show little", events.len());
    // On the edges of tiles, and several at one moment.
    for (i, event) in events.iter_mut().enumerate().filter(|(i, _)| i % 5 == 0) {
        let hours = event.at.micros().div_euclid(3_600_000_000) + i64::from(i % 10 == 0);
        event.at = Timestamp::from_micros(hours * 3_600_000_000);
    }
    events.sort_by_key(|event| (event.at, event.id));
    compare(plan, &events, &mut observe);
}

/// An event that comes again gets its vector again, and nothing is counted twice.
///
/// # Panics
/// If something is.
pub fn an_event_counts_once(
    plan: &FeaturePlan<Transaction>,
    mut observe: impl FnMut(&Transaction, &mut [f64]) -> Observed,
) {
    let events = [transaction(1, 0, 100), transaction(2, 60, 250), transaction(3, 120, 5)];
    let (mut first, mut again) = (plan_row(plan), plan_row(plan));
    for event in &events {
        assert_eq!(observe(event, &mut first), Observed::New, "a new event is not new");
        assert_eq!(observe(event, &mut again), Observed::Duplicate, "an event is new again");
        for (i, name) in plan.schema().names().iter().enumerate() {
            let (first, again) = (first[i].to_bits(), again[i].to_bits());
            assert_eq!(first, again, "{name} is another one the second time");
        }
    }
}

/// Amounts of any size and sign, and moments before 1970, give what batch gives.
///
/// # Panics
/// If they do not.
pub fn extreme_amounts_and_moments_add_up(
    plan: &FeaturePlan<Transaction>,
    mut observe: impl FnMut(&Transaction, &mut [f64]) -> Observed,
) {
    // Squares of two as large as the first one would not fit the 128 bits of a sum.
    let amounts = [i64::MAX, i64::MIN / 4, -1, 0, 1 << 40, 1 << 32, -(1 << 32), -(1 << 50), 7, -7];
    let event =
        |(i, cents): (usize, &i64)| transaction(i as u64, -86_400 + 3600 * i as i64, *cents);
    let events: Vec<Transaction> = amounts.iter().enumerate().map(event).collect();
    compare(plan, &events, &mut observe);
}

fn compare(
    plan: &FeaturePlan<Transaction>,
    events: &[Transaction],
    observe: &mut impl FnMut(&Transaction, &mut [f64]) -> Observed,
) {
    let batch = plan.compute(events).expect("events with distinct ids");
    let (mut live, mut expected) = (plan_row(plan), plan_row(plan));
    for (row, event) in events.iter().enumerate() {
        assert_eq!(observe(event, &mut live), Observed::New, "event {} is not new", event.id);
        batch.copy_row(row, &mut expected);
        for (i, name) in plan.schema().names().iter().enumerate() {
            let (live, expected) = (live[i], expected[i]);
            let same = live.to_bits() == expected.to_bits();
            assert!(same, "{name} of event {row} is {live:?}, in batch {expected:?}");
        }
    }
}

fn plan_row(plan: &FeaturePlan<Transaction>) -> Vec<f64> {
    vec![0.0; plan.schema().n_features()]
}

fn transaction(id: u64, second: i64, cents: i64) -> Transaction {
    let at = Timestamp::from_seconds(second);
    Transaction { id, at, customer: 1, terminal: 2, cents, fraud: false }
}
