//! Columns as small numbers: what training looks at instead of values.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::tree::cache_line::{CACHE_LINE, n_before_line};
use crate::model::tree::grow::histogram::MAX_ROWS;
use crate::model::tree::grow::split::LeftBins;
use crate::model::tree::node::{CategorySet, Question};
use crate::parallel;

/// How the values of a column are cut into bins, between which splits are looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Binning {
    /// Bins that hold about the same number of rows each.
    Quantile,
    /// Half of the bins in the highest 2 % of the values, the others below: what is rare and bad tends to be large. On the
    /// Fraud Detection Handbook plain quantiles lose 0.04 of average precision, these nothing.
    TailAware,
    /// A bin for every distinct value: splits are exact, training takes longer. A column of more than 65,535 distinct
    /// values gets as many quantile bins.
    Exact,
}

/// Rows that cuts are made from; where there are more, as many evenly spaced ones.
const SAMPLE: usize = 200_000;
/// Features whose values are copied out of the rows together.
const TOGETHER: usize = 4;
/// Where the tail begins that [`Binning::TailAware`] looks into.
const TAIL: f64 = 0.98;
/// Most features side by side in one word of a line.
pub(crate) const GROUP: usize = 8;
/// Most bins, the one for missing values included, that a byte can tell apart.
const BYTE_BINS: usize = 256;
/// Most bins for values.
const MAX_BINS: usize = 65_535;
/// Rows that are turned into bins together.
const ROWS: usize = 512;

/// A data set as bins. Of a feature with `n` bins for values, bin `n` holds what is missing.
#[derive(Debug)]
pub(crate) struct Binned {
    pub(crate) features: Vec<FeatureBins>,
    pub(crate) columns: Columns,
    lines: Lines,
    /// Words in a line.
    pub(crate) n_groups: usize,
}

/// Words from the start of one of the processor's cache lines on: rows of one, two or four words never lie in two of them.
#[derive(Debug, Default)]
struct Lines {
    words: Vec<u64>,
    start: usize,
}

impl Lines {
    fn zeros(n_words: usize) -> Self {
        let mut words = vec![0; n_words + CACHE_LINE / size_of::<u64>()];
        let start = n_before_line(words.as_ptr(), words.len() - n_words);
        words.truncate(start + n_words);
        Lines { words, start }
    }

    fn words(&self) -> &[u64] {
        &self.words[self.start..]
    }

    fn words_mut(&mut self) -> &mut [u64] {
        &mut self.words[self.start..]
    }
}

/// One feature's bins, column after column.
#[derive(Debug)]
pub(crate) enum Columns {
    Bytes(Vec<Vec<u8>>),
    Shorts(Vec<Vec<u16>>),
}

#[cfg(test)]
impl Columns {
    pub(crate) fn bin(&self, feature: usize, row: usize) -> usize {
        match self {
            Columns::Bytes(columns) => columns[feature][row].into(),
            Columns::Shorts(columns) => columns[feature][row].into(),
        }
    }
}

/// What a feature's bins stand for.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum FeatureBins {
    /// Bin `b` holds the values above `cuts[b - 1]` and up to `cuts[b]`.
    Cuts(Vec<f64>),
    /// Bin `b` holds the category with code `codes[b]`; any other counts as missing.
    Codes(Vec<u32>),
}

impl FeatureBins {
    /// Number of bins for values; the one for missing values comes behind them.
    pub(crate) fn n_values(&self) -> usize {
        match self {
            FeatureBins::Cuts(cuts) => cuts.len() + 1,
            FeatureBins::Codes(codes) => codes.len(),
        }
    }

    /// The question that sends left what training sent left.
    pub(crate) fn question(&self, left: &LeftBins) -> Question {
        match (self, left) {
            (FeatureBins::Cuts(cuts), LeftBins::UpTo(below, above)) => {
                Question::AtMost(match cuts.get(above.wrapping_sub(1)) {
                    // Bins between the two hold no row: the threshold takes the middle of what lies between them.
                    Some(&high) => between(cuts[*below], high.next_up()),
                    None => f64::INFINITY,
                })
            }
            (FeatureBins::Codes(codes), LeftBins::These(bins)) => {
                Question::OneOf(CategorySet::new(bins.iter().map(|&bin| codes[bin as usize])))
            }
            _ => unreachable!("numbers are cut and categories divided, never the other way round"),
        }
    }

