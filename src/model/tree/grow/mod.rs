//! Growing one tree on binned rows: the one grower of single trees, forests and boosting.
//!
//! [`binning`] turns columns into small numbers once; then, tree by tree and node by node, [`histogram`] adds up what the
//! rows of each bin say, [`split`] finds the best question between bins, and [`partition`] divides the rows. [`grown`] is
//! the result.

mod binning;
mod grown;
mod histogram;
mod partition;
mod split;

use std::cmp::Ordering;
use std::collections::BinaryHeap;
use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use crate::parallel;
use crate::seed::below;
use binning::{Columns, FeatureBins, GROUP};
use grown::{GrownNode, GrownSplit};
use histogram::{add_column, add_rows, offsets};
use partition::partition;
use split::{Cut, Limits, Node};

pub(super) use binning::Binned;
pub(super) use grown::Grown;
pub(super) use histogram::{
    Cell, DrawCell, MAX_ROWS, PACKED_FIRST, PACKED_SECOND, PackedCell, Sum, WideCell, wide,
};
pub(super) use split::{Criterion, Newton, Shares};

pub use binning::Binning;

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

/// Where one feature's histogram is added up.
#[derive(Debug, Default)]
struct Scratch<C> {
    cells: Vec<C>,
    sums: Vec<Sum>,
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
                Some(cut) => open.push(fresh.open(cut, histogram, self.plan.next)),
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
        let cells: Vec<C> = rows.iter().map(|&row| cells[row as usize]).collect();
        let mut order = features.to_vec();
        let mut drawn = order.len();
        if let Some(wanted) = self.plan.features_per_node.filter(|&wanted| wanted < drawn) {
            (0..wanted).for_each(|i| draw(&mut order, i, rng));
            drawn = wanted;
        }
        let mut best = None;
        if self.plan.parallel && rows.len() * drawn > MANY_ROWS {
            let cuts = parallel::map(&order[..drawn], |&feature| {
                self.cut_column(
                    grown,
                    &fresh,
                    feature as usize,
                    rows,
                    &cells,
                    &mut Scratch::default(),
                )
            });
            cuts.into_iter().for_each(|cut| keep_better(&mut best, cut));
        } else {
            let mut scratch = std::mem::take(&mut self.scratch);
            for &feature in &order[..drawn] {
                let cut =
                    self.cut_column(grown, &fresh, feature as usize, rows, &cells, &mut scratch);
                keep_better(&mut best, cut);
            }
            self.scratch = scratch;
        }
        // As in other forests: if none of the drawn features can be cut, further ones are drawn until one can.
        while best.is_none() && drawn < order.len() {
            draw(&mut order, drawn, rng);
            let (feature, scratch) = (order[drawn] as usize, &mut Scratch::default());
            best = self.cut_column(grown, &fresh, feature, rows, &cells, scratch);
            drawn += 1;
        }
        let cut = self.worth_it(grown, &fresh, best?)?;
        Some(fresh.open(cut, None, self.plan.next))
    }

    fn cut_column(
        &self,
        grown: &Grown,
        fresh: &Fresh,
        feature: usize,
        rows: &[u32],
        cells: &[C],
        scratch: &mut Scratch<C>,
    ) -> Option<Cut> {
        match &self.data.columns {
            Columns::Bytes(columns) => {
                self.cut_bins(grown, fresh, feature, &columns[feature], rows, cells, scratch)
            }
            Columns::Shorts(columns) => {
                self.cut_bins(grown, fresh, feature, &columns[feature], rows, cells, scratch)
            }
        }
    }

    #[expect(
        clippy::too_many_arguments,
        reason = "one step of `cut_column`, for each width of bins"
    )]
    fn cut_bins<B: Copy + Into<usize>>(
        &self,
        grown: &Grown,
        fresh: &Fresh,
        feature: usize,
        column: &[B],
        rows: &[u32],
        cells: &[C],
        scratch: &mut Scratch<C>,
    ) -> Option<Cut> {
        let n_bins = self.data.features[feature].n_values() + 1;
        if rows.len() < n_bins / 4 {
            // Few rows, many bins: sorting the rows costs less than visiting the bins.
            let mut entries = sums_by_bin(column, rows, cells);
            let missing = entries.pop_if(|(bin, _)| *bin == n_bins - 1).map(|(_, sum)| sum);
            let entries = entries.into_iter();
            return self.cut(grown, fresh, feature, entries, missing.unwrap_or_default());
        }
        let Scratch { cells: added, sums } = scratch;
        added.resize(added.len().max(n_bins), C::default());
        sums.clear();
        sums.resize(n_bins, Sum::default());
        add_column(column, rows, cells, &mut added[..n_bins], sums);
        let (missing, values) = sums.split_last().expect("there is a bin for missing values");
        let values = values.iter().copied().enumerate();
        self.cut(grown, fresh, feature, values, *missing)
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
            Criterion::Gini(shares) | Criterion::Entropy(shares) => {
                let all = shares.weights(grown.total()).1;
                gain >= self.plan.min_gain * all - 1e-12 * alone.abs()
            }
        };
        enough.then_some(Cut { gain: gain.max(0.0), ..cut })
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

/// Moves one of the features from `i` on to `i`.
fn draw(order: &mut [u32], i: usize, rng: &mut ChaCha8Rng) {
    let other = i + below(order.len() - i, rng);
    order.swap(i, other);
}

/// The bins that hold rows, ascending, with what their rows add up to.
fn sums_by_bin<C: Cell, B: Copy + Into<usize>>(
    column: &[B],
    rows: &[u32],
    cells: &[C],
) -> Vec<(usize, Sum)> {
    let bin = |row: u32| column[row as usize].into();
    let mut entries: Vec<(usize, Sum)> =
        rows.iter().zip(cells).map(|(&row, cell)| (bin(row), cell.sum())).collect();
    entries.sort_unstable_by_key(|(bin, _)| *bin);
    entries.dedup_by(|next, kept| {
        let same = next.0 == kept.0;
        if same {
            kept.1 = kept.1.plus(next.1);
        }
        same
    });
    entries
}

/// Some groups of features of two siblings.
struct GroupTask<'a> {
    groups: Range<usize>,
    small: &'a mut [Sum],
    large: &'a mut [Sum],
    cuts: [Option<Cut>; 2],
}

/// What all rows add up to.
fn total<C: Cell>(rows: &[u32], cells: &[C], parallel: bool) -> Sum {
    let add = |rows: &[u32]| {
        let mut sum = C::default();
        rows.iter().for_each(|&row| sum.add(cells[row as usize]));
        sum.sum()
    };
    let chunks = rows.chunks(C::ROWS.min(MANY_ROWS));
    let sums: Vec<Sum> = match parallel {
        true => parallel::map(&chunks.collect::<Vec<_>>(), |rows| add(rows)),
        false => chunks.map(add).collect(),
    };
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
