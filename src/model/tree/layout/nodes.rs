//! Nodes, and ways through them.
//!
//! A walk costs little but waiting: for the node, then for the key it asks about, then for the next node. So a row walks
//! eight trees at a time (or sixteen rows one tree), which overlaps the waiting, and every step is the same few
//! instructions without a branch: `at = left + (key(value) > key(threshold))`. A leaf asks a question that every key
//! answers with "left", and its left child is itself.
//!
//! Nodes stand breadth first. Where a tree is complete, or nearly and so made complete, that is a heap: rows in lock step
//! then find the children by arithmetic instead of reading where they are.

use crate::model::tree::ensemble::Precision;
use crate::model::tree::layout::keys::{Key, KeyPlan, Line, at_least};
use crate::model::tree::node::Tree;

/// Trees that one row walks in lock step, and rows that walk one tree so. Measured on a two-core EPYC (2026-11-23): 16
/// trees are no faster than 8, 16 rows 6 % faster than 8, 32 of either slower.
pub(super) const TREES: usize = 8;
const ROWS: usize = 16;
/// Trees whose leaves are collected before they are added up in order.
const CHUNK: usize = 128;
/// Keys of rows that go through a tree before the next tree's turn: they and the tree's nodes stay in the nearest cache.
const BLOCK_KEYS: usize = 1 << 12;
/// Most rows of which that is true, which spares the nodes of small trees no further way.
const BLOCK_ROWS: usize = 64;

/// All nodes of all trees, asking for keys `K`.
#[derive(Debug, Clone)]
pub(super) struct Nodes<K, A> {
    /// Behind one of no meaning tree after tree, each breadth first with siblings side by side.
    nodes: Vec<Node<K, A>>,
    /// What each node adds if it is a leaf.
    values: Vec<f64>,
    trees: Vec<Placed>,
    /// Trees in lock step: positions in `trees`, within a chunk from shallow to deep. One entry per [`TREES`].
    groups: Vec<Group>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    root: u32,
    depth: u32,
    /// Whether all leaves are at this depth, so that children are where arithmetic says.
    complete: bool,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
    trees: [u32; TREES],
    roots: [u32; TREES],
    steps: u32,
}

/// Where a node looks and where it leads: the slot of its key in a line, and the position of its left child; the right
/// child stands behind the left one.
#[derive(Debug, Clone, Copy)]
pub(super) struct Node<K, A> {
    key: K,
    ask: A,
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
    /// Whether nodes of this kind can tell as many slots and nodes apart.
    pub(super) fn have_room(trees: &[Tree], keys: &KeyPlan) -> bool {
        keys.n_keys <= A::SLOTS && n_nodes(trees) <= A::NODES
    }

    pub(super) fn new(trees: &[Tree], keys: &KeyPlan) -> Self {
        let n_nodes = n_nodes(trees);
        let mut nodes = Vec::with_capacity(n_nodes);
        let mut values = Vec::with_capacity(n_nodes);
        nodes.push(Node { key: K::LARGEST, ask: A::new(0, 0) });
        values.push(f64::NAN);
        let mut placed = Vec::with_capacity(trees.len());
        for tree in trees {
            let (root, n_complete) = (nodes.len(), n_complete(tree));
            // Breadth first: a node's children take the next two free places when it is met.
            let mut order = Vec::with_capacity(n_placed(tree));
            // Above the last level of a complete tree there are no leaves: one becomes a question that has one answer.
            let n_asked = n_complete.map_or(0, |n_nodes| n_nodes / 2);
            order.push(0_usize);
            let mut next = 0;
            while next < order.len() {
                let node = &tree.nodes()[order[next]];
                let (key, slot, left) = match &node.split {
                    None if next < n_asked => {
                        let left = root + order.len();
                        order.extend([order[next]; 2]);
                        (K::LARGEST, 0, left)
                    }
                    None => (K::LARGEST, 0, root + next),
                    Some(split) => {
                        let left = root + order.len();
                        order.extend([split.left as usize, split.right as usize]);
                        (keys.threshold(split), keys.slot(split), left)
                    }
                };
                nodes.push(Node { key, ask: A::new(slot, left) });
                values.push(node.value);
                next += 1;
            }
            let (root, depth) = (root as u32, tree.depth() as u32);
            placed.push(Placed { root, depth, complete: n_complete.is_some() });
        }
        let mut groups = Vec::with_capacity(trees.len().div_ceil(TREES));
        let all: Vec<u32> = (0..trees.len() as u32).collect();
        for chunk in all.chunks(CHUNK) {
            let mut by_depth = chunk.to_vec();
            by_depth.sort_by_key(|&tree| placed[tree as usize].depth);
            for group in by_depth.chunks(TREES) {
                // A short last group walks its last tree more than once.
                let last = *group.last().expect("chunks are not empty");
                let trees = std::array::from_fn(|lane| *group.get(lane).unwrap_or(&last));
                let roots = trees.map(|tree: u32| placed[tree as usize].root);
                groups.push(Group { trees, roots, steps: placed[last as usize].depth });
            }
        }
        Nodes { nodes, values, trees: placed, groups }
    }

