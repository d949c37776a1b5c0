//! A tree ensemble as bytes: flat, little endian, the same on every machine.

use crate::codec::Reader;
use crate::error::{Error, Result};
use crate::model::GoldenRows;
use crate::model::tree::ensemble::{Combine, Link, Output, Precision, TreeEnsemble};
use crate::model::tree::layout::memory;
use crate::model::tree::node::{Band, CategoryRule, CategorySet, Question, Split, Tree, TreeNode};
use crate::schema::FeatureSchema;

const WHAT: &str = "tree ensemble";
const VERSION: u32 = 1;
/// A leaf's bytes: kind, value, cover.
const LEAF_BYTES: usize = 1 + 8 + 8;
/// The fewest that a split and a leaf take: kind, value, cover, gain, feature, two children, number of categories.
const PAIR_BYTES: usize = 1 + 3 * 8 + 3 * 4 + 4 + LEAF_BYTES;

// A node's first byte.
const THRESHOLD: u8 = 1;
const CATEGORIES: u8 = 2;
const MISSING_LEFT: u8 = 4;
const ALSO_MISSING: u8 = 8;
const CUT_SINGLE: u8 = 16;
const WHOLE: u8 = 32;

pub(super) fn encode(ensemble: &TreeEnsemble) -> Vec<u8> {
    let (trees, output) = (ensemble.trees(), ensemble.output());
    let mut bytes = Vec::new();
    bytes.extend(VERSION.to_le_bytes());
    bytes.extend(output.base.to_le_bytes());
    let (link, slope) = match output.link {
        Link::Identity => (0, 1.0),
        Link::Logistic { slope } => (1, slope),
        Link::Exponential => (2, 1.0),
    };
    bytes.push(u8::from(output.combine == Combine::Mean));
    bytes.push(u8::from(output.precision == Precision::Single));
    bytes.push(link);
    bytes.extend(slope.to_le_bytes());
    bytes.extend((trees.len() as u32).to_le_bytes());
    for tree in trees {
        bytes.extend((tree.nodes().len() as u32).to_le_bytes());
        for node in tree.nodes() {
            node_bytes(node, &mut bytes);
        }
    }
    let golden = ensemble.golden_rows();
    bytes.extend((golden.map_or(0, |golden| golden.expected().len()) as u32).to_le_bytes());
    if let Some(golden) = golden {
        let values = golden.rows().iter().chain(golden.expected());
        bytes.extend(values.flat_map(|value| value.to_le_bytes()));
    }
    bytes
}

fn node_bytes(node: &TreeNode, bytes: &mut Vec<u8>) {
    let Some(split) = &node.split else {
        bytes.push(0);
        bytes.extend(node.value.to_le_bytes());
        bytes.extend(node.cover.to_le_bytes());
        return;
    };
    let kind = match &split.question {
        Question::AtMost(_) => THRESHOLD,
        Question::OneOf(set) => match set.rule() {
            CategoryRule::Cut => CATEGORIES,
            CategoryRule::CutSingle => CATEGORIES | CUT_SINGLE,
            CategoryRule::Whole => CATEGORIES | WHOLE,
        },
    };
    let missing = if split.missing_left { MISSING_LEFT } else { 0 };
    let also = if split.also_missing.is_some() { ALSO_MISSING } else { 0 };
    bytes.push(kind | missing | also);
    bytes.extend(node.value.to_le_bytes());
    bytes.extend(node.cover.to_le_bytes());
    bytes.extend(node.gain.to_le_bytes());
    for number in [split.feature, split.left, split.right] {
        bytes.extend(number.to_le_bytes());
    }
    if let Some(Band { low, high }) = split.also_missing {
        bytes.extend(low.to_le_bytes());
        bytes.extend(high.to_le_bytes());
    }
    match &split.question {
        Question::AtMost(threshold) => bytes.extend(threshold.to_le_bytes()),
        Question::OneOf(set) => {
            bytes.extend((set.codes().len() as u32).to_le_bytes());
            set.codes().iter().for_each(|code| bytes.extend(code.to_le_bytes()));
        }
    }
}

