//! Rows as integers.
//!
//! Everything that would need a branch at every node is resolved once per row. A row becomes a line of *keys*, unsigned
//! integers in the order of the values; each feature has one key for splits that send what is missing right (missing is
//! the largest key) and one for those that send it left (missing is 0); a question for categories has a key of its own (0
//! for yes, the largest for no).
//!
//! Keys are 32 bits where that changes no comparison: `x ≤ t` with a threshold that single precision holds is
//! `ceil32(x) ≤ t`, where `ceil32` rounds up; `x ≤ t` where t is the last number that rounds below a single `c` (models
//! trained in single precision) is `round32(x) < c`. Otherwise keys are the 64 bits of the double.

use std::cell::RefCell;
use std::ops::Range;
use std::thread::LocalKey;

use crate::model::tree::node::{Band, CategoryRule, CategorySet, Question, Split, Tree};
use crate::model::tree::single::rounds_below;

/// Most rules about what is missing. Ours need two, other libraries' models four.
const MAX_RULES: usize = 64;
/// Most features from one that is compared to the next that shares its block: the keys of those between, which nobody
/// asks for, cost less than a block does.
const NEAR: u32 = 4;

/// How a row becomes keys.
#[derive(Debug, Clone)]
pub(super) struct KeyPlan {
    pub(super) rule: KeyRule,
    /// Ascending, at most [`MAX_RULES`].
    missing: Vec<MissingRule>,
    /// Ascending by rule and feature.
    blocks: Vec<Block>,
    /// One key each, behind the blocks.
    categories: Vec<CategoryKey>,
    pub(super) n_keys: usize,
}

/// Keys of consecutive features, most of which are compared by splits under one rule about what is missing.
#[derive(Debug, Clone)]
pub(super) struct Block {
    /// Position of the rule in the plan's.
    missing: u8,
    features: Range<u32>,
    /// Where its keys start in a line.
    start: u32,
    /// Where an earlier block has keys of the same features that differ in what is missing alone: largest there, 0 here.
    twin: Option<u32>,
}

#[derive(Debug, Clone)]
pub(super) struct CategoryKey {
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
pub(super) enum KeyRule {
    /// Every threshold is a single: values are rounded up.
    Up32,
    /// Every threshold is the last double that rounds below a single: values are rounded to the nearest.
    Nearest32,
    /// Doubles as they are.
    Exact64,
}

/// A key: an unsigned integer in the order of the values.
pub(super) trait Key: Copy + Ord + Default + 'static {
    const LARGEST: Self;
    const MIDDLE: Self;
    fn of(value: f64, rule: KeyRule) -> Self;
    fn of_threshold(threshold: f64, rule: KeyRule) -> Self;
    fn line() -> &'static LocalKey<RefCell<Vec<Self>>>;
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

    fn line() -> &'static LocalKey<RefCell<Vec<u32>>> {
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

    fn line() -> &'static LocalKey<RefCell<Vec<u64>>> {
        &LINE_64
    }
}

impl KeyPlan {
    /// `None` for too many rules about what is missing.
    pub(super) fn new(trees: &[Tree]) -> Option<Self> {
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
        let mut blocks: Vec<Block> = Vec::with_capacity(compared.chunk_by(near).count());
        let (mut start, rules): (u32, _) = (0, &missing);
        for block in compared.chunk_by(near) {
            let ((missing, first), (_, last)) = (block[0], block[block.len() - 1]);
            let features = first..last + 1;
            // Blocks of the plain rule that sends what is missing right are the first of all.
            let behind = blocks.partition_point(|b| {
                rules[usize::from(b.missing)].is_plain(false) && b.features.start <= first
            });
            let twin = blocks[..behind].last().filter(|block| {
                last < block.features.end && rules[usize::from(missing)].is_plain(true)
            });
            let twin = twin.map(|block| block.start + first - block.features.start);
            blocks.push(Block { missing, features, start, twin });
            start += last + 1 - first;
        }
        categories.sort_unstable_by(|a, b| a.order().cmp(&b.order()));
        categories.dedup_by(|a, b| a.order() == b.order());
        let n_keys = (start as usize + categories.len()).max(1);
        Some(KeyPlan { rule, missing, blocks, categories, n_keys })
    }

    /// The key that a node which asks `split` holds against the row's: more than that goes right.
    pub(super) fn threshold<K: Key>(&self, split: &Split) -> K {
        match split.question {
            Question::AtMost(threshold) => K::of_threshold(threshold, self.rule),
            Question::OneOf(_) => K::MIDDLE,
        }
    }

    /// Where the row's key that answers `split` stands in a line.
    pub(super) fn slot(&self, split: &Split) -> usize {
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

    /// A row's keys.
    #[inline]
    pub(super) fn fill<K: Key>(&self, row: &[f64], line: &mut [K]) {
        match self.rule {
            // The rule as a constant, so that the loop has no branch on it.
            KeyRule::Up32 => self.fill_by(row, line, |value| K::of(value, KeyRule::Up32)),
            KeyRule::Nearest32 => self.fill_by(row, line, |value| K::of(value, KeyRule::Nearest32)),
            KeyRule::Exact64 => self.fill_by(row, line, |value| K::of(value, KeyRule::Exact64)),
        }
    }

    #[inline]
    fn fill_by<K: Key>(&self, row: &[f64], line: &mut [K], key: impl Fn(f64) -> K) {
        let mut done = 0;
        for block in &self.blocks {
            let features = block.features.start as usize..block.features.end as usize;
            let (before, behind) = line.split_at_mut(done);
            let keys = &mut behind[..features.len()];
            done += keys.len();
            if let Some(twin) = block.twin {
                // No number has the largest key.
                let twins = &before[twin as usize..][..keys.len()];
                keys.iter_mut().zip(twins).for_each(|(out, &key)| {
                    *out = if key == K::LARGEST { K::default() } else { key };
                });
                continue;
            }
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
        let rest = &mut line[done..];
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

    /// Whether only NaN is missing, which goes left or right.
    fn is_plain(&self, left: bool) -> bool {
        self.left == left && self.also.is_none()
    }

    /// Any order will do in which the plain rule for right comes first.
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

/// A row's keys. Those of a given width have room for more than there are.
pub(super) trait Line<K> {
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

/// The first `n` of `keys`, which grow to as many.
pub(super) fn at_least<K: Key>(keys: &mut Vec<K>, n: usize) -> &mut [K] {
    if keys.len() < n {
        keys.resize(n, K::default());
    }
    &mut keys[..n]
}
