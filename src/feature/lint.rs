//! What a definition must not say.

use crate::error::{Error, Result};
use crate::feature::aggregate::{Aggregate, Labels};
use crate::feature::definition::{Condition, Definition, Feature, Width};
use crate::time::micros;

/// Refuses what can never be right, the leak of a label first of all.
pub(super) fn check(feature: &Feature, before: &[String]) -> Result<()> {
    let refuse =
        |reason: String| Err(Error::config("feature", format!("{}: {reason}", feature.name)));
    let (window, aggregate) = match &feature.definition {
        Definition::HourOfDayIn { from, to, .. } => return check_hours(feature, *from, *to),
        Definition::Expression(expression) => {
            return match expression.unknown_feature(before) {
                Some(name) => refuse(format!("no feature {name} stands before it")),
                None => Ok(()),
            };
        }
        Definition::Windowed { source, window, aggregate, .. } => {
            for condition in &source.only {
                if let Condition::HourOfDayIn { from, to, .. } = condition {
                    check_hours(feature, *from, *to)?;
                }
            }
            (window, aggregate)
        }
        _ => return Ok(()),
    };
    let without_width = match window.width {
        Width::Last(width) => micros(width) == 0,
        Width::Sawtooth { width, hop } | Width::Capped { width, hop, .. } => {
            micros(width) == 0 || micros(hop) == 0
        }
        Width::CalendarDays { days, .. } => days == 0,
        Width::Lifetime => false,
    };
    if without_width {
        return refuse("the window needs a width of at least a microsecond".into());
    }
    if let Width::Capped { cap, .. } = window.width {
        if cap == 0 {
            return refuse(
                "a cap of no events is a sawtooth window; take that, or a cap of at least 1".into(),
            );
        }
        if !aggregate.folds() {
            return refuse(
                "it needs every event, and beyond its cap a window keeps tiles; take an exact width, or an aggregate \
                 that can be put together from tiles"
                    .into(),
            );
        }
    }
    let lifetime = window.width == Width::Lifetime;
    match aggregate {
        Aggregate::Quantile { q, .. }
        | Aggregate::ApproximateQuantile { q, .. }
        | Aggregate::ShareAbove { q, .. }
            if !(0.0..=1.0).contains(q) =>
        {
            refuse(format!("the quantile {q} does not lie within 0 to 1"))
        }
        Aggregate::Quantile { .. } | Aggregate::ShareAbove { .. } if lifetime => {
            refuse(
                "an exact quantile of all history needs all history kept; give a width, or take the approximate one"
                    .into(),
            )
        }
        Aggregate::ApproximateDistinct { .. } | Aggregate::ApproximateQuantile { .. }
            if !lifetime && !matches!(window.width, Width::Sawtooth { .. }) =>
        {
            refuse(
                "a summary cannot let a single event go; take a sawtooth window, which moves in steps, or the exact \
                 aggregate"
                    .into(),
            )
        }
        Aggregate::ShareAbove { baseline, .. } if micros(*baseline) == 0 => Err(Error::Leak {
            feature: feature.name.clone(),
            reason: "a share above the quantile of its own window is 1 − q by construction; give the stretch before \
                     it a length (baseline)"
                .into(),
        }),
        Aggregate::TopShare { k: 0, .. } => refuse("k must be at least 1".into()),
        Aggregate::Rate { labels: Labels::AsArrived { .. }, .. }
        | Aggregate::DistinctBad { labels: Labels::AsArrived { .. }, .. }
            if lifetime =>
        {
            refuse("labels may arrive for ever; give the window a width".into())
        }
        Aggregate::Rate { label, labels: Labels::FixedDelay }
        | Aggregate::DistinctBad { label, labels: Labels::FixedDelay, .. }
            if micros(window.delay) == 0 =>
        {
            Err(Error::Leak {
                feature: feature.name.clone(),
                reason: format!(
                    "without a delay it sees labels of {label} that are not known yet; set .delay(..) to the time \
                     labels take, or let them count as they arrive"
                ),
            })
        }
        Aggregate::DistinctEverBad { label, label_delay: Some(delay), .. }
            if micros(*delay) == 0 =>
        {
            Err(Error::Leak {
                feature: feature.name.clone(),
                reason: format!(
                    "without a label delay it sees labels of {label} that are not known yet; set it to the time labels \
                     take, or to none to let them count as they arrive"
                ),
            })
        }
        _ => Ok(()),
    }
}

