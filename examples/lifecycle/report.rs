//! What the run leaves behind: report.json and the summary table.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use riskcycle::alert::Alert;
use riskcycle::evaluate::EvaluationReport;
use riskcycle::registry::{ModelVersion, RegistryLogEntry};
use riskcycle::train::TrainingRecord;
use riskcycle::{Digest, Error, Result};
use serde::Serialize;

use crate::published::FeatureComparison;
use crate::replay::Replayed;

/// Everything but `timings` is the same from run to run.
#[derive(Debug, Default, Serialize)]
pub(crate) struct Report {
    pub(crate) events: usize,
    pub(crate) frauds: usize,
    pub(crate) feature_set: Digest,
    pub(crate) reference: Option<FeatureComparison>,
    pub(crate) models: Vec<ModelReport>,
    pub(crate) live: Option<Replayed>,
    pub(crate) alerts: Vec<Alert>,
    pub(crate) audit: Vec<RegistryLogEntry>,
    pub(crate) timings: Vec<Lap>,
}

#[derive(Debug, Serialize)]
pub(crate) struct ModelReport {
    pub(crate) version: ModelVersion,
    pub(crate) training: TrainingRecord,
    pub(crate) evaluation: EvaluationReport,
}

/// How long one part of the run took.
#[derive(Debug, Clone, Serialize)]
pub(crate) struct Lap {
    stage: String,
    rows: usize,
    figure: String,
    seconds: f64,
}

#[derive(Debug)]
pub(crate) struct Stopwatch {
    start: Instant,
    last: Instant,
    laps: Vec<Lap>,
}

impl Default for Stopwatch {
    fn default() -> Self {
        let now = Instant::now();
        Stopwatch { start: now, last: now, laps: Vec::new() }
    }
}

impl Stopwatch {
    /// Ends a part of the run: the stage, the rows it went through, and the figure to remember.
    pub(crate) fn lap(&mut self, stage: &str, rows: usize, figure: String) {
        let seconds = self.last.elapsed().as_secs_f64();
        self.laps.push(Lap { stage: stage.into(), rows, figure, seconds });
        self.last = Instant::now();
    }

    pub(crate) fn laps(&self) -> Vec<Lap> {
        self.laps.clone()
    }

    pub(crate) fn total(&self) -> Duration {
        self.start.elapsed()
    }
}

impl Report {
    pub(crate) fn write(&self, path: &Path) -> Result<()> {
        let json = serde_json::to_vec_pretty(self)
            .map_err(|e| Error::InvalidInput { what: "report", reason: e.to_string() })?;
        fs::write(path, json).map_err(|source| Error::Io {
            action: "write".into(),
            path: path.display().to_string(),
            source,
        })?;
        println!("report: {}", path.display());
        Ok(())
    }

    /// Fails the run if live features were not those of the batch, bit for bit.
    pub(crate) fn check(&self) -> Result<()> {
        let different = self.live.as_ref().map_or(0, |live| live.parity.different);
        if different == 0 {
            return Ok(());
        }
        let reason = format!("{different} online vectors differ from their batch rows");
        Err(Error::InvalidInput { what: "features", reason })
    }

    pub(crate) fn summary(&self, total: Duration) {
        println!("summary");
        println!("  {:<26} {:>9} {:>9}   key figure", "stage", "rows", "seconds");
        for Lap { stage, rows, figure, seconds } in &self.timings {
            println!("  {stage:<26} {rows:>9} {seconds:>9.2}   {figure}");
        }
        println!("  {:<26} {:>9} {:>9.2}", "all", "", total.as_secs_f64());
    }
}
