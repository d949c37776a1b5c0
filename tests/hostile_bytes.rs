//! Bytes from outside, damaged in every way that is cheap to try: each ends in an error or in something sound, never in a
//! panic or in memory out of proportion. `tests/fuzz` looks further with the same ways in.

// They belong to the fuzzer's package, where all of it is used and public.
#[cfg(feature = "http")]
#[path = "fuzz/src/http.rs"]
#[allow(unreachable_pub)]
mod http;
#[path = "fuzz/src/meter.rs"]
#[allow(unreachable_pub)]
mod meter;
#[path = "fuzz/src/seeds.rs"]
#[allow(unreachable_pub, dead_code)]
mod seeds;
#[path = "fuzz/src/ways.rs"]
#[allow(unreachable_pub)]
mod ways;

use riskcycle::model::{
    Band, CategorySet, Model, Output, Question, Split, Tree, TreeEnsemble, TreeNode,
};
use riskcycle::registry::{Artifact, LoadOptions};
use riskcycle::{FeatureSchema, Seed};

/// Flips and cuts of a seed that is too long for all of them.
const SAMPLED: usize = 600;

/// All truncations and all flipped bits where a seed is short, evenly spread ones where it is long, and random bytes.
fn try_all(seeds: &[Vec<u8>], way: fn(&[u8]), exhaustive: usize) {
    for seed in seeds {
        way(seed);
        let all = seed.len() <= exhaustive;
        let cuts = if all { seed.len() } else { SAMPLED.min(seed.len()) / 4 };
        (0..cuts).for_each(|i| way(&seed[..i * seed.len() / cuts]));
        let bits = seed.len() * 8;
        let flips = if all { bits } else { SAMPLED };
        for i in 0..flips {
            // A stride that shares no factor with a byte reaches every bit of a byte.
            let bit = if all { i } else { (i * (bits / SAMPLED) + i * 3) % bits };
            let mut damaged = seed.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            way(&damaged);
        }
    }
    let mut random = 1_u64;
    for length in 0..400 {
        let next = |_| {
            random = Seed(random).derive("hostile", length).0;
            random as u8
        };
        let bytes: Vec<u8> = (0..length).map(next).collect();
        way(&bytes);
        // Behind the first bytes of something sound.
        let seed = &seeds[length as usize % seeds.len()];
        let kept = seed.len().min(length as usize);
        way(&[&seed[..kept], &bytes].concat());
    }
}

#[test]
fn damaged_artifacts_do_no_harm() {
    try_all(&seeds::artifacts(), ways::artifact, 0);
}

#[test]
fn damaged_models_do_no_harm() {
    try_all(&seeds::models(), ways::model, 700);
}

#[test]
fn damaged_models_of_other_libraries_do_no_harm() {
    let seeds = seeds::foreign();
    let few: Vec<Vec<u8>> = seeds.into_iter().filter(|seed| seed.len() < 4000).collect();
    assert!(few.len() > 5);
    try_all(&few, ways::foreign, 0);
}

#[test]
fn damaged_states_do_no_harm() {
    try_all(&seeds::states(), ways::state, 200);
}

#[test]
fn damaged_texts_do_no_harm() {
    try_all(&seeds::texts(), ways::text, 100);
}

#[cfg(feature = "http")]
#[test]
fn damaged_requests_do_no_harm() {
    try_all(&http::seeds(), http::request, 200);
}

#[test]
fn a_nan_may_not_begin_within_another() {
    ways::foreign(b"\x14{\"a\":NaNaN,\"b\":NaN}");
}

#[test]
fn a_text_that_claims_more_than_there_is_takes_no_memory_for_it() {
    let bytes = seeds::artifacts().swap_remove(0);
    let options = LoadOptions::default();
    let mut artifact = Artifact::from_bytes(&bytes, &options).unwrap();
    artifact.name = "a".repeat(100_000);
    let mut bytes = artifact.to_bytes();
    // How the length stands before the text.
    let length = [&[252][..], &100_000_u32.to_le_bytes()].concat();
    let place = bytes.windows(5).position(|window| window == length).unwrap();
    bytes[place + 1..place + 5].copy_from_slice(&(16_u32 << 20).to_le_bytes());
    let bytes = ways::mended_artifact(&bytes);
    let load = |bytes: &[u8]| Artifact::from_bytes(bytes, &options);
    assert!(meter::bounded("a long name", 1, &bytes, load).is_err());
}

