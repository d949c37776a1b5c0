//! Events from CSV files, plain or gzipped: streamed, typed, every error with row and column.

use std::fmt;
use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::path::Path;

use csv::{ByteRecord, ErrorKind, Reader, ReaderBuilder};
use flate2::bufread::MultiGzDecoder;

use crate::error::{Error, Result};

/// A CSV file with a header line, read row by row. Gzip is recognised by its first bytes, not by the file's name.
///
/// ```no_run
/// use riskcycle::event::CsvSource;
///
/// let mut source = CsvSource::open("payments.csv.gz", &["ID", "AMOUNT"])?;
/// while let Some(row) = source.next_row()? {
///     let (id, cents) = (row.u64(0)?, row.money(1, 2)?);
/// #   let _ = (id, cents);
/// }
/// # Ok::<(), riskcycle::Error>(())
/// ```
pub struct CsvSource {
    origin: String,
    reader: Reader<Box<dyn Read + Send>>,
    record: ByteRecord,
    /// Asked-for column → its position in the file, with its name for messages.
    columns: Vec<(usize, String)>,
    rows: u64,
}

impl CsvSource {
    /// Opens a file and finds the columns, which may stand in any order beside others.
    ///
    /// # Errors
    /// `Io` if the file cannot be read, `MissingColumn` if a column is not there, `InvalidInput` if one is there twice.
    pub fn open(path: impl AsRef<Path>, columns: &[&str]) -> Result<Self> {
        let path = path.as_ref();
        let origin = path.display().to_string();
        let file = File::open(path).map_err(|e| Error::io("open", path, e))?;
        let mut bytes = BufReader::with_capacity(1 << 18, file);
        let start = bytes.fill_buf().map_err(|e| Error::io("read", path, e))?;
        let stream: Box<dyn Read + Send> = if start.starts_with(&[0x1f, 0x8b]) {
            Box::new(MultiGzDecoder::new(bytes))
        } else {
            Box::new(bytes)
        };
        let mut reader = ReaderBuilder::new().buffer_capacity(1 << 18).from_reader(stream);
        let header = reader.byte_headers().map_err(|e| row_error(&origin, 0, e))?.clone();
        let found: Vec<String> =
            header.iter().map(|name| String::from_utf8_lossy(name).into_owned()).collect();
        let mut positions = Vec::with_capacity(columns.len());
        for &column in columns {
            let mut places = (0..found.len()).filter(|&i| found[i] == column);
            let Some(place) = places.next() else {
                return Err(Error::MissingColumn { origin, column: column.to_owned(), found });
            };
            if places.next().is_some() {
                return Err(Error::input("CSV header", format!("{origin} has {column} twice")));
            }
            positions.push((place, column.to_owned()));
        }
        Ok(CsvSource { origin, reader, record: ByteRecord::new(), columns: positions, rows: 0 })
    }

    /// The next row, or `None` after the last.
    ///
    /// # Errors
    /// `InvalidRow` for a row with another number of fields than the header, `Io` for a file that cannot be read on (a
    /// truncated gzip among them).
    pub fn next_row(&mut self) -> Result<Option<CsvRow<'_>>> {
        match self.reader.read_byte_record(&mut self.record) {
            Ok(false) => Ok(None),
            Ok(true) => {
                self.rows += 1;
                Ok(Some(CsvRow { source: self }))
            }
            Err(error) => Err(row_error(&self.origin, self.rows + 1, error)),
        }
    }

    /// Rows read so far.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// The file, as messages name it.
    pub fn origin(&self) -> &str {
        &self.origin
    }
}

impl fmt::Debug for CsvSource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CsvSource")
            .field("origin", &self.origin)
            .field("rows", &self.rows)
            .finish_non_exhaustive()
    }
}

fn row_error(origin: &str, row: u64, error: csv::Error) -> Error {
    match error.into_kind() {
        ErrorKind::Io(source) => Error::io(format!("read row {row} of"), origin, source),
        ErrorKind::UnequalLengths { expected_len, len, .. } => Error::InvalidRow {
            origin: origin.to_owned(),
            row,
            column: "(all)".into(),
            reason: format!("has {len} fields where the header has {expected_len}"),
        },
        other => Error::InvalidRow {
            origin: origin.to_owned(),
            row,
            column: "(all)".into(),
            reason: format!("{other:?}"),
        },
    }
}

/// One row of a [`CsvSource`]. Columns are named by their position in the list given to [`CsvSource::open`].
#[derive(Debug, Clone, Copy)]
pub struct CsvRow<'a> {
    source: &'a CsvSource,
}

