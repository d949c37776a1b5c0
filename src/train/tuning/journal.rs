//! What a search has tried, so that it can go on after a crash.

use std::fmt::Debug;

use serde::{Deserialize, Serialize};

use crate::error::Result;
use crate::ids::Digest;
use crate::train::tuning::space::ParameterSet;

/// One set of parameters and what came of it.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Trial {
    /// Counted from 0.
    pub number: u64,
    /// What was tried.
    pub parameters: ParameterSet,
    /// Share of the rows that it was tried on.
    pub share: f64,
    /// The metric over the folds; `None` if training failed.
    pub outcome: Option<TrialOutcome>,
    /// Why training failed.
    pub failure: Option<String>,
}

/// The metric over the folds.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TrialOutcome {
    /// Mean.
    pub mean: f64,
    /// Population standard deviation.
    pub deviation: f64,
}

/// A line of a journal: its heading, or a trial.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[non_exhaustive]
pub enum JournalEntry {
    /// Which search this is: SHA-256 of all that decides its trials.
    Search(Digest),
    /// A trial that ended.
    Trial(Trial),
}

/// Where a search writes what it has tried.
///
/// # Contract
/// Entries come back as they were appended, in that order; one that [`append`](Self::append) has returned for survives the
/// process.
///
/// # Errors
/// `Io` and `Corrupt` of a medium that has them.
pub trait TuningJournal: Debug {
    /// All entries.
    ///
    /// # Errors
    /// See the trait.
    fn entries(&mut self) -> Result<Vec<JournalEntry>>;

    /// Keeps an entry.
    ///
    /// # Errors
    /// See the trait.
    fn append(&mut self, entry: &JournalEntry) -> Result<()>;
}

/// A journal that the process takes with it.
#[derive(Debug, Clone, Default)]
pub struct InMemoryTuningJournal {
    entries: Vec<JournalEntry>,
}

impl TuningJournal for InMemoryTuningJournal {
    fn entries(&mut self) -> Result<Vec<JournalEntry>> {
        Ok(self.entries.clone())
    }

    fn append(&mut self, entry: &JournalEntry) -> Result<()> {
        self.entries.push(entry.clone());
        Ok(())
    }
}

/// A journal in a file, a line of JSON per entry, each on the disk before the next trial begins. It holds no times: the
/// journal of a search that was killed and resumed equals that of one that was not, byte for byte.
#[cfg(feature = "json")]
#[derive(Debug)]
pub struct JsonLinesTuningJournal {
    lines: crate::train::json_lines::JsonLines,
}

#[cfg(feature = "json")]
impl JsonLinesTuningJournal {
    /// Opens a file or makes it. A line that a crash cut short is taken off. One process at a time.
    ///
    /// # Errors
    /// `Io` if the file cannot be read or written.
    pub fn open(path: impl AsRef<std::path::Path>) -> Result<Self> {
        Ok(JsonLinesTuningJournal {
            lines: crate::train::json_lines::JsonLines::open(path.as_ref())?,
        })
    }
}

#[cfg(feature = "json")]
impl TuningJournal for JsonLinesTuningJournal {
    fn entries(&mut self) -> Result<Vec<JournalEntry>> {
        self.lines.read()
    }

    fn append(&mut self, entry: &JournalEntry) -> Result<()> {
        self.lines.append(entry)
    }
}
