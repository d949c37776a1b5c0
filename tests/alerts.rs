//! Alerts: states as Prometheus has them (tests/data), notifications, and everything that may go wrong with a sink or a
//! clock.

mod golden;

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc::{Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use proptest::prelude::*;
use riskcycle::alert::{
    Alert, AlertConfig, AlertEngine, AlertRule, AlertSink, AlertState, ChannelSink, Comparison,
    Ended, FlapConfig, FnSink, GroupConfig, InMemoryAlertSink, Inhibition, Level, Matcher, NoData,
    Notification, QueueConfig, QueuedSink, Reason, Receiver, RestoreConfig, Severity, Silence,
    default_rules,
};
use riskcycle::monitor::{Measurement, Metric, MetricSource};
use riskcycle::{Error, ModelRef, Result, Retry, Signature, Timestamp};
use serde_json::Value;

use crate::golden::every_value_is_compared;

/// Values by metric: what rules see in these tests.
#[derive(Default, Clone)]
struct Values(Vec<(Metric, Measurement)>);

impl Values {
    fn one(value: f64) -> Self {
        Values::default().with("m", value)
    }

    fn with(mut self, model: &str, value: f64) -> Self {
        let model = Some(ModelRef { name: model.into(), version: 1 });
        let measurement = Measurement { model, segment: None, value, n: 100 };
        self.0.push((metric(), measurement));
        self
    }
}

impl MetricSource for Values {
    fn measure(&self, metric: &Metric, _: Duration, _: Timestamp) -> Vec<Measurement> {
        self.0.iter().filter(|(of, _)| of == metric).map(|(_, m)| m.clone()).collect()
    }
}

fn metric() -> Metric {
    Metric::custom("x")
}

fn rule(id: &str) -> AlertRule {
    AlertRule::new(id, metric(), Comparison::Above, 0.05)
}

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn minutes(n: u64) -> Duration {
    seconds(60 * n)
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::from_seconds(1_700_000_000 + seconds as i64)
}

fn engine(rules: Vec<AlertRule>) -> (AlertEngine, Arc<InMemoryAlertSink>) {
    configured(AlertConfig::default(), rules)
}

fn configured(config: AlertConfig, rules: Vec<AlertRule>) -> (AlertEngine, Arc<InMemoryAlertSink>) {
    let sink = Arc::new(InMemoryAlertSink::default());
    let receivers = vec![Receiver::new("memory", sink.clone())];
    (AlertEngine::new(config, rules, receivers).unwrap(), sink)
}

/// The state of the only alert there is, told from the changes that ticks returned.
fn follow(last: &mut &'static str, changed: &[Alert], engine: &AlertEngine) {
    for alert in changed {
        *last = match alert.state {
            AlertState::Pending => "pending",
            AlertState::Firing => "firing",
            AlertState::Resolved => "resolved",
        };
    }
    if *last == "pending" && engine.active().is_empty() {
        *last = "none";
    }
}

fn golden() -> Value {
    serde_json::from_str(include_str!("data/alerts_golden.json")).unwrap()
}

#[test]
fn states_follow_the_traces_of_prometheus_and_hysteresis_its_own() {
    let excused = [
        ("/note", "what the words mean"),
        ("/dedup_needs_update", "compared beside the rule itself, in alert::notify"),
        ("/restore_for_state", "compared beside the rule itself, in alert::state"),
        ("/hysteresis/v", "given"),
        ("/hysteresis/step_s", "ticks are a minute apart"),
    ];
    let golden = golden();
    // A trace's own states are what is compared.
    let given = ["name", "cond", "step_s", "for_s", "keep_firing_for_s"];
    let given: Vec<String> = (0..13)
        .flat_map(|i| given.map(|of| format!("/traces/{i}/{of}")))
        .filter(|of| golden.pointer(of).is_some())
        .collect();
    let names = given.iter().map(|of| (of.as_str(), "given"));
    let excused: Vec<_> = excused.into_iter().chain(names).collect();
    every_value_is_compared(&golden, &excused, |golden| {
        compare_traces(golden);
        compare_hysteresis(golden);
    });
}

fn compare_traces(golden: &Value) {
    let traces = golden["traces"].as_array().unwrap();
    assert_eq!(traces.len(), 13);
    for trace in traces {
        let number = |name: &str| trace[name].as_u64().unwrap();
        let rule = AlertRule {
            hold: seconds(number("for_s")),
            keep_firing_for: seconds(number("keep_firing_for_s")),
            ..rule("trace")
        };
        let step = number("step_s");
        let config = AlertConfig {
            interval: seconds(step),
            // Flapping would hold alerts longer.
            flap: FlapConfig { changes: 1000, window: seconds(3600) },
            ..AlertConfig::default()
        };
        let (engine, _) = configured(config, vec![rule]);
        let (mut state, mut resolved_at) = ("none", None);
        let conditions = trace["cond"].as_array().unwrap().iter();
        for (i, (condition, expected)) in
            (0..).zip(conditions.zip(trace["state"].as_array().unwrap()))
        {
            let now = at(i * step);
            let values = match condition.as_bool() {
                Some(holds) => Values::one(f64::from(u8::from(holds))),
                None => Values::default(), // the query failed
            };
            let changed = engine.tick(now, &values);
            follow(&mut state, &changed, &engine);
            if state == "resolved" {
                resolved_at = changed.last().map(|alert| alert.at).or(resolved_at);
                // Remembered for 15 minutes; evaluations that fail do not look at it.
                let old = resolved_at.is_some_and(|at| now.since(at) > minutes(15));
                if old && condition.is_boolean() {
                    state = "none";
                }
            }
            assert_eq!(state, expected.as_str().unwrap(), "{} at {i}", trace["name"]);
        }
    }
}

fn compare_hysteresis(golden: &Value) {
    let golden = &golden["hysteresis"];
    let number = |name: &str| golden[name].as_f64().unwrap();
    let rule = AlertRule {
        threshold: number("hi"),
        clear_threshold: Some(number("lo")),
        hold: seconds(number("for_s") as u64),
        ..rule("hysteresis")
    };
    let (engine, _) = engine(vec![rule]);
    let mut state = "none";
    let values = golden["v"].as_array().unwrap().iter();
    for (i, (value, expected)) in (0..).zip(values.zip(golden["state"].as_array().unwrap())) {
        let changed = engine.tick(at(i * 60), &Values::one(value.as_f64().unwrap()));
        follow(&mut state, &changed, &engine);
        assert_eq!(state, expected.as_str().unwrap(), "{i}");
    }
}

#[test]
fn a_tick_may_come_twice_and_a_clock_that_goes_back_neither_fires_nor_resolves() {
    let (engine, sink) = engine(vec![AlertRule { hold: minutes(2), ..rule("r") }]);
    assert_eq!(engine.tick(at(0), &Values::one(1.0)).len(), 1);
    assert!(engine.tick(at(0), &Values::one(0.0)).is_empty());
    assert!(engine.tick(at(60), &Values::one(1.0)).is_empty());
    for back in [0, 30, 59] {
        assert!(engine.tick(at(back), &Values::one(0.0)).is_empty());
    }
    assert_eq!(engine.stats().clock_went_back, 3);
    assert_eq!(engine.tick(at(120), &Values::one(1.0))[0].state, AlertState::Firing);
    assert_eq!(sink.notifications().len(), 1);
    assert!(engine.tick(at(10), &Values::one(0.0)).is_empty());
    assert_eq!(engine.firing().len(), 1);
}

#[test]
fn time_that_nobody_looked_does_not_count_as_held() {
    let (engine, _) = engine(vec![AlertRule { hold: minutes(10), ..rule("r") }]);
    for minute in 0..=2 {
        engine.tick(at(60 * minute), &Values::one(1.0));
    }
    // Half an hour away: it waits anew. Firing alerts would fire on.
    assert!(engine.tick(at(60 * 32), &Values::one(1.0)).is_empty());
    assert_eq!((engine.stats().gaps, engine.active()[0].since), (1, at(60 * 32)));
    // A host that ticks every half hour from now on is no gap: it fires.
    assert_eq!(engine.tick(at(60 * 62), &Values::one(1.0))[0].state, AlertState::Firing);
}

#[test]
fn without_data_each_policy_does_what_it_says() {
    let run = |no_data: NoData| {
        let (engine, _) = engine(vec![AlertRule { no_data, ..rule("r") }]);
        engine.tick(at(0), &Values::one(1.0));
        for minute in 1..=70 {
            engine.tick(at(60 * minute), &Values::default());
        }
        let firing: Vec<String> = engine.firing().into_iter().map(|alert| alert.rule).collect();
        firing
    };
    assert_eq!(run(NoData::default()), ["r", "rule_stale"]);
    assert_eq!(run(NoData::Ok), [] as [&str; 0]);
    assert_eq!(run(NoData::Alert), ["r"]);
    assert_eq!(run(NoData::Ignore), ["r"]);
    // Nothing at all from the start, for a rule about silence; then something.
    let rule = AlertRule { no_data: NoData::Alert, hold: minutes(1), ..rule("silent") };
    let (engine, _) = engine(vec![rule]);
    engine.tick(at(0), &Values::default());
    assert_eq!(engine.tick(at(60), &Values::default())[0].state, AlertState::Firing);
    assert_eq!(engine.firing()[0].value, None);
    assert_eq!(engine.tick(at(120), &Values::one(0.0))[0].state, AlertState::Resolved);
    // Too few rows are no data; a NaN is none either.
    let rule = AlertRule { min_samples: 101, ..self::rule("few") };
    let (engine, _) = self::engine(vec![rule]);
    assert!(engine.tick(at(0), &Values::one(1.0)).is_empty());
    assert!(engine.tick(at(60), &Values::one(f64::NAN)).is_empty());
}

#[test]
fn no_traffic_is_a_count_of_zero_whatever_the_samples_asked_for() {
    let rules = default_rules().into_iter().filter(|rule| rule.id == "no-traffic").collect();
    let (engine, _) = engine(rules);
    let traffic = |n: f64| {
        let measurement = Measurement { model: None, segment: None, value: n, n: n as u64 };
        Values(vec![(Metric::Predictions, measurement)])
    };
    assert!(engine.tick(at(0), &traffic(10.0)).is_empty());
    assert_eq!(engine.tick(at(60), &traffic(0.0))[0].state, AlertState::Firing);
}

#[test]
fn a_notification_comes_once_and_once_more_when_it_is_over() {
    let (engine, sink) = engine(vec![rule("r")]);
    for (i, value) in [1.0, 1.0, 1.0, 1.0, 1.0, 1.0, 0.0, 0.0, 0.0].into_iter().enumerate() {
        engine.tick(at(60 * i as u64), &Values::one(value));
    }
    let reasons: Vec<Reason> = sink.notifications().iter().map(|n| n.reason).collect();
    assert_eq!(reasons, [Reason::First, Reason::AllResolved]);
    let [first, last] = &sink.notifications()[..] else { panic!() };
    assert_eq!((first.firing.len(), first.resolved.len()), (1, 0));
    assert_eq!((last.firing.len(), last.resolved.len()), (0, 1));
    assert_eq!(last.resolved[0].fingerprint, first.firing[0].fingerprint);
    assert_eq!(last.resolved[0].ended, Some(Ended::Cleared));
    assert_ne!(first.key, last.key);
}

#[test]
fn it_is_repeated_after_hours_unless_somebody_has_taken_it_on() {
    let (engine, sink) = engine(vec![rule("r")]);
    let hours = |engine: &AlertEngine, from: u64, to: u64| {
        (from * 12..to * 12).for_each(|i| drop(engine.tick(at(300 * i), &Values::one(1.0))));
    };
    hours(&engine, 0, 9);
    let reasons: Vec<Reason> = sink.notifications().iter().map(|n| n.reason).collect();
    assert_eq!(reasons, [Reason::First, Reason::Repeat, Reason::Repeat]);
    let fingerprint = engine.firing()[0].fingerprint.clone();
    engine.acknowledge(&fingerprint, Signature::new("anna", "on it", at(0))).unwrap();
    assert_eq!(engine.firing()[0].acknowledged.as_ref().unwrap().actor, "anna");
    hours(&engine, 9, 24);
    assert_eq!(sink.notifications().len(), 3);
    assert!(
        engine
            .acknowledge("nothing", Signature::new("anna", "x", at(0)))
            .unwrap_err()
            .is_not_found()
    );
    let unsigned = engine.acknowledge(&fingerprint, Signature::new("", "x", at(0)));
    assert!(matches!(unsigned, Err(Error::Refused { .. })));
}

#[test]
fn what_somebody_ends_stays_ended_until_it_has_cleared() {
    let (engine, sink) = engine(vec![rule("r")]);
    engine.tick(at(0), &Values::one(1.0));
    let fingerprint = engine.firing()[0].fingerprint.clone();
    engine.resolve(&fingerprint, Signature::new("anna", "known outage", at(30))).unwrap();
    (1..20).for_each(|i| drop(engine.tick(at(60 * i), &Values::one(1.0))));
    assert!(engine.active().is_empty());
    let last = sink.notifications().pop().unwrap();
    assert!(
        matches!(&last.resolved[0].ended, Some(Ended::ByHand { actor, .. }) if actor == "anna")
    );
    engine.tick(at(1200), &Values::one(0.0));
    assert_eq!(engine.tick(at(1260), &Values::one(1.0))[0].episode, 2);
}

#[test]
fn groups_join_alerts_and_a_new_one_is_told_after_the_interval_or_at_once_if_critical() {
    let group = GroupConfig { by: vec!["rule".into()], ..GroupConfig::default() };
    let config = AlertConfig { group, ..AlertConfig::default() };
    let (engine, sink) = configured(config.clone(), vec![rule("r")]);
    engine.tick(at(0), &Values::one(1.0).with("n", 1.0));
    assert_eq!(sink.notifications()[0].firing.len(), 2);
    let three = Values::one(1.0).with("n", 1.0).with("o", 1.0);
    (1..=5).for_each(|i| drop(engine.tick(at(60 * i), &three)));
    let told = sink.notifications();
    assert_eq!((told.len(), told[1].reason, told[1].at), (2, Reason::NewAlerts, at(300)));
    engine.tick(at(600), &Values::one(1.0).with("n", 0.0).with("o", 1.0));
    let told = sink.notifications();
    assert_eq!(
        (told[2].reason, told[2].firing.len(), told[2].resolved.len()),
        (Reason::NewResolved, 2, 1)
    );

    let critical = AlertRule { severity: Severity::Critical, ..rule("r") };
    let (engine, sink) = configured(config, vec![critical]);
    engine.tick(at(0), &Values::one(1.0));
    engine.tick(at(60), &Values::one(1.0).with("n", 1.0));
    assert_eq!(sink.notifications().len(), 2);
}

#[test]
fn of_several_levels_only_the_worst_that_fires_is_told() {
    let worse = Level { severity: Severity::Critical, threshold: 0.5, clear_threshold: None };
    let (engine, sink) = engine(vec![AlertRule { levels: vec![worse], ..rule("r") }]);
    let severities = |sink: &InMemoryAlertSink| -> Vec<Severity> {
        sink.notifications().last().unwrap().firing.iter().map(|alert| alert.severity).collect()
    };
    engine.tick(at(0), &Values::one(0.1));
    assert_eq!(severities(&sink), [Severity::Warning]);
    engine.tick(at(300), &Values::one(0.9));
    assert_eq!(severities(&sink), [Severity::Critical]);
    assert_eq!(engine.firing().len(), 2, "both fire, one is told");
    engine.tick(at(600), &Values::one(0.1));
    assert_eq!(severities(&sink), [Severity::Warning]);
}

#[test]
fn silences_inhibitions_and_filters_decide_who_hears_and_change_no_state() {
    let (engine, sink) = engine(vec![rule("r")]);
    let silence = Silence {
        id: "s".into(),
        matcher: Matcher::new([("rule", "r"), ("model", "m")]),
        from: at(0),
        until: at(600),
        author: "anna".into(),
        comment: "deployment".into(),
    };
    engine.silence(silence.clone()).unwrap();
    assert!(engine.silence(silence.clone()).unwrap_err().is_conflict());
    assert!(engine.silence(Silence { comment: " ".into(), ..silence.clone() }).is_err());
    (0..10).for_each(|i| drop(engine.tick(at(60 * i), &Values::one(1.0).with("n", 1.0))));
    assert_eq!(engine.firing().len(), 2);
    let models = |n: &Notification| -> Vec<String> {
        n.firing.iter().map(|alert| alert.model.as_ref().unwrap().name.to_string()).collect()
    };
    assert_eq!(sink.notifications().iter().map(models).collect::<Vec<_>>(), [["n"]]);
    // It is over and the alert still fires: now it is told.
    engine.tick(at(600), &Values::one(1.0).with("n", 1.0));
    assert_eq!(models(&sink.notifications()[1]), ["m"]);
    assert_eq!(engine.end_silence("s").unwrap(), silence);
    assert!(engine.end_silence("s").unwrap_err().is_not_found());

    let source = Matcher::new([("rule", "down")]);
    let inhibition = Inhibition {
        source,
        target: Matcher::new([("rule", "errors")]),
        equal: vec!["model".into()],
    };
    let config = AlertConfig { inhibitions: vec![inhibition], ..AlertConfig::default() };
    let (engine, sink) = configured(config, vec![rule("down"), rule("errors")]);
    engine.tick(at(0), &Values::one(1.0));
    assert_eq!((engine.firing().len(), sink.notifications().len()), (2, 1));
    assert_eq!(sink.notifications()[0].firing[0].rule, "down");

    let sinks: Vec<Arc<InMemoryAlertSink>> = (0..4).map(|_| Arc::default()).collect();
    let receivers = vec![
        Receiver {
            min_severity: Severity::Critical,
            ..Receiver::new("critical", sinks[0].clone())
        },
        Receiver { channel: Some("fraud".into()), ..Receiver::new("fraud", sinks[1].clone()) },
        Receiver { channel: Some("credit".into()), ..Receiver::new("credit", sinks[2].clone()) },
        Receiver {
            matcher: Matcher::new([("team", "a")]),
            ..Receiver::new("team", sinks[3].clone())
        },
    ];
    let labels = BTreeMap::from([("team".to_owned(), "a".to_owned())]);
    let rule = AlertRule { channels: vec!["fraud".into()], labels, ..rule("r") };
    let engine = AlertEngine::new(AlertConfig::default(), vec![rule], receivers).unwrap();
    engine.tick(at(0), &Values::one(1.0));
    let told: Vec<usize> = sinks.iter().map(|sink| sink.notifications().len()).collect();
    assert_eq!(told, [0, 1, 0, 1]);
}

#[test]
fn a_receiver_that_does_not_hear_of_ends_hears_of_every_beginning() {
    let sink = Arc::new(InMemoryAlertSink::default());
    let receiver = Receiver { send_resolved: false, ..Receiver::new("pager", sink.clone()) };
    let engine = AlertEngine::new(AlertConfig::default(), vec![rule("r")], vec![receiver]).unwrap();
    for (i, value) in [1.0, 0.0, 1.0].into_iter().enumerate() {
        engine.tick(at(600 * i as u64), &Values::one(value));
    }
    let reasons: Vec<Reason> = sink.notifications().iter().map(|n| n.reason).collect();
    assert_eq!(reasons, [Reason::First, Reason::First]);
    assert!(sink.notifications().iter().all(|n| n.resolved.is_empty()));
}

#[test]
fn what_flaps_is_told_once_until_it_has_been_quiet() {
    let (engine, sink) = engine(vec![rule("r")]);
    for i in 0..20 {
        engine.tick(at(300 * i), &Values::one(f64::from(i % 2 == 0)));
    }
    let told = sink.notifications().len();
    assert!(told <= 5, "{told}");
    let last = sink.notifications().pop().unwrap();
    assert!(last.firing[0].flapping && last.to_string().contains("flapping"));
    assert!(engine.history(at(0)..at(6000)).len() >= 15, "the history knows all of it");
    // Quiet for an hour, not firing: now its end is told.
    (20..40).for_each(|i| drop(engine.tick(at(300 * i), &Values::one(0.0))));
    let last = sink.notifications().pop().unwrap();
    assert_eq!((last.reason, last.firing.len()), (Reason::AllResolved, 0));
    assert_eq!(sink.notifications().len(), told + 1);
}

#[test]
fn ten_thousand_instances_stay_within_bounds_and_those_that_fire_go_on() {
    let config = AlertConfig { max_instances: 1000, max_history: 500, ..AlertConfig::default() };
    let (engine, _) = configured(config, vec![rule("r")]);
    let many = |n: usize| {
        (0..n).fold(Values::default(), |values, i| values.with(&format!("m{i:05}"), 1.0))
    };
    engine.tick(at(0), &many(500));
    engine.tick(at(60), &many(10_000));
    let firing = engine.firing();
    assert_eq!(firing.iter().filter(|alert| alert.rule == "r").count(), 1000);
    assert!(firing.iter().any(|alert| alert.rule == "rule_overflow"));
    assert_eq!(engine.stats().overflowed, 9000);
    assert_eq!(engine.history(at(0)..at(100)).len(), 500);
    engine.tick(at(120), &many(500));
    let first = engine.active().into_iter().filter(|alert| alert.since == at(0)).count();
    assert_eq!(first, 500, "none of those there were was wiped");
}

#[test]
fn a_restarted_process_goes_on_where_the_other_stopped() {
    let rules = || vec![AlertRule { hold: minutes(25), ..rule("slow") }, rule("fast")];
    let (before, told) = engine(rules());
    (0..=10).for_each(|i| drop(before.tick(at(60 * i), &Values::one(1.0))));
    assert_eq!(told.notifications().len(), 1);
    let text = serde_json::to_string(&before.snapshot()).unwrap();
    // Away for five minutes: the ten minutes held count, the five do not.
    let (after, told) = engine(rules());
    after.restore(serde_json::from_str(&text).unwrap(), at(900));
    assert_eq!(after.firing().len(), 1);
    let mut fired = None;
    for i in 15..60 {
        let changed = after.tick(at(60 * i), &Values::one(1.0));
        fired = fired.or(changed.iter().find(|a| a.state == AlertState::Firing).map(|a| a.at));
    }
    assert_eq!(fired, Some(at(60 * 30)));
    assert!(
        told.notifications().iter().all(|n| n.firing[0].rule == "slow"),
        "fast was told before"
    );
    // Away for longer than the tolerance: it waits anew.
    let (late, _) = engine(rules());
    late.restore(serde_json::from_str(&text).unwrap(), at(600 + 3700));
    let slow = late.active().into_iter().find(|alert| alert.rule == "slow").unwrap();
    assert_eq!(slow.since, at(600 + 3700));
    assert_eq!(RestoreConfig::default().tolerance, seconds(3600));
}

#[test]
fn rules_come_and_go_and_bad_ones_are_refused() {
    let (engine, sink) = engine(vec![rule("r")]);
    assert!(engine.add_rule(rule("r")).unwrap_err().is_conflict());
    assert!(engine.add_rule(rule("rule_stale")).unwrap_err().is_conflict());
    engine.tick(at(0), &Values::one(1.0));
    engine.enable_rule("r", false, at(30)).unwrap();
    engine.tick(at(600), &Values::one(1.0));
    assert!(engine.firing().is_empty());
    assert!(matches!(&sink.notifications()[1].resolved[0].ended, Some(Ended::Retired { .. })));
    engine.enable_rule("r", true, at(630)).unwrap();
    assert_eq!(engine.tick(at(660), &Values::one(1.0)).len(), 1);
    assert_eq!(engine.remove_rule("r", at(700)).unwrap().id, "r");
    assert!(
        engine.rules().is_empty() && engine.remove_rule("r", at(700)).unwrap_err().is_not_found()
    );

    let bad = |rule: AlertRule| {
        AlertEngine::with_sink(vec![rule], Arc::new(InMemoryAlertSink::default())).is_err()
    };
    assert!(bad(rule("")) && bad(AlertRule { threshold: f64::NAN, ..rule("r") }));
    assert!(bad(AlertRule { clear_threshold: Some(0.06), ..rule("r") }));
    let level = Level { severity: Severity::Warning, threshold: 1.0, clear_threshold: None };
    assert!(bad(AlertRule { levels: vec![level], ..rule("r") }));
    assert!(bad(AlertRule { comparison: Comparison::Equal { tolerance: -1.0 }, ..rule("r") }));
    let labels = BTreeMap::from([("severity".to_owned(), "x".to_owned())]);
    assert!(bad(AlertRule { labels, ..rule("r") }));
    assert!(serde_json::from_str::<AlertRule>(r#"{"id":"x","metric":"eror_rate","comparison":"above","threshold":1,"severity":"Info"}"#).is_err());
    let read: AlertRule = serde_json::from_str(r#"{"id":"x","metric":"error_rate","comparison":"above","threshold":1,"severity":"Info","for":{"secs":60,"nanos":0}}"#).unwrap();
    assert_eq!((read.hold, read.enabled), (minutes(1), true));
    for rule in default_rules() {
        assert!(!bad(rule.clone()), "{}", rule.id);
        let text = serde_json::to_string(&rule).unwrap();
        assert_eq!(serde_json::from_str::<AlertRule>(&text).unwrap(), rule);
    }
}

/// Does what the test tells it to.
#[derive(Debug)]
struct Scripted(fn() -> Result<()>);

impl AlertSink for Scripted {
    fn send(&self, _: &Notification) -> Result<()> {
        (self.0)()
    }
}

fn failing() -> Result<()> {
    Err(Error::Delivery { sink: "test".into(), reason: "no".into(), retry: Retry::Later })
}

#[test]
fn a_sink_that_fails_or_panics_changes_nothing_for_the_others_and_is_tried_again() {
    let good = Arc::new(InMemoryAlertSink::default());
    let works = Arc::new(AtomicBool::new(false));
    let (delivered, flag) = (Arc::new(Mutex::new(Vec::new())), works.clone());
    let kept = delivered.clone();
    let later = FnSink(move |notification: &Notification| {
        if !flag.load(Ordering::SeqCst) {
            return failing();
        }
        kept.lock().unwrap().push(notification.reason);
        Ok(())
    });
    let receivers = vec![
        Receiver::new("fails", Arc::new(Scripted(failing))),
        Receiver::new("panics", Arc::new(Scripted(|| panic!("no")))),
        Receiver::new("later", Arc::new(later)),
        Receiver::new("good", good.clone()),
    ];
    let engine = AlertEngine::new(AlertConfig::default(), vec![rule("r")], receivers).unwrap();
    engine.tick(at(0), &Values::one(1.0));
    assert_eq!((good.notifications().len(), engine.stats().failed_sends), (1, 3));
    works.store(true, Ordering::SeqCst);
    engine.tick(at(60), &Values::one(1.0));
    assert_eq!(*delivered.lock().unwrap(), [Reason::First]);
    assert_eq!(good.notifications().len(), 1);
    // It ends while a sink does not take it: the end is not lost either.
    works.store(false, Ordering::SeqCst);
    (6..60).for_each(|i| drop(engine.tick(at(60 * i), &Values::one(0.0))));
    works.store(true, Ordering::SeqCst);
    engine.tick(at(3600), &Values::one(0.0));
    assert_eq!(*delivered.lock().unwrap(), [Reason::First, Reason::AllResolved]);
}

/// Quick enough for a test.
fn quick() -> QueueConfig {
    QueueConfig {
        backoff: Duration::from_millis(1),
        max_backoff: Duration::from_millis(4),
        breaker_pause: Duration::from_millis(5),
        send_timeout: Duration::from_millis(30),
        ..QueueConfig::default()
    }
}

fn notification(group: &str, value: f64) -> Notification {
    let (engine, sink) = engine(vec![rule(group)]);
    engine.tick(at(value as u64), &Values::one(1.0 + value));
    sink.notifications().remove(0)
}

const PATIENCE: Duration = Duration::from_secs(20);

#[test]
fn a_queue_tries_again_until_it_is_taken_and_gives_up_on_what_never_will_be() {
    let (sent, received) = channel();
    let failures = AtomicU32::new(0);
    let sink = FnSink(move |notification: &Notification| {
        if notification.group["rule"] == "never" {
            return Err(Error::Delivery {
                sink: "t".into(),
                reason: "gone".into(),
                retry: Retry::Never,
            });
        }
        match failures.fetch_add(1, Ordering::SeqCst) {
            0 => failing(),
            1 => panic!("no"),
            2 => Err(Error::Delivery {
                sink: "t".into(),
                reason: "slow down".into(),
                retry: Retry::After(Duration::from_millis(2)),
            }),
            _ => {
                sent.send(notification.clone()).unwrap();
                Ok(())
            }
        }
    });
    let queue = QueuedSink::spawn("test", Arc::new(sink), quick()).unwrap();
    queue.send(&notification("never", 0.0)).unwrap();
    queue.send(&notification("r", 0.0)).unwrap();
    assert_eq!(received.recv_timeout(PATIENCE).unwrap().group["rule"], "r");
    assert!(queue.close(PATIENCE).is_empty());
    let dead = queue.dead_letters();
    assert_eq!((dead.len(), dead[0].attempts), (1, 1));
    assert!(dead[0].reason.contains("gone"));
    let stats = queue.stats();
    assert_eq!((stats.delivered, stats.failed, stats.dead, stats.depth), (1, 4, 1, 0));
    assert!(queue.send(&notification("r", 1.0)).is_err(), "it is closed");
}

#[test]
fn a_sink_that_always_fails_ends_in_dead_letters_and_says_that_it_is_unwell() {
    let config =
        QueueConfig { max_attempts: 6, breaker_pause: Duration::from_secs(3600), ..quick() };
    let queue = Arc::new(QueuedSink::spawn("test", Arc::new(Scripted(failing)), config).unwrap());
    let engine = AlertEngine::new(
        AlertConfig::default(),
        vec![rule("r")],
        vec![Receiver::new("queue", queue.clone())],
    )
    .unwrap();
    engine.tick(at(0), &Values::one(1.0));
    // Five failures in a row open the breaker.
    let mut i = 0;
    while queue.stats().failed < 5 {
        i += 1;
        engine.tick(at(i), &Values::one(1.0));
        std::thread::yield_now();
    }
    engine.tick(at(i + 60), &Values::one(1.0));
    assert!(engine.firing().iter().any(|alert| alert.rule == "sink_unhealthy"));
    assert!(queue.health().unwrap().contains("5 attempts"));
    let left = queue.close(Duration::from_millis(1));
    assert!(!left.is_empty(), "what was not delivered is handed back");

    let config = QueueConfig { max_attempts: 3, breaker_failures: 1000, ..quick() };
    let queue = QueuedSink::spawn("test", Arc::new(Scripted(failing)), config).unwrap();
    queue.send(&notification("r", 0.0)).unwrap();
    assert!(queue.close(PATIENCE).is_empty());
    assert_eq!(queue.dead_letters()[0].attempts, 3);
}

#[test]
fn a_sink_that_blocks_for_ever_is_given_up_and_a_flood_takes_bounded_room() {
    let (blocked, in_sink) = channel::<()>();
    let (release, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let blocked = Mutex::new(blocked);
    let sink = FnSink(move |_: &Notification| {
        let _ = blocked.lock().unwrap().send(());
        let _ = wait.lock().unwrap().recv(); // until the test is over
        Ok(())
    });
    let config = QueueConfig { capacity: 50, max_dead_letters: 10, max_stalled: 0, ..quick() };
    let queue = QueuedSink::spawn("stuck", Arc::new(sink), config).unwrap();
    let letters: Vec<Notification> =
        (0..200).map(|i| notification(&format!("g{i}"), 0.0)).collect();
    queue.send(&letters[0]).unwrap();
    in_sink.recv_timeout(PATIENCE).unwrap();
    letters[1..].iter().chain(&letters[1..]).for_each(|letter| drop(queue.send(letter)));
    assert!(queue.stats().depth <= 51 && queue.dead_letters().len() <= 10);
    assert!(queue.stats().merged + queue.stats().dead > 0);
    while queue.health().is_none() {
        std::thread::yield_now();
    }
    assert!(queue.health().unwrap().contains("stuck"));
    assert_eq!(queue.stats().stalled, 1);
    assert!(queue.send(&letters[0]).is_err());
    drop(release);
}

#[test]
fn a_stuck_thread_is_replaced_and_what_it_was_at_arrives() {
    let (sent, received) = channel();
    let (release, wait) = channel::<()>();
    let (calls, wait) = (AtomicU32::new(0), Mutex::new(wait));
    let sink = FnSink(move |notification: &Notification| {
        if calls.fetch_add(1, Ordering::SeqCst) == 0 {
            let _ = wait.lock().unwrap().recv();
            return Ok(());
        }
        sent.send(notification.clone()).unwrap();
        Ok(())
    });
    let queue = QueuedSink::spawn("slow", Arc::new(sink), quick()).unwrap();
    queue.send(&notification("r", 0.0)).unwrap();
    while queue.stats().stalled == 0 {
        queue.health();
        std::thread::yield_now();
    }
    assert_eq!(received.recv_timeout(PATIENCE).unwrap().group["rule"], "r");
    assert!(queue.close(PATIENCE).is_empty());
    drop(release);
}

#[test]
fn of_a_group_the_latest_state_arrives_with_everything_that_ended_meanwhile() {
    let (gate, wait) = channel::<()>();
    let wait = Mutex::new(wait);
    let (sent, received): (Sender<Notification>, _) = channel();
    let sink = FnSink(move |notification: &Notification| {
        let _ = wait.lock().unwrap().recv();
        sent.send(notification.clone()).unwrap();
        Ok(())
    });
    let config = QueueConfig { send_timeout: Duration::from_secs(600), ..quick() };
    let queue = QueuedSink::spawn("merge", Arc::new(sink), config).unwrap();
    let group =
        GroupConfig { by: vec!["rule".into()], interval: seconds(1), ..GroupConfig::default() };
    let config = AlertConfig { group, ..AlertConfig::default() };
    let engine =
        AlertEngine::new(config, vec![rule("r")], vec![Receiver::new("q", Arc::new(queue))])
            .unwrap();
    let values = |m: f64, n: f64, o: f64| Values::one(m).with("n", n).with("o", o);
    for (i, values) in
        [values(1.0, 1.0, 1.0), values(0.0, 1.0, 1.0), values(0.0, 0.0, 1.0), values(0.0, 0.0, 0.0)]
            .iter()
            .enumerate()
    {
        engine.tick(at(60 * i as u64), values);
    }
    let mut last = None;
    let mut ended = Vec::new();
    while last.as_ref().is_none_or(|n: &Notification| !n.firing.is_empty()) {
        gate.send(()).unwrap();
        let notification = received.recv_timeout(PATIENCE).unwrap();
        ended.extend(
            notification
                .resolved
                .iter()
                .map(|alert| alert.model.as_ref().unwrap().name.to_string()),
        );
        last = Some(notification);
    }
    ended.sort();
    assert_eq!(ended, ["m", "n", "o"]);
}

#[test]
fn a_channel_nobody_reads_from_is_a_failed_send_and_nothing_more() {
    let (sender, receiver) = channel();
    let engine = AlertEngine::with_sink(vec![rule("r")], Arc::new(ChannelSink(sender))).unwrap();
    engine.tick(at(0), &Values::one(1.0));
    assert_eq!(receiver.try_recv().unwrap().firing.len(), 1);
    drop(receiver);
    engine.tick(at(600), &Values::one(0.0));
    assert_eq!(engine.stats().failed_sends, 1);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever the values: firing only after the condition held throughout, resolved only after firing, and per episode one
    /// beginning and one end told.
    #[test]
    fn the_states_keep_to_their_definition(
        values in prop::collection::vec(prop_oneof![4 => Just(Some(1.0)), 3 => Just(Some(0.0)), 1 => Just(None)], 1..120),
        hold in 0..4u64,
        keep in 0..4u64,
        cut in 0..120usize,
    ) {
        let rule = || AlertRule { hold: minutes(hold), keep_firing_for: minutes(keep), ..rule("r") };
        let group = GroupConfig { interval: Duration::ZERO, ..GroupConfig::default() };
        let flap = FlapConfig { changes: 10_000, window: minutes(60) };
        let config = AlertConfig { group, flap, ..AlertConfig::default() };
        let (mut engine, sink) = configured(config.clone(), vec![rule()]);
        let (mut held_since, mut firing) = (None, false);
        for (i, value) in values.iter().enumerate() {
            if i == cut {
                // Another process goes on, without a moment lost.
                let snapshot = engine.snapshot();
                let restore = RestoreConfig { grace: Duration::ZERO, ..RestoreConfig::default() };
                let receivers = vec![Receiver::new("memory", sink.clone())];
                let next = AlertEngine::new(AlertConfig { restore, ..config.clone() }, vec![rule()], receivers).unwrap();
                let down = at(60 * i.saturating_sub(1) as u64);
                next.restore(snapshot, down);
                engine = next;
            }
            let now = at(60 * i as u64);
            let seen = value.map_or(Values::default(), Values::one);
            let changed = engine.tick(now, &seen);
            match value {
                Some(1.0) => held_since = held_since.or(Some(now)),
                Some(_) => held_since = None,
                None => {}
            }
            for alert in changed.iter().filter(|alert| alert.rule == "r") {
                match alert.state {
                    AlertState::Firing => {
                        prop_assert!(held_since.is_some_and(|since| now.since(since) >= minutes(hold)));
                        firing = true;
                    }
                    AlertState::Resolved => {
                        prop_assert!(firing);
                        firing = false;
                    }
                    AlertState::Pending => prop_assert!(!firing),
                }
            }
        }
        let mut open: Option<u64> = None;
        for notification in sink.notifications() {
            for alert in notification.resolved.iter().filter(|a| a.rule == "r") {
                prop_assert_eq!(open.take(), Some(alert.episode));
            }
            for alert in notification.firing.iter().filter(|a| a.rule == "r") {
                prop_assert!(open.is_none());
                open = Some(alert.episode);
            }
        }
    }
}
