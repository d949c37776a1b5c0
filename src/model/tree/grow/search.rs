//! The best cut of new leaves: histograms of all features at once, or features one by one.

use std::ops::Range;

use rand_chacha::ChaCha8Rng;

use crate::model::tree::grow::binning::{Binned, Columns, FeatureBins};
use crate::model::tree::grow::histogram::{Cell, GroupBins, Sum, add_column, add_rows};
use crate::model::tree::grow::leaf::Leaf;
use crate::model::tree::grow::split::{Criterion, Cut, Limits, Node};
use crate::model::tree::grow::{GrowPlan, Grower, Growing};
use crate::parallel;
use crate::seed::below;

/// Rows of a leaf above which threads share the adding up of its histograms by rows; below, by features.
const MANY_ROWS: usize = 1 << 15;

/// Buffers of one thread.
#[derive(Debug, Default)]
pub(super) struct Scratch<C> {
    /// Where the histograms of groups of features are added up; all zero between uses, as the next.
    groups: Vec<GroupBins<C>>,
    /// Where one feature's histogram is added up.
    cells: Vec<C>,
    sums: Vec<Sum>,
    /// What the left side of each cut adds up to.
    lefts: Vec<Sum>,
}

impl<C: Cell> Growing<'_, C> {
    /// Finds the best cut of new leaves: of the root, or of two siblings whose parent's histogram is `parent`; by all
    /// threads `together`, or by this one.
    pub(super) fn look(&self, leaves: &mut [Leaf<'_>], parent: Option<Vec<Sum>>, together: bool) {
        if !leaves.iter().any(|leaf| leaf.splittable) {
            self.grower.histograms.extend(parent);
        } else if self.grower.plan.features_per_node.is_some()
            || self.grower.data.lines().is_empty()
        {
            for leaf in leaves.iter_mut().filter(|leaf| leaf.splittable) {
                leaf.cut = self.best_of_some(leaf, together);
            }
        } else {
            self.look_at_all(leaves, parent, together);
        }
    }

    /// All features at once, by histograms of the smaller sibling; the other's are the parent's less these.
    fn look_at_all(&self, leaves: &mut [Leaf<'_>], parent: Option<Vec<Sum>>, together: bool) {
        let Grower { data, offsets, histograms, scratch, .. } = self.grower;
        let mut by_size: Vec<&mut Leaf<'_>> = leaves.iter_mut().collect();
        by_size.sort_by_key(|leaf| (leaf.rows.len(), leaf.start));
        let mut small = histograms.take();
        small.resize(offsets[data.features.len()], Sum::default());
        let mut large = parent;
        let rows = &*by_size[0].rows;
        let shared_by_rows = together && rows.len() > MANY_ROWS;
        if shared_by_rows {
            self.add_in_segments(rows, &mut small);
        }
        let mut tasks = Vec::new();
        let (mut small_rest, mut large_rest) =
            (&mut small[..], large.as_deref_mut().unwrap_or_default());
        let n_tasks = if together { parallel::n_threads() } else { 1 };
        let step = data.n_groups.div_ceil(n_tasks);
        for first in (0..data.n_groups).step_by(step) {
            let groups = first..(first + step).min(data.n_groups);
            let n_bins = bins_of(data, offsets, &groups).len();
            let (small, rest) = small_rest.split_at_mut(n_bins);
            small_rest = rest;
            let (large, rest) = large_rest.split_at_mut(n_bins.min(large_rest.len()));
            large_rest = rest;
            tasks.push(GroupTask { groups, small, large, cuts: [None, None] });
        }
        let work = |task: &mut GroupTask<'_>| {
            let GroupTask { groups, small, large, cuts } = task;
            let mut buffers = scratch.take();
            if !shared_by_rows {
                let (cells, groups) = (self.cells, groups.clone());
                let buffer = &mut buffers.groups;
                add_rows::<C, true>(data, offsets, groups, rows, cells, buffer, small);
            }
            let here = data.of_groups(groups);
            let start = offsets[here.start];
            let features = self.features.iter().map(|&feature| feature as usize);
            for feature in features.filter(|feature| here.contains(feature)) {
                let bins = offsets[feature] - start..offsets[feature + 1] - start;
                let small = &small[bins.clone()];
                let large = large.get_mut(bins).unwrap_or_default();
                large.iter_mut().zip(small).for_each(|(large, small)| *large = large.minus(*small));
                for ((leaf, sums), best) in by_size.iter().zip([small, large]).zip(&mut *cuts) {
                    if !leaf.splittable {
                        continue;
                    }
                    let (missing, values) = sums.split_last().expect("a bin for missing values");
                    let values = values.iter().copied().enumerate();
                    let cut = self.cut(leaf, feature, values, *missing, &mut buffers.lefts);
                    keep_better(best, cut);
                }
            }
            scratch.put(buffers);
        };
        if together {
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
        for ((leaf, cut), histogram) in by_size.into_iter().zip(cuts).zip([Some(small), large]) {
            leaf.cut = cut.and_then(|cut| self.worth_it(leaf, cut));
            match leaf.cut {
                Some(_) => leaf.histogram = histogram,
                None => histograms.extend(histogram),
            }
        }
    }

    /// The histograms of a large node, its rows in as many segments as there are threads. Sums are whole numbers, so how
    /// many plays no part.
    fn add_in_segments(&self, rows: &[u32], out: &mut [Sum]) {
        let Grower { data, offsets, histograms, scratch, .. } = self.grower;
        let segment = rows.len().div_ceil(parallel::n_threads()).max(MANY_ROWS / 2);
        let segments: Vec<&[u32]> = rows.chunks(segment).collect();
        let sums = parallel::map(&segments, |rows| {
            let (mut sums, mut buffers) = (histograms.take(), scratch.take());
            sums.resize(out.len(), Sum::default());
            let (cells, groups, buffer) = (self.cells, 0..data.n_groups, &mut buffers.groups);
            add_rows::<C, true>(data, offsets, groups, rows, cells, buffer, &mut sums);
            scratch.put(buffers);
            sums
        });
        out.fill(Sum::default());
        for sums in &sums {
            out.iter_mut().zip(sums).for_each(|(out, sum)| *out = out.plus(*sum));
        }
        histograms.extend(sums);
    }

    /// The best cut by features one by one, from the leaf's own rows: where each leaf draws its own, or bins take two bytes.
    fn best_of_some(&self, leaf: &Leaf<'_>, together: bool) -> Option<Cut> {
        let cells: Vec<C> = leaf.rows.iter().map(|&row| self.cells[row as usize]).collect();
        let mut order = self.features.to_vec();
        let mut drawn = order.len();
        let mut rng = leaf.seed.rng();
        if let Some(wanted) = self.grower.plan.features_per_node.filter(|&wanted| wanted < drawn) {
            (0..wanted).for_each(|i| draw(&mut order, i, &mut rng));
            drawn = wanted;
        }
        let mut best = None;
        let mut scratch = self.grower.scratch.take();
        if together && leaf.rows.len() * drawn > MANY_ROWS {
            let cuts = parallel::map(&order[..drawn], |&feature| {
                self.cut_column(leaf, feature as usize, &cells, &mut Scratch::default())
            });
            cuts.into_iter().for_each(|cut| keep_better(&mut best, cut));
        } else {
            for &feature in &order[..drawn] {
                let cut = self.cut_column(leaf, feature as usize, &cells, &mut scratch);
                keep_better(&mut best, cut);
            }
        }
        // As in other forests: if none of the drawn features can be cut, further ones are drawn until one can.
        while best.is_none() && drawn < order.len() {
            draw(&mut order, drawn, &mut rng);
            best = self.cut_column(leaf, order[drawn] as usize, &cells, &mut scratch);
            drawn += 1;
        }
        self.grower.scratch.put(scratch);
        self.worth_it(leaf, best?)
    }

    fn cut_column(
        &self,
        leaf: &Leaf<'_>,
        feature: usize,
        cells: &[C],
        scratch: &mut Scratch<C>,
    ) -> Option<Cut> {
        match &self.grower.data.columns {
            Columns::Bytes(columns) => {
                self.cut_bins(leaf, feature, &columns[feature], cells, scratch)
            }
            Columns::Shorts(columns) => {
                self.cut_bins(leaf, feature, &columns[feature], cells, scratch)
            }
        }
    }

    fn cut_bins<B: Copy + Into<usize>>(
        &self,
        leaf: &Leaf<'_>,
        feature: usize,
        column: &[B],
        cells: &[C],
        scratch: &mut Scratch<C>,
    ) -> Option<Cut> {
        let n_bins = self.grower.data.features[feature].n_values() + 1;
        let Scratch { cells: added, sums, lefts, .. } = scratch;
        if leaf.rows.len() < n_bins / 4 {
            // Few rows, many bins: sorting the rows costs less than visiting the bins.
            let mut entries = sums_by_bin(column, leaf.rows, cells);
            let missing = entries.pop_if(|(bin, _)| *bin == n_bins - 1).map(|(_, sum)| sum);
            let values = entries.iter().copied();
            return self.cut(leaf, feature, values, missing.unwrap_or_default(), lefts);
        }
        added.resize(added.len().max(n_bins), C::default());
        sums.clear();
        sums.resize(n_bins, Sum::default());
        add_column(column, leaf.rows, cells, &mut added[..n_bins], sums);
        let (missing, values) = sums.split_last().expect("there is a bin for missing values");
        self.cut(leaf, feature, values.iter().copied().enumerate(), *missing, lefts)
    }

    /// The best cut of one feature of a leaf, of which `values` are the bins for values, ascending.
    fn cut(
        &self,
        leaf: &Leaf<'_>,
        feature: usize,
        values: impl ExactSizeIterator<Item = (usize, Sum)> + Clone,
        missing: Sum,
        lefts: &mut Vec<Sum>,
    ) -> Option<Cut> {
        if !self.may_meet(&leaf.path, feature as u32) {
            return None;
        }
        let plan = &self.grower.plan;
        let limits = Limits {
            min_rows: plan.min_rows_leaf.max(1) as u64,
            min_second: plan.min_second,
            direction: plan.directions.get(feature).copied().unwrap_or(0),
            bounds: leaf.bounds,
        };
        let node = Node { total: leaf.sum, missing, limits: &limits };
        match &self.grower.data.features[feature] {
            FeatureBins::Cuts(cuts) => {
                let mut cut = plan.criterion.best_cut(&node, feature, values, lefts)?;
                if plan.at_edges {
                    cut.bins = cut.bins.at_edge(cuts.len());
                }
                Some(cut)
            }
            FeatureBins::Codes(_) => plan.criterion.best_division(&node, feature, values, lefts),
        }
    }

    /// Whether a feature may be asked below those on the path.
    fn may_meet(&self, path: &[u32], feature: u32) -> bool {
        let groups = &self.grower.plan.interactions;
        groups.is_empty()
            || path.is_empty()
            || groups.iter().any(|group| {
                group.contains(&feature) && path.iter().all(|other| group.contains(other))
            })
            || path == [feature]
    }

    /// The cut with its gain over the node as it is, if that is enough.
    fn worth_it(&self, leaf: &Leaf<'_>, cut: Cut) -> Option<Cut> {
        let GrowPlan { criterion, min_gain, .. } = self.grower.plan;
        let alone = criterion.score(leaf.sum, leaf.bounds);
        let gain = cut.gain - alone;
        let enough = match criterion {
            Criterion::Newton(_) => gain > min_gain && gain > 1e-12 * alone.abs(),
            // A cut that gains nothing by itself may make one below it that does.
            Criterion::Gini(shares) | Criterion::Entropy(shares) => {
                let all = shares.weights(self.total).1;
                gain >= min_gain * all - 1e-12 * alone.abs()
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
    let features = data.of_groups(groups);
    offsets[features.start]..offsets[features.end]
}

/// The first of equal ones stays, so that ties go to the feature that was looked at first.
fn keep_better(best: &mut Option<Cut>, cut: Option<Cut>) {
    let better = |cut: &Cut| best.as_ref().is_none_or(|best| cut.gain > best.gain);
    if let Some(cut) = cut.filter(better) {
        *best = Some(cut);
    }
}
