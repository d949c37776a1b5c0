//! The best way to join neighbouring bins: exact, by dynamic programming.

use crate::model::binning::config::{Limits, Trend};
use crate::stats::normal_two_sided;

/// Rows of one fine bin: (bad, good).
pub(super) type Counts = (f64, f64);

/// Where the bins start, the first at 0: of all ways to join neighbours into at most `max_bins` bins that keep the limits
/// and the trend, the one of largest information value, and of several the one with fewest bins. `None` if there is none.
///
/// The information value is the plain one, with an empty cell counted as half a row. O(bins³ × max_bins) for the state "the
/// last bin spans i to j, and it is the k-th", which knows the bad rate that the next one is compared with.
pub(super) fn best_bins(counts: &[Counts], limits: &Limits, trend: Trend) -> Option<Vec<usize>> {
    match trend {
        Trend::Monotone => better(counts, limits, [Trend::Ascending, Trend::Descending]),
        // Each holds the monotone bins among its own.
        Trend::Auto => better(counts, limits, [Trend::Peak, Trend::Valley]),
        _ => search(counts, limits, trend).map(|(_, starts)| starts),
    }
}

fn better(counts: &[Counts], limits: &Limits, trends: [Trend; 2]) -> Option<Vec<usize>> {
    let [first, second] = trends.map(|trend| search(counts, limits, trend));
    match (first, second) {
        (Some(first), Some(second)) if second.0 > first.0 * (1.0 + 1e-12) => Some(second.1),
        (Some(first), _) => Some(first.1),
        (None, second) => second.map(|(_, starts)| starts),
    }
}

/// How good the best bins up to a place are, and the start and phase of the bin before the last.
#[derive(Clone, Copy)]
struct State {
    value: f64,
    before: u32,
    phase_before: u8,
}

const NONE: State = State { value: f64::NEG_INFINITY, before: 0, phase_before: 0 };

fn search(counts: &[Counts], limits: &Limits, trend: Trend) -> Option<(f64, Vec<usize>)> {
    let n = counts.len();
    let max_bins = limits.max_bins.min(n);
    let spans = Spans::new(counts, limits);
    // states[k][phase][i * n + j]: k + 1 bins, the last from i to j. The second phase is behind the turn of a peak or valley.
    let mut states: Vec<[Vec<State>; 2]> = Vec::with_capacity(max_bins);
    let mut first = [vec![NONE; n * n], vec![NONE; n * n]];
    let from_start = first[0].iter_mut().zip(&spans.value).zip(&spans.allowed);
    for ((state, &value), _) in from_start.take(n).filter(|(_, allowed)| **allowed) {
        state.value = value;
    }
    states.push(first);
    for k in 1..max_bins {
        let mut next = [vec![NONE; n * n], vec![NONE; n * n]];
        for i in k..n {
            for j in i..n {
                if !spans.allowed[i * n + j] {
                    continue;
                }
                for h in k - 1..i {
                    for phase in [0, 1] {
                        let before = states[k - 1][phase][h * n + i - 1].value;
                        if before == f64::NEG_INFINITY {
                            continue;
                        }
                        let value = before + spans.value[i * n + j];
                        let (low, high) = (h * n + i - 1, i * n + j);
                        let to = |phase: usize| match phase {
                            0 => spans.follows(low, high, trend, false),
                            _ => spans.follows(low, high, trend, true),
                        };
                        // The turn may be taken once and never back.
                        for turned in [false, true] {
                            let after = usize::from(turned);
                            let best = &mut next[after][i * n + j];
                            if after >= phase
                                && value > best.value
                                && to(after)
                                && spans.differ(low, high, limits)
                            {
                                *best =
                                    State { value, before: h as u32, phase_before: phase as u8 };
                            }
                        }
                    }
                }
            }
        }
        states.push(next);
    }
    let mut best: Option<(f64, usize, usize, usize)> = None;
    for (k, phases) in states.iter().enumerate() {
        for (phase, of_phase) in phases.iter().enumerate() {
            for i in 0..n {
                let value = of_phase[i * n + n - 1].value;
                // A hair more than rounding: equal values are won by fewer bins.
                let beaten = best.is_none_or(|(best, ..)| value > best + 1e-12 * best.abs());
                if value > f64::NEG_INFINITY && beaten {
                    best = Some((value, k, phase, i));
                }
            }
        }
    }
    let (value, k, mut phase, mut start) = best?;
    let (mut end, mut starts) = (n - 1, vec![start]);
    for k in (1..=k).rev() {
        let state = states[k][phase][start * n + end];
        end = start - 1;
        (start, phase) = (state.before as usize, state.phase_before as usize);
        starts.push(start);
    }
    starts.reverse();
    Some((value, starts))
}