    fn bin(&self, value: f64) -> usize {
        let n_values = self.n_values();
        match self {
            _ if value.is_nan() => n_values,
            FeatureBins::Cuts(cuts) => cuts.partition_point(|cut| *cut < value),
            // `Dataset` holds codes only.
            FeatureBins::Codes(codes) => codes.binary_search(&(value as u32)).unwrap_or(n_values),
        }
    }

    /// The categories that occur, the most frequent ones where there are too many.
    fn of_categories(sorted: &[f64], max_bins: usize) -> Self {
        let mut counts: Vec<(u32, u32)> = Vec::new();
        for &value in sorted {
            match counts.last_mut() {
                Some((code, count)) if f64::from(*code) == value => *count += 1,
                _ => counts.push((value as u32, 1)),
            }
        }
        counts.sort_by_key(|&(code, count)| (std::cmp::Reverse(count), code));
        counts.truncate(max_bins);
        let mut codes: Vec<u32> = counts.into_iter().map(|(code, _)| code).collect();
        codes.sort_unstable();
        FeatureBins::Codes(codes)
    }

    /// Cuts for values in ascending order.
    fn of_numbers(sorted: &[f64], max_bins: usize, binning: Binning) -> Self {
        let mut values: Vec<f64> = Vec::new();
        let mut counts: Vec<u32> = Vec::new();
        for &value in sorted {
            match counts.last_mut() {
                Some(count) if *values.last().expect("as many as counts") == value => *count += 1,
                _ => {
                    values.push(value);
                    counts.push(1);
                }
            }
        }
        let mut ends = match binning {
            Binning::TailAware if values.len() > max_bins => {
                let below = TAIL * sorted.len() as f64;
                let mut sum = 0.0;
                let tail = counts.iter().position(|&count| {
                    let begins_in_tail = sum >= below;
                    sum += f64::from(count);
                    begins_in_tail
                });
                let tail = tail.unwrap_or(counts.len());
                let for_tail =
                    (counts.len() - tail).min(max_bins / 2).max(max_bins.saturating_sub(tail));
                let mut ends = equal_frequency(&counts[..tail], max_bins - for_tail);
                if tail > 0 && for_tail > 0 {
                    ends.push(tail - 1);
                }
                ends.extend(equal_frequency(&counts[tail..], for_tail).iter().map(|i| i + tail));
                ends
            }
            _ => equal_frequency(&counts, max_bins),
        };
        if values.len() > max_bins {
            move_to_singles(&mut ends, &values);
        }
        FeatureBins::Cuts(ends.iter().map(|&i| between(values[i], values[i + 1])).collect())
    }
}

/// Moves the ends of bins by a value or a few to where single precision holds a cut. Of many cuts between doubles some lie
/// where there is none, and one of them would make scoring compare all of them in 64 bits.
fn move_to_singles(ends: &mut [usize], values: &[f64]) {
    const FAR: usize = 8;
    let is_single = |end: usize| {
        let cut = between(values[end], values[end + 1]);
        f64::from(cut as f32) == cut
    };
    for i in 0..ends.len() {
        let first = if i == 0 { 0 } else { ends[i - 1] + 1 };
        let last = ends.get(i + 1).copied().unwrap_or(values.len() - 1) - 1;
        let near = (0..=FAR).flat_map(|far| [ends[i] + far, ends[i].wrapping_sub(far)]);
        let mut near = near.filter(|end| (first..=last).contains(end));
        if let Some(end) = near.find(|&end| is_single(end)) {
            ends[i] = end;
        }
    }
}

/// The last value of every bin but the last, as positions: each distinct value its own bin where there are enough, else
/// bins of about the same number of rows.
fn equal_frequency(counts: &[u32], max_bins: usize) -> Vec<usize> {
    if counts.len() <= max_bins {
        return (0..counts.len().saturating_sub(1)).collect();
    }
    let mut ends = Vec::with_capacity(max_bins);
    let mut rows: u64 = counts.iter().map(|&n| u64::from(n)).sum();
    let mut bins = max_bins;
    let mut held = 0;
    // Rows of a bin, and of half a one, rounded up.
    let sizes = |rows: u64, bins: usize| {
        let size = rows as f64 / bins as f64;
        (size.ceil() as u64, (size / 2.0).ceil() as u64)
    };
    let (mut size, mut half) = sizes(rows, bins);
    for i in 0..counts.len() - 1 {
        if bins <= 1 {
            break;
        }
        held += u64::from(counts[i]);
        // A value that fills a bin by itself gets one by itself.
        if held >= size || (u64::from(counts[i + 1]) >= size && held >= half) {
            ends.push(i);
            rows -= held;
            bins -= 1;
            held = 0;
            (size, half) = sizes(rows, bins);
        }
    }
    ends
}

