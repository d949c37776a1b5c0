//! Trees laid out for scoring: integer keys, nodes of 8 bytes, several walks in lock step.
//!
//! A walk costs little but waiting: for the node, then for the value it asks about, then for the next node. So a row walks
//! eight trees at a time (or sixteen rows one tree), which overlaps the waiting, and every step is the same few
//! instructions without a branch: `at = left + (key(value) > key(threshold))`.
//!
//! Everything that would need a branch is resolved once per row instead of once per node. A row becomes a line of *keys*,
//! unsigned integers in the order of the values; each feature has one key for splits that send what is missing right
//! (missing is the largest key) and one for those that send it left (missing is 0); a question for categories has a key of
//! its own (0 for yes, the largest for no). A leaf asks a question that every key answers with "left", and its left child
//! is itself.
//!
//! Nodes stand breadth first. Where a tree is complete, or nearly and so made complete, that is a heap: rows in lock step
//! then find the children by arithmetic instead of reading where they are.
//!
//! Keys are 32 bits where that changes no comparison: `x ≤ t` with a threshold that single precision holds is
//! `ceil32(x) ≤ t`, where `ceil32` rounds up; `x ≤ t` where t is the last number that rounds below a single `c` (models
//! trained in single precision) is `round32(x) < c`. Otherwise keys are the 64 bits of the double.

use std::cell::RefCell;
use std::ops::Range;

use crate::model::tree::ensemble::Precision;
use crate::model::tree::node::{Band, CategoryRule, CategorySet, Question, Split, Tree};
use crate::model::tree::single::rounds_below;

/// Trees that one row walks in lock step, and rows that walk one tree so. Measured on a two-core EPYC (2026-11-23): 16
/// trees are no faster than 8, 16 rows 6 % faster than 8, 32 of either slower.
const TREES: usize = 8;
const ROWS: usize = 16;
/// Trees whose leaves are collected before they are added up in order.
const CHUNK: usize = 128;
/// Most rules about what is missing. Ours need two, other libraries' models four.
const MAX_RULES: usize = 64;
/// Most features from one that is compared to the next that shares its block: the keys of those between, which nobody
/// asks for, cost less than a block does.
const NEAR: u32 = 4;
/// Keys of rows that go through a tree before the next tree's turn: they and the tree's nodes stay in the nearest cache.
const BLOCK_KEYS: usize = 1 << 12;
/// Most rows of which that is true, which spares the nodes of small trees no further way.
const BLOCK_ROWS: usize = 64;
/// Rows that one thread scores at a time.
pub(super) const BLOCK: usize = 256;

/// Most memory that laying trees out takes, for hostile bytes to be held against.
pub(super) mod memory {
    use super::{Block, CategoryKey, Group, Node, Placed, TREES, Tree, room};

    /// Of a tree: its root and depth, its lane in a group, its number while groups are made.
    pub(in super::super) const TREE: usize =
        size_of::<Placed>() + size_of::<Group>().div_ceil(TREES) + 4;
    /// Of a node: where it looks and leads, and what it adds.
    pub(in super::super) const NODE: usize = size_of::<Node<u64, u64>>() + 8;
    /// Of a question: a block of its own. The list of all questions is smaller than their nodes, and gone before them.
    pub(in super::super) const QUESTION: usize = size_of::<Block>();
    /// Of a question for categories, besides: its key.
    pub(in super::super) const CATEGORIES: usize = size_of::<CategoryKey>();
    /// Of a node of the tree that is being placed, given back with the tree: its place among all, its depth.
    pub(in super::super) const PLACING: usize = 8 + 8;

