//! Which question is best: the objectives that splits improve, and the search over a feature's bins.

use crate::model::tree::grow::histogram::Sum;

/// Cuts whose scores are computed together.
const BLOCK: usize = 64;

/// What splits improve. Scores are to be maximised; the gain of a split is that of its children less that of their parent.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Criterion {
    Newton(Newton),
    Gini(Shares),
    Entropy(Shares),
}

/// One Newton step per leaf: `−G / (H + l2)`, its size at most `max_step`, for sums of derivatives G and H. The score is
/// what the step takes off twice the loss.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Newton {
    pub(crate) first_unit: f64,
    pub(crate) second_unit: f64,
    pub(crate) l1: f64,
    pub(crate) l2: f64,
    /// Infinite: no limit.
    pub(crate) max_step: f64,
}

/// Shares of bad among weighted rows.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Shares {
    /// Weight of one unit of a good row and of a bad one.
    pub(crate) good: f64,
    pub(crate) bad: f64,
}

/// What a split may not do.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Limits {
    pub(crate) min_rows: u64,
    /// In units.
    pub(crate) min_second: u64,
    /// Which way the value may go with the feature: up (1), down (−1), either (0).
    pub(crate) direction: i8,
    /// What values a leaf below here may take.
    pub(crate) bounds: (f64, f64),
}

/// A split of one feature's bins.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cut {
    pub(crate) gain: f64,
    pub(crate) feature: usize,
    pub(crate) bins: LeftBins,
    pub(crate) missing_left: bool,
    pub(crate) left: Sum,
}

/// Which of a feature's bins go left.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum LeftBins {
    /// Those up to the first of these two; the second is the next one that holds a row (past the last if none does).
    UpTo(usize, usize),
    /// These, of a categorical feature.
    These(Vec<u16>),
}

impl LeftBins {
    /// Lower bins of those between that hold no row go left, too; the last bin there is has this number.
    pub(crate) fn at_edge(self, last_bin: usize) -> Self {
        match self {
            LeftBins::UpTo(_, above) if above > last_bin => LeftBins::UpTo(last_bin, above),
            LeftBins::UpTo(below, above) => {
                let edge = (below + above - 1) / 2;
                LeftBins::UpTo(edge, edge + 1)
            }
            LeftBins::These(_) => self,
        }
    }
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

    fn is_plain(&self, limits: &Limits) -> bool {
        let unbound = limits.bounds == (f64::NEG_INFINITY, f64::INFINITY);
        self.l1 == 0.0 && limits.direction == 0 && unbound
    }

    /// Scores of pairs of children where nothing but the size of a step is limited, the left ones with `missing`: in loops
    /// without a branch, so that several are computed at once.
    fn plain_scores(&self, total: Sum, lefts: &[Sum], missing: Sum, scores: &mut [f64]) {
        let (mut first, mut second) = ([0.0; BLOCK], [0.0; BLOCK]);
        for ((left, g), h) in lefts.iter().zip(&mut first).zip(&mut second) {
            (*g, *h) = self.derivatives(left.plus(missing));
        }
        let (g_all, h_all) = self.derivatives(total);
        let (l2, most) = (self.l2, self.max_step);
        // As `score_of` at the best step within ±max_step; `h` with the penalty is above 0.
        let score = |g: f64, h: f64| {
            let step = -g / h;
            let step = if step > most { most } else { step };
            let step = if step < -most { -most } else { step };
            -step * (2.0 * g + h * step)
        };
        for ((to, &g), &h) in scores.iter_mut().zip(&first).zip(&second) {
            *to = score(g, h + l2) + score(g_all - g, h_all - h + l2);
        }
    }

    fn derivatives(&self, sum: Sum) -> (f64, f64) {
        // 2⁵² and a number below it hold the number in their low bits: one step where a conversion takes several.
        const WHOLE: f64 = (1_u64 << 52) as f64;
        let second = f64::from_bits(sum.second() | WHOLE.to_bits()) - WHOLE;
        (sum.first() as f64 * self.first_unit, second * self.second_unit)
    }
}

impl Shares {
    /// Weight of bad and of all.
    pub(crate) fn weights(&self, sum: Sum) -> (f64, f64) {
        let (bad, all) = (sum.first() as f64, sum.second() as f64);
        (self.bad * bad, self.bad * bad + self.good * (all - bad))
    }
}

