//! What Prometheus reads.

use std::fmt::Write;

use super::edge::Edge;
use crate::monitor::{escaped_label, prometheus_text};
use crate::serve::SlotHealth;

/// The media type of the text format.
pub(super) const MEDIA_TYPE: &str = "text/plain; version=0.0.4";

type Gauge = (&'static str, &'static str, &'static str, fn(&SlotHealth) -> Option<f64>);

const OF_SLOTS: [Gauge; 5] = [
    ("generation", "gauge", "Swaps of the lineup.", |of| Some(of.generation as f64)),
    ("degraded", "gauge", "Whether too many requests are errors or fallbacks.", |of| {
        Some(f64::from(of.degraded))
    }),
    ("score_p99_seconds", "gauge", "Time that 99 % of scores take at most.", |of| {
        of.p99_nanos.map(|nanos| nanos as f64 / 1e9)
    }),
    ("shadows_waiting", "gauge", "Requests that wait for shadow models.", |of| {
        Some(of.shadows_waiting as f64)
    }),
    ("shadows_dropped_total", "counter", "Requests that found no room there.", |of| {
        Some(of.shadows_dropped as f64)
    }),
];

/// Traffic of all slots up to now, and how the slots do, each series labelled with its slot.
pub(super) fn text(edge: &Edge) -> String {
    let now = edge.clock.now();
    let mut totals = Vec::new();
    for slot in edge.slots.values() {
        let traffic = slot.parts.observer.traffic();
        traffic.tick(now);
        let label = format!("slot=\"{}\",", escaped_label(&slot.name));
        totals.extend(traffic.totals().into_iter().map(|total| (label.clone(), total)));
    }
    let mut text = prometheus_text(&totals);
    let health: Vec<SlotHealth> =
        edge.slots.keys().filter_map(|slot| edge.service.slot_health(slot).ok()).collect();
    for (name, kind, help, value) in OF_SLOTS {
        // Writing to a String cannot fail.
        let _ = writeln!(text, "# HELP riskcycle_slot_{name} {help}");
        let _ = writeln!(text, "# TYPE riskcycle_slot_{name} {kind}");
        for of in &health {
            if let Some(value) = value(of) {
                let slot = escaped_label(&of.slot);
                let _ = writeln!(text, "riskcycle_slot_{name}{{slot=\"{slot}\"}} {value}");
            }
        }
    }
    text
}
