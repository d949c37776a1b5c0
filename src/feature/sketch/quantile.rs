//! Which value lies at a quantile: a sorted list while there are few, counts in buckets of constant relative width from then
//! on.

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::stats::quantile_of_sorted;

/// Most values that are kept as they are.
const EXACT: usize = 256;

/// Buckets between a power of two and the next, as a power of two.
const STEPS: u32 = 6;

/// Quantiles of whole numbers: exact (type 7) up to 256 values; from then on the value of rank ⌊q (n − 1)⌋ with a relative
/// error of at most 1/128, 0.8 %, and exact below 128. 8 bytes a value at first, then 16 bytes a bucket: 64 of them for each
/// power of two that the values span.
///
/// DDSketch (Masson, Rim, Lee, VLDB 2019, arXiv:1908.10693), with buckets by the leading bits of the number in place of a
/// logarithm, and without collapsing: no bucket ever depends on the order in which values came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum QuantileSketch {
    /// In order.
    Few(Vec<i64>),
    /// Buckets in order, with their counts, and the number of values.
    Many(Vec<(i64, u64)>, u64),
}

impl Default for QuantileSketch {
    fn default() -> Self {
        QuantileSketch::Few(Vec::new())
    }
}

impl QuantileSketch {
    pub(crate) fn add(&mut self, value: i64) {
        if let QuantileSketch::Few(values) = self {
            values.insert(values.partition_point(|other| *other <= value), value);
            if values.len() > EXACT {
                let values = std::mem::take(values);
                *self = QuantileSketch::Many(Vec::new(), 0);
                values.into_iter().for_each(|value| self.count(bucket(value), 1));
            }
        } else {
            self.count(bucket(value), 1);
        }
    }

    fn count(&mut self, bucket: i64, n: u64) {
        let QuantileSketch::Many(buckets, total) = self else { return };
        *total += n;
        match buckets.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(place) => buckets[place].1 += n,
            Err(place) => buckets.insert(place, (bucket, n)),
        }
    }

    /// Takes in the values of another one.
    pub(crate) fn merge(&mut self, other: &Self) {
        match other {
            QuantileSketch::Few(values) => values.iter().for_each(|value| self.add(*value)),
            QuantileSketch::Many(buckets, total) => {
                if let QuantileSketch::Few(values) = self {
                    let values = std::mem::take(values);
                    *self = QuantileSketch::Many(buckets.clone(), *total);
                    values.into_iter().for_each(|value| self.add(value));
                } else {
                    buckets.iter().for_each(|(bucket, n)| self.count(*bucket, *n));
                }
            }
        }
    }

    /// `None` without values.
    pub(crate) fn quantile(&self, q: f64) -> Option<f64> {
        match self {
            QuantileSketch::Few(values) => {
                quantile_of_sorted(values.len(), |i| values[i] as f64, q)
            }
            QuantileSketch::Many(buckets, n) => {
                let rank = (q * (n - 1) as f64) as u64;
                let mut before = 0;
                let reached = |(_, n): &&(i64, u64)| {
                    before += n;
                    before > rank
                };
                buckets.iter().find(reached).map(|(bucket, _)| middle(*bucket))
            }
        }
    }

    pub(crate) fn write(&self, bytes: &mut Vec<u8>) {
        match self {
            QuantileSketch::Few(values) => {
                bytes.extend((values.len() as u64).to_le_bytes());
                values.iter().for_each(|value| bytes.extend(value.to_le_bytes()));
            }
            QuantileSketch::Many(buckets, _) => {
                bytes.extend((EXACT as u64 + buckets.len() as u64).to_le_bytes());
                for (bucket, n) in buckets {
                    bytes.extend(bucket.to_le_bytes());
                    bytes.extend(n.to_le_bytes());
                }
            }
        }
    }

    pub(crate) fn read(reader: &mut Reader<'_>) -> Result<Self> {
        let odd = || Error::corrupt("feature snapshot", "holds values that cannot be");
        let n = reader.u64()?;
        let Some(n_buckets) = n.checked_sub(EXACT as u64 + 1) else {
            let values = (0..n).map(|_| reader.i64()).collect::<Result<Vec<i64>>>()?;
            return if values.is_sorted() { Ok(QuantileSketch::Few(values)) } else { Err(odd()) };
        };
        let n_buckets = n_buckets + 1;
        if n_buckets > reader.remaining() as u64 / 16 {
            return Err(odd());
        }
        let read = |_| Ok((reader.i64()?, reader.count()?));
        let buckets = (0..n_buckets).map(read).collect::<Result<Vec<(i64, u64)>>>()?;
        let total = buckets.iter().try_fold(0u64, |total, (_, n)| total.checked_add(*n));
        let sound = |total: &u64| {
            let last = bucket(i64::MAX);
            *total > EXACT as u64
                && buckets.windows(2).all(|pair| pair[0].0 < pair[1].0)
                && buckets.iter().all(|(bucket, n)| bucket.abs() <= last + 1 && *n > 0)
        };
        let total = total.filter(sound).ok_or_else(odd)?;
        Ok(QuantileSketch::Many(buckets, total))
    }
}

