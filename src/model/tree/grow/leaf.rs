//! A leaf of a tree that is being grown.

use crate::model::tree::grow::GrowPlan;
use crate::model::tree::grow::grown::GrownNode;
use crate::model::tree::grow::histogram::Sum;
use crate::model::tree::grow::split::{Criterion, Cut};
use crate::seed::Seed;

/// A leaf: its rows, what is known of it, and once it was looked at its best cut.
#[derive(Debug)]
pub(super) struct Leaf<'r> {
    pub(super) rows: &'r mut [u32],
    /// Where these begin among the rows of the tree.
    pub(super) start: usize,
    pub(super) sum: Sum,
    pub(super) value: f64,
    /// What values a leaf below here may take.
    pub(super) bounds: (f64, f64),
    /// Features on the path, where interactions are constrained.
    pub(super) path: Vec<u32>,
    pub(super) depth: usize,
    /// For what is drawn here.
    pub(super) seed: Seed,
    /// Whether it may be split at all.
    pub(super) splittable: bool,
    pub(super) cut: Option<Cut>,
    /// Kept to subtract from, where histograms are.
    pub(super) histogram: Option<Vec<Sum>>,
}

impl<'r> Leaf<'r> {
    pub(super) fn root(rows: &'r mut [u32], sum: Sum, seed: Seed, plan: &GrowPlan) -> Self {
        let free = (f64::NEG_INFINITY, f64::INFINITY);
        Leaf {
            splittable: splittable(sum, rows.len(), 0, plan),
            rows,
            start: 0,
            sum,
            value: plan.criterion.value(sum, free),
            bounds: free,
            path: Vec::new(),
            depth: 0,
            seed,
            cut: None,
            histogram: None,
        }
    }

    /// It as a node of the tree.
    pub(super) fn node(&self) -> GrownNode {
        let (range, Leaf { sum, value, .. }) = (self.start..self.start + self.rows.len(), self);
        GrownNode { split: None, value: *value, sum: *sum, range, gain: 0.0 }
    }

    /// The two children that a cut makes of a leaf with a cut, the left one with the first `n_left` rows; the cut, and the
    /// leaf's own histogram.
    pub(super) fn divided(
        self,
        n_left: usize,
        plan: &GrowPlan,
    ) -> (Cut, [Leaf<'r>; 2], Option<Vec<Sum>>) {
        let Leaf { rows, start, sum, bounds, mut path, depth, seed, cut, histogram, .. } = self;
        let cut = cut.expect("only leaves with a cut are divided");
        let sums = (cut.left, sum.minus(cut.left));
        let value = |sum| plan.criterion.value(sum, bounds);
        let (mut bounds_left, mut bounds_right) = (bounds, bounds);
        let direction = plan.directions.get(cut.feature).copied().unwrap_or(0);
        if direction != 0 {
            // Whatever grows below may use half the way each.
            let between = (value(sums.0) + value(sums.1)) / 2.0;
            if direction > 0 {
                (bounds_left.1, bounds_right.0) = (between, between);
            } else {
                (bounds_left.0, bounds_right.1) = (between, between);
            }
        }
        if !plan.interactions.is_empty() && !path.contains(&(cut.feature as u32)) {
            path.push(cut.feature as u32);
        }
        let depth = depth + 1;
        let (left, right) = rows.split_at_mut(n_left);
        let middle = start + n_left;
        let sides =
            [(left, start, sums.0, bounds_left, 0), (right, middle, sums.1, bounds_right, 1)];
        let children = sides.map(|(rows, start, sum, bounds, side)| Leaf {
            splittable: splittable(sum, rows.len(), depth, plan),
            rows,
            start,
            sum,
            value: plan.criterion.value(sum, bounds),
            bounds,
            path: path.clone(),
            depth,
            seed: seed.derive("child", side),
            cut: None,
            histogram: None,
        });
        (cut, children, histogram)
    }
}

fn splittable(sum: Sum, n_rows: usize, depth: usize, plan: &GrowPlan) -> bool {
    let purity = !matches!(plan.criterion, Criterion::Newton(_));
    let pure = purity && (sum.first() == 0 || sum.first() == sum.second() as i64);
    depth < plan.max_depth
        && n_rows >= plan.min_rows_split.max(2)
        && sum.rows() >= 2 * plan.min_rows_leaf as u64
        && !pure
}