fn check_hours(feature: &Feature, from: u8, to: u8) -> Result<()> {
    if from <= 23 && to <= 23 {
        return Ok(());
    }
    Err(Error::config("feature", format!("{}: hours run from 0 to 23", feature.name)))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::feature::definition::FeatureSet;
    use crate::feature::expression::Expression;
    use crate::time::days;

    fn one(window: Width, delay: Duration, aggregate: Aggregate) -> Result<FeatureSet> {
        FeatureSet::builder("t")
            .entity("terminal", |t| t.window(window).delay(delay).aggregate("f", aggregate))
            .build()
    }

    fn rate(delay: Duration) -> Result<FeatureSet> {
        let aggregate = Aggregate::Rate { label: "fraud".into(), labels: Labels::FixedDelay };
        one(Width::Last(days(7)), delay, aggregate)
    }

    #[test]
    fn a_label_that_counts_before_it_is_known_is_a_leak_that_says_why() {
        let error = rate(Duration::ZERO).unwrap_err();
        assert!(matches!(error, Error::Leak { .. }));
        assert!(error.to_string().contains("not known yet"), "{error}");
        assert!(rate(days(7)).is_ok());
        let labels = Labels::AsArrived { mature_after: Duration::ZERO };
        let as_arrived = Aggregate::Rate { label: "fraud".into(), labels };
        assert!(one(Width::Last(days(7)), Duration::ZERO, as_arrived.clone()).is_ok());
        assert!(one(Width::Lifetime, Duration::ZERO, as_arrived).is_err());
    }

    #[test]
    fn a_value_that_is_bad_before_it_is_known_is_a_leak_that_says_why() {
        let ever_bad = |label_delay| {
            let (of, label) = ("card".into(), "fraud".into());
            let aggregate = Aggregate::DistinctEverBad { of, label, label_delay };
            one(Width::Lifetime, Duration::ZERO, aggregate)
        };
        let error = ever_bad(Some(Duration::ZERO)).unwrap_err();
        assert!(matches!(error, Error::Leak { .. }));
        assert!(error.to_string().contains("not known yet"), "{error}");
        assert!(ever_bad(Some(days(7))).is_ok());
        assert!(ever_bad(None).is_ok());
    }

    #[test]
    fn a_share_above_its_own_quantile_is_a_leak() {
        let share = |baseline| {
            let aggregate = Aggregate::ShareAbove { field: "amount".into(), q: 0.9, baseline };
            one(Width::Last(days(7)), Duration::ZERO, aggregate)
        };
        assert!(matches!(share(Duration::ZERO), Err(Error::Leak { .. })));
        assert!(share(days(90)).is_ok());
    }

    #[test]
    fn impossible_definitions_are_refused() {
        let build = |widths: Vec<Duration>| {
            FeatureSet::builder("t").entity("c", |c| c.windows(widths).count("n")).build()
        };
        assert!(build(vec![Duration::ZERO]).is_err());
        assert!(build(vec![Duration::from_nanos(999)]).is_err());
        assert!(build(vec![days(1), days(1)]).is_err()); // the same name twice
        assert!(build(vec![]).is_err());
        assert!(FeatureSet::builder("t").hour_of_day_in("h", 22..=24, 0).build().is_err());
        let quantile = |q| Aggregate::Quantile { field: "amount".into(), q };
        assert!(one(Width::Last(days(1)), Duration::ZERO, quantile(f64::NAN)).is_err());
        assert!(one(Width::Lifetime, Duration::ZERO, quantile(0.5)).is_err());
        let capped = |cap, hop, aggregate| {
            one(Width::Capped { width: days(7), cap, hop }, Duration::ZERO, aggregate)
        };
        assert!(capped(1, days(1), Aggregate::Count).is_ok());
        assert!(capped(0, days(1), Aggregate::Count).is_err());
        assert!(capped(1, Duration::ZERO, Aggregate::Count).is_err());
        for every_event in [
            Aggregate::Distinct { of: "card".into() },
            Aggregate::ApproximateDistinct { of: "card".into() },
            quantile(0.5),
        ] {
            assert!(capped(1, days(1), every_event).is_err());
        }
        let later = Expression::feature("b");
        assert!(FeatureSet::builder("t").expression("a", later).field("b").build().is_err());
    }
}
