//! Decision trees fitted by linfa-trees, as our own tree.

use std::sync::Arc;

use linfa::traits::Fit;
use linfa_trees::{DecisionTree, SplitQuality};
use serde::{Deserialize, Serialize};

use crate::dataset::Dataset;
use crate::error::{Error, Result};
use crate::model::tree::{Output, Question, Split, Tree, TreeEnsemble, TreeNode};
use crate::model::{Fitted, Trainer};
use crate::seed::Seed;

/// Parameters of [`LinfaTree`].
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LinfaTreeConfig {
    /// Most questions on a path, 1 to 64.
    pub max_depth: usize,
    /// Fewest rows that a node must hold to be split.
    pub min_rows_split: usize,
    /// Fewest rows on either side of a split.
    pub min_rows_leaf: usize,
}

impl Default for LinfaTreeConfig {
    fn default() -> Self {
        LinfaTreeConfig { max_depth: 5, min_rows_split: 20, min_rows_leaf: 5 }
    }
}

/// Trains a [`TreeEnsemble`] of one tree with linfa-trees (Gini). Deterministic; the seed plays no part. O(nodes × rows ×
/// features): a baseline for linfa users, not an engine.
///
/// What linfa 0.8.1 gets wrong is mended here as far as a fitted tree allows. Its leaves hold labels only, so the shares
/// of bad are counted anew by sending the training rows down; it fits with `≤` and predicts with `<`, we keep to `≤`. It
/// merges sibling leaves that predict the same label, and breaks the tie of a leaf that is half bad by the order of a
/// hash table: any such pair is merged here, so the same data give the same tree. Splits that it loses between values
/// closer than 1e-5 stay lost. It knows no missing values: they go the way of most training rows.
///
/// # Errors
/// `OneClass`; `InvalidInput` for a missing or infinite value; `Training` if linfa gives up.
#[derive(Debug, Clone, Default)]
pub struct LinfaTree {
    config: LinfaTreeConfig,
}

impl LinfaTree {
    /// # Errors
    /// `InvalidConfig` for a depth outside 1 to 64 or fewer than one row a leaf.
    pub fn new(config: LinfaTreeConfig) -> Result<Self> {
        if !(1..=64).contains(&config.max_depth) || config.min_rows_leaf == 0 {
            let reason = "max_depth must lie in 1..=64 and min_rows_leaf be at least 1";
            return Err(Error::config("linfa tree", reason));
        }
        Ok(LinfaTree { config })
    }
}

impl Trainer for LinfaTree {
    fn name(&self) -> &'static str {
        "linfa tree"
    }

    fn parameters(&self) -> Vec<(String, String)> {
        let LinfaTreeConfig { max_depth, min_rows_split, min_rows_leaf } = self.config;
        vec![
            ("max_depth".into(), max_depth.to_string()),
            ("min_rows_split".into(), min_rows_split.to_string()),
            ("min_rows_leaf".into(), min_rows_leaf.to_string()),
        ]
    }

    fn fit(&self, data: &Dataset, _seed: Seed) -> Result<Fitted> {
        data.check_both_classes("linfa tree")?;
        data.check_finite("features of a linfa tree")?;
        let fitted = DecisionTree::params()
            .split_quality(SplitQuality::Gini)
            .max_depth(Some(self.config.max_depth))
            .min_weight_split(self.config.min_rows_split as f32)
            .min_weight_leaf(self.config.min_rows_leaf as f32)
            .fit(&data.into())
            .map_err(|error| Error::Training {
                trainer: "linfa tree",
                reason: error.to_string(),
            })?;
        let model = TreeEnsemble::from_linfa(&fitted, data)?;
        Ok(Fitted { model: Arc::new(model), convergence: None })
    }
}

impl TreeEnsemble {
    /// A decision tree that linfa fitted, with the rows it was fitted to: its leaves hold labels only, so the shares of bad
    /// are counted anew. What else linfa gets wrong is mended as [`LinfaTree`] says.
    ///
    /// # Errors
    /// `SchemaMismatch` if the tree asks for a feature that the rows do not have; `InvalidInput` for a threshold that is
    /// no number.
    pub fn from_linfa(fitted: &DecisionTree<f64, bool>, data: &Dataset) -> Result<Self> {
        let n_features = data.schema().n_features();
        let inner = fitted.iter_nodes().filter(|node| !node.is_leaf());
        if let Some(feature) = inner.map(|node| node.split().0).find(|f| *f >= n_features) {
            let reason = format!("the tree asks for feature {feature} of {n_features}");
            return Err(Error::SchemaMismatch { reason });
        }
        let rows: Vec<u32> = (0..data.n_rows() as u32).collect();
        let mut nodes = Vec::new();
        grow(fitted.root_node(), data, rows, &mut nodes);
        let mut tree = Vec::new();
        keep(&nodes, &majorities(&nodes), 0, &mut tree);
        TreeEnsemble::new(data.schema().clone(), vec![Tree::new(tree)?], Output::SHARES)
    }
}

