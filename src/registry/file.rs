//! Files that are there whole or not at all.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

/// Writes a file in the place of whatever is there. It is written beside its place, flushed to disk and renamed into it,
/// so that a crash at any point leaves the old file or the new one.
pub(super) fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = write_beside(path, bytes)?;
    fs::rename(&unfinished, path).and_then(|()| flush_folder(path))
}

/// Writes a file where there is none: of two writers exactly one succeeds, the other gets `AlreadyExists`. A crash at any
/// point leaves the whole file or none.
pub(super) fn create(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let unfinished = write_beside(path, bytes)?;
    // A rename would replace what another writer has put there meanwhile; a link does not.
    let linked = fs::hard_link(&unfinished, path);
    let _ = fs::remove_file(&unfinished);
    linked.and_then(|()| flush_folder(path))
}

fn write_beside(path: &Path, bytes: &[u8]) -> io::Result<PathBuf> {
    static COUNTER: AtomicU64 = AtomicU64::new(0);
    let mut name = path.file_name().unwrap_or_default().to_owned();
    // Two writers of one place, in this process or another, must not write into one file.
    let number = COUNTER.fetch_add(1, Ordering::Relaxed);
    name.push(format!(".{}-{number}.tmp", std::process::id()));
    let unfinished = path.with_file_name(name);
    let written = File::create(&unfinished)
        .and_then(|mut file| file.write_all(bytes).and_then(|()| file.sync_all()));
    match written {
        Ok(()) => Ok(unfinished),
        Err(error) => {
            let _ = fs::remove_file(&unfinished);
            Err(error)
        }
    }
}

/// The new name itself must reach the disk. Folders can be flushed on Unix only; elsewhere a rename is journalled.
fn flush_folder(path: &Path) -> io::Result<()> {
    match path.parent() {
        Some(folder) if cfg!(unix) => {
            let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
            File::open(folder)?.sync_all()
        }
        _ => Ok(()),
    }
}