    /// As many nodes as a tree is given.
    pub(in super::super) fn n_placed(tree: &Tree) -> usize {
        room(tree).n_nodes
    }
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

/// How a row becomes keys.
#[derive(Debug, Clone)]
struct KeyPlan {
    rule: KeyRule,
    /// Ascending, at most [`MAX_RULES`].
    missing: Vec<MissingRule>,
    /// Ascending by rule and feature.
    blocks: Vec<Block>,
    /// One key each, behind the blocks.
    categories: Vec<CategoryKey>,
    n_keys: usize,
}

/// Keys of consecutive features, most of which are compared by splits under one rule about what is missing.
#[derive(Debug, Clone)]
struct Block {
    /// Position of the rule in the plan's.
    missing: u8,
    features: Range<u32>,
    /// Where its keys start in a line.
    start: u32,
}

#[derive(Debug, Clone)]
struct CategoryKey {
    feature: u32,
    /// Position of its rule in the plan's; a model may ask for categories as often as it has nodes, so this is small.
    missing: u8,
    codes: CategorySet,
}

#[derive(Debug, Clone, Copy)]
struct MissingRule {
    left: bool,
    also: Option<Band>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum KeyRule {
    /// Every threshold is a single: values are rounded up.
    Up32,
    /// Every threshold is the last double that rounds below a single: values are rounded to the nearest.
    Nearest32,
    /// Doubles as they are.
    Exact64,
}

#[derive(Debug, Clone)]
struct Nodes<K, A> {
    /// Behind one of no meaning tree after tree, each breadth first with siblings side by side.
    nodes: Vec<Node<K, A>>,
    /// What each node adds if it is a leaf.
    values: Vec<f64>,
    trees: Vec<Placed>,
    /// Trees in lock step: positions in `trees`, within a chunk from shallow to deep. One entry per [`TREES`].
    groups: Vec<Group>,
}

#[derive(Debug, Clone, Copy)]
struct Placed {
    root: u32,
    depth: u32,
    /// Whether all leaves are at this depth, so that children are where arithmetic says.
    complete: bool,
}

#[derive(Debug, Clone, Copy)]
struct Group {
    trees: [u32; TREES],
    roots: [u32; TREES],
    steps: u32,
}

/// Where a node looks and where it leads: the slot of its key in a line, and the position of its left child; the right
/// child stands behind the left one.
#[derive(Debug, Clone, Copy)]
struct Node<K, A> {
    key: K,
    ask: A,
}

/// A key: an unsigned integer in the order of the values.
trait Key: Copy + Ord + Default + 'static {
    const LARGEST: Self;
    const MIDDLE: Self;
    fn of(value: f64, rule: KeyRule) -> Self;
    fn of_threshold(threshold: f64, rule: KeyRule) -> Self;
    fn line() -> &'static std::thread::LocalKey<RefCell<Vec<Self>>>;
}

/// Slot and left child in one number.
trait Ask: Copy {
    const SLOTS: usize;
    const NODES: usize;
    fn new(slot: usize, left: usize) -> Self;
    fn slot(self) -> usize;
    fn left(self) -> usize;
}

thread_local! {
    // A line of keys (or a block of them) per thread, so that scoring does not allocate once a thread has scored.
    static LINE_32: RefCell<Vec<u32>> = const { RefCell::new(Vec::new()) };
    static LINE_64: RefCell<Vec<u64>> = const { RefCell::new(Vec::new()) };
}

fn key32(value: f32) -> u32 {
    let bits = (value + 0.0).to_bits(); // -0 becomes 0
    bits ^ (((bits as i32) >> 31) as u32 | 0x8000_0000)
}

fn key64(value: f64) -> u64 {
    let bits = (value + 0.0).to_bits();
    bits ^ (((bits as i64) >> 63) as u64 | 0x8000_0000_0000_0000)
}

impl Key for u32 {
    const LARGEST: u32 = u32::MAX;
    const MIDDLE: u32 = u32::MAX / 2;

    #[inline]
    fn of(value: f64, rule: KeyRule) -> u32 {
        let near = value as f32;
        // One more is the next single up.
        let up = rule == KeyRule::Up32 && f64::from(near) < value;
        key32(near) + u32::from(up)
    }

    fn of_threshold(threshold: f64, rule: KeyRule) -> u32 {
        match rule {
            KeyRule::Nearest32 => rounds_below(threshold).map_or(0, |c| key32(c) - 1),
            _ => key32(threshold as f32),
        }
    }

    fn line() -> &'static std::thread::LocalKey<RefCell<Vec<u32>>> {
        &LINE_32
    }
}

impl Key for u64 {
    const LARGEST: u64 = u64::MAX;
    const MIDDLE: u64 = u64::MAX / 2;

    #[inline]
    fn of(value: f64, _: KeyRule) -> u64 {
        key64(value)
    }

    fn of_threshold(threshold: f64, _: KeyRule) -> u64 {
        key64(threshold)
    }

    fn line() -> &'static std::thread::LocalKey<RefCell<Vec<u64>>> {
        &LINE_64
    }
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