/// A number `c` with `low ≤ c < high`, near the middle, and one that single precision holds if there is such a one, so
/// that scoring can compare in 32 bits without changing an answer.
fn between(low: f64, high: f64) -> f64 {
    let middle = low + (high - low) / 2.0;
    let single = middle as f32;
    [single, single.next_down(), single.next_up(), low as f32, (low as f32).next_up()]
        .map(f64::from)
        .into_iter()
        .chain([middle])
        .find(|c| low <= *c && *c < high)
        .unwrap_or(low)
}

impl Binned {
    /// # Errors
    /// `InvalidInput` for more than 67,108,863 rows or 65,535 features.
    pub(crate) fn new(data: &Dataset, binning: Binning, max_bins: usize) -> Result<Self> {
        let (n_rows, n_features) = (data.n_rows(), data.schema().n_features());
        if n_rows > MAX_ROWS || n_features > usize::from(u16::MAX) {
            let reason =
                format!("{n_rows} rows of {n_features} features: {MAX_ROWS} of 65535 at most");
            return Err(Error::input("training data", reason));
        }
        let sample: Vec<usize> = match binning {
            Binning::Exact => (0..n_rows).collect(),
            _ if n_rows <= SAMPLE => (0..n_rows).collect(),
            _ => (0..SAMPLE)
                .map(|i| (i as u128 * n_rows as u128 / SAMPLE as u128) as usize)
                .collect(),
        };
        let positions: Vec<usize> = (0..n_features).collect();
        let rows = data.rows();
        let max_bins = if binning == Binning::Exact { MAX_BINS } else { max_bins };
        // Neighbours stand in the same cache lines: a few are read together, where their copies are small.
        let n_together = if sample.len() > SAMPLE { 1 } else { TOGETHER };
        let together: Vec<&[usize]> = positions.chunks(n_together).collect();
        let features = parallel::map(&together, |positions| -> Vec<FeatureBins> {
            let mut columns: Vec<Vec<f64>> =
                positions.iter().map(|_| Vec::with_capacity(sample.len())).collect();
            for row in &sample {
                let values = &rows[row * n_features + positions[0]..][..positions.len()];
                columns.iter_mut().zip(values).for_each(|(column, value)| column.push(*value));
            }
            let bins = columns.into_iter().zip(*positions).map(|(column, &feature)| {
                let sorted = sorted(column);
                match data.schema().kinds()[feature].categories() {
                    Some(_) => FeatureBins::of_categories(&sorted, max_bins),
                    None => FeatureBins::of_numbers(&sorted, max_bins, binning),
                }
            });
            bins.collect()
        });
        let features = features.concat();
        let most = features.iter().map(|f| f.n_values() + 1).max().unwrap_or(1);
        // An even number, so that two threads take as many each.
        let n_groups = match n_features.div_ceil(GROUP) {
            1 => 1,
            n => n.next_multiple_of(2),
        };
        if most > BYTE_BINS {
            let columns = parallel::map(&positions, |&feature| {
                let bins = &features[feature];
                (0..n_rows).map(|row| bins.bin(rows[row * n_features + feature]) as u16).collect()
            });
            let columns = Columns::Shorts(columns);
            return Ok(Binned { features, columns, lines: Lines::default(), n_groups });
        }
        let lines = lines(rows, &features, n_groups);
        let columns = Columns::Bytes(parallel::map(&positions, |&feature| {
            let group = ((feature + 1) * n_groups - 1) / n_features;
            let shift = 8 * (feature - first_of(group, n_groups, n_features));
            let words = lines.words().iter().skip(group).step_by(n_groups);
            words.map(|word| (word >> shift) as u8).collect()
        }));
        Ok(Binned { features, columns, lines, n_groups })
    }

    /// Frees what only training on all features of a node at once needs.
    pub(crate) fn without_lines(mut self) -> Self {
        self.lines = Lines::default();
        self
    }

    /// The features of some groups.
    pub(crate) fn of_groups(&self, groups: &Range<usize>) -> Range<usize> {
        let (n_groups, n_features) = (self.n_groups, self.features.len());
        first_of(groups.start, n_groups, n_features)..first_of(groups.end, n_groups, n_features)
    }

    /// Row after row, a group of up to eight features in a word; empty where bins take two bytes.
    pub(crate) fn lines(&self) -> &[u64] {
        self.lines.words()
    }
}

