//! Totals as Prometheus text.

use std::fmt::Write;

use super::{Traffic, TrafficStats};
use crate::ids::ModelRef;

/// What one version answered in one segment, as [`Traffic::totals`] gives it.
type Total = (ModelRef, Option<String>, TrafficStats);

impl Traffic {
    /// Totals since the start as Prometheus text (version 0.0.4): counters, and latency as a histogram in seconds.
    pub fn prometheus(&self) -> String {
        let totals = self.totals().into_iter().map(|total| (String::new(), total));
        prometheus_text(&totals.collect::<Vec<_>>())
    }
}

/// Totals, each behind further labels of its own, written `name="value",`.
pub(crate) fn prometheus_text(totals: &[(String, Total)]) -> String {
    let mut text = String::new();
    let labelled = totals.iter().map(|(further, (model, segment, stats))| {
        let (name, version) = (escaped_label(&model.name), model.version);
        let segment = escaped_label(segment.as_deref().unwrap_or_default());
        let own = format!("model=\"{name}\",segment=\"{segment}\",version=\"{version}\"");
        (format!("{further}{own}"), stats)
    });
    let all: Vec<(String, &TrafficStats)> = labelled.collect();
    for (name, help, value) in TrafficStats::COUNTERS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP riskcycle_{name} {help}\n# TYPE riskcycle_{name} counter");
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
        let _ = writeln!(text, "{name}_sum{{{labels}}} {sum}\n{name}_count{{{labels}}} {count}");
    }
    text
}

/// The value of a label as it stands within quotation marks.
pub(crate) fn escaped_label(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
