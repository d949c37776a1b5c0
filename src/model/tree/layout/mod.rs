//! Trees laid out for scoring: a row becomes a line of integer keys (`keys`), which finds its way through nodes of 8 bytes
//! (`nodes`), several ways in lock step (`walk`).

mod keys;
mod nodes;
mod walk;

use crate::model::tree::ensemble::Precision;
use crate::model::tree::layout::keys::{KeyPlan, KeyRule};
use crate::model::tree::layout::nodes::Nodes;
use crate::model::tree::node::Tree;

/// Rows that one thread scores at a time.
pub(super) const BLOCK: usize = 256;

/// Most memory that laying trees out takes, for hostile bytes to be held against.
pub(super) mod memory {
    use crate::model::tree::layout::keys::{Block, CategoryKey};
    pub(in crate::model::tree) use crate::model::tree::layout::nodes::n_placed;
    use crate::model::tree::layout::nodes::{Group, Node, Placed, TREES, WINDOW};

    /// Of a tree: where it stands, its share of groups, and while those are made whether it is in one. (Its window takes a
    /// kilobyte for a while.)
    pub(in crate::model::tree) const TREE: usize = size_of::<Placed>()
        + size_of::<Group>().div_ceil(TREES)
        + size_of::<Group>().div_ceil(WINDOW)
        + 1;
    /// Of a node: where it looks and leads, and what it adds.
    pub(in crate::model::tree) const NODE: usize = size_of::<Node<u64, u64>>() + 8;
    /// Of a comparison: a block of its own. The list of all questions is smaller than their nodes, and gone before them.
    pub(in crate::model::tree) const QUESTION: usize = size_of::<Block>();
    /// Of a question for categories: its key.
    pub(in crate::model::tree) const CATEGORIES: usize = size_of::<CategoryKey>();
    /// Of a node of the tree that is being placed, given back with the tree: its place among all, its depth.
    pub(in crate::model::tree) const PLACING: usize = 8 + 8;
}

/// Trees ready to score.
#[derive(Debug, Clone)]
pub(super) struct Layout {
    keys: KeyPlan,
    arena: Arena,
}

#[derive(Debug, Clone)]
enum Arena {
    Narrow(Nodes<u32, u32>),
    Wide(Nodes<u64, u64>),
}

impl Layout {
    /// `None` for too many rules about what is missing.
    pub(super) fn new(trees: &[Tree]) -> Option<Self> {
        let mut keys = KeyPlan::new(trees)?;
        let small = keys.rule != KeyRule::Exact64;
        let arena = if small && Nodes::<u32, u32>::have_room(trees, &keys) {
            Arena::Narrow(Nodes::new(trees, &keys))
        } else {
            keys.rule = KeyRule::Exact64;
            Arena::Wide(Nodes::new(trees, &keys))
        };
        Some(Layout { keys, arena })
    }

    /// For each row of `rows`: `start`, then the leaf of every tree in turn added in `precision`, into `sums`.
    #[inline]
    pub(super) fn sum(&self, rows: &[f64], start: f64, precision: Precision, sums: &mut [f64]) {
        match &self.arena {
            Arena::Narrow(nodes) => nodes.sum(&self.keys, rows, start, precision, sums),
            Arena::Wide(nodes) => nodes.sum(&self.keys, rows, start, precision, sums),
        }
    }
}
