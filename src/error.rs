//! The one error type: named facts per variant, and the questions callers branch on.

use crate::time::Timestamp;

/// Shorthand for results with [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What went wrong, with the facts needed to act on it.
///
/// An `Err` means that machinery failed or that the caller is wrong. A missing feature value, a score that a model
/// cannot give, drift, a gate that does not pass: those are data and never arrive here.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// A configuration or a definition that can never work.
    #[error("invalid {what}: {reason}")]
    InvalidConfig {
        /// What was being configured.
        what: &'static str,
        /// Why it is refused, and what would be accepted.
        reason: String,
    },
    /// Data handed to a function does not have the shape or the values that it needs.
    #[error("invalid {what}: {reason}")]
    InvalidInput {
        /// Which input.
        what: &'static str,
        /// Why it is refused; names the row or column where there is one.
        reason: String,
    },
    /// One row of a file or stream cannot be used.
    #[error("{origin}, row {row}, column {column}: {reason}")]
    InvalidRow {
        /// File or stream.
        origin: String,
        /// 1-based data row (the header is not counted).
        row: u64,
        /// Column name.
        column: String,
        /// Why it is refused, with the offending text.
        reason: String,
    },
    /// A file lacks a column.
    #[error("{origin} has no column {column}; it has: {}", found.join(", "))]
    MissingColumn {
        /// File or stream.
        origin: String,
        /// The column that was asked for.
        column: String,
        /// The columns that are there.
        found: Vec<String>,
    },
    /// Columns differ from those a model or data set was built with.
    #[error("feature schema does not match: {reason}")]
    SchemaMismatch {
        /// The first difference, by name and position.
        reason: String,
    },
    /// A feature would see its own label or the future.
    #[error("feature {feature} leaks: {reason}")]
    Leak {
        /// Name of the feature.
        feature: String,
        /// What it would see, and how to define it instead.
        reason: String,
    },
    /// An event or a reading is not after the one before it.
    #[error("{what} at {at} (id {id}) does not come after {last}")]
    TimeBackwards {
        /// Which sequence.
        what: String,
        /// Time of the refused item.
        at: Timestamp,
        /// Id of the refused item.
        id: u64,
        /// Time of the item before it.
        last: Timestamp,
    },
    /// Nothing to work on.
    #[error("{what} has no rows")]
    Empty {
        /// What is empty.
        what: String,
    },
    /// Training or a ranking metric needs both classes.
    #[error("{what} has one class only: {n_rows} rows, all labelled {label}")]
    OneClass {
        /// What was being done.
        what: String,
        /// Rows seen.
        n_rows: usize,
        /// The label that all of them carry.
        label: bool,
    },
    /// A trainer gave up.
    #[error("{trainer} could not be fitted: {reason}")]
    Training {
        /// Which trainer.
        trainer: &'static str,
        /// The reason, with what to change.
        reason: String,
    },
    /// No such thing.
    #[error("no {kind} {id}")]
    NotFound {
        /// Kind of thing.
        kind: &'static str,
        /// Which one.
        id: String,
    },
    /// It exists already, or somebody else was first.
    #[error("{kind} {id}: {reason}")]
    Conflict {
        /// Kind of thing.
        kind: &'static str,
        /// Which one.
        id: String,
        /// What it collides with.
        reason: String,
    },
    /// A rule of governance forbids it.
    #[error("refused to {action}: {reason}")]
    Refused {
        /// What was asked.
        action: String,
        /// Which rule, and what would satisfy it.
        reason: String,
    },
    /// Bytes that are not a sound artifact, log or snapshot.
    #[error("corrupt {what}: {reason}")]
    Corrupt {
        /// What the bytes should have been.
        what: String,
        /// The first thing found wrong.
        reason: String,
    },
    /// A notification was not taken.
    #[error("{sink} did not take a notification: {reason}")]
    Delivery {
        /// Which sink.
        sink: String,
        /// What it said.
        reason: String,
        /// Whether trying again makes sense.
        retry: Retry,
    },
    /// The operating system said no.
    #[error("cannot {action} {path}: {source}")]
    Io {
        /// What was being done.
        action: String,
        /// File or folder.
        path: String,
        /// The operating system's error.
        source: std::io::Error,
    },
}

/// When a failed delivery may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Retry {
    /// Not at all: it would fail again.
    Never,
    /// Later, as the sender sees fit.
    Later,
    /// Not before this time has passed: the receiver said so.
    After(std::time::Duration),
}

impl Error {
    pub(crate) fn config(what: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidConfig { what, reason: reason.into() }
    }

    pub(crate) fn input(what: &'static str, reason: impl Into<String>) -> Self {
        Error::InvalidInput { what, reason: reason.into() }
    }

    pub(crate) fn corrupt(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Corrupt { what: what.into(), reason: reason.into() }
    }

    pub(crate) fn refused(action: impl Into<String>, reason: impl Into<String>) -> Self {
        Error::Refused { action: action.into(), reason: reason.into() }
    }

    pub(crate) fn io(
        action: impl Into<String>,
        path: impl AsRef<std::path::Path>,
        source: std::io::Error,
    ) -> Self {
        Error::Io { action: action.into(), path: path.as_ref().display().to_string(), source }
    }

    /// The thing asked for does not exist.
    pub fn is_not_found(&self) -> bool {
        matches!(self, Error::NotFound { .. })
            || matches!(self, Error::Io { source, .. } if source.kind() == std::io::ErrorKind::NotFound)
    }

    /// It exists already, or another writer was first: read again, then decide.
    pub fn is_conflict(&self) -> bool {
        matches!(self, Error::Conflict { .. })
    }

    /// The same call may succeed later without any change by the caller.
    pub fn is_retryable(&self) -> bool {
        use std::io::ErrorKind::*;
        match self {
            Error::Io { source, .. } => matches!(
                source.kind(),
                // A call that was cut short; a server that is away; a store that has no room just now.
                Interrupted
                    | TimedOut
                    | WouldBlock
                    | ConnectionRefused
                    | ConnectionReset
                    | ConnectionAborted
                    | NotConnected
                    | BrokenPipe
                    | ResourceBusy
                    | StorageFull
            ),
            Error::Delivery { retry, .. } => *retry != Retry::Never,
            _ => false,
        }
    }
}