/// # Errors
/// `Corrupt` for bytes that are not an ensemble over this schema.
pub(super) fn decode(schema: FeatureSchema, mut reader: Reader<'_>) -> Result<TreeEnsemble> {
    let version = reader.u32()?;
    if version != VERSION {
        return Err(Error::corrupt(WHAT, format!("format {version} is not known")));
    }
    let base = reader.f64()?;
    let combine = if flag(&mut reader)? { Combine::Mean } else { Combine::Sum };
    let precision = if flag(&mut reader)? { Precision::Single } else { Precision::Double };
    let (link, slope) = (reader.u8()?, reader.f64()?);
    let link = match link {
        0 => Link::Identity,
        1 => Link::Logistic { slope },
        2 => Link::Exponential,
        _ => return Err(Error::corrupt(WHAT, format!("link {link} is not known"))),
    };
    let n_trees = reader.u32()? as usize;
    if n_trees > TreeEnsemble::MAX_TREES {
        return Err(Error::corrupt(WHAT, format!("{n_trees} trees are too many")));
    }
    reader.charge(n_trees * memory::TREE)?;
    let trees = reader.list(n_trees, 4 + LEAF_BYTES, tree)?;
    let n_features = schema.n_features();
    let n_golden = reader.u32()? as usize;
    let rows = reader.f64s(n_golden.saturating_mul(n_features))?;
    let margins = reader.f64s(n_golden)?;
    // What they get now.
    reader.lend(8 * n_golden)?;
    reader.finish()?;
    let output = Output { base, combine, precision, link };
    let ensemble = TreeEnsemble::new(schema, trees, output);
    let checked = ensemble.and_then(|ensemble| match n_golden {
        0 => Ok(ensemble),
        _ => ensemble.with_golden_rows(GoldenRows::new(rows, margins)?),
    });
    checked.map_err(|e| Error::corrupt(WHAT, e.to_string()))
}

fn tree(reader: &mut Reader<'_>) -> Result<Tree> {
    let n_nodes = reader.u32()? as usize;
    // Every split has two children, so all but the root come in pairs.
    if n_nodes.is_multiple_of(2) {
        return Err(Error::corrupt(WHAT, format!("a tree of {n_nodes} nodes cannot be")));
    }
    reader.expect(n_nodes / 2, PAIR_BYTES)?;
    reader.charge(n_nodes * memory::NODE)?;
    let nodes = reader.list(n_nodes, LEAF_BYTES, node)?;
    let tree = Tree::new(nodes).map_err(|error| Error::corrupt(WHAT, error.to_string()))?;
    let n_placed = memory::n_placed(&tree);
    reader.charge((n_placed - n_nodes) * memory::NODE)?;
    reader.lend(n_placed * memory::PLACING)?;
    Ok(tree)
}

fn node(reader: &mut Reader<'_>) -> Result<TreeNode> {
    let kind = reader.u8()?;
    let (value, cover) = (reader.f64()?, reader.f64()?);
    if kind == 0 {
        return Ok(TreeNode::leaf(value, cover));
    }
    let gain = reader.f64()?;
    let (feature, left, right) = (reader.u32()?, reader.u32()?, reader.u32()?);
    let also_missing = match kind & ALSO_MISSING {
        0 => None,
        _ => Some(Band { low: reader.f64()?, high: reader.f64()? }),
    };
    reader.charge(size_of::<Split>())?;
    let question = match kind & !(MISSING_LEFT | ALSO_MISSING) {
        THRESHOLD => {
            reader.charge(memory::QUESTION)?;
            Question::AtMost(reader.f64()?)
        }
        CATEGORIES => Question::OneOf(categories(reader)?),
        kind if kind == CATEGORIES | CUT_SINGLE => {
            Question::OneOf(categories(reader)?.with_rule(CategoryRule::CutSingle))
        }
        kind if kind == CATEGORIES | WHOLE => {
            Question::OneOf(categories(reader)?.with_rule(CategoryRule::Whole))
        }
        _ => return Err(Error::corrupt(WHAT, format!("node of kind {kind}"))),
    };
    let missing_left = kind & MISSING_LEFT != 0;
    let split = Split { feature, question, missing_left, also_missing, left, right };
    Ok(TreeNode { split: Some(Box::new(split)), value, cover, gain })
}

