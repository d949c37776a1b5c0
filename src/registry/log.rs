//! Where the registry's log is kept.

use std::fmt::Debug;
use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::audit::{AuditEntry, AuditHead, AuditLog};
use crate::codec;
use crate::error::{Error, Result};
use crate::registry::{RegistryEvent, RegistryLogEntry, file};

/// Keeps the registry's log. It decides nothing: rules are the [`ModelRegistry`](crate::registry::ModelRegistry)'s.
///
/// # Contract
/// - [`append`](Self::append) is a compare-and-set: an entry is kept if it follows the last one, or nothing is. What it
///   returned for survives the process, where the medium does.
/// - [`read`](Self::read) gives entries as they were appended, bit for bit, or an error. The log is never shortened or rewritten.
///
/// # Concurrency
/// Any number of threads, and of processes where the backend is shared. Of two entries for one place exactly one is kept.
///
/// # Errors
/// `Conflict` as `append` says; `Io` and `Corrupt` from backends. After an `Io` of `append` it is not known whether the
/// entry is kept: read again.
///
/// # Implementing
/// Run `riskcycle::testing::registry_log::all` (cargo feature `testing`) against it.
pub trait RegistryLog: Debug + Send + Sync + 'static {
    /// Keeps an entry.
    ///
    /// # Errors
    /// `Conflict` if it does not follow the last one; see the trait.
    fn append(&self, entry: &RegistryLogEntry) -> Result<()>;

    /// Entries after position `after`, oldest first, at most `limit`; fewer only at the end.
    ///
    /// # Errors
    /// See the trait.
    fn read(&self, after: u64, limit: usize) -> Result<Vec<RegistryLogEntry>>;
}

impl<L: RegistryLog + ?Sized> RegistryLog for Arc<L> {
    fn append(&self, entry: &RegistryLogEntry) -> Result<()> {
        (**self).append(entry)
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<RegistryLogEntry>> {
        (**self).read(after, limit)
    }
}

/// Keeps the log in memory, for as long as the process lives.
#[derive(Debug, Default)]
pub struct InMemoryRegistryLog {
    log: Mutex<AuditLog<RegistryEvent>>,
}

impl InMemoryRegistryLog {
    fn log(&self) -> MutexGuard<'_, AuditLog<RegistryEvent>> {
        self.log.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl RegistryLog for InMemoryRegistryLog {
    fn append(&self, entry: &RegistryLogEntry) -> Result<()> {
        let mut log = self.log();
        check_follows(log.head(), entry)?;
        log.push(entry.clone());
        Ok(())
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<RegistryLogEntry>> {
        let after = usize::try_from(after).unwrap_or(usize::MAX);
        Ok(self.log().entries().iter().skip(after).take(limit).cloned().collect())
    }
}

/// Keeps the log in a folder, each entry in a file of its own that is named by its position.
///
/// A file is written beside its place, flushed and linked into it, so that a crash at any point leaves the whole entry
/// or none, and of two processes that append at once one succeeds. Entries are read from the disk each time: some ten
/// microseconds each. The file system must know hard links; those of Linux, macOS and Windows do, FAT does not.
///
/// Whatever is changed or missing in the folder is found, but for entries taken off the end: keep the
/// [head](crate::AuditHead) somewhere else to find that.
#[derive(Debug)]
pub struct DirectoryRegistryLog {
    folder: PathBuf,
}

/// What an entry's file begins with.
const MAGIC: &[u8] = b"riskcycle registry 1\n";
const EXTENSION: &str = "event";

impl DirectoryRegistryLog {
    /// Opens a folder, making it if need be.
    ///
    /// # Errors
    /// `Io` if it cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
        Ok(DirectoryRegistryLog { folder })
    }

    /// The file of the entry at a position.
    pub fn path(&self, seq: u64) -> PathBuf {
        self.folder.join(format!("{seq:020}.{EXTENSION}"))
    }

    fn entry(&self, seq: u64) -> Result<Option<RegistryLogEntry>> {
        let path = self.path(seq);
        let bytes = match fs::read(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(|error| Error::io("read", &path, error))?,
        };
        let corrupt = |reason: &str| Error::corrupt(path.display().to_string(), reason);
        let content = bytes.strip_prefix(MAGIC).ok_or_else(|| corrupt("is no log entry"))?;
        let entry: RegistryLogEntry = codec::decode(content, "registry log entry")
            .map_err(|error| corrupt(&error.to_string()))?;
        // There are several ways to write a number; only one of them is what was hashed.
        if codec::encode(&entry) != content || entry.seq != seq {
            return Err(corrupt("has been changed"));
        }
        let before = AuditHead { seq: entry.seq.wrapping_sub(1), hash: entry.previous };
        AuditEntry::verify_after(before, std::slice::from_ref(&entry))?;
        Ok(Some(entry))
    }

    /// Position of the last entry that there is a file of.
    fn last(&self) -> Result<u64> {
        let io = |error| Error::io("list", &self.folder, error);
        let mut last = 0;
        for file in fs::read_dir(&self.folder).map_err(io)? {
            let path = file.map_err(io)?.path();
            last = last.max(position(&path).unwrap_or(0));
        }
        Ok(last)
    }
}

/// The position that an entry's file is named by; none for other files.
fn position(path: &Path) -> Option<u64> {
    if path.extension()? != EXTENSION {
        return None;
    }
    path.file_stem()?.to_str()?.parse().ok()
}

impl RegistryLog for DirectoryRegistryLog {
    fn append(&self, entry: &RegistryLogEntry) -> Result<()> {
        let before = match entry.seq.checked_sub(1) {
            None | Some(0) => AuditHead::default(),
            Some(seq) => self.entry(seq)?.map(|before| before.head()).unwrap_or_default(),
        };
        check_follows(before, entry)?;
        let path = self.path(entry.seq);
        let bytes = [MAGIC, &codec::encode(entry)].concat();
        match file::create(&path, &bytes) {
            Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(taken(entry.seq)),
            other => other.map_err(|error| Error::io("write", &path, error)),
        }
    }

    fn read(&self, after: u64, limit: usize) -> Result<Vec<RegistryLogEntry>> {
        let mut entries = Vec::new();
        while entries.len() < limit {
            let seq = after + entries.len() as u64 + 1;
            let Some(entry) = self.entry(seq)? else {
                // Another process may have written it since; what is not there now, with others behind it, is lost.
                if self.last()? > seq && !self.path(seq).exists() {
                    let reason = format!("entry {seq} is missing");
                    return Err(Error::corrupt(self.folder.display().to_string(), reason));
                }
                break;
            };
            entries.push(entry);
        }
        Ok(entries)
    }
}

/// # Errors
/// `Conflict` unless the entry comes after `head`.
pub(crate) fn check_follows(head: AuditHead, entry: &RegistryLogEntry) -> Result<()> {
    if entry.follows(head) { Ok(()) } else { Err(taken(entry.seq)) }
}

pub(crate) fn taken(seq: u64) -> Error {
    let reason = "does not follow the last entry; read again".into();
    Error::Conflict { kind: "registry log entry", id: seq.to_string(), reason }
}
