//! Growing one tree on binned rows: the one grower of single trees, forests and boosting.

use std::cmp::Ordering;
use std::collections::{BinaryHeap, VecDeque};
use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use crate::model::tree::binning::{Binned, Columns, FeatureBins, GROUP};
use crate::model::tree::histogram::{Cell, Sum, add_column, add_rows, offsets};
use crate::model::tree::node::{Split, Tree, TreeNode};
use crate::model::tree::partition::partition;
use crate::model::tree::split::{Criterion, Cut, LeftBins, Limits, Node};
use crate::parallel;
use crate::seed::below;

/// Rows of a node above which threads share the adding up of its histograms by rows; below, by features.
const MANY_ROWS: usize = 1 << 15;

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
    /// A split must gain more than this (at least this, where the criterion is one of purity).
    pub(super) min_gain: f64,
    /// The next node to split is the one that gains most; otherwise the oldest.
    pub(super) best_first: bool,
    /// Features to look at in each node, drawn anew; `None` for all.
    pub(super) features_per_node: Option<usize>,
    /// Per feature which way the value may go with it; empty for no constraint.
    pub(super) directions: Vec<i8>,
    /// Groups of features that may meet on a path; empty for no constraint.
    pub(super) interactions: Vec<Vec<u32>>,
    /// Use threads within a node.
    pub(super) parallel: bool,
}

/// A tree over bins, and where its rows ended.
#[derive(Debug)]
pub(super) struct Grown {
    pub(super) nodes: Vec<GrownNode>,
    /// The rows in the order of the leaves.
    pub(super) rows: Vec<u32>,
}

#[derive(Debug)]
pub(super) struct GrownNode {
    pub(super) split: Option<GrownSplit>,
    pub(super) value: f64,
    pub(super) sum: Sum,
    /// Which of [`Grown::rows`] ended here, for a leaf.
    pub(super) range: Range<usize>,
    gain: f64,
}

#[derive(Debug)]
pub(super) struct GrownSplit {
    cut: Cut,
    left: u32,
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
    scratch: Vec<C>,
}

