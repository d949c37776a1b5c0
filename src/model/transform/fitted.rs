//! Fitted transforms: from raw rows to those that a model was trained on.

use crate::codec::{self, Reader};
use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::transform::Transform;
use crate::model::transform::map::Map;
use crate::schema::{FeatureKind, FeatureSchema};
use crate::seed::Seed;
use ndarray::Array2;

/// Transforms fitted one after the other: every output column is a chain of maps of one input column. Row by row without
/// memory, so a row comes out as it does in a batch.
#[derive(Debug, Clone, PartialEq)]
pub struct FittedTransforms {
    input: FeatureSchema,
    output: FeatureSchema,
    columns: Vec<Chain>,
}

/// How an output column comes from its input column.
#[derive(Debug, Clone, PartialEq)]
struct Chain {
    source: u32,
    maps: Vec<Map>,
}

/// The fewest that a column takes: lengths of its name and of its list of maps, kind, source.
const COLUMN_BYTES: usize = 4 + 1 + 4 + 4;
/// The fewest that a map takes: its length, which of them it is.
const MAP_BYTES: usize = 4 + 1;

impl FittedTransforms {
    /// Fits transforms one after the other, each on what the one before made of the training rows; gives them with those
    /// rows as they should be trained on.
    ///
    /// # Errors
    /// `InvalidConfig` for a parameter out of range, or if two columns get the same name; those of
    /// [`Binner::fit`](crate::model::Binner::fit) and [`FoldPlan::split`](crate::dataset::FoldPlan::split).
    pub fn fit(transforms: &[Transform], data: &Dataset, seed: Seed) -> Result<(Self, Dataset)> {
        transforms.iter().try_for_each(Transform::check)?;
        let input = data.schema().clone();
        let chain = |source: usize| Chain { source: source as u32, maps: Vec::new() };
        let mut columns: Vec<Chain> = (0..input.n_features()).map(chain).collect();
        let mut current = data.clone();
        for (i, transform) in transforms.iter().enumerate() {
            let steps = transform.fit(&current, seed.derive("transform", i as u64))?;
            let schema =
                FeatureSchema::with_kinds(steps.iter().map(|s| (s.name.clone(), s.kind.clone())))?;
            let value = |(row, column): (usize, usize)| {
                let step = &steps[column];
                match (&step.training, &step.map) {
                    (Some(training), _) => training[row],
                    (None, Some(map)) => map.apply(current.row(row)[step.source]),
                    (None, None) => current.row(row)[step.source],
                }
            };
            let features = Array2::from_shape_fn((current.n_rows(), steps.len()), value);
            current = current.with_features(schema, features)?;
            columns = steps
                .into_iter()
                .map(|step| {
                    let mut chain = columns[step.source].clone();
                    chain.maps.extend(step.map);
                    chain
                })
                .collect();
        }
        let output = current.schema().clone();
        Ok((FittedTransforms { input, output, columns }, current))
    }

    /// The columns that go in.
    pub fn input(&self) -> &FeatureSchema {
        &self.input
    }

    /// The columns that come out.
    pub fn output(&self) -> &FeatureSchema {
        &self.output
    }