/// Every span of neighbouring fine bins, from i to j at place i * n + j.
struct Spans {
    counts: Vec<Counts>,
    value: Vec<f64>,
    rate: Vec<f64>,
    /// Whether it may be a bin.
    allowed: Vec<bool>,
}

impl Spans {
    fn new(counts: &[Counts], limits: &Limits) -> Self {
        let n = counts.len();
        let (all_bad, all_good) =
            counts.iter().fold((0.0, 0.0), |sum, c| (sum.0 + c.0, sum.1 + c.1));
        let mut spans = Spans {
            counts: vec![(0.0, 0.0); n * n],
            value: vec![0.0; n * n],
            rate: vec![0.0; n * n],
            allowed: vec![false; n * n],
        };
        for i in 0..n {
            let (mut bad, mut good) = (0.0, 0.0);
            for (j, of_bin) in counts.iter().enumerate().skip(i) {
                (bad, good) = (bad + of_bin.0, good + of_bin.1);
                let place = i * n + j;
                let share =
                    |count: f64, all: f64| if count > 0.0 { count / all } else { 0.5 / all };
                let (of_bad, of_good) = (share(bad, all_bad), share(good, all_good));
                spans.counts[place] = (bad, good);
                spans.value[place] = (of_bad - of_good) * (of_bad / of_good).ln();
                spans.rate[place] = bad / (bad + good);
                spans.allowed[place] = limits.allow(bad, good);
            }
        }
        spans
    }

    fn follows(&self, low: usize, high: usize, trend: Trend, turned: bool) -> bool {
        let (before, after) = (self.rate[low], self.rate[high]);
        match (trend, turned) {
            (Trend::Free, false) => true,
            (Trend::Ascending | Trend::Peak, false) | (Trend::Valley, true) => before <= after,
            (Trend::Descending | Trend::Valley, false) | (Trend::Peak, true) => before >= after,
            _ => false,
        }
    }

    fn differ(&self, low: usize, high: usize, limits: &Limits) -> bool {
        let Some(most) = limits.max_p_value else {
            return true;
        };
        proportions_p_value(self.counts[low], self.counts[high]) <= most
    }
}