/// A leaf that may still be split.
struct Open {
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

/// By gain; of equal ones the older first.
impl Ord for Open {
    fn cmp(&self, other: &Self) -> Ordering {
        self.cut.gain.total_cmp(&other.cut.gain).then(other.node.cmp(&self.node))
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
        let offsets = offsets(data);
        Grower { data, plan, offsets, pool: Vec::new(), buffer: Vec::new(), scratch: Vec::new() }
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
        let total = total(&rows, cells);
        let root = GrownNode {
            split: None,
            value: self.plan.criterion.value(total, free),
            sum: total,
            range: 0..n_rows,
            gain: 0.0,
        };
        let mut grown = Grown { nodes: vec![root], rows };
        let splittable = self.splittable(total, n_rows, 0);
        let fresh = Fresh { node: 0, depth: 0, bounds: free, path: Vec::new(), splittable };
        let mut best = BinaryHeap::new();
        let mut queue = VecDeque::new();
        let mut n_leaves = 1;
        let push = |open: Open, best: &mut BinaryHeap<Open>, queue: &mut VecDeque<Open>, first| {
            if first { best.push(open) } else { queue.push_back(open) }
        };
        let best_first = self.plan.best_first;
        for open in self.look(&grown, cells, features, &mut rng, None, vec![fresh]) {
            push(open, &mut best, &mut queue, best_first);
        }
        while n_leaves < self.plan.max_leaves {
            // Without a limit the order does not matter to the tree; the newest rows are still in the caches.
            let next = match (best_first, self.plan.max_leaves) {
                (true, _) => best.pop(),
                (false, usize::MAX) => queue.pop_back(),
                (false, _) => queue.pop_front(),
            };
            let Some(open) = next else { break };
            n_leaves += 1;
            let last = n_leaves == self.plan.max_leaves;
            let (histogram, children) = self.split(&mut grown, open, last);
            for open in self.look(&grown, cells, features, &mut rng, histogram, children) {
                push(open, &mut best, &mut queue, best_first);
            }
        }
        let left_over = best.into_iter().chain(queue);
        self.pool.extend(left_over.filter_map(|open| open.histogram));
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
        let Open { node, depth, cut, histogram, bounds, mut path } = open;
        let range = grown.nodes[node].range.clone();
        let feature = cut.feature;
        let rows = &mut grown.rows[range.clone()];
        let left_bins = LeftTable::new(&cut, &self.data.features[feature]);
        self.buffer.resize(self.buffer.len().max(rows.len()), 0);
        let n_left = match &self.data.columns {
            Columns::Bytes(columns) => {
                let table = left_bins.bytes();
                let goes_left = |row: u32| table[columns[feature][row as usize] as usize];
                partition(rows, &mut self.buffer, self.plan.parallel, goes_left)
            }
            Columns::Shorts(columns) => {
                let goes_left = |row: u32| left_bins.0[columns[feature][row as usize] as usize];
                partition(rows, &mut self.buffer, self.plan.parallel, goes_left)
            }
        };
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

    /// Finds the best cut of new leaves: of the root, or of two siblings whose parent's histogram is `parent`.
    fn look(
        &mut self,
        grown: &Grown,
        cells: &[C],
        features: &[u32],
        rng: &mut ChaCha8Rng,
        parent: Option<Vec<Sum>>,
        fresh: Vec<Fresh>,
    ) -> Vec<Open> {
        if !fresh.iter().any(|fresh| fresh.splittable) {
            self.pool.extend(parent);
            return Vec::new();
        }
        if self.plan.features_per_node.is_some() || self.data.lines.is_empty() {
            let fresh = fresh.into_iter().filter(|fresh| fresh.splittable);
            return fresh
                .filter_map(|fresh| self.look_at_some(grown, cells, features, rng, fresh))
                .collect();
        }
        self.look_at_all(grown, cells, features, parent, fresh)
    }

    /// All features at once, by histograms of the smaller sibling; the other's are the parent's less these.
    fn look_at_all(
        &mut self,
        grown: &Grown,
        cells: &[C],
        features: &[u32],
        parent: Option<Vec<Sum>>,
        mut fresh: Vec<Fresh>,
    ) -> Vec<Open> {
        fresh.sort_by_key(|fresh| (grown.nodes[fresh.node].range.len(), fresh.node));
        let mut small = self.pool.pop().unwrap_or_default();
        small.clear();
        small.resize(self.offsets[self.data.features.len()], Sum::default());
        let mut large = parent;
        let rows = &grown.rows[grown.nodes[fresh[0].node].range.clone()];
        let n_groups = self.data.n_groups;
        let (data, offsets) = (self.data, &self.offsets[..]);
        let shared_by_rows = self.plan.parallel && rows.len() > MANY_ROWS;
        if shared_by_rows {
            add_in_segments(data, offsets, rows, cells, &mut small);
        }
        let shared_by_groups = self.plan.parallel && !shared_by_rows;
        let this = &*self;
        let mut tasks = Vec::with_capacity(n_groups);
        let (mut small_rest, mut large_rest) =
            (&mut small[..], large.as_deref_mut().unwrap_or_default());
        let step = if self.plan.parallel { 1 } else { n_groups };
        for first in (0..n_groups).step_by(step) {
            let groups = first..(first + step).min(n_groups);
            let n_bins = bins_of(data, offsets, &groups).len();
            let (small, rest) = small_rest.split_at_mut(n_bins);
            small_rest = rest;
            let (large, rest) = large_rest.split_at_mut(n_bins.min(large_rest.len()));
            large_rest = rest;
            tasks.push(GroupTask { groups, small, large, cuts: [None, None] });
        }
        let work = |task: &mut GroupTask<'_>| {
            let GroupTask { groups, small, large, cuts } = task;
            if !shared_by_rows {
                add_rows(data, offsets, groups.clone(), rows, cells, small);
            }
            for (large, small) in large.iter_mut().zip(small.iter()) {
                *large = large.minus(*small);
            }
            let start = offsets[groups.start * GROUP];
            for ((fresh, sums), best) in fresh.iter().zip([&**small, &**large]).zip(cuts) {
                if !fresh.splittable {
                    continue;
                }
                let in_group = |f: &u32| groups.contains(&(*f as usize / GROUP));
                for feature in features.iter().filter(|f| in_group(f)).map(|&f| f as usize) {
                    let values = &sums[offsets[feature] - start..offsets[feature + 1] - start - 1];
                    let missing = sums[offsets[feature + 1] - start - 1];
                    let values = values.iter().copied().enumerate();
                    let cut = this.cut(grown, fresh, feature, values, missing);
                    keep_better(best, cut);
                }
            }
        };
        if shared_by_groups || (self.plan.parallel && n_groups > 1) {
            parallel::for_each(tasks.iter_mut().collect(), work);
        } else {
            tasks.iter_mut().for_each(work);
        }
        let mut cuts: [Option<Cut>; 2] = [None, None];
        for task in tasks {
            for (best, cut) in cuts.iter_mut().zip(task.cuts) {
                keep_better(best, cut);
            }
        }
        let mut open = Vec::with_capacity(2);
        for ((fresh, cut), histogram) in fresh.into_iter().zip(cuts).zip([Some(small), large]) {
            match cut.and_then(|cut| self.worth_it(grown, &fresh, cut)) {
                Some(cut) => open.push(fresh.open(cut, histogram)),
                None => self.pool.extend(histogram),
            }
        }
        open.sort_by_key(|open| open.node);
        open
    }

