//! However trees are laid out for scoring, every row gets the margin that walking them question by question gives it,
//! bit for bit.

use proptest::prelude::*;
use riskcycle::FeatureSchema;
use riskcycle::model::{
    Band, CategoryRule, CategorySet, Combine, Link, Model, ModelExt, Output, Precision, Question,
    Split, Tree, TreeEnsemble, TreeNode,
};
use riskcycle::ndarray::ArrayView2;

/// SplitMix64: what a test draws from, given a seed by proptest.
struct Draw(u64);

impl Draw {
    fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let z = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: usize) -> usize {
        (self.bits() % n as u64) as usize
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == 0
    }

    fn of<T: Copy>(&mut self, items: &[T]) -> T {
        items[self.below(items.len())]
    }

    /// In [-4, 4), evenly.
    fn number(&mut self) -> f64 {
        (self.bits() >> 11) as f64 / (1u64 << 50) as f64 - 4.0
    }
}

/// Numbers that break careless arithmetic.
const EDGES: [f64; 21] = [
    0.0,
    -0.0,
    f64::INFINITY,
    f64::NEG_INFINITY,
    f64::MIN_POSITIVE,
    -f64::MIN_POSITIVE,
    5e-324,
    -5e-324,
    1e-45_f32 as f64,
    -1e-45_f32 as f64,
    1e-40,
    -1e-40,
    1e-35_f32 as f64,
    -1e-35_f32 as f64,
    f32::MIN_POSITIVE as f64,
    f32::MAX as f64,
    f32::MIN as f64,
    1e300,
    -1e300,
    f64::MAX,
    f64::MIN,
];

/// Where thresholds come from; each leads to other keys.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Thresholds {
    /// Singles: 32-bit keys, rounded up.
    Single,
    /// The last double that rounds below a single: 32-bit keys, rounded to the nearest.
    BelowSingle,
    /// Any double: 64-bit keys.
    Double,
    /// Some of each.
    Mixed,
}

#[derive(Debug, Clone, Copy)]
enum Grows {
    Anywhere,
    /// As deep as there are questions.
    ToOneSide,
    LevelByLevel,
}

#[derive(Debug, Clone, Copy)]
struct Shape {
    thresholds: Thresholds,
    n_features: usize,
    n_trees: usize,
    /// Questions per tree, at most.
    n_splits: usize,
    grows: Grows,
    categories: bool,
    bands: bool,
}

/// The largest double that rounds to a single below `c`, by bisection over all doubles.
fn last_below(c: f32) -> f64 {
    let place = |x: f64| {
        let bits = x.to_bits() as i64;
        if bits < 0 { i64::MIN.wrapping_sub(bits) } else { bits }
    };
    let at = |place: i64| {
        let bits = if place < 0 { i64::MIN.wrapping_sub(place) } else { place };
        f64::from_bits(bits as u64)
    };
    let (mut yes, mut no) = (place(f64::NEG_INFINITY), place(f64::INFINITY));
    while i128::from(no) - i128::from(yes) > 1 {
        let middle = ((i128::from(yes) + i128::from(no)) / 2) as i64;
        if (at(middle) as f32) < c { yes = middle } else { no = middle }
    }
    at(yes)
}

fn threshold(draw: &mut Draw, from: Thresholds) -> f64 {
    match from {
        Thresholds::Single if draw.one_in(4) => f64::from(draw.of(&EDGES) as f32),
        Thresholds::Single => f64::from(draw.number() as f32),
        Thresholds::BelowSingle if draw.one_in(4) => {
            let edge = draw.of(&EDGES) as f32;
            last_below(if edge == f32::NEG_INFINITY { f32::MIN } else { edge })
        }
        Thresholds::BelowSingle => last_below(draw.number() as f32),
        Thresholds::Double if draw.one_in(4) => draw.of(&EDGES),
        Thresholds::Double => draw.number(),
        Thresholds::Mixed => {
            let kinds = [Thresholds::Single, Thresholds::BelowSingle, Thresholds::Double];
            let kind = draw.of(&kinds);
            threshold(draw, kind)
        }
    }
}