/// The number of a value's bucket: rises with the value; the value itself as long as that is small.
fn bucket(value: i64) -> i64 {
    let size = value.unsigned_abs();
    let shift = size.max(1).ilog2().saturating_sub(STEPS);
    // The leading bits, one of which is always set, count up within a power of two.
    let number = i64::from(shift) * (1 << STEPS) + (size >> shift) as i64;
    if value < 0 { -number } else { number }
}

/// The middle of a bucket's values.
fn middle(bucket: i64) -> f64 {
    let number = bucket.unsigned_abs();
    let shift = (number >> STEPS).saturating_sub(1);
    let width = (1u64 << shift) as f64;
    let size = (number - (shift << STEPS)) as f64 * width + (width - 1.0) / 2.0;
    if bucket < 0 { -size } else { size }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn of(values: &[i64]) -> QuantileSketch {
        let mut sketch = QuantileSketch::default();
        values.iter().for_each(|value| sketch.add(*value));
        sketch
    }

    #[test]
    fn buckets_rise_with_the_value_and_their_middle_is_near() {
        let mut last = bucket(i64::MIN);
        let ends = (0..63).flat_map(|bit| [1i64 << bit, (1 << bit) - 1, (1 << bit) + 1]);
        let ends = ends.flat_map(|size| [size, -size]).chain(-2000..2000);
        let mut values: Vec<i64> = ends.chain([i64::MIN, i64::MAX, 1234, 987_654_321]).collect();
        values.sort_unstable();
        for value in values {
            let number = bucket(value);
            assert!(number >= last, "{value}");
            last = number;
            let error = (middle(number) - value as f64).abs();
            assert!(error <= (value as f64).abs() / 128.0, "{value}: {}", middle(number));
        }
    }

    fn values() -> impl Strategy<Value = Vec<i64>> {
        let value = prop_oneof![-1000i64..100_000, Just(0), any::<i64>()];
        prop::collection::vec(value, 1..900)
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn a_quantile_is_the_exact_one_or_near_the_value_of_its_rank(
            mut values in values(), q in 0.0..=1.0f64,
        ) {
            let sketch = of(&values);
            values.sort_unstable();
            let n = values.len();
            let found = sketch.quantile(q).unwrap();
            if n <= EXACT {
                prop_assert_eq!(Some(found), quantile_of_sorted(n, |i| values[i] as f64, q));
            } else {
                let exact = values[(q * (n - 1) as f64) as usize] as f64;
                prop_assert!((found - exact).abs() <= exact.abs() / 128.0, "{} {}", found, exact);
            }
        }

        #[test]
        fn parts_merge_into_the_whole(values in values(), cut in 0usize..900) {
            let whole = of(&values);
            let (one, two) = values.split_at(cut % values.len());
            let mut merged = of(two);
            merged.merge(&of(one));
            prop_assert_eq!(&merged, &whole);
            let mut bytes = Vec::new();
            whole.write(&mut bytes);
            let mut reader = Reader::new("sketch", &bytes);
            prop_assert_eq!(QuantileSketch::read(&mut reader).unwrap(), whole);
            reader.finish().unwrap();
        }
    }
}