/// The first feature of a group; groups differ by one feature at most.
fn first_of(group: usize, n_groups: usize, n_features: usize) -> usize {
    group * n_features / n_groups
}

/// The values that are not missing, ascending.
fn sorted(values: Vec<f64>) -> Vec<f64> {
    // As integers in the order of the values, which sort faster; 0.0 takes the sign off zero.
    let flip = |bits: u64| bits ^ (((bits as i64) >> 63) as u64 >> 1);
    let mut keys: Vec<i64> = values
        .into_iter()
        .filter(|value| !value.is_nan())
        .map(|value| flip((value + 0.0).to_bits()) as i64)
        .collect();
    keys.sort_unstable();
    keys.into_iter().map(|key| f64::from_bits(flip(key as u64))).collect()
}

/// The cuts of eight features, padded so that a search always takes eight steps.
type GroupCuts = [[f64; BYTE_BINS]; GROUP];

fn lines(rows: &[f64], features: &[FeatureBins], n_groups: usize) -> Lines {
    let n_features = features.len();
    let groups: Vec<(usize, &[FeatureBins], GroupCuts)> = (0..n_groups)
        .map(|group| {
            let [first, end] = [group, group + 1].map(|g| first_of(g, n_groups, n_features));
            let features = &features[first..end];
            let cuts = std::array::from_fn(|lane| {
                let cuts = match features.get(lane) {
                    Some(FeatureBins::Cuts(cuts)) => &cuts[..],
                    _ => &[],
                };
                std::array::from_fn(|i| cuts.get(i).copied().unwrap_or(f64::INFINITY))
            });
            (first, features, cuts)
        })
        .collect();
    let mut lines = Lines::zeros(rows.len() / n_features * n_groups);
    let blocks =
        lines.words_mut().chunks_mut(ROWS * n_groups).zip(rows.chunks(ROWS * n_features)).collect();
    parallel::for_each(blocks, |(lines, rows): (&mut [u64], &[f64])| {
        for (g, (first, features, cuts)) in groups.iter().enumerate() {
            let lines = lines.chunks_exact_mut(n_groups);
            for (line, row) in lines.zip(rows.chunks_exact(n_features)) {
                let row = &row[*first..][..features.len()];
                line[g] =
                    row.iter().zip(cuts).enumerate().fold(0, |word, (lane, (value, cuts))| {
                        word | (search(cuts, *value) as u64) << (8 * lane)
                    });
                for (lane, (value, bins)) in row.iter().zip(*features).enumerate() {
                    // Both stand at 0 so far.
                    if value.is_nan() || matches!(bins, FeatureBins::Codes(_)) {
                        line[g] |= (bins.bin(*value) as u64) << (8 * lane);
                    }
                }
            }
        }
    });
    lines
}