/// The two-sided p-value of equal bad rates: the pooled z-test.
fn proportions_p_value(a: Counts, b: Counts) -> f64 {
    let (n_a, n_b) = (a.0 + a.1, b.0 + b.1);
    let pooled = (a.0 + b.0) / (n_a + n_b);
    let error = (pooled * (1.0 - pooled) * (1.0 / n_a + 1.0 / n_b)).sqrt();
    if error > 0.0 { normal_two_sided((a.0 / n_a - b.0 / n_b) / error) } else { 1.0 }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn limits(max_bins: usize, min_rows: f64) -> Limits {
        Limits { max_bins, min_rows, min_bad: 1.0, min_good: 1.0, max_p_value: None }
    }

    fn value(counts: &[Counts], starts: &[usize]) -> f64 {
        let ends = starts[1..].iter().copied().chain([counts.len()]);
        let all = counts.iter().fold((0.0, 0.0), |sum, c| (sum.0 + c.0, sum.1 + c.1));
        starts
            .iter()
            .zip(ends)
            .map(|(&start, end)| {
                let span = &counts[start..end];
                let bad = span.iter().map(|c| c.0).sum::<f64>() / all.0;
                let good = span.iter().map(|c| c.1).sum::<f64>() / all.1;
                (bad - good) * (bad / good).ln()
            })
            .sum()
    }

    /// Every way to join them, by the bits of a number.
    fn by_trying(counts: &[Counts], limits: &Limits, trend: Trend) -> Option<f64> {
        let mut best: Option<f64> = None;
        for cuts in 0..1u32 << (counts.len() - 1) {
            let mut starts = vec![0];
            starts.extend((1..counts.len()).filter(|i| cuts >> (i - 1) & 1 == 1));
            let ends = starts[1..].iter().copied().chain([counts.len()]);
            let bins: Vec<Counts> = starts
                .iter()
                .zip(ends)
                .map(|(&start, end)| {
                    counts[start..end].iter().fold((0.0, 0.0), |s, c| (s.0 + c.0, s.1 + c.1))
                })
                .collect();
            let rate = |bin: &Counts| bin.0 / (bin.0 + bin.1);
            let up = bins.windows(2).map(|pair| rate(&pair[0]) <= rate(&pair[1]));
            let down = bins.windows(2).map(|pair| rate(&pair[0]) >= rate(&pair[1]));
            let (up, down): (Vec<bool>, Vec<bool>) = (up.collect(), down.collect());
            let turn = |first: &[bool], then: &[bool]| {
                (0..=first.len())
                    .any(|t| first[..t].iter().all(|x| *x) && then[t..].iter().all(|x| *x))
            };
            let keeps = match trend {
                Trend::Ascending => up.iter().all(|x| *x),
                Trend::Descending => down.iter().all(|x| *x),
                Trend::Peak => turn(&up, &down),
                Trend::Valley => turn(&down, &up),
                _ => true,
            };
            let allowed = bins.iter().all(|bin| limits.allow(bin.0, bin.1));
            if keeps && allowed && bins.len() <= limits.max_bins {
                let value = value(counts, &starts);
                best = Some(best.map_or(value, |best| best.max(value)));
            }
        }
        best
    }

    proptest! {
        #![proptest_config(ProptestConfig { failure_persistence: None, ..Default::default() })]

        #[test]
        fn no_way_of_joining_is_better(
            counts in prop::collection::vec((0u8..30, 0u8..60), 2..9),
            max_bins in 1usize..6,
            min_rows in 0u8..40,
        ) {
            let counts: Vec<Counts> =
                counts.into_iter().map(|c| (f64::from(c.0), f64::from(c.1) + 1.0)).collect();
            prop_assume!(counts.iter().any(|c| c.0 > 0.0));
            let limits = limits(max_bins, f64::from(min_rows));
            for trend in [Trend::Free, Trend::Ascending, Trend::Descending, Trend::Peak, Trend::Valley] {
                let ours = best_bins(&counts, &limits, trend).map(|starts| value(&counts, &starts));
                let tried = by_trying(&counts, &limits, trend);
                prop_assert_eq!(ours.is_some(), tried.is_some());
                if let (Some(ours), Some(tried)) = (ours, tried) {
                    prop_assert!((ours - tried).abs() < 1e-9, "{:?}: {} {}", trend, ours, tried);
                }
            }
        }
    }

    #[test]
    fn neighbours_that_chance_explains_are_joined() {
        let counts = [(10.0, 90.0), (11.0, 89.0), (40.0, 60.0)];
        let mut limits = limits(10, 0.0);
        assert_eq!(best_bins(&counts, &limits, Trend::Auto).unwrap(), [0, 1, 2]);
        limits.max_p_value = Some(0.05);
        assert_eq!(best_bins(&counts, &limits, Trend::Auto).unwrap(), [0, 2]);
    }
}
