//! Growing one tree on binned rows: the one grower of single trees, forests and boosting.
//!
//! [`binning`] turns columns into small numbers once; then, tree by tree and node by node, [`histogram`] adds up what the
//! rows of each bin say, [`split`] finds the best question between the bins of a feature, [`search`] the best of all features,
//! and [`partition`] divides the rows. [`grown`] is the result.

mod binning;
mod grown;
mod histogram;
mod partition;
mod prefetch;
mod search;
mod split;

use std::cmp::Ordering;
use std::collections::BinaryHeap;

use rand_chacha::ChaCha8Rng;

use grown::{GrownNode, GrownSplit};
use histogram::{offsets, total};
use partition::partition;
use search::Scratch;
use split::Cut;

pub(super) use binning::Binned;
pub(super) use grown::Grown;
pub(super) use histogram::{
    Cell, DrawCell, MAX_ROWS, PACKED_FIRST, PACKED_SECOND, PackedCell, Sum, WideCell, wide,
};
pub(super) use split::{Criterion, Newton, Shares};

pub use binning::Binning;

/// What shapes a tree.
#[derive(Debug, Clone)]
pub(super) struct GrowPlan {
    pub(super) criterion: Criterion,
    /// `usize::MAX` for no limit.
    pub(super) max_leaves: usize,
    /// `usize::MAX` for no limit.
    pub(super) max_depth: usize,
    pub(super) min_rows_split: usize,
    pub(super) min_rows_leaf: usize,
    /// In units of second derivatives.
    pub(super) min_second: u64,
    /// A split must gain more than this; where the criterion is one of purity, at least this share of all rows' weight.
    pub(super) min_gain: f64,
    pub(super) next: Next,
    /// Features to look at in each node, drawn anew; `None` for all.
    pub(super) features_per_node: Option<usize>,
    /// Per feature which way the value may go with it; empty for no constraint.
    pub(super) directions: Vec<i8>,
    /// Groups of features that may meet on a path; empty for no constraint.
    pub(super) interactions: Vec<Vec<u32>>,
    /// Use threads within a node.
    pub(super) parallel: bool,
}

impl Default for GrowPlan {
    /// No limits, no threads.
    fn default() -> Self {
        GrowPlan {
            criterion: Criterion::Gini(Shares { good: 1.0, bad: 1.0 }),
            max_leaves: usize::MAX,
            max_depth: usize::MAX,
            min_rows_split: 2,
            min_rows_leaf: 1,
            min_second: 0,
            min_gain: 0.0,
            next: Next::Newest,
            features_per_node: None,
            directions: Vec::new(),
            interactions: Vec::new(),
            parallel: false,
        }
    }
}

/// Which leaf is split next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The one that gains most; of equal ones the older.
    Best,
    /// Level by level.
    Oldest,
    /// Where there is no limit on leaves the order does not matter to the tree, and the newest rows are still in the
    /// caches.
    Newest,
}

/// Grows trees on one data set, keeping its buffers from tree to tree.
#[derive(Debug)]
pub(super) struct Grower<'a, C> {
    data: &'a Binned,
    plan: GrowPlan,
    offsets: Vec<usize>,
    /// Histograms not in use.
    pool: Vec<Vec<Sum>>,
    buffer: Vec<u32>,
    scratch: Scratch<C>,
}

/// A leaf that may still be split.
struct Open {
    /// The highest is split next.
    rank: f64,
    node: usize,
    depth: usize,
    cut: Cut,
    /// Kept to subtract from, where histograms are.
    histogram: Option<Vec<Sum>>,
    bounds: (f64, f64),
    /// Features on the path, where interactions are constrained.
    path: Vec<u32>,
}

impl PartialEq for Open {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Open {}

impl PartialOrd for Open {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.total_cmp(&other.rank).then(other.node.cmp(&self.node))
    }
}

/// A new leaf on its way to being looked at.
struct Fresh {
    node: usize,
    depth: usize,
    bounds: (f64, f64),
    path: Vec<u32>,
    /// Whether it may be split at all.
    splittable: bool,
}

impl<'a, C: Cell> Grower<'a, C> {
    pub(super) fn new(data: &'a Binned, plan: GrowPlan) -> Self {
        let (offsets, scratch) = (offsets(data), Scratch::default());
        Grower { data, plan, offsets, pool: Vec::new(), buffer: Vec::new(), scratch }
    }

    pub(super) fn plan_mut(&mut self) -> &mut GrowPlan {
        &mut self.plan
    }