fn split(draw: &mut Draw, shape: Shape, left: u32, right: u32) -> Split {
    let question = if shape.categories && draw.one_in(3) {
        let n_codes = draw.below(5);
        let codes = (0..n_codes).map(|_| draw.of(&[0, 1, 2, 3, 7, 40, 16_777_215, u32::MAX]));
        let rules = [CategoryRule::Cut, CategoryRule::CutSingle, CategoryRule::Whole];
        let set = CategorySet::new(codes.collect::<Vec<u32>>());
        Question::OneOf(set.with_rule(draw.of(&rules)))
    } else {
        Question::AtMost(threshold(draw, shape.thresholds))
    };
    // Few enough for all the rules about what is missing that an ensemble may have.
    let low = draw.below(20) as f64 - 10.0;
    let bands = [Band::ZERO, Band { low, high: low + 1.0 }, Band { low: 2.0, high: 2.0 }];
    Split {
        feature: draw.below(shape.n_features) as u32,
        question,
        missing_left: draw.one_in(2),
        also_missing: (shape.bands && draw.one_in(3)).then(|| draw.of(&bands)),
        left,
        right,
    }
}

fn tree(draw: &mut Draw, shape: Shape) -> Tree {
    let leaf = |draw: &mut Draw| match draw.below(8) {
        0 => TreeNode::leaf(draw.of(&[0.0, -0.0, 1e-300, 1e30, -1e-42]), 1.0),
        _ => TreeNode::leaf(draw.number() / 3.0, 1.0),
    };
    let mut nodes = vec![leaf(draw)];
    let mut leaves = vec![0];
    for _ in 0..draw.below(shape.n_splits + 1) {
        let which = match shape.grows {
            Grows::Anywhere => draw.below(leaves.len()),
            Grows::ToOneSide => leaves.len() - 1,
            Grows::LevelByLevel => 0,
        };
        let at: usize = leaves.remove(which);
        let (one, other) = (nodes.len(), nodes.len() + 1);
        let (left, right) = if draw.one_in(2) { (one, other) } else { (other, one) };
        nodes[at].split = Some(Box::new(split(draw, shape, left as u32, right as u32)));
        leaves.extend([one, other]);
        nodes.push(leaf(draw));
        nodes.push(leaf(draw));
    }
    Tree::new(nodes).unwrap()
}

fn ensemble(draw: &mut Draw, shape: Shape) -> TreeEnsemble {
    let trees = (0..shape.n_trees).map(|_| tree(draw, shape)).collect();
    let output = Output {
        base: draw.of(&[0.0, -0.0, 0.1, -3.7]),
        combine: draw.of(&[Combine::Sum, Combine::Mean]),
        precision: draw.of(&[Precision::Single, Precision::Double]),
        link: Link::Identity,
    };
    let names = (0..shape.n_features).map(|i| format!("f{i}"));
    TreeEnsemble::new(FeatureSchema::new(names).unwrap(), trees, output).unwrap()
}

/// Rows of values on and beside thresholds, codes and bounds, among others.
fn rows(draw: &mut Draw, ensemble: &TreeEnsemble, n_rows: usize) -> Vec<f64> {
    let n_features = ensemble.schema().n_features();
    let mut asked = vec![Vec::new(); n_features];
    let nodes = ensemble.trees().iter().flat_map(Tree::nodes);
    for split in nodes.filter_map(|node| node.split.as_ref()) {
        let asked = &mut asked[split.feature as usize];
        match &split.question {
            Question::AtMost(threshold) => asked.push(*threshold),
            Question::OneOf(set) => asked.extend(set.codes().iter().map(|&code| f64::from(code))),
        }
        asked.extend(split.also_missing.iter().flat_map(|band| [band.low, band.high]));
    }
    let near = |draw: &mut Draw, value: f64| match draw.below(9) {
        0 => value.next_up(),
        1 => value.next_down(),
        2 => f64::from(value as f32),
        3 => f64::from((value as f32).next_up()),
        4 => f64::from((value as f32).next_down()),
        5 => -value,
        6 => value + 0.5,
        _ => value,
    };
    (0..n_rows * n_features)
        .map(|i| {
            let asked = &asked[i % n_features];
            match draw.below(8) {
                0 => f64::NAN,
                1 => draw.of(&EDGES),
                2 => draw.number(),
                3 => draw.below(4) as f64 + draw.of(&[0.0, 0.5, 0.999_999_999_9, -0.5, -1.0]),
                _ if asked.is_empty() => draw.number(),
                _ => {
                    let value = draw.of(asked);
                    near(draw, value)
                }
            }
        })
        .collect()
}