    pub(super) fn sum(
        &self,
        keys: &KeyPlan,
        rows: &[f64],
        start: f64,
        precision: Precision,
        sums: &mut [f64],
    ) {
        let n_features = (rows.len() / sums.len().max(1)).max(1);
        // With a line's width known, a step needs no bounds check on its key and no pointer to each row's line.
        match keys.n_keys.next_power_of_two().max(32) {
            32 => self.sum_lines::<32>(keys, rows, n_features, start, precision, sums),
            64 => self.sum_lines::<64>(keys, rows, n_features, start, precision, sums),
            128 => self.sum_lines::<128>(keys, rows, n_features, start, precision, sums),
            256 => self.sum_lines::<256>(keys, rows, n_features, start, precision, sums),
            512 => self.sum_lines::<512>(keys, rows, n_features, start, precision, sums),
            1024 => self.sum_lines::<1024>(keys, rows, n_features, start, precision, sums),
            _ => K::line().with_borrow_mut(|line| {
                let line = at_least(line, keys.n_keys);
                for (sum, row) in sums.iter_mut().zip(rows.chunks_exact(n_features)) {
                    keys.fill(row, line);
                    *sum = self.walk_trees(line, start, precision);
                }
            }),
        }
    }

    fn sum_lines<const WIDTH: usize>(
        &self,
        keys: &KeyPlan,
        rows: &[f64],
        n_features: usize,
        start: f64,
        precision: Precision,
        sums: &mut [f64],
    ) {
        let n_block = (BLOCK_KEYS / keys.n_keys).clamp(ROWS, BLOCK_ROWS) / ROWS * ROWS;
        K::line().with_borrow_mut(|lines| {
            let n_lines = if sums.len() < ROWS { 1 } else { n_block.min(sums.len()) };
            let (lines, _) = at_least(lines, n_lines * WIDTH).as_chunks_mut::<WIDTH>();
            let n_full = sums.len() / ROWS * ROWS;
            let (full, rest) = sums.split_at_mut(n_full);
            let (full_rows, rest_rows) = rows.split_at(n_full * n_features);
            let blocks = full_rows.chunks(n_block * n_features);
            for (sums, rows) in full.chunks_mut(n_block).zip(blocks) {
                let rows = rows.chunks_exact(n_features);
                rows.zip(&mut *lines).for_each(|(row, line)| keys.fill(row, line));
                sums.fill(start);
                let (groups, _) = sums.as_chunks_mut::<ROWS>();
                for &tree in &self.trees {
                    let lines = lines.as_chunks().0;
                    match (tree.complete, tree.depth) {
                        (true, 3) => self.add_complete::<8, WIDTH>(tree, lines, precision, groups),
                        (true, 4) => self.add_complete::<16, WIDTH>(tree, lines, precision, groups),
                        (true, 5) => self.add_complete::<32, WIDTH>(tree, lines, precision, groups),
                        (true, 6) => self.add_complete::<64, WIDTH>(tree, lines, precision, groups),
                        (true, 7) => {
                            self.add_complete::<128, WIDTH>(tree, lines, precision, groups)
                        }
                        (true, _) => {
                            self.add_complete::<256, WIDTH>(tree, lines, precision, groups)
                        }
                        (false, _) => self.add_tree(tree, lines, precision, groups),
                    }
                }
            }
            let line = &mut lines[0];
            for (sum, row) in rest.iter_mut().zip(rest_rows.chunks_exact(n_features)) {
                keys.fill(row, line);
                *sum = self.walk_trees(line, start, precision);
            }
        });
    }

