//! NumPy's array files, as far as the bench needs them: in row order, little-endian, `f8` or `u1`.

use std::fs;
use std::path::Path;

use crate::Result;

/// A value that an array may hold.
pub(crate) trait Value: Sized {
    const DESCR: &'static str;
    const BYTES: usize;
    fn read(bytes: &[u8]) -> Self;
}

impl Value for f64 {
    const DESCR: &'static str = "<f8";
    const BYTES: usize = 8;

    fn read(bytes: &[u8]) -> Self {
        f64::from_le_bytes(bytes.try_into().expect("eight bytes"))
    }
}

impl Value for u8 {
    const DESCR: &'static str = "|u1";
    const BYTES: usize = 1;

    fn read(bytes: &[u8]) -> Self {
        bytes[0]
    }
}

/// Reads an array: its values, and the length of its last dimension.
pub(crate) fn read<T: Value>(path: &Path) -> Result<(Vec<T>, usize)> {
    let refuse = |reason: &str| format!("{}: {reason}", path.display());
    let bytes = fs::read(path).map_err(|error| refuse(&error.to_string()))?;
    // Magic and version take eight bytes; the header's length two of version 1.0.
    if bytes.len() < 10 || !bytes.starts_with(b"\x93NUMPY\x01\x00") {
        return Err(refuse("is no array of version 1.0").into());
    }
    let start = 10 + usize::from(u16::from_le_bytes([bytes[8], bytes[9]]));
    let header = bytes.get(10..start).ok_or_else(|| refuse("ends in its header"))?;
    let header = String::from_utf8_lossy(header);
    if !header.contains(&format!("'{}'", T::DESCR)) || header.contains("'fortran_order': True") {
        return Err(refuse(&format!("must hold {} in row order", T::DESCR)).into());
    }
    let shape = header.split(['(', ')']).nth(1).unwrap_or("");
    let shape: Vec<usize> = shape.split(',').filter_map(|n| n.trim().parse().ok()).collect();
    let values: Vec<T> = bytes[start..].chunks_exact(T::BYTES).map(T::read).collect();
    match shape.last() {
        Some(&last) if shape.iter().product::<usize>() == values.len() => Ok((values, last)),
        _ => Err(refuse("has more or fewer values than its header says").into()),
    }
}

/// Writes an array of one dimension.
pub(crate) fn write(path: &Path, values: &[f64]) -> Result<()> {
    let header =
        format!("{{'descr': '<f8', 'fortran_order': False, 'shape': ({},), }}", values.len());
    // Values start at a multiple of 64 bytes; the header ends in a line feed.
    let padded = (10 + header.len() + 1).next_multiple_of(64) - 11;
    let mut bytes = b"\x93NUMPY\x01\x00".to_vec();
    bytes.extend((padded as u16 + 1).to_le_bytes());
    bytes.extend(format!("{header:padded$}\n").as_bytes());
    values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
    Ok(fs::write(path, bytes)?)
}
