//! How scores are spread from 0 to 1.

use crate::codec::total;

/// Bins of equal width.
pub(crate) const SCORE_BINS: usize = 32;
/// Scores are summed in 2⁻³² steps: whole numbers, so that order and threads do not matter.
pub(crate) const SCORE_STEPS: f64 = 4_294_967_296.0;

/// The bin of a score; one outside `0.0..=1.0` is in the nearest.
#[inline]
pub(crate) fn score_bin(score: f64) -> usize {
    // The cast saturates, and takes NaN and what is below 0 for 0.
    ((score * SCORE_BINS as f64) as usize).min(SCORE_BINS - 1)
}

/// Counts of scores in 32 bins of equal width from 0 to 1, and their mean. Mergeable in any order.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ScoreHistogram {
    bins: [u64; SCORE_BINS],
    steps: u128,
}

impl ScoreHistogram {
    /// Counts a score; one outside `0.0..=1.0` counts as the nearer end. O(1), no allocation.
    #[inline]
    pub fn record(&mut self, score: f64) {
        let score = if score > 0.0 { score.min(1.0) } else { 0.0 };
        self.bins[score_bin(score)] += 1;
        self.steps += (score * SCORE_STEPS) as u128;
    }

    /// Adds another histogram's counts to this one. A count that cannot grow any more stays at its largest.
    pub fn merge(&mut self, other: &ScoreHistogram) {
        let pairs = self.bins.iter_mut().zip(&other.bins);
        pairs.for_each(|(mine, theirs)| *mine = mine.saturating_add(*theirs));
        self.steps = self.steps.saturating_add(other.steps);
    }

    /// Scores per bin, from 0 to 1.
    pub fn bins(&self) -> &[u64] {
        &self.bins
    }

    /// Scores counted.
    pub fn count(&self) -> u64 {
        total(self.bins)
    }

    /// Mean score; `None` before the first.
    pub fn mean(&self) -> Option<f64> {
        let count = self.count();
        (count > 0).then(|| self.steps as f64 / SCORE_STEPS / count as f64)
    }

    /// All there is to write down: bins and the sum in 2⁻³² steps.
    pub(crate) fn parts(&self) -> (&[u64], u128) {
        (&self.bins, self.steps)
    }

    /// From its [`parts`](Self::parts); `None` if they cannot be.
    pub(crate) fn from_parts(bins: &[u64], steps: u128) -> Option<Self> {
        let bins: [u64; SCORE_BINS] = bins.try_into().ok()?;
        (steps <= u128::from(total(bins)) << 32).then_some(ScoreHistogram { bins, steps })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn scores_outside_their_range_count_as_its_ends_and_nothing_is_lost_in_a_merge() {
        let mut histogram = ScoreHistogram::default();
        for score in [-1.0, 0.0, 1.0 / 32.0, 1.0, 7.0, f64::NAN] {
            histogram.record(score);
        }
        assert_eq!((histogram.bins()[0], histogram.bins()[1], histogram.bins()[31]), (3, 1, 2));
        let mut two = histogram.clone();
        two.merge(&histogram);
        assert_eq!((two.count(), two.mean()), (12, histogram.mean()));
        let (bins, steps) = two.parts();
        assert_eq!(ScoreHistogram::from_parts(bins, steps).as_ref(), Some(&two));
        assert_eq!(ScoreHistogram::from_parts(bins, u128::MAX), None);
        assert_eq!(ScoreHistogram::from_parts(&bins[1..], steps), None);
    }
}
