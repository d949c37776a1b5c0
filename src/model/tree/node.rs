//! One tree: nodes that ask a question of one feature, leaves that answer.

use std::sync::Arc;

use crate::error::{Error, Result};

/// A binary tree of questions. Its nodes stand parents before children, the root first.
#[derive(Debug, Clone, PartialEq)]
pub struct Tree {
    nodes: Vec<TreeNode>,
}

/// A node with what the training rows that reached it say.
#[derive(Debug, Clone, PartialEq)]
pub struct TreeNode {
    /// The question asked here; `None` in a leaf. Boxed, so that leaves, more than half of all nodes, stay small.
    pub split: Option<Box<Split>>,
    /// What a leaf adds to a row's margin, or answers as the share of bad. In an inner node what it would be if growth had
    /// stopped there, or 0 where that is not known (foreign models).
    pub value: f64,
    /// Weight of the training rows that reached this node: how many, where no weights were given. Some foreign models
    /// give the sum of second derivatives instead.
    pub cover: f64,
    /// How much the split improved the training objective; 0 in a leaf.
    pub gain: f64,
}

/// A question and where its answers lead.
#[derive(Debug, Clone, PartialEq)]
pub struct Split {
    /// Position of the feature.
    pub feature: u32,
    /// What is asked of its value.
    pub question: Question,
    /// A missing value (NaN) goes left, otherwise right.
    pub missing_left: bool,
    /// Numbers that count as missing besides NaN. Some foreign models have such; ours never do.
    pub also_missing: Option<Band>,
    /// Position of the child for yes.
    pub left: u32,
    /// Position of the child for no.
    pub right: u32,
}

/// What a split asks of a value that is not missing; yes goes left.
#[derive(Debug, Clone, PartialEq)]
pub enum Question {
    /// Is the value at most this? The threshold is not NaN; an infinite one separates what is missing from the rest.
    AtMost(f64),
    /// Is it one of these categories?
    OneOf(CategorySet),
}

/// The numbers from `low` to `high`, both among them.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Band {
    /// The least of them.
    pub low: f64,
    /// The greatest.
    pub high: f64,
}

/// A set of category codes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CategorySet {
    /// Ascending, none twice.
    codes: Arc<[u32]>,
    rule: CategoryRule,
}

/// Which code a value stands for. The rules agree on whole numbers, which is what codes are; they differ where
/// libraries do. A negative code is in no set.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub enum CategoryRule {
    /// The value cut toward zero, as LightGBM does: 2.9 is 2, −0.9 is 0.
    #[default]
    Cut,
    /// The value rounded to single precision and cut, as XGBoost does; a negative one stands for none, nor does one from
    /// 2²⁴ on.
    CutSingle,
    /// Whole numbers only, as scikit-learn does; anything else stands for none.
    Whole,
}

impl Band {
    /// What LightGBM takes for zero: its `kZeroThreshold` is the single-precision number next to 1e-35.
    pub const ZERO: Band = Band { low: -(1e-35_f32 as f64), high: 1e-35_f32 as f64 };

    /// Whether a number is one of these; NaN never is.
    #[inline]
    pub fn contains(self, value: f64) -> bool {
        self.low <= value && value <= self.high
    }
}

impl CategorySet {
    /// A set of codes, in any order, under [`CategoryRule::Cut`].
    pub fn new(codes: impl IntoIterator<Item = u32>) -> Self {
        let mut codes: Vec<u32> = codes.into_iter().collect();
        codes.sort_unstable();
        codes.dedup();
        CategorySet { codes: codes.into(), rule: CategoryRule::Cut }
    }

    /// The same codes under another rule.
    pub fn with_rule(self, rule: CategoryRule) -> Self {
        CategorySet { rule, ..self }
    }

    /// The codes, ascending.
    pub fn codes(&self) -> &[u32] {
        &self.codes
    }

    /// How values are read.
    pub fn rule(&self) -> CategoryRule {
        self.rule
    }

    /// Whether the code that the value stands for is in the set. NaN never is. O(log n).
    pub fn contains(&self, value: f64) -> bool {
        let single = f64::from(value as f32);
        // The bounds keep the cast from turning what is no code into the nearest one.
        let (value, is_code) = match self.rule {
            CategoryRule::Cut => (value, -1.0 < value && value < 4_294_967_296.0),
            CategoryRule::CutSingle => (single, (0.0..16_777_216.0).contains(&single)),
            CategoryRule::Whole => (value, f64::from(value as u32) == value),
        };
        is_code && self.codes.binary_search(&(value as u32)).is_ok()
    }
}

impl Split {
    /// Whether a value goes left.
    pub fn goes_left(&self, value: f64) -> bool {
        if value.is_nan() || self.also_missing.is_some_and(|band| band.contains(value)) {
            return self.missing_left;
        }
        match &self.question {
            Question::AtMost(threshold) => value <= *threshold,
            Question::OneOf(categories) => categories.contains(value),
        }
    }
}

impl TreeNode {
    /// A leaf.
    pub fn leaf(value: f64, cover: f64) -> Self {
        TreeNode { split: None, value, cover, gain: 0.0 }
    }
}