    /// Grows a tree on `rows` (ascending). `cells` has one per row of the data set; `features` are those that the tree may
    /// ask for, ascending.
    pub(super) fn grow(
        &mut self,
        rows: Vec<u32>,
        cells: &[C],
        features: &[u32],
        mut rng: ChaCha8Rng,
    ) -> Grown {
        let n_rows = rows.len();
        let free = (f64::NEG_INFINITY, f64::INFINITY);
        let total = total(&rows, cells, self.plan.parallel);
        let value = self.plan.criterion.value(total, free);
        let root = GrownNode { split: None, value, sum: total, range: 0..n_rows, gain: 0.0 };
        let mut grown = Grown { nodes: vec![root], rows };
        let splittable = self.splittable(total, n_rows, 0);
        let fresh = Fresh { node: 0, depth: 0, bounds: free, path: Vec::new(), splittable };
        let mut open = BinaryHeap::new();
        open.extend(self.look(&grown, cells, features, &mut rng, None, vec![fresh]));
        let mut n_leaves = 1;
        while n_leaves < self.plan.max_leaves
            && let Some(next) = open.pop()
        {
            n_leaves += 1;
            let last = n_leaves == self.plan.max_leaves;
            let (histogram, children) = self.split(&mut grown, next, last);
            open.extend(self.look(&grown, cells, features, &mut rng, histogram, children));
        }
        self.pool.extend(open.into_iter().filter_map(|open| open.histogram));
        grown
    }

    fn splittable(&self, sum: Sum, n_rows: usize, depth: usize) -> bool {
        let purity = !matches!(self.plan.criterion, Criterion::Newton(_));
        let pure = purity && (sum.first() == 0 || sum.first() == sum.second() as i64);
        depth < self.plan.max_depth
            && n_rows >= self.plan.min_rows_split.max(2)
            && sum.rows() >= 2 * self.plan.min_rows_leaf as u64
            && !pure
    }

    /// Carries out a split: two new leaves with their rows. Gives back the parent's histogram.
    fn split(
        &mut self,
        grown: &mut Grown,
        open: Open,
        last: bool,
    ) -> (Option<Vec<Sum>>, Vec<Fresh>) {
        let Open { node, depth, cut, histogram, bounds, mut path, .. } = open;
        let range = grown.nodes[node].range.clone();
        let rows = &mut grown.rows[range.clone()];
        let n_left = partition(self.data, &cut, rows, &mut self.buffer, self.plan.parallel);
        let feature = cut.feature;
        let middle = range.start + n_left;
        let right = grown.nodes[node].sum.minus(cut.left);
        let (mut bounds_left, mut bounds_right) = (bounds, bounds);
        let criterion = self.plan.criterion;
        let direction = self.plan.directions.get(feature).copied().unwrap_or(0);
        if direction != 0 {
            // Whatever grows below may use half the way each.
            let between =
                (criterion.value(cut.left, bounds) + criterion.value(right, bounds)) / 2.0;
            if direction > 0 {
                (bounds_left.1, bounds_right.0) = (between, between);
            } else {
                (bounds_left.0, bounds_right.1) = (between, between);
            }
        }
        if !self.plan.interactions.is_empty() && !path.contains(&(feature as u32)) {
            path.push(feature as u32);
        }
        let left_node = grown.nodes.len();
        let sides = [
            (cut.left, range.start..middle, bounds_left),
            (right, middle..range.end, bounds_right),
        ];
        let mut fresh = Vec::with_capacity(2);
        for (i, (sum, range, bounds)) in sides.into_iter().enumerate() {
            let splittable = !last && self.splittable(sum, range.len(), depth + 1);
            let value = criterion.value(sum, bounds);
            grown.nodes.push(GrownNode { split: None, value, sum, range, gain: 0.0 });
            let path = path.clone();
            fresh.push(Fresh { node: left_node + i, depth: depth + 1, bounds, path, splittable });
        }
        grown.nodes[node].gain = cut.gain;
        grown.nodes[node].split = Some(GrownSplit { cut, left: left_node as u32 });
        (histogram, fresh)
    }
}

impl Fresh {
    fn open(self, cut: Cut, histogram: Option<Vec<Sum>>, next: Next) -> Open {
        let Fresh { node, depth, bounds, path, .. } = self;
        let rank = match next {
            Next::Best => cut.gain,
            Next::Oldest => -(node as f64),
            Next::Newest => node as f64,
        };
        Open { rank, node, depth, cut, histogram, bounds, path }
    }
}
