//! Traffic for whoever reads the `metrics` facade.

use metrics::{counter, gauge};

use crate::monitor::{Traffic, TrafficStats};

/// Hands the totals of every version and segment to the recorder that the host has installed, under the names of
/// [`Traffic::prometheus`]: counters `riskcycle_predictions_total` and so on, labelled `model`, `version`, `segment`, and the
/// gauges `riskcycle_latency_mean_seconds` and `riskcycle_score_mean` since the start. Call it after each
/// [`tick`](crate::monitor::Monitor::tick). Without a recorder it does nothing.
///
/// Rules do not read from there: the facade cannot be asked.
pub fn export_metrics(traffic: &Traffic) {
    for (model, segment, stats) in traffic.totals() {
        let labels = [
            ("model", model.name.to_string()),
            ("version", model.version.to_string()),
            ("segment", segment.unwrap_or_default()),
        ];
        for (name, _, value) in TrafficStats::COUNTERS {
            counter!(format!("riskcycle_{name}"), &labels).absolute(value(&stats));
        }
        let means = [
            ("riskcycle_latency_mean_seconds", stats.mean_latency()),
            ("riskcycle_score_mean", stats.mean_score()),
        ];
        for (name, mean) in means {
            if let Some(mean) = mean {
                gauge!(name, &labels).set(mean);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};
    use std::time::Duration;

    use metrics::{
        Counter, CounterFn, Gauge, GaugeFn, Histogram, Key, KeyName, Metadata, Recorder,
        SharedString, Unit,
    };

    use super::*;
    use crate::ids::ModelRef;
    use crate::monitor::{Answer, Gaps, Outcome};
    use crate::serve::Decision;
    use crate::time::Timestamp;

    type Seen = Arc<Mutex<BTreeMap<String, f64>>>;

    /// Keeps the last value of each metric.
    #[derive(Default)]
    struct Kept(Seen);

    struct One(Seen, String);

    impl CounterFn for One {
        fn increment(&self, _: u64) {}
        fn absolute(&self, value: u64) {
            self.0.lock().unwrap().insert(self.1.clone(), value as f64);
        }
    }

    impl GaugeFn for One {
        fn increment(&self, _: f64) {}
        fn decrement(&self, _: f64) {}
        fn set(&self, value: f64) {
            self.0.lock().unwrap().insert(self.1.clone(), value);
        }
    }

    impl Kept {
        fn one(&self, key: &Key) -> Arc<One> {
            let labels = key.labels().map(|label| format!("{}={}", label.key(), label.value()));
            let labels: Vec<String> = labels.collect();
            Arc::new(One(self.0.clone(), format!("{} {}", key.name(), labels.join(","))))
        }
    }

    impl Recorder for Kept {
        fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
        fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
            Counter::from_arc(self.one(key))
        }
        fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
            Gauge::from_arc(self.one(key))
        }
        fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
            Histogram::noop()
        }
    }

    #[test]
    fn totals_and_means_reach_the_recorder() {
        let traffic = Traffic::new();
        let at = Timestamp::from_date(2024, 1, 1);
        let series = traffic.series(&ModelRef { name: "fraud".into(), version: 3 }, Some("web"));
        for decision in [Decision::Approve, Decision::Review] {
            let outcome = Outcome::Scored { score: 0.5, decision };
            let latency = Duration::from_millis(20);
            series.record(&Answer { at, outcome, latency, gaps: Gaps::default() });
        }
        traffic.tick(at.plus(Duration::from_secs(1)));
        let kept = Kept::default();
        metrics::with_local_recorder(&kept, || export_metrics(&traffic));
        let seen = kept.0.lock().unwrap();
        let value = |name: &str| seen[&format!("{name} model=fraud,version=3,segment=web")];
        assert_eq!(value("riskcycle_predictions_total"), 2.0);
        assert_eq!(value("riskcycle_reviews_total"), 1.0);
        assert!((value("riskcycle_latency_mean_seconds") - 0.02).abs() < 1e-9);
        assert!((value("riskcycle_score_mean") - 0.5).abs() < 1e-9);
        assert_eq!(seen.len(), TrafficStats::COUNTERS.len() + 2);
    }
}
