//! The best cut of new leaves: histograms of all features at once, or features one by one.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use crate::model::tree::grow::binning::{Binned, Columns, FeatureBins, GROUP};
use crate::model::tree::grow::histogram::{Cell, Sum, add_column, add_rows};
use crate::model::tree::grow::split::{Criterion, Cut, Limits, Node};
use crate::model::tree::grow::{Fresh, Grower, Grown, Open};
use crate::parallel;
use crate::seed::below;

/// Rows of a node above which threads share the adding up of its histograms by rows; below, by features.
const MANY_ROWS: usize = 1 << 15;

/// Where one feature's histogram is added up.
#[derive(Debug, Default)]
pub(super) struct Scratch<C> {
    cells: Vec<C>,
    sums: Vec<Sum>,
}

impl<C: Cell> Grower<'_, C> {
    /// Finds the best cut of new leaves: of the root, or of two siblings whose parent's histogram is `parent`.
    pub(super) fn look(
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
        if self.plan.features_per_node.is_some() || self.data.lines().is_empty() {
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
        let n_tasks = if self.plan.parallel { parallel::n_threads() } else { 1 };
        let step = n_groups.div_ceil(n_tasks);
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
                add_rows::<C, true>(data, offsets, groups.clone(), rows, cells, small);
            }
            let start = offsets[groups.start * GROUP];
            let in_group = |f: &u32| groups.contains(&(*f as usize / GROUP));
            for feature in features.iter().filter(|f| in_group(f)).map(|&f| f as usize) {
                let bins = offsets[feature] - start..offsets[feature + 1] - start;
                let small = &small[bins.clone()];
                let large = large.get_mut(bins).unwrap_or_default();
                large.iter_mut().zip(small).for_each(|(large, small)| *large = large.minus(*small));
                for ((fresh, sums), best) in fresh.iter().zip([small, large]).zip(&mut *cuts) {
                    if !fresh.splittable {
                        continue;
                    }
                    let (missing, values) = sums.split_last().expect("a bin for missing values");
                    let values = values.iter().copied().enumerate();
                    keep_better(best, this.cut(grown, fresh, feature, values, *missing));
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
        add_rows::<C, true>(data, offsets, 0..data.n_groups, rows, cells, &mut sums);
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