/// The margin by the definition of an ensemble: leaf after leaf in the order of the trees.
fn walked(ensemble: &TreeEnsemble, row: &[f64]) -> f64 {
    let leaf = |tree: &Tree| tree.nodes()[tree.leaf_of(row)].value;
    let leaves: Vec<f64> = ensemble.trees().iter().map(leaf).collect();
    let Output { base, combine, precision, .. } = ensemble.output();
    let n_trees = leaves.len().max(1);
    match (combine, precision) {
        (Combine::Sum, Precision::Double) => leaves.iter().fold(base, |sum, leaf| sum + leaf),
        (Combine::Mean, Precision::Double) => {
            leaves.iter().fold(0.0, |sum, leaf| sum + leaf) / n_trees as f64 + base
        }
        (Combine::Sum, Precision::Single) => {
            f64::from(leaves.iter().fold(base as f32, |sum, &leaf| sum + leaf as f32))
        }
        (Combine::Mean, Precision::Single) => {
            let sum = leaves.iter().fold(0.0, |sum, &leaf| sum + leaf as f32);
            f64::from(sum / n_trees as f32 + base as f32)
        }
    }
}

fn check(seed: u64, shape: Shape, n_rows: usize) -> Result<(), TestCaseError> {
    let draw = &mut Draw(seed);
    let ensemble = ensemble(draw, shape);
    let n_features = shape.n_features;
    let rows = rows(draw, &ensemble, n_rows);
    let mut batch = vec![0.0; n_rows];
    ensemble.margins(&rows, &mut batch).unwrap();
    for (row, margin) in rows.chunks(n_features).zip(&batch) {
        let expected = walked(&ensemble, row);
        prop_assert_eq!(margin.to_bits(), expected.to_bits(), "{:?}: {}", row, expected);
        let alone = ensemble.score_row(row).unwrap();
        prop_assert_eq!(alone.to_bits(), expected.to_bits(), "alone, {:?}: {}", row, expected);
    }
    let matrix = ArrayView2::from_shape((n_rows, n_features), &rows).unwrap();
    let by_matrix = ensemble.score_rows(matrix).unwrap();
    prop_assert!(by_matrix.iter().zip(&batch).all(|(a, b)| a.to_bits() == b.to_bits()));
    let again = TreeEnsemble::from_bytes(ensemble.schema().clone(), &ensemble.to_bytes()).unwrap();
    prop_assert_eq!(&again, &ensemble);
    Ok(())
}

fn thresholds() -> impl Strategy<Value = Thresholds> {
    use Thresholds::{BelowSingle, Double, Mixed, Single};
    prop_oneof![Just(Single), Just(BelowSingle), Just(Double), Just(Mixed)]
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(2000))]

    #[test]
    fn every_layout_gives_the_margin_of_the_walk(
        seed in any::<u64>(),
        thresholds in thresholds(),
        n_features in 1..6usize,
        n_trees in 0..20usize,
        n_splits in 0..40usize,
        categories in any::<bool>(),
        bands in any::<bool>(),
        n_rows in 1..40usize,
    ) {
        let shape = Shape {
            thresholds, n_features, n_trees, n_splits, grows: Grows::Anywhere, categories, bands,
        };
        check(seed, shape, n_rows)?;
    }
}