impl KeyPlan {
    /// `None` for too many rules about what is missing.
    fn new(trees: &[Tree]) -> Option<Self> {
        let splits = || trees.iter().flat_map(Tree::nodes).filter_map(|node| node.split.as_deref());
        let thresholds = || {
            splits().filter_map(|split| match split.question {
                Question::AtMost(threshold) => Some(threshold),
                Question::OneOf(_) => None,
            })
        };
        let rule = if thresholds().all(|t| f64::from(t as f32) == t) {
            KeyRule::Up32
        } else if thresholds().all(|t| rounds_below(t).is_some()) {
            KeyRule::Nearest32
        } else {
            KeyRule::Exact64
        };
        let mut missing: Vec<MissingRule> = Vec::new();
        for of_split in splits().map(MissingRule::of) {
            if let Err(place) = missing.binary_search_by_key(&of_split.order(), MissingRule::order)
            {
                missing.insert(place, of_split);
            }
            if missing.len() > MAX_RULES {
                return None;
            }
        }
        let place = |split: &Split| place_of(&missing, split);
        // The lists are as long as they get from the start: a hostile model must not make them double.
        let n_compared = thresholds().count();
        let mut compared = Vec::with_capacity(n_compared);
        let mut categories = Vec::with_capacity(splits().count() - n_compared);
        for split in splits() {
            match &split.question {
                Question::AtMost(_) => compared.push((place(split), split.feature)),
                Question::OneOf(codes) => {
                    let (feature, missing) = (split.feature, place(split));
                    categories.push(CategoryKey { feature, missing, codes: codes.clone() });
                }
            }
        }
        compared.sort_unstable();
        compared.dedup();
        let near = |a: &(u8, u32), b: &(u8, u32)| a.0 == b.0 && b.1 - a.1 <= NEAR;
        let mut blocks = Vec::with_capacity(compared.chunk_by(near).count());
        let mut start: u32 = 0;
        for block in compared.chunk_by(near) {
            let ((missing, first), (_, last)) = (block[0], block[block.len() - 1]);
            blocks.push(Block { missing, features: first..last + 1, start });
            start += last + 1 - first;
        }
        categories.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        categories.dedup_by(|a, b| a.order() == b.order());
        let n_keys = (start as usize + categories.len()).max(1);
        Some(KeyPlan { rule, missing, blocks, categories, n_keys })
    }

    /// Where the key that answers `split` stands in a line.
    fn slot(&self, split: &Split) -> usize {
        match &split.question {
            Question::AtMost(_) => {
                let wanted = (place_of(&self.missing, split), split.feature);
                let behind =
                    self.blocks.partition_point(|b| (b.missing, b.features.start) <= wanted);
                let block = &self.blocks[behind - 1]; // which holds it, as every comparison is listed
                (block.start + split.feature - block.features.start) as usize
            }
            Question::OneOf(codes) => {
                let missing = place_of(&self.missing, split);
                let wanted = (split.feature, missing, codes.rule(), codes.codes());
                let at = self.categories.binary_search_by(|key| key.order().cmp(&wanted));
                let before =
                    self.blocks.last().map_or(0, |last| last.start as usize + last.features.len());
                before + at.expect("every question is listed")
            }
        }
    }

    #[inline]
    fn fill<K: Key>(&self, row: &[f64], line: &mut [K]) {
        match self.rule {
            // The rule as a constant, so that the loop has no branch on it.
            KeyRule::Up32 => self.fill_by(row, line, |value| K::of(value, KeyRule::Up32)),
            KeyRule::Nearest32 => self.fill_by(row, line, |value| K::of(value, KeyRule::Nearest32)),
            KeyRule::Exact64 => self.fill_by(row, line, |value| K::of(value, KeyRule::Exact64)),
        }
    }

    #[inline]
    fn fill_by<K: Key>(&self, row: &[f64], line: &mut [K], key: impl Fn(f64) -> K) {
        let mut rest = line;
        for block in &self.blocks {
            let features = block.features.start as usize..block.features.end as usize;
            let (keys, behind) = rest.split_at_mut(features.len());
            rest = behind;
            let values = &row[features];
            let missing = self.missing[usize::from(block.missing)];
            let if_missing = if missing.left { K::default() } else { K::LARGEST };
            match missing.also {
                None => keys.iter_mut().zip(values).for_each(|(out, &value)| {
                    let key = key(value);
                    *out = if value.is_nan() { if_missing } else { key };
                }),
                Some(band) => keys.iter_mut().zip(values).for_each(|(out, &value)| {
                    let is_missing = value.is_nan() || band.contains(value);
                    *out = if is_missing { if_missing } else { key(value) };
                }),
            }
        }
        for (out, question) in rest.iter_mut().zip(&self.categories) {
            let value = row[question.feature as usize];
            let missing = self.missing[usize::from(question.missing)];
            let is_missing =
                value.is_nan() || missing.also.is_some_and(|band| band.contains(value));
            let left = if is_missing { missing.left } else { question.codes.contains(value) };
            *out = if left { K::default() } else { K::LARGEST };
        }
    }
}

