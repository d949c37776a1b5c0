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

/// Trees that one row walks in lock step.
pub(super) const TREES: usize = 8;
/// Most trees whose leaves are collected before they are added up in order.
pub(super) const CHUNK: usize = 128;
/// As many where all have one depth and so need not be sorted: adding some up then takes no time beside the next ones' ways.
const EVEN_CHUNK: usize = 2 * TREES;

/// All nodes of all trees, asking for keys `K`.
#[derive(Debug, Clone)]
pub(super) struct Nodes<K, A> {
    /// Tree after tree, then the heaps of complete ones: a node of no meaning and those above the leaves, breadth first. The
    /// first tree starts on a cache line; in a copy it need not, which costs some time and nothing else.
    pub(super) nodes: Vec<Node<K, A>>,
    /// What each node adds if it is a leaf; of a heap the leaves, as many as there are nodes.
    pub(super) values: Vec<f64>,
    pub(super) trees: Vec<Placed>,
    /// Trees are walked chunk by chunk, each from shallow to deep: [`TREES`] of it at a time are a group.
    pub(super) chunk: usize,
    pub(super) groups: Vec<Group>,
    /// Of each tree, its place within its chunk's groups.
    pub(super) lanes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    pub(super) root: u32,
    pub(super) depth: u32,
    /// Where its heap starts, if it has one.
    pub(super) heap: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    pub(super) roots: [u32; TREES],
    pub(super) steps: u32,
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
        let even = placed.windows(2).all(|two| two[0].depth == two[1].depth);
        let chunk = if even { EVEN_CHUNK } else { CHUNK };
        let (groups, lanes) = groups(&placed, chunk);
        Nodes { nodes, values, trees: placed, chunk, groups, lanes }
    }
}

/// Trees in lock step, chunk by chunk from shallow to deep; of each tree its place within its chunk's groups.
fn groups(trees: &[Placed], chunk: usize) -> (Vec<Group>, Vec<u8>) {
    let mut groups = Vec::with_capacity(trees.len().div_ceil(TREES));
    let mut lanes = vec![0; trees.len()];
    for (trees, lanes) in trees.chunks(chunk).zip(lanes.chunks_mut(chunk)) {
        let mut by_depth: Vec<usize> = (0..trees.len()).collect();
        by_depth.sort_by_key(|&tree| trees[tree].depth);
        by_depth.iter().zip(0..).for_each(|(&tree, lane)| lanes[tree] = lane);
        for group in by_depth.chunks(TREES) {
            // A short last group walks its last tree more than once.
            let last = group[group.len() - 1];
            let roots = std::array::from_fn(|lane| trees[*group.get(lane).unwrap_or(&last)].root);
            groups.push(Group { roots, steps: trees[last].depth });
        }
    }
    (groups, lanes)
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
