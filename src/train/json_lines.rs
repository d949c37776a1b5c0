//! A file of JSON lines that survives being cut short.

use std::fs::{File, OpenOptions};
use std::io::{Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::error::{Error, Result};

#[derive(Debug)]
pub(crate) struct JsonLines {
    path: PathBuf,
    file: File,
}

impl JsonLines {
    /// Opens a file or makes it. What follows the last line break is a line that a crash cut short: it is taken off, so that
    /// the next one starts where it started.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let io = |action: &str| {
            let (action, path) = (action.to_owned(), path.to_owned());
            move |error| Error::io(action, path, error)
        };
        let mut options = OpenOptions::new();
        let mut file =
            options.read(true).append(true).create(true).open(path).map_err(io("open"))?;
        let mut content = Vec::new();
        file.read_to_end(&mut content).map_err(io("read"))?;
        let whole = content.iter().rposition(|byte| *byte == b'\n').map_or(0, |end| end + 1);
        if whole < content.len() {
            file.set_len(whole as u64).map_err(io("mend"))?;
        }
        Ok(JsonLines { path: path.to_owned(), file })
    }

    /// Writes a line and waits until it is on the disk.
    pub(crate) fn append<T: Serialize>(&mut self, record: &T) -> Result<()> {
        let mut line = serde_json::to_vec(record)
            .map_err(|error| Error::input("record", format!("JSON cannot hold it: {error}")))?;
        line.push(b'\n');
        let written = self.file.write_all(&line).and_then(|()| self.file.sync_data());
        written.map_err(|error| Error::io("write to", &self.path, error))
    }

    pub(crate) fn read<T: DeserializeOwned>(&mut self) -> Result<Vec<T>> {
        let mut content = Vec::new();
        self.file
            .seek(SeekFrom::Start(0))
            .and_then(|_| self.file.read_to_end(&mut content))
            .map_err(|error| Error::io("read", &self.path, error))?;
        let lines = content.split(|byte| *byte == b'\n').enumerate();
        let records = lines.filter(|(_, line)| !line.is_empty()).map(|(i, line)| {
            serde_json::from_slice(line).map_err(|error| {
                Error::corrupt(self.path.display().to_string(), format!("line {}: {error}", i + 1))
            })
        });
        records.collect()
    }
}