    /// Features one by one, from the node's own rows: where each node draws its own, or bins take two bytes.
    fn look_at_some(
        &mut self,
        grown: &Grown,
        cells: &[C],
        features: &[u32],
        rng: &mut ChaCha8Rng,
        fresh: Fresh,
    ) -> Option<Open> {
        let rows = &grown.rows[grown.nodes[fresh.node].range.clone()];
        let mut order = features.to_vec();
        let wanted = self.plan.features_per_node.unwrap_or(order.len()).min(order.len());
        let cells: Vec<C> = rows.iter().map(|&row| cells[row as usize]).collect();
        let mut best = None;
        for i in 0..order.len() {
            // As in other forests: if none of the drawn features can be cut, further ones are drawn until one can.
            if i >= wanted && best.is_some() {
                break;
            }
            if self.plan.features_per_node.is_some() {
                let j = i + below(order.len() - i, rng);
                order.swap(i, j);
            }
            let feature = order[i] as usize;
            let cut = match &self.data.columns {
                Columns::Bytes(columns) => {
                    self.cut_column(grown, &fresh, feature, &columns[feature], rows, &cells)
                }
                Columns::Shorts(columns) => {
                    self.cut_column(grown, &fresh, feature, &columns[feature], rows, &cells)
                }
            };
            keep_better(&mut best, cut);
        }
        let cut = self.worth_it(grown, &fresh, best?)?;
        Some(fresh.open(cut, None))
    }

