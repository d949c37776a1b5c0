//! A decision tree in flat nodes.

use std::fmt;

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::model::Model;
use crate::schema::FeatureSchema;

/// A decision tree whose leaves give the share of bad among the training rows that ended there.
///
/// `value ≤ threshold` goes left. A row whose path asks for a missing value gets NaN, no score. Scoring is
/// O(depth) without allocation.
#[derive(Debug, Clone, PartialEq)]
pub struct DecisionTreeModel {
    schema: FeatureSchema,
    /// Parents before children; the root is first.
    nodes: Vec<TreeNode>,
}

/// A node of a [`DecisionTreeModel`] with the training rows that reached it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TreeNode {
    /// The question asked here; `None` in a leaf.
    pub split: Option<TreeSplit>,
    /// Training rows labelled good.
    pub n_good: u64,
    /// Training rows labelled bad.
    pub n_bad: u64,
}

/// `value ≤ threshold` goes left.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TreeSplit {
    /// Position of the feature.
    pub feature: u32,
    /// Where it is cut.
    pub threshold: f64,
    /// Position of the left child.
    pub left: u32,
    /// Position of the right child.
    pub right: u32,
}

/// Marks a leaf in the bytes.
const LEAF: u32 = u32::MAX;
const NODE_BYTES: usize = 4 + 8 + 4 + 4 + 8 + 8;

impl DecisionTreeModel {
    /// The kind under which artifacts hold it.
    pub const KIND: &'static str = "decision-tree";

    /// A tree from its nodes.
    ///
    /// # Errors
    /// `InvalidInput` without nodes, for a leaf without training rows, a feature or child that is not there, a threshold
    /// that is not finite, or a child that does not stand behind its parent (which also rules out cycles).
    pub fn new(schema: FeatureSchema, nodes: Vec<TreeNode>) -> Result<Self> {
        let refuse = |i: usize, reason: &str| {
            Err(Error::input("decision tree", format!("node {i} {reason}")))
        };
        if nodes.is_empty() || nodes.len() >= LEAF as usize {
            return Err(Error::input("decision tree", format!("has {} nodes", nodes.len())));
        }
        for (i, node) in nodes.iter().enumerate() {
            let Some(split) = node.split else {
                if node.n_good.checked_add(node.n_bad).is_none_or(|n| n == 0) {
                    return refuse(i, "is a leaf without a number of training rows");
                }
                continue;
            };
            let behind = |child: u32| (child as usize) > i && (child as usize) < nodes.len();
            if split.feature as usize >= schema.n_features() {
                return refuse(i, "asks for a feature that is not there");
            }
            if !split.threshold.is_finite() {
                return refuse(i, "has no finite threshold");
            }
            if !behind(split.left) || !behind(split.right) || split.left == split.right {
                return refuse(i, "has a child that is not behind it");
            }
        }
        Ok(DecisionTreeModel { schema, nodes })
    }

    /// The nodes, parents before children.
    pub fn nodes(&self) -> &[TreeNode] {
        &self.nodes
    }

    /// How much of the training rows' Gini impurity the splits on each feature removed, in schema order: the sum over its
    /// splits of the impurity 2p(1 − p) of the node less that of its children, each weighted by its share of all training
    /// rows. Together at most 0.5, not scaled to 1 (scikit-learn's importances before it normalises them). Features with
    /// many distinct values are favoured, and it tells of the training rows only: permutation importance on later rows
    /// is the honest one. O(nodes).
    pub fn importance(&self) -> Vec<f64> {
        // Rows of the node times its impurity.
        let impurity = |node: &TreeNode| {
            let (good, bad) = (node.n_good as f64, node.n_bad as f64);
            if good + bad > 0.0 { 2.0 * good * bad / (good + bad) } else { 0.0 }
        };
        let n_rows = self.nodes[0].n_good as f64 + self.nodes[0].n_bad as f64;
        let mut importance = vec![0.0; self.schema.n_features()];
        if n_rows == 0.0 {
            return importance; // only leaves are bound to have rows
        }
        for node in &self.nodes {
            if let Some(split) = node.split {
                let child = |i: u32| impurity(&self.nodes[i as usize]);
                let removed = impurity(node) - child(split.left) - child(split.right);
                importance[split.feature as usize] += removed / n_rows;
            }
        }
        importance
    }

    pub(super) fn from_bytes(schema: FeatureSchema, bytes: &[u8]) -> Result<Self> {
        let mut reader = Reader::new("decision tree", bytes);
        let n = reader.u32()? as usize;
        if reader.remaining() / NODE_BYTES < n {
            return Err(Error::corrupt("decision tree", "ends too early"));
        }
        let mut nodes = Vec::with_capacity(n);
        for _ in 0..n {
            let (feature, threshold) = (reader.u32()?, reader.f64()?);
            let (left, right) = (reader.u32()?, reader.u32()?);
            let split = (feature != LEAF).then_some(TreeSplit { feature, threshold, left, right });
            nodes.push(TreeNode { split, n_good: reader.u64()?, n_bad: reader.u64()? });
        }
        reader.finish()?;
        DecisionTreeModel::new(schema, nodes)
            .map_err(|e| Error::corrupt("decision tree", e.to_string()))
    }