impl Criterion {
    /// What a leaf with this sum says: a step, or a share of bad.
    pub(crate) fn value(&self, sum: Sum, bounds: (f64, f64)) -> f64 {
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

    /// What a node with this sum scores by itself.
    pub(crate) fn score(&self, sum: Sum, bounds: (f64, f64)) -> f64 {
        match self {
            Criterion::Newton(newton) => {
                let (first, second) = newton.derivatives(sum);
                let step = newton.step(first, second).clamp(bounds.0, bounds.1);
                newton.score_of(step, first, second)
            }
            Criterion::Gini(shares) => {
                let (bad, all) = shares.weights(sum);
                if all > 0.0 { -2.0 * bad * (all - bad) / all } else { 0.0 }
            }
            Criterion::Entropy(shares) => {
                let (bad, all) = shares.weights(sum);
                let bits = |part: f64| if part > 0.0 { part * (part / all).log2() } else { 0.0 };
                bits(bad) + bits(all - bad)
            }
        }
    }

    /// The best cut of one feature, if any is allowed. `entries` are its bins for values in ascending order, of which
    /// empty ones may be left out; `lefts` is room for as many sums. O(entries).
    pub(crate) fn best_cut(
        &self,
        node: &Node<'_>,
        feature: usize,
        entries: impl ExactSizeIterator<Item = (usize, Sum)> + Clone,
        lefts: &mut Vec<Sum>,
    ) -> Option<Cut> {
        let Limits { bounds, direction, .. } = *node.limits;
        match self {
            Criterion::Newton(newton) if newton.is_plain(node.limits) => {
                node.best(feature, entries, lefts, |lefts, missing, scores| {
                    newton.plain_scores(node.total, lefts, missing, scores);
                })
            }
            Criterion::Newton(newton) => {
                let score = |left: Sum| {
                    let (g, h) = newton.derivatives(left);
                    let (p, q) = newton.derivatives(node.total.minus(left));
                    let v = newton.step(g, h).clamp(bounds.0, bounds.1);
                    let w = newton.step(p, q).clamp(bounds.0, bounds.1);
                    match direction {
                        1 if v > w => f64::NEG_INFINITY,
                        -1 if v < w => f64::NEG_INFINITY,
                        _ => newton.score_of(v, g, h) + newton.score_of(w, p, q),
                    }
                };
                node.best(feature, entries, lefts, each(score))
            }
            Criterion::Gini(_) | Criterion::Entropy(_) => {
                let score = |left: Sum| {
                    self.score(left, bounds) + self.score(node.total.minus(left), bounds)
                };
                node.best(feature, entries, lefts, each(score))
            }
        }
    }

    /// The best cut of one categorical feature: its categories in the order of what they say by themselves, cut where that
    /// is best, which for a convex loss is the best of all divisions (Fisher 1958). The penalty `l2` counts as often as there
    /// are places to cut. What is missing, and any category that training did not see, goes right. O(entries × log entries).
    pub(crate) fn best_division(
        &self,
        node: &Node<'_>,
        feature: usize,
        entries: impl Iterator<Item = (usize, Sum)>,
        lefts: &mut Vec<Sum>,
    ) -> Option<Cut> {
        // A category of few rows says little: it is drawn towards the node as if it had this many more.
        const SMOOTHING: f64 = 10.0;
        let total = node.total;
        let smooth = SMOOTHING * total.second() as f64 / total.rows().max(1) as f64;
        let overall = total.first() as f64 / (total.second() as f64).max(1.0);
        let says = |sum: &Sum| {
            (sum.first() as f64 + smooth * overall)
                / (sum.second() as f64 + smooth).max(f64::MIN_POSITIVE)
        };
        let occurring = entries.filter(|(_, sum)| sum.rows() > 0);
        let (mut bins, rare): (Vec<_>, Vec<_>) =
            occurring.partition(|(_, sum)| sum.rows() >= node.limits.min_rows);
        // Too few rows to be a leaf are too few to be told apart by: they go with what is missing.
        let missing = rare.iter().fold(node.missing, |missing, (_, sum)| missing.plus(*sum));
        let node = &Node { missing, ..*node };
        bins.sort_by(|(i, a), (j, b)| says(a).total_cmp(&says(b)).then(i.cmp(j)));
        let in_order = bins.iter().enumerate().map(|(i, (_, sum))| (i, *sum));
        let mut criterion = *self;
        if let Criterion::Newton(newton) = &mut criterion {
            // The order is made from the very rows that are divided: each further place to cut it costs the penalty again.
            newton.l2 *= bins.len().saturating_sub(1).max(1) as f64;
        }
        let cut = criterion.best_cut(node, feature, in_order, lefts)?;
        let LeftBins::UpTo(last, _) = cut.bins else { return None };
        let codes = |bins: &[(usize, Sum)]| bins.iter().map(|(bin, _)| *bin as u16).collect();
        // Whatever is not in the set goes right, so the set is the side without what is missing.
        Some(if cut.missing_left {
            let (set, left) = (codes(&bins[last + 1..]), total.minus(cut.left));
            Cut { bins: LeftBins::These(set), missing_left: false, left, ..cut }
        } else {
            Cut { bins: LeftBins::These(codes(&bins[..=last])), ..cut }
        })
    }
}

/// A node whose best cut is looked for.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Node<'a> {
    pub(crate) total: Sum,
    /// Of the rows whose value of the feature in question is missing.
    pub(crate) missing: Sum,
    pub(crate) limits: &'a Limits,
}

