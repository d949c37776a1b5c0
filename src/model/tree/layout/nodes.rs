//! Nodes, and ways through them.
//!
//! A walk costs little but waiting: for the node, then for the key it asks about, then for the next node. So a row walks
//! eight trees at a time (or sixteen rows one tree), which overlaps the waiting, and every step is the same few
//! instructions without a branch: `at = left + (key(value) > key(threshold))`. A leaf asks a question that every key
//! answers with "left", and its left child is itself.
//!
//! A tree's nodes stand so that a way through it touches few cache lines: a line holds a node's children, their children
//! and so on until it is full, and what hangs below starts a line of its own. Where a tree is complete, or nearly and so
//! made complete, it stands there once more as a heap: rows in lock step then find the children by arithmetic instead of
//! reading where they are.

use std::collections::VecDeque;

use crate::model::tree::cache_line::{CACHE_LINE, n_before_line};
use crate::model::tree::ensemble::Precision;
use crate::model::tree::layout::keys::{Key, KeyPlan, Line, at_least};
use crate::model::tree::node::Tree;

/// Trees that one row walks in lock step, and rows that walk one tree so. Measured on a two-core EPYC (2026-11-23): 16
/// trees are no faster than 8, 16 rows 6 % faster than 8, 32 of either slower.
pub(super) const TREES: usize = 8;
const ROWS: usize = 16;
/// Most trees whose leaves are collected before they are added up in order.
const CHUNK: usize = 128;
/// As many where all have one depth and so need not be sorted: adding some up then takes no time beside the next ones' ways.
const EVEN_CHUNK: usize = 2 * TREES;
/// Keys of rows that go through a tree before the next tree's turn: they and the tree's nodes stay in the nearest cache.
const BLOCK_KEYS: usize = 1 << 12;
/// Most rows of which that is true, which spares the nodes of small trees no further way.
const BLOCK_ROWS: usize = 64;

/// All nodes of all trees, asking for keys `K`.
#[derive(Debug, Clone)]
pub(super) struct Nodes<K, A> {
    /// Tree after tree, then the heaps of complete ones: a node of no meaning and those above the leaves, breadth first. The
    /// first tree starts on a cache line; in a copy it need not, which costs some time and nothing else.
    nodes: Vec<Node<K, A>>,
    /// What each node adds if it is a leaf; of a heap the leaves, as many as there are nodes.
    values: Vec<f64>,
    trees: Vec<Placed>,
    /// Trees are walked chunk by chunk, each from shallow to deep: [`TREES`] of it at a time are a group.
    chunk: usize,
    groups: Vec<Group>,
    /// Of each tree, its place within its chunk's groups.
    lanes: Vec<u8>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Placed {
    root: u32,
    depth: u32,
    /// Where its heap starts, if it has one.
    heap: Option<u32>,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct Group {
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
                    match (tree.heap, tree.depth) {
                        (Some(h), 3) => self.add_complete::<8, WIDTH>(h, lines, precision, groups),
                        (Some(h), 4) => self.add_complete::<16, WIDTH>(h, lines, precision, groups),
                        (Some(h), 5) => self.add_complete::<32, WIDTH>(h, lines, precision, groups),
                        (Some(h), 6) => self.add_complete::<64, WIDTH>(h, lines, precision, groups),
                        (Some(h), 7) => {
                            self.add_complete::<128, WIDTH>(h, lines, precision, groups)
                        }
                        (Some(h), _) => {
                            self.add_complete::<256, WIDTH>(h, lines, precision, groups)
                        }
                        (None, _) => self.add_tree(tree, lines, precision, groups),
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
        let (mut sum, mut leaves) = (start, [0.0; CHUNK]);
        for chunk in self.lanes.chunks(self.chunk) {
            let groups = groups.by_ref().take(chunk.len().div_ceil(TREES));
            for (group, leaves) in groups.zip(leaves.as_chunks_mut::<TREES>().0) {
                let mut at = group.roots.map(|root| root as usize);
                for _ in 0..group.steps {
                    at.iter_mut().for_each(|at| *at = step(nodes, line, *at));
                }
                *leaves = at.map(|at| values[at]);
            }
            let in_order = chunk.iter().map(|lane| leaves[usize::from(*lane) % CHUNK]);
            sum = in_order.fold(sum, |sum, leaf| precision.add(sum, leaf));
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
            let mut at = [tree.root as usize; ROWS];
            for _ in 0..tree.depth {
                at.iter_mut().zip(lines).for_each(|(at, line)| *at = step(nodes, line, *at));
            }
            for (sum, at) in sums.iter_mut().zip(at) {
                *sum = precision.add(*sum, values[at]);
            }
        }
    }

    /// The same through the heap of a complete tree with `N` leaves: the children of `at` are `2 * at` and the next,
    /// and no index needs a check.
    fn add_complete<const N: usize, const WIDTH: usize>(
        &self,
        heap: u32,
        lines: &[[[K; WIDTH]; ROWS]],
        precision: Precision,
        sums: &mut [[f64; ROWS]],
    ) {
        let (asked, _) = self.nodes[heap as usize..].split_first_chunk::<N>().expect("a heap");
        let (values, _) = self.values[heap as usize..].split_first_chunk::<N>().expect("a heap");
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

/// Where a row goes from `at`.
#[inline]
fn step<K: Key, A: Ask, L: Line<K> + ?Sized>(nodes: &[Node<K, A>], line: &L, at: usize) -> usize {
    let node = nodes[at];
    node.ask.left() + usize::from(line.key(node.ask.slot()) > node.key)
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