/// How many of the padded cuts lie below the value (0 for NaN): eight steps, each taken or not without a branch. Written
/// out, the searches of several features overlap; as a loop over lanes it took nine times as long (2026-11-22).
#[inline]
fn search(cuts: &[f64; BYTE_BINS], value: f64) -> usize {
    let step =
        |at: usize, n: usize| at + n * usize::from(cuts[(at + n - 1) & (BYTE_BINS - 1)] < value);
    let at = step(step(step(step(0, 128), 64), 32), 16);
    step(step(step(step(at, 8), 4), 2), 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cuts_between_doubles_are_singles_where_bins_may_move() {
        // A hundred thousand values so close together that most neighbours have no single between them.
        let values: Vec<f64> = (0..100_000).map(|i| 1.0 + f64::from(i) * 3e-8).collect();
        let bins = FeatureBins::of_numbers(&values, 255, Binning::Quantile);
        let FeatureBins::Cuts(cuts) = bins else { panic!("numbers are cut") };
        assert_eq!(cuts.len(), 254);
        assert!(cuts.iter().all(|&cut| f64::from(cut as f32) == cut), "{cuts:?}");
        assert!(cuts.is_sorted_by(|a, b| a < b));
        // Where every value has a bin of its own, it keeps it.
        let FeatureBins::Cuts(cuts) = FeatureBins::of_numbers(&values[..9], 255, Binning::Quantile)
        else {
            panic!("numbers are cut")
        };
        assert_eq!(cuts.len(), 8);
    }

    #[test]
    fn a_cut_lies_between_its_neighbours_and_in_single_precision_where_it_can() {
        for (low, high) in [
            (1.0, 2.0),
            (0.1, 0.1_f64.next_up()),
            (-0.0, f64::MIN_POSITIVE),
            (f64::NEG_INFINITY, f64::INFINITY),
            (f64::NEG_INFINITY, -5.0),
            (1e300, f64::INFINITY),
            (f64::MIN, f64::MAX),
            (1.0, f64::from(1.0_f32.next_up())),
            (1e-310, 2e-310),
        ] {
            let cut = between(low, high);
            assert!(low <= cut && cut < high, "{low} {cut} {high}");
        }
        assert_eq!(between(1.0, f64::from(1.0_f32.next_up())), 1.0);
        assert_eq!(between(218.67, 218.69) as f32 as f64, between(218.67, 218.69));
    }

    #[test]
    fn few_values_get_a_bin_each_and_many_share_them_evenly() {
        let bins = FeatureBins::of_numbers(&[1.0, 1.0, 3.0, 9.0], 255, Binning::TailAware);
        assert_eq!(bins, FeatureBins::Cuts(vec![2.0, 6.0]));
        assert_eq!([0.5, 2.0, 2.1, 7.0, f64::NAN].map(|x| bins.bin(x)), [0, 0, 1, 2, 3]);
        let values: Vec<f64> = (0..10_000).map(f64::from).collect();
        let even = FeatureBins::of_numbers(&values, 100, Binning::Quantile);
        assert_eq!(even.n_values(), 100);
        let mut counts = [0; 100];
        values.iter().for_each(|&value| counts[even.bin(value)] += 1);
        assert!(counts.iter().all(|&n| n == 100), "{counts:?}");
        let tail = FeatureBins::of_numbers(&values, 100, Binning::TailAware);
        assert_eq!((tail.n_values(), tail.bin(9_799.0), tail.bin(9_800.0)), (100, 49, 50));
        let exact = FeatureBins::of_numbers(&values, usize::MAX, Binning::Exact);
        assert_eq!(exact.n_values(), 10_000);
    }

    #[test]
    fn a_value_that_fills_most_rows_does_not_starve_the_others_of_bins() {
        let values: Vec<f64> =
            (0..10_000).map(|i| if i < 9_000 { 0.0 } else { f64::from(i) }).collect();
        for binning in [Binning::Quantile, Binning::TailAware] {
            let bins = FeatureBins::of_numbers(&values, 64, binning);
            assert!(bins.n_values() >= 62, "{binning:?} {}", bins.n_values());
            assert_eq!((bins.bin(0.0), bins.bin(9_000.0)), (0, 1));
        }
    }

    #[test]
    fn every_feature_finds_its_own_bins_however_many_there_are() {
        for n_features in [1, 7, 8, 9, 16, 17, 25, 33, 41, 64, 65] {
            let value = |i: usize| if i % 11 == 5 { f64::NAN } else { (i as f64 * 0.618).fract() };
            let values: Vec<f64> = (0..300 * n_features).map(value).collect();
            let rows = ndarray::Array2::from_shape_vec((300, n_features), values).unwrap();
            let names = (0..n_features).map(|i| format!("x{i}"));
            let schema = crate::schema::FeatureSchema::new(names).unwrap();
            let data = Dataset::new(schema, rows, (0..300).map(|i| i % 3 == 0).collect()).unwrap();
            let binned = Binned::new(&data, Binning::Quantile, 100).unwrap();
            for (row, values) in data.rows().chunks(n_features).enumerate() {
                for (feature, &value) in values.iter().enumerate() {
                    let bin = binned.features[feature].bin(value);
                    assert_eq!(binned.columns.bin(feature, row), bin, "{feature} of {n_features}");
                }
            }
            let sizes =
                (0..binned.n_groups).map(|group| binned.of_groups(&(group..group + 1)).len());
            assert!(sizes.clone().all(|n| (1..=GROUP).contains(&n)));
            assert_eq!(sizes.sum::<usize>(), n_features);
        }
    }

    #[test]
    fn bins_by_words_equal_bins_by_search() {
        let values: Vec<f64> = (0..3_000).map(|i| f64::from(i * 7919 % 3_001) * 0.37).collect();
        let mut ascending = values.clone();
        ascending.sort_by(f64::total_cmp);
        let bins = FeatureBins::of_numbers(&ascending, 255, Binning::TailAware);
        let mut rows = values.clone();
        rows.extend([f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 1e9, -1e9]);
        let lines = lines(&rows, std::slice::from_ref(&bins), 1);
        for (row, &line) in rows.iter().zip(lines.words()) {
            assert_eq!(line as usize, bins.bin(*row), "{row}");
        }
    }
}
