//! Nodes, and where they stand.
//!
//! A node is where a way looks and where it leads, so that every step is the same few instructions without a branch:
//! `at = left + (key(value) > key(threshold))`. A leaf asks a question that every key answers with "left", and its left
//! child is itself.
//!
//! A tree's nodes stand so that a way through it touches few cache lines: a line holds a node's children, their children
//! and so on until it is full, and what hangs below starts a line of its own. Where a tree is complete, or nearly and so
//! made complete, it stands there once more as a heap: rows in lock step then find the children by arithmetic instead of
//! reading where they are.

use std::collections::VecDeque;

use crate::model::tree::cache_line::{CACHE_LINE, n_before_line};
use crate::model::tree::layout::keys::{Key, KeyPlan};
use crate::model::tree::node::Tree;

/// Trees that one row walks in lock step. Measured on a two-core EPYC (2026-11-23): 16 are no faster, 32 slower.
pub(super) const TREES: usize = 8;
/// From the first tree whose leaf is not known yet, trees among which those of one depth are looked for.
pub(super) const WINDOW: usize = 128;

/// All nodes of all trees, asking for keys `K`.
#[derive(Debug, Clone)]
pub(super) struct Nodes<K, A> {
    /// Tree after tree, then the heaps of complete ones: a node of no meaning and those above the leaves, breadth first. The
    /// first tree starts on a cache line; in a copy it need not, which costs some time and nothing else.
    pub(super) nodes: Vec<Node<K, A>>,
    /// What each node adds if it is a leaf; of a heap the leaves, as many as there are nodes.
    pub(super) values: Vec<f64>,
    pub(super) trees: Vec<Placed>,
    pub(super) groups: Vec<Group>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) root: u32,
    pub(super) depth: u32,
    /// Where its heap starts, if it has one.
    pub(super) heap: Option<u32>,
}

/// Trees that one row walks in lock step. Leaves are added up in the order of the trees, so a group has the first tree that
/// is left and others of its depth: the sum then follows the walk closely, and takes no time beside it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) roots: [u32; TREES],
    /// Their numbers, modulo [`WINDOW`].
    pub(super) trees: [u8; TREES],
    pub(super) steps: u32,
    /// How many trees from the first one on have been walked after this group.
    pub(super) n_known: u32,
}

/// Where a node looks and where it leads: the slot of its key in a line, and the position of its left child; the right
/// child stands behind the left one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<K, A> {
    pub(super) key: K,
    pub(super) ask: A,
}

impl<K: Key, A: Ask> Node<K, A> {
    /// Where no way leads.
    fn nothing() -> Self {
        Node { key: K::LARGEST, ask: A::new(0, 0) }
    }
}

/// Slot and left child in one number.
pub(super) trait Ask: Copy {
    const SLOTS: usize;
    const NODES: usize;
    fn new(slot: usize, left: usize) -> Self;
    fn slot(self) -> usize;
    fn left(self) -> usize;
}

impl Ask for u32 {
    const SLOTS: usize = 1 << 10;
    const NODES: usize = 1 << 22;

    fn new(slot: usize, left: usize) -> u32 {
        (left << 10 | slot) as u32
    }

    #[inline]
    fn slot(self) -> usize {
        (self & 1023) as usize
    }

    #[inline]
    fn left(self) -> usize {
        (self >> 10) as usize
    }
}

impl Ask for u64 {
    const SLOTS: usize = 1 << 32;
    const NODES: usize = 1 << 31;

    fn new(slot: usize, left: usize) -> u64 {
        (left as u64) << 32 | slot as u64
    }

    #[inline]
    fn slot(self) -> usize {
        self as u32 as usize
    }

    #[inline]
    fn left(self) -> usize {
        (self >> 32) as usize
    }
}

impl<K: Key, A: Ask> Nodes<K, A> {
    /// Nodes on a cache line.
    const LINE: usize = CACHE_LINE / size_of::<Node<K, A>>();

    /// Whether nodes of this kind can tell as many slots and nodes apart.
    pub(super) fn have_room(trees: &[Tree], keys: &KeyPlan) -> bool {
        keys.n_keys <= A::SLOTS && n_nodes(trees) + Self::LINE <= A::NODES
    }

    pub(super) fn new(trees: &[Tree], keys: &KeyPlan) -> Self {
        let n_nodes = n_nodes(trees);
        let most_before = if n_nodes > Self::LINE { Self::LINE } else { 0 };
        let mut nodes: Vec<Node<K, A>> = Vec::with_capacity(most_before + n_nodes);
        let mut values = Vec::with_capacity(nodes.capacity());
        let n_before = n_before_line(nodes.as_ptr(), most_before);
        nodes.resize(n_before, Node::nothing());
        values.resize(n_before, f64::NAN);
        let mut placed = Vec::with_capacity(trees.len());
        for tree in trees {
            let (root, depth) = (nodes.len(), tree.depth() as u32);
            let (places, n_places) = places(tree, Self::LINE, (root - n_before) % Self::LINE);
            nodes.resize(root + n_places, Node::nothing());
            values.resize(root + n_places, f64::NAN);
            for (node, place) in tree.nodes().iter().zip(&places) {
                let at = root + *place as usize;
                let (key, ask) = match &node.split {
                    None => (K::LARGEST, A::new(0, at)),
                    Some(split) => {
                        let left = root + places[split.left as usize] as usize;
                        (keys.threshold(split), A::new(keys.slot(split), left))
                    }
                };
                (nodes[at], values[at]) = (Node { key, ask }, node.value);
            }
            placed.push(Placed { root: root as u32, depth, heap: None });
        }
        for (tree, placed) in trees.iter().zip(&mut placed) {
            let Some(n_complete) = n_complete(tree) else { continue };
            placed.heap = Some(nodes.len() as u32);
            nodes.push(Node::nothing());
            let mut order = Vec::with_capacity(n_complete);
            order.push(0_u32);
            for next in 0..n_complete / 2 {
                let at = order[next];
                let (node, children) = match &tree.nodes()[at as usize].split {
                    // A leaf above the last level becomes a question that has one answer.
                    None => (Node::nothing(), [at; 2]),
                    Some(split) => {
                        let (key, slot) = (keys.threshold(split), keys.slot(split));
                        (Node { key, ask: A::new(slot, 0) }, [split.left, split.right])
                    }
                };
                nodes.push(node);
                order.extend(children);
            }
            let leaves = &order[n_complete / 2..];
            values.extend(leaves.iter().map(|&leaf| tree.nodes()[leaf as usize].value));
        }
        let groups = groups(&placed);
        Nodes { nodes, values, trees: placed, groups }
    }
}

