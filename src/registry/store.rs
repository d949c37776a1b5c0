//! Where artifacts' bytes are kept.

use std::collections::BTreeMap;
use std::fmt::Debug;
use std::fs;
use std::io::ErrorKind;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use crate::error::{Error, Result};
use crate::ids::Digest;
use crate::registry::file;

/// Keeps bytes under their SHA-256.
///
/// # Contract
/// What `put` returned can be got until the host deletes it, in this process and the next. Putting the same bytes again
/// changes nothing. `get` gives exactly the bytes of the digest or an error, never others.
///
/// # Concurrency
/// Any number of threads put and get at once.
///
/// # Errors
/// `NotFound` for a digest that was never put; `Corrupt` for content that no longer matches it; `Io`.
///
/// # Implementing
/// Run `riskcycle::testing::artifact_store::all` (cargo feature `testing`) against it.
pub trait ArtifactStore: Debug + Send + Sync + 'static {
    /// Keeps the bytes and returns their digest.
    ///
    /// # Errors
    /// `Io`; nothing is kept then.
    fn put(&self, bytes: &[u8]) -> Result<Digest>;

    /// The bytes of a digest.
    ///
    /// # Errors
    /// See the trait.
    fn get(&self, digest: &Digest) -> Result<Vec<u8>>;
}

impl<S: ArtifactStore + ?Sized> ArtifactStore for Arc<S> {
    fn put(&self, bytes: &[u8]) -> Result<Digest> {
        (**self).put(bytes)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>> {
        (**self).get(digest)
    }
}

/// Keeps artifacts in memory, for as long as the process lives.
#[derive(Debug, Default)]
pub struct InMemoryArtifactStore {
    artifacts: Mutex<BTreeMap<Digest, Vec<u8>>>,
}

impl ArtifactStore for InMemoryArtifactStore {
    fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        let mut artifacts = self.artifacts.lock().unwrap_or_else(PoisonError::into_inner);
        artifacts.entry(digest).or_insert_with(|| bytes.to_vec());
        Ok(digest)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>> {
        let artifacts = self.artifacts.lock().unwrap_or_else(PoisonError::into_inner);
        artifacts.get(digest).cloned().ok_or_else(|| not_found(digest))
    }
}

/// Keeps each artifact in a file of a folder, named by its digest.
///
/// A file is written beside its place, flushed to disk and renamed into it, so that a crash at any point leaves either
/// no file or the whole one.
#[derive(Debug)]
pub struct DirectoryArtifactStore {
    folder: PathBuf,
}

impl DirectoryArtifactStore {
    /// Opens a folder, making it if need be.
    ///
    /// # Errors
    /// `Io` if it cannot be made.
    pub fn open(folder: impl Into<PathBuf>) -> Result<Self> {
        let folder = folder.into();
        fs::create_dir_all(&folder).map_err(|e| Error::io("create", &folder, e))?;
        Ok(DirectoryArtifactStore { folder })
    }

    /// The file of an artifact.
    pub fn path(&self, digest: &Digest) -> PathBuf {
        self.folder.join(format!("{digest}.riskmodel"))
    }
}

impl ArtifactStore for DirectoryArtifactStore {
    fn put(&self, bytes: &[u8]) -> Result<Digest> {
        let digest = Digest::of(bytes);
        if self.get(&digest).is_ok() {
            return Ok(digest);
        }
        let path = self.path(&digest);
        file::replace(&path, bytes).map_err(|e| Error::io("write", &path, e))?;
        Ok(digest)
    }

    fn get(&self, digest: &Digest) -> Result<Vec<u8>> {
        let path = self.path(digest);
        let bytes = match fs::read(&path) {
            Err(e) if e.kind() == ErrorKind::NotFound => return Err(not_found(digest)),
            other => other.map_err(|e| Error::io("read", &path, e))?,
        };
        if Digest::of(&bytes) != *digest {
            let what = path.display().to_string();
            return Err(Error::corrupt(what, "its content does not match its name"));
        }
        Ok(bytes)
    }
}

fn not_found(digest: &Digest) -> Error {
    Error::NotFound { kind: "artifact", id: digest.to_string() }
}
