//! Traffic by second, minute and hour, recorded from any number of threads.

use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use riskcycle::alert::{AlertEngine, AlertState, InMemoryAlertSink, default_rules};
use riskcycle::monitor::{
    Answer, Gaps, Metric, MetricSource, Monitor, MonitorConfig, Outcome, Traffic, TrafficStats,
};
use riskcycle::serve::Decision;
use riskcycle::{ModelRef, Timestamp, days};

fn model(version: u32) -> ModelRef {
    ModelRef { name: "fraud".into(), version }
}

const START: Timestamp = Timestamp::from_date(2024, 5, 1);

fn at(seconds: u64) -> Timestamp {
    START.plus(Duration::from_secs(seconds))
}

fn scored(at: Timestamp, score: f64, millis: u64) -> Answer {
    let decision = if score >= 0.5 { Decision::Review } else { Decision::Approve };
    let outcome = Outcome::Scored { score, decision };
    Answer { at, outcome, latency: Duration::from_millis(millis), gaps: Gaps::default() }
}

fn error(at: Timestamp) -> Answer {
    let (outcome, gaps) = (Outcome::Error, Gaps { missing: 2, unseen: 0 });
    Answer { at, outcome, latency: Duration::from_millis(5), gaps }
}

fn whole(traffic: &Traffic) -> TrafficStats {
    traffic.stats(None, None, START.minus(days(2))..START.plus(days(40)))
}

#[test]
fn rates_means_and_quantiles_are_those_of_the_answers() {
    let traffic = Traffic::new();
    let series = traffic.series(&model(1), Some("web"));
    traffic.tick(at(0));
    for i in 0..1000 {
        series.record(&scored(at(i % 20), (i % 10) as f64 / 10.0, i + 1));
    }
    (0..50).for_each(|i| series.record(&error(at(i % 20))));
    let fallback = Outcome::Fallback(Decision::Review);
    let gaps = Gaps { missing: 1, unseen: 3 };
    series.record(&Answer { at: at(3), outcome: fallback, latency: Duration::ZERO, gaps });
    series.record(&scored(at(3), f64::NAN, 1));
    traffic.tick(at(20));
    let stats = traffic.stats(Some(&model(1)), Some("web"), at(0)..at(60));
    assert_eq!((stats.count, stats.errors, stats.fallbacks, stats.reviews), (1052, 50, 1, 501));
    assert_eq!(stats.error_rate(), Some(50.0 / 1052.0));
    assert_eq!((stats.incomplete, stats.unseen), (51, 1));
    assert_eq!(stats.incomplete_rate(), Some(51.0 / 1052.0));
    assert!((stats.mean_score().unwrap() - 450.0 / 1001.0).abs() < 1e-9);
    let millis = (1..=1000).sum::<u64>() + 50 * 5 + 1;
    assert!((stats.mean_latency().unwrap() - millis as f64 / 1052.0 / 1000.0).abs() < 1e-9);
    for q in [0.5, 0.9, 0.99] {
        // Without the 52 quick ones a quantile lies a little higher; a quarter is what buckets may be off.
        let quantile = stats.latency_quantile(q).unwrap();
        assert!((quantile / (q - 0.05) - 1.0).abs() < 0.3, "{q} {quantile}");
    }
    assert_eq!(stats.scores().iter().sum::<u64>(), 1001);
    assert!(traffic.stats(Some(&model(2)), None, at(0)..at(60)).mean_latency().is_none());
    assert_eq!(traffic.stats(None, Some("app"), at(0)..at(60)).count, 0);
}

#[test]
fn nothing_is_lost_whatever_threads_do_at_once() {
    let traffic = Traffic::new();
    traffic.tick(at(0));
    std::thread::scope(|scope| {
        let recorders: Vec<_> = (0..6)
            .map(|thread| {
                let series = traffic.series(&model(thread % 2), None);
                scope.spawn(move || {
                    for i in 0..20_000 {
                        series.record(&scored(at(i % 30), 0.7, 1));
                    }
                })
            })
            .collect();
        let mut second = 0;
        while !recorders.iter().all(|recorder| recorder.is_finished()) {
            second = (second + 1).min(30);
            traffic.tick(at(second));
        }
    });
    traffic.tick(at(30));
    let stats = whole(&traffic);
    assert_eq!((stats.count, stats.reviews), (120_000, 120_000));
    assert_eq!(stats.mean_score().map(|mean| (mean * 1e6).round()), Some(700_000.0));
    assert_eq!(traffic.stats(None, None, at(0)..at(30)), traffic.stats(None, None, at(0)..at(31)));
    assert_eq!(traffic.stats(Some(&model(1)), None, at(5)..at(6)).count, 2001);
}

#[test]
fn late_and_early_answers_keep_their_time_as_well_as_they_can() {
    let traffic = Traffic::new();
    let series = traffic.series(&model(1), None);
    traffic.tick(at(7200));
    // 20 s late: its second. 10 min late: its minute. 5 h early: its hour. Two days away: out of range.
    for answer in [7180, 6605, 7200 + 18_005, 7200 + 180_000] {
        series.record(&scored(at(answer), 0.1, 1));
    }
    traffic.tick(at(7201));
    let count = |from: u64, to: u64| traffic.stats(None, None, at(from)..at(to)).count;
    assert_eq!((count(7180, 7181), count(6600, 6601), count(6605, 6606)), (1, 1, 0));
    assert_eq!((count(25_200, 25_201), whole(&traffic).count), (0, 2), "its time has not come");
    assert!(
        traffic.prometheus().contains(
            "riskcycle_out_of_range_total{model=\"fraud\",segment=\"\",version=\"1\"} 1\n"
        )
    );
    // A clock that goes back moves no slot; what was recorded is collected at its own time.
    series.record(&scored(at(7190), 0.1, 1));
    traffic.tick(at(0));
    assert_eq!(count(7190, 7191), 1);
    traffic.tick(at(25_201));
    assert_eq!((count(25_200, 25_201), whole(&traffic).count), (1, 4));
    traffic.retire(&model(1));
    assert_eq!(whole(&traffic).count, 0);
}