impl Tree {
    /// A tree from its nodes.
    ///
    /// # Errors
    /// `InvalidInput` without nodes; for a value, cover or gain that is not finite or a cover below 0; for a NaN
    /// threshold or bound; for a node that is not the child of exactly one node before it (which also rules out cycles).
    pub fn new(nodes: Vec<TreeNode>) -> Result<Self> {
        let refuse =
            |i: usize, reason: &str| Err(Error::input("tree", format!("node {i} {reason}")));
        if nodes.is_empty() || nodes.len() > i32::MAX as usize {
            return Err(Error::input("tree", format!("has {} nodes", nodes.len())));
        }
        let mut has_parent = vec![false; nodes.len()];
        for (i, node) in nodes.iter().enumerate() {
            if i > 0 && !has_parent[i] {
                return refuse(i, "has no parent before it");
            }
            if ![node.value, node.cover, node.gain].iter().all(|x| x.is_finite())
                || node.cover < 0.0
            {
                return refuse(i, "has a value, cover or gain that is not finite or below 0");
            }
            let Some(split) = &node.split else { continue };
            if matches!(split.question, Question::AtMost(threshold) if threshold.is_nan()) {
                return refuse(i, "has no number for a threshold");
            }
            if split.also_missing.is_some_and(|band| band.low.is_nan() || band.high.is_nan()) {
                return refuse(i, "has no number for what counts as missing");
            }
            for child in [split.left as usize, split.right as usize] {
                if child <= i || child >= nodes.len() || has_parent[child] {
                    return refuse(i, "has a child that is not behind it or has a parent already");
                }
                has_parent[child] = true;
            }
        }
        Ok(Tree { nodes })
    }

    /// The nodes, parents before children.
    pub fn nodes(&self) -> &[TreeNode] {
        &self.nodes
    }

    /// Number of leaves.
    pub fn n_leaves(&self) -> usize {
        self.nodes.len() / 2 + 1
    }

    /// Most questions on a path. O(nodes).
    pub fn depth(&self) -> usize {
        let mut depth = vec![0; self.nodes.len()];
        for (i, node) in self.nodes.iter().enumerate() {
            if let Some(split) = &node.split {
                depth[split.left as usize] = depth[i] + 1;
                depth[split.right as usize] = depth[i] + 1;
            }
        }
        depth.into_iter().max().unwrap_or(0)
    }

    /// The leaf where a row ends, as its position: question by question, which is what every faster way of scoring is
    /// checked against. O(depth).
    ///
    /// # Panics
    /// If the row lacks a feature that is asked for.
    pub fn leaf_of(&self, row: &[f64]) -> usize {
        let mut i = 0;
        while let Some(split) = &self.nodes[i].split {
            let left = split.goes_left(row[split.feature as usize]);
            i = if left { split.left } else { split.right } as usize;
        }
        i
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at_most(threshold: f64, left: u32, right: u32) -> TreeNode {
        let question = Question::AtMost(threshold);
        let split =
            Split { feature: 0, question, missing_left: false, also_missing: None, left, right };
        TreeNode { split: Some(Box::new(split)), value: 0.0, cover: 2.0, gain: 1.0 }
    }

    #[test]
    fn the_threshold_itself_goes_left_and_missing_where_it_is_sent() {
        let mut split = *at_most(10.0, 1, 2).split.unwrap();
        assert!(split.goes_left(10.0) && !split.goes_left(10.000001) && !split.goes_left(f64::NAN));
        assert!(split.goes_left(0.0));
        split.also_missing = Some(Band::ZERO);
        assert!(!split.goes_left(-1e-36) && split.goes_left(1e-34));
        split.missing_left = true;
        assert!(split.goes_left(f64::NAN) && split.goes_left(0.0));
    }

    #[test]
    fn categories_take_whole_numbers_only_as_far_as_there_are_codes() {
        let set = CategorySet::new([7, 0, 7, u32::MAX]);
        assert_eq!(set.codes(), [0, 7, u32::MAX]);
        assert!(set.contains(7.9) && set.contains(0.0) && set.contains(-0.0));
        for no in [-1.0, 6.0, 1e300, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, 4_294_967_296.0] {
            assert!(!set.contains(no), "{no}");
        }
    }

    #[test]
    fn rules_differ_on_what_is_no_whole_number() {
        let under = |rule| CategorySet::new([0, 3]).with_rule(rule);
        let read = |value: f64| {
            [CategoryRule::Cut, CategoryRule::CutSingle, CategoryRule::Whole]
                .map(|rule| under(rule).contains(value))
        };
        assert_eq!(read(3.0), [true; 3]);
        assert_eq!(read(3.5), [true, true, false]);
        assert_eq!(read(3.0_f64.next_down()), [false, true, false]);
        assert_eq!(read(-0.5), [true, false, false]);
        assert_eq!(read(-1e-300), [true, true, false]);
        assert_eq!(read(f64::NAN), [false; 3]);
    }

    #[test]
    fn malformed_trees_are_refused() {
        let leaf = || TreeNode::leaf(0.5, 1.0);
        let tree = Tree::new(vec![at_most(1.0, 1, 2), leaf(), leaf()]).unwrap();
        assert_eq!((tree.depth(), tree.n_leaves()), (1, 2));
        assert_eq!((tree.leaf_of(&[1.0]), tree.leaf_of(&[2.0])), (1, 2));
        for nodes in [
            vec![],
            vec![at_most(1.0, 0, 2), leaf(), leaf()], // a cycle
            vec![at_most(1.0, 1, 3), leaf(), leaf()], // no such child
            vec![at_most(1.0, 1, 1), leaf()],         // one child twice
            vec![at_most(1.0, 1, 2), leaf(), leaf(), leaf()], // an orphan
            vec![at_most(f64::NAN, 1, 2), leaf(), leaf()], // no threshold
            vec![TreeNode::leaf(f64::INFINITY, 1.0)], // no value
            vec![TreeNode::leaf(0.0, -1.0)],          // no cover
        ] {
            assert!(Tree::new(nodes.clone()).is_err(), "{nodes:?}");
        }
    }
}