    fn cut_column<B: Copy + Into<usize>>(
        &mut self,
        grown: &Grown,
        fresh: &Fresh,
        feature: usize,
        column: &[B],
        rows: &[u32],
        cells: &[C],
    ) -> Option<Cut> {
        let n_bins = self.data.features[feature].n_values() + 1;
        if rows.len() < n_bins / 4 {
            // Few rows, many bins: sorting the rows costs less than visiting the bins.
            let mut entries: Vec<(usize, Sum)> = rows
                .iter()
                .zip(cells)
                .map(|(&row, cell)| (column[row as usize].into(), cell.sum()))
                .collect();
            entries.sort_unstable_by_key(|entry| entry.0);
            entries.dedup_by(|next, kept| {
                let same = next.0 == kept.0;
                if same {
                    kept.1 = kept.1.plus(next.1);
                }
                same
            });
            let missing = entries.pop_if(|(bin, _)| *bin == n_bins - 1).map(|(_, sum)| sum);
            return self.cut(
                grown,
                fresh,
                feature,
                entries.into_iter(),
                missing.unwrap_or_default(),
            );
        }
        let mut sums = self.pool.pop().unwrap_or_default();
        sums.clear();
        sums.resize(n_bins, Sum::default());
        let mut scratch = std::mem::take(&mut self.scratch);
        scratch.resize(scratch.len().max(n_bins), C::default());
        add_column(column, rows, cells, &mut scratch[..n_bins], &mut sums);
        let (missing, values) = sums.split_last().expect("there is a bin for missing values");
        let values = values.iter().copied().enumerate();
        let cut = self.cut(grown, fresh, feature, values, *missing);
        self.scratch = scratch;
        self.pool.push(sums);
        cut
    }

    /// The best cut of one feature of a leaf, of which `values` are the bins for values, ascending.
    fn cut(
        &self,
        grown: &Grown,
        fresh: &Fresh,
        feature: usize,
        values: impl Iterator<Item = (usize, Sum)>,
        missing: Sum,
    ) -> Option<Cut> {
        if !self.may_meet(&fresh.path, feature as u32) {
            return None;
        }
        let bins = &self.data.features[feature];
        let limits = Limits {
            min_rows: self.plan.min_rows_leaf.max(1) as u64,
            min_second: self.plan.min_second,
            direction: self.plan.directions.get(feature).copied().unwrap_or(0),
            bounds: fresh.bounds,
        };
        let total = grown.nodes[fresh.node].sum;
        let node = Node { total, missing, limits: &limits };
        match bins {
            FeatureBins::Cuts(_) => self.plan.criterion.best_cut(&node, feature, values),
            FeatureBins::Codes(_) => self.plan.criterion.best_division(&node, feature, values),
        }
    }

    /// Whether a feature may be asked below those on the path.
    fn may_meet(&self, path: &[u32], feature: u32) -> bool {
        let groups = &self.plan.interactions;
        groups.is_empty()
            || path.is_empty()
            || groups.iter().any(|group| {
                group.contains(&feature) && path.iter().all(|other| group.contains(other))
            })
            || path == [feature]
    }

    /// The cut with its gain over the node as it is, if that is enough.
    fn worth_it(&self, grown: &Grown, fresh: &Fresh, cut: Cut) -> Option<Cut> {
        let criterion = self.plan.criterion;
        let alone = criterion.score(grown.nodes[fresh.node].sum, fresh.bounds);
        let gain = cut.gain - alone;
        let enough = match criterion {
            Criterion::Newton(_) => gain > self.plan.min_gain && gain > 1e-12 * alone.abs(),
            // A cut that gains nothing by itself may make one below it that does.
            _ => gain >= self.plan.min_gain - 1e-12 * alone.abs(),
        };
        enough.then_some(Cut { gain: gain.max(0.0), ..cut })
    }
}

impl Fresh {
    fn open(self, cut: Cut, histogram: Option<Vec<Sum>>) -> Open {
        let Fresh { node, depth, bounds, path, .. } = self;
        Open { node, depth, cut, histogram, bounds, path }
    }
}

/// Some groups of features of two siblings.
struct GroupTask<'a> {
    groups: Range<usize>,
    small: &'a mut [Sum],
    large: &'a mut [Sum],
    cuts: [Option<Cut>; 2],
}

/// What all rows add up to.
fn total<C: Cell>(rows: &[u32], cells: &[C]) -> Sum {
    let chunks: Vec<&[u32]> = rows.chunks(C::ROWS.min(MANY_ROWS)).collect();
    let sums = parallel::map(&chunks, |rows| {
        let mut sum = C::default();
        rows.iter().for_each(|&row| sum.add(cells[row as usize]));
        sum.sum()
    });
    sums.into_iter().fold(Sum::default(), Sum::plus)
}