impl Node<'_> {
    /// The first of the best cuts: what is missing goes right, or, where there is any and that is better, left. Where the
    /// node has no missing value it goes with most rows. `scores` gives the scores of pairs of children, for up to [`BLOCK`]
    /// of them, by what the values of the left one and what is missing there add up to. The gain is that over nothing; the
    /// caller takes the node's own score off.
    #[inline]
    fn best(
        &self,
        feature: usize,
        entries: impl ExactSizeIterator<Item = (usize, Sum)> + Clone,
        lefts: &mut Vec<Sum>,
        scores: impl Fn(&[Sum], Sum, &mut [f64]),
    ) -> Option<Cut> {
        let limits = self.limits;
        let (min_rows, min_second) = (limits.min_rows.max(1), limits.min_second);
        let max_rows = self.total.rows().checked_sub(min_rows)?;
        let max_second = self.total.second().checked_sub(min_second)?;
        lefts.resize(lefts.len().max(entries.len()), Sum::default());
        let lefts = &mut lefts[..entries.len()];
        let mut sum = Sum::default();
        for (left, (_, of_entry)) in lefts.iter_mut().zip(entries.clone()) {
            sum = sum.plus(of_entry);
            *left = sum;
        }
        // What is missing on the right, and on the left.
        let sides = [Sum::default(), self.missing];
        let sides = &sides[..if self.missing.rows() > 0 { 2 } else { 1 }];
        let mut best = [Found::default(); 2];
        let mut block_scores = [0.0; BLOCK];
        for (&missing, best) in sides.iter().zip(&mut best) {
            // Sums only grow, so the cuts that are allowed follow one another. Behind an empty bin a cut is the one before
            // it again and never better, nor the first that is allowed.
            let first = lefts.partition_point(|left| {
                let all = left.plus(missing);
                left.rows() == 0 || all.rows() < min_rows || all.second() < min_second
            });
            let n_allowed = lefts[first..].partition_point(|left| {
                let all = left.plus(missing);
                all.rows() <= max_rows && all.second() <= max_second
            });
            let allowed = &lefts[first..first + n_allowed];
            for (i, lefts) in allowed.chunks(BLOCK).enumerate() {
                let block_scores = &mut block_scores[..lefts.len()];
                scores(lefts, missing, block_scores);
                let score = largest(block_scores);
                if score > best.score {
                    let j = block_scores.iter().position(|&other| other == score);
                    let at = first + i * BLOCK + j.expect("it is one of them");
                    *best = Found { score, at };
                }
            }
        }
        let [right, left] = best;
        let is_left = left.score > right.score || (left.score == right.score && left.at < right.at);
        let Found { score, at } = if is_left { left } else { right };
        let values = *lefts.get(at).filter(|_| score > f64::NEG_INFINITY)?;
        let left = if is_left { values.plus(self.missing) } else { values };
        let mut behind = entries.skip(at);
        let (below, _) = behind.next()?;
        let above = behind.find(|(_, sum)| sum.rows() > 0).map_or(usize::MAX, |(bin, _)| bin);
        let most_left = 2 * left.rows() >= self.total.rows();
        let missing_left = if self.missing.rows() > 0 { is_left } else { most_left };
        Some(Cut { gain: score, feature, bins: LeftBins::UpTo(below, above), missing_left, left })
    }
}

/// The largest number, if there is any above −∞; eight ways at once.
fn largest(scores: &[f64]) -> f64 {
    let higher = |a: f64, b: f64| if b > a { b } else { a };
    let (eights, rest) = scores.as_chunks::<8>();
    let mut most = [f64::NEG_INFINITY; 8];
    for eight in eights {
        most.iter_mut().zip(eight).for_each(|(most, &score)| *most = higher(*most, score));
    }
    most.into_iter().chain(rest.iter().copied()).fold(f64::NEG_INFINITY, higher)
}

/// The best cut so far with what is missing on one side.
#[derive(Debug, Clone, Copy)]
struct Found {
    score: f64,
    /// The last entry that goes left.
    at: usize,
}

impl Default for Found {
    fn default() -> Self {
        Found { score: f64::NEG_INFINITY, at: usize::MAX }
    }
}

/// Scores one by one.
fn each(score: impl Fn(Sum) -> f64) -> impl Fn(&[Sum], Sum, &mut [f64]) {
    move |lefts, missing, scores| {
        lefts.iter().zip(scores).for_each(|(left, to)| *to = score(left.plus(missing)));
    }
}
