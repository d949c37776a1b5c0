//! What a process counted: left in Redis as bytes, put together with others, told.

use std::fmt::Write;

use redis::Connection;
use riskcycle::drift::{DriftConfig, DriftCounts};
use riskcycle::experiment::{ExperimentStatistics, RecorderConfig};
use riskcycle::monitor::MonitorCounts;
use riskcycle::registry::Artifact;
use riskcycle::serve::ServiceStats;

use crate::Result;
use crate::plan::Plan;

pub(crate) struct Counted {
    pub(crate) service: ServiceStats,
    pub(crate) monitor: MonitorCounts,
    pub(crate) drift: DriftCounts,
    pub(crate) experiment: ExperimentStatistics,
}

fn key(worker: u64) -> String {
    format!("fleet:counted:{worker}")
}

impl Counted {
    /// All of it at once, so that nobody sees a part; for an hour.
    pub(crate) fn leave(&self, redis: &mut Connection, worker: u64) -> Result<()> {
        let fields = [
            ("service", self.service.to_bytes()),
            ("monitor", self.monitor.to_bytes()),
            ("drift", self.drift.to_bytes()),
            ("experiment", self.experiment.to_bytes()),
        ];
        let mut leave = redis::pipe();
        leave.atomic().hset_multiple(key(worker), &fields).ignore();
        leave.expire(key(worker), 3600).ignore();
        leave.rpush("fleet:finished", worker).ignore();
        leave.exec(redis)?;
        Ok(())
    }

    pub(crate) fn fetch(redis: &mut Connection, worker: u64, plan: &Plan) -> Result<Self> {
        let mut field = |name: &str| -> Result<Vec<u8>> {
            Ok(redis::cmd("HGET").arg(key(worker)).arg(name).query(redis)?)
        };
        let recorder = RecorderConfig::default();
        let experiment = field("experiment")?;
        Ok(Counted {
            service: ServiceStats::from_bytes(&field("service")?)?,
            monitor: MonitorCounts::from_bytes(&field("monitor")?)?,
            drift: DriftCounts::from_bytes(&field("drift")?)?,
            experiment: ExperimentStatistics::from_bytes(&plan.experiment, recorder, &experiment)?,
        })
    }

    pub(crate) fn merge(&mut self, other: &Counted) -> Result<()> {
        self.service.merge(&other.service)?;
        self.monitor.merge(&other.monitor)?;
        self.drift.merge(&other.drift)?;
        Ok(self.experiment.merge(&other.experiment)?)
    }

    pub(crate) fn n_requests(&self) -> u64 {
        self.service.slots.values().flat_map(|of| of.values()).map(|stats| stats.requests).sum()
    }

    /// Everything that the counts say, every figure to its last digit.
    pub(crate) fn report(&self, plan: &Plan, artifacts: &[Artifact]) -> Result<String> {
        let mut text = String::new();
        for (slot, versions) in &self.service.slots {
            for (version, stats) in versions {
                writeln!(text, "{slot} {version}: {} requests", stats.requests)?;
                writeln!(
                    text,
                    "   decisions {:?}, fallbacks {:?}",
                    stats.decisions, stats.fallbacks
                )?;
                let (mean, p99) = (stats.mean_latency(), stats.latency.quantile(0.99));
                writeln!(
                    text,
                    "   mean score {:?}, nanoseconds {mean:?}, p99 {p99:?}",
                    stats.scores.mean()
                )?;
            }
        }
        for finding in self.monitor.findings(&plan.monitor, Plan::end())? {
            let model = finding.model.map_or_else(String::new, |model| model.to_string());
            let (metric, value, n) = (finding.metric, finding.value, finding.n);
            writeln!(text, "{} {model} {metric} {value:?} of {n}", finding.from)?;
        }
        let drift = self.drift.report(&Plan::reference(artifacts)?, &DriftConfig::default())?;
        for column in drift.iter().flat_map(|drift| drift.score.iter().chain(&drift.features)) {
            let drifted = if column.drifted { " drifted" } else { "" };
            writeln!(
                text,
                "{} psi {:?}, q {:?}{drifted}",
                column.column, column.psi, column.q_value
            )?;
        }
        let bad_rate = drift.and_then(|drift| drift.bad_rate);
        writeln!(text, "bad rate {:?}", bad_rate.map(|rate| (rate.live, rate.reference)))?;
        let report = plan.experiment.report(&self.experiment, Plan::end());
        writeln!(text, "{report}")?;
        writeln!(text, "{}", serde_json::to_string(&report)?)?;
        Ok(text)
    }
}