/// Which bins of a histogram are those of some groups.
fn bins_of(data: &Binned, offsets: &[usize], groups: &Range<usize>) -> Range<usize> {
    offsets[groups.start * GROUP]..offsets[(groups.end * GROUP).min(data.features.len())]
}

/// The rows of a large node in as many segments as there are threads. Sums are whole numbers, so how many plays no part.
fn add_in_segments<C: Cell>(
    data: &Binned,
    offsets: &[usize],
    rows: &[u32],
    cells: &[C],
    out: &mut [Sum],
) {
    let segment = rows.len().div_ceil(parallel::n_threads()).max(MANY_ROWS / 2);
    let segments: Vec<&[u32]> = rows.chunks(segment).collect();
    let sums = parallel::map(&segments, |rows| {
        let mut sums = vec![Sum::default(); out.len()];
        add_rows(data, offsets, 0..data.n_groups, rows, cells, &mut sums);
        sums
    });
    for sums in sums {
        out.iter_mut().zip(sums).for_each(|(out, sum)| *out = out.plus(sum));
    }
}

/// The first of equal ones stays, so that ties go to the feature that was looked at first.
fn keep_better(best: &mut Option<Cut>, cut: Option<Cut>) {
    let better = |cut: &Cut| best.as_ref().is_none_or(|best| cut.gain > best.gain);
    if let Some(cut) = cut.filter(better) {
        *best = Some(cut);
    }
}

/// Per bin of a feature, the one for missing values included, whether it goes left.
struct LeftTable(Vec<bool>);

impl LeftTable {
    fn new(cut: &Cut, bins: &FeatureBins) -> Self {
        let n_values = bins.n_values();
        let mut table = vec![false; n_values + 1];
        match &cut.bins {
            LeftBins::UpTo(last, _) => table[..=*last].fill(true),
            LeftBins::These(set) => set.iter().for_each(|&bin| table[bin as usize] = true),
        }
        table[n_values] = cut.missing_left;
        LeftTable(table)
    }

    fn bytes(&self) -> [bool; 256] {
        std::array::from_fn(|bin| self.0.get(bin).copied().unwrap_or(false))
    }
}

impl Grown {
    /// The tree with real thresholds; leaf values times `scale`.
    pub(super) fn tree(&self, data: &Binned, scale: f64) -> Tree {
        let nodes = self.nodes.iter().map(|node| TreeNode {
            split: node.split.as_ref().map(|split| {
                Box::new(Split {
                    feature: split.cut.feature as u32,
                    question: data.features[split.cut.feature].question(&split.cut.bins),
                    missing_left: split.cut.missing_left,
                    also_missing: None,
                    left: split.left,
                    right: split.left + 1,
                })
            }),
            value: node.value * scale,
            cover: node.sum.rows() as f64,
            gain: node.gain,
        });
        Tree::new(nodes.collect())
            .expect("children are pushed behind their parent, sums are finite")
    }

    /// The leaf where a row of the training data ends, by its bins.
    pub(super) fn leaf_of(&self, data: &Binned, row: u32) -> usize {
        let mut at = 0;
        while let Some(split) = &self.nodes[at].split {
            let bin = match &data.columns {
                Columns::Bytes(columns) => columns[split.cut.feature][row as usize] as usize,
                Columns::Shorts(columns) => columns[split.cut.feature][row as usize] as usize,
            };
            let left = match &split.cut.bins {
                _ if bin == data.features[split.cut.feature].n_values() => split.cut.missing_left,
                LeftBins::UpTo(last, _) => bin <= *last,
                LeftBins::These(set) => set.contains(&(bin as u16)),
            };
            at = split.left as usize + usize::from(!left);
        }
        at
    }

    /// The leaves.
    pub(super) fn leaves(&self) -> impl Iterator<Item = (usize, &GrownNode)> {
        self.nodes.iter().enumerate().filter(|(_, node)| node.split.is_none())
    }
}