    fn score_one(&self, row: &[f64]) -> f64 {
        let mut node = &self.nodes[0];
        while let Some(split) = node.split {
            let value = row[split.feature as usize];
            if value.is_nan() {
                return f64::NAN;
            }
            let child = if value <= split.threshold { split.left } else { split.right };
            node = &self.nodes[child as usize];
        }
        node.n_bad as f64 / (node.n_bad + node.n_good) as f64
    }
}

impl Model for DecisionTreeModel {
    fn schema(&self) -> &FeatureSchema {
        &self.schema
    }

    fn score(&self, rows: &[f64], scores: &mut [f64]) -> Result<()> {
        self.schema.check_rows(rows.len(), scores.len())?;
        let rows = rows.chunks_exact(self.schema.n_features());
        scores.iter_mut().zip(rows).for_each(|(score, row)| *score = self.score_one(row));
        Ok(())
    }

    fn kind(&self) -> &str {
        Self::KIND
    }

    fn to_bytes(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(4 + self.nodes.len() * NODE_BYTES);
        bytes.extend((self.nodes.len() as u32).to_le_bytes());
        for node in &self.nodes {
            let leaf = TreeSplit { feature: LEAF, threshold: 0.0, left: 0, right: 0 };
            let split = node.split.unwrap_or(leaf);
            bytes.extend(split.feature.to_le_bytes());
            bytes.extend(split.threshold.to_le_bytes());
            bytes.extend(split.left.to_le_bytes());
            bytes.extend(split.right.to_le_bytes());
            bytes.extend(node.n_good.to_le_bytes());
            bytes.extend(node.n_bad.to_le_bytes());
        }
        bytes
    }
}

/// One line a node, indented by depth: the question or the leaf's rate, and the training rows (good/bad).
impl fmt::Display for DecisionTreeModel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut stack = vec![(0, 0)];
        while let Some((i, depth)) = stack.pop() {
            let node = &self.nodes[i as usize];
            let (n_good, n_bad) = (node.n_good, node.n_bad);
            write!(f, "{:width$}", "", width = 2 * depth)?;
            match node.split {
                Some(split) => {
                    let name = &self.schema.names()[split.feature as usize];
                    writeln!(f, "{name} <= {}  ({n_good}/{n_bad})", split.threshold)?;
                    stack.extend([(split.right, depth + 1), (split.left, depth + 1)]);
                }
                None => {
                    let rate = n_bad as f64 / (n_good + n_bad) as f64;
                    writeln!(f, "bad rate {rate:.4}  ({n_good}/{n_bad})")?;
                }
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::ModelExt;

    fn leaf(n_good: u64, n_bad: u64) -> TreeNode {
        TreeNode { split: None, n_good, n_bad }
    }

    fn stump(feature: u32, left: u32, right: u32) -> Result<DecisionTreeModel> {
        let split = Some(TreeSplit { feature, threshold: 10.0, left, right });
        let nodes = vec![TreeNode { split, n_good: 12, n_bad: 4 }, leaf(9, 1), leaf(3, 3)];
        DecisionTreeModel::new(FeatureSchema::new(["amount", "night"]).unwrap(), nodes)
    }

    #[test]
    fn the_threshold_itself_goes_left_and_missing_gives_no_score() {
        let tree = stump(0, 1, 2).unwrap();
        assert_eq!(tree.score_row(&[10.0, 0.0]).unwrap(), 0.1);
        assert_eq!(tree.score_row(&[10.000001, f64::NAN]).unwrap(), 0.5);
        assert!(tree.score_row(&[f64::NAN, 0.0]).unwrap().is_nan());
        assert!(tree.to_string().starts_with("amount <= 10  (12/4)\n  bad rate 0.1000  (9/1)\n"));
    }

    #[test]
    fn malformed_trees_are_refused() {
        assert!(stump(2, 1, 2).is_err()); // no such feature
        assert!(stump(0, 0, 2).is_err()); // a cycle
        assert!(stump(0, 1, 3).is_err()); // no such child
        let schema = FeatureSchema::new(["a"]).unwrap();
        assert!(DecisionTreeModel::new(schema.clone(), vec![]).is_err());
        assert!(DecisionTreeModel::new(schema.clone(), vec![leaf(0, 0)]).is_err());
        assert!(DecisionTreeModel::new(schema, vec![leaf(u64::MAX, 1)]).is_err());
    }

    #[test]
    fn importance_is_the_impurity_that_the_splits_removed() {
        // Gini of 12/4 is 6/16, of 9/1 18/100, of 3/3 1/2.
        let removed = 6.0 / 16.0 - 10.0 / 16.0 * 0.18 - 6.0 / 16.0 * 0.5;
        let importance = stump(1, 1, 2).unwrap().importance();
        assert_eq!(importance[0], 0.0);
        assert!((importance[1] - removed).abs() < 1e-15, "{importance:?}");
    }

    #[test]
    fn bytes_round_trip_and_truncations_are_refused() {
        let tree = stump(1, 1, 2).unwrap();
        let bytes = tree.to_bytes();
        assert_eq!(DecisionTreeModel::from_bytes(tree.schema.clone(), &bytes).unwrap(), tree);
        for end in 0..bytes.len() {
            assert!(DecisionTreeModel::from_bytes(tree.schema.clone(), &bytes[..end]).is_err());
        }
        assert!(DecisionTreeModel::from_bytes(tree.schema, &[0xff; 64]).is_err());
    }
}
