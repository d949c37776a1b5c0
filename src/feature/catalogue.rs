//! Ready-made definitions: what a risk team asks first about a user and about a device.
//!
//! Both include the event that asks, as a total over "the user's transactions" does. Ages and rates follow from the event's
//! own moment, never from a clock, so that history gives the numbers that live traffic had.

use std::time::Duration;

use crate::error::Result;
use crate::feature::aggregate::Aggregate;
use crate::feature::builder::EntityFeatures;
use crate::feature::definition::{Condition, Current, FeatureSet};
use crate::feature::expression::Expression;
use crate::feature::zone::Zone;
use crate::time::days;

/// How a user behaves: `user` names the entity, `amount` the money field, hours are those of the zone.
///
/// | feature | meaning |
/// |---|---|
/// | `total_transactions`, `total_amount`, `avg_amount`, `max_amount`, `min_amount` | over all history |
/// | `seconds_since_first`, `seconds_since_last` | age of the first, and of the last transaction before this one |
/// | `account_age_days` | days since the first transaction, with fraction |
/// | `transactions_per_day` | total by age, at least one day old |
/// | `high_amount_ratio_7d` | share of the last 7 days' amounts above the 90 % quantile of the 90 days before them; against the quantile of the same days it would be 0.1 by construction |
/// | `late_night_transactions` | at 22:00 to 06:59, over all history |
///
/// Missing: `avg_amount` and the like never (the event itself counts), `seconds_since_last` for a first transaction,
/// `high_amount_ratio_7d` without a transaction in the 90 days before.
///
/// # Errors
/// Those of [`FeatureSetBuilder::build`](crate::feature::FeatureSetBuilder::build); names are checked where the set is bound.
pub fn user_behaviour(user: &str, amount: &str, zone: impl Into<Zone>) -> Result<FeatureSet> {
    let zone = zone.into();
    let field = || amount.to_owned();
    let all = |entity: EntityFeatures| entity.lifetime().current(Current::Include);
    let high_amount = Aggregate::ShareAbove { field: field(), q: 0.9, baseline: days(90) };
    FeatureSet::builder("user_behaviour")
        .entity(user, |u| {
            all(u)
                .count("total_transactions")
                .sum("total_amount", amount)
                .mean("avg_amount", amount)
                .aggregate("max_amount", Aggregate::Max { field: field() })
                .aggregate("min_amount", Aggregate::Min { field: field() })
                .aggregate("seconds_since_first", Aggregate::SinceFirst)
        })
        .entity(user, |u| u.lifetime().aggregate("seconds_since_last", Aggregate::SinceLast))
        .expression(
            "account_age_days",
            Expression::feature("seconds_since_first") / Expression::number(86_400.0),
        )
        .expression(
            "transactions_per_day",
            Expression::feature("total_transactions")
                / Expression::feature("account_age_days").max(Expression::number(1.0)),
        )
        .entity(user, |u| {
            u.windows([days(7)])
                .current(Current::Include)
                .aggregate("high_amount_ratio", high_amount)
        })
        .entity(user, |u| {
            all(u)
                .only(Condition::HourOfDayIn { from: 22, to: 6, zone })
                .count("late_night_transactions")
        })
        .build()
}

/// How a device is used: `device`, `user` and `session` name entities, `label` the label, which is known `label_delay` after
/// its event; days are those of the zone.
///
/// | feature | meaning |
/// |---|---|
/// | `associated_users` | different users, over all history |
/// | `total_transactions` | over all history |
/// | `linked_fraud_users` | different users of the device who have a bad event on any device, as far as labels are known: those of `associated_users` that are fraud users |
/// | `avg_sessions_per_day` | different sessions on a day, averaged over days with any |
/// | `device_age_days` | days since the first event, with fraction |
///
/// # Errors
/// `Leak` for a label delay of zero; otherwise as [`user_behaviour`].
pub fn device_usage(
    device: &str,
    user: &str,
    session: &str,
    label: &str,
    label_delay: Duration,
    zone: impl Into<Zone>,
) -> Result<FeatureSet> {
    let all = |entity: EntityFeatures| entity.lifetime().current(Current::Include);
    let linked_fraud_users = Aggregate::DistinctEverBad {
        of: user.to_owned(),
        label: label.to_owned(),
        label_delay: Some(label_delay),
    };
    let sessions = Aggregate::DistinctPerActiveDay { of: session.to_owned(), zone: zone.into() };
    FeatureSet::builder("device_usage")
        .entity(device, |d| {
            all(d)
                .distinct("associated_users", user)
                .count("total_transactions")
                .aggregate("linked_fraud_users", linked_fraud_users)
                .aggregate("avg_sessions_per_day", sessions)
                .aggregate("seconds_since_first", Aggregate::SinceFirst)
        })
        .expression(
            "device_age_days",
            Expression::feature("seconds_since_first") / Expression::number(86_400.0),
        )
        .build()
}