type LinfaNode = linfa_trees::TreeNode<f64, bool>;

/// A node of linfa's with the training rows that reach it.
struct Counted {
    /// Feature, threshold, positions of the children.
    split: Option<(usize, f64, usize, usize)>,
    n_good: usize,
    n_bad: usize,
}

/// Copies a node and what is below it, counting the rows that reach each. Returns its position. No deeper than
/// linfa's own recursion was.
fn grow(node: &LinfaNode, data: &Dataset, rows: Vec<u32>, nodes: &mut Vec<Counted>) -> usize {
    let n_bad = rows.iter().filter(|&&row| data.labels()[row as usize]).count();
    let position = nodes.len();
    nodes.push(Counted { split: None, n_good: rows.len() - n_bad, n_bad });
    let children = node.children();
    if let (false, [Some(left), Some(right)]) = (node.is_leaf(), &children[..]) {
        let (feature, threshold, _) = node.split();
        let goes_left = |row: &u32| data.row(*row as usize)[feature] <= threshold;
        let (to_left, to_right) = rows.into_iter().partition(goes_left);
        let left = grow(left, data, to_left, nodes);
        let right = grow(right, data, to_right, nodes);
        nodes[position].split = Some((feature, threshold, left, right));
    }
    position
}

/// What the majority of a node's rows says; [`Either`](Majority::Either) for a tie, `Mixed` below an unmerged split.
#[derive(Clone, Copy, PartialEq)]
enum Majority {
    Good,
    Bad,
    Either,
    Mixed,
}

impl Majority {
    fn of(node: &Counted) -> Self {
        match node.n_good.cmp(&node.n_bad) {
            std::cmp::Ordering::Greater => Majority::Good,
            std::cmp::Ordering::Less => Majority::Bad,
            std::cmp::Ordering::Equal => Majority::Either,
        }
    }

    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Majority::Mixed, _) | (_, Majority::Mixed) => Majority::Mixed,
            (Majority::Either, known) | (known, Majority::Either) => known,
            (one, two) if one == two => one,
            _ => Majority::Mixed,
        }
    }
}

/// Per node what its leaves would be merged into under some order of linfa's hash table, `Mixed` if they would not.
fn majorities(nodes: &[Counted]) -> Vec<Majority> {
    let mut majority = vec![Majority::Mixed; nodes.len()];
    // Children stand behind their parents, so walking backwards meets them first.
    for (i, node) in nodes.iter().enumerate().rev() {
        majority[i] = match node.split {
            None => Majority::of(node),
            Some((_, _, left, right)) => majority[left].and(majority[right]),
        };
    }
    majority
}

/// Copies the nodes that stay. Returns the position of the copy of node `i`.
fn keep(nodes: &[Counted], majority: &[Majority], i: usize, kept: &mut Vec<TreeNode>) -> u32 {
    let position = kept.len();
    let node = &nodes[i];
    let rows = |node: &Counted| (node.n_good + node.n_bad) as f64;
    kept.push(TreeNode::leaf(node.n_bad as f64 / rows(node).max(1.0), rows(node)));
    if let (Some((feature, threshold, l, r)), Majority::Mixed) = (node.split, majority[i]) {
        let left = keep(nodes, majority, l, kept);
        let right = keep(nodes, majority, r, kept);
        // Rows times Gini impurity.
        let impurity =
            |node: &Counted| 2.0 * node.n_good as f64 * node.n_bad as f64 / rows(node).max(1.0);
        kept[position].gain = impurity(node) - impurity(&nodes[l]) - impurity(&nodes[r]);
        kept[position].split = Some(Box::new(Split {
            feature: feature as u32,
            question: Question::AtMost(threshold),
            missing_left: rows(&nodes[l]) >= rows(&nodes[r]),
            also_missing: None,
            left,
            right,
        }));
    }
    position as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ties_are_merged_whichever_way_linfa_breaks_them() {
        let node = |split: Option<(usize, usize)>, n_good, n_bad| Counted {
            split: split.map(|(left, right)| (0, 0.5, left, right)),
            n_good,
            n_bad,
        };
        let kept = |nodes: &[Counted]| {
            let mut kept = Vec::new();
            keep(nodes, &majorities(nodes), 0, &mut kept);
            kept
        };
        // ((good, tie), bad): the left pair merges, the root does not.
        let unmerged = [
            node(Some((1, 4)), 5, 6),
            node(Some((2, 3)), 5, 2),
            node(None, 3, 0),
            node(None, 2, 2),
            node(None, 0, 4),
        ];
        let by_linfa = [node(Some((1, 2)), 5, 6), node(None, 5, 2), node(None, 0, 4)];
        assert_eq!(kept(&unmerged), kept(&by_linfa));
        assert_eq!(kept(&unmerged).len(), 3);
    }
}