#[test]
fn rules_on_traffic_fire_and_no_traffic_is_noticed() {
    let monitor = Monitor::new(MonitorConfig::default()).unwrap();
    let series = monitor.traffic().series(&model(1), None);
    let sink = Arc::new(InMemoryAlertSink::default());
    let engine = AlertEngine::with_sink(default_rules(), sink).unwrap();
    let mut fired = Vec::new();
    for minute in 0..60 {
        for i in 0..600 {
            let now = at(60 * minute + i / 10);
            if i % 10 == 0 {
                monitor.tick(now);
            }
            // Errors from minute 10 to 20, slow answers from 25 to 40, nothing at all from 45 on.
            let failed = (10..20).contains(&minute) && i % 5 == 0;
            let millis = if (25..40).contains(&minute) { 1500 } else { 20 };
            match minute {
                45.. => {}
                _ if failed => series.record(&error(now)),
                _ => series.record(&scored(now, 0.1, millis)),
            }
        }
        monitor.tick(at(60 * minute + 60));
        let changed = engine.tick(at(60 * minute + 60), &monitor);
        let firing = changed.into_iter().filter(|alert| alert.state == AlertState::Firing);
        fired.extend(firing.map(|alert| (alert.rule, minute)));
    }
    let when = |rule: &str| fired.iter().find(|(id, _)| id == rule).map(|(_, minute)| *minute);
    assert!(when("error-rate").is_some_and(|m| (14..19).contains(&m)), "{fired:?}");
    assert!(when("mean-latency").is_some_and(|m| (34..42).contains(&m)), "{fired:?}");
    assert!(when("p99-latency").is_some(), "{fired:?}");
    assert_eq!(when("no-traffic"), None, "the window of 30 minutes still has some");
    assert_eq!(fired.len(), 3, "{fired:?}");
    for minute in 60..80 {
        monitor.tick(at(60 * minute + 60));
        let changed = engine.tick(at(60 * minute + 60), &monitor);
        fired.extend(changed.into_iter().map(|alert| (alert.rule, minute)));
    }
    assert!(
        fired.iter().any(|(rule, minute)| rule == "no-traffic" && (74..77).contains(minute)),
        "{fired:?}"
    );
}

#[test]
fn prometheus_text_holds_totals_and_escapes_labels() {
    let traffic = Traffic::new();
    let series = traffic.series(&model(1), Some("a\"b\\"));
    (0..3).for_each(|i| series.record(&scored(at(i), 0.9, 20)));
    traffic.tick(at(10));
    let text = traffic.prometheus();
    let labels = r#"{model="fraud",segment="a\"b\\",version="1"}"#;
    assert!(text.contains(&format!("riskcycle_predictions_total{labels} 3\n")), "{text}");
    assert!(text.contains(&format!("riskcycle_reviews_total{labels} 3\n")), "{text}");
    assert!(
        text.contains("le=\"+Inf\"} 3\n") && text.contains("riskcycle_latency_seconds_sum"),
        "{text}"
    );
    let buckets: Vec<u64> = text
        .lines()
        .filter(|line| line.starts_with("riskcycle_latency_seconds_bucket"))
        .map(|line| line.rsplit(' ').next().unwrap().parse().unwrap())
        .collect();
    assert!(buckets.len() > 10 && buckets.is_sorted(), "{buckets:?}");
    let measured = traffic.measure(&Metric::Predictions, Duration::from_secs(60), at(10));
    assert_eq!((measured[0].value, measured[0].segment.as_deref()), (3.0, Some("a\"b\\")));
    assert!(traffic.measure(&Metric::BadRate, days(1), at(10)).is_empty());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn adjoining_stretches_add_up_and_hold_what_a_plain_count_holds(
        mut seconds in prop::collection::vec(0..5400u64, 1..300),
        cuts in prop::collection::vec(0..5400u64, 1..6),
    ) {
        seconds.sort_unstable();
        let traffic = Traffic::new();
        let series = traffic.series(&model(1), None);
        traffic.tick(at(0));
        let mut answers = seconds.iter().peekable();
        for second in (0..=5400).step_by(10) {
            while let Some(&answer) = answers.next_if(|at| **at <= second) {
                series.record(&scored(at(answer), 0.25, answer % 100));
            }
            traffic.tick(at(second));
        }
        let plain = |from: u64, to: u64| seconds.iter().filter(|s| (from..to).contains(s)).count() as u64;
        let mut ends: Vec<u64> = cuts.iter().copied().chain([0, 5400]).collect();
        ends.sort_unstable();
        let mut sum = TrafficStats::default();
        for pair in ends.windows(2) {
            let part = traffic.stats(None, None, at(pair[0])..at(pair[1]));
            // An hour by the second: earlier cuts within a minute are moved outwards.
            if pair[0] >= 1860 || (pair[0] % 60 == 0 && pair[1] >= 1860) {
                prop_assert_eq!(part.count, plain(pair[0], pair[1]));
            }
            sum.merge(&part);
        }
        if ends.iter().all(|cut| *cut >= 1860 || cut % 60 == 0) {
            let whole = traffic.stats(None, None, at(0)..at(5400));
            prop_assert_eq!(whole.count, seconds.iter().filter(|s| **s < 5400).count() as u64);
            prop_assert_eq!(sum.count, whole.count);
            prop_assert_eq!(sum.mean_latency(), whole.mean_latency());
        }
    }
}
