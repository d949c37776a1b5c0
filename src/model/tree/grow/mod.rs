//! Growing one tree on binned rows: the one grower of single trees, forests and boosting.
//!
//! [`binning`] turns columns into small numbers once. Then, [`leaf`] by leaf, [`partition`] divides the rows, [`histogram`]
//! adds up what the rows of each bin say, [`split`] finds the best question between the bins of a feature, and [`search`]
//! the best of all features. [`grown`] is the result.

mod binning;
mod grown;
mod histogram;
mod leaf;
mod partition;
mod prefetch;
mod search;
mod split;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::sync::{Mutex, PoisonError};

use crate::parallel;
use crate::seed::Seed;
use grown::{GrownNode, GrownSplit};
use histogram::{offsets, total};
use leaf::Leaf;
use partition::partition;
use search::Scratch;

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
    /// Where several bins between two cuts hold no row of a node, ask at an edge between two of them and not in the middle, so
    /// that bins say for every row what the question says, and not only for those that the tree is grown on.
    pub(super) at_edges: bool,
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
            next: Next::Best,
            features_per_node: None,
            directions: Vec::new(),
            interactions: Vec::new(),
            at_edges: false,
            parallel: false,
        }
    }
}

/// Which leaf is split next, where there is a limit on leaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Next {
    /// The one that gains most; of equal ones the older.
    Best,
    /// Level by level.
    Oldest,
}

/// Where all that is worth it is split, threads take parts of a tree with at most this share of its rows to themselves.
const SHARE_ALONE: usize = 8;

/// Grows trees on one data set, keeping its buffers from tree to tree.
#[derive(Debug)]
pub(super) struct Grower<'a, C> {
    data: &'a Binned,
    plan: GrowPlan,
    offsets: Vec<usize>,
    histograms: Pool<Vec<Sum>>,
    /// Where rows are divided.
    rows: Pool<Vec<u32>>,
    scratch: Pool<Scratch<C>>,
}

impl<'a, C: Cell> Grower<'a, C> {
    pub(super) fn new(data: &'a Binned, plan: GrowPlan) -> Self {
        let (histograms, rows, scratch) = (Pool::default(), Pool::default(), Pool::default());
        Grower { data, plan, offsets: offsets(data), histograms, rows, scratch }
    }

    pub(super) fn plan_mut(&mut self) -> &mut GrowPlan {
        &mut self.plan
    }

    /// Grows a tree on `rows` (ascending). `cells` has one per row of the data set; `features` are those that the tree may
    /// ask for, ascending.
    pub(super) fn grow(
        &self,
        mut rows: Vec<u32>,
        cells: &[C],
        features: &[u32],
        seed: Seed,
    ) -> Grown {
        let plan = &self.plan;
        let total = total(&rows, cells, plan.parallel);
        let tree = Growing { grower: self, cells, features, total };
        let mut root = Leaf::root(&mut rows, total, seed, plan);
        tree.look(std::slice::from_mut(&mut root), None, plan.parallel);
        let nodes = match plan.max_leaves {
            usize::MAX => tree.split_all(root, plan.parallel),
            max_leaves => tree.split_best(root, max_leaves),
        };
        Grown { nodes, rows }
    }
}

/// A tree on its way.
struct Growing<'a, C> {
    grower: &'a Grower<'a, C>,
    cells: &'a [C],
    features: &'a [u32],
    /// What all its rows add up to.
    total: Sum,
}

