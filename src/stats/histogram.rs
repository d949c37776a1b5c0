//! A histogram of latencies in fixed memory.

/// Latencies in nanoseconds on log-linear buckets: 16 per power of two, so a quantile is off by at most 1/16 of its
/// value. 7.8 KiB, mergeable in any order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LatencyHistogram {
    counts: Vec<u64>,
    total: u64,
    max: u64,
}

/// Values below this have a bucket each; it is also the number of buckets per power of two.
const LINEAR: u64 = 16;
const N_BUCKETS: usize = 61 * LINEAR as usize;

impl Default for LatencyHistogram {
    fn default() -> Self {
        LatencyHistogram { counts: vec![0; N_BUCKETS], total: 0, max: 0 }
    }
}

impl LatencyHistogram {
    /// Counts one latency. O(1), no allocation.
    #[inline]
    pub fn record(&mut self, nanos: u64) {
        self.counts[bucket(nanos)] += 1;
        self.total += 1;
        self.max = self.max.max(nanos);
    }

    /// Adds another histogram's counts to this one. A count that cannot grow any more stays at its largest.
    pub fn merge(&mut self, other: &LatencyHistogram) {
        let pairs = self.counts.iter_mut().zip(&other.counts);
        pairs.for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
        self.total = self.total.saturating_add(other.total);
        self.max = self.max.max(other.max);
    }

    /// Counts by bucket, and [`max`](Self::max): all there is to write down.
    pub(crate) fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// The histogram with these counts by bucket; places that are missing count nothing. `None` for more in all than can be
    /// counted.
    pub(crate) fn from_counts(mut counts: Vec<u64>, max: u64) -> Option<Self> {
        counts.resize(N_BUCKETS, 0);
        let total = counts.iter().try_fold(0_u64, |sum, count| sum.checked_add(*count))?;
        Some(LatencyHistogram { total, counts, max })
    }

    /// Number of latencies counted.
    pub fn count(&self) -> u64 {
        self.total
    }

    /// The largest latency seen, exactly; 0 before the first.
    pub fn max(&self) -> u64 {
        self.max
    }

    /// The latency that a share `q` of all stays at or below, in nanoseconds: the middle of its bucket, never above
    /// [`max`](Self::max). `None` before the first or for a `q` outside `0.0..=1.0`.
    pub fn quantile(&self, q: f64) -> Option<u64> {
        if self.total == 0 || !(0.0..=1.0).contains(&q) {
            return None;
        }
        let rank = ((q * self.total as f64).ceil() as u64).clamp(1, self.total);
        let mut seen = 0;
        let bucket = self.counts.iter().position(|&count| {
            seen = count.saturating_add(seen);
            seen >= rank
        })?;
        Some(middle(bucket).min(self.max))
    }
}

fn bucket(nanos: u64) -> usize {
    if nanos < LINEAR {
        return nanos as usize;
    }
    let shift = nanos.ilog2() - LINEAR.ilog2();
    (u64::from(shift) * LINEAR + (nanos >> shift)) as usize
}

fn middle(bucket: usize) -> u64 {
    let bucket = bucket as u64;
    if bucket < LINEAR {
        return bucket;
    }
    let shift = bucket / LINEAR - 1;
    let low = (bucket - shift * LINEAR) << shift;
    low + (1 << shift) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #![proptest_config(ProptestConfig { cases: 64, failure_persistence: None, ..ProptestConfig::default() })]

        #[test]
        fn counts_are_conserved_and_quantiles_rise_to_the_largest(
            nanos in prop::collection::vec(prop_oneof![0..20_000_u64, any::<u64>()], 1..200),
            cut in 0..200_usize,
        ) {
            let of = |nanos: &[u64]| {
                let mut histogram = LatencyHistogram::default();
                nanos.iter().for_each(|nanos| histogram.record(*nanos));
                histogram
            };
            let (one, two) = nanos.split_at(cut % nanos.len());
            let mut both = of(one);
            both.merge(&of(two));
            prop_assert_eq!(&both, &of(&nanos));
            prop_assert_eq!(both.counts().iter().sum::<u64>(), both.count());
            prop_assert_eq!(both.count(), nanos.len() as u64);
            let quantiles: Vec<u64> =
                (0..=50).map(|i| both.quantile(f64::from(i) / 50.0).unwrap()).collect();
            prop_assert!(quantiles.is_sorted(), "{:?}", quantiles);
            prop_assert!(quantiles[50] <= both.max());
            prop_assert_eq!(both.max(), nanos.iter().copied().max().unwrap());
        }
    }

    #[test]
    fn quantiles_stay_within_a_sixteenth() {
        let mut histogram = LatencyHistogram::default();
        (1..=100_000).for_each(|nanos| histogram.record(nanos));
        for (q, exact) in [(0.5, 50_000.0), (0.99, 99_000.0), (1.0, 100_000.0)] {
            let got = histogram.quantile(q).unwrap() as f64;
            assert!((got / exact - 1.0).abs() <= 1.0 / 16.0, "{q}: {got}");
        }
        assert_eq!(histogram.max(), 100_000);
        assert_eq!(LatencyHistogram::default().quantile(0.5), None);
    }

    #[test]
    fn every_value_has_a_bucket_and_merging_adds() {
        let mut one = LatencyHistogram::default();
        let mut two = LatencyHistogram::default();
        for shift in 0..64 {
            one.record(1 << shift);
            two.record(u64::MAX >> shift);
        }
        let mut both = one.clone();
        both.merge(&two);
        assert_eq!((both.count(), both.max()), (128, u64::MAX));
        assert_eq!(both.quantile(0.0), Some(1));
    }

    #[test]
    fn counts_that_would_run_over_are_none() {
        let of = |counts: &[u64]| LatencyHistogram::from_counts(counts.to_vec(), 9);
        assert_eq!(of(&[1, 2]).unwrap().count(), 3);
        assert!(of(&[u64::MAX, 1]).is_none());
    }
}