fn leaf() -> TreeNode {
    TreeNode::leaf(0.5, 1.0)
}

fn split(question: Question, also_missing: Option<Band>, left: u32) -> TreeNode {
    let (feature, right) = (0, left + 1);
    let split = Split { feature, question, missing_left: true, also_missing, left, right };
    TreeNode { split: Some(Box::new(split)), value: 0.0, cover: 2.0, gain: 1.0 }
}

/// A chain of `n` splits, each with a leaf on its left.
fn chain(n: u32, question: impl Fn(u32) -> Question) -> Tree {
    let mut nodes = Vec::new();
    for i in 0..n {
        nodes.extend([split(question(i), None, 2 * i + 1), leaf()]);
    }
    // A split stands behind the leaf that is its sibling.
    nodes.push(leaf());
    Tree::new(nodes).unwrap()
}

/// A tree of `n` splits, level by level.
fn level_by_level(n: u32) -> Tree {
    let splits = (0..n).map(|i| split(Question::AtMost(0.1 + f64::from(i)), None, 2 * i + 1));
    Tree::new(splits.chain((0..=n).map(|_| leaf())).collect()).unwrap()
}

/// Ensembles of a megabyte, of the shapes that take most memory for their bytes.
#[test]
fn large_ensembles_of_any_shape_take_at_most_four_times_their_bytes_and_a_mebibyte() {
    let schema = || FeatureSchema::new(["x"]).unwrap();
    let stump = |i: usize| {
        let question = Question::AtMost(0.1 + i as f64);
        Tree::new(vec![split(question, None, 1), leaf(), leaf()]).unwrap()
    };
    let shapes: [(&str, Vec<Tree>); 6] = [
        (
            "leaves",
            (0..TreeEnsemble::MAX_TREES).map(|_| Tree::new(vec![leaf()]).unwrap()).collect(),
        ),
        ("stumps", (0..20_000).map(stump).collect()),
        ("nearly complete", (0..400).map(|_| level_by_level(51)).collect()),
        ("a chain", vec![chain(20_000, |i| Question::AtMost(0.1 + f64::from(i)))]),
        ("categories", vec![chain(20_000, |i| Question::OneOf(CategorySet::new([i])))]),
        ("long categories", vec![chain(200, |i| Question::OneOf(CategorySet::new(i..i + 2000)))]),
    ];
    for (shape, trees) in shapes {
        let bytes = TreeEnsemble::new(schema(), trees, Output::SHARES).unwrap().to_bytes();
        assert!(bytes.len() > 600_000, "{shape}: {} bytes", bytes.len());
        let decode = |bytes: &[u8]| TreeEnsemble::from_bytes(schema(), bytes).unwrap();
        let ensemble = meter::bounded(shape, 4, &bytes, decode);
        let mut scores = [0.0; 16];
        ensemble.score(&[1.5; 16], &mut scores).unwrap();
    }
}

#[test]
fn ensembles_beyond_their_limits_are_refused() {
    let schema = || FeatureSchema::new(["x"]).unwrap();
    let trees = vec![Tree::new(vec![leaf()]).unwrap(); TreeEnsemble::MAX_TREES + 1];
    assert!(TreeEnsemble::new(schema(), trees, Output::SHARES).is_err());
    let banded = |i: u32| {
        let band = Some(Band { low: -f64::from(i), high: f64::from(i) });
        Tree::new(vec![split(Question::AtMost(0.5), band, 1), leaf(), leaf()]).unwrap()
    };
    let most = TreeEnsemble::new(schema(), (0..64).map(banded).collect(), Output::SHARES).unwrap();
    assert_eq!(TreeEnsemble::from_bytes(schema(), &most.to_bytes()).unwrap(), most);
    assert!(TreeEnsemble::new(schema(), (0..65).map(banded).collect(), Output::SHARES).is_err());
}