fn categories(reader: &mut Reader<'_>) -> Result<CategorySet> {
    let n = reader.u32()? as usize;
    // The list that is read here is charged as if it were the one that is kept, behind its count of references.
    reader.charge(memory::CATEGORIES + 16)?;
    let codes = reader.list(n, 4, Reader::u32)?;
    reader.lend(4 * n)?;
    if !codes.is_sorted_by(|a, b| a < b) {
        return Err(Error::corrupt(WHAT, "categories are not ascending"));
    }
    Ok(CategorySet::new(codes))
}

fn flag(reader: &mut Reader<'_>) -> Result<bool> {
    match reader.u8()? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(Error::corrupt(WHAT, format!("{other} is neither yes nor no"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Model;

    fn ensemble() -> TreeEnsemble {
        let split = |question, left| Split {
            feature: 1,
            question,
            missing_left: true,
            also_missing: (left == 3).then_some(Band::ZERO),
            left,
            right: left + 1,
        };
        let inner =
            |split| TreeNode { split: Some(Box::new(split)), value: 0.25, cover: 9.0, gain: 0.5 };
        let nodes = vec![
            inner(split(Question::AtMost(-0.5), 1)),
            TreeNode::leaf(-1.5, 4.0),
            inner(split(Question::OneOf(CategorySet::new([3, 1])), 3)),
            TreeNode::leaf(0.1, 2.0),
            TreeNode::leaf(0.2, 3.0),
        ];
        let output = Output { link: Link::Logistic { slope: 2.0 }, ..Output::SHARES };
        let tree = Tree::new(nodes).unwrap();
        let leaf = Tree::new(vec![TreeNode::leaf(0.5, 9.0)]).unwrap();
        let schema = FeatureSchema::new(["a", "b"]).unwrap();
        let ensemble = TreeEnsemble::new(schema, vec![tree, leaf], output).unwrap();
        let golden = GoldenRows::new(vec![0.0, -1.0, 0.0, f64::NAN], vec![-0.5; 2]).unwrap();
        ensemble.with_golden_rows(golden).unwrap()
    }

    #[test]
    fn bytes_round_trip_and_no_damage_goes_unnoticed_or_hurts() {
        let ensemble = ensemble();
        let bytes = ensemble.to_bytes();
        let schema = ensemble.schema().clone();
        let decode = |bytes: &[u8]| TreeEnsemble::from_bytes(schema.clone(), bytes);
        assert_eq!(decode(&bytes).unwrap(), ensemble);
        for end in 0..bytes.len() {
            assert!(decode(&bytes[..end]).is_err());
        }
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            // Some other sound ensemble, or an error; never the same one.
            if let Ok(other) = decode(&damaged) {
                assert_ne!(other.to_bytes(), bytes);
            }
        }
        assert!(decode(&[0xff; 64]).is_err());
    }

    #[test]
    fn an_ensemble_that_no_longer_gives_its_golden_margins_is_not_loaded() {
        let ensemble = ensemble();
        let mut bytes = ensemble.to_bytes();
        // The value of the left leaf, which both golden rows reach.
        let place = bytes.windows(8).position(|b| b == (-1.5_f64).to_le_bytes()).unwrap();
        bytes[place] ^= 1;
        let again = TreeEnsemble::from_bytes(ensemble.schema().clone(), &bytes);
        let error = again.unwrap_err().to_string();
        assert!(error.contains("row 0 must get -0.5"), "{error}");
    }
}
