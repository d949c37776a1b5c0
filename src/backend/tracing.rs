//! Predictions and alerts as events of `tracing`.

use std::ops::Range;
use std::sync::Arc;

use tracing::{debug, error, info, warn};

use crate::alert::{AlertSink, Notification, Severity};
use crate::error::Result;
use crate::ids::ModelRef;
use crate::monitor::{Logged, PredictionLog};
use crate::serve::Prediction;
use crate::time::Timestamp;

/// An event per alert, target `riskcycle::alert`: error, warn or info by its severity while it fires, info when it is over.
#[derive(Debug, Clone, Copy, Default)]
pub struct TracingAlertSink;

impl AlertSink for TracingAlertSink {
    fn send(&self, notification: &Notification) -> Result<()> {
        const TARGET: &str = "riskcycle::alert";
        for alert in &notification.firing {
            let (rule, fingerprint) = (alert.rule.as_str(), alert.fingerprint.as_str());
            match alert.severity {
                Severity::Critical => error!(target: TARGET, rule, fingerprint, "{alert}"),
                Severity::Warning => warn!(target: TARGET, rule, fingerprint, "{alert}"),
                Severity::Info => info!(target: TARGET, rule, fingerprint, "{alert}"),
            }
        }
        for alert in &notification.resolved {
            let (rule, fingerprint) = (alert.rule.as_str(), alert.fingerprint.as_str());
            info!(target: TARGET, rule, fingerprint, "{alert}");
        }
        Ok(())
    }
}

/// A debug event per prediction, target `riskcycle::prediction`, beside the log behind it. Without a subscriber at that level an
/// event costs a nanosecond; with one, whatever the subscriber does happens on the thread that scores.
#[derive(Debug, Clone)]
pub struct TracingPredictionLog(pub Arc<dyn PredictionLog>);

impl PredictionLog for TracingPredictionLog {
    fn record(&self, prediction: &Prediction, row: &[f64]) {
        let Prediction { id, ref model, score, decision, .. } = *prediction;
        debug!(target: "riskcycle::prediction", id, %model, score, ?decision);
        self.0.record(prediction, row);
    }

    fn recent(&self, model: &ModelRef, n: usize) -> Result<Vec<Logged>> {
        self.0.recent(model, n)
    }

    fn between(&self, model: &ModelRef, range: Range<Timestamp>, n: usize) -> Result<Vec<Logged>> {
        self.0.between(model, range, n)
    }
}

#[cfg(test)]
mod tests {
    use std::fmt::Debug;
    use std::sync::Mutex;

    use tracing::field::{Field, Visit};
    use tracing::span::{Attributes, Id, Record};
    use tracing::{Event, Metadata, Subscriber};

    use super::*;
    use crate::experiment::Assignment;
    use crate::ids::EntityKey;
    use crate::monitor::InMemoryPredictionLog;
    use crate::serve::{Decision, DecisionBands, InputFlags};

    /// Keeps events as text.
    #[derive(Default, Clone)]
    struct Kept(Arc<Mutex<Vec<String>>>);

    struct Text(String);

    impl Visit for Text {
        fn record_debug(&mut self, field: &Field, value: &dyn Debug) {
            self.0 += &format!(" {field}={value:?}");
        }
    }

    impl Subscriber for Kept {
        fn enabled(&self, _: &Metadata<'_>) -> bool {
            true
        }
        fn new_span(&self, _: &Attributes<'_>) -> Id {
            Id::from_u64(1)
        }
        fn record(&self, _: &Id, _: &Record<'_>) {}
        fn record_follows_from(&self, _: &Id, _: &Id) {}
        fn event(&self, event: &Event<'_>) {
            let meta = event.metadata();
            let mut text = Text(format!("{} {}", meta.level(), meta.target()));
            event.record(&mut text);
            self.0.lock().unwrap().push(text.0);
        }
        fn enter(&self, _: &Id) {}
        fn exit(&self, _: &Id) {}
    }

    #[test]
    fn a_prediction_is_an_event_and_is_logged_too() {
        let log = TracingPredictionLog(Arc::new(InMemoryPredictionLog::default()));
        let model = ModelRef { name: "fraud".into(), version: 3 };
        let prediction = Prediction {
            id: 7,
            at: Timestamp::default(),
            unit: EntityKey(1),
            assignment: Assignment::champion(),
            model: model.clone(),
            score: Some(0.25),
            decision: Decision::Approve,
            bands: DecisionBands::APPROVE_ALL,
            fallback: None,
            inputs: InputFlags::default(),
            reasons: Vec::new(),
            exposure: None,
        };
        let kept = Kept::default();
        tracing::subscriber::with_default(kept.clone(), || log.record(&prediction, &[1.0]));
        let events = kept.0.lock().unwrap();
        let expected = "DEBUG riskcycle::prediction id=7 model=fraud@3 score=0.25 decision=Approve";
        assert_eq!(*events, [expected]);
        assert_eq!(log.recent(&model, 9).unwrap().len(), 1);
    }
}
