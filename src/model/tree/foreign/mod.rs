//! Tree models of other libraries: XGBoost, LightGBM, scikit-learn.
//!
//! Whatever a library does at a split (the precision it compares in, what it takes for missing, which side a category set
//! stands for) is settled here, once, in terms of our own splits: `value ≤ threshold` in double precision and a set of
//! codes that goes left. So nothing downstream knows where a model came from, and its margins are equal bit for bit to
//! those of the library that trained it. What cannot be settled is refused: an objective, a field or a kind of node that
//! is not known might change the output.

mod lightgbm;
mod logf;
mod scikit_learn;
mod ubjson;
mod xgboost;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};
use crate::model::tree::ensemble::Link;
use crate::model::tree::node::{Tree, TreeNode};
use crate::schema::{Categories, FeatureKind, FeatureSchema};

/// What a model file of another library leaves open.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct ImportOptions {
    /// Which values were missing to the training. XGBoost needs it: its `missing` is not in the file, and pipelines on
    /// sparse vectors (Spark among them) often train with 0. LightGBM's files tell it, so there it must be `None`.
    pub missing: Option<MissingValue>,
    /// Which trees count. Needed if the file knows a best iteration of early stopping that is not the last: XGBoost's own
    /// interface scores with all trees, its scikit-learn wrapper up to the best.
    pub trees: Option<TreeRange>,
    /// From margin to score, instead of what the objective says: for models trained with a loss of one's own. LightGBM's
    /// files of such models name no objective, then it is needed.
    pub link: Option<Link>,
}

/// Which values a model takes for missing.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum MissingValue {
    /// NaN only.
    Nan,
    /// NaN and whatever rounds to this number in single precision, such as 0 or -999.
    Value(f64),
}

/// Which trees of a model count.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum TreeRange {
    /// All in the file.
    All,
    /// Those up to the best iteration, which is among them.
    BestIteration,
}

/// A script that writes trees, forests and boosted ensembles of scikit-learn as JSON for
/// [`TreeEnsemble::from_scikit_learn`](crate::model::TreeEnsemble::from_scikit_learn), with golden rows. Needs numpy only,
/// beside scikit-learn itself.
pub const SCIKIT_LEARN_EXPORTER: &str = include_str!("export_scikit_learn.py");

/// The tree below node 0 of nodes in any order, each with the positions of its children among them. Nodes that the root
/// does not reach are left out: libraries keep some that were pruned.
///
/// # Errors
/// `Corrupt` for a position past the end, a node that is reached twice, or one that [`Tree::new`] refuses.
fn tree_below_root(
    what: &'static str,
    n_nodes: usize,
    mut node: impl FnMut(usize) -> Result<TreeNode>,
) -> Result<Tree> {
    let mut reached = vec![false; n_nodes];
    let mut order = vec![0];
    let mut nodes = Vec::new();
    while let Some(&at) = order.get(nodes.len()) {
        if at >= n_nodes || std::mem::replace(&mut reached[at], true) {
            return Err(Error::corrupt(what, format!("node {at} is not there or reached twice")));
        }
        let mut node = node(at)?;
        if let Some(split) = &mut node.split {
            let children = [split.left as usize, split.right as usize];
            (split.left, split.right) = (order.len() as u32, order.len() as u32 + 1);
            order.extend(children);
        }
        nodes.push(node);
    }
    Tree::new(nodes).map_err(|error| match error {
        Error::InvalidInput { reason, .. } => Error::corrupt(what, reason),
        other => other,
    })
}

/// The error with the tree it is about.
fn in_tree(t: usize, error: Error) -> Error {
    match error {
        Error::InvalidInput { what, reason } => Error::input(what, format!("tree {t}: {reason}")),
        Error::Corrupt { what, reason } => Error::corrupt(what, format!("tree {t}: {reason}")),
        other => other,
    }
}

/// The columns with the names in the file, or f0, f1, … without any. A column whose categories the file names holds the
/// positions in that list; `categories` has them by column.
fn schema(
    what: &'static str,
    names: Vec<String>,
    n_features: usize,
    mut categories: BTreeMap<usize, Vec<String>>,
) -> Result<FeatureSchema> {
    let corrupt = |reason: String| Error::corrupt(what, reason);
    // Without names a number is all there is to say how wide rows are: one made up must not take the memory.
    if n_features > MAX_FEATURES || !(names.is_empty() || names.len() == n_features) {
        return Err(corrupt(format!("{} names for {n_features} features", names.len())));
    }
    let names = match names.is_empty() {
        true => (0..n_features).map(|i| format!("f{i}")).collect(),
        false => names,
    };
    let columns = names.into_iter().enumerate().map(|(i, name)| {
        let kind = match categories.remove(&i) {
            // More than a column of ours may have: codes are numbers then, as in a file without names.
            Some(names) if names.len() <= Categories::MAX => {
                FeatureKind::Categorical(Categories::new(names)?)
            }
            _ => FeatureKind::Numeric,
        };
        Ok((name, kind))
    });
    let columns = columns.collect::<Result<Vec<_>>>().map_err(|e| corrupt(e.to_string()))?;
    FeatureSchema::with_kinds(columns).map_err(|e| corrupt(e.to_string()))
}

const MAX_FEATURES: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tree::node::{Question, Split};

    fn inner(left: u32, right: u32) -> TreeNode {
        let question = Question::AtMost(0.0);
        let split =
            Split { feature: 0, question, missing_left: true, also_missing: None, left, right };
        TreeNode { split: Some(Box::new(split)), ..TreeNode::leaf(0.0, 1.0) }
    }

    #[test]
    fn nodes_in_any_order_become_a_tree_and_cycles_do_not() {
        let leaf = |value| TreeNode::leaf(value, 1.0);
        let nodes = [inner(3, 1), leaf(1.0), leaf(9.0), inner(5, 4), leaf(4.0), leaf(5.0)];
        let tree = tree_below_root("x", 6, |i| Ok(nodes[i].clone())).unwrap();
        let values: Vec<f64> = tree.nodes().iter().map(|node| node.value).collect();
        assert_eq!(values, [0.0, 0.0, 1.0, 5.0, 4.0]);
        assert_eq!(tree.leaf_of(&[1.0]), 2);
        for children in [[0, 1], [1, 1], [1, 2]] {
            let node = |i| Ok(if i == 0 { inner(children[0], children[1]) } else { leaf(0.0) });
            assert!(tree_below_root("x", 2, node).is_err(), "{children:?}");
        }
        assert!(tree_below_root("x", 0, |_| Ok(leaf(0.0))).is_err());
    }
}