proptest! {
    #![proptest_config(config(40))]

    #[test]
    fn trees_deeper_than_64_questions_are_walked_to_the_end(
        seed in any::<u64>(),
        thresholds in thresholds(),
        categories in any::<bool>(),
    ) {
        let (n_features, n_trees, n_splits) = (2, 5, 300);
        let shape = Shape {
            thresholds, n_features, n_trees, n_splits, grows: Grows::ToOneSide, categories, bands: false,
        };
        check(seed, shape, 30)?;
    }

    #[test]
    fn complete_trees_and_those_that_are_nearly_so_are_walked_like_any_other(
        seed in any::<u64>(),
        thresholds in thresholds(),
        n_features in 1..50usize,
        n_splits in 3..600usize,
        categories in any::<bool>(),
    ) {
        // Up to a level more than are walked by arithmetic.
        let shape = Shape {
            thresholds, n_features, n_trees: 9, n_splits, grows: Grows::LevelByLevel, categories,
            bands: categories,
        };
        check(seed, shape, 35)?;
    }

    #[test]
    fn more_trees_than_are_added_up_at_once_keep_their_order(
        seed in any::<u64>(),
        thresholds in thresholds(),
        n_trees in 120..400usize,
    ) {
        let shape = Shape {
            thresholds, n_features: 4, n_trees, n_splits: 7,
            grows: Grows::Anywhere, categories: true, bands: true,
        };
        check(seed, shape, 19)?;
    }

    #[test]
    fn lines_of_any_width_are_walked_row_by_row_and_side_by_side(
        seed in any::<u64>(),
        thresholds in thresholds(),
        n_features in (5..11u32, 0..100usize).prop_map(|(width, more)| (1 << width) + more),
        n_splits in 1..120usize,
        categories in any::<bool>(),
    ) {
        // Up to more keys than a short node can name, and than a line has a width for.
        let shape = Shape {
            thresholds, n_features, n_trees: 60, n_splits, grows: Grows::Anywhere, categories, bands: categories,
        };
        check(seed, shape, 40)?;
    }

    #[test]
    fn batches_of_many_blocks_are_equal_to_single_rows(
        seed in any::<u64>(),
        thresholds in thresholds(),
        n_rows in 1000..1400usize,
    ) {
        let shape = Shape {
            thresholds, n_features: 3, n_trees: 9, n_splits: 12,
            grows: Grows::Anywhere, categories: true, bands: true,
        };
        check(seed, shape, n_rows)?;
    }
}

#[test]
fn categories_differ_by_more_than_a_key_can_hold_and_still_score() {
    // One question each for 2000 sets: more slots than a short node names, without any threshold.
    let nodes = |code: u32| {
        let split = Split {
            feature: 0,
            question: Question::OneOf(CategorySet::new([code])),
            missing_left: code.is_multiple_of(2),
            also_missing: None,
            left: 1,
            right: 2,
        };
        let root = TreeNode { split: Some(Box::new(split)), value: 0.0, cover: 2.0, gain: 1.0 };
        vec![root, TreeNode::leaf(f64::from(code), 1.0), TreeNode::leaf(0.0, 1.0)]
    };
    let trees = (0..2000).map(|code| Tree::new(nodes(code)).unwrap()).collect();
    let output = Output { combine: Combine::Sum, ..Output::SHARES };
    let ensemble = TreeEnsemble::new(FeatureSchema::new(["c"]).unwrap(), trees, output).unwrap();
    for code in [0.0, 1.0, 77.0, 1999.0] {
        assert_eq!(ensemble.score_row(&[code]).unwrap(), code);
    }
    assert_eq!(ensemble.score_row(&[2000.0]).unwrap(), 0.0);
    assert_eq!(
        ensemble.score_row(&[f64::NAN]).unwrap(),
        f64::from((0..2000).step_by(2).sum::<u32>())
    );
}
