//! Totals as Prometheus text.

use std::fmt::Write;

use super::{Traffic, TrafficStats};

impl Traffic {
    /// Totals since the start as Prometheus text (version 0.0.4): counters, and latency as a histogram in seconds.
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        let labelled = self.totals().into_iter().map(|(model, segment, stats)| {
            let segment = segment.unwrap_or_default();
            let labels = [("model", &*model.name), ("segment", segment.as_str())];
            let labels = labels.map(|(name, value)| format!("{name}=\"{}\"", escaped(value)));
            (format!("{},version=\"{}\"", labels.join(","), model.version), stats)
        });
        let all: Vec<(String, TrafficStats)> = labelled.collect();
        for (name, help, value) in TrafficStats::COUNTERS {
            // Writing to a String cannot fail.
            let _ =
                writeln!(text, "# HELP riskcycle_{name} {help}\n# TYPE riskcycle_{name} counter");
            for (labels, stats) in &all {
                let _ = writeln!(text, "riskcycle_{name}{{{labels}}} {}", value(stats));
            }
        }
        let name = "riskcycle_latency_seconds";
        let _ = writeln!(text, "# HELP {name} Time to answer.\n# TYPE {name} histogram");
        for (labels, stats) in &all {
            for (bound, count) in stats.latency_buckets() {
                let _ = writeln!(text, "{name}_bucket{{{labels},le=\"{bound}\"}} {count}");
            }
            let (sum, count) = (stats.latency_seconds(), stats.count);
            let _ = writeln!(text, "{name}_bucket{{{labels},le=\"+Inf\"}} {count}");
            let _ =
                writeln!(text, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
        }
        text
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