/// The groups that trees are walked in.
fn groups(trees: &[Placed]) -> Vec<Group> {
    // Only at the end of a window, of which it leaves nothing, is a group short.
    let most = trees.len() / TREES + trees.len() / WINDOW + 1;
    let mut groups = Vec::with_capacity(most);
    let mut is_known = vec![false; trees.len()];
    let mut first = 0;
    while first < trees.len() {
        let depth = trees[first].depth;
        let window = first..trees.len().min(first + WINDOW);
        let mut group: Vec<usize> = window.filter(|&tree| !is_known[tree]).collect();
        group.sort_by_key(|&tree| trees[tree].depth.abs_diff(depth));
        group.truncate(TREES);
        group.iter().for_each(|&tree| is_known[tree] = true);
        first += is_known[first..].iter().take_while(|known| **known).count();
        // A short group walks its last tree more than once.
        let lane = |lane: usize| group[lane.min(group.len() - 1)];
        groups.push(Group {
            roots: std::array::from_fn(|i| trees[lane(i)].root),
            trees: std::array::from_fn(|i| (lane(i) % WINDOW) as u8),
            steps: group.iter().map(|&tree| trees[tree].depth).max().unwrap_or(0),
            n_known: first as u32,
        });
    }
    groups
}

/// Where a tree's nodes stand, counted from its root, which stands `start` nodes behind the start of a cache line of `line`
/// nodes; and how many places that takes. Siblings are side by side, in a tree of more than a line always on one line.
fn places(tree: &Tree, line: usize, start: usize) -> (Vec<u32>, usize) {
    let mut places = vec![0; tree.nodes().len()];
    let gap = tree.nodes().len() > line && start.is_multiple_of(2);
    let mut next = 1 + usize::from(gap);
    // Nodes whose children have no place yet: those on the line that is being filled, and all others.
    let (mut here, mut later) = (VecDeque::from([0]), VecDeque::new());
    loop {
        if (start + next).is_multiple_of(line) {
            later.extend(here.drain(..));
        }
        let Some(parent) = here.pop_front().or_else(|| later.pop_front()) else {
            return (places, next);
        };
        if let Some(split) = &tree.nodes()[parent as usize].split {
            for child in [split.left, split.right] {
                places[child as usize] = next as u32;
                here.push_back(child);
                next += 1;
            }
        }
    }
}

/// Most nodes that all trees take.
fn n_nodes(trees: &[Tree]) -> usize {
    trees.iter().map(n_placed).sum()
}

/// Most nodes that a tree takes: its own, one of no meaning in a tree that is longer than a cache line, and those of its heap
/// if it is [complete](n_complete).
pub(in crate::model::tree) fn n_placed(tree: &Tree) -> usize {
    let n_free = usize::from(tree.nodes().len() > CACHE_LINE / size_of::<Node<u64, u64>>());
    tree.nodes().len() + n_free + n_complete(tree).map_or(0, |n_nodes| n_nodes / 2 + 1)
}

/// Nodes of the complete tree that a tree is made, if it is: one of 3 to 8 levels that lacks at most a fifth of them.
fn n_complete(tree: &Tree) -> Option<usize> {
    let (n_nodes, depth) = (tree.nodes().len(), tree.depth());
    let n_complete = (2_usize << depth.min(8)) - 1;
    ((3..=8).contains(&depth) && n_complete <= n_nodes + n_nodes / 4).then_some(n_complete)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_tree_is_in_a_group_and_leaves_are_there_when_they_are_added_and_not_written_over_before()
     {
        let depths: [fn(u32) -> u32; 4] =
            [|_| 6, |i| i % 13, |i| if i.is_multiple_of(16) { 40 } else { i % 3 }, |i| i * i % 97];
        for (n, depth) in
            [0, 1, 7, 8, 100, 128, 129, 1000].iter().flat_map(|&n| depths.map(|d| (n, d)))
        {
            let place = |i| Placed { root: i, depth: depth(i), heap: None };
            let trees: Vec<Placed> = (0..n).map(place).collect();
            let groups = groups(&trees);
            assert!(groups.len() <= trees.len() / TREES + trees.len() / WINDOW + 1);
            let (mut leaves, mut n_added, mut walked) =
                ([None; WINDOW], 0, vec![false; trees.len()]);
            for group in groups {
                for (&root, tree) in group.roots.iter().zip(group.trees) {
                    assert!(trees[root as usize].depth <= group.steps);
                    walked[root as usize] = true;
                    leaves[usize::from(tree)] = Some(root);
                }
                for tree in n_added..group.n_known {
                    assert_eq!(leaves[tree as usize % WINDOW], Some(tree));
                }
                n_added = group.n_known;
            }
            assert!(n_added == n && walked.into_iter().all(|walked| walked));
        }
    }
}