    /// One row through all trees, [`TREES`] at a time.
    #[inline]
    fn walk_trees<L: Line<K> + ?Sized>(&self, line: &L, start: f64, precision: Precision) -> f64 {
        let (nodes, values) = (&self.nodes[..], &self.values[..]);
        let mut groups = self.groups.iter();
        let mut sum = start;
        for (c, chunk) in self.trees.chunks(CHUNK).enumerate() {
            let mut leaves = [0.0; CHUNK];
            for group in groups.by_ref().take(chunk.len().div_ceil(TREES)) {
                let mut at = group.roots;
                for _ in 0..group.steps {
                    at.iter_mut().for_each(|at| *at = step(nodes, line, *at));
                }
                for (tree, at) in group.trees.iter().zip(at) {
                    leaves[*tree as usize - c * CHUNK] = values[at as usize];
                }
            }
            sum = leaves[..chunk.len()].iter().fold(sum, |sum, &leaf| precision.add(sum, leaf));
        }
        sum
    }

    /// [`ROWS`] rows through one tree, at a time.
    fn add_tree<const WIDTH: usize>(
        &self,
        tree: Placed,
        lines: &[[[K; WIDTH]; ROWS]],
        precision: Precision,
        sums: &mut [[f64; ROWS]],
    ) {
        let (nodes, values) = (&self.nodes[..], &self.values[..]);
        for (sums, lines) in sums.iter_mut().zip(lines) {
            let mut at = [tree.root; ROWS];
            for _ in 0..tree.depth {
                at.iter_mut().zip(lines).for_each(|(at, line)| *at = step(nodes, line, *at));
            }
            for (sum, at) in sums.iter_mut().zip(at) {
                *sum = precision.add(*sum, values[at as usize]);
            }
        }
    }

    /// The same through a complete tree of `N` nodes above its leaves, the one of no meaning before its root included: counted
    /// from there, the children of `at` are `2 * at` and the next, and no index needs a check.
    fn add_complete<const N: usize, const WIDTH: usize>(
        &self,
        tree: Placed,
        lines: &[[[K; WIDTH]; ROWS]],
        precision: Precision,
        sums: &mut [[f64; ROWS]],
    ) {
        let before = tree.root as usize - 1;
        let (asked, _) = self.nodes[before..].split_first_chunk::<N>().expect("it is complete");
        let values = &self.values[before + N..];
        let (values, _) = values.split_first_chunk::<N>().expect("it is complete");
        for (sums, lines) in sums.iter_mut().zip(lines) {
            let mut at = [1_u32; ROWS];
            for _ in 0..N.ilog2() {
                for (at, line) in at.iter_mut().zip(lines) {
                    let node = asked[*at as usize % N];
                    *at = 2 * *at + u32::from(line.key(node.ask.slot()) > node.key);
                }
            }
            for (sum, at) in sums.iter_mut().zip(at) {
                *sum = precision.add(*sum, values[at as usize % N]);
            }
        }
    }
}

/// Where a row goes from `at`.
#[inline]
fn step<K: Key, A: Ask, L: Line<K> + ?Sized>(nodes: &[Node<K, A>], line: &L, at: u32) -> u32 {
    let node = nodes[at as usize];
    let right = line.key(node.ask.slot()) > node.key;
    (node.ask.left() + usize::from(right)) as u32
}

/// Nodes of all trees, behind the one of no meaning.
fn n_nodes(trees: &[Tree]) -> usize {
    1 + trees.iter().map(n_placed).sum::<usize>()
}

/// As many nodes as a tree is given. Trees of 3 to 8 levels that are complete but for a fifth of their nodes are made so.
pub(in crate::model::tree) fn n_placed(tree: &Tree) -> usize {
    n_complete(tree).unwrap_or(tree.nodes().len())
}

/// Nodes of the complete tree that a tree is made, if it is.
fn n_complete(tree: &Tree) -> Option<usize> {
    let (n_nodes, depth) = (tree.nodes().len(), tree.depth());
    let n_complete = (2_usize << depth.min(8)) - 1;
    ((3..=8).contains(&depth) && n_complete <= n_nodes + n_nodes / 4).then_some(n_complete)
}