    /// For every column that comes out the one that it comes from.
    pub(in crate::model) fn sources(&self) -> impl Iterator<Item = usize> + '_ {
        self.columns.iter().map(|chain| chain.source as usize)
    }

    /// Transforms one row.
    ///
    /// # Errors
    /// `SchemaMismatch` if either row has another width than its schema.
    pub fn apply(&self, row: &[f64], out: &mut [f64]) -> Result<()> {
        self.input.check_rows(row.len(), 1)?;
        self.output.check_rows(out.len(), 1)?;
        self.apply_checked(row, out);
        Ok(())
    }

    pub(in crate::model) fn apply_checked(&self, row: &[f64], out: &mut [f64]) {
        for (out, chain) in out.iter_mut().zip(&self.columns) {
            let value = row[chain.source as usize];
            *out = chain.maps.iter().fold(value, |value, map| map.apply(value));
        }
    }

    /// Transforms a data set; labels and all the rest stay.
    ///
    /// # Errors
    /// `SchemaMismatch` if it has other columns.
    pub fn apply_dataset(&self, data: &Dataset) -> Result<Dataset> {
        self.input.check(data.schema())?;
        let mut features = Array2::zeros((data.n_rows(), self.output.n_features()));
        for (row, mut out) in features.outer_iter_mut().enumerate() {
            let out = out.as_slice_mut().expect("a fresh array has no gaps");
            self.apply_checked(data.row(row), out);
        }
        data.with_features(self.output.clone(), features)
    }

    /// Values of input columns on which an output jumps, or the model behind does, whose own edges are `behind`.
    pub(in crate::model) fn edges(&self, behind: &[(usize, f64)]) -> Vec<(usize, f64)> {
        let mut edges = Vec::new();
        for (column, Chain { source, maps }) in self.columns.iter().enumerate() {
            let source = *source as usize;
            // These leave a value where it was, most of them.
            let passes = |map: &Map| matches!(map, Map::Fill(_) | Map::Clip { .. });
            let mut rest = maps.iter().skip_while(|map| passes(map));
            match rest.next() {
                Some(Map::Woe(binning)) => {
                    edges.extend(binning.edges().unwrap_or(&[]).iter().map(|edge| (source, *edge)));
                }
                Some(_) => {}
                None => {
                    let own = behind.iter().filter(|(of, _)| *of == column);
                    edges.extend(own.map(|(_, edge)| (source, *edge)));
                }
            }
        }
        edges
    }

    /// Behind the input schema, which the artifact holds: every output column with its name, kind and chain.
    pub(in crate::model) fn write(&self, bytes: &mut Vec<u8>) {
        bytes.extend((self.columns.len() as u32).to_le_bytes());
        let described = self.output.names().iter().zip(self.output.kinds()).zip(&self.columns);
        for ((name, kind), chain) in described {
            codec::write_block(bytes, name.as_bytes());
            kind.write(bytes);
            bytes.extend(chain.source.to_le_bytes());
            bytes.extend((chain.maps.len() as u32).to_le_bytes());
            chain.maps.iter().for_each(|map| codec::write_block(bytes, &codec::encode(map)));
        }
    }

    /// What [`write`](Self::write) wrote; the bytes may be hostile.
    pub(in crate::model) fn read(input: FeatureSchema, reader: &mut Reader<'_>) -> Result<Self> {
        let corrupt = |reason: &str| Error::corrupt("transforms", reason);
        let n = reader.u32()? as usize;
        reader.expect(n, COLUMN_BYTES)?;
        // With a place in a row that is being scored.
        reader.charge(n * (size_of::<String>() + size_of::<FeatureKind>() + 8))?;
        let (mut names, mut kinds) = (Vec::with_capacity(n), Vec::with_capacity(n));
        let columns = reader.list(n, COLUMN_BYTES, |reader| {
            let name = reader.text()?;
            reader.charge(name.len())?;
            names.push(name.to_owned());
            kinds.push(FeatureKind::read(reader)?);
            Chain::read(&input, reader)
        })?;
        reader.lend(n * size_of::<&str>())?;
        let output = FeatureSchema::of(names, kinds).map_err(|e| corrupt(&e.to_string()))?;
        Ok(FittedTransforms { input, output, columns })
    }
}

impl Chain {
    fn read(input: &FeatureSchema, reader: &mut Reader<'_>) -> Result<Self> {
        let corrupt = |reason: &str| Error::corrupt("transforms", reason);
        let (source, n_maps) = (reader.u32()?, reader.u32()? as usize);
        let Some(kind) = input.kinds().get(source as usize) else {
            return Err(corrupt("a column comes from nowhere"));
        };
        let mut maps_before = 0;
        let maps = reader.list(n_maps, MAP_BYTES, |reader| {
            let map: Map = reader.record("transform")?;
            reader.charge(map.boxed())?;
            if !map.is_sound() {
                return Err(corrupt("a map is unsound"));
            }
            if let Map::Woe(binning) = &map {
                // A chain may have turned a category into a number before it is binned.
                match maps_before {
                    0 => binning.check(&input.names()[source as usize], kind)?,
                    _ => binning.check(binning.feature(), &FeatureKind::Numeric)?,
                }
            }
            maps_before += 1;
            Ok(map)
        })?;
        Ok(Chain { source, maps })
    }
}