impl<C: Cell> Growing<'_, C> {
    /// Splits one leaf after the other, up to a number of leaves.
    fn split_best(&self, root: Leaf<'_>, max_leaves: usize) -> Vec<GrownNode> {
        let plan = &self.grower.plan;
        let mut nodes = vec![root.node()];
        let mut open = BinaryHeap::new();
        open.extend(Open::new(0, root, plan.next));
        for n_leaves in 2..=max_leaves {
            let Some(Open { node, leaf, .. }) = open.pop() else { break };
            let is_last = n_leaves == max_leaves;
            let children = self.split(&mut nodes, node, leaf, is_last, plan.parallel);
            open.extend(children.into_iter().filter_map(|(n, leaf)| Open::new(n, leaf, plan.next)));
        }
        let histograms = open.into_iter().filter_map(|open| open.leaf.histogram);
        self.grower.histograms.extend(histograms);
        nodes
    }

    /// Splits all leaves that are worth it. The order does not matter to the tree: the newest rows are still in the caches,
    /// and threads that have parts to themselves read them once and never wait.
    fn split_all(&self, root: Leaf<'_>, together: bool) -> Vec<GrownNode> {
        let alone = root.rows.len() / SHARE_ALONE;
        let mut nodes = vec![root.node()];
        let (mut open, mut aside) = (vec![(0, root)], Vec::new());
        while let Some((node, leaf)) = open.pop() {
            if leaf.cut.is_none() {
                continue;
            }
            if together && leaf.rows.len() <= alone {
                aside.push((node, leaf));
                continue;
            }
            open.extend(self.split(&mut nodes, node, leaf, false, together));
        }
        let mut parts: Vec<Vec<GrownNode>> = aside.iter().map(|_| Vec::new()).collect();
        let places: Vec<usize> = aside.iter().map(|(node, _)| *node).collect();
        let work = aside.into_iter().zip(&mut parts).collect();
        parallel::for_each(work, |((_, leaf), part): ((usize, Leaf<'_>), _)| {
            *part = self.split_all(leaf, false);
        });
        for (place, part) in places.into_iter().zip(parts) {
            graft(&mut nodes, place, part);
        }
        nodes
    }

    /// Carries out a split, and looks at the two children unless no further split may follow.
    fn split<'r>(
        &self,
        nodes: &mut Vec<GrownNode>,
        node: usize,
        leaf: Leaf<'r>,
        is_last: bool,
        together: bool,
    ) -> [(usize, Leaf<'r>); 2] {
        let Grower { data, plan, histograms, rows, .. } = self.grower;
        let cut = leaf.cut.as_ref().expect("only leaves with a cut are split");
        let mut buffer = rows.take();
        let n_left = partition(data, cut, leaf.rows, &mut buffer, together);
        rows.put(buffer);
        let (cut, mut children, histogram) = leaf.divided(n_left, plan);
        if is_last {
            histograms.extend(histogram);
        } else {
            self.look(&mut children, histogram, together);
        }
        let left = nodes.len();
        nodes[node].gain = cut.gain;
        nodes[node].split = Some(GrownSplit { cut, left: left as u32 });
        nodes.extend(children.iter().map(Leaf::node));
        let [left_child, right_child] = children;
        [(left, left_child), (left + 1, right_child)]
    }
}

/// Puts what grew from a leaf in its place.
fn graft(nodes: &mut Vec<GrownNode>, place: usize, part: Vec<GrownNode>) {
    let shift = nodes.len() as u32 - 1;
    let mut part = part.into_iter().map(|mut node| {
        node.split.iter_mut().for_each(|split| split.left += shift);
        node
    });
    nodes[place] = part.next().expect("a tree has a root");
    nodes.extend(part);
}

/// A leaf that may still be split.
struct Open<'r> {
    /// The highest is split next.
    rank: f64,
    node: usize,
    leaf: Leaf<'r>,
}

impl<'r> Open<'r> {
    fn new(node: usize, leaf: Leaf<'r>, next: Next) -> Option<Self> {
        let gain = leaf.cut.as_ref()?.gain;
        let rank = match next {
            Next::Best => gain,
            Next::Oldest => -(node as f64),
        };
        Some(Open { rank, node, leaf })
    }
}

impl PartialEq for Open<'_> {
    fn eq(&self, other: &Self) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Open<'_> {}

impl PartialOrd for Open<'_> {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Open<'_> {
    fn cmp(&self, other: &Self) -> Ordering {
        self.rank.total_cmp(&other.rank).then(other.node.cmp(&self.node))
    }
}

/// Buffers that are not in use.
#[derive(Debug)]
struct Pool<T>(Mutex<Vec<T>>);

impl<T> Default for Pool<T> {
    fn default() -> Self {
        Pool(Mutex::new(Vec::new()))
    }
}

impl<T: Default> Pool<T> {
    fn take(&self) -> T {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).pop().unwrap_or_default()
    }

    fn put(&self, item: T) {
        self.extend([item]);
    }

    fn extend(&self, items: impl IntoIterator<Item = T>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).extend(items);
    }
}
