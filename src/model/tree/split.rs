//! Which question is best: the objectives that splits improve, and the search over a feature's bins.

use crate::model::tree::histogram::Sum;

/// What splits improve. Scores are to be maximised; the gain of a split is that of its children less that of their parent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Criterion {
    Newton(Newton),
    Gini(Shares),
    Entropy(Shares),
}

/// One Newton step per leaf: `−G / (H + l2)`, its size at most `max_step`, for sums of derivatives G and H. The score is
/// what the step takes off twice the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Newton {
    pub(super) first_unit: f64,
    pub(super) second_unit: f64,
    pub(super) l1: f64,
    pub(super) l2: f64,
    /// Infinite: no limit.
    pub(super) max_step: f64,
}

/// Shares of bad among weighted rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Shares {
    /// Weight of one unit of a good row and of a bad one.
    pub(super) good: f64,
    pub(super) bad: f64,
}

/// What a split may not do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Limits {
    pub(super) min_rows: i64,
    /// In units.
    pub(super) min_second: i64,
    /// Which way the value may go with the feature: up (1), down (−1), either (0).
    pub(super) direction: i8,
    /// What values a leaf below here may take.
    pub(super) bounds: (f64, f64),
}

/// A split of one feature's bins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Cut {
    pub(super) gain: f64,
    pub(super) feature: usize,
    pub(super) bins: LeftBins,
    pub(super) missing_left: bool,
    pub(super) left: Sum,
}

/// Which of a feature's bins go left.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum LeftBins {
    /// Those up to the first of these two; the second is the next one that holds a row (past the last if none does).
    UpTo(usize, usize),
    /// These, of a categorical feature.
    These(Vec<u16>),
}

impl Newton {
    fn step(&self, first: f64, second: f64) -> f64 {
        let shrunk = (first.abs() - self.l1).max(0.0).copysign(first);
        let step = -shrunk / (second + self.l2);
        if step.is_finite() { step.clamp(-self.max_step, self.max_step) } else { 0.0 }
    }

    /// What `step` takes off twice the loss.
    fn score_of(&self, step: f64, first: f64, second: f64) -> f64 {
        -(2.0 * first * step + (second + self.l2) * step * step) - 2.0 * self.l1 * step.abs()
    }

    fn derivatives(&self, sum: Sum) -> (f64, f64) {
        (sum.first as f64 * self.first_unit, sum.second as f64 * self.second_unit)
    }
}

impl Shares {
    /// Weight of bad and of all.
    fn weights(&self, sum: Sum) -> (f64, f64) {
        let (bad, all) = (sum.first as f64, sum.second as f64);
        (self.bad * bad, self.bad * bad + self.good * (all - bad))
    }
}

impl Criterion {
    /// What a leaf with this sum says: a step, or a share of bad.
    pub(super) fn value(&self, sum: Sum, bounds: (f64, f64)) -> f64 {
        let value = match self {
            Criterion::Newton(newton) => {
                let (first, second) = newton.derivatives(sum);
                newton.step(first, second)
            }
            Criterion::Gini(shares) | Criterion::Entropy(shares) => {
                let (bad, all) = shares.weights(sum);
                if all > 0.0 { bad / all } else { 0.0 }
            }
        };
        value.clamp(bounds.0, bounds.1)
    }

    /// The best cut of one feature, if any is allowed and improves on the node as it is. `entries` are its bins for values
    /// in ascending order, of which empty ones may be left out.
    pub(super) fn best_cut(
        &self,
        feature: usize,
        entries: impl Iterator<Item = (usize, Sum)>,
        missing: Sum,
        total: Sum,
        limits: &Limits,
    ) -> Option<Cut> {
        let search = Search { feature, missing, total, limits };
        match self {
            Criterion::Newton(newton) => {
                let (first, second, l2) = (newton.first_unit, newton.second_unit, newton.l2);
                let free = limits.bounds == (f64::NEG_INFINITY, f64::INFINITY);
                let plain = newton.l1 == 0.0 && newton.max_step == f64::INFINITY && free;
                if plain && limits.direction == 0 {
                    // One division for both sides.
                    let pair = |left: Sum, right: Sum| {
                        let (g, h) = (left.first as f64 * first, left.second as f64 * second + l2);
                        let (p, q) = (right.first as f64 * first, right.second as f64 * second + l2);
                        (g * g * q + p * p * h) / (h * q)
                    };
                    return search.best(entries, pair);
                }
                let pair = |left: Sum, right: Sum| {
                    let (low, high) = limits.bounds;
                    let (g, h) = newton.derivatives(left);
                    let (p, q) = newton.derivatives(right);
                    let (v, w) = (newton.step(g, h).clamp(low, high), newton.step(p, q).clamp(low, high));
                    match limits.direction {
                        1 if v > w => f64::NEG_INFINITY,
                        -1 if v < w => f64::NEG_INFINITY,
                        _ => newton.score_of(v, g, h) + newton.score_of(w, p, q),
                    }
                };
                search.best(entries, pair)
            }
            Criterion::Gini(shares) => {
                let score = |sum: Sum| {
                    let (bad, all) = shares.weights(sum);
                    if all > 0.0 { -2.0 * bad * (all - bad) / all } else { 0.0 }
                };
                search.best(entries, |left, right| score(left) + score(right))
            }
            Criterion::Entropy(shares) => {
                let score = |sum: Sum| {
                    let (bad, all) = shares.weights(sum);
                    let bits = |part: f64| if part > 0.0 { part * (part / all).log2() } else { 0.0 };
                    bits(bad) + bits(all - bad)
                };
                search.best(entries, |left, right| score(left) + score(right))
            }
        }
    }
}

/// One feature of one node.
struct Search<'a> {
    feature: usize,
    missing: Sum,
    total: Sum,
    limits: &'a Limits,
}

impl Search<'_> {
    /// The first of the best cuts: what is missing goes right, or, where there is any and that is better, left. Where the
    /// node has no missing value it goes with most rows.
    #[inline]
    fn best(
        &self,
        entries: impl Iterator<Item = (usize, Sum)>,
        pair: impl Fn(Sum, Sum) -> f64,
    ) -> Option<Cut> {
        let any_missing = self.missing.rows > 0;
        let mut best: Option<(f64, usize, usize, bool, Sum)> = None;
        let mut consider = |left: Sum, below: usize, above: usize, missing_left: bool| {
            let right = self.total.minus(left);
            if left.rows < self.limits.min_rows
                || right.rows < self.limits.min_rows
                || left.second < self.limits.min_second
                || right.second < self.limits.min_second
            {
                return;
            }
            let score = pair(left, right);
            if score > best.map_or(f64::NEG_INFINITY, |best| best.0) {
                best = Some((score, below, above, missing_left, left));
            }
        };
        let mut left = Sum::default();
        let mut below = 0;
        for (bin, sum) in entries {
            if sum.rows == 0 {
                continue;
            }
            if left.rows > 0 {
                consider(left, below, bin, false);
                if any_missing {
                    consider(left.plus(self.missing), below, bin, true);
                }
            }
            left = left.plus(sum);
            below = bin;
        }
        if any_missing && left.rows > 0 {
            consider(left, below, usize::MAX, false);
        }
        // Everything on one side scores what the node does by itself.
        let parent = pair(self.total, Sum::default());
        let (score, below, above, missing_left, left) = best?;
        let missing_left = if any_missing { missing_left } else { 2 * left.rows >= self.total.rows };
        let bins = LeftBins::UpTo(below, above);
        Some(Cut { gain: score - parent, feature: self.feature, bins, missing_left, left })
    }
}
