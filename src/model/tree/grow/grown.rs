//! A tree that was just grown: questions over bins, and where its rows ended.

use std::ops::Range;

use crate::model::tree::grow::binning::Binned;
use crate::model::tree::grow::histogram::Sum;
use crate::model::tree::grow::partition::partition;
use crate::model::tree::grow::split::Cut;
use crate::model::tree::node::{Split, Tree, TreeNode};

/// A tree over bins. Children stand behind their parent.
#[derive(Debug)]
pub(crate) struct Grown {
    pub(crate) nodes: Vec<GrownNode>,
    /// The rows in the order of the leaves, ascending within each.
    pub(crate) rows: Vec<u32>,
}

#[derive(Debug)]
pub(crate) struct GrownNode {
    pub(crate) split: Option<GrownSplit>,
    pub(crate) value: f64,
    pub(crate) sum: Sum,
    /// Which of [`Grown::rows`] are here.
    pub(crate) range: Range<usize>,
    pub(crate) gain: f64,
}

#[derive(Debug)]
pub(crate) struct GrownSplit {
    pub(crate) cut: Cut,
    pub(crate) left: u32,
}

impl Grown {
    /// Whether no split was worth it.
    pub(crate) fn is_constant(&self) -> bool {
        self.nodes.len() == 1
    }

    /// What all its rows add up to.
    pub(crate) fn total(&self) -> Sum {
        self.nodes[0].sum
    }

    /// The tree with real thresholds; leaf values times `scale`.
    pub(crate) fn tree(&self, data: &Binned, scale: f64) -> Tree {
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

    /// Adds to `margins`, those of the data set's rows from `start` on, what their leaves say times `scale`. Rows that the
    /// tree was not grown on are divided by its questions. O(rows + leaves × log rows), for those others O(rows × depth).
    pub(crate) fn add_to(&self, margins: &mut [f64], start: usize, data: &Binned, scale: f64) {
        let (first, end) = (start as u32, (start + margins.len()) as u32);
        let leaves = self.nodes.iter().filter(|node| node.split.is_none());
        let here = leaves.map(|leaf| {
            let rows = &self.rows[leaf.range.clone()];
            let rows = &rows[rows.partition_point(|&row| row < first)..];
            (leaf.value * scale, &rows[..rows.partition_point(|&row| row < end)])
        });
        let mut n_seen = 0;
        for (value, rows) in here.clone() {
            n_seen += rows.len();
            rows.iter().for_each(|row| margins[(row - first) as usize] += value);
        }
        if n_seen < margins.len() {
            let mut seen = vec![false; margins.len()];
            here.for_each(|(_, rows)| rows.iter().for_each(|r| seen[(r - first) as usize] = true));
            let mut others: Vec<u32> =
                (first..end).filter(|r| !seen[(r - first) as usize]).collect();
            self.leaves_of(&mut others, data, |leaf, rows| {
                let value = leaf.value * scale;
                rows.iter().for_each(|row| margins[(row - first) as usize] += value);
            });
        }
    }

    /// Visits the leaves where rows of the training data end, with these rows.
    fn leaves_of(
        &self,
        rows: &mut [u32],
        data: &Binned,
        mut visit: impl FnMut(&GrownNode, &[u32]),
    ) {
        let mut buffer = Vec::new();
        let mut ranges = vec![0..0; self.nodes.len()];
        ranges[0] = 0..rows.len();
        for (i, node) in self.nodes.iter().enumerate() {
            let Range { start, end } = ranges[i];
            match &node.split {
                _ if start == end => {}
                None => visit(node, &rows[start..end]),
                Some(GrownSplit { cut, left }) => {
                    let here = &mut rows[start..end];
                    let middle = start + partition(data, cut, here, &mut buffer, false);
                    ranges[*left as usize] = start..middle;
                    ranges[*left as usize + 1] = middle..end;
                }
            }
        }
    }
}