impl CsvRow<'_> {
    /// A whole number from 0.
    ///
    /// # Errors
    /// `InvalidRow` if the field is anything else.
    pub fn u64(&self, column: usize) -> Result<u64> {
        self.parse(column, "a whole number", |text| text.parse().ok())
    }

    /// A whole number.
    ///
    /// # Errors
    /// `InvalidRow` if the field is anything else.
    pub fn i64(&self, column: usize) -> Result<i64> {
        self.parse(column, "a whole number", |text| text.parse().ok())
    }

    /// A number; an empty field is NaN, missing.
    ///
    /// # Errors
    /// `InvalidRow` if the field is anything else.
    pub fn f64(&self, column: usize) -> Result<f64> {
        self.parse(column, "a number", |text| {
            if text.is_empty() { Some(f64::NAN) } else { text.parse().ok() }
        })
    }

    /// 0 or 1.
    ///
    /// # Errors
    /// `InvalidRow` if the field is anything else.
    pub fn flag(&self, column: usize) -> Result<bool> {
        self.parse(column, "0 or 1", |text| match text {
            "0" => Some(false),
            "1" => Some(true),
            _ => None,
        })
    }

    /// The text as it stands, without the blanks around it.
    ///
    /// # Errors
    /// `InvalidRow` if it is not UTF-8.
    pub fn text(&self, column: usize) -> Result<&str> {
        let field = &self.source.record[self.source.columns[column].0];
        let text = std::str::from_utf8(field).map_err(|_| {
            let text = String::from_utf8_lossy(field);
            self.error(column, format!("{text:?} is not UTF-8"))
        })?;
        Ok(text.trim_ascii())
    }

    /// An amount in minor units: `57.16` is 5716 for two `decimals`. The binary noise of floats that were printed in
    /// full (`285.79999999999995`) is rounded away; real further decimals are refused.
    ///
    /// # Errors
    /// `InvalidRow` if the field is no number, or is not a whole number of minor units.
    pub fn money(&self, column: usize, decimals: u8) -> Result<i64> {
        let kind = match decimals {
            0 => "a whole amount".to_owned(),
            n => format!("an amount with at most {n} decimals"),
        };
        self.parse(column, &kind, |text| minor_units(text, decimals))
    }

    /// An error about this row.
    pub fn error(&self, column: usize, reason: impl Into<String>) -> Error {
        Error::InvalidRow {
            origin: self.source.origin.clone(),
            row: self.source.rows,
            column: self.source.columns[column].1.clone(),
            reason: reason.into(),
        }
    }

    fn parse<T>(
        &self,
        column: usize,
        kind: &str,
        read: impl FnOnce(&str) -> Option<T>,
    ) -> Result<T> {
        let field = &self.source.record[self.source.columns[column].0];
        std::str::from_utf8(field).ok().and_then(|text| read(text.trim_ascii())).ok_or_else(|| {
            let text = String::from_utf8_lossy(field);
            self.error(column, format!("{text:?} is not {kind}"))
        })
    }
}

fn minor_units(text: &str, decimals: u8) -> Option<i64> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let plain =
        fraction.len() <= usize::from(decimals) && fraction.bytes().all(|b| b.is_ascii_digit());
    let digits = whole.strip_prefix('-').unwrap_or(whole);
    if plain && !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit()) {
        let mut minor: i64 = whole.parse().ok()?;
        let negative = whole.starts_with('-');
        for position in 0..usize::from(decimals) {
            let digit = i64::from(fraction.as_bytes().get(position).map_or(0, |b| b - b'0'));
            minor = minor.checked_mul(10)?.checked_add(if negative { -digit } else { digit })?;
        }
        return Some(minor);
    }
    let exact = text.parse::<f64>().ok()? * 10f64.powi(i32::from(decimals));
    let minor = exact.round();
    let noise = 1e-9 * exact.abs().max(1.0);
    // Below 2^53 every whole number is a float, so the cast is exact.
    ((exact - minor).abs() <= noise && minor.abs() < 9_007_199_254_740_992.0)
        .then_some(minor as i64)
}

#[cfg(test)]
mod tests {
    use super::minor_units;

    #[test]
    fn amounts_become_whole_minor_units() {
        let cents = |text| minor_units(text, 2);
        assert_eq!(cents("57.16"), Some(5716));
        assert_eq!(cents("146.0"), Some(14600));
        assert_eq!(cents("-0.05"), Some(-5));
        assert_eq!(cents("12"), Some(1200));
        assert_eq!(cents("285.79999999999995"), Some(28580));
        assert_eq!(cents("1e2"), Some(10_000));
        assert_eq!(minor_units("7", 0), Some(7));
        for bad in ["", "abc", "NaN", "inf", "1.234", ".", "1e300", "99999999999999999999", "1,5"] {
            assert_eq!(cents(bad), None, "{bad}");
        }
    }
}