/// A [`MissingRule`] in numbers that have an order.
type RuleOrder = (bool, Option<[u64; 2]>);

impl MissingRule {
    fn of(split: &Split) -> Self {
        MissingRule { left: split.missing_left, also: split.also_missing }
    }

    /// Any order will do, as long as it is one.
    fn order(&self) -> RuleOrder {
        (self.left, self.also.map(|band| [band.low.to_bits(), band.high.to_bits()]))
    }
}

/// Place of a split's rule among all that there are.
fn place_of(rules: &[MissingRule], split: &Split) -> u8 {
    let order = MissingRule::of(split).order();
    let place = rules.binary_search_by_key(&order, MissingRule::order);
    place.expect("every split's rule is listed") as u8
}

impl CategoryKey {
    fn order(&self) -> (u32, u8, CategoryRule, &[u32]) {
        (self.feature, self.missing, self.codes.rule(), self.codes.codes())
    }
}

impl Layout {
    /// `None` for more than [`MAX_RULES`] rules about what is missing.
    pub(super) fn new(trees: &[Tree]) -> Option<Self> {
        let mut keys = KeyPlan::new(trees)?;
        let n_nodes = 1 + trees.iter().map(|tree| room(tree).n_nodes).sum::<usize>();
        let small = n_nodes <= <u32 as Ask>::NODES && keys.n_keys <= <u32 as Ask>::SLOTS;
        let arena = if small && keys.rule != KeyRule::Exact64 {
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

impl<K: Key, A: Ask> Nodes<K, A> {
    fn new(trees: &[Tree], keys: &KeyPlan) -> Self {
        let n_nodes = 1 + trees.iter().map(|tree| room(tree).n_nodes).sum::<usize>();
        let mut nodes = Vec::with_capacity(n_nodes);
        let mut values = Vec::with_capacity(n_nodes);
        nodes.push(Node { key: K::LARGEST, ask: A::new(0, 0) });
        values.push(f64::NAN);
        let mut placed = Vec::with_capacity(trees.len());
        for tree in trees {
            let (root, Room { n_nodes, complete }) = (nodes.len(), room(tree));
            // Breadth first: a node's children take the next two free places when it is met.
            let mut order = Vec::with_capacity(n_nodes);
            // Above the last level of a complete tree there are no leaves: one becomes a question that has one answer.
            let n_asked = if complete { n_nodes / 2 } else { 0 };
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
                        let key = match split.question {
                            Question::AtMost(threshold) => K::of_threshold(threshold, keys.rule),
                            Question::OneOf(_) => K::MIDDLE,
                        };
                        let left = root + order.len();
                        order.extend([split.left as usize, split.right as usize]);
                        (key, keys.slot(split), left)
                    }
                };
                nodes.push(Node { key, ask: A::new(slot, left) });
                values.push(node.value);
                next += 1;
            }
            placed.push(Placed { root: root as u32, depth: tree.depth() as u32, complete });
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

    fn sum(
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

/// What a tree takes.
struct Room {
    n_nodes: usize,
    complete: bool,
}

/// Trees of 3 to 8 levels that are complete but for a fifth of their nodes are made so.
fn room(tree: &Tree) -> Room {
    let (n_nodes, depth) = (tree.nodes().len(), tree.depth());
    let n_complete = if (3..=8).contains(&depth) { (2 << depth) - 1 } else { usize::MAX };
    let complete = n_complete <= n_nodes + n_nodes / 4;
    Room { n_nodes: if complete { n_complete } else { n_nodes }, complete }
}

/// The first `n` of `keys`, which grow to as many.
fn at_least<K: Key>(keys: &mut Vec<K>, n: usize) -> &mut [K] {
    if keys.len() < n {
        keys.resize(n, K::default());
    }
    &mut keys[..n]
}

/// A row's keys. Those of a given width have room for more than there are.
trait Line<K> {
    fn key(&self, slot: usize) -> K;
}

impl<K: Copy> Line<K> for [K] {
    #[inline]
    fn key(&self, slot: usize) -> K {
        self[slot]
    }
}

impl<K: Copy, const WIDTH: usize> Line<K> for [K; WIDTH] {
    #[inline]
    fn key(&self, slot: usize) -> K {
        self[slot % WIDTH] // as every slot is less than the width, which so needs no check
    }
}
