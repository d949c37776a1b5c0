//! A profile as bytes, for the model artifact and for the host's own storage.
//!
//! Magic and version (8 bytes), length of the header (u64), header (names and sizes, by the codec), then in little-endian
//! per column its numbers and for the whole and each segment its counts, then CRC-32 of all before.

use serde::{Deserialize, Serialize};

use super::profile::{Cells, ColumnProfile, Counts, ReferenceProfile, check_names, place};
use crate::codec::{self, Reader};
use crate::error::{Error, Result};
use crate::ids::Digest;
use crate::schema::FeatureSchema;
use crate::stats::Bins;

const MAGIC: &[u8; 8] = b"RCPROF\x00\x01";
const WHAT: &str = "reference profile";

#[derive(Serialize, Deserialize)]
struct Header {
    #[serde(deserialize_with = "codec::exact")]
    features: Vec<String>,
    #[serde(deserialize_with = "codec::exact")]
    segments: Vec<String>,
    /// Per column: whether it is categorical, and the number of its edges or codes.
    #[serde(deserialize_with = "codec::exact")]
    columns: Vec<(bool, u32)>,
}

impl ReferenceProfile {
    /// The name under which a model's [`Artifact`](crate::registry::Artifact) carries the profile of its training data.
    pub const ATTACHMENT: [u8; 4] = *b"refd";

    /// The profile as bytes: the same for the same profile on every machine.
    pub fn to_bytes(&self) -> Vec<u8> {
        let sizes = |column: &ColumnProfile| match &column.cells {
            Cells::Numeric(bins) => (false, bins.edges().len() as u32),
            Cells::Categorical(codes) => (true, codes.len() as u32),
        };
        let header = codec::encode(&Header {
            features: self.schema.names().to_vec(),
            segments: self.segments().map(str::to_owned).collect(),
            columns: self.columns.iter().map(sizes).collect(),
        });
        let mut bytes = MAGIC.to_vec();
        bytes.extend((header.len() as u64).to_le_bytes());
        bytes.extend(header);
        for column in &self.columns {
            let placed = match &column.cells {
                Cells::Numeric(bins) => bins.edges(),
                Cells::Categorical(codes) => codes,
            };
            let numbers = [column.low, column.high, column.quartiles_apart];
            let numbers = numbers.iter().chain(placed).chain(&column.positions);
            let numbers = numbers.chain(&column.score_means);
            bytes.extend(numbers.flat_map(|number| number.to_bits().to_le_bytes()));
        }
        let segments = self.segments.iter().map(|(_, counts)| counts);
        for counts in [&self.whole].into_iter().chain(segments) {
            let numbers = [counts.rows, counts.bad];
            bytes.extend(numbers.iter().chain(&counts.cells).flat_map(|n| n.to_le_bytes()));
        }
        codec::seal(bytes)
    }

    /// What tells it from others.
    pub(super) fn digest(&self) -> Digest {
        Digest::of(&self.to_bytes())
    }

    /// The profile that [`to_bytes`](Self::to_bytes) made these bytes of. Allocates in proportion to the bytes.
    ///
    /// # Errors
    /// `Corrupt` for anything else: a later version, a changed bit, too few bytes or too many, counts that do not add up.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let corrupt = |reason: &str| Error::corrupt(WHAT, reason);
        let mut reader = codec::unseal(bytes, MAGIC, WHAT)?;
        let length = reader.u64()?;
        let header: Header = codec::decode(reader.bytes(length)?, WHAT)?;
        let n_columns = header.features.len() + 1;
        if header.columns.len() != n_columns {
            return Err(corrupt("columns and features differ in number"));
        }
        let names: Vec<&str> = header.segments.iter().map(String::as_str).collect();
        let schema = FeatureSchema::new(header.features.clone())
            .and_then(|schema| check_names(&names).map(|()| schema))
            .map_err(|error| corrupt(&error.to_string()))?;
        let mut columns = header
            .columns
            .iter()
            .map(|&(categorical, n)| read_column(&mut reader, categorical, n as usize))
            .collect::<Result<Vec<_>>>()?;
        place(&mut columns);
        let whole = read_counts(&mut reader, &columns)?;
        let mut segments = Vec::new();
        for name in header.segments {
            segments.push((name, read_counts(&mut reader, &columns)?));
        }
        reader.finish()?;
        if whole.rows == 0 {
            return Err(corrupt("has no rows"));
        }
        Ok(ReferenceProfile { schema, columns, whole, segments })
    }
}

fn read_column(reader: &mut Reader<'_>, categorical: bool, n: usize) -> Result<ColumnProfile> {
    let corrupt = |reason: String| Error::corrupt(WHAT, reason);
    let (low, high, quartiles_apart) = (reader.f64()?, reader.f64()?, reader.f64()?);
    let placed = reader.f64s(n)?;
    let cells = match categorical {
        false => Cells::Numeric(Bins::from_edges(placed).map_err(|e| corrupt(e.to_string()))?),
        true => {
            let rising = placed.windows(2).all(|codes| codes[0] < codes[1]);
            if !rising || !placed.iter().all(|code| code.is_finite()) {
                return Err(corrupt("codes of a category must be finite and rise".into()));
            }
            Cells::Categorical(placed)
        }
    };
    let positions = reader.f64s(cells.n_values())?;
    let score_means = reader.f64s(cells.n_cells())?;
    let sound = positions.iter().chain(&score_means).all(|number| number.is_finite());
    if !sound
        || low.is_nan()
        || high.is_nan()
        || !(quartiles_apart >= 0.0 && quartiles_apart.is_finite())
    {
        return Err(corrupt("a column's numbers are not finite".into()));
    }
    Ok(ColumnProfile { cells, offset: 0, low, high, quartiles_apart, positions, score_means })
}

fn read_counts(reader: &mut Reader<'_>, columns: &[ColumnProfile]) -> Result<Counts> {
    let (rows, bad) = (reader.count()?, reader.count()?);
    let n_cells = columns.iter().map(|column| column.cells.n_cells()).sum();
    if reader.remaining() / 8 < n_cells {
        return Err(Error::corrupt(WHAT, "ends too early"));
    }
    let cells = (0..n_cells).map(|_| reader.count()).collect::<Result<Vec<_>>>()?;
    let counts = Counts { cells, rows, bad };
    let adds_up = |column: &ColumnProfile| {
        let sum = counts.of(column).iter().try_fold(0u64, |sum, &n| sum.checked_add(n));
        sum == Some(rows)
    };
    if bad > rows || !columns.iter().all(adds_up) {
        return Err(Error::corrupt(WHAT, "counts do not add up to the rows"));
    }
    Ok(counts)
}
