//! Fine bins, for coarser ones to be made of.

use crate::error::{Error, Result};

/// Rows of neighbouring values.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Prebin {
    pub(super) low: f64,
    pub(super) high: f64,
    pub(super) bad: f64,
    pub(super) good: f64,
}

impl Prebin {
    pub(super) fn rows(&self) -> f64 {
        self.bad + self.good
    }

    fn join(&mut self, above: &Prebin) {
        self.high = above.high;
        self.bad += above.bad;
        self.good += above.good;
    }

    /// A number with this bin's values below it and those of the next at or above.
    pub(super) fn edge_before(&self, next: &Prebin) -> f64 {
        let middle = self.high + (next.low - self.high) / 2.0;
        // Edges are finite, where infinite values begin as well.
        if middle > self.high && middle.is_finite() { middle } else { next.low.min(f64::MAX) }
    }
}

/// Rows of each distinct value, lowest first; `values` are (value, row), none of them NaN.
pub(super) fn distinct(
    values: &[(f64, u32)],
    labels: &[bool],
    weights: Option<&[f64]>,
) -> Vec<Prebin> {
    // Whole numbers sort faster than floats.
    let ascending = |value: f64| {
        let bits = (value + 0.0).to_bits();
        if bits >> 63 == 1 { !bits } else { bits | 1 << 63 }
    };
    let mut keys: Vec<(u64, u32)> = values.iter().map(|&(v, row)| (ascending(v), row)).collect();
    keys.sort_unstable();
    let value = |key: u64| f64::from_bits(if key >> 63 == 1 { key ^ 1 << 63 } else { !key });
    let mut cells: Vec<Prebin> = Vec::new();
    let mut last = None;
    for (key, row) in keys {
        if last != Some(key) {
            let value = value(key);
            cells.push(Prebin { low: value, high: value, bad: 0.0, good: 0.0 });
            last = Some(key);
        }
        let cell = cells.last_mut().expect("pushed at the first key");
        let row = row as usize;
        let weight = weights.map_or(1.0, |weights| weights[row]);
        *(if labels[row] { &mut cell.bad } else { &mut cell.good }) += weight;
    }
    cells
}

/// At most `n` bins of about equal weight, the rows of a value together.
pub(super) fn quantiles(cells: &[Prebin], n: usize) -> Vec<Prebin> {
    let total: f64 = cells.iter().map(Prebin::rows).sum();
    let mut bins: Vec<Prebin> = Vec::new();
    let (mut reached, mut closed) = (0.0, true);
    for cell in cells {
        match bins.last_mut() {
            Some(bin) if !closed => bin.join(cell),
            _ => bins.push(*cell),
        }
        reached += cell.rows();
        closed = reached >= bins.len() as f64 * total / n as f64;
    }
    bins
}

/// At most `n` bins by splitting, again and again, where the entropy of the label falls most, each with at least
/// `min_rows`. O(cells × depth).
pub(super) fn tree(cells: &[Prebin], n: usize, min_rows: f64) -> Vec<Prebin> {
    let mut leaves = vec![(0, cells.len(), best_split(cells, min_rows))];
    while leaves.len() < n {
        let gain =
            |leaf: &(usize, usize, Option<(usize, f64)>)| leaf.2.map_or(0.0, |split| split.1);
        let best = (0..leaves.len()).max_by(|&a, &b| {
            // Of equal gains the lowest leaf.
            gain(&leaves[a]).total_cmp(&gain(&leaves[b])).then(b.cmp(&a))
        });
        let Some((leaf, (split, _))) = best.and_then(|i| Some((i, leaves[i].2?))) else {
            break;
        };
        let (start, end, _) = leaves[leaf];
        let middle = start + split;
        leaves[leaf] = (start, middle, best_split(&cells[start..middle], min_rows));
        leaves.insert(leaf + 1, (middle, end, best_split(&cells[middle..end], min_rows)));
    }
    let join = |cells: &[Prebin]| {
        let mut bin = cells[0];
        cells[1..].iter().for_each(|cell| bin.join(cell));
        bin
    };
    leaves.iter().map(|&(start, end, _)| join(&cells[start..end])).collect()
}

/// How many cells go left, and by how much rows × entropy falls.
fn best_split(cells: &[Prebin], min_rows: f64) -> Option<(usize, f64)> {
    let disorder = |bad: f64, good: f64| {
        let part = |n: f64| if n > 0.0 { -n * (n / (bad + good)).ln() } else { 0.0 };
        part(bad) + part(good)
    };
    let (bad, good) =
        cells.iter().fold((0.0, 0.0), |sum, cell| (sum.0 + cell.bad, sum.1 + cell.good));
    let (mut left, mut best) = ((0.0, 0.0), None);
    for (i, cell) in cells.iter().enumerate().take(cells.len().saturating_sub(1)) {
        left = (left.0 + cell.bad, left.1 + cell.good);
        let right = (bad - left.0, good - left.1);
        if left.0 + left.1 < min_rows || right.0 + right.1 < min_rows {
            continue;
        }
        let gain = disorder(bad, good) - disorder(left.0, left.1) - disorder(right.0, right.1);
        if gain > best.map_or(1e-12, |(_, best)| best) {
            best = Some((i + 1, gain));
        }
    }
    best
}

/// Bins between edges, those without rows among them.
pub(super) fn between(cells: &[Prebin], edges: &[f64]) -> Result<Vec<Prebin>> {
    if !edges.iter().all(|edge| edge.is_finite()) || edges.windows(2).any(|e| e[0] >= e[1]) {
        return Err(Error::config("binning", "edges must be finite and strictly rising"));
    }
    let end = |edge: Option<&f64>, none: f64| edge.copied().unwrap_or(none);
    let mut bins: Vec<Prebin> = (0..=edges.len())
        .map(|i| Prebin {
            low: end(i.checked_sub(1).map(|below| &edges[below]), f64::NEG_INFINITY),
            high: end(edges.get(i), f64::INFINITY),
            bad: 0.0,
            good: 0.0,
        })
        .collect();
    for cell in cells {
        let bin = &mut bins[edges.partition_point(|edge| *edge <= cell.low)];
        bin.bad += cell.bad;
        bin.good += cell.good;
    }
    Ok(bins)
}
